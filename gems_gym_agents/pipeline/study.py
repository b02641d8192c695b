"""A study as data: worlds, agents with the recipes of their rankers and beliefs, and random seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym import plugins
from gems_gym.commands.output import plain
from gems_gym.common.checks import Checked, Count, check_fields, make_checked
from gems_gym.errors import unknown_name
from gems_gym.policies.base import observed_by
from gems_gym.pretraining.recipes import Recipe, item_vector_recipe, trained_recipe
from gems_gym.pretraining.trainers import trained_kinds, trainer_of
from gems_gym.registration import Version, environment_id
from gems_gym.simulator import Catalog, resolve_world
from gems_gym.user_splits import PipelineSeed
from gems_gym.world_config import WorldConfig
from gems_gym_agents.user_model.options import SEARCH_STEPS

_T = TypeVar("_T")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class PublishedReturn:
    """A mean return reported by others.

    Attributes:
        policy: The policy's name in that publication.
        world: A preset's name; the catalogue is the one published with the paper.
        clicks: Mean clicks per session.
        source: The publication, and its table.
    """

    policy: str
    world: str
    clicks: float
    source: str


@dataclass(frozen=True, kw_only=True)
class World(Checked):
    """A simulated world, in which agents learn online.

    Attributes:
        name: Its name in folders and tables.
        preset: The preset that it starts from.
        version: Version of the dynamics, 0 or 1, as in environments' ids.
        overrides: Fields of ``SlateConfig`` that differ from the preset's.
        catalog_hash: Hash of the catalogue that must be given as a file; None if the world draws its own items.
        item_embeddings: Path of that file; None until :func:`~gems_gym_agents.pipeline.running.on_this_machine` fills
            it in.
        recipes_of: Preset that recipes and agents take their settings from; None for ``preset``.
    """

    name: str
    preset: str
    version: Version = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    catalog_hash: str | None = None
    item_embeddings: str | None = None
    recipes_of: str | None = None

    @cached_property
    def parameters(self) -> tuple[WorldConfig, Catalog]:
        """The simulator's parameters, and the catalogue."""
        overrides = {"dynamics_version": self.version, **self.overrides}
        return resolve_world(self.preset, self.item_embeddings, overrides)

    @property
    def spec(self) -> EnvSpec:
        """Spec of the slate environment, overrides included."""
        spec = deepcopy(gymnasium.spec(environment_id(self.preset, self.version)))
        own = {} if self.item_embeddings is None else {"item_embeddings": self.item_embeddings}
        spec.kwargs |= {**self.overrides, **own}
        return spec

    @property
    def settings(self) -> dict[str, Any]:
        """What identifies the world in the key of a run: environment id, overrides and hash of the catalogue."""
        overrides, catalog = dict(self.overrides), self.parameters[1]
        env = environment_id(self.preset, self.version)
        return {"env": env, "overrides": overrides, "catalog": catalog.hash}


@dataclass(frozen=True, kw_only=True)
class RecordedWorld(Checked):
    """A dataset of one world, from which agents learn offline.

    Attributes:
        name: Its name in folders and tables.
        preset: The world's preset.
        level: How good the recorded policy is: "random", "medium", "expert" or "mixed".
        dataset_id: Id of the Minari dataset; empty until :func:`~gems_gym_agents.pipeline.running.on_this_machine`
            fills it in.
    """

    name: str
    preset: str
    level: str
    dataset_id: str = ""

    @property
    def recipes_of(self) -> str:
        """Preset that agents take their settings from, as in :class:`World`."""
        return self.preset


