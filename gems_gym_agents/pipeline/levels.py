"""Policies of levels: trained in a world, picked from the way there, written as artefacts that are asked for by name.

*Expert* is the policy with the highest validation score; *medium* the first on the way whose normalised score is past
half of expert's. Random needs no artefact. Datasets of these levels: :func:`gems_gym.datasets.collect_level`.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from gems_gym import __version__
from gems_gym.artifacts import shipped
from gems_gym.artifacts.unfinished import discard_unfinished
from gems_gym.commands.output import plain
from gems_gym.commands.worlds import changed_parameters
from gems_gym.common.locks import locked_folder
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import MemorylessPolicy
from gems_gym.policies.actor import KIND, Actor
from gems_gym.registration import is_latent
from gems_gym.user_splits import user_seeds
from gems_gym_agents.base import world_options
from gems_gym_agents.evaluation import References, evaluate, measure_references
from gems_gym_agents.online.checkpoints import Checkpoint, read_checkpoints
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.sac import SACAgent
from gems_gym_agents.pipeline.stages import Stage
from gems_gym_agents.pipeline.training import TrainingSettings, agent_modules, fit

VALIDATION_USERS = 200
VALIDATE_EVERY = 20_000
KEEP_GROWTH = 0.2
"""Users that policies are picked on; the interactions between two policies, at most; and by which share of the
interactions since learning began they differ: half of expert's score may be passed within a hundred updates."""

TRAINING_USERS = 100
"""Users in lockstep."""

SAME_ACTIONS = 0.01
"""Weights are stored as float16 if no action on the validation users' beliefs differs by more, in units of the box
[-1, 1]: a twentieth of the noise that datasets are collected with."""

_FINISHED_FILE = "finished.json"


class NoLevelsError(ValueError):
    """A training on whose way there are no policies of two levels."""


@dataclass(frozen=True)
class Training:
    """How the policies of a world are made.

    Attributes:
        world: A latent environment of a preset, with its ranker and belief.
        steps: Interactions.
        seed: Decides everything random, and which validation users policies are scored on.
    """

    world: LatentWorld
    steps: int
    seed: int

    @classmethod
    def of(cls, env: str | EnvSpec, steps: int, seed: int) -> Training:
        """The training in an environment, given by its id or a spec.

        Raises:
            ValueError: Not a latent environment, or not one of a preset.
        """
        spec = gymnasium.spec(env) if isinstance(env, str) else env
        world = LatentWorld.of(spec) if is_latent(spec) else None
        if world is None or world.preset is None:
            raise ValueError(
                f"env {spec.id!r} names no preset with a ranker and a belief; give GemsSlateLatent-WORLD-v0"
            )
        return cls(world, steps, seed)

    @property
    def options(self) -> SACOptions:
        """SAC's settings in this world; levels are policies on the way, not means of several."""
        assert self.world.preset is not None  # checked when it was made
        preset = SACOptions(**world_options(SACAgent, self.world.preset))
        return replace(preset, validate_every=VALIDATE_EVERY, averaged_share=0.0)

    @property
    def users(self) -> list[int]:
        """The validation users."""
        return user_seeds("validation", self.seed, VALIDATION_USERS)

    @property
    def record(self) -> dict[str, Any]:
        """All that decides the result; JSON types only."""
        world = self.world
        parts: dict[str, Any] = {"ranker": world.ranker, "belief": world.belief}
        return described(
            world, SACAgent.options_class.agent, self.options, self.steps, self.seed, TRAINING_USERS,
            command="gems-gym levels", keep_growth=KEEP_GROWTH,
            **{kind: {"name": world.spec.kwargs[kind], "sha256": part.sha256} for kind, part in parts.items()},
        )  # fmt: skip

    def policies(self, folder: Path) -> list[Checkpoint]:
        """Train, or resume what is there; of a training that the same code finished, read what it left.

        Args:
            folder: Gets a folder for this very training.

        Returns:
            Every validated policy, in order.

        Raises:
            InUseError: Another process is doing this very training.
        """
        directory = training_folder(folder, self.record)
        with locked_folder(directory, f"the training in {directory}"):
            name = f"training in {self.world.preset}"
            modules = agent_modules(SACAgent.options_class.agent)
            stage = Stage(name, directory, self.record, modules, record_name=_FINISHED_FILE)

            def train() -> dict[str, Any]:
                agent, users = SACAgent(**vars(self.options)), self.world.users(TRAINING_USERS)
                settings = TrainingSettings(self.steps, self.seed, VALIDATION_USERS)
                score = fit(agent, users, self.world, stage, directory, settings, keep_growth=KEEP_GROWTH)
                return {"cpu_seconds": score.cpu_seconds}

            stage.run(train)
            discard_unfinished(directory)
            return read_checkpoints(directory)


