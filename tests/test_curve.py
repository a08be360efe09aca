# SPDX-License-Identifier: GPL-2.0-only
"""The miss ratio curve: what caches of each size miss, which are filled here one by one."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import pytest
from live import run

import membench
from membench import NO_SIZE, OPEN, OUTCOMES, Ledger, ProfileWriter, ServerName

LARGE = bool(os.environ.get("MEMBENCH_TEST_ALL"))
STARTED_UNIX = 1_700_000_000
START_NS = 5_000_000_000
KEY_BYTES = 20
ITEM_BYTES = 59  # that memcached adds: header 48, CAS 8, the key's end 1, the value's end 2


class Op(NamedTuple):
    """An operation; the value's size where it is known."""

    second: float
    form: str
    outcome: str
    key: int = 0
    size: int = NO_SIZE
    exptime: int = 0
    server: int = 0


def write(
    path: Path,
    operations: Sequence[Op],
    servers: int = 1,
    rows: int = 5000,
    late: bool = False,
) -> Path:
    """A profile; the connection tells the server. late: which is said after the first rows."""
    with ProfileWriter(str(path), force=True) as profile:
        header = {"source": "ebpf:any", "hook": "sock", "host": "here", "ports": [11211]}
        profile.start({**header, "started_unix": STARTED_UNIX}, START_NS)
        ledger = Ledger()
        for begin in range(0, len(operations), rows):
            for number in range(1, servers + 1) if begin == rows * late else ():
                server = ServerName(f"127.0.0.1:{number}", "memcached", number)
                profile.add_connection(START_NS, number, 11211, OPEN, server)
            columns: List[List[Any]] = [[] for _ in range(10)]
            for op in operations[begin : begin + rows]:
                code = op.key << 16 | KEY_BYTES if op.key else 0
                row = (
                    *(START_NS + int(op.second * 1e9), 20_000, op.server + 1, op.form.encode()),
                    *(OUTCOMES.index(op.outcome), 0, 0, code, op.size, op.exptime),
                )
                for column, value in zip(columns, row):
                    column.append(value)
            profile.add(columns)
            profile.flush(ledger)
        profile.finish(ledger, {"duration_seconds": operations[-1].second + 1})
    return path


def curve(path: Path, one_in: Optional[int] = 1, *more: Path) -> Dict[str, Any]:
    paths = [str(each) for each in (path, *more)]
    counts, _ = membench.analyze_whole(paths)
    found = membench.miss_ratio_curve(paths, counts, one_in)
    assert found is not None
    return found


# ---- Caches that are filled one by one ----

Item = Tuple[int, int]  # server, key


class Cache:
    """An LRU cache: it drops what was not used for longest until all fits."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.items: OrderedDict[Item, int] = OrderedDict()
        self.bytes = 0
        self.hits = 0

    def remove(self, item: Item) -> None:
        self.bytes -= self.items.pop(item, 0)

    def use(self, item: Item, size: int) -> None:
        self.remove(item)
        self.items[item] = size
        self.bytes += size
        while self.bytes > self.size:
            self.bytes -= self.items.popitem(last=False)[1]


class World:
    """What was stored and neither deleted nor expired; who misses an item stores it again."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self.caches = [Cache(size) for size in sizes]
        self.stored: Dict[Item, Tuple[int, int]] = {}  # its bytes, and the second of its expiry
        self.flushes: Dict[int, int] = {}  # server -> second
        self.reads = self.bytes = self.largest = 0

    def remove(self, item: Item) -> None:
        self.bytes -= self.stored.pop(item, (0, 0))[0]
        for cache in self.caches:
            cache.remove(item)

    def advance(self, now: int) -> None:
        """Remove what has expired by this second."""
        for item, (_, end) in list(self.stored.items()):
            if end and end <= now:
                self.remove(item)
        for server, second in list(self.flushes.items()):
            if second <= now:
                self.flush(server)

    def flush(self, server: int) -> None:
        self.flushes.pop(server, None)
        for item in [item for item in self.stored if item[0] == server]:
            self.remove(item)

    def run(self, op: Op, now: int) -> None:
        item = (op.server, op.key)
        command = op.form.split()[0]
        size, end = self.stored.get(item, (0, 0))
        self.reads += op.outcome in ("hit", "miss")
        if op.outcome in ("hit", "miss"):
            for cache in self.caches:
                cache.hits += item in cache.items
        if command == "flush_all":
            delay = op.form.split()[1:]
            if delay:
                self.flushes[op.server] = now + int(delay[0])
            else:
                self.flush(op.server)
        elif command == "delete":
            self.remove(item)
        elif command in ("set", "append", "touch", "get") and (
            item in self.stored or op.outcome in ("stored", "hit", "touched")
        ):
            known = op.size + KEY_BYTES + ITEM_BYTES if op.size != NO_SIZE else 0
            if command == "append" and item in self.stored:
                known = size + op.size
            if command in ("set", "touch"):
                ttl = op.exptime if op.exptime < 10**9 else op.exptime - now or -1
                end = now + ttl if ttl else 0
            self.bytes += (known or size) - size
            self.stored[item] = known or size, end
            for cache in self.caches:
                cache.use(item, known or size)
            self.largest = max(self.largest, self.bytes)
            if end and end <= now:
                self.remove(item)


