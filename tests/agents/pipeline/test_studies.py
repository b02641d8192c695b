"""Studies as data: complete, and said to be wrong before anything runs."""

import dataclasses
import itertools
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from gems_gym.config import preset_config
from gems_gym.pretraining.gems import GEMS_PRESETS
from gems_gym.registration import LATENT_PRESETS, environment_ids
from gems_gym_agents.offline.td3 import TD3PlusBCOptions
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.pipeline.matrices import (
    LATENT_AGENTS,
    OFFLINE_AGENTS,
    RANKERS,
    SLATE_AGENTS,
    STEPS,
)
from gems_gym_agents.pipeline.references import references_stage, upper_bound
from gems_gym_agents.pipeline.results import published_clicks
from gems_gym_agents.pipeline.running import Selection, finished_runs, on_this_machine, run_study, runs_of
from gems_gym_agents.pipeline.runs import OfflineRun
from gems_gym_agents.pipeline.studies import (
    PLANNER,
    PUBLISHED,
    SAC_GEMS,
    SAC_GEMS_EIGHT_STARTS,
    SAC_GEMS_PUBLISHED,
    SAC_TOPK_CO_CLICK,
    STUDIES,
    read_study,
)
from gems_gym_agents.pipeline.study import PartRecipe, World, as_data, shortened, study_of_data
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.truth import other_forms
from tests.agents.tiny_study import GEMS, ONLINE, online_variant

VARIED = ("gamma", "alpha", "reward_scaler", "reward_scale")


def test_the_published_numbers_are_those_of_the_paper():
    assert published_clicks(PUBLISHED, "SAC+GeMS", "focused_topdown") == 305.3
    assert published_clicks(PUBLISHED, "SAC+TopK (ideal)", "focused_divpen") == 386.3
    assert published_clicks(PUBLISHED, "SAC+GeMS", "diffuse_topdown") is None
    assert published_clicks(PUBLISHED, None, "focused_topdown") is None
    policies = {one.published_as for one in STUDIES["published"].variants if one.published_as}
    worlds = {world.preset for world in STUDIES["published"].worlds}
    assert all(published_clicks(PUBLISHED, policy, world) for policy in policies for world in worlds)


def test_the_published_variant_says_everything_itself():
    """So that tuning of our own recipes can't reach it."""
    assert dataclasses.asdict(GEMS_PRESETS["published"].settings) == {
        "item_embeddings": "scratch", "frozen": None, "embedding_size": 20, "latent_size": 32,
        "hidden_sizes": (512, 256), "beta": 1.0, "click_weight": 0.5, "batch_size": 256, "batches": 4_000,
        "learning_rate": 1e-3, "coordinates": "box", "deduplicate": False, "held_out": 0.1, "keep": "last",
    }  # fmt: skip
    assert SAC_GEMS_PUBLISHED.ranker.preset == "published"
    assert SAC_GEMS_PUBLISHED.options == {} and SAC_GEMS_PUBLISHED.ranker.settings == {}
    assert SAC_GEMS.options == {} and SAC_GEMS.ranker.preset == "default" and SAC_GEMS.ranker.settings == {}


def test_the_variants_without_privilege_differ_by_their_ranker():
    gems, topk = SAC_GEMS_EIGHT_STARTS, SAC_TOPK_CO_CLICK
    told = {"name", "description", "published_as", "ranker"}
    for field in dataclasses.fields(gems):
        assert (getattr(gems, field.name) == getattr(topk, field.name)) == (field.name not in told)
    assert gems.ranker == SAC_GEMS.ranker and not gems.privileged


def test_every_run_of_the_own_study_knows_its_settings(tmp_path):
    study = on_this_machine(STUDIES["own"])
    runs = runs_of(study, tmp_path)
    assert len(runs) == 6 * len(study.variants) * 5 and {run.world.name for run in runs} == set(
        LATENT_PRESETS
    )
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.folder for run in runs}) == len(runs)
    gems = next(run for run in runs if run.variant is SAC_GEMS and run.world.name == "focused_mix").settings()
    assert gems["options"]["gamma"] == SACOptions().gamma
    assert gems["ranker"]["settings"]["latent_size"] == 32
    assert gems["ranker"]["shares"] != gems["belief"]["shares"]


