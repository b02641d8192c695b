"""docs/rankers.md says what was measured, and what was measured is what is shipped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gems_gym.artifacts import shipped
from gems_gym.pretraining.ranker_report import COMMON_LOG
from gems_gym.pretraining.session_log import collect_session_log
from gems_gym.rankers import GemsRanker, load_ranker
from gems_gym.registration import LATENT_PRESETS
from gems_gym.user_splits import REPORTS_SEED

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "rankers.md"
WORLDS = json.loads((ROOT / "docs" / "rankers.json").read_text())["worlds"]


def test_the_page_is_up_to_date():
    done = subprocess.run(
        [sys.executable, "docs/generate_rankers.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_everything_shipped_was_measured_as_it_is():
    assert set(WORLDS) == set(LATENT_PRESETS)
    measured = {name: sha256 for world in WORLDS.values() for name, sha256 in world["sha256"].items()}
    names = [*shipped.names("ranker"), *shipped.names("belief")]
    assert measured == {name: shipped.manifest()[name].sha256 for name in names}, (
        "rankers or beliefs have changed: run python docs/generate_rankers.py --measure"
    )
    for preset, world in WORLDS.items():
        for family in ("ranker", "belief"):
            assert set(shipped.names(family, preset)) <= set(world[f"{family}s"])
        for row in world["rankers"].values():
            assert 0 < row["reach_ratio"] == pytest.approx(row["reach"] / row["constant_slate"])
            assert 0 < row["reach_ci95"] < 40


def test_a_measured_number_is_measured_again():
    preset = "diffuse_mix"
    log = collect_session_log(preset, COMMON_LOG, 250, REPORTS_SEED, progress=False)
    slates, clicks = log.slates.reshape(-1, 10), log.clicks.reshape(-1, 10)
    for name in shipped.names("ranker", preset):
        ranker = load_ranker(name)
        if not isinstance(ranker, GemsRanker):  # shipped without its encoder
            continue
        kept = (ranker.rank(ranker.encode(slates, clicks)) == slates).mean()
        # only the rounding of another machine may tell a slot apart
        assert kept == pytest.approx(WORLDS[preset]["rankers"][name]["slot_accuracy_eps_greedy"], abs=1e-3)
