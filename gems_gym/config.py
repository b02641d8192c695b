"""What a world is: every parameter of the simulator in one frozen, checked record, and the published presets.

The parameters and their defaults are those of the six environments published with GeMS (Deffayet, Thonet,
Renders, de Rijke, *Generative Slate Recommendation with Reinforcement Learning*, WSDM 2023, arXiv 2301.08632).
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.errors import unknown_name

CLICK_MODELS = ("tdPBM", "mixPBM")
CATALOGS = ("diffuse", "focused")
PRESET_NAME = re.compile(r"[A-Za-z0-9_]+")

_LARGEST = 2**63 - 1  # what the compiled step holds

# field -> (lowest, highest) allowed value, both included
_INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "num_items": (1, _LARGEST),
    "slate_size": (1, _LARGEST),
    "num_topics": (1, _LARGEST),
    "topic_size": (1, _LARGEST),
    "episode_length": (1, _LARGEST),
    "diversity_threshold": (1, _LARGEST),
    "boredom_threshold": (1, _LARGEST),
    "boredom_moving_window": (0, _LARGEST),
    "boredom_timeout": (1, _LARGEST),
    "recent_items_maxlen": (1, _LARGEST),
    "catalog_seed": (0, 2**128 - 1),
    "dynamics_version": (0, 1),
}
_SMALLEST = np.finfo(np.float64).tiny
_REAL_RANGES: dict[str, tuple[float, float]] = {
    "click_propensity": (0.0, 1.0),
    "alpha": (0.0, math.inf),
    "relevance_offset": (-math.inf, math.inf),
    "relevance_slope": (-math.inf, math.inf),
    "diversity_penalty": (_SMALLEST, math.inf),
    "omega": (0.0, 1.0),
    "short_term_boost": (0.0, 1e30),  # scores grow with it, and are told as float32
}
_OPTIONAL_REALS = ("rel_threshold", "prop_threshold")


@dataclass(frozen=True, kw_only=True)
class SlateConfig:
    """Every parameter of one simulated world; immutable, checked when made.

    Args:
        catalog: ``"diffuse"`` or ``"focused"``: how sharply items of the drawn catalogue belong to one topic.
        catalog_seed: Seed of the drawn catalogue; the default belongs to the registered environments.
        num_items: Items in the catalogue, I ≥ slate_size.
        slate_size: Items shown per step, S ≥ 1.
        num_topics: Topics, T ≥ 1.
        topic_size: Numbers per topic, m ≥ 1; embeddings have D = T·m numbers, one block of m per topic.
        episode_length: Steps per session, H ≥ 1; then the session is truncated.
        click_model: Position bias: ``"tdPBM"`` (γ^s, top-down) or ``"mixPBM"`` (½γ^s + ½γ^(S−1−s)).
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
        dynamics_version: 0 for the published dynamics, oddities included (``-v0``), 1 for the mended ones (``-v1``):
            first-slate clicks are logged with a time stamp like all others, the short-term topic is that of the
            item clicked last, and a click is recent for exactly ``boredom_moving_window`` steps (one less than in 0).
        click_only_once: If true, items already clicked in the session (first slate's included) have relevance 0.

    Raises:
        TypeError: A value of the wrong type.
        ValueError: A value or a combination of values out of range; the message names it and what is right.
    """

    catalog: Literal["diffuse", "focused"] = "diffuse"
    catalog_seed: int = 2023
    num_items: int = 1000
    slate_size: int = 10
    num_topics: int = 10
    topic_size: int = 2
    episode_length: int = 100
    click_model: Literal["tdPBM", "mixPBM"] = "tdPBM"
    click_propensity: float = 0.85
    alpha: float = 1.0
    relevance_offset: float = 0.28
    relevance_slope: float = 100.0
    rel_threshold: float | None = None
    prop_threshold: float | None = None
    propensities: tuple[float, ...] | None = None
    diversity_threshold: int = 4
    diversity_penalty: float = 1.0
    omega: float = 0.9
    short_term_boost: float = 1.0
    boredom_threshold: int = 5
    boredom_moving_window: int = 5
    boredom_timeout: int = 5
    recent_items_maxlen: int = 10
    click_only_once: bool = False
    dynamics_version: Literal[0, 1] = 0

    def __post_init__(self) -> None:
        """Normalise numpy scalars to Python's and check every value."""
        for name in _INTEGER_RANGES:
            self._set(name, _checked_integer(name, getattr(self, name)))
        for name in _REAL_RANGES:
            self._set(name, _checked_real(name, getattr(self, name), *_REAL_RANGES[name]))
        for name in _OPTIONAL_REALS:
            if getattr(self, name) is not None:
                self._set(name, _checked_real(name, getattr(self, name), -math.inf, math.inf))
        _check_choice("catalog", self.catalog, CATALOGS)
        _check_choice("click_model", self.click_model, CLICK_MODELS)
        if not isinstance(self.click_only_once, bool | np.bool_):
            raise TypeError(f"click_only_once must be True or False, got {self.click_only_once!r}")
        self._set("click_only_once", bool(self.click_only_once))
        if self.propensities is not None:
            self._set("propensities", _checked_propensities(self.propensities, self.slate_size))
        if self.slate_size > self.num_items:
            raise ValueError(
                f"slate_size={self.slate_size} is larger than the catalogue, num_items={self.num_items}; "
                "a slate needs at most as many items as there are"
            )
        self._check_probabilities()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_probabilities(self) -> None:
        # relevance reaches 1, so this is the largest click probability that the world can produce
        largest = self.alpha * float(self.position_propensities().max()) / min(1.0, self.diversity_penalty)
        if largest > 1.0 + 1e-9:
            raise ValueError(
                f"alpha={self.alpha} with the largest propensity {self.position_propensities().max():.4g} and "
                f"diversity_penalty={self.diversity_penalty} gives click probabilities up to {largest:.4g}; "
                "alpha · propensity / min(1, diversity_penalty) must not exceed 1"
            )

    @property
    def embedding_size(self) -> int:
        """D = num_topics · topic_size, the length of item and user embeddings."""
        return self.num_topics * self.topic_size

    def position_propensities(self) -> NDArray[np.float64]:
        """Probability that a user looks at each position of the slate.

        Returns:
            float64 array of shape ``(slate_size,)``, values in [0, 1]
            (position-based click models, Section 5.1 of arXiv 2301.08632).
        """
        positions = np.arange(self.slate_size)
        if self.propensities is not None:
            propensities = np.asarray(self.propensities, dtype=np.float64)
        elif self.click_model == "tdPBM":
            propensities = np.power(self.click_propensity, positions)
        else:
            top_down = np.power(self.click_propensity, positions)
            propensities = 0.5 * top_down + 0.5 * top_down[::-1]
        if self.prop_threshold is not None:
            propensities = (propensities > self.prop_threshold).astype(np.float64)
        return propensities  # (slate_size,)

    def replace(self, **overrides: Any) -> "SlateConfig":
        """A copy with some fields changed, checked like a new one.

        Raises:
            TypeError: An override that is no field; the message names the nearest field.
        """
        fields = [field.name for field in dataclasses.fields(self)]
        for name in overrides:
            if name not in fields:
                raise TypeError(str(unknown_name("SlateConfig parameter", name, fields)))
        return dataclasses.replace(self, **overrides)


def _checked_integer(name: str, value: Any) -> int:
    lowest, highest = _INTEGER_RANGES[name]
    if (isinstance(value, int | np.integer) and value > highest) or highest < _LARGEST:
        wanted = f"an integer from {lowest} to {highest}"
    else:
        wanted = f"an integer ≥ {lowest}"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be {wanted}, got {value!r} of type {type(value).__name__}")
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return int(value)


def _checked_real(name: str, value: Any, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        number = math.inf
    if not math.isfinite(number) or not lowest <= number <= highest:
        low = "> 0" if lowest == _SMALLEST else f"≥ {lowest:g}" if math.isfinite(lowest) else ""
        high = f"≤ {highest:g}" if math.isfinite(highest) else ""
        bounds = " and ".join(filter(None, (low, high)))
        raise ValueError(f"{name} must be a finite number{bounds and ', ' + bounds}; got {value!r}")
    return number


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise unknown_name(name, value, choices)


def _checked_propensities(value: Any, slate_size: int) -> tuple[float, ...]:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"propensities must be {slate_size} numbers in [0, 1], got {value!r}") from error
    if array.shape != (slate_size,):
        raise ValueError(
            f"propensities must hold one number per slate position, slate_size={slate_size}; "
            f"got shape {array.shape}"
        )
    if not ((array >= 0.0) & (array <= 1.0)).all():
        raise ValueError(f"propensities must be numbers in [0, 1], got {value!r}")
    return tuple(array.tolist())


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
    """Names of all presets: those in :data:`PRESETS`, then those of installed plugins, which are not imported."""
    return [*PRESETS, *(name for name in plugins.names(plugins.PRESETS) if name not in PRESETS)]


def preset_config(name: str) -> SlateConfig:
    """The configuration that a preset's name stands for.

    Args:
        name: A name in :data:`PRESETS`, or in the entry-point group ``gems_gym.presets``, whose object is
            imported now. A plugin can't take the place of a preset in :data:`PRESETS`.

    Raises:
        ValueError: An unknown name (the message names the nearest), or a plugin's name that can't be in an id.
        TypeError: A plugin whose object is no ``SlateConfig``.
        gems_gym.plugins.PluginError: A plugin that can't be imported, or two with the same name.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name not in plugins.names(plugins.PRESETS):
        raise ValueError(
            f"{unknown_name('preset', name, preset_names())} A preset of your own is known once the module that "
            f'registers it is imported, which an id can name: gymnasium.make("my_module:GemsSlate-{name}-v0")'
        )
    config = plugins.load(plugins.PRESETS, name)
    check_preset(name, config)
    return config


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
    if not isinstance(config, SlateConfig):
        raise TypeError(
            f"the preset {name!r} must be a SlateConfig, got {config!r} of type {type(config).__name__}"
        )
    if config.dynamics_version != 0:
        raise ValueError(
            f"the preset {name!r} has dynamics_version={config.dynamics_version}; leave it at 0: the id says the "
            f"version, and GemsSlate-{name}-v0 and -v1 are both registered"
        )


def resolve_config(
    config: "SlateConfig | str | Mapping[str, Any]", overrides: dict[str, Any] | None = None
) -> SlateConfig:
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
    if isinstance(config, str):
        config = preset_config(config)
    elif isinstance(config, Mapping):
        config = SlateConfig().replace(**config)
    elif not isinstance(config, SlateConfig):
        raise TypeError(f"preset must be a preset's name or a SlateConfig, got {type(config).__name__}")
    return config.replace(**overrides) if overrides else config
