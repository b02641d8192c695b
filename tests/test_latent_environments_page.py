"""The code of docs/latent_environments.md, run with small numbers, in order and in one namespace."""

import re
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("d3rlpy")

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
