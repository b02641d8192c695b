import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym import plugins
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.policies import MemorylessPolicy, make_policy
from gems_gym.policies.constant_slate import ConstantSlate, find_constant_slate
from gems_gym.rollouts import play_sessions, user_batches
from gems_gym.user_splits import user_seeds

QUICK = {
    "constant_slate": {"slate": list(range(10))},
    "searched_slates": {"sessions": 1_024, "progress": False},
}
OURS = sorted(info.name for info in plugins.describe(plugins.POLICIES) if info.target.startswith("gems_gym."))
USERS = user_seeds("validation", 1, 300)


def returns(name, preset="diffuse_topdown", users=USERS, num_envs=None, **options):
    env = SlateVectorEnv(num_envs or len(users), preset, autoreset_mode="disabled")
    policy = make_policy(name, env, **{**QUICK.get(name, {}), **options})
    total = []
    for seeds, count in user_batches(users, env.num_envs):
        rewards = sum(moment.rewards for moment in play_sessions(env, policy, seeds) if moment.step)
        total.append(rewards[:count])
    return np.concatenate(total)


@pytest.mark.parametrize("name", OURS)
def test_every_policy_serves_one_user_or_many_with_the_same_slates(name):
    users = USERS[:7]
    many = SlateVectorEnv(7, autoreset_mode="disabled", episode_length=12)
    policy = make_policy(name, many, **QUICK.get(name, {}))
    shown = np.stack([m.infos["slate"] for m in play_sessions(many, policy, users)])  # (13, 7, 10)
    for i in (0, 3, 6):
        one = SlateEnv(episode_length=12)
        policy = make_policy(name, one, **QUICK.get(name, {}))
        observation, _ = one.reset(seed=users[i])
        state = policy.open([users[i]])
        for step in range(1, 13):
            action, state = policy.act(state, observation)
            assert action.shape == (10,)
            np.testing.assert_array_equal(action, shown[step, i])
            observation, *_ = one.step(action)


@pytest.mark.parametrize("name", ["random", "eps_greedy_oracle", "boredom_aware_oracle"])
def test_returns_do_not_depend_on_how_many_users_are_served_together(name):
    users = USERS[:20]
    np.testing.assert_array_equal(returns(name, users=users), returns(name, users=users, num_envs=7))


def test_the_order_of_the_policies():
    means = {name: returns(name).mean() for name in ("random", "short_term_oracle", "boredom_aware_oracle")}
    assert means["random"] < 40 < 80 < means["short_term_oracle"] < 120 < 450 < means["boredom_aware_oracle"]


@pytest.mark.parametrize(
    ("preset", "at_least"),
    [("focused_topdown", 465), ("focused_divpen", 430), ("diffuse_mix", 440)],
)
def test_the_boredom_aware_oracle_reaches_the_prototypes_level(preset, at_least):
    assert returns("boredom_aware_oracle", preset).mean() > at_least


def test_random_slates_are_uniform_without_duplicates():
    env = SlateVectorEnv(200, num_items=15, autoreset_mode="disabled")
    slates = np.concatenate(
        [m.actions for m in play_sessions(env, make_policy("random", env), list(range(200))) if m.step]
    )  # (20000, 10)
    assert all(len(set(slate)) == 10 for slate in slates[:500].tolist())
    for position in range(10):
        counts = np.bincount(slates[:, position], minlength=15)
        assert np.abs(counts / len(slates) - 1 / 15).max() < 0.01


def test_random_slates_never_repeat_beyond_a_session():
    env = SlateVectorEnv(2, episode_length=10)
    observations, _ = env.reset(seed=0)
    policy = make_policy("random", env)
    state = policy.open([0, 1])
    shown = np.stack([policy.act(state, observations)[0] for _ in range(30)])  # (30, 2, 10)
    assert len({tuple(slate) for slate in shown[:, 0].tolist()}) == 30


def test_epsilon_is_the_share_of_random_items():
    env = SlateVectorEnv(50, autoreset_mode="disabled")
    for epsilon in (0.0, 0.5, 1.0):
        policy = make_policy("eps_greedy_oracle", env, epsilon=epsilon)
        observations, _ = env.reset(seed=0)
        state = policy.open(list(range(50)))
        random_positions = []
        for _ in range(40):
            action, state = policy.act(state, observations)
            random_positions.append(action != env.simulator.short_term_oracle_slates())
            observations, *_ = env.step(action)
        assert np.mean(random_positions) == pytest.approx(epsilon, abs=0.02)
    with pytest.raises(ValueError, match=r"epsilon must be a number in \[0, 1\], got 2"):
        make_policy("eps_greedy_oracle", env, epsilon=2)


