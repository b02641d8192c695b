"""``gems-gym pretrain ranker``: trained on a log, made of item embeddings, trained again, or measured."""

from pathlib import Path
from typing import Annotated, Any

import typer
from annotated_types import Ge
from gymnasium.envs.registration import EnvSpec

from gems_gym import plugins
from gems_gym.commands import options
from gems_gym.commands.arguments import given, read_options, refuse
from gems_gym.commands.pretrain.reports import report_rankers, world_of
from gems_gym.commands.pretrain.work import (
    Wanted,
    check_places,
    chosen_recipe,
    log_plan,
    reproduce_shipped,
    required,
    show_file,
    train_and_write,
)
from gems_gym.commands.worlds import chosen_world
from gems_gym.common.checks import checked_arguments, make_checked
from gems_gym.embeddings import load_embeddings
from gems_gym.errors import require
from gems_gym.pretraining.trainers import as_recorded, settings_in, trained_kinds, trainer_of
from gems_gym.rankers import make_ranker
from gems_gym.rankers.stored import StoredRanker
from gems_gym.trackers import choose_trackers


@checked_arguments
def ranker(
    env: options.EnvIfNew = None,
    env_option: options.EnvOptions = None,
    out: options.OutIfNew = None,
    kind: Annotated[
        str,
        typer.Option(
            help="gems, or a plugin's: trained; topk, k_head_argmax, wknn, softmax: made of --embeddings."
        ),
    ] = "gems",
    embeddings: options.Embeddings = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the ranker (JSON); repeatable."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Recipe of a trained ranker: default; of GeMS also published.")
    ] = None,
    log: options.Log = None,
    sessions: options.Sessions = None,
    seed: options.RandomSeed = 0,
    batches: options.Batches = None,
    catalogue: options.Catalogue = None,
    device: options.Device = "cpu",
    reproduce: options.Reproduce = None,
    report: options.Report = False,
    compare: options.Compare = None,
    search_sessions: Annotated[
        int | None, Ge(1), typer.Option(help="With --report: sessions of each search; 100,000 if not given.")
    ] = None,
    save_every: options.SaveEvery = None,
    log_dir: options.LogDir = None,
    overwrite: options.StartAnew = False,
    tracker: options.Trackers = None,
    as_json: options.Json = False,
) -> None:
    r"""Train a ranker on logged slates and clicks, or make one of item embeddings.

    With --report, measure rankers without any agent: the clicks of the best latent that never changes, how well they
    keep the slates that they encode, duplicates, coverage of the catalogue, speed.

    Examples:
        gems-gym pretrain ranker --env GemsSlate-diffuse_mix-v0 \
            --out ranker.safetensors
        gems-gym pretrain ranker --env GemsSlate-diffuse_mix-v0 --kind topk \
            --embeddings mf-diffuse_mix --out topk.safetensors
        gems-gym pretrain ranker --env GemsSlate-diffuse_mix-v0 --report
    """
    choose_trackers(tracker)
    if report:
        refuse(
            "does not go with --report",
            option=option, log=log, batches=batches, reproduce=reproduce, preset=preset, save_every=save_every,
            log_dir=log_dir,
        )  # fmt: skip
        world = chosen_world(required("env", env), env_option, catalogue)
        measuring = given(log_sessions=sessions, search_sessions=search_sessions, seed=seed)
        report_rankers(world, compare or [], embeddings, out, as_json, **measuring)
        return
    refuse("goes with --report only", compare=compare, search_sessions=search_sessions)
    if reproduce is not None:
        refuse(
            "does not go with --reproduce",
            preset=preset, log=log, sessions=sessions, batches=batches, catalogue=catalogue, env_option=env_option,
            save_every=save_every, log_dir=log_dir, option=option, embeddings=embeddings, tracker=tracker,
            seed=seed or None, device=None if device == "cpu" else device, kind=None if kind == "gems" else kind,
        )  # fmt: skip
        reproduce_shipped(reproduce, "ranker", env, out, overwrite, as_json)
        return
    world = chosen_world(required("env", env), env_option, catalogue)
    place: Path = required("out", out)
    check_places(place, log, device)
    chosen = read_options(option or [])
    if f"ranker/{kind}" not in trained_kinds():
        plugins.load(plugins.RANKERS, kind)  # an unknown one is told before what it would require
        refuse(
            f"goes with a kind that is trained, and {kind} is not",
            preset=preset, log=log, sessions=sessions, batches=batches, save_every=save_every, log_dir=log_dir,
        )  # fmt: skip
        _make(kind, world, embeddings, chosen, place, as_json)
        return
    require("torch")
    from gems_gym.pretraining.gems import GemsSettings

    trainer = trainer_of(f"ranker/{kind}")
    recipe = chosen_recipe(f"ranker {kind!r}", preset, trainer.presets)
    chosen |= given(batches=batches, item_embeddings=embeddings)
    what = f"option of the ranker {kind!r}:"
    config, catalog = world_of(world)
    preset_settings = recipe.settings
    if embeddings is None:
        preset_settings = settings_in(preset_settings, config.num_items, config.slate_size)
    settings = make_checked(type(preset_settings), what, vars(preset_settings) | chosen)
    table = None
    if isinstance(settings, GemsSettings):
        table = settings.load_item_vectors(config.num_items, catalog.hash)  # refused now, if they do not fit
    wanted = Wanted(
        place,
        (config, catalog),
        log_plan(world.id, log, recipe, sessions, seed),
        {
            "ranker": as_recorded(settings),
            "item_vectors": None if table is None else table.sha256,
            "device": device,
        },
    )
    keeping = given(log_dir=log_dir, save_every=save_every)
    train_and_write(trainer, settings, wanted, seed, device, overwrite, as_json, **keeping)


def _make(
    kind: str, world: EnvSpec, embeddings: str | None, chosen: dict[str, Any], out: Path, as_json: bool
) -> None:
    """Make a ranker that needs no training of item embeddings."""
    config, catalog = world_of(world)
    if embeddings is None:
        raise ValueError(
            f"--kind {kind} requires --embeddings, a file of 'gems-gym pretrain embeddings' or a shipped name"
        )
    made = make_ranker(kind, load_embeddings(embeddings, catalog.hash), config.slate_size, **chosen)
    measured = made.header.get("search", {}) if isinstance(made, StoredRanker) else {}
    show_file(made.save(out), out, chosen, measured, as_json)
