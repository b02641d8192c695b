"""More parts for gems-gym, as small as can be: copy from it.

A click model, a belief, item embeddings, an executor, a table column, a tracker, an agent that acts in latents, and a
world with dynamics of its own.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from gems_gym import SlateConfig
from gems_gym.artifacts import Artifact, load_artifact, save_artifact
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.embeddings import EmbeddingKind, Sources
from gems_gym.policies import MemorylessPolicy, Policy
from gems_gym.rankers.stored import checked_sessions
from gems_gym.simulator import SlateSimulator
from gems_gym.simulator.state import Shown


def first_only(slate_size: int, click_propensity: float) -> np.ndarray:
    """A click model: users look at the first position, and at each of the others with one probability."""
    propensities = np.full(slate_size, click_propensity)  # (slate_size,)
    propensities[0] = 1.0
    return propensities


class ClickStack:
    """A belief: how often each position was clicked in the last few slates. Its state is a dict of arrays."""

    kind = "belief/click_stack"
    depth = 3

    def __init__(
        self, *, num_items: int, slate_size: int, catalog_hash: str, sha256: str | None = None
    ) -> None:
        self.num_items, self.slate_size, self.size = num_items, slate_size, slate_size
        self.catalog_hash, self.sha256 = catalog_hash, sha256

    def initial(self, num_users: int) -> dict[str, np.ndarray]:
        """No slate has been seen."""
        return {"clicks": np.zeros((num_users, self.depth, self.slate_size), np.float32)}

    def update(self, state: Any, slates: np.ndarray, clicks: np.ndarray) -> dict[str, np.ndarray]:
        """The oldest slate makes room for a new one; what is handed in is left alone."""
        _, clicks = checked_sessions(slates, clicks, self.slate_size, self.num_items, lowest=-1)
        if len(clicks) != len(state["clicks"]):
            raise ValueError(f"clicks are of {len(clicks)} users, state is of {len(state['clicks'])}")
        newest = clicks[:, None].astype(np.float32)
        return {"clicks": np.concatenate([state["clicks"][:, 1:], newest], axis=1)}

    def read(self, state: Any) -> np.ndarray:
        """Shares, ``(num_users, slate_size)`` float32 in [0, 1]."""
        shares: np.ndarray = state["clicks"].mean(axis=1)
        return shares

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the belief as an artefact and returns the file's sha256."""
        header = {
            "catalog_hash": self.catalog_hash, "sizes": {"num_items": self.num_items, "slate_size": self.slate_size},
        }  # fmt: skip
        self.sha256 = save_artifact(path, self.kind, {}, header)
        return self.sha256

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> ClickStack:
        """Makes the belief from a loaded file: what ``gems_gym.beliefs.load_belief`` calls."""
        return cls(
            **artifact.header["sizes"], catalog_hash=artifact.header["catalog_hash"], sha256=artifact.sha256
        )


def click_rates(sources: Sources, size: int | None, seed: int) -> np.ndarray:
    """Item embeddings: how often an item is clicked where it is shown, beside random numbers."""
    log = sources.log
    assert log is not None  # the kind needs it
    shown = np.bincount(log.slates[log.slates >= 0], minlength=sources.num_items)
    clicked = np.bincount(log.slates[log.clicks > 0], minlength=sources.num_items)
    vectors = np.random.default_rng(seed).standard_normal((sources.num_items, size or 8)).astype(np.float32)
    vectors[:, 0] = clicked / np.maximum(shown, 1)
    return vectors


CLICK_RATES = EmbeddingKind(click_rates, needs="log")
"""``gems-gym pretrain embeddings --kind click_rates`` makes them."""


def bored_share(env: Any, infos: Mapping[str, np.ndarray]) -> np.ndarray:
    """A field of datasets: the share of topics that bore each user, ``(num_users,)``."""
    share: np.ndarray = infos["bored"].mean(axis=1, dtype=np.float32)
    return share


