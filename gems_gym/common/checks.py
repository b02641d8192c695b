"""The one checker of arguments: values against type hints and the constraints that stand in them.

A dataclass says in its hints what each of its fields may be, ``batches: Annotated[int, Ge(1)]``, and checks itself with
:func:`check_fields`. A function says the same of its arguments and is decorated with :func:`checked_arguments`. The
constraints are those of the package annotated-types.
"""

import functools
import inspect
import math
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from annotated_types import Ge, Gt, Interval
from numpy.typing import NDArray

from gems_gym.common.check_messages import LARGEST, UNIONS, bounds_of, holds, shown, spread, wanted
from gems_gym.errors import unknown_name

Count = Annotated[int, Interval(ge=1, le=LARGEST)]
WholeNumber = Annotated[int, Interval(ge=0, le=LARGEST)]
Units = Annotated[int, Interval(ge=1, le=2**16)]
"""Numbers in a vector, units in a layer."""
Threads = Annotated[int, Interval(ge=1, le=1024)]
"""Threads or processes."""
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
"""What every generator takes, those of the learning libraries too."""
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Interval(ge=0, le=1)]
Share = Annotated[float, Interval(gt=0, lt=1)]
Discount = Annotated[float, Interval(ge=0, lt=1)]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def checked(name: str, value: object, hint: Any) -> Any:
    """A value as its type hint wants it.

    Args:
        name: What the error calls it.
        value: Anything.
        hint: A type, ``Literal``, ``Annotated`` with constraints of annotated-types, a union or a sequence of these.
            Arrays and types that only a type checker can check pass as they are.

    Returns:
        The value: numpy's scalars as Python's, integers as floats where a float is wanted, sequences as tuples where a
        tuple is wanted.

    Raises:
        TypeError: A value of the wrong type.
        ValueError: A value that a constraint refuses, a number that is not finite, or an unknown name.

    Examples:
        >>> checked("batches", 0, Annotated[int, Ge(1)])
        Traceback (most recent call last):
            ...
        ValueError: batches must be an integer ≥ 1, got 0
    """
    try:
        return _taken_as(value, hint)
    except _WrongTypeError:
        kind = f" of type {type(value).__name__}"
        raise TypeError(f"{name} must be {wanted(hint, value)}, got {shown(value)}{kind}") from None
    except _OutOfRangeError:
        names = _names(hint)
        if names and isinstance(value, str):
            raise unknown_name(name, value, names) from None
        raise ValueError(f"{name} must be {wanted(hint, value)}, got {shown(value)}") from None


def check_fields(record: Any) -> None:
    """Check every field of a dataclass against its type hint, and take it as :func:`checked` returns it.

    Args:
        record: An instance, frozen or not; called in its ``__post_init__``.

    Raises:
        TypeError: See :func:`checked`.
        ValueError: Likewise.
    """
    kind: Any = type(record)
    hints = _field_hints(kind)
    for field in fields(record):
        value = checked(field.name, getattr(record, field.name), hints[field.name])
        object.__setattr__(record, field.name, value)


class Checked:
    """A dataclass of this base checks its fields when it is made, see :func:`check_fields`."""

    def __post_init__(self) -> None:
        check_fields(self)


def make_checked(kind: type[_T], what: str, given: Mapping[str, Any]) -> _T:
    """Make a dataclass of fields given by name.

    Args:
        kind: The dataclass; it checks its values itself.
        what: What one of the fields is called in the error, e.g. ``"option of sac"``.
        given: Field -> value.

    Raises:
        ValueError: An unknown field, with the nearest names, or a value out of its range.
        TypeError: A value of the wrong type.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise unknown_name(what, name, known)
    return kind(**given)


def checked_arguments(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function so that its arguments are checked against their type hints before it is called.

    Hints that only a type checker can import, and those of ``*args`` and ``**kwargs``, are left out.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checking(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # an argument that is missing or unknown: Python says it best
            return function(*args, **kwargs)
        hints = _argument_hints(function)
        for name in bound.arguments.keys() & hints.keys():
            bound.arguments[name] = checked(name, bound.arguments[name], hints[name])
        return function(*bound.args, **bound.kwargs)

    return checking


def as_array(value: object, name: str) -> NDArray[Any]:
    """An array of what was given; a ValueError that names it for rows of different lengths."""
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array, got {shown(value)} ({error})") from error


@functools.cache
def _field_hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


@functools.cache
def _argument_hints(function: Callable[..., Any]) -> dict[str, Any]:
    single = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = inspect.unwrap(function).__globals__
    hints: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in single and parameter.annotation is not parameter.empty:
            one = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
            try:
                hints |= get_type_hints(one, names, include_extras=True)
            except NameError:
                continue
    return hints


def _names(hint: Any) -> tuple[str, ...]:
    """The names that a hint knows, if it is one of names."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(name for one in get_args(hint) for name in _names(one))


class _WrongTypeError(TypeError):
    """A value of another type than its hint; the caller says which."""


class _OutOfRangeError(ValueError):
    """A value of the right type that a constraint refuses; the caller says which."""


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...], list[Any]]:
    """What a hint is made of, and the constraints in it; found out once, since every reset of a session asks."""
    hint = spread(hint)
    return get_origin(hint), get_args(hint), bounds_of(hint)


def _taken_as(value: Any, hint: Any) -> Any:
    """The value as the hint wants it, or one of the two errors above."""
    origin, args, bounds = _parts(hint)
    if origin is Annotated:
        taken = _taken_as(value, args[0])
        if not all(holds(taken, bound) for bound in bounds):
            raise _OutOfRangeError
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
    error: Exception = _WrongTypeError()
    for hint in hints:
        try:
            return _taken_as(value, hint)
        except _WrongTypeError:
            pass
        except _OutOfRangeError as found:  # of the right type at least
            error = found
    raise error


def _taken_name(value: Any, names: tuple[Any, ...]) -> Any:
    if not isinstance(value, type(names[0])):
        raise _WrongTypeError
    if value not in names:
        raise _OutOfRangeError
    return value


def _taken_bool(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise _WrongTypeError
    return bool(value)


def _taken_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _WrongTypeError
    return int(value)


def _taken_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _WrongTypeError
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        number = math.inf
    if not math.isfinite(number):
        raise _OutOfRangeError
    return number


def _taken_none(value: Any) -> None:
    if value is not None:
        raise _WrongTypeError


def _taken_path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise _WrongTypeError
    return Path(value)


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    bool: _taken_bool,
    int: _taken_int,
    float: _taken_float,
    type(None): _taken_none,
    Path: _taken_path,
}


def _taken_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if not is_sequence(value):
        raise _WrongTypeError
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise _OutOfRangeError
    return tuple(_taken_as(one, hint) for one, hint in zip(value, hints, strict=True))


def _taken_instance(value: Any, kind: Any, args: tuple[Any, ...]) -> Any:
    if kind is Any or not isinstance(kind, type) or kind is np.ndarray or _only_for_type_checkers(kind):
        return value
    if not (is_sequence(value) if kind is Sequence else isinstance(value, kind)):
        raise _WrongTypeError
    if kind is Mapping and isinstance(value, Mapping) and args:
        return {_taken_as(key, args[0]): _taken_as(one, args[1]) for key, one in value.items()}
    return value


def is_sequence(value: Any) -> bool:
    """Whether something is a list, a tuple, an array or the like; texts are none."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _only_for_type_checkers(kind: type) -> bool:
    return getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)
