"""The trials of a search: asked of Optuna in rounds, done as jobs, kept in Optuna's journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym import plugins
from gems_gym.commands.output import plain
from gems_gym.common.files import read_json, read_json_object, write_json
from gems_gym.common.jobs import Executor, Job, do_jobs
from gems_gym.errors import require
from gems_gym.trained_agents import RECORD_FILE
from gems_gym_agents.tuning.presets import write_preset
from gems_gym_agents.tuning.space import Space

PRESET_FILE = "preset.json"
"""The options of the best trial so far, which ``gems-gym train --preset`` takes."""

_SETTINGS_FILE, _JOURNAL_FILE = "settings.json", "trials.journal"


@dataclass(frozen=True)
class Search:
    """What is searched for, and how a trial is scored.

    Attributes:
        agent: A name in the entry-point group ``gems_gym.agents``.
        space: The options that are searched.
        options: The agent's other options.
        training: Arguments of ``gems-gym train`` but the agent, its options and the folder; JSON values. All trials
            have the same: seed, users that training meets, and validation users.
        seed: Decides what is tried.
    """

    agent: str
    space: Space
    options: Mapping[str, Any]
    training: Mapping[str, Any]
    seed: int

    def as_data(self) -> dict[str, Any]:
        """In JSON types."""
        data: dict[str, Any] = plain(
            {**vars(self), "space": {name: asdict(one) for name, one in self.space.items()}}
        )
        return data


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: 0, 1, 2, ... in the order in which they were begun.
        options: The agent's options that were tried.
        validation_return: Mean clicks of validation users; None if the training failed.
    """

    number: int
    options: dict[str, Any]
    validation_return: float | None


def run_trials(
    search: Search, out: Path, count: int, processes: int = 1, executor: Executor = do_jobs
) -> list[Trial]:
    """Do trials until there are so many; those that were begun and not ended, as by a killed process, come first.

    Each trial is asked for with a sampler of its own, seeded by the search's seed and the trial's number, and knows the
    results of all earlier rounds. So the same seed and the same number of processes give the same trials again,
    whichever of them ends first, and however often the search is interrupted.

    Args:
        search: What is searched for.
        out: The search's folder; trial 7 trains in ``trial-0007``.
        count: How many trials there will be, those of earlier calls included.
        processes: How many are done at once: a round.
        executor: Does them.

    Returns:
        All trials that have ended.

    Raises:
        ValueError: The folder holds the trials of another search; what differs is named.
        ImportError: Optuna is not installed.
    """
    optuna = require("optuna")
    _check_same(search, out)
    study = _open_study(optuna, out / _JOURNAL_FILE)
    distributions = {name: one.distribution(optuna.distributions) for name, one in search.space.items()}
    state = optuna.trial.TrialState
    while True:
        running = study.get_trials(states=[state.RUNNING])
        for trial in running:
            # the process was killed while it asked for this one
            if trial.params.keys() != search.space.keys():
                study.tell(trial.number, state=state.FAIL)
        begun = sum(trial.params.keys() == search.space.keys() for trial in study.get_trials())
        running = study.get_trials(states=[state.RUNNING])
        while begun < count and (begun % processes or not running):
            study.sampler = optuna.samplers.TPESampler(seed=_seed(search.seed, begun))
            study.ask(distributions)
            running, begun = study.get_trials(states=[state.RUNNING]), begun + 1
        if not running:
            ended = _ended(search, study)
            _write_preset(search, ended, out)  # again, if the process was killed before it was written
            return ended
        jobs = [_job(search, out, trial) for trial in running]
        failures = executor(f"trials of {search.agent}", jobs, processes)
        for trial, job in zip(running, jobs, strict=True):
            if job.name in failures:
                study.tell(trial.number, state=state.FAIL)
            else:
                study.tell(
                    trial.number, read_json(_folder(out, trial.number) / RECORD_FILE)["validation_return"]
                )
        _write_preset(search, _ended(search, study), out)


def best_of(trials: list[Trial]) -> Trial | None:
    """The trial with the highest score, the first of them; None if all have failed."""
    scored = [one for one in trials if one.validation_return is not None]
    return max(scored, key=lambda one: one.validation_return or 0.0, default=None)


def train_trial(request: Mapping[str, Any]) -> str:
    """A job: ``gems-gym train`` with the request as its arguments, unless it is done; returns a line for people."""
    record = Path(request["out"]) / RECORD_FILE
    if not record.exists():
        plugins.load(plugins.COMMANDS, "train")(**{**request, "out": Path(request["out"])})
    return f"{read_json(record)['validation_return']:.2f} clicks on validation users"


def _job(search: Search, out: Path, trial: Any) -> Job:
    folder = _folder(out, trial.number).absolute()
    options = {**search.options, **_options(search, trial)}
    given = [f"{name}={json.dumps(value)}" for name, value in options.items()]
    request = {**search.training, "agent": search.agent, "option": given, "out": str(folder)}
    return Job(f"trial {trial.number}", f"{__name__}:train_trial", request, folder.with_suffix(".log"))


def _folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:04d}"


def _options(search: Search, trial: Any) -> dict[str, Any]:
    return {name: one.value(trial.params[name]) for name, one in search.space.items()}


def _ended(search: Search, study: Any) -> list[Trial]:
    """The trials that have ended, but those that were never asked for completely."""
    return [
        Trial(trial.number, _options(search, trial), trial.value)
        for trial in study.get_trials()
        if trial.state.is_finished() and trial.params.keys() == search.space.keys()
    ]


def _write_preset(search: Search, trials: list[Trial], out: Path) -> None:
    best = best_of(trials)
    if best is None:
        return
    found = {"validation_return": best.validation_return, "trial": best.number, "trials": len(trials)}
    options = {**search.options, **best.options}
    write_preset(out / PRESET_FILE, search.agent, options, {**found, "search": search.as_data()})


def _check_same(search: Search, out: Path) -> None:
    before, now = read_json_object(out / _SETTINGS_FILE), search.as_data()
    if before is not None and before != now:
        flat = [{**one, **one.get("training", {})} for one in (before, now)]
        differing = [name for name in flat[1] if name != "training" and flat[0].get(name) != flat[1][name]]
        told = "; ".join(f"{name} was {flat[0].get(name)!r}, is {flat[1][name]!r}" for name in differing)
        raise ValueError(f"--out {out} holds the trials of another search: {told}. Choose another folder")
    write_json(out / _SETTINGS_FILE, now)


def _open_study(optuna: Any, journal: Path) -> Any:
    """The search's study; only one process has it open, which holds the lock of its folder."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)  # of a process that was killed
    if journal.exists():  # likewise, in the middle of a line
        whole = journal.read_bytes()
        with journal.open("r+b") as file:
            file.truncate(whole.rfind(b"\n") + 1)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    return optuna.create_study(
        study_name="search", storage=storage, direction="maximize", load_if_exists=True
    )


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
