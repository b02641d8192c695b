"""``gems-gym dataset push`` and ``pull``: datasets from one machine to another."""

from typing import Annotated

import typer

from gems_gym.commands.options import Json, PullFrom, PushTo
from gems_gym.commands.output import key_value_table, show_result
from gems_gym.common.sharing import Package


def show_pushed(package: Package, remote: str, as_json: bool) -> None:
    """Print what was pushed where."""
    result = {**package.describe(), "remote": remote}
    show_result(result, key_value_table(result | {"files": "\n".join(result["files"])}), as_json)


def push(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Id of a local dataset.")],
    to: PushTo,
    as_json: Json = False,
) -> None:
    """Put a dataset and its card where others can pull them, once it has passed 'dataset verify'.

    Examples:
        gems-gym dataset push my/slates-v0 --to /shared/datasets
        gems-gym dataset push my/slates-v0 --to hf://me
    """
    from gems_gym.datasets.sharing import push_dataset

    show_pushed(push_dataset(identifier, to), to, as_json)


def pull(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Id of the dataset, as it was pushed.")],
    source: PullFrom,
    as_json: Json = False,
) -> None:
    """Fetch a dataset that was pushed, once it has passed 'dataset verify'; nothing in its files is run.

    Examples:
        gems-gym dataset pull my/slates-v0 --from /shared/datasets
        gems-gym dataset pull my/slates-v0 --from https://example.org/data
        gems-gym dataset pull my/slates-v0 --from hf://them
    """
    from gems_gym.datasets.sharing import pull_dataset

    pulled = pull_dataset(identifier, source)
    result = {
        "dataset_id": pulled.id,
        "episodes": int(pulled.total_episodes),
        "transitions": int(pulled.total_steps),
        "content_hash": pulled.storage.metadata.get("content_hash"),
        "remote": source,
    }
    show_result(result, key_value_table(result), as_json)
