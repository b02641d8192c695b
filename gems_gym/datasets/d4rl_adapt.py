"""Files of other programs in the form of D4RL: what the user decides of them, where sessions end and actions' scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Positive, checked
from gems_gym.datasets.d4rl_file import ARRAYS, FLAGS, VECTORS, D4rlFile
from gems_gym.datasets.sessions import first_of

_ROUNDING = 1e-5
"""How far outside of its bounds a latent may be found by rounding alone."""


def adapt(
    file: D4rlFile,
    ranker: Any | None,
    *,
    terminals_are_timeouts: bool,
    rescale_actions: bool,
    episode_length: int | None,
) -> tuple[D4rlFile, list[str]]:
    """Does with a file of another program what the user decided; see :func:`~gems_gym.datasets.import_d4rl`.

    Args:
        file: The file as it was read.
        ranker: The ranker whose latents its actions are, if it is known.
        terminals_are_timeouts: Takes terminals as ends by time.
        rescale_actions: Brings actions into [-1, 1].
        episode_length: Steps in a session, for a file that marks no ends; None where nothing was decided.

    Returns:
        The file, still to be checked, and a sentence for each step. Nothing is changed if nothing was decided.

    Raises:
        ValueError: An array has a wrong form, or actions can't be brought into the box.
    """
    if not (terminals_are_timeouts or rescale_actions or episode_length is not None):
        return file, []
    file, steps = _as_float32_and_flags(file)
    file.check_forms(action_size=None if ranker is None else ranker.action_size)
    rows, has_terminals = len(file.timeouts), bool(file.terminals.any())
    if terminals_are_timeouts:
        taken = int(file.terminals.sum())
        steps.append(f"terminals: {taken:,} of {rows:,} rows are taken as ends by time (timeouts)")
        file = replace(
            file,
            terminals=np.zeros_like(file.terminals),
            timeouts=file.terminals | file.timeouts,
            lacks=() if has_terminals else file.lacks,
        )
    if episode_length is not None and "timeouts" in file.lacks and not has_terminals:
        steps.append(
            f"timeouts: the file has none; its {rows:,} rows are cut into sessions of {episode_length} steps"
        )
        file = replace(file, timeouts=_ends(rows, episode_length), lacks=())
    if rescale_actions:
        file, step = _rescaled(file, ranker)
        steps.append(f"actions: {step}")
    return file, steps


def _ends(rows: int, length: int) -> NDArray[np.bool_]:
    """Which rows are the last of sessions of one length, ``(rows,)``."""
    ends: NDArray[np.bool_] = np.arange(1, rows + 1) % length == 0
    return ends


def _as_float32_and_flags(file: D4rlFile) -> tuple[D4rlFile, list[str]]:
    """Gives arrays the dtypes and shapes of D4RL's form, where another program's say the same in others.

    Returns:
        The file, and a sentence for each array that was changed. An array of no numbers, and flags other than
        0 and 1, stay for :meth:`~gems_gym.datasets.d4rl_file.D4rlFile.check` to refuse.
    """
    changed: dict[str, Any] = {}
    steps = []
    for name in ARRAYS:
        values, is_flag = getattr(file, name), name in FLAGS
        flat = values[:, 0] if name not in VECTORS and values.shape[1:] == (1,) else values
        if values.dtype.kind not in "biuf" or (is_flag and not np.isin(flat, (0, 1)).all()):
            continue
        with np.errstate(over="ignore"):  # what becomes infinite is refused by the check
            new = flat.astype(np.bool_ if is_flag else np.float32)
        if values.dtype != new.dtype or values.shape != new.shape:
            changed[name] = new
            rounded = 0.0 if is_flag else np.abs(new - flat).max(initial=0.0)
            loss = f", rounded by at most {rounded:.1g}" if rounded else ""
            steps.append(f"{name}: from {values.dtype} {values.shape} to {new.dtype} {new.shape}{loss}")
    return replace(file, **changed), steps


def _rescaled(file: D4rlFile, ranker: Any | None) -> tuple[D4rlFile, str]:
    """Brings actions into the box [-1, 1] that agents act in.

    Without a ranker they are divided by one number, the largest absolute value: directions and relative distances stay.
    With a ranker the box is the ranker's own: the file's actions are taken as latents, as its decoder takes them, and
    become the actions that stand for them (``ranker.to_actions``).

    Returns:
        The file, and what was done. Without a ranker its metadata hold ``action_scale``: actions times this number are
        the file's; with one, the ranker maps them back.

    Raises:
        ValueError: The ranker can't tell which actions stand for latents, or a latent lies outside its bounds.
    """
    if not np.isfinite(file.actions).all():
        return file, "not rescaled"  # the check names the number
    # of a dataset that was rescaled, exported and changed
    before = checked("action_scale in the file's metadata", file.metadata.get("action_scale", 1.0), Positive)
    if ranker is not None:
        step = "taken as latents of the ranker, and mapped into [-1, 1] by its bounds"
        latents = file.actions * np.float32(before)
        metadata = {name: value for name, value in file.metadata.items() if name != "action_scale"}
        return replace(file, actions=_within_bounds(latents, ranker), metadata=metadata), step
    scale = max(float(np.abs(file.actions).max()), 1.0)
    metadata = file.metadata | {"action_scale": scale * before}
    step = (
        "not rescaled, they lie in [-1, 1]"
        if scale == 1.0
        else f"divided by {scale:.9g}, the largest of them"
    )
    return replace(file, actions=file.actions / np.float32(scale), metadata=metadata), step


def _within_bounds(latents: NDArray[np.float32], ranker: Any) -> NDArray[np.float32]:
    """The actions in [-1, 1] that stand for latents."""
    leave = "leave ranker and belief out: then the largest number of the actions is the scale"
    if not hasattr(ranker, "to_actions"):
        raise ValueError(
            f"--rescale-actions (rescale_actions=True): a {ranker.kind} ranker can't tell which actions in [-1, 1] "
            f"stand for latents; {leave}"
        )
    actions: NDArray[np.float32] = ranker.to_actions(latents)  # (N, action_size)
    outside = np.abs(actions) > 1.0 + _ROUNDING
    if outside.any():
        row, column = first_of(outside)
        raise ValueError(
            f"actions[{row}, {column}] would be {actions[row, column]:.4g} in the ranker's bounds, must be in [-1, 1], "
            f"as it does not in {outside.any(axis=1).mean():.1%} of the rows: give the ranker that they are latents "
            f"of, or {leave}"
        )
    return np.clip(actions, -1.0, 1.0)
