"""How this package meets d3rlpy: an import without a banner."""

from __future__ import annotations

from types import ModuleType

from gems_gym.errors import require


def import_d3rlpy() -> ModuleType:
    """Imports d3rlpy without the banner that its dependency ``gym`` prints.

    Returns:
        The module.

    Raises:
        ImportError: If d3rlpy is not installed; it names the extra.
    """
    try:
        import gym_notices.notices as gym_notices
    except ImportError:  # only there with gym, which only d3rlpy brings
        pass
    else:
        gym_notices.notices.clear()
    return require("d3rlpy")
