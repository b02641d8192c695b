"""The files beside the sessions of an imported log: its items, its users and its import report."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from gems_gym.common.dataset_folders import ARTIFACTS, dataset_file
from gems_gym.datasets.reader import is_log, open_dataset

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset

ITEMS_FILE, USERS_FILE, REPORT_FILE = "items.parquet", "users.parquet", "import_report.json"
"""Files in the folder ``data/artifacts`` of a dataset; its metadata hold the sha256 of each."""

LOG_FILES = (ITEMS_FILE, USERS_FILE, REPORT_FILE)


def log_file(dataset: Dataset, name: str) -> Path:
    """Returns where one of the files of an imported log lies.

    Args:
        dataset: The dataset, or the id of a local one.
        name: One of :data:`LOG_FILES`.

    Raises:
        ValueError: If the dataset was not imported from a log, or the file is not the one that it was written with.
        FileNotFoundError: If the file is missing.
    """
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
