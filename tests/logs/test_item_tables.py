"""Item tables: the catalogue of a log, what stays with which item, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import minari
import numpy as np
import polars as pl
import pytest

from gems_gym.logs import read_items
from tests.logs.reading_back import ID, imported, left_out, log


def test_item_table_is_the_catalogue() -> None:
    table = pl.DataFrame({
        "id": [3, 2, 1], "title": ["c", "=b()", "a"], "number": [7, 8, 9],
        "embedding": [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
    })  # fmt: skip
    report = imported(log(items=[[1, 2], [4]]), items=table, item_column="id")
    assert left_out(report) == {"items: is not in the item table": 1}
    assert read_items(ID).to_dict(as_series=False) == {
        "item": ["3", "2", "1"], "shown": [0, 1, 1], "clicked": [0, 1, 0], "title": ["c", "=b()", "a"],
        "number": [7, 8, 9], "embedding": [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
    }  # fmt: skip
    assert minari.load_dataset(ID)[0].actions.tolist() == [[2, 1]]


def test_columns_of_a_table_of_many_pieces_stay_with_their_items(tmp_path: Path) -> None:
    """Threads once numbered the items of a large file piece by piece."""
    count = 100_000
    pl.DataFrame({"item": [f"n{i}" for i in range(count)], "price": np.arange(count)}).write_csv(
        tmp_path / "items.csv"
    )
    imported(log(items=[["n99999", "n50000"], ["n7"]]), items=tmp_path / "items.csv")
    found = read_items(ID)
    assert found["item"].to_list() == [f"n{i}" for i in range(count)]
    assert found["price"].to_list() == [str(i) for i in range(count)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": [1, 2]}, "unknown column of the item table 'item': "),
        ({"item": [1, None]}, "has no id in row 2"),
        (
            {"item": pl.Series([object(), object()], dtype=pl.Object)},
            "holds Object.*: ids must be integers or texts",
        ),
        ({"item": [b"\xff", b"\xfe"]}, "holds Binary: ids must be integers or texts"),
        ({"item": [1, 1]}, "'1' twice, again in row 2"),
        (
            {"item": [1, 2], "e": [[1.0], [1.0, 2.0]]},
            "column 'e' .* unequal lengths: 1 numbers in row 1, 2 in row 2",
        ),
        ({"item": [1, 2], "e": [[1.0], [float("nan")]]}, "column 'e' .* not finite in row 2"),
        ({"item": [1, 2], "shown": [1, 2]}, "a column 'shown', which the item map makes"),
        (
            {"item": [1, 2], "o": pl.Series([object(), object()], dtype=pl.Object)},
            "column 'o' .* holds Python objects",
        ),
    ],
)
def test_bad_item_tables_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imported(log(), items=pl.DataFrame(table))
