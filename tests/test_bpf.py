# SPDX-License-Identifier: GPL-2.0-only
"""The kernel programs: their layout, their build, and what of a value they copy."""

from __future__ import annotations

import ctypes
import json
import platform
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from live import ROOT, Memcached, exchange, free_port, membench
from test_safety import assert_one_line

OBJECT = ROOT / "bpf/programs.bpf.o"

# The ways on which bytes are copied; of exchanges see tests/test_exchanges.py.
HOOKS = ("sock-events", "syscalls")


def btf_structs() -> Dict[str, Dict[str, Any]]:
    """The structures of the committed object, from its BTF."""
    dumped = subprocess.run(
        ["bpftool", "--json", "btf", "dump", "file", str(OBJECT)],
        capture_output=True,
        text=True,
        check=True,
    )
    types = json.loads(dumped.stdout)["types"]
    return {kind["name"]: kind for kind in types if kind["kind"] == "STRUCT"}


@pytest.mark.parametrize(
    "layout",
    [
        membench.SocketDataEvent,
        membench.Endpoints,
        membench.Counters,
        membench.Settings,
        membench.Exchange,
    ],
)
def test_python_layout_is_the_kernels(layout: Any) -> None:
    struct = btf_structs()[layout.__name__]
    in_kernel = {
        member["name"]: member["bits_offset"] // 8
        for member in struct["members"]
        if member["name"] != "data"  # the flexible end of an event
    }
    in_python = {name: getattr(layout, name).offset for name, *_ in layout._fields_}
    assert in_python == in_kernel
    assert ctypes.sizeof(layout) == struct["size"]


def test_the_fast_unpackers_agree_with_the_layout() -> None:
    event = membench.SocketDataEvent(1, sock_id=2, pid=3, dport=4, sport=5)
    event.offset, event.data_len, event.captured_len, event.direction = range(6, 10)
    event.mark = -1
    header = (99).to_bytes(4, "little") + bytes(4)
    unpacked = membench.EVENT.unpack(header + bytes(event))
    assert unpacked == (99, 1, membench.SOCK.pack(2, 3, 4, 5), 6, 7, -1, 9)
    assert len(header) == membench.RECORD_HEADER_BYTES
    ends = membench.Endpoints(1, 2)
    ends.server[:2], ends.client[:2] = b"34", b"56"
    assert membench.ENDPOINTS.unpack(bytes(ends)) == (1, 2, b"34" + bytes(14), b"56" + bytes(14))


def test_embedded_object_is_the_committed_one() -> None:
    assert membench.embedded_object() == OBJECT.read_bytes()


def test_python_without_lzma_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds of Python have no liblzma. Without a source named, packets are used then."""
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(membench.SourceError, match="no lzma module") as caught:
        membench.EbpfSource([11211])
    assert caught.value.hint


def test_check_bpf_notices_every_disagreement(tmp_path: Path) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "bpf/build.py", "--check"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    shutil.copy(ROOT / "membench.py", tmp_path)
    for name in ("bpf/programs.bpf.c", "bpf/programs.bpf.o", "membench.py"):
        path = tmp_path / name
        good = path.read_bytes()
        if name == "membench.py":
            path.write_bytes(re.sub(rb'(BPF_OBJECT = """\n)(.)', rb"\1~", good))
        else:
            path.write_bytes(good + b"\n")
        assert check().returncode == 1, name
        path.write_bytes(good)
    done = check()  # so nothing else was wrong with it before
    assert done.returncode == 0, done.stderr


def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    """In any folder; and those that are committed, by the compiler that has built them."""
    folders = tmp_path / "a", tmp_path / "a-folder-with-a-longer-name"
    for folder in folders:
        shutil.copytree(ROOT / "bpf", folder / "bpf")
        shutil.copy(ROOT / "membench.py", folder)
        (folder / "bpf/programs.bpf.o").unlink()
        subprocess.run([sys.executable, "bpf/build.py"], cwd=folder, check=True)
    subprocess.run([sys.executable, "bpf/build.py", "--check"], cwd=folders[1], check=True)
    objects, modules = (
        [(folder / name).read_bytes() for folder in (*folders, ROOT)]
        for name in ("bpf/programs.bpf.o", "membench.py")
    )
    assert objects[0] == objects[1] and modules[0] == modules[1]
    # Another compiler gives other bytes, and says so in the block that it writes.
    if f'BPF_COMPILER = "{membench.BPF_COMPILER}"\n'.encode() in modules[0]:
        assert objects[0] == objects[2]
        changed = set(modules[0].splitlines()) - set(modules[2].splitlines())
        # Another liblzma may pack the object into other bytes; nothing else may change.
        assert all(b" " not in line and len(line) <= 100 for line in changed)


def capture(server: Memcached, hook: str, *conversations: List[bytes]) -> List[Any]:
    """The segments of (request, end of its answer) pairs, over one connection each."""
    with membench.EbpfSource([server.port], hook=hook) as source:
        for conversation in conversations:
            with server.connect() as connection:
                exchange(connection, *conversation)
        source.stop()
        segments = source.read(0)
        while more := source.read(0):
            segments += more
        kernel = source.counters()
    data = [segment for segment in segments if segment[0] in (membench.RECV, membench.SEND)]
    assert sum(segment[4] for segment in data) == kernel["recv_bytes"] + kernel["send_bytes"]
    return data


