"""How near a fitted world comes to later sessions of its log, and where it must not be trusted.

What the world predicts is measured on the sessions as they were logged: before each slate its state is that of what was
shown and clicked until then. So the measures hold whatever chose the slates, which its own users could not have met.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.fitted_world import FittedWorld
from gems_gym.logs.click_models import PositionBased, click_losses
from gems_gym.logs.fit_report import Score, resampled, resampled_sums
from gems_gym.logs.history import beliefs_before
from gems_gym.logs.sessions import LoggedSessions

FAR = 0.1
"""The distance beyond which a measure says that the world must not be trusted."""

HEADS = (0.01, 0.05, 0.2, 0.5)
"""Shares of the items, the most clicked ones of the earlier sessions, whose share of the clicks is compared."""

POSITION_BASED, WORLD = "position-based", "fitted world"


_FEW_CLICKED = 20
"""With fewer later sessions with a click, intervals mean little."""


@dataclass(frozen=True)
class Compared:
    """Something of the later sessions, as they were and as the world predicts it.

    Attributes:
        log: As they were.
        world: As predicted.
        distance: How far the two are apart, with its interval.
    """

    log: tuple[float, ...]
    world: tuple[float, ...]
    distance: Score


@dataclass(frozen=True)
class FidelityReport:
    """How near a fitted world comes to later sessions.

    Attributes:
        dataset_id: What it was fitted to.
        by_time: Whether the later sessions are later in time; otherwise they are the last of the file, which says no
            times.
        earlier: Sessions that were learned from.
        later: Sessions that everything was measured on.
        log_loss: Model -> nats a slot: one click rate, that of the position, a position-based model with a number for
            each item, and the world.
        gain: Log-loss of the position-based model less the world's.
        ctr: Clicks by position; the distance is the mean difference in shares of the mean click rate.
        stayed: Share of the users who stay for more than 2, 3, … slates, of those who saw two: in a world all see the
            slate that they begin with, and another. The distance is the largest difference. None where nobody leaves.
        heads: Shares of the clicks that the most clicked 1, 5, 20 and 50 % of the items get; the distance is the
            largest difference.
        never_shown: Share of the items that no earlier session showed.
        beyond: Clicks a slate that 95 % of the later sessions do not exceed: policies that earn more do what was hardly
            seen.
        warnings: Where the world must not be trusted.
        sha256: Of the world's file.
    """

    dataset_id: str
    by_time: bool
    earlier: int
    later: int
    log_loss: dict[str, Score]
    gain: Score
    ctr: Compared
    stayed: Compared | None
    heads: Compared
    never_shown: float
    beyond: float
    warnings: tuple[str, ...]
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """The same in JSON types."""
        return asdict(self)

    @property
    def compared(self) -> dict[str, Compared]:
        """What of the later sessions was compared, in words."""
        found = {"click rates by position": self.ctr, "which items are clicked": self.heads}
        return found | ({} if self.stayed is None else {"how long users stay": self.stayed})

    @property
    def verdict(self) -> str:
        """What the measures say, in a sentence."""
        if self.warnings:
            return f"do not trust this world: {'; '.join(self.warnings)}"
        return (
            f"predicts later clicks by {self.gain.mean:.4f} nats a slot better than position and item alone, and all "
            f"distances are below {FAR}: for slates like the log's it may be trusted to order policies, not to say "
            f"what they earn; beyond {self.beyond:.2f} clicks a slate, as 5 % of its sessions have, it extrapolates"
        )


def measure_fidelity(
    world: FittedWorld,
    earlier: LoggedSessions,
    later: LoggedSessions,
    *,
    dataset_id: str,
    sha256: str,
    seed: int,
) -> FidelityReport:
    """Measure a world on later sessions.

    Args:
        world: The world.
        earlier: The sessions that it was fitted to.
        later: Those to measure on, with a click.
        dataset_id: What both are from.
        sha256: Of the world's file.
        seed: Of the bootstrap's draws.
    """
    before = beliefs_before(world.belief, later, world.start)
    clicks = world.click_probabilities(before, later.slates)
    simple = PositionBased.fit(earlier)
    losses = {
        "one click rate": click_losses(PositionBased.of_clicks(earlier).predict(later.slates), later),
        "click rate of the position": click_losses(
            PositionBased.of_positions(earlier).predict(later.slates), later
        ),
        POSITION_BASED: click_losses(simple.predict(later.slates), later),
        WORLD: click_losses(clicks, later),
    }
    totals = [later.totals(one) for one in losses.values()]
    means, drawn = resampled(totals, later.totals(later.shown.sum(axis=1)), seed)
    log_loss = {
        name: Score.of(mean, values) for name, mean, values in zip(losses, means, drawn.T, strict=True)
    }
    gain = Score.of(means[-2] - means[-1], drawn[:, -2] - drawn[:, -1])
    expected = np.where(later.shown, clicks, 0)
    ctr = _compared(_by_position(later, expected), _click_rates, seed)
    heads = _compared(_on_heads(earlier, later, expected), _shares, seed)
    stayed = None
    if world.leaving is not None and later.lengths.max() > 1:
        after = world.belief.update(before, later.slates, later.clicks)
        leave = 1 - world.stay_probabilities(after, later.clicks.sum(axis=1, dtype=np.float32), later.numbers)
        stayed = _compared(_by_number(later, leave), _survival, seed)
    never_shown = 1 - len(np.unique(earlier.slates[earlier.shown])) / earlier.num_items
    return FidelityReport(
        dataset_id=dataset_id,
        by_time=earlier.timed,
        earlier=len(earlier),
        later=len(later),
        log_loss=log_loss,
        gain=gain,
        ctr=ctr,
        stayed=stayed,
        heads=heads,
        never_shown=never_shown,
        beyond=float(np.quantile(later.totals(later.clicks.sum(axis=1)) / later.lengths, 0.95)),
        warnings=tuple(_warnings(later, gain, ctr, stayed, heads, never_shown)),
        sha256=sha256,
    )


_Curves = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""A curve of the log, the same of the world, ``(m, n)`` each, and their distance, ``(m,)``."""


