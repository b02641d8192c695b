"""Weights on disk: one safetensors format for rankers, beliefs, embeddings and policies."""

from gems_gym.artifacts import shipped
from gems_gym.artifacts.files import (
    FORMAT_VERSION,
    LARGEST_TABLE,
    Artifact,
    ArtifactError,
    SavedPart,
    content_sha256,
    load_artifact,
    same_content,
    save_artifact,
)

__all__ = [
    "FORMAT_VERSION",
    "LARGEST_TABLE",
    "Artifact",
    "ArtifactError",
    "SavedPart",
    "content_sha256",
    "load_artifact",
    "same_content",
    "save_artifact",
    "shipped",
]
