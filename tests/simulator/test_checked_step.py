"""What is public of the simulator: a wrong argument is an error that names it, never a read out of bounds."""

from typing import Any

import numpy as np
import pytest

from gems_gym.config import SlateConfig
from gems_gym.simulator import SlateSimulator, resolve_world

CONFIG = SlateConfig(num_items=30, slate_size=4, num_topics=3, episode_length=3)
SLATES = np.arange(8).reshape(2, 4)


def opened(num_threads: int = 1) -> SlateSimulator:
    simulator = SlateSimulator(*resolve_world(CONFIG), num_users=2, num_threads=num_threads)
    simulator.open_sessions([np.random.default_rng(seed) for seed in range(2)])
    return simulator


def state(simulator: SlateSimulator) -> list[Any]:
    return [array.copy() for array in simulator.users]


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"which": [5]}, ValueError, r"which must hold rows in \[0, 2\), got 5"),
        ({"which": np.array([-1])}, ValueError, r"which must hold rows in \[0, 2\), got -1"),
        ({"which": np.array([0, 0])}, ValueError, "which must hold each user once, got 0 several times"),
        ({"which": np.array([[0, 1]])}, ValueError, r"which must have shape \(n,\), got \(1, 2\)"),
        (
            {"which": np.array([True, False])},
            TypeError,
            "which must hold rows of users, integers, got dtype bool",
        ),
        ({"which": np.array([0.0])}, TypeError, "which must hold rows of users"),
        (
            {"which": np.array([1])},
            ValueError,
            r"slates must hold item ids in the shape \(1, 4\), got shape \(2, 4\)",
        ),
        ({"slates": SLATES[:1]}, ValueError, r"slates must .* shape \(2, 4\), got shape \(1, 4\)"),
        ({"slates": SLATES[:, :3]}, ValueError, r"shape \(2, 4\), got shape \(2, 3\)"),
        ({"slates": SLATES.astype(float)}, TypeError, "slates must hold integer item ids, got dtype float64"),
        ({"slates": SLATES + 25}, ValueError, r"item ids in \[0, 30\), got 30"),
        ({"slates": SLATES - 1}, ValueError, r"item ids in \[0, 30\), got -1"),
        (
            {"uniforms": np.zeros((1, 1, 4), np.float32)},
            ValueError,
            r"uniforms must have shape \(2, steps, 4\)",
        ),
        (
            {"uniforms": np.zeros((2, 0, 4), np.float32)},
            ValueError,
            r"uniforms must have shape \(2, steps, 4\)",
        ),
        ({"uniforms": np.zeros((2, 1, 4))}, TypeError, "uniforms must be float32, got dtype float64"),
    ],
)
def test_a_wrong_step_changes_nothing(num_threads, arguments, error, words):
    simulator = opened(num_threads)
    before = state(simulator)
    with pytest.raises(error, match=words):
        simulator.step(**{"slates": SLATES, **arguments})
    for old, new in zip(before, state(simulator), strict=True):
        np.testing.assert_array_equal(old, new)


def test_lists_and_other_integers_are_slates():
    expected = opened().step(SLATES)
    for slates in (SLATES.tolist(), SLATES.astype(np.int32), np.asfortranarray(SLATES)):
        for found, right in zip(opened().step(slates), expected, strict=True):
            np.testing.assert_array_equal(found, right)


def test_rows_in_any_order_are_users():
    rows = np.array([1, 0])
    shown, expected = opened().step(SLATES[::-1], which=rows), opened().step(SLATES)
    np.testing.assert_array_equal(shown.clicks[::-1], expected.clicks)


def test_sessions_are_opened_before_they_are_stepped():
    simulator = SlateSimulator(*resolve_world(CONFIG), num_users=2)
    with pytest.raises(RuntimeError, match="step was called before open_sessions"):
        simulator.step(SLATES)
    simulator.open_sessions([np.random.default_rng(0)], np.array([1]))
    assert simulator.step(SLATES[:1], which=np.array([1])).slates.shape == (1, 4)
    with pytest.raises(RuntimeError, match="step was called before open_sessions"):
        simulator.step(SLATES)


def test_a_refused_opening_leaves_users_as_they_are():
    simulator = opened()
    size = simulator.config.embedding_size
    given = np.ones((2, size)), np.zeros((2, 1, 4), np.float32), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="first_slates must hold item ids"):
        simulator.open_given_sessions(*given, first_slates=SLATES + 30)
    for _ in range(3):
        simulator.step(SLATES)


def test_openings_are_checked():
    simulator, rng = opened(), np.random.default_rng(0)
    for arguments, error, words in [
        ({"rngs": [rng]}, ValueError, "rngs must hold a generator for each of 2 users, got 1"),
        ({"rngs": [1, 2]}, TypeError, "rngs must be a sequence of numpy Generators"),
        ({"rngs": [rng], "which": np.array([7])}, ValueError, r"which must hold rows in \[0, 2\), got 7"),
        (
            {"rngs": [rng] * 2, "first_slates": SLATES + 30},
            ValueError,
            r"first_slates must hold item ids in \[0, 30\)",
        ),
        ({"rngs": [rng] * 2, "preferences": np.ones((2, 5))}, ValueError, "preferences must have shape"),
        (
            {"rngs": [rng] * 2, "preferences": np.full((2, 6), np.nan)},
            ValueError,
            "preferences must hold finite",
        ),
    ]:
        with pytest.raises(error, match=words):
            simulator.open_sessions(**arguments)
    given = {
        "preferences": np.full((2, 6), 1 / 6), "uniforms": np.zeros((2, 1, 4), np.float32),
        "short_term_topics": np.zeros(2, np.int64),
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"short_term_topics must be 2 topics in \[0, 3\)"):
        simulator.open_given_sessions(**{**given, "short_term_topics": np.array([0, 3])})


def test_a_catalogue_of_another_world_is_refused():
    _, catalog = resolve_world(CONFIG.replace(num_items=20))
    with pytest.raises(ValueError, match=r"catalog has embeddings of shape \(20, 6\).*config says \(30, 6\)"):
        SlateSimulator(CONFIG, catalog, 2)


@pytest.mark.parametrize(
    "sizes",
    [{"num_items": 10**9}, {"num_items": 10**18, "slate_size": 10**18}, {"recent_items_maxlen": 10**15}],
)
def test_a_world_larger_than_memory_is_refused_before_it_is_made(sizes):
    with pytest.raises(
        ValueError, match=r"a world with num_items=.* takes at least .* GiB of memory; there are"
    ):
        SlateConfig(**{"topic_size": 1000, **sizes})
    with pytest.raises(ValueError, match=r"num_users=1000000000000000 takes at least"):
        SlateSimulator(*resolve_world(CONFIG), num_users=10**15)
