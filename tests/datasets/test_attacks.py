"""Datasets of others that would run code, read other files or fill the memory: each is refused in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from gems_gym.artifacts import shipped
from gems_gym.datasets import (
    artifact_file,
    collect,
    compute_content_hash,
    dataset_belief,
    dataset_ranker,
    open_dataset,
    recover_latent_environment,
    report_dataset,
    subset,
)
from gems_gym.rankers import load_ranker
from tests.datasets.small_world import ENV_ID, LENGTH, WORLD, collect_latents

ID = "others/latent-v0"

MADE = """
from pathlib import Path

Path({marker!r}).touch()


def make(**kwargs):
    raise RuntimeError("code of the dataset was run")
"""
"""What an attack would run when it is imported."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset as it should be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("template")))
        return Path(collect_latents(ID).storage.data_path)


class Attack:
    """A copy of the dataset to change, and the code that it must not get to run."""

    def __init__(self, data: Path, tmp_path: Path) -> None:
        self.data, self.elsewhere = data, tmp_path / "elsewhere"
        self.elsewhere.mkdir()
        self.marker = tmp_path / "was_run"
        code = MADE.format(marker=str(self.marker))
        (tmp_path / "payload.py").write_text(code)
        (data / "hubconf.py").write_text(code)

    def metadata(self, **changes: Any) -> None:
        """Changes the metadata; None removes an entry."""
        file = self.data / "metadata.json"
        changed = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))

    def spec(self, kwargs: dict[str, Any] | None = None, **changes: Any) -> None:
        """Changes the environment's spec, and adds keywords."""
        spec = json.loads(json.loads((self.data / "metadata.json").read_text())["env_spec"])
        spec |= changes
        spec["kwargs"] |= kwargs or {}
        self.metadata(env_spec=json.dumps(spec))

    def file(self) -> h5py.File:
        """The data file, to be changed."""
        return h5py.File(self.data / "main_data.hdf5", "r+")


@pytest.fixture
def attack(
    template: Path, datasets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Attack]:
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copytree(template.parent, datasets_root / ID)
    under_way = Attack(datasets_root / ID / "data", tmp_path)
    yield under_way
    assert not under_way.marker.exists(), "code of the dataset was run"


def torch_hub(attack: Attack) -> None:
    attack.metadata(
        env_spec=json.dumps(
            {
                "id": ENV_ID,
                "entry_point": "torch.hub:load",
                "kwargs": {
                    "repo_or_dir": str(attack.data),
                    "model": "make",
                    "source": "local",
                    "trust_repo": True,
                },
                "additional_wrappers": [],
            }
        )
    )


def shell(attack: Attack) -> None:
    attack.spec(entry_point="os:system", id=ENV_ID, kwargs={"command": f"touch {attack.marker}"})


def registered_id(attack: Attack) -> None:
    attack.spec(entry_point="payload:make")


def module_in_id(attack: Attack) -> None:
    attack.spec(id="payload:Mine-v0", entry_point=None)


def vector_entry_point(attack: Attack) -> None:
    attack.spec(vector_entry_point="payload:make")


def wrapper(attack: Attack) -> None:
    attack.spec(additional_wrappers=[{"name": "Harmless", "entry_point": "payload:make", "kwargs": {}}])


def strange_wrappers(attack: Attack) -> None:
    attack.spec(additional_wrappers="payload:make")


def evaluation_environment(attack: Attack) -> None:
    spec = json.loads(json.loads((attack.data / "metadata.json").read_text())["env_spec"])
    attack.metadata(eval_env_spec=json.dumps(spec | {"entry_point": "payload:make"}))


def no_observation_space(attack: Attack) -> None:
    registered_id(attack)
    attack.metadata(observation_space=None)


def no_action_space(attack: Attack) -> None:
    torch_hub(attack)
    attack.metadata(action_space=None)


def another_environment(attack: Attack) -> None:
    attack.metadata(env_spec=gymnasium.spec("CartPole-v1").to_json())


def unknown_keyword(attack: Attack) -> None:
    attack.spec({"command": "touch"})


def no_ranker(attack: Attack) -> None:
    attack.spec({"ranker": None})


def deep_metadata(attack: Attack) -> None:
    (attack.data / "metadata.json").write_text('{"a":' * 100_000)


