"""Whether a dataset is what it says: its numbers against its hash, its spaces, its world, its ranker and its belief."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.dataset_folders import data_folder
from gems_gym.common.progress import track
from gems_gym.datasets.derive import encoded, ranked, recomputed_beliefs
from gems_gym.datasets.reader import (
    dataset_belief,
    dataset_ranker,
    dataset_world,
    open_recording,
    read_episodes,
)
from gems_gym.datasets.sessions import (
    CHUNK_SESSIONS,
    NO_SEED,
    NOT_TRUNCATED,
    ContentHash,
    Sessions,
    check_form,
    check_rows,
    ends_truncated,
    first_of,
    observed_arrays,
)
from gems_gym.user_splits import USERS_PER_SEED, user_seeds

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset

PASSED, FAILED = "passed", "failed"

TOLERANCE = 1e-5
"""By how much a belief may differ that is computed again: other machines add in another order."""

_WRONG = (ValueError, OSError, KeyError, IndexError, RuntimeError)
"""What checks raise, and Minari where a file is damaged."""

_Check = Callable[[Sessions], None]


@dataclass(frozen=True)
class Verification:
    """What was found in a dataset.

    Attributes:
        dataset_id: Its id.
        episodes: Sessions that could be read.
        transitions: Steps of these.
        content_hash: Hash of the numbers as they are now; None if some can't be read.
        checks: Name of a check -> "passed", "failed", or "not checked: " and why.
        failures: A line for each check that failed, in the checks' order: its name, and what was found first.
    """

    dataset_id: str
    episodes: int
    transitions: int
    content_hash: str | None
    checks: dict[str, str]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The findings as JSON-able values."""
        return {"passed": self.passed, **asdict(self)}


def verify_dataset(dataset: Dataset, *, progress: bool = True) -> Verification:
    """Checks a dataset, reading it once, in chunks.

    The checks: it can be opened (:func:`~gems_gym.datasets.open_dataset`); the copies of ranker and belief are those
    that were recorded; every session can be read, is as long as the environment's and ends by time; the steps are as
    many as recorded; the content hash comes out again; observations and actions lie in their spaces, clicks are 0 or 1,
    rewards are the clicks on the slate that an action showed; that slate is what the ranker's copy shows for the action
    (of a relabelled dataset, the action is the one that the ranker's copy gives the slate); observations are what the
    belief's copy makes of them; no user is there twice, and all are of the recorded split and seed.

    Args:
        dataset: The dataset, or the id of a local one.
        progress: Draws a progress bar on stderr.

    Raises:
        UnknownDatasetError: If there is no dataset of this id.
        ValueError: If the id is malformed.
        ImportError: If Minari is not installed; it names the extra.
    """
    if isinstance(dataset, str):
        data_folder(dataset)  # there is nothing to verify if there is none
    findings, opened = _Findings(), None
    with findings.check("opens"):
        opened = open_recording(dataset)
    if opened is None:
        return findings.result(dataset if isinstance(dataset, str) else dataset.id, 0, 0, None)
    checks = _checks_of(opened, findings)
    content, seeds, transitions = ContentHash(), list[int](), 0
    with track(f"verifying {opened.id}", opened.total_episodes, shown=progress) as advance:
        for first, episodes in _read(opened.storage, findings):
            advance(len(episodes))
            for episode in episodes:
                content.add(episode)
                seeds.append(int(episode["seed"]))
                transitions += len(episode["rewards"])
            _check_episodes(first, episodes, checks, findings)
    found_hash = None if findings.failed("readable") else content.hexdigest()
    _check_recorded(opened.storage.metadata, found_hash, transitions, findings)
    _check_users(opened.storage.metadata, seeds, findings)
    return findings.result(opened.id, len(seeds), transitions, found_hash)


