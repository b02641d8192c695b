"""Agents with a model of what was done: behaviour cloning is nothing else; PLAS, BCQ and BEAR stay where theirs is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Positive, WholeNumber
from gems_gym_agents.offline.agent import NO_ENTROPY, OfflineAgent, ValueAgent
from gems_gym_agents.offline.exporting import check_same, hidden_layers, mean_actions, seen_by_networks
from gems_gym_agents.offline.options import TrainingOptions, ValueOptions

if TYPE_CHECKING:
    from gems_gym.policies.saved import LatentPolicy

_NOISE_STREAM = 1
"""Keeps what BCQ's policy decodes apart from the mini-batches of the same seed."""


@dataclass(frozen=True, kw_only=True)
class BCOptions(TrainingOptions):
    """Options of behaviour cloning.

    Attributes:
        learning_rate: Learning rate of Adam, > 0.
    """

    learning_rate: Positive = 1e-3


class BCAgent(OfflineAgent):
    """Behaviour cloning: regression of the recorded latent on the belief.

    What is learned::

        L = mean (π(s) − a)²

    s is the belief, a the recorded latent. Options: :class:`BCOptions`.
    """

    options_class = BCOptions
    options: BCOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.BCConfig(
            batch_size=self.options.batch_size,
            learning_rate=self.options.learning_rate,
            encoder_factory=self.encoder(d3rlpy),
            optim_factory=self.optimizer(d3rlpy),
        )


@dataclass(frozen=True, kw_only=True)
class BehaviourModelOptions(ValueOptions):
    """What agents with a model of the behaviour have: a conditional VAE of actions.

    Attributes:
        imitator_learning_rate: Learning rate of the VAE's Adam, > 0.
        kl_weight: Weight of the KL term in the VAE's loss, > 0.
        warmup_steps: Updates before the policy learns from the critics, ≥ 0.
    """

    imitator_learning_rate: Positive = 1e-3
    kl_weight: Positive = 0.5
    warmup_steps: WholeNumber = 5_000


class BehaviourModelAgent(ValueAgent):
    """An offline agent with a model of the behaviour."""

    options: BehaviourModelOptions

    def behaviour_settings(self, d3rlpy: Any) -> dict[str, Any]:
        """Settings that mean the same in every algorithm with such a model."""
        return {
            "imitator_learning_rate": self.options.imitator_learning_rate,
            "imitator_encoder_factory": self.encoder(d3rlpy),
            "imitator_optim_factory": self.optimizer(d3rlpy),
            **self.shared_settings(d3rlpy),
        }


class DecodingAgent(BehaviourModelAgent):
    """One whose policy begins to learn when the model's warm-up is over."""

    def check_steps(self, steps: int) -> None:
        """Refuses to end before the policy has begun to learn."""
        if steps <= self.options.warmup_steps:
            raise ValueError(
                f"steps={steps}: in the first warmup_steps={self.options.warmup_steps} updates only the model of the "
                "behaviour learns; ask for more steps, or for a smaller warmup_steps"
            )


