# SPDX-License-Identifier: GPL-2.0-only
"""What a recorder may do while it records, and what it needs in order to begin."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Dict, List, Sequence

import pytest
from live import (
    MODULE,
    SYSTEM_PYTHON,
    Memcached,
    Recorder,
    as_user,
    assert_exact,
    compiled,
    exchange,
    run,
)

NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")  # stands for whoever calls sudo
SUDO = {"SUDO_UID": str(DAEMON.pw_uid), "SUDO_GID": str(DAEMON.pw_gid)}
NO_SUDO = {"SUDO_UID": "", "SUDO_GID": ""}


@pytest.fixture
def open_folder(open_folder: Path) -> Path:
    """A folder that every user may write to, with a membench.py that every user may read."""
    copy = open_folder / "membench.py"
    copy.write_bytes(compiled(SYSTEM_PYTHON).read_bytes())
    copy.chmod(0o644)
    return open_folder


def statuses(pid: int) -> List[Dict[str, str]]:
    """/proc/PID/status of each thread of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        found.append({name: value.strip() for name, _, value in (x.partition(":") for x in lines)})
    assert found
    return found


def assert_has_no_rights(pid: int, uid: int, gid: int) -> None:
    """In no thread a way to anything that this user alone could not do."""
    for status in statuses(pid):
        assert status["Uid"].split() == [str(uid)] * 4
        assert status["Gid"].split() == [str(gid)] * 4
        assert status["Groups"] == ""
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert status["NoNewPrivs"] == "1"


def talk(server: Memcached) -> None:
    """Some traffic."""
    with server.connect() as connection:
        exchange(connection, b"set a 0 0 5\r\nhello\r\n", b"STORED\r\n")
        for _ in range(50):
            exchange(connection, b"get a\r\n", b"END\r\n")


# ---- Giving rights up ----


@pytest.mark.parametrize(
    ("environment", "options", "user", "owner"),
    [
        (SUDO, [], DAEMON, DAEMON.pw_uid),
        (SUDO, ["--user", "nobody"], NOBODY, NOBODY.pw_uid),
        (NO_SUDO, ["--user", "daemon"], DAEMON, DAEMON.pw_uid),
        (NO_SUDO, [], NOBODY, 0),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, [], NOBODY, 0),
        (SUDO, ["--user", "root"], pwd.getpwnam("root"), 0),
    ],
    ids=["sudo", "sudo and --user", "--user", "root", "root by sudo", "--user root"],
)
@pytest.mark.parametrize(
    "source", ["ebpf:any --hook sock", "ebpf:any --hook syscalls", "packet:lo"]
)
def test_no_rights_while_it_records(
    source: str,
    environment: Dict[str, str],
    options: List[str],
    user: pwd.struct_passwd,
    owner: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "a.profile"
    name, *hook = source.split()
    with Memcached() as server:
        before = server.stats()
        arguments = ("--port", str(server.port), *hook, *options)
        with Recorder(output, *arguments, source=name) as recorder:
            assert_has_no_rights(recorder.process.pid, user.pw_uid, user.pw_gid)
            talk(server)
            after = server.stats()
            report = recorder.stop()
    if name == "packet:lo":  # which joins the connection that stats come over
        assert report["commands"]["get"]["hits"] == 50
    else:
        assert_exact(before, after, report, output)
    assert output.stat().st_uid == owner
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


REGAIN = """
import ctypes, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import membench
os.setgroups([0, 1, 2])
membench.drop_privileges(membench.choose_user(sys.argv[3]))
assert os.getgroups() == []
def fails(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return True
assert fails(os.setuid, 0) and fails(os.setresuid, 0, 0, 0) and fails(os.seteuid, 0)
assert fails(os.setgid, 0) and fails(os.setresgid, -1, 0, -1) and fails(os.setgroups, [0])
assert fails(os.open, "/etc/shadow", os.O_RDONLY)
assert fails(os.kill, os.getppid(), 0)
libc = ctypes.CDLL(None)
everything = bytes([255]) * 24
assert libc.capset(membench.CAPABILITY_HEADER, everything) == -1
assert libc.prctl(38, ctypes.c_ulong(0), *[ctypes.c_ulong(0)] * 3) == -1
os.execv(sys.argv[2], [sys.argv[2], "-u"])
"""


def test_root_cannot_be_regained(open_folder: Path) -> None:
    """Not by a system call, and not by a program that belongs to root and has the setuid bit."""
    program = open_folder / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    control = subprocess.run(
        [program, "-u"], **as_user("daemon"), stdout=subprocess.PIPE, check=True
    )
    assert control.stdout == b"0\n", "set-user-ID programs do nothing here, so this proves nothing"
    shutil.copy(MODULE, open_folder)  # bytecode of that name cannot be imported
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", REGAIN, str(open_folder / "membench.py"), str(program), "daemon"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{DAEMON.pw_uid}\n", "")


def test_force_replaces_in_a_folder_that_the_user_may_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SUDO.items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "a.profile"
    output.write_bytes(b"old")
    done = run(
        "record",
        "ebpf:any",
        str(output),
        "--force",
        "--duration",
        "0.1",
        "--port",
        "1",
        "--allow-empty",
    )
    assert done.returncode == 0, done.stderr
    assert output.stat().st_uid == DAEMON.pw_uid
    assert os.listdir(tmp_path) == ["a.profile"]
    before = output.read_bytes()
    done = run("record", "ebpf:any", str(output), "--force", "--bpf-object", "/etc/passwd")
    assert done.returncode == 1
    assert output.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.profile"]