def test_the_published_worlds_follow_the_recipes_of_the_diffuse_ones(tmp_path):
    published = runs_of(STUDIES["published"], tmp_path)[0]
    assert published.variant is SAC_GEMS and published.world.preset == "focused_topdown"
    own = next(run for run in runs_of(STUDIES["own"], tmp_path) if run.world.name == "diffuse_topdown")
    ranker, belief = published.settings()["ranker"], published.settings()["belief"]
    for part, found in (("ranker", ranker), ("belief", belief)):
        assert found["preset"] == "focused_topdown"
        assert {**found, "world": 0, "preset": 0} == {**own.settings()[part], "world": 0, "preset": 0}
    assert ranker["world"]["env"] == "GemsSlate-focused_topdown-v0"


def test_a_selection_narrows_and_knows_names():
    study = Selection(["focused_mix"], ["sac_topk_mf", "sac_gems"], [7]).of(STUDIES["own"])
    assert [world.name for world in study.worlds] == ["focused_mix"]
    assert [variant.name for variant in study.variants] == ["sac_topk_mf", "sac_gems"]
    assert study.seeds == (7,)
    assert Selection().of(STUDIES["own"]) == STUDIES["own"]
    with pytest.raises(ValueError, match="unknown world of the study 'own': 'focused_mx'.*'focused_mix'"):
        Selection(worlds=["focused_mx"]).of(STUDIES["own"])
    with pytest.raises(ValueError, match="unknown variant of the study 'own'"):
        Selection(variants=["sac"]).of(STUDIES["own"])


def test_the_catalogue_is_asked_for_and_checked(tmp_path):
    with pytest.raises(ValueError, match="'published' is on a catalogue .* give --catalogue FILE"):
        on_this_machine(STUDIES["published"])
    file = tmp_path / "items.npy"
    np.save(file, np.random.default_rng(0).random((1000, 20), dtype=np.float32))
    with pytest.raises(
        ValueError, match="is another catalogue .hash [0-9a-f]{64}. than the world 'focused_to"
    ):
        on_this_machine(STUDIES["published"], file)
    with pytest.raises(ValueError, match="leave --catalogue out"):
        on_this_machine(STUDIES["own"], file)
    with pytest.raises(ValueError, match="leave --catalogue out"):
        on_this_machine(STUDIES["offline"], file)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        on_this_machine(STUDIES["published"], tmp_path / "nothing.npy")


def test_q_values_are_studied_over_discount_weight_of_imitation_and_rewards():
    study = STUDIES["q_values"]
    found = [tuple(vars(TD3PlusBCOptions(**one.options))[key] for key in VARIED) for one in study.variants]
    rewards = [("scale", 1.0), ("scale", 0.1), ("standard", 1.0)]
    assert found == [
        (gamma, alpha, *how)
        for gamma, alpha, how in itertools.product((0.8, 0.95, 0.99), (0.5, 2.5, 5.0, 10.0), rewards)
    ]
    (ours,) = (one for one in study.variants if one.name == "gamma80_alpha0.5_tenth")
    assert TD3PlusBCOptions(**ours.options) == TD3PlusBCOptions(steps_per_epoch=2_000)
    assert {one.steps for one in study.variants} == {100_000}


