#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How fast capture files are read: sudo bench/packets.py

A capture of memcaslap's traffic, repeated until it is large, is read by membench and by
tshark with its memcache dissector, in turn. What is lost live, bench/completeness.py says.
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from tools import (
    MEMBENCH,
    Figure,
    Server,
    Values,
    alternate,
    analyze,
    compared,
    drive,
    main,
    rounds,
    tcpdump,
)

SPARE_BYTES = 512 << 20  # that stay free on the disk
GAP_US = 1_000_000  # between the copies of a capture
LOWEST_PORT = 1024


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


def capture_of(port: int, path: Path, operations: int) -> Capture:
    """A capture of memcaslap's traffic, whole."""
    with tcpdump(port, path) as tool:
        drive(port, operations)
        tool.settle()
        _, words = tool.stop()
    assert re.search(r"\b0 packets dropped by kernel", words), words
    return read_capture(path, port)


def measure(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """A capture file of gets and sets, values of 1 KB: `record FILE` beside tshark -z io,stat."""
    packets = 20_000 if options.quick else 150_000
    small, large = folder / "small.pcap", folder / "large.pcap"
    with Server("-t", "1") as server:
        port = server.port
        capture = capture_of(port, small, min(20_000, packets // 4))
    copies = -(-packets // len(capture.records))  # rounded up
    size, free = len(capture.data) * copies, shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        sys.exit(
            f"{folder} has {free >> 20:,} MiB free; the capture file needs {size >> 20:,} MiB and "
            f"{SPARE_BYTES >> 20} MiB are to stay free: set TMPDIR"
        )
    repeat(capture, copies, large, port)
    count = len(capture.records) * copies
    _, once = time_membench(small, port)

    def ours() -> Values:
        spent, report = time_membench(large, port)
        # Whoever reads only a part of it is fast.
        assert report["operations"] == once["operations"] * copies, report["operations"]
        assert report["loss"]["coverage"] == 1.0, report["loss"]
        return {"speed": count / spent}

    def theirs() -> Values:
        spent, counted = time_tshark(large, port)
        assert counted == count, counted
        return {"speed": count / spent}

    found = alternate({"record": ours, "tshark": theirs}, rounds(options, 3))
    return compared("capture files", found, {"speed": "packets/s"}, "tshark")


SECTIONS = {"packets": measure}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
