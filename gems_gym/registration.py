"""Presets become Gymnasium ids: ``diffuse_mix`` -> ``GemsSlate-diffuse_mix-v0`` and ``-v1``.

Those of SARDINE become ``Sardine-SlateTopK-Bored-v0`` and ``-v1``.
The six published worlds have one with beliefs and latents too: ``GemsSlateLatent-diffuse_mix-v0``.
``GemsSlate-fitted-v0`` is the world that its keyword ``world=FILE`` names, fitted to logged sessions.
"""

import copy
from typing import Annotated

import gymnasium
from annotated_types import Interval
from gymnasium.envs.registration import EnvSpec

from gems_gym import plugins
from gems_gym.common.checks import checked_arguments
from gems_gym.config import (
    PRESET_NAME,
    PRESETS,
    SlateConfig,
    check_preset,
    config_class,
    preset_config,
    preset_names,
)
from gems_gym.fitted_config import FITTED
from gems_gym.sardine_config import SARDINE_PRESETS

Version = Annotated[int, Interval(ge=0, le=1)]
VERSIONS = (0, 1)
"""The versions of the dynamics that every preset is registered with; see ``SlateConfig.dynamics_version``."""

LATENT_PRESETS = tuple(PRESETS)
"""The worlds with latent ids: those that a ranker and a belief are shipped for."""

FITTED_ID = f"GemsSlate-{FITTED}-v0"
"""The world that its keyword ``world=FILE`` names; :func:`environment_ids` are those that need no file."""

_SLATE = "gems_gym.envs.slate:SlateEnv"
_SLATE_VECTOR = "gems_gym.envs.slate_vector:SlateVectorEnv"
_LATENT = "gems_gym.envs.latent:LatentSlateEnv"
_LATENT_VECTOR = "gems_gym.envs.latent_vector:LatentSlateVectorEnv"


@checked_arguments
def environment_id(preset: str, version: Version = 0) -> str:
    """The id that a preset's world is registered under.

    Args:
        preset: The preset's name.
        version: 0 for the published dynamics, 1 for the corrected ones.

    Raises:
        ValueError: Another version.

    Examples:
        >>> environment_id("diffuse_mix")
        'GemsSlate-diffuse_mix-v0'
    """
    kind = "Sardine" if preset in SARDINE_PRESETS else "GemsSlate"
    return f"{kind}-{preset}-v{version}"


def environment_ids() -> list[str]:
    """The ids of all presets in all versions: the published worlds, your own, and those of installed plugins."""
    return [environment_id(preset, version) for preset in _names() for version in VERSIONS]


@checked_arguments
def latent_environment_id(preset: str) -> str:
    """The id of a world with beliefs as observations and latents as actions.

    Examples:
        >>> latent_environment_id("diffuse_mix")
        'GemsSlateLatent-diffuse_mix-v0'
    """
    return f"GemsSlateLatent-{preset}-v0"


def latent_environment_ids() -> list[str]:
    """The ids of the six worlds with beliefs as observations and latents as actions."""
    return [latent_environment_id(preset) for preset in LATENT_PRESETS]


@checked_arguments
def is_latent(env: str | EnvSpec) -> bool:
    """Whether an id or a spec is that of a :class:`gems_gym.envs.latent.LatentSlateEnv`.

    Raises:
        gymnasium.error.Error: An unknown id.
    """
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    return spec.entry_point == _LATENT


def is_slate(spec: EnvSpec) -> bool:
    """Whether a spec is that of a :class:`gems_gym.envs.SlateEnv`."""
    return spec.entry_point == _SLATE


def latent_spec(slate: EnvSpec, ranker: str, belief: str) -> EnvSpec:
    """The spec of a latent environment around a slate environment's world: :func:`slate_spec` the other way round.

    It need not be registered; ``gymnasium.make`` takes a spec as well as an id.

    Args:
        slate: The slate environment's spec.
        ranker: A shipped name, a file, or a dataset's copy (``dataset:ID/ranker``).
        belief: Likewise.

    Examples:
        >>> latent_spec(gymnasium.spec("GemsSlate-diffuse_mix-v1"), "gems-diffuse_mix", "gru-diffuse_mix").id
        'GemsSlateLatent-diffuse_mix-v1'
    """
    return EnvSpec(
        _renamed(slate.id, "", "Latent"),
        entry_point=_LATENT,
        vector_entry_point=_LATENT_VECTOR,
        kwargs={**copy.deepcopy(slate.kwargs), "ranker": ranker, "belief": belief},
        additional_wrappers=slate.additional_wrappers,
    )


def slate_id(latent_id: str) -> str:
    """The id of the slate environment inside a latent one; any other id as it is.

    Examples:
        >>> slate_id("GemsSlateLatent-diffuse_mix-v0")
        'GemsSlate-diffuse_mix-v0'
    """
    return _renamed(latent_id, "Latent", "")


def _renamed(env_id: str, suffix: str, other: str) -> str:
    for kind in ("GemsSlate", "Sardine"):
        env_id = env_id.replace(f"{kind}{suffix}-", f"{kind}{other}-")
    return env_id


