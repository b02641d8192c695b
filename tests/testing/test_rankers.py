"""Every ranker passes the check that authors have; broken ones are found, with a sentence that says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gems_gym import plugins
from gems_gym.rankers import GemsRanker, KHeadArgmaxRanker, Ranker, SoftmaxRanker, TopKRanker, WknnRanker
from gems_gym.testing import check_ranker

ITEMS = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)


def gems() -> GemsRanker:
    return GemsRanker.random(num_items=30, slate_size=4, latent_size=5, catalog_hash="x", seed=0)


OURS: dict[str, Callable[[], Ranker]] = {
    "gems": gems,
    "gems_decoder": lambda: gems().without_encoder(),
    "topk": lambda: TopKRanker(ITEMS, 4, "x", cosine=True),
    "k_head_argmax": lambda: KHeadArgmaxRanker(ITEMS, 4, "x"),
    "wknn": lambda: WknnRanker(ITEMS, 4, "x", k=3),
    "softmax": lambda: SoftmaxRanker(ITEMS, 4, "x"),
}
DRAWING: dict[str, Callable[[], Ranker]] = {
    "softmax that draws": lambda: SoftmaxRanker(ITEMS, 4, "x", sample=True, temperature=0.5),
    "softmax that draws items again": lambda: SoftmaxRanker(ITEMS, 4, "x", sample=True, replace=True),
}


def test_every_ranker_is_among_them() -> None:
    assert set(OURS) == {
        one.name for one in plugins.describe(plugins.RANKERS) if one.distribution == "gems-gym"
    }


@pytest.mark.parametrize("name", [*OURS, *DRAWING])
def test_ours_pass(name: str) -> None:
    check_ranker((OURS | DRAWING)[name]())


def broken(**changed: Any) -> Ranker:
    """A TopK ranker with some methods or attributes of its own."""
    made: Ranker = type("Broken", (TopKRanker,), changed)(ITEMS, 4, "x")
    return made


right = TopKRanker.rank


def _writing(self: Any, latents: Any) -> Any:
    slates = right(self, latents)
    latents *= 0.5
    return slates


def _unchecked(self: Any, latents: Any) -> Any:
    return right(self, np.nan_to_num(np.atleast_2d(latents)[:, :6]).clip(-1, 1))


BROKEN: dict[str, dict[str, Any]] = {
    "kind is 'topk'; 'ranker/NAME' was expected": {"kind": "topk"},
    "writes into the latents": {"rank": _writing},
    r"rank\(\) gives \('int32', \(7, 4\)\); \('int64', \(7, 4\)\) was expected": {
        "rank": lambda self, latents: right(self, latents).astype(np.int32)
    },
    r"numbers from 1 to 30; they belong in \[0, 29\]": {"rank": lambda self, latents: right(self, latents) + 1},
    "the same latents are ranked as other slates": {
        "rank": lambda self, latents: np.random.default_rng().integers(30, size=(len(latents), 4))
    },
    "depends on who is ranked beside": {"rank": lambda self, latents: right(self, latents[::-1])},
    "rank.latents. with one number too many in each is taken": {"rank": _unchecked},
    "encode.. gives .'float64', .7, 6..; .'float32', .7, 6.. was expected": {
        "encode": lambda self, slates, clicks: np.zeros((len(slates), 6))
    },
    r"sha256 is '.*' after save\(\) has returned '0'": {"save": lambda self, path: TopKRanker.save(self, path) and "0"},
    "another ranker comes out of its file": {"rank": lambda self, latents: right(self, -np.asarray(latents))},
    "can't be loaded: ValueError: unknown ranker 'nobody'": {"kind": "ranker/nobody"},
}  # fmt: skip


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_one_is_found(words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_ranker(broken(**BROKEN[words]))


def test_draws_that_are_not_the_users_are_found() -> None:
    """It takes the generators, but one of its own draws."""

    def rank(self: Any, latents: Any, generators: Any = None) -> Any:
        drawing = np.random.default_rng(len(latents))
        return SoftmaxRanker.rank(self, latents, generators and [drawing] * len(latents))

    made = type("Drawing", (SoftmaxRanker,), {"rank": rank})(ITEMS, 4, "x", sample=True)
    with pytest.raises(AssertionError, match="depends on who is ranked beside"):
        check_ranker(made)