def large_metadata(attack: Attack) -> None:
    attack.metadata(description=" " * 5_000_000)


def large_catalogue(attack: Attack) -> None:
    attack.spec({"num_items": 10**9})


def large_slate(attack: Attack) -> None:
    attack.spec({"preset": {"slate_size": 10**13, "num_items": 10**13}})


def large_topics(attack: Attack) -> None:
    attack.spec({"num_topics": 10**4, "topic_size": 10**4})


def many_steps(attack: Attack) -> None:
    attack.metadata(total_steps=10**12)


def many_episodes(attack: Attack) -> None:
    attack.metadata(total_episodes=10**12)


def steps_of_no_number(attack: Attack) -> None:
    attack.metadata(total_steps=1e12)


def large_space(attack: Attack) -> None:
    attack.metadata(
        observation_space=json.dumps(
            {"type": "Box", "dtype": "float32", "shape": [10**12], "low": 0.0, "high": 1.0}
        )
    )


def text_space(attack: Attack) -> None:
    attack.metadata(
        action_space=json.dumps(
            {"type": "Box", "dtype": f"U{10**7}", "shape": [1], "low": ["a"], "high": ["b"]}
        )
    )


def another_format(attack: Attack) -> None:
    attack.metadata(data_format="arrow")


def linked_metadata(attack: Attack) -> None:
    shutil.move(attack.data / "metadata.json", attack.elsewhere)
    (attack.data / "metadata.json").symlink_to(attack.elsewhere / "metadata.json")


def linked_data_file(attack: Attack) -> None:
    shutil.move(attack.data / "main_data.hdf5", attack.elsewhere)
    (attack.data / "main_data.hdf5").symlink_to(attack.elsewhere / "main_data.hdf5")


def linked_folder(attack: Attack) -> None:
    shutil.move(attack.data, attack.elsewhere)
    attack.data.symlink_to(attack.elsewhere / "data")


def pipe(attack: Attack) -> None:
    (attack.data / "metadata.json").unlink()
    os.mkfifo(attack.data / "metadata.json")


