"""What a user model has learned as a picture, beside the truth where that is known."""

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from gems_gym.common.pictures import new_figure, save_figure
from gems_gym_agents.user_model.axes import block_norms
from gems_gym_agents.user_model.dynamics import THRESHOLD, logistic
from gems_gym_agents.user_model.misfit import WORDS, Misfit
from gems_gym_agents.user_model.model import UserModel
from gems_gym_agents.user_model.report import (
    boredom_in_words,
    confusion,
    diversity_in_words,
    in_order_of,
    kept_per_click,
    likeness,
)

_CLICKS = 30
_LINE = 44


def draw_model(model: UserModel, path: Path, truth: UserModel | None = None, title: str = "") -> None:
    """Draw a model: topics, items, propensities, relevance, drift, new users, rules in words, and what it misses.

    Args:
        model: Learned.
        path: The .png, .pdf or .svg file to write.
        truth: True model of the same items, to draw beside it; None where it is not known.
        title: Title of the picture.

    Raises:
        ValueError: Another suffix, or the truth has another number of items.
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    shown = {"learned": model if truth is None else in_order_of(model, truth)}
    if truth is not None:
        shown["true"] = truth
    figure = new_figure(16, 7.5)
    figure.suptitle(f"{title}: a user model learned from clicks, of a form that is assumed".lstrip(": "))
    panels = figure.subplots(2, 4)
    _draw_topics(panels[0, 0], shown)
    _draw_items(panels[0, 1], shown)
    _draw_propensities(panels[0, 2], shown)
    _draw_relevance(panels[0, 3], shown)
    _draw_drift(panels[1, 0], shown)
    _draw_users(panels[1, 1], shown)
    _draw_rules(panels[1, 2], shown)
    _draw_misfit(panels[1, 3], model.misfit)
    save_figure(figure, path)


def _draw_topics(axes: Any, shown: dict[str, UserModel]) -> None:
    learned = shown["learned"]
    if "true" not in shown:
        axes.bar(range(learned.num_topics), np.bincount(learned.topics, minlength=learned.num_topics), 0.8)
        axes.set(xlabel="learned topic", ylabel="items", title="topics")
        return
    counts = confusion(learned, shown["true"])
    right = 100 * np.trace(counts) / counts.sum()
    axes.imshow(counts, cmap="Blues", aspect="auto")
    for (true, topic), count in np.ndenumerate(counts):
        if count:
            color = "white" if count > counts.max() / 2 else "black"
            axes.text(topic, true, count, ha="center", va="center", fontsize="small", color=color)
    axes.set(xlabel="learned topic", ylabel="true topic", title=f"items by topic: {right:.1f} % right")


def _draw_items(axes: Any, shown: dict[str, UserModel]) -> None:
    norms = {name: block_norms(one.items, one.topic_size) for name, one in shown.items()}
    if "true" not in shown:
        axes.hist(np.sort(norms["learned"], axis=1)[:, ::-1][:, :2], 30, label=["largest", "second"])
        axes.set(xlabel="weight of a topic in an item", ylabel="items", title="items")
        axes.legend()
        return
    topics = min(one.shape[1] for one in norms.values())
    axes.plot(
        norms["true"][:, :topics].ravel(), norms["learned"][:, :topics].ravel(), ".", markersize=2, alpha=0.4
    )
    axes.axline((0, 0), slope=1, color="grey", linewidth=1, linestyle=":")
    title = f"topics of items: correlation {likeness(shown['learned'], shown['true']):.3f}"
    axes.set(xlabel="true", ylabel="learned", title=title)


def _draw_propensities(axes: Any, shown: dict[str, UserModel]) -> None:
    for name, one in shown.items():
        axes.plot(range(1, one.slate_size + 1), one.propensities, marker=".", label=name)
    axes.set(xlabel="position", ylabel="clicks on a relevant item", title="propensities", ylim=(0, None))
    _finish(axes)


def _draw_relevance(axes: Any, shown: dict[str, UserModel]) -> None:
    scores = np.linspace(0.0, 2 * THRESHOLD, 200)
    for name, one in shown.items():
        axes.plot(
            scores, [logistic(score, one.slope) for score in scores], label=f"{name}: slope {one.slope:.0f}"
        )
    axes.set(xlabel="user · item", ylabel="probability", title="relevance")
    _finish(axes)


def _draw_drift(axes: Any, shown: dict[str, UserModel]) -> None:
    for name, one in shown.items():
        kept = kept_per_click(one)
        axes.plot(kept ** np.arange(_CLICKS + 1), label=f"{name}: {kept:.3f} a click")
    axes.set(xlabel="clicks", ylabel="share of the preference that is left", title="drift", ylim=(0, 1))
    _finish(axes)


def _draw_users(axes: Any, shown: dict[str, UserModel]) -> None:
    for place, (name, one) in enumerate(shown.items()):
        shares = block_norms(one.prior, one.topic_size)
        at = np.arange(one.num_topics) + 0.4 * place - 0.2 * (len(shown) - 1)
        label = f"{name}: favourite {shares.max(axis=1).mean():.2f}"
        axes.bar(at, shares.mean(axis=0), 0.8 / len(shown), label=label)
    axes.set(xlabel="topic", ylabel="mean share of the preference", title="new users")
    axes.margins(y=0.3)
    axes.legend()


def _draw_rules(axes: Any, shown: dict[str, UserModel]) -> None:
    text = "\n\n".join(
        f"{name}:\n" + "\n".join(fill(sentence, _LINE) for sentence in sentences)
        for name, sentences in (
            (name, (boredom_in_words(one.rules), diversity_in_words(one.rules, one.slate_size)))
            for name, one in shown.items()
        )
    )
    axes.text(0.0, 0.95, text, va="top", transform=axes.transAxes)
    axes.set(title="rules")
    axes.set_axis_off()


def _draw_misfit(axes: Any, misfit: Misfit | None) -> None:
    if misfit is None:
        axes.set_axis_off()
        return
    names = sorted(misfit.off, key=lambda name: misfit.off[name])
    axes.barh([WORDS[name] for name in names], [100 * misfit.off[name] for name in names])
    axes.tick_params("y", labelsize="small")
    verdict = "does not fit" if misfit.found else "fits"
    title = f"{verdict}: misses {100 * misfit.missed:.1f} ± {200 * misfit.missed_error:.1f} %"
    axes.set(xlabel="predictions are off by, % of clicks", title=title)
    axes.grid(alpha=0.3, axis="x")


def _finish(axes: Any) -> None:
    axes.legend()
    axes.grid(alpha=0.3)
