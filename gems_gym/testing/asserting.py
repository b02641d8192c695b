"""What the checks have in common: environments by id, sameness bit for bit, refusals, and files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray


def spec_of(env: str | EnvSpec) -> EnvSpec:
    """The spec of an environment: of an id, or of ``module:id`` once the module is imported, which registers it."""
    if isinstance(env, EnvSpec):
        return env
    module, _, env_id = env.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(env_id)


def is_same(found: Any, expected: Any) -> bool:
    """Whether two nested mappings, sequences and arrays hold the same bits in the same dtypes."""
    if isinstance(expected, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == expected.keys()
            and all(is_same(found[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(is_same, found, expected))
    found, expected = np.asarray(found), np.asarray(expected)
    # as bytes: NaN is the same as NaN, and -0 is not 0
    return (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def assert_form(what: str, found: Any, dtype: str, shape: tuple[int, ...]) -> None:
    """Raises an AssertionError unless something is an array of a dtype and a shape."""
    assert isinstance(found, np.ndarray), f"{what} gives a {type(found).__name__}; an array was expected"
    form = (str(found.dtype), found.shape)
    assert form == (dtype, shape), f"{what} gives {form}; {(dtype, shape)} was expected"


def assert_within(what: str, found: NDArray[Any], low: float, high: float) -> None:
    """Raises an AssertionError unless all numbers of an array are in a range."""
    smallest, largest = (found.min(), found.max()) if found.size else (low, high)  # NaN passes through both
    inside = low <= smallest and largest <= high
    assert inside, f"{what} gives numbers from {smallest} to {largest}; they belong in [{low}, {high}]"


def assert_refused(what: str, call: Callable[[], Any], *names: str) -> None:
    """Raises an AssertionError unless a call ends in a ValueError or TypeError that names the wrong argument.

    Args:
        what: The call and what is wrong with it, for the message.
        call: Makes the mistake.
        *names: What the argument may be called.
    """
    wanted = f"a ValueError or TypeError that names {' or '.join(names)} was expected"
    try:
        call()
    except Exception as error:
        refusal, found = error, f"{type(error).__name__}: {error!s:.200}"
    else:
        raise AssertionError(f"{what} is taken; {wanted}")
    clear = isinstance(refusal, ValueError | TypeError) and any(name in str(refusal) for name in names)
    assert clear, f"{what} ends in {found}; {wanted}"


def assert_attributes(part: Any, family: str, *sizes: str) -> None:
    """Raises an AssertionError unless a part says what it is, for which catalogue, and its sizes."""
    kind = getattr(part, "kind", None)
    is_kind = isinstance(kind, str) and kind.startswith(f"{family}/")
    assert is_kind, f"kind is {kind!r}; '{family}/NAME' was expected, NAME as its entry point is called"
    found = getattr(part, "catalog_hash", None)
    assert isinstance(found, str), f"catalog_hash is {found!r}; the catalogue's hash, a text, was expected"
    for name in sizes:
        size = getattr(part, name, None)
        is_count = isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1
        assert is_count, f"{name} is {size!r}; an integer of at least 1 was expected"


def saved_and_loaded(part: Any, load: Callable[[Path], Any], *attributes: str) -> Any:
    """A part that went through its file, which is found by its kind and has the same bytes when it is saved again.

    Args:
        part: Has ``save(path)``, which returns the file's sha256, and ``sha256``.
        load: Reads any file of its family.
        *attributes: Names of what has to come back.

    Raises:
        AssertionError: Something is lost or changes on the way.
    """
    with TemporaryDirectory() as folder:
        file, again = Path(folder) / "part.safetensors", Path(folder) / "again.safetensors"
        sha256 = part.save(file)
        assert file.is_file(), f"save(path) has written no file {file.name}"
        assert part.sha256 == sha256, f"sha256 is {part.sha256!r} after save() has returned {sha256!r}"
        try:
            loaded = load(file)
        except Exception as error:
            raise AssertionError(
                f"the file that save() wrote can't be loaded: {type(error).__name__}: {error}"
            ) from error
        assert loaded.sha256 == sha256, "save() returns another sha256 than the file has when it is loaded"
        for name in attributes:
            before, after = getattr(part, name), getattr(loaded, name)
            assert before == after, f"{name} is {before!r} before and {after!r} after the file"
        assert loaded.save(again) == sha256, "what was loaded is saved as another file: its sha256 differs"
    return loaded
