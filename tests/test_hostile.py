# SPDX-License-Identifier: GPL-2.0-only
"""Clients, files and names that want to do harm."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from itertools import product
from pathlib import Path
from typing import Any, Dict, List

import pytest
from live import (
    MODULE,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    assert_nothing_lost,
    counters,
    exchange,
    membench,
    read_rows,
    repeats,
    run,
    wait_until,
)
from watchdog import interface_name

MIB = 1 << 20

# ---- Memory ----
#
# Each scenario feeds a Matcher in a process of its own, whose peak is what counts.

SCENARIO = """
import os, resource, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import membench
from membench import CLOSE, OPEN, RECV, SEND

operations = []
take = lambda columns: operations.extend(zip(*columns))
matcher = membench.Matcher(take, lambda *_: None, b"secret")
ledger = matcher.ledger

def sock(number):
    return membench.SOCK.pack(number, 0, 1 + number % 60000, 11211)

def open_connection(number):
    matcher.process([(OPEN, 1, sock(number), 0, 0, b"", -1)])

def receive(number, offset, data, length=0, time_ns=2):
    length = length or len(data)
    matcher.process([(RECV, time_ns, sock(number), offset, length, data, -1)])

def send(number, offset, data):
    matcher.process([(SEND, 3, sock(number), offset, len(data), data, -1)])

def close_connection(number, received, sent):
    matcher.process([(CLOSE, 4, sock(number), received, sent, b"", -1)])

MANY = int(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{scenario}
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) >> 10)
"""

MANY = repeats(1_000_000, 10)

# name -> (what happens, MiB that it may take)
SCENARIOS = {
    "a line without end": (
        """
open_connection(1)
for turn in range(4000):
    receive(1, turn << 16, b"x" * 65536)
assert ledger.understood_bytes + ledger.lost_bytes == 4000 << 16
assert not operations
""",
        16,
    ),
    "an answer without end": (
        """
open_connection(1)
receive(1, 0, b"get a\\r\\n")
for turn in range(4000):
    send(1, turn << 16, b"x" * 65536)
assert ledger.lost_bytes >= (3900 << 16)
""",
        16,
    ),
    "a line that comes byte by byte": (
        """
open_connection(1)
for turn in range(MANY):
    receive(1, turn, b"x", time_ns=turn)
""",
        16,
    ),
    "lines without end on many connections": (
        """
for number in range(1, 601):
    open_connection(number)
    for turn in range(15):
        receive(number, turn << 16, b"x" * 65536)
assert ledger.understood_bytes + ledger.lost_bytes == 600 * 15 << 16
""",
        256,
    ),
    "answers without end on many connections": (
        """
for number in range(1, 601):
    open_connection(number)
    receive(number, 0, b"get a\\r\\n")
    for turn in range(15):
        send(number, turn << 16, b"x" * 65536)
""",
        256,
    ),
    "requests without an answer": (
        """
open_connection(1)
for turn in range(100):
    receive(1, turn * 70000, b"get abc\\r\\n" * 7777 + b"mn\\r\\nmn\\r")
""",
        64,
    ),
    "requests without an answer on many connections": (
        """
for number in range(1, 101):
    open_connection(number)
    for turn in range(4):
        receive(number, turn * 45000, b"get abc\\r\\n" * 5000)
assert ledger.understood_bytes + ledger.lost_bytes == 100 * 4 * 45000
""",
        256,
    ),
    "a value of 1 GiB": (
        """
open_connection(1)
head = b"set a 0 0 %d\\r\\n" % (1 << 30)
receive(1, 0, head)
for turn in range(1 << 14):
    receive(1, len(head) + (turn << 16), b"", 65536)
receive(1, len(head) + (1 << 30), b"\\r\\n")
send(1, 0, b"STORED\\r\\n")
assert [(row[3], row[4], row[8]) for row in operations] == [(b"set 0", 3, 1 << 30)] or \\
    [(row[4], row[8]) for row in operations] == [(3, 1 << 30)]
assert ledger.lost_bytes == 0
""",
        16,
    ),
    "many small keys in each line": (
        """
open_connection(1)
line = b"get" + b" a" * 500_000 + b"\\r\\n"
for turn in range(4):
    for at in range(0, len(line), 16384):
        piece = line[at : at + 16384]
        receive(1, turn * len(line) + at, piece, time_ns=turn)
    send(1, turn * 5, b"END\\r\\n")
    operations.clear()
