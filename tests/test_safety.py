# SPDX-License-Identifier: GPL-2.0-only
"""Errors, signals, sudden death, and what is left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List, Sequence

import pytest
from live import (
    COMPILED,
    LOOPBACK,
    MODULE,
    PATIENCE_SECONDS,
    SYSTEM_PYTHON,
    Memcached,
    Recorder,
    analyze,
    as_user,
    compiled,
    counters,
    exchange,
    free_port,
    kernel_ids,
    loaded_ids,
    run,
    wait_until,
)
from test_record import HOOKS, run_memcaslap


def get_often(server: Memcached, times: int) -> None:
    """So many gets, one after the other."""
    with server.connect() as connection:
        for _ in range(times):
            exchange(connection, b"get a\r\n", b"END\r\n")


# ---- Root runs only what it was asked to run ----


def test_nothing_beside_the_script_is_imported(tmp_path: Path) -> None:
    """Whoever may write there would have their code run as root."""
    (tmp_path / "membench.py").write_bytes(MODULE.read_bytes())
    for name in sys.stdlib_module_names if sys.version_info >= (3, 10) else ("platform", "json"):
        if name not in sys.builtin_module_names:
            (tmp_path / f"{name}.py").write_text("print('a stranger ran', __name__, flush=True)")
    for command in ("--help", "check"):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "membench.py"), command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "a stranger ran" not in done.stdout


def test_it_can_be_imported() -> None:
    """As a module it leaves the search path alone."""
    code = "import sys; before = sys.path[:]; import membench; assert sys.path == before"
    environment = {**os.environ, "PYTHONPATH": str(MODULE.parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


# ---- Detaching ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_recording_normally(number: int, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Memcached() as server, Recorder(output, "--port", str(server.port)) as recorder:
        get_often(server, 100)
        report = recorder.stop(number)
    assert report["operations"] == 100
    assert report["profiles"][0]["complete"]


def test_signals_that_come_twice_leave_the_summary(tmp_path: Path) -> None:
    with Memcached() as server:
        for number in range(5):
            output = tmp_path / f"{number}.profile"
            with Recorder(output, "--port", str(server.port)) as recorder:
                get_often(server, 10)
                recorder.process.send_signal(signal.SIGINT)
                for _ in range(number):
                    time.sleep(0.005)
                    recorder.process.send_signal(signal.SIGINT)
                assert recorder.finish()["operations"] == 10
            assert "10 operations in" in recorder.errors[-1]
            assert "coverage 100%" in recorder.errors[-1]


def test_the_second_signal_ends_the_wait_for_a_reader() -> None:
    """Of a pipe that is full; what was lost is told all the same."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(4096 - 100))
    command = [sys.executable, str(COMPILED), "record", "ebpf:any", "-"]
    with (
        Memcached() as server,
        subprocess.Popen(
            [*command, "--port", str(server.port)], stdout=writer, stderr=subprocess.PIPE, text=True
        ) as recorder,
    ):
        assert recorder.stderr
        wait_until("it to wait", lambda: "pipe" in Path(f"/proc/{recorder.pid}/wchan").read_text())
        for _ in range(2):
            assert recorder.poll() is None
            recorder.send_signal(signal.SIGINT)
            time.sleep(0.2)
        _, errors = recorder.communicate(timeout=PATIENCE_SECONDS)
    os.close(reader)
    os.close(writer)
    assert recorder.returncode == 130
    assert "coverage" in errors and errors.endswith("membench: interrupted\n")


IMPORT = "import zlib\n"


