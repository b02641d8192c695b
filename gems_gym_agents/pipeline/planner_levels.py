"""Policies of the strongest level: a planner trained in a world, written as one file that is asked for by name.

The file holds the planner's numbers in half precision, so that six of them take less than half a megabyte; it is scored
as it is stored. Datasets of this level: :func:`gems_gym.datasets.collect_level`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts import shipped
from gems_gym.commands.output import plain
from gems_gym.common.locks import locked_folder
from gems_gym.datasets.levels import PLANNER
from gems_gym.envs import SlateVectorEnv
from gems_gym.latent_world import LatentWorld
from gems_gym.registration import is_latent
from gems_gym.user_splits import user_seeds
from gems_gym_agents.base import POLICY_FILE, world_options
from gems_gym_agents.evaluation import evaluate, measure_references
from gems_gym_agents.pipeline.levels import VALIDATION_USERS, described, ship, training_folder
from gems_gym_agents.pipeline.stages import Stage
from gems_gym_agents.pipeline.training import TrainingSettings, agent_modules, fit
from gems_gym_agents.user_model.agent import PlannerAgent
from gems_gym_agents.user_model.options import PlannerOptions
from gems_gym_agents.user_model.planner import KIND, PlannerPolicy, in_half_precision

TRAINING_USERS = 1000
"""Users in lockstep; they do not change the result."""


@dataclass(frozen=True)
class PlannerTraining:
    """How the planner of a world is made.

    Attributes:
        world: A slate environment of a preset.
        steps: Interactions of the search for a plan.
        seed: Decides everything random, and which validation users policies are scored on.
    """

    world: LatentWorld
    steps: int
    seed: int

    @classmethod
    def of(cls, env: str | EnvSpec, steps: int, seed: int) -> PlannerTraining:
        """The training in an environment, given by its id or a spec.

        Raises:
            ValueError: A latent environment, or none of a preset.
        """
        spec = gymnasium.spec(env) if isinstance(env, str) else env
        world = LatentWorld(spec, None, None)
        if is_latent(spec) or world.preset is None:
            raise ValueError(
                f"env {spec.id!r} is no slate environment of a preset, in which planners learn; give GemsSlate-WORLD-v0"
            )
        return cls(world, steps, seed)

    @property
    def options(self) -> PlannerOptions:
        """The planner's settings in this world."""
        return PlannerOptions(**world_options(PlannerAgent, self.world.preset))

    @property
    def users(self) -> list[int]:
        """The validation users."""
        return user_seeds("validation", self.seed, VALIDATION_USERS)

    @property
    def record(self) -> dict[str, Any]:
        """All that decides the result; JSON types only."""
        env = cast(SlateVectorEnv, self.world.users(1).unwrapped)
        return described(
            self.world, "planner", self.options, self.steps, self.seed, TRAINING_USERS,
            command="gems-gym dev levels --agent planner", catalog_hash=env.catalog.hash,
        )  # fmt: skip

    def policy(self, folder: Path) -> PlannerPolicy:
        """Train, or resume what is there; of a training that the same code finished, read what it left.

        Args:
            folder: Gets a folder for this very training.

        Raises:
            InUseError: Another process is doing this very training.
        """
        record = self.record
        directory = training_folder(folder, record)
        with locked_folder(directory, f"the training in {directory}"):
            name = f"planner in {self.world.preset}"
            modules = agent_modules("planner")
            stage = Stage(name, directory, record, modules, [POLICY_FILE], record_name="finished.json")

            def train() -> dict[str, Any]:
                agent, users = PlannerAgent(**vars(self.options)), self.world.users(TRAINING_USERS)
                settings = TrainingSettings(self.steps, self.seed, VALIDATION_USERS)
                score = fit(agent, users, self.world, stage, directory, settings)
                agent.save(directory)
                return {"cpu_seconds": score.cpu_seconds}

            stage.run(train)
            return PlannerAgent.load(directory)


def make_planner_level(training: PlannerTraining, out: Path, runs: Path) -> dict[str, shipped.Entry]:
    """Train a world's planner and write ``planner-WORLD.safetensors`` and its entry in the manifest.

    Args:
        training: What to do.
        out: Folder of the file and the manifest.
        runs: Folder of the trainings.

    Returns:
        The entry by its name.
    """
    learned = training.policy(runs)
    stored = PlannerPolicy(in_half_precision(learned.model), learned.plans)
    slates = training.world.slates(VALIDATION_USERS, autoreset_mode="disabled")
    references = measure_references(slates, training.users)
    whole, half = (evaluate(one, slates, training.users).mean_return for one in (learned, stored))
    metrics = {
        "interactions": training.options.logged_interactions + training.steps,
        "validation_return": half,
        "normalized_score": references.normalized_score(half),
        "validation_return_before_rounding": whole,
    }
    name = f"{PLANNER}-{training.world.preset}"
    made = plain({"level": PLANNER, **training.record, "references": asdict(references), "metrics": metrics})
    stored.model.metadata.update(made)
    return {name: ship(out, name, KIND, stored.save(out / f"{name}.safetensors"), made)}
