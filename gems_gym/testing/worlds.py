"""What every world must do: the environment of one user, and that of many."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from gems_gym.envs.spaces import INFO_KEYS
from gems_gym.testing.asserting import assert_refused, is_same, spec_of

_Told = tuple[Any, float, tuple[bool, bool], dict[str, Any]]
"""Of one user at one step: observation, reward, (terminated, truncated), info."""

_GOES_ON = (False, False)


def check_world(env: str | EnvSpec, *, num_users: int = 3, seed: int = 0, **kwargs: Any) -> None:
    """Check that a registered world does what every one must do.

    Gymnasium's own checker has to pass. A user's session has to be the same for the same seed, alone and beside others
    in ``gymnasium.make_vec``, under every autoreset mode, and in a copy that is made in its middle. It is truncated
    after ``config.episode_length`` steps or, where ``config.users_leave``, terminated by then. Its rewards are its
    clicks, and its infos have the same keys at every step. Actions that are none have to be refused and leave the
    session as it was, and the spec has to survive JSON.

    Args:
        env: The id of a registered environment, ``module:id`` of one that a module registers, or a spec: of slates, or
            of beliefs and latents.
        num_users: Users stepped together, at least 2.
        seed: Seed of the first user, and of the actions.
        **kwargs: Handed to the environment: ``episode_length=5`` makes a quick check.

    Raises:
        AssertionError: It does not; the text says what was expected and what was found.

    Examples:
        >>> import gems_gym
        >>> check_world("GemsSlate-diffuse_mix-v0", num_items=40, episode_length=4)
    """
    spec = spec_of(env)
    user = gymnasium.make(spec, **kwargs)
    _check_gymnasium(spec, kwargs)
    _check_spaces(user)
    actions = _actions(user, num_users, seed)
    sessions = [_play(user, seed + row, actions[:, row]) for row in range(num_users)]
    for session in sessions:
        _check_session(session, user)
    assert is_same(_play(user, seed, actions[:, 0]), sessions[0]), "the same seed gives another session"
    differ = [is_same(session, sessions[0]) for session in sessions[1:]]
    assert not all(differ), f"all seeds from {seed} to {seed + num_users - 1} give the same session"
    for mode in AutoresetMode:
        many = _make_many(spec, num_users, mode, kwargs)
        assert many.metadata.get("autoreset_mode") is mode, (
            f"autoreset_mode={mode} gives an environment whose metadata say {many.metadata.get('autoreset_mode')}"
        )
        found = _play_many(many, seed, actions)
        many.close()
        for row, session in enumerate(sessions):
            assert is_same(found[row], session), (
                f"user {row} of {num_users} in make_vec, autoreset_mode={mode}, has another session than "
                f"alone with the seed {seed + row}"
            )
    _check_order(user, gymnasium.make(spec, **kwargs), actions[0, 0])
    _check_copy(user, seed, actions[: len(sessions[0]) - 1, 0])
    _check_refusals(user, seed, actions[:, 0], sessions[0])
    again = _from_json(user.spec)
    assert is_same(_play(again, seed, actions[:, 0]), sessions[0]), (
        "another world comes out of its spec's JSON"
    )
    again.close()
    user.close()


def _from_json(spec: EnvSpec | None) -> gymnasium.Env[Any, Any]:
    assert spec is not None  # gymnasium.make has set it
    try:
        return gymnasium.make(EnvSpec.from_json(spec.to_json()))
    except Exception as error:
        raise AssertionError(f"env.spec does not survive JSON: {type(error).__name__}: {error}") from error


def _check_gymnasium(spec: EnvSpec, kwargs: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_env(gymnasium.make(spec, **kwargs).unwrapped, skip_render_check=True)
        except Exception as error:
            raise AssertionError(f"gymnasium.utils.env_checker.check_env says: {error}") from error


def _check_spaces(user: gymnasium.Env[Any, Any]) -> None:
    for name in ("config", "catalog"):
        assert hasattr(user.unwrapped, name), (
            f"env.unwrapped has no {name}, by which rankers and beliefs are found to fit"
        )
    config, space = user.unwrapped.config, user.action_space  # type: ignore[attr-defined]
    items = gymnasium.spaces.MultiDiscrete([config.num_items] * config.slate_size)
    latents = isinstance(space, gymnasium.spaces.Box) and space.dtype == np.float32
    assert space == items or (latents and (space.low == -1).all() and (space.high == 1).all()), (  # type: ignore[attr-defined]
        f"the action space is {space}; {items} or Box(-1, 1, (n,), float32) was expected"
    )


def _actions(user: gymnasium.Env[Any, Any], num_users: int, seed: int) -> NDArray[Any]:
    """Actions for a session of each user, ``(episode_length, num_users, ...)``."""
    user.action_space.seed(seed)
    length = user.unwrapped.config.episode_length  # type: ignore[attr-defined]
    return np.array([[user.action_space.sample() for _ in range(num_users)] for _ in range(length)])


def _play(user: gymnasium.Env[Any, Any], seed: int, actions: Sequence[Any] | NDArray[Any]) -> list[_Told]:
    """A user's session: its opening, with a reward of 0, and what came of each action until it ended."""
    observation, info = user.reset(seed=seed)
    session: list[_Told] = [(observation, 0.0, _GOES_ON, info)]
    for action in actions:
        session.append(_step(user, action))
        if any(session[-1][2]):
            break
    return session


def _step(user: gymnasium.Env[Any, Any], action: Any) -> _Told:
    observation, reward, terminated, truncated, info = user.step(action)
    return observation, float(reward), (bool(terminated), bool(truncated)), info


