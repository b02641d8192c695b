"""A window that shows pictures: what ``render_mode="human"`` opens."""

import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.errors import require

_LOGGER = logging.getLogger(__name__)


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
