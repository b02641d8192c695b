"""Sessions as files."""

import gymnasium
import numpy as np
import pytest

import gems_gym  # noqa: F401 - registers the environments

image = pytest.importorskip("PIL.Image", reason="pictures need the extra 'render'")

from gems_gym.envs.picture import HEIGHT, WIDTH  # noqa: E402
from gems_gym.envs.video import save_gif, save_mp4, side_by_side  # noqa: E402

ID = "GemsSlate-diffuse_mix-v0"


def frames(steps=4):
    env = gymnasium.make(ID, render_mode="rgb_array")
    env.action_space.seed(0)
    env.reset(seed=0)
    pictures = [env.render()]
    for _ in range(steps):
        env.step(env.action_space.sample())
        pictures.append(env.render())
    return pictures


def length_of(path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    return ffmpeg.count_frames_and_secs(str(path))


def test_gymnasium_records_a_video(tmp_path):
    pytest.importorskip("moviepy")
    env = gymnasium.make(ID, render_mode="rgb_array", episode_length=8)
    env = gymnasium.wrappers.RecordVideo(env, str(tmp_path / "videos"))
    env.reset(seed=0)
    while not env.step(env.action_space.sample())[3]:
        pass
    env.close()
    video = tmp_path / "videos" / "rl-video-episode-0.mp4"
    assert video.stat().st_size > 1000
    assert length_of(video)[0] == 9  # the opening and 8 steps


def test_a_gif_holds_every_frame(tmp_path):
    path = tmp_path / "new" / "session.gif"
    pictures = frames()
    save_gif(path, pictures, fps=5)
    with image.open(path) as gif:
        assert gif.n_frames == len(pictures)
        assert gif.size == (WIDTH, HEIGHT)
        assert gif.info["duration"] == 200
        assert gif.info["loop"] == 0
        gif.seek(2)
        shown = np.asarray(gif.convert("RGB"), dtype=int)
    assert np.abs(shown - pictures[2]).mean() < 2  # 128 colours are nearly enough
    first = path.read_bytes()
    save_gif(path, pictures, fps=5)
    assert path.read_bytes() == first


def test_a_gif_can_be_smaller(tmp_path):
    save_gif(tmp_path / "small.gif", frames(1), width=320)
    with image.open(tmp_path / "small.gif") as gif:
        assert gif.size == (320, 240)


def test_an_mp4_holds_every_frame(tmp_path):
    pytest.importorskip("moviepy")
    save_mp4(tmp_path / "new" / "session.mp4", frames(7), fps=4)
    count, seconds = length_of(tmp_path / "new" / "session.mp4")
    assert count == 8
    assert seconds == pytest.approx(2)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["session.mp4"]


def test_a_file_that_fails_leaves_nothing(tmp_path):
    pytest.importorskip("moviepy")
    wrong = [np.zeros((10, 10, 3), np.uint8), "no picture"]
    for save, name in ((save_gif, "a.gif"), (save_mp4, "a.mp4")):
        with pytest.raises((AttributeError, TypeError, ValueError, OSError)):
            save(tmp_path / name, wrong)
        with pytest.raises(ValueError, match="at least one picture"):
            save(tmp_path / name, [])
    assert list(tmp_path.iterdir()) == []


def test_side_by_side():
    one, other = frames(1)
    plain = side_by_side([one, other])
    np.testing.assert_array_equal(plain[:, :WIDTH], one)
    np.testing.assert_array_equal(plain[:, -WIDTH:], other)
    titled = side_by_side([one, other], ["one", "other"])
    np.testing.assert_array_equal(titled[-HEIGHT:], plain)
    assert titled[:-HEIGHT, :WIDTH].std() > 5
    assert not any(size % 2 for size in titled.shape[:2])  # as H.264 wants it


@pytest.mark.parametrize(
    ("pictures", "titles", "words"),
    [
        ([], None, "at least one picture"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)], None, "all of one size"),
        ([np.zeros((4, 4, 3), np.uint8)], ["a", "b"], "one title per picture, 1; got 2"),
    ],
)
def test_what_does_not_go_side_by_side(pictures, titles, words):
    with pytest.raises(ValueError, match=words):
        side_by_side(pictures, titles)
