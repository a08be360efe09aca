#!/usr/bin/env python3
"""How well membench replays, measured on this machine: bench/replay.py

Prints, on memcached servers of its own on loopback:

    timing       how late requests are sent at --speed 1 of 5,000 operations/s, and the
                 rate at --speed 4
    throughput   operations/s at --speed max over 50 connections, at depth 1 and 16,
                 beside memcaslap with as many connections and the same mix (9 gets to 1
                 set, keys of 64 bytes, values of 1 KB), in turn, and the CPU of both
    connections  10,000 connections, each used
    memory       the most memory of a worker on a profile of 50 million operations, of
                 which 30 seconds are replayed

Needs memcached and memcaslap. Run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import membench  # noqa: E402

CONNECTIONS = 50
KEYS = 10_000
KEY_BYTES, VALUE_BYTES = 64, 1024


@contextlib.contextmanager
def start_server(*options: str) -> Iterator[int]:
    """A memcached on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["memcached", "-u", "nobody", "-U", "0", "-l", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen([*command, "-m", "1024", *options])
    try:
        time.sleep(0.5)
        yield port
    finally:
        server.kill()
        server.wait()


def make_profile(
    path: Path, operations: int, rate: float, depth: int = 1, connections: int = CONNECTIONS
) -> Path:
    """A profile of this mix: batches of `depth`, the connections in turn."""
    chance = random.Random(1)
    codes = [chance.getrandbits(64) << 16 | KEY_BYTES for _ in range(KEYS)]
    with membench.ProfileWriter(str(path)) as profile:
        header = {"source": "ebpf:any", "hook": "sock", "host": "bench", "ports": [11211]}
        profile.start({**header, "started_unix": time.time()}, 0)
        for number in range(1, connections + 1):
            profile.add_connection(number, number, 11211, membench.OPEN)
        ledger = membench.Ledger()
        add, step_ns = profile.add, 1e9 / rate
        for place in range(operations):
            batch, position = divmod(place, depth)
            is_set = chance.random() < 0.1
            form = b"set" if is_set else b"get"
            outcome = membench.STORED if is_set else membench.HIT
            code = codes[int(chance.random() * KEYS)]
            at = 1_000_000 + int(batch * depth * step_ns)
            number = batch % connections + 1
            add((at, 20_000, number, form, outcome, position, 0, code, VALUE_BYTES, 0))
            if not (place + 1) % min(int(rate), 65536):  # as a recorder does, each second
                profile.flush(ledger)
        profile.finish(ledger, {"duration_seconds": operations / rate})
    return path


def replay(profile: Path, port: int, *options: str) -> Tuple[Dict[str, Any], float]:
    """Results of a replay, and the CPU seconds of all its processes."""
    results = profile.with_suffix(".json")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "membench.py"), "replay", str(profile), "--yes", "-q"),
            *("--target", f"127.0.0.1:{port}", "--stats-json", str(results), *options),
        ],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(results.read_text()), cpu


