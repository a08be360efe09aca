# SPDX-License-Identifier: GPL-2.0-only
"""What the command line takes, what it refuses, and what a script is told by the status."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from live import (
    COMPILED,
    LOOPBACK,
    MODULE,
    PATIENCE_SECONDS,
    Memcached,
    Recorder,
    analyze,
    exchange,
    free_port,
    membench,
    run,
)

IDLE = ("--port", "1", "--duration", "0.1")


def refusal(*arguments: str) -> membench.UsageError:
    """The error that these arguments end in."""
    with pytest.raises(membench.UsageError) as raised:
        membench.parse_args(arguments)
    assert raised.value.status == 2
    assert len(str(raised.value).splitlines()) == 1
    return raised.value


# ---- SOURCE and OUTPUT ----


@pytest.mark.parametrize(
    ("arguments", "source", "output"),
    [
        (["out.profile"], ("auto", "any"), "out.profile"),
        (["ebpf:any", "-"], ("ebpf", "any"), "-"),
        (["-"], ("auto", "any"), "-"),
        (["-", "-"], ("file", "-"), "-"),
        (["-", "-o", "x"], ("file", "-"), "x"),
        (["-o", "x"], ("auto", "any"), "x"),
        (["lo", "--output", "a.pcap"], ("packet", "lo"), "a.pcap"),
        (["x.pcap", "--port", "1", "o.profile"], ("file", "x.pcap"), "o.profile"),
        (["--port", "1", "o.profile", "--force"], ("auto", "any"), "o.profile"),
        ([str(MODULE), "o.profile"], ("file", str(MODULE)), "o.profile"),
    ],
)
def test_source_and_output(arguments: List[str], source: Any, output: str) -> None:
    options = membench.parse_args(["record", *arguments])
    assert (options.source, options.output) == (source, output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["etho0"], "unknown source 'etho0': .* lo"),
        (["etho0", "o.profile"], "unknown source 'etho0'"),
        (["11211"], "--port 11211"),
        (["localhost:11211"], "a port is given as --port 11211"),
        (["lo:11211", "o.profile"], "a port is given as --port 11211"),
        (["ebpf"], "unknown source 'ebpf'"),
        (["ebpf:", "o.profile"], "an interface is missing after 'ebpf:'"),
        (["packet:"], "an interface is missing after 'packet:'"),
        (["ebpf:unix:"], "a path is missing after 'ebpf:unix:'"),
        (["unix:/no/such.sock"], "a Unix socket is given as ebpf:unix:PATH"),
        (["ebpf:/no/such.sock"], "a Unix socket is given as ebpf:unix:PATH"),
        (["ebpf:unix:/etc/passwd"], "'/etc/passwd' is not a Unix socket"),
        (["a.profile", "b.profile"], "'a.profile' is a profile, not a source"),
        (["-o", "a.profile", "b.profile"], "given twice: 'b.profile' and -o 'a.profile'"),
        (["-o", ""], "an empty string"),
        ([""], "an empty string"),
        (["ebpf:any", "out"], "OUTPUT must end in .profile, or follow -o: 'out'"),
        (["o.profile", "ebpf:any"], "OUTPUT must end in .profile"),
        (["ebpf:any", "a.profile", "b.profile"], "unrecognized arguments: b.profile"),
        (["ebpf:any", "a.profile", "-o", "b"], "given twice: 'a.profile' and -o 'b'"),
        (["ebpf:any", "a", "-o", "b"], "unrecognized arguments: a"),
        (["--salt-file", "a", "--salt", "11" * 8], "not both"),
        (["-", "o.profile", "--salt-file", "-"], "cannot both come from stdin"),
    ],
)
def test_what_is_mistyped_becomes_no_file(
    arguments: List[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refusal("record", *arguments)
    with pytest.raises(membench.UsageError, match=words):
        raise error
    assert error.hint == "try membench.py record --help"
    assert not os.listdir(tmp_path)


def test_a_unix_socket_alone_is_not_a_source(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        for source in (f"{tmp_path}/s", f"ebpf:{tmp_path}/s", f"unix:{tmp_path}/s"):
            assert "a Unix socket is given as ebpf:unix:PATH" in str(refusal("record", source))
        membench.parse_args(["record", f"ebpf:unix:{tmp_path}/s"])


def test_options_go_behind_the_command() -> None:
    assert "behind the command: record --duration" in str(refusal("--duration", "5", "record"))
    assert "behind the command: replay -o" in str(refusal("-o", "x", "replay"))


def test_a_tolerance_is_not_for_equal_counts() -> None:
    error = refusal("compare", "--exact", "--tolerance", "5", "a.profile", "b.profile")
    assert "--tolerance: not allowed with argument --exact" in str(error)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["record", "--port"]])
def test_wrong_usage_is_told_in_two_lines(arguments: List[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("membench: error: ")
    assert second.startswith("membench: try membench.py ") and second.endswith(" --help")


def test_help_imports_nothing_that_few_commands_need() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", str(MODULE), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"argparse", "json"} <= imported, "what was imported cannot be seen"
    assert not imported & {"hashlib", "datetime", "shutil", "lzma", "bz2", "multiprocessing"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["127.0.0.1:1"], "the target is given as --target 127.0.0.1:1"),
        (["unix:/run/x"], "the target is given as --target unix:/run/x"),
        (["--target", "::1:11211"], r"an IPv6 address needs brackets, as in \[::1\]:11211"),
        (["--target", "localhost"], "'localhost' is not HOST:PORT or unix:PATH"),
        (["--target", "localhost:65536"], "'localhost:65536' is not HOST:PORT"),
        (["--target", "unix:"], "'unix:' is not HOST:PORT or unix:PATH"),
    ],
)
def test_a_target_that_is_mistyped(arguments: List[str], words: str) -> None:
    with pytest.raises(membench.UsageError, match=words):
        raise refusal("replay", "a.profile", *arguments)


@pytest.mark.parametrize("target", ["[::1]:11211", "h:1", "unix:/a:b", "unix:5"])
def test_targets(target: str) -> None:
    assert membench.parse_args(["replay", "a.profile", "--target", target]).target == target


# ---- Times ----


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90", 90.0), ("90s", 90.0), ("1m", 60.0), ("2h", 7200.0), ("1d", 86400.0)],
        *[("0.5", 0.5), (".5s", 0.5), ("1.5m", 90.0), ("250ms", 0.25), ("1h30m", 5400.0)],
    ],
)
def test_times(text: str, seconds: float) -> None:
    replay = ["replay", "a.profile", "--target", "localhost:1"]
    for command in (["record"], replay):
        assert membench.parse_args([*command, "--duration", text]).duration == seconds
    assert membench.parse_args([*replay, "--timeout", text]).timeout == seconds


@pytest.mark.parametrize("seconds", [0.4, 1.0, 59.4, 60.0, 90.0, 5400.0, 86400.0, 300000.0])
def test_times_that_reports_print_are_understood(seconds: float) -> None:
    assert membench.parse_duration(membench.human_seconds(seconds)) == pytest.approx(seconds, 0.01)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0s",
        "-1",
        "-1m",
        "m",
        "1x",
        "1 m",
        "1m ",
        "nan",
        "inf",
        "1e3",
        "1..5",
        "1.5.5",
        "1.",
        "9" * 12,
    ],
)
def test_times_that_are_none(text: str) -> None:
    assert "not a time above 0" in str(refusal("record", f"--duration={text}"))


# ---- The salt ----

SALT = "0123456789abcdef" * 2


def key_space(output: Path) -> str:
    """Which secret a profile was made with, as the profile tells it."""
    with membench.ProfileReader(str(output)) as reader:
        return str(reader.header["key_space"])


def test_salt_from_a_file_and_from_stdin(tmp_path: Path) -> None:
    (tmp_path / "salt").write_text(SALT + "\n")
    ways: Dict[str, Any] = {
        "option": (("--salt", SALT), None),
        "file": (("--salt-file", str(tmp_path / "salt")), None),
        "stdin": (("--salt-file", "-"), SALT),
        "none": ((), None),
    }
    found = {}
    for name, (options, text) in ways.items():
        output = tmp_path / f"{name}.profile"
        done = run("record", str(output), *IDLE, *options, "--allow-empty", input=text)
        assert done.returncode == 0, done.stderr
        found[name] = key_space(output)
    assert found["option"] == found["file"] == found["stdin"] != found["none"]


@pytest.mark.parametrize(
    "content",
    ["", "xyz", SALT[:14], SALT + SALT[:1], "é" * 40, SALT * 10000],
    ids=["empty", "letters", "short", "odd", "not ascii", "long"],
)
def test_files_that_hold_no_salt(content: str, tmp_path: Path) -> None:
    path, output = tmp_path / "salt", tmp_path / "a.profile"
    path.write_text(content)
    done = run("record", str(output), *IDLE, "--salt-file", str(path))
    assert done.returncode == 1
    first, _ = done.stderr.splitlines()
    assert first.endswith(f"{path} holds no salt: a salt has 16 to 128 hexadecimal digits")
    done = run("record", str(output), *IDLE, "--salt-file", "-", input=content)
    assert "error: stdin holds no salt: " in done.stderr
    assert not content or content[:10] not in done.stderr  # it may be a good secret but for a typo
    assert not output.exists()


def test_a_salt_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("record", str(tmp_path / "a.profile"), *IDLE, "--salt-file", str(tmp_path / "no"))
    assert done.returncode == 1 and "No such file" in done.stderr
    assert not os.listdir(tmp_path)


# ---- The status ----


@pytest.mark.parametrize("source", ["ebpf:any", "packet:lo"])
def test_status_of_an_empty_recording(source: str, tmp_path: Path) -> None:
    output = tmp_path / "a.profile"
    done = run("record", source, str(output), *IDLE, "--quiet")
    assert done.returncode == 4
    assert "error: nothing was recorded: " in done.stderr
    done = run("record", source, str(output), *IDLE, "--allow-empty")
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert analyze(output)["profiles"][0]["complete"]


@pytest.mark.parametrize("is_open", [False, True])
def test_an_empty_recording_does_not_block_the_next(
    is_open: bool, open_folder: Path, tmp_path: Path
) -> None:
    """Where the recorder, without its privileges, may remove the file, and where it may not."""
    output = (open_folder if is_open else tmp_path) / "a.profile"
    done = run("record", "packet:lo", str(output), *IDLE)
    assert done.returncode == 4
    assert "written" not in done.stderr and "next:" not in done.stderr
    assert not output.exists() if is_open else not output.stat().st_size
    with Memcached() as server, Recorder(output, "--port", str(server.port)) as recorder:
        with server.connect() as connection:
            exchange(connection, b"get a\r\n", b"END\r\n")
        assert recorder.stop()["operations"] == 1


def test_an_empty_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    """They may hold it open."""
    output = tmp_path / "a.profile"
    output.touch()
    os.chown(output, 12345, 12345)
    done = run("record", str(output), *IDLE)
    assert done.returncode == 1 and "exists" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("ebpf:lo",), r"but no traffic was seen through lo\. Is it meant"),
        (("packet:any", "--filter", "port 9"), "no traffic was seen that the filter 'port 9' acc"),
        (("packet:lo", "--filter", "port 9"), "seen through lo that the filter 'port 9' accepts"),
        (("ebpf:any",), "error: .*a server listens on port [0-9]+, but no traffic was seen$"),
    ],
)
def test_what_may_have_kept_traffic_out_is_named(
    options: Tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with Memcached() as server:
        port = ("--port", str(server.port), "--duration", "0.1")
        done = run("record", *options, "-o", str(tmp_path / "a"), *port)
    assert done.returncode == 4
    assert re.search(words, done.stderr, re.M), done.stderr


def test_a_port_is_suggested_only_if_it_is_the_only_one(tmp_path: Path) -> None:
    with Memcached() as one, Memcached() as two:
        done = run("record", str(tmp_path / "a.profile"), *IDLE)
    assert done.returncode == 4
    assert re.search(rf"listens on ports .*{one.port}.* here, not on port 1$", done.stderr, re.M)
    assert str(two.port) in done.stderr and "Try" not in done.stderr


def record_a_loss(output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A recording that joins a connection within a value, of which it can make nothing."""
    with Memcached() as server:
        connection = server.connect()
        begun = b"set a 0 0 50000\r\n" + b"x" * 10000
        connection.sendall(begun)
        server.wait_until_read(len(begun))
        port = ("--port", str(server.port))
        with Recorder(output, *port, *options) as recorder:
            exchange(connection, b"x" * 40000 + b"\r\n", b"STORED\r\n")
            server.stats()
            recorder.process.terminate()
            _, errors = recorder.process.communicate(timeout=PATIENCE_SECONDS)
    recorded = "".join(recorder.errors) + errors
    return subprocess.CompletedProcess([], recorder.process.returncode, "", recorded)


