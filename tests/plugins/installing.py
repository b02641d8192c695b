"""Installs the packages beside it as a user would, without touching the environment that the tests run in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parent
ROOT = PLUGINS.parent.parent


def install(package: Path, target: Path, scratch: Path) -> None:
    """Has pip install a package into a folder that nothing else is in.

    Args:
        package: Its folder.
        target: Where to.
        scratch: Gets a copy of the source, since building leaves files beside it.
    """
    source = scratch / package.name
    shutil.copytree(package, source)
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
