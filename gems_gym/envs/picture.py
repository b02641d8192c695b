"""One user's session as a picture: the slate as cards, the user's interest and boredom, the clicks so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gems_gym.envs.canvas import GREY, INK, PALE, WHITE, Canvas, ink_on, mix, topic_color

WIDTH, HEIGHT = 640, 480
"""Pixels of a picture; even, as video codecs want them."""

_LEFT, _RIGHT = 16, WIDTH - 16
_ACROSS = _RIGHT - _LEFT


@dataclass(frozen=True)
class SessionView:
    """What a picture shows of one user's session.

    Attributes:
        title: Heading.
        step: Steps taken, 0 where only the first slate was shown.
        episode_length: Steps of the session.
        slate: Items shown, ``(slate_size,)``.
        slate_topics: Their topics, ``(slate_size,)``.
        clicks: What was clicked, ``(slate_size,)``, 0 or 1.
        relevances: Relevances of the items shown, ``(slate_size,)``, in [0, 1].
        interest: Block norms of the preference, ``(num_topics,)``, adding up to 1.
        bored: Bored topics, as used for this slate, ``(num_topics,)``.
        bored_timeout: Steps that boredom lasts, this one included, ``(num_topics,)``.
        recent_topics: Topics of the recent-click log, oldest first, ``(n,)``.
        recent_maxlen: Entries the log can hold.
        boredom_threshold: Entries of one topic that make it boring.
        clicks_per_step: Clicks of every step so far, ``(step,)``; those on the first slate are not in it.
    """

    title: str
    step: int
    episode_length: int
    slate: NDArray[np.int64]
    slate_topics: NDArray[np.int64]
    clicks: NDArray[np.int8]
    relevances: NDArray[np.float32]
    interest: NDArray[np.float64]
    bored: NDArray[np.bool_]
    bored_timeout: NDArray[np.int64]
    recent_topics: NDArray[np.int64]
    recent_maxlen: int
    boredom_threshold: int
    clicks_per_step: Sequence[int]


def session_frame(view: SessionView) -> NDArray[np.uint8]:
    """Draw a session as it stands; the same view gives the same pixels.

    Args:
        view: What to show.

    Returns:
        uint8 ``(480, 640, 3)``.

    Raises:
        ImportError: Pillow is not installed; the message names the extra.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    _header(canvas, view)
    _slate(canvas, view, top=77, height=162)
    _topics(canvas, view, top=270)
    _history(canvas, view, top=424, width=404)
    _recent_clicks(canvas, view, left=444, top=424)
    return canvas.array()


def _header(canvas: Canvas, view: SessionView) -> None:
    canvas.text(_LEFT, 10, view.title, 12, GREY)
    canvas.text(_LEFT, 25, f"step {view.step} of {view.episode_length}", 20)
    canvas.text(_RIGHT, 10, "clicks so far", 12, GREY, "ra")
    canvas.text(_RIGHT, 23, sum(view.clicks_per_step), 24, INK, "ra")
    canvas.box(_LEFT, 51, _ACROSS, 3, PALE)
    canvas.box(_LEFT, 51, _ACROSS * view.step / view.episode_length, 3, INK)


def _slate(canvas: Canvas, view: SessionView, top: float, height: float) -> None:
    """The slate's cards in reading order; clicked ones are filled and ticked."""
    size = len(view.slate)
    shown = "the slate" if view.step else "the first slate (its clicks do not count)"
    clicked = int(np.sum(view.clicks))
    canvas.text(_LEFT, 59, f"{shown}: {clicked} of {size} clicked", 12, GREY)
    canvas.text(_RIGHT, 59, "bars: relevance to the user now", 12, GREY, "ra")
    gap = 6 if size <= 20 else 3 if size <= 100 else 1
    columns, card_width, card_height = _grid(size, _ACROSS, height, gap)
    for position in range(size):
        row, column = divmod(position, columns)
        x, y = _LEFT + column * (card_width + gap), top + row * (card_height + gap)
        _card(canvas, view, position, x, y, card_width, card_height)


