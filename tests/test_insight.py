# SPDX-License-Identifier: GPL-2.0-only
"""Insight: the cause of each miss, what memory was spent on, stampedes and refills.

Of a real memcached, each cause is known because the test made it, and the server's own counters
agree. Of streams made by hand, each rule by itself.
"""

from __future__ import annotations

import gc
import json
import math
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple

import pytest
from live import Memcached, Recorder, exchange, repeats, run
from test_analysis import GETS as RETRIEVALS
from test_analysis import Shape, write_profile

import membench
from membench import NO_SIZE, OPEN, OUTCOMES, Ledger, ProfileWriter, ServerName

STARTED_UNIX = 1_700_000_000.5

# ---- A real memcached ----


class Caller:
    """A client that knows why it misses."""

    def __init__(self, server: Memcached) -> None:
        self.connection = server.connect()
        self.expected: Counter[str] = Counter()

    def do(self, command: bytes, end: bytes) -> None:
        exchange(self.connection, command + b"\r\n", end + b"\r\n")

    def store(self, key: str, exptime: int = 0, size: int = 10) -> None:
        self.do(b"set %s 0 %d %d\r\n%s" % (key.encode(), exptime, size, b"x" * size), b"STORED")

    def ask(self, key: str) -> bool:
        """Is it there?"""
        return exchange(self.connection, b"get %s\r\n" % key.encode(), b"END\r\n") != b"END\r\n"

    def miss(self, cause: str, *keys: str) -> None:
        for key in keys:
            assert not self.ask(key), key
            self.expected[cause] += 1


def test_the_causes_are_those_that_were_made(tmp_path: Path) -> None:
    """And as many values were evicted, had expired and were flushed as the server counted."""
    options = ("-m", "8", "-t", "1", "-o", "no_lru_crawler,no_lru_maintainer")
    output = tmp_path / "a.profile"
    with Memcached(*options) as server, Recorder(output, "--port", str(server.port)) as recorder:
        client, other = Caller(server), Caller(server)
        client.miss("not_seen", "none", "none", "other")
        for key in ("f1", "f2", "f3"):
            client.store(key, 100)
        assert client.ask("f1")
        client.do(b"flush_all", b"OK")
        client.miss("flushed", "f1", "f2", "f3")
        for key in ("d1", "d2", "d3"):
            client.store(key)
        client.do(b"delete d1", b"DELETED")
        client.do(b"md d2", b"HD")
        client.connection.sendall(b"delete d3 noreply\r\n")
        client.miss("deleted", "d1", "d2", "d3")
        for key, size in {"big": 2 << 20, "bigger": 3 << 20}.items():
            client.store(key)
            command = b"set %s 0 0 %d\r\n%s" % (key.encode(), size, b"x" * size)
            client.do(command, b"SERVER_ERROR object too large for cache")
        client.miss("not_stored", "big", "bigger")
        client.store("kept")
        make_expired(client)
        client.store("f4")
        other.do(b"flush_all 1", b"OK")
        time.sleep(3)
        other.miss("flushed", "f4")
        fill(client)
        stats = server.stats()
        report = recorder.stop()
        found = json.loads(run("analyze", "--why", "--json", str(output)).stdout)
    assert report["loss"]["coverage"] == 1
    causes = {name: count for name, count in found["miss_causes"].items() if count}
    assert causes == client.expected + other.expected
    assert causes["evicted"] == found["evicted_unused_seconds"]["count"] == stats["evictions"] > 9
    assert causes["expired"] == stats["get_expired"] == 6
    assert causes["flushed"] == 4
    assert stats["get_flushed"] in (4, 0)  # Debian 13's memcached, 1.6.38, counts none
    assert sum(causes.values()) == found["misses"] == stats["get_misses"]
    assert found["waste"]["refused_bytes"]["count"] == 2


