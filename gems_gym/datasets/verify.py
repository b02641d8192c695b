"""Whether a dataset is what it says: its numbers against its hash, its spaces, its world, its ranker and its belief."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from gems_gym.common.dataset_folders import data_folder
from gems_gym.common.progress import track
from gems_gym.datasets.reader import (
    dataset_belief,
    dataset_ranker,
    dataset_world,
    is_log,
    open_sessions,
    read_episodes,
)
from gems_gym.datasets.sessions import (
    CHUNK_SESSIONS,
    NO_SEED,
    ContentHash,
    Sessions,
    of_bounded_size,
)
from gems_gym.datasets.verify_sessions import SessionChecks, was_made_by
from gems_gym.user_splits import USERS_PER_SEED, user_seeds

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset

PASSED, FAILED = "passed", "failed"

_WRONG = (ValueError, OSError, KeyError, IndexError, RuntimeError)
"""What checks raise, and Minari where a file is damaged."""


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
        opened = open_sessions(dataset)
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
    if is_log(opened):
        findings.cannot("users", "users of a log may have several sessions")
    else:
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


def _checks_of(dataset: minari.MinariDataset, findings: _Findings) -> SessionChecks:
    """What sessions are checked against, as far as it is in order."""
    metadata, found = dataset.storage.metadata, dict[str, Any](world=None, ranker=None, belief=None)
    if not is_log(dataset):
        with findings.check("world"):
            found["world"] = dataset_world(dataset)
    for name, load in (("ranker", dataset_ranker), ("belief", dataset_belief)):
        if metadata.get(f"{name}_sha256") is None:
            findings.cannot(name, "none is recorded")
            continue
        with findings.check(name):
            found[name] = load(dataset)
    return SessionChecks(dataset, **found)


def _check_episodes(
    first: int, episodes: list[dict[str, Any]], checks: SessionChecks, findings: _Findings
) -> None:
    """Checks the form of sessions one by one, and the numbers of those that have it all together."""
    sound = dict[int, dict[str, Any]]()
    for index, episode in enumerate(episodes, first):
        with findings.check("lengths", f"session {index}: "):
            checks.form(episode)
            sound[index] = episode
    if not sound:
        return
    num_steps = None if is_log(checks.dataset) else checks.ends.longest
    indices = iter(sound)
    for some in of_bounded_size(sound.values(), num_steps, CHUNK_SESSIONS):
        _check_numbers(dict(zip(islice(indices, len(some)), some, strict=True)), num_steps, checks, findings)


def _check_numbers(
    sound: dict[int, dict[str, Any]], num_steps: int | None, checks: SessionChecks, findings: _Findings
) -> None:
    try:
        sessions = Sessions.of_episodes(list(sound.values()), num_steps)
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
    once = times == 1 or was_made_by(metadata, "merge")  # datasets of the same users can be merged
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
