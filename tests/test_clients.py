# SPDX-License-Identifier: GPL-2.0-only
"""Clients and servers of other makers, recorded live: equal to memcached's own `stats`."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import pytest
from bmemcached import Client as BinaryClient
from bmemcached.exceptions import MemcachedException
from live import (
    COMPARED,
    LOOPBACK,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    assert_exact,
    assert_nothing_lost,
    columns_of,
    counters,
    free_port,
    read_rows,
    require,
    run,
    wait_for_servers,
    wait_until,
)
from pymemcache.client.base import Client
from test_binary import HEADER, message, read_replies
from test_record import HOOKS, read_version, run_memcaslap_at

SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin"  # where Debian has what follows


def forms_and_outcomes(profile: Path) -> Counter[Tuple[str, str]]:
    """How often each form had each outcome."""
    return Counter((form, outcome) for form, outcome, _, _ in read_rows(profile))


# command -> the counters of which it moves one
TOLD_BY_REPLY = {
    "delete": ("delete_hits", "delete_misses"),
    "incr": ("incr_hits", "incr_misses"),
    "decr": ("decr_hits", "decr_misses"),
    "cas": ("cas_hits", "cas_misses", "cas_badval"),
    "touch": ("touch_hits", "touch_misses"),
}


def assert_exact_but_for_noreply(
    before: Counter[str], after: Counter[str], report: Dict[str, Any], profile: Path
) -> None:
    """assert_exact, with text noreply: what came of it the server tells nobody.

    Whether such a request hit is unknown; that it was there is not, so sums are equal.
    """
    untold = Counter(
        form.split(" ")[0] for form, outcome, _, _ in read_rows(profile) if outcome == "none"
    )
    server = Counter({name: after[name] - before[name] for name in COMPARED})
    recorded = counters(profile)
    for command, names in TOLD_BY_REPLY.items():
        if not untold[command]:
            continue
        if command != "cas":  # counters() takes it for a miss
            recorded[names[-1]] -= untold[command]
        for name in names:
            assert recorded[name] <= server[name], name
        missing = sum(server[name] - recorded[name] for name in names)
        assert missing == untold[command], command
        for name in names:
            recorded[name] = server[name]
    assert {name: recorded[name] for name in COMPARED} == dict(server)
    assert report["connections_opened"] == after["total_connections"] - before["total_connections"]
    assert_nothing_lost(report)


# ---- memcached's own tests of a server ----


def record_memccapable(suite: str, hook: str, output: Path) -> Tuple[Any, Any, Dict[str, Any]]:
    """Statistics before and after, and the analysis."""
    with Memcached() as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port), "--hook", hook) as recorder:
            command = ["memccapable", "-h", LOOPBACK, "-p", str(server.port), suite]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr
            wait_for_servers()  # the last connection is closed without a request
            return before, server.stats(), recorder.stop()


@pytest.mark.parametrize("hook", HOOKS)
def test_memccapable_text(hook: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    before, after, report = record_memccapable("-a", hook, output)
    assert_exact_but_for_noreply(before, after, report, output)
    # Its broken requests have too few words or too many; `stats noreply` is merely unknown.
    seen = forms_and_outcomes(output)
    assert seen["invalid", "error"] == 8
    assert seen["stats noreply", "error"] == 1
    assert sum(times for (_, outcome), times in seen.items() if "error" in outcome) == 9
    assert not [form for form, outcome in seen if outcome == "lost"]


@pytest.mark.parametrize("hook", HOOKS)
def test_memccapable_binary(hook: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    before, after, report = record_memccapable("-b", hook, output)
    # incr, incrq, decr and decrq each make one key, which memcached counts neither as a hit
    # nor as a miss. Only incr says a number that could not come of counting.
    seen = forms_and_outcomes(output)
    assert seen["incr binary 1 0", "stored"] == 1
    after["incr_hits"] += 1
    after["decr_hits"] += 2
    assert_exact(before, after, report, output)
    assert not [form for form, outcome in seen if outcome == "lost"]
    names = {form.split(" ")[0] for form, _ in seen}
    stores = ("set", "add", "replace", "append", "prepend")
    others = ("get", "getk", "delete", "incr", "decr", "flush", "quit")
    assert names >= {name + quiet for name in (*stores, *others) for quiet in ("", "q")} - {"getkq"}


# ---- pylibmc: libmemcached from Python ----

# Run by the distribution's own Python, which has its pylibmc: PyPI has wheels of it for some
# versions of Python only.
PYLIBMC = """
import json, sys, pylibmc
address, binary, behaviors, shortest = json.loads(sys.argv[1])
client = pylibmc.Client([address], binary=binary, behaviors=behaviors)

