# SPDX-License-Identifier: GPL-2.0-only
"""Every side and kind of socket: clients, Unix sockets, containers, TLS, UDP."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
from live import (
    LOOPBACK,
    PATIENCE_SECONDS,
    ROOT,
    Memcached,
    Recorder,
    assert_exact,
    assert_nothing_lost,
    exchange,
    find_memcached,
    free_port,
    freeze,
    membench,
    read_rows,
    read_until,
    run,
    wait_until,
)
from test_compare import SALT
from test_record import (
    HOOKS,
    connection_kinds,
    run_memcaslap,
    run_pipelines,
    run_pymemcache,
)


class UnixMemcached(Memcached):
    """A memcached on a Unix socket. cwd: where it runs; the path may be relative to it."""

    def __init__(self, path: str, *options: str, cwd: Optional[Path] = None) -> None:
        self.path = os.path.join(cwd or "/", path)
        command = [find_memcached(), "-u", "root", "-s", path, *options]
        self.process = subprocess.Popen(command, cwd=cwd)

    @property
    def address(self) -> Any:
        return f"unix:{self.path}"

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_SECONDS)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection


def gets(server: Memcached, times: int) -> None:
    """So many gets over a connection of their own."""
    with server.connect() as connection:
        for _ in range(times):
            exchange(connection, b"get a\r\n", b"END\r\n")


def assert_same_but(one: Path, two: Path, *names: str) -> None:
    """The two profiles differ in no line of a comparison but these."""
    lines = membench.compare_exactly(str(one), str(two))["lines"]
    assert sum(line["verdict"] == "same" for line in lines) >= 8
    changed = {line["name"] for line in lines if line["verdict"] == "changed"}
    assert changed <= set(names)


# ---- Clients ----


CLIENTS: Dict[str, Callable[[Memcached], None]] = {
    "memcaslap": run_memcaslap,
    "pymemcache": run_pymemcache,
    "pipelines": run_pipelines,
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("workload", CLIENTS)
def test_both_ends_tell_the_same(workload: str, hook: str, tmp_path: Path) -> None:
    """Nothing is counted twice on loopback, and nothing is missing at either end."""
    servers, clients = tmp_path / "servers", tmp_path / "clients"
    with Memcached("-t", "4") as server:
        # Two recorders share the CPUs with the load, and at clients values are copied: all of
        # it has room on the ring.
        port = ("--port", str(server.port), "--hook", hook, *SALT, "--ring-size", "64")
        before = server.stats()
        with Recorder(servers, *port) as one, Recorder(clients, *port, "--side", "client") as two:
            server.renew_control()
            CLIENTS[workload](server)
            after = server.stats()
            assert_exact(before, after, one.stop(), servers)
            report = two.stop()
    assert_nothing_lost(report)
    assert report["profiles"][0]["side"] == "client"
    assert report["connections_opened"] == after["total_connections"] - before["total_connections"]
    compared = run("compare", "--exact", str(servers), str(clients))
    assert compared.returncode == 0, compared.stdout
    assert "Client latency" in run("analyze", str(clients)).stdout
    assert "Server latency" in run("analyze", str(servers)).stdout


SETS = 40_000


def write_and_read(connection: socket.socket) -> bool:
    """SETS at once. Was there something to read, again and again, before all was written?"""
    connection.settimeout(None)
    for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, size, 8192)
    requests = b"set key 0 0 8\r\nabcdefgh\r\n" * SETS
    writer = threading.Thread(target=connection.sendall, args=(requests,))
    writer.start()
    answered, was_writing = 0, True
    while answered < SETS * len(b"STORED\r\n"):
        answered += len(connection.recv(4096))
        if answered < 10_000:
            was_writing = was_writing and writer.is_alive()
    writer.join(PATIENCE_SECONDS)
    return was_writing


@pytest.mark.parametrize("hook", HOOKS)
def test_clients_of_a_recorder_that_was_suspended(hook: str, tmp_path: Path) -> None:
    """All that it reads is old, and none of it is too old to wait for what came before."""
    output = tmp_path / "a.profile"
    connections = 6
    with Memcached() as server:
        options = ("--port", str(server.port), "--hook", hook, "--side", "client")
        with Recorder(output, *options) as recorder:
            freeze(recorder.process.pid)
            for _ in range(connections):
                with server.connect() as connection:
                    write_and_read(connection)
            time.sleep(1.5 * membench.ClientOrder.WAIT_NS / 1e9)
            recorder.process.send_signal(signal.SIGCONT)
            report = recorder.stop()
    assert report["commands"]["set"]["outcomes"] == {"stored": connections * SETS}
    assert_nothing_lost(report)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_client_that_reads_while_it_still_writes(hook: str, tmp_path: Path) -> None:
    """Its responses are told of before the one call is over that wrote all the requests."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        options = ("--port", str(server.port), "--hook", hook, "--side", "client")
        with Recorder(output, *options) as recorder:
            rounds, was_writing = 0, False
            while not was_writing:
                assert rounds < 20, "each time all was written at once; this tests nothing"
                rounds += 1
                with server.connect() as connection:
                    was_writing = write_and_read(connection)
            report = recorder.stop()
    assert report["commands"]["set"]["outcomes"] == {"stored": rounds * SETS}
    assert_nothing_lost(report)


