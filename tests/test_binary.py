# SPDX-License-Identifier: GPL-2.0-only
"""The binary protocol: every opcode, pipelined, cut anywhere, quiet or not; equal to stats."""

from __future__ import annotations

import random
import socket
import struct
import threading
from pathlib import Path
from typing import Any, List, Optional, Tuple

import pytest
from bmemcached import Client as BinaryClient
from live import (
    LOOPBACK,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    assert_exact,
    membench,
    repeats,
)
from test_protocol import (
    RECV,
    SEND,
    Wire,
    assert_bounded,
    check_incomplete,
    code_of,
    match,
    move_pieces,
    pieces_of,
    random_pieces,
    remove,
    stream_bytes,
)
from test_record import HOOKS, run_memcaslap, run_pipelines

from membench import NO_SIZE, OUTCOMES, Operation

OPCODES = {name.decode(): number for number, name in membench.BINARY_NAMES.items()}
HEADER = struct.Struct(">BBHBBHIIQ")
NOT_CREATED = 0xFFFFFFFF


def message(
    name: str,
    key: bytes = b"",
    value: bytes = b"",
    extras: bytes = b"",
    opaque: int = 0,
    cas: int = 0,
) -> bytes:
    """A request."""
    size = len(extras) + len(key) + len(value)
    head = HEADER.pack(0x80, OPCODES[name], len(key), len(extras), 0, 0, size, opaque, cas)
    return head + extras + key + value


def stored(
    name: str, key: bytes, value: bytes, flags: int = 0, exptime: int = 0, **more: int
) -> bytes:
    """A set, or one of its like."""
    extras = b"" if name.startswith(("app", "pre")) else struct.pack(">II", flags, exptime)
    return message(name, key, value, extras, **more)


def counted(name: str, key: bytes, delta: int, initial: int, exptime: int, **more: int) -> bytes:
    """An incr or decr."""
    return message(name, key, b"", struct.pack(">QQI", delta, initial, exptime), **more)


def touched(name: str, key: bytes, exptime: int, **more: int) -> bytes:
    """A touch or gat."""
    return message(name, key, b"", struct.pack(">I", exptime), **more)


def read_replies(connection: socket.socket, last: int) -> bytes:
    """All up to the reply with this opaque."""
    received = b""
    at = 0
    while True:
        while len(received) - at >= HEADER.size:
            *_, size, opaque, _ = HEADER.unpack_from(received, at)
            if len(received) - at < HEADER.size + size:
                break
            at += HEADER.size + size
            if opaque == last:
                assert at == len(received)
                return received
        chunk = connection.recv(1 << 20)
        assert chunk, "the server closed the connection"
        received += chunk


Row = Tuple[str, str, Optional[bytes], Optional[int]]

