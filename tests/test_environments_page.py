"""docs/environments.md says what the code says: its generated parts, its code, its measured numbers, its sentences."""

import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import gymnasium
import pytest

from gems_gym import PRESETS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "environments.md"
RETURNS = json.loads((ROOT / "docs" / "environments_returns.json").read_text())["results"]


@pytest.fixture(scope="module")
def generator():
    spec = spec_from_file_location("generate_environments", ROOT / "docs" / "generate_environments.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date():
    """In a process of its own: tests in this one may have registered worlds."""
    done = subprocess.run(
        [sys.executable, "docs/generate_environments.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_page_that_lacks_a_part_is_refused(generator):
    with pytest.raises(ValueError, match=r"differ about the parts \['returns'\]"):
        generator.fill_parts(PAGE.read_text().replace("<!-- generated: returns -->", ""), generator.PARTS)


def test_the_returns_are_of_the_registered_worlds_and_the_recorded_policies():
    recorded = json.loads((ROOT / "tests" / "data" / "returns.json").read_text())["results"]
    assert set(RETURNS) == set(recorded)
    for preset, policies in RETURNS.items():
        assert {name.replace("eps_greedy_oracle", "eps_greedy_0_5") for name in policies} == set(
            recorded[preset]
        )
        for one in policies.values():
            assert one["difference"]["mean"] == pytest.approx(one["v1"]["mean"] - one["v0"]["mean"], abs=2e-3)
            assert 0 < one["difference"]["ci95"] < 4


@pytest.mark.parametrize(
    ("preset", "policy"),
    [("diffuse_topdown", "fixed_topic0"), ("focused_mix", "random"), ("diffuse_divpen", "short_term_oracle")],
)
@pytest.mark.parametrize("version", [0, 1])
def test_a_measured_number_is_measured_again(generator, preset, policy, version):
    mean = generator.played_returns(preset, policy, version).mean()
    # the same users and randomness: only the rounding of another machine's exponentials may tell a click apart
    assert mean == pytest.approx(RETURNS[preset][policy][f"v{version}"]["mean"], abs=0.02)


def test_the_pages_code_runs(registry_as_it_was):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    blocks = [block for block in blocks if ">>>" not in block]  # those are doctests of the package
    worlds = []
    for block in blocks:
        names: dict = {}
        exec(compile(block, PAGE.name, "exec"), names)  # noqa: S102
        worlds.append(names["env"].unwrapped.config)
    assert [(world.leave_probability, world.boredom_timeout) for world in worlds] == [
        (0.05, 5),
        (0.0, 8),
        (0.0, 5),
    ]


def test_the_worlds_of_a_catalogue_share_it():
    hashes = {name: gymnasium.make(f"GemsSlate-{name}-v1").unwrapped.catalog.hash for name in PRESETS}
    assert len({hashes[name] for name in PRESETS if name.startswith("focused")}) == 1
    assert len(set(hashes.values())) == 2
