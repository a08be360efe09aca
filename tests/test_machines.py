# SPDX-License-Identifier: GPL-2.0-only
"""Machines with limits and without /proc; servers at their limit; files that were put together."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest
from captures import Tcpdump
from live import (
    COMPILED,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    analyze,
    exchange,
    free_port,
    run,
)
from test_safety import assert_one_line

SHORT = ("--duration", "0.2", "--allow-empty")
NO_PROC = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$0" "$@"')
PID_NAMESPACE = ("unshare", "-pf", "--mount-proc")


def run_in(*command: str) -> subprocess.CompletedProcess[str]:
    """Run membench.py by way of another command."""
    return subprocess.run(
        [command[0], *command[1:]],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )


def converse(server: Memcached) -> None:
    """One set, two gets, over a connection of their own."""
    with server.connect() as client:
        exchange(client, b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        exchange(client, b"get a\r\n", b"END\r\n")
        exchange(client, b"get b\r\n", b"END\r\n")


# ---- Without /proc ----


def test_captures_need_no_proc(tmp_path: Path) -> None:
    capture, profile = tmp_path / "a.pcap", tmp_path / "a.profile"
    with Memcached() as server:
        with Tcpdump(capture, server.port):
            converse(server)
        arguments = ("record", str(capture), str(profile), "--port", str(server.port))
        done = run_in(*NO_PROC, sys.executable, str(COMPILED), *arguments)
    assert done.returncode == 0, done.stderr
    assert analyze(profile)["operations"] == 3


@pytest.mark.parametrize("source", ["ebpf:any", "ebpf:lo", "packet:any", "packet:lo"])
def test_live_recording_says_that_it_needs_proc(source: str, tmp_path: Path) -> None:
    profile = tmp_path / "a.profile"
    arguments = ("record", source, str(profile), "--port", str(free_port()), *SHORT)
    assert_one_line(
        run_in(*NO_PROC, sys.executable, str(COMPILED), *arguments), "/proc is not mounted"
    )
    assert not profile.exists()


def test_check_without_proc() -> None:
    done = run_in(*NO_PROC, sys.executable, str(COMPILED), "check")
    assert done.returncode == 1, done.stderr
    assert re.search("^NO +kernel +/proc is not mounted", done.stdout)
    assert "yes  capture files" in done.stdout


# ---- Limits ----


@pytest.mark.parametrize("source", ["ebpf:any", "packet:any"])
@pytest.mark.parametrize("kib", [80000, 110000])
def test_too_little_memory_is_named(source: str, kib: int, tmp_path: Path) -> None:
    if source == "packet:any":
        kib = 80000
    profile = tmp_path / "a.profile"
    arguments = ("record", source, str(profile), "--port", str(free_port()), *SHORT)
    limit = ("sh", "-c", f'ulimit -v {kib} && exec "$0" "$@"')
    done = run_in(*limit, sys.executable, str(COMPILED), *arguments)
    assert_one_line(done, rf"the limit of {kib:,} KiB of memory \(RLIMIT_AS\) is too low")
    assert not profile.exists()


def test_too_few_open_files_are_named(tmp_path: Path) -> None:
    profile = tmp_path / "a.profile"
    arguments = ("record", "ebpf:any", str(profile), "--port", str(free_port()), *SHORT)
    limit = ("sh", "-c", 'ulimit -n 12 && exec "$0" "$@"')
    done = run_in(*limit, sys.executable, str(COMPILED), *arguments)
    assert_one_line(done, r"the limit of 12 open files \(RLIMIT_NOFILE\) is too low")
    assert not profile.exists()


@pytest.mark.parametrize("limit", ["ulimit -S -n 12", "ulimit -n 64"])
def test_open_files_are_raised_to_the_hard_limit(limit: str, tmp_path: Path) -> None:
    profile = tmp_path / "a.profile"
    arguments = ("record", "ebpf:any", str(profile), "--port", str(free_port()), *SHORT)
    command = ("sh", "-c", f'{limit} && exec "$0" "$@"')
    done = run_in(*command, sys.executable, str(COMPILED), *arguments)
    assert done.returncode == 0, done.stderr
    assert analyze(profile)["operations"] == 0


def test_in_a_pid_namespace_it_is_said_what_cannot_be_seen(tmp_path: Path) -> None:
    command = (*PID_NAMESPACE, sys.executable, str(COMPILED), "record", "ebpf:any")
    port = str(free_port())
    done = run_in(*command, str(tmp_path / "a.profile"), "--duration", "0.2", "--port", port)
    assert done.returncode == 4, done.stderr
    assert "outside of this PID namespace, processes cannot be seen" in done.stderr
    done = run_in(*command, str(tmp_path / "b.profile"), "--duration", "0.2")
    assert "processes outside of this PID namespace cannot be seen" in done.stderr


def test_what_waits_outside_of_this_pid_namespace_is_lost(tmp_path: Path) -> None:
    """The kernel hands over what waits only in processes of the recorder's namespace."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = listener.getsockname()
        client = stack.enter_context(socket.create_connection(address))
        served = stack.enter_context(listener.accept()[0])
        options = ("--port", str(address[1]), "--hook", "sock", "--duration", "2")
        command = (*PID_NAMESPACE, sys.executable, str(COMPILED))
        with Recorder(tmp_path / "a.profile", *options, command=command) as recorder:
            for reply in (b"END\r\n", b"END\r\n", b"END\r\n", b""):
                client.sendall(b"get a\r\n")
                served.recv(16384)
                served.sendall(reply)
            report = recorder.finish()
    assert report["operations"] == 3 and report["loss"]["exchanges"]
    assert report["loss"]["bytes_lost"] == len(b"get a\r\n")


