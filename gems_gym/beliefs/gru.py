"""The GRU belief: a one-layer gated recurrent unit over (slate, clicks), for inference on NumPy arrays.

GeMS (Deffayet et al., WSDM 2023, arXiv 2301.08632) encodes the session with a GRU whose input at each step is the S
item embeddings of the slate and its S clicks, concatenated. Training lives in :mod:`gems_gym.pretraining.gru`; here is
the part that environments run at every step, without torch.
"""

from __future__ import annotations

import numpy as np

from gems_gym.beliefs.trained import RecurrentBelief, observation_shapes
from gems_gym.common.arrays import copy_into
from gems_gym.common.checks import WholeNumber, as_array, checked_arguments
from gems_gym.common.compilation import compiled_with


class GruBelief(RecurrentBelief):
    """A user's belief state as the hidden state of a GRU (Cho et al., 2014; gates in PyTorch's order: r, z, n).

    With ``h`` the belief and ``g`` what an observation gives to the three gates, a sum over the slots s of the slate,
    whose items have embeddings ``e_s`` and clicks ``c_s``::

        g = b_i + sum_s (W_items[c_s, s] e_s + c_s w_clicks[s])      (3 * size numbers: g_r, g_z, g_n)
        r = sigmoid(g_r + W_hr h + b_hr)
        z = sigmoid(g_z + W_hz h + b_hz)
        n = tanh(g_n + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    The published encoder (slate embeddings and clicks concatenated) is the case ``W_items[0] = W_items[1]``: there,
    which item got a click reaches the belief only through the gates' curvature.

    Args:
        tensors: ``item_embeddings`` (num_items, E), ``weight_items`` (2, slate_size, 3 * size, E), ``weight_clicks``
            (slate_size, 3 * size), ``weight_hh`` (3 * size, size), ``bias_ih`` and ``bias_hh`` (3 * size,); float32.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        header: What else to record in the file (options, metrics, command, …); JSON values.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: A tensor is missing, empty, not finite, or its shape does not fit the others.

    Example:
        >>> import numpy as np
        >>> belief = GruBelief.random(num_items=50, slate_size=5, catalog_hash="none", seed=0)
        >>> slates = np.arange(10).reshape(2, 5)
        >>> clicks = np.array([[0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
        >>> states = belief.update(belief.initial(2), slates, clicks)
        >>> states.shape, states.dtype
        ((2, 20), dtype('float32'))
    """

    kind = "belief/gru"
    input_bias = "bias_ih"

    @staticmethod
    def _shapes(slate_size: int, size: int, embedding_size: int) -> dict[str, tuple[int, ...]]:
        observation = observation_shapes(slate_size, 3 * size, embedding_size, "bias_ih")
        bias = observation.pop("bias_ih")
        return {**observation, "weight_hh": (3 * size, size), "bias_ih": bias, "bias_hh": (3 * size,)}

    @checked_arguments
    def initial(self, num_users: WholeNumber) -> np.ndarray:
        """The belief before the first slate was seen: ``(num_users, size)`` float32 zeros."""
        return np.zeros((num_users, self.size), dtype=np.float32)

    def read(self, state: np.ndarray) -> np.ndarray:
        """The belief is the state itself."""
        return state

    def update(self, state: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The belief after one more observation.

        Args:
            state: ``(num_users, size)`` float32 in [-1, 1], from :meth:`initial` or an earlier update.
            slates: ``(num_users, slate_size)`` integer item ids, ``0 … num_items - 1``; -1 where nothing was shown.
            clicks: ``(num_users, slate_size)`` zeros and ones (integer or bool).

        Returns:
            ``(num_users, size)`` float32 in [-1, 1]; a new array, the inputs are left alone.

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        belief = as_array(state, "state")
        if belief.ndim != 2 or belief.shape[1] != self.size or belief.dtype != np.float32:
            raise ValueError(
                f"state has shape {belief.shape} and dtype {belief.dtype}; "
                f"(num_users, {self.size}) float32 was expected"
            )
        observed = self._observed(slates, clicks, len(belief))
        updated = np.empty_like(belief, order="C")
        bias = self.tensors["bias_hh"]
        _gru_update(np.ascontiguousarray(belief), observed, self._hidden_table, bias, updated)
        return updated


@compiled_with()
def _gru_update(
    belief: np.ndarray,  # (num_users, size) float32
    observed: np.ndarray,  # (num_users, 3 * size) float32
    hidden_table: np.ndarray,  # (size, 3 * size) float32
    bias_hh: np.ndarray,  # (3 * size,) float32
    updated: np.ndarray,  # (num_users, size) float32, written
) -> None:
    """One GRU step for every user; no ``fastmath`` and no ``parallel``, so that a row's bits are always the same."""
    size, gates = hidden_table.shape
    one = np.float32(1.0)
    from_belief = np.empty(gates, dtype=np.float32)
    for user in range(belief.shape[0]):
        from_input = observed[user]
        copy_into(from_belief, bias_hh)
        for unit in range(size):
            for gate in range(gates):
                from_belief[gate] += belief[user, unit] * hidden_table[unit, gate]
        for unit in range(size):
            reset = one / (one + np.exp(-(from_input[unit] + from_belief[unit])))
            keep = one / (one + np.exp(-(from_input[size + unit] + from_belief[size + unit])))
            new = np.tanh(from_input[2 * size + unit] + reset * from_belief[2 * size + unit])
            updated[user, unit] = (one - keep) * new + keep * belief[user, unit]
