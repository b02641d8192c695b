"""Every parameter of a world: what it does, worked out by hand, and that it does something at all."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym import SlateConfig
from gems_gym.envs import SlateEnv
from gems_gym.simulator import SlateSimulator, resolve_world
from tests.simulator.pure_worlds import EVENLY, click_probabilities, replay

# --- sizes -----------------------------------------------------------------------------------------------------


def test_num_items_and_slate_size():
    env = SlateEnv(num_items=37, slate_size=4)
    assert env.catalog.item_embeddings.shape == (37, 20)
    assert env.action_space.nvec.tolist() == [37] * 4
    assert env.observation_space["clicks"].shape == (4,)
    observation, info = env.reset(seed=0)
    assert observation["slate"].shape == info["scores"].shape == (4,)
    with pytest.raises(ValueError, match=r"\[0, 37\), got 37"):
        env.step(np.array([0, 1, 2, 37]))


def test_a_slate_may_hold_the_whole_catalogue():
    env = SlateEnv(num_items=4, slate_size=4, rel_threshold=-10.0, click_propensity=1.0)
    env.reset(seed=0)
    assert env.step(np.arange(4))[1] == 4.0


def test_num_topics_and_topic_size():
    env = SlateEnv(num_topics=3, topic_size=4)
    _, info = env.reset(seed=0)
    assert env.catalog.item_embeddings.shape == (1000, 12)
    assert info["user_state"].shape == (12,)
    assert info["bored"].shape == (3,)
    assert set(env.catalog.item_topics) == {0, 1, 2}
    items = np.array([[0.6, 0.0, 0.5, 0.5], [0.0, 0.6, 0.4, 0.4]])
    two_by_two, one_by_four = (
        resolve_world(SlateConfig(slate_size=1, num_topics=t, topic_size=4 // t), items)[1] for t in (2, 4)
    )
    assert two_by_two.item_topics.tolist() == [1, 0]  # √0.5 > 0.6 > √0.32
    assert one_by_four.item_topics.tolist() == [0, 1]


def test_one_topic_one_position_one_step():
    env = SlateEnv(num_topics=1, slate_size=1, episode_length=1, rel_threshold=-10.0, boredom_threshold=1)
    observation, info = env.reset(seed=0)
    assert observation["clicks"].tolist() == [1]
    _, reward, _, truncated, info = env.step(np.array([5]))
    assert truncated
    assert info["bored"].tolist() == [True]  # of the only topic, by the first slate's click
    assert info["scores"].tolist() == [0.0]
    assert reward == 1.0  # relevance is 1 above −10 even so


@pytest.mark.parametrize("length", [1, 2, 150])
def test_episode_length(length):
    env = SlateEnv(episode_length=length)
    env.reset(seed=0)
    ends = [env.step(np.arange(10))[3] for _ in range(length)]
    assert ends == [False] * (length - 1) + [True]


# --- first slate -----------------------------------------------------------------------------------------------


STANDING_OUT = np.zeros((9, 3), np.float32)  # items 0, 3, 6 of topic 0, best first; 1, 4, 7 of topic 1; …
for _item in range(9):
    STANDING_OUT[_item, _item % 3] = 1.0 - 0.1 * (_item // 3)


@pytest.mark.parametrize(
    ("slate_size", "first_slate"),
    [
        (1, [0]),  # T > S: the best of topics 0, 1, …, S − 1
        (2, [0, 1]),
        (3, [0, 1, 2]),
        (6, [0, 3, 1, 4, 2, 5]),  # T < S: the S // T best of every topic, topic by topic
        (9, [0, 3, 6, 1, 4, 7, 2, 5, 8]),
        (4, [0, 1, 2, 3]),  # and what that leaves over: the next best of topics 0, 1, …
        (8, [0, 3, 1, 4, 2, 5, 6, 7]),
    ],
)
def test_the_first_slate(slate_size, first_slate):
    session = replay(np.zeros((1, slate_size), int), np.zeros((1, slate_size)), items=STANDING_OUT)
    assert session["first_slate"].tolist() == first_slate


def test_the_first_slate_moves_nobody_and_bores_nobody():
    session = replay([[2, 2]], [[0, 0]], first_clicks=[1, 1], short_term_boost=3.0)
    np.testing.assert_allclose(session["user_after"][0], EVENLY, atol=1e-7)
    np.testing.assert_allclose(session["first_click_prob"], [1, 0.85])
    assert not session["bored"].any()


@pytest.mark.parametrize(
    ("first_clicks", "topic"), [([1, 0, 0], 0), ([1, 0, 1], 2), ([0, 1, 0], 1), ([0, 0, 0], 7)]
)
def test_the_short_term_topic_is_that_of_the_last_click_on_the_first_slate(first_clicks, topic):
    session = replay(
        [[0, 0, 0]], [[0, 0, 0]], first_clicks=first_clicks, topic=7, num_topics=8,
        items=np.eye(8, dtype=np.float32), user=np.full(8, 1 / 8),
    )  # fmt: skip
    assert session["short_term_topic"].tolist() == [topic]


# --- clicks ----------------------------------------------------------------------------------------------------


def test_click_model_and_click_propensity():
    slate = [0, 1, 2]
    top_down, mixed = (
        click_probabilities(slate, click_model=model, click_propensity=0.5) for model in ("tdPBM", "mixPBM")
    )
    assert top_down.tolist() == [1, 0.5, 0.25]
    assert mixed.tolist() == [0.625, 0.5, 0.625]
    assert click_probabilities(slate, click_propensity=0.0).tolist() == [1, 0, 0]
    assert click_probabilities(slate, click_propensity=1.0).tolist() == [1, 1, 1]


def test_alpha():
    assert click_probabilities([0, 1], click_propensity=0.5, alpha=0.5).tolist() == [0.5, 0.25]
    assert click_probabilities([0, 1], alpha=0.0).tolist() == [0, 0]
    # relevances of ½ may be doubled where positions leave room for it
    logistic = {"rel_threshold": None, "relevance_slope": 0.0, "propensities": [0.5, 0.25]}
    assert click_probabilities([0, 1], alpha=2.0, **logistic).tolist() == [0.5, 0.25]


def test_relevance_offset_and_slope():
    user = np.array([0.5, 0.3, 0.2])
    overrides = {"rel_threshold": None, "click_propensity": 1.0, "user": user}
    expected = 1 / (1 + np.exp(-(user - 0.3) * 10))
    got = click_probabilities([0, 1, 2], relevance_offset=0.3, relevance_slope=10.0, **overrides)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert got[1] == 0.5
    falling = click_probabilities([0, 1, 2], relevance_offset=0.3, relevance_slope=-10.0, **overrides)
    np.testing.assert_allclose(falling, 1 - expected, rtol=1e-6)
    flat = click_probabilities([0, 1, 2], relevance_slope=0.0, **overrides)
    assert flat.tolist() == [0.5] * 3
    steep = click_probabilities([0, 1, 2], relevance_offset=0.25, relevance_slope=1e300, **overrides)
    assert steep.tolist() == [1, 1, 0]


def test_scores_are_divided_by_the_largest_norm():
    items = np.array([[4.0, 0, 0], [0, 2, 0], [0, 0, 1]])
    session = replay([[0, 1, 2]], [[0, 0, 0]], items=items, user=np.array([0.5, 0.25, 0.25]))
    assert session["scores"][0].tolist() == [0.5, 0.125, 0.0625]


def test_rel_threshold_must_be_exceeded():
    user = np.array([0.5, 0.25, 0.25])
    overrides = {"user": user, "click_propensity": 1.0}
    assert click_probabilities([0, 1, 2], rel_threshold=0.25, **overrides).tolist() == [1, 0, 0]
    assert click_probabilities([0, 1, 2], rel_threshold=0.2499, **overrides).tolist() == [1, 1, 1]
    assert click_probabilities([0, 1, 2], rel_threshold=0.5, **overrides).tolist() == [0, 0, 0]


def test_prop_threshold_must_be_exceeded():
    slate = [0, 1, 2]
    assert click_probabilities(slate, click_propensity=0.5, prop_threshold=0.5).tolist() == [1, 0, 0]
    assert click_probabilities(slate, click_propensity=0.5, prop_threshold=0.49).tolist() == [1, 1, 0]
    assert click_probabilities(slate, prop_threshold=1.0).tolist() == [0, 0, 0]
    assert click_probabilities(slate, prop_threshold=-1.0).tolist() == [1, 1, 1]
    assert click_probabilities(slate, propensities=[0.1, 0.9, 0.2], prop_threshold=0.15).tolist() == [0, 1, 1]


@pytest.mark.parametrize("click_model", ["tdPBM", "mixPBM"])
def test_propensities_override_the_click_model(click_model):
    got = click_probabilities([0, 1, 2], propensities=[0.25, 0.0, 1.0], click_model=click_model)
    assert got.tolist() == [0.25, 0, 1]


@pytest.mark.parametrize(
    ("slate", "monotonous"),
    [([0, 1, 2, 0], False), ([0, 1, 0, 3], True), ([0, 0, 0, 0], True), ([2, 5, 2, 1], True)],
)
def test_diversity_threshold_counts_items_of_one_topic(slate, monotonous):
    got = click_probabilities(slate, diversity_threshold=3, diversity_penalty=4.0, click_propensity=1.0)
    assert got.tolist() == [0.25 if monotonous else 1.0] * 4


def test_diversity_penalty():
    always = {"diversity_threshold": 1, "click_propensity": 0.5}
    assert click_probabilities([0, 1], diversity_penalty=8.0, **always).tolist() == [0.125, 0.0625]
    assert click_probabilities([0, 1], diversity_penalty=0.5, alpha=0.25, **always).tolist() == [0.5, 0.25]
    assert click_probabilities([0, 0], diversity_penalty=8.0, diversity_threshold=3).tolist()[0] == 1.0
    first = replay([[0, 1]], [[0, 0]], diversity_penalty=8.0, **always)["first_click_prob"]
    assert first.tolist() == [0.125, 0.0625]  # the first slate is penalised like any other


@pytest.mark.parametrize("click_only_once", [False, True])
def test_click_only_once(click_only_once):
    session = replay(
        [[0, 4], [4, 4], [4, 3]], [[0, 1], [0, 0], [0, 0]], first_clicks=[1, 0], click_propensity=1.0,
        click_only_once=click_only_once,
    )  # fmt: skip
    once = 0.0 if click_only_once else 1.0
    # item 0 was clicked on the first slate, item 4 in step 1: not irrelevant in the very slate it is clicked on
    assert session["click_prob"].tolist() == [[once, 1], [once, once], [once, 1]]
    assert (session["scores"] > 0).all()  # the score shown is the item's own
    assert (0 in session["oracle_slate"][0]) != click_only_once


def test_click_only_once_forgets_at_the_next_session():
    env = SlateEnv(rel_threshold=-10.0, click_propensity=1.0, click_only_once=True, boredom_threshold=99)
    slate = np.arange(10)
    for _ in range(2):
        first = env.reset(seed=3)[0]
        assert first["clicks"].sum() == 10
        fresh = [item not in first["slate"] for item in slate]
        assert env.step(slate)[0]["clicks"].tolist() == fresh
        assert env.step(slate)[1] == 0


# --- catalogue and users ---------------------------------------------------------------------------------------


def top_topic_share(catalog):
    """Mean share that the largest block has of the sum of an item's block norms."""
    return (catalog.block_norms.max(axis=1) / catalog.block_norms.sum(axis=1)).mean()


