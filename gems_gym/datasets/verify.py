"""Whether a dataset is what it says: its numbers against its hash, its spaces, its world, its ranker and its belief."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from gems_gym.artifacts import ArtifactError
from gems_gym.common.dataset_folders import data_folder
from gems_gym.common.progress import track
from gems_gym.datasets.reader import dataset_belief, dataset_ranker
from gems_gym.datasets.sessions import ContentHash, Sessions
from gems_gym.datasets.stored import NO_SEED, dataset_world, open_recording, stacked
from gems_gym.datasets.verify_sessions import Check, SessionChecks
from gems_gym.user_splits import USERS_PER_SEED, user_seeds

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset

CHUNK_SESSIONS = 256
"""Sessions held in memory at once."""

PASSED, FAILED = "passed", "failed"


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
    findings = _Findings()
    try:
        opened = open_recording(dataset)
    except (ValueError, OSError) as error:
        findings.fails("opens", error)
        name = dataset if isinstance(dataset, str) else dataset.id
        return Verification(name, 0, 0, None, findings.checks(), tuple(findings.failures()))
    findings.passes("opens")
    checks = _session_checks(opened, findings)
    content, seeds, transitions = ContentHash(), list[int](), 0
    with track(f"verifying {opened.id}", opened.total_episodes, shown=progress) as advance:
        for first, episodes in _read(opened, findings):
            advance(len(episodes))
            for episode in episodes:
                content.add(episode)
                seeds.append(int(episode["seed"]))
                transitions += len(episode["rewards"])
            _check_episodes(first, episodes, checks, findings)
    found_hash = None if findings.failed("readable") else content.hexdigest()
    _check_recorded(opened, found_hash, transitions, findings)
    _check_users(opened, seeds, findings)
    return Verification(
        opened.id, len(seeds), transitions, found_hash, findings.checks(), tuple(findings.failures())
    )


class _Findings:
    """What failed, by the name of the check: the first sentence, and how often."""

    def __init__(self) -> None:
        self._checks: dict[str, str] = {}
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def passes(self, check: str) -> None:
        self._checks.setdefault(check, PASSED)

    def fails(self, check: str, sentence: object) -> None:
        self._checks[check] = FAILED
        self._first.setdefault(check, " ".join(str(sentence).split()))
        self._count[check] += 1

    def cannot(self, check: str, why: str) -> None:
        self._checks.setdefault(check, f"not checked: {why}")

    def failed(self, check: str) -> bool:
        return check in self._first

    def checks(self) -> dict[str, str]:
        return dict(self._checks)

    def failures(self) -> Iterator[str]:
        for check, sentence in self._first.items():
            more = self._count[check] - 1
            yield f"{check}: {sentence}" + (f" (and {more:,} more)" if more else "")


def _session_checks(dataset: minari.MinariDataset, findings: _Findings) -> SessionChecks:
    """What sessions are checked against, as far as it is in order."""
    world, parts = None, dict[str, Any]()
    try:
        world = dataset_world(dataset).unwrapped
        findings.passes("world")
    except (ValueError, OSError) as error:
        findings.fails("world", error)
    for name, load in (("ranker", dataset_ranker), ("belief", dataset_belief)):
        if dataset.storage.metadata.get(f"{name}_sha256") is None:
            findings.cannot(name, "none is recorded")
            continue
        try:
            parts[name] = load(dataset)
            findings.passes(name)
        except (ArtifactError, ValueError, OSError) as error:
            findings.fails(name, error)
    return SessionChecks(
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        world=world,
        ranker=parts.get("ranker"),
        belief=parts.get("belief"),
        is_latent=dataset.storage.metadata.get("ranker_sha256") is not None,
        is_relabelled=_was_made_by(dataset.storage.metadata, "relabel"),
    )


def _read(dataset: minari.MinariDataset, findings: _Findings) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yields the index of a chunk's first session, and the sessions that can be read, with their seeds."""
    storage = dataset.storage
    findings.passes("readable")

    def read(indices: range) -> list[dict[str, Any]]:
        seeds = [one.get("seed", NO_SEED) for one in storage.get_episode_metadata(indices)]
        return [
            {**episode, "seed": seed, "infos": episode["infos"] or {}}
            for episode, seed in zip(storage.get_episodes(indices), seeds, strict=True)
        ]

    for start in range(0, storage.total_episodes, CHUNK_SESSIONS):
        chunk = range(start, min(start + CHUNK_SESSIONS, storage.total_episodes))
        try:
            yield start, read(chunk)
            continue
        except (OSError, KeyError, ValueError, RuntimeError):
            pass  # one by one, to find which
        for index in chunk:
            try:
                yield index, read(range(index, index + 1))
            except (OSError, KeyError, ValueError, RuntimeError) as error:
                findings.fails("readable", f"session {index} can't be read: {error}")


