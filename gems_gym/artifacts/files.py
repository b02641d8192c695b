"""Artefact files: safetensors with one JSON header, whole or not there at all, and checked when read.

An artefact is a set of named arrays and a header. On disk it is an ordinary safetensors file (readable with
any safetensors library, unable to run code) whose metadata has a single key, ``gems_gym``, holding the header
as JSON with sorted keys. The header states the format version, the kind ("ranker/gems", "belief/gru",
"policy/actor", "embeddings/co_click", …), whatever its writer recorded (sizes, options, catalogue hash,
command, metrics), the versions it was written with, and a checksum over all of these and the arrays. The same
content gives the same bytes.

A header may name tensors under ``float16``: they are rounded to half precision on disk and come back as
float32, which halves a file whose weights bear it. Saving what was loaded gives the same bytes again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from gems_gym.checks import checked_arguments
from gems_gym.whole_files import whole_file

FORMAT_VERSION = 1
"""Raised when older readers could misread a file."""

_METADATA_KEY = "gems_gym"
_RESERVED = ("format", "kind", "checksum")
_HALVES = "float16"


class ArtifactError(ValueError):
    """A file that is not the whole, unaltered artefact that was asked for."""


@dataclass(frozen=True)
class Artifact:
    """A loaded artefact.

    Attributes:
        kind: what it is, "family/name", e.g. "ranker/gems".
        header: what its writer recorded, and ``versions``; JSON types only.
        tensors: the arrays by name, as they were saved (dtypes and shapes kept).
        sha256: hex digest of the file's bytes: the artefact's identity.
        path: where it was read from.
    """

    kind: str
    header: dict[str, Any]
    tensors: dict[str, np.ndarray]
    sha256: str
    path: Path


@checked_arguments
def save_artifact(
    path: str | os.PathLike[str], kind: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> str:
    """Write an artefact; the file appears under its name only when it is whole.

    Args:
        path: the file to write (an existing one is replaced).
        kind: "family/name", e.g. "ranker/gems".
        tensors: arrays by name, of any numeric or bool dtype that safetensors knows.
        header: JSON-able values to record. ``versions`` is filled in unless it is given. ``float16``, a list of
            names of float32 tensors, stores these in half precision.

    Returns:
        The sha256 of the file, as hex.

    Raises:
        ValueError: on a malformed kind, a reserved header key, a header that is not JSON (NaN included), or a
            tensor under ``float16`` that is not there, not float32, or too large for it.
    """
    if kind.count("/") != 1 or not all(kind.split("/")):
        raise ValueError(f"kind={kind!r} must be 'family/name', for example 'ranker/gems'")
    reserved = sorted(set(header) & set(_RESERVED))
    if reserved:
        raise ValueError(f"header keys {reserved} are written by save_artifact itself; leave them out")
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    for name in header.get(_HALVES, ()):
        arrays[name] = _half(name, arrays.get(name))
    full_header = {"versions": _versions(), **header, "format": FORMAT_VERSION, "kind": kind}
    try:
        # A round trip, so that the checksum is taken over what a reader will see (lists, not tuples).
        full_header = json.loads(json.dumps(full_header, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the header of a {kind} must hold JSON values only: {error}") from error
    full_header["checksum"] = _checksum(full_header, arrays)
    data = safetensors_numpy.save(arrays, metadata={_METADATA_KEY: json.dumps(full_header, sort_keys=True)})
    with whole_file(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


@checked_arguments
def load_artifact(path: str | os.PathLike[str], kind: str) -> Artifact:
    """Read and check an artefact.

    Args:
        path: the file.
        kind: the kind expected: exact ("ranker/gems"), or a family ("ranker") whose every kind will do.

    Raises:
        FileNotFoundError: there is no such file.
        ArtifactError: the file is truncated, altered, not an artefact, of another kind, or of a format that
            this version does not read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such file; a {kind} artefact was expected")
    data = path.read_bytes()
    header = _parse_header(path, data, kind)
    if header["format"] != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has artefact format {header['format']!r}; this version of gems-gym reads format "
            f"{FORMAT_VERSION}: upgrade gems-gym or make the file again"
        )
    found = str(header["kind"])
    if found != kind and found.split("/")[0] != kind.rstrip("/"):
        raise ArtifactError(f"{path} is a {found}; a {kind.rstrip('/')} was expected")
    try:
        tensors = {name: np.array(array) for name, array in safetensors_numpy.load(data).items()}
    except (SafetensorError, KeyError) as error:
        raise ArtifactError(f"{path} is truncated or altered: {error}") from error
    checksum = header.pop("checksum")
    if checksum != _checksum(header, tensors):
        raise ArtifactError(f"{path} was altered after it was written: its checksum does not agree")
    del header["format"], header["kind"]
    for name in header.get(_HALVES, ()):
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


def _parse_header(path: Path, data: bytes, kind: str) -> dict[str, Any]:
    """Our header out of the safetensors one: 8 bytes of length (little endian), then JSON."""
    not_ours = ArtifactError(f"{path} is not a gems-gym artefact (safetensors); a {kind} was expected")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or (data[8:9] == b"{" and 8 + length > len(data)):
        raise ArtifactError(f"{path} is truncated: it ends before its header does ({len(data)} bytes)")
    try:
        outer = json.loads(data[8 : 8 + length])
        header = json.loads(outer["__metadata__"][_METADATA_KEY])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise not_ours from error
    if not isinstance(header, dict) or not set(_RESERVED) <= set(header):
        raise not_ours
    return header


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    try:
        own = metadata.version("gems-gym")
    except metadata.PackageNotFoundError:  # run from a source tree that was not installed
        own = "unknown"
    return {"gems_gym": own, "numpy": np.__version__}
