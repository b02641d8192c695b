"""Policies that need no training, planners with the truth, and the bound."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from gems_gym.common.files import read_json
from gems_gym.simulator import resolve_world
from gems_gym.user_splits import user_seeds
from gems_gym_agents.pipeline.references import REFERENCES, measure_references, references_stage, upper_bound
from gems_gym_agents.pipeline.study import World
from tests.agents.tiny_study import ONLINE, WORLD


def test_they_are_measured_in_the_order_of_the_table(tmp_path):
    world = World(name="small", preset="diffuse_mix", overrides=WORLD | {"episode_length": 40}, version=1)
    line = measure_references(ONLINE, world, tmp_path)
    found = read_json(tmp_path / "small/references.json")["policies"]
    assert list(found) == [*REFERENCES, "planner_true_model", "planner_true_users", "upper_bound"]
    assert "planner_true_users" in line
    mean = {name: one["mean_return"] for name, one in found.items()}
    assert mean["random"] < mean["planner_true_model"] < mean["planner_true_users"] < mean["upper_bound"]
    assert all(one["worst"] <= one["mean_return"] for name, one in found.items() if name != "upper_bound")
    assert found["planner_true_model"]["cpu_seconds"] > 0
    assert found["planner_true_model"]["privileged"] and not found["upper_bound"]["privileged"]
    assert references_stage(ONLINE, world, tmp_path).kept() is not None
    with pytest.raises(ValueError, match="plan_steps=1 .now 2."):
        references_stage(replace(ONLINE, plan_steps=2), world, tmp_path).kept()


def test_a_world_of_another_form_has_no_planner_with_the_truth(tmp_path, capsys):
    world = World(name="steps", preset="diffuse_mix", overrides=WORLD | {"rel_threshold": 0.3})
    measure_references(ONLINE, world, tmp_path)
    assert list(read_json(tmp_path / "steps/references.json")["policies"]) == [*REFERENCES, "upper_bound"]
    assert "steps: no planner with the truth" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["focused_topdown", "diffuse_mix", "focused_divpen"])
def test_the_bound_of_the_published_worlds_is_what_their_propensities_add_up_to(name):
    config, catalog = resolve_world(name)
    assert upper_bound(config, catalog) == pytest.approx(100 * (1 - 0.85**10) / 0.15, rel=1e-6)


def test_the_bound_follows_from_what_a_world_allows():
    config, catalog = resolve_world("diffuse_divpen")
    whole = upper_bound(config, catalog)
    assert upper_bound(config.replace(alpha=0.5), catalog) == pytest.approx(whole / 2)
    assert upper_bound(config.replace(rel_threshold=1.0), catalog) == 0.0  # no score exceeds 1
    assert upper_bound(config.replace(diversity_threshold=1), catalog) == pytest.approx(whole / 3)
    assert upper_bound(config.replace(diversity_threshold=2), catalog) == pytest.approx(whole)
    gentle = config.replace(relevance_slope=2.0)
    largest = catalog.block_norms.max() / catalog.max_score
    assert upper_bound(gentle, catalog) == pytest.approx(whole / (1 + np.exp(-2 * (largest - 0.28))))
    falling = config.replace(relevance_slope=-100.0)
    assert upper_bound(falling, catalog) == pytest.approx(whole)


def test_sardines_users_have_length_1():
    """Not block norms that add up to 1: an item that is a little of everything can be all that they want."""
    items = np.full((30, 10), 0.2, np.float32)
    config, catalog = resolve_world("SlateTopK-Bored", items, {"num_items": 30})
    assert upper_bound(config, catalog) == pytest.approx(
        config.episode_length * config.position_propensities().sum() * config.alpha, rel=1e-3
    )


def test_users_of_one_topic_who_are_shown_its_best_item_come_close_to_the_bound():
    """Where nothing bores, and the worst items are relevant at times."""
    numbers = {"relevance_slope": 4.0, "boredom_threshold": 50, "omega": 1.0, "episode_length": 20}
    world = World(name="gentle", preset="diffuse_topdown", overrides=numbers)
    config, catalog = world.parameters
    item, topic = np.unravel_index(catalog.block_norms.argmax(), catalog.block_norms.shape)
    block = slice(2 * topic, 2 * topic + 2)
    user = np.zeros(20)
    user[block] = catalog.item_embeddings[item, block] / catalog.block_norms[item, topic]
    env = gymnasium.make_vec(world.spec, 400, autoreset_mode="disabled")
    env.reset(seed=user_seeds("validation", 0, 400), options={"user": user})
    clicks = sum(env.step(np.full((400, 10), item))[1] for _ in range(20))
    assert clicks.mean() == pytest.approx(upper_bound(config, catalog), rel=0.02)