class _Findings:
    """What was checked, and what failed: the first sentence, and how often."""

    def __init__(self) -> None:
        self._checks: dict[str, str] = {}
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    @contextmanager
    def check(self, name: str, owner: str = "") -> Iterator[None]:
        """Passes a check whose block raises nothing, unless it failed before; fails it otherwise."""
        try:
            yield
        except _WRONG as error:
            self.holds(name, False, owner + str(error).removeprefix("sessions: "))
        else:
            self.holds(name)

    def holds(self, name: str, so: bool = True, sentence: str = "") -> None:
        """Passes a check unless it failed before, or fails it with a sentence."""
        self._checks.setdefault(name, PASSED)
        if not so:
            self._checks[name] = FAILED
            self._first.setdefault(name, " ".join(sentence.split()))
            self._count[name] += 1

    def cannot(self, name: str, why: str) -> None:
        self._checks.setdefault(name, f"not checked: {why}")

    def failed(self, name: str) -> bool:
        return name in self._first

    def result(
        self, dataset_id: str, episodes: int, transitions: int, content_hash: str | None
    ) -> Verification:
        failures = [
            f"{name}: {sentence}"
            + (f" (and {self._count[name] - 1:,} more)" if self._count[name] > 1 else "")
            for name, sentence in self._first.items()
        ]
        return Verification(
            dataset_id, episodes, transitions, content_hash, dict(self._checks), tuple(failures)
        )


def _read(storage: Any, findings: _Findings) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yields the index of a chunk's first session, and the sessions that can be read."""
    for start in range(0, storage.total_episodes, CHUNK_SESSIONS):
        chunk = range(start, min(start + CHUNK_SESSIONS, storage.total_episodes))
        try:
            episodes = list(read_episodes(storage, chunk))
        except _WRONG:  # one by one, to find which
            for index in chunk:
                with findings.check("readable", f"session {index} can't be read: "):
                    yield index, list(read_episodes(storage, [index]))
        else:
            findings.holds("readable")
            yield start, episodes


