"""The agent ``d3rlpy``: any algorithm of d3rlpy for continuous actions, by the name of its configuration."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gems_gym.common.checks import checked
from gems_gym.errors import unknown_name
from gems_gym_agents.library_state import borrowed_global_state, import_library
from gems_gym_agents.offline.agent import ValueAgent
from gems_gym_agents.offline.options import ValueOptions

_TRIAL_SIZES = 3, 2
"""Numbers of an observation and of an action, with which an algorithm is tried before any work."""

_OF_SOME = ("actor_learning_rate", "critic_learning_rate", "tau")
"""Our options that not every algorithm has."""


@dataclass(frozen=True, kw_only=True)
class D3rlpyOptions(ValueOptions):
    """Options of the agent ``d3rlpy``.

    Attributes:
        config: Name of one of d3rlpy's configurations, without "Config": "TD3PlusBC".
        fields: Its fields that are set, by name.
    """

    config: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class D3rlpyAgent(ValueAgent):
    """Any algorithm of d3rlpy for continuous actions: its configuration by name, and that one's fields as options.

    An algorithm that comes with the next d3rlpy requires no code here. What all our agents have (batch size, hidden
    layers, learning rates, gamma, scalers, …) has our names and defaults, where the algorithm has it; every other
    number, text or truth value of the configuration is an option by its own name, with d3rlpy's default. ``gems-gym
    train d3rlpy --dataset … --option config=TD3PlusBC --option alpha=1.0``.

    What is learned by an algorithm that has critics::

        L_critic = Σ_j mean (Q_j(s, a) − y)²,  y = r + gamma·(1 − end)·target(s')
        L_actor  = the algorithm's

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left and s' the next
    belief. target and L_actor are d3rlpy's ``compute_target`` and ``compute_actor_loss`` of the algorithm, which may
    add a term to L_critic.

    Before any work the algorithm is made in small, updated once and exported, as a network with tanh behind it. So one
    whose policy is no such network is refused, or that requires more than updates; BCQ, PLAS, BEAR, CRR, PRDC and the
    decision transformer have agents of their own.

    Args:
        config: See :class:`D3rlpyOptions`.
        **options: Fields of :class:`~gems_gym_agents.offline.options.ValueOptions` and of the configuration.

    Raises:
        ValueError: An unknown configuration or option, with the nearest names, or an algorithm that can't be exported.
        TypeError: A value of another type than the field's.
        ImportError: d3rlpy is not installed; it names the extra.
    """

    options_class = D3rlpyOptions
    options: D3rlpyOptions

    def __init__(self, config: str = "", **options: Any) -> None:
        theirs = _settable(_config_class(import_library("d3rlpy"), config))
        ours = [
            one.name
            for one in dataclasses.fields(ValueOptions)
            if one.name in theirs or one.name not in _OF_SOME
        ]
        given: dict[str, Any] = {name: value for name, value in options.items() if name in ours}
        own = {}
        for name in options.keys() - given.keys():
            if name not in theirs:
                raise unknown_name(f"option of D3rlpyAgent with config={config!r}:", name, [*ours, *theirs])
            own[name] = checked(name, options[name], theirs[name])
        super().__init__(config=config, fields=dict(sorted(own.items())), **given)
        self._try()

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        config_class = _config_class(d3rlpy, self.options.config)
        known = {one.name for one in dataclasses.fields(config_class)}
        shared = self.shared_settings(d3rlpy) | {
            "encoder_factory": self.encoder(d3rlpy),
            "optim_factory": self.optimizer(d3rlpy),
            "imitator_encoder_factory": self.encoder(d3rlpy),
            "imitator_optim_factory": self.optimizer(d3rlpy),
            "value_encoder_factory": self.encoder(d3rlpy),
        }
        return config_class(
            **{name: value for name, value in shared.items() if name in known}, **self.options.fields
        )

    def q_bound(self, algorithm: Any, buffer: Any) -> float | None:
        """The bound of an algorithm with Q-functions."""
        return (
            super().q_bound(algorithm, buffer) if hasattr(algorithm.config, "critic_learning_rate") else None
        )

    def _try(self) -> None:
        from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

        d3rlpy, name = import_library("d3rlpy"), self.options.config
        rng, length = np.random.default_rng(0), 4
        observations, actions, rewards = (
            rng.uniform(-1, 1, (length + 1, size)).astype(np.float32) for size in (*_TRIAL_SIZES, 1)
        )
        with borrowed_global_state():
            buffer = SessionReplayBuffer(
                observations, actions, rewards, np.array([length]), np.array([False]), seed=0
            )
            try:
                algorithm = self.config(d3rlpy).create(device="cpu")
                algorithm.build_with_dataset(buffer)
                self.q_bound(algorithm, buffer)
                algorithm.update(buffer.sample_transition_batch(length))
                self.export(algorithm, observations)
            except Exception as error:  # whatever an algorithm that we don't know may raise
                raise ValueError(
                    f"config={name!r} can't be trained or exported by the agent 'd3rlpy', which is for policies that "
                    f"are a network with tanh behind it ({type(error).__name__}: {error}); 'gems-gym list' shows those "
                    "that have an agent of their own"
                ) from error


def _config_class(d3rlpy: Any, name: str) -> Any:
    """The configuration of a name; a ValueError that names the nearest if there is none for continuous actions."""
    classes = {
        one.removesuffix("Config"): kind
        for one, kind in inspect.getmembers(d3rlpy.algos, inspect.isclass)
        if one.endswith("Config") and "create" in vars(kind) and _is_continuous(d3rlpy, kind)
    }
    if name not in classes:
        raise unknown_name("config (of d3rlpy, for continuous actions)", name, classes)
    return classes[name]


def _is_continuous(d3rlpy: Any, kind: Any) -> bool:
    return bool(kind().create().get_action_type() == d3rlpy.ActionSpace.CONTINUOUS)


def _settable(config_class: Any) -> dict[str, type]:
    """Fields of a configuration that are options of their own -> their types."""
    simple = {"bool": bool, "float": float, "int": int, "str": str}
    names = {one.name: getattr(one.type, "__name__", one.type) for one in dataclasses.fields(config_class)}
    # a compiled graph is for CUDA alone
    return {name: simple[kind] for name, kind in names.items() if kind in simple and name != "compile_graph"}