def simulate(operations: Sequence[Op], sizes: Sequence[int]) -> World:
    world = World(sizes)
    second = -1
    for op in operations:
        if int(op.second) > second:
            second = int(op.second)
            world.advance(STARTED_UNIX + second)
        world.run(op, STARTED_UNIX + second)
    return world


def random_operations(seed: int, count: int) -> List[Op]:
    """What a server of unlimited memory answers, so that nothing is evicted; with refills."""
    rng = random.Random(seed)
    keys = [rng.getrandbits(64) for _ in range(rng.choice((20, 300, 3000)))]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(keys) + 1)))
    servers = rng.choice((1, 1, 3))
    world = World(())
    deletes, touches, ttls = (rng.choice((0, 0, 0.02, 0.2)) for _ in range(3))
    flushes = rng.choice((0, 0, 0.002))
    second, operations = 0.0, []
    while len(operations) < count:
        before = int(second)
        second += rng.random() * rng.choice((0.001, 0.001, 0.02))
        if int(second) > before:
            world.advance(STARTED_UNIX + int(second))
        now = STARTED_UNIX + int(second)
        key = rng.choices(keys, cum_weights=weights)[0]
        server = key % servers
        there = world.stored.get((server, key))
        value = there[0] - KEY_BYTES - ITEM_BYTES if there else 0
        exptime = rng.choice((1, 3, 1000, now + 2, now, -1)) if rng.random() < ttls else 0
        size = rng.choice((value or 100, rng.randrange(2000)))
        chance = rng.random()
        if chance < flushes:
            form = rng.choice(("flush_all", "flush_all 2", "flush_all 1 noreply"))
            found = [Op(second, form, "none" if "noreply" in form else "ok", server=server)]
        elif chance < deletes:
            found = [Op(second, "delete", "deleted" if there else "not_found", key, server=server)]
        elif chance < 0.2 + touches:
            done = "touched" if there else "not_found"
            found = [Op(second, "touch", done, key, NO_SIZE, exptime, server)]
        elif chance < 0.25 + touches:
            found = [Op(second, "append", "stored" if there else "not_stored", key, 7, 0, server)]
        elif chance < 0.35 + touches:
            found = [Op(second, "set", "stored", key, size, exptime, server)]
        elif there:
            # Half of the reads do not show the size of the value.
            form, seen = rng.choice((("get", value), ("mg t", NO_SIZE)))
            found = [Op(second, form, "hit", key, seen, 0, server)]
            found[0] = found[0]._replace(form="get")
        else:
            found = [Op(second, "get", "miss", key, server=server)]
            if rng.random() < 0.9:
                found.append(Op(second, "set", "stored", key, size, exptime, server))
        for op in found:
            world.run(op, now)
        operations += found
    return operations


