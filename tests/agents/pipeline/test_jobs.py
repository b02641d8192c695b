"""Jobs in processes: order, needs, failures, kills, Ctrl-C."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from gems_gym.commands.output import note
from gems_gym.common.progress import track
from gems_gym_agents.pipeline.jobs import Job, do_jobs


def touch(request) -> str:
    file = Path(request["file"])
    assert all(Path(one).exists() for one in request["wanted"]), "a job that was needed is not done"
    note(f"making {file.name}")
    with track("touching", 3) as advance:
        for _ in range(3):
            advance()
    file.write_text(os.environ["OMP_NUM_THREADS"])
    return f"made {file.name}"


def fail(_: object) -> str:
    raise ValueError("no luck")


def die(_: object) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def work_until_stopped(request) -> str:
    folder = Path(request["folder"])
    (folder / "begun").touch()
    try:
        time.sleep(60)
    finally:
        (folder / "tidied").touch()
    return "never"


def make(folder: Path, name: str, *needs: str) -> Job:
    request = {"file": str(folder / name), "wanted": [str(folder / need) for need in needs]}
    return Job(name, f"{__name__}:touch", request, folder / f"{name}.log", needs)


def test_every_job_is_done_after_what_it_needs(tmp_path, capsys):
    jobs = [make(tmp_path, "c", "a", "b"), make(tmp_path, "a"), make(tmp_path, "b", "a")]
    assert do_jobs("three", jobs, 2) == {}
    assert [(tmp_path / name).read_text() for name in "abc"] == ["1", "1", "1"]
    assert "making b" in (tmp_path / "b.log").read_text()
    told = capsys.readouterr().err
    assert told.index("a: made a") < told.index("b: made b") < told.index("c: made c")
    assert "making" not in told
    assert os.environ.get("OMP_NUM_THREADS") != "" and not multiprocessing.active_children()


def test_failures_stop_only_those_that_need_them(tmp_path):
    jobs = [
        Job("unlucky", f"{__name__}:fail", {}, tmp_path / "unlucky.log"),
        Job("killed", f"{__name__}:die", {}, tmp_path / "killed.log"),
        make(tmp_path, "after", "unlucky"),
        make(tmp_path, "later", "after"),
        make(tmp_path, "other"),
    ]
    failures = do_jobs("five", jobs, 1)
    assert set(failures) == {"unlucky", "killed", "after", "later"}
    assert failures["unlucky"].startswith("ValueError: no luck (see ")
    assert "exit code -9" in failures["killed"]
    assert "needs 'unlucky'" in failures["after"] and "needs 'after'" in failures["later"]
    assert 'raise ValueError("no luck")' in (tmp_path / "unlucky.log").read_text()
    assert (tmp_path / "other").exists() and not (tmp_path / "later").exists()


def test_ctrl_c_ends_all_processes_and_lets_them_tidy_up(tmp_path):
    def press() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    job = Job("long", f"{__name__}:work_until_stopped", {"folder": str(tmp_path)}, tmp_path / "long.log")
    with pytest.raises(KeyboardInterrupt):
        do_jobs("one", [job, make(tmp_path, "next")], 1)
    assert (tmp_path / "tidied").exists() and not (tmp_path / "next").exists()
    assert not multiprocessing.active_children()
