"""Shipping and reproducing: a recipe says all that a training depends on."""

import functools
import json
import shutil

import pytest

from gems_gym.artifacts import load_artifact, save_artifact, shipped
from gems_gym.beliefs import GruBelief, load_belief
from gems_gym.embeddings import EmbeddingTable, load_embeddings
from gems_gym.rankers import GemsDecoder, GemsRanker, TopKRanker, load_ranker
from gems_gym.registration import LATENT_PRESETS
from gems_gym.simulator import resolve_world

pytest.importorskip("torch")
from gems_gym.pretraining import shipping
from gems_gym.pretraining.recipes import shipped_recipes
from tests.pretraining.small_recipes import small


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipping, "_COMPARED_LATENTS", 50)
        patch.setattr(shipped, "DIRECTORY", folder)
        for name, recipe in shipped_recipes(["diffuse_mix"]).items():
            shipping.ship(name, small(recipe), folder, progress=False)
    return folder


@pytest.fixture
def folder(made_once, tmp_path, monkeypatch):
    """Small artefacts in the place of the shipped ones."""
    monkeypatch.setattr(shipping, "_COMPARED_LATENTS", 50)
    monkeypatch.setattr(shipped, "DIRECTORY", tmp_path / "shipped")
    return shutil.copytree(made_once, tmp_path / "shipped")


@pytest.fixture
def run(program):
    return functools.partial(program, "pretrain")


def test_what_is_shipped_are_five_for_each_world():
    recipes = shipped_recipes(LATENT_PRESETS)
    assert len(recipes) == 30
    assert recipes["gems-focused_mix"].preset == "focused_mix"
    assert recipes["gems_published-focused_mix"].kind == "ranker/gems_decoder"
    assert recipes["topk-focused_mix"].kind == "ranker/topk"
    assert recipes["gru-focused_mix"].kind == "belief/gru"
    assert recipes["mf-focused_mix"].kind == "embeddings/matrix_factorization"
    for name, recipe in recipes.items():
        assert shipped.manifest()[name].kind == recipe.kind


@pytest.mark.parametrize(("family", "name"), [("ranker", "gems_published"), ("belief", "gru")])
def test_made_again_it_is_the_same_file(folder, tmp_path, family, name):
    """The others are made again by command, below."""
    name = f"{name}-diffuse_mix"
    result = shipping.reproduce(name, family, tmp_path / "again", progress=False)
    assert result["same_file"]
    assert result["same_weights"]
    assert result["same_metrics"]
    assert result["sha256"] == result["recorded_sha256"] == shipped.manifest()[name].sha256
    assert all(before == after for before, after in result["metrics"].values())
    assert (tmp_path / "again" / f"{name}.safetensors").is_file()


