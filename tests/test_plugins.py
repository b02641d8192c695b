"""Plugins by entry points: a third-party package used by name, and what unknown and broken ones get."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from gems_gym import SlateConfig, plugins
from gems_gym.errors import require, unknown_name
from tests.plugins.installing import environment_with


@pytest.fixture
def site(plugin_site: Path) -> Path:
    return plugin_site


def run_with(site: Path, code: str, *arguments: str) -> Any:
    """Runs code in a new process that sees the plugin; the last line that it prints is its JSON answer."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment_with(site),
        cwd=site,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def register(site: Path, distribution: str, entry_points: str, **modules: str) -> None:
    """Writes what an installed distribution consists of: its metadata, and its modules."""
    metadata = site / f"{distribution.replace('-', '_')}-0.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.3\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)


@pytest.fixture
def empty_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_own_parts_are_registered() -> None:
    assert "gems" in plugins.names(plugins.RANKERS)
    assert "gru" in plugins.names(plugins.BELIEFS)
    assert {"random", "short_term_oracle", "boredom_aware_oracle"} <= set(plugins.names(plugins.POLICIES))
    assert {"sac", "td3_plus_bc", "bc", "iql", "cql", "awac"} <= set(plugins.names(plugins.AGENTS))
    assert {"train", "evaluate", "quickstart"} <= set(plugins.names(plugins.COMMANDS))


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_own_parts_load(group: str) -> None:
    for found in plugins.describe(group):
        if found.distribution == "gems-gym":
            assert group != plugins.PRESETS, "ours are data: gems_gym.PRESETS"
            loaded = plugins.load(group, found.name)
            assert callable(loaded.train if group == plugins.TRAINERS else loaded)
            assert found.version == version("gems-gym")


def test_third_party_is_listed_with_its_distribution(site: Path) -> None:
    code = """if True:
        import dataclasses, json, sys
        from gems_gym import plugins
        found = [dataclasses.asdict(one) for group in plugins.GROUPS for one in plugins.describe(group)]
        print(json.dumps([found, "gems_gym_dummy_plugin" in sys.modules]))"""
    found, loaded = run_with(site, code)
    assert not loaded, "listing must not import a plugin"
    mine_by_group = {
        "rankers": "linear_hash", "policies": "most_clicked", "agents": "mean_action", "presets": "impatient",
        "commands": "bored-after",
    }  # fmt: skip
    for group, name in mine_by_group.items():
        (mine,) = [one for one in found if (one["group"], one["name"]) == (f"gems_gym.{group}", name)]
        assert (mine["distribution"], mine["version"]) == ("gems-gym-dummy-plugin", "1.2.3")


def test_third_party_ranker_by_name(site: Path, tmp_path: Path) -> None:
    code = """if True:
        import json, sys
        import numpy as np
        import gymnasium
        import gems_gym
        from gems_gym import plugins
        from gems_gym.rankers import load_ranker
        from gems_gym.wrappers import LatentAction
        env = gymnasium.make("GemsSlate-diffuse_topdown-v0")
        catalog, config = env.unwrapped.catalog, env.unwrapped.config
        make = plugins.load(plugins.RANKERS, "linear_hash")
        made = make(config.num_items, config.slate_size, catalog.hash)
        digest = made.save(sys.argv[1])
        ranker = load_ranker(sys.argv[1])
        env = LatentAction(env, ranker)
        env.reset(seed=1)
        env.action_space.seed(2)
        latents = np.stack([env.action_space.sample() for _ in range(5)])
        shown = np.stack([env.step(latent)[4]["slate"] for latent in latents])
        print(json.dumps({
            "class": type(ranker).__name__,
            "same_file": ranker.sha256 == digest,
            "shown_is_ranked": bool((shown == made.rank(latents)).all()),
            "distinct": min(len(set(slate)) for slate in shown.tolist()),
            "box": env.action_space.shape,
        }))"""
    answer = run_with(site, code, str(tmp_path / "ranker.safetensors"))
    assert answer == {
        "class": "LinearHashRanker",
        "same_file": True,
        "shown_is_ranked": True,
        "distinct": 10,
        "box": [32],
    }


@pytest.mark.slow
def test_third_party_preset_by_id(site: Path) -> None:
    code = """if True:
        import json, sys
        import gymnasium
        import gems_gym
        from gymnasium.envs.registration import EnvSpec
        imported_early = "gems_gym_dummy_plugin" in sys.modules
        lengths = [
            gymnasium.make(f"GemsSlate-impatient-v{version}").unwrapped.config.episode_length for version in (0, 1)
        ]
        mended = gymnasium.make("GemsSlate-impatient-v1", omega=0.5)
        again = gymnasium.make(EnvSpec.from_json(mended.spec.to_json()))
        envs = gymnasium.make_vec(
            "GemsSlate-impatient-v0", num_envs=2, vectorization_mode="async",
            vector_kwargs={"context": "spawn"},
        )
        envs.reset(seed=0)
        envs.close()
        print(json.dumps({
            "imported_early": imported_early,
            "lengths": lengths,
            "dynamics_version": mended.unwrapped.config.dynamics_version,
            "same_from_json": again.unwrapped.config == mended.unwrapped.config,
        }))"""
    code = f"import sys\nif __name__ == '__main__':\n    exec({code!r})"
    answer = run_with(site, code)
    assert answer == {
        "imported_early": False, "lengths": [30, 30], "dynamics_version": 1, "same_from_json": True,
    }  # fmt: skip


