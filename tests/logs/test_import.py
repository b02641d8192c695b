"""What an import makes of logs that are strange, and what it refuses."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import minari
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gems_gym.datasets import EpisodeBatch, merge, open_dataset, report_dataset, verify_dataset
from gems_gym.logs import importing, read_items, read_users
from gems_gym.logs.importing import read_gap
from tests.logs.reading_back import ID, imported, left_out, log, sessions

IMPRESSIONS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 30),
        st.lists(st.tuples(st.sampled_from("wxyz"), st.integers(0, 1)), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(IMPRESSIONS, st.integers(1, 3))
def test_what_was_kept_is_read_back(
    monkeypatch: pytest.MonkeyPatch, impressions: list[tuple[str, int, list[tuple[str, int]]]], buckets: int
) -> None:
    monkeypatch.setattr(importing._Log, "_num_buckets", lambda self: buckets)
    rows = [
        {
            "user": user,
            "timestamp": minute * 60,
            "items": [item for item, _ in slate],
            "clicks": [c for _, c in slate],
        }
        for user, minute, slate in impressions
    ]
    report = imported(pl.DataFrame(rows), session_gap="10m", overwrite=True)
    expected: dict[str, list[tuple[int, list[str], list[int]]]] = {}
    for row in rows:
        one = (row["timestamp"] * 1000, row["items"], row["clicks"])
        if one not in expected.setdefault(row["user"], []):
            expected[row["user"]].append(one)
    found: dict[str, list[Any]] = {}
    for user, session in sessions():
        times = [time for time, *_ in session]
        assert all(later - time <= 600_000 for time, later in pairwise(times))
        if user in found:
            assert times[0] - found[user][-1][0] > 600_000
        found.setdefault(user, []).extend(session)
    assert found == {user: sorted(of, key=lambda one: one[0]) for user, of in expected.items()}
    assert report.rows_kept == sum(map(len, found.values())) == report.impressions
    left_out(report)


def test_columns_are_not_mixed_up_with_meanings() -> None:
    rows = pl.DataFrame({"user": ["1 2"], "time": ["u"], "items": [7], "row": ["0 1"]})
    imported(rows, columns={"user": "time", "time": "items", "items": "user", "clicks": "row"})
    assert sessions() == [("u", [(7_000, ["1", "2"], [0, 1])])]


def test_columns_time_unit_and_gap() -> None:
    rows = pl.DataFrame({"uid": [1, 1], "ts": [0, 3000], "seen": ["5 6", "[7]"], "hit": [["6"], []]})
    rows = rows.with_columns(pl.col("hit").cast(pl.List(pl.String)))
    columns = {"user": "uid", "time": "ts", "items": "seen", "clicked": "hit"}
    imported(rows, columns=columns, time_unit="ms", session_gap="2s")
    assert sessions() == [("1", [(0, ["5", "6"], [0, 1])]), ("1", [(3_000, ["7"], [0])])]


def test_without_a_session_id_the_gap_cuts() -> None:
    rows = pl.DataFrame(
        {
            "user": ["a"] * 5, "session": ["s", "s", None, None, None], "timestamp": [0, 9_000, 1, 2, 9_001],
            "items": [[1]] * 5, "clicks": [[0], [1], [0], [1], [1]],
        }
    )  # fmt: skip
    imported(rows)
    times = [[time for time, *_ in session] for _, session in sessions()]
    assert times == [[0, 9_000_000], [1_000, 2_000], [9_001_000]]
    imported(rows, session_gap="30m", overwrite=True)
    assert len(sessions()) == 4


def test_users_are_numbered_in_the_order_of_the_rows() -> None:
    users = [f"u{user:02}" for user in range(20) for _ in range(300 if user == 10 else 1)]
    rows = [{"user": user, "timestamp": 1, "items": [at], "clicks": [1]} for at, user in enumerate(users)]
    for _ in range(12):  # threads once numbered them as they came
        imported(pl.DataFrame(rows), overwrite=True)
        assert read_users(ID)["user"].to_list() == sorted(set(users))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            log().rename({"user": "usr"}),
            {},
            "lacks the user of each row: unknown column 'user': did you mean 'usr'",
        ),
        (log(), {"columns": {"usr": "user"}}, "unknown meaning .* 'usr': did you mean 'user'"),
        (log(), {"columns": {"session": "sid"}}, "lacks the session of each row: unknown column 'sid'"),
        (log(), {"preset": "list"}, "unknown preset of logs 'list': did you mean 'lists'"),
        (log(), {"session_gap": "30"}, "session_gap must be a number and a unit"),
        (log(), {"time_unit": "min"}, "time_unit must be one of s, ms, us"),
        (log(user=[1.0, 2.0]), {}, r"column 'user' \(user\) holds Float64: ids must be"),
        (
            log(items=[[[1]], [[2]]]),
            {},
            r"column 'items' \(items\) holds .* lists of ids or numbers were expected",
        ),
        (log(items=[1, 2]), {}, r"column 'items' \(items\) holds .* lists of ids or numbers were expected"),
        (log(user=[[1], [2]]), {}, r"column 'user' \(user\) holds List\(Int64\): single values"),
        (
            log(user=pl.Series([1, "a"], dtype=pl.Object)),
            {},
            r"column 'user' \(user\) holds Object: values of one kind",
        ),
        (log(timestamp=[True, False]), {}, r"column 'timestamp' \(time\) holds Boolean: dates, texts or num"),
        (log(items=[[b"1", b"2"], [b"2"]]), {}, r"column 'items' \(items\) holds List\(Binary\): lists of"),
        (log()[:0], {}, "has no rows"),
        (
            log(timestamp=[10**12, 10**12]),
            {},
            "no impression is left of 2 rows. 2 of them: time: is before 1970",
        ),
    ],
)
def test_what_cannot_be_imported_is_refused(
    rows: pl.DataFrame, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        imported(rows, **options)
    assert minari.list_local_datasets() == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.parquet", b"PAR1 no parquet", "can't be read"),
        ("log.csv", b"", "can't be read|empty"),
        ("log.csv", b"user,timestamp,items,clicks\n", "has no rows"),
        ("log.xlsx", b"", "must be a file whose name ends in"),
        ("log.npz", b"", "no log of FINN.no's form"),
        ("log.csv", b"user,timestamp,items,clicks\n\xff\xfe,1,2,0\n", "can't be read"),
        (
            "log.csv.gz",
            gzip.compress(b"user,timestamp,items,clicks\n" + b"a,1,2,0\n" * 99, mtime=0)[:-20],
            "can't be read",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        imported(tmp_path / name)
    assert name in str(error.value)


def test_a_pickle_in_an_npz_is_not_read(tmp_path: Path) -> None:
    arrays = dict.fromkeys(("slate", "click", "slate_lengths"), np.ones((1, 1, 1), int))
    np.savez(tmp_path / "log.npz", userId=np.array([{}], dtype=object), **arrays)
    with pytest.raises(ValueError, match="userId must hold integers"):
        imported(tmp_path / "log.npz", preset="finn")


def test_a_log_of_finns_form_that_contradicts_itself_or_is_damaged_is_refused(tmp_path: Path) -> None:
    arrays = {
        "userId": np.arange(50), "slate": np.full((50, 4, 3), 7), "click": np.ones((50, 4), int),
        "slate_lengths": np.full((50, 4), 3),
    }  # fmt: skip
    arrays["slate_lengths"][2, 1] = 5
    np.savez_compressed(tmp_path / "log.npz", **arrays)
    with pytest.raises(ValueError, match="slate_lengths is 5 in step 1 of user 2; slates have 3 slots"):
        imported(tmp_path / "log.npz", preset="finn")
    arrays["slate_lengths"][2, 1] = 3
    arrays["slate"] = np.random.default_rng(0).integers(2, 10**6, (50, 4, 3))
    np.savez_compressed(tmp_path / "log.npz", **arrays)
    content = bytearray((tmp_path / "log.npz").read_bytes())
    at = content.find(b"slate.npy") + 60
    content[at : at + 40] = bytes(40)
    (tmp_path / "log.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"log\.npz is no log of FINN\.no's form"):
        imported(tmp_path / "log.npz", preset="finn")


def test_a_propensity_that_single_precision_takes_for_0_is_none() -> None:
    report = imported(log(propensity=[[1e-60, 0.5], [0.5]]))
    assert left_out(report) == {"propensity: is not in (0, 1]": 1}


def test_users_without_steps_are_no_rows(tmp_path: Path) -> None:
    arrays = {
        "slate": np.ones((2, 0, 3), int),
        "click": np.ones((2, 0), int),
        "slate_lengths": np.ones((2, 0), int),
    }
    np.savez(tmp_path / "log.npz", userId=np.arange(2), **arrays)
    with pytest.raises(ValueError, match=r"log\.npz has no rows"):
        imported(tmp_path / "log.npz", preset="finn")


def test_broken_rows_are_counted_each_by_its_reason() -> None:
    rows = log(user=["a", ""], timestamp=[1, None], items=[[], [1]], clicks=[[], [1]])
    good = log(user=["c", "d"])
    report = imported(
        pl.concat([good, rows, log(items=[[1, None], [1]], clicks=[[0, 0], [None]])], how="vertical_relaxed")
    )
    assert left_out(report) == {
        "items: is empty": 1, "user: is missing": 1, "items: lacks an item": 1, "clicks: are not 0 or 1": 1,
    }  # fmt: skip


def test_a_tenth_of_broken_rows_is_warned_of() -> None:
    clicks = [[2] if row % 10 == 7 else [row % 2] for row in range(100)]
    rows = pl.DataFrame({"user": [1] * 100, "timestamp": range(100), "items": [[1]] * 100, "clicks": clicks})
    report = imported(rows)
    assert report.dropped == {"clicks: are not 0 or 1": {"rows": 10, "first_row": 8, "value": "[2]"}}
    assert not any("left out" in one for one in report.warnings)
    assert any("20% of the rows" in one for one in imported(rows[5:10], overwrite=True).warnings)


def test_propensities_that_do_not_sum_to_1_are_warned_of() -> None:
    report = imported(log(propensity=[[0.9, 0.9], [0.9]]))
    assert any("mean of 1 / propensity is 1.1, where it is 2," in one for one in report.warnings)


@pytest.mark.parametrize("preset", ["lists", "long"])
def test_rewards_of_a_log_are_its_own(preset: str) -> None:
    rows = log(reward=[2.5, float("nan")])
    if preset == "long":
        rows = pl.DataFrame(
            {
                "user": ["a", "a", "b"], "timestamp": [1, 1, 2], "item": [1, 2, 2], "click": [0, 1, 0],
                "reward": [0.5, 2.0, None],
            }
        )  # fmt: skip
    report = imported(rows, preset=preset)
    assert left_out(report) == {"reward: is no number": 1}
    session = minari.load_dataset(ID)[0]
    assert session.rewards.tolist() == [2.5] and session.observations["clicks"].tolist() == [[0, 0], [0, 1]]
    verified = verify_dataset(ID, progress=False)
    assert verified.passed and verified.checks["rewards"] == "not checked: the log has rewards of its own"


def test_poor_logs_are_warned_of() -> None:
    report = imported(log(user=["a", "a"], timestamp=[1, 10_000], items=[[1], [1]], clicks=[[0], [0]]))
    warned = "\n".join(report.warnings)
    for part in ("no clicks at all", "one user", "one item", "a bandit is enough"):
        assert part in warned


@pytest.mark.parametrize(
    ("times", "warned"), [([20240131, 20240201], True), ([1706659200, 1706745600], False)]
)
def test_dates_written_as_numbers_are_warned_of(times: list[int], warned: bool) -> None:
    report = imported(log(user=["a", "a"], timestamp=times))
    assert any("write dates as 2024-01-31" in one for one in report.warnings) == warned


def test_lists_as_numpy_writes_them_hold_its_numbers() -> None:
    items, clicks = "[np.int64(3), np.int64(5)]", "[np.int64(0), np.int64(1)]"
    imported(pl.DataFrame({"user": ["a"], "timestamp": [1], "items": [items], "clicks": [clicks]}))
    assert read_items(ID)["item"].to_list() == ["3", "5"]


@pytest.mark.parametrize("items", ["1,,2", "1, ;2", "[1, None, 2]", "[1,null,2]"])
def test_a_missing_element_of_a_list_leaves_the_row_out(items: str) -> None:
    rows = {"user": ["a", "b"], "timestamp": [1, 2], "items": [items, "1,2"], "clicks": ["0,1", "0,1"]}
    report = imported(pl.DataFrame(rows))
    assert left_out(report) == {"items: lacks an item": 1}


def test_no_clicked_items_in_a_text_file_are_no_clicks(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,timestamp,items,clicked\na,1,1 2 3,2\na,2,1 2 3,\n")
    report = imported(tmp_path / "log.csv", columns={"clicked": "clicked"})
    assert (report.impressions, report.clicks) == (2, 1)


@pytest.mark.parametrize(
    "time",
    ["2024-01-31 10:00:00 UTC", "2024-01-31T10:00:00UTC", "2024-01-31 10:00:00+00", "2024-01-31 10:00:00.000+00",
     "2024-01-31T11:00+01:00", "2024-01-31T10:00:00Z"],
)  # fmt: skip
def test_times_as_databases_write_them(time: str) -> None:
    report = imported(log(user=["a", "a"], timestamp=[time, "2024-01-31"]))
    assert report.last_time - report.first_time == 10 * 3_600_000


def test_too_many_rows_of_an_impression_are_left_out() -> None:
    rows = {
        "user": ["a"] * 1_001 + ["b"],
        "timestamp": [1] * 1_002,
        "item": range(1_002),
        "click": [0] * 1_001 + [1],
    }
    report = imported(pl.DataFrame(rows), preset="long")
    assert left_out(report) == {"item: has more than 1000 items": 1_001}
    assert report.slate_sizes.maximum == 1


def test_a_wrong_row_spoils_its_impression_wherever_it_stands(tmp_path: Path) -> None:
    lines = ["a,1,1,x,0", "a,1,1,x,0,EXTRA", "a,1,2,y,1", "b,1,1,x,1"]
    for order in ((0, 1, 2, 3), (1, 0, 2, 3)):
        text = "\n".join(["user,timestamp,position,item,click", *(lines[place] for place in order)])
        (tmp_path / "log.csv").write_text(text + "\n")
        report = imported(tmp_path / "log.csv", preset="long", overwrite=True)
        assert left_out(report) == {"row: has more columns than the header": 3}


def test_columns_that_say_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="clicked can't be given beside clicks, which says the same"):
        imported(log(), columns={"clicks": "clicks", "clicked": "clicks"})


def test_sessions_as_one_batch() -> None:
    imported(log(user=["a", "a"]))
    batch = EpisodeBatch.from_minari(ID, progress=False)
    assert batch.filled.tolist() == [[True, True]] and batch.terminated.tolist() == [[False, True]]
    assert batch.slates.tolist() == [[[0, 0], [0, 1], [1, 0]]]
    assert batch.observations["mask"].tolist() == [[[0, 0], [1, 1], [1, 0]]]  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="does not say in which world"):
        batch.available_items()


def test_sessions_are_read_as_minari_reads_them() -> None:
    imported(log(propensity=[[0.5, 0.5], [1.0]]))
    storage = open_dataset(ID).storage
    found, expected = (list(read([0, 1])) for read in (storage.read_sessions, storage.get_episodes))
    assert [one.pop("seed") for one in found] == [0, 1]
    np.testing.assert_equal(found, expected)
    assert [*map(_dtypes, found)] == [*map(_dtypes, expected)]
    (some,) = storage.read_sessions([1], ["slate", "time"])
    assert some.keys() == {"id", "seed", "observations", "infos"}
    assert (some["observations"].keys(), some["infos"].keys()) == ({"slate"}, {"time"})


def _dtypes(part: Any) -> Any:
    return (
        {name: _dtypes(one) for name, one in part.items()}
        if isinstance(part, dict)
        else np.asarray(part).dtype
    )


def test_log_datasets_have_no_world() -> None:
    imported(log())
    with pytest.raises(
        ValueError, match="was imported from a log of another recommender: it has no environment"
    ):
        merge([ID, ID], dataset_id="my/part-v0")


def test_an_interrupted_import_leaves_nothing(
    datasets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(importing, "chunks_of_sessions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        imported(log())
    assert list(datasets_root.rglob("*")) == []
    assert list(tmp_path.glob("gems-gym-*")) == []


def test_changed_maps_are_refused(datasets_root: Path) -> None:
    imported(log())
    (datasets_root / ID / "data" / "artifacts" / "users.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"users\.parquet is not the file that dataset"):
        read_users(ID)


def test_longest_session_of_others_metadata_is_checked(datasets_root: Path) -> None:
    imported(log())
    file = datasets_root / ID / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["log"]["longest_session"] = 10**12
    file.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="longest_session .* must be an integer from 1 to 2"):
        report_dataset(ID, progress=False)


@pytest.mark.parametrize("text", ["", "m", "0m", "0.0004s", "300000d", "-1h", "1 h", "1w", 400 * "9" + "d"])
def test_bad_gaps(text: str) -> None:
    with pytest.raises(ValueError, match="session_gap must be"):
        read_gap(text)
