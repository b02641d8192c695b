"""Makes docs/environments.md from the code: ``python docs/generate_environments.py [--measure] [--check]``.

The parts of the page between ``<!-- generated: NAME -->`` and ``<!-- end -->`` are rewritten; the rest is written by
hand. ``--measure`` plays the sessions of the table of returns again (a minute or two) and keeps its numbers in
``environments_returns.json``, from which the page is made otherwise.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import gems_gym
from gems_gym import PRESETS, SlateConfig
from gems_gym.commands.output import markdown_table
from gems_gym.common.files import read_json, write_json
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.registration import VERSIONS, environment_id
from gems_gym.user_splits import user_seeds
from generated_pages import fill_parts, page_arguments, rewrite_page

HERE = Path(__file__).parent
PAGE = HERE / "environments.md"
RETURNS = HERE / "environments_returns.json"
USERS = 1000
# in the page's order: what the policy is called there -> policy's name, and for constant slates which slate
POLICIES = {
    "random": "random",
    "eps_greedy_oracle": "eps_greedy_oracle",
    "short_term_oracle": "short_term_oracle",
    "fixed_topic0": "constant_slate",
    "fixed_top_quality": "constant_slate",
}


def main() -> None:
    """Rewrite the page, or with ``--check`` only say whether it is up to date."""
    parser = page_arguments(__doc__)
    parser.add_argument("--measure", action="store_true", help="play the table of returns again")
    arguments = parser.parse_args()
    if arguments.measure:
        write_json(RETURNS, measured())
    text = fill_parts(PAGE.read_text("utf-8"), PARTS)
    rewrite_page(PAGE, text, __file__, check=arguments.check)


def markdown(text: str) -> str:
    """A docstring's reStructuredText as Markdown, each paragraph and list item on a line."""
    fence = "\0"  # three backticks; two mark code in a docstring's line, one in Markdown's
    text = text.replace("```", fence).replace("``", "`")
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    lines: list[str] = []
    in_code = False
    for line in text.splitlines():
        starts_anew = line.startswith((fence, "#", "* ")) or not line.strip()
        if lines and not (in_code or starts_anew or not lines[-1] or lines[-1].startswith((fence, "#"))):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
        in_code ^= line.startswith(fence)
    return "\n".join(lines).replace(fence, "```")


def description() -> str:
    """SlateEnv's docstring without what it raises."""
    return markdown((inspect.getdoc(SlateEnv) or "").split("\nRaises:")[0])


def spaces() -> str:
    """The spaces of one environment and of a vector of 256, from the environments."""
    env, envs = SlateEnv(), SlateVectorEnv(256)
    rows = [
        [what, f"`{shown(getattr(env, attribute))}`", f"`{shown(getattr(envs, attribute))}`"]
        for what, attribute in (("action", "action_space"), ("observation", "observation_space"))
    ]
    rows.append(["reward", "`float`", f"`{envs_reward(envs)}`"])
    return markdown_table(["", "`make(id)`", "`make_vec(id, num_envs=256)`"], rows)


def shown(space: Any) -> str:
    """A space in few words."""
    if isinstance(space, gymnasium.spaces.Dict):
        return f"Dict({', '.join(f'{name}: {shown(part)}' for name, part in space.items())})"
    largest = {
        gymnasium.spaces.MultiDiscrete: lambda: space.nvec.max() - 1,
        gymnasium.spaces.Box: lambda: space.high.max(),
        gymnasium.spaces.MultiBinary: lambda: 1,
    }[type(space)]()
    return f"{type(space).__name__} {space.shape} {space.dtype}, 0 … {largest}"


def envs_reward(envs: SlateVectorEnv) -> str:
    """Shape and type of a vector environment's rewards, from a step."""
    envs.reset(seed=0)
    rewards = envs.step(envs.action_space.sample())[1]
    return f"{rewards.shape} {rewards.dtype}"


def infos() -> str:
    """The keys of info, from a step."""
    env = SlateEnv()
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    return markdown_table(
        ["key", "shape", "dtype"], [[f"`{k}`", f"`{v.shape}`", f"`{v.dtype}`"] for k, v in info.items()]
    )


