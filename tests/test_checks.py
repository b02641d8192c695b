"""gems_gym.common.checks: what a hint takes, and the words for what it does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval, Le, MinLen

from gems_gym.common.checks import Count, Probability, check_fields, checked, checked_arguments, make_checked

SEVERAL = Annotated[tuple[Count, ...], MinLen(1)]


@pytest.mark.parametrize(
    ("value", "hint", "taken"),
    [
        (np.int64(3), int, 3),
        (3, float, 3.0),
        (np.float32(0.5), Probability, 0.5),
        (np.bool_(True), bool, True),
        ([1, 2], SEVERAL, (1, 2)),
        (np.array([1, 2]), SEVERAL, (1, 2)),
        (None, Count | None, None),
        ("a", Literal["a", "b"], "a"),
        ("x/y", Path, Path("x/y")),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}),
        ([1, "a"], Sequence[Any], [1, "a"]),
    ],
)
def test_what_is_taken(value: Any, hint: Any, taken: Any) -> None:
    found = checked("it", value, hint)
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("value", "hint", "error", "words"),
    [
        (0, Count, ValueError, "it must be an integer ≥ 1, got 0"),
        (
            2**63,
            Count,
            ValueError,
            "it must be an integer from 1 to 9223372036854775807, got 9223372036854775808",
        ),
        (np.uint64(2**64 - 1), Count, ValueError, "from 1 to 9223372036854775807"),
        (True, Count, TypeError, "it must be an integer ≥ 1, got True of type bool"),
        (2.0, int, TypeError, "it must be an integer, got 2.0 of type float"),
        (float("nan"), float, ValueError, "it must be a finite number, got nan"),
        (10**400, float, ValueError, "it must be a finite number, got 1000"),
        (-0.1, Annotated[float, Ge(0)], ValueError, "it must be a finite number ≥ 0, got -0.1"),
        (0, Annotated[float, Gt(0), Le(1)], ValueError, r"it must be a number in \(0, 1\], got 0"),
        (1, Annotated[float, Interval(ge=0, lt=1)], ValueError, r"it must be a number in \[0, 1\), got 1"),
        ("yes", bool, TypeError, "it must be True or False, got 'yes' of type str"),
        (5, SEVERAL, TypeError, "it must be a filled sequence of integers ≥ 1, got 5 of type int"),
        ((), SEVERAL, ValueError, r"it must be a filled sequence of integers ≥ 1, got \(\)"),
        ("256", SEVERAL, TypeError, "got '256' of type str"),
        ((1,), tuple[Count, Count], ValueError, r"it must be a sequence of 2 integers ≥ 1, got \(1,\)"),
        (
            "focussed",
            Literal["focused", "diffuse"],
            ValueError,
            "unknown it 'focussed': did you mean 'focused'",
        ),
        (5, Literal["a", "b"], TypeError, "it must be one of 'a', 'b', got 5 of type int"),
        (5, Count | str | None, None, ""),
        (2.5, Count | None, TypeError, "it must be an integer ≥ 1 or None, got 2.5 of type float"),
        (0, Count | None, ValueError, "it must be an integer ≥ 1 or None, got 0"),
        (None, Annotated[int | None, Ge(1)], None, ""),
        (0, Annotated[int | None, Ge(1)], ValueError, "it must be an integer ≥ 1 or None, got 0"),
        (5, str, TypeError, "it must be a text, got 5 of type int"),
        (5, Path, TypeError, "it must be a path, got 5 of type int"),
        (5, np.random.Generator, TypeError, "it must be a Generator, got 5 of type int"),
        ("text", Sequence[int], TypeError, "it must be a Sequence, got 'text' of type str"),
        ({"a": "b"}, Mapping[str, float], TypeError, "it must be a Mapping"),
        (["x" * 500], int, TypeError, r"\.\.\. of type list"),
    ],
)
def test_what_is_refused(value: Any, hint: Any, error: type[Exception] | None, words: str) -> None:
    if error is None:
        checked("it", value, hint)
        return
    with pytest.raises(error, match=words):
        checked("it", value, hint)


@dataclass(frozen=True)
class _Settings:
    rate: Probability = 0.5
    sizes: SEVERAL = (1,)

    def __post_init__(self) -> None:
        check_fields(self)


def test_a_dataclass_checks_itself() -> None:
    assert _Settings(rate=1, sizes=[2, 3]) == _Settings(1.0, (2, 3))  # type: ignore[arg-type]
    assert type(_Settings(rate=1).rate) is float
    with pytest.raises(ValueError, match=r"rate must be a number in \[0, 1\], got 2"):
        _Settings(rate=2)
    with pytest.raises(ValueError, match=r"unknown option of x 'rat': did you mean 'rate'"):
        make_checked(_Settings, "option of x", {"rat": 1})


@checked_arguments
def _function(count: Count, /, rate: Probability = 7.0, *rest: int, anything: Any = None, **more: int) -> Any:
    return count, rate, rest, anything, more


def test_a_function_checks_its_arguments() -> None:
    assert _function(np.int64(2)) == (2, 7.0, (), None, {})  # a default is taken as it is
    assert _function(2, 1, "x", anything="y", z="z") == (2, 1.0, ("x",), "y", {"z": "z"})
    with pytest.raises(ValueError, match=r"rate must be a number in \[0, 1\], got 2"):
        _function(2, rate=2)
    with pytest.raises(TypeError, match=r"_function\(\) missing 1 required positional argument"):
        _function()


def test_types_that_only_type_checkers_import_are_left_out() -> None:
    def function(one: Any, count: Count) -> Any:
        return one, count

    function.__annotations__["one"] = "OnlyForTypeCheckers"
    assert checked_arguments(function)("x", 1) == ("x", 1)
    with pytest.raises(ValueError, match="count must be an integer ≥ 1, got 0"):
        checked_arguments(function)("x", 0)
