"""What an environment shows of the slate environment inside it."""

from typing import Any

from gymnasium.envs.registration import EnvSpec

from gems_gym.config import SlateConfig
from gems_gym.simulator import Catalog, SlateSimulator


class AroundSlates:
    """Base of environments around a raw one: its world is theirs, and so is its spec, which its picture shows."""

    _core: Any  # SlateEnv or SlateVectorEnv

    @property
    def config(self) -> SlateConfig:
        """The world's parameters."""
        config: SlateConfig = self._core.config
        return config

    @property
    def catalog(self) -> Catalog:
        """The world's items."""
        catalog: Catalog = self._core.catalog
        return catalog

    @property
    def simulator(self) -> SlateSimulator:
        """The world itself, with its users."""
        simulator: SlateSimulator = self._core.simulator
        return simulator

    @property
    def spec(self) -> EnvSpec | None:
        """How it was made, if by ``gymnasium.make`` or ``gymnasium.make_vec``."""
        spec: EnvSpec | None = self._core.spec
        return spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._core.spec = spec
