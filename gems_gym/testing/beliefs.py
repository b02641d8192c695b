"""What every belief encoder must do."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.testing.asserting import (
    assert_attributes,
    assert_form,
    assert_refused,
    assert_within,
    is_same,
    saved_and_loaded,
)

_ATTRIBUTES = ("kind", "size", "slate_size", "num_items", "catalog_hash")


def check_belief(belief: BeliefEncoder, *, steps: int = 6, num_users: int = 7, seed: int = 0) -> None:
    """Check that a belief encoder does what every one must do.

    It folds sessions of random slates and clicks. Beliefs have to be float32 in [-1, 1] and of the right shape, the
    same for the same session, whoever is updated beside a user, and the same after the encoder went through a file;
    what is handed in is left alone, and slates and clicks that are none are refused.

    Args:
        belief: One's own or ours; its kind is installed as an entry point.
        steps: Observations in each session.
        num_users: Users updated together.
        seed: Seed of the slates and clicks.

    Raises:
        AssertionError: It does not; the text says what was expected and what was found.

    Examples:
        >>> from gems_gym.beliefs import LastObservation
        >>> check_belief(LastObservation(num_items=50, slate_size=3, catalog_hash="none"))
    """
    assert_attributes(belief, "belief", *_ATTRIBUTES[1:4])
    rng = np.random.default_rng(seed)
    shape = (steps, num_users, belief.slate_size)
    slates, clicks = rng.integers(belief.num_items, size=shape), rng.integers(2, size=shape)
    before = slates.copy(), clicks.copy()
    read = _beliefs(belief, slates, clicks)  # steps arrays (num_users, size)
    for given, kept in zip((slates, clicks), before, strict=True):
        assert np.array_equal(given, kept), "update() writes into the slates or clicks that it is given"
    for one in read:
        assert_form("read()", one, "float32", (num_users, belief.size))
        assert_within("read()", one, -1, 1)
    assert is_same(_beliefs(belief, slates, clicks), read), "the same session gives another belief"
    for user in range(num_users):
        alone = _beliefs(belief, slates[:, [user]], clicks[:, [user]])
        expected = [one[[user]] for one in read]
        assert is_same(alone, expected), "a user's belief depends on who is updated beside them"
    state = belief.initial(num_users)
    first, again = (belief.read(belief.update(state, slates[0], clicks[0])) for _ in range(2))
    assert is_same(first, again), "update() writes into the state that it is given"
    _check_refusals(belief, slates[0], clicks[0])
    loaded = saved_and_loaded(belief, load_belief, *_ATTRIBUTES)
    assert is_same(_beliefs(loaded, slates, clicks), read), "another belief comes out of its file"


def _beliefs(belief: BeliefEncoder, slates: NDArray[Any], clicks: NDArray[Any]) -> list[NDArray[np.float32]]:
    """The beliefs after each observation, ``(num_users, size)`` each."""
    state, read = belief.initial(slates.shape[1]), []
    for shown, clicked in zip(slates, clicks, strict=True):
        state = belief.update(state, shown, clicked)
        found = belief.read(state)
        # the next update may write there
        read.append(found.copy() if isinstance(found, np.ndarray) else found)
    return read


def _check_refusals(belief: BeliefEncoder, slates: NDArray[Any], clicks: NDArray[Any]) -> None:
    wide = np.concatenate([slates, slates[:, :1]], axis=1)
    for name, what, wrong in (
        ("slates", "one item too many in each slate", {"slates": wide}),
        ("slates", "an unknown item", {"slates": np.full_like(slates, belief.num_items)}),
        # -1 may stand for a slot that showed nothing
        ("slates", "an item below -1", {"slates": np.full_like(slates, -2)}),
        ("clicks", "clicks for fewer users than slates", {"clicks": clicks[:-1]}),
        ("clicks", "clicks of 2", {"clicks": clicks + 2}),
    ):
        given = {"slates": slates, "clicks": clicks, **wrong}
        update = partial(belief.update, belief.initial(len(slates)), **given)
        assert_refused(f"update() with {what}", update, name)
