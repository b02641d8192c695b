"""gems_gym.pretraining.belief: what is refused, and who logs for the presets."""

from typing import Any

import pytest

pytest.importorskip("torch")
from gems_gym import plugins
from gems_gym.pretraining.belief import BELIEF_PRESETS, BeliefSettings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": 0}, "batches must be an integer ≥ 1, got 0"),
        ({"size": 0}, "size must be an integer from 1 to 65536, got 0"),
        ({"held_out": 1.0}, r"held_out must be a number in \(0, 1\), got 1\.0"),
        ({"learning_rate": -1.0}, r"learning_rate must be a finite number > 0, got -1\.0"),
        ({"slate_input": "pooledd"}, "slate_input 'pooledd'.*'pooled'"),
        ({"item_embeddings": "coclick"}, "item_embeddings 'coclick'.*'co_click'"),
    ],
)
def test_bad_settings_are_clear_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BeliefSettings(**change)


def test_nothing_privileged_logs_for_the_unprivileged_preset() -> None:
    for name, preset in BELIEF_PRESETS.items():
        policies = [plugins.load(plugins.POLICIES, policy) for policy in preset.shares]
        assert any(policy.privileged for policy in policies) == (name != "unprivileged")
        # a number of sessions to search where somebody searches, and nowhere else
        assert (preset.search_sessions is not None) == any(
            getattr(policy, "searches", False) for policy in policies
        )
