"""``gems-gym ope``: what policies would have earned, by a log of another one."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer
from annotated_types import Gt
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from gems_gym.commands import options
from gems_gym.commands.output import key_value_table, note, rows_table, show_result
from gems_gym.common.checks import Seed, checked_arguments
from gems_gym.errors import unknown_name
from gems_gym_agents.ope.comparing import Comparison, check_propensities, compare, with_propensities_of
from gems_gym_agents.ope.estimators import ESTIMATORS, OF_ARRAYS, WITHOUT_PROPENSITIES, Estimate
from gems_gym_agents.ope.logs import EvaluationLog
from gems_gym_agents.ope.policies import find_policy
from gems_gym_agents.ope.terms import LARGEST_WEIGHT


@checked_arguments
def ope(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Id of a local dataset of sessions.")],
    policies: Annotated[
        list[str],
        typer.Argument(
            metavar="POLICY...",
            help="Policies' names, options behind a colon as in eps_greedy_oracle:epsilon=0.1, or trained agents.",
        ),
    ],
    logging: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY", help="The policy that made the log, if the propensities are not recorded."
        ),
    ] = None,
    estimate_propensities: Annotated[
        bool,
        typer.Option(
            "--estimate-propensities",
            help="Estimate the propensities by how often each item was shown in each slot.",
        ),
    ] = False,
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help=f"Of {', '.join(ESTIMATORS)}; repeatable; all but fqe if not given."
        ),
    ] = None,
    clip: Annotated[
        float | None, Gt(0), typer.Option(help="Cut weights here: less variance, estimates too low.")
    ] = None,
    select: Annotated[
        bool,
        typer.Option("--select", help="Name the policy with the highest lower bound, by each estimator."),
    ] = False,
    seed: Annotated[Seed, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: options.Json = False,
) -> None:
    r"""Estimate what policies would have earned in a log's sessions, without showing anything to anybody.

    Every estimate has a 95 % interval by bootstrap over sessions, a lower bound, and diagnostics of its weights; an
    estimator whose assumptions fail says why instead. The log is of collect --propensities, or imported with
    propensities.

    Examples:
        gems-gym ope my/slates-v0 random eps_greedy_oracle:epsilon=0.1
        gems-gym ope my/slates-v0 runs/slateq --logging eps_greedy_oracle --select
        gems-gym ope my/log-v0 random --estimate-propensities --estimator snips
    """
    names = list(OF_ARRAYS) if not estimator else list(dict.fromkeys(estimator))
    for name in names:
        if name not in ESTIMATORS:
            raise unknown_name("--estimator", name, ESTIMATORS)
    if logging is not None and estimate_propensities:
        raise ValueError("give --logging or --estimate-propensities, not both")
    log = EvaluationLog.of_dataset(dataset)
    find = partial(find_policy, world=log.world, catalog_hash=log.seen.catalog_hash, dataset=dataset)
    makers = {policy: find(policy) for policy in policies}
    if logging is not None:
        log = with_propensities_of(log, find(logging))
    elif estimate_propensities:
        log = log.with_counted_propensities()
    check_propensities(log, names)
    found = compare(log, makers, names, clip=clip or LARGEST_WEIGHT, seed=seed)
    recorded = "none" if log.propensities is None else "recorded"
    origin = "estimated by counts" if log.estimated else recorded if logging is None else f"of {logging}"
    result = {
        "dataset": dataset,
        "sessions": len(log.lengths),
        "impressions": len(log.session),
        "propensities": origin,
        "logged": asdict(found.logged["t"]),
        "policies": {policy: _described(row) for policy, row in found.estimates.items()},
        **({"selected": found.selected()} if select else {}),
    }
    show_result(result, Group(*_readable(result, found, select)), as_json)
    if log.estimated:
        note(
            f"all estimates but {', '.join(WITHOUT_PROPENSITIES)} rest on propensities that were estimated by counts"
        )


def _described(row: dict[str, Estimate | str]) -> dict[str, Any]:
    return {
        name: {"not_applicable": one} if isinstance(one, str) else asdict(one) for name, one in row.items()
    }


def _readable(result: dict[str, Any], found: Comparison, select: bool) -> list[RenderableType]:
    logged = found.logged["t"]
    about = {name: result[name] for name in ("dataset", "sessions", "impressions", "propensities")}
    low, high = logged.interval
    about["logged"] = f"{logged.value:.3f} clicks a session ({low:.3f} to {high:.3f})"
    parts: list[RenderableType] = [key_value_table(about)]
    for policy, row in found.estimates.items():
        parts += ["", *_policy_tables(policy, row)]
    if select:
        parts += ["", key_value_table(found.selected(), title="highest lower bound")]
    return parts


def _policy_tables(policy: str, row: dict[str, Estimate | str]) -> list[Table]:
    lines = {name: _line(one) for name, one in row.items() if isinstance(one, Estimate)}
    reasons = {name: one for name, one in row.items() if isinstance(one, str)}
    tables = []
    if lines:
        tables.append(rows_table("estimator", lines))
        tables[0].title, tables[0].title_justify = escape(policy), "left"
    return [*tables, key_value_table(reasons, title=f"{policy}: not applicable")] if reasons else tables


def _line(one: Estimate) -> dict[str, Any]:
    weights = one.diagnostics
    return {
        "clicks": one.value,
        "low": one.interval[0],
        "high": one.interval[1],
        "lower_bound": one.lower_bound,
        "effective_size": None if weights is None else f"{weights.effective_sample_size:,.0f}",
        "overlap": None if weights is None else weights.overlap,
        "largest_weight": None if weights is None else f"{weights.largest_weight:,.4g}",
        "clipped": None if weights is None else f"{weights.clipped:.1%}",
    }
