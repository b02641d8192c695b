"""Weights on disk: one safetensors format for rankers, beliefs, embeddings and policies."""

from gems_gym.artifacts import shipped
from gems_gym.artifacts.files import FORMAT_VERSION, Artifact, ArtifactError, load_artifact, save_artifact

__all__ = ["FORMAT_VERSION", "Artifact", "ArtifactError", "load_artifact", "save_artifact", "shipped"]
