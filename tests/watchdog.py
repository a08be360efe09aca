# SPDX-License-Identifier: GPL-2.0-only
"""Nothing that the tests start outlives them, however they end: not even after kill -9.

A run of the tests writes a token into its environment. Whatever it starts inherits that, also
if it changes its user, its session or its parent, which make it lose a PR_SET_PDEATHSIG or its
process group. A watchdog, in a session of its own, waits for the end of the run. Then it ends
all processes that have the token, and removes the network interfaces that are named after it.
What the tests mount, and the network namespaces that they name, are in a mount namespace of
their own, which goes with its last process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List

VARIABLE = "MEMBENCH_TESTS"  # the tokens, the last one first; a run within a run has those of both
CLONE_NEWNS = 0x20000
MS_REC, MS_SLAVE = 0x4000, 0x80000
PATIENCE_SECONDS = 60  # with a process that the kernel does not let go


def start() -> str:
    """Mark what this process will start, and let it end with this process. Its token."""
    token = secrets.token_hex(3)
    command = [sys.executable, __file__, str(os.getpid()), token]
    os.posix_spawn(sys.executable, command, os.environ, setsid=True)
    mark(token)
    return token


def mark(token: str) -> None:
    """What this process starts from now on has this token, too."""
    os.environ[VARIABLE] = f"{token}:{os.environ.get(VARIABLE, '')}"


def own_token() -> str:
    """The last token that this process was marked with."""
    return os.environ[VARIABLE].split(":")[0]


def interface_name(suffix: str) -> str:
    """The name of a network interface, which is removed at the end. suffix: at most 6 bytes."""
    return f"mb{own_token()}{suffix}"


def keep_mounts_private() -> None:
    """What this thread and its children mount from now on is seen by them alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs("/run/netns", exist_ok=True)
    if (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None)
        or libc.mount(b"tmpfs", b"/run/netns", b"tmpfs", 0, None)
    ):
        raise OSError(ctypes.get_errno(), "cannot make a mount namespace for the tests")


def marked(token: str) -> List[int]:
    """The processes, other than this one, that were started with this token."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        environment = b""
        with contextlib.suppress(OSError):  # it has ended
            environment = (place / "environ").read_bytes()
        for line in environment.split(b"\0"):
            name, _, value = line.partition(b"=")
            if name == VARIABLE.encode() and token.encode() in value.split(b":"):
                found.append(int(place.name))
    return [pid for pid in found if pid != os.getpid()]


def clean_up(token: str) -> None:
    """End what has the token, until nothing has it; then remove the interfaces named after it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := marked(token)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    for name in os.listdir("/sys/class/net"):
        if name.startswith(f"mb{token}"):  # it may be gone with its other end
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def main() -> None:
    run, token = int(sys.argv[1]), sys.argv[2]
    with contextlib.suppress(ProcessLookupError):
        if os.getppid() == run:
            select.select([os.pidfd_open(run)], [], [])
    clean_up(token)


if __name__ == "__main__":
    main()
