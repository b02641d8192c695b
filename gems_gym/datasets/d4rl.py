"""Latent datasets out to .npz files of D4RL's form, and datasets of such files, gems-gym's own and others'."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.common.files import scratch_folder
from gems_gym.common.progress import track
from gems_gym.datasets.d4rl_adapt import adapt
from gems_gym.datasets.d4rl_file import D4rlFile
from gems_gym.datasets.reader import (
    OF_ONE_FILE,
    carried_metadata,
    open_recording,
    own_artifacts,
    read_sessions,
)
from gems_gym.datasets.sessions import CHUNK_SESSIONS, NO_SEED, Sessions
from gems_gym.datasets.world import (
    AnyPath,
    Artefact,
    as_artefact,
    environment_spec,
    measure_reference_scores,
    recorded_world,
)
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.envs.recorded_spec import rebuilt_spec
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent, slate_spec

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset

_NOT_TAKEN = {
    *OF_ONE_FILE, "session_seeds", "derived_from",
    "author", "author_email", "code_permalink", "requirements", "eval_env_spec",
}  # fmt: skip
"""A file's metadata that a dataset of it does not get: what is recorded elsewhere, and what Minari would act on."""

_LOADERS: dict[str, Callable[[AnyPath], Any]] = {"ranker": load_ranker, "belief": load_belief}


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
    rows, seen, acted = int(opened.total_steps), opened.observation_space.shape, opened.action_space.shape
    file = D4rlFile(
        observations=np.empty((rows, *seen), np.float32),
        actions=np.empty((rows, *acted), np.float32),
        rewards=np.empty(rows, np.float32),
        next_observations=np.empty((rows, *seen), np.float32),
        terminals=np.zeros(rows, np.bool_),
        timeouts=np.zeros(rows, np.bool_),
    )
    seeds, row = list[int](), 0
    for sessions in read_sessions(opened, f"exporting {opened.id}", progress=progress):
        steps = int(sessions.lengths.sum())
        if row + steps <= rows:
            _fill(file, slice(row, row + steps), sessions)
        row += steps
        seeds += sessions.seeds
    if row != rows:
        raise ValueError(
            f"dataset {opened.id!r}: total_steps in its metadata is {rows:,}, its sessions have {row:,}"
        )
    file = replace(
        file,
        metadata={
            "dataset_id": opened.id,
            "env_spec": json.loads(slate_spec(opened.env_spec).to_json()),
            "content_hash": opened.storage.metadata.get("content_hash"),
            "session_seeds": seeds,
            **carried_metadata(opened),
        },
        artefacts={
            name.partition(".")[0]: copy.path.read_bytes() for name, copy in own_artifacts(opened).items()
        },
    )
    file.save(path)
    return file


