"""Finished sessions as arrays: the form in which collection hands data to the writer; checks and hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gems_gym.world_config import WorldConfig

DATA_FILE = "main_data.hdf5"
"""Minari's name for the file with all sessions."""

CHUNK_BYTES = 2**26
"""Bytes of the sessions that are held in memory at once; a single one may have more."""

CHUNK_SESSIONS = 256
"""Sessions held in memory at once, at most; of 100 steps and 10 items, with their infos, about 10 MB."""

NO_SEED = -1
"""Stands for the seed of a session whose user is not known; no environment takes it."""

Observations = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class Sessions:
    """Whole sessions, in the order in which they are written.

    Row ``t`` of the observations is what the agent saw *before* action ``t``; row ``t + 1`` holds what that
    action led to (``infos["slate"][t + 1]`` is the slate that action ``t`` showed). There is one observation
    more than there are actions. Where users leave, their sessions are filled up with zeros to the length of the others.

    Attributes:
        seeds: The seed that each session's user was reset with, ``num_sessions`` integers.
        observations: ``(num_sessions, num_steps + 1, ...)``, or a dict of such arrays for a ``Dict`` observation space.
        actions: ``(num_sessions, num_steps, ...)``, the actions that were *executed* (exploration noise included).
        rewards: ``(num_sessions, num_steps)``, clicks on each slate.
        infos: Name -> ``(num_sessions, num_steps + 1, ...)``.
        left_after: ``(num_sessions,)``, the steps after which each user left; 0 for users who stayed for all
            ``num_steps``. None: all stayed.
    """

    seeds: list[int]
    observations: Observations
    actions: np.ndarray
    rewards: np.ndarray
    infos: dict[str, np.ndarray]
    left_after: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of sessions."""
        return len(self.seeds)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each session, ``(num_sessions,)``."""
        return np.where(self.left, 0 if self.left_after is None else self.left_after, self.rewards.shape[1])

    @property
    def left(self) -> NDArray[np.bool_]:
        """Whose users left, bool ``(num_sessions,)``: these sessions end terminated, the others truncated."""
        return np.zeros(len(self), np.bool_) if self.left_after is None else self.left_after > 0

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which steps were taken, bool ``(num_sessions, num_steps)``."""
        found: NDArray[np.bool_] = np.arange(self.rewards.shape[1]) < self.lengths[:, None]
        return found

    @property
    def nbytes(self) -> int:
        """Size of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def __getitem__(self, rows: slice) -> Sessions:
        """Some of the sessions."""
        return Sessions.of_arrays({name: values[rows] for name, values in self.arrays().items()})

    @property
    def shown(self) -> dict[str, np.ndarray]:
        """What users saw and did; see :func:`shown_in`."""
        return shown_in(self.observations, self.infos)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, ``seeds`` (int64) among them; nested names with a slash: ``infos/slate``."""
        left = {} if self.left_after is None else {"left_after": self.left_after}
        return {"seeds": np.array(self.seeds, np.int64), **left, **_flat(vars(self))}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Sessions:
        """The sessions whose :meth:`arrays` these are.

        Raises:
            KeyError: If one is missing.
        """
        seeds, left_after = arrays["seeds"].tolist(), arrays.get("left_after")
        return cls(seeds=seeds, left_after=left_after, **_nested(arrays))

    @classmethod
    def of_episodes(cls, episodes: Sequence[Mapping[str, Any]], num_steps: int | None = None) -> Sessions:
        """Puts episodes of the same arrays together.

        Args:
            episodes: At least one, in the form that :meth:`episodes` yields.
            num_steps: Steps of those whose user stays; as many as the longest has if None.

        Raises:
            ValueError: If they do not have the same arrays of the same shapes, apart from the lengths of those that
                end terminated, or a seed is no 64-bit integer.
        """
        flat = [_flat(one) for one in episodes]
        if any(one.keys() != flat[0].keys() for one in flat):
            raise ValueError("the episodes do not have the same arrays")
        lengths = np.array([len(one["rewards"]) for one in episodes])
        left = np.array([bool(one["terminations"].any()) for one in episodes])
        num_steps = int(lengths.max()) if num_steps is None else num_steps
        try:
            seeds = np.array([one["seed"] for one in episodes], np.int64)
        except OverflowError as error:
            raise ValueError(f"an episode's seed must be a 64-bit integer: {error}") from error
        missing = np.where(left, num_steps - lengths, 0).tolist()
        arrays = {
            name: np.stack([_filled_up(one[name], rows) for one, rows in zip(flat, missing, strict=True)])
            for name in flat[0]
        }
        if left.any():
            arrays["left_after"] = np.where(left, lengths, 0)
        return cls.of_arrays({"seeds": seeds} | arrays)

    def check(self, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> None:
        """Checks every array against the spaces, since Minari writes whatever it is given.

        Args:
            observation_space: The space of one observation: a ``Dict`` of array spaces, or an array space
                such as ``Box``.
            action_space: The space of one action, an array space.

        Raises:
            ValueError: If a number of rows, a shape, a dtype or a value does not fit; it names the array.
        """
        num_sessions, num_steps = self.rewards.shape
        if num_sessions != len(self.seeds):
            raise ValueError(f"sessions: {num_sessions} rows of rewards for {len(self.seeds)} seeds")
        with_last = (num_sessions, num_steps + 1)
        check_rows("actions", self.actions, (num_sessions, num_steps), action_space)
        for name, values, space in observed_arrays(self.observations, observation_space):
            check_rows(name, values, with_last, space)
        for name, values in self.infos.items():
            if values.shape[:2] != with_last:
                raise ValueError(
                    f"sessions: infos[{name!r}] has shape {values.shape}, must begin with {with_last}"
                )
        if not np.isfinite(self.rewards).all():
            raise ValueError("sessions: rewards hold NaN or infinite values")

    def episodes(self) -> Iterator[dict[str, Any]]:
        """Yields each session under the names of Minari's episode data: terminated by its user or truncated."""
        arrays, num_steps, left = _flat(vars(self)), self.lengths.tolist(), self.left
        for row, seed in enumerate(self.seeds):
            parts = {
                name: values[row, : num_steps[row] + (name not in _OF_STEPS)]
                for name, values in arrays.items()
            }
            last = np.arange(1, num_steps[row] + 1) == num_steps[row]
            ends = {"terminations": last & left[row], "truncations": last & ~left[row]}
            yield {"seed": int(seed), **_nested(parts), **ends}


