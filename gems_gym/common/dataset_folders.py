"""Where local datasets lie, and the files of theirs that are read before Minari reads any."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from gems_gym.errors import require, unknown_name

ARTIFACTS = "artifacts"
"""Folder beside a dataset's data file for its copies of ranker and belief; Minari ignores it."""

LARGEST_METADATA = 4 * 2**20
"""Bytes of a ``metadata.json``; those of our own datasets have a few thousand."""

_METADATA_FILE = "metadata.json"
_ID = re.compile(r"(?:[-\w]+/)*[-\w]+-v\d+")


class UnknownDatasetError(FileNotFoundError, ValueError):
    """There is no local dataset of an id; the message names the nearest."""


def data_folder(dataset_id: str) -> Path:
    """Finds the folder that holds a local dataset's files.

    Args:
        dataset_id: ``name-vN``, or ``namespace/name-vN``.

    Returns:
        ``ROOT/dataset_id/data``, inside the folder of all datasets, with symbolic links resolved.

    Raises:
        UnknownDatasetError: If there is none.
        ValueError: If the id is malformed, such as ``../other``, or the folder leads out of the datasets' folder.
        ImportError: If Minari is not installed; it names the extra.
    """
    if not isinstance(dataset_id, str) or not _ID.fullmatch(dataset_id):
        raise ValueError(
            f"dataset id {dataset_id!r} is not of Minari's form: it must be name-vN or namespace/name-vN, of letters, "
            "digits, '-' and '_', e.g. 'gems-slate/diffuse_topdown/random-v0'"
        )
    root = _root()
    folder = root / dataset_id / "data"
    if not folder.is_dir():
        raise UnknownDatasetError(str(unknown_name("local dataset", dataset_id, local_dataset_ids())))
    return _inside(
        root, folder, "the folder of datasets: only what lies there is read (MINARI_DATASETS_PATH)"
    )


def local_dataset_ids() -> list[str]:
    """Lists the ids of the local datasets by their folders; no file is read, no symbolic link followed."""
    root, found = _root(), []
    for folder, names, _ in os.walk(root):
        if "data" in names:
            found.append(Path(folder).relative_to(root).as_posix())
        names[:] = [] if "data" in names else [name for name in names if not name.startswith(".")]
    return sorted(one for one in found if _ID.fullmatch(one))


def dataset_file(data: Path, name: str) -> Path:
    """Finds one file of a dataset.

    Args:
        data: The dataset's folder, as :func:`data_folder` finds it.
        name: The file's place in it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a symbolic link to a file that is not the dataset's.
    """
    file = data / name
    if not file.is_file():
        raise FileNotFoundError(
            f"the dataset in {data} has no file {name}: it is damaged or no Minari dataset"
        )
    return _inside(data, file, "its dataset: only a dataset's own files are read")


def read_metadata(data: Path) -> dict[str, Any]:
    """Reads a dataset's metadata as they stand in its file.

    Args:
        data: The dataset's folder, as :func:`data_folder` finds it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is larger than :data:`LARGEST_METADATA`, or holds no JSON object.
    """
    file = dataset_file(data, _METADATA_FILE)
    if (size := file.stat().st_size) > LARGEST_METADATA:
        raise ValueError(f"{file} has {size:,} bytes; a dataset's metadata have at most {LARGEST_METADATA:,}")
    try:
        metadata = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(metadata).__name__}")
    return metadata


def _root() -> Path:
    root: Path = require("minari.storage").get_dataset_path()
    return root.resolve()


def _inside(folder: Path, path: Path, whose: str) -> Path:
    found = path.resolve()
    if not found.is_relative_to(folder.resolve()):
        raise ValueError(f"{path} leads to {found}, out of {whose}")
    return found