assert ledger.lost_bytes == 0
""",
        256,
    ),
    "many connections": (
        """
count = 0
def add(columns):
    global count
    count += len(columns[0])
matcher = membench.Matcher(add, lambda *_: None, b"secret")
ledger = matcher.ledger
for number in range(MANY):
    name = sock(number)
    matcher.process((
        (OPEN, 1, name, 0, 0, b"", -1),
        (RECV, 2, name, 0, 7, b"get a\\r\\n", 0),
        (SEND, 3, name, 0, 5, b"END\\r\\n", -1),
        (CLOSE, 4, name, 7, 5, b"", -1),
    ))
matcher.process(())
matcher.process(())
matcher.finish()
assert count == matcher.total_count == matcher.opened_count == MANY
assert matcher.open_count == 0
assert (ledger.understood_bytes, ledger.lost_bytes) == (MANY * 12, 0)
""",
        16,
    ),
    "many connections that say nothing": (
        """
for number in range(MANY):
    name = sock(number)
    matcher.process((
        (OPEN, 1, name, 0, 0, b"", -1),
        (CLOSE, 4, name, 0, 0, b"", -1),
    ))
assert matcher.open_count < 5
""",
        16,
    ),
    "many keys": (
        """
matcher = membench.Matcher(lambda row: None, lambda *_: None, b"secret")
open_connection(1)
at = 0
for number in range(0, max(MANY, 200_000), 100):  # fewer would fit
    data = b"".join(b"get %0200d\\r\\n" % key for key in range(number, number + 100))
    receive(1, at, data, time_ns=number)
    at += len(data)
    send(1, number * 5, b"END\\r\\n" * 100)
""",
        64,
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_memory_is_bounded(name: str) -> None:
    scenario, limit_mib = SCENARIOS[name]
    done = subprocess.run(
        [sys.executable, "-c", SCENARIO.replace("{scenario}", scenario), str(MODULE), str(MANY)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        preexec_fn=limit_memory,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= limit_mib


def limit_memory() -> None:
    """So that a scenario that fails does not take the machine with it."""
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


# ---- Lengths ----


IMPOSSIBLE = [
    b"set a 0 0 9223372036854775807",
    b"set a 0 0 9223372036854775808",
    b"set a 0 0 18446744073709551616",
    b"set a 0 0 -1",
    b"set a 0 0 -9223372036854775808",
    b"set a 0 0 2147483647",
    b"set a 0 0 4294967301",
    b"set a 0 0 0x10",
    b"set a 0 0 1e3",
    b"set a 0 0 5 5 5",
    b"set a 0 0 " + b"9" * 3000,
    b"set a 99999999999 0 5",
    b"set a 0 99999999999999999999 5",
    b"cas a 0 0 5 99999999999999999999999",
    b"incr a 99999999999999999999999",
    b"incr a -1",
    b"touch a 99999999999999999999",
    b"ms a -1",
    b"ms a 9223372036854775808",
    b"ms a S2147483648",
    b"mg a T99999999999999999999",
    b"gat 99999999999999999999 a",
    b"flush_all -99999999999999999999",
    b"verbosity 99999999999999999999",
    b"get " + b"k" * 251,
    b"get " + b"k" * 4000,
    b"mg " + b"k" * 2000,
    b"\xff\xfe\xfd",
    b" ",
    b"\0" * 100,
]


@pytest.mark.parametrize("part", range(6))
def test_impossible_numbers(part: int, tmp_path: Path) -> None:
    """Whatever the server makes of them, one operation follows another, and all bytes count."""
    output, lines = tmp_path / "a.profile", IMPOSSIBLE[part::6]
    with Memcached() as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port)) as recorder:
            for turn, line in product(range(3), lines):
                with server.connect() as bad:
                    bad.sendall(line + b"\r\n" + b"hello\r\nget none\r\n" * (turn == 1))
                    bad.settimeout(0.2)
                    with contextlib.suppress(socket.timeout, ConnectionError):
                        bad.recv(1000)
                    bad.settimeout(PATIENCE_SECONDS)
                    with contextlib.suppress(ConnectionError, BrokenPipeError):
                        bad.sendall(b"hello\r\nget none\r\ndelete none\r\nset c 0 0 1\r\nx\r\n")
                        bad.shutdown(socket.SHUT_WR)
                        while bad.recv(1000):  # so that it is not reset
                            pass
                with server.connect() as good:
                    exchange(good, b"set b 0 0 2\r\nhi\r\nget b\r\n", b"END\r\n")
            after = server.stats()
            report = recorder.stop()
    assert report["commands"]["get"]["outcomes"].get("hit") == 3 * len(lines)
    stored = [row for row in read_rows(output) if row[1] == "stored" and row[3] == 2]
    assert len(stored) == 3 * len(lines)
    # What the server took for a value, and what for commands, is what was recorded.
    counted = counters(output)
    for name in ("cmd_get", "get_hits", "get_misses", "delete_misses"):
        assert counted[name] == after[name] - before[name], name
    loss = report["loss"]
    assert loss["bytes_seen"] == sum(kernel_bytes(output))
    assert loss["events_lost"] == 0


def kernel_bytes(profile: Path) -> List[int]:
    """Bytes received and sent, as the kernel programs counted them."""
    found = re.findall(rb'"(?:recv|send)_bytes":(\d+)', profile.read_bytes())
    return [int(number) for number in found[-2:]]


# ---- Live ----


def test_hostile_clients_beside_an_honest_one(tmp_path: Path) -> None:
    """The honest client's recording is exact, whatever the others do."""
    output = tmp_path / "a.profile"
    honest_gets = 2000

    def attack(server: Memcached, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(30):
            with contextlib.suppress(OSError), server.connect() as connection:
                connection.settimeout(0.01)
                for _ in range(chance.randrange(1, 20)):
                    connection.sendall(hostile_bytes(chance))
                    if chance.random() < 0.3:
                        with contextlib.suppress(socket.timeout):
                            connection.recv(1 << 16)
                if chance.random() < 0.3:  # a reset
                    option = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)

    with Memcached("-t", "4") as server:
        with Recorder(output, "--port", str(server.port), "--salt", "11" * 16) as recorder:
            threads = [threading.Thread(target=attack, args=(server, seed)) for seed in range(8)]
            for thread in threads:
                thread.start()
            with server.connect() as connection:
                for turn in range(honest_gets):
                    exchange(connection, b"get honest-%d\r\n" % turn, b"END\r\n")
            for thread in threads:
                thread.join()
            peak_mib = memory_peak_mib(recorder.process.pid)
            report = recorder.stop()
    honest = [row for row in read_rows(output) if row[0] == "get" and row[1] == "miss"]
    assert sum(1 for row in honest if row[2] >= 8) >= honest_gets
    assert report["loss"]["bytes_seen"] >= sum(kernel_bytes(output))
    assert peak_mib < 320


