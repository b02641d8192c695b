import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gems_gym import PRESETS
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.envs.spaces import INFO_KEYS
from gems_gym.registration import environment_id

SHORT = {"episode_length": 4, "num_items": 60, "boredom_threshold": 2}


def slates(env, steps, seed=0):
    """Random slates for every step, weighted to few items so that users get bored."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 30, size=(steps, env.num_envs, env.config.slate_size))


def assert_same(first, second):
    """Nested dictionaries of arrays hold the same bits."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, np.ndarray) and first.dtype == object:
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("preset", PRESETS)
def test_sub_environment_i_is_the_single_environment_with_seed_s_plus_i(preset):
    env = gymnasium.make_vec(environment_id(preset), num_envs=5, episode_length=100)
    observations, infos = env.reset(seed=11)
    actions = slates(env, 100)
    singles = [SlateEnv(preset) for _ in range(5)]
    for i, single in enumerate(singles):
        observation, info = single.reset(seed=11 + i)
        assert_same(observation, {key: value[i] for key, value in observations.items()})
        assert_same(info, {key: infos[key][i] for key in INFO_KEYS})
    for action in actions:
        observations, rewards, _, truncations, infos = env.step(action)
        for i, single in enumerate(singles):
            observation, reward, _, truncated, info = single.step(action[i])
            shown = infos["final_info"] if truncated else infos
            assert_same(info, {key: shown[key][i] for key in INFO_KEYS})
            assert rewards[i] == reward
            assert truncations[i] == truncated
            if truncated:
                assert_same(observation, infos["final_obs"][i])
                observation, info = single.reset()
                assert_same(info, {key: infos[key][i] for key in INFO_KEYS})
            assert_same(observation, {key: value[i] for key, value in observations.items()})


@pytest.mark.parametrize("num_envs", [1, 3, 40])
def test_a_user_does_not_depend_on_who_else_is_there(num_envs):
    env = SlateVectorEnv(num_envs, "diffuse_mix", autoreset_mode="disabled")
    env.reset(seed=[99] + [7] * (num_envs - 1))
    action = np.repeat(np.arange(10)[None], num_envs, axis=0)
    returns = sum(env.step(action)[1][0] for _ in range(100))
    alone = SlateEnv("diffuse_mix")
    alone.reset(seed=99)
    assert returns == sum(alone.step(np.arange(10))[1] for _ in range(100))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_autoreset_is_that_of_gymnasiums_sync_vector_env(mode):
    ours = SlateVectorEnv(3, autoreset_mode=mode, **SHORT)
    theirs = SyncVectorEnv([lambda: SlateEnv(**SHORT)] * 3, autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] is mode
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    for got, expected in zip(ours.reset(seed=2), theirs.reset(seed=2), strict=True):
        assert_same(got, expected)
    for action in slates(ours, 11):
        stepped, expected_step = ours.step(action), theirs.step(action)
        for got, expected in zip(stepped, expected_step, strict=True):
            assert_same(got, expected)
        if mode is AutoresetMode.DISABLED and stepped[3].any():
            for got, expected in zip(ours.reset(), theirs.reset(), strict=True):
                assert_same(got, expected)


def test_some_users_can_be_reset_alone():
    ours = SlateVectorEnv(3, autoreset_mode="disabled", **SHORT)
    theirs = SyncVectorEnv([lambda: SlateEnv(**SHORT)] * 3, autoreset_mode=AutoresetMode.DISABLED)
    ours.reset(seed=2), theirs.reset(seed=2)
    mask = np.array([True, False, True])
    actions = slates(ours, 6)
    for action in actions[:2]:
        ours.step(action), theirs.step(action)
    for got, expected in zip(
        ours.reset(seed=8, options={"reset_mask": mask}),
        theirs.reset(seed=8, options={"reset_mask": mask}),
        strict=True,
    ):
        assert_same(got, expected)
    for action in actions[2:4]:
        for got, expected in zip(ours.step(action), theirs.step(action), strict=True):
            assert_same(got, expected)
    with pytest.raises(ResetNeeded, match="after the session's end"):  # user 1 has ended
        ours.step(actions[4])


def test_long_sessions_draw_their_randomness_in_blocks():
    one, many = SlateVectorEnv(1, episode_length=300), SlateVectorEnv(6, episode_length=300)
    one.reset(seed=3), many.reset(seed=3)
    for action in slates(many, 300):
        assert one.step(action[:1])[1][0] == many.step(action)[1][0]


