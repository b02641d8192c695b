"""The estimators by name: what each requires, and what it makes of a log and a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import t_interval
from gems_gym_agents.ope import doubly_robust as dr
from gems_gym_agents.ope import importance_sampling as weighted
from gems_gym_agents.ope.fitted_q import fitted_q_values
from gems_gym_agents.ope.intervals import Diagnostics, Resamples, bootstrap_interval, lower_bound
from gems_gym_agents.ope.logs import EvaluationLog
from gems_gym_agents.ope.pseudo_inverse import pseudo_inverse
from gems_gym_agents.ope.replay import Replayed
from gems_gym_agents.ope.terms import LARGEST_WEIGHT, Terms, importance_ratios

Array = NDArray[np.float64]


NUM_GROUPS = 10
"""Groups of slates, for latent IPS."""

LARGEST_TABLE = 2**25
"""Sessions times steps of the longest, for estimators of sessions: they hold several such tables of 256 MiB."""


class NotApplicableError(ValueError):
    """Why an estimator can't be had of a log and a policy."""


@dataclass(frozen=True)
class Question:
    """What a policy would earn, by a log: the arrays that estimators are functions of.

    Attributes:
        log: Sessions of n impressions.
        target: What the policy would have done.
        clip: Weights are cut here.
        seed: Seed of what is learned.
        progress: Whether that shows a progress bar on stderr.
    """

    log: EvaluationLog
    target: Replayed
    clip: float = LARGEST_WEIGHT
    seed: int = 0
    progress: bool = False

    @cached_property
    def clicks(self) -> Array:
        """On each slot, ``(n, slate_size)``."""
        return self.log.impressions.clicks.astype(np.float64)

    @cached_property
    def ratios(self) -> Array:
        """Of the probabilities given the items above, ``(n, slate_size)``; products of them are weights.

        Where the log has those of single slots only, so are the target's.
        """
        if self.log.of_slots:
            return self.marginal_ratios
        target, logging = self._propensities()
        return importance_ratios(target.given_above, logging.given_above, self.log.impressions.shown)

    @cached_property
    def marginal_ratios(self) -> Array:
        """Of the marginal probabilities, ``(n, slate_size)``."""
        target, logging = self._propensities()
        for who, marginal in (("logging", logging.marginal), ("target", target.marginal)):
            if marginal is None:
                raise NotApplicableError(
                    f"the {who} policy's probability of an item in a slot, whatever the others show, has no closed form"
                )
        assert target.marginal is not None
        assert logging.marginal is not None
        return importance_ratios(target.marginal, logging.marginal, self.log.impressions.shown)

    @cached_property
    def step_ratios(self) -> Array:
        """Of whole slates, ``(S, T)``; 1 behind a session's end."""
        return self._in_sessions(self.ratios.prod(axis=1), 1.0)

    @cached_property
    def rewards(self) -> Array:
        """Clicks of each step, ``(S, T)``."""
        return self._in_sessions(self.clicks.sum(axis=1), 0.0)

    @cached_property
    def predicted(self) -> tuple[Array, Array, Array]:
        """Expected clicks of what was logged and of what the target shows, and the latter's mean for each session.

        ``(n, slate_size)`` twice and ``(S,)``. The model of a session has learned from the other half of the sessions.
        """
        log, shown = self.log, self.log.impressions.shown
        here, target, mean = np.zeros(shown.shape), np.zeros(shown.shape), np.zeros(len(log.lengths))
        for half, model in enumerate(reversed(log.click_models)):
            own = log.session % 2 == half
            here[own] = model.predict(log.impressions.slates[own]) * shown[own]
            expected = model.predict(self.target.slates) * shown
            target[own] = expected[own]
            mean[half::2] = expected[~own].sum(axis=1).mean()
        return here, target, mean

    @cached_property
    def groups(self) -> tuple[NDArray[np.int64], Array]:
        """The groups of what was logged, ``(n,)``, and the share of each in what the target shows.

        Slates belong together if the model expects equally many clicks of them: tenths of the log.
        """
        here, target, _ = (expected.sum(axis=-1) for expected in self.predicted)
        tenths = np.unique(np.quantile(here, np.arange(1, NUM_GROUPS) / NUM_GROUPS, method="lower"))
        edges = tenths[tenths > here.min()]  # each is expected of a logged slate: no group is empty
        shown = np.bincount(np.searchsorted(edges, target, side="right"), minlength=len(edges) + 1)
        return np.searchsorted(edges, here, side="right"), shown / len(target)

    @cached_property
    def step_expectations(self) -> tuple[Array, Array]:
        """What the model expects from each step on, ``(S, T)``: of what was logged there, and of the target."""
        here, target, mean = self.predicted
        alive = self.log.filled.mean(axis=0)
        later = (alive[::-1].cumsum()[::-1] - alive) / alive  # steps to come, of those who are there
        rest = np.where(self.log.filled, later * mean[:, None], 0.0)
        return (
            self.log.in_sessions(here.sum(axis=1), 0.0) + rest,
            self.log.in_sessions(target.sum(axis=1), 0.0) + rest,
        )

    def _in_sessions(self, values: Array, behind: float) -> Array:
        sessions, steps = len(self.log.lengths), int(self.log.lengths.max())
        if sessions * steps > LARGEST_TABLE:
            raise NotApplicableError(
                f"{sessions:,} sessions times {steps:,} steps of the longest are more than {LARGEST_TABLE:,}: draw "
                "fewer sessions (gems-gym dataset subset --episodes), or import the log with a shorter --session-gap"
            )
        return self.log.in_sessions(values, behind)

    def _propensities(self) -> tuple[Any, Any]:
        if self.target.propensities is None:
            raise NotApplicableError(
                "the policy does not know how likely it was to show what was logged: it draws or remembers, and has no "
                "method propensities"
            )
        if self.log.propensities is None:
            raise NotApplicableError("the log has no propensities")
        return self.target.propensities, self.log.propensities


