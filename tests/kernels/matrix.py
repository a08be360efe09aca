#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The kernel matrix: membench on the kernels of several distributions, and on this one.

    sudo make test-kernels

Each machine is booted by qemu, without hardware virtualization, from the distribution's own
kernel, with its own Python, libbpf and memcached as initramfs. There, and on this machine,
guest.py records with each hook that the kernel must have, and compares with memcached's
stats. In two of the booted ones it also sets the clock meanwhile. Debian's packages are
downloaded once, and are only unpacked, not run here. What comes of them is kept in
$XDG_CACHE_HOME/membench-tests (~/.cache); remove that folder to have the packages of today.

Ends with a line "N passed, N failed". The exit status is 0 if nothing failed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "membench-tests"
GUEST = ROOT / "tests/kernels/guest.py"
BOOT_SECONDS = 600  # ten times what it takes on two idle CPUs, and more
HERE_SECONDS = 300
CONSOLE_TAIL = 40  # lines that are shown of a failure


class Architecture(NamedTuple):
    """How a machine of it is booted, and the package with its kernel for such machines."""

    qemu: Tuple[str, ...]
    console: str
    kernel: str


ARCHITECTURES = {
    "amd64": Architecture(
        ("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max"),
        "ttyS0",
        "linux-image-cloud-amd64",
    ),
    "arm64": Architecture(  # emulating a smaller CPU than "max" is faster
        ("qemu-system-aarch64", "-machine", "virt,accel=tcg", "-cpu", "cortex-a72"),
        "ttyAMA0",
        "linux-image-cloud-arm64",
    ),
}


class Machine(NamedTuple):
    """A release of Debian on an architecture, and what it has."""

    name: str
    suite: str
    architecture: str
    kernel: str
    libbpf: str
    old_meta: bool = False  # does its memcached have the meta protocol of 1.6.6 to 1.6.9?
    set_clock: bool = False  # does guest.py set the clock there?
    kernel_suite: str = ""  # the release that its kernel is of, if not its own
    old_libbpf: bool = False  # is its libbpf too old for the kernel?

    @property
    def hooks(self) -> List[str]:
        """Those that guest.py has to try."""
        return ["fallback"] if self.old_libbpf else hooks_of(self.kernel)

    @property
    def checks(self) -> List[str]:
        """What guest.py has to say something about."""
        return [*self.hooks, *(["clock"] if self.set_clock else [])]


MACHINES = (
    # Its memcached, 1.6.9, has an older meta protocol.
    Machine("Debian 11", "bullseye", "amd64", "5.10", "libbpf0", old_meta=True),
    # Its libbpf, 0.3, does not know all kinds of types that the kernel has.
    Machine(
        "Debian 11 on 13's kernel",
        "bullseye",
        "amd64",
        "6.12",
        "libbpf0",
        old_meta=True,
        kernel_suite="trixie",
        old_libbpf=True,
    ),
    Machine("Debian 12", "bookworm", "amd64", "6.1", "libbpf1", set_clock=True),  # syscalls
    Machine("Debian 13", "trixie", "amd64", "6.12", "libbpf1", set_clock=True),  # sock
    Machine("Debian 13", "trixie", "arm64", "6.12", "libbpf1"),
)
PACKAGES = ("python3-minimal", "libpython3-stdlib", "memcached", "tcpdump")  # for its libpcap

# Written down here a second time, so that membench cannot excuse itself.
HOOKS_SINCE = {"sock": (6, 3), "syscalls": (5, 8), "packet": (3, 2)}


def hooks_of(kernel: str) -> List[str]:
    """The hooks that this kernel must have, the best first."""
    major, minor = kernel.split(".")
    return [hook for hook, since in HOOKS_SINCE.items() if (int(major), int(minor)) >= since]


# ---- The root of a machine ----

# The release alone: no archive of updates, which may not have a package that it lists.
RELEASE_ONLY = '--setup-hook=sed -i -E "/(-security|-updates) /d" "$1/etc/apt/sources.list"'
# What of the packages a machine without a shell, drivers and documentation does not need.
PRUNE = r"""
    find . \( -path ./boot -o -path ./var -o -path ./usr/share -o -path '*/lib/modules' \
        -o -path '*/lib/udev' -o -path '*/lib/systemd' -o -path '*/perl*' -o -path '*/gconv' \
        -o -path './usr/lib/linux-image-*' \) -prune -o -print0
"""


