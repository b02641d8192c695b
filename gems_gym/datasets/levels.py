"""Datasets of five qualities: sessions of shipped policies of four levels, and a mixture of those in latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.artifacts import shipped
from gems_gym.common.checks import Count, NonNegative, checked, checked_arguments
from gems_gym.datasets.collect import collect
from gems_gym.datasets.described_policies import DescribedPolicy, trained_policy
from gems_gym.datasets.world import environment_spec
from gems_gym.errors import unknown_name
from gems_gym.policies import Policy
from gems_gym.policies.actor import Actor, NoisyActor
from gems_gym.policies.base import Observed, Shown, tell_rewards
from gems_gym.policies.random_latents import RandomLatents
from gems_gym.registration import (
    LATENT_PRESETS,
    environment_id,
    is_latent,
    latent_environment_id,
    slate_spec,
)
from gems_gym.trained_agents import TrainedAgent, check_acts_in, open_trained_agent
from gems_gym.user_splits import USERS_PER_SEED, Users, UserSeed

if TYPE_CHECKING:
    import minari

LEVELS = ("random", "medium", "expert")
"""The levels of policies that act in latents, in the order in which the sessions of a mixture take turns."""

MIXED = "mixed"
"""What a dataset of all of them is called."""

PLANNER = "planner"
"""The strongest level: its policy shows slates itself."""

NOISE = 0.2
"""Exploration noise on the latents of medium and expert policies, as a standard deviation."""


@dataclass
class _Share:
    """The users that one of several policies plays with, and its state."""

    policy: Policy
    rows: NDArray[np.intp]
    state: Any


class TakingTurns:
    """Several policies, each for complete sessions: user after user of a block, they take turns.

    Who plays with a user depends on the user's seed alone, on its place in its block
    (:mod:`gems_gym.user_splits`), so the shares are exact whatever the number of users stepped together.

    Args:
        policies: Their actions are of one shape and dtype.
        weights: How many sessions in a row each policy plays in its turn, integers ≥ 0.
    """

    observes: Observed = "beliefs"
    actions: Shown = "latents"

    def __init__(self, policies: Sequence[Policy], weights: Sequence[int]) -> None:
        self._policies = list(policies)
        self._turns = np.repeat(np.arange(len(policies), dtype=np.int8), weights)

    def session_infos(self, seeds: Sequence[int]) -> dict[str, NDArray[np.int8]]:
        """``level``, int8 ``(num_users,)``: which policy plays with each user."""
        return {"level": self._turns[np.asarray(seeds) % USERS_PER_SEED % len(self._turns)]}

    def open(self, seeds: Sequence[int]) -> list[_Share]:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        chosen = self.session_infos(seeds)["level"]
        rows_of = [np.flatnonzero(chosen == index) for index in range(len(self._policies))]
        return [
            _Share(policy, rows, policy.open([seeds[row] for row in rows.tolist()]))
            for policy, rows in zip(self._policies, rows_of, strict=True)
            if len(rows)
        ]

    def act(
        self, state: list[_Share], observations: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], list[_Share]]:
        """Every user's action, by the policy that plays with the user."""
        actions: NDArray[np.float32] | None = None
        for share in state:
            part, share.state = share.policy.act(share.state, observations[share.rows])
            if actions is None:
                actions = np.empty((len(observations), *part.shape[1:]), part.dtype)
            actions[share.rows] = part
        assert actions is not None  # sessions are of at least one user
        return actions, state

    def rewarded(self, state: list[_Share], rewards: NDArray[np.float32]) -> list[_Share]:
        """Tells each policy what its actions earned, if it is one that remembers that."""
        for share in state:
            share.state = tell_rewards(share.policy, share.state, rewards[share.rows])
        return state


