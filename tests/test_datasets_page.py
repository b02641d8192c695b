"""The commands and the code of docs/datasets.md, run in order on few sessions."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import minari
import pytest

from gems_gym.commands import program as cli

PAGE = (Path(__file__).parent.parent / "docs" / "datasets.md").read_text()
SMALL = {
    "--episodes 1000": "--episodes 6",
    "--episodes 400": "--episodes 3",
    "--min-return 110": "--min-return 60",
}


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    text = PAGE
    for long, short in SMALL.items():
        assert long in text
        text = text.replace(long, short)
    names: dict[str, Any] = {}
    for language, code in re.findall(r"```(bash|python)\n(.*?)```", text, flags=re.DOTALL):
        if language == "python":
            exec(compile(code, "datasets.md", "exec"), names)  # noqa: S102
            continue
        for line in code.splitlines():
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert not ended.value.code, f"{line}: {capsys.readouterr().err}"
    parts = [f"my/{name}-v0" for name in ("slates", "latents", "drawn", "good", "mixture", "again")]
    assert set(minari.list_local_datasets()) == {*parts, "gems-slate/diffuse_mix/random-v0"}
    assert names["world"] == "GemsSlate-diffuse_mix-v0"
    assert names["timeouts"].sum() == 6
    assert (tmp_path / "report.png").stat().st_size > 10_000
