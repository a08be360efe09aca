# SPDX-License-Identifier: GPL-2.0-only
"""Slices of a recording, in reports and exports; and the slowest requests."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import pytest
from live import run
from test_compare import write_traffic

import membench
from membench import HIT, MISS, NO_SIZE, STORED, Slice, Wanted

STARTED = 1_700_000_000
SECONDS = 40
SERVERS = ("127.0.0.1:11211", "127.0.0.1:11212", "")  # of connections by number % 3


class Row(NamedTuple):
    """An operation."""

    at: float  # seconds since the start
    connection: int
    command: str
    outcome: int
    key: int
    size: int
    latency_us: float


def write(path: Path, seed: int) -> List[Row]:
    """A profile of random rows, in several blocks; and the rows."""
    rng = random.Random(seed)
    rows: List[Row] = []
    with membench.ProfileWriter(str(path)) as profile:
        profile.start({"started_unix": STARTED + 0.25, "ports": [1]}, 0)
        for number in range(1, 10):
            address = SERVERS[number % 3]
            server = membench.ServerName(address, "memcached", 1) if address else None
            profile.add_connection(0, number, 1, membench.OPEN, server)
        for _ in range(8):
            new = []
            for _ in range(200):
                at = rng.randrange(-1, SECONDS * 10) / 10
                outcome = rng.choice((HIT, MISS, STORED))
                command = "set" if outcome == STORED else rng.choice(("get", "mg"))
                size = NO_SIZE if outcome == MISS else rng.randrange(1000)
                latency = rng.randrange(1, 10**5) / 10
                new.append(
                    Row(
                        at, rng.randrange(1, 10), command, outcome, rng.randrange(90), size, latency
                    )
                )
            profile.add(
                zip(
                    *(
                        (
                            *(round(row.at * 10**9), round(row.latency_us * 1000)),
                            *(row.connection, row.command.encode(), row.outcome, 0, 0),
                            *((row.key + 1) << 16 | 20, row.size, 0),
                        )
                        for row in new
                    )
                )
            )
            profile.flush(membench.Ledger())
            rows += new
        profile.finish(membench.Ledger(), {"duration_seconds": float(SECONDS)})
    return rows


def takes(part: Slice, row: Row) -> bool:
    """Is it in the slice? As the options are documented."""
    begin, end = (at - STARTED - 0.25 if at and at > 1e9 else at for at in (part.begin, part.end))
    return (
        (begin is None or row.at >= begin)
        and (end is None or row.at < end)
        and (not part.commands or row.command in part.commands)
        and (not part.connections or row.connection in part.connections)
        and (not part.server or SERVERS[row.connection % 3] == part.server)
    )


def random_slice(rng: random.Random) -> Slice:
    unix = rng.choice((0, STARTED + 0.25))
    begin: Optional[float] = rng.choice((None, unix + rng.randrange(1, SECONDS)))
    end: Optional[float] = rng.choice((None, unix + rng.randrange(1, SECONDS)))
    return Slice(
        begin,
        end,
        rng.choice(((), ("get",), ("set", "mg"), ("touch",))),
        rng.choice(((), (1,), (2, 5, 77))),
        rng.choice(("", SERVERS[0], "nowhere:1")),
    )


def analyze(path: Path, *options: str) -> Dict[str, Any]:
    """What --json prints, without a process of its own."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert membench.main(["analyze", "--json", str(path), *options]) == 0
    report: Dict[str, Any] = json.loads(said.getvalue())
    return report


@pytest.mark.parametrize("processes", [1, 2])
def test_a_slice_is_what_its_rows_are(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membench, "TWO_PROCESSES_BYTES", 0 if processes == 2 else 1 << 40)
    path = tmp_path / "a.profile"
    rows, rng = write(path, 1), random.Random(2)
    empty = 0
    for _ in range(40):
        part = random_slice(rng)
        counts, report = membench.analyze_whole([str(path)], Wanted(part, 7))
        taken = [row for row in rows if takes(part, row)]
        empty += not taken
        outcomes = Counter(membench.OUTCOMES[row.outcome] for row in taken)
        assert report["operations"] == len(taken)
        assert report["outcomes"] == outcomes
        assert {name: one["operations"] for name, one in report["commands"].items()} == Counter(
            row.command for row in taken
        )
        assert report["keys"]["unique"] == len({row.key for row in taken})
        assert report["slice"]["left_out"] == len(rows) - len(taken)
        assert counts.value_sizes == Counter(row.size for row in taken if row.size != NO_SIZE)
        slowest = sorted((row.latency_us for row in taken), reverse=True)[:7]
        assert [one["latency_us"] for one in report["slowest"]] == slowest
    assert 3 < empty < 35