@pytest.mark.parametrize("hook", HOOKS)
def test_large_values_are_not_copied(hook: str) -> None:
    secret = b"0123456789abcdef" * 65536  # 1 MiB, more than an item's chunk
    with Memcached("-I", "4m") as server:
        request = b"set key 0 0 %d\r\n%s\r\n" % (len(secret), secret)
        data = capture(server, hook, [request, b"STORED\r\n"], [b"get key\r\n", b"END\r\n"])
    carried = b"".join(segment[5] for segment in data)
    stood_for = sum(segment[4] for segment in data)
    assert stood_for == len(request) + len(b"STORED\r\nget key\r\n") + len(
        b"VALUE key 0 %d\r\n%s\r\nEND\r\n" % (len(secret), secret)
    )
    assert carried.startswith(b"set key 0 0 1048576\r\n")
    # The server may have read the first bytes of the value into its buffer piecewise.
    assert len(carried) < 1000
    assert b"VALUE key 0 1048576\r\nEND\r\n" in carried


@pytest.mark.parametrize("hook", HOOKS)
def test_small_values_and_lines_are_copied_whole(hook: str) -> None:
    with Memcached() as server:
        line = b"get " + b" ".join(b"key-%045d" % n for n in range(2000)) + b"\r\n"
        request = b"set key 0 0 100\r\n%s\r\n" % (b"x" * 100)
        data = capture(server, hook, [line, b"END\r\n"], [request, b"STORED\r\n"])
    assert b"".join(segment[5] for segment in data) == (line + b"END\r\n" + request + b"STORED\r\n")


@pytest.mark.parametrize("seed", range(5))
def test_events_are_taken_apart(seed: int) -> None:
    """Of every kind and size, discarded or not; and cut anywhere, without loss."""
    rng = random.Random(seed)
    batch, expected, ends = b"", [], {0: 0}  # ends: without padding, with it
    for number in range(60):
        data = rng.randbytes(rng.choice((0, 1, 5, 30, 600)))
        event = membench.SocketDataEvent(number, sock_id=7, pid=8, dport=50000, sport=11211)
        event.direction = rng.randrange(4)
        event.offset, event.mark = rng.randrange(2**32), rng.choice((-1, 3, 2**32 - 1))
        event.data_len, event.captured_len = len(data) + rng.choice((0, 40)), len(data)
        record = bytes(event) + data
        flags = rng.choice((0, 0, 0, membench.RECORD_DISCARDED))
        batch += struct.pack("<II", len(record) | flags, 9) + record
        end = len(batch)
        batch += bytes(-end % 8)
        ends[end] = len(batch)
        if not flags:
            sock = membench.SOCK.pack(7, 8, 50000, 11211)
            place = (event.offset, event.data_len, data, event.mark)
            expected.append((event.direction, number, sock, *place))
    assert membench.parse_events(batch) == (expected, len(batch))
    for cut in rng.sample(range(len(batch)), 100):
        first, used = membench.parse_events(batch[:cut])
        assert used == ends[max(end for end in ends if end <= cut)]
        second, _ = membench.parse_events(batch[used:])
        assert first + second == expected
    busy = list(ends.values())[30]
    stopped = bytearray(batch)
    stopped[busy + 3] |= 0x80
    assert membench.parse_events(bytes(stopped))[1] == busy


# ---- A libbpf that is too old for the kernel ----

# The libbpf is this machine's, and says what 0.3 says here; `make test-kernels` has a real one.
OLD_LIBBPF = """
import sys
sys.path.insert(0, sys.argv[1])
import membench
class OldLibbpf(membench.Libbpf):
    version = "older than 0.6"
    def take_messages(self):
        return ["libbpf: Unsupported BTF_KIND:19"]
    def _bind(self):
        super()._bind()
        def old_load(*arguments):
            raise membench.LibbpfError("bpf_object__load", 3)
        self.object_load = old_load
membench.Libbpf = OldLibbpf
sys.exit(membench.main(sys.argv[2:]))
"""
TOO_OLD = rf"this libbpf \(older than 0.6\) is too old: Linux {re.escape(platform.release())} needs"


def with_old_libbpf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OLD_LIBBPF, str(ROOT), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_libbpf_that_is_too_old_for_the_kernel(tmp_path: Path) -> None:
    """It is told which one this kernel needs, also where packets take its place."""
    output = str(tmp_path / "a.profile")
    done = with_old_libbpf("record", "ebpf:any", output)
    assert_one_line(done, TOO_OLD + " libbpf 1.0 or later")
    assert re.search("hook sock +" + TOO_OLD, with_old_libbpf("check").stdout)
    options = ("--duration", "0.1", "--port", str(free_port()), "--allow-empty")
    done = with_old_libbpf("record", output, *options)
    assert done.returncode == 0, done.stderr
    assert re.match("membench: Falling back to packet capture: " + TOO_OLD, done.stderr)
