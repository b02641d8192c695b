"""Rows of any form of log in one form, each with the first thing that is wrong with it.

A row of the standard form has ``row``, ``user`` and ``session`` (texts), ``time`` (milliseconds since 1970) and
``reason`` (null, or what is wrong: ``"time: is missing"``); and, of the layout "rows", ``impression``, ``position``,
``item``, ``click`` and ``propensity``, or of the layout "lists" the lists ``items``, ``clicks`` and ``propensity``.
What the log has no column for is null in all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gems_gym.errors import require
from gems_gym.logs.files import BEYOND, ROW, lists_of
from gems_gym.logs.presets import MILLISECONDS, Preset

if TYPE_CHECKING:
    import polars

LARGEST_SLATE = 1000
"""Items of an impression, at most: slates are filled up to the largest."""

LATEST = 7_258_118_400_000
"""Times are before this, the year 2200: in a wrong unit they are not."""

MISSING = "is missing"

_CLICKS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "False": 0, "True": 1}
_ISO = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_IN_LISTS = r"""[^\s,;|\[\]()'"]+"""
"""What is an element of a list that is written as text: ``[1, 2]``, ``1,2``, ``1 2``, ``['a' 'b']``."""

_Checks = list[tuple[str, str, Any]]
"""Meaning, what is wrong, and an expression that is true where it is so."""


def standardised(batch: polars.DataFrame, preset: Preset) -> polars.DataFrame:
    """Rows as read, in the standard form.

    Args:
        batch: As :func:`gems_gym.logs.files.read_batches` yields it.
        preset: The log's form.

    Raises:
        ValueError: A column is of a kind that its meaning can't have; it is named.
    """
    if preset.layout == "rows":
        return _rows(batch, preset)
    return _lists(batch, preset)


def offending_value(batch: polars.DataFrame, preset: Preset, row: int, reason: str) -> str:
    """What stands in a row in the column that a reason begins with, as text of at most 80 characters."""
    column = BEYOND if reason == _TOO_WIDE else preset.columns[reason.partition(":")[0]]
    value = batch.row(by_predicate=require("polars").col(ROW) == row, named=True)[column]
    return f"{value!r:.80}"


_TOO_WIDE = "row: has more columns than the header"


def _rows(batch: polars.DataFrame, preset: Preset) -> polars.DataFrame:
    polars = require("polars")
    col = polars.col
    checks = [
        *_checks_of_all(batch),
        ("item", MISSING, col("item").is_null()),
        ("click", MISSING, col("_click").is_null()),
        ("click", "is not 0 or 1", col("click").is_null()),
    ]
    if preset.columns.get("position") in batch.columns:
        checks += [
            ("position", "is no number", col("position").is_null()),
            ("position", f"is not from 1 to {LARGEST_SLATE}", ~col("position").is_between(1, LARGEST_SLATE)),
        ][: 2 if preset.keep_slots else 1]
    if preset.columns.get("propensity") in batch.columns:
        checks.append(("propensity", "is not in (0, 1]", _no_probability(col("propensity"))))
    standard = _all(batch, preset).with_columns(
        impression=_text(batch, preset, "impression"),
        position=_number(batch, preset, "position"),
        item=_text(batch, preset, "item"),
        _click=_text(batch, preset, "click"),
        propensity=_number(batch, preset, "propensity").cast(polars.Float32),
    )
    standard = standard.with_columns(click=_as_click(col("_click")))
    return _with_reason(standard, checks).select(
        "row", "user", "session", "time", "impression", "position", "item", "click", "propensity", "reason"
    )


def _lists(batch: polars.DataFrame, preset: Preset) -> polars.DataFrame:
    polars = require("polars")
    col = polars.col
    pairs = "pairs" in preset.columns
    named = "pairs" if pairs else "items"
    standard = _all(batch, preset).with_columns(
        items=_list(batch, preset, named), propensity=_list(batch, preset, "propensity")
    )
    checks = [
        *_checks_of_all(batch),
        (named, MISSING, col("items").is_null()),
        (named, "is empty", col("items").list.len() == 0),
        (named, f"has more than {LARGEST_SLATE} items", col("items").list.len() > LARGEST_SLATE),
        (named, "lacks an item", col("items").list.eval(polars.element().is_null()).list.any()),
    ]
    if pairs:
        split = col("items").list.eval(polars.element().str.extract_groups(r"^(.+)-([^-]+)$"))
        standard = standard.with_columns(
            items=split.list.eval(polars.element().struct.field("1")),
            clicks=split.list.eval(_as_click(polars.element().struct.field("2"))),
        )
        checks[-1] = (named, "is not ITEM-0 or ITEM-1", _lacks_click())
    elif "clicked" in preset.columns:
        standard = _with_clicks(standard.with_columns(clicked=_list(batch, preset, "clicked")))
        checks += [
            ("clicked", MISSING, col("clicked").is_null()),
            ("clicked", "was not shown", col("_not_shown")),
        ]
    else:
        clicks = _list(batch, preset, "clicks").list.eval(_as_click(polars.element()))
        standard = standard.with_columns(clicks=clicks)
        checks += [
            ("clicks", MISSING, col("clicks").is_null()),
            ("clicks", "are not as many as the items", col("clicks").list.len() != col("items").list.len()),
            ("clicks", "are not 0 or 1", _lacks_click()),
        ]
    if preset.columns.get("propensity") in batch.columns:
        numbers = col("propensity").list.eval(
            _no_probability(polars.element().cast(polars.Float64, strict=False))
        )
        checks += [
            ("propensity", MISSING, col("propensity").is_null()),
            (
                "propensity",
                "are not as many as the items",
                col("propensity").list.len() != col("items").list.len(),
            ),
            ("propensity", "is not in (0, 1]", numbers.list.any()),
        ]
    standard = _with_reason(standard, checks)
    return standard.select(
        "row", "user", "session", "time", "items", "clicks",
        col("propensity").cast(polars.List(polars.Float32), strict=False), "reason",
    )  # fmt: skip


def _all(batch: polars.DataFrame, preset: Preset) -> polars.DataFrame:
    """The columns that both layouts have, beside those of the file; a log without users has one in each row."""
    polars = require("polars")
    no_user = "user" not in preset.columns
    user = polars.col(ROW).cast(polars.String) if no_user else _text(batch, preset, "user")
    return batch.with_columns(
        row=polars.col(ROW).cast(polars.Int64),
        user=user,
        session=_text(batch, preset, "session"),
        time=_time(batch, preset),
        _time=_text(batch, preset, "time", of_ids=False),
    )


def _checks_of_all(batch: polars.DataFrame) -> _Checks:
    col = require("polars").col
    beyond: _Checks = [("row", _TOO_WIDE.partition(": ")[2], col(BEYOND).is_not_null())]
    return [
        *(beyond if BEYOND in batch.columns else []),
        ("user", MISSING, col("user").is_null()),
        ("time", MISSING, col("_time").is_null()),
        ("time", "is no time", col("time").is_null()),
        ("time", "is before 1970 or after 2200", ~col("time").is_between(0, LATEST)),
    ]


def _with_reason(standard: polars.DataFrame, checks: _Checks) -> polars.DataFrame:
    polars = require("polars")
    reasons = [polars.when(wrong).then(polars.lit(f"{name}: {what}")) for name, what, wrong in checks]
    return standard.with_columns(reason=polars.coalesce(reasons))


def _lacks_click() -> Any:
    return require("polars").col("clicks").list.eval(require("polars").element().is_null()).list.any()


def _no_probability(number: Any) -> Any:
    return number.is_null() | ~((number > 0) & (number <= 1))  # NaN is larger than all numbers to Polars


def _as_click(value: Any) -> Any:
    polars = require("polars")
    return value.cast(polars.String).replace_strict(_CLICKS, default=None, return_dtype=polars.Int8)


def _column(batch: polars.DataFrame, preset: Preset, meaning: str) -> str | None:
    """The column of a meaning, if the log has it."""
    column = preset.columns.get(meaning)
    return column if column in batch.columns else None


def _text(batch: polars.DataFrame, preset: Preset, meaning: str, *, of_ids: bool = True) -> Any:
    """A column as texts, empty ones as null; all null if the log has none."""
    polars = require("polars")
    column = _column(batch, preset, meaning)
    if column is None:
        return polars.lit(None, polars.String)
    dtype = batch.schema[column]
    if dtype.is_nested() or dtype == polars.Binary:
        raise ValueError(f"column {column!r} ({meaning}) must hold single values, got {dtype}")
    if of_ids and meaning != "click" and dtype.is_float():
        raise ValueError(
            f"column {column!r} ({meaning}) holds decimal numbers ({dtype}): ids must be integers or texts, and 1.0 is "
            "not taken for 1"
        )
    return polars.col(column).cast(polars.String).replace("", None)


def _number(batch: polars.DataFrame, preset: Preset, meaning: str) -> Any:
    polars = require("polars")
    column = _column(batch, preset, meaning)
    if column is None:
        return polars.lit(None, polars.Float64)
    return polars.col(column).cast(polars.Float64, strict=False)


def _time(batch: polars.DataFrame, preset: Preset) -> Any:
    """Milliseconds since 1970, null where that can't be read."""
    polars = require("polars")
    column = _column(batch, preset, "time")
    if column is None:
        return polars.lit(0, polars.Int64)
    dtype, value = batch.schema[column], polars.col(column)
    if dtype in (polars.Datetime, polars.Date):
        return value.cast(polars.Datetime("ms")).dt.epoch("ms")
    scale = MILLISECONDS[preset.time_unit]
    if dtype.is_integer() and isinstance(scale, int):
        return value.cast(polars.Int64) * scale
    number = (value.cast(polars.Float64, strict=False) * scale).round()
    number = (
        polars.when(number.is_between(-LATEST, 1000 * LATEST)).then(number).cast(polars.Int64, strict=False)
    )
    if dtype != polars.String:
        return number
    if preset.time_format is not None:
        return polars.coalesce(_moment(value, preset.time_format), number)
    iso = value.str.replace("T", " ", literal=True).str.replace(r"(Z| ?UTC)$", "")
    return polars.coalesce(number, *(_moment(iso, form) for form in _ISO))


def _moment(text: Any, form: str) -> Any:
    moment = text.str.to_datetime(form, time_unit="ms", strict=False)
    return moment.dt.epoch("ms")


def _list(batch: polars.DataFrame, preset: Preset, meaning: str) -> Any:
    """A column of lists of texts, null where there is none."""
    polars = require("polars")
    column = _column(batch, preset, meaning)
    texts = polars.List(polars.String)
    if column is None:
        return polars.lit(None, texts)
    dtype = batch.schema[column]
    if dtype == polars.String:
        return polars.col(column).str.extract_all(_IN_LISTS)
    if not isinstance(dtype, polars.List | polars.Array) or dtype.inner.is_nested():
        raise ValueError(f"column {column!r} ({meaning}) must hold lists of ids or numbers, got {dtype}")
    if meaning in ("items", "clicked") and dtype.inner.is_float():
        raise ValueError(
            f"column {column!r} ({meaning}) holds lists of decimal numbers: ids must be integers or texts, and 1.0 is "
            "not taken for 1"
        )
    return polars.col(column).cast(texts)


def _with_clicks(standard: polars.DataFrame) -> polars.DataFrame:
    """Adds ``clicks`` from the items that were ``clicked``: of an item that is shown twice the first slot.

    ``_not_shown`` says where a clicked item was not shown.
    """
    polars = require("polars")
    rows = standard.select(polars.int_range(polars.len()).alias("at"), "items", "clicked")
    shown = _elements(rows, "items").with_columns(slot=polars.int_range(polars.len()))
    clicked = _elements(rows, "clicked").unique(maintain_order=True)
    first = shown.unique(["at", "id"], keep="first", maintain_order=True)
    found = clicked.join(first, on=["at", "id"], how="left", maintain_order="left")
    clicks = np.zeros(len(shown), np.int8)
    clicks[found["slot"].drop_nulls().to_numpy()] = 1
    not_shown = np.zeros(len(standard), np.bool_)
    not_shown[found.filter(polars.col("slot").is_null())["at"].to_numpy()] = True
    lengths = standard["items"].list.len().fill_null(0).to_numpy()
    return standard.with_columns(clicks=lists_of(clicks, lengths), _not_shown=not_shown)


def _elements(rows: polars.DataFrame, name: str) -> polars.DataFrame:
    """The elements of a column of lists, a row each, with the row that they lie in."""
    polars = require("polars")
    filled = rows.filter(polars.col(name).list.len() > 0)
    return filled.select("at", polars.col(name).alias("id")).explode("id")
