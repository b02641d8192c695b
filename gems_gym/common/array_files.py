"""Arrays from files that others may have made: .npy and .npz.

A header of a few bytes can ask for any amount of memory, and a small archive can expand to any size. So headers are
read first: an array must be as large as its header says, and fit into memory, before any of it is read. Nothing here
can run code: there is no pickle.
"""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from gems_gym.common.machine import check_fits_memory

_SMALL = 2**26
"""Bytes of an array that may be compressed as far as it goes."""

_LARGEST_RATIO = 100
"""How far a larger one may be compressed; sessions are to a tenth at most."""

_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(path: Path, *, name: str) -> NDArray[Any]:
    """Read the array of an .npy file.

    Args:
        path: The file.
        name: What it is given as, for the errors: ``"item_embeddings"``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A file that is no array of numbers or text, or is not as large as it says.
    """
    with _open(path, name) as file:
        try:
            _check_header(file, path.stat().st_size)
            file.seek(0)
            return npy.read_array(file, allow_pickle=False)
        except Exception as error:  # whatever the parsers make of bytes that are no array
            raise ValueError(
                f"{name}: {str(path)!r} is no .npy file of an array: {_reason(error)}"
            ) from error


def read_npz(
    path: Path, *, name: str, needed: Iterable[str] | None = None, optional: Iterable[str] = ()
) -> dict[str, NDArray[Any]]:
    """Read arrays of an .npz file; others in it are left alone.

    Args:
        path: The file.
        name: What it is given as, for the errors: ``"log"``.
        needed: Names of the arrays; all that are there if None.
        optional: Names of arrays that may be missing.

    Returns:
        Name -> array.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A file that is no archive of arrays of numbers and text, lacks one, is damaged, or holds one that is
            not as large as it says.
    """
    with _open(path, name) as file:
        try:
            return _read_members(file, needed, optional)
        except Exception as error:  # whatever the parsers make of bytes that are no archive
            raise ValueError(f"{name}: {str(path)!r} is no .npz file of arrays: {_reason(error)}") from error


def check_form(arrays: Mapping[str, NDArray[Any]], forms: Mapping[str, tuple[str, int]]) -> None:
    """Raise a ValueError unless arrays have the kinds and the numbers of dimensions that they should.

    Args:
        arrays: Name -> array.
        forms: Name -> numpy's letters of the kinds of dtype that will do, e.g. ``"iu"``, and number of dimensions.
    """
    for name, (kinds, dimensions) in forms.items():
        array = arrays[name]
        if array.dtype.kind not in kinds or array.ndim != dimensions:
            raise ValueError(
                f"{name} is {array.dtype} of shape {array.shape}; an array of {dimensions} dimensions and a dtype of "
                f"the kind {' or '.join(map(repr, kinds))} was expected"
            )


def _open(path: Path, name: str) -> IO[bytes]:
    if path.is_dir():
        raise IsADirectoryError(f"{name}: {str(path)!r} is a folder; a file was expected")
    if not path.is_file():
        raise FileNotFoundError(f"{name}: there is no file {str(path)!r}")
    return path.open("rb")


def _read_members(
    file: IO[bytes], needed: Iterable[str] | None, optional: Iterable[str]
) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
        needed = [*members] if needed is None else [*needed]
        if missing := [one for one in needed if one not in members]:
            raise ValueError(f"it lacks {', '.join(missing)}; it has {', '.join(members) or 'nothing'}")
        wanted = {one: members[one] for one in (*needed, *optional) if one in members}
        check_fits_memory("what it holds", sum(one.file_size for one in wanted.values()))
        return {one: _read_member(archive, info) for one, info in wanted.items()}


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    if info.file_size > max(_SMALL, _LARGEST_RATIO * info.compress_size):
        raise ValueError(
            f"{info.filename} expands from {info.compress_size:,} to {info.file_size:,} bytes; at most "
            f"{_LARGEST_RATIO} times as many are read"
        )
    with archive.open(info) as member:
        _check_header(member, info.file_size)
    with archive.open(info) as member:
        return npy.read_array(member, allow_pickle=False)


def _check_header(file: IO[bytes], size: int) -> None:
    """Raise a ValueError unless an array's header is sound and the array takes the rest of the file."""
    version = npy.read_magic(file)
    if version not in _HEADER_READERS:
        raise ValueError(f"it is of the .npy format {version[0]}.{version[1]}; 1.0 and 2.0 are read")
    shape, _, dtype = _HEADER_READERS[version](file)
    if dtype.hasobject or dtype.kind not in "biufU":
        raise ValueError(f"it holds {dtype}; numbers or text were expected")
    count = 1
    for length in shape:
        count *= length
    if min(shape, default=0) < 0 or file.tell() + count * dtype.itemsize != size:
        raise ValueError(
            f"its header says {shape} numbers of {dtype.itemsize} bytes, but the file has {size:,} bytes"
        )
    check_fits_memory(f"an array of shape {shape}", size)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
