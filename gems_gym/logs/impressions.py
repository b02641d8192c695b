"""Rows in the standard form become impressions in sessions: a bucket of users at a time, since no user is in two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gems_gym.errors import require
from gems_gym.logs.presets import LARGEST_SLATE, Preset

if TYPE_CHECKING:
    import polars

TOO_LARGE = f"item: has more than {LARGEST_SLATE} items"
DUPLICATE = "row: is a duplicate of another one"

_PENDING_BYTES = 2**27
"""Bytes of rows that are held in memory until they are written into their buckets."""


@dataclass
class Dropped:
    """Rows that were left out, by what was wrong, with the first row of each kind and what stood there.

    Attributes:
        rows: What was wrong -> rows of the file.
        first: What was wrong -> number of the first row, and its value.
    """

    rows: dict[str, int] = field(default_factory=dict)
    first: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note(self, reason: str, row: int, value: str) -> None:
        """Keeps the first row of each kind."""
        if reason not in self.first or row < self.first[reason][0]:
            self.first[reason] = (row, value)

    def add(self, reasons: polars.Series, rows: polars.Series | None = None) -> None:
        """Counts rows, one each or as many as ``rows`` says."""
        col = require("polars").col
        counted = reasons.to_frame("reason").with_columns(rows=1 if rows is None else rows)
        for reason, number in counted.group_by("reason").agg(col("rows").sum()).iter_rows():
            self.rows[reason] = self.rows.get(reason, 0) + number


class Ids:
    """Texts that are ids, as numbers from 0 in the order in which they were met."""

    def __init__(self) -> None:
        polars = require("polars")
        self._categories = polars.Categories.random()
        self._kind = polars.Categorical(self._categories)
        self._alive = polars.Series([], dtype=self._kind)  # Polars forgets the texts once no column has them

    def encode(self, column: str, *, lists: bool = False) -> Any:
        """An expression for a column, of texts or of lists of texts, as numbers."""
        polars = require("polars")
        if lists:
            return polars.col(column).cast(polars.List(self._kind)).list.eval(polars.element().to_physical())
        return polars.col(column).cast(self._kind).to_physical()

    def texts(self) -> polars.Series:
        """The texts by number."""
        found: polars.Series = self._categories.to_series()
        return found


class Buckets:
    """Tables in files, each with some of the users.

    Args:
        folder: Where the files are; it is made.
        count: How many buckets there are.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self.count, self._files = folder, count, 0
        self._pending: list[polars.DataFrame] = []
        for bucket in range(count):
            (folder / str(bucket)).mkdir(parents=True)

    def add(self, rows: polars.DataFrame) -> None:
        """Adds rows, each to the bucket of its ``user``, a number."""
        self._pending.append(rows)
        if sum(one.estimated_size() for one in self._pending) >= _PENDING_BYTES:
            self._flush()

    def _flush(self) -> None:
        polars = require("polars")
        rows = polars.concat(self._pending)
        for bucket in range(self.count):
            some = rows.filter(polars.col("user") % self.count == bucket)
            if len(some):
                some.write_parquet(
                    self._folder / str(bucket) / f"{self._files:07d}.parquet", compression="lz4"
                )
        self._files += 1
        self._pending = []

    def read(self) -> Iterator[polars.DataFrame]:
        """Yields each bucket that holds anything, rows in the order in which they were added."""
        polars = require("polars")
        if self._pending:
            self._flush()
        for bucket in range(self.count):
            if files := sorted((self._folder / str(bucket)).iterdir()):
                yield polars.concat([polars.read_parquet(file, glob=False) for file in files])


@dataclass(frozen=True)
class SessionRules:
    """How impressions are cut into sessions.

    Attributes:
        gap_ms: A user who was away for longer begins a new session.
        by_id: Whether the log has sessions; another id is another session.
        cuts_ids: Whether the gap cuts sessions of one id, too, and not only impressions without one.
    """

    gap_ms: int
    by_id: bool
    cuts_ids: bool