def attempt(name, *arguments, **more):
    # That a key is not there is an error to it, and that a request waits in a buffer too.
    try:
        return getattr(client, name)(*arguments, **more)
    except pylibmc.Error:
        return None

# To a quiet request of the binary protocol that fails there is an answer. With noreply
# libmemcached does not read it, and takes it for the next one's: it breaks.
may_fail = not (binary and behaviors.get("_noreply"))
for turn in range(100):
    key = "pl%d" % (turn % 20)
    attempt("set", key, "v" * max(turn, shortest), time=turn % 3 * 100)
    attempt("set", "number", 10)
    attempt("set_multi", {key + ":%d" % n: "x" * max(n * 100, shortest) for n in range(6)})
    attempt("get_multi", [key + ":%d" % n for n in range(8)])
    attempt("get", key)
    attempt("get", key + ":none")
    attempt("replace", key, "y")
    attempt("append", key, "z")
    attempt("add", key + ":%d" % turn + ":new", "x")
    attempt("incr", "number", 5)
    attempt("decr", "number", 2)
    attempt("touch", key, 60)
    attempt("touch", key + ":none", 60)
    attempt("delete", key + ":%d" % turn + ":new")
    if may_fail:
        attempt("add", key, "x")
        attempt("prepend", key + ":none", "z")
        attempt("incr", key + ":none", 1)
        for number in range(1, 8):
            attempt("delete", key + ":%d" % number)
        attempt("delete_multi", [key + ":2", key + ":3"])
    if behaviors.get("cas"):
        value, unique = client.gets(key)
        assert attempt("cas", key, "new", unique)
        assert not attempt("cas", key, "new", unique)
