"""Files of impression logs, read batch by batch, so that memory does not grow with them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gems_gym.errors import require, unknown_name
from gems_gym.logs.presets import Preset

if TYPE_CHECKING:
    import polars

BATCH_ROWS = 50_000
"""Rows of a file that are read at once."""

ROW = "__row__"
"""Column with the number of each row, from 1, the line with the columns' names apart."""

BEYOND = "__beyond__"
"""Column of text files that holds what a row has beyond the last column."""

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")

_NO_CLICK_ITEM = 1  # of FINN.no
_FINN_ARRAYS = ("userId", "slate", "click", "slate_lengths")


def name_of(source: Any) -> str:
    """What a log is called: the name of its file, or what kind of table it is."""
    return Path(source).name if isinstance(source, str | Path) else type(source).__name__


@contextmanager
def naming_damage(file: object) -> Iterator[None]:
    """Raises a ValueError that names a file for what Polars raises for a damaged one."""
    polars = require("polars")
    try:
        yield
    except FileNotFoundError:
        raise
    except (polars.exceptions.PolarsError, OSError) as error:  # the latter for a .gz that was cut off
        raise ValueError(f"{file} can't be read: {' '.join(str(error).split()):.300}") from error


def scan_table(source: Any, preset: Preset) -> polars.LazyFrame:
    """A log's or an item table's rows, to be read batch by batch, with a column :data:`ROW`.

    Nothing in a file is run or followed: texts stay texts. All columns of text files are texts.

    Args:
        source: A parquet, csv or tsv file, the latter two as .gz, too; or a table of polars, pandas or pyarrow.
        preset: Says how a text file is laid out.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another suffix, an empty file, or one that is damaged.
        TypeError: No table.
    """
    if not isinstance(source, str | Path):
        return _table_in_memory(source)
    file = Path(source)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file")
    if not file.name.endswith((".parquet", *TEXT_SUFFIXES)):
        raise ValueError(f"{file} must be a file whose name ends in .parquet, {', '.join(TEXT_SUFFIXES)}")
    rows: polars.LazyFrame
    with naming_damage(file):
        if file.name.endswith(".parquet"):
            rows = require("polars").scan_parquet(file, glob=False, row_index_name=ROW, row_index_offset=1)
        else:
            rows = _scan_text(file, preset)
    return rows


def _scan_text(file: Path, preset: Preset) -> Any:
    polars = require("polars")
    separator = "\t" if ".tsv" in file.suffixes else preset.separator
    names = (
        preset.header
        or polars.scan_csv(
            file, separator=separator, n_rows=0, infer_schema=False, glob=False
        ).collect_schema()
    )
    return polars.scan_csv(
        file,
        separator=separator,
        has_header=False,
        skip_rows=0 if preset.header else 1,
        schema=dict.fromkeys((*names, BEYOND), polars.String),
        truncate_ragged_lines=True,  # BEYOND shows it
        missing_columns="insert",
        quote_char=None if separator == "\t" else '"',
        glob=False,
        row_index_name=ROW,
        row_index_offset=1,
    )


def read_batches(source: Any, preset: Preset) -> Iterator[polars.DataFrame]:
    """Reads a log.

    Args:
        source: As of :func:`scan_table`; also an .npz file of FINN.no's form.
        preset: Its form.

    Yields:
        Its rows in their order, at most :data:`BATCH_ROWS` at once, with the columns that the form names, :data:`ROW`
        and, of text files, :data:`BEYOND`.

    Raises:
        ValueError: As :func:`scan_table`, and if a column is missing; it names the nearest.
        FileNotFoundError: No such file.
    """
    if isinstance(source, str | Path) and Path(source).suffix == ".npz":
        for batch in _read_finn(Path(source)):
            _columns_in(batch.columns, preset)
            yield batch
        return
    rows = scan_table(source, preset)
    with naming_damage(name_of(source)):
        names = rows.collect_schema().names()
        columns = [*_columns_in(names, preset).values(), *(one for one in (ROW, BEYOND) if one in names)]
        yield from rows.select(list(dict.fromkeys(columns))).collect_batches(
            chunk_size=BATCH_ROWS, maintain_order=True
        )


def count_rows(source: Any, preset: Preset) -> int | None:
    """How many rows a log has, for the progress bar; None if that takes as long as reading it."""
    if isinstance(source, str | Path) and Path(source).name.endswith((".npz", ".gz")):
        return None
    rows = scan_table(source, preset)
    with naming_damage(name_of(source)):
        return int(rows.select(require("polars").len()).collect().item())


