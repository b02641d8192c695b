"""How a decision transformer acts, on NumPy alone: many users at once, each with the memory of its session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled_with
from gems_gym.common.networks import FeedForward
from gems_gym.policies.saved import LatentPolicy

_TOKENS = 3
"""A step is three tokens: the return that is still to come, the belief, and the latent."""


@dataclass
class SessionMemory:
    """What is remembered of sessions that are played in lockstep.

    Attributes:
        to_come: Clicks that are still to come for the target return, float64 ``(num_users,)``.
        tokens: The newest steps as the transformer sees them, float32 ``(num_users, num_tokens, width)``.
        step: Steps so far.
        unrewarded: Whether the clicks of the last step are not known yet.
    """

    to_come: NDArray[np.float64]
    tokens: NDArray[np.float32]
    step: int = 0
    unrewarded: bool = False


class DecisionTransformerPolicy(LatentPolicy):
    """Chooses the latent that follows, in sessions of the data, on this session so far and a return asked for.

    The transformer is that of d3rlpy: tokens of the newest ``context`` steps, with a learned vector for the number of
    the step, through causal layers. It sees the clicks of each step as what they leave of the return asked for, so
    whoever plays has to call :meth:`rewarded` after each step. A user's action has the same bits whatever the number
    of users beside it.

    Args:
        networks: ``return``, ``observation`` and ``action``, to vectors of one width; ``embed``, a normalisation;
            for each layer ``attend.N`` (to queries, keys and values), ``combine.N`` and ``transform.N``; ``read_out``.
        positions: Vectors of the steps' numbers, float32 ``(num_steps + 1, width)``; the first is of no step, and the
            last is of all later ones too.
        heads: Number of heads of the attention; the width is a multiple.
        context: Steps that are attended to.
        target_return: Clicks a session that are asked for.

    Raises:
        ValueError: Sizes that do not fit together.
        KeyError: A network is missing.
    """

    kind = "policy/decision_transformer"

    def __init__(
        self,
        networks: Mapping[str, FeedForward],
        positions: NDArray[np.float32],
        *,
        heads: int,
        context: int,
        target_return: float,
    ) -> None:
        self.networks = dict(networks)
        self.positions = np.ascontiguousarray(positions, dtype=np.float32)
        self.heads, self.context, self.target_return = heads, context, target_return
        self.num_layers = sum(name.startswith("attend.") for name in networks)
        self.observation_size = networks["observation"].input_size
        self.action_size = networks["read_out"].output_size
        self._check_sizes()

    def open(self, seeds: Sequence[int]) -> SessionMemory:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        no_tokens = np.zeros((len(seeds), 0, self.positions.shape[1]), np.float32)
        return SessionMemory(np.full(len(seeds), self.target_return), no_tokens)

    def act(
        self, state: SessionMemory, observations: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], SessionMemory]:
        """Choose every user's latent.

        Args:
            state: From :meth:`open` or :meth:`rewarded`.
            observations: Beliefs, ``(num_users, observation_size)``.

        Returns:
            float32 ``(num_users, action_size)`` in [-1, 1], and the state.

        Raises:
            ValueError: Observations of another shape, or not finite.
            RuntimeError: The clicks of the step before were not told.
        """
        observations = self.checked_observations(observations, len(state.to_come))
        if state.unrewarded:
            raise RuntimeError(
                "the policy was not told what its last actions earned: call rewarded() after each step"
            )
        state.step += 1
        forgotten = state.tokens.shape[1] - _TOKENS * (self.context - 1)
        state.tokens = state.tokens[:, max(forgotten, 0) :]
        self._remember(state, "return", state.to_come[:, None])
        self._remember(state, "observation", observations)
        actions = self._choose(state.tokens)
        self._remember(state, "action", actions)
        state.unrewarded = True
        return actions, state

    def rewarded(self, state: SessionMemory, rewards: NDArray[Any]) -> SessionMemory:
        """Take in what the last actions earned: clicks, ``(num_users,)``; so much less is asked for from now on."""
        state.to_come = state.to_come - rewards
        state.unrewarded = False
        return state

    def showed(self, state: SessionMemory, actions: NDArray[np.float32]) -> SessionMemory:
        """Remember that other latents were shown than the last actions, ``(num_users, action_size)``, as in a log."""
        state.tokens = state.tokens[:, :-1]
        self._remember(state, "action", np.asarray(actions, np.float32))
        return state

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        tensors = {"positions": self.positions}
        for name, network in self.networks.items():
            tensors |= network.to_tensors(name)
        header = {
            **self.sizes,
            "networks": {name: network.spec for name, network in self.networks.items()},
            "heads": self.heads,
            "context": self.context,
            "target_return": self.target_return,
        }
        return tensors, header

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]
    ) -> DecisionTransformerPolicy:
        """The reverse of :meth:`to_parts`."""
        return cls(
            {
                name: FeedForward.from_tensors(tensors, name, spec)
                for name, spec in header["networks"].items()
            },
            tensors["positions"],
            heads=int(header["heads"]),
            context=int(header["context"]),
            target_return=float(header["target_return"]),
        )

    def _remember(self, state: SessionMemory, what: str, values: NDArray[Any]) -> None:
        """Append one token for each user."""
        position = self.positions[min(state.step, len(self.positions) - 1)]
        token = self.networks["embed"](self.networks[what](values) + position)
        state.tokens = np.concatenate([state.tokens, token[:, None]], axis=1)

    def _choose(self, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is read out of the newest token, float32 ``(num_users, action_size)``."""
        users, length, width = tokens.shape
        rows = tokens
        for layer in range(self.num_layers):
            projected = self.networks[f"attend.{layer}"](rows.reshape(-1, width))
            # of the last layer nothing but the newest token is asked for
            first = length - 1 if layer == self.num_layers - 1 else 0
            attended = _attend(projected.reshape(users, length, 3 * width), self.heads, first)
            flat = np.ascontiguousarray(rows[:, first:]).reshape(-1, width)
            flat = flat + self.networks[f"combine.{layer}"](attended.reshape(-1, width))
            flat = flat + self.networks[f"transform.{layer}"](flat)
            rows = flat.reshape(users, length - first, width)
        return self.networks["read_out"](rows[:, -1])

    def _check_sizes(self) -> None:
        if self.positions.ndim != 2 or not np.isfinite(self.positions).all():
            raise ValueError(f"positions must be a finite matrix, got the shape {self.positions.shape}")
        width = self.positions.shape[1]
        expected = {
            "return": (1, width), "observation": (self.observation_size, width), "action": (self.action_size, width),
            "embed": (width, width), "read_out": (width, self.action_size),
        }  # fmt: skip
        for layer in range(self.num_layers):
            expected[f"attend.{layer}"] = (width, 3 * width)
            expected[f"combine.{layer}"] = expected[f"transform.{layer}"] = (width, width)
        for name, sizes in expected.items():
            found = self.networks[name].input_size, self.networks[name].output_size
            if found != sizes:
                raise ValueError(
                    f"network {name!r} makes {found[1]} numbers of {found[0]}; {sizes} was expected"
                )
        if (
            self.num_layers < 1
            or self.heads < 1
            or width % self.heads
            or self.context < 1
            or len(self.positions) < 2
        ):
            raise ValueError(
                f"{self.num_layers} layers with heads={self.heads} and context={self.context} for vectors of {width} "
                f"numbers and {len(self.positions)} positions"
            )


