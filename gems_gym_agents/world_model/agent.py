"""The world-model planner as an agent of gems-gym.

Learning needs torch, acting does not: ``training`` and what it imports are imported when ``fit`` is called.
"""

from typing import ClassVar

from gems_gym.errors import require
from gems_gym_agents.user_model.planning_agent import PlanningAgent, Stages
from gems_gym_agents.world_model.options import WorldModelOptions
from gems_gym_agents.world_model.planner import WorldModelPolicy


class WorldModelPlannerAgent(PlanningAgent[WorldModelOptions, WorldModelPolicy]):
    """Learns a recurrent world model from clicks and plans by it; about eight minutes on one core in the six worlds.

    Nothing of the simulators' equations is assumed.

    What is learned, first the model, then the plan by which it fills slates::

        model     −mean log P(c) → min,  P(c = 1) = examination·exp(−crowding)·σ(logit(i))
        plan      plan ← plan + 2·spread·mean (Δ·d) / deviation of Δ,  d ~ N(0, 1)
                  Δ = clicks by (plan + spread·d) − clicks by (plan − spread·d)
        slates    the position most looked at first, each with the item of the largest
                  exp(−more crowding)·(V + examination·worth(i)) − V
                  worth(i) = σ(logit(i) + shift)·(1 + w·e_i − cost of one more click on its group)

    c is whether item i of embedding e_i is clicked, after a session's first 12 clicks, logit what
    :class:`~gems_gym_agents.world_model.model.WorldModel` makes of the user's state, in slates its σ is the mean over
    the belief's particles, and V is the value of the slate so far. The plan holds w, the costs and the shift; Δ is in
    clicks per session of training users.

    Args:
        **options: See :class:`~gems_gym_agents.world_model.options.WorldModelOptions`.

    Attributes:
        options: The settings.

    Raises:
        ValueError: An unknown option, with the nearest names, or a value out of range.
        TypeError: A value of the wrong type.

    Examples:
        >>> import gymnasium, gems_gym
        >>> env = gymnasium.make_vec("GemsSlate-focused_mix-v0", num_envs=1000)
        >>> agent = WorldModelPlannerAgent()
        >>> agent.fit(env, steps=6_336_000, seed=0)  # doctest: +SKIP
        >>> state = agent.policy.open(user_seeds)  # doctest: +SKIP
        >>> slates, state = agent.policy.act(state, observations)  # doctest: +SKIP
    """

    name: ClassVar[str] = "world_model_planner"
    options_class: ClassVar[type[WorldModelOptions]] = WorldModelOptions
    policy_class: ClassVar[type[WorldModelPolicy]] = WorldModelPolicy
    libraries: ClassVar[tuple[str, ...]] = (*PlanningAgent.libraries, "torch")

    def _stages(self) -> Stages:
        require("torch")
        from gems_gym_agents.world_model import training

        return training
