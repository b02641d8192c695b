"""What comes with the package: whole, small, made for the six worlds; names and files by one loader."""

import configparser
import json
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact, shipped
from gems_gym.beliefs import load_belief
from gems_gym.embeddings.base import load_embeddings
from gems_gym.envs import SlateEnv
from gems_gym.rankers import load_ranker
from gems_gym.registration import LATENT_PRESETS
from gems_gym.trained_agents import check_acts_in, open_trained_agent
from tests.processes import in_another_process

ROOT = Path(__file__).resolve().parents[2]

LOADERS = {
    "ranker": load_ranker,
    "belief": load_belief,
    "embeddings": load_embeddings,
    "policy": lambda name: open_trained_agent(name).policy,
}


def family_of(name):
    return shipped.manifest()[name].kind.partition("/")[0]


def test_there_is_a_ranker_and_a_belief_for_each_of_the_six_worlds():
    assert {f"gems-{preset}" for preset in LATENT_PRESETS} <= set(shipped.names("ranker"))
    assert {f"gru-{preset}" for preset in LATENT_PRESETS} <= set(shipped.names("belief"))
    assert set(shipped.names()) == {name for family in LOADERS for name in shipped.names(family)}
    assert set(shipped.names("ranker/gems")) <= set(shipped.names("ranker"))


def test_all_together_are_below_ten_megabytes():
    files = list(shipped.DIRECTORY.iterdir())
    assert sum(file.stat().st_size for file in files) < 10_000_000
    listed = {entry.file for entry in shipped.manifest().values()}
    assert {file.name for file in files} == {*listed, shipped.MANIFEST}


@pytest.mark.parametrize("name", sorted(set(shipped.names()) - set(shipped.names("policy"))))
def test_each_is_what_its_manifest_says(name):
    entry = shipped.manifest()[name]
    artifact = load_artifact(shipped.path(name), entry.kind)
    assert artifact.sha256 == entry.sha256
    assert artifact.header["command"] == entry.command
    assert artifact.header["metrics"] == entry.metrics
    assert artifact.header["recipe"]["preset"] == entry.preset
    part = LOADERS[family_of(name)](name)
    assert part.sha256 == entry.sha256
    catalog = SlateEnv(entry.preset).catalog
    assert part.catalog_hash == catalog.hash
    if entry.kind.startswith("ranker/"):
        assert artifact.header["float16_same_slots"] >= 0.999
        assert set(artifact.header["float16"]) <= set(artifact.tensors)


@pytest.mark.parametrize(
    "preset", sorted({shipped.manifest()[name].preset for name in shipped.names("policy/actor")})
)
def test_policies_act_through_the_worlds_shipped_parts(preset):
    chosen = {level: open_trained_agent(f"{level}-{preset}") for level in ("medium", "expert")}
    for level, agent in chosen.items():
        entry = shipped.manifest()[f"{level}-{preset}"]
        assert (shipped.DIRECTORY / entry.file).stat().st_size < 60_000
        assert agent.policy.sha256 == entry.sha256
        assert (agent.record["level"], agent.record["preset"]) == (level, preset)
        assert (agent.record["metrics"], agent.record["command"]) == (entry.metrics, entry.command)
        check_acts_in(agent, f"GemsSlateLatent-{preset}-v0")
        # expert is the curve's best, medium its first past half of expert's score
        assert [entry.metrics["interactions"], entry.metrics["validation_return"]] in agent.record["curve"]
    returns = {level: agent.record["metrics"]["validation_return"] for level, agent in chosen.items()}
    random = chosen["expert"].record["references"]["random"]
    curve = [value for _, value in chosen["expert"].record["curve"]]
    assert returns["expert"] == max(curve)
    assert returns["medium"] == next(one for one in curve if one - random > (max(curve) - random) / 2)


@pytest.mark.parametrize("name", shipped.names("policy/planner"))
def test_planners_know_the_worlds_items(name):
    agent, entry = open_trained_agent(name), shipped.manifest()[name]
    assert (shipped.DIRECTORY / entry.file).stat().st_size < 75_000
    assert (agent.name, agent.policy.sha256) == ("planner", entry.sha256)
    assert f"planner-{agent.record['preset']}" == f"planner-{entry.preset}" == name
    assert (agent.record["metrics"], agent.record["command"]) == (entry.metrics, entry.command)
    check_acts_in(agent, f"GemsSlate-{entry.preset}-v0")
    assert entry.metrics["normalized_score"] > 100
    assert abs(entry.metrics["validation_return"] - entry.metrics["validation_return_before_rounding"]) < 6


@pytest.mark.parametrize("name", shipped.names())
def test_saving_one_gives_its_own_bytes(name, tmp_path):
    part = LOADERS[family_of(name)](name)
    assert part.save(tmp_path / "copy.safetensors") == shipped.manifest()[name].sha256


def test_a_shipped_beliefs_metrics_hold_on_new_users():
    """The header's log-loss, measured again on the sessions of users that nothing was trained on."""
    metrics = shipped.manifest()["gru-diffuse_topdown"].metrics
    assert metrics["all"]["log_loss_truth"] < metrics["all"]["log_loss"] < metrics["all"]["log_loss_base"]


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A folder with one shipped ranker, in the place of the package's."""
    entry = shipped.manifest()["gems-diffuse_mix"]
    file = tmp_path / entry.file
    file.write_bytes(shipped.path("gems-diffuse_mix").read_bytes())
    shipped.record(tmp_path, "gems-diffuse_mix", entry)
    monkeypatch.setattr(shipped, "DIRECTORY", tmp_path)
    return file


