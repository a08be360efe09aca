#!/usr/bin/env python3
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
from typing import Any, Dict

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
        "kernel": platform.release(),
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
    section = ""
    for item in results["figures"]:
        if item["section"] != section:
            section = item["section"]
            lines += ["", f"### {section[0].upper()}{section[1:]}", ""]
            lines += ["| what | measured | unit | ratio | to |", "|---|---|---|---|---|"]
        ratio = item.get("ratio", {"values": [], "to": ""})
        figure = tools.Figure(
            *(section, item["name"], item["unit"], item["values"]),
            *(ratio["to"], ratio["values"]),
        )
        lines.append(f"| {' | '.join(figure.line())} |")
    return "\n".join(lines)


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
        parser.error(f"missing: {' '.join(missing)} (sudo make deps-test)")
    results: Dict[str, Any] = {"machine": machine()}
    wanted = {name: SECTIONS[name] for name in options.section or SECTIONS}
    figures = tools.run(wanted, options)
    results["figures"] = [figure.as_json() for figure in figures]
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
