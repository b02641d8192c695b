"""What all commands have in common: help pages with examples, and options that still answer to their former names."""

import re
from collections.abc import Sequence
from textwrap import dedent
from typing import Any

from typer.core import TyperCommand, TyperGroup

from gems_gym.commands.output import note

FORMER_OPTIONS = {"--item-embeddings": "--catalogue", "--item-vectors": "--embeddings"}
"""Former name of an option -> its name now."""

FORMER_COMMANDS = {("levels",): ("dev", "levels"), ("pretrain", "ship"): ("dev", "ship")}
"""Former words of a command -> its words now."""

_EXAMPLES = re.compile(r"^Examples:\n", re.MULTILINE)


class Command(TyperCommand):
    """A command made of a function.

    Its help is the function's docstring, whose paragraphs are wrapped at the terminal's width, while the lines of its
    section "Examples:" stay as they are. An option in :data:`FORMER_OPTIONS` is taken for the one that it has become,
    if the command has that one and none of the former name.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.help = self.help and help_text(self.help)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; a former name of an option is noted on stderr."""
        known = {name for parameter in self.params for name in parameter.opts}
        renamed = {old: new for old, new in FORMER_OPTIONS.items() if new in known and old not in known}
        return super().parse_args(ctx, [_current_option(argument, renamed) for argument in args])


class CommandGroup(TyperGroup):
    """A group of commands, whose help page is laid out as a :class:`Command`'s."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.help = self.help and help_text(self.help)


def help_text(docstring: str) -> str:
    r"""A docstring as a help page has it: one line for each paragraph, the examples as they are.

    Examples:
        >>> print(help_text("Play.\n\nIt takes\na while.\n\nExamples:\n    gems-gym play\n"))
        Play.
        <BLANKLINE>
        It takes a while.
        <BLANKLINE>
        Examples:
        gems-gym play
    """
    prose, *examples = _EXAMPLES.split(docstring.strip())
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.strip().split("\n\n")]
    if examples:
        # typer takes common indentation away, from some pages but not from others: there is none
        paragraphs.append("Examples:\n" + dedent(examples[0].rstrip()))
    return "\n\n".join(paragraphs)


def current_words(arguments: Sequence[str]) -> list[str]:
    """The program's arguments with the words of a command that has moved replaced, which is noted on stderr.

    Examples:
        >>> current_words(["train", "sac"])
        ['train', 'sac']
    """
    for former, now in FORMER_COMMANDS.items():
        if tuple(arguments[: len(former)]) == former:
            note(f"'gems-gym {' '.join(former)}' has moved: call 'gems-gym {' '.join(now)}'")
            return [*now, *arguments[len(former) :]]
    return list(arguments)


def _current_option(argument: str, renamed: dict[str, str]) -> str:
    option, separator, value = argument.partition("=")
    if option not in renamed:
        return argument
    note(f"{option} has been renamed: write {renamed[option]}")
    return f"{renamed[option]}{separator}{value}"
