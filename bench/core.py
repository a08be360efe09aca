#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the recorder's Python costs an operation: sudo bench/core.py

A real recording is kept in memory as batches of the ring; its steps are timed apart, with
the CPU time of the thread: taking the batches, parse_events, Matcher.process, packing and
writing the columns. Beside them the floor: draining as much of that traffic with a callback
that does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

from tools import (
    Figure,
    Server,
    Values,
    alternate,
    main,
    make_profile,
    membench,
    replay,
    rounds,
)

# name -> how many keys, are all asked for as often, requests in one write
CASES: Dict[str, Tuple[int, bool, int]] = {
    "1,000 keys, depth 1": (1000, True, 1),
    "1,000 keys, depth 16": (1000, True, 16),
    "a million keys, Zipf, depth 1": (10**6, False, 1),
}
RING_MIB = 256

FLOOR = "floor: empty callback"
SEGMENTS = "runs of exchanges, and other records"
RING, LASTS = "bytes on the ring", "the default ring lasts at a million operations/s"
UNITS = {SEGMENTS: "1/operation", RING: "bytes/operation", LASTS: "s"}


def timed(work: Callable[[], Any], operations: int) -> Tuple[float, Any]:
    """Nanoseconds of CPU an operation, and the result."""
    begin = time.thread_time_ns()
    result = work()
    return (time.thread_time_ns() - begin) / operations, result


@contextlib.contextmanager
def filled_ring(server: Server, profile: Path) -> Iterator[membench.EbpfSource]:
    """A source whose ring holds the traffic of one replay."""
    with membench.EbpfSource([server.port], ring_mib=RING_MIB) as source:
        replay(profile, server.port, "--speed", "max", "--workers", "1")
        source.stop()
        assert not source.counters()["dropped_events"], "the ring is too small for this"
        yield source


def empty_callback(source: membench.EbpfSource) -> None:
    """Drain the ring, and do nothing with it."""
    libbpf = membench.Libbpf()
    callback = membench.SampleFunction(lambda _context, _data, _size: 0)
    ring = libbpf.ring_new(source._object.map_fd("events"), callback, None, None)
    try:
        libbpf.ring_consume(ring)
    finally:
        libbpf.ring_free(ring)


def take_all(source: membench.EbpfSource) -> Tuple[int, List[bytes]]:
    """Drain the ring as the recorder does. Nanoseconds for that alone, and the batches."""
    spent = 0
    batches: List[bytes] = []
    while True:
        begin = time.thread_time_ns()
        batch = source._ring.read(0)
        spent += time.thread_time_ns() - begin
        if not batch:
            return spent, batches
        _, used = membench.parse_events(batch)
        source._ring.take(used)
        batches.append(batch[:used])


def drain_in_turn(
    source: membench.EbpfSource, operations: int, times: int
) -> Tuple[Dict[str, List[float]], List[bytes]]:
    """The floor and our way, on the same ring: its records stay when they are taken, so with
    the reader's position put back they are there again."""
    first = source._ring._consumer[0]
    batches: List[bytes] = []

    def floor() -> Values:
        source._ring._consumer[0] = first
        return {FLOOR: timed(lambda: empty_callback(source), operations)[0]}

    def ours() -> Values:
        nonlocal batches
        source._ring._consumer[0] = first
        spent, batches = take_all(source)
        return {"drain": spent / operations}

    found = alternate({"floor": floor, "ours": ours}, times)
    return {**found["floor"], **found["ours"]}, batches


def record_from(raw: List[bytes], output: Path, operations: int) -> Values:
    """What `record` does with the batches, each step timed."""
    parse_ns = match_ns = write_ns = 0
    clock = time.thread_time_ns
    with membench.ProfileWriter(str(output), force=True) as profile:
        profile.start({"source": "ebpf:any", "ports": [1], "started_unix": time.time()}, 0)
        matcher = membench.Matcher(profile.add, profile.add_connection, b"12345678")
        for batch in raw:
            begin = clock()
            segments, _ = membench.parse_events(batch)
            parsed = clock()
            matcher.process(segments)
            matched = clock()
            if profile.is_due():
                profile.flush(matcher.ledger)
            write_ns += clock() - matched
            match_ns += matched - parsed
            parse_ns += parsed - begin
        begin = clock()
        profile.flush(matcher.ledger)
        write_ns += clock() - begin
    assert matcher.operations >= operations, (matcher.operations, operations)
    return {
        "parse_events": parse_ns / operations,
        "Matcher.process": match_ns / operations,
        "profile's columns": write_ns / operations,
    }


def measure_case(
    server: Server, folder: Path, case: str, count: int, times: int
) -> Dict[str, List[float]]:
    """All steps of one case: name -> nanoseconds an operation."""
    keys, even, depth = CASES[case]
    path = folder / f"{case}.profile"
    profile = make_profile(path, count, 100_000, depth, keys=keys, even=even)
    replay(profile, server.port, "--preload", "--speed", "max")
    with filled_ring(server, profile) as source:
        drained, raw = drain_in_turn(source, count, times)
    output = folder / "core.profile"
    found = alternate({"record": lambda: record_from(raw, output, count)}, times)["record"]
    total = [sum(values) for values in zip(drained["drain"], *found.values())]
    segments = sum(len(membench.parse_events(batch)[0]) for batch in raw) / count
    ring = sum(map(len, raw)) / count
    about = {SEGMENTS: [segments], RING: [ring], LASTS: [(64 << 20) / ring / 1e6]}
    return {**about, **drained, **found, "all four": total}


def measure(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """CPU of the recorder's steps, in ns an operation, with responses."""
    count = 20_000 if options.quick else 40_000
    figures = []
    with Server("-t", "1") as server:
        for case in CASES:
            found = measure_case(server, folder, case, count, rounds(options, 3))
            floor = statistics.median(found[FLOOR])
            for name, values in found.items():
                ratios = []
                if name != FLOOR and name not in UNITS:
                    ratios = [value / floor for value in values]
                figures.append(
                    Figure(
                        "recorder's Python",
                        name,
                        case,
                        UNITS.get(name, "ns/operation"),
                        values,
                        FLOOR if ratios else "",
                        ratios,
                    )
                )
    return figures


SECTIONS = {"core": measure}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
