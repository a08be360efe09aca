# SPDX-License-Identifier: GPL-2.0-only
"""Conversations with memcached: what is sent, what comes back, what membench must make of it.

CASES covers every command of the classic text and the meta protocol, and each answer that it
can give. A reply is written down as well as what is sent, so a case that is wrong about the
server fails before membench is asked. run() has a conversation with a real server.

How a case is written:

    case("a name", ask("set k 0 0 5\\nhello\\n", "STORED\\n", ("set", "stored", "k", 5)))

A "\\n" in text stands for the protocol's CR LF; bytes are sent as they are. An expected
operation is (form, outcome, key or None, value size or None). `<name>` in what is sent stands
for what the group `name` has matched in an earlier reply.
"""

from __future__ import annotations

import base64
import random
import re
import socket
from typing import Any, Dict, List, NamedTuple, Optional, Pattern, Sequence, Tuple, Union

from live import Memcached

Text = Union[str, bytes]
Reply = Union[bytes, Pattern[bytes]]


class Expected(NamedTuple):
    """One operation as it must come out: a row for each key of a request."""

    form: bytes
    outcome: Any  # or, if it depends on the server: the reply's first word, or "else" -> outcome
    key: Optional[bytes]
    value_size: Optional[int]


class Step(NamedTuple):
    """Something sent, and the whole answer to it."""

    send: bytes
    reply: Reply
    expected: List[Expected]
    requests: int  # how many are in it
    closes: bool  # the server closes the connection after it
    elsewhere: bytes  # sent on another connection; its answer ends in END


class Case(NamedTuple):
    """A conversation on one connection."""

    name: str
    steps: Tuple[Step, ...]
    alone: bool  # cannot be in one write with others
    deaf: bool  # at its end the server does not read any more

    @property
    def pipelines(self) -> bool:
        """Can it be sent in one write with others?"""
        size = sum(len(step.send) for step in self.steps)
        waits = any(re.search(rb"<\w+>", step.send) for step in self.steps)
        return not (self.alone or waits or size > 1000)


CLIENT, SERVER = "client", "server"


class Transcript(NamedTuple):
    """A conversation that was had."""

    name: str
    exchange: List[Tuple[str, bytes]]  # who sent it, CLIENT or SERVER; what
    expected: List[List[Expected]]  # for each of the client's turns
    requests: List[int]  # in each of the client's turns
    closed: bool  # by the server

    @property
    def operations(self) -> List[Expected]:
        """What is expected of the whole conversation."""
        return [row for rows in self.expected for row in rows]

    def stream(self, sender: str) -> bytes:
        """All that one side sent."""
        return b"".join(data for who, data in self.exchange if who == sender)


def raw(text: Text) -> bytes:
    """Bytes as they are; text with CR LF for its line ends."""
    return text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode("latin-1")


def like(pattern: str) -> Pattern[bytes]:
    """A reply that is not the same each time. `.` does not match a line end."""
    return re.compile(raw(pattern))


def expect(
    form: Text, outcome: Any, key: Optional[Text] = None, size: Optional[int] = None
) -> Expected:
    """An expected operation."""
    return Expected(raw(form), outcome, None if key is None else raw(key), size)


def ask(
    send: Text,
    reply: Union[Text, Pattern[bytes]],
    *rows: Tuple[Any, ...],
    requests: int = 1,
    closes: bool = False,
    elsewhere: Text = b"",
) -> Step:
    """A step of a case; rows are the operations that are expected of it."""
    return Step(
        raw(send),
        reply if isinstance(reply, re.Pattern) else raw(reply),
        [expect(*row) for row in rows],
        requests,
        closes,
        raw(elsewhere),
    )


CASES: List[Case] = []


def case(name: str, *steps: Step, alone: bool = False, deaf: bool = False) -> None:
    """Add to CASES."""
    assert all(other.name != name for other in CASES), name
    CASES.append(Case(name, steps, alone or deaf, deaf))


# ---- Having a conversation ----

TIMEOUT = 60.0  # seconds


def run(conversation: Case, server: Memcached) -> Transcript:
    """Have it. Fails if the server answers anything but what the case says."""
    transcript = Transcript(conversation.name, [], [], [], conversation.steps[-1].closes)
    found: Dict[bytes, bytes] = {}

    def fill_in(sent: bytes) -> bytes:
        return re.sub(rb"<(\w+)>", lambda name: found.get(name[1], name[0]), sent)

    with server.connect() as connection:
        connection.settimeout(TIMEOUT)
        for step in conversation.steps:
            sent = fill_in(step.send)
            connection.sendall(sent)
            if step.elsewhere:
                with server.connect() as other:
                    other.sendall(step.elsewhere)
                    read_reply(other, re.compile(rb"(?s:.*)END\r\n"))
            reply = read_reply(connection, step.reply)
            if isinstance(step.reply, re.Pattern):
                match = step.reply.fullmatch(reply)
                assert match
                found.update((name.encode(), text) for name, text in match.groupdict().items())
            note(transcript, step, sent, reply)
        if transcript.closed:
            assert connection.recv(1) == b"", "the server did not close the connection"
        elif not conversation.deaf:
            # Nothing but the answers may be on its way, as after a noreply.
            connection.sendall(b"mn\r\n")
            read_reply(connection, b"MN\r\n")
    return transcript


def run_in_one_write(cases: Sequence[Case], server: Memcached) -> Transcript:
    """Have conversations all at once: everything is sent before anything is read."""
    steps = [step for one in cases for step in one.steps]
    assert all(one.pipelines for one in cases)
    sent = b"".join(step.send for step in steps)
    assert len(sent) < 16384, "the server would read this in two parts"
    received = bytearray()
    at = 0
    expected: List[Expected] = []
    with server.connect() as connection:
        connection.settimeout(TIMEOUT)
        connection.sendall(sent)
        for step in steps:
            length = read_more(connection, step.reply, received, at)
            expected += resolve(step, bytes(received[at : at + length]))
            at += length
    assert at == len(received)
    exchange = [(CLIENT, sent), (SERVER, bytes(received))]
    return Transcript("+".join(one.name for one in cases), exchange, [expected], [99], False)


def note(transcript: Transcript, step: Step, sent: bytes, reply: bytes) -> None:
    """Write down one step that was taken."""
    if sent:
        transcript.exchange.append((CLIENT, sent))
        transcript.expected.append(resolve(step, reply))
        transcript.requests.append(step.requests)
    if reply:
        transcript.exchange.append((SERVER, reply))


def resolve(step: Step, reply: bytes) -> List[Expected]:
    """A step's operations with the outcomes that its reply decides."""
    word = reply.split(b"\r\n", 1)[0].split(b" ", 1)[0].decode("latin-1")
    return [
        row._replace(outcome=row.outcome.get(word, row.outcome.get("else")))
        if isinstance(row.outcome, dict)
        else row
        for row in step.expected
    ]


def read_reply(connection: socket.socket, reply: Reply) -> bytes:
    """Read until the reply is there. Fails if anything else comes, or nothing."""
    received = bytearray()
    length = read_more(connection, reply, received, 0)
    assert length == len(received), f"more than the reply: {received[length:][:300]!r}"
    return bytes(received)


def read_more(connection: socket.socket, reply: Reply, received: bytearray, at: int) -> int:
    """Read until the reply stands at received[at]: its length."""
    while True:
        if isinstance(reply, bytes):
            if received.startswith(reply, at):
                return len(reply)
        else:
            match = reply.match(received, at)
            if match:
                return match.end() - at
        try:
            chunk = connection.recv(1 << 20)
        except socket.timeout:
            chunk = b""
        wanted = reply if isinstance(reply, bytes) else reply.pattern
        assert chunk, f"the server said {bytes(received[at:][:300])!r}, not {wanted[:300]!r}"
        received += chunk


# ---- The cases: classic text, storage ----

LONG_KEY = "k" * 251  # memcached takes 250
FULL_KEY = "f" * 250
BAD_FORMAT = "CLIENT_ERROR bad command line format\n"
TOO_LARGE = "SERVER_ERROR object too large for cache\n"
BAD_CHUNK = "CLIENT_ERROR bad data chunk\n"
INVALID_ERROR = ("invalid", "error")
INVALID_CLIENT_ERROR = ("invalid", "client_error")


def put(key: str, value: Text, flags: int = 0) -> Step:
    """Store a value with the most common command."""
    data = raw(value) if isinstance(value, bytes) else value.encode()
    form = f"set {flags}" if flags else "set"
    line = f"set {key} {flags} 0 {len(data)}\r\n".encode()
    return ask(line + data + b"\r\n", "STORED\n", (form, "stored", key, len(data)))


