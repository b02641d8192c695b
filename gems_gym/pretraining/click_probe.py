"""What a belief tells about clicks to come: a click model trained on top of it, the belief left as it is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gems_gym.pretraining.click_head import ClickHead, click_loss, draw_linear_weights
from gems_gym.pretraining.threads import torch_threads

_PREDICTED_TOGETHER = 10_000
_BATCH_SIZE, _LEARNING_RATE = 1_024, 1e-2


class ClickProbe:
    """A click head on beliefs and the simulator's own item embeddings, so that it measures nothing but the beliefs.

    Args:
        item_embeddings: the simulator's own, float ``(num_items, D)``: privileged.
        belief_size: numbers in a belief.
        slate_size: items in a slate.
        seed: of the initial weights and the batches; torch's global random state is left alone.
    """

    def __init__(
        self, item_embeddings: NDArray[np.floating], belief_size: int, slate_size: int, seed: int
    ) -> None:
        scaled = item_embeddings / item_embeddings.std()
        self._items = torch.from_numpy(scaled.astype(np.float32))
        self._generator = torch.Generator().manual_seed(seed)
        # Made without memory first: torch's own initialisation would draw from the global generator.
        with torch.device("meta"):
            head = ClickHead(belief_size, scaled.shape[1], slate_size)
        self._head = head.to_empty(device="cpu")
        draw_linear_weights(self._head, self._generator)
        with torch.no_grad():
            self._head.examination.fill_(1.0)

    def fit(
        self,
        beliefs: NDArray[np.float32],
        slates: NDArray[np.integer],
        clicks: NDArray[np.integer],
        batches: int = 1_000,
    ) -> None:
        """Trains the head.

        Args:
            beliefs: float32 ``(N, belief_size)`` before each slate.
            slates: item ids ``(N, slate_size)``.
            clicks: ``(N, slate_size)``, 0 or 1.
            batches: updates, each on 1,024 slates drawn with replacement.
        """
        states, shown = torch.from_numpy(beliefs), torch.from_numpy(slates.astype(np.int64))
        clicked = torch.from_numpy(clicks.astype(np.float32))
        optimizer = torch.optim.Adam(self._head.parameters(), lr=_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)
        with torch_threads(1):
            for _ in range(batches):
                rows = torch.randint(len(states), (_BATCH_SIZE,), generator=self._generator)
                loss = click_loss(self._log_probabilities(states[rows], shown[rows]), clicked[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    @torch.no_grad()
    def predict(self, beliefs: NDArray[np.float32], slates: NDArray[np.integer]) -> NDArray[np.float32]:
        """Click probabilities, float32 ``(N, slate_size)``, from arrays as :meth:`fit` takes them."""
        states, shown = torch.from_numpy(beliefs), torch.from_numpy(slates.astype(np.int64))
        with torch_threads(1):
            parts = zip(states.split(_PREDICTED_TOGETHER), shown.split(_PREDICTED_TOGETHER), strict=True)
            return torch.cat([self._log_probabilities(*part).exp() for part in parts]).numpy()

    def _log_probabilities(self, beliefs: Tensor, slates: Tensor) -> Tensor:
        found: Tensor = self._head(beliefs, self._head.item_features(self._items)[slates])
        return found
