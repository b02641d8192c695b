"""Tables of the quickstart: policies on the test users of one seed, and of several seeds side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.table import Table

from gems_gym_agents.evaluation import Evaluation, References

SEEDS_FILE = "seeds.json"
"""Where the table of all seeds is kept."""

HEADER = ["policy", "clicks per session", "lowest – highest seed", "normalised score"]
"""The columns of that table."""

_MADE_BY = ("gems_gym", "code", "cpu", "processor")


@dataclass(frozen=True)
class ResultsTable:
    """Evaluations of several policies on the same users, with what 0 and 100 stand for.

    Attributes:
        env: The environment's id.
        evaluations: In the order to show them in.
        references: What normalised scores refer to.
        details: More to report, JSON-able (stage seconds, metrics, files).
    """

    env: str
    evaluations: Sequence[Evaluation]
    references: References
    details: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON-able values."""
        return {
            "env": self.env,
            "episodes": len(self.evaluations[0].returns),
            "results": [
                {
                    "policy": one.name,
                    "mean_return": one.mean_return,
                    "ci95": one.ci95,
                    "normalized_score": self.references.normalized_score(one.mean_return),
                }
                for one in self.evaluations
            ],
            **self.details,
        }

    def as_table(self) -> Table:
        """The table for a terminal."""
        shown = self.as_dict()
        cells = [
            [row["policy"], *(f"{row[key]:.1f}" for key in ("mean_return", "ci95", "normalized_score"))]
            for row in shown["results"]
        ]
        header = ["policy", "clicks per session", "± 95 %", "normalised score"]
        return _table(f"{self.env}, {shown['episodes']} test users", header, cells)


@dataclass(frozen=True)
class SeedsTable:
    """Mean returns of several seeds' policies.

    Attributes:
        content: JSON-able: ``env``, ``episodes`` (test users of each seed), ``seeds``; ``gems_gym``, ``code``, ``cpu``
            and ``processor``, lists where the seeds differ; and ``results``, for each policy ``policy``,
            ``mean_return`` and ``normalized_score`` (means over seeds), ``lowest`` and ``highest`` (of the seeds' mean
            returns) and ``by_seed``.
    """

    content: dict[str, Any]

    @classmethod
    def of(cls, results: Mapping[int, Mapping[str, Any]]) -> SeedsTable:
        """Gather the results of single seeds.

        Args:
            results: Seed -> its quickstart's ``results.json``; all with the same policies.
        """
        first = next(iter(results.values()))
        made = {key: sorted({one[key] for one in results.values()}) for key in _MADE_BY}
        return cls(
            {
                "env": first["env"],
                "episodes": first["episodes"],
                "seeds": list(results),
                **{key: values[0] if len(values) == 1 else values for key, values in made.items()},
                "results": [
                    _row(lines) for lines in zip(*(one["results"] for one in results.values()), strict=True)
                ],
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON-able values."""
        return self.content

    def cells(self) -> list[list[str]]:
        """The rows as texts, below :data:`HEADER`."""
        return [
            [
                row["policy"],
                f"{row['mean_return']:.1f}",
                f"{row['lowest']:.1f} – {row['highest']:.1f}",
                f"{row['normalized_score']:.1f}",
            ]
            for row in self.content["results"]
        ]

    def as_table(self) -> Table:
        """The table for a terminal."""
        seeds, episodes = len(self.content["seeds"]), self.content["episodes"]
        return _table(
            f"{self.content['env']}, {seeds} seeds, {episodes} test users each", HEADER, self.cells()
        )


def _row(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One policy's line, of its lines for single seeds."""
    by_seed = [line["mean_return"] for line in lines]
    scores = [line["normalized_score"] for line in lines]  # None where 0 and 100 are the same
    return {
        "policy": lines[0]["policy"],
        "mean_return": fmean(by_seed),
        "lowest": min(by_seed),
        "highest": max(by_seed),
        "normalized_score": fmean(math.nan if one is None else one for one in scores),
        "by_seed": by_seed,
    }


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(header):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    return table
