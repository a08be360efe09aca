#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What recording costs a server, beside other tools: sudo bench/server.py

memcached is pinned to one CPU, the load to another; what watches runs where it likes. Under
a held rate, which membench's own replay sends, and as fast as memcaslap goes. At saturation
whatever takes CPU from the load makes each request dearer (fewer of them for each wake-up
of the server), so the held rate says what watching costs the server.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

from tools import (
    LOAD_CPU,
    SERVER_CPU,
    Figure,
    Server,
    Tool,
    Values,
    alternate,
    busy_ns,
    compared,
    cpu_ns,
    drive,
    main,
    make_profile,
    recorder,
    replay,
    rounds,
    stop_cost_ns,
    tcpdump,
)

NOTHING = "nothing"
RECORDERS = {f"record, {hook}": hook for hook in ("sock", "sock-events", "syscalls")}
UNITS = {
    "server's CPU": "us/operation",
    "watcher's CPU": "us/operation",
    "busy CPU of the machine": "us/operation",
    "busy CPU that watching adds": "us/operation",
    "throughput": "operations/s",
    "client's p50": "us",
    "client's p99": "us",
    "client's p99.9": "us",
}

Load = Callable[[], Tuple[int, Values]]  # operations that it sent, and what it saw


def watcher(variant: str, port: int, folder: Path) -> Tuple[Optional[Tool], int]:
    """What watches, and the CPU that its end takes."""
    if variant == "tcpdump -w":
        return tcpdump(port, folder / "all.pcap"), 0
    if variant == NOTHING:
        return None, 0
    flags = ("--hook", RECORDERS[variant])
    return recorder(port, folder / "all.profile", *flags), stop_cost_ns(*flags)


def measure_one(variant: str, server: Server, folder: Path, load: Load) -> Values:
    """One run of the load."""
    tool, stop_ns = watcher(variant, server.port, folder)
    with contextlib.ExitStack() as stack:
        if tool:
            stack.enter_context(tool)
        busy, used = busy_ns(), cpu_ns(server.pid)
        operations, found = load()
        used = cpu_ns(server.pid) - used
        if tool:
            tool.settle()
        found["server's CPU"] = used / operations / 1000
        found["busy CPU of the machine"] = (busy_ns() - busy) / operations / 1000
        if tool:
            found["watcher's CPU"] = (tool.stop()[0] - stop_ns) / operations / 1000
    return found


def measure_load(
    section: str, options: argparse.Namespace, folder: Path, load_of: Any, times: int
) -> List[Figure]:
    """All watchers in turn under one load."""
    names = [NOTHING, *RECORDERS, "tcpdump -w"]
    with Server("-t", "1", cpu=SERVER_CPU) as server:
        load = load_of(server)
        runs = {name: (lambda name=name: measure_one(name, server, folder, load)) for name in names}
        found = alternate(runs, rounds(options, times))
    base = found[NOTHING]["busy CPU of the machine"]
    for values in list(found.values())[1:]:
        busy = values["busy CPU of the machine"]
        values["busy CPU that watching adds"] = [b - nothing for b, nothing in zip(busy, base)]
    return compared(section, found, UNITS, NOTHING)


def measure_held(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """memcached under a held rate, values of 1 KB, and what watches it."""
    seconds = 1 if options.quick else 3
    count = options.rate * seconds
    profile = make_profile(folder / "load.profile", count, options.rate)

    def load_of(server: Server) -> Load:
        replay(profile, server.port, "--preload", "--speed", "max")

        def load() -> Tuple[int, Values]:
            report, _ = replay(profile, server.port, "--workers", "1", cpu=LOAD_CPU)
            latency = report["latency_us"]
            return report["operations"], {
                "throughput": report["operations_per_second"],
                "client's p50": latency["p50"],
                "client's p99": latency["p99"],
                "client's p99.9": latency["p999"],
            }

        return load

    return measure_load("server, held rate", options, folder, load_of, 3)


def measure_saturated(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """memcached as fast as memcaslap goes (16 connections), and what watches it."""
    count = 20_000 if options.quick else 60_000

    def load_of(server: Server) -> Load:
        drive(server.port, count)

        def load() -> Tuple[int, Values]:
            return count, {"throughput": drive(server.port, count, cpu=LOAD_CPU)[0]}

        return load

    return measure_load("server, saturated", options, folder, load_of, 2)


SECTIONS = {"held": measure_held, "saturated": measure_saturated}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
