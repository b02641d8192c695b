"""One way to show progress: rich bars on stderr, so that stdout stays clean for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
"""Told of progress: what is being done, how much of it is done, how much there is, and the note behind the bar."""

_listener: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """While the block runs, :func:`track` draws nothing and tells a listener, who may draw it in another process."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


@contextmanager
def track(description: str, total: float, shown: bool = True) -> Iterator[Callable[..., None]]:
    """Show a progress bar while the block runs.

    Args:
        description: What is being done.
        total: How much of it there is.
        shown: Whether to show anything.

    Yields:
        ``advance(amount, note="")``: call it as work gets done; ``note`` replaces the text behind the bar.
    """
    listener = _listener.get()
    with progress_bars(shown and listener is None) as bars:
        task = bars.add_task(description, total=total, note="")

        def advance(amount: float = 1, note: str | None = None) -> None:
            bars.update(task, advance=amount)
            if note is not None:
                bars.update(task, note=note)
            if shown and listener is not None:
                now = bars.tasks[0]
                listener(description, now.completed, total, now.fields["note"])

        yield advance


def progress_bars(shown: bool = True) -> Progress:
    """Rich's bars as all of ours look: tasks have a field ``note``, the text behind the bar."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    return Progress(*columns, console=stderr, disable=not shown)
