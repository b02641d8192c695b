"""Click models: how likely users look at each position of a slate, which is all that position-based models differ in.

A click's probability is the item's attractiveness times the position's propensity (Section 5.1 of arXiv 2301.08632).
Which model a world has stands in ``SlateConfig.click_model``; another package adds one by an entry point of the group
``gems_gym.click_models`` that names a :class:`ClickModel`.
"""

from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.errors import unknown_name


class ClickModel(Protocol):
    """Propensities of positions: a function."""

    def __call__(self, slate_size: int, click_propensity: float) -> NDArray[np.float64]:
        """The probability that a user looks at each position.

        Args:
            slate_size: Positions, ≥ 1; the first is on top.
            click_propensity: The world's γ, in [0, 1].

        Returns:
            float64 ``(slate_size,)``, values in [0, 1].
        """
        ...


def top_down(slate_size: int, click_propensity: float) -> NDArray[np.float64]:
    """``"tdPBM"``: users read from the top; position s has γ^s."""
    propensities: NDArray[np.float64] = np.power(click_propensity, np.arange(slate_size))
    return propensities


def mixed(slate_size: int, click_propensity: float) -> NDArray[np.float64]:
    """``"mixPBM"``: half of the users read from the top, half from the bottom; ½γ^s + ½γ^(S−1−s)."""
    down = top_down(slate_size, click_propensity)
    return 0.5 * down + 0.5 * down[::-1]


# without a look at all installed packages
_OURS: dict[str, ClickModel] = {
    "tdPBM": top_down,
    "mixPBM": mixed,
}


def check_click_model(name: str) -> None:
    """Raise a ValueError that names the nearest unless there is a click model of a name."""
    if name not in _OURS and name not in (known := plugins.names(plugins.CLICK_MODELS)):
        raise unknown_name("click_model", name, [*_OURS, *known])


def position_propensities(name: str, slate_size: int, click_propensity: float) -> NDArray[np.float64]:
    """The propensities that a click model gives.

    Args:
        name: Name of the model.
        slate_size: Positions.
        click_propensity: The world's γ.

    Returns:
        float64 ``(slate_size,)``, values in [0, 1].

    Raises:
        ValueError: An unknown name, or another package's model that gives something else.
        gems_gym.plugins.PluginError: Another package's model that can't be imported.
    """
    if name in _OURS:
        return _OURS[name](slate_size, click_propensity)
    check_click_model(name)
    found: Any = np.asarray(plugins.load(plugins.CLICK_MODELS, name)(slate_size, click_propensity))
    if found.shape != (slate_size,) or found.dtype.kind != "f" or not ((found >= 0) & (found <= 1)).all():
        raise ValueError(
            f"the click model {name!r} gives {found!r:.200}; {slate_size} floats in [0, 1] were expected, one for each "
            f"position"
        )
    return cast(NDArray[np.float64], found.astype(np.float64))
