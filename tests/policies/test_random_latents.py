"""Random latents: uniform, and each user's own."""

import numpy as np

from gems_gym.policies.random_latents import RandomLatents


def drawn(seeds, steps=3):
    policy = RandomLatents(4)
    state = policy.open(seeds)
    return np.stack([policy.act(state, None)[0] for _ in range(steps)])  # (steps, num_users, 4)


def test_uniform_in_the_box():
    latents = drawn(range(500), 10)
    assert latents.dtype == np.float32
    assert np.abs(latents).max() <= 1
    np.testing.assert_allclose(np.quantile(latents, [0.1, 0.5, 0.9]), [-0.8, 0, 0.8], atol=0.03)


def test_a_users_latents_do_not_depend_on_the_users_beside():
    together = drawn([5, 6, 7])
    np.testing.assert_array_equal(together[:, [1]], drawn([6]))
    assert (together[:, 0] != together[:, 1]).all()
    assert (together[0] != together[1]).all()