def test_a_whole_one_loads_from_another_folder(own_folder):
    assert load_ranker("gems-diffuse_mix").sha256 == shipped.manifest()["gems-diffuse_mix"].sha256
    assert shipped.names() == ["gems-diffuse_mix"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:5],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"",
    ],
)
def test_a_damaged_one_is_told(own_folder, damage):
    own_folder.write_bytes(damage(own_folder.read_bytes()))
    with pytest.raises(ArtifactError, match=r"'gems-diffuse_mix' was altered.*--reproduce gems-diffuse_mix"):
        load_ranker("gems-diffuse_mix")


def test_a_missing_one_is_told(own_folder):
    own_folder.unlink()
    with pytest.raises(FileNotFoundError, match="'gems-diffuse_mix' is missing.*install gems-gym again"):
        load_ranker("gems-diffuse_mix")


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"a": 1}', '{"a": {"file": "x"}}'])
def test_a_damaged_manifest_is_told(own_folder, text):
    own_folder.with_name(shipped.MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match="no manifest of gems-gym"):
        load_ranker("gems-diffuse_mix")


def test_names_and_files(own_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.path(own_folder) == own_folder
    assert shipped.path(own_folder.name) == Path(own_folder.name)
    assert shipped.path("gems-diffuse_mix") == own_folder
    Path("gems-diffuse_mix").write_text("a file with a shipped name does not take its place")
    assert shipped.path("gems-diffuse_mix") == own_folder
    Path("mine").write_bytes(own_folder.read_bytes())
    assert load_ranker("mine").sha256 == load_ranker("gems-diffuse_mix").sha256
    with pytest.raises(ValueError, match="did you mean 'gems-diffuse_mix'"):
        load_ranker("gems-diffuse-mix")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_ranker("gems-diffuse-mix.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_ranker(Path("gems-diffuse-mix"))
    with pytest.raises(ArtifactError, match="is a ranker/gems; a belief was expected"):
        load_belief("gems-diffuse_mix")


def test_half_precision_comes_back_as_float32(tmp_path):
    tensors = {"a": np.linspace(-1, 1, 7, dtype=np.float32), "b": np.float32([1 / 3])}
    file = tmp_path / "x.safetensors"
    sha256 = save_artifact(file, "ranker/x", tensors, {"float16": ["a"]})
    loaded = load_artifact(file, "ranker")
    assert {array.dtype for array in loaded.tensors.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(loaded.tensors["a"], tensors["a"].astype(np.float16))
    np.testing.assert_array_equal(loaded.tensors["b"], tensors["b"])
    assert save_artifact(tmp_path / "y", "ranker/x", loaded.tensors, loaded.header) == sha256


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (None, "names 'a', which must be a float32 tensor; there is none"),
        (np.zeros(2), "it is float64"),
        (np.float32([1e5]), "holds 100000, too large for float16"),
        (np.float32([np.nan]), "holds nan"),
    ],
)
def test_what_half_precision_cannot_hold_is_told(tmp_path, tensor, words):
    tensors = {"b": np.zeros(1, np.float32)} | ({} if tensor is None else {"a": tensor})
    with pytest.raises(ValueError, match=words):
        save_artifact(tmp_path / "x.safetensors", "ranker/x", tensors, {"float16": ["a"]})
    assert list(tmp_path.iterdir()) == []


def test_the_packages_data_are_declared():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    declared = settings["options.package_data"]
    patterns = [one.strip() for one in declared["gems_gym.artifacts"].split(",")]
    folder = ROOT / "gems_gym/artifacts"
    found = {file for pattern in patterns for file in folder.glob(pattern)}
    assert found == {*shipped.DIRECTORY.iterdir()} and shipped.DIRECTORY.parent == folder
    assert declared["gems_gym"] == declared["gems_gym_agents"] == "py.typed"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("build") is None, reason="needs the module build")
def test_a_wheel_holds_them_and_loads_them(tmp_path):
    """Built as a release is, unpacked somewhere else, and asked from there."""
    for name in ("gems_gym", "gems_gym_agents"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*build, tmp_path / "source"], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import gymnasium, gems_gym, json\n"
        "from gems_gym.artifacts import shipped\n"
        "env = gymnasium.make('GemsSlateLatent-focused_mix-v0')\n"
        "env.reset(seed=0)\n"
        "print(json.dumps([gems_gym.__file__, env.unwrapped.ranker.sha256, len(shipped.names())]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "site",
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    file, sha256, count = json.loads(done.stdout)
    assert Path(file).is_relative_to(tmp_path / "site")
    assert sha256 == shipped.manifest()["gems-focused_mix"].sha256
    assert count == len(shipped.names())


def _record(directory: Path, writer: int) -> None:
    for number in range(30):
        name = f"{writer}-{number}"
        entry = shipped.Entry(file=name, sha256="", kind="ranker/gems", preset="", command="", metrics={})
        shipped.record(directory, name, entry)


def test_writers_of_one_manifest_lose_no_entry(tmp_path):
    processes = [in_another_process(_record, tmp_path, writer) for writer in range(4)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(shipped.manifest(tmp_path)) == 120
    assert [file.name for file in tmp_path.iterdir()] == [shipped.MANIFEST]