@dataclass(frozen=True, kw_only=True)
class PartRecipe(Checked):
    """How a belief or a ranker is made, without the world and the seed; :meth:`recipe` adds both.

    Attributes:
        name: Its name in folders. Variants whose recipes have the same name share the belief or ranker.
        kind: What is made. Either it is trained, e.g. "belief/gru" or "ranker/gems", or it is a ranker built on item
            embeddings, e.g. "ranker/topk".
        preset: Which of the trainer's presets supplies what is not given here. Not a world's preset.
        sessions: Sessions logged; None for the preset's number.
        search_sessions: Sessions that the logging policies' search for good slates plays beforehand; None for the
            preset's number.
        settings: For a trained kind, fields of the trainer's settings. For a ranker built on item embeddings,
            ``embeddings`` (their kind) and ``options`` (of the ranker).
    """

    name: str
    kind: str
    preset: str = "default"
    sessions: Count | None = None
    search_sessions: Count | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, preset: str, seed: int, config: WorldConfig | None = None) -> Recipe:
        """The complete recipe for one world and one seed.

        Args:
            preset: The world's preset.
            seed: Random seed of everything.
            config: The world's parameters: the trainer's preset is used as far as they allow it. What
                :attr:`settings` name stays as it is.
        """
        if "embeddings" in self.settings:
            options = self.settings.get("options")
            recipe = item_vector_recipe(self.kind, self.settings["embeddings"], preset, options, seed=seed)
        else:
            if self.kind not in trained_kinds():
                raise ValueError(
                    f"{self.kind!r} of the recipe {self.name!r} is not trained: settings must name the embeddings that "
                    "it is made of, such as settings = {embeddings = 'matrix_factorization'}"
                )
            recipe = trained_recipe(self.kind, preset, self.preset, seed=seed, config=config)
            kind: Any = type(trainer_of(self.kind).presets[self.preset].settings)
            make_checked(kind, f"setting of the recipe {self.name!r}:", {**recipe.settings, **self.settings})
            recipe = replace(recipe, settings={**recipe.settings, **self.settings})
        given: dict[str, Any] = {"sessions": self.sessions, "search_sessions": self.search_sessions}
        return replace(recipe, **{name: value for name, value in given.items() if value is not None})


BELIEF = PartRecipe(name="belief", kind="belief/gru")
"""A GRU belief, pretrained with the default settings."""


@dataclass(frozen=True, kw_only=True)
class OnlineVariant(Checked):
    """An agent that learns online, with the ranker it acts through and the belief it observes, if it needs them.

    Attributes:
        name: Its name in folders and tables.
        description: Explains it, in the list above the tables.
        ranker: Recipe of the ranker; None for an agent that shows slates itself.
        belief: Recipe of the belief; None for an agent that sees slates and clicks.
        agent: A name in the entry-point group ``gems_gym.agents``.
        options: Options of the agent; they override those that it has for the world.
        steps: Interactions.
        num_envs: Users stepped together.
        privileged: Whether agent, ranker or belief use privileged information.
        published_as: ``policy`` of the :class:`PublishedReturn` that it is compared with; None if there is none.
    """

    name: str
    description: str
    ranker: PartRecipe | None = None
    belief: PartRecipe | None = BELIEF
    agent: str = "sac"
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Count = 200_000
    num_envs: Count = 100
    privileged: bool = False
    published_as: str | None = None


@dataclass(frozen=True, kw_only=True)
class OfflineVariant(Checked):
    """An agent that learns offline, from a dataset.

    Attributes:
        name: Its name in folders and tables.
        description: Explains it, in the list above the tables.
        agent: A name in the entry-point group ``gems_gym.agents``.
        options: Options of the agent; they override those that it has for the world.
        steps: Gradient updates.
    """

    name: str
    description: str
    agent: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Count = 20_000


@dataclass(frozen=True, kw_only=True)
class Study:
    """A comparison of agents: one run for every combination of world, variant and seed.

    Attributes:
        name: Its name on the command line, ``gems-gym compare NAME``.
        title: What it compares, for readers of its results.
        worlds: Either all :class:`World` (online) or all :class:`RecordedWorld` (offline).
        variants: The agents: all :class:`OnlineVariant` if online, all :class:`OfflineVariant` if offline.
        seeds: Random seeds. A run's seed decides everything random in it: logged sessions, pretraining, the agent and
            its training users.
        test_users: How many users of the test split score every policy; the same ones for all seeds (block 0).
        validation_users: How many validation users score the checkpoints of a run, of which the best is kept.
        constant_slate_sessions: Sessions that the search for the best constant slate plays.
        plan_steps: Interactions of the search for the plans of privileged planners, see
            :mod:`gems_gym_agents.pipeline.references`.
        published: Returns that others reported for these worlds, shown beside the results.

    Raises:
        ValueError: Two different recipes have the same name.
    """

    name: str
    title: str
    worlds: tuple[World, ...] | tuple[RecordedWorld, ...]
    variants: tuple[OnlineVariant, ...] | tuple[OfflineVariant, ...]
    seeds: tuple[PipelineSeed, ...]
    test_users: Count = 500
    validation_users: Count = 200
    constant_slate_sessions: Count = 1_000_000
    plan_steps: Count = SEARCH_STEPS
    published: tuple[PublishedReturn, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for what, named in (("world", self.worlds), ("variant", self.variants)):
            names = [one.name for one in named]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"two {what}s of the study {self.name!r} are called {twice!r}")
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"seeds of the study {self.name!r} must differ, got {list(self.seeds)}")
        recipes: dict[str, PartRecipe] = {}
        names = [self.name, *(world.name for world in self.worlds), *(one.name for one in self.variants)]
        for variant in self.variants:
            for recipe in (variant.belief, variant.ranker) if isinstance(variant, OnlineVariant) else ():
                if recipe is not None and recipes.setdefault(recipe.name, recipe) != recipe:
                    raise ValueError(f"two recipes of the study {self.name!r} are called {recipe.name!r}")
        if both := sorted(recipes.keys() & {one.name for one in self.variants}):
            raise ValueError(f"a variant and a recipe of the study {self.name!r} are both called {both[0]!r}")
        for name in [*names, *recipes]:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"names become those of folders: {name!r} must begin with a letter or a digit and hold these, '-', "
                    "'_' and '.' only"
                )


