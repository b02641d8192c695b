"""One run of a study: where it lives, and its result, which is there only when the run is finished."""

from __future__ import annotations

import abc
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import gymnasium
from gymnasium.vector import VectorEnv

from gems_gym import __version__
from gems_gym.beliefs import BeliefEncoder
from gems_gym.commands.output import plain
from gems_gym.common.files import read_json_object, write_json
from gems_gym.common.fingerprints import cpu_type, made_by
from gems_gym.config import SlateConfig
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import Ranker
from gems_gym.registration import environment_id
from gems_gym.simulator import Catalog, resolve_world
from gems_gym_agents.comparison.study import OfflineVariant, OnlineVariant, RecordedWorld, Study, World

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class OpenWorld:
    """A world of a study with its environments.

    Attributes:
        world: The world.
    """

    world: World

    @cached_property
    def _resolved(self) -> tuple[SlateConfig, Catalog]:
        return resolve_world(self.world.preset, self.world.item_embeddings, dict(self.world.overrides))

    @property
    def config(self) -> SlateConfig:
        """Its parameters."""
        return self._resolved[0]

    @property
    def catalog(self) -> Catalog:
        """Its items."""
        return self._resolved[1]

    @property
    def env_id(self) -> str:
        """The slate environment's id."""
        return environment_id(self.world.preset)

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """What its environment is made with, beside the id."""
        own = self.world.item_embeddings
        return {**self.world.overrides, **({} if own is None else {"item_embeddings": own})}

    @property
    def settings(self) -> dict[str, Any]:
        """What results in it depend on."""
        return {"env": self.env_id, "overrides": dict(self.world.overrides), "catalog": self.catalog.hash}

    def slates(self, num_envs: int) -> VectorEnv[Any, Any, Any]:
        """Users to show slates to, without autoreset."""
        return gymnasium.make_vec(
            self.env_id, num_envs=num_envs, autoreset_mode="disabled", **self.env_kwargs
        )

    def latents(
        self, num_envs: int, ranker: Ranker, belief: BeliefEncoder, **kwargs: Any
    ) -> VectorEnv[Any, Any, Any]:
        """Users seen as beliefs and acted on in latents."""
        return LatentWorld(gymnasium.spec(self.env_id), ranker, belief).users(
            num_envs, **self.env_kwargs, **kwargs
        )


WorldT = TypeVar("WorldT", World, RecordedWorld)
VariantT = TypeVar("VariantT", OnlineVariant, OfflineVariant)


@dataclass(frozen=True)
class Run(abc.ABC, Generic[WorldT, VariantT]):
    """One variant in one world with one seed.

    Attributes:
        study: What it belongs to.
        world: Where.
        variant: What.
        seed: Decides everything random.
        out: The study's folder.
    """

    study: Study
    world: WorldT
    variant: VariantT
    seed: int
    out: Path

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""

    @abc.abstractmethod
    def modules(self) -> set[str]:
        """The modules that make the result, for :func:`gems_gym.common.fingerprints.code_fingerprint`."""

    @abc.abstractmethod
    def play(self) -> str:
        """Train and test, and write the result; returns a line for people."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.world.name} {self.variant.name} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The run's own folder; beside it lies what the variants of a world and seed share."""
        return self.out / self.world.name / f"seed-{self.seed}" / self.variant.name

    def made_by(self) -> dict[str, str]:
        """Fingerprints of the code and of the processor that would make the result now."""
        return made_by(*self.modules())

    def result(self) -> dict[str, Any] | None:
        """The result if the run is finished, else None; see :func:`read_result`."""
        return read_result(self.folder / RESULT_FILE, self.settings)

    def discard_result(self) -> None:
        """Forget the result: the run is to be run again."""
        (self.folder / RESULT_FILE).unlink(missing_ok=True)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result: from now on the run is finished."""
        identity = {"world": self.world.name, "variant": self.variant.name, "seed": self.seed}
        write_result(self.folder / RESULT_FILE, self.settings(), {**identity, **result}, self.modules())


def write_result(
    file: Path, settings: dict[str, Any], result: dict[str, Any], modules: Iterable[str]
) -> None:
    """Write a result with what it depends on, its settings, its code and the processor, complete or not at all."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    made = {
        "gems_gym": __version__, "machine": machine, "processor": cpu_type()["processor"], **made_by(*modules),
    }  # fmt: skip
    write_json(file, plain({**result, **made, "settings": settings}))


def read_result(file: Path, settings: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Read a result.

    Args:
        file: Where :func:`write_result` put it.
        settings: Tells what it has to depend on; asked only if there is a result.

    Returns:
        The result; None if there is none, or with a note if its file is damaged.

    Raises:
        ValueError: A result of other settings; they are named.
    """
    result = read_json_object(file, ("settings", "gems_gym"))
    if result is None:
        return None
    wanted = plain(settings())
    if result["settings"] != wanted:
        differing = sorted(_differences(result["settings"], wanted))
        raise ValueError(
            f"{str(file)!r} was made with other settings: {'; '.join(differing)}. "
            "Choose another --out, or remove that folder to run it again"
        )
    return result


def _differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Where two JSON values differ: ``ranker.beta was 0.2, is 1.0 now``."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        inside = [
            _differences(found.get(key), wanted.get(key), f"{path}.{key}" if path else key)
            for key in found.keys() | wanted.keys()
        ]
        return [one for part in inside for one in part]
    return [] if found == wanted else [f"{path} was {found!r}, is {wanted!r} now"]
