"""Parts of a study's world: what is logged for them, and that they are made once."""

from gems_gym.beliefs import load_belief
from gems_gym.pretraining.belief import BELIEF_PRESETS
from gems_gym.rankers import load_ranker
from gems_gym_agents.comparison.parts import Parts
from gems_gym_agents.comparison.runs import OpenWorld
from gems_gym_agents.comparison.study import PartRecipe
from tests.agents.tiny_study import ONLINE

RECIPE = PartRecipe(
    name="short",
    kind="ranker/topk",
    settings={"embeddings": "session_co_click", "options": {"cosine": True}},
    sessions=300,
)


def test_a_ranker_of_item_vectors_from_short_sessions(tmp_path):
    parts = Parts(OpenWorld(ONLINE.worlds[0]), 0, tmp_path)
    made = parts.make(RECIPE)
    assert made["logged_interactions"] == 300 * 20
    assert load_ranker(parts.file(RECIPE)).kind == "ranker/topk"
    written = parts.file(RECIPE).stat().st_mtime_ns
    assert parts.make(RECIPE) == made
    assert parts.file(RECIPE).stat().st_mtime_ns == written


def test_a_belief_logged_without_privileged_information(tmp_path):
    parts = Parts(OpenWorld(ONLINE.worlds[0]), 0, tmp_path)
    few = {"sessions": 60, "search_sessions": 1_024, "settings": {"batches": 10}}
    recipe = PartRecipe(name="belief", kind="belief/gru", preset="unprivileged", **few)
    assert parts.make(recipe)["logged_interactions"] == (60 + 1_024) * 12
    logged = load_belief(parts.file(recipe)).header["log"]
    assert logged == {"policies": list(BELIEF_PRESETS["unprivileged"].shares), "sessions": 60}


def test_what_is_logged_is_among_the_settings(tmp_path):
    parts = Parts(OpenWorld(ONLINE.worlds[0]), 0, tmp_path)
    short = parts.settings(RECIPE)
    assert (short["shares"], short["sessions"], short["session_length"]) == ([["random", 1.0]], 300, 20)
    published = parts.settings(topk("matrix_factorization"))
    assert (published["shares"], published["sessions"]) == ([["eps_greedy_oracle", 1.0]], 5_000)
    assert published["session_length"] is None  # as many as in the world
    ideal = parts.settings(topk("ideal"))
    assert (ideal["shares"], ideal["sessions"]) == ([], 0)


def topk(embeddings):
    return PartRecipe(name=embeddings, kind="ranker/topk", settings={"embeddings": embeddings})
