"""Whatever a file holds that somebody hands in: it is read, or one error of the house names it."""

import functools
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import load_artifact, save_artifact
from gems_gym.beliefs import GruBelief, load_belief
from gems_gym.common.networks import FeedForward
from gems_gym.config import SlateConfig
from gems_gym.datasets.d4rl_file import D4rlFile
from gems_gym.embeddings import EmbeddingTable, load_embeddings
from gems_gym.envs import SlateEnv
from gems_gym.policies.actor import Actor
from gems_gym.pretraining.session_log import SessionLog, collect_session_log
from gems_gym.rankers import GemsRanker, TopKRanker, WknnRanker, load_ranker
from gems_gym.simulator import resolve_world
from gems_gym.trained_agents import open_trained_agent, save_trained_agent

WORLD: dict[str, Any] = {"num_items": 30, "slate_size": 4, "num_topics": 3, "episode_length": 3}
JSON_VALUES = (None, True, -1, 0, 2, 1.5, 10**30, "x", "", [], [1, "a"], {}, {"a": [1]}, float("nan"))
HOUSE = (ValueError, OSError)
"""Errors that the program prints as one line, of those that a file can be the reason of."""

Load = Callable[[Path], Any]


class _SavedActor:
    """What ``save_trained_agent`` asks of an agent."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def save(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.actor.save(directory / "policy.safetensors")


def _actor() -> Actor:
    rng = np.random.default_rng(0)
    tensors = {
        "actor.0.weight": rng.standard_normal((5, 20)).astype(np.float32),
        "actor.0.bias": np.zeros(5, np.float32),
    }
    return Actor(FeedForward.from_tensors(tensors, "actor", [["linear"], ["tanh"]]))


@functools.cache
def _parts() -> tuple[GemsRanker, GruBelief, EmbeddingTable, str]:
    catalog = SlateEnv(**WORLD).catalog
    sized = {"num_items": 30, "slate_size": 4, "catalog_hash": catalog.hash, "seed": 0}
    vectors = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
    table = EmbeddingTable(vectors, "embeddings/test", catalog.hash)
    return GemsRanker.random(latent_size=5, **sized), GruBelief.random(**sized), table, catalog.hash


def _make(folder: Path) -> dict[str, tuple[Path, Load]]:
    """One sound file of each kind, and what reads it."""
    ranker, belief, table, catalog_hash = _parts()
    log = collect_session_log(SlateConfig(**WORLD), {"random": 1.0}, 6, 0, progress=False)
    steps = np.arange(6)
    d4rl = D4rlFile(
        observations=np.zeros((6, 3), np.float32),
        actions=np.zeros((6, 2), np.float32),
        rewards=np.ones(6, np.float32),
        next_observations=np.zeros((6, 3), np.float32),
        terminals=np.zeros(6, np.bool_),
        timeouts=(steps + 1) % 3 == 0,
        metadata={"env_spec": {"id": "x"}},
    )
    np.save(folder / "items.npy", SlateEnv(**WORLD).catalog.item_embeddings)
    log.save(folder / "log.npz")
    d4rl.save(folder / "d4rl.npz")
    ranker.save(folder / "gems.safetensors")
    TopKRanker(table.vectors, 4, catalog_hash).save(folder / "topk.safetensors")
    WknnRanker(table.vectors, 4, catalog_hash).save(folder / "wknn.safetensors")
    belief.save(folder / "belief.safetensors")
    table.save(folder / "embeddings.safetensors")
    _actor().save(folder / "actor.safetensors")
    save_trained_agent(folder / "agent", _SavedActor(_actor()), "bc", ranker, belief, {"env": "x"})

    def in_folder(path: Path) -> Any:
        return open_trained_agent(path.parent)

    loaders: dict[str, Load] = {
        "items.npy": lambda path: resolve_world("diffuse_mix", path, {"num_topics": 3, "slate_size": 4}),
        "log.npz": SessionLog.load,
        "d4rl.npz": D4rlFile.load,
        "gems.safetensors": load_ranker,
        "topk.safetensors": load_ranker,
        "wknn.safetensors": load_ranker,
        "belief.safetensors": load_belief,
        "embeddings.safetensors": load_embeddings,
        "actor.safetensors": Actor.load,
        **{f"agent/{name}": in_folder for name in ("agent.json", "policy.safetensors", "ranker.safetensors")},
    }
    return {name: (folder / name, load) for name, load in loaders.items()}


def _bytes_changed(data: bytes, others: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """A file cut, flipped in places, or of another kind."""
    rng = np.random.default_rng(0)
    for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        yield f"cut to {share:.0%}", data[: int(share * len(data))]
    for length in range(1, 12):
        yield f"cut to {length} bytes", data[:length]
    for place in [*range(0, 140, 3), *rng.integers(len(data), size=40).tolist(), *range(-60, 0, 2)]:
        flipped = bytearray(data)
        flipped[place % len(data)] ^= int(rng.integers(1, 256))
        yield f"byte {place} flipped", bytes(flipped)
    yield "longer", data + b"more"
    for text in (b"no such thing", b"{}", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b"\x80\x04."):
        yield f"text {text[:14]!r}", text
    for name, other in others.items():
        yield f"a {name}", other


def _json_changed(data: bytes) -> Iterator[tuple[str, bytes]]:
    record = json.loads(data)
    for value in JSON_VALUES:
        yield f"all {value!r}", json.dumps(value).encode()
        for key in record:
            yield f"{key}={value!r}", json.dumps({**record, key: value}).encode()
    for key in record:
        yield f"without {key}", json.dumps({name: record[name] for name in record if name != key}).encode()


def _artifact_changed(path: Path) -> Iterator[tuple[str, bytes]]:
    """Sound artefacts of their kind whose header or tensors hold what they should not."""
    sound = load_artifact(path, json.loads(_safetensors_header(path)["__metadata__"]["gems_gym"])["kind"])

    def saved(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes | None:
        changed = path.with_name("changed")
        try:
            save_artifact(changed, sound.kind, tensors, header)
        except (ValueError, TypeError):
            return None  # no file of ours
        return changed.read_bytes()

    changes: list[tuple[str, dict[str, Any], dict[str, np.ndarray]]] = []
    for value in JSON_VALUES:
        changes += [(f"{key}={value!r}", {**sound.header, key: value}, sound.tensors) for key in sound.header]
        for key, inner in sound.header.items():
            for name in inner if isinstance(inner, dict) and key != "versions" else ():
                wrong = {**sound.header, key: {**inner, name: value}}
                changes.append((f"{key}.{name}={value!r}", wrong, sound.tensors))
    for name, array in sound.tensors.items():
        for kind, odd in (
            ("none", np.zeros(0, np.float32)),
            ("a number", np.float32(1).reshape(())),
            ("integers", np.ones(array.shape, np.int64)),
            ("NaN", np.full(array.shape, np.nan, np.float32)),
            ("halves", array.astype(np.float16)),
            ("one more axis", array[None]),
            ("a row more", np.concatenate([array, array[:1]])),
        ):
            changes.append((f"{name}: {kind}", sound.header, {**sound.tensors, name: odd}))
        changes.append(
            (f"without {name}", sound.header, {k: v for k, v in sound.tensors.items() if k != name})
        )
    for what, header, tensors in changes:
        if (data := saved(header, tensors)) is not None:
            yield what, data


def _safetensors_header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


def _header_forged(path: Path) -> Iterator[tuple[str, bytes]]:
    """Safetensors whose own header claims what is not so."""
    header, data = _safetensors_header(path), path.read_bytes()
    rest = data[8 + struct.unpack("<Q", data[:8])[0] :]
    name = next(key for key in header if key != "__metadata__")
    for key in ("dtype", "shape", "data_offsets"):
        for value in (*JSON_VALUES, [10**12, 10**6], [-1, 5], [0, 10**12], "F64", "BF16"):
            text = json.dumps({**header, name: {**header[name], key: value}}).encode()
            yield f"{name}.{key}={value!r}", struct.pack("<Q", len(text)) + text + rest
    for value in JSON_VALUES:
        for forged in (
            {**header, name: value},
            {**header, "__metadata__": value},
            {**header, "__metadata__": {"gems_gym": value}},
            {**header, "__metadata__": {"gems_gym": json.dumps(value)}},
        ):
            text = json.dumps(forged).encode()
            yield f"header {value!r}", struct.pack("<Q", len(text)) + text + rest
    for length in (0, 1, 2**31, 2**62, 2**64 - 1):
        yield f"header of {length} bytes", struct.pack("<Q", length) + data[8:]


def _npy(header: str, version: tuple[int, int] = (1, 0), data: bytes = b"\0" * 720) -> bytes:
    text = header.encode("latin1", "replace")
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + data


def _npys() -> Iterator[tuple[str, bytes]]:
    """Headers of arrays that ask for what is not there."""
    shapes = (
        "(30, 6)", "(30, 7)", "(1000000000000,)", "(1000000, 1000000)", "(-30, -6)", "(0, 1000000000000000000000)",
        "(0,)", "()", "(True, 180)", "(30.0, 6)", "'30'", "None", "(" * 50 + ")" * 50, "(180, 1, 1, 1)", "[30, 6]",
    )  # fmt: skip
    types = ("'<f4'", "'|O'", "'<U6000000000'", "'|V720'", "[('a', '<f4')]", "'<c8'", "'<M8[s]'", "4", "'é'")
    for shape in shapes:
        for kind in types:
            header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n"
            yield f"{shape} of {kind}", _npy(header)
    for version in ((0, 0), (2, 0), (3, 0), (9, 9)):
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (30, 6), }\n"
        yield f"version {version}", _npy(header, version)
    for header in ("", "{}", "1", "open('x')", "{'descr': '<f4'}", "{1: 2}", "[" * 5000, "\0", "x" * 60000):
        yield f"header {header[:10]!r}", _npy(header)


def _npzs(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Archives with a member that is no array, another one than it says, or packed in another way."""
    arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))

    def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as made:
            for name, content in members.items():
                made.writestr(f"{name}.npy", content)
        return file.getvalue()

    def plain(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    members = {name: plain(array) for name, array in arrays.items()}
    yield "nothing", archive({})
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"packed by {method}", archive(members, method)
    odd = {
        "text": b"no array",
        "nothing": b"",
        "1e12": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"),
        "objects": b"\x93NUMPY" + plain(np.array([{}], dtype=object))[6:],
        "number": plain(np.float64(1)),
        "negative": plain(-np.ones((2, 2), np.int64)),
        "texts": plain(np.array(["a", "b"])),
        "complex": plain(np.ones(3, np.complex64)),
        "huge text": plain(np.array('{"a": ' * 40_000)),
        "empty": plain(np.zeros((0, 3, 4), np.int32)),
        "NaN": plain(np.full((6, 4, 4), np.nan, np.float32)),
    }
    for name, array in arrays.items():
        yield f"without {name}", archive({key: value for key, value in members.items() if key != name})
        odd["a row more"] = plain(np.concatenate([np.atleast_1d(array)] * 2))
        for what, content in odd.items():
            yield f"{name}: {what}", archive({**members, name: content})


def attempts(folder: Path) -> Iterator[tuple[str, Path, Load, str, bytes]]:
    """Kind of file, the file, what reads it, what is wrong with it, and its bytes."""
    made = _make(folder)
    sound = {name: path.read_bytes() for name, (path, _) in made.items()}
    for name, (path, load) in made.items():
        load(path)  # a sound one is read
        others = {key: value for key, value in sound.items() if key != name}
        changed = [*_bytes_changed(sound[name], others)]
        if path.suffix == ".json":
            changed += _json_changed(sound[name])
        elif path.suffix == ".npy":
            changed += _npys()
        elif path.suffix == ".npz":
            changed += _npzs(sound[name])
        elif path.parent == folder:
            changed += [*_artifact_changed(path), *_header_forged(path)]
        for what, data in changed:
            yield name, path, load, what, data
        path.write_bytes(sound[name])


def raw_errors(folder: Path) -> Iterator[tuple[str, str]]:
    """Every attempt, and what came out of it where that is no clear answer: the empty text where it is."""
    for name, path, load, what, data in attempts(folder):
        path.write_bytes(data)
        try:
            load(path)
        except HOUSE as error:
            clear = path.name in str(error) or path.parent.name in str(error)
            yield name, "" if clear else f"{what}: {type(error).__name__}: {str(error)[:150]}"
        except BaseException as error:
            yield name, f"{what}: {type(error).__name__}: {str(error)[:150]}"
        else:
            yield name, ""


@pytest.mark.slow
def test_every_corrupt_file_is_named(tmp_path: Path) -> None:
    found = [*raw_errors(tmp_path)]
    assert len(found) > 2_000
    assert [f"{name}: {error}" for name, error in found if error] == []


def test_a_small_file_can_not_ask_for_gigabytes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = "{'descr': '<i4', 'fortran_order': False, 'shape': (1000, 1000, 50), }\n"
        archive.writestr("slates.npy", _npy(header, data=bytes(4 * 1000 * 1000 * 50)))
        for name in ("clicks", "click_probabilities", "policy", "policy_names", "catalog_hash"):
            archive.writestr(
                f"{name}.npy", _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (180,), }\n")
            )
    assert (tmp_path / "bomb.npz").stat().st_size < 300_000
    with pytest.raises(ValueError, match=r"bomb.npz' is no .npz file of arrays: slates.npy expands from"):
        SessionLog.load(tmp_path / "bomb.npz")