def make_root(machine: Machine) -> Path:
    """A folder with `kernel` and `root.cpio`, made if it is not in the cache."""
    kernel_package = ARCHITECTURES[machine.architecture].kernel
    unpack = [
        *("mmdebstrap", "--quiet", "--variant=extract", RELEASE_ONLY),
        f"--architectures={machine.architecture}",
        f"--include={','.join((*PACKAGES, machine.libbpf, kernel_package))}",
        machine.suite,
    ]
    digest = hashlib.sha256(repr((unpack, PRUNE)).encode()).hexdigest()[:16]
    place = CACHE / f"{machine.suite}-{machine.architecture}-{digest}"
    if place.is_dir():
        return place
    print(f"{machine.name} {machine.architecture}: unpacking packages", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root, made = Path(folder) / "root", Path(folder) / "made"
        made.mkdir()
        subprocess.run([*unpack, str(root)], check=True)
        for name in ("bin", "lib", "lib64"):  # since Debian 13 only the installer makes these
            if not (root / name).exists():
                (root / name).symlink_to(f"usr/{name}")
        (kernel,) = root.glob("boot/vmlinuz-*")
        shutil.copy(kernel, made / "kernel")
        pack(PRUNE, root, made / "root.cpio")
        try:
            made.rename(place)
        except OSError:
            if not place.is_dir():  # or else another one has made it in the meantime
                raise
    return place


def pack(find: str, folder: Path, archive: Path) -> None:
    """The files that the shell command lists, as an archive that Linux boots from."""
    command = f"set -e -o pipefail; ({find}) | cpio --null --create --format=newc --quiet"
    with open(archive, "wb") as file:
        subprocess.run(["bash", "-c", command], cwd=folder, stdout=file, check=True)


def make_initramfs(root: Path, folder: Path) -> Path:
    """The root and, as a second archive behind it, the files of this checkout."""
    ours = folder / "ours"
    (ours / "membench").mkdir(parents=True)
    (ours / "etc").mkdir()
    (ours / "etc/passwd").write_text("root:x:0:0::/:\nnobody:x:65534:65534::/:\n")
    shutil.copy(ROOT / "membench.py", ours / "membench")
    for name in ("live.py", "kernels/guest.py"):
        target = ours / "membench/tests" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, target)
    (ours / "init").symlink_to("membench/tests/kernels/guest.py")
    initramfs, second = folder / "initramfs", folder / "ours.cpio"
    pack("find . -print0", ours, second)
    with open(initramfs, "wb") as file:
        for archive in (root, second):
            with open(archive, "rb") as part:
                shutil.copyfileobj(part, file)
    return initramfs


# ---- Running guest.py ----


def guest_arguments(hooks: List[str], old_meta: bool = False, set_clock: bool = False) -> List[str]:
    """guest.py's command line."""
    options = {"--old-meta": old_meta, "--set-clock": set_clock}
    return [",".join(hooks), *(name for name, wanted in options.items() if wanted)]


def boot(machine: Machine, root: Path, kernel: Path) -> List[str]:
    """All that the machine writes to its console until it is off."""
    with tempfile.TemporaryDirectory() as folder:
        initramfs = make_initramfs(root / "root.cpio", Path(folder))
        arguments = guest_arguments(machine.hooks, machine.old_meta, machine.set_clock)
        architecture = ARCHITECTURES[machine.architecture]
        # panic=-1 is at once, and -no-reboot makes an end of it.
        words = [f"console={architecture.console}", "panic=-1", "quiet", "--", *arguments]
        command = [
            *(*architecture.qemu, "-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config"),
            *("-display", "none", "-serial", "stdio", "-no-reboot"),
            *("-kernel", str(kernel), "-initrd", str(initramfs)),
            *("-append", " ".join(words)),
        ]
        return run_for(command, BOOT_SECONDS)


def run_for(command: List[str], seconds: float) -> List[str]:
    """The lines that a command writes; it and its children are ended when time is over."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout
    late = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
    late.start()
    try:
        lines = [line.decode(errors="replace").strip() for line in process.stdout]
        process.wait()
    finally:
        late.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    if process.returncode == -signal.SIGKILL:
        lines.append(f"was ended after {seconds} seconds")
    return lines


def judge(
    name: str, kernel: str, checks: List[str], lines: List[str], seconds: float
) -> Tuple[int, int]:
    """Print what came of each check; how many passed and failed."""
    about = next((line[8:] for line in lines if line.startswith("MACHINE ")), "did not come up")
    as_expected = about.startswith(f"Linux {kernel}.")
    print(f"{name}: {about} ({seconds:.0f} s)")
    passed = failed = 0
    for check in checks:
        verdicts = [line for line in lines if re.match(rf"(PASS|FAIL) {check} ", line)]
        good = as_expected and len(verdicts) == 1 and verdicts[0].startswith("PASS")
        passed, failed = passed + good, failed + (not good)
        text = verdicts[0][5:] if verdicts else f"{check} was not checked"
        print(f"  {'passed' if good else 'FAILED'}  {text}")
    if failed:
        print(f"  Linux {kernel} was expected. The last words:")
        print("".join(f"  | {line}\n" for line in lines[-CONSOLE_TAIL:]), end="")
    sys.stdout.flush()
    return passed, failed


def check_here(kernel: str) -> List[str]:
    """The same on this machine, without another one in between."""
    command = [sys.executable, str(GUEST), *guest_arguments(hooks_of(kernel))]
    return run_for(command, HERE_SECONDS)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started ends too
    this = ".".join(platform.release().split(".")[:2])
    started = time.monotonic()
    lines = check_here(this)
    seconds = time.monotonic() - started
    passed, failed = judge("This machine", this, hooks_of(this), lines, seconds)
    for machine in MACHINES:
        root = make_root(machine)
        kernel = root
        if machine.kernel_suite:
            kernel = make_root(next(m for m in MACHINES if m.suite == machine.kernel_suite))
        started = time.monotonic()
        lines = boot(machine, root, kernel / "kernel")
        name, seconds = f"{machine.name} {machine.architecture}", time.monotonic() - started
        good, bad = judge(name, machine.kernel, machine.checks, lines, seconds)
        passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
