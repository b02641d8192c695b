"""``gems-gym pretrain``: rankers, beliefs and item embeddings from logged sessions."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import typer
from annotated_types import Ge, Interval

from gems_gym import plugins
from gems_gym.artifacts.unfinished import Unfinished, making
from gems_gym.commands.options import EnvOption, chosen_world, read_options, refuse
from gems_gym.commands.output import key_value_table, rows_table, show_result
from gems_gym.commands.reports import report_beliefs, report_rankers, world_of
from gems_gym.common.checks import checked_arguments, make_checked
from gems_gym.common.files import scratch_folder
from gems_gym.common.machine import check_device, check_out_file, check_out_folder
from gems_gym.config import SlateConfig
from gems_gym.embeddings import EmbeddingKind, LogRecipe, Sources, load_embeddings, make_embeddings
from gems_gym.embeddings.report import compare_embeddings
from gems_gym.errors import require, unknown_name
from gems_gym.pretraining.session_log import LogPlan, SessionLog
from gems_gym.pretraining.trainers import (
    PretrainingPreset,
    Settings,
    Upkeep,
    as_recorded,
    trained_kinds,
    trainer_of,
)
from gems_gym.rankers import make_ranker
from gems_gym.registration import LATENT_PRESETS
from gems_gym.simulator import Catalog
from gems_gym.user_splits import USERS_PER_SEED, UserSeed

pretrain = typer.Typer(
    help="Train a ranker, a belief or item embeddings on logged sessions.", no_args_is_help=True
)

EnvIfNew = Annotated[
    list[str] | None, typer.Option("--env", metavar="ID", help="Environment id; not with --reproduce.")
]
Out = Annotated[Path, typer.Option(help="The file to write.")]
OutIfNew = Annotated[
    Path | None,
    typer.Option(
        help="The file to write; with --reproduce a folder, for those who want to keep it; with --report a "
        "picture, .png, .pdf or .svg."
    ),
]
Reproduce = Annotated[
    str | None, typer.Option(metavar="NAME", help="Train a shipped one again by its recipe, and compare.")
]
Report = Annotated[bool, typer.Option("--report", help="Measure by itself what is there; train nothing.")]
Compare = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME_OR_FILE",
        help="With --report: what to measure; may be repeated. What is shipped for the world if not given.",
    ),
]
Log = Annotated[
    Path | None, typer.Option(help="Session log (.npz): read if it is there, else collected and written.")
]
Sessions = Annotated[
    int | None,
    Interval(ge=1, le=USERS_PER_SEED),
    typer.Option(help="Sessions to log; if not given the preset's number, with --report the report's own."),
]
Seed = Annotated[UserSeed, typer.Option(help="Of the logging users, the weights and the batches.")]
Batches = Annotated[
    int | None, Ge(1), typer.Option(help="Gradient updates; the recipe's number if not given.")
]
ItemEmbeddings = Annotated[Path | None, typer.Option(help="One's own catalogue, an .npy file.")]
Device = Annotated[str, typer.Option(help="Torch device.")]
SaveEvery = Annotated[
    int | None,
    typer.Option(
        help="Gradient updates between saves, which an interrupted training resumes from; 100 if not given."
    ),
]
LogDir = Annotated[
    Path | None,
    typer.Option(help="Folder for the losses: progress.csv, and TensorBoard's file if it is installed."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start anew instead of resuming an interrupted run.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@pretrain.command()
@checked_arguments
def ranker(
    env: EnvIfNew = None,
    env_option: EnvOption = None,
    out: OutIfNew = None,
    kind: Annotated[
        str,
        typer.Option(
            help="gems and plugins' trainers are trained; topk, k_head_argmax, wknn, softmax need --item-vectors only."
        ),
    ] = "gems",
    item_vectors: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Item embeddings to rank or learn with: a file of 'pretrain embeddings', or a shipped name, "
            "mf-diffuse_mix.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="name=value (JSON) of a ranker's option; may be repeated.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Recipe of a trained ranker: default; of GeMS also published, to compare with."),
    ] = None,
    log: Log = None,
    sessions: Sessions = None,
    seed: Seed = 0,
    batches: Batches = None,
    item_embeddings: ItemEmbeddings = None,
    device: Device = "cpu",
    reproduce: Reproduce = None,
    report: Report = False,
    compare: Compare = None,
    search_sessions: Annotated[
        int | None, Ge(1), typer.Option(help="With --report: sessions of each search; 100,000 if not given.")
    ] = None,
    save_every: SaveEvery = None,
    log_dir: LogDir = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a ranker on logged slates and clicks, GeMS by default, or make another kind from item embeddings.

    With --report, measure rankers by themselves: the clicks of the best latent that never changes, how well they keep
    the slates that they encode, duplicates, coverage of the catalogue, speed.
    """
    if report:
        refuse(
            "does not go with --report",
            option=option,
            log=log,
            batches=batches,
            reproduce=reproduce,
            preset=preset,
            save_every=save_every,
            log_dir=log_dir,
        )
        budget = {"log_sessions": sessions, "search_sessions": search_sessions, "seed": seed}
        world = chosen_world(_needed("env", env), env_option, item_embeddings)
        report_rankers(world, compare or [], item_vectors, out, as_json, **_given(budget))
        return
    refuse("goes with --report only", compare=compare, search_sessions=search_sessions)
    if reproduce is not None:
        require("torch")
        refuse("does not go with --reproduce", save_every=save_every, log_dir=log_dir)
        _reproduce(reproduce, "ranker", env, out, overwrite, as_json)
        return
    world, out = chosen_world(_needed("env", env), env_option, item_embeddings), _needed("out", out)
    _check_places(out, log, device)
    options = read_options(option or [])
    trained = f"ranker/{kind}" in trained_kinds()
    if not trained:
        refuse("goes with a kind that is trained", preset=preset, save_every=save_every, log_dir=log_dir)
        config, catalog = world_of(world)
        if item_vectors is None:
            raise ValueError(
                f"--kind {kind} needs --item-vectors, a file of 'gems-gym pretrain embeddings' or a shipped name"
            )
        table = load_embeddings(item_vectors, catalog.hash)
        made = make_ranker(kind, table, config.slate_size, **options)
        _report(made.save(out), out, options, {}, as_json)
        return
    require("torch")
    from gems_gym.pretraining.gems import GemsSettings

    trainer = trainer_of(f"ranker/{kind}")
    recipe = _preset(f"ranker {kind!r}", preset, trainer.presets)
    if batches is not None:
        options["batches"] = batches
    if item_vectors is not None:
        options["item_embeddings"] = item_vectors
    settings = make_checked(
        type(recipe.settings), f"option of the ranker {kind!r}:", vars(recipe.settings) | options
    )
    made_in = world_of(world)
    if isinstance(settings, GemsSettings):
        settings.load_item_vectors(made_in[0].num_items, made_in[1].hash)  # refused now, if they do not fit
    logged = LogPlan.of_preset(world.id, log, recipe, sessions, seed)
    trained_on = {
        "ranker": as_recorded(settings),
        "item_vectors": None if item_vectors is None else load_embeddings(item_vectors).sha256,
        "device": device,
    }
    with _unfinished(out, made_in, logged, overwrite, trained_on) as work:
        train = partial(trainer.train, settings=settings, seed=seed, device=device)
        sha256, metrics = _train(
            train, work, logged.session_log(*made_in, work), made_in[0], out, log_dir, save_every
        )
    _report(sha256, out, asdict(settings), metrics, as_json)


