"""Arguments as the simulator takes them, or an error that says what is wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.check_messages import shown
from gems_gym.common.checks import as_array


def check_slates(
    slates: object, shape: tuple[int, ...], num_items: int | None = None, name: str = "action"
) -> NDArray[np.int64]:
    """Slates as the simulator takes them, or an error that says what is wrong.

    Args:
        slates: The slates to show.
        shape: ``(slate_size,)`` or ``(num_users, slate_size)``.
        num_items: Items in the catalogue; None leaves unknown items to the simulator's step, which looks anyway.
        name: What the errors call them.

    Returns:
        int64 array of that shape.

    Raises:
        TypeError: Not integers.
        ValueError: Another shape, or an item that is not in the catalogue.
    """
    array = as_array(slates, name)
    if array.shape != shape:
        raise ValueError(f"{name} must hold item ids in the shape {shape}, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer item ids, got dtype {array.dtype}")
    if num_items is not None and array.size and (array.min() < 0 or array.max() >= num_items):
        raise unknown_item(array[(array < 0) | (array >= num_items)].flat[0], num_items, name)
    return array.astype(np.int64, copy=False)


def unknown_item(item: object, num_items: int, name: str = "action") -> ValueError:
    """The error for an item that is not in the catalogue."""
    return ValueError(f"{name} must hold item ids in [0, {num_items}), got {item}")


def check_users(users: object, shape: tuple[int, ...], unit_size: int, name: str) -> NDArray[np.float64]:
    """Given users' preferences as the simulator takes them, or an error that says what is wrong.

    Only the direction of a preference counts: like a drawn user's, it is scaled so that the Euclidean norms of
    its blocks of ``unit_size`` numbers add up to 1.

    Args:
        users: The users' preferences.
        shape: ``(num_users, embedding_size)``.
        unit_size: Numbers of a block: those of a topic, in SARDINE all.
        name: What the errors call them.

    Returns:
        float64 array of that shape, a new one.

    Raises:
        TypeError: Not real numbers.
        ValueError: Another shape, NaN or infinity, or a user that is all zero.
    """
    array = as_array(users, name)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
    # (num_users, 1), divided by first: squares stay finite
    largest = np.abs(array).max(axis=1, keepdims=True)
    if not largest.all():
        raise ValueError(f"{name} must not be all zero: such a user prefers nothing")
    array /= largest
    blocks = array.reshape(shape[0], -1, unit_size)
    found: NDArray[np.float64] = array / np.sqrt((blocks**2).sum(axis=2)).sum(axis=1)[:, None]
    return found


def check_rngs(rngs: Any, count: int) -> None:
    """Raise a TypeError or ValueError unless there is a generator for each of ``count`` users."""
    if not isinstance(rngs, Sequence) or not all(isinstance(rng, np.random.Generator) for rng in rngs):
        raise TypeError(f"rngs must be a sequence of numpy Generators, got {shown(rngs)}")
    if len(rngs) != count:
        raise ValueError(f"rngs must hold a generator for each of {count} users, got {len(rngs)}")


def check_rows(which: object, num_users: int) -> NDArray[np.int64]:
    """Rows of users as the kernels index them: no check of bounds is compiled in.

    Args:
        which: Rows of some users.
        num_users: Users there are.

    Returns:
        int64 ``(n,)``.

    Raises:
        TypeError: Not integers.
        ValueError: No row of numbers, a user that there is not, or one that is there twice.
    """
    rows = as_array(which, "which")
    if rows.size == 0 and rows.ndim == 1:
        return rows.astype(np.int64)
    if rows.dtype.kind not in "iu":
        raise TypeError(f"which must hold rows of users, integers, got dtype {rows.dtype}")
    if rows.ndim != 1:
        raise ValueError(f"which must have shape (n,), got {rows.shape}")
    if rows.min() < 0 or rows.max() >= num_users:
        unknown = rows[(rows < 0) | (rows >= num_users)][0]
        raise ValueError(f"which must hold rows in [0, {num_users}), got {unknown}")
    rows = rows.astype(np.int64, copy=False)
    if not (rows[1:] > rows[:-1]).all() and np.bincount(rows).max() > 1:
        raise ValueError(f"which must hold each user once, got {np.bincount(rows).argmax()} several times")
    return rows


def check_uniforms(uniforms: object, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Numbers that click probabilities must exceed, float32 ``(num_users, steps, slate_size)``.

    Args:
        uniforms: Given random numbers.
        shape: ``(num_users, slate_size)``; one more than ``slate_size`` in steps of users who may leave.

    Raises:
        TypeError: Not float32, which is what probabilities are compared as.
        ValueError: Another shape.
    """
    array = as_array(uniforms, "uniforms")
    if array.dtype != np.float32:
        raise TypeError(f"uniforms must be float32, got dtype {array.dtype}")
    if array.ndim != 3 or array.shape[::2] != shape or array.shape[1] < 1:
        raise ValueError(f"uniforms must have shape ({shape[0]}, steps, {shape[1]}), got {array.shape}")
    return array


def check_preferences(preferences: object, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Preferences of users, scaled already, float64 of the given shape; a TypeError or ValueError that names them."""
    array = as_array(preferences, "preferences")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"preferences must hold real numbers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"preferences must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("preferences must hold finite numbers, got NaN or infinity")
    return array.astype(np.float64, copy=False)


def check_topics(topics: object, count: int, num_topics: int) -> NDArray[np.int64]:
    """Topics, int64 ``(count,)`` in ``[0, num_topics)``; a TypeError or ValueError that names them."""
    array = as_array(topics, "short_term_topics")
    if array.dtype.kind not in "iu":
        raise TypeError(f"short_term_topics must hold integers, got dtype {array.dtype}")
    if array.shape != (count,) or (count and not 0 <= array.min() <= array.max() < num_topics):
        raise ValueError(f"short_term_topics must be {count} topics in [0, {num_topics}), got {array}")
    return array.astype(np.int64, copy=False)
