"""TensorBoard for real, Weights & Biases and SwanLab too, offline: what they wrote is read back."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gems_gym.trackers import VARIABLE, choose_trackers, chosen_trackers, run_id, trackers
from tests.event_files import curves


def records(path: Path) -> Iterator[bytes]:
    """The records of a file in the form of LevelDB's log, which both services write, behind 7 bytes of their own."""
    data, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def wandb_runs(folder: Path) -> list[tuple[str, str, dict[tuple[int, str], float]]]:
    """Project, id, and (step, name) -> value of each run that was written under a folder, oldest first."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted(
        folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda one: one.stat().st_mtime_ns
    ):
        project, its_id, values = "", "", {}
        for data in records(path):
            record: Any = Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                project, its_id = record.run.project, record.run.run_id
            if record.HasField("history"):
                line = {"/".join(item.nested_key): float(item.value_json) for item in record.history.item}
                step = int(line.pop("step"))
                values |= {(step, name): value for name, value in line.items() if name[0] != "_"}
        found.append((project, its_id, values))
    return found


def swanlab_runs(folder: Path) -> list[tuple[str, str, dict[tuple[int, str], float]]]:
    """The same of SwanLab."""
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record

    found = []
    for path in sorted(folder.glob("swanlog/run-*/run-*.swanlab"), key=lambda one: one.stat().st_mtime_ns):
        project, its_id, values = "", "", {}
        for data in records(path):
            record: Any = Record()
            record.ParseFromString(data)
            if record.HasField("start"):
                project, its_id = record.start.project, record.start.id
            if record.HasField("scalar"):
                values[record.scalar.step, record.scalar.key] = record.scalar.value.number
        found.append((project, its_id, values))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "read"), [("wandb", wandb_runs), ("swanlab", swanlab_runs)])
def test_a_resumed_training_goes_on_in_its_run(
    name: str, read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {
        "WANDB_MODE": "offline",
        "SWANLAB_MODE": "offline",
        "WANDB_PROJECT": "mine",
        "SWANLAB_PROJ_NAME": "mine",
    }.items():
        monkeypatch.setenv(variable, value)
    choose_trackers([name])
    with trackers("belief", tmp_path) as tracked:
        tracked(10, {"loss": 0.5})
    with trackers("belief", tmp_path) as tracked:
        tracked(10, {"loss": 0.5})
        tracked(20, {"loss": 0.25, "score/mean": 3.0})
    its_id = run_id(tmp_path, name)
    expected = [
        ("mine", its_id, {(10, "loss"): 0.5}),
        ("mine", its_id, {(10, "loss"): 0.5, (20, "loss"): 0.25, (20, "score/mean"): 3.0}),
    ]
    deadline = time.monotonic() + 60  # another process writes the files, which may take a while
    while (found := read(tmp_path)) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == expected


def test_tensorboard_goes_on_where_a_resumed_training_takes_up(tmp_path: Path) -> None:
    choose_trackers(["tensorboard"])
    with trackers("belief", tmp_path) as tracked:
        tracked(10, {"loss": 0.5})
        tracked(20, {"loss": 0.75})  # not saved
    assert curves(tmp_path / "tensorboard") == {"belief/loss": [(10, 0.5), (20, 0.75)]}
    with trackers("belief", tmp_path) as tracked:
        tracked(20, {"loss": 0.25, "score/mean": 3.0})
    assert curves(tmp_path / "tensorboard") == {
        "belief/loss": [(10, 0.5), (20, 0.25)],
        "score/mean": [(20, 3.0)],
    }


def test_a_training_that_starts_anew(tmp_path: Path) -> None:
    choose_trackers(["tensorboard"])
    earlier = run_id(tmp_path, "wandb")
    for loss, step in ((0.5, 10), (1.0, 15)):
        with trackers("belief", tmp_path, events="logs", anew=True) as tracked:
            tracked(step, {"loss": loss})
    assert curves(tmp_path / "logs") == {"belief/loss": [(15, 1.0)]}
    assert run_id(tmp_path, "wandb") != earlier


def test_ids_differ_by_folder_and_tracker(tmp_path: Path) -> None:
    ids = [run_id(tmp_path / folder, name) for folder in "ab" for name in ("one", "two")]
    assert len(set(ids)) == 4
    assert ids == [run_id(tmp_path / folder, name) for folder in "ab" for name in ("one", "two")]


def test_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_trackers() == []
    with pytest.raises(ValueError, match="unknown tracker 'wand': did you mean 'wandb'"):
        choose_trackers(["wand"])
    assert chosen_trackers() == []
    monkeypatch.setenv(VARIABLE, "swanlab,wandb")
    choose_trackers(None)
    assert chosen_trackers() == ["swanlab", "wandb"]
    with trackers("nothing is opened without a folder", None) as tracked:
        tracked(1, {"loss": 1.0})
    choose_trackers([])
    assert chosen_trackers() == []


@pytest.mark.parametrize("missing", [None, "tensorboard", "torch"])
def test_without_a_choice_tensorboard_is_it_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("gems_gym.trackers.find_spec", lambda name: name != missing)
    assert chosen_trackers() == ([] if missing else ["tensorboard"])
