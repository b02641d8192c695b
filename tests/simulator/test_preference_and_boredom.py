"""The parameters of drift, boosts and boredom: what each does, worked out by hand."""

import numpy as np
import pytest

from tests.simulator.pure_worlds import EVENLY, PURE, VERSIONS, bored_steps, replay

# --- preference ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("omega", [0.0, 0.25, 0.9, 1.0])
def test_omega(omega):
    session = replay([[0, 1], [1, 0]], [[1, 0], [1, 1]], omega=omega, boredom_threshold=99)
    after_first = omega * EVENLY + (1 - omega) * PURE[0]  # sums to 1 already
    after_second = omega * (omega * after_first + (1 - omega) * PURE[1]) + (1 - omega) * PURE[0]
    np.testing.assert_allclose(session["user_after"], [after_first, after_second], atol=1e-7)


def test_drift_goes_by_slate_order_and_adds_block_norms_to_one():
    items = np.array([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, -2.0]])  # blocks of two: norms 5 and 2
    user = np.array([0.5, 0.0, 0.5, 0.0])
    session = replay(
        [[0, 1], [1, 1]], [[1, 1], [0, 0]], items=items, user=user, num_topics=2, topic_size=2, omega=0.5
    )
    first = np.array([1.75, 2.0, 0.25, 0.0])
    first /= np.hypot(1.75, 2.0) + 0.25
    second = 0.5 * first + [0, 0, 0, -1.0]
    second /= np.hypot(*second[:2]) + np.hypot(*second[2:])
    np.testing.assert_allclose(session["user_after"][0], second, atol=1e-7)
    np.testing.assert_allclose(session["user_after"][1], second, atol=1e-7)  # no click, no drift


@pytest.mark.parametrize("boost", [0.0, 1.0, 2.5])
def test_short_term_boost(boost):
    scores = replay([[0, 1, 2]], [[0, 0, 0]], first_clicks=[0, 1, 0], short_term_boost=boost)["scores"][0]
    np.testing.assert_allclose(scores, [1 / 3, boost / 3, 1 / 3], atol=1e-7)
    drawn = replay([[0, 1, 2]], [[0, 0, 0]], topic=2, short_term_boost=boost)["scores"][0]
    np.testing.assert_allclose(drawn, [1 / 3, 1 / 3, boost / 3], atol=1e-7)


@pytest.mark.parametrize(("version", "new_topic"), [(0, 1), (1, 2)])
def test_the_short_term_topic_moves_when_it_is_bored_and_something_is_clicked(version, new_topic):
    session = replay(
        [[3, 3], [1, 2], [5, 5], [5, 2], [1, 2]],
        [[1, 1], [0, 0], [1, 1], [0, 0], [0, 0]],
        first_clicks=[1, 0],
        boredom_threshold=2,
        boredom_timeout=9,
        boredom_moving_window=version,  # either way a click counts in the one step after it
        short_term_boost=2.0,
        omega=1.0,
        dynamics_version=version,
    )
    # Topic 0 by the first slate's click; it bores from step 2 on, where nothing is clicked. In step 3 the last click
    # is at position 1: v0 takes the topic of item 1 by an index slip, v1 that of the item shown there, 5.
    assert bored_steps(session, 0) == [2, 3, 4, 5]
    assert session["short_term_topic"].tolist() == [0, 0, 0, new_topic, new_topic]
    np.testing.assert_allclose(session["scores"][0], 2 / 3, atol=1e-7)  # topic 0, boosted
    topic_1 = 2 / 3 if new_topic == 1 else 1 / 3
    np.testing.assert_allclose(session["scores"][4], [topic_1, 0.0], atol=1e-7)  # topic 2 bores since step 4


# --- boredom ---------------------------------------------------------------------------------------------------


def burst(clicks_at, steps, version, **overrides):
    """Item 0 clicked alone at some steps, a slate that nobody clicks at all others."""
    shown = np.full((steps, 1), 2)
    clicked = np.zeros((steps, 1))
    for step in clicks_at:
        shown[step - 1], clicked[step - 1] = 0, 1
    return replay(shown, clicked, dynamics_version=version, **overrides)


@VERSIONS
@pytest.mark.parametrize("threshold", [1, 2, 3, 5])
def test_boredom_threshold(threshold, version):
    session = burst(range(1, 6), 7, version, boredom_threshold=threshold, boredom_timeout=20)
    assert bored_steps(session) == list(range(threshold + 1, 8))
    assert not bored_steps(burst(range(1, 6), 7, version, boredom_threshold=6))
    assert not session["bored"][:, 1:].any()


