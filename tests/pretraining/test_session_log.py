"""Logs in files, and shares that round to all there is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gems_gym.pretraining.session_log import SessionLog, collect_session_log


def log(sessions: int = 4) -> SessionLog:
    return collect_session_log("diffuse_mix", {"random": 1.0}, sessions, 0, session_length=5, progress=False)


def test_what_another_recommender_logged_is_read_back(tmp_path: Path) -> None:
    slates = log().slates.copy()
    slates[:, :, 3:] = -1
    clicks = log().clicks * (slates >= 0)
    saved = replace(log(), slates=slates, clicks=clicks, click_probabilities=None)
    saved.save(tmp_path / "log.npz")
    found = SessionLog.load(tmp_path / "log.npz")
    np.testing.assert_array_equal(found.slates, slates)
    assert found.click_probabilities is None
    replace(saved, clicks=np.ones_like(clicks)).save(tmp_path / "wrong.npz")
    with pytest.raises(ValueError, match="0 where nothing was shown"):
        SessionLog.load(tmp_path / "wrong.npz")


def test_something_is_left_to_learn_from_whatever_is_held_out() -> None:
    pytest.importorskip("torch")
    from gems_gym.pretraining.belief import BeliefSettings
    from gems_gym.pretraining.gru import pretrain_belief

    settings = BeliefSettings(held_out=0.9, item_embeddings="scratch", batches=2)
    belief, _ = pretrain_belief(log(), 1_000, settings, seed=0, progress=False)
    assert belief.num_items == 1_000
