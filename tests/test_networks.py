"""gems_gym.common.networks: the numbers of torch, and the same bits whatever the number of rows."""

import numpy as np
import pytest

from gems_gym.common.networks import FeedForward

SPEC = [["linear"], ["layer_norm"], ["relu"], ["linear"], ["relu"], ["linear"], ["tanh"]]


def random_tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"0": (67, 13), "3": (130, 67), "5": (9, 130)}
    tensors = {f"{layer}.weight": rng.standard_normal(shape) / 4 for layer, shape in shapes.items()}
    tensors |= {f"{layer}.bias": rng.standard_normal(shape[0]) for layer, shape in shapes.items()}
    tensors |= {"1.weight": rng.standard_normal(67), "1.bias": rng.standard_normal(67)}
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


@pytest.fixture
def network() -> FeedForward:
    return FeedForward(random_tensors(np.random.default_rng(0)), SPEC)


def test_agrees_with_torch(network: FeedForward) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    layers = [
        nn.Linear(13, 67),
        nn.LayerNorm(67),
        nn.ReLU(),
        nn.Linear(67, 130),
        nn.ReLU(),
        nn.Linear(130, 9),
    ]
    sequential = nn.Sequential(*layers, nn.Tanh())
    state = {
        name: torch.from_numpy(tensor) for name, tensor in random_tensors(np.random.default_rng(0)).items()
    }
    sequential.load_state_dict(state)
    rows = np.random.default_rng(1).standard_normal((50, 13)).astype(np.float32)
    with torch.no_grad():
        expected = sequential(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(network(rows), expected, atol=1e-5)


def test_a_decoder_is_given_the_input_too_and_numbers_are_clipped() -> None:
    rng = np.random.default_rng(0)
    encode, decode = rng.standard_normal((2, 3)), rng.standard_normal((4, 5))
    tensors = {"0.weight": encode, "0.bias": np.zeros(2), "2.weight": decode, "2.bias": np.zeros(4)}
    spec = [["linear"], ["with_input"], ["linear"], ["clip"]]
    network = FeedForward(tensors, spec)
    assert (network.input_size, network.output_size) == (3, 4)
    rows = rng.standard_normal((20, 3)).astype(np.float32)
    expected = np.clip(np.concatenate([rows, rows @ encode.T], axis=1) @ decode.T, -1, 1)
    np.testing.assert_allclose(network(rows), expected, atol=1e-5)
    assert (np.abs(expected) == 1).any() and (np.abs(expected) < 1).any()
    np.testing.assert_array_equal(network(rows)[7], network(rows[7:8])[0])
    again = FeedForward.from_tensors(network.to_tensors("it"), "it", network.spec)
    np.testing.assert_array_equal(again(rows), network(rows))
    with pytest.raises(ValueError, match=r"layer 0 \(with_input\) has no layer with weights before it"):
        FeedForward(tensors, [["with_input"], ["linear"]])
    with pytest.raises(ValueError, match="do not fit together after a layer of 5"):
        FeedForward(tensors | {"2.weight": decode[:, :4]}, spec)


@pytest.mark.parametrize("num_rows", [1, 3, 16, 17, 257])
def test_bits_do_not_depend_on_the_batch(network: FeedForward, num_rows: int) -> None:
    rows = np.random.default_rng(2).standard_normal((num_rows, 13)).astype(np.float32)
    together = network(rows)
    alone = np.concatenate([network(row[None]) for row in rows])
    np.testing.assert_array_equal(together, alone)
    half = num_rows // 2
    np.testing.assert_array_equal(together[half:], network(rows[half:]))


def test_tensors_round_trip(network: FeedForward) -> None:
    tensors = network.to_tensors("actor")
    assert {name.split(".")[0] for name in tensors} == {"actor"}
    again = FeedForward.from_tensors({**tensors, "other.0.weight": np.ones(1)}, "actor", network.spec)
    rows = np.random.default_rng(4).standard_normal((6, 13)).astype(np.float32)
    np.testing.assert_array_equal(network(rows), again(rows))


def test_bad_input() -> None:
    tensors = random_tensors(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"rows has shape \(4, 12\).*13"):
        FeedForward(tensors, SPEC)(np.zeros((4, 12), np.float32))
    with pytest.raises(ValueError, match="unknown layer 'gelu'"):
        FeedForward(tensors, [["linear"], ["gelu"]])
    with pytest.raises(ValueError, match="layer 5.*lacks"):
        FeedForward({name: tensor for name, tensor in tensors.items() if name != "5.bias"}, SPEC)
    with pytest.raises(ValueError, match="do not fit"):
        FeedForward(tensors | {"3.weight": np.ones((130, 66), np.float32)}, SPEC)
    bad = {f"actor.{name}": tensor for name, tensor in tensors.items()}
    bad["actor.0.bias"] = np.append(tensors["0.bias"][1:], np.float32("nan"))
    with pytest.raises(ValueError, match="network 'actor'.*1 non-finite"):
        FeedForward.from_tensors(bad, "actor", SPEC)
    with pytest.raises(ValueError, match="no layer with weights"):
        FeedForward({}, [["relu"]])
