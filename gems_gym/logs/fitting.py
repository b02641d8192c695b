"""What can be learned from a dataset of sessions without a simulator: click models, embeddings, a belief, a ranker.

All learn from the earlier sessions and are scored on the later ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts.unfinished import Unfinished, making
from gems_gym.beliefs import load_belief
from gems_gym.common.checks import Count, Seed, Share, checked_arguments
from gems_gym.common.files import write_json
from gems_gym.common.machine import check_out_folder
from gems_gym.common.progress import track
from gems_gym.common.threads import one_thread
from gems_gym.datasets.reader import content_hash_of, open_sessions
from gems_gym.embeddings import EmbeddingTable, Sources, load_embeddings, make_embeddings
from gems_gym.embeddings.base import DEFAULT_SIZE
from gems_gym.errors import require
from gems_gym.logs.click_models import (
    Cascade,
    FittedClickModel,
    PositionBased,
    comparable_positions,
)
from gems_gym.logs.fit_report import FitReport, Score, resampled, verdict
from gems_gym.logs.history import WITH_HISTORY, WITHOUT_HISTORY, losses_by_history
from gems_gym.logs.sessions import LONGEST, LoggedSessions
from gems_gym.pretraining.trainers import Upkeep, trainer_of
from gems_gym.rankers import load_ranker

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset
    from gems_gym.pretraining.belief import BeliefSettings

REPORT_FILE = "fit.json"
"""The report's name in the folder of what was fitted; it appears last."""

_MEASURED = 2_000
"""Later sessions that embeddings and ranker are scored on, at most."""

_MOST_SCORES = 10**8
"""Sessions times items that the ranker is scored on, at most: it looks at every item for every slate."""

_MOST_CO_CLICKED = 5_000
"""Items whose pairs are counted, which takes the square of it in memory; more are factorised."""


