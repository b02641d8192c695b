"""What a world is: every parameter of the simulator in one frozen, checked record, and the published presets.

The parameters and their defaults are those of the six environments published with GeMS (Deffayet, Thonet,
Renders, de Rijke, *Generative Slate Recommendation with Reinforcement Learning*, WSDM 2023, arXiv 2301.08632).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.click_models import position_propensities
from gems_gym.common.checks import Count, NonNegative, Probability, WholeNumber, checked
from gems_gym.errors import unknown_name
from gems_gym.fitted_config import FITTED, FittedConfig
from gems_gym.sardine_config import SARDINE_DYNAMICS, SARDINE_PRESETS, SardineConfig
from gems_gym.world_config import SMALLEST, WorldConfig

PRESET_NAME = re.compile(r"[A-Za-z0-9_]+")

OWN_DYNAMICS = "gems"
"""The dynamics that are known without a look at all installed packages."""


@dataclass(frozen=True, kw_only=True)
class SlateConfig(WorldConfig):
    """Every parameter of a world of the GeMS simulator; immutable, checked when made.

    Args:
        catalog: ``"diffuse"`` or ``"focused"``: how sharply items of the drawn catalogue belong to one topic.
        catalog_seed: Seed of the drawn catalogue; the default belongs to the registered environments.
        num_items: Items in the catalogue, I ≥ slate_size.
        slate_size: Items shown per step, S ≥ 1.
        num_topics: Topics, T ≥ 1.
        topic_size: Numbers per topic, m ≥ 1; embeddings have D = T·m numbers, one block of m per topic.
        episode_length: Steps per session, H ≥ 1; then the session is truncated.
        click_model: Position bias: ``"tdPBM"`` (γ^s, top-down), ``"mixPBM"`` (½γ^s + ½γ^(S−1−s)) or that of another
            package, see :mod:`gems_gym.click_models`.
        click_propensity: γ in [0, 1], base of the position propensities.
        alpha: Factor from relevance to attractiveness, ≥ 0; clicks stay probabilities (checked).
        relevance_offset: Score at which relevance is ½.
        relevance_slope: Steepness of the logistic relevance.
        rel_threshold: If set, relevance is 1 where the score exceeds it, else 0.
        prop_threshold: If set, propensities become 1 where they exceed it, else 0.
        propensities: If set, S numbers in [0, 1] that replace the click model's propensities.
        diversity_threshold: Items of one topic in a slate from which on the slate counts as monotonous, ≥ 1.
        diversity_penalty: Divides every attractiveness of a monotonous slate, > 0.
        omega: Inertia of the user's preference in [0, 1]; 1 means no drift.
        short_term_boost: Factor on the short-term topic's block of the preference, in [0, 1e30].
        boredom_threshold: Recent clicks on one topic that make it boring, ≥ 1.
        boredom_moving_window: Steps that a click counts as recent, ≥ 0.
        boredom_timeout: Steps that a topic stays boring, ≥ 1.
        recent_items_maxlen: Most recent clicks remembered, ≥ 1.
        dynamics_version: 0 for the published dynamics, oddities included (``-v0``), 1 for the corrected ones (``-v1``):
            first-slate clicks are logged with a time stamp like all others, the short-term topic is that of the
            item clicked last, and a click is recent for exactly ``boredom_moving_window`` steps (one less than in 0).
        click_only_once: If true, items already clicked in the session (first slate's included) have relevance 0.
        leave_probability: Probability p in [0, 1] with which a reason to leave ends the session; 0: users stay. After
            a slate with k reasons the user leaves with probability 1 − (1 − p)^k. Every topic that bored the user at
            this slate is a reason, unless ``leave_after`` is set.
        leave_after: If set, N ≥ 1: the only reason to leave is that none of the last N slates, the first slate not
            among them, got a click.
        dynamics: How users click and change: ``"gems"``, or those of another package, by their name in the entry-point
            group ``gems_gym.dynamics``; see :func:`gems_gym.simulator.make_simulator`.

    Raises:
        TypeError: A value of the wrong type.
        ValueError: A value or a combination of values out of range; the message names it and what is right.
    """

    catalog: Literal["diffuse", "focused"] = "diffuse"
    catalog_seed: Annotated[int, Interval(ge=0, le=2**128 - 1)] = 2023
    num_items: Count = 1000
    slate_size: Count = 10
    num_topics: Count = 10
    topic_size: Count = 2
    episode_length: Count = 100
    click_model: str = "tdPBM"
    click_propensity: Probability = 0.85
    alpha: NonNegative = 1.0
    relevance_offset: float = 0.28
    relevance_slope: float = 100.0
    rel_threshold: float | None = None
    prop_threshold: float | None = None
    propensities: tuple[Probability, ...] | None = None
    diversity_threshold: Count = 4
    diversity_penalty: Annotated[float, Ge(SMALLEST)] = 1.0
    omega: Probability = 0.9
    short_term_boost: Annotated[float, Interval(ge=0, le=1e30)] = 1.0  # scores grow with it, and are float32
    boredom_threshold: Count = 5
    boredom_moving_window: WholeNumber = 5
    boredom_timeout: Count = 5
    recent_items_maxlen: Count = 10
    click_only_once: bool = False
    leave_probability: Probability = 0.0
    leave_after: Count | None = None
    dynamics_version: Annotated[int, Interval(ge=0, le=1)] = 0
    dynamics: str = OWN_DYNAMICS

    def __post_init__(self) -> None:
        """Normalise numpy scalars to Python's and check every value."""
        super().__post_init__()
        if self.dynamics in (SARDINE_DYNAMICS, FITTED):
            raise ValueError(
                f"dynamics={self.dynamics!r} has parameters of its own: they are a "
                f"{config_class({'dynamics': self.dynamics}).__name__}'s"
            )
        if self.dynamics != OWN_DYNAMICS and self.dynamics not in (known := plugins.names(plugins.DYNAMICS)):
            raise unknown_name("dynamics", self.dynamics, known)

    def _check_probabilities(self) -> None:
        if self.propensities is not None and len(self.propensities) != self.slate_size:
            raise ValueError(
                f"propensities must hold one number per slate position, slate_size={self.slate_size}; "
                f"got {len(self.propensities)}"
            )
        super()._check_probabilities()

    def position_propensities(self) -> NDArray[np.float64]:
        """See :meth:`WorldConfig.position_propensities`."""
        if self.propensities is not None:
            propensities = np.asarray(self.propensities, dtype=np.float64)
        else:
            propensities = position_propensities(self.click_model, self.slate_size, self.click_propensity)
        if self.prop_threshold is not None:
            propensities = (propensities > self.prop_threshold).astype(np.float64)
        return propensities  # (slate_size,)


_CLICK_SETTINGS: dict[str, dict[str, Any]] = {
    "topdown": {"click_model": "tdPBM"},
    "mix": {"click_model": "mixPBM"},
    "divpen": {"click_model": "mixPBM", "diversity_penalty": 3.0},
}

PRESETS: dict[str, SlateConfig] = {
    f"{catalog}_{clicks}": SlateConfig(catalog=catalog, **settings)
    for catalog in ("focused", "diffuse")
    for clicks, settings in _CLICK_SETTINGS.items()
}
"""Preset name (``diffuse_mix``, …) -> its configuration: the six published worlds, and what
:func:`gems_gym.register_preset` added. Presets of installed plugins are found by name, see :func:`preset_config`."""


def preset_names() -> list[str]:
    """Names of all presets: those of GeMS and of SARDINE, then those of installed plugins, which are not imported."""
    ours = [*PRESETS, *SARDINE_PRESETS]
    return [*ours, *(name for name in plugins.names(plugins.PRESETS) if name not in ours)]


def preset_config(name: str) -> WorldConfig:
    """The configuration that a preset's name stands for.

    Args:
        name: A name in :data:`PRESETS` or :data:`~gems_gym.sardine_config.SARDINE_PRESETS`, ``"fitted"``, or one in the
            entry-point group ``gems_gym.presets``, whose object is imported now. A plugin can't take the place of a
            preset of ours.

    Raises:
        ValueError: An unknown name (the message names the nearest), or a plugin's name that can't be in an id.
        TypeError: A plugin whose object is no ``SlateConfig``.
        gems_gym.plugins.PluginError: A plugin that can't be imported, or two with the same name.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name in SARDINE_PRESETS:
        return SARDINE_PRESETS[name]
    if name == FITTED:
        return FittedConfig()
    if name not in plugins.names(plugins.PRESETS):
        raise ValueError(
            f"{unknown_name('preset', name, preset_names())} A preset of your own is known once the module that "
            f'registers it is imported, which an id can name: gymnasium.make("my_module:GemsSlate-{name}-v0")'
        )
    config = plugins.load(plugins.PRESETS, name)
    check_preset(name, config)
    return cast(SlateConfig, config)


def check_preset(name: str, config: object) -> None:
    """Raise a clear error unless a configuration can be a preset under a name.

    Raises:
        TypeError: A name that is no text, or something else than a ``SlateConfig``.
        ValueError: A name that can't be part of an id, or a configuration with dynamics of its own version.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a text, got {name!r} of type {type(name).__name__}")
    if not PRESET_NAME.fullmatch(name):
        raise ValueError(
            f"a preset's name must consist of letters, digits and underscores, to be part of an id; got {name!r}"
        )
    if name in (FITTED, SARDINE_DYNAMICS):
        raise ValueError(f"a preset can't be called {name!r}, which stands for worlds of another kind")
    if not isinstance(config, SlateConfig):
        raise TypeError(
            f"the preset {name!r} must be a SlateConfig, got {config!r} of type {type(config).__name__}"
        )
    if config.dynamics_version != 0:
        raise ValueError(
            f"the preset {name!r} has dynamics_version={config.dynamics_version}; leave it at 0: the id says the "
            f"version, and GemsSlate-{name}-v0 and -v1 are both registered"
        )


def config_class(preset: object) -> type[WorldConfig]:
    """The kind of configuration that a preset stands for, without importing anything.

    Args:
        preset: A preset's name, a configuration, or a mapping of its fields; anything else counts as a ``SlateConfig``.
    """
    if isinstance(preset, WorldConfig):
        return type(preset)
    name = preset.get("dynamics") if isinstance(preset, Mapping) else preset
    if name == SARDINE_DYNAMICS or (isinstance(name, str) and name in SARDINE_PRESETS):
        return SardineConfig
    return FittedConfig if name == FITTED else SlateConfig


def resolve_config(
    config: WorldConfig | str | Mapping[str, Any], overrides: dict[str, Any] | None = None
) -> WorldConfig:
    """The configuration that a preset's name, or a configuration, with overrides stands for.

    Args:
        config: A preset's name, or a configuration; also as a mapping of its fields, which is what becomes of a
            configuration in an environment's spec that is saved as JSON.
        overrides: Fields to change.

    Raises:
        ValueError: An unknown preset (the message names the nearest), or an override out of range.
        TypeError: An override that is no field, or neither name nor configuration given.
        gems_gym.plugins.PluginError: A plugin's preset that can't be imported.
    """
    overrides = checked("overrides", overrides, Mapping | None)
    if isinstance(config, str):
        config = preset_config(config)
    elif isinstance(config, Mapping):
        config = config_class(config)().replace(**config)
    elif not isinstance(config, WorldConfig):
        raise TypeError(
            f"preset must be a preset's name, a SlateConfig, SardineConfig or FittedConfig, got {type(config).__name__}"
        )
    return config.replace(**overrides) if overrides else config


def modules_of_world(config: WorldConfig) -> set[str]:
    """The modules of a world that no import leads to, for :func:`gems_gym.common.fingerprints.code_fingerprint`.

    They are found by the names in its configuration: its dynamics and its click model.
    """
    return {
        plugins.module_of(group, name)
        for group, name in ((plugins.DYNAMICS, config.dynamics), (plugins.CLICK_MODELS, config.click_model))
        if name in plugins.names(group)
    }
