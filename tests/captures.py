# SPDX-License-Identifier: GPL-2.0-only
"""Capture files for the tests: written by tcpdump, taken apart, damaged, put together again."""

from __future__ import annotations

import itertools
import random
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from live import (
    PATIENCE_SECONDS,
    Memcached,
    exchange,
    membench,
    read_until,
    thread_state,
    wait_until,
)
from rows import Rows

ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276


# An Ethernet header, %s is the type of what follows.
LINKS_ETHERNET = {
    "ethernet": b"\2" * 12 + b"%s",
    "vlan": b"\2" * 12 + b"\x81\0\0\5%s",
    "two vlans": b"\2" * 12 + b"\x88\xa8\0\5\x81\0\x40\6%s",
}


class Packet(NamedTuple):
    """One packet of a capture, from the link layer on."""

    time_ns: int
    data: bytes
    length: int  # on the wire


class Tcpdump:
    """`tcpdump -w` on a port. A context manager; the file is whole when it is left."""

    def __init__(self, path: Path, port: int, interface: str = "lo", *options: str) -> None:
        self.path = path
        command = ["tcpdump", "-U", "-B", "131072", "-i", interface, "-w", str(path), *options]
        self._process = subprocess.Popen(
            [*command, "-Z", "root", "tcp", "port", str(port)], stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Tcpdump:
        assert self._process.stderr
        for line in self._process.stderr:
            if "listening" in line:
                return self
        raise AssertionError("tcpdump did not start")

    def __exit__(self, *_exception: object) -> None:
        time.sleep(1.2)  # it reads what the kernel has buffered once a second
        size = -1
        stat = Path(f"/proc/{self._process.pid}/stat")
        while size != self.path.stat().st_size:  # it has taken in what there was
            size = self.path.stat().st_size
            time.sleep(0.3)
            wait_until("tcpdump to rest", lambda: thread_state(stat) != "R")
        self._process.terminate()
        _, errors = self._process.communicate(timeout=PATIENCE_SECONDS)
        assert "0 packets dropped by kernel" in errors, errors


# ---- Files ----


def read_pcap(path: Path) -> List[Packet]:
    """The packets of a little-endian file of microseconds, as tcpdump writes it."""
    data = path.read_bytes()
    assert data[:4] == b"\xd4\xc3\xb2\xa1"
    packets = []
    at = 24
    while at < len(data):
        seconds, fraction, captured, length = struct.unpack_from("<IIII", data, at)
        at += 16
        time_ns = seconds * 10**9 + fraction * 1000
        packets.append(Packet(time_ns, data[at : at + captured], length))
        at += captured
    return packets


def to_pcap(
    packets: Iterable[Packet], order: str = "<", ns: bool = False, link: int = ETHERNET
) -> bytes:
    """A pcap file."""
    magic = 0xA1B23C4D if ns else 0xA1B2C3D4
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for time_ns, data, length in packets:
        seconds, rest = divmod(time_ns, 10**9)
        head = struct.pack(order + "IIII", seconds, rest // (1 if ns else 1000), len(data), length)
        parts += [head, data]
    return b"".join(parts)


def block(order: str, kind: int, body: bytes) -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def to_pcapng(
    packets: Iterable[Packet],
    order: str = "<",
    links: Sequence[int] = (ETHERNET,),
    resolution: Optional[int] = None,
    simple: bool = False,
    choose: Callable[[int], int] = lambda number: 0,
) -> bytes:
    """A pcapng file; packet `number` belongs to the interface `choose(number)`."""
    section = struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)
    parts = [block(order, 0x0A0D0D0A, section)]
    for link in links:
        option = b""
        if resolution is not None:
            option = struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)
        parts.append(block(order, 1, struct.pack(order + "HHI", link, 0, 262144) + option))
    units = {None: 10**6}.get(resolution) or (
        2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution  # type: ignore[operator]
    )
    for number, (time_ns, data, length) in enumerate(packets):
        if simple:
            parts.append(block(order, 3, struct.pack(order + "I", length) + data))
            continue
        stamp = time_ns * units // 10**9
        head = (choose(number), stamp >> 32, stamp & 0xFFFFFFFF, len(data), length)
        parts.append(block(order, 6, struct.pack(order + "IIIII", *head) + data))
        if number % 10 == 0:  # something that nobody knows
            parts.append(block(order, 0x0BAD, b"xyz"))
    return b"".join(parts)


def with_head(packets: Iterable[Packet], head: bytes, cut: int = 14) -> List[Packet]:
    """The packets with another link layer in front."""
    return [Packet(p.time_ns, head + p.data[cut:], p.length - cut + len(head)) for p in packets]


def snapped(packets: Iterable[Packet], length: int) -> List[Packet]:
    """As tcpdump -s would have captured them."""
    return [p._replace(data=p.data[:length]) for p in packets]


# ---- What membench makes of them ----


class Result(NamedTuple):
    """What a capture file holds."""

    rows: List[Any]  # membench.Operation
    ledger: Any
    source: Any
    opened: int

    @property
    def identities(self) -> List[Tuple[Any, ...]]:
        """The operations, but for what depends on the order of connections."""
        return sorted((row[:2], row[3:]) for row in self.rows)


SECRET = b"0123456789abcdef"


