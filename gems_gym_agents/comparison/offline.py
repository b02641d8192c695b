"""A run of an agent that learns from a dataset: final, peak, the recorded behaviour, and |Q| against its bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.common.arrays import t_interval
from gems_gym.common.dataset_folders import local_dataset_ids
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy
from gems_gym.trained_agents import save_trained_agent
from gems_gym.unfinished import discard_unfinished
from gems_gym_agents.comparison.learning import agent_settings, describe, fit, score_on_test_users
from gems_gym_agents.comparison.runs import Run
from gems_gym_agents.comparison.study import OfflineVariant, RecordedWorld
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.training_world import dataset_world

_LOGGED = ("step", "score", "q_abs_max", "q_bound")


def open_dataset(world: RecordedWorld) -> tuple[LatentWorld, Any]:
    """What a dataset was recorded in, with its ranker and belief, and the dataset.

    Raises:
        FileNotFoundError: It is not among the local ones; the message says what to do.
        ValueError: Sessions of another world, or slates instead of beliefs and latents.
    """
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
    return recorded, dataset


@dataclass(frozen=True)
class OfflineRun(Run[RecordedWorld, OfflineVariant]):
    """An agent that learns from a dataset, whose belief and ranker it uses."""

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        content_hash = open_dataset(self.world)[1].storage.metadata["content_hash"]
        return {**agent_settings(self), "dataset": self.world.dataset_id, "content_hash": content_hash}

    def modules(self) -> set[str]:
        """The modules that make the result."""
        return {__name__, plugins.module_of(plugins.AGENTS, self.variant.agent)}

    def play(self) -> str:
        """Train and test, and write the result.

        It holds ``test`` (of the policy with the best score on validation users: the peak) and ``final`` (of the last
        one), ``history`` (at every log: ``step``, ``score`` on validation users, ``q_abs_max``, ``q_bound``),
        ``behaviour`` (mean return of the recorded sessions), ``difference_to_behaviour`` of peak and final, paired by
        recorded user, and ``cpu_seconds``.
        """
        world, dataset = open_dataset(self.world)
        spec = world.spec

        def tested(count: int) -> VectorEnv[Any, Any, Any]:
            return world.users(count, autoreset_mode="disabled")

        agent, score = fit(self, dataset, tested)
        cpu_seconds = {"training": score.cpu_seconds}
        policies: dict[str, Policy] = {"peak": agent.policy, "final": getattr(agent, "last", agent.policy)}
        record = {"env": spec.id, "env_spec": spec.to_json(), "dataset": dataset.id, "seed": self.seed}
        save_trained_agent(
            self.folder, agent, self.variant.agent, world.ranker, world.belief,
            {**record, "steps": self.variant.steps},
        )  # fmt: skip
        found = {name: score_on_test_users(self, policy, tested) for name, policy in policies.items()}
        seeds, recorded = recorded_returns(dataset, self.study.test_users)
        paired = {
            name: _difference(policy, tested(len(seeds)), seeds, recorded)
            for name, policy in policies.items()
        }
        self.finish(
            {
                "test": describe(found["peak"]),
                "final": describe(found["final"]),
                "history": {key: [line.get(key) for line in agent.history] for key in _LOGGED},
                "behaviour": {
                    "users": len(seeds),
                    "mean_return": recorded.mean(),
                    "ci95": t_interval(recorded),
                },
                "difference_to_behaviour": paired,
                "cpu_seconds": cpu_seconds,
            }
        )
        discard_unfinished(self.folder)
        peak, final = (found[name].mean_return for name in ("peak", "final"))
        return f"peak {peak:.1f}, final {final:.1f}, behaviour {recorded.mean():.1f} clicks"


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


def _difference(
    policy: Policy, env: VectorEnv[Any, Any, Any], seeds: list[int], recorded: NDArray[np.float64]
) -> dict[str, float]:
    """How many clicks more a policy gets of recorded users than the recorded behaviour did."""
    gained = evaluate(policy, env, seeds, name="recorded users", progress=True).returns - recorded
    return {"mean": float(gained.mean()), "ci95": t_interval(gained)}
