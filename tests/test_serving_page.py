"""docs/serving.md: its commands have these options, its line is answered, its Python runs, its links lead somewhere."""

import json
import re
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "serving.md").read_text()


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL))


def test_its_line_is_answered(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(blocks("json").encode())))
    code, out, err = program("recommend", "expert-diffuse_mix", "--history", "-")
    assert code == 0, err
    assert json.loads(out)["user"] == "u1"


def test_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python"), "serving.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.endswith("(2, 10)\n")
