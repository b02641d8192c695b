"""Every sentence of SlateEnv's docstring, which is also the page of the environments, has a test that it is true."""

import inspect
import re

import gymnasium
import numpy as np
import pytest

from gems_gym import PRESETS, SlateConfig
from gems_gym.envs import SlateEnv
from gems_gym.envs.slate_vector import SlateVectorEnv
from gems_gym.envs.spaces import INFO_KEYS
from gems_gym.policies import make_policy
from gems_gym.registration import environment_ids
from gems_gym.rollouts import play_sessions

ELSEWHERE = "tested elsewhere"
CHECKS: dict[str, object] = {}


def states(*sentences):
    """The decorated test shows that these sentences are true."""

    def mark(test):
        for sentence in sentences:
            CHECKS[" ".join(sentence.split())] = test
        return test

    return mark


def shown_in(where, *sentences):
    """Sentences whose truth other test files show."""
    for sentence in sentences:
        CHECKS[" ".join(sentence.split())] = where


def sentences():
    text = re.sub(r"```python.*?```", "", inspect.getdoc(SlateEnv), flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|^##.*$|^(?=\* )", text, flags=re.MULTILINE):
        yield from filter(None, re.split(r"(?<=[.])\s+(?=[A-Z`])", " ".join(paragraph.split())))


def test_every_sentence_is_tested():
    untested = [sentence for sentence in sentences() if sentence not in CHECKS]
    assert not untested, "give these a test here: " + "; ".join(untested)


@pytest.fixture
def env():
    return gymnasium.make("GemsSlate-diffuse_topdown-v0").unwrapped


@states(
    "A catalogue of 1,000 items in 10 topics; a user with a preference over them.",
    "At every step the agent shows a slate of 10 items, the user clicks some.",
    "A user opens a session, is shown a slate at every step, clicks, gets bored of topics, and changes preferences.",
)
def test_sizes_and_what_happens(env):
    assert env.catalog.item_embeddings.shape == (1000, 20)
    assert set(env.catalog.item_topics) == set(range(10))
    _, info = env.reset(seed=0)
    clicks, bored, states = 0, 0, [info["user_state"]]
    for _ in range(100):
        observation, reward, *_, info = env.step(env.short_term_oracle_slate())
        assert observation["slate"].shape == (10,)
        clicks, bored = clicks + reward, bored + info["bored"].sum()
        states.append(info["user_state"])
    assert clicks > 20 and bored > 20
    assert np.abs(states[-1] - states[0]).max() > 0.1


@states(
    """A topic that was clicked often in the last steps bores the user for a while; every click moves the user's
    preference towards the clicked item.""",
)
def test_boredom_and_drift():
    env = SlateEnv(slate_size=1, rel_threshold=-1.0)  # every slate is clicked
    env.reset(seed=0)
    item = int(np.flatnonzero(env.catalog.item_topics == 3)[0])
    embedding = env.catalog.item_embeddings[item]
    direction = (
        embedding / np.sqrt((embedding.reshape(10, 2) ** 2).sum(axis=1)).sum()
    )  # scaled as preferences are
    far = np.inf
    for step in range(1, 7):
        info = env.step(np.array([item]))[4]
        now = np.abs(info["user_state"] - direction).sum()
        assert now < far
        far = now
        assert info["bored"][3] == (step > 5)
    other = int(np.flatnonzero(env.catalog.item_topics == 4)[0])
    bored = [bool(env.step(np.array([other]))[4]["bored"][3]) for _ in range(12)]
    assert bored[0] and not bored[-1]


@states(
    "An agent that always shows the items with the highest scores soon bores its users, so good agents plan."
)
def test_planning_pays():
    env = SlateVectorEnv(100, autoreset_mode="disabled")
    clicks, bored = {}, {}
    for name in ("short_term_oracle", "boredom_aware_oracle"):
        moments = list(play_sessions(env, make_policy(name, env), list(range(100))))[1:]
        clicks[name] = sum(moment.rewards.mean() for moment in moments)
        bored[name] = np.mean([moment.infos["bored"].any(axis=1).mean() for moment in moments[10:]])
    assert clicks["boredom_aware_oracle"] > 3 * clicks["short_term_oracle"]
    assert bored["short_term_oracle"] > 0.5 > bored["boredom_aware_oracle"]


shown_in(
    "tests/simulator/test_recorded_runs.py, tests/simulator/test_against_reference.py",
    """The dynamics are those of the simulator published with GeMS (Deffayet, Thonet, Renders, de Rijke, WSDM 2023,
    arXiv 2301.08632, Section 5.1).""",
    "* v0: the dynamics of the published simulator, oddities included.",
)


@states(
    "``MultiDiscrete([num_items] * slate_size)``: the item in each position, top first; int64 ``(10,)``.",
    "Duplicates are allowed.",
    """``Dict(slate=MultiDiscrete([num_items] * slate_size), clicks=MultiBinary(slate_size))``: the slate just shown
    and what the user clicked on it.""",
    "The user's preference and boredom are hidden.",
    "The number of clicks on the slate, 0 … slate_size.",
)
def test_spaces_and_rewards(env):
    slates = gymnasium.spaces.MultiDiscrete([1000] * 10)
    assert env.action_space == slates and slates.dtype == np.int64
    assert env.observation_space == gymnasium.spaces.Dict(
        slate=slates, clicks=gymnasium.spaces.MultiBinary(10)
    )
    env.reset(seed=0)
    probabilities = SlateConfig().position_propensities()
    assert probabilities[0] == 1.0 and (np.diff(probabilities) < 0).all()  # position 0 is the top
    action = np.full(10, 7)
    observation, reward, *_ = env.step(action)
    np.testing.assert_array_equal(observation["slate"], action)
    assert set(observation) == {"slate", "clicks"}
    assert reward == observation["clicks"].sum()
    sure = SlateEnv(rel_threshold=-1.0, click_propensity=1.0, num_items=20)
    never = SlateEnv(alpha=0.0, num_items=20)
    sure.reset(seed=0), never.reset(seed=0)
    assert sure.step(np.arange(10))[1] == 10.0 and never.step(np.arange(10))[1] == 0.0


@states(
    """A new user, drawn from the environment's generator, has been shown the first slate (the item that stands out
    most in each topic); the first observation is that slate with its clicks, which are part of no reward.""",
)
def test_the_start(env):
    first, info = env.reset(seed=0)
    blocks = np.linalg.norm(env.catalog.item_embeddings.reshape(1000, 10, 2), axis=2)
    np.testing.assert_array_equal(first["slate"], blocks.argmax(axis=0))
    again, other = env.reset(seed=0)[1], env.reset()[1]
    np.testing.assert_array_equal(info["user_state"], again["user_state"])
    assert not np.array_equal(info["user_state"], other["user_state"])
    sure = SlateEnv(propensities=[1.0] + [0.0] * 9, rel_threshold=-1.0, episode_length=3)
    assert sure.reset(seed=0)[0]["clicks"].sum() == 1
    assert sum(sure.step(np.arange(10))[1] for _ in range(3)) == 3.0


@states(
    "Truncated after ``episode_length`` steps (100).",
    """The environment truncates by itself and registers no ``max_episode_steps``, so ``episode_length=`` may be longer
    or shorter.""",
)
def test_the_end():
    assert all(gymnasium.spec(env_id).max_episode_steps is None for env_id in environment_ids())
    for overrides, length in (({}, 100), ({"episode_length": 130}, 130), ({"episode_length": 9}, 9)):
        env = gymnasium.make("GemsSlate-focused_mix-v1", **overrides)
        env.reset(seed=0)
        ends = [env.step(np.arange(10))[2:4] for _ in range(length)]
        assert ends == [(False, False)] * (length - 1) + [(False, True)]


@states(
    """``info`` has the same keys at every step, reset included: ``slate`` and ``clicks`` as observed, ``scores`` and
    ``relevances`` float32 ``(slate_size,)`` of the items shown, ``bored`` bool ``(num_topics,)`` as used for this
    slate, ``user_state`` float32 ``(embedding_size,)`` after it.""",
    "All but the first two are privileged.",
)
def test_information(env):
    observation, info = env.reset(seed=3)
    user = info["user_state"]
    for _ in range(4):
        assert tuple(info) == INFO_KEYS == ("slate", "clicks", "scores", "relevances", "bored", "user_state")
        for key in ("slate", "clicks"):
            np.testing.assert_array_equal(info[key], observation[key])
        for key, shape, dtype in (
            ("scores", (10,), np.float32), ("relevances", (10,), np.float32), ("bored", (10,), np.bool_),
            ("user_state", (20,), np.float32),
        ):  # fmt: skip
            assert info[key].shape == shape and info[key].dtype == dtype
        preference = np.where(np.repeat(info["bored"], 2), 0, user)  # as used, before this slate's drift
        items = env.catalog.item_embeddings[info["slate"]]
        np.testing.assert_allclose(info["scores"], items @ preference, atol=1e-6)
        user = info["user_state"]
        observation, _, _, _, info = env.step(env.action_space.sample())


@states(
    "``preset``: a name in ``gems_gym.config.PRESETS`` or a ``SlateConfig``.",
    """``item_embeddings``: your own catalogue, an ``(num_items, embedding_size)`` array or the path of an .npy file
    (the form that a spec can be saved with).""",
    """``render_mode``: ``"ansi"`` (text), ``"rgb_array"`` (pictures), ``"human"`` (a window) or None; all but the text
    require the extra ``render``.""",
    "Every field of :class:`gems_gym.config.SlateConfig` by keyword.",
)
def test_arguments(tmp_path):
    assert SlateEnv("focused_mix").config == SlateEnv(PRESETS["focused_mix"]).config == PRESETS["focused_mix"]
    np.save(tmp_path / "items.npy", np.random.default_rng(0).random((30, 20)))
    assert SlateEnv(item_embeddings=tmp_path / "items.npy").config.num_items == 30
    assert SlateEnv(item_embeddings=np.eye(20)).config.num_items == 20
    assert set(SlateEnv.metadata["render_modes"]) == {"ansi", "rgb_array", "human"}
    # saving specs, pictures and every keyword: test_citizenship.py, test_rendering.py, ../simulator/test_parameters.py


shown_in(
    "tests/simulator/test_parameters.py",
    """* v1: v0 with three oddities of the published simulator corrected: clicks on the first slate are logged with a
    time stamp like all others (in v0 they have none and leave the log late); the short-term topic becomes that of the
    item clicked last (in v0 that of the item whose id is the click's position); a click counts as recent in exactly
    ``boredom_moving_window`` steps (in v0 in one more).""",
    "Returns under both: ``docs/environments.md``.",
)
shown_in(
    "tests/simulator/test_leaving.py",
    """Never terminated, unless users leave: ``leave_probability=0.1`` gives every topic that bored the user at a slate
    a chance of 0.1 to end the session then; with ``leave_after=3`` as well, this chance comes with each slate that
    makes three or more in a row without a click.""",
    "A session ends terminated or truncated, never both.",
)
shown_in(
    "test_bad_input.py",
    "Raises: ValueError: An unknown preset, a parameter out of range, or embeddings that do not fit.",
    "TypeError: An unknown keyword (the message names the nearest) or a value of the wrong type.",
)
