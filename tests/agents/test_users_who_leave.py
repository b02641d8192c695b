"""Agents in a world whose users leave: what nothing comes after has no value, what time cut off has."""

from typing import Any

import gymnasium
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("d3rlpy")

from stable_baselines3.common.env_checker import check_env

from gems_gym.latent_world import LatentWorld
from gems_gym_agents.offline import TD3PlusBCAgent, load_replay_buffer
from gems_gym_agents.online.end_to_end_model import MomentLayout, SessionMoments
from gems_gym_agents.online.model import make_sac
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.sac import SACAgent
from gems_gym_agents.user_model.agent import PlannerAgent
from tests.datasets.small_world import ENV_ID, WORLD, collect_latents, small_belief, small_ranker

LEAVING: dict[str, Any] = WORLD | {"leave_probability": 0.15, "leave_after": 1}
SMALL: dict[str, Any] = {"net_arch": (16,), "batch_size": 32, "learning_starts": 40, "buffer_size": 800}


def users(count: int, **changes: Any) -> Any:
    return LatentWorld(gymnasium.spec(ENV_ID), small_ranker(), small_belief()).users(
        count, **(LEAVING | changes)
    )


@pytest.fixture(scope="module", autouse=True)
def datasets_root(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield


def test_offline_targets_end_where_users_left() -> None:
    dataset = collect_latents(env_kwargs=LEAVING, episodes=20)
    episodes = list(dataset.iterate_episodes())
    terminal = np.concatenate([episode.terminations for episode in episodes])
    buffer = load_replay_buffer(dataset)
    assert buffer.transition_count == len(terminal) and 0 < terminal.sum() < 20
    picked = [buffer.transition_picker(*buffer.buffer[index]) for index in range(len(terminal))]
    assert [bool(transition.terminal) for transition in picked] == terminal.tolist()
    batch = buffer.sample_transition_batch(300)
    last = {tuple(episode.observations[-2]): bool(episode.terminations[-1]) for episode in episodes}
    for seen, is_terminal in zip(batch.observations, batch.terminals[:, 0], strict=True):
        assert bool(is_terminal) == last.get(tuple(seen), False)
    agent = TD3PlusBCAgent(hidden_units=(8,), batch_size=16)
    agent.fit(dataset, steps=5, seed=0, progress=False)


def test_online_targets_end_where_users_left() -> None:
    env = users(10)
    model = make_sac(SACOptions(**SMALL), env, seed=0)
    seen = []
    stepped = env.step

    def step(actions: Any) -> Any:
        seen.append(stepped(actions))
        return seen[-1]

    env.step = step
    model.learn(400)
    terminated, truncated = (np.stack([result[which] for result in seen]) for which in (2, 3))
    assert terminated.any() and truncated.any()
    buffer, steps = model.replay_buffer, len(seen)
    np.testing.assert_array_equal(buffer.dones[:steps], terminated | truncated)
    np.testing.assert_array_equal(buffer.timeouts[:steps], truncated)
    for step_, user in np.argwhere(terminated | truncated):
        final = seen[step_][4]["final_obs"][user]
        np.testing.assert_array_equal(buffer.next_observations[step_, user], final)


def test_sac_learns_and_is_scored_there() -> None:
    agent = SACAgent(**SMALL, validate_every=200)
    agent.fit(users(10), steps=400, seed=0, progress=False)
    assert agent.policy is not None


def test_encoders_are_asked_for_again_although_sessions_do_not_begin_together() -> None:
    asked: list[int] = []
    belief = small_belief()
    layout = MomentLayout(num_states=1, state_size=belief.size, slate_size=5)
    env = SessionMoments(users(10), layout, lambda: asked.append(len(begun)) or (belief,))
    begun: list[set[int]] = [set(range(10))]
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 10, 6)).astype(np.float32)
    since: set[int] = set()
    for action in actions:
        before = len(asked)
        _, _, terminated, truncated, _ = env.step(action)
        since |= set(np.flatnonzero(terminated | truncated).tolist())
        assert (len(asked) > before) == (len(since) == 10)
        since = set() if len(since) == 10 else since
    assert len(asked) > 4


def test_stable_baselines3_finds_nothing_wrong() -> None:
    check_env(LatentWorld(gymnasium.spec(ENV_ID), small_ranker(), small_belief()).env(**LEAVING))


def test_the_planner_refuses_to_learn_there() -> None:
    env = gymnasium.make_vec(ENV_ID, num_envs=2, **LEAVING)
    with pytest.raises(ValueError, match=r"users leave \(leave_probability > 0\)"):
        PlannerAgent().fit(env, steps=1, seed=0, progress=False)