# Waits for the answers to all that is in a buffer: a server that cannot give one ends the
# connection, and leaves what it has read undone.
attempt("get", "last")
client.disconnect_all()
"""
BEHAVIORS: Dict[str, Dict[str, int]] = {
    "plain": {"tcp_nodelay": 1, "cas": 1},
    "no_block": {"no_block": 1, "tcp_nodelay": 1},
    "noreply": {"_noreply": 1, "tcp_nodelay": 1},
    "buffered": {"buffer_requests": 1, "no_block": 1, "tcp_nodelay": 1},
    "buffered and noreply": {"buffer_requests": 1, "_noreply": 1, "tcp_nodelay": 1},
}


EMPTY_VALUE = """
import sys, pylibmc
client = pylibmc.Client(sys.argv[1:])
client.set("key", "")
assert client.get("key") == ""
"""


def run_with_pylibmc(program: str, argument: str) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/python3", "-c", program, argument]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def shortest_value() -> int:
    """How long values have to be for pylibmc. That of Debian 13, 1.6.3-2, aborts at empty ones.

    It was built with its assertions, one of which is wrong. All others read them.
    """
    with Memcached() as server:
        done = run_with_pylibmc(EMPTY_VALUE, f"{LOOPBACK}:{server.port}")
    if done.returncode == -signal.SIGABRT and "`value || value_str' failed" in done.stderr:
        return 1
    assert done.returncode == 0, done.stderr
    return 0


def run_pylibmc(
    server: Memcached, binary: bool, behaviors: Dict[str, int], shortest_value: int
) -> None:
    """Each command that it has."""
    arguments = json.dumps([f"{LOOPBACK}:{server.port}", binary, behaviors, shortest_value])
    done = run_with_pylibmc(PYLIBMC, arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", BEHAVIORS)
@pytest.mark.parametrize("protocol", ["text", "binary"])
def test_pylibmc(protocol: str, mode: str, shortest_value: int, tmp_path: Path) -> None:
    # Each mode with one of the hooks, in text the one and in binary the other.
    hook = HOOKS[(list(BEHAVIORS).index(mode) + (protocol == "binary")) % 2]
    output = tmp_path / "a.profile"
    with Memcached() as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port), "--hook", hook) as recorder:
            run_pylibmc(server, protocol == "binary", BEHAVIORS[mode], shortest_value)
            # What nobody waits for may be done when its client is gone already.
            idle = before["curr_connections"]
            wait_until("the end", lambda: server.stats()["curr_connections"] == idle)
            after = server.stats()
            report = recorder.stop()
    if protocol == "text" and "noreply" in mode:
        assert_exact_but_for_noreply(before, after, report, output)
    else:
        assert_exact(before, after, report, output)
    forms = {form for form, _ in forms_and_outcomes(output)}
    words = {"setq", "binary"} if protocol == "binary" else {"set", "noreply"}
    is_noreply = any(words < {*form.split(" ")} for form in forms)
    assert is_noreply == ("noreply" in mode)
    assert report["pipelining"]["max_depth"] > 1 or "buffered" not in mode


# ---- SASL ----

USER, PASSWORD = "someuser@somewhere", "SECRETpassword"


class SaslMemcached(Memcached):
    """A memcached that answers only who knows the password; it speaks binary only."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        database = folder / "sasldb"
        name, realm = USER.split("@")
        subprocess.run(
            ["saslpasswd2", "-p", "-c", "-f", database, "-a", "memcached", "-u", realm, name],
            input=PASSWORD,
            text=True,
            check=True,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )
        conf = f"mech_list: plain\nsasldb_path: {database}\n"
        (folder / "memcached.conf").write_text(conf)
        # memcached runs as another user, who cannot enter the folder of pytest.
        for path in (folder, database):
            path.chmod(0o755)
        monkeypatch.setenv("SASL_CONF_PATH", str(folder))
        super().__init__("-S")

    def stats(self) -> Counter[str]:
        """The server's own counters, over one connection that stays open."""
        if not self.logged_in:
            words = f"\0{USER}\0{PASSWORD}".encode()
            self.control.sendall(message("sasl_auth", b"PLAIN", words, opaque=1))
            assert read_replies(self.control, 1)[6:8] == b"\0\0"
            self.logged_in = True
        self.control.sendall(message("stat", opaque=2) + message("noop", opaque=3))
        received, at = read_replies(self.control, 3), 0
        found: Counter[str] = Counter()
        while at < len(received):
            _, _, key_size, _, _, _, size, _, _ = HEADER.unpack_from(received, at)
            key_at, at = at + HEADER.size, at + HEADER.size + size
            value = received[key_at + key_size : at]
            if value.isdigit():
                found[received[key_at : key_at + key_size].decode()] = int(value)
        return found

    logged_in = False


