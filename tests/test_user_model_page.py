"""docs/user_model.md: its numbers are the code's, its commands exist, its links lead somewhere, its Python runs."""

import re
from pathlib import Path

import pytest

from gems_gym_agents.user_model.misfit import MOST_MISSED, MOST_OFF, WORDS
from gems_gym_agents.user_model.options import HELD_OUT, SEARCH_STEPS, PlannerOptions

PAGE = (Path(__file__).parent.parent / "docs" / "user_model.md").read_text()
SMALL = {
    '"GemsSlate-diffuse_mix-v0", num_envs=2048': '"GemsSlate-diffuse_mix-v0", num_envs=512, **small',
    "atoms=512": "random_sessions=4096, exploration_sessions=512, atoms=64",
    "fit(env, ": "fit(env, steps=1, ",
    'num_envs=500, autoreset_mode="disabled"': 'num_envs=50, autoreset_mode="disabled", **small',
    '"test", 0, 500': '"test", 0, 50',
}


def test_its_numbers_are_those_of_the_code() -> None:
    flat = " ".join(PAGE.split())
    assert f"the clicks of {HELD_OUT:,} exploring sessions" in flat
    assert f"misses more than {MOST_MISSED:.1%} by".replace("%", " %") in flat
    assert f"finds it off by more than {MOST_OFF:.0%}".replace("%", " %") in flat
    assert len(WORDS) == 12 and "for twelve ways" in flat
    options = PlannerOptions()
    assert f"by default {SEARCH_STEPS / 1e6:.1f} million" in flat
    assert f"{options.random_sessions * options.random_length / 1e6:.1f} million" in flat
    assert (
        f"{(options.exploration_sessions + HELD_OUT) * options.exploration_length / 1e6:.1f} million" in flat
    )
    assert f"{options.atoms} vectors" in flat


@pytest.mark.slow
def test_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    for long, short in SMALL.items():
        assert long in code, long
        code = code.replace(long, short)
    small = {"num_items": 80, "num_topics": 5, "slate_size": 5, "episode_length": 12}
    exec(compile(code, "user_model.md", "exec"), {"small": small})  # noqa: S102
    printed = capsys.readouterr().out
    assert "boredom_threshold=" in printed and "the user model" in printed and "topics_right" in printed
