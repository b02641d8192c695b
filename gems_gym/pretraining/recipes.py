"""Recipes: all that the training of a ranker, a belief or item embeddings depends on, and how to follow one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from gems_gym import plugins
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.beliefs import BeliefEncoder
from gems_gym.embeddings import EmbeddingKind, EmbeddingTable, Sources, make_embeddings
from gems_gym.embeddings.report import embedding_quality
from gems_gym.errors import unknown_name
from gems_gym.pretraining.session_log import SessionLog, collect_session_log, kept_session_log
from gems_gym.pretraining.trainers import Upkeep, as_recorded, settings_in, trained_kinds, trainer_of
from gems_gym.rankers import Ranker, make_ranker
from gems_gym.rankers.gems import GemsRanker
from gems_gym.simulator import Catalog, resolve_world
from gems_gym.simulator.catalog import own_embeddings
from gems_gym.user_splits import PIPELINE_SEEDS
from gems_gym.world_config import WorldConfig

RANKER_LOGS = PIPELINE_SEEDS
"""Block of logging users for rankers: none that a belief's log with a seed below has."""

_DECODER = "ranker/gems_decoder"
"""A GeMS ranker without its encoder: trained as one with."""

_SHIPPED_SEEDS = {"focused_topdown": 1}
"""Seeds of shipped rankers other than 0: of two, the one that SAC scored better through on validation users."""
Made: TypeAlias = Ranker | BeliefEncoder | EmbeddingTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the making of a ranker, a belief or item embeddings depends on.

    Attributes:
        kind: What is made: a trainer's kind ("ranker/gems", "belief/gru", or a plugin's), "ranker/gems_decoder", a kind
            of ranker that is made of item embeddings ("ranker/topk"), or of these ("embeddings/matrix_factorization").
        preset: The world.
        shares: Logging policies with their shares of the sessions; a list, as the order decides who logs which users,
            and JSON objects have none.
        sessions: Sessions logged; 0 if nothing is.
        search_sessions: Sessions played before by the logging policies that search; None if there are none.
        session_length: Slates in a logged session; None: as many as in the world.
        log_seed: Block of logging users.
        seed: Seed of the training.
        settings: Fields of the trainer's settings, all of them; of a ranker of item embeddings their kind,
            ``embeddings``, and its ``options``; none for item embeddings.
    """

    kind: str
    preset: str
    shares: list[list[Any]]
    sessions: int
    search_sessions: int | None = None
    session_length: int | None = None
    log_seed: int
    seed: int
    settings: dict[str, Any]


def gems_recipe(preset: str, name: str = "default", *, seed: int = 0) -> Recipe:
    """How a GeMS ranker is made for a world; arguments as of :func:`trained_recipe`."""
    return trained_recipe("ranker/gems", preset, name, seed=seed)


def belief_recipe(preset: str, name: str = "default", *, seed: int = 0) -> Recipe:
    """How a GRU belief is made for a world; arguments as of :func:`trained_recipe`."""
    return trained_recipe("belief/gru", preset, name, seed=seed)


def trained_recipe(
    kind: str, preset: str, name: str = "default", *, seed: int = 0, config: WorldConfig | None = None
) -> Recipe:
    """How a ranker or a belief is trained for a world.

    Args:
        kind: What is made, e.g. "ranker/gems".
        preset: The world.
        name: One of the trainer's presets, e.g. of :data:`~gems_gym.pretraining.gems.GEMS_PRESETS`.
        seed: Seed of everything random.
        config: The world's parameters, if they are not the preset's: settings are the trainer's as far as these allow
            them, see :func:`~gems_gym.pretraining.trainers.settings_in`.

    Raises:
        ValueError: An unknown kind or name.
    """
    presets = trainer_of(kind).presets
    if name not in presets:
        raise unknown_name(f"preset of the {kind.replace('/', ' ')}:", name, presets)
    chosen = presets[name]
    settings = chosen.settings
    if config is not None:
        settings = settings_in(settings, config.num_items, config.slate_size)
    return Recipe(
        kind=kind,
        preset=preset,
        shares=[list(share) for share in chosen.shares.items()],
        sessions=chosen.sessions,
        search_sessions=chosen.search_sessions,
        log_seed=_log_seed(kind, seed),
        seed=seed,
        settings=as_recorded(settings),
    )


def item_vector_recipe(
    kind: str, embeddings: str, preset: str, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Recipe:
    """How a ranker that needs no training is made of item embeddings, logged for as their kind asks.

    Args:
        kind: What is made, e.g. "ranker/topk".
        embeddings: Kind of the item embeddings, a name in the entry-point group ``gems_gym.embeddings``.
        preset: The world.
        options: The ranker's.
        seed: Seed of everything random.
    """
    settings = {"embeddings": embeddings, "options": dict(options or {})}
    return dataclasses.replace(_embedding_recipe(embeddings, preset, seed), kind=kind, settings=settings)


def topk_recipe(preset: str, *, seed: int = 0) -> Recipe:
    """How a TopK ranker is made for a world: by cosine, of items that the same people click; nothing privileged."""
    return item_vector_recipe("ranker/topk", "session_co_click", preset, {"cosine": True}, seed=seed)


def _embedding_recipe(name: str, preset: str, seed: int) -> Recipe:
    """Item embeddings, from the log that their kind asks for, if it does."""
    embeddings: EmbeddingKind = plugins.load(plugins.EMBEDDINGS, name)
    log = embeddings.log_recipe if embeddings.needs == "log" else None
    kind = f"embeddings/{name}"
    return Recipe(
        kind=kind,
        preset=preset,
        shares=[] if log is None else [[log.policy, 1.0]],
        sessions=0 if log is None else log.sessions,
        session_length=None if log is None else log.session_length,
        log_seed=_log_seed(kind, seed),
        seed=seed,
        settings={},
    )


def _log_seed(kind: str, seed: int) -> int:
    """Rankers and item embeddings learn from other users than beliefs."""
    return seed if kind.startswith("belief/") else RANKER_LOGS + seed


def shipped_recipes(presets: Sequence[str]) -> dict[str, Recipe]:
    """Name -> recipe of what is shipped for some worlds: three rankers, a belief and item embeddings for each.

    The published GeMS recipe is there for comparison; to save space it is shipped without its encoder.
    """
    recipes = {}
    for preset in presets:
        published = gems_recipe(preset, "published")
        recipes[f"gems-{preset}"] = gems_recipe(preset, seed=_SHIPPED_SEEDS.get(preset, 0))
        recipes[f"gems_published-{preset}"] = dataclasses.replace(published, kind="ranker/gems_decoder")
        recipes[f"gru-{preset}"] = belief_recipe(preset)
        recipes[f"topk-{preset}"] = topk_recipe(preset)
        recipes[f"mf-{preset}"] = _embedding_recipe("matrix_factorization", preset, 0)
    return recipes


def follow(
    recipe: Recipe,
    *,
    world: tuple[WorldConfig, Catalog] | None = None,
    unfinished: Unfinished | None = None,
    progress: bool = True,
) -> Made:
    """Log and train what a recipe describes; the result's header holds its metrics.

    Args:
        recipe: What to do.
        world: Parameters and catalogue, where they are not those of the recipe's preset.
        unfinished: Where the log and the training are kept, to resume from after an interruption; None: nowhere.
        progress: Whether to show progress bars on stderr.

    Raises:
        ValueError: A kind that there is no recipe for, or settings out of their ranges.
    """
    of_item_vectors = recipe.kind.startswith("embeddings/") or "embeddings" in recipe.settings
    trained_kind = "ranker/gems" if recipe.kind == _DECODER else recipe.kind
    if not of_item_vectors and trained_kind not in trained_kinds():
        raise unknown_name("kind of a recipe", recipe.kind, [*trained_kinds(), _DECODER])
    config, catalog = world or resolve_world(recipe.preset, None)
    collect = functools.partial(
        collect_session_log,
        config,
        dict(recipe.shares),
        recipe.sessions,
        recipe.log_seed,
        search_sessions=recipe.search_sessions,
        session_length=recipe.session_length,
        item_embeddings=None if world is None else own_embeddings(config, catalog),
        progress=progress,
    )
    log = kept_session_log(unfinished, collect) if recipe.shares else None
    if of_item_vectors:
        return _of_item_vectors(recipe, log, config, catalog)
    assert log is not None  # every preset of a trainer logs
    trainer = trainer_of(trained_kind)
    settings = type(trainer.presets["default"].settings)(**recipe.settings)
    made: Made = trainer.train(
        log,
        config.num_items,
        settings,
        seed=recipe.seed,
        progress=progress,
        upkeep=Upkeep(unfinished=unfinished),
    )[0]
    return made.without_encoder() if recipe.kind == _DECODER and isinstance(made, GemsRanker) else made


def metrics_of(made: Made) -> dict[str, Any]:
    """What was measured of something that :func:`follow` made; empty for a plugin's part without a header."""
    return dict(getattr(made, "header", {}).get("metrics", {}))


