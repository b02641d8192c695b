"""What holds for every ranker made of item embeddings: protocol, batches, files, bad input, a world around it."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gems_gym import plugins
from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.embeddings import EmbeddingTable
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.rankers import Ranker, SamplingRanker, load_ranker, make_ranker
from gems_gym.wrappers import LatentAction, VectorLatentAction
from tests.rankers.item_vectors import HASH, ITEMS, SIZE, SLOTS, embeddings, generators, random_latents

# name -> options other than the defaults, so that a file has something to keep
KINDS: dict[str, dict[str, Any]] = {
    "topk": {},
    "k_head_argmax": {"deduplicate": False},
    "wknn": {"k": 3, "deduplicate": False},
    "softmax": {"sample": True, "temperature": 0.3, "replace": True},
}


def table(**changes: Any) -> EmbeddingTable:
    fields: dict[str, Any] = {
        "vectors": embeddings(), "kind": "embeddings/ideal", "catalog_hash": HASH, "privileged": True
    } | changes  # fmt: skip
    return EmbeddingTable(**fields)


def make(name: str, **options: Any) -> Any:
    return make_ranker(name, table(), SLOTS, **KINDS[name] | options)


def rank(ranker: Any, latents: np.ndarray, first: int = 0) -> np.ndarray:
    if getattr(ranker, "sample", False):
        return ranker.rank(latents, generators(first + len(latents))[first:])
    return ranker.rank(latents)


def test_all_are_installed() -> None:
    assert {*KINDS, "gems"} <= set(plugins.names(plugins.RANKERS))


@pytest.mark.parametrize("name", KINDS)
def test_is_a_ranker(name: str) -> None:
    ranker = make(name)
    assert isinstance(ranker, Ranker)
    assert isinstance(ranker, SamplingRanker) == (name == "softmax")
    assert ranker.action_size == (SIZE if name in ("topk", "softmax") else SLOTS * SIZE)
    assert (ranker.slate_size, ranker.num_items, ranker.kind) == (SLOTS, ITEMS, f"ranker/{name}")
    slates = rank(ranker, random_latents(20, ranker.action_size))
    assert slates.dtype == np.int64 and slates.shape == (20, SLOTS)
    assert slates.min() >= 0 and slates.max() < ITEMS
    assert rank(ranker, random_latents(0, ranker.action_size)).shape == (0, SLOTS)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("num_users", [1, 3, 17, 257])
def test_results_do_not_depend_on_the_batch(name: str, num_users: int) -> None:
    ranker = make(name)
    latents = random_latents(num_users, ranker.action_size)
    alone = [rank(ranker, latent[None], first=user) for user, latent in enumerate(latents)]
    np.testing.assert_array_equal(rank(ranker, latents), np.concatenate(alone))


@pytest.mark.parametrize("name", KINDS)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    ranker = make(name)
    digest = ranker.save(tmp_path / "ranker.safetensors")
    loaded: Any = load_ranker(tmp_path / "ranker.safetensors")
    assert type(loaded) is type(ranker)
    assert (loaded.sha256, loaded.catalog_hash, loaded.options) == (digest, HASH, ranker.options)
    assert loaded.header["item_embeddings"] == {
        "kind": "embeddings/ideal",
        "sha256": None,
        "privileged": True,
    }
    latents = random_latents(64, ranker.action_size)
    np.testing.assert_array_equal(rank(loaded, latents), rank(ranker, latents))
    assert loaded.save(tmp_path / "again.safetensors") == digest


@pytest.mark.parametrize("name", KINDS)
def test_unfit_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "ranker.safetensors"
    make(name).save(path)
    whole = load_artifact(path, "ranker")
    sound = {key: value for key, value in whole.header.items() if key != "versions"}
    for changes, message in (
        ({"catalog_hash": None}, "lacks catalog_hash"),
        ({"sizes": {}}, "sizes.slate_size"),
        ({"sizes": {"slate_size": 0}}, "slate_size must be an integer from 1 to 65536, got 0"),
        *(({"options": {}}, f"options.{option}") for option in KINDS[name]),
        *(({"options": {**KINDS[name], option: "x"}}, f"{option} must be .*'x'") for option in KINDS[name]),
    ):
        save_artifact(path, f"ranker/{name}", whole.tensors, sound | changes)
        with pytest.raises(ArtifactError, match=message):
            load_ranker(path)
    save_artifact(path, f"ranker/{name}", {"other": np.zeros(3)}, sound)
    with pytest.raises(ArtifactError, match="lacks the tensor item_embeddings"):
        load_ranker(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match="truncated"):
        load_ranker(path)


@pytest.mark.parametrize("name", KINDS)
def test_bad_latents(name: str) -> None:
    ranker = make(name)
    for latents, message in (
        (np.zeros((2, 3), np.float32), r"shape \(2, 3\)"),
        (np.zeros((2, ranker.action_size), np.int64), "dtype int64"),
        (np.full((2, ranker.action_size), np.nan, np.float32), r"latents\[0\].*finite"),
    ):
        with pytest.raises(ValueError, match=message):
            rank(ranker, latents)


@pytest.mark.parametrize("name", KINDS)
def test_bad_embeddings_and_options(name: str) -> None:
    with pytest.raises(ValueError, match="2 non-finite"):
        type(make(name))(np.array([[1, np.nan], [np.inf, 1]]), 1, HASH)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        type(make(name))(np.ones(4), 1, HASH)
    with pytest.raises(ValueError, match="slate_size must be"):
        make_ranker(name, table(), 0)
    with pytest.raises(ValueError, match=f"option of the ranker '{name}': 'tempratur'"):
        make_ranker(name, table(), SLOTS, tempratur=1)
    with pytest.raises(ValueError, match=r"num_items >= slate_size; got 40 < 41"):
        make_ranker(name, table(), 41)


def test_a_gems_ranker_has_to_be_trained() -> None:
    with pytest.raises(ValueError, match="it has to be trained"):
        make_ranker("gems", table(), SLOTS)
    with pytest.raises(ValueError, match="unknown ranker 'topkk': did you mean 'topk'"):
        make_ranker("topkk", table(), SLOTS)


def world_ranker(name: str, world: dict[str, Any]) -> Any:
    catalog = SlateEnv(**world).catalog
    own = table(vectors=catalog.item_embeddings, catalog_hash=catalog.hash)
    return make_ranker(name, own, world["slate_size"], **KINDS[name])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_both_wrappers_show_the_same_slates(name: str, mode: str, tiny_world: dict[str, Any]) -> None:
    """A vector's users live through sessions as users of single environments do, whatever the mode."""
    ranker = world_ranker(name, tiny_world)
    num_envs, steps = 3, 2 * tiny_world["episode_length"]
    latents = random_latents(steps * num_envs, ranker.action_size).reshape(steps, num_envs, -1)
    singles = []
    for user in range(num_envs):
        env = LatentAction(SlateEnv(**tiny_world), ranker)
        env.reset(seed=7 + user)
        singles.append(env)
    envs = VectorLatentAction(SlateVectorEnv(num_envs, autoreset_mode=mode, **tiny_world), ranker)
    envs.reset(seed=7)
    for t in range(steps):
        infos = envs.step(latents[t])[4]
        shown = infos["final_info"]["slate"] if "final_info" in infos else infos["slate"]
        for user, env in enumerate(singles):
            _, _, _, truncated, info = env.step(latents[t, user])
            np.testing.assert_array_equal(info["slate"], shown[user])
            if truncated:
                env.reset()
        if truncated and mode == "next_step":
            envs.step(np.zeros_like(latents[t]))  # ignored
        if truncated and mode == "disabled":
            envs.reset()


