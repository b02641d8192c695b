"""Presets become Gymnasium ids: ``diffuse_mix`` -> ``GemsSlate-diffuse_mix-v0`` and ``-v1``."""

import gymnasium

from gems_gym.config import PRESETS


def environment_id(preset: str) -> str:
    """The id that a preset's world is registered under."""
    return f"GemsSlate-{preset}-v0"


def register_environments() -> None:
    """Register every preset that is not registered yet; called by ``import gems_gym``.

    No ``max_episode_steps`` is registered: the environments truncate by themselves after ``episode_length``
    steps, which a keyword may change; a TimeLimit from here would cut longer sessions short.
    """
    for preset in PRESETS:
        if environment_id(preset) not in gymnasium.registry:
            gymnasium.register(
                id=environment_id(preset),
                entry_point="gems_gym.envs.slate:SlateEnv",
                vector_entry_point="gems_gym.envs.slate_vector:SlateVectorEnv",
                kwargs={"preset": preset},
            )
