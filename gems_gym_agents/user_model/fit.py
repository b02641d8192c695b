"""Fitting the model's numbers to logged clicks by their likelihood, chunk by chunk."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.user_model.axes import block_norms
from gems_gym_agents.user_model.dynamics import Dynamics
from gems_gym_agents.user_model.likelihood import Gradients, no_gradients, pass_over
from gems_gym_agents.user_model.logs import Log
from gems_gym_agents.user_model.model import Rules, UserModel

_CHUNK = 512
"""Sessions between two moves of the numbers that all items share."""
CHUNKS = 40
"""Chunks of a pass: those of the recipe's log."""
_FORGET = 0.8
"""What is kept of the items' curvature from one chunk to the next: they were elsewhere when it was measured."""
_DRIFT_EVERY, _DRIFT_SESSIONS = 4, 256
_FIRST_STEP, _LAST_STEP = 1.0, 0.1
_SCALE_STEP, _OMEGA_STEP = 0.1, 0.02
_BURN_IN = 20
DOUBT = 0.002
"""Relevance is taken to be in [DOUBT, 1 − DOUBT] in learning."""


@dataclass(frozen=True)
class Numbers:
    """The model's numbers beside the items, as they are fitted; immutable, so that another may be tried.

    Attributes:
        log_propensities: float64 ``(slate_size,)``, ≤ 0.
        log_slope: Logarithm of the slope of the logistic relevance.
        omega: Inertia.
        rules: Boredom and monotonous slates.
    """

    log_propensities: NDArray[np.float64]
    log_slope: float = float(np.log(40.0))
    omega: float = 0.8
    rules: Rules = field(default_factory=Rules)

    def with_propensities(self, factor: float) -> "Numbers":
        """The same with all propensities multiplied, at most 1."""
        return replace(self, log_propensities=np.minimum(self.log_propensities + np.log(factor), 0.0))


class Fit:
    """A model that is being fitted.

    Args:
        items: Where the items start, ``(num_items, num_topics · topic_size)``; copied.
        topic_size: Numbers in a block.
        slate_size: Positions of a slate.

    Attributes:
        items: The items as they are now.
        numbers: All else, likewise.
        chosen_topics: Topics of items whose vectors leave it open, by item; all others are those of the largest block.
    """

    def __init__(self, items: NDArray[np.float64], topic_size: int, slate_size: int) -> None:
        self.items = np.array(items, dtype=np.float64)
        self.numbers = Numbers(np.full(slate_size, np.log(0.5)))
        self.chosen_topics: dict[int, int] = {}
        self.topic_size = topic_size
        self._curvature = np.zeros_like(self.items)
        size = items.shape[1]
        self._drift_step = _FIRST_STEP
        self._start = np.full(size, topic_size**0.5 / size)  # block norms add up to 1

    @property
    def topics(self) -> NDArray[np.int64]:
        """Each item's topic, int64 ``(num_items,)``."""
        topics: NDArray[np.int64] = block_norms(self.items, self.topic_size).argmax(axis=1)
        topics[list(self.chosen_topics)] = list(self.chosen_topics.values())
        return topics

    def log_likelihood(
        self,
        log: Log,
        numbers: Numbers | None = None,
        topics: NDArray[np.int64] | None = None,
        doubt: float = DOUBT,
    ) -> float:
        """Mean log-likelihood of a slot of a log.

        Args:
            log: Sessions.
            numbers: Others than the fit's own.
            topics: Likewise.
            doubt: Relevance is taken to be in [doubt, 1 − doubt].
        """
        chosen = self.topics if topics is None else topics
        found = self._pass(log, numbers or self.numbers, chosen, 0.0, doubt=doubt)
        return float(found.totals[0] / max(found.totals[1], 1.0))

    def learn(self, log: Log, rate: float, chunks: int = CHUNKS) -> None:
        """Go through a log, once or several times or in part, all numbers but the rules moving.

        Args:
            log: Sessions.
            rate: Size of the items' steps; 0 leaves them where they are, but for their scale.
            chunks: Moves of the numbers that all items share: so often whatever the log's size.
        """
        firsts = range(0, len(log), _CHUNK)
        for chunk in range(chunks):
            first = firsts[chunk % len(firsts)]
            self._curvature *= _FORGET
            found = self._pass(log[first : first + _CHUNK], self.numbers, self.topics, rate)
            slope, slope_curvature = found.totals[2:]
            gradient, curvature = found.propensities
            steps = _damped(gradient, curvature)
            self.numbers = replace(
                self.numbers,
                log_slope=self.numbers.log_slope + float(_damped(slope, slope_curvature)),
                log_propensities=np.minimum(self.numbers.log_propensities + steps, 0.0),
            )
            if chunk % _DRIFT_EVERY == 0:
                self._set_drift(log[first : first + _DRIFT_SESSIONS])

    def model(self, metadata: Mapping[str, Any] | None = None) -> UserModel:
        """The model as it is now; of users it expects that they like all topics alike.

        Args:
            metadata: To keep with it.
        """
        return UserModel(
            items=self.items.copy(),
            topics=self.topics,
            topic_size=self.topic_size,
            propensities=np.exp(self.numbers.log_propensities),
            slope=float(np.exp(self.numbers.log_slope)),
            omega=self.numbers.omega,
            rules=self.numbers.rules,
            prior=self._start[None],
            metadata=dict(metadata or {}),
        )

    def _set_drift(self, log: Log) -> None:
        """Move the two numbers that say how fast users drift, ω and the items' scale, to the best of nine pairs.

        The pairs come closer where the middle one is best, and go apart where another is.
        """
        topics, now = self.topics, self.numbers
        tried: list[tuple[float, int, float, float]] = []
        for moves in product((0, -1, 1), repeat=2):
            scale = (1.0 + _SCALE_STEP * self._drift_step) ** moves[0]
            omega = float(np.clip(now.omega + moves[1] * _OMEGA_STEP * self._drift_step, 0.3, 0.99))
            found = self._pass(log, replace(now, omega=omega), topics, 0.0, self.items * scale)
            tried.append((found.totals[0] / max(found.totals[1], 1.0), -len(tried), scale, omega))
        _, place, scale, omega = max(tried)  # the first of equals
        self.items *= scale
        self.numbers = replace(now, omega=omega)
        self._drift_step *= 0.5 if place == 0 else 2.0
        self._drift_step = float(np.clip(self._drift_step, _LAST_STEP, _FIRST_STEP))

    def _pass(
        self,
        log: Log,
        numbers: Numbers,
        topics: NDArray[np.int64],
        rate: float,
        items: NDArray[np.float64] | None = None,
        doubt: float = DOUBT,
    ) -> Gradients:
        sums = no_gradients(log.slates.shape[2])
        dynamics = Dynamics(
            topics,
            self.items.shape[1] // self.topic_size,
            self.topic_size,
            np.exp(numbers.log_propensities),
            float(np.exp(numbers.log_slope)),
            numbers.omega,
            *(getattr(numbers.rules, one.name) for one in fields(numbers.rules)),
        )
        moved = self.items if items is None else items
        pass_over(
            moved, self._curvature, dynamics, self._start, log.slates, log.clicks, _BURN_IN, doubt, rate, sums
        )
        return sums


def _damped(gradient: Any, curvature: Any) -> Any:
    """Half a Newton step, of at most a tenth."""
    return np.clip(0.5 * gradient / np.maximum(curvature, 1.0), -0.1, 0.1)
