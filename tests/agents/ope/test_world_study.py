"""``gems-gym dev world-study``: fitted worlds against the true ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gems_gym_agents.ope.world_study import summary


@pytest.mark.slow
def test_a_quick_study(program: Any) -> None:
    asked = ("dev", "world-study", "--out", "study", "--env", "GemsSlate-diffuse_mix-v0", "--json")
    code, out, err = program(*asked, "--quick")
    assert code == 0, err
    (found,) = json.loads(out)["measured"]
    assert list(found["truth"]) == list(found["fitted"]) and len(found["truth"]) == 5
    # the better a policy, the more clicks in the world that it was trained in
    assert (
        found["truth"]["random"] < found["truth"]["medium-diffuse_mix"] < found["truth"]["expert-diffuse_mix"]
    )
    assert -1 <= found["tau"] <= 1 and found["fidelity"]["later"] == 4
    code, again, err = program(*asked, "--quick")
    assert code == 0 and again == out and "kept" in err
    code, _, err = program(*asked, "--users", "3")
    assert code == 2 and "other options" in err


def test_its_table() -> None:
    returns = {"random": 31.6, "constant_slate:slate=[1, 2]": 84.0, "expert-diffuse_mix": 300.0}
    measured = {
        "env": "a world",
        "truth": returns,
        "fitted": {name: 2 * one for name, one in returns.items()},
    }
    assert summary([measured | {"tau": 1.0}]) == {
        "a world": {"random": "32 / 63", "most_clicked": "84 / 168", "expert": "300 / 600", "tau": 1.0}
    }
