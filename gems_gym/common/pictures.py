"""Pictures by matplotlib: one way to make a figure, to check where it shall go, and to write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gems_gym.common.files import whole_file
from gems_gym.common.machine import check_out_file
from gems_gym.errors import require

DATED = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
"""Suffix of a picture's file -> the dates that are left out of it, so that the same figure is the same file."""


def check_picture(path: Path | None, option: str = "--out") -> None:
    """Checks that a picture can be written, before anything that takes long.

    Args:
        path: The picture's file; None if no picture is wanted.
        option: Where the user gave it, for the message.

    Raises:
        ValueError: If its suffix is not .png, .pdf or .svg, or no file can be written there.
        ImportError: If matplotlib is not installed; the message names the extra.
    """
    if path is None:
        return
    if path.suffix.lower() not in DATED:
        raise ValueError(f"{option} {path} must be a picture, a file whose name ends in {', '.join(DATED)}")
    check_out_file(path, option)
    require("matplotlib", extra="plot")


def new_figure(width: float, height: float) -> Any:
    """Makes an empty figure, without a window and without global state.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: If matplotlib is not installed; the message names the extra.
    """
    figure = require("matplotlib.figure", extra="plot").Figure
    return figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path, dpi: int = 110) -> None:
    """Writes a figure in the format of the file's suffix; the file appears only when it is finished.

    Args:
        figure: A ``matplotlib.figure.Figure``.
        path: The file, see :func:`check_picture`.
        dpi: Dots per inch of a .png file.

    Raises:
        ValueError: As :func:`check_picture`.
    """
    check_picture(path)
    suffix = path.suffix.lower()
    with require("matplotlib").rc_context({"svg.hashsalt": "gems-gym"}), whole_file(path) as file:
        figure.savefig(file, format=suffix[1:], dpi=dpi, metadata=DATED[suffix])


def legend_below(axes: Any, distance: float = 0.12) -> None:
    """Puts a legend outside of the axes, where no bar is.

    Args:
        axes: Matplotlib's.
        distance: From the axes, in heights of theirs.
    """
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -distance), ncols=3, frameon=False)
