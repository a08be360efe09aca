#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""All that membench costs and how fast it is, measured here: sudo make bench

Figures that are compared were measured in turn in one run; the table has their median and
extremes, and the ratio in the same round. --quick only shows that it works. The results go
to bench/results.json; --markdown prints that file as the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List

import analysis
import completeness
import core
import kernel
import packets
import replay
import server
import start
import tools

RESULTS = Path(__file__).resolve().parent / "results.json"
NEEDED = ("awk", "bpftool", "gzip", "memcached", "taskset", "tcpdump", "tshark")
SECTIONS: Dict[str, tools.Measure] = {
    **server.SECTIONS,
    **kernel.SECTIONS,
    **core.SECTIONS,
    **completeness.SECTIONS,
    **analysis.SECTIONS,
    **replay.SECTIONS,
    **packets.SECTIONS,
    **start.SECTIONS,
}


def machine() -> Dict[str, Any]:
    """On what it was measured."""
    memcached = subprocess.run(["memcached", "-V"], capture_output=True, text=True, check=True)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpus": len(tools.CPUS),
        "kernel": ".".join(map(str, tools.membench.kernel_release())),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "memcached": memcached.stdout.strip().split()[-1],
        "load_before": os.getloadavg()[0],
    }


def markdown(results: Dict[str, Any]) -> str:
    """The results as tables, one for each section."""
    about = results["machine"]
    lines = [
        f"{about['date']}, {about['cpus']} CPUs ({about['machine']}), Linux {about['kernel']}, "
        f"Python {about['python']}, memcached {about['memcached']}; load before the run "
        f"{about['load_before']:.2f}."
    ]
    sections: Dict[str, List[Dict[str, Any]]] = {}
    for item in results["figures"]:
        sections.setdefault(item["section"], []).append(item)
    for section, items in sections.items():
        beside = " / ".join(dict.fromkeys(i["ratio"]["to"] for i in items if "ratio" in i))
        lines += ["", f"### {section[0].upper()}{section[1:]}", ""]
        lines += [f"`x` is the ratio to: {beside}.", ""] if beside else []
        lines += table(items)
    return "\n".join(lines)


COLUMNS_MAX = 3  # variants side by side; more of them stand one below the other


def table(items: List[Dict[str, Any]]) -> List[str]:
    """One section."""
    cells = {(item["name"], item["variant"]): cell(item) for item in items}
    names = {item["name"]: f"{item['name']}, {item['unit']}".rstrip(", ") for item in items}
    variants = {item["variant"]: item["variant"] for item in items}
    transposed = len(variants) > COLUMNS_MAX
    rows, columns = (variants, names) if transposed else (names, variants)
    lines = [f"| | {' | '.join(columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for row, title in rows.items():
        keys = [(column, row) if transposed else (row, column) for column in columns]
        lines.append(f"| {title} | {' | '.join(cells.get(key, '') for key in keys)} |")
    return lines


def cell(item: Dict[str, Any]) -> str:
    """Median and extremes, and the same of the ratio."""
    text = tools.spread(item["values"])
    return f"{text}; x {tools.spread(item['ratio']['values'])}" if "ratio" in item else text


def main() -> None:
    """Measure all, or the sections that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("section", nargs="*", choices=[[], *SECTIONS], help="default: all")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default bench/results.json")
    parser.add_argument("--markdown", action="store_true", help="print OUTPUT, measure nothing")
    tools.add_options(parser)
    options = parser.parse_args()
    if options.markdown:
        print(markdown(json.loads(options.output.read_text())))
        return
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        parser.error(f"missing: {' '.join(missing)} (sudo make packages-test)")
    results: Dict[str, Any] = {"machine": machine()}
    wanted = {name: SECTIONS[name] for name in options.section or SECTIONS}
    figures = tools.run(wanted, options)
    results["figures"] = [figure.as_json() for figure in figures]
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
