"""``gems-gym recommend``: users' histories in, their next slates out, as JSON lines."""

import gc
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym.commands import options
from gems_gym.commands.arguments import read_options, refuse
from gems_gym.commands.worlds import chosen_world
from gems_gym.common.checks import Count, Threads, WholeNumber, checked, checked_arguments
from gems_gym.common.jobs import ONE_THREAD
from gems_gym.common.machine import environment
from gems_gym.errors import unknown_name
from gems_gym.serving import ServedPolicy, open_policy

_FIELDS = ("history", "user", "seed")
"""What a line may hold."""

_Lines = Sequence[tuple[int, bytes]]
"""Lines with their numbers."""


@checked_arguments
def recommend(
    policy: options.PolicyName,
    history: Annotated[
        str,
        typer.Option(metavar="FILE|-", help="Histories, a JSON object a line; -: those of standard input."),
    ],
    items: Annotated[
        Path | None,
        typer.Option(
            help="The catalogue's ids, items.parquet of an imported log: histories and slates hold them."
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(metavar="ID", help="World of a policy given by name; an agent's record names its own."),
    ] = None,
    env_option: options.EnvOptions = None,
    policy_option: options.PolicyOptions = None,
    checkpoint: options.Checkpoint = None,
    together: Annotated[
        Count,
        typer.Option(help="Lines answered together, which does not change the answers; 1: each at once."),
    ] = 1_000,
    workers: Annotated[
        Threads,
        typer.Option(
            help="Processes that answer, which does not change the answers; with several, answers come some lines late."
        ),
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Answers are JSON with it or without it.")] = False,
) -> None:
    r"""Answer users' histories with their next slates; no learning library is loaded.

    A line holds the slates that a user was shown, oldest first, and the clicks on them, 0 or 1 for each slot:
    {"history": [{"slate": [...], "clicks": [...]}]}. The answer is {"slate": [...]}. A new user has an empty history
    and is shown what sessions opened with where the policy was trained. "user", if given, comes back in the answer;
    "seed" decides what the policy draws, if it does, 0 if not given.

    Examples:
        gems-gym recommend expert-diffuse_mix --history users.jsonl
        gems-gym recommend runs/td3 --history - --items items.parquet
        gems-gym recommend random --env GemsSlate-diffuse_mix-v0 \
            --history users.jsonl
    """
    if env is None:
        refuse("goes with --env, the world of a policy given by name", env_option=env_option)
    spec = None if env is None else chosen_world([env], env_option)
    ids = None
    if items is not None:
        from gems_gym.logs.maps import read_item_ids

        ids = read_item_ids(items)
    chosen = read_options(policy_option, "--policy-option")
    opens = partial(open_policy, policy, env=spec, checkpoint=checkpoint, items=ids, **chosen)
    served = opens()
    with ExitStack() as opened:
        lines = sys.stdin.buffer if history == "-" else opened.enter_context(Path(history).open("rb"))
        numbered = enumerate(lines, start=1)
        batches = iter(lambda: list(islice(numbered, together)), [])
        answered = (answers(served, batch) for batch in batches)
        for some in answered if workers == 1 else _by_workers(opens, batches, workers):
            typer.echo("\n".join(some))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Python doesn't look for cycles in a block: lists of numbers have none, and looking took a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_garbage_collection()
def answers(served: ServedPolicy, lines: _Lines) -> list[str]:
    """The answers to some lines.

    Args:
        served: Answers them.
        lines: With their numbers.

    Raises:
        ValueError: A line that is not JSON, or holds something else than a history, a user and a seed; it names the
            line and the field.
        TypeError: Likewise.
    """
    asked = [_asked(line, number) for number, line in lines]
    slates = served.recommend_all(
        [one["history"] for one in asked],
        [one.get("seed", 0) for one in asked],
        [f"line {number}: history" for number, _ in lines],
    )
    return [
        json.dumps({name: one[name] for name in ("user",) if name in one} | {"slate": slate})
        for one, slate in zip(asked, slates.tolist(), strict=True)
    ]


def _by_workers(
    opens: Callable[[], ServedPolicy], batches: Iterable[_Lines], workers: int
) -> Iterator[list[str]]:
    """The answers to batches of lines, in their order, by processes that open the policy for themselves."""
    waiting: deque[Future[list[str]]] = deque()
    with (
        environment(ONE_THREAD),
        ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker, (opens,)) as pool,
    ):
        for batch in batches:
            waiting.append(pool.submit(_answer_in_worker, batch))
            if len(waiting) > 2 * workers:  # so few that memory does not grow with the lines
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _begin_worker(opens: Callable[[], ServedPolicy]) -> None:
    global _served
    _served = opens()


_served: ServedPolicy
"""What a worker's process answers with."""


def _answer_in_worker(lines: _Lines) -> list[str]:
    return answers(_served, lines)


def _asked(line: bytes, number: int) -> Mapping[str, Any]:
    """A line's fields."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is not JSON: {error}; got {line[:60]!r}") from error
    if not isinstance(found, dict) or "history" not in found:
        raise ValueError(f'line {number} must be an object with a field "history", got {line[:60]!r}')
    for name in found:
        if name not in _FIELDS:
            raise unknown_name(f"field of line {number}:", name, _FIELDS)
    checked(f"line {number}: seed", found.get("seed", 0), WholeNumber)
    return found
