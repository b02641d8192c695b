"""Plays sessions with a policy and records them as a Minari dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts.files import versions
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.checks import Count, Threads, checked, checked_arguments
from gems_gym.common.dataset_folders import ARTIFACTS
from gems_gym.common.files import scratch_folder
from gems_gym.common.fingerprints import cpu_type, made_by
from gems_gym.common.jobs import Executor, do_jobs
from gems_gym.common.progress import track
from gems_gym.datasets.card import PEOPLE, TEXTS
from gems_gym.datasets.hidden_folder import CHUNKS, NEW, Chunks
from gems_gym.datasets.recording import (
    MakePolicy,
    Player,
    dataset_fields,
    name_of,
    open_player,
    session_nbytes,
)
from gems_gym.datasets.sessions import Sessions, episode_digest, sessions_at_once
from gems_gym.datasets.workers import Playing, check_can_be_handed_over, play_by_jobs
from gems_gym.datasets.world import (
    BELIEF_FILE,
    RANKER_FILE,
    REFERENCE_USERS,
    AnyPath,
    Artefact,
    as_artefact,
    environment_spec,
    measure_reference_scores,
)
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.policies import Policy
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent
from gems_gym.user_splits import Users, UserSeed, UserSplit, user_seeds

if TYPE_CHECKING:
    import minari


@checked_arguments
def collect(
    env_id: str,
    policy: str | Policy | MakePolicy,
    *,
    dataset_id: str,
    episodes: Users,
    seed: UserSeed,
    ranker: Ranker | AnyPath | None = None,
    belief: BeliefEncoder | AnyPath | None = None,
    num_envs: Count = 256,
    workers: Threads = 1,
    executor: Executor | None = None,
    split: UserSplit = "logging",
    policy_name: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    reference_scores: tuple[float, float] | None = None,
    metadata: Mapping[str, Any] | None = None,
    fields: Sequence[str] = (),
    propensities: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> minari.MinariDataset:
    """Plays complete sessions and writes them as a Minari dataset, which appears only when it is finished.

    A dataset has one of two forms, for sessions of N steps:

    * *Latent*, if a ranker and a belief are given, or the environment is a ``GemsSlateLatent-*`` one, which has both.
      Observations are beliefs, float32 ``(N + 1, 20)``; actions are the executed latents, float32 ``(N, 32)`` in
      [-1, 1].
    * *Slate*, otherwise. Observations and actions are those of the slate environment.

    In both forms rewards are clicks, and sessions end truncated, in SARDINE terminated. ``infos`` hold ``slate``,
    ``clicks``, ``bored`` and ``user_state``, each in N + 1 rows: ``infos["slate"][t + 1]`` is the slate that
    ``actions[t]`` showed.

    All randomness comes from the users' seeds, also that of a policy which follows the protocol
    (:class:`gems_gym.policies.Policy`). So the same arguments give the same ``content_hash``, whatever ``num_envs`` and
    ``workers`` are.

    After an interruption, even by SIGKILL, rerun the same call to resume; the dataset ends with the same hash. For
    that, finished sessions are kept in a hidden folder beside the datasets, in chunks of 256 sessions (fewer if they
    are long). They take about as much disk space as the dataset, until it is finished. A resumed call first plays some
    of the kept sessions again, to check that the policy and the code still produce them.

    Args:
        env_id: A registered environment, e.g. ``"GemsSlate-diffuse_topdown-v0"`` or
            ``"GemsSlateLatent-diffuse_topdown-v0"``. It is what ``dataset.recover_environment()`` will make; if
            ``ranker`` and ``belief`` are given, that is the latent environment with these two.
        policy: A name in the entry-point group ``gems_gym.policies``, a policy, or a function that makes one for the
            vector environment it will act in. For a latent dataset it observes beliefs and chooses latents.
        dataset_id: The new dataset's id, e.g. ``"gems-slate/diffuse_topdown/random-v0"``.
        episodes: Sessions to record, in [1, 2^20].
        seed: Which block of the split's users (:mod:`gems_gym.user_splits`).
        ranker: The ranker, its file or its shipped name; a copy is stored with the data. Not with a latent
            environment: its id, or ``env_kwargs``, names it.
        belief: Likewise the belief encoder.
        num_envs: Users stepped together, ≥ 1. Never more than a chunk holds: 256 sessions, or 64 MiB of them.
        workers: Processes that play sessions, ≥ 1. With 1, this process plays them. With more, ranker and belief are
            handed to new processes as files, and each imports this process's main module: a script must keep its
            work under ``if __name__ == "__main__"``.
        executor: Starts the workers, a member of the entry-point group ``gems_gym.executors``; ``None`` for processes
            of this machine. On a cluster, every node must see Minari's folder of datasets under the same path, and
            ``policy`` must be a name or a :class:`~gems_gym.datasets.DescribedPolicy`, as no objects are sent there.
        split: Which split of the users the sessions are played with.
        policy_name: The policy's name in the metadata; its registered or class name if ``None``.
        env_kwargs: Overrides for the environment, flat JSON values, recorded in its spec.
        reference_scores: Mean returns at which Minari's normalised score is 0 and 1. If ``None``, those of the random
            policy and the boredom-aware oracle are measured on 500 test users.
        metadata: Further entries for the dataset's metadata, JSON values; names that it already uses are refused.
        fields: Further infos to record, names in the entry-point group ``gems_gym.dataset_fields``
            (:class:`~gems_gym.datasets.recording.DatasetField`).
        propensities: Records how likely the policy was to show each item, for off-policy evaluation:
            ``infos["propensity"]`` and, if known, ``infos["marginal_propensity"]``, float64 ``(N + 1, slate_size)``, as
            in :class:`~gems_gym.policies.propensities.SlatePropensities`. Only in a slate dataset.
        overwrite: Replaces a dataset of this id once the new one is finished, and removes sessions that an unfinished
            collection with other arguments kept.
        progress: Draws a progress bar on stderr.

    Returns:
        The dataset; ``dataset.storage.metadata`` holds ``content_hash``, ``policy``, ``policy_sha256`` (of a policy
        that was read from a file), ``exploration_noise`` (a standard deviation), ``user_split``, ``user_seed``,
        ``ranker_sha256``, ``belief_sha256``, ``catalog_hash``, ``ref_min_score`` and ``ref_max_score``.

    Raises:
        ValueError: If a number is out of range; the id is malformed or in use; a name is unknown; only one of ranker
            and belief is given, or they belong to another catalogue; the policy's actions don't fit; or the sessions
            kept from an unfinished collection of this id have other arguments, or differ when they are played again.
        TypeError: If the policy or an argument of the environment has a wrong type, or the policy can't be handed to
            workers.
        OSError: If the disk is full; rerun the same call to resume once there is room.
        RuntimeError: If a worker process died.
        ImportError: If Minari is not installed; it names the extra.
    """
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    if reference_scores is not None and not reference_scores[0] < reference_scores[1]:
        raise ValueError(f"reference_scores must be two numbers, the lower first, got {reference_scores}")
    if executor is None and workers > 1:
        executor = do_jobs
    if executor is not None:
        check_can_be_handed_over(policy, executor)
    seeds = user_seeds(split, seed, episodes)
    spec = environment_spec(env_id, env_kwargs)
    parts = _ranker_and_belief(spec, ranker, belief)
    more_infos = dataset_fields(fields)
    with ExitStack() as opened:
        artefacts = opened.enter_context(_artefacts(*parts))
        chunk = sessions_at_once(session_nbytes(spec, artefacts, more_infos), DatasetWriter.chunk_episodes)
        users = _users_at_once(num_envs, min(episodes, chunk))
        player = opened.enter_context(open_player(spec, policy, artefacts, users, more_infos, propensities))
        spaces = player.env.single_observation_space, player.env.single_action_space
        files = {name: artefact.file for name, artefact in artefacts.items()}
        writer = opened.enter_context(DatasetWriter(dataset_id, *spaces, spec, files, overwrite=overwrite))
        described = _describe(policy_name or name_of(policy), player, split, seed, artefacts, metadata or {})
        chunks = Chunks(writer.directory / CHUNKS, seeds, chunk)
        request = {**described, "env_id": spec.id, "env_kwargs": spec.kwargs}
        _check_kept_sessions(chunks, request, player, overwrite)
        title, kept = f"collecting {dataset_id}", chunks.num_kept_sessions()
        with _noting_kept_sessions(chunks):
            if executor is not None and (missing := chunks.missing()):
                # all workers can read the copies of ranker and belief in the new dataset's folder
                copies = {name: writer.directory / NEW / "data" / ARTIFACTS / name for name in artefacts}
                playing = Playing(
                    env_id=env_id, env_kwargs=env_kwargs or {}, policy=policy, files=copies, num_envs=users,
                    users=(split, seed, episodes), directory=chunks.directory, chunk=chunk, fields=fields,
                    propensities=propensities,
                )  # fmt: skip
                play_by_jobs(playing, missing, workers, executor, title, progress)
            with track(title, episodes, shown=progress) as advance:
                if kept:
                    advance(0, f"{kept} were kept")
                for sessions in _kept_or_played(chunks, player):
                    writer.append(sessions)
                    advance(len(sessions))
            low, high = reference_scores or measure_reference_scores(spec, progress=progress)
            scores = {"ref_min_score": float(low), "ref_max_score": float(high)}
            return writer.finish({**_further_metadata(described), **described, **scores})


def _ranker_and_belief(
    spec: EnvSpec, ranker: Ranker | AnyPath | None, belief: BeliefEncoder | AnyPath | None
) -> tuple[Ranker | AnyPath | None, BeliefEncoder | AnyPath | None]:
    """The ranker and the belief to use, given or a latent environment's own; both None for a slate dataset."""
    if (ranker is None) != (belief is None):
        given, lacking = ("belief", "ranker") if ranker is None else ("ranker", "belief")
        raise ValueError(
            f"{given} is given without {lacking}: give both (latent dataset) or neither (slate dataset)"
        )
    if not is_latent(spec):
        return ranker, belief
    if ranker is not None:
        raise ValueError(
            f"{spec.id} holds a ranker and a belief: leave ranker and belief out, or give the names or files of "
            f"others by env_kwargs, which the dataset's spec records"
        )
    return spec.kwargs["ranker"], spec.kwargs["belief"]


