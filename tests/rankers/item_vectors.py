"""Item embeddings and latents that tests of several rankers use."""

import numpy as np

HASH = "c0" * 32
ITEMS, SLOTS, SIZE = 40, 6, 4


def embeddings(seed: int = 0, num_items: int = ITEMS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_items, SIZE)).astype(np.float32)


def random_latents(num_users: int, size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (num_users, size)).astype(np.float32)


def generators(num_users: int, seed: int = 5) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, user]) for user in range(num_users)]


def taken_in_turn(scores: np.ndarray) -> np.ndarray:
    """Slates whose slots choose one after the other: (N, S, I) scores to (N, S), by the definition."""
    scores = scores.astype(np.float64).copy()
    slates = np.empty(scores.shape[:2], dtype=np.int64)
    for user in range(len(scores)):
        for slot in range(scores.shape[1]):
            scores[user, slot, slates[user, :slot]] = -np.inf
            slates[user, slot] = scores[user, slot].argmax()
    return slates
