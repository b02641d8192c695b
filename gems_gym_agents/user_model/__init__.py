"""A user model learned from slates and clicks, and a planner that shows slates by it.

The user is taken for the other agent of a cooperative game: the model predicts what a user would click, and how the
user changes by it; the planner shows the slate with the largest sum of clicks now and worth of what they lead to.

The model is a *grey box*. Every number in it comes from clicks on slates. The form of its equations does not: it is
that of the family of simulators (:mod:`gems_gym_agents.user_model.model` says it in full). So what it reaches says
nothing of worlds with other dynamics, nor of models that know no such form.

In the order in which data flows:

* ``logs``: sessions of logging users, random and exploring; slates and clicks only.
* ``axes``: item embeddings turned to axes that are topics.
* ``fit``, ``rules``, ``prior``: the model's numbers by the likelihood of clicks.
* ``misfit``, and ``checking`` with its parts ``predictions``, ``clues`` and ``flexible``: what the model misses of
  clicks that it has not learned from.
* ``belief``: what is thought of each user, as weighted particles; ``particles``: what any such belief does.
* ``plans_policy``, ``planner``: slates; ``search``: the few numbers that say what clicks are worth beyond themselves.
* ``agent``: all of it as an agent of gems-gym.
"""
