"""When an offline training has run away: |Q| far beyond what rewards allow, for long, or NaN.

No return can pass max reward / (1 − gamma). A Q-function passes that bound a little while it learns, and for a while;
one that stays far beyond it, or moves on beyond it, feeds on its own errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gems_gym_agents.base import DivergedError

AT_ONCE = 10.0
"""A training stops as soon as |Q| passes its bound by this factor,"""

FOR_LONG = 2.0
"""or when |Q| passes its bound by this one at every look"""

WARM_UP = 5_000
"""for so many updates; or when |Q| is over its bound and has grown at every look of so many updates."""


def check_sane(history: Sequence[dict[str, float]]) -> None:
    """Stop a training that has run away.

    Args:
        history: The looks so far, the latest last: ``step``, losses, and, of agents with Q-functions, ``q_abs_max`` and
            ``q_bound``.

    Raises:
        DivergedError: A number of the latest look is NaN or infinite, or |Q| is over 10 times its bound, or was over
            twice its bound at every look of the last 5,000 updates, or grew beyond its bound at every one of them.
    """
    line = history[-1]
    for name, value in line.items():
        if not math.isfinite(value):
            raise DivergedError(f"step {line['step']:.0f}: {name} is {value}; training has diverged")
    if "q_bound" not in line:
        return
    bound = max(line["q_bound"], 1e-6)
    steps = [int(one["step"]) for one in history]
    shares = [one["q_abs_max"] / bound for one in history]
    far = [share > FOR_LONG for share in shares]
    growing = [
        share > 1.0 and share > before for before, share in zip([0.0, *shares[:-1]], shares, strict=True)
    ]
    if shares[-1] > AT_ONCE:
        _stop(line, f"over {AT_ONCE:.0f} times")
    if _lasted(steps, far) >= WARM_UP:
        _stop(line, f"for {WARM_UP} updates more than {FOR_LONG:.0f} times")
    if _lasted(steps, growing) >= WARM_UP:
        _stop(line, f"for {WARM_UP} updates growing beyond")


def _lasted(steps: list[int], holds: list[bool]) -> int:
    """Updates between the latest look and the first of those, one after the other, at which something has held."""
    first = len(holds)
    while first and holds[first - 1]:
        first -= 1
    return steps[-1] - steps[first] if first < len(steps) else 0


def _stop(line: dict[str, float], how_far: str) -> None:
    raise DivergedError(
        f"step {line['step']:.0f}: |Q| reaches {line['q_abs_max']:.4g}, {how_far} the bound {line['q_bound']:.4g} = "
        f"max reward · reward_scale / (1 − gamma): lower gamma or the learning rates, or give the behaviour term more "
        f"weight"
    )
