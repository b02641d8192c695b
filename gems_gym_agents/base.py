"""The protocol every learning agent follows, ours and those of plugins (entry-point group ``gems_gym.agents``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from gems_gym import __version__
from gems_gym.commands.output import plain
from gems_gym.policies import Policy

POLICY_FILE = "policy.safetensors"
"""Where our agents save their policy, in the folder that they are saved to."""

Evaluate = Callable[..., float]
"""Scores a :class:`~gems_gym.policies.Policy` on users that training never sees: mean clicks per session, higher is
better.

A second argument, a :class:`gems_gym.beliefs.BeliefEncoder`, is the belief that it acts on, if that is its own.
"""


class DivergedError(RuntimeError):
    """Training produced values that can't be right: |Q| far beyond its bound, or NaN."""


def run_arguments(
    agent: str, options: Any, evaluate: Evaluate | None, libraries: Iterable[str], **own: Any
) -> dict[str, Any]:
    """Everything that decides what is learned, as JSON has it: an interrupted run resumes with nothing else.

    Args:
        agent: What learns.
        options: Its options, a dataclass.
        evaluate: Scores policies; on which users is part of what decides.
        libraries: Distributions that it computes with.
        **own: What else decides.
    """
    versions = {"gems-gym": __version__, **{name: version(name) for name in sorted({*libraries})}}
    found: dict[str, Any] = plain(
        {
            "agent": agent,
            "options": asdict(options),
            **own,
            "validation_users": getattr(evaluate, "user_seeds", None),
            "versions": versions,
        }
    )
    return found


def world_options(agent_class: Any, preset: str | None) -> dict[str, Any]:
    """All options that an agent has for a world, by the name of its preset; empty where it has none of its own."""
    options = getattr(agent_class, "presets", {}).get(preset)
    return {} if options is None else dict(vars(options))


@runtime_checkable
class Agent(Protocol):
    """A learner: made from options, fitted once; then it has a policy, which acts without exploration.

    The class attribute ``learns_from`` says what ``fit`` wants: ``"dataset"`` (a Minari dataset) or ``"environment"``
    (a vector environment). Optional class attributes ``observes`` ("beliefs" or "slates") and ``actions`` ("latents"
    or "slates") say what the agent sees and chooses there, as those of its policy do; beliefs and latents if they are
    not given: Box observations, and actions in Box(-1, 1).

    A class attribute ``ranker_kind``, if there is one, is the name of the only rankers (``gems_gym.rankers``) through
    which the agent can act, made of item embeddings.

    Options are keyword arguments with the recipe's defaults; an unknown one is a ``ValueError`` that names the nearest.
    A class attribute ``presets``, if there is one, maps the name of a world's preset to a dataclass of all options:
    ``gems-gym train`` takes them from there.

    A class method ``load_checkpoints(directory)``, if there is one, reads the policies that ``fit`` kept on the way:
    objects with ``interactions``, ``actor`` (a policy), ``belief`` (its own, or None) and ``mean_of`` (of how
    many policies it is the mean, 1 if of none). ``--checkpoint`` chooses among them.

    An attribute ``logged_interactions``, if there is one, is how many slates the agent logged before its ``steps``.

    A class method ``policy_from_artifact(artifact)``, if there is one, reads the policy of an agent that shows slates
    from a single file of the kind "policy/AGENT" (:func:`gems_gym.artifacts.load_artifact`): so it can be shipped.

    An agent that learns a belief of its own has it as the attribute ``belief`` once it is fitted, and acts on it.
    """

    learns_from: ClassVar[Literal["dataset", "environment"]]

    def __init__(self, **options: Any) -> None: ...

    def fit(
        self,
        source: Any,
        *,
        steps: int,
        seed: int,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Evaluate | None = None,
        progress: bool = True,
    ) -> None:
        """Learns from scratch.

        Args:
            source: A ``minari.MinariDataset`` or its id, or a ``gymnasium.vector.VectorEnv`` (see ``learns_from``).
            steps: Gradient updates (dataset agents) or environment interactions (environment agents), at least 1. An
                agent may have a default, which ``gems-gym train`` then uses where no ``--steps`` is given.
            seed: Decides everything random; the same seed on the same CPU build gives the same agent.
            directory: Where checkpoints and curves go; ``None`` writes nothing. An agent may leave there what an
                interrupted run resumes from (:mod:`gems_gym.artifacts.unfinished`), and then does so when it is
                called with the same arguments again.
            device: A torch device, ``"cpu"`` or ``"cuda"``.
            evaluate: Scores the policy on validation users at intervals; the agent then keeps its best one.
            progress: Draw a progress bar on stderr.

        Raises:
            ValueError: An argument is out of its range, or the source does not fit the agent.
            ImportError: The agent's library is not installed; the text holds the ``pip install`` line.
        """
        ...

    @property
    def policy(self) -> Policy:
        """What was learned, acting without exploration.

        Raises:
            RuntimeError: ``fit`` has not been called.
        """
        ...

    def save(self, directory: Path) -> None:
        """Writes the fitted agent: files that cannot run code (``policy.safetensors`` and JSON)."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Policy:
        """Reads what ``save`` wrote, for acting only: those of built-in agents need no learning library."""
        ...
