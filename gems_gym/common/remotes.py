"""Where packages lie (:mod:`gems_gym.common.sharing`): a folder, a web server, or a cloud that Minari has a client for.

A package is a folder of files. Each kind of remote lists it, fetches its files into a local folder and, if one may
write there, takes files in. What comes from a remote is checked by the caller.
"""

from __future__ import annotations

import abc
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname, urlopen

from gems_gym.common.files import scratch_folder, whole_folder
from gems_gym.common.machine import environment
from gems_gym.errors import require

MANIFEST = "manifest/files.json"
"""A package's list of its files; in a folder of its own, which clients that know only folders can fetch alone."""

LARGEST_MANIFEST = 2**22
"""Bytes of a list that are read."""

PLACE = re.compile(r"(?:[-_A-Za-z0-9][-_.A-Za-z0-9]*/)*[-_A-Za-z0-9][-_.A-Za-z0-9]*")
"""Names of packages, and of files in them: relative, and without hidden parts or ``..``."""

Advance = Callable[[float], None]
"""Hears how many more bytes are done."""

_CLOUDS = ("hf", "gcp")
_CHUNK = 2**20
_PATIENCE = 60.0
"""Seconds without an answer until a web server is given up."""


class Remote(Protocol):
    """A place that packages are fetched from and put to."""

    def manifest(self, name: str) -> bytes | None:
        """A package's list as it lies there, at most :data:`LARGEST_MANIFEST` bytes and one; None if there is none."""

    def fetch(self, name: str, sizes: Mapping[str, int], folder: Path, advance: Advance) -> None:
        """Fetch files of a package; of each at most as many bytes as are asked for."""

    def put(self, name: str, files: Mapping[str, Path], manifest: bytes, advance: Advance) -> None:
        """Put a new package there; raise a ValueError if there is one of this name."""


def open_remote(address: str) -> Remote:
    """The remote of an address; nothing is asked of it yet.

    Args:
        address: A folder or ``file://…``; ``https://…`` or ``http://…``; ``hf://USER`` of Hugging Face; ``gcp://BUCKET``
            of Google Cloud Storage.

    Raises:
        ValueError: An address of another kind, or of a file.
        ImportError: The client of a cloud is not installed; it says what to install.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        return FolderRemote(Path(address))
    if scheme == "file":
        return FolderRemote(Path(url2pathname(urlsplit(address).path)))
    if scheme in ("http", "https"):
        return WebRemote(address)
    if scheme in _CLOUDS:
        return CloudRemote(address)
    raise ValueError(
        f"{address!r} is no place that is known: give a folder, file://…, https://…, http://…, hf://USER or gcp://BUCKET"
    )


class _FileByFile(abc.ABC):
    """A remote whose files can be opened one by one."""

    def manifest(self, name: str) -> bytes | None:
        """See :meth:`Remote.manifest`."""
        try:
            with self._open(f"{name}/{MANIFEST}") as source:
                return source.read(LARGEST_MANIFEST + 1)
        except FileNotFoundError:
            return None

    def fetch(self, name: str, sizes: Mapping[str, int], folder: Path, advance: Advance) -> None:
        """See :meth:`Remote.fetch`."""
        for file, size in sizes.items():
            with self._open(f"{name}/{file}") as source:
                _copy(source, folder / file, size, advance)

    @abc.abstractmethod
    def _open(self, place: str) -> AbstractContextManager[IO[bytes]]:
        """Opens a file; raises a FileNotFoundError if it is not there."""


class FolderRemote(_FileByFile):
    """A folder of this machine, or one that it sees over a network.

    Args:
        folder: Made when the first package is put there.

    Raises:
        ValueError: There is a file of this name.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"a remote must be a folder, got the file {str(folder)!r}")
        self._folder = folder

    def put(self, name: str, files: Mapping[str, Path], manifest: bytes, advance: Advance) -> None:
        """See :meth:`Remote.put`; the package is there complete or not at all."""
        with whole_folder(self._folder / name) as folder:
            _lay_out(folder, files, manifest, advance)

    def _open(self, place: str) -> IO[bytes]:
        return (self._folder / place).open("rb")


