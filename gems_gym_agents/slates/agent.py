"""What the agents have in common that see beliefs and learn online from whole sessions."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from gymnasium.vector import VectorEnv

from gems_gym.artifacts.unfinished import Unfinished, is_unfinished
from gems_gym.common.checks import (
    Count,
    checked_arguments,
)
from gems_gym.common.progress import track
from gems_gym.errors import require
from gems_gym.policies.base import Observed
from gems_gym.trackers import trackers
from gems_gym.user_splits import UserSeed
from gems_gym_agents.base import DivergedError, Evaluate, run_arguments
from gems_gym_agents.layers import describe_world
from gems_gym_agents.slate_agent import SlateAgent
from gems_gym_agents.slates.options import SessionOptions
from gems_gym_agents.slates.sessions import check_users
from gems_gym_agents.slates.training import Learner, Line, Training

_SHOWN = {"clicks_per_session": "{:.1f} clicks per session", "score": "{:.1f} on validation users"}
"""Measurements that stand behind the progress bar -> how."""


Options = TypeVar("Options", bound=SessionOptions)
ItsPolicy = TypeVar("ItsPolicy", bound=Any)


class SessionAgent(SlateAgent[Options, ItsPolicy]):
    """An agent that plays complete sessions by turns with learning from them; it observes beliefs.

    Args:
        **options: Those of the agent; each has the recipe's default.

    Attributes:
        history: What was measured in each round of the last ``fit``.
    """

    observes: ClassVar[Observed] = "beliefs"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.history: list[Line] = []

    @checked_arguments
    def fit(
        self,
        source: VectorEnv[Any, Any, Any],
        *,
        steps: Count,
        seed: UserSeed,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Evaluate | None = None,
        progress: bool = True,
    ) -> None:
        """Learn from scratch; the agent then acts with its best policy if ``evaluate`` is given, else with its last.

        Rewards are the clicks of the environment's infos; what a wrapper makes of rewards has no effect.

        If ``directory`` holds an unfinished run with the same arguments, it is resumed after its last finished round
        and ends with the same bits. Ctrl-C raises ``KeyboardInterrupt``; the agent can then act with what it has.

        Args:
            source: A vector environment of beliefs, and of slates or latents as the agent acts, in the autoreset mode
                SAME_STEP. How many users it serves together does not change the result.
            steps: Interactions (users times steps), ≥ 1, rounded up to complete rounds.
            seed: Decides everything random, and which users are met; the same seed gives the same policy.
            directory: Keeps what an interrupted run resumes from until the agent is saved; None keeps nothing.
            device: ``"cpu"``; there is no other.
            evaluate: Scores a policy on validation users, higher is better.
            progress: Whether to show a progress bar on stderr.

        Raises:
            TypeError: ``source`` is no vector environment.
            ValueError: An environment that the agent can't learn in, or a directory with an unfinished run of other
                arguments.
            ImportError: Torch is not installed.
            DivergedError: A loss, or a weight, is not finite.
        """
        self._check_device(device)
        check_users(source, self.actions)
        require("torch")
        from gems_gym_agents.library_state import borrowed_global_state

        own = {"steps": steps, "seed": seed, "world": describe_world(source)}
        run = Unfinished.within(directory, run_arguments(self.name, self.options, evaluate, ["torch"], **own))
        self._policy, self._seed, self._finished = None, seed, False
        anew = directory is None or not is_unfinished(Path(directory))
        with borrowed_global_state(), trackers(self.name, directory, anew=anew) as tracked:
            made_by = {"agent": self.name, "seed": seed, "steps": steps}
            training = Training(self._learner(source, seed, made_by), run, self.policy_class.load)
            self.history = training.history
            try:
                with track(self.name, steps, progress) as advance:
                    advance(training.interactions)
                    while training.interactions < steps:
                        before = training.interactions
                        line = training.run_round(
                            source,
                            seed=seed,
                            sessions=self.options.sessions,
                            steps=steps,
                            validate_every=self.options.validate_every,
                            evaluate=evaluate,
                        )
                        tracked(training.interactions, line)
                        advance(training.interactions - before, _note(line))
                self._finished = True
            except DivergedError:
                run.discard()  # a resumed run would end the same way
                raise
            finally:
                self._policy = training.policy

    @abc.abstractmethod
    def _learner(self, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]) -> Learner:
        """The untrained learner; ``made_by`` is kept in its policies' files."""

    def _details(self) -> dict[str, Any]:
        return {**super()._details(), "history": self.history}


def _note(line: Line) -> str:
    return ", ".join(text.format(line[name]) for name, text in _SHOWN.items() if name in line)
