"""A policy in a world, scored: what ``gems-gym evaluate`` prints, and what is needed to score it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import __version__
from gems_gym.commands.worlds import changed_parameters
from gems_gym.common.fingerprints import made_by
from gems_gym.common.progress import note
from gems_gym.policies import Policy, make_policy
from gems_gym.registration import slate_spec
from gems_gym.rollouts import play_sessions
from gems_gym.trained_agents import TrainedAgent, check_acts_in, find_trained_agent, recorded_world
from gems_gym.user_splits import UserSplit, user_seeds
from gems_gym_agents import evaluation

RECORDED = (
    "num_envs", "agent", "policy_sha256", "ranker_sha256", "belief_sha256", "catalog_hash",
    "gems_gym_version", "code", "cpu",
)  # fmt: skip
"""Entries of a score that nobody measures: by them it can be measured again."""


@dataclass(frozen=True)
class Scored:
    """A policy in a world, ready to be scored.

    Attributes:
        name: What the policy was asked for by.
        spec: The world.
        policy: Acts.
        agent: The trained agent that it is the policy of; None of a policy given by name.
        acted_in: The environment that the policy acts in.
        slates: The slate environment inside.
        details: What else decides the score: options of the policy, or the checkpoint.
    """

    name: str
    spec: EnvSpec
    policy: Policy
    agent: TrainedAgent | None
    acted_in: VectorEnv[Any, Any, Any]
    slates: VectorEnv[Any, Any, Any]
    details: dict[str, Any]

    @classmethod
    def opened(
        cls,
        name: str,
        spec: EnvSpec,
        checkpoint: int | None,
        options: dict[str, Any],
        num_envs: int,
        render_mode: str | None = None,
    ) -> Scored:
        """Makes the policy and the environments.

        Args:
            name: A trained agent's folder, a policy's file or shipped name, or a name in the entry-point group
                ``gems_gym.policies``.
            spec: The world.
            checkpoint: See :func:`~gems_gym.trained_agents.open_trained_agent`.
            options: Options of a policy given by name.
            num_envs: Users stepped together.
            render_mode: The environments', for pictures.

        Raises:
            ValueError: What these functions raise, or options for a trained agent.
        """
        making: dict[str, Any] = {"autoreset_mode": "disabled", "render_mode": render_mode}
        slates = gymnasium.make_vec(slate_spec(spec), num_envs=num_envs, **making)
        agent = find_trained_agent(name, checkpoint)
        if agent is None:
            chosen = {"policy_options": options} if options else {}
            return cls(name, spec, make_policy(name, slates, **options), None, slates, slates, chosen)
        if options:
            raise ValueError(
                f"--policy-option goes with a policy given by name, and {name!r} is a trained agent"
            )
        check_acts_in(agent, spec)
        if render_mode is None:
            _note_other_world(agent, spec)
            if caution := getattr(agent.policy, "caution", None):
                note(caution)
        acted_in = agent.world(spec).users(num_envs, **making)
        details = {} if checkpoint is None else {"checkpoint": checkpoint}
        return cls(name, spec, agent.policy, agent, acted_in, slates, details)

    def score(self, split: str, seed: int, episodes: int) -> dict[str, Any]:
        """Plays one session with each of some users, and with the two policies that the score is between.

        Args:
            split: Whose users.
            seed: Which block of users.
            episodes: How many of them.

        Returns:
            What was measured, who acted where, and :meth:`identity`; JSON-able.
        """
        users = user_seeds(cast(UserSplit, split), seed, episodes)
        evaluated = evaluation.evaluate(self.policy, self.acted_in, users, name=self.name, progress=True)
        references = evaluation.measure_references(self.slates, users)
        return {
            "policy": self.name,
            **self.details,
            "env": self.spec.id,
            "env_options": changed_parameters(self.spec),
            "mean_return": evaluated.mean_return,
            "ci95": evaluated.ci95,
            "mean_length": evaluated.mean_length,
            **evaluated.beyond_clicks(),
            "normalized_score": references.normalized_score(evaluated.mean_return),
            "random_return": references.random,
            "boredom_aware_oracle_return": references.boredom_aware_oracle,
            "seconds": evaluated.seconds,
            "split": split,
            "seed": seed,
            "episodes": episodes,
            "num_envs": self.slates.num_envs,
            **self.identity(),
            **self.versions(),
        }

    def identity(self) -> dict[str, Any]:
        """Who acts where, by hashes; None where there is no such file."""
        ranker, belief = (None, None) if self.agent is None else (self.agent.ranker, self.agent.belief)
        return {
            "agent": None if self.agent is None else self.agent.name,
            "policy_sha256": getattr(self.policy, "sha256", None),
            "ranker_sha256": None if ranker is None else ranker.sha256,
            "belief_sha256": None if belief is None else belief.sha256,
            "privileged": bool(getattr(self.policy, "privileged", False)),
            "catalog_hash": self.slates.unwrapped.catalog.hash,  # type: ignore[attr-defined]
        }

    def versions(self) -> dict[str, str]:
        """What the digits depend on beside: the package's version, the code that acts, the type of the processor."""
        parts = [self.policy, *((self.agent.ranker, self.agent.belief) if self.agent else ())]
        modules = sorted({type(part).__module__ for part in parts if part is not None})
        return {
            "gems_gym_version": __version__,
            **made_by("gems_gym_agents.evaluation", "gems_gym.registration", *modules),
        }

    def pictures(self, user: int) -> list[NDArray[np.uint8]]:
        """One user's session; none where a window shows it as it is played."""
        env: Any = self.acted_in
        moments = [env.render() for _ in play_sessions(env, self.policy, [user])]
        env.close()
        return [frames[0] for frames in moments if frames is not None]


def _note_other_world(agent: TrainedAgent, spec: EnvSpec) -> None:
    """Say so where an agent is scored in a world with other parameters than it was trained in."""
    try:
        recorded = recorded_world(agent)
    except ValueError:
        return  # a record of a world that is not known here
    trained_in, scored_in = changed_parameters(recorded), changed_parameters(spec)
    if trained_in != scored_in:
        note(f"the agent was trained with {_listed(trained_in)}, and is scored with {_listed(scored_in)}")


def _listed(parameters: dict[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in sorted(parameters.items()))
    return given or "the environment's own parameters"
