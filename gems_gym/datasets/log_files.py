"""The files beside the sessions of an imported log: its items, its users and its import report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gems_gym.common.dataset_folders import ARTIFACTS, dataset_file
from gems_gym.common.files import file_sha256
from gems_gym.datasets.reader import is_log, open_dataset

if TYPE_CHECKING:
    import minari

    from gems_gym.beliefs import BeliefEncoder
    from gems_gym.datasets.reader import Dataset
    from gems_gym.rankers import Ranker

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
    if file_sha256(file) != recorded:
        raise ValueError(
            f"{file} is not the file that dataset {opened.id!r} was written with: import it again"
        )
    return file


def log_files(dataset: minari.MinariDataset) -> dict[str, Path]:
    """The files beside an opened dataset's sessions, by name; none if it is no log. Errors as of :func:`log_file`."""
    return {name: log_file(dataset, name) for name in LOG_FILES} if is_log(dataset) else {}


def check_knows_items(part: Ranker | BeliefEncoder, items: str, owner: str) -> None:
    """Raise a ValueError unless a ranker or a belief is made for the items of a log.

    Args:
        part: The ranker or the belief.
        items: The sha256 of the log's map of items.
        owner: What has these items, for the message.
    """
    if part.catalog_hash != items:
        raise ValueError(
            f"the {part.kind.partition('/')[0]} (a {part.kind}) was made for the catalogue {part.catalog_hash}, and "
            f"{owner} has the items {items}: item ids mean other items there. What 'gems-gym logs fit' learns of the "
            "log fits"
        )
