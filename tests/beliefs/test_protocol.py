"""What every belief does: ours, one whose state is no array, and broken ones that the check finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym import plugins
from gems_gym.artifacts import ArtifactError, save_artifact
from gems_gym.beliefs import (
    GruBelief,
    LastObservation,
    LstmBelief,
    NoBelief,
    TransformerBelief,
    load_belief,
)
from gems_gym.beliefs.base import updated_where_shown
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import GemsRanker
from gems_gym.testing import check_belief
from gems_gym.wrappers import BeliefObservation, VectorBeliefObservation

WORLD: dict[str, Any] = {"num_items": 40, "slate_size": 3, "num_topics": 4, "episode_length": 4}
ENV = "GemsSlate-diffuse_topdown-v0"
SIZES: dict[str, Any] = {"num_items": 40, "slate_size": 3}


def catalog_hash() -> str:
    return str(gymnasium.make(ENV, **WORLD).unwrapped.catalog.hash)  # type: ignore[attr-defined]


class Stack(LastObservation):
    """The mean of the clicks in each slot over the last three slates: its state is a dict."""

    kind = "belief/stack"

    @property
    def size(self) -> int:
        return self.slate_size

    def initial(self, num_users: int) -> dict[str, np.ndarray]:  # type: ignore[override]
        return {
            "clicks": np.zeros((num_users, 3, self.slate_size), np.float32),
            "count": np.zeros(num_users, np.int64),
        }

    def update(self, state: Any, slates: Any, clicks: Any) -> dict[str, np.ndarray]:  # type: ignore[override]
        stacked = np.concatenate([state["clicks"][:, 1:], clicks[:, None].astype(np.float32)], axis=1)
        return {"clicks": stacked, "count": state["count"] + 1}

    def read(self, state: Any) -> np.ndarray:
        return state["clicks"].sum(1) / np.minimum(np.maximum(state["count"], 1), 3)[:, None].astype(
            np.float32
        )


OURS = {
    "gru": lambda: GruBelief.random(**SIZES, catalog_hash="x", seed=0),
    "transformer": lambda: TransformerBelief.random(**SIZES, catalog_hash="x", seed=0, context=4),
    "lstm": lambda: LstmBelief.random(**SIZES, catalog_hash="x", seed=0),
    "none": lambda: NoBelief(**SIZES, catalog_hash="x"),
    "last_observation": lambda: LastObservation(**SIZES, catalog_hash="x"),
}


def test_every_belief_is_among_them() -> None:
    ours = {one.name for one in plugins.describe(plugins.BELIEFS) if one.distribution == "gems-gym"}
    assert set(OURS) == ours


@pytest.mark.parametrize("name", OURS)
def test_ours_pass_the_check(name: str) -> None:
    check_belief(OURS[name]())


@pytest.mark.parametrize(("name", "expected"), [("none", [0]), ("last_observation", [0, -1, 1, 0, 1, 0])])
def test_beliefs_without_weights_know_slots_of_a_log_that_show_nothing(
    name: str, expected: list[int]
) -> None:
    belief = OURS[name]()
    found = belief.update(belief.initial(1), np.array([[-1, 0, 39]]), np.array([[0, 1, 0]]))
    assert found.tolist() == [expected]


def broken(**methods: Any) -> LastObservation:
    return type("Broken", (LastObservation,), methods)(**SIZES, catalog_hash="x")


def _writing(self: Any, state: Any, slates: Any, clicks: Any) -> Any:
    state += 0.25
    return state


BROKEN = {
    "writes into the slates": {"update": lambda self, state, slates, clicks: state + (slates.fill(0) is not None)},
    "writes into the state": {"update": _writing, "read": lambda self, state: np.clip(state, -1, 1).copy()},
    "float32": {"read": lambda self, state: state.astype(np.float64)},
    "in \\[-1, 1\\]": {"read": lambda self, state: state * 3},
    "gives another belief": {
        "read": lambda self, state: np.random.default_rng().uniform(-1, 1, state.shape).astype(np.float32)
    },
    "depends on who is updated": {"read": lambda self, state: np.broadcast_to(state.mean(0), state.shape)},
    "out of its file": {"read": lambda self, state: np.abs(state)},
}  # fmt: skip


@pytest.mark.parametrize("words", BROKEN)
def test_the_check_finds_a_broken_one(words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_belief(broken(**BROKEN[words]))


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
@pytest.mark.parametrize("kind", [Stack, LastObservation])
def test_many_users_have_the_beliefs_of_single_ones(kind: type[LastObservation], mode: str) -> None:
    """Through the end of a session and into the next one, whatever the state is."""
    belief = kind(**SIZES, catalog_hash=catalog_hash())
    users = VectorBeliefObservation(
        gymnasium.make_vec(
            ENV, num_envs=2, autoreset_mode=gymnasium.vector.AutoresetMode(mode_name(mode)), **WORLD
        ),
        belief,
    )
    alone = BeliefObservation(gymnasium.make(ENV, **WORLD), belief)
    seen, _ = users.reset(seed=[5, 6])
    expected, _ = alone.reset(seed=6)
    np.testing.assert_array_equal(seen[1], expected)
    rng = np.random.default_rng(0)
    for step in range(WORLD["episode_length"]):
        slates = np.stack([rng.permutation(40)[:3] for _ in range(2)])
        seen, _, _, _, infos = users.step(slates)
        expected = alone.step(slates[1])[0]
        ended = step == WORLD["episode_length"] - 1
        found = infos["final_obs"][1] if ended and mode == "same_step" else seen[1]
        np.testing.assert_array_equal(found, expected)
    if mode == "next_step":
        seen = users.step(slates)[0]
    if mode == "disabled":
        seen, _ = users.reset(seed=[5, 7], options={"reset_mask": np.array([False, True])})
        expected, _ = alone.reset(seed=7)
    else:
        expected, _ = alone.reset()
    np.testing.assert_array_equal(seen[1], expected)


def mode_name(mode: str) -> str:
    return {"same_step": "SameStep", "next_step": "NextStep", "disabled": "Disabled"}[mode]


def test_a_belief_without_read_is_refused() -> None:
    old = broken(read=None)
    with pytest.raises(TypeError, match=r"has no read\(\); a belief encoder was expected"):
        BeliefObservation(gymnasium.make(ENV, **WORLD), old)


def test_what_is_wrong_with_an_observation_is_said() -> None:
    belief = OURS["last_observation"]()
    state, slates, clicks = belief.initial(2), np.zeros((2, 3), np.int64), np.zeros((2, 3), np.int64)
    for changed, words in (
        ({"slates": slates + 40}, r"slates must hold -1 … 39, got 40 … 40"),
        ({"clicks": clicks + 2}, r"clicks must hold 0 … 1, got 2 … 2"),
        ({"slates": slates[:, :2]}, r"slates has shape \(2, 2\)"),
        ({"clicks": clicks * 0.5}, r"clicks has shape \(2, 3\) and dtype float64"),
    ):
        with pytest.raises(ValueError, match=words):
            belief.update(state, **{"slates": slates, "clicks": clicks, **changed})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    save_artifact(file, "belief/none", {}, {"catalog_hash": "x", "sizes": {"num_items": 40}})
    with pytest.raises(ArtifactError, match="bad.safetensors is not a usable belief/none: .*slate_size"):
        load_belief(file)


@pytest.mark.parametrize("kind", ["none", "last_observation"])
def test_from_the_command_to_the_users(kind: str, program: Any, tmp_path: Path) -> None:
    given = [f"--env-option={name}={value}" for name, value in WORLD.items()]
    file = tmp_path / "b.safetensors"
    code, out, err = program(
        "pretrain", "belief", "--env", ENV, *given, "--kind", kind, "--out", file, "--json"
    )
    assert code == 0, err
    belief = load_belief(file)
    assert json.loads(out)["sha256"] == belief.sha256
    ranker = GemsRanker.random(**SIZES, catalog_hash=belief.catalog_hash, seed=0, latent_size=5)
    users = LatentWorld(gymnasium.spec(ENV), ranker, belief).users(4, **WORLD)
    seen, _ = users.reset(seed=0)
    assert seen.shape == (4, belief.size)
    assert users.step(users.action_space.sample())[0] in users.observation_space
    code, _, err = program(
        "pretrain",
        "belief",
        "--env",
        ENV,
        "--kind",
        kind,
        "--out",
        tmp_path / "c.safetensors",
        "--batches",
        5,
    )
    assert code == 2 and f"goes with a kind that is trained, and {kind} is not" in " ".join(err.split())


@pytest.mark.parametrize(("dtype", "num_items"), [(np.uint8, 200), (np.int16, 20_000)])
def test_the_last_observation_of_narrow_ids_is_in_the_box(dtype: Any, num_items: int) -> None:
    belief = LastObservation(num_items=num_items, slate_size=2, catalog_hash="x")
    slates = np.array([[0, num_items - 1]], dtype)
    found = belief.read(belief.update(belief.initial(1), slates, np.zeros((1, 2), np.int8)))
    assert found[0, :2].tolist() == [-1.0, 1.0]


class OnlyItems(Stack):
    """Knows no slot that shows nothing."""

    def update(self, state: Any, slates: np.ndarray, clicks: np.ndarray) -> Any:
        assert (slates >= 0).all()
        return super().update(state, slates, clicks)


def test_users_who_were_shown_nothing_are_not_updated() -> None:
    belief = OnlyItems(**SIZES, catalog_hash="none")
    slates, clicks = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1]])
    state = updated_where_shown(belief, belief.initial(3), slates, clicks)
    before = belief.read(state).copy()
    later = updated_where_shown(belief, state, np.array([[3, 2, 1], [-1] * 3, [6, 5, 4]]), clicks[::-1])
    whole = belief.update(state, slates, clicks[::-1])
    np.testing.assert_array_equal(belief.read(later)[[0, 2]], belief.read(whole)[[0, 2]])
    np.testing.assert_array_equal(belief.read(later)[1], before[1])
    np.testing.assert_array_equal(belief.read(state), before)
    nobody = updated_where_shown(belief, state, np.full((3, 3), -1), np.zeros((3, 3), np.int64))
    np.testing.assert_array_equal(belief.read(nobody), before)
