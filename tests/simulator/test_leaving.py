"""Users who leave: when, how likely, and that nothing else about them changes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.policies.constant_slate import ConstantSlate
from gems_gym.policies.paired_sessions import PairedSessions
from gems_gym.rollouts import play_sessions
from gems_gym.testing import check_world

WORLD: dict[str, Any] = {"num_items": 40, "slate_size": 4, "num_topics": 4, "boredom_threshold": 2}
LENGTH = 12
SLATES = np.random.default_rng(0).integers(40, size=(LENGTH, 4))

Session = list[tuple[dict[str, Any], float, bool, bool, dict[str, Any]]]


def play(seed: int, **changes: Any) -> Session:
    """A session of fixed slates, from the first step to its end."""
    env = SlateEnv(**WORLD, episode_length=LENGTH, relevance_offset=0.1, **changes)
    env.reset(seed=seed)
    session: Session = []
    for slate in SLATES:
        session.append(env.step(slate))
        if session[-1][2] or session[-1][3]:
            break
    return session


def same(one: Session, other: Session) -> bool:
    return all(
        (first[1] == second[1] and all(np.array_equal(first[4][key], second[4][key]) for key in first[4]))
        for first, second in zip(one, other, strict=True)
    )


SEEDS, EMPTY = st.integers(0, 2**32), st.none() | st.integers(1, 3)


@given(SEEDS, EMPTY, st.floats(0.01, 1.0))
@settings(max_examples=60, deadline=None)
def test_until_they_leave_users_do_what_they_would_have_done(
    seed: int, leave_after: int | None, p: float
) -> None:
    whole, session = play(seed), play(seed, leave_probability=p, leave_after=leave_after)
    assert same(session, whole[: len(session)])
    *before, (_, _, terminated, truncated, _) = session
    assert terminated != truncated and truncated <= (len(session) == LENGTH)
    assert not any(step[2] or step[3] for step in before)


@given(SEEDS, EMPTY)
@settings(max_examples=30, deadline=None)
def test_with_probability_zero_all_stay(seed: int, leave_after: int | None) -> None:
    session = play(seed, leave_probability=0.0, leave_after=leave_after)
    assert same(session, play(seed)) and len(session) == LENGTH
    assert session[-1][2:4] == (False, True)


@given(SEEDS, EMPTY)
@settings(max_examples=60, deadline=None)
def test_with_probability_one_they_leave_at_the_first_reason(seed: int, leave_after: int | None) -> None:
    session = play(seed, leave_probability=1.0, leave_after=leave_after)
    empty, reasons = 0, []
    for _, reward, _, _, info in session:
        empty = 0 if reward else empty + 1
        reasons.append(bool(info["bored"].any()) if leave_after is None else empty >= leave_after)
    assert not any(reasons[:-1])
    assert reasons[-1] == session[-1][2]  # terminated; else there was none, and the session is truncated


def test_both_kinds_of_ends_are_met() -> None:
    for leave_after in (None, 2):
        ends = {play(seed, leave_probability=0.05, leave_after=leave_after)[-1][2:4] for seed in range(30)}
        assert ends == {(True, False), (False, True)}


def test_every_boring_topic_adds_to_the_probability() -> None:
    p, users = 0.3, 4000
    env = SlateVectorEnv(users, **WORLD, leave_probability=p, episode_length=100, rel_threshold=-1.0)
    env.reset(seed=0)
    env.step(np.tile(np.arange(4), (users, 1)))
    _, _, terminated, _, infos = env.step(np.tile(np.arange(4), (users, 1)))
    # who left before has another session's first slate now, and no boredom
    topics = np.where(terminated[:, None], infos["final_info"]["bored"], infos["bored"]).sum(axis=1)
    assert len(np.unique(topics)) > 2
    for count in np.unique(topics):
        of_these = terminated[topics == count]
        assert of_these.mean() == pytest.approx(1 - (1 - p) ** count, abs=4 / np.sqrt(len(of_these)))
        assert count > 0 or not of_these.any()


@pytest.mark.parametrize("leave_after", [None, 2])
@pytest.mark.parametrize("env_id", ["GemsSlate-diffuse_mix-v0", "GemsSlateLatent-diffuse_mix-v0"])
def test_alone_and_beside_others(env_id: str, leave_after: int | None) -> None:
    check_world(
        env_id,
        num_users=8,
        leave_probability=0.2,
        leave_after=leave_after,
        boredom_threshold=2,
        episode_length=8,
    )


def test_threads_share_users_who_leave() -> None:
    slates, found = np.random.default_rng(0).integers(40, size=(6, 50, 4)), []
    for num_threads in (1, 2):
        env = SlateVectorEnv(50, **WORLD, leave_probability=0.3, leave_after=1, num_threads=num_threads)
        env.reset(seed=0)
        found.append([env.step(one)[2] for one in slates])
    np.testing.assert_array_equal(found[0], found[1])
    assert np.any(found[0])


@pytest.mark.parametrize("length", [12, 150])  # longer than the block in which randomness is drawn
def test_searches_count_the_clicks_until_users_leave(length: int) -> None:
    env = SlateVectorEnv(
        30, **WORLD, leave_probability=0.05, leave_after=1, episode_length=length, autoreset_mode="disabled"
    )
    users = list(range(30))
    for slate in ([1, 2, 3, 4], [30, 20, 10, 0]):
        moments = list(play_sessions(env, ConstantSlate(env, slate), users))
        clicks = sum(moment.rewards for moment in moments[1:])
        searched = PairedSessions(env.config, env.catalog, users).clicks(np.array([slate]))
        np.testing.assert_array_equal(searched[0], clicks)
        assert sum(moment.left.sum() for moment in moments) > 0


def test_rollouts_follow_each_session_to_its_end() -> None:
    env = SlateVectorEnv(
        20, **WORLD, leave_probability=0.3, leave_after=1, episode_length=LENGTH, autoreset_mode="disabled"
    )
    slate, users = [1, 2, 3, 4], list(range(20))
    moments = list(play_sessions(env, ConstantSlate(env, slate), users))
    lengths = sum(moment.playing.astype(int) for moment in moments[1:])
    left = sum(moment.left for moment in moments)
    assert lengths.min() < lengths.max() <= LENGTH and set(left.tolist()) == {0, 1}
    for user in users:
        alone = SlateEnv(**WORLD, leave_probability=0.3, leave_after=1, episode_length=LENGTH)
        alone.reset(seed=user)
        for moment in moments[1 : lengths[user] + 1]:
            observation, reward, terminated, truncated, _ = alone.step(np.array(slate))
            assert reward == moment.rewards[user]
            np.testing.assert_array_equal(observation["clicks"], moment.observations["clicks"][user])
        assert (terminated, truncated) == (bool(left[user]), not left[user])
        assert all(moment.rewards[user] == 0 for moment in moments[lengths[user] + 1 :])