def parameters() -> str:
    """The parameters, from SlateConfig's fields and docstring."""
    described = descriptions(SlateConfig)
    rows = []
    for field in dataclasses.fields(SlateConfig):
        rows.append([f"`{field.name}`", f"`{field.default!r}`", described[field.name]])
    return markdown_table(["parameter", "default", "meaning"], rows)


def descriptions(documented: type, section: str = "Args") -> dict[str, str]:
    """What a class's docstring says about its arguments, or about what another section lists; empty if it has none."""
    arguments = (inspect.getdoc(documented) or "").partition(f"{section}:\n")[2].split("\n\n")[0]
    entries = re.split(r"^    (\w+): ", arguments, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(markdown(text).split()) for name, text in zip(entries[::2], entries[1::2], strict=True)
    }


def registered() -> str:
    """The registered configurations: what distinguishes them."""
    differing = [
        field.name
        for field in dataclasses.fields(SlateConfig)
        if len({repr(getattr(config, field.name)) for config in PRESETS.values()}) > 1
    ]
    rows = [
        [*(f"`{environment_id(name, version)}`" for version in VERSIONS)]
        + [f"`{getattr(config, field)!r}`" for field in differing]
        for name, config in PRESETS.items()
    ]
    return markdown_table(
        [*(f"v{version}" for version in VERSIONS), *(f"`{name}`" for name in differing)], rows
    )


def returns() -> str:
    """The table of returns under both versions, from what was measured."""
    kept = read_json(RETURNS)
    rows = [
        [preset, policy, *(f"{one[key]['mean']:.1f} ± {one[key]['ci95']:.1f}" for key in ("v0", "v1")),
         f"{one['difference']['mean']:+.1f} ± {one['difference']['ci95']:.1f}"]
        for preset, policies in kept["results"].items()
        for policy, one in policies.items()
    ]  # fmt: skip
    made = f"*{kept['what']}; gems-gym {kept['version']}, `{kept['command']}`.*"
    return markdown_table(["world", "policy", "v0", "v1", "v1 − v0"], rows) + "\n\n" + made


def measured() -> dict[str, Any]:
    """Play the table of returns."""
    from gems_gym.common.progress import track

    results: dict[str, Any] = {}
    with track("returns", len(PRESETS) * len(POLICIES) * len(VERSIONS)) as advance:
        for preset in PRESETS:
            results[preset] = {}
            for policy in POLICIES:
                played = {}
                for version in VERSIONS:
                    played[version] = played_returns(preset, policy, version)
                    advance(1, note=f"{environment_id(preset, version)} {policy}")
                results[preset][policy] = {
                    **{f"v{version}": interval(values) for version, values in played.items()},
                    "difference": interval(played[1] - played[0]),
                }
    return {
        "what": f"Clicks in a session of 100 steps, mean over the same {USERS:,} test users "
        f'(`user_seeds("test", 0, {USERS})`) ± 95 % t-interval over users; the difference is paired by user',
        "command": "python docs/generate_environments.py --measure",
        "version": gems_gym.__version__,
        "results": results,
    }


def played_returns(preset: str, policy: str, version: int) -> np.ndarray:
    """Returns of the test users, float64 ``(users,)``."""
    from gems_gym_agents.evaluation import evaluate

    env = SlateVectorEnv(USERS, preset, dynamics_version=version, autoreset_mode="disabled")
    slates = {
        "fixed_topic0": np.flatnonzero(env.catalog.item_topics == 0)[: env.config.slate_size],
        "fixed_top_quality": env.catalog.first_slate(env.config.slate_size),
    }
    options = {"slate": slates[policy]} if policy in slates else {}
    return evaluate(make_policy(POLICIES[policy], env, **options), env, user_seeds("test", 0, USERS)).returns


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean and half-width of its 95 % interval."""
    from gems_gym_agents.evaluation import t_interval

    return {"mean": round(float(values.mean()), 3), "ci95": round(t_interval(values), 3)}


PARTS: dict[str, Callable[[], str]] = {
    "description": description,
    "spaces": spaces,
    "infos": infos,
    "parameters": parameters,
    "registered": registered,
    "returns": returns,
}

if __name__ == "__main__":
    main()
