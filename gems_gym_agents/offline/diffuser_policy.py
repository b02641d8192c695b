"""How a decision diffuser acts, on NumPy alone: it imagines what earns much, and does what leads there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.networks import FeedForward
from gems_gym_agents.offline.drawing_policy import DrawingPolicy

LEVEL_SIZE = 4
"""What a denoiser is told beside beliefs: shares of signal and of noise, the return asked for, and whether one is."""


def noise_levels(count: int) -> NDArray[np.float32]:
    """Shares of signal and of noise, (count, 2), from little noise to next to nothing else.

    Both are cosine and sine of an angle that grows evenly (the cosine schedule), so that their squares add up to 1.
    """
    angles = np.arange(1, count + 1) / (count + 1) * np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class DecisionDiffuserPolicy(DrawingPolicy):
    """Draws noise in place of the beliefs that follow, denoises it step by step, and takes the latent to the first.

    Between two levels it goes without drawing again (DDIM, Song et al. 2021, arXiv 2010.02502).

    Args:
        networks: ``denoiser``, from a belief, noised beliefs that follow and :data:`LEVEL_SIZE` numbers to the clean
            ones; ``inverse``, from a belief and the one that follows to the latent between them.
        scaling: Factors and offsets of beliefs before the networks see them, float32 ``(2, observation_size)``.
        levels: Shares of signal and of noise on the way, float32 ``(num_levels, 2)``, the least noise first.
        asked: The return that is asked for, as the denoiser has learned it.
        guidance: Weight of what the denoiser makes with that return against what it makes without: at 1 the latter does
            not count, above 1 it repels.

    Raises:
        ValueError: Sizes that do not fit together.
        KeyError: A network is missing.
    """

    kind = "policy/decision_diffuser"

    def __init__(
        self,
        networks: Mapping[str, FeedForward],
        scaling: NDArray[np.float32],
        levels: NDArray[np.float32],
        *,
        asked: float,
        guidance: float,
    ) -> None:
        self.denoiser, self.inverse = networks["denoiser"], networks["inverse"]
        self.scaling, self.levels = scaling, levels
        self.asked, self.guidance = asked, guidance
        self.action_size, self.noise_size = self.inverse.output_size, self.denoiser.output_size
        self.observation_size = self.denoiser.input_size - self.noise_size - LEVEL_SIZE
        size = self.observation_size
        if size < 1 or self.inverse.input_size != 2 * size or self.noise_size % size:
            raise ValueError(
                f"a denoiser of {self.denoiser.input_size} numbers that makes {self.noise_size}, and inverse dynamics "
                f"of {self.inverse.input_size}, do not fit together"
            )
        for name, array, shape in (
            ("scaling", scaling, (2, size)), ("levels", levels, (max(len(levels), 1), 2))
        ):  # fmt: skip
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite, of the shape {shape}; got the shape {array.shape}")

    def choose(self, beliefs: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """The latents that lead to what is imagined; see :class:`DrawingPolicy`."""
        factor, offset = self.scaling
        seen = beliefs * factor + offset
        imagined = self.imagine(seen, noise)
        return self.inverse(np.concatenate([seen, imagined[:, : self.observation_size]], axis=1))

    def imagine(self, seen: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """The beliefs that follow, scaled, one after the other, float32 ``(num_users, noise_size)``."""
        noised = noise
        for level in reversed(range(len(self.levels))):
            signal, share = self.levels[level]
            clean = self._denoised(seen, noised, self.levels[level])
            noise_left = (noised - signal * clean) / share
            signal, share = self.levels[level - 1] if level else (1.0, 0.0)
            noised = signal * clean + share * noise_left
        return noised

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        networks = {"denoiser": self.denoiser, "inverse": self.inverse}
        tensors = {"scaling": self.scaling, "levels": self.levels}
        for name, network in networks.items():
            tensors |= network.to_tensors(name)
        specs = {name: network.spec for name, network in networks.items()}
        return tensors, {**self.sizes, "networks": specs, "asked": self.asked, "guidance": self.guidance}

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]
    ) -> DecisionDiffuserPolicy:
        """The reverse of :meth:`to_parts`."""
        networks = {
            name: FeedForward.from_tensors(tensors, name, spec) for name, spec in header["networks"].items()
        }
        asked, guidance = float(header["asked"]), float(header["guidance"])
        return cls(networks, tensors["scaling"], tensors["levels"], asked=asked, guidance=guidance)

    def _denoised(
        self, seen: NDArray[np.float32], noised: NDArray[np.float32], level: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The clean beliefs, by classifier-free guidance."""

        def found(known: float) -> NDArray[np.float32]:
            told = np.array([*level, known * self.asked, known], np.float32)
            rows = [seen, noised, np.broadcast_to(told, (len(seen), LEVEL_SIZE))]
            return self.denoiser(np.concatenate(rows, axis=1))

        without = found(0.0)
        return without + np.float32(self.guidance) * (found(1.0) - without)
