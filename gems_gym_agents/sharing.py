"""Trained agents and tuned settings from one machine to another, checked before they are kept."""

from __future__ import annotations

from pathlib import Path

from gems_gym.common.checks import checked_arguments
from gems_gym.common.files import whole_folder
from gems_gym.common.sharing import Package, pull, push
from gems_gym.trained_agents import open_trained_agent, saved_files
from gems_gym_agents.tuning.presets import check_preset

AGENT, SETTINGS = "agent", "settings"
"""Kinds of what is shared: a trained agent, its folder or its one file; a preset for ``gems-gym train``."""


@checked_arguments
def push_agent(path: Path, name: str, remote: str, *, progress: bool = True) -> Package:
    """Put a trained agent or tuned settings where others can pull them.

    Args:
        path: A trained agent's folder; a policy's file, ``.safetensors``; or a preset's, ``.json``.
        name: What it is pulled by.
        remote: A folder, ``hf://USER`` or ``gcp://BUCKET`` (:func:`gems_gym.common.remotes.open_remote`).
        progress: Whether to show a progress bar on stderr.

    Returns:
        What is there now.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It is none of these, a name that can't be used, or the remote has something of this name.
        OSError: The remote can't be written to.
        ImportError: The client of a cloud is not installed.
    """
    if path.suffix == ".json":
        check_preset(path)
        return push(SETTINGS, name, {path.name: path}, remote, progress=progress)
    open_trained_agent(path)
    files = saved_files(path) if path.is_dir() else {path.name: path}
    return push(AGENT, name, files, remote, progress=progress)


@checked_arguments
def pull_agent(name: str, remote: str, out: Path, *, progress: bool = True) -> Path:
    """Fetch a trained agent or tuned settings that were pushed; interrupted, it leaves nothing.

    Args:
        name: The name that it was pushed under.
        remote: The remote of :func:`push_agent`, or the address of a web server.
        out: The folder to make.
        progress: Whether to tell its size, and to show a progress bar, on stderr.

    Returns:
        What ``gems-gym evaluate`` or ``gems-gym train --preset`` takes: the folder of an agent, or the one file in it.

    Raises:
        ValueError: There is something at ``out``; or what was pulled was altered, or is no agent or settings that can
            be used here.
        FileNotFoundError: The remote has nothing of this name.
        OSError: The remote can't be read, or the disk has too little room.
        ImportError: The client of a cloud is not installed.
    """
    with whole_folder(out) as folder:
        package = pull((AGENT, SETTINGS), name, remote, folder, progress=progress)
        alone = next(iter(package.files)) if len(package.files) == 1 else ""
        if package.kind == SETTINGS:
            check_preset(folder / alone)
        else:
            open_trained_agent(folder / alone)
            if not alone and (more := package.files.keys() - saved_files(folder).keys()):
                raise ValueError(f"{name} holds {', '.join(sorted(more))}, which its agent does not name")
    return out / alone
