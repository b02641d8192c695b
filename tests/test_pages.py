"""Each block of code on a page is run by a test, or at least parsed by what it is for; each link leads somewhere."""

import ast
import configparser
import inspect
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("d3rlpy")
pytest.importorskip("stable_baselines3")
from gems_gym import plugins
from gems_gym.commands.program import complete_program
from gems_gym_agents.training_world import learning_source
from site_pages import agent_page
from tests.pages import PAGES, ROOT, TUTORIALS, blocks, lines

PROGRAM: Any = complete_program()
SHELL = ("bash", "console")
OTHERS = ("for", "export", "ray", "cp", "cd", "bash", "time")
"""Commands of a shell that are not ours."""
NAMED = (
    "datasets",
    "environments",
    "extending",
    "latent_environments",
    "logs",
    "sardine",
    "serving",
    "user_model",
)
RUN_BY = {
    **{ROOT / "docs" / f"{name}.md": f"test_{name}_page.py" for name in NAMED},
    **dict.fromkeys(TUTORIALS, "test_tutorials.py"),
    **{
        ROOT / name: "test_pages.py"
        for name in ("README.md", "docs/index.md", "docs/rankers.md", "docs/rendering.md")
    },
}
"""Page -> the file with the test that runs its Python."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_blocks_can_be_read(page: Path) -> None:
    for language, code in blocks(page):
        if language == "python" and ">>>" not in code:
            ast.parse(code)
        elif language == "toml":
            tomllib.loads(code)
        else:
            assert language in (*SHELL, "python", "ini", "json", "text") or language.startswith("{"), language


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_commands_exist(page: Path) -> None:
    for language, code in blocks(page):
        for program, *words in lines(code) if language in SHELL else ():
            if program in CHECKS:
                CHECKS[program](words)
            else:
                assert program in OTHERS, program


def parse(words: list[str]) -> Any:
    """As the program does before it begins a command: an unknown option or value is an error."""
    command = PROGRAM
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
        command = command._load() if hasattr(command, "_load") else command
    return command.make_context(command.name, words)


def check_python(words: list[str]) -> None:
    """Our scripts have these options."""
    script = (ROOT / words[0]).read_text()
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in script, word


def check_pip(words: list[str]) -> None:
    """Our extras exist."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {one for word in words for found in re.findall(r"\[(.*?)\]", word) for one in found.split(",")}
    assert extras <= set(setup["options.extras_require"])


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words)


CHECKS = {"gems-gym": parse, "python": check_python, "pip": check_pip, "make": check_make}


def test_all_python_is_run() -> None:
    with_python = {page for page in PAGES if "python" in dict(blocks(page))}
    assert with_python <= RUN_BY.keys() | {ROOT / "CONTRIBUTING.md"}  # that one shows a docstring
    for page, file in RUN_BY.items():
        test = (ROOT / "tests" / file).read_text()
        assert "exec(compile(" in test or file == "test_extending_page.py", f"{file} does not run {page.name}"


@pytest.mark.parametrize(
    "page", [page for page, file in RUN_BY.items() if file == "test_pages.py"], ids=lambda page: page.name
)
def test_its_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moviepy")
    monkeypatch.chdir(tmp_path)
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, page.name, "exec"), {})  # noqa: S102


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    """What pages of the site link to that is generated, and anchors in them, is checked by Sphinx."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        linked = Path(os.path.normpath(page.parent / file)) if file else page
        if "generated" in linked.parts:
            continue
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and myst make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", plugins.names(plugins.AGENTS))
def test_pages_of_agents_have_equations(name: str) -> None:
    """In a literal block of the class's own docstring, which the page shows."""
    agent = plugins.load(plugins.AGENTS, name)
    assert f".. autoclass:: {agent.__module__}.{agent.__qualname__}\n" in agent_page(name, agent, None)
    assert re.search(r"::\n\n {4}.*=", inspect.cleandoc(vars(agent)["__doc__"]))


@pytest.mark.parametrize("name", plugins.names(plugins.AGENTS))
def test_agents_learn_by_the_commands_of_their_pages(name: str) -> None:
    agent = plugins.load(plugins.AGENTS, name)
    (code,) = (code for language, code in blocks(agent_page(name, agent, None)) if language == "bash")
    commands = list(lines(code))
    parsed = [parse(words) for _, *words in commands]
    given = parsed[-2].params  # of train, which comes before evaluate
    if given["dataset"]:
        assert given["dataset"] == f"gems-slate/diffuse_mix/{parsed[0].params['level']}-v0"
    elif not hasattr(agent, "ranker_kind"):  # its file is there once it is made
        world = ("env", "env_option", "dataset", "ranker", "belief")
        learning_source(name, *(given[one] for one in world))