def make_expired(client: Caller) -> None:
    """Values that expire in different ways, and one whose TTL is taken away."""
    for key in ("e1", "kept2"):
        client.store(key, 1)
    client.store("e2", int(time.time()) + 1)
    client.store("e3", -1)
    for key in ("e4", "e5", "e6"):
        client.store(key, 600)
    client.do(b"touch e4 1", b"TOUCHED")
    client.do(b"gat 1 e5", b"END")
    client.do(b"mg e6 T1", b"HD")
    client.do(b"touch kept2 600", b"TOUCHED")
    time.sleep(2.1)
    assert client.ask("kept") and client.ask("kept2")
    client.miss("expired", "e1", "e2", "e3", "e4", "e5", "e6")


def fill(client: Caller) -> None:
    """Store more large values than there is room for."""
    keys = [f"large{number}" for number in range(30)]
    for key in keys:
        client.store(key, 0, 500_000)
    client.expected["evicted"] += sum(not client.ask(key) for key in keys)


# ---- Streams made by hand ----


class Did(NamedTuple):
    """An operation: what, and with what outcome."""

    second: float
    form: str
    outcome: str
    key: int = 1
    size: int = NO_SIZE
    exptime: int = 0
    connection: int = 1
    latency: int = 1  # us
    place: int = 0  # of the key in its request


def explained(
    path: Path,
    rows: Iterable[Did],
    seconds: float = 1000,
    opened: int = 4,
    block_rows: int = 2000,
    **header: Any,
) -> Any:
    """What is found in a profile of these operations."""
    first = {"source": "ebpf:any", "hook": "sock", "ports": [1], "started_unix": STARTED_UNIX}
    with ProfileWriter(str(path), force=True) as profile:
        profile.start({**first, **header}, 0)
        for number in range(1, opened + 1):
            server = ServerName(f"127.0.0.1:{number > 2}", "memcached", 7)
            profile.add_connection(0, number, 1, OPEN, server)
        columns = [
            (
                int(row.second * 1e9),
                row.latency * 1000,
                row.connection,
                row.form.encode(),
                OUTCOMES.index(row.outcome),
                0,
                row.place,
                # A hash of 64 bits, and a size; below 0 only that.
                row.key << 40 | 10 if row.key > 0 else -row.key,
                row.size,
                row.exptime,
            )
            for row in rows
        ]
        for first_row in range(0, len(columns), block_rows):
            profile.add(zip(*columns[first_row : first_row + block_rows]))
            profile.flush(Ledger())
        profile.finish(Ledger(), {"duration_seconds": seconds})
    report: Dict[str, Any] = {}
    membench.explain(report, [str(path)], 1.25)
    return report


def put(second: float, exptime: int = 0, form: str = "set", outcome: str = "stored") -> Did:
    return Did(second, form, outcome, 1, 100, exptime)


def miss(second: float) -> Did:
    return Did(second, "get", "miss")


HIT_AT_1 = Did(1, "get", "hit", 1, 100)
DAY = 24 * 60 * 60

