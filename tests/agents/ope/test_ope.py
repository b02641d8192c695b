"""Logs replayed, policies compared, and the command ``gems-gym ope``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from gems_gym.datasets import verify_dataset
from gems_gym.datasets.described_policies import named_policy
from gems_gym.logs import import_log
from gems_gym.logs.sessions import LoggedSessions
from gems_gym.trained_agents import TrainedAgent
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.ope import estimators
from gems_gym_agents.ope.comparing import LOGGED, compare, with_propensities_of
from gems_gym_agents.ope.estimators import OF_ARRAYS, Estimate
from gems_gym_agents.ope.fitted_q import fitted_q_values
from gems_gym_agents.ope.logs import EvaluationLog, RecordedLatents
from gems_gym_agents.ope.policies import AgentSlates, find_policy
from gems_gym_agents.ope.replay import replay
from tests.datasets.small_world import (
    NoisyLatents,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

WORLD = {"num_items": 12, "slate_size": 3, "num_topics": 4, "episode_length": 3}
EPSILON = "eps_greedy_oracle:epsilon=0.5"


@pytest.fixture(autouse=True)
def datasets_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


def collected(dataset_id: str = "small/slates-v0", **changes: Any) -> Any:
    policy = named_policy("eps_greedy_oracle", {"epsilon": 0.5})
    arguments = {
        "policy": policy,
        "env_kwargs": WORLD,
        "episodes": 300,
        "num_envs": 256,
        "propensities": True,
    }
    return collect_slates(dataset_id, **(arguments | changes))


def test_collected_propensities_are_those_that_the_policy_says_when_asked_again() -> None:
    dataset = collected()
    assert dataset[0].infos["propensity"].dtype == np.float64
    assert (dataset[0].infos["propensity"][0] == 0).all()
    assert verify_dataset(dataset.id, progress=False).passed
    log = EvaluationLog.of_dataset(dataset.id, progress=False)
    again = with_propensities_of(log, find_policy(EPSILON, log.world), progress=False)
    for recorded, asked in zip(log.propensities, again.propensities, strict=True):
        np.testing.assert_array_equal(recorded, asked)
    target = replay(log, {"target": find_policy("short_term_oracle", log.world)}, progress=False)["target"]
    greedy = log.propensities.given_above > 0.5
    np.testing.assert_array_equal(target.propensities.given_above, greedy)
    np.testing.assert_array_equal((target.slates == log.impressions.slates)[greedy], True)


def test_they_are_an_option_that_changes_nothing_else() -> None:
    with_them, without = collected(episodes=5), collected("small/without-v0", episodes=5, propensities=False)
    again = collected("small/more-v0", episodes=5, num_envs=2, workers=2)
    hashes = [one.storage.metadata["content_hash"] for one in (with_them, without, again)]
    assert hashes[0] == hashes[2] != hashes[1]
    assert "fields" not in without.storage.metadata
    for one, other in zip(with_them, without, strict=True):
        assert set(one.infos) - set(other.infos) == {"propensity", "marginal_propensity"}
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)


def test_policies_without_closed_form_are_refused() -> None:
    with pytest.raises(ValueError, match="RandomConstantSlate does not know the propensities"):
        collected(policy="random_constant_slate")
    with pytest.raises(ValueError, match="acts in latents, whose slates have no closed form"):
        collect_latents(propensities=True)


def test_estimates_agree_with_what_the_policies_earn() -> None:
    log = EvaluationLog.of_dataset(collected(episodes=500).id, progress=False)
    names = (EPSILON, "eps_greedy_oracle:epsilon=0.1", "random")
    env = gymnasium.make_vec(log.world, num_envs=500, autoreset_mode="disabled")
    users = user_seeds("validation", 0, 500)
    truth = {name: evaluate(find_policy(name, log.world)(env), env, users).mean_return for name in names}
    found = compare(log, {name: find_policy(name, log.world) for name in names}, progress=False)
    mean = float(log.impressions.clicks.sum() / len(log.lengths))
    for name, one in found.estimates[EPSILON].items():
        if name != "dm":
            assert one.value == pytest.approx(mean, abs=1e-9), name
            assert one.diagnostics.largest_weight == 1.0
    for name in ("pdis", "wpdis", "dr", "wdr"):  # which know that the past matters
        for policy in names[1:]:
            one = found.estimates[policy][name]
            assert abs(one.value - truth[policy]) < 2 * (one.interval[1] - one.interval[0]), (policy, name)
            assert one.lower_bound < truth[policy] or one.bound == "t"
    assert isinstance(found.estimates["random"]["cascade_dr"], Estimate)
    chosen = found.selected()
    assert set(chosen) == set(OF_ARRAYS)
    assert chosen["iips"] == names[1]
    assert chosen["tis"] == LOGGED


def run(program: Any, *arguments: str) -> tuple[int, Any, str]:
    code, out, err = program("ope", *arguments, "--json")
    return code, json.loads(out) if out else None, " ".join(err.split())


@pytest.mark.slow
def test_the_command(program: Any) -> None:
    collected()
    code, found, err = run(program, "small/slates-v0", "short_term_oracle", "--select", "--estimator", "iips")
    assert code == 0, err
    assert found["propensities"] == "recorded"
    one = found["policies"]["short_term_oracle"]["iips"]
    assert one["interval"][0] < one["value"] < one["interval"][1]
    assert one["value"] > found["logged"]["value"]
    assert found["selected"] == {"iips": "short_term_oracle"}
    code, found, _ = run(program, "small/slates-v0", "random", "--clip", "2")
    assert code == 0
    for estimator in ("wdr", "cascade_dr"):
        assert found["policies"]["random"][estimator]["value"] > 0.0
    for arguments, message in (
        (["random", "--estimator", "ipss"], "did you mean 'ips'"),
        (["eps_greedy_oracle:epsilon=2"], "epsilon must be a number in [0, 1]"),
        (["eps_greedy_oracle:epsilo=2"], "epsilo"),
        (["random", "--logging", "random", "--estimate-propensities"], "not both"),
        (["random", "--logging", "diverse_random"], "the logging policy does not know"),
        (["random", "--logging", "short_term_oracle"], "must be in (0, 1], got 0.0"),
        (["nobody"], "unknown policy"),
    ):
        code, _, err = run(program, "small/slates-v0", *arguments)
        assert code == 2 and message in err, (arguments, err)


def test_logs_that_say_nothing_are_refused(program: Any) -> None:
    collected("small/none-v0", propensities=False, episodes=20)
    code, _, err = run(program, "small/none-v0", "random")
    assert code == 2 and "the log has no propensities: name the policy" in err
    code, found, _ = run(program, "small/none-v0", "random", "--estimator", "dm")
    assert code == 0 and found["policies"]["random"]["dm"]["diagnostics"] is None
    code, found, err = run(
        program, "small/none-v0", "random", "--estimate-propensities", "--estimator", "snips"
    )
    assert code == 0 and found["propensities"] == "estimated by counts" and "rest on propensities" in err
    code, found, _ = run(program, "small/none-v0", "random", "--logging", EPSILON, "--estimator", "snips")
    assert code == 0 and found["propensities"] == f"of {EPSILON}"
    collected("small/greedy-v0", policy="short_term_oracle", episodes=20)
    code, _, err = run(program, "small/greedy-v0", "random")
    assert code == 2 and "left nothing to chance" in err
    code, found, _ = run(program, "small/none-v0", "constant_slate:slate=[0", "--estimator", "dm")
    assert code == 2


def test_a_log_of_another_recommender(program: Any) -> None:
    rng = np.random.default_rng(0)
    rates = np.array([0.8, 0.2, 0.2, 0.2])
    items = rng.choice(4, (1_000, 2), p=[0.1, 0.3, 0.3, 0.3])
    rows = pl.DataFrame({
        "user": np.repeat(np.arange(250), 4),
        "timestamp": np.arange(1_000),
        "items": [[f"n{item}" for item in slate] for slate in items.tolist()],
        "clicks": (rng.random(items.shape) < rates[items]).astype(int).tolist(),
        "propensity": np.where(items == 0, 0.1, 0.3).tolist(),
    })  # fmt: skip
    import_log(rows, dataset_id="my/log-v0", progress=False)
    best, by_number = "constant_slate:items=[n0, n0]", "constant_slate:slate=[0, 0]"
    code, found, err = run(program, "my/log-v0", best, by_number, "random", "--select")
    assert code == 0, err
    estimates = found["policies"][best]
    assert estimates == found["policies"][by_number]
    assert estimates["dm"]["value"] == pytest.approx(
        4 * 1.6, abs=0.6
    )  # its interval does not know its errors
    for name in ("ips", "snips", "iips", "rips", "pi", "cascade_dr"):
        assert estimates[name]["interval"][0] < 4 * 1.6 < estimates[name]["interval"][1] + 0.2, name
    assert found["policies"]["random"]["iips"]["value"] == pytest.approx(4 * 0.7, rel=0.1)
    assert found["selected"]["iips"] == best
    code, _, err = run(program, "my/log-v0", "short_term_oracle")
    assert code == 2 and "looks into the simulated world" in err
    code, _, err = run(program, "my/log-v0", 'constant_slate:items=["n0", "n9"]')
    assert code == 2 and "unknown item 'n9'" in err
    code, _, err = run(program, "my/log-v0", f"{best},slate=[0, 0]")
    assert code == 2 and "give items or slate, not both" in err
    code, _, err = run(program, "my/log-v0", "random", "--logging", "expert-diffuse_mix")
    assert code == 2 and "item ids mean other items there" in err
    code, _, err = run(program, "my/log-v0", "planner-diffuse_mix", "--estimate-propensities")
    assert code == 2 and "the agent 'planner' knows the items of the catalogue" in err


def test_a_trained_agent_is_asked_through_its_own_belief_and_ranker(program: Any) -> None:
    collect_slates("small/real-v0", "random", env_kwargs={"episode_length": 2}, episodes=4, propensities=True)
    code, found, err = run(program, "small/real-v0", "expert-diffuse_topdown")
    assert code == 0, err
    row = found["policies"]["expert-diffuse_topdown"]
    assert row["dm"]["value"] >= 0
    assert "no overlap" in row["ips"]["not_applicable"]


def test_fitted_q_evaluation_looks_ahead_where_the_past_matters() -> None:
    rng, sessions = np.random.default_rng(0), 500
    latents = rng.choice([-0.5, 0.5], size=(sessions, 2))
    # a click for a positive latent, then for one of the other sign: only who knows the first one earns the second
    clicks = np.column_stack([latents[:, 0] > 0, latents[:, 0] * latents[:, 1] < 0])
    rows = np.column_stack([np.zeros(sessions), clicks])
    beliefs = np.column_stack([np.zeros(sessions), latents])
    seen = LoggedSessions(
        np.zeros((3 * sessions, 1), np.int32), rows.reshape(-1, 1).astype(np.int8), 1,
        np.arange(0, 3 * sessions + 1, 3), "ca" * 32, np.ones(sessions, np.bool_),
    )  # fmt: skip
    recorded = RecordedLatents(
        beliefs.reshape(-1, 1).astype(np.float32), latents.reshape(-1, 1).astype(np.float32), small_ranker()
    )
    log = EvaluationLog(np.arange(sessions), seen, None, None, recorded=recorded)
    # what the target would do, given what was logged before; it earns twice what the log does
    target = np.column_stack([np.full(sessions, 0.5), -latents[:, 0]]).reshape(-1, 1).astype(np.float32)
    found = fitted_q_values(log, recorded, target, seed=0, progress=False)
    assert found.shape == (sessions,)
    assert found.mean() == pytest.approx(2.0, abs=0.1)


@pytest.mark.slow
def test_fitted_q_evaluation_of_a_policy_that_draws_latents() -> None:
    collect_latents(episodes=60)
    log = EvaluationLog.of_dataset("small/latent-v0", progress=False)
    agents = {
        ranker: AgentSlates(TrainedAgent("noisy", NoisyLatents(), small_ranker(ranker), small_belief(), {}))
        for ranker in (0, 1)
    }
    makers = {str(ranker): lambda env, agent=agent: agent for ranker, agent in agents.items()}
    found = compare(log, makers, ["fqe"], progress=False).estimates
    earned = log.impressions.clicks.sum() / 60
    assert found["0"]["fqe"].value == pytest.approx(earned, rel=0.2)  # it made the log
    assert "no trained agent with the same ranker" in found["1"]["fqe"]
    slates = EvaluationLog.of_dataset(collected(episodes=5).id, progress=False)
    found = compare(
        slates, {"random": find_policy("random", slates.world)}, ["fqe"], progress=False
    ).estimates
    assert "the dataset holds slates" in found["random"]["fqe"]


def log_of(users: NDArray[np.int64], num_items: int, slate_size: int) -> EvaluationLog:
    """Sessions of one uniformly random slate without duplicates, a tenth of whose items are clicked."""
    rng, sessions = np.random.default_rng(0), len(users)
    slates = np.argsort(rng.random((sessions, num_items)), axis=1)[:, :slate_size]
    clicks = rng.random(slates.shape) < 0.1
    rows = np.full((2 * sessions, slate_size), -1, np.int32)
    rows[1::2] = slates
    clicked = np.zeros(rows.shape, np.int8)
    clicked[1::2] = clicks
    seen = LoggedSessions(
        rows, clicked, num_items, np.arange(0, 2 * sessions + 1, 2), "ca" * 32, np.ones(sessions, np.bool_)
    )
    return EvaluationLog(users, seen, None, None)


def test_counted_propensities_are_those_of_single_slots_so_the_targets_are_too() -> None:
    log = log_of(np.arange(2_000), 20, 10).with_counted_propensities()
    names = ["ips", "tis", "rips", "iips", "snips"]
    found = compare(log, {"random": find_policy("random", None)}, names, progress=False).estimates["random"]
    for name in names:
        estimate = found[name]
        assert not isinstance(estimate, str)
        assert estimate.value == pytest.approx(1.0, abs=0.15), name  # it is the policy that made the log


def test_a_policy_that_draws_draws_anew_in_each_session_of_a_user() -> None:
    log = log_of(np.zeros(400, np.int64), 20, 3)
    slates = replay(log, {"random": find_policy("random", None)}, progress=False)["random"].slates
    assert len(np.unique(slates, axis=0)) > 350


def test_a_long_session_leaves_estimators_of_impressions(monkeypatch: pytest.MonkeyPatch) -> None:
    log = EvaluationLog.of_dataset(collected(episodes=30).id, progress=False)
    monkeypatch.setattr(estimators, "LARGEST_TABLE", 89)  # 30 sessions of 3 steps are more
    found = compare(log, {EPSILON: find_policy(EPSILON, log.world)}, progress=False).estimates[EPSILON]
    refused = {name for name, one in found.items() if isinstance(one, str) and "30 sessions times 3" in one}
    assert refused == {"tis", "pdis", "wpdis", "dr", "wdr"}


def test_estimates_are_of_json_types_and_repeatable() -> None:
    log = EvaluationLog.of_dataset(collected(episodes=30).id, progress=False)
    makers = {"random": find_policy("random", log.world)}
    first, second = (compare(log, makers, progress=False) for _ in range(2))
    assert first == second
    assert isinstance(first.estimates["random"]["ips"], Estimate)
