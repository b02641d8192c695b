"""``gems-gym evaluate --video``, ``--beside`` and ``--render human``: what was filmed is read back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gems_gym.envs.picture import HEIGHT, WIDTH
from gems_gym.envs.rendering import Window

Program = Callable[..., tuple[int, str, str]]


@pytest.fixture
def evaluate(program: Program, tiny_env: str) -> Program:
    return lambda *asked: program("evaluate", "random", "--env", tiny_env, "--episodes", 2, *asked)


@pytest.mark.slow
def test_two_policies_side_by_side(evaluate: Program) -> None:
    image = pytest.importorskip("PIL.Image")
    code, _, err = evaluate("--beside", "boredom_aware_oracle", "--video", "side.gif")
    assert code == 0, err
    assert "the session of user" in err and "is in side.gif" in err
    film = image.open("side.gif")
    assert film.n_frames == 13  # the opening and 12 steps
    assert film.width > 2 * WIDTH and film.height > HEIGHT
    code, _, err = evaluate("--beside", "random", "--video", "same.gif")
    assert code == 0, err
    left, right = (image.open("same.gif").convert("RGB").crop(box) for box in halves(film.size))
    assert left.tobytes() == right.tobytes()  # the same user, and the same choice


def halves(size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    return [(0, 0, WIDTH, size[1]), (size[0] - WIDTH, 0, size[0], size[1])]


def test_a_video_of_one(evaluate: Program) -> None:
    pytest.importorskip("moviepy")
    frames = pytest.importorskip("imageio_ffmpeg")
    code, _, err = evaluate("--video", "one.mp4")
    assert code == 0, err
    assert frames.count_frames_and_secs("one.mp4")[0] == 13
    size = next(frames.read_frames("one.mp4"))["size"]
    assert size[0] == WIDTH and size[1] > HEIGHT


def test_a_window(evaluate: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    shown: list[Any] = []
    monkeypatch.setattr(Window, "show", lambda self, frame: shown.append(frame.shape))
    code, _, err = evaluate("--render", "human")
    assert code == 0, err
    assert shown == [(HEIGHT, WIDTH, 3)] * 13


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--video", "film.avi"], "--video film.avi must be a video, a file whose name ends in .gif or .mp4"),
        (["--beside", "random"], "--beside goes with --video FILE"),
        (["--render", "humen"], "unknown --render 'humen': did you mean 'human'"),
        (["--video", "film.gif", "--env", "GemsSlate-diffuse_mix-v0"], "in one world, and --env names 2"),
        (["--video", "film.gif", "--beside", "rendom"], "did you mean 'random'"),
    ],
)
def test_mistakes_are_told_before_anything_is_played(
    evaluate: Program, asked: list[str], message: str
) -> None:
    code, out, err = evaluate(*asked)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split()) and "evaluating" not in err
    assert not list(Path().iterdir())
