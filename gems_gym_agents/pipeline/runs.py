"""One run of a study: a variant in a world with a seed, trained and tested once."""

from __future__ import annotations

import abc
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.artifacts.unfinished import discard_unfinished
from gems_gym.beliefs import load_belief
from gems_gym.common.arrays import t_interval
from gems_gym.common.dataset_folders import local_dataset_ids
from gems_gym.config import modules_of_world
from gems_gym.datasets.sessions import NO_SEED
from gems_gym.envs.recorded_spec import world_config
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy
from gems_gym.policies.base import chosen_by, observed_by
from gems_gym.rankers import load_ranker
from gems_gym.user_splits import user_seeds
from gems_gym_agents.base import world_options
from gems_gym_agents.evaluation import NUM_ENVS, Evaluation, evaluate
from gems_gym_agents.pipeline.stages import Stage
from gems_gym_agents.pipeline.study import (
    OfflineVariant,
    OnlineVariant,
    PartRecipe,
    RecordedWorld,
    Study,
    World,
)
from gems_gym_agents.pipeline.training import Part, TrainingSettings, agent_modules, train
from gems_gym_agents.training_world import dataset_world

RESULT_FILE = "result.json"

WorldT = TypeVar("WorldT", World, RecordedWorld)
VariantT = TypeVar("VariantT", OnlineVariant, OfflineVariant)

_LOGGED = ("step", "score", "q_abs_max", "q_bound")


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
    def train_and_test(self) -> dict[str, Any]:
        """Make the result."""

    @abc.abstractmethod
    def summary(self, result: dict[str, Any]) -> str:
        """The result as a line for people."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.world.name} {self.variant.name} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The run's own folder; beside it lies what the variants of a world and seed share."""
        return self.out / self.world.name / f"seed-{self.seed}" / self.variant.name

    @cached_property
    def stage(self) -> Stage:
        """The run as a stage, whose record is ``result.json``."""
        return Stage(self.name, self.folder, self.settings(), self.modules(), record_name=RESULT_FILE)

    def result(self) -> dict[str, Any] | None:
        """The result if the run is finished, else None.

        Raises:
            ValueError: A result of other settings; they are named.
        """
        return self.stage.kept() if (self.folder / RESULT_FILE).is_file() else None

    def play(self) -> str:
        """Train and test, once no other process plays this run; returns a line for people.

        Such a process may be one beside this study, or what is left of one that was killed.
        """
        stage = self.stage
        with stage.locked():
            if stage.kept() is not None:
                return "finished by another process"
            identity = {"world": self.world.name, "variant": self.variant.name, "seed": self.seed}
            found = stage.make(lambda: {**identity, **self.train_and_test()})
        discard_unfinished(self.folder)
        return self.summary(found)

    @cached_property
    def agent_class(self) -> Any:
        """The class of the agent."""
        return plugins.load(plugins.AGENTS, self.variant.agent)

    def agent(self) -> Any:
        """The agent, not fitted yet: the variant's options in place of those of its preset for the world."""
        of_world = world_options(self.agent_class, self.world.recipes_of or self.world.preset)
        return self.agent_class(**of_world | dict(self.variant.options))

    def agent_settings(self) -> dict[str, Any]:
        """What the results of all runs depend on."""
        options: Any = getattr(self.agent(), "options", None)
        listed = is_dataclass(options) and not isinstance(options, type)
        return {
            "agent": self.variant.agent,
            # defaults included where the agent gives them
            "options": asdict(options) if listed else dict(self.variant.options),
            "steps": self.variant.steps,
            "test_users": self.study.test_users,
            "validation_users": self.study.validation_users,
        }

    def train(
        self, source: Any, world: LatentWorld, *, may_diverge: bool = False, **record: Any
    ) -> tuple[Any, float, str | None]:
        """The trained agent, whose folder is the run's, its seconds of processor time, and why it was stopped early."""
        agent, study = self.agent(), self.study
        settings = TrainingSettings(self.variant.steps, self.seed, study.validation_users, may_diverge)
        score = train(agent, self.variant.agent, source, world, self.stage, self.folder, settings, **record)
        return agent, score.cpu_seconds, score.diverged

    def test(self, policy: Policy, world: LatentWorld) -> Evaluation:
        """Sessions of the study's test users with a policy."""
        seeds = user_seeds("test", 0, self.study.test_users)
        env = world.users(min(len(seeds), NUM_ENVS), autoreset_mode="disabled")
        return evaluate(policy, env, seeds, name=self.variant.name, progress=True)


