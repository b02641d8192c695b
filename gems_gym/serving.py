"""A policy as a service asks it: a user's history in, a slate out. No learning library is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Interval
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.beliefs.base import updated_where_shown
from gems_gym.common.check_messages import shown
from gems_gym.common.checks import checked, checked_arguments, is_sequence
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import make_policy
from gems_gym.policies.base import tell_rewards
from gems_gym.trained_agents import (
    TrainedAgent,
    check_same_items,
    find_trained_agent,
    learned_from_a_log,
    recorded_world,
)
from gems_gym.wrappers.latent_action import SlateDraws

_TOGETHER = 1_000
"""Histories replayed together; answers do not depend on it."""

Session = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Slates and the clicks on them, ``(num_slates, slate_size)`` each."""


class ServedPolicy:
    """A policy that is asked for slates by users' histories; it keeps nothing of them itself.

    A history is what a user was shown in the session so far, oldest first: for each slate its items and the clicks on
    them, ``{"slate": …, "clicks": …}``, as environments observe it. It is replayed through the policy as if the policy
    had chosen those slates, and the policy acts: what is recommended is what it would show in the environment after the
    same observations, to the bit, whoever else is asked about.

    A new user's history is empty, and no policy acts before it has observed a slate and its clicks: every session of a
    world opens with a slate that no policy chose. A new user is shown that of the world that the policy was trained in.
    It is the history's first slate from then on. An agent that has learned from a log alone chooses that one, too: in a
    log the first slate is the recommender's own. Its histories may hold slates that are shorter than the policy's, as
    logs do.

    Args:
        agent: The policy, and the ranker and belief that it acts through.
        world: One user's slate environment, for a policy that is bound to it; its openings are what new users are
            shown. None: the world that the agent's record names, made when there is a new user.
        items: The catalogue's ids in the order of the policy's item numbers. With them histories and slates hold ids,
            texts; without them numbers, ``0 … num_items - 1``.

    Raises:
        ValueError: Another number of ids than of items, or one of them twice. A policy from which it can't be told how
            many items there are, and whose world can't be made here.

    Examples:
        >>> policy = open_policy("expert-diffuse_mix")
        >>> first = policy.recommend([])  # a new user
        >>> policy.recommend([{"slate": first, "clicks": [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]}]).shape
        (10,)
    """

    def __init__(
        self,
        agent: TrainedAgent,
        world: VectorEnv[Any, Any, Any] | None = None,
        items: Sequence[str] | None = None,
    ) -> None:
        self._agent, self._given_world = agent, world
        self._catalogue = _Catalogue(*self._sizes(), items, self._of_log)

    def recommend(self, history: Sequence[Mapping[str, Any]], seed: int = 0) -> NDArray[Any]:
        """Choose a user's next slate.

        Args:
            history: See :class:`ServedPolicy`; ``slate`` and ``clicks`` have an entry for each slot of the policy's
                slates, clicks are 0 or 1.
            seed: Decides what is random about the policy, if anything is; the same in all of a user's session.

        Returns:
            Items, best slot first, ``(slate_size,)``: int64 numbers, or the catalogue's ids.

        Raises:
            ValueError: An unknown item, a click that is neither 0 nor 1, or a slate of another length; the text names
                slate, field and value. A new user, and the policy's world can't be made here.
            TypeError: Something else than a list of slates with their clicks.
        """
        slates: NDArray[Any] = self.recommend_all([history], [seed], ["history"])[0]
        return slates

    def recommend_all(
        self,
        histories: Sequence[Sequence[Mapping[str, Any]]],
        seeds: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> NDArray[Any]:
        """Choose the next slates of many users, in less time than one by one.

        Args:
            histories: One for each user; see :meth:`recommend`, for errors too.
            seeds: One for each user; 0 for all if None.
            names: What errors call the histories; ``histories[0]``, … if None.

        Returns:
            ``(num_users, slate_size)``.
        """
        seeds = checked(
            "seeds", [0] * len(histories) if seeds is None else seeds, tuple[Annotated[int, Ge(0)], ...]
        )
        if len(seeds) != len(histories):
            raise ValueError(f"seeds holds {len(seeds)} for {len(histories)} histories: give one each")
        names = names or [f"histories[{user}]" for user in range(len(histories))]
        shown, clicks = self._catalogue.read(histories, names)
        lengths = np.array([len(history) for history in histories], np.int64)
        starts = np.cumsum(lengths) - lengths
        slates = np.empty((len(histories), self._catalogue.slate_size), np.int64)
        for users in self._groups(lengths):
            rows = starts[users, None] + np.arange(lengths[users[0]])
            slates[users] = self._next_slates(shown[rows], clicks[rows], [seeds[user] for user in users])
        return self._catalogue.named(slates)

    def _groups(self, lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Users whose histories have one length: those that a policy can serve in lockstep."""
        most = _TOGETHER if self._given_world is None else self._given_world.num_envs
        for length in np.unique(lengths):
            users = np.flatnonzero(lengths == length)
            yield from (users[first : first + most] for first in range(0, len(users), most))

    def _next_slates(
        self, slates: NDArray[np.int64], clicks: NDArray[np.int64], seeds: Sequence[int]
    ) -> NDArray[np.int64]:
        """What follows slates and clicks, ``(num_users, num_slates, slate_size)``: ``(num_users, slate_size)``."""
        policy, ranker, belief = self._agent.policy, self._agent.ranker, self._agent.belief
        num_users, num_slates, _ = slates.shape
        if num_slates == 0 and not self._of_log:
            return np.stack([self._world.reset(seed=[seed])[0]["slate"][0] for seed in seeds])
        state = policy.open(seeds)
        believed = None if belief is None else belief.initial(num_users)
        draws = None if ranker is None else SlateDraws(ranker, num_users)
        if draws is not None:
            draws.reset(seeds)
        # what neither remembers nor draws has nothing to do before the last slate
        replays = state is not None or (draws is not None and draws.random)
        first = -1 if self._of_log else 0  # in a log the policy acts before anything was shown
        for step in range(first, num_slates):
            observations: Any = None
            if step >= 0:
                last, clicked = slates[:, step], clicks[:, step]
                observations = {"slate": last, "clicks": clicked}
                if belief is not None:
                    believed = updated_where_shown(belief, believed, last, clicked)
                if step > first:
                    state = tell_rewards(policy, state, clicked.sum(axis=1))
            if belief is not None:
                observations = belief.read(believed)
            if replays or step == num_slates - 1:
                actions, state = policy.act(state, observations)
                chosen = actions if draws is None else draws.rank(actions)
        return chosen

    @property
    def _of_log(self) -> bool:
        """Whether the policy knows sessions as a log has them: they begin with nothing, and slates may be short."""
        return self._agent.belief is not None and learned_from_a_log(self._agent)

    def _sizes(self) -> tuple[int, int]:
        """How many items there are, and how many a slate has."""
        parts: tuple[Any, ...] = (self._agent.belief, self._agent.ranker, self._agent.policy)
        for part in parts:
            if hasattr(part, "num_items") and hasattr(part, "slate_size"):
                return part.num_items, part.slate_size
        values = self._world.single_action_space.nvec
        return int(values[0]), len(values)

    @cached_property
    def _world(self) -> Any:
        if self._given_world is not None:
            return self._given_world
        try:
            world: Any = self._agent.world(recorded_world(self._agent)).slates(1)
            parts: tuple[Any, ...] = (self._agent.belief, self._agent.ranker)
            learned = {part.catalog_hash for part in parts if part is not None}
            for known in learned or {self._agent.record.get("catalog_hash")} - {None}:
                check_same_items(self._agent, str(known), world.unwrapped.catalog.hash, "that world")
            return world
        except (ValueError, OSError) as error:
            raise ValueError(
                f"the world that the policy was trained in can't be made here ({error.__cause__ or error}), and new "
                f"users would be shown the slate that it opens with: begin their histories with one of your own"
            ) from error


class _Catalogue:
    """The items that histories may name; arguments as of :class:`ServedPolicy`."""

    def __init__(self, num_items: int, slate_size: int, ids: Sequence[str] | None, short: bool) -> None:
        self.num_items, self.slate_size, self._short = num_items, slate_size, short
        ids = checked("items", ids, tuple[str, ...] | None)
        self._ids = None if ids is None else np.array(ids)
        self._numbers = None if ids is None else {one: number for number, one in enumerate(ids)}
        if ids is not None and not len(ids) == len(set(ids)) == num_items:
            raise ValueError(
                f"items holds {len(ids)} ids, {len(set(ids))} of them different; the policy knows {num_items} items"
            )

    def read(self, histories: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str]) -> Session:
        """The slates of all histories behind one another as numbers, and the clicks on them.

        Args:
            histories: See :meth:`ServedPolicy.recommend`.
            names: What errors call them.
        """
        try:
            if not all(map(is_sequence, histories)):
                raise TypeError
            slates, clicks = (
                [one[field] for history in histories for one in history] for field in ("slate", "clicks")
            )
            if self._short and any(len(one) != len(other) for one, other in zip(slates, clicks, strict=True)):
                raise ValueError
            if self._numbers is not None:
                slates = [[self._numbers[str(item)] for item in slate] for slate in slates]
            return self._whole(slates, self.num_items, -1), self._whole(clicks, 2, 0)
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            for history, name in zip(histories, names, strict=True):
                self._check(history, name)
            raise ValueError(f"{names[0]} … {names[-1]} can't be read") from error

    def named(self, slates: NDArray[np.int64]) -> NDArray[Any]:
        """Slates with the catalogue's ids, if it has any."""
        return slates if self._ids is None else self._ids[slates]

    def _whole(self, rows: list[Any], values: int, nothing: int) -> NDArray[np.int64]:
        """Rows of ``slate_size`` integers from 0 to ``values - 1`` as an array; else a ValueError.

        Rows that are shorter and may be are filled up.
        """
        missing = [self.slate_size - len(row) if self._short else 0 for row in rows]
        if any(missing):
            rows = [[*row, *[0] * more] for row, more in zip(rows, missing, strict=True)]
        array = np.array(rows) if rows else np.empty((0, self.slate_size), np.int64)
        if array.shape[1:] != (self.slate_size,) or array.dtype.kind not in "iu":
            raise ValueError
        if array.size and not 0 <= array.min() <= array.max() < values:
            raise ValueError
        whole = array.astype(np.int64, copy=False)
        if any(missing):
            whole[np.arange(self.slate_size) >= self.slate_size - np.array(missing)[:, None]] = nothing
        return whole

    def _check(self, history: Sequence[Any], name: str) -> None:
        """Raise an error that says which slate, field and value of a history can't be read, if one can't."""
        if not is_sequence(history):
            raise TypeError(f"{name} must be a list of slates with their clicks, got {shown(history)}")
        for step, one in enumerate(history):
            if not isinstance(one, Mapping) or not {"slate", "clicks"} <= one.keys():
                raise TypeError(f"{name}[{step}] must hold a slate and clicks, got {shown(one)}")
            for field, values in (("slate", self.num_items), ("clicks", 2)):
                where, row = f"{name}[{step}].{field}", one[field]
                if not is_sequence(row):
                    raise TypeError(f"{where} must be a list, got {shown(row)}")
                if len(row) != self.slate_size and not (self._short and len(row) < self.slate_size):
                    raise ValueError(
                        f"{where} holds {len(row)}; slates of the policy have {self.slate_size} items"
                    )
                if len(row) != len(one["slate"]):
                    raise ValueError(f"{where} holds {len(row)}; its slate has {len(one['slate'])} items")
                for slot, value in enumerate(row):
                    if field == "clicks" or self._numbers is None:
                        checked(f"{where}[{slot}]", value, Annotated[int, Interval(ge=0, le=values - 1)])
                    elif str(value) not in self._numbers:
                        raise ValueError(f"{where}[{slot}] = {shown(value)} is no item of the catalogue")


@checked_arguments
def open_policy(
    name: str,
    *,
    env: EnvSpec | None = None,
    checkpoint: int | None = None,
    items: Sequence[str] | None = None,
    **options: Any,
) -> ServedPolicy:
    """Open a policy for serving; nothing in its files can run code.

    Args:
        name: A trained agent's folder, a policy's file or shipped name, or a name in the entry-point group
            ``gems_gym.policies``.
        env: The world of a policy that is none of an agent: its items, and its opening slate.
        checkpoint: See :func:`~gems_gym.trained_agents.open_trained_agent`.
        items: See :class:`ServedPolicy`.
        **options: Those of a policy that is none of an agent.

    Raises:
        ValueError: A name that stands for nothing, a policy that reads what no history holds, or what
            :func:`~gems_gym.trained_agents.find_trained_agent` and :class:`ServedPolicy` raise.
    """
    agent = find_trained_agent(name, checkpoint)
    if agent is not None:
        if env is not None or options:
            raise ValueError(f"{name!r} is a trained agent: it takes neither a world nor options")
        return ServedPolicy(agent, items=items)
    if env is None:
        raise ValueError(
            f"{name!r} is no trained agent, which would record its world: give that world, env (--env ID)"
        )
    world = LatentWorld(env, None, None).slates(1)
    policy = make_policy(name, world, **options)
    if getattr(policy, "privileged", False):
        raise ValueError(f"the policy {name!r} reads the simulator's users or topics, which no history holds")
    return ServedPolicy(TrainedAgent(name, policy, None, None, {}), world, items)