case(
    "set and get",
    ask("set sg.1 0 0 5\nhello\n", "STORED\n", ("set", "stored", "sg.1", 5)),
    ask("get sg.1\n", "VALUE sg.1 0 5\nhello\nEND\n", ("get", "hit", "sg.1", 5)),
    ask("get sg.2\n", "END\n", ("get", "miss", "sg.2")),
)
case(
    "set with flags and exptime",
    ask("set sf 4294967295 2591999 2\nab\n", "STORED\n", ("set 4294967295", "stored", "sf", 2)),
    ask("get sf\n", "VALUE sf 4294967295 2\nab\nEND\n", ("get", "hit", "sf", 2)),
    ask("set sf 1 -1 2\nab\n", "STORED\n", ("set 1", "stored", "sf", 2)),
    ask("get sf\n", "END\n", ("get", "miss", "sf")),
)
case(
    "set noreply",
    ask("set sn 0 0 3 noreply\nabc\n", "", ("set noreply", "none", "sn", 3)),
    ask("get sn\n", "VALUE sn 0 3\nabc\nEND\n", ("get", "hit", "sn", 3)),
    ask("set sn 7 0 1 noreply\nx\n", "", ("set 7 noreply", "none", "sn", 1)),
    ask("get sn\n", "VALUE sn 7 1\nx\nEND\n", ("get", "hit", "sn", 1)),
)
case(
    "set with a sixth word that is not noreply",
    ask("set s6 0 0 1 norepl\nx\n", "STORED\n", ("set", "stored", "s6", 1)),
)
case(
    "the longest key",
    ask(f"set {FULL_KEY} 0 0 1\nx\n", "STORED\n", ("set", "stored", FULL_KEY, 1)),
    ask(f"get {FULL_KEY}\n", f"VALUE {FULL_KEY} 0 1\nx\nEND\n", ("get", "hit", FULL_KEY, 1)),
)
case(
    "set with a key too long",  # its data is read as a command
    ask(f"set {LONG_KEY} 0 0 5\nhello\n", BAD_FORMAT + "ERROR\n",
        INVALID_CLIENT_ERROR, INVALID_ERROR, requests=2),
    ask(f"set {LONG_KEY} 0 0 5 noreply\nhello\n", "ERROR\n",
        ("invalid", "none"), INVALID_ERROR, requests=2),
)
case(
    "set with bad numbers",
    *(
        ask(f"set sb {numbers}\nhello\n", BAD_FORMAT + "ERROR\n",
            INVALID_CLIENT_ERROR, INVALID_ERROR, requests=2)
        for numbers in (
            "x 0 5", "0 x 5", "0 0 x", "0 0 -1", "0 0 5x", "-1 0 5", "0 0 2147483646",
            "0 9223372036854775808 5", "0 0 9223372036854775808", "18446744073709551616 0 5",
        )
    ),
    ask("set sb x 0 5 noreply\n", "", ("invalid", "none")),
)
case(
    "set with numbers that are written unusually",
    ask("set su +0 +0 005\nhello\n", "STORED\n", ("set", "stored", "su", 5)),
)
case(
    "an exptime of more than 32 bits",  # such as a time in milliseconds: taken modulo 2**32
    ask("set x32 0 1700000000000 2\nab\n", "STORED\n", ("set", "stored", "x32", 2)),
    ask("gat 4294967296 x32\n", like("(?:VALUE x32 0 2\nab\n)?END\n"),
        ("gat", {"END": "miss", "VALUE": "hit"}, "x32")),
    ask("touch x32 1700000000000\n", like("(?:TOUCHED|NOT_FOUND)\n"),
        ("touch", {"TOUCHED": "touched", "NOT_FOUND": "not_found"}, "x32")),
)
case(
    "storage commands with too few or too many words",
    ask("set sw 0 0\n", "ERROR\n", INVALID_ERROR),
    ask("set sw 0 0 1 noreply x\n", "ERROR\n", INVALID_ERROR),
    ask("add sw\n", "ERROR\n", INVALID_ERROR),
    ask("cas sw 0 0 1\n", "ERROR\n", INVALID_ERROR),
    ask("append\n", "ERROR\n", INVALID_ERROR),
)
case(
    "bad data chunk",  # what comes after the length is read as a command
    ask("set bd 0 0 3\nabcdef\n", BAD_CHUNK + "ERROR\n",
        ("set", "client_error", "bd", 3), INVALID_ERROR, requests=2),
    ask(b"set bd 0 0 3\r\nabc\n\n", BAD_CHUNK, ("set", "client_error", "bd", 3)),
    ask("set bd 0 0 3 noreply\nabcdef\n", "ERROR\n",
        ("set noreply", "none", "bd", 3), INVALID_ERROR, requests=2),
    ask("get bd\n", "END\n", ("get", "miss", "bd")),
)
case(
    "add",
    ask("add ad 5 0 2\nab\n", "STORED\n", ("add 5", "stored", "ad", 2)),
    ask("add ad 0 0 3\nabc\n", "NOT_STORED\n", ("add", "not_stored", "ad", 3)),
    ask("add ad 0 0 3 noreply\nabc\n", "", ("add noreply", "none", "ad", 3)),
    ask("get ad\n", "VALUE ad 5 2\nab\nEND\n", ("get", "hit", "ad", 2)),
)
case(
    "replace",
    ask("replace rp 0 0 2\nab\n", "NOT_STORED\n", ("replace", "not_stored", "rp", 2)),
    put("rp", "abc"),
    ask("replace rp 3 0 2\nab\n", "STORED\n", ("replace 3", "stored", "rp", 2)),
    ask("replace rp 0 0 1 noreply\nz\n", "", ("replace noreply", "none", "rp", 1)),
    ask("get rp\n", "VALUE rp 0 1\nz\nEND\n", ("get", "hit", "rp", 1)),
)
case(
    "append and prepend",
    ask("append ap 0 0 2\nab\n", "NOT_STORED\n", ("append", "not_stored", "ap", 2)),
    ask("prepend ap 0 0 2\nab\n", "NOT_STORED\n", ("prepend", "not_stored", "ap", 2)),
    put("ap", "-"),
    ask("append ap 0 0 2\nab\n", "STORED\n", ("append", "stored", "ap", 2)),
    ask("prepend ap 0 0 2\nyz\n", "STORED\n", ("prepend", "stored", "ap", 2)),
    ask("append ap 0 0 1 noreply\n>\n", "", ("append noreply", "none", "ap", 1)),
    ask("prepend ap 0 0 1 noreply\n<\n", "", ("prepend noreply", "none", "ap", 1)),
    ask("get ap\n", "VALUE ap 0 7\n<yz-ab>\nEND\n", ("get", "hit", "ap", 7)),
)
case(
    "cas",
    ask("cas ca 0 0 1 1\nx\n", "NOT_FOUND\n", ("cas", "not_found", "ca", 1)),
    put("ca", "old"),
    ask("gets ca\n", like("VALUE ca 0 3 (?P<unique>\\d+)\nold\nEND\n"), ("gets", "hit", "ca", 3)),
    ask("cas ca 9 0 4 <unique>\nnew!\n", "STORED\n", ("cas 9", "stored", "ca", 4)),
    ask("cas ca 0 0 4 <unique>\nlate\n", "EXISTS\n", ("cas", "exists", "ca", 4)),
    ask("cas ca 0 0 4 <unique> noreply\nlate\n", "", ("cas noreply", "none", "ca", 4)),
    ask("get ca\n", "VALUE ca 9 4\nnew!\nEND\n", ("get", "hit", "ca", 4)),
    ask("cas ca 0 0 5 x\nhello\n", BAD_FORMAT + "ERROR\n",
        INVALID_CLIENT_ERROR, INVALID_ERROR, requests=2),
)
case(
    "too large",  # the server swallows the data
    ask(b"set tl 0 0 1048577\r\n" + b"x" * 1048577 + b"\r\n", TOO_LARGE,
        ("set", "server_error", "tl", 1048577)),
    ask(b"add tl 0 0 1048577\r\n" + b"get tl\r\n" * 131072 + b"x\r\n", TOO_LARGE,
        ("add", "server_error", "tl", 1048577)),
    ask(b"set tl 0 0 1048577 noreply\r\n" + b"x" * 1048577 + b"\r\n", "",
        ("set noreply", "none", "tl", 1048577)),
    ask("get tl\n", "END\n", ("get", "miss", "tl")),
)

# ---- Classic text, the rest of the keyed commands ----