@dataclass(frozen=True)
class OnlineRun(Run[World, OnlineVariant]):
    """An agent that learns from users; belief and ranker, if it needs them, are shared with runs beside it."""

    @property
    def parts(self) -> dict[str, Part]:
        """Its belief and its ranker, if its agent needs them.

        Raises:
            ValueError: One is missing, or there is one that the agent does not need.
        """
        variant = self.variant
        observes, actions = observed_by(self.agent_class), chosen_by(self.agent_class)
        recipes: dict[str, PartRecipe] = {}
        for kind, recipe, needed in (
            ("belief", variant.belief, observes == "beliefs"), ("ranker", variant.ranker, actions == "latents")
        ):  # fmt: skip
            if (recipe is not None) != needed:
                raise ValueError(
                    f"the variant {variant.name!r} must have {'a' if needed else 'no'} {kind}: its agent "
                    f"{variant.agent!r} sees {observes} and chooses {actions}"
                )
            if recipe is not None:
                recipes[kind] = recipe
        return {
            kind: Part(
                one.name,
                one.recipe(self.world.preset, self.seed, self.world.parameters[0]),
                self.world.parameters,
                {"world": self.world.settings},
                self.folder.parent,
            )
            for kind, one in recipes.items()
        }

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        parts: dict[str, Any] = {kind: part.settings for kind, part in self.parts.items()}
        if not parts:  # parts hold world and seed
            parts = {"world": self.world.settings, "seed": self.seed}
        return {**self.agent_settings(), "num_envs": self.variant.num_envs, **parts}

    def modules(self) -> set[str]:
        """The modules that make the result."""
        parts = (part.modules for part in self.parts.values())
        world = modules_of_world(self.world.parameters[0])
        return {__name__, *agent_modules(self.variant.agent), *world}.union(*parts)

    def train_and_test(self) -> dict[str, Any]:
        """Make the result.

        It holds ``test`` (see :meth:`~gems_gym_agents.evaluation.Evaluation.describe`), ``interactions``, ``curve``
        (``interactions``, ``score`` on validation users), ``averaged`` (``score`` and ``mean_of`` of the policy
        that is the mean of late ones; None if there is none), ``cpu_seconds`` of belief, ranker and
        training, ``metrics`` and ``parts`` (the sha256 of the file) of belief and ranker, and ``logged_interactions``
        that these two, or the agent itself, learned from.
        """
        parts, variant = self.parts, self.variant
        made = {kind: part.make() for kind, part in parts.items()}
        ranker = load_ranker(parts["ranker"].file) if "ranker" in parts else None
        belief = load_belief(parts["belief"].file) if "belief" in parts else None
        world = LatentWorld(self.world.spec, ranker, belief)
        shared = replace(self.world, item_embeddings=None).spec  # without a file of this machine
        agent, training, _ = self.train(world.users(variant.num_envs), world, env_spec=shared.to_json())
        cpu_seconds = {kind: one["cpu_seconds"] for kind, one in made.items()} | {"training": training}
        # on its own belief, if it has learned one
        found = self.test(agent.policy, replace(world, belief=getattr(agent, "belief", None) or belief))
        policies = [one.describe() for one in getattr(agent, "checkpoints", ()) if one.score is not None]
        curve = [one for one in policies if one.get("mean_of", 1) == 1]
        means = [
            {key: one[key] for key in ("score", "mean_of")} for one in policies if one.get("mean_of", 1) != 1
        ]
        return {
            "test": found.describe(),
            "interactions": getattr(agent, "interactions", variant.steps),
            "logged_interactions": getattr(agent, "logged_interactions", 0)
            + sum(one["logged_interactions"] for one in made.values()),
            "curve": {key: [one[key] for one in curve] for key in ("interactions", "score")},
            "averaged": means[0] if means else None,
            "cpu_seconds": cpu_seconds,
            "metrics": {kind: one["metrics"] for kind, one in made.items()},
            "parts": {kind: one["files"][parts[kind].file.name] for kind, one in made.items()},
        }

    def summary(self, result: dict[str, Any]) -> str:
        """The result as a line for people."""
        minutes = sum(result["cpu_seconds"].values()) / 60
        return f"{result['test']['mean_return']:.1f} clicks on test users, {minutes:.1f} CPU-minutes"


