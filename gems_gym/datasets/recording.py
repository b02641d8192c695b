"""Plays sessions with a policy: what happens in the environment, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.datasets.sessions import Sessions, join_sessions
from gems_gym.datasets.world import Artefact, open_environment
from gems_gym.policies import Policy, make_policy
from gems_gym.policies.base import as_policy
from gems_gym.policies.propensities import RecordedPropensities
from gems_gym.rollouts import play_sessions, user_batches

MakePolicy = Callable[[VectorEnv[Any, Any, Any]], Policy]

OWN_INFOS = ("slate", "clicks", "bored", "user_state")
"""The infos that every dataset has."""


class DatasetField(Protocol):
    """One more info of a dataset: a function, named by an entry point in the group ``gems_gym.dataset_fields``."""

    def __call__(self, env: VectorEnv[Any, Any, Any], infos: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """What is recorded of this moment, after a reset or a step.

        Args:
            env: A vector environment, around a :class:`~gems_gym.envs.SlateVectorEnv`.
            infos: Its infos, each ``(num_users, ...)``.

        Returns:
            Numbers or bools ``(num_users, ...)``, of one shape and dtype at every moment; a user's must not depend on
            the others.
        """
        ...


Fields = Mapping[str, DatasetField]


@dataclass(frozen=True)
class Player:
    """A policy in the environment that it acts in.

    Attributes:
        env: A vector environment without autoreset, around a :class:`~gems_gym.envs.SlateVectorEnv`.
        policy: Acts in it.
        fields: Further infos that are recorded, by name.
    """

    env: VectorEnv[Any, Any, Any]
    policy: Policy
    fields: Fields

    def play(self, seeds: Sequence[int]) -> Sessions:
        """Plays one session of every user, as many at once as the environment steps together.

        Args:
            seeds: The users, in the order in which their sessions come out; at least one.
        """
        return join_sessions(list(record_sessions(self.env, self.policy, seeds, self.fields)))


@contextmanager
def open_player(
    spec: EnvSpec,
    policy: str | Policy | MakePolicy,
    artefacts: Mapping[str, Artefact],
    num_envs: int,
    fields: Fields,
    propensities: bool = False,
) -> Iterator[Player]:
    """Opens the environment of a spec and makes the policy for it.

    Args:
        spec: See :func:`~gems_gym.datasets.world.open_environment`.
        policy: A name in the entry-point group ``gems_gym.policies``, a policy, or a function that makes one for the
            environment.
        artefacts: See :func:`~gems_gym.datasets.world.open_environment`.
        num_envs: Users stepped together.
        fields: Further infos to record, by name.
        propensities: Whether to record those of the slates, ``"propensity"`` and, if known, ``"marginal_propensity"``
            (:class:`~gems_gym.policies.propensities.SlatePropensities`); rows 0 are 0, as nothing was chosen there.

    Raises:
        ValueError: An unknown name, a policy of slates where latents are played, or one without propensities.
        TypeError: What is no policy.
    """
    with open_environment(spec, num_envs, artefacts) as env:
        player = _as_policy(policy, env, latent=bool(artefacts))
        if propensities:
            player = RecordedPropensities(player)
            fields = {**fields, **_propensity_fields(player, env)}
        yield Player(env, player, fields)


def _propensity_fields(policy: RecordedPropensities, env: VectorEnv[Any, Any, Any]) -> Fields:
    """The fields that hold the propensities of a policy's slates."""
    observations, _ = env.reset(seed=0)
    slates, _ = policy.act(policy.open(range(env.num_envs)), observations)
    assert policy.last is not None  # act raises where they are not known

    def field(place: int) -> DatasetField:
        def recorded(env: VectorEnv[Any, Any, Any], infos: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
            found = None if policy.last is None else policy.last[place]
            return np.zeros(slates.shape) if found is None else found

        return recorded

    names = ("propensity", "marginal_propensity")
    return {name: field(place) for place, name in enumerate(names) if policy.last[place] is not None}


def record_sessions(
    env: VectorEnv[Any, Any, Any], policy: Policy, seeds: Sequence[int], fields: Fields
) -> Iterator[Sessions]:
    """Plays sessions in batches of ``env.num_envs`` users.

    Args:
        env: A vector environment without autoreset, around a :class:`~gems_gym.envs.SlateVectorEnv`.
        policy: Acts in it. What its ``session_infos(seeds)``, if it has such a method, says of sessions (name ->
            ``(num_users,)``) stands in every row of the infos.
        seeds: One per session, in the order in which they come out.
        fields: Further infos to record, by name.

    Yields:
        Finished sessions; memory is bounded by one batch.
    """
    length = _session_length(env)
    for batch, count in user_batches(seeds, env.num_envs):
        arrays = {"seeds": np.array(batch[:count], np.int64)}
        steps, left = np.zeros(count, np.int64), np.zeros(count, np.bool_)
        for moment in play_sessions(env, policy, batch):
            step, playing = moment.step, moment.playing[:count]
            steps[playing] = step
            if step > length:
                break
            left |= moment.left[:count]
            _keep(arrays, _seen(env, moment.observations, moment.infos, fields), playing, step, length + 1)
            if moment.actions is not None and moment.rewards is not None:
                done = {
                    "actions": (moment.actions, env.single_action_space.dtype),
                    "rewards": (moment.rewards, None),
                }
                _keep(arrays, done, playing, step - 1, length)
        if (steps[~left] != length).any():
            raise RuntimeError(f"sessions of {steps.max()} steps or more came out, {length} were expected")
        if left.any():
            arrays["left_after"] = np.where(left, steps, 0)
        of_sessions = policy.session_infos(batch) if hasattr(policy, "session_infos") else {}
        arrays |= {
            f"infos/{name}": _in_every_row(values[:count], steps + 1, length + 1)
            for name, values in of_sessions.items()
        }
        yield Sessions.of_arrays(arrays)


def session_nbytes(spec: EnvSpec, artefacts: Mapping[str, Artefact], fields: Fields) -> int:
    """Bytes that one session of an environment takes as it is recorded, but for what a policy adds to the infos.

    Args:
        spec: See :func:`~gems_gym.datasets.world.open_environment`.
        artefacts: Likewise.
        fields: Further infos to record, by name.
    """
    with open_environment(spec, 1, artefacts) as env:
        arrays: dict[str, np.ndarray] = {}
        observations, infos = env.reset(seed=0)
        _keep(arrays, _seen(env, observations, infos, fields), np.ones(1, np.bool_), 0, 1)
        seen = sum(one.nbytes for one in arrays.values())
        action = np.asarray(env.single_action_space.sample()).nbytes
        return (_session_length(env) + 1) * (seen + action + np.dtype(np.float32).itemsize)


def dataset_fields(names: Sequence[str]) -> dict[str, DatasetField]:
    """The fields of these names, in their order.

    Args:
        names: Names in the entry-point group ``gems_gym.dataset_fields``.

    Raises:
        ValueError: An unknown name, or that of an info that every dataset has.
        gems_gym.plugins.PluginError: A field that can't be imported.
    """
    if taken := sorted({*names}.intersection(OWN_INFOS)):
        raise ValueError(f"fields has {', '.join(taken)}, which every dataset records; leave them out")
    return {name: plugins.load(plugins.DATASET_FIELDS, name) for name in names}


def is_maker(policy: Any) -> bool:
    """Whether an argument is a function (or class) that makes a policy for an environment, and no policy itself."""
    return callable(policy) and (isinstance(policy, type) or not hasattr(policy, "act"))


def name_of(policy: Any) -> str:
    """What a policy is called if no name is given: its registered name, or that of its function or class."""
    return policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__)


