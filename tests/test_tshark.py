# SPDX-License-Identifier: GPL-2.0-only
"""tshark's memcache dissector as a second opinion on captures of text traffic.

Nobody of this project wrote it, and it shares no code with membench: where both count
the same requests of each command, both read the capture rightly.

Where the dissector is blind or wrong, as tried with tshark 4.0.17 on conversations of one
connection each; "Continuation" is its word for bytes that it does not understand:

- Of requests that share a segment it sees the first: of `get a` five times in one send,
  one; of `set a` and `get a`, the set; of two deletes or two incr, one. So it can be exact
  only with clients that wait for each reply. The rest of a request that began behind
  another is Continuation.
- It can invent requests: after such a segment it starts anew at the next one, even within a
  value. Of `get a`, then a set whose value goes on in a second send with `get x y`, it
  makes two gets and no set.
- `touch`, `gat`, `gats`, `verbosity`, `cache_memlimit` and all meta commands are
  Continuation. So are their replies (but for `VALUE` and `OK`), and a number, the reply to
  incr and decr.
- A value whose last two bytes come in a segment of their own: they are Continuation, and
  so is a request that follows in that segment.

It is right about values of many segments, even if they hold text that looks like requests,
about requests cut anywhere else, `noreply`, several keys, empty values, and lines that end
with a line feed alone.

test_blind_spots repeats these, and that membench has none of them. Only of that tshark it
demands that it stay blind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Tuple

import pytest
from captures import Tcpdump
from live import LOOPBACK, Memcached, analyze, assert_nothing_lost, exchange, read_until, run
from pymemcache.client.base import Client
from test_record import run_memcaslap


def find_tshark() -> str:
    """The path of tshark; these tests cannot run without it."""
    path = shutil.which("tshark", path=os.environ["PATH"] + ":/usr/bin")
    assert path, "tshark is not installed; run make test"
    return path


def tshark_requests(path: Path, port: int) -> Counter[str]:
    """Command -> requests, as the dissector sees them."""
    done = subprocess.run(
        [
            *(find_tshark(), "-n", "-r", str(path), "-d", f"tcp.port=={port},memcache"),
            *("-Y", f"memcache.command && tcp.dstport == {port}"),
            *("-T", "fields", "-E", "aggregator=,", "-e", "memcache.command"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A frame in which several requests end has several.
    return Counter(command for line in done.stdout.splitlines() for command in line.split(","))


def membench_requests(path: Path, port: int) -> Counter[str]:
    """Command -> requests, as `record` and `analyze` tell."""
    profile = path.with_suffix(".profile")
    done = run("record", str(path), str(profile), "--port", str(port))
    assert done.returncode == 0, done.stderr
    report = analyze(profile)
    assert_nothing_lost(report)
    return Counter({name: found["requests"] for name, found in report["commands"].items()})


def count_both(
    folder: Path, client: Callable[[Memcached], None]
) -> Tuple[Counter[str], Counter[str]]:
    """membench's and tshark's counts of what a client does with a server of its own."""
    path = folder / "a.pcap"
    with Memcached("-t", "4") as server:
        with Tcpdump(path, server.port):
            client(server)
        return membench_requests(path, server.port), tshark_requests(path, server.port)


def run_scripted(server: Memcached) -> None:
    """pymemcache, and raw sockets for what it does not do. It waits for each reply."""
    client = Client((LOOPBACK, server.port), timeout=120, no_delay=True)
    for turn in range(20):
        key = f"key{turn % 4}"
        # Values of several segments, that look like requests.
        client.set(key, b"get key0\r\ndelete key1\r\n" * 10 ** (turn % 5), noreply=False)
        client.add(key, b"x", noreply=False)
        client.replace(key, b"set key0 0 0 9\r\n" * turn, noreply=False)
        client.append(key, b"z", noreply=False)
        client.prepend(f"{key}:none", b"z", noreply=False)
        _, unique = client.gets(key)
        client.cas(key, b"new", unique or b"1", noreply=False)
        client.cas(key, b"new", unique or b"1", noreply=False)
        client.get(key)
        client.get_many([key, f"{key}:none"])
        client.set("number", b"10", noreply=False)
        for _ in range(turn % 3):
            client.incr("number", 5)
        client.decr("number", 2)
        client.decr("none", 2)
        client.delete(key, noreply=False)
    client.flush_all(noreply=False)
    client.version()
    client.stats()
    client.close()
    with server.connect() as connection:
        for reply in (b"STORED\r\n", b"NOT_STORED\r\n"):
            exchange(connection, b"add raw 0 0 0\r\n\r\n", reply)
        exchange(connection, b"stats slabs\r\n", b"END\r\n")
        exchange(connection, b"flush_all 0\r\n", b"OK\r\n")
        exchange(connection, b"get " + b" ".join(b"k%d" % i for i in range(90)) + b"\n", b"END\r\n")
        connection.sendall(b"set raw 0 0 2 noreply\r\nhi\r\n")
        time.sleep(0.05)
        exchange(connection, b"version\r\n", b"\r\n")
        for piece in (b"set raw 7 0 2", b"0\r\nget raw 01", b"get raw 02\r\n"):
            connection.sendall(piece)
            time.sleep(0.05)
        exchange(connection, b"gets raw raw\r\n", b"END\r\n")


# What run_scripted does, counted by hand: all commands that the dissector knows.
SCRIPTED: Dict[str, int] = {
    **dict.fromkeys(("replace", "append", "prepend", "delete"), 20),
    **{"set": 42, "add": 22, "gets": 21, "cas": 40, "get": 41, "incr": 19, "decr": 40},
    **{"flush_all": 2, "version": 2, "stats": 2},
}


def test_scripted_conversations(tmp_path: Path) -> None:
    ours, theirs = count_both(tmp_path, run_scripted)
    assert ours == theirs == SCRIPTED


@pytest.mark.parametrize(
    "options",
    [("-x", "4000"), ("-x", "300", "-X", "70000"), ("-x", "2000", "-d", "20")],
    ids=["single gets and sets", "values of several segments", "gets of 20 keys"],
)
def test_memcaslap(options: Tuple[str, ...], tmp_path: Path) -> None:
    ours, theirs = count_both(tmp_path, lambda server: run_memcaslap(server, *options))
    assert ours == theirs
    assert set(ours) == {"get", "set"}
    assert min(ours.values()) > 20


# What is sent, each in a segment of its own; the end of the reply; what it truly holds; what
# tshark 4.0 takes it for.
SET = b"set a 0 0 2\r\nhi\r\n"
BLIND: Dict[str, Tuple[Tuple[bytes, ...], bytes, str, str]] = {
    "five gets": ((b"get no\r\n" * 5,), b"END\r\n" * 5, "get " * 5, "get"),
    "set and get": ((SET + b"get no\r\n",), b"END\r\n", "set get", "set"),
    "invented": (
        (b"get no\r\nset a 0 0 24\r\n0123456789", b"get x y\r\nabcde\r\n"),
        b"STORED\r\n",
        "get set",
        "get get",
    ),
    "touch": ((b"touch no 0\r\n",), b"NOT_FOUND\r\n", "touch", ""),
    "gat": ((b"gat 0 no\r\n",), b"END\r\n", "gat", ""),
    "gats": ((b"gats 0 no\r\n",), b"END\r\n", "gats", ""),
    "verbosity": ((b"verbosity 0\r\n",), b"OK\r\n", "verbosity", ""),
    "ms": ((b"ms a 2\r\nhi\r\n",), b"HD\r\n", "ms", ""),
    "mg": ((b"mg a v\r\n",), b"hi\r\n", "mg", ""),
    "ma": ((b"ma no\r\n",), b"NF\r\n", "ma", ""),
    "md": ((b"md a\r\n",), b"HD\r\n", "md", ""),
    "mn": ((b"mn\r\n",), b"MN\r\n", "mn", ""),
    "late line end": ((SET[:-2], b"\r\nget no\r\n"), b"END\r\n", "set get", "set"),
}


def run_blind(server: Memcached) -> None:
    """Each in a connection of its own."""
    for sent, end, _, _ in BLIND.values():
        with server.connect() as connection:
            for piece in sent[:-1]:
                connection.sendall(piece)
                time.sleep(0.05)
            connection.sendall(sent[-1])
            read_until(connection, end)


def test_blind_spots(tmp_path: Path) -> None:
    ours, theirs = count_both(tmp_path, run_blind)
    assert ours == Counter(" ".join(true for _, _, true, _ in BLIND.values()).split())
    version = subprocess.run([find_tshark(), "--version"], capture_output=True, text=True).stdout
    if " 4.0." in version.splitlines()[0]:
        assert theirs == Counter(" ".join(seen for _, _, _, seen in BLIND.values()).split())
