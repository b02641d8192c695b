"""How item embeddings and world model are learned, the two stages before the search for a plan."""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.progress import track
from gems_gym.common.threads import one_thread
from gems_gym.embeddings.co_click import session_co_click_embeddings
from gems_gym_agents.user_model.logs import SlateUsers, exploration_log, random_log, session_length
from gems_gym_agents.user_model.options import HELD_OUT
from gems_gym_agents.world_model.fitting import (
    KNOWN,
    first_groups,
    first_states,
    fit_network,
    held_out_likelihood,
    world_model,
)
from gems_gym_agents.world_model.model import WorldModel
from gems_gym_agents.world_model.network import WorldNetwork
from gems_gym_agents.world_model.options import WorldModelOptions

_JUDGED = 256
"""Of the held-out sessions: the network's likelihood is taken on these."""


def item_embeddings(
    options: WorldModelOptions,
    users: SlateUsers,
    random_seed: np.random.SeedSequence,
    seed: int,
    progress: bool,
) -> NDArray[np.float32]:
    """Learn from a log of random slates how items are alike: the first stage.

    Args:
        options: The settings.
        users: Users of the world.
        random_seed: Decides the slates.
        seed: Block of logging users.
        progress: Whether to show progress bars on stderr.

    Returns:
        ``(num_items, embedding_size)``.

    Raises:
        ValueError: Slates are never clicked, or there are no more items than ``embedding_size``.
    """
    if options.embedding_size >= users.num_items:
        raise ValueError(
            f"embedding_size must be less than the number of items, here {users.num_items}; "
            f"got {options.embedding_size}"
        )
    log = random_log(users, random_seed, seed, options.random_sessions, options.random_length, progress)
    return session_co_click_embeddings(log.chosen, users.num_items, options.embedding_size)


def learn_model(
    options: WorldModelOptions,
    users: SlateUsers,
    embeddings: NDArray[np.floating],
    random_seed: np.random.SeedSequence,
    seed: int,
    progress: bool = True,
) -> WorldModel:
    """Learn a world model from an exploring log, which is played for it: the second stage.

    Args:
        options: The settings.
        users: Users of the world.
        embeddings: Embeddings of the items, ``(num_items, embedding_size)``.
        random_seed: Decides slates, which sessions an update sees, and the states of new users.
        seed: Block of logging users.
        progress: Whether to show progress bars on stderr.
    """
    slates, draws = random_seed.spawn(2)
    rng = np.random.default_rng(draws)
    sessions, length = options.exploration_sessions, options.exploration_length
    played = exploration_log(users, slates, seed, sessions + HELD_OUT, length, embeddings, progress)
    if played.clicks[:, :-1].sum(axis=(1, 2)).max() < KNOWN:
        raise ValueError(
            f"no session of exploring slates has {KNOWN} clicks, from which on the network learns: users click too "
            f"little, or exploration_length={options.exploration_length} is too short"
        )
    log, judged = played[:sessions], played[sessions : sessions + _JUDGED]
    network = WorldNetwork(embeddings, first_groups(embeddings, rng), users.slate_size)
    total = options.grouping_updates + options.updates
    with track("learning the world model", total, progress) as advance, one_thread():
        membership = fit_network(network, log, options.grouping_updates, options.updates, rng, advance)
        atoms = first_states(network, log[: options.atoms], membership, rng)
        likelihood = held_out_likelihood(network, judged, membership)
    metadata = {
        "held_out_log_likelihood": likelihood,
        "logged_clicks": int(log.clicks.sum()),
        "options": asdict(options),
        "seed": seed,
        "session_length": session_length(users, log, length),
    }
    return world_model(network, membership, atoms, metadata)