@compiled_with()
def _attend(projected: np.ndarray, heads: int, first: int) -> np.ndarray:
    """What tokens attend to: each to itself and those before it.

    (num_users, length, 3 * width) float32 queries, keys, values to (num_users, length - first, width), of the tokens
    from ``first``. No ``fastmath`` and no ``parallel``, so that a row's bits are always the same.
    """
    users, length, tripled = projected.shape
    width = tripled // 3
    part = width // heads
    scale = np.float32(1.0 / np.sqrt(part))
    attended = np.zeros((users, length - first, width), dtype=np.float32)
    weights = np.empty(length, dtype=np.float32)
    for user in range(users):
        for row in range(first, length):
            for head in range(heads):
                start = head * part
                top = np.float32(-np.inf)
                for column in range(row + 1):
                    weight = np.float32(0.0)
                    for d in range(start, start + part):
                        weight += projected[user, row, d] * projected[user, column, width + d]
                    weights[column] = weight * scale
                    top = max(top, weights[column])
                total = np.float32(0.0)
                for column in range(row + 1):
                    weights[column] = np.exp(weights[column] - top)
                    total += weights[column]
                out = attended[user, row - first, start : start + part]
                for column in range(row + 1):
                    share = weights[column] / total
                    for d in range(part):
                        out[d] += share * projected[user, column, 2 * width + start + d]
    return attended
