"""Item embeddings turned so that their axes mean something: each belongs to one topic.

Embeddings from co-clicks are known but for a rotation. Vectors in blocks without negative values, of which an item has
few large ones, are skewed along their own axes and along no others; so the rotation with the largest skewness finds
them (a varimax-like criterion of third order; each iteration is a step of orthogonal Procrustes).
"""

import numpy as np
from numpy.typing import NDArray

_ITERATIONS, _TOLERANCE = 500, 1e-7
_LOW_QUANTILE = 0.02


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
    alike: NDArray[np.float64] = np.atleast_2d(np.corrcoef(turned.T))
    np.fill_diagonal(alike, -np.inf)
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