@contextmanager
def _artefacts(
    ranker: Ranker | AnyPath | None, belief: BeliefEncoder | AnyPath | None
) -> Iterator[dict[str, Artefact]]:
    """Ranker and belief, each loaded and as a file, by their file names in a dataset; empty for a slate dataset."""
    with scratch_folder() as scratch:
        artefacts = {}
        if ranker is not None and belief is not None:
            artefacts[RANKER_FILE] = as_artefact(ranker, load_ranker, scratch / RANKER_FILE)
            artefacts[BELIEF_FILE] = as_artefact(belief, load_belief, scratch / BELIEF_FILE)
        yield artefacts


def _users_at_once(num_envs: int, chunk: int) -> int:
    """Users stepped together, ≤ ``num_envs``, such that a chunk is played in batches of about equal size.

    A chunk of 256 sessions takes three batches at ``num_envs=100``; they are of 86, 86 and 84 users.
    """
    batches = -(-chunk // num_envs)
    return -(-chunk // batches)


def _kept_or_played(chunks: Chunks, player: Player) -> Iterator[Sessions]:
    """The sessions of all chunks in order; chunks that are missing are played and kept first."""
    missing = set(chunks.missing())
    for index in range(len(chunks)):
        if index in missing:
            chunks.save(index, player.play(chunks.users(index)))
        yield chunks.load(index)


def _check_kept_sessions(chunks: Chunks, request: Mapping[str, Any], player: Player, overwrite: bool) -> None:
    """Makes sure that kept sessions are of the same request, and that playing them again gives the same."""
    chunks.prepare(request, overwrite=overwrite)
    if not (kept := chunks.kept()) or _is_reproduced(chunks.load(kept[-1]), player):
        return
    if not overwrite:
        raise ValueError(
            f"{chunks.num_kept_sessions()} sessions are kept from an unfinished collection of this dataset's id, but "
            "the same users' sessions come out otherwise now: the policy or the code has changed, or the policy's "
            "randomness does not come from the users' seeds; give --overwrite (overwrite=True) to begin anew"
        )
    chunks.discard()
    chunks.prepare(request, overwrite=True)


def _is_reproduced(before: Sessions, player: Player) -> bool:
    """Whether the first sessions of a kept chunk come out the same when they are played again.

    The arguments can't tell: two policies may have the same name.
    """
    now = player.play(before.seeds[: player.env.num_envs])
    pairs = zip(now.episodes(), before.episodes(), strict=False)
    return all(episode_digest(one) == episode_digest(other) for one, other in pairs)


@contextmanager
def _noting_kept_sessions(chunks: Chunks) -> Iterator[None]:
    """Adds to an error how many sessions are kept; if none is, removes their folder."""
    try:
        yield
    except BaseException as error:  # Ctrl-C and a full disk above all
        if kept := chunks.num_kept_sessions():
            error.add_note(
                f"{kept} of {len(chunks.seeds)} sessions are kept; rerun the same command to resume"
            )
        else:
            chunks.discard()
        raise


_RECORDED_LATER = {
    "action_space", "command", "content_hash", "data_format", "dataset_id", "dataset_size", "env_spec",
    "jpeg_encoding", "minari_version", "observation_space", "ref_max_score", "ref_min_score", "total_episodes",
    "total_steps",
}  # fmt: skip
"""Names of the metadata of Minari, of the writer and of the reference scores."""


def _describe(
    policy: str,
    player: Player,
    split: str,
    seed: int,
    artefacts: Mapping[str, Artefact],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Metadata that, with the environment's spec, decides the sessions; a call that resumes must have the same."""
    ranker, belief = artefacts.get(RANKER_FILE), artefacts.get(BELIEF_FILE)
    own = {
        "policy": policy,
        "policy_sha256": getattr(player.policy, "sha256", None),
        "exploration_noise": float(getattr(player.policy, "exploration_noise", 0.0)),
        "user_split": split,
        "user_seed": seed,
        "catalog_hash": player.env.unwrapped.catalog.hash,  # type: ignore[attr-defined]
        "ranker_sha256": ranker.sha256 if ranker else None,
        "belief_sha256": belief.sha256 if belief else None,
        "gems_gym_version": versions()["gems_gym"],
        **({"fields": list(player.fields)} if player.fields else {}),
    }
    if taken := sorted((own.keys() | _RECORDED_LATER) & more.keys()):
        raise ValueError(
            f"metadata has {', '.join(taken)}, which every dataset records itself; leave them out"
        )
    for name in PEOPLE:
        checked(f"metadata[{name!r}]", more.get(name), str | tuple[str, ...] | None)
    for name in TEXTS:
        checked(f"metadata[{name!r}]", more.get(name), str | None)
    try:
        more = json.loads(json.dumps(dict(more), allow_nan=False))  # as an interrupted call left it
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must hold JSON values: {error}") from error
    return {**more, **own}


def _further_metadata(described: Mapping[str, Any]) -> dict[str, Any]:
    """Further metadata: what Minari shows, and code and processor, which may change before a call is resumed."""
    policy, cpu = described["policy"], cpu_type()
    form = "slates" if described["ranker_sha256"] is None else "beliefs and latents"
    return {
        "algorithm_name": policy,
        "description": f"Sessions of simulated users with the policy {policy}, as {form}, recorded by gems-gym.",
        "num_episodes_average_score": REFERENCE_USERS,
        **made_by("gems_gym.datasets.collect", "gems_gym.registration"),
        "processor": cpu["processor"],
        "cpu_features": cpu["features"],
    }
