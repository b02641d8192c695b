"""docs/ope.md: its commands have these options, its estimators are the code's, its links lead somewhere."""

import re
from pathlib import Path

from gems_gym_agents.ope.estimators import ESTIMATORS

PAGE = (Path(__file__).parent.parent / "docs" / "ope.md").read_text()


def test_its_estimators_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == list(ESTIMATORS)
    bounded = re.search(r"For (.*?) it is an empirical Bernstein bound", PAGE, re.DOTALL)
    assert bounded is not None
    assert re.findall(r"`(\w+)`", bounded[1]) == [
        name for name, one in ESTIMATORS.items() if one.non_negative
    ]
