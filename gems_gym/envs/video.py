"""Frames of sessions as files: animated GIFs with Pillow, mp4 videos with moviepy, several sessions side by side.

For an mp4 of one environment, ``gymnasium.wrappers.RecordVideo`` is all that is needed.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.files import whole_file
from gems_gym.common.machine import check_out_file
from gems_gym.envs.canvas import PALE, Canvas
from gems_gym.envs.rendering import RENDER_FPS
from gems_gym.errors import require

_TITLE_HEIGHT, _GAP = 40, 8
_GIF_COLORS = 128
_PALETTE_FRAMES = 12


def side_by_side(
    frames: Sequence[NDArray[np.uint8]], titles: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """Put pictures of one size next to each other, each under its title.

    Args:
        frames: uint8 ``(height, width, 3)`` each.
        titles: One for each picture; None for none.

    Returns:
        uint8 ``(height, width, 3)``, higher by the titles.

    Raises:
        ValueError: No picture, pictures of several sizes, or another number of titles.
    """
    if not frames or len({frame.shape for frame in frames}) > 1:
        sizes = sorted({frame.shape for frame in frames})
        raise ValueError(f"frames must hold at least one picture and all of one size, got sizes {sizes}")
    if titles is not None and len(titles) != len(frames):
        raise ValueError(f"titles must hold one title per picture, {len(frames)}; got {len(titles)}")
    width = frames[0].shape[1]
    columns: list[NDArray[np.uint8]] = []
    for index, frame in enumerate(frames):
        if titles is not None:
            heading = Canvas(width, _TITLE_HEIGHT)
            heading.text(width / 2, _TITLE_HEIGHT / 2 + 3, titles[index], 26, anchor="mm")
            frame = np.concatenate([heading.array(), frame])
        columns += [np.full((len(frame), _GAP, 3), PALE, np.uint8)] * bool(index) + [frame]
    return np.concatenate(columns, axis=1)


def check_video(path: Path, option: str = "--video") -> None:
    """Check that a video can be written, before anything that takes long.

    Args:
        path: The video's file.
        option: Where the user gave it, for the message.

    Raises:
        ValueError: Its suffix is neither .gif nor .mp4, or no file can be written there.
        ImportError: Pillow or, for an .mp4, moviepy is not installed; the message names the extra.
    """
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise ValueError(f"{option} {path} must be a video, a file whose name ends in .gif or .mp4")
    check_out_file(path, option)
    require("PIL.Image", "render")
    if path.suffix.lower() == ".mp4":
        require("moviepy", "render")


def save_video(path: Path, sessions: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str]) -> None:
    """Write a video of sessions side by side, as the suffix of the file says; the last picture of a shorter one stays.

    Args:
        path: The file, see :func:`check_video`; replaced if it is there.
        sessions: Pictures of each, uint8 ``(height, width, 3)``, all of one size.
        titles: One for each session.

    Raises:
        ValueError: As :func:`check_video`; no pictures, or pictures of several sizes.
        ImportError: As :func:`check_video`.
    """
    check_video(path)
    length = max((len(frames) for frames in sessions), default=0)
    moments = ([frames[min(step, len(frames) - 1)] for frames in sessions] for step in range(length))
    save = save_gif if path.suffix.lower() == ".gif" else save_mp4
    save(path, [side_by_side(frames, titles) for frames in moments])


def save_gif(
    path: str | os.PathLike[str],
    frames: Sequence[NDArray[np.uint8]],
    fps: float = RENDER_FPS,
    width: int | None = None,
) -> None:
    """Write an animated GIF that repeats for ever; the last frame stays for two seconds.

    Args:
        path: The file; replaced if it is there.
        frames: uint8 ``(height, width, 3)`` each, all of one size.
        fps: Frames per second.
        width: Pixels to scale the frames to; None keeps them.

    Raises:
        ValueError: No frames.
        ImportError: Pillow is not installed; the message names the extra.
    """
    _check_frames(frames)
    image = require("PIL.Image", "render")
    pictures = [image.fromarray(frame) for frame in frames]
    if width is not None:
        size = (width, round(frames[0].shape[0] * width / frames[0].shape[1]))
        pictures = [picture.resize(size, image.Resampling.LANCZOS) for picture in pictures]
    palette = _common_palette(image, pictures)
    # one palette and no dithering: what stands still has the same pixels, and only what moves is stored again
    pictures = [picture.quantize(palette=palette, dither=image.Dither.NONE) for picture in pictures]
    durations = [round(1000 / fps)] * (len(pictures) - 1) + [2000]
    with whole_file(path) as file:
        pictures[0].save(
            file, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=1
        )


def save_mp4(
    path: str | os.PathLike[str], frames: Sequence[NDArray[np.uint8]], fps: float = RENDER_FPS
) -> None:
    """Write an mp4 video (H.264).

    Args:
        path: The file; replaced if it is there.
        frames: uint8 ``(height, width, 3)`` each, all of one size with even numbers of pixels.
        fps: Frames per second.

    Raises:
        ValueError: No frames.
        ImportError: moviepy is not installed; the message names the extra.
    """
    _check_frames(frames)
    clips = require("moviepy.video.io.ImageSequenceClip", "render")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / "video.mp4"
        clip = clips.ImageSequenceClip(list(frames), fps=fps)
        clip.write_videofile(str(unfinished), codec="libx264", audio=False, logger=None)
        clip.close()
        os.replace(unfinished, path)


def _check_frames(frames: Sequence[NDArray[np.uint8]]) -> None:
    if not len(frames):
        raise ValueError("frames must hold at least one picture, got none")


def _common_palette(image: Any, pictures: list[Any]) -> Any:
    """A picture whose palette holds the most frequent colours of some of the pictures.

    Pillow's own quantisers average rare colours with frequent ones, and topics are told apart by colour.
    """
    some = pictures[:: max(1, len(pictures) // _PALETTE_FRAMES)]
    # (n, 3)
    pixels = np.concatenate([np.asarray(picture, dtype=np.int64).reshape(-1, 3) for picture in some])
    colors, counts = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_counts=True)
    frequent = colors[np.argsort(-counts, kind="stable")[:_GIF_COLORS]]
    palette = image.new("P", (1, 1))
    palette.putpalette(
        np.stack([frequent >> 16, frequent >> 8 & 255, frequent & 255], axis=1).ravel().tolist()
    )
    return palette