def test_next_step_autoreset_draws_nothing_for_the_ignored_step():
    length = 256  # whole blocks of randomness: a draw too many would move every later user
    ours = SlateVectorEnv(2, autoreset_mode="next_step", episode_length=length)
    alone = SlateEnv(episode_length=length)
    ours.reset(seed=5), alone.reset(seed=5)
    slate = np.arange(10)
    for _ in range(length):
        ours.step(np.repeat(slate[None], 2, axis=0)), alone.step(slate)
    infos = ours.step(np.repeat(slate[None], 2, axis=0))[4]
    np.testing.assert_array_equal(infos["user_state"][0], alone.reset()[1]["user_state"])


@pytest.mark.parametrize("num_threads", [2, 3, 50])
def test_threads_change_nothing_but_the_time(num_threads):
    alone, shared = SlateVectorEnv(40, **SHORT), SlateVectorEnv(40, num_threads=num_threads, **SHORT)
    alone.reset(seed=1), shared.reset(seed=1)
    for action in slates(alone, 9):
        for got, expected in zip(shared.step(action), alone.step(action), strict=True):
            assert_same(got, expected)
        assert_same(shared.simulator.short_term_oracle_slates(), alone.simulator.short_term_oracle_slates())
    before = copy.deepcopy(shared.simulator.users)
    with pytest.raises(ValueError, match="got 60"):
        shared.step(np.full((40, 10), 60))
    for old, new in zip(before, shared.simulator.users, strict=True):
        assert_same(old, new)


def test_max_episode_steps_is_episode_length():
    env = gymnasium.make_vec("GemsSlate-diffuse_mix-v0", num_envs=2, max_episode_steps=7)
    assert env.unwrapped.config.episode_length == 7
    with pytest.raises(ValueError, match="not both"):
        SlateVectorEnv(2, max_episode_steps=7, episode_length=7)


def test_returned_arrays_are_never_written_again():
    env = SlateVectorEnv(3, **SHORT)
    kept, copies = [], []
    out = env.reset(seed=0)
    for action in slates(env, 9):
        kept.append(out)
        copies.append(copy.deepcopy(out))
        out = env.step(action)
    for before, after in zip(copies, kept, strict=True):
        for got, expected in zip(after, before, strict=True):
            assert_same(got, expected)


def test_pickle_keeps_the_sessions():
    env = SlateVectorEnv(4, **SHORT)
    env.reset(seed=0)
    twin = pickle.loads(pickle.dumps(env))  # noqa: S301
    for action in slates(env, 9):
        for got, expected in zip(env.step(action), twin.step(action), strict=True):
            assert_same(got, expected)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_envs": 0}, ValueError, "num_envs"),
        ({"num_envs": 2.0}, TypeError, "num_envs"),
        ({"num_threads": 0}, ValueError, "num_threads"),
        ({"autoreset_mode": "same"}, ValueError, "did you mean 'same_step'"),
        ({"preset": "diffuse"}, ValueError, "preset 'diffuse'"),
        ({"omgea": 0.1}, TypeError, "did you mean 'omega'"),
        ({"render_mode": "anssi"}, ValueError, "did you mean 'ansi'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        SlateVectorEnv(**arguments)


@pytest.mark.parametrize(
    ("seed", "options", "words"),
    [
        ([1, 2], None, "one seed per user"),
        ([1, 2, -3], None, "seed"),
        (-1, None, "seed"),
        (0, {"reset_mask": [True, False, True]}, "bool array"),
        (0, {"reset_mask": np.zeros(3, bool)}, "at least one"),
        (0, {"reset_mask": np.array([True, False, True])}, "first reset"),
        (0, {"resetmask": np.ones(3, bool)}, "did you mean 'reset_mask'"),
    ],
)
def test_wrong_resets_are_refused(seed, options, words):
    with pytest.raises(ValueError, match=words):
        SlateVectorEnv(3).reset(seed=seed, options=options)


def test_calls_out_of_turn_and_wrong_actions_are_refused():
    env = SlateVectorEnv(2)
    with pytest.raises(ResetNeeded, match="before the first reset"):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(2, 10\)"):
        env.step(np.zeros(10, int))
    with pytest.raises(ValueError, match="got 1000"):
        env.step(np.full((2, 10), 1000))
    env.close()
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.reset()
