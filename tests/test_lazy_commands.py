"""The program's commands are imported when they are called: broken ones hurt nobody else, and help needs none."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gems_gym import __version__
from gems_gym.commands.lazy import plugin_commands
from gems_gym.commands.program import OWN_COMMANDS
from tests.plugins.installing import PLUGINS, environment_with, install

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NOT_ON_WINDOWS = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Python where two packages with commands are installed, one of them broken."""
    site, scratch = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    for name in ("gems_gym_dummy_plugin", "gems_gym_broken_plugin"):
        install(PLUGINS / name, site, scratch)

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**environment_with(site), "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True, text=True, timeout=120, env=environment, cwd=site, check=False,
        )  # fmt: skip

    return python


@pytest.mark.slow
def test_broken_commands_leave_the_others_alone(run: Run) -> None:
    listed = run("-m", "gems_gym", "list")
    assert listed.returncode == 0, listed.stderr
    assert "broken" in listed.stdout
    mine = run("-m", "gems_gym", "bored-after")
    assert (mine.returncode, mine.stdout) == (0, "2\n"), mine.stderr
    ours = run("-m", "gems_gym", "collect", "--help")
    assert ours.returncode == 0, ours.stderr
    assert "--episodes" in ours.stdout, "no plugin takes the place of a command of gems-gym itself"


@pytest.mark.slow
def test_help_shows_every_command_with_its_owner_and_imports_none(run: Run) -> None:
    code = """if True:
        import sys
        from gems_gym.commands import program as cli
        sys.argv = ["gems-gym", "--help"]
        try:
            cli.main()
        except SystemExit as ended:
            assert not ended.code
        print(*sorted(name for name in sys.modules if name.startswith("gems_gym")))"""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    shown, modules = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]
    for words in (
        r"bored-after +Print how many recent clicks .* \(from gems-gym-dummy-plugin 1\.2\.3\)",
        r"broken +Do nothing, .* \(from gems-gym-broken-plugin 4\.5\.6\)",
        r"gone +\(from gems-gym-broken-plugin 4\.5\.6\)",
        r"train +Train an agent, online in an environment or offline on a dataset",
        r"pretrain +Train a ranker, a belief or item embeddings",
    ):
        assert any(re.search(words, line) for line in shown), words
    for name in (
        "gems_gym_dummy_plugin",
        "gems_gym_agents",
        "gems_gym.commands.pretrain",
        "gems_gym.commands.collect",
    ):
        assert name not in modules.split()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("broken", "RuntimeError: no such wire"),
        ("gone", "No module named 'gems_gym_gone_plugin'"),
        ("number", "it must be a function whose parameters can be options"),
    ],
)
def test_a_broken_command_says_whose_it_is(run: Run, command: str, words: str) -> None:
    done = run("-m", "gems_gym", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    for part in (f"error: the command '{command}'", "gems-gym-broken-plugin 4.5.6", words):
        assert part in " ".join(done.stderr.split())


def test_summaries_are_those_of_the_commands() -> None:
    for lazy in (*OWN_COMMANDS, *plugin_commands()):
        real = lazy._load()
        assert lazy.short_help == real.help.partition("\n")[0], lazy.name


def test_names_that_are_near_are_suggested(program: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = program("trian")
    assert code == 2
    assert "Did you mean 'train'" in err


def test_version_by_option_and_as_a_module(program: Callable[..., tuple[int, str, str]]) -> None:
    assert program("--version") == (0, f"gems-gym {__version__}\n", "")
    done = subprocess.run(
        [sys.executable, "-m", "gems_gym", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"gems-gym {__version__}\n"


def test_the_program_needs_no_posix_module(tmp_path: Path) -> None:
    code = f"""if True:
        import sys
        import numba  # before anything is blocked: what a library needs is for it to say
        sys.modules.update(dict.fromkeys({NOT_ON_WINDOWS!r}))
        from gems_gym.commands import program as cli
        for arguments in (
            ["--version"],
            ["--help"],
            ["list"],
            ["info", "GemsSlateLatent-diffuse_mix-v0"],
            ["pretrain", "--help"],
            ["collect", "--help"],
        ):
            sys.argv = ["gems-gym", *arguments]
            try:
                cli.main()
            except SystemExit as ended:
                assert not ended.code, arguments"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