# ---- A server at its limit ----


def test_refused_connections_are_named(tmp_path: Path) -> None:
    profile = tmp_path / "a.profile"
    with Memcached("-c", "30", "-t", "1") as server:
        with Recorder(profile, "--port", str(server.port)) as recorder:
            exchange(server.control, b"get a\r\n", b"END\r\n")
            refused = 0
            with contextlib.ExitStack() as stack:
                for _ in range(40):
                    connection = stack.enter_context(server.connect())
                    connection.settimeout(0.2)
                    with contextlib.suppress(socket.timeout):
                        refused += connection.recv(100).startswith(b"ERROR Too many open")
            report = recorder.stop()
    loss = report["loss"]
    assert loss["refused_connections"] == refused > 1
    assert loss["unmatched_responses"] == 0
    assert f"{loss['refused_connections']} connections were refused" in "".join(recorder.errors)
    assert "connections were refused by memcached" in run("analyze", str(profile)).stdout


# ---- Outputs and files ----


def test_recording_to_dev_null() -> None:
    before = os.stat(os.devnull)
    with Memcached() as server:
        command = [sys.executable, str(COMPILED), "record", "ebpf:any", os.devnull]
        with subprocess.Popen(
            [*command, "--port", str(server.port), "--duration", "3"],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr
            lines: List[str] = [process.stderr.readline()]
            assert "recording" in lines[0]
            converse(server)
            lines += process.stderr
    after = os.stat(os.devnull)
    assert process.returncode == 0, lines
    assert any("3 operations" in line for line in lines)
    assert not any("next:" in line for line in lines)
    assert (after.st_mode, after.st_uid, after.st_ino) == (
        before.st_mode,
        before.st_uid,
        before.st_ino,
    )


def test_an_error_leaves_dev_null_in_place() -> None:
    done = run("record", "ebpf:no-such-interface", os.devnull, "--port", str(free_port()))
    assert done.returncode == 1
    assert Path(os.devnull).is_char_device()


def test_profiles_in_one_file_are_an_error(tmp_path: Path) -> None:
    """Also where the first one has no end, and where it is only counted."""
    whole, both, capture = (tmp_path / name for name in ("a.profile", "b.profile", "a.pcap"))
    with Memcached() as server:
        with Tcpdump(capture, server.port):
            converse(server)
        run("record", str(capture), str(whole), "--port", str(server.port))
    data = whole.read_bytes()
    end = data.rindex(b'{"duration_seconds"') - 12  # its block's header
    for first in (data, data[:end]):
        both.write_bytes(first + data)
        for arguments in (["analyze"], ["compare", str(whole)], ["replay", "--dry-run"]):
            done = run(*arguments, str(both))
            status = 3 if "compare" in arguments else 1
            assert_one_line(done, "holds several profiles, one after the other", status)


# ---- Captures with nothing in them ----


def test_a_capture_is_not_explained_with_this_machine(tmp_path: Path) -> None:
    """With the number of packets, and what they are instead."""
    capture, profile = Path(__file__).parent / "vxlan.pcap", tmp_path / "a.profile"
    with Memcached() as server:  # which a capture has nothing to do with
        done = run("record", str(capture), str(profile), "--port", "1")
        assert str(server.port) not in done.stderr
    assert done.returncode == 4, done.stderr
    wanted = "20 packets, none TCP on port 1; 20 are TCP of other connections. What looks like "
    assert wanted + "memcached was on port 57685. Try --port 57685" in done.stderr.replace(
        "\n", " "
    )


def test_a_capture_of_another_port_says_how_much_there_was(tmp_path: Path) -> None:
    capture, profile = tmp_path / "a.pcap", tmp_path / "a.profile"
    with Memcached() as server:
        with Tcpdump(capture, server.port):
            converse(server)
        done = run("record", str(capture), str(profile), "--port", "1")
        told = re.search(r"(\d+) packets, none TCP on port 1; (\d+) are TCP of other", done.stderr)
        assert told and told[1] == told[2] and int(told[1]) > 6, done.stderr
        run("record", str(capture), str(profile), "--port", str(server.port), "--force")
    # Behind the file's name, which may take more than a line.
    assert re.search(r"^  20\d\d-", run("analyze", str(profile)).stdout, re.MULTILINE)
