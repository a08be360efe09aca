# SPDX-License-Identifier: GPL-2.0-only
"""What is fuzzed, and what must hold for any input.

Each target takes bytes from anywhere. It may end in the one error that its reader is allowed
to raise, which is caught here; everything else that is raised is a finding. The targets know
nothing of what drives them: atheris (run.py), or the tests, which run the corpus.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from rows import Rows

import membench
from membench import OPEN, RECV, SEND, SOCK, Segment

PORT = 11211


def shown(thing: Any) -> Any:
    """What a parser returned, so that it can be compared, whatever it is made of."""
    if isinstance(thing, (list, tuple)):
        return [shown(part) for part in thing]
    slots = getattr(type(thing), "__slots__", None)
    if slots:
        return [(name, shown(getattr(thing, name, None))) for name in slots]
    return repr(thing)


# ---- The protocol, apart from connections ----


def requests(data: bytes) -> None:
    """RequestParser: fed whole, in two pieces, and byte by byte, it says the same."""
    assert_parser_is_sound(membench.RequestParser, data)


def responses(data: bytes) -> None:
    """ResponseParser: fed whole, in two pieces, and byte by byte, it says the same."""
    assert_parser_is_sound(membench.ResponseParser, data)


def assert_parser_is_sound(parser_type: Callable[[], Any], data: bytes) -> None:
    if len(data) < 2:
        return
    at, data = data[0] * (len(data) - 1) // 256, data[1:]

    def parse(pieces: List[bytes]) -> Optional[List[Any]]:
        """All that comes out; None after a ProtocolError."""
        parser, results = parser_type(), []
        try:
            for piece in pieces:
                if piece:
                    results += parser.feed(piece)
        except membench.ProtocolError:
            return None
        assert parser.unfinished_bytes() <= sum(map(len, pieces)), "counted more than there was"
        return [shown(result) for result in results]

    whole = parse([data])
    assert whole is None or len(whole) <= len(data), "more messages than bytes"
    assert parse([data[:at], data[at:]]) == whole, "other in two pieces"
    if len(data) <= 4096:
        assert parse([data[i : i + 1] for i in range(len(data))]) == whole, "other byte by byte"


# ---- Connections ----


def matcher(data: bytes) -> None:
    """Matcher: reads, writes, gaps and passed-over bytes, on some connections.

    Every byte is understood or lost, and the batches in which segments come mean nothing.
    """
    if len(data) < 4:
        return
    options, data = data[0], data[1:]
    segments, total = build_segments(data, bool(options & 1))
    results = []
    for batch in (len(segments) + 1, 1):
        rows = Rows()
        matcher = membench.Matcher(
            rows.take,
            lambda *_: None,
            b"secret",
            bool(options & 2),
            bool(options & 4),
        )
        for at in range(0, len(segments), batch):
            matcher.process(segments[at : at + batch])
        matcher.finish()
        ledger = matcher.ledger
        assert ledger.understood_bytes + ledger.lost_bytes == total, "bytes that are nowhere"
        assert min(ledger.understood_bytes, ledger.lost_bytes) >= 0
        assert len(rows) <= total, "more operations than bytes"
        results.append((shown(rows), ledger.report()))
    assert results[0] == results[1], "other in other batches"


def build_segments(data: bytes, opened: bool) -> Tuple[List[Segment], int]:
    """Segments as these bytes say, and how many bytes they and their gaps stand for."""
    segments: List[Segment] = []
    known = set()
    offsets: Dict[Tuple[int, int], int] = {}
    total = at = 0
    time_ns = 1
    while at + 3 <= len(data):
        head, length, extra = data[at : at + 3]
        at += 3
        connection, kind = head & 3, head >> 2 & 1
        sock = SOCK.pack(connection, 0, 9, PORT)
        payload = data[at : at + length]
        at += length
        if opened and connection not in known:
            known.add(connection)
            segments.append((OPEN, time_ns, sock, 0, 0, b"", -1))
            offsets[connection, RECV] = offsets[connection, SEND] = 0
        time_ns += head >> 3 & 1
        gap = skipped = 0
        if head & 0x20:
            gap = extra if (connection, kind) in offsets else 0
        elif head & 0x40:
            skipped = extra << (head >> 7) * 4
        if not payload and not skipped:
            continue
        offset = offsets.get((connection, kind), 1000) + gap
        sent = offsets.get((connection, SEND), -1) if kind == RECV else -1
        length = len(payload) + skipped
        segments.append((kind, time_ns, sock, offset & membench.WRAP, length, payload, sent))
        offsets[connection, kind] = offset + length
        total += length + gap
    return segments, total


# ---- Packets and captures ----


def captures(data: bytes) -> None:
    """CaptureSource on any file: SourceError, or segments that a Matcher takes."""
    read_capture(data)


def packets(data: bytes) -> None:
    """Packets of a few connections, put together from these bytes, in a capture that is whole."""
    read_capture(build_capture(data))


def build_capture(data: bytes) -> bytes:
    """A pcap file of raw IP packets: the bytes say flags, numbers, addresses and payload."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)]
    at, time_us = 0, 0
    while at + 6 <= len(data):
        who, flags, number, acked, length, cut = data[at : at + 6]
        at += 6
        payload = data[at : at + length]
        at += length
        to_server = who & 1
        client = 40000 + (who >> 1 & 1)
        ports = (client, PORT) if to_server else (PORT, client)
        # Mostly near each other, sometimes around the wrap, sometimes anywhere.
        base = (0, 0xFFFFFF80, 0x40000000, 0)[who >> 2 & 3]
        numbers = ((base + number) & membench.WRAP, (base + acked) & membench.WRAP)
        tcp = struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, flags & 0x17, 0, 0, 0) + payload
        if who & 0x80:
            addresses = bytes(15) + b"\1" + bytes(15) + b"\1"
            packet = struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + addresses + tcp
        else:
            fragment = cut << 8 if who & 0x40 else 0
            packet = struct.pack(
                ">BBHHHBBH8s", 0x45, 0, 20 + len(tcp), 0, fragment, 64, 6, 0, bytes(8)
            )
            packet += tcp
        captured = packet[: len(packet) - cut] if who & 0x20 and cut < len(packet) else packet
        time_us += cut
        out.append(struct.pack("<IIII", 0, time_us, len(captured), len(packet)) + captured)
    return b"".join(out)


