from dataclasses import replace

import numpy as np
import pytest

from gems_gym.embeddings.co_click import SessionFactors
from gems_gym_agents.user_model.axes import block_norms, find_blocks, topic_axes
from gems_gym_agents.user_model.fit import Fit
from gems_gym_agents.user_model.prior import learn_prior
from gems_gym_agents.user_model.rules import choose_topics, find_rules
from tests.agents.user_model.small_world import RULES, log, true_model, truth


def test_axes_are_found_again_whatever_the_rotation() -> None:
    items, topics, _ = truth()
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    found = topic_axes(3.0 * items @ rotation + 0.5, topic_size=2)
    assert found.min() == 0.0
    assert np.linalg.norm(found, axis=1).mean() == pytest.approx(1.0)
    correlations = np.corrcoef(found.T, items.T)[:10, 10:]
    assert sorted(correlations.argmax(axis=1)) == list(range(10))
    assert correlations.max(axis=1).min() > 0.8
    # two axes of a block are two of a topic
    partners = correlations.argmax(axis=1).reshape(5, 2) // 2
    assert (partners[:, 0] == partners[:, 1]).all()
    of_topic = partners[block_norms(found, 2).argmax(axis=1), 0]
    assert (of_topic == topics).mean() > 0.85


@pytest.mark.parametrize(("num_topics", "topic_size"), [(4, 2), (10, 1), (10, 2), (6, 3), (20, 2)])
def test_topics_are_counted(num_topics: int, topic_size: int) -> None:
    rng = np.random.default_rng(0)
    size = num_topics * topic_size
    weights = rng.random((600, num_topics))
    items = np.abs(rng.normal(size=(600, size))) * np.repeat(weights, topic_size, axis=1) ** 1.5
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    centred = items - items.mean(axis=0)
    noise = rng.normal(0, 0.01, (600, 600))
    eigenvalues, vectors = np.linalg.eigh(centred @ centred.T + noise + noise.T)
    factors = SessionFactors(eigenvalues[:-62:-1], vectors[:, :-62:-1], np.ones(600, bool))
    assert find_blocks(factors) == (num_topics, topic_size)


@pytest.mark.slow
def test_known_numbers_are_recovered_from_clicks() -> None:
    """Starting from items that are too long by half, and each number wrong by a fifth."""
    items, topics, propensities = truth()
    noise = np.random.default_rng(1).normal(0, 0.2, items.shape)
    fit = Fit(1.5 * items * np.exp(noise), topic_size=2, slate_size=10)
    fit.learn(log(), 0.1)
    for _ in range(2):
        find_rules(fit, log(), np.random.default_rng(0))
        choose_topics(fit, log())
        for _ in range(3):
            fit.learn(log(), 0.1)
    for rate in (0.07, 0.05, 0.03):
        fit.learn(log(), rate)
    model = fit.model()
    assert model.rules == replace(RULES, diversity_threshold=model.rules.diversity_threshold)
    assert model.omega == pytest.approx(0.9, abs=0.02)
    assert model.slope == pytest.approx(100.0, rel=0.25)
    np.testing.assert_allclose(model.propensities, propensities, rtol=0.05)
    assert (model.topics == topics).mean() > 0.95
    np.testing.assert_allclose(np.linalg.norm(model.items, axis=1).mean(), 1.0, rtol=0.1)
    assert np.sqrt(((model.items - items) ** 2).mean()) < 0.07  # of a root mean square of 0.32


def test_the_truth_is_likelier_than_its_neighbours() -> None:
    items, _, propensities = truth()
    fit = Fit(items, topic_size=2, slate_size=10)
    model = true_model()
    fit.numbers = replace(
        fit.numbers,
        log_propensities=np.log(propensities),
        log_slope=np.log(100.0),
        omega=0.9,
        rules=model.rules,
    )
    best = fit.log_likelihood(log())
    for name, change in (
        ("boredom_threshold", 1),
        ("timeout", 1),
        ("timeout", -1),
        ("window", -2),
        ("memory", -2),
    ):
        rules = replace(model.rules, **{name: getattr(model.rules, name) + change})
        assert fit.log_likelihood(log(), replace(fit.numbers, rules=rules)) < best, name
    assert fit.log_likelihood(log(), replace(fit.numbers, omega=0.88)) < best
    assert fit.log_likelihood(log(), replace(fit.numbers, omega=0.92)) < best


def test_a_learned_prior_expects_the_users_that_come() -> None:
    model = true_model()
    prior = learn_prior(model, log(), 256, np.random.default_rng(0))
    assert prior.shape == (256, 10)
    np.testing.assert_allclose(block_norms(prior, 2).sum(axis=1), 1.0)
    # how much users differ in how they like their favourite topic, and how much they like it
    true, learned = (np.sort(block_norms(one, 2), axis=1)[:, -1] for one in (model.prior, prior))
    assert learned.mean() == pytest.approx(true.mean(), abs=0.05)
    assert learned.std() == pytest.approx(true.std(), rel=0.35)
