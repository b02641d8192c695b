"""Online agents: stable-baselines3 on the wrapped vector environment.

:class:`~gems_gym_agents.online.sac.SACAgent` is the agent by name (``gems-gym train sac``). Those who know
stable-baselines3 can use its own classes with
:class:`~gems_gym_agents.online.vec_env.GymnasiumVecEnv` and
:class:`~gems_gym_agents.online.layer_norm_policy.LayerNormSACPolicy`. Importing this package loads neither torch nor
stable-baselines3.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gems_gym_agents.online.layer_norm_policy import LayerNormSACPolicy
    from gems_gym_agents.online.sac import SACAgent
    from gems_gym_agents.online.vec_env import GymnasiumVecEnv

__all__ = ["GymnasiumVecEnv", "LayerNormSACPolicy", "SACAgent"]

_MODULES = {"GymnasiumVecEnv": "vec_env", "LayerNormSACPolicy": "layer_norm_policy", "SACAgent": "sac"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
