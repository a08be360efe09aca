#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Mixed traffic for minutes, as much as the machine can drive: sudo bench/soak.py --minutes 10

Text, meta and binary clients at once, against one memcached; all of it recorded. Prints the
recorder's memory over time, whether the recording equals the server's own counters, and
whether the bytes that it recorded and those that it says it lost are all that the server
moved. Exit status 1 if they are not, if a number differs and nothing is said to be lost, or if
memory grows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, List

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from live import COMPARED, Memcached, Recorder, counters  # noqa: E402
from test_binary import talk_binary  # noqa: E402
from test_record import run_memcaslap, run_pipelines  # noqa: E402

SAMPLE_SECONDS = 10.0
GROWTH_MIB = 64  # from the second sample on; caches fill up in the beginning


def memory_mib(pid: int) -> float:
    """The resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def repeat(action: Callable[[int], None], until: float, failures: List[str]) -> None:
    """Again and again, until the time comes."""
    turn = 0
    while time.monotonic() < until:
        turn += 1
        try:
            action(turn)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failures.append(repr(error)[:200])
            return


def main() -> int:
    """Drive, sample, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    failures: List[str] = []
    samples: List[float] = []
    with tempfile.TemporaryDirectory() as folder, Memcached("-t", "4", "-m", "512") as server:
        output = Path(folder, "soak.profile")
        actions: List[Callable[[int], None]] = [
            lambda _: run_memcaslap(server),
            lambda _: run_memcaslap(server, "-B"),
            lambda turn: run_pipelines(server, turn),
            lambda turn: talk_binary(server, turn),
        ]
        told_bytes = server.told_bytes
        before = server.stats()
        told_bytes = server.told_bytes - told_bytes  # written after it was counted
        with Recorder(output, "--port", str(server.port)) as recorder:
            until = time.monotonic() + options.minutes * 60
            threads = [
                threading.Thread(target=repeat, args=(action, until, failures))
                for action in actions
            ]
            for thread in threads:
                thread.start()
            while time.monotonic() < until:
                time.sleep(min(SAMPLE_SECONDS, max(until - time.monotonic(), 0.1)))
                samples.append(memory_mib(recorder.process.pid))
            for thread in threads:
                thread.join()
            report = recorder.stop()
        after = server.stats()
        counted = counters(output)
        size_mib = output.stat().st_size / (1 << 20)
    different = {
        name: (counted[name], after[name] - before[name])
        for name in COMPARED
        if counted[name] != after[name] - before[name]
    }
    lost = report["loss"]["bytes_lost"]
    moved_bytes = sum(after[name] - before[name] for name in ("bytes_read", "bytes_written"))
    moved_bytes -= told_bytes + len(b"stats\r\n")
    unsaid_bytes = moved_bytes - report["loss"]["bytes_seen"]
    print(
        f"{report['operations']:,} operations, {report['connections']:,} connections, "
        f"{size_mib:.0f} MiB, coverage {report['loss']['coverage']:.4%}, {lost:,} bytes lost"
    )
    print(f"bytes that the server moved, less those recorded or reported lost: {unsaid_bytes:,}")
    print("memory, MiB: " + " ".join(f"{sample:.0f}" for sample in samples))
    print(f"counters that differ (recorded, of the server): {different or 'none'}")
    for failure in failures:
        print(f"a client failed: {failure}")
    grown = len(samples) > 2 and max(samples[2:]) - samples[1] > GROWTH_MIB
    return 1 if failures or grown or unsaid_bytes or (different and not lost) else 0


if __name__ == "__main__":
    sys.exit(main())
