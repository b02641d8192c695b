"""Trained agents and tuned settings pushed and pulled; what is pulled acts as what was pushed, or is refused whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import shipped
from gems_gym.common.remotes import MANIFEST
from gems_gym.trained_agents import open_trained_agent, save_trained_agent
from gems_gym_agents.tuning.presets import write_preset
from tests.datasets.test_sharing import relist
from tests.test_trained_agents import BELIEFS, Saved
from tests.web_server import web_server


@pytest.fixture
def remote(program: Any, tmp_path: Path, tiny_ranker: Any, tiny_belief: Any) -> Path:
    """A folder that an agent was pushed to, without what its training left."""
    folder = tmp_path / "agent"
    save_trained_agent(folder, Saved(0), "bc", tiny_ranker, tiny_belief, {})
    (folder / "events.tfevents").write_bytes(b"left")
    code, _, err = program("agents", "push", "agent", "--to", "remote", "--name", "ours/bc")
    assert code == 0, err
    return tmp_path / "remote"


def test_an_agent_arrives_over_http(remote: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web_server(remote) as address:
        code, out, err = program("agents", "pull", "ours/bc", "--from", address, "--out", "theirs", "--json")
    assert code == 0, err
    assert json.loads(out)["use"] == "gems-gym evaluate theirs"
    for file in Path("agent").iterdir():
        if file.suffix == ".tfevents":
            assert not Path("theirs", file.name).exists()
        else:
            assert Path("theirs", file.name).read_bytes() == file.read_bytes()
    np.testing.assert_array_equal(open_trained_agent("theirs").policy(BELIEFS), Saved(0).actor(BELIEFS))
    assert program("agents", "pull", "ours/bc", "--from", remote, "--out", "theirs")[0] == 2


def test_one_file_and_settings(program: Any) -> None:
    policy = shipped.path("expert-diffuse_mix", "policy")
    write_preset(Path("preset.json"), "bc", {"learning_rate": 0.001}, {})
    for path, name in ((policy, "expert"), ("preset.json", "tuned")):
        assert program("agents", "push", path, "--to", "remote", "--name", name)[0] == 0
        code, out, err = program(
            "agents", "pull", name, "--from", "remote", "--out", f"runs/{name}", "--json"
        )
        assert code == 0, err
        assert Path(json.loads(out)["path"]).read_bytes() == Path(path).read_bytes()
    assert json.loads(out)["use"] == "gems-gym train bc --preset runs/tuned/preset.json"
    code, _, err = program("dataset", "pull", "tuned-v0", "--from", "remote")
    assert code == 2 and "remote' has no 'tuned-v0'" in err


def _policy(package: Path) -> None:
    file = package / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    relist(package)


def _more(package: Path) -> None:
    (package / "more.json").write_text("{}")
    listed = json.loads((package / MANIFEST).read_text())
    listed["files"]["more.json"] = {"size": 0, "sha256": ""}
    (package / MANIFEST).write_text(json.dumps(listed))
    relist(package)


def _pickle(package: Path) -> None:
    (package / MANIFEST).write_text(
        (package / MANIFEST).read_text().replace("policy.safetensors", "policy.pt")
    )


def _kind(package: Path) -> None:
    (package / MANIFEST).write_text((package / MANIFEST).read_text().replace('"agent"', '"dataset"'))


def _truncated(package: Path) -> None:
    (package / MANIFEST).write_text((package / MANIFEST).read_text()[:-9])


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (_policy, "policy.safetensors is not the one that agent.json names"),
        (_more, "holds more.json, which its agent does not name"),
        (_pickle, "holds 'policy.pt', which is not shared"),
        (_kind, "is of the kind 'dataset', which gems-gym dataset pulls"),
        (_truncated, "has no list of files that can be used"),
    ],
)
def test_a_tampered_agent_is_refused_whole(
    remote: Path, program: Any, tamper: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    tamper(remote / "ours/bc")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = program("agents", "pull", "ours/bc", "--from", "remote", "--out", "theirs")
    assert (code, out) == (2, "") and words in " ".join(err.split())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        ("none", "x", "none"),
        ("no.json", "x", "is no preset"),
        ("options.json", "x", "unknown option"),
        ("preset.json", "../x", "can't be the name of what is shared"),
    ],
)
def test_what_can_not_be_shared_is_refused(program: Any, path: str, name: str, words: str) -> None:
    Path("no.json").write_text("[]")
    write_preset(Path("options.json"), "bc", {"no_such": 1}, {})
    write_preset(Path("preset.json"), "bc", {}, {})
    code, out, err = program("agents", "push", path, "--to", "remote", "--name", name)
    assert (code, out) == (2, "") and words in " ".join(err.split()) and "Traceback" not in err
    assert not Path("remote").exists()
