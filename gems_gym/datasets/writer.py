"""Writes a Minari dataset chunk by chunk; it appears under its id only when it is finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym.common.dataset_folders import ARTIFACTS
from gems_gym.common.files import naming_file, refuse_link
from gems_gym.datasets.card import AUTHOR, PEOPLE, running_command, write_card
from gems_gym.datasets.episode_file import append_episodes
from gems_gym.datasets.hidden_folder import (
    DATASET_ID,
    NEW,
    clear_killed_writers,
    move_into_place,
    unfinished_folder,
)
from gems_gym.datasets.sessions import CHUNK_BYTES, CHUNK_SESSIONS, DATA_FILE, ContentHash, Sessions
from gems_gym.envs.recorded_spec import recorded_spec
from gems_gym.errors import require

if TYPE_CHECKING:
    import minari


def check_new_dataset_id(dataset_id: str, *, overwrite: bool = False) -> Path:
    """Checks that an id is well formed and not in use, and clears what killed processes left of other datasets.

    Args:
        dataset_id: ``name-vN``, or ``namespace/.../name-vN``, of letters, digits, ``-`` and ``_``.
        overwrite: Whether the id may be that of a dataset, which is to be replaced.

    Returns:
        The directory that the dataset will have. Nothing is created, apart from Minari's root directory.

    Raises:
        ValueError: If the id is malformed or in use; it says what to do.
        OSError: If a symbolic link would have to be replaced.
        ImportError: If Minari is not installed.
    """
    minari_storage = require("minari.storage")
    if (
        not isinstance(dataset_id, str)
        or not DATASET_ID.fullmatch(dataset_id)
        or "data" in dataset_id.split("/")
    ):
        raise ValueError(
            f"dataset_id {dataset_id!r} is not a Minari dataset id: it must be name-vN or namespace/name-vN, of "
            "letters, digits, '-' and '_' (a namespace of at least 2 of them, not called 'data'), "
            "e.g. 'gems-slate/diffuse_topdown/random-v0'"
        )
    path: Path = minari_storage.get_dataset_path(dataset_id)
    root: Path = minari_storage.get_dataset_path()
    clear_killed_writers(root)
    refuse_link(path)
    if path.exists() and not (overwrite and (path / "data").is_dir()):
        raise ValueError(
            f"dataset_id {dataset_id!r} is already in use ({path}): choose another id or version, "
            + (
                "this one is no dataset, which could be overwritten"
                if overwrite
                else f"replace it with --overwrite (overwrite=True), or remove it with: minari delete {dataset_id}"
            )
        )
    for parent in path.parents:
        if parent == root:
            break
        if (parent / "data").exists():
            taken = parent.relative_to(root).as_posix()
            raise ValueError(
                f"dataset_id {dataset_id!r} lies inside the dataset {taken!r}: choose another namespace"
            )
    return path


class DatasetWriter:
    """A Minari dataset (hdf5) in the making, to be used in a ``with`` block.

    Episodes are appended to a file in a hidden directory beside the datasets, on the same file system, and
    renamed into place by :meth:`finish`. Leaving the block without having finished, by an error or Ctrl-C,
    removes what was written. The hidden directory is the id's: one process at a time writes a dataset, and what
    another process puts there stays until a dataset of this id is finished.

    Args:
        dataset_id: The new dataset's id, see :func:`check_new_dataset_id`.
        observation_space: Space of one observation as written.
        action_space: Space of one action as written.
        env_spec: Spec of the environment that the sessions were played in. With artifacts, the latent environment
            around it is recorded (:func:`~gems_gym.envs.recorded_spec.recorded_spec`). None for a log of another
            recommender.
        artifacts: Files by the name of the copy that is stored with the data, or nothing: the ranker's and the
            belief's, or what belongs to a log.
        overwrite: Replaces a dataset of this id, once the new one is finished.

    Attributes:
        directory: The hidden directory; it exists within the block.
        chunk_episodes: Episodes written per opening of the file, at most. So many are held in memory, about 15 MB;
            fewer if they are long (:data:`~gems_gym.datasets.sessions.CHUNK_BYTES`).

    Raises:
        ValueError: If the id is malformed or in use, or another process is writing it; that one is named.
        OSError: If a symbolic link is in the way, which is not followed.

    Examples:
        >>> with DatasetWriter("toy/one-v0", space, actions, env.spec) as writer:  # doctest: +SKIP
        ...     writer.append(sessions)
        ...     dataset = writer.finish({"algorithm_name": "random"})
    """

    chunk_episodes: ClassVar[int] = CHUNK_SESSIONS

    def __init__(
        self,
        dataset_id: str,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        env_spec: EnvSpec | None,
        artifacts: dict[str, Path] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.dataset_id = dataset_id
        self.observation_space = observation_space
        self.action_space = action_space
        self._artifacts = dict(artifacts or {})
        self._env_spec = None if env_spec is None else recorded_spec(env_spec, self._artifacts, dataset_id)
        self._overwrite = overwrite
        self._path = check_new_dataset_id(dataset_id, overwrite=overwrite)
        self._held = ExitStack()
        self._storage: Any = None
        self._pending: list[Mapping[str, Any]] = []
        self._pending_bytes = 0
        self._content = ContentHash()
        self.num_episodes = 0
        self.num_transitions = 0

    def __enter__(self) -> DatasetWriter:
        with ExitStack() as held:
            root: Path = require("minari.storage").get_dataset_path()
            self.directory = held.enter_context(unfinished_folder(root, self.dataset_id))
            # another process may have finished it since the first check
            check_new_dataset_id(self.dataset_id, overwrite=self._overwrite)
            self._create_storage(self.directory / NEW / "data")
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._storage, self._pending = None, []
        self._held.close()

    def append(self, sessions: Sessions) -> None:
        """Adds sessions at the end.

        Args:
            sessions: Whole sessions; their arrays must not be changed afterwards, as they are written later, in chunks.

        Raises:
            ValueError: If an array does not fit the spaces.
            OSError: If the disk is full, or the file can't be written for another reason.
        """
        sessions.check(self.observation_space, self.action_space)
        self.append_checked(sessions.episodes(), len(sessions), sessions.nbytes)

    def append_checked(self, episodes: Iterable[Mapping[str, Any]], count: int, nbytes: int) -> None:
        """Adds sessions at the end that are known to fit the spaces; errors as of :meth:`append`.

        Args:
            episodes: As :meth:`~gems_gym.datasets.sessions.Sessions.episodes` yields them.
            count: How many these are.
            nbytes: Bytes of all their arrays.
        """
        # hdf5 adds 4 kB to the numbers of a session, for the names and forms of its arrays
        self._check_room(2 * nbytes + 2**14 * count)
        session_bytes = nbytes // max(count, 1)
        for episode in episodes:
            self._content.add(episode)
            self._pending.append(episode)
            self._pending_bytes += session_bytes
            self.num_episodes += 1
            self.num_transitions += len(episode["rewards"])
            if len(self._pending) >= self.chunk_episodes or self._pending_bytes >= CHUNK_BYTES:
                self._flush()

    def finish(self, metadata: dict[str, Any]) -> minari.MinariDataset:
        """Writes what is pending, the metadata and a card, and moves the dataset to its place.

        Args:
            metadata: What to store beside Minari's own entries, ``command`` (the gems-gym command that is running, if
                any) and ``content_hash``; JSON values.

        Returns:
            The finished dataset.

        Raises:
            ValueError: If nothing was appended, or if another process made a dataset of this id in the meantime.
            OSError: If the file can't be written, e.g. on a full disk.
        """
        if self._storage is None:
            raise RuntimeError("DatasetWriter.finish: call it once, inside the with block")
        if self.num_episodes == 0:
            raise ValueError(
                f"dataset {self.dataset_id!r} has no episodes: append at least one session before finish"
            )
        self._flush()
        with naming_file(self.directory / NEW):
            self._describe(metadata)
        self._storage = None
        make_namespace(self.dataset_id)
        try:
            move_into_place(self.directory, self._path, overwrite=self._overwrite)
        except OSError as error:
            if self._path.exists():
                raise ValueError(f"dataset_id {self.dataset_id!r} came into use in the meantime") from error
            raise
        dataset: minari.MinariDataset = require("minari").load_dataset(self.dataset_id)
        return dataset

    @property
    def content_hash(self) -> str:
        """Hash of all numbers appended so far (:class:`~gems_gym.datasets.sessions.ContentHash`)."""
        return self._content.hexdigest()

    def _create_storage(self, data_path: Path) -> None:
        """What minari.create_dataset_from_buffers does, which can only write to a dataset's final place."""
        minari = require("minari")
        data_path.mkdir(parents=True)
        data_path = data_path.absolute()  # Minari looks for the files of a relative path inside of it
        with naming_file(data_path):
            self._storage = require("minari.dataset.minari_storage").MinariStorage.new(
                data_path,
                observation_space=self.observation_space,
                action_space=self.action_space,
                env_spec=self._env_spec,
                data_format="hdf5",
            )
            # Minari leaves an empty file, which HDF5 takes for one of its oldest format, without the order that Minari
            # asks for: there, each episode costs a count of all before it.
            with require("h5py").File(data_path / DATA_FILE, "w", track_order=True):
                pass
            self._storage.update_metadata(
                {"dataset_id": self.dataset_id, "minari_version": minari.__version__}
            )
        for name, file in self._artifacts.items():
            (data_path / ARTIFACTS).mkdir(exist_ok=True)
            shutil.copyfile(file, data_path / ARTIFACTS / name)

    def _describe(self, metadata: dict[str, Any]) -> None:
        """Writes the metadata, and the card that shows them."""
        people = {"author": AUTHOR, **{name: one for name, one in metadata.items() if name in PEOPLE and one}}
        own = {
            # as Minari wants them
            **{name: {one} if isinstance(one, str) else set(one) for name, one in people.items()},
            "command": running_command(),
            "content_hash": self.content_hash,
        }
        self._storage.update_metadata(metadata | own)
        write_card(self.directory / NEW, self._env_spec, self._storage.metadata)

    def _check_room(self, needed: int) -> None:
        """Raises before h5py finds the disk full, which it reports in a hundred lines, and again when files close."""
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise OSError(
                f"the disk is full: {self.directory} has {free / 2**20:.1f} MiB left, the next sessions of dataset "
                f"{self.dataset_id!r} need {needed / 2**20:.1f} MiB"
            )

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            first = self.num_episodes - len(self._pending)
            append_episodes(self.directory / NEW / "data" / DATA_FILE, first, self._pending)
            self._storage.update_metadata(
                {
                    "total_episodes": self.num_episodes,
                    "total_steps": self.num_transitions,
                    "dataset_size": self._storage.get_size(),
                }
            )
        except (
            OSError,
            RuntimeError,
            ValueError,
            KeyError,
        ) as error:  # h5py has all of these for a failed write
            raise OSError(
                f"dataset {self.dataset_id!r} can't be written to {self.directory / NEW / 'data' / DATA_FILE}: is the "
                f"disk full? ({' '.join(str(error).split())})"
            ) from error
        self._pending, self._pending_bytes = [], 0


def make_namespace(dataset_id: str) -> None:
    """Makes the namespace of a dataset that is about to get its place, where Minari does not know it yet."""
    namespaces = require("minari.namespace")
    namespace = dataset_id.rpartition("/")[0]
    if namespace and namespace not in namespaces.list_local_namespaces():
        with suppress(ValueError):  # another process has just made it
            namespaces.create_namespace(namespace)
