"""Recorded sessions as Minari datasets: collecting them, what they carry, and what is made of them.

Importing this package imports no Minari; its functions do, when they are called.
"""

from gems_gym.datasets.collect import collect
from gems_gym.datasets.d4rl import export_d4rl, import_d4rl
from gems_gym.datasets.derive import merge, subset
from gems_gym.datasets.described_policies import DescribedPolicy
from gems_gym.datasets.episode_batch import EpisodeBatch
from gems_gym.datasets.levels import collect_level
from gems_gym.datasets.reader import (
    artifact_file,
    compute_content_hash,
    dataset_belief,
    dataset_ranker,
    open_dataset,
    recover_latent_environment,
)
from gems_gym.datasets.relabelling import relabel
from gems_gym.datasets.report import DatasetReport, report_dataset
from gems_gym.datasets.report_picture import draw_report
from gems_gym.datasets.sessions import Sessions
from gems_gym.datasets.sharing import pull_dataset, push_dataset
from gems_gym.datasets.verify import Verification, verify_dataset
from gems_gym.datasets.world import measure_reference_scores
from gems_gym.datasets.writer import DatasetWriter, check_new_dataset_id

__all__ = [
    "DatasetReport",
    "DatasetWriter",
    "DescribedPolicy",
    "EpisodeBatch",
    "Sessions",
    "Verification",
    "artifact_file",
    "check_new_dataset_id",
    "collect",
    "collect_level",
    "compute_content_hash",
    "dataset_belief",
    "dataset_ranker",
    "draw_report",
    "export_d4rl",
    "import_d4rl",
    "measure_reference_scores",
    "merge",
    "open_dataset",
    "pull_dataset",
    "push_dataset",
    "recover_latent_environment",
    "relabel",
    "report_dataset",
    "subset",
    "verify_dataset",
]
