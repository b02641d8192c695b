"""From nothing to a planner: item embeddings, world model, plan. Each result is kept, so an interrupted run resumes."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts import Artifact
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.progress import track
from gems_gym.embeddings.co_click import session_co_click_embeddings
from gems_gym.pretraining.loop import torch_threads
from gems_gym_agents.user_model.logs import SlateUsers, exploration_log, random_log
from gems_gym_agents.user_model.options import HELD_OUT
from gems_gym_agents.user_model.search import SearchState, phases_of, search_policy
from gems_gym_agents.world_model.fitting import (
    first_groups,
    first_states,
    fit_network,
    held_out_likelihood,
    world_model,
)
from gems_gym_agents.world_model.model import WorldModel
from gems_gym_agents.world_model.network import WorldNetwork
from gems_gym_agents.world_model.options import WorldModelOptions
from gems_gym_agents.world_model.planner import SEARCHING, WorldModelPolicy, first_plan

_JUDGED = 256
"""Of the held-out sessions: the network's likelihood is taken on these."""
_MODEL = "model."


def train_world_model_planner(
    options: WorldModelOptions,
    users: SlateUsers,
    run: Unfinished,
    *,
    steps: int,
    seed: int,
    evaluate: Callable[[WorldModelPolicy], float] | None,
    progress: bool,
) -> WorldModelPolicy:
    """Learn a world model from clicks, and search for a plan on training users.

    Args:
        options: The settings.
        users: Of the world.
        run: Keeps what is finished.
        steps: Interactions (users times steps) of the search; whole generations of candidates are played.
        seed: Decides everything random, and which users are met.
        evaluate: Scores a policy on validation users: the searched plan is taken if it is better than the first one.
        progress: Whether to show progress bars on stderr.

    Raises:
        ValueError: The run was begun with other arguments, or slates are never clicked.
    """
    streams = np.random.SeedSequence(seed).spawn(3)
    with run.resuming() as saved:
        tensors = {} if saved is None else dict(saved.tensors)
        header = {} if saved is None else dict(saved.header)
        model = None if saved is None or "black_box" not in header else _model_in(saved)
    header = {name: header[name] for name in ("metadata", "black_box", "search") if name in header}
    if "embeddings" not in tensors:
        sessions, length = options.random_sessions, options.random_length
        log = random_log(users, streams[0], seed, sessions, length, progress)
        embeddings = session_co_click_embeddings(log.chosen, users.num_items, options.embedding_size)
        # in the order of memory in which a resumed run reads them, on which sums' last bits depend
        tensors["embeddings"] = np.ascontiguousarray(embeddings)
        run.save(tensors, header)
    if model is None:
        model = learn_model(options, users, tensors["embeddings"], streams[1], seed, progress)
        tensors |= {_MODEL + name: array for name, array in model.tensors().items()}
        header = model.header()
        run.save(tensors, header)
    first, spread = first_plan(model)
    start = SearchState.around(first, spread, np.random.default_rng(streams[2]))
    state = SearchState.kept_in(tensors, header) or start

    def policy_of(plans: NDArray[np.float64]) -> WorldModelPolicy:
        return WorldModelPolicy(model, plans, SEARCHING)

    def keep(reached: SearchState) -> None:
        reached.keep(run, tensors, header)

    phases = phases_of(steps, model.metadata["session_length"])
    plan = search_policy(policy_of, users, seed, state, keep, phases, progress)
    policies = [WorldModelPolicy(model, one) for one in (plan, first)]
    return policies[0] if evaluate is None else max(policies, key=evaluate)


def learn_model(
    options: WorldModelOptions,
    users: SlateUsers,
    embeddings: NDArray[np.floating],
    random_seed: np.random.SeedSequence,
    seed: int,
    progress: bool = True,
) -> WorldModel:
    """Learn a world model from an exploring log, which is played for it.

    Args:
        options: The settings.
        users: Of the world.
        embeddings: Of the items, ``(num_items, embedding_size)``.
        random_seed: Decides slates, which sessions an update sees, and the states of new users.
        seed: Block of logging users.
        progress: Whether to show progress bars on stderr.
    """
    slates, draws = random_seed.spawn(2)
    rng = np.random.default_rng(draws)
    sessions, length = options.exploration_sessions, options.exploration_length
    played = exploration_log(users, slates, seed, sessions + HELD_OUT, length, embeddings, progress)
    log, judged = played[:sessions], played[sessions : sessions + _JUDGED]
    network = WorldNetwork(embeddings, first_groups(embeddings, rng), users.slate_size)
    total = options.grouping_updates + options.updates
    with track("learning the world model", total, progress) as advance, torch_threads():
        membership = fit_network(network, log, options.grouping_updates, options.updates, rng, advance)
        atoms = first_states(network, log[: options.atoms], membership, rng)
        likelihood = held_out_likelihood(network, judged, membership)
    metadata = {
        "held_out_log_likelihood": likelihood,
        "logged_clicks": int(log.clicks.sum()),
        "options": asdict(options),
        "seed": seed,
        "session_length": log.slates.shape[1],
    }
    return world_model(network, membership, atoms, metadata)


def _model_in(saved: Artifact) -> WorldModel:
    tensors = {name.removeprefix(_MODEL): array for name, array in saved.tensors.items()}
    return WorldModel.from_artifact(Artifact(saved.kind, saved.header, tensors, saved.sha256, saved.path))