@checked_arguments
def fit_log(
    dataset: Dataset,
    out: Path,
    *,
    held_out: Share = 0.2,
    batches: Count | None = None,
    seed: Seed = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> FitReport:
    """Fit all that needs no simulator to a dataset, imported from a log or recorded in a world.

    An interrupted call resumes; the files appear in their folder when all are finished.

    Args:
        dataset: The dataset, a part of it that Minari made, or the id of a local one.
        out: Folder for ``position_based``, ``cascade``, ``embeddings``, ``belief`` and ``ranker``, all
            ``.safetensors``, and the report, ``fit.json``.
        held_out: Share of the sessions, the latest, that everything is scored on.
        batches: Gradient updates of belief, ranker and click heads; None: as many as their recipes say.
        seed: Of everything random.
        overwrite: Start anew, whatever an interrupted call left.
        progress: Whether to show progress on stderr.

    Raises:
        ValueError: There is no such dataset or it can't be read, fewer than two later sessions, one item, or no click
            in the earlier sessions.
        ImportError: Minari or torch is not installed; the message names the extra.
    """
    chosen = {"held_out": held_out, "batches": batches, "seed": seed}
    with fitting(dataset, out / REPORT_FILE, chosen, overwrite=overwrite, progress=progress) as parts:
        return _Fit(*parts, batches, seed, progress).into(out)


@contextmanager
def fitting(
    dataset: Dataset, report: Path, chosen: Mapping[str, Any], *, overwrite: bool, progress: bool
) -> Iterator[tuple[str, LoggedSessions, LoggedSessions, Unfinished]]:
    """Read a dataset to fit something to it, in work that resumes where an interrupted call ended.

    Args:
        dataset: The dataset, or the id of a local one.
        report: The report, which appears last; its folder is made.
        chosen: What decides beside the dataset what is learned; ``held_out`` is the share of the later sessions.
        overwrite: Start anew, whatever an interrupted call left.
        progress: Whether to show progress on stderr.

    Yields:
        The dataset's id, the earlier sessions, to learn from, the later ones, and where unfinished work is kept.

    Raises:
        ValueError: There is no such dataset or it can't be read, fewer than two later sessions, one item, or no click
            in the earlier sessions.
        ImportError: Minari or torch is not installed; the message names the extra.
    """
    require("torch")
    check_out_folder(report.parent)
    opened = open_sessions(dataset)
    settings = {
        "dataset": opened.id,
        "content_hash": content_hash_of(opened),
        "sessions": len(opened.episode_indices),
        "sessions_sha256": hashlib.sha256(np.asarray(opened.episode_indices, np.int64).tobytes()).hexdigest(),
        **chosen,
    }
    with one_thread(), _folder_of(report), making(report, settings, overwrite=overwrite) as work:
        sessions = LoggedSessions.read(opened, progress=progress)
        if len(sessions) < 2 or sessions.num_items < 2:
            raise ValueError(
                f"dataset {opened.id!r} has {len(sessions)} session(s) of {sessions.num_items} item(s); at least 2 of "
                "both are needed"
            )
        earlier, later = sessions.split(chosen["held_out"])
        if not earlier.clicks.any():
            raise ValueError(f"the {len(earlier)} earlier sessions of dataset {opened.id!r} hold no click")
        if len(later) < 2:
            raise ValueError(
                f"held_out={chosen['held_out']} leaves 1 later session of {len(sessions)} in dataset {opened.id!r}: at "
                "least 2 are needed, as one says nothing of the spread"
            )
        yield opened.id, earlier, later, work


@contextmanager
def _folder_of(file: Path) -> Iterator[None]:
    """Makes a file's folder, and removes it again if nothing comes into it."""
    made_here = not file.parent.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made_here:
            with suppress(OSError):  # it holds something
                file.parent.rmdir()


@dataclass(frozen=True)
class _Fit:
    """The work, each part of which is kept in the folder of the unfinished work once it is finished."""

    dataset_id: str
    earlier: LoggedSessions
    later: LoggedSessions
    work: Unfinished
    batches: int | None
    seed: int
    progress: bool
    left_out: dict[str, str] = field(default_factory=dict)

    def into(self, out: Path) -> FitReport:
        """Fit everything and move it to its folder."""
        with track("fitting click models", 2, self.progress) as advance:
            position_based = PositionBased.fit(self.earlier)
            advance(1)
            cascade = Cascade.fit(self.earlier)
            advance(1)
        embeddings = self._kept("embeddings", self._embeddings, load_embeddings)
        belief = self._kept("belief", self._belief, load_belief)
        ranker = self._kept("ranker", lambda: self._ranker(embeddings), load_ranker)
        losses = {
            "one click rate": self._loss(PositionBased.of_clicks(self.earlier)),
            "click rate of the position": self._loss(PositionBased.of_positions(self.earlier)),
            "position-based": self._loss(position_based),
            "cascade": self._loss(cascade),
        }
        if belief is not None:
            losses |= losses_by_history(
                belief, embeddings, self.earlier, self.later,
                batches=self.batches, seed=self.seed, progress=self.progress,
            )  # fmt: skip
        log_loss, history = self._scored(losses)
        header = {"catalog_hash": self.earlier.catalog_hash, "log": self._provenance}
        files = {
            "position_based": position_based.save(self.work.file("position_based.safetensors"), header),
            "cascade": cascade.save(self.work.file("cascade.safetensors"), header),
            **{
                name: str(made.sha256)
                for name, made in (("embeddings", embeddings), ("belief", belief), ("ranker", ranker))
                if made is not None
            },
        }
        report = FitReport(
            dataset_id=self.dataset_id,
            by_time=self.earlier.timed,
            earlier=len(self.earlier),
            later=len(self.later),
            slates=len(self.earlier.slates) + len(self.later.slates),
            slates_cut=self.earlier.cut,
            log_loss=log_loss,
            propensities=tuple(position_based.propensities.tolist()),
            comparable=tuple(tuple(one + 1 for one in group) for group in comparable_positions(self.earlier)),
            continuation=cascade.continuation,
            history=history,
            verdict=verdict(history),
            embeddings={} if embeddings is None else self._likeness(embeddings),
            slot_accuracy=None if ranker is None else self._slot_accuracy(ranker),
            files={f"{name}.safetensors": sha256 for name, sha256 in files.items()},
            left_out=self.left_out,
        )
        self._publish(report, out)
        return report

    @property
    def _provenance(self) -> dict[str, Any]:
        return {"dataset": self.dataset_id, "sessions": len(self.earlier)}

    def _kept(self, name: str, make: Callable[[], Any], load: Callable[[Path], Any]) -> Any:
        """What an interrupted call finished, or made now; None if the log lacks what it is learned from."""
        file = self.work.file(f"{name}.safetensors")
        if not file.exists():
            try:
                make().save(file)
            except ValueError as error:
                self.left_out[name] = str(error)
                return None
        return load(file)

    def _embeddings(self) -> EmbeddingTable:
        sources = Sources(self.earlier.num_items, self.earlier.catalog_hash, self.earlier.session_log())
        kind = "co_click" if _has_co_clicks(self.earlier) else "matrix_factorization"
        return make_embeddings(kind, sources, size=_embedding_size(self.earlier), seed=self.seed)

    def _belief(self) -> Any:
        return self._trained("belief/gru", belief_settings(self.earlier))

    def _ranker(self, embeddings: EmbeddingTable | None) -> Any:
        file = self.work.file("embeddings.safetensors")
        settings = replace(
            _recipe("ranker/gems"),
            item_embeddings="scratch" if embeddings is None else str(file),
            embedding_size=_embedding_size(self.earlier),
            deduplicate=self.earlier.num_items >= self.earlier.slates.shape[1],
        )
        return self._trained("ranker/gems", settings)

    def _trained(self, kind: str, settings: Any) -> Any:
        """A trainer's result."""
        if self.batches is not None:
            settings = replace(settings, batches=self.batches)
        unfinished = Unfinished(self.work.file(kind.partition("/")[0]), self.work.settings)
        made, _ = trainer_of(kind).train(
            self.earlier.session_log(),
            self.earlier.num_items,
            settings,
            seed=self.seed,
            progress=self.progress,
            upkeep=Upkeep(unfinished=unfinished),
        )
        return made

    def _loss(self, model: FittedClickModel) -> NDArray[np.float64]:
        """Nats of each later session."""
        return self.later.totals(model.losses(self.later))

    def _scored(self, losses: dict[str, NDArray[np.float64]]) -> tuple[dict[str, Score], Score | None]:
        """Nats a slot of each model, and of history's the difference: all on the same resampled sessions."""
        means, drawn = resampled(
            list(losses.values()), self.later.totals(self.later.shown.sum(axis=1)), self.seed
        )
        scores = {
            name: Score.of(mean, values) for name, mean, values in zip(losses, means, drawn.T, strict=True)
        }
        if WITH_HISTORY not in losses:
            return scores, None
        with_history, without = (list(losses).index(name) for name in (WITH_HISTORY, WITHOUT_HISTORY))
        difference = drawn[:, with_history] - drawn[:, without]
        return scores, Score.of(means[with_history] - means[without], difference)

    def _slot_accuracy(self, ranker: Any) -> Score:
        some = self.later[: max(1, min(_MEASURED, _MOST_SCORES // ranker.num_items))]
        decoded = ranker.rank(ranker.encode(some.slates, some.clicks))
        right, shown = (some.totals(slots.sum(axis=1)) for slots in (decoded == some.slates, some.shown))
        means, drawn = resampled([right], shown, self.seed)
        return Score.of(means[0], drawn[:, 0])

    def _likeness(self, embeddings: EmbeddingTable) -> dict[str, Any]:
        from gems_gym.pretraining.click_prediction import auc

        some = self.later[:_MEASURED]
        lengths = np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
        shown = (embeddings.vectors / np.maximum(lengths, 1e-12))[some.slates]  # (slates, slots, size)
        clicked = np.cumsum((shown * some.clicks[..., None]).sum(axis=1, dtype=np.float64), axis=0)
        before = np.concatenate([np.zeros_like(clicked[:1]), clicked[:-1]])
        before -= np.repeat(before[some.starts[:-1]], some.lengths, axis=0)
        likeness = (shown * before[:, None]).sum(axis=2) / np.maximum(
            np.linalg.norm(before, axis=1, keepdims=True), 1e-12
        )
        told = some.shown & (np.abs(before).max(axis=1, keepdims=True) > 1e-6)
        kind = embeddings.kind.partition("/")[2]
        return {"kind": kind, "auc": auc(likeness[told], some.clicks[told])}

    def _publish(self, report: FitReport, out: Path) -> None:
        write_json(self.work.file(REPORT_FILE), report.as_dict())  # before anything is moved
        for name in ("position_based", "cascade", "embeddings", "belief", "ranker"):
            file = f"{name}.safetensors"
            if file in report.files:
                os.replace(self.work.file(file), out / file)
            else:
                (out / file).unlink(missing_ok=True)  # of an earlier call
        os.replace(self.work.file(REPORT_FILE), out / REPORT_FILE)


def belief_settings(sessions: LoggedSessions, size: int = DEFAULT_SIZE) -> BeliefSettings:
    """How a GRU belief is trained on sessions: by its recipe, as far as they allow it.

    Args:
        sessions: The sessions.
        size: Numbers in the belief.
    """
    recipe: BeliefSettings = _recipe("belief/gru")
    # as many slates in a batch as the recipe has of complete sessions
    lengths = sessions.lengths[sessions.lengths > 1]  # a session of one slate teaches a belief nothing
    mean_length = float(lengths.mean()) if len(lengths) else 1.0
    return replace(
        recipe,
        size=size,
        item_embeddings="co_click" if _has_co_clicks(sessions) else "scratch",
        embedding_size=_embedding_size(sessions),
        batch_sessions=max(1, round(recipe.batch_sessions * LONGEST / mean_length)),
    )


def _recipe(kind: str) -> Any:
    """A trainer's settings, with which the weights with the lowest loss on some of the sessions are kept."""
    return replace(trainer_of(kind).presets["default"].settings, keep="best")


def _has_co_clicks(sessions: LoggedSessions) -> bool:
    """Whether most of the items that were clicked were clicked beside another one, and pairs can be counted."""
    clicked = (sessions.clicks == 1) & (sessions.slates >= 0)  # (num_slates, slate_size)
    lowest = np.where(clicked, sessions.slates, sessions.num_items).min(axis=1)
    highest = np.where(clicked, sessions.slates, -1).max(axis=1)
    several = lowest < highest  # slates with clicks on different items
    paired, ever = (len(np.unique(sessions.slates[which])) for which in (clicked & several[:, None], clicked))
    return paired > ever / 2 and sessions.num_items <= _MOST_CO_CLICKED


def _embedding_size(sessions: LoggedSessions) -> int:
    return min(DEFAULT_SIZE, sessions.num_items - 1)
