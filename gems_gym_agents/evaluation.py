"""One evaluator for policies and agents: many users at once, users by seed, intervals, paired differences.

Besides clicks it measures what a policy gets them with: how much of the catalogue it shows, how different the items of
a slate are, how often users are bored, and how those fare who click least.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.common.arrays import t_interval
from gems_gym.common.checks import checked_arguments
from gems_gym.common.compilation import compiled
from gems_gym.common.progress import track
from gems_gym.policies import Policy, make_policy
from gems_gym.rollouts import Moment, play_sessions, user_batches
from gems_gym.simulator import Catalog

NUM_ENVS = 500
"""Users stepped together in evaluations; results do not depend on it."""

BEYOND_CLICKS = ("lower_decile", "catalogue_coverage", "intra_slate_diversity", "bored_steps")
"""Measures of an evaluation beside the mean return."""


@dataclass(frozen=True)
class Evaluation:
    """What a policy reached on some users, one session each.

    Attributes:
        name: The policy.
        user_seeds: The users, in order.
        returns: Clicks of every user's session, float64 ``(num_users,)``.
        clicks_per_step: Mean clicks at every step of the session, float64 ``(steps of the longest,)``; users who have
            left click nothing.
        lengths: Steps of every user's session, int64 ``(num_users,)``.
        catalogue_coverage: Share of the catalogue's items that some user is shown at some step, in [0, 1]. It grows
            with the number of users. The slates that sessions open with do not count here and below: no policy chose
            them. All three are None in an environment that is no world of slates.
        intra_slate_diversity: Mean over slates of the mean distance between two items of the slate, in [0, 2]: 1 minus
            the cosine of the angle between the catalogue's own embeddings (intra-list diversity, with cosine distance).
            0 where all items are alike, or slates have one item.
        bored_steps: Share of the steps at which some topic bores the user, in [0, 1]; privileged information.
        seconds: How long it took.
    """

    name: str
    user_seeds: tuple[int, ...] = field(repr=False)
    returns: NDArray[np.float64]  # (num_users,)
    clicks_per_step: NDArray[np.float64]  # (steps of the longest session,)
    lengths: NDArray[np.int64]  # (num_users,)
    catalogue_coverage: float | None
    intra_slate_diversity: float | None
    bored_steps: float | None
    seconds: float

    @property
    def mean_return(self) -> float:
        """Mean clicks a session."""
        return float(self.returns.mean())

    @property
    def mean_length(self) -> float:
        """Mean steps a session."""
        return float(self.lengths.mean())

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % t-interval of the mean over users; infinite for one user."""
        return t_interval(self.returns)

    @property
    def lower_decile(self) -> float:
        """Mean clicks a session of the tenth of the users, rounded up, who click least."""
        return float(np.sort(self.returns)[: -(-len(self.returns) // 10)].mean())

    def beyond_clicks(self) -> dict[str, float | None]:
        """The measures of :data:`BEYOND_CLICKS`, by name."""
        return {name: getattr(self, name) for name in BEYOND_CLICKS}

    def describe(self) -> dict[str, Any]:
        """The evaluation in a few numbers, JSON types.

        Returns:
            ``users`` (how many), ``mean_return``, ``ci95``, ``worst`` (fewest clicks of a session), and
            :meth:`beyond_clicks`.
        """
        return {
            "users": len(self.returns),
            "mean_return": self.mean_return,
            "ci95": self.ci95,
            "worst": float(self.returns.min()),
            **self.beyond_clicks(),
        }


@dataclass(frozen=True)
class References:
    """What 0 and 100 of the normalised score stand for: two policies on the evaluated users themselves.

    Attributes:
        random: Mean return of random slates: 0.
        boredom_aware_oracle: Mean return of the privileged planner: 100.
    """

    random: float
    boredom_aware_oracle: float

    def normalized_score(self, mean_return: float) -> float:
        """Where a return stands between random slates (0) and the boredom-aware oracle (100).

        NaN if these two earn the same.
        """
        if self.boredom_aware_oracle == self.random:
            return np.nan
        return 100.0 * (mean_return - self.random) / (self.boredom_aware_oracle - self.random)


@checked_arguments
def evaluate(
    policy: Policy,
    env: VectorEnv[Any, Any, Any],
    user_seeds: Sequence[int],
    *,
    name: str = "policy",
    progress: bool = False,
) -> Evaluation:
    """Play one session with every user and count clicks.

    Args:
        policy: Acts in ``env``.
        env: A vector environment without autoreset, wrapped as the policy needs it.
        user_seeds: The users (see :func:`gems_gym.user_splits.user_seeds`); any number of them.
        name: What to call the policy.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ValueError: No users, or an environment with autoreset.
    """
    if len(user_seeds) == 0:
        raise ValueError("user_seeds must hold at least one user")
    start = time.perf_counter()
    rewards_by_user: list[NDArray[np.float64]] = []  # (batch, steps of its longest session) each
    lengths_by_user: list[NDArray[np.int64]] = []  # (batch,) each
    catalog = getattr(env.unwrapped, "catalog", None)
    shown = None if catalog is None else _ShownItems(catalog)
    with track(f"evaluating {name}", len(user_seeds), progress) as advance:
        for seeds, count in user_batches(user_seeds, env.num_envs):
            rewards, lengths = [], np.zeros(count, np.int64)
            for moment in play_sessions(env, policy, seeds):
                if moment.rewards is not None:
                    rewards.append(moment.rewards[:count])
                    lengths += moment.playing[:count]
                    if shown is not None:
                        shown.add(moment, count)
            rewards_by_user.append(np.stack(rewards, axis=1).astype(np.float64))
            lengths_by_user.append(lengths)
            advance(count)
    total = np.zeros(max(clicks.shape[1] for clicks in rewards_by_user))  # clicks at each step
    for clicks in rewards_by_user:
        total[: clicks.shape[1]] += clicks.sum(axis=0)
    return Evaluation(
        name,
        tuple(user_seeds),
        returns=np.concatenate([clicks.sum(axis=1) for clicks in rewards_by_user]),
        clicks_per_step=total / len(user_seeds),
        lengths=np.concatenate(lengths_by_user),
        **(dict.fromkeys(_ShownItems.names) if shown is None else shown.measures()),
        seconds=time.perf_counter() - start,
    )


class _ShownItems:
    """Gathers what :class:`Evaluation` says of slates, by sums: memory does not grow."""

    names = ("catalogue_coverage", "intra_slate_diversity", "bored_steps")

    def __init__(self, catalog: Catalog) -> None:
        lengths = np.linalg.norm(catalog.item_embeddings, axis=1)
        directions = catalog.item_embeddings / np.where(lengths > 0, lengths, 1)[:, None]
        self._directions = directions.astype(np.float32)
        self._squares = (self._directions**2).sum(axis=1)
        self._shown = np.zeros(catalog.num_items, np.bool_)
        self._sums = np.zeros(3)  # slates, those shown to users who were bored, distances

    def add(self, moment: Moment, count: int) -> None:
        """Takes in what the first ``count`` users are shown at a step, if they are playing."""
        slates, bored, playing = moment.infos["slate"], moment.infos["bored"], moment.playing[:count]
        self._sums += _sums_of_slates(self._directions, self._squares, slates, bored, playing, self._shown)

    def measures(self) -> dict[str, float]:
        """The measures so far, of at least one step."""
        slates, bored, distances = self._sums.tolist()
        found = (float(self._shown.mean()), distances / slates, bored / slates)
        return dict(zip(self.names, found, strict=True))


@compiled
def _sums_of_slates(
    directions: NDArray[np.float32],
    squares: NDArray[np.float32],
    slates: NDArray[np.int64],
    bored: NDArray[np.bool_],
    playing: NDArray[np.bool_],
    shown: NDArray[np.bool_],
) -> tuple[int, int, float]:
    """Sums over the slates of some users at one step; the arrays have a row for each user, or for more.

    Args:
        directions: Embeddings of length 1, or 0, ``(num_items, E)``.
        squares: Their squared lengths, ``(num_items,)``.
        slates: ``(num_users, slate_size)``.
        bored: Which topics bore whom, ``(num_users, num_topics)``.
        playing: Whose slates count, ``(num_users,)``.
        shown: Written: True for the items of these slates, ``(num_items,)``.

    Returns:
        How many slates, how many of them to users whom some topic bores, and the sum of their mean distances.
    """
    slate_size = slates.shape[1]
    pairs = slate_size * (slate_size - 1)
    summed = np.empty(directions.shape[1], directions.dtype)
    num_slates, num_bored, distances = 0, 0, 0.0
    for u in range(playing.shape[0]):
        if not playing[u]:
            continue
        num_slates += 1
        any_bored = False
        for topic in range(bored.shape[1]):
            any_bored = any_bored or bored[u, topic]
        num_bored += any_bored
        # the square of a sum of vectors holds the products of all pairs, and of each vector with itself
        summed[:] = 0.0
        products = 0.0
        for s in range(slate_size):
            item = slates[u, s]
            shown[item] = True
            products -= squares[item]
            for d in range(summed.shape[0]):
                summed[d] += directions[item, d]
        for d in range(summed.shape[0]):
            products += summed[d] * summed[d]
        distances += (pairs - products) / max(pairs, 1)
    return num_slates, num_bored, distances


@checked_arguments
def measure_references(env: VectorEnv[Any, Any, Any], user_seeds: Sequence[int]) -> References:
    """Play the two policies that the normalised score is between, on the users that are evaluated.

    Args:
        env: A slate environment (not wrapped) without autoreset.
        user_seeds: The users.
    """
    random, planner = (
        evaluate(make_policy(name, env), env, user_seeds, name=name).mean_return
        for name in ("random", "boredom_aware_oracle")
    )
    return References(random, planner)


def paired_difference(first: Evaluation, second: Evaluation) -> tuple[float, float]:
    """How much better the first policy is than the second on the same users.

    Returns:
        Mean difference of the returns, and the half-width of its 95 % t-interval.

    Raises:
        ValueError: Evaluations of different users.
    """
    if first.user_seeds != second.user_seeds:
        raise ValueError(
            f"{first.name!r} and {second.name!r} were evaluated on different users; evaluate both on the same"
        )
    difference = first.returns - second.returns
    return float(difference.mean()), t_interval(difference)


class ValidationScore:
    """Scores an agent in training by its mean return on some users.

    Args:
        make_env: Makes the environment, wrapped for the agent and without autoreset, for a number of users; where
            an agent has a belief of its own, that is a second argument.
        user_seeds: Users to score on, from the validation split.

    Attributes:
        user_seeds: As given; an interrupted training resumes only with the same.
    """

    def __init__(self, make_env: Callable[..., VectorEnv[Any, Any, Any]], user_seeds: Sequence[int]) -> None:
        self.user_seeds = list(user_seeds)
        self._make_env = make_env
        self._count = min(len(user_seeds), NUM_ENVS)
        self._env = make_env(self._count)

    def __call__(self, policy: Policy, belief: BeliefEncoder | None = None) -> float:
        """Mean clicks a session of a policy, one session with each user.

        Args:
            policy: Acts in the environment.
            belief: The policy's own belief; None where it acts on the environment's.
        """
        env = self._env if belief is None else self._make_env(self._count, belief)
        return evaluate(policy, env, self.user_seeds).mean_return
