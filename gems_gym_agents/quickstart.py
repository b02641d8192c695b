"""The pipeline once: log, pretrain, train online, collect, train offline, evaluate."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import __version__, plugins
from gems_gym.commands.output import note, plain
from gems_gym.commands.worlds import changed_parameters
from gems_gym.common.files import write_json
from gems_gym.common.fingerprints import cpu_type, made_by
from gems_gym.datasets import collect
from gems_gym.envs import SlateEnv
from gems_gym.errors import missing_dependency, require
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy, make_policy
from gems_gym.policies.actor import Actor, NoisyActor
from gems_gym.pretraining.recipes import Recipe, follow, metrics_of, modules_of, trained_recipe
from gems_gym.trained_agents import open_trained_agent, save_trained_agent
from gems_gym.unfinished import discard_unfinished
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import (
    NUM_ENVS,
    Evaluation,
    ValidationScore,
    evaluate,
    measure_references,
)
from gems_gym_agents.results import ResultsTable, draw_clicks_per_step
from gems_gym_agents.stages import Stages

OFFLINE_AGENTS = ("td3_plus_bc", "bc")


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
    """Run the pipeline, reusing what an earlier run in the same folder finished.

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
    for module in ("torch", "stable_baselines3", "d3rlpy", "minari", "matplotlib"):
        if find_spec(module) is None:  # said before any work is done
            raise missing_dependency(module, "all")
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    return _Road(directory, spec, seed, settings, dataset_id).results(episodes)


