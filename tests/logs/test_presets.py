"""Each preset with a small file of its form, dirt in it, and what must come out."""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gems_gym.datasets import report_dataset, verify_dataset
from gems_gym.logs import read_import_report
from tests.logs.reading_back import ID, imported, left_out, sessions


def test_lists(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "user": ["a", "a", "b", "b", "c", None, "a", "d"],
            "timestamp": [10, 5, 1, 20_000, 3, 4, 10, 7],
            "items": [[1, 2], [3], [2, 1, 4], [4], [1], [1], [1, 2], [1, 2]],
            "clicks": [[0, 1], [1], [0, 0, 0], [0], [2], [0], [0, 1], [1]],
        }
    )
    rows.write_parquet(tmp_path / "log.parquet")
    report = imported(tmp_path / "log.parquet")
    assert sessions() == [
        ("a", [(5_000, ["3"], [1]), (10_000, ["1", "2"], [0, 1])]),
        ("b", [(1_000, ["2", "1", "4"], [0, 0, 0])]),
        ("b", [(20_000_000, ["4"], [0])]),
    ]
    assert left_out(report) == {
        "clicks: are not 0 or 1": 1, "clicks: are not as many as the items": 1, "user: is missing": 1,
        "row: is a duplicate of another one": 1,
    }  # fmt: skip
    assert report.dropped["clicks: are not 0 or 1"] == {"rows": 1, "first_row": 5, "value": "[2]"}
    assert (report.out_of_order, report.sessions, report.users, report.items) == (1, 3, 2, 4)
    assert [(slot.shown, slot.clicks) for slot in report.slots] == [(4, 1), (2, 1), (1, 0)]
    assert verify_dataset(ID, progress=False).passed
    assert report_dataset(ID, progress=False).returns.mean == pytest.approx(2 / 3)
    assert read_import_report(ID)["rows_kept"] == 4


LONG = """\
user,session,timestamp,position,item,click,propensity,note
u1,s1,2024-01-01 00:00:00,2,x,0,0.5,"=HYPERLINK(""a"")"
u1,s1,2024-01-01 00:00:00,1,y,1,0.25,../../etc/passwd
u1,s1,2024-01-01 00:00:00,1,y,1,0.25,again
u1,s2,2024-01-01T00:00:01Z,1,=cmd(),0,1,
u2,s1,2024-01-01 00:00:00,1,x,0,-0.1,
u2,s1,2024-01-01 00:00:00,2,y,0,0.5,
u2,s1,2024-01-01 00:00:05,1,y,yes,0.5,
u2,s1,2024-01-01 00:00:06,1,y,1,nan,
u2,s1,never,1,y,1,0.5,
u2,s1,2024-01-01 00:00:07,1,,1,0.5,
u2,s1,2024-01-01 00:00:08,1,y,1,0.5,,beyond
u3,s1,2024-01-01 00:00:00,1,y
"""


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_long(tmp_path: Path, name: str) -> None:
    write = gzip.open if name.endswith(".gz") else open
    with write(tmp_path / name, "wb") as file:
        file.write(LONG.encode())
    report = imported(tmp_path / name, preset="long")
    start = 1_704_067_200_000
    assert sessions() == [
        ("u1", [(start, ["y", "x"], [1, 0])]),
        ("u1", [(start + 1_000, ["=cmd()"], [0])]),
    ]
    assert left_out(report) == {
        "propensity: is not in (0, 1]": 3, "click: is not 0 or 1": 1, "time: is no time": 1, "item: is missing": 1,
        "row: has more columns than the header": 1, "click: is missing": 1, "row: is a duplicate of another one": 1,
    }  # fmt: skip
    assert report.dropped["propensity: is not in (0, 1]"] == {"rows": 3, "first_row": 5, "value": "'-0.1'"}
    assert report.propensities is not None and report.propensities.smallest == 0.25
    assert report.propensities.mean_inverse == pytest.approx((2 + 4 + 1) / 3)


def test_finn(tmp_path: Path) -> None:
    slate = np.zeros((2, 3, 4), np.int32)
    slate[0, 0, :4], slate[0, 1, :2], slate[1, 0, :3] = [1, 7, 8, 9], [1, 7], [1, 5, 7]
    lengths = np.array([[4, 2, 0], [3, 0, 0]])
    click = np.array([[9, 1, 0], [6, 0, 0]])  # 6 was not shown
    np.savez(
        tmp_path / "data.npz", userId=np.array([10, 11]), slate=slate, click=click, slate_lengths=lengths
    )
    report = imported(tmp_path / "data.npz", preset="finn")
    assert sessions() == [("10", [(0, ["7", "8", "9"], [0, 0, 1]), (1_000, ["7"], [0])])]
    assert left_out(report) == {"clicked: was not shown": 1}


