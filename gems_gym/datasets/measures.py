"""Measures of a dataset, gathered chunk by chunk: clicks, slates, and how vectors fill their box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import t_interval
from gems_gym.datasets.sessions import Sessions

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 30
"""Bins of the histogram of returns, at most; each holds as many integers as the others."""

BORDER = 1.0 - 1e-6
"""A number of an action or belief whose size is at least this counts as lying at the border of the box."""


@dataclass(frozen=True)
class Returns:
    """Clicks per session.

    Attributes:
        mean: Mean.
        ci95: Half-width of the 95 % t-interval of the mean over sessions; infinite for one session.
        sd: Standard deviation.
        minimum: Smallest.
        quantiles: Share of sessions, as text -> the return that this share does not exceed.
        maximum: Largest.
        bin_edges: Edges of a histogram, halfway between integers.
        bin_counts: Sessions in each bin.
        clicks_per_step: Mean reward at every step of a session.
    """

    mean: float
    ci95: float
    sd: float
    minimum: float
    quantiles: dict[str, float]
    maximum: float
    bin_edges: tuple[float, ...]
    bin_counts: tuple[int, ...]
    clicks_per_step: tuple[float, ...]


@dataclass(frozen=True)
class Concentration:
    """How unevenly something is spread over the items, or over the topics.

    Attributes:
        gini: 0 where all get the same, near 1 where one gets everything.
        effective_number: Exponential of the entropy (natural logarithm): so many, equally often, would be as mixed.
        share_shown: Share of all that occur at all.
    """

    gini: float
    effective_number: float
    share_shown: float


@dataclass(frozen=True)
class Slates:
    """What was shown and clicked, the sessions' first slates apart: no policy chose these.

    Attributes:
        clicks_per_rank: Clicks per slate on each slot, best first.
        topic_shares: Share of the slots that show items of each topic.
        clicked_topic_shares: Share of the clicks that fall on each topic; zeros if there are no clicks.
        topics: How the slots are spread over the topics.
        items: How the slots are spread over the items.
        item_curve: Share of the slots that show the most shown 0, 1, …, 100 % of the items.
        bored_steps: Share of the steps at which some topic bored the user.
        bored_topics: Topics that bore the user, mean over steps.
        slates_with_duplicates: Share of the slates that show some item twice.
        duplicates_per_slate: Slots that repeat an earlier one of their slate, mean over slates.
    """

    clicks_per_rank: tuple[float, ...]
    topic_shares: tuple[float, ...]
    clicked_topic_shares: tuple[float, ...]
    topics: Concentration
    items: Concentration
    item_curve: tuple[float, ...]
    bored_steps: float
    bored_topics: float
    slates_with_duplicates: float
    duplicates_per_slate: float


@dataclass(frozen=True)
class Coverage:
    """How vectors, beliefs or latents, fill their box.

    Attributes:
        sd: Standard deviation in each dimension.
        at_border: Share of all their numbers that lie at the border of [-1, 1].
        effective_dimensions: Exponential of the entropy of the covariance's normalised eigenvalues, between 1 and the
            number of dimensions; 0 if nothing varies.
    """

    sd: tuple[float, ...]
    at_border: float
    effective_dimensions: float


class ReturnMeasures:
    """Gathers what :class:`Returns` holds; memory grows by one number a session."""

    def __init__(self) -> None:
        self._returns: list[NDArray[np.float64]] = []
        self._per_step = np.zeros(0)  # (num_steps of the longest session so far,), summed

    def add(self, sessions: Sessions) -> None:
        """Takes in more sessions."""
        rewards = sessions.rewards.astype(np.float64)  # (num_sessions, num_steps)
        self._returns.append(rewards.sum(axis=1))
        summed = rewards.sum(axis=0)
        shorter, self._per_step = sorted((summed, self._per_step), key=len)
        self._per_step = self._per_step + np.pad(shorter, (0, len(self._per_step) - len(shorter)))

    def result(self) -> Returns:
        """The measures so far, of at least one session."""
        returns = np.concatenate(self._returns)
        low, high = np.floor(returns.min()) - 0.5, np.ceil(returns.max()) + 0.5
        width = np.ceil((high - low) / BINS)
        counts, edges = np.histogram(returns, bins=np.arange(low, high + width, width))
        return Returns(
            mean=float(returns.mean()),
            ci95=t_interval(returns),
            sd=float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
            minimum=float(returns.min()),
            quantiles={f"{share:g}": float(np.quantile(returns, share)) for share in QUANTILES},
            maximum=float(returns.max()),
            bin_edges=_floats(edges),
            bin_counts=tuple(counts.tolist()),
            clicks_per_step=_floats(self._per_step / len(returns)),
        )


class SlateMeasures:
    """Gathers what :class:`Slates` holds.

    Args:
        item_topics: Main topic of every item, ``(num_items,)``.
        num_topics: Topics in the world.
        slate_size: Items in a slate.
    """

    def __init__(self, item_topics: NDArray[np.int64], num_topics: int, slate_size: int) -> None:
        self._topics, self._num_topics = item_topics, num_topics
        self._shown = np.zeros(len(item_topics), dtype=np.int64)
        self._clicked = np.zeros(len(item_topics), dtype=np.int64)
        self._clicks_per_rank = np.zeros(slate_size, dtype=np.int64)
        self._slates = self._bored_steps = self._bored_topics = self._with_duplicates = self._duplicates = 0

    def add(self, sessions: Sessions) -> None:
        """Takes in more sessions."""
        infos = sessions.infos
        slates, clicks = (
            infos[name][:, 1:][sessions.filled].astype(np.int64) for name in ("slate", "clicks")
        )
        # (N, num_topics), as slates and clicks are (N, slate_size)
        bored = infos["bored"][:, 1:][sessions.filled]
        in_order = np.sort(slates, axis=1)
        repeated = (in_order[:, 1:] == in_order[:, :-1]).sum(axis=1)  # (N,)
        self._shown += np.bincount(slates.ravel(), minlength=len(self._shown))
        self._clicked += np.bincount(slates[clicks == 1], minlength=len(self._shown))
        self._clicks_per_rank += clicks.sum(axis=0)
        self._slates += len(slates)
        self._bored_steps += int(bored.any(axis=1).sum())
        self._bored_topics += int(bored.sum())
        self._with_duplicates += int((repeated > 0).sum())
        self._duplicates += int(repeated.sum())

    def result(self) -> Slates:
        """The measures so far, of at least one session."""
        shown, clicked = (
            np.bincount(self._topics, weights=counts, minlength=self._num_topics)
            for counts in (self._shown, self._clicked)
        )
        most_first = np.concatenate([[0.0], np.sort(self._shown)[::-1].cumsum() / self._shown.sum()])
        return Slates(
            clicks_per_rank=_floats(self._clicks_per_rank / self._slates),
            topic_shares=_floats(shown / shown.sum()),
            clicked_topic_shares=_floats(clicked / max(clicked.sum(), 1)),
            topics=concentration(shown),
            items=concentration(self._shown),
            item_curve=_floats(
                np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, len(most_first)), most_first)
            ),
            bored_steps=self._bored_steps / self._slates,
            bored_topics=self._bored_topics / self._slates,
            slates_with_duplicates=self._with_duplicates / self._slates,
            duplicates_per_slate=self._duplicates / self._slates,
        )


class CoverageMeasures:
    """Gathers what :class:`Coverage` holds, by sums: memory does not grow."""

    def __init__(self, size: int) -> None:
        self._count = self._at_border = 0
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Takes in more vectors, ``(..., size)``."""
        rows = vectors.reshape(-1, len(self._sum)).astype(np.float64)
        self._count += len(rows)
        self._at_border += int((np.abs(rows) >= BORDER).sum())
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows

    def result(self) -> Coverage:
        """The measures so far, of at least one vector."""
        mean = self._sum / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        # the difference of two near numbers: what is below their rounding is nothing
        noise = 1e-12 * np.trace(self._products) / self._count
        eigenvalues = np.linalg.eigvalsh(covariance)
        eigenvalues = np.where(eigenvalues > noise, eigenvalues, 0.0)
        return Coverage(
            sd=_floats(np.sqrt(np.maximum(np.diag(covariance), 0.0))),
            at_border=self._at_border / (self._count * len(self._sum)),
            effective_dimensions=effective_number(eigenvalues),
        )


def concentration(counts: NDArray[np.generic]) -> Concentration:
    """How unevenly counts are spread, ``(n,)`` numbers ≥ 0 with a sum > 0."""
    in_order = np.sort(np.asarray(counts, dtype=np.float64))
    n = len(in_order)
    gini = 2.0 * (np.arange(1, n + 1) @ in_order) / (n * in_order.sum()) - (n + 1) / n
    return Concentration(float(gini), effective_number(in_order), float((in_order > 0).mean()))


def effective_number(weights: NDArray[np.floating]) -> float:
    """Exponential of the entropy of weights ≥ 0 made to sum to 1; 0 if all are 0."""
    present = weights[weights > 0]
    if not len(present):
        return 0.0
    shares = present / present.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _floats(values: NDArray[np.generic]) -> tuple[float, ...]:
    return tuple(values.astype(np.float64).tolist())