# cause -> streams whose last miss has it
STREAMS: Dict[str, List[Tuple[Did, ...]]] = {
    "not_seen": [
        (),
        (miss(1),),
        (Did(1, "delete", "not_found"),),
        (Did(1, "delete noreply", "none"),),
        (Did(1, "touch", "not_found"),),
        (Did(1, "get", "lost"),),
        (put(1, form="replace", outcome="not_stored"),),
        (put(1, form="replace noreply", outcome="none"),),
        (Did(1, "flush_all", "ok", 0),),
        (put(1)._replace(key=2),),
        (put(1)._replace(connection=4),),  # on the other server
    ],
    "deleted": [
        (put(1), Did(2, "delete", "deleted")),
        (put(1), Did(2, "delete noreply", "none")),
        (put(1), Did(2, "delete", "unanswered")),
        (put(1), Did(2, "md q", "deleted"), miss(3), miss(4)),
        (put(1), Did(2, "deleteq binary", "deleted")),
        (Did(2, "delete", "deleted"),),
        (put(1, 10), Did(2, "delete", "deleted"), miss(3), Did(50, "delete", "not_found")),
        (put(1), Did(2, "delete", "deleted"), Did(3, "flush_all", "ok", 0)),
        (put(1), Did(2, "delete", "deleted"), put(3, form="add noreply", outcome="error")),
    ],
    "expired": [
        (put(1, 60),),
        (put(1, -1),),
        (put(1, 100),),  # a second too early, by which memcached's clock may be ahead
        (put(1, int(STARTED_UNIX) + 60),),
        (put(1, int(STARTED_UNIX) - DAY),),
        (put(1), Did(2, "touch", "touched", exptime=60)),
        (put(1), Did(2, "touch noreply", "none", exptime=60)),
        (put(1), Did(2, "gat", "hit", size=100, exptime=60)),
        (put(1), Did(2, "gatq binary", "hit", size=100, exptime=60)),
        (put(1), Did(2, "mg v T", "hit", size=100, exptime=60)),
        (put(1), Did(2, "md I T", "deleted", exptime=60)),
        (put(1), Did(2, "ma T", "ok", exptime=60)),
        (put(1), Did(2, "delete", "deleted"), Did(3, "ma N60", "ok")),
        (put(1), Did(2, "delete", "deleted"), Did(3, "mg N60 v", "hit", size=0)),
        (put(1), Did(2, "delete", "deleted"), Did(3, "incr binary 1 5", "ok", exptime=60)),
        (miss(1), Did(2, "ms MA N60", "stored", size=10)),
        (HIT_AT_1, Did(2, "touch", "touched", exptime=60)),
        (put(1, 60), put(2, 0, "append", "stored")),  # keeps the exptime
        (put(1, 60), put(2, 0, "prependq binary 4", "stored")),
        (put(1, 60), put(2, 0, "ms MP T", "stored")),
        (put(1, 60), Did(2, "incr 1", "ok")),
        (put(1, 60), put(2, 0, "add", "not_stored")),
        (put(1, 60), put(2, 0, "add noreply", "none")),
        (put(1, 60), put(2, 0, "cas 5", "exists")),
        (put(1, 60), put(2, 0, "append", "server_error")),
        (put(1, 60), Did(2, "mg v T", "miss", key=2, exptime=0)),
        (put(1, 60), Did(2, "touch", "not_found", key=2)),
        (put(1, 60), Did(70, "delete", "not_found")),
        (put(1, 60), Did(70, "delete noreply", "none")),
        (put(1, 60), Did(2, "flush_all 30", "ok", 0, connection=4)),
        (put(1), put(2, 60, "replace", "stored")),
        (put(1), put(2, 60, "replace noreply", "none")),
        (put(1), put(2, 60, "cas", "stored")),
        (put(1), put(2, 60, "setq binary 5", "stored")),
        (put(1), put(2, 60, "ms T", "stored")),
        (put(1), put(2, 60, "set 32 noreply", "none")),
        (put(1), put(2, 60, "set", "lost")),
    ],
    "flushed": [
        (put(1), Did(2, "flush_all", "ok", 0)),
        (put(1), Did(2, "flush_all noreply", "none", 0)),
        (put(1), Did(2, "flushq binary", "ok", 0)),
        (put(1), Did(2, "flush binary", "ok", 0, exptime=20)),
        (put(1), Did(2, "flush_all 20", "ok", 0), put(3)),
        (put(1), Did(2, "flush_all", "ok", 0), Did(3, "flush_all 500", "ok", 0)),
        (put(1, 10), Did(2, "flush_all", "ok", 0)),  # memcached looks at the flush first
        (HIT_AT_1, Did(2, "flush_all", "ok", 0)),
    ],
    "evicted": [
        (put(1),),
        (put(1, 200),),
        (put(1, int(STARTED_UNIX) + 200),),
        (put(1, 60), Did(2, "touch", "touched", exptime=0)),
        (put(1, 60), Did(2, "gats", "hit", size=9, exptime=0)),
        (put(1, 60), Did(70, "get", "miss"), put(71)),
        (put(1), Did(2, "get", "hit", size=9), miss(3)),
        (put(1), Did(2, "md I", "deleted")),  # stale, but there
        (put(1, 101),),
        (put(1, 60), Did(30, "delete", "not_found")),  # so it was gone before it expired
        (put(1, 60), Did(30, "replace", "not_stored", size=9)),
        (put(1), Did(2, "delete", "deleted"), put(3, form="add", outcome="stored")),
        (put(1), Did(2, "delete", "deleted"), put(3, form="add noreply", outcome="none")),
        (put(1), Did(2, "flush_all", "ok", 0), put(3)),
        (put(1), Did(2, "flush_all 300", "ok", 0)),
        (put(1), Did(2, "flush_all 20", "ok", 0), Did(3, "flush_all 300", "ok", 0)),
        (put(1), Did(2, "flush_all", "client_error", 0)),
        (put(1), Did(2, "flush_all", "ok", 0, connection=4)),
        (put(1), Did(2, "incr binary 1 5", "not_found", exptime=-1)),
        (put(1), Did(2, "append", "not_stored", size=9)),
        (put(1), put(2, form="ms MR", outcome="not_stored")),
        (put(1), put(2, form="set", outcome="client_error")),
    ],
    "expired_or_evicted": [
        (HIT_AT_1,),
        (HIT_AT_1, Did(2, "incr 1", "ok")),
        (Did(1, "add", "not_stored", size=9),),
        (put(1, 10), Did(90, "get", "hit", size=100)),  # somebody else must have stored it
    ],
    "not_stored": [
        (put(1), put(2, outcome="server_error")),
        (put(1, outcome="server_error"),),
        (put(1), put(2, form="ms T MA", outcome="server_error")),
        (put(1), put(2, form="setq binary", outcome="server_error"), miss(3)),
        (miss(1), put(2, form="add", outcome="server_error")),
        (put(1), Did(2, "delete", "deleted"), put(3, form="cas", outcome="server_error")),
    ],
}


