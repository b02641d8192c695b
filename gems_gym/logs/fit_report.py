"""What was fitted to a log, and how good it is on later sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 1_000


@dataclass(frozen=True)
class Score:
    """A mean with its 95 % interval, by a bootstrap over sessions.

    Attributes:
        mean: The mean over all slots.
        low: The interval's lower end.
        high: Its upper end.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, mean: float, drawn: NDArray[np.float64]) -> Self:
        """A mean, and those of resampled sessions."""
        return cls(float(mean), *np.quantile(drawn, (0.025, 0.975)).tolist())


@dataclass(frozen=True)
class FitReport:
    """What was fitted, and how good it is on later sessions.

    Attributes:
        dataset_id: What it was fitted to.
        by_time: Whether the later sessions are later in time; otherwise they are the last of the file, which says no
            times.
        earlier: Sessions that were learned from.
        later: Sessions that everything was scored on.
        slates: Slates in both.
        slates_cut: Slates left out, as 100 of their session came before.
        log_loss: Click model -> nats a slot on later sessions: one click rate, that of the position, the two click
            models, and mixtures with a click head without and with the belief.
        propensities: How likely users look at each position, if the largest is 1.
        comparable: Positions, counted from 1, in groups that share items: only within a group can propensities be
            compared.
        continuation: How likely, in the cascade model, a user who clicked looks at the next item.
        history: Log-loss with history less that without, nats a slot; None if no belief could be learned.
        verdict: A sentence on whether there is anything sequential.
        embeddings: Their ``kind``, and the ``auc`` of later clicks by likeness to what the session clicked before.
        slot_accuracy: Share of the later slates' slots that the ranker decodes as it encoded them; None without one.
        files: Name -> sha256.
        left_out: What could not be learned -> the reason.
    """

    dataset_id: str
    by_time: bool
    earlier: int
    later: int
    slates: int
    slates_cut: int
    log_loss: dict[str, Score]
    propensities: tuple[float, ...]
    comparable: tuple[tuple[int, ...], ...]
    continuation: float
    history: Score | None
    verdict: str
    embeddings: dict[str, Any]
    slot_accuracy: Score | None
    files: dict[str, str]
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The same in JSON types."""
        return asdict(self)


def resampled(
    totals: Sequence[NDArray[np.float64]], slots: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over the slots of all sessions, and of sessions drawn with replacement: a paired bootstrap.

    Args:
        totals: Sums over each session of something of its slots, ``(num_sessions,)`` each.
        slots: Slots of each session, ``(num_sessions,)``.
        seed: Of the draws; the same sessions are drawn for all of ``totals``.

    Returns:
        ``(len(totals),)`` and ``(1000, len(totals))``.
    """
    sums = np.stack([*totals, slots], axis=1)  # (num_sessions, len(totals) + 1)
    drawn, means = resampled_sums(sums, seed), sums.sum(axis=0)
    return means[:-1] / means[-1], drawn[:, :-1] / drawn[:, -1:]


def resampled_sums(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums over sessions drawn with replacement: ``(num_sessions, n)`` to ``(1000, n)``."""
    rng, count = np.random.default_rng(seed), len(values)
    return np.stack(
        [np.bincount(rng.integers(count, size=count), minlength=count) @ values for _ in range(_RESAMPLES)]
    )


def verdict(history: Score | None) -> str:
    """A sentence on log-loss with history less that without; None if no belief could be learned."""
    if history is None:
        return "no belief could be learned, so nothing is known of what history tells: a bandit is enough"
    gain, low, high = (0.0 - one for one in (history.mean, history.high, history.low))
    measured = f"by {gain:.4f} nats a slot, 95 % interval {low:.4f} to {high:.4f}"
    if history.high < 0:
        return (
            f"history improves the prediction of clicks ({measured}): there is something to learn from sequences; "
            "whether slates change users, or users only differ, a log does not say"
        )
    return f"history does not measurably improve the prediction of clicks ({measured}): a bandit is enough"
