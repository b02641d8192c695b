"""The README and the pages of the site, as blocks of code."""

import re
import shlex
from collections.abc import Iterator
from itertools import dropwhile, groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "RELEASING.md",
    *(ROOT / "docs").glob("*.md"),
    *TUTORIALS,
]


def blocks(page: Path | str) -> list[tuple[str, str]]:
    """The language of each block of a page, its file or its text, and what stands in it."""
    text = page.read_text() if isinstance(page, Path) else page
    return re.findall(r"^```(.*?)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def lines(code: str) -> Iterator[list[str]]:
    """The words of each command of a shell; comments and variables are left out."""
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
        lexer.whitespace_split = True
        for joined, words in groupby(lexer, key=(";", "&&").__contains__):
            words = list(dropwhile(lambda word: word in ("do", "done") or re.match(r"\w+=", word), words))
            if words and not joined:
                yield words
