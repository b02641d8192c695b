"""Item tables: the catalogue of a log, with features and embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gems_gym.errors import require, unknown_name
from gems_gym.logs.files import BEYOND, ROW, naming_damage, scan_table
from gems_gym.logs.presets import PRESETS

if TYPE_CHECKING:
    import polars

OWN_COLUMNS = ("item", "shown", "clicked")
"""Columns of the item map that an import makes."""


def read_item_table(source: Any, id_column: str) -> polars.DataFrame:
    """Reads an item table, which is held in memory.

    Args:
        source: A parquet, csv or tsv file, or a table of polars, pandas or pyarrow.
        id_column: The column with the items' ids.

    Returns:
        Its rows in their order, ``item`` (the ids as texts) before the other columns.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No such column (the nearest is named), no rows, an id that is missing or there twice, a column of
            lists of unequal lengths or with numbers that are not finite; it names column, row and value.
        TypeError: No table.
    """
    polars = require("polars")
    rows = scan_table(source, PRESETS["lists"])
    with naming_damage("the item table"):
        table = rows.collect()
    names = [name for name in table.columns if name not in (ROW, BEYOND)]
    if id_column not in names:
        raise unknown_name("column of the item table", id_column, names)
    if BEYOND in table.columns and table[BEYOND].null_count() < len(table):
        row = table.filter(polars.col(BEYOND).is_not_null())[ROW][0]
        raise ValueError(f"the item table's row {row} has more columns than its header")
    if table.is_empty():
        raise ValueError("the item table has no rows")
    kind = table.schema[id_column]
    if kind.is_float() or kind.is_nested() or kind in (polars.Object, polars.Binary):
        raise ValueError(
            f"column {id_column!r} of the item table holds {kind}: ids must be integers or texts"
        )
    found = table.select(
        polars.col(id_column).cast(polars.String).replace("", None).alias("item"),
        polars.col([name for name in names if name != id_column]),
    )
    _check_ids(found["item"], id_column)
    for name in found.columns[1:]:
        if name in OWN_COLUMNS:
            raise ValueError(
                f"the item table has a column {name!r}, which the item map makes itself: rename it"
            )
        if found.schema[name] == polars.Object:
            raise ValueError(
                f"column {name!r} of the item table holds Python objects: texts, numbers or lists of them were expected"
            )
        if found.schema[name].is_nested():
            _check_lists(found[name])
    return found


def item_map(
    table: polars.DataFrame | None, texts: polars.Series, shown: Any, clicked: Any
) -> polars.DataFrame:
    """The items of a dataset: a row each, in the order of their numbers there.

    Args:
        table: The item table, whose items are the first of ``texts`` in the same order. None: the items that some
            impression shows, sorted by their ids.
        texts: Ids by number in the log.
        shown: How often each of these was shown.
        clicked: How often it was clicked.

    Returns:
        :data:`~gems_gym.logs.files.ROW` (the number in the log), ``item``, ``shown``, ``clicked``, and the table's
        columns.
    """
    pl = require("polars")
    counted = pl.DataFrame({"item": texts, "shown": shown, "clicked": clicked}).with_row_index(ROW)
    found: polars.DataFrame = counted.filter(pl.col("shown") > 0).sort("item")
    if table is not None:
        found = counted[: len(table)].join(table, on="item", how="left", maintain_order="left")
    return found


def _check_ids(ids: polars.Series, column: str) -> None:
    if ids.null_count():
        raise ValueError(f"column {column!r} of the item table has no id in row {_first(ids.is_null()) + 1}")
    again = ~ids.is_first_distinct()
    if again.any():
        row = _first(again)
        raise ValueError(
            f"column {column!r} of the item table has {ids[row]!r} twice, again in row {row + 1}"
        )


def _check_lists(values: polars.Series) -> None:
    """Checks a column of embeddings: as many finite numbers in each row."""
    polars = require("polars")
    if not isinstance(values.dtype, polars.List | polars.Array) or not values.dtype.inner.is_numeric():
        return
    lists = values.cast(polars.List(polars.Float64))
    lengths = lists.list.len().fill_null(0)
    if lengths.n_unique() > 1:
        row = _first(lengths != lengths[0])
        raise ValueError(
            f"column {values.name!r} of the item table has lists of unequal lengths: {lengths[0]} numbers in row 1, "
            f"{lengths[row]} in row {row + 1}"
        )
    wrong = ~lists.list.eval(polars.element().is_finite().fill_null(False)).list.all()
    if wrong.any():
        row = _first(wrong)
        raise ValueError(
            f"column {values.name!r} of the item table has a number that is not finite in row {row + 1}: "
            f"{values[row].to_list()!r:.80}"
        )


def _first(wrong: polars.Series) -> int:
    """Where the first true value stands."""
    return int(wrong.fill_null(False).to_numpy().argmax())
