"""A study of an agent that shows slates: without ranker and belief."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from gems_gym.simulator import resolve_world
from gems_gym.trained_agents import open_trained_agent
from gems_gym_agents.commands.compare import write_results
from gems_gym_agents.pipeline.results import rows_of
from gems_gym_agents.pipeline.running import on_this_machine, run_study, runs_of
from gems_gym_agents.pipeline.studies import PLANNER, STUDIES, read_study
from gems_gym_agents.pipeline.study import OnlineVariant, Study, World, as_data, study_of_data
from gems_gym_agents.pipeline.tables import world_tables
from gems_gym_agents.user_model.options import HELD_OUT
from tests.agents.tiny_study import GEMS, ONLINE, WORLD

SMALL = OnlineVariant(
    name="small_planner",
    description="in brief",
    belief=None,
    agent="planner",
    options={"random_sessions": 2_048, "exploration_sessions": 32, "atoms": 16},
    steps=1,
    num_envs=512,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """In a world whose catalogue is a file."""
    file = tmp_path_factory.mktemp("items") / "items.npy"
    np.save(file, np.random.default_rng(0).random((80, 20), dtype=np.float32) ** 3)
    _, catalog = resolve_world("diffuse_topdown", file, WORLD)
    world = World(name="given", preset="diffuse_topdown", overrides=WORLD, catalog_hash=catalog.hash)
    return on_this_machine(replace(ONLINE, worlds=(world,), variants=(SMALL,), seeds=(0,)), file)


@pytest.mark.slow
def test_it_runs_and_its_row_says_what_it_took(study, tmp_path):
    (run,) = runs_of(study, tmp_path)
    assert "clicks on test users" in run.play()
    result = run.result()
    assert result["cpu_seconds"].keys() == {"training"} and result["cpu_seconds"]["training"] > 0
    assert result["logged_interactions"] == 2_048 * 20 + (32 + HELD_OUT) * 100
    assert result["settings"]["world"]["catalog"] == study.worlds[0].catalog_hash
    assert 0 <= result["test"]["worst"] <= result["test"]["mean_return"] <= 5 * 12
    agent = open_trained_agent(run.folder)
    assert agent.ranker is agent.belief is None
    recorded = json.loads(agent.record["env_spec"])["kwargs"]
    assert WORLD.items() <= recorded.items() and "item_embeddings" not in recorded
    results = write_results(study, tmp_path, "gems-gym compare own")
    (row,) = rows_of(results)
    assert (row.worst, row.by_seed) == (result["test"]["worst"], (result["test"]["mean_return"],))
    cells = dict(zip(world_tables(results)[0].header, world_tables(results)[0].rows[0], strict=True))
    assert cells["policy"] == "small_planner" and cells["worst session"] == f"{row.worst:.0f}"
    assert cells["interactions"] == "0.00 + 0.15 M"


def test_ranker_and_belief_go_with_agents_that_need_them(tmp_path):
    for variant, words in (
        (
            replace(GEMS, ranker=None),
            "'gems' must have a ranker: its agent 'sac' sees beliefs and chooses latents",
        ),
        (replace(SMALL, belief=GEMS.belief), "'small_planner' must have no belief"),
        (
            replace(SMALL, ranker=GEMS.ranker),
            "'small_planner' must have no ranker: its agent 'planner' sees slates",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            run_study(replace(ONLINE, variants=(variant,)), tmp_path)


def test_a_variant_without_a_ranker_is_told_by_its_agent(tmp_path):
    data = as_data(replace(ONLINE, variants=(SMALL, GEMS)))
    assert study_of_data(data).variants[0] == SMALL
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ntitle = "Mine"\nseeds = [0]\nworlds = ["diffuse_mix"]\n'
        'variants = ["planner", {name = "small", description = "mine", agent = "planner", num_envs = 512}]'
    )
    known, small = read_study(file).variants
    assert known == PLANNER and isinstance(small, OnlineVariant) and small.belief is None
    file.write_text(file.read_text().replace('agent = "planner"', 'agent = "planer"'))
    with pytest.raises(ValueError, match=r"mine.toml: .*did you mean 'planner'"):
        read_study(file)


def test_the_studies_of_agents_that_learn_from_users_have_it():
    assert all(PLANNER in STUDIES[name].variants for name in ("own", "published"))
    assert "grey box" in PLANNER.description and not PLANNER.privileged
