"""Off-policy evaluation: what a policy would have earned, by a log of another one.

The estimators are functions of arrays, one file a family: :mod:`~gems_gym_agents.ope.importance_sampling`,
:mod:`~gems_gym_agents.ope.pseudo_inverse` and :mod:`~gems_gym_agents.ope.doubly_robust`; the direct method is a
click model, :class:`~gems_gym.logs.click_models.PositionBased`, and what d3rlpy learns is
:mod:`~gems_gym_agents.ope.fitted_q`. :mod:`~gems_gym_agents.ope.estimators` says what each requires.
"""
