"""How good a belief is by itself: what can be read off it about clicks and boredom to come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.common.checks import checked_arguments
from gems_gym.common.pictures import legend_below, new_figure, save_figure
from gems_gym.common.progress import track
from gems_gym.common.threads import one_thread
from gems_gym.pretraining.belief import BELIEF_PRESETS
from gems_gym.pretraining.click_prediction import ClickProbe, auc, click_report
from gems_gym.pretraining.session_log import SessionLog, collect_session_log
from gems_gym.simulator import Catalog, SlateSimulator, make_simulator
from gems_gym.simulator.catalog import own_embeddings
from gems_gym.user_splits import REPORTS_SEED, LowSeed, Users, user_seeds
from gems_gym.world_config import WorldConfig

RECENT_CLICKS = "recent clicks per topic"
"""The row that boredom is read off the simulator's own counts in: privileged, to compare with."""

_SHARES = BELIEF_PRESETS["default"].shares
_LEAST_SESSIONS = math.ceil(2 * sum(_SHARES.values()) / min(_SHARES.values()))

# every other session, so that each policy is in both halves
_FITTED, _TESTED = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class _Session:
    """What was before each slate but the first, and what that slate met; time is the second axis."""

    beliefs: dict[str, NDArray[np.float32]]  # name -> (num_sessions, episode_length, size)
    recent_clicks: NDArray[np.float32]  # (num_sessions, episode_length, num_topics), in the boredom window
    bored: NDArray[np.bool_]  # (num_sessions, episode_length, num_topics), with which the slate was looked at


