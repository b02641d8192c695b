"""docs/sardine.md: its table is that of the registered worlds, it names every parameter, its Python runs."""

import dataclasses
import re
from pathlib import Path

import gymnasium
import pytest

from gems_gym import SardineConfig
from gems_gym.sardine_config import SARDINE_PRESETS

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "sardine.md").read_text()
COLUMNS = (
    "num_items", "slate_size", "episode_length", "click_prop", "relevance_offset", "relevance_slope", "omega",
    "boredom_threshold",
)  # fmt: skip


@pytest.mark.parametrize("preset", SARDINE_PRESETS)
def test_its_table_is_that_of_the_registered_worlds(preset):
    row = re.search(rf"^\| `Sardine-{preset}-v0` \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    for version in (0, 1):
        config = gymnasium.make(f"Sardine-{preset}-v{version}").unwrapped.config
        expected = dict(zip(COLUMNS, map(float, row[1].split(" | ")), strict=True))
        assert config == SardineConfig().replace(
            **{name: type(getattr(config, name))(value) for name, value in expected.items()},
            dynamics_version=version,
        )


def test_it_names_every_parameter_with_its_default():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", PAGE.split("| parameter |")[1], re.MULTILINE)
    named = {}
    for names, defaults in rows:
        named |= dict(zip(re.findall(r"`(\w+)`", names), defaults.split(", "), strict=True))
    assert named.keys() == {field.name for field in dataclasses.fields(SardineConfig)}
    for field in dataclasses.fields(SardineConfig):
        given = named[field.name].strip('`"')
        assert given == str(field.default) or float(given) == field.default, field.name


def test_its_python_runs():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(compile(code, "sardine.md", "exec"), names)  # noqa: S102
    assert names["observations"]["hist"].shape == (256, 10)
