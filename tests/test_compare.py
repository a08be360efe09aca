# SPDX-License-Identifier: GPL-2.0-only
"""Comparing profiles: the same traffic is the same, anything else is told."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

import pytest
from live import Memcached, Recorder, exchange, run
from test_record import run_pipelines

import membench

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
    assert "the same, ignoring timing" in done.stdout
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


def lines_of(text: str) -> Dict[str, tuple[str, ...]]:
    """name -> the two profiles' texts, of the lines that differ."""
    marked = [line for line in text.splitlines() if line.endswith("!=")]
    return {line[:18].rstrip(): (line[18:46].strip(), line[46:74].strip()) for line in marked}


def test_what_is_rounded_to_the_same_text_is_told(tmp_path: Path) -> None:
    def traffic(keys: str, sizes: str, ttls: str, multi: str) -> Callable[[Memcached], None]:
        def run_it(server: Memcached) -> None:
            with server.connect() as connection:
                for key, size, ttl in zip(keys, sizes, ttls):
                    line = f"set {key} 0 {ttl}0 {size}0\r\n{int(size) * '0123456789'}\r\n"
                    exchange(connection, line.encode(), b"STORED\r\n")
                for count in multi:
                    line = f"get {' '.join('wxyz'[: int(count)])}\r\n"
                    exchange(connection, line.encode(), b"END\r\n")

        return run_it

    first = traffic("aaabbccddd", "1112233444", "6667777777", "1322")
    second = traffic("aaabbbbccd", "1122233344", "6677777777", "1133")
    one, two = record(tmp_path / "a", first, *SALT), record(tmp_path / "b", second, *SALT)
    done = run("compare", str(one), str(two))
    assert done.returncode == 1
    found = lines_of(done.stdout)
    assert found.pop("which keys") == ("7 in both", "7 in both")
    keys = {name: found.pop(name) for name in list(found) if len(name) == 18}  # their hashes
    assert {("2", "4"), ("3", "1")} < set(keys.values()) and len(keys) == 3
    assert found == {
        "value sizes": ("10..40, mean 25.0", "10..40, mean 25.0"),
        **{"  10 bytes": ("3", "2"), "  20 bytes": ("2", "3"), "  30 bytes": ("2", "3")},
        "times to live": ("2 kinds", "2 kinds"),
        **{"  set 60": ("3", "2"), "  set 70": ("7", "8")},
        "keys per get": ("1..3, mean 2.0", "1..3, mean 2.0"),
        **{"  2 keys": ("2", "0"), "  1 keys": ("1", "2"), "  3 keys": ("1", "2")},
        "key popularity": ("hottest 4", "hottest 4"),
        "  used 3 times": ("3", "1"),
        **{"  used 2 times": ("2", "3"), "  used 4 times": ("1", "2")},
    }
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_ratios_that_differ_do_so_in_the_text() -> None:
    line = membench.equal("hit ratio", 0.98765431, 0.98765432)
    assert (line.same, line.first, line.second) == (False, "0.98765431", "0.98765432")


def test_an_error_has_the_status_of_a_difference_and_an_empty_output(tmp_path: Path) -> None:
    done = run("compare", str(tmp_path / "none"), str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot read" in done.stderr


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
