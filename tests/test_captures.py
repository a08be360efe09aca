# SPDX-License-Identifier: GPL-2.0-only
"""Capture files: every format and link layer, cut, shuffled, damaged, mutated."""

from __future__ import annotations

import heapq
import os
import pwd
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import pytest
from captures import (
    ETHERNET,
    LINKS_ETHERNET,
    RAW,
    SLL,
    SLL2,
    Packet,
    Result,
    Tcpdump,
    inventions,
    read_capture,
    read_pcap,
    snapped,
    talk,
    talk_in_all_styles,
    to_pcap,
    to_pcapng,
    with_head,
)
from live import (
    COMPILED,
    LOOPBACK,
    MODULE,
    PATIENCE_SECONDS,
    SYSTEM_PYTHON,
    Memcached,
    analyze,
    as_user,
    compiled,
    exchange,
    membench,
    repeats,
    run,
    wait_until,
)
from rows import Rows
from test_foreign import Web


class Clean(NamedTuple):
    """A capture as tcpdump wrote it."""

    path: Path
    port: int
    packets: List[Packet]
    result: Result


def capture(path: Path, listen: str, traffic: Any) -> Clean:
    """Traffic of a server of its own, as tcpdump saw it."""
    with Memcached("-t", "4", listen=listen) as server, Tcpdump(path, server.port):
        traffic(server)
        # Connections end when their last packets are captured.
    result = read_capture(path, None, server.port)
    assert result.rows and not result.ledger.lost_bytes and not result.ledger.desyncs
    assert result.ledger.report()["coverage"] == 1.0
    return Clean(path, server.port, read_pcap(path), result)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clean]:
    path = tmp_path_factory.mktemp("captures") / "clean.pcap"
    yield capture(path, "127.0.0.1", talk_in_all_styles)


@pytest.fixture(scope="module")
def clean6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clean]:
    path = tmp_path_factory.mktemp("captures") / "clean6.pcap"
    yield capture(path, "::1", lambda server: talk(server, "piles", 1))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clean]:
    """A few dozen packets, to be read thousands of times."""
    path = tmp_path_factory.mktemp("captures") / "short.pcap"
    yield capture(path, "127.0.0.1", lambda server: talk(server, "one", 3, 20))


# ---- Formats ----


@pytest.mark.parametrize("ns", [False, True], ids=["us", "ns"])
@pytest.mark.parametrize("order", "<>")
def test_pcap(clean: Clean, order: str, ns: bool, tmp_path: Path) -> None:
    data = to_pcap(clean.packets, order, ns)
    result = read_capture(tmp_path / "a", data, clean.port)
    assert result.identities == clean.result.identities
    assert result.source.hook == "pcap" and not result.source.remarks


@pytest.mark.parametrize("resolution", [None, 6, 7, 9, 0x80 | 30, 0x80 | 20])
@pytest.mark.parametrize("order", "<>")
def test_pcapng(clean: Clean, order: str, resolution: int, tmp_path: Path) -> None:
    data = to_pcapng(clean.packets, order, (ETHERNET,), resolution)
    result = read_capture(tmp_path / "a", data, clean.port)
    assert result.source.hook == "pcapng" and not result.source.remarks
    rows = result.identities
    if resolution == 0x80 | 20:  # about a microsecond
        rows = [(row[1:]) for row in rows]
        assert sorted(rows) == sorted(row[1:] for row in clean.result.identities)
    elif resolution == 0x80 | 30:  # rounded down, by a nanosecond at most
        for row, other in zip(rows, clean.result.identities):
            assert abs(row[0][0] - other[0][0]) <= 1 and row[1] == other[1]
    else:
        assert rows == clean.result.identities


def test_pcapng_simple_packets_and_sections(clean: Clean, tmp_path: Path) -> None:
    half = len(clean.packets) // 2
    data = to_pcapng(clean.packets[:half], simple=True)
    data += to_pcapng(clean.packets[half:], simple=True)
    result = read_capture(tmp_path / "a", data, clean.port)
    # Without times, nobody knows what came at once: the place in the batch differs.
    untimed = sorted(row[3:5] + row[6:] for row in clean.result.rows)
    assert sorted(row[3:5] + row[6:] for row in result.rows) == untimed


