"""Trainers: what turns logged sessions into a ranker or a belief, found by the kind of what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from gems_gym import plugins
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.pretraining.session_log import SessionLog

Settings = TypeVar("Settings")

Keep = Literal["last", "best"]
"""Which weights of a training are kept: those of the last batch, or those with the lowest loss on held-out sessions."""


MOST_COUNTED = 2**15
"""Items of which pairs are counted, for embeddings to start from."""


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
    """How something is trained, but for the world and the seed.

    Attributes:
        shares: Logging policy -> share of the sessions.
        sessions: Sessions logged.
        search_sessions: Sessions that logging policies which search play before; None: none of them searches.
        settings: Settings of the model and its training.
    """

    shares: Mapping[str, float]
    sessions: int
    search_sessions: int | None
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What is done beside a training; it changes nothing of the result.

    Attributes:
        unfinished: Where the state is kept, which an interrupted training resumes from; None: nowhere.
        save_every: Batches from one save to the next, ≥ 1.
        log_dir: Folder for ``progress.csv`` with the losses, and for the trackers' files.
    """

    unfinished: Unfinished | None = None
    save_every: int = 100
    log_dir: Path | None = None

    def __post_init__(self) -> None:
        """Raises a ValueError that names the value and what would be right."""
        if type(self.save_every) is not int or self.save_every < 1:
            raise ValueError(f"save_every must be an integer ≥ 1, got {self.save_every!r}")


class Train(Protocol):
    """Trains on a log."""

    def __call__(
        self,
        log: SessionLog,
        num_items: int,
        settings: Any,
        *,
        seed: int,
        device: str = "cpu",
        progress: bool = True,
        upkeep: Upkeep | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Train.

        Args:
            log: Logged slates and clicks.
            num_items: Items in the catalogue; a log need not show them all.
            settings: Those of a preset, or others of the same dataclass.
            seed: Seed of everything random.
            device: Device of torch.
            progress: Whether to show a progress bar on stderr.
            upkeep: Where an interrupted training is kept, and where curves go; None: nowhere.

        Returns:
            The ranker or belief, whose header records how it was made, and its metrics, JSON-able.
        """


@dataclass(frozen=True)
class Trainer(Generic[Settings]):
    """What the entry points of the group ``gems_gym.trainers`` name, as ``FAMILY.NAME``: ``ranker.gems``.

    Attributes:
        train: Trains on a log.
        presets: Name -> who logs, and how is trained on the log; one is called "default".
    """

    train: Train
    presets: Mapping[str, PretrainingPreset[Settings]]


def trainer_of(kind: str) -> Trainer[Any]:
    """The trainer of a kind of artefact.

    Args:
        kind: E.g. "ranker/gems".

    Raises:
        ValueError: No installed trainer makes this kind.
    """
    trainer: Trainer[Any] = plugins.load(plugins.TRAINERS, kind.replace("/", "."))
    return trainer


def settings_in(settings: Settings, num_items: int, slate_size: int) -> Settings:
    """A preset's settings as far as a world allows co-click embeddings, which have fewer numbers than there are items.

    Items start from random embeddings where no slate has two clicks, or pairs of items are too many to count.
    """
    if getattr(settings, "item_embeddings", None) != "co_click":
        return settings
    if slate_size == 1 or num_items > MOST_COUNTED:
        return replace(settings, item_embeddings="scratch")  # type: ignore[type-var]
    size = min(settings.embedding_size, max(1, num_items - 1))  # type: ignore[attr-defined]
    return replace(settings, embedding_size=size)  # type: ignore[type-var]


def trained_kinds() -> list[str]:
    """The kinds of artefacts that trainers make, e.g. "ranker/gems"."""
    return [name.replace(".", "/") for name in plugins.names(plugins.TRAINERS)]
