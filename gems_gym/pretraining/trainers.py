"""Trainers: what turns logged sessions into a ranker or a belief, found by the kind of what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol

from gems_gym import plugins
from gems_gym.pretraining.presets import PretrainingPreset, Settings
from gems_gym.pretraining.session_log import SessionLog

if TYPE_CHECKING:  # loads torch
    from gems_gym.pretraining.training import Upkeep


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
            seed: Of everything random.
            device: Of torch.
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


def trained_kinds() -> list[str]:
    """The kinds of artefacts that trainers make, e.g. "ranker/gems"."""
    return [name.replace(".", "/") for name in plugins.names(plugins.TRAINERS)]
