"""gems_gym.datasets.relabelling: the slate that an action showed decides the new action, and what is lost is told."""

from typing import Any

import numpy as np
import pytest

from gems_gym.datasets import (
    compute_content_hash,
    dataset_belief,
    dataset_ranker,
    recover_latent_environment,
    relabel,
)
from gems_gym.rankers import GemsRanker, KHeadArgmaxRanker, WknnRanker
from tests.datasets.small_world import (
    SLATE_SIZE,
    catalog_hash,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems_gym.datasets.reader.CHUNK_SESSIONS", 4)


def vectors() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)


def exact_ranker(**options: Any) -> WknnRanker:
    """A ranker whose encode and rank are inverses of one another, but for duplicates."""
    return WknnRanker(vectors(), SLATE_SIZE, catalog_hash(), k=5, **options)


def test_actions_are_those_of_the_slates_they_showed() -> None:
    source, ranker = collect_latents(), small_ranker(seed=5)
    made = relabel(source, ranker, dataset_id="small/other-v0", **QUIET)
    assert made.total_episodes == 10
    same = []
    for old, new in zip(source.iterate_episodes(), made.iterate_episodes(), strict=True):
        shown, clicks = old.infos["slate"][1:].astype(np.int64), old.infos["clicks"][1:]
        np.testing.assert_array_equal(new.actions, ranker.encode(shown, clicks))
        assert new.actions.dtype == np.float32
        same.append(ranker.rank(new.actions) == shown)
        np.testing.assert_array_equal(new.observations, old.observations)
        np.testing.assert_array_equal(new.rewards, old.rewards)
        assert new.infos.keys() == old.infos.keys()
        for name, values in old.infos.items():
            np.testing.assert_array_equal(new.infos[name], values)
    slates = np.concatenate(same)
    derived = made.storage.metadata["derived_from"]
    assert derived["reconstruction"] == {
        "slots": pytest.approx(slates.mean()),
        "slates": pytest.approx(slates.all(axis=1).mean()),
    }
    assert 0 < derived["reconstruction"]["slots"] < 1
    assert derived["sources"][0]["dataset_id"] == "small/latent-v0"
    assert derived["sources"][0]["content_hash"] == compute_content_hash(source)
    assert derived["sources"][0]["ranker_sha256"] == source.storage.metadata["ranker_sha256"]


def test_copies_hashes_and_metadata_go_along() -> None:
    source = collect_latents()
    made = relabel(source, exact_ranker(), dataset_id="small/other-v0", **QUIET)
    old, new = source.storage.metadata, made.storage.metadata
    assert new["content_hash"] == compute_content_hash(made) != old["content_hash"]
    assert dataset_ranker(made).kind == "ranker/wknn"
    assert dataset_belief(made).sha256 == old["belief_sha256"]
    for name in ("policy", "user_split", "user_seed", "catalog_hash", "ref_min_score", "ref_max_score"):
        assert new[name] == old[name]
    env = recover_latent_environment(made)
    assert env.action_space == made.action_space
    seeds = [one["seed"] for one in made.storage.get_episode_metadata(range(10))]
    assert seeds == [one["seed"] for one in source.storage.get_episode_metadata(range(10))]
    first = made[0]
    belief, _ = env.reset(seed=seeds[0])
    np.testing.assert_array_equal(belief, first.observations[0])


def test_an_exact_ranker_gives_everything_back() -> None:
    made = relabel(collect_latents(), exact_ranker(deduplicate=False), dataset_id="small/other-v0", **QUIET)
    assert made.storage.metadata["derived_from"]["reconstruction"] == {"slots": 1.0, "slates": 1.0}
    for episode in made.iterate_episodes():
        ranked = dataset_ranker(made).rank(episode.actions)
        np.testing.assert_array_equal(ranked, episode.infos["slate"][1:])


def test_slates_become_beliefs_and_latents(tmp_path) -> None:
    file = tmp_path / "belief.safetensors"
    sha256 = small_belief().save(file)
    slates = collect_slates()
    made = relabel(slates, exact_ranker(), belief=file, dataset_id="small/made-v0", **QUIET)
    assert made.storage.metadata["belief_sha256"] == sha256
    env = recover_latent_environment(made)
    assert env.observation_space == made.observation_space
    for old, new in zip(slates.iterate_episodes(), made.iterate_episodes(), strict=True):
        belief, encoder = small_belief().initial(1), small_belief()
        for t, observation in enumerate(new.observations):
            belief = encoder.update(belief, old.infos["slate"][None, t], old.infos["clicks"][None, t])
            np.testing.assert_array_equal(observation, belief[0])
        np.testing.assert_array_equal(exact_ranker().rank(new.actions), old.actions)


def test_another_belief_is_folded_anew() -> None:
    source = collect_latents()
    other = small_belief(seed=9)
    made = relabel(source, small_ranker(), belief=other, dataset_id="small/other-v0", **QUIET)
    assert not np.array_equal(made[0].observations, source[0].observations)
    again = relabel(made, small_ranker(), belief=small_belief(), dataset_id="small/again-v0", **QUIET)
    np.testing.assert_array_equal(again[3].observations, source[3].observations)
    np.testing.assert_array_equal(again[3].actions, made[3].actions)
    history = again.storage.metadata["derived_from"]["sources"][0]
    assert history["dataset_id"] == "small/other-v0"
    assert history["derived_from"]["sources"][0]["dataset_id"] == "small/latent-v0"


def other_catalogue() -> GemsRanker:
    return GemsRanker.random(
        num_items=40, slate_size=SLATE_SIZE, catalog_hash="f" * 64, seed=0, latent_size=6
    )


@pytest.mark.parametrize(
    ("ranker", "message"),
    [
        (KHeadArgmaxRanker(vectors(), SLATE_SIZE, catalog_hash()), "ranker/k_head_argmax has no encode"),
        (other_catalogue(), f"for the catalogue {'f' * 64}, but the environment's catalogue is"),
        ("gems-diffus_mix", "did you mean 'gems-diffuse_mix'"),
        ("gems-diffuse_mix", "made for the catalogue"),
    ],
)
def test_wrong_rankers(ranker, message: str, datasets_root) -> None:
    source = collect_latents()
    before = sorted(datasets_root.rglob("*"))
    with pytest.raises(ValueError, match=message):
        relabel(source, ranker, dataset_id="small/other-v0", **QUIET)
    assert sorted(datasets_root.rglob("*")) == before


def test_what_cannot_be_relabelled() -> None:
    slates = collect_slates()
    with pytest.raises(ValueError, match=r"'small/slate-v0' holds slates, and no belief: give belief"):
        relabel(slates, small_ranker(), dataset_id="small/other-v0", **QUIET)
    with pytest.raises(ValueError, match=r"already in use.*overwrite"):
        relabel(slates, small_ranker(), belief=small_belief(), dataset_id="small/slate-v0", **QUIET)
    made = relabel(
        slates, small_ranker(), belief=small_belief(), dataset_id="small/slate-v0", overwrite=True, **QUIET
    )
    assert made.action_space.shape == (6,)
    collect_latents()
    relabel("small/latent-v0", small_ranker(1), dataset_id="small/latent-v0", overwrite=True, **QUIET)
    assert dataset_ranker("small/latent-v0").sha256 != small_ranker().sha256
