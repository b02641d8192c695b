"""Online agents: stable-baselines3 on the wrapped vector environment.

:class:`~gems_gym_agents.online.sac.SACAgent` is the agent by name (``gems-gym train sac``). Those who know
stable-baselines3 can use its own classes with
:class:`~gems_gym_agents.online.vec_env.GymnasiumVecEnv` and
:class:`~gems_gym_agents.online.layer_norm_policy.LayerNormSACPolicy`. Importing this package loads neither torch nor
stable-baselines3.
"""
