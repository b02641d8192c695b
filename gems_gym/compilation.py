"""How the compiled parts are compiled: cached on disk, with the arithmetic of C, and free of Python's lock."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba

from gems_gym.progress import stderr

# error_model: a division by zero gives inf or NaN, as in numpy; looking out for it in every loop costs half the speed

compiled = numba.njit(cache=True, error_model="numpy", nogil=True)
"""For kernels that are called from Python."""

inlined = numba.njit(cache=True, error_model="numpy", nogil=True, inline="always")
"""For parts of a kernel: numba would pass whole tuples of arrays at every call, at a third of the speed."""

_PATIENCE_SECONDS = 2.0


@contextmanager
def announced_if_long(what: str) -> Iterator[None]:
    """Tell the user on stderr what takes so long, if the block does: compiling happens once per installation.

    Args:
        what: What is being compiled.
    """
    text = f"compiling {what}: this takes some seconds, once; the result is kept on disk"
    timer = threading.Timer(_PATIENCE_SECONDS, lambda: stderr.print(text))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
