# SPDX-License-Identifier: GPL-2.0-only
"""Analysis: the report is what counting the operations one by one gives.

`plain_report` counts rows in the plainest way. The report must be the same to the letter, on
profiles of many shapes.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import struct
import threading
import time
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import pytest
from live import repeats

import membench
from membench import (
    BLOCK_ROWS_MAX,
    NO_SIZE,
    OPEN,
    OUTCOMES,
    RECV,
    SERVED,
    TICK_NS,
    TICKS_PER_SECOND,
    Ledger,
    MembenchError,
    Operation,
    ProfileError,
    ProfileWriter,
    ServerName,
)

HIT = OUTCOMES.index("hit")
DAY = 24 * 60 * 60

# ---- Counting in the plainest way ----


class Row(NamedTuple):
    """An operation as it is in a profile."""

    tick: int
    ticks: int  # latency
    server: Tuple[str, ServerName]
    form: str
    outcome: str
    batch: int
    place: int
    key_hash: int
    key_size: int
    value_size: int
    exptime: int
    now: int  # Unix time of the first row of its block

    @property
    def command(self) -> str:
        return self.form.split(" ")[0]


def share_of(values: Sequence[int], share: float) -> int:
    """The smallest value that at least this share does not exceed."""
    return sorted(values)[math.ceil(len(values) * share) - 1]


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


def latency(rows: Iterable[Row]) -> Optional[Dict[str, float]]:
    ticks = [row.ticks for row in rows if row.ticks]
    if not ticks:
        return None
    shares = {**SHARES, "max": 1}
    return {name: share_of(ticks, share) * TICK_NS / 1000 for name, share in shares.items()}


def sizes(values: Sequence[int]) -> Optional[Dict[str, float]]:
    if not values:
        return None
    return {
        "count": len(values),
        "min": min(values),
        "mean": round(sum(values) / len(values), 1),
        **{name: share_of(values, share) for name, share in SHARES.items()},
        "max": max(values),
    }


def histogram(values: Sequence[int]) -> List[Dict[str, int]]:
    limits = [1 << power for power in range(33)]
    found = Counter(min(limit for limit in limits if limit >= value) for value in values)
    return [{"up_to": limit, "count": found[limit]} for limit in sorted(found)]


BINARY_GETS = {"getk", "getkq", "getq", "gat", "gatk", "gatkq", "gatq", "get"}
GETS = {"get", "gets", "gat", "gats", "mg"} | BINARY_GETS
WITH_TTL = {
    *("set", "add", "replace", "cas", "touch", "gat", "gats", "ms", "mg", "ma"),
    *("setq", "addq", "replaceq", "gatq", "gatk", "gatkq"),
}


def grouped(pairs: Iterable[Tuple[Any, Row]]) -> Dict[Any, List[Row]]:
    found: Dict[Any, List[Row]] = {}
    for name, row in pairs:
        found.setdefault(name, []).append(row)
    return found


def ttl_report(rows: List[Row]) -> Dict[str, Any]:
    ttls = []
    for row in rows:
        if row.command in WITH_TTL and (row.command not in ("mg", "ma") or row.exptime):
            ttl = row.exptime
            if ttl > 30 * DAY:
                ttl = ttl - row.now if ttl > row.now else -1
            ttls.append(max(ttl, -1))
    set_ttls = [ttl for ttl in ttls if ttl > 0]
    return {"none": ttls.count(0), "expired": ttls.count(-1), "set": sizes(set_ttls)}


def group_report(rows: List[Row], duration: float) -> Dict[str, Any]:
    """Of all operations, of a command's or of a server's."""
    found = Counter(row.outcome for row in rows)
    hits, misses = found["hit"], found["miss"]
    return {
        "operations": len(rows),
        "operations_per_second": round(len(rows) / duration, 1),
        "hits": hits,
        "misses": misses,
        "hit_ratio": hits / (hits + misses) if hits + misses else None,
        "outcomes": {name: found[name] for name in OUTCOMES if found[name]},
        "latency_us": latency(rows),
    }


def timeline_report(rows: List[Row], duration: float) -> Dict[str, Any]:
    """Of profiles that begin together."""
    seconds = [max(row.tick // TICKS_PER_SECOND, 0) for row in rows]
    first = min(seconds)
    step = (max(seconds) - first) // 60 + 1
    found = Counter((second - first) // step for second in seconds)
    operations = [found[n] for n in range(max(found) + 1)]
    recorded = [max(min(duration - first - n * step, step), 0) for n in range(len(operations))]
    for n in range(1, len(operations)):
        if recorded[n] < 0.5 <= recorded[n - 1]:
            for column in (operations, recorded):
                column[n - 1 : n + 1] = [column[n - 1] + column[n], 0]
            if n == len(operations) - 1:
                del operations[n], recorded[n]
            break
    return {
        "step_seconds": step,
        "operations": operations,
        "recorded_seconds": [round(float(time), 3) for time in recorded],
    }


def keys_report(rows: List[Row]) -> Dict[str, Any]:
    keyed = [row for row in rows if row.key_size]
    found = Counter(row.key_hash for row in keyed)
    top = sorted(found.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return {
        "unique": len(top),
        "size_bytes": sizes([row.key_size for row in keyed]),
        "top": [
            {"key": f"{key:016x}", "operations": count, "share": count / len(keyed)}
            for key, count in top[:10]
        ],
    }


def mean(total: int, count: int) -> Optional[float]:
    return round(total / count, 2) if count else None


def plain_report(rows: List[Row], duration: float) -> Dict[str, Any]:
    """What `analyze --json` must print, but for profiles, connections and loss."""
    firsts = [row for row in rows if row.place == 0]
    gets = [row for row in rows if row.command in GETS]
    values = [row.value_size for row in rows if row.value_size != NO_SIZE]
    alone = sum(row.batch == 0 for row in firsts)
    asked = Counter(row.command for row in firsts)
    by_command = grouped((row.command, row) for row in rows)
    return {
        "requests": len(firsts),
        **group_report(rows, duration),
        "commands": {
            command: {
                "requests": asked[command],
                **group_report(by_command[command], duration),
            }
            for command in sorted(by_command, key=lambda name: (-len(by_command[name]), name))
        },
        "keys": keys_report(rows),
        "values": {"size_bytes": sizes(values), "histogram": histogram(values)},
        "key_size_histogram": histogram([row.key_size for row in rows if row.key_size]),
        "ttl_seconds": ttl_report(rows),
        "noreply_requests": sum(row.form.endswith(" noreply") for row in firsts),
        "pipelining": {
            "mean_depth": mean(len(firsts), alone),
            "max_depth": max((row.batch + 1 for row in firsts), default=0),
        },
        "keys_per_get": {
            "mean": mean(len(gets), sum(row.place == 0 for row in gets)),
            "max": max((row.place + 1 for row in gets), default=0),
        },
        "timeline": timeline_report(rows, duration),
    }


def plain_servers(rows: List[Row], duration: float) -> Dict[str, Any]:
    """(host, server) -> what is reported of it, but for connections."""
    found = {}
    for server, its in grouped((row.server, row) for row in rows).items():
        found[json.dumps(server)] = {
            "share": len(its) / len(rows),
            **group_report(its, duration),
        }
    return found


# ---- Profiles of many shapes ----

FORMS = (
    *(b"get", b"gets", b"gat", b"gats", b"mg v t q", b"mg", b"mg noreply", b"ma N60", b"md q"),
    *(b"set 0", b"set 32 noreply", b"cas 5", b"add 1", b"ms T0", b"incr 1", b"delete"),
    *(b"delete noreply", b"touch", b"touch noreply", b"me", b"mn", b"stats", b"version"),
    *(b"getkq binary", b"setq binary 0", b"deleteq binary", b"invalid"),
)
START_NS = 5_000_000_000
STARTED_UNIX = 1_700_000_000.75
UNKNOWN = ServerName("", "", 0)


class Shape:
    """What a profile is like; chosen at random."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        choice = rng.choice
        self.forms = rng.sample(FORMS, rng.randint(1, len(FORMS)))
        # More forms than one byte can number, and more commands.
        self.forms += [b"incr %d" % number for number in range(choice((0, 0, 0, 300)))]
        self.forms += [b"word%d" % number for number in range(choice((0, 0, 0, 0, 0, 300)))]
        self.connections = choice((1, 20, 255, 256, 3000, 70_000))
        self.servers = [
            ServerName(f"127.0.0.1:{number}", "memcached", number)
            for number in range(1, 1 + choice((0, 1, 1, 3, 600)))
        ]
        if len(self.servers) > 255:
            self.connections = 3000
        self.several_keys = choice((False, True, True))
        self.pipelined = choice((False, True))
        self.latencies = choice(((0,), (1, 99, 100, 70_000), (0, 25_599, 1 << 30, 1 << 60)))
        self.step_ns = choice((1000, 10**6, 10**9))
        self.back = choice((0, 0, 1, 3))  # how often time goes back
        self.sizes = choice(((NO_SIZE,), (0, 1, 255, 256, NO_SIZE), (17, 65_535, 65_536, 1 << 31)))
        self.exptimes = choice(
            ((0,), (0, 0, 0, 60), (-1, 0, 300, 2**31 - 1, -(2**31), 1_700_000_003, 1_800_000_000))
        )
        key_sizes = choice(((20,), (1, 17, 250), (1, 250, 300, 65_535)))
        count = choice((1, 12, 2000))
        self.codes = [rng.getrandbits(64) << 16 | choice(key_sizes) for _ in range(count)]
        self.codes += choice(((), (0,), (self.codes[0] ^ 1,)))  # none; one hash, two sizes

    def operations(self, count: int, time_ns: int) -> List[Operation]:
        """So many operations, or some more: requests are whole, more or less."""
        rng = self.rng
        rows: List[Operation] = []
        while len(rows) < count:
            time_ns += rng.randint(-self.step_ns * (rng.randrange(5) < self.back), self.step_ns)
            batch = rng.choice((0, 0, 1, 2, 255, 256, 70_000)) if self.pipelined else 0
            keys = rng.choice((1, 1, 2, 5, 70)) if self.several_keys else 1
            connection = rng.randrange(self.connections) + rng.randrange(2)
            form = rng.choice(self.forms)
            for place in range(rng.randrange(20) == 0 and keys > 1, keys):
                rows.append(
                    (
                        time_ns,
                        rng.choice(self.latencies) * TICK_NS,
                        connection,
                        form,
                        rng.randrange(len(OUTCOMES)),
                        batch,
                        place,
                        rng.choice(self.codes),
                        rng.choice(self.sizes),
                        rng.choice(self.exptimes),
                    )
                )
        return rows


