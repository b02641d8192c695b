"""One way to show progress: rich bars on stderr, so that stdout stays clean for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=stderr, disable=not shown) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(amount: float = 1, note: str | None = None) -> None:
            bar.update(task, advance=amount)
            if note is not None:
                bar.update(task, note=note)

        yield advance
