"""gems_gym.common.pictures: the format follows the suffix, and the same figure is the same file."""

from pathlib import Path

import pytest

from gems_gym.common.pictures import check_picture, new_figure, save_figure

BEGINNINGS = {".png": b"\x89PNG", ".pdf": b"%PDF-", ".svg": b"<?xml", ".PDF": b"%PDF-"}


def drawn():
    figure = new_figure(3, 2)
    figure.subplots().plot([1, 2, 4], label="ε-greedy ± 1")
    return figure


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_the_suffix_decides(suffix: str, tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_figure(drawn(), tmp_path / f"{name}{suffix}")
    written = (tmp_path / f"one{suffix}").read_bytes()
    assert written.startswith(BEGINNINGS[suffix]) and len(written) > 1000
    assert written == (tmp_path / f"other{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["p.jpg", "p", "p.png.txt", "png"])
def test_other_suffixes_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"--out .* must be a picture, a file whose name ends in \.png, \.pdf"
    ):
        check_picture(tmp_path / name)
    with pytest.raises(ValueError, match="must be a picture"):
        save_figure(drawn(), tmp_path / name)
    assert not list(tmp_path.iterdir())
