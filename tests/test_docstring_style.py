"""What ruff can't check of CONTRIBUTING's page on docstrings: descriptions begin with a capital."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for package in ("gems_gym", "gems_gym_agents") for path in (ROOT / package).rglob("*.py"))
SECTION = re.compile(r"^(\s*)(Args|Attributes|Returns|Yields|Raises):$")
ENTRY = re.compile(r"^(?:[*\w.~:`]+(?:, [*\w.]+)*): (?P<text>.+)$")
NAMED = {"Args", "Attributes", "Raises"}
"""Sections whose entries begin with a name; of the others the first line is looked at."""
AS_IN_CODE = re.compile(r"(u?int\d*|float\d*|bool|d3rlpy|stable-baselines3|moviepy|pygame)\b")
"""Dtypes and names of libraries, which keep their lower case."""


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """The line that each docstring begins in, and its lines as they stand in the source."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                yield first.lineno, "\n".join(lines[first.lineno - 1 : first.end_lineno])


def descriptions(docstring: str) -> Iterator[tuple[int, str]]:
    """The number of the line, from 0, and the text of each description in a docstring's sections."""
    section, indent = "", 0
    wanted = False  # the first line of the section is still to come
    for number, line in enumerate(docstring.splitlines()):
        if found := SECTION.match(line):
            section, indent, wanted = found[2], len(found[1]) + 4, True
        elif not line.strip() or len(line) - len(line.lstrip()) < indent:
            section = section if not line.strip() and wanted else ""
        elif section and len(line) - len(line.lstrip()) == indent:
            if section in NAMED:
                if entry := ENTRY.match(line.strip()):
                    yield number, entry["text"]
            elif wanted:
                yield number, line.strip()
            wanted = False


def begins_in_lower_case(text: str) -> bool:
    return "a" <= text[0] <= "z" and not AS_IN_CODE.match(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_descriptions_begin_with_a_capital(path: Path) -> None:
    wrong = [
        f"line {start + number}: {text[:60]}"
        for start, docstring in docstrings(path.read_text())
        for number, text in descriptions(docstring)
        if begins_in_lower_case(text)
    ]
    assert not wrong


def test_the_check_finds_what_is_wrong() -> None:
    docstring = '''"""Do.

    Args:
        first: the file.
        second: The folder, and
            more: about it.
        shape: float32 ``(N,)``.

    Returns:
        a number.

    Raises:
        ValueError: no file.
        OSError: ``first`` is a folder.
    """'''
    found = [text for _, text in descriptions(docstring)]
    assert found == [
        "the file.",
        "The folder, and",
        "float32 ``(N,)``.",
        "a number.",
        "no file.",
        "``first`` is a folder.",
    ]
    assert [text for text in found if begins_in_lower_case(text)] == ["the file.", "a number.", "no file."]
