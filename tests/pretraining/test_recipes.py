"""gems_gym.pretraining.recipes: recipes as data, and following them; each kind is followed in test_shipping.py."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch")
from gems_gym.pretraining.belief import BELIEF_PRESETS, BeliefSettings
from gems_gym.pretraining.gems import GEMS_PRESETS, GemsSettings
from gems_gym.pretraining.recipes import (
    RANKER_LOGS,
    Recipe,
    belief_recipe,
    follow,
    gems_recipe,
    shipped_recipes,
)
from gems_gym.user_splits import user_seeds
from tests.pretraining.small_recipes import small

WORLD = "focused_mix"


def followed(recipe: Recipe, **changes):
    return follow(small(recipe, **changes), progress=False)


def test_a_recipe_survives_json():
    for recipe in shipped_recipes([WORLD]).values():
        again = Recipe(**json.loads(json.dumps(dataclasses.asdict(recipe))))
        assert again.kind == recipe.kind
        assert again.shares == recipe.shares  # in their order, which decides who logs which users
        if recipe.kind.startswith("ranker/gems"):
            assert GemsSettings(**again.settings) == GemsSettings(**recipe.settings)


@pytest.mark.parametrize(
    ("make", "presets", "kind", "settings"),
    [
        (gems_recipe, GEMS_PRESETS, "ranker/gems", GemsSettings),
        (belief_recipe, BELIEF_PRESETS, "belief/gru", BeliefSettings),
    ],
)
def test_recipes_are_the_presets(make, presets, kind, settings):
    for name, preset in presets.items():
        recipe = make(WORLD, name)
        assert (recipe.kind, recipe.preset) == (kind, WORLD)
        assert dict(recipe.shares) == preset.shares
        assert (recipe.sessions, recipe.search_sessions) == (preset.sessions, preset.search_sessions)
        assert settings(**recipe.settings) == preset.settings
        assert (make(WORLD) == recipe) == (name == "default")


def test_a_seed_decides_log_and_training_and_rankers_and_beliefs_share_no_users():
    for make in (gems_recipe, belief_recipe):
        one, other = make(WORLD, seed=1), make(WORLD, seed=2)
        assert (one.seed, other.seed) == (1, 2)
        assert other.log_seed == one.log_seed + 1
    ranker, belief = gems_recipe(WORLD), belief_recipe(WORLD, seed=RANKER_LOGS - 1)
    assert belief.log_seed < ranker.log_seed
    logs = [set(user_seeds("logging", one.log_seed, one.sessions)) for one in (ranker, belief)]
    assert not logs[0] & logs[1]


def test_five_artefacts_for_each_world():
    recipes = shipped_recipes([WORLD, "diffuse_mix"])
    assert set(recipes) == {
        f"{family}-{world}"
        for family in ("gems", "gems_published", "topk", "gru", "mf")
        for world in (WORLD, "diffuse_mix")
    }
    published = recipes[f"gems_published-{WORLD}"]
    assert published == dataclasses.replace(gems_recipe(WORLD, "published"), kind="ranker/gems_decoder")
    assert recipes[f"gems-{WORLD}"] == gems_recipe(WORLD)


def test_the_seeds_decide_the_result():
    recipe = gems_recipe(WORLD, "published")
    one, again = followed(recipe), followed(recipe)
    assert all(np.array_equal(one.tensors[name], again.tensors[name]) for name in one.tensors)
    for change in ({"seed": 5}, {"log_seed": 5}):
        other = followed(recipe, **change)
        assert not np.array_equal(one.tensors["decoder.0.weight"], other.tensors["decoder.0.weight"])


def test_a_decoder_is_the_ranker_without_its_encoder():
    recipe = gems_recipe(WORLD, "published")
    whole, decoder = followed(recipe), followed(recipe, kind="ranker/gems_decoder")
    assert set(whole.tensors) - set(decoder.tensors) == {name for name in whole.tensors if "encoder" in name}
    assert all(np.array_equal(decoder.tensors[name], whole.tensors[name]) for name in decoder.tensors)
    assert decoder.header == whole.header
    assert not decoder.deduplicate


@pytest.mark.parametrize("sizes", [(7, 5), (16, 32)])
def test_hidden_sizes_are_the_networks(sizes):
    recipe = gems_recipe(WORLD, "published")
    tensors = followed(
        dataclasses.replace(recipe, settings=recipe.settings | {"hidden_sizes": sizes})
    ).tensors
    first, second = sizes
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes["encoder.0.weight"] == (first, 10 * 20 + 10)
    assert shapes["encoder.2.weight"] == (second, first)
    assert shapes["encoder.4.weight"] == (64, second)
    assert shapes["decoder.0.weight"] == (second, 32)  # in the other order
    assert shapes["decoder.2.weight"] == (first, second)
    assert shapes["decoder.4.weight"] == (200, first)
    assert shapes["click_head.weight"] == (10, first)


def test_what_can_not_be_followed_is_told():
    recipe = gems_recipe(WORLD)
    with pytest.raises(ValueError, match="unknown kind of a recipe 'ranker/gms'.*'ranker/gems'"):
        followed(recipe, kind="ranker/gms")
    settings = recipe.settings | {"beta": -1}
    published = dataclasses.replace(gems_recipe(WORLD, "published"), settings=settings)
    with pytest.raises(ValueError, match="beta must be a finite number"):
        followed(published)