@VERSIONS
@pytest.mark.parametrize("timeout", [1, 2, 5, 8])
def test_boredom_timeout(timeout, version):
    window = 0 if version == 0 else 1  # either way a click counts in the one step after it
    session = replay(
        [[0, 3, 0]] * 20, [[1, 1, 1]] + [[0, 0, 0]] * 19, boredom_threshold=3, boredom_timeout=timeout,
        boredom_moving_window=window, dynamics_version=version,
    )  # fmt: skip
    assert bored_steps(session) == list(range(2, 2 + timeout))
    counting_down = list(range(timeout, 0, -1))
    assert session["bored_timeout"][1 : 1 + timeout, 0].tolist() == counting_down
    assert (session["bored_timeout"][1 + timeout :, 0] == timeout).all()
    assert (session["bored_timeout"][:, 1:] == timeout).all()


@VERSIONS
def test_a_topic_that_stays_bored_has_its_timeout_go_on(version):
    session = burst(range(1, 9), 9, version, boredom_threshold=2, boredom_timeout=3)
    assert bored_steps(session) == list(range(3, 10))
    assert session["bored_timeout"][:, 0].tolist() == [3, 3, 3, 2, 1, 3, 2, 1, 3]


@pytest.mark.parametrize("window", [0, 1, 2, 5])
def test_boredom_moving_window(window):
    overrides = {"boredom_threshold": 2, "boredom_timeout": 1, "boredom_moving_window": window}
    for version, lasts in ((0, window + 1), (1, window)):  # steps in which a click counts
        # both clicks count in the steps after the second (3) up to the last of the first (1 + lasts)
        session = burst([1, 2], 12, version, **overrides)
        assert bored_steps(session) == list(range(3, 1 + lasts + 1))
        single = burst([1], 12, version, **{**overrides, "boredom_threshold": 1})
        assert bored_steps(single) == list(range(2, 1 + lasts + 1))


@VERSIONS
@pytest.mark.parametrize(("maxlen", "bores"), [(1, False), (2, False), (3, True), (10, True)])
def test_recent_items_maxlen(maxlen, bores, version):
    overrides = {
        "boredom_threshold": 3, "boredom_timeout": 1, "recent_items_maxlen": maxlen, "dynamics_version": version,
    }  # fmt: skip
    session = replay([[0, 3, 0], [1, 1, 1]], [[1, 1, 1], [0, 0, 0]], **overrides)
    assert bool(bored_steps(session)) == bores
    # the oldest fall out first, in slate order
    session = replay([[0, 0, 0], [1, 2, 1], [2, 2, 2]], [[1, 1, 1], [1, 1, 1], [0, 0, 0]], **overrides)
    assert session["bored"][2].tolist() == [maxlen >= 6, False, False]


def test_first_slate_clicks_have_no_time_stamp_in_v0_and_one_in_v1():
    quick = {"boredom_threshold": 1, "boredom_timeout": 1, "boredom_moving_window": 3, "first_clicks": [1]}
    assert bored_steps(burst([], 15, 0, **quick)) == list(range(1, 16))  # nothing ever drops it
    assert bored_steps(burst([], 15, 1, **quick)) == [1, 2, 3]
    # a later click's stamp drops the older entry without one, and the later click stays in its place
    assert bored_steps(burst([2], 15, 0, **quick)) == list(range(1, 16))
    twice = {**quick, "boredom_threshold": 2}
    assert bored_steps(burst([2], 15, 0, **twice)) == [3, 4, 5, 6]
    assert bored_steps(burst([2], 15, 1, **twice)) == [3]  # steps 1–3 and 3–5
    # once the log has been full the two queues are in step again
    full = {**quick, "recent_items_maxlen": 2}
    assert bored_steps(burst([2, 3], 15, 0, **full)) == [1, 2, 3, 4, 5, 6, 7]
    assert bored_steps(burst([2, 3], 15, 1, **full)) == [1, 2, 3, 4, 5, 6]


def test_a_bored_topic_scores_zero_even_where_it_is_boosted():
    session = burst([1], 2, 0, boredom_threshold=1, short_term_boost=5.0, first_clicks=[1])
    shown_again = replay([[0], [0]], [[1], [0]], boredom_threshold=1, short_term_boost=5.0)
    assert bored_steps(session) == [1, 2]
    assert shown_again["scores"][1].tolist() == [0.0]
    assert session["oracle_slate"][1].tolist() == [1]
