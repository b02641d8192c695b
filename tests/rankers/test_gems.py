"""gems_gym.rankers: decoding without duplicates, bounds in the file, the same bits in any batch."""

from pathlib import Path

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.rankers import GemsDecoder, GemsRanker, Ranker, load_ranker

HASH = "c0" * 32


def make(seed: int = 0, **changes: object) -> GemsRanker:
    sizes: dict = {"num_items": 40, "slate_size": 6, "latent_size": 5, "embedding_size": 4} | changes
    return GemsRanker.random(catalog_hash=HASH, seed=seed, **sizes)


def random_latents(num_users: int, size: int = 5, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (num_users, size)).astype(np.float32)


def decode_plainly(ranker: GemsRanker, latents: np.ndarray) -> np.ndarray:
    """Item scores by the definition, in float64: (num_users, slate_size, num_items)."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in ranker.tensors.items()}
    values = tensors["centre"] + latents @ tensors["basis"]
    for layer in (0, 2, 4):
        values = values @ tensors[f"decoder.{layer}.weight"].T + tensors[f"decoder.{layer}.bias"]
        values = values if layer == 4 else np.maximum(values, 0)
    slots = values.reshape(len(latents), ranker.slate_size, ranker.embedding_size)
    return slots @ tensors["item_embeddings"].T


def test_is_a_ranker() -> None:
    ranker = make()
    assert isinstance(ranker, Ranker)
    assert (ranker.action_size, ranker.slate_size, ranker.num_items) == (5, 6, 40)


def test_rank_is_the_argmax_of_each_slot() -> None:
    ranker = make(deduplicate=False)
    latents = random_latents(200)
    slates = ranker.rank(latents)
    assert slates.dtype == np.int64
    np.testing.assert_array_equal(slates, decode_plainly(ranker, latents).argmax(axis=2))


def test_deduplicate_takes_the_best_item_not_yet_in_the_slate() -> None:
    latents = random_latents(200)
    slates = make().rank(latents)
    plain = make(deduplicate=False).rank(latents)
    assert any(len(set(slate)) < 6 for slate in plain)  # so that the option has something to do
    scores = decode_plainly(make(), latents)
    for user, slate in enumerate(slates):
        assert len(set(slate)) == 6
        for slot in range(6):
            scores[user, slot, slate[:slot]] = -np.inf
    np.testing.assert_array_equal(slates, scores.argmax(axis=2))


@pytest.mark.parametrize("num_users", [1, 3, 16, 17, 257])
def test_results_do_not_depend_on_the_batch(num_users: int) -> None:
    ranker = make()
    latents = random_latents(num_users)
    together = ranker.rank(latents)
    np.testing.assert_array_equal(together, np.concatenate([ranker.rank(row[None]) for row in latents]))
    clicks = (together % 2).astype(np.int8)
    alone = [ranker.encode(slate[None], click[None]) for slate, click in zip(together, clicks, strict=True)]
    np.testing.assert_array_equal(ranker.encode(together, clicks), np.concatenate(alone))


def test_centre_and_basis_are_the_coordinates_of_the_action() -> None:
    ranker = make()
    rng = np.random.default_rng(3)
    basis, centre = rng.standard_normal((5, 5)), rng.standard_normal(5)
    moved = GemsRanker({**ranker.tensors, "basis": basis, "centre": centre}, HASH)
    latents = random_latents(300)
    same_point = ((centre + latents @ basis) / 3).astype(np.float32)  # ranker's own basis is 3 * identity
    assert (moved.rank(latents) == ranker.rank(same_point)).mean() > 0.99  # rounding may swap equals
    assert (moved.rank(latents) == ranker.rank(latents)).mean() < 0.9


def test_encode_undoes_the_coordinates() -> None:
    ranker = make()
    rng = np.random.default_rng(4)
    slates, clicks = rng.integers(0, 40, (50, 6)), rng.integers(0, 2, (50, 6))
    means, log_variances = ranker.posterior(slates, clicks)
    assert means.shape == log_variances.shape == (50, 5)
    basis, centre = 9 * np.eye(5) + rng.standard_normal((5, 5)), rng.standard_normal(5)
    moved = GemsRanker({**ranker.tensors, "basis": basis, "centre": centre}, HASH)
    actions = moved.encode(slates, clicks)
    assert actions.dtype == np.float32
    inside = (np.abs(actions) < 1).all(axis=1)
    assert inside.any()
    np.testing.assert_allclose((centre + actions @ basis)[inside], means[inside], atol=1e-4)
    assert np.abs(actions).max() <= 1


def test_save_and_load(tmp_path: Path) -> None:
    ranker = make(deduplicate=False)
    ranker.header["metrics"] = {"slot_accuracy": 0.25}
    digest = ranker.save(tmp_path / "ranker.safetensors")
    loaded = load_ranker(tmp_path / "ranker.safetensors")
    assert isinstance(loaded, GemsRanker)
    assert (loaded.sha256, loaded.catalog_hash, loaded.deduplicate) == (digest, HASH, False)
    assert loaded.header["metrics"] == {"slot_accuracy": 0.25}
    assert loaded.header["options"] == {"random": True, "seed": 0, "deduplicate": False}
    latents = random_latents(64)
    np.testing.assert_array_equal(loaded.rank(latents), ranker.rank(latents))
    assert loaded.save(tmp_path / "again.safetensors") == digest


@pytest.mark.parametrize("deduplicate", [True, False])
def test_without_its_encoder_it_ranks_the_same_slates(deduplicate: bool) -> None:
    whole = make(deduplicate=deduplicate)
    decoder = whole.without_encoder()
    assert type(decoder) is GemsDecoder
    assert isinstance(decoder, Ranker)
    assert not hasattr(decoder, "encode")
    assert not hasattr(decoder, "posterior")
    assert (decoder.kind, decoder.options) == ("ranker/gems_decoder", {"deduplicate": deduplicate})
    assert (decoder.catalog_hash, decoder.header, decoder.sizes) == (HASH, whole.header, whole.sizes)
    latents = random_latents(257)
    np.testing.assert_array_equal(decoder.rank(latents), whole.rank(latents))


def test_save_and_load_a_decoder(tmp_path: Path) -> None:
    whole = make(deduplicate=False)
    whole.header["metrics"] = {"slot_accuracy": 0.25}
    path, whole_path = tmp_path / "decoder.safetensors", tmp_path / "whole.safetensors"
    digest = whole.without_encoder().save(path)
    whole.save(whole_path)
    assert path.stat().st_size < 0.6 * whole_path.stat().st_size
    assert load_artifact(path, "ranker").kind == "ranker/gems_decoder"
    loaded = load_ranker(path)
    assert type(loaded) is GemsDecoder
    assert (loaded.sha256, loaded.catalog_hash, loaded.deduplicate) == (digest, HASH, False)
    assert loaded.header["metrics"] == {"slot_accuracy": 0.25}
    latents = random_latents(64)
    np.testing.assert_array_equal(loaded.rank(latents), whole.rank(latents))
    assert loaded.save(tmp_path / "again.safetensors") == digest


@pytest.mark.parametrize("missing", ["item_embeddings", "decoder.2.bias", "click_head.weight", "basis"])
def test_a_decoder_s_file_that_lacks_a_tensor(missing: str, tmp_path: Path) -> None:
    path = tmp_path / "decoder.safetensors"
    tensors = make().without_encoder().tensors
    del tensors[missing]
    header = {"catalog_hash": HASH, "options": {"deduplicate": True}}
    save_artifact(path, "ranker/gems_decoder", tensors, header)
    with pytest.raises(
        ArtifactError, match=rf"not a usable ranker/gems_decoder: tensors lacks \['{missing}'\]"
    ):
        load_ranker(path)


def test_a_file_of_one_kind_is_not_read_as_the_other(tmp_path: Path) -> None:
    path = tmp_path / "ranker.safetensors"
    make().without_encoder().save(path)
    with pytest.raises(ArtifactError, match="is a ranker/gems_decoder; a ranker/gems was expected"):
        GemsRanker.load(path)
    header = {"catalog_hash": HASH, "options": {"deduplicate": True}}
    save_artifact(path, "ranker/gems", make().without_encoder().tensors, header)
    with pytest.raises(ArtifactError, match=r"not a usable ranker/gems: tensors lacks \['encoder.0.weight'"):
        load_ranker(path)


def test_unfit_files(tmp_path: Path) -> None:
    path = tmp_path / "ranker.safetensors"
    save_artifact(path, "belief/gru", {"x": np.zeros(1)}, {})
    with pytest.raises(ArtifactError, match="is a belief/gru; a ranker was expected"):
        load_ranker(path)
    save_artifact(path, "ranker/nosuch", {"x": np.zeros(1)}, {})
    with pytest.raises(ValueError, match="unknown ranker 'nosuch'"):
        load_ranker(path)
    save_artifact(path, "ranker/gems", make().tensors, {})
    with pytest.raises(ArtifactError, match="catalog_hash"):
        GemsRanker.load(path)
    header = {"catalog_hash": HASH, "options": {"deduplicate": True}}
    save_artifact(path, "ranker/gems", {**make().tensors, "centre": np.zeros(3)}, header)
    with pytest.raises(ArtifactError, match=r"centre.*\(3,\)"):
        GemsRanker.load(path)
    make().save(path)
    assert load_artifact(path, "ranker").header["sizes"]["latent_size"] == 5
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="truncated"):
        load_ranker(path)


def test_bad_tensors() -> None:
    tensors = make().tensors
    with pytest.raises(ValueError, match=r"lacks \['basis'\]"):
        GemsRanker({name: tensor for name, tensor in tensors.items() if name != "basis"}, HASH)
    with pytest.raises(ValueError, match="5 non-finite"):
        GemsRanker({**tensors, "centre": np.full(5, np.nan)}, HASH)
    with pytest.raises(ValueError, match="singular"):
        GemsRanker({**tensors, "basis": np.zeros((5, 5))}, HASH)
    with pytest.raises(ValueError, match="num_items >= slate_size"):
        make(num_items=5)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.zeros((2, 4), np.float32), r"shape \(2, 4\).*\(num_users, 5\)"),
        (np.zeros(5, np.float32), r"shape \(5,\)"),
        (np.zeros((2, 5), np.int64), "dtype int64"),
        (np.array([[0, 0, 0, 0, 0], [0, 0, np.nan, 0, 0]], np.float32), r"latents\[1\].*finite"),
    ],
)
def test_bad_latents(latents: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().rank(latents)


def test_bad_slates_and_clicks() -> None:
    slates, clicks = np.zeros((2, 6), np.int64), np.zeros((2, 6), np.int8)
    with pytest.raises(ValueError, match=r"slates\[1\].*0 … 39"):
        make().encode(slates + np.array([[0], [40]]), clicks)
    with pytest.raises(ValueError, match=r"clicks\[0\].*zeros and ones"):
        make().encode(slates, clicks + 2)
    with pytest.raises(ValueError, match=r"clicks has shape \(2, 5\)"):
        make().encode(slates, clicks[:, :5])
    with pytest.raises(ValueError, match="slates has.*float64"):
        make().encode(slates + 0.5, clicks)
