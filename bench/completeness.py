#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What is lost at the most that this machine can drive: sudo bench/completeness.py

Server, load and recorder share all CPUs. What was recorded is compared with memcached's own
counters (cmd_get and cmd_set).
"""

from __future__ import annotations

import argparse
import re
import socket
from pathlib import Path
from typing import Callable, Dict, List

from tools import (
    CPUS,
    LOOPBACK,
    Figure,
    Server,
    Values,
    alternate,
    analyze,
    drive,
    main,
    make_profile,
    recorder,
    replay,
    rounds,
    stop_cost_ns,
    tcpdump,
)

# name -> requests in one write, keys in a get
CASES = {"depth 1": (1, 1), "depth 16": (16, 1), "gets of 10 keys": (1, 10)}
UNITS = {
    "throughput": "operations/s",
    "operations not recorded": "operations",
    "events lost": "events",
    "recorder's CPU": "us/operation",
}


def counted(server: Server) -> int:
    """The gets and sets that memcached counts."""
    with socket.create_connection((LOOPBACK, server.port), 10) as connection:
        connection.sendall(b"stats\r\n")
        answer = b""
        while not answer.endswith(b"END\r\n"):
            answer += connection.recv(65536)
    return sum(map(int, re.findall(rb"STAT cmd_[gs]et (\d+)", answer)))


def load(server: Server, folder: Path, case: str, count: int) -> float:
    """memcaslap, or what it cannot do our replay, as fast as it goes."""
    if CASES[case] == (1, 1):
        return drive(server.port, count, len(CPUS))[0]
    report, _ = replay(folder / f"{case}.profile", server.port, "--speed", "max")
    return float(report["operations_per_second"])


def record_one(
    server: Server, folder: Path, case: str, count: int, *options: str, source: str = "ebpf:any"
) -> Values:
    """One recording with the default ring."""
    output = folder / "all.profile"
    before = counted(server)
    stop_ns = stop_cost_ns(*options, source=source)
    with recorder(server.port, output, *options, source=source) as tool:
        rate = load(server, folder, case, count)
        tool.settle()
        used_ns = tool.stop()[0] - stop_ns
    report = analyze(output)
    recorded = sum(command["operations"] for command in report["commands"].values())
    return {
        "throughput": rate,
        "operations not recorded": counted(server) - before - recorded,
        "events lost": report["loss"]["events_lost"],
        "recorder's CPU": used_ns / recorded / 1000,
    }


def dump_one(server: Server, folder: Path, count: int) -> Values:
    """The same traffic under tcpdump with the buffer that packet:lo has."""
    with tcpdump(server.port, folder / "all.pcap") as tool:
        rate = load(server, folder, "depth 1", count)
        tool.settle()
        _, words = tool.stop()
    dropped = re.search(r"(\d+) packets? dropped by kernel", words)
    assert dropped, words
    return {"throughput": rate, "events lost": int(dropped[1])}


def measure(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """Lost events with the default ring, all CPUs saturated; memcaslap at depth 1, else replay."""
    count = 20_000 if options.quick else 100_000
    with Server() as server:
        runs: Dict[str, Callable[[], Values]] = {}
        for case, (depth, keys_a_get) in CASES.items():
            if depth * keys_a_get > 1:
                path = folder / f"{case}.profile"
                make_profile(path, count, 100_000, depth, keys_a_get=keys_a_get)
                replay(path, server.port, "--preload", "--speed", "max")
            for flags in (("--hook", "sock"), ("--hook", "sock-events"), ("--no-responses",)):
                name = ", ".join(("record", flags[-1], case))
                runs[name] = lambda case=case, flags=flags: record_one(
                    server, folder, case, count, *flags
                )
        runs["record, packet:lo, depth 1"] = lambda: record_one(
            server, folder, "depth 1", count, source="packet:lo"
        )
        runs["tcpdump -w, depth 1"] = lambda: dump_one(server, folder, count)
        found = alternate(runs, rounds(options, 2))
    return [
        Figure("completeness", name, variant, unit, values[name])
        for name, unit in UNITS.items()
        for variant, values in found.items()
        if name in values
    ]


SECTIONS = {"completeness": measure}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
