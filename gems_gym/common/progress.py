"""One way to show progress: rich bars on stderr, so that stdout stays clean for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

stderr = Console(stderr=True)
"""Where progress and notes go."""

Listener = Callable[[str, float, float, str], None]
"""Hears of progress: what is being done, how much of it is done, how much there is, and the note behind the bar."""

_listener: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)


@contextmanager
def reporting_to(listener: Listener) -> Iterator[None]:
    """While the block runs, :func:`track` draws nothing and reports to a listener, perhaps in another process."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def is_shown() -> bool:
    """Whether progress is drawn here: nobody is told of it instead."""
    return _listener.get() is None


def not_reported(*progress: Any) -> None:
    """A listener that does nothing: ``with reporting_to(not_reported)`` is silent."""


def note(text: str) -> None:
    """Tell the user something on stderr."""
    stderr.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def track(description: str, total: float | None, shown: bool = True) -> Iterator[Callable[..., None]]:
    """Show a progress bar while the block runs.

    Args:
        description: What is being done.
        total: How much of it there is; None if nobody knows.
        shown: Whether to show anything.

    Yields:
        ``advance(amount, note="")``: call it as work gets done; ``note`` replaces the text behind the bar.
    """
    listener = _listener.get()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=stderr, disable=not shown or listener is not None) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(amount: float = 1, note: str | None = None) -> None:
            bar.update(task, advance=amount)
            if note is not None:
                bar.update(task, note=note)
            if shown and listener is not None:
                now = bar.tasks[0]
                listener(description, now.completed, total or now.completed, now.fields["note"])

        yield advance
