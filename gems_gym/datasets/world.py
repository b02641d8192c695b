"""The environment that sessions are played in: its spec, its wrappers, and the scores it is measured against."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from gems_gym.artifacts import shipped
from gems_gym.common.checks import checked_arguments
from gems_gym.common.progress import track
from gems_gym.envs import SlateEnv
from gems_gym.envs.recorded_spec import check_spec
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import make_policy
from gems_gym.registration import slate_spec
from gems_gym.rollouts import play_sessions
from gems_gym.user_splits import user_seeds

RANKER_FILE = "ranker.safetensors"
BELIEF_FILE = "belief.safetensors"

REFERENCE_USERS = 500
"""Test users that the reference scores are means over."""

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Artefact:
    """A ranker or belief encoder together with the file that it came from, of which the dataset keeps a copy."""

    value: Any
    file: Path
    sha256: str


def as_artefact(given: Any, load: Callable[[AnyPath], Any], scratch: Path) -> Artefact:
    """Loads an artefact that is given as a file or a shipped name; saves one that is given as an object.

    Args:
        given: The object, its file, or its shipped name.
        load: Reads a file.
        scratch: Where an object is saved.
    """
    if isinstance(given, str | os.PathLike):
        value = load(given)
        return Artefact(value, shipped.path(given), value.sha256)
    return Artefact(given, scratch, given.save(scratch))


@checked_arguments
def measure_reference_scores(spec: EnvSpec, *, progress: bool = False) -> tuple[float, float]:
    """Measures what normalised scores are relative to.

    Args:
        spec: The environment's spec.
        progress: Draws a progress bar on stderr.

    Returns:
        Mean returns of the random policy and of the boredom-aware oracle, in clicks per session, on 500 test users.
    """
    scores = []
    users = user_seeds("test", 0, REFERENCE_USERS)
    with open_environment(spec, REFERENCE_USERS, {}) as env:
        steps = 2 * (env.unwrapped.config.episode_length + 1)  # type: ignore[attr-defined]
        with track("reference scores", steps, shown=progress) as advance:
            for name in ("random", "boredom_aware_oracle"):
                returns = np.zeros(REFERENCE_USERS)
                for moment in play_sessions(env, make_policy(name, env), users):
                    if moment.rewards is not None:
                        returns += moment.rewards
                    advance(1)
                scores.append(float(returns.mean()))
    return scores[0], scores[1]


@checked_arguments
def environment_spec(env_id: str, overrides: Mapping[str, Any] | None = None) -> EnvSpec:
    """Makes the spec of an environment with overrides, in the form a dataset can keep.

    Args:
        env_id: A registered id, with or without ``"gems_gym:"`` before it.
        overrides: Keyword arguments of the environment.

    Raises:
        ValueError: If an override can't be kept as JSON, such as an array: give the path of a file; and as
            :func:`~gems_gym.envs.recorded_spec.check_spec`.
        TypeError: See :func:`~gems_gym.envs.recorded_spec.check_spec`.
        gymnasium.error.Error: If the id is unknown.
    """
    spec = copy.deepcopy(gymnasium.spec(env_id))
    spec.kwargs.update(overrides or {})
    try:
        spec.to_json()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"env_kwargs {sorted(overrides or {})} can't be recorded with the dataset ({error}): give flat JSON "
            "values, and item_embeddings as the path of an .npy file"
        ) from error
    check_spec(spec)
    return spec


def recorded_world(spec: EnvSpec, catalog_hash: str | None, owner: str) -> SlateEnv:
    """Makes the slate environment that sessions were played in.

    Args:
        spec: The environment's spec, as it was rebuilt; of a latent one the slate environment inside is taken.
        catalog_hash: The catalogue that the sessions' item ids belong to; not checked if None.
        owner: What holds the sessions, for the message.

    Raises:
        ValueError: If the environment has another catalogue, for instance since a file of item embeddings changed.
    """
    env = cast(SlateEnv, gymnasium.make(slate_spec(spec)).unwrapped)
    if catalog_hash not in (None, env.catalog.hash):
        raise ValueError(
            f"{owner} was recorded with the catalogue {catalog_hash}, but {spec.id} with its keywords has "
            f"{env.catalog.hash}: item ids mean other items there; use the environment, and the item_embeddings, of "
            "the recording"
        )
    return env


@contextmanager
def open_environment(
    spec: EnvSpec, num_envs: int, artefacts: Mapping[str, Artefact]
) -> Iterator[VectorEnv[Any, Any, Any]]:
    """Makes the vector environment that sessions are played in, and closes it at the end of the block.

    Args:
        spec: The environment's spec; of a latent one the slate environment inside is taken.
        num_envs: Users stepped together.
        artefacts: The ranker and the belief encoder by file name, or nothing: then slates are played.

    Yields:
        The environment, without autoreset.
    """
    if artefacts:
        world = LatentWorld(spec, artefacts[RANKER_FILE].value, artefacts[BELIEF_FILE].value)
        env = world.users(num_envs, autoreset_mode="disabled")
    else:
        env = gymnasium.make_vec(slate_spec(spec), num_envs=num_envs, autoreset_mode="disabled")
    with closing(env):
        yield env
