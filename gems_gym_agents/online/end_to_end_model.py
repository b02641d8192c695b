"""The model of end-to-end SAC: what it observes of sessions, its replay buffer, its GRUs, and SB3's SAC around them.

A *moment* of a session is the slate just shown, its clicks, and the networks' states before them. The environment is
seen as moments (:class:`SessionMoments`), the replay buffer gives windows of them (:class:`WindowReplayBuffer`), and
:class:`GruFeatures` turns a window into the belief that actor and critics act on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from stable_baselines3 import SAC
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor, nn

from gems_gym.beliefs import BeliefEncoder, GruBelief
from gems_gym.pretraining.belief import BeliefSettings
from gems_gym.pretraining.gru import GruBeliefModel
from gems_gym_agents.layers import layers_of
from gems_gym_agents.online.model import make_sac
from gems_gym_agents.online.options import EndToEndOptions
from gems_gym_agents.online.settings import LayerNorm, ScaledReplayBuffer

_ACTOR, _CRITIC = range(2)  # whose state is where in a moment


def make_end_to_end(options: EndToEndOptions, env: VectorEnv, *, seed: int, device: str = "cpu") -> SAC:
    """Makes the model, as :func:`gems_gym_agents.online.model.make_sac` does.

    Args:
        options: The settings.
        env: Environment of slates seen through a GRU belief, which the networks start from or have the sizes of.
        seed: See :func:`~gems_gym_agents.online.model.make_sac`.
        device: See :func:`~gems_gym_agents.online.model.make_sac`.

    Raises:
        ValueError: The environment's belief is no GRU of pooled slates.
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


def environment_belief(env: VectorEnv) -> GruBelief:
    """The belief encoder that an environment is seen through.

    Raises:
        ValueError: There is none, or one of another kind than GRU.
    """
    for layer in layers_of(env):
        belief = getattr(layer, "encoder", getattr(layer, "belief", None))
        if isinstance(belief, GruBelief):
            return belief
    raise ValueError(
        f"source={env} is not seen through a GRU belief, whose weights or sizes end-to-end training starts from; make "
        "a GemsSlateLatent environment, or wrap it in VectorBeliefObservation"
    )


@dataclass(frozen=True)
class MomentLayout:
    """Where the numbers of a moment stand in its row.

    Attributes:
        num_states: Networks with a state of their own.
        state_size: Numbers in a state.
        slate_size: Items in a slate.
    """

    num_states: int
    state_size: int
    slate_size: int

    @property
    def width(self) -> int:
        """Numbers in a moment."""
        return self.num_states * self.state_size + 2 * self.slate_size + 1

    def state(self, which: int) -> slice:
        """The state of one network before it takes in the slate."""
        return slice(which * self.state_size, (which + 1) * self.state_size)

    @property
    def slate(self) -> slice:
        """The item ids of the slate."""
        start = self.num_states * self.state_size
        return slice(start, start + self.slate_size)

    @property
    def clicks(self) -> slice:
        """The clicks on it."""
        return slice(self.slate.stop, self.slate.stop + self.slate_size)

    step = -1
    """Steps of the session before it: 0 for the first slate. Negative where there is no moment."""


