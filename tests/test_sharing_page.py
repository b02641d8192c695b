"""docs/sharing.md: its commands have these options, those in its text too."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "sharing.md").read_text()


def test_its_commands_have_these_options(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = re.findall(r"^(?:\d\. `)?(gems-gym [^`\n]*)", PAGE, flags=re.MULTILINE)
    assert len(lines) == 8
    for line in lines:
        _, *words = shlex.split(line)
        group = words[: 2 if words[0] in ("dataset", "agents") else 1]
        help_page = program(*group, "--help")[1]
        assert all(word in help_page for word in words if word.startswith("--")), line
