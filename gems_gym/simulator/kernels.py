"""The compiled dynamics of one step, written once, user by user.

Everything about a user is computed from that user's row alone and in a fixed order, so results have the same
bits however many users are stepped together. Numbers are float64 inside and float32 where they are shown.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import best_items, copy_into
from gems_gym.common.compilation import compiled, inlined
from gems_gym.simulator.state import Dynamics, Shown, Users


class Scratch(NamedTuple):
    """Room for one user's intermediate numbers; written before it is read, user by user."""

    preference: NDArray[np.float64]  # (embedding_size,)
    scores: NDArray[np.float64]  # (slate_size,)
    topic_counts: NDArray[np.int64]  # (num_topics,)


@inlined
def next_boredom(bored: bool, time_left: int, clicks: int, threshold: int, timeout: int) -> tuple[bool, int]:
    """Whether a topic bores at the step to come, and for how many steps, with so many clicks on it in the log."""
    if bored:
        time_left -= 1
        bored = time_left != 0
    if not bored:
        time_left = timeout
    return bored or clicks >= threshold, time_left


@inlined
def advance_boredom(
    dynamics: Dynamics,
    users: Users,
    u: int,
    bored: NDArray[np.bool_],
    timeout: NDArray[np.int64],
    row: int,
    counts: NDArray[np.int64],
) -> None:
    """Write the boredom that user ``u``'s next step is taken with to ``bored[row]``, ``timeout[row]`` (step 1)."""
    counts[:] = 0
    for entry in range(users.num_recent_topics[u]):
        counts[users.recent_topics[u, entry]] += 1
    for topic in range(dynamics.num_topics):
        bored[row, topic], timeout[row, topic] = next_boredom(
            users.bored[u, topic], users.bored_timeout[u, topic], counts[topic],
            dynamics.boredom_threshold, dynamics.boredom_timeout,
        )  # fmt: skip


@inlined
def current_preference(
    dynamics: Dynamics,
    users: Users,
    u: int,
    bored: NDArray[np.bool_],
    row: int,
    preference: NDArray[np.float64],
) -> None:
    """Write user ``u``'s preference with topics in ``bored[row]`` at 0 and the short-term one boosted (step 2)."""
    gone = False
    if dynamics.churn_and_return:
        for topic in range(dynamics.num_topics):
            gone = gone or bored[row, topic]
    for topic in range(dynamics.num_topics):
        factor = 1.0
        if gone or bored[row, topic]:
            factor = 0.0
        elif topic == users.short_term_topic[u]:
            factor = dynamics.short_term_boost
        for d in range(topic * dynamics.topic_size, (topic + 1) * dynamics.topic_size):
            preference[d] = factor * users.preference[u, d]


@inlined
def _normalise_preference(dynamics: Dynamics, preferences: NDArray[np.float64], row: int) -> None:
    """Divide a preference by the sum of its block norms."""
    total = 0.0
    for topic in range(dynamics.num_topics):
        squares = 0.0
        for d in range(topic * dynamics.topic_size, (topic + 1) * dynamics.topic_size):
            squares += preferences[row, d] * preferences[row, d]
        total += np.sqrt(squares)
    if total > 0.0:  # zero only where an item of a given catalogue is all zero and omega is 0
        for d in range(preferences.shape[1]):
            preferences[row, d] /= total


@inlined
def _is_monotonous(
    dynamics: Dynamics, slates: NDArray[np.int64], row: int, counts: NDArray[np.int64]
) -> bool:
    counts[:] = 0
    monotonous = False
    for s in range(slates.shape[1]):
        topic = dynamics.item_topics[slates[row, s]]
        counts[topic] += 1
        monotonous = monotonous or counts[topic] >= dynamics.diversity_threshold
    return monotonous