@pretrain.command()
@checked_arguments
def belief(
    env: EnvIfNew = None,
    env_option: EnvOption = None,
    out: OutIfNew = None,
    kind: Annotated[
        str,
        typer.Option(
            help="gru, transformer and plugins' trainers are trained; none and last_observation remember nothing."
        ),
    ] = "gru",
    preset: Annotated[
        str | None,
        typer.Option(help="default, or unprivileged: nobody logs who knows what no recommender could."),
    ] = None,
    log: Log = None,
    sessions: Sessions = None,
    seed: Seed = 0,
    batches: Batches = None,
    item_embeddings: ItemEmbeddings = None,
    device: Device = "cpu",
    reproduce: Reproduce = None,
    report: Report = False,
    compare: Compare = None,
    save_every: SaveEvery = None,
    log_dir: LogDir = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a belief, a GRU by default, to predict clicks on sessions of a mixture of policies.

    With --report, measure beliefs by themselves: how well clicks and boredom to come can be read off them.
    """
    require("torch")
    if report:
        refuse(
            "does not go with --report",
            log=log,
            batches=batches,
            reproduce=reproduce,
            preset=preset,
            save_every=save_every,
            log_dir=log_dir,
        )
        budget = {"sessions": sessions, "seed": seed}
        world = chosen_world(_needed("env", env), env_option, item_embeddings)
        report_beliefs(world, compare or [], out, as_json, **_given(budget))
        return
    refuse("goes with --report only", compare=compare)
    if reproduce is not None:
        refuse("does not go with --reproduce", save_every=save_every, log_dir=log_dir)
        _reproduce(reproduce, "belief", env, out, overwrite, as_json)
        return
    world, out = chosen_world(_needed("env", env), env_option, item_embeddings), _needed("out", out)
    _check_places(out, log, device)
    if f"belief/{kind}" not in trained_kinds():
        refuse(
            f"goes with a kind that is trained, and {kind} is none",
            preset=preset, log=log, sessions=sessions, batches=batches, save_every=save_every, log_dir=log_dir,
        )  # fmt: skip
        config, catalog = world_of(world)
        sizes = {"num_items": config.num_items, "slate_size": config.slate_size}
        made = plugins.load(plugins.BELIEFS, kind)(**sizes, catalog_hash=catalog.hash)
        _report(made.save(out), out, {"kind": kind}, {}, as_json)
        return
    trainer = trainer_of(f"belief/{kind}")
    recipe = _preset("belief", preset, trainer.presets)
    settings = recipe.settings if batches is None else replace(recipe.settings, batches=batches)
    made_in = world_of(world)
    logged = LogPlan.of_preset(world.id, log, recipe, sessions, seed)
    trained_on = {"belief": as_recorded(settings), "kind": kind, "device": device}
    with _unfinished(out, made_in, logged, overwrite, trained_on) as work:
        train = partial(trainer.train, settings=settings, seed=seed, device=device)
        sha256, metrics = _train(
            train, work, logged.session_log(*made_in, work), made_in[0], out, log_dir, save_every
        )
    _report(sha256, out, asdict(settings), metrics, as_json)


@pretrain.command()
@checked_arguments
def embeddings(
    env: EnvIfNew = None,
    env_option: EnvOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write, with --reproduce a folder; not with --report.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="scratch, co_click, session_co_click, matrix_factorization, belief or ideal.")
    ] = "co_click",
    belief: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="A file of 'pretrain belief' or a shipped name, for --kind belief and --report.",
        ),
    ] = None,
    log: Log = None,
    sessions: Annotated[
        int | None,
        Interval(ge=1, le=USERS_PER_SEED),
        typer.Option(help="Sessions to log; as many as the kind's recipe says if not given."),
    ] = None,
    seed: Seed = 0,
    size: Annotated[
        int | None,
        Interval(ge=1, le=2**16),
        typer.Option(help="Numbers per item; 20 if not given, where the kind leaves it open."),
    ] = None,
    item_embeddings: ItemEmbeddings = None,
    reproduce: Reproduce = None,
    report: Annotated[
        bool, typer.Option("--report", help="Compare all kinds with the simulator's own; write nothing.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make item embeddings to learn with.

    Those that are learned from slates and clicks are made from sessions of an ε-greedy oracle, session_co_click from
    sessions of random slates.
    """
    if reproduce is not None:
        require("torch")
        _reproduce(reproduce, "embeddings", env, out, overwrite, as_json)
        return
    world = chosen_world(_needed("env", env), env_option, item_embeddings)
    if (out is None) != report:
        raise ValueError("give --out FILE to make item embeddings, or --report to compare their kinds")
    if out is not None:
        _check_places(out, log)
    needed = plugins.load(plugins.EMBEDDINGS, kind)
    if needed.needs == "belief" and belief is None and not report:
        raise ValueError(
            f"--kind {kind} needs --belief, a file of 'gems-gym pretrain belief' or a shipped name"
        )
    config, catalog = made_in = world_of(world)

    def plan(recipe: LogRecipe) -> LogPlan:
        count = recipe.sessions if sessions is None else sessions
        return LogPlan(world.id, log, {recipe.policy: 1.0}, count, seed, session_length=recipe.session_length)

    @cache
    def logged(recipe: LogRecipe, work: Unfinished | None) -> SessionLog:
        return plan(recipe).session_log(*made_in, work)

    def sources_of(name: str, work: Unfinished | None = None) -> Sources:
        needed: EmbeddingKind = plugins.load(plugins.EMBEDDINGS, name)
        session_log = logged(needed.log_recipe, work) if needed.needs == "log" else None
        return Sources(config.num_items, catalog.hash, session_log, catalog.item_embeddings, belief)

    if out is None:
        rows: dict[str, Any] = {}
        for name in plugins.names(plugins.EMBEDDINGS):
            if belief is not None or plugins.load(plugins.EMBEDDINGS, name).needs != "belief":
                sources = sources_of(name)
                rows |= compare_embeddings(sources, catalog.item_topics, [name], size=size, seed=seed)
        show_result(rows, rows_table("embeddings", rows), as_json)
        return
    made_from = {"embeddings": kind, "size": size, "belief": None if belief is None else str(belief)}
    with _unfinished(out, made_in, plan(needed.log_recipe), overwrite, made_from) as work:
        made = make_embeddings(kind, sources_of(kind, work), size=size, seed=seed)
        sha256 = work.publish(made.save, out)
    settings = {"kind": kind, "size": made.vectors.shape[1], "privileged": made.privileged, "seed": seed}
    _report(sha256, out, settings, {}, as_json)


@pretrain.command()
@checked_arguments
def ship(
    out: Annotated[Path, typer.Option(help="Folder of the files and their manifest.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A name to make; may be repeated. All if not given.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train what comes with the package: rankers, beliefs and item embeddings for each of the six worlds."""
    require("torch")
    check_out_folder(out)
    from gems_gym.pretraining.recipes import shipped_recipes
    from gems_gym.pretraining.shipping import ship as make

    recipes = shipped_recipes(LATENT_PRESETS)
    for name in only or []:
        if name not in recipes:
            raise unknown_name("artefact to ship", name, recipes)
    made = {name: make(name, recipes[name], out, overwrite=overwrite) for name in only or recipes}
    result = {name: {"file": str(out / entry.file), "sha256": entry.sha256} for name, entry in made.items()}
    show_result(result, key_value_table({name: one["sha256"] for name, one in result.items()}), as_json)


def _check_places(out: Path, log: Path | None, device: str | None = None) -> None:
    """Where results are to go and what is trained on, before anything is logged for it."""
    check_out_file(out)
    if log is not None:
        check_out_file(log, "--log")  # written there, or read if it is there
    if device is not None:
        check_device(device)


def _needed(name: str, value: Any) -> Any:
    if value is None:
        raise ValueError(f"give --{name}, or --reproduce with the name of a shipped artefact")
    return value


def _given(options: dict[str, int | None]) -> dict[str, Any]:
    """Without what is not given: what is called has defaults of its own."""
    return {name: value for name, value in options.items() if value is not None}


def _reproduce(
    name: str, family: str, env: list[str] | None, out: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Train a shipped artefact again and show how the two agree; exit code 1 if they do not."""
    if env:
        raise ValueError(f"--env {env[0]} does not go with --reproduce: {name!r} records its world")
    from gems_gym.pretraining.shipping import reproduce

    with scratch_folder() as scratch:
        result = reproduce(name, family, out or scratch, overwrite=overwrite)
    if out is None:
        del result["file"]
    readable = {key: value for key, value in result.items() if key != "metrics"}
    readable |= {metric: f"{before} -> {after}" for metric, (before, after) in result["metrics"].items()}
    show_result(result, key_value_table(readable), as_json)
    if not (result["same_weights"] or result["same_metrics"]):
        raise typer.Exit(1)


def _preset(
    kind: str, name: str | None, presets: Mapping[str, PretrainingPreset[Settings]]
) -> PretrainingPreset[Settings]:
    if name is not None and name not in presets:
        raise unknown_name(f"preset of the {kind}", name, presets)
    return presets[name or "default"]


def _train(
    train: Callable[..., tuple[Any, dict[str, Any]]],
    work: Unfinished,
    log: SessionLog,
    config: SlateConfig,
    out: Path,
    log_dir: Path | None,
    save_every: int | None,
) -> tuple[str, dict[str, Any]]:
    """Train on a log, or resume, and write the file; its sha256 and what was measured."""
    upkeep = Upkeep(unfinished=work, log_dir=log_dir, **_given({"save_every": save_every}))
    trained, metrics = train(log, config.num_items, upkeep=upkeep)
    return work.publish(trained.save, out), metrics


def _unfinished(
    out: Path,
    world: tuple[SlateConfig, Catalog],
    logged: LogPlan,
    overwrite: bool,
    trained_on: dict[str, Any],
) -> AbstractContextManager[Unfinished]:
    """Where the unfinished work on a file is kept, with all that decides the file."""
    config, catalog = world
    described = {"world": {**asdict(config), "catalog_hash": catalog.hash}, "log": logged.described()}
    return making(out, described | trained_on, overwrite=overwrite)


def _report(sha256: str, out: Path, settings: dict[str, Any], metrics: dict[str, Any], as_json: bool) -> None:
    result = {"file": str(out), "sha256": sha256, "settings": settings, "metrics": metrics}
    readable = key_value_table({"file": out, "sha256": sha256, **metrics})
    show_result(result, readable, as_json)
