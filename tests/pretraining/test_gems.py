"""gems_gym.pretraining.gems: the published VAE; every named option does what it says."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gems_gym.embeddings import EmbeddingTable, load_embeddings  # noqa: E402
from gems_gym.pretraining.gems import (  # noqa: E402
    GemsSettings,
    pretrain_gems,
)
from gems_gym.pretraining.gems_model import GemsVae, item_cross_entropy, kl_to_standard_normal  # noqa: E402
from gems_gym.pretraining.session_log import SessionLog  # noqa: E402
from gems_gym.rankers import GemsRanker, load_ranker  # noqa: E402

ITEMS, SLOTS = 30, 4
BRIEF = GemsSettings(batches=60, batch_size=64, embedding_size=6, latent_size=5, learning_rate=3e-3)


def make_log(sessions: int = 60, seed: int = 0) -> SessionLog:
    """A user likes one of three groups of items; half of the slates shown are of that group."""
    rng = np.random.default_rng(seed)
    likes = rng.integers(0, 3, (sessions, 1, 1))
    shape = (sessions, 21, SLOTS)
    slates = np.where(rng.random((sessions, 21, 1)) < 0.5, rng.integers(0, 10, shape) + 10 * likes, 0)
    slates = np.where(slates == 0, rng.integers(0, ITEMS, shape), slates)
    clicks = (slates // 10 == likes) & (rng.random(shape) < 0.9)
    return SessionLog(
        slates.astype(np.int32),
        clicks.astype(np.uint8),
        np.where(slates // 10 == likes, 0.9, 0).astype(np.float32),
        np.zeros(sessions, np.uint8),
        ("synthetic",),
        "ca" * 32,
    )


def train(seed: int = 0, **changes: object) -> tuple[GemsRanker, dict[str, float]]:
    settings = dataclasses.replace(BRIEF, **changes)  # type: ignore[arg-type]
    return pretrain_gems(make_log(), ITEMS, settings, seed=seed, progress=False)


def make_vae(seed: int = 0, frozen: bool = True) -> GemsVae:
    generator = torch.Generator().manual_seed(seed)
    return GemsVae(
        torch.randn(ITEMS, 6, generator=generator), frozen, SLOTS, 5, GemsSettings().hidden_sizes, generator
    )


def batch(size: int = 64, seed: int = 1) -> tuple["torch.Tensor", "torch.Tensor"]:
    generator = torch.Generator().manual_seed(seed)
    slates = torch.randint(ITEMS, (size, SLOTS), generator=generator)
    return slates, torch.randint(2, (size, SLOTS), generator=generator).float()


def test_what_fills_up_shorter_sessions_changes_nothing() -> None:
    log = make_log()
    log.slates[:, :, 3], log.clicks[:, :, 3] = -1, 0  # slates of three
    fill = [(0, 0), (0, 4), (0, 0)]
    longer = dataclasses.replace(
        log, slates=np.pad(log.slates, fill, constant_values=-1), clicks=np.pad(log.clicks, fill)
    )
    brief = dataclasses.replace(BRIEF, batches=5)
    (one, metrics), (other, _) = (
        pretrain_gems(some, ITEMS, brief, seed=0, progress=False) for some in (log, longer)
    )
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, other.tensors[name], name)
    assert 0 < metrics["slot_accuracy"] <= 1
    vae = make_vae()
    slates, clicks = batch(3)
    slates[:, 1], clicks[:, 1] = -1, 0
    tensors = {name: tensor.numpy() for name, tensor in vae.state_dict().items()}
    ranker = GemsRanker({**tensors, "centre": np.zeros(5), "basis": np.eye(5)}, "ca" * 32)
    with torch.no_grad():
        means = vae.encode(slates, clicks)[0].numpy()
    np.testing.assert_allclose(
        ranker.posterior(slates.numpy(), clicks.numpy().astype(int))[0], means, atol=1e-5
    )


def test_ranker_decodes_as_the_network_does() -> None:
    ranker, _ = train(deduplicate=False)
    vae = make_vae()
    network = {name: torch.from_numpy(ranker.tensors[name]) for name in vae.state_dict()}
    vae.load_state_dict(network)
    slates, clicks = batch(300)
    with torch.no_grad():
        mean, log_variance = vae.encode(slates, clicks)
    for ours, theirs in zip(
        ranker.posterior(slates.numpy(), clicks.int().numpy()), (mean, log_variance), strict=True
    ):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    actions = np.random.default_rng(0).uniform(-1, 1, (300, 5)).astype(np.float32)
    with torch.no_grad():
        latents = torch.from_numpy(ranker.tensors["centre"] + actions @ ranker.tensors["basis"])
        expected = (vae.decode(latents)[0] @ vae.item_embeddings.T).argmax(dim=2).numpy()
    assert (ranker.rank(actions) == expected).mean() > 0.999  # rounding may swap equals


def test_it_learns() -> None:
    _, brief = train(batches=2)
    ranker, metrics = train(batches=300, beta=0.02)
    assert metrics["slot_accuracy"] > 2 * brief["slot_accuracy"]
    assert metrics["click_bce"] < brief["click_bce"]
    assert set(metrics) == {"slot_accuracy", "click_bce", "kl", "active_dimensions", "duplicates"}
    log = make_log(seed=5)
    slates, clicks = log.slates.reshape(-1, SLOTS), log.clicks.reshape(-1, SLOTS)
    decoded = ranker.rank(ranker.encode(slates, clicks))
    assert (decoded // 10 == slates // 10).mean() > 0.6  # by chance: about a third


def test_noise_is_scaled_by_the_standard_deviation() -> None:
    vae = make_vae()
    slates, clicks = (part[:1].expand(200_000, -1) for part in batch())
    noise = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(2))
    seen = []
    decode = vae.decode
    vae.decode = lambda latents: seen.append(latents) or decode(latents[:2])  # type: ignore[method-assign]
    with torch.no_grad():
        vae.encoder[4].bias[5:] = torch.log(torch.tensor([0.01, 0.25, 1.0, 4.0, 16.0]))
        vae.encoder[4].weight[5:] = 0
        with pytest.raises(
            IndexError
        ):  # two decoded rows do not fit 200,000 slates; the latents are all we want
            vae.loss(slates, clicks, noise, beta=1.0, click_weight=1.0)
    np.testing.assert_allclose(seen[0].std(dim=0), [0.1, 0.5, 1.0, 2.0, 4.0], rtol=0.01)
    np.testing.assert_allclose(
        seen[0].mean(dim=0), vae.encode(slates[:1], clicks[:1])[0][0].detach(), atol=0.04
    )


def test_item_cross_entropy_and_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    slots = (3 * torch.randn(700, 6, generator=generator)).requires_grad_()
    embeddings = torch.randn(ITEMS, 6, generator=generator, requires_grad=True)
    items = torch.randint(ITEMS, (700,), generator=generator)
    ours = item_cross_entropy(slots, embeddings, items)
    (2 * ours).backward()
    gradient, slots.grad = slots.grad, None
    assert embeddings.grad is None  # as published: no gradient through the product
    plain = torch.nn.functional.cross_entropy(slots @ embeddings.detach().T, items)
    (2 * plain).backward()
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(gradient, slots.grad)


def test_drawn_items_stand_for_the_catalogue() -> None:
    generator = torch.Generator().manual_seed(0)
    slots = (0.3 * torch.randn(700, 6, generator=generator)).requires_grad_()
    embeddings = torch.randn(ITEMS, 6, generator=generator)
    items = torch.randint(ITEMS, (700,), generator=generator)
    exact = item_cross_entropy(slots, embeddings, items)
    each_once = item_cross_entropy(slots, embeddings, items, torch.randperm(ITEMS, generator=generator))
    torch.testing.assert_close(each_once, exact)
    (found,) = torch.autograd.grad(each_once, slots)
    torch.testing.assert_close(found, *torch.autograd.grad(exact, slots))
    drawn = (torch.randint(ITEMS, (2 * ITEMS,), generator=generator) for _ in range(50))
    estimates = torch.stack([item_cross_entropy(slots, embeddings, items, one).detach() for one in drawn])
    assert abs(estimates.mean() - exact) < 0.01 * exact
    assert 0 < estimates.std() < 0.05 * exact


def test_kl() -> None:
    mean, log_variance = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.0, 1.0, -1.0])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, torch.exp(log_variance / 2)), normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_loss_weighs_its_parts() -> None:
    vae = make_vae()
    slates, clicks = batch()
    noise = torch.randn(64, 5, generator=torch.Generator().manual_seed(3))
    for beta, click_weight in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.7)):
        loss, parts = vae.loss(slates, clicks, noise, beta=beta, click_weight=click_weight)
        torch.testing.assert_close(loss, parts["items"] + click_weight * parts["clicks"] + beta * parts["kl"])


def test_beta_holds_the_kl_down() -> None:
    assert train(beta=5.0)[1]["kl"] < 0.5 * train(beta=0.01)[1]["kl"]


def test_click_weight_makes_it_learn_clicks() -> None:
    assert train(click_weight=5.0)[1]["click_bce"] < train(click_weight=0.0)[1]["click_bce"] - 0.02


def test_frozen_embeddings_stay_and_scratch_ones_move() -> None:
    start, end = (train(batches=batches)[0].tensors["item_embeddings"] for batches in (1, 40))
    np.testing.assert_array_equal(start, end)
    np.testing.assert_allclose(start.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(start[:, :3].std(axis=0, ddof=1), 1, atol=1e-5)  # what three groups fill
    start, end = (
        train(batches=batches, item_embeddings="scratch")[0].tensors["item_embeddings"] for batches in (1, 40)
    )
    assert np.abs(start - end).max() > 0.01


def test_box_coordinates_are_the_bounds_of_the_logged_posteriors() -> None:
    ranker, _ = train()
    centre, basis = ranker.tensors["centre"], ranker.tensors["basis"]
    np.testing.assert_array_equal(basis, np.diag(np.diag(basis)))
    log = make_log()
    mean, log_variance = ranker.posterior(log.slates.reshape(-1, SLOTS), log.clicks.reshape(-1, SLOTS))
    deviation = np.exp(0.5 * log_variance)
    low, high = (mean - deviation).min(axis=0), (mean + deviation).max(axis=0)  # held-out sessions included
    assert (centre - np.diag(basis) >= low - 1e-4).all()
    assert (centre + np.diag(basis) <= high + 1e-4).all()
    np.testing.assert_allclose(2 * np.diag(basis), high - low, rtol=0.3)


def test_there_are_no_other_coordinates_than_the_box() -> None:
    with pytest.raises(ValueError, match="unknown coordinates 'whitened'.*box"):
        GemsSettings(coordinates="whitened")  # type: ignore[arg-type]


def test_deduplicate_is_recorded_in_the_file(tmp_path: Path) -> None:
    for deduplicate in (True, False):
        ranker, metrics = train(deduplicate=deduplicate)
        ranker.save(tmp_path / "ranker.safetensors")
        loaded = load_ranker(tmp_path / "ranker.safetensors")
        assert isinstance(loaded, GemsRanker)
        assert loaded.deduplicate is deduplicate
        assert loaded.header["metrics"] == metrics
        assert loaded.catalog_hash == "ca" * 32
        actions = np.random.default_rng(0).uniform(-1, 1, (200, 5)).astype(np.float32)
        distinct = np.array([len(set(slate)) for slate in loaded.rank(actions).tolist()])
        assert (distinct == SLOTS).all() == deduplicate


def save_embeddings(path: Path, size: int = 6, **changes: object) -> EmbeddingTable:
    vectors = np.random.default_rng(3).normal(2, 3, (ITEMS, size)).astype(np.float32)
    fields: dict = {"kind": "embeddings/ideal", "catalog_hash": "ca" * 32, "privileged": True} | changes
    table = EmbeddingTable(vectors, **fields)
    table.save(path)
    return table


def test_embeddings_from_a_file_are_frozen_unless_told_otherwise(tmp_path: Path) -> None:
    path = str(tmp_path / "items.safetensors")
    table = save_embeddings(tmp_path / "items.safetensors")
    standardised = (table.vectors - table.vectors.mean(axis=0)) / table.vectors.std(axis=0, ddof=1)
    frozen, _ = train(batches=40, item_embeddings=path)
    np.testing.assert_allclose(frozen.tensors["item_embeddings"], standardised, atol=1e-5)
    start, _ = train(batches=1, item_embeddings=path)
    np.testing.assert_array_equal(frozen.tensors["item_embeddings"], start.tensors["item_embeddings"])
    trained, _ = train(batches=40, item_embeddings=path, frozen=False)
    moved = np.abs(trained.tensors["item_embeddings"] - standardised).max(axis=1)
    assert (moved > 0.01).mean() > 0.9  # all items move,
    assert (
        np.corrcoef(trained.tensors["item_embeddings"].ravel(), standardised.ravel())[0, 1] > 0.8
    )  # from there
    origin = frozen.header["item_embeddings"]
    assert origin == {"kind": "embeddings/ideal", "sha256": load_embeddings(path).sha256, "privileged": True}
    assert (frozen.header["options"]["frozen"], trained.header["options"]["frozen"]) == (True, False)
    assert frozen.header["options"]["item_embeddings"] == "embeddings/ideal"  # and no path


def test_scratch_embeddings_can_be_frozen_and_co_click_ones_trained() -> None:
    for name, frozen in (("scratch", True), ("co_click", False)):
        start, end = (
            train(batches=batches, item_embeddings=name, frozen=frozen)[0].tensors["item_embeddings"]
            for batches in (1, 40)
        )
        assert np.array_equal(start, end) == frozen


def test_unfit_embeddings_files(tmp_path: Path) -> None:
    path = tmp_path / "items.safetensors"
    save_embeddings(path, size=7)
    with pytest.raises(ValueError, match=r"has shape \(30, 7\).*\(30, 6\) was expected"):
        train(item_embeddings=str(path))
    save_embeddings(path, catalog_hash="da" * 32)
    with pytest.raises(ValueError, match=f"catalogue {'da' * 32}, but {'ca' * 32} is wanted"):
        train(item_embeddings=str(path))
    with pytest.raises(FileNotFoundError):
        train(item_embeddings=str(tmp_path / "none.safetensors"))


def test_seeds_and_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (train(seed=seed)[0].tensors for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])
    assert not np.array_equal(first["decoder.0.weight"], other["decoder.0.weight"])


def test_bad_logs() -> None:
    with pytest.raises(ValueError, match="log holds 1 sessions"):
        pretrain_gems(make_log(sessions=1), ITEMS, BRIEF, seed=0, progress=False)
    for embeddings in ("co_click", "scratch"):
        settings = dataclasses.replace(BRIEF, item_embeddings=embeddings)
        with pytest.raises(ValueError, match="0 … 19 were expected"):
            pretrain_gems(make_log(), 20, settings, seed=0, progress=False)
    with pytest.raises(ValueError, match="learning_rate"):
        train(learning_rate=1e30)
