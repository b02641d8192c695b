"""Item embeddings to learn with."""

from gems_gym.embeddings.co_click import ClickLog, co_click_embeddings

__all__ = ["ClickLog", "co_click_embeddings"]
