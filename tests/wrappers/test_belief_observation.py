"""gems_gym.wrappers.BeliefObservation and its vector twin, in every autoreset mode."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

from gems_gym.beliefs import GruBelief
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.rankers import GemsRanker
from gems_gym.wrappers import BeliefObservation, LatentAction, VectorBeliefObservation

NUM_ENVS, STEPS, SEED = 3, 4, 11
MODES = ["same_step", "next_step", "disabled"]


def random_slates(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 60, (*shape, 5))


def single_sessions(world: dict[str, Any], encoder: GruBelief, user: int, slates: np.ndarray) -> np.ndarray:
    """Beliefs of a user's two sessions one after the other, (2, STEPS + 1, 20); slates (2, STEPS, 5)."""
    env = BeliefObservation(SlateEnv(**world), encoder)
    beliefs = np.empty((2, STEPS + 1, 20), dtype=np.float32)
    for session in range(2):
        beliefs[session, 0], _ = env.reset(seed=SEED + user if session == 0 else None)
        for step in range(STEPS):
            beliefs[session, step + 1], _, _, truncated, _ = env.step(slates[session, step])
        assert truncated
    return beliefs


def vector_sessions(envs: VectorBeliefObservation, mode: str, slates: np.ndarray) -> np.ndarray:
    """The same from a vector environment, (2, STEPS + 1, NUM_ENVS, 20); slates (2, STEPS, NUM_ENVS, 5)."""
    beliefs = np.full((2, STEPS + 1, NUM_ENVS, 20), np.nan, dtype=np.float32)
    beliefs[0, 0], _ = envs.reset(seed=SEED)
    for session in range(2):
        for step in range(STEPS):
            beliefs[session, step + 1], _, _, truncated, infos = envs.step(slates[session, step])
        assert truncated.all()
        if mode == "same_step":
            next_first = beliefs[session, STEPS].copy()
            beliefs[session, STEPS] = np.stack(list(infos["final_obs"]))
        elif mode == "next_step":
            next_first, rewards, *_ = envs.step(slates[session, 0])
            assert not rewards.any()
        else:
            next_first, _ = envs.reset()
        if session == 0:
            beliefs[1, 0] = next_first
    return beliefs


def test_observes_the_folded_session(tiny_world: dict[str, Any], tiny_belief: GruBelief) -> None:
    env = BeliefObservation(SlateEnv(**tiny_world), tiny_belief)
    assert env.observation_space == gym.spaces.Box(-1, 1, (20,), np.float32)
    observation, info = env.reset(seed=0)
    belief = tiny_belief.initial(1)
    for slate in [*random_slates(STEPS), None]:
        belief = tiny_belief.update(belief, info["slate"][None], info["clicks"][None])
        np.testing.assert_array_equal(observation, belief[0])
        if slate is not None:
            observation, _, _, _, info = env.step(slate)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sync", [False, True])
def test_vector_twin_gives_the_same_bits(
    mode: str, sync: bool, tiny_world: dict[str, Any], tiny_belief: GruBelief
) -> None:
    slates = random_slates(2, STEPS, NUM_ENVS)
    if sync:
        reset_mode = gym.vector.AutoresetMode[mode.upper()]
        raw: Any = SyncVectorEnv([lambda: SlateEnv(**tiny_world)] * NUM_ENVS, autoreset_mode=reset_mode)
    else:
        raw = SlateVectorEnv(NUM_ENVS, autoreset_mode=mode, **tiny_world)
    envs = VectorBeliefObservation(raw, tiny_belief)
    assert envs.observation_space.shape == (NUM_ENVS, 20)
    together = vector_sessions(envs, mode, slates)
    for user in range(NUM_ENVS):
        alone = single_sessions(tiny_world, tiny_belief, user, slates[:, :, user])
        np.testing.assert_array_equal(together[:, :, user], alone)


def test_reset_mask_starts_only_the_masked_beliefs(
    tiny_world: dict[str, Any], tiny_belief: GruBelief
) -> None:
    slates = random_slates(2, NUM_ENVS)
    envs = VectorBeliefObservation(
        SlateVectorEnv(NUM_ENVS, autoreset_mode="disabled", **tiny_world), tiny_belief
    )
    envs.reset(seed=SEED)
    before, *_ = envs.step(slates[0])
    mask = np.array([False, True, False])
    masked, infos = envs.reset(seed=[None, 99, None], options={"reset_mask": mask})
    np.testing.assert_array_equal(masked[~mask], before[~mask])
    first, _ = BeliefObservation(SlateEnv(**tiny_world), tiny_belief).reset(seed=99)
    np.testing.assert_array_equal(masked[1], first)
    np.testing.assert_array_equal(infos["_slate"], mask)
    after, *_, infos = envs.step(slates[1])
    np.testing.assert_array_equal(after, tiny_belief.update(masked, infos["slate"], infos["clicks"]))


def test_same_step_infos_are_untouched_but_for_final_obs(
    tiny_world: dict[str, Any], tiny_belief: GruBelief
) -> None:
    raw = SlateVectorEnv(NUM_ENVS, **tiny_world)
    envs = VectorBeliefObservation(SlateVectorEnv(NUM_ENVS, **tiny_world), tiny_belief)
    raw.reset(seed=SEED)
    envs.reset(seed=SEED)
    for slates in random_slates(STEPS, NUM_ENVS):
        *_, expected = raw.step(slates)
        *_, found = envs.step(slates)
    assert found.keys() == expected.keys()
    assert found["final_obs"].dtype == object
    assert all(belief.shape == (20,) and belief.dtype == np.float32 for belief in found["final_obs"])
    assert set(expected["final_obs"][0]) == {"slate", "clicks"}
    for key in found.keys() - {"final_obs", "final_info"}:
        np.testing.assert_array_equal(found[key], expected[key])
    for key, value in expected["final_info"].items():
        np.testing.assert_array_equal(found["final_info"][key], value)


