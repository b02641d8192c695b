"""How the compiled parts are compiled: kept on disk if possible, with the arithmetic of C, free of Python's lock."""

import hashlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache, NullCache

from gems_gym.common.progress import stderr

_PATIENCE_SECONDS = 2.0

_noted = False  # in this process, the user has been informed that compiled code is not kept on disk


_F = TypeVar("_F", bound=Callable[..., Any])


class _DiskCache(FunctionCache):
    """numba's cache on disk; if it can't be read or written, the code is compiled in memory instead.

    numba compiles again when the function's own file has changed; this, also when that of a function has that became
    part of it, or a constant.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._function, self._stamped = function, False

    def _stamp(self) -> None:
        if not self._stamped:  # not before the first use: a module may define later what its kernels call
            self._stamped = True
            self._cache_file._source_stamp = (self._cache_file._source_stamp, _parts_of(self._function))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        self._stamp()
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # a truncated pickle can raise anything
            _note_once(
                f"the compiled code in {self.cache_path} can't be read ({error!r}): it is compiled again"
            )
            with suppress(OSError):
                self.flush()  # so that what is compiled now can be kept
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception as error:  # a full disk above all; or another process damaged the index meanwhile
            _note_once(f"compiled code can't be kept in {self.cache_path} ({error!r}): {_EVERY_PROCESS}")


def _parts_of(function: Callable[..., Any]) -> str:
    """Hash of all that becomes part of a compiled function: files of functions that it calls, and constants."""
    files: set[str] = set()
    constants: set[str] = set()
    seen: set[Callable[..., Any]] = set()
    left = [function]
    while left:
        one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        files.add(one.__code__.co_filename)
        names = one.__code__.co_names
        found = [(name, one.__globals__[name]) for name in names if name in one.__globals__]
        modules = [value for _, value in found if isinstance(value, ModuleType)]
        found += [(name, vars(module)[name]) for module in modules for name in names if name in vars(module)]
        for name, value in found:
            # the latter of intrinsics
            called = getattr(value, "py_func", None) or getattr(value, "_defn", None)
            if called is not None:
                left.append(called)
            elif isinstance(value, bool | int | float | complex | str | tuple):
                constants.add(f"{name}={value!r}")
    digest = hashlib.sha256("\n".join(sorted(constants)).encode())
    for file in sorted(files):
        digest.update(_file_hash(file))
    return digest.hexdigest()


@cache
def _file_hash(file: str) -> bytes:
    try:
        return hashlib.sha256(Path(file).read_bytes()).digest()
    except OSError:  # typed in, or in an archive
        return b""


class _NoCache(NullCache):
    """Keeps nothing, because numba found no folder that it could write to."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        _note_once(f"compiled code can't be kept on disk (no writable cache folder): {_EVERY_PROCESS}")


_EVERY_PROCESS = "every process compiles again; NUMBA_CACHE_DIR may name a writable folder"


def compiled_with(**options: Any) -> Callable[[_F], _F]:
    """Decorator for functions that numba compiles, and whose compiled code is kept on disk where that is possible.

    Args:
        **options: Those of ``numba.njit``, without ``cache``.
    """

    def decorate(function: _F) -> _F:
        kernel: Any = numba.njit(**options)(function)
        if kernel is not function:  # which it is if NUMBA_DISABLE_JIT is set
            try:
                kernel._cache = _DiskCache(function)
            except RuntimeError:  # no locator available
                kernel._cache = _NoCache()
        compiled_function: _F = kernel
        return compiled_function

    return decorate


# error_model: a division by zero gives inf or NaN, as in numpy; looking out for it in every loop costs half the speed

compiled = compiled_with(error_model="numpy", nogil=True)
"""For kernels that are called from Python."""

inlined = numba.njit(error_model="numpy", nogil=True, inline="always")
"""For parts of a kernel: numba would pass tuples of arrays at every call, at a third of the speed. They become
part of the kernel's compiled code, and are not kept on their own."""


@contextmanager
def announced_if_long(what: str) -> Iterator[None]:
    """Say on stderr what takes so long, if the block does: compiling happens once per installation.

    Args:
        what: What is being compiled.
    """

    def announce() -> None:
        kept = "" if _noted else ", once; the result is kept on disk"
        stderr.print(f"compiling {what}: this takes some seconds{kept}")

    timer = threading.Timer(_PATIENCE_SECONDS, announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _note_once(text: str) -> None:
    """Say so on stderr, once; processes that the user did not start are silent."""
    global _noted
    if not _noted and multiprocessing.parent_process() is None:
        stderr.print(text, markup=False, highlight=False, soft_wrap=True)
    _noted = True
