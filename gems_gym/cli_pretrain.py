"""``gems-gym pretrain``: rankers, beliefs and item embeddings from logged sessions."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from annotated_types import Ge, Interval

from gems_gym import plugins
from gems_gym.checks import checked_arguments, make_checked
from gems_gym.cli_reports import refuse, report_beliefs, report_rankers, world_of
from gems_gym.command_options import read_options
from gems_gym.embeddings import EmbeddingKind, LogRecipe, Sources, load_embeddings, make_embeddings
from gems_gym.embeddings.report import compare_embeddings
from gems_gym.errors import require, unknown_name
from gems_gym.machine import check_device, check_out_file, check_out_folder
from gems_gym.output import key_value_table, note, rows_table, show_result
from gems_gym.pretraining.belief_settings import BELIEF_PRESETS
from gems_gym.pretraining.gems_settings import GEMS_PRESETS, GemsSettings
from gems_gym.pretraining.presets import PretrainingPreset, Settings
from gems_gym.pretraining.session_log import SessionLog, collect_session_log
from gems_gym.rankers import make_ranker
from gems_gym.registration import LATENT_PRESETS
from gems_gym.user_splits import USERS_PER_SEED, UserSeed

pretrain = typer.Typer(
    help="Train a ranker, a belief or item embeddings on logged sessions.", no_args_is_help=True
)

EnvIfNew = Annotated[str | None, typer.Option(help="Environment id; not with --reproduce.")]
Out = Annotated[Path, typer.Option(help="The file to write.")]
OutIfNew = Annotated[
    Path | None,
    typer.Option(
        help="The file to write; with --reproduce a folder, for those who want to keep it; with --report a .png "
        "picture."
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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@pretrain.command()
@checked_arguments
def ranker(
    env: EnvIfNew = None,
    out: OutIfNew = None,
    kind: Annotated[
        str,
        typer.Option(help="gems is trained; topk, k_head_argmax, wknn, softmax need --item-vectors only."),
    ] = "gems",
    item_vectors: Annotated[
        Path | None,
        typer.Option(help="Item embeddings to rank or learn with, a file of 'pretrain embeddings'."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="name=value (JSON) of a ranker's option; may be repeated.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Recipe of a GeMS ranker: default, or published, to compare with.")
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
    as_json: Json = False,
) -> None:
    """Train a GeMS ranker on logged slates and clicks, or make another kind of ranker from item embeddings.

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
        )
        budget = {"log_sessions": sessions, "search_sessions": search_sessions, "seed": seed}
        report_rankers(
            _needed("env", env), compare or [], item_vectors, item_embeddings, out, as_json, **_given(budget)
        )
        return
    refuse("goes with --report only", compare=compare, search_sessions=search_sessions)
    if reproduce is not None:
        require("torch")
        _reproduce(reproduce, "ranker", env, out, as_json)
        return
    env, out = _needed("env", env), _needed("out", out)
    _check_places(out, log, device)
    options = read_options(option or [])
    if kind != "gems":
        config, catalog = world_of(env, item_embeddings)
        if item_vectors is None:
            raise ValueError(f"--kind {kind} needs --item-vectors, a file of 'gems-gym pretrain embeddings'")
        table = load_embeddings(item_vectors, catalog.hash)
        made = make_ranker(kind, table, config.slate_size, **options)
        _report(made.save(out), out, options, {}, as_json)
        return
    require("torch")
    from gems_gym.pretraining.gems_vae import pretrain_gems

    recipe = _preset("ranker 'gems'", preset, GEMS_PRESETS)
    if batches is not None:
        options["batches"] = batches
    if item_vectors is not None:
        options["item_embeddings"] = str(item_vectors)
    settings = make_checked(GemsSettings, "option of the ranker 'gems':", vars(recipe.settings) | options)
    config, catalog = world_of(env, item_embeddings)
    settings.load_item_vectors(config.num_items, catalog.hash)  # refused now, if they do not fit
    session_log, _ = _preset_log(env, log, recipe, sessions, seed, item_embeddings)
    trained, metrics = pretrain_gems(session_log, config.num_items, settings, seed=seed, device=device)
    _report(trained.save(out), out, asdict(settings), metrics, as_json)


@pretrain.command()
@checked_arguments
def belief(
    env: EnvIfNew = None,
    out: OutIfNew = None,
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
    as_json: Json = False,
) -> None:
    """Train a GRU belief to predict clicks, on sessions of a mixture of policies.

    With --report, measure beliefs by themselves: how well clicks and boredom to come can be read off them.
    """
    require("torch")
    if report:
        refuse("does not go with --report", log=log, batches=batches, reproduce=reproduce, preset=preset)
        budget = {"sessions": sessions, "seed": seed}
        report_beliefs(_needed("env", env), compare or [], item_embeddings, out, as_json, **_given(budget))
        return
    refuse("goes with --report only", compare=compare)
    if reproduce is not None:
        _reproduce(reproduce, "belief", env, out, as_json)
        return
    env, out = _needed("env", env), _needed("out", out)
    _check_places(out, log, device)
    from gems_gym.pretraining.gru_belief import pretrain_belief

    recipe = _preset("belief", preset, BELIEF_PRESETS)
    settings = recipe.settings if batches is None else replace(recipe.settings, batches=batches)
    session_log, config = _preset_log(env, log, recipe, sessions, seed, item_embeddings)
    trained, metrics = pretrain_belief(session_log, config.num_items, settings, seed=seed, device=device)
    _report(trained.save(out), out, asdict(settings), metrics, as_json)


