"""Worlds that are fitted to logged sessions: what is chosen of them; all else is in the world's file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Count
from gems_gym.world_config import WorldConfig

if TYPE_CHECKING:
    from gems_gym.artifacts import Artifact

FITTED: Final = "fitted"
"""The name of these dynamics, and the preset of ``GemsSlate-fitted-v0``."""


@dataclass(frozen=True, kw_only=True)
class FittedConfig(WorldConfig):
    """A world that ``gems-gym logs world`` fitted; immutable, checked when made.

    Args:
        world: The world's file. Without it nothing can be made of the configuration.
        episode_length: Steps per session, H ≥ 1; then the session is truncated.
        leaving: Whether users may leave before, as those of the log did; otherwise all stay.
        dynamics: ``"fitted"``.

    Raises:
        TypeError: A value of the wrong type.
        ValueError: A value out of range, or a file that is no fitted world.
        FileNotFoundError: There is no such file.
    """

    world: str | None = None
    episode_length: Count = 100
    leaving: bool = True
    dynamics: Literal["fitted"] = FITTED

    # A click has the probability propensity · sigmoid(score), and what moves users is the file's recurrent state.
    dynamics_version = 0
    catalog_seed = 0
    click_model = "tdPBM"
    alpha = 1.0
    relevance_offset = 0.0
    relevance_slope = 1.0
    rel_threshold = None
    diversity_threshold = 2**31
    diversity_penalty = 1.0
    omega = 1.0
    boredom_threshold = 2**31
    boredom_moving_window = 0
    boredom_timeout = 1
    recent_items_maxlen = 1

    @cached_property
    def artifact(self) -> Artifact:
        """The world's file.

        Raises:
            ValueError: No file was given, or it is no fitted world.
            FileNotFoundError: There is no such file.
        """
        if self.world is None:
            raise ValueError(
                "a fitted world needs its file: gymnasium.make('GemsSlate-fitted-v0', world=FILE), on the command line "
                "--env-option world=FILE; 'gems-gym logs world' makes one"
            )
        path = Path(self.world)
        changed = path.stat().st_mtime_ns if path.is_file() else 0
        return _loaded(path, changed)

    def _size(self, tensor: str, axis: int) -> int:
        """A size of the file's; 1 as long as no file was given."""
        return 1 if self.world is None else int(self.artifact.tensors[tensor].shape[axis])

    @cached_property
    def num_items(self) -> int:  # type: ignore[override]
        """Items in the catalogue."""
        return self._size("items", 0)

    @cached_property
    def num_topics(self) -> int:  # type: ignore[override]
        """Numbers of an item: there are no topics, so each stands for itself."""
        return self._size("items", 1)

    @cached_property
    def slate_size(self) -> int:  # type: ignore[override]
        """Items shown per step."""
        return self._size("propensities", 0)

    @property
    def users_leave(self) -> bool:
        """Whether users may leave: they do if those of the log did."""
        return self.leaving and self.world is not None and "leaving.0.weight" in self.artifact.tensors

    @property
    def uniforms_per_step(self) -> int:
        """Random numbers that a user's step takes: one for each position and, where users may leave, one more."""
        return self.slate_size + self.users_leave

    def without_leaving(self) -> Self:
        """The same world with users who stay until their session's last step."""
        return self.replace(leaving=False) if self.leaving else self

    def position_propensities(self) -> NDArray[np.float64]:
        """See :meth:`WorldConfig.position_propensities`."""
        if self.world is None:
            return np.ones(1)
        return self.artifact.tensors["propensities"].astype(np.float64)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int) -> Artifact:
    """Read a world's file, once as long as it does not change; what is used of it here is checked."""
    from gems_gym.artifacts import (  # safetensors: not whenever gems_gym is imported
        ArtifactError,
        load_artifact,
    )

    artifact = load_artifact(path, "world/fitted")
    dimensions = {
        name: getattr(artifact.tensors.get(name), "ndim", None) for name in ("items", "propensities")
    }
    if dimensions != {"items": 2, "propensities": 1} or not isinstance(
        artifact.header.get("catalog_hash"), str
    ):
        raise ArtifactError(
            f"{path} is not a usable world/fitted: it lacks items, propensities or a catalog_hash"
        )
    return artifact
