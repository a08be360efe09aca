# SPDX-License-Identifier: GPL-2.0-only
"""Names and groups of keys: kept only if they are asked for, each once, equal to what was sent."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import struct
import zlib
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import pytest
from captures import Tcpdump
from live import Memcached, Recorder, analyze, exchange, membench, read_rows, run
from test_binary import message
from test_profile import HEADER, START_NS, block, columns_of, profile_of, walk

from membench import KeyNames, Matcher, ProfileReader, ProfileWriter, escaped, parse_group_by

SALT = "00112233445566778899aabbccddeeff"
TEXT_KEYS = (b"user:17:posts", b"user:18:posts", b"session:alice", b"bare-SECRET", b"12345")
PAIRED_ONLY = b"session:alice"  # is in no request that the kernel does not pair
ODD_KEYS = (b"esc:\x1b]0;x\x07", b"k\xc3\xa4se:1", b"app:x:" + b"y" * 60, b"user:bob")
BINARY_KEYS = (b"bin:\x00\xff\x1b[31m", b"user:19:posts")
BASE64_KEY = b"b64:\x00 \r\n:x"
GROUPS = {  # by ':2', by hand
    **dict.fromkeys((b"user:17:posts", b"user:18:posts", b"user:19:posts"), "user:#"),
    b"session:alice": "session",
    b"bare-SECRET": "(no group)",
    b"12345": "#",
    b"esc:\x1b]0;x\x07": "esc",
    b"k\xc3\xa4se:1": "k\u00e4se",
    b"app:x:" + b"y" * 60: "app:x",
    b"user:bob": "user",
    b"bin:\x00\xff\x1b[31m": "bin",
    BASE64_KEY: r"b64:\x00 \r\n",
}
NAMES = {  # what is not itself in a report
    b"esc:\x1b]0;x\x07": r"esc:\x1b]0;x\x07",
    b"bin:\x00\xff\x1b[31m": r"bin:\x00\xff\x1b[31m",
    BASE64_KEY: r"b64:\x00 \r\n:x",
}

Sent = Counter[Tuple[bytes, str, int]]  # (key, outcome, bytes of its value), how often


def talk(server: Memcached) -> Sent:
    """Text, meta and binary requests; what each key got."""
    sent: Sent = Counter()
    size = {key: 3 + 11 * place for place, key in enumerate((*TEXT_KEYS, *ODD_KEYS))}
    with server.connect() as connection:
        for key in size:
            exchange(connection, b"get %s\r\n" % key, b"END\r\n")
            line = b"set %s 0 0 %d\r\n" % (key, size[key])
            exchange(connection, line + b"v" * size[key] + b"\r\n", b"STORED\r\n")
            sent[key, "miss", 0] += 1
            sent[key, "stored", size[key]] += 1
            for _ in range(size[key]):
                exchange(connection, b"get %s\r\n" % key, b"END\r\n")
                sent[key, "hit", size[key]] += 1
        del size[PAIRED_ONLY]
        exchange(connection, b"gets %s nowhere:1\r\nmn\r\n" % b" ".join(size), b"MN\r\n")
        sent.update((key, "hit", size[key]) for key in size)
        sent[b"nowhere:1", "miss", 0] += 1
        in_base64 = base64.b64encode(BASE64_KEY)
        exchange(connection, b"ms %s 2 b\r\nvv\r\n" % in_base64, b"\r\n")
        exchange(connection, b"mg %s b v\r\n" % in_base64, b"vv\r\n")
        exchange(connection, b"flush_all 9999\r\n", b"OK\r\n")  # has no key
        sent[BASE64_KEY, "stored", 2] += 1
        sent[BASE64_KEY, "hit", 2] += 1
    with server.connect() as connection:
        for key in BINARY_KEYS:
            ask(connection, message("set", key, b"abcd", b"\0" * 8))
            ask(connection, message("get", key))
            sent[key, "stored", 4] += 1
            sent[key, "hit", 4] += 1
    return sent


def ask(connection: socket.socket, request: bytes) -> None:
    """Send a binary request, and wait for all of its reply."""
    connection.sendall(request)
    with connection.makefile("rb") as file:
        head = file.read(24)
        file.read(int.from_bytes(head[8:12], "big"))


class Recorded(NamedTuple):
    """The same traffic, recorded in several ways at once."""

    folder: Path
    sent: Sent
    reports: Dict[str, Dict[str, Any]]
    errors: Dict[str, str]
    dump: bytes  # of the server's keys, as its LRU crawler tells them


WAYS = {
    "paired": ("--hook", "sock", "--keys", "names", "--group-by", ":2"),
    "events": ("--hook", "sock-events", "--keys", "names", "--group-by", ":2"),
    "groups": ("--hook", "sock", "--keys", "groups", "--group-by", ":2"),
    "hashed": ("--hook", "sock"),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("names")
    with Memcached() as server, ExitStack() as stack:
        options = ("--port", str(server.port), "--salt", SALT)
        recorders = {
            way: stack.enter_context(Recorder(folder / f"{way}.profile", *options, *more))
            for way, more in WAYS.items()
        }
        with Tcpdump(folder / "all.pcap", server.port):
            sent = talk(server)
        reports = {way: recorder.stop() for way, recorder in recorders.items()}
        errors = {way: "".join(recorder.errors) for way, recorder in recorders.items()}
        with server.connect() as connection:
            dump = exchange(connection, b"lru_crawler metadump all\r\n", b"END\r\n")
        output = folder / "capture.profile"
        names = ("--keys", "names", "--group-by", ":2", "--salt", SALT)
        done = run("record", str(folder / "all.pcap"), str(output), *options[:2], *names)
        assert done.returncode == 0, done.stderr
        reports["capture"], errors["capture"] = analyze(output), done.stderr
    yield Recorded(folder, sent, reports, errors, dump)


def name_of(key: bytes) -> str:
    return NAMES.get(key) or key.decode()


def group_of(key: bytes) -> str:
    return GROUPS.get(key, "nowhere")


@pytest.mark.parametrize("way", ["paired", "events", "groups", "capture"])
def test_groups_add_up_to_what_was_sent(recorded: Recorded, way: str) -> None:
    """Operations, hits, misses and bytes of each group, whichever way they came."""
    expected: Dict[str, Counter[str]] = {}
    for (key, outcome, size), count in recorded.sent.items():
        group = expected.setdefault(group_of(key), Counter())
        group["operations"] += count
        group["bytes"] += count * size
        group["hits"] += count * (outcome == "hit")
        group["misses"] += count * (outcome == "miss")
    report = recorded.reports[way]
    found = {row.pop("label"): Counter(row) for row in json.loads(json.dumps(report["groups"]))}
    assert found == expected
    assert [row["operations"] for row in report["groups"]] == sorted(
        (group["operations"] for group in expected.values()), reverse=True
    )
    assert report["keys"]["unnamed"] == 0
    assert (report["loss"].get("exchanges", 0) > 100) == (way in ("paired", "groups"))


@pytest.mark.parametrize("way", ["paired", "events", "capture"])
def test_the_hottest_keys_have_their_names(recorded: Recorded, way: str) -> None:
    counts: Counter[bytes] = Counter()
    for (key, _, _), count in recorded.sent.items():
        counts[key] += count
    expected = {(name_of(key), group_of(key), n) for key, n in counts.items()}
    top = recorded.reports[way]["keys"]["top"]
    assert len(top) == 10
    assert {(one["name"], one["group"], one["operations"]) for one in top} <= expected
    # All names are there, not only those of the hottest.
    with ProfileReader(str(recorded.folder / f"{way}.profile")) as reader:
        reader.named = {}
        for _ in reader.packed_blocks():
            pass
        assert {reader.labels[name] for name, _ in reader.named.values()} == set(counts)
        assert len(reader.labels) == len(set(reader.labels))


def test_both_ways_and_both_forms_tell_the_same(recorded: Recorded) -> None:
    """Names change nothing of the rest, and pairing nothing of the names."""
    rows = {way: sorted(read_rows(recorded.folder / f"{way}.profile")) for way in WAYS}
    assert rows["paired"] == rows["events"] == rows["groups"] == rows["hashed"]
    one, other = (recorded.reports[way] for way in ("paired", "groups"))
    assert one["groups"] == other["groups"] == recorded.reports["capture"]["groups"]
    for mine, theirs in zip(one["keys"]["top"], other["keys"]["top"]):
        assert {name: mine[name] for name in mine if name != "name"} == theirs


def unpacked(path: Path) -> bytes:
    """A profile with all that is packed in it: columns value by value, labels as they are."""
    data = path.read_bytes()
    texts = [data]
    for one in walk(data):
        texts.append(one.payload)
        if one.kind == b"N":
            labels, keys = struct.unpack_from("<II", one.payload)
            at = 8
            for _ in range(1 + len(membench.NAMED_COLUMNS)):
                at += 4 + struct.unpack_from("<I", one.payload, at)[0]
            texts += columns_of(
                one.payload[:at], 8, (*membench.LABEL_COLUMNS, *membench.NAMED_COLUMNS)
            )
            texts.append(zlib.decompress(one.payload[at:]))
            assert labels and keys
        elif one.kind == b"O":
            texts += columns_of(one.payload, 8, membench.COLUMNS + membench.KEY_COLUMNS)
    return b"\n".join(texts)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints, if nothing is wrong."""
    assert membench.main(arguments) == 0
    return capsys.readouterr().out


