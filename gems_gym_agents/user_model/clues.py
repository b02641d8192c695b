"""What might say something of a click: numbers of each slot of logged sessions that suit any kind of user.

None of them assumes how users choose, tire or change. Some describe the slot and its slate; the others the session's
clicks before it, at several spans of memory.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled, inlined
from gems_gym_agents.user_model.logs import Log

_KEPT_PER_STEP = np.array([0.5, 0.8, 0.95])
"""What is left of a click after a step, in a short, a longer and a long memory."""
_RECENT = 10
LONG_AGO = 30
"""Steps after which it does not matter any more how long ago a click was."""


class Clues(NamedTuple):
    """Numbers of each slot of chosen slates, all ``(num_sessions, length, slate_size)``."""

    position: NDArray[np.int16]
    step: NDArray[np.int16]  # of the session, from 1
    above: NDArray[np.int16]  # clicks at the positions before it on the same slate
    before: NDArray[np.int16]  # clicks on the slate before
    alike: NDArray[np.int16]  # items of its topic on the slate, itself included
    recent: NDArray[np.int16]  # clicks on its topic in the last ten steps
    most: NDArray[np.int16]  # the same for the topic with most of them
    topic_age: NDArray[np.int16]  # steps since a click on its topic, at most LONG_AGO
    item_age: NDArray[np.int16]  # steps since a click on the item, likewise
    shown: NDArray[np.int16]  # how often the session has shown the item
    # (..., 12): for what was missed and what was clicked, in each of three memories:
    # likeness of the item to it, and how much of it was of the item's topic
    memories: NDArray[np.float32]


def clues_of(log: Log, items: NDArray[np.float64], topics: NDArray[np.int64]) -> Clues:
    """Number all slots of a log but those of first slates.

    Args:
        log: Sessions.
        items: Vectors that say which items are alike, ``(num_items, size)``.
        topics: Topics of the items, int64 ``(num_items,)``.
    """
    shape = log.chosen.slates.shape
    spans = len(_KEPT_PER_STEP)
    counts: list[Any] = [np.zeros(shape, np.int16) for _ in Clues._fields[:-1]]
    clues = Clues._make([*counts, np.zeros((*shape, 4 * spans), np.float32)])
    centred = items - items.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    _collect(unit, topics, int(topics.max()) + 1, _KEPT_PER_STEP, log.slates, log.clicks, clues)
    return clues


@compiled
def _collect(
    unit: NDArray[np.float64],
    topics: NDArray[np.int64],
    num_topics: int,
    kept: NDArray[np.float64],
    slates: NDArray[np.signedinteger],
    clicks: NDArray[np.int8],
    clues: Clues,
) -> None:
    num_sessions, length, slate_size = slates.shape
    (num_items, size), spans = unit.shape, kept.shape[0]
    for n in range(num_sessions):
        vectors = np.zeros((2, spans, size))  # sums over items that were missed, and clicked
        of_topics = np.zeros((2, spans, num_topics))
        recent = np.zeros((num_topics, _RECENT))  # clicks on a topic in each of the last steps
        topic_clicked = np.full(num_topics, -LONG_AGO)
        item_clicked = np.full(num_items, -LONG_AGO)
        shown = np.zeros(num_items)
        before = 0
        for t in range(length):
            above, most = 0, _most(recent)
            for s in range(slate_size):
                item = slates[n, t, s]
                topic = topics[item]
                if t > 0:
                    place = (n, t - 1, s)
                    clues.position[place] = s
                    clues.step[place] = t
                    clues.above[place] = above
                    clues.before[place] = before
                    for other in range(slate_size):
                        clues.alike[place] += topics[slates[n, t, other]] == topic
                    clues.recent[place] = recent[topic].sum()
                    clues.most[place] = most
                    clues.topic_age[place] = min(t - topic_clicked[topic], LONG_AGO)
                    clues.item_age[place] = min(t - item_clicked[item], LONG_AGO)
                    clues.shown[place] = shown[item]
                    memory = clues.memories[place]
                    for clicked in range(2):
                        for span in range(spans):
                            likeness = 0.0
                            for d in range(size):
                                likeness += unit[item, d] * vectors[clicked, span, d]
                            memory[2 * (clicked * spans + span)] = likeness
                            memory[2 * (clicked * spans + span) + 1] = of_topics[clicked, span, topic]
                above += clicks[n, t, s]
            before = above
            vectors *= kept.reshape(1, -1, 1)
            of_topics *= kept.reshape(1, -1, 1)
            recent[:, t % _RECENT] = 0.0
            for s in range(slate_size):
                item, clicked = slates[n, t, s], clicks[n, t, s]
                topic = topics[item]
                _add_item(vectors[clicked], unit[item], of_topics[clicked], topic)
                shown[item] += 1.0
                if clicked:
                    recent[topic, t % _RECENT] += 1.0
                    topic_clicked[topic] = item_clicked[item] = t


@inlined
def _most(recent: NDArray[np.float64]) -> float:
    """The largest sum of a row; numba takes 2 seconds to compile ``recent.sum(axis=1).max()``."""
    most = 0.0
    for topic in range(recent.shape[0]):
        most = max(most, recent[topic].sum())
    return most


@inlined
def _add_item(
    vectors: NDArray[np.float64], vector: NDArray[np.float64], of_topics: NDArray[np.float64], topic: int
) -> None:
    """Add an item to the sums of every span."""
    for span in range(vectors.shape[0]):
        of_topics[span, topic] += 1.0
        for d in range(vectors.shape[1]):
            vectors[span, d] += vector[d]
