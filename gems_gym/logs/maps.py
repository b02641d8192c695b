"""What lies beside the sessions of an imported log: its items, its users and its import report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gems_gym.common.files import read_json
from gems_gym.datasets.log_files import ITEMS_FILE, REPORT_FILE, USERS_FILE, log_file
from gems_gym.errors import require
from gems_gym.logs.files import naming_damage

if TYPE_CHECKING:
    import polars

    from gems_gym.datasets.reader import Dataset


def read_items(dataset: Dataset) -> polars.DataFrame:
    """The items of an imported log: row ``i`` is item ``i`` of its slates.

    Args:
        dataset: The dataset, or the id of a local one.

    Returns:
        ``item`` (its id in the log, a text), ``shown``, ``clicked``, and what an item table says of it.

    Raises:
        ValueError: The dataset was not imported from a log, or the file is not the one that it was written with.
        FileNotFoundError: The file is missing.
    """
    return _read_parquet(log_file(dataset, ITEMS_FILE))


def read_item_ids(file: Path) -> list[str]:
    """The items' ids in a map of items, in the order of their numbers.

    Args:
        file: ``items.parquet`` of an imported log, or a copy.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, no parquet file, or has no column ``item``.
    """
    with naming_damage(file):
        found: list[str] = (
            require("polars").read_parquet(file, columns=["item"], glob=False)["item"].to_list()
        )
    return found


def read_users(dataset: Dataset) -> polars.DataFrame:
    """The users of an imported log: row ``i`` is the user of sessions with seed ``i``.

    Returns:
        ``user``, the id in the log, a text. Arguments and errors as of :func:`read_items`.
    """
    return _read_parquet(log_file(dataset, USERS_FILE))


def read_import_report(dataset: Dataset) -> dict[str, Any]:
    """The import report as JSON has it; arguments and errors as of :func:`read_items`."""
    found: dict[str, Any] = read_json(log_file(dataset, REPORT_FILE))
    return found


def _read_parquet(file: Path) -> polars.DataFrame:
    table: polars.DataFrame = require("polars").read_parquet(file, glob=False)
    return table