case(
    "get of several keys",
    put("gk.1", "one"),
    put("gk.3", "three"),
    ask("get gk.1 gk.2 gk.3 gk.4\n",
        "VALUE gk.1 0 3\none\nVALUE gk.3 0 5\nthree\nEND\n",
        ("get", "hit", "gk.1", 3), ("get", "miss", "gk.2"),
        ("get", "hit", "gk.3", 5), ("get", "miss", "gk.4")),
    ask("get gk.2 gk.4\n", "END\n", ("get", "miss", "gk.2"), ("get", "miss", "gk.4")),
    ask("get gk.1 gk.2 gk.1\n",  # a key twice is answered twice
        "VALUE gk.1 0 3\none\nVALUE gk.1 0 3\none\nEND\n",
        ("get", "hit", "gk.1", 3), ("get", "miss", "gk.2"), ("get", "hit", "gk.1", 3)),
)
case(
    "gets",
    put("gs.1", "one"),
    ask("gets gs.1 gs.2\n", like("VALUE gs.1 0 3 \\d+\none\nEND\n"),
        ("gets", "hit", "gs.1", 3), ("gets", "miss", "gs.2")),
)
case(
    "get without a key",
    ask("get\n", "ERROR\n", INVALID_ERROR),
    ask("gets\n", "ERROR\n", INVALID_ERROR),
)
case(
    "get with a key too long",  # which makes the server forget the replies before it
    put("gl", "x"),
    ask(f"get {LONG_KEY}\n", BAD_FORMAT, ("get", "client_error", LONG_KEY)),
    ask(f"get gl {LONG_KEY} gl\n", BAD_FORMAT, ("get", "client_error", "gl"),
        ("get", "client_error", LONG_KEY), ("get", "client_error", "gl")),
    ask(f"gat 1 {LONG_KEY}\n", BAD_FORMAT, ("gat", "client_error", LONG_KEY)),
    alone=True,
)
case(
    "gat and gats",
    put("gt.1", "one"),
    ask("gat 100 gt.1\n", "VALUE gt.1 0 3\none\nEND\n", ("gat", "hit", "gt.1", 3)),
    ask("gat 0 gt.2 gt.1\n", "VALUE gt.1 0 3\none\nEND\n",
        ("gat", "miss", "gt.2"), ("gat", "hit", "gt.1", 3)),
    ask("gats 100 gt.1 gt.2\n", like("VALUE gt.1 0 3 \\d+\none\nEND\n"),
        ("gats", "hit", "gt.1", 3), ("gats", "miss", "gt.2")),
    ask("gat 100 gt.2\n", "END\n", ("gat", "miss", "gt.2")),
    ask("gat 100\n", "END\n", ("gat", "ok")),  # no key, so neither hit nor miss
    ask("gat\n", "ERROR\n", INVALID_ERROR),
    ask("gat x gt.1\n", "CLIENT_ERROR invalid exptime argument\n", INVALID_CLIENT_ERROR),
)
case(
    "touch",
    put("to", "x"),
    ask("touch to 100\n", "TOUCHED\n", ("touch", "touched", "to")),
    ask("touch to.2 100\n", "NOT_FOUND\n", ("touch", "not_found", "to.2")),
    ask("touch to 100 noreply\n", "", ("touch noreply", "none", "to")),
    ask("touch to x\n", "CLIENT_ERROR invalid exptime argument\n", ("touch", "client_error", "to")),
    ask("touch to noreply\n", "", ("touch noreply", "none", "to")),
    ask("touch to\n", "ERROR\n", INVALID_ERROR),
    ask("touch to 1 noreply x\n", "ERROR\n", INVALID_ERROR),
    ask(f"touch {LONG_KEY} 1\n", BAD_FORMAT, ("touch", "client_error", LONG_KEY)),
)
case(
    "delete",
    put("de", "x"),
    ask("delete de\n", "DELETED\n", ("delete", "deleted", "de")),
    ask("delete de\n", "NOT_FOUND\n", ("delete", "not_found", "de")),
    put("de", "x"),
    ask("delete de 0\n", "DELETED\n", ("delete", "deleted", "de")),
    put("de", "x"),
    ask("delete de noreply\n", "", ("delete noreply", "none", "de")),
    ask("get de\n", "END\n", ("get", "miss", "de")),
    ask("delete de 0 noreply\n", "", ("delete noreply", "none", "de")),
    ask("delete de 5\n", like("CLIENT_ERROR .*\n"), ("delete", "client_error", "de")),
    ask("delete de 5 noreply\n", "", ("delete noreply", "none", "de")),
    ask("delete de 0 0\n", like("CLIENT_ERROR .*\n"), ("delete", "client_error", "de")),
    ask("delete\n", "ERROR\n", INVALID_ERROR),
    ask("delete de 0 0 0\n", "ERROR\n", INVALID_ERROR),
    ask(f"delete {LONG_KEY}\n", BAD_FORMAT, ("delete", "client_error", LONG_KEY)),
)
case(
    "incr and decr",
    put("in", "100"),
    ask("incr in 5\n", "105\n", ("incr 5", "ok", "in")),
    ask("decr in 6\n", "99\n", ("decr 6", "ok", "in")),
    ask("get in\n", "VALUE in 0 3\n99 \nEND\n", ("get", "hit", "in", 3)),  # padded
    ask("decr in 1000\n", "0\n", ("decr 1000", "ok", "in")),
    ask("incr in 18446744073709551615\n", "18446744073709551615\n",
        ("incr 18446744073709551615", "ok", "in")),
    ask("incr in 2\n", "1\n", ("incr 2", "ok", "in")),
    ask("incr in.2 1\n", "NOT_FOUND\n", ("incr 1", "not_found", "in.2")),
    ask("decr in.2 1\n", "NOT_FOUND\n", ("decr 1", "not_found", "in.2")),
    ask("incr in 1 noreply\n", "", ("incr 1 noreply", "none", "in")),
    ask("decr in 1 noreply\n", "", ("decr 1 noreply", "none", "in")),
    ask("incr in x\n", "CLIENT_ERROR invalid numeric delta argument\n",
        ("incr ?", "client_error", "in")),
    ask("incr in noreply\n", "", ("incr ? noreply", "none", "in")),
    ask("incr in\n", "ERROR\n", INVALID_ERROR),
    ask("decr in 1 2 3\n", "ERROR\n", INVALID_ERROR),
    ask(f"incr {LONG_KEY} 1\n", BAD_FORMAT, ("incr 1", "client_error", LONG_KEY)),
)
NON_NUMERIC = "CLIENT_ERROR cannot increment or decrement non-numeric value\n"
case(
    "incr and decr of what is no number",
    put("nn", "text"),
    ask("incr nn 1\n", NON_NUMERIC, ("incr 1", "client_error", "nn")),
    ask("decr nn 1\n", NON_NUMERIC, ("decr 1", "client_error", "nn")),
    ask("decr nn 1 noreply\n", "", ("decr 1 noreply", "none", "nn")),
)
case(
    "commands in one write",
    ask("set pl.1 0 0 1\na\nset pl.2 0 0 2 noreply\nbb\nget pl.1 pl.3\ndelete pl.1\n"
        "incr pl.3 1\nget pl.2\ntouch pl.2 0\nbogus\nversion\n",
        like("STORED\nVALUE pl.1 0 1\na\nEND\nDELETED\nNOT_FOUND\nVALUE pl.2 0 2\nbb\nEND\n"
             "TOUCHED\nERROR\nVERSION .*\n"),
        ("set", "stored", "pl.1", 1), ("set noreply", "none", "pl.2", 2),
        ("get", "hit", "pl.1", 1), ("get", "miss", "pl.3"), ("delete", "deleted", "pl.1"),
        ("incr 1", "not_found", "pl.3"), ("get", "hit", "pl.2", 2),
        ("touch", "touched", "pl.2"), INVALID_ERROR, ("version", "ok"), requests=9),
)

# ---- Lines of all sorts ----

case(
    "line ends and spaces",
    ask(b"set le 0 0 1\nx\r\n", "STORED\n", ("set", "stored", "le", 1)),
    ask(b"get le\n", "VALUE le 0 1\nx\nEND\n", ("get", "hit", "le", 1)),
    ask("  get   le    le  \n", "VALUE le 0 1\nx\nVALUE le 0 1\nx\nEND\n",
        ("get", "hit", "le", 1), ("get", "hit", "le", 1)),
    ask("set   le  0   0  2  noreply  \nxy\n", "", ("set noreply", "none", "le", 2)),
    ask(" delete  le \n", "DELETED\n", ("delete", "deleted", "le")),
    ask("  mg  le  v  q  \n  mn  \n", "MN\n",
        ("mg v q", "miss", "le"), ("mn", "ok"), requests=2),
)
case(
    "empty lines",
    ask(b"\n", "ERROR\n", INVALID_ERROR),
    ask(b"\r\n", "ERROR\n", INVALID_ERROR),
    ask(b"   \r\n", "ERROR\n", INVALID_ERROR),
    ask(b"\n\r\n\n", "ERROR\nERROR\nERROR\n", *[INVALID_ERROR] * 3, requests=3),
)
case(
    "unknown commands",
    ask("bogus\n", "ERROR\n", INVALID_ERROR),
    ask("x\n", "ERROR\n", INVALID_ERROR),
    ask("GET uc\n", "ERROR\n", INVALID_ERROR),
    ask("gett uc\n", "ERROR\n", INVALID_ERROR),
    ask("\tget uc\n", "ERROR\n", INVALID_ERROR),
    ask("m\n", "ERROR\n", INVALID_ERROR),
    ask("mx uc\n", "ERROR\n", INVALID_ERROR),
    ask(b"\xff\xfe\xfd \x01\r\n", "ERROR\n", INVALID_ERROR),
    ask("STORED\nEND\nVALUE uc 0 5\n", "ERROR\n" * 3, *[INVALID_ERROR] * 3, requests=3),
)
case(
    "a line with a NUL",  # the line ends there for the server
    put("nul", "x"),
    ask(b"get nul\0nul other\r\n", "VALUE nul 0 1\nx\nEND\n", ("get", "hit", "nul", 1)),
    ask(b"set nul\0 0 0 5\r\nhello\r\n", "ERROR\nERROR\n",
        INVALID_ERROR, INVALID_ERROR, requests=2),
    ask(b"get nul\r\n", "VALUE nul 0 1\nx\nEND\n", ("get", "hit", "nul", 1)),
)
case(
    "a web browser",
    ask("GET / HTTP/1.1\n", "", ("invalid", "unanswered"), closes=True),
    alone=True,
)

