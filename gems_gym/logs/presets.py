"""Named forms of impression logs, as data: which columns mean what, and how a file of that form is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gems_gym.errors import unknown_name

Layout = Literal["rows", "lists"]

MEANINGS: dict[Layout, dict[str, str]] = {
    "rows": {
        "user": "who saw it",
        "session": "sessions as the log has them",
        "time": "when",
        "impression": "what rows of one slate share; if there is none, user, session and time",
        "position": "where in the slate; if there is none, the file's order",
        "item": "what was shown",
        "click": "0 or 1",
        "propensity": "probability that the item was shown there, in (0, 1]",
        "reward": "what showing it earned; if there is none, the click",
    },
    "lists": {
        "user": "who saw it",
        "session": "sessions as the log has them",
        "time": "when",
        "items": "what was shown, best slot first",
        "clicks": "0 or 1 for each item",
        "clicked": "the items that were clicked, instead of clicks",
        "pairs": "ITEM-CLICK for each item, instead of items and clicks",
        "propensity": "probability of each item in its slot, in (0, 1]",
        "reward": "what the slate earned; if there is none, the number of clicks",
    },
}
"""What columns can mean: of a log with a row for each shown item, and of one with a row for each impression."""

LARGEST_SLATE = 1000
"""Items of an impression, at most: slates are filled up to the largest."""

MILLISECONDS = {"s": 1000, "ms": 1, "us": 0.001}
"""Unit of times that are numbers -> what they are multiplied by."""


@dataclass(frozen=True)
class Preset:
    """A form of logs.

    Attributes:
        layout: A row for each shown item (``"rows"``), or for each impression (``"lists"``).
        columns: Meaning -> column of the file.
        optional: Meanings that a file may lack.
        separator: Between the columns of a text file; a tab in a ``.tsv`` file.
        header: The columns of a text file that has no first line with their names.
        time_unit: Of times that are numbers: ``"s"``, ``"ms"`` or ``"us"`` since 1970.
        time_format: Of times that are texts, as ``strftime`` has it; if None, ISO 8601.
        keep_slots: Whether each row is an impression, whose item stays in the slot of its position while the other
            slots are not known; otherwise positions order the items.
    """

    layout: Layout
    columns: Mapping[str, str]
    optional: tuple[str, ...] = ("session", "impression", "position", "propensity", "reward")
    separator: str = ","
    header: tuple[str, ...] = ()
    time_unit: str = "s"
    time_format: str | None = None
    keep_slots: bool = False

    def with_columns(self, columns: Mapping[str, str]) -> Preset:
        """The form with other columns, which a file then must have.

        Args:
            columns: Meaning -> column.

        Raises:
            ValueError: An unknown meaning; the nearest is named.
        """
        for meaning in columns:
            if meaning not in MEANINGS[self.layout]:
                raise unknown_name(
                    f"meaning of a column (layout {self.layout!r})", meaning, MEANINGS[self.layout]
                )
        if both := sorted(columns.keys() & _instead_of(columns)):
            raise ValueError(
                f"columns: {both[0]} can't be given beside {_beside(both[0], columns)}, which says the same"
            )
        kept = {name: column for name, column in self.columns.items() if name not in _instead_of(columns)}
        optional = tuple(one for one in self.optional if one not in columns)
        return dataclasses.replace(self, columns={**kept, **columns}, optional=optional)


_REPLACED = {
    "clicks": {"clicked", "pairs"},
    "clicked": {"clicks", "pairs"},
    "pairs": {"items", "clicks", "clicked"},
}
"""Meaning -> those that it says as well."""


def _beside(meaning: str, columns: Mapping[str, str]) -> str:
    return next(one for one in columns if meaning in _REPLACED.get(one, ()))


def _instead_of(columns: Mapping[str, str]) -> set[str]:
    """Meanings that others replace."""
    return {one for meaning in columns for one in _REPLACED.get(meaning, ())}


PRESETS: dict[str, Preset] = {
    "long": Preset(
        "rows",
        {
            "user": "user", "session": "session", "time": "timestamp", "impression": "impression",
            "position": "position", "item": "item", "click": "click", "propensity": "propensity",
            "reward": "reward",
        },
    ),
    "lists": Preset(
        "lists",
        {
            "user": "user", "session": "session", "time": "timestamp", "items": "items", "clicks": "clicks",
            "propensity": "propensity", "reward": "reward",
        },
    ),
    "finn": Preset(
        "lists",
        {"user": "userId", "session": "userId", "time": "step", "items": "slate", "clicked": "click"},
        optional=(),
    ),
    "ebnerd": Preset(
        "lists",
        {
            "user": "user_id", "session": "session_id", "time": "impression_time", "items": "article_ids_inview",
            "clicked": "article_ids_clicked",
        },
    ),
    "mind": Preset(
        "lists",
        {"user": "user", "time": "time", "pairs": "impressions"},
        separator="\t",
        header=("impression_id", "user", "time", "history", "impressions"),
        time_format="%m/%d/%Y %I:%M:%S %p",
    ),
    "rl4rs": Preset(
        "lists",
        {
            "user": "session_id", "session": "session_id", "time": "timestamp", "items": "exposed_items",
            "clicks": "user_feedback",
        },
        separator="@",
    ),
    "kuairand": Preset(
        "rows",
        {"user": "user_id", "time": "time_ms", "item": "video_id", "click": "is_click"},
        time_unit="ms",
    ),
    "obd": Preset(
        "rows",
        {
            "time": "timestamp", "item": "item_id", "position": "position", "click": "click",
            "propensity": "propensity_score",
        },
        optional=("propensity",),
        keep_slots=True,
    ),
}  # fmt: skip
"""The forms by name. docs/logs.md says where their files are published."""


def find_preset(name: str) -> Preset:
    """The form of a name.

    Raises:
        ValueError: There is none; the nearest is named.
    """
    if name not in PRESETS:
        raise unknown_name("preset of logs", name, PRESETS)
    return PRESETS[name]
