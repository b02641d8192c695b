"""How item embeddings and user model are learned, the two stages before the search for a plan."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.progress import track
from gems_gym.embeddings.co_click import session_factors
from gems_gym_agents.user_model.axes import MOST_FACTORS, find_blocks, topic_axes
from gems_gym_agents.user_model.checking import check_model
from gems_gym_agents.user_model.fit import Fit
from gems_gym_agents.user_model.logs import Log, SlateUsers, exploration_log, random_log, session_length
from gems_gym_agents.user_model.model import UserModel
from gems_gym_agents.user_model.options import HELD_OUT, PlannerOptions
from gems_gym_agents.user_model.prior import learn_prior
from gems_gym_agents.user_model.rules import choose_topics, find_rules

_SCALES = (0.5, 1.6, 3.0)
"""Of the items against the threshold of relevance, which embeddings do not say: the fit starts from each."""
_FIRST_CHUNKS, _JUDGED_SESSIONS = 8, 1024
_MOST_ROUNDS, _MOST_PASSES, _SETTLED = 6, 8, 1e-3
_FIRST_RATE, _RATES = 0.1, (0.07, 0.05, 0.03)


def item_embeddings(
    options: PlannerOptions,
    users: SlateUsers,
    random_seed: np.random.SeedSequence,
    seed: int,
    progress: bool,
) -> NDArray[np.float32]:
    """Learn from a log of random slates how items are alike, and how many topics there are: the first stage.

    Args:
        options: The settings.
        users: Users of the world.
        random_seed: Decides the slates.
        seed: Block of logging users.
        progress: Whether to show progress bars on stderr.

    Returns:
        ``(num_items, num_topics, topic_size)``.

    Raises:
        ValueError: Slates are never clicked.
    """
    log = random_log(users, random_seed, seed, options.random_sessions, options.random_length, progress)
    factors = session_factors(log.chosen, users.num_items, min(MOST_FACTORS + 1, users.num_items))
    blocks = find_blocks(factors)
    return factors.embeddings(blocks.size).reshape(-1, *blocks)


def learn_model(
    options: PlannerOptions,
    users: SlateUsers,
    embeddings: NDArray[np.floating],
    random_seed: np.random.SeedSequence,
    seed: int,
    progress: bool = True,
) -> UserModel:
    """Learn a user model from an exploring log, which is played for it: the second stage.

    Args:
        options: The settings.
        users: Users of the world.
        embeddings: Embeddings of the items, ``(num_items, num_topics, topic_size)``.
        random_seed: Decides slates, first guesses of rules, and the prior.
        seed: Block of logging users.
        progress: Whether to show progress bars on stderr.
    """
    slates, draws = random_seed.spawn(2)
    rng = np.random.default_rng(draws)
    sessions, length = options.exploration_sessions, options.exploration_length
    topic_size, embeddings = embeddings.shape[2], embeddings.reshape(len(embeddings), -1)
    played = exploration_log(users, slates, seed, sessions + HELD_OUT, length, embeddings, progress)
    log, held_out = played[:sessions], played[sessions:]
    with track("fitting the user model", len(_SCALES) + _MOST_ROUNDS + len(_RATES) + 2, progress) as advance:
        fit = _first_fit(topic_axes(embeddings, topic_size), topic_size, log, advance)
        for round_ in range(_MOST_ROUNDS):
            before = fit.numbers.rules
            find_rules(fit, log, rng)
            choose_topics(fit, log)
            _settle(fit, log)
            if fit.numbers.rules == before:
                advance(_MOST_ROUNDS - round_)
                break
            advance()
        for rate in _RATES:
            fit.learn(log, rate)
            advance()
        model = fit.model(
            {
                "logged_clicks": int(log.clicks.sum()),
                "log_likelihood": fit.log_likelihood(log[:_JUDGED_SESSIONS]),
                "options": asdict(options),
                "seed": seed,
                "session_length": session_length(users, log, length),
            }
        )
        model = model.with_prior(learn_prior(model, log, options.atoms, rng))
        advance()
        model = model.with_misfit(check_model(model, held_out, rng))
        advance()
    return model


def _first_fit(items: NDArray[np.float64], topic_size: int, log: Log, advance: Any) -> Fit:
    """The likeliest of several fits that know of no boredom yet."""
    fits = []
    for scale in _SCALES:
        fit = Fit(items * scale, topic_size, log.slates.shape[2])
        fit.learn(log, 0.0, _FIRST_CHUNKS)
        fit.learn(log, _FIRST_RATE)
        fits.append(fit)
        advance()
    return max(fits, key=lambda one: one.log_likelihood(log[:_JUDGED_SESSIONS]))


def _settle(fit: Fit, log: Log) -> None:
    """Pass over a log until its clicks become hardly likelier."""
    judged = log[:_JUDGED_SESSIONS]
    reached = fit.log_likelihood(judged)
    for _ in range(_MOST_PASSES):
        fit.learn(log, _FIRST_RATE)
        before, reached = reached, fit.log_likelihood(judged)
        if reached < before + _SETTLED:
            break
