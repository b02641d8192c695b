"""Files of rankers, beliefs, policies and embeddings that lie about themselves: one clear error, and little memory."""

from __future__ import annotations

import json
import re
import resource
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as safetensors_bytes

from gems_gym.artifacts import ArtifactError, files, load_artifact, save_artifact
from gems_gym.beliefs import GruBelief, LstmBelief, TransformerBelief, load_belief
from gems_gym.common.networks import FeedForward
from gems_gym.embeddings import EmbeddingTable, load_embeddings
from gems_gym.policies.actor import Actor
from gems_gym.rankers import GemsRanker, KHeadArgmaxRanker, SoftmaxRanker, TopKRanker, WknnRanker, load_ranker

SIZES: dict[str, Any] = {"num_items": 12, "slate_size": 3, "catalog_hash": "ca" * 32, "seed": 0}
VECTORS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def _actor() -> Actor:
    tensors = {"0.weight": np.ones((2, 3), np.float32), "0.bias": np.zeros(2, np.float32)}
    return Actor(FeedForward(tensors, [["linear"], ["tanh"]]), {"agent": "sac"})


MADE: dict[str, tuple[Callable[[], Any], Callable[[Path], Any]]] = {
    "ranker/gems": (
        lambda: GemsRanker.random(latent_size=4, embedding_size=4, **SIZES),
        load_ranker,
    ),
    "ranker/topk": (lambda: TopKRanker(VECTORS, 3, "ca" * 32), load_ranker),
    "ranker/k_head_argmax": (lambda: KHeadArgmaxRanker(VECTORS, 3, "ca" * 32), load_ranker),
    "ranker/wknn": (lambda: WknnRanker(VECTORS, 3, "ca" * 32), load_ranker),
    "ranker/softmax": (lambda: SoftmaxRanker(VECTORS, 3, "ca" * 32), load_ranker),
    "belief/gru": (lambda: GruBelief.random(size=4, embedding_size=4, **SIZES), load_belief),
    "belief/lstm": (lambda: LstmBelief.random(size=4, embedding_size=4, **SIZES), load_belief),
    "belief/transformer": (
        lambda: TransformerBelief.random(
            size=4, embedding_size=4, width=4, layers=2, heads=2, context=3, **SIZES
        ),
        load_belief,
    ),
    "policy/actor": (_actor, Actor.load),
    "embeddings/co_click": (
        lambda: EmbeddingTable(VECTORS, "embeddings/co_click", "ca" * 32),
        load_embeddings,
    ),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    paths = {}
    for kind, (make, _) in MADE.items():
        paths[kind] = folder / f"{kind.replace('/', '_')}.safetensors"
        make().save(paths[kind])
    return paths


def write(
    path: Path, kind: str, tensors: dict[str, np.ndarray], header: dict[str, Any], **outer: Any
) -> None:
    """A file with a checksum that agrees, as anyone can write one who has read the code."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    full = {"versions": {}, **header, "format": 1, "kind": kind}
    full["checksum"] = files._checksum(json.loads(json.dumps(full)), arrays)
    path.write_bytes(safetensors_bytes(arrays, metadata={"gems_gym": json.dumps(full), **outer}))


def refused(load: Callable[[Path], Any], path: Path) -> str:
    """The one line that says what is wrong with a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ArtifactError) as error:
            load(path)
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def belief_of(items: int, slots: int, size: int = 20, width: int = 1) -> dict[str, np.ndarray]:
    gates = 3 * size
    return {
        "item_embeddings": np.zeros((items, width), np.float32),
        "weight_items": np.zeros((2, slots, gates, width), np.float32),
        "weight_clicks": np.zeros((slots, gates), np.float32),
        "weight_hh": np.zeros((gates, size), np.float32),
        "bias_ih": np.zeros(gates, np.float32),
        "bias_hh": np.zeros(gates, np.float32),
    }


LIMITED = """
import resource, sys
from gems_gym.beliefs import load_belief
from gems_gym.rankers import load_ranker
have = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (have + 2**29, have + 2**29))
for load, path in ((load_belief, sys.argv[1]), (load_ranker, sys.argv[2]), (load_ranker, sys.argv[3])):
    try:
        load(path)
    except ValueError as error:
        print(error)
"""


