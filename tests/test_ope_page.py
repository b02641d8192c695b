"""docs/ope.md: its estimators are the code's, its tables are those of the study."""

import re
import subprocess
import sys
from pathlib import Path

from gems_gym_agents.ope.estimators import ESTIMATORS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "ope.md").read_text()


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
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
