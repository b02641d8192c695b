"""REINFORCE while it learns, in torch; the equations are in :mod:`gems_gym_agents.slates.reinforce`."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn
from torch.nn import functional

from gems_gym.policies.actor import Actor, add_exploration_noise
from gems_gym_agents.actors import actor_from_modules, network_from_modules
from gems_gym_agents.slates.networks import belief_size, initialise, numpy_of, perceptron, scores_of
from gems_gym_agents.slates.options import (
    ReinforceLatentOptions,
    ReinforceOptions,
    ReinforceSoftmaxOptions,
)
from gems_gym_agents.slates.policies import PlackettLucePolicy
from gems_gym_agents.slates.sessions import Chooser, Sessions
from gems_gym_agents.torch_state import tensor_of


class Head(nn.Module, abc.ABC):
    """A distribution of actions that depends on the belief."""

    @abc.abstractmethod
    def log_probabilities(self, beliefs: Tensor, actions: Tensor) -> Tensor:
        """What is differentiated, ``(batch,)``, of actions ``(batch, …)``."""

    @abc.abstractmethod
    def policy(self, made_by: Mapping[str, Any]) -> Any:
        """The most likely actions, as a policy."""

    @abc.abstractmethod
    def chooser(self) -> Chooser:
        """Draws actions."""


class SlateHead(Head):
    """Plackett–Luce slates.

    Args:
        options: The settings.
        env: Its world.
    """

    def __init__(self, options: ReinforceSoftmaxOptions, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__()
        space: Any = env.single_action_space
        self._slate_size, self._corrected = len(space.nvec), options.top_k_correction
        self.items = nn.Parameter(torch.empty(int(space.nvec[0]), options.embedding_size))
        self.bias = nn.Parameter(torch.zeros(int(space.nvec[0])))
        self.query = perceptron(belief_size(env), options.hidden_units, options.embedding_size)

    def log_probabilities(self, beliefs: Tensor, actions: Tensor) -> Tensor:
        """Of slates, int64 ``(batch, slate_size)``; or what stands in their place with ``top_k_correction``."""
        scores = scores_of(self.query(beliefs), self.items, self.bias)
        return (
            corrected_log_probability(scores, actions)
            if self._corrected
            else log_probability(scores, actions)
        )

    def policy(self, made_by: Mapping[str, Any]) -> PlackettLucePolicy:
        """The most likely slates."""
        networks = {"query": network_from_modules([self.query])}
        return PlackettLucePolicy(
            networks, numpy_of(items=self.items, query_bias=self.bias), self._slate_size, made_by
        )

    def chooser(self) -> Chooser:
        """Draws slates."""
        return self.policy({}).draw


class LatentHead(Head):
    """Normally distributed latents, clipped to the box, with one standard deviation for all their numbers.

    Args:
        options: The settings.
        env: Its world.
    """

    def __init__(self, options: ReinforceLatentOptions, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__()
        (latent_size,) = env.single_action_space.shape or (0,)
        self.mean = nn.Sequential(perceptron(belief_size(env), options.hidden_units, latent_size), nn.Tanh())
        self.log_spread = nn.Parameter(torch.tensor([math.log(options.spread)]))

    def log_probabilities(self, beliefs: Tensor, actions: Tensor) -> Tensor:
        """Of latents in [-1, 1], ``(batch, latent_size)``; at the box's edges those of all that lies beyond."""
        away = (actions - self.mean(beliefs)) / self.log_spread.exp()  # in standard deviations
        inside = -0.5 * away.square() - self.log_spread - 0.5 * math.log(2.0 * math.pi)
        beyond = torch.special.log_ndtr(-away * actions.sign())
        return torch.where(actions.abs() < 1.0, inside, beyond).sum(1)

    def policy(self, made_by: Mapping[str, Any]) -> Actor:
        """The means."""
        return actor_from_modules([self.mean], dict(made_by))

    def chooser(self) -> Chooser:
        """Draws latents."""
        actor, spread = self.policy({}), self.log_spread.exp().item()
        return lambda beliefs, rngs: add_exploration_noise(actor(beliefs), spread, rngs)


