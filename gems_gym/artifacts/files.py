"""Artefact files: safetensors with one JSON header, complete or not there at all, and checked when read.

An artefact is a set of named arrays and a header. On disk it is an ordinary safetensors file (readable with
any safetensors library, unable to run code) whose metadata has a single key, ``gems_gym``, holding the header
as JSON with sorted keys. The header states the format version, the kind ("ranker/gems", "belief/gru",
"policy/actor", "embeddings/co_click", …), whatever its writer recorded (sizes, options, catalogue hash,
command, metrics), the versions it was written with, and a checksum over all of these and the arrays. The same
content gives the same bytes.

A header may name tensors under ``float16``: they are rounded to half precision on disk and come back as
float32, which halves a file whose weights bear it. Saving what was loaded gives the same bytes again.

A file has two hashes. ``sha256`` is of its bytes, and tells whether a file was altered. ``content_sha256`` is of the
weights and settings alone, and tells whether two files hold the same artefact: what was measured of it, and with which
versions it was written, may differ.

A file may come from anyone. Its sizes are checked against the file's own and against limits before anything is read
or allocated, so reading one takes a small multiple of its size in memory.
"""

from __future__ import annotations

import abc
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from gems_gym.common.checks import as_array, checked_arguments
from gems_gym.common.files import whole_file

FORMAT_VERSION = 1
"""Raised when older readers could misread a file."""

LARGEST_FILE = 2**31
"""Bytes of the largest file that is written or read."""

LARGEST_HEADER = 2**24
"""Bytes of the largest header."""

LARGEST_TABLE = 2**28
"""Numbers (1 GiB of float32) in the largest table that is computed from the tensors of a file."""

_METADATA_KEY = "gems_gym"
_RESERVED = ("format", "kind", "checksum")
_HALVES = "float16"
_NO_CONTENT = ("command", "float16_same_slots", "metrics", "versions")
"""Header entries that say what was measured, by what and how, rather than what the artefact is."""


class ArtifactError(ValueError):
    """A file that is not the complete, unaltered artefact that was asked for."""


@dataclass(frozen=True)
class Artifact:
    """A loaded artefact.

    Attributes:
        kind: What it is, "family/name", e.g. "ranker/gems".
        header: What its writer recorded, and ``versions``; JSON types only.
        tensors: The arrays by name, as they were saved (dtypes and shapes kept).
        sha256: Hex digest of the file's bytes.
        path: Where it was read from.
    """

    kind: str
    header: dict[str, Any]
    tensors: dict[str, np.ndarray]
    sha256: str
    path: Path

    @cached_property
    def content_sha256(self) -> str:
        """Hex digest of the weights and settings, see :func:`content_sha256`."""
        return content_sha256(self.kind, self.tensors, self.header)

    def check_sizes(self, sizes: Mapping[str, int], recorded: object = None) -> None:
        """Check the sizes that the header records against those of the tensors.

        Args:
            sizes: Those of the tensors, by name.
            recorded: Those of the header; its entry "sizes" if None.

        Raises:
            ArtifactError: They differ.
        """
        recorded = self.header.get("sizes", {}) if recorded is None else recorded
        if recorded != sizes:
            raise ArtifactError(f"{self.path} records the sizes {recorded!r}, but its tensors have {sizes}")


class Identified(Protocol):
    """What has the sha256 of a file; ours have the ``content_sha256`` as well."""

    @property
    def sha256(self) -> str | None:
        """Hex digest of the file's bytes, None if there is no file."""


