"""Beliefs that remember nothing: what agents without a memory act on, and what any memory has to be better than."""

from __future__ import annotations

import abc
from typing import Any, Self

import numpy as np

from gems_gym.artifacts import Artifact, ArtifactError, SavedPart
from gems_gym.common.checks import Count, WholeNumber, as_array, checked_arguments


class _Untrained(SavedPart):
    """What beliefs have in common that hold no weights.

    Args:
        num_items: Items in the catalogue.
        slate_size: Items in a slate.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        sha256: Digest of the file it was read from, if any.
    """

    @checked_arguments
    def __init__(
        self, *, num_items: Count, slate_size: Count, catalog_hash: str, sha256: str | None = None
    ) -> None:
        self.num_items, self.slate_size = num_items, slate_size
        self.tensors, self.catalog_hash, self.sha256 = {}, catalog_hash, sha256

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Numbers in a belief."""

    @checked_arguments
    def initial(self, num_users: WholeNumber) -> np.ndarray:
        """The belief before the first slate was seen: ``(num_users, size)`` float32 zeros."""
        return np.zeros((num_users, self.size), dtype=np.float32)

    def read(self, state: np.ndarray) -> np.ndarray:
        """The belief is the state itself."""
        return state

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes recorded in the file."""
        return {"num_items": self.num_items, "slate_size": self.slate_size}

    def _file_header(self) -> dict[str, Any]:
        return {"catalog_hash": self.catalog_hash, "sizes": self.sizes}

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Makes the encoder from a loaded artefact; an ArtifactError says what is wrong with an unfit one."""
        sizes = artifact.header.get("sizes")
        try:
            return cls(
                **(sizes if isinstance(sizes, dict) else {}),
                catalog_hash=artifact.header.get("catalog_hash"),  # type: ignore[arg-type]  # it is checked
                sha256=artifact.sha256,
            )
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"{artifact.path} is not a usable {cls.kind}: {error}") from error

    def _checked(self, state: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> None:
        """Raises a ValueError unless the arrays have a row for each user, and ids and clicks are such."""
        found = as_array(state, "state")
        if found.ndim != 2 or found.shape[1] != self.size or found.dtype != np.float32:
            raise ValueError(
                f"state has shape {found.shape} and dtype {found.dtype}; (num_users, {self.size}) float32 was expected"
            )
        users = len(found)
        for name, array, low, high in (("slates", slates, -1, self.num_items - 1), ("clicks", clicks, 0, 1)):
            found = as_array(array, name)
            if found.shape != (users, self.slate_size) or found.dtype.kind not in "iub":
                raise ValueError(
                    f"{name} has shape {found.shape} and dtype {found.dtype}; ({users}, {self.slate_size}) integers "
                    f"were expected"
                )
            if found.size and not low <= found.min() <= found.max() <= high:
                raise ValueError(f"{name} must hold {low} … {high}, got {found.min()} … {found.max()}")


class NoBelief(_Untrained):
    """Knows nothing of a user: a single zero. An agent that acts on it shows everybody the same.

    Example:
        >>> belief = NoBelief(num_items=50, slate_size=2, catalog_hash="none")
        >>> belief.read(belief.update(belief.initial(1), np.array([[3, 49]]), np.array([[0, 1]])))
        array([[0.]], dtype=float32)
    """

    kind = "belief/none"
    size = 1

    def update(self, state: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """Zeros, ``(num_users, 1)`` float32; arguments and errors as of :meth:`LastObservation.update`."""
        self._checked(state, slates, clicks)
        return np.zeros_like(state)


class LastObservation(_Untrained):
    """The last slate and the clicks on it, as numbers in [-1, 1]; whatever was before is forgotten.

    The first ``slate_size`` numbers are the items' ids, from -1 for the first to 1 for the last of the catalogue, the
    others the clicks, 0 or 1. Ids have no order that means anything, so little can be learned from them: it is the
    reference without a memory.

    Example:
        >>> belief = LastObservation(num_items=50, slate_size=2, catalog_hash="none")
        >>> belief.read(belief.update(belief.initial(1), np.array([[0, 49]]), np.array([[0, 1]])))
        array([[-1.,  1.,  0.,  1.]], dtype=float32)
    """

    kind = "belief/last_observation"

    @property
    def size(self) -> int:
        """Numbers in a belief: two for each item of a slate."""
        return 2 * self.slate_size

    def update(self, state: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The belief after one more observation.

        Args:
            state: From :meth:`initial` or an earlier update.
            slates: ``(num_users, slate_size)`` integer item ids, ``0 … num_items - 1``; -1 where nothing was shown.
            clicks: ``(num_users, slate_size)`` zeros and ones.

        Returns:
            ``(num_users, size)`` float32 in [-1, 1]; 0 for an item that is -1, as before the first slate.

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        self._checked(state, slates, clicks)
        slates = np.asarray(slates, dtype=np.int64)
        scaled = 2 * slates / max(self.num_items - 1, 1) - 1  # (num_users, slate_size)
        scaled[slates < 0] = 0
        return np.concatenate([scaled, clicks], axis=1).astype(np.float32)
