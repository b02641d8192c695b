"""Served policies show what they show when they play; bad histories are named; no learning library is loaded.

Every agent is served in tests/testing/test_agents.py, by gems_gym.testing.check_agent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from itertools import islice
from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym.beliefs import load_belief
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy
from gems_gym.policies.random_latents import RandomLatents
from gems_gym.rankers import make_ranker
from gems_gym.rollouts import play_sessions
from gems_gym.serving import ServedPolicy, open_policy
from gems_gym.trained_agents import TrainedAgent, open_trained_agent

ENV = "GemsSlate-diffuse_mix-v0"
SPEC = gymnasium.spec(ENV)
SLATES = LatentWorld(SPEC, None, None)
OPENING = [454, 902, 429, 278, 430, 139, 829, 851, 421, 345]
SEEDS = [7, 8, 3]
ONE_SLATE = [{"slate": OPENING, "clicks": [0, 1] + [0] * 8}]


def check_recommends_as_it_plays(
    served: ServedPolicy, policy: Policy, world: LatentWorld, steps: int
) -> None:
    histories: list[list[dict[str, Any]]] = [[] for _ in SEEDS]
    env = world.users(len(SEEDS), autoreset_mode="disabled")
    for moment in islice(play_sessions(env, policy, SEEDS), steps):
        shown, clicks = moment.infos["slate"], moment.infos["clicks"]
        np.testing.assert_array_equal(served.recommend_all(histories, SEEDS), shown)
        for user, history in enumerate(histories):
            np.testing.assert_array_equal(served.recommend(history, SEEDS[user]), shown[user])
            history.append({"slate": shown[user].tolist(), "clicks": clicks[user]})


def test_a_trained_agent_recommends_as_it_plays() -> None:
    agent = open_trained_agent("expert-diffuse_mix")
    check_recommends_as_it_plays(open_policy("expert-diffuse_mix"), agent.policy, agent.world(ENV), 5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("random", {}),
        ("random_constant_slate", {}),
        ("constant_slate", {"slate": list(range(10))}),
        ("searched_slates", {"sessions": 1_024, "progress": False}),
    ],
)
def test_policies_without_training_recommend_as_they_play(name: str, options: dict[str, Any]) -> None:
    from gems_gym.policies import make_policy

    policy = make_policy(name, SLATES.users(len(SEEDS)), **options)
    check_recommends_as_it_plays(open_policy(name, env=SPEC, **options), policy, SLATES, 3)


def test_a_ranker_that_draws_recommends_as_it_plays() -> None:
    ranker = make_ranker("softmax", "mf-diffuse_mix", 10, sample=True)
    policy, belief = RandomLatents(ranker.action_size), load_belief("gru-diffuse_mix")
    agent = TrainedAgent("drawing", policy, ranker, belief, {"env": ENV})
    check_recommends_as_it_plays(ServedPolicy(agent), policy, agent.world(ENV), 4)


def test_histories_of_all_lengths_are_answered_in_their_order() -> None:
    served = open_policy("expert-diffuse_mix")
    histories = [ONE_SLATE * length for length in (3, 0, 1, 3, 2)]
    alone = [served.recommend(history) for history in histories]
    np.testing.assert_array_equal(served.recommend_all(histories), alone)
    assert served.recommend_all([]).shape == (0, 10)
    np.testing.assert_array_equal(served.recommend([]), OPENING)


def test_the_catalogues_ids_stand_for_numbers() -> None:
    ids = [f"N{number}" for number in range(999, -1, -1)]
    served = open_policy("expert-diffuse_mix", items=ids)
    named = [{"slate": [ids[item] for item in OPENING], "clicks": ONE_SLATE[0]["clicks"]}]
    numbers = open_policy("expert-diffuse_mix").recommend(ONE_SLATE)
    assert served.recommend(named).tolist() == [ids[item] for item in numbers]
    with pytest.raises(ValueError, match=r"history\[0\]\.slate\[0\] = 454 is no item of the catalogue"):
        served.recommend(ONE_SLATE)
    assert open_policy("expert-diffuse_mix", items=[str(one) for one in range(1_000)]).recommend(
        ONE_SLATE
    ).tolist() == [str(item) for item in numbers], "ids that are numbers in JSON are found too"
    for wrong, words in ((ids[:-1], "999 ids, 999 of them"), (ids[:-1] + ids[:1], "1000 ids, 999 of them")):
        with pytest.raises(ValueError, match=words):
            open_policy("expert-diffuse_mix", items=wrong)


def changed(field: str, value: Any) -> list[dict[str, Any]]:
    return [*ONE_SLATE, ONE_SLATE[0] | {field: value}]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (3, r"history must be a list of slates with their clicks, got 3"),
        ("text", r"history must be a list of slates with their clicks, got 'text'"),
        ({}, r"history must be a list of slates with their clicks, got {}"),
        ("", r"history must be a list of slates with their clicks, got ''"),
        ([3], r"history\[0\] must hold a slate and clicks, got 3"),
        ([{"slate": OPENING}], r"history\[0\] must hold a slate and clicks, got {'slate'"),
        (changed("slate", 3), r"history\[1\]\.slate must be a list, got 3"),
        (changed("slate", OPENING[:9]), r"history\[1\]\.slate holds 9; slates of the policy have 10"),
        (changed("clicks", [0] * 11), r"history\[1\]\.clicks holds 11; slates of the policy have 10"),
        (changed("slate", [*OPENING[:9], 1_000]), r"history\[1\]\.slate\[9\] must be .* 0 to 999, got 1000"),
        (changed("slate", [-1, *OPENING[1:]]), r"history\[1\]\.slate\[0\] must be .* 0 to 999, got -1"),
        (changed("slate", [10**30] * 10), r"history\[1\]\.slate\[0\] must be .* 0 to 999, got 10000"),
        (changed("clicks", [0] * 9 + [2]), r"history\[1\]\.clicks\[9\] must be .* 0 to 1, got 2"),
        (changed("clicks", [0.5] * 10), r"history\[1\]\.clicks\[0\] must be .* 0 to 1, got 0.5"),
        (changed("clicks", [None] * 10), r"history\[1\]\.clicks\[0\] must be .* 0 to 1, got None"),
    ],
)
def test_what_is_wrong_with_a_history_is_said(history: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        open_policy("expert-diffuse_mix").recommend(history)


def test_what_can_not_be_served_is_said() -> None:
    with pytest.raises(ValueError, match="'eps_greedy_oracle' reads the simulator's users"):
        open_policy("eps_greedy_oracle", env=SPEC)
    with pytest.raises(ValueError, match="'random' is no trained agent"):
        open_policy("random")
    with pytest.raises(ValueError, match="'expert-diffuse_mix' is a trained agent"):
        open_policy("expert-diffuse_mix", env=SPEC)
    with pytest.raises(ValueError, match="the world that the policy was trained in can't be made here"):
        ServedPolicy(TrainedAgent("one", RandomLatents(32), None, None, {}))
    with pytest.raises(ValueError, match="seeds holds 1 for 2 histories"):
        open_policy("expert-diffuse_mix").recommend_all([[], []], [0])
    agent = open_trained_agent("expert-diffuse_mix")
    lost = TrainedAgent(agent.name, agent.policy, agent.ranker, agent.belief, {"env": "GemsSlate-lost-v0"})
    with pytest.raises(ValueError, match="can't be made here .*GemsSlate-lost-v0.* new users would be shown"):
        ServedPolicy(lost).recommend([])
    assert ServedPolicy(lost).recommend(ONE_SLATE).shape == (10,)
    other = TrainedAgent(
        agent.name, agent.policy, agent.ranker, agent.belief, {"env": "GemsSlate-focused_mix-v0"}
    )
    with pytest.raises(
        ValueError, match="can't be made here .*knows the items of the catalogue .*, but that world has"
    ):
        ServedPolicy(other).recommend([])


def lines(*asked: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in asked)


def test_lines_in_lines_out(program: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = lines(
        {"user": "é", "history": []}, {"user": [7], "history": ONE_SLATE}, {"history": ONE_SLATE * 2}
    )
    served = open_policy("expert-diffuse_mix")
    expected = [
        {"user": "é", "slate": OPENING},
        {"user": [7], "slate": served.recommend(ONE_SLATE).tolist()},
        {"slate": served.recommend(ONE_SLATE * 2).tolist()},
    ]
    (tmp_path / "users.jsonl").write_bytes(asked)
    in_processes = ("--together", 1, "--workers", 2)
    for history, more in (("users.jsonl", ()), ("-", ("--together", 2)), ("users.jsonl", in_processes)):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(asked)))
        code, out, err = program("recommend", "expert-diffuse_mix", "--history", history, *more)
        assert (code, [json.loads(line) for line in out.splitlines()]) == (0, expected), err


def test_a_world_option_without_a_world_is_refused(program: Any) -> None:
    asked = ("recommend", "expert-diffuse_mix", "--history", "-", "--env-option", "omega=0.5")
    code, _, err = program(*asked)
    assert code == 2
    assert "--env-option goes with --env" in err


def test_lines_with_the_ids_of_an_imported_log(program: Any, tmp_path: Any) -> None:
    polars = pytest.importorskip("polars")
    (tmp_path / "users.jsonl").write_bytes(lines({"history": []}))
    polars.DataFrame({"item": [f"N{number}" for number in range(1_000)]}).write_parquet(
        tmp_path / "items.parquet"
    )
    asked = ("recommend", "random", "--env", ENV, "--history", "users.jsonl", "--items")
    code, out, err = program(*asked, "items.parquet")
    assert (code, json.loads(out)) == (0, {"slate": [f"N{item}" for item in OPENING]}), err
    code, _, err = program(*asked, "users.jsonl")
    assert code == 2
    assert "users.jsonl can't be read" in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "line 2 is not JSON"),
        (b"\xff\xfe{}", "line 2 is not JSON"),
        (b"[" * 100_000, "line 2 is not JSON"),
        (b"", "line 2 is not JSON"),
        (b"[]", 'line 2 must be an object with a field "history", got b\'[]'),
        (b'{"history": [], "sed": 1}', "unknown field of line 2: 'sed': did you mean 'seed'"),
        (b'{"history": [], "seed": -1}', "line 2: seed must be an integer ≥ 0, got -1"),
        (b'{"history": [{"slate": [1], "clicks": [1]}]}', "line 2: history[0].slate holds 1; slates of"),
    ],
)
def test_which_line_is_wrong_is_said(
    program: Any, monkeypatch: pytest.MonkeyPatch, line: bytes, words: str
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(lines({"history": []}) + line + b"\n")))
    code, out, err = program("recommend", "random", "--env", ENV, "--history", "-", "--together", 1)
    assert code == 2
    assert words in " ".join(err.split())
    assert json.loads(out) == {"slate": OPENING}, "lines before it are answered"


def test_no_learning_library_is_loaded() -> None:
    code = """if True:
        import sys
        from gems_gym import plugins
        from gems_gym.serving import open_policy
        policy = open_policy("expert-diffuse_mix")
        first = policy.recommend([])
        policy.recommend([{"slate": first, "clicks": [0] * 10}])
        for agent in plugins.names(plugins.AGENTS):
            plugins.load(plugins.AGENTS, agent)  # what their folders are read by
        print({"torch", "d3rlpy", "stable_baselines3", "sb3_contrib", "minari"} & sys.modules.keys())"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr
