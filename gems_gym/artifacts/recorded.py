"""A dataset's own copies of the ranker and the belief encoder that it was recorded with."""

from __future__ import annotations

import re
from pathlib import Path

from gems_gym.artifacts.files import ArtifactError
from gems_gym.common.dataset_folders import ARTIFACTS, data_folder, dataset_file, read_metadata
from gems_gym.common.files import file_sha256

_NAME = re.compile(r"dataset:(?P<dataset_id>.+)/(?P<part>ranker|belief)")


def recorded_name(dataset_id: str, part: str) -> str:
    """What a dataset's copy is asked for by, wherever a shipped name or a file may stand.

    Args:
        dataset_id: A local dataset.
        part: "ranker" or "belief".

    Examples:
        >>> recorded_name("my/latents-v0", "ranker")
        'dataset:my/latents-v0/ranker'
    """
    return f"dataset:{dataset_id}/{part}"


def is_recorded_name(name: object) -> bool:
    """Whether a text is meant as a name of :func:`recorded_name`."""
    return isinstance(name, str) and name.startswith("dataset:")


def recorded_path(name: str) -> Path:
    """Finds the copy that a name of :func:`recorded_name` stands for.

    Raises:
        ValueError: If the name is malformed, or there is no local dataset of its id.
        ArtifactError: As :func:`recorded_copy`.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(
            f"{name!r} is no name of a dataset's ranker or belief, 'dataset:ID/ranker' or 'dataset:ID/belief'"
        )
    return recorded_copy(data_folder(found["dataset_id"]), found["part"])


def recorded_copy(data: Path, part: str) -> Path:
    """Finds and checks a dataset's copy of its ranker or belief.

    Args:
        data: The folder of the dataset's files.
        part: "ranker" or "belief".

    Raises:
        ValueError: If the dataset was recorded without one.
        ArtifactError: If the copy is missing, or is not the file whose sha256 the metadata hold.
    """
    metadata = read_metadata(data)
    owner, recorded = f"dataset {metadata.get('dataset_id')!r}", metadata.get(f"{part}_sha256")
    if recorded is None:
        raise ValueError(f"{owner} was recorded without a {part}: it holds slates, not latents")
    name = f"{ARTIFACTS}/{part}.safetensors"
    if not (data / name).is_file():
        raise ArtifactError(f"{owner} has lost its {part}: {data / name} is missing; collect it again")
    path = dataset_file(data, name)
    if (found := file_sha256(path)) != recorded:
        raise ArtifactError(
            f"{path} is not the {part} that {owner} was recorded with: its sha256 is {found}, the dataset's metadata "
            f"say {recorded}; collect it again"
        )
    return path
