"""Options that several commands have, each defined once: ``env: EnvOption = None`` in a command's parameters."""

from pathlib import Path
from typing import Annotated

import typer
from annotated_types import Ge, Interval

from gems_gym.common.checks import Count
from gems_gym.user_splits import USERS_PER_SEED, UserSeed

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

# Worlds
EnvIds = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="ID", help="Environment id; repeatable; all: the six worlds."),
]
EnvOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--env-option", metavar="NAME=VALUE", help="Parameter of the world, such as omega=0.95; repeatable."
    ),
]
Catalogue = Annotated[
    Path | None,
    typer.Option("--catalogue", help="The simulator's items, an .npy file, instead of the world's own."),
]

# What acts
PolicyName = Annotated[
    str,
    typer.Argument(
        metavar="POLICY|AGENT_DIR",
        help="Policy's name, shipped ones such as expert-{preset} included, or a trained agent's folder.",
    ),
]
PolicyOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--policy-option",
        metavar="NAME=VALUE",
        help="Option of a policy given by name, such as epsilon=0.1; repeatable.",
    ),
]
Checkpoint = Annotated[
    int | None,
    typer.Option(help="With a trained agent: act with the policy it had after this many interactions."),
]
RankerName = Annotated[
    str | None, typer.Option("--ranker", metavar="NAME_OR_FILE", help="Ranker to act through.")
]
BeliefName = Annotated[
    str | None, typer.Option("--belief", metavar="NAME_OR_FILE", help="Belief to observe through.")
]

# How it is run
RandomSeed = Annotated[UserSeed, typer.Option("--seed", help="Random seed.")]
UserBlock = Annotated[UserSeed, typer.Option("--seed", help="Which block of users.")]
NumEnvs = Annotated[Count, typer.Option(help="Users stepped together; does not change the result.")]
Device = Annotated[str, typer.Option(help="Torch device.")]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="Where to run: local, on this machine; ray, on a cluster.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="With --executor ray: the cluster's address, or auto; if not given, this machine."),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="NAME",
        help="Where learning curves go instead of TensorBoard's files: tensorboard, wandb, swanlab or another that is "
        "installed; repeatable. Settings are the tracker's own environment variables.",
    ),
]

# Sharing
PushTo = Annotated[
    str,
    typer.Option("--to", metavar="REMOTE", help="Where to: a folder, file://…, hf://USER or gcp://BUCKET."),
]
PullFrom = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="REMOTE",
        help="Where from: a folder, file://…, https://…, hf://USER or gcp://BUCKET.",
    ),
]

# What is learned from logged sessions
EnvIfNew = Annotated[
    list[str] | None, typer.Option("--env", metavar="ID", help="Environment id; not with --reproduce.")
]
OutIfNew = Annotated[
    Path | None,
    typer.Option(
        help="File to write; with --report a picture; with --reproduce a folder to keep the result in."
    ),
]
Embeddings = Annotated[
    str | None,
    typer.Option(
        "--embeddings",
        metavar="NAME_OR_FILE",
        help="Learned item embeddings: a file by 'pretrain embeddings', or a shipped name.",
    ),
]
Log = Annotated[
    Path | None, typer.Option(help="Session log (.npz): read if it exists, else collected and written.")
]
Sessions = Annotated[
    int | None,
    Interval(ge=1, le=USERS_PER_SEED),
    typer.Option(help="Sessions to log, instead of the recipe's number."),
]
Batches = Annotated[int | None, Ge(1), typer.Option(help="Gradient updates, instead of the recipe's number.")]
SaveEvery = Annotated[
    int | None,
    typer.Option(help="Gradient updates between saved states, for resuming; 100 if not given."),
]
LogDir = Annotated[
    Path | None,
    typer.Option(help="Folder for the losses: progress.csv, and what trackers write."),
]
Reproduce = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Train a shipped file again by its recipe, and compare the two."),
]
Report = Annotated[bool, typer.Option("--report", help="Measure without training.")]
Compare = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME_OR_FILE",
        help="With --report: what to measure, instead of what is shipped; repeatable.",
    ),
]
StartAnew = Annotated[
    bool, typer.Option("--overwrite", help="Start anew instead of resuming an interrupted run.")
]
