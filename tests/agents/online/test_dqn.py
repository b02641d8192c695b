"""DQN over candidate slates: which candidates, that it learns the best of them, and its policy's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import gymnasium

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.artifacts.unfinished import is_unfinished
from gems_gym.beliefs import GruBelief
from gems_gym.latent_world import LatentWorld
from gems_gym.pretraining.session_log import SessionLog, collect_session_log
from gems_gym_agents.base import DivergedError
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online import DQNAgent
from gems_gym_agents.online.candidate_slates import CandidateSlates, candidate_slates
from gems_gym_agents.online.checkpoints import mean_policy
from tests.agents.online.test_algorithms import hashes
from tests.agents.slates.tiny_feed import INTEREST, MOODS, TinyFeed, values

SMALL: dict[str, Any] = {
    "candidates": 10, "net_arch": (16,), "batch_size": 64, "learning_starts": 400, "buffer_size": 4_000,
    "learning_rate": 5e-3, "validate_every": 400, "tau": 0.05,
}  # fmt: skip


def feed(num_envs: int = 40) -> TinyFeed:
    """The tiny feed, seen through a belief that has learned that all items are different."""
    env = TinyFeed(num_envs)
    env.encoder = SimpleNamespace(tensors={"item_embeddings": np.eye(len(INTEREST))}, sha256=None)
    return env


def fitted(env: Any = None, folder: Path | None = None, steps: int = 4_000, **options: Any) -> DQNAgent:
    agent = DQNAgent(**SMALL | options)
    agent.fit(env or feed(), steps=steps, seed=0, directory=folder, progress=False)
    return agent


def worth(policy: CandidateSlates) -> float:
    slates = policy.slates(MOODS)
    return values(0.8, (slates[0], slates[1]))[0]


def test_it_learns_the_best_candidates():
    policy = fitted().policy
    best = values(0.8, (policy.candidates, policy.candidates))[0]
    assert worth(policy) >= 0.93 * best
    assert worth(fitted(steps=480, learning_rate=1e-12).policy) < 0.75 * best


def test_the_policy_is_the_librarys():
    agent = DQNAgent(**SMALL)
    with borrowed_global_state():
        model = agent.make_model(feed(), seed=0, device="cpu")
        model.env.seed(range(40))
        model.set_env(model.env)
        model.learn(800)
        beliefs = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
        expected, _ = model.predict(beliefs, deterministic=True)
    policy = agent.export_actor(model, {"kept": 1})
    assert len(set(expected.tolist())) > 1
    assert (policy.act(None, beliefs)[0] == policy.candidates[expected]).all()


def test_all_starts_choose_among_the_same_candidates():
    agent = DQNAgent(**SMALL, starts=2)
    agent._seed = 0  # the run's, as ``fit`` notes it
    with borrowed_global_state():
        models = [agent.make_model(feed(), seed=seed, device="cpu") for seed in (0, 724807)]
    one, other = (agent.export_actor(model, {}).candidates for model in models)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_interrupted_it_is_resumed_to_the_same_bits(tmp_path, epsilon):
    options: dict[str, Any] = {"steps": 1_600, "averaged_share": 0.7, "epsilon": epsilon}
    whole = fitted(folder=tmp_path / "whole", **options)
    env = feed()
    env.steps = 0

    def interrupted(actions: Any) -> Any:
        env.steps += 1
        if env.steps == 35:
            raise KeyboardInterrupt
        return TinyFeed.step(env, actions)

    env.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        fitted(env, tmp_path / "run", **options)
    fitted(folder=tmp_path / "run", **options)
    assert hashes(tmp_path / "run") == hashes(tmp_path / "whole")
    *_, last, mean = DQNAgent.load_checkpoints(tmp_path / "run")
    assert mean.mean_of == 3 and (mean.actor.candidates == last.actor.candidates).all()
    whole.save(tmp_path / "whole")
    assert (DQNAgent.load(tmp_path / "whole").slates(MOODS) == whole.policy.slates(MOODS)).all()


def test_candidates_are_logged_slates_of_every_kind():
    items = np.zeros((40, 2))
    items[20:] = [5.0, 0.0]
    env = feed()
    env.single_action_space = gymnasium.spaces.MultiDiscrete([40] * 3)
    env.encoder.tensors["item_embeddings"] = items
    found = candidate_slates(env, 8, None, 0)
    kinds = (found >= 20).sum(axis=1).tolist()  # of eight centres others were empty
    assert len(set(kinds)) == len(kinds) >= 3
    assert (found == candidate_slates(env, 8, None, 0)).all()


def test_a_log_of_slates(tiny_world: dict[str, Any], tiny_belief: GruBelief, tmp_path):
    world = LatentWorld(gymnasium.spec("GemsSlate-diffuse_topdown-v0"), None, tiny_belief)
    env = world.users(2, **tiny_world)
    config, items = env.unwrapped.config, env.unwrapped.catalog.item_embeddings
    log = collect_session_log(config, {"random": 1.0}, 8, 0, item_embeddings=items, progress=False)
    log.save(tmp_path / "log.npz")
    found = candidate_slates(env, 5, str(tmp_path / "log.npz"), 0)
    logged = {tuple(slate) for slate in log.slates.reshape(-1, 5).tolist()}
    assert 3 <= len(found) <= 5 and {tuple(slate) for slate in found.tolist()} <= logged
    with pytest.raises(ValueError, match=f"number of different slates logged, {len(logged)}; got 1000"):
        candidate_slates(env, 1_000, str(tmp_path / "log.npz"), 0)
    with pytest.raises(FileNotFoundError, match="none.npz"):
        candidate_slates(env, 5, str(tmp_path / "none.npz"), 0)
    replace(log, catalog_hash="other").save(tmp_path / "log.npz")
    with pytest.raises(
        ValueError, match="holds slates of 5 of the catalogue other; slates of 5 of .* were expected"
    ):
        candidate_slates(env, 5, str(tmp_path / "log.npz"), 0)


def test_what_it_cannot_learn_in_is_refused():
    with pytest.raises(ValueError, match="compares slates by the belief's item embeddings"):
        fitted(TinyFeed(4))
    with pytest.raises(ValueError, match="slates, a MultiDiscrete, were expected"):
        fitted(TinyFeed(4, latents=True))
    with pytest.raises(ValueError, match="unknown option of dqn 'candidate': did you mean 'candidates'"):
        DQNAgent(candidate=3)


def test_a_wrong_file_is_refused(tmp_path):
    policy = fitted(steps=480).policy
    policy.save(tmp_path / "policy.safetensors")
    stored = load_artifact(tmp_path / "policy.safetensors", CandidateSlates.kind)
    for wrong in (stored.tensors["candidates"][1:], -1 - stored.tensors["candidates"]):
        save_artifact(
            tmp_path / "wrong.safetensors", stored.kind, stored.tensors | {"candidates": wrong}, stored.header
        )
        with pytest.raises(ArtifactError, match="not a readable policy/dqn: candidates must hold item ids"):
            CandidateSlates.load(tmp_path / "wrong.safetensors")


def logged(folder: Path, seed: int = 0) -> str:
    """A log whose slates a feed of the catalogue "feed" can have shown."""
    slates = np.random.default_rng(seed).permuted(np.tile(np.arange(5), (60, 1)), axis=1)[:, :2]
    rows = slates.reshape(20, 3, 2).astype(np.int32)
    log = SessionLog(rows, np.zeros(rows.shape, np.uint8), None, np.zeros(20, np.uint8), ("random",), "feed")
    log.save(folder / "log.npz")
    return str(folder / "log.npz")


def of_catalogue() -> TinyFeed:
    env = feed()
    env.catalog = SimpleNamespace(hash="feed")
    return env


def test_a_log_that_was_made_anew_is_no_run_to_resume(tmp_path: Path) -> None:
    class Interrupted(DQNAgent):
        rounds = 0

        def export_actor(self, model: Any, metadata: dict[str, Any]) -> CandidateSlates:
            self.rounds += 1
            if self.rounds == 3:
                raise KeyboardInterrupt
            return super().export_actor(model, metadata)

    options = SMALL | {"log": logged(tmp_path), "candidates": 4}
    with pytest.raises(KeyboardInterrupt):
        Interrupted(**options).fit(
            of_catalogue(), steps=1_600, seed=0, directory=tmp_path / "run", progress=False
        )
    logged(tmp_path, seed=1)
    with pytest.raises(ValueError, match="unfinished run with log_sha256="):
        DQNAgent(**options).fit(
            of_catalogue(), steps=1_600, seed=0, directory=tmp_path / "run", progress=False
        )


def test_policies_of_different_candidates_have_no_mean() -> None:
    first, second = fitted(steps=480).policy, fitted(steps=480).policy
    assert isinstance(mean_policy([first, second]), CandidateSlates)
    second.candidates = second.candidates[::-1]
    with pytest.raises(ValueError, match="can't be averaged: they have other candidates"):
        mean_policy([first, second])


def test_slates_that_show_nothing_somewhere_are_no_candidates(tmp_path: Path) -> None:
    file = logged(tmp_path)
    log = SessionLog.load(Path(file))
    slates = log.slates.copy()
    slates[3:, :, 1] = -1
    replace(log, slates=slates).save(Path(file))
    assert (candidate_slates(of_catalogue(), 4, file, 0) >= 0).all()
    replace(log, slates=np.where(np.arange(2) == 1, -1, slates)).save(Path(file))
    with pytest.raises(ValueError, match="holds no complete slate of 2 items"):
        candidate_slates(of_catalogue(), 4, file, 0)


def test_slates_that_are_all_alike_are_refused() -> None:
    env = feed()
    env.encoder.tensors["item_embeddings"] = np.ones((5, 5))
    with pytest.raises(ValueError, match="the same for all of these: there is nothing to choose among"):
        candidate_slates(env, 4, None, 0)


def test_weights_that_are_no_numbers_are_called_diverged(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="Lower learning_rate|lower learning_rate"):
        fitted(folder=tmp_path, learning_rate=1e30)
    assert not is_unfinished(tmp_path)
    with pytest.raises(ValueError, match="tau must be a number in "):
        DQNAgent(tau=0.0)