@pytest.mark.parametrize("seed", range(60 if LARGE else 10))
def test_at_full_rate_the_curve_is_that_of_caches_of_these_sizes(tmp_path: Path, seed: int) -> None:
    """Sizes, deletes, TTLs, flush_all, several servers: to the last read."""
    operations = random_operations(seed, 3000 if LARGE else 1500)
    servers = 1 + max(op.server for op in operations)
    found = curve(write(tmp_path / "all.profile", operations, servers, rows=400))
    sizes = [point["bytes"] for point in found["points"]]
    assert len(sizes) > 10
    assert sizes == sorted(set(sizes))
    world = simulate(operations, sizes)
    assert found["reads"] == world.reads
    assert found["footprint_bytes"] == sizes[-1] == world.largest
    for point, cache in zip(found["points"], world.caches):
        assert point["miss_ratio"] == (world.reads - cache.hits) / world.reads, point
        assert point["items"] == len(cache.items), point
    ratios = [point["miss_ratio"] for point in found["points"]]
    assert ratios == sorted(ratios, reverse=True)
    assert found["floor"] + found["cold"] == pytest.approx(ratios[-1])
    assert found["error"] == 0
    assert found["rate"] == 1


def stored_and_read(keys: Iterable[int], **store: Any) -> List[Op]:
    """Each key is stored in second 1 and read in second 9."""
    keys = list(keys)
    stores = (Op(1, "set", "stored", key, 100, **store) for key in keys)
    return [*stores, *(Op(9, "get", "hit", key, 100) for key in keys)]


def test_each_profile_has_a_clock_of_its_own(tmp_path: Path) -> None:
    """Of two recordings of the same time, the second begins when it began."""
    first = write(tmp_path / "a.profile", [*stored_and_read([1, 2]), Op(3600, "get", "hit", 1)])
    second = [*stored_and_read(range(3, 9), exptime=STARTED_UNIX + 60), Op(70, "get", "miss", 3)]
    found = curve(first, 1, write(tmp_path / "b.profile", second))
    assert (found["reads"], found["floor"], found["cold"]) == (10, 1 / 10, 0)


def test_a_server_whose_name_comes_late_is_one_server(tmp_path: Path) -> None:
    operations = stored_and_read([1, 2])
    path = write(tmp_path / "late.profile", operations, rows=2, late=True)
    assert curve(path) == curve(write(tmp_path / "a.profile", operations))
    assert curve(path)["cold"] == 0


def test_what_adds_nothing_changes_no_item(tmp_path: Path) -> None:
    """A noreply add of a key that is there; it is done where there is none."""
    add = Op(2, "add noreply", "none", 1, 5000, 5)
    found = curve(
        write(tmp_path / "there.profile", [*stored_and_read([1])[:1], add, Op(9, "get", "hit", 1)])
    )
    assert (found["floor"], found["cold"], found["footprint_bytes"]) == (0, 0, 100 + 79)
    found = curve(write(tmp_path / "none.profile", [add, Op(9, "get", "miss", 1)]))
    assert (found["floor"], found["footprint_bytes"]) == (1, 5000 + 79)


@pytest.mark.parametrize(("form", "exptime"), [("ma N60", 0), ("incr binary 1 0", 60)])
def test_what_is_made_by_counting_has_a_ttl(tmp_path: Path, form: str, exptime: int) -> None:
    made = Op(1, form, "stored", 1, 1, exptime)
    rest = [Op(2, "get", "hit", 1, 1), Op(50, form, "ok", 1, 1, exptime), Op(70, "get", "miss", 1)]
    found = curve(write(tmp_path / "a.profile", [made, *rest]))
    assert (found["reads"], found["floor"], found["cold"]) == (2, 1 / 2, 0)


def test_more_bytes_than_the_largest_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.profile", stored_and_read(range(1, 500)))
    whole = curve(path)
    monkeypatch.setattr(membench, "CURVE_SIZES", membench.CURVE_SIZES[:90])
    found = curve(path)
    assert found["footprint_bytes"] == whole["footprint_bytes"] > membench.CURVE_SIZES[-1]
    assert found["points"] == [
        point for point in whole["points"] if point["bytes"] in membench.CURVE_SIZES
    ]


class Looked(List[int]):
    """Counts how often something is read of it."""

    times = 0

    def __getitem__(self, place: Any) -> Any:
        self.times += 1
        return super().__getitem__(place)


def test_a_flush_all_costs_as_much_as_was_stored_since_the_last(tmp_path: Path) -> None:
    operations = [Op(1, "set", "stored", key, 9) for key in range(1, 2001)]
    operations += [Op(2, "flush_all", "ok")] * 200 + [Op(3, "get", "miss", 7)]
    counter = membench.CurveCounter(1, {})
    looked = counter.stack.places = Looked()
    with membench.ProfileReader(str(write(tmp_path / "a.profile", operations))) as reader:
        for block in reader.blocks():
            counter.take(block, reader, list(map(membench.effects_of, reader.forms)))
    assert counter.stack.footprint() == 2000 * (9 + 79)
    assert not list(counter.stack.contents())
    assert looked.times < 10 * len(operations)


