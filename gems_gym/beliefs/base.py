"""What every belief encoder can do, and the one function that loads one from a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np

from gems_gym import plugins
from gems_gym.artifacts import Artifact, load_artifact, shipped
from gems_gym.common.checks import checked_arguments

State: TypeAlias = Any
"""What a belief encoder remembers of sessions: an array with a row for each user, or a dict of such arrays."""


@runtime_checkable
class BeliefEncoder(Protocol):
    """Folds the slates a user was shown, and the clicks on them, into a belief of a fixed size.

    What it has to remember of a session is its *state*, whatever that is: an array with a row for each user, or a dict
    of such arrays. The belief is read out of it. The first observation of a session (the first slate) is the first
    input: ``state = encoder.update(encoder.initial(num_users), first_slates, first_clicks)``, and the belief after it
    is ``encoder.read(state)``. A row of a result depends on the same row of the inputs only, bit for bit, however many
    users are updated together.

    Attributes:
        kind: The artefact kind, "belief/name".
        size: Numbers in a belief.
        num_items: Items in the catalogue; ids are ``0 … num_items - 1``.
        slate_size: Items in a slate.
        catalog_hash: Hash of the catalogue the encoder was trained on.
        sha256: Digest of the file it was saved to or loaded from, None if there is none.
    """

    kind: str
    size: int
    num_items: int
    slate_size: int
    catalog_hash: str
    sha256: str | None

    def initial(self, num_users: int) -> State:
        """The state before anything was seen."""
        ...

    def update(self, state: State, slates: np.ndarray, clicks: np.ndarray) -> State:
        """The state after one more observation.

        Args:
            state: From :meth:`initial` or an earlier update; it is left alone.
            slates: ``(num_users, slate_size)`` item ids; -1 in slots of logs that show nothing.
            clicks: ``(num_users, slate_size)`` zeros and ones, 0 where nothing is shown.

        Returns:
            New arrays.
        """
        ...

    def read(self, state: State) -> np.ndarray:
        """The belief that a state stands for: ``(num_users, size)`` float32 in [-1, 1]."""
        ...

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the encoder as an artefact and returns the sha256 of the file."""
        ...


def rows_of(state: State, rows: np.ndarray) -> State:
    """The states of some users.

    Args:
        state: State of all users.
        rows: Indices of theirs, ``(num_chosen,)``.
    """
    if isinstance(state, dict):
        return {name: array[rows] for name, array in state.items()}
    return state[rows]


def rows_chosen(chosen: np.ndarray, state: State, other: State) -> State:
    """Each user's state out of one of two.

    Args:
        chosen: ``(num_users,)`` bool: where True the first.
        state: The first.
        other: The second, of the same form.
    """
    if isinstance(state, dict):
        return {name: _where(chosen, array, other[name]) for name, array in state.items()}
    return _where(chosen, state, other)


def _where(chosen: np.ndarray, array: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(chosen.reshape(-1, *[1] * (array.ndim - 1)), array, other)


def updated_where_shown(
    encoder: BeliefEncoder, state: State, slates: np.ndarray, clicks: np.ndarray
) -> State:
    """The state after one more observation of users, some of whom may have been shown nothing, as logs have it.

    Args:
        encoder: The belief.
        state: Of all users.
        slates: ``(num_users, slate_size)`` item ids; -1 where nothing is known to have been shown.
        clicks: ``(num_users, slate_size)`` zeros and ones.

    Returns:
        The state of users who were shown nothing is what it was.
    """
    rows = np.flatnonzero(np.any(slates >= 0, axis=1))
    if len(rows) == len(slates):
        return encoder.update(state, slates, clicks)
    if len(rows) == 0:
        return state
    found = encoder.update(rows_of(state, rows), slates[rows], clicks[rows])
    if isinstance(state, dict):
        return {name: _with_rows(array, rows, found[name]) for name, array in state.items()}
    return _with_rows(state, rows, found)


def _with_rows(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[rows] = values
    return changed


@checked_arguments
def load_belief(path: str | os.PathLike[str]) -> BeliefEncoder:
    """Loads a belief encoder of whichever kind the file holds, or one that comes with the package.

    The file's header names the kind, "belief/name"; the entry point ``name`` of the group ``gems_gym.beliefs`` is the
    class that reads it, through its ``from_artifact`` class method.

    Args:
        path: A file written by some encoder's ``save``, or a shipped belief's name, e.g. "gru-diffuse_mix".

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactError: The file is not a complete and unaltered belief artefact.
        ValueError: Neither a shipped name nor a file, or no installed plugin knows this kind of belief.
    """
    artifact = load_artifact(shipped.path(path, "belief"), "belief")
    encoder_class = plugins.load(plugins.BELIEFS, artifact.kind.partition("/")[2])
    from_artifact = cast(Callable[[Artifact], BeliefEncoder], encoder_class.from_artifact)
    return from_artifact(artifact)