def impressions_of(bucket: polars.DataFrame, preset: Preset, dropped: Dropped) -> polars.DataFrame:
    """The impressions of some users, each once.

    Args:
        bucket: All rows of these users in the standard form.
        preset: The log's form.
        dropped: Counts what is left out.

    Returns:
        A row for each: ``row`` (the first one of the file), ``rows``, ``user``, ``session``, ``time``, ``reward`` and
        the lists ``items``, ``clicks`` and ``propensity``. They are in the file's order.
    """
    polars = require("polars")
    col = polars.col
    bucket = _once(bucket, dropped)
    if preset.layout == "lists":
        return bucket.with_columns(rows=polars.lit(1, polars.Int64))
    if preset.keep_slots:  # what was shown with an item is not known: a row is an impression
        bucket = bucket.with_columns(impression=col("row").cast(polars.String))
    of_one = ("user", "session", "time", "impression")
    whole = (
        bucket.sort("position", "row", nulls_last=True)
        .group_by(of_one)
        .agg(
            col("row").min(), rows=polars.len().cast(polars.Int64), items=col("item"), clicks=col("click"),
            propensity=col("propensity"), reward=col("reward").sum(), slot=col("position").min(),
            reason=col("reason").drop_nulls().first(),
        )
        .sort("row")
    )  # fmt: skip
    if len(large := whole.filter((col("rows") > LARGEST_SLATE) & col("reason").is_null())):
        dropped.note(TOO_LARGE, int(large["row"].to_numpy().min()), "")
    too_large = polars.when(col("rows") > LARGEST_SLATE).then(polars.lit(TOO_LARGE))
    whole = whole.with_columns(reason=polars.coalesce("reason", too_large))
    wrong = whole.filter(col("reason").is_not_null())
    if len(wrong):
        dropped.add(wrong["reason"], wrong["rows"])
    whole = whole.filter(col("reason").is_null())
    if preset.keep_slots:
        unknown = {
            "items": (None, polars.UInt32),
            "clicks": (0, polars.Int8),
            "propensity": (None, polars.Float32),
        }
        whole = whole.with_columns(
            polars.concat_list(polars.lit(value, kind).repeat_by(col("slot") - 1), name).alias(name)
            for name, (value, kind) in unknown.items()
        )
    return whole


def in_sessions(impressions: polars.DataFrame, rules: SessionRules) -> polars.DataFrame:
    """Impressions in the order of users, sessions and time, ties in the file's order.

    Args:
        impressions: As :func:`impressions_of` returns them.
        rules: How they are cut.

    Returns:
        The same with ``begins``: whether a session begins there.
    """
    polars = require("polars")
    col = polars.col
    by = ["user", *(["session"] if rules.by_id else [])]
    # a user's sessions in the order of their beginnings
    start = col("time").min().over(by)
    ordered = impressions.sort("user", start, *by, "time", "row", nulls_last=True)
    begins = polars.lit(False)
    for name in by:
        begins = begins | col(name).ne_missing(col(name).shift(1))
    away = (col("time").diff() > rules.gap_ms).fill_null(True)
    begins = begins | (away if rules.cuts_ids else away & col("session").is_null())
    return ordered.with_columns(begins=begins | (polars.int_range(polars.len()) == 0))


def backwards(impressions: polars.DataFrame) -> int:
    """How many impressions are earlier than the one before them of the same user, in the file's order."""
    in_order = impressions.sort("user", "row")
    user, time = in_order["user"].to_numpy(), in_order["time"].to_numpy()
    return int(((np.diff(time) < 0) & (np.diff(user.astype(np.int64)) == 0)).sum())


def _once(rows: polars.DataFrame, dropped: Dropped) -> polars.DataFrame:
    """Rows that differ in anything but their number, the first of each."""
    polars = require("polars")
    content = [name for name in rows.columns if name != "row"]
    first = rows.select(polars.struct(content).is_first_distinct()).to_series()
    again = rows.filter(~first)
    if len(again):
        dropped.note(DUPLICATE, int(again["row"].to_numpy().min()), "")
        dropped.add(polars.repeat(DUPLICATE, len(again), eager=True))
    return rows.filter(first)
