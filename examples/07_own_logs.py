"""From the impression log of a running recommender to a decision.

    pip install 'gems-gym[logs,online]'
    python examples/07_own_logs.py --out own_logs

Would another policy earn more? A log with all the dirt that logs have is taken through six steps, and
own_logs/report.md says what came out. The log is written in a simulated world by a recommender that no command is told
of, so that the truth can stand beside the estimates. Everything learns from the earlier sessions, and is estimated on
the later ones.
"""

import argparse
import io
import json
import os
import sys
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path

import gymnasium
import numpy as np
import polars as pl
from gymnasium.vector import VectorEnv

from gems_gym.commands.output import markdown_table
from gems_gym.commands.program import main as main_of_gems_gym
from gems_gym.datasets import EpisodeBatch
from gems_gym.logs import read_items
from gems_gym.serving import ServedPolicy, open_policy
from gems_gym.user_splits import user_seeds

HIDDEN_WORLD = {
    "num_items": 100, "slate_size": 5, "num_topics": 5, "episode_length": 10, "alpha": 0.5, "relevance_slope": 20.0,
    "relevance_offset": 0.4, "leave_after": 2, "leave_probability": 0.4,
}  # fmt: skip
"""Users look at the top first, tire of topics, and may leave after two slates without a click."""

LOG, NEWS = "hidden/sessions-v0", "my/news-v0"
EARLIER, LATER, LATENTS = "my/earlier-v0", "my/later-v0", "my/latents-v0"
HELD_OUT = 0.3

ESTIMATORS = ("dm", "iips")


def gems_gym(*words: object) -> dict:
    """What a command finds: it is run as one would type it, but in this process, which has loaded the libraries."""
    sys.argv = ["gems-gym", *map(str, words), "--json"]
    print("$", *sys.argv, file=sys.stderr)
    with redirect_stdout(io.StringIO()) as printed:
        try:
            main_of_gems_gym()
        except SystemExit as ended:
            if ended.code:
                raise
    return json.loads(printed.getvalue())


def write_log(users: int) -> tuple[pl.DataFrame, pl.DataFrame, float]:
    """A log in EB-NeRD's form, an impression a row; its articles; and how many clicks a session it has."""
    gems_gym(
        "collect", "--env", "GemsSlate-diffuse_topdown-v0", "--policy", "softmax_oracle", "--policy-option",
        "temperature=0.3", "--episodes", users, "--dataset-id", LOG, "--overwrite",
        *(word for name, value in HIDDEN_WORLD.items() for word in ("--env-option", f"{name}={value}")),
    )  # fmt: skip
    played = EpisodeBatch.from_minari(LOG, infos=["slate", "clicks"], progress=False)
    session, step = np.nonzero(played.filled)
    slates, clicks = played.slates[session, step + 1], played.clicks[session, step + 1]
    articles = np.array([f"N{10_000 + item}" for item in range(HIDDEN_WORLD["num_items"])])
    came = np.random.default_rng(0).uniform(0, 14 * 24 * 60, len(played))[session] + 0.4 * step  # minutes
    log = pl.DataFrame(
        {
            "impression_id": np.arange(len(session)),
            "user_id": [f"U{one}" for one in session],
            "session_id": [f"S{one}" for one in session],
            "impression_time": [
                datetime(2024, 5, 1) + timedelta(minutes=int(one)) for one in came
            ],  # with ties
            "article_ids_inview": articles[slates].tolist(),
            "article_ids_clicked": [
                shown[clicked > 0].tolist() for shown, clicked in zip(articles[slates], clicks, strict=True)
            ],
        }
    ).sort("impression_time", maintain_order=True)
    return log, pl.DataFrame({"article_id": articles}), played.rewards.sum() / len(played)


def with_dirt(log: pl.DataFrame) -> pl.DataFrame:
    """The log as logs are: values that are missing, ids that nobody knows, rows that come late or twice."""
    rng = np.random.default_rng(1)

    def some(share: float) -> pl.Expr:
        return pl.lit(pl.Series(rng.random(len(log)) < share))

    def with_one_more(column: str, article: str) -> pl.Expr:
        return pl.concat_list(column, pl.lit(article))

    changes = {
        "user_id": pl.when(~some(0.01)).then("user_id"),
        "impression_time": pl.when(~some(0.005)).then("impression_time"),
        "article_ids_inview": pl.when(some(0.01))
        .then(with_one_more("article_ids_inview", "withdrawn"))
        .otherwise("article_ids_inview"),
        "article_ids_clicked": pl.when(some(0.005))
        .then(with_one_more("article_ids_clicked", "elsewhere"))
        .otherwise("article_ids_clicked"),
    }
    dirty, late = log.with_columns(**changes), some(0.01)
    return pl.concat([dirty.filter(~late), dirty.filter(late), dirty.filter(some(0.02))])


