# SPDX-License-Identifier: GPL-2.0-only
"""The ledger: never more loss than was moved, whatever the kernel could not tell."""

from __future__ import annotations

import random
from typing import Any, Dict, List, Tuple

import pytest
from live import membench, repeats

WRAP = 0xFFFFFFFF
SOCKETS = (0xFFFF888000000000, 0xFFFF888000001000)  # addresses: soon used again
ENDS = bytes(membench.Endpoints(0, 2))
VALUE = b"set a 0 0 3\r\nabc\r\nget a\r\n"  # looks like commands
CONVERSATIONS: Tuple[Tuple[bytes, bytes], ...] = (
    (b"get a\r\n", b"END\r\n"),
    (b"get a b\r\n", b"VALUE a 0 %d\r\n%s\r\nEND\r\n" % (len(VALUE), VALUE)),
    (b"set a 0 0 %d\r\n%s\r\n" % (len(VALUE), VALUE), b"STORED\r\n"),
    (b"delete a\r\nincr n 1\r\n", b"DELETED\r\nNOT_FOUND\r\n"),
    (b"mn\r\nms k 3 q\r\nabc\r\n", b"MN\r\n"),
    (b"no command\r\n", b"ERROR\r\n"),
)


class Kernel:
    """What the kernel programs would tell of some sockets, one after the other at each place.

    missing: how likely an OPEN or a CLOSE is not told; dropped: any other event, which is
    counted as it moved its bytes; unseen: calls that are neither told nor counted.
    """

    def __init__(
        self, seed: int, missing: float, dropped: float, unseen: float, responses: bool = True
    ) -> None:
        self.chance = random.Random(seed)
        self.responses = responses
        self.missing, self.dropped, self.unseen = missing, dropped, unseen
        self.segments: List[Any] = []
        self.counted = {"recv_bytes": 0, "send_bytes": 0, "dropped_bytes": 0}
        self.unseen_bytes = 0
        self.places: Dict[int, List[int]] = {}  # of open sockets: what was received, and sent

    def tell(self, kind: int, address: int, *segment: Any) -> None:
        sock = membench.SOCK.pack(address, 77 if kind < membench.OPEN else 0, 50000, 11211)
        self.segments.append((kind, len(self.segments) + 1, sock, *segment))

    def change(self, kind: int, address: int) -> None:
        if self.chance.random() >= self.missing:
            received, sent = self.places[address]
            self.tell(kind, address, received, sent, ENDS, -1)

    def move(self, kind: int, address: int, data: bytes) -> None:
        """One call on an open socket."""
        places = self.places[address]
        offset = places[kind]
        places[kind] = (offset + len(data)) & WRAP
        if kind == membench.SEND and not self.responses:
            return  # nobody looks at them
        if self.chance.random() < self.unseen:
            self.unseen_bytes += len(data)
            return
        name = "recv_bytes" if kind == membench.RECV else "send_bytes"
        self.counted[name] += len(data)
        if self.chance.random() < self.dropped:
            self.counted["dropped_bytes"] += len(data)
            return
        length, mark = len(data), places[1 - kind]
        if kind == membench.SEND and VALUE in data and self.chance.random() < 0.5:
            mark = data.index(VALUE)
            data = data.replace(VALUE, b"")
        self.tell(kind, address, offset, length, data, mark)

    def step(self) -> None:
        """Something happens to one of the sockets."""
        chance, address = self.chance, self.chance.choice(SOCKETS)
        if address not in self.places:
            self.places[address] = [chance.randrange(WRAP + 1) for _ in range(2)]
            self.change(membench.OPEN, address)
        elif chance.random() < 0.3:
            ended = self.places[address]
            ended[0] = (ended[0] + chance.randrange(2)) & WRAP  # a FIN counts for one
            self.change(membench.CLOSE, address)
            del self.places[address]
        else:
            request, reply = chance.choice(CONVERSATIONS)
            at = chance.choice((0, 0, chance.randrange(1, len(request))))
            for kind, data in ((0, request[:at]), (0, request[at:]), (1, reply)):
                if data and chance.random() < 0.95:
                    self.move(kind, address, data)


def recorded(kernel: Kernel, steps: int) -> Dict[str, Any]:
    """The ledger of a recording of so many steps."""
    matcher = membench.Matcher(lambda _: None, lambda *_: None, b"secret", kernel.responses)
    done = 0
    while steps or done < len(kernel.segments):
        batch = min(steps, kernel.chance.randrange(1, 8))
        steps -= batch
        for _ in range(batch):
            kernel.step()
        matcher.process(kernel.segments[done:])
        done = len(kernel.segments)
        matcher.ledger.kernel = kernel.counted
        assert matcher.ledger.lost_bytes <= moved_bytes(kernel)
    matcher.process(()), matcher.process(())
    matcher.finish()
    return dict(matcher.ledger.report())


def moved_bytes(kernel: Kernel) -> int:
    return kernel.counted["recv_bytes"] + kernel.counted["send_bytes"] + kernel.unseen_bytes


STREAMS = 200 * repeats(5)  # in each part; by `make test-all` 100,000 in all


@pytest.mark.parametrize("part", range(repeats(100)))
def test_never_more_loss_than_was_moved(part: int) -> None:
    """Sockets that are used again, of which nobody tells that they were opened or closed."""
    for seed in range(part * STREAMS, (part + 1) * STREAMS):
        missing, dropped, unseen = ((0, 0.3, 1)[seed // 3**i % 3] for i in range(3))
        kernel = Kernel(seed, missing, dropped / 2, unseen / 2, responses=seed % 5 > 0)
        loss = recorded(kernel, 20)
        moved = moved_bytes(kernel)
        assert 0 <= loss["bytes_lost"] <= loss["bytes_seen"] <= moved, seed
        if not unseen:
            assert loss["bytes_seen"] == moved, seed


@pytest.mark.parametrize("kind", [membench.RECV, membench.SEND])
@pytest.mark.parametrize("seed", range(20))
def test_calls_in_one_direction_that_are_neither_told_nor_counted(kind: int, seed: int) -> None:
    """They are gaps between the others, and lost to the byte."""
    kernel = Kernel(seed, 0, 0, 0)
    address = SOCKETS[0]
    kernel.places[address] = [kernel.chance.randrange(WRAP + 1) for _ in range(2)]
    kernel.change(membench.OPEN, address)
    for turn in range(40):
        request, reply = kernel.chance.choice(CONVERSATIONS)
        for direction, data in ((membench.RECV, request), (membench.SEND, reply)):
            kernel.unseen = float(turn % 4 == 2 and direction == kind)
            kernel.move(direction, address, data)
    kernel.move(membench.RECV, address, b"get a\r\n")
    loss = recorded(kernel, 0)
    assert kernel.unseen_bytes > 0
    assert loss["bytes_seen"] == moved_bytes(kernel)
    assert loss["bytes_lost"] >= kernel.unseen_bytes
