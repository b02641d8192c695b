"""Learning agents for gems-gym: everything that needs d3rlpy or stable-baselines3.

Importing this package loads neither of them, nor torch. Agents are found by name through the entry-point
group ``gems_gym.agents`` (:mod:`gems_gym.plugins`), and each loads its library when ``fit`` is called:

* :mod:`gems_gym_agents.offline`: d3rlpy's TD3+BC, BC, IQL, CQL and AWAC on Minari datasets.
* :mod:`gems_gym_agents.online`: algorithms of stable-baselines3 and sb3-contrib on the wrapped vector environment.
* :mod:`gems_gym_agents.evaluation`: one evaluator for policies and agents.
"""
