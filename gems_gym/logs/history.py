"""Whether what a session showed and clicked before tells anything about its next clicks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.beliefs.base import State, rows_of
from gems_gym.common.progress import track
from gems_gym.embeddings import EmbeddingTable
from gems_gym.logs.click_models import PositionBased, click_losses
from gems_gym.logs.sessions import LoggedSessions

WITHOUT_HISTORY, WITH_HISTORY = "without history", "with history"
"""The same click head on nothing, and on the belief before each slate."""

_MOST_BATCHES, _FEWEST_BATCHES, _PASSES = 1_000, 100, 20
"""Updates of a click head; fewer for small logs, which it would learn by heart."""

_LEAST = 1e-7
"""Attractiveness is taken to be in [_LEAST, 1 − _LEAST]."""

_VALIDATED, _SHARES = 0.2, np.linspace(0, 1, 21)
"""The latest of the earlier sessions, on which it is chosen how much a click head has to say."""


def losses_by_history(
    belief: BeliefEncoder,
    embeddings: EmbeddingTable | None,
    earlier: LoggedSessions,
    later: LoggedSessions,
    *,
    batches: int | None,
    seed: int,
    progress: bool,
) -> dict[str, NDArray[np.float64]]:
    """Predict the clicks of later sessions with and without history, by models that are alike in all else.

    Each is a mixture of a position-based model and a click head, which knows the items' attractiveness and embeddings
    and the belief, or none. The head learns from the first four fifths of the earlier sessions; its share in the
    mixture is the best on the last fifth. So a head that learned a small log by heart has no say.

    Args:
        belief: Learned from the earlier sessions.
        embeddings: Likewise; None if there are none.
        earlier: At least 2 sessions, with a click in the first.
        later: What is predicted.
        batches: Updates of each click head; None: as many as suit the sessions.
        seed: Of the click heads.
        progress: Whether to show a progress bar on stderr.

    Returns:
        ``"without history"`` and ``"with history"`` -> nats of each later session, ``(num_sessions,)``.
    """
    from gems_gym.pretraining.click_prediction import BATCH_SIZE, ClickProbe

    learned, validation = earlier.split(_VALIDATED)
    model = PositionBased.fit(learned)
    num_slates, slate_size = learned.slates.shape
    batches = batches or min(_MOST_BATCHES, _FEWEST_BATCHES + _PASSES * num_slates // BATCH_SIZE)
    found = {}
    with track("comparing with and without history", 2, progress) as advance:
        for name, encoder in ((WITHOUT_HISTORY, None), (WITH_HISTORY, belief)):
            known, valid, new = (beliefs_before(encoder, some) for some in (learned, validation, later))
            head = ClickProbe(_item_features(model, embeddings), known.shape[1], slate_size, seed)
            head.fit(known, learned.slates, learned.clicks, batches)
            mixtures = _mixtures(head.predict(valid, validation.slates), model, validation)
            best = int(np.argmin([losses.sum() for losses in mixtures]))
            found[name] = _mixtures(head.predict(new, later.slates), model, later)[best]
            advance(1)
    return found


def beliefs_before(
    encoder: BeliefEncoder | None, sessions: LoggedSessions, start: Callable[[int], State] | None = None
) -> NDArray[np.float32]:
    """The belief before each slate, float32 ``(num_slates, size)``; without an encoder a single zero.

    Args:
        encoder: Of the belief.
        sessions: What was shown and clicked.
        start: The state of so many users before their first slate; the encoder's initial one if None.
    """
    if encoder is None:
        return np.zeros((len(sessions.slates), 1), np.float32)
    found = np.empty((len(sessions.slates), encoder.size), np.float32)
    longest_first = np.argsort(-sessions.lengths, kind="stable")
    state = (start or encoder.initial)(len(sessions))
    for step in range(int(sessions.lengths.max())):
        last = int((sessions.lengths > step).sum())
        rows = sessions.starts[longest_first[:last]] + step
        state = rows_of(state, np.arange(last))
        found[rows] = encoder.read(state)
        state = encoder.update(state, sessions.slates[rows], sessions.clicks[rows])
    return found


def _mixtures(
    head: NDArray[np.float32], model: PositionBased, sessions: LoggedSessions
) -> list[NDArray[np.float64]]:
    """Nats of each session, for each share of the head's predictions in a mixture with the model's."""
    rest = model.predict(sessions.slates)
    return [sessions.totals(click_losses(share * head + (1 - share) * rest, sessions)) for share in _SHARES]


def _item_features(model: PositionBased, embeddings: EmbeddingTable | None) -> NDArray[np.float32]:
    """What click heads know of items: the log-odds of their attractiveness, and their embeddings."""
    attractiveness = np.clip(model.attractiveness, _LEAST, 1 - _LEAST)  # 0 in sessions without a click
    odds = np.log(attractiveness / (1 - attractiveness))
    parts = [(odds - odds.mean())[:, None], *([] if embeddings is None else [embeddings.vectors])]
    return np.concatenate(parts, axis=1).astype(np.float32)
