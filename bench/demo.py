#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A memcached of its own, some seconds of a web shop's traffic, a recording, the report.

    sudo make demo

Keeps the profile as demo.profile in the current folder; all else is gone when it ends, however
it ends. Exit status 1 if the report and memcached's own counters differ.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect
from itertools import accumulate
from pathlib import Path
from typing import Any, Dict, Iterator, List

MEMBENCH = Path(__file__).resolve().parent.parent / "membench.py"
PROFILE = "demo.profile"
CLIENTS = 8
SECONDS = 8.0
VISITS = 12_000  # of all clients: each is a few requests
SESSIONS, PAGES = 4_000, 1_500  # names of keys: session:… and page:…

# memcached's counter -> the commands and outcomes that it counts, as the report names them.
GETS = ("get", "gets", "mg")
COUNTERS = {
    "cmd_get": (GETS, ("hit", "miss")),
    "get_hits": (GETS, ("hit",)),
    "get_misses": (GETS, ("miss",)),
    "cmd_set": (("set", "add", "cas", "ms"), ("stored", "not_stored", "exists", "not_found")),
    "cmd_touch": (("touch",), ("touched", "not_found")),
    "touch_hits": (("touch",), ("touched",)),
    "incr_hits": (("incr",), ("hit", "ok")),
    "incr_misses": (("incr",), ("not_found",)),
    "delete_hits": (("delete", "md"), ("deleted",)),
    "delete_misses": (("delete", "md"), ("not_found",)),
    "cas_hits": (("cas",), ("stored",)),
    "cas_badval": (("cas",), ("exists",)),
    "cas_misses": (("cas",), ("not_found",)),
}


class Client:
    """One connection; it waits for each reply."""

    def __init__(self, port: int) -> None:
        self._link = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._replies = self._link.makefile("rb")

    def close(self) -> None:
        self._replies.close()
        self._link.close()

    def ask(self, line: str, value: str = "") -> List[List[bytes]]:
        """Send one request; the words of the lines of its reply, without values and END."""
        body = f"{value}\r\n" if value else ""
        self._link.sendall(f"{line}\r\n{body}".encode())
        return self._read_reply(line.startswith(("get", "stats")))

    def _read_reply(self, until_end: bool) -> List[List[bytes]]:
        lines: List[List[bytes]] = []
        while True:
            words = self._replies.readline().split()
            if not words:
                raise ConnectionError("memcached closed a connection")
            if words == [b"END"]:
                return lines
            lines.append(words)
            if words[0] in (b"VALUE", b"VA"):
                self._replies.read(int(words[1 if words[0] == b"VA" else 3]) + 2)
            if not until_end:
                return lines


class Popularity:
    """Numbers below `count`, small ones more often: Zipf's law, as caches see it."""

    def __init__(self, count: int) -> None:
        self._sums = list(accumulate(1 / (rank + 1) for rank in range(count)))

    def choose(self, chance: random.Random) -> int:
        return bisect(self._sums, chance.random() * self._sums[-1])


class Visitor(threading.Thread):
    """A web server's worker: visit after visit, over one connection."""

    def __init__(self, number: int, port: int, start: float) -> None:
        super().__init__(daemon=True)
        self._chance = random.Random(number)
        self._start = start
        self._meta = number % 4 == 3  # these speak memcached's newer protocol
        self._client = Client(port)
        self._sessions, self._pages = Popularity(SESSIONS), Popularity(PAGES)
        self.failed = True

    def run(self) -> None:
        visits = VISITS // CLIENTS
        for number in range(visits):
            # More of them in the middle of the time than at its ends, as of a day.
            due = math.acos(1 - 2 * (number + 0.5) / visits) / math.pi * SECONDS
            time.sleep(max(self._start + due - time.monotonic(), 0))
            self._visit()
        self._client.close()
        self.failed = False

    def _visit(self) -> None:
        chance, ask = self._chance, self._client.ask
        session = f"session:{self._sessions.choose(chance):08x}"
        page = f"page:/articles/{self._pages.choose(chance)}"
        if not ask(f"get {session}"):
            self._set(session, 2, chance.randint(100, 400))
        elif chance.random() < 0.2:
            ask(f"touch {session} 2")
        if self._meta:
            if ask(f"mg {page} t v")[0] == [b"EN"]:
                value = self._page()
                ask(f"ms {page} {len(value)} T60", value)
        elif not ask(f"get {page}"):
            self._set(page, 60, 0)
        if chance.random() < 0.2:
            others = {f"page:/articles/{self._pages.choose(chance)}" for _ in range(5)}
            ask("get " + " ".join(sorted(others)))
        if chance.random() < 0.1 and ask(f"incr {page}:views 1") == [[b"NOT_FOUND"]]:
            ask(f"add {page}:views 0 0 1", "1")
        if chance.random() < 0.02:
            self._edit(page)
        if chance.random() < 0.01:  # logs out, if that is not done yet
            ask(f"delete session:{chance.randrange(SESSIONS // 10):08x}")

    def _set(self, key: str, ttl: int, size: int) -> None:
        value = "v" * size or self._page()
        self._client.ask(f"set {key} 0 {ttl} {len(value)}", value)

    def _page(self) -> str:
        return "v" * min(int(self._chance.lognormvariate(7.5, 0.8)), 50_000)

    def _edit(self, page: str) -> None:
        """Somebody changes the page: its copy is replaced, or thrown away."""
        if self._meta or self._chance.random() < 0.5:
            self._client.ask(f"md {page}" if self._meta else f"delete {page}")
        elif found := self._client.ask(f"gets {page}"):
            value = self._page()
            self._client.ask(f"cas {page} 0 60 {len(value)} {found[0][4].decode()}", value)


