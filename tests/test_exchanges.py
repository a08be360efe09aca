# SPDX-License-Identifier: GPL-2.0-only
"""Exchanges that the kernel pairs: what becomes one, what does not, and that the two ways agree."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
from live import (
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    exchange,
    membench,
    repeats,
)
from rows import Rows

SALT = "00112233445566778899aabbccddeeff"
Row = Tuple[Any, ...]


def rows_by_connection(profile: Path) -> List[List[Row]]:
    """What each connection did, without times: its rows, in order; the connections sorted."""
    found: Dict[int, List[Row]] = {}
    with membench.ProfileReader(str(profile)) as reader:
        for block in reader.blocks():
            for number, form, outcome, key, *rest in zip(
                block.connection,
                block.form,
                block.outcome,
                block.key,
                block.batch,
                block.key_position,
                block.value_size,
                block.exptime,
            ):
                row = (
                    reader.forms[form],
                    membench.OUTCOMES[outcome],
                    block.key_hash[key],
                    block.key_size[key],
                    *rest,
                )
                found.setdefault(number, []).append(row)
    return sorted(found.values())


class BothWays:
    """Two recorders at once: one that pairs exchanges, and one that parses every event."""

    def __init__(self, folder: Path, server: Memcached) -> None:
        self._folder = folder
        self._server = server
        self._stack = ExitStack()
        self.reports: List[Dict[str, Any]] = []

    def __enter__(self) -> BothWays:
        self._recorders = [
            self._stack.enter_context(
                Recorder(
                    self._folder / f"{hook}.profile",
                    *("--port", str(self._server.port), "--hook", hook, "--salt", SALT),
                )
            )
            for hook in ("sock", "sock-events")
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def stop(self) -> Dict[str, Any]:
        """End both. They must agree; the report of the one that pairs."""
        self.reports = [recorder.stop() for recorder in self._recorders]
        one, other = (rows_by_connection(recorder.output) for recorder in self._recorders)
        assert one == other
        paired, other_paired = (report["loss"].pop("exchanges") for report in self.reports)
        assert paired and not other_paired
        for name in ("loss", "requests", "operations", "hits", "misses", "connections"):
            assert self.reports[0][name] == self.reports[1][name]
        self.paired = paired
        return self.reports[0]


def requests(chance: random.Random, name: bytes) -> Iterator[Tuple[bytes, bytes]]:
    """Random requests, and how the last reply to each ends, of every kind that there is."""
    while True:
        key = b"%s:%d" % (name, chance.randrange(12))
        if chance.random() < 0.1:
            key += b"k" * chance.choice((50, 56, 57, 58, 64, 100, 180))
        size = chance.choice((0, 1, 2, 60, 127, 300, 511, 512, 1100, 16_000, 16_384, 40_000))
        # Values that look like requests and like replies.
        value = chance.choice((b"get a\r\n", b"END\r\n", b"VALUE a 0 1\r\n", b"v"))
        value = (value * (size // len(value) + 1))[:size]
        flags = chance.choice((b"0", b"5", b"4294967295"))
        exptime = chance.choice((b"0", b"60", b"-1", b"1900000000"))
        store = chance.choice((b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend"))
        kinds = (
            (b"get %s\r\n" % key, b"END\r\n"),
            (b"gets %s\r\n" % key, b"END\r\n"),
            (b"%s %s %s %s %d\r\n%s\r\n" % (store, key, flags, exptime, size, value), b"D\r\n"),
            (b"set %s 0 0 2\r\n17\r\n" % key, b"D\r\n"),
            (b"delete %s\r\n" % key, b"\r\n"),
            (b"touch %s 60\r\n" % key, b"\r\n"),
            (b"incr %s 3\r\n" % key, b"\r\n"),
            (b"mg %s v\r\n" % key, b"\r\n"),
            (b"ms %s %d T60 F3\r\n%s\r\n" % (key, size, value), b"\r\n"),
            (b"md %s\r\n" % key, b"\r\n"),
            (b"get %s\n" % key, b"END\r\n"),
            (b"get %s other:1\r\n" % key, b"END\r\n"),
            (b"get  %s\r\n" % key, b"END\r\n"),
            (b"gat 100 %s\r\n" % key, b"END\r\n"),
            (b"cas %s 0 0 %d 1\r\n%s\r\n" % (key, size, value), b"\r\n"),
            (b"decr %s 18446744073709551615\r\n" % key, b"\r\n"),
            (b"mg %s\r\n" % key, b"\r\n"),
            (b"mg %s v t s k Oabc\r\n" % key, b"\r\n"),
            (b"mg %s q v\r\nmn\r\n" % key, b"MN\r\n"),
            (b"ms %s %d q\r\n%s\r\nmn\r\n" % (key, size, value), b"MN\r\n"),
            (b"ma %s\r\n" % key, b"\r\n"),
            (b"mn\r\n", b"MN\r\n"),
            (b"set %s 0 0 3 noreply\r\nabc\r\nversion\r\n" % key, b"\r\n"),
            (b"nonsense %s\r\n" % key, b"ERROR\r\n"),
            (b"incr %s x\r\n" % key, b"\r\n"),
        )
        yield chance.choice(kinds[: chance.choice((10, len(kinds)))])  # most of them common


def drive(connection: socket.socket, name: bytes, seed: int, count: int) -> None:
    """A connection's random life: single requests, pipelines, requests cut in two."""
    chance = random.Random(seed)
    source = requests(chance, name)
    # Of one that was there before, the first exchange is known only if it is a plain one.
    exchange(connection, b"get %s\r\n" % name, b"END\r\n")
    while count > 0:
        batch = [next(source) for _ in range(chance.choice((1,) * 18 + (2, 7)))]
        count -= len(batch)
        data = b"".join(data for data, _ in batch)
        if chance.random() < 0.03:
            cut = chance.randrange(len(data))
            connection.sendall(data[:cut])
            time.sleep(0.002)
            data = data[cut:]
        # What ends the answer to the last of them ends no other, so ask for something unique.
        if len(batch) > 1 or chance.random() < 0.03:
            data += b"mn\r\n"
            exchange(connection, data, b"MN\r\n")
        else:
            connection.sendall(data)
            read_reply(connection, batch[0][1])


