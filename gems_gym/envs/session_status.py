"""Where an environment stands, and the clear errors for calls that do not fit."""

from enum import Enum

from gymnasium.error import ClosedEnvironmentError, ResetNeeded


class SessionStatus(Enum):
    """Where an environment stands between its calls."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    ENDED = "ended"
    CLOSED = "closed"

    def check_open(self) -> None:
        """Raise ClosedEnvironmentError after ``close()``."""
        if self is SessionStatus.CLOSED:
            raise ClosedEnvironmentError("this environment was closed; make a new one")

    def check_running(self) -> None:
        """Raise unless a session runs: ClosedEnvironmentError after ``close()``, else ResetNeeded."""
        if self is SessionStatus.RUNNING:
            return
        self.check_open()
        when = "before the first reset" if self is SessionStatus.NOT_STARTED else "after the session's end"
        raise ResetNeeded(f"step was called {when}; call reset() first")
