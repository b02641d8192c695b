"""Parts that tests of several folders need: a small world, and an untrained ranker and belief for it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from gems_gym import PRESETS
from gems_gym.beliefs import GruBelief
from gems_gym.commands import program as cli
from gems_gym.envs import SlateEnv
from gems_gym.rankers import GemsRanker
from tests import forked
from tests.plugins.installing import PLUGINS, install

TINY_WORLD: dict[str, Any] = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 4}


@pytest.fixture(scope="session", autouse=True)
def heeds_ctrl_c() -> None:
    """Ctrl-C reaches tests and what they start also where a shell ignores it: ``make test &`` in a script."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """``-n 2`` gives each process files as a whole, so that what a file's tests share is made once.

    They come in the order of collection, which has the long ones first: no process waits for another in the end.
    """
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


_TOGETHER = ("tests/agents/pipeline/", "tests/agents/user_model/", "tests/agents/world_model/")
"""Folders whose files share what takes long: a server that runs are forked from, logs, a fitted model."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A folder of :data:`_TOGETHER` is given to a process like a file."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = next(filter(nodeid.startswith, _TOGETHER), None)
            return folder or super()._split_scope(nodeid)

    return Scheduling(config, log) if config.option.dist == "loadfile" else None


_LONGEST = ("test_quickstart_seeds.py", "test_killed_commands.py")
"""Files of slow tests that take minutes: they begin first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files before all others."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Most slow tests need the process that :mod:`tests.forked` forks from."""
    if session.config.option.markexpr == "slow" and session.items:
        forked.prepare()


@pytest.fixture(autouse=True)
def no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that chooses trackers does so for itself."""
    monkeypatch.setenv("GEMS_GYM_TRACKERS", "")


def _sizes() -> dict[str, Any]:
    catalog = SlateEnv(**TINY_WORLD).catalog
    return {"num_items": 60, "slate_size": 5, "catalog_hash": catalog.hash, "seed": 0}


@pytest.fixture
def tiny_world() -> dict[str, Any]:
    """Keywords of a world with 60 items, slates of 5 and sessions of 4 steps."""
    return dict(TINY_WORLD)


@pytest.fixture(scope="session")
def tiny_ranker() -> GemsRanker:
    """A ranker with random weights for the tiny world; latents of 8 numbers."""
    return GemsRanker.random(latent_size=8, **_sizes())


@pytest.fixture(scope="session")
def tiny_belief() -> GruBelief:
    """A belief encoder with random weights for the tiny world."""
    return GruBelief.random(**_sizes())


@pytest.fixture(scope="session")
def tiny_env() -> Iterator[str]:
    """The id of a registered world with 80 items, slates of 5 and sessions of 12 steps."""
    name = "GemsSlate-tiny-v0"
    gymnasium.register(
        name,
        entry_point="gems_gym.envs.slate:SlateEnv",
        vector_entry_point="gems_gym.envs.slate_vector:SlateVectorEnv",
        kwargs={"preset": "diffuse_topdown", "num_items": 80, "slate_size": 5, "episode_length": 12},
    )
    yield name
    del gymnasium.registry[name]


@pytest.fixture
def registry_as_it_was() -> Iterator[None]:
    """Presets and environments that a test registers are gone after it."""
    kept = [(names, dict(names)) for names in (PRESETS, gymnasium.registry)]
    yield
    for names, before in kept:
        names.clear()
        names.update(before)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def plugin_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which pip installed the dummy plugin; the tests' own environment stays as it is."""
    target = tmp_path_factory.mktemp("site")
    install(PLUGINS / "gems_gym_dummy_plugin", target, tmp_path_factory.mktemp("source"))
    return target


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs ``gems-gym ARGUMENTS`` in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gems-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB; the test is skipped where none may be mounted."""
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path / "disk")]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not permitted")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)