def _compared(
    sums: NDArray[np.float64], curves: Callable[[NDArray[np.float64]], _Curves], seed: int
) -> Compared:
    """Something of all sessions, and its interval by sessions drawn with replacement.

    Args:
        sums: Of each session, ``(num_sessions, parts, n)``.
        curves: Of such sums over sessions, ``(m, parts, n)``.
        seed: Of the draws.
    """
    log, world, distance = curves(sums.sum(axis=0)[None])
    drawn = resampled_sums(sums.reshape(len(sums), -1), seed).reshape(-1, *sums.shape[1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = curves(drawn)[2]
    # a draw of sessions without a click says nothing
    spread = Score.of(distance[0], distances[np.isfinite(distances)])
    return Compared(tuple(log[0].tolist()), tuple(world[0].tolist()), spread)


def _by_position(later: LoggedSessions, expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clicks, what is expected of them, and slots shown, ``(num_sessions, 3, slate_size)``."""
    return np.stack([later.totals(part) for part in (later.clicks, expected, later.shown)], axis=1)


def _click_rates(sums: NDArray[np.float64]) -> _Curves:
    clicks, expected, shown = sums.swapaxes(0, 1)
    shown = np.maximum(shown, 1)
    return clicks / shown, expected / shown, np.abs(clicks - expected).sum(axis=1) / clicks.sum(axis=1)


def _on_heads(
    earlier: LoggedSessions, later: LoggedSessions, expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Clicks on the most clicked items, and on all; the same expected, ``(num_sessions, 2, len(HEADS) + 1)``."""
    clicked = np.bincount(earlier.slates[earlier.clicks > 0], minlength=earlier.num_items)
    rank = np.empty(earlier.num_items, np.int64)
    rank[np.argsort(-clicked, kind="stable")] = np.arange(earlier.num_items)
    ranks = rank[later.slates]  # of slots without an item, too, where neither is a click
    heads = [np.ceil(share * earlier.num_items) for share in (*HEADS, 1)]

    def on_heads(clicks: NDArray[Any]) -> NDArray[np.float64]:
        return later.totals(np.stack([(clicks * (ranks < head)).sum(axis=1) for head in heads], axis=1))

    return np.stack([on_heads(later.clicks), on_heads(expected)], axis=1)


def _shares(sums: NDArray[np.float64]) -> _Curves:
    log, world = (sums[..., :-1] / sums[..., -1:]).swapaxes(0, 1)
    return log, world, np.abs(log - world).max(axis=1)


def _by_number(later: LoggedSessions, leave: NDArray[np.float64]) -> NDArray[np.float64]:
    """By the slate's number, from 2: who left after it, is expected to, and saw it, ``(num_sessions, 3, n)``."""
    left = np.zeros(len(leave))
    left[later.starts[1:] - 1] = later.left
    return np.stack([later.padded(part, 0)[:, 1:] for part in (left, leave, np.ones(len(leave)))], axis=1)


def _survival(sums: NDArray[np.float64]) -> _Curves:
    left, expected, saw = sums.swapaxes(0, 1)
    log, world = (np.cumprod(1 - part / np.maximum(saw, 1), axis=1) for part in (left, expected))
    return log, world, np.abs(log - world).max(axis=1)


def _warnings(
    later: LoggedSessions,
    gain: Score,
    ctr: Compared,
    stayed: Compared | None,
    heads: Compared,
    never_shown: float,
) -> list[str]:
    found = []
    if (clicked := int((later.totals(later.clicks.sum(axis=1)) > 0).sum())) < _FEW_CLICKED:
        found.append(f"only {clicked} of the later sessions have a click")
    if gain.low <= 0:
        found.append(
            f"it does not surely predict clicks better than position and item alone ({_interval(gain)} nats a slot)"
        )
    far = {
        "click rates by position": ctr.distance,
        "how long users stay": None if stayed is None else stayed.distance,
        "which items are clicked": heads.distance,
    }
    found += [
        f"{what} may be off by more than {FAR} ({_interval(distance)})"
        for what, distance in far.items()
        if distance is not None and distance.high > FAR
    ]
    if never_shown > FAR:
        found.append(f"{never_shown:.0%} of the items were never shown, and nothing is known of them")
    return found


def _interval(score: Score) -> str:
    return f"{score.mean:.4f}, 95 % interval {score.low:.4f} to {score.high:.4f}"
