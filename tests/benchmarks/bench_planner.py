"""How fast planners act and are collected with, beside the environment's steps at the same moment: ``make benchmark``.

The model holds what is true of the world: what a slate costs does not depend on where the numbers come from.
"""

import gymnasium
import pytest

import gems_gym  # noqa: F401 - registers the environments
from gems_gym.datasets import collect
from gems_gym_agents.user_model.model import Rules, UserModel
from gems_gym_agents.user_model.planner import PlannerPolicy

ENV = "GemsSlate-diffuse_topdown-v0"
USERS, SESSIONS = 1_000, 256


def opened(num_envs):
    env = gymnasium.make_vec(ENV, num_envs=num_envs, autoreset_mode="disabled")
    return env, env.reset(seed=0)[0]


@pytest.fixture(scope="module")
def planner():
    env, _ = opened(512)
    world = env.simulator.dynamics
    rules = Rules(boredom_threshold=5, memory=10, window=5, timeout=5)
    prior = env.simulator.users.preference.astype(float)
    model = UserModel(world.items, world.item_topics, 2, world.propensities, 100.0, 0.9, rules, prior)
    return PlannerPolicy(model, PlannerPolicy.search_start(model)[0])


@pytest.fixture
def env_steps():
    """A hundred steps of the environment."""
    env, _ = opened(USERS)
    slates = env.action_space.sample()

    def work():
        env.reset(seed=0)
        for _ in range(100):
            env.step(slates)

    return work, 100 * USERS, "steps of the environment"


def bench_acting(ratio, planner, env_steps):
    """With the belief that is left after 15 steps."""
    env, seen = opened(USERS)
    state = planner.open(range(USERS))
    for _ in range(16):
        slates, state = planner.act(state, seen)
        seen = env.step(slates)[0]
    ratio(lambda: planner.act(state, seen), USERS, "slates", *env_steps)


@pytest.mark.parametrize("name", ["planner", "random"])
def bench_collecting(ratio, planner, env_steps, tmp_path, monkeypatch, name):
    """Whole sessions, written to disk with their infos; random slates say what playing and writing cost."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    policy = planner if name == "planner" else name

    def work():
        collect(
            ENV, policy, dataset_id=f"benchmark/{name}-v0", episodes=SESSIONS, seed=0, overwrite=True,
            reference_scores=(0.0, 1.0), progress=False,
        )  # fmt: skip

    ratio(work, SESSIONS, "sessions", *env_steps, rounds=3)
