"""Import report: what came in, what was left out and why, and what the log looks like."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.datasets.measures import Concentration, concentration
from gems_gym.logs.arrays import FlatLists
from gems_gym.logs.impressions import Dropped, backwards

if TYPE_CHECKING:
    import polars

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_CURVE = 101
_LIKE_DATES = 19_000_101_000, 21_001_231_000
"""Milliseconds since 1970 that dates written as YYYYMMDD come to where they are taken for seconds."""


@dataclass(frozen=True)
class Spread:
    """How a number is spread.

    Attributes:
        mean: Its mean.
        quantiles: Share, as text -> the value that this share does not exceed.
        maximum: The largest.
    """

    mean: float
    quantiles: dict[str, float]
    maximum: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> Spread:
        """That of at least one value."""
        found = np.quantile(values, _QUANTILES)
        quantiles = {f"{share:g}": float(value) for share, value in zip(_QUANTILES, found, strict=True)}
        return cls(float(values.mean()), quantiles, float(values.max()))


@dataclass(frozen=True)
class Slot:
    """What was shown in a place of the slates.

    Attributes:
        shown: How often something was.
        clicks: How often it was clicked.
        ctr: Their ratio, 0 if nothing was shown.
    """

    shown: int
    clicks: int
    ctr: float


@dataclass(frozen=True)
class Propensities:
    """Whether a log's propensities can carry an estimate.

    Attributes:
        smallest: The smallest.
        mean: Their mean.
        mean_inverse: Mean of 1 / propensity. If the propensities are right, and each item can be shown in each slot, it
            is the number of items.
        effective_share: Effective sample size of the weights 1 / propensity, as a share of the slots: what is left of
            the log for an estimate of the random policy.
    """

    smallest: float
    mean: float
    mean_inverse: float
    effective_share: float


@dataclass(frozen=True)
class ImportReport:
    """What an import did and found.

    Attributes:
        dataset_id: The dataset.
        source: The log's file, or the kind of the table.
        preset: The log's form.
        columns: Meaning -> column, of those that were read.
        rows_read: Rows of the log.
        rows_kept: Those that are in the dataset.
        dropped: What was wrong -> ``rows``, and of the first of them ``first_row`` (from 1) and ``value``.
        out_of_order: Impressions that are earlier than the one before them of the same user; they were sorted.
        impressions: Steps of the dataset.
        sessions: Its sessions.
        users: Its users.
        items: Items of the item map.
        items_shown: Those that some impression shows.
        items_shown_once: Those that one slot of the log shows.
        users_with_one_impression: How many these are.
        busiest_users: Share of the impressions that fall on the busiest 1 % of the users (at least one user).
        first_time: Of the first impression, milliseconds since 1970.
        last_time: Of the last one.
        slate_sizes: Known slots of the impressions.
        session_lengths: Impressions of the sessions.
        clicks: All.
        without_click: Share of the impressions without one.
        slots: What was shown and clicked by place.
        concentration: How what was shown is spread over the items of the map.
        item_curve: Share of what was shown that falls on the most shown 0, 1, …, 100 % of these items.
        propensities: None if the log has none.
        warnings: What will stand in the way of learning from it.
    """

    dataset_id: str
    source: str
    preset: str
    columns: dict[str, str]
    rows_read: int
    rows_kept: int
    dropped: dict[str, dict[str, Any]]
    out_of_order: int
    impressions: int
    sessions: int
    users: int
    items: int
    items_shown: int
    items_shown_once: int
    users_with_one_impression: int
    busiest_users: float
    first_time: int
    last_time: int
    slate_sizes: Spread
    session_lengths: Spread
    clicks: int
    without_click: float
    slots: tuple[Slot, ...]
    concentration: Concentration
    item_curve: tuple[float, ...]
    propensities: Propensities | None
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return asdict(self)


@dataclass
class LogMeasures:
    """Gathers what the report holds, bucket by bucket; memory grows by a few numbers for a session and a user.

    Attributes:
        shown: How often each item was, by its number in the log.
        clicked: How often it was clicked.
        session_lengths: Of all sessions.
        has_propensities: Whether each known slot so far has one.
    """

    shown: NDArray[np.int64]
    clicked: NDArray[np.int64]
    session_lengths: list[NDArray[np.int64]] = field(default_factory=list)
    has_propensities: bool = True
    _user_impressions: list[NDArray[np.int64]] = field(default_factory=list)
    _slate_sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    _slots: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 1), np.int64))
    _without_click: int = 0
    _rows: int = 0
    _backwards: int = 0
    _times: tuple[int, int] = (2**62, -1)
    _propensities: NDArray[np.float64] = field(default_factory=lambda: np.array([np.inf, 0.0, 0.0, 0.0]))

    @classmethod
    def of(cls, num_items: int) -> LogMeasures:
        """Nothing gathered yet, of so many items."""
        return cls(np.zeros(num_items, np.int64), np.zeros(num_items, np.int64))

    @property
    def slate_size(self) -> int:
        """Slots of the largest slate."""
        return int(self._slots.shape[1])

    def add(self, impressions: polars.DataFrame) -> None:
        """Takes in all impressions of some users, in sessions."""
        flat, total = FlatLists.of(impressions), len(impressions)
        known, clicked = flat.items >= 0, flat.clicks == 1
        self.shown += np.bincount(flat.items[known], minlength=len(self.shown))
        self.clicked += np.bincount(flat.items[known & clicked], minlength=len(self.shown))
        by_slot = np.stack(
            [np.bincount(flat.slots[which], minlength=flat.lengths.max()) for which in (known, clicked)]
        )
        self._slots = _added(self._slots, by_slot)
        impression = np.repeat(np.arange(total), flat.lengths)
        self._slate_sizes = _added(
            self._slate_sizes, np.bincount(np.bincount(impression[known], minlength=total))
        )
        self._without_click += int((np.bincount(impression[clicked], minlength=total) == 0).sum())
        begins = np.flatnonzero(impressions["begins"].to_numpy())
        self.session_lengths.append(np.diff(np.append(begins, total)))
        self._user_impressions.append(np.unique(impressions["user"].to_numpy(), return_counts=True)[1])
        self._rows += int(impressions["rows"].sum())
        self._backwards += backwards(impressions)
        times = impressions["time"].to_numpy()
        self._times = min(self._times[0], int(times.min())), max(self._times[1], int(times.max()))
        self._add_propensities(flat.propensities[known].astype(np.float64))

    def _add_propensities(self, values: NDArray[np.float64]) -> None:
        self.has_propensities = self.has_propensities and not np.isnan(values).any()
        if self.has_propensities:
            sums = [values.sum(), (1 / values).sum(), (1 / values**2).sum()]
            smallest = min(self._propensities[0], values.min())
            self._propensities = np.array([smallest, *(self._propensities[1:] + sums)])

    def result(
        self,
        *,
        dataset_id: str,
        source: str,
        preset: str,
        columns: dict[str, str],
        rows_read: int,
        items: int,
        dropped: Dropped,
    ) -> ImportReport:
        """The report; arguments as its attributes, of at least one impression."""  # fmt: skip
        lengths, users = np.concatenate(self.session_lengths), np.concatenate(self._user_impressions)
        sizes, impressions = np.repeat(np.arange(len(self._slate_sizes)), self._slate_sizes), int(users.sum())
        counts = np.zeros(items, np.int64)
        counts[: (self.shown > 0).sum()] = self.shown[self.shown > 0]
        busiest = np.sort(users)[::-1][: max(1, len(users) // 100)]
        curve = np.concatenate([[0.0], np.sort(counts)[::-1].cumsum() / counts.sum()])
        report = ImportReport(
            dataset_id=dataset_id,
            source=source,
            preset=preset,
            columns=columns,
            rows_read=rows_read,
            rows_kept=self._rows,
            dropped={
                reason: {
                    "rows": rows,
                    "first_row": dropped.first[reason][0],
                    "value": dropped.first[reason][1],
                }
                for reason, rows in sorted(dropped.rows.items(), key=lambda one: (-one[1], one[0]))
            },
            out_of_order=self._backwards,
            impressions=impressions,
            sessions=len(lengths),
            users=len(users),
            items=items,
            items_shown=int((self.shown > 0).sum()),
            items_shown_once=int((self.shown == 1).sum()),
            users_with_one_impression=int((users == 1).sum()),
            busiest_users=float(busiest.sum() / impressions),
            first_time=self._times[0],
            last_time=self._times[1],
            slate_sizes=Spread.of(sizes),
            session_lengths=Spread.of(lengths),
            clicks=int(self._slots[1].sum()),
            without_click=self._without_click / impressions,
            slots=tuple(
                Slot(shown, clicks, clicks / max(shown, 1))
                for shown, clicks in zip(*self._slots.tolist(), strict=True)
            ),
            concentration=concentration(counts),
            item_curve=tuple(
                np.interp(np.linspace(0, 1, _CURVE), np.linspace(0, 1, len(curve)), curve).tolist()
            ),
            propensities=self._propensity_report(),
            warnings=(),
        )
        return ImportReport(**{**vars(report), "warnings": tuple(_warnings(report))})

    def _propensity_report(self) -> Propensities | None:
        if not self.has_propensities:
            return None
        smallest, total, inverse, squares = self._propensities.tolist()
        slots = int(self.shown.sum())
        return Propensities(smallest, total / slots, inverse / slots, inverse**2 / (slots * squares))


def _added(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of two tables of counts, whose last axes may differ."""
    size = max(one.shape[-1], other.shape[-1])
    both = [np.pad(each, [(0, 0)] * (each.ndim - 1) + [(0, size - each.shape[-1])]) for each in (one, other)]
    total: NDArray[np.int64] = both[0] + both[1]
    return total


def _warnings(report: ImportReport) -> list[str]:
    """Plain sentences on what will stand in the way."""
    found = []
    if report.clicks == 0:
        found.append("no clicks at all: nothing can be learned from this log")
    if report.users == 1:
        found.append("one user: nothing can be held out by user")
    if report.items_shown == 1:
        found.append("one item: there is nothing to choose")
    if _LIKE_DATES[0] <= report.first_time and report.last_time <= _LIKE_DATES[1]:
        found.append(
            "all times lie in August 1970: numbers such as 20240131 were taken for seconds since 1970; write dates as "
            "2024-01-31"
        )
    if report.session_lengths.maximum == 1:
        found.append("every session has one impression: a bandit is enough, there is nothing sequential")
    if report.rows_kept < 0.9 * report.rows_read:
        share = 1 - report.rows_kept / report.rows_read
        found.append(f"{share:.0%} of the rows were left out")
    propensities = report.propensities
    if propensities is not None and not 0.9 < propensities.mean_inverse / report.items < 1.1:
        found.append(
            f"the mean of 1 / propensity is {propensities.mean_inverse:.1f}, where it is {report.items:,}, the number "
            "of items, if the propensities sum to 1 over all items in each slot"
        )
    return found
