"""What this machine has: memory for arrays whose size somebody gave, and devices to train on."""

import os
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
        what: What takes the memory, with the numbers that somebody gave.
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
        device: As a person names it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

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