def test_the_boredom_aware_oracles_budgets_have_an_effect():
    env = SlateVectorEnv(40)
    env.reset(seed=0)
    few = make_policy("boredom_aware_oracle", env, max_per_topic=1, click_budget=10.0).act(None, None)[0]
    topics = env.catalog.item_topics[few]
    assert all(len(set(row)) == 10 for row in topics.tolist())
    free = make_policy("boredom_aware_oracle", env, max_per_topic=10, click_budget=1e9).act(None, None)[0]
    np.testing.assert_array_equal(free, env.simulator.short_term_oracle_slates())
    tight = make_policy("boredom_aware_oracle", env, max_per_topic=10, click_budget=1.5).act(None, None)[0]
    assert (tight != free).any()
    users = USERS[:100]
    assert returns("boredom_aware_oracle", users=users, newest_clicks=10).mean() != pytest.approx(
        returns("boredom_aware_oracle", users=users).mean(), abs=1
    )


def test_random_constant_slates_differ_between_users_and_stay():
    env = SlateVectorEnv(5, autoreset_mode="disabled")
    actions = [
        m.actions
        for m in play_sessions(env, make_policy("random_constant_slate", env), list(range(5)))
        if m.step
    ]
    assert all((action == actions[0]).all() for action in actions)
    assert len({tuple(row) for row in actions[0].tolist()}) == 5


def test_diverse_slates_show_every_topic():
    env = SlateVectorEnv(30)
    observations, _ = env.reset(seed=0)
    policy = make_policy("diverse_random", env)
    slates, _ = policy.act(policy.open(list(range(30))), observations)
    assert all(len(set(row)) == 10 for row in env.catalog.item_topics[slates].tolist())
    assert len(np.unique(slates)) > 150


@pytest.mark.slow
def test_the_search_for_a_constant_slate_beats_where_it_starts():
    env = SlateVectorEnv(300, num_items=200, autoreset_mode="disabled")
    slate = find_constant_slate(env.config, env.catalog, sessions=20_000, seed=1, progress=False)
    again = find_constant_slate(env.config, env.catalog, sessions=20_000, seed=1, progress=False)
    np.testing.assert_array_equal(slate, again)

    def played(policy):
        return sum(m.rewards.mean() for m in play_sessions(env, policy, USERS) if m.step)

    start = np.random.default_rng(1).choice(200, 10, replace=False)
    assert played(ConstantSlate(env, slate)) > 1.5 * played(ConstantSlate(env, start))
    with pytest.raises(ValueError, match="sessions must be an integer ≥ 1000"):
        find_constant_slate(env.config, env.catalog, sessions=10)
    with pytest.raises(ValueError, match="got 200"):
        ConstantSlate(env, [200] * 10)


def test_wrong_uses_are_refused():
    with pytest.raises(ValueError, match="did you mean 'short_term_oracle'"):
        make_policy("short_term_orcale", SlateEnv())
    with pytest.raises(TypeError, match="must be a slate environment"):
        make_policy("random", gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="one seed per user"):
        make_policy("random", SlateEnv()).open([1, 2])
    with pytest.raises(ValueError, match=r"slate must hold item ids in the shape \(10,\), got shape \(2,\)"):
        make_policy("constant_slate", SlateEnv(), slate=[1, 2])
    with pytest.raises(ValueError, match="unknown observes 'belief': did you mean 'beliefs'"):
        MemorylessPolicy(len, observes="belief")
    env = SlateVectorEnv(2)
    with pytest.raises(ValueError, match="autoreset_mode='disabled'"):
        next(play_sessions(env, make_policy("random", env), [1, 2]))
    env = SlateVectorEnv(2, autoreset_mode="disabled")
    with pytest.raises(ValueError, match="one seed per user"):
        next(play_sessions(env, make_policy("random", env), [1, 2, 3]))


@settings(max_examples=30, deadline=None)
@given(
    num_items=st.integers(3, 30), slate_size=st.integers(1, 3), num_topics=st.integers(1, 4),
    click_only_once=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
@pytest.mark.slow
def test_oracles_work_in_any_world(num_items, slate_size, num_topics, click_only_once, seed):
    env = SlateVectorEnv(
        3, num_items=num_items, slate_size=slate_size, num_topics=num_topics, episode_length=5,
        click_only_once=click_only_once, autoreset_mode="disabled",
    )  # fmt: skip
    for name in (
        "random",
        "short_term_oracle",
        "boredom_aware_oracle",
        "diverse_random",
        "eps_boredom_aware_oracle",
    ):
        for moment in play_sessions(env, make_policy(name, env), [seed, seed + 1, seed + 2]):
            if moment.actions is not None and name in ("random", "short_term_oracle", "boredom_aware_oracle"):
                assert all(len(set(slate)) == slate_size for slate in moment.actions.tolist())
