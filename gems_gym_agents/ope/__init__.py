"""Off-policy evaluation: what a policy would have earned, by a log of another one.

The estimators are functions of arrays, one file a family: :mod:`~gems_gym_agents.ope.importance_sampling`,
:mod:`~gems_gym_agents.ope.pseudo_inverse` and :mod:`~gems_gym_agents.ope.doubly_robust`; the direct method is a
click model, :mod:`~gems_gym_agents.ope.click_rates`. :mod:`~gems_gym_agents.ope.estimators` says what each requires.
"""
