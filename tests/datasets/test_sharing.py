"""Datasets pushed to a folder and pulled from it, or from a web server that shows it; bad ones are refused whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socket import create_server
from typing import Any

import minari
import pytest
from minari.namespace import list_local_namespaces

from gems_gym.common.remotes import MANIFEST
from gems_gym.datasets import compute_content_hash, open_dataset, pull_dataset, push_dataset
from tests.datasets.small_world import collect_latents, collect_slates
from tests.web_server import web_server

ID = "small/latent-v0"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the dataset was pushed to."""
    folder = tmp_path_factory.mktemp("remote")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("pushed")))
        collect_latents(ID)
        push_dataset(ID, str(folder), progress=False)
    return folder


@pytest.fixture
def own_remote(remote: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(remote, tmp_path / "remote"))


def nothing_is_left(root: Path) -> bool:
    return not [file for file in root.rglob("*") if file.is_file()] and not list(root.glob(".*"))


def test_what_is_pulled_is_what_was_pushed(
    remote: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web_server(remote) as address:
        code, out, err = program("dataset", "pull", ID, "--from", address, "--json")
    assert code == 0, err
    pulled = open_dataset(ID)
    assert json.loads(out)["content_hash"] == compute_content_hash(ID)
    folder = Path(pulled.storage.data_path)
    listed = json.loads((remote / ID / MANIFEST).read_text())["files"]
    assert {"README.md", "data/main_data.hdf5", "data/artifacts/ranker.safetensors"} <= set(listed)
    for place in listed:
        assert (folder.parent / place).read_bytes() == (remote / ID / place).read_bytes()
    assert f"MB, from {address}" in " ".join(err.split()) and "verifying" in err
    assert pulled.recover_environment().spec is not None  # its ranker is the copy that came with it
    assert list(minari.list_local_datasets()) == [ID] and list_local_namespaces() == ["small"]
    code, _, err = program("dataset", "pull", ID, "--from", remote.as_uri())
    assert code == 2 and "is here already; remove it with: minari delete" in " ".join(err.split())


def test_what_is_shared_is_not_replaced(tmp_path: Path, program: Any) -> None:
    collect_slates()
    assert program("dataset", "push", "small/slate-v0", "--to", "there")[0] == 0
    before = {file: file.read_bytes() for file in (tmp_path / "there").rglob("*") if file.is_file()}
    code, _, err = program("dataset", "push", "small/slate-v0", "--to", "there")
    assert code == 2 and "is there already: choose another name" in " ".join(err.split())
    assert {file: file.read_bytes() for file in (tmp_path / "there").rglob("*") if file.is_file()} == before


def relist(package: Path) -> None:
    """Lists the files as they are now: what someone would do who forges a dataset."""
    manifest = package / MANIFEST
    listed = json.loads(manifest.read_text())
    for place in listed["files"]:
        data = (package / place).read_bytes()
        listed["files"][place] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_text(json.dumps(listed))


def _listed_outside(package: Path) -> None:
    (package.parent / "outside.json").write_text("{}")
    _add(package, "../outside.json")


def _listed_code(package: Path) -> None:
    (package / "data" / "conftest.py").write_text("raise SystemExit")
    _add(package, "data/conftest.py")


def _add(package: Path, place: str) -> None:
    manifest = package / MANIFEST
    listed = json.loads(manifest.read_text())
    listed["files"][place] = {"size": 0, "sha256": ""}
    manifest.write_text(json.dumps(listed))
    relist(package)


def _a_byte(package: Path) -> None:
    file = package / "data" / "main_data.hdf5"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _cut(package: Path) -> None:
    os.truncate(package / "data" / "main_data.hdf5", 1000)


def _hash(package: Path) -> None:
    _metadata(package, content_hash="0" * 64)


def _id(package: Path) -> None:
    _metadata(package, dataset_id="small/other-v0")


def _code(package: Path) -> None:
    spec = json.loads(json.loads((package / "data" / "metadata.json").read_text())["env_spec"])
    _metadata(package, env_spec=json.dumps(spec | {"entry_point": "os:system"}))


def _metadata(package: Path, **changes: Any) -> None:
    file = package / "data" / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    relist(package)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (_a_byte, "data/main_data.hdf5 of small/latent-v0 was altered or cut short"),
        (_cut, "it has 1,000 bytes"),
        (_listed_outside, "holds '../outside.json', which is not shared"),
        (_listed_code, "holds 'data/conftest.py', which is not shared"),
        (_hash, "content hash: it is"),
        (_id, "says that its id is 'small/other-v0'"),
        (_code, "names code that is not gems-gym's"),
    ],
)
def test_a_tampered_dataset_is_refused_whole(
    own_remote: Path, datasets_root: Path, tamper: Callable[[Path], None], words: str
) -> None:
    tamper(own_remote / ID)
    with pytest.raises(ValueError) as refused:
        pull_dataset(ID, str(own_remote), progress=False)
    assert words in str(refused.value)
    assert nothing_is_left(datasets_root)


def test_a_killed_download_leaves_nothing_and_the_next_one_succeeds(
    remote: Path, datasets_root: Path
) -> None:
    """The server sends the list, the card, and of the next file a part only."""
    package = remote / ID
    program = (
        "import sys; from gems_gym.datasets import pull_dataset; pull_dataset(*sys.argv[1:], progress=False)"
    )
    with create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        pulling = subprocess.Popen(
            [sys.executable, "-c", program, ID, address],
            env={**os.environ, "no_proxy": "127.0.0.1", "MINARI_DATASETS_PATH": str(datasets_root)},
        )
        for file in (MANIFEST, "README.md", "data"):
            connection, _ = server.accept()
            connection.recv(2**16)
            whole = file != "data"
            data = (package / file).read_bytes() if whole else b"a part"
            length = len(data) if whole else 10**6
            connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + data)
            if whole:
                connection.close()
        pulling.send_signal(signal.SIGKILL)
        pulling.wait()
        connection.close()
    assert not (datasets_root / ID).exists()
    pull_dataset(ID, str(remote), progress=False)
    assert minari.list_local_datasets().keys() == {ID}
    assert not list(datasets_root.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pull", "small/none-v0", "--from", "nowhere"), "'nowhere' has no 'small/none-v0'"),
        (("pull", "../up-v0", "--from", "nowhere"), "is not a Minari dataset id"),
        (("pull", ID, "--from", "http://127.0.0.1:9"), "can't be read"),
        (("pull", ID, "--from", "s3://bucket"), "is no place that is known"),
        (("push", "small/none-v0", "--to", "there"), "unknown local dataset"),
        (("push", ID, "--to", "https://example.org"), "a web server takes nothing in"),
        (("push", ID, "--to", "file"), "a remote must be a folder, got the file 'file'"),
    ],
)
def test_mistakes_get_one_clear_line(
    program: Any, arguments: tuple[str, ...], words: str, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    Path("file").touch()
    if arguments[1] == ID and arguments[0] == "push":
        collect_latents(ID)
    code, out, err = program("dataset", *arguments)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split()) and "Traceback" not in err
    assert not Path("there").exists()
    assert arguments[3] != "file" or "verifying" not in err, "told before the dataset is read"
