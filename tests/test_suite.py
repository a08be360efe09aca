# SPDX-License-Identifier: GPL-2.0-only
"""The tests themselves: however a run of them ends, nothing that it started is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import List, Sequence

import pytest
import watchdog
from live import PATIENCE_SECONDS, ROOT, wait_until

MARKER = "interrupted"  # what the inner run and all that it starts have in their environment
# One has a recorder that has changed its user and is suspended; the other one has a network
# namespace and an interface, too.
INTERRUPTED = (
    "tests/test_faults.py::test_suspended_for_10_seconds[ebpf:any-10]",
    "tests/test_faults.py::test_interface_down_and_up[packet:any]",
)


def recorders() -> List[int]:
    """The inner run's recorders that have given up their privileges."""
    found = []
    for pid in watchdog.marked(MARKER):
        place = Path(f"/proc/{pid}")
        try:
            if b"\0record\0" in (place / "cmdline").read_bytes() and place.stat().st_uid != 0:
                found.append(pid)
        except OSError:
            continue
    return found


def interfaces(token: str) -> List[str]:
    """Those that a run with this token has made."""
    return [name for name in os.listdir("/sys/class/net") if name.startswith(f"mb{token}")]


def token_of(pid: int) -> str:
    """The inner run's own, from the environment of a process that it has started."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode()
    tokens = re.search(rf"\b{watchdog.VARIABLE}=(.*?):{MARKER}", environment)
    assert tokens
    return tokens[1].split(":")[-1]


def test_what_it_starts_ignores_no_signal() -> None:
    """Under nohup, or with & in a script, the tests themselves ignore some."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["tests/test_replay.py", "-k", "test_a_terminal_is_asked"]  # sends Ctrl-C, too
    done = subprocess.run(
        ["bash", "-c", "trap '' INT HUP QUIT TERM; exec \"$@\"", "bash", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["alone", "xdist"])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGINT", "SIGKILL"])
def test_nothing_outlives_a_run(how: str, processes: Sequence[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--basetemp={tmp_path / 'inner'}", *processes, *INTERRUPTED]
    environment = {**os.environ, watchdog.VARIABLE: f"{MARKER}:{os.environ[watchdog.VARIABLE]}"}
    with open(tmp_path / "said", "w") as said:
        run = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        wait_until("a recorder", lambda: recorders() or run.poll() is not None)
        assert run.poll() is None, (tmp_path / "said").read_text()
        token = token_of(recorders()[0])
        if processes:
            wait_until("an interface", lambda: interfaces(token))
        if how == "Ctrl-C":
            os.killpg(run.pid, signal.SIGINT)
        else:
            run.send_signal(signal.SIGINT if how == "SIGINT" else signal.SIGKILL)
        assert run.wait(120) == (-signal.SIGKILL if how == "SIGKILL" else 2)
    finally:
        run.kill()
    wait_until("everything to end", lambda: not watchdog.marked(MARKER))
    assert not interfaces(token)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