@inlined
def show(
    dynamics: Dynamics,
    users: Users,
    u: int,
    row: int,
    slates: NDArray[np.int64],
    uniforms: NDArray[np.float32],
    uniforms_row: int,
    uniforms_step: int,
    interest: float,
    shown: Shown,
    scratch: Scratch,
) -> None:
    """Let user ``u`` look at ``slates[row]`` with the preference in ``scratch``, and click (steps 3 and 4).

    Every relevance is multiplied by ``interest``.
    """
    slate_size = slates.shape[1]
    scratch.scores[:] = 0.0
    for d in range(scratch.preference.shape[0]):  # positions innermost: sums that do not wait for each other
        for s in range(slate_size):
            scratch.scores[s] += dynamics.items[slates[row, s], d] * scratch.preference[d]
    penalty = 1.0
    if _is_monotonous(dynamics, slates, row, scratch.topic_counts):
        penalty = dynamics.diversity_penalty
    reward = 0
    for s in range(slate_size):
        item = slates[row, s]
        score = scratch.scores[s] / dynamics.max_score
        if np.isnan(dynamics.rel_threshold):
            relevance = 1.0 / (1.0 + np.exp(-(score - dynamics.relevance_offset) * dynamics.relevance_slope))
        else:
            relevance = 1.0 if score > dynamics.rel_threshold else 0.0
        relevance *= interest
        if dynamics.click_only_once and users.clicked_items[u, item]:
            relevance = 0.0
        probability = dynamics.alpha * relevance / penalty * dynamics.propensities[s]
        clicked = uniforms[uniforms_row, uniforms_step, s] < probability
        shown.slates[row, s] = item
        shown.scores[row, s] = score
        shown.relevances[row, s] = relevance
        shown.click_probabilities[row, s] = probability
        shown.clicks[row, s] = clicked
        reward += clicked
    shown.rewards[row] = reward


@inlined
def push(queue: NDArray[np.int64], lengths: NDArray[np.int64], u: int, value: int) -> None:
    """Append to user ``u``'s bounded queue, the oldest entry falling out of a full one."""
    if lengths[u] == queue.shape[1]:
        drop_oldest(queue, lengths, u)
    queue[u, lengths[u]] = value
    lengths[u] += 1


@inlined
def drop_oldest(queue: NDArray[np.int64], lengths: NDArray[np.int64], u: int) -> None:
    """Remove the oldest entry of user ``u``'s queue, if it has one."""
    if lengths[u] > 0:
        for entry in range(lengths[u] - 1):
            queue[u, entry] = queue[u, entry + 1]
        lengths[u] -= 1


@inlined
def log_clicks(dynamics: Dynamics, users: Users, u: int, row: int, shown: Shown) -> None:
    """Append the clicks of a slate to user ``u``'s recent-click log and drop what is too old (step 5).

    In the published dynamics the first slate's clicks enter without a time stamp, so the two queues fall out of
    step until the log has been full once, and a click stays for one step more than the window is long.
    """
    time_stamped = users.step[u] > 0 or not dynamics.published_oddities
    for s in range(shown.slates.shape[1]):
        if shown.clicks[row, s]:
            item = shown.slates[row, s]
            push(users.recent_topics, users.num_recent_topics, u, dynamics.item_topics[item])
            if time_stamped:
                push(users.recent_steps, users.num_recent_steps, u, users.step[u])
            if dynamics.click_only_once:
                users.clicked_items[u, item] = True
    oldest_kept = users.step[u] - dynamics.boredom_moving_window + (not dynamics.published_oddities)
    while users.num_recent_steps[u] > 0 and users.recent_steps[u, 0] < oldest_kept:
        drop_oldest(users.recent_topics, users.num_recent_topics, u)
        drop_oldest(users.recent_steps, users.num_recent_steps, u)


@inlined
def _drift(dynamics: Dynamics, users: Users, u: int, row: int, shown: Shown) -> None:
    """Move user ``u``'s preference towards the clicked items (step 6)."""
    for s in range(shown.slates.shape[1]):
        if shown.clicks[row, s]:
            item = shown.slates[row, s]
            for d in range(users.preference.shape[1]):
                users.preference[u, d] = (
                    dynamics.omega * users.preference[u, d] + (1.0 - dynamics.omega) * dynamics.items[item, d]
                )
            _normalise_preference(dynamics, users.preference, u)


@inlined
def _last_click(shown: Shown, row: int) -> int:
    """Position of the last clicked item of a slate, −1 where nothing was clicked."""
    last = -1
    for s in range(shown.slates.shape[1]):
        if shown.clicks[row, s]:
            last = s
    return last


