"""SB3's SAC with the recipe's settings: made for a vector environment, and its actor exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3 import SAC
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.sac.policies import SACPolicy

from gems_gym.policies.actor import Actor
from gems_gym.user_splits import user_seeds
from gems_gym_agents.actors import actor_from_modules
from gems_gym_agents.online.layer_norm_policy import LayerNormSACPolicy
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.replay_buffer import ScaledReplayBuffer
from gems_gym_agents.online.vec_env import GymnasiumVecEnv


class HeldStartSAC(SAC):
    """SB3's SAC, each of whose first random actions is held for a session of its user."""

    _held: np.ndarray  # (num_users, action_size)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        action, buffer_action = super()._sample_action(learning_starts, action_noise, n_envs)
        if self.num_timesteps >= learning_starts:
            return action, buffer_action
        begins = self.env.session_steps == 0  # type: ignore[union-attr]  # ours has it; all begin at the first
        self._held = action if begins.all() else np.where(begins[:, None], action, self._held)
        return self._held, self._held  # in Box(-1, 1), where SB3 scales nothing


def make_sac(
    options: SACOptions,
    env: VectorEnv,
    *,
    seed: int,
    device: str = "cpu",
    policy_class: type[LayerNormSACPolicy] = LayerNormSACPolicy,
    replay_buffer_class: type[ScaledReplayBuffer] = ScaledReplayBuffer,
    replay_buffer_kwargs: Mapping[str, Any] | None = None,
    policy_kwargs: Mapping[str, Any] | None = None,
) -> SAC:
    """Makes SB3's SAC for a vector environment, seeded, with users of the training split.

    Seeds the global random generators, as SB3 does (see :func:`gems_gym_agents.library_state.borrowed_global_state`).

    Args:
        options: the settings.
        env: Box observations (observation_size,), actions Box(-1, 1, (action_size,)), autoreset SAME_STEP.
        seed: of networks, exploration and batches; and of the users, through the training split.
        device: a torch device.
        policy_class: SB3's policy with layer normalisation.
        replay_buffer_class: where transitions are kept.
        replay_buffer_kwargs: for it, besides the reward scale.
        policy_kwargs: for SB3's policy, besides what the options say.

    Returns:
        A model whose ``learn`` is ready to be called.
    """
    vec_env = GymnasiumVecEnv(env)
    algorithm = HeldStartSAC if options.hold_random_actions else SAC
    model = algorithm(
        policy_class if options.layer_norm else SACPolicy,
        vec_env,
        learning_rate=options.learning_rate,
        buffer_size=options.buffer_size,
        learning_starts=options.learning_starts,
        batch_size=options.batch_size,
        tau=options.tau,
        gamma=options.gamma,
        train_freq=1,
        gradient_steps=options.gradient_steps,
        replay_buffer_class=replay_buffer_class,
        replay_buffer_kwargs={"reward_scale": options.reward_scale, **(replay_buffer_kwargs or {})},
        ent_coef=f"auto_{options.initial_entropy!r}",
        target_entropy="auto" if options.target_entropy is None else options.target_entropy,
        # as many sessions as end together, so that the mean is over all users
        stats_window_size=max(100, env.num_envs),
        # fused: one call per optimiser step instead of one per tensor, about 15 % of an update's time
        policy_kwargs={
            "net_arch": list(options.net_arch),
            "optimizer_kwargs": {"fused": True},
            **(policy_kwargs or {}),
        },
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
