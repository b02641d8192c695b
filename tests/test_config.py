import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_gym import PRESETS, SlateConfig
from gems_gym.config import resolve_config


def test_the_presets_are_the_six_published_worlds():
    assert sorted(PRESETS) == sorted(
        f"{catalog}_{clicks}" for catalog in ("focused", "diffuse") for clicks in ("topdown", "mix", "divpen")
    )
    differing = {name: {f.name for f in dataclasses.fields(c) if getattr(c, f.name) != f.default}
                 for name, c in PRESETS.items()}  # fmt: skip
    assert differing["diffuse_topdown"] == set()
    assert differing["focused_divpen"] == {"catalog", "click_model", "diversity_penalty"}
    assert PRESETS["focused_divpen"].diversity_penalty == 3.0


@pytest.mark.parametrize("clicks", ["tdPBM", "mixPBM"])
def test_propensities_follow_the_click_model(clicks):
    propensities = SlateConfig(click_model=clicks).position_propensities()
    down = 0.85 ** np.arange(10)
    expected = down if clicks == "tdPBM" else 0.5 * down + 0.5 * down[::-1]
    np.testing.assert_allclose(propensities, expected)


def test_explicit_propensities_and_threshold_replace_the_click_model():
    explicit = SlateConfig(slate_size=3, propensities=[0.1, 0.9, 0.5])
    np.testing.assert_array_equal(explicit.position_propensities(), [0.1, 0.9, 0.5])
    np.testing.assert_array_equal(explicit.replace(prop_threshold=0.5).position_propensities(), [0, 1, 0])


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"num_items": 0}, ValueError, "num_items"),
        ({"num_items": 5}, ValueError, "slate_size=10 is larger"),
        ({"slate_size": 2.5}, TypeError, "slate_size must be an integer"),
        ({"episode_length": True}, TypeError, "episode_length"),
        ({"omega": 1.5}, ValueError, "omega"),
        ({"omega": float("nan")}, ValueError, "omega"),
        ({"omega": "0.9"}, TypeError, "omega must be a number"),
        ({"alpha": 2.0}, ValueError, "click probabilities up to 2"),
        ({"diversity_penalty": 0.0}, ValueError, "diversity_penalty"),
        ({"diversity_penalty": 0.5}, ValueError, "click probabilities up to 2"),
        ({"propensities": [0.5]}, ValueError, "one number per slate position"),
        ({"propensities": [2.0] * 10}, ValueError, r"\[0, 1\]"),
        ({"propensities": "top"}, TypeError, "propensities"),
        ({"click_model": "tdPBN"}, ValueError, "did you mean 'tdPBM'"),
        ({"catalog": "focussed"}, ValueError, "did you mean 'focused'"),
        ({"click_only_once": 1}, TypeError, "click_only_once"),
        ({"borerdom_timeout": 3}, TypeError, "did you mean 'boredom_timeout'"),
        # Python's words, which TorchRL's GymEnv looks for before it does without it
        ({"frameskip": 1}, TypeError, "unexpected keyword argument 'frameskip'"),
    ],
)
def test_a_wrong_parameter_is_named(overrides, error, words):
    with pytest.raises(error, match=words):
        SlateConfig().replace(**overrides)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'diffuse_mix'"):
        resolve_config("difuse_mix")
    with pytest.raises(TypeError, match="SlateConfig"):
        resolve_config(3)  # type: ignore[arg-type]


def test_numpy_scalars_become_plain_python():
    config = SlateConfig(num_items=np.int64(50), omega=np.float32(0.5), click_only_once=np.bool_(True))
    assert type(config.num_items) is int
    assert type(config.omega) is float
    assert type(config.click_only_once) is bool


def test_a_config_is_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SlateConfig().omega = 0.5  # type: ignore[misc]
    assert hash(SlateConfig()) == hash(SlateConfig())


@given(gamma=st.floats(0, 1), size=st.integers(1, 12), model=st.sampled_from(["tdPBM", "mixPBM"]))
def test_propensities_are_probabilities(gamma, size, model):
    propensities = SlateConfig(
        click_propensity=gamma, slate_size=size, click_model=model
    ).position_propensities()
    assert propensities.shape == (size,)
    assert ((propensities >= 0) & (propensities <= 1)).all()
