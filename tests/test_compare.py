# SPDX-License-Identifier: GPL-2.0-only
"""Comparing profiles: traffic that is as it was is the same, and what changed is told.

Real recordings of a real server show what a user gets. How often chance alone gives a change, and
which changes are found, is tried on many written profiles of bursty traffic.
"""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from live import Memcached, Recorder, exchange, repeats, run
from test_record import run_pipelines

import membench
from membench import HIT, MISS, NO_SIZE, RECV, STORED, Ledger, ProfileWriter

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


def compare(first: Path, second: Path, *options: str) -> Dict[str, Any]:
    """What `compare --json` prints; the exit status agrees with it."""
    done = run("compare", "--json", *options, str(first), str(second))
    assert done.stdout, done.stderr
    result: Dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == {"same": 0, "changed": 1, "not enough data": 3}[result["verdict"]]
    assert (result["verdict"] == "changed") == bool(names_of(result, "changed"))
    return result


def names_of(result: Dict[str, Any], verdict: str) -> List[str]:
    return [line["name"] for line in result["lines"] if line["verdict"] == verdict]


# ---- Rates and shares ----


START_NS = 10**9


def write_traffic(
    path: Path,
    seed: int,
    hit: float = 0.6,
    latency: float = 1.0,
    sets: float = 0.1,
    bursts: float = 30.0,
    size: float = 1.0,
    seconds: float = 60.0,
    ledger: Optional[Ledger] = None,
    **header: Any,
) -> Path:
    """A profile of bursts of requests; what is in a burst hits together and is slow together."""
    rng = random.Random(seed)
    with ProfileWriter(str(path), force=True) as profile:
        header = {"source": "ebpf:any", "side": "server", "key_space": "0", **header}
        profile.start({"ports": [1], "started_unix": 1.7e9, **header}, START_NS)
        for number in range(1, 9):
            profile.add_connection(START_NS, number, 1, RECV)
        at = rng.expovariate(bursts)
        while at < seconds:
            warm = rng.betavariate(3 * hit, 3 * (1 - hit))
            slow = rng.lognormvariate(0, 0.3) * latency
            number = rng.randrange(1, 9)
            for place in range(min(int(rng.paretovariate(1.3)), 100)):
                begin = (
                    START_NS + int(at * 1e9) + place * 1000,
                    int(rng.lognormvariate(9.5, 0.6) * slow),
                )
                code = rng.randrange(1, 5000) << 40 | 20
                if rng.random() < sets:
                    length = int(rng.lognormvariate(5, 0.5) * size)
                    profile.add(zip((*begin, number, b"set 0", STORED, 0, 0, code, length, 60)))
                elif rng.random() < warm:
                    profile.add(zip((*begin, number, b"get", HIT, 0, 0, code, 300, 0)))
                else:
                    profile.add(zip((*begin, number, b"get", MISS, 0, 0, code, NO_SIZE, 0)))
            at += rng.expovariate(bursts)
        profile.finish(ledger or Ledger(), {"duration_seconds": seconds})
    return path


def test_bursty_traffic_that_goes_on_is_the_same(tmp_path: Path) -> None:
    """No line of 10 pairs, or 20, is called changed: fewer than 1 line in 1,000 is by chance."""
    one, two = tmp_path / "a", tmp_path / "b"
    for seed in range(0, repeats(40, 2), 2):
        write_traffic(one, seed)
        write_traffic(two, seed + 1)
        result = membench.compare(str(one), str(two))
        assert names_of(result, "changed") == [], seed
        assert len(names_of(result, "same")) >= 8
        assert result["verdict"] == "same"


