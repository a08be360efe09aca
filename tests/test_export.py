# SPDX-License-Identifier: GPL-2.0-only
"""Exports, read with the tools they are for: DuckDB, HdrHistogram; simulators' by the format."""

from __future__ import annotations

import csv
import os
import random
import signal
import struct
import subprocess
import sys
import tty
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Tuple

import duckdb
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from live import COMPILED, analyze, run, wait_until
from test_compare import write_traffic

import membench
from membench import CLIENT_ERROR, DELETED, HIT, MISS, NO_SIZE, NONE, NOT_STORED, OK, STORED

STARTED = 1_700_000_000
SECOND = 10**9
A, B, C = (0xAB << 56, 0x123456789ABCDEF0, 7)  # hashes

# In the order of their replies: (second, latency_ns, connection, form, outcome, batch,
# key position, hash, key size, value size, exptime)
ROWS: List[Tuple[Any, ...]] = [
    (0.5, 2000, 1, b"get", MISS, 0, 0, A, 10, NO_SIZE, 0),
    (0.1, 500_000_000, 2, b"mg v t q", MISS, 3, 0, B, 20, NO_SIZE, 0),
    (0.6, 4000, 1, b"set 32", STORED, 0, 0, A, 10, 100, 60),
    (0.7, 4100, 1, b"set 0", CLIENT_ERROR, 0, 0, A, 10, 7, 0),
    (1.0, 8000, 1, b"gets", HIT, 0, 0, A, 10, 100, 0),
    (1.0, 0, 1, b"gets", HIT, 0, 1, B, 20, 300, 0),
    (1.2, 9000, 2, b"setq binary cas", NONE, 0, 0, B, 20, 301, STARTED + 31),
    (1.3, 1000, 2, b"ms MA", STORED, 0, 0, B, 20, 9, -1),
    (1.4, 1000, 2, b"add 0", NOT_STORED, 0, 0, B, 20, 50, 0),
    (1.5, 1000, 2, b"set 0", STORED, 0, 0, C, 5, 1, STARTED - 9),
    (2.0, 1000, 2, b"md q", DELETED, 0, 0, B, 20, NO_SIZE, 0),
    (2.1, 1000, 2, b"gat", MISS, 0, 0, B, 20, NO_SIZE, 60),
    (2.2, 1000, 2, b"ma D2 MD", OK, 0, 0, C, 5, NO_SIZE, 0),
    (2.3, 1000, 2, b"touch", OK, 0, 0, C, 5, NO_SIZE, 60),
    (2.4, 70_000, 3, b'stats "a,b"', OK, 0, 0, 0, 0, NO_SIZE, 0),
    (5.0, 1000, 2, b"get", MISS, 0, 0, 9, 5, NO_SIZE, 0),
    (5.0, 429_000_000_000, 2, b"get", MISS, 0, 1, C, 5, NO_SIZE, 0),
]


def write(path: Path, rows: List[Tuple[Any, ...]], finish: bool = True) -> Path:
    """A profile of these rows."""
    with membench.ProfileWriter(str(path)) as profile:
        header = {"started_unix": STARTED, "started_at": "2023-11-14T22:13:20Z", "ports": [1]}
        profile.start(header, 0)
        server = membench.ServerName("[::1]:11211", "memcached", 1)
        profile.add_connection(0, 1, 1, membench.OPEN, server)
        profile.add_connection(0, 2, 1, membench.OPEN)
        profile.add_connection(0, 3, 1, membench.OPEN)
        profile.add(
            zip(
                *(
                    (int(at * SECOND), *others, key << 16 | key_size, value, exptime)
                    for at, *others, key, key_size, value, exptime in rows
                )
            )
        )
        if finish:
            profile.finish(membench.Ledger(), {"duration_seconds": 6.0})
        else:
            profile.flush(membench.Ledger())
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("export") / "small.profile", ROWS)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_traffic(tmp_path_factory.mktemp("export") / "large.profile", 5, seconds=20)


