"""Known answers: recorded runs of SARDINE (copied from the specification's reference folder)."""

from pathlib import Path

import numpy as np
import pytest

from gems_gym.sardine_config import SARDINE_PRESETS
from gems_gym.testing import replay_sardine_session

DATA = Path(__file__).parent.parent / "data"
GIVEN = ("user_initial", "first_slate", "first_clicks", "slates", "clicks")


def recorded_session(preset, session):
    with np.load(DATA / f"sardine_{preset}.npz") as file:
        return {name: file[name] if name == "item_embeddings" else file[name][session] for name in file}


def replayed(world, recorded):
    return replay_sardine_session(world, recorded["item_embeddings"], *(recorded[name] for name in GIVEN))


@pytest.mark.parametrize("preset", SARDINE_PRESETS)
@pytest.mark.parametrize("session", range(3))
def test_a_replay_gives_every_recorded_number(preset, session):
    recorded = recorded_session(preset, session)
    found = replayed(f"Sardine-{preset}-v0", recorded)
    assert found.keys() == recorded.keys()
    for name, value in found.items():
        assert value.shape == recorded[name].shape, name
        if recorded[name].dtype.kind == "f":
            np.testing.assert_allclose(value, recorded[name], rtol=0, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(value, recorded[name], err_msg=name)
