"""Datasets made of datasets: several merged into one, or a part of one.

Parts are Minari's views of the same file, through our own storage, which checks sessions before they are read
(``minari.split_dataset`` would open the file without it). They are written by our own writer:
``minari.combine_datasets`` drops the seeds of the sessions, the copies of ranker and belief and the metadata, opens the
file anew for every session (measured: 23 ms each), writes in the final place, where a killed run leaves half a dataset,
and does not see that a view is a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gems_gym.common.checks import Count, Seed, Share, checked, checked_arguments
from gems_gym.common.progress import track
from gems_gym.datasets.log_files import log_files
from gems_gym.datasets.reader import (
    LOG,
    carried_metadata,
    content_hash_of,
    is_log,
    open_recording,
    open_sessions,
    origin,
    own_artifacts,
    read_episodes,
    read_sessions,
)
from gems_gym.datasets.sessions import num_earlier
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.errors import require
from gems_gym.registration import slate_spec

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset


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
    levels = [_without_shares(one) for one in carried]
    if levels[0] and all(one == levels[0] for one in levels):
        metadata = _with_shares(metadata | {"levels": carried[0]["levels"]}, opened)
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
        given = {"episodes": episodes, "min_return": min_return, "earliest": earliest, "latest": latest}
        shown = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
        raise ValueError(
            "a part is chosen by episodes, min_return or both, or by earliest alone, or by latest alone; got "
            f"{shown or 'none of them'}"
        )
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
    metadata = _with_shares(carried_metadata(opened), [part]) | {
        "description": f"A part of the sessions of {opened.id}, chosen by gems-gym.",
        "derived_from": derived,
    }
    return _write(dataset_id, [part], metadata, overwrite, progress)


def _without_shares(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The levels of a dataset's policies, without their shares of its sessions; empty if it has none."""
    levels = metadata.get("levels")
    named = levels.items() if isinstance(levels, dict) else ()
    return {name: {key: value for key, value in level.items() if key != "share"} for name, level in named}


def _with_shares(metadata: dict[str, Any], parts: Sequence[minari.MinariDataset]) -> dict[str, Any]:
    """Metadata in which the levels of mixed datasets have their shares of all sessions."""
    levels = metadata.get("levels")
    if not isinstance(levels, dict) or len(levels) < 2:
        return metadata
    episodes = (
        one for part in parts for one in read_episodes(part.storage, part.episode_indices, ("level",))
    )
    found = [int(episode["infos"]["level"][0]) for episode in episodes if "level" in episode["infos"]]
    if len(found) < sum(part.total_episodes for part in parts):
        return metadata  # imported without infos: nobody knows the sessions' levels
    counts = np.bincount(found, minlength=len(levels)) / max(len(found), 1)
    shares = zip(levels.items(), counts.tolist(), strict=False)
    return {**metadata, "levels": {name: {**level, "share": share} for (name, level), share in shares}}


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
    # rounded, as 1 - 0.9 is not 0.1
    cut = num_earlier(len(indices), share if at_the_end else round(1 - share, 12))
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
        {name: artifact.path for name, artifact in artifacts.items()} | log_files(first),
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
    held = [(content_hash_of(one), {*np.asarray(one.episode_indices).tolist()}) for one in datasets]
    for position, (content_hash, sessions) in enumerate(held):
        for twin, (other_hash, others) in zip(datasets, held[:position], strict=False):
            if content_hash == other_hash and sessions & others:
                raise ValueError(
                    f"dataset {datasets[position].id!r} holds sessions that {twin.id!r} holds: merge each once"
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
