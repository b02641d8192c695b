"""Search for an agent's options: trials by Optuna, each a training, scored on validation users."""
