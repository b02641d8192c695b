"""Pretraining of rankers and beliefs on logged sessions.

``session_log``, ``trainers``, ``recipes``, ``shipping``, ``reach`` and ``ranker_report`` load no torch; the others do.
"""
