# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong around a recorder, and what must hold all the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest
from live import (
    COMPILED,
    LOOPBACK,
    MODULE,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    analyze,
    assert_exact,
    assert_nothing_lost,
    counters,
    exchange,
    free_network,
    free_port,
    freeze,
    kernel_ids,
    loaded_ids,
    membench,
    repeats,
    run,
    wait_for_servers,
    wait_until,
)
from watchdog import interface_name

HOOKS = ("sock", "syscalls")


@contextlib.contextmanager
def load(server: Memcached) -> Iterator[None]:
    """Gets and sets over one connection, some hundred a second, until the block is left."""
    over = threading.Event()

    def work() -> None:
        with server.connect() as connection:
            while not over.is_set():
                exchange(connection, b"set a 0 0 100\r\n%s\r\n" % (b"x" * 100), b"STORED\r\n")
                exchange(connection, b"get a\r\nget b\r\n", b"END\r\nEND\r\n")
                time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# ---- Sudden death ----


def whole_blocks(data: bytes) -> List[Tuple[bytes, bytes]]:
    """The blocks of a profile, as its format is documented: (kind, payload)."""
    blocks = []
    at = 16
    while len(data) - at >= 12:
        kind, length = data[at : at + 1], int.from_bytes(data[at + 4 : at + 8], "little")
        payload = data[at + 12 : at + 12 + length]
        checksum = int.from_bytes(data[at + 8 : at + 12], "little")
        if len(payload) < length or zlib.crc32(kind + payload) != checksum:
            break
        blocks.append((kind, payload))
        at += 12 + length
    return blocks


def assert_readable(path: Path) -> int:
    """A file of a recorder that died is read up to its last whole block. Its operations."""
    blocks = whole_blocks(path.read_bytes())
    rows = sum(int.from_bytes(payload[:4], "little") for kind, payload in blocks if kind == b"O")
    if not blocks:
        done = run("analyze", str(path))
        assert done.returncode == 1
        assert re.search("is empty|is cut before its first block", done.stderr)
        return 0
    with membench.ProfileReader(str(path)) as reader:
        assert sum(len(block.time) for block in reader.blocks()) == rows
        assert not reader.complete
    return rows


def start(output: Path, *options: str) -> subprocess.Popen[bytes]:
    """A recorder that nobody waits for."""
    return subprocess.Popen(
        [sys.executable, str(COMPILED), "record", "ebpf:any", str(output), *options],
        stderr=subprocess.DEVNULL,
    )


def operations_in(output: Path) -> int:
    """Those in the whole blocks that are there by now."""
    try:
        blocks = whole_blocks(output.read_bytes())
    except FileNotFoundError:
        return 0
    return sum(int.from_bytes(payload[:4], "little") for kind, payload in blocks if kind == b"O")


