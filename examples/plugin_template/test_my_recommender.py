"""Each part does what every one must do: `pytest` in this folder, once the package is installed."""

import numpy as np
from my_recommender import ClickMemory, SpreadTopK

from gems_gym.testing import check_agent, check_belief, check_ranker

EMBEDDINGS = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)


def test_the_ranker() -> None:
    check_ranker(SpreadTopK(EMBEDDINGS, slate_size=4, catalog_hash="none"))


def test_the_belief() -> None:
    check_belief(ClickMemory(EMBEDDINGS, slate_size=4, catalog_hash="none"))


def test_the_agent() -> None:
    check_agent("latent_search")
