# SPDX-License-Identifier: GPL-2.0-only
"""Parsers and matching: bytes of real conversations in, exactly the right operations out.

Whatever is done to the bytes on their way: cut anywhere, partly missing, joined in their
middle, or never memcached's at all.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import pytest
from conversations import (
    CASES,
    CLIENT,
    DIALECTS,
    GAPS,
    SERVER,
    Case,
    Expected,
    Transcript,
    ask,
    dialect_rows,
    expect,
    put,
    raw,
    run,
    run_in_one_write,
)
from live import PATIENCE_SECONDS, Memcached, repeats
from rows import Rows

from membench import (
    CLOSE,
    LINE_MAX,
    NO_SIZE,
    OPEN,
    OUTCOMES,
    PENDING_MAX,
    RECV,
    SEND,
    SOCK,
    Ledger,
    Matcher,
    Operation,
    RecentCache,
    Request,
    RequestParser,
    Segment,
    parse_request,
)

SECRET = b"a secret of the tests"
KIND = {CLIENT: RECV, SERVER: SEND}
SMALL = 4096  # bytes of a conversation that is tried in every way
STEP_NS = 1000
# The sequence numbers of both directions pass 2**32 in every conversation.
FIRST = {RECV: 2**32 - 9, SEND: 2**32 - 5}

# ---- Machinery ----


class Wire:
    """The segments of one connection, with the sequence numbers and times of a real one."""

    def __init__(self, sock_id: int = 77, time_ns: int = 1_000_000) -> None:
        self.sock_id = sock_id
        self.time_ns = time_ns
        self.offset = dict(FIRST)
        self.segments: List[Segment] = []

    def _append(self, kind: int, offset: int, length: int, data: bytes) -> None:
        sent = self.offset[SEND] if kind == RECV else -1
        sock = SOCK.pack(self.sock_id, 0, 50000, 11211)
        self.segments.append((kind, self.time_ns, sock, offset, length, data, sent))

    def open(self) -> Wire:
        self._append(OPEN, self.offset[RECV], self.offset[SEND], b"")
        return self

    def close(self) -> Wire:
        self.time_ns += STEP_NS
        self._append(CLOSE, self.offset[RECV], self.offset[SEND], b"")
        return self

    def move(self, kind: int, data: bytes) -> Wire:
        """One read or write of the server's."""
        self.time_ns += STEP_NS
        self._append(kind, self.offset[kind], len(data), data)
        self.offset[kind] = (self.offset[kind] + len(data)) % 2**32
        return self

    def recv(self, text: Any) -> Wire:
        return self.move(RECV, raw(text))

    def send(self, text: Any) -> Wire:
        return self.move(SEND, raw(text))


Splitter = Callable[[int, bytes, int], Iterable[bytes]]  # kind, data, requests in it


def whole(_kind: int, data: bytes, _requests: int) -> Iterable[bytes]:
    return [data]


def play(transcript: Transcript, split: Splitter = whole) -> Wire:
    """A conversation's segments, from the opening of the connection to its end."""
    wire = Wire().open()
    requests = iter(transcript.requests)
    for sender, data in transcript.exchange:
        count = next(requests) if sender == CLIENT else 0
        move_pieces(wire, KIND[sender], split(KIND[sender], data, count))
    return wire.close()


def move_pieces(wire: Wire, kind: int, pieces: Iterable[bytes]) -> None:
    """What was one write, in pieces.

    A real server would have answered some of it before it read the rest, so how much it had
    sent by then is not told.
    """
    for place, piece in enumerate(pieces):
        wire.move(kind, piece)
        if place and kind == RECV:
            wire.segments[-1] = (*wire.segments[-1][:6], -1)


class Result(NamedTuple):
    """What membench made of segments."""

    rows: List[Operation]
    ledger: Ledger
    matcher: Matcher


def match(
    segments: Iterable[Segment], batch: int = 10**9, responses: bool = True, reads: bool = True
) -> Result:
    """Give segments to a Matcher in batches, as a recording does."""
    rows = Rows()
    matcher = Matcher(rows.take, lambda *_: None, SECRET, responses, reads)
    segments = list(segments)
    for start in range(0, len(segments), batch):
        matcher.process(segments[start : start + batch])
    matcher.process(())  # closed connections wait for a batch
    matcher.process(())
    matcher.finish()
    return Result(rows, matcher.ledger, matcher)


def code_of(key: bytes) -> int:
    """The code of a key, as the profile's documentation says."""
    digest = hashlib.blake2b(key, digest_size=8, key=SECRET).digest()
    return int.from_bytes(digest, "little") << 16 | len(key)


KEY_OF: Dict[int, Optional[bytes]] = {0: None}
for _case in CASES:
    for _step in _case.steps:
        KEY_OF.update({code_of(row.key): row.key for row in _step.expected if row.key})


def readable(rows: Iterable[Operation]) -> List[Expected]:
    """Operations in the words of the cases."""
    return [
        Expected(form, OUTCOMES[outcome], KEY_OF.get(code, b"?"), None if size == NO_SIZE else size)
        for _, _, _, form, outcome, _, _, code, size, _ in rows
    ]


def stream_bytes(segments: Iterable[Segment]) -> int:
    """How many bytes of the streams the segments stand for."""
    return sum(length for kind, *_, length, _, _ in segments if kind in (RECV, SEND))


def assert_nothing_lost(ledger: Ledger, total: int) -> None:
    """All bytes were understood, and nobody was surprised."""
    assert (ledger.lost_bytes, ledger.desyncs, ledger.unmatched_responses) == (0, 0, 0)
    assert ledger.understood_bytes == total
    assert ledger.report()["coverage"] == 1.0


def assert_exact(result: Result, transcript: Transcript, total: int) -> None:
    """Exactly the operations that were expected."""
    assert readable(result.rows) == transcript.operations
    assert_nothing_lost(result.ledger, total)
    matcher = result.matcher
    asked = [row.outcome for row in transcript.operations if GETS.match(row.form) and row.key]
    assert matcher.operations == len(result.rows)
    assert (matcher.hits, matcher.misses) == (asked.count("hit"), asked.count("miss"))


GETS = re.compile(rb"(?:gets?|gats?|mg)(?: |\Z)")


class Live:
    """The conversations with a real server, each had once."""

    def __init__(self, server: Memcached) -> None:
        self.server = server
        self.had: Dict[str, Transcript] = {}

    def __call__(self, conversation: Case) -> Transcript:
        if conversation.name not in self.had:
            self.had[conversation.name] = run(conversation, self.server)
        return self.had[conversation.name]


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with Memcached("-t", "2") as server:
        yield Live(server)


def each(cases: Iterable[Case]) -> Any:
    return pytest.mark.parametrize("conversation", cases, ids=lambda one: one.name)


# ---- Whole conversations ----


@each(CASES)
def test_operations_are_those_of_the_conversation(live: Live, conversation: Case) -> None:
    transcript = live(conversation)
    wire = play(transcript)
    result = match(wire.segments)
    assert_exact(result, transcript, stream_bytes(wire.segments))


@each(CASES)
def test_times_latencies_and_places(live: Live, conversation: Case) -> None:
    """Of each turn: asked when it was read, answered when the reply was written."""
    transcript = live(conversation)
    segments = play(transcript).segments
    rows = iter(match(segments).rows)
    moved = [segment for segment in segments if segment[0] in (RECV, SEND)]
    turns = iter(zip(transcript.expected, transcript.requests))
    for segment, after in zip(moved, [*moved[1:], None]):
        if segment[0] == SEND:
            continue
        expected, requests = next(turns)
        replied = after is not None and after[0] == SEND
        places = []
        for _ in expected:
            time_ns, latency, connection, _, outcome, batch, place, *_ = next(rows)
            assert (time_ns, connection) == (segment[1], 1)
            assert latency in ((0, STEP_NS) if replied else (0,))
            said = OUTCOMES[outcome] in SAID
            assert latency or place or not said, "an answer that took no time"
            places.append((batch, place))
        batches = [batch for batch, place in places if not place]
        assert batches == list(range(requests))
        assert places == sorted(places)
    assert next(rows, None) is None