@dataclass(frozen=True)
class Estimator:
    """An estimator of what a policy earns in a session.

    Attributes:
        terms: Makes its terms.
        propensities: Whether it requires them.
        level: "slate": sees impressions one by one, as if their past stayed as logged whoever plays; "session": weights
            what came before.
        non_negative: Whether it is a mean of values that are ≥ 0 whatever the log is.
    """

    terms: Callable[[Question], Terms]
    propensities: bool
    level: Literal["slate", "session"]
    non_negative: bool


def _slots(function: Callable[..., Terms], ratios: str, question: Question) -> Terms:
    return function(question.clicks, getattr(question, ratios), question.clip)


def _steps(function: Callable[..., Terms], question: Question) -> Terms:
    return function(question.rewards, question.step_ratios, question.clip)


def _robust(function: Callable[..., Terms], question: Question) -> Terms:
    return function(question.rewards, question.step_ratios, *question.step_expectations, question.clip)


def _direct(question: Question) -> Terms:
    return Terms(question.predicted[1].sum(axis=1, keepdims=True), None, None)


def _latent(question: Question) -> Terms:
    return weighted.latent_ips(question.clicks, *question.groups, question.clip)


def _fitted_q(question: Question) -> Terms:
    log, latents = question.log, question.target.latents
    if log.recorded is None:
        raise NotApplicableError(
            "the dataset holds slates, and a Q-function is learned of beliefs and latents: 'gems-gym dataset relabel' "
            "makes them of sessions in a world"
        )
    if latents is None:
        raise NotApplicableError(
            "the policy does not act in the dataset's latents: it is no trained agent with the same ranker"
        )
    values = fitted_q_values(log, log.recorded, latents, seed=question.seed, progress=question.progress)
    rounding = -0.1 * question.clicks.sum() / len(values)  # of values that are nearly 0
    if not rounding <= values.mean() <= log.impressions.slates.shape[1] * log.lengths.max():
        raise NotApplicableError(f"its learning diverged: {values.mean():.4g} clicks a session were expected")
    return Terms(values[:, None], None, None)


def _cascade(question: Question) -> Terms:
    here, target, _ = question.predicted
    return dr.cascade_doubly_robust(question.clicks, question.ratios, here, target, question.clip)


