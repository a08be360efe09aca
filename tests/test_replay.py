# SPDX-License-Identifier: GPL-2.0-only
"""Replaying: the same traffic reaches another server, and what goes wrong is told.

The targets are real: memcached, and small servers that misbehave in one way each.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pty
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import pytest
from live import (
    COMPILED,
    LOOPBACK,
    MODULE,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    exchange,
    free_port,
    freeze,
    read_rows,
    repeats,
    require,
    run,
    wait_until,
)
from test_binary import run_bmemcached
from test_terminal import Terminal, screen

import membench


def replay(profile: Path, port: int, *options: str, status: int = 0) -> Dict[str, Any]:
    """Replay to a port of this machine; the results."""
    results = profile.with_suffix(".json")
    done = run(
        *("replay", str(profile), "--target", f"{LOOPBACK}:{port}", "--yes"),
        *("--stats-json", str(results), *options),
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    result: Dict[str, Any] = json.loads(results.read_text())
    return result


# ---- Made profiles ----

# (seconds, connection, form, outcome, batch, key or None, value size, exptime)
Made = Tuple[float, int, bytes, int, int, Optional[bytes], int, int]
HEADER = {"source": "ebpf:any", "hook": "sock", "host": "test", "ports": [11211]}
NO = membench.NO_SIZE


def make_profile(
    path: Path,
    rows: Sequence[Made],
    seconds: float = 1.0,
    events: Sequence[Tuple[float, int, int]] = (),
    started_unix: float = 1_700_000_000.0,
    latency_ns: int = 50_000,
    **header: Any,
) -> Path:
    """A profile of these operations. events: (seconds, connection, kind)."""
    opened = {row[1] for row in rows} - {event[1] for event in events}
    with membench.ProfileWriter(str(path)) as profile:
        profile.start({**HEADER, "started_unix": started_unix, **header}, 0)
        for number in sorted(opened):
            profile.add_connection(0, number, 11211, membench.OPEN)
        for at, number, kind in events:
            profile.add_connection(int(at * 1e9), number, 11211, kind)
        for at, number, form, outcome, batch, key, size, exptime in rows:
            code = key_code(key) if key else 0
            times = (int(at * 1e9), latency_ns)
            profile.add(zip((*times, number, form, outcome, batch, 0, code, size, exptime)))
            if profile.is_due():
                profile.flush(membench.Ledger())
        profile.finish(membench.Ledger(), {"duration_seconds": seconds})
    return path


def key_code(key: bytes) -> int:
    """What a profile has for a key: a keyed hash and the size."""
    digest = hashlib.blake2b(key, digest_size=8, key=b"s" * 32).digest()
    return int.from_bytes(digest, "little") << 16 | len(key)


def gets(count: int, connections: int = 1, seconds: float = 0.5) -> List[Made]:
    """So many gets that hit, over this time."""
    return [
        (index * seconds / count, index % connections + 1, b"get", membench.HIT, 0, b"key", 10, 0)
        for index in range(count)
    ]


# ---- The same traffic ----


def client_traffic(server: Memcached, seed: int) -> None:
    """Every dialect that has text, pipelined in whole writes, each answered before the next."""
    chance = random.Random(seed)
    with server.connect() as connection:
        for turn in range(40):
            key = b"%d:%d" % (seed, chance.randrange(30))
            size = chance.choice((0, 1, 15, 100, 3000))
            value = b"v" * size
            commands = [
                b"get %b old%d\r\n" % (key, seed),
                b"get o%d %d missing %b\r\n" % (seed, seed, key),
                b"gat 1000 %b %b\r\n" % (key, key),
                b"set %b 32 0 %d\r\n%b\r\n" % (key, size, value),
                b"set %b 0 5000 %d noreply\r\n%b\r\n" % (key, size, value),
                b"add %b 7 0 %d\r\n%b\r\n" % (key, size, value),
                b"append %b 0 0 3\r\nabc\r\n" % key,
                b"delete %b\r\n" % key,
                b"delete %b noreply\r\n" % key,
                b"touch %b 6000\r\n" % key,
                b"mg %b v s t k Oabc\r\n" % key,
                b"mg %b k v q\r\n" % chance.choice((b"absent%d" % seed, b"s%d" % seed)),
                b"mg %b T5000 v f\r\n" % key,
                b"ms %b %d T3000 F3 O1\r\n%b\r\n" % (key, size, value),
                b"ms %b %d ME q k\r\n%b\r\n" % (key, size, value),
                b"mg %b b v k\r\n" % base64.b64encode(key),
                b"md %b q O9\r\n" % key,
                b"me %b\r\n" % key,
                b"ma n%d N500 J7 v\r\n" % seed,
                b"set c%d 0 0 2\r\n10\r\nincr c%d 5\r\ndecr c%d 2\r\nincr nothing 1\r\n"
                % (seed, seed, seed),
            ]
            data = b"".join(chance.sample(commands, chance.randrange(1, 12)))
            exchange(connection, data + b"mn\r\n", b"MN\r\n")
            if turn % 10 == 0:
                unique = exchange(connection, b"gets s%d\r\n" % seed, b"END\r\n").split()[4]
                line = b"cas s%d 0 0 4 %b\r\nabcd\r\n"
                assert exchange(connection, line % (seed, unique), b"\r\n") == b"STORED\r\n"
                assert exchange(connection, line % (seed, unique), b"\r\n") == b"EXISTS\r\n"
                cas = exchange(connection, b"mg s%d c\r\n" % seed, b"\r\n").split()[1]
                line = b"ms s%d 4 C%b\r\nabcd\r\n" % (seed, cas[1:])
                assert exchange(connection, line, b"\r\n") == b"HD\r\n"
            time.sleep(0.002)


def fill(server: Memcached) -> None:
    """What the server holds before anybody records."""
    with server.connect() as connection:
        for seed in range(4):
            for key, size in ((b"old%d", 300), (b"o%d", 20), (b"%d", 5), (b"s%d", 4)):
                line = b"set " + key % seed + b" 0 0 %d\r\n" % size
                exchange(connection, line + b"x" * size + b"\r\n", b"STORED\r\n")


def record(output: Path, server: Memcached, action: Callable[[], Any]) -> Dict[str, Any]:
    """Record what happens to a server meanwhile."""
    with Recorder(output, "--port", str(server.port)) as recorder:
        action()
        return recorder.stop()


def run_clients(server: Memcached) -> None:
    """Several clients, one after the other: which request hits does not depend on luck."""
    for seed in range(4):
        client_traffic(server, seed)


@pytest.mark.parametrize("speed", ["1", "max"])
def test_a_replay_is_the_same_traffic(speed: str, tmp_path: Path) -> None:
    first, second = tmp_path / "a.profile", tmp_path / "b.profile"
    with Memcached() as server:
        fill(server)
        record(first, server, lambda: run_clients(server))
    with Memcached() as target:
        # Filled before it is recorded, so that the recording holds the replay alone.
        options = membench.parse_args(["replay", str(first), "--target", "x:1", "-q", "--preload"])
        options.workers = 2
        address = membench.Target(socket.AF_INET, (LOOPBACK, target.port), "")
        found = membench.survey(str(first), options.shard)
        assert membench.preload(options, found, address, membench.Stop()) == 0
        assert target.stats()["curr_items"] == 16
        exchange(target.control, b"get nothing\r\n", b"END\r\n")
        report: Dict[str, Any] = {}
        options = ("--speed", speed, "--workers", "1" if speed == "max" else "2")
        record(second, target, lambda: report.update(replay(first, target.port, *options)))
    done = run("compare", "--exact", str(first), str(second))
    assert done.returncode == 0, done.stdout
    assert report["hit_ratio"] == report["recorded_hit_ratio"]
    assert not any(report["errors"].values())
    assert report["counts"]["skipped"] == {}
    assert report["counts"]["unknown_uniques"] == 0


def test_a_binary_replay_is_the_same_traffic(tmp_path: Path) -> None:
    first, second = tmp_path / "a.profile", tmp_path / "b.profile"
    with Memcached() as server:
        record(first, server, lambda: run_bmemcached(server))
    with Memcached() as target:
        report: Dict[str, Any] = {}
        record(second, target, lambda: report.update(replay(first, target.port)))
    done = run("compare", "--exact", str(first), str(second))
    assert done.returncode == 0, done.stdout
    assert not sum(report["errors"][kind] for kind in ("timeout", "connection", "protocol"))


def test_shards_and_workers_send_disjoint_shares(tmp_path: Path) -> None:
    first, second = tmp_path / "a.profile", tmp_path / "b.profile"
    rows = gets(600, connections=30)
    rows += [(0.2, n, b"set", membench.STORED, 0, b"%c" % (64 + n), 100, 60) for n in range(1, 31)]
    make_profile(first, rows)
    with Memcached() as target, contextlib.ExitStack() as stack:
        begun = time.time()
        dry = run("replay", str(first), "--target", f"{LOOPBACK}:{target.port}", "--dry-run")
        assert dry.returncode == 0
        took = time.time() - begun
        recorder = stack.enter_context(Recorder(second, "--port", str(target.port)))
        # Nine processes are to be ready by then, on a machine that took so long for one.
        start = f"{time.time() + 4 + 12 * took:.2f}"
        command = [sys.executable, str(COMPILED), "replay", str(first), "--yes"]
        command += ["--target", f"{LOOPBACK}:{target.port}", "--workers", "2", "--start-at", start]
        shards = [
            subprocess.Popen(
                [*command, "--shard", f"{n}/3", "--stats-json", str(tmp_path / f"{n}.json")],
                stdout=subprocess.DEVNULL,
            )
            for n in range(3)
        ]
        assert [shard.wait(2 * PATIENCE_SECONDS) for shard in shards] == [0, 0, 0]
        recorder.stop()
    results = [str(tmp_path / f"{n}.json") for n in range(3)]
    merged_path = tmp_path / "all.json"
    done = run("replay", "--merge", *results, "--stats-json", str(merged_path))
    assert done.returncode == 0, done.stderr
    merged = json.loads(merged_path.read_text())
    assert merged["requests"] == 630
    assert merged["counts"]["connections"] == 30
    assert merged["shards"] == ["0/3", "1/3", "2/3"]
    parts = [json.loads(Path(path).read_text()) for path in results]
    assert sum(part["requests"] for part in parts) == 630
    assert all(part["requests"] for part in parts)
    starts = [part["started_unix"] for part in parts]
    assert max(starts) - min(starts) < 0.001
    # Short keys are numbered: each shard must have made the same of them.
    assert {row[2] for row in read_rows(second)} == {1, 3}
    compared = json.loads(run("compare", "--exact", "--json", str(first), str(second)).stdout)
    lines = {line["name"]: line for line in compared["lines"]}
    for name in ("distinct keys", "key popularity"):
        found = lines[name]
        assert (found["first"], found["second"], found["verdict"]) == (31, 31, "same")


def to_histogram(values: Sequence[int]) -> Dict[int, int]:
    """What a worker reports of these latencies in ns."""
    tally = membench.Tally()
    template = require(membench.make_template("get"))
    sent = (template.request((b"key",), 1), template, ("get", (membench.HIT,), 0), [1, 1])
    for value in values:
        tally.count_reply(sent, membench.HIT, {0: 1}, value + 1)
    found: Dict[int, int] = tally.take()["counts"]["commands"]["get"]["latency"]
    return found


def test_percentiles_of_merged_shards_are_exact(tmp_path: Path) -> None:
    chance = random.Random(5)
    values = [int(chance.paretovariate(1) * 50_000) for _ in range(20_000)]
    parts = [to_histogram(values[n::3]) for n in range(3)]
    total: Dict[str, Any] = {}
    for part in parts:
        membench.join(total, json.loads(json.dumps(part)))
    whole = to_histogram(values)
    assert membench.describe_histogram(total) == membench.describe_histogram(whole)
    exact = sorted(values)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
        true_us = exact[int(len(exact) * share) - 1] / 1000
        found = membench.describe_histogram(whole)
        assert found and true_us * 0.99 - 0.1 <= found[name] <= true_us


def test_results_that_do_not_belong_together(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(10))
    with Memcached() as target:
        replay(profile, target.port)
    results = str(profile.with_suffix(".json"))
    twice = run("replay", "--merge", results, results)
    assert (twice.returncode, "shard 0/1 is given twice" in twice.stderr) == (1, True)
    assert twice.stdout == ""
    other = run("replay", "--merge", str(profile))
    assert (other.returncode, "does not hold the results" in other.stderr) == (1, True)


def variations(value: Any) -> Iterator[Any]:
    """A JSON value with one part of it replaced by each kind of value, or taken out."""
    for other in (None, True, -1, 1.5, 1e400, 10**30, "", "x", "0/0", [], [[]], {}, {"x": {}}):
        if type(other) is not type(value) or other != value:
            yield other
    if isinstance(value, dict):
        for name, part in value.items():
            rest = {key: one for key, one in value.items() if key != name}
            yield rest
            yield {**rest, "x": part}
            yield from ({**value, name: other} for other in variations(part))
    if isinstance(value, list):
        for place, part in enumerate(value):
            yield value[:place] + value[place + 1 :]
            yield from ([*value[:place], other, *value[place + 1 :]] for other in variations(part))


def test_malformed_results_give_one_clear_line(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(10))
    with Memcached() as target:
        good = replay(profile, target.port)
    small = {name: good[name] for name in good if name not in ("commands", "latency_us")}
    path = tmp_path / "b.json"
    refused = taken = 0
    for bad in variations(small):
        path.write_text(json.dumps(bad))
        try:
            results = membench.read_results(str(path))
        except membench.MembenchError as error:
            refused += 1
            assert str(error) == f"{path} does not hold the results of a replay" and error.hint
            continue
        taken += 1
        try:
            membench.merge_results([results, {**good, "shards": ["1/2"]}])
        except (membench.MembenchError, *membench.MALFORMED):
            pass
    assert refused > 500 and taken > 100
    for text in ("", "{", "[" * 100_000, "1" * 10_000, '{"membench_replay": 1}', "\xff"):
        path.write_bytes(text.encode("latin-1"))
        done = run("replay", "--merge", str(path))
        assert done.returncode == 1
        assert (
            "does not hold the results of a replay" in done.stderr
            and "Traceback" not in done.stderr
        )
        assert len(done.stderr.splitlines()) == 2
    path.write_text(json.dumps({**good, "shards": []}))
    done = run("replay", "--merge", str(path))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2), done.stderr
    path.write_text(json.dumps({**good, "shards": ["0/1000000000000"]}))
    done = run("replay", "--merge", str(path))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2), done.stderr


def test_missing_shards_are_named(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(100, connections=20))
    paths = []
    with Memcached() as target:
        for shard in ("0/3", "1/3", "2/3", "0/2"):
            results = tmp_path / f"{shard.replace('/', '-')}.json"
            replay(profile, target.port, "--shard", shard)
            profile.with_suffix(".json").rename(results)
            paths.append(str(results))
    merged = tmp_path / "merged.json"
    done = run("replay", "--merge", *paths[:3], "--stats-json", str(merged))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(merged.read_text())["missing_shards"] == []
    done = run("replay", "--merge", paths[1], "--stats-json", str(merged))
    assert done.returncode == 1
    assert done.stderr == "membench: warning: results of shard 0/3, 2/3 are missing\n"
    assert json.loads(merged.read_text())["missing_shards"] == ["0/3", "2/3"]
    done = run("replay", "--merge", paths[0], paths[3])
    assert done.returncode == 1
    assert "shards of 2 and of 3 do not belong together" in done.stderr


# ---- Keys and values ----


def test_keys_are_legal_as_long_and_different() -> None:
    keys = membench.KeyTexts()
    chance = random.Random(3)
    for size in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 30, 250):
        hashes = {chance.getrandbits(64) for _ in range(200 if size == 1 else 20_000)}
        keys.number_short_keys(hashes, [size] * len(hashes))
        texts = {keys.text(key_hash, size) for key_hash in hashes}
        assert len(texts) == len(hashes), size
        assert {len(text) for text in texts} == {size}
        assert not any(byte <= 32 or byte == 127 for text in texts for byte in text)
    assert keys.shared == 0
    many = list(range(1 << 40, (1 << 40) + 300))  # more than there are keys of one byte
    keys.number_short_keys(many, [1] * 300)
    assert keys.shared == 300 - (222 - 200)
    assert all(len(keys.text(key_hash, 1)) == 1 for key_hash in many)


@pytest.mark.parametrize("size", [0, 1, 20, 21, 2048, 2049, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_values_have_their_size(size: int) -> None:
    value = b"".join(membench.value_parts(size))
    assert len(value) == size
    assert value.isdigit() or not size


# ---- Dialects ----

BINARY = (
    b"set binary 32",
    b"setq binary",
    b"add binary",
    b"replace binary",
    b"append binary",
    b"prependq binary",
    b"get binary",
    b"getq binary",
    b"getk binary",
    b"getkq binary",
    b"set binary 32 cas",
    b"incr binary 5 10",
    b"decrq binary 1 0",
    b"touch binary",
    b"gat binary",
    b"gatq binary",
    b"gatk binary",
    b"gatkq binary",
    b"delete binary",
    b"noop binary",
    b"version binary",
    b"stat binary",
)


def binary_row(at: float, form: bytes, batch: int = 0, key: bytes = b"a key") -> Made:
    """A row of the binary protocol; what it is for is in its form."""
    name = form.split(b" ")[0]
    keyless = name in (b"noop", b"version", b"stat")
    stores = name.rstrip(b"q") in (b"set", b"add", b"replace", b"append", b"prepend")
    counts = name.rstrip(b"q") in (b"incr", b"decr")
    size = 10 if stores else NO
    outcome = membench.STORED if stores else membench.OK
    used = None if keyless else b"number" if counts else key
    return (at, 1, form, outcome, batch, used, size, 1000)


def test_the_binary_protocol(tmp_path: Path) -> None:
    rows = [binary_row(0.01 * n, form) for n, form in enumerate(BINARY)]
    # Quiet misses, quiet hits and quiet success, pipelined, and a noop behind them.
    quiet = (b"getkq binary", b"setq binary", b"getq binary", b"getq binary", b"noop binary")
    rows += [binary_row(0.5, form, n, b"another") for n, form in enumerate(quiet)]
    rows += [(0.6, 1, b"sasl_auth binary", membench.OK, 0, None, NO, 0)]
    rows += [(0.6, 1, b"flush binary", membench.OK, 0, None, NO, 0)]
    rows += [(0.7, 1, b"quit binary", membench.NONE, 0, None, NO, 0)]
    profile = make_profile(tmp_path / "a.profile", rows, events=[(0.8, 1, membench.CLOSE)])
    with Memcached() as target:
        before = target.stats()
        report = replay(profile, target.port)
        grown = target.stats() - before
        options = ("--include", "flush_all", "--speed", "max")
        included = replay(profile, target.port, *options)
        assert target.stats()["cmd_flush"] == 1
    outcomes = {name: command["outcomes"] for name, command in report["commands"].items()}
    assert not any(report["errors"].values()), report["errors"]
    assert report["counts"]["skipped"] == {"sasl_auth": 1, "flush": 1}
    assert included["counts"]["skipped"] == {"sasl_auth": 1}
    assert outcomes["getq"] == {"hit": 3}
    assert outcomes["getkq"] == {"hit": 1, "miss": 1}
    assert outcomes["add"] == {"not_stored": 1}  # as it is recorded
    assert outcomes["set"] == {"stored": 2}
    assert outcomes["incr"] == {"ok": 1}
    assert outcomes["delete"] == {"deleted": 1}
    assert grown["cmd_set"] == 8
    assert grown["cas_hits"] == 1
    assert grown["decr_hits"] == 1


def test_cas_uniques_are_those_of_the_target(tmp_path: Path) -> None:
    stored, exists = membench.STORED, membench.EXISTS
    rows: List[Made] = [
        (0.01, 1, b"set", stored, 0, b"k", 5, 0),
        (0.02, 1, b"gets", membench.HIT, 0, b"k", 5, 0),
        (0.02001, 1, b"cas", stored, 0, b"k", 5, 0),  # must wait for its gets
        (0.025, 1, b"gets", membench.HIT, 0, b"k", 5, 0),
        (0.03, 2, b"cas", exists, 0, b"k", 5, 0),  # though its unique is known
        (0.04, 1, b"mg c", membench.HIT, 0, b"k", NO, 0),
        (0.05, 1, b"ms C", stored, 0, b"k", 6, 0),
        (0.06, 1, b"cas", membench.NOT_FOUND, 0, b"absent", 6, 0),
        (0.07, 1, b"md C", exists, 0, b"k", NO, 0),
    ]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Memcached() as target:
        before = target.stats()
        report = replay(profile, target.port, "--workers", "1")
        grown = target.stats() - before
    for name, command in report["commands"].items():
        assert command["outcomes"] == command["recorded_outcomes"], name
    assert (grown["cas_hits"], grown["cas_badval"], grown["cas_misses"]) == (2, 1, 1)
    assert report["counts"]["unknown_uniques"] == 1  # that of the absent key


# ---- Timing ----


def test_latency_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    """A server that stops for a while cannot hide it: coordinated omission."""
    profile = make_profile(tmp_path / "a.profile", gets(1000, connections=2, seconds=2.0), 2.0)

    def stand_still(target: Memcached) -> None:
        wait_until("the first", lambda: target.stats()["cmd_get"] > 200)
        freeze(target.process.pid)
        time.sleep(0.8)
        target.process.send_signal(signal.SIGCONT)

    with Memcached() as target:
        stopper = threading.Thread(target=stand_still, args=(target,))
        stopper.start()
        report = replay(profile, target.port, "--workers", "1")
        stopper.join()
    assert report["requests"] == 1000
    latency = report["commands"]["get"]["latency_us"]
    assert 300_000 < latency["max"] < 1e6 * PATIENCE_SECONDS
    # Nearly all that were due meanwhile must show it, not only one a connection.
    late = sum(
        count
        for ticks, count in report["counts"]["commands"]["get"]["latency"].items()
        if int(ticks) > 500_000
    )
    assert late > 100
    assert report["lateness_us"]["max"] > 300_000
    assert report["fell_behind"] == "target"


@pytest.mark.parametrize("connections", [4, 50])
def test_it_is_told_that_replay_itself_fell_behind(connections: int, tmp_path: Path) -> None:
    """More than one process can send: the target waits for it, not it for the target."""
    profile = make_profile(tmp_path / "a.profile", gets(20_000, connections, 0.02))
    with Memcached() as target:
        done = run(
            *("replay", str(profile), "--target", f"{LOOPBACK}:{target.port}", "--yes"),
            *("--workers", "1"),
        )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("Fell behind"))
    assert "--workers" in line and "--shard" in line
    assert max(len(line) for line in done.stdout.splitlines()[1:]) <= 80


def test_rates_are_those_of_the_same_requests(tmp_path: Path) -> None:
    """Quiet time before the first and after the last request is in neither."""
    rows = [(row[0] + 0.7, *row[1:]) for row in gets(500, 4, 0.5)]
    profile = make_profile(tmp_path / "a.profile", rows, 10.0)
    with Memcached() as target:
        report = replay(profile, target.port)
        partly = replay(profile, target.port, "--duration", "0.95")
        halved = replay(profile, target.port, "--shard", "0/2")
    wanted = 500 / 0.499
    for found, share in ((report, 1.0), (partly, 1.0), (halved, 0.5)):
        assert found["recorded"]["operations_per_second"] == pytest.approx(wanted * share, rel=0.05)
        start, end = found["span"]
        rate = found["operations"] / (end - start)
        assert found["operations_per_second"] == pytest.approx(rate, rel=0.01)
        assert end - start < found["duration_seconds"] - 0.6


def test_no_digits_that_a_histogram_does_not_have() -> None:
    texts = []
    for ns in (5_321, 85_432, 854_321, 123_456_789):
        found = membench.describe_histogram(to_histogram([ns]))
        assert found
        texts.append(membench.human_us(found["max"]))
    assert texts == ["5.3", "85.4", "854", "123,000"]


@pytest.mark.parametrize(
    ("speed", "recorded", "least", "most"),
    # At most: whoever went at the recorded speed would take longer than that.
    [("1", 2, 1.95, PATIENCE_SECONDS), ("0.5", 1, 1.95, PATIENCE_SECONDS), ("40", 20, 0.48, 19)],
)
def test_the_speed_is_that_asked_for(
    speed: str, recorded: int, least: float, most: float, tmp_path: Path
) -> None:
    rows = gets(401, seconds=recorded * 401 / 400)
    profile = make_profile(tmp_path / "a.profile", rows, recorded)
    with Memcached() as target:
        report = replay(profile, target.port, "--speed", speed)
    assert report["requests"] == 401
    assert least < report["duration_seconds"] < most
    assert report["lateness_us"]["p50"] < 1_000_000


def test_loops(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(100, 4, 0.2), 1.0)
    with Memcached() as target:
        before = target.stats()
        report = replay(profile, target.port, "--loop-mode", "times:3")
        grown = target.stats() - before
        assert report["requests"] == grown["cmd_get"] == 300
        assert grown["total_connections"] == 12
        assert report["duration_seconds"] > 2.1  # the last is due at 2 * 1.0 + 0.198
        assert (
            replay(profile, target.port, "--loop-mode", "times:3", "--speed", "max")["requests"]
            == 300
        )
        endless = replay(profile, target.port, "--loop-mode", "infinite", "--duration", "2.6")
        assert 100 < endless["requests"] <= 300  # a busy machine may not come to the third
        assert (report["ended_by"], endless["ended_by"]) == (None, "duration")
        assert endless["duration_seconds"] < PATIENCE_SECONDS


def test_it_is_told_that_duration_ended_it(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(6000, 4, 60.0), 60.0)
    with Memcached() as target:
        before = target.stats()["cmd_get"]
        command = ("replay", str(profile), "--target", f"{LOOPBACK}:{target.port}", "--yes")
        done = run(*command, "--duration", "0.5")
        sent = target.stats()["cmd_get"] - before
    assert done.returncode == 0, done.stderr
    assert f"\nEnded by --duration: {sent} of 6,000 operations were sent\n" in done.stdout


def test_connections_are_open_when_they_were(tmp_path: Path) -> None:
    first, second = tmp_path / "a.profile", tmp_path / "b.profile"
    rows: List[Made] = [
        (at, n, b"get", membench.MISS, 0, b"k", NO, 0) for n in range(1, 4) for at in (2.0, 2.4)
    ]
    rows.sort()
    events = [
        (0.0, 1, membench.RECV),
        (0.8, 2, membench.OPEN),
        (1.2, 4, membench.OPEN),  # never used
        (1.6, 3, membench.OPEN),
        (2.8, 2, membench.CLOSE),
        (3.2, 4, membench.CLOSE),
        (4.0, 3, membench.CLOSE),
    ]
    make_profile(first, rows, 4.0, events=events)
    with Memcached() as target:
        before = target.stats()
        record(second, target, lambda: replay(first, target.port))
        assert (target.stats() - before)["total_connections"] == 4
    found: List[Tuple[int, int, int]] = []
    with membench.ProfileReader(str(second)) as reader:
        reader.connection_rows = found_rows = []  # type: ignore[var-annotated]
        for _ in reader.blocks():
            pass
        found = [(tick, number, kind) for tick, number, _, kind in found_rows]
    opened = {number: tick for tick, number, kind in found if kind == membench.OPEN}
    closed = {number: tick for tick, number, kind in found if kind == membench.CLOSE}
    lives = sorted((closed[n] - opened[n]) / membench.TICKS_PER_SECOND for n in opened)
    assert len(lives) == 4
    # The first is not closed before the end. Only while they are used would be for 0.4 s.
    for life, wanted in zip(lives, (2.0, 2.0, 2.4, 4.0)):
        assert wanted - 1 < life < wanted + 1.2


# ---- Targets that misbehave ----


class Bad:
    """A server that does one thing to each connection. A context manager."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        self.serve = serve
        self.listener = socket.create_server((LOOPBACK, port))
        self.port = self.listener.getsockname()[1]
        self.connections: List[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.serve(connection)

    def __enter__(self) -> Bad:
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def talk_rubbish(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def next_key(connection: socket.socket) -> bytes:
    """The key of the next get; b"" at the end."""
    return connection.recv(4096).partition(b" ")[2].split(b"\r\n")[0]


def close_in_a_value(connection: socket.socket) -> None:
    connection.sendall(b"VALUE %b 0 1000\r\nonly this" % next_key(connection))
    connection.close()


def too_many_values(connection: socket.socket) -> None:
    for key in iter(lambda: next_key(connection), b""):
        connection.sendall(b"VALUE %b 0 1\r\na\r\n" % key * 2 + b"END\r\n")


def another_key(connection: socket.socket) -> None:
    for key in iter(lambda: next_key(connection), b""):
        connection.sendall(b"VALUE %bx 0 1\r\na\r\nEND\r\n" % key)


def endless_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"a" * 10_000)


def reset(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answer_slowly(connection: socket.socket) -> None:
    for key in iter(lambda: next_key(connection), b""):
        for byte in b"VALUE %b 0 3\r\nabc\r\nEND\r\n" % key:
            time.sleep(0.005)
            connection.sendall(bytes((byte,)))


@pytest.mark.parametrize("speed", ["1", "max"])
@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (say_nothing, "timeout"),
        (talk_rubbish, "protocol"),
        (too_many_values, "protocol"),
        (another_key, "protocol"),
        (endless_line, "protocol"),
        (close_in_a_value, "connection"),
        (reset, "connection"),
        (answer_slowly, None),
    ],
)
def test_a_bad_target(
    serve: Callable[[socket.socket], None], kind: Optional[str], speed: str, tmp_path: Path
) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(12, connections=3, seconds=0.6))
    with Bad(serve) as target:
        report = replay(
            *(profile, target.port, "--speed", speed),
            *("--timeout", "0.5" if serve is say_nothing else "60"),
            status=int(bool(kind)),
        )
    errors = {name: count for name, count in report["errors"].items() if count}
    if kind is None:
        assert errors == {}
        assert report["hits"] == 12
        return
    assert set(errors) == {kind}
    # Each request is counted once: as answered, as an error, or as not sent.
    assert errors[kind] + report["counts"]["not_sent"] == 12
    assert report["hits"] + report["misses"] == 0


