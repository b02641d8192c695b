"""What the commands of ``gems-gym pretrain`` share: train and write a file, train a shipped one again, show it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from gems_gym.artifacts.unfinished import Unfinished, making
from gems_gym.commands.output import key_value_table, show_result
from gems_gym.common.files import scratch_folder
from gems_gym.common.machine import check_device, check_out_file
from gems_gym.errors import require, unknown_name
from gems_gym.pretraining.session_log import LogPlan
from gems_gym.pretraining.trainers import PretrainingPreset, Settings, Trainer, Upkeep
from gems_gym.simulator import Catalog
from gems_gym.world_config import WorldConfig


@dataclass(frozen=True)
class Wanted:
    """A file to make, with all that decides what is in it.

    Attributes:
        out: The file.
        world: Configuration and catalogue.
        log: The sessions that are learned from.
        trained_on: What else decides it: settings, device, JSON types.
    """

    out: Path
    world: tuple[WorldConfig, Catalog]
    log: LogPlan
    trained_on: dict[str, Any]

    def unfinished(self, overwrite: bool) -> AbstractContextManager[Unfinished]:
        """Where the work on the file is kept until it is finished."""
        config, catalog = self.world
        described = {"world": {**asdict(config), "catalog_hash": catalog.hash}, "log": self.log.described()}
        return making(self.out, described | self.trained_on, overwrite=overwrite)


def train_and_write(
    trainer: Trainer[Settings],
    settings: Settings,
    wanted: Wanted,
    seed: int,
    device: str,
    overwrite: bool,
    as_json: bool,
    **upkeep: Any,
) -> None:
    """Train on a log, or resume, write the file and show what was measured.

    Args:
        trainer: Trainer of the wanted kind.
        settings: Settings of the model and its training.
        wanted: The file.
        seed: Random seed of the training.
        device: Torch device.
        overwrite: Start anew instead of resuming.
        as_json: Whether to print JSON.
        **upkeep: ``save_every`` and ``log_dir``, where they were given.
    """
    config, catalog = wanted.world
    with wanted.unfinished(overwrite) as work:
        log = wanted.log.session_log(config, catalog, work)
        trained, metrics = trainer.train(
            log,
            config.num_items,
            settings,
            seed=seed,
            device=device,
            upkeep=Upkeep(unfinished=work, **upkeep),
        )
        sha256 = work.publish(trained.save, wanted.out)
    show_file(sha256, wanted.out, asdict(settings), metrics, as_json)  # type: ignore[call-overload]


def reproduce_shipped(
    name: str, family: str, env: list[str] | None, out: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Train a shipped artefact again and show how the two agree; exit code 1 if they do not."""
    require("torch")
    if env:
        raise ValueError(f"--env {env[0]} does not go with --reproduce: {name!r} records its world")
    from gems_gym.pretraining.shipping import reproduce

    with scratch_folder() as scratch:
        result = reproduce(name, family, out or scratch, overwrite=overwrite)
    if out is None:
        del result["file"]
    readable = {key: value for key, value in result.items() if key != "metrics"}
    readable |= {metric: f"{before} -> {after}" for metric, (before, after) in result["metrics"].items()}
    show_result(result, key_value_table(readable), as_json)
    if not (result["same_weights"] or result["same_metrics"]):
        raise typer.Exit(1)


def check_places(out: Path, log: Path | None, device: str | None = None) -> None:
    """Check where results go and what is trained on, before anything is logged for it."""
    check_out_file(out)
    if log is not None:
        check_out_file(log, "--log")  # written there, or read if it is there
    if device is not None:
        check_device(device)


def chosen_recipe(
    what: str, name: str | None, recipes: Mapping[str, PretrainingPreset[Settings]]
) -> PretrainingPreset[Settings]:
    """A trainer's recipe by name, "default" if none is given; a ValueError names the nearest of an unknown one."""
    if name is not None and name not in recipes:
        raise unknown_name(f"preset of the {what}", name, recipes)
    return recipes[name or "default"]


def required(name: str, value: Any) -> Any:
    """The value of an option that only --reproduce does without; a ValueError if it was not given."""
    if value is None:
        raise ValueError(f"give --{name}, or --reproduce with the name of a shipped artefact")
    return value


def show_file(
    sha256: str, out: Path, settings: dict[str, Any], metrics: dict[str, Any], as_json: bool
) -> None:
    """Show which file was written, and what was measured of it."""
    result = {"file": str(out), "sha256": sha256, "settings": settings, "metrics": metrics}
    show_result(result, key_value_table({"file": out, "sha256": sha256, **metrics}), as_json)


def log_plan(
    env_id: str, path: Path | None, preset: PretrainingPreset[Any], sessions: int | None, seed: int
) -> LogPlan:
    """The log that a preset asks for, or one of another number of sessions."""
    count = preset.sessions if sessions is None else sessions
    return LogPlan(env_id, path, preset.shares, count, seed, preset.search_sessions)