def read_reply(connection: socket.socket, end: bytes) -> None:
    """One reply to one request."""
    received, whole = bytearray(), False
    while not whole:
        chunk = connection.recv(1 << 20)
        assert chunk
        received += chunk
        line_end = received.find(b"\r\n")
        if line_end < 0:
            continue
        words = received[:line_end].split(b" ")
        if words[0] == b"VA":
            whole = len(received) >= line_end + 2 + int(words[1]) + 2
        elif words[0] == b"VALUE" or end in (b"END\r\n", b"MN\r\n"):
            errors = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
            whole = words[0] in errors or received.endswith(end)
        else:
            whole = True


@pytest.mark.parametrize("seed", range(repeats(15)))
def test_both_ways_tell_the_same(seed: int, tmp_path: Path) -> None:
    """Random conversations of every kind over many connections, old ones and new ones."""
    with Memcached("-t", "2") as server, ExitStack() as stack:
        old = [stack.enter_context(server.connect()) for _ in range(4)]
        for connection in old:
            exchange(connection, b"version\r\n", b"\r\n")
        with BothWays(tmp_path, server) as both:
            server.renew_control()
            new = [stack.enter_context(server.connect()) for _ in range(12)]
            threads = [
                threading.Thread(
                    target=drive,
                    args=(connection, b"c%d" % number, 100 * seed + number, 250),
                )
                for number, connection in enumerate(old + new)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
                assert not thread.is_alive()
            for connection in new[:6]:
                connection.close()
            report = both.stop()
        assert both.paired > report["requests"] / 10
        assert report["loss"]["bytes_lost"] == 0


# ---- Servers that do what memcached does not ----


class OddConnection:
    """One connection of a server that answers right, but reads and writes in every possible way."""

    def __init__(self, chance: random.Random, client: socket.socket, served: socket.socket) -> None:
        self._chance = chance
        self._client = client
        self._served = served
        self._other_thread = ThreadPoolExecutor(1)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._chance.random() < 0.02:
            return self._other_thread.submit(function, *arguments).result()
        return function(*arguments)

    def read(self, length: int, most: int = 16384) -> None:
        while length:
            if self._chance.random() < 0.1:
                self._call(self._served.recv, most, socket.MSG_PEEK)
            length -= len(self._call(self._served.recv, most))

    def write(self, data: bytes) -> None:
        self._call(self._served.sendall, data)

    def ask(self, data: bytes, most: int = 16384) -> None:
        self._client.sendall(data)
        self.read(len(data), most)

    def exchange(self) -> None:
        """A request and its reply, whole or in pieces, alone or with another one."""
        chance = self._chance
        key = b"k%d" % chance.randrange(5)
        value = (b"get a\r\n" * 90)[: chance.choice((1, 7, 600))]
        request, reply = chance.choice(
            (
                (b"get %s\r\n" % key, b"END\r\n"),
                (b"get %s\r\n" % key, b"VALUE %s 0 7\r\nget a\r\n\r\nEND\r\n" % key),
                (b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"STORED\r\n"),
                (b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"NOT_STORED\r\n"),
                (b"incr %s 1\r\n" % key, b"7\r\n"),
                (b"mg %s v\r\n" % key, b"EN\r\n"),
                (b"mg %s v\r\n" % key, b"VA 7\r\nget a\r\n\r\n"),
            )
        )
        cut, cut_reply = chance.randrange(1, len(request)), chance.randrange(1, len(reply))
        line_end = request.index(b"\n") + 1
        ways = (
            ((request,), (reply,)),
            ((request[:cut], request[cut:]), (reply,)),
            ((request,), (reply[:cut_reply], reply[cut_reply:])),
            ((request[:line_end], request[line_end:]), (reply,)),  # a value that looks like one
            ((request, request), (reply, reply)),  # asked before the first one is answered
            ((request + request,), (reply + reply,)),
        )
        asked, answered = chance.choices(ways, (15, 2, 2, 1, 2, 2))[0]
        for piece in asked:
            if piece:
                self.ask(piece, chance.choice((16384,) * 15 + (5, 16383)))
        for piece in answered:
            self.write(piece)

    def close(self) -> None:
        """By a reset, or not."""
        if self._chance.random() < 0.5:
            option = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._client.setsockopt(*option)
        self._client.close()
        self._served.close()
        self._other_thread.shutdown()


def connect(listener: socket.socket) -> Tuple[socket.socket, socket.socket]:
    """A connection's two ends."""
    client = socket.create_connection(listener.getsockname())
    return client, listener.accept()[0]


def recorded(source: membench.EbpfSource) -> Tuple[List[Row], membench.Ledger]:
    """The rows and the ledger of all that was recorded."""
    source.stop()
    rows = Rows()
    matcher = membench.Matcher(rows.take, lambda *_: None, b"secret")
    while segments := source.read(0):
        matcher.process(segments)
    matcher.finish()
    return rows, matcher.ledger


@pytest.mark.parametrize("seed", range(repeats(20)))
def test_an_odd_server_is_recorded_alike(seed: int) -> None:
    """MSG_PEEK, two threads on one socket, replies in pieces, resets, joined mid-stream."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        old = [OddConnection(chance, *connect(listener)) for _ in range(seed % 3)]
        sources = [
            stack.enter_context(membench.EbpfSource([port], hook=hook))
            for hook in ("sock", "sock-events")
        ]
        for connection in [*old, *(OddConnection(chance, *connect(listener)) for _ in range(6))]:
            for _ in range(40):
                connection.exchange()
            connection.close()
        counters = [source.counters() for source in sources]
        (paired, ledger), (parsed, other) = map(recorded, sources)
    assert counters[0]["exchanges"] > 10 and not counters[1]["exchanges"]
    assert sorted(row[2:] for row in paired) == sorted(row[2:] for row in parsed)
    assert ledger.seen_bytes == other.seen_bytes
    assert ledger.seen_bytes == counters[0]["recv_bytes"] + counters[0]["send_bytes"]
    assert (ledger.lost_bytes, ledger.desyncs) == (other.lost_bytes, other.desyncs) == (0, 0)


@pytest.fixture
def many_files() -> Iterator[None]:
    """More open files than the kernel shows to one read of an iterator, in many processes."""
    hold = """
import os, resource
limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 50_000)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
for _ in range(limit - 10):
    os.dup(0)