def seconds_to_the_first_block(folder: Path, count: int, *options: str) -> float:
    """How long it takes here until each of so many recorders at once has written something."""
    begun = time.monotonic()
    outputs = [folder / f"first-{number}.profile" for number in range(count)]
    recorders = [start(output, *options) for output in outputs]
    try:
        wait_until("a block of each", lambda: all(operations_in(output) for output in outputs))
        return time.monotonic() - begun
    finally:
        for recorder in recorders:
            recorder.kill()
            recorder.wait(PATIENCE_SECONDS)


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """While it starts, records and writes: files can be read, and nothing stays attached."""
    chance = random.Random(9)
    count = repeats(100)
    left: Set[Tuple[str, int]] = set()
    rows: List[int] = []
    attached = 0
    with Memcached() as server, load(server):
        span = 1.5 * seconds_to_the_first_block(tmp_path, 10, "--port", str(server.port))
        moments = [chance.uniform(0, span) for _ in range(count)]
        for first in range(0, count, 10):
            begun = time.monotonic()
            outputs = [tmp_path / f"{number}.profile" for number in range(first, first + 10)]
            options = [("--port", str(server.port), "--hook", hook) for hook in HOOKS * 5]
            recorders = [start(output, *more) for output, more in zip(outputs, options)]
            for moment, recorder in sorted(
                zip(moments[first : first + 10], recorders), key=lambda pair: pair[0]
            ):
                time.sleep(max(0.0, begun + moment - time.monotonic()))
                freeze(recorder.pid)
                held = kernel_ids(recorder.pid)
                attached += any(kind == "link" for kind, _ in held)
                left |= held
                recorder.kill()
                assert recorder.wait(PATIENCE_SECONDS) == -signal.SIGKILL
            rows += [assert_readable(output) for output in outputs if output.exists()]
        wait_until("the kernel to let go", lambda: not left & loaded_ids())
    assert attached > count / 10 and sum(map(bool, rows)) > 1, "killed too early to prove anything"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_at_random_moments(number: int, tmp_path: Path) -> None:
    """A recorder that is asked to end leaves a whole profile, or none if it had none yet."""
    chance = random.Random(number)
    left: Set[Tuple[str, int]] = set()
    statuses: List[int] = []
    with Memcached() as server, load(server):
        port = ("--port", str(server.port))
        span = seconds_to_the_first_block(tmp_path, 1, *port)
        for turn in range(repeats(40, 8)):
            output = tmp_path / f"{turn}.profile"
            recorder = start(output, *port)
            if turn == 0:
                pass  # as early as can be
            elif turn == 1:
                wait_until("a block", lambda output=output: operations_in(output))
            else:
                time.sleep(chance.uniform(0, span))
            left |= kernel_ids(recorder.pid)
            recorder.send_signal(number)
            statuses.append(recorder.wait(PATIENCE_SECONDS))
            assert statuses[-1] in (0, 4, -number)
            if statuses[-1] == 0:
                report = analyze(output)
                assert report["profiles"][0]["complete"] and report["operations"]
            else:
                assert not output.exists() or not output.stat().st_size
        wait_until("the kernel to let go", lambda: not left & loaded_ids())
    assert statuses[:2] == [-number, 0]
    assert any(kind == "link" for kind, _ in left)


def test_terminal_goes_away(tmp_path: Path) -> None:
    """An ssh connection that breaks ends the recording as Ctrl-C does."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        pid, master = pty.fork()
        if not pid:
            command = [sys.executable, str(COMPILED), "record", "ebpf:any", str(output)]
            os.execv(sys.executable, [*command, "--port", str(server.port)])
        said = b""
        while b"Ctrl-C" not in said:
            said += os.read(master, 1000)
        with server.connect() as connection:
            for _ in range(100):
                exchange(connection, b"get a\r\n", b"END\r\n")
        os.close(master)
        _, status = os.waitpid(pid, 0)
    assert status == 0
    report = analyze(output)
    assert report["profiles"][0]["complete"]
    assert report["operations"] == 100


def test_terminal_goes_away_unnoticed(tmp_path: Path) -> None:
    """One that does not control the recorder: what cannot be said does not end the recording."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        master, slave = pty.openpty()
        command = [sys.executable, str(COMPILED), "record", "ebpf:any", str(output)]
        recorder = subprocess.Popen([*command, "--port", str(server.port)], stderr=slave)
        os.close(slave)
        said = b""
        while b"Ctrl-C" not in said:
            said += os.read(master, 1000)
        os.close(master)
        with server.connect() as connection:
            for _ in range(100):
                exchange(connection, b"get a\r\n", b"END\r\n")
        wait_until("a block", lambda: counters(output)["get_misses"] == 100)
        assert recorder.poll() is None
        recorder.terminate()
        assert recorder.wait(PATIENCE_SECONDS) == 0
    assert analyze(output)["profiles"][0]["complete"]


# ---- Places that cannot be written ----


def test_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], check=True)
    try:
        done = run("record", "ebpf:any", str(folder / "a.profile"))
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "Read-only file system" in lines[0]


# ---- Time ----


