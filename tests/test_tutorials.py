"""The tutorials of docs/tutorials run: Python and commands, in order, in one namespace and one folder.

A block of ``text`` holds lines that the block before it prints, whatever their numbers. A block of ``console`` takes
hours or other machines: tests/test_pages.py parses it, as all others.
"""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("d3rlpy")
pytest.importorskip("polars")
from tests.pages import ROOT, TUTORIALS, blocks, lines
from tests.plugins.installing import install

SMALL = {
    "learn(20_000)": "learn(200)",
    'user_seeds("test", 0, 100)': 'user_seeds("test", 0, 5)',
    "n_steps=2000, n_steps_per_epoch=1000": "n_steps=10, n_steps_per_epoch=10",
    "train sac": "train sac --option learning_starts=100 --option batch_size=8",
    "sample(32": "sample(4",
    "--steps 5000": "--steps 10 --validation-users 5",
    "--steps 20000": "--steps 200 --num-envs 20 --validation-users 5",
    "--steps 100000": "--steps 400 --num-envs 20 --validation-users 5",
    "--episodes 500": "--episodes 5",
    "--episodes 100": "--episodes 5",
    "--episodes 300": "--episodes 6",
    "--episodes 600": "--episodes 20",
    "--episodes 2000": "--episodes 100",
    "--batches 100": "--batches 2",
    "train planner --env GemsSlate-diffuse_mix-v0 --num-envs 2048": (
        "train planner --env GemsSlate-diffuse_mix-v0 --num-envs 512 --steps 1 --env-option num_items=80 "
        "--env-option num_topics=5 --env-option slate_size=5 --env-option episode_length=12 "
        "--option random_sessions=4096 --option exploration_sessions=512 --option atoms=64"
    ),
}
"""What takes long -> the same with small numbers."""
FAST = ("minari", "one_file", "reproduce", "ten_minutes", "your_world")


@pytest.fixture(scope="module")
def my_recommender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed a copy of the template."""
    target = tmp_path_factory.mktemp("site")
    install(ROOT / "examples" / "plugin_template", target, tmp_path_factory.mktemp("source"))
    return target


@pytest.mark.slow
def test_the_template_passes_its_own_tests(my_recommender: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(my_recommender)
    tests = runpy.run_path(str(ROOT / "examples" / "plugin_template" / "test_my_recommender.py"))
    own = [test for name, test in tests.items() if name.startswith("test_")]
    assert len(own) == 3
    for test in own:
        test()


def words(text: str) -> list[str]:
    """The lines of a text without their numbers, blanks and frames."""
    masked = re.sub(r"\d[\d.,]*", "0", re.sub("[│┌┐└┘├┤┬┴┼─ ]+", " ", text))
    return [line.strip() for line in masked.splitlines() if line.strip()]


@pytest.mark.usefixtures("registry_as_it_was")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page.stem not in FAST)) for page in TUTORIALS],
    ids=lambda page: page.stem,
)
def test_it_runs(
    page: Path,
    program: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    if "my_recommender" in page.read_text():
        monkeypatch.syspath_prepend(request.getfixturevalue("my_recommender"))
    names: dict[str, Any] = {}
    printed: list[str] = []
    before = ""
    for language, code in blocks(page):
        for long, short in SMALL.items():
            code = code.replace(long, short)
        if language == "python":
            exec(compile(code, page.name, "exec"), names)  # noqa: S102
            printed = words(capsys.readouterr().out)
        elif language == "bash":
            printed = []
            for _, *arguments in lines(code):
                ended, out, err = program(*arguments)
                assert ended == 0, err
                printed += words(out)
        elif language == "text" and before != "console":
            assert set(words(code)) <= set(printed)
        before = language
