"""Push and pull: one way for datasets, trained agents and settings from one machine to another.

Each is a *package*: files under a name, and a list of them with sizes and sha256, ``manifest/files.json``. A package
holds files only that can't run code when they are read, and none is ever replaced. What was pulled has the listed
bytes; whether it is what it says is for the one who pulls to check, before it gets its final name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gems_gym.common.files import file_sha256
from gems_gym.common.progress import note, track
from gems_gym.common.remotes import LARGEST_MANIFEST, MANIFEST, PLACE, open_remote

FORMAT = 1
"""Raised when older readers could misread a list."""

SUFFIXES = (".csv", ".hdf5", ".json", ".md", ".parquet", ".safetensors", ".toml")
"""Files that may be shared: none can run code when it is read."""

COMMANDS = {"dataset": "gems-gym dataset", "agent": "gems-gym agents", "settings": "gems-gym agents"}
"""Kind of a package -> the commands that push and pull it."""


def check_name(name: str) -> None:
    """Raise a ValueError unless a text can be the name of a package."""
    if not PLACE.fullmatch(name):
        raise ValueError(
            f"{name!r} can't be the name of what is shared: it must be name or namespace/name, of letters, digits, "
            "'-', '_' and '.'"
        )


@dataclass(frozen=True)
class SharedFile:
    """What a package says about one of its files.

    Attributes:
        size: Bytes.
        sha256: SHA-256 of the bytes, as hex.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, file: Path) -> SharedFile:
        """Measures a file."""
        return cls(file.stat().st_size, file_sha256(file))


@dataclass(frozen=True)
class Package:
    """What is shared under a name.

    Attributes:
        kind: One of :data:`COMMANDS`.
        name: ``name`` or ``namespace/name``; for a dataset its id.
        files: Place in the package -> size and sha256.
    """

    kind: str
    name: str
    files: dict[str, SharedFile]

    def __post_init__(self) -> None:
        check_name(self.name)
        for place in self.files:
            if not PLACE.fullmatch(place) or not place.endswith(SUFFIXES) or place == MANIFEST:
                raise ValueError(
                    f"{self.name} holds {place!r}, which is not shared: only visible files of the package's own folder "
                    f"are that can't run code, {', '.join(SUFFIXES)}"
                )

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def describe(self) -> dict[str, Any]:
        """What a command tells, JSON types: kind, name, files and megabytes."""
        sizes = {"files": sorted(self.files), "megabytes": round(self.size / 1e6, 3)}
        return {"kind": self.kind, "name": self.name, **sizes}

    def to_json(self) -> bytes:
        """The list, as it lies with the files."""
        files = {place: asdict(file) for place, file in sorted(self.files.items())}
        return (json.dumps({"format": FORMAT, "kind": self.kind, "files": files}, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, name: str, address: str) -> Package:
        """Reads a list that anyone may have written.

        Args:
            data: Its bytes.
            name: The package's name.
            address: Where it is from, for the messages.

        Raises:
            ValueError: No list of this format, or of files that are not shared.
        """
        try:
            if len(data) > LARGEST_MANIFEST:
                raise ValueError(f"more than {LARGEST_MANIFEST:,} bytes")
            listed = json.loads(data)
            if listed["format"] != FORMAT:
                raise ValueError(f"format {listed['format']!r:.50}; this version of gems-gym reads {FORMAT}")
            files = {
                place: SharedFile(int(one["size"]), str(one["sha256"]))
                for place, one in listed["files"].items()
            }
            if min((file.size for file in files.values()), default=-1) < 0:
                raise ValueError("no files, or sizes below 0")
            return cls(str(listed["kind"]), name, files)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{name} at {address} has no list of files that can be used: {error}") from error

    def check(self, folder: Path) -> None:
        """Raise a ValueError unless a folder holds the files of the list, byte by byte."""
        for place, listed in self.files.items():
            found = SharedFile.of(folder / place)
            if found != listed:
                raise ValueError(
                    f"{place} of {self.name} was altered or cut short: it has {found.size:,} bytes and the sha256 "
                    f"{found.sha256}, listed are {listed.size:,} and {listed.sha256}; nothing of it is kept"
                )


def push(kind: str, name: str, files: Mapping[str, Path], address: str, *, progress: bool = True) -> Package:
    """Put files where others can pull them.

    Args:
        kind: One of :data:`COMMANDS`.
        name: What it is pulled by; for a dataset its id.
        files: Place in the package -> local file.
        address: See :func:`~gems_gym.common.remotes.open_remote`.
        progress: Whether to show a progress bar on stderr.

    Returns:
        What is there now.

    Raises:
        ValueError: A name, a file or an address that can't be used, or something of this name is there.
        OSError: The remote can't be written to.
        ImportError: The client of a cloud is not installed.
    """
    package = Package(kind, name, {place: SharedFile.of(file) for place, file in files.items()})
    remote = open_remote(address)
    with track(f"pushing {name}", package.size, progress) as advance:
        remote.put(name, files, package.to_json(), advance)
    return package


def pull(kinds: tuple[str, ...], name: str, address: str, folder: Path, *, progress: bool = True) -> Package:
    """Fetch a package into a local folder, once its size has been told on stderr.

    Args:
        kinds: What it may be, of :data:`COMMANDS`.
        name: The name that it was pushed under.
        address: See :func:`~gems_gym.common.remotes.open_remote`.
        folder: Is filled; if anything goes wrong, what it holds is for the caller to remove.
        progress: Whether to show a progress bar on stderr.

    Returns:
        What was fetched, every file of the listed size and sha256.

    Raises:
        ValueError: A name or an address that can't be used; a package of another kind, with files that are not shared,
            or that was altered.
        FileNotFoundError: There is no such package.
        OSError: The remote can't be read, or the disk has too little room.
        ImportError: The client of a cloud is not installed.
    """
    check_name(name)
    remote = open_remote(address)
    data = remote.manifest(name)
    if data is None:
        raise FileNotFoundError(f"the remote {address!r} has no {name!r} that was pushed there by gems-gym")
    package = Package.from_json(data, name, address)
    if package.kind not in kinds:
        command = COMMANDS.get(package.kind, "another version of gems-gym")
        raise ValueError(f"{name} at {address} is of the kind {package.kind!r}, which {command} pulls")
    if progress:
        note(f"{name}: {len(package.files)} files, {package.size / 1e6:.1f} MB, from {address}")
    if package.size > (free := shutil.disk_usage(folder).free):
        raise OSError(f"{name} takes {package.size:,} bytes, and {folder} has room for {free:,}")
    with track(f"pulling {name}", package.size, progress) as advance:
        remote.fetch(name, {place: file.size for place, file in package.files.items()}, folder, advance)
    package.check(folder)
    return package


def files_of(folder: Path) -> dict[str, Path]:
    """All files of a folder, by their place in it."""
    return {
        PurePosixPath(file.relative_to(folder)).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
