"""Each agent learns what a plain dataset teaches; with learning rates of next to nothing it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

from gems_gym_agents.offline import (
    BCAgent,
    BCQAgent,
    D3rlpyAgent,
    DecisionDiffuserAgent,
    DecisionTransformerAgent,
    FlowQAgent,
    IQLAgent,
    OfflineReinforceAgent,
    OfflineSACAgent,
    OfflineTD3Agent,
    PLASAgent,
    PRDCAgent,
    TD3PlusBCAgent,
)
from gems_gym_agents.offline.agent import OfflineAgent
from tests.agents.offline.rewarded_latents import BELIEFS, first_number, rewarded_latents
from tests.agents.offline_agents import act_once, warmed_up

SMALL: dict[str, Any] = {"hidden_units": (16, 16), "batch_size": 32}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield rewarded_latents("rewarded/latents-v0")


def fitted(dataset: Any, kind: type[OfflineAgent], steps: int, **options: Any) -> OfflineAgent:
    agent = kind(**(SMALL | options))
    agent.fit(dataset, steps=steps, seed=0, progress=False)
    return agent


@pytest.mark.parametrize(
    ("kind", "options", "rates"),
    [
        (BCQAgent, {"flexibility": 0.5}, ("actor", "critic", "imitator")),
        (OfflineReinforceAgent, {}, ("",)),
        (FlowQAgent, {"alpha": 0.3}, ("actor", "critic")),
        (D3rlpyAgent, {"config": "TD3PlusBC", "alpha": 2.5}, ("actor", "critic")),
    ],
    ids=["bcq", "offline_reinforce", "flow_q", "d3rlpy"],
)
def test_it_learns_what_earns(dataset: Any, kind: type[OfflineAgent], options: dict, rates: tuple) -> None:
    learned, not_learned = (
        first_number(
            fitted(
                dataset,
                kind,
                200,
                **options,
                **{f"{rate}_learning_rate".lstrip("_"): value for rate in rates},
            ).policy
        )
        for value in (1e-3, 1e-9)
    )
    assert learned > 0.3
    assert not_learned < 0.1


def test_the_decision_transformer_does_what_earns_the_return_that_is_asked_for(dataset: Any) -> None:
    agent = fitted(dataset, DecisionTransformerAgent, 150, context=5)
    returns = [episode.rewards.sum() for episode in dataset.iterate_episodes()]
    assert agent.policy.target_return == pytest.approx(np.percentile(returns, 90))
    assert first_number(agent.policy) > 0.3
    agent.policy.target_return = float(np.percentile(returns, 10))
    assert first_number(agent.policy) < -0.3


@pytest.mark.parametrize("kind", [OfflineTD3Agent, OfflineSACAgent])
def test_a_behaviour_term_holds_td3_and_sac_near_the_data(dataset: Any, kind: type[OfflineAgent]) -> None:
    rates = {"actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3}
    without, with_it = (
        first_number(fitted(dataset, kind, 200, bc_weight=weight, **rates).policy) for weight in (0.0, 100.0)
    )
    assert without > 0.5  # further than anything recorded
    assert abs(with_it) < 0.15  # the mean of what was done


@pytest.mark.parametrize("scaler", ["standard", "minmax"])
@pytest.mark.parametrize(
    "kind",
    [IQLAgent, PLASAgent, PRDCAgent, BCQAgent, FlowQAgent, DecisionTransformerAgent, DecisionDiffuserAgent],
)
def test_scaled_observations(dataset: Any, kind: type[OfflineAgent], scaler: str, tmp_path: Path) -> None:
    """Exporting compares with d3rlpy, which scales; whoever acts does not."""
    options = warmed_up(kind, 2)
    scaled = fitted(dataset, kind, 4, observation_scaler=scaler, **options)
    plain = fitted(dataset, kind, 4, observation_scaler=None, **options)
    actions = act_once(scaled.policy, BELIEFS)
    assert (actions != act_once(plain.policy, BELIEFS)).any()
    scaled.save(tmp_path)
    np.testing.assert_array_equal(act_once(kind.load(tmp_path), BELIEFS), actions)


def test_observations_far_from_zero_are_exported_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken off them is hundreds of standard deviations, whose rounding is no sign of other networks."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = rewarded_latents("rewarded/narrow-v0", around=(5.0, 0.017))
    agent = fitted(dataset, BCAgent, 60, observation_scaler="standard")
    assert np.isfinite(act_once(agent.policy, 5.0 + 0.017 * BELIEFS)).all()


def test_nothing_is_learned_of_rewards_that_are_all_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = rewarded_latents("rewarded/nothing-v0", 4, earns=0.0)
    with pytest.raises(ValueError, match="the dataset's rewards are all 0: there is nothing to learn from"):
        fitted(dataset, TD3PlusBCAgent, 4)


def test_the_scaler_makes_observations_standard(dataset: Any) -> None:
    import d3rlpy

    from gems_gym_agents.offline import load_replay_buffer

    buffer = load_replay_buffer(dataset)
    observations, _ = buffer.recorded
    for scaler, measured in (("standard", {"mean": 0.0, "std": 1.0}), ("minmax", {"min": -1.0, "max": 1.0})):
        found = IQLAgent(observation_scaler=scaler).data_settings(d3rlpy, buffer)["observation_scaler"]
        scaled = found.transform_numpy(observations)
        for what, expected in measured.items():
            np.testing.assert_allclose(getattr(scaled, what)(axis=0), expected, atol=5e-3)
    with pytest.raises(ValueError, match="unknown observation_scaler 'standart': did you mean 'standard'"):
        IQLAgent(observation_scaler="standart")
    buffer._observations[:, 1] = 0.5
    with pytest.raises(
        ValueError, match=r"'minmax' divides by the range .* number 1 is always 0\.5 .*'standard'"
    ):
        IQLAgent(observation_scaler="minmax").data_settings(d3rlpy, buffer)
