"""Latent datasets out to .npz files of D4RL's form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from gems_gym.common.checks import checked_arguments
from gems_gym.datasets.d4rl import D4rlFile
from gems_gym.datasets.sessions import Sessions
from gems_gym.datasets.stored import carried_metadata, open_recording, own_artefacts, read_sessions
from gems_gym.registration import slate_spec

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset


@checked_arguments
def export_d4rl(dataset: Dataset, path: Path, *, progress: bool = True) -> D4rlFile:
    """Writes a latent dataset as an .npz file of D4RL's form (:class:`~gems_gym.datasets.d4rl.D4rlFile`).

    Infos (slates, clicks, boredom, user states) have no place in it and are lost. The file holds copies of ranker and
    belief as bytes, and as ``metadata`` what the dataset's say, with the slate environment, content hash and the users'
    seeds.

    Args:
        dataset: The dataset, or the id of a local one; all of it is held in memory, about 300 bytes a transition.
        path: The file to write; an existing one is replaced.
        progress: Draws a progress bar on stderr.

    Returns:
        What was written.

    Raises:
        ValueError: If there is no dataset of this id, or it holds slates.
        ArtifactError: If its copy of ranker or belief is missing or altered.
        ImportError: If Minari is not installed; it names the extra.
    """
    opened = open_recording(dataset)
    for space in (opened.observation_space, opened.action_space):
        if not isinstance(space, gymnasium.spaces.Box):
            raise ValueError(
                f"dataset {opened.id!r} holds slates, D4RL's form beliefs and latents: make a latent dataset of it, "
                f"gems-gym dataset relabel {opened.id} --ranker NAME --belief NAME --dataset-id ID"
            )
    file, seeds, row = _empty_file(opened), list[int](), 0
    for sessions in read_sessions(opened, f"exporting {opened.id}", progress=progress):
        _fill(file, slice(row, row + sessions.rewards.size), sessions)
        row += sessions.rewards.size
        seeds += sessions.seeds
    file = replace(
        file,
        metadata={
            "dataset_id": opened.id,
            "env_spec": json.loads(slate_spec(opened.env_spec).to_json()),
            "content_hash": opened.storage.metadata.get("content_hash"),
            "session_seeds": seeds,
            **carried_metadata(opened),
        },
        artefacts={name.partition(".")[0]: copy.read_bytes() for name, copy in own_artefacts(opened).items()},
    )
    file.save(path)
    return file


def _empty_file(dataset: minari.MinariDataset) -> D4rlFile:
    """The arrays for a dataset's transitions, whose numbers are still to be filled in."""
    num_rows = int(dataset.total_steps)
    observations, next_observations = (
        np.empty((num_rows, *dataset.observation_space.shape), dtype=np.float32) for _ in range(2)
    )
    return D4rlFile(
        observations=observations,
        actions=np.empty((num_rows, *dataset.action_space.shape), dtype=np.float32),
        rewards=np.empty(num_rows, dtype=np.float32),
        next_observations=next_observations,
        terminals=np.zeros(num_rows, dtype=np.bool_),
        timeouts=np.zeros(num_rows, dtype=np.bool_),
    )


def _fill(file: D4rlFile, rows: slice, sessions: Sessions) -> None:
    """Writes sessions into the rows of the arrays that are theirs."""
    seen = np.asarray(sessions.observations)  # (num_sessions, num_steps + 1, observation_size)
    file.observations[rows] = seen[:, :-1].reshape(-1, seen.shape[2])
    file.next_observations[rows] = seen[:, 1:].reshape(-1, seen.shape[2])
    file.actions[rows] = sessions.actions.reshape(-1, sessions.actions.shape[2])
    file.rewards[rows] = sessions.rewards.ravel()
    file.timeouts[rows].reshape(sessions.rewards.shape)[:, -1] = True
