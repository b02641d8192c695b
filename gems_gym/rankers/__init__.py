"""Rankers: what turns an agent's latent action into a slate."""

from gems_gym.rankers.base import Ranker, check_catalog, load_ranker
from gems_gym.rankers.gems import GemsRanker

__all__ = ["GemsRanker", "Ranker", "check_catalog", "load_ranker"]
