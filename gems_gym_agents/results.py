"""Tables and pictures of evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from gems_gym.common.pictures import new_figure, save_figure
from gems_gym_agents.evaluation import Evaluation, References


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
            "results": [self._row(evaluation) for evaluation in self.evaluations],
            **self.details,
        }

    def _row(self, evaluation: Evaluation) -> dict[str, Any]:
        return {
            "policy": evaluation.name,
            "mean_return": evaluation.mean_return,
            "ci95": evaluation.ci95,
            "normalized_score": self.references.normalized_score(evaluation.mean_return),
        }

    def as_table(self) -> Table:
        """The table for a terminal."""
        users = len(self.evaluations[0].returns)
        table = Table(title=f"{self.env}, {users} test users", title_justify="left")
        table.add_column("policy")
        for column in ("clicks per session", "± 95 %", "normalised score"):
            table.add_column(column, justify="right")
        for row in map(self._row, self.evaluations):
            table.add_row(
                row["policy"],
                f"{row['mean_return']:.1f}",
                f"{row['ci95']:.1f}",
                f"{row['normalized_score']:.1f}",
            )
        return table


def draw_clicks_per_step(evaluations: Sequence[Evaluation], title: str, path: Path) -> None:
    """Draw mean clicks at every step of the session, a line for each policy.

    Args:
        evaluations: In the order of the legend.
        title: Above the picture.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    figure = new_figure(9, 5)
    axes = figure.add_subplot()
    for evaluation in evaluations:
        steps = range(1, len(evaluation.clicks_per_step) + 1)
        axes.plot(
            steps, evaluation.clicks_per_step, label=f"{evaluation.name} ({evaluation.mean_return:.0f})"
        )
    axes.set(xlabel="step of the session", ylabel="clicks per slate", title=title, ylim=(0, None))
    axes.legend(
        title="policy (clicks per session)", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5)
    )
    axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=120)