@pytest.mark.parametrize("cause", STREAMS)
def test_the_cause_of_a_miss(cause: str, tmp_path: Path) -> None:
    for stream in STREAMS[cause]:
        before = explained(tmp_path / "a.profile", stream)["miss_causes"]
        found = explained(tmp_path / "a.profile", [*stream, miss(100)])["miss_causes"]
        assert found == {**before, cause: before[cause] + 1}, stream


def test_requests_that_overlap(tmp_path: Path) -> None:
    """memcached may take them in another order than they came in."""
    path, short = tmp_path / "a.profile", 50e-6
    delete = Did(2, "delete", "deleted")
    store, slow_delete = put(3)._replace(latency=100), delete._replace(latency=100)
    hit = Did(2 + short, "get", "hit", 1, 100)
    for rows, cause in (
        ([store, miss(3 + short)], "not_seen"),
        ([put(1), delete, store, miss(3 + short)], "deleted"),
        ([put(1), delete, store, Did(3 + short, "touch", "not_found"), miss(4)], "evicted"),
        ([put(1), delete, store, miss(3 + 3 * short)], "evicted"),
        ([put(1), store, miss(3 + short)], "evicted"),  # there was no other moment without it
        ([put(1), miss(2 - short), delete], "deleted"),
        ([put(1), miss(2 - short), miss(2 - short / 2), delete], "deleted"),
        ([HIT_AT_1, miss(2 - short), delete], "deleted"),
        ([put(1), miss(1.9), delete], "evicted"),
        ([put(1), slow_delete, hit, miss(3)], "deleted"),
        ([put(1), slow_delete, put(2 + short), hit, miss(3)], "deleted"),
        ([put(1), slow_delete, put(2 + 3 * short), miss(3)], "evicted"),
        ([put(1), slow_delete, hit._replace(second=2 + 3 * short), miss(3)], "expired_or_evicted"),
        (
            [put(1), slow_delete._replace(form="flush_all", outcome="ok", key=0), hit, miss(3)],
            "flushed",
        ),
    ):
        found = explained(path, rows)
        causes = {name for name, count in found["miss_causes"].items() if count}
        assert causes == {cause}, rows
        evicted = found["evicted_unused_seconds"]
        assert (evicted["count"] if evicted else 0) == (cause == "evicted"), rows


def test_rows_are_taken_in_the_order_of_time(tmp_path: Path) -> None:
    """Rows come in the order of replies."""
    rows = [miss(3), Did(2, "delete", "deleted"), put(1)]
    found = explained(tmp_path / "a.profile", rows)["miss_causes"]
    assert {name for name, count in found.items() if count} == {"deleted"}


