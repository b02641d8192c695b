"""gems_gym.pretraining.gru: gradients, learning, options that have an effect, reports, seeds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import load_artifact
from gems_gym.beliefs import GruBelief, load_belief
from gems_gym.pretraining.click_prediction import auc, click_report, log_loss
from gems_gym.pretraining.session_log import SessionLog

torch = pytest.importorskip("torch")

from gems_gym.pretraining.belief import BeliefSettings  # noqa: E402
from gems_gym.pretraining.click_prediction import click_loss  # noqa: E402
from gems_gym.pretraining.gru import (  # noqa: E402
    GruBeliefModel,
    GruUnroll,
    pretrain_belief,
)

ITEMS, SLOTS, STEPS = 40, 5, 8
BRIEF = BeliefSettings(batches=3, batch_sessions=8, embedding_size=6, size=7, held_out=0.2)


def make_log(num_sessions: int = 60, seed: int = 0) -> SessionLog:
    """Users who click on the items of one of four kinds (item id mod 4), with probability .9, never on others."""
    rng = np.random.default_rng(seed)
    slates = rng.integers(0, ITEMS, (num_sessions, STEPS + 1, SLOTS)).astype(np.int32)
    likes = slates % 4 == rng.integers(0, 4, (num_sessions, 1, 1))
    probabilities = np.where(likes, 0.9, 0.0).astype(np.float32)
    return SessionLog(
        slates=slates,
        clicks=(rng.random(slates.shape) < probabilities).astype(np.uint8),
        click_probabilities=probabilities,
        policy=(np.arange(num_sessions) % 2).astype(np.uint8),
        policy_names=("random", "other"),
        catalog_hash="ca" * 32,
    )


def train(settings: BeliefSettings = BRIEF, seed: int = 0, **log: Any) -> tuple[GruBelief, dict[str, Any]]:
    return pretrain_belief(make_log(**log), ITEMS, settings, seed=seed, progress=False)


def test_unrolled_gru_is_torchs_and_so_are_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    gru = torch.nn.GRU(7, 5).double()
    inputs = torch.randn(9, 4, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(9, 4, 5, generator=generator, dtype=torch.float64)
    leaves = [inputs, *gru.parameters()]
    expected, _ = gru(inputs)
    expected_grads = torch.autograd.grad((expected * weights).sum(), leaves)
    gates = torch.nn.functional.linear(inputs, gru.weight_ih_l0, gru.bias_ih_l0)
    found = GruUnroll.apply(gates, gru.weight_hh_l0, gru.bias_hh_l0)
    torch.testing.assert_close(found, expected)
    for grad, wanted in zip(
        torch.autograd.grad((found * weights).sum(), leaves), expected_grads, strict=True
    ):
        torch.testing.assert_close(grad, wanted)


def test_click_loss_is_binary_cross_entropy() -> None:
    probabilities = torch.tensor([0.01, 0.3, 0.7, 0.99])
    clicks = torch.tensor([0.0, 1.0, 0.0, 1.0])
    expected = torch.nn.functional.binary_cross_entropy(probabilities, clicks)
    shown = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(click_loss(probabilities.log(), clicks, shown), expected)
    assert torch.isfinite(click_loss(torch.zeros(1), torch.zeros(1), shown[:1]))  # certain, and wrong
    probabilities, clicks = torch.tensor([0.01, 0.3, 0.7, 0.99, 0.5]), torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])
    shown = torch.tensor([True, True, True, True, False])
    torch.testing.assert_close(click_loss(probabilities.log(), clicks, shown), expected)


@pytest.mark.parametrize("slate_input", ["pooled", "concatenated"])
def test_the_encoder_computes_what_was_trained(slate_input: Any) -> None:
    settings = replace(BRIEF, slate_input=slate_input)
    model = GruBeliefModel(ITEMS, SLOTS, settings)
    model.initialise(None, torch.Generator().manual_seed(0))
    if model.slot_weights is not None:
        torch.nn.init.uniform_(model.slot_weights, 0.5, 2.0, generator=torch.Generator().manual_seed(1))
    log = make_log(num_sessions=10)
    log.slates[:, 2, 3], log.clicks[:, 2, 3] = -1, 0  # nothing was shown there
    slates = torch.from_numpy(log.slates.astype(np.int64)).transpose(0, 1)
    clicks = torch.from_numpy(log.clicks.astype(np.float32)).transpose(0, 1)
    with torch.no_grad():
        embedded = model.item_embeddings[slates] * (slates >= 0)[..., None]
        expected = model.beliefs(model.inputs(embedded, clicks)).numpy()
    encoder = GruBelief(model.tensors(), log.catalog_hash)
    belief = encoder.initial(10)
    for step in range(STEPS + 1):
        belief = encoder.update(belief, log.slates[:, step], log.clicks[:, step])
        np.testing.assert_allclose(belief, expected[step], atol=1e-5)


def test_predictions_see_no_clicks_to_come() -> None:
    model = GruBeliefModel(ITEMS, SLOTS, BRIEF)
    model.initialise(None, torch.Generator().manual_seed(0))
    log = make_log(num_sessions=10)
    slates = torch.from_numpy(log.slates.astype(np.int64)).transpose(0, 1)
    clicks = torch.from_numpy(log.clicks.astype(np.float32)).transpose(0, 1)
    other = clicks.clone()
    other[4] = 1 - other[4]
    with torch.no_grad():
        before, after = model(slates, clicks), model(slates, other)
    assert before.shape == (STEPS, 10, SLOTS)
    torch.testing.assert_close(
        before[:4], after[:4], rtol=0, atol=0
    )  # row t predicts the clicks of slate t + 1
    assert not torch.equal(before[4], after[4])


def test_every_weight_gets_a_gradient() -> None:
    model = GruBeliefModel(ITEMS, SLOTS, BRIEF)
    model.initialise(None, torch.Generator().manual_seed(0))
    log = make_log()
    slates = torch.from_numpy(log.slates.astype(np.int64)).transpose(0, 1)
    clicks = torch.from_numpy(log.clicks.astype(np.float32)).transpose(0, 1)
    click_loss(model(slates, clicks), clicks[1:], slates[1:] >= 0).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_what_fills_up_shorter_sessions_changes_nothing() -> None:
    log = make_log()
    log.slates[::3, 5:], log.clicks[::3, 5:] = -1, 0
    fill = [(0, 0), (0, 4), (0, 0)]
    longer = replace(
        log,
        slates=np.pad(log.slates, fill, constant_values=-1),
        clicks=np.pad(log.clicks, fill),
        click_probabilities=None,
    )
    (one, _), (other, metrics) = (
        pretrain_belief(some, ITEMS, BRIEF, seed=0, progress=False) for some in (log, longer)
    )
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, other.tensors[name], name)
    assert "log_loss_truth" not in metrics["all"] and metrics["all"]["log_loss"] > 0
    with pytest.raises(ValueError, match="log holds 0 sessions of more than one slate"):
        pretrain_belief(replace(log, slates=log.slates[:, :1]), ITEMS, BRIEF, seed=0, progress=False)


def test_learns_what_users_like() -> None:
    settings = BeliefSettings(batches=250, batch_sessions=32, held_out=0.1)
    encoder, metrics = train(settings, num_sessions=1000)
    everything = metrics["all"]
    assert everything["sessions"] == 100
    assert everything["log_loss"] < 0.6 * everything["log_loss_base"]
    assert everything["log_loss"] > everything["log_loss_truth"]
    assert 0.9 < everything["auc"] < everything["auc_truth"]
    assert set(metrics) == {"all", "random", "other"}
    assert encoder.header["metrics"] == metrics


def test_the_seed_decides_everything_and_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state()
    first, _ = train(seed=3)
    second, _ = train(seed=3)
    other, _ = train(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(tensor, second.tensors[name])
        assert not np.array_equal(tensor, other.tensors[name]), name


def test_frozen_means_frozen() -> None:
    trained, _ = train(BRIEF)
    frozen, _ = train(replace(BRIEF, freeze_item_embeddings=True))
    longer, _ = train(replace(BRIEF, freeze_item_embeddings=True, batches=6))
    np.testing.assert_array_equal(frozen.tensors["item_embeddings"], longer.tensors["item_embeddings"])
    assert not np.array_equal(frozen.tensors["item_embeddings"], trained.tensors["item_embeddings"])
    assert not np.array_equal(frozen.tensors["weight_hh"], longer.tensors["weight_hh"])


@pytest.mark.parametrize(
    "change",
    [
        {"item_embeddings": "scratch"},
        {"slate_input": "concatenated"},
        {"batches": 4},
        {"batch_sessions": 9},
        {"learning_rate": 1e-3},
        {"held_out": 0.5},
    ],
)
def test_every_option_has_an_effect(change: dict[str, Any]) -> None:
    default, changed = train(BRIEF)[0], train(replace(BRIEF, **change))[0]
    assert not np.array_equal(default.tensors["weight_hh"], changed.tensors["weight_hh"])
    assert changed.header["options"] | change == changed.header["options"]


def test_sizes_are_those_asked_for() -> None:
    encoder, _ = train(BRIEF)
    assert (encoder.size, encoder.embedding_size, encoder.num_items, encoder.slate_size) == (
        7,
        6,
        ITEMS,
        SLOTS,
    )


def test_the_published_input_has_one_weight_for_clicked_and_passed_over_items() -> None:
    weights = train(replace(BRIEF, slate_input="concatenated"))[0].tensors["weight_items"]
    np.testing.assert_array_equal(weights[0], weights[1])


def test_a_trained_encoder_can_be_saved_with_its_report(tmp_path: Any) -> None:
    encoder, metrics = train(BRIEF)
    encoder.save(tmp_path / "belief.safetensors")
    header = load_artifact(tmp_path / "belief.safetensors", "belief").header
    assert header["metrics"] == metrics
    assert header["log"] == {"policies": ["random", "other"], "sessions": 60}
    assert load_belief(tmp_path / "belief.safetensors").catalog_hash == "ca" * 32


def test_bad_logs_are_clear_errors() -> None:
    with pytest.raises(ValueError, match="log holds 1 sessions"):
        train(num_sessions=1)
    with pytest.raises(ValueError, match="num_items=20"):
        pretrain_belief(make_log(), 20, BRIEF, seed=0, progress=False)


def test_auc_and_log_loss_known_answers() -> None:
    clicks = np.array([0, 0, 1, 1])
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), clicks) == 0.75
    assert auc(np.full(4, 0.3), clicks) == 0.5
    assert auc(np.arange(4), np.zeros(4, dtype=int)) is None
    assert log_loss(np.full(4, 0.5), clicks) == pytest.approx(np.log(2))
    assert np.isfinite(log_loss(np.array([1.0, 0.0, 0.0, 1.0]), clicks))


def test_report_groups_by_policy_and_leaves_out_those_without_sessions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((6, 50))
    clicks = (rng.random((6, 50)) < truth).astype(np.uint8)
    report = click_report(np.full((6, 50), 0.5), clicks, truth, np.array([0, 0, 0, 0, 2, 2]), ("a", "b", "c"))
    assert {name: group["sessions"] for name, group in report.items()} == {"all": 6, "a": 4, "c": 2}
    assert report["a"]["auc"] == 0.5
    assert report["a"]["auc_truth"] == auc(truth[:4], clicks[:4])
