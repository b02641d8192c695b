"""Studies that take seconds: a world of 80 items and sessions of 12 steps, agents of a few updates."""

from __future__ import annotations

from typing import Any

from gems_gym_agents.pipeline.study import (
    OfflineVariant,
    OnlineVariant,
    PartRecipe,
    PublishedReturn,
    RecordedWorld,
    Study,
    World,
)

WORLD: dict[str, Any] = {"num_items": 80, "slate_size": 5, "episode_length": 12}
SAC: dict[str, Any] = {"learning_starts": 100, "validate_every": 600, "net_arch": (16,), "batch_size": 32}
BELIEF = PartRecipe(name="belief", kind="belief/gru", sessions=60, settings={"batches": 10})
USERS: dict[str, int] = {
    "test_users": 30, "validation_users": 20, "constant_slate_sessions": 1_000, "plan_steps": 1,
}  # fmt: skip


def online_variant(name: str, ranker: PartRecipe, **changes: Any) -> OnlineVariant:
    settings = {"belief": BELIEF, "options": SAC, "steps": 1_800, "num_envs": 50, "published_as": "SAC+GeMS"}
    return OnlineVariant(name=name, description=f"{name} in brief", ranker=ranker, **(settings | changes))


GEMS = online_variant(
    "gems",
    PartRecipe(name="vae", kind="ranker/gems", sessions=60, search_sessions=1_024, settings={"batches": 10}),
)
TOPK_IDEAL = PartRecipe(name="topk_ideal", kind="ranker/topk", settings={"embeddings": "ideal"})
IDEAL = online_variant("ideal", TOPK_IDEAL, privileged=True)

ONLINE = Study(
    name="own",
    title="A tiny study",
    worlds=(World(name="small", preset="diffuse_topdown", overrides=WORLD),),
    variants=(GEMS, IDEAL),
    seeds=(0, 1),
    published=(
        PublishedReturn("SAC+GeMS", "diffuse_topdown", 12.5, "nowhere"),
        PublishedReturn("SAC+GeMS", "focused_mix", 99.0, "elsewhere"),
    ),
    **USERS,
)


def offline_study(dataset_id: str, agents: tuple[str, ...]) -> Study:
    return Study(
        name="offline",
        title="A tiny offline study",
        worlds=(
            RecordedWorld(
                name="small-medium", preset="diffuse_topdown", level="medium", dataset_id=dataset_id
            ),
        ),
        variants=tuple(
            OfflineVariant(
                name=f"{agent}_brief",
                description=agent,
                agent=agent,
                options={"steps_per_epoch": 10, "hidden_units": (16,)},
                steps=30,
            )
            for agent in agents
        ),
        seeds=(0, 1),
        **USERS,
    )
