"""docs/libraries.md: its table says what the scripts of examples/libraries say, and those that can run here do.

Each runs in an environment of its own by `make libraries`.
"""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "libraries.md").read_text()
SCRIPTS = {script.stem: script for script in (ROOT / "examples" / "libraries").glob("*.py")}
ROWS = re.findall(r"^\| `(\w+)` \| (\S+) (\S+) \| .* \| (\d+) \|$", PAGE, flags=re.MULTILINE)

QUICK = ["cleanrl_actor_critic", "gymnasium_vectors", "sb3_contrib_recurrent_ppo", "torch_data_loader"]
SLOW = ["gymnasium_wrappers", "minari_combine", "sb3_contrib_tqc", "sb3_ppo_slates", "sb3_sac"]


def test_the_table_names_every_script_its_library_and_its_adapter_lines() -> None:
    requirements = runpy.run_path(str(ROOT / ".ci" / "fresh_environments.py"))["requirements"]
    assert {name for name, *_ in ROWS} == SCRIPTS.keys()
    for name, library, version, adapter_lines in ROWS:
        code = SCRIPTS[name].read_text()
        required = [re.sub(r"\[.*\]", "", one) for one in requirements(SCRIPTS[name])]
        assert required[:2] == ["gems-gym", f"{library}=={version}"], name
        assert code.count("# adapter") == int(adapter_lines), name
        assert len(code.splitlines()) <= 40, name
        assert re.search(r"^ *assert ", code, flags=re.MULTILINE), name


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_script_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")  # with it comes all that these require
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))  # restored after a script has changed it
    runpy.run_path(str(SCRIPTS[name]), run_name="__main__")
