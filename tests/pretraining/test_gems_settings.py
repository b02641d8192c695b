"""gems_gym.pretraining.gems: what is refused, and what the presets say."""

import dataclasses
import re

import numpy as np
import pytest

pytest.importorskip("torch")
from gems_gym import plugins
from gems_gym.artifacts import shipped
from gems_gym.embeddings import EmbeddingTable
from gems_gym.pretraining.gems import GEMS_PRESETS, GemsSettings

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"hidden_sizes": (256,)},
            "hidden_sizes must be a sequence of 2 integers from 1 to 65536, got (256,)",
        ),
        (
            {"hidden_sizes": (256, 256, 8)},
            "hidden_sizes must be a sequence of 2 integers from 1 to 65536, got (256, 256, 8)",
        ),
        (
            {"hidden_sizes": (256, 0)},
            "hidden_sizes must be a sequence of 2 integers from 1 to 65536, got (256, 0)",
        ),
        (
            {"hidden_sizes": (256, 2.5)},
            "hidden_sizes must be a sequence of 2 integers from 1 to 65536, got (256, 2.5)",
        ),
        ({"latent_size": 2.5}, "latent_size must be an integer from 1 to 65536, got 2.5 of type float"),
        ({"frozen": "nope"}, "frozen must be True or False or None, got 'nope' of type str"),
        ({"deduplicate": "no"}, "deduplicate must be True or False, got 'no' of type str"),
        (
            {"hidden_sizes": 5},
            "hidden_sizes must be a sequence of 2 integers from 1 to 65536, got 5 of type int",
        ),
        ({"embedding_size": 0}, "embedding_size must be an integer from 1 to 65536, got 0"),
        ({"latent_size": -1}, "latent_size must be an integer from 1 to 65536, got -1"),
        ({"batch_size": 0}, "batch_size must be an integer ≥ 1, got 0"),
        ({"batches": 0}, "batches must be an integer ≥ 1, got 0"),
        ({"beta": -0.5}, "beta must be a finite number ≥ 0, got -0.5"),
        ({"beta": NAN}, "beta must be a finite number ≥ 0, got nan"),
        ({"click_weight": INFINITE}, "click_weight must be a finite number ≥ 0, got inf"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"learning_rate": INFINITE}, "learning_rate must be a finite number > 0, got inf"),
        ({"held_out": 0.0}, "held_out must be a number in (0, 1), got 0.0"),
        ({"held_out": 1.0}, "held_out must be a number in (0, 1), got 1.0"),
        ({"coordinates": "sphere"}, "unknown coordinates 'sphere'"),
        (
            {"item_embeddings": "ideal"},
            "item_embeddings must be one of ('co_click', 'scratch') or a file of item embeddings, got 'ideal': ",
        ),
    ],
)
def test_what_is_refused(setting, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        GemsSettings(**setting)


def test_zeros_that_turn_a_term_off_are_fine():
    settings = GemsSettings(beta=0, click_weight=0)
    assert settings.beta == settings.click_weight == 0


def test_settings_from_json_are_the_same_settings():
    assert GemsSettings(hidden_sizes=[512, 256]).hidden_sizes == (512, 256)
    for preset in GEMS_PRESETS.values():
        assert GemsSettings(**dataclasses.asdict(preset.settings)) == preset.settings


def test_item_embeddings_may_be_a_file_or_a_shipped_name(tmp_path, monkeypatch):
    file = tmp_path / "mine.safetensors"
    table = EmbeddingTable(np.ones((3, 2), np.float32), "embeddings/test", "c" * 64)
    sha256 = table.save(file)
    assert GemsSettings(item_embeddings=str(file)).item_embeddings == str(file)
    monkeypatch.setattr(shipped, "DIRECTORY", tmp_path)
    entry = shipped.Entry(file=file.name, sha256=sha256, kind=table.kind, preset="x", command="y", metrics={})
    shipped.record(tmp_path, "mf-mine", entry)
    assert GemsSettings(item_embeddings="mf-mine").item_embeddings == "mf-mine"
    with pytest.raises(ValueError, match="did you mean 'mf-mine'"):
        GemsSettings(item_embeddings="mf-mien")


def test_nothing_privileged_logs_for_the_default_preset():
    for name, privileged in (("default", False), ("published", True)):
        policies = [plugins.load(plugins.POLICIES, policy) for policy in GEMS_PRESETS[name].shares]
        assert any(policy.privileged for policy in policies) == privileged
        # a number of sessions to search where somebody searches, and nowhere else
        assert (GEMS_PRESETS[name].search_sessions is not None) == any(one.searches for one in policies)


def test_the_published_preset_is_the_papers():
    settings = GEMS_PRESETS["published"].settings
    assert not settings.deduplicate
    assert (settings.item_embeddings, settings.hidden_sizes) == ("scratch", (512, 256))
    assert (settings.beta, settings.click_weight, settings.latent_size) == (1.0, 0.5, 32)
    assert GEMS_PRESETS["default"].settings.deduplicate
