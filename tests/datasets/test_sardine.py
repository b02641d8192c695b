"""SARDINE's worlds through commands, policies and datasets, of slates and of latents."""

import json
from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym.beliefs import LastObservation
from gems_gym.datasets import EpisodeBatch, collect, open_dataset, verify_dataset
from gems_gym.policies.random_latents import RandomLatents
from gems_gym.rankers import TopKRanker

ENV = "Sardine-SlateTopK-BoredInf-v0"
WORLD: dict[str, Any] = {"num_items": 60, "slate_size": 5, "episode_length": 7}
OPTIONS = [word for name, value in WORLD.items() for word in ("--env-option", f"{name}={value}")]


@pytest.mark.parametrize(
    "policy", ["random", "short_term_oracle", "eps_greedy_oracle", "boredom_aware_oracle"]
)
def test_policies_are_evaluated(program: Any, policy: str) -> None:
    code, out, err = program("evaluate", policy, "--env", ENV, *OPTIONS, "--episodes", 20, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert 0 < found["mean_return"] < 35 and found["normalized_score"] is not None


def test_searches_play_the_sessions_that_the_environment_gives() -> None:
    from gems_gym.policies.paired_sessions import PairedSessions

    env: Any = gymnasium.make_vec(ENV, num_envs=8, autoreset_mode="disabled", **WORLD).unwrapped
    slate, seeds = np.arange(5), list(range(8))
    found = PairedSessions(env.config, env.catalog, seeds).clicks(slate[None])[0]
    env.reset(seed=seeds)
    returns = sum(env.step(np.tile(slate, (8, 1)))[1] for _ in range(7))
    np.testing.assert_array_equal(found, returns)


def test_the_commands_show_them(program: Any) -> None:
    assert ENV in program("list")[1]
    shown = json.loads(program("info", ENV, "--json")[1])
    assert (shown["dynamics"], shown["boredom_type"], shown["omega"]) == ("sardine", "user_car", 0.95)
    code, _, err = program("info", ENV, "--env-option", "click_propensity=0.5")
    assert code == 2 and "did you mean 'click_prop'" in err


@pytest.fixture
def parts() -> dict[str, Any]:
    catalog: Any = gymnasium.make(ENV, **WORLD).unwrapped.catalog  # type: ignore[attr-defined]
    known = {"slate_size": 5, "catalog_hash": catalog.hash}
    belief = LastObservation(num_items=60, **known)
    return {"ranker": TopKRanker(catalog.item_embeddings, **known), "belief": belief}


@pytest.mark.parametrize("latent", [False, True])
def test_datasets_of_them_can_be_verified_and_read(latent: bool, parts: dict[str, Any]) -> None:
    made = parts if latent else {}
    policy = RandomLatents(10) if latent else "random"
    collect(
        ENV, policy, dataset_id="sardine/small-v0", episodes=12, seed=0, env_kwargs=WORLD, reference_scores=(1.0, 9.0),
        progress=False, **made,
    )  # fmt: skip
    dataset = open_dataset("sardine/small-v0")
    assert verify_dataset(dataset, progress=False).failures == ()
    batch = EpisodeBatch.from_minari(dataset, progress=False)
    assert batch.terminated.sum() == 12 and batch.terminated[:, -1].all() and not batch.truncated.any()
    assert batch.subgoals.shape == (12, 7)
    if latent:
        assert dataset.spec.env_spec.id == "SardineLatent-SlateTopK-BoredInf-v0"
        assert gymnasium.make(dataset.spec.env_spec).action_space.shape == (10,)
    else:
        seen = batch.observations
        assert isinstance(seen, dict) and seen["hist"].shape == (12, 8, 10)
        np.testing.assert_array_equal(seen["hist"], batch.infos["user_state"][..., 10:20])