# What is sent, and what must come of it: form, outcome, key, value size.
CASES: List[Tuple[bytes, Row]] = [
    (stored("set", b"a", b"12345", 32, 100), ("set binary 32", "stored", b"a", 5)),
    (message("get", b"a"), ("get binary", "hit", b"a", 5)),
    (message("get", b"none"), ("get binary", "miss", b"none", None)),
    (message("getk", b"a"), ("getk binary", "hit", b"a", 5)),
    (message("getk", b"none"), ("getk binary", "miss", b"none", None)),
    (message("getq", b"a"), ("getq binary", "hit", b"a", 5)),
    (message("getq", b"none"), ("getq binary", "miss", b"none", None)),
    (message("getkq", b"none"), ("getkq binary", "miss", b"none", None)),
    (message("getkq", b"a"), ("getkq binary", "hit", b"a", 5)),
    (stored("add", b"a", b"x"), ("add binary", "not_stored", b"a", 1)),
    (stored("add", b"b", b""), ("add binary", "stored", b"b", 0)),
    (stored("addq", b"b", b"x"), ("addq binary", "not_stored", b"b", 1)),
    (stored("addq", b"c", b"xyz"), ("addq binary", "stored", b"c", 3)),
    (stored("replace", b"none", b"x"), ("replace binary", "not_stored", b"none", 1)),
    (stored("replaceq", b"c", b"xy"), ("replaceq binary", "stored", b"c", 2)),
    (stored("append", b"c", b"zz"), ("append binary", "stored", b"c", 2)),
    (stored("append", b"none", b"zz"), ("append binary", "not_stored", b"none", 2)),
    (stored("appendq", b"c", b"z"), ("appendq binary", "stored", b"c", 1)),
    (stored("prepend", b"c", b"z"), ("prepend binary", "stored", b"c", 1)),
    (stored("prependq", b"none", b"z"), ("prependq binary", "not_stored", b"none", 1)),
    (stored("set", b"a", b"1", cas=99999), ("set binary cas", "exists", b"a", 1)),
    (stored("set", b"none", b"1", cas=99999), ("set binary cas", "not_found", b"none", 1)),
    (stored("setq", b"n", b"10"), ("setq binary", "stored", b"n", 2)),
    (counted("incr", b"n", 5, 0, 0), ("incr binary 5 0", "ok", b"n", None)),
    (counted("decr", b"n", 2, 7, 0), ("decr binary 2 7", "ok", b"n", None)),
    (counted("incrq", b"n", 2, 7, 0), ("incrq binary 2 7", "ok", b"n", None)),
    (counted("decrq", b"n", 1, 7, 0), ("decrq binary 1 7", "ok", b"n", None)),
    (counted("incr", b"m", 1, 0, NOT_CREATED), ("incr binary 1 0", "not_found", b"m", None)),
    (counted("incr", b"m", 50, 40, 0), ("incr binary 50 40", "stored", b"m", None)),
    (counted("incr", b"m", 1, 40, 0), ("incr binary 1 40", "ok", b"m", None)),
    (counted("incr", b"c", 1, 40, 0), ("incr binary 1 40", "client_error", b"c", None)),
    (touched("touch", b"a", 50), ("touch binary", "touched", b"a", None)),
    (touched("touch", b"none", 50), ("touch binary", "not_found", b"none", None)),
    (touched("gat", b"a", 60), ("gat binary", "hit", b"a", 5)),
    (touched("gatq", b"none", 60), ("gatq binary", "miss", b"none", None)),
    (touched("gatq", b"a", 60), ("gatq binary", "hit", b"a", 5)),
    (touched("gatk", b"a", 60), ("gatk binary", "hit", b"a", 5)),
    (touched("gatkq", b"none", 60), ("gatkq binary", "miss", b"none", None)),
    (stored("set", b"big", b"\x80\x01get a\r\n" * 3000), ("set binary", "stored", b"big", 27000)),
    (message("get", b"big"), ("get binary", "hit", b"big", 27000)),
    (stored("set", b"huge", b"x" * (2 << 20)), ("set binary", "server_error", b"huge", 2 << 20)),
    (message("delete", b"a"), ("delete binary", "deleted", b"a", None)),
    (message("delete", b"a"), ("delete binary", "not_found", b"a", None)),
    (message("deleteq", b"a"), ("deleteq binary", "not_found", b"a", None)),
    (message("deleteq", b"b"), ("deleteq binary", "deleted", b"b", None)),
    (message("version"), ("version binary", "ok", None, None)),
    (message("stat"), ("stat binary", "ok", None, None)),
    (message("stat", b"settings"), ("stat binary", "ok", None, None)),
    (message("flush", extras=struct.pack(">I", 0)), ("flush binary", "ok", None, None)),
    (message("flushq"), ("flushq binary", "ok", None, None)),
    (message("sasl_list"), ("sasl_list binary", "error", None, None)),
]
NOOP = ("noop binary", "ok", None, None)
LAST = 0xFFFFFFF0


def readable(rows: List[Operation]) -> List[Row]:
    """Operations as the cases have them."""
    keys = {code_of(row[2]): row[2] for _, row in CASES if row[2]}
    return [
        (form.decode(), OUTCOMES[outcome], keys.get(code), None if size == NO_SIZE else size)
        for _, _, _, form, outcome, _, _, code, size, _ in rows
    ]


class Transcript:
    """All cases, one after the other, with a noop behind each; had with a real server."""

    def __init__(self, server: Memcached) -> None:
        self.exchange: List[Tuple[bytes, bytes]] = []
        self.expected: List[Row] = []
        with server.connect() as connection:
            for number, (sent, row) in enumerate(CASES):
                data = sent[:12] + struct.pack(">I", number + 1) + sent[16:]
                data += message("noop", opaque=LAST)
                writer = threading.Thread(target=connection.sendall, args=(data,))
                writer.start()
                self.exchange.append((data, read_replies(connection, LAST)))
                writer.join(10)
                self.expected += [row, NOOP]


@pytest.fixture(scope="module")
def transcript() -> Transcript:
    with Memcached("-t", "2") as server:
        return Transcript(server)


def play(transcript: Transcript, split: Any = None) -> Wire:
    wire = Wire().open()
    for turn in transcript.exchange:
        for kind in (RECV, SEND):
            move_pieces(wire, kind, split(kind, turn[kind], 2) if split else [turn[kind]])
    return wire.close()


def assert_clean(wire: Wire, transcript: Transcript) -> None:
    result = match(wire.segments)
    assert readable(result.rows) == transcript.expected
    total = stream_bytes(wire.segments)
    ledger = result.ledger
    assert (ledger.understood_bytes, ledger.lost_bytes) == (total, 0)
    assert (ledger.desyncs, ledger.unmatched_responses) == (0, 0)


def test_each_opcode(transcript: Transcript) -> None:
    assert_clean(play(transcript), transcript)


