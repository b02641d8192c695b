"""Type hints and the constraints in them, in words: what an error says would be right."""

import operator
import os
import types
from collections.abc import Callable
from functools import reduce
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MinLen

LARGEST = 2**63 - 1
"""The largest integer that compiled code and files hold."""

_BOUNDS: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    Ge: ("ge", "≥", operator.ge),
    Gt: ("gt", ">", operator.gt),
    Le: ("le", "≤", operator.le),
    Lt: ("lt", "<", operator.lt),
}
UNIONS = (Union, types.UnionType)
_WORDS = {str: "a text", Path: "a path", os.PathLike: "a path", bool: "True or False", type(None): "None"}


def bounds_of(hint: Any) -> list[Any]:
    """The constraints of a hint, each by itself: ``Interval(ge=0, le=1)`` is ``Ge(0)`` and ``Le(1)``."""
    found: list[Any] = []
    for one in getattr(hint, "__metadata__", ()):
        found += list(one) if isinstance(one, GroupedMetadata) else [one]
    return [one for one in found if type(one) in _BOUNDS or isinstance(one, MinLen)]


def spread(hint: Any) -> Any:
    """A constrained union as a union of constrained types: ``Annotated[int | None, Ge(1)]`` lets None be."""
    if get_origin(hint) is not Annotated or get_origin(get_args(hint)[0]) not in UNIONS:
        return hint
    union, *metadata = get_args(hint)
    return reduce(
        operator.or_,
        (one if one is type(None) else Annotated[one, *metadata] for one in get_args(union)),
    )


def holds(value: Any, bound: Any) -> bool:
    """Whether a value keeps to a constraint."""
    if isinstance(bound, MinLen):
        return len(value) >= bound.min_length
    _, _, compare = _BOUNDS[type(bound)]
    return bool(compare(value, _limit(bound)))


def wanted(hint: Any, value: object = None, plural: bool = False) -> str:
    """What a hint wants.

    Args:
        hint: See :func:`gems_gym.common.checks.checked`.
        value: What was given instead: an upper bound of :data:`LARGEST` is worth a word only beside larger ones.
        plural: Whether there are to be several.

    Examples:
        >>> wanted(Annotated[int, Ge(1)]), wanted(Annotated[float, Gt(0), Le(1)] | None)
        ('an integer ≥ 1', 'a number in (0, 1] or None')
    """
    hint = spread(hint)
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if kind in (int, float):
        return _number(kind, bounds_of(hint), value, plural)
    origin, args = get_origin(kind), get_args(kind)
    if origin in UNIONS:
        return " or ".join(dict.fromkeys(wanted(one, value, plural) for one in args))
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin is tuple:
        count = "" if args[-1] is Ellipsis else f"{len(args)} "
        filled = "filled " if bounds_of(hint) else ""
        return f"a {filled}sequence of {count}{wanted(args[0], plural=True)}"
    name = _WORDS.get(origin or kind, f"a {getattr(origin or kind, '__name__', kind)}")
    return f"{name.removeprefix('a ')}s" if plural and name.startswith("a ") else name


def shown(value: object) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _number(kind: type, bounds: list[Any], value: object, plural: bool) -> str:
    if kind is int:
        noun = "integers" if plural else "an integer"
    else:
        noun = "numbers" if plural else "a number"
    low = next((bound for bound in bounds if isinstance(bound, Ge | Gt)), None)
    high = next((bound for bound in bounds if isinstance(bound, Le | Lt)), None)
    if (
        high is not None
        and _limit(high) == LARGEST
        and not (isinstance(value, Integral) and int(value) > LARGEST)
    ):
        high = None
    if low is not None and high is not None:
        if kind is int:
            return f"{noun} from {_limit(low)} to {_limit(high)}"
        left, right = "[" if isinstance(low, Ge) else "(", "]" if isinstance(high, Le) else ")"
        return f"{noun} in {left}{_limit(low):g}, {_limit(high):g}{right}"
    noun = noun if kind is int else noun.replace("number", "finite number")
    only = low if high is None else high
    return (
        noun
        if only is None
        else f"{noun} {_BOUNDS[type(only)][1]} {_limit(only):{'d' if kind is int else 'g'}}"
    )


def _limit(bound: Any) -> Any:
    return getattr(bound, _BOUNDS[type(bound)][0])