def test_draws_follow_the_seed(tiny_world: dict[str, Any]) -> None:
    ranker = world_ranker("softmax", tiny_world)
    env = LatentAction(SlateEnv(**tiny_world), ranker)
    latent = random_latents(1, ranker.action_size)[0]

    def shown(seed: int | None) -> list[int]:
        env.reset(seed=seed)
        return [item for _ in range(3) for item in env.step(latent)[4]["slate"].tolist()]

    assert shown(3) == shown(3)
    assert shown(3) != shown(4)
    first = shown(3)
    assert shown(None) != first  # the stream goes on

    envs = VectorLatentAction(SlateVectorEnv(2, autoreset_mode="disabled", **tiny_world), ranker)
    latents = np.stack([latent, latent])

    def next_slates() -> np.ndarray:
        return envs.step(latents)[4]["slate"].copy()

    envs.reset(seed=[3, 3])
    before = next_slates()
    np.testing.assert_array_equal(before[0], before[1])
    np.testing.assert_array_equal(before[0], first[:5])
    envs.reset(seed=[3, 3], options={"reset_mask": np.array([True, False])})
    after = next_slates()
    np.testing.assert_array_equal(after[0], first[:5])
    np.testing.assert_array_equal(after[1], first[5:10])  # not reset, so its stream went on


@pytest.mark.parametrize("name", KINDS)
def test_wrapped_by_file(name: str, tiny_world: dict[str, Any], tmp_path: Path) -> None:
    path = str(tmp_path / "ranker.safetensors")
    world_ranker(name, tiny_world).save(path)
    env = LatentAction(gym.make("GemsSlate-diffuse_topdown-v0", **tiny_world), path)
    assert env.spec is not None
    again = gym.make(env.spec)
    latent = random_latents(1, env.ranker.action_size)[0]
    env.reset(seed=3)
    again.reset(seed=3)
    np.testing.assert_array_equal(env.step(latent)[0]["slate"], again.step(latent)[0]["slate"])
