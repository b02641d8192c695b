"""Compiled code is kept on disk where that is possible; where it is not, it is compiled in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

DAMAGES = {
    "empty": lambda content: b"",
    "short": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "another object": lambda content: b"\x80\x04K\x07.",  # the number 7, pickled
}
SUFFIXES = ("nbi", "nbc")  # numba's index and data files

KERNELS = [f"kernel_{number}" for number in range(len(DAMAGES) * len(SUFFIXES))]

MODULE = "from gems_gym.common.compilation import compiled\n" + "".join(
    f"@compiled\ndef {name}(number):\n    return number + {index}\n" for index, name in enumerate(KERNELS)
)

USE = f"""
import kernels

def use():
    functions = [getattr(kernels, name) for name in {KERNELS}]
    assert [function(5) for function in functions] == [5 + index for index in range(len(functions))]
    print(sum(sum(function.stats.cache_hits.values()) for function in functions))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kernels.py").write_text(MODULE)
    (tmp_path / "use.py").write_text(USE)
    return tmp_path


def use(folder: Path, cache: Path | str, code: str = "import use; use.use()") -> tuple[int, str]:
    """Calls all kernels in a new process; how many were in the cache, and stderr."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",  # no other folder is tried
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, env=environment, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout), done.stderr


@pytest.mark.slow
def test_a_damaged_cache_is_replaced_with_one_note(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert use(folder, cache) == (0, "")
    for index, name in enumerate(KERNELS):
        damage = list(DAMAGES.values())[index // len(SUFFIXES)]
        (file,) = cache.rglob(f"*{name}-*.{SUFFIXES[index % len(SUFFIXES)]}")
        file.write_bytes(damage(file.read_bytes()))
    hits, told = use(folder, cache)
    assert hits == 0
    assert len(told.splitlines()) == 1
    assert "can't be read" in told
    assert str(cache) in told
    assert use(folder, cache) == (len(KERNELS), "")


@pytest.mark.slow
def test_kernels_are_compiled_again_when_a_part_of_them_changes(tmp_path: Path) -> None:
    """Of another file than theirs, which numba looks at alone: a function that is called, and a constant."""
    (tmp_path / "use.py").write_text(
        "from gems_gym.common.compilation import compiled\n"
        "import parts\nfrom constants import STEP\n"
        "@compiled\ndef kernel(number):\n    return parts.raised(number) + STEP\n"
        "def use():\n    print(kernel(5) + sum(kernel.stats.cache_hits.values()) * 1000)\n"
    )
    raised = "from gems_gym.common.compilation import inlined\n@inlined\ndef raised(number):\n    return number + {}\n"
    found = []
    for plus, step in ((1, 100), (1, 100), (2, 100), (2, 200), (2, 200)):
        (tmp_path / "parts.py").write_text(raised.format(plus))
        (tmp_path / "constants.py").write_text(f"STEP = {step}\n")
        found.append(use(tmp_path, tmp_path / "cache")[0])
    assert found == [106, 1106, 107, 207, 1207]


def test_without_a_writable_folder_everything_works_with_one_note(folder: Path) -> None:
    hits, told = use(folder, "/proc/no/such/folder")
    assert hits == 0
    assert len(told.splitlines()) == 1
    assert "no writable cache folder" in told
    assert "NUMBA_CACHE_DIR" in told


def test_processes_that_the_user_did_not_start_say_nothing(folder: Path) -> None:
    code = """if True:
        import multiprocessing, use
        if __name__ == "__main__":
            worker = multiprocessing.get_context("spawn").Process(target=use.use)
            worker.start()
            worker.join()"""
    assert use(folder, "/proc/no/such/folder", code) == (0, "")


def test_a_full_disk_is_noted_once(folder: Path, tmp_path: Path) -> None:
    code = """if True:
        import resource
        import use
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        use.use()"""
    hits, told = use(folder, tmp_path / "cache", code)
    assert hits == 0
    assert len(told.splitlines()) == 1
    assert "can't be kept in" in told
    assert "File too large" in told
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