def test_catalog_and_catalog_seed():
    worlds = {
        (catalog, seed): resolve_world(SlateConfig(catalog=catalog, catalog_seed=seed))[1]
        for catalog in ("diffuse", "focused")
        for seed in (2023, 7)
    }
    assert len({world.hash for world in worlds.values()}) == 4
    for (catalog, _), world in worlds.items():
        assert top_topic_share(world) == pytest.approx(
            {"diffuse": 0.256, "focused": 0.337}[catalog], abs=0.006
        )
        np.testing.assert_allclose(np.linalg.norm(world.item_embeddings, axis=1), 1, atol=1e-6)
        assert (world.item_embeddings >= 0).all()
        assert world.max_score == pytest.approx(1, abs=1e-6)


def test_users_are_drawn_as_the_specification_says():
    """Against draws of the specification's formula, by the mean of the largest block and of a single number."""
    count, rng = 4000, np.random.default_rng(0)
    simulator = SlateSimulator(*resolve_world("diffuse_topdown"), num_users=count)
    simulator.open_sessions([np.random.default_rng(seed) for seed in range(count)])
    blocks = np.abs(np.clip(0.4 * rng.standard_normal((count, 10, 2)), -1, 1))
    weights = rng.random((count, 10)) ** 3
    blocks *= (weights / weights.sum(axis=1, keepdims=True))[:, :, None]
    blocks /= np.linalg.norm(blocks, axis=2).sum(axis=1)[:, None, None]
    drawn = simulator.users.preference.reshape(count, 10, 2)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=2).sum(axis=1), 1, atol=1e-12)
    for quantile in (0.1, 0.5, 0.9):
        largest, expected = (
            np.quantile(np.linalg.norm(x, axis=2).max(axis=1), quantile) for x in (drawn, blocks)
        )
        assert largest == pytest.approx(expected, abs=0.02)
    assert np.quantile(drawn, 0.9) == pytest.approx(np.quantile(blocks, 0.9), rel=0.05)
    topics = np.bincount(simulator.users.short_term_topic, minlength=10) / count
    assert (topics > 0.04).all()