def true_clicks(policy: ServedPolicy, world: VectorEnv) -> tuple[float, float]:
    """Clicks a session where the log comes from, by asking the policy after every slate, as a service does.

    Returns:
        The mean over test users, and half of its 95 % interval.
    """
    users = world.num_envs
    seen, _ = world.reset(seed=user_seeds("test", 0, users))
    histories: list[list[dict]] = [[] for _ in range(users)]
    earned, there = np.zeros(users), np.ones(users, np.bool_)
    while there.any():
        for history, slate, clicks in zip(histories, seen["slate"], seen["clicks"], strict=True):
            history.append({"slate": slate, "clicks": clicks})
        seen, rewards, terminated, truncated, _ = world.step(policy.recommend_all(histories, range(users)))
        earned += rewards * there
        there &= ~(terminated | truncated)
        if (ended := terminated | truncated).any():
            world.reset(options={"reset_mask": ended})
    return earned.mean(), 1.96 * earned.std() / np.sqrt(users)


def most_clicked(dataset: str, count: int) -> list[int]:
    """The items that are clicked most often for how often they are shown."""
    sessions = EpisodeBatch.from_minari(dataset, progress=False)
    known = sessions.observations["mask"] > 0
    shown = np.bincount(sessions.observations["slate"][known])
    clicked = np.bincount(sessions.observations["slate"][known], sessions.observations["clicks"][known])
    return np.argsort(-clicked / np.maximum(shown, 1), kind="stable")[:count].tolist()


