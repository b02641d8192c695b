"""Making the artefacts that come with the package, and making one again to compare.

A shipped file's header holds its :class:`~gems_gym.pretraining.recipes.Recipe`, so that the file alone suffices to make
it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.artifacts import Artifact, load_artifact, save_artifact, shipped
from gems_gym.artifacts.unfinished import making
from gems_gym.common.files import scratch_folder
from gems_gym.embeddings import EmbeddingTable
from gems_gym.errors import unknown_name
from gems_gym.pretraining.recipes import Made, Recipe, follow
from gems_gym.rankers import Ranker, load_ranker

SAME_SLOTS = 0.999
"""Of random latents' slots, at least this share must hold the same item after weights are rounded to float16."""

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 0.1, 0.02
"""A metric is reproduced if it differs by no more than the larger of the two (the first times the recorded value):
on another processor the same training rounds differently, and drifts."""

_COMPARED_LATENTS = 10_000


def ship(
    name: str, recipe: Recipe, directory: Path, *, overwrite: bool = False, progress: bool = True
) -> shipped.Entry:
    """Train an artefact, write it as small as it may be, and put it into the folder's manifest.

    An interrupted call leaves ``.NAME.safetensors.unfinished`` in the folder; the same call resumes from there.

    Args:
        name: What it will be asked for by.
        recipe: How to train it.
        directory: Folder of the file and the manifest.
        overwrite: Start anew instead of resuming.
        progress: Whether to show progress bars on stderr.

    Returns:
        Its entry in the manifest.

    Raises:
        ValueError: A recipe that can't be followed.
    """
    file = directory / f"{name}.safetensors"
    settings = {"recipe": dataclasses.asdict(recipe)}
    with making(file, settings, overwrite=overwrite) as unfinished:
        trained = follow(recipe, unfinished=unfinished, progress=progress)
        trained.save(unfinished.file(file.name))
        artifact = load_artifact(unfinished.file(file.name), recipe.kind)
        return _ship(name, recipe, trained, artifact, file)


def _ship(name: str, recipe: Recipe, trained: Made, artifact: Artifact, file: Path) -> shipped.Entry:
    """Write a trained artefact as small as it may be, and put it into the manifest."""
    command = f"gems-gym pretrain {recipe.kind.partition('/')[0]} --reproduce {name}"
    header = {**artifact.header, "recipe": dataclasses.asdict(recipe), "command": command}
    if isinstance(trained, Ranker):
        header |= _halves(trained, artifact, np.random.default_rng(recipe.seed))
    elif isinstance(trained, EmbeddingTable):
        header |= {"float16": sorted(artifact.tensors)}
    sha256 = save_artifact(file, artifact.kind, artifact.tensors, header)
    entry = shipped.Entry(
        file=file.name,
        sha256=sha256,
        kind=artifact.kind,
        preset=recipe.preset,
        command=command,
        metrics=header["metrics"],
    )
    shipped.record(file.parent, name, entry)
    return entry


def reproduce(
    name: str, family: str, directory: Path, *, overwrite: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Train a shipped artefact again by its recorded recipe and compare.

    Args:
        name: A shipped artefact's name.
        family: "ranker", "belief" or "embeddings".
        directory: Where the new file goes.
        overwrite: Start anew instead of resuming.
        progress: Whether to show progress bars on stderr.

    Returns:
        ``name``, ``file``, ``sha256``, ``recorded_sha256``, ``same_file`` (whether the two agree), ``same_content``
        (whether weights and settings do, whatever the metrics and versions: expected on the same type of CPU),
        ``same_weights`` (whether all tensors do), ``same_metrics`` (whether all metrics agree within the tolerance),
        ``tolerance``, and ``metrics``: metric -> [recorded, found].

    Raises:
        ValueError: An unknown name, or a file without a recipe.
    """
    known = shipped.names(family)
    if name not in known:
        raise unknown_name(f"shipped {family}", name, known)
    recorded = load_artifact(shipped.path(name, family), family)
    if "recipe" not in recorded.header:
        raise ValueError(f"{name!r} records no recipe, so it can't be trained again")
    entry = ship(name, Recipe(**recorded.header["recipe"]), directory, overwrite=overwrite, progress=progress)
    found = load_artifact(directory / entry.file, family)
    same_weights = recorded.tensors.keys() == found.tensors.keys() and all(
        np.array_equal(recorded.tensors[one], found.tensors[one]) for one in found.tensors
    )
    before, after = _flat(recorded.header["metrics"]), _flat(entry.metrics)
    return {
        "name": name,
        "file": str(directory / entry.file),
        "sha256": entry.sha256,
        "recorded_sha256": recorded.sha256,
        "same_file": entry.sha256 == recorded.sha256,
        "same_content": found.content_sha256 == recorded.content_sha256,
        "same_weights": same_weights,
        "same_metrics": before.keys() == after.keys()
        and all(is_reproduced(before[metric], after[metric]) for metric in before),
        "tolerance": {"relative": RELATIVE_TOLERANCE, "absolute": ABSOLUTE_TOLERANCE},
        "metrics": {metric: [before.get(metric), after.get(metric)] for metric in before | after},
    }


def is_reproduced(recorded: float | None, found: float | None) -> bool:
    """Whether a metric agrees with the recorded one within the tolerance; None agrees with None only."""
    if recorded is None or found is None:
        return recorded is found
    return abs(found - recorded) <= max(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * abs(recorded))


def _halves(trained: Ranker, artifact: Artifact, generator: np.random.Generator) -> dict[str, Any]:
    """Which tensors can be stored as float16 such that slates stay the same: the largest first, while they do.

    Returns:
        Header entries: ``float16``, the tensors' names, and ``float16_same_slots``, the share of equal slots over
        10,000 uniformly random latents.
    """
    tensors = artifact.tensors
    latents = generator.uniform(-1, 1, (_COMPARED_LATENTS, trained.action_size)).astype(np.float32)
    slates = trained.rank(latents)
    chosen: list[str] = []
    same = 1.0
    with scratch_folder() as scratch:
        for name in sorted(tensors, key=lambda name: (-tensors[name].size, name)):
            attempt = sorted([*chosen, name])
            file = scratch / "rounded.safetensors"
            save_artifact(file, artifact.kind, tensors, {**artifact.header, "float16": attempt})
            share = float((load_ranker(file).rank(latents) == slates).mean())
            if share >= SAME_SLOTS:
                chosen, same = attempt, share
    return {"float16": chosen, "float16_same_slots": same}


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float | None]:
    """``{"all": {"auc": 0.9}}`` -> ``{"all.auc": 0.9}``."""
    flat: dict[str, float | None] = {}
    for name, value in metrics.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
