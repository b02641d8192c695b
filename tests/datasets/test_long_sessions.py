"""Memory is bounded in bytes: long sessions are held a few at a time, and the numbers stay the same."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gems_gym.datasets import Sessions, compute_content_hash, sessions, subset, writer
from gems_gym.datasets.hidden_folder import Chunks
from gems_gym.datasets.sessions import sessions_at_once
from tests.datasets.small_world import SLATE_SIZE, collect_latents, collect_slates

EPISODES = 24
LONG: dict[str, Any] = {
    "episodes": EPISODES,
    "num_envs": 256,
    "env_kwargs": {"num_items": 40, "slate_size": SLATE_SIZE, "episode_length": 250},
}
COLLECT = {"latents": collect_latents, "slates": collect_slates}
BOUND = 80_000


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of the sessions that this process saved at once."""
    found: list[int] = []
    save = Chunks.save

    def noted(self: Chunks, index: int, played: Sessions) -> None:
        found.append(played.nbytes)
        save(self, index, played)

    monkeypatch.setattr(Chunks, "save", noted)
    return found


def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sessions, writer):
        monkeypatch.setattr(module, "CHUNK_BYTES", BOUND)


def test_how_many_sessions_are_held_at_once() -> None:
    assert sessions_at_once(session_bytes=30_000, most=256) == 256
    assert sessions_at_once(session_bytes=3_200_000, most=256) == 20
    assert sessions_at_once(session_bytes=10**9, most=256) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "ways"), [("latents", ({}, {"num_envs": 2}, {"workers": 2})), ("slates", ({"num_envs": 2},))]
)
def test_the_bound_changes_no_number(
    datasets_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    saved: list[int],
    kind: str,
    ways: tuple[dict[str, int], ...],
) -> None:
    collect = COLLECT[kind]
    whole = collect("small/whole-v0", **LONG).storage.metadata["content_hash"]
    assert len(saved) == 1
    session = saved[0] / EPISODES
    bound(monkeypatch)
    saved.clear()
    for number, changes in enumerate(ways):
        made = collect(f"small/bound{number}-v0", **(LONG | changes))
        assert made.storage.metadata["content_hash"] == whole == compute_content_hash(made)
    # as many as there is room for
    assert BOUND - session <= max(saved) <= BOUND
    part = subset("small/whole-v0", dataset_id="small/part-v0", min_return=0, progress=False)
    assert part.storage.metadata["content_hash"] == whole


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_sessions(
    datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch)

    def peak(episodes: int, dataset_id: str) -> int:
        tracemalloc.start()
        try:
            made = collect_slates(dataset_id, **(LONG | {"episodes": episodes}))
            subset(made, dataset_id=f"part/{dataset_id}", min_return=0, progress=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    collect_slates("small/first-v0", **(LONG | {"episodes": 1}))  # compiles, imports
    few, many = peak(4, "few-v0"), peak(24, "many-v0")
    assert many < few + 3 * BOUND  # the further sessions themselves are many more bytes
