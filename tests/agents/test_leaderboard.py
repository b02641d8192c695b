"""Entries of the leaderboard are complete; they come out again digit by digit, or it is told what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gems_gym.trained_agents import save_trained_agent
from gems_gym_agents.leaderboard import MEASURES, differences, read_entries
from site_pages import LEADERBOARD_COLUMNS, leaderboard_row
from tests.test_trained_agents import Saved

ENTRIES = sorted((Path(__file__).parent.parent.parent / "docs" / "leaderboard").glob("*.json"))
FEW = ("--episodes", 6, "--json")


def scored(program: Any, *arguments: object) -> dict[str, Any]:
    code, out, err = program("evaluate", *arguments, *FEW)
    assert code == 0, err
    entry: dict[str, Any] = json.loads(out)
    Path("entry.json").write_text(json.dumps(entry))
    return entry


def test_an_entry_comes_out_again_or_is_told(program: Any, tiny_env: str) -> None:
    entry = scored(
        program,
        "eps_greedy_oracle",
        "--env",
        tiny_env,
        "--env-option",
        "omega=0.5",
        "--policy-option",
        "epsilon=0.5",
    )
    code, out, err = program("rescore", "entry.json", "--json")
    assert code == 0, err
    assert json.loads(out)["reproduced"] and json.loads(out)["entries"][0]["now"] == entry["mean_return"]
    changed = entry | {"ci95": entry["ci95"] + 1e-12}
    Path("entry.json").write_text(json.dumps({"results": [entry, changed]}))
    code, out, err = program("rescore", "entry.json", "--json")
    assert code == 1 and [len(one["differences"]) for one in json.loads(out)["entries"]] == [0, 1]
    assert f"does not come out again: ci95={changed['ci95']!r} (now {entry['ci95']!r})" in " ".join(
        err.split()
    )
    for name in MEASURES:
        assert len(differences(entry | {name: entry[name] + 1e-12}, entry)) == 1


def test_a_trained_agent_is_known_by_its_file(
    program: Any, tiny_world: dict[str, Any], tiny_ranker: Any, tiny_belief: Any, tmp_path: Path
) -> None:
    record = {"env": "GemsSlate-diffuse_topdown-v0"}
    world = ["--env", record["env"], *(f"--env-option={name}={value}" for name, value in tiny_world.items())]
    for seed, folder in enumerate(("mine", "other")):
        save_trained_agent(tmp_path / folder, Saved(seed), "bc", tiny_ranker, tiny_belief, record)
    entry = scored(program, "mine", *world)
    assert (entry["agent"], entry["ranker_sha256"]) == ("bc", tiny_ranker.sha256)
    (tmp_path / "mine").rename(tmp_path / "elsewhere")
    assert program("rescore", "entry.json", "--policy", "elsewhere")[0] == 0
    code, _, err = program("rescore", "entry.json", "--policy", "other")
    assert code == 2 and "something else than is here: policy_sha256=" in " ".join(err.split())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": None}, "it lacks code"),
        ({"policy_sha256": None, "catalog_hash": None}, "it lacks catalog_hash, policy_sha256"),
        ({"agent": "bc"}, "policy_sha256 of a trained agent must be"),
        ({"mean_return": "many"}, "mean_return must be a number, got 'many'"),
        ({"policy_options": [1]}, "policy_options must be a JSON object, got [1]"),
        ({"split": "validation"}, "split must be 'test'"),
        ({"num_envs": 10**12}, "num_envs must be from 1 to episodes"),
        ({"env": "os:system"}, "unknown environment 'os:system'"),
        ({"catalog_hash": "0"}, "catalog_hash='0' (now "),
    ],
)
def test_what_can_not_be_scored_again_is_refused(program: Any, changes: dict[str, Any], words: str) -> None:
    entry = read_entries(ENTRIES[0])[0] | changes
    lacks = words.startswith("it lacks")
    Path("entry.json").write_text(
        json.dumps(
            {name: value for name, value in entry.items() if not (lacks and changes.get(name, 0) is None)}
        )
    )
    code, out, err = program("rescore", "entry.json")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())


@pytest.mark.parametrize("file", ENTRIES, ids=lambda file: file.stem)
def test_the_leaderboards_entries_have_their_rows(file: Path) -> None:
    for entry in read_entries(file):
        assert len(leaderboard_row(entry, file.name)) == len(LEADERBOARD_COLUMNS)
