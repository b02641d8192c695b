"""The tutorials of docs/tutorials: their Python runs, in order and in one namespace, and their commands exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3")

PAGES = sorted((Path(__file__).parent.parent / "docs" / "tutorials").glob("*.md"))
SMALL = {"learn(20_000)": "learn(200)", 'user_seeds("test", 0, 100)': 'user_seeds("test", 0, 5)'}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
    for long, short in SMALL.items():
        code = code.replace(long, short)
    names: dict[str, Any] = {}
    exec(compile(code, page.name, "exec"), names)  # noqa: S102
    if page.stem == "ten_minutes":
        assert names["agent"].num_timesteps == 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_have_these_options(page: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = re.findall(r"^gems-gym .*$", page.read_text(), flags=re.MULTILINE)
    assert lines
    for line in lines:
        _, command, *words = shlex.split(line)
        group = [command, words[0]] if command == "pretrain" else [command]
        help_page = program(*group, "--help")[1]
        assert all(word in help_page for word in words if word.startswith("--")), line
