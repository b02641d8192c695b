"""Anything may be given to any public function: it works, or one error names the argument that is wrong."""

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

pytest.importorskip("torch")
import gems_gym
from gems_gym import embeddings, policies, rankers, simulator, wrappers
from gems_gym.artifacts import load_artifact, save_artifact, shipped
from gems_gym.beliefs import GruBelief, LastObservation, LstmBelief, NoBelief, TransformerBelief, load_belief
from gems_gym.config import SlateConfig, resolve_config
from gems_gym.embeddings import EmbeddingTable, Sources
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.policies.actor import NoisyActor
from gems_gym.policies.constant_slate import find_constant_slate
from gems_gym.policies.random_latents import RandomLatents
from gems_gym.pretraining.belief import BeliefSettings
from gems_gym.pretraining.gems import GemsSettings
from gems_gym.pretraining.session_log import SessionLog, collect_session_log
from gems_gym.pretraining.transformer import TransformerSettings
from gems_gym.registration import environment_id, is_latent, latent_environment_id, slate_spec
from gems_gym.serving import open_policy
from gems_gym.trained_agents import open_trained_agent
from gems_gym.user_splits import user_seeds

WORLD: dict[str, Any] = {"num_items": 30, "slate_size": 4, "num_topics": 3, "episode_length": 3}
CONFIG = SlateConfig(**WORLD)
CATALOG = SlateEnv(**WORLD).catalog

WRONG: dict[str, Any] = {
    "none": None, "true": True, "minus one": -1, "zero": 0, "half": 0.5, "nan": float("nan"), "inf": float("inf"),
    "huge": 10**30, "text": "nope", "é": "é", "empty": "", "bytes": b"x", "list": [], "numbers": [1.5, "a"],
    "dict": {}, "keys": {"a": 1}, "object": object(), "matrix": np.ones((2, 3)), "objects": np.array([{}, {}]),
    "complex": 1j, "ragged": [[1], [1, 2]], "function": len, "class": int, "path": Path("nope.npy"), "set": {1},
}  # fmt: skip

ERRORS = (ValueError, TypeError, OSError, ImportError, gymnasium.error.Error)
"""What the program prints as one line."""

UNCHECKED = {"check_slates": {"shape", "num_items"}, "check_users": {"shape", "topic_size", "name"}}
"""What only code hands in, at every step of every environment."""

NAMED_BY: dict[str, tuple[str, ...]] = {
    "num_items": ("slate_size", "size"), "item_embeddings": ("slate_size", "num_items", "no file"),
    "path": ("is no file", "no such file", "is a folder", "is a a/b", "there is no file"), "kind": ("artefact",),
    "directory": ("path=",), "name_or_file": ("unknown shipped",), "name_or_path": ("no trained agent", "is a a/b"),
    "dataset": ("unknown local dataset",), "datasets": ("unknown local dataset",), "source": ("dataset",),
    "dataset_id": ("dataset id", "unknown local dataset"),
    "config": ("unknown preset", "unknown SlateConfig", "preset .*must"), "preset": ("unknown SlateConfig",),
    "overrides": ("unknown SlateConfig",), "world": ("unknown preset", "preset must"), "shares": ("unknown policy",),
    "env_kwargs": ("unknown keyword of",),
    "env_id": ("[Ee]nvironment", "Malformed"), "env": ("[Ee]nvironment", "Malformed"),
    "encoder": ("unknown shipped belief", "a belief was expected"), "family": ("unknown shipped",),
    "name": ("unknown policy", "unknown ranker", "unknown embeddings", "no trained agent"),
    "ranker": ("unknown shipped",),
    "tensors": ("tensor",), "slates": ("action",), "actions": ("action",), "users": ("user",), "user_seeds": ("seed",),
    "options": ("reset option", "option"), "table": ("embeddings", "artefact"),
    "which": ("rngs", "preferences", "slates"),
}  # fmt: skip
"""Argument -> what else it is called in errors."""

Case = tuple[Callable[..., Any], dict[str, Any]]


def _log() -> SessionLog:
    return collect_session_log(CONFIG, {"random": 1.0}, 20, 0, progress=False)