def test_without_responses_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    explained(path, [put(1), miss(2)], responses=False)
    done = run("analyze", "--why", "--json", str(path))
    assert done.returncode == 0 and "miss_causes" not in json.loads(done.stdout)
    assert done.stderr == "membench: --why has nothing to tell: responses were not recorded\n"


def test_stampedes_and_refills(tmp_path: Path) -> None:
    def at(second: float, connection: int, *what: str, key: int = 1) -> Did:
        return Did(second, *(what or ("get", "miss")), key, NO_SIZE, 0, connection)

    store = ("set", "stored")
    rows = [
        *(at(1, 1), at(1.1, 2), at(1.2, 2), at(1.3, 1, *store), at(1.5, 2, *store)),  # an episode
        *(at(9, 1, key=2), at(9.1, 1, key=2), at(9.2, 1, key=2), at(9.3, 1, *store, key=2)),
        *(at(9, 1, key=3), at(9.1, 2, key=3), at(9.2, 1, *store, key=3)),  # only two misses
        *(at(20, 1, key=4), at(21, 2, key=4), at(22, 1, key=4), at(99, 1, *store, key=4)),  # late
        at(100, 2, *store, key=4),
        at(200, 1, *store, key=4),
    ]
    found = explained(tmp_path / "a.profile", rows)
    assert found["stampedes"]["episodes"] == 1 and found["stampedes"]["misses"] == 3
    assert found["stampedes"]["redundant_stores"] == 1
    assert found["stampedes"]["ms"]["max"] == 300
    refills = found["refill_ms"]
    assert refills["count"] == 4 and refills["p50"] == 300 and refills["max"] == 400


def test_what_memory_was_spent_on(tmp_path: Path) -> None:
    item = 100 + 10 + 59  # bytes: value, key, the rest
    rows = [
        *(put(1), put(11), Did(12, "get", "hit", 1, 100), put(21)),  # unread, read, not read yet
        *(put(1, 10)._replace(key=2), put(31)._replace(key=2)),  # expired unread, at 11
        put(1)._replace(key=3, form="set 5"),
        *(Did(second, "get", "hit", 3, 100) for second in (1, 3.2, 41)),
        *(miss(2)._replace(key=4), miss(3)._replace(key=4), miss(4)._replace(key=5)),
        *(put(1)._replace(key=6), Did(2, "touch", "touched", 6), Did(6, "delete", "deleted", 6)),
        put(7, outcome="server_error")._replace(key=7, size=2 << 20),
    ]
    found = explained(tmp_path / "a.profile", rows, seconds=101)
    waste = found["waste"]
    assert waste["values"] == 7
    assert waste["overwrites"] == 2 and waste["overwrites_never_read"] == 1
    assert waste["never_read"] == 3 and waste["not_read_yet"] == 2
    assert waste["byte_seconds_never_read"] == (10 + 10 + 5) * item
    assert waste["byte_seconds_not_read_yet"] == (80 + 70) * item
    assert waste["byte_seconds"] == (25 + 150 + 10) * item + 100 * (item + 4)
    assert waste["keys_asked"] == 4 and waste["keys_asked_once"] == 2
    assert waste["negative_keys"] == 2 and waste["negative_misses"] == 3
    assert waste["refused_bytes"]["max"] == 2 << 20
    slabs = waste["slabs"]
    assert slabs["items"] == 3 and slabs["item_bytes"] == 3 * item + 4
    assert slabs["chunk_bytes"] == 3 * 192  # of 96, 120, 152, 192
    none = found["ttl_classes"][0]
    assert (none["ttl"], none["values"], none["hits"]) == (0, 6, 4)
    assert (none["hit_age_p50"], none["hit_age_max"]) == (1, 40)
    assert found["ttl_classes"][1]["ttl"] == 10