class Written(NamedTuple):
    """A profile, and what is in it."""

    path: Path
    rows: List[Row]
    connections: Counter[str]  # by server, as JSON


def write_profile(path: Path, shape: Shape, counts: Sequence[int], host: str) -> Written:
    """A block of each count of operations."""
    rng = shape.rng
    of_connection: Dict[int, ServerName] = {}
    rows: List[Row] = []
    header = {"source": "ebpf:any", "hook": "sock", "host": host, "ports": [1]}
    with ProfileWriter(str(path), force=True) as profile:
        profile.start({**header, "started_unix": STARTED_UNIX}, START_NS)
        most = 900 if len(shape.servers) > 255 else rng.randrange(400)
        opened = min(most, shape.connections)
        for number in range(1, 1 + opened):
            server = rng.choice([*shape.servers, None])
            profile.add_connection(START_NS, number, 1, rng.choice((OPEN, RECV)), server)
            if server:
                of_connection[number] = server
        time_ns = START_NS
        for count in counts:
            operations = shape.operations(count, time_ns)
            assert len(operations) <= BLOCK_ROWS_MAX
            profile.add(zip(*operations))
            if opened and shape.servers and rng.randrange(2):  # it comes out late
                number, server = rng.randint(1, opened), rng.choice(shape.servers)
                profile.add_connection(time_ns, number, 1, SERVED, server)
                of_connection[number] = server
            profile.flush(Ledger())
            first_tick = (operations[0][0] - START_NS) // TICK_NS
            now = int(STARTED_UNIX + first_tick / TICKS_PER_SECOND)
            for at, took, number, form, outcome, batch, place, code, size, exptime in operations:
                server = of_connection.get(number, UNKNOWN)
                rows.append(
                    Row(
                        (at - START_NS) // TICK_NS,
                        min(took // TICK_NS, 2**32 - 1),
                        (host, server),
                        form.decode(),
                        OUTCOMES[outcome],
                        min(batch, 2**16 - 1),
                        place,
                        code >> 16,
                        code & 0xFFFF,
                        size,
                        exptime,
                        now,
                    )
                )
            time_ns = operations[-1][0]
        profile.finish(Ledger(), {"duration_seconds": 2.5})
    served = Counter(json.dumps((host, server)) for server in of_connection.values())
    return Written(path, rows, served)


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def processes(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """Analysis is done in so many processes, whatever the machine and the size of the file."""
    number: int = request.param
    set_processes(monkeypatch, number)
    return number


def set_processes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(membench, "TWO_PROCESSES_BYTES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(number)))


# ---- The report ----


@pytest.mark.parametrize("seed", range(30))
def test_the_report_is_what_counting_one_by_one_gives(
    seed: int, tmp_path: Path, processes: int
) -> None:
    rng = random.Random(seed)
    counts = [rng.choice((1, 2, 300, 1024, 1025, 2000)) for _ in range(rng.randint(1, 4))]
    written = [write_profile(tmp_path / "a", Shape(rng), counts, "a")]
    if rng.randrange(3) == 0:
        shape = Shape(rng)
        written.append(write_profile(tmp_path / "b", shape, counts[:2], rng.choice("ab")))
    rows = [row for one in written for row in one.rows]
    paths = [str(one.path) for one in written]
    expected = json.dumps(plain_report(rows, 2.5))
    report = membench.analyze(paths)
    servers = {
        json.dumps((one.pop("host"), [one.pop(name) for name in ServerName._fields])): one
        for one in report["servers"]
    }
    connections = Counter({name: one.pop("connections") for name, one in servers.items()})
    assert report["keys"].pop("comparable")
    assert json.dumps({name: report[name] for name in json.loads(expected)}) == expected
    assert +connections == sum((one.connections for one in written), Counter())
    busy = {name: one for name, one in servers.items() if one["operations"]}
    assert busy == plain_servers(rows, 2.5)


def test_profiles_of_each_kind_are_tried() -> None:
    """Else the test above would not see what it is for."""
    shapes = [Shape(random.Random(seed)) for seed in range(30)]
    for wanted in (255, 256, 70_000):
        assert any(shape.connections == wanted for shape in shapes)
    assert any(len(shape.servers) > 255 for shape in shapes)
    assert any(300 < len(shape.forms) < 400 for shape in shapes)
    assert any(len({form.split()[0] for form in shape.forms}) > 256 for shape in shapes)


def write_blocks(
    path: Path, blocks: Iterable[List[Operation]], duration: float = 2.5, **header: Any
) -> Path:
    """A profile of these operations. Returns its path."""
    with ProfileWriter(str(path), force=True) as profile:
        header = {"source": "ebpf:any", "ports": [1], "started_unix": STARTED_UNIX, **header}
        profile.start(header, START_NS)
        for operations in blocks:
            profile.add(zip(*operations))
            profile.flush(Ledger())
        profile.finish(Ledger(), {"duration_seconds": duration})
    return path


def test_the_hits_of_all_commands_add_up(tmp_path: Path) -> None:
    """Whatever command has whatever outcome, hits and misses are those outcomes and no other."""
    rows = [
        (START_NS, TICK_NS, 1, form, outcome, 0, 0, 0, NO_SIZE, 0)
        for form in FORMS
        for outcome in range(len(OUTCOMES))
    ]
    report = membench.analyze([str(write_blocks(tmp_path / "a", [rows]))])
    for name, outcome in (("hits", "hit"), ("misses", "miss")):
        commands = report["commands"].values()
        assert report[name] == sum(command[name] for command in commands) == len(FORMS)
        assert all(command[name] == command["outcomes"][outcome] for command in commands)
        assert sum(server[name] for server in report["servers"]) == report[name]


@pytest.mark.parametrize("others", [0, 2])
def test_hits_that_were_not_recorded_are_not_counted_as_none(others: int, tmp_path: Path) -> None:
    rows = [(START_NS, 0, 1, b"get", membench.NONE, 0, 0, 1 << 16 | 20, NO_SIZE, 0)]
    paths = [str(write_blocks(tmp_path / "a", [rows], responses=False))]
    if others:
        paths.append(str(write_blocks(tmp_path / "b", [gets(range(others))])))
    report = membench.analyze(paths)
    for part in (report, report["commands"]["get"], report["servers"][0]):
        assert (part["hits"], part["misses"]) == ((others, 0) if others else (None, None))
        assert part["outcomes"] == {**({"hit": others} if others else {}), "not_recorded": 1}
    assert report["hit_ratio"] == (1.0 if others else None)


@pytest.mark.parametrize("lag_ns", [0, 60_000_000])
def test_a_steady_rate_is_a_level_timeline(lag_ns: int, tmp_path: Path) -> None:
    """Though the recording goes on for less than a column, and rows are from before its begin."""
    rows = [(START_NS - lag_ns + n * 10**7, *gets([n])[0][1:]) for n in range(1000)]
    path = write_blocks(tmp_path / "a", [rows], duration=10 - lag_ns / 1e9)
    found = membench.analyze([str(path)])["timeline"]
    assert found["step_seconds"] == 1 and sum(found["operations"]) == 1000
    rates = [n / time for n, time in zip(found["operations"], found["recorded_seconds"])]
    assert len(rates) == 10 and rates == pytest.approx([100] * 10, rel=0.07)


@pytest.mark.parametrize(("later", "peak"), [(0.3, 200), (10.2, 100), (86400, 100)])
def test_timelines_of_profiles_are_added_where_they_were_at_one_time(
    later: float, peak: int, tmp_path: Path
) -> None:
    rows = [(START_NS + n * 10**7, *gets([n])[0][1:]) for n in range(1000)]
    one = write_blocks(tmp_path / "a", [rows], duration=10.0)
    two = write_blocks(tmp_path / "b", [rows], duration=10.0, started_unix=STARTED_UNIX + later)
    report = membench.analyze([str(one), str(two)])
    found = report["timeline"]
    assert sum(found["operations"]) == 2000 and len(found["operations"]) <= 60
    assert sum(found["recorded_seconds"]) == (11 if later < 1 else 20)  # in whole seconds
    rates = [n / time for n, time in zip(found["operations"], found["recorded_seconds"]) if time]
    assert max(rates) == pytest.approx(peak, rel=0.01)
    assert f"peak {peak})" in membench.render(report)


def gets(keys: Iterable[int], latencies: Iterable[int] = itertools.repeat(7)) -> List[Operation]:
    """A hit for each key, by their hashes."""
    return [
        (START_NS, ticks * TICK_NS, 1, b"get", HIT, 0, 0, key << 16 | 20, 100, 0)
        for key, ticks in zip(keys, latencies)
    ]


def test_equal_profiles_compare_as_equal_however_they_are_cut(
    tmp_path: Path, processes: int
) -> None:
    for seed in range(4):
        rng = random.Random(seed)
        rows = Shape(rng).operations(2000, START_NS)
        one = write_blocks(tmp_path / "a", [rows])
        two = write_blocks(tmp_path / "b", [rows[:1], rows[1:900], rows[900:]])
        assert membench.compare_exactly(str(one), str(two))["verdict"] == "same"
        del rows[rng.randrange(len(rows))]
        three = write_blocks(tmp_path / "c", [rows])
        assert membench.compare_exactly(str(one), str(three))["verdict"] == "changed"


def test_more_commands_over_profiles_than_a_byte_can_number(tmp_path: Path, processes: int) -> None:
    """No membench has so many, but a file may. The second profile's first ones are late."""
    paths = []
    for first in (0, 200):
        commands = [b"word%d" % number for number in range(first, first + 300)]
        rows = [(START_NS, TICK_NS, 1, word, HIT, 0, 0, 0, NO_SIZE, 0) for word in commands]
        path = tmp_path / str(first)
        paths.append(str(write_blocks(path, [rows[:1], rows[1:200], rows[200:]])))
    found = membench.analyze(paths)["commands"]
    assert list(found) == [
        *(f"word{number}" for number in range(200, 300)),  # in both
        *sorted(f"word{number}" for number in (*range(200), *range(300, 500))),
    ]
    assert sum(command["operations"] for command in found.values()) == 600


# ---- Bounds ----


def test_of_too_many_keys_a_sample_and_the_hottest_are_kept(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many there are is told within a few percent, the hottest exactly, and that it is so."""
    monkeypatch.setattr(membench, "KEYS_MAX", 4000)
    rng = random.Random(3)
    hot = [rng.getrandbits(64) for _ in range(10)]
    blocks = []
    for _ in range(60):
        keys = [rng.getrandbits(64) for _ in range(1000)]
        keys += [key for number, key in enumerate(hot) for _ in range(20 - number)]
        rng.shuffle(keys)
        blocks.append(gets(keys))
    path = write_blocks(tmp_path / "a", blocks, key_space="x")
    counts, report = membench.analyze_whole([str(path)])
    assert len(counts.keys.counts) <= 4000
    keys = report["keys"]
    assert keys["estimated"]
    assert abs(keys["unique"] / 60_010 - 1) < 0.1
    operations = report["operations"]
    assert keys["top"] == [
        {"key": f"{key:016x}", "operations": 60 * (20 - number),
         "share": 60 * (20 - number) / operations}
        for number, key in enumerate(hot)
    ]  # fmt: skip
    assert f"about {keys['unique']:,} distinct" in membench.render(report)
    exact = membench.compare_exactly(str(path), str(path))["lines"]
    verdicts = {line["name"]: line["verdict"] for line in exact}
    for name in ("distinct keys", "key popularity", "which keys"):
        assert verdicts[name] is None
    assert verdicts["key sizes"] == "same"


def test_as_many_keys_as_are_kept_are_counted_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membench, "KEYS_MAX", 4000)
    path = write_blocks(tmp_path / "a", [gets(range(2000)), gets(range(1000, 4000))])
    keys = membench.analyze([str(path)])["keys"]
    assert keys["unique"] == 4000
    assert "estimated" not in keys


@pytest.mark.parametrize("block", [100, 1000, 5000])
def test_too_many_latencies_are_rounded(
    block: int, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, to 3 digits, wherever blocks end; what is counted stays right."""
    monkeypatch.setattr(membench, "DISTINCT_MAX", 2000)
    rng = random.Random(4)
    ticks = [rng.randrange(1, 100_000) for _ in range(5000)]
    rows = gets(range(5000), ticks)
    blocks = [rows[first : first + block] for first in range(0, len(rows), block)]
    counts, report = membench.analyze_whole([str(write_blocks(tmp_path / "a", blocks))])
    rounded = [tick - tick % 10 ** max(len(str(tick)) - 3, 0) for tick in ticks]
    for group in (counts.whole, *counts.commands.values(), *counts.servers.values()):
        assert group.latencies == Counter(rounded)
    assert report["commands"]["get"]["outcomes"] == {"hit": 5000}


def test_memory_does_not_grow_with_operations(tmp_path: Path, processes: int) -> None:
    """Six times the operations on the same keys take as much memory."""
    rng = random.Random(5)
    draws = range(repeats(20_000, 2))
    rows = gets(*zip(*((rng.randrange(2000), rng.randrange(3000)) for _ in draws)))
    peaks = []
    for blocks in (5, 30):
        path = write_blocks(tmp_path / "a", itertools.repeat(rows, blocks))
        tracemalloc.start()
        assert membench.analyze([str(path)])["operations"] == blocks * len(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1, peaks


# ---- Two processes ----


def forks(monkeypatch: pytest.MonkeyPatch) -> List[int]:
    """The processes that are started from now on, which are real."""
    started = []
    fork = os.fork

    def counted() -> int:
        pid = fork()
        if pid:
            started.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", counted)
    return started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A profile of three blocks."""
    rows = gets(range(3000))
    return write_blocks(tmp_path / "a.profile", [rows[:1000], rows[1000:2000], rows[2000:]])


def children() -> List[str]:
    """Processes that were started here and not waited for."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


def test_a_second_process_only_for_what_is_large(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = forks(monkeypatch)
    before, files = children(), os.listdir("/proc/self/fd")
    membench.analyze([str(path)])
    assert not started
    set_processes(monkeypatch, 1)
    membench.analyze([str(path)])
    assert not started
    set_processes(monkeypatch, 2)
    membench.analyze([str(path)])
    assert len(started) == 1
    assert (children(), os.listdir("/proc/self/fd")) == (before, files)


def test_a_file_that_grows_is_read_up_to_where_it_was(
    path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both processes read the same, though a recorder goes on writing."""
    data = path.read_bytes()
    count = membench.count_part

    def meanwhile(*arguments: Any) -> Any:
        with path.open("r+b") as file:  # all of it is there before any block is read
            file.seek(cut)
            file.write(data[cut:])
        return count(*arguments)

    for cut in range(len(data) * 2 // 3, len(data), 997):
        path.write_bytes(data[:cut])
        expected = membench.analyze([str(path)])
        monkeypatch.setattr(membench, "count_part", meanwhile)
        grown = membench.analyze([str(path)])
        monkeypatch.setattr(membench, "count_part", count)
        if processes == 2:
            assert grown == expected
            assert not grown["profiles"][0]["complete"]
        else:
            assert grown["operations"] == 3000


def test_a_file_that_changes_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_processes(monkeypatch, 2)
    count, parent = membench.count_part, os.getpid()
    reading, writing = os.pipe()

    def meanwhile(*arguments: Any) -> Any:
        if os.getpid() != parent:
            os.read(reading, 1)
            return count(*arguments)
        found = count(*arguments)
        write_blocks(path, [gets(range(10))])
        os.write(writing, b"x")
        return found

    monkeypatch.setattr(membench, "count_part", meanwhile)
    with pytest.raises(ProfileError, match="changed while it was read"):
        membench.analyze([str(path)])
    os.close(reading)
    os.close(writing)


def test_a_second_process_that_is_killed_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processes(monkeypatch, 2)
    count, parent = membench.count_part, os.getpid()

    def meanwhile(*arguments: Any) -> Any:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return count(*arguments)

    monkeypatch.setattr(membench, "count_part", meanwhile)
    before = children()
    with pytest.raises(MembenchError, match="an analysis worker was killed"):
        membench.analyze([str(path)])
    assert children() == before


def test_a_second_process_ends_with_the_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error here, or Ctrl-C: the other one is not left."""
    set_processes(monkeypatch, 2)
    parent = os.getpid()

    def meanwhile(*_arguments: Any) -> Any:
        if os.getpid() == parent:
            raise KeyboardInterrupt
        time.sleep(20)
        return path.unlink()

    monkeypatch.setattr(membench, "count_part", meanwhile)
    before, files = children(), os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        membench.analyze([str(path)])
    assert (children(), os.listdir("/proc/self/fd")) == (before, files)
    assert path.exists(), "it went on to its end"


# ---- Damage behind good checksums ----


def damaged(path: Path, column: str, values: Optional[bytes]) -> None:
    """Put other values into a column of the last block; None: too few of them."""
    data = path.read_bytes()
    blocks = []
    at = len(membench.MAGIC) + 4
    head = data[:at]
    while at < len(data):
        kind, length = struct.unpack_from("<c3xI", data, at)
        blocks.append((kind, data[at + 12 : at + 12 + length]))
        at += 12 + length
    last = max(number for number, (kind, _) in enumerate(blocks) if kind == b"O")
    payload = blocks[last][1]
    changed, at = payload[:8], 8
    for name, _ in membench.COLUMNS + membench.KEY_COLUMNS:
        (length,) = struct.unpack_from("<I", payload, at)
        packed = payload[at + 4 : at + 4 + length]
        if name == column:
            packed = zlib.compress(zlib.decompress(packed)[1:] if values is None else values)
        changed += struct.pack("<I", len(packed)) + packed
        at += 4 + length
    blocks[last] = b"O", changed
    for kind, payload in blocks:
        checksum = zlib.crc32(kind + payload)
        head += struct.pack("<c3xII", kind, len(payload), checksum) + payload
    path.write_bytes(head)


DAMAGE: Dict[str, Tuple[str, Optional[bytes], str]] = {
    name: (name, None, "not as many rows") for name, _ in membench.COLUMNS + membench.KEY_COLUMNS
}
DAMAGE["form"] = ("form", bytes(999) + b"\x02" + bytes(1000), "unknown form or outcome")
DAMAGE["high form"] = ("form", bytes(1999) + b"\x01", "unknown form or outcome")
DAMAGE["outcome"] = ("outcome", bytes(999) + b"\x0f", "unknown form or outcome")
DAMAGE["key"] = ("key", bytes(1000) + bytes([255]) * 1000 + bytes(2000), "unknown key")
DAMAGE["high key"] = ("key", bytes(3999) + b"\x01", "unknown key")
DAMAGE["time"] = ("time", bytes(7000) + bytes([127]) * 1000, "a time is too large")


@pytest.mark.parametrize(("column", "values", "words"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told(column: str, values: Optional[bytes], words: str, tmp_path: Path) -> None:
    rows = gets(range(3000))
    path = write_blocks(tmp_path / "a.profile", [rows[:1000], rows[1000:2000], rows[2000:]])
    damaged(path, column, values)
    with pytest.raises(ProfileError, match=f"is damaged: .*{words}"):
        membench.analyze([str(path)])
