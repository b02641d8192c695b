"""gems_gym.datasets.episode_batch: masks and lengths agree, and samples are sessions of the dataset."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym.config import SlateConfig
from gems_gym.datasets import EpisodeBatch, Sessions, subset
from tests.datasets.small_world import LENGTH, SLATE_SIZE, WORLD, collect_latents, collect_slates

LEAVING = WORLD | {"leave_probability": 0.1, "leave_after": 1}
SIZES = {"num_items": 9, "slate_size": 2, "num_topics": 3, "topic_size": 1}


def read(dataset: Any, **changes: Any) -> EpisodeBatch:
    return EpisodeBatch.from_minari(dataset, progress=False, **changes)


def made(left_after: list[int], steps: int, seed: int = 0, **world: Any) -> EpisodeBatch:
    """Sessions of random numbers, zero behind their ends."""
    rng, count = np.random.default_rng(seed), len(left_after)
    ends = np.array(left_after)
    after = np.arange(steps + 1) > np.where(ends > 0, ends, steps)[:, None]  # (count, steps + 1)
    shown = {
        "slate": np.where(after[..., None], 0, rng.integers(9, size=(count, steps + 1, 2))),
        "clicks": np.where(after[..., None], 0, rng.integers(2, size=(count, steps + 1, 2))).astype(np.int8),
        "user_state": np.where(after[..., None], 0, rng.random((count, steps + 1, 3))).astype(np.float32),
    }
    rewards = shown["clicks"][:, 1:].sum(axis=2).astype(np.float32)
    actions = shown["slate"][:, 1:].astype(np.float32)
    sessions = Sessions(list(range(count)), shown["user_state"], actions, rewards, shown, ends)
    return EpisodeBatch.of_sessions(sessions, SlateConfig(**SIZES, **world))


ENDS = st.lists(st.integers(0, 7), min_size=1, max_size=6)


@given(ENDS, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_masks_and_lengths_agree(left_after: list[int], seed: int) -> None:
    batch = made(left_after, 7, seed)
    lengths = [end or 7 for end in left_after]
    assert batch.lengths.tolist() == lengths and batch.max_t_filled == max(lengths) == batch.time.shape[1]
    assert batch.filled.sum(axis=1).tolist() == lengths
    assert (np.diff(batch.filled.astype(int), axis=1) <= 0).all()  # True, then False
    ended = batch.terminated | batch.truncated
    assert (ended.sum(axis=1) == 1).all() and not (batch.terminated & batch.truncated).any()
    assert (ended.argmax(axis=1) + 1).tolist() == lengths
    assert batch.terminated.any(axis=1).tolist() == [end > 0 for end in left_after]
    assert not batch.rewards[~batch.filled].any() and not batch.actions[~batch.filled].any()
    np.testing.assert_array_equal(batch.returns_to_go[:, 0], batch.rewards.sum(axis=1))
    assert (batch.returns_to_go[ended] == batch.rewards[ended]).all()


@given(ENDS, st.data())
@settings(max_examples=40, deadline=None)
def test_samples_are_sessions_of_the_batch(left_after: list[int], data: st.DataObject) -> None:
    batch, size = made(left_after, 7), data.draw(st.integers(1, len(left_after)))
    sample = batch.sample(size, np.random.default_rng(3))
    again = batch.sample(size, np.random.default_rng(3))
    assert len(sample) == size and sample.max_t_filled == sample.lengths.max() == sample.rewards.shape[1]
    np.testing.assert_array_equal(sample.slates, again.slates)
    known = [batch.slates[row, : length + 1].tobytes() for row, length in enumerate(batch.lengths)]
    drawn = [sample.slates[row, : length + 1].tobytes() for row, length in enumerate(sample.lengths)]
    assert set(drawn) <= set(known) and len(set(drawn)) == len(set(known) & set(drawn))
    assert batch.can_sample(len(batch)) and not batch.can_sample(len(batch) + 1)


def test_clicked_items_are_not_available_where_each_is_clicked_once() -> None:
    batch = made([0, 3], 5, click_only_once=True)
    available = batch.available_items()
    assert available.shape == (2, 5, 9)
    for session, length in enumerate(batch.lengths):
        clicked: set[int] = set()
        for step in range(length):
            clicked |= set(batch.slates[session, step][batch.clicks[session, step] == 1].tolist())
            assert set(np.flatnonzero(~available[session, step]).tolist()) == clicked
    assert (available[1, 3:] == ~np.isin(np.arange(9), list(clicked))).all()  # behind the end
    assert made([0, 3], 5).available_items().all()


def test_the_topic_of_interest() -> None:
    batch = made([0, 2], 4)
    np.testing.assert_array_equal(batch.subgoals, batch.infos["user_state"][:, :-1].argmax(axis=2))
    bare = EpisodeBatch(**{**vars(batch), "infos": {}})
    with pytest.raises(ValueError, match=r"holds no infos\['user_state'\], only \[\]"):
        bare.subgoals  # noqa: B018
    with pytest.raises(ValueError, match=r"holds no infos\['slate'\]"):
        bare.slates  # noqa: B018
    unknown = EpisodeBatch(**{**vars(batch), "config": None})
    with pytest.raises(ValueError, match="does not say in which world"):
        unknown.subgoals  # noqa: B018
    with pytest.raises(ValueError, match="does not say in which world"):
        unknown.available_items()


@pytest.mark.parametrize("collect", [collect_slates, collect_latents])
def test_a_dataset_is_read_as_it_is(collect: Any) -> None:
    dataset = collect(env_kwargs=LEAVING, episodes=12)
    batch = read("small/latent-v0" if collect is collect_latents else "small/slate-v0")
    assert len(batch) == 12 and batch.config.num_items == 40
    assert 0 < batch.left.sum() < 12 and batch.lengths.min() < LENGTH == batch.max_t_filled
    for row, episode in enumerate(dataset.iterate_episodes()):
        length = batch.lengths[row]
        assert length == len(episode.rewards) == batch.filled[row].sum()
        np.testing.assert_array_equal(batch.actions[row, :length], episode.actions)
        np.testing.assert_array_equal(batch.rewards[row, :length], episode.rewards)
        np.testing.assert_array_equal(batch.terminated[row, :length], episode.terminations)
        np.testing.assert_array_equal(batch.truncated[row, :length], episode.truncations)
        np.testing.assert_array_equal(batch.slates[row, : length + 1], episode.infos["slate"])
        np.testing.assert_array_equal(batch.clicks[row, : length + 1], episode.infos["clicks"])
        np.testing.assert_array_equal(batch.infos["bored"][row, : length + 1], episode.infos["bored"])
    assert batch.slates.dtype == np.int16 and batch.slates.shape == (12, LENGTH + 1, SLATE_SIZE)
    if collect is collect_slates:
        assert batch.actions.dtype == np.int16 and set(batch.infos) == {"bored", "user_state"}
        assert batch.observations["slate"] is batch.slates
    short = batch[batch.lengths < LENGTH]
    assert short.left.all() and short.max_t_filled == short.rewards.shape[1] < LENGTH


def test_parts_and_chosen_infos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gems_gym.datasets.reader.CHUNK_SESSIONS", 4
    )  # whose users may all have stayed, or left
    dataset = collect_latents(env_kwargs=LEAVING, episodes=14)
    batch = read(dataset, infos=["clicks"])
    assert set(batch.infos) == {"clicks"}
    best = dataset.filter_episodes(lambda episode: len(episode.rewards) < LENGTH)
    part = read(best, infos=[])
    np.testing.assert_array_equal(part.rewards, batch[batch.lengths < LENGTH].rewards)
    subset(dataset, dataset_id="small/part-v0", episodes=5, progress=False)
    assert len(read("small/part-v0")) == 5
    with pytest.raises(ValueError, match="unknown info of the dataset 'click': did you mean 'clicks'"):
        read(dataset, infos=["click"])


def test_one_session_is_no_batch() -> None:
    with pytest.raises(TypeError, match=r"must be a slice, indices or a mask, got 0; \[\[0\]\] takes one"):
        made([2, 3], 4)[0]  # type: ignore[index]


def test_bad_arguments() -> None:
    batch = made([0, 3], 5)
    for wrong, message in (
        (0, "batch_size"),
        (3, "batch_size must be at most 2, the sessions there are; got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            batch.sample(wrong, np.random.default_rng(0))
    with pytest.raises(TypeError, match="rng"):
        batch.sample(1, 0)
    with pytest.raises(TypeError, match="dataset"):
        read(3)
