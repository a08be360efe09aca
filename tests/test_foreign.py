# SPDX-License-Identifier: GPL-2.0-only
"""Sockets that have a watched port number and are not the servers', or the clients', own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import List, Tuple

import pytest
from live import LOOPBACK, PATIENCE_SECONDS, Memcached, Recorder, assert_exact, exchange

HOOKS = ("sock", "sock-events", "syscalls")


class Web:
    """Another server, whose clients may get any port of their own. A context manager."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._clients: List[socket.socket] = []

    def __enter__(self) -> Web:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_SECONDS)
        self._listener.close()
        for client in self._clients:
            client.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        try:
            while client.recv(65536):
                client.sendall(self.ANSWER)
        except OSError:
            pass  # the test is over

    def visit(self, source: Tuple[str, int]) -> socket.socket:
        """A client from this address and port, that has got an answer; still connected."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(source)
        client.settimeout(PATIENCE_SECONDS)
        client.connect(self.address)
        self.ask(client)
        return client

    def ask(self, client: socket.socket) -> None:
        """One more request on a connection."""
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        received = 0
        while received < len(self.ANSWER):
            received += len(client.recv(65536))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_client_with_the_servers_port_number(hook: str, tmp_path: Path) -> None:
    """On another address of the machine: there before, and new."""
    with Memcached() as server, Web() as web, ExitStack() as stack:
        there_before = stack.enter_context(web.visit(("127.0.0.2", server.port)))
        old = stack.enter_context(server.connect())
        exchange(old, b"get a\r\n", b"END\r\n")
        output = tmp_path / "a.profile"
        before = server.stats()
        with Recorder(output, "--port", str(server.port), "--hook", hook) as recorder:
            server.renew_control()
            told_bytes = server.told_bytes
            for number in range(3, 13):
                web.ask(there_before)
                with web.visit((f"127.0.0.{number}", server.port)) as foreign:
                    web.ask(foreign)
                with server.connect() as connection:
                    exchange(connection, b"set a 0 0 5\r\nhello\r\n", b"STORED\r\n")
                    exchange(connection, b"get a\r\n", b"END\r\n")
                exchange(old, b"get b\r\n", b"END\r\n")
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, output)
    moved = 10 * len(b"set a 0 0 5\r\nhello\r\nSTORED\r\nget a\r\nget b\r\nEND\r\n")
    moved += 10 * len(b"VALUE a 0 5\r\nhello\r\nEND\r\n")
    moved += len(b"stats\r\n") + server.told_bytes - told_bytes
    assert report["loss"]["bytes_seen"] == moved


FOREIGN_CLIENT = """
import socket, sys
port = int(sys.argv[1])
server = socket.create_server(("127.0.0.1", 0))
for number in range(2, 12):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind((f"127.0.0.{number}", port))
    client.connect(server.getsockname())
    peer, _ = server.accept()
    client.sendall(b"GET")
    peer.recv(3)
    peer.sendall(b"x" * 5000)
    client.recv(5000)
    client.close()
    peer.close()
"""


@pytest.mark.parametrize("hook", HOOKS)
def test_a_client_in_another_network_namespace(hook: str, tmp_path: Path) -> None:
    """The servers' port number is nothing special there."""
    with Memcached() as server:
        output = tmp_path / "a.profile"
        before = server.stats()
        with Recorder(output, "--port", str(server.port), "--hook", hook) as recorder:
            server.renew_control()
            script = 'ip link set lo up && exec "$0" -c "$1" "$2"'
            subprocess.run(
                [
                    *("unshare", "-n", "sh", "-c", script),
                    sys.executable,
                    FOREIGN_CLIENT,
                    str(server.port),
                ],
                check=True,
                timeout=PATIENCE_SECONDS,
            )
            with server.connect() as connection:
                exchange(connection, b"get a\r\nget b\r\n", b"END\r\nEND\r\n")
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, output)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_server_whose_client_has_the_port_number(hook: str, tmp_path: Path) -> None:
    """With --side client the watched port is the peers'."""
    with Memcached() as server, Web() as web, ExitStack() as stack:
        there_before = stack.enter_context(web.visit(("127.0.0.2", server.port)))
        output = tmp_path / "a.profile"
        options = ("--side", "client", "--port", str(server.port), "--hook", hook)
        with Recorder(output, *options) as recorder:
            web.ask(there_before)
            stack.enter_context(web.visit(("127.0.0.3", server.port)))
            with server.connect() as connection:
                exchange(connection, b"get a\r\n", b"END\r\n")
                exchange(connection, b"get b\r\n", b"END\r\n")
            report = recorder.stop()
    loss = report["loss"]
    assert (report["operations"], report["connections"]) == (2, 1)
    assert loss["bytes_seen"] == len(b"get a\r\nEND\r\n" * 2)
    assert (loss["bytes_lost"], loss["coverage"]) == (0, 1.0)