@pretrain.command()
@checked_arguments
def embeddings(
    env: EnvIfNew = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write, with --reproduce a folder; not with --report.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="scratch, co_click, session_co_click, matrix_factorization, belief or ideal.")
    ] = "co_click",
    belief: Annotated[
        Path | None, typer.Option(help="A file of 'pretrain belief', for --kind belief and --report.")
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
    as_json: Json = False,
) -> None:
    """Make item embeddings to learn with.

    Those that are learned from slates and clicks are made from sessions of an ε-greedy oracle, session_co_click from
    sessions of random slates.
    """
    if reproduce is not None:
        require("torch")
        _reproduce(reproduce, "embeddings", env, out, as_json)
        return
    env = _needed("env", env)
    if (out is None) != report:
        raise ValueError("give --out FILE to make item embeddings, or --report to compare their kinds")
    if out is not None:
        _check_places(out, log)
    needs = plugins.load(plugins.EMBEDDINGS, kind).needs
    if needs == "belief" and belief is None and not report:
        raise ValueError(f"--kind {kind} needs --belief, a file of 'gems-gym pretrain belief'")
    config, catalog = world_of(env, item_embeddings)

    @cache
    def logged(recipe: LogRecipe) -> SessionLog:
        count, length = recipe.sessions if sessions is None else sessions, recipe.session_length
        shares = {recipe.policy: 1.0}
        return _session_log(env, log, shares, count, seed, item_embeddings, session_length=length)[0]

    def sources_of(name: str) -> Sources:
        needed: EmbeddingKind = plugins.load(plugins.EMBEDDINGS, name)
        session_log = logged(needed.log_recipe) if needed.needs == "log" else None
        return Sources(config.num_items, catalog.hash, session_log, catalog.item_embeddings, belief)

    if out is None:
        rows: dict[str, Any] = {}
        for name in plugins.names(plugins.EMBEDDINGS):
            if belief is not None or plugins.load(plugins.EMBEDDINGS, name).needs != "belief":
                sources = sources_of(name)
                rows |= compare_embeddings(sources, catalog.item_topics, [name], size=size, seed=seed)
        show_result(rows, rows_table("embeddings", rows), as_json)
        return
    made = make_embeddings(kind, sources_of(kind), size=size, seed=seed)
    settings = {"kind": kind, "size": made.vectors.shape[1], "privileged": made.privileged, "seed": seed}
    _report(made.save(out), out, settings, {}, as_json)


@pretrain.command()
@checked_arguments
def ship(
    out: Annotated[Path, typer.Option(help="Folder of the files and their manifest.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A name to make; may be repeated. All if not given.")
    ] = None,
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
    made = {name: make(name, recipes[name], out) for name in only or recipes}
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


def _reproduce(name: str, family: str, env: str | None, out: Path | None, as_json: bool) -> None:
    """Train a shipped artefact again and show how the two agree; exit code 1 if they do not."""
    if env is not None:
        raise ValueError(f"--env {env} does not go with --reproduce: {name!r} records its world")
    from gems_gym.pretraining.shipping import reproduce

    with tempfile.TemporaryDirectory() as scratch:
        result = reproduce(name, family, out or Path(scratch))
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


def _preset_log(
    env_id: str,
    path: Path | None,
    preset: PretrainingPreset[Any],
    sessions: int | None,
    seed: int,
    item_embeddings: Path | None,
) -> tuple[Any, Any]:
    """As :func:`_session_log`, of whom a preset lets log."""
    count = preset.sessions if sessions is None else sessions
    return _session_log(env_id, path, preset.shares, count, seed, item_embeddings, preset.search_sessions)


def _session_log(
    env_id: str,
    path: Path | None,
    shares: Mapping[str, float],
    sessions: int,
    seed: int,
    item_embeddings: Path | None,
    search_sessions: int | None = None,
    session_length: int | None = None,
) -> tuple[Any, Any]:
    """The log to train on, and the world's configuration."""
    config, catalog = world_of(env_id, item_embeddings)
    if path is not None and path.exists():
        log = SessionLog.load(path)
        if log.catalog_hash != catalog.hash:
            raise ValueError(
                f"--log {path} was logged on the catalogue {log.catalog_hash}, but {env_id} has {catalog.hash}"
            )
        note(f"using the {log.num_sessions} sessions of {path}")
        return log, config
    log = collect_session_log(
        config,
        shares,
        sessions,
        seed,
        search_sessions=search_sessions,
        session_length=session_length,
        item_embeddings=catalog.item_embeddings,
    )
    if path is not None:
        log.save(path)
    return log, config


def _report(sha256: str, out: Path, settings: dict[str, Any], metrics: dict[str, Any], as_json: bool) -> None:
    result = {"file": str(out), "sha256": sha256, "settings": settings, "metrics": metrics}
    readable = key_value_table({"file": out, "sha256": sha256, **metrics})
    show_result(result, readable, as_json)