@inlined
def _decide_to_leave(dynamics: Dynamics, users: Users, u: int, uniform: float) -> None:
    """Let user ``u``, who has looked at a slate, stay or leave; who has left does not come back (step 8)."""
    stay = 1.0
    if dynamics.leave_after > 0:
        if users.empty_slates[u] >= dynamics.leave_after:
            stay -= dynamics.leave_probability
    else:
        for topic in range(dynamics.num_topics):
            if users.bored[u, topic]:
                stay *= 1.0 - dynamics.leave_probability
    users.left[u] = users.left[u] or uniform >= stay


@inlined
def make_scratch(dynamics: Dynamics) -> Scratch:
    """Room for one user at a time."""
    return Scratch(
        np.empty(dynamics.items.shape[1]),
        np.empty(dynamics.propensities.shape[0]),
        np.empty(dynamics.num_topics, np.int64),
    )


@inlined
def start_session(dynamics: Dynamics, users: Users, u: int, scratch: Scratch) -> None:
    """Forget user ``u``'s last session; the preference is new, and in ``scratch`` as the first slate meets it."""
    for topic in range(dynamics.num_topics):
        users.bored[u, topic] = False
        users.bored_timeout[u, topic] = dynamics.boredom_timeout
    users.num_recent_topics[u] = 0
    users.num_recent_steps[u] = 0
    users.step[u] = 0
    users.empty_slates[u] = 0
    users.left[u] = False
    for item in range(users.clicked_items.shape[1]):
        users.clicked_items[u, item] = False
    copy_into(scratch.preference, users.preference[u])  # no boredom and no short-term boost yet


@inlined
def first_unknown(dynamics: Dynamics, slates: NDArray[np.int64]) -> int:
    """The place (in reading order) of an item that is not in the catalogue; −1 if there is none."""
    found = -1
    for row in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if found < 0 and (slates[row, s] < 0 or slates[row, s] >= dynamics.items.shape[0]):
                found = row * slates.shape[1] + s
    return found


@compiled
def open_sessions(
    dynamics: Dynamics,
    users: Users,
    which: NDArray[np.int64],
    first_slates: NDArray[np.int64],
    drawn_topics: NDArray[np.int64],
    uniforms: NDArray[np.float32],
    shown: Shown,
) -> None:
    """Start the sessions of some users whose preference is already set: empty state, first slate, its clicks.

    Args:
        dynamics: The world.
        users: State of all users; the rows in ``which`` are rewritten, all but their preference.
        which: Users to start, ``(n,)``; all other arguments have one row for each of them, in this order.
        first_slates: ``(n, slate_size)``.
        drawn_topics: Short-term topics for users that click nothing, ``(n,)``.
        uniforms: Numbers that a click's probability must exceed, ``(n, 1, slate_size)``.
        shown: Written: what came of the first slates.
    """
    scratch = make_scratch(dynamics)
    for row in range(which.shape[0]):
        u = which[row]
        start_session(dynamics, users, u, scratch)
        show(dynamics, users, u, row, first_slates, uniforms, row, 0, 1.0, shown, scratch)
        log_clicks(dynamics, users, u, row, shown)
        last = _last_click(shown, row)
        users.short_term_topic[u] = (
            dynamics.item_topics[first_slates[row, last]] if last >= 0 else drawn_topics[row]
        )
        copy_into(shown.bored[row], users.bored[u])
        copy_into(shown.user_state[row], users.preference[u])


