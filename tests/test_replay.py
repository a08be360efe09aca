"""Replaying: the same traffic reaches another server, and what goes wrong is told.

The targets are real: memcached, and small servers that misbehave in one way each.
"""

from __future__ import annotations

import base64
import contextlib
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
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import membench
import pytest
from live import (
    LOOPBACK,
    MODULE,
    Memcached,
    Recorder,
    exchange,
    free_port,
    read_rows,
    require,
    run,
    wait_until,
)


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
) -> Path:
    """A profile of these operations. events: (seconds, connection, kind)."""
    writer = membench.Matcher(lambda row: None, lambda *event: None, b"s" * 32)
    opened = {row[1] for row in rows} - {event[1] for event in events}
    with membench.ProfileWriter(str(path)) as profile:
        profile.start({**HEADER, "started_unix": started_unix}, 0)
        for number in sorted(opened):
            profile.add_connection(0, number, 11211, membench.OPEN)
        for at, number, kind in events:
            profile.add_connection(int(at * 1e9), number, 11211, kind)
        for at, number, form, outcome, batch, key, size, exptime in rows:
            code = writer._encode_key(key) if key else 0
            profile.add(
                (int(at * 1e9), 50_000, number, form, outcome, batch, 0, code, size, exptime)
            )
            if profile.is_due():
                profile.flush(membench.Ledger())
        profile.finish(membench.Ledger(), {"duration_seconds": seconds})
    return path


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
        items = membench.Preload(str(first), membench.Share(0, 1), membench.KeyTexts()).items()
        address = membench.Target(socket.AF_INET, (LOOPBACK, target.port), "")
        assert membench.store_all(address, items, 5) == (16, 0)
        exchange(target._control, b"get nothing\r\n", b"END\r\n")
        report: Dict[str, Any] = {}
        options = ("--speed", speed, "--workers", "1" if speed == "max" else "2")
        record(second, target, lambda: report.update(replay(first, target.port, *options)))
    done = run("compare", str(first), str(second))
    assert done.returncode == 0, done.stdout
    assert report["hit_ratio"] == report["recorded_hit_ratio"]
    assert not any(report["errors"].values())
    assert report["counts"]["skipped"] == {}
    assert report["counts"]["unknown_uniques"] == 0
