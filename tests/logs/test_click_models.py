"""gems_gym.logs.click_models: known propensities, attractiveness and continuation are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gems_gym.artifacts import load_artifact
from gems_gym.config import SlateConfig
from gems_gym.logs.click_models import Cascade, PositionBased, comparable_positions
from gems_gym.logs.sessions import LoggedSessions

ITEMS, SLOTS = 20, 5
PROPENSITIES = np.array([1.0, 0.7, 0.5, 0.3, 0.2])
ATTRACTIVENESS = np.linspace(0.05, 0.6, ITEMS)


def sessions(clicks: NDArray[np.bool_], slates: NDArray[np.int32]) -> LoggedSessions:
    """Sessions of one slate each."""
    starts = np.arange(len(slates) + 1)
    return LoggedSessions(
        slates, clicks.astype(np.int8), ITEMS, starts, "ca" * 32, np.ones(len(slates), np.bool_)
    )


def random_slates(rng: np.random.Generator, count: int) -> NDArray[np.int32]:
    """Of two to five items."""
    slates = rng.integers(0, ITEMS, (count, SLOTS), dtype=np.int32)
    slates[np.arange(SLOTS) >= rng.integers(2, SLOTS + 1, (count, 1))] = -1
    return slates


def by_position(seed: int, count: int) -> LoggedSessions:
    rng = np.random.default_rng(seed)
    slates = random_slates(rng, count)
    likely = np.where(slates >= 0, PROPENSITIES * ATTRACTIVENESS[slates], 0)
    return sessions(rng.random(slates.shape) < likely, slates)


def from_the_top(seed: int, count: int, continuation: float) -> LoggedSessions:
    rng = np.random.default_rng(seed)
    slates = random_slates(rng, count)
    attracted = rng.random(slates.shape) < np.where(slates >= 0, ATTRACTIVENESS[slates], 0)
    clicks, reads = np.zeros_like(attracted), np.ones(count, np.bool_)
    for slot in range(SLOTS):
        clicks[:, slot] = reads & attracted[:, slot]
        reads &= ~clicks[:, slot] | (rng.random(count) < continuation)
    return sessions(clicks, slates)


def log_loss(model: PositionBased | Cascade, log: LoggedSessions) -> float:
    return float(model.losses(log).sum() / log.shown.sum())


def test_position_based() -> None:
    log, later = by_position(0, 30_000), by_position(1, 10_000)
    model = PositionBased.fit(log)
    np.testing.assert_allclose(model.propensities, PROPENSITIES, atol=0.04)
    np.testing.assert_allclose(model.attractiveness, ATTRACTIVENESS, atol=0.04)
    truth = log_loss(PositionBased(PROPENSITIES, ATTRACTIVENESS), later)
    others = [PositionBased.of_positions(log), PositionBased.of_clicks(log), Cascade.fit(log)]
    assert abs(log_loss(model, later) - truth) < 0.001 < min(log_loss(one, later) for one in others) - truth


@pytest.mark.parametrize("continuation", [0.0, 0.4])
def test_cascade(continuation: float) -> None:
    log, later = from_the_top(0, 20_000, continuation), from_the_top(1, 10_000, continuation)
    model = Cascade.fit(log)
    assert model.continuation == pytest.approx(continuation, abs=0.02)
    np.testing.assert_allclose(model.attractiveness, ATTRACTIVENESS, atol=0.04)
    truth = log_loss(Cascade(max(continuation, 1e-9), ATTRACTIVENESS), later)
    assert abs(log_loss(model, later) - truth) < 0.001 < log_loss(PositionBased.fit(log), later) - truth


def test_likelihoods_of_all_clicks_on_a_slate_sum_to_one() -> None:
    clicks = np.array(list(np.ndindex(2, 2, 2)), np.bool_)
    slates = np.tile(np.array([3, 7, -1, 9], np.int32), (8, 1))  # the third slot showed nothing
    log = sessions(np.insert(clicks, 2, False, axis=1), slates)
    for model in (Cascade(0.3, ATTRACTIVENESS), PositionBased(PROPENSITIES[:4], ATTRACTIVENESS)):
        assert np.exp(-model.losses(log)).sum() == pytest.approx(1)


def test_what_was_never_shown_is_average() -> None:
    slates = np.tile(np.array([[0, 1, -1]], np.int32), (200, 1))
    clicks = np.zeros((200, 3), np.bool_)
    clicks[:100, 0] = clicks[:50, 1] = True
    log = sessions(clicks, slates)
    for model in (PositionBased.fit(log), Cascade.fit(log)):
        never = model.attractiveness[2:]
        assert (never == never[0]).all() and 0 < never[0] < 1
        assert np.isfinite(model.losses(log)).all()
    assert comparable_positions(log) == [[0], [1]]  # each item has its own
    assert comparable_positions(by_position(0, 100)) == [[0, 1, 2, 3, 4]]


def test_propensities_are_a_worlds(tmp_path: Path) -> None:
    model = PositionBased.fit(by_position(0, 2_000))
    model.save(tmp_path / "pbm.safetensors", {"catalog_hash": "ca" * 32})
    stored = load_artifact(tmp_path / "pbm.safetensors", "click_model").tensors
    world = SlateConfig(
        num_items=ITEMS, slate_size=SLOTS, propensities=tuple(stored["propensities"].tolist())
    )
    np.testing.assert_array_equal(world.position_propensities(), model.propensities)
