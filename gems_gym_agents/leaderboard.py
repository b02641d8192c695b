"""Entries of a leaderboard: what ``gems-gym evaluate --json`` prints, with all that it takes to score them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gems_gym.artifacts.unfinished import differing
from gems_gym.commands.output import plain
from gems_gym.common.files import read_json
from gems_gym.envs.recorded_spec import rebuilt_spec
from gems_gym.user_splits import USERS_PER_SEED
from gems_gym_agents.evaluation import BEYOND_CLICKS
from gems_gym_agents.scoring import Scored

MEASURES = (
    "mean_return", "ci95", "mean_length", *BEYOND_CLICKS,
    "normalized_score", "random_return", "boredom_aware_oracle_return",
)  # fmt: skip
"""What an entry claims, and what has to come out again, digit by digit."""

_IF_THERE: dict[str, tuple[Any, str]] = {
    "policy_options": (dict, "a JSON object"),
    "checkpoint": (int | None, "an integer or null"),
}
"""What an entry may hold."""

_KINDS: dict[tuple[str, ...], tuple[Any, str]] = {
    MEASURES: (int | float | None, "a number"),
    ("policy", "env", "split", "catalog_hash", "gems_gym_version", "code", "cpu"): (str, "a text"),
    ("agent", "policy_sha256", "ranker_sha256", "belief_sha256"): (str | None, "a text or null"),
    ("seed", "episodes", "num_envs"): (int, "an integer"),
    ("privileged",): (bool, "true or false"),
    ("env_options",): (dict, "a JSON object"),
}
"""What an entry must hold; a policy given by name has no file, and one that shows slates no ranker and belief."""


def read_entries(file: Path) -> list[dict[str, Any]]:
    """Read the entries of a file, written by ``gems-gym evaluate --json`` for one world or for several.

    By hand may be added ``name``, what the table calls the policy, and ``source``, where it can be pulled from.

    Args:
        file: The file.

    Raises:
        FileNotFoundError: No file.
        ValueError: No entries, or one that can't be scored again; it names what is missing or wrong.
    """
    content = read_json(file)
    entries = content.get("results", [content]) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(
            f"{file} holds no entries of a leaderboard: 'gems-gym evaluate … --json' prints them"
        )
    for number, entry in enumerate(entries, 1):
        if wrong := _wrong(entry):
            raise ValueError(
                f"{file}, entry {number} can't be scored again: {'; '.join(wrong)}; 'gems-gym evaluate … --json' of "
                "this version prints all that is required"
            )
    return entries


def rescore(entry: dict[str, Any], policy: str | None = None) -> dict[str, Any]:
    """Score an entry again.

    Args:
        entry: An entry as :func:`read_entries` gives it.
        policy: The policy's file or the agent's folder, if it is not where the entry says.

    Returns:
        What is measured now, as ``gems-gym evaluate --json`` prints it.

    Raises:
        ValueError: Another policy, ranker, belief or catalogue than the entry's, told before anything is played; and as
            :meth:`~gems_gym_agents.scoring.Scored.opened`.
    """
    spec = rebuilt_spec(
        {"id": entry["env"], "kwargs": entry["env_options"]}, f"the entry of {entry['policy']!r}"
    )
    scored = Scored.opened(
        policy or entry["policy"],
        spec,
        entry.get("checkpoint"),
        entry.get("policy_options", {}),
        entry["num_envs"],
    )
    identity = scored.identity()
    if other := differing({name: entry[name] for name in identity}, identity):
        raise ValueError(
            f"the entry of {entry['policy']!r} is of something else than is here: {', '.join(other)}"
        )
    again: dict[str, Any] = plain(scored.score(entry["split"], entry["seed"], entry["episodes"]))
    return again


def differences(entry: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Which measures do not come out again, in words."""
    return differing({name: entry[name] for name in MEASURES}, {name: again[name] for name in MEASURES})


def other_versions(entry: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """In which of what digits depend on a measurement is another one than an entry's, in words."""
    names = ("gems_gym_version", "code", "cpu")
    return differing({name: entry[name] for name in names}, {name: again[name] for name in names})


def _wrong(entry: Any) -> list[str]:
    """What keeps an entry from being scored again, in words."""
    if not isinstance(entry, dict):
        return [f"it must be a JSON object, got {entry!r:.50}"]
    if missing := [name for names in _KINDS for name in names if name not in entry]:
        return [f"it lacks {', '.join(missing)}"]
    kinds = [(name, kind, what) for names, (kind, what) in _KINDS.items() for name in names]
    kinds += [(name, kind, what) for name, (kind, what) in _IF_THERE.items() if name in entry]
    wrong = [
        f"{name} must be {what}, got {entry[name]!r:.50}"
        for name, kind, what in kinds
        if not isinstance(entry[name], kind)
    ]
    if wrong:
        return wrong
    if entry["split"] != "test":
        wrong.append(f"split must be 'test', got {entry['split']!r:.50}")
    if entry["agent"] is not None and entry["policy_sha256"] is None:
        wrong.append("policy_sha256 of a trained agent must be that of its file, got None")
    if not 1 <= entry["num_envs"] <= entry["episodes"] <= USERS_PER_SEED:
        wrong.append(f"num_envs must be from 1 to episodes, which must be at most {USERS_PER_SEED}")
    return wrong
