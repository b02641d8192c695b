"""Rankers: what turns an agent's latent action into a slate."""

from gems_gym.rankers.base import Ranker, SamplingRanker, load_ranker, make_ranker
from gems_gym.rankers.gems import GemsDecoder, GemsRanker
from gems_gym.rankers.k_head_argmax import KHeadArgmaxRanker
from gems_gym.rankers.softmax import SoftmaxRanker
from gems_gym.rankers.topk import TopKRanker
from gems_gym.rankers.wknn import SlateCritic, WknnRanker

__all__ = [
    "GemsDecoder",
    "GemsRanker",
    "KHeadArgmaxRanker",
    "Ranker",
    "SamplingRanker",
    "SlateCritic",
    "SoftmaxRanker",
    "TopKRanker",
    "WknnRanker",
    "load_ranker",
    "make_ranker",
]