def test_a_value_line_that_is_cut(tmp_path: Path) -> None:
    """What has come of it must not be taken for a length: it would fit to the reply before."""

    def serve(connection: socket.socket) -> None:
        requests = b""
        while requests.count(b"\r\n") < 2:
            requests += connection.recv(4096)
        first, second = (line.split(b" ")[1] for line in requests.splitlines())
        whole = b"VALUE %b 0 5\r\nabcde\r\n" % first
        size = 10 * (len(whole) - 3) + 5
        connection.sendall(whole + b"END\r\nVALUE %b 0 %d" % (second, size))
        time.sleep(0.2)
        connection.sendall(b"\r\n" + b"x" * size + b"\r\nEND\r\n")
        connection.recv(4096)

    rows: List[Made] = [(0.1, 1, b"get", membench.HIT, n, b"key%d" % n, 5, 0) for n in range(2)]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Bad(serve) as target:
        report = replay(profile, target.port)
    assert report["hits"] == 2
    assert not any(report["errors"].values()) and not report["counts"]["connection_failures"]


def test_a_target_that_is_no_memcached(tmp_path: Path) -> None:
    """Each row of the latencies is named, though nothing was measured."""
    profile = make_profile(tmp_path / "a.profile", gets(12, connections=3, seconds=0.1))
    with Bad(talk_rubbish) as target:
        done = run("replay", str(profile), "--target", f"{LOOPBACK}:{target.port}", "--yes")
    assert done.returncode == 1
    own, recorded = latencies(done.stdout)
    assert own == [["get", "-"], ["all", "-"]]
    assert recorded == [["get", "50.0"], ["all", "50.0"]]
    headings = [line for line in done.stdout.splitlines() if "p99.9" in line]
    assert len(headings) == 2 and headings[0] == headings[1]


