"""What every belief encoder can do, and the one function that loads one from a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import numpy as np

from gems_gym import plugins
from gems_gym.artifacts import Artifact, load_artifact, shipped
from gems_gym.common.checks import checked_arguments


@runtime_checkable
class BeliefEncoder(Protocol):
    """Folds the slates a user was shown, and the clicks on them, into a belief of a fixed size.

    The first observation of a session (the first slate) is the first input:
    ``belief = encoder.update(encoder.initial(num_users), first_slates, first_clicks)``. A row of a result depends on
    the same row of the inputs only, bit for bit, however many users are updated together.

    Attributes:
        kind: the artefact kind, "belief/name".
        size: numbers in a belief.
        num_items: items in the catalogue; ids are ``0 … num_items - 1``.
        slate_size: items in a slate.
        catalog_hash: hash of the catalogue the encoder was trained on.
        sha256: digest of the file it was saved to or loaded from, None if there is none.
    """

    kind: str
    size: int
    num_items: int
    slate_size: int
    catalog_hash: str
    sha256: str | None

    def initial(self, num_users: int) -> np.ndarray:
        """The belief before anything was seen: zeros, ``(num_users, size)`` float32."""
        ...

    def update(self, belief: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The belief after one more observation.

        Args:
            belief: ``(num_users, size)`` float32 in [-1, 1].
            slates: ``(num_users, slate_size)`` item ids.
            clicks: ``(num_users, slate_size)`` zeros and ones.

        Returns:
            ``(num_users, size)`` float32 in [-1, 1], a new array.
        """
        ...

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the encoder as an artefact and returns the sha256 of the file."""
        ...


@checked_arguments
def load_belief(path: str | os.PathLike[str]) -> BeliefEncoder:
    """Loads a belief encoder of whichever kind the file holds, or one that comes with the package.

    The file's header names the kind, "belief/name"; the entry point ``name`` of the group ``gems_gym.beliefs`` is the
    class that reads it, through its ``from_artifact`` class method.

    Args:
        path: a file written by some encoder's ``save``, or a shipped belief's name, e.g. "gru-diffuse_mix".

    Raises:
        FileNotFoundError: there is no such file.
        ArtifactError: the file is not a whole and unaltered belief artefact.
        ValueError: neither a shipped name nor a file, or no installed plugin knows this kind of belief.
    """
    artifact = load_artifact(shipped.path(path, "belief"), "belief")
    encoder_class = plugins.load(plugins.BELIEFS, artifact.kind.partition("/")[2])
    from_artifact = cast(Callable[[Artifact], BeliefEncoder], encoder_class.from_artifact)
    return from_artifact(artifact)
