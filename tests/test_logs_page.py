"""docs/logs.md: its commands have these options, its presets and columns are the code's, its links lead somewhere."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from gems_gym.logs import PRESETS
from gems_gym.logs.standard import LARGEST_SLATE

PAGE = (Path(__file__).parent.parent / "docs" / "logs.md").read_text()


def test_its_commands_have_these_options(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    commands = (
        ("logs", "import"),
        ("logs", "fit"),
        ("logs", "world"),
        ("dev", "world-study"),
        ("evaluate",),
        ("train",),
    )
    pages = {name: program(*name, "--help")[1] for name in commands}
    lines = [
        line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    assert len(lines) == 10
    for line in lines:
        words = shlex.split(line)
        (page,) = (text for name, text in pages.items() if tuple(words[1 : len(name) + 1]) == name)
        assert words[0] == "gems-gym"
        assert all(word in page for word in words if word.startswith("--")), line
    assert all(name in pages["logs", "import"] for name in PRESETS)


def test_its_presets_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE.partition("## Rules")[0], re.MULTILINE))
    assert rows.keys() == PRESETS.keys()
    for name, preset in PRESETS.items():
        columns = preset.columns.values() if name not in ("finn", "mind") else ()
        assert all(f"`{column}`" in rows[name] for column in columns), name
    assert f"more than {LARGEST_SLATE:,} items" in PAGE


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / target).exists(), target
