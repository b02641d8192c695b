"""Sessions as text, pictures and windows."""

import copy
import os
import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym.envs import SlateEnv, SlateVectorEnv

pytest.importorskip("PIL", reason="pictures need the extra 'render'")

from gems_gym.envs.canvas import Canvas, ink_on, topic_color
from gems_gym.envs.picture import HEIGHT, WIDTH

ID = "GemsSlate-diffuse_mix-v0"
SHORT = {"episode_length": 4, "num_items": 60, "boredom_threshold": 2}
EVERYTHING_IS_CLICKED = {"rel_threshold": -1.0, "click_propensity": 1.0}
BELOW_TITLE = slice(25, None)  # rows of a picture that do not hold the environment's name


def played(steps=3, **arguments):
    env = SlateEnv(render_mode="rgb_array", **arguments)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(steps):
        env.step(env.action_space.sample())
    return env


def assert_picture(frame):
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 5  # not empty


@pytest.mark.parametrize("render_mode", ["rgb_array", "human"])
def test_gymnasium_accepts_every_mode_without_warnings(render_mode):
    pytest.importorskip("pygame")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ID, render_mode=render_mode).unwrapped)


def test_modes_and_what_they_give():
    assert SlateEnv.metadata["render_modes"] == ["ansi", "rgb_array", "human"]
    assert SlateVectorEnv(1).metadata["render_modes"] == ["ansi", "rgb_array", "human"]
    assert_picture(played().render())
    for mode, kind in (("ansi", str), ("rgb_array", np.ndarray)):
        vector = gymnasium.make_vec(ID, num_envs=3, render_mode=mode)
        assert vector.render() is None
        vector.reset(seed=0)
        vector.step(vector.action_space.sample())
        frames = vector.render()
        assert isinstance(frames, tuple)
        assert [type(frame) for frame in frames] == [kind] * 3
    unseen = SlateEnv()
    unseen.reset(seed=0)
    assert unseen.render() is None


def test_same_session_same_pixels():
    first, again = played(20).render(), played(20).render()
    np.testing.assert_array_equal(first, again)
    assert (first != played(21).render()).any()


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_rendering_changes_no_session(render_mode):
    seen, unseen = SlateEnv(render_mode=render_mode), SlateEnv()
    outcomes = []
    for env in (seen, unseen):
        env.action_space.seed(1)
        outcome = [env.reset(seed=3)[1]]
        for _ in range(100):
            env.render()
            outcome.append(env.step(env.action_space.sample())[4])
        outcomes.append(outcome)
    for info, expected in zip(*outcomes, strict=True):
        for key in expected:
            np.testing.assert_array_equal(info[key], expected[key])
    assert seen.np_random.bit_generator.state == unseen.np_random.bit_generator.state


@pytest.mark.parametrize(
    "world",
    [
        {"slate_size": 1},
        {"slate_size": 50},
        {"slate_size": 400},
        {"num_topics": 1},
        {"num_topics": 30},
        {"num_topics": 150, "topic_size": 1, "num_items": 300},
        {"num_items": 10},
        {"num_items": 123_457, "topic_size": 1, "num_topics": 2},
        {"episode_length": 1},
        {"episode_length": 5000},
        {"boredom_threshold": 1, "recent_items_maxlen": 1},
        {"boredom_threshold": 50, "recent_items_maxlen": 60, "boredom_timeout": 100, **EVERYTHING_IS_CLICKED},
        EVERYTHING_IS_CLICKED,
    ],
    ids=str,
)
def test_any_world_can_be_seen(world):
    env = played(0, **world)
    assert_picture(env.render())
    for _ in range(min(8, env.config.episode_length)):
        env.step(env.action_space.sample())
        assert_picture(env.render())


@settings(max_examples=15, deadline=None)
@given(
    world=st.builds(
        dict,
        num_items=st.integers(30, 60),
        slate_size=st.integers(1, 30),
        num_topics=st.integers(1, 40),
        topic_size=st.integers(1, 3),
        episode_length=st.integers(1, 1000),
        boredom_threshold=st.integers(1, 30),
        boredom_timeout=st.integers(1, 30),
        recent_items_maxlen=st.integers(1, 50),
        relevance_offset=st.floats(-1, 1),
    ),
    steps=st.integers(0, 6),
)
def test_any_drawn_world_can_be_seen(world, steps):
    assert_picture(played(min(steps, world["episode_length"]), **world).render())


def test_a_long_session_can_be_seen_to_its_end():
    env = played(2500, episode_length=2500)
    assert_picture(env.render())


def card_pixels(frame, color):
    return (frame[77:239] == color).all(axis=2).sum()


def test_clicked_cards_are_filled_with_their_topics_colour():
    clicked = played(1, num_topics=1, **EVERYTHING_IS_CLICKED).render()
    ignored = played(1, num_topics=1, rel_threshold=1e9).render()
    assert card_pixels(clicked, topic_color(0)) > 5 * card_pixels(ignored, topic_color(0)) > 0


def test_a_bored_topic_looks_bored():
    env = SlateEnv(render_mode="rgb_array", num_topics=2, boredom_threshold=2, **EVERYTHING_IS_CLICKED)
    topic_zero = np.resize(np.flatnonzero(env.catalog.item_topics == 0), 10)
    env.reset(seed=0, options={"first_slate": topic_zero})
    assert env.step(topic_zero)[4]["bored"].tolist() == [True, False]
    heading = env.render()[270:282]  # the dark one over the column of a bored topic
    dark = [(heading[:, column] < 60).all(axis=2).mean() for column in (slice(18, 318), slice(322, 622))]
    assert dark[0] > 0.5
    assert dark[1] == 0


