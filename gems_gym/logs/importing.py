"""Imports an impression log as a Minari dataset, in three passes over pieces that fit into memory.

The first reads the file, puts its rows into one form and into buckets on disk, by user. The second makes impressions
and sessions of each bucket, and measures them. The third writes the sessions.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gems_gym.artifacts.files import versions
from gems_gym.common.checks import checked_arguments
from gems_gym.common.files import file_sha256, scratch_folder, write_json
from gems_gym.common.progress import track
from gems_gym.datasets.log_files import ITEMS_FILE, LOG_FILES, REPORT_FILE, USERS_FILE
from gems_gym.datasets.reader import LOG
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.errors import require
from gems_gym.logs.arrays import EpisodeArrays, action_space, chunks_of_sessions, observation_space
from gems_gym.logs.files import ROW, count_rows, name_of, read_batches
from gems_gym.logs.impressions import Buckets, Dropped, Ids, SessionRules, impressions_of, in_sessions
from gems_gym.logs.items import item_map, read_item_table
from gems_gym.logs.presets import MILLISECONDS, Preset, find_preset
from gems_gym.logs.report import ImportReport, LogMeasures
from gems_gym.logs.standard import LATEST, offending_value, standardised

if TYPE_CHECKING:
    import polars

DEFAULT_GAP = "30m"
"""Session gap of impressions that the log gives no session."""

_BUCKET_BYTES = 2**26
_GAP = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNKNOWN_ITEM = "is not in the item table"


@checked_arguments
def import_log(
    source: Any,
    *,
    dataset_id: str,
    preset: str = "lists",
    columns: Mapping[str, str] | None = None,
    session_gap: str | None = None,
    time_unit: str | None = None,
    items: Any = None,
    item_column: str = "item",
    overwrite: bool = False,
    progress: bool = True,
) -> ImportReport:
    """Make a Minari dataset of an impression log.

    Args:
        source: A parquet, csv or tsv file, .gz or not, an .npz file of FINN.no's form, or a table of polars, pandas or
            pyarrow.
        dataset_id: Id of the new dataset, ``namespace/name-vN``.
        preset: The log's form, one of :data:`gems_gym.logs.presets.PRESETS`.
        columns: Meaning -> column, where they are not the preset's.
        session_gap: A user who is away for longer begins a new session: ``"30m"``, ``"45s"``, ``"2h"`` or ``"1d"``. If
            None, sessions are the log's, or 30 minutes apart where it has none.
        time_unit: Of times that are numbers, ``"s"``, ``"ms"`` or ``"us"``, if not the preset's.
        items: An item table, as ``source``: impressions of other items are left out.
        item_column: The table's column with the ids.
        overwrite: Replaces a dataset of this id, once the new one is finished.
        progress: Draws progress bars on stderr.

    Returns:
        What came in and what did not.

    Raises:
        ValueError: A bad argument, a column that is missing or of a wrong kind, a damaged file, or no impression is
            left.
        FileNotFoundError: No such file.
        ImportError: Polars or Minari is not installed; the message names the extra.
    """
    form = _form(preset, columns, time_unit)
    gap_ms = None if session_gap is None else read_gap(session_gap)
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    require("polars")
    table = None if items is None else read_item_table(items, item_column)
    with scratch_folder() as scratch:
        log = _Log(source, name_of(source), form, table, scratch, progress)
        read = log.read()
        rules = _rules(form, read.columns, gap_ms)
        measures = log.cut(read, rules)
        return log.write(read, measures, rules, preset, dataset_id, overwrite=overwrite)


def read_gap(text: str) -> int:
    """A session gap in milliseconds.

    Raises:
        ValueError: No number with a unit, less than a millisecond or more than 230 years.

    Examples:
        >>> read_gap("30m")
        1800000
    """
    found = _GAP.fullmatch(text)
    gap = float(found[1]) * _SECONDS[found[2]] * 1000 if found else 0.0
    if not 1 <= gap <= LATEST:
        raise ValueError(
            "session_gap must be a number and a unit, from a millisecond to 230 years, such as 45s, 30m, 2h or 1d; "
            f"got {text!r:.80}"
        )
    return round(gap)


def _form(preset: str, columns: Mapping[str, str] | None, time_unit: str | None) -> Preset:
    form = find_preset(preset).with_columns(columns or {})
    if time_unit is None:
        return form
    if time_unit not in MILLISECONDS:
        raise ValueError(f"time_unit must be one of {', '.join(MILLISECONDS)}, got {time_unit!r}")
    return dataclasses.replace(form, time_unit=time_unit)


def _rules(form: Preset, columns: Mapping[str, str], gap_ms: int | None) -> SessionRules:
    has_sessions = "session" in columns
    cuts_ids = gap_ms is not None or not has_sessions
    return SessionRules(read_gap(DEFAULT_GAP) if gap_ms is None else gap_ms, has_sessions, cuts_ids)


class _Writer(DatasetWriter):
    """Writes more sessions each time it opens the file: those of logs are short, and their bytes are bounded anyway."""

    chunk_episodes = 8192


@dataclass
class _Read:
    """What the first pass found."""

    buckets: Buckets
    columns: dict[str, str]
    rows: int
    users: Ids
    items: Ids
    dropped: Dropped


@dataclass(frozen=True)
class _Log:
    """A log and the folder for its pieces; each method is a pass."""

    source: Any
    name: str
    form: Preset
    table: polars.DataFrame | None
    scratch: Path
    progress: bool

    def read(self) -> _Read:
        """Puts rows into one form, with numbers for ids, and into buckets, but wrong ones that spoil no other row."""
        polars = require("polars")
        read = _Read(Buckets(self.scratch / "rows", self._num_buckets()), {}, 0, Ids(), Ids(), Dropped())
        if self.table is not None:  # its items get the lowest numbers: a larger one is unknown
            self.table.select("item").rechunk().select(read.items.encode("item"))  # see below
        total = count_rows(self.source, self.form) if self.progress else None
        with track(f"reading {self.name}", total, shown=self.progress) as advance:
            for batch in read_batches(self.source, self.form):
                columns = self.form.columns.items()
                read.columns = {meaning: column for meaning, column in columns if column in batch.columns}
                read.rows += len(batch)
                # threads would number the ids of several chunks as they come
                rows = standardised(batch, self.form).rechunk()
                rows = rows.with_columns(*_encoded(rows, read))
                if self.table is not None:
                    rows = rows.with_columns(reason=_unknown_item(rows, self.form, len(self.table)))
                self._note_first(batch, rows, read.dropped)
                lost = polars.col("reason").is_not_null()
                if self.form.layout == "rows":  # the others belong to an impression, which is lost with them
                    lost &= polars.any_horizontal(polars.col("user", "time").is_null())
                read.dropped.add(rows.filter(lost)["reason"])
                read.buckets.add(rows.filter(~lost))
                advance(len(batch))
        if not read.rows:
            raise ValueError(f"{self.name} has no rows")
        return read

    def _note_first(self, batch: polars.DataFrame, rows: polars.DataFrame, dropped: Dropped) -> None:
        """Keeps the first row with each thing that is wrong."""
        col = require("polars").col
        wrong = rows.filter(col("reason").is_not_null())
        for reason, row in wrong.group_by("reason").agg(col("row").min()).iter_rows():
            if reason not in dropped.first:
                dropped.note(reason, row, offending_value(batch, self.form, row, reason))

    def cut(self, read: _Read, rules: SessionRules) -> LogMeasures:
        """Makes sessions of each bucket, measures them and keeps them in the order in which they are written."""
        measures = LogMeasures.of(len(read.items.texts()))
        with track("cutting sessions", read.buckets.count, shown=self.progress) as advance:
            for index, bucket in enumerate(read.buckets.read()):
                impressions = impressions_of(bucket, self.form, read.dropped)
                if len(impressions):
                    impressions = in_sessions(impressions, rules)
                    measures.add(impressions)
                    impressions.write_parquet(self._sessions_file(index), compression="lz4")
                advance(1)
        if not measures.session_lengths:
            raise ValueError(
                f"{self.name}: no impression is left of {read.rows:,} rows. {_worst(read.dropped)}"
            )
        return measures

    def write(
        self,
        read: _Read,
        measures: LogMeasures,
        rules: SessionRules,
        preset: str,
        dataset_id: str,
        *,
        overwrite: bool,
    ) -> ImportReport:
        """Writes the dataset, with the maps and the report beside it."""
        polars = require("polars")
        texts = read.items.texts()
        items = item_map(self.table, texts, measures.shown, measures.clicked)
        numbers = np.zeros(len(texts), np.int32)
        numbers[items[ROW].to_numpy()] = np.arange(len(items))
        users, written = self._users_in_order(len(read.users.texts()))
        report = measures.result(
            dataset_id=dataset_id, source=self.name, preset=preset, columns=read.columns, rows_read=read.rows,
            items=len(items), dropped=read.dropped,
        )  # fmt: skip
        files = {name: self.scratch / name for name in LOG_FILES}
        items.drop(ROW).write_parquet(files[ITEMS_FILE])
        polars.DataFrame({"user": read.users.texts().gather(written)}).write_parquet(files[USERS_FILE])
        write_json(files[REPORT_FILE], report.as_dict())
        size = measures.slate_size
        spaces = observation_space(len(items), size), action_space(len(items), size)
        with (
            _Writer(dataset_id, *spaces, None, files, overwrite=overwrite) as writer,
            track(f"writing {dataset_id}", report.sessions, shown=self.progress) as advance,
        ):
            for file in sorted(self.scratch.glob("sessions-*.parquet")):
                for part in chunks_of_sessions(polars.read_parquet(file, glob=False), size):
                    arrays = EpisodeArrays.of(
                        part,
                        users,
                        numbers,
                        size,
                        propensities=measures.has_propensities,
                        rewards="reward" in read.columns,
                    )
                    writer.append_checked(arrays.episodes(), len(arrays.users), arrays.nbytes)
                    advance(len(arrays.users))
            writer.finish(self._metadata(report, rules, files))
        return report

    def _metadata(
        self, report: ImportReport, rules: SessionRules, files: Mapping[str, Path]
    ) -> dict[str, Any]:
        return {
            LOG: {
                "source": report.source,
                "preset": report.preset,
                "columns": report.columns,
                "sessions": dataclasses.asdict(rules),
                "longest_session": int(report.session_lengths.maximum),
                "rows_read": report.rows_read,
                "rows_kept": report.rows_kept,
            },
            "description": f"Impressions of another recommender, imported from {report.source}.",
            "algorithm_name": "log",
            "policy": "unknown: whoever wrote the log",
            "gems_gym_version": versions()["gems_gym"],
            **{f"{Path(name).stem}_sha256": file_sha256(file) for name, file in files.items()},
        }

    def _users_in_order(self, count: int) -> tuple[Any, Any]:
        """What each user's number becomes, in the order in which users are written, and the numbers in that order."""
        polars = require("polars")
        written = [
            polars.read_parquet(file, columns=["user"], glob=False)["user"]
            .unique(maintain_order=True)
            .to_numpy()
            for file in sorted(self.scratch.glob("sessions-*.parquet"))
        ]
        order = np.concatenate(written)
        becomes = np.zeros(count, np.int64)
        becomes[order] = np.arange(len(order))
        return becomes, order

    def _num_buckets(self) -> int:
        """So many that one fits into memory; a compressed file is taken to be four times as large there."""
        if isinstance(self.source, str | Path) and Path(self.source).is_file():
            packed = Path(self.source).name.endswith((".gz", ".parquet", ".npz"))
            return 1 + (4 if packed else 1) * Path(self.source).stat().st_size // _BUCKET_BYTES
        return 1

    def _sessions_file(self, index: int) -> Path:
        return self.scratch / f"sessions-{index:07d}.parquet"


def _encoded(rows: polars.DataFrame, read: _Read) -> list[Any]:
    item = "items" if "items" in rows.columns else "item"
    return [read.users.encode("user"), read.items.encode(item, lists=item == "items")]


def _unknown_item(rows: polars.DataFrame, form: Preset, known: int) -> Any:
    """The reason of each row; where none was found yet, that an item is not in the table, if so."""
    polars = require("polars")
    largest = polars.col("items").list.max() if "items" in rows.columns else polars.col("item")
    meaning = next(name for name in ("item", "items", "pairs") if name in form.columns)
    unknown = polars.when(largest >= known).then(polars.lit(f"{meaning}: {_UNKNOWN_ITEM}"))
    return polars.coalesce("reason", unknown)


def _worst(dropped: Dropped) -> str:
    """A sentence on what most rows were left out for."""
    reason = max(dropped.rows, key=lambda one: dropped.rows[one])
    row, value = dropped.first[reason]
    return f"{dropped.rows[reason]:,} of them: {reason} (first in row {row}: {value})"
