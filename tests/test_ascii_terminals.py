"""Commands on terminals that know ASCII only: real processes, since a stream gets its encoding when one starts."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets.small_world import collect_latents

ASCII = {
    "io": {"PYTHONIOENCODING": "ascii"},
    "locale": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
ENV = "GemsSlate-diffuse_mix-v0"


@pytest.fixture
def surroundings(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment variables of an ASCII terminal, with a dataset folder of the test's own."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONIOENCODING", "PYTHONUTF8")
    }
    return {**kept, **ASCII[request.param]}


def run(surroundings: dict[str, str], *arguments: object, **options) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-c",
        "from gems_gym.commands.program import main; main()",
        *map(str, arguments),
    ]
    return subprocess.run(command, env=surroundings, capture_output=True, timeout=300, check=False, **options)


def shown(done: subprocess.CompletedProcess, code: int = 0) -> tuple[str, str]:
    """What was printed, which must be ASCII."""
    assert done.returncode == code, done.stderr.decode(errors="replace")
    return done.stdout.decode("ascii"), done.stderr.decode("ascii")


EITHER, IO, LOCALE = (
    pytest.mark.parametrize("surroundings", names, indirect=True) for names in (ASCII, ["io"], ["locale"])
)


@pytest.mark.slow
@EITHER
def test_what_exists(surroundings) -> None:
    out, _ = shown(run(surroundings, "list"))
    assert ENV in out and "|" in out
    assert ENV in json.loads(shown(run(surroundings, "list", "--json"))[0])["environments"]
    assert "Report on datasets" in shown(run(surroundings, "dataset", "--help"))[0]


@pytest.mark.slow
@IO
def test_datasets(surroundings, tmp_path: Path) -> None:
    collect_latents(metadata={"note": "Grüße ± ε"})
    out, err = shown(
        run(surroundings, "dataset", "report", "small/latent-v0", "--out", "p.pdf", cwd=tmp_path)
    )
    assert "+-" in out and "(95 %)" in out and "reading small/latent-v0" in err
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF-")
    assert "+- eps" in " ".join(shown(run(surroundings, "info", "small/latent-v0"))[0].split())
    described = json.loads(shown(run(surroundings, "info", "small/latent-v0", "--json"))[0])
    assert described["note"] == "Grüße ± ε"
    _, err = shown(run(surroundings, "dataset", "report", "small/größe-v0"), code=2)
    assert err.startswith("error: ") and "'small/gr" in err


@pytest.mark.slow
@LOCALE
def test_progress_bars_and_evaluation(surroundings, tmp_path: Path) -> None:
    """Bars are drawn on terminals only: stderr is one here."""
    terminal, its_end = pty.openpty()
    arguments = ("evaluate", "random", "--env", ENV, "--episodes", 20)
    command = [
        sys.executable,
        "-c",
        "from gems_gym.commands.program import main; main()",
        *map(str, arguments),
    ]
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        done = subprocess.Popen(
            command,
            env={**surroundings, "TERM": "xterm"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=its_end,
        )
        os.close(its_end)
        drawn = b""
        try:
            while part := screen.read(65536):
                drawn += part
        except OSError:  # how a terminal says on Linux that the other end was closed
            pass
        out, _ = done.communicate(timeout=300)
    assert done.returncode == 0, drawn.decode(errors="replace")
    assert b"20" in drawn and b"----" in drawn and b"\\u" not in drawn and drawn.isascii()
    assert b"random" in out and b"95" in out and out.isascii()
