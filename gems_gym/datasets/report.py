"""Quality report of a dataset: what its policy reached, showed and left out, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import t_interval
from gems_gym.common.checks import checked_arguments
from gems_gym.common.pictures import new_figure, save_figure
from gems_gym.datasets.reader import dataset_world, open_recording, read_sessions
from gems_gym.datasets.sessions import Sessions

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 30
"""Bins of the histogram of returns, at most; each holds as many integers as the others."""

BORDER = 1.0 - 1e-6
"""A number of an action or belief whose size is at least this counts as lying at the border of the box."""


PANELS = ("returns", "steps", "ranks", "topics", "items", "coverage")
FROM_ZERO = [PANELS.index("steps"), PANELS.index("coverage")]
"""Panels whose vertical axis begins at 0."""


@dataclass(frozen=True)
class Returns:
    """Clicks per session.

    Attributes:
        mean: Mean.
        ci95: Half-width of the 95 % t-interval of the mean over sessions; infinite for one session.
        sd: Standard deviation.
        minimum: Smallest.
        quantiles: Share of sessions, as text -> the return that this share does not exceed.
        maximum: Largest.
        bin_edges: Edges of a histogram, halfway between integers.
        bin_counts: Sessions in each bin.
        clicks_per_step: Mean reward at every step of a session.
    """

    mean: float
    ci95: float
    sd: float
    minimum: float
    quantiles: dict[str, float]
    maximum: float
    bin_edges: tuple[float, ...]
    bin_counts: tuple[int, ...]
    clicks_per_step: tuple[float, ...]


@dataclass(frozen=True)
class Concentration:
    """How unevenly something is spread over the items, or over the topics.

    Attributes:
        gini: 0 where all get the same, near 1 where one gets everything.
        effective_number: Exponential of the entropy (natural logarithm): so many, equally often, would be as mixed.
        share_shown: Share of all that occur at all.
    """

    gini: float
    effective_number: float
    share_shown: float


@dataclass(frozen=True)
class Slates:
    """What was shown and clicked, the sessions' first slates apart: no policy chose these.

    Attributes:
        clicks_per_rank: Clicks per slate on each slot, best first.
        topic_shares: Share of the slots that show items of each topic.
        clicked_topic_shares: Share of the clicks that fall on each topic; zeros if there are no clicks.
        topics: How the slots are spread over the topics.
        items: How the slots are spread over the items.
        item_curve: Share of the slots that show the most shown 0, 1, …, 100 % of the items.
        bored_steps: Share of the steps at which some topic bored the user.
        bored_topics: Topics that bore the user, mean over steps.
        slates_with_duplicates: Share of the slates that show some item twice.
        duplicates_per_slate: Slots that repeat an earlier one of their slate, mean over slates.
    """

    clicks_per_rank: tuple[float, ...]
    topic_shares: tuple[float, ...]
    clicked_topic_shares: tuple[float, ...]
    topics: Concentration
    items: Concentration
    item_curve: tuple[float, ...]
    bored_steps: float
    bored_topics: float
    slates_with_duplicates: float
    duplicates_per_slate: float


@dataclass(frozen=True)
class Coverage:
    """How vectors, beliefs or latents, fill their box.

    Attributes:
        sd: Standard deviation in each dimension.
        at_border: Share of all their numbers that lie at the border of [-1, 1].
        effective_dimensions: Exponential of the entropy of the covariance's normalised eigenvalues, between 1 and the
            number of dimensions; 0 if nothing varies.
    """

    sd: tuple[float, ...]
    at_border: float
    effective_dimensions: float


@dataclass(frozen=True)
class DatasetReport:
    """Measures of a dataset.

    Attributes:
        dataset_id: Its id.
        env: Id of its environment.
        policy: Who played, as its metadata say.
        content_hash: Of its numbers.
        episodes: Sessions.
        transitions: Steps of all sessions.
        returns: Clicks per session.
        normalized_score: Minari's normalised score of the mean return, in per cent; None without reference scores.
        slates: What was shown and clicked; None where there are no infos (a dataset that came from an npz file).
        states: How the beliefs that were acted on fill their box; None where observations are slates.
        actions: How the latents fill theirs; None where actions are slates.
    """

    dataset_id: str
    env: str
    policy: str | None
    content_hash: str | None
    episodes: int
    transitions: int
    returns: Returns
    normalized_score: float | None
    slates: Slates | None
    states: Coverage | None
    actions: Coverage | None

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return asdict(self)


@checked_arguments
def report_dataset(dataset: Dataset, *, progress: bool = True) -> DatasetReport:
    """Measures a dataset, reading it once, in chunks: memory does not grow with its size.

    Args:
        dataset: The dataset, or the id of a local one.
        progress: Draws a progress bar on stderr.

    Raises:
        ValueError: If there is no dataset of this id, it is not gems-gym's, or its environment has another catalogue
            now than when it was recorded.
        ImportError: If Minari is not installed; it names the extra.
    """
    opened = open_recording(dataset)
    metadata, world = opened.storage.metadata, dataset_world(opened)
    returns = ReturnMeasures()
    states, actions = _coverage(opened.observation_space), _coverage(opened.action_space)
    slates: SlateMeasures | None = SlateMeasures(
        world.catalog.item_topics, world.config.num_topics, world.config.slate_size
    )
    for sessions in read_sessions(opened, f"reading {opened.id}", progress=progress):
        returns.add(sessions)
        slates = slates if {"slate", "clicks", "bored"} <= sessions.infos.keys() else None
        if slates is not None:
            slates.add(sessions)
        if states is not None:  # their space is a Box; nothing was done after the last one
            states.add(cast(NDArray[Any], sessions.observations)[:, :-1])
        if actions is not None:
            actions.add(sessions.actions)
    measured, low, high = returns.result(), metadata.get("ref_min_score"), metadata.get("ref_max_score")
    has_scores = low is not None and high is not None and low != high
    return DatasetReport(
        dataset_id=opened.id,
        env=opened.env_spec.id,
        policy=metadata.get("policy"),
        content_hash=metadata.get("content_hash"),
        episodes=int(opened.total_episodes),
        transitions=int(opened.total_steps),
        returns=measured,
        normalized_score=100.0 * (measured.mean - low) / (high - low) if has_scores else None,
        slates=slates.result() if slates is not None else None,
        states=states.result() if states is not None else None,
        actions=actions.result() if actions is not None else None,
    )


def _coverage(space: gymnasium.Space[Any]) -> CoverageMeasures | None:
    """What measures vectors of a space; None for slates."""
    shape = space.shape if isinstance(space, gymnasium.spaces.Box) else None
    return CoverageMeasures(*shape) if shape is not None and len(shape) == 1 else None


def draw_report(reports: DatasetReport | Sequence[DatasetReport], path: Path) -> None:
    """Draws reports: returns, clicks over the session and the ranks, concentration, coverage.

    Args:
        reports: One report, or several, each of which gets a column of panels whose axes are those of the others.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ValueError: Another suffix.
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    several = [reports] if isinstance(reports, DatasetReport) else list(reports)
    if len(several) == 1:
        figure = new_figure(13, 7.5)
        columns = figure.subplots(2, 3).reshape(1, -1)
        figure.suptitle(_title(several[0]))
    else:
        figure = new_figure(4.5 * len(several), 21)
        columns = figure.subplots(len(PANELS), len(several), sharex="row", sharey="row").T
    for axes, report in zip(columns, several, strict=True):
        _draw_one(axes, report)
        if len(several) > 1:
            axes[0].set_title(f"{_title(report)}\n\n{axes[0].get_title()}".replace(": ", "\n", 1))
    for one in columns[:, FROM_ZERO].ravel():  # at last, since axes that are shared are limited together
        one.set_ylim(bottom=0)
    save_figure(figure, path)


