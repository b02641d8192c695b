"""Makes the tables of docs/ope.md from studies: ``python docs/generate_ope.py [FOLDER …] [--check]``.

A FOLDER is what ``gems-gym dev ope-study --out FOLDER`` leaves; its numbers are kept in ``ope_study.json``. The parts
of the page between ``<!-- generated: NAME -->`` and ``<!-- end -->`` are rewritten from that file; the rest is written
by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.commands.output import markdown_table, plain
from gems_gym.common.files import read_json, write_json
from gems_gym_agents.ope.estimators import OF_ARRAYS
from gems_gym_agents.ope.study import LOGGING, summary
from generated_pages import fill_parts, page_arguments, rewrite_page

HERE = Path(__file__).parent
PAGE = HERE / "ope.md"
STUDIES = HERE / "ope_study.json"
COVERAGE, REGRET = (0.90, 0.98), 0.05
"""An estimator is trusted whose intervals hold about as often as they say, and whose choices cost little."""
COLUMNS = {
    "answered": "answered", "bias": "bias", "rmse": "RMSE", "coverage": "coverage", "bound_holds": "bound holds",
    "regret": "regret",
}  # fmt: skip


def main() -> None:
    """Rewrite the page, or with ``--check`` only say whether it is up to date."""
    parser = page_arguments(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of studies whose results are new")
    arguments = parser.parse_args()
    studies = read_json(STUDIES) if STUDIES.is_file() else {}
    for folder in arguments.folders:
        study = kept(folder)
        studies[" ".join(study["options"])] = study
    if arguments.folders:
        write_json(STUDIES, plain(studies))
    parts = {f"study_{place}": partial(section, study) for place, study in enumerate(studies.values())}
    rewrite_page(PAGE, fill_parts(PAGE.read_text("utf-8"), parts), __file__, check=arguments.check)


def kept(folder: Path) -> dict[str, Any]:
    """What is kept of a study: its options, and of each world and logging policy a row an estimator."""
    found = [read_json(file) for file in sorted(folder.glob("*.json"))]
    options = [f"--env-option {name}={value}" for name, value in found[0]["env_options"].items()]
    return {
        "options": options,
        "sizes": found[0]["sizes"],
        "measured": [{"env": one["env"], "logging": one["logging"], "rows": summary([one])} for one in found],
    }


def section(study: Mapping[str, Any]) -> str:
    """The command, who can be trusted where, and a table for each logging policy."""
    measured, sizes = study["measured"], study["sizes"]
    options = [f"--sessions {sizes['sessions']}", f"--repetitions {sizes['repetitions']}", *study["options"]]
    parts = [f"`gems-gym dev ope-study --out study {' '.join(options)}`", _verdict(measured)]
    for logging in LOGGING:
        rows = [one["rows"] for one in measured if one["logging"] == logging]
        if rows:
            worlds = "all six worlds" if len(rows) == 6 else f"{len(rows)} worlds"
            parts += [f"Means over {worlds}, logs of `{logging}`:", _table(rows)]
    return "\n\n".join(parts)


def trusted(rows: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """The estimators of a world and a logging policy whose intervals hold and whose choices are good."""
    return [
        name
        for name, row in rows.items()
        if row["coverage"] is not None
        and row["regret"] is not None
        and COVERAGE[0] <= row["coverage"] <= COVERAGE[1]
        and row["regret"] <= REGRET
    ]


def _verdict(measured: Sequence[Mapping[str, Any]]) -> str:
    found = {(one["env"], one["logging"]): trusted(one["rows"]) for one in measured}
    lines = []
    for env in dict.fromkeys(env for env, _ in found):
        said = [found.get((env, logging)) for logging in LOGGING]
        names = [
            "not measured" if one is None else ", ".join(f"`{name}`" for name in one) or "none"
            for one in said
        ]
        lines.append([f"`{env}`", *names])
    return markdown_table(["can be trusted in", *(f"logs of `{logging}`" for logging in LOGGING)], lines)


def _table(cells: Sequence[Mapping[str, Mapping[str, float | None]]]) -> str:
    lines = []
    for name in OF_ARRAYS:
        means = [_mean([rows[name][column] for rows in cells]) for column in COLUMNS]
        lines.append([f"`{name}`", *("–" if mean is None else f"{mean:.0%}" for mean in means)])
    return markdown_table(["estimator", *COLUMNS.values()], lines, numbers=True)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return float(np.mean(known)) if known else None


if __name__ == "__main__":
    main()