def test_third_party_policy_by_name(site: Path) -> None:
    code = """if True:
        import json
        import gymnasium
        import numpy as np
        import gems_gym
        from gems_gym.policies import make_policy
        from gems_gym.rollouts import play_sessions
        id = "GemsSlate-diffuse_topdown-v0"
        envs = gymnasium.make_vec(id, num_envs=3, autoreset_mode="disabled")
        returns = sum(m.rewards for m in play_sessions(envs, make_policy("most_clicked", envs), [5, 6, 7]) if m.step)
        env = gymnasium.make(id)
        policy = make_policy("most_clicked", env)
        observation, _ = env.reset(seed=6)
        state = policy.open([6])
        alone, ended = 0.0, False
        while not ended:
            slate, state = policy.act(state, observation)
            observation, reward, _, ended, _ = env.step(slate)
            alone += reward
        print(json.dumps([returns.tolist(), float(alone)]))"""
    returns, alone = run_with(site, code)
    assert len(returns) == 3
    assert returns[1] == alone


def test_unknown_group_and_name() -> None:
    with pytest.raises(
        ValueError, match=r"unknown plugin group 'gems_gym.ranker': did you mean 'gems_gym.rankers'"
    ):
        plugins.names("gems_gym.ranker")
    with pytest.raises(ValueError, match="unknown agent 'TD3\\+BC': did you mean 'td3_plus_bc'"):
        plugins.load(plugins.AGENTS, "TD3+BC")
    with pytest.raises(
        ValueError, match="unknown policy 'shortterm_oracle': did you mean 'short_term_oracle'"
    ):
        plugins.load(plugins.POLICIES, "shortterm_oracle")


def test_module_that_raises(empty_site: Path) -> None:
    entry_points = "[gems_gym.rankers]\nbroken = broken_ranker:Ranker\n"
    register(empty_site, "broken-ranker", entry_points, broken_ranker="raise RuntimeError('no such wire')\n")
    assert "broken" in plugins.names(plugins.RANKERS)
    with pytest.raises(plugins.PluginError) as caught:
        plugins.load(plugins.RANKERS, "broken")
    text = str(caught.value)
    for part in (
        "ranker 'broken'",
        "broken_ranker:Ranker",
        "broken-ranker 0.3",
        "RuntimeError: no such wire",
    ):
        assert part in text
    assert plugins.load(plugins.RANKERS, "gems").__name__ == "GemsRanker", "others must not suffer"


def test_module_that_does_not_exist(empty_site: Path) -> None:
    register(empty_site, "gone", "[gems_gym.policies]\ngone = nowhere_to_be_found:Policy\n")
    with pytest.raises(plugins.PluginError, match=r"gone 0\.3.*No module named 'nowhere_to_be_found'"):
        plugins.load(plugins.POLICIES, "gone")


def test_attribute_that_does_not_exist(empty_site: Path) -> None:
    entry_points = "[gems_gym.agents]\nhollow = hollow_plugin:Agent\n"
    register(empty_site, "hollow", entry_points, hollow_plugin="")
    with pytest.raises(plugins.PluginError, match=r"hollow 0\.3.*has no attribute 'Agent'"):
        plugins.load(plugins.AGENTS, "hollow")