@checked_arguments
def collect_level(
    env_id: str,
    level: str,
    *,
    episodes: Users,
    seed: UserSeed,
    dataset_id: str | None = None,
    noise: NonNegative | None = None,
    weights: tuple[Count, Count, Count] = (1, 1, 1),
    env_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> minari.MinariDataset:
    """Collects a dataset with the shipped policies of a world, or with uniformly random latents.

    The level "planner" sees and shows slates, and makes a slate dataset; all others act through the world's shipped
    ranker on the beliefs of its shipped encoder. Metadata: ``level``; and ``levels``, which of each level that played
    says ``share`` (of the sessions), ``policy``, ``policy_sha256`` and ``exploration_noise``. In a mixed dataset
    ``infos["level"]`` is the session's, as an index into these.

    Args:
        env_id: A registered environment of a preset, e.g. ``"GemsSlate-diffuse_mix-v0"``.
        level: "random", "medium", "expert", "mixed" or "planner".
        episodes: See :func:`~gems_gym.datasets.collect`.
        seed: Likewise.
        dataset_id: ``gems-slate/{preset}/{level}-v0`` if ``None``, ``-v1`` in an environment of that version.
        noise: Standard deviation of exploration noise on the latents of medium and expert policies, in [-1, 1];
            0.2 if ``None``.
        weights: Weights of "mixed": how many sessions of each sum random, medium and expert play, integers ≥ 1.
        env_kwargs: See :func:`~gems_gym.datasets.collect`.
        **options: Likewise; all but ``policy_name``.

    Raises:
        ValueError: An unknown level, a world without shipped policies or with others than the environment's ranker and
            belief, a latent environment for "planner", noise or weights out of their range or for a level that has
            none; and as ``collect``.
    """
    spec = environment_spec(env_id, env_kwargs)
    _check(level, noise, weights)
    metadata = checked("metadata", options.pop("metadata", None), Mapping[str, Any] | None)
    if own := {"level", "levels"} & (metadata or {}).keys():
        raise ValueError(f"metadata names {sorted(own)}, which datasets of levels record themselves")
    options |= {
        "dataset_id": dataset_id or level_dataset_id(spec, level), "episodes": episodes, "seed": seed,
        "env_kwargs": env_kwargs,
    }  # fmt: skip
    if level == PLANNER:
        return _collect_planner(spec, env_id, metadata, options)
    latent, preset = _latent_spec(spec, level), spec.kwargs["preset"]
    noise = NOISE if noise is None else noise
    played = LEVELS if level == MIXED else (level,)
    agents = {name: _agent(name, preset, latent) for name in played if name != "random"}
    share = {name: weight / sum(weights) for name, weight in zip(LEVELS, weights, strict=True)}
    levels = {
        name: {
            "share": share[name] if level == MIXED else 1.0,
            "policy": "random latents" if name == "random" else f"{name}-{preset}",
            "policy_sha256": getattr(agents[name].policy, "sha256", None) if name in agents else None,
            "exploration_noise": noise if name in agents else 0.0,
        }
        for name in played
    }
    files = {name: shipped.path(f"{name}-{preset}", "policy") for name in agents}
    arguments = {"levels": list(played), "weights": list(weights), "noise": noise, **files}
    return collect(
        env_id,
        DescribedPolicy(f"{__name__}:make_level_policy", arguments),
        policy_name=" + ".join(
            f"{one['policy']}{f', noise {noise:g}' if name != 'random' else ''}"
            for name, one in levels.items()
        ),
        metadata={**(metadata or {}), "level": level, "levels": levels},
        **({} if is_latent(spec) else {part: latent.kwargs[part] for part in ("ranker", "belief")}),
        **options,
    )


def _collect_planner(
    spec: EnvSpec, env_id: str, metadata: Mapping[str, Any] | None, options: dict[str, Any]
) -> minari.MinariDataset:
    preset = spec.kwargs.get("preset")
    name = f"{PLANNER}-{preset}"
    if is_latent(spec):
        raise ValueError(
            f"the level {PLANNER!r} shows slates, and {spec.id} takes latents; give {slate_spec(spec).id}"
        )
    _check_shipped(PLANNER, preset, f"{environment_id(str(preset))} --agent planner")
    agent = open_trained_agent(name)
    check_acts_in(agent, spec)
    described = {
        "share": 1.0,
        "policy": name,
        "policy_sha256": getattr(agent.policy, "sha256", None),
        "exploration_noise": 0.0,
    }
    return collect(
        env_id,
        trained_policy(name, None),
        policy_name=name,
        metadata={**(metadata or {}), "level": PLANNER, "levels": {PLANNER: described}},
        **options,
    )


def level_dataset_id(spec: EnvSpec, level: str) -> str:
    """The id of a world's dataset of a level, if no other is asked for.

    Examples:
        >>> level_dataset_id(gymnasium.spec("GemsSlate-diffuse_mix-v1"), "expert")
        'gems-slate/diffuse_mix/expert-v1'
    """
    return f"gems-slate/{spec.kwargs.get('preset')}/{level}-v{spec.kwargs.get('dynamics_version', 0)}"


def _check(level: str, noise: float | None, weights: Sequence[int]) -> None:
    if level not in (*LEVELS, MIXED, PLANNER):
        raise unknown_name("level", level, [*LEVELS, MIXED, PLANNER])
    if noise is not None and level in ("random", PLANNER):
        why = "is uniform already" if level == "random" else "shows slates"
        raise ValueError(f"noise={noise} does not go with the level {level!r}, which {why}")
    if level != MIXED and list(weights) != [1, 1, 1]:
        raise ValueError(f"weights={list(weights)} goes with the level {MIXED!r} only, not with {level!r}")


def _latent_spec(spec: EnvSpec, level: str) -> EnvSpec:
    """The environment of beliefs and latents that the levels of a world belong to."""
    preset = spec.kwargs.get("preset")
    if preset not in LATENT_PRESETS:
        raise ValueError(
            f"{spec.id} is of the world {preset!r}, which no ranker and belief are shipped for, and so no levels; "
            f"worlds that have them: {', '.join(LATENT_PRESETS)}"
        )
    for name in LEVELS[1:]:
        if level in (name, MIXED):
            _check_shipped(name, preset, latent_environment_id(preset))
    return spec if is_latent(spec) else gymnasium.spec(latent_environment_id(preset))


def _check_shipped(level: str, preset: str | None, made_in: str) -> None:
    worlds = [world for world in LATENT_PRESETS if f"{level}-{world}" in shipped.names("policy")]
    if preset not in worlds:
        raise ValueError(
            f"no {level} policy is shipped for the world {preset!r}; worlds that have one: "
            f"{', '.join(worlds) or 'none'}. Make it with: gems-gym dev levels --env {made_in} "
            f"--out {shipped.DIRECTORY}"
        )


def make_level_policy(
    env: VectorEnv[Any, Any, Any], levels: Sequence[str], weights: Sequence[int], noise: float, **files: str
) -> Policy:
    """The policy of a level, or of several that take turns.

    Args:
        env: What it acts in, in latents.
        levels: Names of levels.
        weights: See :class:`TakingTurns`.
        noise: See :func:`collect_level`.
        **files: The file of each level's policy but that of "random".
    """
    (action_size,) = env.single_action_space.shape or ()
    policies: list[Policy] = [
        NoisyActor(Actor.load(Path(files[name])), noise) if name in files else RandomLatents(action_size)
        for name in levels
    ]
    return TakingTurns(policies, weights) if len(policies) > 1 else policies[0]


def _agent(level: str, preset: str, latent: EnvSpec) -> TrainedAgent:
    agent = open_trained_agent(f"{level}-{preset}")
    check_acts_in(agent, latent)
    return agent
