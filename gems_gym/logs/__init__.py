"""Impression logs of running recommenders: imported as Minari datasets of sessions, and what is fitted to them.

Importing this package imports neither Polars nor Minari nor torch; its functions do, when they are called.
"""

from gems_gym.logs.fidelity import FidelityReport
from gems_gym.logs.fit_report import FitReport
from gems_gym.logs.fitting import fit_log
from gems_gym.logs.importing import import_log
from gems_gym.logs.maps import read_import_report, read_items, read_users
from gems_gym.logs.presets import PRESETS, Preset
from gems_gym.logs.report import ImportReport
from gems_gym.logs.world_fitting import fit_world

__all__ = [
    "PRESETS",
    "FidelityReport",
    "FitReport",
    "ImportReport",
    "Preset",
    "fit_log",
    "fit_world",
    "import_log",
    "read_import_report",
    "read_items",
    "read_users",
]