def test_cut_anywhere(transcript: Transcript) -> None:
    assert_clean(play(transcript, pieces_of(1000)), transcript)
    for seed in range(repeats(5)):
        assert_clean(play(transcript, random_pieces(random.Random(seed), 4000)), transcript)


def small(transcript: Transcript) -> List[Tuple[bytes, bytes]]:
    return [turn for turn in transcript.exchange if len(turn[0]) + len(turn[1]) < 2000]


def test_single_bytes(transcript: Transcript) -> None:
    wire, whole = Wire().open(), Wire().open()
    for turn in small(transcript):
        for kind in (RECV, SEND):
            whole.move(kind, turn[kind])
            pieces = [turn[kind][at : at + 1] for at in range(len(turn[kind]))]
            move_pieces(wire, kind, pieces)
    one, two = match(wire.close().segments), match(whole.close().segments)
    assert readable(one.rows) == readable(two.rows)
    assert one.ledger.lost_bytes == 0


def test_all_in_one_write(transcript: Transcript) -> None:
    wire = Wire().open()
    for kind in (RECV, SEND):
        wire.move(kind, b"".join(turn[kind] for turn in transcript.exchange))
    result = match(wire.close().segments)
    assert readable(result.rows) == transcript.expected


def with_tail(turns: List[Tuple[bytes, bytes]]) -> Wire:
    """The turns, and behind them some that must be understood again."""
    wire = Wire().open()
    tail = [
        (message("get", b"a", opaque=n), HEADER.pack(0x81, 0, 0, 4, 0, 0, 6, n, 1) + b"\0\0\0\0ab")
        for n in range(100, 108)
    ]
    for turn in [*turns, *tail]:
        wire.move(RECV, turn[0]).move(SEND, turn[1])
    return wire.close()


@pytest.mark.parametrize("told", [False, True], ids=["not there", "there but not read"])
@pytest.mark.parametrize("kind", [RECV, SEND], ids=["requests", "replies"])
def test_gaps(transcript: Transcript, kind: int, told: bool) -> None:
    turns = small(transcript)[:28]
    segments = with_tail(turns).segments
    clean = match(segments).rows
    total = stream_bytes(segments)
    rng = random.Random(kind)
    wrong = []
    size = sum(len(turn[kind]) for turn in turns)
    for start in rng.sample(range(size), repeats(size)):
        for length in (1, rng.randint(2, 200)):
            left = remove(segments, kind, start, min(start + length, size), told)
            error = check_incomplete(left, clean, 5, total)
            if error:
                wrong.append(f"without {length} bytes from {start}: {error}")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:5])


def test_joining_in_the_middle(transcript: Transcript) -> None:
    segments = with_tail(small(transcript)).segments
    clean = match(segments).rows
    for start in range(1, len(segments) - 12):
        result = match(segments[start:])
        assert result.rows[-6:] == [(*row[:2], 1, *row[3:]) for row in clean[-6:]], (
            f"from segment {start}"
        )
        for row in result.rows:
            assert row[3:] in [other[3:] for other in clean] or row[4] == membench.LOST


def test_text_on_a_binary_connection_and_binary_in_text(transcript: Transcript) -> None:
    """memcached chooses by the first byte; what comes later does not change it."""
    text = Wire().open().recv("get a\n").send("END\n").move(RECV, message("get", b"a") + b"\n")
    rows = match(text.send("ERROR\n").close().segments).rows
    assert [OUTCOMES[row[4]] for row in rows] == ["miss", "error"]
    first = transcript.exchange[0]
    wire = Wire().open().move(RECV, first[0]).move(SEND, first[1])
    result = match(wire.recv("get a\n").close().segments)
    assert readable(result.rows) == transcript.expected[:2]
    assert result.ledger.lost_bytes == len("get a\r\n")


def test_silence_behind_what_was_not_answered(transcript: Transcript) -> None:
    """The server ends a connection that it cannot write to, and runs nothing more of it."""
    first = transcript.exchange[0]
    loud, quiet = touched("touch", b"a", 50), message("deleteq", b"a")
    wire = Wire().open().move(RECV, first[0]).move(SEND, first[1])
    wire.move(RECV, quiet + loud + quiet + message("quitq"))
    rows = readable(match(wire.close().segments).rows)
    assert [row[:2] for row in rows[2:]] == [
        ("deleteq binary", "deleted"),
        ("touch binary", "unanswered"),
        ("deleteq binary", "unanswered"),
        ("quitq binary", "none"),
    ]
    meta = Wire().open().recv("mn\n").send("MN\n").recv("mn\nmd a q\n").close()
    rows = match(meta.segments).rows
    assert [OUTCOMES[row[4]] for row in rows] == ["ok", "unanswered", "unanswered"]


