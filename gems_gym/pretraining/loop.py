"""The training loop of rankers and beliefs: validates on held-out sessions; resumed, it ends with the same bits."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.files import whole_file
from gems_gym.common.progress import track
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import Keep, Upkeep
from gems_gym.trackers import trackers

VALIDATIONS = 20
"""Validations in a training, evenly spaced: each measures the loss on held-out sessions."""


class Trainee(Protocol):
    """A model with its optimizer and its batches: all that :func:`train` has to know of what it trains."""

    @property
    def name(self) -> str:
        """Name in the progress bar and the learning curve."""

    @property
    def model(self) -> nn.Module:
        """The network."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the network's parameters."""

    @property
    def generator(self) -> torch.Generator:
        """The random generator that batches are drawn with."""

    @property
    def clip(self) -> float | None:
        """Norm that larger gradients are scaled down to; None for no clipping."""

    def learning_rate(self, batch: int) -> float:
        """The learning rate to use in a batch; batches are counted from 0."""

    def next_loss(self) -> Tensor:
        """The loss on the next batch."""

    def held_out_loss(self) -> float:
        """The loss on held-out sessions; draws nothing from ``generator``."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The state that the next batches depend on besides ``generator``, to be saved."""

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the state that :meth:`arrays` returned."""


@dataclass
class _Position:
    """How far a training has come, and its losses and best weights so far."""

    batch: int = 0
    loss_sum: float = 0.0  # of the batches since the last validation
    shown_loss: float = 0.0  # moving average
    best_loss: float = math.inf
    best: dict[str, np.ndarray] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)  # the learning curve


def train(
    trainee: Trainee, batches: int, keep: Keep, log: SessionLog, upkeep: Upkeep, progress: bool
) -> None:
    """Train a model, or resume its training from the last save.

    Args:
        trainee: Not trained yet, also when training resumes: its saved state is loaded into it. It must be made from
            the same arguments as before.
        batches: Gradient updates in total, those before an interruption included.
        keep: Which weights the model has in the end: "last" for those of the last batch, "best" for those with the
            lowest held-out loss.
        log: The logged sessions. Only their hash is used, to refuse resuming on other sessions.
        upkeep: Where the state for resuming and the learning curve are written.
        progress: Whether to show a progress bar with the loss on stderr.

    Raises:
        ValueError: The loss is not finite, or the saved state is of a training on other sessions.
    """
    log_sha256 = "" if upkeep.unfinished is None else log.sha256()
    position = _resumed_position(trainee, log_sha256, upkeep.unfinished)
    validate_every = max(1, batches // VALIDATIONS)
    tracking = trackers(trainee.name, upkeep.log_dir, events=".", anew=position.batch == 0)
    with track(f"pretraining {trainee.name}", batches, progress) as advance, tracking as tracked:
        advance(position.batch)
        while position.batch < batches:
            trainee.optimizer.param_groups[0]["lr"] = trainee.learning_rate(position.batch)
            loss = _step(trainee)
            if not math.isfinite(loss):
                raise ValueError(f"the loss is {loss} at batch {position.batch}: lower the learning_rate")
            position.shown_loss = loss if position.batch == 0 else 0.95 * position.shown_loss + 0.05 * loss
            position.loss_sum += loss
            position.batch += 1
            if position.batch % validate_every == 0 or position.batch == batches:
                _validate(trainee, position, keep == "best")
                if upkeep.log_dir is not None:
                    _write_curve(upkeep.log_dir, position.rows)
                tracked(
                    position.batch, {key: value for key, value in position.rows[-1].items() if key != "batch"}
                )
            if position.batch % upkeep.save_every == 0 or position.batch == batches:
                _save(trainee, position, log_sha256, upkeep.unfinished)
            advance(1, f"loss {position.shown_loss:.4f}")
    if position.best:
        _load_weights(trainee.model, position.best)


def _step(trainee: Trainee) -> float:
    loss = trainee.next_loss()
    trainee.optimizer.zero_grad()
    loss.backward()
    if trainee.clip is not None:
        nn.utils.clip_grad_norm_(trainee.model.parameters(), trainee.clip)
    trainee.optimizer.step()
    return float(loss.detach())


def _validate(trainee: Trainee, position: _Position, keep_best: bool) -> None:
    with torch.no_grad():
        held_out_loss = trainee.held_out_loss()
    done = position.batch - int(position.rows[-1]["batch"] if position.rows else 0)
    position.rows.append(
        {
            "batch": position.batch,
            "training_loss": position.loss_sum / done,
            "held_out_loss": held_out_loss,
        }
    )
    position.loss_sum = 0.0
    if keep_best and held_out_loss < position.best_loss:
        position.best_loss, position.best = held_out_loss, dict(_weights(trainee.model))


def _save(trainee: Trainee, position: _Position, log_sha256: str, unfinished: Unfinished | None) -> None:
    if unfinished is None:
        return
    arrays = {f"model/{name}": array for name, array in _weights(trainee.model)}
    arrays |= {f"best/{name}": array for name, array in position.best.items()}
    for index, moments in trainee.optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{name}": _array(moment) for name, moment in moments.items()}
    arrays |= {f"data/{name}": array for name, array in trainee.arrays().items()}
    arrays["generator/state"] = trainee.generator.get_state().numpy()
    values = {
        "batch": position.batch,
        "loss_sum": position.loss_sum,
        "shown_loss": position.shown_loss,
        "best_loss": position.best_loss if position.best else None,
        "rows": position.rows,
        "log_sha256": log_sha256,
    }
    unfinished.save(arrays, values)


def _resumed_position(trainee: Trainee, log_sha256: str, unfinished: Unfinished | None) -> _Position:
    """Load the last save, if there is one, into a trainee; returns the position it was saved at."""
    if unfinished is None:
        return _Position()
    with unfinished.resuming() as state:
        if state is None:
            return _Position()
    arrays, values = state.tensors, state.header
    if values["log_sha256"] != log_sha256:
        raise ValueError(
            f"{unfinished.folder} holds an unfinished run on other sessions: give the same --log to resume it, or "
            f"start anew with --overwrite"
        )
    _load_weights(trainee.model, dict(_arrays_under(arrays, "model")))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, array in _arrays_under(arrays, "optimizer"):
        index, name = key.split("/")
        # the optimizer's step count is 0-dimensional; files give it back with one dimension
        moments.setdefault(int(index), {})[name] = _tensor(array.reshape(()) if name == "step" else array)
    groups = trainee.optimizer.state_dict()["param_groups"]
    trainee.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    trainee.restore(dict(_arrays_under(arrays, "data")))
    trainee.generator.set_state(_tensor(arrays["generator/state"]))
    return _Position(
        batch=values["batch"],
        loss_sum=values["loss_sum"],
        shown_loss=values["shown_loss"],
        best_loss=math.inf if values["best_loss"] is None else values["best_loss"],
        best=dict(_arrays_under(arrays, "best")),
        rows=values["rows"],
    )


def _arrays_under(arrays: Mapping[str, np.ndarray], part: str) -> Iterator[tuple[str, np.ndarray]]:
    return ((key.partition("/")[2], array) for key, array in arrays.items() if key.startswith(f"{part}/"))


def _weights(model: nn.Module) -> Iterator[tuple[str, np.ndarray]]:
    return ((name, _array(tensor)) for name, tensor in model.state_dict().items())


def _load_weights(model: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    shapes = model.state_dict()
    model.load_state_dict(
        {name: _tensor(array).reshape(shapes[name].shape) for name, array in weights.items()}
    )


def _array(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())


def _tensor(array: np.ndarray) -> Tensor:
    # cloned into memory that torch allocates, as the alignment of memory can change the last bits of a result
    return torch.from_numpy(array).clone()


def _write_curve(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with whole_file(folder / "progress.csv") as file:
        file.write(text.getvalue().encode())