AT_OPENING: dict[Callable[[Attack], None], str] = {
    torch_hub: "names code that is not gems-gym's, 'torch.hub:load'",
    shell: "names code that is not gems-gym's, 'os:system'",
    registered_id: "names code that is not gems-gym's, 'payload:make'",
    module_in_id: "unknown environment 'payload:Mine-v0'",
    vector_entry_point: "names code that is not gems-gym's, 'payload:make'",
    wrapper: "names code that is not gems-gym's, 'payload:make'",
    strange_wrappers: "names code that is not gems-gym's, 'payload:make'",
    evaluation_environment: "names code that is not gems-gym's, 'payload:make'",
    no_observation_space: "observation_space in its metadata must be a text, got None",
    no_action_space: "action_space in its metadata must be a text, got None",
    another_environment: "environment 'CartPole-v1' is none of gems-gym's",
    unknown_keyword: "unknown keyword of GemsSlateLatent-diffuse_topdown-v0 'command'",
    no_ranker: "ranker must be the path of a file or a name, got None",
    deep_metadata: "metadata.json is no JSON",
    large_metadata: "a dataset's metadata have at most 4,194,304",
    large_catalogue: "num_items must be at most 10,000,000 in a world of commands and datasets, got 1,000,000,000",
    large_slate: "must be at most",
    large_topics: "num_items · num_topics · topic_size must be at most 100,000,000",
    many_steps: "total_steps in its metadata is 1,000,000,000,000, of",
    many_episodes: "total_episodes in its metadata is 1,000,000,000,000, but",
    steps_of_no_number: "total_steps in its metadata must be an integer, got 1000000000000.0",
    large_space: "has more than 1,000,000 numbers",
    text_space: "dtype must be one of numbers, got 'U10000000'",
    another_format: "has the format 'arrow'; only 'hdf5' is read",
    linked_metadata: "out of its dataset",
    linked_data_file: "out of its dataset",
    linked_folder: "out of the folder of datasets",
    pipe: "has no file metadata.json",
}
"""What is changed -> what is said of it, whatever opens the dataset."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "info": ("info", ID),
    "report": ("dataset", "report", ID),
    "export": ("dataset", "export", ID, "--out", "out.npz"),
    "subset": ("dataset", "subset", ID, "--episodes", "2", "--dataset-id", "new/part-v0"),
    "merge": ("dataset", "merge", ID, ID, "--dataset-id", "new/both-v0"),
    "relabel": ("dataset", "relabel", ID, "--ranker", "gems-diffuse_topdown", "--dataset-id", "new/other-v0"),
    "train": ("train", "bc", "--dataset", ID, "--steps", "1", "--out", "agent"),
    "train in": ("train", "bc", "--dataset", ID, "--env", ENV_ID, "--steps", "1", "--out", "agent"),
    "compare": ("compare", "offline", "--datasets", ID, "--worlds", "diffuse_topdown-medium", "--variants", "bc",
                "--seeds", "0", "--out", "compared"),
}  # fmt: skip

OPENERS: tuple[Callable[[Any], Any], ...] = (
    open_dataset, recover_latent_environment, compute_content_hash, dataset_ranker, dataset_belief, report_dataset,
)  # fmt: skip


def refused(program: Any, *arguments: str) -> str:
    """What a command says of a dataset, which is one line."""
    code, out, err = program(*arguments)
    assert (code, out) == (2, ""), (code, out, err)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in err, err
    return " ".join(err.split())


def close(text: str) -> str:
    """A text without white space, which a terminal may put anywhere."""
    return "".join(text.split())


@pytest.mark.parametrize("change", AT_OPENING, ids=lambda change: change.__name__)
def test_an_attack_runs_nothing_and_is_refused(change: Any, attack: Attack, program: Any) -> None:
    change(attack)
    for arguments in (COMMANDS["info"], COMMANDS["subset"]):
        assert close(AT_OPENING[change]) in close(refused(program, *arguments))
    for opener in OPENERS:
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            opener(ID)
        assert AT_OPENING[change] in str(error.value)


@pytest.mark.parametrize("change", [torch_hub, no_observation_space], ids=lambda change: change.__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_it(command: str, change: Any, attack: Attack, program: Any) -> None:
    if command in ("train", "train in", "compare"):
        pytest.importorskip("d3rlpy")
    change(attack)
    assert close(AT_OPENING[change]) in close(refused(program, *COMMANDS[command]))


@pytest.mark.parametrize(
    "change", [registered_id, wrapper, vector_entry_point], ids=lambda change: change.__name__
)
def test_a_dataset_that_minari_opened(change: Any, attack: Attack) -> None:
    """Minari makes the environment when it is asked to only, if the spaces are there."""
    change(attack)
    opened = minari.load_dataset(ID)
    for opener in OPENERS:
        with pytest.raises(ValueError, match="names code that is not gems-gym's, 'payload:make'"):
            opener(opened)


def test_agents_open_it_the_same_way(attack: Attack) -> None:
    pytest.importorskip("d3rlpy")
    from gems_gym_agents.offline import BCAgent, load_replay_buffer
    from gems_gym_agents.training_world import dataset_world

    no_observation_space(attack)
    for opener in (
        load_replay_buffer,
        dataset_world,
        lambda dataset: BCAgent().fit(dataset, steps=1, seed=0, progress=False),
    ):
        with pytest.raises(ValueError, match="observation_space in its metadata must be a text, got None"):
            opener(ID)


# -- inside the data file ----------------------------------------------------------------------------------------------


def external_link(attack: Attack) -> None:
    shutil.copy(attack.data / "main_data.hdf5", attack.elsewhere)
    with attack.file() as file:
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = h5py.ExternalLink(
            str(attack.elsewhere / "main_data.hdf5"), "/episode_0/rewards"
        )


def external_session(attack: Attack) -> None:
    shutil.copy(attack.data / "main_data.hdf5", attack.elsewhere)
    with attack.file() as file:
        del file["episode_3"]
        file["episode_3"] = h5py.ExternalLink(str(attack.elsewhere / "main_data.hdf5"), "/episode_3")


def external_storage(attack: Attack) -> None:
    secret = attack.elsewhere / "secret"
    secret.write_bytes(bytes(4 * LENGTH))
    with attack.file() as file:
        del file["episode_0/rewards"]
        file["episode_0"].create_dataset(
            "rewards", (LENGTH,), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )


def virtual(attack: Attack) -> None:
    layout = h5py.VirtualLayout((LENGTH,), "f4")
    layout[:] = h5py.VirtualSource(str(attack.data / "main_data.hdf5"), "episode_1/rewards", (LENGTH,))
    with attack.file() as file:
        del file["episode_0/rewards"]
        file["episode_0"].create_virtual_dataset("rewards", layout)


def promised_rows(attack: Attack) -> None:
    with attack.file() as file:
        del file["episode_0/rewards"]
        file["episode_0"].create_dataset("rewards", (10**12,), "f4", chunks=(10**6,))


def the_same_array_again_and_again(attack: Attack) -> None:
    with attack.file() as file:
        infos = file["episode_0/infos"]
        infos["large"] = np.zeros(10**6, np.float32)
        for number in range(200):
            infos[f"again_{number}"] = infos["large"]


def a_group_in_itself(attack: Attack) -> None:
    with attack.file() as file:
        file["episode_0/infos/infos"] = file["episode_0/infos"]


def texts(attack: Attack) -> None:
    with attack.file() as file:
        file["episode_0/infos"].create_dataset("notes", data=["a"] * 10, dtype=h5py.string_dtype())


INSIDE: dict[Callable[[Attack], None], str] = {
    external_link: "episode_0/rewards is a link to elsewhere",
    external_session: "episode_3 is a link to elsewhere",
    external_storage: "the numbers of episode_0/rewards lie in other files",
    virtual: "the numbers of episode_0/rewards lie in other files",
    promised_rows: "more than 20 times its own size",
    the_same_array_again_and_again: "more than 20 times its own size",
    a_group_in_itself: "is no array of a session",
    texts: "episode_0/infos/notes holds no numbers",
}
"""What is changed in the data file -> what is said of it, before any session is read."""


@pytest.mark.parametrize("change", INSIDE, ids=lambda change: change.__name__)
def test_the_data_file_is_checked_before_it_is_read(change: Any, attack: Attack, program: Any) -> None:
    change(attack)
    for command in ("report", "export"):
        assert close(INSIDE[change]) in close(refused(program, *COMMANDS[command]))
    with pytest.raises(ValueError, match=INSIDE[change]):
        list(open_dataset(ID).iterate_episodes())
    with pytest.raises(ValueError, match=INSIDE[change]):
        compute_content_hash(ID)
    for part in ({"episodes": 10}, {"min_return": 0}, {"min_return": 0, "episodes": 10}):
        with pytest.raises(ValueError, match=INSIDE[change]):
            subset(ID, dataset_id="new/part-v0", progress=False, **part)


def test_what_is_said_of_sessions_is_checked_too(attack: Attack) -> None:
    with attack.file() as file:
        file["episode_2"].attrs["note"] = np.array(["a" * 10] * 20, dtype=h5py.string_dtype())
    with pytest.raises(ValueError, match="the attribute note of episode_2 is too large"):
        list(open_dataset(ID).storage.get_episode_metadata(range(10)))


# -- ids and other files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset_id", ["../elsewhere/latent-v0", "others/../others/latent-v0", "others/latent-v0/", "others//latent-v0",
                   "/others/latent-v0", "others/latent-v0\n", "others\\a/latent-v0", "others/.latent-v0",
                   "others/latent"],
)  # fmt: skip
def test_an_id_is_no_path(dataset_id: str, attack: Attack, program: Any) -> None:
    shutil.copytree(attack.data.parent, attack.elsewhere / "latent-v0")
    for opener in OPENERS:
        with pytest.raises(ValueError, match="is not of Minari's form"):
            opener(dataset_id)
    for arguments in (("info", dataset_id), ("dataset", "report", dataset_id)):
        assert "is not of Minari's form" in refused(program, *arguments)


def test_a_ranker_that_lies_elsewhere(attack: Attack) -> None:
    file = artifact_file(ID, "ranker")
    shutil.move(file, attack.elsewhere / "ranker.safetensors")
    file.symlink_to(attack.elsewhere / "ranker.safetensors")
    with pytest.raises(ValueError, match="out of its dataset"):
        dataset_ranker(ID)
    with pytest.raises(ValueError, match="out of its dataset"):
        load_ranker(f"dataset:{ID}/ranker")
    with pytest.raises(ValueError, match="is not of Minari's form"):
        load_ranker("dataset:../elsewhere/ranker")
    with pytest.raises(ValueError, match="is no name of a dataset's ranker or belief"):
        load_ranker(f"dataset:{ID}/metadata.json")


class Harmful:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_item_embeddings_are_numbers(attack: Attack, program: Any) -> None:
    objects = attack.elsewhere / "objects.npy"
    np.save(objects, np.array([Harmful(attack.marker)]), allow_pickle=True)
    attack.spec({"item_embeddings": str(objects)})
    assert close("it holds object; numbers or text were expected") in close(
        refused(program, *COMMANDS["report"])
    )
    attack.spec({"item_embeddings": {"file": str(objects)}})
    assert "item_embeddings must be the path of a file" in refused(program, *COMMANDS["report"])


def test_what_would_be_refused_is_not_recorded() -> None:
    for kwargs, message in (
        ({"num_items": 10**9}, "num_items must be at most 10,000,000"),
        ({"render_mode": "humans"}, "unknown render_mode 'humans'"),
    ):
        with pytest.raises(ValueError, match=message):
            collect(ENV_ID, "random", dataset_id="my/x-v0", episodes=1, seed=0, env_kwargs=kwargs)
    with pytest.raises(ValueError, match="environment 'CartPole-v1' is none of gems-gym's"):
        collect("CartPole-v1", "random", dataset_id="my/x-v0", episodes=1, seed=0)


# -- what stays open ---------------------------------------------------------------------------------------------------


def test_the_dataset_itself_opens(attack: Attack) -> None:
    dataset = open_dataset(ID)
    assert (dataset.id, dataset.total_episodes, dataset.total_steps) == (ID, 10, 10 * LENGTH)
    assert compute_content_hash(ID) == dataset.storage.metadata["content_hash"]
    assert open_dataset(dataset) is dataset
    part = minari.load_dataset(ID).filter_episodes(lambda episode: episode.id in (2, 5))
    assert open_dataset(part).episode_indices.tolist() == [2, 5]
    again = dataset.filter_episodes(lambda episode: episode.id == 7)
    assert again.env_spec == dataset.env_spec
    assert isinstance(dataset.recover_environment(), gymnasium.Env)


def test_a_file_chooses_no_wrappers_and_limits(attack: Attack) -> None:
    """What is not refused is not used either."""
    inside = {"name": "Inside", "entry_point": "gems_gym.wrappers:LatentAction", "kwargs": None}
    attack.spec(
        max_episode_steps=2, additional_wrappers=[inside], entry_point="gems_gym.commands.program:main"
    )
    spec = open_dataset(ID).env_spec
    assert (spec.max_episode_steps, spec.additional_wrappers) == (None, ())
    assert spec.entry_point == "gems_gym.envs.latent:LatentSlateEnv"


def test_without_an_environment_it_is_read_all_the_same(attack: Attack) -> None:
    attack.metadata(env_spec=None)
    dataset = open_dataset(ID)
    assert dataset.env_spec is None
    assert len(list(dataset.iterate_episodes())) == 10
    with pytest.raises(ValueError, match="names no environment"):
        report_dataset(ID)
    with pytest.raises(ValueError, match="names no environment"):
        recover_latent_environment(ID)
    with pytest.raises(TypeError, match="must be a MinariDataset or the id of a local one, got None"):
        open_dataset(None)


def test_worlds_of_ones_own(attack: Attack, tiny_env: str) -> None:
    options: dict[str, Any] = {"episodes": 2, "seed": 0, "reference_scores": (0.0, 1.0), "progress": False}
    collect(tiny_env, "random", dataset_id="my/tiny-v0", **options)
    assert open_dataset("my/tiny-v0").env_spec.id == tiny_env
    embeddings = attack.elsewhere / "items.npy"
    np.save(embeddings, np.random.default_rng(0).random((50, 20)))
    kwargs = {"item_embeddings": str(embeddings), **WORLD, "num_items": 50}
    collect(ENV_ID, "random", dataset_id="my/items-v0", env_kwargs=kwargs, **options)
    assert report_dataset("my/items-v0", progress=False).episodes == 2
    assert shipped.names("ranker")  # the shipped ones are found beside a dataset's copies
