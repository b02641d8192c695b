"""``gems-gym dev ope-study``: estimators against the truth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gems_gym_agents.ope.estimators import OF_ARRAYS

WORLD = ("num_items=12", "slate_size=2", "num_topics=3", "episode_length=1")


@pytest.mark.slow
def test_a_quick_study(program: Any) -> None:
    options = [word for option in WORLD for word in ("--env-option", option)]
    asked = (
        "dev",
        "ope-study",
        "--out",
        "study",
        "--quick",
        "--env",
        "GemsSlate-diffuse_topdown-v0",
        *options,
    )
    code, out, err = program(*asked, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert list(found["summary"]) == list(OF_ARRAYS)
    assert [one["logging"] for one in found["measured"]] == ["eps_greedy", "softmax", "mixed"]
    # clicks of these worlds depend on item and slot, and sessions are impressions: IIPS is unbiased, DM is not
    for measured in found["measured"]:
        errors, truth = measured["errors"], measured["truth"]
        assert errors["iips"]["short_term_oracle"]["rmse"] < 0.35 * truth["short_term_oracle"]
        assert errors["tis"]["random"]["bias"] == pytest.approx(errors["ips"]["random"]["bias"])
    assert found["summary"]["iips"]["coverage"] > 0.7 > found["summary"]["dm"]["coverage"]
    code, out, err = program(*asked, "--json")
    assert code == 0
    assert json.loads(out) == found
    assert err.count("kept") == 3
    code, _, err = program(*asked, "--env-option", "omega=0.5")
    assert code == 2 and "other options" in err
