from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError, save_artifact
from gems_gym_agents.user_model.model import KIND, NEVER, Rules, UserModel
from tests.agents.user_model.small_world import true_model


def test_a_file_holds_the_whole_model(tmp_path: Path) -> None:
    model = replace(true_model(), metadata={"seed": 3})
    sha256 = model.save(tmp_path / "model.safetensors")
    read = UserModel.load(tmp_path / "model.safetensors")
    for name in ("items", "topics", "propensities", "prior"):
        np.testing.assert_array_equal(getattr(read, name), getattr(model, name))
    assert (read.slope, read.omega, read.rules, read.metadata) == (100.0, 0.9, model.rules, {"seed": 3})
    assert read.save(tmp_path / "again.safetensors") == sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"omega": 1.5}, "omega must be a number in .0, 1., got 1.5"),
        ({"topic_size": 3}, "no multiple of topic_size=3"),
        ({"topics": np.full(100, 5)}, r"topic in \[0, 5\)"),
        ({"propensities": np.zeros(10)}, "propensities must be in"),
        ({"prior": np.ones((2, 3))}, "3 numbers a user, but items 10"),
        ({"items": np.full((100, 10), np.nan)}, "items must hold finite numbers"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(true_model(), **changes)


def test_a_file_that_lacks_something_is_refused(tmp_path: Path) -> None:
    model = true_model()
    for dropped in ("items", "omega", "rules"):
        tensors = {name: array for name, array in model.tensors().items() if name != dropped}
        header = {name: value for name, value in model.header().items() if name != dropped}
        save_artifact(tmp_path / "model.safetensors", KIND, tensors, header)
        with pytest.raises(ArtifactError, match="no readable user model"):
            UserModel.load(tmp_path / "model.safetensors")


def test_items_of_a_topic_that_neither_bore_nor_are_monotonous() -> None:
    assert Rules().items_per_topic(10) == 10
    assert not Rules().bores
    assert Rules(boredom_threshold=5, memory=10).items_per_topic(10) == 4
    assert Rules(boredom_threshold=5, diversity_threshold=3, diversity_penalty=3.0).items_per_topic(10) == 2
    assert Rules(boredom_threshold=3, diversity_threshold=4, diversity_penalty=3.0).items_per_topic(10) == 2
    assert Rules(boredom_threshold=1, memory=10).items_per_topic(10) == 1
    assert Rules(boredom_threshold=NEVER, diversity_threshold=4).items_per_topic(10) == 10