@pytest.mark.parametrize(("source", "seconds"), [("ebpf:any", 10), ("packet:lo", 10)])
def test_suspended_for_10_seconds(source: str, seconds: float, tmp_path: Path) -> None:
    """What happens meanwhile waits on the ring; the duration is that of the clock."""
    output = tmp_path / "a.profile"

    def work(server: Memcached, connection: socket.socket) -> None:
        for client in (connection, server.connect()):  # one that stays, and one that goes
            exchange(client, b"set a 0 0 1\r\nx\r\nget a b\r\n", b"END\r\n")
        client.close()
        time.sleep(0.01)

    with Memcached() as server:
        before = server.stats()
        port = ("--port", str(server.port))
        with Recorder(output, *port, source=source) as recorder, server.connect() as stays:
            server.renew_control()
            work(server, stays)
            freeze(recorder.process.pid)
            begun, turns = time.monotonic(), 0
            while time.monotonic() < begun + seconds:
                work(server, stays)
                turns += 1
            suspended = time.monotonic() - begun
            recorder.process.send_signal(signal.SIGCONT)
            work(server, stays)
            after = server.stats()
            report = recorder.stop()
    assert turns > 10
    assert_exact(before, after, report, output)
    assert report["commands"]["get"]["requests"] == 2 * (turns + 2)
    assert report["profiles"][0]["duration_seconds"] > suspended > seconds
    times = operation_times(output)
    # Each at the moment when it was, not when it was read.
    assert sorted(times) == times and times[-1] - times[0] > suspended
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert max(gaps) < suspended / 2


BACKWARDS = """
import os, sys, time
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import membench
# Each time it is asked, the calendar's clock is an hour earlier.
offset_s = 0
real, real_ns = time.time, time.time_ns
def earlier():
    global offset_s
    offset_s -= 3600
    return offset_s
time.time = lambda: real() + earlier()
time.time_ns = lambda: real_ns() + earlier() * 10**9
sys.exit(membench.main(sys.argv[2:]))
"""


def test_clock_set_back(tmp_path: Path) -> None:
    """Times are those of a clock that only runs on; the calendar's is read once."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        before = server.stats()
        command = (sys.executable, "-c", BACKWARDS, str(MODULE))
        with Recorder(output, "--port", str(server.port), command=command) as recorder:
            begun = time.monotonic()
            with server.connect() as connection:
                for _ in range(100):
                    exchange(connection, b"get a\r\n", b"END\r\n")
                    time.sleep(0.01)
            took = time.monotonic() - begun
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, output)
    assert took <= report["profiles"][0]["duration_seconds"] < took + 1800  # half of a step
    assert report["commands"]["get"]["latency_us"]["max"] < 1e6 * took
    times = operation_times(output)
    assert sorted(times) == times and times[-1] - times[0] > 0.9


HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize("step_ns", [-HOUR_NS, HOUR_NS, -200_000_000, 0])
def test_packets_after_the_clock_was_set(step_ns: int) -> None:
    """Their times are the calendar's: those of before and of after must stay in order."""
    boot_ns = 1_700_000_000 * 10**9  # what the calendar said when the other clock began
    stepped_ns = 50_000_000
    differences = [-boot_ns] + [-boot_ns - step_ns] * (step_ns != 0)
    for late_ns in (0, 1_000_000, 30_000_000):  # the reader comes so much later
        for at_ns in range(0, 2 * stepped_ns, 5_000_000):
            stamp_ns = boot_ns + at_ns + (step_ns if at_ns >= stepped_ns else 0)
            known = differences if at_ns + late_ns >= stepped_ns else differences[:1]
            chosen = membench.choose_difference(known, stamp_ns, at_ns + late_ns)
            assert stamp_ns + chosen == at_ns


def test_packets_of_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder follows the calendar's clock, and does not take a step for a delay."""
    real_ns = time.time_ns
    with Memcached() as server, server.connect() as connection:
        with monkeypatch.context() as context:
            context.setattr(time, "time_ns", lambda: real_ns() + HOUR_NS)
            source = membench.PacketSource([server.port], "lo")  # after which it is set back
        with source:
            begun_ns = time.monotonic_ns()
            exchange(connection, b"get a\r\n", b"END\r\n")
            segments: List[Any] = []
            wait_until("packets", lambda: segments.extend(source.read(50)) or len(segments) >= 2)
            ended_ns = time.monotonic_ns()
    assert all(begun_ns <= segment[1] <= ended_ns for segment in segments)