class _Road:
    """The stages, each building on the ones before."""

    def __init__(
        self, directory: Path, spec: EnvSpec, seed: int, settings: QuickstartSettings, dataset_id: str | None
    ) -> None:
        self.directory, self.spec, self.seed, self.settings = directory, spec, seed, settings
        self.preset = spec.kwargs["preset"]
        changed = changed_parameters(spec)
        self.dataset_id = dataset_id or f"gems-slate/{self.preset}/quickstart-v0"
        self.stages = Stages(directory)
        self.world = cast(SlateEnv, gymnasium.make(spec).unwrapped)
        self.base = {"env": spec.id, "catalog": self.world.catalog.hash, "seed": seed}
        self.base |= {"env_options": changed} if changed else {}

    # -- representations ---------------------------------------------------------------------------------------

    @cached_property
    def belief(self) -> dict[str, Any]:
        recipe, settings = trained_recipe("belief/gru", self.preset, seed=self.seed), self.settings
        return self.pretrained("belief", recipe, settings.belief_batches, sessions=settings.belief_sessions)

    @cached_property
    def ranker(self) -> dict[str, Any]:
        recipe, settings = trained_recipe("ranker/gems", self.preset, seed=self.seed), self.settings
        log = {"sessions": settings.ranker_sessions, "search_sessions": settings.search_sessions}
        return self.pretrained("ranker", recipe, settings.ranker_batches, **log)

    def pretrained(self, name: str, recipe: Recipe, batches: int, **log: Any) -> dict[str, Any]:
        """A part by a recipe with less of everything."""
        recipe = replace(recipe, settings=recipe.settings | {"batches": batches}, **log)
        file = f"{name}.safetensors"

        def make() -> dict[str, Any]:
            made = follow(recipe, world=(self.world.config, self.world.catalog))
            made.save(self.directory / file)
            return {"metrics": metrics_of(made)}

        return self.stages.run(name, self.base | asdict(recipe), [file], make, modules=modules_of(recipe))

    @cached_property
    def latent_world(self) -> LatentWorld:
        belief, ranker = (self.directory / f"{part}.safetensors" for part in ("belief", "ranker"))
        return LatentWorld.of(self.spec, ranker, belief)

    @property
    def score(self) -> ValidationScore:
        """Mean return on validation users."""
        users = user_seeds("validation", self.seed, self.settings.validation_users)
        return ValidationScore(partial(self.latent_world.users, autoreset_mode="disabled"), users)

    # -- agents ------------------------------------------------------------------------------------------------

    def train(self, name: str, source: Any, steps: int, options: dict[str, Any]) -> Any:
        """Fit an agent, keep the best on validation users, and write its folder."""
        agent = plugins.load(plugins.AGENTS, name)(**options)
        folder = self.directory / name
        discard_unfinished(folder)  # a run of other settings would be in the way
        agent.fit(source, steps=steps, seed=self.seed, directory=folder, evaluate=self.score)
        record = {
            "env": self.spec.id,
            "env_spec": self.spec.to_json(),
            "steps": steps,
            "seed": self.seed,
        }
        world = self.latent_world
        save_trained_agent(folder, agent, name, world.ranker, world.belief, record)
        discard_unfinished(folder)
        return agent

    @cached_property
    def sac(self) -> dict[str, Any]:
        settings = self.settings
        options = {"validate_every": max(settings.sac_interactions // 10, 1)}

        def make() -> dict[str, Any]:
            agent = self.train(
                "sac", self.latent_world.users(settings.sac_users), settings.sac_interactions, options
            )
            collecting = _halfway(agent.checkpoints)
            collecting.actor.save(self.directory / "behaviour.safetensors")
            return {
                "curve": [one.describe() for one in agent.checkpoints],
                "behaviour": collecting.describe(),
            }

        inputs = {
            **options, "interactions": settings.sac_interactions, "users": settings.sac_users,
            "validation_users": settings.validation_users,
            "belief": self.belief["fingerprint"], "ranker": self.ranker["fingerprint"],
        }  # fmt: skip
        files = ["sac/agent.json", "sac/policy.safetensors", "behaviour.safetensors"]
        return self.stages.run("sac", inputs, files, make, modules=_agent_modules("sac"))

    @cached_property
    def dataset(self) -> dict[str, Any]:
        minari = require("minari")

        def make() -> dict[str, Any]:
            if self.dataset_id in minari.list_local_datasets():
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

        def still_whole(result: dict[str, Any]) -> bool:
            local = minari.list_local_datasets()
            found: bool = local.get(self.dataset_id, {}).get("content_hash") == result["content_hash"]
            return found

        inputs = {
            "dataset_id": self.dataset_id, "sessions": self.settings.dataset_sessions,
            "noise": self.settings.exploration_noise, "sac": self.sac["fingerprint"],
        }  # fmt: skip
        return self.stages.run("dataset", inputs, [], make, still_whole, modules=_COLLECTING)

    def behaviour_policy(self) -> Policy:
        """The policy that collects: an early checkpoint of SAC, with noise."""
        actor = Actor.load(self.directory / "behaviour.safetensors")
        return NoisyActor(actor, self.settings.exploration_noise)

    def offline(self, name: str) -> dict[str, Any]:
        """An offline agent, trained on the dataset."""
        inputs = {"updates": self.settings.offline_updates, "dataset": self.dataset["fingerprint"]}

        def make() -> dict[str, Any]:
            agent = self.train(name, self.dataset_id, self.settings.offline_updates, {})
            return {"history": agent.history}

        files = [f"{name}/agent.json", f"{name}/policy.safetensors"]
        return self.stages.run(name, inputs, files, make, modules=_agent_modules(name))

    # -- results -----------------------------------------------------------------------------------------------

    @cached_property
    def constant_slate(self) -> NDArray[np.int64]:
        sessions = self.settings.constant_slate_sessions

        def make() -> dict[str, Any]:
            policy: Any = make_policy("constant_slate", self.world, sessions=sessions, seed=self.seed)
            return {"slate": policy.slate.tolist()}

        modules = [plugins.module_of(plugins.POLICIES, "constant_slate")]
        found = self.stages.run(
            "constant slate", {**self.base, "sessions": sessions}, [], make, modules=modules
        )
        return np.array(found["slate"])

    def results(self, episodes: int) -> ResultsTable:
        """Evaluate everything on test users."""
        users = user_seeds("test", self.seed, episodes)
        num_envs = min(episodes, NUM_ENVS)
        slates = gymnasium.make_vec(self.spec, num_envs=num_envs, autoreset_mode="disabled")
        belief, ranker = self.belief, self.ranker
        sac = self.sac
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
            "stage_seconds": self.stages.seconds, "belief_metrics": belief["metrics"],
            "ranker_metrics": ranker["metrics"], "sac_curve": sac["curve"], "behaviour": sac["behaviour"],
            "gems_gym": __version__, "processor": cpu_type()["processor"],
            **made_by(__name__, *_agent_modules(*OFFLINE_AGENTS, "sac")),
        }  # fmt: skip
        table = ResultsTable(self.spec.id, evaluations, measure_references(slates, users), details)
        write_json(self.directory / "results.json", plain(table.as_dict()))
        return table


def _agent_modules(*names: str) -> set[str]:
    """The modules that train and score agents."""
    return {"gems_gym_agents.evaluation"} | {plugins.module_of(plugins.AGENTS, name) for name in names}


_COLLECTING = ("gems_gym.datasets.collect", "gems_gym.policies.actor")
_DATASET = 2**19  # block of logging users that no seed below 2^18 shares, nor the rankers' with it


def _halfway(checkpoints: list[Any]) -> Any:
    """The first checkpoint whose validation return passes half of the best one's: neither random nor finished."""
    best = max(checkpoint.score for checkpoint in checkpoints)
    return next(checkpoint for checkpoint in checkpoints if checkpoint.score >= best / 2)
