"""gems_gym.rankers: search of large catalogues by lists of items, beside exact search."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.rankers import GemsRanker, TopKRanker, WknnRanker, load_ranker
from gems_gym.rankers.item_lists import ItemLists
from gems_gym.rankers.kernels import lowest_of_largest
from gems_gym.rankers.search import ExactSearch
from gems_gym.testing import check_ranker
from tests.rankers.item_vectors import HASH, random_latents

ITEMS, SIZE, SLOTS = 20_000, 16, 10
KINDS = ["topk", "wknn", "gems"]


def catalogue() -> np.ndarray:
    """Items around topics; the last hundred are the first hundred again."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((50, SIZE))
    items = topics[rng.integers(50, size=ITEMS)] + 0.5 * rng.standard_normal((ITEMS, SIZE))
    items[-100:] = items[:100]
    return items.astype(np.float32)


def make(kind: str, items: np.ndarray, search: Any) -> Any:
    if kind == "topk":
        return TopKRanker(items, SLOTS, HASH, cosine=True, search=search)
    if kind == "wknn":
        return WknnRanker(items, SLOTS, HASH, k=3, search=search)
    untrained = GemsRanker.random(
        num_items=len(items), slate_size=SLOTS, catalog_hash=HASH, seed=0, embedding_size=SIZE
    )
    return GemsRanker({**untrained.tensors, "item_embeddings": items}, HASH, search=search)


@pytest.fixture(scope="module")
def rankers() -> dict[str, Any]:
    items = catalogue()
    return {kind: make(kind, items, "ivf") for kind in KINDS}


def overlap(slates: np.ndarray, others: np.ndarray) -> float:
    pairs = zip(slates.tolist(), others.tolist(), strict=True)
    return float(np.mean([len({*one} & {*other}) / SLOTS for one, other in pairs]))


@pytest.mark.parametrize("kind", KINDS)
def test_finds_nearly_all_of_the_best_items(rankers: dict[str, Any], kind: str) -> None:
    ranker = rankers[kind]
    report = ranker.header["search"]
    assert report["probes"] < report["lists"] / 2
    for queries in ("uniform", "near_items"):
        assert report[f"recall_{queries}"] > 0.985
        assert 0 <= report[f"score_lost_{queries}"] < 0.01
    latents = random_latents(200, ranker.action_size)
    slates = ranker.rank(latents)
    assert 0.98 < overlap(slates, ranker.with_search("exact").rank(latents)) < 1
    assert all(len(set(slate)) == SLOTS for slate in slates.tolist())


@given(
    arrays(np.float32, (2, 30), elements=st.integers(-5, 5) | st.floats(-(2.0**100), 2.0**100, width=32)),
    st.integers(1, 30),
)
def test_as_many_values_reach_the_lowest_of_the_largest(rows: np.ndarray, count: int) -> None:
    for row, lowest in zip(rows, lowest_of_largest(rows, count), strict=True):
        np.testing.assert_array_equal(row >= lowest, row >= np.sort(row)[-count])


@pytest.mark.parametrize("kind", KINDS)
def test_reading_all_lists_is_exact_search(rankers: dict[str, Any], kind: str) -> None:
    """Bit for bit, the lowest id of equals first."""
    ranker = rankers[kind]
    lists = ItemLists(ranker.tensors["item_lists"], {"probes": ranker.header["search"]["lists"]})
    latents = random_latents(50, ranker.action_size)
    exact = ranker.with_search("exact")
    if kind != "gems":  # some ask for items that are there twice
        slates = np.repeat(np.arange(20)[:, None], SLOTS, axis=1)
        latents[:20] = exact.encode(slates, np.zeros_like(slates))
    np.testing.assert_array_equal(ranker.with_search(lists).rank(latents), exact.rank(latents))


@pytest.mark.parametrize("kind", KINDS)
def test_is_a_ranker_and_survives_its_file(rankers: dict[str, Any], kind: str, tmp_path: Path) -> None:
    check_ranker(rankers[kind])
    rankers[kind].save(tmp_path / "ranker.safetensors")
    loaded: Any = load_ranker(tmp_path / "ranker.safetensors")
    assert loaded.options == rankers[kind].options and loaded.search == "ivf"
    assert loaded.header["search"] == rankers[kind].header["search"]
    again = loaded.with_search("exact")
    assert "search" not in again.options and "search" not in again.header


def test_many_are_ranked_together_as_each_alone(rankers: dict[str, Any]) -> None:
    latents = random_latents(4_200, SIZE)
    together = rankers["topk"].rank(latents)
    np.testing.assert_array_equal(rankers["topk"].rank(latents[4_000:]), together[4_000:])
    np.testing.assert_array_equal(rankers["topk"].rank(latents[:1]), together[:1])


