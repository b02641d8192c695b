"""The program ``gems-gym`` and its commands."""