# ---- Classic text, commands without a key ----

case(
    "version",
    ask("version\n", like("VERSION .*\n"), ("version", "ok")),
    ask("version x\n", like("VERSION .*\n"), ("version ?", "ok")),
)
case(
    "verbosity",
    ask("verbosity 0\n", "OK\n", ("verbosity 0", "ok")),
    ask("verbosity 0 noreply\n", "", ("verbosity 0 noreply", "none")),
    ask("verbosity noreply\n", "", ("verbosity noreply", "none")),
    ask("verbosity x\n", BAD_FORMAT, ("verbosity ?", "client_error")),
    ask("verbosity\n", "ERROR\n", INVALID_ERROR),
)
case(
    "flush_all",
    put("fa", "x"),
    ask("flush_all\n", "OK\n", ("flush_all", "ok")),
    ask("get fa\n", "END\n", ("get", "miss", "fa")),
    ask("flush_all 1000000\n", "OK\n", ("flush_all 1000000", "ok")),
    ask("flush_all 1000000 noreply\n", "", ("flush_all 1000000 noreply", "none")),
    ask("flush_all noreply\n", "", ("flush_all noreply", "none")),
    ask("flush_all x\n", "CLIENT_ERROR invalid exptime argument\n",
        ("flush_all ?", "client_error")),
    ask("flush_all 0 0 0\n", "ERROR\n", INVALID_ERROR),
)
case(
    "cache_memlimit",
    ask("cache_memlimit 64\n", "OK\n", ("cache_memlimit 64", "ok")),
    ask("cache_memlimit 64 noreply\n", "", ("cache_memlimit 64 noreply", "none")),
    ask("cache_memlimit x\n", "ERROR\n", ("cache_memlimit ?", "error")),
    ask("cache_memlimit\n", "ERROR\n", INVALID_ERROR),
)
case(
    "cache_memlimit out of bounds",
    ask("cache_memlimit 4\n", like("MEMLIMIT_TOO_SMALL .*\n"), ("cache_memlimit 4", "error")),
    ask("cache_memlimit 2000000000\n", like("MEMLIMIT_ADJUST_FAILED .*\n"),
        ("cache_memlimit 2000000000", "error")),
)
STATS = like("(?:STAT [^\n]*\n)*END\n")
case(
    "stats",
    put("st:1", "x"),
    ask("stats\n", STATS, ("stats", "ok")),
    ask("stats settings\n", STATS, ("stats settings", "ok")),
    ask("stats items\n", STATS, ("stats items", "ok")),
    ask("stats slabs\n", STATS, ("stats slabs", "ok")),
    ask("stats sizes\n", STATS, ("stats sizes", "ok")),
    ask("stats conns\n", STATS, ("stats conns", "ok")),
    ask("stats extstore\n", like("(?:STAT [^\n]*\n)*(?:END|ERROR)\n"),
        ("stats extstore", {"END": "ok", "STAT": "ok", "ERROR": "error"})),
    ask("stats cachedump 1 2\n", like("(?:ITEM [^\n]*\n)*END\n"), ("stats cachedump 1 2", "ok")),
    ask("stats cachedump 1\n", "CLIENT_ERROR bad command line\n",
        ("stats cachedump 1", "client_error")),
    ask("stats cachedump x 1\n", BAD_FORMAT, ("stats cachedump ? 1", "client_error")),
    ask("stats cachedump 999 1\n", "CLIENT_ERROR Illegal slab id\n",
        ("stats cachedump 999 1", "client_error")),
    ask("stats reset\n", "RESET\n", ("stats reset", "ok")),
    ask("stats bogus\n", like("(?:ERROR|END)\n"),
        ("stats ?", {"ERROR": "error", "END": "ok"})),
)
case(
    "stats detail",
    ask("stats detail on\n", "OK\n", ("stats detail on", "ok")),
    put("sd:1", "x"),
    ask("stats detail dump\n", like("(?:PREFIX [^\n]*\n)*END\n"), ("stats detail dump", "ok")),
    ask("stats detail off\n", "OK\n", ("stats detail off", "ok")),
    ask("stats detail\n", like("CLIENT_ERROR usage: .*\n"), ("stats detail", "client_error")),
)
case(
    "stats sizes_enable",  # the only stats without an END
    # Newer versions, 1.6.38 for one, do not know it.
    ask("stats sizes_enable\n", like("(?:STAT sizes_.*|ERROR)\n"),
        ("stats sizes_enable", {"STAT": "ok", "ERROR": "error"})),
    ask("stats sizes\n", STATS, ("stats sizes", "ok")),
    ask("stats sizes_disable\n", like("(?:STAT sizes_.*|ERROR)\n"),
        ("stats sizes_disable", {"STAT": "ok", "ERROR": "error"})),
    ask("get sz\n", "END\n", ("get", "miss", "sz")),
)
case(
    "slabs",
    ask("slabs reassign 1 1\n", like("SAME .*\n"), ("slabs reassign 1 1", "error")),
    ask("slabs reassign 1 999\n", like("BADCLASS .*\n"), ("slabs reassign 1 999", "error")),
    ask("slabs reassign 50 51\n", like("(?:NOSPARE|BADCLASS) .*\n"),
        ("slabs reassign 50 51", "error")),
    ask("slabs reassign x y\n", BAD_FORMAT, ("slabs reassign ? ?", "client_error")),
    ask("slabs automove 0\n", "OK\n", ("slabs automove 0", "ok")),
    ask("slabs automove 1 noreply\n", "", ("slabs automove 1 noreply", "none")),
    ask("slabs automove 9\n", "ERROR\n", ("slabs automove 9", "error")),
    ask("slabs automove x\n", BAD_FORMAT, ("slabs automove ?", "client_error")),
    ask("slabs automove\n", "ERROR\n", ("slabs automove", "error")),
    ask("slabs\n", "ERROR\n", ("slabs", "error")),
)
case(
    "noreply where it does not count",
    ask("slabs reassign 1 2 noreply\n", "ERROR\n", ("slabs reassign 1 2 noreply", "error")),
    ask("slabs noreply\n", "ERROR\n", ("slabs noreply", "error")),
    ask("version noreply\n", like("VERSION .*\n"), ("version noreply", "ok")),
    ask("stats noreply\n", like("(?:ERROR|END)\n"),
        ("stats noreply", {"ERROR": "error", "END": "ok"})),
    ask("get noreply\n", "END\n", ("get", "miss", "noreply")),
)
case(
    "lru",
    ask("lru tune 10 25 0.1 2.0\n", "OK\n", ("lru tune 10 25 ? ?", "ok")),
    ask("lru tune 50 50 0.1 2.0\n", like("ERROR .*\n"), ("lru tune 50 50 ? ?", "error")),
    ask("lru tune x 25 0.1 2.0\n", "ERROR\n", ("lru tune ? 25 ? ?", "error")),
    ask("lru mode flat\n", "OK\n", ("lru mode flat", "ok")),
    ask("lru mode segmented\n", "OK\n", ("lru mode segmented", "ok")),
    ask("lru mode segmented noreply\n", "", ("lru mode segmented noreply", "none")),
    ask("lru mode x\n", "ERROR\n", ("lru mode ?", "error")),
    ask("lru temp_ttl 61\n", "OK\n", ("lru temp_ttl 61", "ok")),
    ask("lru temp_ttl -1\n", "OK\n", ("lru temp_ttl ?", "ok")),
    ask("lru temp_ttl x\n", "ERROR\n", ("lru temp_ttl ?", "error")),
    ask("lru x\n", "ERROR\n", ("lru ?", "error")),
    ask("lru\n", "ERROR\n", INVALID_ERROR),
    ask("lru noreply\n", "", ("lru noreply", "none")),
)
case(
    "lru_crawler",
    ask("lru_crawler sleep 100\n", "OK\n", ("lru_crawler sleep 100", "ok")),
    ask("lru_crawler sleep 2000000\n", like("CLIENT_ERROR .*\n"),
        ("lru_crawler sleep 2000000", "client_error")),
    ask("lru_crawler sleep x\n", BAD_FORMAT, ("lru_crawler sleep ?", "client_error")),
    ask("lru_crawler tocrawl 0\n", "OK\n", ("lru_crawler tocrawl 0", "ok")),
    ask("lru_crawler tocrawl x\n", BAD_FORMAT, ("lru_crawler tocrawl ?", "client_error")),
    ask("lru_crawler crawl x\n", like("BADCLASS .*\n"), ("lru_crawler crawl ?", "error")),
    ask("lru_crawler metadump x\n", like("BADCLASS .*\n"), ("lru_crawler metadump ?", "error")),
    ask("lru_crawler mgdump\n", "ERROR\n", ("lru_crawler mgdump", "error")),
    ask("lru_crawler x\n", "ERROR\n", ("lru_crawler ?", "error")),
    ask("lru_crawler\n", "ERROR\n", ("lru_crawler", "error")),
    alone=True,
)
# From 1.6.43 on a dump begins with OK.
case(
    "lru_crawler metadump",  # streams; keys that look like the end of a reply are no end
    put("END", "x"),
    put("md.1", "x"),
    ask("lru_crawler metadump all\n",
        re.compile(rb"(?:OK\r\n)?(?:key=.*\n)+END\r\n|BUSY .*\n"),
        ("lru_crawler metadump all", {"BUSY": "error", "else": "ok"})),
    ask("get md.1\n", "VALUE md.1 0 1\nx\nEND\n", ("get", "hit", "md.1", 1)),
    alone=True,
)
case(
    "lru_crawler mgdump",
    ask("lru_crawler mgdump all\n",
        re.compile(rb"(?:OK\r\n)?(?:mg .*\n)*EN\r\n|ERROR\r\n|BUSY .*\n"),
        ("lru_crawler mgdump all", {"ERROR": "error", "BUSY": "error", "else": "ok"})),
    alone=True,
)
# The crawler's own thread may be at work; then the answer is BUSY.
CRAWLED = {"OK": "ok", "BUSY": "error", "NOTSTARTED": "error"}
case(
    "lru_crawler crawl",
    ask("lru_crawler crawl all\n", like("(?:OK|BUSY [^\n]*|NOTSTARTED [^\n]*)\n"),
        ("lru_crawler crawl all", CRAWLED)),
    ask("lru_crawler enable\n", like("(?:OK|ERROR .*)\n"),
        ("lru_crawler enable", {"OK": "ok", "ERROR": "error"})),
    alone=True,
)
case(
    "extstore",  # ERROR where it is not built in
    ask("extstore item_age 5\n", like("(?:OK|ERROR)\n"),
        ("extstore ? 5", {"OK": "ok", "ERROR": "error"})),
    ask("extstore bogus\n", "ERROR\n", ("extstore ?", "error")),
    ask("extstore\n", "ERROR\n", INVALID_ERROR),
)
case(
    "extstore noreply",
    ask("extstore item_age 5 noreply\n", "", ("extstore ? 5 noreply", "none")),
    ask("get xn\n", "END\n", ("get", "miss", "xn")),
)
case(
    "refresh_certs",  # ERROR where TLS is not built in, Error where it is not in use
    ask("refresh_certs\n", like("(?:OK|ERROR|Error TLS .*)\n"),
        ("refresh_certs", {"OK": "ok", "ERROR": "error", "Error": "error"})),
    ask("get rc\n", "END\n", ("get", "miss", "rc")),
)
case(
    "shutdown, which is not allowed",
    ask("shutdown\n", "ERROR: shutdown not enabled\n", ("shutdown", "error")),
    ask("shutdown graceful\n", "ERROR: shutdown not enabled\n", ("shutdown graceful", "error")),
)
case("quit", put("qu", "x"), ask("quit\n", "", ("quit", "none"), closes=True), alone=True)
case(
    "watch",
    put("wa", "x"),
    ask("watch fetchers\n", "OK\n", ("watch fetchers", "ok")),
    ask("", re.compile(rb"(?s:.*type=item_get key=wa .*)\n"), elsewhere="get wa\n"),
    deaf=True,
)
case(
    "watch what cannot be watched",
    ask("watch bogus\n", "ERROR\n", ("watch ?", "error")),
    ask("watch noreply\n", "", ("watch noreply", "none")),
    ask("get wn\n", "END\n", ("get", "miss", "wn")),
    alone=True,
)

