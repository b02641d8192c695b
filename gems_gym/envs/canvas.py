"""Shapes and text on a picture, and the colours of topics; the only module here that knows Pillow.

Pillow is imported when the first picture is made: worlds that are not looked at do not need it.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.errors import require

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
INK: Color = (31, 35, 40)
GREY: Color = (108, 114, 122)
PALE: Color = (228, 231, 235)
PAPER: Color = (250, 250, 248)

# Ten colours that stay apart under the common kinds of colour blindness: M. A. Petroff, "Accessible Color
# Sequences for Data Visualization", arXiv 2107.02270.
_TEN_COLORS: tuple[Color, ...] = (
    (63, 144, 218), (255, 169, 14), (189, 31, 1), (148, 164, 162), (131, 45, 182),
    (169, 107, 89), (231, 99, 0), (185, 172, 112), (113, 117, 129), (146, 218, 221),
)  # fmt: skip
_SHADES = ((WHITE, 0.0), (WHITE, 0.5), (INK, 0.45))  # of the first ten topics, the next ten, the ten after
_OVERSAMPLING = 2  # Pillow draws hard edges; shapes are drawn larger and averaged


def topic_color(topic: int) -> Color:
    """A topic's colour: ten hues, in three shades; from topic 30 on they repeat, which is why topics are numbered."""
    towards, share = _SHADES[topic // len(_TEN_COLORS) % len(_SHADES)]
    return mix(_TEN_COLORS[topic % len(_TEN_COLORS)], towards, share)


def mix(color: Color, other: Color, share: float) -> Color:
    """A colour with a share, 0 … 1, of another."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue


def ink_on(color: Color) -> Color:
    """Dark or white, whichever can be read on a colour."""
    brightness = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return INK if brightness > 140 else WHITE


class _Text(NamedTuple):
    position: tuple[float, float]
    text: str
    size: int
    color: Color
    anchor: str


class Canvas:
    """A picture being drawn; coordinates are pixels from the top left corner and need not be whole.

    Args:
        width: Pixels.
        height: Pixels.
        background: Colour of the empty picture.
    """

    def __init__(self, width: int, height: int, background: Color = PAPER) -> None:
        size = (width * _OVERSAMPLING, height * _OVERSAMPLING)
        self._image = require("PIL.Image", "render").new("RGB", size, background)
        self._draw = require("PIL.ImageDraw", "render").Draw(self._image)
        self._texts: list[_Text] = []  # drawn last, in the final size: sharper

    def box(
        self,
        x: float, y: float, width: float, height: float,
        fill: Color | None = None, outline: Color | None = None, line: float = 1, radius: float = 0,
    ) -> None:  # fmt: skip
        """Draw a rectangle, with round corners where ``radius`` is above 0; one without an area is left out."""
        left, top, right, bottom = (
            round(edge * _OVERSAMPLING) for edge in (x, y, x + width, y + height)
        )  # fmt: skip
        if right <= left or bottom <= top:
            return
        corners = (left, top, right - 1, bottom - 1)
        line = max(1, round(line * _OVERSAMPLING))
        radius = min(radius * _OVERSAMPLING, (right - left) / 2, (bottom - top) / 2)
        if radius < 1:
            self._draw.rectangle(corners, fill=fill, outline=outline, width=line)
        else:
            self._draw.rounded_rectangle(corners, radius, fill=fill, outline=outline, width=line)

    def disc(self, x: float, y: float, radius: float, fill: Color) -> None:
        """Draw a filled circle around a point."""
        corners = [edge * _OVERSAMPLING for edge in (x - radius, y - radius, x + radius, y + radius)]
        self._draw.ellipse(corners, fill=fill)

    def line(self, points: list[tuple[float, float]], color: Color, width: float = 1) -> None:
        """Draw straight lines from point to point."""
        scaled = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points]
        self._draw.line(scaled, fill=color, width=max(1, round(width * _OVERSAMPLING)), joint="curve")

    def hatch(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """Draw diagonal lines over a rectangle; one without an area is left out."""
        if min(width, height) <= 0:
            return
        for start in np.arange(5.0, width + height, 5.0).tolist():
            over = max(0.0, start - width), min(start, height)  # how far down the line enters and leaves
            self.line([(x + start - over[0], y + over[0]), (x + start - over[1], y + over[1])], color)

    def text(
        self, x: float, y: float, text: object, size: float = 12, color: Color = INK, anchor: str = "la"
    ) -> None:
        """Write text; ``anchor`` is Pillow's: l, m or r for the side that x is, a, m or s for the height y is."""
        self._texts.append(_Text((x, y), str(text), max(6, int(size)), color, anchor))

    def array(self) -> NDArray[np.uint8]:
        """The finished picture, uint8 ``(height, width, 3)``."""
        image = self._image.reduce(_OVERSAMPLING)
        draw = require("PIL.ImageDraw", "render").Draw(image)
        for text in self._texts:
            draw.text(text.position, text.text, text.color, _font(text.size), text.anchor)
        return np.array(image, dtype=np.uint8)


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    """Pillow's own font, which is in the package: the same picture on every machine."""
    return require("PIL.ImageFont", "render").load_default(size)
