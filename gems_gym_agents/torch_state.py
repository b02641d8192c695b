"""What torch has learned as arrays by name, and back: networks and the moments of their optimisers.

Both learning libraries could save it as well, but as pickles, which can run code when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """A copy of a tensor, from whatever device."""
    return np.array(tensor.detach().cpu().numpy())


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """The reverse."""
    # cloned into torch's own memory: how memory is aligned must not decide a bit
    return torch.from_numpy(array).clone()


def state_arrays(states: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield everything that is learned, by name.

    Args:
        states: Owner -> its ``state_dict()``, of a network or of an optimiser.
    """
    for owner, values in states.items():
        if "param_groups" in values:
            for index, moments in values["state"].items():
                for name, tensor in moments.items():
                    yield f"{owner}/{index}/{name}", array_of(tensor)
        else:
            for name, tensor in values.items():
                yield f"{owner}/{name}", array_of(tensor)


def put_state_arrays(states: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Replace what is in state dicts by what :func:`state_arrays` yielded; the dicts must then be loaded.

    Optimisers keep the settings that they were made with.

    Args:
        states: Owner -> its ``state_dict()``, of the same networks and optimisers, freshly made.
        arrays: Arrays by name; those of other owners are passed over.
    """
    for key, array in arrays.items():
        owner, *name = key.split("/")
        match name:
            case [index, moment] if owner in states:
                # the count of steps has no dimension, which arrays in files lose
                value = tensor_of(array.reshape(()) if moment == "step" else array)
                states[owner]["state"].setdefault(int(index), {})[moment] = value
            case [parameter] if owner in states:
                states[owner][parameter] = tensor_of(array).reshape(states[owner][parameter].shape)
