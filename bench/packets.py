#!/usr/bin/env python3
"""How fast packets are read, measured on this machine: sudo bench/packets.py

Files: a capture of memcaslap's traffic, repeated until it is large, is read by membench
and by tshark with its memcache dissector, in turn; packets per second of each and their
ratio, as medians (lowest to highest). Live: memcaslap at full speed, recorded by membench
(packet:lo) and by tcpdump with the same buffer, in turn; packets lost by each. Needs
memcached, memcaslap, tcpdump and tshark. Nothing but loopback is used.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from record import ROOT, drive, start_server

MEMBENCH = (sys.executable, str(ROOT / "membench.py"))
BUFFER_MIB = 64  # membench's default for packets
SPARE_BYTES = 512 << 20  # that stay free on the disk
GAP_US = 1_000_000  # between the copies of a capture
LOWEST_PORT = 1024


class Tcpdump:
    """`tcpdump -w` on loopback."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self.process = subprocess.Popen(
            [
                *("tcpdump", "-B", str(BUFFER_MIB << 10), "-i", "lo", "-w", str(path)),
                *("-Z", "root", "ip", "and", "tcp", "port", str(port)),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        assert any("listening" in line for line in self.process.stderr), "no tcpdump"

    def stop(self) -> Tuple[int, int]:
        """Packets captured, packets dropped by the kernel."""
        time.sleep(1.2)  # it reads what the kernel has buffered once a second
        size = -1
        while size != self.path.stat().st_size:
            size = self.path.stat().st_size
            time.sleep(0.3)
        self.process.terminate()
        _, errors = self.process.communicate(timeout=60)
        found = [
            re.search(rf"^(\d+) packets? {what}", errors, re.MULTILINE)
            for what in ("captured", "dropped by kernel")
        ]
        captured, dropped = (int(match[1]) for match in found if match)
        return captured, dropped


# ---- Files ----


class Capture(NamedTuple):
    """A capture that can be repeated: packets of whole connections."""

    data: bytearray  # without the file's header
    header: bytes
    records: List[int]  # where they begin
    ports: List[Tuple[int, int]]  # where a client's port stands, which client it is
    clients: int
    span_us: int


def read_capture(path: Path, server_port: int) -> Capture:
    """What tcpdump wrote on loopback: little-endian, microseconds, Ethernet, IPv4."""
    raw = path.read_bytes()
    header, data = raw[:24], bytearray(raw[24:])
    assert header[:4] == b"\xd4\xc3\xb2\xa1", "not the capture format that was expected"
    records: List[int] = []
    ports: List[Tuple[int, int]] = []
    numbers: Dict[int, int] = {}
    times = []
    at = 0
    while at < len(data):
        seconds, us, captured, _ = struct.unpack_from("<IIII", data, at)
        records.append(at)
        times.append(seconds * 1_000_000 + us)
        tcp = at + 16 + 14 + (data[at + 30] & 15) * 4
        source, target = struct.unpack_from("!HH", data, tcp)
        client, place = (target, tcp + 2) if source == server_port else (source, tcp)
        ports.append((place, numbers.setdefault(client, len(numbers))))
        at += 16 + captured
    return Capture(data, header, records, ports, len(numbers), max(times) - min(times))


def repeat(capture: Capture, copies: int, path: Path, server_port: int) -> None:
    """Write copies one after the other, each with client ports of its own.

    So each copy holds connections of its own, and their sequence numbers can stay.
    """
    free = [port for port in range(LOWEST_PORT, 65536) if port != server_port]
    assert copies * capture.clients <= len(free), "too few ports for so many copies"
    data = capture.data
    times = [struct.unpack_from("<II", data, at) for at in capture.records]
    with path.open("wb") as file:
        file.write(capture.header)
        for copy in range(copies):
            shift = copy * (capture.span_us + GAP_US)
            for at, (seconds, us) in zip(capture.records, times):
                shifted = divmod(seconds * 1_000_000 + us + shift, 1_000_000)
                struct.pack_into("<II", data, at, *shifted)
            for place, client in capture.ports:
                struct.pack_into("!H", data, place, free[copy * capture.clients + client])
            file.write(data)


def time_membench(path: Path, port: int) -> Tuple[float, Dict[str, Any]]:
    """Seconds that `record` takes for a file, and the report on it."""
    output = path.with_suffix(".profile")
    begin = time.monotonic()
    subprocess.run(
        [*MEMBENCH, "record", str(path), str(output), "--port", str(port), "--force"],
        check=True,
        capture_output=True,
    )
    return time.monotonic() - begin, analyze(output)


def time_tshark(path: Path, port: int) -> Tuple[float, int]:
    """Seconds that tshark takes for a file, and the packets it counted."""
    begin = time.monotonic()
    done = subprocess.run(
        [
            *("tshark", "-n", "-r", str(path), "-q", "-z", "io,stat,0"),
            *("-d", f"tcp.port=={port},memcache"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    spent = time.monotonic() - begin
    found = re.search(r"<>[^|]*\|\s*(\d+)\s*\|", done.stdout)
    assert found, done.stdout
    return spent, int(found[1])


def analyze(profile: Path) -> Dict[str, Any]:
    """What `analyze --json` prints."""
    done = subprocess.run(
        [*MEMBENCH, "analyze", "--json", str(profile)], check=True, capture_output=True
    )
    report: Dict[str, Any] = json.loads(done.stdout)
    return report


def measure_files(port: int, folder: Path, packets: int, rounds: int) -> None:
    """Read the same file in turn."""
    small = folder / "small.pcap"
    tcpdump = Tcpdump(small, port)
    try:
        drive(port, min(20_000, packets // 4))
        _, dropped = tcpdump.stop()
    finally:
        tcpdump.process.kill()
        tcpdump.process.wait()
    assert not dropped, f"tcpdump dropped {dropped} packets of the capture to repeat"
    capture = read_capture(small, port)
    copies = -(-packets // len(capture.records))  # rounded up
    size = len(capture.data) * copies
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        sys.exit(
            f"{folder} has {free >> 20:,} MiB free; the capture file needs {size >> 20:,} MiB and "
            f"{SPARE_BYTES >> 20} MiB are to stay free: use --packets, or TMPDIR"
        )
    large = folder / "large.pcap"
    repeat(capture, copies, large, port)
    count = len(capture.records) * copies
    _, once = time_membench(small, port)
    print(
        f"capture file: {count:,} packets, {size >> 20:,} MiB, {once['operations'] * copies:,} "
        f"operations on {capture.clients * copies:,} connections"
    )
    ours, theirs = [], []
    for _ in range(rounds):
        spent, report = time_membench(large, port)
        # Whoever reads only a part of it is fast.
        assert report["operations"] == once["operations"] * copies, report["operations"]
        assert report["loss"]["coverage"] == 1.0, report["loss"]
        ours.append(count / spent)
        spent, counted = time_tshark(large, port)
        assert counted == count, counted
        theirs.append(count / spent)
    large.unlink()
    print(f"  membench  {spread(ours)} packets/s")
    print(f"  tshark    {spread(theirs)} packets/s")
    ratios = [our / their for our, their in zip(ours, theirs)]
    print(f"  ratio     {spread(ratios, '.2f')}")


def spread(values: List[float], form: str = ",.0f") -> str:
    """The median, and between what the values lie."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


# ---- Live ----


def drive_for(port: int, seconds: int) -> float:
    """Operations per second that memcaslap reaches in that time."""
    done = subprocess.run(
        ["memcaslap", "-s", f"127.0.0.1:{port}", "-T", "2", "-c", "16", "-t", f"{seconds}s"],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    found = re.search(r"TPS: (\d+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


def record_live(port: int, folder: Path, seconds: int) -> str:
    """One run under membench."""
    output = folder / "live.profile"
    process = subprocess.Popen(
        [
            *(*MEMBENCH, "record", "packet:lo", str(output), "--port", str(port), "--force"),
            *("--ring-size", str(BUFFER_MIB)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        assert any("recording" in line for line in process.stderr), "no recording"
        rate = drive_for(port, seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    lost = analyze(output)["loss"]["events_lost"]
    line = errors.strip().splitlines()[-1].partition("membench: ")[2]
    return f"{lost:,} packets lost at {rate:,.0f} operations/s; {line}"


def dump_live(port: int, folder: Path, seconds: int) -> str:
    """One run under tcpdump."""
    path = folder / "live.pcap"
    tcpdump = Tcpdump(path, port)
    try:
        rate = drive_for(port, seconds)
        captured, dropped = tcpdump.stop()
    finally:
        tcpdump.process.kill()
        tcpdump.process.wait()
    path.unlink()
    return f"{dropped:,} packets lost at {rate:,.0f} operations/s; {captured:,} captured"


def measure_live(port: int, folder: Path, seconds: int, rounds: int) -> None:
    """Record in turn."""
    print(f"live: memcaslap for {seconds} s, buffers of {BUFFER_MIB} MiB")
    for _ in range(rounds):
        print(f"  packet:lo  {record_live(port, folder, seconds)}")
        print(f"  tcpdump    {dump_live(port, folder, seconds)}")


def main(arguments: Optional[List[str]] = None) -> None:
    """Measure files, then live packets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=1_000_000, help="of the capture file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each live run")
    parser.add_argument("--skip-live", action="store_true")
    options = parser.parse_args(arguments)
    server, port = start_server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure_files(port, Path(folder), options.packets, options.rounds)
            if not options.skip_live:
                measure_live(port, Path(folder), options.seconds, options.rounds)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
