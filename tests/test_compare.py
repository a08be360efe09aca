"""Comparing profiles: the same traffic is the same, anything else is told."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

import pytest
from live import Memcached, Recorder, exchange, run
from test_record import run_pipelines

SALT = ("--salt", "00112233445566778899aabbccddeeff")


def record(output: Path, traffic: Callable[[Memcached], None], *options: str) -> Path:
    """A recording of the traffic on a server of its own."""
    with Memcached() as server, Recorder(output, "--port", str(server.port), *options) as recorder:
        traffic(server)
        recorder.stop()
    return output


def gets(*lines: bytes) -> Callable[[Memcached], None]:
    """A client that sends these lines, each a command that is answered with one line."""

    def traffic(server: Memcached) -> None:
        with server.connect() as connection:
            for line in lines:
                exchange(connection, line + b"\r\n", b"\r\n")

    return traffic


def test_the_same_traffic_recorded_by_two(tmp_path: Path) -> None:
    with Memcached() as server:
        port = ("--port", str(server.port), *SALT)
        with Recorder(tmp_path / "a", *port) as one:
            with Recorder(tmp_path / "b", *port, "--hook", "syscalls") as two:
                for seed in range(3):
                    run_pipelines(server, seed)
                one.stop()
                two.stop()
    done = run("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.returncode == 0, done.stdout
    assert "the same, times aside" in done.stdout
    assert "!=" not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


BASE = (b"set a 0 60 1\r\nx", b"get b", b"get b c", b"delete a", b"touch b 5")


@pytest.mark.parametrize(
    ("change", "marked"),
    [
        ({0: b"set a 0 60 2\r\nxx"}, {"value sizes"}),
        ({0: b"set a 0 61 1\r\nx"}, {"times to live"}),
        ({1: b"gets b"}, {"get", "  miss", "gets"}),
        ({2: b"get bb cc"}, {"key sizes", "key popularity", "different keys", "which keys"}),
        ({2: b"get b d"}, {"which keys"}),
        ({1: b"get b c", 2: b"get b"}, set()),
        ({3: b"delete b"}, {"  deleted", "  not_found", "which keys"}),
    ],
)
def test_differences_are_told(change: Dict[int, bytes], marked: set[str], tmp_path: Path) -> None:
    other = [change.get(index, line) for index, line in enumerate(BASE)]
    first = record(tmp_path / "a", gets(*BASE), *SALT)
    second = record(tmp_path / "b", gets(*other), *SALT)
    done = run("compare", str(first), str(second))
    found = {line[:18].rstrip() for line in done.stdout.splitlines() if line.endswith("!=")}
    assert marked <= found or (not marked and not found), done.stdout
    assert done.returncode == (1 if found else 0)
    assert bool(found) == bool(marked)


def test_keys_are_not_compared_across_secrets(tmp_path: Path) -> None:
    first = record(tmp_path / "a", gets(*BASE))
    second = record(tmp_path / "b", gets(*BASE))
    done = run("compare", str(first), str(second))
    assert done.returncode == 0, done.stdout
    assert "--salt" in done.stdout


def test_what_is_no_profile(tmp_path: Path) -> None:
    first = record(tmp_path / "a", gets(*BASE))
    done = run("compare", str(first), "/etc/passwd")
    assert done.returncode == 1
    assert "is not a membench profile" in done.stderr
