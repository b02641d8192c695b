"""The planner as an agent of gems-gym: it learns from slates and clicks, shows slates, and keeps a state."""

from typing import ClassVar

from gems_gym_agents.user_model import training
from gems_gym_agents.user_model.options import PlannerOptions
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.planning_agent import PlanningAgent, Stages


class PlannerAgent(PlanningAgent[PlannerOptions, PlannerPolicy]):
    """Learns a user model from clicks and plans by it; about four minutes on one core in the six worlds.

    Grey-box: the form of the model is that of the simulators.

    Args:
        **options: See :class:`~gems_gym_agents.user_model.options.PlannerOptions`.

    Attributes:
        options: The settings.

    Raises:
        ValueError: An unknown option, with the nearest names, or a value out of range.
        TypeError: A value of the wrong type.

    Examples:
        >>> import gymnasium, gems_gym
        >>> env = gymnasium.make_vec("GemsSlate-focused_mix-v0", num_envs=1000)
        >>> agent = PlannerAgent()
        >>> agent.fit(env, steps=6_336_000, seed=0)  # doctest: +SKIP
        >>> state = agent.policy.open(user_seeds)  # doctest: +SKIP
        >>> slates, state = agent.policy.act(state, observations)  # doctest: +SKIP
    """

    name: ClassVar[str] = "planner"
    options_class: ClassVar[type[PlannerOptions]] = PlannerOptions
    policy_class: ClassVar[type[PlannerPolicy]] = PlannerPolicy

    def _stages(self) -> Stages:
        return training