def _as_policy(policy: str | Policy | MakePolicy, env: VectorEnv[Any, Any, Any], latent: bool) -> Policy:
    if isinstance(policy, str):
        player = make_policy(policy, env)
    else:
        player = cast(MakePolicy, policy)(env) if is_maker(policy) else cast(Policy, policy)
    player = as_policy("policy", player)
    if latent and player.actions == "slates":
        raise ValueError(
            f"policy {name_of(policy)!r} shows slates, but a latent dataset was asked for, whose policy acts "
            "in latents: give a trained agent's policy, or, for a slate dataset, a GemsSlate-* environment and neither "
            "ranker nor belief"
        )
    if not latent and player.actions == "latents":
        raise ValueError(
            f"policy {name_of(policy)!r} acts in latents, and there is no ranker to turn them into slates: give ranker "
            "and belief, or a GemsSlateLatent-* environment"
        )
    if not latent and player.observes == "beliefs":
        raise ValueError(
            f"policy {name_of(policy)!r} sees beliefs, and a slate environment shows slates and clicks: give "
            "gems_gym.policies.believing.BelievingPolicy(policy, belief)"
        )
    return player


def _session_length(env: VectorEnv[Any, Any, Any]) -> int:
    return int(env.unwrapped.config.episode_length)  # type: ignore[attr-defined]


def _seen(
    env: VectorEnv[Any, Any, Any], observations: Any, infos: Mapping[str, Any], fields: Fields
) -> dict[str, tuple[np.ndarray, Any]]:
    """What is recorded of a moment beside action and reward: name -> values, and the dtype if it is another one."""
    few_items = env.unwrapped.config.num_items <= 2**15  # type: ignore[attr-defined]
    dtypes = (np.int16 if few_items else np.int32, np.int8, np.bool_, np.float32)
    nested = isinstance(observations, Mapping)
    named = {f"observations/{key}": one for key, one in observations.items()} if nested else None
    return {
        **{name: (values, None) for name, values in (named or {"observations": observations}).items()},
        **{f"infos/{name}": (infos[name], dtype) for name, dtype in zip(OWN_INFOS, dtypes, strict=True)},
        **{
            f"infos/{name}": (_checked_field(name, field(env, infos), env), None)
            for name, field in fields.items()
        },
    }


def _checked_field(name: str, values: Any, env: VectorEnv[Any, Any, Any]) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf" or len(values) != env.num_envs:
        raise ValueError(
            f"the dataset field {name!r} gives {values!r:.200}; an array of numbers or bools with one row for each of "
            f"{env.num_envs} users was expected"
        )
    return values


def _keep(
    arrays: dict[str, np.ndarray],
    moment: Mapping[str, tuple[Any, Any]],
    playing: NDArray[np.bool_],
    row: int,
    num_rows: int,
) -> None:
    """Writes the values of the first users, those who are playing, into a row of arrays ``(count, num_rows, ...)``.

    The arrays are made with the first row.
    """
    for name, (given, dtype) in moment.items():
        values = np.asarray(given)[: len(playing)]
        if name in arrays and dtype is None and values.dtype != arrays[name].dtype:
            raise ValueError(
                f"{name} was {arrays[name].dtype} at the session's start and is {values.dtype} now; one dtype is wanted"
            )
        if name not in arrays:
            arrays[name] = np.zeros((len(playing), num_rows, *values.shape[1:]), dtype or values.dtype)
        arrays[name][playing, row] = values[playing]


def _in_every_row(values: np.ndarray, counts: NDArray[np.int64], num_rows: int) -> np.ndarray:
    """One value for each session, in as many rows as the session has -> ``(num_sessions, num_rows)``."""
    rows = np.repeat(values[:, None], num_rows, axis=1)
    rows[np.arange(num_rows) >= counts[:, None]] = 0
    return rows