def read_capture(path: Path, data: Optional[bytes], port: int, responses: bool = True) -> Result:
    """Through the source and the matcher, as `record` does it."""
    if data is not None:
        path.write_bytes(data)
    rows = Rows()
    with membench.CaptureSource(str(path), [port]) as source:
        matcher = membench.Matcher(
            rows.take,
            lambda *_: None,
            SECRET,
            responses,
            source.reads,
        )
        while source.started(0) is None:
            pass
        while True:
            segments = source.read(0)
            if segments is None:
                break
            matcher.process(segments)
        for _ in range(2):
            matcher.process(())
        matcher.finish()
        matcher.ledger.kernel = source.counters()
    return Result(rows, matcher.ledger, source, matcher.opened_count)


UNKNOWN = (membench.LOST, membench.UNANSWERED)


def inventions(rows: Iterable[Any], clean: Iterable[Any]) -> List[Any]:
    """Operations that the clean stream does not hold, or not so, or not so often.

    The streams of talk() have no two operations alike.
    """

    def request(row: Any) -> Tuple[Any, ...]:
        return (row[3], row[6], row[7], row[9])

    counts = Counter(map(request, clean))
    known: Dict[Tuple[Any, ...], set[Tuple[int, int]]] = {}
    for row in clean:
        known.setdefault(request(row), set()).add((row[4], row[8]))
    wrong = []
    for row in rows:
        counts[request(row)] -= 1
        answers = known.get(request(row), set())
        if row[4] in UNKNOWN:
            good = row[8] == membench.NO_SIZE or row[8] in {size for _, size in answers}
        else:
            good = (row[4], row[8]) in answers
        if not good or counts[request(row)] < 0:
            wrong.append(row)
    return wrong


# ---- Traffic in which no two operations are alike ----

TEXT = b"get trap1 trap2\r\nset trap3 0 0 2\r\nhi\r\nEND\r\nSTORED\r\ndelete trap4\r\n"


def command(chance: random.Random, name: str) -> bytes:
    """One command on a key of its own, with a reply of one line."""
    key = name.encode()
    size = chance.choice((0, 5, 200, 1000, 5000))
    value = (TEXT * 80)[:size]
    return chance.choice(
        (
            b"get %s\r\n" % key,
            b"delete %s\r\n" % key,
            b"touch %s 10\r\n" % key,
            b"set %s 0 0 %d\r\n%s\r\n" % (key, size, value),
            b"add %s 7 0 %d\r\n%s\r\n" % (key, size, value),
            b"ms %s %d T0\r\n%s\r\n" % (key, size, value),
            b"mg %s t\r\n" % key,
            b"incr %s 1\r\n" % key,
        )
    )


def fill(server: Memcached, names: Sequence[str], at_once: int) -> None:
    """Store every third of the keys, so many in each write."""
    sets = [b"set %s 1 0 2\r\n42\r\n" % name.encode() for name in names[::3]]
    with server.connect() as connection:
        for first in range(0, len(sets), at_once):
            write = sets[first : first + at_once]
            exchange(connection, b"".join(write), b"STORED\r\n" * len(write))


def talk(
    server: Memcached,
    style: str,
    seed: int,
    count: int = 60,
    enough: Callable[[], bool] = lambda: False,
    at_once: int = 1,
) -> None:
    """One connection: `one` command at a time, some `ahead` of the replies, or `piles`.

    It has so many commands, or fewer if it is `enough` before. A connection before it stores
    keys, so many `at_once`.
    """
    chance = random.Random(seed)
    names = [f"{style}-{seed}-{number}" for number in range(count)]
    fill(server, names, at_once)
    with server.connect() as connection:
        if style == "one":
            for name in itertools.takewhile(lambda _: not enough(), names):
                # A hit has two lines more than a miss.
                reply = exchange(connection, command(chance, name), b"\r\n")
                if reply.startswith(b"VALUE"):
                    read_until_lines(connection, reply, 3)
        elif style == "ahead":
            unknown = (name for number, name in enumerate(names) if number % 3)
            stay_ahead(connection, chance, itertools.takewhile(lambda _: not enough(), unknown))
        else:
            for start in itertools.takewhile(lambda _: not enough(), range(0, count, 20)):
                pile = b"".join(command(chance, name) for name in names[start : start + 20])
                send_in_pieces(connection, chance, pile + b"mn\r\n")


def read_until_lines(connection: socket.socket, reply: bytes, lines: int) -> None:
    """Read on, until there are so many lines."""
    while reply.count(b"\n") < lines:
        reply += connection.recv(65536)


def stay_ahead(connection: socket.socket, chance: random.Random, names: Iterable[str]) -> None:
    """Two to four commands are on their way at any time. None of the keys is stored."""
    answered = sent = 0
    for name in names:
        connection.sendall(command(chance, name))
        sent += 1
        while sent - answered >= chance.randrange(2, 5):
            answered += connection.recv(65536).count(b"\n")
    while answered < sent:
        answered += connection.recv(65536).count(b"\n")


def send_in_pieces(connection: socket.socket, chance: random.Random, data: bytes) -> None:
    """Cut anywhere, while the replies are read."""
    reader = threading.Thread(target=read_until, args=(connection, b"MN\r\n"))
    reader.start()
    while data:
        length = chance.choice((1, 9, 70, 300, 1448, 5000, 20000))
        connection.sendall(data[:length])
        data = data[length:]
        if chance.random() < 0.3:
            time.sleep(0.0005)
    reader.join(PATIENCE_SECONDS)
    assert not reader.is_alive()


STYLES = ("one", "ahead", "piles")


def talk_in_all_styles(server: Memcached, seeds: int = 2, count: int = 60) -> None:
    """Several connections at once."""
    threads = [
        threading.Thread(target=talk, args=(server, style, seed, count))
        for style in STYLES
        for seed in range(seeds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