def test_a_recording_that_lost_much_says_so_last(tmp_path: Path) -> None:
    done = record_a_loss(tmp_path / "a.profile", "--allow-empty")
    assert done.returncode == 0
    last = done.stderr.splitlines()[-1]
    assert "LOST" in last
    assert last.endswith("INCOMPLETE: more than 1 % was lost, so counts are lower bounds")
    assert "joined mid-stream" in last and "record for longer" in last
    done = record_a_loss(tmp_path / "b.profile", "--allow-empty", "--strict")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()[-2:]
    assert "error: more than 1 % of the traffic was lost" in error
    assert "record for longer" in hint and "ring" not in hint
    assert analyze(tmp_path / "b.profile")["profiles"][0]["complete"]


def test_strict_is_content_with_a_whole_recording(tmp_path: Path) -> None:
    with Memcached() as server:
        port = ("--port", str(server.port))
        with Recorder(tmp_path / "a.profile", *port, "--strict") as recorder:
            with server.connect() as connection:
                exchange(connection, b"get a\r\n", b"END\r\n")
            recorder.stop()
    assert "INCOMPLETE" not in "".join(recorder.errors)


# ---- What is not there, or not allowed ----


def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    for path in (str(tmp_path / "nope.sock"), "@nope"):
        output = tmp_path / "a.profile"
        done = run("record", f"ebpf:unix:{path}", str(output), "--duration", "0.1", "--force")
        assert done.returncode == 4
        assert f"there is no Unix socket {path} yet: waiting" in done.stderr
        assert f"nothing was recorded: there is no Unix socket {path}" in done.stderr
        assert "idle" not in done.stderr


