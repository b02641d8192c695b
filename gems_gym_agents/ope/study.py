"""Estimators against the truth, which no real log has: in simulated worlds policies can be played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from scipy.stats import spearmanr

from gems_gym.common.checks import Checked, Count
from gems_gym.common.progress import track
from gems_gym.datasets.recording import Player, open_player
from gems_gym.user_splits import Users, user_seeds
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.ope.comparing import Comparison, compare_replayed
from gems_gym_agents.ope.estimators import OF_ARRAYS, Estimate
from gems_gym_agents.ope.logs import EvaluationLog
from gems_gym_agents.ope.policies import find_policy
from gems_gym_agents.ope.replay import NUM_ENVS, replay

LOGGING: dict[str, tuple[str, ...]] = {
    "eps_greedy": ("eps_greedy_oracle:epsilon=0.5",),
    "softmax": ("softmax_oracle:temperature=0.1",),
    "mixed": ("random", "eps_greedy_oracle:epsilon=0.5", "softmax_oracle:temperature=0.1"),
}
"""Logging policies; where there are several, they take turns session by session."""

TARGETS = (
    "random",
    "softmax_oracle:temperature=0.05",
    "eps_greedy_oracle:epsilon=0.1",
    "short_term_oracle",
    "boredom_aware_oracle",
)
"""Policies of different quality, which the estimators are asked about."""


@dataclass(frozen=True)
class Sizes(Checked):
    """How large a study is.

    Attributes:
        sessions: Of each log.
        repetitions: Logs of each world and logging policy, of other users each.
        truth_users: Test users on whom each target is played.
    """

    sessions: Users = 1_000
    repetitions: Count = 100
    truth_users: Users = 5_000


_AT_ONCE = 10
"""Logs that are played and replayed together."""

QUICK = Sizes(sessions=60, repetitions=2, truth_users=100)
"""A trial."""


def measure(
    world: EnvSpec, logging: str, sizes: Sizes, truth: Mapping[str, float], progress: bool = True
) -> dict[str, Any]:
    """How wrong the estimators are in a world, by the logs of a logging policy.

    Args:
        world: A slate environment.
        logging: A key of :data:`LOGGING`.
        sizes: How many sessions and logs.
        truth: What each target earns (:func:`true_returns`).
        progress: Whether to show progress on stderr.

    Returns:
        JSON types: for each estimator its errors by target (:func:`_errors`) and how it chooses among them
        (:func:`_choices`).
    """
    found = []
    with ExitStack() as opened:
        count = min(NUM_ENVS, sizes.sessions)
        players = [
            opened.enter_context(
                open_player(world, find_policy(one, world), {}, count, {}, propensities=True)
            )
            for one in LOGGING[logging]
        ]
        makers = {target: find_policy(target, world) for target in TARGETS}
        with track(f"{world.id}, {logging}", sizes.repetitions, progress) as advance:
            for first in range(0, sizes.repetitions, _AT_ONCE):
                some = range(first, min(first + _AT_ONCE, sizes.repetitions))
                log = _log(world, players, [user for one in some for user in _users(one, sizes)])
                targets = replay(log, makers, progress=False)
                for place, repetition in enumerate(some):
                    sessions = slice(place * sizes.sessions, (place + 1) * sizes.sessions)
                    rows = log.rows(sessions)
                    own = {name: target.at(rows) for name, target in targets.items()}
                    found.append(compare_replayed(log[sessions], own, seed=repetition))
                    advance(1)
    return {
        "env": world.id,
        "logging": logging,
        "sizes": asdict(sizes),
        "truth": dict(truth),
        "errors": {name: _errors(name, found, truth) for name in OF_ARRAYS},
        "choices": {name: _choices(name, found, truth) for name in OF_ARRAYS},
    }


def summary(measured: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """One row an estimator: means over worlds, logging policies and targets; None where nothing was estimated.

    Absolute bias and RMSE are shares of what the target earns, regret is one of what the best target earns.
    """
    rows = {}
    for name in OF_ARRAYS:
        errors = [
            (one, row["truth"][target]) for row in measured for target, one in row["errors"][name].items()
        ]
        choices = [(row["choices"][name], max(row["truth"].values())) for row in measured]
        rows[name] = {
            "answered": _mean([one["answered"] for one, _ in errors]),
            "bias": _mean([_share(one["bias"], true) for one, true in errors]),
            "rmse": _mean([_share(one["rmse"], true) for one, true in errors]),
            "coverage": _mean([one["coverage"] for one, _ in errors]),
            "t_coverage": _mean([one["t_coverage"] for one, _ in errors]),
            "bound_holds": _mean([one["bound_holds"] for one, _ in errors]),
            "rank": _mean([one["rank_correlation"] for one, _ in choices]),
            "regret": _mean([_share(one["regret"], best) for one, best in choices]),
        }
    return rows


def _share(value: float | None, of: float) -> float | None:
    return None if value is None else abs(value) / of


def true_returns(world: EnvSpec, sizes: Sizes, progress: bool = True) -> dict[str, float]:
    """What each of :data:`TARGETS` earns in a session, on test users; arguments as of :func:`measure`."""
    return returns_of(TARGETS, world, sizes.truth_users, progress)


def returns_of(
    policies: Sequence[str], world: EnvSpec, num_users: int, progress: bool = True
) -> dict[str, float]:
    """What policies earn in a session, on test users.

    Args:
        policies: Names with options, as ``gems-gym ope`` takes them.
        world: A slate environment.
        num_users: How many users each is played on.
        progress: Whether to show progress on stderr.
    """
    users = user_seeds("test", 0, num_users)
    env = gymnasium.make_vec(world, num_envs=min(NUM_ENVS, num_users), autoreset_mode="disabled")
    return {
        name: evaluate(find_policy(name, world)(env), env, users, name=name, progress=progress).mean_return
        for name in policies
    }


def _users(repetition: int, sizes: Sizes) -> Sequence[int]:
    return user_seeds("logging", repetition, sizes.sessions)


def _log(world: EnvSpec, players: Sequence[Player], users: Sequence[int]) -> EvaluationLog:
    catalog = players[0].env.unwrapped.catalog  # type: ignore[attr-defined]
    turns = [player.play(users[place :: len(players)]).episodes() for place, player in enumerate(players)]
    episodes = (next(turns[user % len(players)]) for user in range(len(users)))
    return EvaluationLog.of_episodes(episodes, world, "of the study", catalog.num_items, catalog.hash)


def _errors(
    name: str, found: Sequence[Comparison], truth: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """Of an estimator by target: how often it answers; of its answers bias, RMSE, and shares of intervals that hold."""
    errors = {}
    for target, true in truth.items():
        answers = [
            one for one in (each.estimates[target][name] for each in found) if isinstance(one, Estimate)
        ]
        values = np.array([one.value for one in answers])

        def share(holds: list[bool]) -> float | None:
            return float(np.mean(holds)) if holds else None

        errors[target] = {
            "answered": len(answers) / len(found),
            "bias": float(values.mean() - true) if len(answers) else None,
            "rmse": float(np.sqrt(np.mean((values - true) ** 2))) if len(answers) else None,
            "coverage": share([one.interval[0] <= true <= one.interval[1] for one in answers]),
            "t_coverage": share([one.t_interval[0] <= true <= one.t_interval[1] for one in answers]),
            "bound_holds": share([one.lower_bound <= true for one in answers]),
        }
    return errors


def _choices(name: str, found: Sequence[Comparison], truth: Mapping[str, float]) -> dict[str, float | None]:
    """How an estimator orders the targets that it answers for, and what choosing by its lower bound costs."""
    correlations, regrets = [], []
    for each in found:
        row = {target: each.estimates[target][name] for target in truth}
        known = {target: one for target, one in row.items() if isinstance(one, Estimate)}
        if not known:
            continue
        best = max(known, key=lambda target: known[target].lower_bound)
        regrets.append(max(truth.values()) - truth[best])
        values = [one.value for one in known.values()]
        if len(set(values)) > 1:
            correlations.append(float(spearmanr(values, [truth[target] for target in known]).statistic))
    return {"rank_correlation": _mean(correlations), "regret": _mean(regrets)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return float(np.mean(known)) if known else None
