"""Online agents of ours that see beliefs and learn from whole sessions; all but ``reinforce_latent`` show slates.

- :mod:`~gems_gym_agents.slates.slateq`: item-wise values and a learned click model (``gems-gym train slateq``);
  :mod:`~gems_gym_agents.slates.search`: the slate of the highest value.
- :mod:`~gems_gym_agents.slates.reinforce`: policy gradients on slates and on latents (``reinforce_softmax``,
  ``reinforce_latent``).
- :mod:`~gems_gym_agents.slates.gfn4rec`: a generative flow network of slates (``gfn4rec``);
  :mod:`~gems_gym_agents.slates.hac`: a hyper-actor critic (``hac``).
- :mod:`~gems_gym_agents.slates.sessions`: the sessions that they play; :mod:`~gems_gym_agents.slates.training`: round
  after round of them, resumed where they were interrupted; :mod:`~gems_gym_agents.slates.agent`: what the agents have
  in common; :mod:`~gems_gym_agents.slates.policies`: their policies, on NumPy.

What needs torch is in ``networks`` and in modules whose names end in ``_learner``; they are imported when an agent is
fitted.
"""
