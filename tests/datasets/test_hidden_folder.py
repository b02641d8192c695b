"""Where datasets are written: one process at a time, no link followed, nothing lost or left when it is killed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import minari
import pytest

from gems_gym.common import files, locks
from gems_gym.common.locks import InUseError
from gems_gym.datasets import (
    compute_content_hash,
    export_d4rl,
    hidden_folder,
    import_d4rl,
    merge,
    relabel,
    subset,
    writer,
)
from gems_gym.datasets.hidden_folder import unfinished_folder
from tests.datasets.small_world import collect_latents, small_ranker
from tests.processes import held_elsewhere, in_another_process, is_killed, kill_myself

ID = "small/latent-v0"
HIDDEN = ".unfinished-small+latent-v0"


def hidden(root: Path) -> list[str]:
    return sorted(one.name for one in root.glob(".*"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


# -- links -------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somebody's folder with everything that a hidden folder could hold."""
    for name in (
        "chunks/request.json",
        "chunks/0000000-0000010.npz",
        "dataset/data/a",
        "replaced/b",
        ".lock",
        "own",
    ):
        file = tmp_path / "victim" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("precious")
    return tmp_path / "victim"


@pytest.mark.parametrize("inner", ["", "chunks", "dataset", "replaced", ".lock"])
def test_links_in_the_hidden_folders_place_are_refused(datasets_root: Path, victim: Path, inner: str) -> None:
    before = content(victim)
    link = datasets_root / HIDDEN / inner
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim / inner)
    with pytest.raises(
        OSError, match=rf"{re.escape(link.name)} is a symbolic link, which is not followed .*: remove it"
    ):
        collect_latents(overwrite=True)
    assert content(victim) == before
    collect_latents("small/other-v0")  # clears up after killed processes
    assert content(victim) == before
    assert link.is_symlink()


def test_a_link_in_the_datasets_place_is_not_replaced(datasets_root: Path, victim: Path) -> None:
    before = content(victim)
    collect_latents("small/source-v0", episodes=3)
    (victim / "data").mkdir()
    (datasets_root / ID).symlink_to(victim)
    with pytest.raises(OSError, match="latent-v0 is a symbolic link"):
        subset("small/source-v0", dataset_id=ID, episodes=1, overwrite=True, progress=False)
    assert content(victim) == before


def test_a_hidden_folders_name_leads_nowhere_else(datasets_root: Path, tmp_path: Path) -> None:
    moved = datasets_root / ".unfinished-..+evil-v0/replaced"
    moved.mkdir(parents=True)
    collect_latents(episodes=1)
    assert moved.is_dir()
    assert not (tmp_path / "evil-v0").exists()


# -- two at once -------------------------------------------------------------------------------------------


def test_another_process_is_told_of(datasets_root: Path, tmp_path: Path) -> None:
    with (
        held_elsewhere(lambda: unfinished_folder(datasets_root, ID), tmp_path) as holder,
        pytest.raises(
            InUseError, match=rf"dataset_id '{ID}' is being written by another process, {holder.pid}"
        ),
    ):
        collect_latents()
    collect_latents()


def _write_or_be_refused(root: Path, shared: Path, turns: int) -> None:
    for _ in range(turns):
        with suppress(InUseError), unfinished_folder(root, ID) as folder:
            alone = shared / "alone"
            alone.touch(exist_ok=False)  # fails if another process is in here
            (folder / "dataset").mkdir()
            alone.unlink()


