"""Finding what is whole numbers by likelihood: when topics bore, when slates are monotonous, and items' topics."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.user_model.axes import block_norms
from gems_gym_agents.user_model.fit import Fit, Numbers
from gems_gym_agents.user_model.logs import Log
from gems_gym_agents.user_model.model import NEVER

_BOREDOM: dict[str, tuple[int, ...]] = {
    "boredom_threshold": (2, 3, 4, 5, 6, 7, 8, NEVER),
    "memory": (4, 6, 8, 9, 10, 11, 12, 15, 20),
    "window": (1, 2, 3, 4, 5, 6, 7, 8, 10),
    "timeout": (1, 2, 3, 4, 5, 6, 7, 8, 10),
}
_DIVERSITY_THRESHOLDS = (2, 3, 4, 5, 6)
_DIVERSITY_PENALTIES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_FACTORS = (0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
_DOUBT = 0.05
"""More than in learning: an item whose topic is wrong is clicked while its topic should bore, which says nothing
against the rule."""
_EVIDENCE = 10.0
"""Log likelihood that a penalty of monotonous slates must bring: most slates of a log may be monotonous, and then it
can hardly be told from smaller propensities, which do less harm if it is not there."""
_FIRST_TRIALS, _FIRST_SESSIONS, _FIRST_FACTORS = 300, 128, (1.0, 1.4, 2.0)
_ROUNDS, _SESSIONS = 4, 1024
_ITEMS, _SESSIONS_OF_AN_ITEM, _FEWEST = 200, 250, 20


def find_rules(fit: Fit, log: Log, rng: np.random.Generator) -> None:
    """Set a fit's rules to the likeliest, starting from random ones if it knows of no boredom yet.

    The four numbers of the boredom rule go together, so they are tried together first and then one by one. Clicks that
    boredom kept away made the propensities too small as long as it was not known, so larger ones are tried with it;
    likewise with the penalty of monotonous slates.

    Args:
        fit: Its numbers are set.
        log: Sessions; the first ones are used.
        rng: Draws the first trials.
    """
    if not fit.numbers.rules.bores:
        _try(fit, log[:_FIRST_SESSIONS], [fit.numbers, *_random_rules(fit.numbers, rng)])
    few, many = log[: _SESSIONS // 2], log[:_SESSIONS]
    for _ in range(_ROUNDS):
        before = fit.numbers.rules
        for name, values in _BOREDOM.items():
            _try(fit, many, [_with(fit.numbers, **{name: value}) for value in values])
        _try(fit, many, [_with(fit.numbers, first_clicks_dated=dated) for dated in (False, True)])
        _try(fit, few, _diversity(fit))
        if fit.numbers.rules == before:
            break


def choose_topics(fit: Fit, log: Log) -> int:
    """Set the topics of the items whose two largest blocks are closest to those that make clicks likelier.

    The vector of such an item says little of its topic, since only two numbers of it differ; but every session that
    clicked it shows by its boredom which topic the click was counted for.

    Args:
        fit: Its topics are set.
        log: Sessions.

    Returns:
        How many items changed their topic.
    """
    norms = block_norms(fit.items, fit.topic_size)
    best = np.argsort(-norms, axis=1, kind="stable")[:, :2]
    largest, second = np.take_along_axis(norms, best, axis=1).T
    doubtful = np.argsort((largest - second) / np.maximum(largest, 1e-12), kind="stable")[:_ITEMS]
    topics, before = fit.topics, fit.topics
    sessions = _sessions_of_clicks(log, len(fit.items))
    for item in doubtful.tolist():
        if len(sessions[item]) < _FEWEST:
            continue
        chosen = log[sessions[item]]
        likelihoods = []
        for topic in best[item]:
            topics[item] = topic
            likelihoods.append(fit.log_likelihood(chosen, topics=topics, doubt=_DOUBT))
        topics[item] = fit.chosen_topics[item] = int(best[item, int(likelihoods[1] > likelihoods[0])])
    return int((topics != before).sum())


def _sessions_of_clicks(log: Log, num_items: int) -> list[NDArray[np.int64]]:
    """For each item the sessions that clicked it most often, some hundred at most."""
    session, step, slot = np.nonzero(log.clicks)
    items = log.slates[session, step, slot]
    order = np.argsort(items, kind="stable")
    ends = np.searchsorted(items[order], np.arange(num_items + 1))
    found = []
    for item in range(num_items):
        ids, times = np.unique(session[order[ends[item] : ends[item + 1]]], return_counts=True)
        found.append(ids[np.argsort(-times, kind="stable")[:_SESSIONS_OF_AN_ITEM]])
    return found


def _random_rules(numbers: Numbers, rng: np.random.Generator) -> list[Numbers]:
    drawn = [
        {name: values[rng.integers(len(values))] for name, values in _BOREDOM.items()}
        for _ in range(_FIRST_TRIALS)
    ]
    return [
        _with(numbers.with_propensities(factor), **one)
        for one in drawn
        if one["boredom_threshold"] <= one["memory"]
        for factor in _FIRST_FACTORS
    ]


def _diversity(fit: Fit) -> list[Numbers]:
    numbers = fit.numbers
    # A penalty of every slate is no other than smaller propensities: so many of a topic are in each.
    in_every_slate = -(-len(numbers.log_propensities) // (fit.items.shape[1] // fit.topic_size))
    # A penalty that is dropped leaves propensities behind that are too large by so much.
    scales = {1.0, 1.0 / numbers.rules.diversity_penalty}
    factors = [factor * scale for scale in sorted(scales, reverse=True) for factor in _FACTORS]
    return [
        _with(numbers.with_propensities(factor), diversity_threshold=threshold, diversity_penalty=penalty)
        for threshold, penalty, factor in product(_DIVERSITY_THRESHOLDS, _DIVERSITY_PENALTIES, factors)
        if threshold > in_every_slate and numbers.log_propensities.max() + np.log(factor) <= 0.02
    ]


def _with(numbers: Numbers, **rules: Any) -> Numbers:
    return replace(numbers, rules=replace(numbers.rules, **rules))


def _try(fit: Fit, log: Log, candidates: list[Numbers]) -> None:
    """Keep the likeliest of some numbers, the first of equals."""

    def likelihood(one: Numbers) -> float:
        found = fit.log_likelihood(log, one, doubt=_DOUBT)
        return found - (one.rules.diversity_penalty > 1.0) * _EVIDENCE / log.chosen.slates.size

    if candidates:
        fit.numbers = max(candidates, key=likelihood)
