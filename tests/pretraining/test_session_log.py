"""Logs in files, and shares that round to all there is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gems_gym.config import resolve_config
from gems_gym.pretraining.session_log import LogPlan, SessionLog, collect_session_log
from gems_gym.simulator.catalog import resolve_world


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


def plan(path: Path, env_id: str) -> LogPlan:
    return LogPlan(env_id, path, {"random": 1.0}, 4, 0, session_length=5)


def test_a_log_of_another_world_is_refused(tmp_path: Path) -> None:
    """Presets of a family share their catalogue."""
    file = tmp_path / "log.npz"
    here = plan(file, "GemsSlate-diffuse_mix-v0")
    written = here.session_log(*resolve_world("diffuse_mix", None), None)
    read = here.session_log(*resolve_world("diffuse_mix", None), None)
    assert read.sha256() == written.sha256()
    assert read.world == written.world
    with pytest.raises(
        ValueError, match=r"logged in another world, with click_model='mixPBM' \(GemsSlate-diffuse_top"
    ):
        plan(file, "GemsSlate-diffuse_topdown-v0").session_log(*resolve_world("diffuse_topdown", None), None)
    replace(written, world=None).save(file)
    other = resolve_config("diffuse_mix", {"slate_size": 5})
    with pytest.raises(ValueError, match=r"with slate_size=10 \(GemsSlate-diffuse_mix-v0: 5\)"):
        here.session_log(other, resolve_world("diffuse_mix", None)[1], None)


def test_sessions_that_show_nothing_are_not_learned_from() -> None:
    pytest.importorskip("torch")
    from gems_gym.pretraining.gems import GemsSettings, pretrain_gems

    slates = log(40).slates.copy()
    slates[2:] = -1
    nothing = replace(log(40), slates=slates, clicks=log(40).clicks * (slates >= 0))
    settings = GemsSettings(item_embeddings="scratch", batches=2)
    ranker, _ = pretrain_gems(nothing, 1_000, settings, seed=0, progress=False)
    assert ranker.num_items == 1_000
    with pytest.raises(ValueError, match="log holds 1 sessions with a slate"):
        pretrain_gems(nothing.take(np.arange(1, 40)), 1_000, settings, seed=0)
