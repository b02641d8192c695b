"""Installs the packages beside it as a user would, without touching the environment that the tests run in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def install(name: str, target: Path, scratch: Path) -> None:
    """Has pip install a package of this folder into a folder that nothing else is in.

    Args:
        name: The package's folder.
        target: Where to.
        scratch: Gets a copy of the source, since building leaves files beside it.
    """
    source = scratch / name
    shutil.copytree(HERE / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "--target", str(target), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def environment_with(site: Path) -> dict[str, str]:
    """Environment variables of a process that sees the packages in a folder, and this source tree."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
