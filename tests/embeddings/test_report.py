"""gems_gym.embeddings.report: measures with known answers, and the comparison of kinds."""

import numpy as np
import pytest

from gems_gym.embeddings import Sources
from gems_gym.embeddings.report import compare_embeddings, embedding_quality
from tests.embeddings.grouped_log import GROUPS, grouped_log


def grouped(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three groups of 20 items around the axes, and their topics."""
    topics = np.repeat(np.arange(3), 20)
    noise = np.random.default_rng(seed).standard_normal((60, 3))
    return np.eye(3)[topics] + spread * noise, topics


def test_the_truth_itself_is_perfect() -> None:
    true, topics = grouped(0.05)
    quality = embedding_quality(3 * true, true, topics)
    assert quality.cosine_correlation == pytest.approx(1)
    assert (quality.topic_purity, quality.neighbour_purity) == (1, 1)


def test_noise_is_worthless() -> None:
    true, topics = grouped(0.05)
    noise = np.random.default_rng(1).standard_normal((60, 20))
    quality = embedding_quality(noise, true, topics)
    assert abs(quality.cosine_correlation) < 0.1
    assert quality.topic_purity < 0.6
    assert 0.2 < quality.neighbour_purity < 0.45


def test_measures_by_hand() -> None:
    true = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 0.0]])  # the last cosine counts as 0
    quality = embedding_quality(found, true, np.array([0, 0, 1, 1]))
    # pairs 01 02 03 12 13 23: found 0 0 0 1 0 0, true 1 0 0 0 0 1
    assert quality.cosine_correlation == pytest.approx(
        np.corrcoef([0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1])[0, 1]
    )
    assert quality.neighbour_purity == pytest.approx(1 / 3)  # three neighbours each, one of its topic
    assert quality.topic_purity in (0.5, 0.75)


def test_all_zeros_and_seeds() -> None:
    true, topics = grouped(0.3)
    quality = embedding_quality(np.zeros((60, 2)), true, topics)
    assert quality.cosine_correlation == 0
    assert quality.topic_purity == pytest.approx(1 / 3)
    other = grouped(0.6, seed=1)[0]
    assert embedding_quality(other, true, topics, seed=4) == embedding_quality(other, true, topics, seed=4)
    with pytest.raises(ValueError, match="for 59, 60 and 60 items"):
        embedding_quality(true[:59], true, topics)


def test_comparison() -> None:
    true = np.eye(3)[np.minimum(GROUPS, 2)] + 0.01
    sources = Sources(31, "c0" * 32, grouped_log(num_slates=4000), true)
    rows = compare_embeddings(sources, np.minimum(GROUPS, 2), size=3, progress=False)
    assert set(rows) == {
        "scratch",
        "co_click",
        "session_co_click",
        "matrix_factorization",
        "ideal",
    }  # no belief was given
    assert rows["ideal"]["cosine_correlation"] == pytest.approx(1)
    assert [name for name, row in rows.items() if row["privileged"]] == ["ideal"]
    assert {row["size"] for row in rows.values()} == {3}
    assert all(row["seconds"] >= 0 for row in rows.values())
    for learned in ("co_click", "matrix_factorization"):
        assert rows[learned]["cosine_correlation"] > 0.7 > 0.3 > rows["scratch"]["cosine_correlation"]
        assert rows[learned]["neighbour_purity"] > 0.85  # groups of ten: at most nine of ten
    assert set(compare_embeddings(sources, np.minimum(GROUPS, 2), ["scratch"], progress=False)) == {"scratch"}
    with pytest.raises(ValueError, match="true_embeddings is not given"):
        compare_embeddings(Sources(31, "c0" * 32), GROUPS, progress=False)
