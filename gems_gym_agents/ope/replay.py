"""Asks policies, at every step of logged sessions, what they would have shown, and how likely the logged slate was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from gems_gym.common.progress import track
from gems_gym.datasets.log_files import check_knows_items
from gems_gym.errors import unknown_name
from gems_gym.logs import read_items
from gems_gym.policies import Policy, make_policy
from gems_gym.policies.base import Observed, Shown, tell_rewards
from gems_gym.policies.believing import BelievingPolicy
from gems_gym.policies.propensities import SlatePropensities, slate_propensities
from gems_gym.rankers import Ranker
from gems_gym.registration import slate_spec
from gems_gym.rollouts import user_batches
from gems_gym.trained_agents import (
    TrainedAgent,
    check_acts_in,
    check_same_items,
    find_trained_agent,
    recorded_world,
)
from gems_gym_agents.ope.logs import EvaluationLog

NUM_ENVS = 256
"""Sessions replayed together."""

MakePolicy = Callable[[VectorEnv[Any, Any, Any]], Policy]


@dataclass(frozen=True)
class Replayed:
    """What a policy would have done in the place of the logging policy, given what was logged before.

    Attributes:
        slates: What it would have shown, drawn if it draws, int64 ``(n, slate_size)``.
        propensities: How likely it was to show what was logged, ``(n, slate_size)`` each; None if it has no closed
            form.
        latents: What it would have made these slates of, float32 ``(n, latent_size)``; None if it is no agent that
            acts through the dataset's ranker.
    """

    slates: NDArray[np.int64]
    propensities: SlatePropensities | None
    latents: NDArray[np.float32] | None = None

    def at(self, rows: Any) -> Replayed:
        """The same at some of the impressions."""
        latents = None if self.latents is None else self.latents[rows]
        return Replayed(self.slates[rows], self.propensities and self.propensities.at(rows), latents)


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

    def acts_through(self, ranker: Ranker) -> bool:
        """Whether its latents mean what they mean to this ranker."""
        return self._agent.ranker is not None and same_content(self._agent.ranker, ranker)

    def propensities(
        self, state: _AgentState, observations: Any, slates: NDArray[np.int64]
    ) -> SlatePropensities | None:
        """0 or 1 where the policy draws nothing; see :class:`~gems_gym.policies.propensities.KnowsPropensities`."""
        assert state.chosen is not None
        inner = state.policy if self._agent.belief is None else state.policy[0]
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


def replay(
    log: EvaluationLog, policies: Mapping[str, MakePolicy], progress: bool = True
) -> dict[str, Replayed]:
    """Ask policies at every step of the log, given what was logged before it.

    The sessions of a world are played again with the logged slates, so that privileged policies see the users as they
    were.

    Args:
        log: Sessions.
        policies: What makes each, by name.
        progress: Whether to show a progress bar on stderr.

    Returns:
        What each would have done.

    Raises:
        ValueError: The world gives other clicks than were logged, or an item that a policy shows is not in the log's
            catalogue.
    """
    env = _environment(log, min(NUM_ENVS, len(log.seeds)))
    made = {name: make(env) for name, make in policies.items()}
    answers: dict[str, dict[str, Any]] = {name: {} for name in made}
    with track("replaying", len(log.seeds), progress) as advance:
        for batch, count in user_batches(range(len(log.seeds)), env.num_envs):
            for rows, playing, name, answer in _asked(log, env, made, np.array(batch)):
                _keep(answers[name], answer, rows, playing, len(log.session))
            advance(count)
    env.close()
    return {name: _replayed(log, **arrays) for name, arrays in answers.items()}


def _keep(
    arrays: dict[str, NDArray[Any] | None],
    answer: Mapping[str, NDArray[Any] | None],
    rows: NDArray[np.int64],
    playing: NDArray[np.bool_],
    impressions: int,
) -> None:
    """Put the parts of an answer into arrays of all impressions; a part that is None once is None for good."""
    for part, values in answer.items():
        if values is None:
            arrays[part] = None
            continue
        if part not in arrays:
            arrays[part] = np.zeros((impressions, *values.shape[1:]), values.dtype)
        kept = arrays[part]
        if kept is not None:
            kept[rows] = values[playing]


def _asked(
    log: EvaluationLog,
    env: VectorEnv[Any, Any, Any],
    policies: Mapping[str, Policy],
    batch: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_], str, dict[str, NDArray[Any] | None]]]:
    """Yield, for each step and policy, of which impressions and users it is, and the arguments of :func:`_replayed`."""
    lengths, starts, seeds = log.lengths[batch], log.seen.starts[batch], log.seeds[batch].tolist()
    env.reset(seed=seeds if log.world is not None else 0)
    states = {name: policy.open(seeds) for name, policy in policies.items()}
    latent = {
        name
        for name, policy in policies.items()
        if isinstance(policy, AgentSlates) and log.recorded and policy.acts_through(log.recorded.ranker)
    }
    for step in range(int(lengths.max())):
        playing = step < lengths
        before, after = (log.seen.at(starts + np.minimum(one, lengths)) for one in (step, step + 1))
        observations = {
            "slate": np.maximum(before.slates, 0), "clicks": before.clicks, "mask": before.shown.astype(np.int8),
        }  # fmt: skip
        shown, clicks = after.slates.astype(np.int64), after.clicks
        rows = (starts - batch + step)[playing]  # a session has a row more than it has impressions
        for name, policy in policies.items():
            chosen, states[name] = policy.act(states[name], observations)
            found = slate_propensities(policy, states[name], observations, shown, chosen)
            given_above, marginal = found or (None, None)
            latents = states[name].actions if name in latent else None
            answer = {"slates": chosen, "given_above": given_above, "marginal": marginal, "latents": latents}
            yield rows, playing, name, answer
            states[name] = tell_rewards(policy, states[name], clicks.sum(axis=1))
        if log.world is not None:
            _step(env, shown, clicks, playing)


def _step(
    env: VectorEnv[Any, Any, Any], shown: NDArray[np.int64], clicks: NDArray[Any], playing: NDArray[np.bool_]
) -> None:
    _, _, terminated, truncated, infos = env.step(shown)
    if (infos["clicks"][playing] != clicks[playing]).any():
        raise ValueError(
            "the log's world gives other clicks than were logged: it was recorded by other code, or its users' seeds "
            "are not those of its sessions"
        )
    ended = terminated | truncated
    if ended.any():
        env.reset(options={"reset_mask": ended})


def _environment(log: EvaluationLog, num_envs: int) -> VectorEnv[Any, Any, Any]:
    """The log's world; for a log of another recommender any world of its sizes, which is never stepped."""
    if log.world is not None:
        return gymnasium.make_vec(log.world, num_envs=num_envs, autoreset_mode="disabled")
    sizes: dict[str, Any] = {
        "num_items": log.seen.num_items, "slate_size": log.seen.slates.shape[1],
        "episode_length": int(log.lengths.max()),
    }  # fmt: skip
    return gymnasium.make_vec("GemsSlate-diffuse_topdown-v0", num_envs=num_envs, num_topics=1, **sizes)


def _replayed(
    log: EvaluationLog,
    slates: NDArray[np.int64],
    given_above: NDArray[np.float64] | None,
    marginal: NDArray[np.float64] | None,
    latents: NDArray[np.float32] | None,
) -> Replayed:
    if slates.max() >= log.seen.num_items or slates.min() < 0:
        raise ValueError(
            f"a policy shows item {slates.max()}; the log has items from 0 to {log.seen.num_items - 1}"
        )
    return Replayed(
        slates, None if given_above is None else SlatePropensities(given_above, marginal), latents
    )
