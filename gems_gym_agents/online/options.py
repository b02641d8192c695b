"""What the options of online agents have in common, and SAC's; those of the others stand beside the agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from gems_gym.common.checks import (
    Checked,
    Count,
    Discount,
    NonNegative,
    Positive,
    Probability,
    Units,
    WholeNumber,
)


@dataclass(frozen=True, kw_only=True)
class OnlineOptions(Checked):
    """Settings of every online agent; the defaults are the project's recipe for beliefs and GeMS latents.

    Attributes:
        agent: The name of the agent whose settings these are.
        gamma: Discount factor, in [0, 1).
        net_arch: Units of the hidden layers, the same for actor and critics.
        learning_rate: Learning rate of all networks, > 0.
        validate_every: Interactions in a round, rounded up to complete sessions of all users. At the end of each round
            the policy is kept, scored if ``evaluate`` is given, and the state is saved for resuming.
        starts: How many independent trainings begin, each from a seed of its own, ≥ 1. After 1, 2, 4, ... rounds the
            half that scores worse on validation users is dropped, until one is left (successive halving), because where
            an agent ends depends much on what it finds early. The interactions of dropped starts count as well.
        averaged_share: Share of the training, at its end, whose policies are averaged, in [0, 1]. The mean of their
            weights is kept as one more policy, the last one
            (:func:`gems_gym_agents.online.checkpoints.mean_policy`). With 0 there is none.
    """

    agent: ClassVar[str]

    gamma: Discount = 0.8
    net_arch: tuple[Units, ...] = (128, 128)
    learning_rate: Positive = 1e-3
    validate_every: Count = 50_000
    starts: Annotated[int, Interval(ge=1, le=1024)] = 1
    averaged_share: Probability = 0.5

    @property
    def steps_at_once(self) -> int:
        """Steps of each user between two times of learning."""
        return 1

    def check_steps(self, steps: int) -> None:
        """Raise a ValueError if so many interactions are too few for a single update."""


@dataclass(frozen=True, kw_only=True)
class OffPolicyOptions(OnlineOptions):
    """Settings of agents that learn from a replay buffer.

    Attributes:
        batch_size: Transitions per update, ≥ 1.
        gradient_steps: Gradient updates after each step of the vector environment, ≥ 1. With 1 instead of 4, for 100
            users, a run of the same length is three times as fast, but learns later and varies more between seeds.
        learning_starts: Interactions with uniformly random actions before the first update.
        buffer_size: Transitions in the replay buffer, all users together; each takes about 290 bytes with beliefs of 20
            numbers and latents of 32.
        reward_scale: Factor on rewards inside the algorithm, > 0; reports stay in raw clicks.
    """

    batch_size: Count = 256
    gradient_steps: Count = 4
    learning_starts: WholeNumber = 10_000
    buffer_size: Count = 300_000
    reward_scale: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size > self.buffer_size:
            raise ValueError(
                f"batch_size must be at most buffer_size={self.buffer_size}, got {self.batch_size}"
            )

    def check_steps(self, steps: int) -> None:
        """Raise a ValueError if so many interactions are too few for a single update."""
        if steps <= self.learning_starts:
            raise ValueError(
                f"steps={steps}: the first learning_starts={self.learning_starts} interactions are random and "
                "teach nothing; ask for more steps, or for a smaller learning_starts"
            )


@dataclass(frozen=True, kw_only=True)
class TargetOptions(OffPolicyOptions):
    """Settings of agents whose critics have slowly moving copies, from which their targets come.

    Attributes:
        tau: Polyak coefficient of the target critics, in (0, 1].
        layer_norm: Whether each hidden layer of actor and critics is followed by ``LayerNorm``.
    """

    tau: Annotated[float, Interval(gt=0, le=1)] = 0.005
    layer_norm: bool = True


@dataclass(frozen=True, kw_only=True)
class EntropyOptions:
    """Settings of agents that maximise entropy beside clicks; a mix-in.

    Attributes:
        initial_entropy: Initial entropy coefficient, > 0, tuned during training: SB3's ``ent_coef="auto_0.05"``. From
            SB3's default, 1, the entropy of 32 latent dimensions outweighs the clicks for most of a short run.
        target_entropy: Target entropy in nats; ``None`` for minus the number of latent dimensions.
    """

    initial_entropy: Positive = 0.05
    target_entropy: float | None = None


@dataclass(frozen=True, kw_only=True)
class SACOptions(EntropyOptions, TargetOptions):
    """Settings of SAC.

    Attributes:
        hold_random_actions: Whether the random actions before ``learning_starts`` are drawn once per session instead of
            at every step. SAC then learns first what a constant latent is worth over a session.
        start_from: A trained agent's folder, or a policy's file or shipped name, of the same ranker and belief: the
            clone of a better agent, for example. With a little noise it plays the interactions before
            ``learning_starts``; then SAC learns to do the same, and what that is worth, before it learns on. None for
            random actions.
    """

    agent: ClassVar[str] = "sac"

    hold_random_actions: bool = False
    start_from: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_from is not None and (self.hold_random_actions or self.learning_starts < 1):
            raise ValueError(
                f"start_from={self.start_from!r} plays the interactions before learning_starts, which must be ≥ 1, "
                "and goes without hold_random_actions"
            )


@dataclass(frozen=True, kw_only=True)
class EndToEndOptions(SACOptions):
    """Settings of SAC whose actor and critics have a GRU of their own, trained with them.

    Attributes:
        window: Moments that gradients reach back, ≥ 1; the state before them is the one recorded when they were met.
        pretrained: Whether the GRUs start from the environment's belief; from random weights of its sizes otherwise.
        buffer_size: Transitions kept, over all users (about 650 bytes each for beliefs of 20 and slates of 10).
    """

    agent: ClassVar[str] = "sac_end_to_end"

    window: Count = 5
    pretrained: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_from is not None:
            raise ValueError(f"start_from={self.start_from!r} goes with 'sac', which learns on fixed beliefs")


@dataclass(frozen=True, kw_only=True)
class OnPolicyOptions(OnlineOptions):
    """Settings of agents that learn from what the present policy has just met, in rollouts of all users.

    A round is rounded up to complete rollouts as well, and so are all interactions.

    Attributes:
        rollout_steps: Steps of each user between two times of learning, ≥ 1.
        epochs: How often each rollout is learned from, ≥ 1.
        minibatches: Into how many mini-batches of one size a rollout of all users is divided, ≥ 1.
        gae_lambda: λ of generalised advantage estimation, in [0, 1].
        clip_range: How far the probability of an action may move away from what it was, as a share, > 0.
        entropy_weight: Weight of the policy's entropy in the loss, ≥ 0.
        initial_deviation: Standard deviation of the first actions in every latent dimension, > 0; it is learned.
    """

    rollout_steps: Count = 20
    epochs: Count = 10
    minibatches: Count = 10
    gae_lambda: Probability = 0.95
    clip_range: Positive = 0.2
    entropy_weight: NonNegative = 0.0
    initial_deviation: Positive = 0.5

    @property
    def steps_at_once(self) -> int:
        """Steps of each user between two times of learning."""
        return self.rollout_steps

    def minibatch_size(self, num_users: int) -> int:
        """Transitions in a mini-batch.

        Raises:
            ValueError: The rollouts of so many users can't be divided into mini-batches of one size, or these would
                hold a single transition each.
        """
        transitions = num_users * self.rollout_steps
        size, rest = divmod(transitions, self.minibatches)
        if rest or size < 2:
            raise ValueError(
                f"minibatches={self.minibatches} must divide the rollout_steps={self.rollout_steps} steps of "
                f"{num_users} users, {transitions} transitions, into mini-batches of one size, at least 2"
            )
        return size