# Outcomes that only a reply can tell; the others may also be told by silence.
SAID = {"exists", "not_stored", "touched", "error", "client_error", "server_error"}


@each(CASES)
def test_cut_into_single_bytes(live: Live, conversation: Case) -> None:
    transcript = live(conversation)
    segments = play(transcript, pieces_of(1) if is_small(transcript) else pieces_of(700)).segments
    assert_exact(match(segments), transcript, stream_bytes(segments))
    assert_exact(match(segments, batch=3), transcript, stream_bytes(segments))


@each(CASES)
def test_cut_anywhere(live: Live, conversation: Case) -> None:
    transcript = live(conversation)
    total = sum(len(data) for _, data in transcript.exchange)
    for seed in range(100 if is_small(transcript) else 3 if total > 10**6 else 10):
        segments = play(transcript, random_pieces(random.Random(seed), total)).segments
        assert_exact(match(segments), transcript, total)


@each([one for one in CASES if not one.name.startswith("refused in spite of q")])
def test_all_requests_in_one_read(live: Live, conversation: Case) -> None:
    """As a client that pipelines would have it, and all replies in one write."""
    transcript = live(conversation)
    wire = Wire().open().recv(transcript.stream(CLIENT)).send(transcript.stream(SERVER)).close()
    assert_exact(match(wire.segments), transcript, stream_bytes(wire.segments))


@pytest.mark.parametrize("seed", range(25))
def test_conversations_in_one_write(live: Live, seed: int) -> None:
    """Any of them one after the other in one write; the server decides what is answered."""
    run(FLUSH, live.server)
    pipelined = [one for one in CASES if one.pipelines]
    chosen = random.Random(seed).sample(pipelined, 12)
    transcript = run_in_one_write(chosen, live.server)
    for split in (whole, random_pieces(random.Random(seed), 500)):
        segments = play(transcript, split).segments
        assert_exact(match(segments), transcript, stream_bytes(segments))


FLUSH = Case("flush", (ask("flush_all\n", "OK\n"),), False, False)


@each(CASES)
def test_requests_alone_tell_the_commands(live: Live, conversation: Case) -> None:
    """record --no-responses: the same requests, no outcomes."""
    transcript = live(conversation)
    segments = [segment for segment in play(transcript).segments if segment[0] in (OPEN, RECV)]
    result = match(segments, responses=False)
    expected = [(row.form, row.key) for row in transcript.operations]
    assert [(row.form, row.key) for row in readable(result.rows)] == expected
    assert {row.outcome for row in readable(result.rows)} <= {"none"}
    assert_nothing_lost(result.ledger, stream_bytes(segments))


def test_replies_that_are_not_recorded_are_not_lost() -> None:
    """record --no-responses: that a connection closes tells how much was sent on it."""
    wire = Wire().open().recv("get sg.1\n").send("END\n").recv("get sg.1\n").send("END\n").close()
    segments = [segment for segment in wire.segments if segment[0] != SEND]
    result = match(segments, responses=False)
    assert len(result.rows) == 2
    assert_nothing_lost(result.ledger, stream_bytes(segments))


def is_small(transcript: Transcript) -> bool:
    return sum(len(data) for _, data in transcript.exchange) <= SMALL


def pieces_of(size: int) -> Splitter:
    """Pieces of the same size."""

    def split(_kind: int, data: bytes, _requests: int) -> Iterable[bytes]:
        return [data[at : at + size] for at in range(0, len(data), size)]

    return split


