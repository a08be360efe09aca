# SPDX-License-Identifier: GPL-2.0-only
"""Fuzz one target, guided by coverage: run.py TARGET [libFuzzer's options]

    make fuzz                                      # all targets, some time each
    .venv-fuzz/bin/python tests/fuzz/run.py matcher -max_total_time=600

What it learns goes to a folder that is thrown away; an input that fails stays, and its name
is printed. Put it into corpus/TARGET, and the tests run it ever after.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["membench"]):
    import targets

HERE = Path(__file__).resolve().parent


def main() -> None:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as learnt:
        child = os.fork()  # libFuzzer ends its process without a word
        if not child:
            # 10 seconds for an input are far too much, and so is 1 GiB: both are findings.
            options = ["-timeout=10", "-rss_limit_mb=1024", f"-artifact_prefix={name}-"]
            options += [*sys.argv[2:], learnt, str(HERE / "corpus" / name)]
            atheris.Setup([sys.argv[0], *options], targets.TARGETS[name])
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    sys.exit(status != 0)


if __name__ == "__main__":
    main()
