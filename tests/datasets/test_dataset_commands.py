"""``gems-gym dataset``: the commands as a person types them, JSON on stdout, mistakes in one line."""

import functools
import json
from pathlib import Path

import minari
import pytest

from tests.datasets.small_world import collect_latents, collect_slates, small_belief, small_ranker


@pytest.fixture
def run(program):
    return functools.partial(program, "dataset")


def result_of(run, *arguments):
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out), err


def test_report(run, tmp_path: Path) -> None:
    collect_latents()
    shown, err = result_of(run, "report", "small/latent-v0", "--out", "report.png")
    assert (shown["dataset_id"], shown["episodes"], shown["picture"]) == ("small/latent-v0", 10, "report.png")
    assert len(shown["slates"]["clicks_per_rank"]) == 5 and len(shown["actions"]["sd"]) == 6
    assert "reading small/latent-v0" in err
    assert (tmp_path / "report.png").read_bytes()[1:4] == b"PNG"
    code, out, _ = run("report", "small/latent-v0")
    assert code == 0
    for words in ("clicks per session", "duplicates", "effective dimensions", "boredom"):
        assert words in " ".join(out.split())


def test_several_reports_stand_side_by_side(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    collect_latents()
    collect_slates()
    ids = ("small/latent-v0", "small/slate-v0")
    shown, _ = result_of(run, "report", *ids, "--out", "both.pdf")
    assert shown["picture"] == "both.pdf" and Path("both.pdf").read_bytes().startswith(b"%PDF-")
    assert shown["datasets"] == [result_of(run, "report", one)[0] for one in ids]
    code, out, _ = run("report", *ids)
    assert code == 0

    def line(label: str) -> str:
        return next(line.rstrip() for line in out.splitlines() if line.startswith(label))

    assert all(one in line("measure") for one in ids)
    assert line("clicks per session").count("(95 %)") == 2
    assert line("latents").endswith("–")  # the slate dataset has none
    code, out, err = run("report", "small/latent-v0", "small/slat-v0")
    assert (code, out) == (2, "") and "did you mean 'small/slate-v0'" in " ".join(err.split())
    assert "reading" not in err  # nothing was measured before


@pytest.mark.parametrize("name", ["report.pdf", "report.svg", "report.png"])
def test_the_pictures_format_is_the_suffix(run, name: str) -> None:
    collect_latents()
    result_of(run, "report", "small/latent-v0", "--out", name)
    begins = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG"}[name[-3:]]
    assert Path(name).read_bytes().startswith(begins)


def test_out_and_in_again(run) -> None:
    source = collect_latents()
    out, err = result_of(run, "export", "small/latent-v0", "--out", "latent.npz")
    assert (out["episodes"], out["transitions"]) == (10, 90)
    assert out["content_hash"] == source.storage.metadata["content_hash"]
    assert out["holds"] == ["ranker", "belief"] and "infos" in out["lost"][0]
    assert "exporting" in err
    back, err = result_of(run, "import", "latent.npz", "--dataset-id", "small/back-v0")
    assert back["ranker_sha256"] == source.storage.metadata["ranker_sha256"]
    assert back["lacks"] == out["lost"] and "importing" in err
    report, _ = result_of(run, "report", "small/back-v0")
    assert report["slates"] is None
    assert "no infos" in run("report", "small/back-v0")[1]
    assert "infos" in run("export", "small/back-v0", "--out", "again.npz")[1]


def test_relabel_merge_and_subset(run) -> None:
    collect_slates()
    small_ranker().save("ranker.safetensors")
    small_belief().save("belief.safetensors")
    parts = ("--ranker", "ranker.safetensors", "--belief", "belief.safetensors")
    made, err = result_of(run, "relabel", "small/slate-v0", *parts, "--dataset-id", "small/made-v0")
    shares = made["derived_from"]["reconstruction"]
    assert 0 <= shares["slates"] <= shares["slots"] < 1 and "relabelling" in err
    code, out, _ = run("relabel", "small/slate-v0", *parts, "--dataset-id", "small/made-v0", "--overwrite")
    assert code == 0 and "of the slots" in out
    part, _ = result_of(
        run, "subset", "small/made-v0", "--episodes", 4, "--seed", 2, "--dataset-id", "small/part-v0"
    )
    assert part["episodes"] == 4
    good, _ = result_of(run, "subset", "small/made-v0", "--min-return", 0, "--dataset-id", "small/good-v0")
    assert good["content_hash"] == made["content_hash"]
    whole, err = result_of(run, "merge", "small/made-v0", "small/part-v0", "--dataset-id", "small/whole-v0")
    assert whole["episodes"] == 14 and "copying small/part-v0" in err
    assert set(minari.list_local_datasets()) == {
        f"small/{name}-v0" for name in ("slate", "made", "part", "good", "whole")
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "small/latin-v0"), "did you mean 'small/latent-v0'"),
        (("report", "small/latin-v0", "--out", "p.docx"), "--out p.docx must be a picture"),
        (("verify", "small/latin-v0"), "did you mean 'small/latent-v0'"),
        (("export", "small/slate-v0", "--out", "x.npz"), "holds slates"),
        (("import", "x.npz", "--dataset-id", "small/x-v0"), "x.npz"),
        (("import", "x.npz", "--dataset-id", "noversion"), "is not a Minari dataset id"),
        (("relabel", "small/latent-v0", "--ranker", "gems-difuse_mix", "--dataset-id", "small/x-v0"), "did you mean"),
        (("relabel", "small/latent-v0", "--ranker", "gems-diffuse_mix", "--dataset-id", "small/x-v0"), "catalogue"),
        (("merge", "small/latent-v0", "small/slate-v0", "--dataset-id", "small/x-v0"), "can't be merged"),
        (("subset", "small/latent-v0", "--dataset-id", "small/x-v0"), "got none of them"),
        (("subset", "small/latent-v0", "--episodes", 5, "--dataset-id", "small/slate-v0"), "--overwrite"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_line(run, arguments, words: str, tmp_path: Path) -> None:
    collect_latents()
    collect_slates()
    code, out, err = run(*arguments, "--json")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert set(minari.list_local_datasets()) == {"small/latent-v0", "small/slate-v0"}
    assert not (tmp_path / "x.npz").exists()