def test_chunks_are_those_of_memcached() -> None:
    """Each class has one of the sizes that memcached says it has."""
    for factor, option in ((1.25, ()), (1.08, ("-f", "1.08")), (2.0, ("-f", "2"))):
        chunks = membench.slab_chunks(factor)
        with Memcached(*option) as server:
            caller = Caller(server)
            for size in (1, *(chunk - 61 for chunk in chunks[:40]), 500_000):
                caller.store("key", size=size)
            lines = (
                exchange(caller.connection, b"stats slabs\r\n", b"END\r\n").decode().split("\r\n")
            )
        theirs = {
            int(line.split(":")[0].split()[1]): int(line.split()[2])
            for line in lines
            if ":chunk_size " in line
        }
        assert len(theirs) >= min(len(chunks), 20)
        assert theirs == {number: chunks[number - 1] for number in theirs}


def test_of_too_many_keys_a_sample_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membench, "FOLLOWED_MAX", 1000)
    rng = random.Random(1)
    keys = [rng.getrandbits(40) for _ in range(20_000)]
    stores = [Did(n / 100, "set", "stored", key, 5) for n, key in enumerate(keys)]
    misses = [Did(300 + n / 100, "get", "miss", key) for n, key in enumerate(keys)]
    rows = [*stores, Did(250, "flush_all", "ok", 0), *misses]
    found = explained(tmp_path / "a.profile", rows)
    sample = found["keys_followed"]["sample"]
    assert 1 / 64 <= sample <= 1 / 16
    weight = round(1 / sample)
    sampled = sum(membench.mixed(key << 40 | 10) * weight < 1 << 64 for key in keys)
    assert found["miss_causes"]["flushed"] == found["keys_followed"]["keys"] == sampled * weight
    assert found["miss_causes"]["flushed"] == sum(found["miss_causes"].values())


def test_keys_whose_hashes_are_the_same_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample is chosen of them, too."""
    monkeypatch.setattr(membench, "FOLLOWED_MAX", 100)
    rows = [Did(size / 100, "get", "miss", -size) for size in range(1, 2001)]
    found = explained(tmp_path / "a.profile", rows)
    assert 1 / 64 <= found["keys_followed"]["sample"] <= 1 / 16
    assert found["miss_causes"]["not_seen"] == pytest.approx(2000, rel=0.3)


def test_rows_that_wait_keep_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block has one whose time is far ahead."""
    monkeypatch.setattr(membench, "ORDER_BLOCKS", 4)
    kept = []
    take = membench.ProfileReader.blocks

    def blocks(reader: membench.ProfileReader) -> Iterator[membench.Operations]:
        for block in take(reader):
            yield block
            del block
            kept.append(sum(isinstance(each, membench.Operations) for each in gc.get_objects()))

    monkeypatch.setattr(membench.ProfileReader, "blocks", blocks)
    rows = [Did(10**5 if n % 5 == 4 else n / 100, "get", "miss") for n in range(100)]
    found = explained(tmp_path / "a.profile", rows, block_rows=5)
    assert found["miss_causes"]["not_seen"] == 100
    assert len(kept) == 20 and max(kept) <= 4 + 1


def test_an_error_leaves_the_garbage_collector_on(tmp_path: Path) -> None:
    with pytest.raises(membench.ProfileError):
        membench.explain({}, [str(tmp_path / "none.profile")], 1.25)
    assert gc.isenabled()


WIDTHS = (60, 80, 120)


def test_the_report_fits_and_json_has_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    rows = [row for streams in STREAMS.values() for stream in streams for row in (*stream, miss(9))]
    rows = [row._replace(second=row.second + 1000 * number) for number, row in enumerate(rows)]
    report = explained(path, rows)
    for key in ("miss_causes", "stampedes", "waste", "refill_ms", "ttl_classes"):
        assert key in report
    whole = json.loads(run("analyze", "--why", "--json", str(path)).stdout)
    assert {key: whole[key] for key in report} == json.loads(json.dumps(report))
    assert sum(whole["miss_causes"].values()) == whole["misses"]
    plain = json.loads(run("analyze", "--json", str(path)).stdout)
    report["findings"] = None
    assert {**plain, **report} == {**whole, **report}
    for width in WIDTHS:
        lines = membench.render(whole, width=width).splitlines()
        assert max(map(len, lines)) <= width
        for name, count in whole["miss_causes"].items():
            assert any(line.split()[:2] == [name, f"{count:,}"] for line in lines), name


# ---- Findings ----


