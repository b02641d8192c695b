"""Beliefs and rankers of a world and seed: pretrained once, kept as stages, shared by all variants that name them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gems_gym.common.locks import locked
from gems_gym.pretraining.recipes import Recipe, follow, metrics_of, modules_of
from gems_gym_agents.comparison.runs import OpenWorld
from gems_gym_agents.comparison.study import PartRecipe
from gems_gym_agents.stages import Stages


class Parts:
    """The parts of one world and seed, in one folder.

    Args:
        world: The world.
        seed: Decides everything random.
        directory: Where their files and stages are.
    """

    def __init__(self, world: OpenWorld, seed: int, directory: Path) -> None:
        self.world, self.seed, self.directory = world, seed, directory

    def file(self, part: PartRecipe) -> Path:
        """Where a part is."""
        return self.directory / f"{part.name}.safetensors"

    def make(self, part: PartRecipe) -> dict[str, Any]:
        """Make a part, or reuse it if it is there, complete, and made of the same settings.

        Returns:
            ``metrics``, ``logged_interactions``, ``cpu_seconds``, those of the log included, and the file's ``sha256``.
        """
        stages, recipe, file = Stages(self.directory), self.recipe(part), self.file(part)
        config = self.world.config

        def make() -> dict[str, Any]:
            made = follow(recipe, world=(config, self.world.catalog))
            made.save(file)
            sessions = recipe.sessions + (recipe.search_sessions or 0)
            steps = sessions * (recipe.session_length or config.episode_length)
            return {"metrics": metrics_of(made), "logged_interactions": steps}

        with locked(file.with_name(f".{file.name}.lock"), f"the part {file}", wait=True):
            made = stages.run(part.name, self.settings(part), [file.name], make, modules=self.modules(part))
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        return {**made, "cpu_seconds": stages.cpu_seconds[part.name], "sha256": sha256}

    def recipe(self, part: PartRecipe) -> Recipe:
        """How a part is made in this world with this seed."""
        return part.recipe(self.world.world.preset, self.seed)

    def settings(self, part: PartRecipe) -> dict[str, Any]:
        """Everything that a part depends on."""
        return {"world": self.world.settings, **asdict(self.recipe(part))}

    def modules(self, part: PartRecipe) -> set[str]:
        """The modules that make a part, for :func:`gems_gym.common.fingerprints.code_fingerprint`."""
        return modules_of(self.recipe(part))