def _check_episodes(
    first: int, episodes: list[dict[str, Any]], checks: SessionChecks, findings: _Findings
) -> None:
    """Checks the form of sessions one by one, and the numbers of those that have it all together."""
    whole, indices = [], []
    findings.passes("lengths")
    for index, episode in enumerate(episodes, first):
        try:
            checks.form(episode)
        except ValueError as error:
            findings.fails("lengths", f"session {index}: {error}")
        else:
            whole.append(episode)
            indices.append(index)
    if not whole:
        return
    try:
        sessions = stacked(whole, [episode["seed"] for episode in whole])
    except (ValueError, KeyError) as error:
        findings.fails("lengths", f"sessions {indices[0]} to {indices[-1]} are not of one form: {error}")
        return
    for name, check, why_not in checks.of_numbers(sessions):
        if why_not is not None:
            findings.cannot(name, why_not)
            continue
        findings.passes(name)
        if _error(check, sessions) is not None:
            for row, index in enumerate(indices):
                if (wrong := _error(check, _one(sessions, row))) is not None:
                    findings.fails(name, f"session {index}: {wrong}")


def _error(check: Check, sessions: Sessions) -> str | None:
    try:
        check(sessions)
    except (ValueError, IndexError) as error:
        return str(error).removeprefix("sessions: ")
    return None


def _one(sessions: Sessions, row: int) -> Sessions:
    rows = slice(row, row + 1)
    seen = sessions.observations
    return replace(
        sessions,
        seeds=sessions.seeds[rows],
        observations=(
            {key: values[rows] for key, values in seen.items()} if isinstance(seen, dict) else seen[rows]
        ),
        actions=sessions.actions[rows],
        rewards=sessions.rewards[rows],
        infos={name: values[rows] for name, values in sessions.infos.items()},
    )


def _check_recorded(
    dataset: minari.MinariDataset,
    found_hash: str | None,
    transitions: int,
    findings: _Findings,
) -> None:
    """Compares the content hash and the number of steps with what the metadata say."""
    metadata = dataset.storage.metadata
    recorded = metadata.get("content_hash")
    if recorded is None or found_hash is None:
        findings.cannot("content hash", "none is recorded" if recorded is None else "sessions can't be read")
    elif found_hash != recorded:
        findings.fails("content hash", f"it is {found_hash}, recorded is {recorded}")
    else:
        findings.passes("content hash")
    if findings.failed("readable"):
        findings.cannot("steps", "sessions can't be read")
    elif transitions != metadata["total_steps"]:
        findings.fails(
            "steps", f"total_steps is recorded as {metadata['total_steps']}, sessions have {transitions}"
        )
    else:
        findings.passes("steps")


def _check_users(dataset: minari.MinariDataset, seeds: list[int], findings: _Findings) -> None:
    """Checks that no user is there twice, and that all are of the recorded split and seed."""
    metadata = dataset.storage.metadata
    known = [seed for seed in seeds if seed != NO_SEED]
    if not known:
        findings.cannot("users", "no session has a seed")
        return
    findings.passes("users")
    seed, times = Counter(known).most_common(1)[0]
    if times > 1 and not _was_made_by(metadata, "merge"):  # datasets of the same users can be merged
        findings.fails("users", f"the user of seed {seed} is there {times} times")
    if metadata.get("user_split") is None or metadata.get("user_seed") is None:
        return
    try:
        start = user_seeds(metadata["user_split"], metadata["user_seed"], 1)[0]
    except (ValueError, TypeError) as error:
        findings.fails("users", error)
        return
    recorded = f"split {metadata['user_split']}, seed {metadata['user_seed']}"
    for seed in known:
        if not start <= seed < start + USERS_PER_SEED:
            findings.fails("users", f"the user of seed {seed} is not of the recorded {recorded}")


def _was_made_by(metadata: Any, step: str) -> bool:
    """Whether a dataset, or one that it was made of, was made by "merge" or "relabel"."""
    derived = metadata.get("derived_from") if isinstance(metadata, dict) else None
    if not isinstance(derived, dict):
        return False
    sources = derived.get("sources")
    return derived.get("by") == step or any(
        _was_made_by(one, step) for one in (sources if isinstance(sources, list) else [])
    )
