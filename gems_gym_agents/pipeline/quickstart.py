"""The pipeline once: log, pretrain, train online, collect, train offline, evaluate; with one seed or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import __version__, plugins
from gems_gym.artifacts.unfinished import discard_unfinished
from gems_gym.commands.output import note, plain
from gems_gym.commands.worlds import changed_parameters, in_world
from gems_gym.common.checks import checked
from gems_gym.common.files import write_json
from gems_gym.common.fingerprints import cpu_type, made_by
from gems_gym.datasets import collect, open_dataset
from gems_gym.errors import missing_dependency, require
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy, make_policy
from gems_gym.policies.actor import Actor, NoisyActor
from gems_gym.pretraining.recipes import trained_recipe
from gems_gym.trained_agents import open_trained_agent
from gems_gym.user_splits import PipelineSeed, user_seeds
from gems_gym_agents.evaluation import NUM_ENVS, Evaluation, evaluate, measure_references
from gems_gym_agents.pipeline.pictures import draw_clicks_per_step
from gems_gym_agents.pipeline.quickstart_tables import SEEDS_FILE, ResultsTable, SeedsTable
from gems_gym_agents.pipeline.stages import Stage
from gems_gym_agents.pipeline.training import Part, TrainingSettings, agent_modules, train

OFFLINE_AGENTS = ("td3_plus_bc", "bc")

_COLLECTING = {"gems_gym.datasets.collect", "gems_gym.policies.actor"}
_DATASET = 2**19  # block of logging users that no seed below 2^18 shares, nor the rankers' with it


@dataclass(frozen=True, kw_only=True)
class QuickstartSettings:
    """How much of everything the quickstart does; sized for five minutes on two cores.

    Attributes:
        search_sessions: Sessions in which good slates are searched, by their clicks, for the ranker to learn from.
        ranker_sessions: Sessions that show these slates and their neighbourhoods: the ranker's log.
        belief_sessions: Sessions of a mixture of policies that the belief learns from.
        ranker_batches: Gradient updates of the ranker.
        belief_batches: Gradient updates of the belief.
        constant_slate_sessions: Sessions that the search for the best constant slate plays.
        sac_interactions: Steps of users that SAC learns from.
        sac_users: Users in lockstep.
        validation_users: Users that checkpoints are picked on.
        dataset_sessions: Sessions of the dataset.
        exploration_noise: Standard deviation of the noise on the collecting policy's latents.
        offline_updates: Gradient updates of each offline agent.
    """

    search_sessions: int = 400_000
    ranker_sessions: int = 512
    belief_sessions: int = 4_000
    ranker_batches: int = 3_000
    belief_batches: int = 1_500
    constant_slate_sessions: int = 100_000
    sac_interactions: int = 150_000
    sac_users: int = 100
    validation_users: int = 200
    dataset_sessions: int = 1_000
    exploration_noise: float = 0.3
    offline_updates: int = 2_500


def run_quickstart(
    directory: Path,
    env: str | EnvSpec,
    *,
    seed: int = 0,
    episodes: int = 500,
    settings: QuickstartSettings = QuickstartSettings(),
    dataset_id: str | None = None,
) -> ResultsTable:
    """Run the pipeline, reusing the finished stages of an earlier run in the same folder.

    Args:
        directory: Folder for everything it makes; the dataset goes where Minari keeps datasets.
        env: A slate environment, its id or a spec with parameters of its own.
        seed: Decides everything random.
        episodes: Test users.
        settings: How much of everything.
        dataset_id: Id of the dataset; ``gems-slate/{preset}/quickstart-v0`` if None. A dataset of that id is
            replaced unless it is the one that this folder's run made.

    Returns:
        The table; it is also written to ``results.json``, and the picture to ``clicks_per_step.png``.
    """
    checked("seed", seed, PipelineSeed)
    for module in ("torch", "stable_baselines3", "d3rlpy", "minari", "matplotlib"):
        if find_spec(module) is None:  # said before any work is done
            raise missing_dependency(module, "all")
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    dataset_id = dataset_id or in_world("gems-slate/{preset}/quickstart-v0", spec)
    return _Quickstart(directory, spec, seed, settings, dataset_id).results(episodes)


def run_quickstarts(
    directory: Path,
    env: str | EnvSpec,
    seeds: Sequence[int],
    *,
    episodes: int = 500,
    settings: QuickstartSettings = QuickstartSettings(),
) -> SeedsTable:
    """Run the quickstart once for each seed; finished stages are not run again.

    Args:
        directory: Gets a folder ``seed-N`` for each seed, and the table of all, ``seeds.json``.
        env: A slate environment's id or spec.
        seeds: At least one. Each has a training, a dataset and test users of its own.
        episodes: Test users of each seed.
        settings: How much of everything.
    """
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    results = {}
    for seed in seeds:
        dataset_id = in_world(f"gems-slate/{{preset}}/quickstart_seed_{seed}-v0", spec)
        results[seed] = run_quickstart(
            directory / f"seed-{seed}",
            spec,
            seed=seed,
            episodes=episodes,
            settings=settings,
            dataset_id=dataset_id,
        )
    table = SeedsTable.of({seed: plain(one.as_dict()) for seed, one in results.items()})
    write_json(directory / SEEDS_FILE, plain(table.as_dict()))
    return table


class _Quickstart:
    """The stages, each building on the ones before."""

    def __init__(
        self, directory: Path, spec: EnvSpec, seed: int, settings: QuickstartSettings, dataset_id: str
    ) -> None:
        self.directory, self.spec, self.seed, self.settings = directory, spec, seed, settings
        self.dataset_id = dataset_id
        world: Any = gymnasium.make(spec).unwrapped
        self.world = world.config, world.catalog
        changed = changed_parameters(spec)
        self.base: dict[str, Any] = {"env": spec.id, "catalog": self.world[1].hash, "seed": seed}
        self.base |= {"env_options": changed} if changed else {}
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        """A stage's record; how long it took is remembered."""
        self.seconds[name] = record["seconds"]
        return record

    # -- representations ---------------------------------------------------------------------------------------

    @cached_property
    def belief(self) -> dict[str, Any]:
        settings = self.settings
        return self.pretrained(
            "belief", "belief/gru", settings.belief_batches, sessions=settings.belief_sessions
        )

    @cached_property
    def ranker(self) -> dict[str, Any]:
        settings = self.settings
        log = {"sessions": settings.ranker_sessions, "search_sessions": settings.search_sessions}
        return self.pretrained("ranker", "ranker/gems", settings.ranker_batches, **log)

    def pretrained(self, name: str, kind: str, batches: int, **log: Any) -> dict[str, Any]:
        """A part by a recipe with less of everything."""
        recipe = trained_recipe(kind, self.spec.kwargs["preset"], seed=self.seed, config=self.world[0])
        recipe = replace(recipe, settings=recipe.settings | {"batches": batches}, **log)
        return self.timed(name, Part(name, recipe, self.world, self.base, self.directory).make())

    @cached_property
    def latent_world(self) -> LatentWorld:
        belief, ranker = (self.directory / f"{part}.safetensors" for part in ("belief", "ranker"))
        return LatentWorld.of(self.spec, ranker, belief)

    # -- agents ------------------------------------------------------------------------------------------------

    def trained(
        self,
        name: str,
        source: Any,
        steps: int,
        inputs: dict[str, Any],
        keep: Callable[[Any], dict[str, Any]],
        *files: str,
        **options: Any,
    ) -> dict[str, Any]:
        """The stage of an agent.

        Args:
            name: The agent.
            source: What it learns from.
            steps: Interactions or updates.
            inputs: What else it depends on.
            keep: What is kept of the trained agent, beside its folder.
            *files: What ``keep`` writes.
            **options: The agent's.
        """
        folder, world = self.directory / name, self.latent_world
        settings = TrainingSettings(steps, self.seed, self.settings.validation_users)
        written = [f"{name}/agent.json", f"{name}/policy.safetensors", *files]
        depends_on = {**inputs, **options, **asdict(settings)}
        stage = Stage(name, self.directory, depends_on, agent_modules(name), written)

        def learn() -> dict[str, Any]:
            agent = plugins.load(plugins.AGENTS, name)(**options)
            train(agent, name, source, world, stage, folder, settings)
            return keep(agent)

        record = self.timed(name, stage.run(learn))
        discard_unfinished(folder)
        return record

    @cached_property
    def sac(self) -> dict[str, Any]:
        inputs = {name: getattr(self, name)["fingerprint"] for name in ("belief", "ranker")}
        count, steps = self.settings.sac_users, self.settings.sac_interactions
        return self.trained(
            "sac",
            self.latent_world.users(count),
            steps,
            {**inputs, "users": count},
            self.keep_behaviour,
            "behaviour.safetensors",
            validate_every=max(steps // 10, 1),
        )

    def keep_behaviour(self, agent: Any) -> dict[str, Any]:
        """Write the checkpoint that collects."""
        collecting = _halfway(agent.checkpoints)
        collecting.actor.save(self.directory / "behaviour.safetensors")
        curve = [one.describe() for one in agent.checkpoints]
        return {"curve": curve, "behaviour": collecting.describe()}

    @cached_property
    def dataset(self) -> dict[str, Any]:
        inputs = {
            "dataset_id": self.dataset_id, "sessions": self.settings.dataset_sessions,
            "noise": self.settings.exploration_noise, "sac": self.sac["fingerprint"],
        }  # fmt: skip
        stage = Stage("dataset", self.directory, inputs, _COLLECTING)
        local = require("minari").list_local_datasets().get(self.dataset_id, {})

        def make() -> dict[str, Any]:
            if local:
                note(f"replacing the dataset {self.dataset_id}, which another run made")
            dataset = collect(
                self.spec.id,
                self.behaviour_policy(),
                dataset_id=self.dataset_id,
                episodes=self.settings.dataset_sessions,
                seed=self.seed + _DATASET,
                ranker=self.directory / "ranker.safetensors",
                belief=self.directory / "belief.safetensors",
                policy_name=f"sac, unfinished, noise {self.settings.exploration_noise}",
                env_kwargs=changed_parameters(self.spec),
                overwrite=True,
            )
            return {"dataset_id": self.dataset_id, "content_hash": dataset.storage.metadata["content_hash"]}

        return self.timed(
            "dataset",
            stage.run(make, still_there=lambda kept: kept["content_hash"] == local.get("content_hash")),
        )

    def behaviour_policy(self) -> Policy:
        """The policy that collects: an early checkpoint of SAC, with noise."""
        actor = Actor.load(self.directory / "behaviour.safetensors")
        return NoisyActor(actor, self.settings.exploration_noise)

    def offline(self, name: str) -> dict[str, Any]:
        """An offline agent, trained on the dataset."""
        inputs, updates = {"dataset": self.dataset["fingerprint"]}, self.settings.offline_updates
        found = open_dataset(self.dataset_id).storage.metadata.get("content_hash")
        if found != self.dataset["content_hash"]:
            raise RuntimeError(
                f"dataset {self.dataset_id!r} was replaced meanwhile, by another quickstart that makes one of this id: "
                "run one after the other"
            )
        return self.trained(name, self.dataset_id, updates, inputs, lambda agent: {"history": agent.history})

    # -- results -----------------------------------------------------------------------------------------------

    @cached_property
    def constant_slate(self) -> NDArray[np.int64]:
        sessions = self.settings.constant_slate_sessions

        def search() -> dict[str, Any]:
            env = gymnasium.make(self.spec).unwrapped
            policy: Any = make_policy("constant_slate", env, sessions=sessions, seed=self.seed)
            return {"slate": policy.slate.tolist()}

        modules = {plugins.module_of(plugins.POLICIES, "constant_slate")}
        name = "constant slate"
        stage = Stage(name, self.directory, {**self.base, "sessions": sessions}, modules)
        return np.array(self.timed(name, stage.run(search))["slate"])

    def results(self, episodes: int) -> ResultsTable:
        """Evaluate everything on test users."""
        users = user_seeds("test", self.seed, episodes)
        num_envs = min(episodes, NUM_ENVS)
        slates = gymnasium.make_vec(self.spec, num_envs=num_envs, autoreset_mode="disabled")
        belief, ranker, sac = self.belief, self.ranker, self.sac
        for name in OFFLINE_AGENTS:
            self.offline(name)
        latents = self.latent_world.users(num_envs, autoreset_mode="disabled")

        def played(name: str, policy: Policy, env: VectorEnv[Any, Any, Any]) -> Evaluation:
            return evaluate(policy, env, users, name=name, progress=True)

        def untrained(name: str, **options: Any) -> Evaluation:
            return played(name, make_policy(name, slates, **options), slates)

        evaluations = [
            untrained("random"),
            untrained("eps_greedy_oracle"),
            untrained("short_term_oracle"),
            untrained("constant_slate", slate=self.constant_slate),
            played("behaviour (noisy early SAC)", self.behaviour_policy(), latents),
            *(
                played(name, open_trained_agent(self.directory / name).policy, latents)
                for name in (*OFFLINE_AGENTS, "sac")
            ),
            untrained("boredom_aware_oracle"),
        ]
        draw_clicks_per_step(evaluations, self.spec.id, self.directory / "clicks_per_step.png")
        details = {
            "seed": self.seed, "dataset_id": self.dataset_id, "directory": str(self.directory),
            "stage_seconds": self.seconds, "belief_metrics": belief["metrics"],
            "ranker_metrics": ranker["metrics"], "sac_curve": sac["curve"], "behaviour": sac["behaviour"],
            "gems_gym": __version__, "processor": cpu_type()["processor"],
            **made_by(__name__, *agent_modules(*OFFLINE_AGENTS, "sac")),
        }  # fmt: skip
        table = ResultsTable(self.spec.id, evaluations, measure_references(slates, users), details)
        write_json(self.directory / "results.json", plain(table.as_dict()))
        return table


def _halfway(checkpoints: list[Any]) -> Any:
    """The first checkpoint whose validation return passes half of the best one's: neither random nor finished."""
    best = max(checkpoint.score for checkpoint in checkpoints)
    return next(checkpoint for checkpoint in checkpoints if checkpoint.score >= best / 2)