def latencies(output: str) -> List[List[List[str]]]:
    """The tables of latencies in a report: of each row the name and the median."""
    tables = [part for part in output.split("\n\n") if " (us)\n" in part]
    return [[row.split()[:2] for row in table.splitlines()[2:]] for table in tables]


@pytest.mark.parametrize(
    ("header", "title"),
    [
        ({}, "Recorded at the server, from reading a request to writing its reply (us)"),
        ({"side": "server"}, "Recorded at the server, from reading a request"),
        ({"side": "server", "source": "packet:eth0"}, "Recorded between packets, where they"),
    ],
)
def test_latencies_from_different_sides_are_not_set_side_by_side(
    header: Dict[str, str], title: str, tmp_path: Path
) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(20, seconds=0.1), **header)
    with Memcached() as target:
        done = run("replay", str(profile), "--target", f"{LOOPBACK}:{target.port}", "--yes")
    assert done.returncode == 0, done.stderr
    own, recorded = latencies(done.stdout)
    assert [name for name, _ in own] == ["get", "all"] and ["get", "-"] not in own
    assert recorded == [["get", "50.0"], ["all", "50.0"]]
    assert "\nLatency at this client, network and both kernels included (us)\n" in done.stdout
    assert f"\n{title}" in done.stdout
    assert max(map(len, done.stdout.splitlines()[1:])) <= 80


