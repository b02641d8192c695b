"""Settings of the online agents for each world, as typed data; what is not said here is the recipe's.

``gems-gym train`` starts from the entry of the environment's preset, and ``--option`` changes single values. From
Python: ``SACAgent(**vars(SAC_PRESETS["focused_mix"]))``.
"""

from __future__ import annotations

from collections.abc import Mapping

from gems_gym_agents.online.options import EndToEndOptions, SACOptions

SAC_PRESETS: Mapping[str, SACOptions] = {
    "diffuse_topdown": SACOptions(),
    "diffuse_mix": SACOptions(),
    "diffuse_divpen": SACOptions(),
    "focused_topdown": SACOptions(),
    "focused_mix": SACOptions(),
    "focused_divpen": SACOptions(),
}
"""SAC on frozen beliefs."""

END_TO_END_PRESETS: Mapping[str, EndToEndOptions] = {world: EndToEndOptions() for world in SAC_PRESETS}
"""SAC with GRUs of its own."""
