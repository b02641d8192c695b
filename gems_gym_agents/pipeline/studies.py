"""The studies as data: which worlds, which variants of agents, which seeds."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gems_gym.registration import LATENT_PRESETS
from gems_gym_agents.pipeline.matrices import MATRICES
from gems_gym_agents.pipeline.study import (
    OfflineVariant,
    OnlineVariant,
    PartRecipe,
    PublishedReturn,
    RecordedWorld,
    Study,
    World,
    study_of_data,
)
from gems_gym_agents.user_model.options import SEARCH_STEPS

PUBLISHED_CATALOG_HASH = "212a266fbf9beec659614231a718faa9ea70dd2f1f8c7881c90312c5313f5444"
"""Hash of the catalogue published with arXiv 2301.08632 under the name *focused*. It is not ours to ship: a study on it
takes it as a file."""

DATASETS = "gems-slate/{preset}/{level}-v0"
"""Ids of the datasets that recorded worlds are read from."""


PAPER = "Deffayet et al., WSDM 2023 (arXiv 2301.08632), text"
PAPER_TABLE = "Deffayet et al., WSDM 2023 (arXiv 2301.08632), a transcription of its table of results"
PROTOTYPE = "our prototype: about 200 s of hill climbing on the true relevances, 100 fresh users"


def _reported(policy: str, source: str, **clicks: float) -> list[PublishedReturn]:
    return [PublishedReturn(policy, f"focused_{world}", value, source) for world, value in clicks.items()]


PUBLISHED: tuple[PublishedReturn, ...] = (
    *_reported("short-term oracle", PAPER, topdown=107.7),
    *_reported("SAC+GeMS", PAPER, topdown=305.3),
    *_reported("SAC+GeMS", PAPER_TABLE, mix=242.6, divpen=254.1),
    *_reported("SAC+TopK (ideal)", PAPER_TABLE, topdown=429.0, mix=384.1, divpen=386.3),
    *_reported("SAC+TopK (MF)", PAPER_TABLE, topdown=254.4, mix=232.7, divpen=242.2),
    *_reported("REINFORCE+SoftMax", PAPER_TABLE, topdown=248.1, mix=233.5, divpen=249.1),
    *_reported("best constant slate", PROTOTYPE, topdown=353.0, mix=305.0, divpen=323.0),
)
"""What others reported: results stand beside it."""


def _topk(name: str, embeddings: str, **options: Any) -> PartRecipe:
    return PartRecipe(name=name, kind="ranker/topk", settings={"embeddings": embeddings, "options": options})


_GEMS = PartRecipe(name="gems", kind="ranker/gems")

SAC_GEMS_PUBLISHED = OnlineVariant(
    name="sac_gems_published",
    description="SAC+GeMS with a ranker by the published recipe (ε-greedy oracle's log, β 1, duplicates), our SAC",
    ranker=PartRecipe(name="gems_published", kind="ranker/gems", preset="published"),
    published_as="SAC+GeMS",
)
SAC_GEMS = OnlineVariant(
    name="sac_gems",
    description="SAC+GeMS by our recipe: the defaults of every part",
    ranker=_GEMS,
    published_as="SAC+GeMS",
)
_UNPRIVILEGED_BELIEF = PartRecipe(name="belief_unprivileged", kind="belief/gru", preset="unprivileged")
_EIGHT_STARTS = {"gamma": 0.9, "hold_random_actions": True, "starts": 8}
SAC_GEMS_EIGHT_STARTS = OnlineVariant(
    name="sac_gems_eight_starts",
    description="SAC+GeMS by our recipe, with a belief logged without privileged information, and SAC from eight "
    "starts",
    belief=_UNPRIVILEGED_BELIEF,
    ranker=_GEMS,
    options=_EIGHT_STARTS,
    steps=300_000,
    published_as="SAC+GeMS",
)
SAC_TOPK_IDEAL = OnlineVariant(
    name="sac_topk_ideal",
    description="SAC+TopK on the simulator's own item embeddings, our SAC",
    ranker=_topk("topk_ideal", "ideal"),
    privileged=True,
    published_as="SAC+TopK (ideal)",
)
SAC_TOPK_MF = OnlineVariant(
    name="sac_topk_mf",
    description="SAC+TopK on item embeddings by matrix factorisation of logged clicks, our SAC",
    ranker=_topk("topk_mf", "matrix_factorization"),
    published_as="SAC+TopK (MF)",
)
SAC_TOPK_CO_CLICK = OnlineVariant(
    name="sac_topk_co_click",
    description="SAC+TopK by cosine on embeddings from which items the same people click in short sessions of random "
    "slates, with a belief logged without privileged information, and SAC from eight starts",
    belief=_UNPRIVILEGED_BELIEF,
    ranker=_topk("topk_co_click", "session_co_click", cosine=True),
    options=_EIGHT_STARTS,
    steps=300_000,
    published_as="SAC+TopK (MF)",
)

REINFORCE_SOFTMAX = OnlineVariant(
    name="reinforce_softmax",
    description="REINFORCE with slates drawn from a softmax over items, with a belief logged without privileged "
    "information",
    belief=_UNPRIVILEGED_BELIEF,
    agent="reinforce_softmax",
    options={"validate_every": 100_000},
    steps=2_000_000,
    published_as="REINFORCE+SoftMax",
)
SLATEQ = OnlineVariant(
    name="slateq",
    description="SlateQ with a click model learned beside it, with a belief logged without privileged information",
    belief=_UNPRIVILEGED_BELIEF,
    agent="slateq",
    steps=300_000,
)
SAC_WKNN = OnlineVariant(
    name="sac_wknn",
    description="SAC+WkNN: for each position the critic chooses among the items nearest to what SAC asks for, on the "
    "embeddings of sac_topk_co_click, with a belief logged without privileged information",
    belief=_UNPRIVILEGED_BELIEF,
    ranker=PartRecipe(name="wknn_co_click", kind="ranker/wknn", settings={"embeddings": "session_co_click"}),
    agent="wolpertinger_sac",
    steps=300_000,
)

SAC_TOPK_CO_CLICK_ONE_START = replace(
    SAC_TOPK_CO_CLICK,
    name="sac_topk_co_click_one_start",
    description="sac_topk_co_click with one start of SAC instead of eight",
    options=_EIGHT_STARTS | {"starts": 1},
    published_as=None,
)
PLANNER = OnlineVariant(
    name="planner",
    description="a planner on a user model learned from clicks, acting in slates. It sees slates and clicks only, and "
    "all its numbers come from them; but it is a grey box: the form of its equations is that of the family of "
    "simulators, which it is told (logistic relevance times propensity, topics as blocks, drift, boredom rule, penalty "
    "of monotonous slates)",
    belief=None,
    agent="planner",
    steps=SEARCH_STEPS,
    num_envs=1_000,
)

WORLD_MODEL_PLANNER = OnlineVariant(
    name="world_model_planner",
    description="a planner on a recurrent world model of clicks, acting in slates. It sees slates and clicks only, and "
    "is a black box: it is told nothing of the simulators' equations, but that items which the same people click may "
    "tire users together, that recent clicks count, and that positions and the rest of a slate may matter",
    belief=None,
    agent="world_model_planner",
    steps=SEARCH_STEPS,
    num_envs=1_280,
)

_SAC = (SAC_GEMS, SAC_GEMS_EIGHT_STARTS, SAC_TOPK_CO_CLICK, SAC_TOPK_IDEAL, SAC_TOPK_MF)
_PLANNERS = (PLANNER, WORLD_MODEL_PLANNER)

_EVERY_2000 = {"steps_per_epoch": 2_000}

_VARIATIONS: dict[str, dict[str, Any]] = {
    "fast_drift": {"preset": "focused_mix", "overrides": {"omega": 0.8}},
    "slow_drift": {"preset": "diffuse_topdown", "overrides": {"omega": 0.98}},
    "soon_bored": {
        "preset": "diffuse_mix",
        "overrides": {"boredom_threshold": 3, "boredom_moving_window": 8, "boredom_timeout": 3},
    },
    "long_bored": {
        "preset": "focused_topdown",
        "overrides": {
            "boredom_threshold": 7,
            "boredom_moving_window": 3,
            "boredom_timeout": 10,
            "recent_items_maxlen": 15,
        },
    },
    # more than are remembered
    "never_bored": {
        "preset": "focused_mix",
        "overrides": {"boredom_threshold": 11},
    },
    "gentle_slope": {"preset": "diffuse_topdown", "overrides": {"relevance_slope": 20.0}},
    "low_offset": {"preset": "focused_mix", "overrides": {"relevance_offset": 0.2}},
    "high_offset": {"preset": "focused_topdown", "overrides": {"relevance_offset": 0.32}},
    "slates_of_5": {"preset": "diffuse_mix", "overrides": {"slate_size": 5}},
    "slates_of_20": {"preset": "focused_topdown", "overrides": {"slate_size": 20}},
    "items_300": {"preset": "focused_mix", "overrides": {"num_items": 300}},
    "items_10000": {"preset": "diffuse_topdown", "overrides": {"num_items": 10_000}},
    "topics_5_of_4": {"preset": "diffuse_mix", "overrides": {"num_topics": 5, "topic_size": 4}},
    # with the usual offset users with so many topics would click next to nothing
    "topics_20": {"preset": "focused_topdown", "overrides": {"num_topics": 20, "relevance_offset": 0.2}},
    "top_only": {"preset": "diffuse_topdown", "overrides": {"click_propensity": 0.7}},
    "both_ends": {"preset": "focused_mix", "overrides": {"click_propensity": 0.95}},
    "pairs_penalised": {
        "preset": "focused_divpen",
        "overrides": {"diversity_threshold": 2, "diversity_penalty": 1.5},
    },
    "version_1": {"preset": "focused_mix", "version": 1},
    "version_1_divpen": {"preset": "diffuse_divpen", "version": 1},
}
"""Worlds of the study *variations*: a preset, and what differs from it."""

_REWARDS: dict[str, dict[str, Any]] = {
    "raw": {"reward_scale": 1.0},
    "tenth": {"reward_scale": 0.1},
    "standardised": {"reward_scaler": "standard", "reward_scale": 1.0},
}
"""How rewards are scaled in the study *q_values*."""


def _td3_plus_bc(gamma: float, alpha: float, rewards: str) -> OfflineVariant:
    return OfflineVariant(
        name=f"gamma{100 * gamma:.0f}_alpha{alpha:g}_{rewards}",
        description=f"TD3+BC with γ {gamma}, α {alpha:g} (a larger one imitates less) and rewards {rewards}",
        agent="td3_plus_bc",
        options={"gamma": gamma, "alpha": alpha, **_REWARDS[rewards], **_EVERY_2000},
        steps=100_000,
    )


_STUDIES = (
    Study(
        name="published",
        title="On the published catalogue, beside the published numbers",
        worlds=tuple(
            World(
                name=f"focused_{clicks}",
                preset=f"focused_{clicks}",
                catalog_hash=PUBLISHED_CATALOG_HASH,
                recipes_of=f"diffuse_{clicks}",  # whose statistics the published file named *focused* has
            )
            for clicks in ("topdown", "mix", "divpen")
        ),
        variants=(*_SAC, SAC_GEMS_PUBLISHED, REINFORCE_SOFTMAX, SLATEQ, SAC_WKNN, *_PLANNERS),
        seeds=(0, 1, 2, 3, 4),
        published=PUBLISHED,
    ),
    Study(
        name="own",
        title="The six worlds on our own catalogues",
        worlds=tuple(World(name=name, preset=name) for name in LATENT_PRESETS),
        variants=(*_SAC, *_PLANNERS),
        seeds=(0, 1, 2, 3, 4),
    ),
    Study(
        name="variations",
        title="Worlds with other numbers",
        worlds=tuple(World(name=name, **world) for name, world in _VARIATIONS.items()),
        variants=(SAC_TOPK_CO_CLICK_ONE_START, *_PLANNERS),
        seeds=(0, 1, 2),
    ),
    Study(
        name="sardine",
        title="The slate tasks of SARDINE",
        worlds=tuple(
            World(name=name, preset=f"SlateTopK-{name}") for name in ("Bored", "BoredInf", "Uncertain")
        ),
        variants=(SAC_TOPK_CO_CLICK_ONE_START, SAC_TOPK_IDEAL, *_PLANNERS),
        seeds=(0, 1, 2, 3, 4),
    ),
    Study(
        name="offline",
        title="Learning from datasets",
        worlds=tuple(
            RecordedWorld(name=f"diffuse_topdown-{level}", preset="diffuse_topdown", level=level)
            for level in ("medium", "expert")
        ),
        variants=(
            OfflineVariant(name="bc", description="behaviour cloning", agent="bc", options=_EVERY_2000),
            OfflineVariant(
                name="td3_plus_bc", description="TD3+BC", agent="td3_plus_bc", options=_EVERY_2000
            ),
            OfflineVariant(name="iql", description="implicit Q-learning", agent="iql", options=_EVERY_2000),
        ),
        seeds=(0, 1, 2),
    ),
    Study(
        name="q_values",
        title="When Q-values explode: TD3+BC's discount, weight of imitation, and scale of rewards",
        worlds=(RecordedWorld(name="diffuse_topdown-medium", preset="diffuse_topdown", level="medium"),),
        variants=tuple(
            _td3_plus_bc(gamma, alpha, rewards)
            for gamma in (0.8, 0.95, 0.99)
            for alpha in (0.5, 2.5, 5.0, 10.0)
            for rewards in _REWARDS
        ),
        seeds=(0,),
    ),
)
STUDIES: Mapping[str, Study] = {study.name: study for study in (*_STUDIES, *MATRICES)}
"""The studies by name."""


def read_study(file: Path) -> Study:
    """A study from a TOML file, see :func:`~gems_gym_agents.pipeline.study.study_of_data`.

    Our variants may be named in it, but those of the matrices, which are made of names already.

    Raises:
        FileNotFoundError: No file.
        ValueError: No TOML, or not a study; the text names the file and the field.
    """
    try:
        given = tomllib.loads(file.read_text("utf-8"))
        return study_of_data(given, [variant for study in _STUDIES for variant in study.variants])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error