def described(
    world: LatentWorld,
    agent: str,
    options: Any,
    steps: int,
    seed: int,
    training_users: int,
    *,
    command: str,
    **more: Any,
) -> dict[str, Any]:
    """All that decides a training of a shipped policy; JSON types only.

    Args:
        world: World of a preset.
        agent: A name in the entry-point group ``gems_gym.agents``.
        options: The agent's, a dataclass.
        steps: Interactions.
        seed: Decides everything random.
        training_users: Users in lockstep.
        command: The program's words that make it, to which the world, steps and seed are added.
        **more: Further entries.
    """
    spec = world.spec
    changed = changed_parameters(spec)
    given = "".join(
        f" --env-option {shlex.quote(f'{name}={json.dumps(value)}')}" for name, value in changed.items()
    )
    found: dict[str, Any] = plain(
        {
            "preset": world.preset,
            "env": spec.id,
            "agent": agent,
            "options": asdict(options),
            "steps": steps,
            "seed": seed,
            "training_users": training_users,
            "validation_users": VALIDATION_USERS,
            "gems_gym_version": __version__,
            "command": f"{command} --env {spec.id}{given} --steps {steps} --seed {seed}",
            **more,
            **({"env_options": changed} if changed else {}),
        }
    )
    return found


def training_folder(folder: Path, record: dict[str, Any]) -> Path:
    """The folder, in another one, of the very training that a record describes."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    return folder / f"{record['preset']}-{digest[:12]}"


def pick(policies: Sequence[Checkpoint], references: References) -> dict[str, Checkpoint]:
    """Choose the policies of the levels.

    Args:
        policies: Scored ones on the way of a training, in order; those without a score don't count.
        references: What normalised scores of the same users are between.

    Returns:
        ``medium`` and ``expert``.

    Raises:
        NoLevelsError: No policy is better than random slates, or none before expert is past half of its score.
    """
    scores = [(references.normalized_score(one.score), one) for one in policies if one.score is not None]
    best, expert = max(scores, key=lambda pair: pair[0], default=(0.0, None))
    if expert is None or not best > 0.0:  # NaN where the references are equal
        raise NoLevelsError(
            f"the best policy's normalised score is {best:.1f}, no better than random slates: train with more steps"
        )
    medium = next(one for score, one in scores if score > best / 2)
    if medium is expert:
        raise NoLevelsError(
            f"the first policy past half of expert's normalised score, {best:.1f}, is expert itself, after "
            f"{expert.interactions} interactions: train with more steps"
        )
    return {"medium": medium, "expert": expert}


def make_levels(training: Training, out: Path, runs: Path) -> dict[str, shipped.Entry]:
    """Train in a world, pick, and write the policies ``medium-{preset}`` and ``expert-{preset}``.

    Args:
        training: How.
        out: Folder of the files and their manifest.
        runs: Folder of the training, which is resumed there if it was interrupted.

    Returns:
        Name -> entry in the manifest.

    Raises:
        NoLevelsError: As :func:`pick`.
        DivergedError: The training failed.
    """
    policies = training.policies(runs)
    slates = training.world.slates(VALIDATION_USERS, autoreset_mode="disabled")
    references = measure_references(slates, training.users)
    chosen = pick(policies, references)
    scores = {level: references.normalized_score(one.score or 0.0) for level, one in chosen.items()}
    made = {
        **training.record,
        "curve": [[one.interactions, one.score] for one in policies],
        "scores": scores,
        "references": asdict(references),
    }
    entries = {}
    for level, one in chosen.items():
        name = f"{level}-{training.world.preset}"
        assert isinstance(one.actor, Actor)  # SAC's are
        actor, stored = _as_stored(one.actor, training)
        metrics = {
            "interactions": one.interactions,
            "validation_return": one.score,
            "normalized_score": scores[level],
            **stored,
        }
        actor.metadata = plain({"level": level, **made, "metrics": metrics})
        file = out / f"{name}.safetensors"
        entries[name] = ship(out, name, KIND, actor.save(file), actor.metadata)
    return entries


def ship(out: Path, name: str, kind: str, sha256: str, made: dict[str, Any]) -> shipped.Entry:
    """Put a policy's file, ``NAME.safetensors``, into the manifest of the folder where it lies.

    Args:
        out: The folder.
        name: What the policy is asked for by.
        kind: Kind of the file.
        sha256: SHA-256 of its bytes.
        made: How it was made: preset, command and metrics.
    """
    entry = shipped.Entry(
        file=f"{name}.safetensors",
        sha256=sha256,
        kind=kind,
        preset=made["preset"],
        command=made["command"],
        metrics=made["metrics"],
    )
    shipped.record(out, name, entry)
    return entry


def _as_stored(actor: Actor, training: Training) -> tuple[Actor, dict[str, Any]]:
    """The policy with weights of half precision if these do the same, and what was found on the validation users."""
    compared = _Compared(Actor(actor.network, half_precision=True), actor)
    env = training.world.users(VALIDATION_USERS, autoreset_mode="disabled")
    found = evaluate(MemorylessPolicy(compared), env, training.users)
    if compared.difference > SAME_ACTIONS:
        return Actor(actor.network), {}
    stored = {"validation_return": found.mean_return, "largest_difference": compared.difference}
    return compared.policy, {"float16": stored}


class _Compared:
    """Acts as one policy, and notes how far another one's actions are from its own."""

    def __init__(self, policy: Actor, other: Actor) -> None:
        self.policy, self.other = policy, other
        self.difference = 0.0

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        actions = self.policy(observations)
        farthest = np.abs(actions - self.other(observations)).max()
        self.difference = max(self.difference, float(farthest))
        return actions
