"""Sessions played by tasks on a Ray cluster: the dataset that local processes make, with or without a worker killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")
import ray
from ray.cluster_utils import Cluster

from gems_gym.common.ray_jobs import do_jobs
from gems_gym.datasets import DatasetWriter, DescribedPolicy
from tests.datasets.small_world import ENV_ID, WORLD, NoisyLatents, collect_latents

pytestmark = pytest.mark.slow
SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes on this machine, of one core each."""
    made = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **SMALL})
    made.add_node(**SMALL)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(autouse=True)
def datasets_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 4)
    return tmp_path / "datasets"


class DyingOnce(NoisyLatents):
    """Kills the process that plays its third batch, once; not the process that it was described in."""

    def __init__(self, file: Path, home: int) -> None:
        self.file, self.home, self.batches = file, home, 0

    def open(self, seeds: Any) -> Any:
        self.batches += 1
        if os.getpid() != self.home and self.batches == 3 and not self.file.exists():
            self.file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(seeds)


def make_dying(env: Any, file: str, home: int) -> DyingOnce:
    return DyingOnce(Path(file), home)


def make_raising(env: Any, home: int) -> NoisyLatents:
    if os.getpid() != home:
        raise ValueError("no such latent")
    return NoisyLatents()


def described(function: str, **arguments: Any) -> DescribedPolicy:
    return DescribedPolicy(f"{__name__}:{function}", {**arguments, "home": os.getpid()})


def test_the_same_dataset_although_a_worker_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    expected = collect_latents("small/here-v0", episodes=34).storage.metadata["content_hash"]
    policy = described("make_dying", file=str(tmp_path / "died"))
    made = collect_latents(
        "small/there-v0",
        episodes=34,
        policy=policy,
        workers=2,
        executor=partial(do_jobs, address=cluster.address),
    )
    assert (tmp_path / "died").exists()
    assert made.storage.metadata["content_hash"] == expected


def test_errors_are_those_of_local_processes(cluster: Cluster, datasets_root: Path) -> None:
    executor = partial(do_jobs, address=cluster.address)
    with pytest.raises(ValueError, match="no such latent") as raised:
        collect_latents(policy=described("make_raising"), workers=2, executor=executor)
    assert "in make_raising" in str(raised.value.__cause__)
    with pytest.raises(TypeError, match="can't be handed to other machines.*DescribedPolicy"):
        collect_latents(policy=NoisyLatents(), workers=2, executor=executor)
    assert not [one for one in datasets_root.rglob("*") if one.is_file()]


@pytest.mark.parametrize(
    "options",
    [("--policy", "eps_greedy_oracle", "--policy-option", "epsilon=0.3"), ("--policy", "random")],
)
def test_by_command(cluster: Cluster, program: Any, options: tuple[str, ...]) -> None:
    world = [f"--env-option={name}={value}" for name, value in WORLD.items()]
    asked = ("collect", "--env", ENV_ID, *world, "--episodes", 20, "--workers", 2, "--json", *options)
    hashes = []
    for name, where in {
        "local": (),
        "ray": ("--executor", "ray", "--ray-address", cluster.address),
    }.items():
        code, out, err = program(*asked, "--dataset-id", f"small/{name}-v0", *where)
        assert code == 0, err
        hashes.append(json.loads(out)["content_hash"])
    assert len(set(hashes)) == 1


def test_a_level_by_command(cluster: Cluster, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 3)
    asked = (
        "collect",
        "--env",
        "GemsSlate-diffuse_topdown-v0",
        "--level",
        "mixed",
        "--episodes",
        12,
        "--json",
    )
    made = {}
    for name, where in {"local": (), "ray": ("--executor", "ray", "--ray-address", cluster.address)}.items():
        code, out, err = program(*asked, "--workers", 2, "--dataset-id", f"small/{name}-v0", *where)
        assert code == 0, err
        made[name] = json.loads(out)
    assert made["ray"]["content_hash"] == made["local"]["content_hash"]
    assert np.isfinite(made["ray"]["peak_rss_mb"])
