"""Complete sessions as one batch of padded arrays: what models of sequences learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Count, checked_arguments
from gems_gym.datasets.reader import dataset_world, is_log, open_sessions, read_sessions, session_ends
from gems_gym.datasets.sessions import Observations, Sessions
from gems_gym.errors import unknown_name
from gems_gym.world_config import WorldConfig

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset

_SHOWN = ("slate", "clicks")


@dataclass(frozen=True)
class EpisodeBatch:
    """B sessions of up to T steps, filled up with zeros behind their ends.

    As in a dataset, row t of the observations and infos is what there was *before* action t, and row t + 1 what that
    action led to: they have a row more than there are steps. Arrays are as narrow as in the dataset, item ids as
    narrow as the catalogue allows.

    Attributes:
        config: The world that the sessions were played in; None if it is not known, as of a log of another recommender.
        lengths: Steps of each session, int64 ``(B,)`` in [1, T].
        left: Whose users left, bool ``(B,)``: these sessions end terminated, the others truncated.
        observations: ``(B, T + 1, ...)``, or a dict of such arrays.
        actions: ``(B, T, ...)``.
        rewards: Clicks, float32 ``(B, T)``.
        infos: Name -> ``(B, T + 1, ...)``: whatever else is known of each step. All but slates and clicks are
            privileged.

    Examples:
        >>> batches = EpisodeBatch.from_minari("my/slates-v0")  # doctest: +SKIP
        >>> batch = batches.sample(32, np.random.default_rng(0))  # doctest: +SKIP
        >>> batch.rewards.shape, batch.filled.shape  # doctest: +SKIP
        ((32, 100), (32, 100))
    """

    config: WorldConfig | None
    lengths: NDArray[np.int64]
    left: NDArray[np.bool_]
    observations: Observations
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    infos: dict[str, NDArray[Any]]

    @classmethod
    @checked_arguments
    def from_minari(
        cls, dataset: Dataset, *, infos: Sequence[str] | None = None, progress: bool = True
    ) -> EpisodeBatch:
        """Read all sessions of a dataset into memory.

        Args:
            dataset: The dataset, a part of it that Minari made (``filter_episodes``), or the id of a local one.
            infos: Names of the infos to keep; all of them if None. Slates and clicks are not kept twice where the
                observations hold them.
            progress: Whether to show a progress bar on stderr.

        Raises:
            ValueError: There is no dataset of this id, it is not gems-gym's, it lacks an info, or its sessions do not
                end as those of its world do.
            ImportError: Minari is not installed; the message names the extra.
        """
        opened = open_sessions(dataset)
        config = None if is_log(opened) else dataset_world(opened).config
        longest = session_ends(opened).longest
        arrays: dict[str, NDArray[Any]] = {}
        done = 0
        for sessions in read_sessions(opened, f"reading {opened.id}", progress=progress):
            rows = slice(done, done + len(sessions))
            missing = longest - sessions.rewards.shape[1]
            for name, values in _kept(sessions, infos).items():
                if name not in arrays:
                    steps = [size + missing for size in values.shape[1:2]]
                    shape = (opened.total_episodes, *steps, *values.shape[2:])
                    arrays[name] = np.zeros(shape, _dtype(name, values, config))
                arrays[name][(rows, *map(slice, values.shape[1:]))] = values
            done = rows.stop
        return cls.of_sessions(Sessions.of_arrays(arrays), config)

    @classmethod
    def of_sessions(cls, sessions: Sessions, config: WorldConfig | None) -> EpisodeBatch:
        """A batch of sessions that are in memory; arrays are shared, not copied.

        Args:
            sessions: At least one.
            config: The world that they were played in; None for a log of another recommender.
        """
        whole = cls(
            config,
            sessions.lengths,
            sessions.left,
            sessions.observations,
            sessions.actions,
            sessions.rewards,
            sessions.infos,
        )
        return whole[:]

    def __len__(self) -> int:
        """Number of sessions, B."""
        return len(self.lengths)

    def __getitem__(self, sessions: slice | NDArray[Any]) -> EpisodeBatch:
        """Some of the sessions, by a slice, their indices or a mask; T becomes the length of the longest of them."""
        if isinstance(sessions, int | np.integer):
            raise TypeError(
                f"sessions must be a slice, indices or a mask, got {sessions!r}; [[{sessions}]] takes one"
            )
        longest = int(self.lengths[sessions].max(initial=0))

        def rows(values: NDArray[Any]) -> NDArray[Any]:
            return values[sessions, : longest + 1]

        seen = self.observations
        return EpisodeBatch(
            self.config,
            self.lengths[sessions],
            self.left[sessions],
            {name: rows(values) for name, values in seen.items()} if isinstance(seen, dict) else rows(seen),
            self.actions[sessions, :longest],
            self.rewards[sessions, :longest],
            {name: rows(values) for name, values in self.infos.items()},
        )

    @checked_arguments
    def can_sample(self, batch_size: Count) -> bool:
        """Whether there are that many sessions."""
        return batch_size <= len(self)

    @checked_arguments
    def sample(self, batch_size: Count, rng: np.random.Generator) -> EpisodeBatch:
        """Draw sessions, none of them twice.

        Args:
            batch_size: How many, ≥ 1.
            rng: Draws them; the same state gives the same batch.

        Raises:
            ValueError: There are fewer sessions.
        """
        if not self.can_sample(batch_size):
            raise ValueError(
                f"batch_size must be at most {len(self)}, the sessions there are; got {batch_size}"
            )
        return self[rng.choice(len(self), batch_size, replace=False)]

    @property
    def max_t_filled(self) -> int:
        """Steps of the longest session, T."""
        return int(self.lengths.max(initial=0))

    @property
    def time(self) -> NDArray[np.int64]:
        """The number of each step, from 0, int64 ``(B, T)``."""
        return np.tile(np.arange(self.rewards.shape[1]), (len(self), 1))

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which steps were taken, bool ``(B, T)``."""
        found: NDArray[np.bool_] = self.time < self.lengths[:, None]
        return found

    @property
    def terminated(self) -> NDArray[np.bool_]:
        """True at the last step of each session whose user left, bool ``(B, T)``: nothing comes after it."""
        return self._last & self.left[:, None]

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """True at the last step of each session that time ended, bool ``(B, T)``: values bootstrap through it."""
        return self._last & ~self.left[:, None]

    @property
    def _last(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.time == self.lengths[:, None] - 1
        return found

    @property
    def slates(self) -> NDArray[np.integer[Any]]:
        """Slates shown, the first slate among them, ``(B, T + 1, slate_size)``."""
        return self._shown("slate")

    @property
    def clicks(self) -> NDArray[np.int8]:
        """Clicks on :attr:`slates`, 0 or 1, int8 of the same shape."""
        return self._shown("clicks")

    @property
    def returns_to_go(self) -> NDArray[np.float32]:
        """Clicks from each step to the session's end, float32 ``(B, T)``."""
        found: NDArray[np.float32] = self.rewards[:, ::-1].cumsum(axis=1)[:, ::-1]
        return found

    def available_items(self) -> NDArray[np.bool_]:
        """Which items make sense at each step: all, or where users click each item once, those without a click so far.

        Behind a session's end it stays as it was. It takes a byte for each item of each step: ask a sampled batch.

        Returns:
            bool ``(B, T, num_items)``.

        Raises:
            ValueError: Users click each item once, and the batch holds no slates and clicks; or it is a log's, which
                does not say what could have been shown.
        """
        available = np.ones((*self.rewards.shape, self._world.num_items), np.bool_)
        if self._world.click_only_once:
            session, row, position = np.nonzero(self.clicks[:, :-1])
            available[session, row, self.slates[session, row, position]] = False
            np.logical_and.accumulate(available, axis=1, out=available)
        return available

    @property
    def subgoals(self) -> NDArray[np.int64]:
        """The topic that interests the user most before each action, int64 ``(B, T)``; privileged.

        It is that of the largest block of ``infos["user_state"]``, the user's preference.

        Raises:
            ValueError: The batch does not hold this info, or the world is not known.
        """
        preferences = self._info("user_state")[:, :-1, : self._world.embedding_size]
        sizes = self._world.num_topics, self._world.topic_size
        blocks = preferences.reshape(*preferences.shape[:2], *sizes)
        found: NDArray[np.int64] = np.square(blocks).sum(axis=3).argmax(axis=2)
        return found

    @property
    def _world(self) -> WorldConfig:
        if self.config is None:
            raise ValueError(
                "the batch does not say in which world its sessions were played, as a log does not: its config is None"
            )
        return self.config

    def _shown(self, name: str) -> NDArray[Any]:
        if isinstance(self.observations, dict) and name in self.observations:
            return self.observations[name]
        return self._info(name)

    def _info(self, name: str) -> NDArray[Any]:
        if name not in self.infos:
            raise ValueError(
                f"the batch holds no infos[{name!r}], only {sorted(self.infos)}; read it with the others"
            )
        return self.infos[name]


def _kept(sessions: Sessions, infos: Sequence[str] | None) -> dict[str, NDArray[Any]]:
    """The arrays of sessions that a batch keeps, by their names."""
    arrays = sessions.arrays()
    twice = _SHOWN if isinstance(sessions.observations, dict) else ()
    for name in sessions.infos:
        if name in twice or (infos is not None and name not in infos):
            del arrays[f"infos/{name}"]
    for name in infos or ():
        if name not in sessions.infos:
            raise unknown_name("info of the dataset", name, sessions.infos)
    return arrays


def _dtype(name: str, values: NDArray[Any], config: WorldConfig | None) -> np.dtype[Any]:
    """Item ids of slate environments are 64 bits wide, more than any catalogue needs."""
    if config is not None and name in ("actions", "observations/slate") and values.dtype.kind == "i":
        return np.dtype(np.int16 if config.num_items <= 2**15 else np.int32)
    return values.dtype