def read_capture(data: bytes) -> None:
    rows = Rows()
    with file_of(data) as path:
        try:
            with membench.CaptureSource(path, [PORT]) as source:
                started = source.started(0)
                matcher = membench.Matcher(
                    rows.take,
                    lambda *_: None,
                    b"secret",
                    True,
                    source.reads,
                )
                before = source.now()
                while True:
                    segments = source.read(0)
                    if segments is None:
                        break
                    assert source.now() >= before, "time went back"
                    before = source.now()
                    matcher.process(segments)
                counters = source.counters()
        except membench.SourceError as error:
            assert str(error) and error.hint
            return
    matcher.process(())
    matcher.process(())
    matcher.finish()
    assert started is None or started[0] >= 0
    assert len(rows) <= len(data), "more operations than bytes"
    assert min(counters.values()) >= 0
    matcher.ledger.kernel = counters
    report = matcher.ledger.report()
    assert 0 <= report["bytes_lost"] <= report["bytes_seen"]
    assert 0 <= report["coverage"] <= 1


# ---- Profiles ----


def profiles(data: bytes) -> None:
    """ProfileReader and the reports on any file: ProfileError, or text for a terminal."""
    read_profile(data)


def blocks(data: bytes) -> None:
    """Blocks whose checksums are right, whatever is in them."""
    read_profile(build_profile(data))


def build_profile(data: bytes) -> bytes:
    """kind (1 byte), length (2 bytes), payload; of columns, what is in them is compressed here."""
    out = [struct.pack("<12sI", membench.MAGIC, membench.FORMAT_VERSION)]
    at = 0
    while at + 3 <= len(data):
        kind, length = data[at : at + 1], int.from_bytes(data[at + 1 : at + 3], "little")
        payload = data[at + 3 : at + 3 + length]
        at += 3 + length
        if kind in b"ocn":  # as O, C and N, but for the compression
            kind, payload = kind.upper(), pack_columns(kind, payload)
        checksum = zlib.crc32(kind + payload)
        out.append(struct.pack("<c3xII", kind, len(payload), checksum) + payload)
    return b"".join(out)


def pack_columns(kind: bytes, data: bytes) -> bytes:
    """rows (1 byte), keys (1 byte), then the columns one after the other, padded with zeros."""
    rows, keys = (*data[:2], 0, 0)[:2]
    at = 2
    if kind == b"o":
        sizes = [(rows, code) for _, code in membench.COLUMNS]
        sizes += [(keys, code) for _, code in membench.KEY_COLUMNS]
        payload = struct.pack("<II", rows, keys)
    elif kind == b"n":
        sizes = [(rows, code) for _, code in membench.LABEL_COLUMNS]
        sizes += [(keys, code) for _, code in membench.NAMED_COLUMNS]
        payload = struct.pack("<II", rows, keys)
    else:
        sizes = [(rows, code) for _, code in membench.CONNECTION_COLUMNS]
        payload = struct.pack("<I", rows)
    for count, code in sizes:
        size = count * struct.calcsize("=" + code)
        column = data[at : at + size].ljust(size, b"\0")
        at += size
        packed = zlib.compress(column, 1)
        payload += struct.pack("<I", len(packed)) + packed
    return payload + zlib.compress(data[at:], 1) if kind == b"n" else payload


READING = [
    membench.parse_args(line.split())
    for line in (
        "analyze --by-server FILE",
        "analyze --json FILE",
        "analyze --why FILE",
        "analyze --slowest 2 --from 1s --to 9s --command get --connection 1 --server x FILE",
        "compare --exact FILE FILE",
        "compare FILE FILE",
        *(f"export --format {kind} FILE /dev/null" for kind in membench.EXPORT_FORMATS),
    )
]


def read_profile(data: bytes) -> None:
    with file_of(data) as path:
        for options in READING:
            options.profile = path if "format" in options else [path]
            options.first = options.second = path
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                try:
                    options.run(options)
                except membench.ProfileError as error:
                    assert str(error) and error.hint
                    break
            text = said.getvalue()
            assert len(text) < 1 << 20, "a report without end"
            assert all(c.isprintable() or c == "\n" for c in text), "control bytes"


@contextlib.contextmanager
def file_of(data: bytes) -> Iterator[str]:
    """A file in memory, by a name that any open() takes."""
    fd = os.memfd_create("fuzz")
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


TARGETS: Dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (requests, responses, matcher, packets, captures, profiles, blocks)
}
