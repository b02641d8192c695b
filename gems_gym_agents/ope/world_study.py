"""Fitted worlds against the truth, which no real log has: they should rank policies as the true worlds do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from scipy.stats import kendalltau

from gems_gym.common.checks import Checked, Count
from gems_gym.datasets.world import environment_spec
from gems_gym.envs.recorded_spec import world_config
from gems_gym.logs.click_models import PositionBased
from gems_gym.logs.fidelity import measure_fidelity
from gems_gym.logs.sessions import LoggedSessions
from gems_gym.logs.world_fitting import make_world
from gems_gym.pretraining.belief import BELIEF_PRESETS
from gems_gym.pretraining.session_log import collect_session_log
from gems_gym.registration import FITTED_ID
from gems_gym.user_splits import Users
from gems_gym_agents.ope.study import returns_of

MOST_CLICKED = "constant_slate:slate="
"""Begins the name of the policy that shows everybody what the log says is clicked most."""


@dataclass(frozen=True)
class Sizes(Checked):
    """How large a study is.

    Attributes:
        sessions: Sessions of each log, by the mixture of policies of the GRU belief's recipe.
        batches: Gradient updates of each fit; None: as many as the recipe says.
        users: Test users on whom each policy is played, in both worlds.
    """

    sessions: Users = 4_000
    batches: Count | None = None
    users: Users = 300


QUICK = Sizes(sessions=20, batches=2, users=10)
"""A trial."""


def measure(world: EnvSpec, preset: str, file: Path, sizes: Sizes, progress: bool = True) -> dict[str, Any]:
    """Fit a world to a log of another, and play five policies in both.

    None of the policies has privileged information: what they do depends on slates and clicks alone.

    Args:
        world: The world that makes the log.
        preset: Its name; what is shipped for it is played.
        file: Where the fitted world is written.
        sizes: How many sessions, updates and users.
        progress: Whether to show progress on stderr.

    Returns:
        JSON types: what the policies earn in both, Kendall's tau between the two, and the fidelity report.
    """
    config = world_config(world)
    log = collect_session_log(config, BELIEF_PRESETS["default"].shares, sizes.sessions, 0, progress=progress)
    order = np.random.default_rng(0).permutation(log.num_sessions)  # the log has one policy after the other
    num_sessions, length, slate_size = log.slates.shape
    sessions = LoggedSessions(
        slates=log.slates[order].reshape(-1, slate_size),
        clicks=log.clicks[order].reshape(-1, slate_size).astype(np.int8),
        starts=np.arange(num_sessions + 1) * length,
        num_items=config.num_items,
        catalog_hash=log.catalog_hash,
        timed=False,
        cut=0,
        left=np.zeros(num_sessions, np.bool_),
    )
    earlier, later = sessions.split(0.2)
    fitted = make_world(earlier, batches=sizes.batches, seed=0, progress=progress)
    sha256 = fitted.save(file)
    report = measure_fidelity(fitted, earlier, later, dataset_id=world.id, sha256=sha256, seed=0)
    most_clicked = np.argsort(-PositionBased.fit(earlier).attractiveness, kind="stable")[:slate_size]
    policies = [
        "random",
        "random_constant_slate",
        f"{MOST_CLICKED}{most_clicked.tolist()}",
        f"medium-{preset}",
        f"expert-{preset}",
    ]
    spec = environment_spec(FITTED_ID, {"world": str(file), "episode_length": config.episode_length})
    truth, found = (returns_of(policies, one, sizes.users, progress) for one in (world, spec))
    return {
        "env": world.id,
        "sizes": asdict(sizes),
        "truth": truth,
        "fitted": found,
        "tau": float(kendalltau(list(truth.values()), list(found.values())).statistic),
        "warnings": list(report.warnings),
        "fidelity": report.as_dict(),
    }


def summary(measured: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """One row a world: what each policy earns in truth and in the fitted world, and Kendall's tau."""
    rows = {}
    for one in measured:
        names = [
            "most_clicked" if name.startswith(MOST_CLICKED) else name.partition("-")[0]
            for name in one["truth"]
        ]
        pairs = zip(one["truth"].values(), one["fitted"].values(), strict=True)
        returns = (f"{true:.0f} / {found:.0f}" for true, found in pairs)
        rows[one["env"]] = dict(zip(names, returns, strict=True)) | {"tau": one["tau"]}
    return rows
