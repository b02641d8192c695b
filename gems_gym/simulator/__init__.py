"""The dynamics: catalogue, users, and one compiled step for any number of users. Knows arrays, not Gymnasium."""

from gems_gym.simulator.catalog import Catalog, ItemEmbeddings, resolve_world
from gems_gym.simulator.checks import check_slates, check_users
from gems_gym.simulator.simulator import SlateSimulator, make_simulator

__all__ = [
    "Catalog",
    "ItemEmbeddings",
    "SlateSimulator",
    "check_slates",
    "check_users",
    "make_simulator",
    "resolve_world",
]
