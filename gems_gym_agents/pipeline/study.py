"""What a study is made of: worlds, recipes of beliefs and rankers, variants of agents, seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym.commands.output import plain
from gems_gym.common.checks import Count, Seed, check_fields, make_checked
from gems_gym.config import SlateConfig
from gems_gym.errors import unknown_name
from gems_gym.pretraining.recipes import Recipe, item_vector_recipe, trained_recipe
from gems_gym.registration import environment_id
from gems_gym.simulator import Catalog, resolve_world

_T = TypeVar("_T")


@dataclass(frozen=True)
class PublishedReturn:
    """A mean return reported by others.

    Attributes:
        policy: What it is called there.
        world: Preset whose world it is, on the catalogue published with the paper.
        clicks: Clicks per session.
        source: Where it stands.
    """

    policy: str
    world: str
    clicks: float
    source: str


@dataclass(frozen=True, kw_only=True)
class World:
    """A world of a study.

    Attributes:
        name: What it is called in folders and tables.
        preset: A preset's name.
        overrides: Fields of ``SlateConfig`` that differ from the preset's.
        catalog_hash: Hash of the catalogue that has to be given as a file; None: the world draws its own.
        item_embeddings: That file, once it is given.
        recipes_of: Preset whose settings agents have; None: its own.
    """

    name: str
    preset: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    catalog_hash: str | None = None
    item_embeddings: str | None = None
    recipes_of: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @cached_property
    def parameters(self) -> tuple[SlateConfig, Catalog]:
        """Its parameters and its items."""
        return resolve_world(self.preset, self.item_embeddings, dict(self.overrides))

    @property
    def spec(self) -> EnvSpec:
        """The slate environment's spec."""
        spec = deepcopy(gymnasium.spec(environment_id(self.preset)))
        own = {} if self.item_embeddings is None else {"item_embeddings": self.item_embeddings}
        spec.kwargs |= {**self.overrides, **own}
        return spec

    @property
    def settings(self) -> dict[str, Any]:
        """What results in it depend on."""
        overrides, catalog = dict(self.overrides), self.parameters[1]
        return {"env": environment_id(self.preset), "overrides": overrides, "catalog": catalog.hash}


@dataclass(frozen=True, kw_only=True)
class RecordedWorld:
    """A world as a dataset shows it.

    Attributes:
        name: What it is called in folders and tables.
        preset: The preset.
        level: Quality of the policy that was recorded.
        dataset_id: The Minari dataset, once it is known.
    """

    name: str
    preset: str
    level: str
    dataset_id: str = ""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def recipes_of(self) -> str:
        """The preset whose recipes are followed."""
        return self.preset


@dataclass(frozen=True, kw_only=True)
class PartRecipe:
    """How a study's belief or ranker is made in any of its worlds; what is not given is as in a preset of ours.

    Attributes:
        name: Of the recipe, in folders; variants that name the same one share what it made.
        kind: What is made: a trainer's kind, "belief/gru" or "ranker/gems", or a kind of ranker that is made of item
            embeddings, "ranker/topk".
        preset: One of the trainer's presets.
        sessions: Sessions logged.
        search_sessions: Sessions played before by logging policies that search.
        settings: Fields of the trainer's settings; or of a ranker of item embeddings their kind, ``embeddings``, and
            its ``options``.
    """

    name: str
    kind: str
    preset: str = "default"
    sessions: Count | None = None
    search_sessions: Count | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)

    def recipe(self, preset: str, seed: int) -> Recipe:
        """The recipe in a world with a seed.

        Args:
            preset: The world's preset.
            seed: Decides everything random.
        """
        if "embeddings" in self.settings:
            options = self.settings.get("options")
            recipe = item_vector_recipe(self.kind, self.settings["embeddings"], preset, options, seed=seed)
        else:
            recipe = trained_recipe(self.kind, preset, self.preset, seed=seed)
            recipe = replace(recipe, settings={**recipe.settings, **self.settings})
        given: dict[str, Any] = {"sessions": self.sessions, "search_sessions": self.search_sessions}
        return replace(recipe, **{name: value for name, value in given.items() if value is not None})


BELIEF = PartRecipe(name="belief", kind="belief/gru")
"""A GRU belief, pretrained by our defaults."""