def test_rates_and_timeline_are_of_the_slice(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    rows = write(path, 3)
    unix = f"{STARTED + 5.25}"
    for begin in ("5s", "+5s", unix, "2023-11-14T22:13:25.250Z", "2023-11-14T23:13:25.250+01:00"):
        report = analyze(path, "--from", begin, "--to", "0m15s")
        taken = sum(5 <= row.at < 15 for row in rows)
        assert report["operations"] == taken
        assert report["slice"]["duration_seconds"] == 10
        assert report["operations_per_second"] == taken / 10
        assert sum(report["timeline"]["operations"]) == taken
        assert sum(report["timeline"]["recorded_seconds"]) == pytest.approx(10, abs=0.5)
    assert analyze(path, "--from", "30s")["slice"]["duration_seconds"] == SECONDS - 30
    report = analyze(path, "--from", "1h")
    assert (report["operations"], report["operations_per_second"]) == (0, None)


def test_without_options_nothing_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    rows = write(path, 4)
    report = analyze(path)
    assert report["operations"] == len(rows)
    assert not {"slice", "slowest"} & report.keys()
    assert "SLICE" not in run("analyze", str(path)).stdout


def test_what_the_text_says(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    rows = write(path, 5)
    taken = sum(row.command == "mg" and row.connection == 4 and row.at < 20 for row in rows)
    options = ("--to", "20s", "--command", "mg", "--connection", "4")
    text = " ".join(run("analyze", str(path), *options).stdout.split())
    assert "SLICE: to 20s, command mg, connection 4; 20.0 s. " in text
    assert f" {len(rows) - taken:,} operations are left out. Connections and coverage are" in text
    assert "Pipelining" not in text, "the rest of each read is not known"
    text = run("analyze", str(path), "--command", "nope").stdout
    assert "No operations are in this slice." in text


def test_an_export_of_a_slice(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    rows = write(path, 6)
    options = ("--from", "10s", "--server", SERVERS[1], "--command", "get", "--command", "set")
    done = run("export", str(path), "--format", "csv", *options)
    taken = [
        row
        for row in rows
        if row.at >= 10 and row.connection % 3 == 1 and row.command in ("get", "set")
    ]
    lines = list(csv.DictReader(done.stdout.splitlines()))
    assert Counter(line["outcome"] for line in lines) == Counter(
        membench.OUTCOMES[row.outcome] for row in taken
    )
    assert done.stderr == (
        f"membench: {len(rows) - len(taken):,} of {len(rows):,} operations are not in this slice\n"
    )
    for kind, lines_of in membench.EXPORT_FORMATS.items():
        with membench.ProfileReader(str(path)) as reader:
            reader.part = Slice(begin=7200.0)
            assert b"get" not in b"".join(lines_of(reader)), kind


def test_the_slowest_requests(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    rows: Sequence[Sequence[Any]] = [
        (10**9, 500_000, 1, b"get", HIT, 2, 0, 1 << 16 | 9, 1000, 0),
        (10**9, 0, 1, b"get", MISS, 2, 1, 2 << 16 | 9, NO_SIZE, 0),
        (10**9, 0, 1, b"get", HIT, 2, 2, 3 << 16 | 9, 500, 0),
        (2 * 10**9, 700_000, 2, b"delete", MISS, 0, 0, 1 << 16 | 9, NO_SIZE, 0),
        (3 * 10**9, 100, 3, b"set 0", STORED, 0, 0, 1 << 16 | 9, 5, 0),
        (4 * 10**9, 0, 3, b"set 0 noreply", 0, 1, 0, 1 << 16 | 9, 5, 0),
        (5 * 10**9, 900_000, 4, b"get", HIT, 0, 1, 1 << 16 | 9, 5, 0),  # begins no request
    ]
    with membench.ProfileWriter(str(path)) as profile:
        profile.start({"started_unix": STARTED, "ports": [1]}, 0)
        profile.add(zip(*rows))
        profile.finish(membench.Ledger(), {"duration_seconds": 9.0})
    found = analyze(path, "--slowest", "10")["slowest"]
    names = ("time", "connection", "command", "batch", "keys", "value_bytes", "latency_us")
    assert [tuple(one[name] for name in names) for one in found] == [
        ("2023-11-14T22:13:22.000Z", 2, "delete", 0, 1, None, 700.0),
        ("2023-11-14T22:13:21.000Z", 1, "get", 2, 3, 1500, 500.0),
        ("2023-11-14T22:13:23.000Z", 3, "set", 0, 1, 5, 0.1),
    ]
    assert {one["profile"] for one in found} == {str(path)}
    assert len(analyze(path, "--slowest", "1")["slowest"]) == 1
    lines = run("analyze", str(path), "--slowest", "2").stdout.splitlines()
    at = lines.index("Slowest requests")
    assert [line.split() for line in lines[at + 2 : at + 5]] == [
        ["22:13:22.000", "2", "delete", "0", "1", "-", "700"],
        ["22:13:21.000", "1", "get", "2", "3", "1.5K", "500"],
        [],
    ]


def test_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_traffic(tmp_path / "a.profile", 1, seconds=1))
    for options in (
        ["--from", "20s", "--to", "10s"],
        ["--from", "yesterday"],
        ["--from", "2026-11-25T12:00:00"],
        ["--connection", "-1"],
        ["--slowest", "0"],
        ["--why", "--command", "get"],
        ["--mrc", "--to", "1s"],
    ):
        assert membench.main(["analyze", path, *options]) == 2, options
        said = capsys.readouterr()
        assert (said.err.count("\n"), said.out) == (2, ""), options
