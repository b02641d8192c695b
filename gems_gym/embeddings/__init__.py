"""Item embeddings to learn with."""

from gems_gym.embeddings.base import (
    ClickLog,
    EmbeddingKind,
    EmbeddingTable,
    LogRecipe,
    Sources,
    load_embeddings,
    make_embeddings,
)
from gems_gym.embeddings.co_click import co_click_embeddings, session_co_click_embeddings
from gems_gym.embeddings.matrix_factorization import BprSettings, matrix_factorization_embeddings
from gems_gym.embeddings.without_log import scratch_embeddings

__all__ = [
    "BprSettings",
    "ClickLog",
    "EmbeddingKind",
    "EmbeddingTable",
    "LogRecipe",
    "Sources",
    "co_click_embeddings",
    "load_embeddings",
    "make_embeddings",
    "matrix_factorization_embeddings",
    "scratch_embeddings",
    "session_co_click_embeddings",
]