LINKS = {
    **{name: (ETHERNET, head) for name, head in LINKS_ETHERNET.items()},
    "raw 101": (RAW, b""),
    "raw 12": (12, b""),
    "IPv4 or IPv6": (228, b""),
    "null": (0, b"\2\0\0\0"),
    "loop": (108, b"\0\0\0\2"),
    "sll": (SLL, b"\0\0\3\4\0\6" + b"\0" * 8 + b"%s"),
    "sll vlan": (SLL, b"\0\0\3\4\0\6" + b"\0" * 8 + b"\x81\0\0\5%s"),
    "sll2": (SLL2, b"%s" + b"\0" * 18),
    "sll2 vlan": (SLL2, b"\x81\0" + b"\0" * 18 + b"\0\5%s"),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", LINKS)
def test_link_types(clean: Clean, clean6: Clean, name: str, version: int, tmp_path: Path) -> None:
    link, head = LINKS[name]
    which = clean if version == 4 else clean6
    head = head.replace(b"%s", b"\x08\0" if version == 4 else b"\x86\xdd")
    if link == 228 and version == 6:
        link = 229
    packets = with_head(which.packets, head)
    for data in (to_pcap(packets, link=link), to_pcapng(packets, links=(link,))):
        result = read_capture(tmp_path / "a", data, which.port)
        assert result.identities == which.result.identities
        assert result.ledger.report()["coverage"] == 1.0


def test_pcapng_of_several_interfaces(clean: Clean, tmp_path: Path) -> None:
    """Every packet on three interfaces."""
    packets = [packet for packet in clean.packets for _ in range(3)]
    links = (ETHERNET, ETHERNET, ETHERNET)
    data = to_pcapng(packets, links=links, choose=lambda number: number % 3)
    result = read_capture(tmp_path / "a", data, clean.port)
    assert result.identities == clean.result.identities
    assert result.opened == clean.result.opened


@pytest.mark.parametrize("other", ["link type", "byte order"])
def test_pcapng_that_changes(clean: Clean, other: str, tmp_path: Path) -> None:
    """What comes before is read, and the user is told why not the rest."""
    order, link = ("<", RAW) if other == "link type" else (">", ETHERNET)
    data = to_pcapng(clean.packets) + to_pcapng(clean.packets[:1], order, (link,))
    result = read_capture(tmp_path / "a", data, clean.port)
    assert result.identities == clean.result.identities
    (remark,) = result.source.remarks
    assert remark.endswith("; all packets before that were read")


def test_ip_options_and_extension_headers(clean: Clean, clean6: Clean, tmp_path: Path) -> None:
    with_options = [
        p._replace(
            data=p.data[:14]
            + b"\x47"
            + p.data[15:16]
            + struct.pack(">H", struct.unpack_from(">H", p.data, 16)[0] + 8)
            + p.data[18:34]
            + b"\1" * 8
            + p.data[34:],
            length=p.length + 8,
        )
        for p in clean.packets
        if struct.unpack_from(">H", p.data, 16)[0] < 65000
    ]
    result = read_capture(tmp_path / "a", to_pcap(with_options), clean.port)
    assert result.identities == clean.result.identities
    with_extension = [
        p._replace(
            data=p.data[:18]
            + struct.pack(">H", struct.unpack_from(">H", p.data, 18)[0] + 8)
            + b"\x3c"
            + p.data[21:54]
            + b"\6\0\1\4\0\0\0\0"
            + p.data[54:],
            length=p.length + 8,
        )
        for p in clean6.packets
    ]
    result = read_capture(tmp_path / "a", to_pcap(with_extension), clean6.port)
    assert result.identities == clean6.result.identities


def test_a_packet_larger_than_64_kb_has_no_length(clean: Clean, tmp_path: Path) -> None:
    packets = [p._replace(data=p.data[:16] + b"\0\0" + p.data[18:]) for p in clean.packets]
    result = read_capture(tmp_path / "a", to_pcap(packets), clean.port)
    assert result.identities == clean.result.identities


def test_padding_and_checksums_do_not_count(clean: Clean, tmp_path: Path) -> None:
    packets = [
        Packet(p.time_ns, p.data[:24] + b"\xff\xff" + p.data[26:] + b"pad" * 9, p.length + 27)
        for p in clean.packets
    ]
    result = read_capture(tmp_path / "a", to_pcap(packets), clean.port)
    assert result.identities == clean.result.identities


def test_fragments_are_counted(clean: Clean, tmp_path: Path) -> None:
    """The data of a fragment is a gap when it is acknowledged."""
    number = next(i for i, p in enumerate(clean.packets) if len(p.data) > 200)
    packets = list(clean.packets)
    data = packets[number].data
    packets[number] = packets[number]._replace(data=data[:20] + b"\x20\0" + data[22:])
    result = read_capture(tmp_path / "a", to_pcap(packets), clean.port)
    assert result.ledger.kernel["fragments"] == 1
    assert result.ledger.kernel["gaps"] >= 1
    assert not inventions(result.rows, clean.result.rows)


# ---- What else a capture can hold ----


def parts(packets: List[Packet], port: int) -> Dict[bool, List[Packet]]:
    """The packets to the server (True) and from it. IPv4, Ethernet."""
    found: Dict[bool, List[Packet]] = {True: [], False: []}
    for packet in packets:
        found[struct.unpack_from(">H", packet.data, 36)[0] == port].append(packet)
    return found


@pytest.mark.parametrize("options", [(), ("--no-responses",)])
def test_a_capture_of_requests_alone(
    clean: Clean, options: Tuple[str, ...], tmp_path: Path
) -> None:
    """As a mirror of one direction writes it: nothing of it is lost."""
    source, output = tmp_path / "a.pcap", tmp_path / "a.profile"
    source.write_bytes(to_pcap(parts(clean.packets, clean.port)[True]))
    done = run("record", str(source), str(output), "--port", str(clean.port), *options)
    assert done.returncode == 0, done.stderr
    assert ("one direction only: recorded as with --no-responses" in done.stderr) is not bool(
        options
    )
    report = analyze(output)
    assert report["operations"] == len(clean.result.rows)
    assert report["loss"]["bytes_lost"] == 0 and report["loss"]["coverage"] == 1.0
    assert report["loss"]["bytes_seen"] == clean.result.ledger.kernel["recv_bytes"]
    assert not report["profiles"][0]["responses"] and report["hits"] is None
    about = run("analyze", output.name, cwd=tmp_path).stdout.splitlines()[1]
    assert re.match(r" +\d{4}-", about), "there is no host in front of the time"


def test_a_capture_of_replies_alone(clean: Clean, tmp_path: Path) -> None:
    source, output = tmp_path / "a.pcap", tmp_path / "a.profile"
    source.write_bytes(to_pcap(parts(clean.packets, clean.port)[False]))
    done = run("record", str(source), str(output), "--port", str(clean.port))
    assert done.returncode == 4, done.stderr
    assert f"none holds requests, only what was sent from port {clean.port}" in done.stderr


def test_a_snapped_capture_says_so(short: Clean, tmp_path: Path) -> None:
    source, output = tmp_path / "a.pcap", tmp_path / "a.profile"
    packets = snapped(short.packets, 96)
    source.write_bytes(to_pcap(packets))
    port = ("--port", str(short.port))
    done = run("record", str(source), str(output), *port)
    cut = sum(len(packet.data) < packet.length for packet in packets)
    assert f"{cut:,} packets were cut to 96 bytes" in done.stderr
    done = run("record", str(source), str(output), *port, "--no-responses", "--force")
    assert analyze(output)["operations"] == len(short.result.rows), done.stderr


def outer(protocol: int, header: bytes) -> bytes:
    """Headers in front of those of a tunnel. Nobody looks at their lengths."""
    return (
        b"\2" * 12
        + b"\x08\0"
        + struct.pack(">BBHIBBH", 0x45, 0, 0, 0, 64, protocol, 0)
        + (b"\x0a\0\0\1\x0a\0\0\2" + header)
    )


def udp(port: int, header: bytes) -> bytes:
    return outer(17, struct.pack(">HHHH", 5555, port, 0, 0) + header)


# What stands in front of a packet, and from where on it is inside.
TUNNELS = {
    "VXLAN": (udp(4789, b"\x08\0\0\0\0\0\1\0"), 0),
    "VXLAN on Linux's old port": (udp(8472, b"\x08\0\0\0\0\0\1\0"), 0),
    "GENEVE": (udp(6081, b"\0\0\x65\x58\0\0\1\0"), 0),
    "GENEVE with options": (udp(6081, b"\2\0\x65\x58\0\0\1\0" + b"option's"), 0),
    "GENEVE without Ethernet": (udp(6081, b"\0\0\x08\0\0\0\1\0"), 14),
    "GRE": (outer(47, b"\0\0\x08\0"), 14),
    "GRE with key and number": (outer(47, b"\x30\0\x65\x58keynumb."), 0),
    "ERSPAN I": (outer(47, b"\0\0\x88\xbe"), 0),
    "ERSPAN II": (outer(47, b"\x10\0\x88\xbenumb" + bytes(8)), 0),
    "ERSPAN III": (outer(47, b"\x10\0\x22\xebnumb" + bytes(12)), 0),
    "ERSPAN III and more": (outer(47, b"\x10\0\x22\xebnumb" + bytes(11) + b"\1" + bytes(8)), 0),
    "IP in IP": (outer(4, b""), 14),
    "VXLAN in GRE": (outer(47, b"\0\0\x65\x58") + udp(4789, b"\x08\0\0\0\0\0\1\0"), 0),
}


@pytest.mark.parametrize("name", TUNNELS)
def test_tunnels(clean: Clean, name: str, tmp_path: Path) -> None:
    head, inside = TUNNELS[name]
    packets = with_head(clean.packets, head, inside)
    result = read_capture(tmp_path / "a", to_pcap(packets), clean.port)
    assert result.identities == clean.result.identities
    assert result.ledger.report()["coverage"] == 1.0
    for end in range(len(head) + 60):  # cut anywhere
        read_capture(tmp_path / "a", to_pcap(snapped(packets[3:4], end)), clean.port)


@pytest.mark.parametrize("handshake", [True, False])
@pytest.mark.parametrize("other", ["web", "memcached"])
def test_a_client_that_has_the_servers_port_number(
    other: str, handshake: bool, tmp_path: Path
) -> None:
    """Who sent the SYN is the client, or else whose bytes are requests."""
    path = tmp_path / "a.pcap"
    with Memcached() as server, Memcached() as second, Web() as web, Tcpdump(path, server.port):
        with socket.socket() as foreign:
            foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            foreign.bind(("127.0.0.2", server.port))
            foreign.connect(web.address if other == "web" else (LOOPBACK, second.port))
            for _ in range(5):
                if other == "web":
                    web.ask(foreign)
                else:
                    exchange(foreign, b"get a\r\n", b"END\r\n")
        with server.connect() as connection:
            for _ in range(10):
                exchange(connection, b"get a\r\n", b"END\r\n")
    packets = [
        packet
        for packet in read_pcap(path)
        if handshake
        or b"\x7f\0\0\2" not in packet.data[26:34]
        or not packet.data[47] & membench.TCP_SYN
    ]
    result = read_capture(path, to_pcap(packets), server.port)
    assert [row[4] for row in result.rows] == [membench.MISS] * 10
    report = result.ledger.report()
    assert report["bytes_seen"] == 10 * len(b"get a\r\nEND\r\n") and report["coverage"] == 1.0
    assert result.opened == 1
    assert all(re.fullmatch("[a-z_0-9]+", name) for name in report["kernel"])


# ---- Damage that only removes, repeats or reorders ----


def check(path: Path, packets: List[Packet], clean: Clean) -> Result:
    """Nothing is invented, every byte is understood or lost."""
    result = read_capture(path, to_pcap(packets), clean.port)
    wrong = inventions(result.rows, clean.result.rows)
    assert not wrong, f"{len(wrong)} invented, as {wrong[:3]}"
    ledger = result.ledger
    seen = ledger.kernel["recv_bytes"] + ledger.kernel["send_bytes"]
    assert ledger.understood_bytes + ledger.lost_bytes == seen
    return result


def test_all_twice(clean: Clean, tmp_path: Path) -> None:
    twice = [packet for packet in clean.packets for _ in range(2)]
    assert check(tmp_path / "a", twice, clean).identities == clean.result.identities


@pytest.mark.parametrize("seed", range(20))
def test_shuffled(clean: Clean, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    packets = list(clean.packets)
    chance.shuffle(packets)
    check(tmp_path / "a", packets, clean)


@pytest.mark.parametrize("distance", [2, 5, 50])
@pytest.mark.parametrize("seed", range(5))
def test_shuffled_a_little(clean: Clean, seed: int, distance: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    places = {p: number + chance.random() * distance for number, p in enumerate(clean.packets)}
    check(tmp_path / "a", sorted(clean.packets, key=places.__getitem__), clean)


@pytest.mark.parametrize("share", [0.002, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(10))
def test_packets_removed(clean: Clean, seed: int, share: float, tmp_path: Path) -> None:
    chance = random.Random(seed)
    packets = [p for p in clean.packets if chance.random() > share]
    if seed % 2:
        packets = [p for p in packets for _ in range(chance.choice((1, 1, 1, 2)))]
    result = check(tmp_path / "a", packets, clean)
    if share < 0.005:
        assert len(result.rows) > 0.3 * len(clean.result.rows)


def some(numbers: range) -> List[int]:
    """80 of these at random, or all if they are fewer; 400 by `make test-all`."""
    return random.Random(1).sample(numbers, min(repeats(400), len(numbers)))


def test_cut_at_packets(clean: Clean, tmp_path: Path) -> None:
    for end in some(range(len(clean.packets))):
        check(tmp_path / "a", clean.packets[:end], clean)


def test_joined_at_packets(clean: Clean, tmp_path: Path) -> None:
    for start in some(range(1, len(clean.packets))):
        check(tmp_path / "a", clean.packets[start:], clean)


def test_a_joined_connection_gets_in_step(short: Clean, tmp_path: Path) -> None:
    """One that waits for each reply loses little."""
    handshakes = [i for i, p in enumerate(short.packets) if p.data[47] & 2]
    result = check(tmp_path / "a", short.packets[handshakes[-1] + 3 :], short)
    assert result.rows and not result.ledger.desyncs


def test_a_loss_is_told_even_by_a_quiet_recorder(short: Clean, tmp_path: Path) -> None:
    """With its reason, and with what may help against it."""
    source, output = tmp_path / "a.pcap", tmp_path / "a.profile"
    source.write_bytes(to_pcap(short.packets[5:]))
    options = ("--port", str(short.port), "--quiet", "--allow-empty")
    done = run("record", str(source), str(output), *options)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert "LOST" in line and "joined mid-stream" in line and "ring-size" not in line
    source.write_bytes(to_pcap(short.packets))
    done = run("record", str(source), str(output), *options, "--force")
    assert (done.returncode, done.stderr) == (0, "")


def test_snapped(clean: Clean, tmp_path: Path) -> None:
    """Most of a value may be missing, if nothing but the value is."""
    for length in (40, 54, 66, 70, 90, 96, 128, 500, 1500):
        packets = snapped(clean.packets, length)
        result = read_capture(tmp_path / "a", to_pcap(packets), clean.port)
        assert not inventions(result.rows, clean.result.rows)
        cut = sum(len(packet.data) < packet.length for packet in packets)
        (remark,) = result.source.remarks
        assert remark.startswith(f"{cut:,} packets were cut to {length} bytes (tcpdump -s)")


def wrapped(packets: List[Packet]) -> List[Packet]:
    """All numbers are moved so that they pass zero within every connection. IPv4, Ethernet."""
    firsts: dict[bytes, int] = {}
    moved = []
    for packet in packets:
        data = bytearray(packet.data)
        for at, key in (
            (38, bytes(data[26:38])),
            (42, bytes(data[30:34] + data[26:30] + data[36:38] + data[34:36])),
        ):
            number = struct.unpack_from(">I", data, at)[0]
            if number or at == 38:
                number = (number - firsts.setdefault(key, number) - 300) % 2**32
                struct.pack_into(">I", data, at, number)
        moved.append(packet._replace(data=bytes(data)))
    return moved


def test_sequence_numbers_wrap(clean: Clean, tmp_path: Path) -> None:
    result = check(tmp_path / "a", wrapped(clean.packets), clean)
    assert result.identities == clean.result.identities


# ---- The same packets, whatever the file's format ----


def spoil(chance: random.Random, packets: List[Packet], rate: float) -> List[Packet]:
    """Packets lost, repeated, out of order, cut, and with headers that somebody changed."""
    spoiled: List[Packet] = []
    for packet in packets:
        if chance.random() >= rate:
            spoiled.append(packet)
            continue
        data, how = bytearray(packet.data), chance.randrange(8)
        if how == 0:
            continue
        if how == 1:
            spoiled += [packet, packet]
        elif how == 2:
            spoiled.insert(max(len(spoiled) - chance.randrange(1, 9), 0), packet)
        elif how == 3:
            spoiled.append(packet._replace(data=packet.data[: chance.randrange(len(data) + 1)]))
        elif how == 4:  # padding, or segmentation offload
            data[16:18] = chance.choice((b"\0\0", data[16:18]))
            spoiled.append(packet._replace(data=bytes(data) + bytes(chance.randrange(9))))
        else:
            for _ in range(chance.choice((1, 1, 3))):
                at = chance.randrange(14, min(len(data), 90))  # behind the link layer
                data[at] = chance.choice((0, 255, data[at] ^ 1 << chance.randrange(8)))
            spoiled.append(packet._replace(data=bytes(data)))
    return spoiled


def read_segments(path: Path, data: bytes, port: int) -> Tuple[List[Any], Dict[str, int]]:
    """All that a source tells of a file."""
    path.write_bytes(data)
    segments: List[Any] = []
    with membench.CaptureSource(str(path), [port]) as source:
        while True:
            found = source.read(0)
            if found is None:
                assert all("were cut" in remark for remark in source.remarks)
                return segments, source.counters()
            segments += found


@pytest.mark.parametrize("seed", range(20))
def test_every_format_tells_the_same(
    short: Clean, clean6: Clean, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    which, kind = chance.choice(((short, b"\x08\0"), (clean6, b"\x86\xdd")))
    packets = which.packets
    if which is short and chance.random() < 0.3:
        packets = wrapped(packets)
    packets = spoil(chance, packets, chance.choice((0.0, 0.01, 0.1, 0.5)))
    expected = read_segments(tmp_path / "a", to_pcap(packets), which.port)
    for link, head in LINKS.values():
        moved = with_head(packets, head.replace(b"%s", kind))
        if link in (228, 229):
            link = 228 if which is short else 229
        for order in "<>":
            for data in (to_pcap(moved, order, True, link), to_pcapng(moved, order, (link,), 9)):
                segments, _ = read_segments(tmp_path / "a", data, which.port)
                assert segments == expected[0]


def make_up(chance: random.Random) -> Iterator[Packet]:
    """Packets of a few connections, most of them the next in order, of any flags, at any time."""
    time_ns, connections = 10**9, 3
    ends = [[chance.choice((5, 2**31, 2**32 - 40)), 7000] for _ in range(connections)]
    for _ in range(400):
        time_ns += chance.choice((0, 1000, 10**6, 20 * 10**9))
        which, way = chance.randrange(connections), chance.randrange(2)
        numbers = ends[which]
        number, acked = numbers[way], numbers[1 - way]
        length = chance.choice((0, 1, 10, 30))
        flags = chance.choice((0x10, 0x18)) if chance.random() < 0.9 else chance.randrange(64)
        if chance.random() < 0.1:
            number += chance.choice((-10, 10, 30, 10**6, 2**30))
        elif chance.random() < 0.9:  # else it is lost, or comes again
            numbers[way] += length + (flags & 3 > 0)
        if chance.random() < 0.1:
            acked += chance.choice((-10, -1, 1, 10, 30, 10**6))
        ports = (4000 + which, 11211) if way == 0 else (11211, 4000 + which)
        tcp = struct.pack(">HHIIBB6x", *ports, number % 2**32, acked % 2**32, 0x50, flags)
        tcp += chance.choice((b"get a\r\n", b"END\r\n", b"x")).ljust(length)[:length]
        if which == 2:
            data = struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + bytes(32) + tcp
        else:
            data = struct.pack(">BBHIBBH8x", 0x45, 0, 20 + len(tcp), 0, 64, 6, 0) + tcp
        yield Packet(time_ns, data, len(data))


@pytest.mark.parametrize("seed", range(20))
def test_packets_of_any_kind(seed: int, tmp_path: Path) -> None:
    """A direction is told in order, each byte once, and time does not go back."""
    chance = random.Random(seed)
    for _ in range(10):
        data = to_pcap(make_up(chance), link=RAW)
        segments, counted = read_segments(tmp_path / "a", data, 11211)
        places: Dict[Tuple[bytes, int], int] = {}
        moved, time_ns = [0, 0], 0
        for kind, at_ns, sock, offset, length, carried, _ in segments:
            assert at_ns >= time_ns
            time_ns = at_ns
            if kind == membench.OPEN:
                places[sock, membench.RECV], places[sock, membench.SEND] = offset, length
            elif kind in (membench.RECV, membench.SEND):
                assert len(carried) in (0, length)
                passed = (offset - places.get((sock, kind), offset)) % 2**32
                assert passed <= 1  # a FIN takes a number
                places[sock, kind] = offset + length
                moved[kind] += length
        assert moved == [counted["recv_bytes"], counted["send_bytes"]]


# ---- Bytes cut and mutated ----


def test_cut_at_every_byte_of_the_last_packets(short: Clean, tmp_path: Path) -> None:
    for make in (to_pcap, to_pcapng):
        data = make(short.packets)
        for end in range(len(data) - 600, len(data)):
            result = read_capture(tmp_path / "a", data[:end], short.port)
            assert not inventions(result.rows, short.result.rows)


def test_a_cut_file_says_so(short: Clean, tmp_path: Path) -> None:
    source = tmp_path / "cut.pcap"
    source.write_bytes(to_pcap(short.packets)[:-5])
    output = tmp_path / "a.profile"
    done = run("record", str(source), str(output), "--port", str(short.port))
    assert done.returncode == 0
    assert done.stderr.splitlines()[-2].endswith(
        "cut.pcap is truncated; all packets before that were read"
    )


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_mutations_never_raise(short: Clean, form: str, tmp_path: Path) -> None:
    original = to_pcap(short.packets) if form == "pcap" else to_pcapng(short.packets)
    chance = random.Random(7)
    for _ in range(repeats(6000)):
        data = bytearray(original)
        for _ in range(chance.choice((1, 1, 2, 10))):
            at = chance.randrange(len(data))
            how = chance.randrange(4)
            if how == 0:
                data[at] = chance.randrange(256)
            elif how == 1:
                data[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff"))
            elif how == 2:
                del data[at : at + chance.randrange(1, 100)]
            else:
                data[at:at] = bytes(data[at : at + chance.randrange(1, 100)])
        try:
            result = read_capture(tmp_path / "a", bytes(data), short.port)
        except membench.SourceError as error:
            assert error.hint
            continue
        assert result.ledger.understood_bytes >= 0


def test_mutated_files_make_whole_profiles(
    short: Clean, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the way through the profile and its analysis, with times from anywhere."""
    for name in ("drop_privileges", "lower_priority"):  # this process has other tests to run
        monkeypatch.setattr(membench, name, lambda _: None)
    chance = random.Random(8)
    for number in range(repeats(150)):
        packets = [
            p._replace(time_ns=p.time_ns + chance.randrange(-(10**18), 10**18))
            if chance.random() < 0.1
            else p
            for p in short.packets
        ]
        source, output = tmp_path / "a.pcap", tmp_path / f"{number}.profile"
        source.write_bytes(to_pcap(packets))
        arguments = ["record", str(source), str(output), "--port", str(short.port), "-q"]
        assert membench.main(arguments) == 0
        assert membench.analyze([str(output)])["operations"] > 0


def tcp_packet(time_ns: int, port: int, to_server: bool, *header: int, data: bytes = b"") -> Any:
    """A membench.TcpPacket; header: sequence number, acknowledged, flags."""
    ports = (port, 11211) if to_server else (11211, port)
    return (time_ns, bytes(8) + struct.pack(">HH", *ports), *header, len(data), data)


def test_memory_is_bounded() -> None:
    """Holes that are never filled, and connections that never end."""
    tracemalloc.start()
    reassembler = membench.Reassembler([11211])
    reassembler.EARLY_BYTES_MAX = 8 << 20
    reassembler.FLOWS_MAX = 2000
    for connections in (1500, 3000):
        for turn in range(6):
            for port in range(connections):
                data = bytes([turn]) * 1400
                reassembler.add([tcp_packet(turn, port, True, turn * 3000, 1, 0x10, data=data)])
            reassembler.take()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reassembler.gaps
    assert peak < 64 << 20
    assert len(reassembler) <= reassembler.FLOWS_MAX


def converse(time_ns: int, port: int) -> List[Any]:
    """A whole connection: a request and its reply."""
    syn, ack, fin = membench.TCP_SYN, membench.TCP_ACK, membench.TCP_FIN | membench.TCP_ACK
    return [
        tcp_packet(time_ns, port, True, 99, 0, syn),
        tcp_packet(time_ns, port, False, 499, 100, syn | ack),
        tcp_packet(time_ns, port, True, 100, 500, ack, data=b"get a\r\n"),
        tcp_packet(time_ns, port, False, 500, 107, ack, data=b"END\r\n"),
        tcp_packet(time_ns, port, True, 107, 505, fin),
        tcp_packet(time_ns, port, False, 505, 108, fin),
    ]


@pytest.mark.parametrize("ending", ["FIN", "never"])
def test_short_connections_beside_one_that_stays(ending: str) -> None:
    """Those that have ended are forgotten first, then those that are silent."""
    reassembler = membench.Reassembler([11211])
    reassembler.FLOWS_MAX = 1000
    ms = 10**6
    reassembler.add(converse(1, 1)[:4])
    number, acked = 107, 505
    for turn in range(5000):
        connection = converse(turn * ms, 1000 + turn)
        reassembler.add(connection if ending == "FIN" else connection[:4])
        request = tcp_packet(turn * ms, 1, True, number, acked, 0x10, data=b"get b\r\n")
        number += 7
        reply = tcp_packet(turn * ms, 1, False, acked, number, 0x10, data=b"END\r\n")
        acked += 5
        reassembler.add([request, reply])
        assert len(reassembler) <= reassembler.FLOWS_MAX
    segments = reassembler.take()
    stays = next(segment[2] for segment in segments if segment[0] == membench.OPEN)
    kinds = Counter(segment[0] for segment in segments if segment[2] == stays)
    assert kinds == {membench.OPEN: 1, membench.RECV: 5001, membench.SEND: 5001}
    assert reassembler.gaps == 0


# ---- The command line ----


def test_times_are_the_packets_own(short: Clean, tmp_path: Path) -> None:
    moved = [p._replace(time_ns=p.time_ns - 10**9 * 86400 * 365) for p in short.packets]
    source, output = tmp_path / "a.pcap", tmp_path / "a.profile"
    source.write_bytes(to_pcap(moved))
    done = run("record", str(source), str(output), "--port", str(short.port))
    assert done.returncode == 0, done.stderr
    report = analyze(output)
    profile = report["profiles"][0]
    duration = (moved[-1].time_ns - moved[0].time_ns) / 1e9
    assert profile["duration_seconds"] == pytest.approx(duration, abs=1e-3)
    started = subprocess.run(
        ["date", "-u", "-d", f"@{moved[0].time_ns // 10**9}", "+%Y-%m-%dT%H:%M:%SZ"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert profile["started_at"] == started.stdout.strip()
    assert profile["source"] == "a.pcap" and profile["hook"] == "pcap"
    assert report["operations"] == len(short.result.rows)


def test_from_a_pipe(short: Clean, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    command = [sys.executable, "-I", str(COMPILED), "record", "-", str(output)]
    with subprocess.Popen(
        [*command, "--port", str(short.port)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        data = short.path.read_bytes()
        for at in range(0, len(data), 1000):
            process.stdin.write(data[at : at + 1000])
            process.stdin.flush()
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert analyze(output)["operations"] == len(short.result.rows)


def catches(pid: int, number: int) -> bool:
    """Does the process handle this signal?"""
    found = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return bool(int(found[1], 16) >> (number - 1) & 1)


def test_a_pipe_that_says_nothing_can_be_left(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, str(COMPILED), "record", "-", str(output)],
        stdin=reader,
        stderr=subprocess.PIPE,
    ) as process:
        wait_until("it to be ready", lambda: catches(process.pid, signal.SIGTERM))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 4  # nothing was recorded
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_stops_within_a_packet_can_be_left(short: Clean, tmp_path: Path) -> None:
    """What came before is kept, and the user is not told of damage."""
    output = tmp_path / "a.profile"
    data, port = to_pcap(short.packets), ("--port", str(short.port))
    reader, writer = os.pipe()
    os.write(writer, data[:-50])
    with subprocess.Popen(
        [sys.executable, str(COMPILED), *("record", "-", "-o", str(output)), *port],
        stdin=reader,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until("it to have read the pipe", lambda: not select.select([reader], [], [], 0)[0])
        time.sleep(0.5)
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0 and "truncated" not in errors and "damaged" not in errors
    os.close(reader)
    os.close(writer)
    assert analyze(output)["operations"] > 0.9 * len(short.result.rows)


@pytest.mark.parametrize("stdin", [False, True])
def test_filter(clean: Clean, stdin: bool, tmp_path: Path) -> None:
    """In tcpdump's language; one connection of many here."""
    output = tmp_path / "a.profile"
    client_port = struct.unpack_from(">H", clean.packets[-1].data, 34)[0]
    if client_port == clean.port:
        client_port = struct.unpack_from(">H", clean.packets[-1].data, 36)[0]
    options = ("--port", str(clean.port), "--filter", f"tcp port {client_port} and ip")
    source = "-" if stdin else str(clean.path)
    command = [sys.executable, str(COMPILED), "record", source, "-o", str(output), *options]
    pipe = subprocess.Popen(["cat", str(clean.path)], stdout=subprocess.PIPE)
    with pipe:
        subprocess.run(command, stdin=pipe.stdout if stdin else None, check=True)
        if not stdin:
            pipe.kill()
    report = analyze(output)
    assert report["connections"] == 1 and 0 < report["operations"] < len(clean.result.rows)


def test_filters_that_are_none(clean: Clean, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    for expression in ("no such", "tcp port", "(" * 50):
        done = run("record", str(clean.path), "-o", str(output), "--filter", expression)
        lines = done.stderr.splitlines()
        assert done.returncode == 1 and len(lines) == 2, done.stderr
        assert lines[0].startswith("membench: error: --filter: ")
        assert not output.exists()
    done = run("record", "ebpf:any", "-o", str(output), "--filter", "tcp")
    assert done.returncode == 2 and "--filter needs packets" in done.stderr


WITHOUT_LIBPCAP = """
import ctypes, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import membench
real = ctypes.CDLL
def load(name, *arguments, **options):
    if name and "pcap" in name:
        raise OSError(name)
    return real(name, *arguments, **options)
ctypes.CDLL = load
sys.exit(membench.main(sys.argv[2:]))
"""


def test_without_libpcap(clean: Clean, tmp_path: Path) -> None:
    def run_without(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_LIBPCAP, str(MODULE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    output = tmp_path / "a.profile"
    for source in (str(clean.path), *(["packet:lo"] if os.geteuid() == 0 else [])):
        done = run_without("record", source, "-o", str(output))
        assert done.returncode == 1 and "need libpcap" in done.stderr
        assert "libpcap0.8t64" in done.stderr and len(done.stderr.splitlines()) == 2
        assert not output.exists()
    done = run_without("check")
    assert re.search("^NO +capture files .*libpcap", done.stdout, re.M)
    if os.geteuid() == 0:
        assert done.returncode == 0 and "record would work here" in done.stdout


def test_without_root(short: Clean, open_folder: Path) -> None:
    for name, content in (
        ("membench.py", compiled(SYSTEM_PYTHON).read_bytes()),
        ("copy.pcap", short.path.read_bytes()),
    ):
        (open_folder / name).write_bytes(content)
        (open_folder / name).chmod(0o644)
    command = [SYSTEM_PYTHON, "-I", "membench.py", "record", "copy.pcap", "a.profile"]
    done = subprocess.run(
        [*command, "--port", str(short.port)],
        **as_user("nobody"),
        cwd=open_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (open_folder / "a.profile").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert analyze(open_folder / "a.profile")["operations"] == len(short.result.rows)


def test_requests_alone(clean: Clean, tmp_path: Path) -> None:
    result = read_capture(tmp_path / "a", clean.path.read_bytes(), clean.port, responses=False)
    requests = sorted((row[3], row[5], row[6], row[7]) for row in clean.result.rows)
    assert sorted((row[3], row[5], row[6], row[7]) for row in result.rows) == requests
    assert {row[4] for row in result.rows} == {membench.NONE}
    for start in range(1, len(clean.packets), 97):
        rows = read_capture(
            tmp_path / "a", to_pcap(clean.packets[start:]), clean.port, responses=False
        ).rows
        forms = {(row[3], row[7]) for row in clean.result.rows}
        assert all((row[3], row[7]) in forms for row in rows)


NO_CAPTURES = {
    "empty": b"",
    "short": b"\xd4\xc3\xb2",
    "text": b"hello, this is some text and no capture at all\n",
    "tiny text": b"x\n",
    "gzip": b"\x1f\x8b\x08\0" + bytes(50),
    "zeros": bytes(100),
    "a profile": membench.MAGIC + bytes(50),
    "wifi": struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 127),
    "pcapng of no order": b"\n\r\r\n\x1c\0\0\0abcd" + bytes(40),
}


@pytest.mark.parametrize("name", NO_CAPTURES)
def test_what_is_no_capture(name: str, tmp_path: Path) -> None:
    source, output = tmp_path / "a.pcap", tmp_path / "a.profile"
    source.write_bytes(NO_CAPTURES[name])
    done = run("record", str(source), str(output))
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 2, done.stderr
    assert lines[0].startswith("membench: error: ")
    assert not output.exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("record", str(tmp_path / "no.pcap"), str(tmp_path / "a.profile"))
    assert done.returncode == 1 and "No such file" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_capture_of_nothing(tmp_path: Path) -> None:
    source, output = tmp_path / "a.pcap", tmp_path / "a.profile"
    source.write_bytes(to_pcap([]))
    done = run("record", str(source), str(output))
    assert done.returncode == 4, done.stderr
    assert not output.exists() or not output.stat().st_size


def test_server_is_who_was_asked(tmp_path: Path) -> None:
    """Both ports are watched: the handshake tells which of them is the server's."""
    path = tmp_path / "a.pcap"
    with Memcached() as server, Tcpdump(path, server.port):
        with server.connect() as connection:
            client_port = connection.getsockname()[1]
            for _ in range(3):
                exchange(connection, b"get a\r\n", b"END\r\n")
    rows = Rows()
    with membench.CaptureSource(str(path), [server.port, client_port]) as source:
        matcher = membench.Matcher(rows.take, lambda *_: None, b"x" * 16, True, False)
        for segments in iter(lambda: source.read(0), None):
            matcher.process(segments)
    assert [row[4] for row in rows] == [membench.MISS] * 3


# ---- Joining connections whose client does not wait for the replies ----


def simulate(chance: random.Random, hits: List[bool]) -> List[Any]:
    """Segments of a client that stays 1 to 3 requests ahead, as seen at the server.

    The server takes all that has come when it reads, and answers it at once. Where the way
    is short and the server slow, every reply seems to answer the request before it.
    """
    way, service = chance.choice((1, 5, 20, 100)), chance.choice((1, 5, 20, 100))
    events: List[Any] = []
    segments: List[Any] = []
    came: List[int] = []
    sock = membench.SOCK.pack(1, 0, 2, 11211)
    offsets = [0, 0]
    sent, busy = 0, False

    def later(when: float, what: str, which: Any = None) -> None:
        heapq.heappush(events, (when, len(segments), chance.random(), what, which))

    def see(kind: int, when: float, data: bytes) -> None:
        time_ns = int(when * 1000) + len(segments)
        segments.append((kind, time_ns, sock, offsets[kind], len(data), data, -1))
        offsets[kind] += len(data)

    for ahead in range(chance.choice((1, 2, 3))):
        later(ahead * chance.uniform(0, way + service), "client")
    while events:
        now, _, _, what, which = heapq.heappop(events)
        if what == "client" and sent < len(hits):
            later(now + way / 2, "request", sent)
            sent += 1
        elif what == "request":
            see(membench.RECV, now, b"get k%d\r\n" % which)
            came.append(which)
            if not busy:
                busy = True
                later(now + service * chance.random() / 3, "read")
        elif what == "read":
            busy = bool(came)
            if came:
                later(now + service * chance.uniform(0.5, 1.5) * len(came), "reply", came[:])
            came.clear()
        elif what == "reply":
            values = (b"VALUE k%d 0 1\r\nx\r\n" % n if hits[n] else b"" for n in which)
            see(membench.SEND, now, b"".join(value + b"END\r\n" for value in values))
            for _ in which:
                later(now + way / 2, "client")
            later(now + 0.001, "read")
    return segments


def match(segments: List[Any]) -> List[Any]:
    """The operations in packets."""
    rows = Rows()
    matcher = membench.Matcher(rows.take, lambda *_: None, b"x" * 16, True, False)
    matcher.process(segments)
    matcher.finish()
    return rows


def test_joining_a_client_that_stays_ahead() -> None:
    joined = in_step = 0
    for seed in range(repeats(150)):
        chance = random.Random(seed)
        segments = simulate(chance, [chance.random() < 0.15 for _ in range(60)])
        begin = (membench.OPEN, 0, membench.SOCK.pack(1, 0, 2, 11211), 0, 0, b"", -1)
        clean = match([begin, *segments])
        assert len(clean) == 60
        for start in range(1, 40):
            rows = match(segments[start:])
            assert not inventions(rows, clean)
            joined += 1
            in_step += bool(rows)
    assert in_step > joined / 2


def alike(ahead: bool, pause_ns: int, told: bool) -> List[Any]:
    """Segments of 200 gets of one key, all misses; a pause behind every tenth.

    The client waits for each reply, or stays one request ahead, so that each reply seems to
    answer the request before it. told: packets tell what their sender has received.
    """
    sock = membench.SOCK.pack(1, 0, 2, 11211)
    segments: List[Any] = []
    offsets = [0, 0]
    now_ns = 0

    def see(kind: int, data: bytes, after_ns: int) -> None:
        nonlocal now_ns
        now_ns += after_ns
        received = offsets[membench.SEND] if told and kind == membench.RECV else -1
        segments.append((kind, now_ns, sock, offsets[kind], len(data), data, received))
        offsets[kind] += len(data)

    waiting = 0
    for number in range(200):
        see(membench.RECV, b"get k\r\n", 7_000)
        waiting += 1
        pauses = number % 10 == 9
        while waiting > (0 if pauses or not ahead else 1):
            see(membench.SEND, b"END\r\n", 20_000)
            waiting -= 1
        now_ns += pause_ns if pauses else 0
    return segments


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("pause_ns", [0, 1_000_000, 80_000_000])
def test_joining_a_client_whose_requests_are_all_alike(pause_ns: int, told: bool) -> None:
    """Nothing but time tells which reply is whose: in a pause the server would have answered."""
    begin = (membench.OPEN, 0, membench.SOCK.pack(1, 0, 2, 11211), 0, 0, b"", -1)
    for ahead in (False, True):
        segments = alike(ahead, pause_ns, told)
        clean = match([begin, *segments])
        assert len(clean) == 200
        for start in range(1, 60):
            rows = match(segments[start:])
            assert rows == clean[len(clean) - len(rows) :], "not as it was, latencies and all"
            if pause_ns == 80_000_000 and not ahead:
                assert len(rows) > 100
            elif not pause_ns:
                assert not rows
