"""Policies that need no training; found by name through the entry-point group ``gems_gym.policies``."""

from gems_gym.policies.base import Policy, SlatePolicy, make_policy

__all__ = ["Policy", "SlatePolicy", "make_policy"]
