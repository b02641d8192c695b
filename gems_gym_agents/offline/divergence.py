"""When an offline training has run away: |Q| far beyond what rewards allow, for long or growing, or NaN.

No return can pass max reward / (1 − gamma). A Q-function passes that bound a little, or for a while, as it learns;
one that stays far beyond it, or keeps growing there, feeds on its own errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gems_gym_agents.base import DivergedError

AT_ONCE = 10.0
"""A training stops at once when |Q| passes its bound by this factor."""

FOR_LONG = 2.0
"""It stops when |Q| has passed its bound by this factor, or has grown by it beyond the bound, for a warm-up."""

WARM_UP = 5_000
"""Updates."""


def check_finite(line: Mapping[str, float]) -> None:
    """Stop a training with a measurement that is NaN or infinite.

    Args:
        line: ``step``, and what was measured there.

    Raises:
        DivergedError: A number of it is NaN or infinite.
    """
    for name, value in line.items():
        if not math.isfinite(value):
            raise DivergedError(f"step {line['step']:.0f}: {name} is {value}; training has diverged")


def check_sane(history: Sequence[dict[str, float]]) -> None:
    """Stop a training that has run away.

    Args:
        history: What was measured so far, the latest last: ``step``, losses, and, of agents with Q-functions,
            ``q_abs_max`` and ``q_bound``.

    Raises:
        DivergedError: A number of the latest measurement is NaN or infinite; or |Q| is over 10 times its bound; or it
            was over twice its bound in every measurement of the last 5,000 updates; or it was over its bound and grew
            in every one of them, to twice what it was.
    """
    line = history[-1]
    check_finite(line)
    if "q_bound" not in line:
        return
    steps = [one["step"] for one in history]
    shares = [one["q_abs_max"] / max(line["q_bound"], 1e-6) for one in history]
    far = _since([share > FOR_LONG for share in shares])
    growing = _since(
        [share > max(1.0, before) for before, share in zip([0.0, *shares], shares, strict=False)]
    )
    if shares[-1] > AT_ONCE:
        _stop(line, f"over {AT_ONCE:.0f} times")
    if far is not None and steps[-1] - steps[far] >= WARM_UP:
        _stop(line, f"for {WARM_UP} updates over {FOR_LONG:.0f} times")
    if (
        growing is not None
        and steps[-1] - steps[growing] >= WARM_UP
        and shares[-1] > FOR_LONG * shares[growing]
    ):
        _stop(line, f"for {WARM_UP} updates growing beyond")


def _since(holds: Sequence[bool]) -> int | None:
    """The first index from which on something holds to the end; ``None`` if it does not hold at the end."""
    false = [index for index, one in enumerate(holds) if not one]
    first = false[-1] + 1 if false else 0
    return first if first < len(holds) else None


def _stop(line: dict[str, float], how_far: str) -> None:
    raise DivergedError(
        f"step {line['step']:.0f}: |Q| reaches {line['q_abs_max']:.4g}, {how_far} the bound {line['q_bound']:.4g} = "
        f"max |scaled reward| / (1 − gamma): lower gamma or the learning rates, or give the behaviour term more "
        f"weight"
    )