for _ in range(1_200_000 // limit):
    if not os.fork():
        os.read(0, 1)
        os._exit(0)
print(flush=True)
os.read(0, 1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin and holder.stdout
        assert holder.stdout.read(1) == b"\n"
        yield
        holder.stdin.close()  # all end


def test_what_waits_behind_a_million_files(many_files: None) -> None:
    test_what_waits_at_the_end_is_unanswered("sock")


@pytest.mark.parametrize("hook", ["sock", "sock-events"])
def test_what_waits_at_the_end_is_unanswered(hook: str) -> None:
    """Within a chain, and as a connection's first request."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        source = stack.enter_context(membench.EbpfSource([listener.getsockname()[1]], hook=hook))
        pairs = [tuple(map(stack.enter_context, connect(listener))) for _ in range(2)]
        for answered, (client, served) in enumerate(pairs):
            for number in range(3 * answered + 1):
                client.sendall(b"get a\r\n")
                served.recv(16384)
                if number < 3 * answered:
                    served.sendall(b"END\r\n")
        counters = source.counters()
        rows, ledger = recorded(source)
    outcomes = [membench.OUTCOMES[row[4]] for row in rows]
    assert outcomes == ["miss"] * 3 + ["unanswered"] * 2
    exchanges = rows[1:3] if hook == "sock" else []
    assert counters["exchanges"] == len(exchanges)
    assert all(time_ns % 100 == latency_ns % 100 == 0 for time_ns, latency_ns, *_ in exchanges)
    assert ledger.seen_bytes == counters["recv_bytes"] + counters["send_bytes"]
    assert ledger.lost_bytes == 0


class FullRing:
    """A connection that has filled the ring, which nobody reads. A context manager."""

    def __enter__(self) -> FullRing:
        with ExitStack() as stack:
            self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self.port = self.listener.getsockname()[1]
            self.source = stack.enter_context(
                membench.EbpfSource([self.port], hook="sock", ring_mib=1)
            )
            self.client, self.served = map(stack.enter_context, connect(self.listener))
            while not self.source.counters()["dropped_events"]:
                self.ask()
                self.served.sendall(b"END\r\n")
                self.client.recv(100)
            client, served = map(stack.enter_context, connect(self.listener))
            dropped = self.source.counters()["dropped_events"]
            while self.source.counters()["dropped_events"] == dropped:
                client.sendall(b"x")  # a smaller record, which may have found room
                served.recv(1)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def ask(self) -> None:
        self.client.sendall(b"get a\r\n")
        self.served.recv(16384)


def test_a_full_ring_loses_each_byte_once() -> None:
    """What found no room is counted, and nothing is counted twice because a request waits."""
    with FullRing() as full:
        full.ask()
        counters = full.source.counters()
        _, ledger = recorded(full.source)
    moved = counters["recv_bytes"] + counters["send_bytes"]
    assert ledger.seen_bytes + counters["dropped_bytes"] == moved


def test_a_connection_whose_opening_found_no_room() -> None:
    """It closes without a call: nothing of it waits, and nothing is told but the close."""
    with FullRing() as full:
        before = full.source.counters()["dropped_events"]
        others = []
        while full.source.counters()["dropped_events"] == before:
            others.append(connect(full.listener))  # the rest of the room has gone now
        while full.source.read(0):
            pass
        for end in chain.from_iterable(others):
            end.close()
        segments = full.source.read(0)
    assert segments and {segment[0] for segment in segments} == {membench.CLOSE}


SOCK = membench.SOCK.pack(9, 1, 40000, 11211)


def record(sock_id: int, command: bytes, arguments: bytes, reply: bytes, key: bytes) -> bytes:
    """A struct Exchange behind its ring header: 20 bytes received, 30 sent."""
    one = membench.Exchange(
        time_ns=1000,
        latency_ns=500,
        sock_id=sock_id,
        recv_len=20,
        send_len=30,
        value_len=5 if reply == b"VALUE" else membench.NO_SIZE,
        key_len=len(key),
        direction=membench.EXCHANGE,
    )
    for name, text in (
        ("command", command),
        ("arguments", arguments),
        ("reply", reply),
        ("key", key),
    ):
        field = getattr(one, name)
        field[: len(text)] = text
    return struct.pack("=II", membench.EXCHANGE_BYTES, 0) + bytes(one)


def segments_of(*records: bytes) -> List[membench.Segment]:
    """What the ring's reader makes of these records."""
    segments, used = membench.parse_events(b"".join(records))
    assert used == sum(map(len, records))
    return segments


def matched(segments: List[membench.Segment]) -> Tuple[List[Row], membench.Ledger]:
    """The form, outcome and value size of the rows, and the ledger."""
    rows = Rows()
    matcher = membench.Matcher(rows.take, lambda *_: None, b"secret")
    matcher.process(segments)
    matcher.finish()
    assert matcher.operations == len(rows)
    return [(row[3], membench.OUTCOMES[row[4]], row[8]) for row in rows], matcher.ledger


OPENED = (membench.OPEN, 1, SOCK, 100, 200, b"", -1)
BEGUN = (membench.CHAIN_BEGIN, 2, SOCK, 100, 0, b"", 200)


def test_exchanges_become_rows_between_events() -> None:
    run = segments_of(
        record(9, b"get", b"", b"VALUE", b"a"),
        record(9, b"set", b" 3 60 5", b"STORED", b"a" * 64),
        record(9, b"incr", b" 2", b"7", b"n"),
    )
    assert [segment[0] for segment in run] == [membench.EXCHANGE]
    rows, ledger = matched(
        [
            *(OPENED, BEGUN, *run),
            (membench.CHAIN_END, 5, SOCK, 160, 0, b"", 290),
            (membench.RECV, 6, SOCK, 160, 7, b"get b\r\n", 290),
            (membench.SEND, 7, SOCK, 290, 5, b"END\r\n", -1),
        ]
    )
    none = membench.NO_SIZE
    assert rows == [
        (b"get", "hit", 5),
        (b"set 3", "stored", none),
        (b"incr 2", "ok", none),
        (b"get", "miss", none),
    ]
    assert (ledger.seen_bytes, ledger.lost_bytes, ledger.desyncs) == (162, 0, 0)


def test_times_of_exchanges_and_events_stand_in_one_column(tmp_path: Path) -> None:
    """Exchanges have whole ticks, events have not; latencies of seconds, and a time from before."""
    chance = random.Random(1)
    start_ns = 123_456_789_012_345
    asked = [start_ns + 100 * chance.randrange(10**8) - start_ns % 100 for _ in range(1000)]
    latencies = [100 * chance.randrange(42_949_672) for _ in asked]
    run = b""
    for time_ns, latency_ns in zip(asked, latencies):
        one = bytearray(record(9, b"get", b"", b"END", b"a"))
        struct.pack_into("=Q", one, membench.RECORD_HEADER_BYTES, time_ns)
        latency_at = membench.RECORD_HEADER_BYTES + membench.Exchange.latency_ns.offset
        struct.pack_into("=I", one, latency_at, latency_ns)
        run += one
    last_ns = asked[-1] + 12_345
    with membench.ProfileWriter(str(tmp_path / "a")) as profile:
        profile.start({"started_unix": 0, "ports": []}, start_ns)
        matcher = membench.Matcher(profile.add, profile.add_connection, b"secret")
        matcher.process(
            [
                *(OPENED, BEGUN, *segments_of(run)),
                (membench.CHAIN_END, last_ns, SOCK, 20_100, 0, b"", 30_200),
                (membench.RECV, last_ns, SOCK, 20_100, 7, b"get b\r\n", 30_200),
                (membench.SEND, last_ns + 250, SOCK, 30_200, 5, b"END\r\n", -1),
            ]
        )
        profile.finish(matcher.ledger, {})
    with membench.ProfileReader(str(tmp_path / "a")) as reader:
        (block,) = reader.blocks()
        ticks, latency_ticks = list(block.time), list(block.latency)
    assert ticks == [time_ns // 100 - start_ns // 100 for time_ns in (*asked, last_ns)]
    assert latency_ticks == [*(latency_ns // 100 for latency_ns in latencies), 2]


@pytest.mark.parametrize(
    "odd",
    [
        record(9, b"get", b"", b"STORED", b"a"),  # no reply to that
        record(9, b"set", b" x 0 5", b"STORED", b"a"),  # no such request
        record(9, b"md", b" q", b"HD", b"a"),  # quiet ones need the parser
        record(8, b"get", b"", b"END", b"a"),  # nobody said which connection that is
    ],
)
def test_what_the_parser_would_not_say_is_lost(odd: bytes) -> None:
    good = record(9, b"get", b"", b"END", b"a")
    rows, ledger = matched([OPENED, BEGUN, *segments_of(good, odd, good)])
    assert rows == [(b"get", "miss", membench.NO_SIZE)] * 2
    assert (ledger.seen_bytes, ledger.lost_bytes) == (150, 50)


def test_keys_are_named_only_if_operations_have_them() -> None:
    keys: List[bytes] = []
    exchanges = membench.Exchanges(lambda key: keys.append(key) or len(keys))
    exchanges.numbers[9] = 1
    good = record(9, b"get", b"", b"END", b"good")
    stranger = record(8, b"get", b"", b"END", b"stranger")
    odd = record(9, b"get", b"", b"STORED", b"odd")
    columns, *moved = exchanges.columns(good + stranger + odd + good)
    assert (keys, columns[7], moved) == ([b"good"], [1, 1], [100, 200])


def test_a_chain_that_begins_elsewhere_is_a_known_gap() -> None:
    """What was in between is lost, and so is a request that still waited."""
    rows, ledger = matched(
        [
            OPENED,
            (membench.RECV, 2, SOCK, 100, 7, b"get b\r\n", 200),
            (membench.CHAIN_BEGIN, 3, SOCK, 117, 0, b"", 220),
            *segments_of(record(9, b"get", b"", b"END", b"a")),
        ]
    )
    assert [row[1] for row in rows] == ["lost", "miss"]
    assert (ledger.lost_bytes, ledger.desyncs) == (10 + 20, 1)


def test_a_chain_that_the_parser_knows_to_be_none() -> None:
    """The server has read a second request before it answered the first."""
    rows, ledger = matched(
        [
            OPENED,
            (membench.RECV, 2, SOCK, 100, 7, b"get a\r\n", 200),
            (membench.RECV, 3, SOCK, 107, 7, b"get b\r\n", 200),
            (membench.SEND, 4, SOCK, 200, 5, b"END\r\n", 114),
            (membench.CHAIN_BEGIN, 5, SOCK, 114, 0, b"", 205),
            (membench.SEND, 6, SOCK, 205, 5, b"END\r\n", 114),
        ]
    )
    assert [row[1] for row in rows] == ["miss", "miss"]
    assert (ledger.lost_bytes, ledger.desyncs) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_cut_out_of_the_ring_whole(seed: int) -> None:
    """Between other records, discarded ones, and one that is not written yet."""
    chance = random.Random(seed)
    batch, wanted = b"", []
    for _ in range(40):
        if chance.random() < 0.5:
            one = record(chance.randrange(9), b"get", b"", b"END", b"k%d" % chance.randrange(99))
            count = chance.choice((1, 2, 33, 200))
            batch += one * count
            if wanted and wanted[-1][0] == membench.EXCHANGE:
                wanted[-1] = (membench.EXCHANGE, wanted[-1][1] + one * count)
            else:
                wanted.append((membench.EXCHANGE, one * count))
            continue
        data = bytes(chance.randrange(256) for _ in range(chance.choice((0, 7, 104, 500))))
        event = membench.SocketDataEvent(data_len=len(data), captured_len=len(data))
        size = len(bytes(event)) + len(data)
        flags = chance.choice((0, 0, membench.RECORD_DISCARDED))
        batch += struct.pack("=II", size | flags, 0) + bytes(event) + data + bytes(-size % 8)
        if not flags:
            wanted.append((membench.RECV, data))
        else:
            wanted.append((None, b""))
    unwritten = struct.pack("=II", membench.EXCHANGE_BYTES | membench.RECORD_BUSY, 0)
    segments, used = membench.parse_events(batch + unwritten + bytes(membench.EXCHANGE_BYTES))
    assert used == len(batch)
    assert [(s[0], s[5]) for s in segments] == [one for one in wanted if one[0] is not None]
