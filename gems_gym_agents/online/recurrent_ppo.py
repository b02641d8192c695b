"""PPO with an LSTM of its own, which sees raw slates and clicks, through sb3-contrib.

A finished agent is an ordinary one: its LSTM, as a belief encoder, and its layers, as a policy on these beliefs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym.beliefs.lstm import LstmBelief
from gems_gym.common.checks import Units
from gems_gym_agents.online.options import OnPolicyOptions
from gems_gym_agents.online.ppo import PPOAgent

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm


@dataclass(frozen=True, kw_only=True)
class RecurrentPPOOptions(OnPolicyOptions):
    """Settings of PPO with an LSTM.

    Attributes:
        lstm_size: Units of the actor's LSTM, the size of the agent's belief, and of the critic's.
        pretrained: Whether item embeddings start from those of the environment's belief; from random ones of the same
            size otherwise.
    """

    agent: ClassVar[str] = "recurrent_ppo"

    lstm_size: Units = 64
    pretrained: bool = True


class RecurrentPPOAgent(PPOAgent):
    """PPO whose actor and critic follow sessions by an LSTM each, from slates and clicks.

    What is learned, with b_t for the belief that the actor's LSTM makes of the slates and clicks until t, c_t for the
    critic's::

        L   = −mean min(ρ·Â, clip(ρ, 1 − clip_range, 1 + clip_range)·Â)
              + ½ mean (V(c) − R)² − entropy_weight·mean H(π(b))
        ρ   = π(a|b) / π_old(a|b),  R = A + V_old(c),  Â = (A − mean A) / deviation of A
        A_t = Σ_k (gamma·gae_lambda)^k·δ_{t+k},  δ_t = r_t + gamma·V_old(c_{t+1}) − V_old(c_t)

    a is the latent before it is cut to the box, r the clicks, H the entropy; mean and deviation are those of a
    mini-batch, and "old" marks the networks that played the rollout. What would follow where a user has left counts as
    0.

    It learns in the same environments as the others, seen through a GRU belief, of which it takes the item embeddings
    alone.

    Args:
        **options: See :class:`RecurrentPPOOptions`.
    """

    options_class = RecurrentPPOOptions
    options: RecurrentPPOOptions
    library = "sb3_contrib"

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> OnPolicyAlgorithm:
        """Makes sb3-contrib's model."""
        from sb3_contrib import RecurrentPPO

        from gems_gym_agents.online.end_to_end_model import MomentLayout, SessionMoments, environment_belief
        from gems_gym_agents.online.recurrent_model import SlateFeatures
        from gems_gym_agents.online.settings import on_policy_settings

        belief = environment_belief(env)
        layout = MomentLayout(num_states=0, state_size=0, slate_size=belief.slate_size)
        moments = SessionMoments(env, layout, list)  # of slates and clicks alone
        settings = on_policy_settings(self.options, moments, seed=seed, device=device)
        settings["policy_kwargs"] |= {
            "lstm_hidden_size": self.options.lstm_size,
            "features_extractor_class": SlateFeatures,
            "features_extractor_kwargs": {
                "layout": layout, "belief": belief, "pretrained": self.options.pretrained,
            },
        }  # fmt: skip
        return RecurrentPPO("MlpLstmPolicy", **settings)

    def export_belief(self, model: Any, header: dict[str, Any]) -> LstmBelief:
        """The actor's LSTM as a belief encoder."""
        from gems_gym_agents.online.recurrent_model import export_lstm

        return export_lstm(model.policy, header)