def test_topic_colours_stay_apart_and_can_be_written_on():
    colors = np.array([topic_color(topic) for topic in range(30)])
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2) + 999 * np.eye(30, dtype=int)
    assert distances[:10, :10].min() > 50
    assert distances.min() > 20
    assert topic_color(30) == topic_color(0)

    def luminance(color):
        share = np.array(color) / 255
        return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [
            0.2126, 0.7152, 0.0722,
        ]  # fmt: skip

    for color in colors.tolist():
        low, high = sorted([luminance(color), luminance(ink_on(tuple(color)))])
        assert (high + 0.05) / (low + 0.05) > 2.9  # WCAG: 3 for large text


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_pictures_of_many_users_are_those_of_gymnasiums_sync_vector_env(mode):
    ours = SlateVectorEnv(3, autoreset_mode=mode, render_mode="rgb_array", **SHORT)
    theirs = SyncVectorEnv([lambda: SlateEnv(render_mode="rgb_array", **SHORT)] * 3, autoreset_mode=mode)
    ours.reset(seed=2), theirs.reset(seed=2)
    actions = np.random.default_rng(0).integers(0, 30, size=(11, 3, 10))
    for action in actions:
        ended = ours.step(action)[3]
        theirs.step(action)
        if mode is AutoresetMode.DISABLED and ended.any():
            mask = {"reset_mask": np.array([True, False, True])}
            ours.reset(options=mask), theirs.reset(options=mask)
            break
        for frame, expected in zip(ours.render(), theirs.render(), strict=True):
            np.testing.assert_array_equal(frame[BELOW_TITLE], expected[BELOW_TITLE])
    for frame, expected in zip(ours.render(), theirs.render(), strict=True):
        np.testing.assert_array_equal(frame[BELOW_TITLE], expected[BELOW_TITLE])


def test_pickle_and_deepcopy_keep_the_picture():
    env = played(5)
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):  # noqa: S301
        np.testing.assert_array_equal(twin.render(), env.render())


def test_render_after_close_is_refused():
    for env in (played(1), SlateVectorEnv(2, render_mode="rgb_array")):
        env.reset(seed=0)
        env.close()
        with pytest.raises(ClosedEnvironmentError):
            env.render()


@pytest.mark.parametrize("num_envs", [None, 1, 2, 5])
def test_a_window_shows_every_step(num_envs, monkeypatch):
    pygame = pytest.importorskip("pygame")
    flips = []
    flip = pygame.display.flip
    monkeypatch.setattr(pygame.display, "flip", lambda: (flips.append(1), flip()))
    monkeypatch.setattr("gems_gym.envs.rendering.RENDER_FPS", 1000)
    if num_envs is None:
        env = gymnasium.make(ID, render_mode="human")
    else:
        env = SlateVectorEnv(num_envs, render_mode="human")
    env.reset(seed=0)
    size = {None: (1, 1), 1: (1, 1), 2: (2, 1), 5: (2, 2)}[num_envs]
    assert pygame.display.get_surface().get_size() == (WIDTH * size[0], HEIGHT * size[1])
    for _ in range(3):
        env.step(env.action_space.sample())
    assert env.render() is None
    assert len(flips) == 4
    twin = copy.deepcopy(env.unwrapped)  # a closed window
    env.close()
    env.close()
    assert not pygame.display.get_init()
    twin.step(twin.action_space.sample())  # opens its own
    assert pygame.display.get_init()
    twin.close()


def test_the_window_holds_the_picture(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setattr("gems_gym.envs.rendering.RENDER_FPS", 1000)
    window, picture = SlateEnv(render_mode="human"), SlateEnv(render_mode="rgb_array")
    window.reset(seed=1), picture.reset(seed=1)
    pixels = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    np.testing.assert_array_equal(pixels, picture.render())
    window.close()


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_a_machine_without_a_screen_says_so_and_goes_on():
    pytest.importorskip("pygame")
    code = "from gems_gym.envs import SlateEnv; e = SlateEnv(render_mode='human'); e.reset(seed=0); e.close()"
    done = python(code, SDL_VIDEODRIVER="x11", DISPLAY="")
    assert done.returncode == 0, done.stderr
    assert "no window can be opened here" in done.stderr
    assert done.stdout == ""  # pygame's greeting would spoil --json


@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_nothing_for_pictures_is_loaded_unless_asked_for(render_mode):
    code = f"""
import sys, gymnasium, gems_gym
env = gymnasium.make({ID!r}, render_mode={render_mode!r})
env.reset(seed=0); env.step(env.action_space.sample()); env.render()
gymnasium.make_vec({ID!r}, num_envs=2).reset(seed=0)
print(*[name for name in ("PIL", "pygame", "moviepy", "imageio") if name in sys.modules])
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("render_mode", "missing"), [("rgb_array", "PIL"), ("human", "PIL"), ("human", "pygame")]
)
def test_a_missing_library_is_named_with_its_extra_when_the_environment_is_made(
    render_mode, missing, monkeypatch
):
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"gems-gym\[render\]"):
        SlateEnv(render_mode=render_mode)
    SlateEnv(render_mode="ansi")


def test_shapes_without_an_area_are_left_out():
    canvas = Canvas(8, 6)
    canvas.box(2, 2, 0.01, 4, (0, 0, 0))
    canvas.box(2, 2, -3, 4, (0, 0, 0))
    canvas.hatch(1, 1, 0, 0, (0, 0, 0))
    assert len(np.unique(canvas.array().reshape(-1, 3), axis=0)) == 1
