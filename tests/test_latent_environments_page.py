"""The code of docs/latent_environments.md, run with small numbers, in order and in one namespace."""

import re
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("d3rlpy")
from gems_gym import plugins
from gems_gym.pretraining.recipes import shipped_recipes
from gems_gym.registration import LATENT_PRESETS

PAGE = (Path(__file__).parent.parent / "docs" / "latent_environments.md").read_text()
SMALL = {"learn(100_000)": "learn(120)", "episodes=1_000": "episodes=3", "=1_000": "=10"}


def test_the_pages_code_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 5
    code = "\n".join(blocks)
    for long, short in SMALL.items():
        assert long in code
        code = code.replace(long, short)
    names: dict[str, Any] = {}
    exec(compile(code, "latent_environments.md", "exec"), names)  # noqa: S102
    assert names["model"].num_timesteps == 120
    dataset = minari.load_dataset("my/latent-v0")
    assert dataset.total_steps == 300
    belief, _ = dataset.recover_environment().reset(
        seed=next(iter(dataset.storage.get_episode_metadata([0])))["seed"]
    )
    np.testing.assert_array_equal(belief, dataset[0].observations[0])
    assert names["algo"].predict(belief[None]).shape == (1, 32)


def test_training_lines_are_few():
    """Five lines beside imports, as the page is meant to be read."""
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[1:4:2]:
        assert len([line for line in block.splitlines() if line]) <= 5


def test_what_is_shipped_is_as_the_page_says():
    recipes = shipped_recipes(LATENT_PRESETS)
    assert f"make all {len(recipes)} files" in PAGE
    for name in ("gems", "gems_published", "topk", "gru", "mf"):
        recipe = recipes[f"{name}-diffuse_mix"]
        (row,) = re.findall(rf"^\| `{name}-{{world}}` \|.*$", PAGE, flags=re.MULTILINE)
        assert f" {recipe.sessions:,} sessions of " in row
        assert row.endswith(
            f"| {recipe.settings['batches']:,} |" if "batches" in recipe.settings else "| – |"
        )
        if recipe.search_sessions:
            assert f" {recipe.search_sessions:,} sessions of search" in row
        policies = [plugins.load(plugins.POLICIES, policy) for policy, _ in recipe.shares]
        privileged = sum(policy.privileged for policy in policies)
        said = {
            (0, 1): "without privileged information",
            (1, 1): "which is privileged",
            (3, 5): "three of them privileged",
        }
        assert said[privileged, len(policies)] in row
