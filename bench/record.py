#!/usr/bin/env python3
"""What recording costs, measured on this machine: sudo bench/record.py

Prints, for each hook family: the run time of the kernel programs per event
(kernel.bpf_stats_enabled), the recorder's CPU per operation, and memcaslap's
throughput without and with the recorder, in turn, as medians. Needs memcached,
memcaslap and bpftool. Nothing but loopback is used.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
VARIANTS: Dict[str, List[str]] = {
    "sock": ["--hook", "sock"],
    "sock, no responses": ["--hook", "sock", "--no-responses"],
    "syscalls": ["--hook", "syscalls"],
    "syscalls, no responses": ["--hook", "syscalls", "--no-responses"],
}


def start_server() -> Tuple[subprocess.Popen[bytes], int]:
    """A memcached on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        ["memcached", "-u", "nobody", "-U", "0", "-l", "127.0.0.1", "-p", str(port), "-t", "1"]
    )
    time.sleep(0.5)
    return server, port


def drive(port: int, operations: int) -> float:
    """Operations per second that memcaslap reaches."""
    done = subprocess.run(
        ["memcaslap", "-s", f"127.0.0.1:{port}", "-T", "1", "-c", "16", "-x", str(operations)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r"TPS: (\d+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


class Recorder:
    """A recording that is measured."""

    def __init__(self, port: int, folder: str, options: List[str]) -> None:
        self.output = Path(folder, f"{time.monotonic_ns()}.profile")
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(ROOT / "membench.py"), "record", "ebpf:any"),
                *(str(self.output), "--port", str(port), *options),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        assert "recording" in self.process.stderr.readline()
        self.cpu_at_start = self.cpu_seconds()

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    def programs(self) -> Dict[str, Tuple[int, int]]:
        """Program -> (runs, nanoseconds) of those that ran."""
        listed = subprocess.run(
            ["bpftool", "--json", "prog", "list"], capture_output=True, text=True, check=True
        )
        return {
            program["name"]: (program["run_cnt"], program["run_time_ns"])
            for program in json.loads(listed.stdout)
            if program.get("run_cnt") and program["name"].startswith(("sock_", "sys_"))
        }

    def stop(self) -> Tuple[float, int, str]:
        """CPU seconds of the recording, operations recorded, and its last line."""
        time.sleep(0.3)  # the rest of the ring
        cpu = self.cpu_seconds() - self.cpu_at_start
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=120)
        found = re.search(r"([\d,]+) operations in", errors)
        assert found, errors
        return cpu, int(found[1].replace(",", "")), errors.strip().splitlines()[-1]


def measure(port: int, folder: str, options: List[str], operations: int, rounds: int) -> None:
    """One variant: alternate without and with, then the programs' run time."""
    ratios, plain, recorded, cpu_us = [], [], [], []
    last = ""
    for _ in range(rounds):
        without = drive(port, operations)
        recorder = Recorder(port, folder, options)
        rate = drive(port, operations)
        cpu, count, last = recorder.stop()
        plain.append(without)
        recorded.append(rate)
        ratios.append(rate / without)
        cpu_us.append(cpu / count * 1e6)
    print(
        f"  throughput  {statistics.median(plain):,.0f} -> {statistics.median(recorded):,.0f} /s, "
        f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    print(
        f"  recorder    {statistics.median(cpu_us):.2f} us of CPU per operation "
        f"({min(cpu_us):.2f} to {max(cpu_us):.2f})"
    )
    STATS.write_text("1")
    try:
        recorder = Recorder(port, folder, options)
        drive(port, operations)
        for name, (runs, spent_ns) in sorted(recorder.programs().items()):
            print(f"  {name:<18} {spent_ns / runs:6.0f} ns a run, {runs:,} runs")
        recorder.stop()
    finally:
        STATS.write_text("0")
    print(f"  {last.partition('membench: ')[2]}")


def main(arguments: Optional[List[str]] = None) -> None:
    """Measure all variants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=200_000, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="default: all")
    options = parser.parse_args(arguments)
    server, port = start_server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            drive(port, 50_000)
            for name in options.variant or VARIANTS:
                print(name)
                measure(port, folder, VARIANTS[name], options.operations, options.rounds)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