def test_a_small_file_allocates_little(tmp_path: Path) -> None:
    """1 MB whose table would have 36 GB, which is not made, a header of 10^12 bytes, and a slate of 10^9 items."""
    header = {"catalog_hash": "ca" * 32, "sizes": {}}
    belief, long, slates = (tmp_path / name for name in ("belief", "long", "slates"))
    write(belief, "belief/gru", belief_of(items=250_000, slots=150), header)
    assert belief.stat().st_size < 1.2e6
    long.write_bytes(struct.pack("<Q", 10**12) + b'{"__metadata__": {}}')
    options = {"deduplicate": False}
    sizes = {"slate_size": 10**9, "num_items": 12, "embedding_size": 4, "latent_size": 4 * 10**9}
    write(
        slates,
        "ranker/k_head_argmax",
        {"item_embeddings": VECTORS},
        {**header, "sizes": sizes, "options": options},
    )
    command = [sys.executable, "-c", LIMITED, str(belief), str(long), str(slates)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout
    assert re.search(r"belief records the sizes {}, but its tensors have", lines[0])
    assert re.search(r"long is truncated", lines[1])
    assert re.search(r"slates is not a usable ranker/k_head_argmax: slate_size .* got 1000000000", lines[2])


def test_a_header_beyond_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_HEADER", 400)
    with pytest.raises(ValueError, match="too large for a ranker/x"):
        save_artifact(tmp_path / "x", "ranker/x", {}, {"text": "a" * 1000})
    write(tmp_path / "x", "ranker/x", {}, {"text": "a" * 1000})
    assert "has a header of" in refused(lambda path: load_artifact(path, "ranker"), tmp_path / "x")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(files.LARGEST_FILE + 1)  # takes no space on disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "bytes; an artefact has at most" in refused(
        lambda path: load_artifact(path, "ranker"), tmp_path / "x"
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # KiB


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("ranker/gems", {"sizes": {"num_items": 10**9}}, "records the sizes"),
        ("ranker/gems", {"sizes": 5}, "options and sizes in its header must be JSON objects"),
        ("ranker/gems", {"options": [1]}, "options and sizes in its header must be JSON objects"),
        ("ranker/gems", {"float16": 5}, "float16=5"),
        ("ranker/gems", {"float16": ["nothing"]}, "float16="),
        ("ranker/gems", {"catalog_hash": 5}, "lacks catalog_hash"),
        (
            "ranker/softmax",
            {"options": {"sample": True, "temperature": 10**400, "replace": False}},
            "not a usable",
        ),
        ("ranker/topk", {"sizes": {"slate_size": 2.5}}, "slate_size"),
        ("ranker/wknn", {"sizes": {"slate_size": 10**6}}, "slate_size"),
        ("belief/gru", {"sizes": {"num_items": 10**9}}, "records the sizes"),
        ("policy/actor", {"layers": 5}, "not a readable policy/actor"),
        ("policy/actor", {"layers": [5]}, "not a readable policy/actor"),
        ("policy/actor", {"metadata": 5}, "not a readable policy/actor"),
        ("policy/actor", {"action_size": 10**9}, "records the sizes"),
        ("embeddings/co_click", {"sizes": {"num_items": 10**9}}, "records the sizes"),
    ],
)
def test_headers_that_lie(
    originals: dict[str, Path], tmp_path: Path, kind: str, change: dict[str, Any], words: str
) -> None:
    whole = load_artifact(originals[kind], kind)
    write(tmp_path / "forged", kind, whole.tensors, whole.header | change)
    assert words in refused(MADE[kind][1], tmp_path / "forged")