# --- all of them -----------------------------------------------------------------------------------------------

# field -> (another value than the default, what else the world needs for it to matter)
SOMETHING_ELSE: dict[str, tuple[Any, dict[str, Any]]] = {
    "catalog": ("focused", {}),
    "catalog_seed": (1, {}),
    "num_items": (900, {}),
    "slate_size": (9, {}),
    "num_topics": (9, {}),
    "topic_size": (3, {}),
    "episode_length": (99, {}),
    "click_model": ("mixPBM", {}),
    "click_propensity": (0.8, {}),
    "alpha": (0.9, {}),
    "relevance_offset": (0.3, {}),
    "relevance_slope": (50.0, {}),
    "rel_threshold": (0.2, {}),
    "prop_threshold": (0.5, {}),
    "propensities": ((1.0,) * 10, {}),
    "diversity_threshold": (11, {"diversity_penalty": 3.0}),
    "diversity_penalty": (3.0, {}),
    "omega": (0.8, {}),
    "short_term_boost": (2.0, {}),
    "boredom_threshold": (3, {}),
    "boredom_moving_window": (3, {}),
    "boredom_timeout": (2, {}),
    "recent_items_maxlen": (5, {}),
    "click_only_once": (True, {}),
    "leave_probability": (0.5, {}),
    "leave_after": (1, {"leave_probability": 0.5}),
    "dynamics_version": (1, {}),
}  # fmt: skip


def test_no_parameter_is_left_out():
    fields = {field.name for field in dataclasses.fields(SlateConfig)}
    assert set(SOMETHING_ELSE) == fields - {"dynamics"}, "other dynamics: tests/test_extending.py"


@pytest.mark.parametrize("name", SOMETHING_ELSE)
def test_every_keyword_of_make_changes_the_sessions(name):
    value, others = SOMETHING_ELSE[name]
    assert value != getattr(SlateConfig(), name)

    def play(**overrides):
        env = gymnasium.make("GemsSlate-diffuse_topdown-v0", **others, **overrides)
        shown = [env.reset(seed=1)[1]]
        terminated = truncated = False
        while not (terminated or truncated):
            _, _, terminated, truncated, info = env.step(env.unwrapped.short_term_oracle_slate())
            shown.append(info)
        return env.unwrapped.config, shown

    (config, shown), (other_config, others_shown) = play(), play(**{name: value})
    assert getattr(other_config, name) == value
    assert dataclasses.replace(other_config, **{name: getattr(config, name)}) == config
    same = len(shown) == len(others_shown) and all(
        np.array_equal(one[key], other[key])
        for one, other in zip(shown, others_shown, strict=True)
        for key in one
    )
    assert not same, f"{name} has no effect"
