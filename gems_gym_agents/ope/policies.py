"""The policies that a log is asked about: those given by name, and trained agents as policies that show slates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.artifacts.files import same_content
from gems_gym.commands.arguments import read_options
from gems_gym.datasets.log_files import check_knows_items
from gems_gym.errors import unknown_name
from gems_gym.logs import read_items
from gems_gym.policies import Policy, make_policy
from gems_gym.policies.base import Observed, Shown, tell_rewards, tell_shown
from gems_gym.policies.believing import BelievingPolicy
from gems_gym.policies.propensities import SlatePropensities, slate_propensities
from gems_gym.rankers import Ranker
from gems_gym.registration import slate_spec
from gems_gym.trained_agents import (
    TrainedAgent,
    check_acts_in,
    check_same_items,
    find_trained_agent,
    recorded_world,
)

MakePolicy = Callable[[VectorEnv[Any, Any, Any]], Policy]
"""Makes a policy for an environment of a log's sizes."""


class _AgentState(NamedTuple):
    policy: Any
    actions: NDArray[Any] | None
    chosen: NDArray[np.int64] | None


class AgentSlates:
    """A trained agent as a policy that sees slates and clicks and shows slates, through its own belief and ranker.

    Args:
        agent: Its policy, ranker and belief.

    Raises:
        ValueError: A ranker that draws.
    """

    observes: Observed = "slates"
    actions: Shown = "slates"

    def __init__(self, agent: TrainedAgent) -> None:
        if getattr(agent.ranker, "sample", False):
            raise ValueError(
                f"the agent {agent.name!r} has a ranker that draws slates, which ope can't replay"
            )
        self._agent = agent
        self._acting = agent.policy if agent.belief is None else BelievingPolicy(agent.policy, agent.belief)

    def open(self, seeds: Sequence[int]) -> _AgentState:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        return _AgentState(self._acting.open(seeds), None, None)

    def act(
        self, state: _AgentState, observations: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int64], _AgentState]:
        """Choose every user's slate; see :class:`~gems_gym.policies.Policy`."""
        actions, inner = self._acting.act(state.policy, observations)
        slates = actions if self._agent.ranker is None else self._agent.ranker.rank(actions)
        return slates, _AgentState(inner, actions, slates)

    def rewarded(self, state: _AgentState, rewards: NDArray[Any]) -> _AgentState:
        """Tell the policy what its actions earned, if it is one that remembers that."""
        return state._replace(policy=tell_rewards(self._acting, state.policy, rewards))

    @property
    def remembers_latents(self) -> bool:
        """Whether what it does depends on the latents that it showed before."""
        return hasattr(self._agent.policy, "showed")

    def showed(self, state: _AgentState, latents: NDArray[np.float32]) -> _AgentState:
        """Tell the policy which latents were shown instead of its own, if it is one that remembers them."""
        return state._replace(policy=tell_shown(self._acting, state.policy, latents))

    def acts_through(self, ranker: Ranker) -> bool:
        """Whether its latents mean what they mean to this ranker."""
        return self._agent.ranker is not None and same_content(self._agent.ranker, ranker)

    def propensities(
        self, state: _AgentState, observations: Any, slates: NDArray[np.int64]
    ) -> SlatePropensities | None:
        """0 or 1 where the policy draws nothing; see :class:`~gems_gym.policies.propensities.KnowsPropensities`."""
        assert state.chosen is not None
        inner = state.policy
        if self._agent.belief is not None:
            observations, inner = self._agent.belief.read(inner.belief), inner.policy
        return slate_propensities(self._agent.policy, inner, observations, slates, state.chosen)


def find_policy(
    text: str, world: EnvSpec | None, catalog_hash: str | None = None, dataset: str | None = None
) -> MakePolicy:
    """The policy that a command names, as a function that makes it for an environment of the log's sizes.

    Args:
        text: A policy's name, with its options behind a colon (``eps_greedy_oracle:epsilon=0.1``), or a trained agent's
            folder, file or shipped name.
        world: Where the log was recorded; None for a log of another recommender.
        catalog_hash: What the item ids of such a log belong to; not checked if None.
        dataset: Id of such a log: ``constant_slate:items=[ID,…]`` may name its items as they are called there.

    Raises:
        ValueError: An unknown name or option, or a policy that can't act on the log.
    """
    name, _, options = text.partition(":")
    agent = find_trained_agent(name)
    if agent is not None:
        if options:
            raise ValueError(
                f"{text!r}: options go with a policy given by name, and {name!r} is a trained agent"
            )
        if world is not None:
            check_acts_in(agent, world)
            agent.world(world).users(1).close()  # raises for another catalogue than the agent's
        elif catalog_hash is not None:
            _check_agent_knows_items(agent, catalog_hash, f"the log that policy {text!r} is asked about")
        return lambda env: AgentSlates(agent)
    pairs = re.split(r",(?=\w+=)", options) if options else ()  # not at a comma within a value
    given, kind = read_options(pairs, text), plugins.load(plugins.POLICIES, name)
    if name == "constant_slate" and "items" in given and world is None and dataset is not None:
        if "slate" in given:
            raise ValueError(f"policy {text!r}: give items or slate, not both")
        given["slate"] = _item_numbers(given.pop("items"), dataset)
    searches = getattr(kind, "searches", False) and "slate" not in given  # one that is given needs no search
    if world is None and (searches or getattr(kind, "privileged", False)):
        raise ValueError(
            f"policy {text!r} looks into the simulated world, and a log of another recommender has none: give a "
            "trained agent, random, or constant_slate:items=[ID,...], with the ids of the log"
        )
    return partial(make_policy, name, **given)


def _check_agent_knows_items(agent: TrainedAgent, items: str, owner: str) -> None:
    """Raise a ValueError unless an agent was made for these items; see :func:`check_knows_items`."""
    parts = [part for part in (agent.ranker, agent.belief) if part is not None]
    for part in parts:
        check_knows_items(part, items, owner)
    if not parts:  # it knows items by their numbers in the world that it learned in
        learned = agent.record.get("catalog_hash")
        if learned is None:
            learned = gymnasium.make(slate_spec(recorded_world(agent))).unwrapped.catalog.hash  # type: ignore[attr-defined]
        check_same_items(agent, learned, items, owner)


def _item_numbers(ids: Any, dataset: str) -> list[int]:
    """The numbers of a log's items; ids are a list of JSON, or a text like it without quotes."""
    listed = ids.strip("[] ").split(",") if isinstance(ids, str) else ids if isinstance(ids, list) else [ids]
    names = [str(one).strip() for one in listed]
    numbers = {name: number for number, name in enumerate(read_items(dataset)["item"].to_list())}
    for name in names:
        if name not in numbers:
            raise unknown_name("item", name, numbers)
    return [numbers[name] for name in names]
