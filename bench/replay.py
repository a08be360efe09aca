#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How well membench replays: bench/replay.py

timing       how late requests are sent at --speed 1 of 5,000 operations/s, and the
             rate at --speed 4
throughput   operations/s at --speed max over 50 connections, at depth 1 and 16,
             beside memcaslap with as many connections and the same mix (9 gets to 1
             set, keys of 64 bytes, values of 1 KB), in turn, and the CPU of both
connections  10,000 connections, each used (--full only)
memory       the most memory of a worker on a profile of 50 million operations, of
             which some seconds are replayed (--full only)
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import time
from pathlib import Path
from typing import List

from tools import (
    CPUS,
    LOOPBACK,
    MEMBENCH,
    Figure,
    Server,
    Values,
    alternate,
    compared,
    drive,
    main,
    make_profile,
    peak_mib,
    replay,
    rounds,
)

CONNECTIONS = 50


def measure_timing(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """How late replay sends: 5,000 operations/s at speed 1, and at speed 4."""
    seconds = 2 if options.quick else 6
    profile = make_profile(folder / "timing.profile", 5000 * seconds, 5000)
    figures = []
    with Server() as server:
        replay(profile, server.port, "--preload", "--speed", "max")
        for speed in (1, 4):
            report, cpu = replay(profile, server.port, "--speed", str(speed))
            label = f"speed {speed}"
            rate, wanted = report["operations_per_second"], 5000 * speed
            figures.append(
                Figure(
                    *("replay, timing", "rate", label, "operations/s", [rate]),
                    *("the rate asked for", [rate / wanted]),
                )
            )
            for name, key in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max")):
                late = report["lateness_us"][key]
                figures.append(Figure("replay, timing", f"late by {name}", label, "us", [late]))
            cost = cpu / report["operations"] * 1e6
            figures.append(Figure("replay, timing", "CPU", label, "us/operation", [cost]))
    return figures


def measure_throughput(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """Replay at speed max beside memcaslap; both have all CPUs, the server one thread."""
    count = 10_000 if options.quick else 60_000
    figures = []
    for depth in (1, 16):
        profile = make_profile(folder / f"depth{depth}.profile", count, 100_000, depth)
        with Server("-t", "1") as server:
            replay(profile, server.port, "--preload", "--speed", "max")

            def ours(profile: Path = profile, server: Server = server) -> Values:
                report, cpu = replay(profile, server.port, "--speed", "max")
                return {"throughput": report["operations_per_second"], "CPU": cpu / count * 1e6}

            def theirs(server: Server = server) -> Values:
                rate, cpu = drive(server.port, count, len(CPUS), CONNECTIONS)
                return {"throughput": rate, "CPU": cpu / count * 1e6}

            names = {f"replay, depth {depth}": ours, "memcaslap, depth 1": theirs}
            found = alternate(names, rounds(options, 2))
        units = {"throughput": "operations/s", "CPU": "us/operation"}
        figures += compared("replay, throughput", found, units, "memcaslap, depth 1")
    return figures


def measure_connections(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """Many connections (--full only)."""
    if not options.full:
        return []
    count = 10_000
    profile = make_profile(folder / "many.profile", 10 * count, 2.0 * count, 1, count)
    with Server("-c", str(count + 100)) as server:
        report, _ = replay(profile, server.port, "--preload")
    late = report["lateness_us"]
    opened = report["counts"]["connections"]
    return [
        Figure("replay, connections", "connections", "replay", "", [opened]),
        Figure("replay, connections", "failed requests", "replay", "", [report["failed_requests"]]),
        Figure("replay, connections", "late by p50", "replay", "us", [late["p50"]]),
        Figure("replay, connections", "late by p99", "replay", "us", [late["p99"]]),
    ]


def measure_memory(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """The most memory of a worker, 50 million operations (--full only)."""
    if not options.full:
        return []
    profile = make_profile(folder / "large.profile", 50_000_000, 200_000)
    with Server() as server:
        process = subprocess.Popen(
            [
                *(*MEMBENCH, "replay", str(profile), "--yes", "-q", "--speed", "max"),
                *("--target", f"{LOOPBACK}:{server.port}", "--workers", "1", "--duration", "20"),
            ],
            stdout=subprocess.DEVNULL,
        )
        peak = 0.0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    for child in children.read_text().split():
                        peak = max(peak, peak_mib(int(child)))
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
    return [Figure("replay, memory", "a worker's most", "replay", "MiB", [peak])]


SECTIONS = {
    "timing": measure_timing,
    "throughput": measure_throughput,
    "connections": measure_connections,
    "memory": measure_memory,
}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
