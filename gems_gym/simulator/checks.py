"""What people hand in, as the simulator takes it, or an error that says what is wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_slates(
    slates: object, shape: tuple[int, ...], num_items: int | None = None, name: str = "action"
) -> NDArray[np.int64]:
    """Slates as the simulator takes them, or an error that says what is wrong.

    Args:
        slates: What somebody wants to show.
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
    if num_items is not None and (array.min() < 0 or array.max() >= num_items):
        raise unknown_item(array[(array < 0) | (array >= num_items)].flat[0], num_items, name)
    return array.astype(np.int64, copy=False)


def unknown_item(item: object, num_items: int, name: str = "action") -> ValueError:
    """The error for an item that is not in the catalogue."""
    return ValueError(f"{name} must hold item ids in [0, {num_items}), got {item}")


def check_users(users: object, shape: tuple[int, ...], topic_size: int, name: str) -> NDArray[np.float64]:
    """Given users' preferences as the simulator takes them, or an error that says what is wrong.

    Only the direction of a preference counts: like a drawn user's, it is scaled so that the Euclidean norms of
    its blocks, one block of ``topic_size`` numbers per topic, add up to 1.

    Args:
        users: Somebody's preferences.
        shape: ``(num_users, embedding_size)``.
        topic_size: Numbers per topic.
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
    largest = np.abs(array).max(
        axis=1, keepdims=True
    )  # (num_users, 1), divided by first: squares stay finite
    if not largest.all():
        raise ValueError(f"{name} must not be all zero: such a user prefers nothing")
    array /= largest
    blocks = array.reshape(shape[0], -1, topic_size)
    return array / np.sqrt((blocks**2).sum(axis=2)).sum(axis=1)[:, None]


def as_array(value: object, name: str) -> NDArray[Any]:
    """An array of what somebody handed in; a ValueError that names it for rows of different lengths."""
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array, got {value!r} ({error})") from error