def operation_times(profile: Path) -> List[float]:
    """When each operation was, in seconds since the start."""
    with membench.ProfileReader(str(profile)) as reader:
        ticks = [time for block in reader.blocks() for time in block.time]
    return [time / membench.TICKS_PER_SECOND for time in ticks]


# ---- The server, the network, others ----


def test_memcached_is_restarted(tmp_path: Path) -> None:
    """The same port, other processes: all of them are recorded."""
    output = tmp_path / "a.profile"
    port = free_port()
    expected = 0
    with Recorder(output, "--port", str(port)) as recorder:
        for _ in range(3):
            with Memcached(port=port) as server, server.connect() as connection:
                for _ in range(100):
                    exchange(connection, b"get a\r\n", b"END\r\n")
                expected += server.stats()["cmd_get"]
        report = recorder.stop()
    assert counters(output)["cmd_get"] == expected == 300
    assert report["connections_opened"] == 6  # Memcached keeps one for its stats
    assert_nothing_lost(report)


def test_killed_server_answers_no_more(tmp_path: Path) -> None:
    """Requests that a server had read and never answered are recorded as just that."""
    output = tmp_path / "a.profile"
    with Memcached() as server, Recorder(output, "--port", str(server.port)) as recorder:
        with server.connect() as connection:
            said = b"get a\r\n", b"set a 0 0 10\r\n12345"  # the rest never comes
            exchange(connection, said[0], b"END\r\n")
            connection.sendall(said[1])
            server.wait_until_read(len(said[0] + said[1]))
            server.process.kill()
            server.process.wait(PATIENCE_SECONDS)
            assert connection.recv(10) == b""
        report = recorder.stop()
    assert report["commands"]["get"]["operations"] == 1
    assert "set" not in report["commands"]


NAMESPACE = "mbfaults"


@pytest.fixture
def cable() -> Iterator[str]:
    """A network namespace at the end of a cable; its interface there is called mbin."""
    outside, network = interface_name("f"), free_network()
    setup = f"""
        ip netns add {NAMESPACE}
        ip link add {outside} type veth peer mbin netns {NAMESPACE}
        ip addr add {network}.1/24 dev {outside}
        ip link set {outside} up
        ip -n {NAMESPACE} addr add {network}.2/24 dev mbin
        ip -n {NAMESPACE} link set mbin up
        ip -n {NAMESPACE} link set lo up
    """
    try:
        for line in setup.strip().splitlines():
            subprocess.run(line.split(), check=True)
        yield f"{network}.2"
    finally:  # the cable first: a namespace takes its time
        subprocess.run(["ip", "link", "delete", outside], check=False)
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False)


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("source", ["packet:mbin", "packet:any", "ebpf:any"])
def test_interface_down_and_up(source: str, cable: str, tmp_path: Path) -> None:
    """Recording goes on when the network does, and does not spin in between."""
    output = tmp_path / "a.profile"
    inside = ("ip", "netns", "exec", NAMESPACE)
    port = free_port()
    server = subprocess.Popen(
        [*inside, "memcached", "-u", "nobody", "-U", "0", "-l", cable, "-p", str(port)]
    )

    def connects() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((cable, port), 1):
            return True
        return False

    def get(times: int) -> None:
        with socket.create_connection((cable, port), PATIENCE_SECONDS) as connection:
            for _ in range(times):
                exchange(connection, b"get a\r\n", b"END\r\n")

    try:
        wait_until("memcached", connects)
        command = (*inside, sys.executable, str(COMPILED))
        with Recorder(output, "--port", str(port), source=source, command=command) as recorder:
            get(50)
            subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "mbin", "down"], check=True)
            used = cpu_seconds(recorder.process.pid)
            time.sleep(2)
            assert cpu_seconds(recorder.process.pid) - used < 1  # who spins takes all there is
            subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "mbin", "up"], check=True)
            wait_until("the link", connects)
            get(70)
            report = recorder.stop()
    finally:
        server.kill()
        server.wait(PATIENCE_SECONDS)
    assert report["commands"]["get"]["outcomes"] == {"miss": 120}
    assert report["loss"]["bytes_lost"] == 0