def hostile_bytes(chance: random.Random) -> bytes:
    """Something that a client should not send."""
    return chance.choice(
        (
            lambda: chance.randbytes(chance.randrange(1, 3000)),
            lambda: b"set a 0 0 %d\r\n" % chance.choice((-1, 1 << 63, 1 << 30, 2**31 - 3, 10**30)),
            lambda: b"x" * chance.randrange(1, 5000),
            lambda: b"get " + b"k " * chance.randrange(1, 3000),
            lambda: b"\x80" + chance.randbytes(23),
            lambda: b"\x16\x03\x01" + chance.randbytes(200),
            lambda: b"ms a 5 " + b"O" * 100 + b"\r\nab",
            lambda: b"VALUE a 0 5\r\nhello\r\nEND\r\n",
            lambda: b"set b 0 0 4\r\nSTORED\r\nget b\r\n",
            lambda: b"\r\n" * chance.randrange(1, 100),
            lambda: b"mg a v\r\n" * chance.randrange(1, 500),
        )
    )()


def memory_peak_mib(pid: int) -> int:
    """The most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) >> 10


def test_10000_connections_opened_and_closed(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Memcached("-t", "4") as server:
        before = server.stats()
        # A ring of 16 MiB, which counts for 32 because it is mapped twice, has room for all.
        with Recorder(output, "--port", str(server.port), "--ring-size", "16") as recorder:
            for _ in range(10_000):
                with server.connect() as connection:
                    exchange(connection, b"get a\r\n", b"END\r\n")
            wait_until("closings", lambda: server.stats()["curr_connections"] <= 3)
            after = server.stats()
            peak_mib = memory_peak_mib(recorder.process.pid)
            report = recorder.stop()
    assert after["cmd_get"] - before["cmd_get"] == 10_000
    assert report["commands"]["get"]["outcomes"] == {"miss": 10_000}
    assert report["connections_opened"] == 10_000
    assert_nothing_lost(report)
    assert peak_mib < 96


# ---- The terminal ----

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b]0;pwned\x07\x1b[31m\r\n\x9b2J\u202eevil\udcff\0\x7f"


def profile_of(header: Dict[str, Any], forms: List[Any]) -> bytes:
    """A profile with checksums that are right."""
    data = membench.MAGIC + struct.pack("<I", membench.FORMAT_VERSION)
    for kind, value in ((b"H", header), (b"F", forms), (b"E", {"duration_seconds": 1.0})):
        payload = json.dumps(value).encode()
        data += struct.pack("<c3xII", kind, len(payload), zlib.crc32(kind + payload)) + payload
    return data


def good_header() -> Dict[str, Any]:
    return {
        "membench": "0.1.0",
        "source": "ebpf:any",
        "hook": "sock",
        "side": "server",
        "host": "host",
        "kernel": "6.1",
        "ports": [11211],
        "responses": True,
        "started_at": "2026-01-01T00:00:00Z",
        "started_unix": 1767225600.0,
        "key_space": "00",
    }


EVIL_VALUES: List[Any] = [EVIL, [EVIL], {EVIL: EVIL}, None, True, -1, 1e308, [[EVIL]] * 3, ""]


@pytest.mark.parametrize("name", [*good_header(), EVIL])
def test_profiles_with_hostile_headers(
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a header says gets to the terminal without what a terminal acts on."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # export's is for the whole process
    good = tmp_path / "good.profile"
    good.write_bytes(profile_of(good_header(), ["get"]))
    for number, value in enumerate(EVIL_VALUES):
        evil = tmp_path / f"{number}\x1b[31m\x9b.profile"
        evil.write_bytes(profile_of({**good_header(), name: value}, [EVIL, value, name]))
        for arguments in (
            ["analyze", str(evil)],
            ["analyze", "--json", str(evil)],
            ["analyze", "--why", str(evil)],
            ["compare", str(good), str(evil)],
            ["compare", "--exact", str(good), str(evil)],
            ["export", "--format", "csv", str(evil)],
            ["export", "--format", "hdr", str(evil)],
        ):
            assert membench.main(arguments) in (0, 1, 3)
            said = "".join(capfd.readouterr())
            assert said and not CONTROL.search(said), arguments


def test_terminals_that_know_few_letters(tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    path.write_bytes(profile_of({**good_header(), "host": "h\u00f6st \u4e2d"}, ["get"]))
    for encoding in ("ascii", "latin-1", "utf-8"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = run("analyze", str(path), env=environment, encoding=encoding)
        assert done.returncode == 0, done.stderr
        assert "h?st" in done.stdout or encoding != "ascii"


def test_names_of_this_machine(tmp_path: Path) -> None:
    """Interfaces and Unix sockets whose names are made for a terminal."""
    interface = interface_name("\x1b[1m\x9b")
    path = f"/tmp/mb-\x1b[31m{os.getpid()}"
    command = ["ip", "link", "add", interface, "type", "veth"]
    subprocess.run(command, check=True)
    server = subprocess.Popen(["memcached", "-u", "nobody", "-s", path])
    try:
        wait_until("memcached", lambda: os.path.exists(path))
        output = str(tmp_path / "a.profile")
        for arguments, words in (
            (["check"], r"mb\w+\?\[1m.*\n(.*\n)*.*mb-\?\[31m"),
            (["record", "ebpf:nosuch0", output], r"there are: .*mb\w+\?\[1m"),
            (["record", f"packet:{interface}x", output], "no network interface"),
        ):
            done = run(*arguments)
            assert not CONTROL.search(done.stdout + done.stderr), (arguments, done.stderr)
            assert re.search(words, done.stdout + done.stderr), (arguments, done.stderr)
    finally:
        server.kill()
        server.wait(60)
        os.unlink(path)
        subprocess.run(["ip", "link", "delete", interface], check=True)


def test_what_the_terminal_gets() -> None:
    """Each way out, with all there is."""
    text = "".join(map(chr, range(0x3000))) + EVIL
    program = (
        "import sys, os; sys.path.insert(0, os.path.dirname(sys.argv[1])); import membench\n"
        "membench.OUT(eval(sys.stdin.read()))"
    )
    for way in ("print_result", "say"):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("OUT", way), str(MODULE)],
            input=ascii(text).encode(),
            capture_output=True,
            check=True,
        )
        said = (done.stdout + done.stderr).decode()
        assert not CONTROL.search(said)
        assert "abc" in said
