"""Negative controls: algorithms made for learning online, fitted to a dataset without any correction.

They are expected to fail: nothing holds their policies where the data are, and Q feeds on its own errors elsewhere.
They stand in tables to show what the other agents are for. A training that runs away ends with a ``DivergedError``.

``gems-gym list`` marks the agents of modules of this name as negative controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gems_gym.common.checks import Positive
from gems_gym_agents.offline.agent import ValueAgent
from gems_gym_agents.offline.options import ValueOptions


class OfflineTD3Agent(ValueAgent):
    """Negative control: TD3 (Fujimoto et al. 2018, arXiv 1802.09477) on a dataset, expected to fail.

    TD3+BC without the term that imitates. Options: :class:`~gems_gym_agents.offline.options.ValueOptions`.
    """

    options_class = ValueOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.TD3Config(**self.shared_settings(d3rlpy))


@dataclass(frozen=True, kw_only=True)
class OfflineSACOptions(ValueOptions):
    """Options of SAC on a dataset.

    Attributes:
        initial_temperature: Weight of the entropy to start with, > 0; it is tuned from there.
    """

    initial_temperature: Positive = 0.05


class OfflineSACAgent(ValueAgent):
    """Negative control: SAC (Haarnoja et al. 2018, arXiv 1812.05905) on a dataset, expected to fail.

    CQL without the conservative loss, SAC-N with two critics. Options: :class:`OfflineSACOptions`.
    """

    options_class = OfflineSACOptions
    options: OfflineSACOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.SACConfig(
            initial_temperature=self.options.initial_temperature, **self.shared_settings(d3rlpy)
        )
