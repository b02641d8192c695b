"""How fast latents become slates, 256 users of 1,000 items on one thread: ``make benchmark``."""

import numpy as np
import pytest

from gems_gym.beliefs import load_belief
from gems_gym.embeddings import EmbeddingTable
from gems_gym.rankers import load_ranker, make_ranker

USERS = 256


def latents(size):
    return np.random.default_rng(0).uniform(-1, 1, (USERS, size)).astype(np.float32)


def bench_gems(rate):
    ranker = load_ranker("gems-diffuse_topdown")
    actions = latents(ranker.action_size)
    rate(lambda: ranker.rank(actions), USERS, "slates")


def bench_gems_behind_a_belief(rate):
    ranker, belief = load_ranker("gems-diffuse_topdown"), load_belief("gru-diffuse_topdown")
    actions, beliefs = latents(ranker.action_size), belief.initial(USERS)
    clicks = np.random.default_rng(1).integers(0, 2, (USERS, ranker.slate_size))

    def work():
        belief.update(beliefs, ranker.rank(actions), clicks)

    rate(work, USERS, "slates")


@pytest.mark.parametrize("kind", ["topk", "k_head_argmax", "wknn", "softmax"])
def bench_untrained(rate, kind):
    vectors = np.random.default_rng(2).standard_normal((1_000, 20)).astype(np.float32)
    ranker = make_ranker(kind, EmbeddingTable(vectors, "embeddings/scratch", "0" * 64), 10)
    actions = latents(ranker.action_size)
    rate(lambda: ranker.rank(actions), USERS, "slates")