class ReturnMeasures:
    """Gathers what :class:`Returns` holds; memory grows by one number a session."""

    def __init__(self) -> None:
        self._returns: list[NDArray[np.float64]] = []
        self._per_step = np.zeros(1)  # (num_steps,), summed

    def add(self, sessions: Sessions) -> None:
        """Takes in more sessions."""
        rewards = sessions.rewards.astype(np.float64)  # (num_sessions, num_steps)
        self._returns.append(rewards.sum(axis=1))
        self._per_step = self._per_step + rewards.sum(axis=0)

    def result(self) -> Returns:
        """The measures so far, of at least one session."""
        returns = np.concatenate(self._returns)
        low, high = np.floor(returns.min()) - 0.5, np.ceil(returns.max()) + 0.5
        width = np.ceil((high - low) / BINS)
        counts, edges = np.histogram(returns, bins=np.arange(low, high + width, width))
        return Returns(
            mean=float(returns.mean()),
            ci95=t_interval(returns),
            sd=float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
            minimum=float(returns.min()),
            quantiles={f"{share:g}": float(np.quantile(returns, share)) for share in QUANTILES},
            maximum=float(returns.max()),
            bin_edges=_floats(edges),
            bin_counts=tuple(counts.tolist()),
            clicks_per_step=_floats(self._per_step / len(returns)),
        )