def _grid(size: int, width: float, height: float, gap: float) -> tuple[int, float, float]:
    """Columns and card sizes: of all grids that hold the slate, the one with the most legible cards."""

    def card(columns: int) -> tuple[float, float]:
        rows = math.ceil(size / columns)
        return (width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows

    best = max(range(1, size + 1), key=lambda columns: min(card(columns)[0] / 1.5, card(columns)[1]))
    return best, max(1.0, min(160.0, card(best)[0])), max(1.0, min(100.0, card(best)[1]))


def _card(
    canvas: Canvas, view: SessionView, position: int, x: float, y: float, width: float, height: float
) -> None:
    topic, clicked = int(view.slate_topics[position]), bool(view.clicks[position])
    relevance = float(view.relevances[position])
    color = topic_color(topic)
    fill = color if clicked else mix(color, WHITE, 0.82)
    ink = ink_on(fill)
    outline = INK if clicked else color
    roomy, readable = width >= 76 and height >= 56, width >= 30 and height >= 24
    canvas.box(x, y, width, height, fill, outline, 2.5 if clicked and readable else 1, 6 if readable else 0)
    if view.bored[topic]:
        canvas.hatch(x + 3, y + 3, width - 6, height - 6, mix(fill, GREY, 0.45))
    if not readable:
        return
    if not clicked:
        canvas.box(x, y + 5, 5, height - 10, color)
    item = str(view.slate[position])
    bar = 5 if roomy else 3
    middle = y + (height * 0.42 if roomy else (height - bar) / 2)
    id_size = min(22 if roomy else 14, 1.5 * (width - 8) / len(item))
    canvas.text(x + width / 2, middle, item, id_size, ink, "mm")
    bar_width = width - (46 if roomy else 8)
    _gauge(canvas, x + (8 if roomy else 4), y + height - bar - 6, bar_width, bar, relevance, ink, fill)
    if not roomy:
        return
    canvas.text(x + 9, y + 6, position + 1, 11, ink)
    canvas.text(x + width / 2, y + height * 0.69, f"topic {topic}", 11, ink, "mm")
    canvas.text(x + width - 7, y + height - 8, f"{relevance:.2f}", 11, ink, "rm")
    if clicked:
        _tick(canvas, x + width - 13, y + 13)


def _gauge(
    canvas: Canvas,
    x: float, y: float, width: float, height: float,
    share: float, ink: tuple[int, int, int], paper: tuple[int, int, int],
) -> None:  # fmt: skip
    canvas.box(x, y, width, height, mix(paper, ink, 0.2))
    canvas.box(x, y, width * min(1.0, max(0.0, share)), height, ink)


def _tick(canvas: Canvas, x: float, y: float) -> None:
    canvas.disc(x, y, 9, WHITE)
    canvas.disc(x, y, 8, INK)
    canvas.line([(x - 4, y), (x - 1, y + 3.5), (x + 4.5, y - 3.5)], WHITE, 2)


def _topics(canvas: Canvas, view: SessionView, top: float) -> None:
    """A column per topic: interest as a bar, its colour and number (the legend), how near boredom is."""
    canvas.text(_LEFT, top - 20, "the user's interest in each topic", 12, GREY)
    rule = f"below: recent clicks, {view.boredom_threshold} of a topic bore"
    canvas.text(_RIGHT, top - 20, rule, 12, GREY, "ra")
    num_topics = len(view.interest)
    width = _ACROSS / num_topics
    highest = view.interest.max()
    full = 0.25 if highest <= 0.25 else 0.5 if highest <= 0.5 else 1.0  # what a bar of full height stands for
    counts = np.bincount(view.recent_topics, minlength=num_topics)
    label_every = math.ceil(20 / width)
    base = top + 94
    for topic in range(num_topics):
        x, color = _LEFT + topic * width, topic_color(topic)
        _interest(canvas, view, topic, x, base, width, 74 * float(view.interest[topic]) / full)
        canvas.box(x + 1, base + 2, width - (2 if width > 4 else 0), 17, color)
        if width >= 14:
            canvas.text(x + width / 2, base + 11, topic, 12, ink_on(color), "mm")
            _towards_boredom(canvas, int(counts[topic]), view.boredom_threshold, x + 1, base + 22, width - 2)
        elif topic % label_every == 0:  # no room on the colour itself
            canvas.text(x, base + 21, topic, 10, GREY)
    canvas.line([(_LEFT, base), (_RIGHT, base)], GREY)


def _interest(
    canvas: Canvas, view: SessionView, topic: int, x: float, base: float, width: float, height: float
) -> None:
    """A topic's bar; hatched, with the steps left above, where the user is bored of it."""
    color = topic_color(topic)
    bar = max(1.0, min(36.0, width * 0.66))
    left, middle = x + (width - bar) / 2, x + width / 2
    if not view.bored[topic]:
        canvas.box(left, base - height, bar, height, color)
        if width >= 30:
            canvas.text(middle, base - height - 3, f"{view.interest[topic]:.0%}", 11, GREY, "ms")
        return
    canvas.box(x + 1, base - 96, width - 2, 96, PALE)
    canvas.box(left, base - height, bar, height, WHITE, color)
    canvas.hatch(left, base - height, bar, height, color)
    if width >= 14:
        canvas.box(x + 1, base - 96, width - 2, 16, INK)
        left_over = int(view.bored_timeout[topic])
        canvas.text(middle, base - 88, f"bored {left_over}" if width >= 52 else left_over, 12, WHITE, "mm")


def _towards_boredom(canvas: Canvas, count: int, threshold: int, x: float, y: float, width: float) -> None:
    """Recent clicks on a topic against those that bore: a full row bores at the next step."""
    if threshold <= 10 and width / threshold >= 4:
        cell = width / threshold
        for entry in range(threshold):
            canvas.box(x + entry * cell, y, cell - 1.5, 6, INK if entry < count else PALE)
    else:
        canvas.box(x, y, width, 6, PALE)
        canvas.box(x, y, width * min(1.0, count / threshold), 6, INK)


def _history(canvas: Canvas, view: SessionView, top: float, width: float) -> None:
    """Clicks of every step; sessions longer than the picture is wide are averaged over neighbouring steps."""
    clicks = np.asarray(view.clicks_per_step, dtype=np.float64)
    mean = f", {clicks.mean():.1f} on average" if len(clicks) else ""
    canvas.text(_LEFT, top - 16, f"clicks per step{mean}", 12, GREY)
    canvas.box(_LEFT, top + 2, width, 46, WHITE)
    per_bar = math.ceil(view.episode_length / (width / 2))
    bar = width / math.ceil(view.episode_length / per_bar)
    highest = max(min(len(view.slate), 12), clicks.max(initial=0))
    for index, start in enumerate(range(0, len(clicks), per_bar)):
        height = 46 * clicks[start : start + per_bar].mean() / highest
        newest = start + per_bar >= len(clicks)
        x = _LEFT + index * bar
        canvas.box(x, top + 48 - height, min(40.0, bar * 0.75), height, INK if newest else GREY)
    canvas.line([(_LEFT, top + 48), (_LEFT + width, top + 48)], GREY)


def _recent_clicks(canvas: Canvas, view: SessionView, left: float, top: float) -> None:
    """The recent-click log that boredom counts, oldest first."""
    canvas.text(left, top - 16, "recent clicks, newest last", 12, GREY)
    places = min(view.recent_maxlen, 20)
    columns = math.ceil(places / 2)
    cell = min(25.0, (_RIGHT - left) / columns)
    topics = view.recent_topics[-places:]
    for place in range(places):
        x, y = left + place % columns * cell, top + 2 + place // columns * cell
        if place < len(topics):
            color = topic_color(int(topics[place]))
            canvas.box(x, y, cell - 2, cell - 2, color, radius=3)
            canvas.text(x + cell / 2 - 1, y + cell / 2 - 1, topics[place], 11, ink_on(color), "mm")
        else:
            canvas.box(x, y, cell - 2, cell - 2, outline=PALE, radius=3)