def _table() -> EmbeddingTable:
    vectors = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
    return EmbeddingTable(vectors, "embeddings/test", CATALOG.hash)


def _opened() -> simulator.SlateSimulator:
    made = simulator.SlateSimulator(CONFIG, CATALOG, 2)
    made.open_sessions([np.random.default_rng(0), np.random.default_rng(1)])
    return made


def _env(vector: bool = False, **kwargs: Any) -> Any:
    env = SlateVectorEnv(2, **WORLD, **kwargs) if vector else SlateEnv(**WORLD)
    env.reset(seed=0)
    return env


def _batch() -> Any:
    datasets = importlib.import_module("gems_gym.datasets")
    numbers = np.zeros((2, 4, 3), np.float32)
    sessions = datasets.Sessions([0, 1], numbers, numbers[:, 1:], numbers[:, 1:, 0], {})
    return datasets.EpisodeBatch.of_sessions(sessions, CONFIG)


def _ranker() -> rankers.GemsRanker:
    return rankers.GemsRanker.random(
        num_items=30, slate_size=4, catalog_hash=CATALOG.hash, seed=0, latent_size=5
    )


def _belief() -> GruBelief:
    return GruBelief.random(num_items=30, slate_size=4, catalog_hash=CATALOG.hash, seed=0)