CHANGES: Dict[str, Tuple[Dict[str, float], str, float]] = {
    "a fifth fewer hits": ({"hit": 0.48}, "hit ratio", -0.2),
    "twice the latency": ({"latency": 2.0}, "latency, p50", 1.0),
    "twice the sets": ({"sets": 0.2}, "set", 1.0),
    "half more requests": ({"bursts": 45.0}, "operations/s", 0.5),
    "larger values": ({"size": 8.0}, "value size, mean", 0.6),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_comes_first(name: str, tmp_path: Path) -> None:
    change, line_name, expected = CHANGES[name]
    one, two = write_traffic(tmp_path / "a", 1000), write_traffic(tmp_path / "b", 1001, **change)
    result = compare(one, two)
    lines = {line["name"]: line for line in result["lines"]}
    assert line_name in names_of(result, "changed")[:3]
    assert line_name in [line["name"] for line in result["lines"][:3]]
    assert lines[line_name]["change"] == pytest.approx(expected, abs=0.3)
    back = compare(two, one)
    assert line_name in names_of(back, "changed")
    text = run("compare", str(one), str(two)).stdout
    assert text.index("\nChanged\n") < text.index(f" {line_name}") < text.index("\nSame\n")
    assert compare(one, two, "--tolerance", "1000%")["verdict"] == "same"


def write_steady(path: Path, operations: int, seconds: float = 60.0) -> Path:
    """A profile of gets at equal distances, of which every tenth misses and is slow."""
    with ProfileWriter(str(path), force=True) as profile:
        profile.start({"ports": [1], "started_unix": 1.7e9}, START_NS)
        for number in range(operations):
            at = START_NS + int((number + 0.5) / operations * seconds * 1e9)
            slow = number % 10 == 0
            about = (b"get", MISS if slow else HIT, 0, 0, number % 7 << 40 | 20, NO_SIZE, 0)
            profile.add(zip((at, 50_000 if slow else 10_000, 1, *about)))
        profile.finish(Ledger(), {"duration_seconds": seconds})
    return path


def test_little_data_is_not_the_same(tmp_path: Path) -> None:
    """Nothing changed, as far as is known, but that is little."""
    one, two = (
        write_traffic(tmp_path / name, seed, seconds=6) for name, seed in (("a", 3), ("b", 4))
    )
    result = compare(one, two)
    assert result["verdict"] == "not enough data"
    done = run("compare", str(one), str(two))
    counts = [len(names_of(result, verdict)) for verdict in ("same", "not enough data")]
    assert all(counts)
    ending = "\nnot enough data: 0 changed, {} the same, {} not enough data, 1 not judged\n"
    assert done.stdout.endswith(ending.format(*counts))
    assert done.returncode == 3 and not done.stderr


def test_four_tolerances_of_latency_are_four_times_as_much(tmp_path: Path) -> None:
    """A noise of 22 % can hide no change of 80 %."""
    path = write_traffic(tmp_path / "a", 1)
    lines = {line["name"]: line for line in compare(path, path)["lines"]}
    noisy = [line for line in lines.values() if line["unit"] == "us" and line["noise"]]
    for line in noisy:
        assert line["verdict"] == ("same" if line["noise"] <= 0.8 else "not enough data")
    assert any(0.2 < line["noise"] <= 0.8 for line in noisy)


def test_the_noise_of_few_operations_is_not_known(tmp_path: Path) -> None:
    one, two = write_steady(tmp_path / "a", 150), write_steady(tmp_path / "b", 150)
    lines = {line["name"]: line for line in compare(one, two)["lines"]}
    p50, p99 = lines["latency, p50"], lines["latency, p99"]  # p99: 1.5 are above it
    assert (p50["noise"], p50["verdict"]) == (0, "same")
    assert (p99["noise"], p99["verdict"], p99["change"]) == (None, "not enough data", 0)
    text = run("compare", str(one), str(two)).stdout
    assert re.search(r"^ latency, p50, us +10\.0 +10\.0 +\+0\.0% +0\.0%$", text, re.M), text
    assert re.search(r"^ latency, p99, us +50\.0 +50\.0 +\+0\.0% +-$", text, re.M), text


def test_keys_in_both_are_told_however_long_the_recordings_are(tmp_path: Path) -> None:
    one, two = write_steady(tmp_path / "a", 1000), write_steady(tmp_path / "b", 1200, 72)
    lines = {line["name"]: line for line in compare(one, two)["lines"]}
    assert lines["distinct keys"]["verdict"] == "not enough data"
    assert lines["operations on keys in both"]["second"] == 1
    text = run("compare", str(one), str(two)).stdout
    assert re.search(r"^ operations on keys in both +100\.00% +100\.00%$", text, re.M), text


def test_numbers_of_a_thousand_look_alike() -> None:
    numbers = (999.4, 999.94, 999.96, 1000, 1000.4, 1008, -999.96)
    texts = ["999.4", "999.9", "1,000", "1,000", "1,000", "1,008", "-1,000"]
    assert list(map(membench.human_number, numbers)) == texts


def test_the_values_are_those_of_the_reports(tmp_path: Path) -> None:
    one = write_traffic(tmp_path / "a", 1)
    report = membench.analyze([str(one)])
    result = compare(one, one)
    assert {line["change"] for line in result["lines"] if line["verdict"]} == {0}
    values = {line["name"]: line["second"] for line in result["lines"]}
    get = report["commands"]["get"]
    assert values["operations/s"] == pytest.approx(report["operations_per_second"], rel=1e-3)
    assert values["hit ratio"] == values["get hit"] == pytest.approx(report["hit_ratio"])
    assert values["get"] == pytest.approx(get["operations"] / report["operations"])
    assert values["get latency, p99"] == get["latency_us"]["p99"]
    assert values["latency, p50"] == report["latency_us"]["p50"]
    assert values["distinct keys"] == report["keys"]["unique"]
    assert values["hottest key"] == report["keys"]["top"][0]["share"]
    mean = pytest.approx(report["values"]["size_bytes"]["mean"], abs=0.1)
    assert values["value size, mean"] == mean
    assert values["operations on keys in both"] == 1
    assert (values["connections open"], values["with a TTL"], values["TTL, mean"]) == (8, 1, 60)


def test_nothing_is_said_of_what_was_not_recorded(tmp_path: Path) -> None:
    base = write_traffic(tmp_path / "a", 1)
    for header, words, left in (
        ({"side": "client"}, "latency is not compared", {"hit ratio", "get hit"}),
        ({"source": "packet:any"}, "latency is not compared", {"hit ratio", "get hit"}),
        ({"responses": False}, "responses were not recorded", {"get", "set"}),
        ({"key_space": "1"}, "", {"latency, p50", "distinct keys"}),
    ):
        result = compare(base, write_traffic(tmp_path / "b", 2, **header))
        names = {line["name"] for line in result["lines"]}
        assert left <= names
        assert ("latency, p50" in names) == (words == "")
        assert ("hit ratio" in names) == ("responses" not in header)
        assert ("operations on keys in both" in names) == ("key_space" not in header)
        assert words in " ".join(result["warnings"]) and bool(words) == bool(result["warnings"])


def test_losses_are_said_to_spoil_a_comparison(tmp_path: Path) -> None:
    one, two = write_traffic(tmp_path / "a", 1), tmp_path / "b"
    ledger = Ledger()
    ledger.seen_bytes, ledger.lost_bytes = 100, 18
    write_traffic(two, 2, ledger=ledger)
    (warning,) = compare(one, two)["warnings"]
    assert warning == f"{two} has only 82.00% of the traffic: do not trust this"
    assert "warning:" in run("compare", str(one), str(two)).stdout


@pytest.mark.parametrize("case", ["nothing", "few", "one burst", "no file", "no profile", "a pipe"])
def test_what_cannot_be_compared(case: str, tmp_path: Path) -> None:
    good = write_traffic(tmp_path / "a", 1)
    bad, words = tmp_path / "b", ""
    if case == "nothing":
        write_traffic(bad, 2, bursts=1e-9)
        words = "too few operations to compare (0; at least 100)"
    elif case == "few":
        write_steady(bad, 99)
        words = "too few operations to compare (99; at least 100)"
    elif case == "one burst":
        words = "traffic in only about 1 of 20 periods; 10 are needed"
        with ProfileWriter(str(bad), force=True) as profile:
            profile.start({"ports": [1], "started_unix": 1.7e9}, START_NS)
            for number in range(1000):
                at = START_NS + number * 1000
                profile.add(zip((at, 100, 1, b"get", HIT, 0, 0, number << 40 | 20, 300, 0)))
            profile.finish(Ledger(), {"duration_seconds": 60.0})
    elif case == "no profile":
        bad, words = Path("/etc/passwd"), "is not a membench profile"
    elif case == "no file":
        words = "cannot read"
    elif case == "a pipe":
        bad, words = Path("/dev/stdin"), "is not a regular file"
    for pair in ((good, bad), (bad, good)):
        with subprocess.Popen(["cat", str(good)], stdout=subprocess.PIPE) as cat:
            done = run("compare", *map(str, pair), stdin=cat.stdout)
        assert (done.returncode, done.stdout) == (3, ""), done
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["0", "-5", "x", "nan", ""])
def test_tolerances_that_are_none(text: str) -> None:
    done = run("compare", f"--tolerance={text}", "a", "b")
    assert done.returncode == 2
    assert "is not a percentage such as 5 or 2.5%" in done.stderr


