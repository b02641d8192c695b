"""All that was found in a study's folder, as one JSON-able value: what tables and pictures are made of."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gems_gym import __version__
from gems_gym_agents.comparison.references import read_references
from gems_gym_agents.comparison.running import finished_runs
from gems_gym_agents.comparison.study import OnlineVariant, Study, World

RESULTS_FILE = "results.json"

_KEPT = (
    "world", "variant", "seed", "test", "final", "behaviour", "difference_to_behaviour", "interactions",
    "logged_interactions", "cpu_seconds", "curve", "averaged", "history", "machine", "gems_gym",
    "processor", "code", "cpu", "parts",
)  # fmt: skip


def collect_results(study: Study, out: Path, command: str) -> dict[str, Any]:
    """Everything that was found.

    Args:
        study: The study, complete for this machine.
        out: Its folder; whatever is finished there counts, also seeds that the study does not name.
        command: What it was run with.

    Raises:
        ValueError: A finished run of other settings.
    """
    results = [result for _, result in finished_runs(study, out)]
    references = {
        world.name: read_references(study, world, out) for world in study.worlds if isinstance(world, World)
    }
    return {
        "study": study.name,
        "title": study.title,
        "command": command,
        "gems_gym": __version__,
        "test_users": study.test_users,
        "validation_users": study.validation_users,
        "worlds": [{"name": world.name, "preset": world.preset} for world in study.worlds],
        "variants": [
            {
                "name": variant.name,
                "description": variant.description,
                "privileged": isinstance(variant, OnlineVariant) and variant.privileged,
                "published_as": variant.published_as if isinstance(variant, OnlineVariant) else None,
            }
            for variant in study.variants
        ],
        "published": [asdict(one) for one in study.published],
        "references": {name: found["policies"] for name, found in references.items() if found is not None},
        "runs": [{key: result[key] for key in _KEPT if key in result} for result in results],
    }


def runs_in(results: dict[str, Any], world: str, variant: str) -> list[dict[str, Any]]:
    """The finished runs of a variant in a world, by seed."""
    runs = [run for run in results["runs"] if (run["world"], run["variant"]) == (world, variant)]
    return sorted(runs, key=lambda run: run["seed"])


def is_offline(results: dict[str, Any]) -> bool:
    """Whether the study's agents learn from datasets."""
    return any("history" in run for run in results["runs"])