def test_the_hidden_folder_is_never_held_twice(datasets_root: Path, tmp_path: Path) -> None:
    """The folder comes and goes with each holder, so that a lock on a folder that is gone would let another in."""
    datasets_root.mkdir()
    processes = [in_another_process(_write_or_be_refused, datasets_root, tmp_path, 400) for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert hidden(datasets_root) == []


# -- killed while one dataset takes another's place --------------------------------------------------------


FILES = {Path(one.__file__).name for one in (files, locks, shutil, hidden_folder)}


def killed_in_finish(work: Callable[[], object], moment: int) -> None:
    """Does the work, and is killed at a certain call of our files' functions from the move into place on."""
    move, calls = writer.move_into_place, 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += Path(frame.f_code.co_filename).name in FILES
        if calls == moment:
            kill_myself()

    def watched(*given: Any, **named: Any) -> None:
        sys.setprofile(seen)
        move(*given, **named)

    writer.move_into_place = watched
    work()


def replace_by_part(seed: int) -> None:
    subset(ID, dataset_id=ID, episodes=3, seed=seed, overwrite=True, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("atomic", [True, False])
def test_killed_at_any_moment_of_replacing_one_of_the_two_is_there(
    datasets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    if not atomic:
        monkeypatch.setattr(files, "_exchanging_rename", lambda: None)
    old = collect_latents(episodes=6).storage.metadata["content_hash"]
    shutil.copytree(datasets_root, tmp_path / "before")
    replace_by_part(0)
    new = compute_content_hash(ID)
    found = []
    for moment in range(1, 1000, 5):
        shutil.rmtree(datasets_root)
        shutil.copytree(tmp_path / "before", datasets_root)
        if not is_killed(in_another_process(killed_in_finish, lambda: replace_by_part(0), moment)):
            break
        if not atomic:  # the next start of any writer
            with suppress(ValueError):
                subset("small/no-v0", dataset_id="small/more-v0", episodes=1, progress=False)
        found.append(compute_content_hash(ID))
        assert minari.load_dataset(ID).storage.metadata["content_hash"] == found[-1]
    assert len(found) > 10
    switch = found.index(new)
    assert found == [old] * switch + [new] * (len(found) - switch)
    assert switch > 0


def test_without_exchanging_the_old_one_is_back_at_the_next_start(
    datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_exchanging_rename", lambda: None)
    old = collect_latents().storage.metadata["content_hash"]
    (datasets_root / HIDDEN).mkdir()
    (datasets_root / ID).rename(datasets_root / HIDDEN / "replaced")  # killed between the two steps
    with pytest.raises(ValueError, match="already in use"):
        collect_latents()
    assert compute_content_hash(ID) == old
    replace_by_part(0)
    assert minari.load_dataset(ID).total_episodes == 3
    assert hidden(datasets_root) == []


# -- killed while writing ----------------------------------------------------------------------------------


def killed_while_writing(work: Callable[[], object]) -> None:
    """Does the work, and is killed when the first sessions are handed to the writer."""

    def seen(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "append" and "writer.py" in frame.f_code.co_filename:
            kill_myself()

    sys.setprofile(seen)
    work()


def works(file: Path) -> dict[str, Callable[[], object]]:
    quiet: dict[str, Any] = {"dataset_id": "small/new-v0", "progress": False}
    return {
        "collect": lambda: collect_latents("small/new-v0"),
        "relabel": lambda: relabel(ID, small_ranker(1), **quiet),
        "merge": lambda: merge([ID, "small/second-v0"], **quiet),
        "subset": lambda: subset(ID, episodes=3, **quiet),
        "import": lambda: import_d4rl(file, **quiet),
    }


@pytest.mark.parametrize("name", ["collect", "relabel", "merge", "subset", "import"])
def test_what_a_killed_process_left_goes_with_the_next_one(
    datasets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    collect_latents()
    collect_latents("small/second-v0", seed=4)
    export_d4rl(ID, tmp_path / "file.npz", progress=False)
    work = works(tmp_path / "file.npz")[name]
    assert is_killed(in_another_process(killed_while_writing, work))
    assert hidden(datasets_root) == [".unfinished-small+new-v0"]
    assert (datasets_root / ".unfinished-small+new-v0/dataset").is_dir()
    collect_latents("small/unrelated-v0", episodes=1)
    left = {"collect": [".unfinished-small+new-v0"]}.get(name, [])  # with sessions to go on with
    assert hidden(datasets_root) == left
    assert not (datasets_root / ".unfinished-small+new-v0/dataset").exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    work()
    assert hidden(datasets_root) == []
    assert set(minari.list_local_datasets()) == {ID, "small/second-v0", "small/unrelated-v0", "small/new-v0"}


def test_what_a_living_process_writes_stays(datasets_root: Path, tmp_path: Path) -> None:
    datasets_root.mkdir()
    with held_elsewhere(lambda: unfinished_folder(datasets_root, ID), tmp_path):
        (datasets_root / HIDDEN / "dataset").mkdir()
        collect_latents("small/other-v0")
        assert (datasets_root / HIDDEN / "dataset").is_dir()
    collect_latents("small/another-v0")
    assert hidden(datasets_root) == []


def test_sessions_stay_when_the_dataset_can_not_be_moved(
    datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name == "dataset":
            raise PermissionError("not yours")
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refused)
        with pytest.raises(PermissionError):
            collect_latents()
    (folder,) = datasets_root.glob(".unfinished-*")
    assert [file.name for file in folder.iterdir() if file.is_dir()] == ["chunks"]
    assert collect_latents().total_episodes == 10
    assert not list(datasets_root.glob(".unfinished-*"))