# ---- Rates and shares of a real server ----


def drive(port: int, over: threading.Event, share_get: float, seed: int) -> None:
    """A client in bursts: sleeps, then some requests at once, on keys that may be there."""
    rng = random.Random(seed)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        replies = connection.makefile("rb")
        at = time.monotonic()
        while not over.is_set():
            at += rng.expovariate(60)
            time.sleep(max(0.0, at - time.monotonic()))
            for _ in range(min(int(rng.paretovariate(1.5)), 20)):
                key = b"key%d" % rng.randrange(400)
                if rng.random() < share_get:
                    connection.sendall(b"get %b\r\n" % key)
                    while replies.readline() != b"END\r\n":
                        pass
                else:
                    connection.sendall(b"set %b 0 0 4\r\nabcd\r\n" % key)
                    replies.readline()


class Load:
    """Such clients in the background. A context manager."""

    def __init__(self, server: Memcached, share_get: float) -> None:
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=drive, args=(server.port, self._over, share_get, seed))
            for seed in range(4)
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


RECORDED_SECONDS = 6


def test_a_server_recorded_twice(tmp_path: Path) -> None:
    """At one time, then in the next period of the same load, then with another command mix."""
    first, again, after, other = (tmp_path / name for name in ("a", "b", "c", "d"))
    duration = ("--duration", str(RECORDED_SECONDS))
    with Memcached() as server:
        port = ("--port", str(server.port), *SALT)
        for number in range(0, 400, 2):  # half of the keys hit, until they are set
            with server.connect() as connection:
                exchange(connection, b"set key%d 0 0 1\r\nx\r\n" % number, b"STORED\r\n")
        with Load(server, share_get=1.0):
            time.sleep(1)
            with Recorder(first, *port, *duration) as one, Recorder(again, *port, *duration) as two:
                one.finish()
                two.finish()
            with Recorder(after, *port, *duration) as one:
                one.finish()
        with Load(server, share_get=0.7):
            time.sleep(1)
            with Recorder(other, *port, *duration) as one:
                one.finish()
    for path in (again, after):  # how fast it is depends on what else this machine does
        changed = names_of(compare(first, path), "changed")
        assert [name for name in changed if "latency" not in name] == []
    found = compare(first, other)
    assert "set" in [line["name"] for line in found["lines"][:1]]
    lines = {line["name"]: line for line in found["lines"]}
    assert lines["set"]["first"] == 0 and lines["set"]["second"] == pytest.approx(0.3, abs=0.05)
    assert {"set", "get", "hit ratio"} <= set(names_of(found, "changed"))
    text = run("compare", str(first), str(other)).stdout
    assert re.search(r"^Changed\n set +0\.00% +[23]\d\.\d\d% +new +-$", text, re.M), text