# ---- Meta ----

case(
    "mg",
    put("mg.1", "hello", flags=30),
    ask("mg mg.1\n", "HD\n", ("mg", "hit", "mg.1")),
    ask("mg mg.1 v\n", "VA 5\nhello\n", ("mg v", "hit", "mg.1", 5)),
    ask("mg mg.1 s v t f c k h l O123\n",
        like("VA 5 s5 t-1 f30 c\\d+ kmg.1 h1 l\\d+ O123\nhello\n"),
        ("mg s v t f c k h l O", "hit", "mg.1", 5)),
    ask("mg mg.1 u s\n", "HD s5\n", ("mg u s", "hit", "mg.1")),
    ask("mg mg.1 T30 t\n", "HD t30\n", ("mg T t", "hit", "mg.1")),
    ask("mg mg.1 P1 L2 v\n", "VA 5\nhello\n", ("mg P L v", "hit", "mg.1", 5)),
    ask("mg mg.2\n", "EN\n", ("mg", "miss", "mg.2")),
    ask("mg mg.2 v k O9\n", like("EN(?: kmg.2 O9)?\n"), ("mg v k O", "miss", "mg.2")),
)
case(
    "mg q",  # quiet: a miss is not said
    put("mq.1", "abc"),
    ask("mg mq.1 v q\n", "VA 3\nabc\n", ("mg v q", "hit", "mq.1", 3)),
    ask("mg mq.1 q\nmn\n", "HD\nMN\n", ("mg q", "hit", "mq.1"), ("mn", "ok"), requests=2),
    ask("mg mq.2 v q\nmn\n", "MN\n", ("mg v q", "miss", "mq.2"), ("mn", "ok"), requests=2),
    ask("mg mq.2 q k v\nmg mq.1 q k v\nmg mq.3 q k v\nmn\n", "VA 3 kmq.1\nabc\nMN\n",
        ("mg q k v", "miss", "mq.2"), ("mg q k v", "hit", "mq.1", 3),
        ("mg q k v", "miss", "mq.3"), ("mn", "ok"), requests=4),
    ask("mg mq.2 q O1 v\nmg mq.3 q O2 v\nmg mq.1 q O3 v\nmg mq.1 O4 v\nmg mq.2 q O5\nmn\n",
        "VA 3 O3\nabc\nVA 3 O4\nabc\nMN\n",
        ("mg q O v", "miss", "mq.2"), ("mg q O v", "miss", "mq.3"),
        ("mg q O v", "hit", "mq.1", 3), ("mg O v", "hit", "mq.1", 3),
        ("mg q O", "miss", "mq.2"), ("mn", "ok"), requests=6),
    ask("mg mq.1 q k\nmg mq.1 q k\nget mq.1\n", "HD kmq.1\nHD kmq.1\nVALUE mq.1 0 3\nabc\nEND\n",
        ("mg q k", "hit", "mq.1"), ("mg q k", "hit", "mq.1"), ("get", "hit", "mq.1", 3),
        requests=3),
)
case(
    "mg q without opaque or key",  # what a hit gives back tells whose it is
    put("qa", "abc"),
    ask("mg qa.0 s q\nmg qa f q\nmn\n", "HD f0\nMN\n",
        ("mg s q", "miss", "qa.0"), ("mg f q", "hit", "qa"), ("mn", "ok"), requests=3),
    ask("mg qa.0 q\nmg qa v q\nmn\n", "VA 3\nabc\nMN\n",
        ("mg q", "miss", "qa.0"), ("mg v q", "hit", "qa", 3), ("mn", "ok"), requests=3),
    ask("mg qa.0 v q\nmg qa q\nmn\n", "HD\nMN\n",
        ("mg v q", "miss", "qa.0"), ("mg q", "hit", "qa"), ("mn", "ok"), requests=3),
    ask("mg qa.0 s v q\nmg qa v q\nmn\n", "VA 3\nabc\nMN\n",
        ("mg s v q", "miss", "qa.0"), ("mg v q", "hit", "qa", 3), ("mn", "ok"), requests=3),
)
KEY64 = base64.b64encode(b"b64 key\xff").decode()
case(
    "base64 keys",
    ask(f"ms {KEY64} 2 b k\nab\n", f"HD k{KEY64} b\n", ("ms b k", "stored", b"b64 key\xff", 2)),
    ask(f"mg {KEY64} b k v\n", f"VA 2 k{KEY64} b\nab\n", ("mg b k v", "hit", b"b64 key\xff", 2)),
    ask(f"mg {KEY64} b k q v\nmn\n", f"VA 2 k{KEY64} b\nab\nMN\n",
        ("mg b k q v", "hit", b"b64 key\xff", 2), ("mn", "ok"), requests=2),
    ask(f"me {KEY64} b\n", like("ME .*\n"), ("me b", "ok", b"b64 key\xff")),
    ask(f"md {KEY64} b k\n", f"HD k{KEY64} b\n", ("md b k", "deleted", b"b64 key\xff")),
    ask(f"md {KEY64} b\n", "NF\n", ("md b", "not_found", b"b64 key\xff")),
    ask(f"ma {KEY64} b N0\n", "HD\n", ("ma b N0", "ok", b"b64 key\xff")),
    ask("mg x b\n", like("CLIENT_ERROR .*\n"), ("mg b", "client_error", "x")),
    ask("ms x 5 b\nhello\n", like("CLIENT_ERROR .*\n"), ("ms b", "client_error", "x", 5)),
)
case(
    "mg vivifies",
    ask("mg vi N30 v t\n", like("VA 0 t\\d+ W\n\n"), ("mg N30 v t", "hit", "vi", 0)),
    ask("mg vi N30 v\n", "VA 0 Z\n\n", ("mg N30 v", "hit", "vi", 0)),
    ask("mg vi.2 N30 q s\nmn\n", "HD s0 W\nMN\n", ("mg N30 q s", "hit", "vi.2"), ("mn", "ok"),
        requests=2),
    ask("mg vi R60 s\n", "HD s0 Z\n", ("mg R60 s", "hit", "vi")),
)
case(
    "stale items",
    put("sl", "old"),
    ask("md sl I T30\n", "HD\n", ("md I T", "deleted", "sl")),
    ask("mg sl v\n", "VA 3 X W\nold\n", ("mg v", "hit", "sl", 3)),
    ask("mg sl v\n", "VA 3 Z X\nold\n", ("mg v", "hit", "sl", 3)),
    ask("mg sl c\n", like("HD c(?P<unique>\\d+) Z X\n"), ("mg c", "hit", "sl")),
    ask("ms sl 3 C<unique>\nnew\n", "HD\n", ("ms C", "stored", "sl", 3)),
    ask("ms sl 5 I C<unique>\nolder\n", like("(?:HD|EX)\n"),
        ("ms I C", {"HD": "stored", "EX": "exists"}, "sl", 5)),
)
case(
    "ms",
    ask("ms ms.1 5\nhello\n", "HD\n", ("ms", "stored", "ms.1", 5)),
    ask("ms ms.1 3 F7 T0 c k O1\nabc\n", like("HD c\\d+ kms.1 O1\n"),
        ("ms F7 T c k O", "stored", "ms.1", 3)),
    ask("get ms.1\n", "VALUE ms.1 7 3\nabc\nEND\n", ("get", "hit", "ms.1", 3)),
    ask("ms ms.1 0\n\n", "HD\n", ("ms", "stored", "ms.1", 0)),
    ask("ms ms.1 2 C1\nab\n", "EX\n", ("ms C", "exists", "ms.1", 2)),
    ask("ms ms.2 2 C1 k O5\nab\n", "NF kms.2 O5\n", ("ms C k O", "not_found", "ms.2", 2)),
)
case(
    "ms modes",
    ask("ms mm 2 MA\nab\n", "NS\n", ("ms MA", "not_stored", "mm", 2)),
    ask("ms mm 2 MP\nab\n", "NS\n", ("ms MP", "not_stored", "mm", 2)),
    ask("ms mm 2 MR\nab\n", "NS\n", ("ms MR", "not_stored", "mm", 2)),
    ask("ms mm 2 ME\nab\n", "HD\n", ("ms ME", "stored", "mm", 2)),
    ask("ms mm 2 ME O7\nab\n", "NS O7\n", ("ms ME O", "not_stored", "mm", 2)),
    ask("ms mm 1 MA\nc\n", "HD\n", ("ms MA", "stored", "mm", 1)),
    ask("ms mm 1 MP\n0\n", "HD\n", ("ms MP", "stored", "mm", 1)),
    ask("mg mm v\n", "VA 4\n0abc\n", ("mg v", "hit", "mm", 4)),
    ask("ms mm 1 MR\nr\n", "HD\n", ("ms MR", "stored", "mm", 1)),
    ask("ms mm 1 MS\ns\n", "HD\n", ("ms MS", "stored", "mm", 1)),
    ask("ms mm 7 MZ\nget mm \n", like("CLIENT_ERROR .*\n"), ("ms MZ", "client_error", "mm", 7)),
    ask("ms mm 1 MSS\ns\n", like("(?:CLIENT_ERROR .*|HD)\n"),
        ("ms M", {"CLIENT_ERROR": "client_error", "HD": "stored"}, "mm", 1)),
)
case(
    "ms q",  # quiet: success is not said
    ask("ms sq.1 1 q\na\nms sq.2 2 q\nbb\nmn\n", "MN\n",
        ("ms q", "stored", "sq.1", 1), ("ms q", "stored", "sq.2", 2), ("mn", "ok"), requests=3),
    ask("ms sq.1 1 q O1\na\nms sq.1 2 q O2 ME\nbb\nms sq.2 3 q O3\nccc\nmn\n", "NS O2\nMN\n",
        ("ms q O", "stored", "sq.1", 1), ("ms q O ME", "not_stored", "sq.1", 2),
        ("ms q O", "stored", "sq.2", 3), ("mn", "ok"), requests=4),
    ask("ms sq.1 1 q k C1\na\nms sq.3 1 q k C1\nb\nms sq.3 1 q k\nb\nmn\n",
        "EX ksq.1\nNF ksq.3\nMN\n",
        ("ms q k C", "exists", "sq.1", 1), ("ms q k C", "not_found", "sq.3", 1),
        ("ms q k", "stored", "sq.3", 1), ("mn", "ok"), requests=4),
)
case(
    "ms that is refused",  # with a length the server swallows the data, without it does not
    ask("ms mr\n", BAD_FORMAT, INVALID_CLIENT_ERROR),
    ask("ms mr x\n", BAD_FORMAT, INVALID_CLIENT_ERROR),
    ask("ms mr -1\nhello\n", BAD_FORMAT + "ERROR\n",
        INVALID_CLIENT_ERROR, INVALID_ERROR, requests=2),
    ask("ms mr S5\nhello\n", BAD_FORMAT + "ERROR\n",
        INVALID_CLIENT_ERROR, INVALID_ERROR, requests=2),
    ask(f"ms {LONG_KEY} 5\nhello\n", BAD_FORMAT + "ERROR\n",
        INVALID_CLIENT_ERROR, INVALID_ERROR, requests=2),
    ask("ms mr 8 !\nget mr 1\n", like("CLIENT_ERROR .*\n"), ("ms ?", "client_error", "mr", 8)),
    ask("ms mr 8 Tx\nget mr 1\n", like("CLIENT_ERROR .*\n"), ("ms T", "client_error", "mr", 8)),
    ask("ms mr 8 c c\nget mr 1\n", like("CLIENT_ERROR .*\n"), ("ms c", "client_error", "mr", 8)),
    ask("ms mr 3\nabcdef\n", BAD_CHUNK + "ERROR\n",
        ("ms", "client_error", "mr", 3), INVALID_ERROR, requests=2),
    ask("ms\n", "ERROR\n", INVALID_ERROR),
)
case(
    "ms too large",
    ask(b"ms ml 1048577\r\n" + b"x" * 1048577 + b"\r\n", TOO_LARGE,
        ("ms", "server_error", "ml", 1048577)),
    ask("mg ml\n", "EN\n", ("mg", "miss", "ml")),
)
case(
    "ms q too large, and mn",
    ask(b"ms mt 1 q\r\na\r\nms ml 1048577 q\r\n" + b"x" * 1048577 + b"\r\nmn\r\n",
        TOO_LARGE + "MN\n", ("ms q", "stored", "mt", 1), ("ms q", "server_error", "ml", 1048577),
        ("mn", "ok"), requests=3),
)
case(
    "md",
    ask("md md\n", "NF\n", ("md", "not_found", "md")),
    ask("md md k O1\n", "NF kmd O1\n", ("md k O", "not_found", "md")),
    put("md", "x"),
    ask("md md C1\n", "EX\n", ("md C", "exists", "md")),
    ask("md md k O2\n", "HD kmd O2\n", ("md k O", "deleted", "md")),
    put("md", "x"),
    ask("md md q\nmn\n", "MN\n", ("md q", "deleted", "md"), ("mn", "ok"), requests=2),
    put("md", "x"),
    ask("md md q C1 O3\nmd md q O4\nmn\n", "EX O3\nMN\n", ("md q C O", "exists", "md"),
        ("md q O", "deleted", "md"), ("mn", "ok"), requests=3),
    ask("md md !\n", like("CLIENT_ERROR .*\n"), ("md ?", "client_error", "md")),
    ask("md md q q\n", like("CLIENT_ERROR .*\n"), ("md q", "client_error", "md")),
    ask("md\n", "ERROR\n", INVALID_ERROR),
    ask(f"md {LONG_KEY}\n", BAD_FORMAT, INVALID_CLIENT_ERROR),
)
case(
    "ma",
    ask("ma ma\n", "NF\n", ("ma", "not_found", "ma")),
    ask("ma ma k O1\n", like("NF kma O1\n"), ("ma k O", "not_found", "ma")),
    ask("ma ma N0 J10 D2 v\n", "VA 2\n10\n", ("ma N0 J10 D2 v", "ok", "ma")),
    ask("ma ma D2 v\n", "VA 2\n12\n", ("ma D2 v", "ok", "ma")),
    ask("ma ma\n", "HD\n", ("ma", "ok", "ma")),
    ask("ma ma MI v\n", "VA 2\n14\n", ("ma MI v", "ok", "ma")),
    ask("ma ma M+ v\n", "VA 2\n15\n", ("ma M+ v", "ok", "ma")),
    ask("ma ma MD D5 v\n", "VA 2\n10\n", ("ma MD D5 v", "ok", "ma")),
    ask("ma ma M- v\n", "VA 1\n9\n", ("ma M- v", "ok", "ma")),
    ask("ma ma T30 t c k O9 v\n", like("VA 1 t\\S+ c\\d+ kma O9\n0|VA 2 t\\S+ c\\d+ kma O9\n10\n"),
        ("ma T t c k O v", "ok", "ma")),
    ask("ma ma C1\n", "EX\n", ("ma C", "exists", "ma")),
    ask("ma ma MZ\n", like("CLIENT_ERROR .*\n"), ("ma MZ", "client_error", "ma")),
    ask("ma ma Dx\n", like("CLIENT_ERROR .*\n"), ("ma D", "client_error", "ma")),
    ask("ma\n", "ERROR\n", INVALID_ERROR),
    ask(f"ma {LONG_KEY}\n", BAD_FORMAT, INVALID_CLIENT_ERROR),
    put("ma.t", "text"),
    ask("ma ma.t\n", NON_NUMERIC, ("ma", "client_error", "ma.t")),
)
case(
    "ma q",
    put("aq", "1"),
    ask("ma aq q\nma aq q v\nma aq q D3\nmn\n", "MN\n", ("ma q", "ok", "aq"),
        ("ma q v", "ok", "aq"), ("ma q D3", "ok", "aq"), ("mn", "ok"), requests=4),
    ask("ma aq q O1\nma aq.2 q O2\nma aq q O3 C1\nmn\n", "NF O2\nEX O3\nMN\n",
        ("ma q O", "ok", "aq"), ("ma q O", "not_found", "aq.2"), ("ma q O C", "exists", "aq"),
        ("mn", "ok"), requests=4),
)
case(
    "ma q that creates",  # which is said
    ask("ma av q N0 J5 O1\nma av q N0 O2\nmn\n", "HD O1\nMN\n", ("ma q N0 J5 O", "ok", "av"),
        ("ma q N0 O", "ok", "av"), ("mn", "ok"), requests=3),
    ask("ma av.2 q N0 v\nmn\n", "VA 1\n0\nMN\n", ("ma q N0 v", "ok", "av.2"), ("mn", "ok"),
        requests=2),
)
case(
    "me",
    put("me", "x"),
    ask("me me\n", like("ME me exp=.*\n"), ("me", "ok", "me")),
    ask("me me.2\n", "EN\n", ("me", "not_found", "me.2")),
    ask("me\n", BAD_FORMAT, INVALID_CLIENT_ERROR),
    ask(f"me {LONG_KEY}\n", BAD_FORMAT, INVALID_CLIENT_ERROR),
)
case(
    "mn",
    ask("mn\n", "MN\n", ("mn", "ok")),
    ask("mn x y\n", "MN\n", ("mn", "ok")),
    ask("mn\nmn\n", "MN\nMN\n", ("mn", "ok"), ("mn", "ok"), requests=2),
)
case(
    "mg that is refused",
    put("mf", "x"),
    ask("mg\n", "ERROR\n", INVALID_ERROR),
    ask(f"mg {LONG_KEY}\n", BAD_FORMAT, INVALID_CLIENT_ERROR),
    ask("mg mf v v\n", like("CLIENT_ERROR .*\n"), ("mg v", "client_error", "mf")),
    ask("mg mf q q\n", like("CLIENT_ERROR .*\n"), ("mg q", "client_error", "mf")),
    ask("mg mf !\n", like("CLIENT_ERROR .*\n"), ("mg ?", "client_error", "mf")),
    ask("mg mf Tx\n", like("CLIENT_ERROR .*\n"), ("mg T", "client_error", "mf")),
    ask("mg mf O" + "1" * 32 + "\n", like("CLIENT_ERROR .*\n"), ("mg O", "client_error", "mf")),
    ask("mg mf O" + "1" * 31 + "\n", "HD O" + "1" * 31 + "\n", ("mg O", "hit", "mf")),
    ask("mg mf" + " v" * 18 + "\n", like("CLIENT_ERROR .*\n"), INVALID_CLIENT_ERROR),
)
REFUSED = "CLIENT_ERROR [^\n]*\n"


