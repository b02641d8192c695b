"""SAC whose actor and critics each have a GRU of their own, trained with them on raw slates and clicks.

A finished actor is an ordinary one: its GRU, as a belief encoder, and its layers, as a policy on these beliefs.

In training a GRU is unrolled over the last moments of a session from its recorded state before them. So it sees what
it will see when it follows complete sessions, except that recorded states grow old: they are those of the networks as
they were when the session began.
"""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv
from stable_baselines3 import SAC

from gems_gym.beliefs import GruBelief
from gems_gym_agents.online.gru_features import GruFeatures, GruSACPolicy
from gems_gym_agents.online.model import make_sac
from gems_gym_agents.online.options import EndToEndOptions
from gems_gym_agents.online.session_moments import MomentLayout, SessionMoments
from gems_gym_agents.online.vec_env import layers_of
from gems_gym_agents.online.window_replay_buffer import WindowReplayBuffer

_ACTOR, _CRITIC = range(2)  # whose state is where in a moment


def make_end_to_end(options: EndToEndOptions, env: VectorEnv, *, seed: int, device: str = "cpu") -> SAC:
    """Makes the model, as :func:`gems_gym_agents.online.model.make_sac` does.

    Args:
        options: the settings.
        env: of slates seen through a GRU belief, which the networks start from or have the sizes of.
        seed: as there.
        device: as there.

    Raises:
        ValueError: the environment's belief is no GRU of pooled slates.
    """
    belief = environment_belief(env)
    layout = MomentLayout(num_states=2, state_size=belief.size, slate_size=belief.slate_size)
    networks: list[GruFeatures] = []  # those whose states are in the moments; known once the model is made
    moments = SessionMoments(env, layout, lambda: [network.belief() for network in networks])
    settings: dict[str, Any] = {"layout": layout, "belief": belief, "pretrained": options.pretrained}
    model = make_sac(
        options,
        moments,
        seed=seed,
        device=device,
        policy_class=GruSACPolicy,
        replay_buffer_class=WindowReplayBuffer,
        replay_buffer_kwargs={"window": options.window, "layout": layout},
        policy_kwargs={"features_extractor_class": GruFeatures, "features_extractor_kwargs": settings},
    )
    for part, which in ((model.actor, _ACTOR), (model.critic, _CRITIC), (model.critic_target, _CRITIC)):
        features_of(part).which = which
    networks += [features_of(model.actor), features_of(model.critic)]
    return model


def features_of(part: Any) -> GruFeatures:
    """The GRU of an actor or a critic."""
    features: GruFeatures = part.features_extractor
    return features


def export_belief(model: SAC, header: dict[str, Any]) -> GruBelief | None:
    """The actor's GRU as a belief encoder; ``None`` for a model that learns on frozen beliefs."""
    features = model.actor.features_extractor
    return features.belief(header) if isinstance(features, GruFeatures) else None


def environment_belief(env: VectorEnv) -> GruBelief:
    """The belief encoder that an environment is seen through.

    Raises:
        ValueError: there is none, or one of another kind than GRU.
    """
    for layer in layers_of(env):
        belief = getattr(layer, "encoder", getattr(layer, "belief", None))
        if isinstance(belief, GruBelief):
            return belief
    raise ValueError(
        f"source={env} is not seen through a GRU belief, whose weights or sizes end-to-end training starts from; make "
        "a GemsSlateLatent environment, or wrap it in VectorBeliefObservation"
    )
