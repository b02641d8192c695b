"""Pages of the site that are made from the registries: one for each world, agent and public package.

They are written into ``docs/generated`` when Sphinx starts (see conf.py), and are not kept.
"""

import importlib
import inspect
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from gems_gym import PRESETS, plugins
from gems_gym.artifacts import shipped
from gems_gym.commands.output import markdown_table
from gems_gym.common.arrays import t_interval
from gems_gym.config import config_class, preset_config
from gems_gym.envs.video import save_gif
from gems_gym.policies import make_policy
from gems_gym.policies.base import chosen_by, observed_by
from gems_gym.registration import LATENT_PRESETS, VERSIONS, environment_id, latent_environment_id
from gems_gym.sardine_config import SARDINE_PRESETS
from gems_gym_agents.leaderboard import read_entries
from gems_gym_agents.pipeline.pictures import draw_curves
from gems_gym_agents.pipeline.studies import STUDIES
from generate_environments import descriptions

HERE = Path(__file__).parent
PUBLIC = (
    "gems_gym",
    "gems_gym.config",
    "gems_gym.envs",
    "gems_gym.wrappers",
    "gems_gym.simulator",
    "gems_gym.click_models",
    "gems_gym.rankers",
    "gems_gym.beliefs",
    "gems_gym.embeddings",
    "gems_gym.policies",
    "gems_gym.datasets",
    "gems_gym.logs",
    "gems_gym.artifacts",
    "gems_gym.trackers",
    "gems_gym.latent_world",
    "gems_gym.trained_agents",
    "gems_gym.serving",
    "gems_gym.user_splits",
    "gems_gym.testing",
    "gems_gym_agents.base",
    "gems_gym_agents.evaluation",
    "gems_gym_agents.offline",
    "gems_gym_agents.online",
    "gems_gym_agents.ope",
)
"""What users import, in the order of the site."""
WORLDS = (*PRESETS, *SARDINE_PRESETS)
_GIF_STEPS, _GIF_WIDTH = 30, 480


def write(docs: Path) -> None:
    """Write all generated pages, in place of those that are there.

    Args:
        docs: The folder of the site's pages.
    """
    folder = docs / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    results = json.loads((HERE / "comparison_own.json").read_text("utf-8"))
    pages = {f"worlds/{preset}": world_page(preset, results) for preset in WORLDS}
    pages["worlds/index"] = index_page("Worlds, one by one", WORLDS)
    agents = {name: plugins.load(plugins.AGENTS, name) for name in plugins.names(plugins.AGENTS)}
    curves = learning_curves()
    pages |= {f"agents/{name}": agent_page(name, agent, curves.get(name)) for name, agent in agents.items()}
    pages["agents/index"] = agents_page(agents)
    pages |= {f"api/{module}": api_page(module) for module in PUBLIC}
    pages["api/index"] = index_page("Reference", PUBLIC)
    pages["results"] = results_page(results)
    pages["leaderboard"] = leaderboard_page(sorted((HERE / "leaderboard").glob("*.json")))
    for name, text in pages.items():
        page = folder / f"{name}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, "utf-8")
    for name, study in curves.items():
        draw_curves(study, folder / "agents" / f"{name}.png")
    for preset in WORLDS:
        draw_session(environment_id(preset), folder / "worlds" / f"{preset}.gif")


def index_page(title: str, names: Iterable[str]) -> str:
    """A page that lists others of its folder."""
    return "\n".join([f"# {title}", "", "```{toctree}", ":maxdepth: 1", "", *names, "```", ""])


