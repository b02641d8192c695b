"""gems_gym.artifacts.files: whole, unaltered, of the right kind, or a clear error."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gems_gym.artifacts import ArtifactError, content_sha256, load_artifact, same_content, save_artifact
from gems_gym.beliefs import GruBelief, load_belief
from gems_gym.rankers import GemsRanker, load_ranker

TENSORS = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bias": np.ones(3, dtype=np.float64),
    "centre": np.zeros(2, dtype=np.float32),
}
HEADER = {"catalog_hash": "ab" * 32, "sizes": {"items": 7, "slate": 3}, "options": {"deduplicate": True}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ranker.safetensors"
    save_artifact(path, "ranker/gems", TENSORS, HEADER)
    return path


def test_round_trip(path: Path) -> None:
    artifact = load_artifact(path, "ranker/gems")
    assert artifact.kind == "ranker/gems"
    assert {key: artifact.header[key] for key in HEADER} == HEADER
    assert set(artifact.header) == {*HEADER, "versions"}
    for name, array in TENSORS.items():
        assert artifact.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(artifact.tensors[name], array)
    assert load_artifact(path, "ranker").sha256 == artifact.sha256
    assert load_artifact(path, "ranker/").sha256 == artifact.sha256


def test_same_content_gives_same_bytes(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    reordered = dict(reversed(TENSORS.items()))
    digest = save_artifact(other, "ranker/gems", reordered, dict(reversed(HEADER.items())))
    assert other.read_bytes() == path.read_bytes()
    loaded = load_artifact(path, "ranker/gems")
    assert loaded.sha256 == digest
    again = save_artifact(tmp_path / "again", loaded.kind, loaded.tensors, loaded.header)
    assert again == digest


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors.*ranker/gems"):
        load_artifact(tmp_path / "nothing.safetensors", "ranker/gems")


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_truncated(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="truncated"):
        load_artifact(path, "ranker/gems")


def test_altered_weights(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="altered"):
        load_artifact(path, "ranker/gems")


def test_altered_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"abab", b"cdcd"))
    with pytest.raises(ArtifactError, match="altered"):
        load_artifact(path, "ranker/gems")


def test_wrong_kind(tmp_path: Path, path: Path) -> None:
    belief = tmp_path / "belief.safetensors"
    save_artifact(belief, "belief/gru", TENSORS, HEADER)
    with pytest.raises(ArtifactError, match="is a belief/gru; a ranker was expected"):
        load_artifact(belief, "ranker")
    with pytest.raises(ArtifactError, match="is a ranker/gems; a ranker/topk was expected"):
        load_artifact(path, "ranker/topk")


def test_other_format_version(tmp_path: Path) -> None:
    path = tmp_path / "future.safetensors"
    header = json.dumps({"format": 99, "kind": "ranker/gems", "checksum": ""})
    save_file(TENSORS, path, metadata={"gems_gym": header})
    with pytest.raises(ArtifactError, match="format 99.*reads format 1"):
        load_artifact(path, "ranker")


def test_not_an_artefact(tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    save_file(TENSORS, plain)
    text = tmp_path / "text.safetensors"
    text.write_text("this is not a safetensors file at all")
    for path in (plain, text):
        with pytest.raises(ArtifactError, match="not a gems-gym artefact"):
            load_artifact(path, "ranker")


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind='gems'"):
        save_artifact(tmp_path / "x", "gems", TENSORS, HEADER)
    with pytest.raises(ValueError, match="checksum"):
        save_artifact(tmp_path / "x", "ranker/gems", TENSORS, {"checksum": "mine"})
    with pytest.raises(ValueError, match="JSON"):
        save_artifact(tmp_path / "x", "ranker/gems", TENSORS, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_written_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_artifact(path, "ranker/gems", {}, {})
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def content(tmp_path: Path, tensors: dict[str, np.ndarray] = TENSORS, **header: object) -> str:
    save_artifact(tmp_path / "one", "ranker/gems", tensors, HEADER | header)
    return load_artifact(tmp_path / "one", "ranker/gems").content_sha256


def test_what_was_measured_and_with_what_does_not_count(tmp_path: Path) -> None:
    plain = content(tmp_path)
    assert plain == content(tmp_path, metrics={"auc": 0.9}, versions={"numpy": "1"}, command="gems-gym …")
    assert plain == content(tmp_path, a_setting_of_later_versions=None)
    assert plain != content(tmp_path, options={"deduplicate": False})
    assert plain != content(tmp_path, tensors=TENSORS | {"bias": np.zeros(3)})


def test_an_artefact_and_what_is_made_of_it_have_one_content(
    tmp_path: Path, tiny_ranker: GemsRanker, tiny_belief: GruBelief
) -> None:
    for part, load in ((tiny_ranker, load_ranker), (tiny_belief, load_belief)):
        part.save(tmp_path / "one")
        loaded = load(tmp_path / "one")
        assert loaded.content_sha256 == part.content_sha256  # type: ignore[attr-defined]
        artifact = load_artifact(tmp_path / "one", part.kind)
        assert artifact.content_sha256 == part.content_sha256
        save_artifact(
            tmp_path / "other", part.kind, artifact.tensors, artifact.header | {"metrics": {"auc": 0.9}}
        )
        measured = load(tmp_path / "other")
        assert measured.sha256 != loaded.sha256
        assert same_content(measured, loaded)
        changed = {name: array + 1 for name, array in artifact.tensors.items()}
        save_artifact(tmp_path / "other", part.kind, changed, artifact.header)
        assert not same_content(load(tmp_path / "other"), loaded)


def test_halves_have_the_content_that_they_come_back_with(tmp_path: Path) -> None:
    save_artifact(tmp_path / "one", "ranker/gems", TENSORS, HEADER | {"float16": ["weight"]})
    first = load_artifact(tmp_path / "one", "ranker/gems")
    assert first.content_sha256 == content_sha256(first.kind, first.tensors, first.header)


def test_any_byte_order_is_stored_and_what_is_no_number_refused(tmp_path: Path) -> None:
    values = np.array([1.5, -2.0], ">f4")
    save_artifact(tmp_path / "one.safetensors", "ranker/none", {"values": values}, {})
    np.testing.assert_array_equal(
        load_artifact(tmp_path / "one.safetensors", "ranker").tensors["values"], values
    )
    for wrong in (np.array([1j]), np.array(["text"])):
        with pytest.raises(ValueError, match="tensor 'values' is of .*; a file holds real numbers and bools"):
            save_artifact(tmp_path / "two.safetensors", "ranker/none", {"values": wrong}, {})
