"""Makes the README's table of the quickstart: ``python docs/generate_quickstart.py [FOLDER] [--check]``.

FOLDER is that of ``gems-gym quickstart --seeds 0,1,2,3,4 --out FOLDER``: its ``seeds.json`` is kept as
``quickstart.json``. The part of the README between ``<!-- generated: quickstart -->`` and ``<!-- end -->`` is rewritten
from that file; the rest is written by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gems_gym.commands.output import markdown_table
from gems_gym.common.files import read_json, write_json
from gems_gym_agents.pipeline.quickstart_tables import HEADER, SEEDS_FILE, SeedsTable
from generated_pages import fill_parts, page_arguments, rewrite_page

KEPT = Path(__file__).parent / "quickstart.json"
README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    """Rewrite the README's table, or with ``--check`` only say whether it is up to date."""
    parser = page_arguments(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the quickstarts, if they are new")
    arguments = parser.parse_args()
    if arguments.folder:
        write_json(KEPT, read_json(arguments.folder / SEEDS_FILE))
    text = filled(README.read_text(), read_json(KEPT))
    rewrite_page(README, text, __file__, check=arguments.check)


def filled(text: str, results: dict[str, Any]) -> str:
    """The README with the table of some results.

    Args:
        text: The README.
        results: What ``seeds.json`` holds.
    """
    return fill_parts(text, {"quickstart": lambda: section(results)})


def section(results: dict[str, Any]) -> str:
    """The table, and below it what made it."""
    seeds = ",".join(map(str, results["seeds"]))
    made = (
        f"gems-gym {results['gems_gym']}, code {results['code']} on {results['processor']} ({results['cpu']})"
    )
    below = (
        f"*Clicks per session of 100 slates: mean over {len(results['seeds'])} seeds, each with a training and "
        f"{results['episodes']} test users of its own, and the lowest and the highest seed. "
        f"`gems-gym quickstart --seeds {seeds}`, {made}.*"
    )
    return f"{markdown_table(HEADER, SeedsTable(results).cells(), numbers=True)}\n\n{below}"


if __name__ == "__main__":
    main()
