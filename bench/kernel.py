#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What recording costs in the kernel: sudo bench/kernel.py

Run time of each kernel program (kernel.bpf_stats_enabled, which adds some tens of
nanoseconds to each run), and what system calls cost that have nothing to do with memcached
while a recorder runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from tools import (
    LOAD_CPU,
    Figure,
    Server,
    Values,
    alternate,
    compared,
    drive,
    main,
    recorder,
    rounds,
)

STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
HOOKS = ("sock", "syscalls")

# Prints nanoseconds a call: getppid, read of /dev/null, one byte there and back through a
# Unix socket pair.
CALLS = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    long count = atol(argv[argc - 1]);
    int fd = open("/dev/null", O_RDONLY), pair[2];
    char byte = 0;
    double begin = now();
    if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        return 1;
    for (long i = 0; i < count; i++)
        syscall(SYS_getppid);
    printf("%f ", (now() - begin) / count);
    begin = now();
    for (long i = 0; i < count; i++)
        if (read(fd, &byte, 1))
            return 1;
    printf("%f ", (now() - begin) / count);
    begin = now();
    for (long i = 0; i < count; i++)
        if (write(pair[0], &byte, 1) != 1 || read(pair[1], &byte, 1) != 1)
            return 1;
    printf("%f\n", (now() - begin) / count);
    return 0;
}
"""
CALL_NAMES = ("getppid", "read of /dev/null", "Unix socket pair, write and read")


@contextlib.contextmanager
def run_times() -> Iterator[None]:
    """The kernel counts the run time of programs meanwhile."""
    before = STATS.read_text()
    STATS.write_text("1")
    try:
        yield
    finally:
        STATS.write_text(before)


def programs(pid: int) -> List[Tuple[str, int, int]]:
    """(name, runs, nanoseconds) of the kernel programs that a process holds."""
    descriptors = "".join(file.read_text() for file in Path(f"/proc/{pid}/fdinfo").iterdir())
    held = set(map(int, re.findall(r"^prog_id:\t(\d+)$", descriptors, re.MULTILINE)))
    listed = subprocess.run(
        ["bpftool", "--json", "prog", "list"], capture_output=True, text=True, check=True
    )
    return [
        (program.get("name", ""), program.get("run_cnt", 0), program.get("run_time_ns", 0))
        for program in json.loads(listed.stdout)
        if program["id"] in held
    ]


def measure_hook(server: Server, folder: Path, hook: str, count: int) -> Values:
    """Nanoseconds of all programs for an operation, and of each for a run."""
    with recorder(server.port, folder / "programs.profile", "--hook", hook) as tool:
        drive(server.port, count)
        own = programs(tool.pid)
        tool.stop()
    found = {"all programs": sum(spent_ns for _, _, spent_ns in own) / count}
    for name, runs, spent_ns in own:
        if runs > count // 100 and re.match("sock_|sys_", name):
            found[f"a run of {name}"] = spent_ns / runs
    return found


def measure_programs(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """Run time of the kernel programs; memcaslap, one read and one write an operation."""
    count = 20_000 if options.quick else 60_000
    with Server("-t", "1") as server, run_times():
        drive(server.port, count)
        runs = {
            hook: (lambda hook=hook: measure_hook(server, folder, hook, count)) for hook in HOOKS
        }
        found = alternate(runs, rounds(options, 3))
    names = dict.fromkeys(name for values in found.values() for name in values)
    units = {name: "ns" if "run" in name else "ns/operation" for name in names}
    return compared("kernel programs", found, units, "syscalls")


def measure_calls(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """System calls that have nothing to do with memcached, while a recorder waits."""
    compiler = shutil.which("cc") or shutil.which("clang") or shutil.which("gcc")
    if not compiler:
        sys.exit("no C compiler: sudo make packages-test")
    source, program = folder / "calls.c", folder / "calls"
    source.write_text(CALLS)
    subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    count = 100_000 if options.quick else 400_000

    def one(server: Server, hook: Optional[str]) -> Values:
        with contextlib.ExitStack() as stack:
            if hook:
                output = folder / "calls.profile"
                stack.enter_context(recorder(server.port, output, "--hook", hook))
            done = subprocess.run(
                ["taskset", "-c", str(LOAD_CPU), str(program), str(count)],
                check=True,
                capture_output=True,
                text=True,
            )
        return dict(zip(CALL_NAMES, map(float, done.stdout.split())))

    with Server() as server:
        runs = {
            str(hook or "nothing"): (lambda hook=hook: one(server, hook)) for hook in (None, *HOOKS)
        }
        found = alternate(runs, rounds(options, 3))
    return compared("unrelated calls", found, dict.fromkeys(CALL_NAMES, "ns"), "nothing")


SECTIONS = {"programs": measure_programs, "calls": measure_calls}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
