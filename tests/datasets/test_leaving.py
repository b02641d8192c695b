"""Datasets of a world whose users leave: sessions of many lengths, terminated or truncated, in all that is done."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from gems_gym.datasets import (
    DatasetWriter,
    Sessions,
    export_d4rl,
    import_d4rl,
    merge,
    relabel,
    report_dataset,
    subset,
    verify_dataset,
)
from gems_gym.datasets.d4rl_file import D4rlFile
from gems_gym.datasets.sessions import join_sessions
from gems_gym.latent_world import LatentWorld
from tests.datasets.small_world import (
    LENGTH,
    WORLD,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

LEAVING: dict[str, Any] = {
    "env_kwargs": WORLD | {"leave_probability": 0.15, "leave_after": 1},
    "episodes": 20,
}


def hash_of(dataset: Any) -> str:
    return dataset.storage.metadata["content_hash"]


def failures(dataset: Any) -> tuple[str, ...]:
    return verify_dataset(dataset, progress=False).failures


def lengths_of(dataset: Any) -> list[int]:
    return [len(episode.rewards) for episode in dataset.iterate_episodes()]


def test_sessions_are_recorded_to_their_own_end() -> None:
    dataset = collect_latents(**LEAVING)
    lengths = lengths_of(dataset)
    assert min(lengths) < max(lengths) == LENGTH and dataset.total_steps == sum(lengths)
    for episode in dataset.iterate_episodes():
        *before, last = zip(episode.terminations, episode.truncations, strict=True)
        assert set(before) <= {(False, False)} and last in {(True, False), (False, True)}
        assert last[0] or len(episode.rewards) == LENGTH
        assert len(episode.observations) == len(episode.infos["slate"]) == len(episode.rewards) + 1
    assert failures(dataset) == ()


@pytest.mark.parametrize("collect", [collect_latents, collect_slates])
def test_the_environment_gives_the_sessions_again(collect: Any) -> None:
    dataset = collect(**LEAVING)
    spec = dataset.spec.env_spec
    env: Any = gymnasium.make(spec) if collect is collect_slates else None
    env = env or LatentWorld(spec, small_ranker(), small_belief()).env()
    for episode, about in zip(
        dataset.iterate_episodes(), dataset.storage.get_episode_metadata(range(20)), strict=True
    ):
        env.reset(seed=int(about["seed"]))
        for step, action in enumerate(episode.actions):
            _, reward, terminated, truncated, _ = env.step(action)
            assert reward == episode.rewards[step]
            assert (terminated, truncated) == (episode.terminations[step], episode.truncations[step])


def test_the_same_sessions_however_many_users_play_together() -> None:
    found = {
        hash_of(collect_latents(f"small/{num_envs}-v0", num_envs=num_envs, **LEAVING))
        for num_envs in (1, 3, 20)
    }
    assert len(found) == 1


def test_users_who_stay_leave_no_trace() -> None:
    plain = collect_latents("small/plain-v0")
    zero = collect_latents("small/zero-v0", env_kwargs=WORLD | {"leave_probability": 0.0, "leave_after": 1})
    assert hash_of(plain) == hash_of(zero)


def test_a_report_counts_what_happened() -> None:
    dataset = collect_latents(**LEAVING)
    report, episodes = report_dataset(dataset, progress=False), list(dataset.iterate_episodes())
    assert report.left == sum(bool(episode.terminations[-1]) for episode in episodes) > 0
    assert report.transitions == sum(lengths_of(dataset))
    clicks = np.zeros(LENGTH)
    for episode in episodes:
        clicks[: len(episode.rewards)] += episode.rewards
    np.testing.assert_allclose(report.returns.clicks_per_step, clicks / len(episodes))
    shown = np.concatenate([episode.infos["clicks"][1:] for episode in episodes])
    np.testing.assert_allclose(report.slates.clicks_per_rank, shown.mean(axis=0))
    bored = np.concatenate([episode.infos["bored"][1:] for episode in episodes])
    assert report.slates.bored_steps == pytest.approx(bored.any(axis=1).mean())
    latents = np.concatenate([episode.actions for episode in episodes])
    np.testing.assert_allclose(report.actions.sd, latents.std(axis=0), rtol=1e-5)
    beliefs = np.concatenate([episode.observations[:-1] for episode in episodes])
    np.testing.assert_allclose(report.states.sd, beliefs.std(axis=0), rtol=1e-5)


def test_derived_datasets(tmp_path: Path) -> None:
    latents, slates = collect_latents(**LEAVING), collect_slates(**LEAVING)
    again = relabel(
        slates, small_ranker(4), dataset_id="small/made-v0", belief=small_belief(2), progress=False
    )
    part = subset(again, dataset_id="small/part-v0", episodes=9, progress=False)
    both = merge([again, part], dataset_id="small/both-v0", progress=False)
    assert [failures(one) for one in (latents, slates, again, part, both)] == [()] * 5
    assert lengths_of(again) == lengths_of(slates) and lengths_of(both)[:20] == lengths_of(again)
    share = again.storage.metadata["derived_from"]["reconstruction"]["slots"]
    equal = [
        small_ranker(4).rank(episode.actions) == episode.infos["slate"][1:]
        for episode in again.iterate_episodes()
    ]
    assert share == pytest.approx(np.concatenate(equal).mean())


def test_d4rls_form_and_back(tmp_path: Path) -> None:
    dataset, path = collect_latents(**LEAVING), tmp_path / "out.npz"
    file = export_d4rl(dataset, path, progress=False)
    assert file.terminals.sum() + file.timeouts.sum() == 20 and not (file.terminals & file.timeouts).any()
    lengths = np.diff(np.flatnonzero(file.ends), prepend=-1)
    assert lengths.tolist() == lengths_of(dataset)
    back = import_d4rl(path, dataset_id="small/back-v0", progress=False)
    assert failures(back) == ()
    for one, other in zip(dataset.iterate_episodes(), back.iterate_episodes(), strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_file_without_timeouts_whose_terminals_are_ends_comes_in(tmp_path: Path) -> None:
    """Its rows are cut where its terminals are."""
    path = tmp_path / "out.npz"
    file = export_d4rl(collect_latents(**LEAVING), path, progress=False)
    sessions = np.repeat(np.arange(20), lengths_of(minari.load_dataset("small/latent-v0")))
    left = np.isin(sessions, sessions[file.terminals])  # rows of users who left
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "timeouts"}
    rows = {name: array[left] for name, array in arrays.items() if len(np.atleast_1d(array)) == len(left)}
    metadata = {name: one for name, one in file.metadata.items() if name != "session_seeds"}
    np.savez(tmp_path / "five.npz", **{**arrays, **rows, "metadata": np.array(json.dumps(metadata))})
    back = import_d4rl(tmp_path / "five.npz", dataset_id="small/back-v0", progress=False)
    assert lengths_of(back) == np.bincount(sessions[left])[np.unique(sessions[left])].tolist()


def test_what_no_session_ends_like_is_refused_on_import(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    file = export_d4rl(collect_latents(**LEAVING), path, progress=False)
    for name, row, message in (
        ("terminals", int(file.timeouts.argmax()), r"timeouts\[\d+\] is True, must be False"),
        ("timeouts", int(file.terminals.argmax()), r"timeouts\[\d+\] is True, must be False"),
        ("timeouts", 0, r"timeouts\[0\] is True, must be False: .* has 9 steps unless a terminal ends it"),
    ):
        changed = D4rlFile.load(path)
        getattr(changed, name)[row] = True
        changed.save(tmp_path / "changed.npz")
        with pytest.raises(ValueError, match=message):
            import_d4rl(tmp_path / "changed.npz", dataset_id="small/no-v0", progress=False)


@pytest.mark.parametrize(
    ("where", "name", "value", "message"),
    [
        (-1, "truncations", True, "or terminated as its user left, at its last step"),
        (0, "terminations", True, "it has . steps, the environment's have 9|or terminated as its user left"),
        (-1, "terminations", False, "it has . steps, the environment's have 9"),
    ],
)
def test_wrong_ends_are_found(where: int, name: str, value: bool, message: str) -> None:
    dataset = collect_latents(**LEAVING)
    row = next(i for i, length in enumerate(lengths_of(dataset)) if 1 < length < LENGTH)
    with h5py.File(Path(dataset.storage.data_path) / "main_data.hdf5", "r+") as file:
        file[f"episode_{row}"][name][where] = value
    found = verify_dataset("small/latent-v0", progress=False)
    assert found.checks["lengths"] == "failed"
    with pytest.raises(ValueError, match=message):
        report_dataset("small/latent-v0", progress=False)


def test_sessions_of_different_lengths_are_put_together_and_taken_apart() -> None:
    episodes = [
        {
            "seed": row, "observations": np.full((steps + 1, 2), row, np.float32), "actions": np.ones((steps, 1)),
            "rewards": np.ones(steps, np.float32), "infos": {"bored": np.ones((steps + 1, 3), np.bool_)},
            "terminations": (np.arange(steps) == steps - 1) & (steps < 4),
            "truncations": (np.arange(steps) == steps - 1) & (steps == 4),
        }
        for row, steps in enumerate((4, 1, 3, 4))
    ]  # fmt: skip
    whole = Sessions.of_episodes(episodes)
    assert whole.lengths.tolist() == [4, 1, 3, 4] and whole.left.tolist() == [False, True, True, False]
    in_parts = [Sessions.of_episodes([one], 4) for one in episodes]
    for sessions in (
        whole,
        join_sessions(in_parts),
        Sessions.of_arrays(whole.arrays()),
        join_sessions([whole[:1], whole[1:]]),
    ):
        assert sessions.rewards.sum() == 12 and not sessions.rewards[~sessions.filled].any()
        for one, other in zip(episodes, sessions.episodes(), strict=True):
            for name in ("observations", "actions", "rewards", "terminations", "truncations"):
                np.testing.assert_array_equal(one[name], other[name])
            np.testing.assert_array_equal(one["infos"]["bored"], other["infos"]["bored"])
    with pytest.raises(ValueError):
        Sessions.of_episodes([{**episodes[1], "terminations": np.zeros(1, np.bool_)}, episodes[0]])


def test_an_unfinished_collection_resumes_to_the_same_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = hash_of(collect_latents("small/expected-v0", **LEAVING))
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 6)
    appended = DatasetWriter.append

    def interrupted(writer: DatasetWriter, sessions: Sessions) -> None:
        if writer.num_episodes >= 12:
            raise KeyboardInterrupt
        appended(writer, sessions)

    monkeypatch.setattr(DatasetWriter, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect_latents("small/resumed-v0", **LEAVING)
    monkeypatch.setattr(DatasetWriter, "append", appended)
    assert hash_of(collect_latents("small/resumed-v0", **LEAVING)) == expected