def test_a_critic_chooses_among_candidates_of_the_lists(rankers: dict[str, Any]) -> None:
    latents = random_latents(20, rankers["wknn"].action_size)
    slates, exact = (
        ranker.rank(latents, lambda actions: actions.sum(axis=2))
        for ranker in (rankers["wknn"], rankers["wknn"].with_search("exact"))
    )
    assert overlap(slates, exact) > 0.95
    assert all(len(set(slate)) == SLOTS for slate in slates.tolist())


def test_exact_search_is_the_default_and_leaves_no_trace(tmp_path: Path) -> None:
    items = catalogue()[:50]
    for kind in KINDS:
        ranker = make(kind, items, "exact")
        assert "search" not in ranker.options and "item_lists" not in ranker.tensors
    digest = TopKRanker(items, SLOTS, HASH).save(tmp_path / "default.safetensors")
    assert TopKRanker(items, SLOTS, HASH, search="exact").save(tmp_path / "exact.safetensors") == digest
    with pytest.raises(ValueError, match="unknown search 'hnsw'.*'exact', 'ivf'"):
        TopKRanker(items, SLOTS, HASH, search="hnsw")  # type: ignore[arg-type]


def test_huge_latents_find_what_small_ones_do(rankers: dict[str, Any]) -> None:
    latents = random_latents(5, SIZE)
    np.testing.assert_array_equal(rankers["topk"].rank(2.0**100 * latents), rankers["topk"].rank(latents))


@pytest.mark.parametrize("deduplicate", [False, True])
def test_of_many_items_users_get_together_what_each_gets_alone(deduplicate: bool) -> None:
    rng = np.random.default_rng(0)
    items = rng.integers(-3, 4, (4, 40_000)).astype(np.float32)  # many are equal
    slots = rng.integers(-3, 4, (5, SLOTS, 4)).astype(np.float32)
    search = ExactSearch(items, np.zeros(40_000, np.float32))
    together = search.best_per_slot(slots, deduplicate)
    alone = [search.best_per_slot(one[None], deduplicate)[0] for one in slots]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("num_items", [1, 2, 40])
def test_few_items(num_items: int) -> None:
    """Lists hold less than a slate, so all are read."""
    items = catalogue()[:num_items]
    latents = random_latents(9, SIZE)
    topk = TopKRanker(items, num_items, HASH, search="ivf")
    np.testing.assert_array_equal(topk.rank(latents), topk.with_search("exact").rank(latents))
    wknn = WknnRanker(items, 60, HASH, k=1, deduplicate=False, search="ivf")  # more slots than items
    assert wknn.rank(random_latents(9, 60 * SIZE)).max() < num_items


def test_unfit_lists_in_a_file(rankers: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "ranker.safetensors"
    rankers["topk"].save(path)
    whole = load_artifact(path, "ranker")
    lists, header = whole.tensors["item_lists"], whole.header
    for of_items, search, message in (
        (lists[:-1], header["search"], r"int32 \(19999,\)"),
        (lists.astype(np.float32), header["search"], "float32"),
        (np.where(lists == 0, 7, lists), header["search"], "none of them empty"),
        (np.where(lists == 0, -1, lists), header["search"], "none of them empty"),
        (lists, header["search"] | {"probes": 0}, "search.probes must be an integer from 1"),
        (lists, [], "search must be"),
        (lists, {}, "probes"),
    ):
        tensors = {**whole.tensors, "item_lists": of_items}
        save_artifact(path, "ranker/topk", tensors, header | {"search": search})
        with pytest.raises(ArtifactError, match=message):
            load_ranker(path)


def test_faiss_is_needed_to_make_lists_only(rankers: dict[str, Any], tmp_path: Path) -> None:
    rankers["topk"].save(tmp_path / "ranker.safetensors")
    code = (
        "import sys, numpy as np\n"
        "sys.modules['faiss'] = None\n"  # as if it were not installed
        "from gems_gym.rankers import TopKRanker, load_ranker\n"
        "print(load_ranker(sys.argv[1]).rank(np.ones((1, 16), np.float32))[0, 0])\n"
        "TopKRanker(np.eye(16), 2, 'none', search='ivf')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ranker.safetensors")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(rankers["topk"].rank(np.ones((1, SIZE), np.float32))[0, 0])
    assert done.returncode == 1 and "pip install 'gems-gym[search]'" in done.stderr


def test_lists_of_other_items_are_refused() -> None:
    ranker = TopKRanker(catalogue()[:30], SLOTS, HASH)
    for size in (10, 40):
        lists = ItemLists(np.arange(size, dtype=np.int32) // 5, {"lists": size // 5, "probes": 1})
        with pytest.raises(ValueError, match=f"search has lists of {size} items, the ranker has 30"):
            ranker.with_search(lists)
    with pytest.raises(ValueError, match=r"search\.probes must be"):
        ranker.with_search(ItemLists(np.arange(30, dtype=np.int32) // 5, {"lists": 6, "probes": 7}))
