"""``gems-gym rescore``: whether an entry of the leaderboard comes out again."""

from pathlib import Path
from typing import Annotated

import typer

from gems_gym.commands.options import Json
from gems_gym.commands.output import note, rows_table, show_result
from gems_gym_agents.leaderboard import differences, other_versions, read_entries
from gems_gym_agents.leaderboard import rescore as score_again


def rescore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What 'evaluate --json' printed.")],
    policy: Annotated[
        str | None,
        typer.Option(help="The agent's folder or the policy's file, if it is not where the file says."),
    ] = None,
    as_json: Json = False,
) -> None:
    r"""Score the entries of a file of the leaderboard again, and compare digit by digit.

    Exit code 1, and a line on stderr for each entry that does not come out again. Another policy than the entry's,
    by its sha256, is refused.

    Examples:
        gems-gym rescore docs/leaderboard/short_term_oracle.json
        gems-gym rescore docs/leaderboard/theirs.json --policy runs/theirs
    """
    rows = []
    for entry in read_entries(file):
        again = score_again(entry, policy)
        differ, versions = differences(entry, again), other_versions(entry, again)
        if differ:
            note(f"{entry['policy']} in {entry['env']} does not come out again: {', '.join(differ)}")
            if versions:
                note(f"digits may depend on what is another one here: {', '.join(versions)}")
        named = {name: entry[name] for name in ("policy", "env", "mean_return")}
        rows.append({**named, "now": again["mean_return"], "differences": differ})
    reproduced = not any(row["differences"] for row in rows)
    shown = {
        str(number): {**row, "differences": len(row["differences"])} for number, row in enumerate(rows, 1)
    }
    show_result({"reproduced": reproduced, "entries": rows}, rows_table("entry", shown), as_json)
    if not reproduced:
        raise typer.Exit(1)