@functools.cache
def cases() -> dict[str, Case]:
    """Name -> a public function and arguments that are right."""
    log, table, vectors = _log(), _table(), np.ones((30, 6), np.float32)
    slates, clicks = np.arange(8).reshape(2, 4), np.zeros((2, 4), np.int64)
    sized = {"num_items": 30, "slate_size": 4, "catalog_hash": CATALOG.hash, "seed": 0}
    item_ranker = {"item_embeddings": table.vectors, "slate_size": 4, "catalog_hash": CATALOG.hash}
    belief, ranker = _belief(), _ranker()
    transformer = TransformerBelief.random(**sized, width=8, heads=2, context=3)
    lstm = LstmBelief.random(**sized)
    agents = importlib.import_module("gems_gym_agents.offline")
    online = importlib.import_module("gems_gym_agents.online")
    evaluation = importlib.import_module("gems_gym_agents.evaluation")
    datasets = importlib.import_module("gems_gym.datasets")
    made: dict[str, Case] = {
        "SlateConfig": (SlateConfig, WORLD | {"omega": 0.9, "propensities": None, "catalog": "diffuse"}),
        "SlateConfig.replace": (CONFIG.replace, {"omega": 0.5}),
        "resolve_config": (resolve_config, {"config": "diffuse_mix", "overrides": {}}),
        "register_preset": (gems_gym.register_preset, {"name": "diffuse_mix", "config": CONFIG}),
        "load_artifact": (load_artifact, {"path": "nope.safetensors", "kind": "ranker"}),
        "save_artifact": (
            save_artifact,
            {"path": "out.safetensors", "kind": "a/b", "tensors": {"x": vectors}, "header": {}},
        ),
        "shipped.path": (shipped.path, {"name_or_file": "gems-diffuse_mix", "family": "ranker"}),
        "shipped.names": (shipped.names, {"family": "ranker", "preset": "diffuse_mix"}),
        "load_belief": (load_belief, {"path": "nope.safetensors"}),
        "load_ranker": (rankers.load_ranker, {"path": "nope.safetensors"}),
        "load_embeddings": (embeddings.load_embeddings, {"path": "nope.safetensors", "catalog_hash": "x"}),
        "make_ranker": (rankers.make_ranker, {"name": "topk", "table": table, "slate_size": 4}),
        "GruBelief": (GruBelief, {"tensors": belief.tensors, "catalog_hash": "x", "header": {}}),
        "GruBelief.random": (GruBelief.random, sized | {"size": 20, "embedding_size": 20}),
        "GruBelief.initial": (belief.initial, {"num_users": 2}),
        "NoBelief": (NoBelief, {name: sized[name] for name in ("num_items", "slate_size", "catalog_hash")}),
        "LastObservation": (
            LastObservation,
            {name: sized[name] for name in ("num_items", "slate_size", "catalog_hash")},
        ),
        "LastObservation.update": (
            LastObservation(num_items=30, slate_size=4, catalog_hash="x").update,
            {"state": np.zeros((2, 8), np.float32), "slates": slates, "clicks": clicks},
        ),
        "TransformerBelief": (
            TransformerBelief,
            {"tensors": transformer.tensors, "catalog_hash": "x", "header": {}},
        ),
        "TransformerBelief.random": (
            TransformerBelief.random,
            sized | {"size": 5, "embedding_size": 20, "width": 8, "layers": 1, "heads": 2, "context": 3},
        ),
        "LstmBelief": (LstmBelief, {"tensors": lstm.tensors, "catalog_hash": "x", "header": {}}),
        "LstmBelief.random": (LstmBelief.random, sized | {"size": 5, "embedding_size": 20}),
        "LstmBelief.initial": (lstm.initial, {"num_users": 2}),
        "LstmBelief.update": (lstm.update, {"state": lstm.initial(2), "slates": slates, "clicks": clicks}),
        "TransformerBelief.initial": (transformer.initial, {"num_users": 2}),
        "TransformerBelief.update": (
            transformer.update,
            {"state": transformer.initial(2), "slates": slates, "clicks": clicks},
        ),
        "GruBelief.update": (
            belief.update,
            {"state": belief.initial(2), "slates": slates, "clicks": clicks},
        ),
        "GemsRanker": (rankers.GemsRanker, {"tensors": ranker.tensors, "catalog_hash": "x"}),
        "GemsRanker.random": (
            rankers.GemsRanker.random,
            sized | {"latent_size": 5, "embedding_size": 20, "deduplicate": True},
        ),
        "GemsRanker.rank": (ranker.rank, {"latents": np.zeros((2, 5), np.float32)}),
        "GemsRanker.encode": (ranker.encode, {"slates": slates, "clicks": clicks}),
        "TopKRanker": (rankers.TopKRanker, item_ranker | {"cosine": False}),
        "WknnRanker": (rankers.WknnRanker, item_ranker | {"k": 2, "deduplicate": True}),
        "SoftmaxRanker": (
            rankers.SoftmaxRanker,
            item_ranker | {"sample": False, "temperature": 1.0, "replace": False},
        ),
        "KHeadArgmaxRanker": (rankers.KHeadArgmaxRanker, item_ranker | {"deduplicate": True}),
        "co_click_embeddings": (
            embeddings.co_click_embeddings,
            {"log": log, "num_items": 30, "size": 5},
        ),
        "session_co_click_embeddings": (
            embeddings.session_co_click_embeddings,
            {"log": log, "num_items": 30, "size": 5},
        ),
        "scratch_embeddings": (embeddings.scratch_embeddings, {"num_items": 30, "size": 5, "seed": 0}),
        "matrix_factorization_embeddings": (
            embeddings.matrix_factorization_embeddings,
            {"log": log, "num_items": 30, "settings": embeddings.BprSettings(max_passes=1), "seed": 0},
        ),
        "make_embeddings": (
            embeddings.make_embeddings,
            {"name": "scratch", "sources": Sources(30, CATALOG.hash), "size": 5, "seed": 0},
        ),
        "BprSettings": (
            embeddings.BprSettings,
            {"size": 5, "learning_rate": 0.1, "regularization": 0.0, "held_out": 0.1, "patience": 1},
        ),
        "LogRecipe": (
            embeddings.LogRecipe,
            {"policy": "random", "sessions": 5, "session_length": 5},
        ),
        "EmbeddingTable": (EmbeddingTable, {"vectors": vectors, "kind": "a/b", "catalog_hash": "x"}),
        "SlateEnv": (
            SlateEnv,
            WORLD | {"preset": "diffuse_mix", "item_embeddings": None, "render_mode": None},
        ),
        "SlateEnv.reset": (_env().reset, {"seed": 0, "options": {}}),
        "SlateEnv.step": (lambda action: _env().step(action), {"action": np.arange(4)}),
        "SlateVectorEnv": (
            SlateVectorEnv,
            WORLD
            | {"num_envs": 2, "autoreset_mode": "disabled", "max_episode_steps": None, "num_threads": 1},
        ),
        "SlateVectorEnv.reset": (_env(vector=True).reset, {"seed": 0, "options": {}}),
        "SlateVectorEnv.step": (lambda actions: _env(vector=True).step(actions), {"actions": slates}),
        "check_policy_options": (policies.check_policy_options, {"name": "random", "options": []}),
        "make_policy": (make_policy, {"name": "random", "env": _env()}),
        "make_policy.open": (make_policy("random", _env(vector=True)).open, {"seeds": [0, 1]}),
        "find_constant_slate": (
            find_constant_slate,
            {"config": CONFIG, "catalog": CATALOG, "sessions": 1000, "seed": 0, "progress": False},
        ),
        "EpsGreedyOracle": (
            functools.partial(make_policy, "eps_greedy_oracle"),
            {"env": _env(), "epsilon": 0.5},
        ),
        "NoisyActor": (NoisyActor, {"policy": RandomLatents(5), "standard_deviation": 0.1}),
        "RandomLatents": (RandomLatents, {"action_size": 5}),
        "Catalog": (simulator.Catalog, {"item_embeddings": CATALOG.item_embeddings, "topic_size": 2}),
        "SlateSimulator": (
            simulator.SlateSimulator,
            {"config": CONFIG, "catalog": CATALOG, "num_users": 2, "num_threads": 1},
        ),
        "make_simulator": (
            simulator.make_simulator,
            {"config": CONFIG, "catalog": CATALOG, "num_users": 2, "num_threads": 1},
        ),
        "SlateSimulator.open_sessions": (
            _opened().open_sessions,
            {
                "rngs": [np.random.default_rng(0), np.random.default_rng(1)],
                "which": np.arange(2),
                "preferences": None,
                "first_slates": slates,
            },
        ),
        "SlateSimulator.open_given_sessions": (
            _opened().open_given_sessions,
            {
                "preferences": np.full((2, 6), 1 / 6),
                "uniforms": np.zeros((2, 1, 4), np.float32),
                "short_term_topics": np.zeros(2, np.int64),
                "which": np.arange(2),
                "first_slates": slates,
            },
        ),
        "SlateSimulator.step": (
            _opened().step,
            {"slates": slates, "uniforms": np.zeros((2, 1, 4), np.float32), "which": np.arange(2)},
        ),
        "check_slates": (
            simulator.check_slates,
            {"slates": slates, "shape": (2, 4), "num_items": 30},
        ),
        "check_users": (
            simulator.check_users,
            {"users": np.ones((2, 6)), "shape": (2, 6), "topic_size": 2, "name": "user"},
        ),
        "resolve_world": (
            simulator.resolve_world,
            {"config": CONFIG, "item_embeddings": None, "overrides": {}},
        ),
        "BeliefObservation": (wrappers.BeliefObservation, {"env": _env(), "encoder": belief}),
        "LatentAction": (wrappers.LatentAction, {"env": _env(), "ranker": ranker}),
        "VectorBeliefObservation": (
            wrappers.VectorBeliefObservation,
            {"env": _env(vector=True), "encoder": belief},
        ),
        "VectorLatentAction": (wrappers.VectorLatentAction, {"env": _env(vector=True), "ranker": ranker}),
        "user_seeds": (user_seeds, {"split": "test", "seed": 0, "count": 2, "start": 0}),
        "environment_id": (environment_id, {"preset": "diffuse_mix", "version": 0}),
        "latent_environment_id": (latent_environment_id, {"preset": "diffuse_mix"}),
        "is_latent": (is_latent, {"env": "GemsSlate-diffuse_mix-v0"}),
        "slate_spec": (slate_spec, {"env": "GemsSlate-diffuse_mix-v0"}),
        "open_trained_agent": (open_trained_agent, {"name_or_path": "nope"}),
        "open_policy": (
            open_policy,
            {
                "name": "random",
                "env": gymnasium.spec("GemsSlate-diffuse_mix-v0"),
                "checkpoint": None,
                "items": None,
            },
        ),
        "ServedPolicy.recommend": (
            open_policy("random", env=gymnasium.spec("GemsSlate-diffuse_mix-v0")).recommend,
            {"history": [{"slate": list(range(10)), "clicks": [0, 1] * 5}], "seed": 0},
        ),
        "GemsSettings": (GemsSettings, vars(GemsSettings())),
        "BeliefSettings": (BeliefSettings, vars(BeliefSettings())),
        "TransformerSettings": (TransformerSettings, vars(TransformerSettings())),
        "collect_session_log": (
            collect_session_log,
            {
                "world": CONFIG,
                "shares": {"random": 1.0},
                "num_sessions": 2,
                "seed": 0,
                "search_sessions": 1024,
                "session_length": 2,
                "item_embeddings": None,
                "num_envs": 2,
                "progress": False,
            },
        ),
        "collect": (
            datasets.collect,
            {
                "env_id": "GemsSlate-nope-v0",
                "policy": "random",
                "dataset_id": "a/bb-v0",
                "episodes": 2,
                "seed": 0,
                "ranker": None,
                "belief": None,
                "num_envs": 2,
                "workers": 1,
                "split": "logging",
                "policy_name": None,
                "env_kwargs": {},
                "reference_scores": None,
                "metadata": {},
                "overwrite": False,
                "progress": False,
            },
        ),
        "collect_level": (
            datasets.collect_level,
            {
                "env_id": "GemsSlate-nope-v0",
                "level": "mixed",
                "episodes": 2,
                "seed": 0,
                "dataset_id": "a/bb-v0",
                "noise": 0.1,
                "weights": (1, 1, 1),
                "env_kwargs": {},
            },
        ),
        "merge": (datasets.merge, {"datasets": ["a/aa-v0", "a/ab-v0"], "dataset_id": "a/bb-v0"}),
        "subset": (
            datasets.subset,
            {"dataset": "a/aa-v0", "dataset_id": "a/bb-v0", "episodes": 2, "min_return": 1.0, "seed": 0},
        ),
        "relabel": (
            datasets.relabel,
            {"dataset": "a/aa-v0", "ranker": "nope", "dataset_id": "a/bb-v0", "belief": None},
        ),
        "import_d4rl": (
            datasets.import_d4rl,
            {
                "path": Path("nope.npz"),
                "dataset_id": "a/bb-v0",
                "env_id": None,
                "ranker": None,
                "belief": None,
            },
        ),
        "export_d4rl": (datasets.export_d4rl, {"dataset": "a/aa-v0", "path": Path("out.npz")}),
        "report_dataset": (datasets.report_dataset, {"dataset": "a/aa-v0"}),
        "check_new_dataset_id": (
            datasets.check_new_dataset_id,
            {"dataset_id": "a/bb-v0", "overwrite": False},
        ),
        "artifact_file": (datasets.artifact_file, {"dataset": "a/aa-v0", "name": "ranker.safetensors"}),
        "open_dataset": (datasets.open_dataset, {"dataset": "a/aa-v0"}),
        "verify_dataset": (datasets.verify_dataset, {"dataset": "a/aa-v0"}),
        "push_dataset": (
            datasets.push_dataset,
            {"dataset_id": "a/aa-v0", "remote": "there", "progress": False},
        ),
        "pull_dataset": (
            datasets.pull_dataset,
            {"dataset_id": "a/aa-v0", "remote": "there", "progress": False},
        ),
        "dataset_ranker": (datasets.dataset_ranker, {"dataset": "a/aa-v0"}),
        "dataset_belief": (datasets.dataset_belief, {"dataset": "a/aa-v0"}),
        "compute_content_hash": (datasets.compute_content_hash, {"dataset": "a/aa-v0"}),
        "recover_latent_environment": (datasets.recover_latent_environment, {"dataset": "a/aa-v0"}),
        "measure_reference_scores": (
            datasets.measure_reference_scores,
            {"spec": gymnasium.spec("GemsSlate-diffuse_mix-v0"), "progress": "nope"},
        ),
        "EpisodeBatch.from_minari": (
            datasets.EpisodeBatch.from_minari,
            {"dataset": "a/aa-v0", "infos": ["clicks"], "progress": False},
        ),
        "EpisodeBatch.can_sample": (_batch().can_sample, {"batch_size": 1}),
        "EpisodeBatch.sample": (_batch().sample, {"batch_size": 1, "rng": np.random.default_rng(0)}),
        "draw_report": (datasets.draw_report, {"report": None, "path": Path("out.png")}),
        "load_replay_buffer": (agents.load_replay_buffer, {"source": "a/aa-v0", "seed": 0}),
        "evaluate": (
            evaluation.evaluate,
            {
                "policy": make_policy("random", _env(vector=True, autoreset_mode="disabled")),
                "env": _env(vector=True, autoreset_mode="disabled"),
                "user_seeds": [0, 1],
                "name": "x",
                "progress": False,
            },
        ),
        "measure_references": (
            evaluation.measure_references,
            {"env": _env(vector=True, autoreset_mode="disabled"), "user_seeds": [0, 1]},
        ),
    }
    with_defaults = set(agents.__all__) - {"D3rlpyAgent"}  # which has the options of what it is told to be
    for name in sorted(name for name in with_defaults if name.endswith("Agent")):
        kind = getattr(agents, name)
        made[name] = (kind, vars(kind().options))
        made[f"{name}.fit"] = (
            kind().fit,
            {"source": "a/aa-v0", "steps": 9_000, "seed": 0, "directory": None, "device": "cpu", "evaluate": None,
             "progress": False},
        )  # fmt: skip
        made[f"{name}.save"] = (kind().save, {"directory": Path("out")})
        made[f"{name}.load"] = (kind.load, {"directory": Path("out")})
    for name in [name for name in online.__all__ if name.endswith("Agent")]:
        kind = getattr(online, name)
        made[name] = (kind, vars(kind().options))
        made[f"{name}.fit"] = (
            kind().fit,
            {"source": None, "steps": 10_001, "seed": 0, "directory": None, "device": "cpu", "evaluate": None,
             "progress": False, "keep_growth": None},
        )  # fmt: skip
        made[f"{name}.load"] = (kind.load, {"directory": Path("out")})
    return made


