"""gems_gym.pretraining.click_prediction: learns what beliefs tell about clicks, and nothing else changes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gems_gym.pretraining.click_prediction import (  # noqa: E402
    ClickProbe,
    auc,
)

ITEMS, SLOTS = 30, 4


def sessions(seed: int, count: int = 3_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beliefs name the one of three groups of items that is clicked, in two numbers out of three."""
    rng = np.random.default_rng(seed)
    likes = rng.integers(0, 3, (count, 1))
    slates = rng.integers(0, ITEMS, (count, SLOTS))
    clicks = (slates // 10 == likes) & (rng.random(slates.shape) < 0.8)
    return np.eye(3, dtype=np.float32)[likes[:, 0]], slates.astype(np.int32), clicks.astype(np.uint8)


def trained(
    beliefs: np.ndarray, slates: np.ndarray, clicks: np.ndarray, seed: int = 0, batches: int = 300
) -> ClickProbe:
    items = np.eye(3)[np.arange(ITEMS) // 10]
    probe = ClickProbe(items, beliefs.shape[1], SLOTS, seed)
    probe.fit(beliefs, slates, clicks, batches)
    return probe


def test_it_learns_what_the_beliefs_tell() -> None:
    beliefs, slates, clicks = sessions(1)
    before = torch.random.get_rng_state()
    told = trained(*sessions(0)).predict(beliefs, slates)
    untold = trained(np.zeros_like(beliefs), *sessions(0)[1:]).predict(np.zeros_like(beliefs), slates)
    assert torch.equal(before, torch.random.get_rng_state())
    assert told.shape == slates.shape
    assert told[clicks == 1].mean() == pytest.approx(0.8, abs=0.05)
    assert told[slates // 10 != beliefs.argmax(axis=1)[:, None]].mean() < 0.05
    assert auc(told, clicks) > 0.9 > 0.6 > auc(untold, clicks)


def test_seeds() -> None:
    beliefs, slates, _ = sessions(1, 50)
    first, again, other = (
        trained(*sessions(0), seed=seed, batches=5).predict(beliefs, slates) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
