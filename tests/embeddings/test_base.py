"""gems_gym.embeddings: every kind made by name, files, and what is wrong with unfit ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym import plugins
from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.beliefs import GruBelief
from gems_gym.embeddings import (
    EmbeddingTable,
    Sources,
    co_click_embeddings,
    load_embeddings,
    make_embeddings,
    scratch_embeddings,
)
from gems_gym.rankers import GemsRanker
from tests.embeddings.grouped_log import grouped_log

HASH = "c0" * 32
LOG = grouped_log(num_slates=2000)
TRUE = np.random.default_rng(0).random((31, 6))


@pytest.fixture
def belief() -> GruBelief:
    return GruBelief.random(num_items=31, slate_size=8, catalog_hash=HASH, seed=0, embedding_size=5)


@pytest.fixture
def sources(belief: GruBelief, tmp_path: Path) -> Sources:
    belief.save(tmp_path / "belief.safetensors")
    return Sources(31, HASH, LOG, TRUE, tmp_path / "belief.safetensors")


def test_all_are_installed() -> None:
    known = {"scratch", "co_click", "session_co_click", "matrix_factorization", "belief", "ideal"}
    assert known <= set(plugins.names(plugins.EMBEDDINGS))


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("scratch", 20),
        ("co_click", 20),
        ("session_co_click", 20),
        ("matrix_factorization", 20),
        ("belief", 5),
        ("ideal", 6),
    ],
)
def test_made_by_name_and_kept_in_a_file(name: str, default: int, sources: Sources, tmp_path: Path) -> None:
    table = make_embeddings(name, sources, seed=3)
    assert table.vectors.shape == (31, default)
    assert (table.kind, table.catalog_hash, table.privileged) == (f"embeddings/{name}", HASH, name == "ideal")
    digest = table.save(tmp_path / "items.safetensors")
    assert load_artifact(tmp_path / "items.safetensors", "embeddings").header["privileged"] == (
        name == "ideal"
    )
    loaded = load_embeddings(tmp_path / "items.safetensors", HASH)
    np.testing.assert_array_equal(loaded.vectors, table.vectors)
    assert (loaded.kind, loaded.privileged, loaded.sha256) == (table.kind, table.privileged, digest)
    assert loaded.header["seed"] == 3
    assert loaded.save(tmp_path / "again.safetensors") == digest


def test_each_is_what_its_name_says(sources: Sources, belief: GruBelief) -> None:
    def vectors(name: str, **options: Any) -> np.ndarray:
        return make_embeddings(name, sources, **options).vectors

    np.testing.assert_array_equal(vectors("co_click", size=4), co_click_embeddings(LOG, 31, 4))
    np.testing.assert_array_equal(vectors("ideal"), TRUE.astype(np.float32))
    np.testing.assert_array_equal(vectors("belief"), belief.tensors["item_embeddings"])
    np.testing.assert_array_equal(vectors("scratch", size=4, seed=2), scratch_embeddings(31, 4, 2))
    assert not np.array_equal(vectors("scratch", seed=2), vectors("scratch", seed=3))
    many = scratch_embeddings(1000, 20)
    assert abs(many.mean()) < 0.02 and many.std() == pytest.approx(1, abs=0.02)


def test_missing_sources_and_wrong_sizes(sources: Sources, tmp_path: Path) -> None:
    nothing = Sources(31, HASH)
    make_embeddings("scratch", nothing)
    for name, needs in (("co_click", "log"), ("session_co_click", "log"), ("matrix_factorization", "log"),
                        ("belief", "belief"), ("ideal", "true_embeddings")):  # fmt: skip
        with pytest.raises(ValueError, match=f"made from sources.{needs}, which is not given"):
            make_embeddings(name, nothing)
    for name in ("belief", "ideal"):
        with pytest.raises(ValueError, match=r"\(31, 7\) was asked for"):
            make_embeddings(name, sources, size=7)
        with pytest.raises(
            ValueError, match="(32, size) was asked for".replace("(", r"\(").replace(")", r"\)")
        ):
            make_embeddings(name, Sources(32, HASH, LOG, TRUE, sources.belief))
    with pytest.raises(ValueError, match="size must be an integer from 1 to 65536 or None, got 0"):
        make_embeddings("scratch", sources, size=0)
    with pytest.raises(ValueError, match="unknown embeddings 'co_clik': did you mean 'co_click'"):
        make_embeddings("co_clik", sources)


def test_a_belief_of_another_catalogue(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"made for the catalogue {HASH}, but {'d0' * 32} is wanted"):
        make_embeddings("belief", Sources(31, "d0" * 32, belief=sources.belief))
    ranker = GemsRanker.random(num_items=31, slate_size=8, catalog_hash=HASH, seed=0)
    ranker.save(tmp_path / "ranker.safetensors")
    with pytest.raises(ArtifactError, match="is a ranker/gems; a belief was expected"):
        make_embeddings("belief", Sources(31, HASH, belief=tmp_path / "ranker.safetensors"))


def test_unfit_files(tmp_path: Path) -> None:
    path = tmp_path / "items.safetensors"
    good = np.ones((31, 3), np.float32)
    header = {"catalog_hash": HASH, "privileged": False}
    EmbeddingTable(good, "embeddings/mine", HASH).save(path)
    with pytest.raises(ValueError, match=f"catalogue {HASH}, but {'d0' * 32} is wanted"):
        load_embeddings(path, "d0" * 32)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match="truncated"):
        load_embeddings(path)
    for tensors, changed, message in (
        ({"other": good}, header, "lacks catalog_hash, privileged or the tensor item_embeddings"),
        ({"item_embeddings": good}, {"catalog_hash": HASH}, "lacks catalog_hash, privileged"),
        ({"item_embeddings": good[0]}, header, r"shape \(3,\)"),
        ({"item_embeddings": good.astype(np.float64)}, header, "dtype float64"),
        ({"item_embeddings": good * np.nan}, header, "93 non-finite"),
    ):
        save_artifact(path, "embeddings/mine", tensors, changed)
        with pytest.raises(ArtifactError, match=message):
            load_embeddings(path)
    save_artifact(path, "belief/gru", {"item_embeddings": good}, header)
    with pytest.raises(ArtifactError, match="is a belief/gru;"):
        load_embeddings(path)
    with pytest.raises(FileNotFoundError):
        load_embeddings(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="unknown shipped embeddings 'nosuch'"):
        load_embeddings("nosuch")
