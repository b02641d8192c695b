"""Options that several commands have: which world, with which parameters, and ``--option name=value`` of all kinds."""

import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import typer
from gymnasium.envs.registration import EnvSpec

from gems_gym import plugins
from gems_gym.common.jobs import Executor
from gems_gym.common.locks import locked_folder
from gems_gym.common.machine import check_out_folder
from gems_gym.config import SlateConfig, resolve_config
from gems_gym.errors import require, unknown_name
from gems_gym.registration import LATENT_PRESETS, environment_id, world_keywords

ALL = "all"
"""What ``--env`` may be instead of an id, for commands that take several."""

Env = Annotated[list[str] | None, typer.Option("--env", metavar="ID", help="Environment id.")]
Envs = Annotated[
    list[str] | None,
    typer.Option(
        "--env", metavar="ID", help="Environment id; may be repeated, and all means the six worlds."
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env-option",
        metavar="NAME=VALUE",
        help="A parameter of the world (JSON), omega=0.95; may be repeated.",
    ),
]
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy-option",
        metavar="NAME=VALUE",
        help="An option of a policy by name (JSON), epsilon=0.1; may be repeated.",
    ),
]
Checkpoint = Annotated[
    int | None,
    typer.Option(
        help="Of a trained agent's folder: the policy after so many interactions, not the chosen one."
    ),
]

ExecutorName = Annotated[
    str, typer.Option("--executor", help="What does the work: local, on this machine; ray, on a cluster.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="With --executor ray: the cluster's address, or auto. If not given, this machine."),
]


def chosen_executor(executor: str, ray_address: str | None) -> Executor:
    """What does a command's jobs.

    Args:
        executor: A name in the entry-point group ``gems_gym.executors``.
        ray_address: See :func:`gems_gym.common.ray_jobs.do_jobs`.

    Raises:
        ValueError: An unknown name, or an address for another executor than Ray.
        ImportError: Ray is not installed.
    """
    found: Executor = plugins.load(plugins.EXECUTORS, executor)
    if executor == "ray":
        require("ray")
        return partial(found, address=ray_address)  # type: ignore[call-arg]
    if ray_address is not None:
        raise ValueError(f"--ray-address {ray_address} goes with --executor ray")
    return found


def read_seeds(text: str) -> list[int]:
    """Seeds with commas between them.

    Args:
        text: What ``--seeds`` was given.

    Raises:
        ValueError: Other than whole numbers of at least 0, or one of them twice.

    Examples:
        >>> read_seeds("0,1,2")
        [0, 1, 2]
    """
    try:
        seeds = [int(one) for one in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--seeds must be whole numbers with commas between them, got {text!r}") from error
    if min(seeds) < 0:
        raise ValueError(f"--seeds must be at least 0, got {text!r}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds must be different seeds, got {text!r}")
    return seeds


def read_options(given: Iterable[str] | None, option: str = "--option") -> dict[str, Any]:
    """``name=value`` pairs, values as JSON where they are JSON, else as text.

    Args:
        given: The pairs as typed.
        option: What they are given by, for the message.

    Raises:
        ValueError: A text without a name or without ``=``.

    Examples:
        >>> read_options(["k=5", "deduplicate=false", "name=x"])
        {'k': 5, 'deduplicate': False, 'name': 'x'}
    """
    options: dict[str, Any] = {}
    for pair in given or ():
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise ValueError(f"{option} must be name=value, got {pair!r}")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def alone_in_its_folder(command: Callable[..., None]) -> Callable[..., None]:
    """Lets one process at a time run a command in a folder: a second one ends with an error before it does anything.

    Args:
        command: Has an option ``out``, the folder.
    """

    @wraps(command)
    def locking(*, out: Path, **given: Any) -> None:
        check_out_folder(out)
        with locked_folder(out, f"--out {out}"):
            command(out=out, **given)

    return locking


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
        raise ValueError(f"--env names {len(specs)} environments ({names}), and this command takes one")
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
        item_embeddings: One's own catalogue, an .npy file.
        everything: Ids that "all" stands for; the six published worlds if None.

    Returns:
        One spec for each id, each id once.

    Raises:
        ValueError: No id; a parameter that is unknown (the message names the nearest) or out of its range.
        TypeError: A parameter's value of a wrong type.
        gymnasium.error.Error: An unknown id.
        ImportError: A module that can't be imported.
    """
    from gems_gym.datasets.world import environment_spec

    if not env:
        raise ValueError("give --env with the id of an environment; 'gems-gym list' shows them")
    overrides = read_options(env_option, "--env-option")
    if item_embeddings is not None:
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


def refuse(why: str, **options: Any) -> None:
    """Raises a ValueError that names the first option that is given though it should not, and why."""
    for name, value in options.items():
        if value not in (None, []):
            raise ValueError(f"--{name.replace('_', '-')} {why}")


def _check_parameters(spec: EnvSpec) -> None:
    """Raise the error of a parameter out of its range before anything is made."""
    fields = SlateConfig.__dataclass_fields__
    resolve_config(
        spec.kwargs.get("preset", SlateConfig()),
        {name: value for name, value in spec.kwargs.items() if name in fields},
    )
