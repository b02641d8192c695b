"""gems_gym.datasets.derive: parts and mixtures hold the right sessions, with everything that belongs to them."""

from typing import Any

import minari
import numpy as np
import pytest

from gems_gym.beliefs import GruBelief
from gems_gym.datasets import (
    compute_content_hash,
    dataset_belief,
    dataset_ranker,
    export_d4rl,
    import_d4rl,
    merge,
    relabel,
    subset,
    verify_dataset,
)
from tests.datasets.small_world import (
    WORLD,
    NoisyLatents,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems_gym.datasets.reader.CHUNK_SESSIONS", 4)


def seeds_of(dataset: Any) -> list[int]:
    return [one["seed"] for one in dataset.storage.get_episode_metadata(dataset.episode_indices)]


def returns_of(dataset: Any) -> list[float]:
    return [float(episode.rewards.sum()) for episode in dataset.iterate_episodes()]


class Still(NoisyLatents):
    def act(self, state: Any, observations: np.ndarray) -> tuple[np.ndarray, Any]:
        return np.zeros((len(observations), 6), dtype=np.float32), state


def test_merged_sessions_are_those_of_the_parts() -> None:
    parts = [collect_latents(), collect_latents("small/still-v0", policy=Still(), seed=5, episodes=6)]
    made = merge(["small/latent-v0", parts[1]], dataset_id="mixed/both-v0", **QUIET)
    assert (made.total_episodes, made.total_steps) == (16, 16 * 9)
    assert seeds_of(made) == seeds_of(parts[0]) + seeds_of(parts[1])
    old = [episode for part in parts for episode in part.iterate_episodes()]
    for one, other in zip(old, made.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.infos["user_state"], other.infos["user_state"])
    metadata = made.storage.metadata
    assert metadata["content_hash"] == compute_content_hash(made)
    assert metadata["policy"] == metadata["algorithm_name"] == "NoisyLatents + Still"
    assert made.combined_datasets == ["small/latent-v0", "small/still-v0"]
    assert "user_seed" not in metadata and metadata["user_split"] == "logging"
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (1.0, 9.0)
    assert [one["total_episodes"] for one in metadata["derived_from"]["sources"]] == [10, 6]
    assert dataset_ranker(made).sha256 == dataset_ranker(parts[0]).sha256
    assert dataset_belief(made).sha256 == dataset_belief(parts[0]).sha256
    copies = {part: f"dataset:mixed/both-v0/{part}" for part in ("ranker", "belief")}
    assert made.env_spec.kwargs == parts[0].env_spec.kwargs | copies


def test_what_was_measured_of_a_belief_does_not_keep_datasets_apart() -> None:
    belief = small_belief()
    header = dict(belief.header) | {"metrics": {"auc": 0.9}}
    measured = GruBelief(belief.tensors, belief.catalog_hash, header)
    one, other = collect_latents(), collect_latents("small/measured-v0", belief=measured, seed=4)
    assert dataset_belief(one).sha256 != dataset_belief(other).sha256
    made = merge([one, other], dataset_id="small/both-v0", **QUIET)
    assert dataset_belief(made).sha256 == dataset_belief(one).sha256
    assert returns_of(made) == returns_of(one) + returns_of(other)


def test_slates_merge_too() -> None:
    one, other = collect_slates(), collect_slates("small/oracle-v0", policy="short_term_oracle")
    made = merge([one, other], dataset_id="small/both-v0", **QUIET)
    assert returns_of(made) == returns_of(one) + returns_of(other)


def test_what_does_not_belong_together(tmp_path, datasets_root) -> None:
    whole = collect_latents()
    collect_latents("small/ranker-v0", ranker=small_ranker(seed=1), seed=4)
    collect_latents("small/belief-v0", belief=small_belief(seed=1), seed=4)
    collect_latents("small/drift-v0", env_kwargs=WORLD | {"omega": 0.5}, seed=4)
    collect_slates()
    subset(whole, dataset_id="small/all-v0", episodes=10, **QUIET)
    export_d4rl(whole, tmp_path / "whole.npz", **QUIET)
    import_d4rl(tmp_path / "whole.npz", dataset_id="small/npz-v0", **QUIET)
    before = sorted(datasets_root.rglob("*"))
    for others, message in (
        (["small/ranker-v0"], r"their rankers differ: \w{64} and \w{64}"),
        (["small/belief-v0"], "their beliefs differ"),
        (["small/drift-v0"], "their environments differ: .*'omega': 0.5"),
        (["small/slate-v0"], "their rankers differ: .* and None"),
        (["small/npz-v0"], r"their infos differ: .* and \[\]"),
        (["small/all-v0"], "'small/all-v0' holds sessions that 'small/latent-v0' holds"),
        (["small/latent-v0"], "holds sessions that"),
        ([], "at least two datasets"),
        (["small/none-v0"], "unknown local dataset 'small/none-v0'"),
    ):
        with pytest.raises(ValueError, match=message):
            merge(["small/latent-v0", *others], dataset_id="small/new-v0", **QUIET)
    with pytest.raises(TypeError, match="datasets must be a Sequence, got 'small/latent-v0' of type str"):
        merge("small/latent-v0", dataset_id="small/new-v0", **QUIET)
    with pytest.raises(ValueError, match="already in use"):
        merge(["small/latent-v0", "small/drift-v0"], dataset_id="small/drift-v0", **QUIET)
    assert sorted(datasets_root.rglob("*")) == before


def test_drawn_sessions() -> None:
    whole = collect_latents()
    all_seeds = seeds_of(whole)
    drawn = {}
    for count, seed in ((3, 0), (6, 0), (3, 1), (10, 0)):
        part = subset(whole, dataset_id=f"small/n{count}s{seed}-v0", episodes=count, seed=seed, **QUIET)
        found = seeds_of(part)
        drawn[count, seed] = set(found)
        positions = [all_seeds.index(one) for one in found]
        assert len(found) == count and positions == sorted(set(positions))
        for position, episode in zip(positions, part.iterate_episodes(), strict=True):
            np.testing.assert_array_equal(episode.actions, whole[position].actions)
            np.testing.assert_array_equal(episode.infos["slate"], whole[position].infos["slate"])
        assert part.storage.metadata["content_hash"] == compute_content_hash(part)
    assert drawn[3, 0] < drawn[6, 0] < drawn[10, 0] == set(all_seeds)
    assert drawn[3, 0] != drawn[3, 1]
    whole_again = minari.load_dataset("small/n10s0-v0").storage.metadata
    assert whole_again["content_hash"] == whole.storage.metadata["content_hash"]


def test_good_sessions() -> None:
    whole = collect_latents()
    returns = sorted(returns_of(whole))
    least = returns[5]
    part = subset(whole, dataset_id="small/good-v0", min_return=least, **QUIET)
    assert sorted(returns_of(part)) == [one for one in returns if one >= least]
    derived = part.storage.metadata["derived_from"]
    assert (derived["by"], derived["min_return"], derived["episodes"]) == ("subset", least, None)
    assert dataset_ranker(part).sha256 == part.storage.metadata["ranker_sha256"]
    both = subset(whole, dataset_id="small/two-v0", min_return=least, episodes=2, **QUIET)
    assert set(seeds_of(both)) < set(seeds_of(part)) and both.total_episodes == 2
    # a part is a dataset like others
    made = relabel(both, small_ranker(seed=3), dataset_id="small/again-v0", **QUIET)
    assert seeds_of(made) == seeds_of(both)


def test_wrong_parts(datasets_root) -> None:
    whole = collect_latents()
    best = max(returns_of(whole))
    before = sorted(datasets_root.rglob("*"))
    for wanted, message in (
        ({}, "chosen by episodes, min_return or both, .*got none of them"),
        ({"episodes": 11}, r"episodes must be in \[1, 10\], the sessions of 'small/latent-v0'; got 11"),
        ({"episodes": 0}, "got 0"),
        ({"min_return": best + 1}, f"no session of 'small/latent-v0' has a return above {best:g}"),
        ({"min_return": best, "episodes": 10}, f"with a return of at least {best:g}; got 10"),
    ):
        with pytest.raises(ValueError, match=message):
            subset(whole, dataset_id="small/new-v0", **wanted, **QUIET)
    assert sorted(datasets_root.rglob("*")) == before
    dataset_ranker(whole)
    (datasets_root / "small/latent-v0/data/artifacts/ranker.safetensors").write_bytes(b"altered")
    with pytest.raises(
        ValueError, match="is not the ranker that dataset 'small/latent-v0' was recorded with"
    ):
        subset(whole, dataset_id="small/new-v0", episodes=2, **QUIET)
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failure_leaves_nothing(datasets_root, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    from gems_gym.datasets import derive

    whole = collect_latents()
    before = sorted(datasets_root.rglob("*"))
    read = derive.read_sessions

    def failing(*arguments, **keywords):
        sessions = read(*arguments, **keywords)
        yield next(sessions)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(derive, "read_sessions", failing)
        with pytest.raises(type(error)):
            subset(whole, dataset_id="small/part-v0", episodes=8, **QUIET)
    assert sorted(datasets_root.rglob("*")) == before
    assert subset(whole, dataset_id="small/part-v0", episodes=8, **QUIET).total_episodes == 8


def test_disjoint_parts_are_merged_and_overlapping_ones_refused() -> None:
    first, second = minari.split_dataset(collect_latents(), [6, 4])
    whole = merge([first, second], dataset_id="small/again-v0", **QUIET)
    assert sorted(seeds_of(whole)) == sorted(seeds_of(minari.load_dataset("small/latent-v0")))
    with pytest.raises(ValueError, match="holds sessions that"):
        merge([first, "small/latent-v0"], dataset_id="small/twice-v0", **QUIET)


def test_relabelled_sessions_can_be_merged_with_collected_ones() -> None:
    collect_slates()
    relabel(
        "small/slate-v0", ranker=small_ranker(), belief=small_belief(), dataset_id="small/rel-v0", **QUIET
    )
    collect_latents(seed=8)
    merge(["small/rel-v0", "small/latent-v0"], dataset_id="small/both-v0", **QUIET)
    found = verify_dataset("small/both-v0", **QUIET)
    assert found.failures == ()


def test_shares_of_levels_are_those_of_the_part() -> None:
    class Turns(NoisyLatents):
        def session_infos(self, seeds: Any) -> dict[str, np.ndarray]:
            return {"level": np.asarray(seeds, np.int64).astype(np.int8) % 2}

    levels = {"random": {"share": 0.5, "policy": "a"}, "medium": {"share": 0.5, "policy": "b"}}
    whole = collect_latents(policy=Turns(), metadata={"level": "mixed", "levels": levels})
    part = subset(whole, dataset_id="small/part-v0", episodes=1, **QUIET)
    (level,) = {int(one) for one in part[0].infos["level"]}
    shares = [one["share"] for one in part.storage.metadata["levels"].values()]
    assert shares == [1.0 - level, float(level)]
    rest = subset(whole, dataset_id="small/part-v1", min_return=0, **QUIET)
    both = merge([part, rest], dataset_id="small/parts-v0", **QUIET)
    counts = np.bincount([int(one.infos["level"][0]) for one in both.iterate_episodes()], minlength=2)
    assert [one["share"] for one in both.storage.metadata["levels"].values()] == (
        counts / counts.sum()
    ).tolist()


def test_datasets_without_levels_are_merged_without() -> None:
    collect_latents()
    collect_latents(dataset_id="small/more-v0", seed=8)
    merged = merge(["small/latent-v0", "small/more-v0"], dataset_id="small/both-v0", **QUIET)
    assert "levels" not in merged.storage.metadata
