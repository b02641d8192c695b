"""The commands that learning adds to ``gems-gym``."""
