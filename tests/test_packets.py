# SPDX-License-Identifier: GPL-2.0-only
"""Live packets, of real servers and clients, checked against the server's own stats."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from captures import (
    LINKS_ETHERNET,
    Tcpdump,
    read_pcap,
    talk,
    talk_in_all_styles,
    with_head,
)
from live import (
    COMPILED,
    LOOPBACK,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    analyze,
    assert_exact,
    counters,
    exchange,
    free_network,
    freeze,
    membench,
    run,
    wait_until,
)
from rows import Rows
from test_record import WORKLOADS, run_memcaslap
from watchdog import interface_name

TESTS = Path(__file__).resolve().parent

# A ring of packets is full after so many blocks, of which there is one each 50 ms however
# little is in it. This one lasts for 50 s, should a busy machine let the recorder fall behind.
ROOMY = ("--ring-size", "256", "--nice", "0")


class Watched(Memcached):
    """A memcached whose statistics are asked for on a connection that is seen to open.

    Packets that join a connection in its middle do not tell at once what belongs together.
    """

    def reconnect(self) -> None:
        """Call when the recording runs."""
        old, self.control = self.control, self.connect()
        old.close()
        self.stats()


@pytest.mark.parametrize("source", ["packet:lo", "lo", "packet:any"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_recording_equals_stats(workload: str, source: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Watched("-t", "4") as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port), *ROOMY, source=source) as recorder:
            server.reconnect()
            WORKLOADS[workload](server)
            after = server.stats()
            report = recorder.stop()
    assert report["profiles"][0]["hook"] == "libpcap"
    assert_exact(before, after, report, output)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_three_sources_agree(workload: str, tmp_path: Path) -> None:
    """eBPF, packets, and tcpdump's file of the same traffic."""
    outputs = {name: tmp_path / f"{name}.profile" for name in ("ebpf", "packet", "file")}
    salt = ("--salt", "00" * 16)
    capture = tmp_path / "a.pcap"
    with Watched("-t", "4") as server:
        options = ("--port", str(server.port), *salt)
        before = server.stats()
        with (
            Tcpdump(capture, server.port),
            Recorder(outputs["ebpf"], *options, source="ebpf:any") as ebpf,
            Recorder(outputs["packet"], *options, *ROOMY, source="packet:lo") as packet,
        ):
            server.reconnect()
            WORKLOADS[workload](server)
            after = server.stats()
            reports = {"packet": packet.stop(), "ebpf": ebpf.stop()}
    done = run("record", str(capture), str(outputs["file"]), *options)
    assert done.returncode == 0, done.stderr
    reports["file"] = analyze(outputs["file"])
    for name, report in reports.items():
        if name != "ebpf":  # it also saw the end of the connection before
            assert_exact(before, after, report, outputs[name])
    rows = {name: sorted(read_operations(output)) for name, output in outputs.items()}
    assert rows["packet"] == rows["file"] == rows["ebpf"]


def read_operations(profile: Path) -> Iterator[Any]:
    """All operations but `stats`: form, outcome, key, value size, exptime."""
    with membench.ProfileReader(str(profile)) as reader:
        for block in reader.blocks():
            for form, outcome, key, size, exptime in zip(
                block.form, block.outcome, block.key, block.value_size, block.exptime
            ):
                if reader.forms[form] != "stats":
                    yield reader.forms[form], outcome, block.key_hash[key], size, exptime


def test_ipv6(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Watched(listen="::1") as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port), source="packet:lo") as recorder:
            server.reconnect()
            talk_in_all_styles(server, 1)
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, output)
    assert [one["address"] for one in report["servers"]] == [f"[::1]:{server.port}"]