class WebRemote(_FileByFile):
    """A web server, which packages are fetched from; whoever runs it puts them there.

    Args:
        address: What packages' names are appended to.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def put(self, name: str, files: Mapping[str, Path], manifest: bytes, advance: Advance) -> None:
        """Raise a ValueError: there is no way to."""
        raise ValueError(
            f"a web server takes nothing in: push {name} to the folder that {self._address} shows, or to hf://USER"
        )

    @contextmanager
    def _open(self, place: str) -> Iterator[IO[bytes]]:
        url = f"{self._address}/{quote(place)}"
        try:
            with urlopen(url, timeout=_PATIENCE) as answer:
                yield answer
        except HTTPError as error:
            if error.code == 404:
                raise FileNotFoundError(f"{url} is not there") from error
            raise OSError(f"{url} can't be read: {error}") from error
        except (URLError, HTTPException) as error:
            raise OSError(f"{url} can't be read: {getattr(error, 'reason', error)}") from error


class CloudRemote:
    """Hugging Face (``hf://USER``) or Google Cloud Storage (``gcp://BUCKET``), by Minari's clients.

    They move whole folders, so a package is laid out in a local one first. A dataset that was put there is one for
    ``minari download hf://USER/ID`` too. Who one is, Hugging Face's client knows itself (``hf auth login`` or
    ``HF_TOKEN``); Google's key file is named by ``GOOGLE_APPLICATION_CREDENTIALS``, without which one can only read.

    Args:
        address: The user's, or the bucket's.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        token = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") if address.startswith("gcp:") else None
        self._storage: Any = require("minari.storage.remotes").get_cloud_storage(address, token)

    def manifest(self, name: str) -> bytes | None:
        """See :meth:`Remote.manifest`."""
        with scratch_folder() as scratch:
            try:
                self._download(f"{name}/{PurePosixPath(MANIFEST).parent}", scratch)
            except OSError as error:  # Hugging Face's, for a repository that is not there
                if getattr(getattr(error, "response", None), "status_code", None) != 404:
                    raise
            file = scratch / name / MANIFEST
            return file.read_bytes()[: LARGEST_MANIFEST + 1] if file.is_file() else None

    def fetch(self, name: str, sizes: Mapping[str, int], folder: Path, advance: Advance) -> None:
        """See :meth:`Remote.fetch`."""
        downloads = folder / ".download"
        try:
            self._download(name, downloads)
            for file, size in sizes.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (downloads / name / file).rename(folder / file)
                advance(size)
        finally:
            shutil.rmtree(downloads, ignore_errors=True)

    def put(self, name: str, files: Mapping[str, Path], manifest: bytes, advance: Advance) -> None:
        """See :meth:`Remote.put`; if it is interrupted, files may be there without their list, which nobody pulls."""
        if self.manifest(name) is not None:
            raise ValueError(f"{self._address} has {name} already: choose another name or version")
        namespaces, namespace = require("minari.namespace"), name.rpartition("/")[0]
        with scratch_folder() as scratch:
            _lay_out(scratch / name, files, manifest, advance)
            with (
                environment({"MINARI_DATASETS_PATH": str(scratch), "MINARI_REMOTE": self._address}),
                _quiet(),
            ):
                if namespace and namespace not in self._storage.list_namespaces():
                    namespaces.create_namespace(namespace)
                    namespaces.upload_namespace(namespace, None)
                self._storage.upload_dataset(name)

    def _download(self, name: str, folder: Path) -> None:
        place = f"{name}/"  # without the slash, also of other names that begin so
        bucket = getattr(self._storage, "bucket", None)
        # Google's names may hold "..", which Minari's client would follow out of the folder
        for blob in [] if bucket is None else bucket.list_blobs(prefix=place):
            if not PLACE.fullmatch(blob.name):
                raise ValueError(f"{self._address} has the file {blob.name!r}, whose name leads elsewhere")
        with _quiet():
            self._storage.download_dataset(place, folder)


def _lay_out(folder: Path, files: Mapping[str, Path], manifest: bytes, advance: Advance) -> None:
    """Copies a package's files to their places, the list last."""
    for place, file in files.items():
        with file.open("rb") as source:
            _copy(source, folder / place, file.stat().st_size, advance)
    (folder / MANIFEST).parent.mkdir()
    (folder / MANIFEST).write_bytes(manifest)


def _copy(source: IO[bytes], target: Path, size: int, advance: Advance) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while size and (data := source.read(min(size, _CHUNK))):
            file.write(data)
            size -= len(data)
            advance(len(data))


def _quiet() -> Any:
    """Stdout is for results; Minari prints what it does there."""
    return redirect_stdout(sys.stderr)
