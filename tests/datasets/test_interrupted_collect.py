"""Collections that are killed, interrupted, out of disk or spread over processes: one hash, and nothing half."""

import multiprocessing
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import minari
import numpy as np
import pytest

from gems_gym.datasets import DatasetWriter, compute_content_hash
from gems_gym.datasets.hidden_folder import REQUEST
from gems_gym.policies.actor import NoisyActor
from tests.datasets.small_world import NoisyLatents, collect_latents, collect_slates
from tests.processes import in_another_process

EPISODES, CHUNK = 34, 4
HIDDEN = ".unfinished-small+latent-v0"


@pytest.fixture(autouse=True)
def datasets_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "datasets"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", CHUNK)
    return root


def hash_of(**changes: Any) -> str:
    return collect_latents(**{"episodes": EPISODES, **changes}).storage.metadata["content_hash"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("whole")))
        return hash_of()


def chunk_files(root: Path) -> list[Path]:
    return sorted((root / HIDDEN / "chunks").glob("*.npz"))


def assert_whole(root: Path, content_hash: str) -> None:
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]
    assert compute_content_hash("small/latent-v0") == content_hash
    assert minari.load_dataset("small/latent-v0").storage.metadata["content_hash"] == content_hash
    assert not list(root.glob(".*"))


# -- killed ------------------------------------------------------------------------------------------------


def count_calls(at: Callable[[int, FrameType], None]) -> None:
    """From here on calls ``at`` at every call of a function, Python's or C's, with their number and the frame."""
    number = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal number
        if event in ("call", "c_call"):
            number += 1
            at(number, frame)

    sys.setprofile(seen)


def collect_until(last: int) -> None:
    """Collects, and is killed at a certain call of a function."""

    def kill(number: int, frame: FrameType) -> None:
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    count_calls(kill)
    hash_of()


