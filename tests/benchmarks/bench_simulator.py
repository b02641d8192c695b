"""How fast the worlds are, in user-steps or slates per second on one thread: ``make benchmark``.

Not part of the test run: a benchmark measures and asserts nothing. Every line of the table that pytest-benchmark
prints is followed by its rate in ``extra_info`` and, at the end, in a list of its own.
"""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import gems_gym  # noqa: F401 - registers the environments
from gems_gym.policies import make_policy
from gems_gym.pretraining.session_log import collect_session_log

ENV = "GemsSlate-diffuse_topdown-v0"
FIRST_STEP = f"""
import gymnasium, gems_gym
env = gymnasium.make("{ENV}")
env.reset()
env.step(env.action_space.sample())
"""


@pytest.mark.parametrize("num_envs", [64, 256, 1024, 4096, 16384])
def bench_vector_step(rate, num_envs):
    env = gymnasium.make_vec(ENV, num_envs=num_envs)
    env.reset(seed=0)
    actions = env.action_space.sample()
    steps = max(100, 200_000 // num_envs)  # whole sessions: what opening them costs is in

    def work():
        for _ in range(steps):
            env.step(actions)

    rate(work, steps * num_envs, "user-steps", rounds=10)


@pytest.mark.parametrize("task", ["SingleItem-BoredInf", "SlateTopK-BoredInf", "SlateRerank-Bored"])
def bench_vector_step_in_sardine(rate, task):
    env = gymnasium.make_vec(f"Sardine-{task}-v0", num_envs=256)
    env.reset(seed=0)
    actions = env.action_space.sample()

    def work():
        for _ in range(200):
            env.step(actions)

    rate(work, 200 * 256, "user-steps")


@pytest.mark.parametrize("slate_size", [5, 10, 20, 40])
def bench_vector_step_by_slate_size(rate, slate_size):
    env = gymnasium.make_vec(ENV, num_envs=256, slate_size=slate_size)
    env.reset(seed=0)
    actions = env.action_space.sample()

    def work():
        for _ in range(200):
            env.step(actions)

    rate(work, 200 * 256, "user-steps")


@pytest.mark.parametrize("num_items", [100, 1_000, 10_000, 100_000])
def bench_vector_step_by_catalogue_size(rate, num_items):
    env = gymnasium.make_vec(ENV, num_envs=256, num_items=num_items)
    env.reset(seed=0)
    actions = env.action_space.sample()

    def work():
        for _ in range(200):
            env.step(actions)

    rate(work, 200 * 256, "user-steps")


@pytest.mark.parametrize(
    "policy", ["random", "short_term_oracle", "eps_greedy_oracle", "boredom_aware_oracle"]
)
def bench_policy_slates(rate, policy):
    env = gymnasium.make_vec(ENV, num_envs=256)
    observations, _ = env.reset(seed=0)
    acting = make_policy(policy, env)
    state = acting.open(list(range(256)))

    def work():
        for _ in range(10):
            acting.act(state, observations)

    rate(work, 10 * 256, "slates")


def bench_epsilon_greedy_log(rate):
    rate(
        lambda: collect_session_log("diffuse_topdown", {"eps_greedy_oracle": 1}, 2_000, 0, progress=False),
        200_000,
        "logged slates",
        rounds=3,
    )


@pytest.mark.parametrize("wrapped", [True, False], ids=["default wrappers", "unwrapped"])
def bench_single_step(rate, wrapped):
    env = gymnasium.make(ENV)
    env = env if wrapped else env.unwrapped
    env.reset(seed=0)
    action = np.asarray(env.action_space.sample())

    def work():
        for _ in range(2_000):
            if env.step(action)[3]:
                env.reset()

    rate(work, 2_000, "steps")


def bench_import(rate):
    rate(
        lambda: subprocess.run([sys.executable, "-c", "import gems_gym"], check=True), 1, "imports", rounds=5
    )


def bench_first_step_with_a_compile_cache(rate):
    rate(lambda: subprocess.run([sys.executable, "-c", FIRST_STEP], check=True), 1, "first steps", rounds=5)


def bench_first_step_without_a_compile_cache(rate, tmp_path, monkeypatch):
    caches = iter(range(100))

    def fresh_cache():
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / str(next(caches))))

    rate(
        lambda: subprocess.run([sys.executable, "-c", FIRST_STEP], check=True, capture_output=True),
        1, "first steps", rounds=3, setup=fresh_cache,
    )  # fmt: skip
