"""``gems-gym logs import`` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

ROWS = {"uid": ["a", "b"], "timestamp": [1, 2], "items": [[1, 2], [2]], "clicks": [[0, 1], [0]]}


def test_import(program: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_parquet(tmp_path / "log.parquet")
    code, _, err = program("logs", "import", "log.parquet", "--out", "my/log-v0")
    assert code == 2 and "--columns user=NAME" in err
    arguments = (
        "logs",
        "import",
        "log.parquet",
        "--out",
        "my/log-v0",
        "--columns",
        "user=uid",
        "--picture",
        "log.svg",
    )
    code, out, err = program(*arguments, "--json")
    assert code == 0 and json.loads(out)["rows_kept"] == 2 and "a bandit is enough" in err
    assert "<svg" in (tmp_path / "log.svg").read_text()
    code, out, _ = program(*arguments, "--overwrite")
    assert code == 0 and "2 read, 2 kept" in out
    code, out, _ = program("dataset", "verify", "my/log-v0")
    assert code == 0
    code, _, err = program("logs", "import", "log.parquet", "--out", "my/again-v0", "--columns", "user")
    assert code == 2 and "MEANING=COLUMN" in err