def test_latencies_of_clients_are_set_side_by_side(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(20, seconds=0.1), side="client")
    with Memcached() as target:
        done = run("replay", str(profile), "--target", f"{LOOPBACK}:{target.port}", "--yes")
    assert done.returncode == 0, done.stderr
    (table,) = latencies(done.stdout)
    assert [row[0] for row in table] == ["get", "recorded", "all", "recorded"]
    assert table[1][1] == table[3][1] == "50.0" != table[0][1]
    assert "\nLatency at this client, and at the recorded clients (us)\n" in done.stdout


def test_latencies_that_were_not_recorded_are_not_shown(tmp_path: Path) -> None:
    rows = [(*row[:3], membench.NONE, *row[4:]) for row in gets(20, seconds=0.1)]
    profile = make_profile(tmp_path / "a.profile", rows, latency_ns=0, responses=False)
    with Memcached() as target:
        done = run("replay", str(profile), "--target", f"{LOOPBACK}:{target.port}", "--yes")
    assert done.returncode == 0, done.stderr
    assert len(latencies(done.stdout)) == 1
    assert "\nHit ratio             0.00%   not recorded\n" in done.stdout


def test_a_few_late_rows_are_not_worth_a_note(tmp_path: Path) -> None:
    """A quiet request may stand in a profile long after its time: when it was known to be one."""
    profile = make_profile(tmp_path / "a.profile", gets(4000, seconds=0.4))
    with Memcached() as target:
        report = replay(profile, target.port, "--speed", "max")
    for out_of_time, noted in ((0, False), (4, False), (40, True)):
        report["counts"]["out_of_time"] = out_of_time
        path = tmp_path / "edited.json"
        path.write_text(json.dumps(report))
        done = run("replay", "--merge", str(path))
        assert done.returncode == 0, done.stderr
        assert ("\nNote           40 requests" in done.stdout) == ("Note" in done.stdout) == noted


