"""Latent actions and belief observations, for one user (``Env``) and for many (``VectorEnv``)."""

from gems_gym.wrappers.belief_observation import BeliefObservation, VectorBeliefObservation
from gems_gym.wrappers.latent_action import LatentAction, VectorLatentAction

__all__ = ["BeliefObservation", "LatentAction", "VectorBeliefObservation", "VectorLatentAction"]