# ---- Equal counts ----


def test_the_same_traffic_recorded_by_two(tmp_path: Path) -> None:
    with Memcached() as server:
        port = ("--port", str(server.port), *SALT)
        with Recorder(tmp_path / "a", *port) as one:
            with Recorder(tmp_path / "b", *port, "--hook", "syscalls") as two:
                for seed in range(3):
                    run_pipelines(server, seed)
                one.stop()
                two.stop()
    result = compare(tmp_path / "a", tmp_path / "b", "--exact")
    assert len(names_of(result, "same")) == len(result["lines"]) == 11
    done = run("compare", "--exact", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.stdout.endswith("\nsame: 0 changed, 11 the same\n")
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


BASE = (b"set a 0 60 1\r\nx", b"get b", b"get b c", b"delete a", b"touch b 5")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of BASE."""
    return record(tmp_path_factory.mktemp("base") / "a", gets(*BASE), *SALT)


@pytest.mark.parametrize(
    ("change", "marked"),
    [
        ({0: b"set a 0 60 2\r\nxx"}, {"value sizes"}),
        ({0: b"set a 0 61 1\r\nx"}, {"exptimes"}),
        ({1: b"gets b"}, {"requests", "  get", "  gets", "  get miss", "  gets miss"}),
        ({2: b"get bb cc"}, {"key sizes", "key popularity", "distinct keys", "which keys"}),
        ({2: b"get b d"}, {"which keys"}),
        ({1: b"get b c", 2: b"get b"}, set()),
        ({3: b"delete b"}, {"  delete deleted", "  delete not_found", "which keys"}),
    ],
)
def test_differences_are_told(
    change: Dict[int, bytes], marked: set[str], base: Path, tmp_path: Path
) -> None:
    other = [change.get(index, line) for index, line in enumerate(BASE)]
    second = record(tmp_path / "b", gets(*other), *SALT)
    found = set(names_of(compare(base, second, "--exact"), "changed"))
    assert marked <= found
    assert bool(found) == bool(marked)


def test_equal_totals_of_unequal_counts_are_told_apart(tmp_path: Path) -> None:
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
    found = {
        line["name"]: (line["first"], line["second"])
        for line in compare(one, two, "--exact")["lines"]
        if line["verdict"] == "changed"
    }
    assert found.pop("which keys") == (18, 18)
    keys = {name: found.pop(name) for name in list(found) if len(name) == 18}  # their hashes
    assert {(2, 4), (3, 1)} < set(keys.values()) and len(keys) == 3
    assert found == {
        "value sizes": (10, 10),
        **{"  10": (3, 2), "  20": (2, 3), "  30": (2, 3)},
        "exptimes": (10, 10),
        **{"  set 60": (3, 2), "  set 70": (7, 8)},
        "keys per get": (4, 4),
        **{"  2": (2, 3), "  1": (1, 2), "  3": (3, 1)},
        "key popularity": (7, 7),
        "  4": (1, 2),
    }


def test_keys_are_not_compared_across_secrets(tmp_path: Path) -> None:
    first = record(tmp_path / "a", gets(*BASE))
    second = record(tmp_path / "b", gets(*BASE))
    result = compare(first, second, "--exact")
    (unknown,) = [line["name"] for line in result["lines"] if line["verdict"] is None]
    assert (result["verdict"], unknown) == ("same", "which keys")
