"""Recorded sessions as Minari datasets: collecting them, and what they carry.

Importing this package imports no Minari; its functions do, when they are called.
"""

from gems_gym.datasets.collect import collect
from gems_gym.datasets.reader import (
    artifact_file,
    compute_content_hash,
    dataset_belief,
    dataset_ranker,
    recover_latent_environment,
)
from gems_gym.datasets.sessions import Sessions
from gems_gym.datasets.world import measure_reference_scores
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id

__all__ = [
    "DatasetWriter",
    "Sessions",
    "artifact_file",
    "check_new_dataset_id",
    "collect",
    "compute_content_hash",
    "dataset_belief",
    "dataset_ranker",
    "measure_reference_scores",
    "recover_latent_environment",
]
