"""Checks for authors of parts of their own, who run them in their tests as we run them in ours.

A check takes a part, tries it out, and raises an AssertionError that says what was expected and what was found::

    from gems_gym.testing import check_ranker

    def test_my_ranker_is_one() -> None:
        check_ranker(MyRanker(num_items=50, slate_size=5, catalog_hash="none"))

A part that is saved in a file is found again by its kind, so its package has to be installed (``pip install -e .``)
for the checks to pass. :func:`replay_session` and :func:`replay_sardine_session` play recorded sessions again.
"""

from gems_gym.testing.agents import check_agent
from gems_gym.testing.beliefs import check_belief
from gems_gym.testing.policies import check_policy
from gems_gym.testing.rankers import check_ranker
from gems_gym.testing.replay import replay_sardine_session, replay_session
from gems_gym.testing.worlds import check_world

__all__ = [
    "check_agent",
    "check_belief",
    "check_policy",
    "check_ranker",
    "check_world",
    "replay_sardine_session",
    "replay_session",
]