def world_page(preset: str, results: Mapping[str, Any]) -> str:
    """One world: a session of it, its ids, in what it differs, and who gets how many clicks."""
    config, default = preset_config(preset), config_class(preset)()
    different = [
        [f"`{field.name}`", f"`{getattr(config, field.name)!r}`", f"`{getattr(default, field.name)!r}`"]
        for field in fields(default)
        if getattr(config, field.name) != getattr(default, field.name)
    ]
    ids = [environment_id(preset, version) for version in VERSIONS]
    ids += [latent_environment_id(preset)] if preset in LATENT_PRESETS else []
    described = "[The environments](../../environments.md)"
    if preset in SARDINE_PRESETS:
        described += ", [The worlds of SARDINE](../../sardine.md)"
    parts = [
        f"# {preset}",
        f"![A session of {preset} with the boredom-aware oracle]({preset}.gif)",
        f"A session of {_GIF_STEPS} steps with the boredom-aware oracle, which sees what the user likes.",
        f'```python\nimport gymnasium, gems_gym\n\nenv = gymnasium.make("{ids[0]}")\n```',
        f"Ids: {', '.join(f'`{one}`' for one in ids)}.",
        f"Spaces, rewards and parameters: {described}.",
    ]
    if different:
        parts += ["## Parameters that differ from the defaults"]
        parts += [markdown_table(["parameter", "here", "default"], different)]
    if preset in results["references"]:
        parts += ["## Clicks per session", scores(preset, results)]
    return "\n\n".join(parts) + "\n"


def scores(preset: str, results: Mapping[str, Any]) -> str:
    """The table of all policies in one world, best first."""
    rows = [row[1:] for row in result_rows(results) if row[0] == preset]
    command = f"`{results['command']}`, gems-gym {results['gems_gym']}, {results['test_users']} test users"
    return (
        markdown_table(RESULT_COLUMNS[1:], rows)
        + f"\n\n*{command}; what each is: [Comparison](../../comparison.md).*"
    )


RESULT_COLUMNS = ["world", "policy", "clicks", "±", "score", "seeds", "privileged"]


def result_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """A study's policies, as rows of :data:`RESULT_COLUMNS`; those of most clicks first in each world."""
    rows = []
    privileged = {variant["name"]: variant["privileged"] for variant in results["variants"]}
    for world in (one["name"] for one in results["worlds"]):
        references = results["references"][world]
        low, high = (references[name]["mean_return"] for name in ("random", "boredom_aware_oracle"))
        found = [
            (reference["mean_return"], reference.get("ci95"), name, "", reference["privileged"])
            for name, reference in references.items()
        ]
        for variant in privileged:
            runs = [run for run in results["runs"] if (run["world"], run["variant"]) == (world, variant)]
            clicks = [run["test"]["mean_return"] for run in runs]
            if clicks:
                mean, half_width = float(np.mean(clicks)), t_interval(np.array(clicks))
                found.append((mean, half_width, variant, str(len(runs)), privileged[variant]))
        for mean, half_width, name, seeds, sees in sorted(found, key=lambda one: -one[0]):
            score = 100 * (mean - low) / (high - low)
            interval = "" if half_width is None else f"{half_width:.1f}"
            sight = "yes" if sees else ""
            rows.append([world, name, f"{mean:.1f}", interval, f"{score:.1f}", seeds, sight])
    return rows


def results_page(results: Mapping[str, Any]) -> str:
    """All policies in all worlds, as a table that sorts by the column that is clicked."""
    table = markdown_table(RESULT_COLUMNS, result_rows(results))
    return f"""# Results at a glance

Clicks per session of 100 slates on {results["test_users"]} test users, for each policy and world. Click on a column's
name to sort. ± is the half-width of the 95 % interval: over seeds for agents, over users for policies that need no
training. The score is 0 for random slates and 100 for the boredom-aware oracle. How each was made, every seed, and
published numbers: [Comparison](../comparison.md).

:::{{container}} sortable

{table}

:::

*`{results["command"]}`, gems-gym {results["gems_gym"]}.*
"""


LEADERBOARD_COLUMNS = [
    "world",
    "policy",
    "clicks",
    "±",
    "score",
    "privileged",
    "where it is",
    "entry",
]

LEADERBOARD_USERS = (0, 500)
"""Random seed and number of the test users that all entries are of: the defaults of ``gems-gym evaluate``."""


