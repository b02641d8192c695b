"""The card of a dataset: a README.md beside its data that says what it is, who made it how, and how to read it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymnasium.envs.registration import EnvSpec

CARD = "README.md"
"""Name of the card's file, beside the dataset's folder ``data``; Minari ignores it, and no hash covers it."""

AUTHOR = "gems-gym"
"""Who Minari names as the author of a dataset that names none."""

PEOPLE, TEXTS = ("author", "author_email"), ("algorithm_name", "code_permalink", "description")
"""What Minari shows of a dataset: sets of texts, and texts."""

_LOADING = """\
## How to load it

```python
import minari

dataset = minari.load_dataset("{dataset_id}")
episode = dataset[0]  # observations[t] was seen before actions[t]; there is one observation more than actions
```

`gems-gym dataset verify {dataset_id}` checks its numbers, `gems-gym dataset report {dataset_id}` measures them.
"""


def running_command() -> str | None:
    """The ``gems-gym`` command that is running, as one would type it; None in other programs."""
    program = Path(sys.argv[0])
    is_ours = program.stem == "gems-gym" or program.parts[-2:] == ("gems_gym", "__main__.py")
    return shlex.join(["gems-gym", *sys.argv[1:]]) if is_ours else None


def write_card(directory: Path, spec: EnvSpec | None, metadata: Mapping[str, Any]) -> None:
    """Writes a dataset's card.

    Args:
        directory: The dataset's directory, with its folder ``data``.
        spec: Spec of the environment that the sessions were played in; None for a log of another recommender.
        metadata: The dataset's metadata, as Minari's storage has them.
    """
    files = [file for file in (directory / "data").rglob("*") if file.is_file()]
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    rows = {name: value for name, value in _rows(spec, metadata, megabytes).items() if value}
    licence = _licence(spec, metadata)
    front = f"---\nlicense: {'mit' if licence.startswith('MIT') else 'other'}\n---\n"
    parts = [
        f"{front}# {metadata['dataset_id']}",
        _plain(metadata.get("description", "")),
        "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]),
        f"Licence: {licence}.",
        _LOADING.format(dataset_id=metadata["dataset_id"]),
    ]
    (directory / CARD).write_text("\n\n".join(part for part in parts if part), "utf-8")


def _rows(spec: EnvSpec | None, metadata: Mapping[str, Any], megabytes: float) -> dict[str, str]:
    """What the card says, in Markdown; an empty text where nothing is known."""

    def code(name: str) -> str:
        return "" if metadata.get(name) is None else _code(metadata[name])

    sessions = metadata["total_episodes"]
    users = "" if metadata.get("user_seed") is None else f", seed {_plain(metadata['user_seed'])}"
    scores = [metadata.get(f"ref_{which}_score") for which in ("min", "max")]
    derived = metadata.get("derived_from") or {}
    sources = [str(one.get("dataset_id", "?")) for one in derived.get("sources", [])]
    origin = ", ".join(_code(one) for one in sources or [derived.get("file", "?")])
    return {
        "world": "none: a log of another recommender"
        if spec is None
        else f"{_code(spec.id)}, {_code(spec.kwargs)}",
        "policy": _plain(metadata.get("policy", "")),
        "level": _plain(metadata.get("level", "")),
        "users": f"{_plain(metadata['user_split'])}{users}" if metadata.get("user_split") else "",
        "sizes": f"{sessions:,} sessions, {metadata['total_steps']:,} transitions, {megabytes:.1f} MB",
        "observations": code("observation_space"),
        "actions": code("action_space"),
        "actions were divided by": code("action_scale"),
        "clicks of random policy and oracle": (
            " and ".join(f"{score:.1f}" for score in scores)
            if all(isinstance(score, int | float) for score in scores)
            else ""
        ),
        "content hash": code("content_hash"),
        "catalogue": code("catalog_hash"),
        "ranker": code("ranker_sha256"),
        "belief": code("belief_sha256"),
        "made of": f"{_plain(derived.get('by', ''))} of {origin}" if derived else "",
        "made by": code("command") or "a Python program, through `gems_gym.datasets`",
        "author": ", ".join(sorted(map(_plain, metadata.get("author", ())))),
        "gems-gym": _plain(metadata.get("gems_gym_version", "")),
    }


def _licence(spec: EnvSpec | None, metadata: Mapping[str, Any]) -> str:
    if spec is None or _holds_an_import(metadata):
        return "that of the file it was imported from"
    if spec.kwargs.get("world") is not None:
        return "that of the log that its world was learned from; the recording itself adds no condition"
    if spec.kwargs.get("item_embeddings") is not None:
        return "that of the catalogue it was recorded on; the recording itself adds no condition"
    return "MIT, as that of gems-gym, whose simulator made it; no real person's data are in it"


def _holds_an_import(metadata: Mapping[str, Any]) -> bool:
    """Whether sessions were imported from a file that no dataset of ours is known to have been before."""
    derived = metadata.get("derived_from")
    if not isinstance(derived, dict):
        return False
    sources = [one for one in derived.get("sources") or () if isinstance(one, dict)]
    return any(map(_holds_an_import, sources)) if sources else derived.get("by") == "import"


def _plain(value: object) -> str:
    """A value as text of a table's cell: what others wrote can't break out of it."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text.replace("`", "'").replace("<", "&lt;")


def _code(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return "`" + text.replace("`", "'") + "`"
