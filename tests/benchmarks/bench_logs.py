"""How fast impression logs become datasets, and what memory that takes: ``make benchmark``."""

import resource

import numpy as np
import polars as pl
import pytest

from gems_gym.logs import import_log
from gems_gym.logs.sessions import LoggedSessions

IMPRESSIONS, SLATE, ITEMS, SESSION = 1_000_000, 10, 50_000, 10


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "user": np.arange(IMPRESSIONS) // SESSION,
            "timestamp": np.arange(IMPRESSIONS),
            "items": rng.zipf(1.3, (IMPRESSIONS, SLATE)) % ITEMS,
            "clicks": (rng.random((IMPRESSIONS, SLATE)) < 0.05).astype(np.int8),
        }
    )
    file = tmp_path_factory.mktemp("log") / "log.parquet"
    lists = [pl.col("items").cast(pl.List(pl.Int64)), pl.col("clicks").cast(pl.List(pl.Int8))]
    rows.with_columns(lists).sample(fraction=1, shuffle=True, seed=0).write_parquet(file)
    return file


def bench_import(rate, log, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def work():
        import_log(log, dataset_id="bench/log-v0", overwrite=True, progress=False)

    rate(work, IMPRESSIONS, "impressions", rounds=1, warmup_rounds=0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 2e9  # bytes, on Linux


def bench_read(rate, log, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    some = pl.read_parquet(log).filter(pl.col("user") < 4_000)
    sessions = import_log(some, dataset_id="bench/log-v0", progress=False).sessions
    rate(lambda: LoggedSessions.read("bench/log-v0", progress=False), sessions, "sessions")
