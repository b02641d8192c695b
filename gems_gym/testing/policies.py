"""What every policy must do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy, make_policy
from gems_gym.policies.base import tell_rewards
from gems_gym.registration import is_latent
from gems_gym.testing.asserting import assert_form, assert_refused, assert_within, is_same, spec_of

MakePolicy: TypeAlias = Callable[[Any], Policy]
"""Makes a policy for an environment, single or vector: a policy's class, or a function."""

SMALL_WORLD: dict[str, Any] = {
    "preset": "diffuse_topdown", "num_items": 40, "slate_size": 4, "num_topics": 4, "episode_length": 6,
}  # fmt: skip
"""The world that policies and agents are tried in."""

_Played = list[tuple[Any, NDArray[Any], NDArray[Any]]]
"""Of every step of some users' sessions: what they observed, the actions, and the rewards."""


def check_policy(
    policy: str | MakePolicy,
    world: str | EnvSpec | LatentWorld | None = None,
    *,
    num_users: int = 4,
    seed: int = 0,
    **options: Any,
) -> None:
    """Check that a policy does what every one must do.

    It plays a session with each of some users. Its actions have to be those of the world, the same for the same seeds,
    whoever is served beside a user, and whatever other sessions it plays in between; what it observes is left alone.
    An unknown option has to be refused.

    Args:
        policy: A name in the entry-point group ``gems_gym.policies``, or what makes one for an environment: its class
            or a function.
        world: What it acts in: the id or the spec of an environment, of slates or of beliefs and latents, or a world
            with its ranker and belief. If not given, a small world of slates.
        num_users: Users served together, at least 2.
        seed: Seed of the first user.
        **options: The policy's own.

    Raises:
        AssertionError: It does not; the text says what was expected and what was found.

    Examples:
        >>> check_policy("random")
    """
    acted_in = as_world(world)
    made = partial(make_policy, policy) if isinstance(policy, str) else policy
    make = partial(made, **options)
    env = acted_in.users(num_users, autoreset_mode="disabled")
    found = make(env)
    assert_is_policy(found, acted_in)
    played = assert_plays(make, acted_in, num_users, seed)
    if not getattr(found, "privileged", False):  # one that is reads more than its observations
        _assert_side_by_side(found, played, range(seed, seed + num_users))
    if acted_in.belief is None and acted_in.ranker is None:
        _assert_serves_one(make, acted_in, played, seed)
    wrong: dict[str, Any] = {"no_such_option": 1}
    assert_refused("making it with no_such_option=1", partial(make, env, **wrong), "no_such_option")


def as_world(world: str | EnvSpec | LatentWorld | None) -> LatentWorld:
    """The world that is meant: its slates, or its beliefs and latents."""
    if isinstance(world, LatentWorld):
        return world
    spec = small_spec() if world is None else spec_of(world)
    return LatentWorld.of(spec) if is_latent(spec) else LatentWorld(spec, None, None)


def small_spec() -> EnvSpec:
    """The spec of the small world; it is not registered."""
    ours = gymnasium.spec("GemsSlate-diffuse_topdown-v0")
    return EnvSpec(
        ours.id,
        entry_point=ours.entry_point,
        vector_entry_point=ours.vector_entry_point,
        kwargs=dict(SMALL_WORLD),
    )


def assert_is_policy(policy: Any, world: LatentWorld) -> None:
    """Raises an AssertionError unless an object is a policy that sees and chooses what there is in a world."""
    for method in ("open", "act"):
        assert callable(getattr(policy, method, None)), (
            f"{policy!r} has no method {method}; open(seeds) and act(state, observations) were expected"
        )
    for name, expected in (
        ("observes", "slates" if world.belief is None else "beliefs"),
        ("actions", "slates" if world.ranker is None else "latents"),
    ):
        found = getattr(policy, name, None)
        assert found == expected, (
            f"{name} is {found!r}; {expected!r} was expected, as that is what this world has"
        )