def test_killed_at_random_moments_it_goes_on(datasets_root: Path, uninterrupted: str) -> None:
    calls = 0

    def note(number: int, frame: FrameType) -> None:
        nonlocal calls
        calls = number

    count_calls(note)
    try:
        hash_of(dataset_id="small/counted-v0")
    finally:
        sys.setprofile(None)
    minari.delete_dataset("small/counted-v0")
    moments = np.random.default_rng(5).integers(calls // 4, calls // 2, size=8).tolist()
    kept, killed = [], 0
    for moment in [*moments, 0]:
        process = in_another_process(collect_until, moment)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        assert minari.list_local_datasets() == {}
        kept.append(len(chunk_files(datasets_root)))
    assert killed >= 3 and kept == sorted(kept) and kept[0] < kept[-1]
    assert_whole(datasets_root, uninterrupted)


def collect_until_in(name: str, chunks: int, root: Path) -> None:
    """Collects, and is killed in a function of a name once so many chunks are there."""

    def kill(number: int, frame: FrameType) -> None:
        if frame.f_code.co_name == name and len(chunk_files(root)) == chunks:
            os.kill(os.getpid(), signal.SIGKILL)

    count_calls(kill)
    hash_of()


@pytest.mark.parametrize(
    ("function", "chunks"),
    [
        ("_savez", 4),  # writing the fifth
        ("append_episodes", 3),  # writing the sessions of the third into the dataset
        ("write_json", 0),
        ("make_namespace", 9),
        ("move_into_place", 9),
        ("rename", 0),  # the chunks are gone, and the dataset takes its place
    ],
)
def test_killed_at_delicate_moments_it_goes_on(
    datasets_root: Path, uninterrupted: str, function: str, chunks: int
) -> None:
    process = in_another_process(collect_until_in, function, chunks, datasets_root)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert minari.list_local_datasets() == {}
    assert hash_of() == uninterrupted
    assert_whole(datasets_root, uninterrupted)


def test_metadata_that_json_writes_otherwise_are_those_of_the_interrupted_call(datasets_root: Path) -> None:
    metadata = {"author": ("Ada", "Bob"), "env_kwargs": "mine"}
    process = in_another_process(
        lambda: hash_of(policy=Slow(), policy_name="NoisyLatents", metadata=metadata)
    )
    wait_for_chunks(datasets_root, 1, process)
    process.kill()
    process.join()
    dataset = collect_latents(episodes=EPISODES, metadata=metadata)
    assert dataset.storage.metadata["env_kwargs"] == "mine"


class Slow(NoisyLatents):
    """Takes 20 ms for an action."""

    def act(self, state: Any, observations: np.ndarray) -> tuple[np.ndarray, Any]:
        time.sleep(0.02)
        return super().act(state, observations)


def wait_for_chunks(root: Path, count: int, process: multiprocessing.Process) -> None:
    while len(chunk_files(root)) < count:
        assert process.is_alive()
        time.sleep(0.01)


def test_workers_end_with_their_killed_parent(datasets_root: Path, uninterrupted: str) -> None:
    process = in_another_process(lambda: hash_of(policy=Slow(), policy_name="NoisyLatents", workers=2))
    wait_for_chunks(datasets_root, 1, process)
    process.kill()
    process.join()
    time.sleep(0.3)
    found = len(chunk_files(datasets_root))
    time.sleep(0.6)  # each would have played two more
    assert len(chunk_files(datasets_root)) == found < EPISODES // CHUNK
    assert hash_of() == uninterrupted
    assert_whole(datasets_root, uninterrupted)


# -- interrupted, out of disk -------------------------------------------------------------------------------


class Failing(NoisyLatents):
    """Fails in the middle of the n-th batch."""

    def __init__(self, error: BaseException, batch: int = 3) -> None:
        self.error, self.batches = error, batch

    def open(self, seeds: Sequence[int]) -> Any:
        self.batches -= 1
        self.steps = 0
        return super().open(seeds)

    def act(self, state: Any, observations: np.ndarray) -> tuple[np.ndarray, Any]:
        self.steps += 1
        if self.batches == 0 and self.steps == 4:
            raise self.error
        return super().act(state, observations)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full"), ZeroDivisionError()])
def test_an_error_keeps_the_finished_chunks(
    datasets_root: Path, uninterrupted: str, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        hash_of(policy=Failing(error), policy_name="NoisyLatents")
    assert raised.value.__notes__ == ["8 of 34 sessions are kept; rerun the same command to resume"]
    assert len(chunk_files(datasets_root)) == 2
    before = [path.stat().st_mtime_ns for path in chunk_files(datasets_root)]
    with pytest.raises(KeyboardInterrupt):  # the first batch is that of the check
        hash_of(policy=Failing(KeyboardInterrupt(), batch=3), policy_name="NoisyLatents")
    assert [path.stat().st_mtime_ns for path in chunk_files(datasets_root)[:2]] == before
    assert hash_of() == uninterrupted
    assert_whole(datasets_root, uninterrupted)


def test_an_error_before_the_first_chunk_leaves_nothing(datasets_root: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        hash_of(policy=Failing(KeyboardInterrupt(), batch=1))
    assert not hasattr(raised.value, "__notes__")
    assert list(datasets_root.iterdir()) == []


def collect_within(bytes_per_file: int, message: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, bytes_per_file))
    try:
        collect_slates("small/latent-v0", episodes=EPISODES)
    except OSError as error:
        message.put(str(error))


@pytest.mark.parametrize(
    ("room", "kept", "file"),
    [(6_000, 0, "chunks/0000000-0000004.npz"), (100_000, 3, "dataset/data/main_data.hdf5")],
)
def test_a_full_disk_is_told_and_what_is_there_is_kept(
    datasets_root: Path, room: int, kept: int, file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    messages = multiprocessing.get_context("fork").SimpleQueue()
    process = in_another_process(collect_within, room, messages)
    process.join()
    capfd.readouterr()  # h5py tells it in many lines of its own
    message = messages.get()
    assert str(datasets_root / HIDDEN / file) in message and "\n" not in message
    assert minari.list_local_datasets() == {}
    assert len(chunk_files(datasets_root)) >= kept
    expected = collect_slates("small/other-v0", episodes=EPISODES).storage.metadata["content_hash"]
    again = collect_slates("small/latent-v0", episodes=EPISODES)
    assert again.storage.metadata["content_hash"] == expected == compute_content_hash(again)


def test_a_disk_that_is_really_full_is_told_and_keeps_the_finished_sessions(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = small_disk / "datasets"
    with monkeypatch.context() as patched:
        patched.setenv("MINARI_DATASETS_PATH", str(root))
        with pytest.raises(OSError, match=re.escape(str(root / HIDDEN))) as raised:
            collect_slates("small/latent-v0", episodes=400)
        capfd.readouterr()
        assert "\n" not in str(raised.value)
        assert sorted(root.iterdir()) == [root / HIDDEN]  # with the sessions that are kept
        assert [one.name for one in (root / HIDDEN).iterdir()] == ["chunks"]


def test_a_damaged_chunk_is_played_again(datasets_root: Path, uninterrupted: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        hash_of(policy=Failing(KeyboardInterrupt()), policy_name="NoisyLatents")
    file = chunk_files(datasets_root)[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(OSError, match="was damaged"):
        hash_of()
    assert hash_of() == uninterrupted


# -- what may go on ----------------------------------------------------------------------------------------


@pytest.fixture
def unfinished(datasets_root: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        hash_of(policy=Failing(KeyboardInterrupt()), policy_name="NoisyLatents")
    return datasets_root / HIDDEN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "user_seed was 3, is 4;"),
        ({"split": "training"}, "user_split was 'logging', is 'training'"),
        ({"policy_name": "other"}, "policy was 'NoisyLatents', is 'other'"),
        (
            {"policy": NoisyActor(NoisyLatents(), 0.5), "policy_name": "NoisyLatents"},
            "exploration_noise was 0.0, is 0.5",
        ),
        ({"env_kwargs": {"num_items": 40, "slate_size": 5, "episode_length": 8}}, "'episode_length': 8"),
    ],
)
def test_other_arguments_are_refused_and_named(unfinished: Path, changes: dict, message: str) -> None:
    before = chunk_files(unfinished.parent)
    with pytest.raises(ValueError, match=message) as raised:
        hash_of(**changes)
    assert "--overwrite" in str(raised.value)
    assert chunk_files(unfinished.parent) == before and len(before) == 2
    expected = hash_of(dataset_id="small/fresh-v0", **changes)
    assert hash_of(overwrite=True, **changes) == expected


class Otherwise(NoisyLatents):
    """Has the same name in the metadata, and does something else."""

    def act(self, state: Any, observations: np.ndarray) -> tuple[np.ndarray, Any]:
        actions, state = super().act(state, observations)
        return -actions, state


def test_another_policy_of_the_same_name_is_noticed(unfinished: Path) -> None:
    changes = {"policy": Otherwise(), "policy_name": "NoisyLatents"}
    with pytest.raises(ValueError, match="sessions come out otherwise now"):
        hash_of(**changes)
    expected = hash_of(dataset_id="small/fresh-v0", **changes)
    assert hash_of(overwrite=True, **changes) == expected


def test_more_or_fewer_episodes_take_what_fits(unfinished: Path, uninterrupted: str) -> None:
    fresh = hash_of(dataset_id="small/fresh-v0", episodes=6)
    with pytest.raises(KeyboardInterrupt):
        hash_of(episodes=22, policy=Failing(KeyboardInterrupt(), batch=4), policy_name="NoisyLatents")
    assert len(chunk_files(unfinished.parent)) == 4
    assert hash_of(episodes=6) == fresh
    assert hash_of(overwrite=True) == uninterrupted


def test_kept_files_without_a_request_are_not_trusted(unfinished: Path, uninterrupted: str) -> None:
    (unfinished / "chunks" / REQUEST).unlink()
    assert hash_of() == uninterrupted


@pytest.mark.parametrize("torn", [b"", b'{"env_id": "Gem', b"[1]", b"\xff"])
def test_a_damaged_request_is_told_and_the_sessions_beside_it_dropped(
    unfinished: Path, uninterrupted: str, capsys: pytest.CaptureFixture[str], torn: bytes
) -> None:
    (unfinished / "chunks" / REQUEST).write_bytes(torn)
    assert hash_of() == uninterrupted
    told = " ".join(capsys.readouterr().err.split())
    assert "request.json' is n" in told and "it is made again" in told


def test_a_whole_dataset_is_replaced_on_demand(datasets_root: Path, uninterrupted: str) -> None:
    hash_of(episodes=5)
    with pytest.raises(KeyboardInterrupt):
        hash_of(policy=Failing(KeyboardInterrupt()), policy_name="NoisyLatents", overwrite=True)
    assert (
        minari.load_dataset("small/latent-v0").total_episodes == 5
    )  # the old one, until the new one is whole
    assert hash_of(overwrite=True) == uninterrupted
    assert_whole(datasets_root, uninterrupted)


# -- processes ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_neither_num_envs_nor_workers_change_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 65)
    hashes = {
        collect_latents(f"small/n{num_envs}w{workers}-v0", episodes=70, num_envs=num_envs, workers=workers)
        .storage.metadata["content_hash"]
        for num_envs, workers in ((1, 1), (64, 1), (256, 1), (64, 2))
    }  # fmt: skip
    assert len(hashes) == 1


class InWorkers(NoisyLatents):
    """Does something in every process but that of its making."""

    def __init__(self, deed: str) -> None:
        self.deed, self.home = deed, os.getpid()

    def act(self, state: Any, observations: np.ndarray) -> tuple[np.ndarray, Any]:
        if os.getpid() != self.home:
            if self.deed == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("no such latent")
        return super().act(state, observations)


@pytest.mark.parametrize(
    ("deed", "error", "message"),
    [
        ("die", RuntimeError, r"its process ended with exit code -9 \(SIGKILL, out of memory\?\)"),
        ("raise", ValueError, "no such latent"),
    ],
)
def test_what_befalls_a_worker_is_told(
    unfinished: Path, uninterrupted: str, deed: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        hash_of(policy=InWorkers(deed), policy_name="NoisyLatents", workers=2)
    assert raised.value.__notes__ == ["8 of 34 sessions are kept; rerun the same command to resume"]
    if deed == "raise":
        assert "in act" in str(raised.value.__cause__)  # the worker's traceback
    assert hash_of() == uninterrupted


def test_a_closure_can_not_be_handed_over(datasets_root: Path) -> None:
    with pytest.raises(TypeError, match="can't be handed to worker processes.*leave workers at 1"):
        hash_of(policy=lambda env: NoisyLatents(), workers=2)
    assert not datasets_root.exists() or list(datasets_root.iterdir()) == []