def is_slate_world(spec: EnvSpec) -> bool:
    """Whether a spec is that of an environment of ours, a slate or a latent one."""
    return spec.entry_point in (_SLATE, _LATENT)


@checked_arguments
def slate_spec(env: str | EnvSpec) -> EnvSpec:
    """The spec of the slate environment inside a latent one; a slate environment's own spec as it is.

    Args:
        env: A registered id or a spec.

    Raises:
        gymnasium.error.Error: An unknown id.

    Examples:
        >>> slate_spec("GemsSlateLatent-diffuse_mix-v0").id
        'GemsSlate-diffuse_mix-v0'
    """
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    if not is_latent(spec):
        return spec
    kwargs = {name: value for name, value in spec.kwargs.items() if name not in ("ranker", "belief")}
    return EnvSpec(
        slate_id(spec.id),
        entry_point=_SLATE,
        vector_entry_point=_SLATE_VECTOR,
        kwargs=copy.deepcopy(kwargs),
        additional_wrappers=spec.additional_wrappers,
    )


def world_keywords(spec: EnvSpec) -> list[str]:
    """The keywords that can be changed in a world of ours and recorded with its spec.

    Args:
        spec: A registered environment's.

    Examples:
        >>> world_keywords(gymnasium.spec("GemsSlateLatent-diffuse_mix-v0"))[-3:]
        ['item_embeddings', 'ranker', 'belief']
    """
    parameters = config_class(spec.kwargs.get("preset")).parameters()
    return [*parameters, "item_embeddings", *(("ranker", "belief") if is_latent(spec) else ())]


def register_preset(name: str, config: SlateConfig) -> None:
    """Make a world of your own a preset, with the ids ``GemsSlate-{name}-v0`` and ``-v1``.

    What is registered is known in this process only. Another one (a spawned worker of ``AsyncVectorEnv``, a script
    that loads a saved spec) knows it once it has imported the module that registers it, for instance by an id that
    names the module, ``gymnasium.make("my_module:GemsSlate-mine-v0")``; an entry point in the group
    ``gems_gym.presets`` is known wherever its package is installed.

    Args:
        name: Letters, digits and underscores. Registering a name again does nothing if the configuration is the
            same.
        config: The world.

    Raises:
        ValueError: A name that can't be part of an id, or that stands for another configuration already.
        TypeError: A name that is no text, or a configuration that is no ``SlateConfig``.
        gems_gym.plugins.PluginError: The name is that of an installed plugin's preset which can't be imported.

    Examples:
        >>> register_preset("doctest_impatient", SlateConfig(boredom_threshold=2, episode_length=20))
        >>> gymnasium.make("GemsSlate-doctest_impatient-v0").unwrapped.config.boredom_threshold
        2
    """
    check_preset(name, config)
    if name in PRESETS or name in plugins.names(plugins.PRESETS):
        if preset_config(name) != config:
            raise ValueError(
                f"the preset {name!r} exists already, with another configuration; choose another name, or change "
                f"single parameters by keyword: gymnasium.make({environment_id(name)!r}, omega=...)"
            )
    else:
        for version in VERSIONS:
            taken = gymnasium.registry.get(environment_id(name, version))
            if taken is not None and taken.kwargs.get("preset") != name:
                raise ValueError(
                    f"the id {taken.id!r} is registered already, not by gems-gym; choose another name than {name!r}"
                )
    PRESETS[name] = config
    _register(name)


def register_environments() -> None:
    """Register every preset that is not registered yet; called by ``import gems_gym``.

    Of plugins' presets only the names are read; what they stand for is imported when such an environment is made.
    """
    for name in _names():
        _register(name)
    if FITTED_ID not in gymnasium.registry:
        gymnasium.register(
            id=FITTED_ID, entry_point=_SLATE, vector_entry_point=_SLATE_VECTOR, kwargs={"preset": FITTED}
        )
    for preset in LATENT_PRESETS:
        if latent_environment_id(preset) not in gymnasium.registry:
            gymnasium.register(
                id=latent_environment_id(preset),
                entry_point=_LATENT,
                vector_entry_point=_LATENT_VECTOR,
                kwargs={"preset": preset, "ranker": f"gems-{preset}", "belief": f"gru-{preset}"},
            )


def _names() -> list[str]:
    """The presets' names; a plugin's that can't be in an id is left out, and reported when it is asked for."""
    return [name for name in preset_names() if name in SARDINE_PRESETS or PRESET_NAME.fullmatch(name)]


def _register(preset: str) -> None:
    """Register a preset's ids.

    No ``max_episode_steps`` is registered: the environments truncate by themselves after ``episode_length``
    steps, which a keyword may change; a TimeLimit from here would cut longer sessions short.
    """
    for version in VERSIONS:
        name = environment_id(preset, version)
        if name in gymnasium.registry:
            continue
        gymnasium.register(
            id=name,
            entry_point=_SLATE,
            vector_entry_point=_SLATE_VECTOR,
            kwargs={"preset": preset, **({"dynamics_version": version} if version else {})},
        )
        # Gymnasium calls an id out of date when a higher version of the same name is registered. v0 is not: it is
        # what published numbers come from. Where versions are compared, all of ours count as one.
        gymnasium.registry[name].version = 0