def leaderboard_page(files: Iterable[Path]) -> str:
    """The entries of the leaderboard as a table that sorts, those of most clicks first in each world.

    Raises:
        ValueError: An entry that can't be scored again.
    """
    entries = [(entry, file.name) for file in files for entry in read_entries(file)]
    entries.sort(key=lambda one: (one[0]["env"], -one[0]["mean_return"]))
    table = markdown_table(LEADERBOARD_COLUMNS, [leaderboard_row(entry, file) for entry, file in entries])
    return f"""# Leaderboard

Clicks per session of the same {LEADERBOARD_USERS[1]} test users, ± the half-width of the 95 % interval over them: of
one training, where a policy was trained. Click on a column's name to sort. The score is 0 for random slates and 100
for the boredom-aware oracle. Privileged policies see what the user likes. An entry is scored again, digit by digit, by
`gems-gym rescore docs/leaderboard/ENTRY`; more on that, and how to add one:
[Sharing](../sharing.md#the-leaderboard).

:::{{container}} sortable

{table}

:::
"""


def leaderboard_row(entry: Mapping[str, Any], file: str) -> list[str]:
    """An entry, as a row of :data:`LEADERBOARD_COLUMNS`.

    Raises:
        ValueError: Other users than :data:`LEADERBOARD_USERS`, or nobody knows where the policy is.
    """
    if (users := (entry["seed"], entry["episodes"])) != LEADERBOARD_USERS:
        raise ValueError(
            f"{file}: seed and number of users must be {LEADERBOARD_USERS} in all entries, got {users}"
        )
    ours = entry["agent"] is None or entry["policy"] in shipped.names("policy")
    if "source" not in entry and not ours:
        raise ValueError(f"{file}: the entry of {entry['policy']!r} must have a source, where its policy is")
    return [
        entry["env"] + _changed(entry["env_options"]),
        entry.get("name", entry["policy"]) + _changed(entry.get("policy_options", {})),
        f"{entry['mean_return']:.1f}",
        f"{entry['ci95']:.1f}",
        f"{entry['normalized_score']:.1f}",
        "yes" if entry["privileged"] else "",
        entry.get("source", "comes with gems-gym"),
        f"`{file}`",
    ]


def _changed(options: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value}" for name, value in options.items())


def agents_page(agents: Mapping[str, Any]) -> str:
    """All agents: what they learn from, see and choose."""
    rows = [
        [
            f"[{name}]({name}.md)",
            agent.learns_from,
            observed_by(agent),
            chosen_by(agent),
            first_sentence(agent),
        ]
        for name, agent in agents.items()
    ]
    table = markdown_table(["agent", "learns from", "sees", "chooses", "in a sentence"], rows)
    hidden = "\n".join(["```{toctree}", ":hidden:", "", *agents, "```"])
    return f"""# Agents

Each is trained, evaluated and used for collecting by the same commands. In Python each is a class, found by
`gems_gym.plugins.load("gems_gym.agents", NAME)`.

:::{{container}} sortable sentences

{table}

:::

{hidden}
"""


def agent_page(name: str, agent: Any, study: Mapping[str, Any] | None) -> str:
    """One agent: its commands, its class, what it learns in a study, its options."""
    commands = "\n".join([*training(name, agent), f"gems-gym evaluate runs/{name}"])
    described = f".. autoclass:: {agent.__module__}.{agent.__qualname__}\n   :no-members:"
    parts = [
        f"# {name}",
        f"Learns from: {agent.learns_from}. Sees: {observed_by(agent)}. Chooses: {chosen_by(agent)}.",
        f"```bash\n{commands}\n```",
        f"```{{eval-rst}}\n.. highlight:: text\n\n{described}\n```",  # equations are no Python, the default
    ]
    if study is not None:
        made_by = f"`{study['command']}`, gems-gym {study['gems_gym']}"
        parts += [
            "## Learning curves",
            f"![Clicks per session while {name} learns, a panel a world]({name}.png)",
            f"*Mean over seeds, and from the lowest to the highest: {made_by}, [Comparison](../../comparison.md).*",
        ]
    if hasattr(agent, "options_class"):
        parts += [
            "## Options",
            "By `--option NAME=VALUE`, or as keywords of the class.",
            f":::{{container}} sentences\n\n{options(agent.options_class)}\n\n:::",
        ]
    return "\n\n".join(parts) + "\n"


