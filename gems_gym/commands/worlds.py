"""The worlds that a command is about: ids and changed parameters become specs that can be recorded."""

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym.commands.arguments import read_options
from gems_gym.config import SlateConfig, config_class, resolve_config
from gems_gym.errors import unknown_name
from gems_gym.registration import LATENT_PRESETS, environment_id, world_keywords

ALL = "all"
"""What ``--env`` may be instead of an id, for commands that take several."""


def chosen_world(
    env: Sequence[str] | None, env_option: Iterable[str] | None = None, item_embeddings: Path | None = None
) -> EnvSpec:
    """The one world that a command is about; arguments and errors as of :func:`chosen_worlds`.

    Raises:
        ValueError: Several worlds.
    """
    specs = chosen_worlds(env, env_option, item_embeddings)
    if len(specs) > 1:
        names = ", ".join(spec.id for spec in specs)
        raise ValueError(
            f"{' '.join(env or ())} stands for {len(specs)} environments ({names}), and this command takes one"
        )
    return specs[0]


def chosen_worlds(
    env: Sequence[str] | None,
    env_option: Iterable[str] | None = None,
    item_embeddings: Path | None = None,
    *,
    everything: Sequence[str] | None = None,
) -> list[EnvSpec]:
    """The worlds that a command is about, as specs that can be made, recorded and compared.

    Args:
        env: Ids, ``module:id`` of one that a module registers, or "all".
        env_option: Parameters of the worlds, ``name=value``.
        item_embeddings: Your own catalogue, an .npy file.
        everything: Ids that "all" stands for; the six published worlds if None.

    Returns:
        One spec for each id, each id once.

    Raises:
        ValueError: No id; a parameter that is unknown (the message names the nearest), out of its range or given twice.
        TypeError: A parameter's value of a wrong type.
        gymnasium.error.Error: An unknown id.
        ImportError: A module that can't be imported.
    """
    from gems_gym.datasets.world import environment_spec

    if item_embeddings is not None and not item_embeddings.exists():
        raise FileNotFoundError(f"--catalogue: there is no file {str(item_embeddings)!r}")

    if not env:
        raise ValueError("give --env with the id of an environment; 'gems-gym list' shows them")
    overrides = read_options(env_option, "--env-option")
    if item_embeddings is not None:
        if "item_embeddings" in overrides:
            raise ValueError("give --catalogue or --env-option item_embeddings=FILE, not both")
        overrides["item_embeddings"] = str(item_embeddings)
    every = [environment_id(preset) for preset in LATENT_PRESETS] if everything is None else everything
    ids = [one for name in env for one in (every if name == ALL else [name])]
    specs = []
    for one in dict.fromkeys(map(_registered, ids)):
        known = world_keywords(gymnasium.spec(one))
        for name in overrides:
            if name not in known:
                raise unknown_name(f"--env-option of {one}:", name, known)
        specs.append(environment_spec(one, overrides))
        _check_parameters(specs[-1])
    return specs


def _registered(env: str) -> str:
    """An id as it is registered: of ``module:id`` the id, once the module has been imported."""
    module, _, env_id = env.rpartition(":")
    if module:
        importlib.import_module(module)
    return env_id


def changed_parameters(spec: EnvSpec) -> dict[str, Any]:
    """The keywords in which a spec differs from the registered one of its id; JSON types.

    Args:
        spec: Made by :func:`chosen_world`, or recorded.
    """
    registered = gymnasium.spec(spec.id).kwargs
    return {
        name: value
        for name, value in spec.kwargs.items()
        if name not in registered or registered[name] != value
    }


def in_world(text: str, spec: EnvSpec) -> str:
    """A text with the name of a world's preset in the place of ``{preset}``.

    Args:
        text: A dataset's id or a policy's name.
        spec: The world.

    Raises:
        ValueError: The world is not made of a named preset.
    """
    if "{preset}" not in text:
        return text
    preset = spec.kwargs.get("preset")
    if not isinstance(preset, str):
        raise ValueError(f"{text!r} asks for the preset of {spec.id}, which is made of none")
    return text.replace("{preset}", preset)


def _check_parameters(spec: EnvSpec) -> None:
    """Raise the error of a parameter out of its range before anything is made."""
    preset = spec.kwargs.get("preset", SlateConfig())
    known = config_class(preset).parameters()
    resolve_config(preset, {name: value for name, value in spec.kwargs.items() if name in known})