def in_turn(title: str, jobs: Sequence[Any], processes: int) -> dict[str, str]:
    """An executor: one job after the other, in this process; returns the name of each that failed -> why."""
    failures: dict[str, str] = {}
    for job in jobs:
        if missing := [name for name in job.needs if name in failures]:
            failures[job.name] = f"not done, as it needs {missing[0]!r}"
            continue
        try:
            job.find()(job.request)
        except Exception as error:
            failures[job.name] = f"{type(error).__name__}: {error}"
            job.log.parent.mkdir(parents=True, exist_ok=True)
            job.log.write_text(traceback.format_exc())
    return failures


def clicks_per_minute(row: Any) -> str:
    """A column of a study's table: clicks a session for each minute of CPU."""
    clicks = row.peak[0] if hasattr(row, "peak") else row.mean_return
    return f"{clicks / row.cpu_minutes:.0f}" if row.cpu_minutes > 0 else ""


class JsonLines:
    """A tracker: every measurement is a line of ``tracked.jsonl`` in the training's folder."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.file = name, (folder / "tracked.jsonl").open("a")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """One line."""
        self.file.write(json.dumps({"name": self.name, "step": step, **values}) + "\n")

    def close(self) -> None:
        """No more lines."""
        self.file.close()


class BestLatent:
    """Learns online which one latent gets the most clicks, and always plays it: an agent that acts in latents.

    Args:
        candidates: Latents that are tried, in turn.
    """

    learns_from: ClassVar[Literal["dataset", "environment"]] = "environment"

    def __init__(self, candidates: int = 16) -> None:
        self.candidates = candidates
        self.latent: np.ndarray | None = None  # (action_size,)

    @checked_arguments
    def fit(
        self,
        source: Any,
        *,
        steps: Count,
        seed: int,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Callable[[Policy], float] | None = None,
        progress: bool = True,
    ) -> None:
        """Shows users the candidates for ``steps`` interactions of a vector environment with beliefs and latents."""
        rng = np.random.default_rng(seed)
        tried = rng.uniform(-1, 1, (self.candidates, source.single_action_space.shape[0])).astype(np.float32)
        clicks, shown = np.zeros(self.candidates), np.zeros(self.candidates)
        source.reset(seed=seed)
        for _ in range(-(-steps // source.num_envs)):
            chosen = rng.integers(self.candidates, size=source.num_envs)  # (num_users,)
            _, rewards, *_ = source.step(tried[chosen])
            np.add.at(clicks, chosen, rewards)
            np.add.at(shown, chosen, 1)
        self.latent = tried[np.argmax(clicks / np.maximum(shown, 1))]

    @property
    def policy(self) -> Policy:
        """The latent, for everybody."""
        if self.latent is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        latent = self.latent[None]
        return MemorylessPolicy(lambda beliefs: np.repeat(latent, len(beliefs), axis=0))

    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` into a directory."""
        if self.latent is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        save_artifact(directory / "policy.safetensors", "policy/best_latent", {"latent": self.latent}, {})

    @classmethod
    def load(cls, directory: Path) -> Policy:
        """Reads what :meth:`save` wrote."""
        agent = cls()
        agent.latent = load_artifact(directory / "policy.safetensors", "policy/best_latent").tensors["latent"]
        return agent.policy


class PatientSimulator(SlateSimulator):
    """Dynamics of one's own: no click is remembered, so no topic ever bores."""

    def step(self, slates: Any, uniforms: Any = None, which: Any = None) -> Shown:
        """Shows users a slate."""
        self.users.num_recent_topics[:] = 0
        self.users.num_recent_steps[:] = 0
        return super().step(slates, uniforms, which)


PATIENT = SlateConfig(click_model="mixPBM", dynamics="patient")
"""``gymnasium.make("GemsSlate-patient-v0")`` is a world with these dynamics."""
