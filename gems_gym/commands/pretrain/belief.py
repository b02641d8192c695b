"""``gems-gym pretrain belief``: trained on a log, trained again, or measured."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from gymnasium.envs.registration import EnvSpec

from gems_gym import plugins
from gems_gym.beliefs.trained import TrainedBelief
from gems_gym.commands import options
from gems_gym.commands.arguments import given, refuse
from gems_gym.commands.pretrain.reports import report_beliefs, world_of
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
from gems_gym.common.checks import checked_arguments
from gems_gym.errors import require
from gems_gym.pretraining.trainers import as_recorded, settings_in, trained_kinds, trainer_of
from gems_gym.trackers import choose_trackers


@checked_arguments
def belief(
    env: options.EnvIfNew = None,
    env_option: options.EnvOptions = None,
    out: options.OutIfNew = None,
    kind: Annotated[
        str,
        typer.Option(
            help="gru, transformer, or a plugin's: trained; none, last_observation: not trained, nothing remembered."
        ),
    ] = "gru",
    preset: Annotated[
        str | None,
        typer.Option(help="Recipe: default, or unprivileged: logged without privileged information."),
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
    save_every: options.SaveEvery = None,
    log_dir: options.LogDir = None,
    overwrite: options.StartAnew = False,
    tracker: options.Trackers = None,
    as_json: options.Json = False,
) -> None:
    r"""Train a belief, a GRU by default, to predict clicks on sessions of a mixture of policies.

    With --report, measure beliefs without any agent: how well future clicks and boredom can be predicted from them.

    Examples:
        gems-gym pretrain belief --env GemsSlate-diffuse_mix-v0 \
            --out belief.safetensors
        gems-gym pretrain belief --env GemsSlate-diffuse_mix-v0 --report \
            --compare gru-diffuse_mix --compare belief.safetensors
    """
    choose_trackers(tracker)
    require("torch")
    if report:
        refuse(
            "does not go with --report",
            log=log, batches=batches, reproduce=reproduce, preset=preset, save_every=save_every, log_dir=log_dir,
        )  # fmt: skip
        world = chosen_world(required("env", env), env_option, catalogue)
        report_beliefs(world, compare or [], out, as_json, **given(sessions=sessions, seed=seed))
        return
    refuse("goes with --report only", compare=compare)
    if reproduce is not None:
        refuse(
            "does not go with --reproduce",
            preset=preset, log=log, sessions=sessions, batches=batches, catalogue=catalogue, env_option=env_option,
            save_every=save_every, log_dir=log_dir, tracker=tracker, seed=seed or None,
            device=None if device == "cpu" else device,
        )  # fmt: skip
        reproduce_shipped(reproduce, "belief", env, out, overwrite, as_json)
        return
    world = chosen_world(required("env", env), env_option, catalogue)
    place: Path = required("out", out)
    check_places(place, log, device)
    if f"belief/{kind}" not in trained_kinds():
        refuse(
            f"goes with a kind that is trained, and {kind} is not",
            preset=preset, log=log, sessions=sessions, batches=batches, save_every=save_every, log_dir=log_dir,
        )  # fmt: skip
        _make(kind, world, place, as_json)
        return
    trainer = trainer_of(f"belief/{kind}")
    recipe = chosen_recipe("belief", preset, trainer.presets)
    config, catalog = world_of(world)
    settings = settings_in(recipe.settings, config.num_items, config.slate_size)
    settings = settings if batches is None else replace(settings, batches=batches)
    wanted = Wanted(
        place,
        (config, catalog),
        log_plan(world.id, log, recipe, sessions, seed),
        {"belief": as_recorded(settings), "kind": kind, "device": device},
    )
    keeping = given(log_dir=log_dir, save_every=save_every)
    train_and_write(trainer, settings, wanted, seed, device, overwrite, as_json, **keeping)


def _make(kind: str, world: EnvSpec, out: Path, as_json: bool) -> None:
    """Make a belief that needs no training."""
    config, catalog = world_of(world)
    sizes = {"num_items": config.num_items, "slate_size": config.slate_size}
    belief_class = plugins.load(plugins.BELIEFS, kind)
    if isinstance(belief_class, type) and issubclass(belief_class, TrainedBelief):
        raise ValueError(
            f"--kind {kind}: a belief of this kind is learned by an agent, for example by "
            "'gems-gym train recurrent_ppo', not by itself"
        )
    made = belief_class(**sizes, catalog_hash=catalog.hash)
    show_file(made.save(out), out, {"kind": kind}, {}, as_json)
