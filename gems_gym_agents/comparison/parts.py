"""Beliefs and rankers of a world and seed: pretrained once, kept as stages, shared by all variants that name them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gems_gym import plugins
from gems_gym.common.locks import locked
from gems_gym.embeddings import Sources, make_embeddings
from gems_gym.pretraining.belief_settings import BeliefSettings
from gems_gym.pretraining.gems_vae import GemsSettings, pretrain_gems
from gems_gym.pretraining.gru_belief import pretrain_belief
from gems_gym.pretraining.recipes import RANKER_LOGS, belief_recipe, gems_recipe
from gems_gym.pretraining.session_log import SessionLog, collect_session_log
from gems_gym.rankers import make_ranker
from gems_gym_agents.comparison.runs import OpenWorld
from gems_gym_agents.comparison.study import BeliefRecipe, GemsRecipe, ItemVectorRecipe, RankerRecipe
from gems_gym_agents.stages import Stages

PartRecipe = BeliefRecipe | RankerRecipe


class Parts:
    """The parts of one world and seed, in one folder.

    Args:
        world: The world.
        seed: Decides everything random.
        directory: Where their files and stages are.
    """

    def __init__(self, world: OpenWorld, seed: int, directory: Path) -> None:
        self.world, self.seed, self.directory = world, seed, directory

    def file(self, recipe: PartRecipe) -> Path:
        """Where a part is."""
        return self.directory / f"{recipe.name}.safetensors"

    def make(self, recipe: PartRecipe) -> dict[str, Any]:
        """Make a part, or reuse it if it is there, whole, and made of the same settings.

        Returns:
            ``metrics``, ``logged_interactions``, ``cpu_seconds``, those of the log included, and the file's ``sha256``.
        """
        stages, settings, file = Stages(self.directory), self.settings(recipe), self.file(recipe)

        def make() -> dict[str, Any]:
            log = self._log(recipe, settings)
            made, metrics = self._trained(recipe, settings, log)
            made.save(file)
            sessions = 0 if log is None else log.num_sessions + (settings.get("search_sessions") or 0)
            steps = sessions * (settings.get("session_length") or self.world.config.episode_length)
            return {"metrics": metrics, "logged_interactions": steps}

        with locked(file.with_name(f".{file.name}.lock"), f"the part {file}", wait=True):
            made = stages.run(recipe.name, settings, [file.name], make, modules=self.modules(recipe))
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        return {**made, "cpu_seconds": stages.cpu_seconds[recipe.name], "sha256": sha256}

    def modules(self, recipe: PartRecipe) -> set[str]:
        """The modules that make a part, for :func:`gems_gym.common.fingerprints.code_fingerprint`."""
        logging = self.settings(recipe).get("shares", {})
        found = {"gems_gym.pretraining.session_log"} if logging else set()
        found |= {plugins.module_of(plugins.POLICIES, name) for name in logging}
        if isinstance(recipe, ItemVectorRecipe):
            return found | {
                plugins.module_of(plugins.EMBEDDINGS, recipe.embeddings),
                plugins.module_of(plugins.RANKERS, recipe.ranker),
            }
        trainer = "gems_vae" if isinstance(recipe, GemsRecipe) else "gru_belief"
        return found | {f"gems_gym.pretraining.{trainer}"}

    def settings(self, recipe: PartRecipe) -> dict[str, Any]:
        """Everything that a part depends on, the defaults of its recipe filled in."""
        base = {"world": self.world.settings, "seed": self.seed}
        if isinstance(recipe, ItemVectorRecipe):
            kind = plugins.load(plugins.EMBEDDINGS, recipe.embeddings)
            if kind.needs == "log":
                log = kind.log_recipe
                base |= {
                    "shares": {log.policy: 1.0},
                    "sessions": log.sessions if recipe.sessions is None else recipe.sessions,
                    "session_length": log.session_length or self.world.config.episode_length,
                    "search_sessions": None,
                    "log_seed": RANKER_LOGS + self.seed,
                }
            return {
                **base,
                "embeddings": recipe.embeddings,
                "ranker": recipe.ranker,
                "ranker_options": dict(recipe.options),
            }
        preset = self.world.world.preset
        whole_recipe = belief_recipe if isinstance(recipe, BeliefRecipe) else gems_recipe
        whole = whole_recipe(preset, recipe.preset, seed=self.seed)
        return {
            **base,
            "shares": dict(whole.shares),
            "sessions": recipe.sessions or whole.sessions,
            "search_sessions": recipe.search_sessions or whole.search_sessions,
            "log_seed": whole.log_seed,
            "settings": {**whole.settings, **recipe.settings},
        }

    def _log(self, recipe: PartRecipe, settings: dict[str, Any]) -> SessionLog | None:
        if "shares" not in settings:
            return None
        return collect_session_log(
            self.world.config,
            settings["shares"],
            settings["sessions"],
            settings["log_seed"],
            search_sessions=settings["search_sessions"],
            session_length=settings.get("session_length"),
            item_embeddings=self.world.catalog.item_embeddings,
        )

    def _trained(
        self, recipe: PartRecipe, settings: dict[str, Any], log: SessionLog | None
    ) -> tuple[Any, dict[str, Any]]:
        """The part and its metrics."""
        config, catalog = self.world.config, self.world.catalog
        if isinstance(recipe, ItemVectorRecipe):
            sources = Sources(config.num_items, catalog.hash, log, catalog.item_embeddings)
            table = make_embeddings(recipe.embeddings, sources, seed=self.seed)
            return make_ranker(recipe.ranker, table, config.slate_size, **recipe.options), {}
        assert log is not None
        if isinstance(recipe, GemsRecipe):
            options = GemsSettings(**settings["settings"])
            return pretrain_gems(log, config.num_items, options, seed=self.seed)
        return pretrain_belief(log, config.num_items, BeliefSettings(**settings["settings"]), seed=self.seed)
