"""Numbers over all worlds, of results that are made up."""

import numpy as np
import pytest
from scipy import stats

from gems_gym_agents.pipeline.summary import has_trade_off, summarise
from gems_gym_agents.pipeline.summary_tables import beyond_table, score_table, score_text

BEYOND = {"catalogue_coverage": 0.5, "intra_slate_diversity": 0.25, "bored_steps": 0.1, "lower_decile": 20.0}
SCORES = {
    ("one", "first"): {0: 50, 1: 60, 2: 70},
    ("two", "first"): {0: 20, 1: 30},
    ("one", "second"): {0: 55, 1: 75, 2: 60},
    ("two", "second"): {1: 90, 7: 10},
    ("one", "third"): {0: 99},
}


def made_up(scores=SCORES, levels=(None, None), **beyond):
    """Worlds in which random gets 10 clicks and the oracle 110, so that scores are clicks less ten."""
    references = {
        "random": {"mean_return": 10.0, "privileged": False, **BEYOND},
        "boredom_aware_oracle": {"mean_return": 110.0, "privileged": True, **BEYOND},
        "upper_bound": {"mean_return": 130.0, "privileged": False},
    }
    return {
        "worlds": [
            {"name": name, "preset": "diffuse_mix", "level": level}
            for name, level in zip(("one", "two"), levels, strict=True)
        ],
        "variants": [{"name": name, "privileged": name == "third"} for name in ("first", "second", "third")],
        "references": {"one": references, "two": references},
        "runs": [
            {
                "world": world,
                "variant": variant,
                "seed": seed,
                "test": {"mean_return": 10.0 + score, **beyond},
            }
            for (world, variant), by_seed in scores.items()
            for seed, score in by_seed.items()
        ],
    }


def test_the_first_variant_is_what_others_are_compared_with():
    (group,) = summarise(made_up(**BEYOND))
    assert group["group"] == "all worlds" and group["worlds"] == ["one", "two"]
    assert group["baseline"] == "first" and group["left_out"] == ["third"]  # in one world only
    first, second = group["variants"]
    assert first["runs"] == 5 and first["against_baseline"] is None
    assert first["iqm"]["value"] == pytest.approx(np.mean([30, 50, 60]))  # of 5 runs one is cut at either end
    assert first["mean"]["value"] == pytest.approx(46)
    assert first["iqm"]["low"] <= first["iqm"]["value"] <= first["iqm"]["high"]
    against = second["against_baseline"]
    assert against["difference"]["value"] == pytest.approx(np.mean([5, 15, -10, 60]))  # shared seeds only
    assert against["improvement"]["value"] == pytest.approx((5.5 / 9 + 2 / 4) / 2)
    assert against["p_value"] == pytest.approx(stats.wilcoxon([5, 15, -10, 60]).pvalue) == against["p_holm"]


def test_p_values_are_corrected_for_all_that_are_compared():
    seeds = range(8)
    shifted = {(world, variant): {seed: seed + by for seed in seeds} for world in ("one", "two") for variant, by in
               (("first", 0), ("second", 5), ("third", 9))}  # fmt: skip
    (group,) = summarise(made_up(shifted))
    for one in group["variants"][1:]:
        assert one["against_baseline"]["p_holm"] == pytest.approx(2 * one["against_baseline"]["p_value"])
        assert one["against_baseline"]["improvement"]["value"] > 0.8


def test_variants_that_share_no_seed_are_not_paired():
    scores = {("one", "first"): {0: 1, 1: 2}, ("one", "second"): {2: 3, 3: 4}}
    (group,) = summarise(made_up(scores))
    assert group["worlds"] == ["one"]  # the other one has no run
    assert [one["against_baseline"] for one in group["variants"]] == [None, None]


def test_without_a_variant_that_is_complete_nothing_is_compared():
    (group,) = summarise(made_up({("one", "first"): {0: 1}, ("two", "second"): {0: 3}}))
    assert group["baseline"] is None
    assert "None" not in score_text(group)


def test_datasets_are_summed_up_level_by_level():
    found = summarise(made_up(levels=("medium", "expert")))
    assert [(group["group"], group["worlds"]) for group in found] == [
        ("medium", ["one"]),
        ("expert", ["two"]),
    ]
    assert found[0]["left_out"] == [] and found[1]["left_out"] == ["third"]
    third = found[0]["variants"][2]
    assert third["iqm"] == {"value": pytest.approx(99), "low": None, "high": None}  # a single run


def test_results_without_references_or_measures_have_no_numbers_of_them():
    results = made_up()
    summary = summarise(results)
    assert summary[0]["variants"][0]["bored_steps"] is None and not has_trade_off({"summary": summary})
    assert [row[0] for row in beyond_table(summary[0])[1]] == ["random", "boredom_aware_oracle (privileged)"]
    assert summarise({**results, "references": {}}) == []
    assert summarise({**results, "runs": []}) == []


def test_the_cells_say_what_was_found():
    (group,) = summarise(made_up(**BEYOND))
    header, rows = score_table(group)
    cells = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(cells) == ["random", "boredom_aware_oracle (privileged)", "upper_bound", "first", "second"]
    assert cells["upper_bound"]["mean"] == "120.0" and cells["first"]["p"] == ""
    assert cells["second"]["difference"] == "+17.5"  # of one pair in a world: no interval
    assert cells["second"]["P(better)"].startswith("0.56 [") and cells["second"]["p"] == "0.375"
    assert "Left out, as not run in each of these worlds: `third`." in score_text(group)
    assert "(comparisons: 1)" in score_text(group)
    assert beyond_table(group)[1][-1] == ["second", "58.0", "0.250", "0.500", "0.100", "20.0"]