class SlateMeasures:
    """Gathers what :class:`Slates` holds.

    Args:
        item_topics: Main topic of every item, ``(num_items,)``.
        num_topics: Topics in the world.
        slate_size: Items in a slate.
    """

    def __init__(self, item_topics: NDArray[np.int64], num_topics: int, slate_size: int) -> None:
        self._topics, self._num_topics = item_topics, num_topics
        self._shown = np.zeros(len(item_topics), dtype=np.int64)
        self._clicked = np.zeros(len(item_topics), dtype=np.int64)
        self._clicks_per_rank = np.zeros(slate_size, dtype=np.int64)
        self._slates = self._bored_steps = self._bored_topics = self._with_duplicates = self._duplicates = 0

    def add(self, sessions: Sessions) -> None:
        """Takes in more sessions."""
        infos = sessions.infos
        slates = infos["slate"][:, 1:].reshape(-1, len(self._clicks_per_rank)).astype(np.int64)  # (N, S)
        clicks = infos["clicks"][:, 1:].reshape(slates.shape).astype(np.int64)
        bored = infos["bored"][:, 1:].reshape(-1, self._num_topics)
        in_order = np.sort(slates, axis=1)
        repeated = (in_order[:, 1:] == in_order[:, :-1]).sum(axis=1)  # (N,)
        self._shown += np.bincount(slates.ravel(), minlength=len(self._shown))
        self._clicked += np.bincount(slates[clicks == 1], minlength=len(self._shown))
        self._clicks_per_rank += clicks.sum(axis=0)
        self._slates += len(slates)
        self._bored_steps += int(bored.any(axis=1).sum())
        self._bored_topics += int(bored.sum())
        self._with_duplicates += int((repeated > 0).sum())
        self._duplicates += int(repeated.sum())

    def result(self) -> Slates:
        """The measures so far, of at least one session."""
        shown, clicked = (
            np.bincount(self._topics, weights=counts, minlength=self._num_topics)
            for counts in (self._shown, self._clicked)
        )
        most_first = np.concatenate([[0.0], np.sort(self._shown)[::-1].cumsum() / self._shown.sum()])
        return Slates(
            clicks_per_rank=_floats(self._clicks_per_rank / self._slates),
            topic_shares=_floats(shown / shown.sum()),
            clicked_topic_shares=_floats(clicked / max(clicked.sum(), 1)),
            topics=concentration(shown),
            items=concentration(self._shown),
            item_curve=_floats(
                np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, len(most_first)), most_first)
            ),
            bored_steps=self._bored_steps / self._slates,
            bored_topics=self._bored_topics / self._slates,
            slates_with_duplicates=self._with_duplicates / self._slates,
            duplicates_per_slate=self._duplicates / self._slates,
        )


