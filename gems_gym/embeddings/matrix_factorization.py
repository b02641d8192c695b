"""Item embeddings by matrix factorisation of who clicked what: Bayesian personalised ranking (BPR).

Rendle, Freudenthaler, Gantner, Schmidt-Thieme, *BPR: Bayesian Personalized Ranking from Implicit Feedback*, UAI 2009.
Our own hundred lines rather than the library ``implicit``, whose BPR has no stop on held-out pairs, adds a bias column
to the factors, and is one more compiled dependency.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import held_out_of
from gems_gym.common.checks import (
    Checked,
    Count,
    NonNegative,
    Positive,
    Seed,
    Share,
    Units,
    checked_arguments,
)
from gems_gym.common.compilation import compiled, inlined
from gems_gym.embeddings.base import (
    DEFAULT_SIZE,
    ClickLog,
    EmbeddingKind,
    Sources,
    clicked_items,
    unit_scale,
)

_TRIES = 100
"""Items drawn in search of one that a session did not click; a session with hardly any left does without."""


@dataclass(frozen=True)
class BprSettings(Checked):
    """How BPR is trained.

    The published agents train in batches of 256 at a learning rate of 1e-4 (arXiv 2301.08632); here a step is one
    pair, as in the BPR paper, and its learning rate is of another order.

    Attributes:
        size: Numbers in an embedding.
        learning_rate: Learning rate of the stochastic gradient steps, one pair each.
        regularization: Weight of the squared norms.
        held_out: Share of the (session, item) pairs that the stop is decided on.
        patience: Checks (one a pass over the pairs) without improvement after which it stops.
        max_passes: It stops after so many in any case.
    """

    size: Units = DEFAULT_SIZE
    learning_rate: Positive = 0.05
    regularization: NonNegative = 0.01
    held_out: Share = 0.1
    patience: Count = 3
    max_passes: Count = 200


@checked_arguments
def matrix_factorization_embeddings(
    log: ClickLog, num_items: Count, settings: BprSettings | None = None, *, seed: Seed = 0
) -> NDArray[np.float32]:
    """Factorises (session, clicked item) pairs with BPR, one uniform negative for each.

    A session's vector u and an item's v are such that u·v is larger for items that the session clicked than for others:
    every step raises log sigmoid(u·v_clicked - u·v_other) by its gradient. After each pass the mean of that over
    held-out pairs (their negatives drawn once) is checked; the item vectors of the best check are returned.

    Args:
        log: Slates and clicks; the first axis is the session.
        num_items: Items in the catalogue; ids are ``0 … num_items - 1``.
        settings: How; the defaults if None.
        seed: Seed of the initial vectors, the held-out pairs, the order and the negatives.

    Returns:
        float32 ``(num_items, size)``, scaled as a whole to a root mean square of 1.

    Raises:
        ValueError: Arrays of different shapes, unknown item ids, or fewer than ten different pairs.
    """
    settings = settings or BprSettings()
    rng = np.random.default_rng(seed)
    sessions, items, num_sessions = clicked_items(log, num_items, row_axes=1)
    codes = np.unique(sessions * num_items + items)  # every pair once, sorted
    if len(codes) < 10:
        raise ValueError(f"log holds {len(codes)} pairs of a session and an item it clicked; 10 are needed")
    order = rng.permutation(len(codes))
    cut = held_out_of(len(codes), settings.held_out)
    held_out, train = codes[order[:cut]], codes[order[cut:]]
    negatives = _negatives(codes, held_out, num_items, _bits(rng))
    session_vectors = rng.normal(0, 0.1, (num_sessions, settings.size)).astype(np.float32)
    item_vectors = rng.normal(0, 0.1, (num_items, settings.size)).astype(np.float32)
    rates = (np.float32(settings.learning_rate), np.float32(settings.regularization))
    best, best_loss, checks_since = item_vectors.copy(), math.inf, 0
    for _ in range(settings.max_passes):
        _one_pass(codes, rng.permutation(train), session_vectors, item_vectors, *rates, _bits(rng))
        loss = _loss(held_out, negatives, session_vectors, item_vectors)
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss}; lower learning_rate = {settings.learning_rate}")
        if loss < best_loss:
            best, best_loss, checks_since = item_vectors.copy(), loss, 0
        else:
            checks_since += 1
            if checks_since == settings.patience:
                break
    return unit_scale(best.astype(np.float64))


def _bits(rng: np.random.Generator) -> int:
    """A seed for :func:`_unclicked_item`, whose state a compiled loop can carry."""
    return int(rng.integers(1, 2**62))


@inlined
def _contains(codes: NDArray[np.int64], code: int) -> bool:
    position = np.searchsorted(codes, code)
    return bool(position < codes.size and codes[position] == code)


@compiled
def _unclicked_item(
    codes: NDArray[np.int64], session: int, num_items: int, state: np.uint64
) -> tuple[int, np.uint64]:
    """An item that the session did not click, uniformly, and the next state of the random numbers (xorshift64*)."""
    item = 0
    for _ in range(_TRIES):
        state ^= state >> np.uint64(12)
        state ^= state << np.uint64(25)
        state ^= state >> np.uint64(27)
        item = int(np.int64((state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(33))) % num_items
        if not _contains(codes, session * num_items + item):
            break
    return item, state


@compiled
def _negatives(
    codes: NDArray[np.int64], pairs: NDArray[np.int64], num_items: int, seed: int
) -> NDArray[np.int64]:
    """One unclicked item for every pair, ``(num_pairs,)``."""
    negatives = np.empty_like(pairs)
    state = np.uint64(seed)
    for index in range(pairs.size):
        negatives[index], state = _unclicked_item(codes, pairs[index] // num_items, num_items, state)
    return negatives


@inlined
def _margin(
    session: NDArray[np.float32], clicked: NDArray[np.float32], other: NDArray[np.float32]
) -> np.float32:
    margin = np.float32(0.0)
    for d in range(session.size):
        margin += session[d] * (clicked[d] - other[d])
    return margin


@compiled
def _one_pass(
    codes: NDArray[np.int64],  # (num_codes,) sorted: session * num_items + item of every click
    pairs: NDArray[np.int64],  # (num_pairs,) those to learn from, in order
    session_vectors: NDArray[np.float32],  # (num_sessions, size), changed
    item_vectors: NDArray[np.float32],  # (num_items, size), changed
    rate: np.float32,
    regularization: np.float32,
    seed: int,
) -> None:
    num_items = item_vectors.shape[0]
    state = np.uint64(seed)
    for index in range(pairs.size):
        session = pairs[index] // num_items
        other, state = _unclicked_item(codes, session, num_items, state)
        u, v, w = session_vectors[session], item_vectors[pairs[index] % num_items], item_vectors[other]
        slope = np.float32(1.0 / (1.0 + np.exp(_margin(u, v, w))))
        for d in range(u.size):
            u_d, v_d, w_d = u[d], v[d], w[d]
            u[d] = u_d + rate * (slope * (v_d - w_d) - regularization * u_d)
            v[d] = v_d + rate * (slope * u_d - regularization * v_d)
            w[d] = w_d - rate * (slope * u_d + regularization * w_d)


@compiled
def _loss(
    pairs: NDArray[np.int64],
    negatives: NDArray[np.int64],
    session_vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
) -> float:
    """Mean of -log sigmoid(u·v_clicked - u·v_other)."""
    num_items = item_vectors.shape[0]
    total = 0.0
    for index in range(pairs.size):
        session, item = pairs[index] // num_items, pairs[index] % num_items
        margin = _margin(session_vectors[session], item_vectors[item], item_vectors[negatives[index]])
        total += np.log1p(np.exp(-abs(margin))) + max(-margin, 0.0)
    return total / pairs.size


def _make(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    assert sources.log is not None
    settings = BprSettings(size=size or DEFAULT_SIZE)
    return matrix_factorization_embeddings(sources.log, sources.num_items, settings, seed=seed)


MATRIX_FACTORIZATION = EmbeddingKind(_make, needs="log")
"""Items that the same people click are alike, by BPR."""
