"""gems_gym.datasets.sessions: shapes, dtypes and values are checked before anything is written."""

from dataclasses import replace
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from gems_gym.datasets import DatasetWriter, Sessions
from gems_gym.datasets.sessions import ContentHash, episode_digest, join_sessions

OBSERVATIONS = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
SLATES = gymnasium.spaces.Dict(
    slate=gymnasium.spaces.MultiDiscrete([9] * 2), clicks=gymnasium.spaces.MultiBinary(2)
)


def sessions(count: int = 2, steps: int = 4) -> Sessions:
    rng = np.random.default_rng(0)
    return Sessions(
        seeds=list(range(count)),
        observations=rng.uniform(-1, 1, (count, steps + 1, 3)).astype(np.float32),
        actions=rng.uniform(-1, 1, (count, steps, 2)).astype(np.float32),
        rewards=rng.integers(0, 5, (count, steps)).astype(np.float32),
        infos={"bored": np.zeros((count, steps + 1, 5), np.bool_)},
    )


def test_good_sessions_pass() -> None:
    sessions().check(OBSERVATIONS, ACTIONS)
    shown = {"slate": np.zeros((2, 5, 2), np.int64), "clicks": np.zeros((2, 5, 2), np.int8)}
    replace(sessions(), observations=shown).check(SLATES, ACTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"observations": np.zeros((2, 4, 3), np.float32)},
            r"observations has shape \(2, 4, 3\), must be \(2, 5, 3\)",
        ),
        ({"observations": np.zeros((2, 5, 3))}, "observations has dtype float64, must be float32"),
        ({"observations": np.full((2, 5, 3), np.nan, np.float32)}, "observations holds values outside"),
        ({"observations": {"slate": np.zeros(1)}}, "observations must be one array"),
        ({"actions": np.full((2, 4, 2), 1.5, np.float32)}, "actions holds values outside"),
        ({"actions": np.zeros((2, 5, 2), np.float32)}, "actions has shape"),
        (
            {"infos": {"bored": np.zeros((2, 4, 5))}},
            r"infos\['bored'\] has shape \(2, 4, 5\), must begin with \(2, 5\)",
        ),
        ({"rewards": np.full((2, 4), np.inf)}, "rewards hold NaN or infinite"),
        ({"seeds": [1]}, "2 rows of rewards for 1 seeds"),
    ],
)
def test_bad_sessions(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(sessions(), **changes).check(OBSERVATIONS, ACTIONS)


def test_bad_dict_observations() -> None:
    with pytest.raises(ValueError, match="must be a dict with the keys"):
        sessions().check(SLATES, ACTIONS)
    shown = {"slate": np.full((2, 5, 2), 9, np.int64), "clicks": np.zeros((2, 5, 2), np.int8)}
    with pytest.raises(ValueError, match=r"observations\['slate'\] holds values outside"):
        replace(sessions(), observations=shown).check(SLATES, ACTIONS)


SHOWN = {"slate": np.zeros((2, 5, 2), np.int64), "clicks": np.ones((2, 5, 2), np.int8)}


@pytest.mark.parametrize("given", [sessions(), replace(sessions(), observations=SHOWN, infos={})])
def test_sessions_of_their_own_episodes(given: Sessions) -> None:
    for part in (given, given[1:], Sessions.of_arrays(given.arrays())):
        assert digest(Sessions.of_episodes(list(part.episodes()))) == digest(part)
    assert digest(join_sessions([given[:1], given[1:]])) == digest(given)
    assert len(given[1:]) == 1 and given[1:].seeds == [1]


def digest(given: Sessions) -> str:
    content = ContentHash()
    for episode in given.episodes():
        content.add(episode)
    return content.hexdigest()


def test_content_hash_sees_every_array() -> None:
    seen = {digest(sessions())}
    for name in ("observations", "actions", "rewards"):
        changed = getattr(sessions(), name).copy()
        changed.flat[-1] = 0.25
        seen.add(digest(replace(sessions(), **{name: changed})))
    seen.add(digest(replace(sessions(), infos={"bored": np.ones((2, 5, 5), np.bool_)})))
    seen.add(digest(replace(sessions(), seeds=[0, 5])))
    assert len(seen) == 6


def write(*parts: Sessions) -> None:
    with DatasetWriter("toy-v0", OBSERVATIONS, ACTIONS, gymnasium.spec("CartPole-v1")) as writer:
        for part in parts:
            writer.append(part)
        writer.finish({})


def test_writer_refuses_what_does_not_fit_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ValueError, match="actions has shape"):
        write(sessions(), replace(sessions(), actions=np.zeros((2, 4, 3), np.float32)))
    with pytest.raises(ValueError, match="has no episodes"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def datasets_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def writer(**options: bool) -> DatasetWriter:
    return DatasetWriter("toy-v0", OBSERVATIONS, ACTIONS, gymnasium.spec("CartPole-v1"), **options)


def test_counting_episodes_does_not_cost_more_with_each(datasets_root: Path) -> None:
    write(sessions(count=11))
    with h5py.File(datasets_root / "toy-v0" / "data" / "main_data.hdf5") as file:
        # HDF5's oldest format has the order of names, and no count: Minari counts all episodes for each new one
        assert list(file) == [f"episode_{index}" for index in range(11)]


def test_two_writers_of_one_id(datasets_root: Path) -> None:
    with writer() as first:
        first.append(sessions())
        with pytest.raises(ValueError, match="'toy-v0' is being written by another process"), writer():
            pass
        first.append(sessions(count=1))  # undisturbed
        first.finish({})
    assert minari.load_dataset("toy-v0").total_episodes == 3
    assert [path.name for path in datasets_root.iterdir()] == ["toy-v0"]


def test_an_id_that_came_into_use(datasets_root: Path) -> None:
    with writer() as late:
        late.append(sessions())
        (datasets_root / "toy-v0" / "data").mkdir(parents=True)
        with pytest.raises(ValueError, match="came into use in the meantime"):
            late.finish({})
    assert [path.name for path in datasets_root.iterdir()] == ["toy-v0"]


def test_a_dataset_is_replaced_only_by_a_whole_one(datasets_root: Path) -> None:
    write(sessions())
    with pytest.raises(ValueError, match=r"already in use.*--overwrite"):
        writer()
    with writer(overwrite=True) as unfinished:
        unfinished.append(sessions(count=1))
    assert minari.load_dataset("toy-v0").total_episodes == 2
    with writer(overwrite=True) as finished:
        finished.append(sessions(count=1))
        finished.finish({})
    assert minari.load_dataset("toy-v0").total_episodes == 1
    assert [path.name for path in datasets_root.iterdir()] == ["toy-v0"]


def test_a_namespace_is_not_overwritten(datasets_root: Path) -> None:
    (datasets_root / "toy-v0" / "inner-v0" / "data").mkdir(parents=True)
    with pytest.raises(ValueError, match="this one is no dataset"):
        writer(overwrite=True)


@pytest.mark.parametrize("given", [sessions(), replace(sessions(), observations={"a": np.zeros((2, 5, 3))})])
def test_joined_sessions_are_those_of_the_parts(given: Sessions) -> None:
    joined = join_sessions([given, given])
    pairs = zip(joined.episodes(), [*given.episodes(), *given.episodes()], strict=True)
    assert all(episode_digest(one) == episode_digest(other) for one, other in pairs)
    assert joined.nbytes == 2 * given.nbytes
