"""A policy that sees beliefs, where only slates and clicks are to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.beliefs.base import updated_where_shown
from gems_gym.policies.base import Observed, Policy, Shown, tell_rewards


class BelievingPolicy:
    """Keeps the belief itself that a policy sees, so that it plays in an environment that shows slates and clicks.

    Args:
        policy: Sees beliefs.
        belief: Makes them of slates and clicks.

    Attributes:
        actions: The policy's.
        sha256: The policy's, if it has one.

    Examples:
        >>> import gymnasium, gems_gym, numpy as np
        >>> from gems_gym.beliefs import load_belief
        >>> from gems_gym.policies import MemorylessPolicy
        >>> ten = MemorylessPolicy(lambda beliefs: np.tile(np.arange(10), (len(beliefs), 1)), actions="slates")
        >>> policy = BelievingPolicy(ten, load_belief("gru-diffuse_mix"))
        >>> env = gymnasium.make_vec("GemsSlate-diffuse_mix-v0", num_envs=2)
        >>> observations, _ = env.reset(seed=[7, 8])
        >>> slates, state = policy.act(policy.open([7, 8]), observations)
        >>> slates.shape
        (2, 10)
    """

    observes: Observed = "slates"

    def __init__(self, policy: Policy, belief: BeliefEncoder) -> None:
        self._policy, self._belief = policy, belief
        self.actions: Shown = policy.actions
        self.sha256: str | None = getattr(policy, "sha256", None)

    def open(self, seeds: Sequence[int]) -> tuple[Any, Any]:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        return self._policy.open(seeds), self._belief.initial(len(seeds))

    def act(
        self, state: tuple[Any, Any], observations: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[Any], tuple[Any, Any]]:
        """Choose every user's action.

        Args:
            state: See :class:`~gems_gym.policies.Policy`.
            observations: ``slate`` and ``clicks``, each ``(num_users, slate_size)``; of a log also ``mask``, 0 where
                nothing is known to have been shown.

        Returns:
            The policy's actions, and the state.
        """
        inner, remembered = state
        slates, clicks = observations["slate"], observations["clicks"]
        if "mask" in observations:
            slates = np.where(observations["mask"], slates, -1)
        remembered = updated_where_shown(self._belief, remembered, slates, clicks)
        actions, inner = self._policy.act(inner, self._belief.read(remembered))
        return actions, (inner, remembered)

    def rewarded(self, state: tuple[Any, Any], rewards: NDArray[Any]) -> tuple[Any, Any]:
        """Tell the policy what its actions earned, if it is one that remembers that."""
        return tell_rewards(self._policy, state[0], rewards), state[1]
