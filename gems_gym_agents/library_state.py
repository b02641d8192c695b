"""How this package meets the learning libraries: imported without a banner, their global state given back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from gems_gym.common.machine import check_device
from gems_gym.common.threads import one_thread
from gems_gym.errors import require


def import_library(name: str) -> ModuleType:
    """Imports a learning library without the banner of the old ``gym``, which d3rlpy brings along.

    Args:
        name: ``"d3rlpy"``, ``"stable_baselines3"`` or ``"sb3_contrib"``.

    Returns:
        The module.

    Raises:
        ImportError: It is not installed; the text names the extra.
    """
    try:
        import gym_notices.notices as gym_notices
    except ImportError:  # only there with gym
        pass
    else:
        gym_notices.notices.clear()
    return require(name)


@contextmanager
def borrowed_global_state(device: str = "cpu") -> Iterator[None]:
    """Lets a library seed the global random generators and set torch's threads, and puts everything back afterwards.

    stable-baselines3 and d3rlpy take their seeds through ``random``, ``numpy.random`` and ``torch``'s global
    generators: there is no other way. Inside this context they may; the caller's generators continue as if nothing had
    happened. On the CPU they use one thread, see :func:`~gems_gym.common.threads.one_thread`.

    Args:
        device: A torch device; the generator of a CUDA device is kept as well.

    Raises:
        ValueError: No torch device, or a CUDA device where there is none.
    """
    import torch

    check_device(device)
    kept = torch.device(device)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    cudnn = torch.backends.cudnn
    cudnn_flags = cudnn.deterministic, cudnn.benchmark
    devices = [kept.index or 0] if kept.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), one_thread():
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = cudnn_flags
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def generator_states(device: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The states of the global generators, which :func:`set_generator_states` puts back.

    Args:
        device: The torch device that is trained on.

    Returns:
        Arrays, and JSON-able values.
    """
    import torch

    arrays = {"generators/torch": torch.random.get_rng_state().numpy()}
    if torch.device(device).type == "cuda":
        arrays["generators/cuda"] = torch.cuda.get_rng_state(device).numpy()
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    return arrays, {"numpy": numpy_state, "python": random.getstate()}


def set_generator_states(device: str, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
    """Put the global generators into states that :func:`generator_states` returned."""
    import torch

    torch.random.set_rng_state(torch.from_numpy(arrays["generators/torch"]))
    if torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(arrays["generators/cuda"]), device)
    np.random.set_state(values["numpy"])
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