@pytest.mark.parametrize("hook", HOOKS)
def test_joining_clients_takes_evidence(hook: str, tmp_path: Path) -> None:
    """As with packets: a client's next request may come before an older reply is there."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        with server.connect() as connection:
            exchange(connection, b"get before\r\n", b"END\r\n")
            options = ("--port", str(server.port), "--hook", hook, "--side", "client")
            with Recorder(output, *options) as recorder:
                turns = "gdgggdddgdgddggdgggd"  # replies that fit in one way only
                for turn in turns:
                    line = b"get a\r\n" if turn == "g" else b"delete a\r\n"
                    exchange(connection, line, b"\r\n")
                report = recorder.stop()
    assert report["connections"] == 1 and report["connections_opened"] == 0
    assert 0 < report["operations"] < len(turns)
    assert report["loss"]["bytes_lost"] > 0
    assert report["servers"][0]["address"] == f"{LOOPBACK}:{server.port}"


@pytest.mark.parametrize("hook", HOOKS)
def test_only_clients_by_the_interface_asked_for(hook: str, tmp_path: Path) -> None:
    """When a client's connection opens, nothing has come in by its interface yet."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        options = ("--port", str(server.port), "--hook", hook, "--side", "client")
        with Recorder(output, *options, source="ebpf:lo") as recorder:
            gets(server, 3)
            report = recorder.stop()
    assert (report["operations"], report["connections_opened"]) == (3, 1)
    assert_nothing_lost(report)


