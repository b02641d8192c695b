"""docs/logs.md: its presets and columns are the code's, its Python runs."""

import re
from pathlib import Path
from typing import Any

import pytest

from gems_gym.logs import PRESETS
from gems_gym.logs.standard import LARGEST_SLATE

PAGE = (Path(__file__).parent.parent / "docs" / "logs.md").read_text()


def test_the_help_page_names_its_presets(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    help_page = program("logs", "import", "--help")[1]
    assert all(name in help_page for name in PRESETS)


def test_its_presets_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE.partition("## Rules")[0], re.MULTILINE))
    assert rows.keys() == PRESETS.keys()
    for name, preset in PRESETS.items():
        columns = preset.columns.values() if name not in ("finn", "mind") else ()
        assert all(f"`{column}`" in rows[name] for column in columns), name
    assert f"more than {LARGEST_SLATE:,} items" in PAGE


def test_its_python_runs(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    polars = pytest.importorskip("polars")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    log = {
        "user": ["a", "a"],
        "timestamp": [0, 60],
        "items": [["x", "y"], ["y", "z"]],
        "clicks": [[0, 1], [1, 0]],
    }
    polars.DataFrame(log).write_parquet("log.parquet")
    code, _, err = program("logs", "import", "log.parquet", "--out", "my/log-v0")
    assert code == 0, err
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "logs.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.endswith(" x\n")
