"""Pages of the documentation whose marked parts are made from data or from the code."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from gems_gym.common.files import whole_file

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page_arguments(doc: str | None) -> argparse.ArgumentParser:
    """What every generator of a page takes; it adds its own.

    Args:
        doc: The generator's docstring, whose first line describes it.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if the page is out of date"
    )
    return parser


def fill_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Rewrite the parts of a page between ``<!-- generated: NAME -->`` and ``<!-- end -->``; the rest stays.

    Args:
        text: The page.
        parts: Name -> what makes the part.

    Raises:
        ValueError: A part that only the page or only ``parts`` knows.
    """
    unknown = {match[2] for match in _PART.finditer(text)} ^ set(parts)
    if unknown:
        raise ValueError(f"the page and its generator differ about the parts {sorted(unknown)}")
    return _PART.sub(lambda match: f"{match[1]}\n{parts[match[2]]().strip()}\n\n{match[3]}", text)


def rewrite_page(page: Path, text: str, generator: str, *, check: bool) -> None:
    """Write a page whose generated parts were filled, or only see whether it is as it should be.

    Args:
        page: Its file.
        text: What should stand there.
        generator: The generator's file, for the message.
        check: Whether nothing is written.

    Raises:
        SystemExit: With ``check``, a page that differs: exit code 1, and a line that says what to run.
    """
    if not check:
        with whole_file(page) as file:
            file.write(text.encode())
    elif text != page.read_text("utf-8"):
        raise SystemExit(f"{page.name} is out of date; run python docs/{Path(generator).name}")