@pytest.mark.parametrize("hook", HOOKS)
def test_nothing_is_passed_over_at_clients(hook: str, tmp_path: Path) -> None:
    """A write that looks like memcached's read of a large set, but begins within a value."""
    output = tmp_path / "a.profile"
    write = b"set x 0 0 20000\r\n".ljust(10_382, b"v") + b"\r\n" + b"get none\r\n" * 600
    assert len(write) == 16384
    with Memcached() as server:
        options = ("--port", str(server.port), "--hook", hook, "--side", "client")
        with Recorder(output, *options) as recorder:
            with server.connect() as connection:
                connection.sendall(b"set k 0 0 10382\r\n")
                connection.sendall(write)
                left = len(b"STORED\r\n" + b"END\r\n" * 600)
                while left:
                    left -= len(connection.recv(left))
            report = recorder.stop()
    assert report["commands"]["get"]["outcomes"] == {"miss": 600}
    assert report["commands"]["set"]["outcomes"] == {"stored": 1}
    assert_nothing_lost(report)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_client_that_reads_the_last_bytes_and_the_end_at_once(hook: str, tmp_path: Path) -> None:
    """The end counts for a byte of the stream, and is none."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        options = ("--port", str(server.port), "--hook", hook, "--side", "client")
        with Recorder(output, *options) as recorder:
            with server.connect() as connection:
                connection.sendall(b"get a\r\nquit\r\n")
                ended = select.poll()
                ended.register(connection, select.POLLRDHUP)
                assert ended.poll(1000 * PATIENCE_SECONDS), "the server did not close"
                assert connection.recv(100) == b"END\r\n"
            report = recorder.stop()
    assert report["commands"]["get"]["outcomes"] == {"miss": 1}
    assert_nothing_lost(report)


# ---- Unix sockets ----


# A client that reads and writes in two threads cannot be put in order on a Unix socket.
@pytest.mark.parametrize(
    "side, workload",
    [("server", "pymemcache"), ("server", "pipelines"), ("client", "pymemcache")],
)
def test_unix_socket_equals_stats_and_tcp(side: str, workload: str, tmp_path: Path) -> None:
    by_unix, by_tcp = tmp_path / "unix", tmp_path / "tcp"
    path = str(tmp_path / "m.sock")
    options = (*SALT, "--side", side)
    with UnixMemcached(path, "-t", "4") as server:
        before = server.stats()
        with Recorder(by_unix, *options, source=f"ebpf:unix:{path}") as recorder:
            server.renew_control()
            CLIENTS[workload](server)
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, by_unix)
    assert report["profiles"][0]["source"] == f"ebpf:unix:{path}"
    (found,) = report["servers"]
    expected = ("memcached", server.process.pid) if side == "server" else ("", 0)
    assert (found["address"], found["process"], found["pid"]) == (f"unix:{path}", *expected)
    assert found["operations"] == report["operations"]
    with Memcached("-t", "4") as server:
        with Recorder(by_tcp, "--port", str(server.port), *options) as recorder:
            server.renew_control()
            CLIENTS[workload](server)
            server.stats()
            recorder.stop()
    # How a pipeline falls into reads is a matter of time.
    assert_same_but(by_unix, by_tcp, "reads")


def test_unix_connections_open_close_and_join(tmp_path: Path) -> None:
    """Two were there before; one of them is idle. Then forty come and go."""
    output = tmp_path / "a.profile"
    path = str(tmp_path / "m.sock")
    with UnixMemcached(path) as server:
        alone = server.stats()["curr_connections"]
        with server.connect() as old, server.connect() as idle:
            exchange(old, b"get a\r\n", b"END\r\n")
            wait_until("both", lambda: server.stats()["curr_connections"] == alone + 2)
            with Recorder(output, source=f"ebpf:unix:{path}") as recorder:
                for _ in range(3):
                    exchange(old, b"get a\r\n", b"END\r\n")
                for _ in range(40):
                    gets(server, 2)
                idle.sendall(b"get b\r\n")
                read_until(idle, b"END\r\n")
                wait_until("closing", lambda: server.stats()["curr_connections"] == alone + 2)
                report = recorder.stop()
    assert report["commands"]["get"]["operations"] == 3 + 40 * 2 + 1
    assert_nothing_lost(report)
    kinds = connection_kinds(output)
    assert kinds.count(membench.OPEN) == 40
    assert kinds.count(membench.CLOSE) == 40
    assert kinds.count(membench.RECV) == 3  # and the one for the statistics
    assert len(report["servers"]) == 1


def test_joining_a_unix_connection_within_a_value(tmp_path: Path) -> None:
    """Its value looks like commands; none of them is taken for one."""
    output = tmp_path / "a.profile"
    path = str(tmp_path / "m.sock")
    with UnixMemcached(path) as server, server.connect() as within:
        begun = b"set b 0 0 40000\r\n" + b"set x 0 0 2\r\nhi\r\n" * 1000
        within.sendall(begun)
        server.wait_until_read(len(begun))
        with Recorder(output, source=f"ebpf:unix:{path}") as recorder:
            within.sendall(b"set x 0 0 2\r\nhi\r\n" * 600)
            within.sendall(b"x" * (40000 - 1600 * 17) + b"\r\n")
            read_until(within, b"STORED\r\n")
            for _ in range(3):
                exchange(within, b"delete b\r\n", b"\r\n")
            report = recorder.stop()
    rows = [(form, outcome) for form, outcome, _, _ in read_rows(output)]
    assert rows == [("delete", "deleted")] + [("delete", "not_found")] * 2
    assert 0 < report["loss"]["bytes_lost"] < 40000 + 100


def test_unix_connections_that_the_server_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads no end then; that the socket is gone tells."""
    monkeypatch.setattr(membench.UnixConnections, "CHECK_SECONDS", 0.1)
    path = str(tmp_path / "m.sock")
    closed: List[int] = []
    with UnixMemcached(path) as server, membench.EbpfSource([], unix_path=path) as source:

        def closing(wanted: int) -> bool:
            for segment in source.read(50) or ():
                if segment[0] == membench.CLOSE:
                    closed.append(segment[2])
            return len(closed) >= wanted

        with server.connect() as stays, server.connect() as quits:
            for connection in (stays, quits):
                exchange(connection, b"get a\r\n", b"END\r\n")
            checked = time.monotonic() + 5 * membench.UnixConnections.CHECK_SECONDS
            wait_until("a check", lambda: not closing(1) and time.monotonic() > checked)
            quits.sendall(b"quit\r\n")
            assert quits.recv(100) == b""
            wait_until("the first closing", lambda: closing(1))
            exchange(stays, b"get a\r\n", b"END\r\n")
            assert not closing(2)
        wait_until("the second closing", lambda: closing(2))
    assert len(set(closed)) == 2


