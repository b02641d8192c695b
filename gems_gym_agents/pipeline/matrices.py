"""The largest studies as data: every agent with every ranker in every world, and every agent on every dataset."""

from __future__ import annotations

from typing import Any

from gems_gym.registration import LATENT_PRESETS
from gems_gym_agents.pipeline.study import (
    OfflineVariant,
    OnlineVariant,
    PartRecipe,
    RecordedWorld,
    Study,
    World,
)

STEPS = 80_000
"""Interactions of each agent that learns from users."""

UPDATES = 2_000
"""Gradient updates of each agent that learns from a dataset. With these numbers a matrix takes a night on two cores;
docs/comparison.md has the sums."""

_VALIDATED = {"validate_every": 20_000}

_BELIEF = PartRecipe(name="belief_unprivileged", kind="belief/gru", preset="unprivileged")

LATENT_AGENTS = ("sac", "td3", "tqc", "crossq", "ppo", "reinforce_latent")
"""Agents that act through a ranker."""

SLATE_AGENTS = ("slateq", "reinforce_softmax")
"""Agents that see beliefs and show slates themselves."""

OFFLINE_AGENTS = ("bc", "td3_plus_bc", "iql", "rebrac", "offline_td3")
"""Agents that learn from datasets; the last one is a negative control. CQL would take longer than all
of them, and PLAS needs more updates."""


def _of_items(name: str, kind: str, **options: Any) -> PartRecipe:
    """A ranker of item embeddings that are learned without privileged information."""
    settings = {"embeddings": "session_co_click", "options": options}
    return PartRecipe(name=name, kind=f"ranker/{kind}", settings=settings)


RANKERS = {
    "gems": PartRecipe(name="gems", kind="ranker/gems"),
    "topk": _of_items("topk", "topk", cosine=True),
    "k_head": _of_items("k_head", "k_head_argmax"),
    "wknn": _of_items("wknn", "wknn"),
    "softmax": _of_items("softmax", "softmax", sample=True),
}
"""Rankers by the names that variants have them by. None uses privileged information, and softmax draws its slates."""

MATRICES = (
    Study(
        name="matrix",
        title="Agents and rankers",
        worlds=tuple(World(name=name, preset=name) for name in LATENT_PRESETS),
        variants=(
            *(
                OnlineVariant(
                    name=f"{agent}_{name}",
                    description=f"the agent `{agent}` through the ranker `{name}`",
                    agent=agent,
                    ranker=ranker,
                    belief=_BELIEF,
                    options=_VALIDATED,
                    steps=STEPS,
                )
                for agent in LATENT_AGENTS
                for name, ranker in RANKERS.items()
            ),
            *(
                OnlineVariant(
                    name=agent,
                    description=f"the agent `{agent}`, which shows slates itself",
                    agent=agent,
                    belief=_BELIEF,
                    options=_VALIDATED,
                    steps=STEPS,
                )
                for agent in SLATE_AGENTS
            ),
        ),
        seeds=(0, 1, 2, 3, 4),
    ),
    Study(
        name="matrix_offline",
        title="Agents and datasets",
        worlds=tuple(
            RecordedWorld(name=f"{preset}-{level}", preset=preset, level=level)
            for preset in LATENT_PRESETS
            for level in ("random", "medium", "expert", "mixed")
        ),
        variants=tuple(
            OfflineVariant(name=agent, description=f"the agent `{agent}`", agent=agent, steps=UPDATES)
            for agent in OFFLINE_AGENTS
        ),
        seeds=(0, 1, 2, 3, 4),
    ),
)
"""Both, see :data:`~gems_gym_agents.pipeline.studies.STUDIES`."""