def _play_many(many: VectorEnv[Any, Any, Any], seed: int, actions: NDArray[Any]) -> list[list[_Told]]:
    """The same of many users, a session for each; the last observations are those of the sessions that ended."""
    observations, infos = many.reset(seed=seed)
    users = range(many.num_envs)
    sessions: list[list[_Told]] = [
        [(_row(observations, user), 0.0, _GOES_ON, _info_of(infos, user))] for user in users
    ]
    going_on = np.ones(many.num_envs, np.bool_)
    for action in actions:
        observations, rewards, terminated, truncated, infos = many.step(action)
        ended = terminated | truncated
        for user in np.flatnonzero(going_on).tolist():
            final = "final_obs" in infos and ended[user]
            seen = infos["final_obs"][user] if final else _row(observations, user)
            info = _info_of(infos["final_info"] if final else infos, user)
            ends = bool(terminated[user]), bool(truncated[user])
            sessions[user].append((seen, float(rewards[user]), ends, info))
        going_on &= ~ended
        if not going_on.any():
            break
        if ended.any() and many.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            many.reset(options={"reset_mask": ended})
    return sessions


def _info_of(infos: dict[str, Any], user: int) -> dict[str, Any]:
    of_steps = {key: array for key, array in infos.items() if not key.startswith(("_", "final_"))}
    found: dict[str, Any] = _row(of_steps, user)
    return found


def _make_many(
    spec: EnvSpec, num_users: int, mode: AutoresetMode, kwargs: dict[str, Any]
) -> VectorEnv[Any, Any, Any]:
    """Users in lockstep, by the world's own vector environment or, where it has none, by Gymnasium's."""
    if spec.vector_entry_point is None:
        return gymnasium.make_vec(spec, num_users, "sync", vector_kwargs={"autoreset_mode": mode}, **kwargs)
    return gymnasium.make_vec(spec, num_users, autoreset_mode=mode, **kwargs)


def _row(arrays: Any, row: int) -> Any:
    if isinstance(arrays, dict):
        return {key: _row(array, row) for key, array in arrays.items()}
    return arrays[row]


def _check_session(session: list[_Told], user: gymnasium.Env[Any, Any]) -> None:
    keys = {frozenset(info) for *_, info in session}
    assert keys == {frozenset(INFO_KEYS)}, (
        f"info has the keys {sorted(map(sorted, keys))}; {sorted(INFO_KEYS)} were expected, at reset and at every step"
    )
    config = user.unwrapped.config  # type: ignore[attr-defined]
    for step, (observation, reward, ends, info) in enumerate(session):
        assert observation in user.observation_space, (
            f"step {step} gives an observation outside {user.observation_space}: {observation}"
        )
        if step > 0:
            clicks = float(np.sum(info["clicks"]))
            assert reward == clicks, (
                f"step {step} gives the reward {reward}; its {clicks:g} clicks were expected"
            )
        left = ends == (True, False) and getattr(config, "users_leave", False)
        expected = _GOES_ON if step < config.episode_length else (False, True)
        assert left or ends == expected, (
            f"(terminated, truncated) is {ends} at step {step}; sessions of config.episode_length="
            f"{config.episode_length} steps were expected, which end truncated, or terminated where users leave"
        )


def _check_order(ended: gymnasium.Env[Any, Any], fresh: gymnasium.Env[Any, Any], action: Any) -> None:
    """Steps belong between a reset and the session's end."""
    for env, when in ((fresh, "before the first reset"), (ended, "after the session's end")):
        try:
            env.unwrapped.step(action)
        except gymnasium.error.ResetNeeded:
            continue
        raise AssertionError(f"step() {when} is taken; gymnasium.error.ResetNeeded was expected")


def _check_copy(user: gymnasium.Env[Any, Any], seed: int, actions: NDArray[Any]) -> None:
    middle = len(actions) // 2
    user.reset(seed=seed)
    for action in actions[:middle]:
        user.step(action)
    twin = copy.deepcopy(user)
    expected = [user.step(action) for action in actions[middle:]]
    found = [twin.step(action) for action in actions[middle:]]
    assert is_same(found, expected), "a copy made in the middle of a session continues differently"


def _check_refusals(
    user: gymnasium.Env[Any, Any], seed: int, actions: NDArray[Any], session: list[_Told]
) -> None:
    raw, right = user.unwrapped, actions[0]
    wrong = {"one number too many": np.concatenate([right, right[:1]])}
    if right.dtype.kind == "f":
        wrong |= {"a number above 1": np.full_like(right, 1.5), "NaN": np.full_like(right, np.nan)}
    else:
        num_items = raw.config.num_items  # type: ignore[attr-defined]
        wrong |= {
            "an unknown item": np.full_like(right, num_items),
            "an item below 0": np.full_like(right, -1),
        }
        wrong |= {"numbers that are no item ids": right + 0.5}
    for what, action in wrong.items():
        user.reset(seed=seed)
        assert_refused(f"step() with {what}", partial(raw.step, action), "action")
        assert is_same(_step(user, right), session[1]), (
            f"step() with {what}, which is refused, changes the session"
        )
    keyword: dict[str, Any] = {"no_such_keyword": 1}
    spec = user.spec
    assert spec is not None  # gymnasium.make has set it
    assert_refused(
        "gymnasium.make() with no_such_keyword=1",
        partial(gymnasium.make, spec, **keyword),
        "no_such_keyword",
    )
