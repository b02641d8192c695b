"""Studies: worlds × variants × seeds, run so that an interrupted one can be resumed, and set beside published numbers.

``gems-gym compare STUDY`` is the command; :data:`gems_gym_agents.comparison.studies.STUDIES` the studies as data.
"""
