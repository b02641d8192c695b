"""From nothing to a planner: item embeddings, user model, plan. Each result is kept, so an interrupted run resumes."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts import Artifact
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.progress import note, track
from gems_gym.embeddings.co_click import session_factors
from gems_gym_agents.user_model.axes import MOST_FACTORS, find_blocks, topic_axes
from gems_gym_agents.user_model.checking import check_model
from gems_gym_agents.user_model.fit import Fit
from gems_gym_agents.user_model.logs import Log, SlateUsers, exploration_log, random_log
from gems_gym_agents.user_model.model import UserModel
from gems_gym_agents.user_model.options import HELD_OUT, PlannerOptions
from gems_gym_agents.user_model.planner import PlannerPolicy, first_plan
from gems_gym_agents.user_model.prior import learn_prior
from gems_gym_agents.user_model.rules import choose_topics, find_rules
from gems_gym_agents.user_model.search import SearchState, phases_of, search_plan

_SCALES = (0.5, 1.6, 3.0)
"""Of the items against the threshold of relevance, which embeddings do not say: the fit starts from each."""
_FIRST_CHUNKS, _JUDGED_SESSIONS = 8, 1024
_MOST_ROUNDS, _MOST_PASSES, _SETTLED = 6, 8, 1e-3
_FIRST_RATE, _RATES = 0.1, (0.07, 0.05, 0.03)
_MODEL = "model."


def train_planner(
    options: PlannerOptions,
    users: SlateUsers,
    run: Unfinished,
    *,
    steps: int,
    seed: int,
    evaluate: Callable[[PlannerPolicy], float] | None,
    progress: bool,
) -> PlannerPolicy:
    """Learn a user model from clicks, and search for a plan on training users.

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
        header = (
            {}
            if saved is None
            else {k: v for k, v in saved.header.items() if k not in ("arguments", "versions")}
        )
        model = None if saved is None or "rules" not in saved.header else _model_in(saved)
    if "embeddings" not in tensors:
        tensors["embeddings"], header["topic_size"] = _embeddings(options, users, streams[0], seed, progress)
        run.save(tensors, header)
    if model is None:
        embeddings, topic_size = tensors["embeddings"], header["topic_size"]
        model = learn_model(options, users, embeddings, topic_size, streams[1], seed, progress)
        tensors |= {_MODEL + name: array for name, array in model.tensors().items()}
        header = model.header()
        run.save(tensors, header)
    start = SearchState.start(model, np.random.default_rng(streams[2]))
    state = SearchState.kept_in(tensors, header) or start

    def keep(reached: SearchState) -> None:
        reached.keep(run, tensors, header)

    phases = phases_of(steps, model.metadata["session_length"])
    plan = search_plan(model, users, seed, state, keep, phases, progress)
    if progress and model.misfit is not None:
        note(model.misfit.text)
    policies = [PlannerPolicy(model, one) for one in (plan, first_plan(model))]
    return policies[0] if evaluate is None else max(policies, key=evaluate)


def learn_model(
    options: PlannerOptions,
    users: SlateUsers,
    embeddings: NDArray[np.floating],
    topic_size: int,
    random_seed: np.random.SeedSequence,
    seed: int,
    progress: bool = True,
) -> UserModel:
    """Learn a user model from an exploring log, which is played for it.

    Args:
        options: The settings.
        users: Of the world.
        embeddings: Of the items, ``(num_items, num_topics · topic_size)``.
        topic_size: How many numbers of a vector belong to one topic.
        random_seed: Decides slates, first guesses of rules, and the prior.
        seed: Block of logging users.
        progress: Whether to show progress bars on stderr.
    """
    slates, draws = random_seed.spawn(2)
    rng = np.random.default_rng(draws)
    sessions, length = options.exploration_sessions, options.exploration_length
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
                "session_length": log.slates.shape[1],
            }
        )
        model = model.with_prior(learn_prior(model, log, options.atoms, rng))
        advance()
        model = model.with_misfit(check_model(model, held_out, rng))
        advance()
    return model


def _embeddings(
    options: PlannerOptions,
    users: SlateUsers,
    random_seed: np.random.SeedSequence,
    seed: int,
    progress: bool,
) -> tuple[NDArray[np.float32], int]:
    """Item embeddings, and how many numbers of them belong to one topic."""
    log = random_log(users, random_seed, seed, options.random_sessions, options.random_length, progress)
    factors = session_factors(log.chosen, users.num_items, min(MOST_FACTORS + 1, users.num_items))
    blocks = find_blocks(factors)
    # in the order of memory in which a resumed run reads them, on which sums' last bits depend
    return np.ascontiguousarray(factors.embeddings(blocks.size)), blocks.topic_size


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


def _model_in(saved: Artifact) -> UserModel:
    tensors = {name.removeprefix(_MODEL): array for name, array in saved.tensors.items()}
    return UserModel.from_artifact(Artifact(saved.kind, saved.header, tensors, saved.sha256, saved.path))
