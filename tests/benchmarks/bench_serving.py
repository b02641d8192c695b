"""How fast histories are answered, in processor time, which a busy machine changes little: ``make benchmark``."""

import json
import time

import numpy as np
import pytest

from gems_gym.commands.recommend import answers
from gems_gym.embeddings import EmbeddingTable
from gems_gym.rankers import make_ranker
from gems_gym.serving import open_policy

HISTORIES, SLATES = 1_000, 20


@pytest.fixture(scope="module")
def policy():
    return open_policy("expert-diffuse_mix")


@pytest.fixture(scope="module")
def histories():
    rng = np.random.default_rng(0)
    slates, clicks = (rng.integers(most, size=(HISTORIES, SLATES, 10)).tolist() for most in (1_000, 2))
    return [
        [{"slate": slate, "clicks": clicked} for slate, clicked in zip(*session, strict=True)]
        for session in zip(slates, clicks, strict=True)
    ]


@pytest.fixture
def note(request):
    """Runs something on each of some inputs, and notes how many units a second that is at quantiles of the times."""

    def measure(work, inputs, units, unit, quantiles=(0.5,)):
        work(inputs[0])
        seconds = []
        for one in inputs:
            start = time.process_time()
            work(one)
            seconds.append(time.process_time() - start)
        for quantile in quantiles:
            found = np.quantile(seconds, quantile)
            name = f"{request.node.name}, p{100 * quantile:.0f} {1e3 * found:.2f} ms"
            request.config.rates.append((name, units / found, unit))

    return measure


def bench_one_by_one(note, policy, histories):
    note(policy.recommend, histories, 1, "histories", quantiles=(0.5, 0.99))


def bench_together(note, policy, histories):
    note(policy.recommend_all, [histories] * 5, HISTORIES, "histories")


def bench_lines(note, policy, histories):
    """As the command answers them."""
    lines = [(row, json.dumps({"history": history}).encode()) for row, history in enumerate(histories)]
    note(lambda some: list(answers(policy, some)), [lines] * 5, HISTORIES, "lines")


@pytest.mark.parametrize("num_items", [1_000, 200_000, 1_000_000])
def bench_topk_of_large_catalogues(note, num_items):
    """256 slates of exact search."""
    vectors = np.random.default_rng(0).standard_normal((num_items, 32), dtype=np.float32)
    ranker = make_ranker("topk", EmbeddingTable(vectors, "embeddings/scratch", "0" * 64), 10, cosine=True)
    latents = np.random.default_rng(1).uniform(-1, 1, (256, 32)).astype(np.float32)
    note(ranker.rank, [latents] * 3, 256, "slates")