def test_only_ended_sessions_start_anew_when_users_are_out_of_step(
    tiny_world: dict[str, Any], tiny_belief: GruBelief
) -> None:
    """Reset by mask puts users out of step; then same-step endings come one at a time."""
    envs = VectorBeliefObservation(SlateVectorEnv(2, **tiny_world), tiny_belief)
    envs.reset(seed=SEED)
    envs.step(random_slates(2))
    envs.reset(options={"reset_mask": np.array([False, True])})
    beliefs, infos = None, {}
    for slates in random_slates(STEPS - 1, 2):
        previous = beliefs
        beliefs, _, _, truncated, infos = envs.step(slates)
    np.testing.assert_array_equal(truncated, [True, False])
    np.testing.assert_array_equal(infos["_final_obs"], [True, False])
    assert infos["final_obs"][1] is None
    expected = tiny_belief.update(previous, infos["final_info"]["slate"], infos["final_info"]["clicks"])[0]
    np.testing.assert_array_equal(infos["final_obs"][0], expected)
    prior = np.stack([tiny_belief.initial(1)[0], previous[1]])
    np.testing.assert_array_equal(beliefs, tiny_belief.update(prior, infos["slate"], infos["clicks"]))


def test_the_callers_arrays_are_the_callers(tiny_world: dict[str, Any], tiny_belief: GruBelief) -> None:
    slates = random_slates(2, NUM_ENVS)
    runs = []
    for spoil in (False, True):
        envs = VectorBeliefObservation(SlateVectorEnv(NUM_ENVS, **tiny_world), tiny_belief)
        env = BeliefObservation(SlateEnv(**tiny_world), tiny_belief)
        (beliefs, _), (belief, _) = envs.reset(seed=1), env.reset(seed=1)
        for step in range(2):
            if spoil:
                beliefs[:], belief[:] = 0.5, 0.5
            beliefs, belief = envs.step(slates[step])[0], env.step(slates[step, 0])[0]
        runs.append((beliefs, belief))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_step_before_reset_is_an_error(tiny_world: dict[str, Any], tiny_belief: GruBelief) -> None:
    with pytest.raises(gym.error.ResetNeeded, match="before the first reset"):
        BeliefObservation(SlateEnv(**tiny_world), tiny_belief).step(random_slates())
    with pytest.raises(gym.error.ResetNeeded, match="before the first reset"):
        VectorBeliefObservation(SlateVectorEnv(2, **tiny_world), tiny_belief).step(random_slates(2))


def test_another_catalogue_is_an_error_with_both_hashes(
    tiny_world: dict[str, Any], tiny_belief: GruBelief
) -> None:
    other = SlateEnv(**tiny_world, catalog_seed=99)
    with pytest.raises(ValueError, match=tiny_belief.catalog_hash) as caught:
        BeliefObservation(other, tiny_belief)
    assert other.catalog.hash in str(caught.value)
    with pytest.raises(ValueError, match=other.catalog.hash):
        VectorBeliefObservation(SlateVectorEnv(2, **tiny_world, catalog_seed=99), tiny_belief)


def test_a_ranker_is_no_encoder(tiny_world: dict[str, Any], tiny_ranker: GemsRanker, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="ranker/gems, which has no initial"):
        BeliefObservation(SlateEnv(**tiny_world), tiny_ranker)  # type: ignore[arg-type]
    tiny_ranker.save(tmp_path / "ranker.safetensors")
    with pytest.raises(ValueError, match="is a ranker/gems; a belief was expected"):
        BeliefObservation(SlateEnv(**tiny_world), tmp_path / "ranker.safetensors")


def test_other_observations_and_vectors_without_a_mode_are_refused(
    tiny_world: dict[str, Any], tiny_belief: GruBelief
) -> None:
    with pytest.raises(TypeError, match="inside a belief wrapper already"):
        BeliefObservation(BeliefObservation(SlateEnv(**tiny_world), tiny_belief), tiny_belief)
    envs = SlateVectorEnv(2, **tiny_world)
    envs.metadata = {}
    with pytest.raises(ValueError, match="autoreset_mode"):
        VectorBeliefObservation(envs, tiny_belief)


def wrapped(world: dict[str, Any], ranker: GemsRanker, encoder: GruBelief) -> gym.Env:
    return BeliefObservation(LatentAction(SlateEnv(**world), ranker), encoder)


def test_gymnasiums_checker(
    tiny_world: dict[str, Any], tiny_ranker: GemsRanker, tiny_belief: GruBelief
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Only the bare environment is meant to be checked, says the checker of any wrapped one.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        warnings.filterwarnings("ignore", message=".*Not able to test alternative render modes.*")
        check_env(wrapped(tiny_world, tiny_ranker, tiny_belief), skip_render_check=True)


def test_stable_baselines3s_checker(
    tiny_world: dict[str, Any], tiny_ranker: GemsRanker, tiny_belief: GruBelief
) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(wrapped(tiny_world, tiny_ranker, tiny_belief), skip_render_check=True)
