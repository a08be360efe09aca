# SPDX-License-Identifier: GPL-2.0-only
"""What is handed out: the package that pip installs, the file of `make dist`, the license."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pip
import pytest
from live import COMPILED, Memcached

import membench

ROOT = Path(__file__).resolve().parent.parent


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """The finished command; its output is text."""
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )


def source_files() -> list[Path]:
    """What somebody wrote and a program reads."""
    found = [path for folder in ("bpf", "bench", "tests") for path in (ROOT / folder).rglob("*.*")]
    found += [ROOT / name for name in ("membench.py", "Makefile", "pyproject.toml", ".ci/run")]
    suffixes = (".py", ".sh", ".c", ".toml", "")
    return [one for one in found if one.suffix in suffixes and "__pycache__" not in one.parts]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what pip needs, so that nothing is built in the working tree."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("membench.py", "pyproject.toml", "README.md", "LICENSE", "Makefile"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `membench` that `pip install .` makes in a virtual environment."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    # The pip is the one of the tests: to install another takes longer than all the rest.
    found = {**os.environ, "PYTHONPATH": str(Path(pip.__file__).parent.parent)}
    install = (environment / "bin/python", "-m", "pip", "install", "--quiet", ".")
    done = run(*install, cwd=source, env=found)
    assert done.returncode == 0, done.stderr
    return environment / "bin/membench"


def test_installed_by_pip(installed: Path, tmp_path: Path) -> None:
    """It records as root, and calls itself by the name under which it was installed."""
    with Memcached() as server:
        before = server.stats()
        recorder = subprocess.Popen(
            [installed, "record", "--port", str(server.port), "--duration", "60", "a.profile"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert recorder.stderr
        try:
            first = recorder.stderr.readline()
            assert " from ebpf:any (" in first, first + recorder.stderr.read()
            with server.connect() as link:
                link.sendall(b"set k 0 0 1\r\nv\r\nget k\r\nget none\r\n")
                received = b""
                while not received.endswith(b"1\r\nv\r\nEND\r\nEND\r\n"):
                    received += link.recv(4096)
        finally:
            recorder.send_signal(2)
            _, said = recorder.communicate()
        gets = (server.stats() - before)["cmd_get"]
    assert recorder.returncode == 0 and "next: membench analyze a.profile" in said, said
    done = run(installed, "analyze", "--json", "a.profile", cwd=tmp_path)
    assert f'"operations": {gets + 1},' in done.stdout
    shown = run(installed, "record", "--help").stdout
    assert "sudo membench record" in shown and "membench.py" not in shown
    hint = run(installed, "analyze", "/dev/null", cwd=tmp_path).stderr
    assert "make one with: membench record" in hint


def test_version(installed: Path, source: Path) -> None:
    """--version is what a bug report needs; the package has the same number, and the changelog."""
    program = "import importlib.metadata as packages; print(packages.version('membench'))"
    packaged = run(installed.parent / "python", "-c", program, cwd=source.parent)
    assert packaged.stdout == f"{membench.VERSION}\n", packaged.stderr
    lines = run(installed, "--version").stdout.splitlines()
    assert lines[0] == f"membench {membench.VERSION}"
    assert lines[2].startswith(f"Linux {os.uname().release}")
    assert re.fullmatch(r"libbpf (\d+\.\d+.*|older than 0\.6)", lines[3])
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert first and first[1] == membench.VERSION


def test_version_without_libbpf(tmp_path: Path) -> None:
    script = "import ctypes, sys; sys.path.insert(0, sys.argv.pop(1))\n" + (
        "def missing(*_, **__): raise OSError\n"
        "ctypes.CDLL = missing\n"
        "import membench; membench.main(['--version'])\n"
    )
    done = run(sys.executable, "-c", script, ROOT, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "libbpf not found"), done.stderr


def test_dist(source: Path) -> None:
    """The file for servers is membench.py, can be executed, and its checksum is right."""
    done = run("make", "dist", cwd=source)
    assert done.returncode == 0, done.stderr
    folder = source / "dist"
    assert sorted(path.name for path in folder.iterdir()) == ["membench.py", "membench.py.sha256"]
    assert (folder / "membench.py").read_bytes() == (ROOT / "membench.py").read_bytes()
    checksum = hashlib.sha256((ROOT / "membench.py").read_bytes()).hexdigest()
    assert (folder / "membench.py.sha256").read_text() == f"{checksum}  membench.py\n"
    assert run("sha256sum", "--check", "membench.py.sha256", cwd=folder).returncode == 0
    assert run(folder / "membench.py", "--version", cwd=folder).returncode == 0


def test_license() -> None:
    """The text is the one of version 2, and every file of source says that it holds."""
    assert "Version 2, June 1991" in (ROOT / "LICENSE").read_text()
    assert len(source_files()) > 30
    for path in source_files():
        head = path.read_text().splitlines()[:2]
        assert any("SPDX-License-Identifier: GPL-2.0" in line for line in head), path


def test_demo(tmp_path: Path) -> None:
    """It shows equal counters, keeps its profile, and leaves nothing else."""
    done = run(sys.executable, ROOT / "bench/demo.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n  delete_misses +([1-9]\d*) +\1\n", done.stdout), done.stdout
    assert "differs" not in done.stdout and "Coverage  100%" in done.stdout
    assert f"The profile is {tmp_path}/demo.profile" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["demo.profile"]


USER_DOCS = (
    *("README.md", "SECURITY.md", "docs/recording.md", "docs/report.md", "docs/insight.md"),
    *("docs/export.md", "docs/replay.md"),
)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("name", [*USER_DOCS, "docs/architecture.md", "docs/performance.md"])
def test_links_of_documents(name: str) -> None:
    """Each leads to a file of the project, and to a heading in it."""
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = (ROOT / name).parent / path if path else ROOT / name
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.M) if anchor else []
        assert not anchor or anchor in [re.sub(r"\W+", "-", h.lower()) for h in headings], target


def test_options_of_documents() -> None:
    """The documents name no option that membench does not have."""
    known = {"--version"}
    for command in ("record", "analyze", "compare", "export", "replay", "check"):
        help_text = run(sys.executable, COMPILED, command, "--help").stdout
        known.update(re.findall(r"--[a-z][a-z-]+", help_text))
    for name in USER_DOCS:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / name).read_text()))
        assert named <= known, (name, named - known)


def test_named_tests_exist() -> None:
    """Each promise of docs/reliability.md names tests that are there."""
    named = re.findall(r"`(\w+)::(\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(named) > 20
    for file, test in named:
        if (file, test) != ("file", "test"):  # how they are named
            assert f"def test_{test}(" in (ROOT / f"tests/test_{file}.py").read_text(), (file, test)