def findings_of(path: Path) -> List[Dict[str, Any]]:
    counts, report = membench.analyze_whole([str(path)])
    return membench.find(membench.plain_rules(report, counts))


def hits(count: int, **more: Any) -> List[Did]:
    return [Did(n / 100, "get", "hit", n, 100)._replace(**more) for n in range(1, count + 1)]


def test_what_stands_out(tmp_path: Path) -> None:
    """And it does not, if there is little of it, or of anything."""
    cases: Dict[str, List[Did]] = {
        "misses": [row._replace(outcome="miss") for row in hits(400)],
        "server_errors": [row._replace(form="set", outcome="server_error") for row in hits(100)],
        "expired_ttls": [
            row._replace(form="touch", outcome="touched", exptime=-1) for row in hits(400)
        ],
        "hot_key": hits(400, key=7),
        "large_gets": [row._replace(place=row.key % 120) for row in hits(600)],
        "no_ttl": [row._replace(form="touch", outcome="touched") for row in hits(1000)],
        "noreply": [row._replace(form="delete noreply", outcome="none") for row in hits(400)],
    }
    path = tmp_path / "a.profile"
    base = hits(1200)
    for name, rows in cases.items():
        explained(
            path, [*base, *rows] if name != "expired_ttls" else [*base, *rows, *cases["no_ttl"]]
        )
        found = findings_of(path)
        assert name in {one["id"] for one in found}, name
        explained(path, rows[:99] if name == "hot_key" else rows[:900])
        assert not findings_of(path), name
        explained(path, [*base * 2, *rows[:9]])
        assert name not in {one["id"] for one in findings_of(path)}, name
    for one in found:
        assert list(one) == ["id", "title", "value", "unit", "advice"]
        assert one["unit"] == "share" and f"{one['value']:.2%}" in one["title"]


