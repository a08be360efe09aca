# SPDX-License-Identifier: GPL-2.0-only
"""What a terminal shows while membench works, as the terminal shows it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Dict, Iterator, List

import pytest
from live import COMPILED, PATIENCE_SECONDS, Memcached, exchange, membench, wait_until


def screen(shown: bytes, columns: int) -> List[str]:
    """The lines of a terminal that was sent this; those that were too long are folded."""
    lines: List[List[str]] = [[]]
    at = 0
    for part in re.findall(r"\x1b\[K|.", shown.decode(), re.S):
        if part == "\r":
            at = 0
        elif part == "\n":
            lines.append([])
        elif part == "\x1b[K":
            del lines[-1][at:]
        else:
            assert part.isprintable(), part
            if at == columns:
                lines.append([])
                at = 0
            lines[-1] += " " * (at - len(lines[-1]))
            lines[-1][at : at + 1] = part
            at += 1
    return ["".join(line).rstrip() for line in lines]


class Terminal:
    """A program on a terminal of its own, whose Ctrl-C works. A context manager."""

    def __init__(self, columns: int, folder: Path, *arguments: str) -> None:
        self.shown = b""
        self.columns = columns
        self._master, slave = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen(
            [sys.executable, str(COMPILED), *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def resize(self, columns: int) -> None:
        """Pull the window to another width."""
        self.columns = columns
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def has_shown(self, pattern: bytes) -> bool:
        """Is it among what was sent so far?"""
        with contextlib.suppress(OSError):  # nothing now, or nobody is at the other end
            while True:
                self.shown += os.read(self._master, 1000)
        return bool(re.search(pattern, self.shown))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_SECONDS)
        os.close(self._master)


def take_terminal() -> None:
    """Make stdin the controlling terminal of this new session."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even of a suite in the background
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def busy_recorder(columns: int, folder: Path) -> Iterator[Terminal]:
    """A recorder on a terminal, of a server that was asked 50 times."""
    with Memcached() as server:
        port = ("--port", str(server.port))
        with Terminal(columns, folder, "record", "a.profile", *port) as terminal:
            wait_until("the start", lambda: terminal.has_shown(b"Ctrl-C"))
            with server.connect() as connection:
                for _ in range(50):
                    exchange(connection, b"get a\r\n", b"END\r\n")
            yield terminal


FIELDS = (
    r" +\d+ s  +[\d,]+ ops/s  lost 0 *",
    r"  hits +(?:0\.0%|-)",
    r"  all +0\.0%",
    r"  p99 +(?:[\d,]+ us|-)",
    r"  +\d+\.\d MB/s",
    r"  conns \d",
    r"  file \d.*",
)


@pytest.mark.parametrize(("columns", "fields"), [(40, 1), (60, 2), (80, 4), (120, 7)])
def test_live_line_of_a_recording(columns: int, fields: int, tmp_path: Path) -> None:
    with busy_recorder(columns, tmp_path) as terminal:
        wait_until("two lines", lambda: terminal.has_shown(rb"(?s)(ops/s.*\x1b\[K.*){2}"))
        (line,) = (line for line in screen(terminal.shown, columns) if "ops/s" in line)
        assert re.fullmatch("".join(FIELDS[:fields]), line), line
        terminal.press(b"\x03")
        terminal.process.wait(PATIENCE_SECONDS)
        assert terminal.has_shown(b"50 operations in")
    lines = screen(terminal.shown, columns)
    assert not any("ops/s" in line or "^C" in line for line in lines), lines
    assert max(map(len, lines)) < columns


def test_live_line_follows_the_window(tmp_path: Path) -> None:
    """A line that gets shorter leaves nothing of the longer one."""
    with busy_recorder(120, tmp_path) as terminal:
        wait_until("a line", lambda: terminal.has_shown(rb"file \d"))
        terminal.resize(40)
        seen = len(terminal.shown)
        wait_until("a line", lambda: terminal.has_shown(rb"") and b"ops/s" in terminal.shown[seen:])
        wait_until("its end", lambda: terminal.has_shown(rb"\x1b\[K$"))
    assert re.fullmatch(FIELDS[0], screen(terminal.shown, 120)[-1])


class FakeTerminal(io.StringIO):
    """What is written to a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.master, self.slave = pty.openpty()

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.slave


def test_messages_wrap_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = FakeTerminal()
    fcntl.ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    monkeypatch.setattr(sys, "stderr", terminal)
    path = "/a/path/that-is-longer-than/the-terminal-is/wide.profile"
    membench.say(f"nothing listens on port 11211 now: waiting for it; next: analyze {path}")
    assert terminal.getvalue().splitlines() == [
        "membench: nothing listens on port 11211",
        "    now: waiting for it; next: analyze",
        f"    {path}",
    ]
    os.close(terminal.master)
    os.close(terminal.slave)


def test_messages_do_not_wrap_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    text = "word " * 100
    membench.say(text)
    assert capsys.readouterr().err == f"membench: {text}\n"


def test_no_live_line_in_a_pipe_or_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    shown: Dict[bool, str] = {}
    for quiet in (False, True):
        line = membench.LiveLine(quiet)
        line.show(["a", "b"])
        line.clear()
        shown[quiet] = capsys.readouterr().err
    assert shown == {False: "", True: ""}
