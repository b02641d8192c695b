"""Sessions that are opened with given users have no generator to draw from."""

import numpy as np
import pytest

from gems_gym.simulator import make_simulator, resolve_world

SLATES = np.arange(20).reshape(2, 10)


def test_a_step_without_uniforms_is_refused() -> None:
    config, catalog = resolve_world("diffuse_mix", None)
    simulator = make_simulator(config, catalog, num_users=2)
    given = np.full((2, 20), 0.1), np.full((2, 1, 10), 0.5, np.float32), np.zeros(2, np.int64)
    for _ in range(2):  # nobody was opened before; then both were
        simulator.open_given_sessions(*given)
        with pytest.raises(RuntimeError, match="have no generator: give uniforms"):
            simulator.step(SLATES)
        simulator.step(SLATES, np.full((2, 1, 10), 0.5, np.float32))
        simulator.open_sessions([np.random.default_rng(seed) for seed in (0, 1)])
        simulator.step(SLATES)
    simulator.open_given_sessions(*(array[:1] for array in given), which=np.array([1]))
    simulator.step(SLATES[:1], which=np.array([0]))
    with pytest.raises(RuntimeError, match="have no generator"):
        simulator.step(SLATES)
