"""Asks policies, at every step of logged sessions, what they would have shown, and how likely the logged slate was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.progress import track
from gems_gym.policies import Policy
from gems_gym.policies.base import tell_rewards, tell_shown
from gems_gym.policies.propensities import SlatePropensities, slate_propensities
from gems_gym.rollouts import user_batches
from gems_gym_agents.ope.logs import EvaluationLog
from gems_gym_agents.ope.policies import AgentSlates, MakePolicy

NUM_ENVS = 256
"""Sessions replayed together."""


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
    lengths, starts = log.lengths[batch], log.seen.starts[batch]
    # a log's user has several sessions, in each of which a policy draws anew
    seeds = (batch if log.world is None else log.seeds[batch]).tolist()
    env.reset(seed=0 if log.world is None else seeds)
    states = {name: policy.open(seeds) for name, policy in policies.items()}
    latent = {
        name
        for name, policy in policies.items()
        if isinstance(policy, AgentSlates) and log.recorded and policy.acts_through(log.recorded.ranker)
    }
    for name, policy in policies.items():
        if isinstance(policy, AgentSlates) and policy.remembers_latents and name not in latent:
            raise ValueError(
                f"policy {name!r} acts by what it showed before, in latents of its ranker, and the log has none of "
                "those: 'gems-gym dataset relabel' makes them"
            )
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
            if name in latent:
                assert log.recorded is not None
                impressions = starts - batch + np.minimum(step, lengths - 1)
                states[name] = tell_shown(policy, states[name], log.recorded.latents[impressions])
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
        shown = slates.min() if slates.min() < 0 else slates.max()
        raise ValueError(f"a policy shows item {shown}; the log has items from 0 to {log.seen.num_items - 1}")
    return Replayed(
        slates, None if given_above is None else SlatePropensities(given_above, marginal), latents
    )
