"""Makes docs/rankers.md from what was measured: ``python docs/generate_rankers.py [--measure] [--check]``.

The parts of the page between ``<!-- generated: NAME -->`` and ``<!-- end -->`` are rewritten; the rest is written by
hand. ``--measure`` measures every ranker and belief that comes with the package (a minute or two a world) and keeps its
numbers in ``rankers.json``, from which the page is made otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gems_gym
from gems_gym.artifacts import shipped
from gems_gym.beliefs import load_belief
from gems_gym.commands.output import markdown_table, plain
from gems_gym.common.files import read_json, write_json
from gems_gym.config import SlateConfig
from gems_gym.embeddings import Sources, make_embeddings
from gems_gym.policies.constant_slate import find_constant_slate
from gems_gym.pretraining.ranker_report import COMMON_LOG, compare_rankers
from gems_gym.pretraining.reach import slate_reach
from gems_gym.pretraining.session_log import collect_session_log
from gems_gym.rankers import Ranker, load_ranker, make_ranker
from gems_gym.registration import LATENT_PRESETS
from gems_gym.simulator import Catalog, resolve_world
from generated_pages import fill_parts, page_arguments, rewrite_page

HERE = Path(__file__).parent
PAGE = HERE / "rankers.md"
MEASURED = HERE / "rankers.json"
EMBEDDINGS = {"topk, co-click": "co_click", "topk, true embeddings": "ideal"}
"""Rankers that need no training, for comparison: what they are called -> the item embeddings that they are made of."""
EMBEDDING_SESSIONS = 1_000
LONGER_SEARCH = 500_000


def main() -> None:
    """Rewrite the page, or with ``--check`` only say whether it is up to date."""
    parser = page_arguments(__doc__)
    parser.add_argument("--measure", action="store_true", help="measure everything again")
    arguments = parser.parse_args()
    if arguments.measure:
        write_json(MEASURED, plain(measured()))
    text = fill_parts(PAGE.read_text("utf-8"), PARTS)
    rewrite_page(PAGE, text, __file__, check=arguments.check)


def measured() -> dict[str, Any]:
    """Measure what is shipped for each world, and the rankers that it is compared with."""
    from gems_gym.pretraining.belief_report import compare_beliefs

    worlds = {}
    for preset in LATENT_PRESETS:
        config, catalog = resolve_world(preset, None)
        names = {family: shipped.names(family, preset) for family in ("ranker", "belief")}
        rankers = {name: load_ranker(name) for name in names["ranker"]} | untrained(preset, catalog)
        beliefs = {name: load_belief(name) for name in names["belief"]}
        worlds[preset] = {
            "rankers": compare_rankers(rankers, config, catalog),
            "beliefs": compare_beliefs(beliefs, config, catalog),
            "longer_search": longer_search(config, catalog),
            "sha256": {one: shipped.manifest()[one].sha256 for family in names.values() for one in family},
        }
    return {
        "command": f"python docs/{Path(__file__).name} --measure",
        "version": gems_gym.__version__,
        "worlds": worlds,
    }


def longer_search(config: SlateConfig, catalog: Catalog) -> dict[str, Any]:
    """The best constant slate that as many sessions find as a ranker's log and the search for its best latent take."""
    slate = find_constant_slate(config, catalog, sessions=LONGER_SEARCH, seed=0)
    return asdict(slate_reach(slate, config, catalog))


def untrained(preset: str, catalog: Catalog) -> dict[str, Ranker]:
    """TopK on item embeddings: on those of the clicks in a log, and on the simulator's own."""
    log = collect_session_log(preset, COMMON_LOG, EMBEDDING_SESSIONS, seed=0)
    num_items, slate_size = len(catalog.item_embeddings), log.slates.shape[2]
    sources = Sources(num_items, catalog.hash, log, catalog.item_embeddings)
    return {
        name: make_ranker("topk", make_embeddings(kind, sources), slate_size)
        for name, kind in EMBEDDINGS.items()
    }


