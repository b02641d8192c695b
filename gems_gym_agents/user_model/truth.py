"""A user model with a world's true numbers, and a planner that knows users: what learning can reach. Privileged."""

import numpy as np
from numpy.typing import NDArray

from gems_gym.config import OWN_DYNAMICS
from gems_gym.envs import SlateVectorEnv
from gems_gym.simulator import Catalog, SlateSimulator
from gems_gym.user_splits import USERS_PER_SEED, user_seeds
from gems_gym.world_config import WorldConfig
from gems_gym_agents.user_model.belief import BeliefState, ParticleBelief
from gems_gym_agents.user_model.dynamics import THRESHOLD
from gems_gym_agents.user_model.model import Rules, UserModel
from gems_gym_agents.user_model.options import PlannerOptions
from gems_gym_agents.user_model.planner import PlannerPolicy

_SMALLEST_PROPENSITY = 1e-9
"""Of positions that nobody looks at, as the model has none with 0."""


def true_user_model(
    config: WorldConfig, catalog: Catalog, *, seed: int = 0, atoms: int = PlannerOptions.atoms
) -> UserModel:
    """The model whose numbers are a world's own.

    Topics, propensities and rules are the world's, and users' vectors are those of its users. The model's unit of
    scores is another one, so items, slope and ω are converted: clicks and drift are the same.

    Args:
        config: The world.
        catalog: Its items.
        seed: Block of training users; the prior is the first vectors of some of its second half, whom no search for
            a plan meets.
        atoms: How many of them, ≥ 1.

    Raises:
        ValueError: A world that users of the model's form can't be in; the message says why.
    """
    if reasons := other_forms(config):
        raise ValueError(f"the user model does not have the form of this world: {', '.join(reasons)}")
    scale = THRESHOLD / (config.relevance_offset * catalog.max_score)
    users = SlateVectorEnv(atoms, config, catalog.item_embeddings)
    users.reset(seed=user_seeds("training", seed, atoms, start=USERS_PER_SEED // 2))
    return UserModel(
        items=scale * catalog.item_embeddings.astype(np.float64),
        topics=catalog.item_topics,
        topic_size=catalog.topic_size,
        propensities=np.clip(config.alpha * config.position_propensities(), _SMALLEST_PROPENSITY, 1.0),
        slope=config.relevance_slope * config.relevance_offset / THRESHOLD,
        # users drift towards items of another length, and are normalised
        omega=config.omega * scale / (config.omega * scale + 1.0 - config.omega),
        rules=Rules(
            boredom_threshold=config.boredom_threshold,
            memory=config.recent_items_maxlen,
            window=_window(config),
            timeout=config.boredom_timeout,
            diversity_threshold=config.diversity_threshold,
            diversity_penalty=config.diversity_penalty,
            first_clicks_dated=config.dynamics_version == 1,
        ),
        prior=users.simulator.users.preference.copy(),
        metadata={"truth_of": catalog.hash, "session_length": config.episode_length, "seed": seed},
    )


class UserKnowingPlanner(PlannerPolicy):
    """A planner that reads each user's vector instead of having a belief. Privileged.

    Args:
        model: See :class:`~gems_gym_agents.user_model.planner.PlannerPolicy`.
        plans: Likewise.
        simulator: Simulator of the environment that it acts in.
    """

    def __init__(self, model: UserModel, plans: NDArray[np.float64], simulator: SlateSimulator) -> None:
        super().__init__(model, plans)
        self._belief = _Knowledge(model, simulator)


class _Knowledge(ParticleBelief):
    """Follows users' clicks as any belief does, but has their true vectors for particles."""

    def __init__(self, model: UserModel, simulator: SlateSimulator) -> None:
        super().__init__(model, ((0, 1),), np.random.default_rng(0))
        self._users = simulator.users

    def update(self, state: BeliefState, slates: NDArray[np.int64], clicks: NDArray[np.int64]) -> BeliefState:
        followed = super().update(state, slates, clicks)
        known = self._users.preference[:, None].copy()  # (num_users, 1, size)
        return followed._replace(particles=known, log_weights=np.zeros(known.shape[:2]))


def _window(config: WorldConfig) -> int:
    """Steps that a click is remembered, as -v0 counts them."""
    return config.boredom_moving_window - (config.dynamics_version == 1)


def other_forms(config: WorldConfig) -> list[str]:
    """What of a world the model has no number for, such as ``"short_term_boost=2.0"``; empty if it has its form."""
    outside = {
        "dynamics": config.dynamics != OWN_DYNAMICS,
        "relevance_offset": config.relevance_offset <= 0,
        "relevance_slope": config.relevance_slope <= 0,
        "rel_threshold": config.rel_threshold is not None,
        "short_term_boost": config.short_term_boost != 1,
        "diversity_penalty": config.diversity_penalty < 1,
        "boredom_moving_window": _window(config) < 1,
        "click_only_once": config.click_only_once,
    }
    return [f"{name}={getattr(config, name)!r}" for name, is_outside in outside.items() if is_outside]