def test_ebnerd(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "impression_id": [1, 2, 3],
            "user_id": [5, 5, 6],
            "session_id": [1, 1, 2],
            "impression_time": [datetime(2023, 5, 1, 12), datetime(2023, 5, 3), datetime(2023, 5, 1)],
            "article_ids_inview": [[11, 12, 11], [13], [11]],
            "article_ids_clicked": [[11], [], [99]],
        },
        schema_overrides={"article_ids_clicked": pl.List(pl.Int64)},
    )
    report = imported(rows, preset="ebnerd")
    (user, session), *others = sessions()
    assert (user, [one[1:] for one in session]) == ("5", [(["11", "12", "11"], [1, 0, 0]), (["13"], [0])])
    assert others == [] and left_out(report) == {"clicked: was not shown": 1}


def test_mind(tmp_path: Path) -> None:
    lines = [
        "1\tU1\t11/15/2019 9:22:42 AM\tN1 N2\tN3-0 N4-1",
        "2\tU1\t11/15/2019 1:22:42 PM\t\tN3-0",
        "3\tU2\t15/11/2019 9:22:42 AM\t\tN3-0",
        "4\tU2\t11/15/2019 9:22:42 AM\t\tN3",
        '5\tU2\t11/15/2019 9:22:42 AM\t"\tN3-0 N5-1',
    ]
    (tmp_path / "behaviors.tsv").write_text("\n".join(lines) + "\n")
    report = imported(tmp_path / "behaviors.tsv", preset="mind")
    morning = 1_573_809_762_000
    assert sessions() == [
        ("U1", [(morning, ["N3", "N4"], [0, 1])]),
        ("U1", [(morning + 4 * 3_600_000, ["N3"], [0])]),
        ("U2", [(morning, ["N3", "N5"], [0, 1])]),
    ]
    assert left_out(report) == {"time: is no time": 1, "pairs: is not ITEM-0 or ITEM-1": 1}


def test_rl4rs(tmp_path: Path) -> None:
    lines = [
        "timestamp@session_id@sequence_id@exposed_items@user_feedback@user_seqfeature@user_protrait@behavior_policy_id",
        "1600000000@7@1@5,6,7@0,1,0@1,2@3@1",
        "1600000000@7@2@8,9,5@0,0,0@1,2@3@1",
        "1600000001@8@1@8,9@0,0,1@1,2@3@1",
    ]
    (tmp_path / "rl4rs.csv").write_text("\n".join(lines) + "\n")
    report = imported(tmp_path / "rl4rs.csv", preset="rl4rs")
    assert sessions() == [
        (
            "7",
            [
                (1_600_000_000_000, ["5", "6", "7"], [0, 1, 0]),
                (1_600_000_000_000, ["8", "9", "5"], [0, 0, 0]),
            ],
        )
    ]
    assert left_out(report) == {"clicks: are not as many as the items": 1}


def test_kuairand(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "user_id,video_id,date,hourmin,time_ms,is_click,is_rand,tab\n"
        "1,20,20220408,1,1649350000000,1,0,1\n"
        "1,21,20220408,1,1649350001000,0,0,1\n"
        "1,22,20220408,1,1649999999999999,0,0,1\n"
    )
    report = imported(tmp_path / "log.csv", preset="kuairand")
    assert sessions() == [("1", [(1_649_350_000_000, ["20"], [1]), (1_649_350_001_000, ["21"], [0])])]
    assert left_out(report) == {"time: is before 1970 or after 2200": 1}


def test_obd(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(
        ",timestamp,item_id,position,click,propensity_score,user_feature_0\n"
        "0,2019-11-24 00:00:01.176735+00:00,14,3,0,0.0125,cef\n"
        "1,2019-11-24 00:00:02.176735+00:00,4,1,1,0.0125,cef\n"
        "2,2019-11-24 00:00:03.176735+00:00,4,0,1,0.0125,cef\n"
    )
    report = imported(tmp_path / "all.csv", preset="obd")
    start = 1_574_553_601_176
    assert sessions() == [
        ("1", [(start, [None, None, "14"], [0, 0, 0])]),
        ("2", [(start + 1_000, ["4"], [1])]),
    ]
    assert left_out(report) == {"position: is no slot from 1 to 1000": 1}
    assert report.propensities is not None and report.propensities.mean_inverse == pytest.approx(80)
    assert [slot.shown for slot in report.slots] == [1, 0, 1]


def test_obd_with_users() -> None:
    rows = pl.DataFrame({
        "user": ["a", "a", "a"],
        "timestamp": [1, 1, 9],
        "item_id": ["x", "y", "z"],
        "position": [3, 1, 1],
        "click": [1, 0, 0],
    })  # fmt: skip
    imported(rows, preset="obd", columns={"user": "user"})
    assert sessions() == [
        ("a", [(1_000, [None, None, "x"], [0, 0, 1]), (1_000, ["y"], [0]), (9_000, ["z"], [0])])
    ]