class SessionMoments(VectorWrapper):
    """Observes rows of :class:`MomentLayout`: float32, item ids as numbers.

    The states are those of recurrent encoders that follow every session from its beginning, as they will once they are
    trained. They are asked for again once every user has begun a session since the last time. Where all sessions are of
    one length they stay the same within a session; where users leave, other sessions may be under way.

    Args:
        env: Many users in lockstep, in the autoreset mode SAME_STEP, whose infos hold slates and clicks; what it
            observes itself is not used.
        layout: How many states of which size, and the slates' size.
        encoders: Gives the encoders as the networks are now, one for each state.
    """

    def __init__(
        self, env: VectorEnv, layout: MomentLayout, encoders: Callable[[], Sequence[BeliefEncoder]]
    ) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError("env must be in the autoreset mode SAME_STEP")
        self.layout = layout
        self._ask = encoders
        self._encoders: Sequence[BeliefEncoder] = ()
        self._begun = np.zeros(env.num_envs, dtype=np.bool_)  # a session, since the encoders were asked for
        self._states = np.zeros((layout.num_states, env.num_envs, layout.state_size), dtype=np.float32)
        self._steps = np.zeros(env.num_envs, dtype=np.int64)
        self.single_observation_space = moment_box(env, layout)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts sessions of all users."""
        _, infos = self.env.reset(seed=cast(int | None, seed), options=options)
        self._begin(np.ones(self.num_envs, dtype=np.bool_))
        return self._take_in(infos), infos

    def step(self, actions: Any) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """Steps every user; ``infos["final_obs"]`` holds the last moments of sessions that ended."""
        _, rewards, terminations, truncations, infos = self.env.step(actions)
        self._steps += 1
        ended = np.logical_or(terminations, truncations)
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            moments = self._moments(infos["final_info"])
            for user in np.flatnonzero(ended):
                final[user] = moments[user]
            infos = {**infos, "final_obs": final}
            self._begin(ended)
        return self._take_in(infos), rewards, terminations, truncations, infos

    def _begin(self, users: np.ndarray) -> None:
        self._begun |= users
        if self._begun.all():
            self._encoders = self._ask()
            self._begun[:] = False
        self._states[:, users] = 0.0
        self._steps[users] = 0

    def _take_in(self, infos: dict[str, Any]) -> np.ndarray:
        """The moments of the slates in the infos; the states move on past them."""
        moments = self._moments(infos)
        for which, encoder in enumerate(self._encoders):
            self._states[which] = encoder.update(self._states[which], infos["slate"], infos["clicks"])
        return moments

    def _moments(self, infos: dict[str, Any]) -> np.ndarray:
        """(num_users, width) float32."""
        parts = [*self._states, infos["slate"], infos["clicks"], self._steps[:, None]]
        return np.concatenate(parts, axis=1, dtype=np.float32)


def moment_box(env: VectorEnv, layout: MomentLayout) -> spaces.Box:
    """The observation space of moments in a slate environment."""
    config = env.unwrapped.config  # type: ignore[attr-defined]
    low = np.zeros(layout.width, dtype=np.float32)
    high = np.ones(layout.width, dtype=np.float32)
    low[: layout.slate.start] = -1.0
    high[layout.slate] = config.num_items - 1
    high[layout.step] = config.episode_length
    return spaces.Box(low, high)


class WindowReplayBuffer(ScaledReplayBuffer):
    """Samples have the last ``window`` moments of a session where SB3's have the last one.

    A window holds fewer where its session has just begun or earlier moments are no longer kept; it is filled up with
    rows whose step is negative. The moments of a user lie one after another, so nothing is stored twice for it.

    Args:
        *args: As :class:`ScaledReplayBuffer`.
        window: Moments in a window, at least 1.
        layout: Layout of a moment.
        **kwargs: As :class:`ScaledReplayBuffer`.
    """

    def __init__(self, *args: Any, window: int, layout: MomentLayout, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.window = window
        self.layout = layout

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Transitions at the given rows, each of a random user; observations ``(batch, window * width)``."""
        users = torch.randint(self.n_envs, (len(batch_inds),)).numpy()
        # since the oldest
        kept = (batch_inds - self.pos) % self.buffer_size + 1 if self.full else batch_inds + 1
        steps = self.observations[batch_inds, users, self.layout.step].astype(np.int64)
        known = np.minimum(kept, steps + 1)  # moments of the session up to this one that are there
        arrays = (
            self._windows(self.observations[batch_inds, users], batch_inds, users, known),
            self.actions[batch_inds, users],
            self._windows(self.next_observations[batch_inds, users], batch_inds + 1, users, known + 1),
            (self.dones[batch_inds, users] * (1 - self.timeouts[batch_inds, users]))[:, None],
            self.rewards[batch_inds, users][:, None],
        )
        return ReplayBufferSamples(*map(self.to_torch, arrays))

    def _windows(
        self, last: np.ndarray, rows: np.ndarray, users: np.ndarray, known: np.ndarray
    ) -> np.ndarray:
        """Windows that end with the given moments ``(batch, width)``, which come where ``rows`` are."""
        lengths = np.minimum(known, self.window)  # (batch,)
        places = np.arange(self.window) + (rows - lengths + 1)[:, None]  # (batch, window)
        windows = self.observations[places % self.buffer_size, users[:, None]]  # (batch, window, width)
        windows[np.arange(len(rows)), lengths - 1] = last
        windows[..., self.layout.step][np.arange(self.window) >= lengths[:, None]] = -1.0
        found: np.ndarray = windows.reshape(len(rows), -1)
        return found


