"""The environment that a dataset names: rebuilt from what is registered here, so that no file names code to run.

Of a recorded spec only the id and the keywords are used, and only those that the environment knows. A path among the
keywords (``item_embeddings``, ``world``, ``ranker``, ``belief``) may name any local file, which is then read as
numbers, never run; what is recorded here as ranker and belief are names, not paths.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts import shipped
from gems_gym.artifacts.recorded import recorded_name
from gems_gym.common.files import file_sha256
from gems_gym.config import config_class, resolve_config
from gems_gym.envs.rendering import RENDER_MODES
from gems_gym.errors import unknown_name
from gems_gym.registration import (
    is_latent,
    is_slate,
    is_slate_world,
    latent_spec,
    slate_id,
    slate_spec,
    world_keywords,
)
from gems_gym.world_config import WorldConfig

PARTS = ("ranker", "belief")
"""What a latent environment has beside its world."""

LARGEST: dict[str, int] = {
    "num_items": 10**7,
    "num_topics": 10**4,
    "topic_size": 10**4,
    "slate_size": 10**3,
    "recent_items_maxlen": 10**4,
    "episode_length": 10**6,
}
"""Keyword -> the largest value that a dataset's world may have: an environment allocates memory by these."""

LARGEST_CATALOGUE = 10**8
"""Numbers in the item embeddings of a dataset's world: 0.4 GB as float32."""


def check_spec(spec: EnvSpec) -> None:
    """Checks that an environment can be recorded in a dataset and made again from there.

    Args:
        spec: A registered environment's spec, with other keywords or its own.

    Raises:
        ValueError: If the environment is none of gems-gym's, or a keyword is unknown, out of its range or larger than
            :data:`LARGEST`.
        TypeError: If a keyword has a wrong type.
    """
    _check_ours(spec)
    known = ["preset", "render_mode", *world_keywords(spec)]
    for name in spec.kwargs:
        if name not in known:
            raise TypeError(str(unknown_name(f"keyword of {spec.id}", name, known)))
    for name in PARTS if is_latent(spec) else ():
        if not isinstance(spec.kwargs.get(name), str):
            raise TypeError(
                f"{name} must be the path of a file or a name, got {spec.kwargs.get(name)!r:.200}"
            )
    embeddings = spec.kwargs.get("item_embeddings")
    if embeddings is not None and not isinstance(embeddings, str | list):
        raise TypeError(f"item_embeddings must be the path of a file, or numbers, got {embeddings!r:.200}")
    if (mode := spec.kwargs.get("render_mode")) not in (None, *RENDER_MODES):
        raise unknown_name("render_mode", mode, RENDER_MODES)
    world_config(spec)


