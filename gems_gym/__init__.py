"""Slate recommendation as Gymnasium environments, with GeMS latent actions, GRU beliefs and Minari datasets.

>>> import gymnasium
>>> import gems_gym
>>> env = gymnasium.make("GemsSlate-diffuse_topdown-v0")
>>> observation, info = env.reset(seed=0)
>>> observation["slate"].shape
(10,)
"""

from gems_gym.config import PRESETS, SlateConfig
from gems_gym.registration import register_environments, register_preset
from gems_gym.sardine_config import SardineConfig

__version__ = "0.1.0"
__all__ = ["PRESETS", "SardineConfig", "SlateConfig", "register_environments", "register_preset"]

register_environments()
