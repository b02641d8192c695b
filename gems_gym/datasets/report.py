"""Quality report of a dataset: what its policy reached, showed and left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import gymnasium
from numpy.typing import NDArray

from gems_gym.common.checks import checked_arguments
from gems_gym.common.threads import one_thread
from gems_gym.datasets.measures import (
    Coverage,
    CoverageMeasures,
    ReturnMeasures,
    Returns,
    SlateMeasures,
    Slates,
)
from gems_gym.datasets.reader import dataset_world, is_log, open_sessions, read_sessions

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset


@dataclass(frozen=True)
class DatasetReport:
    """Measures of a dataset.

    Attributes:
        dataset_id: Its id.
        env: Id of its environment; None for a log of another recommender.
        policy: Who played, as its metadata say.
        content_hash: Content hash of its numbers.
        episodes: Sessions.
        transitions: Steps of all sessions.
        left: Sessions that ended before their time since the user left.
        returns: Clicks per session.
        normalized_score: Minari's normalised score of the mean return, in per cent; None without reference scores.
        slates: What was shown and clicked; None where there are no infos (a dataset that came from an npz file), and
            for a log, whose import report has it.
        states: How the beliefs that were acted on fill their box; None where observations are slates.
        actions: How the latents fill theirs; None where actions are slates.
    """

    dataset_id: str
    env: str | None
    policy: str | None
    content_hash: str | None
    episodes: int
    transitions: int
    left: int
    returns: Returns
    normalized_score: float | None
    slates: Slates | None
    states: Coverage | None
    actions: Coverage | None

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return asdict(self)


@checked_arguments
@one_thread()
def report_dataset(dataset: Dataset, *, progress: bool = True) -> DatasetReport:
    """Measures a dataset, reading it once, in chunks: memory does not grow with its size.

    Args:
        dataset: The dataset, or the id of a local one.
        progress: Draws a progress bar on stderr.

    Raises:
        ValueError: If there is no dataset of this id, it is not gems-gym's, or its environment has another catalogue
            now than when it was recorded.
        ImportError: If Minari is not installed; it names the extra.
    """
    opened = open_sessions(dataset)
    metadata, world = opened.storage.metadata, None if is_log(opened) else dataset_world(opened)
    returns = ReturnMeasures()
    states, actions = _coverage(opened.observation_space), _coverage(opened.action_space)
    slates = None
    if world is not None:
        slates = SlateMeasures(world.catalog.item_topics, world.config.num_topics, world.config.slate_size)
    left = 0
    for sessions in read_sessions(opened, f"reading {opened.id}", progress=progress):
        left += int(sessions.left.sum())
        returns.add(sessions)
        slates = slates if {"slate", "clicks", "bored"} <= sessions.infos.keys() else None
        if slates is not None:
            slates.add(sessions)
        if states is not None:  # their space is a Box; nothing was done after the last one
            states.add(cast(NDArray[Any], sessions.observations)[:, :-1][sessions.filled])
        if actions is not None:
            actions.add(sessions.actions[sessions.filled])
    measured, low, high = returns.result(), metadata.get("ref_min_score"), metadata.get("ref_max_score")
    has_scores = low is not None and high is not None and low != high
    return DatasetReport(
        dataset_id=opened.id,
        env=None if world is None else opened.env_spec.id,
        policy=metadata.get("policy"),
        content_hash=metadata.get("content_hash"),
        episodes=int(opened.total_episodes),
        transitions=int(opened.total_steps),
        left=left,
        returns=measured,
        normalized_score=100.0 * (measured.mean - low) / (high - low) if has_scores else None,
        slates=slates.result() if slates is not None else None,
        states=states.result() if states is not None else None,
        actions=actions.result() if actions is not None else None,
    )


def _coverage(space: gymnasium.Space[Any]) -> CoverageMeasures | None:
    """What measures vectors of a space; None for slates."""
    shape = space.shape if isinstance(space, gymnasium.spaces.Box) else None
    return CoverageMeasures(*shape) if shape is not None and len(shape) == 1 else None