def test_connections_stand_out_in_whole_recordings_only(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    explained(path, hits(1200), opened=130)
    assert [one["id"] for one in findings_of(path)] == ["connection_churn"]
    whole = json.loads(run("analyze", "--json", str(path)).stdout)
    part = json.loads(run("analyze", "--json", "--command", "get", str(path)).stdout)
    assert len(whole["findings"]) == 1 and whole["operations"] == part["operations"]
    assert part["findings"] == []


def test_findings_of_why_come_by_what_they_would_save(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    rows = [
        *(row._replace(form="set", outcome="stored") for row in hits(2000)),
        *(Did(30, "delete", "deleted", n) for n in range(1, 601)),
        *(Did(40, "get", "miss", n) for n in range(1, 601)),
        *(Did(40, "get", "miss", n) for n in range(5000, 5900)),
    ]
    explained(path, rows)
    found = json.loads(run("analyze", "--why", "--json", str(path)).stdout)["findings"]
    assert [one["id"] for one in found] == ["never_there", "misses_deleted", "no_ttl"]
    assert [one["value"] for one in found] == [0.6, 0.4, 1]
    shown = run("analyze", "--why", str(path)).stdout
    texts = [text for one in found for text in (one["title"], one["advice"])]
    places = [shown.index(text) for text in texts]
    assert places == sorted(places) and places[-1] < shown.index("Command ")


def test_each_finding_has_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membench, "ENOUGH", 0)
    path = tmp_path / "a.profile"
    found = explained(path, [put(1), miss(2)])
    counts, report = membench.analyze_whole([str(path)])
    rules = [
        *membench.plain_rules(report, counts),
        *membench.why_rules({**report, **found, "ttl_classes": []}),
    ]
    assert {rule[0] for rule in rules} == set(membench.FINDINGS)


def test_what_stands_out_is_weighed_against_no_operations() -> None:
    """Connections are refused where nothing else happens."""
    (found,) = membench.find([("refused_connections", 2000, 2000, 0.01, 0)])
    assert found["value"] == 1


# ---- Any stream ----


class Model:
    """A memcached of few keys that evicts at random, and knows why each key is missed.

    What has expired, was evicted or flushed is noticed when somebody asks for it: by then a flush
    explains it, else its TTL if that has passed.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.rows: List[Did] = []
        self.ends: Dict[int, float] = {}  # key -> when it expires, of what is not known to be gone
        self.evicted: Set[int] = set()
        self.flushed: Set[int] = set()
        self.why: Dict[int, str] = {}  # of what is known to be gone
        self.causes: Counter[str] = Counter()

    def step(self) -> None:
        rng, key = self.rng, self.rng.randrange(1, 9)
        self.now += rng.choice((0.5, 3))
        for end in sorted(self.ends.values()):
            if end - 2 <= self.now < end + 2:  # then memcached's clock decides
                self.now = end + 2
        exptime = rng.choice((0, 0, 20, 100, -1, int(STARTED_UNIX + self.now) + 20))
        what = rng.choice(("get", "get", "set", "gat", "touch", "delete", "append", "other"))
        if what == "other":
            what = rng.choice(("flush_all", "evict", "add", "replace", "refused", "incr"))
        if what == "flush_all":
            self.did("flush_all", "ok", 0)
            self.flushed |= self.ends.keys()
        elif what == "evict":
            self.evicted |= {key} & self.ends.keys()
        elif what == "set":
            self.store(what, key, exptime)
        elif what == "refused":
            self.did("set", "server_error", key, 2 << 20)
            self.forget(key, "not_stored")
        else:
            self.act(what, key, exptime, self.is_there(key))

    def is_there(self, key: int) -> bool:
        end = self.ends.get(key)
        if end is None:
            return False
        if key in self.flushed:
            self.forget(key, "flushed")
        elif self.now >= end:
            self.forget(key, "expired")
        elif key in self.evicted:
            self.forget(key, "evicted")
        return key in self.ends

    def forget(self, key: int, cause: str) -> None:
        self.ends.pop(key, None)
        self.evicted.discard(key)
        self.flushed.discard(key)
        self.why[key] = cause

    def did(self, *row: Any) -> None:
        self.rows.append(Did(self.now, *row))

    def expire_at(self, key: int, exptime: int) -> None:
        at = exptime - STARTED_UNIX if exptime > DAY * 30 else self.now + exptime
        self.ends[key] = at if exptime else math.inf

    def store(self, form: str, key: int, exptime: int) -> None:
        self.did(form, "stored", key, 5, exptime)
        self.forget(key, "")
        self.expire_at(key, exptime)

    def act(self, what: str, key: int, exptime: int, there: bool) -> None:
        if what in ("get", "gat"):
            exptime = exptime if what == "gat" else 0
            self.did(what, "hit" if there else "miss", key, 5 if there else NO_SIZE, exptime)
            if not there:
                self.causes[self.why.get(key, "not_seen")] += 1
        elif what in ("add", "replace") and there == (what == "replace"):
            return self.store(what, key, exptime)
        elif what in ("add", "replace"):
            self.did(what, "not_stored", key, 5, exptime)
        else:
            good = {"touch": "touched", "delete": "deleted", "append": "stored", "incr": "ok"}
            self.did(what, good[what] if there else "not_found", key, 3, exptime)
            if there and what == "delete":
                self.forget(key, "deleted")
        if there and what in ("gat", "touch"):
            self.expire_at(key, exptime)
        return None


@pytest.mark.parametrize("seed", range(repeats(50)))
def test_a_model_knows_the_causes(seed: int, tmp_path: Path) -> None:
    model = Model(random.Random(seed))
    for _ in range(3000):
        model.step()
    found = explained(tmp_path / "a.profile", model.rows, model.now + 1)["miss_causes"]
    assert {name: count for name, count in found.items() if count} == +model.causes


@pytest.mark.parametrize("seed", range(repeats(50)))
def test_any_profile_has_a_cause_for_each_miss(seed: int, tmp_path: Path) -> None:
    shape = Shape(random.Random(seed))
    written = write_profile(tmp_path / "a.profile", shape, [300, 1, 2000, 500], "host")
    report: Dict[str, Any] = {}
    membench.explain(report, [str(written.path)], 1.25)
    missed = [row for row in written.rows if row.outcome == "miss" and row.command in RETRIEVALS]
    assert sum(report["miss_causes"].values()) == len(missed)
    assert min(report["miss_causes"].values()) >= 0
    json.dumps(report, allow_nan=False)
