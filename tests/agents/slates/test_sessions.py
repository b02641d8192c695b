"""Sessions that agents learn from: what is in them, and that nobody who is served beside changes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym.beliefs import GruBelief
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import GemsRanker
from gems_gym_agents.slates.sessions import Sessions, check_users, play
from tests.agents.slates.tiny_feed import TinyFeed

ENV = "GemsSlate-diffuse_topdown-v0"


def random_slates(beliefs: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    return np.stack([rng.integers(60, size=5) for rng in rngs])


def slate_users(belief: GruBelief, num_envs: int, **world: Any) -> Any:
    return LatentWorld(gymnasium.spec(ENV), None, belief).users(num_envs, **world)


@pytest.mark.parametrize("leaving", [{}, {"leave_probability": 0.5, "boredom_threshold": 1}])
def test_they_depend_on_their_users_alone(
    tiny_world: dict[str, Any], tiny_belief: GruBelief, leaving: dict[str, Any]
) -> None:
    together, alone = (slate_users(tiny_belief, count, **tiny_world, **leaving) for count in (4, 1))
    all_four = play(together, random_slates, [3, 4, 5, 6, 7])  # one more than are served together
    for row, seed in enumerate([3, 4, 5, 6, 7]):
        one, length = play(alone, random_slates, [seed]), all_four.playing[row].sum()
        assert one.playing.shape[1] == length and bool(one.left[0]) == bool(all_four.left[row])
        assert (one.beliefs[0] == all_four.beliefs[row, : length + 1]).all()
        assert (one.actions[0] == all_four.actions[row, : length + 1]).all()
        assert (one.clicks[0] == all_four.clicks[row, :length]).all()
    assert bool(leaving) == all_four.left.any()


def test_beliefs_follow_from_slates_and_clicks(tiny_world: dict[str, Any], tiny_belief: GruBelief) -> None:
    sessions = play(slate_users(tiny_belief, 3, **tiny_world), random_slates, [0, 1, 2])
    assert sessions.beliefs.shape == (3, 5, 20) and sessions.interactions == 12
    for step in range(4):  # the last belief is of the session that ended, not of the next one
        expected = tiny_belief.update(
            sessions.beliefs[:, step].copy(), sessions.actions[:, step], sessions.clicks[:, step]
        )
        assert (expected == sessions.beliefs[:, step + 1]).all()


def sessions_of(clicks: list[list[int]], left: list[bool]) -> Sessions:
    """Sessions with so many clicks a step; a session ends before its first -1."""
    counts = np.array(clicks)
    length = counts.shape[1]
    return Sessions(
        beliefs=np.zeros((len(counts), length + 1, 1), np.float32),
        actions=np.zeros((len(counts), length + 1, 3), np.int64),
        clicks=(np.arange(3) < counts[..., None]).astype(np.int8),
        playing=counts >= 0,
        left=np.array(left),
    )


def test_returns() -> None:
    sessions = sessions_of([[1, 2, 3], [1, 2, -1], [1, 2, -1]], left=[False, True, False])
    values = np.full((3, 4), 100, np.float32)
    values[2, 2] = 8  # after the last step of the session that was cut before the others
    found = sessions.returns(0.5, values)
    assert found[0].tolist() == [1 + 0.5 * (2 + 0.5 * 53), 2 + 0.5 * 53, 53]
    assert found[1, :2].tolist() == [2, 2]
    assert found[2, :2].tolist() == [1 + 0.5 * 6, 6]
    assert sessions.continues.tolist() == [[True] * 3, [True, False, True], [True] * 3]


def test_what_an_agent_cannot_learn_in_is_refused(
    tiny_world: dict[str, Any], tiny_belief: GruBelief, tiny_ranker: GemsRanker
) -> None:
    world = LatentWorld(gymnasium.spec(ENV), tiny_ranker, tiny_belief)
    check_users(TinyFeed(2), "slates")
    check_users(TinyFeed(2, latents=True), "latents")
    with pytest.raises(TypeError, match="is a LatentAction; a gymnasium.vector.VectorEnv was expected"):
        check_users(world.env(**tiny_world), "latents")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="VectorBeliefObservation"):
        check_users(world.slates(2, **tiny_world), "slates")
    with pytest.raises(ValueError, match="slates, a MultiDiscrete, were expected"):
        check_users(world.users(2, **tiny_world), "slates")
    with pytest.raises(ValueError, match="VectorLatentAction"):
        check_users(slate_users(tiny_belief, 2, **tiny_world), "latents")
    with pytest.raises(ValueError, match="SAME_STEP was expected"):
        check_users(slate_users(tiny_belief, 2, autoreset_mode="disabled", **tiny_world), "slates")


def test_an_environment_without_clicks_is_refused() -> None:
    from tests.agents.tiny_env import TargetVectorEnv

    env = TargetVectorEnv(2)
    with pytest.raises(ValueError, match="source says nothing of clicks in its infos"):
        play(env, lambda beliefs, rngs: np.zeros(env.action_space.shape, np.float32), [0, 1])