def shortened(study: Study) -> Study:
    """The study as a trial of a few minutes, which shows that everything works; its numbers mean little.

    It has the first two worlds and seeds, and a fifth of each variant's steps, of the users that score it, and of the
    searches for references. Beliefs and rankers are those of the study.
    """
    variants: Any = tuple(replace(variant, steps=_fifth(variant.steps)) for variant in study.variants)
    return replace(
        study,
        name=f"{study.name}_quick",
        title=f"{study.title}: a trial",
        worlds=study.worlds[:2],
        variants=variants,
        seeds=study.seeds[:2],
        test_users=_fifth(study.test_users),
        validation_users=_fifth(study.validation_users),
        constant_slate_sessions=_fifth(study.constant_slate_sessions),
        plan_steps=_fifth(study.plan_steps),
    )


def _fifth(count: int) -> int:
    return max(1, count // 5)


def as_data(study: Study) -> dict[str, Any]:
    """A study as JSON types, the inverse of :func:`study_of_data`."""
    data: dict[str, Any] = plain(asdict(study))
    return data


def study_of_data(given: Mapping[str, Any], known: Sequence[OnlineVariant | OfflineVariant] = ()) -> Study:
    """Build a study from the content of a JSON or TOML file.

    Args:
        given: The fields of :class:`Study`. A preset's name stands for the world of that preset, and the name of a
            variant in ``known`` for that variant.
        known: Variants that can be given by their names.

    Raises:
        ValueError: A field is unknown or missing, or a value is out of its range; an agent is unknown; or online and
            offline are mixed.
        TypeError: A value has the wrong type.
    """
    variants = {one.name: one for one in known}

    def world(one: Any) -> World | RecordedWorld:
        if isinstance(one, str):
            return World(name=one, preset=one)
        kind: Any = RecordedWorld if isinstance(one, Mapping) and "level" in one else World
        made: World | RecordedWorld = _from_fields(kind, "a study's world", one)
        return made

    def variant(one: Any) -> OnlineVariant | OfflineVariant:
        if isinstance(one, str):
            if one not in variants:
                raise unknown_name("variant", one, variants)
            return variants[one]
        if not isinstance(one, Mapping):
            raise TypeError(f"a study's variant must be a name or a table of fields, got {one!r:.200}")
        agent = plugins.load(plugins.AGENTS, one.get("agent", OnlineVariant.agent))
        if agent.learns_from == "dataset":
            return _from_fields(OfflineVariant, "a study's variant", one)
        parts: dict[str, PartRecipe | None] = {} if observed_by(agent) == "beliefs" else {"belief": None}
        for part in ("ranker", "belief"):
            if one.get(part) is not None:
                parts[part] = _from_fields(PartRecipe, f"a variant's {part}", one[part])
        return _from_fields(OnlineVariant, "a study's variant", {**one, **parts})

    _check_lists(given)
    lists = {
        "worlds": tuple(world(one) for one in given.get("worlds", ())),
        "variants": tuple(variant(one) for one in given.get("variants", ())),
        "published": tuple(
            _from_fields(PublishedReturn, "a published return", one) for one in given.get("published", ())
        ),
    }
    study = _from_fields(Study, "a study", {**given, **lists, "seeds": tuple(given.get("seeds", ()))})
    recorded = {isinstance(one, RecordedWorld) for one in study.worlds}
    offline = {isinstance(one, OfflineVariant) for one in study.variants}
    if len(recorded) != 1 or recorded != offline or not study.seeds:
        raise ValueError(
            f"the study {study.name!r} requires seeds, worlds and variants: agents that learn from users with worlds, "
            f"or agents that learn from datasets with recorded worlds (those with a level)"
        )
    return study


def _check_lists(given: Mapping[str, Any]) -> None:
    for name in ("worlds", "variants", "published", "seeds"):
        if not isinstance(given.get(name, ()), list | tuple):
            raise TypeError(f"{name} of a study must be a list, got {given[name]!r:.200}")


def _from_fields(kind: type[_T], what: str, given: Mapping[str, Any]) -> _T:
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
