"""The pipeline on a tiny world: real libraries, small numbers."""

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym.artifacts import load_artifact
from gems_gym.artifacts.unfinished import STATE_FILE, UNFINISHED_FOLDER
from gems_gym.datasets import dataset_belief, dataset_ranker
from gems_gym.errors import missing_dependency
from gems_gym.trained_agents import open_trained_agent
from gems_gym_agents.offline import load_replay_buffer
from gems_gym_agents.pipeline import quickstart
from gems_gym_agents.pipeline.quickstart import QuickstartSettings, run_quickstart
from gems_gym_agents.pipeline.training import WatchedScore

minari = pytest.importorskip("minari")

ENV = "GemsSlate-tiny-v0"
TINY = QuickstartSettings(
    search_sessions=2_048, ranker_sessions=60, ranker_batches=40, belief_sessions=60, belief_batches=20,
    constant_slate_sessions=1_500, sac_interactions=12_000, sac_users=50, validation_users=20,
    dataset_sessions=12, offline_updates=30,
)  # fmt: skip
STAGES = ("belief", "ranker", "sac", "dataset", "td3_plus_bc", "bc", "constant slate")
POLICIES = [
    "random", "eps_greedy_oracle", "short_term_oracle", "constant_slate", "behaviour (noisy early SAC)",
    "td3_plus_bc", "bc", "sac", "boredom_aware_oracle",
]  # fmt: skip


@pytest.fixture(scope="module")
def road(tiny_env, tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        first = run_quickstart(folder / "out", tiny_env, episodes=30, settings=TINY)
        yield folder / "out", first.as_dict()


@pytest.mark.slow
def test_the_table_has_every_policy_with_its_interval(road):
    folder, results = road
    assert [row["policy"] for row in results["results"]] == POLICIES
    assert all(np.isfinite(row["ci95"]) for row in results["results"])
    assert results["results"][0]["normalized_score"] == 0
    assert results["results"][-1]["normalized_score"] == pytest.approx(100)
    assert json.loads((folder / "results.json").read_text())["results"] == results["results"]
    assert (folder / "clicks_per_step.png").read_bytes().startswith(b"\x89PNG")
    assert set(results["stage_seconds"]) == set(STAGES)


def test_every_action_of_the_dataset_is_the_slate_it_showed(road):
    dataset = minari.load_dataset(road[1]["dataset_id"])
    ranker, belief = dataset_ranker(dataset), dataset_belief(dataset)
    episodes = list(dataset.iterate_episodes())
    assert len(episodes) == TINY.dataset_sessions
    for episode in episodes:
        slates, clicks = episode.infos["slate"], episode.infos["clicks"]
        np.testing.assert_array_equal(ranker.rank(episode.actions), slates[1:])
        np.testing.assert_array_equal(clicks[1:].sum(axis=1), episode.rewards)
        assert episode.observations.shape == (13, 20) and episode.actions.shape == (12, 32)
        assert not episode.terminations.any()
        assert episode.truncations.tolist() == [False] * 11 + [True]
        beliefs = belief.initial(1)
        for step in range(13):
            beliefs = belief.update(beliefs, slates[step : step + 1], clicks[step : step + 1])
            np.testing.assert_array_equal(beliefs[0], episode.observations[step])


def test_every_transition_reaches_d3rlpy_and_the_last_one_bootstraps(road):
    dataset = minari.load_dataset(road[1]["dataset_id"])
    buffer = load_replay_buffer(dataset, seed=0)
    assert buffer.transition_count == dataset.total_steps == 12 * TINY.dataset_sessions
    batch = buffer.sample_transition_batch(4000)
    assert batch.terminals.sum() == 0
    last = [episode.observations[-1] for episode in dataset.iterate_episodes()]
    assert any(np.array_equal(batch.next_observations[i], last[0]) for i in range(4000))


def test_a_second_run_reuses_everything_and_says_so(road, capsys):
    folder, results = road
    again = run_quickstart(folder, ENV, episodes=30, settings=TINY).as_dict()
    assert again["results"] == results["results"]
    notes = capsys.readouterr().err
    for stage in STAGES:
        assert f"{stage}: reusing what is there" in notes


def test_what_was_altered_is_made_again(road, capsys):
    folder, results = road
    (folder / "bc" / "policy.safetensors").write_bytes(b"broken")
    again = run_quickstart(folder, ENV, episodes=30, settings=TINY).as_dict()
    assert again["results"] == results["results"]  # the same seed gives the same agent
    notes = capsys.readouterr().err
    assert "bc: reusing" not in notes.replace("td3_plus_bc: reusing", "")
    assert "td3_plus_bc: reusing" in notes


@pytest.mark.slow
def test_an_interrupted_training_is_resumed(road, tmp_path, monkeypatch):
    folder, results = road
    again = Path(shutil.copytree(folder, tmp_path / "out"))
    (again / "stages/sac.json").unlink()
    shutil.rmtree(again / "sac")

    def sac() -> dict[str, Any]:
        return quickstart._Quickstart(again, gymnasium.spec(ENV), 0, TINY, results["dataset_id"]).sac

    with monkeypatch.context() as patched:
        score, calls = WatchedScore.__call__, []

        def interrupted(self, *arguments):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return score(self, *arguments)

        patched.setattr(WatchedScore, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sac()
    state = again / "sac" / UNFINISHED_FOLDER / STATE_FILE
    assert load_artifact(state, "unfinished").header["counters"]["interactions"] == 10_800
    assert sac()["curve"] == results["sac_curve"]
    assert not state.exists()
    policies = [one / "sac/policy.safetensors" for one in (folder, again)]
    assert policies[0].read_bytes() == policies[1].read_bytes()


def test_a_trained_agent_knows_its_ranker_and_belief(road, tmp_path):
    folder, _ = road
    agent = open_trained_agent(folder / "sac")
    assert agent.name == "sac" and agent.record["env"] == ENV
    belief_as_ranker = folder / "td3_plus_bc"
    (belief_as_ranker / "ranker.safetensors").write_bytes(
        (belief_as_ranker / "belief.safetensors").read_bytes()
    )
    with pytest.raises(ValueError, match="is a belief/gru; a ranker was expected"):
        open_trained_agent(belief_as_ranker)
    with pytest.raises(FileNotFoundError, match="holds no trained agent"):
        open_trained_agent(tmp_path)


def test_a_missing_library_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "find_spec", lambda name: None if name == "d3rlpy" else True)
    with pytest.raises(ImportError, match=r"pip install 'gems-gym\[all\]'"):
        run_quickstart(tmp_path / "out", "GemsSlate-diffuse_mix-v0")
    assert not (tmp_path / "out").exists()
    assert "d3rlpy" in str(missing_dependency("d3rlpy", "all"))


README = (Path(__file__).parent.parent / "README.md").read_text()
