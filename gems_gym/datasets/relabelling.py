"""The same sessions through another ranker: latents in place of the actions, beliefs in place of what was observed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.beliefs.base import updated_where_shown
from gems_gym.common.checks import checked_arguments
from gems_gym.common.files import scratch_folder
from gems_gym.datasets.log_files import check_knows_items, log_files
from gems_gym.datasets.reader import (
    carried_metadata,
    dataset_world,
    is_log,
    open_sessions,
    origin,
    own_artifacts,
    read_sessions,
)
from gems_gym.datasets.sessions import Sessions
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE, AnyPath, as_artefact
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.wrappers.belief_observation import belief_box
from gems_gym.wrappers.latent_action import latent_box

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset


class Encodes(Ranker, Protocol):
    """A ranker that can tell which latent action stands for a slate."""

    def encode(self, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The latents for slates and the clicks on them, ``(N, slate_size)`` each, as ``(N, action_size)``."""
        ...


@checked_arguments
def relabel(
    dataset: Dataset,
    ranker: Ranker | AnyPath,
    *,
    dataset_id: str,
    belief: BeliefEncoder | AnyPath | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> minari.MinariDataset:
    """Writes the sessions of a dataset with the actions that another ranker would show their slates by.

    ``actions[t]`` becomes ``ranker.encode(infos["slate"][t + 1], infos["clicks"][t + 1])``. Users, slates, clicks and
    rewards stay what they were: ranking the new actions gives the shown slates back in part only, and in which part
    is recorded. With ``belief``, observations become the beliefs of the shown slates and clicks, so that a slate
    dataset becomes a latent one.

    An imported log becomes a latent dataset too, with ranker and belief that ``gems-gym logs fit`` has learned from it.
    What nobody was shown leaves a belief as it was; so the first of a session is that of somebody who has seen nothing.

    Args:
        dataset: The dataset, or the id of a local one, with infos, or imported from a log.
        ranker: A ranker with ``encode``, its file or its shipped name; a copy is stored with the data.
        dataset_id: The new dataset's id.
        belief: Likewise a belief encoder; needed for a slate dataset. A latent dataset keeps its own if None.
        overwrite: Replaces a dataset of this id, once the new one is finished.
        progress: Draws a progress bar on stderr.

    Returns:
        The new dataset. Its environment is the latent one with the new ranker and belief (a log has none);
        ``dataset.storage.metadata["derived_from"]["reconstruction"]`` holds the shares of ``slots`` and of complete
        ``slates`` that ranking the new actions gives back.

    Raises:
        ValueError: If an id is wrong, a name is unknown, the ranker has no ``encode``, ranker or belief belong to
            another catalogue, a slate dataset comes without a belief, or a dataset has no infos.
        ArtifactError: If the dataset's own belief is missing or altered.
        ImportError: If Minari is not installed; it names the extra.
    """
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    opened = open_sessions(dataset)
    recorded = opened.storage.metadata
    with scratch_folder() as scratch:
        new_ranker = as_artefact(ranker, load_ranker, scratch / RANKER_FILE)
        new_belief = as_artefact(
            _belief_of(opened) if belief is None else belief, load_belief, scratch / BELIEF_FILE
        )
        encoder = _encoding(new_ranker.value)
        _check_knows_items(opened, encoder, new_belief.value)
        num_slots = same_slots = same_slates = 0
        with DatasetWriter(
            dataset_id,
            belief_box(new_belief.value),
            latent_box(encoder),
            opened.env_spec,
            {RANKER_FILE: new_ranker.file, BELIEF_FILE: new_belief.file, **log_files(opened)},
            overwrite=overwrite,
        ) as writer:
            for sessions in read_sessions(opened, f"relabelling {opened.id}", progress=progress):
                _check_shown(sessions, opened.id)
                actions, filled = encoded(sessions, encoder), sessions.filled
                taken = sessions.shown["slate"][:, 1:][filled]  # (steps taken, slate_size)
                same = encoder.rank(actions[filled]) == taken
                num_slots, same_slots = num_slots + int((taken >= 0).sum()), same_slots + int(same.sum())
                same_slates += int((same | (taken < 0)).all(axis=1).sum())
                changed = replace(sessions, actions=actions)
                if new_belief.sha256 != recorded.get("belief_sha256"):
                    changed = replace(changed, observations=recomputed_beliefs(sessions, new_belief.value))
                if is_log(opened) and isinstance(sessions.observations, dict):
                    changed = replace(changed, infos=sessions.observations | sessions.infos)
                writer.append(changed)
            return writer.finish(
                carried_metadata(opened)
                | {
                    "ranker_sha256": new_ranker.sha256,
                    "belief_sha256": new_belief.sha256,
                    "description": f"Sessions of {opened.id}, with the latents of another ranker, by gems-gym.",
                    "derived_from": {
                        "by": "relabel",
                        "sources": [origin(opened) | {"ranker_sha256": recorded.get("ranker_sha256")}],
                        "reconstruction": {
                            "slots": same_slots / num_slots,
                            "slates": same_slates / writer.num_transitions,
                        },
                    },
                }
            )


def _belief_of(dataset: minari.MinariDataset) -> Path:
    copies = own_artifacts(dataset)
    if BELIEF_FILE not in copies:
        raise ValueError(
            f"dataset {dataset.id!r} holds slates, and no belief: give belief, a shipped name or a file, and its "
            "observations become beliefs"
        )
    return copies[BELIEF_FILE].path


def _check_shown(sessions: Sessions, dataset_id: str) -> None:
    """Raise a ValueError unless sessions hold slates and clicks."""
    missing = [name for name in ("slate", "clicks") if name not in sessions.shown]
    if missing:
        raise ValueError(
            f"dataset {dataset_id!r} has no infos {missing}, which relabelling requires: an npz file holds none; take "
            "the dataset that it was exported from, or collect it again"
        )


def _check_knows_items(dataset: minari.MinariDataset, ranker: Ranker, belief: BeliefEncoder) -> None:
    """Raise a ValueError unless a ranker and a belief are made for a dataset's items and slots."""
    if is_log(dataset):
        for part in (ranker, belief):
            check_knows_items(part, str(dataset.storage.metadata["items_sha256"]), f"dataset {dataset.id!r}")
    else:
        dataset_world(dataset)  # raises if it has another catalogue now
        LatentWorld(dataset.env_spec, ranker, belief).env().close()


def _encoding(ranker: Any) -> Encodes:
    if not callable(getattr(ranker, "encode", None)):
        kind = getattr(ranker, "kind", type(ranker).__name__)
        raise ValueError(
            f"the ranker {kind} has no encode(slates, clicks), so that it is unknown which latents stand for the "
            "shown slates; give one that has, such as a gems or a wknn ranker"
        )
    return cast(Encodes, ranker)


def encoded(sessions: Sessions, ranker: Encodes) -> np.ndarray:
    """The actions that a ranker gives the slates of sessions that hold slates and clicks.

    Returns:
        float32 ``(num_sessions, num_steps, action_size)``, zeros behind a session's end.
    """
    slates, clicks = (sessions.shown[name][:, 1:][sessions.filled] for name in ("slate", "clicks"))
    return _by_step(ranker.encode(slates.astype(np.int64), clicks), sessions.filled)


def ranked(actions: np.ndarray, ranker: Ranker, filled: np.ndarray) -> np.ndarray:
    """The slates of actions ``(num_sessions, num_steps, action_size)``, zeros where no step was taken.

    Args:
        actions: Latents.
        ranker: Makes slates of them.
        filled: Which steps were taken, bool ``(num_sessions, num_steps)``.

    Returns:
        ``(num_sessions, num_steps, slate_size)``.
    """
    return _by_step(ranker.rank(actions[filled]), filled)


def _by_step(values: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Rows, one for each step taken, as ``(num_sessions, num_steps, ...)``."""
    found = np.zeros((*filled.shape, *values.shape[1:]), values.dtype)
    found[filled] = values
    return found


def recomputed_beliefs(sessions: Sessions, encoder: BeliefEncoder) -> np.ndarray:
    """Beliefs ``(num_sessions, num_steps + 1, size)``, as the environment's wrapper would have shown them."""
    slates, clicks = (sessions.shown[name] for name in ("slate", "clicks"))
    state, rows = encoder.initial(len(sessions)), []
    for t in range(slates.shape[1]):
        state = updated_where_shown(encoder, state, slates[:, t], clicks[:, t])
        rows.append(encoder.read(state))
    return np.stack(rows, axis=1)