def test_datasets_are_named_by_a_pattern(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    study = on_this_machine(STUDIES["offline"], datasets="my/{preset}/{level}-v3")
    assert [world.dataset_id for world in study.worlds] == [
        "my/diffuse_topdown/medium-v3", "my/diffuse_topdown/expert-v3",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'own' learns from no datasets: leave --datasets out"):
        on_this_machine(STUDIES["own"], datasets="my/{preset}-v0")
    misspelt = on_this_machine(STUDIES["offline"], datasets="my/{lvl}-v0")
    assert {world.dataset_id for world in misspelt.worlds} == {"my/{lvl}-v0"}
    runs = runs_of(study, tmp_path)
    assert len(runs) == 2 * 3 * 3 and isinstance(runs[0], OfflineRun)
    assert {(run.variant.steps, run.variant.options["steps_per_epoch"]) for run in runs} == {(20_000, 2_000)}
    with pytest.raises(
        FileNotFoundError, match="no local dataset 'my/diffuse_topdown/medium-v3'.*--datasets"
    ):
        run_study(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_recipes_with_one_name_are_refused():
    other = online_variant(
        "other", PartRecipe(name="vae", kind="ranker/topk", settings={"embeddings": "ideal"})
    )
    with pytest.raises(ValueError, match="two recipes of the study 'own' are called 'vae'"):
        dataclasses.replace(ONLINE, variants=(GEMS, other))
    belief = dataclasses.replace(
        GEMS, name="again", belief=PartRecipe(name="belief", kind="belief/gru", sessions=61)
    )
    with pytest.raises(ValueError, match="called 'belief'"):
        dataclasses.replace(ONLINE, variants=(GEMS, belief))


def test_an_unknown_option_is_said_before_anything_runs(tmp_path):
    wrong = dataclasses.replace(GEMS, options={"gama": 0.9})
    with pytest.raises(ValueError, match="did you mean 'gamma'"):
        run_study(dataclasses.replace(ONLINE, variants=(wrong,)), tmp_path / "out")
    with pytest.raises(ValueError, match="--jobs must be at least 1, got 0"):
        run_study(ONLINE, tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            {"settings": {"batchs": 3}},
            "unknown setting of the recipe 'one': 'batchs': did you mean 'batches'",
        ),
        (
            {"kind": "ranker/topk"},
            "'ranker/topk' of the recipe 'one' is not trained: settings must name the embeddings",
        ),
    ],
)
def test_a_wrong_recipe_is_said_before_anything_runs(tmp_path, part, words):
    recipe = PartRecipe(**{"name": "one", "kind": "ranker/gems", **part})
    wrong = dataclasses.replace(GEMS, ranker=recipe)
    with pytest.raises(ValueError, match=words):
        run_study(dataclasses.replace(ONLINE, variants=(wrong,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recipes_fit_small_worlds(tmp_path):
    def settings(variant, **overrides):
        world = World(name="one", preset="diffuse_mix", overrides=overrides)
        study = dataclasses.replace(ONLINE, worlds=(world,), variants=(variant,), seeds=(0,))
        (run,) = runs_of(study, tmp_path)
        found = {kind: part.recipe.settings for kind, part in run.parts.items()}
        return {kind: (one["embedding_size"], one["item_embeddings"]) for kind, one in found.items()}

    few = settings(GEMS, num_items=12, slate_size=2)
    assert few == {"belief": (11, "co_click"), "ranker": (11, "co_click")}
    assert {name for _, name in settings(GEMS, num_items=12, slate_size=1).values()} == {"scratch"}
    # what a study chooses itself stays, and is refused where it cannot be
    own = dataclasses.replace(GEMS.ranker, name="own", settings={"embedding_size": 16})
    assert settings(dataclasses.replace(GEMS, ranker=own), num_items=12, slate_size=2)["ranker"][0] == 16


def test_other_folders_are_no_seeds(tmp_path):
    (tmp_path / "small/seed-old").mkdir(parents=True)
    assert finished_runs(ONLINE, tmp_path) == []


def test_a_study_survives_json():
    for study in (*STUDIES.values(), ONLINE):
        again = study_of_data(json.loads(json.dumps(as_data(study))))
        assert as_data(again) == as_data(study)
        assert [type(one) for one in again.variants] == [type(one) for one in study.variants]


MINE = """
name = "mine"
title = "Mine"
seeds = [0]
worlds = ["diffuse_mix"]
variants = ["sac_gems"]
"""


def test_a_study_in_a_file_names_presets_and_our_variants(tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)
    study = read_study(tmp_path / "mine.toml")
    assert study.variants == (SAC_GEMS,) and study.worlds[0].preset == "diffuse_mix"
    page = (Path(__file__).parents[3] / "docs/cluster.md").read_text()
    whole, variant, of_slates = (part.partition("```")[0] for part in page.split("```toml\n")[1:])
    (tmp_path / "page.toml").write_text(whole + variant.replace("[[variants]]", "[[more]]"))
    with pytest.raises(ValueError, match="page.toml: unknown field of a study: 'more'"):
        read_study(tmp_path / "page.toml")
    (tmp_path / "page.toml").write_text(whole)
    assert len(runs_of(read_study(tmp_path / "page.toml"), tmp_path)) == 2 * 2 * 5
    (tmp_path / "page.toml").write_text(MINE.replace('variants = ["sac_gems"]', "") + variant)
    assert read_study(tmp_path / "page.toml").variants[0].ranker.kind == "ranker/topk"
    (tmp_path / "page.toml").write_text(MINE.replace('variants = ["sac_gems"]', "") + of_slates)
    assert read_study(tmp_path / "page.toml").variants[0].ranker is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds = [0]", "seeds = [-1]"), "seeds"),
        (("seeds = [0]", "seds = [0]"), "'seds': did you mean 'seeds'"),
        (("title", "titel"), "lacks title"),
        (('"sac_gems"', '"sac_gms"'), "did you mean 'sac_gems'"),
        (('["diffuse_mix"]', "[]"), "requires seeds, worlds and variants"),
        (('["diffuse_mix"]', '[{name = "a", preset = "b", level = "c"}]'), "recorded worlds"),
        (('["diffuse_mix"]', "[3]"), "world must be a table of fields, got 3"),
        (('["diffuse_mix"]', '"diffuse_mix"'), "worlds of a study must be a list, got 'diffuse_mix'"),
        (("seeds = [0]", "seeds = 3"), "seeds of a study must be a list, got 3"),
        (('"sac_gems"', '{name = "x", description = "", agent = "bc", steps = 0}'), "steps must be"),
        (("name", "name name"), "mine.toml"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(program, tmp_path, change, words):
    (tmp_path / "mine.toml").write_text(MINE.replace(*change, 1))
    code, _, told = program("compare", "mine.toml")
    assert code == 2 and words in " ".join(told.split()) and "mine.toml" in told
    assert not (tmp_path / "runs").exists()


def test_an_address_goes_with_ray(program):
    code, _, told = program("compare", "own", "--ray-address", "auto")
    assert code == 2 and "--ray-address auto goes with --executor ray" in told
    code, _, told = program("compare", "own", "--executor", "rya")
    assert code == 2 and "did you mean 'ray'" in told


def test_the_variations_are_worlds_that_all_their_variants_and_references_can_be_in(tmp_path):
    study = STUDIES["variations"]
    presets = {world.preset for world in study.worlds}
    assert len(study.worlds) >= 12 and presets == set(LATENT_PRESETS)
    runs = [run for run in runs_of(study, tmp_path) if run.variant is PLANNER and run.seed < 2]
    assert len({json.dumps(run.settings(), sort_keys=True) for run in runs}) == len(runs)
    for world in study.worlds:
        config, catalog = world.parameters
        env = gymnasium.make_vec(world.spec, num_envs=2)
        assert env.unwrapped.config == config != preset_config(world.preset)
        assert other_forms(config) == []
        assert upper_bound(config, catalog) > 0


def test_a_worlds_own_dynamics_are_among_what_makes_a_result(tmp_path):
    run = runs_of(STUDIES["sardine"], tmp_path)[0]
    assert "gems_gym.simulator.sardine" in run.modules()
    assert "gems_gym.simulator.sardine" in references_stage(STUDIES["sardine"], run.world, tmp_path).modules
    assert all("gems_gym.simulator.sardine" in part.modules for part in run.parts.values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../evil"}, "names become those of folders: '../evil'"),
        (
            {"worlds": ["diffuse_mix", "diffuse_mix"]},
            "two worlds of the study 'mine' are called 'diffuse_mix'",
        ),
        ({"variants": ["planner", "planner"]}, "two variants of the study 'mine' are called 'planner'"),
        ({"worlds": [{"name": "../../x", "preset": "diffuse_mix"}]}, "names become those of folders"),
        (
            {
                "variants": [
                    {"name": "mf", "description": "", "ranker": {"name": "mf", "kind": "ranker/gems"}}
                ]
            },
            "a variant and a recipe of the study 'mine' are both called 'mf'",
        ),
        ({"seeds": [0, 0]}, r"seeds of the study 'mine' must differ, got \[0, 0\]"),
    ],
)
def test_names_are_of_folders_and_one_of_each(changes, words):
    given = {"name": "mine", "title": "t", "worlds": ["diffuse_mix"], "variants": ["planner"], "seeds": [0]}
    with pytest.raises(ValueError, match=words):
        study_of_data(given | changes, [PLANNER])


def test_the_worlds_of_sardine_are_worlds_that_all_variants_can_learn_in(tmp_path):
    study = STUDIES["sardine"]
    assert {world.spec.id for world in study.worlds} == set(environment_ids()) & {
        f"Sardine-SlateTopK-{task}-v0" for task in ("Bored", "BoredInf", "Uncertain")
    }
    for run in runs_of(study, tmp_path):
        assert run.settings()
        if run.variant.ranker is None:
            SlateUsers(gymnasium.make_vec(run.world.spec, num_envs=2))  # else a ValueError


def test_the_matrix_is_every_agent_through_every_ranker(tmp_path):
    study = STUDIES["matrix"]
    through = {(one.agent, one.ranker.name) for one in study.variants if one.ranker is not None}
    assert through == {(agent, ranker) for agent in LATENT_AGENTS for ranker in RANKERS}
    assert {one.agent for one in study.variants if one.ranker is None} == set(SLATE_AGENTS)
    assert study.variants[0].name == "sac_gems"  # which all others are compared with
    runs = runs_of(study, tmp_path)
    assert len(runs) == 6 * len(study.variants) * 5
    for run in runs[: len(study.variants)]:
        assert set(run.settings()) >= {"belief"}  # agents, rankers and beliefs fit together
    offline = STUDIES["matrix_offline"]
    assert {(world.preset, world.level) for world in offline.worlds} == {
        (preset, level) for preset in LATENT_PRESETS for level in ("random", "medium", "expert", "mixed")
    }
    assert {one.agent for one in offline.variants} == set(OFFLINE_AGENTS)


def test_a_quick_study_is_a_short_one_in_a_folder_of_its_own():
    study = STUDIES["matrix"]
    quick = shortened(study)
    assert quick.name == "matrix_quick" and len(quick.worlds) == len(quick.seeds) == 2
    assert [one.name for one in quick.variants] == [one.name for one in study.variants]
    assert {one.steps for one in quick.variants} == {STEPS // 5} and quick.test_users == 100
    assert shortened(dataclasses.replace(ONLINE, plan_steps=1)).plan_steps == 1
    offline = shortened(STUDIES["matrix_offline"])
    assert [world.level for world in offline.worlds] == ["random", "medium"]


def test_a_world_has_the_dynamics_of_its_version():
    world = World(name="mended", preset="diffuse_mix", version=1)
    assert world.spec.id == world.settings["env"] == "GemsSlate-diffuse_mix-v1"
    assert world.parameters[0].dynamics_version == 1
    overridden = World(name="mended", preset="diffuse_mix", overrides={"dynamics_version": 1})
    assert overridden.parameters[0] == world.parameters[0]
    with pytest.raises(ValueError, match="version must be"):
        World(name="mended", preset="diffuse_mix", version=2)