@pytest.mark.parametrize("hook", HOOKS)
def test_sasl(hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a.profile"
    with tempfile.TemporaryDirectory() as folder:
        with SaslMemcached(Path(folder), monkeypatch) as server:
            before = server.stats()
            with Recorder(output, "--port", str(server.port), "--hook", hook) as recorder:
                for password in (PASSWORD, "WRONGpassword", PASSWORD):
                    log_in(server, password)
                after = server.stats()
                report = recorder.stop()
    assert_exact(before, after, report, output)
    assert after["auth_cmds"] - before["auth_cmds"] == 3
    assert after["auth_errors"] - before["auth_errors"] == 1
    messages = "".join(recorder.errors) + run("analyze", str(output)).stdout
    everything = output.read_bytes() + columns_of(output) + messages.encode()
    for part in require((*USER.split("@"), PASSWORD, "WRONGpassword", "PLAIN")):
        assert part.encode() not in everything
    seen = forms_and_outcomes(output)
    logins = {row: times for row, times in seen.items() if row[0].startswith("sasl_auth")}
    assert logins == {("sasl_auth binary", "ok"): 2, ("sasl_auth binary", "client_error"): 1}


def log_in(server: Memcached, password: str) -> None:
    """And work, where that is allowed."""
    client = BinaryClient((f"{LOOPBACK}:{server.port}",), USER, password)
    try:
        if password != PASSWORD:
            with pytest.raises(MemcachedException, match="Auth failure"):
                client.get("key0")
            return
        for turn in range(50):
            assert client.set(f"key{turn}", "v" * turn * 100)
            assert client.get(f"key{turn}") == "v" * turn * 100
            client.get(f"none{turn}")
            client.delete(f"key{turn - 5}")
    finally:
        client.disconnect_all()


# ---- A server that is not memcached ----


@contextmanager
def twemproxy(backend: Memcached, folder: Path) -> Iterator[Tuple[str, int]]:
    """A proxy that speaks the text protocol and uses read and writev; its address."""
    address = LOOPBACK, free_port()
    conf = folder / "nutcracker.yml"
    conf.write_text(
        f"pool:\n  listen: {LOOPBACK}:{address[1]}\n  servers:\n    - {LOOPBACK}:{backend.port}:1\n"
    )
    path = shutil.which("nutcracker", path=SYSTEM_PATH)
    assert path, "nutcracker (twemproxy) is not installed; run make test"
    options = ["-c", conf, "-a", LOOPBACK, "-s", str(free_port()), "-o", folder / "log"]
    process = subprocess.Popen([path, *options])
    try:
        wait_until("twemproxy", lambda: accepts(address))
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def accepts(address: Tuple[str, int]) -> bool:
    """Does a server listen there?"""
    try:
        socket.create_connection(address, PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True


def run_proxied(address: Tuple[str, int]) -> None:
    """Each command that pymemcache and twemproxy share."""
    client = Client(address, timeout=PATIENCE_SECONDS, no_delay=True)
    for turn in range(100):
        key, none = f"tw{turn % 20}", f"none{turn}"
        client.set(key, b"v" * turn, noreply=False)
        client.set(f"{key}:quiet", b"w" * 10, noreply=True)
        client.get_many([key, none, f"{key}:quiet"])
        client.add(key, b"x", noreply=False)
        client.replace(key, b"y" * 5000, noreply=False)
        client.append(key, b"z", noreply=False)
        client.prepend(none, b"z", noreply=False)
        _, unique = client.gets(key)
        client.cas(key, b"new", unique, noreply=False)
        client.cas(key, b"new", unique, noreply=False)
        client.touch(key, 60, noreply=False)
        client.touch(none, 60, noreply=False)
        client.set("number", b"10", noreply=False)
        client.incr("number", 5)
        client.decr("number", 2)
        client.incr(none, 1)
        client.delete(f"{key}:quiet", noreply=False)
        client.delete(none, noreply=False)
    client.quit()


def run_proxied_pipelines(address: Tuple[str, int], seed: int) -> None:
    """Requests in deep pipelines, split at random."""
    chance = random.Random(seed)
    with socket.create_connection(address, PATIENCE_SECONDS) as connection:
        for _ in range(20):
            made = []
            for _ in range(chance.randrange(1, 100)):
                key, size = b"raw%d" % chance.randrange(50), chance.choice((0, 1, 500, 20000))
                value = (b"get raw1\r\nEND\r\n" * 2000)[:size]
                made.append(
                    chance.choice(
                        (
                            b"get %s raw1 nothing\r\n" % key,
                            b"gets %s\r\n" % key,
                            b"set %s 5 0 %d\r\n%s\r\n" % (key, size, value),
                            b"delete %s\r\n" % key,
                            b"touch %s 100\r\n" % key,
                        )
                    )
                )
            data = b"".join(made) + b"version\r\n"
            reader = threading.Thread(target=read_version, args=(connection,))
            reader.start()
            while data:
                length = chance.choice((1, 7, 100, 1460, 16384, 60000))
                connection.sendall(data[:length])
                data = data[length:]
            reader.join(PATIENCE_SECONDS)
            assert not reader.is_alive()


@pytest.mark.parametrize("hook", HOOKS)
def test_twemproxy(hook: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Memcached() as backend, twemproxy(backend, tmp_path) as address:
        before = backend.stats()
        with Recorder(output, "--port", str(address[1]), "--hook", hook) as recorder:
            run_memcaslap_at(address[1])
            run_proxied(address)
            for seed in range(5):
                run_proxied_pipelines(address, seed)
            after = backend.stats()
            report = recorder.stop()
    # Its connections to the backend are others than those to it, and fewer.
    assert report["connections_opened"] == 16 + 1 + 5
    after["total_connections"] = before["total_connections"] + 16 + 1 + 5
    assert_exact(before, after, report, output)
