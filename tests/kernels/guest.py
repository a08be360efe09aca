#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What runs on each kernel: record a real memcached with each hook, and compare with `stats`.

    guest.py HOOK[,HOOK]... [--old-meta] [--set-clock]

The hooks are those that this kernel must have, the best one first; "packet" is the source
that needs none, and "fallback" is that source where libbpf is too old for the kernel. A line
is printed for each; matrix.py reads them. With --set-clock the machine's clock is set
meanwhile, so that is for virtual machines only. As /init of a virtual machine it mounts what is
needed, and powers the machine off at the end. It needs nothing but Python 3.9, memcached,
libbpf and tests/live.py.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import platform
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from live import (
    COMPARED,
    Memcached,
    Recorder,
    counters,
    exchange,
    find_memcached,
    free_port,
    membench,
    read_until,
    run,
)

# All of it has room on the ring, so however slow the machine is, nothing can be lost. A ring
# of packets has room for a time as well: 20 ms for each of eight blocks in a MiB.
CONNECTIONS = 6
PIPELINES = 12  # on each connection
SIZES = (0, 1, 100, 511, 512, 4000, 16_384, 100_000)
WEIGHTS = (4, 4, 8, 4, 4, 4, 2, 1)


# ---- The workload ----


def classic(chance: random.Random, key: bytes, value: bytes, quiet: bytes) -> List[bytes]:
    """Requests of the classic text protocol, one of which will be sent."""
    size = len(value)
    return [
        b"get %s none %s\r\n" % (key, key),
        b"gets %s\r\n" % key,
        b"gat %d %s none\r\n" % (chance.choice((0, 100)), key),
        b"set %s 5 0 %d%s\r\n%s\r\n" % (key, size, quiet, value),
        b"set %s 0 300 %d%s\r\n%s\r\n" % (key, size, quiet, value),
        b"add %s 0 0 %d%s\r\n%s\r\n" % (key, size, quiet, value),
        b"replace %s 0 0 %d%s\r\n%s\r\n" % (key, size, quiet, value),
        b"append %s 0 0 3%s\r\nabc\r\n" % (key, quiet),
        b"prepend %s 0 0 3%s\r\nabc\r\n" % (key, quiet),
        b"cas %s 0 0 %d 1\r\n%s\r\n" % (key, size, value),
        b"delete %s\r\n" % key,
        b"touch %s 100\r\n" % key,
        b"incr count %d\r\n" % chance.randrange(100),
        b"decr count 7\r\n",
        # Nobody is told whether a noreply of these hits, so it must be known.
        b"delete none%s\r\n" % quiet,
        b"touch none 100%s\r\n" % quiet,
        b"incr none 1%s\r\n" % quiet,
    ]


def meta(chance: random.Random, key: bytes, value: bytes, old: bool) -> List[bytes]:
    """Requests of the meta protocol; old: without ms, which memcached 1.6.9 wants in a form of its
    own, S and the length as a flag."""
    stores = [
        b"ms %s %d T30 F3\r\n%s\r\n" % (key, len(value), value),
        b"ms %s %d q\r\n%s\r\n" % (key, len(value), value),
    ]
    return [
        b"mg %s v s t k O%d\r\n" % (key, chance.randrange(1000)),
        b"mg %s v q k\r\n" % key,
        *([] if old else stores),
        b"md %s\r\n" % key,
        b"mn\r\n",
    ]


