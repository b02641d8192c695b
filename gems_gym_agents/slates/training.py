"""Training in rounds: an agent plays a session with each of some new users, then learns from what it has seen.

What one round leaves to the next is the learner's networks and optimisers, the sessions that it still learns from, and
a few numbers. All of it is saved after each round, so that an interrupted training resumes and ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv

from gems_gym.artifacts import load_artifact, save_artifact
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.user_splits import USERS_PER_SEED, user_seeds
from gems_gym_agents.base import DivergedError, Evaluate
from gems_gym_agents.slates.sessions import Chooser, Sessions, play

_SESSIONS_KIND = "unfinished/sessions"

Line = dict[str, float]
"""What was measured in a round: ``interactions`` up to its end, ``clicks_per_session``, losses, and ``score``."""


class Learner(Protocol):
    """What learns: networks in torch.

    Attributes:
        kept_rounds: How many rounds before the last one it learns from again; at least 0.
        parts: Name -> what has a ``state_dict``: all that learning changes.
    """

    kept_rounds: int
    parts: Mapping[str, Any]

    def chooser(self, done: float) -> Chooser:
        """How it acts in the next round, exploring; ``done`` is the share of the training that is over."""
        ...

    def learn(self, rounds: Sequence[Sessions], rng: np.random.Generator) -> dict[str, float]:
        """Learn from the kept rounds and the last one; returns what is to be reported."""
        ...

    def policy(self) -> Any:
        """The policy as it is now, without exploration."""
        ...


class Training:
    """A training, from where an earlier one with the same arguments was interrupted.

    Args:
        learner: Freshly made.
        run: Keeps the state.
        read_policy: Reads the file of a policy.

    Attributes:
        interactions: So far.
        history: A line for each round.
        last: The policy at the end of the last round; None before the first.
        best: The one with the highest score so far; None before one is scored.

    Raises:
        ValueError: The folder holds an unfinished run of other arguments, or one whose files were altered or removed.
    """

    def __init__(self, learner: Learner, run: Unfinished, read_policy: Callable[[Path], Any]) -> None:
        self.learner = learner
        self.interactions = 0
        self.history: list[Line] = []
        self.last: Any = None
        self.best: Any = None
        self._run = run
        self._best_file: str | None = None
        self._kept: dict[str, Sessions] = {}  # by file
        with run.resuming() as state:
            if state is not None:
                self._restore(state.tensors, state.header, read_policy)

    @property
    def policy(self) -> Any:
        """The best policy, or the last one if none was scored; None before the first round."""
        return self.last if self.best is None else self.best

    def run_round(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        seed: int,
        sessions: int,
        steps: int,
        validate_every: int,
        evaluate: Evaluate | None,
    ) -> Line:
        """Play, learn, score the policy if it is time to, and save.

        Args:
            env: The users.
            seed: Seed of the training.
            sessions: Sessions in a round.
            steps: Interactions of the training; with the last one, and after each ``validate_every``, the policy is
                scored.
            validate_every: See ``steps``.
            evaluate: Scores a policy, higher is better; None: nothing is scored.

        Raises:
            DivergedError: A loss is not finite.
        """
        number = len(self.history)
        # after a million sessions the first users again
        first = number % (USERS_PER_SEED // sessions) * sessions
        users = user_seeds("training", seed, sessions, start=first)
        played = play(env, self.learner.chooser(self.interactions / steps), users)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        losses = self.learner.learn([*self._kept.values(), played], rng)
        reached = self.interactions + played.interactions
        if not np.isfinite(list(losses.values())).all():
            raise DivergedError(f"after {reached} interactions the losses are {losses}: lower learning rates")
        networks = [part for part in self.learner.parts.values() if hasattr(part, "parameters")]
        weights = [one for network in networks for one in network.parameters()]
        if not all(bool(one.isfinite().all()) for one in weights):
            raise DivergedError(
                f"after {reached} interactions weights are no longer numbers: lower learning rates"
            )
        self.last = self.learner.policy()
        before, self.interactions = self.interactions, reached
        clicks = float(played.rewards.sum()) / sessions
        line = {"interactions": self.interactions, "clicks_per_session": clicks, **losses}
        due = self.interactions >= steps or before // validate_every < self.interactions // validate_every
        if evaluate is not None and due:
            line["score"] = self._scored(evaluate)
        self.history.append(line)
        self._save(f"sessions_{number}.safetensors", played)
        return line

    def _scored(self, evaluate: Evaluate) -> float:
        score = float(evaluate(self.last))
        if self.best is None or score > max(line.get("score", -np.inf) for line in self.history):
            self.best, self._best_file = self.last, f"best_{self.interactions}.safetensors"
            if self._run.folder is not None:
                self.best.save(self._run.file(self._best_file))
        return score

    def _save(self, file: str, played: Sessions) -> None:
        """Files first, then the state that names them; then those that it no longer names go."""
        self._kept[file] = played
        while len(self._kept) > self.learner.kept_rounds:
            del self._kept[next(iter(self._kept))]  # the oldest
        if self._run.folder is None:
            return
        from gems_gym_agents.torch_state import state_arrays

        if file in self._kept:
            save_artifact(self._run.file(file), _SESSIONS_KIND, vars(played), {})
        states = {name: part.state_dict() for name, part in self.learner.parts.items()}
        header = {
            "interactions": self.interactions,
            # as pairs, whose order headers keep
            "history": [list(line.items()) for line in self.history],
            "best": self._best_file,
            "sessions": list(self._kept),
        }
        self._run.save(dict(state_arrays(states)), header)
        named = {self._best_file, *self._kept}
        for pattern in ("best_*", "sessions_*"):
            for found in self._run.folder.glob(pattern):
                if found.name not in named:
                    found.unlink()

    def _restore(
        self, tensors: Mapping[str, Any], header: Mapping[str, Any], read_policy: Callable[[Path], Any]
    ) -> None:
        from gems_gym_agents.torch_state import put_state_arrays

        parts = self.learner.parts
        states = {name: part.state_dict() for name, part in parts.items()}
        put_state_arrays(states, tensors)
        for name, part in parts.items():
            part.load_state_dict(states[name])
        self.interactions = header["interactions"]
        self.history = [dict(line) for line in header["history"]]
        self.last = self.learner.policy()
        self._best_file = header["best"]
        if self._best_file is not None:
            self.best = read_policy(self._run.file(self._best_file))
        for file in header["sessions"]:
            self._kept[file] = Sessions(**load_artifact(self._run.file(file), _SESSIONS_KIND).tensors)