def test_a_folder_that_takes_no_file() -> None:
    done = run("record", *IDLE, cwd="/proc")
    assert done.returncode == 1 and "create the directory first" not in done.stderr
    done = run("record", "/no/such/folder/a.profile", *IDLE)
    assert done.returncode == 1 and "create the directory first" in done.stderr


DENIED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import membench
real_stat, real_list = os.stat, os.listdir
def denied(real):
    def call(path=".", *more, **options):
        if str(path).startswith("/proc/1/"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *more, **options)
    return call
setattr(os, sys.argv[2], denied(getattr(os, sys.argv[2])))
sys.exit(membench.main(["record", "a.profile", "--pid", "1", "--duration", "0.1"]))
"""


@pytest.mark.parametrize("call", ["stat", "listdir"])
def test_root_is_not_told_to_use_sudo(call: str, tmp_path: Path) -> None:
    """As where root in a container asks for a process that is not its own."""
    done = subprocess.run(
        [sys.executable, "-c", DENIED, str(MODULE.parent), call],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert "permission denied for process 1" in done.stderr
    assert "CAP_SYS_PTRACE" in done.stderr and "sudo" not in done.stderr
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("command", [["check"], ["record", "a.profile"], ["record", "--pid", "1"]])
def test_without_proc(command: List[str], tmp_path: Path) -> None:
    """As in a chroot that somebody made in a hurry."""
    hidden = 'mount -t tmpfs none /proc && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", sys.executable, str(COMPILED), *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert "/proc is not mounted" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not os.listdir(tmp_path)


# ---- --force ----


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A profile with something in it."""
    output = tmp_path / "a.profile"
    with Memcached() as server, Recorder(output, "--port", str(server.port)) as recorder:
        with server.connect() as connection:
            for _ in range(100):
                exchange(connection, b"get a\r\n", b"END\r\n")
        assert recorder.stop()["operations"] == 100
    return output


