"""Rows of any form of log in one form, each with the first thing that is wrong with it.

A row of the standard form has ``row``, ``user`` and ``session`` (texts), ``time`` (milliseconds since 1970), ``reward``
and ``reason`` (null, or what is wrong: ``"time: is missing"``); and, of the layout "rows", ``impression``,
``position``, ``item``, ``click`` and ``propensity``, or of the layout "lists" the lists ``items``, ``clicks`` and
``propensity``. What the log has no column for is null in all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gems_gym.errors import require
from gems_gym.logs.files import BEYOND, ROW, lists_of
from gems_gym.logs.presets import LARGEST_SLATE, MILLISECONDS, Preset

if TYPE_CHECKING:
    import polars

LATEST = 7_258_118_400_000
"""Times are before this, the year 2200: in a wrong unit they are not."""

MISSING = "is missing"

_IDS = "ids must be integers or texts, and 1.0 is not taken for 1"
_TOO_WIDE = "row: has more columns than the header"
_CLICKS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "False": 0, "True": 1}
_ISO = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M%:z", "%Y-%m-%d",
)  # fmt: skip
_IN_LISTS = r"""[^\s,;|\[\]()'"]+"""
"""What is an element of a list that is written as text: ``[1, 2]``, ``1,2``, ``1 2``, ``['a' 'b']``."""

_OF_NUMPY = r"np\.\w+\(([^()]*)\)"
"""How numpy 2 writes the numbers of a list: ``[np.int64(1), np.int64(2)]``."""
_NOTHING = ("None", "null", "nan", "NaN")
"""Elements of a list in brackets that are none."""

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
    log = _Columns(batch, preset)
    return _rows(log) if preset.layout == "rows" else _lists(log)


def offending_value(batch: polars.DataFrame, preset: Preset, row: int, reason: str) -> str:
    """What stands in a row in the column that a reason begins with, as text of at most 80 characters."""
    column = BEYOND if reason == _TOO_WIDE else preset.columns[reason.partition(":")[0]]
    value = batch.row(by_predicate=require("polars").col(ROW) == row, named=True)[column]
    return f"{value!r:.80}"


class _Columns:
    """The columns of a batch by their meanings, under names that no column of the standard form has.

    Args:
        batch: As read.
        preset: The log's form.
    """

    def __init__(self, batch: polars.DataFrame, preset: Preset) -> None:
        self.preset = preset
        self._column = {name: one for name, one in preset.columns.items() if one in batch.columns}
        polars = require("polars")
        self.frame = batch.select(
            row=polars.col(ROW).cast(polars.Int64),
            **{f"log {name}": polars.col(one) for name, one in self._column.items()},
            **({BEYOND: polars.col(BEYOND)} if BEYOND in batch.columns else {}),
        )

    def __contains__(self, meaning: str) -> bool:
        return meaning in self._column

    def dtype(self, meaning: str) -> Any:
        return self.frame.schema[f"log {meaning}"]

    def value(self, meaning: str) -> Any:
        return require("polars").col(f"log {meaning}")

    def text(self, meaning: str) -> Any:
        """Texts that are ids, empty ones as null; all null if the log has none."""
        polars = require("polars")
        if meaning not in self:
            return polars.lit(None, polars.String)
        self.refuse(meaning, _is_decimal(self.dtype(meaning)), _IDS)
        return self.single(meaning).cast(polars.String).replace("", None)

    def number(self, meaning: str) -> Any:
        """Decimal numbers, null where there are none."""
        polars = require("polars")
        if meaning not in self:
            return polars.lit(None, polars.Float64)
        return self.single(meaning).cast(polars.Float64, strict=False)

    def single(self, meaning: str) -> Any:
        """Values as they are, of a column that is there."""
        polars, dtype = require("polars"), self.dtype(meaning)
        self.refuse(meaning, dtype == polars.Object, "values of one kind were expected")
        self.refuse(meaning, dtype.is_nested() or dtype == polars.Binary, "single values were expected")
        return self.value(meaning)

    def list(self, meaning: str) -> tuple[Any, Any]:
        """Lists as they are, null where there are none, and what is in them: texts if they are written as text."""
        polars = require("polars")
        if meaning not in self:
            return polars.lit(None, polars.List(polars.String)), polars.String
        dtype = self.dtype(meaning)
        if dtype == polars.String:
            return _in_text(self.value(meaning)), polars.String
        is_list = isinstance(dtype, polars.List | polars.Array)
        is_list = is_list and not dtype.inner.is_nested() and dtype.inner != polars.Binary
        self.refuse(meaning, not is_list, "lists of ids or numbers were expected")
        return self.value(meaning).cast(polars.List(dtype.inner)), dtype.inner

    def texts(self, meaning: str) -> Any:
        """Lists of texts that are ids, empty ones as null."""
        polars = require("polars")
        lists, inner = self.list(meaning)
        self.refuse(meaning, _is_decimal(inner), _IDS)
        if inner == polars.String:
            return lists.list.eval(polars.element().replace("", None))
        return lists.cast(polars.List(polars.String))

    def refuse(self, meaning: str, wrong: bool, right: str) -> None:
        """Raises a ValueError that names a column and says what its values should be, if they are wrong."""
        if wrong:
            raise ValueError(
                f"column {self._column[meaning]!r} ({meaning}) holds {self.dtype(meaning)}: {right}"
            )


def _in_text(text: Any) -> Any:
    """Lists that are written as text, such as ``[1, 2]`` or ``1,2``; one null where an element is missing."""
    polars = require("polars")
    text = text.str.replace_all(_OF_NUMPY, "${1}")
    lists = text.str.extract_all(_IN_LISTS)
    named = lists.list.eval(polars.element().replace(dict.fromkeys(_NOTHING)))
    lists = polars.when(text.str.contains(r"^\s*[\[(]")).then(named).otherwise(lists)
    nothing = polars.concat_list(polars.lit(None, polars.String))
    return polars.when(text.str.contains(r"[,;|]\s*[,;|]")).then(nothing).otherwise(lists)


def _rows(log: _Columns) -> polars.DataFrame:
    polars = require("polars")
    col = polars.col
    standard = _with_all(log).with_columns(
        impression=log.text("impression"),
        position=log.number("position"),
        item=log.text("item"),
        click=_as_click(log.single("click"), log.dtype("click")),
        propensity=log.number("propensity").cast(polars.Float32),
    )
    checks = [
        *_checks_of_all(log),
        ("item", MISSING, col("item").is_null()),
        ("click", MISSING, log.value("click").is_null()),
        ("click", "is not 0 or 1", col("click").is_null()),
    ]
    if "position" in log:
        checks.append(("position", "is no number", ~col("position").is_finite().fill_null(False)))
    if log.preset.keep_slots:
        slot = col("position").is_between(1, LARGEST_SLATE) & (col("position") == col("position").round())
        checks.append(("position", f"is no slot from 1 to {LARGEST_SLATE}", ~slot))
    if "propensity" in log:
        checks.append(("propensity", "is not in (0, 1]", _no_probability(col("propensity"))))
    return _with_reason(standard, checks).select(
        "row", "user", "session", "time", "reward", "impression", "position", "item", "click",
        "propensity", "reason",
    )  # fmt: skip


def _lists(log: _Columns) -> polars.DataFrame:
    polars = require("polars")
    col, element = polars.col, polars.element()
    named = "pairs" if "pairs" in log else "items"
    propensities = log.list("propensity")[0].cast(polars.List(polars.Float32), strict=False)
    standard = _with_all(log).with_columns(items=log.texts(named), propensity=propensities)
    checks = [
        *_checks_of_all(log),
        (named, MISSING, col("items").is_null()),
        (named, "is empty", col("items").list.len() == 0),
        (named, f"has more than {LARGEST_SLATE} items", col("items").list.len() > LARGEST_SLATE),
    ]
    lacks_click = col("clicks").list.eval(element.is_null()).list.any()
    if named == "pairs":
        standard = _with_pairs(standard)
        checks.append((named, "is not ITEM-0 or ITEM-1", lacks_click))
    else:
        checks.append((named, "lacks an item", col("items").list.eval(element.is_null()).list.any()))
    if "clicked" in log:
        clicked = log.texts("clicked")
        if log.dtype("clicked") == polars.String:  # a list without brackets of no items is an empty cell
            clicked = clicked.fill_null(polars.lit([], polars.List(polars.String)))
        standard = _with_clicks(standard.with_columns(clicked=clicked))
        checks += [
            ("clicked", MISSING, col("clicked").is_null()),
            ("clicked", "was not shown", col("not_shown")),
        ]
    elif "clicks" in log:
        clicks, inner = log.list("clicks")
        standard = standard.with_columns(clicks=clicks.list.eval(_as_click(element, inner)))
        checks += [*_checks_of_list("clicks", "clicks"), ("clicks", "are not 0 or 1", lacks_click)]
    if "propensity" in log:
        wrong = col("propensity").list.eval(_no_probability(element)).list.any()
        checks += [*_checks_of_list("propensity", "propensity"), ("propensity", "is not in (0, 1]", wrong)]
    return _with_reason(standard, checks).select(
        "row", "user", "session", "time", "reward", "items", "clicks",
        "propensity", "reason",
    )  # fmt: skip


def _with_all(log: _Columns) -> polars.DataFrame:
    """The batch with the columns that both layouts have; a log without users has one in each row."""
    polars = require("polars")
    return log.frame.with_columns(
        user=log.text("user") if "user" in log else polars.col("row").cast(polars.String),
        session=log.text("session"),
        time=_time(log),
        reward=log.number("reward").cast(polars.Float32),
    )


def _checks_of_all(log: _Columns) -> _Checks:
    col = require("polars").col
    name, _, what = _TOO_WIDE.partition(": ")
    beyond: _Checks = [(name, what, col(BEYOND).is_not_null())] if BEYOND in log.frame.columns else []
    return [
        *beyond,
        ("user", MISSING, col("user").is_null()),
        ("time", MISSING, log.value("time").is_null()),
        ("time", "is no time", col("time").is_null()),
        ("time", "is before 1970 or after 2200", ~col("time").is_between(0, LATEST)),
        *(
            [("reward", "is no number", ~col("reward").is_finite().fill_null(False))]
            if "reward" in log
            else []
        ),
    ]


def _checks_of_list(meaning: str, name: str) -> _Checks:
    col = require("polars").col
    return [
        (meaning, MISSING, col(name).is_null()),
        (meaning, "are not as many as the items", col(name).list.len() != col("items").list.len()),
    ]


def _with_reason(standard: polars.DataFrame, checks: _Checks) -> polars.DataFrame:
    polars = require("polars")
    reasons = [polars.when(wrong).then(polars.lit(f"{name}: {what}")) for name, what, wrong in checks]
    return standard.with_columns(reason=polars.coalesce(reasons))


def _is_decimal(dtype: Any) -> bool:
    return bool(dtype.is_float() or dtype.is_decimal())


def _no_probability(number: Any) -> Any:
    return number.is_null() | ~((number > 0) & (number <= 1))  # NaN is larger than all numbers to Polars


def _as_click(value: Any, dtype: Any) -> Any:
    """0 or 1, null where it is neither."""
    polars = require("polars")
    if dtype == polars.Boolean or dtype.is_numeric():
        number = value.cast(polars.Int8) if dtype == polars.Boolean else value
        return polars.when((number == 0) | (number == 1)).then(number).cast(polars.Int8)
    return value.cast(polars.String).replace_strict(_CLICKS, default=None, return_dtype=polars.Int8)


def _time(log: _Columns) -> Any:
    """Milliseconds since 1970, null where that can't be read."""
    polars = require("polars")
    dtype, value = log.dtype("time"), log.single("time")
    is_time = dtype in (polars.Datetime, polars.Date, polars.String, polars.Null) or dtype.is_numeric()
    log.refuse("time", not is_time, "dates, texts or numbers were expected")
    if dtype in (polars.Datetime, polars.Date):
        return value.cast(polars.Datetime("ms")).dt.epoch("ms")
    number = value.cast(polars.Float64, strict=False) * MILLISECONDS[log.preset.time_unit]
    time = polars.when(number.abs() < 2**53).then(number.round()).cast(polars.Int64)
    if dtype != polars.String:
        return time
    if log.preset.time_format is not None:
        return polars.coalesce(_moment(value, log.preset.time_format), time)
    iso = value.str.replace(r"(Z| ?UTC)$", "").str.replace("T", " ", literal=True)
    iso = iso.str.replace(r"(:\d\d(?:\.\d+)?[+-]\d\d)$", "${1}:00")  # as databases write it
    return polars.coalesce(time, *(_moment(iso, form) for form in _ISO))


def _moment(text: Any, form: str) -> Any:
    return text.str.to_datetime(form, time_unit="ms", strict=False).dt.epoch("ms")


def _with_pairs(standard: polars.DataFrame) -> polars.DataFrame:
    """``items`` and ``clicks`` from items with a click behind a hyphen."""
    polars = require("polars")
    element = polars.element()
    pairs = polars.col("items").list.eval(element.str.extract_groups(r"^(.+)-([^-]+)$"))
    return standard.with_columns(
        items=pairs.list.eval(element.struct.field("1")),
        clicks=pairs.list.eval(_as_click(element.struct.field("2"), polars.String)),
    )


def _with_clicks(standard: polars.DataFrame) -> polars.DataFrame:
    """Adds ``clicks`` from the items that were ``clicked``: of an item that is shown twice the first slot.

    ``not_shown`` says where a clicked item was not shown.
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
    return standard.with_columns(clicks=lists_of(clicks, lengths), not_shown=not_shown)


def _elements(rows: polars.DataFrame, name: str) -> polars.DataFrame:
    """The elements of a column of lists, a row each, with the row that they lie in."""
    polars = require("polars")
    filled = rows.filter(polars.col(name).list.len() > 0)
    return filled.select("at", polars.col(name).alias("id")).explode("id")
