"""Reads TensorBoard's files back, as TensorBoard shows them."""

from pathlib import Path

import pytest


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of the files in a folder; a newer file hides an older one's steps from its first on.

    TensorBoard takes the files by name, in which the tenth of a process and second stands before the ninth.
    """
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents*"), key=lambda one: one.stat().st_mtime_ns):
        for event in loading.LegacyEventFileLoader(str(path)).Load():
            if event.session_log.status == event.session_log.START:
                found = {tag: [one for one in curve if one[0] < event.step] for tag, curve in found.items()}
            for one in event.summary.value:
                found.setdefault(one.tag, []).append((event.step, one.simple_value))
    return found
