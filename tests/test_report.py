# SPDX-License-Identifier: GPL-2.0-only
"""The report for people: it fits the terminal, and says what is known and no more."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
from live import COMPILED, run
from test_compare import write_traffic

import membench

COLOR = re.compile(r"\x1b\[\d*m")


def on_terminal(columns: int, *arguments: str, **environment: str) -> str:
    """What membench.py writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, str(COMPILED), *arguments],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "", "COLUMNS": "", **environment},
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # the other end was closed
            break
        text += chunk
    os.close(ours)
    assert process.wait(60) == 0
    return text.decode().replace("\r\n", "\n")


def lines_of(text: str) -> List[str]:
    return COLOR.sub("", text).splitlines()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of large numbers, many outcomes and a long timeline."""
    path = tmp_path_factory.mktemp("r") / "a.profile"
    forms = [b"get", b"cache_memlimit", b"prependq binary", *(b"w%d" % n for n in range(8))]
    rows = [
        (
            10**9 + second * 10**9 + place,
            7**place * 10**8,
            1,
            forms[place % len(forms)],
            place % len(membench.OUTCOMES),
            0,
            0,
            (second + 1) << 16 | 250,
            1 << place,
            0 if place % 3 else 2_000_000,
        )
        for second in range(1, 119)
        for place in range(12)
        for _ in range(1 + 40 * (place == 0))
    ]
    server = membench.ServerName("*:11211", "memcached-with-a-long-name", 4_194_303)
    with membench.ProfileWriter(str(path)) as profile:
        header = {"source": "ebpf:any", "hook": "sock", "host": "h", "ports": [11211, 11212]}
        profile.start({**header, "started_unix": 1.7e9, "started_at": "2027"}, 10**9)
        profile.add_connection(10**9, 1, 1, membench.OPEN, server)
        profile.add(zip(*rows))
        profile.finish(membench.Ledger(), {"duration_seconds": 120.0})
    return path


@pytest.mark.parametrize("columns", [60, 61, 79, 80, 100, 160, 300])
def test_it_fits_the_terminal(columns: int, busy: Path) -> None:
    for arguments in (
        ["analyze", "--by-server", str(busy)],
        ["compare", str(busy), str(busy)],
        ["compare", "--exact", str(busy), str(busy)],
    ):
        lines = lines_of(on_terminal(columns, *arguments))
        paths = {str(busy), os.path.dirname(busy)}
        lengths = [len(line) for line in lines if not any(path in line for path in paths)]
        assert max(lengths) <= columns
        if columns == 300:
            assert max(lengths) > 80, "what room there is is used"
    text = on_terminal(columns, "analyze", str(busy))
    marks = re.search(r"^  \|(.*)\|$", text, re.M)
    assert marks and len(marks.group(1)) == (59 if columns > 63 else 30)


def test_in_a_pipe_it_has_80_columns_and_no_color(busy: Path) -> None:
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    for arguments in (["analyze", "--by-server"], ["compare", str(busy)]):
        text = run(*arguments, str(busy), env=environment).stdout
        assert 70 < max(len(line) for line in text.splitlines() if "/" not in line) <= 80
        assert "\x1b" not in text


def test_colors_on_a_terminal(tmp_path: Path) -> None:
    ledger = membench.Ledger()
    ledger.seen_bytes, ledger.lost_bytes = 100, 10
    good = write_traffic(tmp_path / "a", 1, hit=0.95, seconds=10)
    bad = write_traffic(tmp_path / "b", 1, hit=0.3, seconds=10, ledger=ledger)
    green, red = (on_terminal(80, "analyze", str(path)) for path in (good, bad))
    assert re.search(r"^\x1b\[32mHit ratio +9\d\.\d\d%.*\x1b\[0m$", green, re.M)
    assert re.search(r"^\x1b\[31mHit ratio +[23]\d\.\d\d%.*\x1b\[0m$", red, re.M)
    assert re.search(r"^\x1b\[31m  INCOMPLETE: .*\x1b\[0m$", red, re.M)
    assert re.search(r"^\x1b\[31mCoverage  90.00%: LOST .*\x1b\[0m$", red, re.M)
    assert len(COLOR.findall(green)) < 6
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_terminal(80, "analyze", str(bad), **environment)
    assert "\x1b" not in on_terminal(80, "analyze", "--json", str(bad))


def cut(path: Path, keep: int) -> Path:
    """The profile with only so many of its blocks."""
    data = path.read_bytes()
    at = len(membench.MAGIC) + 4
    for _ in range(keep):
        at += 12 + struct.unpack_from("<c3xI", data, at)[1]
    path.write_bytes(data[:at])
    return path


CUTS: Dict[int, Tuple[str, ...]] = {
    # blocks: H; C; F, O, L; E
    1: ("duration unknown", "Operations unknown: the file ends before", "Coverage  unknown: "),
    2: ("duration unknown", "Operations unknown: the file ends before", "Connections "),
    4: ("at least ", "Operations  ", "Hit ratio  ", "Coverage  unknown: "),
}


@pytest.mark.parametrize("blocks", CUTS)
def test_a_truncated_file_says_what_is_known(blocks: int, tmp_path: Path) -> None:
    path = cut(write_traffic(tmp_path / "a", 1, seconds=10), blocks)
    done = run("analyze", "--by-server", str(path))
    assert done.returncode == 0
    for words in ("TRUNCATED: data up to the last complete block", *CUTS[blocks]):
        assert words in done.stdout
    assert not re.search(r"^(Requests|Operations|Pipelining) +0", done.stdout, re.M)
    assert "0 hits" not in done.stdout
    assert ("Connections" in done.stdout) == (blocks > 1)
    assert f"{path} is truncated" in done.stderr
    with path.open("rb") as file:
        assert "membench: stdin is truncated" in run("analyze", "-", stdin=file).stderr


def test_a_recording_of_nothing_says_so(tmp_path: Path) -> None:
    done = run("analyze", "--by-server", str(write_traffic(tmp_path / "a", 1, bursts=1e-9)))
    assert "No operations were recorded." in done.stdout
    assert "Hit ratio" not in done.stdout


def test_what_was_not_recorded_is_no_zero(tmp_path: Path) -> None:
    path = write_traffic(tmp_path / "a", 1, seconds=10, responses=False, hit=0.01)
    text = run("analyze", "--by-server", str(path)).stdout
    assert re.search(r"^Hit ratio +not recorded$", text, re.M)
    assert re.search(r"^get .* not recorded$", text, re.M)
    assert re.search(r"[\d.]+% +\d+ +unknown ", text)
    assert "0 hits" not in text
    assert "\n  Responses were not recorded: no outcomes, no latency.\n" in text


def test_it_is_said_which_profile_has_no_responses(tmp_path: Path) -> None:
    """What was not recorded is not mixed with what has no outcome."""
    one = write_traffic(tmp_path / "a", 1, seconds=10, hit=0.999999)
    two = write_traffic(tmp_path / "b", 1, seconds=10, responses=False)
    text = run("analyze", one.name, two.name, cwd=tmp_path).stdout
    assert "\n  Responses were not recorded in b: no outcomes, no latency.\n" in text
    assert re.search(r"^get .* not_recorded [\d,]+, hit [\d,]+$", text, re.M), text
    assert not re.search(r"\bnone \d+(,|$)", text, re.M)


def test_coverage_of_no_traffic_is_unknown(tmp_path: Path) -> None:
    path = str(write_traffic(tmp_path / "a", 1, seconds=10))  # its ledger has no bytes
    assert json.loads(run("analyze", "--json", path).stdout)["loss"]["coverage"] is None
    done = run("compare", "--exact", path, path)
    assert done.stdout.count("coverage unknown\n") == 2 and "warning" not in done.stdout


def test_several_ports_are_called_ports_and_stdin_by_its_name(busy: Path, tmp_path: Path) -> None:
    assert "  ports 11211, 11212, ebpf:any" in run("analyze", str(busy)).stdout
    path = write_traffic(tmp_path / "a", 1, seconds=10)
    with path.open("rb") as file:
        text = run("analyze", "-", stdin=file).stdout
    assert text.startswith("stdin\n") and "  port 1, ebpf:any" in text


def test_commands_stand_in_the_order_of_their_operations(tmp_path: Path) -> None:
    """One request of several keys is several of them."""
    path = tmp_path / "a"
    forms = [(b"set 0", 0), (b"set 0", 0), *((b"get", place) for place in range(3))]
    with membench.ProfileWriter(str(path)) as profile:
        profile.start({"ports": [1], "started_unix": 1.7e9}, 10**9)
        for form, place in forms:
            profile.add(zip((10**9, 100, 1, form, 0, 0, place, 1 << 16 | 20, 1, 0)))
        profile.finish(membench.Ledger(), {"duration_seconds": 1.0})
    text = run("analyze", str(path)).stdout
    assert text.index("\nget ") < text.index("\nset "), text