def test_the_command_compares(folder, run, tmp_path):
    code, out, err = run("ranker", "--reproduce", "gems-diffuse_mix", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["same_file"] and result["same_weights"] and result["same_metrics"]
    assert "file" not in result
    assert {path.name for path in tmp_path.iterdir()} == {"shipped"}
    # a file whose recorded numbers the recipe does not give
    name = "gru-diffuse_mix"
    artifact = load_artifact(folder / f"{name}.safetensors", "belief")
    metrics = json.loads(json.dumps(artifact.header["metrics"]))
    metrics["all"]["log_loss"] *= 2
    header = artifact.header | {"metrics": metrics}
    artifact.tensors["bias_hh"] += 1
    entry = shipped.manifest()[name]
    sha256 = save_artifact(folder / entry.file, artifact.kind, artifact.tensors, header)
    shipped.record(folder, name, shipped.Entry(**{**vars(entry), "sha256": sha256, "metrics": metrics}))
    code, out, err = run("belief", "--reproduce", name, "--out", "kept", "--json")
    result = json.loads(out)
    assert code == 1, err
    assert not result["same_file"]
    assert not result["same_weights"]
    assert not result["same_metrics"]
    assert load_artifact(result["file"], "belief").sha256 == result["sha256"]


def test_every_family_is_made_again_by_command(folder, run, tmp_path):
    for family, name in (("embeddings", "mf-diffuse_mix"), ("ranker", "topk-diffuse_mix")):
        code, out, err = run(family, "--reproduce", name, "--out", "again", "--json")
        assert code == 0, err
        result = json.loads(out)
        assert result["name"] == name
        assert result["same_file"] and result["same_weights"] and result["same_metrics"]
        assert result["metrics"]
        assert (tmp_path / result["file"]).read_bytes() == (folder / f"{name}.safetensors").read_bytes()
        assert shipped.manifest()[name].command == f"gems-gym pretrain {family} --reproduce {name}"
    code, out, err = run("embeddings", "--reproduce", "mf-diffuse_mix")  # for people, and nothing is kept
    assert code == 0, err
    assert "cosine_correlation" in out
    assert {path.name for path in tmp_path.iterdir()} == {"shipped", "again"}


def test_what_is_shipped_loads_by_its_name_and_is_saved_as_the_same_bytes(folder, tmp_path):
    loaders = {"ranker": load_ranker, "belief": load_belief, "embeddings": load_embeddings}
    classes = {
        "gems": GemsRanker, "gems_published": GemsDecoder, "topk": TopKRanker, "gru": GruBelief, "mf": EmbeddingTable,
    }  # fmt: skip
    catalog = resolve_world("diffuse_mix", None)[1]
    recipes = shipped_recipes(["diffuse_mix"])
    assert shipped.manifest().keys() == recipes.keys()
    for name, entry in shipped.manifest().items():
        part = loaders[entry.kind.partition("/")[0]](name)
        assert type(part) is classes[name.partition("-")[0]]
        assert part.kind == entry.kind == recipes[name].kind
        assert part.catalog_hash == catalog.hash
        assert part.header["metrics"]
        assert part.header["log"]["sessions"] == small(recipes[name]).sessions
        assert part.header["log"]["policies"] == [policy for policy, _ in recipes[name].shares]
        assert part.save(tmp_path / "copy.safetensors") == entry.sha256


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ranker", "--reproduce", "gems-difuse_mix"), "did you mean 'gems-diffuse_mix'"),
        (("ranker", "--reproduce", "gru-diffuse_mix"), "unknown shipped ranker 'gru-diffuse_mix'"),
        (("embeddings", "--reproduce", "mf-difuse_mix"), "unknown shipped embeddings 'mf-difuse_mix'"),
        (("embeddings", "--reproduce", "gems-diffuse_mix"), "unknown shipped embeddings 'gems-diffuse_mix'"),
        (("embeddings", "--reproduce", "mf-diffuse_mix", "--env", "GemsSlate-diffuse_mix-v0"), "--env"),
        (("belief", "--reproduce", "gru-diffuse_mix", "--env", "GemsSlate-diffuse_mix-v0"), "--env"),
        (("ranker", "--out", "x.safetensors"), "give --env, or --reproduce"),
        (("belief", "--env", "GemsSlate-diffuse_mix-v0"), "give --out, or --reproduce"),
        (("ship", "--out", "x", "--only", "gems-mine"), "unknown artefact to ship 'gems-mine'"),
    ],
)
def test_mistakes_get_one_clear_line(run, tmp_path, arguments, words):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split("error:")[-1].split())
    assert list(tmp_path.iterdir()) == []


def test_metrics_agree_within_the_tolerance():
    assert shipping.is_reproduced(50.0, 54.9)
    assert not shipping.is_reproduced(50.0, 55.1)
    assert shipping.is_reproduced(0.05, 0.069)
    assert not shipping.is_reproduced(0.05, 0.071)
    assert shipping.is_reproduced(None, None)
    assert not shipping.is_reproduced(None, 0.0)


def test_a_file_without_a_recipe_is_told(folder):
    name = "gems-diffuse_mix"
    artifact = load_artifact(folder / f"{name}.safetensors", "ranker")
    header = {key: value for key, value in artifact.header.items() if key != "recipe"}
    entry = shipped.manifest()[name]
    sha256 = save_artifact(folder / entry.file, artifact.kind, artifact.tensors, header)
    shipped.record(folder, name, shipped.Entry(**{**vars(entry), "sha256": sha256}))
    with pytest.raises(ValueError, match="'gems-diffuse_mix' records no recipe"):
        shipping.reproduce(name, "ranker", folder)
    recipe = shipped_recipes(["diffuse_mix"])[name]
    unknown = small(recipe, kind="ranker/x")
    with pytest.raises(ValueError, match="unknown kind of a recipe 'ranker/x'"):
        shipping.ship("x", unknown, folder, progress=False)