def test_big_values(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Watched("-I", "8m", "-m", "256") as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port), source="packet:lo") as recorder:
            server.reconnect()
            with server.connect() as connection:
                for size in (1 << 20, 5_000_000):
                    head = b"set big 0 0 %d\r\n" % size
                    value = b"get a b\r\n" * (size // 9) + b"x" * (size % 9)
                    exchange(connection, head + value + b"\r\n", b"STORED\r\n")
                    assert len(exchange(connection, b"get big\r\n", b"\r\nEND\r\n")) > size
            after = server.stats()
            report = recorder.stop()
    assert_exact(before, after, report, output)
    assert report["values"]["size_bytes"]["max"] == 5_000_000


@pytest.mark.parametrize(("style", "count"), [("one", 60000), ("ahead", 60000), ("piles", 20000)])
def test_joining_in_the_middle(style: str, count: int, tmp_path: Path) -> None:
    """Recordings that begin and end at any time hold nothing that did not happen."""
    whole = tmp_path / "whole.profile"
    salt = ("--salt", "00" * 16)
    with Watched() as server:
        options = ("--port", str(server.port), *salt, *ROOMY)  # the whole must be whole
        with Recorder(whole, *options, source="packet:lo") as recorder:
            client = subprocess.Popen(
                [sys.executable, "-c", CLIENT, LOOPBACK, str(server.port), style, str(count)],
                cwd=TESTS,
                stdin=subprocess.PIPE,
            )
            server.wait_until_read(1_000_000)  # more than what stores the keys
            part = tmp_path / "part.profile"
            with Recorder(part, *options, source="packet:lo") as second:
                assert client.stdin
                client.stdin.close()
                assert client.wait(2 * PATIENCE_SECONDS) == 0
                report = second.stop()
            whole_loss = recorder.stop()["loss"]
    assert whole_loss["events_lost"] == 0
    known = set(read_operations(whole))
    unknown = [membench.LOST, membench.UNANSWERED]
    rows = [row for row in read_operations(part) if row[1] not in unknown]
    assert set(rows) <= known
    assert style != "one" or rows
    assert report["connections_opened"] < report["connections"]


# It ends some time after its standard input has.
CLIENT = """
import os, sys, threading
from types import SimpleNamespace
import captures, socket
host, port, style, count = sys.argv[1:]
def connect():
    connection = socket.create_connection((host, int(port)), 120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
told, rest = threading.Event(), iter(range(100 if style == "piles" else 2000))
threading.Thread(target=lambda: (os.read(0, 1), told.set()), daemon=True).start()
server = SimpleNamespace(connect=connect)
def enough():
    return told.is_set() and next(rest, None) is None
captures.talk(server, style, 1, int(count), enough, 1 + int(count) // 200)
"""


def test_only_the_ports_and_interface_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Memcached() as one, Memcached() as other:
        port = ("--port", str(one.port))
        with Recorder(output, *port, source="packet:lo") as recorder:
            for server in (one, other):
                talk(server, "one", 1)
            report = recorder.stop()
        assert report["profiles"][0]["ports"] == [one.port]
        assert report["connections"] == 2  # talk() makes two


def test_filter(tmp_path: Path) -> None:
    """Of two clients of one server, one."""
    output = tmp_path / "a.profile"
    with Memcached() as server:
        options = ("--port", str(server.port), "--filter", "host 127.0.0.5")
        with Recorder(output, *options, source="packet:lo") as recorder:
            for host in ("127.0.0.5", "127.0.0.6"):
                address = (LOOPBACK, server.port)
                with socket.create_connection(address, source_address=(host, 0)) as client:
                    exchange(client, b"get %s\r\n" % host.encode(), b"END\r\n")
            report = recorder.stop()
    assert report["connections"] == report["operations"] == 1


def test_a_small_ring_counts_what_it_drops(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    with Watched("-t", "4") as server:
        port = ("--port", str(server.port), "--ring-size", "2")
        with Recorder(output, *port, source="packet:lo") as recorder:
            server.reconnect()
            freeze(recorder.process.pid)
            run_memcaslap(server, "-x", "20000")
            recorder.process.send_signal(signal.SIGCONT)
            after = server.stats()
            report = recorder.stop()
    assert report["loss"]["events_lost"] > 0 and report["loss"]["bytes_lost"] > 0
    assert report["loss"]["coverage"] < 1
    assert counters(output)["cmd_get"] < after["cmd_get"]
    assert "LOST" in recorder.errors[-1]


def test_more_may_wait_than_the_ring_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is behind gives the ring back to the kernel, within bounds."""
    monkeypatch.setattr(membench, "PACKETS_AT_ONCE", 2)  # read() parses no more than that
    with socket.create_server((LOOPBACK, 0)) as listener:
        address = listener.getsockname()
        with membench.PacketSource([address[1]], "lo", 2) as source:
            with socket.create_connection(address) as client, listener.accept()[0] as server:

                def send_mib(count: int) -> None:
                    for _ in range(count):
                        for _ in range(32):
                            client.sendall(bytes(32768))
                            assert len(server.recv(32768, socket.MSG_WAITALL)) == 32768
                        source.read(0)

                send_mib(4)
                assert source.counters()["recv_bytes"] < 2 << 20  # the rest waits
                while source.counters()["recv_bytes"] < 4 << 20:
                    source.read(100)
                    assert not source.counters()["dropped_events"]
                assert not source.counters()["gaps"]
                send_mib(16)
                assert source.counters()["dropped_events"]


# ---- The filter, with packets that are made up ----


@pytest.fixture
def veth() -> Iterator[str]:
    """One end of a cable; the name of the other ends with 1, not 0."""
    names = (interface_name("v0"), interface_name("v1"))
    subprocess.run(["ip", "link", "add", names[0], "type", "veth", "peer", names[1]], check=True)
    for name in names:
        subprocess.run(["ip", "link", "set", name, "up", "mtu", "65535"], check=True)
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    time.sleep(0.2)
    yield names[0]
    subprocess.run(["ip", "link", "delete", names[0]], check=True)


@pytest.mark.parametrize("listen", [LOOPBACK, "::1"])
@pytest.mark.parametrize("name", LINKS_ETHERNET)
def test_what_the_filter_lets_in(name: str, listen: str, veth: str, tmp_path: Path) -> None:
    """Real traffic, replayed on a cable with VLAN tags, among packets that are not wanted."""
    capture = tmp_path / "a.pcap"
    with Memcached(listen=listen) as server, Tcpdump(capture, server.port):
        talk(server, "one", 1, 30)
    ethertype = b"\x08\0" if listen == LOOPBACK else b"\x86\xdd"
    packets = with_head(read_pcap(capture), LINKS_ETHERNET[name].replace(b"%s", ethertype))
    at = len(packets[0].data) - len(read_pcap(capture)[0].data) + 14
    ports_at = at + (20 if listen == LOOPBACK else 40)
    protocol_at = at + (9 if listen == LOOPBACK else 6)
    with membench.PacketSource([server.port], veth[:-1] + "1", 8) as source:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind((veth, 0))
            for packet in packets:
                other = bytearray(packet.data)
                struct.pack_into(">HH", other, ports_at, 1, 2)
                sender.send(bytes(other))
                udp = bytearray(packet.data)
                udp[protocol_at] = 17
                sender.send(bytes(udp))
                sender.send(packet.data)
        rows = Rows()
        matcher = membench.Matcher(rows.take, lambda *_: None, b"x" * 16, True, False)

        def have_arrived() -> bool:
            """On a busy machine they arrive some time later."""
            matcher.process(source.read(50) or ())
            return source.counters()["events"] >= len(packets)

        wait_until("the packets", have_arrived)
        source.stop()
        for segments in iter(lambda: source.read(0), []):
            matcher.process(segments)
        counted = source.counters()
    assert len(rows) == 30 + 10
    assert counted["events"] == len(packets) and counted["ignored_packets"] == 0
    assert not matcher.ledger.lost_bytes


def test_many_ports() -> None:
    for count in (1, 200, 1000, 5000):
        with membench.PacketSource(range(1, count + 1), "lo", 2):
            pass


# ---- A bad network ----

# A cable made of two tun devices: one here, one in a network namespace of the test's own.
# This process carries the packets from one to the other, and loses, repeats and delays some.
BAD_CABLE = """
import ctypes, fcntl, heapq, os, random, select, struct, sys, time
namespace, interface, loss, again, late = *sys.argv[1:3], *map(float, sys.argv[3:6])
chance = random.Random(1)
def open_tun(name):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", name, 0x1001))
    return tun
here = open_tun(interface.encode())
libc = ctypes.CDLL(None, use_errno=True)
with open("/run/netns/" + namespace) as file:
    assert libc.setns(file.fileno(), 0x40000000) == 0
there = open_tun(b"inside")
print("ready", flush=True)
other = {here: there, there: here}
waiting, count = [], 0
def deliver(tun, packet):
    try:
        os.write(tun, packet)
    except OSError:
        pass
while True:
    timeout = max(waiting[0][0] - time.monotonic(), 0) if waiting else 1
    for tun in select.select([here, there], [], [], timeout)[0]:
        packet = os.read(tun, 65536)
        if chance.random() < loss:
            continue
        for _ in range(1 + (chance.random() < again)):
            if chance.random() < late:
                count += 1
                delay = chance.random() * 0.002
                heapq.heappush(waiting, (time.monotonic() + delay, count, other[tun], packet))
            else:
                deliver(other[tun], packet)
    while waiting and waiting[0][0] <= time.monotonic():
        deliver(*heapq.heappop(waiting)[2:])
"""

NAMESPACE = "mbpackets"


def ip(*arguments: str) -> None:
    """The ip command."""
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture(params=["loss and duplicates", "reordering", "all of it, MTU 576", "veth, MTU 576"])
def bad_network(request: pytest.FixtureRequest) -> Iterator[Tuple[str, str]]:
    """Between this namespace and the test's own. Interface and address of this side."""
    outside, network = interface_name("p"), free_network()
    ip("netns", "add", NAMESPACE)
    cable = None
    try:
        if "veth" in request.param:
            ip("link", "add", outside, "type", "veth", "peer", "inside", "netns", NAMESPACE)
        else:
            bad: Dict[str, List[str]] = {
                "loss and duplicates": ["0.02", "0.02", "0"],
                "reordering": ["0", "0", "0.25"],
                "all of it, MTU 576": ["0.02", "0.02", "0.25"],
            }
            cable = subprocess.Popen(
                [sys.executable, "-c", BAD_CABLE, NAMESPACE, outside, *bad[request.param]],
                stdout=subprocess.PIPE,
            )
            assert cable.stdout and cable.stdout.readline() == b"ready\n"
        mtu = "576" if "576" in request.param else "1500"
        for prefix, name, address in (
            ([], outside, f"{network}.1"),
            (["-n", NAMESPACE], "inside", f"{network}.2"),
        ):
            ip(*prefix, "address", "add", address + "/24", "dev", name)
            ip(*prefix, "link", "set", name, "up", "mtu", mtu)
        yield outside, f"{network}.1"
    finally:
        if cable:
            cable.kill()
            cable.communicate()
        else:
            subprocess.run(["ip", "link", "delete", outside], check=False)
        ip("netns", "delete", NAMESPACE)


@pytest.mark.parametrize("source", ["this", "any"])
def test_a_bad_network(bad_network: Tuple[str, str], source: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    interface, here = bad_network
    with Memcached("-t", "4", listen=here) as server:
        before = server.stats()
        options = ("--port", str(server.port), *ROOMY)
        watched = f"packet:{interface if source == 'this' else source}"
        with Recorder(output, *options, source=watched) as recorder:
            address = f"{here}:{server.port}"
            inside = ["ip", "netns", "exec", NAMESPACE]
            clients = [
                subprocess.Popen(
                    [*inside, sys.executable, "-c", CLIENT, here, str(server.port), style, "150"],
                    cwd=TESTS,
                )
                for style in ("one", "ahead", "piles")
            ]
            clients.append(
                subprocess.Popen(
                    [*inside, "memcaslap", "-s", address, "-T", "2", "-c", "16", "-x", "2000"],
                    stdout=subprocess.DEVNULL,
                )
            )
            for client in clients:
                assert client.wait(3 * PATIENCE_SECONDS) == 0
            after = server.stats()
            report = recorder.stop()
    if source == "any":  # the statistics' own connection was joined in its middle
        assert report["connections_opened"] == (
            after["total_connections"] - before["total_connections"]
        )
        counted = counters(output)
        for name in ("cmd_get", "get_hits", "cmd_set", "cmd_touch", "delete_hits", "incr_misses"):
            assert counted[name] == after[name] - before[name]
        assert report["loss"]["resyncs"] == 0
    else:
        assert_exact(before, after, report, output)


# ---- Falling back ----


def without(capabilities: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """membench as root who lacks these capabilities."""
    dropped = [f"-{name}" for name in capabilities.split()]
    return subprocess.Popen(
        ["setpriv", "--bounding-set", ",".join(dropped), sys.executable, str(COMPILED), *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def test_falls_back_to_packets(tmp_path: Path) -> None:
    with Memcached() as server:
        port = ("--port", str(server.port))
        with without("sys_admin bpf", "record", "a.profile", *port, cwd=tmp_path) as process:
            assert process.stderr
            first, second = process.stderr.readline(), process.stderr.readline()
            assert first.startswith("membench: Falling back to packet capture: ")
            assert "CAP_BPF" in first and "packet:any" in second
            talk(server, "one", 1, 30)
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
    assert analyze(tmp_path / "a.profile")["operations"] == 40


def test_explicit_ebpf_does_not_fall_back(tmp_path: Path) -> None:
    for arguments in (["ebpf:any", "a.profile"], ["a.profile", "--hook", "sock"]):
        with without("sys_admin bpf", "record", *arguments, cwd=tmp_path) as process:
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 1
        assert "CAP_BPF" in errors and len(errors.splitlines()) == 2
        assert not os.listdir(tmp_path)


def test_nothing_works(tmp_path: Path) -> None:
    with without("sys_admin bpf net_raw", "record", "a.profile", cwd=tmp_path) as process:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "CAP_BPF" in errors and "CAP_NET_RAW" in errors and len(errors.splitlines()) == 2
    assert not os.listdir(tmp_path)


def test_only_net_raw_is_needed(tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    module = shutil.copy(COMPILED, tmp_path)  # the checkout may be in a home of somebody else
    with Memcached() as server:
        with subprocess.Popen(
            [
                *("setpriv", "--bounding-set", "-all,+net_raw", sys.executable, module),
                *("record", "packet:lo", str(output), "--port", str(server.port)),
            ],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stderr
                line = process.stderr.readline()
                assert " from packet:lo (" in line
                talk(server, "one", 1, 30)
                process.terminate()
                assert process.wait(PATIENCE_SECONDS) == 0
            finally:
                process.kill()  # or to leave this block would wait for it
    assert analyze(output)["operations"] == 40


def test_an_interface_that_is_not_there(tmp_path: Path) -> None:
    done = run("record", "packet:nowhere", str(tmp_path / "a.profile"))
    assert done.returncode == 1 and "there are: " in done.stderr
    assert not os.listdir(tmp_path)


def test_check_tells_of_packets(tmp_path: Path) -> None:
    done = run("check")
    assert done.returncode == 0
    line = next(line for line in done.stdout.splitlines() if " packets" in line)
    assert line.startswith("yes") and " lo" in line
    with without("sys_admin bpf net_raw", "check", cwd=tmp_path) as process:
        text, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1 and "CAP_NET_RAW" in text


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        (["packet:lo", "o.profile"], ("packet", "lo")),
        (["packet:any"], ("packet", "any")),
        (["lo"], ("packet", "lo")),
        (["-", "o.profile"], ("file", "-")),
        (["x.pcap"], ("file", "x.pcap")),
        (["dir/x.pcapng", "o.profile"], ("file", "dir/x.pcapng")),
        (["ebpf:lo"], ("ebpf", "lo")),
        (["out.profile"], ("auto", "any")),
        (["-"], ("auto", "any")),
        (["--hook", "sock"], ("ebpf", "any")),
        (["--filter", "tcp"], ("packet", "any")),
    ],
)
def test_sources(arguments: List[str], source: Any) -> None:
    assert membench.parse_args(["record", *arguments]).source == source


def test_random_bytes_are_no_packets() -> None:
    chance = random.Random(1)
    parser, reassembler = membench.PacketParser(12), membench.Reassembler([11211])
    for number in range(20000):
        data = bytes([chance.choice((0x45, 0x46, 0x60))]) + chance.randbytes(chance.randrange(90))
        if chance.random() < 0.7 and len(data) > 24:
            data = data[:9] + b"\6" + data[10:22] + struct.pack(">H", 11211) + data[24:]
        record = membench.CAPTURED.pack(number, 0, len(data), len(data))
        reassembler.add(parser.parse(record + data))
    reassembler.finish()
    assert reassembler.take() is not None