@pytest.mark.parametrize(
    "statement", ["import d3rlpy", "from gems_gym.errors import require; require('d3rlpy', extra='offline')"]
)
def test_missing_extra_is_named(empty_site: Path, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    monkeypatch.setitem(sys.modules, "d3rlpy", None)  # as if it were not installed
    name = f"needy_{len(statement)}"
    register(empty_site, "needy", f"[gems_gym.agents]\nneedy = {name}:Agent\n", **{name: statement})
    with pytest.raises(plugins.PluginError) as caught:
        plugins.load(plugins.AGENTS, "needy")
    assert str(caught.value).count("pip install 'gems-gym[offline]'") == 1
    assert "needy 0.3" in str(caught.value)


def test_two_owners_of_a_name(empty_site: Path) -> None:
    register(empty_site, "usurper", "[gems_gym.rankers]\ngems = usurper:Ranker\n", usurper="Ranker = int\n")
    with pytest.raises(plugins.PluginError, match=r"'gems' is registered by gems-gym .* and usurper 0\.3"):
        plugins.load(plugins.RANKERS, "gems")


@pytest.mark.parametrize("answer", ["[2.0] * size", "[0.5]", "['a'] * size", "[float('nan')] * size"])
def test_a_click_model_that_gives_something_else(empty_site: Path, answer: str) -> None:
    name = f"odd_{len(answer)}"
    module = f"def model(size, gamma):\n    return {answer}\n"
    register(empty_site, "odd", f"[gems_gym.click_models]\nodd = {name}:model\n", **{name: module})
    with pytest.raises(ValueError, match="the click model 'odd' gives .*; 10 floats in .0, 1. were expected"):
        SlateConfig(click_model="odd")
    with pytest.raises(ValueError, match="unknown click_model 'ood': did you mean 'odd'"):
        SlateConfig(click_model="ood")


def import_gems_gym(site: Path, statements: str) -> subprocess.CompletedProcess[str]:
    """Runs statements after ``import gymnasium, gems_gym`` in a new process that sees a site."""
    return subprocess.run(
        [sys.executable, "-c", f"import gymnasium, gems_gym\nprint('imported')\n{statements}"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment_with(site),
        check=False,
    )


@pytest.mark.parametrize(
    ("target", "module", "words"),
    [
        ("theirs:WORLD", "raise RuntimeError('no such wire')", ["their-worlds 0.3", "RuntimeError: no such wire"]),
        ("nowhere_at_all:WORLD", "", ["their-worlds 0.3", "No module named 'nowhere_at_all'"]),
        ("theirs:WORLD", "WORLD = {'omega': 0.5}", ["'theirs' must be a SlateConfig, got {'omega': 0.5} of type dict"]),
        ("theirs:WORLD", "import gems_gym\nWORLD = gems_gym.SlateConfig(dynamics_version=1)", ["dynamics_version=1"]),
        ("theirs:WORLD", "import gems_gym\nWORLD = gems_gym.SlateConfig(omega=7)", ["their-worlds 0.3", "omega"]),
    ],
)  # fmt: skip
def test_broken_preset_hurts_only_who_uses_it(
    tmp_path: Path, target: str, module: str, words: list[str]
) -> None:
    register(tmp_path, "their-worlds", f"[gems_gym.presets]\ntheirs = {target}\n", theirs=module)
    done = import_gems_gym(
        tmp_path,
        "gymnasium.make('GemsSlate-diffuse_mix-v0')\nprint('made')\ngymnasium.make('GemsSlate-theirs-v0')",
    )
    assert done.stdout.split() == ["imported", "made"]
    assert done.returncode == 1
    for part in words:
        assert part in done.stderr.splitlines()[-1]


def test_preset_of_a_name_that_no_id_can_hold(tmp_path: Path) -> None:
    module = "import gems_gym\nWORLD = gems_gym.SlateConfig()\n"
    register(tmp_path, "their-worlds", "[gems_gym.presets]\nmy world = theirs:WORLD\n", theirs=module)
    done = import_gems_gym(tmp_path, "gymnasium.make('GemsSlate-diffuse_mix-v0', preset='my world')")
    assert done.stdout.split() == ["imported"]
    assert "letters, digits and underscores" in done.stderr.splitlines()[-1]


def test_plugin_cannot_take_a_built_in_presets_place(tmp_path: Path) -> None:
    register(
        tmp_path, "usurper", "[gems_gym.presets]\ndiffuse_mix = theirs:WORLD\n", theirs="raise RuntimeError"
    )
    done = import_gems_gym(
        tmp_path, "print(gymnasium.make('GemsSlate-diffuse_mix-v0').unwrapped.config.click_model)"
    )
    assert done.stdout.split() == ["imported", "mixPBM"], done.stderr


@pytest.mark.slow
def test_plugin_that_also_registers_its_preset(tmp_path: Path) -> None:
    text = (
        "import gems_gym\nWORLD = gems_gym.SlateConfig(omega={})\n"
        "gems_gym.register_preset('theirs', gems_gym.SlateConfig(omega=0.5))"
    )
    register(tmp_path, "their-worlds", "[gems_gym.presets]\ntheirs = theirs:WORLD\n", theirs=text.format(0.5))
    use = "print(gymnasium.make('GemsSlate-theirs-v0').unwrapped.config.omega)"
    assert import_gems_gym(tmp_path, use).stdout.split() == ["imported", "0.5"]
    assert import_gems_gym(tmp_path, f"import theirs\n{use}").stdout.split() == ["imported", "0.5"]
    (tmp_path / "theirs.py").write_text(text.format(0.25))
    for statements in (use, "import theirs"):
        done = import_gems_gym(tmp_path, statements)
        assert "the preset 'theirs' exists already, with another configuration" in done.stderr


def test_require() -> None:
    assert require("json") is json
    with pytest.raises(ImportError, match=r"'surely_not_installed'.*pip install 'gems-gym\[data\]'"):
        require("surely_not_installed", extra="data")


def test_unknown_name_shows_the_nearest_or_all() -> None:
    many = [f"name_{letter}{number}" for letter in "abcdef" for number in range(9)]
    assert "did you mean 'name_a1'" in str(unknown_name("thing", "name-A1", many))
    assert "54 are known" in str(unknown_name("thing", "zzz", many))
    assert "Known: 'left', 'right'." in str(unknown_name("side", 7, ["right", "left"]))
    assert "there are none here" in str(unknown_name("side", "left", []))