@dataclass(frozen=True)
class _Checks:
    """Checks of sessions. Each raises a ValueError that says what is wrong first, of one session or of many.

    Attributes:
        dataset: The dataset.
        world: The slate environment that the sessions were played in; None if it can't be made.
        ranker: The dataset's copy; None if there is none, or it is damaged.
        belief: Likewise.
    """

    dataset: minari.MinariDataset
    world: Any
    ranker: Any
    belief: Any

    @property
    def is_latent(self) -> bool:
        """Whether the dataset was recorded with ranker and belief."""
        return self.dataset.storage.metadata.get("ranker_sha256") is not None

    def form(self, episode: dict[str, Any]) -> None:
        """One session's lengths, shapes, dtypes and end."""
        steps = len(episode["rewards"])
        if self.world is not None and steps != self.world.config.episode_length:
            raise ValueError(
                f"it has {steps} steps, the environment's have {self.world.config.episode_length}"
            )
        check_form("actions", episode["actions"], (steps,), self.dataset.action_space)
        for name, values, space in observed_arrays(episode["observations"], self.dataset.observation_space):
            check_form(name, values, (steps + 1,), space)
        for name, values in episode["infos"].items():
            if np.shape(values)[:1] != (steps + 1,):
                raise ValueError(
                    f"infos[{name!r}] has shape {np.shape(values)}, must begin with {steps + 1} rows"
                )
        if not ends_truncated(episode):
            raise ValueError(f"it {NOT_TRUNCATED}")

    def of_numbers(self, sessions: Sessions) -> Iterator[tuple[str, _Check, str | None]]:
        """Yields each check's name, the check, and why it can't be made, or None."""
        no_infos = None if {"slate", "clicks"} <= set(sessions.infos) else "there are no infos"
        no_world = None if self.world is not None else "the world can't be made"
        no_ranker = no_belief = None
        if self.is_latent and self.ranker is None:
            no_ranker = "its ranker is missing or damaged"
        elif getattr(self.ranker, "sample", False):
            no_ranker = "its ranker draws slates"
        if self.is_latent and self.belief is None:
            no_belief = "its belief is missing or damaged"
        yield "observations", self.observations, None
        yield "actions", self.actions, None
        yield "clicks", self.clicks, no_infos
        if no_infos is None:
            yield "rewards", self.rewards, None
        else:
            yield "rewards", self.rewards_alone, no_world
        yield "slates", self.slates, no_infos or no_world
        yield "shown slates", self.shown, no_infos or no_ranker
        yield "beliefs", self.seen, no_infos or no_belief

    def observations(self, sessions: Sessions) -> None:
        """All lie in their space."""
        num_sessions, num_steps = sessions.rewards.shape
        for name, values, space in observed_arrays(sessions.observations, self.dataset.observation_space):
            check_rows(name, values, (num_sessions, num_steps + 1), space)

    def actions(self, sessions: Sessions) -> None:
        """All lie in their space."""
        check_rows("actions", sessions.actions, sessions.rewards.shape, self.dataset.action_space)

    def clicks(self, sessions: Sessions) -> None:
        """Clicks are 0 or 1."""
        clicks = sessions.infos["clicks"]
        _refuse(clicks, ~np.isin(clicks, (0, 1)), "clicks", "must be 0 or 1")

    def rewards(self, sessions: Sessions) -> None:
        """A reward is the number of clicks on the slate that its action showed."""
        clicks = sessions.infos["clicks"][:, 1:].sum(axis=2)  # (num_sessions, num_steps)
        wrong = sessions.rewards != clicks
        if wrong.any():
            where = first_of(wrong)
            raise ValueError(
                f"rewards[{where[1]}] is {sessions.rewards[where]}, but its slate got {clicks[where]} clicks"
            )

    def rewards_alone(self, sessions: Sessions) -> None:
        """Without infos: rewards are numbers of clicks that a slate can get."""
        most = self.world.config.slate_size
        wrong = ~((sessions.rewards >= 0) & (sessions.rewards <= most) & (sessions.rewards % 1 == 0))
        _refuse(sessions.rewards, wrong, "rewards", f"must be an integer from 0 to {most}")

    def slates(self, sessions: Sessions) -> None:
        """Slates hold items of the catalogue."""
        slates, most = sessions.infos["slate"], self.world.config.num_items
        _refuse(slates, (slates < 0) | (slates >= most), "slate", f"must be an item, from 0 to {most - 1}")

    def shown(self, sessions: Sessions) -> None:
        """An action's slate is the one that its session shows next."""
        slates = sessions.infos["slate"][:, 1:]  # (num_sessions, num_steps, slate_size)
        if self.is_latent and _was_made_by(self.dataset.storage.metadata, "relabel"):
            actions = encoded(slates, sessions.infos["clicks"][:, 1:], self.ranker)
            wrong = (np.abs(actions - sessions.actions) > TOLERANCE).any(axis=2)
            if wrong.any():
                raise ValueError(f"actions[{first_of(wrong)[1]}] is not what the ranker encodes its slate as")
            return
        shown = ranked(sessions.actions, self.ranker) if self.is_latent else sessions.actions
        wrong = (shown != slates).any(axis=2)
        if wrong.any():
            where = first_of(wrong)
            raise ValueError(
                f"actions[{where[1]}] shows {shown[where].tolist()}, but slate[{where[1] + 1}] is "
                f"{slates[where].tolist()}"
            )

    def seen(self, sessions: Sessions) -> None:
        """Observations are the beliefs of the slates and clicks before them; of a slate dataset, these themselves."""
        seen = sessions.observations
        if isinstance(seen, dict):
            for key in {"slate", "clicks"} & set(seen):
                wrong = seen[key] != sessions.infos[key]
                _refuse(seen[key], wrong, f"observations[{key!r}]", "is not the info")
            return
        expected = recomputed_beliefs(sessions, self.belief)
        wrong = ~(np.abs(seen - expected) <= TOLERANCE)  # true for NaN, too
        _refuse(seen, wrong, "observations", "is not what the belief's copy makes of the slates and clicks")


