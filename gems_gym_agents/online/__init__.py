"""Online agents: stable-baselines3 on the wrapped vector environment.

- :mod:`~gems_gym_agents.online.sac`: the agent (``gems-gym train sac``) and its options;
  :mod:`~gems_gym_agents.online.end_to_end`: the one that learns its belief (``sac_end_to_end``).
- :mod:`~gems_gym_agents.online.rounds`: the rounds of a training, resumed from
  :mod:`~gems_gym_agents.online.resume`; :mod:`~gems_gym_agents.online.callbacks`: what happens beside SB3's loop.
- :mod:`~gems_gym_agents.online.model`, :mod:`~gems_gym_agents.online.end_to_end_model`: the networks.
- :mod:`~gems_gym_agents.online.vec_env`: SB3 on Gymnasium's vector environments.

Those who know stable-baselines3 can use its own classes with
:class:`~gems_gym_agents.online.vec_env.GymnasiumVecEnv` and
:class:`~gems_gym_agents.online.model.LayerNormSACPolicy`. Importing this package loads neither torch nor
stable-baselines3.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gems_gym_agents.online.end_to_end import EndToEndSACAgent
    from gems_gym_agents.online.model import LayerNormSACPolicy
    from gems_gym_agents.online.sac import SACAgent
    from gems_gym_agents.online.vec_env import GymnasiumVecEnv

__all__ = ["EndToEndSACAgent", "GymnasiumVecEnv", "LayerNormSACPolicy", "SACAgent"]

_MODULES = {
    "EndToEndSACAgent": "end_to_end",
    "GymnasiumVecEnv": "vec_env",
    "LayerNormSACPolicy": "model",
    "SACAgent": "sac",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