@compiled
def step_users(
    dynamics: Dynamics,
    users: Users,
    which: NDArray[np.int64],
    slates: NDArray[np.int64],
    uniforms: NDArray[np.float32],
    shown: Shown,
) -> int:
    """One step of some users.

    Args:
        dynamics: The world.
        users: State of all users; the rows in ``which`` are rewritten.
        which: Users that take the step, ``(n,)``; all other arguments have one row for each, in this order.
        slates: Slates to show, ``(n, slate_size)``.
        uniforms: Numbers that a click's probability must exceed, ``(num_users, steps, slate_size)``: a row for
            every user, used again from the front when its steps are used up. Where users leave, a last column more,
            which the probability to stay must exceed.
        shown: Written: what came of the slates.

    Returns:
        −1; or the place (in reading order) of an item that is not in the catalogue, and then nothing was changed.
    """
    unknown: int = first_unknown(dynamics, slates)
    if unknown >= 0:
        return unknown
    scratch = make_scratch(dynamics)
    for row in range(which.shape[0]):
        u = which[row]
        now = users.step[u] % uniforms.shape[1]
        users.step[u] += 1
        advance_boredom(dynamics, users, u, users.bored, users.bored_timeout, u, scratch.topic_counts)
        current_preference(dynamics, users, u, users.bored, u, scratch.preference)
        show(dynamics, users, u, row, slates, uniforms, u, now, 1.0, shown, scratch)
        log_clicks(dynamics, users, u, row, shown)
        _drift(dynamics, users, u, row, shown)
        last = _last_click(shown, row)
        if last >= 0 and users.bored[u, users.short_term_topic[u]]:
            # the published index slip takes the position of the last click for an item's id
            clicked = last if dynamics.published_oddities else slates[row, last]
            users.short_term_topic[u] = dynamics.item_topics[clicked]
        if dynamics.leave_probability > 0.0:
            users.empty_slates[u] = 0 if last >= 0 else users.empty_slates[u] + 1
            _decide_to_leave(dynamics, users, u, uniforms[u, now, slates.shape[1]])
        copy_into(shown.bored[row], users.bored[u])
        copy_into(shown.user_state[row], users.preference[u])
    return -1


@compiled
def finish_preferences(
    dynamics: Dynamics, normals: NDArray[np.float64], topic_uniforms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Users' initial preferences from their draws.

    Block values ``|clip(0.4 · normal, −1, 1)|`` times the topic's weight (uniform, cubed), divided by the sum
    of the block norms (Section 5.1 of arXiv 2301.08632).

    Args:
        dynamics: The world.
        normals: Standard normals, ``(n, embedding_size)``.
        topic_uniforms: Uniforms in [0, 1), ``(n, num_topics)``.

    Returns:
        ``(n, embedding_size)``.
    """
    preferences = np.empty(normals.shape)
    for row in range(normals.shape[0]):
        for d in range(normals.shape[1]):
            uniform = topic_uniforms[row, d // dynamics.topic_size]
            value = abs(min(max(0.4 * normals[row, d], -1.0), 1.0))
            preferences[row, d] = value * uniform * uniform * uniform
        _normalise_preference(dynamics, preferences, row)
    return preferences


@compiled
def next_scores(dynamics: Dynamics, users: Users, u: int, scores: NDArray[np.float64]) -> None:
    """Write user ``u``'s score of every item in the step to come, ``(num_items,)`` (steps 1 to 3)."""
    bored = np.empty((1, dynamics.num_topics), np.bool_)
    timeout = np.empty((1, dynamics.num_topics), np.int64)
    preference = np.empty(users.preference.shape[1])
    counts = np.empty(dynamics.num_topics, np.int64)
    advance_boredom(dynamics, users, u, bored, timeout, 0, counts)
    current_preference(dynamics, users, u, bored, 0, preference)
    scores[:] = 0.0
    for d in range(preference.shape[0]):  # items innermost: the loop that vectorises
        weight = preference[d] / dynamics.max_score
        if weight != 0.0:
            for item in range(scores.shape[0]):
                scores[item] += weight * dynamics.items_by_feature[d, item]
    if dynamics.click_only_once:
        for item in range(scores.shape[0]):
            if users.clicked_items[u, item]:
                scores[item] = 0.0


@compiled
def short_term_oracle_slates(
    dynamics: Dynamics, users: Users, which: NDArray[np.int64], slates: NDArray[np.int64]
) -> None:
    """Write the slates of highest scores of the users in ``which``, ``(n, slate_size)``."""
    scores = np.empty(dynamics.items.shape[0])
    for row in range(which.shape[0]):
        next_scores(dynamics, users, which[row], scores)
        best_items(scores, slates[row])
