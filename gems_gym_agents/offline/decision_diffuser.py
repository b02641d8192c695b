"""An agent that imagines sessions: the decision diffuser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from gems_gym.common.checks import Count, NonNegative, Positive
from gems_gym_agents.offline.agent import OfflineAgent
from gems_gym_agents.offline.exporting import check_same, probe_noise, scaling
from gems_gym_agents.offline.options import TrainingOptions

if TYPE_CHECKING:
    from gems_gym.policies.saved import LatentPolicy
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer
    from gems_gym_agents.offline.windows import Windows


@dataclass(frozen=True, kw_only=True)
class DecisionDiffuserOptions(TrainingOptions):
    """Options of the decision diffuser.

    Attributes:
        batch_size: Pieces of sessions of one update, ≥ 1.
        observation_scaler: As of other agents; noise is of the size of beliefs that have standard deviation 1.
        learning_rate: Learning rate of Adam, > 0.
        horizon: Beliefs of a piece, ≥ 2.
        noise_levels: Between clean beliefs and noise, in training, ≥ 1.
        sampling_steps: How many of them are gone through when acting, ≥ 1, a divisor of their number; acting takes time
            in proportion.
        unconditioned: Share of pieces whose return the denoiser is not told in training, in [0, 1).
        guidance: Weight of what is imagined for the return asked for, against what is without one, ≥ 0.
        target_percentile: Which return is asked for, in percent of the pieces of the dataset.
    """

    observation_scaler: Literal["standard", "minmax"] | None = "standard"
    learning_rate: Positive = 1e-3
    horizon: Annotated[int, Ge(2)] = 20
    noise_levels: Count = 100
    sampling_steps: Count = 10
    unconditioned: Annotated[float, Interval(ge=0, lt=1)] = 0.25
    guidance: NonNegative = 1.2
    target_percentile: Annotated[float, Interval(ge=0, le=100)] = 90.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_levels % self.sampling_steps:
            raise ValueError(
                f"sampling_steps={self.sampling_steps} does not divide noise_levels={self.noise_levels}"
            )


class DecisionDiffuserAgent(OfflineAgent):
    """Decision diffuser (Ajay et al. 2023, arXiv 2211.15657, Algorithm 1): imagines what earns much, and goes there.

    What is learned, and how it acts (section 3 of the paper)::

        L_denoiser = mean (D(s, c·x + n·ε, c, n, R) − x)²,  ε ~ N(0, 1),  c² + n² = 1
        L_inverse  = mean (tanh f(s, s') − a)²
        acting       x = D without R + guidance·(D with R − D without R),  a = tanh f(s, first of x)

    s is the belief, x the ``horizon`` − 1 beliefs that follow, s' the first of them, a the recorded latent and R what x
    earns, which D is not told for a share of ``unconditioned``. Acting, D turns noise into x in ``sampling_steps``
    steps, for the R at ``target_percentile`` of the dataset (classifier-free guidance).

    No value is learned, so nothing can run away.

    Ours differs in this: both networks are small and fully connected; the denoiser predicts the clean beliefs, from
    which the noise follows, so that a few steps are enough; the return of a piece is its mean clicks a step, which does
    not depend on how much of the session is left. Options: :class:`DecisionDiffuserOptions`.
    """

    options_class = DecisionDiffuserOptions
    options: DecisionDiffuserOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes a configuration of d3rlpy's form; the algorithm is ours."""
        from gems_gym_agents.offline.diffuser_learner import DecisionDiffuserConfig

        options = self.options
        return DecisionDiffuserConfig(
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            encoder_factory=self.encoder(d3rlpy),
            optim_factory=self.optimizer(d3rlpy),
            horizon=options.horizon,
            noise_levels=options.noise_levels,
            unconditioned=options.unconditioned,
        )

    def data_settings(self, d3rlpy: Any, buffer: SessionReplayBuffer) -> dict[str, Any]:
        """The scaler; the pieces, and the return that is asked for, are kept too."""
        from gems_gym_agents.offline.windows import SessionWindows

        self._windows = SessionWindows(buffer.sessions, self.options.horizon)
        target = float(np.percentile(self._windows.earned, self.options.target_percentile))
        self._asked = float(self._windows.standardised(target))
        return super().data_settings(d3rlpy, buffer)

    def sample(self, buffer: SessionReplayBuffer) -> Windows:
        """Draws pieces of sessions."""
        return self._windows.sample(self.options.batch_size, buffer.generator)

    @classmethod
    def policy_class(cls) -> type[LatentPolicy]:
        """One that imagines."""
        from gems_gym_agents.offline.diffuser_policy import DecisionDiffuserPolicy

        return DecisionDiffuserPolicy

    def export(self, algorithm: Any, observations: NDArray[np.float32]) -> LatentPolicy:
        """Exports both networks; see :meth:`OfflineAgent.export`. They are compared on noise."""
        import torch

        from gems_gym_agents.actors import WithInput, network_from_modules
        from gems_gym_agents.offline.diffuser_policy import DecisionDiffuserPolicy, noise_levels

        options, modules, networks = self.options, algorithm.impl.modules, {}
        for name, module, end in (
            ("denoiser", modules.denoiser, []), ("inverse", modules.inverse, [torch.nn.Tanh()])
        ):  # fmt: skip
            networks[name] = network_from_modules([module.hidden._layers, WithInput(), module.last, *end])
            rows = probe_noise(len(observations), networks[name].input_size)
            with torch.no_grad():
                expected = torch.nn.Sequential(module, *end)(
                    torch.as_tensor(rows, device=algorithm.impl.device)
                )
            check_same(networks[name](rows), expected.cpu().numpy(), algorithm)
        every = options.noise_levels // options.sampling_steps
        return DecisionDiffuserPolicy(
            networks,
            np.stack(scaling(algorithm)).astype(np.float32),
            noise_levels(options.noise_levels)[every - 1 :: every],
            asked=self._asked,
            guidance=options.guidance,
        )
