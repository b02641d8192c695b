"""Logged sessions that rankers, beliefs and item embeddings are trained on, and where they come from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.array_files import check_form, read_npz
from gems_gym.common.checks import Count, Positive, checked_arguments
from gems_gym.common.files import whole_file
from gems_gym.common.progress import stderr, track
from gems_gym.config import resolve_config
from gems_gym.envs import SlateVectorEnv
from gems_gym.fitted_config import FittedConfig
from gems_gym.policies import Policy, make_policy
from gems_gym.rollouts import play_sessions, user_batches
from gems_gym.simulator import Catalog, ItemEmbeddings
from gems_gym.simulator.catalog import own_embeddings
from gems_gym.user_splits import Users, UserSeed, user_seeds
from gems_gym.world_config import WorldConfig

_ARRAYS = ("slates", "clicks", "click_probabilities", "policy")
_FORMS = {
    "slates": ("iu", 3),
    "clicks": ("iu", 3),
    "click_probabilities": ("f", 3),
    "policy": ("iu", 1),
    "policy_names": ("U", 1),
    "catalog_hash": ("U", 0),
    "world": ("U", 0),
}
"""Arrays of a file: what numpy calls their kind, and their number of dimensions."""
_OPTIONAL = {"click_probabilities", "world"}


@dataclass(frozen=True)
class SessionLog:
    """Whole sessions: the first slate at index 0, then one slate a step.

    Attributes:
        slates: int32 ``(num_sessions, episode_length + 1, slate_size)``; -1 where nothing was shown, as in logs of
            another recommender, whose slates and sessions differ in length.
        clicks: uint8, same shape, 0 or 1.
        click_probabilities: float32, same shape: the simulator's truth. It serves to report how far a model is
            from it; nothing is trained on it. None where it is not known.
        policy: uint8 ``(num_sessions,)``, index into ``policy_names``: who showed the slates.
        policy_names: Names of the logging policies.
        catalog_hash: The catalogue that the item ids belong to.
        world: Parameters of the simulated world, by name; None for logs of another recommender.
    """

    slates: NDArray[np.int32]  # (num_sessions, episode_length + 1, slate_size)
    clicks: NDArray[np.uint8]  # (num_sessions, episode_length + 1, slate_size)
    click_probabilities: NDArray[np.float32] | None  # (num_sessions, episode_length + 1, slate_size)
    policy: NDArray[np.uint8]  # (num_sessions,)
    policy_names: tuple[str, ...]
    catalog_hash: str
    world: Mapping[str, Any] | None = None

    @property
    def num_sessions(self) -> int:
        """Sessions in the log."""
        return len(self.slates)

    def sha256(self) -> str:
        """Hash of everything in it, as hex."""
        digest = hashlib.sha256(repr((self.policy_names, self.catalog_hash)).encode())
        for name, values in self._arrays().items():
            array = np.ascontiguousarray(values)
            digest.update(repr((name, array.dtype.str, array.shape)).encode())
            digest.update(array.data)
        return digest.hexdigest()

    def take(self, sessions: NDArray[Any]) -> SessionLog:
        """Some of the sessions, by their indices or a mask."""
        return dataclasses.replace(self, **{name: array[sessions] for name, array in self._arrays().items()})

    def check_trainable(self, num_items: int) -> None:
        """Raise a ValueError unless sessions can be held out and all items are in a catalogue of that size."""
        if self.num_sessions < 2:
            raise ValueError(
                f"log holds {self.num_sessions} sessions with a slate; at least 2 are needed, one of them held out"
            )
        self.check_items(num_items)

    def check_items(self, num_items: int) -> None:
        """Raise a ValueError unless all items are in a catalogue of that size."""
        low, high = int(self.slates.min()), int(self.slates.max())
        if not -1 <= low <= high < num_items:
            raise ValueError(
                f"log.slates holds the item ids {low} … {high}; with num_items={num_items}, 0 … {num_items - 1} were "
                f"expected"
            )

    @property
    def provenance(self) -> dict[str, Any]:
        """What whatever is trained on it records of it."""
        return {"policies": list(self.policy_names), "sessions": self.num_sessions}

    def save(self, path: Path) -> None:
        """Write an .npz file without pickle, complete or not at all."""
        texts = {
            "policy_names": np.array(self.policy_names),
            "catalog_hash": np.array(self.catalog_hash),
        }
        if self.world is not None:
            texts["world"] = np.array(json.dumps(self.world))
        arrays: dict[str, Any] = texts | self._arrays()
        with whole_file(path) as file:
            np.savez(file, **arrays)

    def _arrays(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in _ARRAYS}
        return {name: array for name, array in found.items() if array is not None}

    @classmethod
    def load(cls, path: Path) -> SessionLog:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: No such file.
            ValueError: A file that is no session log.
        """
        arrays = read_npz(path, name="log", needed=_FORMS.keys() - _OPTIONAL, optional=_OPTIONAL)
        try:
            check_form(arrays, {name: form for name, form in _FORMS.items() if name in arrays})
            _check_log(arrays)
        except ValueError as error:
            raise ValueError(f"log: {str(path)!r} is no session log of gems_gym: {error}") from error
        return cls(
            slates=arrays["slates"].astype(np.int32, copy=False),
            clicks=arrays["clicks"].astype(np.uint8, copy=False),
            click_probabilities=arrays["click_probabilities"].astype(np.float32, copy=False)
            if "click_probabilities" in arrays
            else None,
            policy=arrays["policy"].astype(np.uint8, copy=False),
            policy_names=tuple(map(str, arrays["policy_names"])),
            catalog_hash=str(arrays["catalog_hash"]),
            world=_read_world(str(arrays["world"]), path) if "world" in arrays else None,
        )


