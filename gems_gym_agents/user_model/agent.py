"""The planner as an agent of gems-gym: it learns from slates and clicks, shows slates, and keeps a state."""

from typing import ClassVar

from gems_gym_agents.user_model import training
from gems_gym_agents.user_model.options import PlannerOptions
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.planning_agent import PlanningAgent, Stages


class PlannerAgent(PlanningAgent[PlannerOptions, PlannerPolicy]):
    """Learns a user model from clicks and plans by it; about four minutes on one core in the six worlds.

    Grey-box: the form of the model is that of the simulators (:mod:`gems_gym_agents.user_model.model`).

    What is learned, first the model, then the plan by which it fills slates::

        model     Σ log P(c) → max,  P(c = 1) = relevance(i)·propensity / penalty
                  relevance(i) = σ(slope·(u·x_i − threshold))
        plan      plan ← plan + 2·spread·mean (Δ·d) / deviation of Δ,  d ~ N(0, 1)
                  Δ = clicks by (plan + spread·d) − clicks by (plan − spread·d)
        slates    the position most looked at first, each with the item of the largest
                  relevance(i)·(1 + w·x_i − cost of one more click on its topic)

    c is whether item i of vector x_i is clicked, after a session's first 20 clicks, u the user's vector; in slates
    relevance is the mean over the particles of the belief of u, with a shifted threshold. The plan holds w, the costs
    and the shift; Δ is in clicks per session of training users.

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
