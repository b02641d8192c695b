"""An agent with a flow that imitates and a policy that follows its critics near it: FQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Positive
from gems_gym_agents.offline.agent import ValueAgent
from gems_gym_agents.offline.exporting import check_same, hidden_layers, probe_noise, seen_by_networks
from gems_gym_agents.offline.options import ValueOptions

if TYPE_CHECKING:
    from gems_gym.policies.saved import LatentPolicy


@dataclass(frozen=True, kw_only=True)
class FlowQOptions(ValueOptions):
    """Options of flow Q-learning.

    Attributes:
        layer_norm: Puts a layer normalisation behind each hidden layer of the critics; policy and flow have none.
        actor_learning_rate: Learning rate of the policy and the flow, by Adam, > 0.
        alpha: Weight of the mean squared distance to what the flow does, against the Q-function, normalised by the mean
            |Q| of the batch, > 0: a larger one imitates more, unlike TD3+BC's.
        flow_steps: Steps in which the flow is followed from noise to an action, ≥ 1.
    """

    layer_norm: bool = True
    actor_learning_rate: Positive = 3e-4
    alpha: Positive = 3.0
    flow_steps: Count = 10


class FlowQAgent(ValueAgent):
    """FQL (Park et al. 2025, arXiv 2502.02538, Algorithm 1): a policy in one step, near a flow that imitates the data.

    What is learned::

        L_flow   = mean (v(s, (1 − t)·z + t·a, t) − (a − z))²,  z ~ N(0, 1),  t ~ U(0, 1)
        L_actor  = alpha·mean (μ(s, z) − F(s, z))² − mean Q(s, μ) / mean |Q(s, μ)|,  Q = (Q_1 + Q_2) / 2
        L_critic = Σ_j mean (Q_j(s, a) − r − gamma·(1 − end)·Q'(s', μ(s', z')))²

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left, s' the next belief
    and Q' the mean of the target critics. F is where the flow's velocity v takes noise z in ``flow_steps`` steps, and
    the policy μ makes a latent of the same noise at once, which is clipped where a critic sees it.

    L_flow is flow matching, which imitates behaviour of any shape. Nothing is differentiated through F or the mean that
    Q is divided by. The paper's loss, as we read it, has Q as it is; normalised, alpha means the same whatever rewards
    are.

    The policy draws: each user's noise comes from the user's seed. Options: :class:`FlowQOptions`.
    """

    options_class = FlowQOptions
    options: FlowQOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes a configuration of d3rlpy's form; the algorithm is ours."""
        from gems_gym_agents.offline.flow_learner import FlowQConfig

        shared = self.shared_settings(d3rlpy)
        shared["actor_encoder_factory"] = replace(shared["actor_encoder_factory"], use_layer_norm=False)
        return FlowQConfig(alpha=self.options.alpha, flow_steps=self.options.flow_steps, **shared)

    @classmethod
    def policy_class(cls) -> type[LatentPolicy]:
        """One that draws."""
        from gems_gym_agents.offline.drawing_policy import OneStepPolicy

        return OneStepPolicy

    def export(self, algorithm: Any, observations: NDArray[np.float32]) -> LatentPolicy:
        """Exports the policy; see :meth:`OfflineAgent.export`. Both are given the same noise."""
        from torch import nn

        from gems_gym_agents.actors import network_from_modules
        from gems_gym_agents.offline.drawing_policy import OneStepPolicy

        network = algorithm.impl.policy
        layers = [*hidden_layers(algorithm, network), network._fc, nn.Hardtanh()]
        policy = OneStepPolicy(network_from_modules(layers))
        found = policy.choose(observations, probe_noise(len(observations), policy.noise_size))
        check_same(found, self.policy_actions(algorithm, observations), algorithm)
        return policy

    def policy_actions(self, algorithm: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the policy makes of some noise, by torch."""
        import torch

        noise = torch.as_tensor(probe_noise(len(observations), algorithm.action_size))
        with torch.no_grad():
            seen = seen_by_networks(algorithm, observations)
            actions: NDArray[np.float32] = algorithm.impl.act(seen, noise.to(seen.device)).cpu().numpy()
        return actions
