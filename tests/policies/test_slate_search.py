"""gems_gym.policies.slate_search: better slates by their clicks alone, none with an item twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym.envs import SlateEnv
from gems_gym.policies.paired_sessions import PairedSessions
from gems_gym.policies.slate_search import SlateSearch
from gems_gym.user_splits import user_seeds


class KnownUsers:
    """Users who click an item by a table, wherever it stands; keeps all slates that they were shown.

    Args:
        table: Clicks of a session on each item at each position, ``(num_items, slate_size)``.
        num_slates: Slates that are tried together.
    """

    num_users = 1

    def __init__(self, table, num_slates):
        self.table, self.num_slates, self.shown = table, num_slates, []

    def clicks_by_position(self, slates):
        self.shown.append(slates.copy())
        return self.table[slates, np.arange(slates.shape[1])][:, None]  # (num_slates, 1, slate_size)


def climbed(search, table, rounds):
    """The slates before each round, and the round's candidates: int64 ``(rounds, num_slates, slate_size)`` twice."""
    before, candidates = [], []
    for _ in range(rounds):
        users = KnownUsers(table, len(search.slates))
        search.climb(users, 1, ignore)
        now, tried = users.shown
        before.append(now)
        candidates.append(tried)
    return np.stack(before), np.stack(candidates)


def ignore(amount, note=None):
    """No progress bar."""


def small_world(seed=0, num_slates=16):
    """A world, and two users for each slate."""
    world = SlateEnv(num_items=60, slate_size=5, num_topics=5, episode_length=15)
    seeds = user_seeds("training", seed, 2 * num_slates)
    return world, PairedSessions(world.config, world.catalog, seeds, num_slates, shared=False)


@settings(max_examples=40, deadline=None)
@given(
    slate_size=st.integers(1, 6), more_items=st.integers(0, 10), num_slates=st.integers(1, 12),
    rounds=st.integers(0, 25), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_no_item_stands_twice_and_no_slate_gets_worse(slate_size, more_items, num_slates, rounds, seed):
    num_items = slate_size + more_items
    table = np.random.default_rng(seed).random((num_items, slate_size))
    search = SlateSearch(num_items, slate_size, num_slates, np.random.default_rng(seed))
    users = KnownUsers(table, num_slates)
    search.climb(users, rounds, ignore)
    assert len(users.shown) == 1 + rounds
    for slates in [*users.shown, search.slates]:
        assert slates.dtype == np.int64
        assert 0 <= slates.min() <= slates.max() < num_items
        assert all(len(set(slate)) == slate_size for slate in slates.tolist())
    clicks = np.stack([table[slates, np.arange(slate_size)].sum(axis=1) for slates in users.shown])
    np.testing.assert_array_equal(search.clicks, clicks.max(axis=0))  # the best that was ever tried


def test_on_their_own_users_slates_climb():
    _, users = small_world()
    search = SlateSearch(60, 5, 16, np.random.default_rng(0))
    levels = [users.clicks(search.slates).mean(axis=1)]  # of each slate, (16,)
    for _ in range(5):
        search.climb(users, 6, ignore)
        levels.append(users.clicks(search.slates).mean(axis=1))
        np.testing.assert_array_equal(search.clicks, levels[-1])
    assert (np.diff(levels, axis=0) >= 0).all()
    assert levels[-1].mean() > levels[0].mean() + 2


def test_what_is_found_is_better_than_random_slates_with_new_users_too():
    world, users = small_world()
    search = SlateSearch(60, 5, 16, np.random.default_rng(0))
    start = search.slates.copy()
    search.climb(users, 120, ignore)
    others = PairedSessions(world.config, world.catalog, user_seeds("validation", 0, 100), 16)
    found, at_random = others.clicks(search.slates).mean(axis=1), others.clicks(start).mean(axis=1)
    assert found.mean() > 1.5 * at_random.mean()
    assert len({tuple(slate) for slate in search.slates.tolist()}) == 16  # of many kinds


@pytest.mark.parametrize("other", [0, 1])
def test_a_seed_decides_everything(other):
    slates = []
    for seed in (0, other):
        _, users = small_world()
        search = SlateSearch(60, 5, 16, np.random.default_rng(seed))
        search.climb(users, 10, ignore)
        slates.append(search.slates)
    assert np.array_equal(*slates) == (other == 0)


def test_progress_counts_the_sessions():
    counted = []
    _, users = small_world(num_slates=4)
    search = SlateSearch(60, 5, 4, np.random.default_rng(0))
    search.climb(users, 3, lambda amount, note=None: counted.append((amount, note)))
    assert [amount for amount, _ in counted] == [
        8,
        8,
        8,
        8,
    ]  # 4 slates, 2 users each; the slates themselves first
    assert counted[-1][1] == f"{search.clicks.mean():.1f} clicks"


def test_a_candidate_replaces_one_item_or_swaps_two():
    table = np.random.default_rng(0).random((40, 6))
    before, candidates = climbed(SlateSearch(40, 6, 50, np.random.default_rng(0)), table, 40)
    changed = (before != candidates).sum(axis=2)  # (rounds, num_slates)
    assert set(np.unique(changed)) == {0, 1, 2}
    same_items = (np.sort(before, axis=2) == np.sort(candidates, axis=2)).all(axis=2)
    np.testing.assert_array_equal(same_items, changed != 1)  # a swap only permutes
    assert 0.07 < (changed == 2).mean() < 0.13


def test_items_that_are_clicked_much_are_drawn_and_what_is_clicked_little_is_replaced():
    table = np.where(np.arange(100)[:, None] < 20, 1.0, 0.1) * np.ones(5)  # 20 items of 100 sell
    search = SlateSearch(100, 5, 64, np.random.default_rng(0))
    search.climb(KnownUsers(table, 64), 15, ignore)  # learns which
    before, candidates = climbed(search, table, 15)
    new = (before != candidates) & ((before != candidates).sum(axis=2, keepdims=True) == 1)
    drawn = candidates[new]
    assert (drawn < 20).mean() > 0.4  # uniformly: 0.2, less those that the slates have already
    assert len(np.unique(drawn)) > 60  # but anything is tried
    poor = before >= 20  # (rounds, num_slates, slate_size)
    mixed = poor.any(axis=2) & ~poor.all(axis=2)  # slates that hold some of each
    assert (new & poor)[mixed].sum() / poor[mixed].sum() > 1.5 * (new & ~poor)[mixed].sum() / (~poor)[
        mixed
    ].sum()


def test_slates_that_suit_different_users_differ():
    table = np.zeros((30, 3))
    table[:15] = 1.0

    class TwoKinds(KnownUsers):
        def clicks_by_position(self, slates):
            clicks = super().clicks_by_position(slates)
            return np.where(np.arange(self.num_slates)[:, None, None] % 2, 1 - clicks, clicks)

    search = SlateSearch(30, 3, 20, np.random.default_rng(0))
    search.climb(TwoKinds(table, 20), 200, ignore)
    assert (search.slates[::2] < 15).all()
    assert (search.slates[1::2] >= 15).all()
