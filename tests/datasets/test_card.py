"""The card beside a dataset: written by whatever makes one, read by people, ignored by Minari and by the hash."""

from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

from gems_gym.datasets import (
    collect_level,
    compute_content_hash,
    export_d4rl,
    import_d4rl,
    merge,
    relabel,
    subset,
)
from tests.datasets.small_world import (
    ENV_ID,
    WORLD,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

QUIET: dict[str, Any] = {"progress": False}


def card_of(dataset: Any) -> str:
    return (Path(dataset.storage.data_path).parent / "README.md").read_text("utf-8")


def test_what_it_says() -> None:
    dataset = collect_latents()
    card, metadata = card_of(dataset), dataset.storage.metadata
    assert card.startswith("---\nlicense: mit\n---\n# small/latent-v0\n")
    for words in (
        metadata["description"],
        metadata["content_hash"],
        metadata["ranker_sha256"],
        dataset.env_spec.id,
        "'num_items': 40",
        "| policy | NoisyLatents |",
        "| users | logging, seed 3 |",
        "10 sessions, 90 transitions",
        "a Python program",
        "Licence: MIT",
        'minari.load_dataset("small/latent-v0")',
    ):
        assert words in card
    assert metadata["author"] == {"gems-gym"} and metadata["command"] is None


def test_its_code_runs() -> None:
    dataset = collect_latents()
    code = card_of(dataset).partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert names["dataset"].id == dataset.id and len(names["episode"].observations) == 10


def test_hash_and_minari_do_not_see_it() -> None:
    dataset = collect_latents()
    recorded = dataset.storage.metadata["content_hash"]
    Path(dataset.storage.data_path).parent.joinpath("README.md").write_text("changed")
    assert compute_content_hash("small/latent-v0") == recorded
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]
    assert minari.load_dataset("small/latent-v0").total_episodes == 10


def test_whatever_makes_a_dataset_writes_it(tmp_path: Path) -> None:
    slates = collect_slates()
    made = relabel(slates, small_ranker(), belief=small_belief(), dataset_id="small/made-v0", **QUIET)
    part = subset(made, dataset_id="small/part-v0", episodes=4, **QUIET)
    both = merge([made, part], dataset_id="small/both-v0", **QUIET)
    export_d4rl(made, tmp_path / "out.npz", **QUIET)
    back = import_d4rl(tmp_path / "out.npz", dataset_id="small/back-v0", **QUIET)
    for dataset, words in (
        (made, "relabel of `small/slate-v0`"),
        (part, "subset of `small/made-v0`"),
        (both, "merge of `small/made-v0`, `small/part-v0`"),
        (back, "import of `small/made-v0`"),
    ):
        assert f"| made of | {words} |" in card_of(dataset)
        metadata = dataset.storage.metadata
        assert metadata["author"] == {"gems-gym"} and metadata["description"] in card_of(dataset)
        assert metadata["content_hash"] in card_of(dataset)
    assert part.storage.metadata["description"] != made.storage.metadata["description"]
    replaced = subset(made, dataset_id="small/part-v0", episodes=5, overwrite=True, **QUIET)
    assert "5 sessions" in card_of(replaced)


def test_level_and_command(program) -> None:
    code, _, err = program(
        "collect", "--env", "GemsSlate-diffuse_mix-v0", "--level", "random", "--episodes", 2, "--num-envs", 2
    )
    assert code == 0, err
    dataset = minari.load_dataset("gems-slate/diffuse_mix/random-v0")
    command = "gems-gym collect --env GemsSlate-diffuse_mix-v0 --level random --episodes 2 --num-envs 2"
    assert dataset.storage.metadata["command"] == command
    assert "| level | random |" in card_of(dataset) and f"| made by | `{command}` |" in card_of(dataset)
    code, _, err = program("dataset", "subset", dataset.id, "--episodes", 1, "--dataset-id", "small/part-v0")
    assert code == 0, err
    part = minari.load_dataset("small/part-v0")
    assert part.storage.metadata["command"].startswith("gems-gym dataset subset gems-slate/diffuse_mix")
    assert program("info", "small/part-v0", "--json")[0] == 0  # authors are a set


def test_authors_of_ones_own_go_along() -> None:
    one = collect_latents(metadata={"author": ["Ada"], "description": "Mine."})
    other = collect_latents("small/other-v0", seed=4, metadata={"author": ["Bob"]})
    assert one.storage.metadata["author"] == {"Ada"}
    both = merge([one, other], dataset_id="small/both-v0", **QUIET)
    assert both.storage.metadata["author"] == {"Ada", "Bob"}
    assert "| author | Ada, Bob |" in card_of(both)


@pytest.mark.parametrize("given", [True, False])
def test_licence_of_what_is_not_ours(given: bool, tmp_path: Path) -> None:
    if given:
        np.save(tmp_path / "own.npy", np.random.default_rng(0).random((40, 20)).astype(np.float32))
        world = WORLD | {"item_embeddings": str(tmp_path / "own.npy")}
        dataset = collect_slates(env_kwargs=world)
        assert "license: other" in card_of(dataset) and "that of the catalogue" in card_of(dataset)
    else:
        file = export_d4rl(collect_latents(), tmp_path / "out.npz", **QUIET)
        np.savez(
            tmp_path / "bare.npz",
            **{
                name: getattr(file, name)
                for name in (
                    "observations",
                    "actions",
                    "rewards",
                    "next_observations",
                    "terminals",
                    "timeouts",
                )
            },
        )
        made = import_d4rl(
            tmp_path / "bare.npz", dataset_id="small/bare-v0", env_id=ENV_ID, episode_length=9, **QUIET
        )
        assert "that of the file it was imported from" in card_of(made)
        assert "policy unknown" not in made.storage.metadata["description"]


def test_what_others_wrote_stays_in_its_cell() -> None:
    dataset = collect_latents(policy_name="a | b\n\n# `<script>`")
    assert "| policy | a \\| b # '&lt;script>' |" in card_of(dataset)


def test_levels_are_described() -> None:
    dataset = collect_level(
        "GemsSlate-diffuse_mix-v0", "random", episodes=1, seed=0, reference_scores=(1.0, 2.0), progress=False
    )
    assert "1.0 and 2.0" in card_of(dataset)