@pytest.mark.parametrize("kind", ["relative", "abstract"])
def test_other_names_of_a_unix_socket(kind: str, tmp_path: Path) -> None:
    """A relative path is found by its file; an abstract name has none."""
    output = tmp_path / "a.profile"
    if kind == "relative":
        with UnixMemcached("m.sock", cwd=tmp_path) as server:
            with Recorder(output, source=f"ebpf:unix:{tmp_path}/m.sock") as recorder:
                gets(server, 5)
                report = recorder.stop()
    else:
        name = f"membench-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind("\0" + name)
            listener.listen()
            with Recorder(output, source=f"ebpf:unix:@{name}") as recorder:
                client.connect("\0" + name)
                server_end, _ = listener.accept()
                with server_end:
                    for _ in range(5):
                        client.sendall(b"get a\r\n")
                        assert server_end.recv(16384) == b"get a\r\n"
                        server_end.sendall(b"END\r\n")
                        assert client.recv(100) == b"END\r\n"
                report = recorder.stop()
    assert report["commands"]["get"]["outcomes"] == {"miss": 5}
    assert_nothing_lost(report)


def test_only_the_unix_socket_asked_for(tmp_path: Path) -> None:
    """Of paths that are as long, and as short, and of none."""
    output = tmp_path / "a.profile"
    paths = [str(tmp_path / name) for name in ("m1.sock", "m2.sock", "m1.soc")]
    with UnixMemcached(paths[0]) as wanted, UnixMemcached(paths[1]) as one:
        with UnixMemcached(paths[2]) as two, Memcached() as tcp:
            with Recorder(output, source=f"ebpf:unix:{paths[0]}") as recorder:
                for server in (wanted, one, two, tcp):
                    gets(server, 3)
                report = recorder.stop()
    assert report["operations"] == 3
    assert_nothing_lost(report)


