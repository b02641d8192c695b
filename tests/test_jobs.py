"""Jobs in processes: order, needs, failures, kills, Ctrl-C."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gems_gym.commands.output import note
from gems_gym.common.jobs import Job, do_jobs
from gems_gym.common.progress import track


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
    try:
        (folder / "begun").touch()  # inside: whoever sees it may interrupt at once
        time.sleep(60)
    finally:
        (folder / "tidied").touch()
    return "never"


def end_itself(_: object) -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    return "never"


def say_who(request) -> str:
    Path(request["file"]).write_text(str(os.getpid()))
    return work_until_stopped(request)


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


def test_jobs_that_wait_for_one_another_are_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="these jobs wait for one another: 'b', 'c'"):
        do_jobs("three", [make(tmp_path, "a"), make(tmp_path, "b", "c"), make(tmp_path, "c", "b")], 2)


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


def test_a_job_that_is_ended_by_others_has_failed(tmp_path):
    jobs = [Job("ended", f"{__name__}:end_itself", {}, tmp_path / "ended.log"), make(tmp_path, "other")]
    failures = do_jobs("two", jobs, 2)
    assert set(failures) == {"ended"} and "it was interrupted (see " in failures["ended"]
    assert (tmp_path / "other").exists()


def press_ctrl_c(once: Callable[[], bool]) -> threading.Thread:
    """Press it as soon as something is the case."""

    def press() -> None:
        while not once():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_ctrl_c_ends_all_processes_and_lets_them_tidy_up(tmp_path):
    press_ctrl_c((tmp_path / "begun").exists)
    job = Job("long", f"{__name__}:work_until_stopped", {"folder": str(tmp_path)}, tmp_path / "long.log")
    with pytest.raises(KeyboardInterrupt):
        do_jobs("one", [job, make(tmp_path, "next")], 1)
    assert (tmp_path / "tidied").exists() and not (tmp_path / "next").exists()
    assert not multiprocessing.active_children()


def test_ctrl_c_ends_a_job_that_is_still_being_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_to_import.py").write_text(
        "import pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'begun')!r}).touch()\n"
        "try:\n    time.sleep(60)\nexcept BaseException:\n    time.sleep(60)\n"
    )
    press_ctrl_c((tmp_path / "begun").exists)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        do_jobs("one", [Job("long", "slow_to_import:do", {}, tmp_path / "long.log")], 1)
    assert time.monotonic() - begun < 30 and not multiprocessing.active_children()


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.5, 1.0, 1.5])
def test_ctrl_c_leaves_no_process_whenever_it_is_pressed(tmp_path, delay):
    request = {"folder": str(tmp_path)}
    jobs = [
        Job(name, f"{__name__}:work_until_stopped", request, tmp_path / f"{name}.log") for name in ("a", "b")
    ]

    def interrupted_after_a_while() -> None:
        at = time.monotonic() + delay
        press_ctrl_c(lambda: time.monotonic() >= at)
        do_jobs("two", jobs, 2)

    with pytest.raises(KeyboardInterrupt):
        interrupted_after_a_while()
    assert not multiprocessing.active_children()
    assert (tmp_path / "begun").exists() <= (tmp_path / "tidied").exists()


def test_jobs_end_with_their_killed_parent(tmp_path):
    request = {"folder": str(tmp_path), "file": str(tmp_path / "process")}
    driver = (
        "from pathlib import Path; from gems_gym.common.jobs import Job, do_jobs\n"
        f"do_jobs('one', [Job('long', '{__name__}:say_who', {request}, Path({str(tmp_path / 'log')!r}))], 1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", driver], cwd=Path(__file__).parents[1])
    while not (tmp_path / "begun").exists():
        assert parent.poll() is None
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    process, begun = int((tmp_path / "process").read_text()), time.monotonic()
    while is_running(process):
        assert time.monotonic() - begun < 10
        time.sleep(0.01)
    assert (tmp_path / "tidied").exists()


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()  # nobody has asked how it ended
    except FileNotFoundError:
        return False