class ReinforceLearner:
    """See :class:`~gems_gym_agents.slates.training.Learner`.

    Args:
        head: The policy that learns.
        options: The settings.
        env: Its world.
        seed: Seed of the weights that learning starts from.
        made_by: What the policies' files say of how they were made.
    """

    kept_rounds = 0

    def __init__(
        self,
        head: Head,
        options: ReinforceOptions,
        env: VectorEnv[Any, Any, Any],
        seed: int,
        made_by: Mapping[str, Any],
    ) -> None:
        self.head, self.options, self._made_by = head, options, made_by
        self.baseline = perceptron(belief_size(env), options.hidden_units, 1)
        initialise(nn.ModuleList([head, self.baseline]), seed)
        rates = ((head, options.learning_rate), (self.baseline, options.baseline_learning_rate))
        groups = [{"params": list(one.parameters()), "lr": rate} for one, rate in rates]
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.parts: Mapping[str, Any] = {
            "head": head, "baseline": self.baseline, "optimizer": self.optimizer,
        }  # fmt: skip

    def chooser(self, done: float) -> Chooser:
        """Draws actions from what is learned."""
        return self.head.chooser()

    def learn(self, rounds: Sequence[Sessions], rng: np.random.Generator) -> dict[str, float]:
        """Go once through the last round; returns the baseline's mean loss and how probable the actions were."""
        played = rounds[-1]
        with torch.no_grad():
            expected = self.baseline(tensor_of(played.beliefs)).squeeze(2).numpy()
        returns = played.returns(self.options.gamma, expected)[played.playing]
        ahead = returns - expected[:, :-1][played.playing]
        ahead = (ahead - ahead.mean()) / (ahead.std() + 1e-6)  # as long as the baseline knows little
        beliefs, actions = (array[:, :-1][played.playing] for array in (played.beliefs, played.actions))
        order = rng.permutation(len(returns))
        measured = []
        for start in range(0, len(order), self.options.batch_size):
            rows = order[start : start + self.options.batch_size]
            seen, done, due, better = (tensor_of(one[rows]) for one in (beliefs, actions, returns, ahead))
            probable = self.head.log_probabilities(seen, done)
            baseline_loss = functional.mse_loss(self.baseline(seen).squeeze(1), due)
            self.optimizer.zero_grad()
            (baseline_loss - (better * probable).mean()).backward()
            self.optimizer.step()
            measured.append((baseline_loss.item(), probable.mean().item()))
        loss, log_probability_mean = np.mean(measured, axis=0).tolist()
        return {"baseline_loss": loss, "log_probability": log_probability_mean}

    def policy(self) -> Any:
        """The policy as it is now, without exploration."""
        return self.head.policy(self._made_by)


def log_probability(scores: Tensor, slates: Tensor) -> Tensor:
    """Of slates that are drawn without replacement, ``(batch,)``.

    Args:
        scores: Scores of all items, ``(batch, num_items)``.
        slates: In the order drawn, int64 ``(batch, slate_size)``, no item twice.
    """
    shown = scores.gather(1, slates)
    # the lowest finite number, so that where all items are shown the gradient is 0 rather than NaN
    others = scores.scatter(1, slates, torch.finfo(scores.dtype).min).logsumexp(1, keepdim=True)
    # from the last position back: all that were still there to be drawn
    left = torch.cat([others, shown.flip(1)], dim=1).logcumsumexp(1)[:, 1:].flip(1)
    return (shown - left).sum(1)


def corrected_log_probability(scores: Tensor, slates: Tensor) -> Tensor:
    """What has the gradient Σ_k λ(i_k) ∇ log π(i_k), with λ(i) = K (1 − π(i))^(K−1); arguments as above."""
    logs, slate_size = scores.log_softmax(1).gather(1, slates), slates.shape[1]
    factors = slate_size * (1.0 - logs.detach().exp()) ** (slate_size - 1)
    return (factors * logs).sum(1)
