"""Help pages: at most 80 columns, an example on each, ``--json`` for every command, and names that have changed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

from gems_gym.commands.command import FORMER_COMMANDS, FORMER_OPTIONS
from gems_gym.commands.program import complete_program

WIDTH = 80


def commands(group: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """The words of a group's own commands, and of those of its groups."""
    for name, command in group.commands.items():
        real = command._load() if hasattr(command, "_load") else command
        yield (*words, name)
        if hasattr(real, "commands"):
            yield from commands(real, *words, name)


PROGRAM = complete_program()
WORDS = [(), *commands(PROGRAM)]


def is_group(words: tuple[str, ...]) -> bool:
    return any(other[: len(words)] == words for other in WORDS if other != words)


@pytest.fixture(scope="module")
def pages() -> dict[tuple[str, ...], str]:
    """Words of a command -> its help page on a terminal of 80 columns."""
    shown = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(WIDTH))
        for words in WORDS:
            with redirect_stdout(StringIO()) as page:
                PROGRAM.main([*words, "--help"], prog_name="gems-gym", standalone_mode=False)
            shown[words] = page.getvalue()
    return shown


def test_no_line_is_wider_than_a_terminal(pages: dict[tuple[str, ...], str]) -> None:
    wide = [(words, line) for words, page in pages.items() for line in page.splitlines() if len(line) > WIDTH]
    assert not wide
    assert len(pages) > 20


def examples(page: str) -> list[str]:
    """The commands in a page's examples: each on a line of its own, or on several that end in a backslash."""
    section = page.split("Examples:", 1)[1].split("╭")[0]
    text = " ".join(re.sub(r"\\ *\n", " ", section).replace("\n", " ; ").split())
    return [example.strip(" ;") for example in text.split(" ; ") if example.strip(" ;")]


def test_each_page_has_one_to_three_examples_of_its_own_command(pages: dict[tuple[str, ...], str]) -> None:
    for words, page in pages.items():
        found = examples(page)
        assert 1 <= len(found) <= 3, words
        for example in found:
            assert example.startswith("gems-gym"), f"{words}: an example is wider than the page"
            assert tuple(shlex.split(example)[1 : len(words) + 1]) == words, example


def test_examples_use_options_that_exist(pages: dict[tuple[str, ...], str]) -> None:
    for words, page in pages.items():
        if not is_group(words):
            for example in examples(page):
                for option in (one for one in shlex.split(example) if one.startswith("--")):
                    assert f"{option} " in page.split("Examples:")[1].split("╭", 1)[1], (example, option)


def test_every_command_prints_json(pages: dict[tuple[str, ...], str]) -> None:
    without = [words for words, page in pages.items() if not is_group(words) and "--json" not in page]
    assert without == [("bored-after",)] * (("bored-after",) in WORDS)


def test_former_names_are_not_shown(pages: dict[tuple[str, ...], str]) -> None:
    assert not [words for words in FORMER_COMMANDS if words in WORDS]
    assert not [
        (words, option) for words, page in pages.items() for option in FORMER_OPTIONS if option in page
    ]


def test_a_command_that_has_moved_is_found_and_noted(program: Any) -> None:
    code, _, err = program("levels", "--out", "x", "--env", "GemsSlate-diffuse_mix-v0")
    assert code == 2
    assert err.startswith("'gems-gym levels' has moved: call 'gems-gym dev levels'\n")
    assert "give GemsSlateLatent-WORLD-v0" in " ".join(err.split())
    code, _, err = program("pretrain", "ship", "--out", "x", "--only", "gems-x")
    assert code == 2
    assert err.startswith("'gems-gym pretrain ship' has moved: call 'gems-gym dev ship'\n")
    assert "unknown artefact to ship" in err


@pytest.mark.parametrize("written", [("--item-embeddings", "no.npy"), ("--item-embeddings=no.npy",)])
def test_an_option_with_another_name_is_found_and_noted(program: Any, written: tuple[str, ...]) -> None:
    code, out, err = program("evaluate", "random", "--env", "GemsSlate-diffuse_mix-v0", *written)
    assert (code, out) == (2, "")
    assert err.startswith("--item-embeddings has been renamed: write --catalogue\n")
    assert "no.npy" in err.splitlines()[1]


def test_json_stays_alone_on_stdout_with_a_note(program: Any, tmp_path: Any) -> None:
    few = ("--env", "GemsSlate-diffuse_mix-v0", "--out", "r.safetensors", "--json")
    code, out, err = program("pretrain", "ranker", "--kind", "topk", "--item-vectors", "mf-diffuse_mix", *few)
    assert code == 0, err
    assert json.loads(out)["file"] == "r.safetensors"
    assert err == "--item-vectors has been renamed: write --embeddings\n"
