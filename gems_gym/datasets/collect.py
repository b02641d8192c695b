"""Plays sessions with a policy and records them as a Minari dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from gymnasium.vector import VectorEnv

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.datasets.sessions import Sessions
from gems_gym.datasets.world import (
    BELIEF_FILE,
    RANKER_FILE,
    REFERENCE_USERS,
    AnyPath,
    Artefact,
    as_artefact,
    environment_spec,
    measure_reference_scores,
    open_environment,
)
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id
from gems_gym.policies import Policy, SlatePolicy, make_policy
from gems_gym.progress import track
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent
from gems_gym.rollouts import play_sessions, user_batches
from gems_gym.user_splits import UserSplit, user_seeds

if TYPE_CHECKING:
    import minari

MakePolicy = Callable[[VectorEnv[Any, Any, Any]], Policy]


def collect(
    env_id: str,
    policy: str | Policy | MakePolicy,
    *,
    dataset_id: str,
    episodes: int,
    seed: int,
    ranker: Ranker | AnyPath | None = None,
    belief: BeliefEncoder | AnyPath | None = None,
    num_envs: int = 256,
    split: UserSplit = "logging",
    policy_name: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    reference_scores: tuple[float, float] | None = None,
    progress: bool = True,
) -> minari.MinariDataset:
    """Plays whole sessions and writes them as a Minari dataset, which appears only when it is whole.

    Two forms. *Latent*, where a ranker and a belief encoder are given, or the environment is a
    ``GemsSlateLatent-*`` one, which holds both: observations are beliefs ``(N + 1, 20)``,
    actions the executed latents ``(N, 32)`` in [-1, 1], float32. *Slate*, where neither is: the environment's own
    observations and slates. In both, rewards are clicks, sessions end truncated, and ``infos`` hold ``slate``,
    ``clicks``, ``bored`` and ``user_state`` in N + 1 rows: ``infos["slate"][t + 1]`` is what ``actions[t]`` showed.

    Every user's randomness, and that of a policy that keeps to its protocol, comes from the user's seed, so the same
    arguments give the same ``content_hash`` whatever ``num_envs``.

    Args:
        env_id: A registered environment, e.g. ``"GemsSlate-diffuse_topdown-v0"`` or
            ``"GemsSlateLatent-diffuse_topdown-v0"``. It is what ``dataset.recover_environment()`` makes again.
        policy: A name in the entry-point group ``gems_gym.policies``, a policy, or a function that makes one for the
            vector environment it will act in. For a latent dataset it acts on beliefs, in latents.
        dataset_id: The new dataset's id, e.g. ``"gems-slate/diffuse_topdown/random-v0"``.
        episodes: Sessions to record, in [1, 2^20].
        seed: Which block of the split's users (:mod:`gems_gym.user_splits`).
        ranker: The ranker, its file or its shipped name; a copy is stored with the data. Not with a latent
            environment: its id, or ``env_kwargs``, names it.
        belief: Likewise the belief encoder.
        num_envs: Users stepped together, ≥ 1.
        split: Whose users are played with.
        policy_name: What the metadata call the policy; its registered or class name if ``None``.
        env_kwargs: Overrides for the environment, flat JSON values, recorded in its spec.
        reference_scores: Mean returns that stand for 0 and 1 of Minari's normalised score; measured if ``None``, with
            the random policy and the boredom-aware oracle on 500 test users.
        progress: Draws a progress bar on stderr.

    Returns:
        The dataset; ``dataset.storage.metadata`` holds ``content_hash``, ``policy``, ``user_split``, ``user_seed``,
        ``ranker_sha256``, ``belief_sha256``, ``catalog_hash``, ``ref_min_score`` and ``ref_max_score``.

    Raises:
        ValueError: If a number is out of range, the id is malformed or in use, a name is unknown, only one of ranker
            and belief is given or they belong to another catalogue, or the policy's actions don't fit.
        TypeError: If the policy or an argument of the environment has a wrong type.
        ImportError: If Minari is not installed; it names the extra.
    """
    check_new_dataset_id(dataset_id)
    for name, value in (("episodes", episodes), ("num_envs", num_envs)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer ≥ 1, got {value!r}")
    if (ranker is None) != (belief is None):
        given, lacking = ("belief", "ranker") if ranker is None else ("ranker", "belief")
        raise ValueError(
            f"{given} is given without {lacking}: give both (latent dataset) or neither (slate dataset)"
        )
    seeds = user_seeds(split, seed, episodes)
    spec = environment_spec(env_id, env_kwargs)
    if is_latent(spec):
        if ranker is not None:
            raise ValueError(
                f"{env_id} holds a ranker and a belief: leave ranker and belief out, or give the names or files of "
                f"others by env_kwargs, which the dataset's spec records"
            )
        ranker, belief = spec.kwargs["ranker"], spec.kwargs["belief"]
    with tempfile.TemporaryDirectory() as scratch:
        artefacts = {}
        if ranker is not None and belief is not None:
            artefacts[RANKER_FILE] = as_artefact(ranker, load_ranker, Path(scratch) / RANKER_FILE)
            artefacts[BELIEF_FILE] = as_artefact(belief, load_belief, Path(scratch) / BELIEF_FILE)
        with open_environment(spec, min(num_envs, episodes), artefacts) as env:
            player = _as_policy(policy, env, latent=bool(artefacts))
            metadata = _metadata(env, policy_name or _name_of(policy), split, seed, artefacts)
            with DatasetWriter(
                dataset_id,
                env.single_observation_space,
                env.single_action_space,
                spec,
                {name: artefact.file for name, artefact in artefacts.items()},
            ) as writer:
                with track(f"collecting {dataset_id}", episodes, shown=progress) as advance:
                    for sessions in record_sessions(env, player, seeds):
                        writer.append(sessions)
                        advance(len(sessions))
                low, high = reference_scores or measure_reference_scores(spec, progress=progress)
                metadata |= {"ref_min_score": float(low), "ref_max_score": float(high)}
                return writer.finish(metadata)


def record_sessions(
    env: VectorEnv[Any, Any, Any], policy: Policy, seeds: Sequence[int]
) -> Iterator[Sessions]:
    """Plays sessions in batches of ``env.num_envs`` users.

    Args:
        env: A vector environment without autoreset, around a :class:`~gems_gym.envs.SlateVectorEnv`.
        policy: Acts in it.
        seeds: One per session, in the order in which they come out.

    Yields:
        Finished sessions; memory is bounded by one batch.
    """
    config = env.unwrapped.config  # type: ignore[attr-defined]
    length, item_type = config.episode_length, np.int16 if config.num_items <= 2**15 else np.int32
    for batch, count in user_batches(seeds, env.num_envs):
        rows: dict[str, list[Any]] = {"observations": [], "actions": [], "rewards": []}
        infos: dict[str, list[np.ndarray]] = {"slate": [], "clicks": [], "bored": [], "user_state": []}
        for moment in play_sessions(env, policy, batch):
            rows["observations"].append(_first(moment.observations, count))
            for name, values in infos.items():
                values.append(moment.infos[name][:count].copy())
            if moment.actions is not None and moment.rewards is not None:
                rows["actions"].append(np.array(moment.actions[:count]))
                rows["rewards"].append(moment.rewards[:count].copy())
        if len(rows["actions"]) != length:
            raise RuntimeError(f"sessions of {len(rows['actions'])} steps came out, {length} were expected")
        yield Sessions(
            seeds=batch[:count],
            observations=_stack(rows["observations"]),
            actions=np.stack(rows["actions"], axis=1).astype(env.single_action_space.dtype, copy=False),
            rewards=np.stack(rows["rewards"], axis=1),
            infos={
                "slate": np.stack(infos["slate"], axis=1).astype(item_type),
                "clicks": np.stack(infos["clicks"], axis=1).astype(np.int8),
                "bored": np.stack(infos["bored"], axis=1).astype(np.bool_),
                "user_state": np.stack(infos["user_state"], axis=1).astype(np.float32),
            },
        )


def _as_policy(policy: str | Policy | MakePolicy, env: VectorEnv[Any, Any, Any], latent: bool) -> Policy:
    if isinstance(policy, str):
        player = make_policy(policy, env)
    else:
        player = cast(MakePolicy, policy)(env) if is_maker(policy) else cast(Policy, policy)
    if not (callable(getattr(player, "act", None)) and callable(getattr(player, "reset", None))):
        raise TypeError(f"policy must be a name, or have reset(seeds) and act(observations); got {policy!r}")
    if latent and isinstance(player, SlatePolicy):
        raise ValueError(
            f"policy {_name_of(policy)!r} shows slates, but a latent dataset was asked for, whose policy acts "
            "in latents: give a trained agent's policy, or, for a slate dataset, a GemsSlate-* environment and neither "
            "ranker nor belief"
        )
    return player


def is_maker(policy: Any) -> bool:
    """Whether an argument is a function (or class) that makes a policy for an environment, and no policy itself."""
    return callable(policy) and (isinstance(policy, type) or not hasattr(policy, "act"))


def _name_of(policy: Any) -> str:
    return policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__)


def _metadata(
    env: VectorEnv[Any, Any, Any], policy: str, split: str, seed: int, artefacts: Mapping[str, Artefact]
) -> dict[str, Any]:
    ranker, belief = artefacts.get(RANKER_FILE), artefacts.get(BELIEF_FILE)
    form = "beliefs and latents" if artefacts else "slates"
    return {
        "algorithm_name": policy,
        "policy": policy,
        "description": f"Sessions of simulated users with the policy {policy}, as {form}, recorded by gems-gym.",
        "user_split": split,
        "user_seed": seed,
        "catalog_hash": env.unwrapped.catalog.hash,  # type: ignore[attr-defined]
        "ranker_sha256": ranker.sha256 if ranker else None,
        "belief_sha256": belief.sha256 if belief else None,
        "gems_gym_version": _own_version(),
        "num_episodes_average_score": REFERENCE_USERS,
    }


def _own_version() -> str:
    try:
        return version("gems-gym")
    except PackageNotFoundError:  # run from a source tree that was not installed
        return "unknown"


def _first(observations: Any, count: int) -> Any:
    """A copy of the first users' observations: the environment may write the next ones into the same array."""
    if isinstance(observations, Mapping):
        return {key: values[:count].copy() for key, values in observations.items()}
    return observations[:count].copy()


def _stack(moments: list[Any]) -> Any:
    """Observations by step -> ``(num_sessions, num_steps + 1, ...)``."""
    if isinstance(moments[0], dict):
        return {key: np.stack([moment[key] for moment in moments], axis=1) for key in moments[0]}
    return np.stack(moments, axis=1)