def interval(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def report(found: dict, candidates: dict[str, str], truth: dict[str, tuple[float, float]]) -> str:
    """The page: what the data are, whether sequence matters, the candidates, the choice, and the truth.

    Args:
        found: What each step found.
        candidates: Name -> what the policy is called in the results of ope.
        truth: Clicks a session and half of the interval, of the candidates and of what was logged.
    """
    imported, estimated = found["import"], found["ope"]
    lost = [
        [reason, f"{one['rows']:,}", f"{one['first_row']:,}"] for reason, one in imported["dropped"].items()
    ]
    as_logged = estimated["logged"]
    logged = interval(as_logged["value"], *as_logged["interval"])
    rows = [["as logged", *[logged] * len(ESTIMATORS), "–", f"{truth['as logged'][0]:.2f}"]]
    for name, policy in candidates.items():
        by = [estimated["policies"][policy][estimator] for estimator in ESTIMATORS]
        cells = [interval(one["value"], *one["interval"]) if "value" in one else "–" for one in by]
        by_world, by_truth = found["in the fitted world"][name], truth[name]
        rows.append([name, *cells, "{:.2f} ± {:.2f}".format(*by_world), "{:.2f} ± {:.2f}".format(*by_truth)])
    names = {policy: name for name, policy in candidates.items()}
    choices = ", ".join(f"{by}: **{names.get(one, one)}**" for by, one in estimated["selected"].items())
    return f"""# From a log to a decision

## What the data are

{imported["rows_read"]:,} rows of {imported["source"]}. The {imported["rows_kept"]:,} that were kept are
{imported["impressions"]:,} impressions in {imported["sessions"]:,} sessions, with {imported["items_shown"]:,} articles
and {imported["clicks"]:,} clicks. {imported["out_of_order"]:,} impressions were out of order. The earlier
{1 - HELD_OUT:.0%} of the sessions are learned from, the later ones are for estimates.

{markdown_table(["left out", "rows", "first row"], lost, numbers=True)}

![what came in](import.png)

## Does sequence matter?

{sentence(found["fit"]["verdict"])}

## A world like the log

{sentence(found["world"]["verdict"])}

![the fitted world and the log](world.png)

## The candidates

Clicks a session, with 95 % intervals. The log has no propensities: they were counted, as if its recommender had not
looked at users.

{markdown_table(["policy", *ESTIMATORS, "in the fitted world", "truth"], rows, numbers=True)}

## The choice

By the lower bound of {choices}. In truth: **{max(truth, key=lambda name: truth[name][0])}**.

What the agent from the log would show a user who was shown the first five articles and clicked the first of them:
{found["answer"]["slate"]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a log of your own to a decision.")
    parser.add_argument("--out", type=Path, default=Path("own_logs"), help="folder for everything")
    parser.add_argument("--users", type=int, default=6_000, help="users of the log (default: 6000)")
    parser.add_argument("--batches", type=int, default=600, help="updates of each model (default: 600)")
    parser.add_argument(
        "--steps", type=int, default=6_000, help="steps of sac, of iql a third (default: 6000)"
    )
    arguments = parser.parse_args()

    out, batches, found = arguments.out, arguments.batches, {}
    out.mkdir(parents=True, exist_ok=True)
    os.environ["MINARI_DATASETS_PATH"] = str((out / "datasets").resolve())
    log, articles, clicks_as_logged = write_log(arguments.users)
    with_dirt(log).write_parquet(out / "log.parquet")
    articles.write_parquet(out / "articles.parquet")

    # 1. What came in, and what did not.
    found["import"] = gems_gym(
        "logs", "import", out / "log.parquet", "--preset", "ebnerd", "--items", out / "articles.parquet",
        "--item-column", "article_id", "--out", NEWS, "--picture", out / "import.png", "--overwrite",
    )  # fmt: skip
    for name, option, share in ((EARLIER, "--earliest", 1 - HELD_OUT), (LATER, "--latest", HELD_OUT)):
        gems_gym("dataset", "subset", NEWS, option, share, "--dataset-id", name, "--overwrite")
    # 2. Where users look, and whether what they did before says what they do next.
    found["fit"] = gems_gym("logs", "fit", EARLIER, "--out", out / "fitted", "--batches", batches)
    parts = [
        *("--ranker", out / "fitted" / "ranker.safetensors"),
        *("--belief", out / "fitted" / "belief.safetensors"),
    ]
    # 3. A world of users like those of the log.
    found["world"] = gems_gym(
        "logs", "world", EARLIER, "--out", out / "world", "--batches", batches, "--picture", out / "world.png"
    )
    # 4. Candidates: random slates, what is clicked most, an agent that learns from the log, and one from that world.
    slate = most_clicked(EARLIER, 5)
    gems_gym("dataset", "relabel", EARLIER, *parts, "--dataset-id", LATENTS, "--overwrite")
    gems_gym(
        "train",
        "iql",
        "--dataset",
        LATENTS,
        "--steps",
        arguments.steps // 3,
        "--out",
        out / "iql",
        "--overwrite",
    )
    file = out / "world" / "world.safetensors"
    longest = f"episode_length={found['import']['session_lengths']['maximum']:.0f}"
    fitted_world = ["--env", "GemsSlate-fitted-v0", "--env-option", f"world={file}", "--env-option", longest]
    gems_gym(
        "train", "sac", *fitted_world, *parts, "--steps", arguments.steps,
        "--option", f"learning_starts={arguments.steps // 10}", "--out", out / "sac", "--overwrite",
    )  # fmt: skip
    constant = f"constant_slate:slate={json.dumps(slate, separators=(',', ':'))}"
    agents = {"iql, from the log": str(out / "iql"), "sac, in the fitted world": str(out / "sac")}
    candidates = {"random": "random", "most clicked": constant, **agents}
    # 5. What they would have earned: by the later sessions, and in the fitted world.
    found["ope"] = gems_gym(
        "ope", LATER, *candidates.values(), "--estimate-propensities", "--select",
        *(word for one in ESTIMATORS for word in ("--estimator", one)),
    )  # fmt: skip
    in_a_world = {
        "random": ["random"],
        "most clicked": ["constant_slate", "--policy-option", f"slate={slate}"],
        **{name: [folder] for name, folder in agents.items()},
    }
    found["in the fitted world"] = {
        name: (played["mean_return"], played["ci95"])
        for name, words in in_a_world.items()
        for played in [gems_gym("evaluate", *words, *fitted_world)]
    }
    # 6. An agent's slates, for whoever asks.
    ids = read_items(NEWS)["item"].to_list()
    history = [{"slate": ids[:5], "clicks": [1, 0, 0, 0, 0]}]
    (out / "users.jsonl").write_text(json.dumps({"user": "U1", "history": history}) + "\n")
    item_map = out / "datasets" / NEWS / "data" / "artifacts" / "items.parquet"
    found["answer"] = gems_gym(
        "recommend", out / "iql", "--history", out / "users.jsonl", "--items", item_map
    )

    hidden = gymnasium.make_vec(
        "GemsSlate-diffuse_topdown-v0", num_envs=500, autoreset_mode="disabled", **HIDDEN_WORLD
    )
    served = {
        "random": open_policy("random", env=hidden.spec),
        "most clicked": open_policy("constant_slate", env=hidden.spec, slate=slate),
        **{name: open_policy(folder) for name, folder in agents.items()},
    }
    truth = {name: true_clicks(policy, hidden) for name, policy in served.items()}
    (out / "report.md").write_text(report(found, candidates, truth | {"as logged": (clicks_as_logged, 0.0)}))
    print(f"wrote {out / 'report.md'}")


if __name__ == "__main__":
    main()
