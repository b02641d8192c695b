"""What studies, levels and the quickstart have in common: parts that are pretrained, and agents that are trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from gems_gym import plugins
from gems_gym.artifacts.unfinished import UNFINISHED_FOLDER, is_unfinished
from gems_gym.beliefs import BeliefEncoder
from gems_gym.common.files import read_json_object, write_json
from gems_gym.config import modules_of_world
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy
from gems_gym.pretraining.recipes import Recipe, follow, metrics_of, modules_of
from gems_gym.simulator import Catalog
from gems_gym.trained_agents import save_trained_agent
from gems_gym.user_splits import user_seeds
from gems_gym.world_config import WorldConfig
from gems_gym_agents.base import DivergedError
from gems_gym_agents.evaluation import ValidationScore
from gems_gym_agents.pipeline.stages import Stage

_CLOCK_FILE = "cpu_seconds.json"


def agent_modules(*names: str) -> set[str]:
    """The modules that train and score agents.

    Args:
        *names: Names of the agents.
    """
    return {"gems_gym_agents.evaluation"} | {plugins.module_of(plugins.AGENTS, name) for name in names}


@dataclass(frozen=True)
class TrainingSettings:
    """How an agent is trained, beside its options.

    Attributes:
        steps: Interactions, or gradient updates.
        seed: Decides everything random, and which validation users there are.
        validation_users: Users that policies are picked on.
        may_diverge: Whether a training that diverges counts with what it had learned by then.
    """

    steps: int
    seed: int
    validation_users: int
    may_diverge: bool = False


@dataclass(frozen=True)
class Part:
    """A belief or a ranker: pretrained once in a directory, and shared by all that are trained there.

    Attributes:
        name: Name of its file and its stage.
        recipe: How it is made.
        world: The parameters and the catalogue that it is made for.
        described: What identifies the world, JSON-able.
        directory: Where its file and its stage are.
    """

    name: str
    recipe: Recipe
    world: tuple[WorldConfig, Catalog]
    described: Mapping[str, Any]
    directory: Path

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.directory / f"{self.name}.safetensors"

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that it depends on."""
        return {**self.described, **asdict(self.recipe)}

    @property
    def modules(self) -> set[str]:
        """The modules that make it."""
        return modules_of(self.recipe) | modules_of_world(self.world[0])

    def make(self) -> dict[str, Any]:
        """Make it, or reuse it if it is there, complete, and made of the same settings.

        Returns:
            The stage's record, with ``metrics`` and ``logged_interactions``.
        """

        def pretrain() -> dict[str, Any]:
            made = follow(self.recipe, world=self.world)
            made.save(self.file)
            sessions = self.recipe.sessions + (self.recipe.search_sessions or 0)
            steps = sessions * (self.recipe.session_length or self.world[0].episode_length)
            return {"metrics": metrics_of(made), "logged_interactions": steps}

        return Stage(self.name, self.directory, self.settings, self.modules, [self.file.name]).run(pretrain)


def fit(
    agent: Any,
    source: Any,
    world: LatentWorld,
    stage: Stage,
    directory: Path,
    settings: TrainingSettings,
    **options: Any,
) -> WatchedScore:
    """Train an agent, or resume an earlier attempt of the same key that was interrupted.

    Args:
        agent: Not fitted yet.
        source: What it learns from.
        world: Whose validation users its policies are scored on.
        stage: Whose work it is.
        directory: The training's own.
        settings: How long, and from which seed.
        **options: Of the agent's ``fit``.

    Returns:
        What the agent's policies were scored with.

    Raises:
        DivergedError: The training has diverged, unless it may.
    """
    stage.resume_in(directory)
    users = user_seeds("validation", settings.seed, settings.validation_users)
    score = WatchedScore(partial(world.users, autoreset_mode="disabled"), users, directory)
    try:
        with score.keeping_time():
            agent.fit(
                source,
                steps=settings.steps,
                seed=settings.seed,
                directory=directory,
                evaluate=score,
                **options,
            )
    except DivergedError as error:
        scored = any("score" in line for line in getattr(agent, "history", ()))
        if not (settings.may_diverge and scored):
            raise
        score.diverged = str(error)
    return score


def train(
    agent: Any,
    name: str,
    source: Any,
    world: LatentWorld,
    stage: Stage,
    directory: Path,
    settings: TrainingSettings,
    **record: Any,
) -> WatchedScore:
    """Train an agent as :func:`fit` does, and write its folder.

    Args:
        agent: Not fitted yet.
        name: Its name in the entry-point group ``gems_gym.agents``.
        source: As of :func:`fit`, like the next ones.
        world: The agent's record names it; its belief is the agent's unless that has learned one of its own.
        stage: Whose work it is.
        directory: The training's own, and the agent's folder.
        settings: How long, and from which seed.
        **record: More for the agent's record.
    """
    score = fit(agent, source, world, stage, directory, settings)
    made = {
        "env": world.spec.id, "env_spec": world.spec.to_json(), "steps": settings.steps, "seed": settings.seed,
    }  # fmt: skip
    belief = getattr(agent, "belief", None) or world.belief
    save_trained_agent(directory, agent, name, world.ranker, belief, {**made, **record})
    return score


class WatchedScore(ValidationScore):
    """Scores policies on validation users; remembers how long the processor has worked.

    Args:
        make_env: Makes the users' environment.
        user_seeds: The users.
        directory: The training's. Where the agent resumes an interrupted training, so does the clock.

    Attributes:
        diverged: Why the training was stopped before its end; None if it was not.
    """

    def __init__(
        self, make_env: Callable[..., VectorEnv[Any, Any, Any]], user_seeds: Sequence[int], directory: Path
    ) -> None:
        self._clock_file = directory / UNFINISHED_FOLDER / _CLOCK_FILE
        earlier = read_json_object(self._clock_file, ["seconds"]) if is_unfinished(directory) else None
        self._before = float(earlier["seconds"]) if earlier else 0.0
        self._start = time.process_time()
        self.diverged: str | None = None
        super().__init__(make_env, user_seeds)

    @property
    def cpu_seconds(self) -> float:
        """Processor time since the training began, of all threads and all its attempts."""
        return self._before + time.process_time() - self._start

    def __call__(self, policy: Policy, belief: BeliefEncoder | None = None) -> float:
        """Mean clicks a session of a policy, one session with each user."""
        value = super().__call__(policy, belief)
        self._keep_time()
        return value

    @contextmanager
    def keeping_time(self) -> Iterator[None]:
        """Keep the time that a training took which ends early; some are scored only once, in the end."""
        try:
            yield
        except BaseException:
            self._keep_time()
            raise

    def _keep_time(self) -> None:
        write_json(self._clock_file, {"seconds": self.cpu_seconds})
