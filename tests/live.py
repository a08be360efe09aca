# SPDX-License-Identifier: GPL-2.0-only
"""Real servers and real recorders for the tests; each ends what it started, by its pid."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import membench  # noqa: E402

MODULE = ROOT / "membench.py"


# Who has given up root can run it; the Python of the tests may be in root's home.
SYSTEM_PYTHON = "/usr/bin/python3"
COMPILE = "import py_compile, sys; py_compile.compile(*sys.argv[1:], doraise=True)"


@functools.cache
def compiled(python: str) -> Path:
    """A membench.py of bytecode: to compile it would take most of the time of a short run.

    This Python runs it as it would the source, and compiles that again if it is another one.
    """
    version = subprocess.run([python, "-VV"], stdout=subprocess.PIPE, check=True).stdout
    key = MODULE.read_bytes() + version
    folder = f"membench-{hashlib.sha256(key).hexdigest()[:16]}"
    place = Path(__file__).parent / "__pycache__" / folder / MODULE.name
    if not place.exists():
        subprocess.run([python, "-c", COMPILE, str(MODULE), str(place)], check=True)
    return place


COMPILED = compiled(sys.executable)
LOOPBACK = "127.0.0.1"

# What is waited for comes in a fraction of this on an idle machine. Only a test that fails
# waits for so long.
PATIENCE_SECONDS = 120


def repeats(times: int, part: int = 5) -> int:
    """How often to do it: so often by `make test-all`, otherwise a fifth, or another part."""
    return times if os.environ.get("MEMBENCH_TEST_ALL") else times // part


def free_port() -> int:
    """A TCP port that nothing listens on, and that no client will have.

    The kernel gives clients ports of a range of its own. One of those could be taken before
    the server has it; or who tries to connect to it before the server is there could be
    given the same, and be connected with itself. Each of pytest-xdist's processes chooses
    among ports of its own: another one could choose the same before the server has it.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[len("gw") :])
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        least = min(10_000, first // 2) + process
        port = random.SystemRandom().randrange(least, first, processes)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def free_network() -> str:
    """The first three numbers of the addresses of a network, the first of which is not in use."""
    while True:
        network = f"10.211.{random.SystemRandom().randrange(256)}"
        with socket.socket() as probe:
            try:
                probe.bind((f"{network}.1", 0))
            except OSError:
                return network


def wait_until(what: str, condition: Any, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when the condition holds; fail when it does not in time.

    A condition that takes long to look at is looked at less often.
    """
    begun = time.monotonic()
    deadline = begun + seconds
    while not condition():
        now = time.monotonic()
        assert now < deadline, f"waited {seconds} s for {what}"
        time.sleep(max(0.01, 4 * (now - begun)))
        begun = time.monotonic()


class Memcached:
    """A memcached of this machine on a port of its own. A context manager."""

    asked = 0  # how often it was asked for statistics
    told_bytes = 0  # how long the answers were

    def __init__(self, *options: str, listen: str = LOOPBACK, port: int = 0) -> None:
        self.port = port or free_port()
        self.listen = listen
        command = [find_memcached(), "-u", "nobody", "-U", "0", "-l", listen]
        self.process = subprocess.Popen([*command, "-p", str(self.port), *options])

    @property
    def address(self) -> Any:
        """As clients take it."""
        return self.listen, self.port

    def __enter__(self) -> Memcached:
        # The first connection is kept for the statistics: one more would be counted by
        # another thread of the server, some time later.
        wait_until("memcached", self._accepts)
        RUNNING.add(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        RUNNING.discard(self)
        self.control.close()
        self.process.kill()  # on SIGTERM it takes a second
        self.process.wait(PATIENCE_SECONDS)

    def _accepts(self) -> bool:
        try:
            self.control = self.connect()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        """A new connection to the server."""
        connection = socket.create_connection((self.listen, self.port), PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def renew_control(self) -> None:
        """Ask for statistics over a new connection from now on, which a recorder sees whole."""
        self.control.close()
        self.control = self.connect()

    def stats(self) -> Counter[str]:
        """The server's own counters, over one connection that stays open."""
        answer = exchange(self.control, b"stats\r\n", b"END\r\n")
        self.asked += 1
        self.told_bytes += len(answer)
        lines = answer.decode().splitlines()
        return Counter(
            {
                name: int(value)
                for _, name, value in (line.split(" ", 2) for line in lines[:-1])
                if value.isdigit()
            }
        )

    def written_but_statistics(self) -> int:
        """How many bytes it has written, without the answers to stats()."""
        found = [-1, -2]
        while found[-1] != found[-2]:  # a thread counts an answer just after it was written
            time.sleep(0.05)
            told = self.told_bytes
            found.append(self.stats()["bytes_written"] - told)
        return found[-1]

    def wait_until_read(self, count: int) -> None:
        """Until it has read so many bytes, without what asked for statistics."""

        def has_read() -> bool:
            total = self.stats()["bytes_read"]
            return total - self.asked * len(b"stats\r\n") >= count

        wait_until("the server to read", has_read)


RUNNING: Set[Memcached] = set()


def find_memcached() -> str:
    """The path of memcached; the tests cannot run without it."""
    path = shutil.which("memcached", path=os.environ["PATH"] + ":/usr/bin")
    assert path, "memcached is not installed; run make test"
    return path


def as_user(name: str) -> Dict[str, Any]:
    """Options of subprocess.run: as this user alone, in none of the groups of root."""
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def exchange(connection: socket.socket, data: bytes, end: bytes) -> bytes:
    """Send, then read until the answer ends so."""
    connection.sendall(data)
    return read_until(connection, end)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read until what was read ends so."""
    received = bytearray()
    while not received.endswith(end):
        chunk = connection.recv(1 << 20)
        assert chunk, f"the server closed the connection after {bytes(received[-80:])!r}"
        received += chunk
    return bytes(received)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run membench.py to its end."""
    return subprocess.run(
        [sys.executable, str(COMPILED), *arguments],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
        **options,
    )


def thread_state(stat: Path) -> str:
    """The letter that ps has for the state of a process or thread; "" if it is gone."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def freeze(pid: int) -> None:
    """Stop a process, and return when each of its threads has stopped."""
    os.kill(pid, signal.SIGSTOP)
    stats = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    wait_until("it to stop", lambda: {thread_state(stat) for stat in stats} <= {"T", ""})


def wait_for_servers() -> None:
    """Until each thread of each server has got to the end of what it was doing.

    A reply may be read before the server's call is over that wrote it, and the recorder is
    told by then: on a busy machine a recording could end in between. Twice, because one
    thread accepts a connection and another one goes on with it.
    """
    for server in [*RUNNING] * 2:
        for stat in Path(f"/proc/{server.process.pid}/task").glob("*/stat"):
            wait_until("the server's thread to rest", lambda stat=stat: thread_state(stat) != "R")


class Recorder:
    """`membench.py record` in the background. A context manager; stop() ends it."""

    def __init__(
        self,
        output: Path,
        *options: str,
        source: str = "ebpf:any",
        module: Path = COMPILED,
        command: Sequence[str] = (),
        cwd: Optional[Path] = None,
    ) -> None:
        """command: what runs membench.py, and membench.py; this Python and `module`.

        source "": it chooses.
        """
        self.output = output
        self.errors: List[str] = []
        self.process = subprocess.Popen(
            [
                *(command or (sys.executable, str(module))),
                "record",
                *([source] if source else []),
                "-o",
                str(output),
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )

    def __enter__(self) -> Recorder:
        assert self.process.stderr
        for line in self.process.stderr:
            self.errors.append(line)
            if "recording" in line:
                return self
        self.process.wait(PATIENCE_SECONDS)
        raise AssertionError("".join(self.errors))

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_SECONDS)
        assert self.process.stderr
        self.process.stderr.close()

    def stop(self, number: int = signal.SIGINT) -> Dict[str, Any]:
        """End the recording as a user does; then its analysis."""
        wait_for_servers()
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> Dict[str, Any]:
        """Wait for the end of the recording; then its analysis."""
        _, errors = self.process.communicate(timeout=2 * PATIENCE_SECONDS)
        self.errors.append(errors)
        assert self.process.returncode in (0, 4), "".join(self.errors)
        if self.process.returncode == 4:  # then there is no profile
            return {"operations": 0}
        report = analyze(self.output)
        assert report["operations"] or "--allow-empty" in self.process.args
        return report


def analyze(profile: Path) -> Dict[str, Any]:
    """What `analyze --json` prints."""
    done = run("analyze", "--json", str(profile))
    assert done.returncode == 0, done.stderr
    result: Dict[str, Any] = json.loads(done.stdout)
    return result


Row = Tuple[str, str, int, int]  # form, outcome, key size, value size


def read_rows(profile: Path) -> List[Row]:
    """All operations of a profile."""
    rows: List[Row] = []
    with membench.ProfileReader(str(profile)) as reader:
        for block in reader.blocks():
            for form, outcome, key, size in zip(
                block.form, block.outcome, block.key, block.value_size
            ):
                rows.append(
                    (reader.forms[form], membench.OUTCOMES[outcome], block.key_size[key], size)
                )
    return rows


def columns_of(profile: Path) -> bytes:
    """All columns of a profile, unpacked, and its forms."""
    columns = b""
    with membench.ProfileReader(str(profile)) as reader:
        for block in reader.blocks():
            columns += b"".join(bytes(getattr(block, name)) for name in block.__slots__)
        return columns + "".join(reader.forms).encode()


STORAGE = ("set", "add", "replace", "append", "prepend", "cas", "ms")


def counters(profile: Path) -> Counter[str]:
    """What memcached 1.6.18's `stats` must say, computed from the recorded operations.

    From its sources: cmd_set counts bodies that were read; gat counts as touch alone; mg
    with T counts as touch when it hits; md that meets another CAS is a delete miss.
    """
    counted: Counter[str] = Counter()
    for form, outcome, _, _ in read_rows(profile):
        command, *flags = form.split(" ")
        if flags[:1] == ["binary"]:
            count_binary(counted, command, flags, outcome)
            continue
        modes = [flag[1:].upper() for flag in flags if flag[0] == "M"]
        has_cas = command == "cas" or (command == "ms" and "C" in flags)
        if command in STORAGE and outcome != "server_error":
            counted["cmd_set"] += 1
        if has_cas and modes in ([], ["S"], ["R"]):
            name = {"stored": "cas_hits", "exists": "cas_badval", "not_found": "cas_misses"}
            counted[name.get(outcome, "other")] += 1
        elif command in ("gat", "gats") or (
            command == "mg" and outcome == "hit" and any(flag[0] == "T" for flag in flags)
        ):
            counted["cmd_touch"] += 1
            counted["touch_hits" if outcome == "hit" else "touch_misses"] += 1
        elif command in ("get", "gets", "mg") and outcome in ("hit", "miss"):
            counted["cmd_get"] += 1
            counted["get_hits" if outcome == "hit" else "get_misses"] += 1
        elif command == "touch":
            counted["cmd_touch"] += 1
            counted["touch_hits" if outcome == "touched" else "touch_misses"] += 1
        elif command == "delete" or (command == "md" and "I" not in flags):
            counted["delete_hits" if outcome == "deleted" else "delete_misses"] += 1
        elif command in ("incr", "decr", "ma"):
            down = command == "decr" or modes in (["D"], ["-"], ["DECR"])
            name = ("decr" if down else "incr") + ("_hits" if outcome == "ok" else "_misses")
            counted[name] += 1
        elif command == "me":
            counted["cmd_meta"] += 1
        elif command == "flush_all":
            counted["cmd_flush"] += 1
    return counted


def count_binary(counted: Counter[str], command: str, flags: List[str], outcome: str) -> None:
    """The same for the binary protocol."""
    name = command.rstrip("qk")
    hit = "hits" if outcome in ("hit", "touched", "deleted", "ok") else "misses"
    if name == "get":
        counted["cmd_get"] += 1
        counted[f"get_{hit}"] += 1
    elif name in ("gat", "touch"):
        counted["cmd_touch"] += 1
        counted[f"touch_{hit}"] += 1
    elif name in ("delete", "incr", "decr"):
        if outcome != "stored":  # made anew
            counted[f"{name}_{hit}"] += 1
    elif name in STORAGE and outcome != "server_error":
        counted["cmd_set"] += 1
        if flags[-1] == "cas":
            kinds = {"stored": "cas_hits", "exists": "cas_badval", "not_found": "cas_misses"}
            counted[kinds.get(outcome, "other")] += 1
    elif name == "flush":
        counted["cmd_flush"] += 1


COMPARED = (
    *("cmd_get", "get_hits", "get_misses", "cmd_set", "cmd_touch", "touch_hits", "touch_misses"),
    *("delete_hits", "delete_misses", "incr_hits", "incr_misses", "decr_hits", "decr_misses"),
    *("cas_hits", "cas_misses", "cas_badval", "cmd_meta", "cmd_flush"),
)


def assert_exact(
    before: Counter[str], after: Counter[str], report: Dict[str, Any], profile: Path
) -> None:
    """The recording equals the server's own counters, and lost nothing."""
    counted = counters(profile)
    recorded = {name: counted[name] for name in COMPARED}
    assert recorded == {name: after[name] - before[name] for name in COMPARED}
    for name in ("hits", "misses"):
        assert report[name] == sum(command[name] for command in report["commands"].values())
    assert report["hits"] == sum(row[1] == "hit" for row in read_rows(profile))
    assert report["connections_opened"] == after["total_connections"] - before["total_connections"]
    assert_nothing_lost(report)


def assert_nothing_lost(report: Dict[str, Any]) -> None:
    """Every byte of the recording was understood."""
    loss = report["loss"]
    assert loss["bytes_seen"] > 0
    assert (loss["bytes_lost"], loss["events_lost"]) == (0, 0)
    assert (loss["unmatched_responses"], loss["resyncs"], loss["coverage"]) == (0, 0, 1.0)
    assert all(profile["complete"] for profile in report["profiles"])


def kernel_ids(pid: int) -> Set[Tuple[str, int]]:
    """The BPF programs, maps and links that a process holds: (kind, id)."""
    found = set()
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = file.read_text()
        except FileNotFoundError:  # closed meanwhile
            continue
        for kind, number in re.findall(r"^(prog|map|link)_id:\t(\d+)$", text, re.M):
            found.add((kind, int(number)))
    return found


def loaded_ids() -> Set[Tuple[str, int]]:
    """All that the kernel has, as bpftool lists it."""
    found = set()
    for kind in ("prog", "map", "link"):
        done = subprocess.run(
            ["bpftool", "--json", kind, "list"], stdout=subprocess.PIPE, check=True
        )
        found |= {(kind, item["id"]) for item in json.loads(done.stdout or b"[]")}
    return found


def require(sequence: Sequence[Any]) -> Sequence[Any]:
    """A list that must not be empty, so that a loop over it tests something."""
    assert sequence
    return sequence
