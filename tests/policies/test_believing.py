"""A policy that sees beliefs, in an environment that shows slates: it says how likely its slates were."""

import numpy as np

from gems_gym.beliefs import LastObservation
from gems_gym.policies import MemorylessPolicy
from gems_gym.policies.believing import BelievingPolicy
from gems_gym.policies.propensities import RecordedPropensities, SlatePropensities

BELIEF = LastObservation(num_items=9, slate_size=2, catalog_hash="none")
SEEN = {"slate": np.array([[1, 2], [3, 4]]), "clicks": np.array([[0, 1], [0, 0]])}


def test_a_policy_that_draws_nothing_shows_its_slates_for_sure() -> None:
    inner = MemorylessPolicy(lambda beliefs: np.array([[5, 6], [7, 8]])[: len(beliefs)], actions="slates")
    recorded = RecordedPropensities(BelievingPolicy(inner, BELIEF))
    recorded.act(recorded.open([0, 1]), SEEN)
    assert recorded.last is not None
    np.testing.assert_array_equal(recorded.last.given_above, np.ones((2, 2)))


def test_a_policy_that_knows_is_asked_with_the_beliefs_that_it_saw() -> None:
    class Knows(MemorylessPolicy):
        def propensities(
            self, state: object, observations: np.ndarray, slates: np.ndarray
        ) -> SlatePropensities:
            assert observations.shape == (2, BELIEF.size)
            return SlatePropensities(np.full(slates.shape, 0.25), None)

    policy = BelievingPolicy(Knows(lambda beliefs: np.zeros((2, 2), int), actions="slates"), BELIEF)
    _, state = policy.act(policy.open([0, 1]), SEEN)
    found = policy.propensities(state, SEEN, SEEN["slate"])
    assert found is not None
    np.testing.assert_array_equal(found.given_above, 0.25)
