"""The tutorials of docs/tutorials: their Python runs, in order and in one namespace, and their commands exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("stable_baselines3")
from gems_gym.commands.program import app

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
def test_the_commands_have_these_options(page: Path) -> None:
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] != "gems-gym":
                continue
            group = words[1:3] if words[1] in ("pretrain", "dataset", "logs") else words[1:2]
            help_text = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "200"}).output
            for option in (word for word in words if word.startswith("--")):
                assert option in help_text, f"{line}: {option}"
