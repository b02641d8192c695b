"""Search spaces as data: for each option of an agent, what it may be."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from annotated_types import MinLen

from gems_gym.common.checks import Checked, check_fields, make_checked


@dataclass(frozen=True, kw_only=True)
class Between:
    """Numbers of an interval: whole numbers if both of its ends are.

    Attributes:
        low: The least of them.
        high: The greatest, > ``low``.
        log: Whether their logarithms are drawn evenly; then ``low`` > 0.
    """

    low: int | float
    high: int | float
    log: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, got low={self.low} and high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be > 0 with log, got {self.low}")

    @property
    def tried(self) -> tuple[Any, ...]:
        """What an agent has to take if it takes all values."""
        return (self.low, self.high)

    def distribution(self, distributions: Any) -> Any:
        """Itself as Optuna has it; ``distributions`` is that module of Optuna."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        kind = distributions.IntDistribution if whole else distributions.FloatDistribution
        return kind(self.low, self.high, log=self.log)

    def value(self, drawn: Any) -> Any:
        """What Optuna has drawn, as the agent wants it."""
        return drawn


@dataclass(frozen=True, kw_only=True)
class OneOf(Checked):
    """Values without an order.

    Attributes:
        choices: JSON values, at least two.
    """

    choices: Annotated[tuple[Any, ...], MinLen(2)]

    @property
    def tried(self) -> tuple[Any, ...]:
        """What an agent has to take if it takes all values."""
        return self.choices

    def distribution(self, distributions: Any) -> Any:
        """Itself as Optuna has it: texts, as it knows no lists."""
        return distributions.CategoricalDistribution([json.dumps(one) for one in self.choices])

    def value(self, drawn: Any) -> Any:
        """What Optuna has drawn, as the agent wants it."""
        return json.loads(drawn)


Space: TypeAlias = Mapping[str, Between | OneOf]
"""Option -> what it may be."""


def read_space(file: Path) -> dict[str, Between | OneOf]:
    """A search space from a TOML file: ``option = {low, high, log}`` or ``option = {choices}``.

    Raises:
        FileNotFoundError: No file.
        ValueError: No TOML, no options, or an entry that is neither; the text names the file and the option.
    """
    try:
        given = tomllib.loads(file.read_text("utf-8"))
        json.dumps(given)  # dates are no JSON
    except (ValueError, TypeError) as error:
        raise ValueError(f"--space {file}: {error}") from error
    if not given:
        raise ValueError(f"--space {file} names no option to search")
    return {name: _entry(f"--space {file}: {name}", one) for name, one in given.items()}


def _entry(what: str, given: Any) -> Between | OneOf:
    if not isinstance(given, dict) or not ({"low", "high"} <= given.keys() or "choices" in given):
        raise ValueError(f"{what} must be {{low, high}}, {{low, high, log}} or {{choices}}, got {given!r}")
    kind: Any = OneOf if "choices" in given else Between
    try:
        entry: Between | OneOf = make_checked(kind, "field", given)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what}: {error}") from error
    return entry


def check_space(space: Space, agent_class: Any, options: Mapping[str, Any], file: Path) -> None:
    """Raise a clear error unless an agent takes what a space may give it.

    Args:
        space: The space; of an interval its ends are tried.
        agent_class: A class of agents.
        options: The agent's other options.
        file: Where the space stands, for the errors.

    Raises:
        ValueError: An unknown option, a value that the agent refuses, or an option that is given, too.
    """
    if both := sorted(space.keys() & options.keys()):
        raise ValueError(
            f"--option {both[0]} is one of those that --space {file} searches: leave one of them out"
        )
    for name, value in _each_alone(space):
        try:
            agent_class(**{**options, name: value})
        except (ValueError, TypeError) as error:
            raise ValueError(f"--space {file}: {error}") from error


def _each_alone(space: Space) -> Iterable[tuple[str, Any]]:
    return ((name, value) for name, entry in space.items() for value in entry.tried)