def rebuilt_spec(recorded: object, owner: str) -> EnvSpec:
    """Rebuilds an environment's spec that a file holds from the one that is registered here.

    Args:
        recorded: What the file holds, parsed from JSON.
        owner: What the file is, for messages, e.g. ``"dataset 'my/latents-v0'"``.

    Returns:
        The registered spec with the file's keywords; entry points and wrappers are the registered ones.

    Raises:
        ValueError: If it is no environment's spec, its id is not registered here, it is none of gems-gym's, it names
            code that is not gems-gym's, or its keywords are not those of the environment.
        gems_gym.plugins.PluginError: If it names a plugin's preset that can't be imported.
    """
    named = f"{owner}: env_spec in its metadata"
    if not isinstance(recorded, Mapping) or not isinstance(recorded.get("id"), str):
        raise ValueError(f"{named} must be an environment's spec, got {recorded!r:.200}")
    kwargs = recorded.get("kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise ValueError(f"{named} must have a dict of keywords, got {kwargs!r:.200}")
    try:
        spec = _registered(recorded["id"], kwargs)
        _check_names_no_code(recorded)
        spec.kwargs.update(copy.deepcopy(dict(kwargs)))
        check_spec(spec)
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{named} can't be used: {error}") from error
    return spec


def world_config(spec: EnvSpec) -> WorldConfig:
    """The configuration of an environment, without making it.

    Sizes are checked first, as a configuration allocates by them when it is made.

    Args:
        spec: Spec of a slate or a latent environment.

    Returns:
        The configuration; ``num_items`` is that of ``item_embeddings``, the largest that there may be if their file is
        not here.

    Raises:
        ValueError: A parameter out of its range or larger than :data:`LARGEST`.
        TypeError: One of a wrong type.
    """
    preset = spec.kwargs.get("preset", "diffuse_topdown")
    kind = config_class(preset)
    overrides = {name: value for name, value in spec.kwargs.items() if name in kind.parameters()}
    if isinstance(preset, Mapping):
        _check_sizes(kind(), preset)
    config = resolve_config(preset)
    _check_sizes(config, overrides)
    if (embeddings := spec.kwargs.get("item_embeddings")) is not None:
        sizes = [overrides.get(name, getattr(config, name)) for name in ("num_topics", "topic_size")]
        # what is no size is refused below, by its name
        width = math.prod(sizes) if all(isinstance(size, int) and size > 0 for size in sizes) else 1
        overrides.setdefault("num_items", _num_items_of(embeddings, width))
    return resolve_config(config, overrides)


def _num_items_of(embeddings: Any, width: int) -> int:
    """Rows of an array or of an .npy file, whose numbers are not read; the largest number if there is no such file.

    Args:
        embeddings: The array, or the file's path.
        width: Numbers in a row.
    """
    try:
        rows = len(np.load(embeddings, mmap_mode="r") if isinstance(embeddings, str | Path) else embeddings)
    except (OSError, ValueError, TypeError):
        return min(LARGEST["num_items"], max(1, LARGEST_CATALOGUE // width))
    return min(max(rows, 1), LARGEST["num_items"])


def recorded_spec(spec: EnvSpec, artefacts: Mapping[str, Path], dataset_id: str) -> EnvSpec:
    """Makes the spec that a dataset records, whose environment has the dataset's observations and actions.

    Args:
        spec: The environment that the sessions were played in.
        artefacts: Files of the ranker and the belief by their names in the dataset; nothing for slates.
        dataset_id: The dataset's id.

    Returns:
        The slate environment's spec for slates. Otherwise that of the latent environment, with ranker and belief as
        shipped names if the files are the shipped ones, else as names of the dataset's copies
        (:func:`~gems_gym.artifacts.recorded.recorded_name`), which hold wherever the datasets are moved.
    """
    if not artefacts:
        return slate_spec(spec)
    names = {}
    for part in PARTS:
        sha256 = file_sha256(artefacts[f"{part}.safetensors"])
        same = [name for name in shipped.names(part) if shipped.manifest()[name].sha256 == sha256]
        names[part] = same[0] if same else recorded_name(dataset_id, part)
    return latent_spec(slate_spec(spec), **names)


def _check_ours(spec: EnvSpec) -> None:
    if not is_slate_world(spec):
        raise ValueError(
            f"environment {spec.id!r} is none of gems-gym's (its entry point is {spec.entry_point!r}): datasets are "
            "recorded, and opened again, with GemsSlate, GemsSlateLatent and Sardine environments and your own "
            "presets; other dynamics are an entry point in the group gems_gym.dynamics (docs/extending.md)"
        )


def _check_names_no_code(recorded: Mapping[str, Any]) -> None:
    """Nothing that a file names is imported and called; a file that names what is not ours was made for that."""
    wrappers = recorded.get("additional_wrappers") or ()
    named = [recorded.get("entry_point"), recorded.get("vector_entry_point")]
    if isinstance(wrappers, list):
        named += [one.get("entry_point", one) if isinstance(one, Mapping) else one for one in wrappers]
    elif wrappers:
        named.append(wrappers)
    for code in named:
        if code is not None and not (isinstance(code, str) and code.startswith("gems_gym.")):
            raise ValueError(
                f"it names code that is not gems-gym's, {code!r:.200}; no code that a file names is run, and nothing "
                "is made of such a file"
            )


def _registered(env_id: str, kwargs: Mapping[str, Any]) -> EnvSpec:
    """A copy of the spec that is registered under an id, or of the latent one around the slate environment's."""
    registered = gymnasium.registry.get(env_id)
    if registered is None:
        registered = gymnasium.registry.get(slate_id(env_id))
    if registered is None:
        known = (name for name in gymnasium.registry if "Slate" in name or "Sardine" in name)
        raise ValueError(
            f"{unknown_name('environment', env_id, known)} An environment of your own is known once the module that "
            "registers it is imported"
        )
    _check_ours(registered)
    if is_slate(registered) and kwargs.keys() >= set(PARTS):
        return latent_spec(registered, *(kwargs[part] for part in PARTS))
    return copy.deepcopy(registered)


def _check_sizes(config: WorldConfig, overrides: Mapping[str, Any]) -> None:
    sizes = {name: overrides.get(name, getattr(config, name)) for name in LARGEST}
    for name, value in sizes.items():
        if isinstance(value, int) and value > LARGEST[name]:
            raise ValueError(
                f"{name} must be at most {LARGEST[name]:,} in a world of commands and datasets, got {value:,}"
            )
    catalogue = [sizes[name] for name in ("num_items", "num_topics", "topic_size")]
    if all(isinstance(size, int) for size in catalogue) and math.prod(catalogue) > LARGEST_CATALOGUE:
        raise ValueError(
            f"num_items · num_topics · topic_size must be at most {LARGEST_CATALOGUE:,} in a world of commands and "
            f"datasets, got {' · '.join(map(str, catalogue))}"
        )