def training(name: str, agent: Any) -> list[str]:
    """The commands that train an agent in a world, or on a dataset of it."""
    preset, before = "diffuse_mix", []
    slates, latents = environment_id(preset), latent_environment_id(preset)
    if agent.learns_from == "dataset":
        before = [f"gems-gym collect --env {latents} --level medium --episodes 1000"]
        source = f"--dataset gems-slate/{preset}/medium-v0"
    elif observed_by(agent) == "slates":
        source = f"--env {slates}"
    elif chosen_by(agent) == "slates":
        source = f"--env {slates} --belief gru-{preset}"
    elif kind := getattr(agent, "ranker_kind", None):
        made = f"--embeddings mf-{preset} --out {kind}.safetensors"
        before = [f"gems-gym pretrain ranker --env {slates} --kind {kind} {made}"]
        source = f"--env {slates} --belief gru-{preset} --ranker {kind}.safetensors"
    else:
        source = f"--env {latents}"
    if signature(agent.fit).parameters["steps"].default is Parameter.empty:
        source += f" --steps {5_000 if agent.learns_from == 'dataset' else 100_000}"
    return [*before, f"gems-gym train {name} {source} --out runs/{name}"]


def learning_curves() -> dict[str, dict[str, Any]]:
    """Agent -> the results of a study's runs with it that have learning curves."""
    found: dict[str, dict[str, Any]] = {}
    for study, curve in (("own", "curve"), ("offline", "history")):
        results = json.loads((HERE / f"comparison_{study}.json").read_text("utf-8"))
        agents = {variant.name: variant.agent for variant in STUDIES[study].variants}
        for agent in sorted(set(agents.values())):
            runs = [
                run for run in results["runs"] if agents[run["variant"]] == agent and any(run[curve].values())
            ]
            drawn = {run["variant"] for run in runs}
            variants = [variant for variant in results["variants"] if variant["name"] in drawn]
            if runs:
                found[agent] = results | {"variants": variants, "runs": runs}
    return found


def options(documented: type) -> str:
    """The table of a dataclass's fields, those of its bases included."""
    described: dict[str, str] = {}
    for base in reversed(documented.__mro__):
        described |= descriptions(base, "Attributes")
    rows = [
        [
            f"`{field.name}`",
            "" if field.default is MISSING else f"`{field.default!r}`",
            described.get(field.name, ""),
        ]
        for field in fields(documented)
    ]
    return markdown_table(["option", "default", "meaning"], rows)


def first_sentence(documented: Any) -> str:
    """What a class's docstring begins with."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def api_page(module: str) -> str:
    """All that a public module exports."""
    names = getattr(importlib.import_module(module), "__all__", None)
    members = "" if names is None else f"\n   :members: {', '.join(names)}\n   :imported-members:"
    return f"# {module}\n\n```{{eval-rst}}\n.. automodule:: {module}{members}\n```\n"


def draw_session(env_id: str, file: Path) -> None:
    """Write a GIF of the first steps of a session with the boredom-aware oracle."""
    env = gymnasium.make(env_id, render_mode="rgb_array", episode_length=_GIF_STEPS)
    policy = make_policy("boredom_aware_oracle", env)
    observation, _ = env.reset(seed=1)
    state, frames, ended = policy.open([1]), [env.render()], False
    while not ended:
        slate, state = policy.act(state, observation)
        observation, _, terminated, truncated, _ = env.step(slate)
        frames.append(env.render())
        ended = terminated or truncated
    save_gif(file, frames, fps=4, width=_GIF_WIDTH)
