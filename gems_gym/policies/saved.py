"""Policies that are one artefact each: how they are saved and read, and what those of latents refuse to act on."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts import Artifact, ArtifactError, content_sha256, load_artifact, save_artifact
from gems_gym.policies.base import Observed, Policy, Shown


class SavedPolicy(Policy, abc.ABC):
    """A policy that is saved as safetensors.

    Attributes:
        kind: The artefact's, "policy/NAME".
        sha256: Digest of the file it was saved to or read from, None if there is none.
    """

    kind: ClassVar[str]
    sha256: str | None = None

    @abc.abstractmethod
    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds: arrays by name, and a header of JSON values."""

    @classmethod
    @abc.abstractmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> Self:
        """Makes a policy of what :meth:`to_parts` returned.

        Raises:
            KeyError: Something is missing.
            ValueError: Something does not fit.
            TypeError: Something is of another type.
        """

    @property
    def content_sha256(self) -> str:
        """Hash of the tensors and settings, see :func:`gems_gym.artifacts.content_sha256`."""
        return content_sha256(self.kind, *self.to_parts())

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the artefact.

        Args:
            path: The file; it appears under its name only when it is finished.

        Returns:
            The file's sha256, as hex; it is kept too.
        """
        tensors, header = self.to_parts()
        self.sha256 = save_artifact(path, self.kind, tensors, header)
        return self.sha256

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ArtifactError: The file is damaged, or of another kind.
        """
        return cls.from_artifact(load_artifact(path, cls.kind))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Reads what :meth:`save` wrote, once it is loaded.

        Raises:
            ArtifactError: Something is missing, or does not fit.
        """
        try:
            policy = cls.from_parts(artifact.tensors, artifact.header)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{artifact.path} is not a readable {cls.kind}: {error}") from error
        policy.sha256 = artifact.sha256
        return policy


class MemorylessSlates(SavedPolicy):
    """One that shows slates, which follow from the belief alone."""

    observes: Observed = "beliefs"
    actions: Shown = "slates"

    def open(self, seeds: Sequence[int]) -> None:
        """Begin new sessions; there is nothing to remember and nothing to draw."""

    def act(self, state: None, observations: NDArray[np.float32]) -> tuple[NDArray[np.int64], None]:
        """Choose every user's slate, as for every policy: what :meth:`slates` gives."""
        return self.slates(observations), None

    @abc.abstractmethod
    def slates(self, beliefs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``, by beliefs ``(num_users, belief_size)``."""


class LatentPolicy(SavedPolicy):
    """One that acts on beliefs in latents.

    Attributes:
        observation_size: Numbers in an observation.
        action_size: Numbers in an action.
    """

    observes: Observed = "beliefs"
    actions: Shown = "latents"
    observation_size: int
    action_size: int

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of observations and actions, as the header records them."""
        return {"observation_size": self.observation_size, "action_size": self.action_size}

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Reads what :meth:`save` wrote, once it is loaded.

        Raises:
            ArtifactError: Something is missing, or does not fit.
        """
        policy = super().from_artifact(artifact)
        artifact.check_sizes(policy.sizes, {name: artifact.header.get(name) for name in policy.sizes})
        return policy

    def checked_observations(self, observations: NDArray[Any], num_users: int | None = None) -> NDArray[Any]:
        """Observations as an array, (num_users, observation_size).

        Args:
            observations: What is to be acted on.
            num_users: How many sessions were opened; ``None``: any number of rows will do.

        Raises:
            TypeError: They are no numbers.
            ValueError: Another shape, or a number that is not finite.
        """
        observations = np.asarray(observations)
        if observations.dtype.kind not in "fiu":
            raise TypeError(f"observations must hold numbers, got dtype {observations.dtype}")
        if observations.ndim != 2 or observations.shape[1] != self.observation_size:
            raise ValueError(
                f"observations has shape {observations.shape}; (num_users, {self.observation_size}) was expected"
            )
        if not np.isfinite(observations).all():
            row = int(np.flatnonzero(~np.isfinite(observations).all(axis=1))[0])
            raise ValueError(f"observations[{row}] holds NaN or infinity; finite numbers were expected")
        if num_users not in (None, len(observations)):
            raise ValueError(f"observations has {len(observations)} rows; {num_users} users were opened")
        return observations


class MemorylessLatents(LatentPolicy):
    """One whose action follows from the belief alone."""

    def open(self, seeds: Sequence[int]) -> None:
        """Starts new sessions, as for every policy; there is nothing to remember and nothing to draw."""

    def act(self, state: None, observations: NDArray[np.float32]) -> tuple[NDArray[np.float32], None]:
        """Chooses the action of each user, as for every policy: what calling it gives."""
        return self(observations), None

    @abc.abstractmethod
    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chooses the action of each user.

        Args:
            observations: (num_users, observation_size) float.

        Returns:
            (num_users, action_size) float32 in [-1, 1].

        Raises:
            ValueError: Another shape, or a number that is not finite.
        """