@checked_arguments
def import_d4rl(
    path: Path,
    *,
    dataset_id: str,
    env_id: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    ranker: Ranker | AnyPath | None = None,
    belief: BeliefEncoder | AnyPath | None = None,
    terminals_are_timeouts: bool = False,
    rescale_actions: bool = False,
    episode_length: Count | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> minari.MinariDataset:
    """Makes a dataset of an .npz file of D4RL's form, gems-gym's own or another's.

    A file of another program may need one of ``terminals_are_timeouts``, ``rescale_actions`` and ``episode_length``.
    With any of them its arrays may be of other dtypes, too. What is done to them stands, step by step, in the new
    dataset's ``derived_from["steps"]``.

    Args:
        path: The file.
        dataset_id: The new dataset's id.
        env_id: The environment that the sessions were played in; a file of gems-gym names it itself.
        env_kwargs: Keywords of that environment, if the file names none.
        ranker: The ranker that its actions are latents of, its file or its shipped name; a file of gems-gym holds it
            itself, and a ``GemsSlateLatent-*`` environment names it. Without ranker and belief, the dataset holds
            vectors whose meaning is not known.
        belief: Likewise the belief encoder.
        terminals_are_timeouts: Takes terminals as the ends of sessions by time. Other programs write them so; as true
            terminal states, learning would not bootstrap through them.
        rescale_actions: Brings actions into [-1, 1]: divided by the largest absolute value, which becomes the
            metadata's ``action_scale`` (multiply by it to get the file's actions back); with a ranker that has
            ``to_actions``, by the ranker's bounds.
        episode_length: Steps in a session, in place of the environment's own. A file that marks no ends is cut into
            sessions of this length.
        overwrite: Replaces a dataset of this id, once the new one is finished.
        progress: Draws progress bars on stderr.

    Returns:
        The new dataset, without infos. Sessions whose users the file does not name have the seed
        :data:`~gems_gym.datasets.sessions.NO_SEED`.

    Raises:
        ValueError: If the id is wrong, the environment is not known or has another catalogue, ranker or belief are
            not those that the file names, do not fit, or are given beside a latent environment, only one of them is
            known, or an array is wrong; it names array, row and value, and the argument that would help.
        FileNotFoundError: If there is no such file.
        ImportError: If Minari is not installed; it names the extra.
    """
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    file = D4rlFile.load(path)
    spec = _spec_of(file, path, env_id, env_kwargs, episode_length)
    world = recorded_world(spec, file.metadata.get("catalog_hash"), str(path))
    length = world.config.episode_length
    with scratch_folder() as scratch:
        artefacts = _artefacts_of(file, path, spec, {"ranker": ranker, "belief": belief}, scratch)
        parts = {name: artefact.value for name, artefact in artefacts.items()}
        if parts:
            LatentWorld(spec, **parts).env()  # raises if they do not fit the world
        file, steps = adapt(
            file,
            parts.get("ranker"),
            terminals_are_timeouts=terminals_are_timeouts,
            rescale_actions=rescale_actions,
            episode_length=episode_length,
        )
        file.check(
            parts["belief"].size if parts else None,
            parts["ranker"].action_size if parts else None,
            length,
            users_leave=world.config.users_leave,
        )
        seeds = _seeds_of(file)
        metadata = _metadata_of(file, path, spec, progress)
        metadata["derived_from"] |= {"steps": steps} if steps else {}
        metadata["catalog_hash"] = world.catalog.hash
        for part in _LOADERS:
            metadata[f"{part}_sha256"] = artefacts[part].sha256 if artefacts else None
        with DatasetWriter(
            dataset_id,
            _box(file.observations),
            _box(file.actions),
            spec,
            {f"{part}.safetensors": artefact.file for part, artefact in artefacts.items()},
            overwrite=overwrite,
        ) as writer:
            with track(f"importing {path.name}", len(seeds), shown=progress) as advance:
                for sessions in _sessions_of(file, seeds, length):
                    writer.append(sessions)
                    advance(len(sessions))
            return writer.finish(metadata)


def _box(vectors: np.ndarray) -> gymnasium.spaces.Box:
    """The space of beliefs as well as of latents."""
    return gymnasium.spaces.Box(-1.0, 1.0, vectors.shape[1:], dtype=np.float32)


def _spec_of(
    file: D4rlFile,
    path: Path,
    env_id: str | None,
    env_kwargs: Mapping[str, Any] | None,
    episode_length: int | None,
) -> EnvSpec:
    """The environment's spec, from the file if it names one. What is made is what is registered here."""
    own = {} if episode_length is None else {"episode_length": episode_length}
    recorded = file.metadata.get("env_spec")
    if recorded is None:
        if env_id is None:
            raise ValueError(
                f"{path} names no environment: give env, the id of the one that it was recorded in"
            )
        return environment_spec(env_id, {**(env_kwargs or {}), **own})
    if env_kwargs:
        raise ValueError(
            f"env_kwargs {sorted(env_kwargs)}: {path} names its environment, with its own keywords"
        )
    spec = rebuilt_spec(recorded, str(path))
    if env_id is not None and slate_spec(env_id).id != slate_spec(spec).id:
        raise ValueError(f"env is {env_id!r}, but {path} was recorded in {spec.id!r}")
    spec.kwargs.update(own)
    return spec


def _artefacts_of(
    file: D4rlFile, path: Path, spec: EnvSpec, given: dict[str, Any], scratch: Path
) -> dict[str, Artefact]:
    """Ranker and belief by name: those given, else those in the file, else those of a latent environment."""
    asked_for = file.metadata.get("env_spec") is None  # and not what the file says
    if asked_for and is_latent(spec) and any(one is not None for one in given.values()):
        raise ValueError(
            f"{spec.id} holds a ranker and a belief: leave ranker and belief out, or give env as "
            f"{slate_spec(spec).id!r}"
        )
    found = {}
    for part, load in _LOADERS.items():
        source, recorded = given[part], file.metadata.get(f"{part}_sha256")
        if part in file.artefacts:
            recorded = recorded or hashlib.sha256(file.artefacts[part]).hexdigest()
            if source is None:
                source = scratch / f"from_file_{part}.safetensors"
                source.write_bytes(file.artefacts[part])
        if source is None and is_latent(spec):
            source = spec.kwargs[part]
        if source is None:
            continue
        found[part] = as_artefact(source, load, scratch / f"{part}.safetensors")
        if recorded not in (None, found[part].sha256):
            raise ValueError(
                f"{part} has sha256 {found[part].sha256}, but {path} was recorded with one of sha256 {recorded}: the "
                f"same numbers mean something else to it; gems-gym dataset relabel takes a dataset to another ranker"
            )
    if len(found) == 1:
        known, lacking = ("ranker", "belief") if "ranker" in found else ("belief", "ranker")
        raise ValueError(f"{path}: {known} is known without {lacking}: give both or neither")
    return found


def _seeds_of(file: D4rlFile) -> list[int]:
    count = int(file.ends.sum())
    seeds = file.metadata.get("session_seeds", [NO_SEED] * count)
    known = isinstance(seeds, list) and all(isinstance(one, int) and NO_SEED <= one < 2**63 for one in seeds)
    if not known or len(seeds) != count:
        raise ValueError(
            f"session_seeds in the file's metadata must be {count} integers, one for each session"
        )
    return list(seeds)


def _sessions_of(file: D4rlFile, seeds: list[int], length: int) -> Iterator[Sessions]:
    ends = np.flatnonzero(file.ends) + 1
    rows = [slice(start, end) for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]
    for first in range(0, len(seeds), CHUNK_SESSIONS):
        chunk = slice(first, first + CHUNK_SESSIONS)
        episodes = [_episode(file, *one) for one in zip(rows[chunk], seeds[chunk], strict=True)]
        yield Sessions.of_episodes(episodes, length)


def _episode(file: D4rlFile, rows: slice, seed: int) -> dict[str, Any]:
    """A session, in the form that :meth:`Sessions.episodes` yields."""
    return {
        "seed": seed,
        "observations": np.concatenate([file.observations[rows], file.next_observations[rows][-1:]]),
        "actions": file.actions[rows],
        "rewards": file.rewards[rows],
        "terminations": file.terminals[rows],
        "truncations": file.timeouts[rows],
        "infos": {},
    }


def _metadata_of(file: D4rlFile, path: Path, spec: EnvSpec, progress: bool) -> dict[str, Any]:
    """What the file says about its sessions; reference scores are measured if it has none."""
    kept = {name: value for name, value in file.metadata.items() if name not in _NOT_TAKEN}
    authors = file.metadata.get("author")
    if isinstance(authors, list) and all(isinstance(one, str) for one in authors):
        kept["author"] = authors
    policy = str(kept.get("policy", "unknown"))
    known = f"the policy {policy}" if "policy" in kept else "an unknown policy"
    scores = [file.metadata.get(name) for name in ("ref_min_score", "ref_max_score")]
    if not all(isinstance(score, int | float) for score in scores):
        scores = list(measure_reference_scores(spec, progress=progress))
    source = {
        name: file.metadata[name]
        for name in ("dataset_id", "content_hash", "derived_from")
        if name in file.metadata
    }
    return kept | {
        "algorithm_name": policy,
        "policy": policy,
        "description": f"Sessions of {known}, imported from {path.name} by gems-gym.",
        "ref_min_score": scores[0],
        "ref_max_score": scores[1],
        "derived_from": {"by": "import", "file": path.name, "sources": [source] if source else []},
    }


def _fill(file: D4rlFile, rows: slice, sessions: Sessions) -> None:
    """Writes sessions into the rows of the arrays that are theirs."""
    seen, filled = np.asarray(sessions.observations), sessions.filled  # (num_sessions, num_steps + 1, …)
    file.observations[rows] = seen[:, :-1][filled]
    file.next_observations[rows] = seen[:, 1:][filled]
    file.actions[rows] = sessions.actions[filled]
    file.rewards[rows] = sessions.rewards[filled]
    last = np.cumsum(sessions.lengths) - 1
    file.terminals[rows][last] = sessions.left
    file.timeouts[rows][last] = ~sessions.left
