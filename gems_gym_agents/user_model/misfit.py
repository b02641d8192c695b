"""Whether a user model fits its users: what was found on sessions that it has not learned from."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from gems_gym.common.checks import Checked, Count, NonNegative

MOST_MISSED, MOST_OFF = 0.015, 0.15
"""A model misfits beyond these, see :class:`Misfit`: several times what models of the right form miss, well learned."""
_STANDARD_ERRORS = 3.0
"""By so many what is missed must be beyond its limit, so that chance does not do it."""
_NAMED = 3

WORDS = {
    "step": "the step of the session",
    "position": "the position",
    "above": "clicks above on the same slate",
    "before": "clicks on the slate before",
    "alike": "items of the same topic on the slate",
    "recent": "recent clicks on the topic",
    "most": "recent clicks on any one topic",
    "topic_age": "the time since a click on the topic",
    "item_age": "the time since a click on the item",
    "shown": "how often the item was shown before",
    "predicted": "the predicted probability",
    "item": "the item",
}
"""By what clicks are counted to find where a model is off, in words."""


@dataclass(frozen=True, kw_only=True)
class Misfit(Checked):
    """How much a user model misses of its users' clicks.

    The model is compared with a flexible one (:mod:`gems_gym_agents.user_model.flexible`), which is told the model's
    prediction and may correct it by anything in the session. Against a model that fits it has nothing to correct; so
    what it gains is what the model misses, be it that the form of the model is wrong, or that the fit has gone astray.

    Attributes:
        sessions: Held-out sessions that were looked at.
        by_position: Mean log-likelihood of a slot, if clicks depended on positions alone.
        by_model: The same by the user model.
        by_flexible: The same by the flexible model.
        missed: Share of what the flexible model knows of clicks, beyond positions, that the user model does not:
            (by_flexible − by_model) / (by_flexible − by_position).
        missed_error: Standard error of it, over sessions.
        explained: Share of the clicks' variance that the model's predictions explain.
        promised: The share that they would explain if they were right.
        off: By what clicks are counted (:data:`WORDS`) -> by how much predictions are off on average over its values,
            in mean clicks of a slot. What chance would do is subtracted.
    """

    sessions: Count
    by_position: float
    by_model: float
    by_flexible: float
    missed: float
    missed_error: NonNegative
    explained: float
    promised: float
    off: dict[str, Annotated[float, Ge(0)]]

    @property
    def found(self) -> bool:
        """Whether the model misfits: more is missed or off than :data:`MOST_MISSED`, surely, or :data:`MOST_OFF`."""
        surely = self.missed - _STANDARD_ERRORS * self.missed_error
        return surely > MOST_MISSED or max(self.off.values()) > MOST_OFF

    @property
    def text(self) -> str:
        """What was found, in a sentence or two."""
        what = (
            f"it misses {100 * max(self.missed, 0.0):.1f} % (± {200 * self.missed_error:.1f}) of what a flexible model "
            f"knows of clicks in {self.sessions:,} held-out sessions"
        )
        if not self.found:
            return f"the user model fits: {what}"
        worst = sorted(self.off, key=lambda name: -self.off[name])[:_NAMED]
        where = ", ".join(f"{WORDS[name]} ({100 * self.off[name]:.0f} %)" for name in worst)
        return (
            f"the user model does not fit these users: {what}; its predictions are off most by {where}. Users are of "
            f"another kind than it assumes, or learning has gone astray, which another seed or more "
            f"exploration_sessions would tell; slates planned by it may be poor"
        )
