"""Several policies by one log: every estimator for each, and which policy to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gems_gym_agents.ope.estimators import (
    OF_ARRAYS,
    WITHOUT_PROPENSITIES,
    Estimate,
    NotApplicableError,
    Question,
    estimate,
    logged,
)
from gems_gym_agents.ope.intervals import Resamples
from gems_gym_agents.ope.logs import EvaluationLog
from gems_gym_agents.ope.policies import MakePolicy
from gems_gym_agents.ope.replay import Replayed, replay
from gems_gym_agents.ope.terms import LARGEST_WEIGHT

LOGGED = "as logged"
"""Stands for the logging policy where policies are chosen among."""


@dataclass(frozen=True)
class Comparison:
    """What estimators say of policies.

    Attributes:
        logged: What the logging policy earned, with each of the lower bounds.
        estimates: Policy -> estimator -> its estimate, or why there is none.
    """

    logged: dict[str, Estimate]
    estimates: dict[str, dict[str, Estimate | str]]

    def selected(self) -> dict[str, str]:
        """The policy of the highest lower bound by each estimator that has one; the logging policy is among them."""
        chosen = {}
        for name in next(iter(self.estimates.values()), {}):
            row = {policy: found[name] for policy, found in self.estimates.items()}
            known = {policy: one for policy, one in row.items() if isinstance(one, Estimate)}
            if known:
                as_logged = self.logged[next(iter(known.values())).bound]  # before the others: it wins ties
                known = {LOGGED: as_logged, **known}
                chosen[name] = max(known, key=lambda policy: known[policy].lower_bound)
        return chosen


def with_propensities_of(log: EvaluationLog, make: MakePolicy, progress: bool = True) -> EvaluationLog:
    """The same log with the propensities of the policy that made it.

    Args:
        log: Its own propensities, if it has any, are left out.
        make: Makes the policy.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ValueError: The policy does not know its propensities.
    """
    found = replay(log, {"logging": make}, progress)["logging"].propensities
    if found is None:
        raise ValueError(
            "the logging policy does not know how likely it was to show its slates: it draws or remembers, and has no "
            f"method propensities; leave it out, and ask by --estimator for {' or '.join(WITHOUT_PROPENSITIES)} alone"
        )
    return replace(log, propensities=found, of_slots=False, estimated=False)


def check_propensities(log: EvaluationLog, estimators: Sequence[str]) -> None:
    """Raise a clear error where weights can't be made of a log, if one of the estimators requires them.

    Raises:
        ValueError: There are none, or the logging policy left nothing to chance.
    """
    if {*estimators} <= {*WITHOUT_PROPENSITIES}:
        return
    others = f"ask by --estimator for {' or '.join(WITHOUT_PROPENSITIES)} alone"
    if log.propensities is None:
        raise ValueError(
            "the log has no propensities: name the policy that made it (--logging), estimate them by counts "
            "(--estimate-propensities), or "
            f"{others}; 'gems-gym collect --propensities' records them"
        )
    if (log.propensities.given_above == 1)[log.impressions.shown].all():
        raise ValueError(
            "the logging policy left nothing to chance (all propensities are 1), so that the log says nothing of other "
            f"slates; {others}"
        )


def compare(
    log: EvaluationLog,
    policies: Mapping[str, MakePolicy],
    estimators: Sequence[str] = OF_ARRAYS,
    *,
    clip: float = LARGEST_WEIGHT,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Estimate what each policy would have earned.

    Args:
        log: Sessions with propensities, unless no estimator requires them.
        policies: What makes each, by name.
        estimators: Keys of :data:`~gems_gym_agents.ope.estimators.ESTIMATORS`.
        clip: Weights are cut here.
        seed: Seed of the bootstrap and of what is learned.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ValueError: As :func:`check_propensities`, or propensities that are not in (0, 1].
    """
    check_propensities(log, estimators)
    return compare_replayed(
        log, replay(log, policies, progress), estimators, clip=clip, seed=seed, progress=progress
    )


def compare_replayed(
    log: EvaluationLog,
    targets: Mapping[str, Replayed],
    estimators: Sequence[str] = OF_ARRAYS,
    *,
    clip: float = LARGEST_WEIGHT,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Estimate what policies would have earned that were asked already.

    Args:
        log: Sessions with propensities, unless no estimator requires them.
        targets: What each would have done, by name.
        estimators: Keys of :data:`~gems_gym_agents.ope.estimators.ESTIMATORS`.
        clip: Weights are cut here.
        seed: Seed of the bootstrap and of what is learned.
        progress: Whether what is learned shows a progress bar on stderr.
    """
    resamples = Resamples(len(log.lengths), seed)
    found: dict[str, dict[str, Estimate | str]] = {}
    for policy, target in targets.items():
        question, row = Question(log, target, clip, seed, progress), found.setdefault(policy, {})
        for name in estimators:
            try:
                row[name] = estimate(name, question, resamples)
            except NotApplicableError as error:
                row[name] = str(error)
    of_log = [logged(log, non_negative, resamples) for non_negative in (False, True)]
    return Comparison({one.bound: one for one in of_log}, found)