def kept_session_log(unfinished: Unfinished | None, collect: Callable[[], SessionLog]) -> SessionLog:
    """A log from unfinished work, or a new one, which is kept there for whoever resumes the work.

    Args:
        unfinished: Its settings hold everything that decides the log; None: the log is made and not kept.
        collect: Makes the log.
    """
    if unfinished is None:
        return collect()
    file = unfinished.file("log.npz")
    try:
        return SessionLog.load(file)
    except (FileNotFoundError, ValueError):  # not there, or damaged by whatever stopped the machine
        log = collect()
        log.save(file)
        return log


@checked_arguments
def collect_session_log(
    world: str | WorldConfig,
    shares: Mapping[str, Positive],
    num_sessions: Users,
    seed: UserSeed,
    *,
    search_sessions: Count | None = None,
    session_length: Count | None = None,
    item_embeddings: ItemEmbeddings | None = None,
    num_envs: Count = 512,
    progress: bool = True,
) -> SessionLog:
    """Log sessions of logging users under a mixture of policies.

    All sessions are of one length: users stay, whatever the world's ``leave_probability`` is.

    Args:
        world: A preset's name or a configuration.
        shares: Policy name -> share of the sessions (they need not add up to 1); each policy gets its share,
            rounded, in this order.
        num_sessions: Sessions in all, ≥ one per policy.
        seed: Block of logging users (see :mod:`gems_gym.user_splits`); decides the search of policies that search.
        search_sessions: Sessions that policies which search (``SlatePolicy.searches``) play before; None: as many as
            their default says.
        session_length: Steps of a session; None: as many as in the world.
        item_embeddings: Your own catalogue.
        num_envs: Users stepped together; does not change the log.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ValueError: No policies, shares that are not positive, or too few sessions.
    """
    counts = _session_counts(shares, num_sessions)
    seeds = user_seeds("logging", seed, num_sessions)
    changes: dict[str, Any] = {} if session_length is None else {"episode_length": session_length}
    # what clicks depend on does not change before a user leaves, so more of them teach the same
    staying = resolve_config(world, changes).without_leaving()
    env = SlateVectorEnv(num_envs, staying, item_embeddings, AutoresetMode.DISABLED)
    shape = (num_sessions, env.config.episode_length + 1, env.config.slate_size)
    log = SessionLog(
        slates=np.empty(shape, np.int32),
        clicks=np.empty(shape, np.uint8),
        click_probabilities=np.empty(shape, np.float32),
        policy=np.repeat(np.arange(len(counts), dtype=np.uint8), list(counts.values())),
        policy_names=tuple(counts),
        catalog_hash=env.catalog.hash,
        world=_described(env.config),
    )
    policies = [_logging_policy(name, env, seed, search_sessions, progress) for name in counts]
    with track("logging sessions", num_sessions, progress) as advance:
        done = 0
        for policy, count in zip(policies, counts.values(), strict=True):
            _log_policy(env, policy, seeds[done : done + count], log, done, advance)
            done += count
    return log