def case_of_refused_quiet(name: str, request: str, *row: Any) -> None:
    """An error about a quiet request breaks its silence, and is not about what follows."""
    case(
        f"refused in spite of q: {name}",
        put("rq", "text"),
        ask(f"mg rq.0 q\n{request}mn\n", like(REFUSED + "MN\n"),
            ("mg q", "miss", "rq.0"), row, ("mn", "ok"), requests=3),
        alone=True,
    )


case_of_refused_quiet("no number", "ma rq q\n", "ma q", "client_error", "rq")
case_of_refused_quiet("bad mode", "ma rq MZ q\n", "ma MZ q", "client_error", "rq")
case_of_refused_quiet("unknown flag", "mg rq q !\n", "mg q ?", "client_error", "rq")
case_of_refused_quiet("bad token", "mg rq Tx q\n", "mg T q", "client_error", "rq")
case_of_refused_quiet(
    "long opaque", "mg rq O" + "1" * 32 + " q\n", "mg O q", "client_error", "rq"
)
case_of_refused_quiet("bad data", "ms rq 3 q\nabc..", "ms q", "client_error", "rq", 3)

# ---- Values ----


def random_value(size: int) -> bytes:
    """Bytes of all sorts, the same each time."""
    return random.Random(size).randbytes(size)


