"""Training in rounds: interrupted anywhere it ends with the same bits, however many users are served together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

pytest.importorskip("torch")

from gems_gym.artifacts.unfinished import is_unfinished
from gems_gym.beliefs import GruBelief
from gems_gym.datasets import collect
from gems_gym.datasets.described_policies import trained_policy
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import GemsRanker
from gems_gym.trained_agents import save_trained_agent
from gems_gym.user_splits import user_seeds
from gems_gym_agents.base import DivergedError
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.slates.gfn4rec import GFN4RecAgent
from gems_gym_agents.slates.hac import HACAgent
from gems_gym_agents.slates.reinforce import ReinforceLatentAgent, ReinforceSoftmaxAgent
from gems_gym_agents.slates.slateq import SlateQAgent
from tests.agents.slates.tiny_feed import TinyFeed

SMALL: dict[str, Any] = {"sessions": 4, "hidden_units": (8,), "batch_size": 16, "validate_every": 30}
AGENTS: dict[str, Callable[[], Any]] = {
    "slateq": lambda: SlateQAgent(**SMALL, embedding_size=4, updates=5, kept_rounds=2),
    "gfn4rec": lambda: GFN4RecAgent(**SMALL, embedding_size=4, updates=5, kept_rounds=2),
    "hac": lambda: HACAgent(**SMALL, embedding_size=4, updates=5, kept_rounds=2),
    "reinforce_softmax": lambda: ReinforceSoftmaxAgent(**SMALL, embedding_size=4),
    "reinforce_latent": lambda: ReinforceLatentAgent(**SMALL),
}
STEPS = 90  # six rounds of 4 sessions of 4 steps
Users = Callable[[Any, int], Any]


@pytest.fixture
def users(tiny_world: dict[str, Any], tiny_belief: GruBelief, tiny_ranker: GemsRanker) -> Users:
    def made(agent: Any, num_envs: int) -> Any:
        ranker = tiny_ranker if agent.actions == "latents" else None
        world = LatentWorld(gymnasium.spec("GemsSlate-diffuse_topdown-v0"), ranker, tiny_belief)
        return world.users(num_envs, **tiny_world)

    return made


def policy_of(agent: Any, directory: Path) -> bytes:
    agent.save(directory)
    return (directory / "policy.safetensors").read_bytes()


SCORES = [1.0, 3.0, 2.0]


class Scores:
    """Scores policies one after another as they are listed; interrupted when there are no more."""

    def __init__(self, scores: list[float]) -> None:
        self.scores, self.scored = scores, []

    def __call__(self, policy: Any) -> float:
        if len(self.scored) == len(self.scores):
            raise KeyboardInterrupt
        self.scored.append(policy)
        return self.scores[len(self.scored) - 1]


@pytest.mark.parametrize("name", AGENTS)
def test_the_number_of_users_together_decides_nothing(name: str, users: Users, tmp_path: Path) -> None:
    found = set()
    for num_envs in (1, 3, 4):
        agent = AGENTS[name]()
        agent.fit(users(agent, num_envs), steps=STEPS, seed=5, progress=False)
        found.add(policy_of(agent, tmp_path / str(num_envs)))
    assert len(found) == 1


@pytest.mark.parametrize("name", AGENTS)
def test_an_interrupted_training_ends_with_the_same_bits(name: str, users: Users, tmp_path: Path) -> None:
    agent = AGENTS[name]()
    agent.fit(users(agent, 4), steps=STEPS, seed=2, evaluate=Scores(SCORES), progress=False)
    expected, history = policy_of(agent, tmp_path / "whole"), agent.history
    assert [line["score"] for line in history if "score" in line] == SCORES
    for already in range(3):
        folder, agent = tmp_path / str(already), AGENTS[name]()
        with pytest.raises(KeyboardInterrupt):
            agent.fit(
                users(agent, 4),
                steps=STEPS,
                seed=2,
                directory=folder,
                evaluate=Scores(SCORES[:already]),
                progress=False,
            )
        assert is_unfinished(folder)
        agent = AGENTS[name]()
        agent.fit(
            users(agent, 2),
            steps=STEPS,
            seed=2,
            directory=folder,
            evaluate=Scores(SCORES[already:]),
            progress=False,
        )
        assert agent.history == history and policy_of(agent, folder) == expected
        assert not is_unfinished(folder)
        assert json.loads((folder / f"{name}.json").read_text())["history"] == history


def test_the_best_policy_is_kept(users: Users) -> None:
    agent, scores = AGENTS["slateq"](), Scores(SCORES)
    agent.fit(users(agent, 4), steps=STEPS, seed=0, evaluate=scores, progress=False)
    assert agent.policy is scores.scored[1]


@pytest.mark.parametrize(("kept_rounds", "kept"), [(0, []), (2, [4, 5]), (4, [2, 3, 4, 5]), (30, range(6))])
def test_what_is_kept_of_an_unfinished_training(
    users: Users, tmp_path: Path, kept_rounds: int, kept: list[int]
) -> None:
    agent = SlateQAgent(**SMALL, embedding_size=4, updates=1, kept_rounds=kept_rounds)
    agent.fit(
        users(agent, 4), steps=STEPS, seed=0, directory=tmp_path, evaluate=Scores(SCORES), progress=False
    )
    files = {file.name for file in (tmp_path / "unfinished").iterdir()}
    sessions = {f"sessions_{number}.safetensors" for number in kept}
    assert files == {"state.safetensors", "best_64.safetensors"} | sessions


def test_other_settings_do_not_resume(users: Users, tmp_path: Path) -> None:
    agent = AGENTS["reinforce_softmax"]()
    agent.fit(users(agent, 4), steps=20, seed=0, directory=tmp_path, progress=False)
    other = ReinforceSoftmaxAgent(**{**SMALL, "gamma": 0.5}, embedding_size=4)
    with pytest.raises(ValueError, match="unfinished run with options.gamma=0.8 .now 0.5."):
        other.fit(users(other, 4), steps=20, seed=0, directory=tmp_path, progress=False)


def test_other_seeds_learn_otherwise(users: Users, tmp_path: Path) -> None:
    policies = set()
    for seed in range(2):
        agent = AGENTS["reinforce_latent"]()
        agent.fit(users(agent, 4), steps=20, seed=seed, progress=False)
        policies.add(policy_of(agent, tmp_path / str(seed)))
    assert len(policies) == 2


def test_wrong_options_are_refused() -> None:
    for kind, options, words in (
        (HACAgent, {"hyper_weight": -1}, "hyper_weight must be a finite number ≥ 0, got -1"),
        (GFN4RecAgent, {"reward_smoothing": 0}, "reward_smoothing must be a finite number > 0, got 0"),
        (SlateQAgent, {"slate_search": "topk"}, "slate_search.*did you mean 'top_k'"),
        (SlateQAgent, {"target": "td"}, "target.*q_learning"),
        (SlateQAgent, {"epsilon": 1.5}, "epsilon must be a number in .0, 1., got 1.5"),
        (SlateQAgent, {"sessions": 0}, "sessions must be an integer from 1 to"),
        (ReinforceSoftmaxAgent, {"spread": 0.1}, "option of reinforce_softmax"),
        (ReinforceLatentAgent, {"spread": 0.0}, "spread must be a finite number > 0"),
    ):
        with pytest.raises(ValueError, match=words):
            kind(**options)


def test_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="device must be 'cpu', got 'cuda'"):
        SlateQAgent().fit(TinyFeed(2), steps=1, seed=0, device="cuda")


@pytest.mark.parametrize(("updates", "words"), [(20, "the losses are"), (1, "weights are no longer numbers")])
def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path, updates: int, words: str) -> None:
    agent = SlateQAgent(**SMALL, embedding_size=4, updates=updates, learning_rate=1e38)
    match = rf"after [1-9]\d* interactions {words}.*: lower learning rates"
    with pytest.raises(DivergedError, match=match), np.errstate(all="ignore"):
        agent.fit(TinyFeed(4), steps=2_000, seed=0, directory=tmp_path, progress=False)
    assert not is_unfinished(tmp_path)


def test_an_interrupted_agent_acts_with_what_it_has(users: Users) -> None:
    agent = AGENTS["slateq"]()
    with pytest.raises(KeyboardInterrupt):
        agent.fit(users(agent, 4), steps=STEPS, seed=0, evaluate=Scores([1.0]), progress=False)
    beliefs = np.zeros((3, 20), np.float32)
    assert agent.policy.act(None, beliefs)[0].shape == (3, 5)


@pytest.mark.slow
def test_its_sessions_are_collected_as_it_plays_them(
    tiny_world: dict[str, Any], tiny_belief: GruBelief, users: Users, tmp_path: Path, monkeypatch: Any
) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    agent, env = ReinforceSoftmaxAgent(**SMALL, embedding_size=4), "GemsSlate-diffuse_topdown-v0"
    agent.fit(users(agent, 4), steps=STEPS, seed=0, progress=False)
    save_trained_agent(tmp_path / "agent", agent, agent.name, None, tiny_belief, {"env": env})
    world = LatentWorld(gymnasium.spec(env), None, tiny_belief)
    expected = evaluate(
        agent.policy, world.users(2, autoreset_mode="disabled", **tiny_world), user_seeds("logging", 0, 6)
    )
    sessions = {"episodes": 6, "seed": 0, "env_kwargs": tiny_world, "reference_scores": (0, 1), "num_envs": 3}
    with pytest.raises(ValueError, match="sees beliefs, and a slate environment shows slates and clicks"):
        collect(env, agent.policy, dataset_id="my/refused-v0", **sessions)
    for workers in (1, 2):
        made = collect(
            env,
            trained_policy(str(tmp_path / "agent"), None),
            dataset_id=f"my/collected{workers}-v0",
            workers=workers,
            progress=False,
            **sessions,
        )
        assert [one.rewards.sum() for one in made] == list(expected.returns)