# ---- A sample of the keys ----


def test_hashes_may_be_any_numbers(tmp_path: Path) -> None:
    """All are in the sample, if it is chosen by their remainder."""
    path = write(tmp_path / "a.profile", stored_and_read(range(10, 60_000, 10)))
    assert curve(path, 10)["footprint_bytes"] == pytest.approx(6000 * 179, rel=0.2)


def test_of_too_many_keys_the_first_operations_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membench, "CURVE_KEYS", 1000)
    operations = [op for key in range(1, 3000) for op in stored_and_read([key])]
    path = write(tmp_path / "a.profile", operations, rows=200)
    found = curve(path)
    assert found["footprint_bytes"] == 1000 * 179
    assert (found["reads"], found["floor"], found["cold"]) == (1000, 0, 0)
    report = membench.analyze_whole([str(path)])[1]
    shown = membench.render({**report, "miss_ratio_curve": found}, width=120)
    assert "the first 1,000 reads, as there are too many keys" in shown


def write_zipf(path: Path, keys: int, count: int) -> Path:
    """Nine reads to a store; of the keys, the n-th is used 1/n as often as the first."""
    rng = random.Random(keys)
    codes = [rng.getrandbits(64) << 16 | KEY_BYTES for _ in range(keys)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, keys + 1)))
    stored = set()
    hit, miss, done = (OUTCOMES.index(name) for name in ("hit", "miss", "stored"))
    with ProfileWriter(str(path)) as profile:
        header = {"source": "ebpf:any", "hook": "sock", "host": "here", "ports": [11211]}
        profile.start({**header, "started_unix": STARTED_UNIX}, START_NS)
        profile.add_connection(START_NS, 1, 11211, OPEN, ServerName("127.0.0.1:1", "memcached", 1))
        for begin in range(0, count, 60_000):
            columns: List[List[Any]] = [[] for _ in range(10)]
            chosen = rng.choices(codes, cum_weights=weights, k=min(60_000, count - begin))
            for place, code in enumerate(chosen, begin):
                size = code >> 16 & 1023
                read = rng.random() < 0.9
                there = code in stored
                forms = [(b"get", hit if there else miss)] if read else []
                forms += [(b"set", done)] if not read or not there else []
                stored.add(code)
                for form, outcome in forms:
                    value_bytes = NO_SIZE if outcome == miss else size
                    time_ns = START_NS + place * 10_000
                    row = (time_ns, 20_000, 1, form, outcome, 0, 0, code, value_bytes, 0)
                    for column, value in zip(columns, row):
                        column.append(value)
            profile.add(columns)
            profile.flush(Ledger())
        profile.finish(Ledger(), {"duration_seconds": count / 100_000})
    return path


@pytest.mark.parametrize(
    ("keys", "count", "one_in", "most"),
    [(20_000, 60_000, 10, 0.02), *([(1_000_000, 4_000_000, 100, 0.01)] if LARGE else [])],
)
def test_a_sample_of_the_keys_gives_nearly_the_same_curve(
    tmp_path: Path, keys: int, count: int, one_in: int, most: float
) -> None:
    path = write_zipf(tmp_path / "all.profile", keys, count)
    whole, sampled = curve(path), curve(path, one_in)
    assert sampled["rate"] == 1 / one_in
    assert sampled["reads"] == whole["reads"]
    exact = {point["bytes"]: point for point in whole["points"]}
    pairs = [
        (point, exact[point["bytes"]]) for point in sampled["points"] if point["bytes"] in exact
    ]
    assert len(pairs) > 60
    errors = [abs(found["miss_ratio"] - true["miss_ratio"]) for found, true in pairs]
    mean = sum(errors) / len(errors)
    assert mean < most
    assert 0 < sampled["error"] < 4 * most
    assert sampled["footprint_bytes"] == pytest.approx(whole["footprint_bytes"], rel=0.1)
    for found, true in pairs:
        # Of n sampled keys the standard error is the root of n at most; of large samples, less.
        bound = 4 * math.sqrt(true["items"] * one_in) + 0.05 * true["items"]
        assert found["items"] == pytest.approx(true["items"], abs=bound + one_in)


