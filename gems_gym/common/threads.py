"""One thread for sums: with several, their last bits depend on the number of cores, and what is learned on those."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets BLAS, OpenMP and torch compute on one thread of the CPU; afterwards on as many as before.

    For a ``with`` block, or a decorator of a function. Libraries that are loaded inside it are not held back, so that
    torch must have been imported before it is learned with.

    It costs little: a belief is trained in tens of thousands of operations of a few microseconds each, which two
    threads did no faster than one on an idle machine of two cores, and seven times slower on a busy one, where they
    wait for each other.
    """
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else 1
    with threadpool_limits(1):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(threads)
