"""What this machine has: memory for arrays whose size was given, devices to train on, environment variables."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from gems_gym.errors import require

_UNKNOWN = 2**36
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


@cache
def memory_size() -> int:
    """Bytes of memory that this machine, or the container that it is run in, has; 64 GiB where it does not say."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no POSIX
        size = _UNKNOWN
    try:
        return min(size, int(_CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return size


def check_fits_memory(what: str, num_bytes: float) -> None:
    """Raise a ValueError unless arrays fit into memory.

    Args:
        what: What takes the memory, with the numbers that were given.
        num_bytes: How much it takes, at least.
    """
    if num_bytes > memory_size():
        raise ValueError(
            f"{what} takes at least {num_bytes / 2**30:,.0f} GiB of memory; "
            f"there are {memory_size() / 2**30:,.1f} GiB"
        )


def check_device(device: str) -> None:
    """Raise a clear error unless torch can train on a device here.

    Args:
        device: By name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises:
        ValueError: No such device, or none here.
        ImportError: Torch is not installed.
    """
    torch = require("torch")
    try:
        found = torch.device(device)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda', got {device!r}") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if not 0 <= (found.index or 0) < counts.get(found.type, 0):
        raise ValueError(f"device must be one that torch sees here, got {device!r}; use 'cpu'")


def check_out_file(path: Path, name: str = "--out") -> None:
    """Raise a ValueError unless a file can be written where it is wanted; checked before any work is done.

    Args:
        path: The file, there or not.
        name: What it is given as, for the errors.
    """
    if path.is_dir():
        raise ValueError(f"{name} must be a file to write, got the folder {str(path)!r}")
    _check_writable(path, name)


def check_out_folder(path: Path, name: str = "--out") -> None:
    """Raise a ValueError unless files can be written into a folder; arguments as of :func:`check_out_file`."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{name} must be a folder to write to, got the file {str(path)!r}")
    _check_writable(path, name)


def _check_writable(path: Path, name: str) -> None:
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir() and there != path:
        raise ValueError(f"{name} {str(path)!r} can't be written: {str(there)!r} is no folder")
    if not os.access(there, os.W_OK):
        raise ValueError(
            f"{name} {str(path)!r} can't be written: there is no permission to write to {str(there)!r}"
        )


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block, and for processes that are started in it.

    Args:
        variables: Name -> value.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