def test_no_key_is_kept_unless_names_are_asked_for(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in the file, in whatever way it is packed, not in messages, not in reports."""
    for way in ("hashed", "groups"):
        path = recorded.folder / f"{way}.profile"
        texts = shown(capsys, "analyze", str(path)) + json.dumps(recorded.reports[way])
        everything = unpacked(path) + (texts + recorded.errors[way]).encode()
        for key in {key for key, _, _ in recorded.sent}:
            assert key not in everything
            assert name_of(key) not in texts
        kinds = {one.kind for one in walk(path.read_bytes())}
        assert (b"N" in kinds) == ("groups" in recorded.reports[way]) == (way == "groups")
    everything = unpacked(recorded.folder / "paired.profile")
    assert all(key in everything for key, _, _ in recorded.sent)  # so it would be found


@pytest.mark.parametrize("way", [*WAYS, "capture"])
def test_a_profile_with_names_says_so(
    recorded: Recorded, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its header, at the start, and at the head of every report; and is its owner's alone."""
    path, other = (recorded.folder / f"{name}.profile" for name in (way, "hashed"))
    kept = way if way in ("hashed", "groups") else "names"
    held = f"holds the {'groups' if way == 'groups' else 'names'} of its keys"
    with ProfileReader(str(path)) as reader:
        assert reader.header["keys"] == kept
        assert reader.header.get("group_by") == (None if way == "hashed" else ":2")
    assert recorded.reports[way]["profiles"][0]["keys"] == kept
    assert path.stat().st_mode & 0o777 == 0o600
    heads = [
        recorded.errors[way],
        shown(capsys, "analyze", str(path)).split("\n\n")[0],
        shown(capsys, "replay", str(path), "--dry-run").split("  requests")[0],
        membench.render_comparison(membench.compare_exactly(str(other), str(path))),
    ]
    for head in heads:
        assert held in head if way != "hashed" else "of its keys" not in head


def test_a_replay_is_the_same(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for way in ("hashed", "groups", "paired"):
        text = shown(capsys, "replay", str(recorded.folder / f"{way}.profile"), "--dry-run")
        lines = text.splitlines()[1:]
        texts.append([line for line in lines if not re.match("  The prof|  duration", line)])
    assert len(texts[0]) > 5 and texts[0] == texts[1] == texts[2]
    with Memcached() as server:
        target = ("--target", f"{server.listen}:{server.port}", "--speed", "max", "--yes")
        done = run("replay", str(recorded.folder / "paired.profile"), *target)
    assert "The profile holds the names of its keys." in done.stdout.split("\n\n")[0], done.stderr


def test_the_report_has_names_and_groups_escaped(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, "analyze", str(recorded.folder / "paired.profile"))
    assert "\x1b" not in text and r"esc:\x1b]0;x\x07" in text
    lines = [line.split() for line in text.splitlines()]
    rows = recorded.reports["paired"]["groups"]
    assert len(rows) == 11 and "  and 1 more; --json has it" in text
    for row in rows[:10]:
        [line] = [line for line in lines if " ".join(line[4:]) == row["label"]]
        assert line[0] == f"{row['operations']:,}"


# ---- Names from a list ----


def listed(recorded: Recorded, capsys: Any, *options: str) -> Dict[str, Any]:
    """The keys of the report on a profile that holds none, named afterwards."""
    path = str(recorded.folder / "hashed.profile")
    report: Dict[str, Any] = json.loads(shown(capsys, "analyze", "--json", path, *options))
    assert "groups" not in report
    return dict(report["keys"])


@pytest.mark.parametrize("kind", ["list", "dump"])
def test_names_from_a_list(
    recorded: Recorded, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of keys, one a line, or what the server tells of its own; binary keys only in this."""
    (tmp_path / "salt").write_text(SALT)
    keys = {key for key, _, _ in recorded.sent}
    content = b"other\n\nEND\r\n" + b"\n".join((*TEXT_KEYS, *ODD_KEYS)) + b"\r\n"
    if kind == "dump":
        content = recorded.dump
    (tmp_path / "names").write_bytes(content)
    found = listed(
        *(recorded, capsys, "--names", str(tmp_path / "names")),
        *("--salt-file", str(tmp_path / "salt")),
    )
    dumped = len(keys) - 1  # without the one that was never stored
    count = len(TEXT_KEYS + ODD_KEYS)
    assert found["listed"] == {
        "path": str(tmp_path / "names"),
        "keys": dumped if kind == "dump" else 2 + count,
        "found": dumped if kind == "dump" else count,
        "hottest_found": sum("name" in one for one in found["top"]),
    }
    top = recorded.reports["paired"]["keys"]["top"]
    names = {one["key"]: one["name"] for one in top}
    expected = [one for one in top if kind == "dump" or one["name"] not in NOT_LISTED]
    named = {one["key"]: one["name"] for one in found["top"] if "name" in one}
    assert named == {one["key"]: names[one["key"]] for one in expected}
    assert len(named) >= 9


NOT_LISTED = {name_of(key) for key in (*BINARY_KEYS, BASE64_KEY)}


def test_a_list_from_stdin_and_what_it_tells(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(recorded.folder / "hashed.profile")
    done = run("analyze", "--names", "-", "--salt", SALT, path, input="user:bob\nno\n")
    assert re.search("^  [0-9a-f]{16} +94 +[0-9.]+%  user:bob$", done.stdout, re.MULTILINE)
    assert "\n  1 of these 10 have names from the 2 keys in stdin.\n" in done.stdout


def test_a_list_of_other_keys(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, names = str(recorded.folder / "hashed.profile"), str(tmp_path / "names")
    Path(names).write_bytes(b"a\nb\n" + bytes(3 << 20))  # one line as long as memory would allow
    text = shown(capsys, "analyze", path, "--names", names, "--salt", SALT)
    assert re.search(r"None of the \d+ keys in \S+ is in the profile\.", " ".join(text.split()))
    assert membench.main(["analyze", path, "--names", names, "--salt", "ff" * 16]) == 1
    text = capsys.readouterr().err
    assert "is in the profile: it was not recorded with this salt\n" in text
    assert membench.main(["analyze", path, "--names", names + "?", "--salt", SALT]) == 1
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("a --names b", "--names needs the salt"),
        ("a --salt-file b", "a salt needs --names"),
        ("a --names b --salt-file c --salt 0011223344556677", "not both"),
        ("- --names - --salt-file c", "cannot both come from stdin"),
        ("- --names b --salt-file -", "cannot both come from stdin"),
        ("a --names - --salt-file -", "cannot both come from stdin"),
    ],
)
def test_a_list_needs_a_salt(arguments: str, text: str) -> None:
    with pytest.raises(membench.UsageError, match=text):
        membench.parse_args(["analyze", *arguments.split()])


# ---- What a group is ----


@pytest.mark.parametrize(
    ("how", "groups"),
    [
        (":", {"user:17:posts": "user", "17:18": "#", "a::": "", ":a": "", "abc": "", "007": "#"}),
        (":2", {"user:17:posts:9": "user:#", "user:17": "user", "user:al": "user", "1:2:3": "#:#"}),
        (":2", {"user:9:secret:": "user:#", "user:secret:": "user", "secret:": ""}),
        ("::", {"a:b::c": "a:b", "a:b": "", "secret:::": ""}),
        ("/9", {"a/1/b/2/c": "a/#/b/#", "a": ""}),
        ("(", {"f(x)": "f"}),
        ("_", {"v1_2_3": "v1"}),
        ("^([a-z]+):", {"user:17": "user", "USER:17": ""}),
        (r"^(\w+:\d+)", {"user:17:posts": "user:#", "user:17": "", "x:1y": "x:#"}),
        ("^a|b(c)", {"abc": "", "bc!": "c"}),
        ("(.*)", {"whole": "", "session:9:deadbeef": ""}),
    ],
)
def test_groups(how: str, groups: Dict[str, str]) -> None:
    """What follows the last delimiter is in no group, and no group is a whole key."""
    names = KeyNames(parse_group_by(how)[1], False)
    for number, key in enumerate(groups):
        names.add(number << 16, key.encode())
    assert list(groups_of(names).values()) == list(groups.values())


def groups_of(names: KeyNames) -> Dict[int, str]:
    """The groups that a reader is told, by key hash."""
    reader = reader_of(*((b"N", payload) for payload in names.take_blocks()))
    assert reader.named is not None
    return {key: reader.labels[group].decode() for key, (_, group) in reader.named.items()}


def reader_of(*blocks: Tuple[bytes, bytes]) -> ProfileReader:
    """A reader that has read these blocks."""
    read_end, write_end = os.pipe()
    with open(write_end, "wb") as file:
        file.write(profile_of(*blocks))
    with ProfileReader(f"/dev/fd/{read_end}") as reader:
        reader.named = {}
        assert not list(reader.blocks())
    os.close(read_end)
    return reader


@pytest.mark.parametrize(
    "how",
    [
        *("", "user", ":0", ":12", "a:", "user.*", "[a", "....", "\u00a0"),
        *("[[a](b)", "a(?i)(b)"),  # Python warns
        pytest.param("(" * 5000 + ")" * 5000, id="nested"),
        pytest.param("(a{99999999999999999999})", id="repeated"),
    ],
)
def test_what_is_no_group(how: str, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(membench.UsageError, match="is not a delimiter such as"):
        membench.parse_args(["record", "--keys", "groups", "--group-by", how])
    assert not recwarn.list


def test_groups_need_to_be_asked_for() -> None:
    with pytest.raises(membench.UsageError, match="needs --keys groups or --keys names"):
        membench.parse_args(["record", "--group-by", ":"])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"a b", "a b"),
        (b"\x00\n\x1b\x7f", r"\x00\n\x1b\x7f"),
        (b"\xff\xc3", r"\xff\xc3"),
        (rb"\x00", r"\\x00"),
        ("\u00e4\u202e".encode(), "\u00e4\\u202e"),
    ],
)
def test_names_are_escaped(key: bytes, text: str) -> None:
    """Nothing in them reaches a terminal, and different keys stay different."""
    assert escaped(key) == text


# ---- Bounds ----


@pytest.mark.parametrize("bound", ["KEYS_MAX", "BYTES_MAX"])
def test_beyond_the_bound_keys_have_no_name(
    bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones have theirs, memory and file stay bounded, and the report says so."""
    path = tmp_path / "a.profile"
    monkeypatch.setattr(KeyNames, bound, 100)
    names = KeyNames(parse_group_by(":")[1], True)
    header = {**HEADER, "keys": "names"}
    with ProfileWriter(str(path), names=names) as profile:
        profile.start(header, START_NS)
        matcher = Matcher(profile.add, profile.add_connection, b"secret", on_key=names.add)
        sock = membench.SOCK.pack(1, 0, 1, 11211)
        matcher.process([(membench.OPEN, START_NS, sock, 0, 0, b"", -1)])
        sent = b"".join(b"get k%03d:%d\r\n" % (n, n) for n in range(300))
        for at in (0, len(sent)):  # the second time, nothing is new
            matcher.process([(membench.RECV, START_NS, sock, at, len(sent), sent, -1)])
            profile.flush(matcher.ledger)
        matcher.finish()
        profile.finish(matcher.ledger, {"duration_seconds": 1})
    named = sum(
        struct.unpack_from("<II", b.payload)[1] for b in walk(path.read_bytes()) if b.kind == b"N"
    )
    assert named == (100 if bound == "KEYS_MAX" else pytest.approx(10, abs=3))
    report = membench.analyze([str(path)])
    assert report["keys"]["unnamed"] == 300 - named
    assert f"  {300 - named} keys have no name: the limit was reached." in membench.render(report)
    groups = {row["label"]: row["operations"] for row in report["groups"]}
    assert groups["(no name)"] == 2 * (300 - named)
    assert len(groups) == 1 + named
    monkeypatch.setattr(membench, "GROUPS_MAX", 5)
    rows = membench.analyze([str(path)])["groups"]
    assert [row["label"] for row in rows] == [*list(groups)[:5], "(all others)"]
    assert sum(row["operations"] for row in rows) == 600


def test_more_new_keys_than_a_block_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go to several blocks, each with the labels that its keys need."""
    monkeypatch.setattr(membench, "BLOCK_ROWS_MAX", 16)
    names = KeyNames(parse_group_by(":")[1], True)
    for number in range(100):
        names.add(number << 16, b"%d:x" % (number * (number % 3)))
    blocks = [(b"N", payload) for payload in names.take_blocks()]
    assert len(blocks) == 13
    reader = reader_of(*blocks)
    assert reader.named is not None
    keys = {number: reader.labels[name] for number, (name, _) in reader.named.items()}
    assert keys == {number: b"%d:x" % (number * (number % 3)) for number in range(100)}
    assert {group for _, group in reader.named.values()} == {reader.labels.index(b"#")}


def damaged() -> Iterator[Tuple[bytes, str]]:
    """Payloads of N blocks that nobody would write, and what is said of them."""
    names = KeyNames(parse_group_by(":")[1], True)
    names.add(5 << 16, b"user:1")
    [good] = names.take_blocks()
    text = zlib.compress(b"useruser:1", 1)
    assert good.endswith(text)
    yield good[: -len(text)] + zlib.compress(b"user", 1), "not as long"
    yield good[: -len(text)] + zlib.compress(bytes(1 << 22)), "not as long"
    yield good[: -len(text)], "not as long"
    yield struct.pack("<II", 1 << 24, 1) + good[8:], "more names than there may be"
    yield struct.pack("<II", 2, 1 << 24) + good[8:], "more names than there may be"
    yield struct.pack("<II", 2, 2) + good[8:], "not as many rows"
    yield good[:7], "requires a buffer"
    lengths = membench.pack_columns(membench.LABEL_COLUMNS, [[1]])
    named = membench.pack_columns(membench.NAMED_COLUMNS, [[7], [2], [1]])
    yield struct.pack("<II", 1, 1) + lengths + named + zlib.compress(b"a"), "unknown name"


@pytest.mark.parametrize("number", range(8))
def test_damaged_names(number: int) -> None:
    payload, text = list(damaged())[number]
    with pytest.raises(membench.ProfileError, match=text):
        reader_of((b"N", payload))


def test_blocks_of_an_unknown_kind_are_skipped(recorded: Recorded, tmp_path: Path) -> None:
    """As they were by readers that did not know names yet."""
    data = (recorded.folder / "paired.profile").read_bytes()
    assert sum(one.kind == b"N" for one in walk(data)) >= 1
    parts: List[bytes] = [data[:16]]
    for one in walk(data):
        parts.append(block(b"Z" if one.kind == b"N" else one.kind, one.payload))
    path = tmp_path / "a.profile"
    path.write_bytes(b"".join(parts))
    report = analyze(path)
    assert report["operations"] == recorded.reports["paired"]["operations"]
    assert report["profiles"][0]["complete"] and "groups" not in report
