"""gems_gym.pretraining.belief_report: a belief that counts clicks by topic knows boredom, a random one does not."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from gems_gym.beliefs import BeliefEncoder, GruBelief
from gems_gym.envs import SlateEnv
from gems_gym.pretraining.belief import BELIEF_PRESETS
from gems_gym.pretraining.belief_report import RECENT_CLICKS, compare_beliefs

WORLD: dict[str, Any] = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 40}


class Counts:
    """Counts the clicks on each topic, older ones less and less."""

    kind, size, num_items, slate_size, sha256 = "belief/counts", 5, 60, 5, None

    def __init__(self, topics: np.ndarray, catalog_hash: str) -> None:
        self.topics, self.catalog_hash = np.eye(5)[topics], catalog_hash

    def initial(self, num_users: int) -> np.ndarray:
        return np.zeros((num_users, 5), np.float32)

    def update(self, belief: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        clicked = (self.topics[slates] * clicks[..., None]).sum(axis=1)
        return (0.8 * belief + 0.02 * clicked).astype(np.float32)

    def read(self, state: np.ndarray) -> np.ndarray:
        return state

    def save(self, path: object) -> str:
        raise NotImplementedError


@pytest.fixture(scope="module")
def world() -> SlateEnv:
    return SlateEnv(**WORLD)


@pytest.fixture(scope="module")
def rows(world: SlateEnv) -> dict[str, dict[str, Any]]:
    return compare_beliefs(beliefs(world), world.config, world.catalog, sessions=160, progress=False)


def beliefs(world: SlateEnv) -> dict[str, BeliefEncoder]:
    random = GruBelief.random(num_items=60, slate_size=5, catalog_hash=world.catalog.hash, seed=0)
    return {"counts": Counts(world.catalog.item_topics, world.catalog.hash), "random": random}


@pytest.mark.slow
def test_boredom_is_read_off_what_holds_it(rows: dict[str, dict[str, Any]]) -> None:
    assert list(rows) == ["counts", "random", RECENT_CLICKS]
    assert [row["size"] for row in rows.values()] == [5, 20, 5]
    assert rows[RECENT_CLICKS]["boredom_auc"] > rows["counts"]["boredom_auc"] > 0.85
    assert rows["random"]["boredom_auc"] < rows["counts"]["boredom_auc"] - 0.1
    for row in rows.values():
        by_topic = [value for value in row["boredom_auc_by_topic"] if value is not None]
        assert len(row["boredom_auc_by_topic"]) == 5
        assert row["boredom_auc"] == pytest.approx(np.mean(by_topic))


@pytest.mark.slow
def test_clicks_lie_between_the_base_rate_and_the_truth(rows: dict[str, dict[str, Any]]) -> None:
    counts, random = (rows[name]["clicks"] for name in ("counts", "random"))
    assert set(counts) == {"all", *BELIEF_PRESETS["default"].shares}
    assert counts["all"]["sessions"] == 80
    assert counts["all"]["log_loss_truth"] < counts["all"]["log_loss"] < counts["all"]["log_loss_base"]
    assert counts["all"]["auc_truth"] > counts["all"]["auc"] > random["all"]["auc"]
    for policy in BELIEF_PRESETS["default"].shares:  # the same sessions for both
        assert counts[policy]["log_loss_truth"] == random[policy]["log_loss_truth"]


def test_what_does_not_fit_is_refused_before_any_work(world: SlateEnv) -> None:
    def compare(sessions: int, **given: BeliefEncoder) -> None:
        compare_beliefs(given, world.config, world.catalog, sessions=sessions, progress=False)

    with pytest.raises(ValueError, match="other is for slates of 5 items of the catalogue else, not 5 of"):
        compare(100, other=Counts(world.catalog.item_topics, "else"))
    with pytest.raises(ValueError, match="sessions must be ≥ 16, so that each policy logs two; got 15"):
        compare(15, **beliefs(world))
    with pytest.raises(ValueError, match="seed must be an integer from 0 to 524287, got -1"):
        compare_beliefs(beliefs(world), world.config, world.catalog, seed=-1, progress=False)
