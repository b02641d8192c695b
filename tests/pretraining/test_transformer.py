"""gems_gym.pretraining.transformer: what is trained is what acts; it learns; options, commands."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.beliefs import TransformerBelief, load_belief
from gems_gym.testing import check_belief

torch = pytest.importorskip("torch")

from gems_gym.pretraining.click_prediction import click_loss  # noqa: E402
from gems_gym.pretraining.transformer import (  # noqa: E402
    TransformerBeliefModel,
    TransformerSettings,
    pretrain_transformer,
)
from tests.pretraining.test_gru import ITEMS, SLOTS, STEPS, make_log  # noqa: E402

BRIEF = TransformerSettings(
    batches=3, batch_sessions=8, embedding_size=6, size=7, held_out=0.2, width=8, layers=2, heads=2, context=6
)


def train(settings: TransformerSettings = BRIEF, seed: int = 0, **log: Any) -> Any:
    return pretrain_transformer(make_log(**log), ITEMS, settings, seed=seed, progress=False)


def model_of(settings: TransformerSettings = BRIEF) -> TransformerBeliefModel:
    """Every weight random, those too that start as zeros or ones."""
    model = TransformerBeliefModel(ITEMS, SLOTS, settings)
    generator = torch.Generator().manual_seed(0)
    model.initialise(None, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def observed(num_sessions: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    log = make_log(num_sessions)
    return (
        torch.from_numpy(log.slates.astype(np.int64)).transpose(0, 1),
        torch.from_numpy(log.clicks.astype(np.float32)).transpose(0, 1),
    )


@pytest.mark.parametrize("slate_input", ["pooled", "concatenated"])
@pytest.mark.parametrize("context", [4, 100])
def test_the_encoder_computes_what_was_trained(slate_input: Any, context: int) -> None:
    model = model_of(replace(BRIEF, slate_input=slate_input, context=context))
    slates, clicks = observed()
    with torch.no_grad():
        expected = model.beliefs(model.inputs(model.item_embeddings[slates], clicks)).numpy()
    encoder = TransformerBelief(model.tensors(), "ca" * 32)
    state = encoder.initial(10)
    for step in range(STEPS + 1):
        state = encoder.update(state, slates[step].numpy(), clicks[step].numpy().astype(np.int8))
        np.testing.assert_allclose(encoder.read(state), expected[step], atol=5e-6)


def test_predictions_see_no_clicks_to_come() -> None:
    model = model_of()
    slates, clicks = observed()
    other = clicks.clone()
    other[4] = 1 - other[4]
    with torch.no_grad():
        before, after = model(slates, clicks), model(slates, other)
    torch.testing.assert_close(before[:4], after[:4], rtol=0, atol=0)
    assert not torch.equal(before[4], after[4])


def test_every_weight_gets_a_gradient() -> None:
    model = model_of()
    slates, clicks = observed(60)
    click_loss(model(slates, clicks), clicks[1:], slates[1:] >= 0).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_it_starts_with_normalisations_and_heads_that_look_back_each_farther() -> None:
    model = TransformerBeliefModel(ITEMS, SLOTS, BRIEF)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, np.nan)  # as memory that nobody wrote to may be
    model.initialise(None, torch.Generator().manual_seed(0))
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    norm, bias = model.layers[1].attend[0], model.layers[1].age_bias
    assert (norm.weight == 1).all() and (norm.bias == 0).all()
    assert bias[:, 0].tolist() == [0, 0] and bias[0, 5] < bias[1, 5] < 0


def test_learns_what_users_like() -> None:
    settings = replace(BRIEF, batches=250, batch_sessions=32, held_out=0.1, width=16, learning_rate=1e-2)
    encoder, metrics = train(settings, num_sessions=1000)
    everything = metrics["all"]
    assert everything["log_loss_truth"] < everything["log_loss"] < 0.6 * everything["log_loss_base"]
    assert encoder.header["metrics"] == metrics


def test_the_seed_decides_everything_and_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = train(seed=3)[0], train(seed=3)[0], train(seed=4)[0]
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(tensor, second.tensors[name])
        assert not np.array_equal(tensor, other.tensors[name]), name


@pytest.mark.parametrize("change", [{"width": 16}, {"layers": 1}, {"heads": 4}, {"context": 2}])
def test_sizes_are_those_asked_for(change: dict[str, int]) -> None:
    encoder, _ = train(replace(BRIEF, **change))
    made = {
        "width": encoder.tensors["bias_input"].shape[0],
        "layers": sum(name.endswith("age_bias") for name in encoder.tensors),
        "heads": encoder.heads,
        "context": encoder.context,
    }
    assert made == {"width": 8, "layers": 2, "heads": 2, "context": 6} | change
    assert encoder.header["options"] | change == encoder.header["options"]
    check_belief(encoder, steps=9)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width must be a multiple of heads=3, got 32"):
        TransformerSettings(heads=3)


def test_from_the_command_to_the_file(program: Any, tiny_env: str, tmp_path: Path) -> None:
    few = ("--sessions", 20, "--batches", 2)
    command = ("pretrain", "belief", "--env", tiny_env, "--kind", "transformer", *few, "--out", "b", "--json")
    code, out, err = program(*command)
    assert code == 0, err
    belief = load_belief(tmp_path / "b")
    assert isinstance(belief, TransformerBelief) and json.loads(out)["sha256"] == belief.sha256
    assert json.loads(out)["settings"]["context"] == belief.context
