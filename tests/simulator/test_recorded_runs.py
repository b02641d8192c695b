"""Known answers: recorded runs of the published simulator (copied from the specification's reference folder)."""

import json
from pathlib import Path

import numpy as np
import pytest

from gems_gym import PRESETS
from gems_gym.envs import SlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.rollouts import play_sessions
from gems_gym.testing import replay_session
from gems_gym.user_splits import user_seeds

DATA = Path(__file__).parent.parent / "data"
CATALOG_ARRAYS = ("item_embeddings", "item_topic")


@pytest.fixture(params=sorted(PRESETS))
def preset(request):
    return request.param


@pytest.fixture
def recorded(preset):
    with np.load(DATA / f"trace_{preset}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("session", range(4))
def test_a_replay_gives_every_recorded_number(preset, recorded, session):
    replayed = replay_session(
        preset,
        recorded["item_embeddings"],
        recorded["user_initial"][session],
        recorded["first_clicks"][session],
        recorded["slates"][session],
        recorded["clicks"][session],
        short_term_topic=int(recorded["short_term_topic"][session, 0]),
    )
    assert set(replayed) == set(recorded)
    for name, value in replayed.items():
        expected = recorded[name] if name in CATALOG_ARRAYS else recorded[name][session]
        assert value.shape == expected.shape, name
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(value, expected, err_msg=name)


def test_a_wrong_parameter_does_not_replay(recorded, preset):
    wrong = PRESETS[preset].replace(omega=0.8)
    replayed = replay_session(
        wrong, *(recorded[name][0] if name not in CATALOG_ARRAYS else recorded[name] for name in (
            "item_embeddings", "user_initial", "first_clicks", "slates", "clicks"))
    )  # fmt: skip
    assert np.abs(replayed["user_after"] - recorded["user_after"][0]).max() > 1e-3


def _fixed_slate(env, policy):
    if policy == "fixed_topic0":
        return np.flatnonzero(env.catalog.item_topics == 0)[: env.config.slate_size]
    return env.catalog.first_slate(env.config.slate_size)


@pytest.mark.parametrize(
    "policy", ["random", "eps_greedy_0_5", "short_term_oracle", "fixed_topic0", "fixed_top_quality"]
)
def test_returns_agree_with_the_published_simulator(preset, recorded, policy):
    expected = json.loads((DATA / "returns.json").read_text())["results"][preset][policy]
    env = SlateVectorEnv(1000, preset, recorded["item_embeddings"], "disabled")
    names = {
        "random": "random",
        "eps_greedy_0_5": "eps_greedy_oracle",
        "short_term_oracle": "short_term_oracle",
    }
    if policy in names:
        acting = make_policy(names[policy], env)
    else:
        acting = make_policy("constant_slate", env, slate=_fixed_slate(env, policy))
    clicks = np.stack(
        [m.infos["clicks"] for m in play_sessions(env, acting, user_seeds("validation", 3, 1000)) if m.step]
    )  # (episode_length, num_users, slate_size)
    returns = clicks.sum(axis=(0, 2))
    standard_error = np.hypot(expected["sem"], returns.std(ddof=1) / len(returns) ** 0.5)
    assert abs(returns.mean() - expected["mean_return"]) < 4 * standard_error
    by_rank = clicks.mean(axis=(0, 1))  # (slate_size,)
    np.testing.assert_allclose(by_rank, expected["ctr_by_rank"], rtol=0, atol=0.02)