class GruFeatures(BaseFeaturesExtractor):
    """Beliefs of the last of some moments in a row, by a GRU that takes in all of them.

    The GRU starts from its state before the first moment, as it was when the moment was recorded, and is unrolled from
    there: gradients reach as many steps back as there are moments (Kapturowski et al., ICLR 2019, "stored state").

    Args:
        observation_space: Observation space of one moment.
        layout: Layout of a moment.
        belief: What the GRU starts from, or, if ``pretrained`` is false, what it has the sizes of.
        pretrained: Whether it starts from the belief's weights; from random ones otherwise.

    Attributes:
        which: Whose of the moments' states is this GRU's.

    Raises:
        ValueError: A belief whose weights are not those of pooled slates.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], layout: MomentLayout, belief: GruBelief, pretrained: bool
    ) -> None:
        super().__init__(observation_space, features_dim=belief.size)
        self.layout, self.catalog_hash = layout, belief.catalog_hash
        self.which = 0
        settings = BeliefSettings(size=belief.size, embedding_size=belief.embedding_size)
        self.gru = GruBeliefModel(belief.num_items, belief.slate_size, settings)
        # SB3 has seeded torch's global generator
        self.gru.initialise(None, torch.Generator().manual_seed(int(torch.randint(2**31, ()))))
        if pretrained:
            load_pooled(self.gru, belief)
        del self.gru.head  # clicks are not predicted here

    def forward(self, observations: Tensor) -> Tensor:
        """``(batch, moments * width)`` to beliefs ``(batch, size)``; rows may end in moments that are none."""
        # (moments, batch, width)
        moments = observations.view(len(observations), -1, self.layout.width).transpose(0, 1)
        embedded = nn.functional.embedding(moments[..., self.layout.slate].long(), self.gru.item_embeddings)
        inputs = self.gru.inputs(embedded, moments[..., self.layout.clicks])
        beliefs = self.gru.beliefs(inputs, initial=moments[0, :, self.layout.state(self.which)])
        last = (moments[..., self.layout.step] >= 0).sum(0) - 1  # (batch,)
        found: Tensor = beliefs[last, torch.arange(len(observations), device=last.device)]
        return found

    def belief(self, header: dict[str, Any] | None = None) -> GruBelief:
        """The GRU as it is now, as a belief encoder that follows complete sessions without torch."""
        return GruBelief(self.gru.tensors(), self.catalog_hash, header)


class GruCritic(ContinuousCritic):
    """SB3's critics, without the gradient of their GRU where an actor is trained, which needs that of the action alone.

    It would be thrown away, but costs a fifth of an update.
    """

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Values of moments ``(batch, moments * width)`` and actions, one ``(batch, 1)`` from each critic."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not actions.requires_grad):
            features = self.extract_features(obs, self.features_extractor)
        inputs = torch.cat([features, actions], dim=1)
        return tuple(q_network(inputs) for q_network in self.q_networks)


class GruCriticPolicy(SACPolicy):
    """SB3's ``SACPolicy`` with such critics."""

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> GruCritic:
        """Makes them."""
        settings = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return GruCritic(**settings).to(self.device)


class GruSACPolicy(LayerNorm, GruCriticPolicy):
    """The same with layer normalisation."""


@torch.no_grad()
def load_pooled(model: GruBeliefModel, belief: GruBelief) -> None:
    """Takes over the weights of a belief encoder that was trained on pooled slates.

    There every slot's weights are one matrix for clicked and one for other items, times a number of the slot.

    Raises:
        ValueError: The weights are no such product.
    """
    tensors = belief.tensors
    weights = tensors["weight_items"].astype(np.float64)  # (2, slate_size, gates, E)
    matrices = weights[:, 0]  # (2, gates, E)
    norms = np.einsum("cge,cge->c", matrices, matrices)
    slots = np.einsum("csge,cge->cs", weights, matrices) / norms[:, None]
    error = np.abs(slots[:, :, None, None] * matrices[:, None] - weights).max()
    if not error <= 1e-4 * np.abs(weights).max():
        raise ValueError(
            "the belief's weights are not those of pooled slates (slate_input='pooled'), which end-to-end training "
            "starts from; pretrain one, or start from random weights with pretrained=False"
        )
    assert model.slot_weights is not None
    for parameter, values in (
        (model.item_embeddings, tensors["item_embeddings"]),
        (model.slot_weights, slots),
        (model.items_to_inputs.weight, matrices.transpose(1, 0, 2).reshape(matrices.shape[1], -1)),
        (model.items_to_inputs.bias, tensors["bias_ih"]),
        (model.clicks_to_inputs.weight, tensors["weight_clicks"].T),
        (model.recurrence.weight, tensors["weight_hh"]),
        (model.recurrence.bias, tensors["bias_hh"]),
    ):
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
