"""Recipes of what is shipped, followed in a second."""

import dataclasses
from typing import Any

from gems_gym.pretraining.recipes import Recipe


def small(recipe: Recipe, **changes: Any) -> Recipe:
    """The same recipe with little of everything."""
    # TopK by cosine needs every item to be clicked beside another.
    little: dict[str, Any] = {"sessions": 2_000 if recipe.kind == "ranker/topk" else 30}
    if recipe.search_sessions:
        little["search_sessions"] = 1_024
    if "batches" in recipe.settings:
        little["settings"] = recipe.settings | {"batches": 3}
    return dataclasses.replace(recipe, **(little | changes))
