"""Recipes: all that the training of a ranker, a belief or item embeddings depends on, and how to follow one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from gems_gym import plugins
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.beliefs import BeliefEncoder
from gems_gym.config import preset_config
from gems_gym.embeddings import EmbeddingTable, Sources, make_embeddings
from gems_gym.embeddings.report import embedding_quality
from gems_gym.errors import unknown_name
from gems_gym.pretraining.belief_settings import BELIEF_PRESETS, BeliefSettings
from gems_gym.pretraining.gems_settings import GEMS_PRESETS, GemsSettings
from gems_gym.pretraining.gems_vae import pretrain_gems
from gems_gym.pretraining.gru_belief import pretrain_belief
from gems_gym.pretraining.presets import PretrainingPreset, as_recorded
from gems_gym.pretraining.session_log import SessionLog, collect_session_log, kept_session_log
from gems_gym.pretraining.training import Upkeep
from gems_gym.rankers import Ranker, TopKRanker, make_ranker
from gems_gym.rankers.gems import GemsDecoder, GemsRanker
from gems_gym.simulator import resolve_world

RANKER_LOGS = 2**18
"""Block of logging users for rankers: none that a belief's log with a seed below has."""

_SHIPPED_SEEDS = {"focused_topdown": 1}
"""Seeds of shipped rankers other than 0: of two, the one that SAC scored better through on validation users."""
Made: TypeAlias = Ranker | BeliefEncoder | EmbeddingTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a shipped artefact's training depends on.

    Attributes:
        kind: "ranker/gems", "ranker/gems_decoder", "ranker/topk", "belief/gru" or "embeddings/matrix_factorization".
        preset: The world.
        shares: Logging policies with their shares of the sessions; a list, as the order decides who logs which users,
            and JSON objects have none.
        sessions: Sessions logged.
        search_sessions: Sessions played before by the logging policies that search; None if there are none.
        session_length: Slates in a logged session; None: as many as in the world.
        log_seed: Block of logging users.
        seed: Of the training.
        settings: Fields of ``GemsSettings`` or ``BeliefSettings``, all of them; of TopK the kind of its item
            ``embeddings`` and its ``options``; none for item embeddings.
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
    """How a GeMS ranker is made for a world.

    Args:
        preset: The world.
        name: A member of :data:`~gems_gym.pretraining.gems_settings.GEMS_PRESETS`.
        seed: Of everything random.
    """
    return _preset_recipe("ranker/gems", preset, GEMS_PRESETS[name], RANKER_LOGS + seed, seed)


def belief_recipe(preset: str, name: str = "default", *, seed: int = 0) -> Recipe:
    """How a GRU belief is made for a world.

    Args:
        preset: The world.
        name: A member of :data:`~gems_gym.pretraining.belief_settings.BELIEF_PRESETS`.
        seed: Of everything random.
    """
    return _preset_recipe("belief/gru", preset, BELIEF_PRESETS[name], seed, seed)


def _preset_recipe(
    kind: str, preset: str, chosen: PretrainingPreset[Any], log_seed: int, seed: int
) -> Recipe:
    return Recipe(
        kind=kind,
        preset=preset,
        shares=[list(share) for share in chosen.shares.items()],
        sessions=chosen.sessions,
        search_sessions=chosen.search_sessions,
        log_seed=log_seed,
        seed=seed,
        settings=as_recorded(chosen.settings),
    )


def topk_recipe(preset: str, *, seed: int = 0) -> Recipe:
    """How a TopK ranker is made for a world: by cosine, of items that the same people click; nothing privileged."""
    return dataclasses.replace(
        _embedding_recipe("session_co_click", preset, seed),
        kind="ranker/topk",
        settings={"embeddings": "session_co_click", "options": {"cosine": True}},
    )


def _embedding_recipe(name: str, preset: str, seed: int) -> Recipe:
    """Item embeddings, from the log that their kind asks for."""
    log = plugins.load(plugins.EMBEDDINGS, name).log_recipe
    return Recipe(
        kind=f"embeddings/{name}",
        preset=preset,
        shares=[[log.policy, 1.0]],
        sessions=log.sessions,
        session_length=log.session_length,
        log_seed=RANKER_LOGS + seed,
        seed=seed,
        settings={},
    )


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


def follow(recipe: Recipe, *, unfinished: Unfinished | None = None, progress: bool = True) -> Made:
    """Log and train what a recipe describes; the result's header holds its metrics.

    Args:
        recipe: What to do.
        unfinished: Where the log and the training are kept, to resume from after an interruption; None: nowhere.
        progress: Whether to show progress bars on stderr.

    Raises:
        ValueError: A kind that there is no recipe for, or settings out of their ranges.
    """
    if recipe.kind not in _TRAINERS:
        raise unknown_name("kind of a recipe", recipe.kind, _TRAINERS)
    collect = functools.partial(
        collect_session_log,
        preset_config(recipe.preset),
        dict(recipe.shares),
        recipe.sessions,
        recipe.log_seed,
        search_sessions=recipe.search_sessions,
        session_length=recipe.session_length,
        progress=progress,
    )
    log = kept_session_log(unfinished, collect)
    return _TRAINERS[recipe.kind](recipe, log, Upkeep(unfinished=unfinished), progress)


def _gems(recipe: Recipe, log: SessionLog, upkeep: Upkeep, progress: bool) -> GemsRanker:
    size = preset_config(recipe.preset).num_items
    settings = GemsSettings(**recipe.settings)
    return pretrain_gems(log, size, settings, seed=recipe.seed, upkeep=upkeep, progress=progress)[0]


def _gems_decoder(recipe: Recipe, log: SessionLog, upkeep: Upkeep, progress: bool) -> GemsDecoder:
    return _gems(recipe, log, upkeep, progress).without_encoder()


def _belief(recipe: Recipe, log: SessionLog, upkeep: Upkeep, progress: bool) -> BeliefEncoder:
    size = preset_config(recipe.preset).num_items
    settings = BeliefSettings(**recipe.settings)
    return pretrain_belief(log, size, settings, seed=recipe.seed, upkeep=upkeep, progress=progress)[0]


def _topk(recipe: Recipe, log: SessionLog, upkeep: Upkeep, progress: bool) -> TopKRanker:
    table = _table(recipe.settings["embeddings"], recipe, log)
    ranker = make_ranker("topk", table, preset_config(recipe.preset).slate_size, **recipe.settings["options"])
    assert isinstance(ranker, TopKRanker)
    ranker.header |= {key: table.header[key] for key in ("metrics", "log")}
    return ranker


def _embeddings(recipe: Recipe, log: SessionLog, upkeep: Upkeep, progress: bool) -> EmbeddingTable:
    return _table(recipe.kind.partition("/")[2], recipe, log)


def _table(kind: str, recipe: Recipe, log: SessionLog) -> EmbeddingTable:
    """Item embeddings with what was measured of them."""
    config, catalog = resolve_world(recipe.preset, None)
    sources = Sources(config.num_items, catalog.hash, log)
    table = make_embeddings(kind, sources, seed=recipe.seed)
    quality = embedding_quality(table.vectors, catalog.item_embeddings, catalog.item_topics)
    return dataclasses.replace(table, header={**table.header, "metrics": dataclasses.asdict(quality)})


_TRAINERS: Mapping[str, Callable[[Recipe, SessionLog, Upkeep, bool], Made]] = MappingProxyType(
    {
        "ranker/gems": _gems,
        "ranker/gems_decoder": _gems_decoder,
        "ranker/topk": _topk,
        "belief/gru": _belief,
        "embeddings/matrix_factorization": _embeddings,
    }
)
