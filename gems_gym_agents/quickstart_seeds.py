"""The quickstart with several seeds: how far its rows move when everything random is drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from rich.table import Table

from gems_gym.commands.output import plain
from gems_gym.commands.worlds import in_world
from gems_gym.common.files import write_json
from gems_gym_agents.quickstart import QuickstartSettings, run_quickstart

SEEDS_FILE = "seeds.json"
"""Where the table of all seeds is kept."""

HEADER = ["policy", "clicks per session", "lowest – highest seed", "normalised score"]
"""The columns of that table."""

_MADE_BY = ("gems_gym", "code", "cpu", "processor")


def run_quickstarts(
    directory: Path,
    env: str | EnvSpec,
    seeds: Sequence[int],
    *,
    episodes: int = 500,
    settings: QuickstartSettings = QuickstartSettings(),  # noqa: B008
) -> SeedsTable:
    """Run the quickstart once for each seed; seeds that are finished are not run again.

    Args:
        directory: Gets a folder ``seed-N`` for each seed, and the table of all, ``seeds.json``.
        env: A slate environment's id or spec.
        seeds: At least one. Each has a training, a dataset and test users of its own.
        episodes: Test users of each seed.
        settings: How much of everything.
    """
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    results = {
        seed: run_quickstart(
            directory / f"seed-{seed}",
            spec,
            seed=seed,
            episodes=episodes,
            settings=settings,
            dataset_id=in_world(f"gems-slate/{{preset}}/quickstart_seed_{seed}-v0", spec),
        )
        for seed in seeds
    }
    table = SeedsTable.of({seed: plain(one.as_dict()) for seed, one in results.items()})
    write_json(directory / SEEDS_FILE, table.as_dict())
    return table


@dataclass(frozen=True)
class SeedsTable:
    """Mean returns of several seeds' policies.

    Attributes:
        env: The environment's id.
        episodes: Test users of each seed.
        seeds: The seeds.
        rows: For each policy ``policy``, ``mean_return`` and ``normalized_score`` (means over seeds), ``lowest`` and
            ``highest`` (of the seeds' mean returns) and ``by_seed``.
        made_by: ``gems_gym``, ``code``, ``cpu``, ``processor``; a list where the seeds differ.
    """

    env: str
    episodes: int
    seeds: list[int]
    rows: list[dict[str, Any]]
    made_by: dict[str, Any]

    @classmethod
    def of(cls, results: Mapping[int, Mapping[str, Any]]) -> SeedsTable:
        """Gather the results of single seeds.

        Args:
            results: Seed -> its quickstart's ``results.json``; all with the same policies.
        """
        first = next(iter(results.values()))
        rows = [_row(lines) for lines in zip(*(one["results"] for one in results.values()), strict=True)]
        made = {key: sorted({one[key] for one in results.values()}) for key in _MADE_BY}
        made_by = {key: values[0] if len(values) == 1 else values for key, values in made.items()}
        return cls(first["env"], first["episodes"], list(results), rows, made_by)

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON-able values."""
        shared = {"env": self.env, "episodes": self.episodes, "seeds": self.seeds}
        return {**shared, **self.made_by, "results": self.rows}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> SeedsTable:
        """The table that :meth:`as_dict` gave."""
        made_by = {key: kept[key] for key in _MADE_BY}
        return cls(kept["env"], kept["episodes"], kept["seeds"], kept["results"], made_by)

    def cells(self) -> list[list[str]]:
        """The rows as texts, below :data:`HEADER`."""
        return [
            [
                row["policy"],
                f"{row['mean_return']:.1f}",
                f"{row['lowest']:.1f} – {row['highest']:.1f}",
                f"{row['normalized_score']:.1f}",
            ]
            for row in self.rows
        ]

    def as_table(self) -> Table:
        """The table for a terminal."""
        title = f"{self.env}, {len(self.seeds)} seeds, {self.episodes} test users each"
        table = Table(title=title, title_justify="left")
        for index, column in enumerate(HEADER):
            table.add_column(column, justify="right" if index else "left")
        for row in self.cells():
            table.add_row(*row)
        return table


def _row(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One policy's line, of its lines for single seeds."""
    by_seed = [line["mean_return"] for line in lines]
    return {
        "policy": lines[0]["policy"],
        "mean_return": fmean(by_seed),
        "lowest": min(by_seed),
        "highest": max(by_seed),
        "normalized_score": fmean(line["normalized_score"] for line in lines),
        "by_seed": by_seed,
    }
