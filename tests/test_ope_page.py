"""docs/ope.md: its commands have these options, its estimators are the code's, its links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gems_gym_agents.ope.estimators import ESTIMATORS

PAGE = (Path(__file__).parent.parent / "docs" / "ope.md").read_text()


def test_its_commands_have_these_options(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    commands = {("collect",): 1, ("ope",): 5, ("dev", "ope-study"): 2}
    for words, count in commands.items():
        help_page = program(*words, "--help")[1]
        own = [line for line in lines if line.startswith(" ".join(("gems-gym", *words, "")))]
        assert len(own) == count
        for line in own:
            assert all(word in help_page for word in shlex.split(line) if word.startswith("--")), line
    assert len([line for line in lines if line]) == sum(commands.values())


def test_its_estimators_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Against the truth")[0], re.MULTILINE)
    assert rows == list(ESTIMATORS)
    bounded = re.search(r"For (.*?) it is an empirical Bernstein bound", PAGE, re.DOTALL)
    assert bounded is not None
    assert re.findall(r"`(\w+)`", bounded[1]) == [
        name for name, one in ESTIMATORS.items() if one.non_negative
    ]


def test_its_tables_are_those_of_the_study() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate_ope.py", "--check"],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / target).exists(), target
