"""gems_gym.pretraining.ranker_report: measures with known answers."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from gems_gym.embeddings import EmbeddingTable
from gems_gym.envs import SlateEnv
from gems_gym.pretraining import ranker_report
from gems_gym.pretraining.ranker_report import compare_rankers
from gems_gym.pretraining.reach import ranker_reach
from gems_gym.rankers import GemsRanker, Ranker, make_ranker

WORLD: dict[str, Any] = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 10}
BRIEF: dict[str, Any] = {"log_sessions": 20, "search_sessions": 5_000, "users": 50, "progress": False}


@pytest.fixture(autouse=True)
def few_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranker_report, "_RANDOM_LATENTS", 2_000)


@pytest.fixture(scope="module")
def world() -> SlateEnv:
    return SlateEnv(**WORLD)


def gems(world: SlateEnv, changes: dict[str, Any] | None = None, **options: Any) -> GemsRanker:
    """An untrained ranker, with some tensors replaced."""
    ranker = GemsRanker.random(
        num_items=60, slate_size=5, latent_size=4, catalog_hash=world.catalog.hash, seed=0
    )
    return GemsRanker({**ranker.tensors, **(changes or {})}, world.catalog.hash, **options)


def compare(world: SlateEnv, **rankers: Ranker) -> dict[str, dict[str, Any]]:
    return compare_rankers(rankers, world.config, world.catalog, **BRIEF)


def test_a_ranker_that_gives_back_every_slate(world: SlateEnv) -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    table = EmbeddingTable(vectors, "embeddings/test", world.catalog.hash)
    rows = compare(
        world, wknn=make_ranker("wknn", table, 5, deduplicate=False), topk=make_ranker("topk", table, 5)
    )
    exact, topk = rows["wknn"], rows["topk"]
    assert exact["slot_accuracy_eps_greedy"] == 1
    assert exact["slot_accuracy_own_log"] is None  # nobody logged for it
    assert exact["duplicates"] == exact["duplicates_if_allowed"] > 0
    assert 0.5 < exact["catalogue_share"] <= 1
    assert (exact["kl"], exact["active_dimensions"], exact["action_size"]) == (None, None, 20)
    assert (topk["duplicates"], topk["duplicates_if_allowed"]) == (0, None)
    assert 0 < topk["slot_accuracy_eps_greedy"] < 1 and 0 < topk["catalogue_share_encoded"] <= 1
    assert exact["constant_slate"] == topk["constant_slate"] > 0
    reach = ranker_reach(
        make_ranker("topk", table, 5), world.config, world.catalog, sessions=5_000, users=50, progress=False
    )
    assert (topk["reach"], topk["reach_ci95"]) == (reach.mean, reach.ci95)
    assert topk["reach_ratio"] == pytest.approx(topk["reach"] / topk["constant_slate"])
    assert min(exact["decode_rate"], topk["decode_rate"]) > 0


def test_posteriors_with_known_divergence(world: SlateEnv) -> None:
    last = np.zeros((8, 256), np.float32)
    prior = {"encoder.4.weight": last, "encoder.4.bias": np.zeros(8, np.float32)}
    shifted = {**prior, "encoder.4.bias": np.float32([2, 0, 0, 0, 0, 0, 0, np.log(4)])}
    rows = compare(world, prior=gems(world, prior), shifted=gems(world, shifted), free=gems(world))
    assert (rows["prior"]["kl"], rows["prior"]["active_dimensions"]) == (0, 0)
    # a mean of 2, and a variance of 4: (4 - 0)/2 + (4 - 1 - log 4)/2
    assert rows["shifted"]["kl"] == pytest.approx(2 + (3 - np.log(4)) / 2)
    assert rows["shifted"]["active_dimensions"] == 0  # the same for every slate
    assert rows["free"]["active_dimensions"] == 4
    assert rows["prior"]["catalogue_share_encoded"] == 5 / 60  # one latent, one slate
    assert rows["free"]["catalogue_share_encoded"] > 0.1


def test_deduplication_is_turned_off_on_a_copy(world: SlateEnv) -> None:
    ranker = gems(world)
    row = compare(world, ranker=ranker)["ranker"]
    assert row["duplicates"] == 0 < row["duplicates_if_allowed"]
    assert ranker.deduplicate


def test_the_header_tells_about_the_ranker_s_own_log(world: SlateEnv) -> None:
    metrics = {"slot_accuracy": 0.25, "kl": 31.5, "active_dimensions": 3.0}
    whole = gems(world, header={"metrics": metrics})
    rows = compare(
        world,
        whole=whole,
        decoder=whole.without_encoder(),
        of_old=gems(world, header={"metrics": {}}).without_encoder(),
        unknown=gems(world),
    )
    assert [rows[name]["slot_accuracy_own_log"] for name in rows] == [0.25, 0.25, None, None]
    # what can be measured is measured
    assert rows["whole"]["kl"] == rows["unknown"]["kl"] != 31.5
    assert rows["whole"]["active_dimensions"] == rows["unknown"]["active_dimensions"] == 4
    assert rows["decoder"]["kl"] == 31.5
    assert repr(rows["decoder"]["active_dimensions"]) == "3"
    assert (rows["of_old"]["kl"], rows["of_old"]["active_dimensions"]) == (None, None)
    assert rows["decoder"]["slot_accuracy_eps_greedy"] is rows["decoder"]["catalogue_share_encoded"] is None
    for measure in ("reach", "duplicates", "duplicates_if_allowed", "catalogue_share"):
        assert rows["decoder"][measure] == rows["whole"][measure]


def test_what_does_not_fit_is_refused_before_any_work(world: SlateEnv) -> None:
    wide = GemsRanker.random(num_items=60, slate_size=6, catalog_hash=world.catalog.hash, seed=0)
    with pytest.raises(ValueError, match="wide has slates of 6 items, the world 5"):
        compare(world, good=gems(world), wide=wide)
    other = GemsRanker.random(num_items=60, slate_size=5, catalog_hash="other", seed=0)
    with pytest.raises(ValueError, match="other is for the catalogue other, not for"):
        compare(world, other=other)
    with pytest.raises(ValueError, match="log_sessions must be an integer from 1 to 1048576, got 0"):
        compare_rankers({"ranker": gems(world)}, world.config, world.catalog, **{**BRIEF, "log_sessions": 0})
    for wrong in ({"search_sessions": 4_999}, {"users": 1}, {"seed": 2**19}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be an integer"):
            compare_rankers({"ranker": gems(world)}, world.config, world.catalog, **{**BRIEF, **wrong})


def test_a_world_without_clicks_has_no_ratio(world: SlateEnv) -> None:
    config = dataclasses.replace(world.config, alpha=0.0)
    (row,) = compare_rankers({"gems": gems(world)}, config, world.catalog, **BRIEF).values()
    assert (row["constant_slate"], row["reach_ratio"]) == (0.0, None)
