"""Search for a plan by playing: the cross-entropy method, all candidates of a generation side by side.

Every candidate of a generation serves the same users with the same randomness, as many more as the search gets finer.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.progress import track
from gems_gym.rollouts import user_batches
from gems_gym.user_splits import user_seeds
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.plans_policy import AModel, PlansPolicy

_CANDIDATES, _ELITE = 20, 6
_KEEP_CENTRE, _KEEP_SPREAD, _WIDEN = 0.2, 0.65, 1.15


@dataclass(frozen=True)
class Phase:
    """Some generations of a search.

    Attributes:
        generations: How many.
        users: That each candidate serves.
        kept: Whether the result is the mean of these generations' centres, and of others that are kept.
    """

    generations: int
    users: int
    kept: bool = False


_SHARES = ((64, 0.24), (128, 0.33), (256, 0.43))
"""Users that a candidate of a phase serves, and the phase's share of all interactions."""


def phases_of(steps: int, session_length: int) -> tuple[Phase, ...]:
    """The phases of a search: few users at first, which finds the way fast, and many in the end.

    Args:
        steps: Interactions (users times steps) of all.
        session_length: Steps of a session.
    """
    return tuple(
        Phase(max(round(share * steps / (_CANDIDATES * users * session_length)), 1), users, users == 256)
        for users, share in _SHARES
    )


@dataclass(frozen=True)
class SearchState:
    """Where a search stands between two generations.

    Attributes:
        generation: How many are done.
        centre: float64, as long as a plan.
        spread: Same shape.
        total: Same shape, sum of the centres that are kept.
        rng: State of the generator that draws candidates, JSON types only.
    """

    generation: int
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    total: NDArray[np.float64]
    rng: dict[str, Any]

    @classmethod
    def start(
        cls, centre: NDArray[np.float64], spread: NDArray[np.float64], rng: np.random.Generator
    ) -> Self:
        """Before the first generation, which is drawn around a plan."""
        return cls(0, centre, spread, np.zeros(len(centre)), dict(rng.bit_generator.state))

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
_ARRAYS = ("centre", "spread", "total")


def search_plan(
    policy_class: type[PlansPolicy[AModel]],
    model: AModel,
    users: SlateUsers,
    *,
    seed: int,
    steps: int,
    state: SearchState,
    keep: Callable[[SearchState], None] = lambda state: None,
    progress: bool = True,
) -> NDArray[np.float64]:
    """The plan that earns the most clicks of training users.

    Args:
        policy_class: Of the policies that serve them.
        model: Learned; its metadata say how long a session is (``session_length``).
        users: Of the world.
        seed: Block of training users.
        steps: Interactions (users times steps); whole generations of candidates are played.
        state: From :meth:`SearchState.start`, or what an interrupted search kept.
        keep: Called after each generation.
        progress: Whether to show a progress bar on stderr.

    Returns:
        float64 ``(5 + size,)``, see :class:`~gems_gym_agents.user_model.plans_policy.PlansPolicy`.
    """
    phases = phases_of(steps, model.metadata["session_length"])
    rng = np.random.default_rng()
    rng.bit_generator.state = state.rng
    total = sum(_CANDIDATES * one.generations * one.users for one in phases)
    with track("searching a plan", total, progress) as advance:
        generation = met = 0
        for phase in phases:
            for _ in range(phase.generations):
                if generation >= state.generation:  # not done before the interruption
                    candidates = _drawn(state, rng)
                    seeds = user_seeds("training", seed, phase.users, met) * _CANDIDATES
                    which = np.repeat(np.arange(_CANDIDATES), phase.users)
                    policy = policy_class(model, candidates, policy_class.searching)
                    clicks = play(users, policy, seeds, which)
                    scores = clicks.reshape(_CANDIDATES, -1).mean(axis=1)
                    elite = candidates[np.argsort(-scores, kind="stable")[:_ELITE]]
                    state = _moved(state, elite, phase.kept, rng)
                    keep(state)
                generation, met = generation + 1, met + phase.users
                advance(_CANDIDATES * phase.users)
    kept = sum(one.generations for one in phases if one.kept)
    return state.total / kept if kept else state.centre


def play(
    users: SlateUsers, policy: PlansPolicy[Any], seeds: list[int], plans: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Play one whole session of each of many users.

    Args:
        users: Of the world; as many at a time as it serves together, which does not change the result.
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


def _drawn(state: SearchState, rng: np.random.Generator) -> NDArray[np.float64]:
    """A generation of plans, ``(candidates, 5 + size)``, each with its mirror image."""
    half = rng.standard_normal((_CANDIDATES // 2, len(state.centre)))
    drawn: NDArray[np.float64] = state.centre + state.spread * np.concatenate([half, -half])
    return drawn


def _moved(
    state: SearchState,
    elite: NDArray[np.float64],
    kept: bool,
    rng: np.random.Generator,
) -> SearchState:
    """The next state: centre and spread go towards those of the elite."""
    weights = np.linspace(1.0, 0.3, _ELITE)
    weights /= weights.sum()
    centre = _KEEP_CENTRE * state.centre + (1.0 - _KEEP_CENTRE) * (weights @ elite)
    variance = weights @ (elite - centre) ** 2
    spread = np.sqrt(_KEEP_SPREAD * state.spread**2 + (1.0 - _KEEP_SPREAD) * _WIDEN * variance)
    total = state.total + centre if kept else state.total
    return SearchState(state.generation + 1, centre, spread, total, dict(rng.bit_generator.state))
