"""What every ranker must do."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.rankers.base import Ranker, SamplingRanker, load_ranker
from gems_gym.testing.asserting import (
    assert_attributes,
    assert_form,
    assert_refused,
    assert_within,
    is_same,
    saved_and_loaded,
)

_ATTRIBUTES = ("kind", "action_size", "slate_size", "num_items", "catalog_hash")


def check_ranker(ranker: Ranker, *, num_users: int = 7, seed: int = 0) -> None:
    """Check that a ranker does what every one must do.

    It is given latents all over the box, its corners and its centre. Slates have to be int64 of the right shape with
    items of the catalogue, the same for the same latents, whoever is ranked beside a user, and the same after the
    ranker went through a file. Latents that are none have to be refused. A ranker that draws
    (:class:`gems_gym.rankers.SamplingRanker`) must draw from the users' generators only; one with an encoder,
    ``encode(slates, clicks)``, must give latents in [-1, 1].

    Args:
        ranker: One's own or ours; its kind is installed as an entry point.
        num_users: Users ranked together, at least 2.
        seed: Seed of the latents, slates and clicks.

    Raises:
        AssertionError: It does not; the text says what was expected and what was found.

    Examples:
        >>> from gems_gym.rankers import TopKRanker
        >>> check_ranker(TopKRanker(np.eye(6), slate_size=2, catalog_hash="none"))
    """
    assert_attributes(ranker, "ranker", *_ATTRIBUTES[1:4])
    rng = np.random.default_rng(seed)
    latents = rng.uniform(-1, 1, (num_users, ranker.action_size)).astype(np.float32)
    latents[0], latents[1] = 0, np.sign(latents[1])  # the box's centre and one of its corners
    kept = latents.copy()
    slates = _ranked(ranker, latents)
    assert np.array_equal(latents, kept), "rank() writes into the latents that it is given"
    assert_form("rank()", slates, "int64", (num_users, ranker.slate_size))
    assert_within("rank()", slates, 0, ranker.num_items - 1)
    assert is_same(_ranked(ranker, latents), slates), "the same latents are ranked as other slates"
    for user in range(num_users):
        alone = _ranked(ranker, latents[[user]], first=user)
        assert is_same(alone, slates[[user]]), "a user's slate depends on who is ranked beside them"
    _check_refusals(ranker, latents)
    if callable(getattr(ranker, "encode", None)):
        _check_encoder(ranker, slates, rng)
    loaded = saved_and_loaded(ranker, load_ranker, *_ATTRIBUTES)
    assert is_same(_ranked(loaded, latents), slates), "another ranker comes out of its file"


def _ranked(ranker: Ranker, latents: NDArray[np.float32], first: int = 0) -> NDArray[np.int64]:
    """Slates for latents; a ranker that draws gets a generator for each user, that of ``first`` for the first row."""
    if not (isinstance(ranker, SamplingRanker) and ranker.sample):
        return ranker.rank(latents)
    return ranker.rank(latents, [np.random.default_rng([first + row]) for row in range(len(latents))])


def _check_refusals(ranker: Ranker, latents: NDArray[np.float32]) -> None:
    wide = np.zeros((len(latents), ranker.action_size + 1), np.float32)
    for what, wrong in (
        ("one number too many in each", wide),
        ("a single latent without its axis of users", latents[0]),
        ("NaN", np.full_like(latents, np.nan)),
        ("infinity", np.full_like(latents, np.inf)),
    ):
        assert_refused(f"rank(latents) with {what}", partial(_ranked, ranker, wrong), "latents", "action")
    if isinstance(ranker, SamplingRanker) and ranker.sample:
        assert_refused("rank(latents) without generators", lambda: ranker.rank(latents), "generators")


def _check_encoder(ranker: Any, slates: NDArray[np.int64], rng: np.random.Generator) -> None:
    clicks = rng.integers(2, size=slates.shape)
    latents = ranker.encode(slates, clicks)
    assert_form("encode()", latents, "float32", (len(slates), ranker.action_size))
    assert_within("encode()", latents, -1, 1)
    for user in range(len(slates)):
        alone = ranker.encode(slates[[user]], clicks[[user]])
        assert is_same(alone, latents[[user]]), "a slate's latent depends on which are encoded beside it"
    unknown = np.full_like(slates, ranker.num_items)
    assert_refused("encode() of an unknown item", lambda: ranker.encode(unknown, clicks), "slates")
    assert_refused("encode() of clicks of 2", lambda: ranker.encode(slates, clicks + 2), "clicks")
