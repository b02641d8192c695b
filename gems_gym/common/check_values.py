"""Values as type hints want them: what is of another type, and what a constraint refuses."""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np

from gems_gym.common.check_words import UNIONS, bounds_of, holds, spread


class WrongTypeError(TypeError):
    """A value of another type than its hint; the caller says which."""


class OutOfRangeError(ValueError):
    """A value of the right type that a constraint refuses; the caller says which."""


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...], list[Any]]:
    """What a hint is made of, and the constraints in it; found out once, since every reset of a session asks."""
    hint = spread(hint)
    return get_origin(hint), get_args(hint), bounds_of(hint)


def taken_as(value: Any, hint: Any) -> Any:
    """The value as the hint wants it, or one of the two errors above."""
    origin, args, bounds = _parts(hint)
    if origin is Annotated:
        taken = taken_as(value, args[0])
        if not all(holds(taken, bound) for bound in bounds):
            raise OutOfRangeError
        return taken
    if origin in UNIONS:
        return _taken_by_one(value, args)
    if origin is Literal:
        return _taken_name(value, args)
    if hint in _SCALARS:
        return _SCALARS[hint](value)
    if origin is tuple:
        return _taken_tuple(value, args)
    return _taken_instance(value, origin or hint, args)


def _taken_by_one(value: Any, hints: tuple[Any, ...]) -> Any:
    if value is None and type(None) in hints:
        return None
    error: Exception = WrongTypeError()
    for hint in hints:
        try:
            return taken_as(value, hint)
        except WrongTypeError:
            pass
        except OutOfRangeError as found:  # of the right type at least
            error = found
    raise error


def _taken_name(value: Any, names: tuple[Any, ...]) -> Any:
    if not isinstance(value, type(names[0])):
        raise WrongTypeError
    if value not in names:
        raise OutOfRangeError
    return value


def _taken_bool(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise WrongTypeError
    return bool(value)


def _taken_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise WrongTypeError
    return int(value)


def _taken_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise WrongTypeError
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        number = math.inf
    if not math.isfinite(number):
        raise OutOfRangeError
    return number


def _taken_none(value: Any) -> None:
    if value is not None:
        raise WrongTypeError


def _taken_path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise WrongTypeError
    return Path(value)


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    bool: _taken_bool,
    int: _taken_int,
    float: _taken_float,
    type(None): _taken_none,
    Path: _taken_path,
}


def _taken_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if not _is_sequence(value):
        raise WrongTypeError
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise OutOfRangeError
    return tuple(taken_as(one, hint) for one, hint in zip(value, hints, strict=True))


def _taken_instance(value: Any, kind: Any, args: tuple[Any, ...]) -> Any:
    if kind is Any or not isinstance(kind, type) or kind is np.ndarray or _only_for_type_checkers(kind):
        return value
    if not (_is_sequence(value) if kind is Sequence else isinstance(value, kind)):
        raise WrongTypeError
    if kind is Mapping and isinstance(value, Mapping) and args:
        return {taken_as(key, args[0]): taken_as(one, args[1]) for key, one in value.items()}
    return value


def _is_sequence(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _only_for_type_checkers(kind: type) -> bool:
    return getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)
