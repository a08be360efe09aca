#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How long it takes to begin and to end: sudo bench/start.py"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import List

from tools import LOOPBACK, MEMBENCH, Figure, Server, Values, alternate, compared, main, rounds


def seconds_of(command: List[str]) -> float:
    """How long a program runs."""
    begin = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begin


def record_once(server: Server, output: Path) -> Values:
    """Until the programs are attached, with which the first event comes; and to be gone."""
    begin = time.monotonic()
    process = subprocess.Popen(
        [*MEMBENCH, "record", "ebpf:any", str(output), "--port", str(server.port), "--force"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        assert any("recording" in line for line in process.stderr), "no recording"
        attached = time.monotonic()
        with socket.create_connection((LOOPBACK, server.port), 10) as connection:
            connection.sendall(b"get first\r\n")
            connection.recv(100)
        time.sleep(0.1)
        stopped = time.monotonic()
        process.send_signal(signal.SIGINT)
        words = process.stderr.read()
        process.wait()
        ended = time.monotonic()
    finally:
        process.kill()
        process.wait()
    assert "1 operations in" in words, words  # the very first was seen
    return {
        "until it records": 1000 * (attached - begin),
        "from Ctrl-C to its end": 1000 * (ended - stopped),
    }


def measure(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """Start and end of the program."""
    with Server() as server:
        found = alternate(
            {
                "membench": lambda: {
                    "--help": 1000 * seconds_of([*MEMBENCH, "--help"]),
                    **record_once(server, folder / "all.profile"),
                },
                "python3 -c pass": lambda: {
                    "--help": 1000 * seconds_of([sys.executable, "-c", "pass"])
                },
            },
            rounds(options, 7),
        )
    return compared("start", found, dict.fromkeys(found["membench"], "ms"), "python3 -c pass")


SECTIONS = {"start": measure}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
