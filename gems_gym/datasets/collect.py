"""Plays sessions with a policy and records them as a Minari dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts.files import versions
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.checks import Count, Threads, checked_arguments
from gems_gym.common.dataset_folders import ARTIFACTS
from gems_gym.common.files import scratch_folder
from gems_gym.common.fingerprints import cpu_type, made_by
from gems_gym.common.jobs import Executor, do_jobs
from gems_gym.common.progress import track
from gems_gym.datasets.players import MakePolicy, Player, name_of, open_player, session_nbytes
from gems_gym.datasets.sessions import Sessions, episode_digest, sessions_at_once
from gems_gym.datasets.unfinished import CHUNKS, NEW, Chunks
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
    overwrite: bool = False,
    progress: bool = True,
) -> minari.MinariDataset:
    """Plays complete sessions and writes them as a Minari dataset, which appears only when it is finished.

    Two forms. *Latent*, where a ranker and a belief encoder are given, or the environment is a
    ``GemsSlateLatent-*`` one, which holds both: observations are beliefs ``(N + 1, 20)``,
    actions the executed latents ``(N, 32)`` in [-1, 1], float32. *Slate*, where neither is: the environment's own
    observations and slates. In both, rewards are clicks, sessions end truncated, and ``infos`` hold ``slate``,
    ``clicks``, ``bored`` and ``user_state`` in N + 1 rows: ``infos["slate"][t + 1]`` is what ``actions[t]`` showed.

    Every user's randomness, and that of a policy that keeps to its protocol, comes from the user's seed, so the same
    arguments give the same ``content_hash`` whatever ``num_envs`` and ``workers``.

    Finished sessions are kept, 256 at a time (fewer if they are long), in a hidden directory beside the datasets until
    the dataset is finished; that takes about as much room again. After an interruption, even by SIGKILL, rerun the
    same call to resume from there; it ends with the same hash. It plays some of the kept sessions again first, to see
    that nothing has changed.

    Args:
        env_id: A registered environment, e.g. ``"GemsSlate-diffuse_topdown-v0"`` or
            ``"GemsSlateLatent-diffuse_topdown-v0"``. ``dataset.recover_environment()`` makes it again; with a ranker
            and a belief, the latent environment of that world with these.
        policy: A name in the entry-point group ``gems_gym.policies``, a policy, or a function that makes one for the
            vector environment it will act in. For a latent dataset it acts on beliefs, in latents.
        dataset_id: The new dataset's id, e.g. ``"gems-slate/diffuse_topdown/random-v0"``.
        episodes: Sessions to record, in [1, 2^20].
        seed: Which block of the split's users (:mod:`gems_gym.user_splits`).
        ranker: The ranker, its file or its shipped name; a copy is stored with the data. Not with a latent
            environment: its id, or ``env_kwargs``, names it.
        belief: Likewise the belief encoder.
        num_envs: Users stepped together, ≥ 1; at most 256 are, and no more than have their sessions in 64 MiB.
        workers: Processes that play, ≥ 1; with 1 it is this one. Others get rankers and beliefs as files, and import
            this process's main module: a script must keep its own work under ``if __name__ == "__main__"``.
        executor: What the workers are, a member of the entry-point group ``gems_gym.executors``; processes of this
            machine if ``None``. Others, of a cluster, must see Minari's folder of datasets under the same path, and
            are given no objects: the policy is a name or a :class:`~gems_gym.datasets.DescribedPolicy`.
        split: Whose users are played with.
        policy_name: What the metadata call the policy; its registered or class name if ``None``.
        env_kwargs: Overrides for the environment, flat JSON values, recorded in its spec.
        reference_scores: Mean returns that stand for 0 and 1 of Minari's normalised score; measured if ``None``, with
            the random policy and the boredom-aware oracle on 500 test users.
        metadata: More to record in the dataset's metadata, JSON values, under names that it does not have yet.
        overwrite: Replaces a dataset of this id once the new one is finished, and drops sessions that are kept from
            other arguments.
        progress: Draws a progress bar on stderr.

    Returns:
        The dataset; ``dataset.storage.metadata`` holds ``content_hash``, ``policy``, ``policy_sha256`` (of a policy
        that was read from a file), ``exploration_noise`` (a standard deviation), ``user_split``, ``user_seed``,
        ``ranker_sha256``, ``belief_sha256``, ``catalog_hash``, ``ref_min_score`` and ``ref_max_score``.

    Raises:
        ValueError: If a number is out of range, the id is malformed or in use, a name is unknown, only one of ranker
            and belief is given or they belong to another catalogue, the policy's actions don't fit, or the id's kept
            sessions are of other arguments or come out otherwise now.
        TypeError: If the policy or an argument of the environment has a wrong type, or the policy can't be handed to
            workers.
        OSError: If the disk is full; rerun the same call to resume once there is room.
        RuntimeError: If a worker process died.
        ImportError: If Minari is not installed; it names the extra.
    """
    check_new_dataset_id(dataset_id, overwrite=overwrite)
    if executor is None and workers > 1:
        executor = do_jobs
    if executor is not None:
        check_can_be_handed_over(policy, executor)
    seeds = user_seeds(split, seed, episodes)
    spec = environment_spec(env_id, env_kwargs)
    parts = _parts(spec, ranker, belief)
    with ExitStack() as opened:
        artefacts = opened.enter_context(_artefacts(*parts))
        chunk = sessions_at_once(session_nbytes(spec, artefacts), DatasetWriter.chunk_episodes)
        users = _users_at_once(num_envs, min(episodes, chunk))
        player = opened.enter_context(open_player(spec, policy, artefacts, users))
        spaces = player.env.single_observation_space, player.env.single_action_space
        files = {name: artefact.file for name, artefact in artefacts.items()}
        writer = opened.enter_context(DatasetWriter(dataset_id, *spaces, spec, files, overwrite=overwrite))
        described = _describe(policy_name or name_of(policy), player, split, seed, artefacts, metadata or {})
        chunks = Chunks(writer.directory / CHUNKS, seeds, chunk)
        request = {"env_id": spec.id, "env_kwargs": spec.kwargs, **described}
        _prepare(chunks, request, player, overwrite)
        title = f"collecting {dataset_id}"
        with _telling_what_is_kept(chunks):
            if executor is not None and (missing := chunks.missing()):
                # those of the new dataset lie where all workers see them
                copies = {name: writer.directory / NEW / "data" / ARTIFACTS / name for name in artefacts}
                playing = Playing(
                    env_id=env_id, env_kwargs=env_kwargs or {}, policy=policy, files=copies, num_envs=users,
                    users=(split, seed, episodes), directory=chunks.directory, chunk=chunk,
                )  # fmt: skip
                play_by_jobs(playing, missing, workers, executor, title, progress)
            with track(title, episodes, shown=progress) as advance:
                if kept := chunks.num_kept_sessions():
                    advance(0, f"{kept} were kept")
                for sessions in _all_sessions(chunks, player):
                    writer.append(sessions)
                    advance(len(sessions))
            low, high = reference_scores or measure_reference_scores(spec, progress=progress)
            scores = {"ref_min_score": float(low), "ref_max_score": float(high)}
            return writer.finish({**_also(described), **described, **scores})


def _parts(
    spec: EnvSpec, ranker: Ranker | AnyPath | None, belief: BeliefEncoder | AnyPath | None
) -> tuple[Ranker | AnyPath | None, BeliefEncoder | AnyPath | None]:
    """Ranker and belief, those of a latent environment if it is one; both or neither."""
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
    """Ranker and belief, loaded and as files, by the name they have in a dataset; nothing if there are none."""
    with scratch_folder() as scratch:
        artefacts = {}
        if ranker is not None and belief is not None:
            artefacts[RANKER_FILE] = as_artefact(ranker, load_ranker, scratch / RANKER_FILE)
            artefacts[BELIEF_FILE] = as_artefact(belief, load_belief, scratch / BELIEF_FILE)
        yield artefacts


def _users_at_once(num_envs: int, chunk: int) -> int:
    """As many users as fill a chunk in batches of equal size, at most ``num_envs``: 100 of 256 make 3 of 86."""
    batches = -(-chunk // num_envs)
    return -(-chunk // batches)


def _all_sessions(chunks: Chunks, player: Player) -> Iterator[Sessions]:
    """The sessions of all chunks in their order, those that are kept and those that are played now."""
    missing = set(chunks.missing())
    for index in range(len(chunks)):
        if index in missing:
            chunks.save(index, player.play(chunks.users(index)))
        yield chunks.load(index)


def _prepare(chunks: Chunks, request: Mapping[str, Any], player: Player, overwrite: bool) -> None:
    """Makes sure that what is kept, if anything, is what would be played now."""
    chunks.prepare(request, overwrite=overwrite)
    if not (kept := chunks.kept()) or _comes_out_again(chunks.load(kept[-1]), player):
        return
    if not overwrite:
        raise ValueError(
            f"{chunks.num_kept_sessions()} sessions are kept from an unfinished collection of this dataset's id, but "
            "the same users' sessions come out otherwise now: the policy or the code has changed, or the policy's "
            "randomness does not come from the users' seeds; give --overwrite (overwrite=True) to begin anew"
        )
    chunks.discard()
    chunks.prepare(request, overwrite=True)


def _comes_out_again(before: Sessions, player: Player) -> bool:
    """Whether the first users' sessions are the same when they are played again: arguments alone identify no policy."""
    now = player.play(before.seeds[: player.env.num_envs])
    pairs = zip(now.episodes(), before.episodes(), strict=False)
    return all(episode_digest(one) == episode_digest(other) for one, other in pairs)


@contextmanager
def _telling_what_is_kept(chunks: Chunks) -> Iterator[None]:
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


def _describe(
    policy: str,
    player: Player,
    split: str,
    seed: int,
    artefacts: Mapping[str, Artefact],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What the sessions depend on beside the environment's spec; metadata, and what a later call must agree with."""
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
    }
    if taken := sorted(own.keys() & more.keys()):
        raise ValueError(
            f"metadata has {', '.join(taken)}, which every dataset records itself; leave them out"
        )
    return {**more, **own}


def _also(described: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that Minari shows; and which code played, on which type of processor, which may change between."""
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