def test_what_began_before_the_recording_is_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent when the pass begins. What is too late to be put in order is counted."""
    monkeypatch.setattr(membench.ProfileWriter, "FLUSH_SECONDS", 0)  # each row is a block
    times = (-0.02, -0.01, 3.0, 6.0, 0.5, 7.0)
    rows: List[Made] = [(at, 1, b"get", membench.HIT, 0, b"key", 10, 0) for at in times]
    profile = make_profile(tmp_path / "a.profile", rows, 8.0)
    tally = membench.Tally()
    feed = membench.Schedule(tally).batches(str(profile), membench.Shard(0, 1), 2, 8.0)
    ticks = [batch.tick for batch in chain(*feed) if batch.kind == membench.SEND]
    seconds = [tick / membench.TICKS_PER_SECOND for tick in ticks]
    assert seconds == [0, 0, 3, 3, 6, 7, 8, 8, 11, 11, 14, 15]
    assert tally.counts["out_of_time"] == 2


def test_equal_requests_of_one_key_share_one(tmp_path: Path) -> None:
    """Of several keys none are kept: nothing would bound the memory that they take."""
    with membench.ProfileWriter(str(tmp_path / "a.profile")) as profile:
        profile.start({**HEADER, "started_unix": 0}, 0)
        for at, position in ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)):
            code = position + 7 << 16 | 10
            profile.add(zip((at, 0, 1, b"get", membench.HIT, 0, position, code, 10, 0)))
        profile.finish(membench.Ledger(), {"duration_seconds": 1.0})
    feed = membench.Schedule(membench.Tally()).batches(profile.path, membench.Shard(0, 1))
    requests = [sent[0] for batch in chain(*feed) for sent in batch.requests]
    assert [len(request.keys) for request in requests] == [1, 1, 2, 2]
    assert len({id(request) for request in requests}) == 3


def test_a_connection_is_closed_when_its_last_answer_is_there(tmp_path: Path) -> None:
    closed: List[float] = []

    def serve(connection: socket.socket) -> None:
        answer_slowly(connection)
        closed.append(time.monotonic())

    rows = [(at, n, b"get", membench.HIT, 0, b"key", 3, 0) for at, n in ((0.1, 1), (4.0, 2))]
    events = [(0.11, 1, membench.CLOSE)]  # before the answer, which takes 0.1 s
    profile = make_profile(tmp_path / "a.profile", rows, events=events)
    with Bad(serve) as target:
        report = replay(profile, target.port, "--workers", "1")
        wait_until("both to be closed", lambda: len(closed) == 2)
    assert report["hits"] == 2
    assert closed[1] - closed[0] > 1


def test_no_target(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(10))
    results = tmp_path / "results.json"
    done = run(
        *("replay", str(profile), "--target", f"{LOOPBACK}:{free_port()}", "--yes"),
        *("--stats-json", str(results)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 3  # what is replayed; the error; what to do
    assert "cannot connect to" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(results.read_text())["hits"] == 0


@pytest.mark.parametrize("speed", ["1", "max"])
def test_a_target_goes_away_and_comes_back(speed: str, tmp_path: Path) -> None:
    count = 2000 if speed == "1" else 40_000
    profile = make_profile(tmp_path / "a.profile", gets(count, 4, 4.0), 4.0)
    results = profile.with_suffix(".json")
    port = free_port()
    command = [sys.executable, str(COMPILED), "replay", str(profile), "--yes", "--speed", speed]
    command += ["--target", f"{LOOPBACK}:{port}", "--stats-json", str(results)]
    with Memcached(port=port) as target:
        before = target.stats()["cmd_get"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until("requests", lambda: target.stats()["cmd_get"] > before + 100)
    time.sleep(0.5 if speed == "1" else 0.1)  # at full speed, some are to be left
    with Memcached(port=port) as target:
        wait_until("requests again", lambda: target.stats()["cmd_get"] > 100)
        _, errors = process.communicate(timeout=2 * PATIENCE_SECONDS)
    assert process.returncode == 1 and b"Traceback" not in errors
    report = json.loads(results.read_text())
    assert report["errors"]["connection"] > 0
    assert report["errors"]["protocol"] == report["errors"]["timeout"] == 0
    assert report["hits"] + report["misses"] + report["errors"]["connection"] == count


def test_a_target_that_refuses_some_connections(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(300, connections=50))
    with Memcached("-c", "20", "-t", "1") as target:
        before = target.stats()["total_connections"]
        report = replay(profile, target.port, status=1)
        opened = target.stats()["total_connections"] - before
    assert report["counts"]["connections"] == opened
    assert report["errors"]["connection"] > 0
    assert report["errors"]["protocol"] == report["errors"]["server"] == 0
    assert report["misses"] > 0
    assert report["misses"] + report["errors"]["connection"] + report["errors"]["timeout"] == 300


def test_a_target_without_memory(tmp_path: Path) -> None:
    rows: List[Made] = [
        (n / 2000, 1, b"set", membench.STORED, 0, b"key%d" % n, 100_000, 0) for n in range(100)
    ]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Memcached("-m", "1", "-M", "-I", "512k") as target:
        report = replay(profile, target.port)  # refused, but answered
    assert report["errors"]["server"] > 0
    assert report["commands"]["set"]["outcomes"]["server_error"] == report["errors"]["server"]
    assert report["failed_requests"] == 0


def test_ctrl_c_writes_the_results(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(60_000, 4, 60.0), 60.0)
    results = tmp_path / "results.json"
    with Memcached() as target:
        process = subprocess.Popen(
            [
                *(sys.executable, str(COMPILED), "replay", str(profile), "--yes"),
                *("--target", f"{LOOPBACK}:{target.port}", "--stats-json", str(results)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        before = target.stats()["cmd_get"]
        wait_until("requests", lambda: target.stats()["cmd_get"] > before + 100)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        received = target.stats()["cmd_get"]
    assert b"Traceback" not in errors
    report = json.loads(results.read_text())
    assert 100 < report["requests"] == received < 60_000
    assert b"Interrupted: %s of 60,000 operations" % f"{received:,}".encode() in output
    assert report["ended_by"] == "signal"
    assert process.returncode == 128 + signal.SIGINT
    assert not list(tmp_path.glob("*.new"))


def test_ctrl_c_ends_the_filling_too(tmp_path: Path) -> None:
    rows: List[Made] = [
        (n / 100_000, 1, b"get", membench.HIT, 0, b"key%d" % n, 100, 0) for n in range(100_000)
    ]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Memcached() as target:
        process = subprocess.Popen(
            [
                *(sys.executable, str(COMPILED), "replay", str(profile), "--yes", "--preload"),
                *("--target", f"{LOOPBACK}:{target.port}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        before = target.stats()["cmd_get"]
        wait_until("values", lambda: target.stats()["cmd_set"] > 0)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        found = target.stats()
    assert process.returncode == 128 + signal.SIGINT, errors
    assert b"Interrupted: 0 of 100,000 operations were sent" in output
    assert 0 < found["cmd_set"] < 100_000
    assert found["cmd_get"] == before


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """Even if that was killed with -9, and whatever they are doing: here, standing still."""
    profile = make_profile(tmp_path / "a.profile", gets(60_000, 40, 60.0), 60.0)
    with Memcached() as target:
        process = subprocess.Popen(
            [
                *(sys.executable, str(COMPILED), "replay", str(profile), "--yes", "-q"),
                *("--target", f"{LOOPBACK}:{target.port}", "--workers", "12"),
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_until("requests", lambda: target.stats()["cmd_get"] > 100)
        workers = children(process.pid)
        try:
            for worker in workers:
                freeze(worker)
            process.kill()
            process.wait(PATIENCE_SECONDS)
            wait_until("the workers to end", lambda: not any(map(is_running, workers)), 20)
        finally:
            for worker in workers:
                with contextlib.suppress(OSError):
                    os.kill(worker, signal.SIGKILL)
    assert len(workers) == 12


def is_running(pid: int) -> bool:
    """Is there such a process, and no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_inherits_no_pipe_of_another(tmp_path: Path) -> None:
    """Else no worker would see that the parent has ended, while another lives."""
    profile = make_profile(tmp_path / "a.profile", gets(60_000, 40, 60.0), 60.0)
    with Memcached() as target:
        process = subprocess.Popen(
            [
                *(sys.executable, str(COMPILED), "replay", str(profile), "--yes", "-q"),
                *("--target", f"{LOOPBACK}:{target.port}", "--workers", "4"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until("requests", lambda: target.stats()["cmd_get"] > 100)
            owned = [socket_pairs(worker) for worker in children(process.pid)]
        finally:
            process.kill()
            process.wait(PATIENCE_SECONDS)
    assert [len(ends) for ends in owned] == [1, 1, 1, 1]


def socket_pairs(pid: int) -> Set[str]:
    """The socket pairs that a process has an end of, but those of its standard streams."""
    connections = Path(f"/proc/{pid}/net/tcp").read_text()
    entries = [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if int(entry.name) > 2]
    ends = [end for end in map(os.readlink, entries) if end.startswith("socket:")]
    return {end for end in ends if end.partition("[")[2].rstrip("]") not in connections}


# ---- Limits ----


def test_the_file_limit_is_named(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(400, connections=200))
    limited = "ulimit -n 100; exec setpriv --bounding-set -sys_resource"
    command = [sys.executable, str(COMPILED), "replay", str(profile), "--yes", "--workers", "1"]
    with Memcached() as target:
        command += ["--target", f"{LOOPBACK}:{target.port}"]
        done = subprocess.run(
            ["bash", "-c", f'{limited} --inh-caps -all "$@"', "bash", *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert "RLIMIT_NOFILE" in done.stderr and "100" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3 and "Traceback" not in done.stderr


def test_a_thousand_connections(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(2000, connections=1000, seconds=1.0))
    with Memcached("-c", "2000") as target:
        before = target.stats()
        report = replay(profile, target.port)
        grown = target.stats() - before
    assert not any(report["errors"].values())
    assert report["counts"]["connections"] == grown["total_connections"] == 1000
    assert grown["cmd_get"] == 2000


def peak_memory_kib(pid: int) -> int:
    """The most memory that a process has had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def children(pid: int) -> List[int]:
    """The processes that this one has started."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure_memory(profile: Path, port: int) -> int:
    """The most memory, in KiB, of a worker that replays this."""
    process = subprocess.Popen(
        [
            *(sys.executable, str(COMPILED), "replay", str(profile), "--yes", "--workers", "1"),
            *("--target", f"{LOOPBACK}:{port}", "--speed", "max"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, AssertionError):
            peak = max([peak, *(peak_memory_kib(child) for child in children(process.pid))])
        time.sleep(0.02)
    assert process.returncode == 0
    return peak


def test_memory_does_not_grow_with_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker holds a block and what is in the window: here, 8,192 and 10,000 rows.

    And the keys in its cache: here a thousand, in `make test-all` as many as it has room for.
    """
    monkeypatch.setattr(membench, "BLOCK_ROWS_MAX", 1 << 13)

    keys = repeats(180_000, 180)

    def rows(count: int) -> Iterator[Made]:
        for n in range(count):
            key = b"key %d" % (n % keys)
            yield (n / 5_000, n % 20 + 1, b"set noreply", membench.NONE, 0, key, 10, 0)

    small = make_profile(tmp_path / "small.profile", list(rows(repeats(80_000, 4))))
    large = make_profile(tmp_path / "large.profile", list(rows(repeats(180_000, 4))), 36.0)
    with Memcached() as target:
        first = measure_memory(small, target.port)
        second = measure_memory(large, target.port)
    assert second < first * 1.25, (first, second)


def test_the_window_is_bounded_however_many_rows_it_spans() -> None:
    count, fed, given = 20_000, 0, 0

    def pieces() -> Iterator[List[membench.Row]]:
        nonlocal fed
        for begin in range(0, 10 * count, count):  # all of one second
            fed += count
            yield [(begin + n, 1, 0, 0, 0, 0, b"", 0, 0, 0, 0) for n in range(count)]
            yield []

    for rows in membench.in_order(pieces()):
        given += len(rows)
        assert fed - given <= membench.WINDOW_ROWS + count
    assert given == fed == 10 * count


# ---- Preload ----


def test_preload_stores_what_was_there(tmp_path: Path) -> None:
    hit, stored = membench.HIT, membench.STORED
    rows: List[Made] = [
        (0.01, 1, b"get", hit, 0, b"was there", 123, 0),
        (0.02, 1, b"get", membench.MISS, 0, b"was not", NO, 0),
        (0.03, 1, b"set", stored, 0, b"written first", 50, 0),
        (0.04, 1, b"get", hit, 0, b"written first", 50, 0),
        (0.05, 1, b"append", stored, 0, b"appended to", 5, 0),
        (0.06, 1, b"get", hit, 0, b"appended to", 25, 0),
        (0.07, 1, b"incr 5", membench.OK, 0, b"counted with", NO, 0),
        (0.08, 1, b"touch", membench.TOUCHED, 0, b"touched", NO, 60),
        (0.09, 1, b"get", hit, 0, b"touched", 77, 0),
        (0.10, 1, b"delete", membench.DELETED, 0, b"deleted", NO, 0),
        (0.11, 1, b"add", membench.NOT_STORED, 0, b"not added", 9, 0),
        (0.12, 1, b"add", stored, 0, b"added", 9, 0),
        (0.13, 1, b"mg v", hit, 0, b"meta", 11, 0),
        (0.14, 1, b"delete noreply", membench.NONE, 0, b"who knows", NO, 0),
    ]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Memcached() as target:
        report = replay(profile, target.port, "--preload")
    for name, command in report["commands"].items():
        assert command["outcomes"] == command["recorded_outcomes"], name
    assert report["hit_ratio"] == report["recorded_hit_ratio"]
    sizes = dict(
        (key, size)
        for key, size in membench.preload_items(
            str(profile), membench.Shard(0, 1), membench.KeyTexts()
        )
    )
    assert sorted(sizes.values()) == [10, 10, 10, 11, 20, 77, 123]


def test_preload_in_slices_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: List[Made] = [
        (n / 10_000, 1, b"get", membench.HIT, 0, b"key%d" % (n % 900), n % 900, 0)
        for n in range(3000)
    ]
    profile = str(make_profile(tmp_path / "a.profile", rows))

    def items() -> List[Tuple[bytes, int]]:
        share = membench.Shard(0, 1)
        return sorted(membench.preload_items(profile, share, membench.KeyTexts()))

    whole = items()
    monkeypatch.setattr(membench, "PRELOAD_KEYS_MAX", 100)
    assert items() == whole
    assert len(require(whole)) == 900


# ---- The command ----


def test_dry_run_sends_nothing(tmp_path: Path) -> None:
    rows = [*gets(100, 5), (0.4, 1, b"flush_all", membench.OK, 0, None, NO, 0)]
    profile = make_profile(tmp_path / "a.profile", rows, 2.0)
    target = f"{LOOPBACK}:{free_port()}"  # nobody is there, and nobody is asked
    done = run("replay", str(profile), "--target", target, "--dry-run", "--preload", "--speed", "2")
    assert done.returncode == 0, done.stderr
    for text in (
        *("100 in 100 writes", "flush_all 1", "connections  5 (at most 5 open at once)"),
        *("duration     1s per pass, 1 pass\n", "1 values"),
    ):
        assert text in done.stdout, done.stdout
    assert "holds" not in done.stdout
    assert f"the target   {target}: nothing listens there\n" in done.stdout
    with Memcached() as server, server.connect() as connection:
        for _ in range(2):
            options = ("--target", f"{LOOPBACK}:{server.port}", "--dry-run")
            done = run("replay", str(profile), *options)
            items = server.stats()["curr_items"]
            assert f"holds {items or 'no'} items now" in done.stdout, done.stdout
            exchange(connection, b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        assert items == 1
        assert server.stats()["cmd_get"] == 0


def test_a_dry_run_tells_what_is_there(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(10))
    with Bad(talk_rubbish) as target:
        options = ("--target", f"{LOOPBACK}:{target.port}", "--dry-run")
        done = run("replay", str(profile), *options)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "is not a memcached that gives its stats: it answers 'HTTP/1.1 400 Bad" in said
    with Bad(lambda connection: connection.close()) as target:
        options = ("--target", f"{LOOPBACK}:{target.port}", "--dry-run")
        done = run("replay", str(profile), *options)
    assert "is not a memcached" in done.stdout or "did not give" in done.stdout, done.stdout
    done = run("replay", str(profile), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "no --target was given" in done.stdout and "10 in 10 writes" in done.stdout


def test_nobody_to_agree(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(10))
    with Memcached() as target:
        before = target.stats()
        done = run("replay", str(profile), "--target", f"{LOOPBACK}:{target.port}")
        assert done.returncode == 1
        assert "--yes" in done.stderr
        grown = target.stats() - before
    assert grown["total_connections"] == grown["cmd_get"] == 0


@pytest.mark.parametrize(
    ("answer", "sent", "status"),
    [(b"y\n", 10, 0), (b"n\n", 0, 1), (b"\n", 0, 1), (b"\3", 0, 128 + signal.SIGINT)],
)
def test_a_terminal_is_asked(answer: bytes, sent: int, status: int, tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(10, seconds=1.5))
    with Memcached() as target:
        exchange(target.control, b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        before = target.stats()
        name = f"{LOOPBACK}:{target.port}"
        pid, terminal = pty.fork()
        if not pid:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # even of a suite in the background
            os.execv(
                sys.executable,
                [sys.executable, str(COMPILED), "replay", str(profile), "--target", name],
            )
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(terminal, 4096)
        assert name.encode() in shown and b"it holds 1 items now" in shown
        os.write(terminal, answer)
        too_long = threading.Timer(30, os.kill, (pid, signal.SIGKILL))
        too_long.start()
        with contextlib.suppress(OSError):
            while True:
                shown += os.read(terminal, 4096)
        _, ended = os.waitpid(pid, 0)
        too_long.cancel()
        os.close(terminal)
        assert (target.stats() - before)["cmd_get"] == sent
    assert os.waitstatus_to_exitcode(ended) == status
    assert (b"ops/s" in shown) == bool(sent)  # the line of each second
    assert (b"Aborted." in shown) == (status == 1)
    # The line of each second stays one line, and does not wrap.
    live = [part for part in shown.split(b"\r") if b"ops/s" in part]
    assert not any(b"\n" in part or len(part) > 80 + len(b"\x1b[K") for part in live)


def test_there_is_no_question_about_a_target_that_is_not_there(tmp_path: Path) -> None:
    make_profile(tmp_path / "a.profile", gets(10))
    target = f"{LOOPBACK}:{free_port()}"
    with Terminal(80, tmp_path, "replay", "a.profile", "--target", target) as terminal:
        terminal.process.wait(PATIENCE_SECONDS)
        assert not terminal.has_shown(rb"\[y/N\]")
    assert terminal.process.returncode == 1
    assert screen(terminal.shown, 80) == [
        f"membench: error: cannot connect to {target}: nothing listens there",
        "membench: start the target first, and check its address",
        "",
    ]


@pytest.mark.parametrize(
    ("keys", "said"), [(b"\3", "membench: interrupted"), (b"\4", "membench: Aborted.")]
)
def test_what_is_said_behind_the_question_begins_a_line(
    keys: bytes, said: str, tmp_path: Path
) -> None:
    make_profile(tmp_path / "a.profile", gets(10))
    with Memcached() as server:
        target = f"{LOOPBACK}:{server.port}"
        with Terminal(80, tmp_path, "replay", "a.profile", "--target", target) as terminal:
            wait_until("the question", lambda: terminal.has_shown(rb"\[y/N\]"))
            terminal.press(keys)
            terminal.process.wait(PATIENCE_SECONDS)
            assert terminal.has_shown(said.encode())
    assert said in screen(terminal.shown, 80)


def test_a_narrow_terminal(tmp_path: Path) -> None:
    """Nothing that is shown is wider than it, the question included."""
    rows = [*gets(100, 2), (0.1, 1, b"set", membench.STORED, 0, b"key", 10, 0)]
    make_profile(tmp_path / "a.profile", rows)
    with Memcached() as server:
        target = f"{LOOPBACK}:{server.port}"
        command = ("replay", "a.profile", "--target", target, "--preload")
        with Terminal(60, tmp_path, *command, "--dry-run") as terminal:
            terminal.process.wait(PATIENCE_SECONDS)
            assert terminal.has_shown(b"dry run")
            assert max(map(len, screen(terminal.shown, 200))) <= 60
        with Terminal(60, tmp_path, *command) as terminal:
            wait_until("the question", lambda: terminal.has_shown(rb"\[y/N\]"))
            terminal.press(b"y\n")
            terminal.process.wait(PATIENCE_SECONDS)
            # A terminal may hand on the last lines later; each of the tables ends with "all".
            wait_until("all of it", lambda: terminal.has_shown(rb"(?s)\nall .*\nall [^\n]*\n"))
            assert terminal.has_shown(b"Latency at this client")
    lines = screen(terminal.shown, 200)
    assert max(map(len, lines)) <= 60, lines
    assert "Go on? [y/N] y" in lines and "membench: preloaded 1 key" in lines
    speeds = [line.split()[2] for line in lines if line.startswith(("get ", "set "))][:2]
    assert all(len(speed.rpartition(".")[2]) == 1 for speed in speeds), speeds


def test_the_live_line_of_nothing() -> None:
    fields = membench.live_fields(membench.Tally().take()["counts"], 1.0)
    assert fields[1:] == ["errors 0", "lag - us", "p50 - us", "p99 - us", "hits -"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.profile",),
        ("a.profile", "--target", "nowhere"),
        ("a.profile", "--target", "host:0"),
        ("-", "--target", "host:1"),
        ("a.profile", "b.profile", "--target", "host:1"),
        ("a.profile", "--target", "host:1", "--speed", "0"),
        ("a.profile", "--target", "host:1", "--speed", "fast"),
        ("a.profile", "--target", "host:1", "--loop-mode", "times:0"),
        ("a.profile", "--target", "host:1", "--shard", "2/2"),
        ("a.profile", "--target", "host:1", "--start-at", "yesterday"),
        ("a.profile", "--target", "host:1", "--start-at", "1000"),
        ("a.profile", "--target", "host:1", "--include", "get"),
        ("--merge", "a.json", "--target", "host:1"),
        ("a.profile", "--target", "host:1", "--unknown"),
    ],
)
def test_wrong_usage(arguments: Sequence[str]) -> None:
    done = run("replay", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    error, hint = done.stderr.splitlines()
    assert error.startswith("membench: error: ")
    assert hint == "membench: try membench.py replay --help"


def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(10))
    target = ("--target", f"{LOOPBACK}:1", "--yes")
    empty = make_profile(tmp_path / "empty.profile", [])
    done = run("replay", str(empty), *target)
    assert (done.returncode, "no operations" in done.stderr) == (1, True)
    done = run("replay", "/etc/passwd", *target)
    assert (done.returncode, "is not a membench profile" in done.stderr) == (1, True)
    done = run("replay", str(profile), *target, "--stats-json", str(tmp_path / "none" / "x"))
    assert (done.returncode, "cannot write" in done.stderr) == (1, True)
    done = run("replay", str(profile), "--target", f"unix:{tmp_path}/none", "--yes")
    assert (done.returncode, "cannot connect" in done.stderr) == (1, True)
    damaged = tmp_path / "cut.profile"
    damaged.write_bytes(profile.read_bytes()[:-40])  # its end block is not whole
    done = run("replay", str(damaged), "--dry-run")
    assert "truncated: only data up to the last complete block will be" in done.stdout
    with Memcached() as server:
        assert replay(damaged, server.port)["requests"] == 10


def test_without_epoll(tmp_path: Path) -> None:
    """As on macOS: one clear line; and what needs none works."""
    profile = make_profile(tmp_path / "a.profile", gets(100, connections=5))
    program = f"""if True:
        import os, select, socket, sys
        del select.epoll, socket.SOCK_NONBLOCK, os.sched_getaffinity
        sys.path.insert(0, {str(MODULE.parent)!r})
        import membench
        sys.exit(membench.main(sys.argv[1:]))
    """
    command = [sys.executable, "-c", program, "replay", str(profile), "--yes"]
    command += ["--target", f"{LOOPBACK}:{free_port()}"]
    dry = subprocess.run([*command, "--dry-run"], capture_output=True, check=False)
    assert dry.returncode == 0 and b"100 in 100 writes" in dry.stdout, dry.stderr
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"membench: error: replay needs Linux (epoll)")
    assert len(done.stderr.splitlines()) == 2


def test_a_unix_socket(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "a.profile", gets(100, connections=5))
    path = f"/tmp/membench-{os.getpid()}.socket"  # where "nobody" may make one
    command = ["memcached", "-u", "nobody", "-s", path, "-a", "0777"]
    process = subprocess.Popen(command)
    try:
        wait_until("the socket", lambda: os.path.exists(path))
        results = tmp_path / "results.json"
        done = run(
            *("replay", str(profile), "--target", f"unix:{path}", "--yes"),
            *("--stats-json", str(results)),
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(results.read_text())["misses"] == 100
        assert max(len(line) for line in done.stdout.splitlines()[1:]) <= 80
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        with contextlib.suppress(OSError):
            os.unlink(path)


def test_exptimes_that_are_moments_are_moved(tmp_path: Path) -> None:
    moment = 1_700_000_000 + 1000
    rows: List[Made] = [(0.01, 1, b"set", membench.STORED, 0, b"k" * 20, 5, moment)]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Memcached() as target:
        replay(profile, target.port)
        with target.connect() as connection:
            dump = exchange(connection, b"lru_crawler metadump all\r\n", b"END\r\n").decode()
    expires = int(dump.split("exp=")[1].split(" ")[0])
    assert 1000 - PATIENCE_SECONDS <= expires - time.time() <= 1001


def test_commands_that_change_the_server_are_skipped(tmp_path: Path) -> None:
    ok = membench.OK
    forms = (b"flush_all", b"shutdown", b"verbosity 1", b"stats reset", b"watch fetchers")
    rows: List[Made] = [(0.01, 1, b"invalid", membench.ERROR, 0, None, NO, 0)]
    rows += [(0.02 + n / 100, 1, form, ok, 0, None, NO, 0) for n, form in enumerate(forms)]
    rows += [(0.2, 1, b"stats", ok, 0, None, NO, 0), (0.3, 1, b"version", ok, 0, None, NO, 0)]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Memcached() as target:
        report = replay(profile, target.port)
        skipped = dict.fromkeys(("invalid", "flush_all", "shutdown", "verbosity", "stats"), 1)
        assert report["counts"]["skipped"] == {**skipped, "watch": 1}
        assert target.stats()["cmd_flush"] == 0
        report = replay(profile, target.port, "--include", "flush_all", "--speed", "max")
        assert "flush_all" not in report["counts"]["skipped"]
        assert target.stats()["cmd_flush"] == 1
    assert report["commands"]["flush_all"]["outcomes"] == {"ok": 1}


def test_words_that_are_empty_are_no_flags(tmp_path: Path) -> None:
    """A profile may be anybody's: no server was sent forms like these."""
    forms = (b"mg  N5", b"ms  x", b"ma  MD", b"get")
    rows: List[Made] = [
        (n / 100, 1, form, membench.HIT, 0, b"key", 5, 0) for n, form in enumerate(forms)
    ]
    profile = make_profile(tmp_path / "a.profile", rows)
    with Memcached() as target:
        where = ("--target", f"{LOOPBACK}:{target.port}")
        done = run("replay", str(profile), "--yes", "--preload", *where)
    assert "Traceback" not in done.stderr, done.stderr
    assert "preload" in done.stderr.lower(), done.stderr
