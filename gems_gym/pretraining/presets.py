"""What a preset of pretraining is: who logs, and how a ranker or a belief is trained on the log."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, TypeVar

from gems_gym.errors import unknown_name

Settings = TypeVar("Settings")

Keep = Literal["last", "best"]
"""Which weights of a training are kept: those of the last batch, or those with the lowest loss on held-out sessions."""


def check_keep(keep: str) -> None:
    """Raises a ValueError unless it is a :data:`Keep`."""
    if keep not in ("last", "best"):
        raise unknown_name("keep", keep, ("last", "best"))


def as_recorded(settings: Any) -> dict[str, Any]:
    """The fields of a settings dataclass as files and recipes record them.

    ``keep="last"`` is left out: it is what was done before there was a choice, and the same training gives the same
    file.
    """
    fields = asdict(settings)
    if fields.get("keep") == "last":
        del fields["keep"]
    return fields


@dataclass(frozen=True, kw_only=True)
class PretrainingPreset(Generic[Settings]):
    """How something is trained: all but the world and the seed.

    Attributes:
        shares: Logging policy -> share of the sessions.
        sessions: Sessions logged.
        search_sessions: Sessions that logging policies which search play before; None: none of them searches.
        settings: Of the model and its training.
    """

    shares: Mapping[str, float]
    sessions: int
    search_sessions: int | None
    settings: Settings
