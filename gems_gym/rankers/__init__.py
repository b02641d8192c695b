"""Rankers: what turns an agent's latent action into a slate."""

from gems_gym.rankers.base import Ranker, load_ranker
from gems_gym.rankers.gems import GemsRanker

__all__ = ["GemsRanker", "Ranker", "load_ranker"]
