"""Online agents: algorithms of stable-baselines3 and sb3-contrib on the wrapped vector environment.

- :mod:`~gems_gym_agents.online.sac`, :mod:`~gems_gym_agents.online.td3`, :mod:`~gems_gym_agents.online.tqc`,
  :mod:`~gems_gym_agents.online.crossq`: off policy; :mod:`~gems_gym_agents.online.dqn`, too, over candidate slates;
  :mod:`~gems_gym_agents.online.wolpertinger_sac`, among near items;
  :mod:`~gems_gym_agents.online.ppo`: on policy;
  :mod:`~gems_gym_agents.online.end_to_end` (``sac_end_to_end``), :mod:`~gems_gym_agents.online.recurrent_ppo`: those
  that learn their belief.
- :mod:`~gems_gym_agents.online.agent`: what they share; :mod:`~gems_gym_agents.online.options`: so do these settings;
  :mod:`~gems_gym_agents.online.settings`: as keywords of the libraries.
- :mod:`~gems_gym_agents.online.rounds`: the rounds of a training, resumed from
  :mod:`~gems_gym_agents.online.resume`; :mod:`~gems_gym_agents.online.callbacks`: what happens beside SB3's loop.
- :mod:`~gems_gym_agents.online.model`, :mod:`~gems_gym_agents.online.end_to_end_model`,
  :mod:`~gems_gym_agents.online.recurrent_model`: the networks.
- :mod:`~gems_gym_agents.online.vec_env`: SB3 on Gymnasium's vector environments.

Those who know stable-baselines3 can use its own classes with
:class:`~gems_gym_agents.online.vec_env.GymnasiumVecEnv` and
:class:`~gems_gym_agents.online.model.LayerNormSACPolicy`. Importing this package loads neither torch nor
stable-baselines3.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gems_gym_agents.online.crossq import CrossQAgent
    from gems_gym_agents.online.dqn import DQNAgent
    from gems_gym_agents.online.end_to_end import EndToEndSACAgent
    from gems_gym_agents.online.model import LayerNormSACPolicy
    from gems_gym_agents.online.ppo import PPOAgent
    from gems_gym_agents.online.recurrent_ppo import RecurrentPPOAgent
    from gems_gym_agents.online.sac import SACAgent
    from gems_gym_agents.online.td3 import TD3Agent
    from gems_gym_agents.online.tqc import TQCAgent
    from gems_gym_agents.online.vec_env import GymnasiumVecEnv
    from gems_gym_agents.online.wolpertinger_sac import WolpertingerSACAgent

__all__ = [
    "CrossQAgent",
    "DQNAgent",
    "EndToEndSACAgent",
    "GymnasiumVecEnv",
    "LayerNormSACPolicy",
    "PPOAgent",
    "RecurrentPPOAgent",
    "SACAgent",
    "TD3Agent",
    "TQCAgent",
    "WolpertingerSACAgent",
]

_MODULES = {
    "CrossQAgent": "crossq",
    "DQNAgent": "dqn",
    "EndToEndSACAgent": "end_to_end",
    "GymnasiumVecEnv": "vec_env",
    "LayerNormSACPolicy": "model",
    "PPOAgent": "ppo",
    "RecurrentPPOAgent": "recurrent_ppo",
    "SACAgent": "sac",
    "TD3Agent": "td3",
    "TQCAgent": "tqc",
    "WolpertingerSACAgent": "wolpertinger_sac",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
