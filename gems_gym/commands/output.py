"""Results of commands: one JSON object or something readable on stdout; notes go to stderr."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from gems_gym.common.progress import note as note


def show_result(result: dict[str, Any], readable: RenderableType, as_json: bool) -> None:
    """Print a command's result on stdout.

    Args:
        result: JSON-able values (numpy scalars are fine; a number that is not finite becomes null).
        readable: What a reader sees.
        as_json: Whether to print ``result`` as one JSON object instead of ``readable``.
    """
    if as_json:
        typer.echo(json.dumps(plain(result)))
    else:
        Console().print(readable)


def key_value_table(rows: dict[str, Any], title: str | None = None) -> Table:
    """A two-column table of names and values."""
    table = Table(title=title and escape(title), show_header=False, title_justify="left")
    for key, value in rows.items():
        table.add_row(escape(key), escape(str(value)))
    return table


def rows_table(label: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table with a line for each row and a column for each of its fields; rounded to three digits."""
    table = Table(box=None, padding=(0, 1, 0, 0))  # narrow: eight columns fit into 80 characters
    table.add_column(label, no_wrap=True)
    for field in next(iter(rows.values()), {}):
        table.add_column(field.replace("_", " "))  # so that a narrow terminal wraps it between words
    for name, row in rows.items():
        table.add_row(escape(name), *(_cell(value) for value in row.values()))
    return table


def columns_table(label: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """The same turned: a column for each row and a line for each of its fields, for few rows of many fields."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in (label, *rows):
        table.add_column(escape(heading), overflow="fold")
    for field in next(iter(rows.values()), {}):
        table.add_row(field.replace("_", " "), *(_cell(row[field]) for row in rows.values()))
    return table


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """A Markdown table.

    Args:
        header: The columns' names.
        rows: Cells of each row, as many as there are columns.
        numbers: Whether all columns but the first are numbers, which stand to the right.
    """
    rule = ["---"] + ["---:" if numbers else "---"] * (len(header) - 1)
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return escape(str(value))
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def plain(value: Any) -> Any:
    """A value as JSON has it: numpy's and sets as Python's numbers and lists, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, set):
        return sorted((plain(one) for one in value), key=str)
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