@pytest.mark.parametrize(
    "options",
    [
        ("ebpf:unix:/run/m.sock", "--port", "11211"),
        ("ebpf:unix:/run/m.sock", "--hook", "syscalls"),
        ("packet:lo", "--side", "client"),
        ("packet:lo", "--pid", "1"),
        ("--pid", "0"),
    ],
)
def test_what_does_not_go_together(options: List[str]) -> None:
    done = run("record", *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "error:" in done.stderr


@pytest.mark.parametrize(
    "options, words",
    [
        (("ebpf:unix:/" + "x" * 200,), "is too long for a Unix socket's path"),
        (("--pid", str(1 << 22)), f"there is no process {1 << 22}"),
        (("--pid", str(os.getpid())), "does not listen on a TCP port"),
    ],
)
def test_errors(options: List[str], words: str, tmp_path: Path) -> None:
    done = run("record", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert os.listdir(tmp_path) == []


# ---- Containers and processes ----


class Namespace:
    """A network namespace, as containers have one. A context manager."""

    def __init__(self) -> None:
        self.name = f"mbtest{os.getpid()}"

    def __enter__(self) -> Namespace:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *_exception: object) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def command(self, *words: str) -> List[str]:
        """This command within it; the process is the same."""
        return ["ip", "netns", "exec", self.name, *words]


CLIENT = """
import socket, sys
port, key, times = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
connection = None
for line in sys.stdin:
    connection = connection or socket.create_connection(("127.0.0.1", port), 120)
    for _ in range(times):
        connection.sendall(b"get " + key + b"\\r\\n")
        assert connection.recv(100) == b"END\\r\\n"
    print("done", flush=True)
"""


class OtherClient:
    """A client in a process of its own, maybe in a namespace. A context manager.

    It connects when it is first told to go.
    """

    def __init__(self, port: int, key: str, times: int, place: Optional[Namespace] = None) -> None:
        command = [sys.executable, "-c", CLIENT, str(port), key, str(times)]
        self.process = subprocess.Popen(
            place.command(*command) if place else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> OtherClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            assert self.process.wait(PATIENCE_SECONDS) == 0
        finally:
            self.process.kill()
            self.process.stdout.close()

    def go(self) -> None:
        """So many gets."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


class NamespaceMemcached:
    """A memcached in a namespace, on loopback there. A context manager."""

    def __init__(self, place: Namespace, port: int) -> None:
        words = (find_memcached(), "-u", "root", "-U", "0", "-l", LOOPBACK, "-p", str(port))
        self.process = subprocess.Popen(place.command(*words))
        self.port = port

    def __enter__(self) -> NamespaceMemcached:
        wait_until("memcached", self._listens)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def _listens(self) -> bool:
        name = Path(f"/proc/{self.process.pid}/comm").read_text().strip()
        listeners = membench.tcp_sockets(self.process.pid, membench.TCP_LISTEN)
        return name == "memcached" and any(s.local_port == self.port for s in listeners)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_server_in_a_container_and_one_outside(hook: str, tmp_path: Path) -> None:
    """The same address and port. One connection of each was there before."""
    both, inner = tmp_path / "both", tmp_path / "inner"
    with Namespace() as place, Memcached() as outside:
        port = outside.port
        with NamespaceMemcached(place, port) as inside:
            with OtherClient(port, "in", 30, place) as old_in, OtherClient(port, "out", 7) as old:
                old_in.go(), old.go()
                pid = inside.process.pid
                with Recorder(both, "--port", str(port), "--hook", hook) as recorder:
                    with Recorder(inner, "--pid", str(pid), "--hook", hook) as of_one:
                        old_in.go(), old.go()
                        for key, times, where in (("in", 20, place), ("out", 5, None)):
                            for _ in range(3):
                                with OtherClient(port, key, times, where) as client:
                                    client.go()
                        one = of_one.stop()
                    report = recorder.stop()
    found = {server["pid"]: server for server in report["servers"]}
    assert found.keys() == {inside.process.pid, outside.process.pid}
    for server in found.values():
        assert (server["address"], server["process"]) == (f"{LOOPBACK}:{port}", "memcached")
        assert server["connections"] == 4
    inside_operations = found[inside.process.pid]["operations"]
    assert inside_operations == 30 + 3 * 20
    assert found[outside.process.pid]["operations"] == 7 + 3 * 5
    assert found[inside.process.pid]["latency_us"]["p50"] > 0
    assert_nothing_lost(report)
    assert_nothing_lost(one)
    assert (one["operations"], one["connections"]) == (inside_operations, 4)
    assert [server["pid"] for server in one["servers"]] == [inside.process.pid]
    text = run("analyze", "--by-server", str(both)).stdout
    for pid in found:
        assert f"memcached {pid}" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "memcached" not in run("analyze", str(both)).stdout


@pytest.mark.parametrize("hook", HOOKS)
def test_only_one_client_process(hook: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Memcached() as server:
        with OtherClient(server.port, "a", 11) as wanted, OtherClient(server.port, "b", 5) as other:
            options = ("--port", str(server.port), "--hook", hook, "--side", "client")
            pid = str(wanted.process.pid)
            with Recorder(output, *options, "--pid", pid) as recorder:
                wanted.go(), other.go(), wanted.go()
                gets(server, 3)
                report = recorder.stop()
    assert (report["connections"], report["connections_opened"]) == (1, 1)
    assert report["operations"] == 22
    assert_nothing_lost(report)
    (found,) = report["servers"]
    assert found["address"] == f"{LOOPBACK}:{server.port}"


# ---- What cannot be looked into ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, made just now, in one file each."""
    folder = tmp_path_factory.mktemp("tls")
    names = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    subprocess.run([*command, "-days", "2", *names], check=True, capture_output=True)
    return folder


class TlsMemcached(Memcached):
    """A memcached that speaks TLS; its statistics too come that way."""

    def __init__(self, folder: Path) -> None:
        chain, key = f"ssl_chain_cert={folder}/cert.pem", f"ssl_key={folder}/key.pem"
        super().__init__("-u", "root", "-Z", "-o", chain, "-o", key)

    def connect(self) -> socket.socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(super().connect())


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("side", ["server", "client"])
def test_tls_is_recognised(side: str, hook: str, certificate: Path, tmp_path: Path) -> None:
    """On new connections, on one that was there before, and beside one that is plain."""
    output = tmp_path / "a.profile"
    with TlsMemcached(certificate) as server, Memcached() as plain:
        ports = ("--port", str(server.port), "--port", str(plain.port))
        with server.connect() as old:
            exchange(old, b"get a\r\n", b"END\r\n")
            with Recorder(output, *ports, "--hook", hook, "--side", side) as recorder:
                exchange(old, b"get a\r\n", b"END\r\n")
                for _ in range(3):
                    gets(server, 5)
                gets(plain, 4)
                report = recorder.stop()
    loss = report["loss"]
    assert report["commands"]["get"]["outcomes"] == {"miss": 4}
    assert loss["bytes_seen"] - loss["bytes_lost"] == 4 * len(b"get a\r\nEND\r\n")
    assert loss["bytes_lost"] >= loss["tls_bytes"] > 3000
    assert loss["unmatched_responses"] == 0
    expected = 4 if side == "server" else 3  # a client may write at any time
    assert loss["tls_connections"] >= expected
    words = f"{loss['tls_connections']} connections use TLS"
    assert words in "".join(recorder.errors)
    assert words in run("analyze", str(output)).stdout


def test_tls_alone_is_the_reason_given(certificate: Path, tmp_path: Path) -> None:
    with TlsMemcached(certificate) as server:
        with Recorder(tmp_path / "a.profile", "--port", str(server.port)) as recorder:
            gets(server, 1)
            recorder.stop()
    assert f"the traffic on port {server.port} is TLS" in "".join(recorder.errors)


@pytest.mark.parametrize("hook", HOOKS)
def test_udp_is_counted_and_named(hook: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    request = b"\0\1\0\0\0\1\0\0get a\r\n"
    answer = request[:8] + b"END\r\n"
    port = free_port()
    with Memcached("-U", str(port), port=port) as server:
        with Recorder(output, "--port", str(port), "--hook", hook) as recorder:
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE_SECONDS)
                for _ in range(6):
                    client.sendto(request, (LOOPBACK, port))
                    assert client.recv(100) == answer
            gets(server, 2)
            report = recorder.stop()
    loss = report["loss"]
    assert (loss["udp_datagrams"], loss["udp_bytes"]) == (12, 6 * len(request + answer))
    assert report["operations"] == 2
    assert_nothing_lost(report)
    assert "12 UDP datagrams" in "".join(recorder.errors)
    assert "12 UDP datagrams" in run("analyze", str(output)).stdout


# ---- Profiles of earlier versions, and damaged ones ----


def write_profile(path: Path, number: int, server: Optional[membench.ServerName]) -> None:
    """A profile with one connection of this number and one operation on it."""
    header = {"started_unix": 1.0, "ports": [11211], "source": "ebpf:any", "host": "h"}
    with membench.ProfileWriter(str(path)) as profile:
        profile.start(header, 0)
        profile.add_connection(0, number, 11211, membench.OPEN, server)
        row = (100, 50, number, b"get", membench.HIT, 0, 0, 1 << 16 | 1, 3, 0)
        profile.add(zip(row))
        profile.finish(membench.Ledger(), {"duration_seconds": 1.0})


def test_profiles_without_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.profile"
    with monkeypatch.context() as patch:
        patch.setattr(membench, "CONNECTION_COLUMNS", membench.CONNECTION_COLUMNS[:4])
        write_profile(path, 1, None)
    report = membench.analyze([str(path)])
    assert (report["connections"], report["profiles"][0]["side"]) == (1, "server")
    (server,) = report["servers"]
    assert (server["address"], server["operations"]) == ("", 1)
    assert "not known" in membench.render(report, by_server=True)


@pytest.mark.parametrize("number", [0xFFFFFFFF, 2])
def test_impossible_connection_numbers(number: int, tmp_path: Path) -> None:
    """They would make the reader keep gigabytes."""
    path = tmp_path / "a.profile"
    write_profile(path, number, membench.ServerName("*:11211", "memcached", 7))
    with pytest.raises(membench.ProfileError, match="is damaged"):
        membench.analyze([str(path)])


# ---- The counters ----


COUNTING = """
import os, socket, sys, time
sys.path.insert(0, sys.argv[1])
import membench
with membench.EbpfSource([int(sys.argv[2])]) as source:
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as connection:
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        assert membench.capget() == 0
        connection.sendall(b"get a\\r\\n")
        assert connection.recv(100) == b"END\\r\\n"
    deadline = time.monotonic() + 60  # the call may not be over that wrote it
    while source.counters()["send_bytes"] < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    print({name: count for name, count in source.counters().items() if count})
"""


def test_counters_need_no_rights_once_it_runs() -> None:
    with Memcached() as server:
        command = [sys.executable, "-c", COUNTING, str(ROOT), str(server.port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counted = eval(done.stdout)
    assert {name: counted.get(name) for name in ("recv_calls", "recv_bytes", "send_bytes")} == {
        "recv_calls": 1,
        "recv_bytes": 7,
        "send_bytes": 5,
    }