def content_sha256(kind: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> str:
    """Hash what an artefact is: its kind, weights and settings, without what was measured of it.

    Args:
        kind: "family/name".
        tensors: Arrays by name, as :func:`load_artifact` gives them.
        header: What its writer recorded. The entries "metrics", "command", "versions" and "float16_same_slots" do not
            count, nor do those that are null: later versions record settings that earlier ones had not.

    Returns:
        The sha256 as hex.
    """
    settings = {name: value for name, value in header.items() if name not in _NO_CONTENT}
    return _checksum({"kind": kind, "header": _without_nulls(json.loads(json.dumps(settings)))}, tensors)


def _without_nulls(value: Any, depth: int = 8) -> Any:
    if isinstance(value, dict) and depth:  # a foreign header may be nested as deep as it likes
        return {name: _without_nulls(one, depth - 1) for name, one in value.items() if one is not None}
    return value


def same_content(one: Identified, other: Identified) -> bool:
    """Whether two loaded artefacts are the same: in their bytes, or in their weights and settings."""
    if one.sha256 is not None and one.sha256 == other.sha256:
        return True
    first, second = (getattr(part, "content_sha256", None) for part in (one, other))
    return first is not None and first == second


@checked_arguments
def save_artifact(
    path: str | os.PathLike[str], kind: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> str:
    """Write an artefact; the file appears under its name only when it is finished.

    Args:
        path: The file to write (an existing one is replaced).
        kind: "family/name", e.g. "ranker/gems".
        tensors: Arrays by name, of any numeric or bool dtype that safetensors knows.
        header: JSON-able values to record. ``versions`` is filled in unless it is given. ``float16``, a list of
            names of float32 tensors, stores these in half precision.

    Returns:
        The sha256 of the file, as hex.

    Raises:
        ValueError: On a malformed kind, a reserved header key, a header that is not JSON (NaN included), or a
            tensor under ``float16`` that is not there, not float32, or too large for it; more than a file may hold.
    """
    if kind.count("/") != 1 or not all(kind.split("/")):
        raise ValueError(f"kind={kind!r} must be 'family/name', for example 'ranker/gems'")
    reserved = sorted(set(header) & set(_RESERVED))
    if reserved:
        raise ValueError(f"header keys {reserved} are written by save_artifact itself; leave them out")
    arrays = {}
    for name, given in tensors.items():
        array = as_array(given, name)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"tensor {name!r} is of {array.dtype}; a file holds real numbers and bools")
        arrays[name] = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    for name in header.get(_HALVES, ()):
        arrays[name] = _half(name, arrays.get(name))
    full_header = {"versions": versions(), **header, "format": FORMAT_VERSION, "kind": kind}
    try:
        # A round trip, so that the checksum is taken over what a reader will see (lists, not tuples).
        full_header = json.loads(json.dumps(full_header, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the header of a {kind} must hold JSON values only: {error}") from error
    full_header["checksum"] = _checksum(full_header, arrays)
    text = json.dumps(full_header, sort_keys=True)
    size = sum(array.nbytes for array in arrays.values())
    if 2 * len(text) > LARGEST_HEADER or size > LARGEST_FILE - LARGEST_HEADER:
        raise ValueError(
            f"{path}: a header of {len(text)} and tensors of {size} bytes are too large for a {kind}; at most "
            f"{LARGEST_HEADER // 2} and {LARGEST_FILE - LARGEST_HEADER} fit in a file"
        )
    data = safetensors_numpy.save(arrays, metadata={_METADATA_KEY: text})
    with whole_file(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


@checked_arguments
def load_artifact(path: str | os.PathLike[str], kind: str) -> Artifact:
    """Read and check an artefact.

    Args:
        path: The file.
        kind: The kind expected: exact ("ranker/gems"), or a family ("ranker") whose every kind will do.

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactError: The file is truncated, altered, not an artefact, of another kind, or of a format that
            this version does not read.
    """
    path = Path(path)
    if not path.is_file():
        found = " is a folder" if path.is_dir() else ": there is no such file"
        raise FileNotFoundError(f"path={str(path)!r}{found}; a {kind} artefact was expected")
    data = _read(path)
    header = _parse_header(path, data, kind)
    if header["format"] != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has artefact format {header['format']!r}; this version of gems-gym reads format "
            f"{FORMAT_VERSION}: upgrade gems-gym or make the file again"
        )
    found = header["kind"]
    if found != kind and found.split("/")[0] != kind.rstrip("/"):
        raise ArtifactError(f"{path} is a {found}; a {kind.rstrip('/')} was expected")
    tensors = _parse_tensors(path, data)
    checksum = header.pop("checksum")
    if checksum != _checksum(header, tensors):
        raise ArtifactError(f"{path} was altered after it was written: its checksum does not agree")
    del header["format"], header["kind"]
    for name in _halves(path, header, tensors):
        tensors[name] = tensors[name].astype(np.float32)
    return Artifact(found, header, tensors, hashlib.sha256(data).hexdigest(), path)


def _half(name: str, array: np.ndarray | None) -> np.ndarray:
    if array is None or array.dtype != np.float32:
        found = "there is none" if array is None else f"it is {array.dtype}"
        raise ValueError(f"header['float16'] names {name!r}, which must be a float32 tensor; {found}")
    largest = float(np.abs(array).max(initial=0.0))
    if not largest <= float(np.finfo(np.float16).max):
        raise ValueError(f"tensor {name!r} holds {largest:g}, too large for float16 (at most 65504)")
    return array.astype(np.float16)


def _read(path: Path) -> bytes:
    """The file's bytes, unless it is larger than any artefact or says that its header is."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise ArtifactError(f"{path} has {size} bytes; an artefact has at most {LARGEST_FILE}")
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")  # of the header
        if size < 9 or (start[8:] == b"{" and 8 + length > size):
            raise ArtifactError(f"{path} is truncated: it ends before its header does ({size} bytes)")
        if start[8:] == b"{" and length > LARGEST_HEADER:
            raise ArtifactError(f"{path} has a header of {length} bytes; at most {LARGEST_HEADER} are read")
        return start + file.read(size - len(start))


def _parse_header(path: Path, data: bytes, kind: str) -> dict[str, Any]:
    """Our header out of the safetensors one: 8 bytes of length (little endian), then JSON."""
    not_ours = ArtifactError(f"{path} is not a gems-gym artefact (safetensors); a {kind} was expected")
    length = int.from_bytes(data[:8], "little")
    if length > LARGEST_HEADER:  # a text file, whose first letters are no length
        raise not_ours
    try:
        outer = json.loads(data[8 : 8 + length])
        header = json.loads(outer["__metadata__"][_METADATA_KEY])
        json.dumps(header)  # deeper nesting can be read than written
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise not_ours from error
    if not isinstance(header, dict) or not set(_RESERVED) <= set(header):
        raise not_ours
    if not isinstance(header["kind"], str) or not header["kind"].isprintable():
        raise not_ours
    return header


def _parse_tensors(path: Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        tensors = {name: np.array(array) for name, array in safetensors_numpy.load(data).items()}
    except (SafetensorError, KeyError, ValueError, OverflowError) as error:
        raise ArtifactError(f"{path} is truncated or altered: {error}") from error
    for name, array in tensors.items():
        # Arrays of no numbers may say that they have any number of rows.
        if array.dtype.kind not in "fiub" or max(array.shape, default=0) > len(data):
            raise ArtifactError(
                f"{path}: tensor {name!r} has the shape {array.shape} and dtype {array.dtype}"
            )
    return tensors


def _halves(path: Path, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> list[str]:
    names = header.get(_HALVES, [])
    for name in names if isinstance(names, list) else [names]:
        if not isinstance(name, str) or name not in tensors or tensors[name].dtype != np.float16:
            raise ArtifactError(f"{path}: {_HALVES}={names!r} must list tensors of that dtype")
    return list(names)


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def checked_tensors(
    tensors: Mapping[str, np.ndarray], needed: Sequence[str], kind: str
) -> dict[str, np.ndarray]:
    """The tensors that a kind of artefact needs, float32 and contiguous.

    Raises:
        ValueError: One is missing, empty, or not finite.
        TypeError: One is not of real numbers.
    """
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise ValueError(f"tensors lacks {missing}; a {kind} requires {list(needed)}")
    given = {name: as_array(tensors[name], name) for name in needed}
    for name, array in given.items():
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name} must hold real numbers, got {array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
        arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in given.items()}
    for name, array in arrays.items():
        if array.size == 0:
            raise ValueError(f"tensors[{name!r}] is empty: it has shape {array.shape}")
        if not np.isfinite(array).all():
            bad = np.count_nonzero(~np.isfinite(array))
            raise ValueError(f"tensors[{name!r}] holds {bad} non-finite numbers")
    return arrays


def versions() -> dict[str, str]:
    """The versions that a file is written with, by package."""
    try:
        own = metadata.version("gems-gym")
    except metadata.PackageNotFoundError:  # run from a source tree that was not installed
        own = "unknown"
    return {"gems_gym": own, "numpy": np.__version__}


class SavedPart(abc.ABC):
    """What rankers and beliefs have in common that are one artefact: how they are saved, and what they are.

    Attributes:
        kind: "family/name".
        tensors: Arrays by name.
        sha256: Digest of the file it was saved to or read from, None if there is none.
    """

    kind: str
    tensors: Mapping[str, np.ndarray]
    sha256: str | None

    @abc.abstractmethod
    def _file_header(self) -> dict[str, Any]:
        """What the file records beside the tensors."""

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes an artefact of its kind; returns (and keeps) the file's sha256."""
        self.sha256 = save_artifact(path, self.kind, self.tensors, self._file_header())
        return self.sha256

    @property
    def content_sha256(self) -> str:
        """Hash of the tensors and settings, see :func:`gems_gym.artifacts.content_sha256`."""
        return content_sha256(self.kind, self.tensors, self._file_header())
