import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_gym.user_splits import SPLITS, USERS_PER_SEED, user_seeds

blocks = st.tuples(st.sampled_from(SPLITS), st.integers(0, 2**20 - 1))


@given(first=blocks, second=blocks, counts=st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_blocks_never_share_a_user(first, second, counts):
    if first != second:
        assert not set(user_seeds(*first, counts[0])) & set(user_seeds(*second, counts[1]))


def test_the_ends_of_neighbouring_blocks_do_not_meet():
    last = user_seeds("validation", 2**20 - 1, 1, start=USERS_PER_SEED - 1)[0]
    assert last + 1 == user_seeds("test", 0, 1)[0]


def test_small_seeds_are_training_users():
    assert user_seeds("training", 0, 3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tset", 0, 1), "did you mean 'test'"),
        (("test", -1, 1), "seed must be an integer from 0 to 1048575, got -1"),
        (("test", 2**20, 1), "seed must be an integer from 0 to 1048575, got 1048576"),
        (("test", 0, 0), "count must be an integer from 1 to 1048576, got 0"),
        (("test", 0, USERS_PER_SEED + 1), "count must be an integer from 1 to 1048576"),
        (("test", 0, USERS_PER_SEED, 1), "stands for"),
    ],
)
def test_wrong_blocks_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        user_seeds(*arguments)
