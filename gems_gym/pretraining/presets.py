"""What a preset of pretraining is: who logs, and how a ranker or a belief is trained on the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class PretrainingPreset(Generic[Settings]):
    """A whole recipe, but for the world and the seed.

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