def case_of_value(name: str, value: bytes) -> None:
    """Store a value and get it back in all the ways that there are."""
    key, size, text = f"v.{len(CASES)}", len(value), value + b"\r\n"
    line = f"set {key} 0 0 {size}\r\n".encode()
    case(
        f"value: {name}",
        ask(line + text, "STORED\n", ("set", "stored", key, size)),
        ask(f"get {key}\n", raw(f"VALUE {key} 0 {size}\n") + text + b"END\r\n",
            ("get", "hit", key, size)),
        ask(f"ms {key} {size} T0\r\n".encode() + text, "HD\n", ("ms T", "stored", key, size)),
        ask(f"mg {key} s v O2\n", raw(f"VA {size} s{size} O2\n") + text,
            ("mg s v O", "hit", key, size)),
        ask(raw(f"set {key} 0 0 {size} noreply\n") + text + raw(f"get {key} {key}\nmn\n"),
            2 * (raw(f"VALUE {key} 0 {size}\n") + text) + b"END\r\nMN\r\n",
            ("set noreply", "none", key, size), ("get", "hit", key, size),
            ("get", "hit", key, size), ("mn", "ok"), requests=3),
    )


for length in (0, 1, 2, 511, 512, 513, 10 * 1024, 16384, 1048000):
    case_of_value(f"{length} bytes", random_value(length))
# Such text must not be taken for what it looks like. None of it is a whole storage command:
# to a recorder that begins in the middle of a value, nothing tells that from a real one.
COMMANDS_AS_VALUE = (
    b"get vc\r\ndelete vc\r\nincr vc 1\r\nmg vc v\r\nversion\r\nflush_all noreply\r\nquit\r\n"
    b"touch vc 0\r\nget vc vc vc\r\nstats\r\nbogus\r\n\r\nset vc 0 0 100000000\r\nget vc"
)
REPLIES_AS_VALUE = (
    b"END\r\nSTORED\r\nVALUE vr 0 5\r\nhello\r\nEND\r\nHD\r\nEN\r\nVA 5\r\nhello\r\nNOT_FOUND\r\n"
    b"ERROR\r\nSERVER_ERROR object too large for cache\r\nMN\r\nVALUE vr 0 100000000\r\nDELETED"
)
case_of_value("commands", COMMANDS_AS_VALUE)
case_of_value("replies", REPLIES_AS_VALUE)
case_of_value("line ends", b"\r\n\r\n\n\n\r\r\n")
case_of_value("no line end", b"\0\xff" * 300)