def _columns_in(names: list[str], preset: Preset) -> dict[str, str]:
    """Meaning -> column, of the columns that a log has.

    Raises:
        ValueError: One is missing that must be there.
    """
    found = {meaning: column for meaning, column in preset.columns.items() if column in names}
    for meaning, column in preset.columns.items():
        if column not in names and meaning not in preset.optional:
            known = [name for name in names if name not in (ROW, BEYOND)]
            raise ValueError(
                f"the log lacks the {meaning} of each row: {unknown_name('column', column, known)} Say which column it "
                f"is: --columns {meaning}=NAME"
            )
    return found


def _table_in_memory(table: Any) -> polars.LazyFrame:
    pl = require("polars")
    try:
        lazy = table if isinstance(table, pl.LazyFrame) else pl.DataFrame(table).lazy()
        rows: polars.LazyFrame = lazy.with_row_index(ROW, offset=1)
    except Exception as error:  # whatever a foreign table raises
        raise TypeError(
            f"log must be a file or a table of polars, pandas or pyarrow, got {type(table).__name__} ({error})"
        ) from error
    return rows


def _read_finn(file: Path) -> Iterator[polars.DataFrame]:
    """FINN.no's arrays as rows, a row a step; steps without a slate are none.

    Item 1 stands for "no click": it is in no slate, and a click on it is none.
    """
    polars = require("polars")
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file")
    done = 0
    with _naming_npz(file), zipfile.ZipFile(file) as archive, _finn_members(archive) as arrays:
        steps, slots = arrays["slate"].shape[1:]
        while users := min(max(1, BATCH_ROWS // max(1, steps)), len(arrays["slate"]) - arrays["slate"].done):
            first = arrays["slate"].done
            slates, clicks, lengths = (
                arrays[name].read(users) for name in ("slate", "click", "slate_lengths")
            )
            if (lengths > slots).any():
                number, at = (int(one) for one in np.argwhere(lengths > slots)[0])
                raise ValueError(
                    f"slate_lengths is {lengths[number, at]} in step {at} of user {first + number}; slates have "
                    f"{slots} slots"
                )
            names = np.repeat(arrays["userId"].read(users), steps)
            user, step = np.nonzero(lengths > 0)
            shown = slates[user, step]  # (rows, slots)
            there = (np.arange(slots) < lengths[user, step][:, None]) & (shown != _NO_CLICK_ITEM)
            clicked = clicks[user, step]
            yield polars.DataFrame(
                {
                    ROW: np.arange(done + 1, done + 1 + len(user)),
                    "userId": names.reshape(users, steps)[user, step],
                    "step": step,
                    "slate": lists_of(shown[there], there.sum(axis=1)),
                    "click": lists_of(
                        clicked[clicked > _NO_CLICK_ITEM], (clicked > _NO_CLICK_ITEM).astype(int)
                    ),
                }
            )
            done += len(user)


def lists_of(values: NDArray[Any], lengths: NDArray[Any]) -> polars.Series:
    """A column of lists: numbers behind one another, and how many each list has."""
    pl = require("polars")
    groups = np.repeat(np.arange(len(lengths)), lengths)
    filled = pl.DataFrame({"at": groups, "value": values}).group_by("at", maintain_order=True).agg("value")
    every = pl.DataFrame({"at": np.arange(len(lengths))})
    joined = every.join(filled, on="at", how="left", maintain_order="left")
    empty = pl.lit([], dtype=filled.schema["value"])
    lists: polars.Series = joined.select(pl.col("value").fill_null(empty)).to_series()
    return lists


class _Member:
    """An array in an .npz file, read by its first axis, never more than asked for."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        self.shape, fortran, self._dtype = read(stream)
        if fortran or self._dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integers in C order, got {self._dtype}")
        self._stream, self._name, self.done = stream, name, 0

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self, count: int) -> NDArray[Any]:
        shape = (count, *self.shape[1:])
        size = int(np.prod(shape)) * self._dtype.itemsize
        data = self._stream.read(size)
        if len(data) < size:
            raise ValueError(f"{self._name} ends after {self.done} users and a part")
        self.done += count
        return np.frombuffer(data, self._dtype).reshape(shape)


@contextmanager
def _finn_members(archive: zipfile.ZipFile) -> Iterator[dict[str, _Member]]:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    for name in _FINN_ARRAYS:
        if name not in names:
            raise unknown_name("array of the log", name, names)
    arrays = {name: _Member(archive.open(f"{name}.npy"), name) for name in _FINN_ARRAYS}
    slate = arrays["slate"].shape
    forms = {"userId": slate[:1], "slate": slate, "click": slate[:2], "slate_lengths": slate[:2]}
    for name, form in forms.items():
        if len(slate) != 3 or arrays[name].shape != form:
            raise ValueError(
                f"{name} has shape {arrays[name].shape}; slate is users x steps x slots: {slate}"
            )
    yield arrays


@contextmanager
def _naming_npz(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{file} is no log of FINN.no's form: {error}") from error
