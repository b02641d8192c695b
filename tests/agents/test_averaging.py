"""The mean of late policies: one more to choose from, and what its weights are."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from gems_gym.policies.actor import Actor
from gems_gym_agents.online.checkpoints import read_checkpoints
from gems_gym_agents.online.sac import SACAgent
from tests.agents.tiny_env import TargetVectorEnv
from tests.agents.tiny_sac import OBSERVATIONS, SMALL, closeness, fitted


def weights(actor: Actor) -> dict[str, np.ndarray]:
    return actor.network.to_tensors("actor")


@pytest.mark.parametrize(("share", "late"), [(0.5, [2, 3, 4]), (0.25, [3, 4]), (1.0, [0, 1, 2, 3, 4])])
def test_the_mean_of_late_policies_is_one_more(tmp_path, share, late):
    agent = SACAgent(**SMALL, validate_every=80, averaged_share=share)
    agent.fit(TargetVectorEnv(8), steps=400, seed=0, evaluate=closeness, directory=tmp_path, progress=False)
    *policies, mean = agent.checkpoints
    assert [one.interactions for one in policies] == [80, 160, 240, 320, 400]
    assert [one.mean_of for one in policies] == [1] * 5
    assert (mean.interactions, mean.mean_of, mean.score) == (400, len(late), closeness(mean.actor))
    for name, array in weights(mean.actor).items():
        parts = [weights(policies[index].actor)[name] for index in late]
        np.testing.assert_allclose(array, np.mean(parts, axis=0), atol=1e-6)
    assert np.abs(mean.actor(OBSERVATIONS) - policies[-1].actor(OBSERVATIONS)).max() > 1e-4
    assert agent.interactions == 400
    file = tmp_path / f"checkpoints/actor_400_mean_of_{len(late)}.safetensors"
    assert Actor.load(file).metadata["mean_of"] == len(late)
    assert [one.describe() for one in read_checkpoints(tmp_path)] == [
        one.describe() for one in agent.checkpoints
    ]
    with (tmp_path / "logs/progress.csv").open() as file:
        logged = [row["validation/clicks_per_session_of_mean"] for row in csv.DictReader(file)]
    assert [float(one) for one in logged if one] == [pytest.approx(mean.score)]


@pytest.mark.parametrize(("mean_is_better", "chosen"), [(True, 3), (False, 1)])
def test_the_mean_is_chosen_where_it_is_better(tmp_path, mean_is_better, chosen):
    scores = iter([2.0, 1.0, 4.0 if mean_is_better else 1.5])
    agent = SACAgent(**SMALL, validate_every=80)
    agent.fit(
        TargetVectorEnv(8), steps=160, seed=0, evaluate=lambda act: next(scores), progress=False,
        directory=tmp_path,
    )  # fmt: skip
    assert [one.mean_of for one in agent.checkpoints] == [1, 1, 2]
    best = agent.checkpoints[chosen - 1].actor
    np.testing.assert_array_equal(agent.policy(OBSERVATIONS), best(OBSERVATIONS))
    loaded = Actor.load(tmp_path / "best.safetensors")
    np.testing.assert_array_equal(loaded(OBSERVATIONS), best(OBSERVATIONS))


def test_the_share_is_rounded_to_whole_interactions():
    """0.3 in floating point is a little more than that."""
    agent = SACAgent(**SMALL, validate_every=40, averaged_share=0.7)
    agent.fit(TargetVectorEnv(8), steps=400, seed=0, progress=False)
    assert [one.interactions for one in agent.checkpoints[:2]] == [80, 120]
    assert agent.checkpoints[-1].mean_of == 8


def test_without_scores_the_mean_is_the_policy():
    agent = fitted(validate_every=80)
    assert [one.mean_of for one in agent.checkpoints] == [1, 1, 1, 1, 3]
    np.testing.assert_array_equal(agent.policy(OBSERVATIONS), agent.checkpoints[-1].actor(OBSERVATIONS))
    assert [one.mean_of for one in fitted(validate_every=320).checkpoints] == [1]
