"""Makes docs/comparison.md from results: ``python docs/generate_comparison.py [FOLDER …] [--check]``.

A FOLDER is that of a study, as ``gems-gym compare STUDY`` leaves it: its results are kept as ``comparison_STUDY.json``,
and its pictures are drawn. The parts of the page between ``<!-- generated: STUDY -->`` and ``<!-- end -->`` are
rewritten from these files; the rest is written by hand.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from gems_gym.common.files import read_json, write_json
from gems_gym_agents.pipeline.pictures import draw_curves, draw_trade_off
from gems_gym_agents.pipeline.results import RESULTS_FILE
from gems_gym_agents.pipeline.studies import STUDIES
from gems_gym_agents.pipeline.summary import has_trade_off, summarise
from gems_gym_agents.pipeline.tables import markdown_section
from generated_pages import fill_parts, page_arguments, rewrite_page

HERE = Path(__file__).parent


def main() -> None:
    """Rewrite the page, or with ``--check`` only say whether it is up to date."""
    parser = page_arguments(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of studies whose results are new")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        keep(folder, HERE)
    page = HERE / "comparison.md"
    text = filled(page.read_text("utf-8"), HERE)
    rewrite_page(page, text, __file__, check=arguments.check)


def keep(folder: Path, docs: Path) -> None:
    """Keep a study's results and its picture among the documentation.

    A study can be measured in parts: runs of worlds, variants and seeds that the folder has none of stay, and then the
    command of the whole study too.
    """
    results = read_json(folder / RESULTS_FILE)
    if results["study"] not in STUDIES:
        raise ValueError(f"{folder} holds the study {results['study']!r}; the page has {', '.join(STUDIES)}")
    path = docs / f"comparison_{results['study']}.json"
    if path.is_file():
        results = _merged(read_json(path), results)
    results["summary"] = summarise(results)
    write_json(path, results)
    draw_curves(results, docs / picture(results["study"]))
    if has_trade_off(results):
        draw_trade_off(results, docs / picture(results["study"], "_trade_off"))


def _merged(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """New results and those of before which they have nothing in place of.

    Raises:
        ValueError: They were scored on other numbers of users.
    """
    for name in ("test_users", "validation_users"):
        if before[name] != now[name]:
            raise ValueError(f"{name} is {now[name]}, and of the results that are there {before[name]}")
    measured = {(run["world"], run["variant"], run["seed"]) for run in now["runs"]}
    known = {variant["name"] for variant in now["variants"]}
    others = [
        run
        for run in before["runs"]
        if run["variant"] in known and (run["world"], run["variant"], run["seed"]) not in measured
    ]
    if not others:
        return now
    merged = {**now, "command": before["command"], "runs": others + now["runs"]}
    merged["references"] = before["references"] | now["references"]
    worlds = {world["name"]: world for world in (*before["worlds"], *now["worlds"])}
    in_order = dict.fromkeys([world.name for world in STUDIES[now["study"]].worlds] + [*worlds])
    merged["worlds"] = [worlds[name] for name in in_order if name in worlds]
    return merged


def filled(text: str, docs: Path) -> str:
    """The page with its generated parts as the kept results say."""
    return fill_parts(text, {name: partial(section, name, docs) for name in STUDIES})


def section(study: str, docs: Path) -> str:
    """A study's part of the page."""
    kept = docs / f"comparison_{study}.json"
    if not kept.is_file():
        return f"Not run yet: `gems-gym compare {study}`."
    results = read_json(kept)
    results["summary"] = summarise(results)  # files of earlier versions have none
    return markdown_section(results, picture(study), picture(study, "_trade_off"))


def picture(study: str, of: str = "") -> str:
    """Where a study's learning curves, or another picture of it, are, relative to the documentation."""
    return f"images/comparison_{study}{of}.png"


if __name__ == "__main__":
    main()
