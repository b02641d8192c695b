"""Recorded sessions of the published simulators, replayed through the simulator's own step."""

from typing import Annotated, Any

import gymnasium
import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray

from gems_gym.common.checks import as_array, checked
from gems_gym.config import SlateConfig
from gems_gym.envs.recorded_spec import world_config
from gems_gym.sardine_config import SardineConfig
from gems_gym.simulator import ItemEmbeddings, check_slates, make_simulator, resolve_world

_CLICK, _NO_CLICK = -1.0, 2.0  # below and above every probability


def replay_session(
    config: SlateConfig | str,
    item_embeddings: ItemEmbeddings,
    user_initial: ArrayLike,
    first_clicks: ArrayLike,
    slates: ArrayLike,
    clicks: ArrayLike,
    short_term_topic: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Replay one recorded session: given the clicks, everything else is deterministic and can be compared.

    The recorded clicks go through the same code that ``step`` runs: a recorded click is a uniform number below
    every probability, a recorded non-click one above.

    Args:
        config: A preset's name or a configuration; ``num_items`` follows ``item_embeddings``, and
            ``episode_length`` and ``leave_probability`` end nothing: as many steps are replayed as there are slates.
        item_embeddings: The catalogue, ``(num_items, embedding_size)``, or the path of an .npy file of it.
        user_initial: The user's preference after reset, ``(embedding_size,)``.
        first_clicks: Clicks on the first slate, ``(slate_size,)``, 0 or 1.
        slates: Slates shown, ``(steps, slate_size)``.
        clicks: Clicks on them, ``(steps, slate_size)``, 0 or 1.
        short_term_topic: The topic drawn at reset; needed where nothing was clicked on the first slate and
            ``short_term_boost`` is not 1, else it has no effect (0 is taken).

    Returns:
        Arrays: ``item_topic`` (num_items,), ``first_slate``, ``first_click_prob`` (slate_size,),
        ``click_prob``, ``scores``, ``oracle_slate`` (steps, slate_size), ``bored``, ``bored_timeout``
        (steps, num_topics), ``user_after`` (steps, embedding_size), ``short_term_topic`` (steps,); and, handed
        through, ``item_embeddings``, ``user_initial``, ``first_clicks``, ``slates``, ``clicks``.
        ``oracle_slate`` and ``short_term_topic`` belong to the state in which the step is taken.

    Raises:
        ValueError: An array of the wrong shape or with values out of range.
    """
    world, catalog = resolve_world(config, item_embeddings)
    if isinstance(world, SardineConfig):
        raise ValueError(
            f"config={config!r} is a world of SARDINE: replay_sardine_session replays its sessions"
        )
    simulator = make_simulator(world.without_leaving(), catalog, num_users=1)
    steps = max(1, len(np.atleast_1d(as_array(slates, "slates"))))
    shown_slates = check_slates(slates, (steps, world.slate_size), world.num_items, name="slates")
    user_initial = _checked("user_initial", user_initial, (world.embedding_size,))
    first_clicks = _checked_clicks("first_clicks", first_clicks, (world.slate_size,))
    clicks = _checked_clicks("clicks", clicks, shown_slates.shape)
    topic = _checked_topic(short_term_topic, world.num_topics)

    first = simulator.open_given_sessions(
        user_initial[None], _uniforms_for(first_clicks)[None, None], np.array([topic])
    )
    recorded: dict[str, list[NDArray[Any]]] = {
        name: []
        for name in (
            "click_prob", "scores", "oracle_slate", "bored", "bored_timeout", "user_after", "short_term_topic",
        )
    }  # fmt: skip
    for slate, uniforms in zip(shown_slates, _uniforms_for(clicks), strict=True):
        recorded["oracle_slate"].append(simulator.short_term_oracle_slates()[0])
        recorded["short_term_topic"].append(simulator.users.short_term_topic[0].copy())
        shown = simulator.step(slate[None], uniforms[None, None])
        recorded["click_prob"].append(shown.click_probabilities[0])
        recorded["scores"].append(shown.scores[0])
        recorded["bored"].append(shown.bored[0])
        recorded["bored_timeout"].append(simulator.users.bored_timeout[0].copy())
        recorded["user_after"].append(shown.user_state[0])
    return {
        "item_embeddings": simulator.catalog.item_embeddings,
        "item_topic": simulator.catalog.item_topics,
        "user_initial": user_initial.astype(np.float32),
        "first_slate": first.slates[0],
        "first_clicks": first.clicks[0],
        "first_click_prob": first.click_probabilities[0],
        "slates": shown_slates,
        "clicks": clicks.astype(np.int8),
        **{name: np.stack(rows) for name, rows in recorded.items()},
    }


def replay_sardine_session(
    id_or_config: SardineConfig | str,
    item_embeddings: ItemEmbeddings,
    user_initial: ArrayLike,
    first_slate: ArrayLike,
    first_clicks: ArrayLike,
    slates: ArrayLike,
    clicks: ArrayLike,
) -> dict[str, NDArray[Any]]:
    """Replay one recorded session of SARDINE; see :func:`replay_session`.

    Args:
        id_or_config: The id of a ``Sardine-`` environment, or a configuration; ``num_items`` follows
            ``item_embeddings``, and as many steps are replayed as there are slates.
        item_embeddings: The catalogue, ``(num_items, num_topics)``, or the path of an .npy file of it.
        user_initial: The user's preference before the first slate, ``(num_topics,)``.
        first_slate: ``(slate_size,)``.
        first_clicks: Clicks on it, ``(slate_size,)``, 0 or 1.
        slates: Slates shown, ``(steps, slate_size)``.
        clicks: Clicks on them, ``(steps, slate_size)``, 0 or 1.

    Returns:
        Arrays: ``first_hist``, ``preference_after_reset``, ``bored_after_reset``, ``timeout_after_reset``
        (num_topics,), ``first_user_state`` (3 · num_topics,), ``scores``, ``relevances``, ``click_prob``
        (steps, slate_size), ``bored_during`` (used for this slate), ``bored_after``, ``bored_timeout``, ``hist``,
        ``preference`` (after the drift) (steps, num_topics), ``user_state`` (steps, 3 · num_topics), ``rewards``
        (steps,); and, handed through, the arguments.

    Raises:
        ValueError: An array of the wrong shape or with values out of range.
        TypeError: Neither an id nor a configuration of SARDINE.
        gymnasium.error.Error: An unknown id.
    """
    known = world_config(gymnasium.spec(id_or_config)) if isinstance(id_or_config, str) else id_or_config
    world, catalog = resolve_world(checked("id_or_config", known, SardineConfig), item_embeddings)
    simulator = make_simulator(world, catalog, num_users=1)
    user_initial = _checked("user_initial", user_initial, (world.num_topics,))
    first = check_slates(first_slate, (world.slate_size,), world.num_items, name="first_slate")
    first_clicks = _checked_clicks("first_clicks", first_clicks, (world.slate_size,))
    steps = max(1, len(np.atleast_1d(as_array(slates, "slates"))))
    shown_slates = check_slates(slates, (steps, world.slate_size), world.num_items, name="slates")
    clicks = _checked_clicks("clicks", clicks, shown_slates.shape)

    shown = [
        simulator.open_given_sessions(
            user_initial[None],
            _uniforms_for(first_clicks)[None, None],
            np.array([0]),
            first_slates=first[None],
        )
    ]
    preferences = [simulator.users.preference[0].copy()]
    # which topics bore after a step is seen when the next slate is shown, so one more is shown at the end
    for slate, uniforms in zip([*shown_slates, first], _uniforms_for([*clicks, first_clicks]), strict=True):
        shown.append(simulator.step(slate[None], uniforms[None, None]))
        preferences.append(simulator.users.preference[0].copy())
    states = np.concatenate([one.user_state for one in shown])  # (steps + 2, 3 · num_topics)
    bored = np.concatenate([one.bored for one in shown])  # (steps + 2, num_topics), row 0 at the first slate
    _, history, timeouts = np.split(states, 3, axis=1)
    timeouts = np.rint(timeouts * world.boredom_timeout).astype(np.int64)
    replayed = shown[1:-1]
    return {
        "item_embeddings": catalog.item_embeddings,
        "user_initial": user_initial.astype(np.float32),
        "first_slate": first,
        "first_clicks": first_clicks.astype(np.int8),
        "first_hist": history[0],
        "first_user_state": states[0],
        "preference_after_reset": preferences[0],
        "bored_after_reset": bored[1],
        "timeout_after_reset": timeouts[0],
        "slates": shown_slates,
        "clicks": clicks.astype(np.int8),
        "scores": np.concatenate([one.scores for one in replayed]),
        "relevances": np.concatenate([one.relevances for one in replayed]),
        "click_prob": np.concatenate([one.click_probabilities for one in replayed]),
        "rewards": np.concatenate([one.rewards for one in replayed]),
        "bored_during": bored[1:-1],
        "bored_after": bored[2:],
        "bored_timeout": timeouts[1:-1],
        "hist": history[1:-1],
        "user_state": states[1:-1],
        "preference": np.stack(preferences[1:-1]),
    }


def _checked(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers, got NaN or infinity")
    return array.astype(np.float64)


def _checked_clicks(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = _checked(name, value, shape)
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be 0 or 1, got {array[~np.isin(array, (0, 1))][0]:g}")
    return array


def _checked_topic(topic: int | None, num_topics: int) -> int:
    return checked("short_term_topic", topic, Annotated[int, Interval(ge=0, le=num_topics - 1)] | None) or 0


def _uniforms_for(clicks: ArrayLike) -> NDArray[np.float32]:
    return np.where(np.asarray(clicks) > 0, _CLICK, _NO_CLICK).astype(np.float32)
