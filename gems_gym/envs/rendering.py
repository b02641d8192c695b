"""Pictures of a session."""

import numpy as np

from gems_gym.config import SlateConfig
from gems_gym.simulator import Catalog
from gems_gym.simulator.kernels import Shown


def ansi_frame(
    config: SlateConfig, catalog: Catalog, shown: Shown, user: int, step: int, clicks_so_far: int
) -> str:
    """One user's last slate as text: a line per position with item, topic, relevance and click, then boredom.

    Args:
        config: The world.
        catalog: Its items.
        shown: What came of the slates last shown.
        user: Row of the user.
        step: Steps taken in the session.
        clicks_so_far: Clicks in the session, the first slate's not counted.
    """
    lines = [f"step {step}/{config.episode_length}   clicks {clicks_so_far}"]
    for position, item in enumerate(shown.slates[user]):
        mark = "*" if shown.clicks[user, position] else " "
        lines.append(
            f" {mark} {position + 1:>3}. item {item:<6} topic {catalog.item_topics[item]:<4} "
            f"relevance {shown.relevances[user, position]:.2f}"
        )
    bored = ", ".join(str(topic) for topic in np.flatnonzero(shown.bored[user])) or "nothing"
    lines.append(f"bored of: {bored}")
    return "\n".join(lines) + "\n"