def pipeline(chance: random.Random, old_meta: bool) -> bytes:
    """Some requests at once. Values look like commands, and must not be taken for some."""
    requests = [b"set count 0 0 4\r\n1000\r\n"]
    for _ in range(chance.randrange(1, 100)):
        key = b"key-%d" % chance.randrange(60)
        (size,) = chance.choices(SIZES, WEIGHTS)
        value = (b"set key-1 0 0 4000\r\nget key-1 key-2\r\nEND\r\n" * (size // 20 + 1))[:size]
        choices = classic(chance, key, value, chance.choice((b"", b"", b" noreply")))
        choices += meta(chance, key, value, old_meta)
        requests.append(chance.choice(choices))
    return b"".join(requests)


def pieces(chance: random.Random, data: bytes) -> List[bytes]:
    """The data cut at random places."""
    cuts = sorted(chance.sample(range(1, len(data)), chance.randrange(0, 8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]


def compare_and_swap(connection: socket.socket, key: bytes) -> None:
    """A cas that hits: with the unique number that the server gave to this client."""
    exchange(connection, b"set %s 0 0 3\r\nold\r\n" % key, b"STORED\r\n")
    unique = exchange(connection, b"gets %s\r\n" % key, b"END\r\n").split()[4]
    exchange(connection, b"cas %s 0 0 3 %s\r\nnew\r\n" % (key, unique), b"STORED\r\n")


def converse(server: Memcached, seed: int, old_meta: bool) -> None:
    """One client: pipelines, each sent in pieces, while the answers are read."""
    chance = random.Random(seed)
    with server.connect() as connection, ThreadPoolExecutor(1) as pool:
        last = exchange(connection, b"version\r\n", b"\r\n")
        for _ in range(PIPELINES):
            answers = pool.submit(read_until, connection, last)
            for piece in pieces(chance, pipeline(chance, old_meta) + b"version\r\n"):
                connection.sendall(piece)
            answers.result()
            compare_and_swap(connection, b"own-%d" % seed)


def run_clients(server: Memcached, old_meta: bool) -> None:
    """All connections at once; raises what any of them raised."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        seeds = range(CONNECTIONS)
        list(pool.map(lambda seed: converse(server, seed, old_meta), seeds))


# ---- The checks ----

# hook -> source, what the profile calls it, options of `record`
RECORDINGS: Dict[str, Tuple[str, str, Tuple[str, ...]]] = {
    "sock": ("ebpf:any", "sock", ("--hook", "sock")),
    "syscalls": ("ebpf:any", "syscalls", ("--hook", "syscalls")),
    "packet": ("packet:lo", "libpcap", ("--ring-size", "128", "--nice", "0")),
    "fallback": ("", "libpcap", ("--ring-size", "128", "--nice", "0")),
}
FALLBACK = "Falling back to packet capture: this libbpf (older than 0.6) is too old: Linux "


def check_hook(hook: str, old_meta: bool, folder: Path) -> str:
    """Record with this hook, compare with the server; what was equal, in a line."""
    output = folder / f"{hook}.profile"
    source, name, options = RECORDINGS[hook]
    with Memcached("-t", "4") as server:
        before = server.stats()
        with Recorder(output, "--port", str(server.port), *options, source=source) as recorder:
            run_clients(server, old_meta)
            report = recorder.stop()
        # Not before the end: packets of a connection that was there, one command and its
        # answer only, prove nothing, and would rightly count as lost.
        after = server.stats()
    counted = counters(output)
    counted["total_connections"] = report["connections_opened"]
    wrong = [
        f"{counter} {counted[counter]}, not {after[counter] - before[counter]}"
        for counter in (*COMPARED, "total_connections")
        if counted[counter] != after[counter] - before[counter]
    ]
    loss, (profile,) = report["loss"], report["profiles"]
    losses = ("bytes_lost", "events_lost", "unmatched_responses", "resyncs")
    wrong += [f"{kind} {loss[kind]}" for kind in losses if loss[kind]]
    if loss["coverage"] != 1.0 or loss["bytes_seen"] < 1_000_000:
        wrong.append(f"coverage {loss['coverage']} of {loss['bytes_seen']} bytes")
    if profile["hook"] != name or not profile["complete"]:
        wrong.append(f"hook {profile['hook']}, complete: {profile['complete']}")
    said = "".join(recorder.errors)
    if hook == "fallback" and not (FALLBACK in said and "needs libbpf 1.0 or later" in said):
        wrong.append(f"it said {said}")
    if wrong:
        raise AssertionError("; ".join(wrong))
    used = sum(1 for counter in COMPARED if counted[counter])
    return (
        f"{report['operations']:,} operations, {report['connections_opened']} connections, "
        f"{loss['bytes_seen'] / 1e6:.1f} MB: {used} counters as in stats, nothing lost"
    )


# ---- The clock ----

HOUR_SECONDS = 3600
CLOCK_STEPS = (-HOUR_SECONDS, HOUR_SECONDS, HOUR_SECONDS, -HOUR_SECONDS)
GETS_BETWEEN = 20
QUIET_SECONDS = 0.4  # around a step; packets that come just then may have a wrong time
SLOW_SECONDS = 60  # more than any delay here, and far less than a step


def get_while_the_clock_is_set(server: Memcached) -> List[float]:
    """Gets before, between and behind the steps. When each was, by a clock that runs on."""
    moments = []
    with server.connect() as connection:
        for step in (*CLOCK_STEPS, 0):
            for _ in range(GETS_BETWEEN):
                moments.append(time.monotonic())
                exchange(connection, b"get key\r\n", b"END\r\n")
                time.sleep(0.01)
            time.sleep(QUIET_SECONDS)
            time.clock_settime(time.CLOCK_REALTIME, time.time() + step)
            time.sleep(QUIET_SECONDS)
    return moments


def judge_times(report: Dict[str, Any], output: Path, moments: List[float], took: float) -> None:
    """Times, latencies, the duration and the rate are those of the clock that runs on."""
    with membench.ProfileReader(str(output)) as reader:
        ticks = [tick for block in reader.blocks() for tick in block.time]
    times = [tick / membench.TICKS_PER_SECOND for tick in ticks]
    assert len(times) == len(moments), f"{len(times)} gets, not {len(moments)}"
    assert times == sorted(times), "times go back"
    off = max(abs(at - times[0] - (true - moments[0])) for at, true in zip(times, moments))
    assert off < SLOW_SECONDS, f"a time is {off:.1f} s off"
    duration = report["profiles"][0]["duration_seconds"]
    assert took <= duration < took + SLOW_SECONDS, f"a duration of {duration}, not {took} s"
    rate = report["operations_per_second"]
    assert abs(rate * duration / len(times) - 1) < 0.01, f"{rate} operations a second"
    slowest_us = report["commands"]["get"]["latency_us"]["max"]
    assert 0 < slowest_us < SLOW_SECONDS * 1e6, f"a latency of {slowest_us} us"
    assert report["loss"]["bytes_lost"] == 0, f"{report['loss']['bytes_lost']} bytes lost"


def check_clock(hook: str, folder: Path) -> str:
    """Set the clock back and forth while this hook and the packet source record."""
    outputs = {name: folder / f"clock-{name}.profile" for name in (hook, "packet")}
    with Memcached() as server, ExitStack() as stack:
        recorders = {}
        for name, output in outputs.items():
            source, _, options = RECORDINGS[name]
            recorder = Recorder(output, "--port", str(server.port), *options, source=source)
            recorders[name] = stack.enter_context(recorder)
        began = time.monotonic()
        moments = get_while_the_clock_is_set(server)
        took = time.monotonic() - began
        reports = {name: recorder.stop() for name, recorder in recorders.items()}
    for name, output in outputs.items():
        try:
            judge_times(reports[name], output, moments, took)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
    return f"set by an hour {len(CLOCK_STEPS)} times: neither {hook} nor packet was disturbed"


# ---- All of it ----


def check_choice(best: str) -> None:
    """Left to itself, membench takes the best hook of this kernel."""
    with membench.EbpfSource([free_port()]) as source:
        assert source.hook == best, f"without --hook it took {source.hook}, not {best}"


def describe_machine() -> str:
    """The versions of what is tested."""
    membench.Libbpf()
    with open("/proc/self/maps", encoding="utf-8") as maps:
        libbpf = next(line.split()[-1] for line in maps if "libbpf" in line)
    version = subprocess.run([find_memcached(), "-V"], capture_output=True, text=True, check=True)
    return (
        f"Linux {platform.release()} {platform.machine()}, Python {platform.python_version()}, "
        f"{os.path.basename(libbpf)}, {version.stdout.strip()}"
    )


def check_all(hooks: List[str], old_meta: bool, set_clock: bool) -> None:
    """Print a line for each hook: the verdict, the hook, what was equal or not."""
    print("MACHINE", describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for hook in hooks:
            try:
                if hook == hooks[0] != "fallback":
                    check_choice(hook)
                print("PASS", hook, check_hook(hook, old_meta, Path(folder)), flush=True)
            except Exception as error:
                traceback.print_exc()
                print(run("check").stdout)
                print("FAIL", hook, " ".join(str(error).split()) or repr(error), flush=True)
        if set_clock:
            try:
                print("PASS clock", check_clock(hooks[0], Path(folder)), flush=True)
            except Exception as error:
                traceback.print_exc()
                print("FAIL clock", " ".join(str(error).split()) or repr(error), flush=True)


# ---- A virtual machine's /init ----

TRACING = "/sys/kernel/tracing"
MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tracefs", TRACING),
    ("debugfs", "/sys/kernel/debug"),  # libbpf before 1.0 looks for tracepoints there only
    ("tmpfs", "/tmp"),
)
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
POWER_OFF = 0x4321FEDC


def mount(kind: str, place: str) -> None:
    """Mount one of the kernel's own file systems."""
    os.makedirs(place, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None):
        raise OSError(ctypes.get_errno(), f"mount {kind}")


def set_up_machine() -> None:
    """What an init system does before anything else."""
    for kind, place in MOUNTS:
        mount(kind, place)
    os.environ["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin"
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def power_off() -> None:
    """The end of the virtual machine."""
    sys.stdout.flush()
    os.sync()
    ctypes.CDLL(None).reboot(POWER_OFF)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hooks", type=lambda text: text.split(","))
    parser.add_argument("--old-meta", action="store_true")
    parser.add_argument("--set-clock", action="store_true")
    options = parser.parse_args()
    check_all(options.hooks, options.old_meta, options.set_clock)


if __name__ == "__main__":
    if os.getpid() == 1:
        try:
            set_up_machine()
            main()
        except BaseException:
            traceback.print_exc()
        power_off()
    else:
        if not os.path.isdir(TRACING + "/events"):
            mount("tracefs", TRACING)
        main()