def export(profile: Path, kind: str) -> str:
    """What is exported, without a process of its own."""
    with membench.ProfileReader(str(profile)) as reader:
        return b"".join(membench.EXPORT_FORMATS[kind](reader)).decode()


def oracle(profile: Path, *, path: Path) -> List[Tuple[int, int, int, int]]:
    done = run("export", str(profile), "--format", "oracle", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return list(struct.iter_unpack("<IQIq", path.read_bytes()))


def test_csv_has_every_operation_in_order_of_time(small: Path) -> None:
    done = run("export", str(small), "--format", "csv")
    assert (done.returncode, done.stderr) == (0, "")
    lines = list(csv.DictReader(done.stdout.splitlines()))
    assert len(lines) == len(ROWS)
    expected = sorted(ROWS, key=lambda row: row[0])
    for line, row in zip(lines, expected):
        at, latency, connection, form, outcome, batch, position, key, size, value, exptime = row
        assert line == {
            "time_ns": str(STARTED * SECOND + round(at * 10) * SECOND // 10),
            "server": "[::1]:11211" if connection == 1 else "",
            "connection": str(connection),
            "batch": str(batch),
            "command": form.decode().split(" ")[0],
            "form": form.decode(),
            "outcome": membench.OUTCOMES[outcome],
            "latency_ns": str(latency or ""),
            "key": f"{key:016x}" if size else "",
            "key_size": str(size),
            "key_position": str(position),
            "value_size": "" if value == NO_SIZE else str(value),
            "exptime": str(exptime),
        }


def test_duckdb_counts_in_the_csv_what_the_analysis_counts(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    assert run("export", str(large), "--format", "csv", str(path)).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    report = analyze(large)
    table = duckdb.read_csv(str(path))
    types = dict(zip(table.columns, map(str, table.types)))
    assert {types[name] for name in ("time_ns", "latency_ns", "value_size", "exptime")} == {
        "BIGINT"
    }
    assert types["key"] == types["outcome"] == "VARCHAR"
    counted: Dict[str, Dict[str, int]] = {}
    for command, outcome, number in table.aggregate("command, outcome, count(*)").fetchall():
        counted.setdefault(command, {})[outcome] = number
    assert counted == {name: one["outcomes"] for name, one in report["commands"].items()}
    sums = "count(DISTINCT key), sum(key_size), sum(value_size), max(latency_ns), count(*)"
    unique, key_bytes, value_bytes, slowest, rows = table.aggregate(sums).fetchone() or ()
    assert (unique, rows) == (report["keys"]["unique"], report["operations"])
    assert slowest == report["latency_us"]["max"] * 1000
    sizes = report["values"]["size_bytes"]
    assert round(value_bytes / sizes["count"], 1) == sizes["mean"]
    assert key_bytes == 20 * rows
    times = [time for (time,) in table.project("time_ns").fetchall()]
    assert times == sorted(times)


def test_twitters_trace(small: Path) -> None:
    a, b, c = f"{A:016x},10", f"{B:016x},20", f"{C:016x},5"
    assert export(small, "twitter").splitlines() == [
        f"0,{b},0,2,get,0",
        f"0,{a},0,1,get,0",
        f"0,{a},100,1,set,60",
        f"0,{a},7,1,set,0",
        f"1,{a},100,1,gets,0",
        f"1,{b},300,1,gets,0",
        f"1,{b},301,2,cas,30",
        f"1,{b},9,2,append,0",
        f"1,{b},50,2,add,0",
        f"1,{c},1,2,set,1",
        f"2,{b},0,2,delete,0",
        f"2,{b},0,2,get,0",
        f"2,{c},0,2,decr,0",
        f"5,{9:016x},5,0,2,get,0",
        f"5,{c},0,2,get,0",
    ]


def test_cachelibs_trace(small: Path) -> None:
    a, b, c = f"{A:016x},10", f"{B:016x},20", f"{C:016x},5"
    assert export(small, "cachelib").splitlines() == [
        "op_time,key,key_size,op,op_count,size,cache_hits,ttl",
        f"0,{b},GET,1,0,0,0",
        f"0,{a},GET,1,0,0,0",
        f"0,{a},SET,1,100,0,60",
        f"1,{a},GET,1,100,1,0",
        f"1,{b},GET,1,300,1,0",
        f"1,{b},SET,1,301,0,30",
        f"1,{c},SET,1,1,0,1",
        f"2,{b},DELETE,1,0,0,0",
        f"2,{b},GET,1,0,0,0",
        f"5,{9:016x},5,GET,1,0,0,0",
        f"5,{c},GET,1,0,0,0",
    ]


def test_oracle_general(small: Path, tmp_path: Path) -> None:
    """A miss has the size of the last value, or of the next; of no value if none is known."""
    assert oracle(small, path=tmp_path / "small.oracleGeneral") == [
        (0, B, 320, 4),
        (0, A, 110, 3),
        (1, A, 110, -1),
        (1, B, 320, 5),
        (2, B, 321, -1),
        (5, 9, 5, -1),
        (5, C, 6, -1),
    ]


@pytest.mark.parametrize("at_a_time", [1, 37, 1 << 16])
def test_next_accesses_across_pieces(
    at_a_time: int, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record's next access is where its key is next: at whatever place pieces end."""
    monkeypatch.setattr(membench, "ORACLE_ROWS", at_a_time)
    with membench.ProfileReader(str(large)) as reader:
        records = list(struct.iter_unpack("<IQIq", b"".join(membench.oracle_records(reader))))
    with membench.ProfileReader(str(large)) as reader:
        keys = [
            row[6] for rows in membench.ordered_rows(reader) for row in rows if row[10] != STORED
        ]
    assert [key for _, key, _, _ in records] == keys
    following: Dict[int, int] = {}
    for number in range(len(records), 0, -1):
        _, key, _, found = records[number - 1]
        assert found == following.get(key, -1)
        following[key] = number
    assert len(following) > 100 and all(size >= 20 for _, _, size, _ in records)


def read_hdr(path: Path) -> Dict[str, HdrHistogram]:
    """All intervals of a log added up, by tag."""
    log = HistogramLogReader(str(path), HdrHistogram(1, membench.HDR_MAX_NS, 3))
    found: Dict[str, HdrHistogram] = {}
    before = 0.0
    while True:
        interval = log.get_next_interval_histogram()
        if interval is None:
            return found
        assert interval.get_start_time_stamp() >= before
        before = interval.get_start_time_stamp()
        assert interval.get_end_time_stamp() - before == 1000
        total = found.setdefault(interval.get_tag(), HdrHistogram(1, membench.HDR_MAX_NS, 3))
        total.add(interval)


def test_hdrhistogram_reads_its_log(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.hlog"
    assert run("export", str(large), "--format", "hdr", str(path)).returncode == 0
    found, report = read_hdr(path), analyze(large)
    latencies: Dict[str, Counter[int]] = {command: Counter() for command in found}
    with membench.ProfileReader(str(large)) as reader:
        for block in reader.blocks():
            for form, ticks in zip(block.form, block.latency):
                latencies[membench.command_of(reader.forms[form])][ticks] += 1
    assert set(found) == set(report["commands"])
    for command, histogram in found.items():
        assert histogram.get_total_count() == report["commands"][command]["requests"]
        assert buckets(histogram) == expected_buckets(latencies[command])


def buckets(histogram: HdrHistogram) -> Dict[int, int]:
    """How many values are in each bucket, by its lowest."""
    return {
        histogram.get_lowest_equivalent_value(item.value_iterated_to): (
            item.count_added_in_this_iter_step
        )
        for item in histogram.get_recorded_iterator()
    }


def expected_buckets(latencies: Dict[int, int]) -> Dict[int, int]:
    """The same of latencies: ticks -> how often."""
    histogram, expected = HdrHistogram(1, membench.HDR_MAX_NS, 3), Counter[int]()
    for ticks, often in latencies.items():
        expected[histogram.get_lowest_equivalent_value(ticks * 100)] += often
    return expected


def test_a_hdr_histogram_holds_every_latency() -> None:
    """Each value is in its bucket, over the whole range."""
    rng = random.Random(1)
    ticks = {int(10 ** rng.uniform(0, 9.63)) for _ in range(3000)} | {1, 2, 2**32 - 1}
    latencies = {tick: 1 + tick % 300 for tick in ticks}
    found = HdrHistogram.decode(membench.hdr_histogram(latencies))
    assert buckets(found) == expected_buckets(latencies)


def test_seconds_and_tags_of_the_log(small: Path) -> None:
    lines = export(small, "hdr").splitlines()
    assert lines[1] == f"#[BaseTime: {STARTED}.000 (seconds since epoch)]"
    assert [line.split(",")[:4] for line in lines if line.startswith("Tag=")] == [
        ["Tag=get", "0.000", "1.000", "0.002"],
        ["Tag=mg", "0.000", "1.000", "500.000"],
        ["Tag=set", "0.000", "1.000", "0.004"],
        ["Tag=add", "1.000", "1.000", "0.001"],
        ["Tag=gets", "1.000", "1.000", "0.008"],
        ["Tag=ms", "1.000", "1.000", "0.001"],
        ["Tag=set", "1.000", "1.000", "0.001"],
        ["Tag=setq", "1.000", "1.000", "0.009"],
        ["Tag=gat", "2.000", "1.000", "0.001"],
        ["Tag=ma", "2.000", "1.000", "0.001"],
        ["Tag=md", "2.000", "1.000", "0.001"],
        ["Tag=stats", "2.000", "1.000", "0.070"],
        ["Tag=touch", "2.000", "1.000", "0.001"],
        ["Tag=get", "5.000", "1.000", "429000.000"],
    ]


def test_a_store_of_unknown_outcome_was_done(tmp_path: Path) -> None:
    outcomes = (NONE, membench.UNANSWERED, membench.LOST, STORED, NOT_STORED)
    rows = [(0.1, 0, 1, b"set 0", each, 0, 0, A, 10, 7, 0) for each in outcomes]
    lines = export(write(tmp_path / "a.profile", rows), "cachelib").splitlines()
    assert lines[1:] == [f"0,{A:016x},10,SET,1,7,0,0"] * 4


# ---- Where it goes ----


def test_an_existing_file_is_kept(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    done = run("export", str(small), "--format", "csv", str(path))
    assert (done.returncode, path.read_text()) == (1, "mine")
    assert done.stderr.startswith(f"membench: error: {path} exists\n") and "--force" in done.stderr
    assert run("export", str(small), "--format", "csv", str(path), "--force").returncode == 0
    assert path.read_text() == export(small, "csv")
    done = run("export", str(small), "--format", "csv", "--force", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_profile_is_not_replaced_by_its_export(small: Path, tmp_path: Path) -> None:
    path, recording = tmp_path / "a.profile", small.read_bytes()
    path.write_bytes(recording)
    (tmp_path / "link").symlink_to(path)
    for profile in (str(path), "-"):
        for output in (str(path), str(tmp_path / "link")):
            with path.open("rb") as stdin:
                arguments = ("export", profile, "--format", "csv", output, "--force")
                done = run(*arguments, stdin=stdin)
            assert (done.returncode, done.stderr.count("\n")) == (2, 2), done.stderr
            assert path.read_bytes() == recording


def test_a_new_file_is_its_own(tmp_path: Path) -> None:
    stranger = tmp_path / f"out.{os.getpid()}.new"
    stranger.write_text("mine")
    with pytest.raises(membench.MembenchError, match="File exists"):
        with membench.new_file(str(tmp_path / "out"), False):
            pass
    assert os.listdir(tmp_path) == [stranger.name]


@pytest.mark.parametrize("arguments", [("export", "--format", "oracle"), ("analyze",)])
def test_a_profile_that_cannot_be_read_on(arguments: Tuple[str, ...], small: Path) -> None:
    """A terminal whose other end is closed gives what was written, then EIO."""
    main, other = os.openpty()
    tty.setraw(other)
    os.write(other, small.read_bytes()[:-20])
    os.close(other)
    with open(main, "rb") as stdin:
        done = run(*arguments, "-", stdin=stdin)
    said = "membench: error: stdin cannot be read: Input/output error\nmembench: "
    assert (done.returncode, done.stderr[: len(said)]) == (1, said)


@pytest.mark.parametrize("kind", ["csv", "oracle"])
def test_a_full_disk_leaves_nothing_half_made(kind: str, large: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(60 << 10))
    old = small_disk / "old"
    old.write_text("mine")
    environment = {**os.environ, "TMPDIR": str(small_disk)}
    for name in ("new", "old"):
        done = run(
            *("export", str(large), "--format", kind, str(small_disk / name), "--force"),
            env=environment,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("membench: error: cannot write ")
        assert "No space left on device\n" in done.stderr and done.stderr.count("\n") == 2
        assert sorted(os.listdir(small_disk)) == ["old", "other"]
        assert old.read_text() == "mine"


def test_a_reader_that_exits(large: Path) -> None:
    for kind in ("csv", "oracle"):
        process = subprocess.Popen(
            [sys.executable, str(COMPILED), "export", str(large), "--format", kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read().splitlines() == [
            "membench: error: the reader of stdout has exited",
            "membench: what it received is incomplete",
        ]
        assert process.wait(60) == 1
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(number: int, small: Path, tmp_path: Path) -> None:
    """In the middle of an export: it waits for the rest of its input."""
    with subprocess.Popen(
        [sys.executable, str(COMPILED), "export", "-", "--format", "csv", str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stderr
        process.stdin.write(small.read_bytes()[:-20])
        process.stdin.flush()
        wait_until("its file", lambda: os.listdir(tmp_path))
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert b"Traceback" not in process.stderr.read()
    assert os.listdir(tmp_path) == []


def test_what_is_truncated_or_lost_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.profile", ROWS, finish=False)
    done = run("export", str(path), "--format", "csv")
    assert done.returncode == 0 and done.stdout.count("\n") == len(ROWS) + 1
    assert "cut.profile is truncated; its complete blocks were exported" in done.stderr
    ledger = membench.Ledger()
    ledger.seen_bytes, ledger.lost_bytes = 1000, 100
    lossy = write_traffic(tmp_path / "lossy.profile", 1, seconds=2, ledger=ledger)
    done = run("export", str(lossy), "--format", "hdr", os.devnull)
    assert "lossy.profile is incomplete: 90.00%: LOST 100 of 1,000 bytes" in done.stderr


def test_a_profile_without_operations(tmp_path: Path) -> None:
    path = tmp_path / "empty.profile"
    with membench.ProfileWriter(str(path)) as profile:
        profile.start({"started_unix": STARTED, "ports": []}, 0)
        profile.finish(membench.Ledger(), {"duration_seconds": 1.0})
    lines = {kind: export(path, kind).count("\n") for kind in membench.EXPORT_FORMATS}
    assert lines == {"csv": 1, "twitter": 0, "oracle": 0, "cachelib": 1, "hdr": 4}


@pytest.mark.parametrize("profile", ["/dev/null", "/nonexistent"])
def test_what_is_no_profile_leaves_no_file(profile: str, tmp_path: Path) -> None:
    done = run("export", profile, "--format", "csv", str(tmp_path / "out"))
    assert (done.returncode, done.stderr.count("\n"), os.listdir(tmp_path)) == (1, 2, [])


def test_usage(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([str(small)], [str(small), "--format", "xml"], ["--format", "csv"]):
        assert membench.main(["export", *arguments]) == 2
        said = capsys.readouterr()
        assert (said.err.count("\n"), said.out) == (2, "")
