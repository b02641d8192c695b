"""Studies as data: which worlds, which variants of agents, which seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gems_gym.registration import LATENT_PRESETS
from gems_gym_agents.comparison.published import PUBLISHED, PublishedReturn

PUBLISHED_CATALOG_HASH = "212a266fbf9beec659614231a718faa9ea70dd2f1f8c7881c90312c5313f5444"
"""Hash of the catalogue published with arXiv 2301.08632 under the name *focused*. It is not ours to ship: a study on it
takes it as a file."""

EPS_GREEDY_LOG: Mapping[str, float] = {"eps_greedy_oracle": 1.0}
"""Who logs in arXiv 2301.08632."""

DATASETS = "gems-slate/{preset}/{level}-v0"
"""Ids of the datasets that recorded worlds are read from."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A world of a study.

    Attributes:
        name: what it is called in folders and tables.
        preset: a preset's name.
        overrides: fields of ``SlateConfig`` that differ from the preset's.
        catalog_hash: hash of the catalogue that has to be given as a file; None: the world draws its own.
        item_embeddings: that file, once it is given.
        recipes_of: preset whose recipes are followed (shipped rankers', beliefs', agents' presets); None: its own.
    """

    name: str
    preset: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    catalog_hash: str | None = None
    item_embeddings: str | None = None
    recipes_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedWorld:
    """A world as a dataset shows it.

    Attributes:
        name: what it is called in folders and tables.
        preset: the preset.
        level: quality of the policy that was recorded.
        dataset_id: the Minari dataset, once it is known.
    """

    name: str
    preset: str
    level: str
    dataset_id: str = ""

    @property
    def recipes_of(self) -> str:
        """The preset whose recipes are followed."""
        return self.preset


@dataclass(frozen=True, kw_only=True)
class BeliefRecipe:
    """How a belief is pretrained; what is not given is as in the shipped beliefs' recipe.

    Attributes:
        name: of the recipe, in folders; variants that name the same one share what it made.
        sessions: sessions logged.
        settings: fields of ``BeliefSettings``.
    """

    name: str = "belief"
    sessions: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GemsRecipe:
    """How a GeMS ranker is pretrained; what is not given is as in the shipped rankers' recipe.

    Attributes:
        name: of the recipe, in folders.
        shares: who logs (policy -> share of the sessions).
        sessions: sessions logged.
        settings: fields of ``GemsSettings``.
    """

    name: str = "gems"
    shares: Mapping[str, float] | None = None
    sessions: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ItemVectorRecipe:
    """A ranker that is made of item embeddings.

    Attributes:
        name: of the recipe, in folders.
        embeddings: their kind, a name in the entry-point group ``gems_gym.embeddings``.
        ranker: a name in the entry-point group ``gems_gym.rankers``.
        shares: who logs, where embeddings are learned from a log.
        sessions: sessions logged.
    """

    name: str
    embeddings: str
    ranker: str = "topk"
    shares: Mapping[str, float] = field(default_factory=lambda: EPS_GREEDY_LOG)
    sessions: int = 5_000


RankerRecipe = GemsRecipe | ItemVectorRecipe


@dataclass(frozen=True, kw_only=True)
class OnlineVariant:
    """An agent that learns from users, through a ranker and a belief of its own.

    Attributes:
        name: what it is called in folders and tables.
        description: for readers of the table.
        ranker: how its ranker is made.
        belief: how its belief is made.
        agent: a name in the entry-point group ``gems_gym.agents``.
        options: the agent's options, in place of those of its preset for the world.
        steps: interactions.
        num_envs: users in lockstep.
        privileged: whether it holds what no recommender could know.
        published_as: the policy of :data:`~gems_gym_agents.comparison.published.PUBLISHED` to stand beside.
    """

    name: str
    description: str
    ranker: RankerRecipe
    belief: BeliefRecipe = BeliefRecipe()
    agent: str = "sac"
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 400_000
    num_envs: int = 100
    privileged: bool = False
    published_as: str | None = None


@dataclass(frozen=True, kw_only=True)
class OfflineVariant:
    """An agent that learns from a dataset.

    Attributes:
        name: what it is called in folders and tables.
        description: for readers of the table.
        agent: a name in the entry-point group ``gems_gym.agents``.
        options: the agent's options, in place of those of its preset for the world.
        steps: gradient updates.
    """

    name: str
    description: str
    agent: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 20_000


@dataclass(frozen=True, kw_only=True)
class Study:
    """Every world with every variant and every seed.

    Attributes:
        name: what it is asked for by.
        title: for readers.
        worlds: all :class:`World` or all :class:`RecordedWorld`.
        variants: :class:`OnlineVariant` for the former, :class:`OfflineVariant` for the latter.
        seeds: each decides everything random of its runs: logs, pretraining, agent, users met.
        test_users: users of the test split (block 0) that all policies of the study are scored on.
        validation_users: users that checkpoints are picked on.
        constant_slate_sessions: sessions that the search for the best constant slate plays.
        published: what others reported for these worlds.

    Raises:
        ValueError: Two recipes with one name.
    """

    name: str
    title: str
    worlds: tuple[World, ...] | tuple[RecordedWorld, ...]
    variants: tuple[OnlineVariant, ...] | tuple[OfflineVariant, ...]
    seeds: tuple[int, ...]
    test_users: int = 500
    validation_users: int = 200
    constant_slate_sessions: int = 1_000_000
    published: tuple[PublishedReturn, ...] = ()

    def __post_init__(self) -> None:
        recipes: dict[str, BeliefRecipe | RankerRecipe] = {}
        for variant in self.variants:
            for recipe in (variant.belief, variant.ranker) if isinstance(variant, OnlineVariant) else ():
                if recipes.setdefault(recipe.name, recipe) != recipe:
                    raise ValueError(f"two recipes of the study {self.name!r} are called {recipe.name!r}")


SAC_GEMS_PUBLISHED = OnlineVariant(
    name="sac_gems_published",
    description="SAC+GeMS by the published recipe, as far as stable-baselines3 and a fifth of the interactions go",
    ranker=GemsRecipe(
        name="gems_published",
        shares=EPS_GREEDY_LOG,
        sessions=10_000,
        settings={
            "item_embeddings": "scratch",
            "frozen": False,
            "embedding_size": 20,
            "latent_size": 32,
            "beta": 1.0,
            "click_weight": 0.5,
            "batch_size": 256,
            "batches": 10_000,
            "learning_rate": 1e-3,
            "coordinates": "box",
            "deduplicate": False,
            "held_out": 0.1,
        },
    ),
    options={
        "gamma": 0.8,
        "initial_entropy": 1.0,
        "target_entropy": None,
        "net_arch": (256,),
        "layer_norm": False,
        "learning_rate": 1e-3,
        "tau": 0.002,
        # one update on 2,000 transitions after every 100 interactions, of 100 users one step instead of one user 100
        "batch_size": 2_000,
        "gradient_steps": 1,
        "learning_starts": 200_000,
        "buffer_size": 1_000_000,
        "reward_scale": 1.0,
        "validate_every": 100_000,
    },
    steps=2_000_000,
    published_as="SAC+GeMS",
)
SAC_GEMS = OnlineVariant(
    name="sac_gems",
    description="SAC+GeMS by our recipe: the defaults of every part",
    ranker=GemsRecipe(),
    published_as="SAC+GeMS",
)
SAC_TOPK_IDEAL = OnlineVariant(
    name="sac_topk_ideal",
    description="SAC+TopK on the simulator's own item embeddings, our SAC",
    ranker=ItemVectorRecipe(name="topk_ideal", embeddings="ideal"),
    privileged=True,
    published_as="SAC+TopK (ideal)",
)
SAC_TOPK_MF = OnlineVariant(
    name="sac_topk_mf",
    description="SAC+TopK on item embeddings by matrix factorisation of logged clicks, our SAC",
    ranker=ItemVectorRecipe(name="topk_mf", embeddings="matrix_factorization"),
    published_as="SAC+TopK (MF)",
)

_EVERY_2000 = {"steps_per_epoch": 2_000}

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
        variants=(SAC_GEMS_PUBLISHED, SAC_GEMS, SAC_TOPK_IDEAL, SAC_TOPK_MF),
        seeds=(0, 1, 2, 3, 4),
        published=PUBLISHED,
    ),
    Study(
        name="own",
        title="The six worlds on our own catalogues",
        worlds=tuple(World(name=name, preset=name) for name in LATENT_PRESETS),
        variants=(SAC_GEMS, SAC_TOPK_IDEAL, SAC_TOPK_MF),
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
)
STUDIES: Mapping[str, Study] = {study.name: study for study in _STUDIES}
"""The studies by name."""
