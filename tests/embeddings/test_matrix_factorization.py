"""gems_gym.embeddings.matrix_factorization: BPR finds who likes what, and stops by itself."""

import dataclasses

import numpy as np
import pytest

from gems_gym.embeddings import BprSettings, matrix_factorization_embeddings
from gems_gym.embeddings import matrix_factorization as module
from tests.embeddings.grouped_log import GROUPS, Log, grouped_log

LOG = grouped_log(num_slates=4000)
BRIEF = BprSettings(size=4)


def make(seed: int = 0, log: Log = LOG, **changes: object) -> np.ndarray:
    settings = dataclasses.replace(BRIEF, **changes)  # type: ignore[arg-type]
    return matrix_factorization_embeddings(log, 31, settings, seed=seed)


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_groups_are_found() -> None:
    vectors = make()
    assert vectors.shape == (31, 4) and vectors.dtype == np.float32
    assert np.mean(vectors**2) == pytest.approx(1, abs=1e-5)
    found, same = cosines(vectors)[:30, :30], GROUPS[:30, None] == GROUPS[:30]
    assert found[same].mean() > 0.9
    assert found[~same].mean() < 0.2


def test_seeds() -> None:
    np.testing.assert_array_equal(make(), make())
    assert not np.array_equal(make(), make(seed=1))


def test_only_who_clicked_what_counts() -> None:
    order = np.argsort(
        np.random.default_rng(0).random(LOG.slates.shape[1:]), axis=0
    )  # of the steps, slot by slot
    slates, clicks = (np.take_along_axis(array, order[None], axis=1) for array in (LOG.slates, LOG.clicks))
    np.testing.assert_array_equal(make(log=Log(slates, clicks)), make())
    np.testing.assert_array_equal(make(log=Log(np.where(clicks == 0, 30, slates), clicks)), make())


def test_negatives_are_what_the_session_did_not_click() -> None:
    codes = np.array([0, 1, 2, 4 * 1 + 3, 4 * 2, 4 * 2 + 1, 4 * 2 + 2, 4 * 2 + 3])  # of 4 items
    drawn = module._negatives(codes, np.zeros(50, np.int64), 4, 12345)
    assert set(drawn.tolist()) == {3}
    drawn = module._negatives(codes, np.full(600, 4), 4, 12345)  # session 1
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 600, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.07)
    assert len(module._negatives(codes, np.full(9, 8), 4, 12345)) == 9  # session 2 clicked all: no hang


def test_a_step_follows_the_gradient() -> None:
    rng = np.random.default_rng(0)
    sessions, items = rng.standard_normal((1, 3)), rng.standard_normal((2, 3))
    u, v, w = (row.copy() for row in (sessions[0], *items))
    codes = np.array([0])  # session 0 clicked item 0, so the negative is item 1
    sessions32, items32 = sessions.astype(np.float32), items.astype(np.float32)
    module._one_pass(codes, codes, sessions32, items32, np.float32(0.1), np.float32(0.5), 7)
    slope = 1 / (1 + np.exp(u @ (v - w)))
    np.testing.assert_allclose(sessions32[0], u + 0.1 * (slope * (v - w) - 0.5 * u), rtol=1e-5)
    np.testing.assert_allclose(items32[0], v + 0.1 * (slope * u - 0.5 * v), rtol=1e-5)
    np.testing.assert_allclose(items32[1], w + 0.1 * (-slope * u - 0.5 * w), rtol=1e-5)
    loss = module._loss(codes, np.array([1]), sessions32, items32)
    margin = sessions32[0] @ (items32[0] - items32[1])
    assert loss == pytest.approx(np.log1p(np.exp(-margin)), rel=1e-5)


def test_it_stops_after_checks_without_improvement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses fall twice, then rise: with patience 3 the sixth pass is the last one and the third the best."""
    losses = [3.0, 2.0, 1.0, 1.5, 1.2, 1.1, 0.5]
    seen: list[np.ndarray] = []

    def fake_loss(pairs, negatives, session_vectors, item_vectors):
        seen.append(item_vectors.copy())
        return losses[len(seen) - 1]

    monkeypatch.setattr(module, "_loss", fake_loss)
    made = make()
    assert len(seen) == 6
    np.testing.assert_array_equal(made, module.unit_scale(seen[2].astype(np.float64)))
    seen.clear()
    make(patience=1)
    assert len(seen) == 4
    seen.clear()
    make(max_passes=2)
    assert len(seen) == 2


def test_settings_have_effects() -> None:
    plain = make()
    for changes in ({"learning_rate": 0.01}, {"regularization": 0.1}, {"held_out": 0.3}, {"size": 5}):
        changed = make(**changes)
        assert changed.shape != plain.shape or not np.array_equal(changed, plain), changes


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 0}, "size must be an integer from 1 to 65536, got 0"),
        ({"patience": 0}, "patience must be an integer ≥ 1"),
        ({"max_passes": 0}, "max_passes must be an integer ≥ 1"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"regularization": -1.0}, "regularization must be"),
        ({"held_out": 1.0}, r"held_out must be a number in \(0, 1\), got 1.0"),
    ],
)
def test_bad_settings(setting: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BprSettings(**setting)


def test_bad_logs() -> None:
    with pytest.raises(ValueError, match=r"0 … 9 were expected"):
        matrix_factorization_embeddings(LOG, 10, BRIEF)
    with pytest.raises(ValueError, match="log holds 0 pairs"):
        make(log=Log(LOG.slates, LOG.clicks * 0))
    with pytest.raises(ValueError, match="must agree"):
        make(log=Log(LOG.slates, LOG.clicks[:, :5]))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="lower learning_rate"):
        make(learning_rate=1e30)
