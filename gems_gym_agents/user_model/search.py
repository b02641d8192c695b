"""Search for a plan by playing: an evolution strategy with antithetic pairs.

A generation draws pairs of plans around the centre, each with its mirror image. Both of a pair serve the same users
with the same randomness, and each pair others, so the difference of their clicks says which way is better. The centre
goes along the mean of the pairs' directions, weighted by these differences in units of their spread (Salimans and
others 2017, arXiv 1703.03864; the unit as in Mania and others 2018, arXiv 1803.07055).

Which topics users are led to is a matter of many good plans, and a search ends at the one that it came near first. So
several are begun, with the same users, and the one that earned most goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.progress import track
from gems_gym.rollouts import user_batches
from gems_gym.user_splits import USERS_PER_SEED, user_seeds
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.plans_policy import AModel, PlansPolicy

_PAIRS, _USERS = 44, 16
"""Of a generation, and that each of a pair serves."""
_STEP, _LAST_SPREAD = 2.0, 0.4
"""How far the centre goes where all pairs agree, in units of the spread; what is left of that in the end."""
_KEPT_SHARE = 0.35
"""The result is the mean of the centres of so many of the generations that led to it, the last ones."""
_STARTS, _TRIED_SHARE = 3, 0.225
"""How many searches are begun, and how many of all generations each of them has before one is chosen."""


@dataclass(frozen=True)
class SearchState:
    """Where a search stands between two generations.

    Attributes:
        generation: How many are done.
        centres: float64 ``(num_starts, 5 + size)``, a single one from the choice on.
        earned: float64 ``(num_starts,)``, clicks per session of candidates, summed over the generations that are
            compared.
        spread: float64 ``(5 + size,)``: how far the first generation looks.
        total: Same shape, sum of the centres that are kept.
        rng: State of the generator that draws candidates, JSON types only.
    """

    generation: int
    centres: NDArray[np.float64]
    earned: NDArray[np.float64]
    spread: NDArray[np.float64]
    total: NDArray[np.float64]
    rng: dict[str, Any]

    @classmethod
    def start(
        cls, centre: NDArray[np.float64], spread: NDArray[np.float64], rng: np.random.Generator
    ) -> Self:
        """Before the first generation, which is drawn around a plan."""
        centres = np.tile(centre, (_STARTS, 1))
        return cls(
            0, centres, np.zeros(_STARTS), spread, np.zeros(len(centre)), dict(rng.bit_generator.state)
        )

    @classmethod
    def kept_in(cls, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> Self | None:
        """What :meth:`keep` kept; None if it kept nothing yet."""
        if _KEPT not in header:
            return None
        arrays: dict[str, Any] = {name: tensors[f"{_KEPT}.{name}"] for name in _ARRAYS}
        return cls(**arrays, **header[_KEPT])

    def keep(self, run: Unfinished, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
        """Keep it with other arrays and values of an unfinished run."""
        values = asdict(self)
        arrays = {f"{_KEPT}.{name}": values.pop(name) for name in _ARRAYS}
        run.save({**tensors, **arrays}, {**header, _KEPT: values})


_KEPT = "search"
_ARRAYS = ("centres", "earned", "spread", "total")


def num_generations(steps: int, session_length: int) -> int:
    """How many generations a search has, at least one.

    Args:
        steps: Interactions (users times steps) of all.
        session_length: Steps of a session.
    """
    return max(round(steps / (2 * _PAIRS * _USERS * session_length)), 1)


def search_plan(
    policy_class: type[PlansPolicy[AModel]],
    model: AModel,
    users: SlateUsers,
    *,
    seed: int,
    steps: int,
    state: SearchState,
    keep: Callable[[SearchState], None] = lambda state: None,
    measured: Callable[[int, Mapping[str, float]], None] = lambda step, values: None,
    progress: bool = True,
) -> NDArray[np.float64]:
    """The plan that earns the most clicks of training users.

    Args:
        policy_class: Class of the policies that serve them.
        model: Learned; its metadata say how long a session is (``session_length``).
        users: Users of the world.
        seed: Block of training users.
        steps: Interactions (users times steps); whole generations are played.
        state: From :meth:`SearchState.start`, or what an interrupted search kept.
        keep: Called after each generation.
        measured: Called after each generation with the number of interactions so far and the clicks per session.
        progress: Whether to show a progress bar on stderr.

    Returns:
        float64 ``(5 + size,)``, see :class:`~gems_gym_agents.user_model.plans_policy.PlansPolicy`.
    """
    session_length = model.metadata["session_length"]
    generations = num_generations(steps, session_length)
    tried = int(_TRIED_SHARE * generations)
    chosen_after = _STARTS * tried
    rounds = generations - chosen_after + tried  # generations that lead to the plan
    kept = max(round(_KEPT_SHARE * rounds), 1)
    rng = np.random.default_rng()
    rng.bit_generator.state = state.rng
    which = np.repeat(np.arange(2 * _PAIRS), _USERS)
    served = _PAIRS * _USERS
    with track("searching a plan", generations, progress) as advance:
        advance(state.generation)
        for generation in range(state.generation, generations):
            if generation < chosen_after:
                number, start = divmod(generation, _STARTS)
            else:
                number, start = generation - chosen_after + tried, 0
            spread = state.spread * _LAST_SPREAD ** (number / rounds)
            directions = rng.standard_normal((_PAIRS, len(spread)))
            candidates = state.centres[start] + spread * np.concatenate([directions, -directions])
            first = number % (USERS_PER_SEED // 2 // served) * served
            met = user_seeds("training", seed, served, first)
            policy = policy_class(model, candidates, policy_class.searching)
            clicks = play(users, policy, met + met, which).reshape(2, _PAIRS, _USERS)
            better = (clicks[0] - clicks[1]).mean(axis=1)  # (pairs,)
            differ = better.std()
            centres, earned, total = state.centres.copy(), state.earned.copy(), state.total
            if differ > 0:
                centres[start] += _STEP * spread * (better @ directions) / (_PAIRS * differ)
            if 2 * number >= tried:
                earned[start] += clicks.mean()
            if generation + 1 == chosen_after:
                best = [int(earned.argmax())]
                centres, earned = centres[best], earned[best]
            if number >= rounds - kept:
                total = total + centres[start]
            state = SearchState(
                generation + 1, centres, earned, state.spread, total, dict(rng.bit_generator.state)
            )
            keep(state)
            measured(
                state.generation * clicks.size * session_length,
                {"training/clicks_per_session": float(clicks.mean())},
            )
            advance(1)
    return state.total / kept


def play(
    users: SlateUsers, policy: PlansPolicy[Any], seeds: list[int], plans: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Play one whole session of each of many users.

    Args:
        users: Users of the world; as many at a time as it serves together, which does not change the result.
        policy: Chooses the slates.
        seeds: The users.
        plans: Which of the policy's plans serves each user; the first one for all if None.

    Returns:
        Clicks of each session, float64 ``(num_users,)``; those on first slates do not count.
    """
    which = np.zeros(len(seeds), np.int64) if plans is None else plans
    clicks = np.zeros(len(seeds))
    first = 0
    for batch, count in user_batches(seeds, users.num_users):
        seen = users.open(batch)
        state = policy.open(batch, np.resize(which[first : first + count], len(batch)))
        ended = False
        while not ended:
            slates, state = policy.act(state, seen)
            seen, rewards, ended = users.show(slates)
            clicks[first : first + count] += rewards[:count]
        first += count
    return clicks
