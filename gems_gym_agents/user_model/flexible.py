"""A flexible model of clicks: a small network that sees what a user model predicts and everything else that may matter.

It assumes no form. As it may leave the prediction as it is, it can be worse by chance only; where it is better on
sessions that it has not learned from, the prediction misses something.
"""

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.user_model.clues import Clues

_UNITS, _STEPS, _BATCH, _RATE = 32, 600, 2048, 5e-3
_KEPT_MEAN, _KEPT_SQUARE = 0.9, 0.999
_SOON, _LATER = 2.0, 8.0
"""In steps: a click that is so old matters e times less."""
_SURE = 1e-6


def corrected(
    predicted: NDArray[np.float64], clicks: NDArray[np.int8], clues: Clues, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Click probabilities by the flexible model, each half of the sessions by what the other half has taught it.

    Args:
        predicted: By the user model, in (0, 1), ``(num_sessions, length, slate_size)``, at least two sessions.
        clicks: Same shape, 0 or 1.
        clues: Likewise.
        rng: Draws first weights and batches.

    Returns:
        In (0, 1), same shape.
    """
    seen, logits = _inputs(predicted, clues), np.log(predicted / (1.0 - predicted)).astype(np.float32)
    found = np.empty_like(predicted)
    halves = np.split(np.arange(len(predicted)), [len(predicted) // 2])
    for learned, judged in (halves, halves[::-1]):
        network = _Network(seen.shape[-1], rng)
        network.learn(_rows(seen[learned]), logits[learned].ravel(), clicks[learned].ravel(), rng)
        correction = network.correction(_rows(seen[judged]))
        found[judged] = _logistic(logits[judged] + correction.reshape(logits[judged].shape))
    return np.clip(found, _SURE, 1.0 - _SURE)


def _inputs(predicted: NDArray[np.float64], clues: Clues) -> NDArray[np.float32]:
    """All clues and what the user model says, float32 ``(num_sessions, length, slate_size, num_inputs)``."""
    above = predicted.cumsum(axis=2) - predicted
    counts = [clues.position, clues.above, clues.before, clues.alike, clues.recent, clues.most]
    numbers = [
        np.log(predicted / (1.0 - predicted)),
        above,
        np.broadcast_to(predicted.sum(axis=2, keepdims=True), predicted.shape),
        clues.position == 0,
        clues.above > 0,
        # whether the one right above was clicked
        np.diff(clues.above, axis=2, prepend=clues.above[:, :, :1]),
        clues.step / clues.step.max(),
        np.exp(-clues.step / _LATER),
        *(np.exp(-age / span) for age in (clues.topic_age, clues.item_age) for span in (_SOON, _LATER)),
        np.log1p(clues.shown),
        *counts,
    ]
    memories = np.sign(clues.memories) * np.log1p(np.abs(clues.memories))
    inputs = np.stack([np.asarray(one, np.float32) for one in numbers], axis=-1)
    return np.concatenate([inputs, memories], axis=-1)


class _Network:
    """One hidden layer beside a linear one, trained by Adam on the likelihood of clicks.

    Args:
        num_inputs: Numbers of a slot.
        rng: Draws the first weights.
    """

    def __init__(self, num_inputs: int, rng: np.random.Generator) -> None:
        first = rng.normal(0.0, num_inputs**-0.5, (num_inputs, _UNITS))
        shapes = ((_UNITS,), (_UNITS, 1), (num_inputs, 1), (1,))
        # at first the correction is 0
        self._weights = [first.astype(np.float32), *(np.zeros(shape, np.float32) for shape in shapes)]

    def learn(
        self,
        rows: NDArray[np.float32],
        logits: NDArray[np.float32],
        clicks: NDArray[np.int8],
        rng: np.random.Generator,
    ) -> None:
        """Learn what to add to ``logits``, ``(n,)``, so that clicks are likelier."""
        self._mean, self._sd = rows.mean(axis=0), rows.std(axis=0) + _SURE
        means, squares = ([np.zeros_like(one) for one in self._weights] for _ in range(2))
        for step in range(_STEPS):
            batch = rng.integers(len(rows), size=_BATCH)
            gradients = self._gradients(rows[batch], logits[batch], clicks[batch])
            rate = _RATE * (1.0 - step / _STEPS)
            for weight, mean, square, gradient in zip(self._weights, means, squares, gradients, strict=True):
                mean += (1.0 - _KEPT_MEAN) * (gradient - mean)
                square += (1.0 - _KEPT_SQUARE) * (gradient**2 - square)
                size = np.sqrt(square / (1.0 - _KEPT_SQUARE ** (step + 1))) + 1e-8
                weight -= rate * mean / (1.0 - _KEPT_MEAN ** (step + 1)) / size

    def correction(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What to add to the logits, ``(n,)``."""
        first, bias, second, linear, constant = self._weights
        scaled = (rows - self._mean) / self._sd
        hidden = np.maximum(scaled @ first + bias, 0.0)
        added: NDArray[np.float32] = (hidden @ second + scaled @ linear + constant)[:, 0]
        return added

    def _gradients(
        self, rows: NDArray[np.float32], logits: NDArray[np.float32], clicks: NDArray[np.int8]
    ) -> list[NDArray[np.float32]]:
        first, bias, second, linear, constant = self._weights
        scaled = (rows - self._mean) / self._sd
        hidden = np.maximum(scaled @ first + bias, 0.0)
        logit = logits + (hidden @ second + scaled @ linear + constant)[:, 0]
        error = ((_logistic(logit) - clicks) / len(rows)).astype(np.float32)[:, None]
        back = (error @ second.T) * (hidden > 0.0)
        return [scaled.T @ back, back.sum(axis=0), hidden.T @ error, scaled.T @ error, error.sum(axis=0)]


def _rows(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    return seen.reshape(-1, seen.shape[-1])


def _logistic(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    found: NDArray[np.floating] = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
    return found
