# SPDX-License-Identifier: GPL-2.0-only
"""The profile: what is written is read back, and no file makes the reader fail or invent.

Blocks are taken apart here by the description in membench.py alone, not by its reader.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import re
import stat
import statistics
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import pytest
from conversations import CASES, CLIENT, run
from live import ROOT, Memcached, repeats
from rows import Rows

import membench
from membench import (
    CLOSE,
    COLUMNS,
    CONNECTION_COLUMNS,
    FORMAT_VERSION,
    KEY_COLUMNS,
    MAGIC,
    NO_SIZE,
    OPEN,
    OUTCOMES,
    RECV,
    SEND,
    TICK_NS,
    Ledger,
    Matcher,
    Operation,
    ProfileError,
    ProfileReader,
    ProfileWriter,
    describe_latency,
    describe_sizes,
    loss_line,
    loss_remedy,
    percentile,
    powers_of_two,
    round_to_3_digits,
    sum_ledgers,
    ttl_of,
)

START_NS = 5_000_000_000_000
HEADER = {"source": "test", "hook": "none", "started_unix": 1_700_000_000.0, "ports": [11211]}
FORMS = (b"get", b"gets", b"set 32 noreply", b"mg v t q", b"incr 1", b"delete", b"invalid")

# ---- Machinery ----


class Contents(NamedTuple):
    """What the reader gives of a profile."""

    rows: List[Tuple[Any, ...]]
    complete: bool
    header: Dict[str, Any]
    ledger: Dict[str, Any]
    end: Dict[str, Any]
    opened: int
    connections: int


def random_rows(rng: random.Random, count: int) -> List[Operation]:
    """Operations as the matcher gives them, in order of time more or less."""
    rows = []
    time_ns = START_NS
    for _ in range(count):
        time_ns += rng.randrange(-300_000, 3_000_000)
        key_size = rng.choice((0, 1, 17, 250, 251))
        rows.append(
            (
                time_ns,
                rng.choice((0, 99, 100, rng.randrange(10**9))),
                rng.randrange(1, 100),
                rng.choice(FORMS),
                rng.randrange(len(OUTCOMES)),
                rng.randrange(5),
                rng.randrange(200),
                rng.randrange(2**64) << 16 | key_size if key_size else 0,
                rng.choice((NO_SIZE, 0, 1, 512, rng.randrange(2**20))),
                rng.choice((0, 0, -1, 60, 2**31 - 1, -(2**31))),
            )
        )
    return rows


def as_read(row: Operation) -> Tuple[Any, ...]:
    """The row as it must come back: times in ticks, the key as its hash and its size."""
    time_ns, latency, number, form, outcome, batch, place, code, size, exptime = row
    return (
        (time_ns - START_NS) // TICK_NS,
        min(latency // TICK_NS, 2**32 - 1),
        number,
        form.decode(),
        outcome,
        min(batch, 2**16 - 1),
        place,
        code >> 16,
        code & 0xFFFF,
        size,
        exptime,
    )


def write(path: Path, batches: Sequence[List[Operation]], finish: bool = True) -> bytes:
    """Write a profile, a block for each batch; its bytes."""
    ledger = Ledger()
    with ProfileWriter(str(path), force=True) as profile:
        profile.start(HEADER, START_NS)
        for number, rows in enumerate(batches):
            profile.add_connection(START_NS, number, 11211, OPEN)
            profile.add(zip(*rows))
            ledger.seen_bytes += 100
            profile.flush(ledger)
        if finish:
            profile.finish(ledger, {"duration_seconds": 1.5})
    return path.read_bytes()


def read(path: Path) -> Contents:
    """Read a whole profile."""
    rows: List[Tuple[Any, ...]] = []
    with ProfileReader(str(path)) as reader:
        for block in reader.blocks():
            columns = [getattr(block, name) for name, _ in COLUMNS]
            assert len({len(column) for column in columns}) == 1
            for time, latency, number, form, outcome, batch, place, key, size, exptime in zip(
                *columns
            ):
                key_hash, key_size = block.key_hash[key], block.key_size[key]
                rows.append(
                    (
                        time,
                        latency,
                        number,
                        reader.forms[form],
                        outcome,
                        batch,
                        place,
                        key_hash,
                        key_size,
                        size,
                        exptime,
                    )
                )
        return Contents(
            rows,
            reader.complete,
            reader.header,
            reader.ledger,
            reader.end,
            reader.opened,
            reader.connections,
        )


def read_bytes(path: Path, data: bytes) -> Contents:
    """Read a profile of these bytes."""
    path.write_bytes(data)
    return read(path)


class Block(NamedTuple):
    """A block as it stands in a file."""

    kind: bytes
    payload: bytes
    end: int  # where the next one begins


FILE_HEADER = MAGIC + struct.pack("<I", FORMAT_VERSION)


def walk(data: bytes) -> List[Block]:
    """All blocks of a file, by its description."""
    assert data.startswith(FILE_HEADER)
    blocks = []
    at = len(FILE_HEADER)
    while at < len(data):
        kind, zeros, length, checksum = struct.unpack_from("<c3sII", data, at)
        at += 12
        payload = data[at : at + length]
        at += length
        assert (len(payload), zeros) == (length, b"\0\0\0")
        assert zlib.crc32(kind + payload) == checksum
        blocks.append(Block(kind, payload, at))
    return blocks


def block(kind: bytes, payload: bytes) -> bytes:
    """A block with a good checksum."""
    return struct.pack("<c3xII", kind, len(payload), zlib.crc32(kind + payload)) + payload


def profile_of(*blocks: Tuple[bytes, Any]) -> bytes:
    """A profile of blocks that no membench wrote, behind a good header."""
    return b"".join(
        [FILE_HEADER, block(b"H", json.dumps(HEADER).encode())]
        + [
            block(kind, body if isinstance(body, bytes) else json.dumps(body).encode())
            for kind, body in blocks
        ]
    )


def column(typecode: str, values: Iterable[int]) -> bytes:
    """A column as it is described: planes of bytes, compressed, behind their length."""
    raw = [struct.pack("<" + typecode, value) for value in values]
    packed = zlib.compress(b"".join(bytes(plane) for plane in zip(*raw)))
    return struct.pack("<I", len(packed)) + packed


ONE_ROW = {"time": 1, "connection": 1, "form": 1}


def operations_block(rows: int = 1, keys: int = 1, **changed: Any) -> Tuple[bytes, bytes]:
    """A block of operations, good but for what is changed: a value, or a whole column."""
    columns = []
    for name, typecode in COLUMNS:
        value = changed.get(name, ONE_ROW.get(name, 0))
        columns.append(value if isinstance(value, bytes) else column(typecode, [value] * rows))
    for _, typecode in KEY_COLUMNS:
        columns.append(column(typecode, [5] * keys))
    return b"O", struct.pack("<II", rows, keys) + b"".join(columns)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.profile"


@pytest.fixture(scope="module")
def small() -> List[List[Operation]]:
    """Batches for a profile that is small enough to break at every byte."""
    rng = random.Random(3)
    return [random_rows(rng, 3) for _ in range(3)]


# ---- What is written is read ----


@pytest.mark.parametrize("counts", [[1], [2, 1], [1000], [5, 0, 70000, 1, 300]], ids=str)
def test_all_columns_are_read_back(path: Path, counts: List[int]) -> None:
    rng = random.Random(sum(counts))
    batches = [random_rows(rng, count) for count in counts]
    write(path, batches)
    contents = read(path)
    assert contents.rows == [as_read(row) for rows in batches for row in rows]
    assert contents.complete
    assert contents.header == HEADER
    assert contents.end == {"duration_seconds": 1.5}
    assert contents.ledger["bytes_seen"] == 100 * len(counts)
    assert contents.opened == contents.connections == len(counts)


def test_extreme_values_are_read_back(path: Path) -> None:
    """The bounds of each column; what is beyond them is kept as the bound."""
    usual: Operation = (START_NS, 0, 1, b"get", 1, 0, 0, 7 << 16 | 3, 5, 0)
    extremes: Dict[int, Tuple[Any, ...]] = {
        0: (0, START_NS - 1, START_NS + 10 * 365 * 86400 * 10**9),
        1: (1, 99, 100, 10**12, 10**18),
        2: (0, 2**32 - 1),
        3: (b"", b"a" * 5000),
        4: (0, len(OUTCOMES) - 1),
        5: (65534, 65535, 65536, 10**9),
        6: (500_000,),
        7: (0, 1, 2**80 - 1, 2**64, 0xFFFF),
        8: (0, NO_SIZE, NO_SIZE - 1, 2**31),
        9: (2**31 - 1, -(2**31)),
    }
    rows: List[Operation] = []
    for index, values in extremes.items():
        for value in values:
            rows.append((*usual[:index], value, *usual[index + 1 :]))  # type: ignore[arg-type]
    write(path, [rows])
    assert read(path).rows == [as_read(row) for row in rows]


def test_operations_of_all_conversations_are_read_back(path: Path) -> None:
    """Whatever the matcher makes of real traffic, the file can hold."""
    rows = Rows()
    matcher = Matcher(rows.take, lambda *_: None, b"secret")
    with Memcached() as server:
        for number, conversation in enumerate(CASES):
            time_ns = START_NS
            offset = {RECV: 0, SEND: 0}
            sock = membench.SOCK.pack(number, 0, 1, 11211)
            segments = [(OPEN, time_ns, sock, 0, 0, b"", -1)]
            for sender, data in run(conversation, server).exchange:
                kind = RECV if sender == CLIENT else SEND
                time_ns += 1000
                place = offset[kind]
                segments.append((kind, time_ns, sock, place, len(data), data, -1))
                offset[kind] += len(data)
            matcher.process(segments)
    matcher.finish()
    assert len(rows) > 1000
    write(path, [rows])
    assert read(path).rows == [as_read(row) for row in rows]


def test_more_forms_than_there_are_numbers(path: Path) -> None:
    """A client that increments by ever different numbers: the command is kept."""
    base = random_rows(random.Random(1), 1)[0]
    rows: List[Operation] = [(*base[:3], b"incr %d" % n, *base[4:]) for n in range(66_000)]
    write(path, [rows[:40_000], rows[40_000:]])
    contents = read(path)
    assert len(contents.rows) == len(rows)
    for got, row in zip(contents.rows, rows):
        assert got[3] in (row[3].decode(), "incr ?")
    assert sum(got[3] == "incr ?" for got in contents.rows) < 6000
    expected = [as_read(row) for row in rows]
    assert [got[:3] + got[4:] for got in contents.rows] == [e[:3] + e[4:] for e in expected]


def test_a_recording_without_traffic(path: Path) -> None:
    write(path, [])
    contents = read(path)
    assert (contents.rows, contents.complete, contents.connections) == ([], True, 0)


def test_connections_are_counted(path: Path) -> None:
    with ProfileWriter(str(path)) as profile:
        profile.start(HEADER, START_NS)
        for number, kind in enumerate((OPEN, RECV, CLOSE, OPEN, CLOSE, RECV, RECV)):
            profile.add_connection(START_NS + number, 2**32 - 1, 65535, kind)
        profile.finish(Ledger(), {})
    contents = read(path)
    assert (contents.opened, contents.connections) == (2, 5)


def test_the_file_is_as_it_is_described(path: Path, small: List[List[Operation]]) -> None:
    blocks = walk(write(path, small))
    kinds = b"".join(one.kind for one in blocks)
    assert kinds.startswith(b"H") and kinds.endswith(b"LE")
    assert kinds.count(b"O") == kinds.count(b"C") == len(small)
    assert json.loads(blocks[0].payload) == HEADER
    assert b"F" in kinds[: kinds.index(b"O")]


def test_blocks_of_a_later_minor_kind_are_passed_over(path: Path) -> None:
    data = profile_of((b"Z", b"?"), (b"F", ["get"]), operations_block(), (b"E", {}))
    contents = read_bytes(path, data)
    assert (len(contents.rows), contents.complete) == (1, True)


def test_a_pipe(path: Path, small: List[List[Operation]]) -> None:
    """Written to stdout and read from stdin, neither of which can be positioned."""
    data = write(path, small)
    copy = (
        "import sys; sys.path.insert(0, sys.argv[1]); import membench\n"
        "with membench.ProfileReader('-') as r, membench.ProfileWriter('-') as w:\n"
        "    rows = sum(len(block.time) for block in r.blocks())\n"
        "    w.start({**r.header, 'rows': rows, 'complete': r.complete}, 0)\n"
        "    w.finish(membench.Ledger(), {})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", copy, str(ROOT)], input=data, capture_output=True, check=True
    )
    contents = read_bytes(path, done.stdout)
    assert contents.header == {**HEADER, "rows": sum(map(len, small)), "complete": True}
    assert contents.complete


def test_a_pipe_that_nobody_reads_any_more(path: Path) -> None:
    fill = (
        "import sys; sys.path.insert(0, sys.argv[1]); import membench\n"
        "try:\n"
        "    with membench.ProfileWriter('-') as w:\n"
        "        w.start({'x': 'x' * 200000}, 0)\n"
        "except membench.ProfileError as error:\n"
        "    print(error, '|', error.hint, file=sys.stderr)\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", fill, str(ROOT)],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert "the reader of stdout has exited" in done.stderr
    assert "it must stay" in done.stderr
    assert "Traceback" not in done.stderr


# ---- Cut and damaged ----


def whole_blocks(data: bytes, batches: Sequence[List[Operation]]) -> List[Tuple[int, int]]:
    """(where a block of operations ends, how many rows there are up to it)."""
    ends = [one.end for one in walk(data) if one.kind == b"O"]
    assert len(ends) == len(batches)
    counts = [len(rows) for rows in batches]
    return [(end, sum(counts[: number + 1])) for number, end in enumerate(ends)]


def test_cut_at_every_byte(path: Path, small: List[List[Operation]]) -> None:
    """All up to the last whole block is read, and the reader says that there was more."""
    data = write(path, small)
    rows = [as_read(row) for batch in small for row in batch]
    header_end = walk(data)[0].end
    ends = whole_blocks(data, small)
    for cut in range(len(data)):
        if cut < header_end:
            with pytest.raises(ProfileError):
                read_bytes(path, data[:cut])
            continue
        contents = read_bytes(path, data[:cut])
        count = max((count for end, count in ends if end <= cut), default=0)
        assert contents.rows == rows[:count]
        assert not contents.complete
        if cut % 5 and not repeats(1):
            continue
        report = membench.analyze([str(path)])
        assert report["operations"] == count
        assert not report["profiles"][0]["complete"]
        assert "TRUNCATED" in membench.render(report)


def test_every_byte_changed(path: Path, small: List[List[Operation]]) -> None:
    """Never a row that was not written, and no error but the one for a bad profile."""
    data = write(path, small)
    rows = [as_read(row) for batch in small for row in batch]
    counts = {0, *(count for _, count in whole_blocks(data, small))}
    rng = random.Random(11)
    errors = shortened = 0
    for at in range(len(data)):
        for mask in (1 << rng.randrange(8), rng.randrange(1, 256)):
            changed = bytearray(data)
            changed[at] ^= mask
            try:
                contents = read_bytes(path, bytes(changed))
            except ProfileError:
                errors += 1
                continue
            assert contents.rows == rows[: len(contents.rows)]
            assert len(contents.rows) in counts
            shortened += not contents.complete
    assert errors and shortened > len(data)  # the check itself was at work


def test_blocks_left_out_or_swapped(path: Path, small: List[List[Operation]]) -> None:
    """Each block is whole: what is left of them is read, or refused."""
    data = write(path, small)
    blocks = walk(data)
    starts = [len(FILE_HEADER), *(one.end for one in blocks[:-1])]
    parts = [data[start : one.end] for start, one in zip(starts, blocks)]
    good = {as_read(row) for batch in small for row in batch}
    untimed = {(row[1:3], row[4:]) for row in good}
    rng = random.Random(4)
    for _ in range(300):
        chosen = [parts[0], *rng.sample(parts[1:], rng.randrange(len(parts)))]
        try:
            contents = read_bytes(path, FILE_HEADER + b"".join(chosen))
        except ProfileError:
            continue
        assert {(row[1:3], row[4:]) for row in contents.rows} <= untimed


FOREIGN = {
    "empty": (b"", "is empty"),
    "text": (b"hello\n", "is not a membench profile"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a membench profile"),
    "a capture": (b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + bytes(100), "is not a membench profile"),
    "zeros": (bytes(1000), "is not a membench profile"),
    "changed line ends": (MAGIC.replace(b"\r\n", b"\n") + bytes(50), "is not a membench profile"),
    "an older version": (MAGIC + struct.pack("<I", 0) + bytes(50), "has profile format 0"),
    "a later version": (
        MAGIC + struct.pack("<I", FORMAT_VERSION + 1) + bytes(50),
        f"has profile format {FORMAT_VERSION + 1}",
    ),
    "the magic alone": (MAGIC, "is cut before its first block"),
    "no block": (FILE_HEADER, "is cut before its first block"),
    "another first block": (FILE_HEADER + block(b"E", b"{}"), "is cut before its first block"),
    "no JSON": (FILE_HEADER + block(b"H", b"{"), "is damaged"),
    "JSON that is no object": (FILE_HEADER + block(b"H", b"[]"), "first block"),
}


@pytest.mark.parametrize("data, words", FOREIGN.values(), ids=FOREIGN)
def test_other_files(path: Path, data: bytes, words: str) -> None:
    with pytest.raises(ProfileError, match=words) as caught:
        read_bytes(path, data)
    assert caught.value.hint
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ProfileError) as caught:
            read(path)
        assert caught.value.hint


def test_random_bytes(path: Path) -> None:
    rng = random.Random(8)
    head = profile_of()
    for _ in range(500):
        tail = rng.randbytes(rng.randrange(200))
        with pytest.raises(ProfileError):
            read_bytes(path, tail)
        assert read_bytes(path, head + tail).rows == []
        with pytest.raises(ProfileError):
            read_bytes(path, MAGIC + tail)


DEEP = b"[" * 100_000
LONG_NUMBER = b'{"bytes_seen":' + b"9" * 10_000 + b"}"
NO_PROFILE: Dict[str, List[Tuple[bytes, Any]]] = {
    "forms are no list": [(b"F", 5)],
    "forms are nothing": [(b"F", None)],
    "ledger is no object": [(b"L", 5)],
    "ledger is a list": [(b"L", [1, 2])],
    "end is no object": [(b"E", "x")],
    "no JSON": [(b"L", b"\xff")],
    "deep JSON": [(b"L", DEEP)],
    "deep forms": [(b"F", DEEP)],
    "deep end": [(b"E", DEEP)],
    "no rows": [operations_block(rows=0)],
    "no keys": [(b"F", ["get"]), operations_block(keys=0)],
    "unknown form": [operations_block()],
    "unknown outcome": [(b"F", ["get"]), operations_block(outcome=len(OUTCOMES))],
    "unknown key": [(b"F", ["get"]), operations_block(key=1)],
    "short block": [(b"O", b"\1\0\0\0")],
    "no columns": [(b"O", struct.pack("<II", 1, 1))],
    "no zlib": [operations_block(time=b"\4\0\0\0abcd")],
    "a column too short": [operations_block(rows=3, time=column("q", [1]))],
    "a column too long": [operations_block(rows=1, time=column("q", [1, 2]))],
    "a length beyond the block": [operations_block(time=b"\xff\xff\xff\xff")],
    "far too many rows": [(b"O", struct.pack("<II", 2**32 - 1, 1) + bytes(100))],
    "times beyond all time": [
        (b"F", ["get"]),
        operations_block(rows=2, time=column("q", [2**63 - 1] * 2)),
    ],
    "a short connection block": [(b"C", b"\1")],
    "connections without columns": [(b"C", b"\1\0\0\0")],
    "far too many connections": [(b"C", b"\xff\xff\xff\xff" + column("q", [1]))],
}


@pytest.mark.parametrize("blocks", NO_PROFILE.values(), ids=NO_PROFILE)
def test_checksums_are_good_but_the_contents_are_not(path: Path, blocks: List[Any]) -> None:
    """Nobody's accident; still no traceback."""
    with pytest.raises(ProfileError):
        read_bytes(path, profile_of(*blocks))