@checked_arguments
@one_thread()
def compare_beliefs(
    beliefs: Mapping[str, BeliefEncoder],
    config: WorldConfig,
    catalog: Catalog,
    *,
    sessions: Users = 2_000,
    seed: LowSeed = 0,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Measures beliefs in one world, on the same sessions of the policies that beliefs are trained on.

    Two things are learned on top of each belief, which stays as it is, from half of the sessions, and tested on the
    other half: the probability of a click on each item of the next slate, by a click head that knows the simulator's
    own item embeddings (so that nothing but the beliefs differs), and whether the user will be bored of each topic
    when that slate is shown, linearly (least squares).

    Args:
        beliefs: Name -> encoder.
        config: The world.
        catalog: Its items.
        sessions: Sessions logged, of which each logging policy has at least two.
        seed: Seed of the logging users and of the click head.
        progress: Whether to show progress bars on stderr.

    Returns:
        Name -> ``clicks`` (see :func:`~gems_gym.pretraining.click_prediction.click_report`), ``boredom_auc``, a mean
        over topics (one half: no better than chance), ``boredom_auc_by_topic`` (None for a topic that bored no user or
        all users) and ``size``. And for :data:`RECENT_CLICKS`, which no belief can know, these without ``clicks``.

    Raises:
        ValueError: A belief of another catalogue or slate size, or too few sessions.
    """
    for name, encoder in beliefs.items():
        if (encoder.catalog_hash, encoder.slate_size) != (catalog.hash, config.slate_size):
            raise ValueError(
                f"{name} is for slates of {encoder.slate_size} items of the catalogue {encoder.catalog_hash}, "
                f"not {config.slate_size} of {catalog.hash}"
            )
    if sessions < _LEAST_SESSIONS:
        raise ValueError(
            f"sessions must be ≥ {_LEAST_SESSIONS}, so that each policy logs two; got {sessions}"
        )
    users = user_seeds("logging", REPORTS_SEED + seed, sessions)
    log = collect_session_log(
        config,
        _SHARES,
        sessions,
        REPORTS_SEED + seed,
        item_embeddings=own_embeddings(config, catalog),
        progress=progress,
    )
    played = _played_again(log, users, beliefs, config, catalog)
    rows: dict[str, dict[str, Any]] = {}
    with track("beliefs", len(beliefs), progress) as advance:
        for name, states in played.beliefs.items():
            probe = ClickProbe(catalog.item_embeddings, states.shape[2], config.slate_size, seed)
            rows[name] = {
                "clicks": _clicks(probe, states, log),
                **_boredom(states, played.bored),
                "size": states.shape[2],
            }
            advance(1, note=name)
    rows[RECENT_CLICKS] = {**_boredom(played.recent_clicks, played.bored), "size": config.num_topics}
    return rows


def draw_beliefs(rows: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Draws what :func:`compare_beliefs` measured.

    Args:
        rows: Its result.
        title: What stands above.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    figure = new_figure(13, 5)
    losses, boredom = figure.subplots(1, 2)
    reports = {name: row["clicks"] for name, row in rows.items() if "clicks" in row}
    policies = next(iter(reports.values()))
    series = {"base rate": [one["log_loss_base"] for one in policies.values()]}
    for name, report in reports.items():
        series[name] = [one["log_loss"] for one in report.values()]
    series["truth"] = [one["log_loss_truth"] for one in policies.values()]
    _grouped(losses, [policy.replace("_", "\n") for policy in policies], series)
    losses.set(title="log-loss of clicks, nats a position, by logging policy")
    by_topic = {name: row["boredom_auc_by_topic"] for name, row in rows.items()}
    topics = [str(topic) for topic in range(len(next(iter(by_topic.values()))))]
    _grouped(boredom, topics, by_topic)
    boredom.axhline(0.5, color="black", linestyle=":")
    boredom.set(title="AUC of boredom read off linearly, by topic", ylim=(0.4, 1))
    figure.suptitle(title)
    save_figure(figure, path)


def _played_again(
    log: SessionLog,
    users: list[int],
    beliefs: Mapping[str, BeliefEncoder],
    config: WorldConfig,
    catalog: Catalog,
) -> _Session:
    """Shows the logged slates to the same users, who click as they did, to see what a log does not hold."""
    shape = (log.num_sessions, config.episode_length)
    states = {name: np.empty((*shape, encoder.size), np.float32) for name, encoder in beliefs.items()}
    recent = np.empty((*shape, config.num_topics), np.float32)
    bored = np.empty((*shape, config.num_topics), np.bool_)
    # logged users stayed (see collect_session_log)
    simulator = make_simulator(config.without_leaving(), catalog, log.num_sessions)
    simulator.open_sessions([np.random.default_rng(seed) for seed in users])
    now = {name: encoder.initial(log.num_sessions) for name, encoder in beliefs.items()}
    for step in range(config.episode_length):
        for name, encoder in beliefs.items():
            now[name] = encoder.update(now[name], log.slates[:, step], log.clicks[:, step])
            states[name][:, step] = encoder.read(now[name])
        recent[:, step] = _recent_clicks(simulator)
        bored[:, step] = simulator.step(log.slates[:, step + 1].astype(np.int64)).bored
    return _Session(states, recent, bored)


def _recent_clicks(simulator: SlateSimulator) -> NDArray[np.int64]:
    """Clicks on each topic in the users' recent-click log, ``(num_users, num_topics)``."""
    users = simulator.users
    counts = np.zeros((simulator.num_users, simulator.config.num_topics), np.int64)
    entries = np.arange(users.recent_topics.shape[1]) < users.num_recent_topics[:, None]
    user, entry = np.nonzero(entries)
    np.add.at(counts, (user, users.recent_topics[user, entry]), 1)
    return counts


def _clicks(probe: ClickProbe, states: NDArray[np.float32], log: SessionLog) -> dict[str, Any]:
    """The report of a probe fit on half of the sessions, on the other half."""

    def rows(half: slice) -> list[NDArray[Any]]:
        """Beliefs before each slate but the first, that slate and its clicks: ``(N, ...)`` each."""
        arrays: list[NDArray[Any]] = [states[half], log.slates[half, 1:], log.clicks[half, 1:]]
        return [array.reshape(-1, array.shape[2]) for array in arrays]

    beliefs, slates, answers = rows(_FITTED)
    probe.fit(beliefs, slates, answers)
    beliefs, slates, _ = rows(_TESTED)
    clicks = log.clicks[_TESTED, 1:]
    predicted = probe.predict(beliefs, slates).reshape(clicks.shape)
    assert log.click_probabilities is not None  # of a simulator
    truth = log.click_probabilities[_TESTED, 1:]
    return click_report(predicted, clicks, truth, log.policy[_TESTED], log.policy_names)


def _boredom(features: NDArray[np.float32], bored: NDArray[np.bool_]) -> dict[str, Any]:
    """How well boredom can be read off some features linearly: AUC on the tested half, by topic and their mean."""
    ones = np.ones((*features.shape[:2], 1))
    inputs = np.concatenate([features, ones], axis=2)  # (num_sessions, episode_length, size + 1)
    fitted = inputs[_FITTED].reshape(-1, inputs.shape[2])
    targets = bored[_FITTED].reshape(len(fitted), -1).astype(np.float64)
    weights, *_ = np.linalg.lstsq(fitted, targets, rcond=None)  # (size + 1, num_topics)
    scores = inputs[_TESTED] @ weights  # (tested sessions, episode_length, num_topics)
    tested = bored[_TESTED].astype(np.int8)
    by_topic = [auc(scores[..., topic], tested[..., topic]) for topic in range(tested.shape[2])]
    known = [value for value in by_topic if value is not None]
    return {"boredom_auc": float(np.mean(known)) if known else None, "boredom_auc_by_topic": by_topic}


def _grouped(axes: Any, groups: list[str], series: Mapping[str, list[float | None]]) -> None:
    width = 0.8 / len(series)
    for index, (label, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(places, np.array(values, np.float64), width, label=label)  # None is no bar
    axes.set_xticks(np.arange(len(groups)), groups)
    legend_below(axes, 0.2)  # under labels of several lines
