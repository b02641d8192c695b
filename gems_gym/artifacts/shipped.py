"""The artefacts that come with the package: their manifest, and where a name's file lies.

``shipped/manifest.json`` lists them: name -> file, sha256, kind, preset, the command that makes it again, and its
metrics. Whatever loads a ranker or a belief takes such a name as well as a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gems_gym.artifacts.files import ArtifactError
from gems_gym.artifacts.recorded import is_recorded_name, recorded_path
from gems_gym.common.checks import checked_arguments
from gems_gym.common.files import file_sha256, read_json, write_json
from gems_gym.common.locks import locked
from gems_gym.errors import unknown_name

DIRECTORY = Path(__file__).with_name("shipped")
"""Where the shipped files and their manifest lie, installed or not."""

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the manifest says about one artefact.

    Attributes:
        file: Its file, beside the manifest.
        sha256: SHA-256 of the file's bytes.
        kind: "family/name", e.g. "ranker/gems".
        preset: The world it was made in.
        command: Makes it again and compares.
        metrics: What was measured when it was made; the file's header holds the same.
    """

    file: str
    sha256: str
    kind: str
    preset: str
    command: str
    metrics: dict[str, Any]


def manifest(directory: Path | None = None) -> dict[str, Entry]:
    """The artefacts by name.

    Args:
        directory: Where to look; where the shipped ones lie if None.

    Returns:
        Name -> entry; nothing if there is no manifest.

    Raises:
        ArtifactError: A manifest that can't be read.
    """
    file = (directory or DIRECTORY) / MANIFEST
    if not file.is_file():
        return {}
    try:
        return {name: Entry(**entry) for name, entry in read_json(file).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{file} is no manifest of gems-gym ({error}); install gems-gym again") from error


@checked_arguments
def names(family: str | None = None, preset: str | None = None) -> list[str]:
    """Names of the shipped artefacts.

    Args:
        family: Only those of one family: "ranker", "belief", "embeddings" or "policy".
        preset: Only those that were made in one world.
    """
    return [
        name
        for name, entry in manifest().items()
        if family in (None, entry.kind, entry.kind.partition("/")[0]) and preset in (None, entry.preset)
    ]


@checked_arguments
def path(name_or_file: str | os.PathLike[str], family: str = "ranker") -> Path:
    """Where an artefact lies, given by its shipped name, as a dataset's copy (``dataset:ID/ranker``), or as a file.

    A text that is a shipped name always means that artefact, whatever files there are; one that looks like a file
    (it has a folder or a suffix) is a file, there or not.

    Args:
        name_or_file: A name of :func:`names` or :func:`~gems_gym.artifacts.recorded.recorded_name`, or a file.
        family: What is looked for, as in :func:`names`; for the messages.

    Raises:
        ValueError: A text that is neither; the message names the nearest names and how to make a file. A dataset that
            is not there or holds slates.
        FileNotFoundError: A shipped artefact whose file is missing.
        ArtifactError: A shipped artefact's file that is not the one in the manifest, or a dataset's copy that is not
            the one that it was recorded with.
    """
    shipped = manifest()
    if isinstance(name_or_file, str) and name_or_file in shipped:
        return _checked(name_or_file, shipped[name_or_file])
    if is_recorded_name(name_or_file):
        return recorded_path(str(name_or_file))
    file = Path(name_or_file)
    looks_like_a_file = not isinstance(name_or_file, str) or file.suffix or file.name != name_or_file
    if looks_like_a_file or file.is_file():
        return file
    known = names(family)
    made_by = (
        "levels --env ID --out FOLDER" if family == "policy" else f"pretrain {family} --env ID --out FILE"
    )
    raise ValueError(
        f"{unknown_name(f'shipped {family}', name_or_file, known)} It is no file either; 'gems-gym {made_by}' "
        f"makes one, whose path goes in the name's place"
    )


def _checked(name: str, entry: Entry) -> Path:
    file = DIRECTORY / entry.file
    again = f"install gems-gym again, or make it: {entry.command} --out FOLDER"
    if not file.is_file():
        raise FileNotFoundError(f"the shipped artefact {name!r} is missing ({file}); {again}")
    if (found := file_sha256(file)) != entry.sha256:
        raise ArtifactError(
            f"the shipped artefact {name!r} was altered: {file} has sha256 {found}, the manifest says "
            f"{entry.sha256}; {again}"
        )
    return file


def record(directory: Path, name: str, entry: Entry) -> None:
    """Put an artefact into a folder's manifest, in place of one with the same name; waits for other processes' turn.

    Args:
        directory: Holds the artefact's file.
        name: What it is asked for by.
        entry: What to record.
    """
    file = directory / MANIFEST
    with locked(file.with_name(f".{MANIFEST}.lock"), str(file), wait=True):
        entries = {**manifest(directory), name: entry}
        write_json(file, {key: vars(entries[key]) for key in sorted(entries)})
