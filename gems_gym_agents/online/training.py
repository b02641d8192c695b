"""SB3's SAC with the recipe's settings: made, trained by its own ``learn``, and its actor exported.

The only module of the online agents that :mod:`gems_gym_agents.online.sac` loads when ``fit`` is called: importing it
imports torch and stable-baselines3.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure
from stable_baselines3.sac.policies import SACPolicy

from gems_gym.policies.actor import Actor
from gems_gym.progress import track
from gems_gym.user_splits import user_seeds
from gems_gym_agents.actors import actor_from_modules
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online.callbacks import CheckpointCallback, ProgressCallback, QBoundCallback
from gems_gym_agents.online.checkpoints import CheckpointRecorder
from gems_gym_agents.online.layer_norm_policy import LayerNormSACPolicy
from gems_gym_agents.online.replay_buffer import ScaledReplayBuffer
from gems_gym_agents.online.vec_env import GymnasiumVecEnv

if TYPE_CHECKING:
    from gems_gym_agents.online.options import SACOptions


def make_sac(options: SACOptions, env: VectorEnv, *, seed: int, device: str = "cpu") -> SAC:
    """Makes SB3's SAC for a vector environment, seeded, with users of the training split.

    Seeds the global random generators, as SB3 does (see :func:`gems_gym_agents.library_state.borrowed_global_state`).

    Args:
        options: the settings.
        env: Box observations (observation_size,), actions Box(-1, 1, (action_size,)), autoreset SAME_STEP.
        seed: of networks, exploration and batches; and of the users, through the training split.
        device: a torch device.

    Returns:
        A model whose ``learn`` is ready to be called.
    """
    vec_env = GymnasiumVecEnv(env)
    model = SAC(
        LayerNormSACPolicy if options.layer_norm else SACPolicy,
        vec_env,
        learning_rate=options.learning_rate,
        buffer_size=options.buffer_size,
        learning_starts=options.learning_starts,
        batch_size=options.batch_size,
        tau=options.tau,
        gamma=options.gamma,
        train_freq=1,
        gradient_steps=options.gradient_steps,
        replay_buffer_class=ScaledReplayBuffer,
        replay_buffer_kwargs={"reward_scale": options.reward_scale},
        ent_coef=f"auto_{options.initial_entropy!r}",
        target_entropy="auto" if options.target_entropy is None else options.target_entropy,
        # as many sessions as end together, so that the mean is over all users
        stats_window_size=max(100, env.num_envs),
        # fused: one call per optimiser step instead of one per tensor, about 15 % of an update's time
        policy_kwargs={"net_arch": list(options.net_arch), "optimizer_kwargs": {"fused": True}},
        seed=seed,
        device=device,
    )
    # SB3 has seeded the users with seed, seed + 1, ...; two seeds would then share most of their users.
    vec_env.seed(user_seeds("training", seed, env.num_envs))
    return model


def export_actor(model: SAC, metadata: dict[str, Any] | None = None) -> Actor:
    """Copies the deterministic policy of a SAC model (or one of SB3's own making) into numpy.

    Args:
        model: a model with a flat Box observation and the default (flattening) features extractor.
        metadata: JSON-able values to keep with it.

    Returns:
        An actor whose ``act`` agrees with ``model.predict(observations, deterministic=True)``.
    """
    from torch import nn

    return actor_from_modules([model.actor.latent_pi, model.actor.mu, nn.Tanh()], metadata=metadata)


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
) -> None:
    """Trains, leaving every validated policy and the last one in the recorder, even when interrupted or failing.

    Args:
        options: the settings.
        env: see :func:`make_sac`.
        recorder: gets the policies, the last one unscored if training is interrupted.
        steps: interactions (users times steps), rounded up to whole vector steps.
        seed: decides everything random.
        directory: curves are written to ``directory/logs`` (CSV and TensorBoard); ``None``: nowhere.
        device: a torch device.
        progress: draw a bar on stderr.

    Raises:
        KeyboardInterrupt: Ctrl-C, passed on once the last policy is recorded.
        DivergedError: the critics have left their bound.
    """
    check_spaces(env)
    with borrowed_global_state(device):
        model = make_sac(options, env, seed=seed, device=device)
        logger = (
            Logger(None, [])
            if directory is None
            else configure(str(directory / "logs"), ["csv", "tensorboard"])
        )
        model.set_logger(logger)

        def export(interactions: int) -> Actor:
            return export_actor(model, {"agent": "sac", "seed": seed, "interactions": interactions})

        checkpoints = CheckpointCallback(recorder, options.validate_every, export)
        callbacks: list[BaseCallback] = [
            checkpoints,
            QBoundCallback(largest_reward(env, options), options.gamma),
        ]
        finished = False
        try:
            with track("SAC", steps, progress) as advance:
                callbacks.append(ProgressCallback(advance, steps, recorder))
                # Users end their sessions together: one line of the log per round, not one per user.
                model.learn(steps, callback=callbacks, log_interval=env.num_envs)
            finished = True
        finally:
            if model.num_timesteps > 0:
                checkpoints.record(score=finished)
            logger.close()


def largest_reward(env: VectorEnv, options: SACOptions) -> float | None:
    """Largest scaled reward of one step: one click per slot; ``None`` where the environment has no slates."""
    slate_size = getattr(getattr(env.unwrapped, "config", None), "slate_size", None)
    return None if slate_size is None else float(slate_size) * options.reward_scale


def check_spaces(env: VectorEnv) -> None:
    """Refuses what SAC cannot learn from, and says which wrapper is missing.

    Raises:
        TypeError: not a vector environment.
        ValueError: observations that are no flat Box, or actions other than Box(-1, 1, (n,)).
    """
    if not isinstance(env, VectorEnv):
        raise TypeError(
            f"source={env!r} is a {type(env).__name__}; a gymnasium.vector.VectorEnv was expected"
        )
    observation, action = env.single_observation_space, env.single_action_space
    if not (isinstance(observation, spaces.Box) and len(observation.shape) == 1):
        raise ValueError(
            f"source has the observation space {observation}; a flat Box was expected: "
            "wrap it in VectorBeliefObservation"
        )
    in_unit_box = isinstance(action, spaces.Box) and np.all(action.low == -1.0) and np.all(action.high == 1.0)
    if not in_unit_box or len(action.shape or ()) != 1:
        raise ValueError(
            f"source has the action space {action}; Box(-1, 1, (n,)) was expected: wrap it in VectorLatentAction"
        )