def random_pieces(rng: random.Random, total: int) -> Splitter:
    """Pieces of all sizes, a few dozen in all, more of them small."""
    largest = rng.choice((3, 17, 100, 1000)) * (1 + total // SMALL)

    def split(_kind: int, data: bytes, _requests: int) -> Iterable[bytes]:
        at = 0
        while at < len(data):
            size = rng.randint(1, largest)
            yield data[at : at + size]
            at += size

    return split


# ---- What a live server says only by chance, or not in this version ----

BUSY = "BUSY currently processing crawler request\n"
NO_MEMORY = "SERVER_ERROR out of memory storing object\n"
SYNTHETIC: List[Tuple[str, str, str, List[Tuple[Any, ...]]]] = [
    ("crawler busy", "lru_crawler crawl all\n", BUSY, [("lru_crawler crawl all", "error")]),
    ("dump busy", "lru_crawler metadump all\n", BUSY, [("lru_crawler metadump all", "error")]),
    ("crawler off and on", "lru_crawler disable\nlru_crawler crawl all\nlru_crawler enable\n",
     "OK\nCLIENT_ERROR lru crawler disabled\nERROR failed to start lru crawler thread\n",
     [("lru_crawler disable", "ok"), ("lru_crawler crawl all", "client_error"),
      ("lru_crawler enable", "error")]),
    ("nothing to crawl", "lru_crawler crawl 3\n", "NOTSTARTED no items to crawl\n",
     [("lru_crawler crawl 3", "error")]),
    ("reassign", "slabs reassign 1 2\n", "BUSY currently processing reassign request\n",
     [("slabs reassign 1 2", "error")]),
    ("no spare", "slabs reassign 1 2\n", "NOSPARE source class has no spare pages\n",
     [("slabs reassign 1 2", "error")]),
    ("watchers", "watch\nversion\n", "WATCHER_TOO_MANY log watcher limit reached\nVERSION 1\n",
     [("watch", "error"), ("version", "ok")]),
    ("watchers", "watch\nversion\n", "WATCHER_FAILED failed to add log watcher\nVERSION 1\n",
     [("watch", "error"), ("version", "ok")]),
    ("no memory", "set k 0 0 1\nx\nget k\n", NO_MEMORY + "END\n",
     [("set", "server_error", "k", 1), ("get", "miss", "k")]),
    ("no memory for get", "get a b\nget c\n",
     "SERVER_ERROR out of memory writing get response\nEND\n",
     [("get", "server_error", "a"), ("get", "server_error", "b"), ("get", "miss", "c")]),
    ("ms without memory", "ms k 1 q\nx\nmn\n", NO_MEMORY + "MN\n",
     [("ms q", "server_error", "k", 1), ("mn", "ok")]),
    ("1.6.12 can be set to say OK for HD", "ms k 1\nx\nmg k\nmd k\n", "OK\nOK\nOK\n",
     [("ms", "stored", "k", 1), ("mg", "hit", "k"), ("md", "deleted", "k")]),
    ("a quiet ms before one that is not found", "ms k 1 q\nx\nmd k2\nversion\n",
     "NF\nVERSION 1\n",
     [("ms q", "stored", "k", 1), ("md", "not_found", "k2"), ("version", "ok")]),
    ("a quiet add before one that is not stored", "ms k 1 q ME\nx\nms k2 1 C5\ny\nversion\n",
     "NF\nVERSION 1\n",
     [("ms q ME", "stored", "k", 1), ("ms C", "not_found", "k2", 1), ("version", "ok")]),
    ("a dump since 1.6.43", "lru_crawler mgdump all\nget k\n", "OK\nmg a\nmg b\nEN\nEND\n",
     [("lru_crawler mgdump all", "ok"), ("get", "miss", "k")]),
    ("an empty dump", "lru_crawler metadump all\nget k\n", "END\nEND\n",
     [("lru_crawler metadump all", "ok"), ("get", "miss", "k")]),
    ("two values of a size", "set a 0 0 9\n123456789\nset b 0 0 3\n123\n",
     "SERVER_ERROR object too large for cache\nSTORED\n",
     [("set", "server_error", "a", 9), ("set", "stored", "b", 3)]),
    ("not allowed", "flush_all\nlru_crawler metadump all\nstats cachedump 1 1\nwatch\nget k\n",
     "CLIENT_ERROR flush_all not allowed\nERROR metadump not allowed\n"
     "CLIENT_ERROR stats cachedump not allowed\nCLIENT_ERROR watch commands not allowed\nEND\n",
     [("flush_all", "client_error"), ("lru_crawler metadump all", "error"),
      ("stats cachedump 1 1", "client_error"), ("watch", "client_error"), ("get", "miss", "k")]),
]


@pytest.mark.parametrize("sent, replied, rows", [row[1:] for row in SYNTHETIC],
                         ids=[row[0] for row in SYNTHETIC])
def test_rare_replies(sent: str, replied: str, rows: List[Tuple[Any, ...]]) -> None:
    expected = [expect(*row) for row in rows]
    KEY_OF.update({code_of(row.key): row.key for row in expected if row.key})
    wire = Wire().open().recv(sent).send(replied).close()
    result = match(wire.segments)
    assert readable(result.rows) == expected
    assert_nothing_lost(result.ledger, stream_bytes(wire.segments))


@pytest.mark.parametrize("version", ["1.6.18", "1.6.45"])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_value_that_is_not_answered_was_swallowed(name: str, version: str) -> None:
    send, _, old, new = DIALECTS[name]
    reply = old if version == "1.6.18" else new
    expected = dialect_rows(name, version)
    rest = [expect("set noreply", "none", "k", 1), expect("get", "miss", "z")]
    KEY_OF.update({code_of(row.key): row.key for row in expected + rest if row.key})
    together = Wire().open().recv(send + "get z\n").send(reply + "END\n")
    apart = Wire().open().recv(send).send(reply).recv("get z\n").send("END\n")
    pieces = Wire().open()
    move_pieces(pieces, RECV, pieces_of(1)(RECV, raw(send + "get z\n"), 2))
    move_pieces(pieces, SEND, pieces_of(1)(SEND, raw(reply + "END\n"), 2))
    for wire in (together, apart, pieces):
        wire.recv("set k 0 0 1 noreply\nx\nget z\n").send("END\n").close()
        result = match(wire.segments)
        assert readable(result.rows) == expected + rest
        assert_nothing_lost(result.ledger, stream_bytes(wire.segments))


def test_the_last_value_was_swallowed_if_the_server_says_nothing_more() -> None:
    KEY_OF[code_of(b"z")] = b"z"
    for last in ("", "get z\n"):
        wire = Wire().open().recv("set k x 0 5\nhello\n" + last).send(REFUSED_SET)
        result = match(wire.close().segments)
        rows = [expect("invalid", "client_error"), *[expect("get", "unanswered", "z")] * bool(last)]
        assert readable(result.rows) == rows
        assert_nothing_lost(result.ledger, stream_bytes(wire.segments))


def test_swallowed_values_do_not_wait_for_a_reply() -> None:
    """The server reads on, so all that it had read was answered."""
    wire = Wire().open()
    for _ in range(20):
        wire.recv("set k x 0 5\nhello\n").send(REFUSED_SET).recv("set k x 0 1 noreply\nx\n")
    result = match(wire.recv("flush_all noreply\n").segments)
    assert [OUTCOMES[row[4]] for row in result.rows] == [*["client_error", "none"] * 20, "none"]
    assert_nothing_lost(result.ledger, stream_bytes(wire.segments))


@pytest.mark.parametrize("reply", ["END\n", ""], ids=["taken", "swallowed"])
@pytest.mark.parametrize("value", ["get a", "me   ", "set x"])
def test_what_looks_like_a_command_in_a_refused_value_is_not_guessed(
    value: str, reply: str
) -> None:
    """Whose answer the first one is cannot be known."""
    sent = f"set k x 0 5\n{value}\nget z\n"
    wire = Wire().open().recv(sent).send(REFUSED_SET + reply + "END\n").close()
    result = match(wire.segments)
    assert not any(row[3] == b"get" for row in result.rows)
    assert result.ledger.desyncs == 1
    assert result.ledger.understood_bytes + result.ledger.lost_bytes == stream_bytes(wire.segments)


def test_an_empty_line_answers_nothing_else() -> None:
    wire = Wire().open().recv("get a\n").send("END\n").send("\n").recv("get a\n").send("END\n")
    assert match(wire.segments).ledger.unmatched_responses == 1


def test_a_reply_to_a_request_that_was_not_seen_is_lost_like_it() -> None:
    """It comes before what follows the gap shows that there was one."""
    wire = Wire().open().recv("get a\n").send("END\n").recv("get b\n").send("END\n")
    segments = wire.recv("get c\n").send("END\n").segments
    del segments[3]  # get b
    result = match(segments)
    assert len(result.rows) == 1  # the request behind the gap is lost, too
    assert result.ledger.unmatched_responses == 1
    assert result.ledger.lost_bytes == 2 * len("get b\r\nEND\r\n")


REFUSED_SET = "CLIENT_ERROR bad command line format\n"


def test_shutdown_is_not_answered() -> None:
    conversation = Case(
        "shutdown",
        (put("sh", "x"), ask("shutdown\n", "", ("shutdown", "none"), closes=True)),
        True,
        True,
    )
    with Memcached("-A") as server:
        transcript = run(conversation, server)
        server.process.wait(PATIENCE_SECONDS)
    segments = play(transcript).segments
    assert readable(match(segments).rows)[-1] == expect("shutdown", "none")


def test_login_with_a_password_file(tmp_path: Any) -> None:
    """With -Y the first set is a login; others are refused before it."""
    passwords = tmp_path / "passwords"
    passwords.write_text("user:pass\n")
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:  # the server reads it as nobody
        if parent.stat().st_mode & 0o077 == 0:
            parent.chmod(0o755)
    conversation = Case(
        "login",
        (
            ask("get sg.1\n", "CLIENT_ERROR unauthenticated\n", ("get", "client_error", "sg.1")),
            ask("set sg.1 0 0 8\nuser bad\n", "CLIENT_ERROR authentication failure\n",
                ("set", "client_error", "sg.1", 8)),
            ask("set sg.1 0 0 9\nuser pass\n", "STORED\n", ("set", "stored", "sg.1", 9)),
            ask("get sg.1\n", "END\n", ("get", "miss", "sg.1")),
        ),
        True,
        False,
    )
    with open(passwords, "rb"), Memcached("-Y", str(passwords)) as server:
        transcript = run(conversation, server)
    segments = play(transcript).segments
    assert_exact(match(segments), transcript, stream_bytes(segments))


@pytest.mark.parametrize(
    "line, form, exptime",
    [
        ("set k 0 100 5", "set", 100),
        ("set k 7 -1 5 noreply", "set 7 noreply", -1),
        ("cas k 0 2147483647 5 1", "cas", 2147483647),
        ("touch k 1700000000", "touch", 1700000000),
        ("touch k 5 noreply", "touch noreply", 5),
        ("gat 30 a b", "gat", 30),
        ("gats -5 a", "gats", -5),
        ("mg k t T90 v", "mg t T v", 90),
        ("mg k v N60", "mg v N60", 0),
        ("ms k 5 T-1 F3", "ms T F3", -1),
        ("ma k N0 J5 D2 T30 MI", "ma N0 J5 D2 T MI", 30),
        ("md k I T30", "md I T", 30),
        ("mg k Oabc k v", "mg O k v", 0),
        ("ms k 5 C123 E9 O7", "ms C E O", 0),
    ],
)
def test_form_and_exptime(line: str, form: str, exptime: int) -> None:
    request, _ = parse_request(line.encode())
    assert (request.form, request.exptime) == (form.encode(), exptime)


SECRETS = re.compile(rb"hunter|1234567890123")


@pytest.mark.parametrize(
    "line",
    [
        "stats hunter2", "stats detail hunter2", "lru_crawler metadump hunter2", "hunter2 x",
        "get hunter2", "set hunter2 0 0 7", "version hunter2", "slabs reassign hunter2 hunter2",
        "verbosity hunter2", "watch hunter2", "mg hunter2 Ohunter2 khunter2 hhunter2 Thunter2",
        "ms hunter2 7 Chunter2 Fhunter2 Mhunter2", "ma hunter2 Nhunter2 Dhunter2 Jhunter2",
        "me hunter2 hunter2", "delete hunter2 hunter2", "incr hunter2 hunter2",
        "touch hunter2 hunter2", "flush_all hunter2", "extstore hunter2 hunter2", "mn hunter2",
        "shutdown hunter2", "cas hunter2 0 0 1 1234567890123", "quit hunter2", "lru hunter2",
        "mg k O1234567890123", "md k C1234567890123", "ms k 1 E1234567890123", "bget hunter2",
        "gat hunter2 hunter2", "stats 1234567890123", "cache_memlimit hunter2", "mg k \xffhunter",
    ],
)
def test_forms_hold_nothing_of_keys_or_tokens(line: str) -> None:
    request, _ = parse_request(line.encode("latin-1"))
    assert not SECRETS.search(request.form)
    assert request.form.isascii()


# ---- The lives of connections ----


def test_a_long_value_behind_a_quiet_request() -> None:
    """While the server waits for the rest of it, the reply to the first may wait as well."""
    wire = Wire().open().recv(b"mg sg.1 v q k\r\nset sg.2 0 0 500\r\n" + b"x" * 100)
    wire.time_ns += 10**9
    wire.recv(b"x" * 400 + b"\r\n").send("VA 1 ksg.1\nx\nSTORED\n").close()
    rows = [expect("mg v q k", "hit", "sg.1", 1), expect("set", "stored", "sg.2", 500)]
    assert readable(match(wire.segments).rows) == rows


def test_a_quiet_request_does_not_get_the_answer_to_a_later_one() -> None:
    """That the server reads on tells that it is done with what it had read."""
    wire = Wire().open().recv("mg sg.1 v q\n").recv("mg sg.2 v q\n").send("VA 1\nx\n").close()
    rows = [expect("mg v q", "miss", "sg.1"), expect("mg v q", "hit", "sg.2", 1)]
    assert readable(match(wire.segments).rows) == rows


def test_silence_proves_nothing_where_not_all_was_seen() -> None:
    """Of a quiet request's reply a part was seen, or none of it: it is not known."""
    wire = Wire().open().recv("mg sg.1 v q\n").send("VA 600\n" + "x" * 600 + "\n").close()
    whole, half = wire.segments, list(wire.segments)
    half[-2] = (*half[-2][:4], 100, half[-2][5][:100], -1)
    broken = Wire().open().recv("mg sg.1 v q\n").send("VA 600\n" + "x" * 90).close().segments
    for segments in (half, broken, [*whole[:-2], whole[-1]], whole[:2]):
        result = match(segments)
        assert [row.outcome for row in readable(result.rows)] == ["unanswered"]
        assert result.ledger.understood_bytes + result.ledger.lost_bytes >= 13


def test_what_looks_binary_behind_a_common_request() -> None:
    """A connection's first byte chooses its protocol, and no later one."""
    for odd in (b"\x80garbage\r\n", b"\x16\x03\x01\x00\x20zz\r\n"):
        joint = Wire().open().move(RECV, b"get sg.1\r\n" + odd).send("END\nERROR\n")
        alone = Wire().open().recv("get sg.1\n").send("END\n").move(RECV, odd).send("ERROR\n")
        for wire in (joint, alone):
            wire.recv("get sg.2\n").send("END\n").close()
            rows = [expect("get", "miss", "sg.1"), expect("invalid", "error"),
                    expect("get", "miss", "sg.2")]
            assert readable(match(wire.segments).rows) == rows


def test_what_was_answered_is_not_held_against_a_connection() -> None:
    rows = Rows()
    matcher = Matcher(rows.take, lambda *_: None, SECRET)
    count = repeats(1000)
    for number in range(count):
        wire = Wire(number + 1).open().recv("get k1\n" * 600).send("END\n" * 600)
        matcher.process(wire.recv("get k1\n" * 100).segments)
        answer = "END\n" * (1 + number % 2)  # one alone in its write is read in a way of its own
        for _ in range(100 // (1 + number % 2)):
            matcher.process(wire.send(answer).segments[-1:])
    assert not matcher.held_bytes
    assert len(rows) == 700 * count and matcher.ledger.desyncs == 0


def test_values_before_an_error_keep_their_sizes() -> None:
    """A server that runs out of memory in the middle of a reply says so there."""
    wire = Wire().open().recv("get sg.1 sg.2\n")
    wire.send("VALUE sg.1 0 5\nhello\nSERVER_ERROR out of memory writing get response\n").close()
    rows = [expect("get", "server_error", "sg.1", 5), expect("get", "server_error", "sg.2")]
    assert readable(match(wire.segments).rows) == rows


def test_what_is_not_answered_is_unanswered() -> None:
    wire = Wire().open().recv("get sg.1\nset sg.2 0 0 1\nx\nget sg.1\n").send("END\n").close()
    rows = readable(match(wire.segments).rows)
    assert [row.outcome for row in rows] == ["miss", "unanswered", "unanswered"]


def test_a_request_that_is_not_complete_is_no_operation() -> None:
    for cut in ("get sg.1", "set sg.2 0 0 5\nhel", "set sg.2 0 0 5\nhello\r"):
        wire = Wire().open().recv("get sg.1\n").send("END\n").move(RECV, raw(cut)).close()
        result = match(wire.segments)
        assert readable(result.rows) == [expect("get", "miss", "sg.1")]
        total = stream_bytes(wire.segments)
        assert result.ledger.understood_bytes + result.ledger.lost_bytes == total


def test_many_connections_at_once(live: Live) -> None:
    """Interleaved, closed, and their identifiers used again: none mixes with another."""
    transcripts = [one for one in map(live, CASES) if is_small(one)]
    rng = random.Random(5)
    rng.shuffle(transcripts)
    # Three rows of conversations, each row on one socket's identifier.
    lines: List[List[Segment]] = [[], [], []]
    for place, transcript in enumerate(transcripts):
        segments = play(transcript, random_pieces(rng, 100)).segments
        sock = SOCK.pack(place % 3, 0, 50000, 11211)
        lines[place % 3] += [(*part[:2], sock, *part[3:]) for part in segments]
    total = sum(map(stream_bytes, lines))
    mixed = []
    while any(lines):
        line = rng.choice([line for line in lines if line])
        mixed.append(line.pop(0))
    result = match(mixed, batch=7)
    assert_nothing_lost(result.ledger, total)
    assert result.matcher.total_count == result.matcher.opened_count == len(transcripts)
    assert result.matcher.open_count == 0
    expected = sorted(repr(row) for one in transcripts for row in one.operations)
    assert sorted(map(repr, readable(result.rows))) == expected
    by_connection: Dict[int, List[Operation]] = {}
    for row in result.rows:
        by_connection.setdefault(row[2], []).append(row)
    for rows in by_connection.values():
        assert readable(rows) in [one.operations for one in transcripts]


def test_what_nobody_answers_is_done_when_it_is_read() -> None:
    """A client that never waits for an answer keeps nothing waiting here."""
    for joined in (False, True):
        rows = Rows()
        matcher = Matcher(rows.take, lambda *_: None, SECRET)
        wire = Wire()
        if joined:
            wire.recv("get sg.1\n").send("END\n")
        else:
            wire.open()
        wire.recv("set sg.1 0 0 1 noreply\nx\ndelete sg.1 noreply\n").recv("touch sg.1 1 noreply\n")
        matcher.process(wire.segments)
        assert [OUTCOMES[row[4]] for row in rows[joined:]] == ["none"] * 3


def test_an_identifier_is_used_again_though_nobody_saw_the_close() -> None:
    first = Wire().open().recv("get sg.1\n")
    again = Wire(time_ns=first.time_ns + STEP_NS).open().recv("get sg.2\n").send("END\n").close()
    result = match(first.segments + again.segments)
    rows = [expect("get", "unanswered", "sg.1"), expect("get", "miss", "sg.2")]
    assert readable(result.rows) == rows
    assert [row[2] for row in result.rows] == [1, 2]
    assert (result.matcher.total_count, result.matcher.open_count) == (2, 0)


def test_bytes_that_are_read_after_a_reset_still_count() -> None:
    wire = Wire().open().recv("get sg.1\n").close().send("END\n")
    assert readable(match(wire.segments).rows) == [expect("get", "miss", "sg.1")]


def test_a_missing_end_shows_when_the_connection_closes() -> None:
    wire = Wire().open().recv("get sg.1\n").send("END\n").recv("get sg.1\n").send("END\n").close()
    missing = [segment for segment in wire.segments if segment[1] < wire.time_ns - 2 * STEP_NS]
    result = match([*missing, wire.segments[-1]])
    assert len(result.rows) == 1
    assert result.ledger.lost_bytes == len("get sg.1\r\nEND\r\n")


# ---- Gaps ----

TAIL_PAIRS = 4


def with_tail(transcript: Transcript) -> Transcript:
    """The conversation, and plain requests behind it that must be understood again."""
    exchange = list(transcript.exchange)
    expected = list(transcript.expected)
    requests = list(transcript.requests)
    for number in range(TAIL_PAIRS):
        key = f"tail.{number}"
        KEY_OF[code_of(key.encode())] = key.encode()
        for sent, reply, row in (
            (f"set {key} 0 0 2\nab\n", "STORED\n", ("set", "stored", key, 2)),
            (f"get {key}\n", f"VALUE {key} 0 2\nab\nEND\n", ("get", "hit", key, 2)),
        ):
            exchange += [(CLIENT, raw(sent)), (SERVER, raw(reply))]
            expected.append([expect(*row)])
            requests.append(1)
    return transcript._replace(exchange=exchange, expected=expected, requests=requests)


def remove(segments: List[Segment], kind: int, start: int, end: int, told: bool) -> List[Segment]:
    """The segments without the bytes start to end of one direction's stream.

    told: a segment's length says that they were there, as when memory could not be read;
    else they are simply not there, as when the ring was full.
    """
    left: List[Segment] = []
    at = 0
    for segment in segments:
        if segment[0] != kind or at >= end or at + segment[4] <= start:
            left.append(segment)
            at += segment[4] if segment[0] == kind else 0
            continue
        data = segment[5]
        head, tail = data[: max(start - at, 0)], data[max(end - at, 0) :]
        offset = segment[3]
        middle = len(data) - len(head) - len(tail)
        if told:
            left.append((*segment[:3], offset, len(head) + middle, head, segment[6]))
        elif head:
            left.append((*segment[:3], offset, len(head), head, segment[6]))
        if tail:
            tail_offset = (offset + len(head) + middle) % 2**32
            left.append((*segment[:3], tail_offset, len(tail), tail, segment[6]))
        at += len(data)
    return left


def difference(rows: List[Operation], clean: List[Operation]) -> str:
    """What is wrong with the operations of a stream that has gaps, or "".

    All that may happen to an operation of the clean stream is that it is not there, that its
    outcome is lost or unanswered, or that its latency is not known.
    """
    remaining = iter(clean)
    for row in rows:
        if not any(may_become(other, row) for other in remaining):
            return f"{readable([row])[0]} was not, or not so: {row}"
    return ""


UNKNOWN = {OUTCOMES.index("lost"), OUTCOMES.index("unanswered")}


def may_become(clean: Operation, row: Operation) -> bool:
    """Can a gap make this row of that one?"""
    if clean == row:
        return True
    # time, latency, connection, form, outcome, batch, place, key, size, exptime
    if clean[2:4] + clean[5:8] + clean[9:] != row[2:4] + row[5:8] + row[9:]:
        return False
    # A request whose last bytes are missing is known to be complete by what comes next.
    timed = clean[:2] == row[:2] or (row[1] == 0 and row[0] >= clean[0])
    if row[4] in UNKNOWN:
        return timed and row[1] == 0 and row[8] in (NO_SIZE, clean[8])
    return timed and row[4] == clean[4] and row[8] == clean[8]


def untimed(rows: List[Operation]) -> List[Any]:
    return [(*row[2:5], row[7], row[8]) for row in rows]


def check_incomplete(
    segments: List[Segment], clean: List[Operation], known: int, total: int
) -> str:
    """What is wrong when only these segments are seen, or "".

    clean: the operations of the whole stream; known: how many at its end must be there all
    the same; total: the bytes of the streams from the first segment to the last.
    """
    result = match(segments)
    wrong = difference(result.rows, clean)
    understood, lost = result.ledger.understood_bytes, result.ledger.lost_bytes
    if wrong:
        return wrong
    if untimed(result.rows) != untimed(clean) and not lost:
        return "something is missing, but no byte is reported as lost"
    if result.rows[-known:] != clean[-known:]:
        return f"not in step again: {readable(result.rows)[-known:]}"
    if understood + lost != total:
        return f"understood {understood} and lost {lost} are not all {total} bytes"
    return ""


def assert_none(wrong: List[str]) -> None:
    assert not wrong, f"{len(wrong)} wrong, such as:\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("told", [False, True], ids=["not there", "there but not read"])
@pytest.mark.parametrize("kind", [RECV, SEND], ids=["requests", "replies"])
@each(GAPS)
def test_gap_at_every_byte(live: Live, conversation: Case, kind: int, told: bool) -> None:
    """One byte, seven, or more: nothing is invented, and the next pair is in step again."""
    transcript = live(conversation)
    size = len(transcript.stream(CLIENT if kind == RECV else SERVER))
    segments = play(with_tail(transcript)).segments
    clean = match(segments).rows
    total = stream_bytes(segments)
    rng = random.Random(size)
    wrong = []
    for start in range(size):
        for length in (1, 7, rng.randint(8, 300)):
            end = min(start + length, size)
            left = remove(segments, kind, start, end, told)
            error = check_incomplete(left, clean, 2 * TAIL_PAIRS - 2, total)
            if error:
                wrong.append(f"without bytes {start} to {end}: {error}")
    assert_none(wrong)


@pytest.mark.parametrize("told", [False, True], ids=["not there", "there but not read"])
@pytest.mark.parametrize("kind", [RECV, SEND], ids=["requests", "replies"])
@each(GAPS)
def test_gap_that_ends_where_a_line_begins(
    live: Live, conversation: Case, kind: int, told: bool
) -> None:
    """What comes next looks like the beginning of a read, or of a reply, but need not be."""
    transcript = live(conversation)
    stream = transcript.stream(CLIENT if kind == RECV else SERVER)
    segments = play(with_tail(transcript)).segments
    clean = match(segments).rows
    total = stream_bytes(segments)
    ends = [at + 1 for at, byte in enumerate(stream) if byte == 0x0A]
    wrong = []
    for start in range(0, len(stream), 3):
        for end in ends:
            if start < end:
                left = remove(segments, kind, start, end, told)
                error = check_incomplete(left, clean, 2 * TAIL_PAIRS - 2, total)
                if error:
                    wrong.append(f"without bytes {start} to {end}: {error}")
    assert_none(wrong)


@each(GAPS)
def test_gap_in_time(live: Live, conversation: Case) -> None:
    """Whatever crosses the socket between two moments is missing, as when a ring is full."""
    transcript = live(conversation)
    segments = play(with_tail(transcript)).segments
    clean = match(segments).rows
    total = stream_bytes(segments)
    turns = len(transcript.exchange)
    wrong = []
    for start in range(1, turns + 1):
        for end in range(start + 1, turns + 2):
            left = segments[:start] + segments[end:]
            error = check_incomplete(left, clean, 2 * TAIL_PAIRS - 2, total)
            if error:
                wrong.append(f"without segments {start} to {end}: {error}")
    assert_none(wrong)


def test_gap_within_a_value_is_no_loss(live: Live) -> None:
    """Values are counted off, so nobody misses their bytes."""
    wire = Wire().open()
    wire.recv(b"set sg.1 0 0 1000\r\n" + b"x" * 1000 + b"\r\n").send("STORED\n")
    wire.recv("get sg.1\n").send(b"VALUE sg.1 0 1000\r\n" + b"x" * 1000 + b"\r\nEND\r\n").close()
    clean = match(wire.segments)
    for told in (False, True):
        for kind, start, end in (
            (RECV, 19, 1019), (RECV, 500, 501), (RECV, 19, 1020),
            (SEND, 27, 1027), (SEND, 27, 1029), (SEND, 1028, 1029), (SEND, 27, 28),
        ):
            left = remove(wire.segments, kind, start, end, told)
            result = match(left)
            assert result.rows == clean.rows
            assert_nothing_lost(result.ledger, stream_bytes(wire.segments))


def test_gap_at_the_end_of_a_value_is_no_loss_either(live: Live) -> None:
    """That it is there shows only behind the reply, which tells that all was read."""
    wire = Wire().open()
    wire.recv(b"set sg.1 0 0 1000\r\n" + b"x" * 1000 + b"\r\n").send("STORED\n")
    wire.recv("get sg.1\n").send("END\n").close()
    for told in (False, True):
        for start, end in ((19, 1021), (1020, 1021), (700, 1021)):
            result = match(remove(wire.segments, RECV, start, end, told))
            expected = [expect("set", "stored", "sg.1", 1000), expect("get", "miss", "sg.1")]
            assert readable(result.rows) == expected
            assert_nothing_lost(result.ledger, stream_bytes(wire.segments))


# ---- Joining in the middle ----


def single_requests_in(sizes: Splitter) -> Splitter:
    """Replies in any pieces; requests too, if it is one.

    Of several in one write a server would answer the first before it reads on; which reply
    is whose is not known here.
    """

    def split(kind: int, data: bytes, requests: int) -> Iterable[bytes]:
        return sizes(kind, data, requests) if kind == SEND or requests == 1 else [data]

    return split


def lines(_kind: int, data: bytes, _requests: int) -> Iterable[bytes]:
    """Every line is a read of its own, so that lines of values look like commands."""
    return data.splitlines(keepends=True)


def check_joining(transcript: Transcript, split: Splitter) -> List[str]:
    """What is wrong when the recording begins at the second segment, the third, ..."""
    segments = play(with_tail(transcript), split).segments
    clean = match(segments).rows
    tail = stream_bytes(play(with_tail(transcript)).segments) - stream_bytes(
        play(transcript).segments
    )
    wrong = []
    for start in range(1, len(segments), 1 + len(segments) // 700):
        left = segments[start:]
        if stream_bytes(left) < tail:
            break
        result = match(left)
        known = 2 * TAIL_PAIRS - 2
        error = difference(result.rows, clean)
        if not error and result.rows[-known:] != clean[-known:]:
            error = f"not in step: {readable(result.rows)[-known:]}"
        moved = result.ledger.understood_bytes + result.ledger.lost_bytes
        if not error and moved != stream_bytes(left):
            error = f"{moved} bytes are not all {stream_bytes(left)}"
        if not error and result.ledger.understood_bytes < tail * known / (2 * TAIL_PAIRS + 1):
            error = f"only {result.ledger.understood_bytes} bytes were understood"
        if error:
            wrong.append(f"from segment {start}, {left[0][5][:20]!r}: {error}")
    return wrong


def joinable(name: str) -> bool:
    """Does the connection go on after it?"""
    return not name.startswith(("quit", "watch", "a web browser"))


@each([one for one in CASES if joinable(one.name)])
def test_joining_at_every_read_and_write(live: Live, conversation: Case) -> None:
    transcript = live(conversation)
    if len(transcript.exchange) < 200:
        assert_none(check_joining(transcript, whole))


@each(GAPS)
def test_joining_at_every_byte(live: Live, conversation: Case) -> None:
    assert_none(check_joining(live(conversation), single_requests_in(pieces_of(1))))


@each([one for one in CASES if one.name.startswith(("value: ", "gaps: "))])
def test_joining_within_values(live: Live, conversation: Case) -> None:
    """Where a value's text looks like commands or replies, even line by line."""
    transcript = live(conversation)
    if is_small(transcript):
        assert_none(check_joining(transcript, single_requests_in(lines)))
        for seed in range(repeats(5)):
            pieces = random_pieces(random.Random(seed), 100)
            assert_none(check_joining(transcript, single_requests_in(pieces)))


def test_joining_before_replies_are_seen() -> None:
    """The hooks are attached one after the other; each read tells how much had been sent."""
    wire = Wire().open()
    for _ in range(50):
        wire.recv("get a\n").send("END\n")
    clean = match(wire.segments).rows
    replies = [segment for segment in wire.segments if segment[0] == SEND]
    for unseen in range(1, 40):
        rows = match([one for one in wire.segments[1:] if one not in replies[:unseen]]).rows
        assert rows == clean[-len(rows) :] and len(rows) >= 50 - unseen - 2


# ---- What is not memcached's protocol at all ----

PARTS = (
    b"get ", b"gets ", b"set k 0 0 ", b"set k 0 0 5 noreply", b"mg k v q", b"ms k 3 q", b"mn",
    b"ma k N0 q", b"VALUE k 0 3", b"VALUE k 0", b"VALUE", b"VA 3", b"VA ", b"VA x", b"END",
    b"STORED", b"HD k", b"EN", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b" ", b"  ", b"\0",
    b"0", b"5", b"99999999999999999999999", b"-1", b"watch\r\n", b"OK\r\n", b"stats\r\n",
    b"cas k 0 0 1 ", b"gat ", b"touch k", b"incr k 1", b"lru_crawler metadump all\r\n", b"quit",
    b"ERROR", b"CLIENT_ERROR x", b"SERVER_ERROR object too large", b"Ox", b"k", b"b", b"\xff",
    b"\x80\x00\x00\x05", b"\x81\x00", b"VALUE k 0 2147483645\r\n", b"set k 0 0 2147483645\r\n",
)


def assert_bounded(matcher: Matcher) -> None:
    for connection in matcher.connections.values():
        assert len(connection.requests.partial) <= LINE_MAX
        assert len(connection.responses.partial) <= LINE_MAX
        assert len(connection.pending.queue) <= PENDING_MAX


def nonsense(rng: random.Random) -> bytes:
    """Random bytes, or random words of the protocol."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randint(1, 200))
    return b"".join(rng.choices(PARTS, k=rng.randint(1, 20)))


def mutate(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few mistakes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        how = rng.randrange(4)
        if how == 0:
            changed[at : at + 1] = rng.randbytes(1)
        elif how == 1:
            del changed[at : at + rng.randint(1, 10)]
        elif how == 2:
            changed[at:at] = rng.choice(PARTS)
        else:
            changed[at:at] = changed[at : at + rng.randint(1, 30)]
    return bytes(changed)


def disturb(rng: random.Random, wire: Wire) -> None:
    """Something that a source may get wrong, or not see."""
    how = rng.randrange(6)
    if how == 0:
        wire.offset[RECV] = rng.randrange(2**32)
    elif how == 1:
        wire.offset[SEND] = (wire.offset[SEND] - rng.randrange(100)) % 2**32
    elif how == 2:
        wire.open()
    elif how == 3:
        wire.close()
    elif how == 4:
        wire.sock_id = rng.randrange(4)
    elif wire.segments:
        segment = wire.segments[-1]
        cut = rng.randint(0, len(segment[5]))
        wire.segments[-1] = (*segment[:5], segment[5][:cut], segment[6])


@pytest.mark.parametrize("seed", range(8))
def test_nonsense_never_raises(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(400):
        wire = Wire()
        if rng.random() < 0.7:
            wire.open()
        for _ in range(rng.randint(1, 30)):
            if rng.random() < 0.1:
                disturb(rng, wire)
            wire.move(rng.choice((RECV, RECV, SEND)), nonsense(rng))
        assert_bounded(match(wire.segments, rng.randint(1, 30), rng.random() < 0.8).matcher)


@pytest.mark.parametrize("opened", [True, False], ids=["opened", "joined"])
def test_of_nonsense_every_byte_is_accounted_for(opened: bool) -> None:
    rng = random.Random(17)
    for _ in range(1000):
        wire = Wire()
        if opened:
            wire.open()
        for _ in range(rng.randint(1, 20)):
            wire.move(rng.choice((RECV, SEND)), nonsense(rng))
        result = match(wire.close().segments)
        total = result.ledger.understood_bytes + result.ledger.lost_bytes
        assert total == stream_bytes(wire.segments), wire.segments


def test_mutated_conversations_never_raise(live: Live) -> None:
    rng = random.Random(23)
    transcripts = [one for one in map(live, CASES) if is_small(one)]
    for _ in range(repeats(3000)):
        transcript = rng.choice(transcripts)
        wire = Wire()
        if rng.random() < 0.8:
            wire.open()
        for sender, data in transcript.exchange:
            data = mutate(rng, data) if rng.random() < 0.3 else data
            if rng.random() < 0.05:
                disturb(rng, wire)
            for piece in random_pieces(rng, 300)(0, data, 1):
                wire.move(KIND[sender], piece)
        assert_bounded(match(wire.close().segments, rng.randint(1, 50)).matcher)


@pytest.mark.parametrize("kind", [RECV, SEND], ids=["requests", "replies"])
@pytest.mark.parametrize("line", [b"get " + b"k" * 65532, b"k " * 32768], ids=["key", "keys"])
def test_a_line_without_end_is_not_kept(kind: int, line: bytes) -> None:
    wire = Wire().open()
    for _ in range(4 * LINE_MAX // len(line)):
        wire.move(kind, line)
    segments = wire.segments
    matcher = Matcher(lambda _: None, lambda *_: None, SECRET)
    for segment in segments:
        matcher.process([segment])
        assert_bounded(matcher)
    matcher.finish()
    assert matcher.ledger.lost_bytes > LINE_MAX
    assert matcher.ledger.understood_bytes + matcher.ledger.lost_bytes == stream_bytes(segments)


def test_requests_that_nobody_answers_are_not_kept() -> None:
    wire = Wire().open()
    rows = Rows()
    matcher = Matcher(rows.take, lambda *_: None, SECRET)
    for _ in range(3 * PENDING_MAX // 1000):
        wire.recv("get k\n" * 1000)
        matcher.process(wire.segments)
        wire.segments.clear()
        assert_bounded(matcher)
    assert len(rows) > PENDING_MAX
    assert {OUTCOMES[row[4]] for row in rows} == {"lost"}


# ---- What is remembered of lines ----

KEYS = [b"k%d" % number for number in range(6)]


def common_request(rng: random.Random) -> Tuple[bytes, bytes]:
    """A request as most are, now and then one that is not; and its reply, mostly a fit one."""
    key = rng.choice(KEYS)
    size = rng.choice((0, 1, 5, 30, 600))
    value = rng.choice((b"x" * size, (b"END\r\nVALUE k1 0 5\r\nget k1\r\n" * 30)[:size]))
    found = b"VALUE %b 0 %d\r\n%b\r\n" % (key, size, value)
    stored = rng.choice((b"STORED\r\n", b"NOT_STORED\r\n", b"SERVER_ERROR out of memory\r\n"))
    other = rng.choice(KEYS)
    return rng.choice(
        (
            (b"get %b\r\n" % key, rng.choice((found, b"")) + b"END\r\n"),
            (b"get %b\r\n" % key, rng.choice((found, b"")) + b"END\r\n"),
            (b"gets %b %b\n" % (key, other), rng.choice((found, b"")) + b"END\r\n"),
            (b"set %b 0 0 %d\r\n%b\r\n" % (key, size, value), stored),
            (b"add %b 7 60 %d\r\n%b\r\n" % (key, size, value), stored),
            (b"set %b 0 0 %d noreply\r\n%b\r\n" % (key, size, value), b""),
            (b"cas %b 0 0 %d 5\r\n%b\r\n" % (key, size, value), b"EXISTS\r\n"),
            (b"delete %b\r\n" % key, rng.choice((b"DELETED\r\n", b"NOT_FOUND\r\n"))),
            (b"incr %b 5\r\n" % key, rng.choice((b"15\r\n", b"7  \r\n", b"NOT_FOUND\r\n"))),
            (b"touch %b 30\r\n" % key, b"TOUCHED\r\n"),
            (b"mg %b v\r\n" % key, b"VA %d\r\n%b\r\n" % (size, value)),
            (b"mg %b s v t k\r\n" % key, b"VA %d s1 t-1 kx\r\n%b\r\n" % (size, value)),
            (b"mg %b v\r\n" % key, rng.choice((b"EN\r\n", b"HD\r\n", b"HD c5\r\n"))),
            (b"ms %b %d T9\r\n%b\r\n" % (key, size, value), rng.choice((b"HD\r\n", b"NS\r\n"))),
            (b"md %b\r\n" % key, rng.choice((b"HD\r\n", b"NF\r\n", b"HD Ox\r\n"))),
            (b"mg %b v q\r\nmn\r\n" % key, b"MN\r\n"),
            (b"version\r\n", b"VERSION 1.6.18\r\n"),
            (b"nonsense\r\n", b"ERROR\r\n"),
            (b"get %b\r\n" % key, rng.choice((b"STORED\r\n", b"EN\r\n", b"\r\n", found))),
        )
    )


def common_stream(rng: random.Random) -> List[Segment]:
    """Segments of a connection that is used as most are, with pipelines, cuts and holes."""
    wire = Wire()
    if rng.random() < 0.9:
        wire.open()
    pieces = random_pieces(rng, 2000) if rng.random() < 0.5 else whole
    usual = rng.random() < 0.7
    for _ in range(rng.randint(1, 40)):
        turn = [common_request(rng) for _ in range(rng.choice((1, 1, 1, 2, 5, 20)))]
        if usual:  # then for long stretches nothing but the common kinds
            common = (b"get", b"set", b"del", b"mg ", b"ms ")
            turn = [one for one in turn if one[0][:3] in common][:5]
        for kind in (RECV, SEND):
            data = b"".join(one[kind] for one in turn)
            move_pieces(wire, kind, pieces(kind, data, len(turn)) if data else ())
    segments = wire.close().segments
    if rng.random() < 0.3:
        kind = rng.choice((RECV, SEND))
        start = rng.randrange(1, 3000)
        segments = remove(segments, kind, start, start + rng.randint(1, 700), rng.random() < 0.5)
    return join_holes(segments) if rng.random() < 0.5 else segments


def join_holes(segments: List[Segment]) -> List[Segment]:
    """A value that was left out of a reply, and what is behind it, as one segment."""
    joined: List[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else segment
        hole = last[4] - len(last[5])
        follows = (last[3] + last[4]) % 2**32 == segment[3] and last is not segment
        if segment[0] == last[0] == SEND and hole > 0 and last[6] < 0 and follows:
            length, data = last[4] + segment[4], last[5] + segment[5]
            if segment[4] == len(segment[5]):
                joined[-1] = (*last[:4], length, data, len(last[5]))
                continue
        joined.append(segment)
    return joined


ODD_LINES = b"""get %b|gets %b|get  %b|get %b |get %b a| get %b| %b get|get|gat 5 %b|gat %b 5
gat 5 5|set %b 0 0 5|set %b 1 2 5|set %b 0 0 -1|set %b  0 0 5|set %b 0 0 5 noreply|set 0 0 5
cas %b 0 0 5
delete %b|delete %b 0|touch %b 5|touch 5 5|incr %b 5|incr 5 5|decr %b x|%b|%b %b|verbosity %b
mg %b|mg %b v t|mg %b b|mg %b v b k|mg %b Obc|mg %b v q|ms %b 5|ms %b S5|md %b|md %b b q|md 5 5"""
ODD_KEYS = b"""a 5 get set b YQ== YWI= a\0b a\r 0 noreply b5 S5 """.split(b" ")


def fields(request: Request, body_bytes: int) -> List[Any]:
    """What a line was read as."""
    return [body_bytes, *(getattr(request, name) for name in Request.__slots__)]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["crlf", "lf"])
def test_a_line_is_remembered_as_what_it_is(line_end: bytes) -> None:
    """Whatever was learned from other lines that differ in their keys alone."""
    known = RecentCache(RequestParser.parse_head)
    keys = [*ODD_KEYS, b"k" * 250, b"k" * 251]
    shapes = [shape for row in ODD_LINES.split(b"\n") for shape in row.split(b"|")]
    lines = [shape.replace(b"%b", key) + line_end for shape in shapes for key in keys]
    for turn in range(3):  # in other orders
        random.Random(turn).shuffle(lines)
        for line in lines:
            parsed = parse_request(line[: -2 if line.endswith(b"\r\n") else -1])
            assert fields(*known[line][:2]) == fields(*parsed), line


def test_what_was_used_lately_is_remembered_and_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RecentCache, "SIZE_MAX", 100)
    made: List[bytes] = []
    cache = RecentCache(lambda key: made.append(key) or len(made))  # type: ignore[func-returns-value]
    hot = [b"hot %d" % number for number in range(20)]
    for number in range(2000):
        assert cache[b"%d" % number] > number
        for key in hot[number % 5 :: 5]:
            assert cache[key] == made.index(key) + 1
        assert len(cache) <= 50
    assert [made.count(key) for key in hot] == [1] * 20, "what is in use is not forgotten"
    long = b"k" * (RecentCache.KEY_MAX + 1)
    assert cache[long] != cache[long], "not remembered"


REPLIES = {  # data, length, where something is missing
    b"get": (
        (b"VALUE k 0 4\r\nEND\r\n", 24, 13),
        (b"VALUE k 0 4\r\nEND\r\n", 24, 5),
        (b"VALUE k 0 4\r\nEND\r\n", 24, -1),
        (b"VALUE k 0 4\r\nabcd\r\nEND\r\n", 24, -1),
        (b"VALUE k 1 4\r\nabcd\r\nEND\r\n", 24, -1),
        (b"VALUE k 0 5\r\nabcde\r\nEND\r\n", 25, -1),
        (b"VALUE k 0 4\r\nabcd\r\nERROR", 24, -1),
        (b"VALUE j 0 4\r\nabcd\r\nEND\r\n", 24, -1),
        (b"VALUE k 0 4\r\nabcd\r\nEND\r\nEND\r\n", 29, -1),
        (b"VALUE k 0 0\r\n\r\nEND\r\n", 20, -1),
        (b"END\r\n", 5, -1),
        (b"END\r\n", 9, -1),
        (b"SERVER_ERROR out\r\n", 18, -1),
        (b"SERVER_ERROR oom\r\n", 18, -1),
    ),
    b"mg": (
        (b"VA 4\r\n", 12, -1),
        (b"VA 4\r\n", 12, 2),
        (b"VA 4\r\nabcd\r\n", 12, -1),
        (b"VA 4 f1\r\nab\r\n", 15, -1),
        (b"HD\r\n", 4, -1),
        (b"HD f1\r\n", 7, -1),
        (b"EN\r\n", 4, -1),
    ),
}


@pytest.mark.parametrize("command", REPLIES)
def test_a_remembered_reply_is_taken_for_no_other(command: bytes) -> None:
    """After each reply, each other one is read as if its request had never been seen."""
    sock = SOCK.pack(1, 0, 2, 11211)
    outcomes = set()
    for first, second in itertools.product(REPLIES[command], repeat=2):
        results = []
        for end in (b"\r\n", b" \n"):  # the same request in other bytes is not remembered
            received = sent = 0
            segments: List[Segment] = [(OPEN, 1, sock, 0, 0, b"", -1)]
            for time_ns, reply, line_end in ((2, first, b"\r\n"), (4, second, end)):
                (data, length, mark), line = reply, command + b" k" + line_end
                segments.append((RECV, time_ns, sock, received, len(line), line, sent))
                segments.append((SEND, time_ns + 1, sock, sent, length, data, mark))
                received, sent = received + len(line), sent + length
            results.append(match(segments))
        known, new = results
        assert known.rows == new.rows, (first, second)
        assert known.ledger.lost_bytes == new.ledger.lost_bytes, (first, second)
        outcomes.update(row[4] for row in known.rows)
    assert len(outcomes) > 1


@pytest.mark.parametrize("responses", [True, False], ids=["with replies", "requests only"])
@pytest.mark.parametrize("seed", range(6))
def test_remembered_lines_change_nothing(
    seed: int, responses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    rows = 0
    for turn in range(40):
        segments = common_stream(rng)
        if not responses:
            segments = [segment for segment in segments if segment[0] != SEND]
        results = []
        for size in (65536, 6, 1):
            monkeypatch.setattr(RecentCache, "SIZE_MAX", size)
            results.append(match(segments, responses=responses, reads=turn % 3 > 0))
        for other in results[1:]:
            assert other.rows == results[0].rows
            assert vars(other.ledger) == vars(results[0].ledger)
        rows += len(results[0].rows)
    assert rows > 1000
