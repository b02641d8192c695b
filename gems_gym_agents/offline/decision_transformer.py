"""An agent that models sessions as sequences: the decision transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Interval, MinLen
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Positive, Units
from gems_gym_agents.offline.agent import OfflineAgent
from gems_gym_agents.offline.exporting import check_same, hidden_layers
from gems_gym_agents.offline.options import TrainingOptions

if TYPE_CHECKING:
    from gems_gym.policies.saved import LatentPolicy
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer
    from gems_gym_agents.offline.sequence_policy import DecisionTransformerPolicy

COMPARED_SESSIONS = 4
"""Made-up sessions on which the export is compared with d3rlpy."""


@dataclass(frozen=True, kw_only=True)
class DecisionTransformerOptions(TrainingOptions):
    """Options of the decision transformer.

    Attributes:
        batch_size: Pieces of sessions of one update, ≥ 1.
        hidden_units: Sizes of the layers that make a vector of a belief; the last one is the transformer's width.
        learning_rate: Learning rate of Adam, > 0.
        context: Steps that are attended to, ≥ 1.
        layers: Number of layers of the transformer, ≥ 1.
        heads: Number of heads of its attention, ≥ 1; the width is a multiple.
        dropout: Share of numbers that are left out in training, in [0, 1).
        target_percentile: Which of the dataset's returns is asked for, in percent: at 90 one session of ten has more.
        return_scale: Factor on returns before the network sees them, > 0.
    """

    batch_size: Count = 64
    hidden_units: Annotated[tuple[Units, ...], MinLen(1)] = (64,)
    learning_rate: Positive = 1e-3
    context: Units = 20
    layers: Units = 2
    heads: Units = 1
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    target_percentile: Annotated[float, Interval(ge=0, le=100)] = 90.0
    return_scale: Positive = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_units[-1] % self.heads:
            raise ValueError(
                f"heads={self.heads} does not divide the width, hidden_units[-1]={self.hidden_units[-1]}"
            )


class DecisionTransformerAgent(OfflineAgent):
    """Decision transformer (Chen et al. 2021, arXiv 2106.01345): imitates the sessions that earned what is asked for.

    What is learned, and how it acts::

        L       = mean Σ (f(R_u, s_u, a_u, …, R_t, s_t) − a_t)²
        R_t     = return_scale·(clicks from step t to the end of the session)
        acting    R_1 = return_scale·(return that target_percentile % of the sessions do not pass),
                  R_{t+1} = R_t − return_scale·(clicks at step t)

    f is a causal transformer, s_t the belief and a_t the recorded latent of step t, u a step less than ``context``
    before t; the sum is over a latent's numbers.

    The policy keeps its session in mind: whoever plays tells it the clicks of each step
    (:func:`gems_gym.policies.base.tell_rewards`). No value is learned, so nothing can run away; neither can it combine
    pieces of different sessions. Options: :class:`DecisionTransformerOptions`.
    """

    options_class = DecisionTransformerOptions
    options: DecisionTransformerOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        options = self.options
        return d3rlpy.algos.DecisionTransformerConfig(
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            encoder_factory=d3rlpy.models.VectorEncoderFactory(
                list(options.hidden_units), use_layer_norm=options.layer_norm, exclude_last_activation=True
            ),
            optim_factory=self.optimizer(d3rlpy),
            reward_scaler=d3rlpy.preprocessing.MultiplyRewardScaler(options.return_scale),
            context_size=options.context,
            num_layers=options.layers,
            num_heads=options.heads,
            attn_dropout=options.dropout,
            resid_dropout=options.dropout,
            embed_dropout=options.dropout,
        )

    def data_settings(self, d3rlpy: Any, buffer: SessionReplayBuffer) -> dict[str, Any]:
        """The scaler, and how long sessions are; the return that is asked for is kept too."""
        self._target_return = float(np.percentile(buffer.returns, self.options.target_percentile))
        longest = max(episode.transition_count for episode in buffer.episodes)
        return super().data_settings(d3rlpy, buffer) | {"max_timestep": longest}

    def sample(self, buffer: SessionReplayBuffer) -> Any:
        """Draws pieces of sessions."""
        return buffer.sample_trajectory_batch(self.options.batch_size, length=self.options.context)

    @classmethod
    def policy_class(cls) -> type[LatentPolicy]:
        """One with a memory."""
        from gems_gym_agents.offline.sequence_policy import DecisionTransformerPolicy

        return DecisionTransformerPolicy

    def export(self, algorithm: Any, observations: NDArray[np.float32]) -> LatentPolicy:
        """Exports the transformer; see :meth:`OfflineAgent.export`.

        Both play made-up sessions, a little longer than the context, in which each step earns another number of clicks.
        """
        policy = self._exported(algorithm)
        steps = self.options.context + 3
        sessions = np.resize(observations, (steps, COMPARED_SESSIONS, observations.shape[1]))
        clicks = np.arange(steps * COMPARED_SESSIONS).reshape(steps, -1) % 11
        state, found = policy.open(range(COMPARED_SESSIONS)), []
        for beliefs, earned in zip(sessions, clicks, strict=True):
            actions, state = policy.act(state, beliefs)
            found.append(actions)
            state = policy.rewarded(state, earned)
        for session in range(COMPARED_SESSIONS):
            theirs = algorithm.as_stateful_wrapper(self._target_return)
            before = np.concatenate([[0], clicks[:-1, session]])  # d3rlpy is told together with what follows
            expected = [theirs.predict(*one) for one in zip(sessions[:, session], before, strict=True)]
            check_same(np.stack(found)[:, session], np.stack(expected), algorithm)
        return policy

    def _exported(self, algorithm: Any) -> DecisionTransformerPolicy:
        import torch

        from gems_gym_agents.actors import network_from_modules, scaled_inputs
        from gems_gym_agents.offline.sequence_policy import DecisionTransformerPolicy
        from gems_gym_agents.torch_state import array_of

        transformer = algorithm.impl.modules.transformer
        gpt2 = transformer._gpt2
        modules = {
            "return": [scaled_inputs(transformer._rtg_embed, [self.options.return_scale])],
            "observation": hidden_layers(algorithm, transformer),
            "action": [transformer._action_embed],
            "embed": [transformer._embed_ln],
            "read_out": [gpt2._layer_norm, transformer._output, torch.nn.Tanh()],
        }
        for layer, block in enumerate(gpt2._transformer):
            attention, mlp = block._attention, block._mlp
            queries_keys_values = _side_by_side([attention._q, attention._k, attention._v])
            modules |= {
                f"attend.{layer}": [block._layer_norm1, queries_keys_values],
                f"combine.{layer}": [attention._proj],
                f"transform.{layer}": [block._layer_norm2, mlp._l1, mlp._activation, mlp._l2],
            }
        positions = array_of(transformer._position_encoding._embed.weight)  # a copy: training goes on
        return DecisionTransformerPolicy(
            {name: network_from_modules(layers) for name, layers in modules.items()},
            positions[: algorithm.config.max_timestep + 1],
            heads=self.options.heads,
            context=self.options.context,
            target_return=self._target_return,
        )


def _side_by_side(linears: list[Any]) -> Any:
    """One ``torch.nn.Linear`` whose outputs are those of several of the same input, one after the other."""
    import torch

    inputs, outputs = linears[0].in_features, sum(one.out_features for one in linears)
    joined = torch.nn.utils.skip_init(torch.nn.Linear, inputs, outputs)  # nothing is drawn: training goes on
    with torch.no_grad():
        joined.weight.copy_(torch.cat([one.weight for one in linears]))
        joined.bias.copy_(torch.cat([one.bias for one in linears]))
    return joined
