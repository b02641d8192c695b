"""Every example in a docstring runs as written."""

import doctest
import importlib
import pkgutil

import gymnasium
import pytest

import gems_gym
import gems_gym_agents
from gems_gym import PRESETS

MODULES = [
    module.name
    for package in (gems_gym, gems_gym_agents)
    for module in (
        pkgutil.ModuleInfo(package, package.__name__, True),  # type: ignore[arg-type]
        *pkgutil.walk_packages(package.__path__, f"{package.__name__}."),
    )
]


def has_examples(name):
    source = importlib.util.find_spec(name).loader.get_source(name)
    return ">>> " in source


@pytest.fixture
def registry_as_it_was():
    presets, registry = dict(PRESETS), dict(gymnasium.registry)
    yield
    for now, before in ((PRESETS, presets), (gymnasium.registry, registry)):
        now.clear()
        now.update(before)


@pytest.mark.parametrize("name", [name for name in MODULES if has_examples(name)])
def test_examples(name, registry_as_it_was):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_examples_where_people_look():
    assert {"gems_gym", "gems_gym.envs.slate", "gems_gym.registration"} <= {
        name for name in MODULES if has_examples(name)
    }
