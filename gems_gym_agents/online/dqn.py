"""DQN (Mnih et al., 2015, doi 10.1038/nature14236) over a few candidate slates, through stable-baselines3: a baseline.

The candidates are logged slates, those next to the centres of a k-means of all of them by the mean of their item
embeddings, which are the ones that the environment's belief has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import TransformAction
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans, vq

from gems_gym.common.checks import Count, Probability
from gems_gym.policies.base import Shown
from gems_gym.pretraining.session_log import SessionLog
from gems_gym_agents.layers import layers_of
from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.candidate_slates import CandidateSlates
from gems_gym_agents.online.options import OffPolicyOptions

if TYPE_CHECKING:
    from stable_baselines3 import DQN

_RANDOM_SLATES = 5_000
"""How many are drawn where no log is given."""


@dataclass(frozen=True, kw_only=True)
class DQNOptions(OffPolicyOptions):
    """Settings of DQN.

    Attributes:
        candidates: Slates to choose among, at most; some centres have the same nearest slate.
        log: File of logged sessions, as ``gems-gym pretrain ranker --log FILE`` writes it, whose slates are clustered;
            None for random slates.
        epsilon: Share of steps with random candidates, after those before ``learning_starts``.
        tau: Polyak coefficient, after each step of the vector environment, of the network that targets come from.
    """

    agent: ClassVar[str] = "dqn"

    candidates: Count = 100
    log: str | None = None
    epsilon: Probability = 0.05
    tau: Probability = 0.02


class DQNAgent(OnlineAgent):
    """Learns online what each of some candidate slates is worth to a user; shows the best of them.

    Args:
        **options: See :class:`DQNOptions`.
    """

    options_class = DQNOptions
    options: DQNOptions
    actions: ClassVar[Shown] = "slates"
    policy_class = CandidateSlates

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> DQN:
        """Makes SB3's model, which acts in numbers of candidates."""
        from stable_baselines3 import DQN

        from gems_gym_agents.online.settings import off_policy_settings

        slates = candidate_slates(env, self.options, seed)
        which = spaces.Discrete(len(slates))
        choosing = TransformAction(env, slates.__getitem__, batch_space(which, env.num_envs), which)
        return DQN(
            "MlpPolicy",
            tau=self.options.tau,
            target_update_interval=env.num_envs,
            exploration_initial_eps=self.options.epsilon,
            exploration_final_eps=self.options.epsilon,
            **off_policy_settings(self.options, choosing, seed=seed, device=device),
        )

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> CandidateSlates:
        """Copies the network and the candidates."""
        from gems_gym_agents.actors import network_from_modules

        slates = model.env.env.func(np.arange(model.action_space.n))
        return CandidateSlates(network_from_modules([model.q_net.q_net]), slates, metadata)


def candidate_slates(env: VectorEnv, options: DQNOptions, seed: int) -> NDArray[np.int64]:
    """The logged slates next to the centres of their k-means, int64 ``(num_candidates, slate_size)``.

    Args:
        env: Whose belief has item embeddings.
        options: How many there are to be, and where the log is.
        seed: Of random slates and of the k-means.

    Raises:
        FileNotFoundError: There is no such log.
        ValueError: No item embeddings, no log of this catalogue and slate size, or more candidates than slates in it.
    """
    tensors: list[Any] = [getattr(getattr(one, "encoder", None), "tensors", {}) for one in layers_of(env)]
    embeddings = next((one["item_embeddings"] for one in tensors if "item_embeddings" in one), None)
    if embeddings is None:
        raise ValueError(
            "dqn compares slates by the belief's item embeddings; give a trained belief, such as a GRU"
        )
    rng = np.random.default_rng(seed)
    slates = np.unique(_logged_slates(env, options.log, rng), axis=0)
    if options.candidates > len(slates):
        raise ValueError(
            f"candidates must be at most the number of different slates logged, {len(slates)}; got {options.candidates}"
        )
    means = embeddings[slates].mean(axis=1, dtype=np.float64)  # (num_slates, embedding_size)
    centres, _ = kmeans(means, options.candidates, iter=1, rng=rng)
    nearest, _ = vq(centres, means)
    found: NDArray[np.int64] = slates[np.unique(nearest)]
    return found


def _logged_slates(env: VectorEnv, log: str | None, rng: np.random.Generator) -> NDArray[np.int64]:
    action: Any = env.single_action_space
    num_items, slate_size = int(action.nvec[0]), len(action.nvec)
    if log is None:
        return np.stack([rng.choice(num_items, slate_size, replace=False) for _ in range(_RANDOM_SLATES)])
    sessions, catalog = SessionLog.load(Path(log)), env.unwrapped.catalog  # type: ignore[attr-defined]
    if (sessions.catalog_hash, sessions.slates.shape[2]) != (catalog.hash, slate_size):
        raise ValueError(
            f"log={log!r} holds slates of {sessions.slates.shape[2]} of the catalogue {sessions.catalog_hash}; slates "
            f"of {slate_size} of the catalogue {catalog.hash} were expected"
        )
    return sessions.slates.reshape(-1, slate_size).astype(np.int64)
