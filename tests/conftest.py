# SPDX-License-Identifier: GPL-2.0-only
"""What all tests need: root, the kernel's tracing file system, and that nothing outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Iterator, List

import pytest
import watchdog

pytest.register_assert_rewrite("live", "conversations")

# Users do not set it, and it hides what Python does with output that nobody takes.
os.environ.pop("PYTHONUNBUFFERED", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--first", type=int, metavar="N", help="only the first N tests of each file")


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    most, counts = config.getoption("first"), Counter()
    for item in items[:] if most else ():
        counts[item.path] += 1
        if counts[item.path] > most:
            items.remove(item)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several processes that pytest-xdist has started
        watchdog.mark(watchdog.own_token() + os.environ["PYTEST_XDIST_WORKER"][len("gw") :])
    else:
        watchdog.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """After Ctrl-C, nothing is left when the prompt is back. The watchdog would take a moment."""
    if not hasattr(config, "workerinput"):
        watchdog.clean_up(watchdog.own_token())


@pytest.fixture(scope="session", autouse=True)
def machine() -> Iterator[None]:
    """These tests record for real; on a machine that cannot, they fail."""
    assert os.geteuid() == 0, "the tests load BPF programs: sudo make test"
    watchdog.keep_mounts_private()
    if not os.path.isdir("/sys/kernel/tracing/events"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
    stop_ignoring_signals()
    yield
    deadline = time.monotonic() + 10
    while (left := watchdog.marked(watchdog.own_token())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"the tests started these processes and did not end them: {left}"


def stop_ignoring_signals() -> None:
    """A signal that is ignored, as nohup and a script's & do it, is so in all that is started.

    Tests end with it what they have started, so that must not ignore it. One that is handled
    is not inherited, and to handle it like this is to go on ignoring it here.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may write to; pytest's own are root's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
