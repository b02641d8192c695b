"""Files of an agent's options: what a search has found, and what ``gems-gym train --preset`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gems_gym import plugins
from gems_gym.common.files import read_json, write_json


def write_preset(file: Path, agent: str, options: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Write a preset.

    Args:
        file: The file.
        agent: The agent's name.
        options: Its options; JSON values.
        more: How they were found, for readers; likewise.
    """
    write_json(file, {"agent": agent, "options": dict(options), **more})


def read_preset(file: Path, agent: str) -> dict[str, Any]:
    """Read the options of a preset.

    Args:
        file: The file.
        agent: The agent that they are for.

    Raises:
        FileNotFoundError: No file.
        ValueError: No preset, or one of another agent.
    """
    preset = _read(file)
    if preset["agent"] != agent:
        raise ValueError(f"--preset {file} is of the agent {preset['agent']!r}, not of {agent!r}")
    return dict(preset["options"])


def check_preset(file: Path) -> None:
    """Raise unless a preset's options are those of an agent that is installed.

    Args:
        file: The file.

    Raises:
        FileNotFoundError: No file.
        ValueError: No preset, one of an unknown agent, or options that it has not.
        TypeError: An option's value of a wrong type.
    """
    preset = _read(file)
    plugins.load(plugins.AGENTS, preset["agent"])(**preset["options"])


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"--preset: there is no file {str(file)!r}; 'gems-gym tune' makes one")
    preset = read_json(file)
    if not isinstance(preset, dict) or not isinstance(preset.get("options"), dict) or "agent" not in preset:
        raise ValueError(f"--preset {file} is no preset: it must be a JSON object with agent and options")
    return preset
