"""The quickstart with several seeds, and that a fresh run agrees with what is published."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from gems_gym_agents.pipeline.quickstart import run_quickstart, run_quickstarts
from gems_gym_agents.pipeline.quickstart_tables import SeedsTable
from tests.test_quickstart import TINY

minari = pytest.importorskip("minari")

DOCS = Path(__file__).parent.parent / "docs"
PUBLISHED = DOCS / "quickstart.json"
published = pytest.mark.skipif(not PUBLISHED.is_file(), reason="docs/quickstart.json is not made yet")


def result(seed: int, **changes: Any) -> dict[str, Any]:
    """What a quickstart's results.json holds, as far as it matters here."""
    rows = [
        {"policy": "random", "mean_return": 30.0, "normalized_score": 0.0},
        {"policy": "sac", "mean_return": 300.0 + 10 * seed, "normalized_score": 50.0 + seed},
    ]
    made = {"gems_gym": "0.1.0", "code": "c0de", "cpu": "znver4-1", "processor": "A processor"}
    return {"env": "GemsSlate-x-v0", "episodes": 500, "results": rows, **made, **changes}


def test_the_table_has_mean_and_range_over_seeds():
    table = SeedsTable.of({seed: result(seed) for seed in (0, 1, 5)})
    assert table.content["results"][1] == {
        "policy": "sac",
        "mean_return": 320.0,
        "lowest": 300.0,
        "highest": 350.0,
        "normalized_score": 52.0,
        "by_seed": [300.0, 310.0, 350.0],
    }
    assert table.cells()[1] == ["sac", "320.0", "300.0 – 350.0", "52.0"]
    assert table.as_dict()["code"] == "c0de"


def test_seeds_that_other_code_made_are_told_apart():
    table = SeedsTable.of({0: result(0), 1: result(1, code="0ther")})
    assert table.content["code"] == ["0ther", "c0de"] and table.content["cpu"] == "znver4-1"


@pytest.mark.slow
def test_every_seed_has_a_training_and_a_dataset_of_its_own(tiny_env, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    table = run_quickstarts(tmp_path, tiny_env, [0, 1], episodes=20, settings=TINY)
    kept = json.loads((tmp_path / "seeds.json").read_text())
    assert kept == table.as_dict() and kept["seeds"] == [0, 1] and len(kept["code"]) == 12
    single = [json.loads((tmp_path / f"seed-{seed}/results.json").read_text()) for seed in (0, 1)]
    sac = kept["results"][-2]
    assert sac["policy"] == "sac"
    assert sac["by_seed"] == [one["results"][-2]["mean_return"] for one in single]
    assert sorted(minari.list_local_datasets()) == [
        f"gems-slate/diffuse_topdown/quickstart_seed_{seed}-v0" for seed in (0, 1)
    ]  # fmt: skip
    capsys.readouterr()
    assert run_quickstarts(tmp_path, tiny_env, [0, 1], episodes=20, settings=TINY) == table
    assert "not reusing" not in capsys.readouterr().err


def test_seeds_are_checked_before_any_work(program, tmp_path):
    for arguments, text in (
        (["--seeds", "0,x"], "integers"),
        (["--seeds", "0,0"], "different seeds"),
        (["--seeds", "0,1", "--seed", "2"], "not both"),
    ):
        code, _, told = program("quickstart", "--out", tmp_path / "out", *arguments)
        assert code != 0 and text in " ".join(told.split())
    assert not (tmp_path / "out").exists()


def test_the_readmes_table_is_made_from_the_results():
    spec = spec_from_file_location("generate_quickstart", DOCS / "generate_quickstart.py")
    assert spec and spec.loader
    generator = module_from_spec(spec)
    spec.loader.exec_module(generator)
    results = SeedsTable.of({seed: result(seed) for seed in (0, 1)}).as_dict()
    page = generator.filled("# x\n<!-- generated: quickstart -->\nold\n<!-- end -->\n", results)
    assert "| sac | 305.0 | 300.0 – 310.0 | 50.5 |" in page and "old" not in page
    assert "`gems-gym quickstart --seeds 0,1`, gems-gym 0.1.0, code c0de on A processor (znver4-1)." in page
    if PUBLISHED.is_file():
        readme = generator.README.read_text()
        assert generator.filled(readme, json.loads(PUBLISHED.read_text())) == readme


@published
@pytest.mark.slow
def test_the_published_table_comes_out_again(tmp_path, monkeypatch):
    """The same code on the same type of processor gives the same row; others give one within the published range.

    That range is widened by its own width, and by at least 25 clicks, on both sides: five seeds do not show how far a
    sixth would be, and another type of processor is like another seed.
    """
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    kept = json.loads(PUBLISHED.read_text())
    seed = kept["seeds"][0]
    found = run_quickstart(tmp_path / "out", kept["env"], seed=seed, episodes=kept["episodes"]).as_dict()
    same = all(found[key] == kept[key] for key in ("code", "cpu"))
    for row, expected in zip(found["results"], kept["results"], strict=True):
        assert row["policy"] == expected["policy"]
        margin = max(expected["highest"] - expected["lowest"], 25)
        low, high = expected["lowest"] - margin, expected["highest"] + margin
        assert low <= row["mean_return"] <= high, row
        if same:
            assert row["mean_return"] == pytest.approx(expected["by_seed"][0], abs=1e-9), row["policy"]
