from dataclasses import replace

import numpy as np
import pytest
import torch

from gems_gym_agents.world_model.belief import ParticleBelief
from gems_gym_agents.world_model.dynamics import click_chances
from gems_gym_agents.world_model.fitting import first_groups, held_out_likelihood
from gems_gym_agents.world_model.network import Batch
from tests.agents.user_model.small_world import log, truth
from tests.agents.world_model.small_model import first_labels, fitted, small_model


def purity(groups: np.ndarray) -> float:
    """Share of items whose topic is the most frequent one of their group."""
    topics = truth()[1]
    return sum(np.bincount(topics[groups == one]).max() for one in np.unique(groups)) / len(topics)


def test_first_groups_are_as_many_as_the_spectrum_suggests() -> None:
    rng = np.random.default_rng(0)
    corners = 3.0 * np.eye(6)[:4]  # four groups in six dimensions
    embeddings = corners[np.arange(200) % 4] + 0.3 * rng.standard_normal((200, 6))
    groups = first_groups(embeddings, rng)
    assert groups.max() == 3
    assert len({(int(group), kind % 4) for kind, group in enumerate(groups)}) == 4


@pytest.mark.slow
def test_it_predicts_clicks_and_finds_what_tires_users_together() -> None:
    network, membership = fitted()
    judged = log()[:256]
    rate = judged.clicks[:, 1:].mean()
    constant = rate * np.log(rate) + (1 - rate) * np.log(1 - rate)
    assert held_out_likelihood(network, judged, membership) > 0.85 * constant
    assert purity(small_model().groups) > purity(first_labels())
    # clicks on one group make users tired of it
    model = small_model()
    assert model.patterns[:5, 0].max() > 0
    assert model.span.max() > 0.1


@pytest.mark.slow
def test_the_compiled_belief_computes_what_the_network_does() -> None:
    """One particle, the network's own first state: its states and tiredness step by step, and so its predictions."""
    network, membership = fitted()
    sessions = log()[:64]
    batch = Batch.of(sessions, len(network.items))
    with torch.no_grad():
        states = network._states(batch, network.with_one(), None).numpy()
        tired = network._tiredness(batch, membership).numpy()
    start = np.tile(network.start.detach().numpy(), (16, 1))
    belief = ParticleBelief(replace(small_model(), atoms=start), ((0, 1),))
    state = belief.initial(64)
    for step in range(sessions.slates.shape[1] - 1):
        slates, clicks = (one[:, step].astype(np.int64) for one in (sessions.slates, sessions.clicks))
        state = belief.update(state, slates, clicks)
        np.testing.assert_allclose(state.particles[:, 0], states[:, step], atol=1e-4)
        np.testing.assert_allclose(state.memory.tired, tired[:, step], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_where_silence_leaves_few_first_states_others_are_made() -> None:
    """They are weighed by all that was shown, and explain it better than any that there were."""
    belief = ParticleBelief(small_model(), ((0, 64),))
    state, rng = belief.initial(1), np.random.default_rng(1)
    for _ in range(30):
        state = belief.update(state, rng.permutation(90)[None, :10], np.zeros((1, 10), np.int64))
    weights = np.exp(state.of_atoms[0])
    assert weights.sum() ** 2 / (weights**2).sum() < 64

    def likelihood(states: np.ndarray) -> np.ndarray:
        chances = click_chances(belief.numbers, states, state.memory.tired[0], state.unclicked[0])
        return np.log(1 - chances).sum(axis=(0, 1))

    assert likelihood(state.particles[0]).max() > likelihood(belief._atoms).max() + 1
    state = belief.update(state, np.arange(90, 100)[None], np.ones((1, 10), np.int64))
    assert state.unclicked.shape == (0, 31, 10)


def test_memory_of_clicks_does_not_look_ahead() -> None:
    sessions = log()[:8]
    batch = Batch.of(sessions, 100)
    later = sessions.clicks.copy()
    later[:, 10:] = 0
    other = Batch.of(type(sessions)(sessions.slates, later), 100)
    for name in ("recent", "ages", "num_clicks"):
        np.testing.assert_array_equal(getattr(batch, name)[:, :10], getattr(other, name)[:, :10])
    np.testing.assert_array_equal(batch.num_clicks[:, 9], sessions.clicks[:, :10].sum(axis=(1, 2)))


def test_first_states_differ_as_users_do() -> None:
    atoms = small_model().atoms
    assert atoms.shape == (256, 10)
    assert (atoms.std(axis=0) > 0.1).all()
