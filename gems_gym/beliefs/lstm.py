"""The LSTM belief: a one-layer long short-term memory over (slate, clicks), for inference on NumPy arrays.

It is what an agent with an LSTM of its own (``recurrent_ppo``) has learned, so there is no training of it by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gems_gym.beliefs.trained import RecurrentBelief, observation_shapes
from gems_gym.common.checks import WholeNumber, checked_arguments
from gems_gym.common.compilation import compiled_with


class LstmBelief(RecurrentBelief):
    """A user's belief state as the hidden state of an LSTM (Hochreiter & Schmidhuber, 1997; gates i, f, g, o).

    With ``h`` the belief, ``c`` the cell, and ``x`` what an observation gives to the four gates
    (:class:`~gems_gym.beliefs.trained.TrainedBelief`)::

        i, f, o = sigmoid(x_i + W_hi h), sigmoid(x_f + W_hf h), sigmoid(x_o + W_ho h)
        g = tanh(x_g + W_hg h)
        c' = f * c + i * g
        h' = o * tanh(c')

    Its state is a dict of ``hidden`` and ``cell``, each ``(num_users, size)`` float32.

    Args:
        tensors: ``item_embeddings`` (num_items, E), ``weight_items`` (2, slate_size, 4 * size, E), ``weight_clicks``
            (slate_size, 4 * size), ``weight_hh`` (4 * size, size), ``bias`` (4 * size,); float32.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        header: What else to record in the file; JSON values.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: A tensor is missing, empty, not finite, or its shape does not fit the others.
    """

    kind = "belief/lstm"
    input_bias = "bias"

    @staticmethod
    def _shapes(slate_size: int, size: int, embedding_size: int) -> dict[str, tuple[int, ...]]:
        observation = observation_shapes(slate_size, 4 * size, embedding_size, "bias")
        return {**observation, "weight_hh": (4 * size, size)}

    @checked_arguments
    def initial(self, num_users: WholeNumber) -> dict[str, np.ndarray]:
        """The state before the first slate was seen: zeros."""
        return {name: np.zeros((num_users, self.size), dtype=np.float32) for name in ("hidden", "cell")}

    def read(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """The belief is the hidden state, in [-1, 1]."""
        return state["hidden"]

    def update(
        self, state: Mapping[str, np.ndarray], slates: np.ndarray, clicks: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The state after one more observation.

        Args:
            state: From :meth:`initial` or an earlier update; it is left alone.
            slates: ``(num_users, slate_size)`` integer item ids, ``0 … num_items - 1``; -1 where nothing was shown.
            clicks: ``(num_users, slate_size)`` zeros and ones (integer or bool).

        Returns:
            New arrays.

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        self._check_arrays(state)
        hidden = np.ascontiguousarray(state["hidden"])
        observed = self._observed(slates, clicks, len(hidden))
        updated = {"hidden": np.empty_like(hidden), "cell": np.array(state["cell"], order="C")}
        _lstm_update(hidden, observed, self._hidden_table, **updated)
        return updated


@compiled_with()
def _lstm_update(
    before: np.ndarray,  # (num_users, size) float32
    observed: np.ndarray,  # (num_users, 4 * size) float32, written
    hidden_table: np.ndarray,  # (size, 4 * size) float32
    hidden: np.ndarray,  # (num_users, size) float32, written
    cell: np.ndarray,  # (num_users, size) float32, read and written
) -> None:
    """One LSTM step for every user; no ``fastmath`` and no ``parallel``, so that a row's bits are always the same."""
    size = hidden_table.shape[0]
    one = np.float32(1.0)
    for user in range(before.shape[0]):
        gates = observed[user]
        for unit in range(size):
            for gate in range(4 * size):
                gates[gate] += before[user, unit] * hidden_table[unit, gate]
        for unit in range(size):
            taken = one / (one + np.exp(-gates[unit]))
            kept = one / (one + np.exp(-gates[size + unit]))
            new = np.tanh(gates[2 * size + unit])
            shown = one / (one + np.exp(-gates[3 * size + unit]))
            cell[user, unit] = kept * cell[user, unit] + taken * new
            hidden[user, unit] = shown * np.tanh(cell[user, unit])