# ---- The report ----


def test_what_was_evicted_shows_the_size_of_the_cache(tmp_path: Path) -> None:
    """A server that is such a cache, whose clients store what they miss."""
    rng = random.Random(4)
    keys = [rng.getrandbits(64) for _ in range(2000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(keys) + 1)))
    cache = Cache(100_000)
    operations = []
    for place, key in enumerate(rng.choices(keys, cum_weights=weights, k=20_000)):
        value_bytes, there = key % 500, (0, key) in cache.items
        cache.use((0, key), value_bytes + KEY_BYTES + ITEM_BYTES)
        second = place / 1000
        if there:
            operations.append(Op(second, "get", "hit", key, value_bytes))
        else:
            operations.append(Op(second, "get", "miss", key))
            operations.append(Op(second, "set", "stored", key, value_bytes))
    path = write(tmp_path / "all.profile", operations)
    found = curve(path)
    marks = found["marks"]
    missed = sum(op.outcome == "miss" for op in operations) / found["reads"]
    sizes = [point["bytes"] for point in found["points"]]
    present = found["points"][sizes.index(marks["present"]["bytes"])]
    smaller = found["points"][sizes.index(marks["present"]["bytes"]) - 1]
    assert smaller["bytes"] < 100_000 <= present["bytes"]
    assert smaller["miss_ratio"] > missed >= present["miss_ratio"] == marks["present"]["miss_ratio"]
    for name, times in (("half", 0.5), ("twice", 2)):
        world = simulate(operations, [marks[name]["bytes"]])
        assert marks[name]["bytes"] == times * marks["present"]["bytes"]
        assert marks[name]["miss_ratio"] == 1 - world.caches[0].hits / world.reads
    text = run("analyze", "--mrc", str(path)).stdout
    assert "room for about" in text
    assert "Twice" in text


def test_the_report_has_the_curve_on_demand(tmp_path: Path) -> None:
    operations = random_operations(1, 3000)
    path = write(tmp_path / "all.profile", operations, 3)
    plain, more = (
        json.loads(run("analyze", *options, "--json", str(path)).stdout)
        for options in ((), ("--mrc",))
    )
    found = more.pop("miss_ratio_curve")
    assert plain == more
    assert found == curve(path)
    names = ("rate", "reads", "points", "floor", "cold", "error", "footprint_bytes", "marks")
    assert tuple(found) == names
    assert all(tuple(point) == ("bytes", "items", "miss_ratio") for point in found["points"])
    assert tuple(found["marks"]) == ("present", "half", "twice", "knee")
    last = f"{found['points'][-1]['miss_ratio']:.2%}"
    text = run("analyze", "--mrc", str(path)).stdout
    assert re.search(rf"^ +\S+ +[\d,]+ +{re.escape(last)}  #", text, re.M)
    for columns in (60, 80, 160):
        lines = membench.render({**plain, "miss_ratio_curve": found}, width=columns).splitlines()
        start = next(place for place, line in enumerate(lines) if "Miss ratio by" in line)
        assert max(len(line) for line in lines[start : start + 20]) <= columns


def test_without_reads_there_is_no_curve(tmp_path: Path) -> None:
    path = write(tmp_path / "sets.profile", [Op(1, "set", "stored", 5, 10)])
    done = run("analyze", "--mrc", "--json", str(path))
    assert json.loads(done.stdout)["miss_ratio_curve"] is None
    assert "unknown" in run("analyze", "--mrc", str(path)).stdout
    path = write(tmp_path / "misses.profile", [Op(1, "get", "miss", 5)] * 3)
    found = curve(path)
    assert (found["points"], found["floor"], found["footprint_bytes"]) == ([], 1.0, 0)
    assert "unknown" in run("analyze", "--mrc", str(path)).stdout


def test_a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "all.profile", [Op(1, "get", "miss", 5)])
    with path.open("rb") as file:
        done = run("analyze", "--mrc", "-", stdin=file)
    assert done.returncode == 1
    assert "read twice" in done.stderr
    assert "Traceback" not in done.stderr
