"""What lies beside the sessions of an imported log: its items, its users and its import report."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gems_gym.common.dataset_folders import ARTIFACTS, dataset_file
from gems_gym.common.files import read_json
from gems_gym.datasets.reader import is_log, open_dataset
from gems_gym.errors import require
from gems_gym.logs.files import naming_damage

if TYPE_CHECKING:
    import polars

    from gems_gym.datasets.reader import Dataset

ITEMS_FILE, USERS_FILE, REPORT_FILE = "items.parquet", "users.parquet", "import_report.json"
"""Files in the folder ``data/artifacts`` of a dataset; its metadata hold the sha256 of each."""


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
    return _read_parquet(_checked(dataset, ITEMS_FILE))


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
    return _read_parquet(_checked(dataset, USERS_FILE))


def read_import_report(dataset: Dataset) -> dict[str, Any]:
    """The import report as JSON has it; arguments and errors as of :func:`read_items`."""
    found: dict[str, Any] = read_json(_checked(dataset, REPORT_FILE))
    return found


def _read_parquet(file: Path) -> polars.DataFrame:
    table: polars.DataFrame = require("polars").read_parquet(file, glob=False)
    return table


def _checked(dataset: Dataset, name: str) -> Path:
    opened = open_dataset(dataset)
    if not is_log(opened):
        raise ValueError(f"dataset {opened.id!r} was not imported from a log: it has no {name}")
    file = dataset_file(Path(opened.storage.data_path), f"{ARTIFACTS}/{name}")
    recorded = opened.storage.metadata.get(f"{file.stem}_sha256")
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != recorded:
            raise ValueError(
                f"{file} is not the file that dataset {opened.id!r} was written with: import it again"
            )
    return file
