"""A run of an agent that learns from users: its parts, its training, and its score on test users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from gems_gym import plugins
from gems_gym.beliefs import load_belief
from gems_gym.rankers import load_ranker
from gems_gym.trained_agents import save_trained_agent
from gems_gym.unfinished import discard_unfinished
from gems_gym_agents.comparison.learning import agent_settings, describe, fit, score_on_test_users
from gems_gym_agents.comparison.parts import Parts
from gems_gym_agents.comparison.runs import OpenWorld, Run
from gems_gym_agents.comparison.study import OnlineVariant, World


@dataclass(frozen=True)
class OnlineRun(Run[World, OnlineVariant]):
    """An agent that learns from users through a belief and a ranker; these are shared with runs beside it."""

    @property
    def parts(self) -> Parts:
        """The beliefs and rankers of the run's world and seed."""
        return Parts(OpenWorld(self.world), self.seed, self.folder.parent)

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        made_by = {kind: self.parts.settings(getattr(self.variant, kind)) for kind in ("belief", "ranker")}
        return {**agent_settings(self), "num_envs": self.variant.num_envs, **made_by}

    def modules(self) -> set[str]:
        """The modules that make the result."""
        made_by = (self.parts.modules(part) for part in (self.variant.belief, self.variant.ranker))
        return {__name__, plugins.module_of(plugins.AGENTS, self.variant.agent)}.union(*made_by)

    def play(self) -> str:
        """Train and test, and write the result.

        It holds ``test`` (``mean_return``, ``ci95`` over users, ``users``), ``interactions``, ``curve``
        (``interactions``, ``score`` on validation users), ``averaged`` (``score`` and ``mean_of`` of the mean of late
        policies, which is one more to choose from; None if there is none), ``cpu_seconds`` of belief, ranker and
        training, ``metrics`` and ``parts`` (the sha256 of the file) of belief and ranker, and ``logged_interactions``
        that these two learned from.
        """
        parts, variant = self.parts, self.variant
        made = {"belief": parts.make(variant.belief), "ranker": parts.make(variant.ranker)}
        belief, ranker = load_belief(parts.file(variant.belief)), load_ranker(parts.file(variant.ranker))

        def tested(count: int) -> VectorEnv[Any, Any, Any]:
            return parts.world.latents(count, ranker, belief, autoreset_mode="disabled")

        agent, score = fit(self, parts.world.latents(variant.num_envs, ranker, belief), tested)
        belief = getattr(
            agent, "belief", belief
        )  # what it acts on from now on, if it has learned one of its own
        cpu_seconds = {kind: one["cpu_seconds"] for kind, one in made.items()} | {
            "training": score.cpu_seconds
        }
        env_id = parts.world.env_id
        record: dict[str, Any] = {
            "env": env_id,
            "env_spec": gymnasium.spec(env_id).to_json(),
            "steps": variant.steps,
        }
        save_trained_agent(self.folder, agent, variant.agent, ranker, belief, {**record, "seed": self.seed})
        found = score_on_test_users(self, agent.policy, tested)
        policies = [one.describe() for one in getattr(agent, "checkpoints", ()) if one.score is not None]
        curve = [one for one in policies if one.get("mean_of", 1) == 1]
        means = [{key: one[key] for key in ("score", "mean_of")} for one in policies if one not in curve]
        self.finish(
            {
                "test": describe(found),
                "interactions": getattr(agent, "interactions", variant.steps),
                "logged_interactions": sum(one["logged_interactions"] for one in made.values()),
                "curve": {key: [one[key] for one in curve] for key in ("interactions", "score")},
                "averaged": means[0] if means else None,
                "cpu_seconds": cpu_seconds,
                "metrics": {kind: one["metrics"] for kind, one in made.items()},
                "parts": {kind: one["sha256"] for kind, one in made.items()},
            }
        )
        discard_unfinished(self.folder)
        minutes = sum(cpu_seconds.values()) / 60
        return f"{found.mean_return:.1f} clicks on test users, {minutes:.1f} CPU-minutes"