def _checks_of(dataset: minari.MinariDataset, findings: _Findings) -> _Checks:
    """What sessions are checked against, as far as it is in order."""
    metadata, found = dataset.storage.metadata, dict[str, Any](world=None, ranker=None, belief=None)
    with findings.check("world"):
        found["world"] = dataset_world(dataset)
    for name, load in (("ranker", dataset_ranker), ("belief", dataset_belief)):
        if metadata.get(f"{name}_sha256") is None:
            findings.cannot(name, "none is recorded")
            continue
        with findings.check(name):
            found[name] = load(dataset)
    return _Checks(dataset, **found)


def _check_episodes(first: int, episodes: list[dict[str, Any]], checks: _Checks, findings: _Findings) -> None:
    """Checks the form of sessions one by one, and the numbers of those that have it all together."""
    sound = dict[int, dict[str, Any]]()
    for index, episode in enumerate(episodes, first):
        with findings.check("lengths", f"session {index}: "):
            checks.form(episode)
            sound[index] = episode
    if not sound:
        return
    try:
        sessions = Sessions.of_episodes(list(sound.values()))
    except ValueError as error:
        findings.holds(
            "lengths", False, f"sessions {min(sound)} to {max(sound)} are not of one form: {error}"
        )
        return
    for name, check, why_not in checks.of_numbers(sessions):
        if why_not is not None:
            findings.cannot(name, why_not)
            continue
        try:
            check(sessions)
            findings.holds(name)
        except _WRONG:  # one by one, to find which
            for row, index in enumerate(sound):
                with findings.check(name, f"session {index}: "):
                    check(sessions[row : row + 1])


def _check_recorded(
    metadata: dict[str, Any], found_hash: str | None, transitions: int, findings: _Findings
) -> None:
    """Compares the content hash and the number of steps with what the metadata say."""
    recorded, steps = metadata.get("content_hash"), metadata["total_steps"]
    if recorded is None or found_hash is None:
        findings.cannot("content hash", "none is recorded" if recorded is None else "sessions can't be read")
    else:
        findings.holds("content hash", found_hash == recorded, f"it is {found_hash}, recorded is {recorded}")
    if findings.failed("readable"):
        findings.cannot("steps", "sessions can't be read")
    else:
        sentence = f"total_steps is recorded as {steps}, sessions have {transitions}"
        findings.holds("steps", transitions == steps, sentence)


def _check_users(metadata: dict[str, Any], seeds: list[int], findings: _Findings) -> None:
    """Checks that no user is there twice, and that all are of the recorded split and seed."""
    known = Counter(seed for seed in seeds if seed != NO_SEED)
    if not known:
        findings.cannot("users", "no session has a seed")
        return
    seed, times = known.most_common(1)[0]
    once = times == 1 or _was_made_by(metadata, "merge")  # datasets of the same users can be merged
    findings.holds("users", once, f"the user of seed {seed} is there {times} times")
    split, block = metadata.get("user_split"), metadata.get("user_seed")
    if split is None or block is None:
        return
    try:
        start = user_seeds(split, block, 1)[0]
    except (ValueError, TypeError) as error:
        findings.holds("users", False, str(error))
        return
    for seed in known.elements():
        if not start <= seed < start + USERS_PER_SEED:
            sentence = f"the user of seed {seed} is not of the recorded split {split}, seed {block}"
            findings.holds("users", False, sentence)


def _was_made_by(metadata: Any, step: str) -> bool:
    """Whether a dataset, or one that it was made of, was made by "merge" or "relabel"."""
    derived = metadata.get("derived_from") if isinstance(metadata, dict) else None
    if not isinstance(derived, dict):
        return False
    sources = derived.get("sources")
    return derived.get("by") == step or any(
        _was_made_by(one, step) for one in (sources if isinstance(sources, list) else [])
    )


def _refuse(values: NDArray[Any], wrong: NDArray[np.bool_], name: str, must: str) -> None:
    """Raises a ValueError for the first wrong number of ``(num_sessions, num_rows, ...)``, named by its row."""
    if wrong.any():
        where = first_of(wrong)
        raise ValueError(f"{name}{list(where[1:])} is {values[where]}, {must}")