_OF_STEPS = ("actions", "rewards")
"""Arrays with a row for each step; the others have one more."""


def _filled_up(values: np.ndarray, missing: int) -> np.ndarray:
    """The array with so many rows of zeros more."""
    if missing == 0:
        return values
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])


def _flat(parts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of sessions or of an episode by name, those in a dict as ``infos/slate``."""
    arrays: dict[str, np.ndarray] = {}
    for part in ("observations", "actions", "rewards", "infos"):
        if isinstance(parts[part], Mapping):
            arrays |= {f"{part}/{name}": values for name, values in parts[part].items()}
        else:
            arrays[part] = parts[part]
    return arrays


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What :func:`_flat` was given."""

    def within(folder: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(folder): arrays[name] for name in arrays if name.startswith(folder)}

    return {
        "observations": within("observations/") or arrays["observations"],
        "actions": arrays["actions"],
        "rewards": arrays["rewards"],
        "infos": within("infos/"),
    }


def shown_in(observations: Any, infos: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What users saw and did, ``"slate"`` and ``"clicks"``, from the infos or else the observations, if known.

    Args:
        observations: Of sessions or of one; beliefs hold none of it.
        infos: Likewise.

    Returns:
        Arrays of their shapes; slates are -1 where a log's mask says that nothing is known to have been shown.
    """
    known = {**(observations if isinstance(observations, Mapping) else {}), **infos}
    found = {name: known[name] for name in ("slate", "clicks") if name in known}
    if "slate" in found and "mask" in known:
        found["slate"] = np.where(known["mask"], found["slate"], -1)
    return found


def num_earlier(count: int, held_out: float) -> int:
    """How many of ``count`` sessions are the earlier ones, if a share of them, at least one, is held out."""
    return count - max(1, round(held_out * count))


def sessions_at_once(session_bytes: int, most: int) -> int:
    """How many sessions are held in memory at once: at most ``most``, and no more than :data:`CHUNK_BYTES` hold."""
    return max(1, min(most, CHUNK_BYTES // session_bytes))


def of_bounded_size(
    episodes: Iterable[dict[str, Any]], num_steps: int | None, most: int
) -> Iterator[list[dict[str, Any]]]:
    """Yields episodes in their order, so few at a time that they take little memory at the length of the longest.

    Args:
        episodes: At least one, as Minari's storage has them.
        num_steps: Steps that all are filled up to; None for those of the longest that is yielded with them.
        most: How many are yielded at once, at most.
    """
    some: list[dict[str, Any]] = []
    longest, step_bytes = 0, 0
    for episode in episodes:
        steps = num_steps or len(episode["rewards"])
        if not step_bytes:
            with suppress(ValueError):  # what has no form is told by whoever takes these
                step_bytes = Sessions.of_episodes([episode], num_steps).nbytes // steps
        longest = max(longest, steps)
        if some and len(some) >= sessions_at_once(max(1, longest * step_bytes), most):
            yield some
            some, longest = [], steps
        some.append(episode)
    yield some


def join_sessions(parts: Sequence[Sessions]) -> Sessions:
    """Puts sessions of the same kind behind one another.

    Args:
        parts: At least one; arrays of the same names, dtypes and shapes but for the number of sessions.
    """
    if len(parts) == 1:
        return parts[0]
    arrays = [part.arrays() for part in parts]
    if any("left_after" in one for one in arrays):
        for one in arrays:
            one.setdefault("left_after", np.zeros_like(one["seeds"]))
    return Sessions.of_arrays({name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]})


def observed_arrays(
    observations: Observations, space: gymnasium.Space[Any]
) -> list[tuple[str, np.ndarray, gymnasium.Space[Any]]]:
    """The arrays of observations, each with its name for errors and the space that its elements lie in.

    Raises:
        ValueError: If they are a dict where the space is none, or the other way round, or one of other keys.
    """
    if not isinstance(space, gymnasium.spaces.Dict):
        if isinstance(observations, dict):
            raise ValueError(
                f"sessions: observations must be one array, as their space is {space}, got a dict"
            )
        return [("observations", observations, space)]
    if not isinstance(observations, dict) or observations.keys() != space.spaces.keys():
        raise ValueError(f"sessions: observations must be a dict with the keys {sorted(space.spaces)}")
    return [(f"observations[{key!r}]", observations[key], one) for key, one in space.spaces.items()]


def check_rows(name: str, values: np.ndarray, leading: tuple[int, ...], space: gymnasium.Space[Any]) -> None:
    """Checks one array of ``leading`` rows of elements of an array space.

    Args:
        name: What the array is called in the error.
        values: The array, ``leading + space.shape``.
        leading: The sizes of the first axes.
        space: The space each element must lie in.

    Raises:
        ValueError: If shape or dtype differ, or a value lies outside the space (NaN lies outside every ``Box``).
    """
    check_form(name, values, leading, space)
    low, high = space_bounds(space)
    if not ((values >= low) & (values <= high)).all():
        raise ValueError(
            f"sessions: {name} holds values outside {space}: from {values.min()} to {values.max()}"
        )


def check_form(name: str, values: np.ndarray, leading: tuple[int, ...], space: gymnasium.Space[Any]) -> None:
    """Checks shape and dtype of an array alone; arguments and errors as of :func:`check_rows`."""
    expected = (*leading, *(space.shape or ()))
    if values.shape != expected:
        raise ValueError(f"sessions: {name} has shape {values.shape}, must be {expected} for {space}")
    if values.dtype != space.dtype:
        raise ValueError(f"sessions: {name} has dtype {values.dtype}, must be {space.dtype} for {space}")


def first_of(wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    """Where the first True stands in a mask that has one."""
    return tuple(int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))


@dataclass(frozen=True)
class SessionEnds:
    """How long sessions are, and how they end.

    Attributes:
        longest: Steps after which time ends a session.
        users_leave: Whether users may leave before; in a log of another recommender all do.
    """

    longest: int
    users_leave: bool

    @classmethod
    def of_world(cls, config: WorldConfig) -> SessionEnds:
        """Those of a simulated world."""
        return cls(config.episode_length, config.users_leave)


def check_end(episode: Mapping[str, Any], ends: SessionEnds) -> None:
    """Checks that an episode ends as it must: by time at its last step, unless its user has left.

    Args:
        episode: As :meth:`Sessions.episodes` yields it.
        ends: How sessions of its dataset end.

    Raises:
        ValueError: If it has another length, or ends otherwise.
    """
    steps, length = len(episode["rewards"]), ends.longest
    last = np.arange(1, steps + 1) == steps  # (steps,)
    left = ends.users_leave and np.array_equal(episode["terminations"], last)
    if steps != length and not (left and 0 < steps < length):
        raise ValueError(f"it has {steps} steps, the environment's have {length}")
    expected = {"terminations": last & left, "truncations": last & ~left}
    if not all(np.array_equal(episode[name], values) for name, values in expected.items()):
        otherwise = ", or terminated as its user left," if ends.users_leave else ""
        raise ValueError(f"it does not end truncated{otherwise} at its last step, as sessions of gems-gym do")


def space_bounds(space: gymnasium.Space[Any]) -> tuple[Any, Any]:
    """Returns the lowest and the highest value of an array space, to be broadcast over its elements.

    Raises:
        TypeError: If the space is not a ``Box``, ``MultiDiscrete`` or ``MultiBinary``.
    """
    if isinstance(space, gymnasium.spaces.Box):
        return space.low, space.high
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, gymnasium.spaces.MultiBinary):
        return 0, 1
    raise TypeError(f"sessions: elements must lie in a Box, MultiDiscrete or MultiBinary, not in {space}")


def episode_digest(episode: Mapping[str, Any]) -> bytes:
    """Hashes one episode: its seed, and name, dtype, shape and bytes of every array.

    Args:
        episode: The keys that :meth:`Sessions.episodes` yields; others are ignored.

    Returns:
        The sha256 digest, 32 bytes.
    """
    digest = hashlib.sha256(f"seed={episode['seed']};".encode())
    for name in ("observations", "actions", "rewards", "terminations", "truncations", "infos"):
        value = episode[name]
        parts = sorted(value.items()) if isinstance(value, Mapping) else [("", value)]
        for key, array in parts:
            array = np.ascontiguousarray(array)
            digest.update(f"{name}/{key}:{array.dtype.str}{array.shape};".encode())
            digest.update(array.data.cast("B") if array.size else b"")
    return digest.digest()


class ContentHash:
    """The hash of a dataset: sha256 over the sha256 digests of its episodes, in their order.

    It depends on the recorded numbers alone: not on how many users were stepped at once, nor on how the file
    is chunked. A hash of hashes, so that episodes can be hashed wherever they are made (another process, an
    earlier, interrupted run).
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, episode: Mapping[str, Any]) -> None:
        """Adds the next episode."""
        self._digest.update(episode_digest(episode))

    def hexdigest(self) -> str:
        """The hash of all episodes so far, 64 hexadecimal digits."""
        return self._digest.hexdigest()
