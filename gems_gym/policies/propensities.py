"""How likely a policy shows a slate: what importance weights are made of, recorded or asked for later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gems_gym.policies.base import Observed, Policy, Shown, tell_rewards


class SlatePropensities(NamedTuple):
    """Probabilities of the items of slates, slot by slot, float64 ``(num_users, slate_size)`` in [0, 1].

    Attributes:
        given_above: Probability of each item given the items in the slots above it; their product is that of the slate.
        marginal: Probability of each item in its slot, whatever stands in the others; None where there is no closed
            form. The same as ``given_above`` where a policy fills its slots independently.
    """

    given_above: NDArray[np.float64]
    marginal: NDArray[np.float64] | None

    def at(self, rows: Any) -> SlatePropensities:
        """Those of some of the slates."""
        return SlatePropensities(
            self.given_above[rows], None if self.marginal is None else self.marginal[rows]
        )


@runtime_checkable
class KnowsPropensities(Protocol):
    """A policy with closed-form probabilities of its slates.

    A policy whose state is None needs no such method: it draws nothing, so it shows its slate with probability 1. Nor
    does one that remembers its session, but says by an attribute ``draws = False`` that it draws nothing.
    """

    def propensities(
        self, state: Any, observations: Any, slates: NDArray[np.int64]
    ) -> SlatePropensities | None:
        """How likely it was to show these slates; None if it turns out that there is no closed form.

        Args:
            state: What :meth:`~gems_gym.policies.Policy.act` returned for these observations; it is left as it is.
            observations: What ``act`` was given.
            slates: Any slates, int64 ``(num_users, slate_size)``, not only those that it chose; -1 where nothing is
                known to have been shown, as in some logs, whose probability doesn't matter.
        """
        ...


def slate_propensities(
    policy: Policy, state: Any, observations: Any, slates: NDArray[Any], chosen: NDArray[Any]
) -> SlatePropensities | None:
    """How likely a policy was to show some slates; None if nobody can say.

    Args:
        policy: Shows slates.
        state: See :class:`KnowsPropensities`.
        observations: Likewise.
        slates: Likewise.
        chosen: The slates that it chose.
    """
    if isinstance(policy, KnowsPropensities):
        return policy.propensities(state, observations, slates)
    if state is not None and getattr(policy, "draws", True):
        return None
    same = (slates == chosen).astype(np.float64)
    return SlatePropensities(same, same)


def independent_propensities(
    greedy: NDArray[np.int64], slates: NDArray[np.int64], epsilon: float, num_items: int
) -> SlatePropensities:
    """Those where each slot shows a uniformly random item with probability ε, else that of another slate.

    Args:
        greedy: The other slates, int64 ``(num_users, slate_size)``.
        slates: Slates, likewise.
        epsilon: In [0, 1].
        num_items: Items in the catalogue.
    """
    found = (1.0 - epsilon) * (slates == greedy) + epsilon / num_items
    return SlatePropensities(found, found)


def uniform_propensities(slates: NDArray[np.int64], num_items: int) -> SlatePropensities:
    """Those of slates that are drawn uniformly from all without duplicates.

    Args:
        slates: Slates, int64 ``(num_users, slate_size)``; -1 where nothing is known to have been shown.
        num_items: Items in the catalogue.
    """
    known = slates >= 0
    equal = slates[:, :, None] == slates[:, None, :]  # (num_users, slate_size, slate_size)
    repeated = np.tril(equal, -1).any(axis=2) & known
    left = num_items - (np.cumsum(known, axis=1) - known)
    return SlatePropensities(np.where(repeated, 0.0, 1.0 / left), np.full(slates.shape, 1.0 / num_items))


class RecordedPropensities:
    """A policy beside which the propensities of the slates that it chose last stand.

    Args:
        policy: Shows slates.

    Attributes:
        last: Those of its last slates; None before the first ones.

    Raises:
        ValueError: A policy of latents: which slates they become has no closed form.
    """

    def __init__(self, policy: Policy) -> None:
        if policy.actions != "slates":
            raise ValueError(
                "propensities are those of slates, and this policy acts in latents, whose slates have no closed form: "
                "leave propensities out"
            )
        self.policy = policy
        self.observes: Observed = policy.observes
        self.actions: Shown = policy.actions
        self.sha256: str | None = getattr(policy, "sha256", None)
        self.last: SlatePropensities | None = None
        if hasattr(policy, "session_infos"):
            self.session_infos = policy.session_infos

    def open(self, seeds: Sequence[int]) -> Any:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        self.last = None
        return self.policy.open(seeds)

    def act(self, state: Any, observations: Any) -> tuple[NDArray[Any], Any]:
        """Choose every user's slate; see :class:`~gems_gym.policies.Policy`.

        Raises:
            ValueError: A policy that draws its slates and does not know their probabilities.
        """
        slates, state = self.policy.act(state, observations)
        self.last = slate_propensities(self.policy, state, observations, slates, slates)
        if self.last is None:
            raise ValueError(
                f"{type(self.policy).__name__} does not know the propensities of its slates (it has no method "
                "propensities): leave propensities out"
            )
        return slates, state

    def rewarded(self, state: Any, rewards: NDArray[Any]) -> Any:
        """Tell the policy what its slates earned, if it is one that remembers that."""
        return tell_rewards(self.policy, state, rewards)
