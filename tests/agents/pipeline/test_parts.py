"""Parts of a study's world: what is logged for them, and that they are made once."""

from gems_gym.beliefs import load_belief
from gems_gym.pretraining.belief import BELIEF_PRESETS
from gems_gym.rankers import load_ranker
from gems_gym_agents.pipeline.study import PartRecipe
from gems_gym_agents.pipeline.training import Part
from tests.agents.tiny_study import ONLINE

RECIPE = PartRecipe(
    name="short",
    kind="ranker/topk",
    settings={"embeddings": "session_co_click", "options": {"cosine": True}},
    sessions=300,
)


def part(recipe: PartRecipe, folder) -> Part:
    world = ONLINE.worlds[0]
    made_by = recipe.recipe(world.preset, 0)
    return Part(recipe.name, made_by, world.parameters, {"world": world.settings}, folder)


def test_a_ranker_of_item_vectors_from_short_sessions(tmp_path):
    short = part(RECIPE, tmp_path)
    made = short.make()
    assert made["logged_interactions"] == 300 * 20
    assert load_ranker(short.file).kind == "ranker/topk"
    written = short.file.stat().st_mtime_ns
    assert short.make() == made
    assert short.file.stat().st_mtime_ns == written


def test_a_belief_logged_without_privileged_information(tmp_path):
    few = {"sessions": 60, "search_sessions": 1_024, "settings": {"batches": 10}}
    belief = part(PartRecipe(name="belief", kind="belief/gru", preset="unprivileged", **few), tmp_path)
    assert belief.make()["logged_interactions"] == (60 + 1_024) * 12
    logged = load_belief(belief.file).header["log"]
    assert logged == {"policies": list(BELIEF_PRESETS["unprivileged"].shares), "sessions": 60}


def test_what_is_logged_is_among_the_settings(tmp_path):
    short = part(RECIPE, tmp_path).settings
    assert (short["shares"], short["sessions"], short["session_length"]) == ([["random", 1.0]], 300, 20)
    published = part(topk("matrix_factorization"), tmp_path).settings
    assert (published["shares"], published["sessions"]) == ([["eps_greedy_oracle", 1.0]], 5_000)
    assert published["session_length"] is None  # as many as in the world
    ideal = part(topk("ideal"), tmp_path).settings
    assert (ideal["shares"], ideal["sessions"]) == ([], 0)


def topk(embeddings):
    return PartRecipe(name=embeddings, kind="ranker/topk", settings={"embeddings": embeddings})
