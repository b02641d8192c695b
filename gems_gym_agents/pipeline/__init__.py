"""From logs to tables in stages that are kept: studies (worlds × variants × seeds), levels, and the quickstart.

A :class:`~gems_gym_agents.pipeline.stages.Stage` makes one named result and keeps it with what it depends on, so that
an interrupted command, rerun, repeats nothing. ``gems-gym compare STUDY`` runs a study;
:data:`gems_gym_agents.pipeline.studies.STUDIES` are the studies as data.
"""