@dataclass(frozen=True)
class OfflineRun(Run[RecordedWorld, OfflineVariant]):
    """An agent that learns from a dataset, whose belief and ranker it uses."""

    def dataset(self) -> tuple[LatentWorld, Any]:
        """What the dataset was recorded in, with its ranker and belief, and the dataset.

        Raises:
            FileNotFoundError: It is not among the local ones; the message says what to do.
            ValueError: Sessions of another world, or slates instead of beliefs and latents.
        """
        world = self.world
        if world.dataset_id not in local_dataset_ids():
            raise FileNotFoundError(
                f"there is no local dataset {world.dataset_id!r}; make it with 'gems-gym collect', or name others by "
                "--datasets, where {preset} and {level} stand for the world's"
            )
        recorded, dataset = dataset_world(world.dataset_id)
        if recorded.preset != world.preset:
            raise ValueError(
                f"the dataset {world.dataset_id!r} was recorded in the world {recorded.preset!r}; "
                f"{world.preset!r} was expected"
            )
        if int(next(iter(dataset.storage.get_episode_metadata([0])))["seed"]) == NO_SEED:
            raise ValueError(
                f"the dataset {world.dataset_id!r} does not say which users its sessions are of, so that agents can't "
                "be played on the same ones"
            )
        return recorded, dataset

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        content_hash = self.dataset()[1].storage.metadata["content_hash"]
        return {**self.agent_settings(), "dataset": self.world.dataset_id, "content_hash": content_hash}

    def modules(self) -> set[str]:
        """The modules that make the result."""
        world, _ = self.dataset()
        parts = {type(part).__module__ for part in (world.ranker, world.belief) if part is not None}
        return {
            __name__,
            *agent_modules(self.variant.agent),
            *modules_of_world(world_config(world.spec)),
            *parts,
        }

    def train_and_test(self) -> dict[str, Any]:
        """Make the result.

        It holds ``test`` (of the policy with the best score on validation users: the peak) and ``final`` (of the last
        one), ``history`` (at every log: ``step``, ``score`` on validation users, ``q_abs_max``, ``q_bound``),
        ``behaviour`` (mean return of the recorded sessions), ``references`` (mean returns at the dataset's normalised
        scores 0 and 1), ``difference_to_behaviour`` of peak and final, paired by recorded user, ``diverged`` (why the
        training was stopped before its end, else None), and ``cpu_seconds``.
        """
        world, dataset = self.dataset()
        agent, training, diverged = self.train(dataset, world, may_diverge=True, dataset=dataset.id)
        policies: dict[str, Policy] = {"peak": agent.policy, "final": getattr(agent, "last", agent.policy)}
        found = {name: self.test(policy, world) for name, policy in policies.items()}
        seeds, recorded = recorded_returns(dataset, self.study.test_users)
        env = world.users(min(len(seeds), NUM_ENVS), autoreset_mode="disabled")
        paired = {}
        for name, policy in policies.items():
            played = evaluate(policy, env, seeds, name="recorded users", progress=True)
            gained = played.returns - recorded
            paired[name] = {"mean": float(gained.mean()), "ci95": t_interval(gained)}
        behaviour = float(recorded.mean())
        return {
            "test": found["peak"].describe(),
            "final": found["final"].describe(),
            "history": {key: [line.get(key) for line in getattr(agent, "history", ())] for key in _LOGGED},
            "behaviour": {"users": len(seeds), "mean_return": behaviour, "ci95": t_interval(recorded)},
            "references": {
                name: dataset.storage.metadata[key]
                for name, key in (("random", "ref_min_score"), ("boredom_aware_oracle", "ref_max_score"))
                if key in dataset.storage.metadata
            },
            "difference_to_behaviour": paired,
            "diverged": diverged,
            "cpu_seconds": {"training": training},
        }

    def summary(self, result: dict[str, Any]) -> str:
        """The result as a line for people."""
        shown = {"peak": "test", "final": "final", "behaviour": "behaviour"}
        return (
            ", ".join(f"{name} {result[key]['mean_return']:.1f}" for name, key in shown.items()) + " clicks"
        )


def recorded_returns(dataset: Any, count: int) -> tuple[list[int], NDArray[np.float64]]:
    """Users of a dataset and what they clicked there.

    Args:
        dataset: A Minari dataset that gems-gym collected.
        count: How many at most, spread evenly over the sessions.

    Returns:
        The users' seeds, and their returns, float64 ``(num_users,)``.
    """
    spread = np.linspace(0, dataset.total_episodes - 1, min(count, dataset.total_episodes))
    episodes = spread.round().astype(int).tolist()
    seeds = [int(one["seed"]) for one in dataset.storage.get_episode_metadata(episodes)]
    returns = [float(episode.rewards.sum()) for episode in dataset.iterate_episodes(episodes)]
    return seeds, np.array(returns)