@pytest.mark.parametrize("number", [9, 15])
def test_force_keeps_the_old_file_until_something_comes(old: Path, number: int) -> None:
    before = old.read_bytes()
    with Memcached() as server:
        with Recorder(old, "--port", str(server.port), "--force") as recorder:
            recorder.process.send_signal(number)
            recorder.process.wait(PATIENCE_SECONDS)
            assert recorder.process.returncode == {9: -9, 15: 4}[number]
            said = "".join([*recorder.errors, *(recorder.process.stderr or ())])
    assert "next:" not in said and "written" not in said
    assert ("a.profile is kept as it was" in said) == (number == 15)
    assert old.read_bytes() == before
    assert os.listdir(old.parent) == [old.name]


def test_force_replaces_the_old_file(old: Path) -> None:
    os.chmod(old, 0o644)
    with old.open("ab") as file:  # longer than the new one
        file.write(bytes(100_000))
    with Memcached() as server:
        with Recorder(old, "--port", str(server.port), "--force") as recorder:
            with server.connect() as connection:
                exchange(connection, b"get a\r\n", b"END\r\n")
            report = recorder.stop()
    assert report["operations"] == 1 and report["profiles"][0]["complete"]
    assert old.stat().st_size < 10_000
    assert stat.S_IMODE(old.stat().st_mode) == 0o600


def test_force_overwrites_no_file_with_another_name(tmp_path: Path) -> None:
    """In a folder that others may write to, it could be a link to a file that is not theirs."""
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    for name, link in (("hard.profile", os.link), ("soft.profile", os.symlink)):
        link(target, tmp_path / name)
        done = run("record", str(tmp_path / name), *IDLE, "--force", "--allow-empty")
        assert done.returncode == 1, done.stderr
        assert target.read_bytes() == b"precious"


def test_a_port_that_only_another_namespace_serves_is_not_waited_for() -> None:
    assert free_port() not in membench.listened_ports()
    with Memcached() as server:
        assert server.port in membench.listened_ports()
        assert server.listen == LOOPBACK