def raw_errors(name: str) -> Iterator[str]:
    """What comes out of a function with one wrong argument, where that is no clear answer."""
    function, right = cases()[name]
    usual = outcome(function, right)
    for argument in right.keys() - UNCHECKED.get(name, set()):
        for kind, value in WRONG.items():
            error = outcome(function, {**right, argument: value})
            if error is None or (usual is not None and repr(error) == repr(usual)):
                continue
            words = "|".join((argument, *NAMED_BY.get(argument, ())))
            if not isinstance(error, ERRORS) or not re.search(rf"(?<![A-Za-z_])({words})", str(error)):
                yield f"{argument}={kind}: {type(error).__name__}: {str(error)[:150]}"


def outcome(function: Callable[..., Any], arguments: dict[str, Any]) -> BaseException | None:
    """The error that a call ends in."""
    try:
        function(**arguments)
    except Exception as error:
        return error
    return None


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder and no datasets; presets that are registered by the way are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    kept = [(names, dict(names)) for names in (gems_gym.PRESETS, gymnasium.registry)]
    yield
    for names, before in kept:
        names.clear()
        names.update(before)  # type: ignore[arg-type]


@pytest.mark.slow
def test_every_wrong_argument_is_named() -> None:
    found = {name: [*raw_errors(name)] for name in cases()}
    assert not {name: errors for name, errors in found.items() if errors}


def test_no_public_function_is_left_out() -> None:
    covered = {name.partition(".")[0] for name in cases()}
    for module in (
        "beliefs",
        "datasets",
        "embeddings",
        "envs",
        "policies",
        "rankers",
        "simulator",
        "wrappers",
    ):
        public = importlib.import_module(f"gems_gym.{module}")
        for name in public.__all__:
            one = getattr(public, name)
            if inspect.isfunction(one):
                assert name in covered, f"gems_gym.{module}.{name} is tried with nothing wrong"