class PLASAgent(DecodingAgent):
    """PLAS (Zhou et al. 2020, arXiv 2011.07213): the policy chooses what a model of the behaviour decodes.

    What is learned::

        L_VAE    = mean (D(s, z) − a)² + kl_weight·mean KL(E(s, a), N(0, 1)),  z ~ E(s, a)
        L_actor  = −mean Q_1(s, D(s, 2·π(s)))
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·(0.75·min_j Q'_j(s', ã) + 0.25·max_j Q'_j(s', ã)),  ã = D(s', 2·π'(s'))

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. E and D are the encoder and the decoder of a VAE, z its latent, twice as long as an
    action.

    The policy's output, times 2, is a latent of the VAE, in [-2, 2]; policy and decoder are exported as one network.
    d3rlpy's decoder ends without tanh, so that the exported actions are clipped to the box. In the first
    ``warmup_steps`` updates only the VAE learns (the paper: half of all), and later only the others. Options:
    :class:`BehaviourModelOptions`.
    """

    options_class = BehaviourModelOptions
    options: BehaviourModelOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.PLASConfig(
            beta=self.options.kl_weight,
            warmup_steps=self.options.warmup_steps,
            **self.behaviour_settings(d3rlpy),
        )

    def policy_modules(self, algorithm: Any) -> list[Any]:
        """The policy, its latent times 2 and the belief into the decoder, and a clip."""
        from torch import nn

        from gems_gym_agents.actors import WithInput

        decoder = algorithm.impl.modules.vae_decoder
        decoding = hidden_layers(algorithm, decoder, [2.0] * (2 * algorithm.action_size))
        return [*super().policy_modules(algorithm), WithInput(), *decoding, decoder._fc, nn.Hardtanh()]

    def policy_actions(self, algorithm: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """d3rlpy's actions, in the box."""
        return np.clip(super().policy_actions(algorithm, observations), -1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class BCQOptions(BehaviourModelOptions):
    """Options of BCQ.

    Attributes:
        actor_learning_rate: Learning rate of the actor, by Adam, > 0.
        critic_learning_rate: Learning rate of the critic, by Adam, > 0.
        warmup_steps: Updates in which only the VAE learns, ≥ 0.
        num_action_samples: Decoded actions among which the critic chooses, in targets and when acting, ≥ 1.
        flexibility: Φ, how far each number of them may be changed, > 0.
        pessimism: λ, weight of the smallest of the critics against the largest in targets, in [0, 1].
    """

    actor_learning_rate: Positive = 1e-3
    critic_learning_rate: Positive = 1e-3
    warmup_steps: WholeNumber = 0
    num_action_samples: Count = 10
    flexibility: Positive = 0.05
    pessimism: Annotated[float, Interval(ge=0, le=1)] = 0.75


class BCQAgent(DecodingAgent):
    """BCQ (Fujimoto et al. 2019, arXiv 1812.02900): the best, by the critic, of some actions like the recorded ones.

    What is learned::

        L_VAE    = mean (D(s, z) − a)² + kl_weight·mean KL(E(s, a), N(0, 1)),  z ~ E(s, a)
        c        = clip(b + flexibility·ξ(s, b)),  b = D(s, clip(N(0, 1), ±0.5))
        L_actor  = −mean Q_1(s, c)
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·max_k [pessimism·min_j Q'_j(s', c'_k) + (1 − pessimism)·max_j Q'_j(s', c'_k)]
        acts by  argmax_k Q_1(s, c_k),  k = 1 … num_action_samples

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. E and D are the encoder and the decoder of a VAE; ξ, in [-1, 1], is what the actor's
    loss moves.

    d3rlpy draws new noise at every choice; the exported policy decodes the same ``num_action_samples`` vectors, which
    the training's seed decides, for every belief, so that it is deterministic. It carries the first critic, and acts on
    NumPy alone. Options: :class:`BCQOptions`.
    """

    options_class = BCQOptions
    options: BCQOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.BCQConfig(
            beta=self.options.kl_weight,
            rl_start_step=self.options.warmup_steps,
            n_action_samples=self.options.num_action_samples,
            action_flexibility=self.options.flexibility,
            lam=self.options.pessimism,
            **self.behaviour_settings(d3rlpy),
        )

    def noise(self, algorithm: Any) -> NDArray[np.float32]:
        """What is decoded, (num_action_samples, 2 · action_size): drawn and clipped as d3rlpy does it."""
        rng = np.random.default_rng([self._record["seed"], _NOISE_STREAM])
        shape = self.options.num_action_samples, 2 * algorithm.action_size
        return rng.standard_normal(shape, dtype=np.float32).clip(-0.5, 0.5)

    @classmethod
    def policy_class(cls) -> type[LatentPolicy]:
        """One that chooses among candidates."""
        from gems_gym_agents.offline.candidates import CandidatesPolicy

        return CandidatesPolicy

    def export(self, algorithm: Any, observations: NDArray[np.float32]) -> LatentPolicy:
        """Exports decoder, perturbation and critic; see :meth:`OfflineAgent.export`.

        All candidates and their values are compared: two of the same value would make the choice a matter of rounding.
        """
        from torch import nn

        from gems_gym_agents.actors import network_from_modules
        from gems_gym_agents.offline.candidates import CandidatesPolicy

        modules = algorithm.impl.modules
        policy = CandidatesPolicy(
            {
                name: network_from_modules([*hidden_layers(algorithm, network), network._fc, *last])
                for name, network, last in (
                    ("decoder", modules.vae_decoder, []),
                    ("perturbation", modules.policy, [nn.Tanh()]),
                    ("critic", modules.q_funcs[0], []),
                )
            },
            self.noise(algorithm),
            self.options.flexibility,
        )
        (found, values), (expected, their_values) = (
            policy.candidates(observations),
            self._candidates(algorithm, observations),
        )
        check_same(found, expected, algorithm)
        scale = max(1.0, float(np.abs(their_values).max()))  # values may be large
        check_same(values / scale, their_values / scale, algorithm)
        return policy

    def policy_actions(self, algorithm: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """The best candidates, by d3rlpy's networks."""
        actions, values = self._candidates(algorithm, observations)
        best: NDArray[np.float32] = actions[np.arange(len(actions)), values.argmax(axis=1)]
        return best

    def _candidates(
        self, algorithm: Any, observations: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Actions (num_users, num_candidates, action_size) and values (num_users, num_candidates) by d3rlpy."""
        import torch

        modules, noise = algorithm.impl.modules, self.noise(algorithm)
        with torch.no_grad():
            beliefs = seen_by_networks(algorithm, observations).repeat_interleave(len(noise), dim=0)
            latents = torch.as_tensor(noise, device=beliefs.device).repeat(len(observations), 1)
            actions = modules.policy(beliefs, modules.vae_decoder(beliefs, latents)).squashed_mu
            values = modules.q_funcs[0](beliefs, actions).q_value
        shape = len(observations), len(noise)
        return actions.reshape(*shape, -1).cpu().numpy(), values.reshape(shape).cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class BEAROptions(BehaviourModelOptions):
    """Options of BEAR.

    Attributes:
        actor_learning_rate: Learning rate of the actor, by Adam, > 0; lower than the critic's, as published.
        threshold: How far the policy may be from the behaviour, in maximum mean discrepancy, > 0.
        kernel_width: σ of the Laplacian kernel, > 0.
        num_action_samples: Actions of policy and behaviour that are compared, ≥ 1.
    """

    actor_learning_rate: Positive = 1e-4
    threshold: Positive = 0.05
    kernel_width: Positive = 20.0
    num_action_samples: Count = 4


class BEARAgent(BehaviourModelAgent):
    """BEAR (Kumar et al. 2019, arXiv 1906.00949): SAC whose policy stays in the support of the behaviour.

    What is learned::

        L_actor  = −mean min_j Q_j(s, ã) + α·(mean MMD(s) − threshold),  ã ~ π(s)
        MMD(s)²  = mean k(p, p) + mean k(b, b) − 2·mean k(p, b),  k(x, x') = exp(−Σ |x − x'| / (2·kernel_width))
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·max_i [0.75·min_j Q'_j(s', a_i) + 0.25·max_j Q'_j(s', a_i)],  a_i ~ π(s')
        L_VAE    = mean (D(s, z) − a)² + kl_weight·mean KL(E(s, a), N(0, 1)),  z ~ E(s, a)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. MMD, the maximum mean discrepancy, compares ``num_action_samples`` actions p of the
    policy with as many b that the VAE decodes, and i goes from 1 to 10.

    The multiplier α begins at 1; it grows while MMD is above ``threshold``, and shrinks while it is below. In the first
    ``warmup_steps`` updates the policy learns by its term alone, and α stays. The paper has no entropy bonus, which
    d3rlpy inherits from SAC: here it is off. What is exported is the policy's mean; d3rlpy's ``predict`` takes the best
    of many actions. d3rlpy 2.8 compares the policy's actions before tanh with the behaviour's after a tanh that its VAE
    was trained without, so that large actions are drawn to zero. Options: :class:`BEAROptions`.
    """

    options_class = BEAROptions
    options: BEAROptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.BEARConfig(
            vae_kl_weight=self.options.kl_weight,
            warmup_steps=self.options.warmup_steps,
            alpha_threshold=self.options.threshold,
            mmd_sigma=self.options.kernel_width,
            n_mmd_action_samples=self.options.num_action_samples,
            temp_learning_rate=0.0,
            initial_temperature=math.exp(NO_ENTROPY),
            **self.behaviour_settings(d3rlpy),
        )

    def policy_actions(self, algorithm: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """The policy's mean."""
        return mean_actions(algorithm, observations)