@contextlib.contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command, until the end of the block."""
    try:
        process = subprocess.Popen(command, text=True, **options)
    except FileNotFoundError:
        sys.exit(f"demo: {command[0]} is missing: sudo make deps-run")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until_it_answers(server: subprocess.Popen[str], port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port)).close()
        if server.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit("demo: memcached did not start")


def record(port: int) -> None:
    """Record the load into PROFILE."""
    options = ("record", "--port", str(port), "--force", PROFILE)
    print("$ membench.py", *options, flush=True)
    with running(sys.executable, str(MEMBENCH), *options, stderr=subprocess.PIPE) as recorder:
        assert recorder.stderr
        for line in recorder.stderr:
            print(line, end="", flush=True)
            if "recording" in line:
                break
        else:
            sys.exit("demo: membench could not record")
        print(f"(about {SECONDS:.0f} s of traffic)", flush=True)
        start = time.monotonic()
        visitors = [Visitor(number, port, start) for number in range(CLIENTS)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        recorder.send_signal(signal.SIGINT)  # as Ctrl-C does
        print(recorder.communicate()[1], end="", flush=True)
        if recorder.returncode or any(visitor.failed for visitor in visitors):
            sys.exit("demo: the recording or its load failed")


def membench(*arguments: str) -> str:
    """What membench prints."""
    command = [sys.executable, str(MEMBENCH), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def counted(report: Dict[str, Any], commands: List[str], outcomes: List[str]) -> int:
    """How many operations of these commands had one of these outcomes."""
    found = (report["commands"].get(command, {"outcomes": {}}) for command in commands)
    return sum(each["outcomes"].get(outcome, 0) for each in found for outcome in outcomes)


def compare_with_stats(port: int) -> bool:
    """Print memcached's counters beside the report's. Are all equal?"""
    report = json.loads(membench("analyze", "--json", PROFILE))
    client = Client(port)
    stats = {words[1].decode(): words[2].decode() for words in client.ask("stats")}
    client.close()
    print("memcached's own counters, and the same numbers from the profile:")
    print(f"  {'':<14}{'memcached':>10}{'membench':>10}")
    equal = True
    for name, (commands, outcomes) in COUNTERS.items():
        own, ours = int(stats[name]), counted(report, commands, outcomes)
        equal = equal and own == ours
        print(f"  {name:<14}{own:>10,}{ours:>10,}{'' if own == ours else '  differs!'}")
    return equal


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    port = free_port()
    command = ("memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", str(port), "-U", "0")
    with running(*command) as server:
        wait_until_it_answers(server, port)
        record(port)
        print(f"\n$ membench.py analyze {PROFILE}\n{membench('analyze', PROFILE)}")
        equal = compare_with_stats(port)
    tool = os.path.relpath(MEMBENCH)
    print(f"""
The profile is {os.path.abspath(PROFILE)}. Three commands to try next:

  python3 {tool} analyze --why --mrc {PROFILE}    # causes of misses; more memory?
  python3 {tool} replay {PROFILE} --target HOST:PORT --dry-run
  sudo python3 {tool} record     # of this machine's own memcached; Ctrl-C ends it""")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
