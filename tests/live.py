"""Real servers and real recorders for the tests; each ends what it started, by its pid."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import membench  # noqa: E402

MODULE = ROOT / "membench.py"
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, condition: Any, seconds: float = 15.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


class Memcached:
    """A memcached of this machine on a port of its own. A context manager."""

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
        return self

    def __exit__(self, *_exception: object) -> None:
        self._control.close()
        self.process.kill()  # on SIGTERM it takes a second
        self.process.wait(10)

    def _accepts(self) -> bool:
        try:
            self._control = self.connect()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        """A new connection to the server."""
        connection = socket.create_connection((self.listen, self.port), 20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def renew_control(self) -> None:
        """Ask for statistics over a new connection from now on, which a recorder sees whole."""
        self._control.close()
        self._control = self.connect()

    def stats(self) -> Counter[str]:
        """The server's own counters, over one connection that stays open."""
        lines = exchange(self._control, b"stats\r\n", b"END\r\n").decode().splitlines()
        return Counter(
            {
                name: int(value)
                for _, name, value in (line.split(" ", 2) for line in lines[:-1])
                if value.isdigit()
            }
        )


def find_memcached() -> str:
    """The path of memcached; the tests cannot run without it."""
    path = shutil.which("memcached", path=os.environ["PATH"] + ":/usr/bin")
    assert path, "memcached is not installed; run make test"
    return path


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
        [sys.executable, str(MODULE), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


class Recorder:
    """`membench.py record` in the background. A context manager; stop() ends it."""

    def __init__(
        self,
        output: Path,
        *options: str,
        source: str = "ebpf:any",
        module: Path = MODULE,
        command: Sequence[str] = (),
        cwd: Optional[Path] = None,
    ) -> None:
        """command: what runs membench.py, and membench.py; this Python and `module`."""
        self.output = output
        self.errors: List[str] = []
        self.process = subprocess.Popen(
            [*(command or (sys.executable, str(module))), "record", source, str(output), *options],
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
        self.process.wait(10)
        raise AssertionError("".join(self.errors))

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        assert self.process.stderr
        self.process.stderr.close()

    def stop(self, number: int = signal.SIGINT) -> Dict[str, Any]:
        """End the recording as a user does; then its analysis."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> Dict[str, Any]:
        """Wait for the end of the recording; then its analysis."""
        _, errors = self.process.communicate(timeout=60)
        self.errors.append(errors)
        assert self.process.returncode == 0, "".join(self.errors)
        return analyze(self.output)


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
    assert report["connections_opened"] == after["total_connections"] - before["total_connections"]
    assert_nothing_lost(report)


def assert_nothing_lost(report: Dict[str, Any]) -> None:
    """Every byte of the recording was understood."""
    loss = report["loss"]
    assert loss["bytes_seen"] > 0
    assert (loss["bytes_lost"], loss["events_lost"]) == (0, 0)
    assert (loss["unmatched_responses"], loss["resyncs"], loss["coverage"]) == (0, 0, 1.0)
    assert all(profile["complete"] for profile in report["profiles"])


def bpf_objects() -> List[Tuple[str, Optional[str]]]:
    """The tracing programs and the links that are loaded, as bpftool lists them."""
    found: List[Tuple[str, Optional[str]]] = []
    for kind in ("prog", "link"):
        listed = subprocess.run(
            ["bpftool", "--json", kind, "list"], capture_output=True, text=True, check=True
        )
        for item in json.loads(listed.stdout or "[]"):
            if item.get("type") in ("tracing", "tracepoint", "raw_tracepoint", "perf_event"):
                found.append((kind, item.get("name")))
    return found


def require(sequence: Sequence[Any]) -> Sequence[Any]:
    """A list that must not be empty, so that a loop over it tests something."""
    assert sequence
    return sequence
