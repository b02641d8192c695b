"""Every policy passes the check that authors have; broken ones are found, with a sentence that says why."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym import plugins
from gems_gym.policies import MemorylessPolicy, SlatePolicy, make_policy
from gems_gym.policies.actor import NoisyActor
from gems_gym.policies.random import RandomPolicy
from gems_gym.policies.random_latents import RandomLatents
from gems_gym.testing import check_policy
from gems_gym.trained_agents import open_trained_agent

LATENT = "GemsSlateLatent-diffuse_mix-v0"
OPTIONS: dict[str, dict[str, Any]] = {
    "searched_slates": {"sessions": 1_024, "progress": False},
    "constant_slate": {"sessions": 2_000, "progress": False},
}


@pytest.mark.parametrize("name", [one.name for one in plugins.describe(plugins.POLICIES)])
def test_ours_pass(name: str) -> None:
    check_policy(name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize(
    ("world", "options"),
    [
        ("Sardine-SlateRerank-Static-v0", {}),
        ("GemsSlate-diffuse_mix-v0", {"leave_probability": 0.3, "leave_after": 1}),
    ],
)
def test_worlds_whose_sessions_terminate(world: str, options: dict[str, Any]) -> None:
    spec = gymnasium.spec(world)
    spec.kwargs |= options
    check_policy("random", spec)


def test_policies_of_latents_pass() -> None:
    """A world of sessions of a hundred steps: few users."""
    expert = open_trained_agent("expert-diffuse_mix").policy
    for made in (RandomLatents(32), expert, NoisyActor(expert, 0.3)):
        check_policy(lambda env, made=made: made, LATENT, num_users=2)


class Right(SlatePolicy):
    """The newest items that were clicked, then the lowest ids."""

    def start(self, rngs: Any) -> Any:
        return np.zeros((len(rngs), self.simulator.config.num_items))

    def slates(self, state: Any, observations: Any) -> Any:
        slates, clicks = (np.atleast_2d(observations[name]) for name in ("slate", "clicks"))
        state *= 0.5
        np.add.at(state, (np.arange(len(slates))[:, None], slates), clicks)
        return np.argsort(-state, axis=1, kind="stable")[:, : slates.shape[1]]


def test_a_right_one_passes() -> None:
    check_policy(Right)


class Latent(Right):
    actions = "latents"


class Stateless(Right):
    def act(self, state: Any, observations: Any) -> Any:
        return super().act(state, observations)[0]


class Writing(Right):
    def slates(self, state: Any, observations: Any) -> Any:
        observations["clicks"][...] = 0
        return super().slates(state, observations)


class Floats(Right):
    def slates(self, state: Any, observations: Any) -> Any:
        return super().slates(state, observations).astype(np.float64)


class OutOfTheCatalogue(Right):
    def slates(self, state: Any, observations: Any) -> Any:
        return super().slates(state, observations) + 40


class Unseeded(RandomPolicy):
    def start(self, rngs: Any) -> Any:
        return super().start([np.random.default_rng() for _ in rngs])


class SeededByTheFirst(RandomPolicy):
    def open(self, seeds: Any) -> Any:
        return super().open([seeds[0] + user for user in range(len(seeds))][::-1])


class Remembering(Right):
    """Its memory is in the policy."""

    def start(self, rngs: Any) -> Any:
        self.memory = super().start(rngs)

    def slates(self, state: Any, observations: Any) -> Any:
        return super().slates(self.memory, observations)


class ForManyOnly(Right):
    def act(self, state: Any, observations: Any) -> Any:
        return self.slates(state, observations), state


class TakingAnything(Right):
    def __init__(self, env: Any, **options: Any) -> None:
        super().__init__(env)


BROKEN: dict[str, type] = {
    "actions is 'latents'; 'slates' was expected": Latent,
    "act.. gives a ndarray; the actions and the state to continue with were expected": Stateless,
    "act.. writes into the observations": Writing,
    r"act\(\) gives \('float64', \(4, 4\)\); \('int64', \(4, 4\)\) was expected": Floats,
    r"act\(\) gives numbers from .*; they belong in \[0, 39\]": OutOfTheCatalogue,
    "the same users' sessions come out otherwise the second time": Unseeded,
    "user 0 of 4 is served otherwise alone": SeededByTheFirst,
    "actions depend on other sessions that the policy plays in between": Remembering,
    "for the user of a single environment; .* was expected": ForManyOnly,
    "making it with no_such_option=1 is taken": TakingAnything,
}  # fmt: skip


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_one_is_found(words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_policy(BROKEN[words])


def test_the_old_protocol_is_told() -> None:
    class Old:
        def reset(self, seeds: Any) -> None: ...

        def act(self, observations: Any) -> Any: ...

    with pytest.raises(
        AssertionError, match="has no method open; open.seeds. and act.state, observations. were"
    ):
        check_policy(lambda env: Old())


def test_a_policy_of_slates_in_a_world_of_latents_is_told() -> None:
    with pytest.raises(
        AssertionError, match="observes is 'slates'; 'beliefs' was expected, as that is what this"
    ):
        check_policy(lambda env: make_policy("random", env), LATENT)
    with pytest.raises(AssertionError, match="observes is 'beliefs'; 'slates' was expected"):
        check_policy(lambda env: MemorylessPolicy(lambda seen: seen))