ESTIMATORS: dict[str, Estimator] = {
    "dm": Estimator(_direct, False, "slate", False),
    "ips": Estimator(partial(_slots, weighted.ips, "ratios"), True, "slate", True),
    "snips": Estimator(partial(_slots, weighted.self_normalised_ips, "ratios"), True, "slate", False),
    "iips": Estimator(partial(_slots, weighted.independent_ips, "marginal_ratios"), True, "slate", True),
    "rips": Estimator(partial(_slots, weighted.reward_interaction_ips, "ratios"), True, "slate", True),
    "pi": Estimator(partial(_slots, pseudo_inverse, "marginal_ratios"), True, "slate", False),
    "lips": Estimator(_latent, False, "slate", False),
    "cascade_dr": Estimator(_cascade, True, "slate", False),
    "tis": Estimator(partial(_steps, weighted.trajectory_is), True, "session", True),
    "pdis": Estimator(partial(_steps, weighted.per_decision_is), True, "session", True),
    "wpdis": Estimator(partial(_steps, weighted.weighted_per_decision_is), True, "session", False),
    "dr": Estimator(partial(_robust, dr.doubly_robust), True, "session", False),
    "wdr": Estimator(partial(_robust, dr.weighted_doubly_robust), True, "session", False),
    "fqe": Estimator(_fitted_q, False, "session", False),
}
"""By the field's abbreviations; docs/ope.md says what each assumes."""

OF_ARRAYS = tuple(name for name in ESTIMATORS if name != "fqe")
"""Estimators that take no time, since nothing is trained: those that are asked if none is named."""

WITHOUT_PROPENSITIES = tuple(name for name, one in ESTIMATORS.items() if not one.propensities)
"""Estimators for logs that have none, and for policies that don't know theirs."""


@dataclass(frozen=True)
class Estimate:
    """What an estimator says: clicks a session.

    Attributes:
        value: The estimate.
        interval: 95 % interval by bootstrap over sessions.
        t_interval: 95 % Student-t interval.
        lower_bound: What it is above with 95 % confidence.
        bound: By which bound.
        diagnostics: Of its weights; None if it has none.
    """

    value: float
    interval: tuple[float, float]
    t_interval: tuple[float, float]
    lower_bound: float
    bound: str
    diagnostics: Diagnostics | None


def estimate(name: str, question: Question, resamples: Resamples) -> Estimate:
    """Ask one estimator.

    Args:
        name: A key of :data:`ESTIMATORS`.
        question: What is asked.
        resamples: Samples of the log's sessions.

    Raises:
        NotApplicableError: It requires what the log or the policy lacks, or there is no overlap.
    """
    estimator = ESTIMATORS[name]
    terms = estimator.terms(question)
    _check_overlap(terms, estimator.level)
    sessions = terms if estimator.level == "session" else terms.by_session(question.log.session)
    # weights of steps are there for all sessions at the length of the longest
    of_steps = terms.cut is not None and terms.cut.shape == question.log.filled.shape
    diagnostics = Diagnostics.of(terms, question.clip, question.log.filled if of_steps else None)
    return _estimate(sessions, estimator.non_negative, diagnostics, resamples)


def _check_overlap(terms: Terms, level: str) -> None:
    if terms.cut is None:
        return
    possible = (terms.cut > 0).any(axis=0)  # (C,)
    if not possible.all():
        column = f" at {'step' if level == 'session' else 'slot'} {possible.argmin() + 1}"
        raise NotApplicableError(
            f"no overlap: the policy could have shown nothing of what was logged{column if possible.size > 1 else ''}, "
            "or is so unlikely to that all weights are 0"
        )


def logged(log: EvaluationLog, non_negative: bool, resamples: Resamples) -> Estimate:
    """What the logging policy earned: the mean of the log, with the lower bound of estimators of that kind."""
    clicks = log.impressions.clicks.sum(axis=1, keepdims=True).astype(np.float64)
    terms = Terms(clicks, None, None).by_session(log.session)
    return _estimate(terms, non_negative, None, resamples)


def _estimate(
    sessions: Terms, non_negative: bool, diagnostics: Diagnostics | None, resamples: Resamples
) -> Estimate:
    value, half = sessions.value, t_interval(sessions.values)
    bound, by = lower_bound(sessions, non_negative)
    around = (value - half, value + half)
    return Estimate(value, bootstrap_interval(sessions, resamples), around, bound, by, diagnostics)
