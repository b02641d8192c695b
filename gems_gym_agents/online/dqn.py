"""DQN (Mnih et al., 2015, doi 10.1038/nature14236) over a few candidate slates, through stable-baselines3: a baseline.

The candidates are logged slates, those next to the centres of a k-means of all of them by the mean of their item
embeddings, which are the ones that the environment's belief has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import TransformAction

from gems_gym.common.checks import Count, Probability
from gems_gym.policies.base import Shown
from gems_gym.pretraining.session_log import SessionLog
from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.candidate_slates import CandidateSlates, candidate_slates
from gems_gym_agents.online.options import OffPolicyOptions

if TYPE_CHECKING:
    from stable_baselines3 import DQN


@dataclass(frozen=True, kw_only=True)
class DQNOptions(OffPolicyOptions):
    """Settings of DQN.

    Attributes:
        candidates: Slates to choose among, at most; some centres have the same nearest slate.
        log: File of logged sessions, as ``gems-gym pretrain ranker --log FILE`` writes it, whose slates are clustered;
            None for random slates.
        epsilon: Share of steps with random candidates, after those before ``learning_starts``.
        tau: Polyak coefficient, in (0, 1], after each step of the vector environment, of the network that targets come
            from.
    """

    agent: ClassVar[str] = "dqn"

    candidates: Count = 100
    log: str | None = None
    epsilon: Probability = 0.05
    tau: Annotated[float, Interval(gt=0, le=1)] = 0.02


class DQNAgent(OnlineAgent):
    """Learns online what each of some candidate slates is worth to a user; shows the best of them.

    What is learned, and what is shown::

        L     = mean h(Q(s, c) − r − gamma·(1 − end)·max_d Q'(s', d))
        shown   argmax_c Q(s, c)

    s is the belief, c and d candidates, r the clicks times ``reward_scale``, ``end`` 1 where the user has left, s' the
    next belief and Q' the target network. h(x) is x²/2 for |x| ≤ 1, |x| − ½ beyond.

    Args:
        **options: See :class:`DQNOptions`.
    """

    options_class = DQNOptions
    options: DQNOptions
    actions: ClassVar[Shown] = "slates"
    policy_class = CandidateSlates

    @property
    def files_sha256(self) -> dict[str, str]:
        """Hash of the log."""
        log = self.options.log
        return {} if log is None else {"log_sha256": SessionLog.load(Path(log)).sha256()}

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> DQN:
        """Makes SB3's model, which acts in numbers of candidates."""
        from stable_baselines3 import DQN

        from gems_gym_agents.online.settings import off_policy_settings

        # the same for all starts of a run, also of one that is resumed
        drawn_by = seed if self._seed is None else self._seed
        slates = candidate_slates(env, self.options.candidates, self.options.log, drawn_by)
        which = spaces.Discrete(len(slates))
        choosing = TransformAction(env, slates.__getitem__, batch_space(which, env.num_envs), which)
        model = DQN(
            "MlpPolicy",
            tau=self.options.tau,
            target_update_interval=env.num_envs,
            exploration_initial_eps=self.options.epsilon,
            exploration_final_eps=self.options.epsilon,
            **off_policy_settings(self.options, choosing, seed=seed, device=device),
        )
        model.exploration_rate = self.options.epsilon  # which SB3 sets after a step only
        return model

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> CandidateSlates:
        """Copies the network and the candidates."""
        from gems_gym_agents.actors import network_from_modules

        slates = model.env.env.func(np.arange(model.action_space.n))
        return CandidateSlates(network_from_modules([model.q_net.q_net]), slates, metadata)
