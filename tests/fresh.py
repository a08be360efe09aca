#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Fresh machines: the README's commands, word for word, on a minimal Debian 12 and 13.

    sudo make test-fresh                  # make demo and make test, on each
    sudo tests/fresh.py --quick trixie    # make demo, and the first tests of each file

A root of each release has what mmdebstrap takes for minimal and what the README asks for, and
nothing else. In it, a user who may call sudo clones what is committed here, and runs the
commands. It has mounts of its own. The kernel with its process numbers, which BPF tells, and
the network are this machine's; so are pip's index, proxy and certificates. The roots are kept
in $XDG_CACHE_HOME/membench-tests (~/.cache), and the output of the last run.

Ends with a line "N passed, N failed", of commands. The exit status is 0 if none failed.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Tuple

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "membench-tests"
RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
PREPARED = ("git", "make", "sudo")  # the README says so
COMMANDS = ("sudo make demo", "sudo make test")
QUICK_COMMANDS = ("sudo make demo", "sudo make test PYTEST=--first=2")
USER = "newcomer"
COMMAND_SECONDS = 3600  # ten times what it takes on two idle CPUs
SHOWN_LINES = 12  # the last ones of each command
FAILURE_LINES = 80

# The release alone: no archive of updates, which may not have a package that it lists.
RELEASE_ONLY = '--setup-hook=sed -i -E "/(-security|-updates) /d" "$1/etc/apt/sources.list"'

# $1: the root; $2: what the user runs there.
ENTER = f"""
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
exec chroot . su --login {USER} --command "$2"
"""
# On the machine's own disk: packages, and what their files take there.
MEASURE = "dpkg-query -W -f '${Installed-Size}\\n' | awk '{ kib += $1 } END { print NR, kib }'"


def make_root(release: str) -> Path:
    """The archive of a minimal root with PREPARED, made if it is not in the cache."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", RELEASE_ONLY]
    command += ["--dpkgopt=force-unsafe-io", f"--include={','.join(PREPARED)}", release]
    digest = hashlib.sha256(repr(command).encode()).hexdigest()[:16]
    archive = CACHE / f"fresh-{release}-{digest}.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            made = Path(folder) / archive.name
            subprocess.run([*command, str(made)], check=True)
            made.rename(archive)
    return archive


def pip_settings() -> Tuple[Dict[str, str], str]:
    """What pip has to know here to reach its index, and the path of the certificates, or ""."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in ("cert", "index-url", "proxy", "trusted-host", "default-timeout", "timeout"):
            settings[option] = value.strip("'")
    return settings, settings.pop("cert", "")


def set_up(root: Path) -> None:
    """A user who may call sudo, what reaches the network, and the checkout to clone."""
    for name in ("resolv.conf", "hosts", "hostname"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    settings, certificates = pip_settings()
    if certificates:
        shutil.copy(certificates, root / "etc/pip-certificates.pem")
        settings["cert"] = "/etc/pip-certificates.pem"
    lines = [f"{name} = {value}\n" for name, value in settings.items()]
    (root / "etc/pip.conf").write_text("".join(["[global]\n", *lines]))
    subprocess.run(
        ["chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", USER], check=True
    )
    (root / f"etc/sudoers.d/{USER}").write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    origin = root / "srv/membench.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(origin)], check=True)
    subprocess.run(
        ["chroot", str(root), "chown", "-R", f"{USER}:", "/srv/membench.git"], check=True
    )


def run_in(root: Path, command: str, log: Path) -> int:
    """Run the user's command, with its output in the file. Its status; -9 if it took too long."""
    enter = ["unshare", "--mount", "bash", "-c", ENTER, "bash", str(root), command]
    with open(log, "wb") as file:
        process = subprocess.Popen(enter, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            return process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            end_children()


def end_children() -> None:
    """Kill all that was started here: what loses its parent becomes a child of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := children.read_text().split():
        for pid in map(int, pids):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def measure(root: Path) -> Tuple[int, int]:
    """How many packages are installed, and the MB that they say to take."""
    done = subprocess.run(
        ["chroot", str(root), "sh", "-c", MEASURE], capture_output=True, text=True, check=True
    )
    packages, kib = map(int, done.stdout.split())
    return packages, kib * 1024 // 10**6


def try_release(release: str, commands: Tuple[str, ...]) -> Tuple[int, int]:
    """Run the commands in a root of this release; print what came of them. Passed, failed."""
    archive = make_root(release)
    passed = 0
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = Path(folder) / "root"
        root.mkdir()
        subprocess.run(["tar", "-C", str(root), "-xpf", str(archive)], check=True)
        set_up(root)
        clone = run_in(root, "git clone --quiet /srv/membench.git membench", CACHE / "clone.log")
        assert clone == 0, (CACHE / "clone.log").read_text()
        for command in commands:
            log = CACHE / f"{release}-{'-'.join(shlex.split(command)[1:3])}.log"
            before, started = measure(root), time.monotonic()
            status = run_in(root, f"cd membench && {command}", log)
            seconds, after = time.monotonic() - started, measure(root)
            passed += status == 0
            verdict = "passed" if status == 0 else f"FAILED with status {status}"
            print(f"{RELEASES[release]}: {command}: {verdict} ({seconds:.0f} s)")
            print(f"  installed {after[0] - before[0]} packages, {after[1] - before[1]} MB")
            shown = SHOWN_LINES if status == 0 else FAILURE_LINES
            for line in log.read_text(errors="replace").splitlines()[-shown:]:
                print(f"  | {line}")
            sys.stdout.flush()
    return passed, len(commands) - passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the first tests of each file only")
    parser.add_argument("releases", nargs="*", choices=[[], *RELEASES], default=[])
    options = parser.parse_args()
    readme = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    for command in COMMANDS:
        assert any(line.startswith(command) for line in readme), f"README.md has no {command}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started ends too
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    verdicts: List[Tuple[int, int]] = [
        try_release(release, QUICK_COMMANDS if options.quick else COMMANDS)
        for release in options.releases or RELEASES
    ]
    passed, failed = (sum(numbers) for numbers in zip(*verdicts))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
