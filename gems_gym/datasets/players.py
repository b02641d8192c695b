"""Plays sessions with a policy: what happens in the environment, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from gems_gym.datasets.sessions import Sessions, join_sessions
from gems_gym.datasets.world import Artefact, open_environment
from gems_gym.policies import Policy, SlatePolicy, make_policy
from gems_gym.rollouts import play_sessions, user_batches

MakePolicy = Callable[[VectorEnv[Any, Any, Any]], Policy]


@dataclass(frozen=True)
class Player:
    """A policy in the environment that it acts in.

    Attributes:
        env: A vector environment without autoreset, around a :class:`~gems_gym.envs.SlateVectorEnv`.
        policy: Acts in it.
    """

    env: VectorEnv[Any, Any, Any]
    policy: Policy

    def play(self, seeds: Sequence[int]) -> Sessions:
        """Plays one session of every user, as many at once as the environment steps together.

        Args:
            seeds: The users, in the order in which their sessions come out; at least one.
        """
        return join_sessions(list(record_sessions(self.env, self.policy, seeds)))


@contextmanager
def open_player(
    spec: EnvSpec,
    policy: str | Policy | MakePolicy,
    artefacts: Mapping[str, Artefact],
    num_envs: int,
) -> Iterator[Player]:
    """Opens the environment of a spec and makes the policy for it.

    Args:
        spec: See :func:`~gems_gym.datasets.world.open_environment`.
        policy: A name in the entry-point group ``gems_gym.policies``, a policy, or a function that makes one for the
            environment.
        artefacts: See :func:`~gems_gym.datasets.world.open_environment`.
        num_envs: Users stepped together.

    Raises:
        ValueError: An unknown name, or a policy of slates where latents are played.
        TypeError: What is no policy.
    """
    with open_environment(spec, num_envs, artefacts) as env:
        yield Player(env, _as_policy(policy, env, latent=bool(artefacts)))


def record_sessions(
    env: VectorEnv[Any, Any, Any], policy: Policy, seeds: Sequence[int]
) -> Iterator[Sessions]:
    """Plays sessions in batches of ``env.num_envs`` users.

    Args:
        env: A vector environment without autoreset, around a :class:`~gems_gym.envs.SlateVectorEnv`.
        policy: Acts in it. What its ``session_infos``, if there are any, say of the sessions that it plays (name ->
            ``(num_users,)``) stands in every row of the infos.
        seeds: One per session, in the order in which they come out.

    Yields:
        Finished sessions; memory is bounded by one batch.
    """
    config = env.unwrapped.config  # type: ignore[attr-defined]
    length, item_type = config.episode_length, np.int16 if config.num_items <= 2**15 else np.int32
    for batch, count in user_batches(seeds, env.num_envs):
        rows: dict[str, list[Any]] = {"observations": [], "actions": [], "rewards": []}
        infos: dict[str, list[np.ndarray]] = {"slate": [], "clicks": [], "bored": [], "user_state": []}
        for moment in play_sessions(env, policy, batch):
            rows["observations"].append(_first(moment.observations, count))
            for name, values in infos.items():
                values.append(moment.infos[name][:count].copy())
            if moment.actions is not None and moment.rewards is not None:
                rows["actions"].append(np.array(moment.actions[:count]))
                rows["rewards"].append(moment.rewards[:count].copy())
        if len(rows["actions"]) != length:
            raise RuntimeError(f"sessions of {len(rows['actions'])} steps came out, {length} were expected")
        of_sessions = getattr(policy, "session_infos", {})
        yield Sessions(
            seeds=batch[:count],
            observations=_stack(rows["observations"]),
            actions=np.stack(rows["actions"], axis=1).astype(env.single_action_space.dtype, copy=False),
            rewards=np.stack(rows["rewards"], axis=1),
            infos={
                "slate": np.stack(infos["slate"], axis=1).astype(item_type),
                "clicks": np.stack(infos["clicks"], axis=1).astype(np.int8),
                "bored": np.stack(infos["bored"], axis=1).astype(np.bool_),
                "user_state": np.stack(infos["user_state"], axis=1).astype(np.float32),
                **{name: _in_every_row(values[:count], length + 1) for name, values in of_sessions.items()},
            },
        )


def is_maker(policy: Any) -> bool:
    """Whether an argument is a function (or class) that makes a policy for an environment, and no policy itself."""
    return callable(policy) and (isinstance(policy, type) or not hasattr(policy, "act"))


def name_of(policy: Any) -> str:
    """What a policy is called if nobody says it: its registered name, or that of its function or class."""
    return policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__)


def _as_policy(policy: str | Policy | MakePolicy, env: VectorEnv[Any, Any, Any], latent: bool) -> Policy:
    if isinstance(policy, str):
        player = make_policy(policy, env)
    else:
        player = cast(MakePolicy, policy)(env) if is_maker(policy) else cast(Policy, policy)
    if not (callable(getattr(player, "act", None)) and callable(getattr(player, "reset", None))):
        raise TypeError(f"policy must be a name, or have reset(seeds) and act(observations); got {policy!r}")
    if latent and isinstance(player, SlatePolicy):
        raise ValueError(
            f"policy {name_of(policy)!r} shows slates, but a latent dataset was asked for, whose policy acts "
            "in latents: give a trained agent's policy, or, for a slate dataset, a GemsSlate-* environment and neither "
            "ranker nor belief"
        )
    return player


def _first(observations: Any, count: int) -> Any:
    """A copy of the first users' observations: the environment may write the next ones into the same array."""
    if isinstance(observations, Mapping):
        return {key: values[:count].copy() for key, values in observations.items()}
    return observations[:count].copy()


def _in_every_row(values: np.ndarray, rows: int) -> np.ndarray:
    """One value for each session -> ``(num_sessions, rows)``."""
    return np.repeat(values[:, None], rows, axis=1)


def _stack(moments: list[Any]) -> Any:
    """Observations by step -> ``(num_sessions, num_steps + 1, ...)``."""
    if isinstance(moments[0], dict):
        return {key: np.stack([moment[key] for moment in moments], axis=1) for key in moments[0]}
    return np.stack(moments, axis=1)
