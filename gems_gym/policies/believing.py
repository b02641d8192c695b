"""A policy that sees beliefs, where only slates and clicks are to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.beliefs.base import updated_where_shown
from gems_gym.policies.base import Observed, Policy, Shown, tell_rewards, tell_shown
from gems_gym.policies.propensities import SlatePropensities, slate_propensities


class Believing(NamedTuple):
    """What is remembered of sessions: by the policy, by the belief, and the actions of the last step."""

    policy: Any
    belief: Any
    actions: NDArray[Any] | None


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
        if hasattr(policy, "session_infos"):
            self.session_infos = policy.session_infos

    def open(self, seeds: Sequence[int]) -> Believing:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        return Believing(self._policy.open(seeds), self._belief.initial(len(seeds)), None)

    def act(
        self, state: Believing, observations: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[Any], Believing]:
        """Choose every user's action.

        Args:
            state: See :class:`~gems_gym.policies.Policy`.
            observations: ``slate`` and ``clicks``, each ``(num_users, slate_size)``; of a log also ``mask``, 0 where
                nothing is known to have been shown.

        Returns:
            The policy's actions, and the state.
        """
        slates, clicks = observations["slate"], observations["clicks"]
        if "mask" in observations:
            slates = np.where(observations["mask"], slates, -1)
        belief = updated_where_shown(self._belief, state.belief, slates, clicks)
        actions, inner = self._policy.act(state.policy, self._belief.read(belief))
        return actions, Believing(inner, belief, actions)

    def rewarded(self, state: Believing, rewards: NDArray[Any]) -> Believing:
        """Tell the policy what its actions earned, if it is one that remembers that."""
        return state._replace(policy=tell_rewards(self._policy, state.policy, rewards))

    def showed(self, state: Believing, actions: NDArray[Any]) -> Believing:
        """Tell the policy what was done instead of its last actions, if it is one that remembers that."""
        return state._replace(policy=tell_shown(self._policy, state.policy, actions))

    def propensities(
        self, state: Believing, observations: Any, slates: NDArray[np.int64]
    ) -> SlatePropensities | None:
        """Those of the policy, which saw beliefs; see :class:`~gems_gym.policies.propensities.KnowsPropensities`."""
        assert state.actions is not None  # of act()
        beliefs = self._belief.read(state.belief)
        return slate_propensities(self._policy, state.policy, beliefs, slates, state.actions)