def modules_of(recipe: Recipe) -> set[str]:
    """The modules that do what a recipe describes, for :func:`gems_gym.common.fingerprints.code_fingerprint`."""
    family, _, name = recipe.kind.partition("/")
    found = {"gems_gym.pretraining.session_log"} if recipe.shares else set()
    found |= {plugins.module_of(plugins.POLICIES, policy) for policy, _ in recipe.shares}
    if "embeddings" in recipe.settings:
        found.add(plugins.module_of(plugins.EMBEDDINGS, recipe.settings["embeddings"]))
        return found | {plugins.module_of(plugins.RANKERS, name)}
    if family == "embeddings":
        return found | {plugins.module_of(plugins.EMBEDDINGS, name)}
    trained = "ranker.gems" if recipe.kind == _DECODER else f"{family}.{name}"
    return found | {plugins.module_of(plugins.TRAINERS, trained)}


def _of_item_vectors(
    recipe: Recipe, log: SessionLog | None, config: WorldConfig, catalog: Catalog
) -> EmbeddingTable | Ranker:
    """Item embeddings with what was measured of them, or a ranker that is made of them."""
    family, _, name = recipe.kind.partition("/")
    sources = Sources(config.num_items, catalog.hash, log, catalog.item_embeddings)
    made = make_embeddings(recipe.settings.get("embeddings", name), sources, seed=recipe.seed)
    quality = embedding_quality(made.vectors, catalog.item_embeddings, catalog.item_topics)
    header = {**made.header, "metrics": dataclasses.asdict(quality)}
    if family == "embeddings":
        return dataclasses.replace(made, header=header)
    ranker: Any = make_ranker(name, made, config.slate_size, **recipe.settings["options"])
    ranker.header |= {key: header[key] for key in ("metrics", "log") if key in header}
    return cast("EmbeddingTable | Ranker", ranker)
