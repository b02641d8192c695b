"""Policies that need no training; found by name through the entry-point group ``gems_gym.policies``."""

from gems_gym.policies.base import MemorylessPolicy, Policy, SlatePolicy, check_policy_options, make_policy

__all__ = ["MemorylessPolicy", "Policy", "SlatePolicy", "check_policy_options", "make_policy"]