def drive(port: int, operations: int, threads: int) -> Tuple[float, float]:
    """memcaslap: operations per second, and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["memcaslap", "-s", f"127.0.0.1:{port}", "-T", str(threads)]
    command += ["-c", str(CONNECTIONS), "-x", str(operations)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"TPS: (\d+)", done.stdout)
    assert found, done.stdout
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(found[1]), cpu


def measure_timing(folder: Path, options: argparse.Namespace) -> None:
    """Lateness at speed 1, the rate at speed 4."""
    profile = make_profile(folder / "timing.profile", 5000 * options.seconds, 5000)
    with start_server() as port:
        for speed in ("1", "4"):
            report, cpu = replay(profile, port, "--preload", "--speed", speed)
            late = report["lateness_us"]
            print(
                f"  speed {speed}: {report['operations_per_second']:,.0f} operations/s of "
                f"{5000 * int(speed):,}; sent late by p50 {late['p50']:.0f} us, "
                f"p99 {late['p99']:.0f} us, p99.9 {late['p999']:.0f} us, "
                f"max {late['max']:.0f} us; CPU {cpu:.1f} s"
            )


def measure_throughput(folder: Path, options: argparse.Namespace) -> None:
    """Speed max beside memcaslap."""
    count = options.operations
    for depth in (1, 16):
        profile = make_profile(folder / f"depth{depth}.profile", count, 100_000, depth)
        found: Dict[str, List[float]] = {}
        with start_server("-t", "1") as port:
            replay(profile, port, "--preload", "--speed", "max")
            for _ in range(options.rounds):
                report, cpu = replay(
                    profile, port, "--speed", "max", "--workers", str(options.workers)
                )
                rate, their_cpu = drive(port, count, options.workers)
                ours = report["operations_per_second"]
                for name, value in (
                    ("replay", ours),
                    ("memcaslap", rate),
                    ("ratio", ours / rate),
                    ("replay cpu", cpu / count * 1e6),
                    ("memcaslap cpu", their_cpu / count * 1e6),
                ):
                    found.setdefault(name, []).append(value)
        median = {name: statistics.median(values) for name, values in found.items()}
        ratios = found["ratio"]
        print(
            f"  depth {depth}: {median['replay']:,.0f} operations/s, memcaslap (depth 1) "
            f"{median['memcaslap']:,.0f}, ratio {median['ratio']:.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}); CPU an operation "
            f"{median['replay cpu']:.1f} us, memcaslap {median['memcaslap cpu']:.1f} us"
        )


def measure_connections(folder: Path, options: argparse.Namespace) -> None:
    """Many connections."""
    count = options.connections
    profile = make_profile(folder / "many.profile", 10 * count, 2.0 * count, 1, count)
    with start_server("-c", str(count + 100)) as port:
        report, cpu = replay(profile, port, "--preload")
    late = report["lateness_us"]
    print(
        f"  {report['counts']['connections']:,} connections, {report['requests']:,} requests, "
        f"{report['failed_requests']:,} failed; sent late by p50 {late['p50']:.0f} us, "
        f"p99 {late['p99']:.0f} us; CPU {cpu:.1f} s"
    )


def measure_memory(folder: Path, options: argparse.Namespace) -> None:
    """The most memory of a worker."""
    profile = make_profile(folder / "large.profile", options.large, 200_000)
    size = profile.stat().st_size
    command = [sys.executable, str(ROOT / "membench.py"), "replay", str(profile), "--yes", "-q"]
    with start_server() as port:
        process = subprocess.Popen(
            [
                *(*command, "--target", f"127.0.0.1:{port}", "--speed", "max"),
                *("--workers", "1", "--duration", str(options.seconds)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        peak = 0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None:
            with contextlib.suppress(OSError):
                for child in children.read_text().split():
                    status = Path(f"/proc/{child}/status").read_text()
                    found = re.search(r"VmHWM:\s+(\d+)", status)
                    peak = max(peak, int(found[1]) if found else 0)
            time.sleep(0.05)
        assert process.stdout
        sent = re.search(r"Operations\s+([\d,]+)", process.stdout.read())
    assert sent
    print(
        f"  {options.large:,} operations, {size / 2**20:,.0f} MiB; {sent[1]} replayed in "
        f"{options.seconds} s; worker's memory at most {peak / 1024:,.0f} MiB"
    )


PARTS = {
    "timing": measure_timing,
    "throughput": measure_throughput,
    "connections": measure_connections,
    "memory": measure_memory,
}


def main(arguments: Optional[List[str]] = None) -> None:
    """Measure all, or the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="default: all")
    parser.add_argument("--operations", type=int, default=500_000, help="of a throughput run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=30, help="of timing and memory")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=50_000_000, help="operations for memory")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.part or PARTS:
            print(name, flush=True)
            PARTS[name](Path(folder), options)


if __name__ == "__main__":
    main()
