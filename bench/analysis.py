#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How fast profiles are analyzed, and how large they are: sudo bench/analysis.py

Analysis of 1 and 10 million operations (--full: 50 too), beside awk that counts commands,
outcomes and keys in an equivalent CSV. Bytes of a profile for each operation, beside the
capture of the same traffic, raw and compressed.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from tools import (
    MEMBENCH,
    Figure,
    Server,
    Values,
    alternate,
    analyze,
    main,
    make_profile,
    membench,
    peak_mib,
    recorder,
    replay,
    rounds,
    tcpdump,
)

MILLION = 1_000_000
VALUE_BYTES = [16, 32, 64, 100, 200, 300, 500, 800, 1200, 4000]
AWK = (
    "{ commands[$3]++; outcomes[$3, $4]++; keys[$5]++; sizes[$6]++ }"
    " END { for (key in keys) n++; for (command in commands) print command, commands[command], n }"
)


def timed(command: Sequence[str]) -> Tuple[float, float]:
    """Seconds of a program, and the sum of its processes' peaks of memory in MiB."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks: Dict[int, float] = {}
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
            break
        pids = [process.pid]
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            pids += map(int, children.read_text().split())
        for pid in pids:
            peaks[pid] = max(peaks.get(pid, 0.0), peak_mib(pid))
    spent = time.monotonic() - begin
    assert process.returncode == 0, command
    return spent, sum(peaks.values())


def write_csv(profile: Path, path: Path) -> None:
    """Time, connection, command, outcome, key, size of value, latency: a line for each."""
    with path.open("w") as file, membench.ProfileReader(str(profile)) as reader:
        for block in reader.blocks():
            rows = zip(
                *(block.time, block.connection, block.form, block.outcome),
                *(block.key, block.value_size, block.latency),
            )
            for at, connection, form, outcome, key, size, latency in rows:
                words = (at, connection, reader.forms[form], outcome)
                words += (f"{block.key_hash[key]:016x}", size, latency)
                file.write(",".join(map(str, words)) + "\n")


def measure_analysis(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """`analyze` beside awk that counts an equivalent CSV; 10,000 keys."""
    unit = MILLION // 10 if options.quick else MILLION
    sizes = [1, 10, 50] if options.full else [1, 10]
    figures = []
    csv = folder / "all.csv"
    for size in sizes:
        count = size * unit
        profile = make_profile(folder / "all.profile", count, 100_000, 1, value_bytes=VALUE_BYTES)
        if size == 1:
            write_csv(profile, csv)

        def ours(profile: Path = profile, count: int = count) -> Values:
            spent, peak = timed([*MEMBENCH, "analyze", "--json", str(profile)])
            return {"speed": count / spent, "peak memory": peak}

        def theirs(size: int = size, count: int = count) -> Values:
            spent, peak = timed(["awk", "-F,", AWK, *[str(csv)] * size])
            return {"speed": count / spent, "peak memory": peak}

        # On many operations the run is long, and steady.
        found = alternate({"analyze": ours, "awk": theirs}, rounds(options, 3) if size == 1 else 1)
        for name, unit_name in {"speed": "operations/s", "peak memory": "MiB"}.items():
            base = found["awk"][name]
            for variant, values in found.items():
                ratios = [v / b for v, b in zip(values[name], base)] if variant != "awk" else []
                label = f"{name}, {count / MILLION:g} million"
                beside = "awk" if ratios else ""
                figures.append(
                    Figure("analysis", label, variant, unit_name, values[name], beside, ratios)
                )
        profile.unlink()
    return figures


def entropy_bytes(profile: Path) -> float:
    """What the columns of a profile need, each value by itself, and each key's hash once."""
    columns: Dict[str, Counter[int]] = {}
    key_sizes: Dict[int, int] = {}
    with membench.ProfileReader(str(profile)) as reader:
        for block in reader.blocks():
            key_sizes.update(zip(block.key_hash, block.key_size))
            found = {name: getattr(block, name) for name, _ in membench.COLUMNS}
            found["key"] = [block.key_hash[key] for key in block.key]
            found["time"] = [b - a for a, b in zip(block.time, block.time[1:])]
            for name, values in found.items():
                columns.setdefault(name, Counter()).update(values)
    columns["key size"] = Counter(key_sizes.values())
    bits = sum(
        -count * math.log2(count / sum(values.values()))
        for values in columns.values()
        for count in values.values()
    )
    return bits / 8 + 8 * len(key_sizes)


def measure_size(options: argparse.Namespace, folder: Path) -> List[Figure]:
    """Bytes an operation of a real recording, beside a capture of the same traffic."""
    seconds = 1 if options.quick else 5
    load = make_profile(
        folder / "load.profile",
        *(options.rate // 2 * seconds, options.rate // 2),
        keys=100_000,
        value_bytes=VALUE_BYTES,
    )
    output, capture = folder / "all.profile", folder / "all.pcap"
    with Server() as server:
        replay(load, server.port, "--preload", "--speed", "max")
        with recorder(server.port, output) as tool, tcpdump(server.port, capture) as other:
            replay(load, server.port)
            tool.settle()
            tool.stop()
            other.settle()
            _, words = other.stop()
    assert re.search(r"\b0 packets dropped by kernel", words), words
    operations = analyze(output)["operations"]
    raw = capture.stat().st_size
    subprocess.run(["gzip", "-k", str(capture)], check=True)
    packed = Path(f"{capture}.gz").stat().st_size
    sizes = {"pcap": raw, "pcap, gzip": packed, "profile": output.stat().st_size}
    sizes["entropy of its columns"] = entropy_bytes(output)
    return [
        Figure(
            "size",
            "size",
            name,
            "bytes/operation",
            [size / operations],
            "pcap" if name != "pcap" else "",
            [size / raw] if name != "pcap" else [],
        )
        for name, size in sizes.items()
    ]


SECTIONS = {"analysis": measure_analysis, "size": measure_size}

if __name__ == "__main__":
    main(SECTIONS, __doc__)
