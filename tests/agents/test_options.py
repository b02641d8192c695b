"""Options that are no finite numbers are refused before anything is made with them."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from gems_gym_agents import online
from gems_gym_agents.online.options import SACOptions
from tests.agents.offline_agents import AGENTS

ONLINE = [getattr(online, name) for name in online.__all__ if name.endswith("Agent")]
KINDS = [kind.options_class for kind in (*AGENTS.values(), *ONLINE)]
NUMBERS = [
    (kind, field.name)
    for kind in KINDS
    for field in fields(kind)
    if type(field.default) in (int, float) or field.name in ("target_entropy", "grad_clip")
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=[f"{kind.__name__}.{name}" for kind, name in NUMBERS])
def test_numbers_that_are_not_finite(kind: type[Any], name: str, value: float) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{name}\b.*{value}"):
        kind(**{name: value})


def test_every_number_is_meant() -> None:
    assert (SACOptions, "target_entropy") in NUMBERS
    assert len(NUMBERS) > 120
