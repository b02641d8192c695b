"""Looking at sessions: as text, as pictures, or in a window.

What the modes need is loaded when an environment asks for one; see the extra ``render``.
"""

import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.envs.picture import SessionView, session_frame
from gems_gym.errors import require
from gems_gym.simulator import Catalog, SlateSimulator
from gems_gym.simulator.state import Shown
from gems_gym.world_config import SMALLEST, WorldConfig

_LOGGER = logging.getLogger(__name__)

RENDER_MODES = ["ansi", "rgb_array", "human"]
RENDER_FPS = 4
"""Steps per second in videos and windows: a session of 100 steps takes 25 seconds."""

_USERS_IN_WINDOW = 4

Frame = str | NDArray[np.uint8]


def ansi_frame(
    config: WorldConfig, catalog: Catalog, shown: Shown, user: int, step: int, clicks_so_far: int
) -> str:
    """One user's last slate as text: a line per position with item, topic, relevance and click, then boredom.

    Args:
        config: The world.
        catalog: Its items.
        shown: What came of the slates last shown.
        user: Row of the user.
        step: Steps taken in the session.
        clicks_so_far: Clicks in the session, the first slate's not counted.
    """
    lines = [f"step {step}/{config.episode_length}   clicks {clicks_so_far}"]
    for position, item in enumerate(shown.slates[user]):
        mark = "*" if shown.clicks[user, position] else " "
        lines.append(
            f" {mark} {position + 1:>3}. item {item:<6} topic {catalog.item_topics[item]:<4} "
            f"relevance {shown.relevances[user, position]:.2f}"
        )
    bored = ", ".join(str(topic) for topic in np.flatnonzero(shown.bored[user])) or "nothing"
    lines.append(f"bored of: {bored}")
    return "\n".join(lines) + "\n"


class SessionRenderer:
    """Keeps what a picture needs of the past of an environment's sessions, and draws them.

    Environments have one only where they are rendered, so that stepping costs nothing otherwise.

    Args:
        render_mode: One of :data:`RENDER_MODES`.
        simulator: Whose users are shown; only read.

    Raises:
        ImportError: A library that the mode needs is not installed; the message names the extra.
    """

    def __init__(self, render_mode: str, simulator: SlateSimulator) -> None:
        self.render_mode = render_mode
        self._simulator = simulator
        self._clicks_per_step: list[list[int]] = [[] for _ in range(simulator.num_users)]
        if render_mode != "ansi":
            require("PIL.Image", "render")
        self._window = Window("gems-gym", RENDER_FPS) if render_mode == "human" else None

    def opened(self, rows: NDArray[np.int64]) -> None:
        """Sessions of these users, ``(n,)``, have just opened."""
        for row in rows.tolist():
            self._clicks_per_step[row] = []

    def stepped(self, rows: NDArray[np.int64], rewards: NDArray[np.float32]) -> None:
        """These users, ``(n,)``, have taken a step with these clicks, ``(n,)``."""
        for row, reward in zip(rows.tolist(), rewards.tolist(), strict=True):
            self._clicks_per_step[row].append(int(reward))

    def frame(self, shown: Shown, user: int, title: str) -> Frame:
        """One user's session as it stands: text for ``"ansi"``, else a picture, uint8 ``(480, 640, 3)``."""
        if self.render_mode != "ansi":
            return session_frame(self._view(shown, user, title))
        simulator, clicks = self._simulator, self._clicks_per_step[user]
        return ansi_frame(
            simulator.config, simulator.catalog, shown, user, int(simulator.users.step[user]), sum(clicks)
        )

    def frames(self, shown: Shown, title: str) -> tuple[Frame, ...]:
        """Every user's session, with the user's number in the title."""
        users = range(self._simulator.num_users)
        return tuple(self.frame(shown, user, f"{title}, user {user}") for user in users)

    def show(self, shown: Shown, title: str) -> None:
        """Show the first users in the window, up to four; does nothing in the other modes."""
        if self._window is None:
            return
        users = min(_USERS_IN_WINDOW, self._simulator.num_users)
        titles = [title] if users == 1 else [f"{title}, user {user}" for user in range(users)]
        frames = [session_frame(self._view(shown, user, title)) for user, title in enumerate(titles)]
        self._window.show(_tiled(frames))

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _view(self, shown: Shown, user: int, title: str) -> SessionView:
        config, users = self._simulator.config, self._simulator.users
        blocks = users.preference[user].reshape(config.num_topics, config.topic_size)
        norms = np.sqrt((blocks**2).sum(axis=1))
        return SessionView(
            title=title,
            step=int(users.step[user]),
            episode_length=config.episode_length,
            slate=shown.slates[user],
            slate_topics=self._simulator.catalog.item_topics[shown.slates[user]],
            clicks=shown.clicks[user],
            relevances=shown.relevances[user],
            interest=norms / max(norms.sum(), SMALLEST),
            bored=shown.bored[user],
            bored_timeout=users.bored_timeout[user],
            recent_topics=users.recent_topics[user, : users.num_recent_topics[user]],
            recent_maxlen=config.recent_items_maxlen,
            boredom_threshold=config.boredom_threshold,
            clicks_per_step=self._clicks_per_step[user],
        )


class Window:
    """A window, opened with its first picture. Copies and pickles of it are closed windows.

    Args:
        caption: What its title bar says.
        fps: Pictures per second: showing the next one waits that long.

    Raises:
        ImportError: pygame is not installed; the message names the extra.
    """

    def __init__(self, caption: str, fps: float) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it greets on stdout, where results go
        require("pygame", "render")
        self.caption = caption
        self.fps = fps
        self._screen: Any = None
        self._clock: Any = None

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a picture, uint8 ``(height, width, 3)``, and wait until the next one is due."""
        pygame = require("pygame", "render")
        size = (frame.shape[1], frame.shape[0])
        if self._screen is None or not pygame.display.get_init():
            self._screen = _open_screen(pygame, size)
            self._clock = pygame.time.Clock()
            pygame.display.set_caption(self.caption)
        self._screen.blit(pygame.image.frombuffer(np.ascontiguousarray(frame).tobytes(), size, "RGB"), (0, 0))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self.fps)

    def close(self) -> None:
        """Close the window; closing twice does nothing."""
        if self._screen is not None:
            self._screen = self._clock = None
            require("pygame", "render").display.quit()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_screen": None, "_clock": None}


def _open_screen(pygame: Any, size: tuple[int, int]) -> Any:
    try:
        pygame.display.init()
        return pygame.display.set_mode(size)
    except pygame.error as error:
        # A machine without a screen: the session should go on, and say why nothing is seen.
        _LOGGER.warning("no window can be opened here (%s); render_mode='rgb_array' gives pictures", error)
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        pygame.display.init()
        return pygame.display.set_mode(size)


def _tiled(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one size in two columns, an empty place white."""
    if len(frames) == 1:
        return frames[0]
    if len(frames) % 2:
        frames = [*frames, np.full_like(frames[0], 255)]
    rows = [np.concatenate(frames[start : start + 2], axis=1) for start in range(0, len(frames), 2)]
    return np.concatenate(rows, axis=0)