STRANGE: Dict[str, List[Tuple[bytes, Any]]] = {
    "duration": [(b"E", {"duration_seconds": "x"})],
    "no duration": [(b"E", {"duration_seconds": None})],
    "endless duration": [(b"E", b'{"duration_seconds":1e999}')],
    "duration that is no number": [(b"E", b'{"duration_seconds":NaN}')],
    "ledger text": [(b"L", {"bytes_seen": "x"})],
    "ledger list": [(b"L", {"bytes_lost": []})],
    "ledger infinity": [(b"L", b'{"bytes_seen":1e999}')],
    "ledger long number": [(b"L", LONG_NUMBER)],
    "ledger negative": [(b"L", {"bytes_seen": -5, "bytes_lost": 3})],
    "header": [(b"H", {"started_unix": "x", "ports": 5})],
}


@pytest.mark.parametrize("blocks", STRANGE.values(), ids=STRANGE)
def test_reports_on_strange_contents(path: Path, blocks: List[Any]) -> None:
    """analyze gives a report or the one error."""
    path.write_bytes(profile_of(*blocks))
    with contextlib.suppress(ProfileError):
        membench.render(membench.analyze([str(path)]))


@pytest.mark.parametrize(
    "header",
    [{}, {"started_unix": "x"}, {"ports": 5}, {"ports": "x"}, {"started_unix": 1e300}],
    ids=str,
)
def test_reports_on_strange_headers(path: Path, header: Any) -> None:
    data = FILE_HEADER + block(b"H", json.dumps(header).encode()) + block(b"F", b'["get"]')
    path.write_bytes(data + block(*operations_block()))
    with contextlib.suppress(ProfileError):
        membench.render(membench.analyze([str(path)]))


