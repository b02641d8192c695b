"""Training of SAC in rounds, so that it can be interrupted and goes on to the same curve.

The only module of the online agents that :mod:`gems_gym_agents.online.sac` loads when ``fit`` is called: importing it
imports torch and stable-baselines3.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from gems_gym import __version__
from gems_gym.output import plain
from gems_gym.progress import track
from gems_gym.user_splits import USERS_PER_SEED, user_seeds
from gems_gym_agents.base import DivergedError, Evaluate
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online.callbacks import (
    KeepingCallback,
    ProgressCallback,
    QBoundCallback,
    mean_training_return,
)
from gems_gym_agents.online.checkpoints import CheckpointRecorder
from gems_gym_agents.online.curves import Curves
from gems_gym_agents.online.end_to_end import export_belief, make_end_to_end
from gems_gym_agents.online.model import check_spaces, export_actor, make_sac
from gems_gym_agents.online.options import EndToEndOptions, SACOptions
from gems_gym_agents.online.unfinished import UnfinishedRun
from gems_gym_agents.online.vec_env import layers_of


def train_sac(
    options: SACOptions,
    env: VectorEnv,
    recorder: CheckpointRecorder,
    *,
    steps: int,
    seed: int,
    directory: Path | None,
    device: str,
    progress: bool,
    keep_growth: float | None = None,
) -> int:
    """Trains, leaving every validated policy and the last one in the recorder, even when interrupted or failing.

    Training is a sequence of rounds of ``validate_every`` interactions, rounded up to whole sessions of all users. Each
    starts with fresh seeds, new users and new sessions, and ends with a recorded policy and a saved state. So an
    interrupted run in the same directory goes on from its last whole round and ends with the same bits.

    Args:
        options: the settings.
        env: see :func:`make_sac`.
        recorder: gets the policies, the last one unscored if training is interrupted.
        steps: interactions (users times steps), rounded up to whole vector steps.
        seed: decides everything random.
        directory: curves are written to ``directory/logs`` (CSV and TensorBoard), and what an interrupted run goes on
            with to ``directory/unfinished``, which a finished one removes; ``None``: nowhere.
        device: a torch device.
        progress: draw a bar on stderr.
        keep_growth: records policies within rounds too, whenever the interactions since ``learning_starts`` have grown
            by this share; ``None``: never.

    Returns:
        Interactions of the starts that were compared before (``options.starts``), 0 if none were.

    Raises:
        ValueError: the directory holds an unfinished run of other arguments.
        KeyboardInterrupt: Ctrl-C, passed on once the last policy is recorded.
        DivergedError: the critics have left their bound.
    """
    check_spaces(env)
    ends = round_ends(env, options.validate_every, steps)
    if len(ends) * env.num_envs > USERS_PER_SEED:
        raise ValueError(
            f"validate_every={options.validate_every}: {len(ends)} rounds, each with {env.num_envs} new users, need "
            f"more than the {USERS_PER_SEED} users of a seed; validate less often"
        )
    with borrowed_global_state(device):
        arguments = run_arguments(options, env, recorder, steps, seed, device)
        run = UnfinishedRun(directory, arguments | ({"keep_growth": keep_growth} if keep_growth else {}))
        make: Any = make_end_to_end if isinstance(options, EndToEndOptions) else make_sac
        model: SAC = make(options, env, seed=seed, device=device)
        curves = Curves(directory, run.restore(model, recorder))
        compared = 0
        if options.starts > 1:  # of a run that goes on too: they end the same way, and say which start it was
            seed, compared = best_start(options, env, recorder.evaluate, seed, ends[0], device, progress)
            if not recorder.checkpoints:
                model = make(options, env, seed=seed, device=device)
        made_by = {"agent": options.agent, "seed": seed}
        model.set_logger(curves.logger)
        try:
            with track("SAC", steps, progress) as advance:
                callbacks: list[BaseCallback] = [
                    QBoundCallback(largest_reward(env, options), options.gamma),
                    ProgressCallback(advance, steps, recorder),
                ]
                if keep_growth:
                    keep = partial(_record, model, recorder, made_by)
                    callbacks.append(KeepingCallback(keep_growth, recorder, keep))
                for number, end in enumerate(ends):
                    if end > model.num_timesteps:
                        _train_round(model, seed, number, end, callbacks)
                        _record(model, recorder, made_by)
                        model.dump_logs()
                        run.save(model, recorder, curves.text)
            run.discard()
        except BaseException as error:
            _record(model, recorder, made_by, score=False)
            if isinstance(error, DivergedError):
                run.discard()  # going on would end the same way
            raise
        finally:
            curves.logger.close()
    return compared


def best_start(
    options: SACOptions,
    env: VectorEnv,
    evaluate: Evaluate | None,
    seed: int,
    steps: int,
    device: str,
    progress: bool,
) -> tuple[int, int]:
    """Trains from several seeds for a while, and finds the one with the best policy on validation users.

    Args:
        options: the settings; as many starts as they say.
        env: see :func:`make_sac`.
        evaluate: scores a policy.
        seed: the first start has this one, the others' are made of it.
        steps: interactions of each start.
        device: a torch device.
        progress: draw bars on stderr.

    Returns:
        The seed, and the interactions of all starts.
    """
    drawn = (
        np.random.SeedSequence(seed).generate_state(options.starts - 1) >> 12
    )  # 20 bits, as user_seeds wants
    seeds = [seed, *drawn.tolist()]
    scores, interactions = [], 0
    for one in seeds:
        recorder = CheckpointRecorder(evaluate, None)
        alone = replace(options, starts=1)
        train_sac(
            alone, env, recorder, steps=steps, seed=one, directory=None, device=device, progress=progress
        )
        scores.append(recorder.checkpoints[-1].score)
        interactions += recorder.checkpoints[-1].interactions
    return seeds[int(np.argmax(np.array(scores, dtype=float)))], interactions


def round_ends(env: VectorEnv, validate_every: int, steps: int) -> list[int]:
    """The interactions at which rounds end, the last of them the whole training."""
    length = getattr(getattr(env.unwrapped, "config", None), "episode_length", 1)
    sessions = env.num_envs * length  # one of each user
    every = -(-validate_every // sessions) * sessions
    last = -(-steps // env.num_envs) * env.num_envs
    return [*range(every, last, every), last]


def _train_round(model: SAC, seed: int, number: int, end: int, callbacks: list[BaseCallback]) -> None:
    """Plays and learns until ``end`` interactions, whatever came before: seeds and users are the round's own."""
    assert model.env is not None
    model.set_random_seed(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
    users = user_seeds("training", seed, model.n_envs, start=number * model.n_envs)
    model.env.seed(users)  # type: ignore[arg-type]  # ours takes lists
    model.set_env(model.env)  # SB3's way to have ``learn`` reset the environment
    # Users end their sessions together: one line of the log per round of sessions, not one per user.
    model.learn(
        end - model.num_timesteps, callback=callbacks, log_interval=model.n_envs, reset_num_timesteps=False
    )


def _record(model: SAC, recorder: CheckpointRecorder, made_by: dict[str, Any], *, score: bool = True) -> None:
    """Records the present policy, unless it has been already or has not begun to learn; and logs its score."""
    interactions, last = model.num_timesteps, recorder.last
    if interactions > model.learning_starts and (last is None or last.interactions < interactions):
        made_by = {**made_by, "interactions": interactions}
        actor, belief = export_actor(model, made_by), export_belief(model, made_by)
        checkpoint = recorder.record(interactions, mean_training_return(model), actor, belief, score=score)
        if checkpoint.score is not None:
            model.logger.record("validation/clicks_per_session", checkpoint.score)


def run_arguments(
    options: SACOptions, env: VectorEnv, recorder: CheckpointRecorder, steps: int, seed: int, device: str
) -> dict[str, Any]:
    """Everything that decides the result of a run, JSON types only."""
    return plain(
        {
            "agent": options.agent,
            "options": asdict(options),
            "steps": steps,
            "seed": seed,
            "num_envs": env.num_envs,
            "device": torch.device(device).type,
            "validation_users": getattr(recorder.evaluate, "user_seeds", None),
            "world": describe_world(env),
            "versions": {
                "gems-gym": __version__,
                "stable-baselines3": stable_baselines3.__version__,
                "torch": str(torch.__version__),
            },
        }
    )


def describe_world(env: VectorEnv) -> dict[str, Any]:
    """What an environment is: configuration, catalogue, and the digests of the ranker and the belief around it."""
    world: dict[str, Any] = {}
    for layer in layers_of(env):
        for role, name in (("ranker", "ranker"), ("encoder", "belief"), ("belief", "belief")):
            if hasattr(layer, role):
                world[name] = getattr(layer, role).sha256
    core: Any = env.unwrapped
    if hasattr(core, "config") and hasattr(core, "catalog"):
        world |= {"config": asdict(core.config), "catalog": core.catalog.hash}
    return world


def largest_reward(env: VectorEnv, options: SACOptions) -> float | None:
    """Largest scaled reward of one step: one click per slot; ``None`` where the environment has no slates."""
    slate_size = getattr(getattr(env.unwrapped, "config", None), "slate_size", None)
    return None if slate_size is None else float(slate_size) * options.reward_scale
