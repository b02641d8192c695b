"""The same sessions in the latents of another ranker, and slates as beliefs and latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.checks import checked_arguments
from gems_gym.common.folders import scratch_folder
from gems_gym.datasets.sessions import Sessions
from gems_gym.datasets.stored import (
    carried_metadata,
    dataset_world,
    open_recording,
    origin,
    own_artefacts,
    read_sessions,
    require_infos,
)
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE, AnyPath, Artefact, as_artefact
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.wrappers import BeliefObservation, LatentAction

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset


@runtime_checkable
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

    Args:
        dataset: The dataset, or the id of a local one, with infos.
        ranker: A ranker with ``encode``, its file or its shipped name; a copy is stored with the data.
        dataset_id: The new dataset's id.
        belief: Likewise a belief encoder; needed for a slate dataset. A latent dataset keeps its own if None.
        overwrite: Replaces a dataset of this id, once the new one is finished.
        progress: Draws a progress bar on stderr.

    Returns:
        The new dataset. Its environment is the latent one with the new ranker and belief;
        ``dataset.storage.metadata["derived_from"]["reconstruction"]`` holds the shares of ``slots`` and of complete
        ``slates`` that ranking the new actions gives back.

    Raises:
        ValueError: If an id is wrong, a name is unknown, the ranker has no ``encode``, ranker or belief belong to
            another catalogue, a slate dataset comes without a belief, or a dataset has no infos.
        ArtifactError: If the dataset's own belief is missing or altered.
        ImportError: If Minari is not installed; it names the extra.
    """
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    opened = open_recording(dataset)
    with scratch_folder() as scratch:
        new_ranker = as_artefact(ranker, load_ranker, scratch / RANKER_FILE)
        new_belief = _belief_of(opened, belief, scratch)
        encoder = _encoding(new_ranker.value)
        env = LatentAction(BeliefObservation(dataset_world(opened), new_belief.value), encoder)
        sees_anew = new_belief.sha256 != opened.storage.metadata["belief_sha256"]
        reconstruction = Reconstruction()
        with DatasetWriter(
            dataset_id,
            env.observation_space,
            env.action_space,
            opened.env_spec,
            {RANKER_FILE: new_ranker.file, BELIEF_FILE: new_belief.file},
            overwrite=overwrite,
        ) as writer:
            for sessions in read_sessions(opened, f"relabelling {opened.id}", progress=progress):
                require_infos(sessions, ("slate", "clicks"), opened.id, "relabelling")
                changed = replace(sessions, actions=_relabelled(sessions, encoder, reconstruction))
                if sees_anew:
                    changed = replace(changed, observations=recomputed_beliefs(sessions, new_belief.value))
                writer.append(changed)
            source = origin(opened) | {"ranker_sha256": opened.storage.metadata["ranker_sha256"]}
            return writer.finish(
                carried_metadata(opened)
                | {
                    "ranker_sha256": new_ranker.sha256,
                    "belief_sha256": new_belief.sha256,
                    "description": f"Sessions of {opened.id}, with the latents of another ranker, by gems-gym.",
                    "derived_from": {
                        "by": "relabel",
                        "sources": [source],
                        "reconstruction": reconstruction.shares(),
                    },
                }
            )


@dataclass
class Reconstruction:
    """Counts what ranking the new actions gives back of the slates that were shown."""

    num_slates: int = 0
    num_slots: int = 0
    same_slates: int = 0
    same_slots: int = 0

    def add(self, shown: np.ndarray, ranked: np.ndarray) -> None:
        """Takes in slates ``(N, slate_size)`` as they were shown, and as the ranker shows them."""
        same = shown == ranked  # (N, slate_size)
        self.num_slates += len(same)
        self.num_slots += same.size
        self.same_slates += int(same.all(axis=1).sum())
        self.same_slots += int(same.sum())

    def shares(self) -> dict[str, float]:
        """Shares of the slots, and of the complete slates, that are the same."""
        return {
            "slots": self.same_slots / max(self.num_slots, 1),
            "slates": self.same_slates / max(self.num_slates, 1),
        }


def _belief_of(
    opened: minari.MinariDataset, belief: BeliefEncoder | AnyPath | None, scratch: Path
) -> Artefact:
    if belief is None:
        belief = own_artefacts(opened).get(BELIEF_FILE)
    if belief is None:
        raise ValueError(
            f"dataset {opened.id!r} holds slates, and no belief: give belief, a shipped name or a file, and its "
            "observations become beliefs"
        )
    return as_artefact(belief, load_belief, scratch / BELIEF_FILE)


def _encoding(ranker: Any) -> Encodes:
    if not callable(getattr(ranker, "encode", None)):
        kind = getattr(ranker, "kind", type(ranker).__name__)
        raise ValueError(
            f"the ranker {kind} has no encode(slates, clicks), so that it is unknown which latents stand for the "
            "shown slates; give one that has, such as a gems or a wknn ranker"
        )
    return cast(Encodes, ranker)


def _relabelled(sessions: Sessions, ranker: Encodes, reconstruction: Reconstruction) -> np.ndarray:
    """New actions ``(num_sessions, num_steps, action_size)``: slate and clicks at ``t + 1`` are those of action t."""
    slates, clicks = (sessions.infos[name][:, 1:] for name in ("slate", "clicks"))
    actions = encoded(slates, clicks, ranker)
    shown = ranker.rank(actions.reshape(-1, ranker.action_size))
    reconstruction.add(slates.reshape(shown.shape), shown)
    return actions


def encoded(slates: np.ndarray, clicks: np.ndarray, ranker: Encodes) -> np.ndarray:
    """The actions that a ranker gives slates.

    Args:
        slates: ``(num_sessions, num_steps, slate_size)`` item ids.
        clicks: Likewise, zeros and ones.
        ranker: A ranker with ``encode``.

    Returns:
        float32 ``(num_sessions, num_steps, action_size)``.
    """
    flat = slates.reshape(-1, slates.shape[2]).astype(np.int64)  # (num_sessions * num_steps, slate_size)
    return ranker.encode(flat, clicks.reshape(flat.shape)).reshape(*slates.shape[:2], -1)


def recomputed_beliefs(sessions: Sessions, encoder: BeliefEncoder) -> np.ndarray:
    """Beliefs ``(num_sessions, num_steps + 1, size)``, as the environment's wrapper would have shown them."""
    slates, clicks = (sessions.infos[name] for name in ("slate", "clicks"))
    state, rows = encoder.initial(len(sessions)), []
    for t in range(slates.shape[1]):
        state = encoder.update(state, slates[:, t], clicks[:, t])
        rows.append(encoder.read(state))
    return np.stack(rows, axis=1)
