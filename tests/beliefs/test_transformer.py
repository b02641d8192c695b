"""gems_gym.beliefs.transformer: its equations, the newest observations, the same bits in any batch, clear errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError, save_artifact
from gems_gym.beliefs import TransformerBelief, load_belief
from gems_gym.beliefs.base import rows_chosen, rows_of

HASH = "be" * 32


def make(seed: int = 0, **changes: Any) -> TransformerBelief:
    sizes = {
        "num_items": 40,
        "slate_size": 6,
        "embedding_size": 4,
        "size": 5,
        "width": 8,
        "layers": 2,
        "heads": 2,
        "context": 5,
    }
    return TransformerBelief.random(catalog_hash=HASH, seed=seed, **sizes | changes)


def session(num_users: int, steps: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (steps, num_users, 6)
    return rng.integers(0, 40, shape), rng.integers(0, 2, shape)


def play(encoder: TransformerBelief, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """Beliefs after each observation, ``(steps, num_users, size)``."""
    state, read = encoder.initial(slates.shape[1]), []
    for shown, clicked in zip(slates, clicks, strict=True):
        state = encoder.update(state, shown, clicked)
        read.append(encoder.read(state))
    return np.stack(read)


def plainly(encoder: TransformerBelief, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """The equations of the docstring for one user, in float64, over the session at once: ``(steps, size)``."""
    w = {name: tensor.astype(np.float64) for name, tensor in encoder.tensors.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = np.tile(w["bias_input"], (len(slates), 1))
    for step, slot in np.ndindex(slates.shape):
        click = int(clicks[step, slot])
        x[step] += w["weight_items"][click, slot] @ w["item_embeddings"][slates[step, slot]]
        x[step] += click * w["weight_clicks"][slot]
    for layer in range(2):
        name = f"layers.{layer}"
        q, k, v = np.split(linear(norm(x, f"{name}.attend.0"), f"{name}.attend.1"), 3, axis=1)
        found = np.empty_like(x)
        for head in range(encoder.heads):
            part = slice(head * 4, (head + 1) * 4)
            for step in range(len(x)):
                ages = np.arange(min(step + 1, encoder.context))
                scores = k[step - ages, part] @ q[step, part] / 2 + w[f"{name}.age_bias"][head, ages]
                weights = np.exp(scores - scores.max())
                found[step, part] = weights @ v[step - ages, part] / weights.sum()
        x = x + linear(found, f"{name}.combine.0")
        hidden = np.maximum(linear(norm(x, f"{name}.transform.0"), f"{name}.transform.1"), 0)
        x = x + linear(hidden, f"{name}.transform.3")
    return np.tanh(linear(norm(x, "read_out.0"), "read_out.1"))


def test_it_is_the_equations_also_in_sessions_longer_than_the_context() -> None:
    encoder, (slates, clicks) = make(), session(3, 13)
    found = play(encoder, slates, clicks)
    assert found.dtype == np.float32 and np.abs(found).max() < 1
    for user in range(3):
        np.testing.assert_allclose(
            found[:, user], plainly(encoder, slates[:, user], clicks[:, user]), atol=2e-6
        )


def test_one_layer_remembers_the_newest_observations_only() -> None:
    encoder = make(layers=1)
    slates, clicks = session(1, 12)
    other = slates.copy()
    other[6] = (other[6] + 1) % 40
    same = (play(encoder, slates, clicks) == play(encoder, other, clicks)).all(axis=(1, 2))
    assert same.tolist() == [True] * 6 + [False] * 5 + [True]


def test_a_users_belief_has_the_same_bits_in_any_batch_and_at_any_place() -> None:
    encoder, (slates, clicks) = make(width=24, size=20), session(40, 7)
    together = play(encoder, slates, clicks)
    for batch in (1, 3, 17):
        parts = [
            play(encoder, slates[:, start : start + batch], clicks[:, start : start + batch])
            for start in range(0, 40, batch)
        ]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1).view(np.uint32), together.view(np.uint32))
    reverse = play(encoder, slates[:, ::-1], clicks[:, ::-1])
    np.testing.assert_array_equal(reverse[:, ::-1].view(np.uint32), together.view(np.uint32))


def test_users_at_different_places_of_their_sessions() -> None:
    """As where some sessions ended and others go on."""
    encoder, (slates, clicks) = make(), session(4, 9)
    state = encoder.initial(4)
    for step in range(7):
        state = encoder.update(state, slates[step], clicks[step])
    ended = np.array([False, True, False, True])
    state = rows_chosen(ended, encoder.initial(4), state)
    for step in (7, 8):
        state = encoder.update(state, slates[step], clicks[step])
    expected = np.where(
        ended[:, None], play(encoder, slates[7:], clicks[7:])[-1], play(encoder, slates, clicks)[-1]
    )
    np.testing.assert_array_equal(encoder.read(state), expected)
    few = rows_of(state, np.array([2, 1]))
    found = encoder.update(few, slates[0, [2, 1]], clicks[0, [2, 1]])
    np.testing.assert_array_equal(
        encoder.read(found), encoder.read(encoder.update(state, slates[0], clicks[0]))[[2, 1]]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slates": np.full((3, 6), 40)}, r"slates\[0\] = .*40.* ids are 0 … 39"),
        ({"clicks": np.full((3, 6), 2)}, r"clicks\[0\] = .* zeros and ones"),
        ({"clicks": np.zeros((2, 6), dtype=int)}, r"clicks has shape \(2, 6\)"),
        ({"state": np.zeros((3, 5), dtype=np.float32)}, r"state must hold the arrays \['keys', 'values'"),
        ({"state": make().initial(3) | {"seen": np.full(3, -1)}}, r"state\['seen'\] must hold integers ≥ 0"),
        ({"state": make(context=4).initial(3)}, r"state\['keys'\] has shape \(3, 2, 8, 4\) .* \(3, 2, 8, 5\)"),
        ({"state": make().initial(3) | {"belief": np.zeros((3, 5))}}, r"state\['belief'\] .* float64"),
    ],
)  # fmt: skip
def test_bad_input_is_a_clear_error(change: dict[str, Any], message: str) -> None:
    good = {"state": make().initial(3), "slates": np.zeros((3, 6), int), "clicks": np.zeros((3, 6), int)}
    with pytest.raises(ValueError, match=message):
        make().update(**good | change)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="8 numbers, no multiple of 3 heads"):
        make(heads=3)


def test_files_give_the_same_encoder(tmp_path: Path) -> None:
    encoder, observed = make(), session(2, 3)
    sha256 = encoder.save(tmp_path / "a.safetensors")
    loaded = load_belief(tmp_path / "a.safetensors")
    assert isinstance(loaded, TransformerBelief) and loaded.save(tmp_path / "b.safetensors") == sha256
    assert (loaded.heads, loaded.context, loaded.sizes) == (2, 5, encoder.sizes)
    np.testing.assert_array_equal(play(loaded, *observed), play(encoder, *observed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers.1.combine.0.weight": None}, r"lacks \['layers.1.combine.0.weight'\]"),
        ({"layers.1.age_bias": np.zeros((2, 4))}, r"layers.1.age_bias'\] has shape \(2, 4\); \(2, 5\) would fit"),
        ({"read_out.1.weight": np.full((5, 8), np.nan)}, r"read_out.1.weight'\] holds 40 non-finite numbers"),
        ({"layers.0.age_bias": np.zeros((0, 5))}, "is empty: it has shape"),
        ({"weight_items": np.zeros((2, 6, 9, 4))}, "9 numbers, no multiple of 2 heads"),
    ],
)  # fmt: skip
def test_unfit_files_are_clear_errors(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in (make().tensors | change).items() if tensor is not None}
    save_artifact(tmp_path / "x", "belief/transformer", tensors, {"catalog_hash": HASH})
    with pytest.raises(ArtifactError, match=f"is not a usable belief/transformer: .*{message}"):
        load_belief(tmp_path / "x")