@dataclass(frozen=True, kw_only=True)
class OnlineVariant:
    """An agent that learns from users, through a ranker and a belief of its own.

    Attributes:
        name: What it is called in folders and tables.
        description: For readers of the table.
        ranker: How its ranker is made.
        belief: How its belief is made.
        agent: A name in the entry-point group ``gems_gym.agents``.
        options: The agent's options, in place of those of its preset for the world.
        steps: Interactions.
        num_envs: Users in lockstep.
        privileged: Whether it holds privileged information.
        published_as: The policy of :data:`~gems_gym_agents.pipeline.studies.PUBLISHED` to stand beside.
    """

    name: str
    description: str
    ranker: PartRecipe
    belief: PartRecipe = BELIEF
    agent: str = "sac"
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Count = 200_000
    num_envs: Count = 100
    privileged: bool = False
    published_as: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class OfflineVariant:
    """An agent that learns from a dataset.

    Attributes:
        name: What it is called in folders and tables.
        description: For readers of the table.
        agent: A name in the entry-point group ``gems_gym.agents``.
        options: The agent's options, in place of those of its preset for the world.
        steps: Gradient updates.
    """

    name: str
    description: str
    agent: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Count = 20_000

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Every world with every variant and every seed.

    Attributes:
        name: What it is asked for by.
        title: For readers.
        worlds: All :class:`World` or all :class:`RecordedWorld`.
        variants: :class:`OnlineVariant` for the former, :class:`OfflineVariant` for the latter.
        seeds: Each decides everything random of its runs: logs, pretraining, agent, users met.
        test_users: Users of the test split (block 0) that all policies of the study are scored on.
        validation_users: Users that checkpoints are picked on.
        constant_slate_sessions: Sessions that the search for the best constant slate plays.
        published: What others reported for these worlds.

    Raises:
        ValueError: Two recipes with one name.
    """

    name: str
    title: str
    worlds: tuple[World, ...] | tuple[RecordedWorld, ...]
    variants: tuple[OnlineVariant, ...] | tuple[OfflineVariant, ...]
    seeds: tuple[Seed, ...]
    test_users: Count = 500
    validation_users: Count = 200
    constant_slate_sessions: Count = 1_000_000
    published: tuple[PublishedReturn, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        recipes: dict[str, PartRecipe] = {}
        for variant in self.variants:
            for recipe in (variant.belief, variant.ranker) if isinstance(variant, OnlineVariant) else ():
                if recipes.setdefault(recipe.name, recipe) != recipe:
                    raise ValueError(f"two recipes of the study {self.name!r} are called {recipe.name!r}")


def as_data(study: Study) -> dict[str, Any]:
    """A study in JSON types; :func:`study_of_data` makes it again."""
    data: dict[str, Any] = plain(asdict(study))
    return data


def study_of_data(given: Mapping[str, Any], known: Sequence[OnlineVariant | OfflineVariant] = ()) -> Study:
    """Make a study of JSON or TOML.

    Args:
        given: The fields of :class:`Study`. A world may be a preset's name; a variant may be the name of a known one.
        known: Variants that may be named.

    Raises:
        ValueError: An unknown or missing field, or a value out of its range; the text names it.
        TypeError: A value of a wrong type.
    """
    variants = {one.name: one for one in known}

    def world(one: Any) -> World | RecordedWorld:
        if isinstance(one, str):
            return World(name=one, preset=one)
        kind: Any = RecordedWorld if isinstance(one, Mapping) and "level" in one else World
        made: World | RecordedWorld = _made(kind, "a study's world", one)
        return made

    def variant(one: Any) -> OnlineVariant | OfflineVariant:
        if isinstance(one, str):
            if one not in variants:
                raise unknown_name("variant", one, variants)
            return variants[one]
        if not isinstance(one, Mapping) or "ranker" not in one:
            return _made(OfflineVariant, "a study's variant", one)
        parts = {
            part: _made(PartRecipe, f"a variant's {part}", one[part])
            for part in ("ranker", "belief")
            if part in one
        }
        return _made(OnlineVariant, "a study's variant", {**one, **parts})

    lists = {
        "worlds": tuple(world(one) for one in given.get("worlds", ())),
        "variants": tuple(variant(one) for one in given.get("variants", ())),
        "published": tuple(
            _made(PublishedReturn, "a published return", one) for one in given.get("published", ())
        ),
    }
    study = _made(Study, "a study", {**given, **lists, "seeds": tuple(given.get("seeds", ()))})
    recorded = {isinstance(one, RecordedWorld) for one in study.worlds}
    offline = {isinstance(one, OfflineVariant) for one in study.variants}
    if len(recorded) != 1 or recorded != offline or not study.seeds:
        raise ValueError(
            f"the study {study.name!r} requires seeds, worlds and variants: agents that learn from users with worlds, "
            f"or agents that learn from datasets with recorded worlds (those with a level)"
        )
    return study


def _made(kind: type[_T], what: str, given: Mapping[str, Any]) -> _T:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a table of fields, got {given!r:.200}")
    missing = [
        one.name
        for one in fields(kind)  # type: ignore[arg-type]
        if one.default is MISSING and one.default_factory is MISSING and one.name not in given
    ]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}: {dict(given)!r:.200}")
    return make_checked(kind, f"field of {what}:", given)