def test_bytes_changed_behind_a_good_checksum(path: Path, small: List[List[Operation]]) -> None:
    """As from another program: it may read as other rows, but it does not fail otherwise."""
    blocks = walk(write(path, small))
    rng = random.Random(2)
    for _ in range(3000):
        chosen = rng.randrange(1, len(blocks))
        data = FILE_HEADER
        for number, one in enumerate(blocks):
            payload = bytearray(one.payload)
            for _ in range(rng.randint(1, 3) if number == chosen else 0):
                payload[rng.randrange(len(payload))] = rng.randrange(256)
            data += block(one.kind, bytes(payload))
        with contextlib.suppress(ProfileError):
            read_bytes(path, data)


READ_WITHIN = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import membench
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
try:
    with membench.ProfileReader(sys.argv[2]) as reader:
        for _ in reader.blocks():
            pass
except membench.ProfileError as error:
    print("refused")
"""


def zeros_column(count: int) -> bytes:
    packed = zlib.compress(bytes(count), 9)
    return struct.pack("<I", len(packed)) + packed


def test_decompression_bomb(path: Path) -> None:
    """A column that unpacks to far more than its rows is not unpacked."""
    bomb = operations_block(rows=1000, time=zeros_column(256 << 20))
    path.write_bytes(profile_of((b"F", ["get"]), bomb))
    assert path.stat().st_size < 1 << 20
    assert read_in_memory_of(path, 128 << 20) == "refused\n"


def test_bomb_of_many_rows(path: Path) -> None:
    """Nor is a block that says that it has many millions of rows."""
    rows = 1 << 24
    sizes = dict.fromkeys("qQ", 8) | dict.fromkeys("Ii", 4) | {"H": 2, "B": 1}
    columns = [zeros_column(rows * sizes[typecode]) for _, typecode in COLUMNS]
    columns += [column(typecode, [5]) for _, typecode in KEY_COLUMNS]
    path.write_bytes(profile_of((b"O", struct.pack("<II", rows, 1) + b"".join(columns))))
    assert path.stat().st_size < 1 << 20
    assert read_in_memory_of(path, 512 << 20) == "refused\n"


def read_in_memory_of(path: Path, limit: int) -> str:
    """What reading the file says in a process that may not have more memory."""
    done = subprocess.run(
        [sys.executable, "-c", READ_WITHIN, str(ROOT), str(path), str(limit)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-300:]
    return done.stdout


# ---- The file in its directory ----


def test_only_its_owner_can_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        write(path, [])
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_not_overwritten(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ProfileError, match="exists") as caught:
        ProfileWriter(str(path))
    assert "--force" in caught.value.hint
    assert path.read_text() == "precious"


def test_force_gives_the_file_to_its_owner_alone(path: Path) -> None:
    path.write_text("precious" * 1000)
    path.chmod(0o666)
    write(path, [])
    assert read(path).complete
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_force_does_not_overwrite_what_has_another_name(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    os.link(target, tmp_path / "link")
    with pytest.raises(ProfileError, match="hard links"):
        ProfileWriter(str(tmp_path / "link"), force=True)
    assert target.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["link", "target"]


def test_force_replaces_no_link_and_no_device(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(target)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (link, fifo, Path("/dev/zero"), tmp_path):
        for force in (False, True):
            with pytest.raises(ProfileError, match="not a regular file"):
                ProfileWriter(str(path), force)
    assert target.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["fifo", "link", "target"]


def test_force_keeps_the_old_file_until_the_recording_has_begun(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(RuntimeError):
        with ProfileWriter(str(path), force=True):
            assert path.read_text() == "precious"
            raise RuntimeError
    assert path.read_text() == "precious"
    assert os.listdir(path.parent) == [path.name]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for path in (tmp_path / "missing" / "x", file / "x", Path("/proc/x"), tmp_path / ("x" * 300)):
        with pytest.raises(ProfileError) as caught:
            ProfileWriter(str(path))
        assert caught.value.hint
    assert "create the directory" in error_hint(tmp_path / "missing" / "x")
    assert sorted(os.listdir(tmp_path)) == ["file"]


def error_hint(path: Path) -> str:
    try:
        ProfileWriter(str(path))
    except ProfileError as error:
        return error.hint
    raise AssertionError("no error")


def test_nothing_is_left_of_a_recording_that_did_not_start(path: Path) -> None:
    with pytest.raises(RuntimeError):
        with ProfileWriter(str(path)):
            raise RuntimeError
    assert not path.exists()


def test_what_was_recorded_is_left_after_an_exception(
    path: Path, small: List[List[Operation]]
) -> None:
    with pytest.raises(RuntimeError):
        with ProfileWriter(str(path)) as profile:
            profile.start(HEADER, START_NS)
            profile.add(zip(*small[0]))
            profile.flush(Ledger())
            raise RuntimeError
    contents = read(path)
    assert contents.rows == [as_read(row) for row in small[0]]
    assert not contents.complete


def test_a_full_disk_leaves_all_whole_blocks(small_disk: Path) -> None:
    path = small_disk / "test.profile"
    rng = random.Random(6)
    rows: List[Operation] = []
    with pytest.raises(ProfileError, match="No space left on device") as caught:
        with ProfileWriter(str(path)) as profile:
            profile.start(HEADER, START_NS)
            for _ in range(1000):
                batch = random_rows(rng, 100)
                rows += batch
                profile.add(zip(*batch))
                profile.flush(Ledger())
    assert caught.value.hint
    assert "can be read" in str(caught.value)
    contents = read(path)
    assert contents.rows == [as_read(row) for row in rows[: len(contents.rows)]]
    assert len(contents.rows) % 100 == 0
    assert len(contents.rows) >= len(rows) - 100, "a whole block was lost"
    assert not contents.complete
    walk(path.read_bytes())  # nothing behind the last whole block


def test_a_full_disk_at_the_start_leaves_nothing(small_disk: Path) -> None:
    path = small_disk / "test.profile"
    (small_disk / "other").write_bytes(bytes(64 << 10))
    with pytest.raises(ProfileError, match="No space left on device"):
        with ProfileWriter(str(path)) as profile:
            profile.start(HEADER, START_NS)
    assert os.listdir(small_disk) == ["other"]


# ---- No key, no value ----

PRIVATE = tuple(hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(40))
SALT = b"the secret of this recording, never stored"


def private_requests() -> Iterator[bytes]:
    """Requests in which every name, value and token is in PRIVATE."""
    words = iter(PRIVATE * 3)
    for line in (
        b"get %b %b",
        b"gets %b",
        b"gat 10 %b",
        b"delete %b",
        b"incr %b 5",
        b"touch %b 60",
        b"mg %b v k O%.20b",
        b"mg %b b k q",
        b"md %b I O%.20b",
        b"ma %b N0 J5 v O%.20b",
        b"me %b",
        b"stats %b",
        b"stats detail %b",
        b"verbosity %b",
        b"watch %b",
        b"%b %b",
        b"lru %b",
        b"lru_crawler metadump %b",
        b"slabs reassign %b %b",
        b"version %b",
        b"delete %b %b",
        b"incr %b %b",
        b"touch %b %b",
        b"mg %b %b",
        b"flush_all %b",
        b"cache_memlimit %b",
    ):
        yield line % tuple(next(words) for _ in range(line.count(b"%"))) + b"\r\n"
    for line in (
        b"set %b 0 0 64\r\n%b",
        b"add %b 5 60 64 noreply\r\n%b",
        b"ms %b 64 T60 F5 O%.20b\r\n%b",
        b"cas %b 0 0 64 12345\r\n%b",
        b"append %b 0 0 64\r\n%b",
    ):
        yield line % tuple(next(words) for _ in range(line.count(b"%"))) + b"\r\n"


def test_no_key_and_no_value_is_in_the_file(path: Path) -> None:
    """Not raw, and not in what it unpacks to, and nothing to get them back from."""
    sent = b"".join(private_requests())
    assert sum(word in sent for word in PRIVATE) > 30
    replies = b"".join(b"VALUE %b 0 64\r\n%b\r\n" % (w, w) for w in PRIVATE) + b"END\r\n"
    with ProfileWriter(str(path)) as profile:
        profile.start(HEADER, START_NS)
        matcher = Matcher(profile.add, profile.add_connection, SALT)
        sock = membench.SOCK.pack(1, 0, 1, 11211)
        matcher.process([(OPEN, START_NS, sock, 0, 0, b"", -1)])
        matcher.process([(RECV, START_NS, sock, 0, len(sent), sent, -1)])
        matcher.process([(SEND, START_NS + 9, sock, 0, len(replies), replies, -1)])
        matcher.finish()
        profile.finish(matcher.ledger, {})
    assert matcher.operations >= 30
    data = path.read_bytes()
    texts = [data]
    for one in walk(data):
        assert one.kind in b"HFCOLE"  # none with names, unless they were asked for
        texts.append(one.payload)
        if one.kind == b"O":
            texts += columns_of(one.payload, 8, COLUMNS + KEY_COLUMNS)
        elif one.kind == b"C":
            texts += columns_of(one.payload, 4, CONNECTION_COLUMNS)
    assert len(texts) > 20
    for text in texts:
        for word in PRIVATE:
            for piece in (word[:8], word[20:28], word[-8:]):
                assert piece not in text
            # Hashes that anybody could make of a guessed key.
            for name in ("md5", "sha1", "sha256", "blake2b"):
                assert hashlib.new(name, word).digest()[:6] not in text
            assert hashlib.blake2b(word, digest_size=8).digest()[:6] not in text
            assert struct.pack("<I", zlib.crc32(word)) + b"\0\0" not in text
        assert SALT[:8] not in text


def columns_of(payload: bytes, at: int, columns: Sequence[Tuple[str, str]]) -> List[bytes]:
    """Each column decompressed: as it is stored, and value by value."""
    texts = []
    for _, typecode in columns:
        (length,) = struct.unpack_from("<I", payload, at)
        planes = zlib.decompress(payload[at + 4 : at + 4 + length])
        at += 4 + length
        size = struct.calcsize("<" + typecode)
        rows = len(planes) // size
        texts += [planes, b"".join(planes[row::rows] for row in range(rows))]
    assert at == len(payload)
    return texts


def test_keys_can_be_compared_only_under_the_same_secret() -> None:
    def codes(secret: bytes) -> List[int]:
        rows = Rows()
        matcher = Matcher(rows.take, lambda *_: None, secret)
        line = b"get alpha beta alpha\r\n"
        sock = membench.SOCK.pack(1, 0, 3, 2)
        matcher.process([(OPEN, 1, sock, 0, 0, b"", -1)])
        matcher.process([(RECV, 2, sock, 0, len(line), line, -1)])
        matcher.finish()
        return [row[7] for row in rows]

    first = codes(b"secret one")
    assert first == codes(b"secret one")
    assert first[0] == first[2] != first[1]
    assert not set(first) & set(codes(b"secret two"))


# ---- Analysis ----


def requests_of(rng: random.Random, count: int) -> List[Operation]:
    """Operations as real requests make them: several keys, one latency, a place in a read."""
    rows: List[Operation] = []
    time_ns = START_NS
    batch = 0
    for _ in range(count):
        batch = batch + 1 if rng.random() < 0.5 else 0
        time_ns += rng.randrange(10**9) if not batch else 0
        form = rng.choice((b"get", b"get", b"set 7", b"set noreply", b"delete", b"mg v", b"touch"))
        for place in range(rng.randint(1, 5) if form == b"get" else 1):
            size = rng.choice((NO_SIZE, 10, 100, 1000))
            outcomes = ("hit", "miss") if form in (b"get", b"mg v") else ("stored", "not_found")
            outcome = OUTCOMES.index(rng.choice(outcomes))
            latency = 0 if place or form.endswith(b"noreply") else rng.randrange(10**6)
            key = rng.choice((0, 3 << 16 | 5, 4 << 16 | 9, rng.randrange(2**64) << 16 | 17))
            exptime = rng.choice((0, -1, 60, 1_700_000_000 + 86400)) if form[:3] == b"set" else 0
            rows.append((time_ns, latency, 1, form, outcome, batch, place, key, size, exptime))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_the_report_counts_what_is_in_the_profile(path: Path, seed: int) -> None:
    """Each number is found again by counting the operations one by one."""
    rows = requests_of(random.Random(seed), 2000)
    write(path, [rows[:700], rows[700:701], rows[701:]])
    report = membench.analyze([str(path)])
    firsts = [row for row in rows if row[6] == 0]
    assert (report["operations"], report["requests"]) == (len(rows), len(firsts))
    for name, command in report["commands"].items():
        mine = [row for row in rows if row[3].split(b" ")[0] == name.encode()]
        assert command["operations"] == len(mine)
        assert command["requests"] == sum(row[6] == 0 for row in mine)
        counts = membench.Counter(OUTCOMES[row[4]] for row in mine)
        assert command["outcomes"] == counts
        ticks = membench.Counter(row[1] // TICK_NS for row in mine)
        assert command["latency_us"] == describe_latency(ticks)
    assert sum(one["requests"] for one in report["commands"].values()) == len(firsts)
    gets = membench.Counter(OUTCOMES[row[4]] for row in rows if row[3] in (b"get", b"mg v"))
    assert (report["hits"], report["misses"]) == (gets["hit"], gets["miss"])
    assert report["hit_ratio"] == gets["hit"] / (gets["hit"] + gets["miss"])
    keys = membench.Counter(row[7] >> 16 for row in rows if row[7])
    assert report["keys"]["unique"] == len(keys)
    assert report["keys"]["size_bytes"] == describe_sizes(
        membench.Counter(row[7] & 0xFFFF for row in rows if row[7])
    )
    hottest = report["keys"]["top"][0]
    assert hottest["operations"] == max(keys.values())
    assert keys[int(hottest["key"], 16)] == hottest["operations"]
    assert hottest["share"] == hottest["operations"] / sum(keys.values())
    sizes = membench.Counter(row[8] for row in rows if row[8] != NO_SIZE)
    assert report["values"]["size_bytes"] == describe_sizes(sizes)
    assert report["noreply_requests"] == sum(row[3].endswith(b"noreply") for row in rows)
    alone = sum(row[5] == 0 for row in firsts)
    assert report["pipelining"]["mean_depth"] == round(len(firsts) / alone, 2)
    assert report["pipelining"]["max_depth"] == max(row[5] for row in rows) + 1
    asked = [row for row in rows if row[3] in (b"get", b"mg v")]
    gotten = sum(row[6] == 0 for row in asked)
    assert report["keys_per_get"]["mean"] == round(len(asked) / gotten, 2)
    assert report["keys_per_get"]["max"] == max(row[6] for row in asked) + 1
    assert sum(report["timeline"]["operations"]) == len(rows)
    ttls = [row[9] for row in rows if row[3][:3] in (b"set", b"tou")]
    assert report["ttl_seconds"]["none"] == ttls.count(0)
    assert report["ttl_seconds"]["expired"] == ttls.count(-1)
    assert report["ttl_seconds"]["set"]["count"] == sum(ttl > 0 for ttl in ttls)
    assert report["ttl_seconds"]["set"]["min"] == 60
    other = path.with_suffix(".copy")
    other.write_bytes(path.read_bytes())
    twice = membench.analyze([str(path), str(other)])
    assert (twice["operations"], twice["hits"]) == (2 * len(rows), 2 * gets["hit"])
    assert twice["keys"]["unique"] == len(keys)
    with pytest.raises(ProfileError, match="twice"):
        membench.analyze([str(path), str(path)])


def test_rates_are_those_of_the_time_that_was_recorded() -> None:
    assert membench.covered_seconds([]) == 0
    assert membench.covered_seconds([(10, 16), (20, 24)]) == 10  # one after the other
    assert membench.covered_seconds([(20, 24), (10, 16), (12, 18), (13, 14)]) == 12


def test_rates_of_several_recordings(tmp_path: Path) -> None:
    """The time between two recordings is not recorded; what both recorded counts once."""
    for name, begins in (("apart", (1000, 5000)), ("together", (1000, 1005))):
        paths = []
        for begin in begins:
            paths.append(str(tmp_path / f"{name}-{begin}"))
            with ProfileWriter(paths[-1]) as profile:
                profile.start({"started_unix": float(begin), "ports": [11211]}, 0)
                for number in range(300):
                    profile.add(zip((number, 1, 1, b"get", membench.MISS, 0, 0, 1, NO_SIZE, 0)))
                profile.finish(Ledger(), {"duration_seconds": 10.0})
        seconds = {"apart": 20, "together": 15}[name]
        assert membench.analyze(paths)["operations_per_second"] == 600 / seconds


def test_percentile_is_the_smallest_value_that_enough_do_not_exceed() -> None:
    rng = random.Random(9)
    for _ in range(300):
        values = sorted(rng.choices(range(rng.choice((1, 5, 1000))), k=rng.randint(1, 300)))
        counts = [(value, values.count(value)) for value in sorted(set(values))]
        for share in ("0.5", "0.9", "0.99", "0.999", "1"):
            wanted = math.ceil(Fraction(share) * len(values))
            got = percentile(counts, len(values), float(share))
            assert got == values[wanted - 1]


def test_percentiles_of_round_numbers() -> None:
    counts = [(value, 1) for value in range(1, 1001)]
    shares = (0.001, 0.5, 0.9, 0.99, 0.999, 1.0)
    assert [percentile(counts, 1000, s) for s in shares] == [1, 500, 900, 990, 999, 1000]
    assert percentile([(7, 10**12)], 10**12, 0.999) == 7


def test_describe_sizes() -> None:
    assert describe_sizes({}) is None
    assert describe_sizes({5: 0}) is None
    one = describe_sizes({5: 1})
    assert one == {
        "count": 1,
        "min": 5,
        "mean": 5.0,
        "p50": 5,
        "p90": 5,
        "p99": 5,
        "p999": 5,
        "max": 5,
    }
    rng = random.Random(10)
    values = [rng.randrange(10**6) for _ in range(999)]
    counts: Dict[int, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    described = describe_sizes(counts)
    assert described is not None
    assert (described["min"], described["max"]) == (min(values), max(values))
    assert described["mean"] == round(statistics.fmean(values), 1)
    assert described["p50"] == statistics.median(values)
    assert described["count"] == 999


def test_describe_latency_leaves_out_what_is_not_known() -> None:
    assert describe_latency({0: 1000}) is None
    assert describe_latency({}) is None
    described = describe_latency({0: 1000, 10: 1, 20: 1})
    assert described == {"p50": 1.0, "p90": 2.0, "p99": 2.0, "p999": 2.0, "max": 2.0}


@pytest.mark.parametrize(
    "exptime, now, ttl",
    [
        (0, 1_700_000_000, 0),
        (1, 1_700_000_000, 1),
        (-1, 1_700_000_000, -1),
        (-(2**31), 0, -1),
        (30 * 86400, 1_700_000_000, 30 * 86400),  # the last that is relative
        (30 * 86400 + 1, 1_700_000_000, -1),  # a time in 1970
        (1_700_000_060, 1_700_000_000, 60),
        (1_700_000_000, 1_700_000_000, -1),
        (1_699_999_000, 1_700_000_000, -1),
    ],
)
def test_ttl_of(exptime: int, now: int, ttl: int) -> None:
    assert ttl_of(exptime, now) == ttl


def ledger_of(seen: int, lost: int, events: int = 0, resyncs: int = 0, unmatched: int = 0) -> Any:
    ledger = Ledger()
    ledger.seen_bytes = seen
    ledger.lost_bytes = lost
    ledger.desyncs = resyncs
    ledger.unmatched_responses = unmatched
    ledger.kernel = {"dropped_events": events}
    return ledger.report()


@pytest.mark.parametrize("seen", [1, 3, 999, 10**5, 10**9, 10**12, 10**15])
def test_loss_line_says_100_only_if_nothing_is_lost(seen: int) -> None:
    assert loss_line(ledger_of(seen, 0)).startswith("100%")
    for lost in {1, 2, seen // 3, seen - 1, seen} - {0, -1}:
        if lost > seen:
            continue
        for report in (ledger_of(seen, lost), sum_ledgers([ledger_of(seen, lost)])):
            line = loss_line(report)
            assert "100" not in line.split("%")[0]
            assert f"{lost:,}" in line


def test_loss_line_says_100_only_if_no_event_is_lost() -> None:
    """Even if its bytes were all of a value, so that nobody misses them."""
    for events in (1, 10**6):
        line = loss_line(ledger_of(10**6, 0, events))
        assert "100" not in line.split("%")[0]
        assert f"{events:,} events" in line


def test_loss_line_tells_of_all_that_went_wrong() -> None:
    line = loss_line(ledger_of(1000, 10, 3, 4, 5))
    for words in (
        "99.00%",
        "10 of 1,000 bytes",
        "3 events",
        "synchronization lost 4 times",
        "5 unmatched",
    ):
        assert words in line
    assert "synchronization lost 2 times" in loss_line(ledger_of(1000, 0, 0, 2, 0))
    assert "7 unmatched" in loss_line(ledger_of(1000, 0, 0, 0, 7))


@pytest.mark.parametrize(
    ("loss", "reason", "remedy"),
    [
        (
            {"joined_bytes": 10},
            ", 10 of them on connections joined mid-stream",
            "record for longer",
        ),
        ({"tls_bytes": 10}, "LOST 10 of 1,000 bytes$", "TLS"),
        ({"events_lost": 3, "joined_bytes": 10}, ", 3 events dropped", "--ring-size"),
        ({"joined_bytes": 2, "tls_bytes": 2}, ", 2 of them", "^$"),
    ],
)
def test_a_loss_is_told_with_its_reason_and_what_helps(
    loss: Dict[str, int], reason: str, remedy: str
) -> None:
    report = {**ledger_of(1000, 10), **loss}
    assert re.search(reason, loss_line(report))
    assert re.search(remedy, loss_remedy(report))
    assert ("events" in loss_line(report)) == ("events_lost" in loss)


def test_bytes_that_only_the_kernel_counted_are_lost() -> None:
    ledger = Ledger()
    ledger.seen_bytes = 600
    ledger.kernel = {"recv_bytes": 500, "send_bytes": 500}
    report = ledger.report()
    assert (report["bytes_seen"], report["bytes_lost"], report["coverage"]) == (1000, 400, 0.6)


def test_ledgers_of_several_profiles_are_one() -> None:
    total = sum_ledgers([ledger_of(1000, 10, 1, 2, 3), ledger_of(3000, 30, 4, 5, 6), {}])
    assert total == {
        "bytes_seen": 4000,
        "bytes_lost": 40,
        "events_lost": 5,
        "resyncs": 7,
        "unmatched_responses": 9,
        "refused_connections": 0,
        "exchanges": 0,
        "coverage": 0.99,
        "joined_bytes": 0,
        **dict.fromkeys(("tls_connections", "tls_bytes", "udp_datagrams", "udp_bytes"), 0),
    }
    assert sum_ledgers([])["coverage"] is None


def test_rounding_loses_no_count_and_less_than_a_percent() -> None:
    rng = random.Random(12)
    counts = membench.Counter({rng.randrange(1, 10**9): rng.randint(1, 5) for _ in range(2000)})
    rounded = round_to_3_digits(counts)
    assert sum(rounded.values()) == sum(counts.values())
    assert all(len(str(value).rstrip("0")) <= 3 for value in rounded)
    exact = sum(value * count for value, count in counts.items())
    assert 0 <= exact - sum(value * count for value, count in rounded.items()) < exact / 100


def test_histogram_counts_each_value_once_in_its_bucket() -> None:
    counts = {0: 1, 1: 2, 2: 4, 3: 8, 4: 16, 5: 32, 1024: 64, 1025: 128}
    assert powers_of_two(counts) == [
        {"up_to": 1, "count": 3},
        {"up_to": 2, "count": 4},
        {"up_to": 4, "count": 24},
        {"up_to": 8, "count": 32},
        {"up_to": 1024, "count": 64},
        {"up_to": 2048, "count": 128},
    ]