@pytest.mark.parametrize("shape", [(0, 4), (12, 0), (2**40, 0), (12,), ()])
@pytest.mark.parametrize(
    "kind",
    ["ranker/gems", "ranker/topk", "belief/gru", "belief/lstm", "belief/transformer", "embeddings/co_click"],
)
def test_item_embeddings_of_another_shape(
    originals: dict[str, Path], tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    whole = load_artifact(originals[kind], kind)
    tensors = whole.tensors | {"item_embeddings": np.ones(shape, np.float32)}
    write(tmp_path / "forged", kind, tensors, whole.header)
    if shape == ():  # an array without dimensions comes back as one of one number
        tensors["item_embeddings"] = np.ones(1, np.float32)
    refused(MADE[kind][1], tmp_path / "forged")


@pytest.mark.parametrize("depth", [5_000, 200_000])
def test_nested_headers(tmp_path: Path, depth: int) -> None:
    text = "[" * depth + "]" * depth
    header = f'{{"format": 1, "kind": "ranker/x", "checksum": "", "x": {text}}}'
    (tmp_path / "x").write_bytes(safetensors_bytes({}, metadata={"gems_gym": header}))
    refused(lambda path: load_artifact(path, "ranker"), tmp_path / "x")


@pytest.mark.parametrize("value", [1e300, np.nan])
def test_numbers_that_float32_does_not_have(originals: dict[str, Path], tmp_path: Path, value: float) -> None:
    for kind, name in (
        ("ranker/gems", "centre"),
        ("belief/gru", "bias_ih"),
        ("belief/lstm", "weight_hh"),
        ("belief/transformer", "layers.1.age_bias"),
        ("policy/actor", "actor.0.bias"),
    ):
        whole = load_artifact(originals[kind], kind)
        forged = np.full(whole.tensors[name].shape, value, np.float64)
        write(tmp_path / "forged", kind, whole.tensors | {name: forged}, whole.header)
        assert "non-finite" in refused(MADE[kind][1], tmp_path / "forged")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def paths_of(value: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where the entries of a nested dict are."""
    found = []
    for name, one in value.items():
        found.append((*prefix, name))
        found += paths_of(one, (*prefix, name)) if isinstance(one, dict) else []
    return found


def one_clear_line_or_fine(load: Callable[[Path], Any], path: Path) -> None:
    text = ""
    try:
        load(path)
    except ValueError as error:  # ArtifactError, or a kind that no plugin knows
        text = str(error)
    assert "\n" not in text


@FEW
@given(data=st.data(), kind=st.sampled_from(sorted(MADE)))
def test_any_header_entry_may_be_anything(
    originals: dict[str, Path], tmp_path: Path, data: Any, kind: str
) -> None:
    whole = load_artifact(originals[kind], kind)
    header = json.loads(json.dumps(whole.header))
    *parents, last = data.draw(st.sampled_from(paths_of(header)))
    inner = header
    for name in parents:
        inner = inner[name]
    inner[last] = data.draw(JSON)
    write(tmp_path / "forged", kind, whole.tensors, header)
    one_clear_line_or_fine(MADE[kind][1], tmp_path / "forged")


@FEW
@given(data=st.data(), kind=st.sampled_from(sorted(MADE)))
def test_any_tensor_may_have_any_shape(
    originals: dict[str, Path], tmp_path: Path, data: Any, kind: str
) -> None:
    whole = load_artifact(originals[kind], kind)
    name = data.draw(st.sampled_from(sorted(whole.tensors)))
    shape = data.draw(st.lists(st.integers(0, 6), max_size=4))
    dtype = data.draw(
        st.sampled_from(["float32", "float64", "float16", "int64", "uint8", "bool", "complex64"])
    )
    write(tmp_path / "forged", kind, whole.tensors | {name: np.ones(shape, dtype)}, whole.header)
    one_clear_line_or_fine(MADE[kind][1], tmp_path / "forged")


@FEW
@given(data=st.data(), kind=st.sampled_from(sorted(MADE)))
def test_any_outer_header(originals: dict[str, Path], tmp_path: Path, data: Any, kind: str) -> None:
    """Lengths, offsets, shapes and dtypes that do not fit the file, where the library's own checks are the first."""
    original = originals[kind].read_bytes()
    length = int.from_bytes(original[:8], "little")
    outer = json.loads(original[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(outer)))
    field = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", None]))
    huge = st.sampled_from([0, 1, 2**31, 2**62, 10**12, 10**18, -1])
    value = data.draw(JSON | st.lists(huge, max_size=3))
    if field is None or name == "__metadata__":
        outer[name] = value
    else:
        outer[name][field] = value
    text = json.dumps(outer).encode()
    claimed = data.draw(st.sampled_from([len(text), len(text), len(text) - 1, 0, 10**12, 2**64 - 1]))
    (tmp_path / "forged").write_bytes(claimed.to_bytes(8, "little") + text + original[8 + length :])
    one_clear_line_or_fine(MADE[kind][1], tmp_path / "forged")
