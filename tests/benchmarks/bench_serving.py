"""How fast histories are answered, in processor time, which a busy machine changes little: ``make benchmark``."""

import json

import numpy as np
import pytest

from gems_gym.commands.recommend import answers
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


def bench_one_by_one(note, policy, histories):
    note(policy.recommend, histories, 1, "histories", quantiles=(0.5, 0.99))


def bench_together(note, policy, histories):
    note(policy.recommend_all, [histories] * 5, HISTORIES, "histories")


def bench_lines(note, policy, histories):
    """As the command answers them."""
    lines = [(row, json.dumps({"history": history}).encode()) for row, history in enumerate(histories)]
    note(lambda some: answers(policy, some), [lines] * 5, HISTORIES, "lines")
