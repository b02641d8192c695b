"""``gems-gym pretrain``: rankers, beliefs and item embeddings from logged sessions."""

import typer

from gems_gym.commands.command import Command, CommandGroup
from gems_gym.commands.pretrain.belief import belief
from gems_gym.commands.pretrain.embeddings import embeddings
from gems_gym.commands.pretrain.ranker import ranker

_HELP = """Train a ranker, a belief or item embeddings on logged sessions.

Examples:
    gems-gym pretrain belief --env GemsSlate-diffuse_mix-v0 --out b.safetensors
    gems-gym pretrain ranker --env GemsSlate-diffuse_mix-v0 --report
"""

pretrain = typer.Typer(cls=CommandGroup, help=_HELP, no_args_is_help=True)
for _command in (ranker, belief, embeddings):
    pretrain.command(cls=Command)(_command)