def test_users_that_it_cannot_be(open_folder: Path) -> None:
    output = open_folder / "a.profile"
    done = run("record", "ebpf:any", str(output), "--user", "no\x1bbody")
    assert done.returncode == 1 and "there is no user no?body" in done.stderr
    arguments = ("record", str(output), "--user", "root", "--port", "1", "--duration", "0.1")
    done = with_capabilities("+bpf,+perfmon", *arguments, cwd=open_folder)
    assert done.returncode == 1 and "only root can record as root" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not output.exists()


# ---- Beginning without root ----


def set_privileges(capabilities: str, user: str = "nobody") -> Sequence[str]:
    """The beginning of a command: as this user, with these capabilities and no other."""
    uid, gid = pwd.getpwnam(user)[2:4]
    return [
        *("setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups"),
        *(f"--{kind}=-all,{capabilities}" for kind in ("inh-caps", "ambient-caps")),
        f"--bounding-set=-all,{capabilities}",
    ]


def with_capabilities(
    capabilities: str, *arguments: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """membench.py to its end, as nobody with these capabilities."""
    return subprocess.run(
        [*set_privileges(capabilities), SYSTEM_PYTHON, "membench.py", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("capabilities", "source", "hook"),
    [
        ("+bpf,+perfmon", "ebpf:any", "sock"),
        ("+bpf,+perfmon,+dac_read_search", "ebpf:any", "syscalls"),
        ("+net_raw", "packet:lo", "auto"),
    ],
)
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_capabilities_are_enough(
    user: str, capabilities: str, source: str, hook: str, open_folder: Path
) -> None:
    output = open_folder / "a.profile"
    with Memcached() as server:
        before = server.stats()
        options = ("--port", str(server.port), "--hook", hook)
        command = [*set_privileges(capabilities, user), SYSTEM_PYTHON, "membench.py"]
        with Recorder(
            output, *options, source=source, command=command, cwd=open_folder
        ) as recorder:
            for status in statuses(recorder.process.pid):
                assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
                assert int(status["CapAmb"], 16) == int(status["CapInh"], 16) == 0
                assert status["NoNewPrivs"] == "1"
            talk(server)
            after = server.stats()
            report = recorder.stop()
    if source == "packet:lo":
        assert report["commands"]["get"]["hits"] == 50
    else:
        assert_exact(before, after, report, output)
    assert output.stat().st_uid == pwd.getpwnam(user).pw_uid


@pytest.mark.parametrize(
    ("capabilities", "rows"),
    [
        ("+bpf", {"kernel": "CAP_PERFMON", "hook sock": "CAP_PERFMON", "packets": "CAP_NET_RAW"}),
        ("+perfmon", {"kernel": "CAP_BPF", "hook sock": "CAP_BPF", "packets": "CAP_NET_RAW"}),
        ("+net_raw", {"kernel": "CAP_BPF, CAP_PERFMON", "packets": ""}),
        (
            "+bpf,+perfmon",
            {"kernel": "", "hook sock": "", "hook syscalls": "CAP_DAC_READ_SEARCH"},
        ),
        (
            "+bpf,+perfmon,+dac_read_search,+net_raw",
            {"kernel": "", "hook sock": "", "hook syscalls": "", "packets": ""},
        ),
    ],
)
def test_check_says_what_is_missing(
    capabilities: str, rows: Dict[str, str], open_folder: Path
) -> None:
    done = with_capabilities(capabilities, "check", cwd=open_folder)
    for name, missing in rows.items():
        (line,) = re.findall(rf"^(?:yes|NO) +{name} .*$", done.stdout, re.M)
        assert line.startswith("NO" if missing else "yes"), line
        found = re.search(r"missing: ([^)]*)", line)
        assert (found[1] if found else "") == missing


# ---- Standing back ----


@pytest.mark.parametrize(
    ("options", "niceness"), [([], 5), (["--nice", "0"], 0), (["--nice", "19"], 19)]
)
def test_it_stands_back_for_the_server(options: List[str], niceness: int, tmp_path: Path) -> None:
    assert os.getpriority(os.PRIO_PROCESS, 0) == 0
    with Recorder(tmp_path / "a", "--port", "1", *options) as recorder:
        pid = recorder.process.pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == niceness
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        recorder.stop()


@pytest.mark.parametrize("text", ["-1", "20", "x"])
def test_niceness_that_is_none(text: str, tmp_path: Path) -> None:
    done = run("record", f"--nice={text}", "--port", "1", "--duration", "0.1", cwd=tmp_path)
    assert done.returncode == 2
    assert "not a niceness from 0 to 19" in done.stderr


# ---- The terminal ----


def test_arguments_are_not_repeated_to_the_terminal() -> None:
    for arguments in (["--n=\x1b[31m"], ["--port", "\x1b[31m"], ["--\x9b31m"], ["a", "b", "\x1b"]):
        done = run("record", *arguments)
        assert done.returncode == 2
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stderr), done.stderr
