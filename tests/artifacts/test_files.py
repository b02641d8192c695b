"""gems_gym.artifacts.files: whole, unaltered, of the right kind, or a clear error."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact

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
