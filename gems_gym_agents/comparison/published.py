"""Numbers that others published, and where: what a study's results stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PAPER = "Deffayet et al., WSDM 2023 (arXiv 2301.08632), text"
PAPER_TABLE = "Deffayet et al., WSDM 2023 (arXiv 2301.08632), a transcription of its table of results"
PROTOTYPE = "our prototype: about 200 s of hill climbing on the true relevances, 100 fresh users"


@dataclass(frozen=True)
class PublishedReturn:
    """A mean return reported by others.

    Attributes:
        policy: what it is called there.
        world: preset whose world it is, on the catalogue published with the paper.
        clicks: clicks per session.
        source: where it stands.
    """

    policy: str
    world: str
    clicks: float
    source: str


def _reported(policy: str, source: str, **clicks: float) -> list[PublishedReturn]:
    return [PublishedReturn(policy, f"focused_{world}", value, source) for world, value in clicks.items()]


PUBLISHED: tuple[PublishedReturn, ...] = (
    *_reported("short-term oracle", PAPER, topdown=107.7),
    *_reported("SAC+GeMS", PAPER, topdown=305.3),
    *_reported("SAC+GeMS", PAPER_TABLE, mix=242.6, divpen=254.1),
    *_reported("SAC+TopK (ideal)", PAPER_TABLE, topdown=429.0, mix=384.1, divpen=386.3),
    *_reported("SAC+TopK (MF)", PAPER_TABLE, topdown=254.4, mix=232.7, divpen=242.2),
    *_reported("best constant slate", PROTOTYPE, topdown=353.0, mix=305.0, divpen=323.0),
)


def published_return(
    reported: Sequence[PublishedReturn], policy: str | None, world: str
) -> PublishedReturn | None:
    """What was reported for a policy in a world, None if nothing was."""
    return next((one for one in reported if (one.policy, one.world) == (policy, world)), None)
