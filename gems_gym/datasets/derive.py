"""Datasets made of datasets: several merged into one, a part of one, the same sessions through another ranker.

Parts are Minari's views of the same file, through our own storage, which checks sessions before they are read
(``minari.split_dataset`` would open the file without it). They are written by our own writer:
``minari.combine_datasets`` drops the seeds of the sessions, the copies of ranker and belief and the metadata, opens the
file anew for every session (measured: 23 ms each), writes in the final place, where a killed run leaves half a dataset,
and does not see that a view is a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.beliefs.base import updated_where_shown
from gems_gym.common.checks import Count, Seed, Share, checked, checked_arguments
from gems_gym.common.files import scratch_folder
from gems_gym.common.progress import track
from gems_gym.datasets.log_files import LOG_FILES, log_file
from gems_gym.datasets.reader import (
    LOG,
    carried_metadata,
    dataset_world,
    is_log,
    open_recording,
    open_sessions,
    origin,
    own_artifacts,
    read_episodes,
    read_sessions,
)
from gems_gym.datasets.sessions import Sessions
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE, AnyPath, as_artefact
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.errors import require
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import slate_spec
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
def merge(
    datasets: Sequence[Dataset], *, dataset_id: str, overwrite: bool = False, progress: bool = True
) -> minari.MinariDataset:
    """Writes the sessions of several datasets behind one another.

    Args:
        datasets: Datasets, or ids of local ones, at least two, of the same environment, ranker and belief.
        dataset_id: The new dataset's id.
        overwrite: Replaces a dataset of this id, once the new one is finished.
        progress: Draws progress bars on stderr.

    Returns:
        The new dataset. Its metadata hold what all agree in; ``policy`` names all policies, ``combined_datasets`` all
        ids, ``derived_from`` where the sessions come from and how many.

    Raises:
        ValueError: If an id is wrong, there are fewer than two datasets, one is given twice, or they differ in
            environment, catalogue, ranker, belief, spaces or infos; it names the difference.
        ArtifactError: If a copy of a ranker or belief is missing or altered.
        ImportError: If Minari is not installed; it names the extra.
    """
    checked("datasets", datasets, Sequence[Any])  # a text would be taken for ids of one letter
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    opened = [open_recording(dataset) for dataset in datasets]
    if len(opened) < 2:
        raise ValueError(f"merge takes at least two datasets, got {[one.id for one in opened]}")
    _check_mergeable(opened)
    carried = [carried_metadata(one) for one in opened]
    metadata = {
        name: value for name, value in carried[0].items() if all(one.get(name) == value for one in carried)
    }
    # The first's files of ranker and belief are copied; the others' may differ in what was measured of them.
    own_files = ("ranker_sha256", "belief_sha256")
    metadata |= {name: carried[0][name] for name in own_files if name in carried[0]}
    policies = " + ".join(dict.fromkeys(str(one.get("policy")) for one in carried))
    metadata |= {
        "algorithm_name": policies,
        "policy": policies,
        "description": f"Sessions of simulated users with the policies {policies}, merged by gems-gym.",
        "author": sorted({author for one in carried for author in one.get("author", ())}),
        "combined_datasets": [one.id for one in opened],
        "derived_from": {"by": "merge", "sources": [origin(one) for one in opened]},
    }
    return _write(dataset_id, opened, metadata, overwrite, progress)


@checked_arguments
def subset(
    dataset: Dataset,
    *,
    dataset_id: str,
    episodes: Count | None = None,
    min_return: float | None = None,
    earliest: Share | None = None,
    latest: Share | None = None,
    seed: Seed = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> minari.MinariDataset:
    """Writes a part of a dataset's sessions, in their order.

    Args:
        dataset: The dataset, or the id of a local one.
        dataset_id: The new dataset's id.
        episodes: How many sessions to draw, without replacement; with the same random seed, a smaller draw is part of a
            larger one.
        min_return: Only sessions with at least so many clicks; with ``episodes``, these are drawn among them.
        earliest: Only this share of an imported log's sessions, those that began first; of equal times, the first in
            the dataset. Alone.
        latest: Likewise the share that began last: ``earliest=0.8`` and ``latest=0.2`` have no session in common.
        seed: Seed of the draw.
        overwrite: Replaces a dataset of this id, once the new one is finished.
        progress: Draws progress bars on stderr.

    Returns:
        The new dataset, with the metadata of the dataset that it is a part of, and ``derived_from``, which names that
        dataset.

    Raises:
        ValueError: If an id is wrong, nothing is chosen by, or by ``earliest`` or ``latest`` and more, there are not so
            many sessions, none with such a return, or no times.
        ArtifactError: If a copy of a ranker or belief is missing or altered.
        ImportError: If Minari is not installed; it names the extra.
    """
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    by_time = [share for share in (earliest, latest) if share is not None]
    if len(by_time) + (episodes is not None or min_return is not None) != 1:
        raise ValueError("subset requires episodes, min_return or both, or else earliest, or else latest")
    opened = part = open_sessions(dataset)
    if by_time:
        part = _by_time(part, by_time[0], at_the_end=earliest is None)
    if min_return is not None:
        part = _of_return(part, min_return, progress)
    if episodes is not None:
        if not 1 <= episodes <= part.total_episodes:
            among = "" if min_return is None else f" with a return of at least {min_return:g}"
            raise ValueError(
                f"episodes must be in [1, {part.total_episodes}], the sessions of {opened.id!r}{among}; got {episodes}"
            )
        drawn = np.random.default_rng(seed).permutation(part.episode_indices)[:episodes]
        part = require("minari").MinariDataset(part.storage, np.sort(drawn))
    how = {"episodes": episodes, "min_return": min_return, "seed": None if episodes is None else seed}
    how |= {name: share for name, share in (("earliest", earliest), ("latest", latest)) if share is not None}
    derived = {"by": "subset", "sources": [origin(opened)], **how}
    metadata = carried_metadata(opened) | {
        "description": f"A part of the sessions of {opened.id}, chosen by gems-gym.",
        "derived_from": derived,
    }
    return _write(dataset_id, [part], metadata, overwrite, progress)


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
            {RANKER_FILE: new_ranker.file, BELIEF_FILE: new_belief.file, **_files_of_log(opened)},
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


def _of_return(dataset: minari.MinariDataset, least: float, progress: bool) -> minari.MinariDataset:
    returns: list[float] = []
    with track(f"returns of {dataset.id}", dataset.total_episodes, shown=progress) as advance:

        def reaches(episode: minari.EpisodeData) -> bool:
            advance(1)
            returns.append(float(episode.rewards.sum()))
            return returns[-1] >= least

        part = dataset.filter_episodes(reaches)
    if part.total_episodes == 0:
        raise ValueError(
            f"min_return is {least:g}, but no session of {dataset.id!r} has a return above {max(returns):g}"
        )
    return part


def _by_time(dataset: minari.MinariDataset, share: float, *, at_the_end: bool) -> minari.MinariDataset:
    indices = np.asarray(dataset.episode_indices)
    times = [
        int(episode["infos"]["time"][0])
        for episode in read_episodes(dataset.storage, indices, ("time",))
        if "time" in episode["infos"]
    ]
    if len(times) < len(indices):
        raise ValueError(f"dataset {dataset.id!r} has no times: only those that were imported from logs have")
    held_out = (
        share if at_the_end else round(1 - share, 12)
    )  # 1 - 0.9 is not 0.1, and may round to another number
    cut = len(indices) - max(1, round(held_out * len(indices)))
    if not 0 < cut < len(indices):
        raise ValueError(
            f"dataset {dataset.id!r} has {len(indices)} sessions, too few for a share of {share:g}"
        )
    order = np.argsort(times, kind="stable")
    chosen = order[cut:] if at_the_end else order[:cut]
    return require("minari").MinariDataset(dataset.storage, np.sort(indices[chosen]))


def _write(
    dataset_id: str,
    parts: Sequence[minari.MinariDataset],
    metadata: Mapping[str, Any],
    overwrite: bool,
    progress: bool,
) -> minari.MinariDataset:
    """Writes the sessions of parts that agree in all but their sessions."""
    first, artifacts = parts[0], own_artifacts(parts[0])
    with DatasetWriter(
        dataset_id,
        first.observation_space,
        first.action_space,
        first.env_spec,
        {name: artifact.path for name, artifact in artifacts.items()} | _files_of_log(first),
        overwrite=overwrite,
    ) as writer:
        longest = 0
        for part in parts:
            for sessions in read_sessions(part, f"copying {part.id}", progress=progress):
                writer.append(sessions)
                longest = max(longest, int(sessions.lengths.max()))
        of_log = {LOG: metadata[LOG] | {"longest_session": longest}} if is_log(first) else {}
        return writer.finish({**metadata, **of_log})


def _check_mergeable(datasets: Sequence[minari.MinariDataset]) -> None:
    first, described = datasets[0], [_described(one) for one in datasets]
    for other, facts in zip(datasets[1:], described[1:], strict=True):
        for name, value in described[0].items():
            if facts[name] != value:
                raise ValueError(
                    f"datasets {first.id!r} and {other.id!r} can't be merged, their {name} differ: {value} and "
                    f"{facts[name]}"
                )
    hashes = [one.storage.metadata.get("content_hash") for one in datasets]
    for position, content_hash in enumerate(hashes):
        if content_hash in hashes[:position]:
            twin = datasets[hashes.index(content_hash)].id
            raise ValueError(
                f"dataset {datasets[position].id!r} holds the same sessions as {twin!r}: merge each once"
            )


def _described(dataset: minari.MinariDataset) -> dict[str, Any]:
    """What datasets must agree in to be one."""
    metadata, spec = dataset.storage.metadata, slate_spec(dataset.env_spec)
    contents = {name: artifact.content_sha256 for name, artifact in own_artifacts(dataset).items()}
    return {
        "environments": (spec.id, spec.kwargs),
        "catalogues": metadata.get("catalog_hash"),
        "action scales": metadata.get("action_scale"),
        "rankers": contents.get(RANKER_FILE),
        "beliefs": contents.get(BELIEF_FILE),
        "observation spaces": dataset.observation_space,
        "action spaces": dataset.action_space,
        "infos": sorted(dataset[0].infos or {}),
    }


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
    if not is_log(dataset):
        dataset_world(dataset)  # raises if it has another catalogue now
        LatentWorld(dataset.env_spec, ranker, belief).env().close()
        return
    items = str(dataset.storage.metadata["items_sha256"])
    for role, part in (("ranker", ranker), ("belief", belief)):
        if part.catalog_hash != items:
            raise ValueError(
                f"the {role} (a {part.kind}) was made for the catalogue {part.catalog_hash}, and dataset "
                f"{dataset.id!r} has the items {items}: item ids mean other items there. Learn one of the log: "
                f"gems-gym logs fit {dataset.id} --out FOLDER"
            )


def _files_of_log(dataset: minari.MinariDataset) -> dict[str, Path]:
    """The files beside a log's sessions; none if it is no log."""
    return {name: log_file(dataset, name) for name in LOG_FILES} if is_log(dataset) else {}


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