MANY_KEYS = [f"many.{number:04}" for number in range(3000)]
MANY_HITS = {key: f"value {key}" for key in MANY_KEYS[::7]}
case(
    "get of thousands of keys",
    *(put(key, value) for key, value in MANY_HITS.items()),
    *(
        ask(f"{command} {' '.join(MANY_KEYS)}\n",
            "".join(f"VALUE {k} 0 {len(v)}\n{v}\n" for k, v in MANY_HITS.items()) + "END\n",
            *((command.split(" ")[0], "hit", k, len(MANY_HITS[k])) if k in MANY_HITS
              else (command.split(" ")[0], "miss", k) for k in MANY_KEYS))
        for command in ("get", "get  ")
    ),
)
case(
    "mg of thousands of keys",
    *(put(key, value) for key, value in list(MANY_HITS.items())[:100]),
    ask("".join(f"mg {key} q k v\n" for key in MANY_KEYS[:700]) + "mn\n",
        "".join(f"VA {len(v)} k{k}\n{v}\n" for k, v in list(MANY_HITS.items())[:100]) + "MN\n",
        *(("mg q k v", "hit", k, len(MANY_HITS[k])) if k in MANY_HITS
          else ("mg q k v", "miss", k) for k in MANY_KEYS[:700]),
        ("mn", "ok"), requests=701),
)

# ---- For what happens when bytes are missing ----

# In each of these conversations all operations are different, so that one which is given in
# another's place shows.
GC_VALUE = b"get gc.1 gc.2\r\n\r\nquit\r\nmg gc.3\r\nincr gc.5 5\r\nSTORED"
case(
    "gaps: classic",
    put("gc.1", "hello", flags=1),
    ask("get gc.1 gc.2\n", "VALUE gc.1 1 5\nhello\nEND\n",
        ("get", "hit", "gc.1", 5), ("get", "miss", "gc.2")),
    ask("add gc.1 0 0 10\nget gc.2\n\n", "NOT_STORED\n", ("add", "not_stored", "gc.1", 10)),
    put("gc.3", GC_VALUE, flags=3),
    ask("set gc.4 4 0 2 noreply\nxx\n", "", ("set 4 noreply", "none", "gc.4", 2)),
    ask("delete gc.1\n", "DELETED\n", ("delete", "deleted", "gc.1")),
    ask("get gc.3\n", raw(f"VALUE gc.3 3 {len(GC_VALUE)}\n") + GC_VALUE + b"\r\nEND\r\n",
        ("get", "hit", "gc.3", len(GC_VALUE))),
    ask("incr gc.5 5\n", "NOT_FOUND\n", ("incr 5", "not_found", "gc.5")),
    ask("get gc.6\n", "END\n", ("get", "miss", "gc.6")),
)
case(
    "gaps: classic in one write",
    ask("set gp.1 1 0 3\nabc\nget gp.2\nget gp.1\nset gp.2 2 0 1 noreply\nx\nget gp.3\n"
        "add gp.1 3 0 1\nx\nset gp.3 0 0 10\nget gp.1\n\nget gp.2\n",
        "STORED\nEND\nVALUE gp.1 1 3\nabc\nEND\nEND\nNOT_STORED\nSTORED\n"
        "VALUE gp.2 2 1\nx\nEND\n",
        ("set 1", "stored", "gp.1", 3), ("get", "miss", "gp.2"), ("get", "hit", "gp.1", 3),
        ("set 2 noreply", "none", "gp.2", 1), ("get", "miss", "gp.3"),
        ("add 3", "not_stored", "gp.1", 1), ("set", "stored", "gp.3", 10),
        ("get", "hit", "gp.2", 1), requests=8),
    ask("get gp.4\nget gp.3 gp.1\ndelete gp.4\ndelete gp.1\n",
        "END\nVALUE gp.3 0 10\nget gp.1\n\nVALUE gp.1 1 3\nabc\nEND\nNOT_FOUND\nDELETED\n",
        ("get", "miss", "gp.4"), ("get", "hit", "gp.3", 10), ("get", "hit", "gp.1", 3),
        ("delete", "not_found", "gp.4"), ("delete", "deleted", "gp.1"), requests=4),
)
GM_VALUE = b"EN\r\nMN\r\nVA 5\r\nhello\r\nHD\r\nincr gm.9 1\r\nEND"
case(
    "gaps: meta",
    ask(raw(f"ms gm.1 {len(GM_VALUE)} T0 k\n") + GM_VALUE + b"\r\n", "HD kgm.1\n",
        ("ms T k", "stored", "gm.1", len(GM_VALUE))),
    ask("mg gm.1 v k O1\n", raw(f"VA {len(GM_VALUE)} kgm.1 O1\n") + GM_VALUE + b"\r\n",
        ("mg v k O", "hit", "gm.1", len(GM_VALUE))),
    ask("mg gm.2 s v k q O2\nmg gm.1 s k q O3\nmg gm.3 k q O4\nmn\n",
        f"HD s{len(GM_VALUE)} kgm.1 O3\nMN\n",
        ("mg s v k q O", "miss", "gm.2"), ("mg s k q O", "hit", "gm.1"),
        ("mg k q O", "miss", "gm.3"), ("mn", "ok"), requests=4),
    ask("ms gm.3 2 ME q O5\nab\nms gm.3 2 F1 ME q O6\nab\nmd gm.4 q O7\nmd gm.3 q O8\nmn\n",
        "NS O6\nNF O7\nMN\n",
        ("ms ME q O", "stored", "gm.3", 2), ("ms F1 ME q O", "not_stored", "gm.3", 2),
        ("md q O", "not_found", "gm.4"), ("md q O", "deleted", "gm.3"), ("mn", "ok"),
        requests=5),
    ask("ma gm.5 N0 J7 v O9\n", "VA 1 O9\n7\n", ("ma N0 J7 v O", "ok", "gm.5")),
    ask("ma gm.6 O10\n", "NF O10\n", ("ma O", "not_found", "gm.6")),
    ask("md gm.1 O11\n", "HD O11\n", ("md O", "deleted", "gm.1")),
    ask("mg gm.1\n", "EN\n", ("mg", "miss", "gm.1")),
)
GAPS = [one for one in CASES if one.name.startswith("gaps: ")]

# ---- As the newest memcached answers ----

# memcached 1.6.45 swallows the value behind a refused storage command, and answers some other
# malformed lines in another way. Each: what is sent, its operations, the replies of 1.6.18, and
# those of a build of 1.6.45; both were measured, with `get z` behind it in the same write.
DIALECTS: Dict[str, Tuple[str, List[Expected], str, str]] = {}


def dialect(name: str, send: str, old: str, new: str, *rows: Tuple[Any, ...]) -> None:
    """Add to DIALECTS. rows: without those of value lines that the older one takes for commands."""
    DIALECTS[name] = (send, [expect(*row) for row in rows], old, new)


for name, line in (
    ("bad flags", "set k blah 0 5"),
    ("bad exptime", "set k 0 blah 5"),
    ("bad unique", "cas k 0 0 5 blah"),
    ("long key", f"set {LONG_KEY} 0 0 5"),
    ("long key, ms", f"ms {LONG_KEY} 5"),
):
    dialect(name, f"{line}\nhello\n", BAD_FORMAT + "ERROR\n", BAD_FORMAT, INVALID_CLIENT_ERROR)
dialect("two values", "set k x 0 5\nhello\nset k x 0 8\nbye\nbye\n",
        BAD_FORMAT + "ERROR\n" + BAD_FORMAT + "ERROR\nERROR\n", 2 * BAD_FORMAT,
        INVALID_CLIENT_ERROR, INVALID_CLIENT_ERROR)
for name, line in (
    ("no length", "set k 0 0 blah"),
    ("a negative length", "set k 0 0 -1"),
    ("a length above 2**31", "set k 0 0 2147483649"),
    ("no length, ms", "ms k blah"),
):
    dialect(name, f"{line}\nhello\n", BAD_FORMAT + "ERROR\n", BAD_FORMAT + "ERROR\n",
            INVALID_CLIENT_ERROR, INVALID_ERROR)
dialect("a long key among others", f"get a b {LONG_KEY} a\n", BAD_FORMAT, BAD_FORMAT + "\n",
        *(("get", "client_error", key) for key in ("a", "b", LONG_KEY, "a")))
dialect("too few words", "set k 0 0\n", "ERROR\n", BAD_FORMAT,
        ("invalid", {"ERROR": "error", "else": "client_error"}))
dialect("gat without a key", "gat 10\n", "END\n", BAD_FORMAT,
        ("gat", {"END": "ok", "else": "client_error"}))


def dialect_rows(name: str, version: str) -> List[Expected]:
    """The operations of one of DIALECTS, with a `get z` behind it."""
    send, rows, old, new = DIALECTS[name]
    reply = old if version == "1.6.18" else new
    found = resolve(ask(send, reply)._replace(expected=rows), raw(reply))
    swallows = len(old.split("ERROR\n")) > len(new.split("ERROR\n"))
    if swallows and version == "1.6.18":
        found = []
        for word in raw(reply).split(b"\r\n")[:-1]:
            found.append(expect("invalid", "error" if word == b"ERROR" else "client_error"))
    return [*found, expect("get", "miss", "z")]
