"""Pretraining of rankers and beliefs on logged sessions.

Importing this package loads no torch; its modules ``gems_vae`` and ``gru_belief`` do.
"""