class CoverageMeasures:
    """Gathers what :class:`Coverage` holds, by sums: memory does not grow."""

    def __init__(self, size: int) -> None:
        self._count = self._at_border = 0
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Takes in more vectors, ``(..., size)``."""
        rows = vectors.reshape(-1, len(self._sum)).astype(np.float64)
        self._count += len(rows)
        self._at_border += int((np.abs(rows) >= BORDER).sum())
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows

    def result(self) -> Coverage:
        """The measures so far, of at least one vector."""
        mean = self._sum / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        # the difference of two near numbers: what is below their rounding is nothing
        noise = 1e-12 * np.trace(self._products) / self._count
        eigenvalues = np.linalg.eigvalsh(covariance)
        eigenvalues = np.where(eigenvalues > noise, eigenvalues, 0.0)
        return Coverage(
            sd=_floats(np.sqrt(np.maximum(np.diag(covariance), 0.0))),
            at_border=self._at_border / (self._count * len(self._sum)),
            effective_dimensions=effective_number(eigenvalues),
        )


def concentration(counts: NDArray[np.generic]) -> Concentration:
    """How unevenly counts are spread, ``(n,)`` numbers ≥ 0 with a sum > 0."""
    in_order = np.sort(np.asarray(counts, dtype=np.float64))
    n = len(in_order)
    gini = 2.0 * (np.arange(1, n + 1) @ in_order) / (n * in_order.sum()) - (n + 1) / n
    return Concentration(float(gini), effective_number(in_order), float((in_order > 0).mean()))


def effective_number(weights: NDArray[np.floating]) -> float:
    """Exponential of the entropy of weights ≥ 0 made to sum to 1; 0 if all are 0."""
    present = weights[weights > 0]
    if not len(present):
        return 0.0
    shares = present / present.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _floats(values: NDArray[np.generic]) -> tuple[float, ...]:
    return tuple(values.astype(np.float64).tolist())


def _title(report: DatasetReport) -> str:
    return f"{report.dataset_id}: {report.episodes:,} sessions of {report.policy or 'an unknown policy'}"


def _draw_one(axes: Any, report: DatasetReport) -> None:
    """Draws a report into six panels."""
    panels = dict(zip(PANELS, axes, strict=True))
    _draw_returns(panels["returns"], report.returns)
    _draw_steps(panels["steps"], report.returns)
    if report.slates is not None:
        _draw_ranks(panels["ranks"], report.slates)
        _draw_topics(panels["topics"], report.slates)
        _draw_items(panels["items"], report.slates)
    _draw_coverage(panels["coverage"], {"beliefs": report.states, "latents": report.actions})
    for one in axes:
        if not one.has_data():
            one.set_axis_off()


def _draw_returns(axes: Any, returns: Returns) -> None:
    axes.stairs(returns.bin_counts, returns.bin_edges, fill=True, alpha=0.6)
    axes.axvline(returns.mean, color="black", linewidth=1)
    title = f"mean {returns.mean:.1f} ± {returns.ci95:.1f}, sd {returns.sd:.1f}"
    axes.set(xlabel="clicks per session", ylabel="sessions", title=title)


def _draw_steps(axes: Any, returns: Returns) -> None:
    axes.plot(range(1, len(returns.clicks_per_step) + 1), returns.clicks_per_step)
    axes.set(xlabel="step of the session", ylabel="clicks per slate", title="over the session")
    axes.grid(alpha=0.3)


def _draw_ranks(axes: Any, slates: Slates) -> None:
    axes.bar(range(1, len(slates.clicks_per_rank) + 1), slates.clicks_per_rank, 0.8)
    title = f"{100 * slates.slates_with_duplicates:.1f} % of slates show an item twice"
    axes.set(xlabel="rank", ylabel="clicks per slate", title=title)


def _draw_topics(axes: Any, slates: Slates) -> None:
    topics = np.arange(len(slates.topic_shares))
    axes.bar(topics - 0.2, slates.topic_shares, 0.4, label="shown")
    axes.bar(topics + 0.2, slates.clicked_topic_shares, 0.4, label="clicked")
    title = (
        f"{slates.topics.effective_number:.1f} effective topics, {100 * slates.bored_steps:.0f} % bored steps"
    )
    axes.set(xlabel="topic", ylabel="share", title=title)
    axes.legend()


def _draw_items(axes: Any, slates: Slates) -> None:
    axes.plot(np.linspace(0, 100, len(slates.item_curve)), slates.item_curve)
    axes.plot([0, 100], [0, 1], color="grey", linewidth=1, linestyle=":")
    items = slates.items
    title = f"{items.effective_number:.0f} effective items, {100 * items.share_shown:.0f} % ever shown"
    axes.set(xlabel="most shown items, % of the catalogue", ylabel="share of slots", title=title)
    axes.grid(alpha=0.3)


def _draw_coverage(axes: Any, parts: dict[str, Coverage | None]) -> None:
    for name, coverage in parts.items():
        if coverage is None:
            continue
        label = f"{name}: {coverage.effective_dimensions:.1f} effective of {len(coverage.sd)}"
        axes.plot(range(1, len(coverage.sd) + 1), sorted(coverage.sd, reverse=True), marker=".", label=label)
        title = f"{100 * coverage.at_border:.1f} % of the {name}' numbers at the border"
        axes.set(xlabel="dimension, widest first", ylabel="standard deviation", title=title)
        axes.legend()
        axes.grid(alpha=0.3)
