# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmarks share: servers, loads, tools that are measured, CPU readings, figures.

Everything runs on loopback, against servers that are started here and end here. Servers,
loads and what watches them have sessions of their own, as in production: with autogroups,
the kernel shares the CPUs out between sessions first. CPU of a
process is read from /proc/PID/task/*/schedstat, in nanoseconds, not in ticks.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import membench  # noqa: E402

MEMBENCH = (sys.executable, str(ROOT / "membench.py"))
LOOPBACK = "127.0.0.1"
TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = CPUS[0], CPUS[-1]

# ---- Figures ----


class Figure(NamedTuple):
    """One cell of a table: what was measured in all rounds."""

    section: str
    name: str  # of the quantity
    variant: str  # of what
    unit: str
    values: List[float]
    beside: str = ""  # the variant that the ratios are to
    ratios: Sequence[float] = ()  # of the same round, so that both saw the same machine

    def as_json(self) -> Dict[str, Any]:
        """All of it, with the median and the extremes."""
        found: Dict[str, Any] = {
            "section": self.section,
            "name": self.name,
            "variant": self.variant,
            "unit": self.unit,
            "values": self.values,
            **summary(self.values),
        }
        if self.ratios:
            found["ratio"] = {"to": self.beside, "values": self.ratios, **summary(self.ratios)}
        return found


def summary(values: Sequence[float]) -> Dict[str, float]:
    """Median and extremes."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def spread(values: Sequence[float]) -> str:
    """The median, and between what the values lie."""
    low, middle, high = (
        short(value) for value in (min(values), statistics.median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def short(number: float) -> str:
    """Three or four digits of it."""
    if abs(number) >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.3f}"


Values = Dict[str, float]  # name of a figure -> what was measured


def alternate(
    variants: Dict[str, Callable[[], Values]], rounds: int
) -> Dict[str, Dict[str, List[float]]]:
    """Each variant once a round, every other round backwards. variant -> name -> values."""
    found: Dict[str, Dict[str, List[float]]] = {variant: {} for variant in variants}
    for number in range(rounds):
        for variant in list(variants)[:: -1 if number % 2 else 1]:
            for name, value in variants[variant]().items():
                found[variant].setdefault(name, []).append(value)
    return found


def compared(
    section: str, found: Dict[str, Dict[str, List[float]]], units: Dict[str, str], beside: str
) -> List[Figure]:
    """Figures of what alternate() found, with their ratios to the variant `beside`."""
    figures = []
    for name, unit in units.items():
        base = found[beside].get(name)
        for variant, values in found.items():
            if name not in values:
                continue
            ratios: List[float] = []
            if base and variant != beside and all(base):
                ratios = [value / b for value, b in zip(values[name], base)]
            against = beside if ratios else ""
            figures.append(Figure(section, name, variant, unit, values[name], against, ratios))
    return figures


# ---- CPU ----


def cpu_ns(pid: int) -> int:
    """CPU time of a process so far, of all its threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            total += int((task / "schedstat").read_text().split()[0])
    return total


def busy_ns() -> int:
    """Of two readings the difference is the busy time of all CPUs between them."""
    # What is not idle: the kernel measures idle time, but only samples what is busy.
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    idle, iowait, _irq, _softirq, steal = map(int, words[4:9])
    return (os.cpu_count() or 1) * time.monotonic_ns() - (idle + iowait + steal) * TICK_NS


def children_cpu_ns() -> int:
    """CPU time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def peak_mib(pid: int) -> float:
    """The most memory that a running process has had; 0 if it is gone."""
    # ru_maxrss would not do: a child begins with the peak of who started it.
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


# ---- Servers ----


class Server:
    """A memcached on a free port. A context manager."""

    def __init__(self, *options: str, cpu: Optional[int] = None) -> None:
        self.port = free_port()
        command = ["memcached", "-u", "nobody", "-U", "0", "-l", LOOPBACK, "-m", "1024"]
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        self.process = subprocess.Popen(
            [*command, "-p", str(self.port), *options], start_new_session=True
        )
        self.pid = self.process.pid

    def __enter__(self) -> Server:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((LOOPBACK, self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.02)

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


# ---- Loads ----

KEY_BYTES, VALUE_BYTES = 64, 1024  # what memcaslap uses


def make_profile(
    path: Path,
    operations: int,
    rate: float,
    depth: int = 1,
    connections: int = 50,
    keys: int = 10_000,
    value_bytes: Sequence[int] = (VALUE_BYTES,),
    even: bool = False,
    keys_a_get: int = 1,
) -> Path:
    """A profile of 9 gets to 1 set: batches of `depth`, the connections in turn.

    Or of gets alone that ask for several keys; each key is an operation.

    Of the keys the n-th is asked for 1/n as often as the first (Zipf), or all of them as often
    as each other (even). A key keeps its size
    of value, one of value_bytes.
    """
    chance = random.Random(1)
    codes = [chance.getrandbits(64) << 16 | KEY_BYTES for _ in range(keys)]
    weights = list(itertools.accumulate(1 if even else 1 / rank for rank in range(1, keys + 1)))
    sizes = {code: chance.choice(value_bytes) for code in codes}
    with membench.ProfileWriter(str(path)) as profile:
        header = {"source": "ebpf:any", "hook": "sock", "host": "bench", "ports": [11211]}
        profile.start({**header, "started_unix": time.time()}, 0)
        for number in range(1, connections + 1):
            profile.add_connection(number, number, 11211, membench.OPEN)
        ledger = membench.Ledger()
        step_ns = 1e9 / rate
        batch = depth * keys_a_get
        block = max(1, min(int(rate), 65536))  # as a recorder does, each second
        for first in range(0, operations, block):
            places = range(first, min(first + block, operations))
            count = len(places)
            chosen = chance.choices(codes, cum_weights=weights, k=count)
            forms = chance.choices((b"get", b"set"), (9, keys_a_get == 1), k=count)
            columns = (
                [1_000_000 + int(place // batch * batch * step_ns) for place in places],
                [20_000] * count,
                [place // batch % connections + 1 for place in places],
                forms,
                [membench.HIT if form == b"get" else membench.STORED for form in forms],
                [place // keys_a_get % depth for place in places],
                [place % keys_a_get for place in places],
                chosen,
                [sizes[code] for code in chosen],
                [0] * count,
            )
            profile.add(columns)
            profile.flush(ledger)
        profile.finish(ledger, {"duration_seconds": operations / rate})
    return path


def replay(
    profile: Path, port: int, *options: str, cpu: Optional[int] = None
) -> Tuple[Dict[str, Any], float]:
    """Results of a replay, and the CPU seconds of all its processes."""
    results = profile.with_suffix(".json")
    before = children_cpu_ns()
    subprocess.run(
        [
            *(() if cpu is None else ("taskset", "-c", str(cpu))),
            *(*MEMBENCH, "replay", str(profile), "--yes", "-q"),
            *("--target", f"{LOOPBACK}:{port}", "--stats-json", str(results), *options),
        ],
        stdout=subprocess.DEVNULL,
        check=True,
        start_new_session=True,
    )
    return json.loads(results.read_text()), (children_cpu_ns() - before) / 1e9


def drive(
    port: int, operations: int, threads: int = 1, connections: int = 16, cpu: Optional[int] = None
) -> Tuple[float, float]:
    """memcaslap as fast as it goes: operations per second, and its CPU seconds."""
    slap = shutil.which("memcaslap") or shutil.which("memaslap")
    assert slap, "memcaslap is missing: sudo make packages-test"
    before = children_cpu_ns()
    command = [slap, "-s", f"{LOOPBACK}:{port}", "-T", str(threads), "-c", str(connections)]
    if cpu is not None:
        command = ["taskset", "-c", str(cpu), *command]
    done = subprocess.run(
        [*command, "-x", str(operations)], capture_output=True, text=True, check=True, timeout=600
    )
    found = re.search(r"TPS: (\d+)", done.stdout)
    assert found, done.stdout
    return float(found[1]), (children_cpu_ns() - before) / 1e9


# ---- What is measured ----


class Tool:
    """A program beside the load, from when it is ready. A context manager."""

    def __init__(self, command: Sequence[str], ready: str, settle_seconds: float = 0.0) -> None:
        """ready: a word of the line on stderr that says so; settle_seconds: how long after
        the load it may still wait before it takes in what the kernel has for it."""
        self._settle_seconds = settle_seconds
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stderr
        said = []
        for line in self._process.stderr:
            said.append(line)
            if ready in line:
                break
        else:
            self._process.wait()
            sys.exit(f"{' '.join(command)} did not start: {''.join(said)}")
        self._started_ns = cpu_ns(self.pid)

    def __enter__(self) -> Tool:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()

    def settle(self) -> None:
        """Wait until it has taken in what there was."""
        time.sleep(self._settle_seconds)
        deadline = time.monotonic() + 60
        used = cpu_ns(self.pid)
        while time.monotonic() < deadline:
            time.sleep(0.1)
            before, used = used, cpu_ns(self.pid)
            if used - before < 5_000_000:
                return

    def stop(self) -> Tuple[int, str]:
        """CPU nanoseconds since it was ready, its end and its children included; its words."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.stderr
        words = self._process.stderr.read()
        _, status, used = os.wait4(self.pid, 0)
        self._process.returncode = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -status
        return int((used.ru_utime + used.ru_stime) * 1e9) - self._started_ns, words


def recorder(port: int, output: Path, *options: str, source: str = "ebpf:any") -> Tool:
    """`membench.py record` that has begun."""
    command = [*MEMBENCH, "record", source, "-o", str(output), "--port", str(port), "--force"]
    return Tool([*command, *options], "recording")


def tcpdump(port: int, output: Path, buffer_mib: int = 64) -> Tool:
    """`tcpdump -w` on loopback that has begun."""
    # It reads what the kernel has buffered once a second.
    return Tool(
        [
            *("tcpdump", "-B", str(buffer_mib << 10), "-i", "lo", "-w", str(output)),
            *("-Z", "root", "ip", "and", "tcp", "port", str(port)),
        ],
        "listening",
        1.1,
    )


@functools.cache
def stop_cost_ns(*options: str, source: str = "ebpf:any") -> int:
    """CPU that a recorder takes to end when it has recorded nothing: no part of the cost of
    an operation."""
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        with recorder(server.port, Path(folder, "none"), *options, source=source) as tool:
            time.sleep(0.3)
            return tool.stop()[0]


def analyze(profile: Path) -> Dict[str, Any]:
    """What `analyze --json` prints."""
    done = subprocess.run(
        [*MEMBENCH, "analyze", "--json", str(profile)], check=True, capture_output=True
    )
    report: Dict[str, Any] = json.loads(done.stdout)
    return report


# ---- Running them ----

Measure = Callable[[argparse.Namespace, Path], List[Figure]]


def show(figures: List[Figure]) -> None:
    """For the terminal."""
    for figure in figures:
        name = f"{figure.name}: {figure.variant}"
        against = f"   {spread(figure.ratios)} of {figure.beside}" if figure.ratios else ""
        print(f"  {name:<58} {spread(figure.values):>30} {figure.unit}{against}", flush=True)


def run(sections: Dict[str, Measure], options: argparse.Namespace) -> List[Figure]:
    """Measure sections, and show each when it is done."""
    figures: List[Figure] = []
    for name, measure in sections.items():
        summary_line = (measure.__doc__ or "").splitlines()[0]
        print(f"{name}: {summary_line}", flush=True)
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options, Path(folder))
        show(found)
        print(f"  ({time.monotonic() - begin:.0f} s)", flush=True)
        figures += found
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of all sections."""
    parser.add_argument("--quick", action="store_true", help="only to see that it works")
    parser.add_argument("--full", action="store_true", help="more rounds; 50 million operations")
    parser.add_argument("--rate", type=int, default=10_000, help="operations/s of the held rate")


def rounds(options: argparse.Namespace, usual: int) -> int:
    """How often to measure."""
    return 1 if options.quick else 2 * usual if options.full else usual


def main(sections: Dict[str, Measure], description: str) -> None:
    """For a file that is run alone."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add_options(parser)
    run(sections, parser.parse_args())
