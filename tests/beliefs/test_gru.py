"""gems_gym.beliefs: the GRU's equations, the same bits in any batch, clear errors, files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError, save_artifact
from gems_gym.beliefs import BeliefEncoder, GruBelief, load_belief

HASH = "be" * 32


def make(seed: int = 0, **changes: Any) -> GruBelief:
    sizes = {"num_items": 40, "slate_size": 6, "embedding_size": 4, "size": 20} | changes
    return GruBelief.random(catalog_hash=HASH, seed=seed, **sizes)


def observations(num_users: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    belief = rng.uniform(-1, 1, (num_users, 20)).astype(np.float32)
    return belief, rng.integers(0, 40, (num_users, 6)), rng.integers(0, 2, (num_users, 6)).astype(np.int8)


def update_plainly(
    encoder: GruBelief, belief: np.ndarray, slates: np.ndarray, clicks: np.ndarray
) -> np.ndarray:
    """The equations of the docstring, in float64."""
    weights = {name: tensor.astype(np.float64) for name, tensor in encoder.tensors.items()}
    inputs = np.tile(weights["bias_ih"], (len(belief), 1))
    for user, slot in np.ndindex(slates.shape):
        click = int(clicks[user, slot])
        inputs[user] += weights["weight_items"][click, slot] @ weights["item_embeddings"][slates[user, slot]]
        inputs[user] += click * weights["weight_clicks"][slot]
    recurrent = belief @ weights["weight_hh"].T + weights["bias_hh"]
    (g_r, g_z, g_n), (h_r, h_z, h_n) = np.split(inputs, 3, axis=1), np.split(recurrent, 3, axis=1)
    r, z = 1 / (1 + np.exp(-(g_r + h_r))), 1 / (1 + np.exp(-(g_z + h_z)))
    return (1 - z) * np.tanh(g_n + r * h_n) + z * belief


def test_is_a_belief_encoder() -> None:
    encoder = make()
    assert isinstance(encoder, BeliefEncoder)
    assert (encoder.size, encoder.num_items, encoder.slate_size) == (20, 40, 6)


def test_update_is_the_gru_equations() -> None:
    encoder = make()
    belief, slates, clicks = observations(50)
    updated = encoder.update(belief, slates, clicks)
    assert updated.dtype == np.float32
    np.testing.assert_allclose(updated, update_plainly(encoder, belief, slates, clicks), atol=2e-6)


def test_a_large_catalogue_needs_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    small = make()
    monkeypatch.setattr("gems_gym.beliefs.trained.LARGEST_TABLE", 0)
    large = GruBelief(small.tensors, HASH)
    belief, slates, clicks = observations(50)
    slates[0, 2], clicks[0, 2] = -1, 0
    slates[1] = -1
    clicks[1] = 0
    updated = large.update(belief, slates, clicks)
    np.testing.assert_allclose(updated, small.update(belief, slates, clicks), atol=2e-6)
    np.testing.assert_array_equal(large.update(belief[7:8], slates[7:8], clicks[7:8]), updated[7:8])
    slates[3, 4] = 40
    with pytest.raises(ValueError, match=r"slates\[3\] = .* holds unknown item ids"):
        large.update(belief, slates, clicks)


def test_equal_weights_for_clicked_and_passed_over_items_are_torchs_gru() -> None:
    torch = pytest.importorskip("torch")
    encoder = make()
    tensors = dict(encoder.tensors)
    tensors["weight_items"] = np.repeat(tensors["weight_items"][:1], 2, axis=0)
    encoder = GruBelief(tensors, HASH)
    belief, slates, clicks = observations(50)
    gru = torch.nn.GRU(6 * 5, 20)
    items = tensors["weight_items"][0].transpose(1, 0, 2).reshape(60, -1)  # (3 * size, slate_size * E)
    state = {
        "weight_ih_l0": np.concatenate([items, tensors["weight_clicks"].T], axis=1),
        "weight_hh_l0": tensors["weight_hh"],
        "bias_ih_l0": tensors["bias_ih"],
        "bias_hh_l0": tensors["bias_hh"],
    }
    gru.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in state.items()})
    inputs = np.concatenate(
        [tensors["item_embeddings"][slates].reshape(50, -1), clicks], axis=1, dtype=np.float32
    )
    with torch.no_grad():
        expected, _ = gru(torch.from_numpy(inputs)[None], torch.from_numpy(belief)[None])
    np.testing.assert_allclose(encoder.update(belief, slates, clicks), expected[0].numpy(), atol=2e-6)


def test_a_users_belief_has_the_same_bits_in_any_batch() -> None:
    encoder = make()
    inputs = observations(257)
    together = encoder.update(*inputs)
    for batch in (1, 3, 17, 257):
        parts = [
            encoder.update(*(a[start : start + batch] for a in inputs)) for start in range(0, 257, batch)
        ]
        np.testing.assert_array_equal(np.concatenate(parts).view(np.uint32), together.view(np.uint32))
    reverse = encoder.update(*(array[::-1] for array in inputs))
    np.testing.assert_array_equal(reverse[::-1].view(np.uint32), together.view(np.uint32))


def test_beliefs_start_from_zeros_stay_in_the_box_and_leave_their_inputs_alone() -> None:
    encoder = make()
    _, slates, clicks = observations(30)
    start = encoder.initial(30)
    assert start.shape == (30, 20)
    assert start.dtype == np.float32
    belief = start
    for _ in range(200):
        belief = encoder.update(belief, slates, clicks)
    assert np.abs(belief).max() <= 1
    assert not start.any()


def test_a_slot_that_showed_nothing_adds_nothing() -> None:
    encoder = make()
    belief, slates, clicks = observations(3)
    slates[:, 2], clicks[:, 2] = -1, 0
    weights = {name: tensor.copy() for name, tensor in encoder.tensors.items()}
    updated = encoder.update(belief, slates, clicks)
    weights["weight_items"][:, 2] = 0
    shown = np.where(slates < 0, 0, slates)
    np.testing.assert_array_equal(updated, GruBelief(weights, HASH).update(belief, shown, clicks))
    clicks[1, 2] = 1
    with pytest.raises(ValueError, match=r"clicks\[1\] = .*zeros where nothing was shown"):
        encoder.update(belief, slates, clicks)


def test_which_item_was_clicked_matters() -> None:
    encoder = make()
    slates = np.tile(np.arange(6), (6, 1))
    beliefs = encoder.update(encoder.initial(6), slates, np.eye(6, dtype=np.int64))
    assert len(np.unique(beliefs.round(4), axis=0)) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slates": np.full((3, 6), 40)}, r"slates\[0\] = .*40.* ids are 0 … 39"),
        ({"slates": np.full((3, 6), -2)}, r"slates\[0\]"),
        ({"slates": np.zeros((3, 5), dtype=int)}, r"slates has shape \(3, 5\)"),
        ({"slates": np.zeros((3, 6))}, "slates has shape .* float64"),
        ({"clicks": np.full((3, 6), 2)}, r"clicks\[0\] = .* zeros and ones"),
        ({"clicks": np.zeros((2, 6), dtype=int)}, r"clicks has shape \(2, 6\)"),
        ({"state": np.zeros((3, 19), dtype=np.float32)}, r"state has shape \(3, 19\)"),
        ({"state": np.zeros((3, 20))}, "state has .* float64"),
    ],
)
def test_bad_input_is_a_clear_error(change: dict[str, np.ndarray], message: str) -> None:
    good: dict[str, np.ndarray] = {
        "state": np.zeros((3, 20), dtype=np.float32),
        "slates": np.zeros((3, 6), dtype=np.int64),
        "clicks": np.zeros((3, 6), dtype=np.int8),
    }
    with pytest.raises(ValueError, match=message):
        make().update(**good | change)


def test_files_give_the_same_encoder_and_the_same_bytes(tmp_path: Path) -> None:
    encoder = make()
    sha256 = encoder.save(tmp_path / "a.safetensors")
    assert encoder.save(tmp_path / "b.safetensors") == sha256
    loaded = GruBelief.load(tmp_path / "a.safetensors")
    assert (loaded.sha256, loaded.catalog_hash, loaded.header["options"]) == (
        sha256,
        HASH,
        encoder.header["options"],
    )
    inputs = observations(9)
    np.testing.assert_array_equal(loaded.update(*inputs), encoder.update(*inputs))


def test_load_belief_finds_the_class_by_the_files_kind(tmp_path: Path) -> None:
    make().save(tmp_path / "belief.safetensors")
    assert isinstance(load_belief(tmp_path / "belief.safetensors"), GruBelief)


def test_unfit_files_are_clear_errors(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_artifact(path, "ranker/gems", {}, {})
    with pytest.raises(ArtifactError, match="is a ranker/gems; a belief was expected"):
        load_belief(path)
    tensors = make().tensors
    save_artifact(path, "belief/gru", tensors | {"bias_hh": tensors["bias_hh"][:5]}, {"catalog_hash": HASH})
    with pytest.raises(ArtifactError, match="bias_hh"):
        load_belief(path)
    save_artifact(path, "belief/gru", {"bias_hh": tensors["bias_hh"]}, {"catalog_hash": HASH})
    with pytest.raises(ArtifactError, match="lacks"):
        load_belief(path)
    save_artifact(path, "belief/gru", tensors, {})
    with pytest.raises(ArtifactError, match="catalog_hash"):
        load_belief(path)


def test_weights_that_are_not_finite_are_refused() -> None:
    tensors = dict(make().tensors)
    tensors["bias_ih"] = np.full(60, np.nan)
    with pytest.raises(ValueError, match=r"tensors\['bias_ih'\] holds 60 non-finite"):
        GruBelief(tensors, HASH)


def test_torch_is_not_imported() -> None:
    code = "import sys, gems_gym.beliefs, gems_gym.wrappers; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
