"""The study matrix itself, made tiny: an agent through every ranker, and those that show slates."""

import json
from dataclasses import replace

import pytest

from gems_gym_agents.commands.compare import write_results
from gems_gym_agents.pipeline.matrices import RANKERS, SLATE_AGENTS
from gems_gym_agents.pipeline.references import measure_references
from gems_gym_agents.pipeline.running import runs_of
from gems_gym_agents.pipeline.studies import STUDIES
from tests.agents.tiny_study import BELIEF, ONLINE, USERS

TINY = {
    "reinforce_latent": {"hidden_units": (8,), "sessions": 50},
    "slateq": {"hidden_units": (8,), "sessions": 50, "updates": 5},
    "reinforce_softmax": {"hidden_units": (8,), "sessions": 50},
}


def tiny(recipe):
    if recipe.kind == "ranker/gems":
        return replace(recipe, sessions=60, search_sessions=1_024, settings={"batches": 10})
    return replace(recipe, sessions=400)


@pytest.mark.slow
def test_every_ranker_and_every_slate_agent_takes_part(tmp_path):
    variants = [
        replace(
            one,
            ranker=one.ranker and tiny(one.ranker),
            belief=replace(BELIEF, name=one.belief.name),
            options=TINY[one.agent],
            steps=600,
            num_envs=50,
        )
        for one in STUDIES["matrix"].variants
        if one.agent in TINY
    ]
    assert len(variants) == len(RANKERS) + len(SLATE_AGENTS)
    study = replace(STUDIES["matrix"], worlds=ONLINE.worlds, variants=tuple(variants), seeds=(0,), **USERS)
    measure_references(study, study.worlds[0], tmp_path)
    for run in runs_of(study, tmp_path):
        run.play()
    write_results(study, tmp_path, "gems-gym compare matrix")
    (summary,) = json.loads((tmp_path / "results.json").read_text())["summary"]
    assert [one["policy"] for one in summary["variants"]] == [one.name for one in variants]
    assert all(0 < one["catalogue_coverage"] <= 1 for one in summary["variants"])
    assert (tmp_path / "trade_off.png").is_file()
    assert "`reinforce_latent_softmax`: the agent `reinforce_latent`" in (tmp_path / "table.md").read_text()
