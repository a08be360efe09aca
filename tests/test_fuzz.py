# SPDX-License-Identifier: GPL-2.0-only
"""The fuzzers' inputs, and simple mutations of them. `make fuzz` looks for new ones."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from live import repeats

FUZZ = Path(__file__).resolve().parent / "fuzz"
sys.path.insert(0, str(FUZZ))

import targets  # noqa: E402

INPUTS = sorted(path.relative_to(FUZZ / "corpus") for path in FUZZ.glob("corpus/*/*"))
MUTATIONS = {"profiles": 50, "blocks": 50}  # these are slow
MUTATIONS_OF_OTHERS = repeats(1000)


SECONDS_MAX = 120  # of the processor, for one input and all its mutations


@pytest.fixture(autouse=True)
def not_for_ever() -> Iterator[None]:
    """An input that is read without an end fails."""

    def fail(_number: int, _frame: Any) -> None:
        raise AssertionError("takes too long")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, SECONDS_MAX)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def test_each_target_has_inputs() -> None:
    assert {path.parts[0] for path in INPUTS} == set(targets.TARGETS)


@pytest.mark.parametrize("path", INPUTS, ids=str)
def test_known_inputs_and_some_like_them(path: Path) -> None:
    name = path.parts[0]
    target = targets.TARGETS[name]
    original = (FUZZ / "corpus" / path).read_bytes()
    target(original)
    chance = random.Random(str(path))
    for _ in range(MUTATIONS.get(name, MUTATIONS_OF_OTHERS)):
        target(mutate(original, chance))


def mutate(original: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, taken out, repeated, or put in from elsewhere."""
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 2, 4, 20))
        how = chance.randrange(5)
        if how == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif how == 1:
            del data[at : at + length]
        elif how == 2:
            data[at:at] = data[at : at + length]
        elif how == 3:
            put = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\r\n", b" "))
            data[at : at + length] = put
        else:
            start = chance.randrange(len(data) + 1)
            data[at:at] = data[start : start + length]
    return bytes(data)
