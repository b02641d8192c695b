"""What every agent must do."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from gems_gym import plugins
from gems_gym.beliefs import GruBelief
from gems_gym.common.machine import environment
from gems_gym.embeddings.base import EmbeddingTable
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy
from gems_gym.policies.random_latents import RandomLatents
from gems_gym.rankers import GemsRanker, Ranker, make_ranker
from gems_gym.rollouts import play_sessions
from gems_gym.serving import ServedPolicy
from gems_gym.testing.asserting import assert_refused, is_same
from gems_gym.testing.policies import SMALL_WORLD, assert_is_policy, assert_plays, small_spec
from gems_gym.trained_agents import TrainedAgent, open_trained_agent, save_trained_agent

_LATENT_SIZE, _BELIEF_SIZE = 6, 8
_SESSIONS = 12  # of the dataset that offline agents learn from


def check_agent(
    agent: str | type[Any],
    *,
    steps: int = 60,
    num_users: int = 4,
    seed: int = 0,
    **options: Any,
) -> None:
    """Check that an agent does what every one must do: it is trained in a small world, or on a small dataset of it.

    The world has 40 items, slates of 4 and sessions of 6 steps, with an untrained ranker and belief. The agent has to
    refuse an unknown option, too few steps, and to act or be saved before it was fitted. Trained twice with the same
    seed it has to be the same; its policy has to pass what :func:`gems_gym.testing.check_policy` asks of one, and to be
    the same after it was saved and loaded, from files that can't run code, and served
    (:class:`gems_gym.serving.ServedPolicy`) to show what it shows when it plays. Training has to print nothing on
    stdout and to leave the global random numbers as they were.

    Args:
        agent: A name in the entry-point group ``gems_gym.agents``, which is also saved and opened as ``gems-gym
            train`` and ``evaluate`` do, or an agent's class.
        steps: Interactions or gradient updates of a training; few make a quick check.
        num_users: Users in lockstep, at least 2.
        seed: Seed of the training.
        **options: The agent's own: small networks and few random steps make a quick check.

    Raises:
        AssertionError: It does not; the text says what was expected and what was found.

    Examples:
        >>> check_agent("bc", steps=4, batch_size=8, hidden_units=(8,))  # doctest: +SKIP
    """
    kind: Any = plugins.load(plugins.AGENTS, agent) if isinstance(agent, str) else agent
    learns_from = getattr(kind, "learns_from", None)
    assert learns_from in ("dataset", "environment"), (
        f"learns_from is {learns_from!r}; 'dataset' or 'environment' was expected"
    )
    wrong: dict[str, Any] = {"no_such_option": 1}
    assert_refused("making it with no_such_option=1", partial(kind, **options, **wrong), "no_such_option")
    world = _world_of(kind)
    with TemporaryDirectory() as scratch, _source(world, learns_from, num_users, Path(scratch)) as source:
        folder = Path(scratch) / "agent"
        fresh = kind(**options)
        _assert_untrained(fresh, folder)
        few = partial(fresh.fit, source, steps=0, seed=seed, progress=False)
        assert_refused("fit() with steps=0", few, "steps")
        one, again = (
            _fitted(kind(**options), source, steps, seed, directory) for directory in (folder, None)
        )
        # an agent may have learned a belief of its own, on which it acts
        acted_in = LatentWorld(world.spec, world.ranker, getattr(one, "belief", None) or world.belief)
        played = _assert_policy(one.policy, acted_in, num_users)
        acted_in_again = LatentWorld(world.spec, world.ranker, getattr(again, "belief", None) or world.belief)
        assert is_same(_assert_policy(again.policy, acted_in_again, num_users), played), (
            "trained again with the same seed, and without a directory, it acts otherwise"
        )
        loaded = _saved_and_loaded(one, agent, acted_in, folder)
        assert is_same(_assert_policy(loaded, acted_in, num_users), played), (
            "what load() reads acts otherwise than the agent that was saved"
        )


def _world_of(kind: type[Any]) -> LatentWorld:
    """The small world as an agent sees it and acts in it."""
    plain = LatentWorld(small_spec(), None, None)
    sizes: dict[str, Any] = {
        "num_items": SMALL_WORLD["num_items"],
        "slate_size": SMALL_WORLD["slate_size"],
        "catalog_hash": plain.users(1).unwrapped.catalog.hash,  # type: ignore[attr-defined]
        "seed": 0,
    }
    latents = getattr(kind, "actions", "latents") == "latents"
    beliefs = getattr(kind, "observes", "beliefs") == "beliefs"
    belief = GruBelief.random(size=_BELIEF_SIZE, **sizes)
    ranker: Ranker = GemsRanker.random(latent_size=_LATENT_SIZE, **sizes)
    if (name := getattr(kind, "ranker_kind", None)) is not None:
        items = EmbeddingTable(belief.tensors["item_embeddings"], "embeddings/random", belief.catalog_hash)
        ranker = make_ranker(name, items, belief.slate_size)
    return LatentWorld(plain.spec, ranker if latents else None, belief if beliefs else None)


@contextlib.contextmanager
def _source(world: LatentWorld, learns_from: str, num_users: int, scratch: Path) -> Iterator[Any]:
    """What an agent learns from: users, or a dataset of sessions that random actions gave."""
    if learns_from == "environment":
        yield world.users(num_users)
        return
    from gems_gym.datasets import collect

    assert (world.ranker is None) == (world.belief is None), (
        "datasets hold beliefs and latents, or slates; an agent that learns from one has to see and choose either"
    )
    with environment({"MINARI_DATASETS_PATH": str(scratch / "datasets")}):
        yield collect(
            world.spec.id,
            "random" if world.ranker is None else RandomLatents(_LATENT_SIZE),
            dataset_id="check/agent-v0",
            episodes=_SESSIONS,
            seed=0,
            ranker=world.ranker,
            belief=world.belief,
            env_kwargs={name: value for name, value in SMALL_WORLD.items() if name != "preset"},
            reference_scores=(0.0, 1.0),
            progress=False,
        )


def _assert_untrained(agent: Any, folder: Path) -> None:
    for what in ("policy", "save()"):
        try:
            _ = agent.policy if what == "policy" else agent.save(folder)
        except RuntimeError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{what} before fit() ends in {type(error).__name__}: {error!s:.200}; a RuntimeError was expected"
            ) from error
        raise AssertionError(f"{what} is there before fit(); a RuntimeError was expected")


def _fitted(agent: Any, source: Any, steps: int, seed: int, directory: Path | None) -> Any:
    scored: list[Any] = []

    def evaluate(policy: Any, belief: Any = None) -> float:
        scored.append(policy)
        return float(len(scored))

    printed, before = io.StringIO(), _global_state()
    with contextlib.redirect_stdout(printed):
        agent.fit(source, steps=steps, seed=seed, directory=directory, evaluate=evaluate, progress=False)
    assert not printed.getvalue(), (
        f"fit() prints on stdout, which belongs to results: {printed.getvalue()!r:.200}"
    )
    assert is_same(_global_state(), before), (
        "fit() changes the state of the global generators of random or numpy, which belongs to the caller"
    )
    for policy in scored:
        assert isinstance(policy, Policy), (
            f"fit() gives evaluate() a {type(policy).__name__}; a policy was expected"
        )
    return agent


def _global_state() -> tuple[Any, ...]:
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002  # read, not drawn from
    return random.getstate()[1], numpy_state["state"]["key"], numpy_state["state"]["pos"]


def _assert_policy(policy: Any, world: LatentWorld, num_users: int) -> Any:
    assert_is_policy(policy, world)
    return assert_plays(lambda env: policy, world, num_users, seed=100)


def _saved_and_loaded(agent: Any, name: str | type[Any], world: LatentWorld, folder: Path) -> Any:
    """The policy that was saved, as ``gems-gym train`` does it where the agent has a name."""
    if isinstance(name, str):
        record = {"env": world.spec.id, "env_spec": world.spec.to_json()}
        save_trained_agent(folder, agent, name, world.ranker, world.belief, record)
        opened = open_trained_agent(folder)
        _assert_served(opened, world)
        loaded: Any = opened.policy
    else:
        agent.save(folder)
        loaded = type(agent).load(folder)
    for file in sorted(folder.rglob("*")):
        assert not (file.is_file() and _may_run_code(file)), (
            f"save() has written {file.name}, a pickle or an archive of torch, which can run code when it is loaded; "
            "gems_gym.artifacts.save_artifact and JSON can't"
        )
    return loaded


def _assert_served(agent: TrainedAgent, world: LatentWorld, num_users: int = 2) -> None:
    """What is recommended by a session's beginning is what the policy showed next."""
    served, seeds = ServedPolicy(agent), range(100, 100 + num_users)
    histories: list[list[dict[str, Any]]] = [[] for _ in seeds]
    env = agent.world(world.spec).users(num_users, autoreset_mode="disabled")
    for moment in play_sessions(env, agent.policy, seeds):
        shown, clicks = moment.infos["slate"], moment.infos["clicks"]
        assert is_same(served.recommend_all(histories, seeds), shown), (
            f"served with a history of {moment.step} slates it does not show what it shows after them when it plays"
        )
        for user, history in enumerate(histories):
            history.append({"slate": shown[user], "clicks": clicks[user]})


def _may_run_code(file: Path) -> bool:
    with file.open("rb") as opened:
        start = opened.read(4)
    pickled = len(start) > 1 and start[0] == 0x80 and start[1] in range(2, 6)  # a pickle's protocol
    return pickled or start == b"PK\x03\x04" or file.suffix in {".pkl", ".pickle", ".pt", ".pth"}