def test_ctrl_c_while_it_starts_shows_no_traceback(tmp_path: Path) -> None:
    text, copy = MODULE.read_text(), tmp_path / "membench.py"
    assert IMPORT in text
    copy.write_text(text.replace(IMPORT, IMPORT + "os.kill(os.getpid(), signal.SIGINT)\n"))
    done = subprocess.run(
        [sys.executable, str(copy), "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("hook", HOOKS)
def test_nothing_stays_attached(hook: str, tmp_path: Path) -> None:
    with Memcached() as server:
        for number in (signal.SIGINT, signal.SIGKILL):
            output = tmp_path / f"{number}.profile"
            options = ("--port", str(server.port), "--hook", hook)
            with Recorder(output, *options) as recorder:
                held = kernel_ids(recorder.process.pid)
                assert {kind for kind, _ in held} == {"prog", "map", "link"}
                assert held <= loaded_ids(), "the test cannot see the programs"
                get_often(server, 10)
                recorder.process.send_signal(number)
                recorder.process.wait(PATIENCE_SECONDS)
            wait_until("the kernel to let go", lambda held=held: not held & loaded_ids())


def test_two_recorders_see_the_same_and_not_each_other(tmp_path: Path) -> None:
    with Memcached() as server:
        port = ("--port", str(server.port))
        with Recorder(tmp_path / "a", *port) as one, Recorder(tmp_path / "b", *port) as two:
            run_memcaslap(server)
            first, second = one.stop(), two.stop()
    assert first["operations"] == second["operations"] > 0
    assert first["commands"].keys() == second["commands"].keys()


# ---- Sudden death ----


def test_after_kill_9_all_whole_blocks_are_read_back(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Memcached() as server, Recorder(output, "--port", str(server.port)) as recorder:
        get_often(server, 500)
        wait_until("a block", lambda: counters(output)["get_misses"] == 500)
        size = output.stat().st_size
        get_often(server, 200)
        recorder.process.kill()
        recorder.process.wait(PATIENCE_SECONDS)
    assert output.stat().st_size >= size
    report = analyze(output)
    assert not report["profiles"][0]["complete"]
    assert report["operations"] >= 500
    done = run("analyze", str(output))
    assert done.returncode == 0
    assert "is truncated" in done.stderr
    assert "TRUNCATED" in done.stdout


def test_full_disk(tmp_path: Path) -> None:
    """One clear line, status 1, and a file that can be read."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], check=True)
    try:
        output = folder / "a.profile"
        with Memcached() as server:
            with Recorder(output, "--port", str(server.port)) as recorder:
                # On a busy machine, the first block of a flood could be larger than the disk.
                get_often(server, 100)
                wait_until("a block", lambda: counters(output)["get_misses"] == 100)
                deadline = time.monotonic() + 2 * PATIENCE_SECONDS
                while recorder.process.poll() is None:
                    assert time.monotonic() < deadline
                    run_memcaslap(server, "-x", "20000")
                assert recorder.process.stderr
                errors = recorder.process.stderr.read()
        assert recorder.process.returncode == 1
        assert "No space left on device" in errors
        assert "Traceback" not in errors
        report = analyze(output)
        assert report["operations"] >= 100
        assert not report["profiles"][0]["complete"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_reader_of_the_pipe_goes_away(tmp_path: Path) -> None:
    with Memcached() as server:
        command = [sys.executable, str(COMPILED), "record", "ebpf:any", "-"]
        recorder = subprocess.Popen(
            [*command, "--port", str(server.port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert recorder.stdout and recorder.stderr
        recorder.stdout.read(20)
        recorder.stdout.close()
        get_often(server, 10)
        assert recorder.wait(PATIENCE_SECONDS) == 1
        errors = recorder.stderr.read().decode()
        recorder.stderr.close()
    assert "membench: error:" in errors and "the reader of stdout has exited" in errors
    assert "Traceback" not in errors


def test_results_do_not_replace_a_device(tmp_path: Path) -> None:
    """`--stats-json /dev/null` as root: the whole machine needs what is there."""
    device, profile = tmp_path / "null", tmp_path / "a.profile"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with Memcached() as server:
        with Recorder(profile, "--port", str(server.port)) as recorder:
            get_often(server, 3)
            recorder.stop()
        target = ("--target", f"{LOOPBACK}:{server.port}", "--yes", "--speed", "max")
        done = run("replay", str(profile), *target, "--stats-json", str(device))
    assert done.returncode == 0, done.stderr
    assert device.is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.profile", "null"]


# ---- Errors ----


def assert_one_line(done: subprocess.CompletedProcess[str], words: str, status: int = 1) -> None:
    """The error is one line, then a hint; no traceback, nothing on stdout."""
    assert done.returncode == status, done.stderr
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, done.stderr
    assert re.search(words, lines[0]), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if status:
        assert len(done.stderr.splitlines()) == 2, done.stderr


def test_not_root(open_folder: Path) -> None:
    output = open_folder / "a.profile"
    done = run_as_nobody("record", "ebpf:any", str(output), cwd=open_folder)
    assert_one_line(done, "needs root")
    assert "sudo" in done.stderr
    assert not output.exists()


def run_as_nobody(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """membench.py without privileges, from a copy that nobody may read."""
    copy = cwd / "membench.py"
    copy.write_bytes(compiled(SYSTEM_PYTHON).read_bytes())
    copy.chmod(0o644)
    return subprocess.run(
        [SYSTEM_PYTHON, str(copy), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        **as_user("nobody"),
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["ebpf:nosuch0", "OUTPUT"], "no network interface nosuch0", 1),
        (["ebpf:any", "OUTPUT", "--bpf-object", "/no/such/file"], "cannot read /no/such/file", 1),
        (["ebpf:any", "OUTPUT", "--bpf-object", "/etc/passwd"], "cannot load", 1),
        (["ebpf:any", "/no/such/dir/a.profile"], "No such file or directory", 1),
        (["nosuch:any", "OUTPUT"], "unknown source", 2),
        (["ebpf:any", "OUTPUT", "--port", "0"], "not a port", 2),
        (["ebpf:any", "OUTPUT", "--port", "65536"], "not a port", 2),
        (["ebpf:any", "OUTPUT", "--port", "x"], "not a port", 2),
        (["ebpf:any", "OUTPUT", "--duration", "-1"], "not a time above 0", 2),
        (["ebpf:any", "OUTPUT", "--duration", "nan"], "not a time above 0", 2),
        (["ebpf:any", "OUTPUT", "--ring-size", "3"], "power of two", 2),
        (["ebpf:any", "OUTPUT", "--salt", "xyz"], "hexadecimal", 2),
        (["ebpf:any", "OUTPUT", "--hook", "kprobe"], "invalid choice", 2),
    ],
)
def test_bad_arguments(arguments: List[str], words: str, status: int, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    filled = [str(output) if argument == "OUTPUT" else argument for argument in arguments]
    assert_one_line(run("record", *filled), words, status)
    assert not output.exists()


IDLE = ("--duration", "0.1", "--port", "1")


def test_existing_output_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    output.write_bytes(b"precious")
    done = run("record", "ebpf:any", str(output))
    assert_one_line(done, "exists")
    assert "--force" in done.stderr
    assert output.read_bytes() == b"precious"
    done = run("record", "ebpf:any", str(output), *IDLE, "--force", "--allow-empty")
    assert done.returncode == 0
    assert analyze(output)["operations"] == 0
    assert output.stat().st_mode & 0o777 == 0o600


WITHOUT = """
import sys, os, platform, ctypes
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import membench
{change}
sys.exit(membench.main(["record", "ebpf:any", sys.argv[2], "--port", "1", "--duration", "0.1",
                        *sys.argv[3:]]))
"""


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (
            "real = ctypes.CDLL\n"
            "def load(name, *a, **k):\n"
            "    if name and 'bpf' in name: raise OSError\n"
            "    return real(name, *a, **k)\n"
            "ctypes.CDLL = load",
            [],
            "libbpf is not installed",
        ),
        # The C library in its place has none of its functions.
        (
            "real = ctypes.CDLL\nctypes.CDLL = lambda name, *a, **k: real(None, *a, **k)",
            [],
            "libbpf is too old",
        ),
        ("platform.release = lambda: '5.4.0-9-amd64'", [], "needs Linux 5.8"),
        ("platform.release = lambda: '6.1.0'", ["--hook", "sock"], "sock needs Linux 6.3"),
        (
            "real = os.path.exists\nos.path.exists = lambda p: 'btf' not in p and real(p)",
            [],
            "no BTF",
        ),
        ("membench.TRACEFS = ('/no/such',)", ["--hook", "syscalls"], "needs tracefs"),
    ],
)
def test_machines_that_cannot_record(
    change: str, options: List[str], words: str, tmp_path: Path
) -> None:
    output = tmp_path / "a.profile"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(change=change), str(MODULE), str(output), *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert_one_line(done, words)
    assert not output.exists()


RANDOM = random.Random(1).randbytes(5000)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"memb", "is cut before its first block"),
        (b"#!/bin/sh\necho hello\n", "is not a membench profile"),
        pytest.param(RANDOM, "is not a membench profile", id="random"),
        (b"membench\r\n\x1a\n\x09\0\0\0", "has profile format 9"),
        (b"membench\r\n\x1a\n\x01\0\0\0", "is cut before its first block"),
        pytest.param(
            b"membench\r\n\x1a\n\x01\0\0\0" + RANDOM[:500],
            "is cut before its first block",
            id="a header and random",
        ),
    ],
)
def test_files_that_are_no_profiles(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    path.write_bytes(content)
    assert_one_line(run("analyze", str(path)), words)


def test_profiles_that_are_not_there(tmp_path: Path) -> None:
    assert_one_line(run("analyze", str(tmp_path / "none")), "No such file")
    assert_one_line(run("analyze", str(tmp_path)), "Is a directory")
    assert_one_line(run("analyze", "bad\x1b[31mname"), r"bad\?\[31mname")


# ---- What it says ----


def test_hints_when_nothing_comes(tmp_path: Path) -> None:
    with Memcached() as server:
        port = free_port()
        with Recorder(tmp_path / "a", "--port", str(port)) as recorder:
            assert recorder.process.stderr
            for _ in range(2):  # the first says that nothing listens there now
                recorder.errors.append(recorder.process.stderr.readline())
            recorder.stop()
    said = "".join(recorder.errors)
    hints = re.findall(r"memcached listens on ports? ([\d, ]+) here, not on", said)
    assert len(hints) == 2  # after a while, and at the end
    assert all(str(server.port) in hint for hint in hints)


@pytest.mark.parametrize("source", ["ebpf:any", "packet:any"])
def test_it_is_told_at_once_that_nothing_listens(source: str, tmp_path: Path) -> None:
    with Memcached() as server:
        port = free_port()
        ports = ("--port", str(server.port), "--port", str(port))
        with Recorder(tmp_path / "a", *ports, source=source) as recorder:
            assert recorder.process.stderr
            line = recorder.process.stderr.readline()  # while it records
            assert line == f"membench: nothing listens on port {port} yet: waiting\n"
            recorder.stop()


@contextlib.contextmanager
def listening_elsewhere(port: int) -> Iterator[None]:
    """Something that is not called memcached listens in a network namespace of its own."""
    code = f"import socket; s = socket.create_server(('', {port})); print(flush=True); input()"
    process = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout and process.stdout.readline() == b"\n"
        yield
        process.kill()


@pytest.mark.parametrize("options", [(), ("--side", "client")])
def test_nothing_is_told_of_ports_that_are_served(options: Sequence[str], tmp_path: Path) -> None:
    port = free_port()
    where = contextlib.nullcontext() if options else listening_elsewhere(port)
    with where, Recorder(tmp_path / "a", "--port", str(port), *options) as recorder:
        recorder.stop()
    assert "waiting" not in "".join(recorder.errors)


def test_nothing_is_told_of_this_machine_with_a_capture(tmp_path: Path) -> None:
    capture = tmp_path / "a.pcap"
    capture.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    done = run("record", str(capture), str(tmp_path / "a.profile"), "--port", str(free_port()))
    assert done.returncode == 4, done.stderr
    assert "waiting" not in done.stderr


def test_hint_when_it_is_not_memcached(tmp_path: Path) -> None:
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    with listener, Recorder(tmp_path / "a", "--port", str(port)) as recorder:
        with socket.create_connection((LOOPBACK, port)) as client:
            accepted, _ = listener.accept()
            client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))
            with accepted:
                assert accepted.recv(1000)
                report = recorder.stop()
    assert "TLS" in "".join(recorder.errors)
    assert report["operations"] == 0


def test_check_says_what_works() -> None:
    with Memcached() as server:
        done = run("check")
    assert done.returncode == 0, done.stdout
    for line in ("kernel", "libbpf", "hook sock", "hook syscalls"):
        assert re.search(rf"^yes +{line} ", done.stdout, re.M), done.stdout
    *rows, _ = done.stdout.splitlines()
    assert all(re.match(r".{21} \S", row) for row in rows), done.stdout
    assert f"port {server.port}" in done.stdout


def test_check_as_nobody(open_folder: Path) -> None:
    done = run_as_nobody("check", cwd=open_folder)
    assert done.returncode == 1
    assert "NO   kernel" in done.stdout
    assert "CAP_BPF" in done.stdout


COMMANDS = ("record", "analyze", "compare", "export", "replay", "check")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    before, _, examples = done.stdout.partition("examples:\n")
    assert "Print what works" in before or command != "check"
    shown = {name for name in COMMANDS if f"membench.py {name}" in examples}
    assert shown == ({command} if command else set(COMMANDS))


@pytest.mark.parametrize(
    "arguments",
    [
        ("record", "ebpf:any", "a.profile", "--unknown"),
        ("record", "packet:any", "--pid", "1"),
        ("analyze", "a.profile", "--unknown"),
        ("compare", "a.profile", "b.profile", "c.profile"),
        ("export", "a.profile"),
        ("check", "a.profile"),
    ],
)
def test_wrong_usage_is_one_line(arguments: Sequence[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert_one_line(done, ".", 2)
    assert done.stderr.endswith(f"\nmembench: try membench.py {arguments[0]} --help\n")
