"""What all tests need: root, and the kernel's tracing file system."""

from __future__ import annotations

import os
import subprocess

import pytest

pytest.register_assert_rewrite("live", "conversations")


@pytest.fixture(scope="session", autouse=True)
def machine() -> None:
    """These tests record for real; on a machine that cannot, they fail."""
    assert os.geteuid() == 0, "the tests load BPF programs: sudo make test"
    if not os.path.isdir("/sys/kernel/tracing/events"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