@pytest.mark.parametrize("source", ["ebpf:any", "packet:lo"])
def test_its_own_traffic_is_not_recorded(source: str, tmp_path: Path) -> None:
    """The profile goes away over the loopback that is watched."""
    received = bytearray()
    with Memcached() as server, socket.create_server((LOOPBACK, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sink, _ = listener.accept()
        command = [sys.executable, str(COMPILED), "record", source, "-"]
        recorder = subprocess.Popen(
            [*command, "--port", str(server.port)], stdout=client, stderr=subprocess.PIPE
        )
        client.close()
        assert recorder.stderr and b"recording" in recorder.stderr.readline()
        with server.connect() as connection:
            for _ in range(500):
                exchange(connection, b"get a\r\n", b"END\r\n")
        sink.settimeout(PATIENCE_SECONDS)
        while len(received) < 1500:  # more than a header: the operations
            chunk = sink.recv(1 << 16)
            assert chunk
            received += chunk
        wait_for_servers()
        recorder.terminate()
        while chunk := sink.recv(1 << 16):
            received += chunk
        assert recorder.wait(PATIENCE_SECONDS) == 0
        recorder.stderr.close()
        sink.close()
    path = tmp_path / "a.profile"
    path.write_bytes(received)
    report = analyze(path)
    assert report["operations"] == 500
    assert report["connections"] == 1
    assert_nothing_lost(report)


def test_a_profile_sent_to_a_watched_port_does_not_feed_itself(tmp_path: Path) -> None:
    """Then it is traffic of that port, which is no memcached; but it comes to rest."""
    with Memcached() as server, socket.create_server((LOOPBACK, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sink, _ = listener.accept()
        command = [sys.executable, str(COMPILED), "record", "ebpf:any", "-"]
        ports = [str(server.port), str(listener.getsockname()[1])]
        recorder = subprocess.Popen(
            [*command, "--port", ports[0], "--port", ports[1]],
            stdout=client,
            stderr=subprocess.PIPE,
        )
        client.close()
        assert recorder.stderr and b"recording" in recorder.stderr.readline()
        with server.connect() as connection:
            for _ in range(500):
                exchange(connection, b"get a\r\n", b"END\r\n")
        sink.settimeout(PATIENCE_SECONDS)
        received = bytearray()
        pieces = 0
        # A recorder writes once a second, if at all.
        while len(received) < 1500 or select.select([sink], (), (), 3)[0]:
            received += sink.recv(1 << 16)
            pieces += 1
            assert pieces < 30, "it does not come to rest"
        recorder.terminate()
        while chunk := sink.recv(1 << 16):
            received += chunk
        assert recorder.wait(PATIENCE_SECONDS) == 0
        recorder.stderr.close()
        sink.close()
    path = tmp_path / "a.profile"
    path.write_bytes(received)
    report = analyze(path)
    assert report["commands"]["get"]["operations"] == 500
    assert report["loss"]["bytes_lost"] > 0
    assert len(received) < 20_000


# ---- Harmless ----


def conversation(seed: int) -> bytes:
    """Commands of all kinds in one stream, whose answers depend on nothing but their order."""
    chance = random.Random(seed)
    commands = []
    for _ in range(1500):
        key = b"key%d" % chance.randrange(40)
        size = chance.choice((0, 1, 100, 511, 512, 3000, 20000))
        value = chance.randbytes(size)
        commands.append(
            chance.choice(
                (
                    b"get %s key1 nothing\r\n" % key,
                    b"gets %s\n" % key,
                    b"gat 0 %s %s\r\n" % (key, key),
                    b"set %s 5 0 %d\r\n%s\r\n" % (key, size, value),
                    b"set %s 0 0 %d noreply\r\n%s\r\n" % (key, size, value),
                    b"append %s 0 0 3\r\nabc\r\n" % key,
                    b"cas %s 0 0 3 %d\r\nabc\r\n" % (key, chance.randrange(1000)),
                    b"incr %s 1\r\n" % key,
                    b"delete %s\r\n" % key,
                    b"touch %s 0\r\n" % key,
                    b"mg %s v s k c f Oabc\r\n" % key,
                    b"mg %s v q k\r\n" % key,
                    b"ms %s %d F3 c\r\n%s\r\n" % (key, size, value),
                    b"ms %s %d q Oq1\r\n%s\r\n" % (key, size, value),
                    b"md %s q\r\n" % key,
                    b"ma %s v N0 J13\r\n" % key,
                    b"mn\r\n",
                    b"nonsense %s\r\n" % key,
                    b"set %s 0 0 x\r\n" % key,
                    b"verbosity 1\r\n",
                )
            )
        )
    return b"".join(commands) + b"version\r\n"


def answers(server: Memcached) -> List[bytes]:
    """All that the server says to the conversations, each over a connection of its own."""
    said = []
    for seed in range(4):
        with server.connect() as connection:
            sender = threading.Thread(target=connection.sendall, args=(conversation(seed),))
            sender.start()
            said.append(read_to_the_version(connection))
            sender.join()
    return said


def read_to_the_version(connection: socket.socket) -> bytes:
    """Read until the answer to the last command."""
    received = bytearray()
    while not re.search(rb"VERSION [\d.]+\r\n$", received[-40:]):
        chunk = connection.recv(1 << 20)
        assert chunk
        received += chunk
    return bytes(received)


@pytest.mark.parametrize("hook", [*HOOKS, "packet:lo"])
def test_answers_are_the_same_to_the_byte(hook: str, tmp_path: Path) -> None:
    """Without a recorder, with one, and with one that is killed and one that begins."""
    with Memcached() as server:
        alone = answers(server)
    assert sum(map(len, alone)) > 1_000_000
    source, options = ("ebpf:any", ["--hook", hook]) if hook in HOOKS else (hook, [])
    with Memcached() as server:
        options += ["--port", str(server.port)]
        with Recorder(tmp_path / "a", *options, source=source) as recorder:
            recorded = answers(server)
            report = recorder.stop()
    assert recorded == alone
    assert report["operations"] > 5000
    with Memcached() as server:
        options[-1] = str(server.port)
        found: List[List[bytes]] = []
        with Recorder(tmp_path / "b", *options, source=source) as recorder:
            thread = threading.Thread(target=lambda: found.append(answers(server)))
            thread.start()
            recorder.process.kill()
            with Recorder(tmp_path / "c", *options, source=source):
                thread.join()
    assert found == [alone]


# ---- The ledger ----

TINY = ["--ring-size", "1"]
SALT = "5a" * 16
GETS = 4000  # of each connection while nobody reads; far more than a ring of 1 MiB holds
CONNECTIONS = 8


def ask(connection: socket.socket, name: int, turns: range) -> None:
    """Gets of keys that are there and keys that are not, in turn, each of its own."""
    for turn in turns:
        answer = exchange(connection, b"get %02d-%06d\r\n" % (name, turn), b"END\r\n")
        assert len(answer) == reply_size(turn)


def reply_size(turn: int) -> int:
    """How many bytes answer the get of this turn."""
    size = value_of(turn)
    return len(b"END\r\n") + (len(b"VALUE 00-000000 0 %d\r\n\r\n" % size) + size) * (size >= 0)


def value_of(turn: int) -> int:
    """The size of the value under a key; -1: there is none."""
    return turn % 50 * 10 if turn % 2 else -1


def read_gets(profile: Path) -> Dict[int, List[Tuple[int, str]]]:
    """All gets: key hash -> (value size, or -1; outcome) of each."""
    found: Dict[int, List[Tuple[int, str]]] = {}
    with membench.ProfileReader(str(profile)) as reader:
        for block in reader.blocks():
            for form, outcome, key, size in zip(
                block.form, block.outcome, block.key, block.value_size
            ):
                if reader.forms[form] == "get":
                    size = -1 if size == membench.NO_SIZE else size
                    row = (size, membench.OUTCOMES[outcome])
                    found.setdefault(block.key_hash[key], []).append(row)
    return found


def hash_of(key: bytes) -> int:
    """How a key stands in a profile that was made with the salt."""
    digest = hashlib.blake2b(key, digest_size=8, key=bytes.fromhex(SALT)).digest()
    return int.from_bytes(digest, "little")


@pytest.mark.parametrize("hook", HOOKS)
def test_recorded_and_lost_is_all_there_was(hook: str, tmp_path: Path) -> None:
    """A reader that stands still, on a tiny ring: each byte is recorded, or known to be lost."""
    output = tmp_path / "a.profile"
    ready = range(100)
    lost = range(100, 100 + GETS)
    again = range(lost.stop, lost.stop + 300)
    with Memcached("-t", "4") as server:
        with server.connect() as connection:
            for name in range(CONNECTIONS):
                for turn in range(1, again.stop, 2):
                    size = value_of(turn)
                    head = b"set %02d-%06d 0 0 %d noreply\r\n" % (name, turn, size)
                    connection.sendall(head + b"v" * size + b"\r\n")
            exchange(connection, b"version\r\n", b"\r\n")
        connections = [server.connect() for _ in range(CONNECTIONS)]
        for connection in connections:
            exchange(connection, b"version\r\n", b"\r\n")
        written = server.written_but_statistics()
        before = server.stats()
        told_before = server.told_bytes
        options = ("--port", str(server.port), "--hook", hook, "--salt", SALT, *TINY)
        with Recorder(output, *options) as recorder:
            for turns in (ready, lost, again):
                if turns is lost:
                    freeze(recorder.process.pid)
                threads = [
                    threading.Thread(target=ask, args=(connection, name, turns))
                    for name, connection in enumerate(connections)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                if turns is lost:
                    recorder.process.send_signal(signal.SIGCONT)
                    wait_until_it_slept(recorder.process.pid)
            replies = CONNECTIONS * sum(map(reply_size, range(again.stop)))
            wait_until(
                "the server to count what it wrote",
                lambda: server.written_but_statistics() - written == replies,
            )
            after = server.stats()
            report = recorder.stop()
    told = server.told_bytes - told_before
    assert_ledger(before, after, report, kernel_counters(output), replies + told)
    found = read_gets(output)
    recorded = {"lost": 0, "told": 0}
    missing_bytes = 0
    for name in range(CONNECTIONS):
        for turn in range(again.stop):
            size = value_of(turn)
            rows = found.pop(hash_of(b"%02d-%06d" % (name, turn)), [])
            assert len(rows) <= 1, "one request, two operations"
            request_bytes, reply_bytes = 15, reply_size(turn)
            truth = (size, "hit" if size >= 0 else "miss")
            if rows and rows[0][1] == "lost":
                recorded["lost"] += 1
                missing_bytes += reply_bytes
            elif rows:
                assert rows == [truth]
                recorded["told"] += 1
            else:
                missing_bytes += request_bytes + reply_bytes
                # Behind a gap, the first request shows that there was one.
                assert turn in lost or turn == again[0], "not in step again"
    assert not found, "keys that nobody asked for"
    assert report["loss"]["bytes_lost"] == missing_bytes
    everything = after["cmd_get"] - before["cmd_get"]
    assert everything == CONNECTIONS * again.stop
    assert recorded["told"] + recorded["lost"] < everything


def wait_until_it_slept(pid: int) -> None:
    """A recorder sleeps when it has read what was on a ring this small; it does so often."""

    def times() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"^voluntary_ctxt_switches:\t(\d+)$", status, re.M)
        assert found
        return int(found[1])

    before = times()
    wait_until("the ring to be read", lambda: times() > before + 20)


def kernel_counters(profile: Path) -> Dict[str, int]:
    """The counters of the kernel programs, as a profile's last ledger has them."""
    blocks = whole_blocks(profile.read_bytes())
    counters = [json.loads(payload)["kernel"] for kind, payload in blocks if kind == b"L"][-1]
    assert isinstance(counters, dict)
    return counters


def assert_ledger(
    before: Any, after: Any, report: Dict[str, Any], kernel: Dict[str, int], written: int
) -> None:
    """What the kernel counted is what the server read and wrote, and the ledger's sum."""
    loss = report["loss"]
    assert kernel["recv_bytes"] == after["bytes_read"] - before["bytes_read"]
    assert kernel["send_bytes"] == written
    assert loss["bytes_seen"] == kernel["recv_bytes"] + kernel["send_bytes"]
    assert loss["bytes_lost"] > 0 and loss["events_lost"] > 0
    assert kernel["dropped_bytes"] <= loss["bytes_lost"]
