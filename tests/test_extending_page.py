"""docs/extending.md shows the code of the package that the tests install, and every seam that there is."""

import re
from pathlib import Path

from gems_gym import plugins

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/extending.md").read_text()
PLUGIN = ROOT / "tests/plugins/gems_gym_dummy_plugin"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_code_is_that_of_the_package() -> None:
    sources = [file.read_text() for file in PLUGIN.glob("*.py")]
    found = [part for block in blocks("python") for part in block.split("\n\n\n")]
    assert len(found) >= 15
    for part in found:
        assert any(part.strip() in source for source in sources), f"the package has no such code:\n{part}"


def test_the_entry_points_are_those_of_the_package() -> None:
    setup = (PLUGIN / "setup.cfg").read_text()
    shown = [line for block in blocks("ini") for line in block.splitlines()]
    assert shown and not [line for line in shown if line not in setup.splitlines()]


def test_every_group_has_its_section() -> None:
    groups = {line.removesuffix(" =") for block in blocks("ini") for line in block.splitlines()}
    assert set(plugins.GROUPS) <= groups
    for group in plugins.GROUPS:
        assert f"| `{group}` |" in PAGE
