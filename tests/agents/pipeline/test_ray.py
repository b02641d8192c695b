"""Jobs on Ray: the same results as local ones, on one node and on two; what a killed worker leaves is resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
import ray
from ray.cluster_utils import Cluster

from gems_gym.common.jobs import Job
from gems_gym.common.jobs import do_jobs as do_locally
from gems_gym.common.ray_jobs import do_jobs
from gems_gym_agents.pipeline.running import run_study
from tests.agents.tiny_study import ONLINE

ROOT = Path(__file__).parents[3]
SMALL = {"object_store_memory": 80_000_000, "include_dashboard": False}
STUDY = dataclasses.replace(ONLINE, seeds=(0,))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes on this machine, of one core each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **SMALL})
    made.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield made
    ray.shutdown()
    made.shutdown()


def seen_on(request: Any) -> str:
    """A job that says which node it is on, once another one has begun elsewhere."""
    node = ray.get_runtime_context().get_node_id()
    folder = Path(request["folder"])
    (folder / node).touch()
    for _ in range(600):
        if len([*folder.iterdir()]) >= request["nodes"]:
            return str(node)
        time.sleep(0.05)
    raise TimeoutError("no other node joined in")


def die_once(request: Any) -> str:
    """A job whose process is killed the first time."""
    file = Path(request["file"])
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def fail(_: Any) -> str:
    raise ValueError("no luck")


def results(folder: Path) -> dict[str, Any]:
    """All results in a study's folder, without times."""
    found = {}
    for file in sorted(folder.rglob("*.json")):
        if file.name in ("result.json", "references.json"):
            result = json.loads(file.read_text())
            for one in (result, *result.get("policies", {}).values()):
                one.pop("cpu_seconds", None)
                one.pop("seconds", None)
            found[str(file.relative_to(folder))] = result
    return found


@pytest.mark.slow
def test_a_study_has_the_same_results_on_two_nodes(cluster: Cluster, tmp_path: Path) -> None:
    assert run_study(STUDY, tmp_path / "local", 2, executor=do_locally) == {}
    on_ray = partial(do_jobs, address=cluster.address)
    assert run_study(STUDY, tmp_path / "ray", 2, executor=on_ray) == {}
    local = results(tmp_path / "local")
    assert len(local) == 3 and results(tmp_path / "ray") == local
    for name in ("belief", "vae", "topk_ideal"):
        one, other = (tmp_path / where / f"small/seed-0/{name}.safetensors" for where in ("local", "ray"))
        assert one.read_bytes() == other.read_bytes()
    assert not [*tmp_path.rglob(".seen-by-all-*")]
    # a driver that is killed loses nothing: the same call resumes
    driver = (
        "from functools import partial; from pathlib import Path\n"
        "from tests.agents.pipeline import test_ray as t\n"
        f"t.run_study(t.STUDY, Path({str(tmp_path / 'killed')!r}), 2,"
        f" executor=partial(t.do_jobs, address={cluster.address!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", driver], cwd=ROOT, stderr=subprocess.DEVNULL)
    begun = tmp_path / "killed/small/seed-0/stages/belief.json"
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert run_study(STUDY, tmp_path / "killed", 2, executor=on_ray) == {}
    assert results(tmp_path / "killed") == local
    assert run_study(STUDY, tmp_path / "ray", 2, executor=on_ray) == {}  # nothing is left to do


@pytest.mark.slow
def test_both_nodes_work_the_dead_are_replaced_and_failures_are_told(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "nodes").mkdir()
    request = {"folder": str(tmp_path / "nodes"), "nodes": 2}
    made = [
        Job("one", f"{__name__}:seen_on", request, tmp_path / "one.log"),
        Job("two", f"{__name__}:seen_on", request, tmp_path / "two.log"),
        Job("killed", f"{__name__}:die_once", {"file": str(tmp_path / "died")}, tmp_path / "killed.log"),
        Job("unlucky", f"{__name__}:fail", {}, tmp_path / "unlucky.log"),
        Job("after", f"{__name__}:fail", {}, tmp_path / "after.log", ("unlucky",)),
    ]
    failures = do_jobs("five", made, 2, cluster.address)
    assert set(failures) == {"unlucky", "after"}
    assert failures["unlucky"].startswith("ValueError: no luck (see ")
    assert "needs 'unlucky'" in failures["after"]
    assert len([*(tmp_path / "nodes").iterdir()]) == 2 and (tmp_path / "died").exists()
    assert 'raise ValueError("no luck")' in (tmp_path / "unlucky.log").read_text()


@pytest.mark.slow
def test_a_study_by_command_on_one_node(program: Any, tmp_path: Path) -> None:
    """From a file, on a cluster of this machine alone."""
    (tmp_path / "mine.toml").write_text(
        """
        name = "mine"
        title = "A study of one's own"
        seeds = [0]
        test_users = 20
        validation_users = 10
        constant_slate_sessions = 1000
        plan_steps = 1
        [[worlds]]
        name = "small"
        preset = "diffuse_topdown"
        overrides = {num_items = 80, slate_size = 5, episode_length = 12}
        [[variants]]
        name = "ideal"
        description = "item embeddings of the simulator"
        privileged = true
        steps = 600
        num_envs = 50
        options = {learning_starts = 100, validate_every = 300, net_arch = [16], batch_size = 32}
        ranker = {name = "topk_ideal", kind = "ranker/topk", settings = {embeddings = "ideal"}}
        belief = {name = "belief", kind = "belief/gru", sessions = 60, settings = {batches = 10}}
        """
    )
    given = ("compare", "mine.toml", "--json", "--jobs", 2)
    code, out, err = program(*given, "--executor", "ray", "--out", "ray")
    assert code == 0, err
    rows = {row["policy"]: row for row in json.loads(out)["rows"]}
    assert "ideal" in rows
    assert program(*given, "--out", "local")[0] == 0
    assert results(tmp_path / "ray") == results(tmp_path / "local") != {}
