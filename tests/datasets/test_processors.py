"""Datasets say what they were made on, and have the same content hash on every type of processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gems_gym.common.fingerprints import cpu_type

pytest.importorskip("minari")

COLLECT = """
from gems_gym.datasets import collect
from gems_gym.trained_agents import open_trained_agent
policy = open_trained_agent("medium-focused_mix").policy
dataset = collect("GemsSlateLatent-focused_mix-v0", policy, dataset_id="my/latents-v0", episodes=60, seed=0)
metadata = dataset.storage.metadata
print(metadata["content_hash"], metadata["cpu"], len(metadata["code"]), ",".join(metadata["cpu_features"]))
"""


def collected(folder: Path, **variables: str) -> list[str]:
    """Content hash, type of the processor, length of the code's fingerprint, features; from a process of its own."""
    own = {"MINARI_DATASETS_PATH": str(folder / "minari"), "NUMBA_CACHE_DIR": str(folder / "numba")}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT],
        env=os.environ | own | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.slow
def test_latent_datasets_do_not_depend_on_the_type_of_processor(tmp_path):
    native = collected(tmp_path / "native")
    generic = collected(tmp_path / "generic", NUMBA_CPU_NAME="generic")
    assert native[0] == generic[0]
    assert native[1] == cpu_type()["fingerprint"] != generic[1]
    assert native[2:] == ["12", ",".join(cpu_type()["features"])]