def assert_plays(make: MakePolicy, world: LatentWorld, num_users: int, seed: int) -> _Played:
    """What a policy does with some users, who are served together.

    Args:
        make: Makes it.
        world: What it acts in.
        num_users: How many users.
        seed: Seed of the first one.

    Raises:
        AssertionError: Wrong actions, or ones that depend on more than the users and what they observe.
    """
    env = world.users(num_users, autoreset_mode="disabled")
    policy, seeds = make(env), [seed + user for user in range(num_users)]
    played = _play(policy, env, seeds)
    assert is_same(_play(policy, env, seeds), played), (
        "the same users' sessions come out otherwise the second time"
    )
    assert is_same(_play(make(env), env, seeds), played), (
        "another policy, made in the same way, chooses other actions"
    )
    for user, one in enumerate(seeds):
        alone = world.users(1, autoreset_mode="disabled")
        expected = [
            (_rows(seen, [user]), actions[[user]], rewards[[user]]) for seen, actions, rewards in played
        ]
        # to this user's end: the others' sessions ended with the first
        found = _play(make(alone), alone, [one])
        assert is_same(found[: len(expected)], expected), (
            f"user {user} of {num_users} is served otherwise alone: actions depend on who is served beside"
        )
    return played


def _play(policy: Policy, env: VectorEnv[Any, Any, Any], seeds: Sequence[int]) -> _Played:
    """What a policy does until the first session ends."""
    observations, _ = env.reset(seed=list(seeds))  # type: ignore[arg-type]  # lists too
    state, played, ended = policy.open(list(seeds)), [], False
    while not ended:
        kept = copy.deepcopy(observations)
        answer = policy.act(state, observations)
        pair = isinstance(answer, tuple) and len(answer) == 2
        assert pair, (
            f"act() gives a {type(answer).__name__}; the actions and the state to continue with were expected"
        )
        actions, state = answer
        assert is_same(observations, kept), "act() writes into the observations that it is given"
        _assert_actions(actions, env)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        played.append((kept, actions.copy(), rewards))
        state = tell_rewards(policy, state, rewards)
        ended = bool(np.any(terminated | truncated))
    return played


def _assert_actions(actions: Any, env: VectorEnv[Any, Any, Any]) -> None:
    space: Any = env.action_space  # a Box, of slates too
    assert_form("act()", actions, str(space.dtype), space.shape)
    assert_within("act()", actions, space.low.min(), space.high.max())


def _rows(observations: Any, users: list[int]) -> Any:
    """What some users observed; a copy."""
    if isinstance(observations, dict):
        return {key: array[users] for key, array in observations.items()}
    return observations[users]


def _assert_side_by_side(policy: Policy, played: _Played, seeds: Sequence[int]) -> None:
    """Sessions that are played again by their observations, with those of others in between."""
    state, others = policy.open(list(seeds)), policy.open([1_000 + seed for seed in seeds])
    backwards = [*range(len(seeds))][::-1]
    for observations, expected, rewards in played:
        _, others = policy.act(others, _rows(observations, backwards))
        others = tell_rewards(policy, others, rewards[backwards])
        found, state = policy.act(state, copy.deepcopy(observations))
        assert is_same(found, expected), (
            "actions depend on other sessions that the policy plays in between: what it remembers and draws belongs "
            "into the state"
        )
        state = tell_rewards(policy, state, rewards)


def _assert_serves_one(make: MakePolicy, world: LatentWorld, played: _Played, seed: int) -> None:
    user = world.env()
    policy, (observation, _) = make(user), user.reset(seed=seed)
    state = policy.open([seed])
    for _, expected, rewards in played:
        action, state = policy.act(state, observation)
        assert is_same(action, expected[0]), (
            f"act() gives {action!r:.200} for the user of a single environment; {expected[0]!r:.200} was expected, as "
            "for the same one among many"
        )
        observation, *_ = user.step(action)
        state = tell_rewards(policy, state, rewards[:1])
