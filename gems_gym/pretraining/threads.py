"""How many threads torch uses while it trains something small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int = 1) -> Iterator[None]:
    """Sets torch's number of CPU threads while the block runs; the old number comes back after it.

    A belief is trained in tens of thousands of operations of a few microseconds each. Two threads were no faster than
    one on an idle machine of two cores, and seven times slower on a busy one, where they wait for each other. One
    thread also makes results independent of the number of cores.

    Args:
        count: threads, ≥ 1.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
