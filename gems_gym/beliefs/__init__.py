"""Belief encoders: what a user showed by clicking, folded into a few numbers, one observation at a time."""

from gems_gym.beliefs.base import BeliefEncoder, load_belief
from gems_gym.beliefs.gru import GruBelief
from gems_gym.beliefs.lstm import LstmBelief
from gems_gym.beliefs.transformer import TransformerBelief
from gems_gym.beliefs.untrained import LastObservation, NoBelief

__all__ = [
    "BeliefEncoder",
    "GruBelief",
    "LastObservation",
    "LstmBelief",
    "NoBelief",
    "TransformerBelief",
    "load_belief",
]
