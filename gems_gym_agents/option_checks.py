"""What the values of options are checked with."""

from typing import Any


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number (bool is none)."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and float("-inf") < value < float("inf")


def is_positive(value: Any) -> bool:
    """Whether a value is a finite number > 0."""
    return is_number(value) and value > 0


def is_count(value: Any) -> bool:
    """Whether a value is an integer ≥ 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
