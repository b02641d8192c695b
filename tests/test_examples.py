"""The examples run, each alone, as a newcomer would run them."""

import http.client
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_first_steps():
    printed = run("01_first_steps.py", "--steps", 5)
    assert "Random slates got" in printed
    assert "step 5/5" in printed


def test_first_steps_with_a_picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    run("01_first_steps.py", "--steps", 3, "--picture", tmp_path / "session.png")
    assert image.open(tmp_path / "session.png").size == (640, 480)


def test_three_policies(tmp_path):
    image = pytest.importorskip("PIL.Image")
    printed = run("02_three_policies_video.py", "--steps", 3, "--gif-width", 320, "--out", tmp_path)
    assert printed.count("clicks\n") == 3
    assert image.open(tmp_path / "three_policies.gif").n_frames == 4
    assert ("wrote" in printed.splitlines()[-1]) == (tmp_path / "three_policies.mp4").exists()


def test_sac_by_stable_baselines3(monkeypatch, capsys):
    """In this process, which has loaded the library by now."""
    pytest.importorskip("stable_baselines3")
    name = str(EXAMPLES / "03_sac_by_stable_baselines3.py")
    monkeypatch.setattr(sys, "argv", [name, "--steps", "300", "--seeds", "0", "1", "--users", "4"])
    runpy.run_path(name, run_name="__main__")
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines()] == ["seed 0", "seed 1", "2 seeds"]


@pytest.mark.slow
def test_sac_in_one_file_learns(monkeypatch, capsys):
    pytest.importorskip("torch")
    name = str(EXAMPLES / "06_sac_in_one_file.py")
    monkeypatch.setattr(sys, "argv", [name, "--steps", "10000", "--users", "20"])
    runpy.run_path(name, run_name="__main__")
    training, test = capsys.readouterr().out.splitlines()
    assert training.startswith(" 10,000 interactions: ")
    assert float(test.split()[3]) > 70, "random slates get 33 clicks"


@pytest.mark.slow
def test_td3_plus_bc_swings_up_the_pendulum_from_an_experts_sessions_alone(monkeypatch, capsys, tmp_path):
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("d3rlpy")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))  # restored after the example has changed it
    monkeypatch.setattr(sys, "argv", [name := str(EXAMPLES / "04_pendulum_offline.py")])
    runpy.run_path(name, run_name="__main__")
    returns = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert float(returns["TD3+BC"].split()[0]) >= -250


@pytest.mark.slow
def test_a_log_of_ones_own_is_taken_to_a_decision(tmp_path):
    for library in ("polars", "matplotlib", "stable_baselines3"):
        pytest.importorskip(library)
    run("07_own_logs.py", "--out", tmp_path, "--users", 300, "--batches", 20, "--steps", 300)
    page = (tmp_path / "report.md").read_text()
    for reason in (
        "clicked: was not shown",
        "items: is not in the item table",
        "row: is a duplicate",
        "time: is mis",
    ):
        assert f"| {reason}" in page
    rows = {
        line.split(" | ")[0]: line.split(" | ")[1:] for line in page.splitlines() if line.count(" | ") == 4
    }
    agents = ("| iql, from the log", "| sac, in the fitted world")
    assert rows.keys() == {"| policy", "| ---", "| as logged", "| random", "| most clicked", *agents}
    assert page.count("](import.png)") == page.count("](world.png)") == 1
    assert "By the lower bound of dm: **" in page


def test_a_service_answers_and_says_what_is_wrong():
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    service = runpy.run_path(str(EXAMPLES / "05_service.py"))
    app = service["make_app"](service["open_policy"]("expert-diffuse_mix"), "expert-diffuse_mix")
    server, thread, port = service["serve_in_thread"](app)
    try:
        assert len(service["ask"](port, 3, 2)) == 3
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/health")
        assert json.load(connection.getresponse()) == {"status": "ok", "policy": "expert-diffuse_mix"}
        wrong = {"history": [{"slate": [1000] * 10, "clicks": [0] * 10}]}
        connection.request("POST", "/recommend", json.dumps(wrong), {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 422
        assert "must be an integer from 0 to 999, got 1000" in json.load(answer)["detail"]
    finally:
        server.should_exit = True
        thread.join()
