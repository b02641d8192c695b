"""Item embeddings turned so that their axes mean something: each belongs to one topic.

Embeddings from co-clicks are known but for a rotation. Vectors in blocks without negative values, of which an item has
few large ones, are skewed along their own axes and along no others; so the rotation with the largest skewness finds
them (a varimax-like criterion of third order; each iteration is a step of orthogonal Procrustes).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.embeddings.co_click import SessionFactors

MOST_FACTORS = 80
"""More are not looked for."""
_ITERATIONS, _TOLERANCE = 500, 1e-7
_LOW_QUANTILE = 0.02
_STEP = 1.12
"""An eigenvalue that is so much larger than the next may be the last one that is no noise."""
_ALIKE = 0.06
"""By how much axes of a topic must be more correlated over the items than others, on average. It is .1 to .3 in the
worlds tried, and .01 to .05 where there are none."""
_LARGEST_TOPIC = 6
_AGAINST = 2
"""How many axes that agree an axis that does not weighs as much as."""


class Blocks(NamedTuple):
    """How item vectors are divided into topics."""

    num_topics: int
    topic_size: int  # numbers in a block

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return self.num_topics * self.topic_size


def find_blocks(factors: SessionFactors) -> Blocks:
    """How many topics there are, and how many numbers each of them has.

    Eigenvalues of noise are close to each other, so where one is clearly larger than the next, noise may begin there.
    Which of these places is right shows when the factors before it are turned to axes: those of a topic go up and down
    together over the items, as they share how much the item is of that topic. So every axis must have the same number
    of partners. One factor may be lost in the noise: vectors of the same norm hardly differ along one.

    Args:
        factors: Items' factors from a log of random slates.

    Returns:
        The division by which the most axes have as many partners as a topic has other axes, and few have not.
    """
    falls = factors.eigenvalues[:-1] / np.maximum(factors.eigenvalues[1:], 1e-12)
    sizes = np.flatnonzero(falls >= min(_STEP, falls.max())) + 1
    best, most = Blocks(int(sizes[-1]), 1), 0
    for size in sizes.tolist():
        embeddings = factors.embeddings(size).astype(np.float64)
        topic_size, axes, agree = _topic_size(_skewed(embeddings - embeddings.mean(axis=0)))
        agree -= _AGAINST * (size - agree)
        num_topics = -(-axes // topic_size)
        if num_topics * topic_size - axes <= 1 and agree > most:
            best, most = Blocks(num_topics, topic_size), agree
    return best


def topic_axes(embeddings: NDArray[np.floating], topic_size: int) -> NDArray[np.float64]:
    """First item vectors of a model: axes in blocks, one block a topic, no negative values.

    Args:
        embeddings: ``(num_items, num_topics · topic_size)``, right but for a rotation and a shift.
        topic_size: Axes in a block.

    Returns:
        float64 of the same shape, scaled to a mean norm of 1.
    """
    turned = _skewed(embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64))
    turned = turned[:, _blocks(turned, topic_size)]
    turned /= np.maximum(turned.std(axis=0), 1e-12)
    turned = np.maximum(turned - np.quantile(turned, _LOW_QUANTILE, axis=0), 0.0)
    scaled: NDArray[np.float64] = turned / np.linalg.norm(turned, axis=1).mean()
    return scaled


def block_norms(vectors: NDArray[np.float64], topic_size: int) -> NDArray[np.float64]:
    """Norms of the blocks of vectors: ``(n, num_topics · topic_size)`` -> ``(n, num_topics)``."""
    norms: NDArray[np.float64] = np.linalg.norm(vectors.reshape(len(vectors), -1, topic_size), axis=2)
    return norms


def _skewed(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation of ``(n, size)`` whose columns have the largest skewness, all positive."""
    scaled = centred / centred.std()
    rotation = np.eye(scaled.shape[1])
    for _ in range(_ITERATIONS):
        turned = scaled @ rotation
        left, _, right = np.linalg.svd(scaled.T @ (turned**2 * np.sign((turned**3).mean(axis=0))))
        before, rotation = rotation, left @ right
        if np.abs(rotation - before).max() < _TOLERANCE:
            break
    turned = scaled @ rotation
    found: NDArray[np.float64] = turned * np.sign((turned**3).mean(axis=0))
    return found


def _blocks(turned: NDArray[np.float64], topic_size: int) -> list[int]:
    """An order of the axes that puts those beside each other that go up and down together over the items."""
    alike = _correlations(turned)
    left = list(range(len(alike)))
    order: list[int] = []
    while left:
        within = alike[np.ix_(left, left)]
        block = [left[within.max(axis=1).argmax()]]
        while len(block) < topic_size:
            others = [axis for axis in left if axis not in block]
            block.append(others[int(alike[np.ix_(block, others)].mean(axis=0).argmax())])
        order += block
        left = [axis for axis in left if axis not in block]
    return order


def _topic_size(turned: NDArray[np.float64]) -> tuple[int, int, int]:
    """How many axes a topic has, how many there are that are skewed, unlike noise, and how many of them agree."""
    skewness = (((turned - turned.mean(axis=0)) / turned.std(axis=0)) ** 3).mean(axis=0)
    skewed = skewness >= 0.5 * np.median(skewness)
    # the most correlated axes first
    alike = -np.sort(-_correlations(turned), axis=1)[:, : _LARGEST_TOPIC + 1]
    falls = alike[:, :-1] - alike[:, 1:]
    falls = np.where(np.isfinite(falls), falls, 0.0)
    partners = falls.mean(axis=0).argmax() + 1 if falls.size else 0
    if not partners or falls[:, partners - 1].mean() < _ALIKE:
        return 1, int(skewed.sum()), int(skewed.sum())
    return int(partners) + 1, int(skewed.sum()), int((skewed & (falls.argmax(axis=1) + 1 == partners)).sum())


def _correlations(turned: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each axis with each other one over the items, −∞ with itself: ``(size, size)``."""
    correlations: NDArray[np.float64] = np.atleast_2d(np.corrcoef(turned.T))
    np.fill_diagonal(correlations, -np.inf)
    return correlations
