"""Options of the online agents: typed, with the recipe's defaults, checked when they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gems_gym_agents.option_checks import is_count, is_number, is_positive


@dataclass(frozen=True, kw_only=True)
class SACOptions:
    """Settings of SAC; the defaults are the project's recipe for beliefs and GeMS latents.

    Attributes:
        agent: the name of the agent whose settings these are.
        gamma: discount factor, in [0, 1).
        initial_entropy: the entropy coefficient to start with, > 0; it is tuned from there. SB3's ``"auto_0.05"``.
            Starting at SB3's usual 1 drowns the clicks of 32 latent dimensions in entropy for most of a short run.
        target_entropy: in nats; ``None``: minus the number of latent dimensions.
        net_arch: units of the hidden layers, the same for actor and critics.
        layer_norm: ``LayerNorm`` after each hidden layer of actor and critics.
        learning_rate: of actor, critics and entropy coefficient (one value for all three in SB3), > 0.
        tau: how far the target critics move at every update, in (0, 1].
        batch_size: transitions per update, >= 1.
        gradient_steps: updates after each step of all users, >= 1. With one for 100 users, runs of as many interactions
            are three times as fast, learn later and differ more between seeds.
        learning_starts: interactions with uniformly random actions before the first update.
        hold_random_actions: whether each user's random action is drawn once a session and not at every step, so that
            the first thing learned is what a latent is worth over a session.
        buffer_size: transitions kept, over all users; bounds memory (about 290 bytes each for 20 numbers in, 32 out).
        reward_scale: factor on rewards inside the algorithm, > 0; reports stay in raw clicks.
        validate_every: interactions between two kept (and, with ``evaluate``, scored) policies, rounded up to whole
            sessions of all users; an interrupted run goes on from the last of them.
        starts: how often training begins, each time from another seed, >= 1. After 1, 2, 4, ... rounds of
            ``validate_every`` interactions the half with the worse policies on validation users is dropped, until one
            start is left: what SAC finds early decides much of where it ends. The interactions of all count.
        averaged_share: how much of the training, at its end, is averaged, in [0, 1]: the mean of the weights of the
            policies kept there is the last policy, beside them (:mod:`gems_gym_agents.online.averaging`). 0: none is.
    """

    agent: ClassVar[str] = "sac"

    gamma: float = 0.8
    initial_entropy: float = 0.05
    target_entropy: float | None = None
    net_arch: tuple[int, ...] = (128, 128)
    layer_norm: bool = True
    learning_rate: float = 1e-3
    tau: float = 0.005
    batch_size: int = 256
    gradient_steps: int = 4
    learning_starts: int = 10_000
    hold_random_actions: bool = False
    buffer_size: int = 300_000
    reward_scale: float = 1.0
    validate_every: int = 50_000
    starts: int = 1
    averaged_share: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.net_arch, Sequence) and not isinstance(self.net_arch, str):
            object.__setattr__(self, "net_arch", tuple(self.net_arch))  # JSON knows lists only
        _check("gamma", self.gamma, is_number(self.gamma) and 0.0 <= self.gamma < 1.0, "in [0, 1)")
        share = self.averaged_share
        _check("averaged_share", share, is_number(share) and 0.0 <= share <= 1.0, "in [0, 1]")
        _check("tau", self.tau, is_number(self.tau) and 0.0 < self.tau <= 1.0, "in (0, 1]")
        for name in ("initial_entropy", "learning_rate", "reward_scale"):
            _check(name, getattr(self, name), is_positive(getattr(self, name)), "a positive number")
        for name in ("batch_size", "gradient_steps", "buffer_size", "validate_every", "starts"):
            _check(name, getattr(self, name), is_count(getattr(self, name)), "a whole number of at least 1")
        random = self.learning_starts
        _check("learning_starts", random, random == 0 or is_count(random), "a whole number of at least 0")
        target = self.target_entropy
        _check("target_entropy", target, target is None or is_number(target), "a finite number or None")
        for name in ("layer_norm", "hold_random_actions"):
            _check(name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false")
        units = isinstance(self.net_arch, tuple) and all(map(is_count, self.net_arch))
        _check("net_arch", self.net_arch, units, "whole numbers of at least 1")
        _check("batch_size", self.batch_size, self.batch_size <= self.buffer_size, "at most buffer_size")


@dataclass(frozen=True, kw_only=True)
class EndToEndOptions(SACOptions):
    """Settings of SAC whose actor and critics have a GRU of their own, trained with them.

    Attributes:
        window: moments that gradients reach back, >= 1; the state before them is the one recorded when they were met.
        pretrained: whether the GRUs start from the environment's belief; from random weights of its sizes otherwise.
        buffer_size: transitions kept, over all users (about 650 bytes each for beliefs of 20 and slates of 10).
    """

    agent: ClassVar[str] = "sac_end_to_end"

    window: int = 5
    pretrained: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(
            "window",
            self.window,
            isinstance(self.window, int) and self.window >= 1,
            "a whole number of at least 1",
        )
        _check("pretrained", self.pretrained, isinstance(self.pretrained, bool), "true or false")


def _check(name: str, value: object, holds: bool, right: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r}: it must be {right}")