def ranker_table() -> str:
    """What was measured of the rankers."""
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "reach": lambda row: f"{row['reach']:.0f} ± {row['reach_ci95']:.0f}",
        "÷ best constant slate": lambda row: f"{row['reach_ratio']:.2f}",
        "slots kept, ε-greedy log": lambda row: number(row["slot_accuracy_eps_greedy"], 3),
        "slots kept, own log": lambda row: number(row["slot_accuracy_own_log"], 3),
        "duplicates": lambda row: number(row["duplicates"], 1),
        "if allowed": lambda row: number(row["duplicates_if_allowed"], 1),
        "catalogue shown": lambda row: f"{100 * row['catalogue_share']:.0f} %",
        "KL": lambda row: number(row["kl"], 0),
        "active": lambda row: number(row["active_dimensions"], 0),
        "numbers in a latent": lambda row: str(row["action_size"]),
        "slates/s": lambda row: f"{row['decode_rate']:,.0f}",
    }
    rows = []
    for preset, world in worlds().items():
        first = next(iter(world["rankers"].values()))
        constant = f"{first['constant_slate']:.0f} ± {first['constant_slate_ci95']:.0f}"
        rows.append([f"**{preset}**: best constant slate", constant, *([""] * (len(columns) - 1))])
        longer = f"{world['longer_search']['mean']:.0f} ± {world['longer_search']['ci95']:.0f}"
        rows.append([f"the same, {LONGER_SEARCH:,} sessions", longer, *([""] * (len(columns) - 1))])
        for name, row in world["rankers"].items():
            rows.append(
                [f"`{name}`" if name in world["sha256"] else name, *(f(row) for f in columns.values())]
            )
    return markdown_table(["", *columns], rows, numbers=True) + "\n\n" + made_by()


def belief_table() -> str:
    """What was measured of the beliefs, over all sessions."""
    header = ["", "log-loss", "base rate", "truth", "AUC", "truth", "AUC of boredom", "from click counts"]
    rows = []
    for world in worlds().values():
        *beliefs, (_, counts) = world["beliefs"].items()  # the last row is no belief
        for name, row in beliefs:
            clicks = row["clicks"]["all"]
            measures = ("log_loss", "log_loss_base", "log_loss_truth", "auc", "auc_truth")
            numbers = [*(clicks[measure] for measure in measures), row["boredom_auc"], counts["boredom_auc"]]
            rows.append([f"`{name}`", *(number(value, 3) for value in numbers)])
    return markdown_table(header, rows, numbers=True) + "\n\n" + made_by()


def policy_table() -> str:
    """Log-loss by logging policy: belief, and in brackets base rate and truth."""
    beliefs = {
        name: row["clicks"]
        for world in worlds().values()
        for name, row in world["beliefs"].items()
        if "clicks" in row
    }
    policies = [policy for policy in next(iter(beliefs.values())) if policy != "all"]
    rows = [
        [f"`{name}`", *(losses(report[policy]) for policy in policies)] for name, report in beliefs.items()
    ]
    return markdown_table(["", *(f"`{policy}`" for policy in policies)], rows, numbers=True)


def losses(report: Mapping[str, Any]) -> str:
    """Log-loss of a belief between base rate and truth."""
    return f"**{report['log_loss']:.3f}** ({report['log_loss_base']:.3f} … {report['log_loss_truth']:.3f})"


def worlds() -> dict[str, Any]:
    """What was measured, by world."""
    return read_json(MEASURED)["worlds"]


def made_by() -> str:
    """Version and command."""
    kept = read_json(MEASURED)
    return f"*gems-gym {kept['version']}, `{kept['command']}`.*"


def number(value: float | None, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


PARTS: dict[str, Callable[[], str]] = {
    "rankers": ranker_table,
    "beliefs": belief_table,
    "policies": policy_table,
}

if __name__ == "__main__":
    main()