@dataclass(frozen=True)
class LogPlan:
    """The log that a command asks for.

    Attributes:
        env_id: The world.
        path: Its file, read if it is there, else written; None: it is kept only until the work on it is finished.
        shares: Logging policy -> share of the sessions.
        sessions: Sessions to log.
        seed: Block of logging users.
        search_sessions: Sessions of the search of logging policies that search.
        session_length: Steps of a session; None: as many as in the world.
    """

    env_id: str
    path: Path | None
    shares: Mapping[str, float]
    sessions: int
    seed: int
    search_sessions: int | None = None
    session_length: int | None = None

    def described(self) -> dict[str, Any]:
        """The same in JSON types, with the policies in their order: it decides who logs which users."""
        path = None if self.path is None else str(self.path)
        return {**vars(self), "path": path, "shares": list(self.shares.items())}

    def session_log(self, config: WorldConfig, catalog: Catalog, work: Unfinished | None) -> SessionLog:
        """Read or collect the log; one that gets no file of its own is kept with the unfinished work."""
        if self.path is None:
            return kept_session_log(work, lambda: self._collect(config, catalog))
        if not self.path.exists():
            log = self._collect(config, catalog)
            log.save(self.path)
            return log
        log = SessionLog.load(self.path)
        if log.catalog_hash != catalog.hash:
            raise ValueError(
                f"--log {self.path} was logged on the catalogue {log.catalog_hash}, but {self.env_id} has "
                f"{catalog.hash}"
            )
        self._check_world(log, config)
        text = (
            f"using the {log.num_sessions} sessions of {self.path}, logged by {', '.join(log.policy_names)}"
        )
        stderr.print(text, highlight=False, markup=False)
        return log

    def _check_world(self, log: SessionLog, config: WorldConfig) -> None:
        """Raise a ValueError for a log of another slate size, or that another simulated world is known to have made.

        Sessions may be of another length.
        """
        here = _described(config.without_leaving())
        there = {"slate_size": log.slates.shape[2]} if log.world is None else log.world
        differences = [
            f"{name}={there.get(name)!r} ({self.env_id}: {here.get(name)!r})"
            for name in there if name != "episode_length" and there.get(name) != here.get(name)
        ]  # fmt: skip
        if differences:
            raise ValueError(f"--log {self.path} was logged in another world, with {', '.join(differences)}")

    def _collect(self, config: WorldConfig, catalog: Catalog) -> SessionLog:
        return collect_session_log(
            config,
            self.shares,
            self.sessions,
            self.seed,
            search_sessions=self.search_sessions,
            session_length=self.session_length,
            item_embeddings=own_embeddings(config, catalog),
        )


def _described(config: WorldConfig) -> dict[str, Any]:
    """A world's parameters as JSON keeps them; the file of a fitted world by its content, wherever it lies."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    if isinstance(config, FittedConfig):
        found["world"] = config.artifact.content_sha256
    return found


def _read_world(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"log: {str(path)!r} is no session log of gems_gym: world is no JSON") from error
    if not isinstance(found, dict):
        raise ValueError(f"log: {str(path)!r} is no session log of gems_gym: world is no JSON object")
    return found


def _check_log(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise a ValueError unless the arrays of a log belong together."""
    shape, names = arrays["slates"].shape, len(arrays["policy_names"])
    for name in ("clicks", "click_probabilities"):
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, but slates {shape}")
    if 0 in shape or shape[1] < 2:
        raise ValueError(f"slates of shape {shape} hold no session of a first slate and a step")
    if not -1 <= arrays["slates"].min() <= arrays["slates"].max() < 2**31:
        raise ValueError("slates must hold item ids, integers ≥ 0, or -1 where nothing was shown")
    if (
        arrays["clicks"].max() > 1
        or arrays["clicks"].min() < 0
        or arrays["clicks"][arrays["slates"] < 0].any()
    ):
        raise ValueError("clicks must be 0 or 1, and 0 where nothing was shown")
    probabilities = arrays.get("click_probabilities", np.zeros(0))
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("click_probabilities must be in [0, 1]")
    policy = arrays["policy"]
    if policy.shape != shape[:1] or not 0 <= policy.min() <= policy.max() < names:
        raise ValueError(f"policy must name one of the {names} policies for each of the {shape[0]} sessions")


def _logging_policy(
    name: str, env: SlateVectorEnv, seed: int, search_sessions: int | None, progress: bool
) -> Policy:
    if not getattr(plugins.load(plugins.POLICIES, name), "searches", False):
        return make_policy(name, env)
    budget = {} if search_sessions is None else {"sessions": search_sessions}
    return make_policy(name, env, seed=seed, progress=progress, **budget)


def _log_policy(
    env: SlateVectorEnv,
    policy: Policy,
    seeds: list[int],
    log: SessionLog,
    first: int,
    advance: Callable[[float], None],
) -> None:
    assert log.click_probabilities is not None  # of a simulator
    for batch, count in user_batches(seeds, env.num_envs):
        rows = slice(first, first + count)
        for moment in play_sessions(env, policy, batch):
            shown = env.shown
            assert shown is not None
            log.slates[rows, moment.step] = shown.slates[:count]
            log.clicks[rows, moment.step] = shown.clicks[:count]
            log.click_probabilities[rows, moment.step] = shown.click_probabilities[:count]
        first += count
        advance(count)


def _session_counts(shares: Mapping[str, float], num_sessions: int) -> dict[str, int]:
    """Sessions of each policy: its share, rounded, so that all add up."""
    if not shares:
        raise ValueError("shares must name at least one logging policy, got none")
    if num_sessions < len(shares):
        raise ValueError(f"num_sessions must be at least one per policy, {len(shares)}; got {num_sessions}")
    ends = np.round(np.cumsum(list(shares.values())) / sum(shares.values()) * num_sessions).astype(int)
    counts = np.diff(ends, prepend=0)
    return dict(zip(shares, counts.tolist(), strict=True))
