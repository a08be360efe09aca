#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The Python matrix: the tests that do not need the kernel, on each Python from 3.9 on.

    sudo make test-pythons

An interpreter is python3.N on the PATH, or one of pyenv's. One that is missing is a failure.
Each gets a virtual environment in $XDG_CACHE_HOME/membench-tests (~/.cache), with what the
tests import. A new test file is run on each, unless it is named in NEEDS_KERNEL.

Ends with a line "N passed, N failed", of interpreters. The exit status is 0 if none failed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Optional

TESTS = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "membench-tests"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")

# Files whose tests record with eBPF or from live packets, the build of the kernel programs, and
# tshark, which is not written in Python.
NEEDS_KERNEL = (
    "test_bpf.py",
    "test_clients.py",
    "test_exchanges.py",
    "test_faults.py",
    "test_foreign.py",
    "test_hostile.py",
    "test_package.py",
    "test_packets.py",
    "test_privilege.py",
    "test_record.py",
    "test_replay.py",
    "test_safety.py",
    "test_sockets.py",
    "test_suite.py",
    "test_tshark.py",
)
PACKAGES = (
    *("pytest", "pytest-xdist", "pymemcache", "python-binary-memcached"),
    *("duckdb", "hdrhistogram"),
)
REQUIREMENTS = TESTS / "requirements.txt"  # pins them


def candidates(version: str) -> Iterator[str]:
    """Where an interpreter of this version may be."""
    yield f"python{version}"
    pyenv = shutil.which("pyenv")
    if pyenv:
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True)
        yield from map(str, Path(root.stdout.strip()).glob(f"versions/{version}.*/bin/python"))


def find_python(version: str) -> Optional[str]:
    """The path of an interpreter of this version that runs, or None."""
    tell = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for candidate in candidates(version):
        try:
            done = subprocess.run([candidate, "-c", tell], capture_output=True, text=True)
        except FileNotFoundError:
            continue
        # pyenv has commands for interpreters that are not active: they fail.
        if done.returncode == 0 and done.stdout.startswith(version + " "):
            return done.stdout.split(" ", 1)[1].strip()
    return None


def make_environment(python: str) -> str:
    """The interpreter of a virtual environment that has PACKAGES; made if it is not there."""
    key = f"{python} {PACKAGES} {REQUIREMENTS.read_text()}"
    place = CACHE / f"venv-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    ready, inside = place / ".ready", str(place / "bin/python")
    if not ready.exists():
        subprocess.run([python, "-m", "venv", "--clear", str(place)], check=True)
        pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", str(REQUIREMENTS), *PACKAGES], check=True)
        ready.touch()
    return inside


def test(python: str) -> bool:
    """Run the tests with an interpreter. Did all of them pass?"""
    files = [path for path in sorted(TESTS.glob("test_*.py")) if path.name not in NEEDS_KERNEL]
    command = [make_environment(python), "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
    command += ["-n", "auto", "--dist", "worksteal"]
    return subprocess.run([*command, *files], cwd=TESTS.parent, check=False).returncode == 0


def main() -> int:
    verdicts = []
    for version in VERSIONS:
        python, started = find_python(version), time.monotonic()
        if not python:
            verdicts.append(f"FAILED  Python {version} is neither on the PATH nor one of pyenv's")
            continue
        print(f"Python {version}: {python}", flush=True)
        word = "passed" if test(python) else "FAILED"
        verdicts.append(f"{word}  Python {version} ({time.monotonic() - started:.0f} s)")
    print("\n".join(verdicts))
    failed = sum(verdict.startswith("FAILED") for verdict in verdicts)
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
