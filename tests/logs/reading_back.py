"""A small log, and an imported one as what was in it: ids as the log has them, without what fills slates up."""

from __future__ import annotations

from typing import Any

import minari
import numpy as np
import polars as pl

from gems_gym.logs import ImportReport, import_log, read_items, read_users

ID = "my/log-v0"

Session = tuple[str, list[tuple[int, list[str | None], list[int]]]]
"""A user, and each impression's time in ms, items and clicks; None: a slot that nothing is known of."""


LOG: dict[str, list[Any]] = {
    "user": ["a", "b"],
    "timestamp": [1, 2],
    "items": [[1, 2], [2]],
    "clicks": [[0, 1], [0]],
}


def log(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({**LOG, **columns})


def imported(source: Any, **options: Any) -> ImportReport:
    return import_log(source, dataset_id=ID, progress=False, **options)


def sessions(dataset_id: str = ID) -> list[Session]:
    items, users = read_items(dataset_id)["item"].to_list(), read_users(dataset_id)["user"].to_list()
    dataset = minari.load_dataset(dataset_id)
    found: list[Session] = []
    for index, episode in enumerate(dataset):
        seen = episode.observations
        assert not any(seen[name][0].any() for name in seen)  # nothing was shown before the first slate
        assert (episode.actions == seen["slate"][1:]).all()
        assert (episode.rewards == seen["clicks"][1:].sum(axis=1)).all()
        assert episode.terminations.tolist() == [False] * (len(episode.rewards) - 1) + [True]
        about = next(iter(dataset.storage.get_episode_metadata([index])))
        rows = zip(
            seen["slate"][1:], seen["clicks"][1:], seen["mask"][1:], episode.infos["time"][1:], strict=True
        )
        found.append((users[about["seed"]], [_impression(*row, items) for row in rows]))
    return found


def _impression(
    slate: np.ndarray, clicks: np.ndarray, mask: np.ndarray, time: int, items: list[str]
) -> tuple[int, list[str | None], list[int]]:
    last = int(np.flatnonzero(mask)[-1]) + 1
    shown = [items[item] if known else None for item, known in zip(slate[:last], mask[:last], strict=True)]
    return int(time), shown, clicks[:last].tolist()


def left_out(report: ImportReport) -> dict[str, int]:
    assert report.rows_read == report.rows_kept + sum(one["rows"] for one in report.dropped.values())
    return {reason: one["rows"] for reason, one in report.dropped.items()}