@pytest.mark.parametrize("seed", range(4))
def test_mutations_never_raise(transcript: Transcript, seed: int) -> None:
    rng = random.Random(seed)
    turns = small(transcript)
    for _ in range(150):
        wire = Wire()
        if rng.random() < 0.7:
            wire.open()
        for turn in rng.sample(turns, 8):
            for kind in (RECV, SEND):
                data = bytearray(turn[kind])
                if rng.random() < 0.4:
                    data[rng.randrange(len(data))] = rng.randrange(256)
                wire.move(kind, bytes(data))
        result = match(wire.close().segments)
        assert_bounded(result.matcher)
        total = result.ledger.understood_bytes + result.ledger.lost_bytes
        assert total == stream_bytes(wire.segments)


# ---- Real clients, real recordings ----


def random_requests(rng: random.Random, count: int) -> bytes:
    """Requests of all kinds, some quiet."""
    made = []
    for _ in range(count):
        key = b"bin%d" % rng.randrange(40)
        value = rng.choice((b"", b"1", b"x" * 100, b"get a\r\n\x80\x00" * 300, b"y" * 20000))
        number = b"num%d" % rng.randrange(5)
        opaque = rng.randrange(1 << 16)
        made.append(
            rng.choice(
                (
                    message(rng.choice(("get", "getq", "getk", "getkq")), key, opaque=opaque),
                    message(rng.choice(("get", "getkq")), key, opaque=opaque),
                    stored(rng.choice(("set", "setq")), key, value, 5, 0, opaque=opaque),
                    stored(rng.choice(("add", "addq", "replace")), key, value, opaque=opaque),
                    stored(rng.choice(("append", "prependq")), key, b"z", opaque=opaque),
                    stored("set", key, b"c", cas=rng.randrange(1, 500), opaque=opaque),
                    counted("incr", number, 3, 2, 0, opaque=opaque),
                    counted("decrq", number, 3, 2, NOT_CREATED, opaque=opaque),
                    counted("incr", key + b"?", 3, 0, NOT_CREATED, opaque=opaque),
                    message(rng.choice(("delete", "deleteq")), key, opaque=opaque),
                    touched(rng.choice(("touch", "gat", "gatq")), key, 100, opaque=opaque),
                    message("version", opaque=opaque),
                )
            )
        )
    return b"".join(made)


def talk_binary(server: Memcached, seed: int, turns: int = 15) -> None:
    """Pipelines of random depth, split at random places."""
    rng = random.Random(seed)
    with server.connect() as connection:
        for _ in range(turns):
            data = random_requests(rng, rng.choice((1, 2, 30))) + message("noop", opaque=LAST)
            reader = threading.Thread(target=read_replies, args=(connection, LAST))
            reader.start()
            while data:
                size = rng.choice((1, 23, 24, 25, 700, 30000))
                connection.sendall(data[:size])
                data = data[size:]
            reader.join(PATIENCE_SECONDS)
            assert not reader.is_alive()


def run_bmemcached(server: Memcached) -> None:
    """Each command that python-binary-memcached has."""
    client = BinaryClient((f"{LOOPBACK}:{server.port}",))
    for turn in range(100):
        key = f"bm{turn % 20}"
        client.set(key, "v" * turn, time=turn % 3 * 100)
        client.get(key)
        client.get(f"{key}:none")
        client.set_multi({f"{key}:{n}": "x" * n for n in range(5)})
        client.get_multi([f"{key}:{n}" for n in range(8)])
        client.add(key, "x")
        client.replace(key, "y")
        client.incr("number", 5, default=1)
        client.decr("number", 2, default=10)
        value, cas = client.gets(key)
        assert value == "y"
        client.cas(key, "z", cas)
        client.cas(key, "z", 12345)
        client.delete(f"{key}:1")
        client.delete(f"{key}:none")
    client.disconnect_all()


@pytest.mark.parametrize("hook", HOOKS)
def test_recording_equals_stats(hook: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Memcached() as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port), "--hook", hook) as recorder:
            run_memcaslap(server, "-B")
            run_bmemcached(server)
            for seed in range(10):
                talk_binary(server, seed)
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, output)
    assert report["commands"]["getkq"]["operations"] > 0


def test_200_connections_of_all_protocols(tmp_path: Path) -> None:
    """Text, meta and binary at once, pipelined and split at random."""
    output = tmp_path / "a.profile"
    failures: List[BaseException] = []

    def talk(number: int) -> None:
        try:
            if number % 2:
                talk_binary(server, number, 4)
            else:
                run_pipelines(server, number, 4)
        except BaseException as error:
            failures.append(error)

    with Memcached("-t", "4") as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port)) as recorder:
            threads = [threading.Thread(target=talk, args=(number,)) for number in range(200)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(3 * PATIENCE_SECONDS)
            assert not failures, failures[0]
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, output)
    assert report["connections_opened"] == 200
