"""The worlds as Gymnasium environments: one user (:class:`SlateEnv`) or many in lockstep (:class:`SlateVectorEnv`)."""

from gems_gym.envs.slate import SlateEnv
from gems_gym.envs.slate_vector import SlateVectorEnv

__all__ = ["SlateEnv", "SlateVectorEnv"]
