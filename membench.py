#!/usr/bin/env python3
"""membench: what a memcached server really does.

Records live memcached traffic at the sockets with eBPF, or from packets where that
cannot be, keeps no key and no value, writes a small profile, and analyzes it. One
file: copy it to a server and run it there. It needs Python 3.9; eBPF needs Linux 5.8
with BTF and the system's libbpf.

    sudo python3 membench.py record            # until Ctrl-C
    python3 membench.py analyze FILE.profile

The way of the data, which is also the order of this file:

    source --Segment--> connection --bytes | gap--> parsers --Request, Response-->
        matching --operation--> ProfileWriter ==FILE==> ProfileReader --> analysis

    constants, errors     what can go wrong, in one line each
    records               the vocabulary: segments, requests, operations
    libbpf                the C library, through ctypes
    sources               eBPF, live packets, capture files
    protocol              sans-IO parsers of requests and responses
    matching              pairs responses with requests on one connection
    profile               the file format, its writer and its reader
    analysis              operations in, report out
    commands              record, analyze, compare, check, and the command line
    generated             the compiled kernel programs (make rebuild-bpf)

What it costs: a few hundred nanoseconds in the server's thread for each read and
each write on a watched socket, and a few microseconds of another CPU for each
operation. docs/performance.md has the measurements.

What it cannot see: UDP and Unix sockets; and inside TLS, the binary protocol, and what a
server moves by calls that name no memory (io_uring, splice): that is counted as lost.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import errno
import hashlib
import json
import math
import mmap
import os
import platform
import re
import select
import shutil
import signal
import socket
import stat
import struct
import sys
import textwrap
import time
import zlib
from array import array
from collections import Counter, deque
from itertools import accumulate, repeat
from operator import floordiv
from typing import (
    Any,
    BinaryIO,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

try:
    import resource
except ImportError:  # not on Windows, where capture files and profiles are read all the same
    resource = None  # type: ignore[assignment]

VERSION = "0.1.0"

# ==== Constants and errors ============================================================

DEFAULT_PORT = 11211
NS_PER_SECOND = 1_000_000_000
TICK_NS = 100  # the profile's unit of time
TICKS_PER_SECOND = NS_PER_SECOND // TICK_NS

KEY_MAX = 250  # memcached's limit for a key
LINE_MAX = 1 << 20  # a longer command line is not followed; bounds memory per connection
VALUE_MAX = (1 << 31) - 3  # memcached's own limit for the length on a command line
PENDING_MAX = 65536  # requests without an answer on one connection
NO_SIZE = 0xFFFFFFFF  # the value size of an operation that moved no value


class MembenchError(Exception):
    """What went wrong, and in `hint` what to do about it. Ends the program, status 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SourceError(MembenchError):
    """A source cannot be used on this machine."""


class ProfileError(MembenchError):
    """A file is not a profile, or cannot be written."""


class DamagedError(ValueError):
    """A block whose checksum is right holds what no membench wrote."""


class ProtocolError(Exception):
    """Bytes that are not memcached's protocol. Costs one connection its synchronisation."""


# ==== Records =========================================================================

# What a source delivers: a piece of one direction of one connection.
RECV, SEND, OPEN, CLOSE = range(4)

# (kind, time_ns, sock_id, port, peer_port, offset, length, data, sent)
#   kind       RECV, SEND; OPEN, CLOSE: the connection began or ended
#   time_ns    CLOCK_MONOTONIC
#   sock_id    the same for one connection as long as it lives
#   offset     TCP sequence number of the first byte (modulo 2**32)
#   length     bytes of the stream that this segment stands for; the last
#              length - len(data) of them are not there
#   sent       RECV: the next byte to be sent, if the source knows it, or -1
#   OPEN, CLOSE: offset is the next byte to be received; length the next byte to be
#   sent; data is empty. CLOSE comes early if the peer reset the connection: bytes that
#   had arrived may still be read.
# A plain tuple: there is one for each read and write of the server, and any class
# costs more to make than the bytes in it to parse.
Segment = Tuple[int, int, int, int, int, int, int, bytes, int]

# What one request did to one key, or to none. The profile's outcomes; the numbers are
# stored in files.
OUTCOMES = (
    "none",  # no reply was asked for, or replies were not recorded
    "hit",
    "miss",
    "stored",
    "not_stored",
    "exists",
    "not_found",
    "deleted",
    "touched",
    "ok",
    "error",
    "client_error",
    "server_error",
    "unanswered",  # the connection or the recording ended first
    "lost",  # the reply was in bytes that membench did not see
)
(
    NONE,
    HIT,
    MISS,
    STORED,
    NOT_STORED,
    EXISTS,
    NOT_FOUND,
    DELETED,
    TOUCHED,
    OK,
    ERROR,
    CLIENT_ERROR,
    SERVER_ERROR,
    UNANSWERED,
    LOST,
) = range(len(OUTCOMES))

# How a request is answered.
REPLY_NONE, REPLY_LINE, REPLY_VALUES, REPLY_META, REPLY_STREAM, REPLY_FOREVER = range(6)


class Request:
    """One request as it was read, until its answer is known.

    form is the command with those arguments that a replay needs and that are neither
    key nor size nor exptime: b"set 32 noreply", b"mg v t q", b"incr 1".
    """

    __slots__ = (
        "form",
        "reply",
        "keys",
        "value_size",
        "exptime",
        "quiet",
        "opaque",
        "time_ns",
        "timed",
        "batch_position",
        "sizes",
        "next_key",
    )

    def __init__(
        self,
        form: bytes,
        reply: int,
        keys: Sequence[bytes] = (),
        value_size: int = NO_SIZE,
        exptime: int = 0,
        quiet: bool = False,
        opaque: bytes = b"",
    ) -> None:
        self.form = form
        self.reply = reply
        self.keys = keys
        self.value_size = value_size  # bytes; of a storage command, else NO_SIZE
        self.exptime = exptime  # as sent
        self.quiet = quiet  # meta q flag: the usual reply is left out
        self.opaque = opaque
        self.time_ns = 0  # when its last byte was read; 0: not yet
        self.timed = True  # False: its last byte was in a gap, read some time before
        self.batch_position = 0  # how many requests came before it in the same read
        self.sizes: Dict[int, int] = {}  # retrieval: key index -> value size, of the hits
        self.next_key = 0  # retrieval: keys before this one are answered


# One line, or one value, of a reply: (first word, all words, value size or -1).
Response = Tuple[bytes, List[bytes], int]

# What goes into the profile, a row for each key of a request (one row if it has none):
# (time_ns, latency_ns or 0, connection, form, outcome, batch_position, key_position,
#  key code or 0, value_size or NO_SIZE, exptime). The latency stands in the first row of a request.
Operation = Tuple[int, int, int, bytes, int, int, int, int, int, int]


class Ledger:
    """Where the bytes went. Every byte is understood or lost; nothing is only missing."""

    def __init__(self) -> None:
        self.understood_bytes = 0  # parsed, or passed over as part of a value
        self.lost_bytes = 0  # gaps outside values, and skipped to get back in step
        self.resyncs = 0  # times that a connection fell out of step
        self.unmatched_responses = 0
        self.kernel: Dict[str, int] = {}  # counted by the source; see Source.counters

    def report(self, final: bool = True) -> Dict[str, Any]:
        """The ledger as the profile and `analyze --json` hold it.

        Only in the end, when the ring is empty, what the kernel counted and no segment
        told of is lost. Before, it is what found no room on the ring.
        """
        kernel_bytes = self.kernel.get("recv_bytes", 0) + self.kernel.get("send_bytes", 0)
        kernel_bytes += self.kernel.get("missed_bytes", 0)
        untold = kernel_bytes - self.understood_bytes
        lost = max(self.lost_bytes, untold if final else self.kernel.get("dropped_bytes", 0))
        seen = self.understood_bytes + lost
        return {
            "bytes_seen": seen,
            "bytes_lost": lost,
            "events_lost": self.kernel.get("dropped_events", 0),
            "unmatched_responses": self.unmatched_responses,
            "resyncs": self.resyncs,
            "coverage": self.understood_bytes / seen if seen else 1.0,
            "kernel": self.kernel,
        }


# ==== libbpf ==========================================================================


class _Opaque(ctypes.Structure):
    """Base of the library's handles, so that one cannot be passed for another."""


class _Object(_Opaque):
    pass


class _Program(_Opaque):
    pass


class _Map(_Opaque):
    pass


class _Link(_Opaque):
    pass


class _Ring(_Opaque):
    pass


class _OpenOptions(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("object_name", ctypes.c_char_p)]


_ObjectP = ctypes.POINTER(_Object)
_ProgramP = ctypes.POINTER(_Program)
_MapP = ctypes.POINTER(_Map)
_LinkP = ctypes.POINTER(_Link)
_RingP = ctypes.POINTER(_Ring)
_PrintFunction = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
)
_SampleFunction = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
)


_PRINT_FUNCTIONS: List[Any] = []


class LibbpfError(Exception):
    """A libbpf call failed. errno says why, as the kernel says it."""

    def __init__(self, call: str, number: int) -> None:
        why = os.strerror(number)
        if number >= 4000:  # libbpf's own numbers
            why = {4001: "not a BPF object"}.get(number, f"libbpf error {number}")
        super().__init__(f"{call}: {why}")
        self.errno = number


class Libbpf:
    """The few calls of libbpf that membench makes. Works with libbpf 0.3 to 1.x.

    Failures raise LibbpfError: 0.x returns the errno as a pointer near the top of the
    address space, 1.x returns NULL and sets errno; integers are negative errnos in both.
    """

    def __init__(self) -> None:
        self._c = self._load()
        self._messages: Deque[str] = deque(maxlen=2000)
        self._libc = ctypes.CDLL(None)
        self._print = _PrintFunction(self._on_print)
        _PRINT_FUNCTIONS.append(self._print)  # libbpf keeps only the pointer, for good
        try:
            self._bind()
        except AttributeError as error:
            raise SourceError(
                f"libbpf is too old: it has no {str(error).rsplit(' ', 1)[-1]}",
                "install libbpf 0.3 or later (Debian: libbpf0 or libbpf1)",
            ) from None
        self.set_print(self._print)

    @staticmethod
    def _load() -> ctypes.CDLL:
        for name in ("libbpf.so.1", "libbpf.so.0"):
            with contextlib.suppress(OSError):
                return ctypes.CDLL(name, use_errno=True)
        raise SourceError(
            "libbpf is not installed",
            "apt-get install libbpf1 (Debian 11: libbpf0), or dnf install libbpf",
        )

    def _bind(self) -> None:
        c_int, c_char_p, c_void_p = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
        size_t, u32, flag = ctypes.c_size_t, ctypes.c_uint32, ctypes.c_bool
        bind = self._function
        self.set_print = bind("libbpf_set_print", [_PrintFunction], c_void_p)
        self.possible_cpus = bind("libbpf_num_possible_cpus", [], c_int)
        self.object_open = bind(
            "bpf_object__open_mem",
            [c_void_p, size_t, ctypes.POINTER(_OpenOptions)],
            _ObjectP,
        )
        self.object_load = bind("bpf_object__load", [_ObjectP], c_int)
        self.object_close = bind("bpf_object__close", [_ObjectP], None)
        self.find_program = bind(
            "bpf_object__find_program_by_name", [_ObjectP, c_char_p], _ProgramP
        )
        self.find_map = bind("bpf_object__find_map_by_name", [_ObjectP, c_char_p], _MapP)
        self.set_autoload = bind("bpf_program__set_autoload", [_ProgramP, flag], c_int)
        self.attach = bind("bpf_program__attach", [_ProgramP], _LinkP)
        self.attach_tracepoint = bind(
            "bpf_program__attach_tracepoint", [_ProgramP, c_char_p, c_char_p], _LinkP
        )
        self.link_destroy = bind("bpf_link__destroy", [_LinkP], c_int)
        self.map_fd = bind("bpf_map__fd", [_MapP], c_int)
        self.map_set_size = bind("bpf_map__set_max_entries", [_MapP, u32], c_int)
        self.map_set_value = bind(
            "bpf_map__set_initial_value", [_MapP, c_void_p, size_t], c_int
        )
        self.map_lookup = bind("bpf_map_lookup_elem", [c_int, c_void_p, c_void_p], c_int)
        self.ring_new = bind(
            "ring_buffer__new", [c_int, _SampleFunction, c_void_p, c_void_p], _RingP
        )
        self.ring_poll = bind("ring_buffer__poll", [_RingP, c_int], c_int)
        self.ring_consume = bind("ring_buffer__consume", [_RingP], c_int)
        self.ring_free = bind("ring_buffer__free", [_RingP], None)

    def _function(self, name: str, argtypes: List[Any], restype: Any) -> Callable[..., Any]:
        function = getattr(self._c, name)
        function.argtypes = argtypes
        function.restype = restype
        if restype is ctypes.c_int:
            function.errcheck = self._check_int
        elif restype is not None and restype is not ctypes.c_void_p:
            function.errcheck = self._check_pointer
        return function  # type: ignore[no-any-return]

    @staticmethod
    def _check_int(result: int, function: Any, _arguments: Any) -> int:
        if result < 0:
            number = -result
            if function.__name__ == "bpf_map_lookup_elem":  # libbpf 0.x: -1, and errno
                number = ctypes.get_errno() or number
            raise LibbpfError(function.__name__, number)
        return result

    @staticmethod
    def _check_pointer(result: Any, function: Any, _arguments: Any) -> Any:
        address = ctypes.cast(result, ctypes.c_void_p).value or 0
        if address > 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 4096:
            raise LibbpfError(function.__name__, -ctypes.c_long(address).value)
        if not address:
            raise LibbpfError(function.__name__, ctypes.get_errno() or errno.ENOENT)
        return result

    def _on_print(self, _level: int, template: bytes, arguments: int) -> int:
        # Called from C: an exception must not leave, it would only be printed.
        try:
            buffer = ctypes.create_string_buffer(65536)
            self._libc.vsnprintf(
                buffer, ctypes.c_size_t(65536), template, ctypes.c_void_p(arguments)
            )
            self._messages.extend(buffer.value.decode("utf-8", "replace").splitlines())
        except Exception:  # noqa: BLE001
            pass
        return 0

    def take_messages(self) -> List[str]:
        """What libbpf and the verifier said since the last call."""
        messages = list(self._messages)
        self._messages.clear()
        return messages


class BpfObject:
    """One loaded object file: opened, adjusted, loaded, attached. A context manager.

    Raises LibbpfError where the kernel or libbpf refuses.
    """

    # The object's name begins the name of its .rodata map, in every version of libbpf.
    NAME = b"membench"

    def __init__(self, libbpf: Libbpf, image: bytes) -> None:
        self._libbpf = libbpf
        self._links: List[Any] = []
        self._image = ctypes.create_string_buffer(image, len(image))
        options = _OpenOptions(ctypes.sizeof(_OpenOptions), self.NAME)
        self._object = libbpf.object_open(self._image, len(image), ctypes.byref(options))

    def __enter__(self) -> BpfObject:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.detach()
        self._libbpf.object_close(self._object)

    def keep_only(self, wanted: Iterable[str], all_programs: Iterable[str]) -> None:
        """Leave all programs but the wanted ones out of the load."""
        wanted = set(wanted)
        for name in all_programs:
            program = self._libbpf.find_program(self._object, name.encode())
            self._libbpf.set_autoload(program, name in wanted)

    def set_constants(self, value: ctypes.Structure) -> None:
        """Fill the object's .rodata, before the load."""
        rodata = self._libbpf.find_map(self._object, self.NAME + b".rodata")
        self._libbpf.map_set_value(rodata, ctypes.byref(value), ctypes.sizeof(value))

    def set_size(self, map_name: str, entries: int) -> None:
        found = self._libbpf.find_map(self._object, map_name.encode())
        self._libbpf.map_set_size(found, entries)

    def load(self) -> None:
        self._libbpf.object_load(self._object)

    def attach(self, name: str, tracepoints: Sequence[Tuple[str, str]] = ()) -> None:
        """Attach where the program's section says, or to each of the tracepoints."""
        program = self._libbpf.find_program(self._object, name.encode())
        if not tracepoints:
            self._links.append(self._libbpf.attach(program))
        for category, event in tracepoints:
            link = self._libbpf.attach_tracepoint(program, category.encode(), event.encode())
            self._links.append(link)

    def detach(self) -> None:
        """Nothing fires any more. What is on the ring can still be read."""
        for link in reversed(self._links):
            with contextlib.suppress(LibbpfError):
                self._libbpf.link_destroy(link)
        self._links.clear()

    def map_fd(self, name: str) -> int:
        found = self._libbpf.find_map(self._object, name.encode())
        return int(self._libbpf.map_fd(found))

    def read_per_cpu(self, map_name: str, layout: type[ctypes.Structure]) -> List[Any]:
        """The one entry of a per-CPU array, a structure for each possible CPU."""
        values = (layout * self._libbpf.possible_cpus())()
        key = ctypes.c_uint32(0)
        self._libbpf.map_lookup(
            self.map_fd(map_name), ctypes.byref(key), ctypes.byref(values)
        )
        return list(values)


class RingBuffer:
    """A BPF ring buffer as batches of records. A context manager."""

    # A batch is returned when this many records are read, so that a server that is
    # faster than membench cannot keep the poll from returning.
    BATCH_RECORDS = 1024

    def __init__(self, libbpf: Libbpf, map_fd: int) -> None:
        self._libbpf = libbpf
        self._batch: List[bytes] = []
        self._error: Optional[BaseException] = None
        self._callback = _SampleFunction(self._on_record)  # libbpf keeps only the pointer
        self._ring = libbpf.ring_new(map_fd, self._callback, None, None)

    def __enter__(self) -> RingBuffer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._libbpf.ring_free(self._ring)

    def _on_record(self, _context: int, data: int, size: int) -> int:
        # Called from C: an exception would be swallowed, so it waits in _error. No more
        # is done here than must be; the records are parsed where errors can be seen.
        try:
            self._batch.append(ctypes.string_at(data, size))
            return -errno.ECANCELED if len(self._batch) >= self.BATCH_RECORDS else 0
        except BaseException as error:  # noqa: BLE001
            self._error = error
            return -errno.ECANCELED

    def read(self, timeout_ms: int) -> List[bytes]:
        """Wait for a wake-up or the timeout; then all records, up to BATCH_RECORDS."""
        self._call(self._libbpf.ring_poll, self._ring, timeout_ms)
        if not self._batch:
            # Submitted without a wake-up: there, but poll does not see it.
            self._call(self._libbpf.ring_consume, self._ring)
        if self._error:
            error, self._error = self._error, None
            raise error
        batch, self._batch = self._batch, []
        return batch

    def _call(self, function: Callable[..., int], *arguments: Any) -> None:
        try:
            function(*arguments)
        except LibbpfError as error:
            # ECANCELED is our own callback's; EINTR is a signal, which Python handles.
            if error.errno not in (errno.ECANCELED, errno.EINTR) and not self._error:
                raise


# ==== Sources =========================================================================


class Source(Protocol):
    """Where segments come from. A context manager: watching while it is entered."""

    name: str  # "ebpf:any"; for the report
    hook: str  # "sock", "syscalls", "tpacket_v3", "pcap", "pcapng"
    remarks: List[str]  # what the user should be told at the end
    reads: bool  # is a segment what the server read or wrote at once? See Connection.

    def __enter__(self) -> Source: ...

    def __exit__(self, *_exception: object) -> None: ...

    def started(self, timeout_ms: int) -> Optional[Tuple[int, float]]:
        """When the recording began: in the segments' time (ns), and Unix time (s).

        None if that is not known yet: a capture begins with its first packet.
        """

    def now(self) -> int:
        """The time, as the segments' times count it (ns)."""

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """The next segments, in the order of each connection; [] if none came in time.

        None at the end of a file.
        """

    def stop(self) -> None:
        """See nothing new. What was seen before can still be read."""

    def counters(self) -> Dict[str, int]:
        """What the source itself counted since the start, by name; bytes and events."""


# The layouts below are those of bpf/programs.bpf.c; a test compares them with its BTF.


class Settings(ctypes.Structure):
    """The kernel programs' constants."""

    _fields_ = [
        ("ports", ctypes.c_uint8 * 8192),
        ("ifindex", ctypes.c_uint32),
        ("netns", ctypes.c_uint32),
        ("wakeup_bytes", ctypes.c_uint32),
    ]


class SocketDataEvent(ctypes.Structure):
    """The one record on the ring; its data follows. See bpf/programs.bpf.c."""

    _fields_ = [
        ("time_ns", ctypes.c_uint64),
        ("sock_id", ctypes.c_uint64),
        ("offset", ctypes.c_uint32),
        ("data_len", ctypes.c_uint32),
        ("captured_len", ctypes.c_uint32),
        ("sport", ctypes.c_uint16),
        ("dport", ctypes.c_uint16),
        ("direction", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("send_offset", ctypes.c_uint32),
    ]


class Run(ctypes.Structure):
    """Begins each run of a SocketDataEvent's data: bytes captured, then bytes skipped."""

    _fields_ = [("captured_len", ctypes.c_uint32), ("skipped_len", ctypes.c_uint32)]


class Endpoints(ctypes.Structure):
    """The data of an event that says that a connection opened or closed."""

    _fields_ = [
        ("unread_len", ctypes.c_uint32),
        ("family", ctypes.c_uint16),
        ("pad", ctypes.c_uint8 * 2),
        ("local", ctypes.c_uint8 * 16),
        ("remote", ctypes.c_uint8 * 16),
    ]


class Counters(ctypes.Structure):
    """What the kernel programs counted on one CPU."""

    _fields_ = [
        ("recv_calls", ctypes.c_uint64),
        ("recv_bytes", ctypes.c_uint64),
        ("send_calls", ctypes.c_uint64),
        ("send_bytes", ctypes.c_uint64),
        ("events", ctypes.c_uint64),
        ("dropped_events", ctypes.c_uint64),
        ("dropped_bytes", ctypes.c_uint64),
        ("faulted_bytes", ctypes.c_uint64),
        ("unreadable_calls", ctypes.c_uint64),
        ("unreadable_bytes", ctypes.c_uint64),
    ]


# Struct.unpack_from is twice as fast as the same through the ctypes structures.
_EVENT = struct.Struct("<QQIIIHHB3xI")
_RUN = struct.Struct("<II")
_EVENT_AND_RUN = struct.Struct("<QQIIIHHB3xIII")


def parse_events(records: Iterable[bytes]) -> List[Segment]:
    """Ring records, each a SocketDataEvent, as segments."""
    segments: List[Segment] = []
    append = segments.append
    unpack = _EVENT_AND_RUN.unpack_from
    first = _EVENT_AND_RUN.size
    for record in records:
        time_ns, sock_id, offset, length, captured, sport, dport, kind, sent, run, _ = unpack(
            record
        )
        if kind > SEND:
            append((kind, time_ns, sock_id, sport, dport, offset, sent, b"", -1))
        elif run == captured:
            data = record[first : first + run]
            append((kind, time_ns, sock_id, sport, dport, offset, length, data, sent))
        else:
            position = _EVENT.size
            while position < len(record):
                captured, skipped = _RUN.unpack_from(record, position)
                position += _RUN.size
                data = record[position : position + captured]
                position += captured
                length = captured + skipped
                append((kind, time_ns, sock_id, sport, dport, offset, length, data, sent))
                offset = (offset + length) & 0xFFFFFFFF
    return segments


SYSCALLS_RECV = ("read", "readv", "recvfrom", "recvmsg")
SYSCALLS_SEND = ("write", "writev", "sendto", "sendmsg")

# hook family -> (kernel it needs, programs for requests, programs for responses)
HOOKS: Dict[str, Tuple[Tuple[int, int], List[str], List[str]]] = {
    "sock": ((6, 3), ["sock_recv_length"], ["sock_send_length"]),
    "syscalls": (
        (5, 8),
        ["sys_exit"] + ["sys_enter_" + name for name in SYSCALLS_RECV],
        ["sys_enter_" + name for name in SYSCALLS_SEND],
    ),
}
STATE_PROGRAM = "inet_sock_set_state"
ALL_PROGRAMS = [STATE_PROGRAM] + [
    program for _, recv, send in HOOKS.values() for program in recv + send
]


class EbpfSource:
    """The kernel programs of bpf/programs.bpf.c on this machine's memcached sockets.

    interface None means any. Raises SourceError with the reason where this machine
    cannot do it.
    """

    reads = True
    POLL_WAKEUP_SHARE = 8  # the reader is woken when 1/8 of the ring is full

    def __init__(
        self,
        ports: Sequence[int],
        interface: Optional[str] = None,
        hook: str = "auto",
        responses: bool = True,
        ring_mib: int = 16,
        image: Optional[bytes] = None,
        verbose: bool = False,
    ) -> None:
        self.name = f"ebpf:{interface or 'any'}"
        self.hook = ""
        self.remarks: List[str] = []
        self._responses = responses
        self._verbose = verbose
        self._image = embedded_object() if image is None else image
        self._ring_bytes = ring_mib << 20
        self._settings = Settings(wakeup_bytes=self._ring_bytes // self.POLL_WAKEUP_SHARE)
        for port in ports:
            self._settings.ports[port >> 3] |= 1 << (port & 7)
        if interface:
            self._settings.ifindex = interface_index(interface)
            self._settings.netns = os.stat("/proc/self/ns/net").st_ino
        self._stack = contextlib.ExitStack()
        self._open(hook)

    def _open(self, hook: str) -> None:
        require_bpf()
        libbpf = Libbpf()
        release = kernel_release()
        reasons = []
        for name, (since, _, _) in HOOKS.items():
            if hook not in ("auto", name):
                continue
            if release < since:
                reasons.append(f"{name} needs Linux {since[0]}.{since[1]}")
                continue
            try:
                self._try_hook(libbpf, name)
                return
            except LibbpfError as error:
                messages = libbpf.take_messages()
                if self._verbose:
                    print("\n".join(messages), file=sys.stderr)
                reasons.append(f"{name}: {explain_refusal(error, messages)}")
        raise SourceError(
            f"this kernel ({platform.release()}) does not take membench's programs: "
            + "; ".join(reasons),
            "membench.py check says what would work here; record -v shows the kernel's words",
        )

    def _try_hook(self, libbpf: Libbpf, hook: str) -> None:
        _, recv, send = HOOKS[hook]
        programs = [STATE_PROGRAM, *recv, *(send if self._responses else [])]
        if hook == "syscalls":
            require_tracefs()
        with contextlib.ExitStack() as stack:
            self._object = stack.enter_context(BpfObject(libbpf, self._image))
            self._object.keep_only(programs, ALL_PROGRAMS)
            self._object.set_constants(self._settings)
            self._object.set_size("events", self._ring_bytes)
            self._object.load()
            ring_fd = self._object.map_fd("events")
            self._ring = stack.enter_context(RingBuffer(libbpf, ring_fd))
            for program in programs:
                self._attach(program)
            self._stack = stack.pop_all()
        self.hook = hook

    def _attach(self, program: str) -> None:
        try:
            self._attach_one(program)
        except LibbpfError as error:
            if error.errno == errno.ENOENT and program.startswith("sys_"):
                raise SourceError(
                    "libbpf does not find the syscall tracepoints; before 1.0 it looks for them "
                    "in debugfs only",
                    "mount -t debugfs debugfs /sys/kernel/debug",
                ) from None
            raise

    def _attach_one(self, program: str) -> None:
        if program == "sys_exit":  # one program for all the exits
            names = SYSCALLS_RECV + (SYSCALLS_SEND if self._responses else ())
            self._object.attach(program, [("syscalls", "sys_exit_" + name) for name in names])
        else:
            self._object.attach(program)

    def __enter__(self) -> EbpfSource:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def started(self, _timeout_ms: int) -> Optional[Tuple[int, float]]:
        """See Source.started."""
        return time.monotonic_ns(), time.time()

    def now(self) -> int:
        """See Source.now."""
        return time.monotonic_ns()

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """See Source.read."""
        return parse_events(self._ring.read(timeout_ms))

    def stop(self) -> None:
        """See Source.stop."""
        self._object.detach()

    def counters(self) -> Dict[str, int]:
        """See Source.counters; the fields of struct Counters."""
        per_cpu = self._object.read_per_cpu("counters", Counters)
        return {
            name: sum(getattr(cpu, name) for cpu in per_cpu)
            for name, *_ in Counters._fields_
        }


def kernel_release() -> Tuple[int, int]:
    """The running kernel's version, (major, minor)."""
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39


def effective_capabilities() -> int:
    """This process's capabilities, a bit for each."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return int(next(line for line in status if line.startswith("CapEff:"))[7:], 16)


def missing_capabilities() -> List[str]:
    """What this process lacks to load and attach the programs; [] if nothing."""
    effective = effective_capabilities()
    if effective >> CAP_SYS_ADMIN & 1:
        return []
    wanted = {"CAP_BPF": CAP_BPF, "CAP_PERFMON": CAP_PERFMON}
    return [name for name, bit in wanted.items() if not effective >> bit & 1]


def require_bpf() -> None:
    """Raise SourceError with what to do, unless this machine can run BPF programs."""
    if sys.platform != "linux" or kernel_release() < (5, 8):
        raise SourceError(
            f"eBPF recording needs Linux 5.8 or later; this is {platform.release()}",
            "record on a newer kernel",
        )
    missing = missing_capabilities()
    if missing:
        raise SourceError(
            f"recording with eBPF needs root (missing: {', '.join(missing)})",
            "run it again with sudo",
        )
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        raise SourceError(
            "this kernel has no BTF (/sys/kernel/btf/vmlinux)",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are",
        )
    if kernel_release() < (5, 11):  # BPF memory counts against the limit for locked memory
        with contextlib.suppress(OSError, ValueError):
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)


TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def require_tracefs() -> None:
    """Raise SourceError with what to do, unless the syscall tracepoints can be found."""
    if not any(os.path.isdir(path + "/events/syscalls") for path in TRACEFS):
        if any(os.path.ismount(path) for path in TRACEFS):
            raise SourceError(
                "the syscalls hook needs tracefs, which this user may not read",
                "run it again with sudo",
            )
        raise SourceError(
            "the syscalls hook needs tracefs, which is not mounted",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        )


def interface_index(name: str) -> int:
    """The interface's index. Raises SourceError, naming those that exist."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise SourceError(
            f"there is no network interface {printable(name)}", f"there are: {names}"
        ) from None


def explain_refusal(error: LibbpfError, messages: List[str]) -> str:
    """One line on why an object did not load: the verifier's verdict if there is one."""
    for line in reversed(messages):
        if re.search(r"not supported|invalid|unknown func|too large|unbounded|not found", line):
            return f"{error} ({printable(line.strip())[:120]})"
    return str(error)


def printable(text: str) -> str:
    """Text from elsewhere without anything that a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in text)


# ---- Packets: TCP streams from what crossed the network ----
#
# The rules, which hold for live packets and for capture files:
#   - A direction of a connection is delivered in order, each byte once: of bytes that come
#     again, the first win. What comes out of order waits, within bounds.
#   - A hole becomes a gap when the other side acknowledges it (the receiver had the bytes,
#     we did not), when too much waits behind it, or when the connection or the recording
#     ends. Time alone says nothing.
#   - What a packet acknowledges is delivered, or reported as a gap, before the packet's own
#     data. So a reply never comes before the request that caused it, in whatever order the
#     packets are found.
#   - Checksums are not looked at (offloading leaves them to the network card), and sizes
#     are not limited by an MTU (offloading again).
#   - A connection is in step from its beginning only if its SYN-ACK was seen: that alone
#     tells where both directions begin.

TCP_FIN, TCP_SYN, TCP_RST, TCP_ACK = 1, 2, 4, 16
TCP_FLAGS = TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK
IPPROTO_TCP = 6
WRAP = 0xFFFFFFFF  # sequence numbers are modulo 2**32
WINDOW_MAX = 1 << 30  # TCP's largest; what is farther away is of another connection

# From the first byte of an IP packet: total length, fragment, protocol, ports, sequence
# number, acknowledged, header length and flags. Only if there are no IP options.
_IP4_TCP = struct.Struct(">2xH2xHxB10xHHIIH")
_IP6_TCP = struct.Struct(">4xHB33xHHIIH")  # payload length, next header; the same of TCP
_IP4 = struct.Struct(">2xH2xHxB")
_TCP = struct.Struct(">HHIIH")
IP6_EXTENSIONS = frozenset((0, 43, 51, 60, 135, 139, 140))
IP6_FRAGMENT = 44
IP6_EXTENSIONS_MAX = 8


class Half:
    """One direction of a connection: what is expected next, and what came too early."""

    __slots__ = ("kind", "flow", "other", "next", "fin", "held", "held_bytes")

    flow: Flow
    other: Half

    def __init__(self, kind: int) -> None:
        self.kind = kind  # RECV, SEND
        self.next = -1  # sequence number; -1: not known yet
        self.fin = -1  # where the FIN stands; -1: not seen
        self.held: List[Tuple[int, int, bytes]] = []  # (number, length, data), in order
        self.held_bytes = 0

    def hold(self, number: int, length: int, data: bytes) -> None:
        """Keep what came too early, but for the parts that are held already."""
        start = (number - self.next) & WRAP
        end = start + length
        at = start
        held: List[Tuple[int, int, bytes]] = []
        for piece in self.held:
            piece_at = (piece[0] - self.next) & WRAP
            if at < min(end, piece_at):
                held.append(self._cut(number, data, at - start, min(end, piece_at) - start))
            held.append(piece)
            at = max(at, piece_at + piece[1])
        if at < end:
            held.append(self._cut(number, data, at - start, end - start))
        self.held = held

    def _cut(self, number: int, data: bytes, start: int, end: int) -> Tuple[int, int, bytes]:
        piece = data[start:end]
        self.held_bytes += len(piece)
        return (number + start) & WRAP, end - start, piece


class Flow:
    """One TCP connection."""

    __slots__ = (
        *("sock_id", "port", "peer_port", "keys", "client", "server", "time_ns"),
        *("client_isn", "opening", "ended", "strange"),
    )

    def __init__(self, sock_id: int, port: int, peer_port: int) -> None:
        self.sock_id = sock_id
        self.port = port
        self.peer_port = peer_port
        self.keys: Tuple[bytes, bytes] = (b"", b"")  # of client's and of server's packets
        self.client = Half(RECV)
        self.server = Half(SEND)
        self.client.flow = self.server.flow = self
        self.client.other, self.server.other = self.server, self.client
        self.time_ns = 0  # of its last packet, as far as anybody looked
        self.client_isn = -1  # of its SYN; -1: not seen
        self.opening: Optional[Tuple[int, int]] = None  # first numbers, until the handshake ends
        self.ended = False
        self.strange = 0  # packets that cannot be of this connection


class Reassembler:
    """IP packets in, segments out: `segments` grows, whoever reads them takes it away.

    Memory is bounded: HELD_MAX bytes and HELD_PIECES_MAX packets wait on one direction of a
    connection, HELD_TOTAL_MAX bytes on all, and no more than FLOWS_MAX connections are known.
    """

    HELD_MAX = 4 << 20
    HELD_PIECES_MAX = 2048
    HELD_TOTAL_MAX = 64 << 20
    FLOWS_MAX = 65536
    STRANGE_MAX = 8
    FORGET_NS = 60 * NS_PER_SECOND  # after the end, when no retransmission can come any more
    SWEEP_NS = 10 * NS_PER_SECOND

    def __init__(self, ports: Iterable[int]) -> None:
        self.segments: List[Segment] = []
        self.time_ns = 1  # of the last packet; never goes back, and is never 0
        self.packets = 0
        self.fragments = 0
        self.ignored = 0  # not TCP of the ports, or not to be understood
        self.gaps = 0
        self.gap_bytes = 0
        self._ports = frozenset(ports)
        self._halves: Dict[bytes, Half] = {}  # addresses and ports, as in the packet
        self._held_total = 0
        self._last_id = 0
        self._swept_ns = 0

    # -- from bytes to TCP --

    def add(self, time_ns: int, data: bytes, ip: int, end: int, wire_end: int) -> None:
        """One packet: its IP header is at data[ip], its captured part ends at data[end].

        wire_end is where it would end if it was captured whole. Never raises.
        """
        # Written out and not shared: this is the path of nearly every packet.
        if end - ip >= 40 and data[ip] == 0x45:
            total, fragment, protocol, source, target, number, acked, bits = _IP4_TCP.unpack_from(
                data, ip
            )
            if protocol != IPPROTO_TCP:
                self.ignored += 1
                return
            key = data[ip + 12 : ip + 24]
            tcp = ip + 20
            if fragment & 0x3FFF:
                self._count_fragment(fragment & 0x1FFF, source, target)
                return
            if total:  # 0: larger than 64 KB, by segmentation offload
                wire_end = ip + total
        else:
            found = self._find_tcp(data, ip, end, wire_end)
            if not found:
                return
            tcp, wire_end, key = found
            source, target, number, acked, bits = _TCP.unpack_from(data, tcp)
        if time_ns <= self.time_ns:
            time_ns = self.time_ns
        else:
            self.time_ns = time_ns
        payload = tcp + (bits >> 10 & 0x3C)
        length = wire_end - payload
        if length < 0 or payload < tcp + 20:
            self.ignored += 1
            return
        half = self._halves.get(key)
        if half is None:
            half = self._begin(key, source, target, bits)
            if half is None:
                return
        self.packets += 1
        if number == half.next and bits & TCP_FLAGS == TCP_ACK and not half.held:
            other = half.other
            if acked != other.next and (acked - other.next) & WRAP < WINDOW_MAX:
                self._cover(other, acked)
            if length:
                half.next = (number + length) & WRAP
                flow = half.flow
                self.segments.append(
                    (
                        half.kind,
                        time_ns,
                        flow.sock_id,
                        flow.port,
                        flow.peer_port,
                        number,
                        length,
                        data[payload : min(end, wire_end)],
                        -1,
                    )
                )
        else:
            self._follow(half, number, acked, bits, length, data[payload : min(end, wire_end)])

    def _find_tcp(
        self, data: bytes, ip: int, end: int, wire_end: int
    ) -> Optional[Tuple[int, int, bytes]]:
        """IPv4 with options, or IPv6: (where TCP begins, where it ends, addresses and ports)."""
        version = data[ip] >> 4 if end > ip else 0
        protocol = fragment = -1
        if version == 4 and end - ip >= 20:
            tcp = ip + (data[ip] & 15) * 4
            total, fragment, protocol = _IP4.unpack_from(data, ip)
            wire_end = ip + total if total else wire_end
            addresses = data[ip + 12 : ip + 20]
        elif version == 6 and end - ip >= 40:
            tcp = ip + 40
            total = int.from_bytes(data[ip + 4 : ip + 6], "big")
            wire_end = tcp + total if total else wire_end
            addresses = data[ip + 8 : tcp]
            tcp, protocol, fragment = skip_extensions(data, tcp, end, data[ip + 6])
        if protocol != IPPROTO_TCP or tcp < ip + 20 or end - tcp < 20:
            self.ignored += 1
            return None
        if fragment & 0x3FFF:
            self._count_fragment(fragment & 0x1FFF, *struct.unpack_from(">HH", data, tcp))
            return None
        return tcp, wire_end, addresses + data[tcp : tcp + 4]

    def _count_fragment(self, offset: int, source: int, target: int) -> None:
        # Only the first fragment has ports. The data is missed when it is acknowledged.
        if not offset and (source in self._ports or target in self._ports):
            self.fragments += 1
        else:
            self.ignored += 1

    # -- connections --

    def _begin(self, key: bytes, source: int, target: int, bits: int) -> Optional[Half]:
        """The direction of a packet of a connection that is not known yet; None: not ours."""
        to_server = target in self._ports
        if to_server and source in self._ports:  # the server is who was asked to connect
            if bits & TCP_SYN:
                to_server = not bits & TCP_ACK
            else:
                to_server = target <= source
        elif not to_server and source not in self._ports:
            self.ignored += 1
            return None
        if bits & TCP_RST:  # the end of nothing, or the refusal of a connection
            self.ignored += 1
            return None
        if len(self._halves) >= 2 * self.FLOWS_MAX:
            oldest = next(iter(self._halves.values())).flow
            self._end(oldest)
            self._forget(oldest)
        return self._add_flow(key, to_server)

    def _add_flow(self, key: bytes, to_server: bool) -> Half:
        """A new connection; returns the direction that the key stands for."""
        size = (len(key) - 4) // 2
        back = key[size : 2 * size] + key[:size] + key[-2:] + key[-4:-2]
        peer_port, port = struct.unpack(">HH", key[-4:] if to_server else back[-4:])
        self._last_id += 1
        flow = Flow(self._last_id, port, peer_port)
        half = flow.client if to_server else flow.server
        flow.keys = (key, back) if to_server else (back, key)
        flow.time_ns = self.time_ns
        self._halves[key] = half
        self._halves[back] = half.other
        return half

    def _renew(self, half: Half, to_server: bool) -> Half:
        """Another connection between the same endpoints; the same direction of it."""
        flow = half.flow
        self._end(flow)
        self._forget(flow)
        return self._add_flow(flow.keys[half is flow.server], to_server)

    def _forget(self, flow: Flow) -> None:
        for key in flow.keys:
            self._halves.pop(key, None)

    def _open(self, flow: Flow) -> None:
        """The handshake is over."""
        assert flow.opening
        received, sent = flow.opening
        flow.opening = None
        flow.client.next, flow.server.next = received, sent
        self._emit(OPEN, flow, received, sent)

    def _end(self, flow: Flow) -> None:
        """The connection ends here. Nothing more fills its holes."""
        if flow.ended:
            return
        flow.ended = True
        flow.time_ns = self.time_ns
        self._flush(flow.client)
        self._flush(flow.server)
        if flow.client.next >= 0 or flow.server.next >= 0:
            self._emit(CLOSE, flow, max(flow.client.next, 0), max(flow.server.next, 0))

    def _emit(self, kind: int, flow: Flow, offset: int, length: int, data: bytes = b"") -> None:
        self.segments.append(
            (kind, self.time_ns, flow.sock_id, flow.port, flow.peer_port, offset, length, data, -1)
        )

    # -- what is not plainly the next data --

    def _follow(
        self, half: Half, number: int, acked: int, bits: int, length: int, data: bytes
    ) -> None:
        """A packet that begins or ends something, or is not the next in order."""
        flow = half.flow
        flow.time_ns = self.time_ns
        if bits & TCP_SYN:
            self._shake_hands(half, number, acked, bits)
            return
        if flow.opening and not bits & TCP_RST:
            self._open(flow)
        if half.next < 0 and not bits & TCP_RST and (length or bits & TCP_FIN):
            half.next = number  # joined in the middle
        away = (number - half.next) & WRAP
        if half.next >= 0 and WINDOW_MAX <= away <= WRAP - WINDOW_MAX:
            flow.strange += 1
            if flow.strange < self.STRANGE_MAX or bits & TCP_RST:
                self.ignored += 1
                return
            half = self._renew(half, half is flow.client)  # its beginning was missed
            flow = half.flow
            half.next = number
        away = (acked - half.other.next) & WRAP
        if bits & TCP_ACK and (half.other.next < 0 or away < WINDOW_MAX):
            self._cover(half.other, acked)
        if half.next < 0:
            return
        if bits & TCP_RST:
            if (number - half.next) & WRAP < WINDOW_MAX:
                self._end(flow)
            return
        if bits & TCP_FIN and half.fin < 0:
            half.fin = (number + length) & WRAP
        if length:
            self._take(half, number, length, data)
        self._finish_half(half)

    def _shake_hands(self, half: Half, number: int, acked: int, bits: int) -> None:
        """SYN or SYN-ACK. That of another connection ends this one: the port is used again."""
        flow = half.flow
        answer = bool(bits & TCP_ACK)
        client_isn = (acked - 1) & WRAP if answer else number
        if flow.client_isn not in (client_isn, -1) or (
            flow.client_isn == -1 and (flow.client.next >= 0 or flow.server.next >= 0)
        ):
            half = self._renew(half, not answer)
            flow = half.flow
        elif half is not (flow.server if answer else flow.client):
            self.ignored += 1  # two servers that connect to each other at once
            return
        flow.client_isn = client_isn
        if answer and flow.client.next < 0 and flow.server.next < 0:
            flow.opening = (acked, (number + 1) & WRAP)

    def _take(self, half: Half, number: int, length: int, data: bytes) -> None:
        """Payload that may be old, new, early, or some of each."""
        behind = (half.next - number) & WRAP
        if 0 < behind < WINDOW_MAX:
            if behind >= length:
                return
            number, length, data = half.next, length - behind, data[behind:]
        if number == half.next and not half.held:
            half.next = (number + length) & WRAP
            self._emit(half.kind, half.flow, number, length, data)
            return
        self._held_total -= half.held_bytes
        half.hold(number, length, data)
        self._held_total += half.held_bytes
        self._deliver_held(half)
        if (
            half.held_bytes > self.HELD_MAX
            or len(half.held) > self.HELD_PIECES_MAX
            or self._held_total > self.HELD_TOTAL_MAX
        ):
            self._flush(half)

    def _deliver_held(self, half: Half) -> None:
        """All that is held and follows without a hole."""
        held = half.held
        count = 0
        for number, length, data in held:
            if number != half.next:
                break
            half.next = (number + length) & WRAP
            self._emit(half.kind, half.flow, number, length, data)
            half.held_bytes -= len(data)
            self._held_total -= len(data)
            count += 1
        del held[:count]

    def _cover(self, half: Half, acked: int) -> None:
        """The receiver has all bytes before `acked`: what we do not have is a gap."""
        if half.next < 0:
            half.next = acked
        if half.fin >= 0 and acked == (half.fin + 1) & WRAP:
            acked = half.fin
        while 0 < (acked - half.next) & WRAP < WINDOW_MAX:
            missing = (acked - half.next) & WRAP
            if half.held:
                missing = min(missing, (half.held[0][0] - half.next) & WRAP)
            self._report_gap(half, missing)
            self._deliver_held(half)
        self._finish_half(half)

    def _flush(self, half: Half) -> None:
        """Deliver all that is held, with a gap for each hole."""
        while half.held:
            self._report_gap(half, (half.held[0][0] - half.next) & WRAP)
            self._deliver_held(half)

    def _report_gap(self, half: Half, length: int) -> None:
        if length:
            self.gaps += 1
            self.gap_bytes += length
            number = half.next
            half.next = (number + length) & WRAP
            self._emit(half.kind, half.flow, number, length)

    def _finish_half(self, half: Half) -> None:
        """Is this direction at its FIN? And the other one too?"""
        if half.fin >= 0 and half.next == half.fin:
            half.next = (half.fin + 1) & WRAP
            other = half.other
            if other.fin >= 0 and other.next == (other.fin + 1) & WRAP:
                self._end(half.flow)

    # -- for whoever reads --

    def take(self) -> List[Segment]:
        """The segments since the last call."""
        segments, self.segments = self.segments, []
        if self.time_ns - self._swept_ns > self.SWEEP_NS:
            self._swept_ns = self.time_ns
            self._sweep()
        return segments

    def _sweep(self) -> None:
        """Forget connections that ended, and end those of which one side did long ago."""
        too_old = self.time_ns - self.FORGET_NS
        for flow in {id(half): half.flow for half in self._halves.values()}.values():
            if flow.time_ns < too_old:
                if flow.ended:
                    self._forget(flow)
                elif flow.client.fin >= 0 or flow.server.fin >= 0:
                    self._end(flow)

    def finish(self) -> None:
        """No more packets will come: what waits is delivered, holes are gaps."""
        for half in self._halves.values():
            self._flush(half)


def skip_extensions(data: bytes, at: int, end: int, protocol: int) -> Tuple[int, int, int]:
    """IPv6 extension headers: (what follows them, its protocol, IPv4's fragment field)."""
    fragment = 0
    for _ in range(IP6_EXTENSIONS_MAX):
        if at + 8 > end:
            break
        if protocol == IP6_FRAGMENT:
            word = int.from_bytes(data[at + 2 : at + 4], "big")
            fragment = word >> 3 | (word & 1) << 13
            protocol, at = data[at], at + 8
        elif protocol == 51:  # authentication, which counts in fours
            protocol, at = data[at], at + (data[at + 1] + 2) * 4
        elif protocol in IP6_EXTENSIONS:
            protocol, at = data[at], at + (data[at + 1] + 1) * 8
        else:
            break
        if fragment & 0x1FFF:
            break  # what follows is in the middle of something
    return at, protocol, fragment


# ---- Link layers: where does the IP packet begin? ----

_IP_TYPES = (b"\x08\x00", b"\x86\xdd")
_VLAN_TYPES = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")


def after_type(data: bytes, at: int, end: int) -> int:
    """Where IP begins, given that an Ethernet type stands at data[at]; -1: no IP."""
    kind = data[at : at + 2]
    while kind in _VLAN_TYPES and at < end:
        at += 4
        kind = data[at : at + 2]
    return at + 2 if kind in _IP_TYPES else -1


def ip_in_ethernet(data: bytes, start: int, end: int) -> int:
    """Link type 1, with VLAN tags or without."""
    if data[start + 12 : start + 14] == b"\x08\x00":
        return start + 14
    return after_type(data, start + 12, end)


def ip_in_sll(data: bytes, start: int, end: int) -> int:
    """Link type 113, tcpdump's "any"."""
    return after_type(data, start + 14, end)


def ip_in_sll2(data: bytes, start: int, end: int) -> int:
    """Link type 276, the newer "any": the type comes first, and tags after the header."""
    kind = data[start : start + 2]
    if kind in _VLAN_TYPES:
        return after_type(data, start + 22, end)
    return start + 20 if kind in _IP_TYPES else -1


def ip_at_once(_data: bytes, start: int, _end: int) -> int:
    """Link types 12, 14, 101, 228, 229: there is no link layer."""
    return start


def ip_in_loop(_data: bytes, start: int, _end: int) -> int:
    """Link types 0 and 108: four bytes of address family, of any byte order."""
    return start + 4


FindIp = Callable[[bytes, int, int], int]
LINKS: Dict[int, FindIp] = {
    0: ip_in_loop,
    1: ip_in_ethernet,
    12: ip_at_once,
    14: ip_at_once,
    101: ip_at_once,
    108: ip_in_loop,
    113: ip_in_sll,
    228: ip_at_once,
    229: ip_at_once,
    276: ip_in_sll2,
}


# ---- Capture files ----


class CaptureError(SourceError):
    """A file is no capture, or none that can be read."""


CAPTURE_HINT = "SOURCE can be a .pcap or .pcapng file, as tcpdump -w writes it, or - for a pipe"
CAPTURE_PACKET_MAX = 16 << 20  # bytes; more than any packet has, so the file is damaged

# magic -> (byte order, nanoseconds of a unit of the times' second half)
PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
PCAPNG_MAGIC = b"\n\r\r\n"
PCAPNG_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
OTHER_MAGICS = {
    b"\x1f\x8b": "is compressed with gzip; use: zcat FILE | membench.py record - OUTPUT",
    b"\x28\xb5\x2f\xfd": "is compressed; use: zstdcat FILE | membench.py record - OUTPUT",
    b"\x34\xcd\xb2\xa1": "is a capture of a kind that was given up; convert it with editcap",
    b"membench": "is a profile already; use: membench.py analyze FILE",
}


class CutError(Exception):
    """What follows in a capture cannot be a packet."""


class PcapParser:
    """Packets of a pcap file. Raises CaptureError for a link type that is not known."""

    HEADER_BYTES = 24
    hook = "pcap"

    def __init__(self, header: bytes) -> None:
        order, self._unit_ns = PCAP_MAGICS[header[:4]]
        self._record = struct.Struct(order + "IIII")
        link = struct.unpack_from(order + "I", header, 20)[0] & 0xFFFF
        if link not in LINKS:
            raise CaptureError(
                f"the capture's link type {link} is not supported",
                "capture with tcpdump on an Ethernet interface, or with -i any",
            )
        self._find_ip = LINKS[link]

    def parse(self, data: bytes, add: Callable[[int, bytes, int, int, int], None]) -> int:
        """Hand all whole packets to add (see Reassembler.add); where the rest begins.

        Raises CutError, after having set `parsed`, the place of what is no packet.
        """
        unpack = self._record.unpack_from
        find_ip, unit_ns = self._find_ip, self._unit_ns
        at, last = 0, len(data) - 16
        while at <= last:
            seconds, fraction, captured, length = unpack(data, at)
            start = at + 16
            end = start + captured
            if captured > CAPTURE_PACKET_MAX:
                raise CutError
            if end > len(data):
                break
            ip = find_ip(data, start, end)
            if ip >= 0:
                add(seconds * NS_PER_SECOND + fraction * unit_ns, data, ip, end, start + length)
            at = end
        return at


class PcapngParser:
    """Packets of a pcapng file: sections, each with interfaces of its own."""

    HEADER_BYTES = 0  # all is in blocks
    hook = "pcapng"
    SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET = 0x0A0D0D0A, 1, 2, 3, 6
    IF_TSRESOL, IF_TSOFFSET = 9, 14

    def __init__(self, _header: bytes) -> None:
        self._order = "<"
        self._time_ns = 0
        # (link layer or None, times' units a second, offset in ns, longest capture)
        self._interfaces: List[Tuple[Optional[FindIp], int, int, int]] = []

    def parse(self, data: bytes, add: Callable[[int, bytes, int, int, int], None]) -> int:
        """See PcapParser.parse."""
        at = 0
        blocks = struct.Struct(self._order + "II")
        packets = struct.Struct(self._order + "IIIII")
        while at + 12 <= len(data):
            if data[at : at + 4] == PCAPNG_MAGIC:
                self._begin_section(data[at + 8 : at + 12])
                blocks = struct.Struct(self._order + "II")
                packets = struct.Struct(self._order + "IIIII")
            kind, length = blocks.unpack_from(data, at)
            if length < 12 or length > CAPTURE_PACKET_MAX:
                raise CutError
            end = at + (length + 3 & ~3)
            if end > len(data):
                break
            body, end_body = at + 8, at + length - 4
            if kind == self.PACKET and length >= 32:
                number, high, low, captured, wire = packets.unpack_from(data, body)
                if captured <= end_body - body - 20:
                    self._add(number, high << 32 | low, data, body + 20, captured, wire, add)
            elif kind == self.INTERFACE and length >= 20:
                self._add_interface(data[body:end_body])
            elif kind == self.SIMPLE_PACKET and length >= 16 and self._interfaces:
                (wire,) = struct.unpack_from(self._order + "I", data, body)
                captured = min(wire, end_body - body - 4, self._interfaces[0][3] or wire)
                self._add(0, None, data, body + 4, captured, wire, add)
            elif kind == self.OLD_PACKET and length >= 32:
                number, high, low, captured, wire = packets.unpack_from(data, body)
                if captured <= end_body - body - 20:
                    number = struct.unpack_from(self._order + "H", data, body)[0]
                    self._add(number, high << 32 | low, data, body + 20, captured, wire, add)
            at = end
        return at

    def _begin_section(self, magic: bytes) -> None:
        if magic not in PCAPNG_ORDERS:
            raise CutError
        self._order = PCAPNG_ORDERS[magic]
        self._interfaces = []

    def _add_interface(self, body: bytes) -> None:
        link, _, longest = struct.unpack_from(self._order + "HHI", body)
        units, offset_ns, at = 1_000_000, 0, 8
        while at + 4 <= len(body):
            code, length = struct.unpack_from(self._order + "HH", body, at)
            value = body[at + 4 : at + 4 + length]
            if code == self.IF_TSRESOL and length == 1 and value:
                power = value[0] & 0x7F
                units = 2**power if value[0] & 0x80 else 10 ** min(power, 30)
            elif code == self.IF_TSOFFSET and len(value) == 8:
                offset_ns = struct.unpack(self._order + "q", value)[0] * NS_PER_SECOND
            elif not code:
                break
            at += 4 + (length + 3 & ~3)
        self._interfaces.append((LINKS.get(link), units, offset_ns, longest))

    def _add(
        self,
        number: int,
        stamp: Optional[int],
        data: bytes,
        start: int,
        captured: int,
        wire: int,
        add: Callable[[int, bytes, int, int, int], None],
    ) -> None:
        """One packet of the interface of this number; no stamp: at the time of the last."""
        if number >= len(self._interfaces):
            return
        find_ip, units, offset_ns, _ = self._interfaces[number]
        if stamp is not None:
            time_ns = stamp * NS_PER_SECOND // units + offset_ns
            self._time_ns = min(max(time_ns, 0), CAPTURE_TIME_MAX_NS)
        ip = find_ip(data, start, start + captured) if find_ip else -1
        if ip >= 0:
            add(self._time_ns, data, ip, start + captured, start + wire)


CAPTURE_TIME_MAX_NS = 1 << 62  # whatever a damaged file says


class CaptureSource:
    """Packets of a pcap or pcapng file, or of a pipe. Times are the packets' own.

    Raises CaptureError for what is no capture. One that ends within a packet, or goes on
    with what is none, is read up to there; `remarks` says so.
    """

    reads = False
    CHUNK_BYTES = 1 << 18

    def __init__(self, path: str, ports: Sequence[int]) -> None:
        self.name = "-" if path == "-" else os.path.basename(path)
        self.hook = "capture"
        self.remarks: List[str] = []
        self._title = "the capture on stdin" if path == "-" else printable(path)
        self._reassembler = Reassembler(ports)
        self._parser: Any = None  # PcapParser or PcapngParser, when its first bytes are there
        self._rest = b""
        self._over = False
        self._totals = [0, 0]
        self._first: Optional[List[Segment]] = None
        self._start_ns = -1
        try:
            self._file: BinaryIO = (
                open(0, "rb", buffering=0, closefd=False)
                if path == "-"
                else open(path, "rb", buffering=0)
            )
            mode = os.fstat(self._file.fileno()).st_mode
        except OSError as error:
            raise CaptureError(
                f"cannot read {printable(path)}: {error.strerror}", CAPTURE_HINT
            ) from None
        self._waits = not stat.S_ISREG(mode)
        if path == "-" and os.isatty(0):
            raise CaptureError("a capture does not come from a terminal", CAPTURE_HINT)

    def __enter__(self) -> CaptureSource:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def started(self, timeout_ms: int) -> Optional[Tuple[int, float]]:
        """See Source.started: the time of the first packet."""
        if self._start_ns < 0 and not self._over:
            self._fill(timeout_ms)
        if self._start_ns < 0 and self._over:
            return 0, time.time()
        return None if self._start_ns < 0 else (self._start_ns, self._start_ns / NS_PER_SECOND)

    def now(self) -> int:
        """See Source.now: the time of the last packet."""
        return max(self._reassembler.time_ns, 0)

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """See Source.read; None at the end of the file."""
        if not self._over and not self._reassembler.segments:
            self._fill(timeout_ms)
        segments = self._reassembler.take()
        for kind, _, _, _, _, _, length, _, _ in segments:
            if kind <= SEND:
                self._totals[kind] += length
        return segments if segments or not self._over else None

    def stop(self) -> None:
        """See Source.stop."""
        if not self._over:
            self._over = True
            self._reassembler.finish()

    def counters(self) -> Dict[str, int]:
        """See Source.counters."""
        return packet_counters(self._reassembler, self._totals)

    def _fill(self, timeout_ms: int) -> None:
        """Read and parse some more."""
        if self._waits and not select.select([self._file], [], [], timeout_ms / 1000)[0]:
            return
        try:
            chunk = self._file.read(self.CHUNK_BYTES)
        except OSError as error:
            raise CaptureError(
                f"cannot read {self._title}: {error.strerror}", CAPTURE_HINT
            ) from None
        if chunk:
            self._rest += chunk
            try:
                self._parse()
            except CutError:
                self._finish("is damaged; what comes before was read")
        elif self._parser is None:
            raise self._no_capture("is too short for a capture" if self._rest else "is empty")
        else:
            self._finish("was cut; what is whole was read" if self._rest else "")

    def _parse(self) -> None:
        if self._parser is None:
            self._parser = self._choose_parser()
            if self._parser is None:
                return
            self._rest = self._rest[self._parser.HEADER_BYTES :]
        add = self._reassembler.add if self._start_ns >= 0 else self._add_first
        self._rest = self._rest[self._parser.parse(self._rest, add) :]

    def _add_first(self, time_ns: int, data: bytes, ip: int, end: int, wire_end: int) -> None:
        """As Reassembler.add, and remember when it all began."""
        if self._start_ns < 0:
            self._start_ns = time_ns
        self._reassembler.add(time_ns, data, ip, end, wire_end)

    def _choose_parser(self) -> Any:
        """The parser for these first bytes; None: there are too few. Raises CaptureError."""
        head = self._rest
        for magic, why in OTHER_MAGICS.items():
            if head.startswith(magic):
                raise CaptureError(f"{self._title} is no capture", f"it {why}")
        if len(head) < PcapParser.HEADER_BYTES:
            known = (PCAPNG_MAGIC, *PCAP_MAGICS)
            if not any(magic.startswith(head[:4]) or head.startswith(magic) for magic in known):
                raise self._no_capture("is no capture")
            return None
        if head[:4] in PCAP_MAGICS:
            self.hook = PcapParser.hook
            return PcapParser(head)
        if head[:4] == PCAPNG_MAGIC and head[8:12] in PCAPNG_ORDERS:
            self.hook = PcapngParser.hook
            return PcapngParser(head)
        raise self._no_capture("is no capture")

    def _no_capture(self, why: str) -> CaptureError:
        return CaptureError(f"{self._title} {why}", CAPTURE_HINT)

    def _finish(self, remark: str) -> None:
        if remark:
            self.remarks.append(f"{self._title} {remark}")
        self._over = True
        self._rest = b""
        self._reassembler.finish()


def packet_counters(reassembler: Reassembler, totals: Sequence[int]) -> Dict[str, int]:
    """What a source of packets counts; totals are the bytes received and sent."""
    return {
        "recv_bytes": totals[RECV],
        "send_bytes": totals[SEND],
        "events": reassembler.packets,
        "gaps": reassembler.gaps,
        "gap_bytes": reassembler.gap_bytes,
        "fragments": reassembler.fragments,
        "ignored_packets": reassembler.ignored,
    }


def is_capture(path: str) -> bool:
    """Is there a file of this name that begins as a capture does?"""
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                magic = file.read(4)
            return magic in PCAP_MAGICS or magic == PCAPNG_MAGIC
    return False


# ---- Live packets ----

# From the kernel's if_packet.h, if_ether.h, socket.h and filter.h.
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 5, 6, 10
TPACKET_V3 = 2
TP_STATUS_USER = 1
SO_ATTACH_FILTER = 26
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
PACKET_OUTGOING = 4
CAP_NET_RAW = 13

_RING_REQUEST = struct.Struct("=7I")  # struct tpacket_req3
_BLOCK = struct.Struct("=8x4I")  # status, packets, offset of the first, bytes
# struct tpacket3_hdr: next, seconds, nanoseconds, captured, length, status, offsets of the
# link layer and of the network layer; then, of struct sockaddr_ll, the hardware type.
_FRAME = struct.Struct("=IIIIIIHH28xH")
_FRAME_HATYPE_AT = 56
assert _FRAME.size == _FRAME_HATYPE_AT + 2

# Classic BPF: (code, constant, label if true, label if false).
Instruction = Tuple[int, int, str, str]
LD_HALF, LD_BYTE, LD_X_HALF, LDX_HEADER = 0x28, 0x30, 0x48, 0xB1
LD_WORD, ST, LD_MEM, AND, RET = 0x20, 0x02, 0x60, 0x54, 0x06
JUMP, JEQ, JSET = 0x05, 0x15, 0x45
SKF_AD_PROTOCOL, SKF_AD_PKTTYPE, SKF_AD_HATYPE = 0xFFFFF000, 0xFFFFF004, 0xFFFFF000 + 28
SKF_NET = 0xFFF00000  # loads from the network layer on


class FilterProgram:
    """A classic BPF program in the making; labels stand for places further down.

    Conditional jumps reach 255 instructions far, so each branches around an unconditional one
    where a label is given.
    """

    def __init__(self) -> None:
        self._code: List[Tuple[int, int, int, int]] = []
        self._jumps: List[Tuple[int, str]] = []
        self._labels: Dict[str, int] = {}

    def do(self, code: int, constant: int = 0) -> None:
        """Any instruction that does not jump."""
        self._code.append((code, 0, 0, constant))

    def mark(self, label: str) -> None:
        """The next instruction is what the label stands for."""
        self._labels[label] = len(self._code)

    def jump(self, label: str) -> None:
        """Go on at the label."""
        self._jumps.append((len(self._code), label))
        self.do(JUMP)

    def jump_if(self, label: str, *constants: int, test: int = JEQ) -> None:
        """Go on at the label if the accumulator equals one of these, or has these bits."""
        for constant in constants:
            self._code.append((test, 0, 1, constant))
            self.jump(label)

    def jump_unless(self, label: str, constant: int, test: int = JEQ) -> None:
        """Go on at the label if the accumulator does not equal this."""
        self._code.append((test, 1, 0, constant))
        self.jump(label)

    def assemble(self) -> bytes:
        """As an array of struct sock_filter."""
        code = list(self._code)
        for place, label in self._jumps:
            code[place] = (JUMP, 0, 0, self._labels[label] - place - 1)
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


FILTER_PORTS_MAX = 900  # a program has 4,096 instructions at most
_ACCEPT_BYTES = 0x7FFFFFFF


def port_filter(ports: Sequence[int]) -> bytes:
    """A filter for TCP packets from or to the ports, as an array of struct sock_filter.

    Takes IPv4, with options; IPv6, and all of IPv6 that has extension headers; up to two VLAN
    tags. Of fragments it takes the first, which alone has ports. Loopback shows each packet
    as it leaves and as it comes; the second is taken.
    """
    program = FilterProgram()
    program.do(LD_WORD, SKF_AD_HATYPE)
    program.jump_if("ethernet", ARPHRD_ETHER)
    program.jump_if("loopback", ARPHRD_LOOPBACK)
    program.do(LD_HALF, SKF_AD_PROTOCOL)
    _filter_ip(program, "bare", SKF_NET)
    program.mark("loopback")
    program.do(LD_WORD, SKF_AD_PKTTYPE)
    program.jump_if("drop", PACKET_OUTGOING)
    program.mark("ethernet")
    for tags in range(3):
        type_at = 12 + 4 * tags
        program.do(LD_HALF, type_at)
        if tags < 2:
            program.jump_if(f"tag {tags}", 0x8100, 0x88A8, 0x9100)
        _filter_ip(program, f"{tags} tags", type_at + 2)
        program.mark(f"tag {tags}")
    # The kernel's check of what is in memory goes on behind a return, so here is none.
    program.jump("drop")
    program.mark("ports")  # one in the accumulator, one in memory
    for step in range(2):
        if len(ports) > FILTER_PORTS_MAX:
            program.jump("accept")
        else:
            program.jump_if("accept", *ports)
        if not step:
            program.do(LD_MEM, 0)
    program.mark("drop")
    program.do(RET, 0)
    program.mark("accept")
    program.do(RET, _ACCEPT_BYTES)
    return program.assemble()


def _filter_ip(program: FilterProgram, name: str, base: int) -> None:
    """The Ethernet type is in the accumulator; IP, if it is IP, begins at base."""
    program.jump_if(f"{name} IPv4", 0x0800)
    program.jump_unless("drop", 0x86DD)
    program.do(LD_BYTE, base + 6)
    program.jump_if("accept", *sorted(IP6_EXTENSIONS), IP6_FRAGMENT)
    program.jump_unless("drop", IPPROTO_TCP)
    program.do(LD_HALF, base + 40)
    program.do(ST, 0)
    program.do(LD_HALF, base + 42)
    program.jump("ports")
    program.mark(f"{name} IPv4")
    program.do(LD_BYTE, base + 9)
    program.jump_unless("drop", IPPROTO_TCP)
    program.do(LD_HALF, base + 6)
    program.jump_if("drop", 0x1FFF, test=JSET)
    program.do(LDX_HEADER, base)
    program.do(LD_X_HALF, base)
    program.do(ST, 0)
    program.do(LD_X_HALF, base + 2)
    program.jump("ports")


class PacketSource:
    """Packets of this machine's network interfaces. interface None means any.

    An AF_PACKET socket with a filter for the ports and a ring in shared memory (TPACKET_V3).
    Raises SourceError with the reason where this machine cannot do it.
    """

    reads = False
    BLOCK_BYTES = 1 << 20  # the largest packets must fit into one
    FRAME_BYTES = 2048
    RETIRE_MS = 20  # after which a block that is not full is handed over

    def __init__(
        self, ports: Sequence[int], interface: Optional[str] = None, ring_mib: int = 64
    ) -> None:
        self.name = f"packet:{interface or 'any'}"
        self.hook = "tpacket_v3"
        self.remarks: List[str] = []
        self._reassembler = Reassembler(ports)
        self._totals = [0, 0]
        self._dropped = 0
        self._block = 0
        self._stopped = False
        require_packets()
        if interface:
            interface_index(interface)
        with contextlib.ExitStack() as stack:
            try:
                self._open(stack, interface, port_filter(ports), max(ring_mib, 2))
            except OSError as error:
                raise SourceError(
                    f"cannot capture packets on {printable(interface or 'any')}: {error.strerror}",
                    "membench.py check says what would work here",
                ) from None
            self._stack = stack.pop_all()
        # The kernel's times are the calendar's, the profile's those of a clock that runs on.
        self._clock_ns = time.monotonic_ns() - time.time_ns()

    def _open(
        self, stack: contextlib.ExitStack, interface: Optional[str], program: bytes, blocks: int
    ) -> None:
        # A socket that is for all packets from its birth is on all interfaces. What comes
        # before the filter is there never gets into the ring.
        protocol = 0 if interface else socket.htons(ETH_P_ALL)
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket = stack.enter_context(opened)
        self._attach(program)
        opened.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        frames = self.BLOCK_BYTES // self.FRAME_BYTES * blocks
        opened.setsockopt(
            SOL_PACKET,
            PACKET_RX_RING,
            _RING_REQUEST.pack(
                self.BLOCK_BYTES, blocks, self.FRAME_BYTES, frames, self.RETIRE_MS, 0, 0
            ),
        )
        self._blocks = blocks
        self._ring = stack.enter_context(
            contextlib.closing(mmap.mmap(opened.fileno(), self.BLOCK_BYTES * blocks))
        )
        if interface:
            opened.bind((interface, ETH_P_ALL))

    def _attach(self, program: bytes) -> None:
        """Let only those packets in that the program accepts."""
        code = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # sock_fprog
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)

    def __enter__(self) -> PacketSource:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def started(self, _timeout_ms: int) -> Optional[Tuple[int, float]]:
        """See Source.started."""
        return time.monotonic_ns(), time.time()

    def now(self) -> int:
        """See Source.now."""
        return time.monotonic_ns()

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """See Source.read."""
        if not self._is_ready() and timeout_ms:
            # A poll that a signal interrupts goes on, so this one is short; see Stop.
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | select.POLLERR)
            poll.poll(timeout_ms)
        for _ in range(4):  # some at once, so that other work is not done for each
            if not self._is_ready():
                break
            self._read_block()
        else:
            return self._take()
        if self._stopped:
            self._reassembler.finish()
        return self._take()

    def _take(self) -> List[Segment]:
        segments = self._reassembler.take()
        for kind, _, _, _, _, _, length, _, _ in segments:
            if kind <= SEND:
                self._totals[kind] += length
        return segments

    def _is_ready(self) -> bool:
        """Has the kernel handed over the next block?"""
        status = _BLOCK.unpack_from(self._ring, self._block * self.BLOCK_BYTES)[0]
        return bool(status & TP_STATUS_USER)

    def _read_block(self) -> None:
        begin = self._block * self.BLOCK_BYTES
        _, packets, at, size = _BLOCK.unpack_from(self._ring, begin)
        data = self._ring[begin : begin + min(size, self.BLOCK_BYTES)]
        struct.pack_into("=I", self._ring, begin + 8, 0)  # the kernel's again
        self._block = (self._block + 1) % self._blocks
        parse_block(data, packets, at, self._clock_ns, self._reassembler.add)

    def stop(self) -> None:
        """See Source.stop. Waits until the kernel has handed over what it holds."""
        if not self._stopped:
            self._stopped = True
            self._attach(struct.pack("=HBBI", RET, 0, 0, 0))
            time.sleep(4 * self.RETIRE_MS / 1000)

    def counters(self) -> Dict[str, int]:
        """See Source.counters; dropped_events are packets that the ring had no room for."""
        # Reading them sets them to zero.
        counts = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12)
        self._dropped += struct.unpack("=III", counts)[1]
        counted = packet_counters(self._reassembler, self._totals)
        # How much was in them nobody knows; that they were as large as the others is a guess,
        # but that they held nothing beyond the gaps that were noticed would be a worse one.
        mean = sum(self._totals) / max(counted["events"], 1)
        missed = max(int(self._dropped * mean) - counted["gap_bytes"], 0)
        return {**counted, "dropped_events": self._dropped, "missed_bytes": missed}


def parse_block(
    data: bytes,
    packets: int,
    at: int,
    clock_ns: int,
    add: Callable[[int, bytes, int, int, int], None],
) -> None:
    """Hand the packets of a block of the ring to add (see Reassembler.add).

    at: where the first one is; clock_ns is added to their times.
    """
    unpack = _FRAME.unpack_from
    for _ in range(packets):
        after, seconds, ns, captured, length, _, mac, net, hatype = unpack(data, at)
        start = at + mac
        end = start + captured
        if hatype in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
            # A tag that the kernel has taken out is not missed: it is beside the packet.
            ip = ip_in_ethernet(data, start, end)
        else:
            ip = at + net
        if ip >= 0:
            add(seconds * NS_PER_SECOND + ns + clock_ns, data, ip, end, start + length)
        at += after


def require_packets() -> None:
    """Raise SourceError with what to do, unless this process may capture packets."""
    if not hasattr(socket, "AF_PACKET"):
        raise SourceError(
            f"live packets need Linux; this is {platform.system()}",
            "record a file there: tcpdump -w FILE.pcap tcp port 11211",
        )
    if not effective_capabilities() >> CAP_NET_RAW & 1:
        raise SourceError(
            "capturing packets needs root (missing: CAP_NET_RAW)", "run it again with sudo"
        )


# ==== Protocol ========================================================================
#
# Sans-IO: bytes go in, requests and responses come out. The rules:
#   - Values are counted off, never stored, so a gap inside one is no loss.
#   - A line may be cut anywhere; what is kept of it is bounded by LINE_MAX.
#   - A line that memcached refuses is a request too (form b"invalid"): it is answered
#     with an error, and no body follows it, as in memcached.
#   - ProtocolError means that these bytes cannot be followed any further.

_NUMBER = re.compile(rb"[+-]?[0-9]{1,20}\Z")
_META_NUMBER = re.compile(rb"[FNRJDS][0-9]{1,20}\Z")  # flags kept whole in a form
_META_MODE = re.compile(rb"M[A-Za-z+-]\Z")

# storage command -> its words, without noreply
STORAGE = {b"set": 5, b"add": 5, b"replace": 5, b"append": 5, b"prepend": 5, b"cas": 6}
META = (b"mg", b"ms", b"md", b"ma", b"me", b"mn")
META_WORDS_MAX = 19  # command, key and flags
OPAQUE_MAX = 32  # bytes, with the O

# command -> how it is answered, its fewest and most words
ADMIN = {
    b"version": (REPLY_LINE, 1, 999),
    b"verbosity": (REPLY_LINE, 2, 3),
    b"flush_all": (REPLY_LINE, 1, 3),
    b"cache_memlimit": (REPLY_LINE, 2, 3),
    b"slabs": (REPLY_LINE, 1, 999),
    b"lru": (REPLY_LINE, 2, 999),
    b"extstore": (REPLY_LINE, 2, 999),
    b"refresh_certs": (REPLY_LINE, 1, 999),
    b"shutdown": (REPLY_LINE, 1, 999),
    b"stats": (REPLY_STREAM, 1, 999),
    b"lru_crawler": (REPLY_STREAM, 1, 999),
    b"watch": (REPLY_FOREVER, 1, 999),
    b"quit": (REPLY_NONE, 1, 999),
}
ADMIN_NOREPLY = (  # beginnings of the forms that listen to noreply
    b"verbosity",
    b"flush_all",
    b"cache_memlimit",
    b"slabs automove",
    b"lru ",
    b"extstore",
    b"watch",
)
# Words of these commands that may stand in a profile; anything else becomes "?".
_ADMIN_WORD = re.compile(
    rb"(?:[0-9]{1,10}|items|slabs|sizes|settings|conns|reset|detail|on|off|dump|cachedump"
    rb"|extstore|enable|disable|sleep|tocrawl|crawl|metadump|mgdump|hash|all|reassign"
    rb"|automove|mode|tune|temp_ttl|flat|segmented|graceful|noreply|fetchers|mutations"
    rb"|evictions|connevents|deletions|proxy|sizes_enable|sizes_disable)\Z"
)

NOT_TEXT = b"\x80\x16"  # how the binary protocol's requests and TLS begin

NO_BODY = -1
Parsed = Tuple[Request, int]  # and the length of its value, or NO_BODY


def _invalid() -> Parsed:
    return Request(b"invalid", REPLY_LINE), NO_BODY


def _number(word: bytes, lowest: int, highest: int) -> Optional[int]:
    """A decimal within the bounds, or None where memcached would refuse it too."""
    if not (word.isdigit() and len(word) <= 20) and not _NUMBER.match(word):
        return None
    number = int(word)
    return number if lowest <= number <= highest else None


def _number32(word: bytes) -> Optional[int]:
    """A signed number as memcached up to 1.6.39 takes it: any long, cut to 32 bits.

    Later versions refuse what does not fit, but read a body after it all the same.
    """
    number = _number(word, -(2**63), 2**63 - 1)
    return None if number is None else (number + 2**31) % 2**32 - 2**31


def parse_request(line: bytes) -> Parsed:
    """A command line, without its line end."""
    if b"\0" in line:  # to memcached a line is a C string
        line = line[: line.index(b"\0")]
    words = line.split(b" ")
    if b"" in words:  # memcached takes several spaces for one
        words = [word for word in words if word]
        if not words:
            return _invalid()
    command = words[0]
    if command == b"get" or command == b"gets":
        if len(words) == 1:
            return _invalid()
        return Request(command, REPLY_VALUES, words[1:]), NO_BODY
    if command in STORAGE:
        return _parse_storage(command, words)
    if command in META:
        return _parse_meta(command, words)
    if command in ADMIN:
        return _parse_admin(command, words)
    parse = _KEY_COMMANDS.get(command)
    return parse(command, words) if parse else _invalid()


def _parse_gat(command: bytes, words: List[bytes]) -> Parsed:
    if len(words) < 2:
        return _invalid()
    exptime = _number32(words[1])
    if exptime is None:
        return _invalid()
    if len(words) == 2:  # touches nothing; memcached answers END or an error
        return Request(command, REPLY_VALUES, (), NO_SIZE, exptime), NO_BODY
    return Request(command, REPLY_VALUES, words[2:], NO_SIZE, exptime), NO_BODY


def _parse_storage(command: bytes, words: List[bytes]) -> Parsed:
    count = STORAGE[command]
    if not count <= len(words) <= count + 1:
        return _invalid()
    noreply = words[-1] == b"noreply"
    reply = REPLY_NONE if noreply else REPLY_LINE
    flags = _number(words[2], 0, 2**64 - 1)
    exptime = _number32(words[3])
    size = _number32(words[4])
    good = flags is not None and exptime is not None
    good = good and size is not None and 0 <= size <= VALUE_MAX
    if count == 6 and _number(words[5], 0, 2**64 - 1) is None:
        good = False
    if not good or len(words[1]) > KEY_MAX:
        return Request(b"invalid", reply), NO_BODY
    form = command
    if flags:
        form += b" %d" % (flags % 2**32)
    if noreply:
        form += b" noreply"
    assert size is not None and exptime is not None
    return Request(form, reply, (words[1],), size, exptime), size


def _parse_delete(command: bytes, words: List[bytes]) -> Parsed:
    if not 2 <= len(words) <= 4:
        return _invalid()
    noreply = len(words) > 2 and words[-1] == b"noreply"
    return _one_key(command, words, b"", noreply), NO_BODY


def _parse_arithmetic(command: bytes, words: List[bytes]) -> Parsed:
    if not 3 <= len(words) <= 4:
        return _invalid()
    delta = _number(words[2], 0, 2**64 - 1)
    argument = b" ?" if delta is None else b" %d" % delta
    return _one_key(command, words, argument, words[-1] == b"noreply"), NO_BODY


def _parse_touch(command: bytes, words: List[bytes]) -> Parsed:
    if not 3 <= len(words) <= 4:
        return _invalid()
    request = _one_key(command, words, b"", words[-1] == b"noreply")
    request.exptime = _number32(words[2]) or 0
    return request, NO_BODY


def _one_key(command: bytes, words: List[bytes], argument: bytes, noreply: bool) -> Request:
    form = command + argument + (b" noreply" if noreply else b"")
    return Request(form, REPLY_NONE if noreply else REPLY_LINE, (words[1],))


_KEY_COMMANDS: Dict[bytes, Callable[[bytes, List[bytes]], Parsed]] = {
    b"gat": _parse_gat,
    b"gats": _parse_gat,
    b"delete": _parse_delete,
    b"incr": _parse_arithmetic,
    b"decr": _parse_arithmetic,
    b"touch": _parse_touch,
}


def _parse_meta(command: bytes, words: List[bytes]) -> Parsed:
    if command == b"mn":
        return Request(command, REPLY_META), NO_BODY
    if len(words) < 2 or len(words[1]) > KEY_MAX or len(words) > META_WORDS_MAX:
        return _invalid()
    size = NO_BODY
    first_flag = 2
    if command == b"ms":
        number = _number32(words[2]) if len(words) > 2 else None
        if number is None or not 0 <= number <= VALUE_MAX:
            return _invalid()
        size = number
        first_flag = 3
    request = Request(command, REPLY_META, (words[1],), NO_SIZE if size == NO_BODY else size)
    form = [command]
    good = True
    seen = set()
    for word in words[first_flag:]:
        flag = word[:1]
        if flag in seen:
            good = False
            break
        seen.add(flag)
        good = good and _good_flag(command, word)
        if flag == b"q":
            request.quiet = True
        elif flag == b"O":
            request.opaque = word
        elif flag == b"T":
            request.exptime = _number32(word[1:]) or 0
        elif flag == b"b":
            key = _decode_key(words[1])
            good = good and key is not None
            request.keys = (words[1] if key is None else key,)
        keep = _META_NUMBER.match(word) or _META_MODE.match(word)
        form.append(word if keep else flag if flag.isalpha() else b"?")
    request.quiet = request.quiet and good  # a refusal is never left unsaid
    request.form = b" ".join(form)
    return request, size


_META_FLAGS = frozenset(b"bcCDEfFhIJklLMNOPqRsStTuvx")
_META_MODES = {b"ms": b"EAPRSeaprs", b"ma": b"ID+-id"}


def _good_flag(command: bytes, word: bytes) -> bool:
    """Does memcached take this flag? If not, it refuses the whole command."""
    flag, argument = word[0], word[1:]
    if flag in b"NTR":
        return _number32(argument) is not None
    if flag in b"FCJDE":
        return _number(argument, 0, 2**64 - 1) is not None
    if flag == 0x4D:  # M
        return len(argument) == 1 and argument in _META_MODES.get(command, argument)
    return flag in _META_FLAGS and len(word) <= OPAQUE_MAX


def _decode_key(key: bytes) -> Optional[bytes]:
    """The key that memcached stores for a base64 key, or None if it is not one."""
    try:
        return base64.b64decode(key, validate=True) or None
    except ValueError:
        return None


def _parse_admin(command: bytes, words: List[bytes]) -> Parsed:
    reply, fewest, most = ADMIN[command]
    if not fewest <= len(words) <= most:
        return _invalid()
    kept = [word if _ADMIN_WORD.match(word) else b"?" for word in words[1:6]]
    form = b" ".join([command, *kept])
    if words[-1] == b"noreply" and form.startswith(ADMIN_NOREPLY):
        reply = REPLY_NONE
    return Request(form, reply), NO_BODY


class LineReader:
    """What both directions share: lines, and bodies that are counted off.

    partial is the beginning of a line that has not ended yet; skip is how many bytes of
    a body, with its line end, are still to come.
    """

    __slots__ = ("partial", "skip", "body_bytes")

    def __init__(self) -> None:
        self.partial = bytearray()
        self.skip = 0
        self.body_bytes = 0  # of the message whose body is being skipped, header included

    def unfinished_bytes(self) -> int:
        """Bytes taken in of a message that is not complete."""
        return self.body_bytes - self.skip if self.skip else len(self.partial)

    def take(self, data: bytes) -> bytes:
        """Data with the partial line in front of it, or b"" if there is no line end."""
        if not self.partial:
            return data
        if b"\n" not in data:
            self.partial += data
            if len(self.partial) > LINE_MAX:
                raise ProtocolError("line too long")
            return b""
        data = bytes(self.partial) + data
        self.partial = bytearray()
        return data

    def keep(self, rest: bytes) -> None:
        """The data ended within a line."""
        self.partial += rest
        if len(rest) > LINE_MAX:
            raise ProtocolError("line too long")


class RequestParser(LineReader):
    """The requests of one connection, in order."""

    __slots__ = ("fresh", "storing")

    def __init__(self) -> None:
        super().__init__()
        self.fresh = True  # nothing was fed yet
        self.storing: Optional[Request] = None  # its body is being skipped

    def feed(self, data: bytes, time_ns: int) -> List[Request]:
        """The requests whose command line ends in this data, in order.

        A request's time_ns is set when its last byte has come, which for one with a
        body may be in a later call. Raises ProtocolError.
        """
        requests: List[Request] = []
        position = 0
        if self.fresh:
            self.fresh = False
            if data[0] in NOT_TEXT:
                raise ProtocolError("the binary protocol, or TLS")
        if self.skip:
            position = min(self.skip, len(data))
            self._pass_over(position, time_ns)
            if position == len(data):
                return requests
        elif self.partial:
            data = self.take(data)
        end = len(data)
        while position < end:
            newline = data.find(b"\n", position)
            if newline < 0:
                self.keep(data[position:])
                break
            line_end = newline
            if newline > position + 1 and data[newline - 1] == 0x0D:
                line_end -= 1
            request, size = parse_request(data[position:line_end])
            requests.append(request)
            start, position = position, newline + 1
            if size == NO_BODY:
                request.time_ns = time_ns
                continue
            self.storing = request
            self.skip = size + 2
            self.body_bytes = position - start + self.skip
            taken = min(self.skip, end - position)
            position += taken
            self._pass_over(taken, time_ns)
        return requests

    def gap(self, length: int, time_ns: int) -> bool:
        """Bytes that are not there. False if they may have held more than a value."""
        if length > self.skip:
            return False
        self._pass_over(length, time_ns)
        return True

    def _pass_over(self, length: int, time_ns: int) -> None:
        self.skip -= length
        if not self.skip and self.storing:
            self.storing.time_ns = time_ns
            self.storing = None


class ResponseParser(LineReader):
    """The lines and values of one connection's replies, in order."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        super().__init__()
        self.value: Optional[Response] = None  # a VA line whose data is being skipped

    def feed(self, data: bytes) -> List[Response]:
        """What became complete in this data. VALUE is given before its data, VA after."""
        responses: List[Response] = []
        position = 0
        if self.skip:
            position = min(self.skip, len(data))
            self._pass_over(position, responses)
            if position == len(data):
                return responses
        elif self.partial:
            data = self.take(data)
        end = len(data)
        while position < end:
            newline = data.find(b"\n", position)
            if newline < 0:
                self.keep(data[position:])
                break
            start = position
            words = data[position:newline].rstrip(b"\r").split(b" ")
            position = newline + 1
            word = words[0]
            if word == b"VALUE":
                size = _value_size(words, 3)
                responses.append((word, words, size))
            elif word == b"VA":
                size = _value_size(words, 1)
                self.value = (word, words, size)
            else:
                responses.append((word, words, -1))
                continue
            self.skip = size + 2
            self.body_bytes = position - start + self.skip
            taken = min(self.skip, end - position)
            position += taken
            self._pass_over(taken, responses)
        return responses

    def gap(self, length: int, responses: List[Response]) -> bool:
        """Bytes that are not there. False if they may have held more than a value."""
        if length > self.skip:
            return False
        self._pass_over(length, responses)
        return True

    def _pass_over(self, length: int, responses: List[Response]) -> None:
        self.skip -= length
        if not self.skip and self.value:
            responses.append(self.value)
            self.value = None


def _value_size(words: List[bytes], index: int) -> int:
    digits = words[index] if len(words) > index else b""
    if not digits.isdigit() or len(digits) > 10 or int(digits) > VALUE_MAX:
        raise ProtocolError("a value without a length")
    return int(digits)


# ==== Matching ========================================================================

# The first word of a line that answers a request -> outcome.
LINE_OUTCOMES = {
    b"STORED": STORED,
    b"NOT_STORED": NOT_STORED,
    b"EXISTS": EXISTS,
    b"NOT_FOUND": NOT_FOUND,
    b"DELETED": DELETED,
    b"TOUCHED": TOUCHED,
    b"OK": OK,
    b"RESET": OK,
    b"END": OK,
    b"VERSION": OK,
    b"ERROR": ERROR,
    b"ERROR:": ERROR,
    b"CLIENT_ERROR": CLIENT_ERROR,
    b"SERVER_ERROR": SERVER_ERROR,
    b"BUSY": ERROR,
    b"BADCLASS": ERROR,
    b"NOTSTARTED": ERROR,
    b"NOSPARE": ERROR,
    b"NOTFULL": ERROR,
    b"UNSAFE": ERROR,
    b"SAME": ERROR,
    b"NOT_SUPPORTED": ERROR,
    b"WATCHER_TOO_MANY": ERROR,
    b"WATCHER_FAILED": ERROR,
    b"EN": OK,
}
ERRORS = (ERROR, CLIENT_ERROR, SERVER_ERROR)

# command -> the outcomes that a reply of one line can have, errors aside
_STORAGE_OUTCOMES = frozenset((STORED, NOT_STORED, EXISTS, NOT_FOUND))
COMMAND_OUTCOMES = {
    **{command: _STORAGE_OUTCOMES for command in STORAGE},
    b"delete": frozenset((DELETED, NOT_FOUND)),
    b"touch": frozenset((TOUCHED, NOT_FOUND)),
    b"incr": frozenset((OK, NOT_FOUND)),
    b"decr": frozenset((OK, NOT_FOUND)),
    b"invalid": frozenset(),
}
_ADMIN_OUTCOMES = frozenset((OK,))

# meta command -> reply -> outcome; the first is what a q flag leaves out
META_OUTCOMES: Dict[bytes, Dict[bytes, int]] = {
    b"mg": {b"EN": MISS, b"HD": HIT, b"VA": HIT, b"OK": HIT},
    b"ms": {b"HD": STORED, b"OK": STORED, b"NS": NOT_STORED, b"EX": EXISTS, b"NF": NOT_FOUND},
    b"md": {b"HD": DELETED, b"OK": DELETED, b"NF": NOT_FOUND, b"EX": EXISTS},
    b"ma": {b"HD": OK, b"OK": OK, b"VA": OK, b"NF": NOT_FOUND, b"NS": NOT_STORED, b"EX": EXISTS},
    b"me": {b"ME": OK, b"EN": MISS},
    b"mn": {b"MN": OK},
}

# These words answer commands for data only.
DATA_WORDS = frozenset((b"VALUE", b"VA", b"HD", b"NF", b"NS", b"EX", b"ME", b"MN"))
META_HIT_FLAGS = frozenset((b"c", b"f", b"h", b"k", b"l", b"s", b"t"))

# Is the connection in step?
OUT_OF_STEP, TENTATIVE, IN_STEP = range(3)


class Connection:
    """One connection: both directions, and the requests that wait for their answer.

    A connection whose beginning was seen is in step. One that was joined in its middle,
    or that lost bytes outside of a value, is out of step: its next bytes may be a
    command or the middle of a value, which can look like one. What is certain is:

      - a server reads on only when all it had read is answered, a command that is not
        complete aside; so the first bytes sent after a read begin a reply;
      - a read begins with a command, or within one.

    So the next read is parsed tentatively. If it makes sense, and so does what is
    sent next as the answer to its first request, the connection is in step. If not, all
    of it counts as lost, and the next read is tried. No operation is ever guessed.

    Packets do not tell when the server reads, and neither of the two is certain for them: a
    packet can begin within a value, and a reply that follows a request may be that of an
    earlier one, which the server still had to answer; with a client that stays ahead of the
    replies, that can go on for as long as it likes. So for packets there must be evidence:

      - SYNC_TURNS turns in a row, each of whole requests, each answered fitly, before the next
        begins; a turn is what a client sends until the server answers. The end of a value, and
        requests that went by unseen, do not fit so.
      - the replies fit no other way: had one of the last SYNC_SHIFTS requests been answered
        each time instead, at least one reply would not have been its answer. (With memcached
        one is as many as can be behind in turns like these: it reads all that has come.)

    The evidence is not recorded and counts as lost; with the next turn the connection is in
    step. One whose requests and replies are all alike stays out of step.
    """

    SILENCE_NS = NS_PER_SECOND // 4
    SYNC_TURNS = 4
    SYNC_SHIFTS = 4
    REPLIES_MAX = 4096  # lines of one reply that are looked at as evidence

    __slots__ = (
        "number",
        "peer_port",
        "requests",
        "responses",
        "queue",
        "state",
        "recv_next",
        "send_next",
        "batch_time_ns",
        "batch_position",
        "tentative_bytes",
        "answered",
        "turns",
        "shifts",
        "recent",
        "replies",
        "watching",
        "ended",
        "final",
        "_matcher",
    )

    def __init__(self, matcher: Matcher, number: int, state: int, peer_port: int = 0) -> None:
        self._matcher = matcher
        self.number = number
        self.peer_port = peer_port
        self.requests = RequestParser()
        self.responses = ResponseParser()
        self.queue: Deque[Request] = deque()
        self.state = state
        self.recv_next: Optional[int] = None  # expected TCP sequence numbers
        self.send_next: Optional[int] = None
        self.batch_time_ns = 0
        self.batch_position = 0
        self.tentative_bytes = 0
        self.answered = False  # did the server send anything after the last request?
        self._forget_evidence()
        self.watching = False  # after `watch`, replies are a log without an end
        self.ended = False
        self.final: Optional[Tuple[int, int]] = None  # see Matcher._close

    # -- bytes in --

    def receive(
        self, time_ns: int, offset: int, length: int, data: bytes, sent: int = -1
    ) -> None:
        """Bytes that the server read, having sent all before the byte `sent`."""
        behind_gap = offset != self.recv_next and self.recv_next is not None
        if behind_gap:
            gap = (offset - self.recv_next) & 0xFFFFFFFF  # type: ignore[operator]
            self._missing(gap, self._skip_request_bytes, time_ns)
        self.recv_next = (offset + length) & 0xFFFFFFFF
        new_read = time_ns != self.batch_time_ns
        if new_read:
            self.batch_time_ns = time_ns
            self.batch_position = 0
            if sent == self.send_next and self.queue and self.queue[0].quiet:
                self._end_silence(time_ns)
        begins = new_read
        if not self._matcher.reads:
            begins = self.answered
            self.answered = False
            if begins and self.state == TENTATIVE:
                self._end_turn()
        if self.state == OUT_OF_STEP:
            if not begins or behind_gap:  # nor is it known what a gap held
                self._matcher.ledger.lost_bytes += length
                return
            self.state = TENTATIVE
        self._count(length)
        try:
            begun = self.requests.feed(data, time_ns) if data else ()
        except ProtocolError:
            self._uncount(max(length, self.requests.unfinished_bytes()))
            self.requests = RequestParser()
            self.fall_out_of_step()
            return
        for request in begun:
            request.batch_position = self.batch_position
            self.batch_position += 1
            if self.state == TENTATIVE and request.form == b"invalid":
                self.fall_out_of_step()
                return
            self.queue.append(request)
        if len(data) != length:
            self._unread(length - len(data), self._skip_request_bytes, time_ns)
        if self.queue and (self.queue[0].reply == REPLY_NONE or not self._matcher.responses):
            self._pass_silent()
        if len(self.queue) > PENDING_MAX:
            self.fall_out_of_step()

    def send(self, time_ns: int, offset: int, length: int, data: bytes) -> None:
        """Bytes that the server wrote."""
        if offset != self.send_next and self.send_next is not None:
            gap = (offset - self.send_next) & 0xFFFFFFFF
            self._missing(gap, self._skip_response_bytes, 0)
        self.send_next = (offset + length) & 0xFFFFFFFF
        self.answered = True
        if self.state == OUT_OF_STEP:
            self._matcher.ledger.lost_bytes += length
            return
        self._count(length)
        if self.watching or (self.state == IN_STEP and not self._matcher.responses):
            return
        try:
            responses = self.responses.feed(data) if data else []
        except ProtocolError:
            self._uncount(max(length, self.responses.unfinished_bytes()))
            self.responses = ResponseParser()
            self.fall_out_of_step()
            return
        if responses:
            self._match(responses, time_ns)
        if len(data) != length:
            self._unread(length - len(data), self._skip_response_bytes, time_ns)

    def close(self) -> None:
        """No more will come: what still waits was not answered."""
        if self.state == IN_STEP:
            while self.queue:
                request = self.queue.popleft()
                if not request.time_ns:
                    self._uncount(self.requests.unfinished_bytes())
                elif request.quiet:
                    self._matcher.emit(self, request, silent_outcome(request), 0)
                elif request.reply == REPLY_NONE or request.form.startswith(b"shutdown"):
                    self._matcher.emit(self, request, NONE, 0)
                else:
                    self._matcher.emit(self, request, UNANSWERED, 0)
        else:
            self._matcher.ledger.lost_bytes += self.tentative_bytes
            self.queue.clear()
        self.tentative_bytes = 0
        self.ended = True

    # -- gaps --

    def _skip_request_bytes(self, length: int, time_ns: int) -> bool:
        return self.requests.gap(length, time_ns)

    def _skip_response_bytes(self, length: int, time_ns: int) -> bool:
        if self.watching:
            return True
        responses: List[Response] = []
        if not self.responses.gap(length, responses):
            return False
        self._match(responses, time_ns)
        return True

    def _missing(self, length: int, skip: Callable[[int, int], bool], time_ns: int) -> None:
        """A range of the stream that no segment stands for; time_ns is of the next one."""
        storing = self.requests.storing
        if length >= 1 << 30:  # backwards, or farther than any TCP window: another stream
            self.fall_out_of_step()
        elif self.state != OUT_OF_STEP and skip(length, time_ns):
            self._count(length)
            if storing and storing.time_ns:
                storing.timed = False
        else:
            self._matcher.ledger.lost_bytes += length
            self.fall_out_of_step()

    def _unread(self, length: int, skip: Callable[[int, int], bool], time_ns: int) -> None:
        """The end of a segment, counted already, whose bytes are not there."""
        if self.state != OUT_OF_STEP and not skip(length, time_ns):
            self._uncount(length)
            self.fall_out_of_step()

    def _count(self, length: int) -> None:
        if self.state == IN_STEP:
            self._matcher.ledger.understood_bytes += length
        else:
            self.tentative_bytes += length

    def _uncount(self, length: int) -> None:
        if self.state == IN_STEP:
            self._matcher.ledger.understood_bytes -= length
            self._matcher.ledger.lost_bytes += length

    def fall_out_of_step(self) -> None:
        """Give up what is half read, and start anew at the next read."""
        ledger = self._matcher.ledger
        if self.state == IN_STEP:
            ledger.resyncs += 1
            self._uncount(self.requests.unfinished_bytes() + self.responses.unfinished_bytes())
            for request in self.queue:
                # These were read whole, so they were run; only the answer is not known.
                if request.time_ns:
                    outcome = NONE if request.reply == REPLY_NONE else LOST
                    self._matcher.emit(self, request, outcome, 0)
        else:
            ledger.lost_bytes += self.tentative_bytes
        self.tentative_bytes = 0
        self.queue.clear()
        self.requests = RequestParser()
        self.responses = ResponseParser()
        self.watching = False
        self._forget_evidence()
        self.state = OUT_OF_STEP

    def _confirm(self) -> None:
        self._matcher.ledger.understood_bytes += self.tentative_bytes
        self.tentative_bytes = 0
        self.state = IN_STEP

    def _end_turn(self) -> None:
        """The client goes on. Was all answered, and all of it whole?"""
        waiting = any(request.reply != REPLY_NONE for request in self.queue)
        if waiting or self.requests.unfinished_bytes() or self.responses.unfinished_bytes():
            self.fall_out_of_step()
            return
        self.queue.clear()
        self.turns += 1
        if self.turns >= self.SYNC_TURNS and not self.shifts:
            self._matcher.ledger.lost_bytes += self.tentative_bytes
            self.tentative_bytes = 0
            self._forget_evidence()
            self.state = IN_STEP

    def _forget_evidence(self) -> None:
        self.turns = 0  # seen in a row
        self.shifts = set(range(1, self.SYNC_SHIFTS + 1))  # other ways that are still possible
        self.recent: Deque[Request] = deque(maxlen=self.SYNC_SHIFTS)  # answered requests
        self.replies: List[Response] = []  # to the first request in the queue, so far

    def _weigh(self, request: Request, passed: int) -> None:
        """The request was answered, with `replies`, and so many were passed in silence."""
        if passed or request.quiet:  # who else was silent? Nothing is certain
            self._forget_evidence()
            return
        for shift in list(self.shifts):
            if len(self.recent) >= shift and not self._fits(self.recent[-shift]):
                self.shifts.discard(shift)
        self.recent.append(request)
        self.replies = []

    def _fits(self, request: Request) -> bool:
        """Could `replies` be the whole answer to this request?"""
        trial = Connection(self._matcher, 0, TENTATIVE)
        trial.shifts = set()
        again = Request(request.form, request.reply, request.keys, opaque=request.opaque)
        again.value_size = request.value_size
        again.time_ns = request.time_ns
        trial.queue.append(again)
        return all(trial._answer(reply, 0) for reply in self.replies) and not trial.queue

    # -- answers --

    def _pass_silent(self) -> None:
        """Requests at the head that nobody answers are done when they are read."""
        queue = self.queue
        unanswered = not self._matcher.responses
        if unanswered and self._matcher.reads and self.state == TENTATIVE and queue[0].time_ns:
            self._confirm()  # it made sense as far as it went; nothing else will tell
        while self.state == IN_STEP and queue and queue[0].time_ns:
            if queue[0].reply != REPLY_NONE and not unanswered:
                break
            self._matcher.emit(self, queue.popleft(), NONE, 0)

    def _end_silence(self, time_ns: int) -> None:
        """We saw all that the server sent: what was quiet for so long stayed silent.

        Without this, a client that only ever sends quiet requests would never be counted.
        """
        queue, before = self.queue, time_ns - self.SILENCE_NS
        while self.state == IN_STEP and queue and queue[0].quiet and 0 < queue[0].time_ns < before:
            silent = queue.popleft()
            self._matcher.emit(self, silent, silent_outcome(silent), 0)

    def _match(self, responses: List[Response], time_ns: int) -> None:
        if self.state == TENTATIVE and self._matcher.reads:
            self._match_tentatively(responses, time_ns)
        elif not self._match_all(responses, time_ns):
            self._matcher.ledger.unmatched_responses += self.state == IN_STEP
            if self.state == TENTATIVE or self.queue:
                self.fall_out_of_step()
        if self.queue and self.queue[0].reply == REPLY_NONE:
            self._pass_silent()

    def _match_all(self, responses: List[Response], time_ns: int) -> bool:
        """Answer requests with the responses. False at one that answers none."""
        for response in responses:
            if self.watching:
                break
            if not self._answer(response, time_ns):
                return False
        return True

    def _match_tentatively(self, responses: List[Response], time_ns: int) -> None:
        """Nothing is put out unless all that was sent at once makes sense."""
        matcher, tentative = self._matcher, self.tentative_bytes
        matcher.held = []
        good = self._match_all(responses, time_ns)
        held, matcher.held = matcher.held, None
        if good:
            for operation in held:
                matcher.emit(*operation)
            return
        if self.state == IN_STEP:  # the first of them had convinced us
            matcher.ledger.understood_bytes -= tentative
            self.tentative_bytes = tentative
            self.state = TENTATIVE
        self.fall_out_of_step()

    def _answer(self, response: Response, time_ns: int) -> bool:
        """Give the response to the request it answers. False if there is none."""
        word = response[0]
        if self.state == TENTATIVE and len(self.replies) < self.REPLIES_MAX:
            self.replies.append(response)
        index = self._find_request(word, response[1])
        if index is None:
            return False
        request = self.queue[index]
        if request.reply == REPLY_VALUES and word == b"VALUE":
            return self._take_value(request, response)
        outcome = reply_outcome(request, word)
        if outcome is None or not (request.time_ns or outcome in ERRORS):
            return False  # before the whole value has come there can be an error only
        if request.reply == REPLY_STREAM and not ends_stream(request, word):
            return True  # one of its lines
        if self.state == TENTATIVE and self._matcher.reads:
            self._confirm()
        certain = self.state == IN_STEP
        if not certain:
            self._weigh(request, index)
        for _ in range(index):  # these were passed in silence
            silent = self.queue.popleft()
            if certain:
                self._matcher.emit(self, silent, silent_outcome(silent), 0)
        self.queue.popleft()
        if not certain:
            return True
        if word == b"VA" and request.form[:2] == b"mg":
            request.sizes[0] = response[2]
        if request.reply == REPLY_FOREVER and outcome == OK:
            self.watching = True
        self._matcher.emit(self, request, outcome, time_ns)
        return True

    def _find_request(self, word: bytes, words: List[bytes]) -> Optional[int]:
        """The place in the queue of the request that this line answers."""
        if self.queue and self.queue[0].reply != REPLY_NONE and not self.queue[0].quiet:
            return 0
        if LINE_OUTCOMES.get(word) in ERRORS:
            return self._find_refused(words)
        opaque = b""
        if len(word) == 2:  # a meta reply: only these carry an opaque
            opaque = next((w for w in words[1:] if w[:1] == b"O"), b"")
        created = None  # a quiet ma that may have created its key; some versions tell
        for index, request in enumerate(self.queue):
            if request.reply == REPLY_NONE:
                continue
            if not request.quiet:
                taken = reply_outcome(request, word) is not None and opaque == request.opaque
                return index if taken or created is None else created
            if opaque != request.opaque:
                continue
            if self._breaks_silence(request, word, words):
                return index
            if request.form[:2] == b"ma" and b" N" in request.form and word in (b"HD", b"VA"):
                created = index if created is None else created
        return created

    def _find_refused(self, words: List[bytes]) -> Optional[int]:
        """The place in the queue of the request that this error is about.

        Errors break any silence and carry no opaque. Some say what they are about;
        another one is taken for the first request that is not quiet, if there is any.
        """
        candidates = []
        for index, request in enumerate(self.queue):
            if request.reply != REPLY_NONE:
                candidates.append(index)
                if not request.quiet:
                    break
        sizes = {i: self.queue[i].value_size for i in candidates}
        storing = [i for i in candidates if sizes[i] != NO_SIZE]
        counting = [i for i in candidates if self.queue[i].form[:2] in (b"ma", b"in", b"de")]
        if b"large" in words and storing:
            return max(storing, key=lambda i: sizes[i])
        if b"chunk" in words and storing:
            return storing[0]
        if b"non-numeric" in words and counting:
            return counting[0]
        loud = [i for i in candidates if not self.queue[i].quiet and self.queue[i].form != b"mn"]
        return next(iter(loud + candidates), None)

    @staticmethod
    def _breaks_silence(request: Request, word: bytes, words: List[bytes]) -> bool:
        """Can this line be the answer to a quiet request? Its opaque is checked already."""
        command, *rest = request.form.split(b" ")
        outcome = META_OUTCOMES[command].get(word)
        if outcome is None or outcome == silent_outcome(request):
            return False
        asked = {flag[:1] for flag in rest}
        given = {flag[:1] for flag in words[2 if word == b"VA" else 1 :]}
        if b"k" in asked:
            key = next((w[1:] for w in words[1:] if w[:1] == b"k"), None)
            if key is None or request.keys[0] not in (key, _decode_key(key)):
                return False
        if outcome == HIT:  # a hit gives back all that was asked for
            return (word == b"VA") == (b"v" in asked) and asked & META_HIT_FLAGS <= given
        return True

    def _take_value(self, request: Request, response: Response) -> bool:
        """A VALUE line: which of the keys? They are answered in order, misses left out."""
        keys, index = request.keys, request.next_key
        key = response[1][1]
        if index >= len(keys):
            return False
        if key != keys[index]:
            try:
                index = keys.index(key, index)
            except ValueError:
                return False
        request.sizes[index] = response[2]
        request.next_key = index + 1
        return True


def reply_outcome(request: Request, word: bytes) -> Optional[int]:
    """What a line that begins with this word says of the request; None: not its answer."""
    reply = request.reply
    if reply == REPLY_VALUES and word == b"END":
        return HIT  # Matcher.emit tells the misses
    outcome = LINE_OUTCOMES.get(word)
    if outcome in ERRORS:
        return outcome
    if reply == REPLY_VALUES:
        return None
    if reply == REPLY_META:
        return META_OUTCOMES[request.form[:2]].get(word)
    if reply == REPLY_STREAM:
        return OK if word not in DATA_WORDS else None
    command = request.form.split(b" ", 1)[0]
    if outcome is None:
        if command in (b"incr", b"decr"):
            return OK if word.isdigit() else None
        # Administrators' commands are refused with many words.
        return ERROR if command in ADMIN and word not in DATA_WORDS else None
    return outcome if outcome in COMMAND_OUTCOMES.get(command, _ADMIN_OUTCOMES) else None


def ends_stream(request: Request, word: bytes) -> bool:
    """Is a line that begins with this word the last of a reply of many lines?"""
    if word == b"STAT":  # the only answers without an END
        return request.form.startswith(b"stats sizes_")
    if word == b"OK":  # since 1.6.43 a dump begins with it
        return b"dump" not in request.form
    return word in LINE_OUTCOMES


def silent_outcome(request: Request) -> int:
    """What it means that a quiet request, or one with noreply, was not answered."""
    if not request.quiet:
        return NONE
    outcomes = META_OUTCOMES.get(request.form[:2])
    return next(iter(outcomes.values())) if outcomes else NONE


class Matcher:
    """All connections: segments in, operations out to `sink`.

    Memory is bounded by the number of connections that are open; of one that was closed
    nothing is kept but, for a while, its place in case more of it comes.
    """

    ENDED_MAX = 4096  # closed connections remembered
    KEY_CACHE_MAX = 65536  # key codes remembered

    def __init__(
        self,
        sink: Callable[[Operation], None],
        on_connection: Callable[[int, int, int, int], None],
        secret: bytes,
        responses: bool = True,
        reads: bool = True,
    ) -> None:
        self.ledger = Ledger()
        self.connections: Dict[int, Connection] = {}
        self.open_count = 0
        self.total_count = 0
        self.opened_count = 0
        self.operations = 0
        self.hits = 0
        self.misses = 0
        self._sink = sink
        self._on_connection = on_connection  # (time_ns, number, port, kind)
        self._secret = secret
        self.responses = responses  # are they recorded?
        self.reads = reads  # are segments reads and writes? Else packets; see Connection
        # While this is a list, operations wait in it; see Connection._match_tentatively.
        self.held: Optional[List[Tuple[Connection, Request, int, int]]] = None
        self._key_codes: Dict[bytes, int] = {}
        self._ended: Deque[Tuple[int, Connection]] = deque()
        self._closed_now: List[Tuple[int, Connection, int, int]] = []
        self._closed_before: List[Tuple[int, Connection, int, int]] = []

    def process(self, segments: Iterable[Segment]) -> None:
        """Take a batch of segments in, in the order of each connection."""
        connections = self.connections
        for kind, time_ns, sock_id, port, peer_port, offset, length, data, sent in segments:
            if kind == OPEN:
                connection = self._add(sock_id, time_ns, port, peer_port, IN_STEP)
                connection.recv_next = offset
                connection.send_next = length
                continue
            found = connections.get(sock_id)
            if found and found.peer_port != peer_port:
                found = None  # its memory was used again, and we missed when
            if kind == CLOSE:
                if found and not found.ended:
                    found.final = (offset, length)
                    self._closed_now.append((sock_id, found, time_ns, port))
                continue
            connection = found or self._add(sock_id, time_ns, port, peer_port, OUT_OF_STEP)
            if kind == RECV:
                connection.receive(time_ns, offset, length, data, sent)
            else:
                connection.send(time_ns, offset, length, data)
        # A reset closes a connection while another CPU is still at work on it, so its
        # last events may come after. A batch later they are here.
        for closed in self._closed_before:
            self._close(*closed)
        self._closed_before, self._closed_now = self._closed_now, []

    def _add(
        self, sock_id: int, time_ns: int, port: int, peer_port: int, state: int
    ) -> Connection:
        old = self.connections.get(sock_id)
        if old:
            self._close(sock_id, old, time_ns, port)
        self.total_count += 1
        self.opened_count += state == IN_STEP
        self.open_count += 1
        connection = Connection(self, self.total_count, state, peer_port)
        self.connections[sock_id] = connection
        kind = OPEN if state == IN_STEP else RECV
        self._on_connection(time_ns, connection.number, port, kind)
        return connection

    def _close(self, sock_id: int, connection: Connection, time_ns: int, port: int) -> None:
        if connection.ended:
            return
        connection.close()
        self.open_count -= 1
        self._on_connection(time_ns, connection.number, port, CLOSE)
        # Bytes that came before a reset may be read after it: keep its place a while.
        self._ended.append((sock_id, connection))
        if len(self._ended) > self.ENDED_MAX:
            oldest_id, oldest = self._ended.popleft()
            self._forget(oldest)
            if self.connections.get(oldest_id) is oldest:
                del self.connections[oldest_id]

    def _forget(self, connection: Connection) -> None:
        """Count what a closed connection moved and no segment told of."""
        connection.close()  # for what came after its end
        if connection.final is None:
            return
        expected = (connection.recv_next, connection.send_next)
        for seen, final in list(zip(expected, connection.final))[: 1 + self.responses]:
            missing = (final - seen) & 0xFFFFFFFF if seen is not None else 0
            if 1 < missing < 1 << 31:  # a FIN counts for one
                self.ledger.lost_bytes += missing

    def finish(self) -> None:
        """The recording ends: nothing more will be answered."""
        for _, connection in self._ended:
            self._forget(connection)
        self._ended.clear()
        for connection in self.connections.values():
            connection.close()

    def emit(self, connection: Connection, request: Request, outcome: int, time_ns: int) -> None:
        """A request is done: one row for each of its keys. time_ns of the answer, or 0."""
        if self.held is not None:
            self.held.append((connection, request, outcome, time_ns))
            return
        sink = self._sink
        asked_ns = request.time_ns or time_ns
        # Two threads of a server can get here in another order than that of their times.
        latency_ns = max(time_ns - asked_ns, 0) if request.timed else 0
        number, form, batch = connection.number, request.form, request.batch_position
        keys = request.keys
        self.operations += len(keys) or 1
        is_get = request.reply == REPLY_VALUES or form[:2] == b"mg"
        if not keys:
            outcome = OK if outcome == HIT else outcome  # `gat 10` alone gets nothing
            sink(
                (asked_ns, latency_ns, number, form, outcome, batch, 0, 0, NO_SIZE, request.exptime)
            )
            return
        sizes = request.sizes
        size = request.value_size
        for position, key in enumerate(keys):
            code = self._key_codes.get(key) or self._encode_key(key)
            result = outcome
            if is_get:
                size = sizes.get(position, NO_SIZE)
                if outcome == HIT and request.reply == REPLY_VALUES and position not in sizes:
                    result = MISS
                self.hits += result == HIT
                self.misses += result == MISS
            sink(
                (
                    asked_ns,
                    latency_ns,
                    number,
                    form,
                    result,
                    batch,
                    position,
                    code,
                    size,
                    request.exptime,
                )
            )
            latency_ns = 0

    def _encode_key(self, key: bytes) -> int:
        """The key's code: a keyed hash of 64 bits and the size, as hash << 16 | size."""
        digest = hashlib.blake2b(key, digest_size=8, key=self._secret).digest()
        code = int.from_bytes(digest, "little") << 16 | min(len(key), 0xFFFF)
        if len(self._key_codes) >= self.KEY_CACHE_MAX:
            self._key_codes.clear()
        self._key_codes[key] = code
        return code


# ==== Profile =========================================================================
#
# A profile is a header and blocks, written one after the other and never changed, so it
# can go to a pipe, and all up to the last whole block can be read whatever happened:
#
#   magic (12 bytes), format version (u32)
#   block: kind (u8), 3 zero bytes, payload length (u32), CRC-32 of kind and payload (u32),
#          payload
#
# All numbers are little-endian. Kinds:
#   H  JSON object: what was recorded, where, when. The first block.
#   F  JSON list: forms, numbered on from those before.
#   C  connections: u32 rows, then columns: time, number, port, kind (OPEN; RECV: was there
#      already; CLOSE)
#   O  operations: u32 rows, u32 keys, then the columns of COLUMNS, one row an operation,
#      and the block's key table: hash, size. A key is its place in that table.
#   L  JSON object: the ledger so far. The last one counts.
#   E  JSON object: the end, with the duration. Without it the profile was cut.
#
# A column is u32 length and zlib data; in it the first bytes of all values come first,
# then the second bytes, and so on, because equal planes compress well. Times are in
# ticks of 100 ns since the start; `time` holds differences from the row before.
#
# There is no key and no value in it. A key's hash is BLAKE2b with a secret key that is
# made up for each recording and kept nowhere (or is given with --salt).

MAGIC = b"membench\r\n\x1a\n"
FORMAT_VERSION = 1
_FILE_HEADER = struct.Struct("<12sI")
_BLOCK_HEADER = struct.Struct("<c3xII")
_ROWS = struct.Struct("<I")
BLOCK_BYTES_MAX = 1 << 28
BLOCK_ROWS_MAX = 1 << 16

# name, array type
COLUMNS = (
    ("time", "q"),
    ("latency", "I"),  # ticks; 0: none, or not the first row of its request
    ("connection", "I"),
    ("form", "H"),
    ("outcome", "B"),
    ("batch", "H"),  # requests before it in the same read
    ("key_position", "I"),  # keys before it in the same request
    ("key", "I"),
    ("value_size", "I"),
    ("exptime", "i"),
)
KEY_COLUMNS = (("key_hash", "Q"), ("key_size", "H"))
CONNECTION_COLUMNS = (("time", "q"), ("number", "I"), ("port", "H"), ("kind", "B"))


def pack_column(typecode: str, values: Iterable[int]) -> bytes:
    """A column as it stands in a block."""
    column = array(typecode, values)
    if sys.byteorder == "big":
        column.byteswap()
    raw = column.tobytes()
    if column.itemsize > 1:
        raw = b"".join(raw[plane :: column.itemsize] for plane in range(column.itemsize))
    packed = zlib.compress(raw, 1)
    return _ROWS.pack(len(packed)) + packed


def unpack_column(typecode: str, rows: int, payload: memoryview, at: int) -> Tuple[array[int], int]:
    """The column at payload[at], and where the next one stands. Raises DamagedError."""
    column = array(typecode)
    (length,) = _ROWS.unpack_from(payload, at)
    at += _ROWS.size
    expected = rows * column.itemsize
    # Not trusting what it unpacks to: a few bytes can make gigabytes.
    raw = zlib.decompressobj().decompress(payload[at : at + length], expected + 1)
    if len(raw) != expected:
        raise DamagedError("a column has not as many rows as its block says")
    if column.itemsize > 1:
        planes = bytearray(expected)
        for plane in range(column.itemsize):
            planes[plane :: column.itemsize] = raw[plane * rows : (plane + 1) * rows]
        raw = bytes(planes)
    column.frombytes(raw)
    if sys.byteorder == "big":
        column.byteswap()
    return column, at + length


class ProfileWriter:
    """Writes a profile, block by block. A context manager.

    On an exception before anything was recorded the file is removed; later it is left,
    readable up to its last whole block.
    """

    FLUSH_SECONDS = 1.0  # at most this much is lost by kill -9

    def __init__(self, output: str, force: bool = False) -> None:
        self.path = output
        self.written_bytes = 0
        self._path_until_start = output
        self._started = False
        self._rows: List[Operation] = []
        self._connections: List[Tuple[int, int, int, int]] = []
        self._forms: Dict[bytes, int] = {}
        self._new_forms: List[str] = []
        self._start_ns = 0
        self._flushed_at = 0.0
        self._fd = self._create(output, force)
        self.add = self._rows.append  # the hot path: takes an Operation

    def _create(self, output: str, force: bool) -> int:
        if output == "-":
            if os.isatty(1):
                raise ProfileError(
                    "a profile is not for a terminal", "name a file, or send it to a pipe"
                )
            return os.dup(1)
        try:
            if os.path.lexists(output):
                if not stat.S_ISREG(os.lstat(output).st_mode):
                    raise ProfileError(
                        f"{printable(output)} is not a regular file", "choose another name"
                    )
                if not force:
                    raise ProfileError(
                        f"{printable(output)} exists",
                        "choose another name, or overwrite it with --force",
                    )
                # The old file stays until the new recording has begun.
                self._path_until_start = f"{output}.{os.getpid()}.new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return os.open(self._path_until_start, flags, 0o600)
        except OSError as error:
            hint = "choose another place"
            if error.errno == errno.ENOENT:
                hint = "make the directory first"
            raise ProfileError(
                f"cannot write {printable(output)}: {error.strerror}", hint
            ) from None

    def __enter__(self) -> ProfileWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)
        if not self._started and self.path != "-":
            with contextlib.suppress(OSError):
                os.unlink(self._path_until_start)

    def start(self, header: Dict[str, Any], start_ns: int) -> None:
        """Write the header. start_ns: CLOCK_MONOTONIC, the zero of the profile's times."""
        self._start_ns = start_ns
        self._flushed_at = time.monotonic()
        self._write_all(_FILE_HEADER.pack(MAGIC, FORMAT_VERSION))
        self._write_json(b"H", header)
        if self._path_until_start != self.path:
            os.fsync(self._fd)
            try:
                os.rename(self._path_until_start, self.path)
            except OSError as error:
                raise ProfileError(
                    f"cannot replace {printable(self.path)}: {error.strerror}",
                    "choose another name",
                ) from None
        self._started = True

    def add_connection(self, time_ns: int, number: int, port: int, kind: int) -> None:
        """A connection opened (OPEN), closed (CLOSE) or was found open (RECV)."""
        self._connections.append((time_ns, number, port, kind))

    def is_due(self) -> bool:
        """Is there enough to write, or is it old enough?"""
        if len(self._rows) >= BLOCK_ROWS_MAX:
            return True
        return time.monotonic() - self._flushed_at >= self.FLUSH_SECONDS

    def flush(self, ledger: Ledger) -> None:
        """Write what there is."""
        self._flushed_at = time.monotonic()
        rows = self._rows[:]
        self._rows.clear()
        connections, self._connections = self._connections, []
        for first in range(0, len(connections), BLOCK_ROWS_MAX):
            self._write_connections(connections[first : first + BLOCK_ROWS_MAX])
        for first in range(0, len(rows), BLOCK_ROWS_MAX):
            self._write_operations(rows[first : first + BLOCK_ROWS_MAX])
        if rows or connections:
            self._write_json(b"L", ledger.report(final=False))

    def finish(self, ledger: Ledger, end: Dict[str, Any]) -> None:
        """Write the rest and the end."""
        self.flush(ledger)
        self._write_json(b"L", ledger.report())
        self._write_json(b"E", end)
        with contextlib.suppress(OSError):  # a pipe cannot be synchronised
            os.fsync(self._fd)

    def _write_connections(self, rows: List[Tuple[int, int, int, int]]) -> None:
        times, numbers, ports, kinds = zip(*rows)
        columns = (self._time_differences(times), numbers, ports, kinds)
        packed = [
            pack_column(typecode, column)
            for (_, typecode), column in zip(CONNECTION_COLUMNS, columns)
        ]
        self._write_block(b"C", _ROWS.pack(len(rows)) + b"".join(packed))

    def _write_operations(self, rows: List[Operation]) -> None:
        times, latencies, numbers, forms, outcomes, batches, places, codes, sizes, exptimes = zip(
            *rows
        )
        table = {code: place for place, code in enumerate(dict.fromkeys(codes))}
        known = self._forms
        columns = (
            self._time_differences(times),
            [min(latency // TICK_NS, 0xFFFFFFFF) for latency in latencies],
            numbers,
            [known.get(form) or self._number_form(form) for form in forms],
            outcomes,
            [min(batch, 0xFFFF) for batch in batches] if max(batches) > 0xFFFF else batches,
            places,
            map(table.__getitem__, codes),
            sizes,
            exptimes,
        )
        packed = [
            pack_column(typecode, column) for (_, typecode), column in zip(COLUMNS, columns)
        ]
        packed.append(pack_column("Q", [code >> 16 for code in table]))
        packed.append(pack_column("H", [code & 0xFFFF for code in table]))
        if self._new_forms:
            self._write_json(b"F", self._new_forms)
            self._new_forms = []
        head = _ROWS.pack(len(rows)) + _ROWS.pack(len(table))
        self._write_block(b"O", head + b"".join(packed))

    def _time_differences(self, times_ns: Sequence[int]) -> List[int]:
        start = self._start_ns
        ticks = [(time_ns - start) // TICK_NS for time_ns in times_ns]
        return [ticks[0], *(b - a for a, b in zip(ticks, ticks[1:]))]

    def _number_form(self, form: bytes) -> int:
        # Numbers begin with 1, so that `or` finds the unknown ones.
        if len(self._forms) >= 0xF000:  # somebody counts by ever different numbers
            words = [word if word.isalpha() else word[:1] for word in form.split(b" ")[1:]]
            words = [word if word.isalpha() else b"?" for word in words]
            form = b" ".join([form.split(b" ", 1)[0], *words])
            if len(self._forms) >= 0xFF00:  # and even the flags come in too many orders
                form = form.split(b" ", 1)[0]
            if form in self._forms:
                return self._forms[form]
        self._forms[form] = len(self._forms) + 1
        self._new_forms.append(form.decode("ascii", "replace"))
        return self._forms[form]

    def _write_json(self, kind: bytes, value: Any) -> None:
        self._write_block(kind, json.dumps(value, separators=(",", ":")).encode())

    def _write_block(self, kind: bytes, payload: bytes) -> None:
        checksum = zlib.crc32(payload, zlib.crc32(kind))
        self._write_all(_BLOCK_HEADER.pack(kind, len(payload), checksum) + payload)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if self.path != "-":  # stdout may hold what others wrote
                with contextlib.suppress(OSError):  # back to the last whole block
                    os.ftruncate(self._fd, self.written_bytes)
            kept = "; what was written before can be read" if self._started else ""
            hint = "make room, or record to another place"
            if error.errno == errno.EPIPE:
                hint = "the program that read the profile ended"
            raise ProfileError(
                f"cannot write {printable(self.path)}: {error.strerror}{kept}", hint
            ) from None
        self.written_bytes += len(data)


class Operations:
    """A block of operations as columns: arrays of the same length, see COLUMNS.

    time is in ticks since the start; key is an index into key_hash and key_size.
    """

    __slots__ = tuple(name for name, _ in COLUMNS + KEY_COLUMNS)
    time: Sequence[int]
    latency: Sequence[int]
    connection: Sequence[int]
    form: Sequence[int]
    outcome: Sequence[int]
    batch: Sequence[int]
    key_position: Sequence[int]
    key: Sequence[int]
    value_size: Sequence[int]
    exptime: Sequence[int]
    key_hash: Sequence[int]
    key_size: Sequence[int]


DAMAGED_HINT = "no membench wrote it so; take another copy of the file"


def is_number(value: Any) -> bool:
    """A number that can be counted with: not NaN, not infinite, not true."""
    return type(value) in (int, float) and abs(value) < 1e18


class ProfileReader:
    """Reads a profile, block by block. A context manager.

    header is there from the start; forms, ledger, end and complete grow as blocks() is
    consumed. Raises ProfileError for what is not a profile.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.forms = [""]  # numbers begin with 1
        self.ledger: Dict[str, float] = {}
        self.end: Dict[str, float] = {}
        self.complete = False
        self.opened = 0
        self.connections = 0
        try:
            self._file: BinaryIO = sys.stdin.buffer if path == "-" else open(path, "rb")
        except OSError as error:
            raise ProfileError(
                f"cannot read {printable(path)}: {error.strerror}",
                "check the name, and whose file it is",
            ) from None
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ProfileReader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def _error(self, what: str, hint: str) -> ProfileError:
        return ProfileError(f"{printable(self.path)} {what}", hint)

    def _read_header(self) -> Dict[str, Any]:
        try:
            head = self._file.read(_FILE_HEADER.size)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror}", "name a profile") from None
        if not head or not MAGIC.startswith(head[: len(MAGIC)]):
            what = "is not a membench profile" if head else "is empty"
            raise self._error(what, "make one with: membench.py record")
        if len(head) == _FILE_HEADER.size:
            version = _FILE_HEADER.unpack(head)[1]
            if version != FORMAT_VERSION:
                raise self._error(
                    f"has profile format {version}; this membench reads format {FORMAT_VERSION}",
                    "use the membench that recorded it, or a later one",
                )
            kind, payload = self._read_block() or (b"", memoryview(b""))
            header = self._decode_json(payload) if kind == b"H" else None
            if isinstance(header, dict):
                ports = header.get("ports")
                if not is_number(header.get("started_unix")) or not isinstance(ports, list):
                    raise self._error("is damaged: its header is not whole", DAMAGED_HINT)
                return header
        raise self._error("is cut before its first block", "nothing in it can be read")

    def _read_block(self) -> Optional[Tuple[bytes, memoryview]]:
        """The next whole block, or None."""
        head = self._file.read(_BLOCK_HEADER.size)
        if len(head) < _BLOCK_HEADER.size:
            return None
        kind, length, checksum = _BLOCK_HEADER.unpack(head)
        if length > BLOCK_BYTES_MAX:
            return None
        payload = self._file.read(length)
        if len(payload) < length or zlib.crc32(payload, zlib.crc32(kind)) != checksum:
            return None
        return kind, memoryview(payload)

    def _decode_json(self, payload: memoryview) -> Any:
        try:
            return json.loads(bytes(payload))
        except (ValueError, RecursionError):
            raise self._error("is damaged: a block holds no JSON", DAMAGED_HINT) from None

    def _decode_numbers(self, payload: memoryview) -> Dict[str, float]:
        """The numbers in a JSON object; all that the ledger and the end consist of."""
        found = self._decode_json(payload)
        if not isinstance(found, dict):
            raise DamagedError("a block is not a JSON object")
        return {name: value for name, value in found.items() if is_number(value)}

    def blocks(self) -> Iterator[Operations]:
        """All operations, in the order of the file."""
        while True:
            block = self._read_block()
            if block is None:
                return
            kind, payload = block
            try:
                if kind == b"O":
                    yield self._decode_operations(payload)
                elif kind == b"C":
                    self._count_connections(payload)
                elif kind == b"F":
                    self.forms.extend(printable(str(form)) for form in self._decode_json(payload))
                elif kind == b"L":
                    self.ledger = self._decode_numbers(payload)
                elif kind == b"E":
                    self.end = self._decode_numbers(payload)
                    self.complete = True
                    return
            except (struct.error, zlib.error, ArithmeticError, ValueError, TypeError) as error:
                raise self._error(f"is damaged: {error}", DAMAGED_HINT) from None

    def _decode_operations(self, payload: memoryview) -> Operations:
        rows, keys = struct.unpack_from("<II", payload)
        if max(rows, keys) > BLOCK_ROWS_MAX or not rows:
            raise DamagedError("a block has an impossible number of rows")
        operations = Operations()
        at = 8
        for name, typecode in COLUMNS:
            column, at = unpack_column(typecode, rows, payload, at)
            setattr(operations, name, column)
        for name, typecode in KEY_COLUMNS:
            column, at = unpack_column(typecode, keys, payload, at)
            setattr(operations, name, column)
        operations.time = array("q", accumulate(operations.time))
        if max(operations.form) >= len(self.forms) or max(operations.outcome) >= len(OUTCOMES):
            raise DamagedError("an operation has an unknown form or outcome")
        if max(operations.key) >= keys:
            raise DamagedError("an operation has an unknown key")
        return operations

    def _count_connections(self, payload: memoryview) -> None:
        (rows,) = _ROWS.unpack_from(payload)
        if rows > BLOCK_ROWS_MAX:
            raise DamagedError("a block has an impossible number of rows")
        at = _ROWS.size
        for name, typecode in CONNECTION_COLUMNS:
            column, at = unpack_column(typecode, rows, payload, at)
            if name == "kind":
                self.opened += column.count(OPEN)
                self.connections += column.count(OPEN) + column.count(RECV)


# ==== Analysis ========================================================================
#
# Pure functions from operations to a report. Whole columns go through Counter, zip and
# map, which run at C speed.

PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))
DISTINCT_MAX = 200_000  # distinct latencies kept exactly; more are rounded to 3 digits
TTL_COMMANDS = frozenset(
    ("set", "add", "replace", "cas", "touch", "gat", "gats", "ms", "mg", "ma")
)
GET_COMMANDS = frozenset(("get", "gets", "gat", "gats", "mg"))
RELATIVE_EXPTIME_MAX = 60 * 60 * 24 * 30  # a larger exptime is a Unix time

# outcome -> does the command's own counter call it a hit or a miss?
HIT_OUTCOMES = frozenset((HIT, DELETED, TOUCHED, OK))
MISS_OUTCOMES = frozenset((MISS, NOT_FOUND))
HIT_OR_MISS_COMMANDS = GET_COMMANDS | {"delete", "touch", "incr", "decr", "md", "ma", "me"}


def percentile(counts: List[Tuple[int, int]], total: int, share: float) -> int:
    """The smallest value that at least this share of all does not exceed.

    counts is sorted (value, how often) and has `total` in all.
    """
    wanted = math.ceil(total * share)
    seen = 0
    for value, count in counts:
        seen += count
        if seen >= wanted:
            return value
    return counts[-1][0]


def describe_sizes(counts: Dict[int, int]) -> Optional[Dict[str, Any]]:
    """Minimum, mean, percentiles and maximum of (value -> how often), or None."""
    total = sum(counts.values())
    if not total:
        return None
    ordered = sorted(counts.items())
    report: Dict[str, Any] = {
        "count": total,
        "min": ordered[0][0],
        "mean": round(sum(value * count for value, count in ordered) / total, 1),
    }
    for name, share in PERCENTILES[:3]:
        report[name] = percentile(ordered, total, share)
    report["max"] = ordered[-1][0]
    return report


def describe_latency(counts: Dict[int, int]) -> Optional[Dict[str, float]]:
    """Percentiles in microseconds of (ticks -> how often), or None."""
    ordered = sorted(item for item in counts.items() if item[0])
    total = sum(count for _, count in ordered)
    if not total:
        return None
    ticks = {name: percentile(ordered, total, share) for name, share in PERCENTILES}
    ticks["max"] = ordered[-1][0]
    return {name: value * TICK_NS / 1000 for name, value in ticks.items()}


def round_to_3_digits(counts: Counter[int]) -> Counter[int]:
    """The same counts with values rounded, so that there are few different ones."""
    rounded: Counter[int] = Counter()
    for value, count in counts.items():
        unit = 10 ** max(len(str(value)) - 3, 0)
        rounded[value // unit * unit] += count
    return rounded


class Analysis:
    """What is counted over all blocks of the profiles."""

    def __init__(self) -> None:
        self.outcomes: Counter[Tuple[str, int]] = Counter()  # (command, outcome)
        self.requests: Counter[str] = Counter()  # by command
        self.latencies: Dict[str, Counter[int]] = {}  # command -> ticks
        self.keys: Counter[int] = Counter()  # hash -> operations
        self.key_sizes: Counter[int] = Counter()
        self.value_sizes: Counter[int] = Counter()
        self.ttls: Counter[int] = Counter()  # seconds; 0: none, -1: already expired
        self.exptimes: Counter[Tuple[str, int]] = Counter()  # (command, as it was sent)
        self.batch_places: Counter[int] = Counter()
        self.key_places: Counter[int] = Counter()  # of retrieval requests
        self.seconds: Counter[int] = Counter()  # operations by second of the recording
        self.noreply = 0

    def add(self, block: Operations, forms: List[str], started_at: float) -> None:
        """Count one block. forms: the profile's so far; started_at: its Unix time."""
        commands = [form.split(" ", 1)[0] for form in forms]
        firsts = [not place for place in block.key_position]
        first_forms = [form for form, first in zip(block.form, firsts) if first]

        for (form, outcome), count in Counter(zip(block.form, block.outcome)).items():
            self.outcomes[commands[form], outcome] += count
        for form, count in Counter(first_forms).items():
            self.requests[commands[form]] += count
            if forms[form].endswith(" noreply"):
                self.noreply += count
        for (form, ticks), count in Counter(zip(block.form, block.latency)).items():
            if ticks:
                self.latencies.setdefault(commands[form], Counter())[ticks] += count
        for command, counts in self.latencies.items():
            if len(counts) > DISTINCT_MAX:
                self.latencies[command] = round_to_3_digits(counts)
        self._add_keys(block)
        self.value_sizes.update(block.value_size)
        now = int(started_at + block.time[0] / TICKS_PER_SECOND)
        for (form, exptime), count in Counter(zip(block.form, block.exptime)).items():
            command = commands[form]
            if command in TTL_COMMANDS and (command not in ("mg", "ma") or exptime):
                self.ttls[ttl_of(exptime, now)] += count
                self.exptimes[command, exptime] += count
        self.batch_places.update(
            place for place, first in zip(block.batch, firsts) if first
        )
        gets = {number for number, command in enumerate(commands) if command in GET_COMMANDS}
        self.key_places.update(
            place for place, form in zip(block.key_position, block.form) if form in gets
        )
        self.seconds.update(map(floordiv, block.time, repeat(TICKS_PER_SECOND)))

    def _add_keys(self, block: Operations) -> None:
        for key, count in Counter(block.key).items():
            size = block.key_size[key]
            if size:
                self.keys[block.key_hash[key]] += count
                self.key_sizes[size] += count


def ttl_of(exptime: int, now: int) -> int:
    """Seconds to live that an exptime asks for at Unix time `now`; 0: for ever, -1: none."""
    if exptime < 0:
        return -1
    if exptime > RELATIVE_EXPTIME_MAX:
        return max(exptime - now, -1) or -1
    return exptime


def analyze(paths: Sequence[str]) -> Dict[str, Any]:
    """The report on one or several profiles, as `analyze --json` prints it."""
    return analyze_into(Analysis(), paths)


def analyze_into(analysis: Analysis, paths: Sequence[str]) -> Dict[str, Any]:
    """The same, with what was counted left in `analysis`."""
    profiles = []
    ledgers = []
    connections = opened = 0
    duration = 0.0
    key_spaces = set()
    for path in paths:
        with ProfileReader(path) as reader:
            header = reader.header
            started_at = float(header["started_unix"])
            last_tick = 0
            for block in reader.blocks():
                analysis.add(block, reader.forms, started_at)
                last_tick = max(last_tick, block.time[-1])
            seconds = reader.end.get("duration_seconds", last_tick / TICKS_PER_SECOND)
            duration = max(duration, seconds)
            connections += reader.connections
            opened += reader.opened
            ledgers.append(reader.ledger)
            key_spaces.add(header.get("key_space"))
            profiles.append(
                {
                    "path": path,
                    "source": header.get("source"),
                    "hook": header.get("hook"),
                    "host": header.get("host"),
                    "ports": header.get("ports"),
                    "started_at": header.get("started_at"),
                    "duration_seconds": round(seconds, 3),
                    "complete": reader.complete,
                    "format_version": FORMAT_VERSION,
                    "responses": header.get("responses", True),
                    "key_space": header.get("key_space"),
                }
            )
    report = build_report(analysis, duration)
    report["profiles"] = profiles
    report["connections"] = connections
    report["connections_opened"] = opened
    report["keys"]["comparable"] = len(key_spaces) <= 1
    report["loss"] = sum_ledgers(ledgers)
    return report


def sum_ledgers(ledgers: List[Dict[str, float]]) -> Dict[str, Any]:
    """The ledgers of several profiles as one."""
    names = ("bytes_seen", "bytes_lost", "events_lost", "unmatched_responses", "resyncs")
    loss: Dict[str, Any] = {
        name: sum(int(ledger.get(name, 0)) for ledger in ledgers) for name in names
    }
    seen = loss["bytes_seen"]
    loss["coverage"] = (seen - loss["bytes_lost"]) / seen if seen else 1.0
    return loss


def build_report(analysis: Analysis, duration: float) -> Dict[str, Any]:
    """The report without what is known of the files."""
    operations = sum(analysis.outcomes.values())
    commands: Dict[str, Any] = {}
    for command, requests in sorted(analysis.requests.items(), key=lambda item: -item[1]):
        outcomes = {
            outcome: count
            for (name, outcome), count in sorted(analysis.outcomes.items())
            if name == command
        }
        counted = command in HIT_OR_MISS_COMMANDS
        commands[command] = {
            "requests": requests,
            "operations": sum(outcomes.values()),
            "hits": sum(outcomes.get(o, 0) for o in HIT_OUTCOMES) if counted else 0,
            "misses": sum(outcomes.get(o, 0) for o in MISS_OUTCOMES) if counted else 0,
            "outcomes": {OUTCOMES[outcome]: count for outcome, count in outcomes.items()},
            "latency_us": describe_latency(analysis.latencies.get(command, {})),
        }
    gets = [commands[name] for name in GET_COMMANDS if name in commands]
    hits = sum(command["hits"] for command in gets)
    misses = sum(command["misses"] for command in gets)
    all_latencies: Counter[int] = Counter()
    for counts in analysis.latencies.values():
        all_latencies.update(counts)
    value_sizes = {size: n for size, n in analysis.value_sizes.items() if size != NO_SIZE}
    key_operations = sum(analysis.keys.values())
    requests_total = sum(analysis.requests.values())
    batches = analysis.batch_places[0]
    get_requests = analysis.key_places[0]
    return {
        "requests": requests_total,
        "operations": operations,
        "operations_per_second": round(operations / duration, 1) if duration else None,
        "hits": hits,
        "misses": misses,
        "hit_ratio": hits / (hits + misses) if hits + misses else None,
        "commands": commands,
        "latency_us": describe_latency(all_latencies),
        "keys": {
            "unique": len(analysis.keys),
            "size_bytes": describe_sizes(analysis.key_sizes),
            "top": [
                {"key": f"{key:016x}", "operations": count, "share": count / key_operations}
                for key, count in analysis.keys.most_common(10)
            ],
        },
        "values": {
            "size_bytes": describe_sizes(value_sizes),
            "histogram": powers_of_two(value_sizes),
        },
        "key_size_histogram": powers_of_two(analysis.key_sizes),
        "ttl_seconds": {
            "none": analysis.ttls.get(0, 0),
            "expired": analysis.ttls.get(-1, 0),
            "set": describe_sizes({t: n for t, n in analysis.ttls.items() if t > 0}),
        },
        "noreply_requests": analysis.noreply,
        "pipelining": {
            "mean_depth": round(requests_total / batches, 2) if batches else None,
            "max_depth": max(analysis.batch_places, default=-1) + 1,
        },
        "keys_per_get": {
            "mean": round(sum(analysis.key_places.values()) / get_requests, 2)
            if get_requests
            else None,
            "max": max(analysis.key_places, default=-1) + 1,
        },
        "timeline": timeline(analysis.seconds),
    }


def powers_of_two(counts: Dict[int, int]) -> List[Dict[str, int]]:
    """A histogram: how many values are at most 16, 32, 64, ... bytes."""
    buckets: Counter[int] = Counter()
    for value, count in counts.items():
        buckets[max(1 << (max(value, 1) - 1).bit_length(), 1)] += count
    return [{"up_to": limit, "count": buckets[limit]} for limit in sorted(buckets)]


def timeline(seconds: Counter[int], points: int = 60) -> Dict[str, Any]:
    """Operations over time in at most `points` equal steps of whole seconds."""
    if not seconds:
        return {"step_seconds": 1, "operations": []}
    first, last = min(seconds), max(seconds)
    step = (last - first) // points + 1
    steps = [0] * ((last - first) // step + 1)
    for second, count in seconds.items():
        steps[(second - first) // step] += count
    return {"step_seconds": step, "operations": steps}


# ---- Comparing two profiles ----


class Line(NamedTuple):
    """One line of a comparison. same None: shown only; it says nothing of the traffic."""

    name: str
    first: str
    second: str
    same: Optional[bool]


def compare(first_path: str, second_path: str) -> List[Line]:
    """Do two profiles describe the same traffic, times aside? Line by line."""
    one, two = Analysis(), Analysis()
    pair = analyze_into(one, [first_path]), analyze_into(two, [second_path])
    profiles = [report["profiles"][0] for report in pair]
    same_secret = profiles[0]["key_space"] == profiles[1]["key_space"]
    # How requests fall into reads is known where reads were recorded, not packets.
    reads = all(str(profile["source"]).startswith("ebpf") for profile in profiles)
    depth = equal("pipelining, mean", *(r["pipelining"]["mean_depth"] for r in pair))
    sizes = [Counter({s: n for s, n in a.value_sizes.items() if s != NO_SIZE}) for a in (one, two)]
    lifetimes = [f"{len(analysis.exptimes):,} kinds" for analysis in (one, two)]
    return [
        show("profile", *(os.path.basename(printable(p["path"])) for p in profiles)),
        show("source", *(printable(f"{p['source']}, {p['hook']}") for p in profiles)),
        equal("requests", *(report["requests"] for report in pair)),
        equal("operations", *(report["operations"] for report in pair)),
        equal("connections", *(report["connections"] for report in pair)),
        *compare_commands(*(report["commands"] for report in pair)),
        equal("hit ratio", *(report["hit_ratio"] for report in pair)),
        same_counts("key sizes", one.key_sizes, two.key_sizes),
        same_counts("value sizes", *sizes),
        Line("times to live", lifetimes[0], lifetimes[1], one.exptimes == two.exptimes),
        same_counts("keys per get", keys_per_get(one.key_places), keys_per_get(two.key_places)),
        *compare_keys(one.keys, two.keys, same_secret),
        depth if reads else depth._replace(same=None),
        show("operations/s", *(human_number(r["operations_per_second"]) for r in pair)),
        *(
            show(f"latency {p}, us", *(human_number((r["latency_us"] or {}).get(p)) for r in pair))
            for p in ("p50", "p99")
        ),
        show("bytes lost", *(human_number(report["loss"]["bytes_lost"]) for report in pair)),
    ]


def show(name: str, first: str, second: str) -> Line:
    """A line that is for reading only."""
    return Line(name, first, second, None)


def equal(name: str, first: Optional[float], second: Optional[float]) -> Line:
    """A line with one number a profile."""
    return Line(name, human_number(first), human_number(second), first == second)


def human_number(number: Optional[float]) -> str:
    """1234 -> 1,234; 0.98765 -> 0.98765; None -> -"""
    return "-" if number is None else f"{number:,}" if type(number) is int else f"{number:,.6g}"


def same_counts(name: str, first: Counter[int], second: Counter[int]) -> Line:
    """A line on two distributions: the same only if each value is there as often."""

    def text(counts: Counter[int]) -> str:
        sizes = describe_sizes(counts)
        return f"{sizes['min']}..{sizes['max']}, mean {sizes['mean']}" if sizes else "-"

    return Line(name, text(first), text(second), first == second)


def keys_per_get(places: Counter[int]) -> Counter[int]:
    """How many gets had so many keys, from how many keys stood in so many a place."""
    return Counter(
        {place + 1: count - places[place + 1] for place, count in places.items()}
    ) - Counter()


def compare_commands(first: Dict[str, Any], second: Dict[str, Any]) -> List[Line]:
    """Each command, and those of its outcomes that differ."""
    lines = []
    for command in dict.fromkeys([*first, *second]):
        found = [commands.get(command, {}) for commands in (first, second)]
        lines.append(equal(command, *(f.get("operations", 0) for f in found)))
        outcomes = [f.get("outcomes", {}) for f in found]
        for name in dict.fromkeys([*outcomes[0], *outcomes[1]]):
            line = equal(f"  {name}", *(counts.get(name, 0) for counts in outcomes))
            if not line.same:
                lines.append(line)
    return lines


def compare_keys(first: Counter[int], second: Counter[int], same_secret: bool) -> List[Line]:
    """How many keys there are, how popular, and, if the hashes can tell, which."""
    popularity = [sorted(keys.values(), reverse=True) for keys in (first, second)]
    hottest = [f"hottest {counts[0]:,}" if counts else "-" for counts in popularity]
    lines = [
        equal("different keys", len(first), len(second)),
        Line("key popularity", hottest[0], hottest[1], popularity[0] == popularity[1]),
    ]
    if same_secret:
        both = f"{len(first.keys() & second.keys()):,} in both"
        lines.append(Line("which keys", both, both, first == second))
    else:
        lines.append(show("which keys", "not known:", "needs one --salt"))
    return lines


def render_comparison(lines: List[Line]) -> str:
    """The comparison as text; what differs is marked."""
    marks = {None: "", True: "  =", False: "  !="}
    return "\n".join(
        f"{name:<18} {first:>27} {second:>27}{marks[same]}" for name, first, second, same in lines
    )


# ---- The report for people, 80 columns ----


def bar(share: float, width: int = 24) -> str:
    """A bar that is never empty for what is not nothing."""
    return "#" * max(round(share * width), 1 if share > 0 else 0)


def human_bytes(count: float) -> str:
    """1536 -> 1.5K"""
    for unit in ("", "K", "M", "G"):
        if abs(count) < 1024 or unit == "G":
            return f"{count:.0f}{unit}" if unit == "" or count >= 100 else f"{count:.1f}{unit}"
        count /= 1024
    raise AssertionError


def human_seconds(seconds: float) -> str:
    """90 -> 1.5m"""
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds / 86400:.3g}d"


def render(report: Dict[str, Any]) -> str:
    """The report as text."""
    sections = [
        render_profiles(report),
        render_summary(report),
        render_commands(report),
        render_latency(report),
        render_histogram("Key sizes (bytes)", report["key_size_histogram"]),
        render_sizes("  key", report["keys"]["size_bytes"]),
        render_histogram("Value sizes (bytes)", report["values"]["histogram"]),
        render_sizes("  value", report["values"]["size_bytes"]),
        render_ttls(report),
        render_keys(report),
        render_timeline(report),
        render_loss(report),
    ]
    return "\n".join(line for section in sections for line in section)


def render_profiles(report: Dict[str, Any]) -> List[str]:
    lines = []
    for profile in report["profiles"]:
        ports = ", ".join(str(port) for port in profile["ports"] or [])
        path = printable(str(profile["path"]))
        lines.append(path)
        start = f"{profile['started_at']}, {profile['duration_seconds']:.1f} s"
        lines.append(printable(f"  {profile['host']}, {start}"))
        lines.append(printable(f"  port {ports}, {profile['source']}, {profile['hook']} hook"))
        if not profile["complete"]:
            lines.append("  CUT: the end is missing; this is all up to the last whole block.")
    return lines


def render_summary(report: Dict[str, Any]) -> List[str]:
    rate = report["operations_per_second"]
    ratio = report["hit_ratio"]
    depth = report["pipelining"]
    per_get = report["keys_per_get"]
    lines = [
        "",
        f"Requests     {report['requests']:>14,}",
        f"Operations   {report['operations']:>14,}   "
        + (f"{rate:,.0f}/s" if rate is not None else ""),
        f"Hit ratio    {'-' if ratio is None else format(ratio, '.2%'):>14}   "
        f"{report['hits']:,} hits, {report['misses']:,} misses",
        f"Connections  {report['connections']:>14,}   "
        f"{report['connections_opened']:,} of them opened while recording",
    ]
    if depth["mean_depth"]:
        lines.append(
            f"Pipelining   {depth['mean_depth']:>14}   "
            f"requests a read on average, {depth['max_depth']:,} at most"
        )
    if per_get["mean"]:
        lines.append(
            f"Keys per get {per_get['mean']:>14}   on average, {per_get['max']:,} at most"
        )
    return lines


def render_commands(report: Dict[str, Any]) -> List[str]:
    if not report["commands"]:
        return []
    lines = ["", "Command      operations   share              outcomes"]
    total = max(report["operations"], 1)
    for name, command in report["commands"].items():
        share = command["operations"] / total
        outcomes = sorted(command["outcomes"].items(), key=lambda item: -item[1])
        first = f"{name:<11} {command['operations']:>11,} {share:>7.2%}  {bar(share, 10):<10}"
        texts = [f"{outcome} {count:,}" for outcome, count in outcomes]
        lines += textwrap.wrap(
            ", ".join(texts), 80, initial_indent=first + " ", subsequent_indent=" " * 44
        )
    return lines


def render_latency(report: Dict[str, Any]) -> List[str]:
    rows = [(name, c["latency_us"]) for name, c in report["commands"].items() if c["latency_us"]]
    if not rows:
        return []
    lines = ["", "Server latency (us)     p50        p90        p99      p99.9        max"]
    if len(rows) > 1:
        rows.append(("all", report["latency_us"]))
    for name, latency in rows:
        values = "".join(
            f"{latency[key]:>11,.1f}" for key in ("p50", "p90", "p99", "p999", "max")
        )
        lines.append(f"{name:<16}{values}")
    return lines


def render_histogram(title: str, histogram: List[Dict[str, int]]) -> List[str]:
    if not histogram:
        return []
    total = sum(bucket["count"] for bucket in histogram)
    lines = ["", title]
    for bucket in histogram:
        share = bucket["count"] / total
        limit = human_bytes(bucket["up_to"])
        lines.append(f"  up to {limit:>6} {bucket['count']:>14,} {share:>7.2%}  {bar(share)}")
    return lines


def render_sizes(name: str, sizes: Optional[Dict[str, Any]]) -> List[str]:
    if not sizes:
        return []
    values = ", ".join(
        f"{key} {sizes[key]:,}" for key in ("min", "mean", "p50", "p90", "p99", "max")
    )
    return [f"{name}: {values}"]


def render_ttls(report: Dict[str, Any]) -> List[str]:
    ttls = report["ttl_seconds"]
    total = ttls["none"] + ttls["expired"] + (ttls["set"] or {"count": 0})["count"]
    if not total:
        return []
    lines = ["", f"Time to live   none {ttls['none'] / total:.2%}"]
    if ttls["expired"]:
        lines[-1] += f", already expired {ttls['expired'] / total:.2%}"
    if ttls["set"]:
        values = ", ".join(
            f"{key} {human_seconds(ttls['set'][key])}" for key in ("min", "p50", "p90", "max")
        )
        lines.append(f"  given {ttls['set']['count'] / total:.2%}: {values}")
    return lines


def render_keys(report: Dict[str, Any]) -> List[str]:
    keys = report["keys"]
    if not keys["unique"]:
        return []
    lines = ["", f"Keys  {keys['unique']:,} different. The hottest, by their hash:"]
    for top in keys["top"]:
        lines.append(
            f"  {top['key']} {top['operations']:>14,} {top['share']:>7.2%}  {bar(top['share'])}"
        )
    if not keys["comparable"]:
        lines.append("  The profiles have different secrets: the same key counts several times.")
    return lines


def render_timeline(report: Dict[str, Any]) -> List[str]:
    line = report["timeline"]
    peak = max(line["operations"], default=0)
    if len(line["operations"]) < 2:
        return []
    levels = " .:-=+*#%@"
    marks = "".join(
        levels[math.ceil(count / peak * (len(levels) - 1))] for count in line["operations"]
    )
    step = line["step_seconds"]
    return [
        "",
        f"Over time, a mark each {human_seconds(step)}, most {peak / step:,.0f} operations/s",
        f"  |{marks}|",
    ]


def render_loss(report: Dict[str, Any]) -> List[str]:
    loss = report["loss"]
    lines = ["", f"Coverage  {loss_line(loss)}"]
    if not all(profile["responses"] for profile in report["profiles"]):
        lines.append("  Responses were not recorded: no outcomes, no latency.")
    return lines


def loss_line(loss: Dict[str, Any]) -> str:
    """What was not seen, in one line."""
    if not loss.get("bytes_seen"):
        return "no traffic was seen"
    if not loss.get("bytes_lost") and not loss.get("events_lost"):
        text = f"100 %: all {human_bytes(loss.get('bytes_seen', 0))} bytes accounted for"
    else:
        # Never rounded up to 100.
        percent = min(math.floor(loss["coverage"] * 10000) / 100, 99.99)
        text = (
            f"{percent:.2f} %: LOST {loss['bytes_lost']:,} of {loss['bytes_seen']:,} bytes, "
            f"{loss['events_lost']:,} events dropped"
        )
    if loss.get("resyncs"):
        text += f", {loss['resyncs']:,} resyncs"
    if loss.get("unmatched_responses"):
        text += f", {loss['unmatched_responses']:,} unmatched responses"
    return text


# ==== Commands ========================================================================


class Stop:
    """Ctrl-C, SIGTERM and SIGHUP end a recording normally: they set `requested`."""

    SIGNALS = tuple(
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    )

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Stop:
        self._old = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _request(self, _number: int, _frame: Any) -> None:
        if self.requested:  # asked twice: do not wait for who reads our pipe
            raise KeyboardInterrupt
        self.requested = True


class Status:
    """What a recording tells while it runs: one line on a terminal, hints anywhere."""

    INTERVAL = 1.0
    HINT_AFTER = 5.0  # seconds without traffic

    def __init__(self, matcher: Matcher, profile: ProfileWriter, source: Source, quiet: bool):
        self._matcher = matcher
        self._profile = profile
        self._source = source
        self._quiet = quiet
        self._live = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self._started = self._last = time.monotonic()
        self._operations = 0
        self._hinted = False

    def update(self, ports: Sequence[int]) -> None:
        """Call often; does its work once a second."""
        now = time.monotonic()
        if now - self._last < self.INTERVAL:
            return
        matcher = self._matcher
        rate = (matcher.operations - self._operations) / (now - self._last)
        self._last, self._operations = now, matcher.operations
        matcher.ledger.kernel = self._source.counters()
        if self._live:
            self._show(now - self._started, rate)
        if not self._hinted and not self._quiet and now - self._started >= self.HINT_AFTER:
            self._hinted = True
            if not matcher.operations:
                self.clear()
                say("no memcached traffic so far: " + explain_silence(ports, matcher))

    def _show(self, elapsed: float, rate: float) -> None:
        matcher = self._matcher
        gets = matcher.hits + matcher.misses
        ratio = f"{matcher.hits / gets:.1%}" if gets else "-"
        kernel = matcher.ledger.kernel
        lost = kernel.get("dropped_bytes", 0) + matcher.ledger.lost_bytes
        line = (
            f"{elapsed:6.0f} s  {rate:9,.0f} ops/s  hits {ratio:>6}  "
            f"conns {matcher.open_count:,}  lost {human_bytes(lost)}  "
            f"file {human_bytes(self._profile.written_bytes)}"
        )
        width = shutil.get_terminal_size().columns - 1
        write_stderr(f"\r{line[:width]:<{width}}")

    def clear(self) -> None:
        """Make room for another line."""
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            write_stderr(f"\r{'':<{width}}\r")


def print_result(text: str) -> None:
    """To stdout, at once, so that a failure is noticed here and not at the exit."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        print(text, flush=True)
    except OSError as error:
        if sys.stdout:  # or the interpreter would try, and complain, once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if error.errno == errno.EPIPE:  # the reader has seen enough, as `head` has
            raise SystemExit(1) from None
        raise MembenchError(
            f"cannot write the result: {error.strerror}", "send it somewhere else"
        ) from None


def say(text: str) -> None:
    """A line for the user. Results go to stdout, everything else here."""
    write_stderr(f"membench: {text}\n")


def write_stderr(text: str) -> None:
    """What nobody is there to read any more is no reason to end a recording."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def record(options: argparse.Namespace) -> int:
    """Record until the duration is over or somebody stops it; then summarize."""
    ports, why = choose_ports(options.port, options.source)
    secret = options.salt or os.urandom(32)
    with Stop() as stop, ProfileWriter(options.output, options.force) as profile:
        with open_source(options, ports) as source:
            started_ns, started_unix = wait_for_start(source, stop)
            header = describe_recording(options, source, ports, secret, started_unix)
            profile.start(header, started_ns)
            matcher = Matcher(
                profile.add,
                profile.add_connection,
                secret,
                not options.no_responses,
                source.reads,
            )
            status = Status(matcher, profile, source, options.quiet)
            if not options.quiet:
                say(f"recording {source.name} with the {source.hook} hook, {why}; Ctrl-C ends it")
            while not stop.requested and not is_over(source, started_ns, options.duration):
                segments = source.read(POLL_MS)
                if segments is None:
                    break
                take_in(segments, source, matcher, profile)
                status.update(ports)
            duration_ns = source.now() - started_ns
            source.stop()
            drain(source, matcher, profile)
            matcher.ledger.kernel = source.counters()
        duration = duration_ns / NS_PER_SECOND
        profile.finish(matcher.ledger, {"duration_seconds": duration})
        status.clear()
        if not options.quiet:
            summarize(matcher, profile, duration, ports)
        for remark in source.remarks:
            say(remark)
    return 0


POLL_MS = 50


def wait_for_start(source: Source, stop: Stop) -> Tuple[int, float]:
    """See Source.started; now, if somebody ends the recording before it began."""
    while not stop.requested:
        start = source.started(POLL_MS)
        if start:
            return start
    return source.now(), time.time()


def is_over(source: Source, started_ns: int, duration: Optional[float]) -> bool:
    """Has the recording lasted as long as was asked for, in the source's own time?"""
    return duration is not None and source.now() - started_ns >= duration * NS_PER_SECOND


def take_in(
    segments: Iterable[Segment], source: Source, matcher: Matcher, profile: ProfileWriter
) -> None:
    """A batch from the source to the file."""
    matcher.process(segments)
    if profile.is_due():
        matcher.ledger.kernel = source.counters()
        profile.flush(matcher.ledger)


def drain(source: Source, matcher: Matcher, profile: ProfileWriter) -> None:
    """Take in what the stopped source had seen already, and end all connections."""
    while True:
        segments = source.read(0)
        if not segments:
            break
        take_in(segments, source, matcher, profile)
    matcher.process(())  # twice: closed connections wait for a batch
    matcher.process(())
    matcher.finish()


def open_source(options: argparse.Namespace, ports: Sequence[int]) -> Source:
    """The source that the user named; with none named, eBPF, or else packets."""
    kind, interface = options.source
    if kind == "file":
        return CaptureSource(interface, ports)
    if kind == "packet":
        return PacketSource(ports, named_interface(interface), options.ring_size or 64)
    try:
        return open_ebpf(options, ports, named_interface(interface))
    except SourceError as error:
        if kind == "ebpf":
            raise
        ebpf_error = error
    try:
        source = PacketSource(ports, None, options.ring_size or 64)
    except SourceError as error:
        raise SourceError(
            f"neither eBPF nor packets can be recorded here: {ebpf_error}; {error}",
            ebpf_error.hint,
        ) from None
    if not options.quiet:
        say(f"eBPF is not used, but packets: {ebpf_error}")
    return source


def named_interface(name: str) -> Optional[str]:
    """None stands for all of them."""
    return None if name == "any" else name


def open_ebpf(
    options: argparse.Namespace, ports: Sequence[int], interface: Optional[str]
) -> EbpfSource:
    """Record at the sockets."""
    image = None
    if options.bpf_object:
        try:
            with open(options.bpf_object, "rb") as file:
                image = file.read()
        except OSError as error:
            raise MembenchError(
                f"cannot read {printable(options.bpf_object)}: {error.strerror}",
                "name an object file, as bpf/programs.bpf.o",
            ) from None
    return EbpfSource(
        ports,
        interface,
        options.hook,
        not options.no_responses,
        options.ring_size or 16,
        image,
        options.verbose,
    )


def describe_recording(
    options: argparse.Namespace,
    source: Source,
    ports: Sequence[int],
    secret: bytes,
    started_unix: float,
) -> Dict[str, Any]:
    """The header of a profile."""
    elsewhere = options.source[0] == "file"  # nobody knows on which machine it was captured
    return {
        "membench": VERSION,
        "source": source.name,
        "hook": source.hook,
        "side": "server",
        "host": "" if elsewhere else platform.node(),
        "kernel": "" if elsewhere else platform.release(),
        "ports": list(ports),
        "responses": not options.no_responses,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_unix)),
        "started_unix": started_unix,
        # Tells whether two profiles have the same secret, not which.
        "key_space": hashlib.blake2b(b"key space", digest_size=8, key=secret).hexdigest(),
    }


def summarize(
    matcher: Matcher, profile: ProfileWriter, duration: float, ports: Sequence[int]
) -> None:
    """The last lines of a recording: what it holds, what it lost, what to do with it."""
    gets = matcher.hits + matcher.misses
    ratio = f", hit ratio {matcher.hits / gets:.2%}" if gets else ""
    say(
        f"{matcher.operations:,} operations in {duration:.1f} s{ratio}, "
        f"{matcher.total_count:,} connection{'s' * (matcher.total_count != 1)}, "
        f"{human_bytes(profile.written_bytes)} bytes written"
    )
    if not matcher.operations:
        say("nothing was recorded: " + explain_silence(ports, matcher))
    if profile.path != "-":
        say(f"next: {os.path.basename(sys.argv[0])} analyze {printable(profile.path)}")
    report = matcher.ledger.report()
    kernel = report["kernel"]
    line = "coverage " + loss_line(report)
    if kernel.get("dropped_events"):
        line += "; a larger --ring-size loses less"
    if kernel.get("unreadable_bytes"):
        line += f"; {kernel['unreadable_bytes']:,} bytes moved by calls that cannot be read"
    say(line)


# ---- memcached on this machine ----


class Server(NamedTuple):
    """A memcached process."""

    pid: int
    ports: List[int]  # TCP ports it listens on
    unix_sockets: List[str]


def find_servers() -> List[Server]:
    """The memcached processes of this machine that may be looked into."""
    servers = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/comm", "rb") as file:
                if file.read().strip() != b"memcached":
                    continue
            inodes = set()
            for fd in os.listdir(f"/proc/{name}/fd"):
                with contextlib.suppress(OSError):
                    inodes.add(os.readlink(f"/proc/{name}/fd/{fd}")[8:-1])  # socket:[INODE]
            servers.append(
                Server(int(name), listening_ports(name, inodes), listening_paths(name, inodes))
            )
    return servers


TCP_LISTEN = "0A"
TCP_ESTABLISHED = "01"


def tcp_sockets(pid: str) -> Iterator[Tuple[int, int, str, str]]:
    """(local port, remote port, state, inode) of each socket in a process's namespace."""
    for family in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/net/{family}", encoding="ascii") as file:
                next(file)
                for line in file:
                    words = line.split()
                    local, remote = words[1].rpartition(":")[2], words[2].rpartition(":")[2]
                    yield int(local, 16), int(remote, 16), words[3], words[9]


def listening_ports(pid: str, inodes: Iterable[str]) -> List[int]:
    """The ports that a process with these sockets listens on."""
    wanted = set(inodes)
    return sorted(
        {
            port
            for port, _, state, inode in tcp_sockets(pid)
            if state == TCP_LISTEN and inode in wanted
        }
    )


def listening_paths(pid: str, inodes: Iterable[str]) -> List[str]:
    """The Unix sockets that a process with these sockets is bound to."""
    wanted = set(inodes)
    paths = []
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/net/unix", encoding="utf-8", errors="replace") as file:
            next(file)
            for line in file:
                words = line.split()
                if len(words) > 7 and words[6] in wanted:
                    paths.append(printable(words[7]))
    return sorted(set(paths))


def choose_ports(
    asked: Optional[List[int]], source: Tuple[str, str] = ("auto", "any")
) -> Tuple[List[int], str]:
    """The ports to watch, and why those in words."""
    if asked:
        ports = sorted(set(asked))
        return ports, ports_text(ports)
    if source[0] == "file":  # what runs on this machine says nothing about a capture
        return [DEFAULT_PORT], f"port {DEFAULT_PORT} (the default)"
    ports = sorted({port for server in find_servers() for port in server.ports})
    if ports:
        return ports, f"{ports_text(ports)} (where memcached listens)"
    return [DEFAULT_PORT], f"port {DEFAULT_PORT} (no memcached found here; the default)"


def ports_text(ports: Sequence[int]) -> str:
    """port 11211; ports 11211, 11212"""
    return ("port " if len(ports) == 1 else "ports ") + ", ".join(map(str, ports))


def explain_silence(ports: Sequence[int], matcher: Matcher) -> str:
    """Why nothing may have been recorded, from what this machine shows."""
    kernel = matcher.ledger.kernel
    if kernel.get("recv_bytes"):
        return (
            f"{kernel['recv_bytes']:,} bytes were read on {ports_text(ports)}, but no memcached "
            "text command was found in them. TLS, the binary protocol, or another service?"
        )
    servers = find_servers()
    served = {port for server in servers for port in server.ports}
    if served and not served & set(ports):
        return (
            f"memcached listens on {ports_text(sorted(served))} here, not on {ports_text(ports)}. "
            f"Try --port {min(served)}"
        )
    sockets = list(tcp_sockets("self"))
    if not served and any(r in ports and s == TCP_ESTABLISHED for _, r, s, _ in sockets):
        return (
            "this machine has clients of such a port, but no server. "
            "Record on the server's machine"
        )
    paths = [path for server in servers for path in server.unix_sockets]
    if paths and not served:
        return f"memcached listens on the Unix socket {paths[0]}, which is not recorded yet"
    if not any(local in ports and state == TCP_LISTEN for local, _, state, _ in sockets):
        return f"nothing listens on {ports_text(ports)} here. Another --port, or another machine?"
    return f"the server on {ports_text(ports)} is idle, as far as membench can see"


# ---- check ----


def check(options: argparse.Namespace) -> int:
    """Say what would work on this machine, and why the rest would not."""
    rows: List[Tuple[str, bool, str]] = []

    def probe(name: str, action: Callable[[], str]) -> bool:
        try:
            rows.append((name, True, action()))
            return True
        except MembenchError as error:
            rows.append((name, False, f"{error}. {error.hint}"))
        except LibbpfError as error:
            rows.append((name, False, str(error)))
        return False

    def probe_hook(hook: str) -> str:
        with EbpfSource([DEFAULT_PORT], hook=hook, ring_mib=1, verbose=options.verbose):
            return "loads and attaches"

    def probe_packets() -> str:
        with PacketSource([DEFAULT_PORT], ring_mib=2):
            names = ", ".join(printable(name) for _, name in socket.if_nameindex())
        return f"packet:any, or one of: {names}"

    def probe_library() -> str:
        Libbpf()
        return "found"

    def probe_machine() -> str:
        require_bpf()
        return f"Linux {platform.release()}, BTF, privileges"

    probe("kernel", probe_machine)
    probe("libbpf", probe_library)
    hooks = [probe(f"hook {hook}", lambda hook=hook: probe_hook(hook)) for hook in HOOKS]  # type: ignore[misc]
    packets = probe("packets", probe_packets)
    rows.append(("capture files", True, "FILE.pcap, FILE.pcapng, or - for a pipe"))
    lines = [f"{'yes' if good else 'NO':<4} {name:<14} {text}" for name, good, text in rows]
    for server in find_servers():
        where = [ports_text(server.ports)] if server.ports else []
        places = ", ".join(where + server.unix_sockets)
        lines.append(f"     memcached      pid {server.pid}: {places}")
    works = any(hooks) or packets
    lines.append(f"record would{'' if works else ' not'} work here.")
    print_result("\n".join(lines))
    return 0 if works else 1


def analyze_command(options: argparse.Namespace) -> int:
    """Print the report on the profiles."""
    report = analyze(options.profile)
    print_result(json.dumps(report, indent=1) if options.json else render(report))
    for profile in report["profiles"]:
        if not profile["complete"]:
            say(f"{printable(profile['path'])} was cut; what is whole was read")
    return 0


def compare_command_line(options: argparse.Namespace) -> int:
    """Print two profiles side by side; 0 if they describe the same traffic, else 1."""
    lines = compare(options.first, options.second)
    different = sum(line.same is False for line in lines)
    verdict = f"not the same: {different} lines differ" if different else "the same, times aside"
    print_result(render_comparison(lines) + f"\n{verdict}")
    return 1 if different else 0


# ---- The command line ----

SOURCE_HINT = (
    "SOURCE is ebpf:any, ebpf:INTERFACE, packet:any, packet:INTERFACE, INTERFACE, "
    "FILE.pcap, FILE.pcapng, or - for a capture on stdin"
)

EXAMPLES = """\
examples:
  sudo membench.py record                      all servers here, until Ctrl-C
  sudo membench.py record --duration 60        for a minute
  sudo membench.py record --port 11212 out.profile
  sudo membench.py record ebpf:eth0            only what comes in by eth0
  sudo membench.py record ebpf:any - | ssh host 'cat > out.profile'
  sudo membench.py record packet:eth0          packets, where eBPF does not work
  membench.py record traffic.pcap out.profile  what tcpdump -w captured
  tcpdump -U -w - tcp port 11211 | membench.py record - out.profile
  membench.py analyze out.profile
  membench.py analyze --json out.profile | jq .hit_ratio
  membench.py compare before.profile after.profile
  sudo membench.py check                       what works on this machine
"""

RECORD_NOTES = """\
A profile holds no key and no value: keys are hashed with a secret that is made
up for each recording and kept nowhere. Its mode is 0600.

cost: some hundred nanoseconds of the server's time for each read and each
write, and some microseconds of another CPU for each operation. --no-responses
about halves both, but there is no outcome, no hit ratio and no latency then.
"""


def parse_args(arguments: Sequence[str]) -> argparse.Namespace:
    """The finished options. Exits with 2 and one line on a mistake, with 0 on --help."""
    parser = argparse.ArgumentParser(
        prog="membench.py",
        description="What a memcached server really does: record its traffic, analyze it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"membench {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_record_arguments(commands)
    add_analyze_arguments(commands)
    sub = commands.add_parser(
        "compare",
        help="tell whether two profiles describe the same traffic",
        description="Two profiles side by side. Exit status 0 if they describe the same\n"
        "traffic, times aside; 1 if not.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("first", metavar="PROFILE")
    sub.add_argument("second", metavar="PROFILE")
    sub.set_defaults(run=compare_command_line)
    sub = commands.add_parser("check", help="say what would work on this machine")
    sub.add_argument("-v", "--verbose", action="store_true", help="show the kernel's words")
    sub.set_defaults(run=check)
    # argparse takes no SOURCE and OUTPUT with options between them; what it left is theirs.
    options, rest = parser.parse_known_args(arguments)
    if options.command == "record":
        while rest and not options.output and (rest[0] == "-" or rest[0][:1] != "-"):
            options.source, options.output = (
                (options.source, rest.pop(0)) if options.source else (rest.pop(0), None)
            )
    if rest:
        parser.error(f"unrecognized arguments: {printable(' '.join(rest))}")
    if options.command == "record":
        finish_record_options(parser, options)
    return options


def add_record_arguments(commands: Any) -> None:
    """The options of `record`."""
    sub = commands.add_parser(
        "record",
        help="record live traffic into a profile",
        description="Record live memcached traffic into a profile.",
        epilog=RECORD_NOTES + "\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="ebpf:any or ebpf:INTERFACE; packet:any or packet:INTERFACE; a .pcap or .pcapng "
        "file, or - for a capture on stdin. Default: eBPF, and packets where that cannot be",
    )
    sub.add_argument(
        "output",
        nargs="?",
        metavar="OUTPUT",
        help="a file, or - for stdout; default membench-<UTC time>.profile",
    )
    sub.add_argument(
        "--port",
        type=number_within("port", 1, 65535),
        action="append",
        metavar="P",
        help="the server's port; may be repeated. Default: where memcached listens here",
    )
    sub.add_argument(
        "--duration",
        type=seconds,
        metavar="SECONDS",
        help="stop after this time; default: until Ctrl-C or SIGTERM",
    )
    sub.add_argument(
        "--salt",
        type=hex_secret,
        metavar="HEX",
        help="secret for the key hashes, 8 to 64 bytes, to compare keys across profiles",
    )
    sub.add_argument(
        "--hook",
        choices=("auto", *HOOKS),
        default="auto",
        help="kernel hooks: sock needs Linux 6.3, syscalls costs more; default: the best",
    )
    sub.add_argument(
        "--ring-size",
        type=ring_mib,
        metavar="MIB",
        help="buffer between kernel and membench, a power of two; default 16, for packets 64",
    )
    sub.add_argument(
        "--no-responses", action="store_true", help="requests only: cheaper, no outcomes"
    )
    sub.add_argument("--force", action="store_true", help="overwrite OUTPUT if it exists")
    sub.add_argument("--bpf-object", metavar="FILE", help="load the kernel programs from FILE")
    sub.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    sub.add_argument(
        "-v", "--verbose", action="store_true", help="show the kernel's words when it refuses"
    )
    sub.set_defaults(run=record)


def add_analyze_arguments(commands: Any) -> None:
    """The options of `analyze`."""
    sub = commands.add_parser(
        "analyze",
        help="report on profiles",
        description="Report on profiles: commands, hit ratio, latency, sizes, TTLs, hot\n"
        "keys, and what was lost.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("profile", nargs="+", metavar="PROFILE", help="a file, or - for stdin")
    sub.add_argument("--json", action="store_true", help="one JSON object instead of text")
    sub.set_defaults(run=analyze_command)


def finish_record_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    """One positional alone is a source if it looks like one, else the output."""
    if options.source and not options.output and not looks_like_source(options.source):
        options.source, options.output = None, options.source
    if options.source:
        options.source = parse_source(options.source)
        if not options.source:
            parser.error(f"unknown source: {SOURCE_HINT}")
    else:  # who chooses among kernel hooks does not want packets
        chosen = options.hook != "auto" or options.bpf_object
        options.source = ("ebpf" if chosen else "auto", "any")
    if not options.output:
        options.output = time.strftime("membench-%Y%m%dT%H%M%SZ.profile", time.gmtime())


CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap")


def parse_source(text: str) -> Optional[Tuple[str, str]]:
    """(ebpf, packet or file; interface, any, or path); None: it is no source."""
    kind, colon, interface = text.partition(":")
    if colon and kind in ("ebpf", "packet") and interface:
        return kind, interface
    if text == "-" or text.endswith(CAPTURE_SUFFIXES) or is_capture(text):
        return "file", text
    if text in interface_names():
        return "packet", text
    return ("file", text) if os.path.exists(text) else None


def interface_names() -> List[str]:
    """The network interfaces of this machine."""
    with contextlib.suppress(OSError, AttributeError):
        return [name for _, name in socket.if_nameindex()]
    return []


def looks_like_source(text: str) -> bool:
    """Is it a source, and not the name of a file to write? A lone - is the output."""
    if text.startswith(("ebpf", "packet:")) or text.endswith(CAPTURE_SUFFIXES):
        return True
    return text in interface_names() or is_capture(text)


def number_within(what: str, lowest: int, highest: int) -> Callable[[str], int]:
    """An argparse type: a whole number within bounds."""

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if lowest <= int(text) <= highest:
                return int(text)
        raise argparse.ArgumentTypeError(
            f"{printable(text)!r} is not a {what} from {lowest} to {highest}"
        )

    return parse


def ring_mib(text: str) -> int:
    """An argparse type: MiB, a power of two, as the kernel wants it."""
    size = number_within("number of MiB", 1, 1024)(text)
    if size & (size - 1):
        raise argparse.ArgumentTypeError(f"{size} is not a power of two, as 16 or 64")
    return size


def seconds(text: str) -> float:
    """An argparse type: a time in seconds, above 0."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1e9:
            return float(text)
    raise argparse.ArgumentTypeError(f"{printable(text)!r} is not a number of seconds above 0")


def hex_secret(text: str) -> bytes:
    """An argparse type: 8 to 64 bytes in hexadecimal."""
    with contextlib.suppress(ValueError):
        if 8 <= len(bytes.fromhex(text)) <= 64:
            return bytes.fromhex(text)
    raise argparse.ArgumentTypeError("a salt is 16 to 128 hexadecimal digits")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The whole program. Returns its exit status."""
    options = parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(options.run(options))
    except MembenchError as error:
        say(f"error: {error}")
        if error.hint:
            say(error.hint)
    except KeyboardInterrupt:
        say("interrupted")
    return 1


# ==== Generated =======================================================================


def embedded_object() -> bytes:
    """The kernel programs: bpf/programs.bpf.o, compressed, in base85."""
    return zlib.decompress(base64.b85decode("".join(BPF_OBJECT.split())))


# BEGIN GENERATED by `make rebuild-bpf`; do not edit
BPF_SOURCE_SHA256 = "8d9ec6822627602cf813b5277d3f6e5017adf7c1f136b659def3aaea6bde5d82"
BPF_COMPILER = "Debian clang version 14.0.6"
BPF_OBJECT = """
c-
rl~eSF+kedl{d52KMS$?}sdKarnfV~=db9?Om+Vmpiz3lwmYsh^@if@Um@En!)jXvVe_JBvs{D<Gu<q(wjqN=UO}H_+*
B+UT{oSaj2(y@Y#bZ`oe&ZQ5!nTf~L#4!3Em-kak4J?DJS?{|J5&B#h%m-
~n373cSRpNH>xKHu+on9)btj=ZNV5D?}Q5dSDV@;)=$J=ZAz|D6=_%0BIOCCtw?`guGcl$@@0Z(f&t^?B`HRVKun*RNl
1ghW0jbof`;eYN<8miHvfD;MJWyGc%&=4CDV`RL{$SFU_(s9LJzoGxE01|*kn5efBd7G3HY5a;MwDSnsZ>jY1he@&$6`
ErF2<>k^{C)7~hAsiL{s~m1Zob<(eQ5=%-C{DR_-
@@@K9#Qd5Ry;3`sPN?+eq5YTT*3S$(Z=ak2Bmu?r+Y7_`vvA!ky6j~Vvx&`R{p;Q<#<LUg_r-
6<)0B5mS0uj<)fkeAj|)hFMdP$Eh?Rp<)0MYJ~<y(JYUXUmh&;l$CIkwz4#w>>(?K@nd3hW@h?F+hE=}2db}w5eD!#q)
2n1otM-0$bCCH_B~PUvlI~TU{svC}9H(#6I}7Rca(+yDXGFg*y`)z^RbILc<@GE-
0p;sd?dYZV2+KF=eUQ^P={>~$CcOtaeN(;@Uiwz~PL>~4>A%e5>dHO(nW1Dt@>!wB-SG<De=Efj<=+)KqMnIz{j4b0;k
E|K)U$%e_ty{U{JpHR<&NK1v@^+Dsh(TQ|Ni>*fEVt{9r{`GpnhH*;&D!ylHsm4@i_lDkMlA8YzS4U@?7cAToK}YRhEg
L(aROx4aJL9f2Y!`dD7(Lzp8oYO4{&WUoV!AtyRq`{o_@f51!YSasD3tH6y=TL{#{Yco#jlQF&#}Ez9scN1Ug5uA)-
s?_}lweO>z3920JR1ynwCg&FsT$_?uI&WiPFl2z?iChM<W`08&r=lfT<{>;34gM2qo=al)l!sV@~g8Dnp<qL5ArTyu3)
pNfn<9<=*pSO3O(hYxx+#Rk5*~1^WoAbGepY{6rn*#O4+&q0Tw}8I5TE+Fr{%=*^Tn)0msnQu-9X#agkBN^)-
TW#2GsyM2!uTK7>8{Wb5>K{kZn>=U#rmo%%<f?wKJi44Zod`ApLwN`+wJ47)^46pZc|Sz&nsnKxqemU<A6I31D5`j<2Y
O-equ#PHkUZ)=nl3l!u2QgJds$g{l8WpaOKJ*<y;plBG1&5%+C`_pX-JiPUwzV#qE8mftlJNVwL;q3Nud2-
SP!2e;Hn8Xt;~pW3zr<Vtd4^_a1(B^E2xDhZG;+_J~7!XntAv`{|Vi?5~A+{jIQ={#woHeBmv|uQ2`fYx-
I7lE1$`q3g4uOxr8N9}TJJiNH?gM*Vz3HK#bZ=><JrNw^d}{G=Y3%edcNeNMRTCG#cgO@_GizS-
+0Us6vEzo7X9+bbp=x1Ad~-
RE?9FKHy6W7hdR8C<E``N>x9@5|NmcLMdQ!zDi2tiuKBxV(Ga@h{_jjDk@%ubcc_<$Amr(ETOxgqHirCOz<t{~7i-
;f9~r`TE)>9iS`J?4M^ETitdHSoOR*@R+Y1uB_JKjhrj*H0{*P?WFbX71noOKg!`A(!Aj_rav}wJUx%pe8xYoT=^|CUJ
^VH>3(h6>BaJ(_@|8&E+KsKO?_SA4sPOAibkG?wETuZ!!Kk$bmzAxcz)X~7Mv%|yjN<zH2Ljnjk<P<8rQ7{ymiAZJl?2
bH@wT_Gs5Kxc;k`s(DmVKs=mJdkiQ*F{a!uA<G)Oo|HU%hVO0L<xs2@zIWNi@xOC@?k~hqD$kj)^@tjigqMitbpV#d)y
h-<~W!z4eR<!!sq2|-3|F!$Zccr-1SFYjbb-E1!UEzu6bh)l><??*i-~Ow`Qc-NYnDv&?=NI{Tb)|paHU0f-
Y|onUa%C;(=f;Sy9!>sD{cf!;SMBgfg5`|0a(nOPbPhoOH}m&la6ioR9OskMyT#Ni&o`ICra$PH4Q~C0edGH|)~^S;?i
^S3*|mK_&tL1tbo;HTciVTfWfv{0FFl{ioLnvU`o*JGyy36t`Lfu2JZZ%@@rGZVRN-
F<aXCN1%<`@peYwE=USY{g@O=FW>#J`*db{oqRoox=Ddo!~mo?m=oL&BMN;&0rIn#?Pr^(L=v6<^>(wEQG<&JMXvQT+L
Z?WD@yfQ0ZFV~Zt7e&F#$H~AlA*Q_gG5P!-
ksn___$uq!Pt5XjhM(8?ndj#;Kc}wS{YA==8urqXoZ{8hA9w4sMyCJS8`o>8`uWG}vR*!-
{H44lKZm@NfoeBj6+efZ*8|$FIlE5R*A><?a=t4!^F8U2#&W-
1X68RxE@|35%KK86S9p3Np!9sg&1dv&<TLTygj;`Qjx4ucz<Kp>LIjK1^~=@pBt5XnO<(0FQ05ySW*zFz6Q6y1^F(71(
m$os|InsGuKdPD%73fl;LW1>((A#*sS3`A)<22oxjtE+CBCBPbF<D>_Kj+{fUCb`(_i|69v{Om==nZzx1MObw*Nr8-
>vPYOWUWI9p8RS*PY+fdSe}rzwOiR{H*5BwF~zLQ*WjF@BcM#J&~jMSHHqsuIJNv>&FUDZke)6mcqLFt*uj5^SW&~5cR
JE>Z3kAdX@D>BC!G1Rrz`8<rlH88aDc!^K0Z@;(Z0LJa18c$gI0Quk-
y;=D_DzzHaYCuj9s(E9pyBF@L_+bZ~jM=zOe+`|EiPuT$4(`?mL#?yqOJ^)a_F_w)GD<x6i%F>AY}Yn$GP8a~B#&Nlx(
!KH25eYlJL@6ZNH*XP3Q-
^$M@KOKHH`q$6f*#2I_cKe!Uen#AI0jnKO8hhKaE7iRHq<=mgZt>bh^_$IJ{zI1CE?MSiS=iW<Ea%h4&NKb1k?s8o)xR
5P{iyck0=nFnJ{R(>drZC9<1o+T(6Q|I6JiCgV_Cnl{Wts^>)kaD%dO>p!0EZ}OW0oL`C=1{mlc|aH?{lAwSw#WbM4T7
bVa<v{rAP{HEKXFe%$JTln9vlTldosZK~jXKmFWb)?wS4edT!BjmPa>7G!Q@uHb%I?_0O8F4Kz9D~IksmzL=H_Uf3oj(
B&4x2`b#%B*7=c;30f^(6PHrTfY1f70XgQQjX3@P5=+xZYb@ee2jun|a+e*zR9<Zfh@^ZsO5q-
Z!n&`xIPnHN5`l;(6Ycv;DQA^Qk>gPcLGgt~C2<&*^$v9nkxCi)rt2YaSlvd3bmY&kK$9K6~I2+eMewaX(+jcBIi`>)4
Lud2n^GQpNm}stPqydwX^NI9Uz$+5+p5xnlO(SM@ypdbQSfrkyXcepY&0+G%BAr*XYM%KOh(p7885Wlxp;ckTWe&%KJz
^<@70c>Z~q^Vv}TqoVt;p1rmCt=U_Ps0Y7Yqw4|7nYh*1TmQ*#Z!JQ8aeHg-
`rEPt=jF@TUw@?KB)oq3aW#+X4%nNBvYz-u5e(S+`mLP{tQNmtbe&qt9vKes{L1??m+E<cB@hC4qbKzK>e(;Mf?dJ(-
D5mHKCH)OZ$igIJI&0q8y+?BU%zh8j}LPHUtLz|n|~9$4*3x8x0rd(#7}U(yLi0Hdij#Iza#l~ExXp(LtcMfr^{c>^MT
QmJidnmZ0GX0ALjOcXW2)@E~`GyRCE3F^A#RX13aD@`P@-`Xv)8;w--cb8?Wyx^}g1FDo~?1QNG4Et_FBK`}!NLw>#PW
L|`qqS09&0_}bMgPra`^rShLBn^W$m%R=J2a=zel$bH9eQT@MIUZdJeo{L?TOnObv(+~Ufotd}o_$?}ag&Y4iU;N{4{4
%S({%7nn6`LQ1|D_&}#-8-_M2^=rbN+p&^xIoce)H42g>QYd<_6_U!~Rk=>@R(GapgO~`>AIB`(^JZDLd7-
k2Lo`XCKL&*KoTIKc}A?d4Cq?4|#s?sB`+_{<yCv?Wb>-
%|B;Dd*togA%82h9r6=3?s|LJ4hj97cE|+VAtAOyo+z<j1p2Ae{*i5usC}e8ypOcmyZ@x-<?=uM`Sx|*uANa0`usD-
&iK|Z)y_zK#@H3PMcNhr`scJOzVZvQD;mMQk=sk}C!GC+XIBI)yTaHL#=a<RSA>e%6>r-
P2)$K1;F8}C;CbO<=$CB=^l*9Jq8$MFfBSYo$Iod8#Qy(j2k`uG=?lLgz0c>EZ(Hw&K<_`fSiQdq^!_csWWB%am!tRj{
AgqE&!@-DKHtmb-g)z11{Mw%SRmZ+itwW34X<$AaAk{3S0=ou`~`lo^2!znXZFXv^SHOFuYQH+xrlFHd^iyH*;B&--rr
@r%A41(!MvEi?w>b#-goV@sYT~cjn6Y$?jKhj;C<o{pU?b6$@$O<ePLtx#VOW%I)91hUgvYK@S^RT$s+U3E37v$UgE1-
&tBnu#|?bHs_PR!xW1@!c;1hDkmu>ufu)PKHz$kEi(1}?)|R>VUe$V^^Rv+T`>Z7o&)?0y?LzS<7l?22<=GkY>t|{qJA
bWzzj1gC-sha1*Pmt==<k=7%((Tj<Ocd@)|!92w(EXAZ$5rer++dC>xD(iMLDkrb$>fq9Z>zhAylF5tm;=4d-
JT$&&klYl!ajKZ7p`6(}Z`=rEe{DF8%xdbLqEQE<Wct8F)#ZKbv!q)q#KI>sN1AZbRU?8|<^b#r4l3^5GwMIv;#p$V>k
Tv;O&Y|N3VU@{8-|*|&GD{e)Tn==*h-9-9SwjL&T+SYD|3___Loe_l5AY4pX7!WX-b9Ai7*gnQCDM?Dd$^xab%-
URo8S<jpMjF-mR`N`*zd@t<M80)n$)@Ng^$HrKHjj`SuV|_Iy{O7agp43oi(fwqh_Bh+Kf$xviFS`G~S+xIi`#!Jdfpp
mMuk#w;@s{Nm%WqfXmPOBN3-?1^-
VK}l_vhUELT|PF&vSk9y;pPIF2hIEIpR`%f2a)dZQUoWC^F96b%Z4^YK3?8VVO>+nB01h>)b$YeUbHv*Y6$Z_l{4Fx%V
#PJyqmB`g>zX#Ldsm&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x&&|)x
&;Q8Jmwz1KZ`2Essnh>9?sdJ(_?oQz1myh-
$3^{h0Cfjmn7i`6aIOsNCr5m7_=k#>le{CtUl~{5{JDi?g?zz8nY^Vbe|mtP74n9W{5dak_3PdIF2lc<-$&@*eL~-
HnWBHk_<e@{J;LuY^IiPz(EEq^JxcEv_&rYV|3c_Hz9RvB*F(N%>HQO&Z}|%XS*U~GX1`_hKmO{tx&g=6|7AU>3u6Dqt
7rAw0F_*he=qd?Kv|A&3w>u&mgBoRXkEP(Pu9=M5_P@a3bVRYd$1^Z)ux{Fw8F~MD$diNbJ`7%_SzD1t@bagvEJoPtnc
eGRmi(&KepQPAFQ?v1iZGa;rA)dM~HL1hTUbGZ8hQPxz~iJ=iU4+Gj_~`FPq;EjaHchRy(Y-+F?ECp<7o#-
A1Sjr$k*?*FnqVmCth&X*qcf-
7UoVfLH#<0$%w)VwL}6R{5U}c;$a4;Pu(h2fRM}0>8_;_$t4T)ARTEUDnIL<M$bQ{vp51jK0e64!wWZ$fx)JWaQKPp9l
2!T1M#ozXbGemrhZM|0bZvsN{dJ%5{g;u4c^1a{bKYP3SwsX1tm)C&#N9a|Is9Te$42<nQlFxz^Z~<5=cr8`lZn!wt!w
cigDo)$bmJpq;jGJC&Dkw;U@4wb>4m#Xk)xcG3HGe%~v<7sT&(>brCDO1N7#`MHbVWnXz;nHuw|zK&aAI?HsKWf)n`9Y
WuGJ5BG+T#tSHK2;*mWhLC}OO^5Ng~!A#CC0=i&O=%!Sho|##O@Mf!uslBnfzMi<7M6)WY6!%tiEHy%desRs#U*PtL}c
&s$VQmq{Lj?VwGnvm*?|bo_)fn{Axp%J~3lxoYQ<k-wUj174F1ZTV{p-
U{L$tS;GI<mT3P2R#~ed>~*T3yJTLL>#$P)eQCL_3way&E6d%c6u-
M%_ao`~jpeG&D`c6!P4E1Z<KjQ^yR4(XqW8mGFF)eAa*qBfy-Qsdr+;tKdmGnRkQBvxxW4M>{a()KdVZJlPqS7gAz8jX
{4V9*xx%mO+u85EUU^m9K1lBEe)C2B%Jm0V=rHv>?wZ;2?^k&J;`$129MrAUWs~K6W2KI(#>px#%!4aD_y4d;+Ys{e+A
7ce&*;6D-
CG+}pQw;!JJjIy!6OY`A3V<QvW!oz@%rPZ*XVkbpU?BV4D;+7uYSMG@3MX)jk;ViBT;(ipBNWy+FeXl`Nvs^$C(_rp|x
Ipu3D@6n_ZvsR}79@VG?VF`g;g=82R@VKEBo)qn}>u)x+oM{XrO`9oD=2xz=6lytsSm{R8ZIfZjg{aUZtc<^NLablxOf
Sf~4<{QO{@m**eT`-dRUhf0i{zhAG%PNx-C{uJrx2Hid~FQ3`q%|XT<jPiV3!(-v|8?-(f5yk61SR{RUbN)*kbo$-
aykh(R^9G$p`9}S$+NgrnoGu~nj5g3~dP?~JFYN!}68_Om+P|-
a|L?PZe+mCJw`%`X3IE60f3SrA_t`&VwZ}y{jyCJ|Xk27_oY<^?-
&eNBL;7xbXjtmg&Az!NfO)vUX~{f126^1SRomZD{TsbCmrL}ihi=pHrS0<VJw98*w{{xgz9Ij;ro+{J)UPv_JmtMt%RA
=Z+oS8DhT8Ej_UPY|m!H4hW9FQI`0*Yy=LE!0_n7(#6xa16=VzSulbm+dUZoS&&|1!s<UGY!=#|~@4$FO)^?rx-Ub|Px
Q*!vv8wi>2)t37co^BSRw?88~I}aT_dg!6fWA}cbt@HRpv9``may!3ouQ=bI?mg3=>~{JF`p>BUiF*=#eIh;3b+)s&TO
_)>2b1Zv=o&ara?(ACR8n;J4ko)Yy#xK?+`xrow-`8mI-MlXWPf+3c^^)9DKV*m!Hnou|EC1^w0H^Xe4XFD&vQ!m$Z(l
qO5<E&s59B08SG7_#o6SrxRB^OpA;!dqPPD{r<9!*$qN)BE$)$7OAe+5<>~@^sn=7(8H%m4rCrslcI_S<NTrh9oh-
wk_B@?9-<NUeeE(oF(VaNemt--PgAUPUa&W9`Fp=r%5vLOAq!=6+I43ePn7BaoH89AJwCGEo&gc?#s@GI9c~<l#(wWXg
MnC(K{es>H&-Y8Gu0$$xevoQ9eYRI-Q=Fy*yLI_RcOsJz$EdlInZxwjrW`Z9=aQZMY2~Se84(IniEdf-
tzOM{^&|#mYJzGgEp(}l5^{nnR$D){W3Q|&T>;ARbmClZ->~Q#psJx-KR1v`inOi;5^++N@%_|%>g8xMoe}-
Xp^QvLmtWRJzfjV8=zqyUu`?qB?A(<a95^$WIG5geDs_5i7iG7f((dc+PdcjOI#!&p>RFE4Et?(fkjR)fN~B3t>-
TiuK*l-
fg?6?&yZ4Lg!6emBzeA~Yo=c=U`vwNio=<fq`;zCvTipURJ6mP+CJNts+6ixB50afopK~q@^d&OAeaY~xw>oz^x9%9cH
Jr#a$-s$>v-P0U;%s-?PPW~Dyz}S-58UV6rqb;i=uc;4Hd~$Ts(1$-
mU`P=s)2XPHgtASX*g9c=LZiuhwnYwcF*y9AGp8sSlj)Fo19CcS_P7#KG^$+v+1C7abU2UUMZ8kB>eQi;5p~6yPVej98
!8acO7)XVdJ&CiRxre6Ghk_Hf7?9+}^a+&7JCmB(c}4y&H#Dsmg5h_IHQbtJ#scZFYK_oo&vxCMv6}7|M;qEvvG4(24B
VZwH(``fbM!RbUm8I;PXF1NBpg_O?TZ+m3eLcc_Dy!<A^GUe!cg0$p!Z{;(%Owp7z2roMV*Wm%q=FRRf*<2200Xp#*>U
A(Dy4CCBI+1wV{rUW>5IosZ~t%=Lh-Fv1tlh%dd_XEyu7q~d82eLQG=s$n%RC166oji2pL>nixP*p$N@76UJo-
!(jit}zKLX{I%1FfmoIY1TO;#_vZoWu^Ng=*|^ak}q(y2lKw$C85sD#r^CB{NmhNRlydB*}toQeoWjO0$wZCiIjjQz7?
KgDRaFJl~aZXa;k(>p6l%gl*TRaPd(_Qe~cWq}%SYr%gK-
#@z~PO_g>?c9xmK$VGy24MN_0x!6%W8%2s!GB}m9NdD}0Kry;CXxhD)=*^G@rhLlg9i-
P&=TCP&dOkTg9NwyxX|r>8>^+@F@9sQw^3c6UIu9Q@en?iSI}_W*RxK&rO0}dZLhobAfz!}trt_FQ9dO9>kZ<Xo7ZYcb
)aR5UbGB}Ev%N!QV29Hxhh)*vO<Ja1x`FeV)cK58ysiFhG)tMy&gs6ynRJt$fmIK_?JmEOv17;n`CdAQJBm*Fvf}5rth
TTgj$%@=5-
!z0=81tW@9U0w@Xc#Li|od7hZ{9iI+IM<N?cCY(hYTYQ>pnty}1cVv#ANYtTedXnbCFCMwe=Dzmsfg`jE=%?e<Lw%4W0
22#eTmO4d7Yp{c3K>M3NboJw{oljMAw43e!BqS+4JY*mt$=5G{fFiKTAaABu>_0>6*ioJB>-oOTs-QBAvHYTMbOOQ3eD
&pSz$z4=C^zmxZvrBbf*5lrtMQyvwvbg*yO3Q0r9-
52>Wm#ltP|F`YSUk77V>FqtZUv}DE0S3`!P`;nDs<)Q?p&<fi0TYY0zO3}>-~V^>vE(S{r-
3Q{r6+vgSwQSDxJHWVqrw_lHGRDk&*V>-bP>SaQ*y!$#eH*hz96g{z-QJU?oS(SW)>_n%-+}HfeDhc-
%?$QPREyIiK48QdaPMWt~cN`D$J+hp4748|zMgEY}n^btxs3Ho|4EF}gwx0882egSeC#&hx#QH+=Q(pZ|U9$YM>U`p|8
~n@ZNgTN!~eV^R(dGdY&*5hrcFd4tP8v8q)4&7nt*TjvLHpinBx<G{grou}9^oY$Xu+90oD8U^dkGi2ub`G-
tbW=QX4s2u@H{7j}tWJuR%PVbuME|rqBU1CQccyAbeX-
3myM0z;e(`TEN5+h?*zi9pM+MaS3#gY33RHRFfbKOy3Swj)6%+5BctdUwwpY7}#ICpM9F1Tes%nWo5@E(lo-qqPHH)GV
>Amu9UlHOjCZ)BjWC$GxYtIU@6OzJ=v_F0k$JYk)kr;>YG)WhDEQM*E^fpof8Zh4THPPvTFP<8F=RPiErM(*4rs%18)v
}!M)Q$ko)Qu^#|cUdLe$@#R_Tq@qX_2W)uSN3NHdeULp6!$!Ew5{_f^{8-IuavoZdu29sOEl@GkSs;Wq3-
&M!J*D>>RG*V5tJMfUNFk^?vgWx9IzzE*|pudedq4TwzP90IY=^Su+ReSOp;byr{rojO}*7gI5N1CzL-ck+jqI8a;;05
TKa=33=Ksy-}-!;^b%A0@0QE0u&Rr#&K>T&wMn{kUR2u<-C<o$WB(XYTu9xkIy*ac*=3i4TA=pwroFC#!DJ^Dt&i-
~q26>R9UdH#^EO11$(d!Mc2Sc6q%G|U*&FuB6de8WH=}H<dEFtI+1W40Q9lWieZwc3eEQS-
MSq(9Gs8iKQVDTEHucI?<!Mp_ZXMC^l3Kkh#cLIrP-dW$98}Mc{-
$op&C}1azgnYEX64=(%?QUI=)5m>{GOPpcC$+5xgK{3m3=qg&s7C#>r@7zz&q1CbmYUhStg!m9ve>;Tj>HfJnz`D9YhQ
F^x6HYidu|7PQ)8v#fGK|MKxpUNpuaQdP#?+laC5HQ}hpI#KpnhOj5a2Ytg(Wp-HzZMYFRTgSxfKq0GkZT)#zARkM`TP
sbj(=lz|BAGp6wZp$?(wE`j!aw?n|We-
}Jxa~HXT#Lz>wJB|~=jNVjPV4Z&<Qci!Vl=v}piDycflR0LQp1D>eP`GC!9g+wv?pnhuo|8+9qKZ2Yn+7Ked0auA?<hK
e%ad(-F>8OzhE&mB8OV{iGji1Go6Vc(cLT3y`p<)p^-
@8Z@Y^luxW8xwy<*V?%mI&BsHnG>5W&qS60Fv*ITckOuQkbc`x?L^_4#fO2Nx)V({F)y+VT7&hH;E8Bl)I2ITp{$RoOe
cNfWx9d7p{`{!lI_HTK_&KLW*DXY@+<ge<V-
?vME#>2J>%l_=e5vOUkPrK4ick2b;cKtXA6PAoft9u!xS%xK93S42`8Bdhl`P{yp1FI*=yZ^+IBl`s>qfRzXcc+PU%b!
-eub3u<Y<4)PoX3<%r$o5Z-DWBSJN9gHus_)s-
YR3e>rn|!Tq3dsDY7z0l(Q<DINjOXKhT{Nslnb02^uTvh@o1!&C7xo%`uefl`(re&&h`#@csxY04Z!0Lhdvl>%8|p_Z@
GNTh;Pa&H&PkQYRWElCv`=Hy2b`Qgp700-
dA$r72?S$sV(tiVRw_0+rLKoL2`<Q$vJhRZ(b;tmoS%w@)uH1L%fUbKF+vzGLt0Jbv`V{r5DvlT^u=(gMl!3=UlEcM=y
9!=xbxGLD`MZCiuw;qX=|jw_^7O?^cyUfX@X#cTO4*5WOu1Kdg0r~n$s@<1;+C|HFj2KB_ET~&V-
nL*Ov>X2y{5B&5l2to_DwxePB+HC48cI42#_cvSHAoM)h>_n(HE919k;G)n;r!!>fbvdvPrToka*iFvaPHP8qfTRQ&Ab
FmhZ|X)aV7;C~QE3_+RI?**e$o<-T9We3D%hT+QoY@snKQlJVQ)X276)=t-AhAX8T0c-LNP;12Q@-
CBK6oq@9Dhv{<h<?SI=|Y*91lg*zb!l-^gMsZl`*3)f_Wllx1kCp=B&B&(3m(O<0bbSX<lsoy%$nwH-bBD<|4cv^DAJt
CRug8({N>AT2xQkNrDk3sb0;+i!P`E8QDOglbtv<Ll`=uicflQ@%#md44UA6f^Q<qI@t{!d|;^Q*@gZkgE;k3C#Iax12
5Y35@Ryz1i8SJ0-nH2i@F<?tiGsGl-3$TfLB}>mQ{T7BP}9SVQ@OJC;w<5Pslj(ZOs-
@49e$P@b;eAQcW~64H31dBba`J&$0j=h9~uk*EyirAg!_d0*SHV~5_`wosxizC_hLdV?f&7@eScFI_^pK@63tVq92E5*
O?=7HYC0sYtbw8Mr|z97w04;Vl(KM!9hdnNVIbH)tV$N<+OFGK%Hhl{A^h-
nE&MiBbfuy40BmyZF=%vC=lMd$gU0D$fD)&QgnyWN#+c-
aH4A5F?KQ7<t_!=>{`{Yck0mYHwiqCdN(vnb9kWSx1t2t(M}(PPf;rxT-ZtS;pGV5+@#V^tijEq?_%9A{xtGsb<T+Y5z
RS#kX+va%47CaYM>y0W>M`Mc1`WMHjXtRPK)WSGGlRY}UC=#h0{2Vz{<fks>Y_97?TjaItAw!gMl*r?1=kI{@E_A{&Wc
4m#5GVPZ?%ceKC}&E+BIY*Jc3m#iHQp9S9R_|zx}e0=`dCtr@@VRcra%u;_^*<TR4M5-
kZW=%Ma3!c2*=%~MF2xF#kZg|TG6Y&M=E)l47trbbu*XuZO&#lN|rf)Bx$cd(}Y-
a6UG7_KhnE{DsxhT(fFzEAv;|wTxiP^>MN?0pBINabu`6i4_MbC!MQOOc#y!AM9Q?qYwbSr@^vH4ZS@pkqOT-fhF6m_e
_3c?oyiUhKDWUQ+LMfWoov!PjC<W9?cKdWVAP3f86KAF~~rV7ZEQh)jaA?YcaAKXJP6@ivH@_E}`^0J|9QF}x#aDc2MQ
KwdmRwKY)x!iqj*lqL-Uk#fB2Yu#@%&2ca?4Wbc1NYr`=>EfMdiIX0<wXgcD4XEC&^x&+b^3@$)kRN}F_1p`Eiy}&IOs
0Yi1vIg?|?eGS!hP*7rS|!9lE#3dAnNr?@X#&hU!&?-
%;%BT!t>X+_8HJ{a;G(7CHVyYuV&F$3@K}=x^>B6RA#mA@!Iv+bqSrd^;^g0+iTn8R+Xa{_2Kf@}fq4A#3+O=NGYPccs
c6NK5a|wqwU>C4BF(_BM5$#La~9KlTvMjiTDEy?H|JIr6}<Hh=U@^P-nH+j`5p1-
^@eO6X!2%M0!v+}IRx4_m+t@y`a2m$JEW5~D{6F>)26&P==XZCLw;8ui@d;Dw}jMU7R<b{)D&u3pTtfSqJN@9aEvzPB&
a+uwOEd5(HwSo=}vc@mo3q!(#L`2!a{oPsb5*{FWA9c23t&-|W0-
zEykDsdtQ*?CLmxf{2?JH6ApSMMyi6j17Ee$}D4x4m&#REoP{sHaGuOmaW|Ksc=L50C-
l6QHIhIe6zM>s~!j`g`#r^%o6_%j{-(a`&{ggjDwufxf^{I>$=N9dA#Hl}S<LLZ&@_)8|i}>-B~o-
=DqzfzAgHy}#{5j7p=vpmF5hd)n?l)+Ube(YR2T2ZTA+R|n<7zRW7jA-dQ}GY|cLa6p~q^!0Wn`_oDDTNUQJyl?Qo=G%
pE_6hNDP=6;ZSLXf>g^+)ltexEV%kPYn=RtbT)d_J%ejlnqh{xr3#+G~Ex02r>3vTdOevj;H7RyXrw0;1im;U{Q#b@c?
(M=woqkn&F@c{h`-
|DgaJ0qX6SpEr;H!MCc)7b3sB`NbZk3YiS#gb+I8+QDIGW~bFM0ZeqXIt`;av|1c%T?VO4iQI~&8L-
l8~Im1Q?C9JreygyJ%g8nsy-
y2mVXoPsi68xosyrDUxptIiWKvgiJP7ds_(bi@<+ix%lus_|J6z{#{5&_s_{zoU00i@fv*A202hGgfMrG6To2p`90ra6
w*p6jW56B2J;0;DS>Q3?ao`;AB=9tF9(V?L7I+R=enZz+pTLd44saN_6*vkU1MUEh1NQ)@fQNubfJcF|z+=GUz!Siez*
E3^;A_A$z_Y*w;5lIVO;DRdz>UBTa0Iv&I11bj90TqEjsy1qr+|lmM}S9x$AHIybIeOC=-
;zJ^}8mL*Aq8P1jV$)8;GwlA0U3`k)W7iP7+tgf?}5W)5M!|K~Z3yBrba)DCWxj^QHV!tnD9W{=Vc$P_!~HkwdROC}Pa
pi0fAcMTf=J#3|<YSIY1B2E~viZ!^go1^MF@{_;#QKQ84>1x4QCD&lL9{tToq|D>GcXXKZQUkeI{`RnxDdWFhoaT#%h`
9DkfGgLl{>xg?Q{rMfL^w&qW(x0EPN`HQGmHzsetn}B%G{~Q+^y=dls*ggYzkcQ_{p~Hk^e_3J$$j%|P}DPTp=b3^sQs
89lD`E~2r65}*4MG1Uth<A{{GPu^y}*^b3)oeuU3e02tUC*DAS*=5Yx=h(Q{dMmAD4sXPEyTJ=cV)#4NK67hF{(3e0cN
^UlU9^+Q#XZ>Q(28>&Re;x)we%yD{da;ik5#SO$^=8w~JTXU6&SiFk3mHB0QzGF+3h%x_=p1UY=hsEoNQ_M|d`vnPxnA
?e06e`3R^C<C}xe77C{JacbLF1qKo06&XPBQ-
`@!A@ipDo@>e9hwB#4{G(K|E{mdx;Ac2Z^NtE4ihb?Alc{A6pzG4g*J+)5ML9m8x8lKSjJ`1I@1%ZzoPMe@pUZst@KjW
cV#KUxxhcKh9jWglxl+DluX4I^rDjJ;W=bRbq;{i@5G^m6*2DYozpMLRNpzRw<iY^3(E173QkMT*%-
5<&V_Z{lC82pTEXxfB%nG`}=<k!go~r`~ML0?=6vkk3A$tA$->I-%9>t76*yPnO`TaZw!eEi-W{D=D(BjU#b$57T-
!dWpR*rnt9_=>d(~K@)oZlzGm@8;#mk^V1Af5NQ0z)iJu#pM~RnD(fDG1mbl?n8ebOI6Gxd}k^a+FqTS+p;u!OPB);`E
8h;k=B#v8r2XTt|)*6aWgJ;O{50d`~^SjBv<$G0P)Z!Jy<IKNKTt|Z~XR$*(X>k+rl*P@&*DO9nJY#Vc@htQIPTcr9^+
)Fahj`TwXg*u2c||SN-<FW5x44S9kvU9!D-
F)D#nr^E%mc*B_J%~%;vjL1`IAy!Ye>YIzec<!8WJhy*N9gg4yksOJWIUtC)7Wg<&QNjJ5K%6;vjL3`5xl(j*!SRKS*5
P7ZNkfA0}>iI3#8*t|cxk_3MMVrG9-Ne`v(k2lX|6eb89r*9T6GUmt{P{Q4kL<DcJKYy9(jtj4b|I%@p-
A`anuYW(_Rq{f@SHq!hxTH~M3vNitsY@GQMR3DWY8t=@{5ihwM5|b9MB%T8QYs}YVd(dP%%lu>FvZq60uEx?o*^v5CB{
lyoBYuYZ8}laOozI3;zcTzj;)umT;wW&8IZfP1lY39C)t_Dni4o?{l7Br-&ROPvO}vaI`*Dkd#1qWlB3|)wNK7-
oL0mUU{mbID#4{G(N<3$=Lo9y`%<uu?dW)-
w8|$p`Ny;X|d`CTvM^ZLX<|D*w@*&Y~agaD>@dn~J^9b?kYg8Z1&l0ct9*sBV-
>;YUCXF}d?@0e2P<_;S<FB5^U#`wye^cN;&HO`(U;hTRf1RZd-wdg}Dap0+H=bUu5%tS7cM#ulrA9O|zt%|hCMnI<Wqy
4XWnQ<I{$-
blA@Cmo|19u0bCS66nI&Qx;^&#4CI6ZimWUbPg2h2%r`{hw%={<hzvQJQBFg+D;yY+EZwLPv_{TwBkL4dE{}GE15>G<-
Ddv0Ek$h4X*MJKUevbKZ@~^tGM1+?6x!&R}#E!*5;t2CA#7keL@-6qvkAZ&=@Cbw-
W&UsLr2Vo)i~)}`r{wST(d2WD`D4_7mcLpfW-Ja7&ocksMmavHzpViKiuqgQzmz7gFmQzVA2v#TStH^QzlV9tJ7~WBL5
&y!9%23>J*#`j{)YHD%YO~|PXXsGd9@_(8uP}LG@rIth*{=Gi8mgp5Cw~?i9;(rem`;jO22<2^M^^kLz8uECD@ae|7P+
ZvN%YbWqzHW^|ZL2usBFO$=tX~&i9l*kYB%w*QfN{_(FvUTl`Mq*eb{m^JDa^o~RI`;GYHmao`Dy?<LMLe?yk1P$Q<8u
M@8h)r!2u%ZLlif4!PmDznv^qqmSgf3rq}EM7)j&-
|fV<nN5tibji<5j)J6C0EpnF!LDknwnY>v3NOg>uN7QwUnQz6~C6^$5;FF*Tej>luyca1UPGPE%7+SpJe{WTcrI{E3N_
0uJ*4-=2pZ0PJ@3v(#U+kq4{M4m7n=u;`L6g`i)6fUo_XMGYqw!mA^-~s#>%&4-
@a)P%UB&{`FKxgMU5M)8NlfssZ*BnEwsQ+wN40F^e0C$1Q#j@dWr!Hu%dw4e8~f{DlT<Kccl-
%t3hh19Y~3{Ti6Bn9H|OebHjjv3M<Un0Ytxro+`DV)0tyR^|^7JMGmXYH=fRjQOL)>yA{54(2Ztzk?Q=aprFk-
*UWK^jN%xIK})o(w`QiLl&<g9${V@rupRIYB6f@dg3f|EAczy)E*XZBpzq(C2s7d_OQ5~c#`?!l6$Jf6!UKrukEWA(-
to$&NF{ghNs2ywKdjy=&5Qk%lv2LzcN#;ek9nomqU&I@b%1pOW_+XSBpmGswR>@LhZx6p19`OYW3TuhJ(Z%jsEr?0{>C
)pI~m2@@es%v$%|Sn)#6?xgMtSF<&5Vqs4Z?;*eZ?ul2Z!IK=!X#2a6y@>#r+xRLpX#J9{)f3$ctafG>cJK3YJQU9}e6
>*Gt7x6k;-
1jgaAzuFm^%v%p4F4we59X(dm(NjuV1919+`n2Pa?DqVm((l~dFCGx*VL0eWbta^8H+a)&stnXTwq?ggT~9MC1TFvEvu
HOABQ&FNZiPLn0Va=vX?C0M;vCpyhHv@B-u|E-%8wS@ebm4i+2-uSn^hoyb<O<BwiU=B1SC^5oax~BF-
`Y`3^b1ko{<Jka(K;r?NazsvqWc&2l|X<!633aov$6>PO-Yml21UJDTPCoa{%7gT#%@A0^)2LG@$tZsM@T>xm=G-
ym*$nCi#k8sc`47iazvae18TgZY-*sLyqi{m8tBxV&eHm|Ab?o6Hh*R(@W1=giH-l|wb|xw5i5uPs%-
6Rq}{<ZngKE_Kh1KTP&lxUkecH#T-
(7S4&sgx}7a0G<?nJI|a88#^yA{C1o<=lvsTcfGMx{WiRvUIhHjIj*tWVgbM177zICwlR=r&RLD!mJj&twmArI&P|OS7
Ab>sdGK!sj+OcCHgnGTUu6C&YTR?qpRJNVzFp&<YrbQ(+{dhO&oy@tFI`pRo@+|3A~xrkMvvzpf94$1=y7vyc}&WmSn8
fjO8aZA+=SwDuFJ&hUS8^+GrHwv{xbR3Mrz!1!+%S>JY3_R8|I~dbB%j$sO+*WHSW1#MT6XDt8vc>CD#(0bHWc1Hyo&O
&j}@OA|ADP8F7~Rlf;dOYus}~$-9WhE#6B!VetdRIg1YvPg-
0>Y|a(GFVkzU5qV~5|Exb!<DM%@UPWxq6*rRp4ZpF(Jy(>x=8YxpxnY91u41XEXMTQ-
)B{xC%>OHKZ4HeF=D#FvtY7M$GfG}g9AW-v;)YdA-
E&9D%ZQ`Q4UKXie5q)+xSV*F`2pfk`%+P0?jv4#WT}|5csa4)bF@!MjxBZ14J9ulZmfiT1#@ml{wt0zb<YhYmlNk8ygB
DH`zY7I-<<QAeUU~u7juGs{|K--$20pVLlA!?=-
)TV0*?j#`zVtTe=6wTCo$)CW}jpR{Aa;`4&<40JF|~cU*+FNiB|c;w^#Z1P2#{q5Pqb}zi*NS9;@>2ql{Pi_fgC_oY@z
d2KjmLp9L0hu4T^E%)Ut@usLU2PWmtS6!mZBQ^d<gm%8U{A0w`b*SP0wl7qx?=HDi+>#lLn-Tq>|)OR)RIh)a+^3K_ZE
xq~<;>v7|dw<L5)ppRU9iUg^pjSshuVz7yjsxdFuTFtpod&&H5dQrWqi5ayl@fZ_=+!Xj)mG4}DbSNy(5n-
mSMw15TEMR-
L!h_nL617XVbH4)(5tPWSKC3a#z3!jfL`qZy*dQ>8v(sK26}ZI!skHGPM7)h><ok#pl9nr&o+WybwKZiLC>~=o;CM>PE
mhuIPU3j$<A?4k4s*5+|%Pmuf;*H8NF@vn$gonuNggU^qSGrMz4*R`}La9(?+l5%KduH=xL+Zrpo<#Ee?9E2lQGB^qRS
EWAxfcg<r2_E8zUS!mrmRD*Spa40<a9dMyV29iZ2;;6Dcb6Tn7q8of3H@n<XjdTb6@fL?Pz4~0Q*ML}=1gMSSCOWlt#d
Tl7^*J~3HJ{R=sv1#BL2ygVN(PMMK0`yu4^jah6sR-z`R`8Dj_ds}a-
^J*$5#Z4(zg{zX*XT8K|HbGjbKk}2Bl|A2ng=AuYJGR2l|GStyw-
O&TFndcE_6q&?~b%|ACmlVt?#b1YA4C@THl>%>3*N&?poj7X*F+2?y2?Np;rA@-
l6WRRd=bIEcZ{UKU`L;?v1<WB%`(JPPKbZLhOJZ4Ksh8;;((WR^1y{=aj_3v07J8mv5nZ9Itit=ISl-
9$&3{Px&zM(urCzYw;@Lg2m0ma~5xqhpqvSgTzM94iRsCxz@eM{33DfWUYIT`I|DmE48j3mK-
E*2fb<5yFVoVhN)UH1U$mL;hpsF)mm3COI}7i4)TniZX^HDbgjESHaunV{lwE2A0sY+JhOiO0{O3gt=84+hK*jA@vA7l
xp%DASNU33Z+}Oo|GipQZ%b|<9sxaR*2mY$fBEaRuHH2~Veu~FoW;wC&AnbVu6|JKu8-
Be%51H=(|^+Hm!rg$Z+iXC*axNV>$~@vO5C^q&m`|1^>wbjXLtha#XQ8n2KM1Bu<4h#>=a`2hB~(&b`syZrOvhQj6K;J
@Y|D7uopW5etWV9{Ea>MC6d2xZ=Kt(-1*z`-
$?#bz|$7Le{Y?;@8YftnE#Ias}9t;{l>6kafH~|hsK_bmig^jWB(a@b`;Vx{l?g{Q)Pa8b{4`H&|Zao6Jw7V|5o5=x!;
~O_LwYBkji81v4gwhc}JaVZ+(21+`p`I?WeC3*T?Ey`$_p9uXFE1|8K-
gAFgxnGcS$EbrJQC3hTaNcb&V>u%7(OQgyC<^giNsnL5`#lH5pa?k8WAJX9xgU@uKFf06vxUZ(s2oBPUtO589~=iXPA{
%bDRx%&=oe_$@i^q#77_Z<wI`^yJ*Q+`M5T>H!Tw_4ml90&R4{_-h`|Bk2Y-
22OhM=ahzJOS~|zQ&iNf0p_?@U+G4#CeNbiLY6_E?ei?XKwkK|8}>u_v+kz5W|ke4aCNNGwo^aH}7hZda+J)FrOqYf40
uG$G$3gyw0`1u1lVv{4%%gA<osg_7?72{3`h`yHe-
cQ)9$sQ+2LAW#&`!T`BqJ1)XI=9F@nWtJpRsK5p^EGCe074%KU3%YR^ZocJNjKTrIy#o^`J--M4Z*MD!=_!o%f-=zD-
M!vhVLUT9&!QD}MzR!vuS*iUE=j0s8^3>n_vsmS4rH*envP#DvWbUD-
{M(6t&fLCQ`~QspII!I7zlFa8XXi_P$IH%_oU`qG^aT9*khX)J54k3{^C5M$oew!j+U1mMKs#S@PP*Tcmu3HtHE_GJzg
tfbKF|CHhnI8G16KYUnN56$*@TZU{}cZ)w5SzdtqCgh-^n!PDKMWle?YZTvnfxQ*`z1Ou-
z}^8p`gMatzu1ay;nom+}t1-
7n>xc)MRtRQda*yrXXSOSu;%|F&@lw0jS<dj#4&3hf?)cF#e(%kPre?H+@64@0|0q21)3z1?ova(}yxmHXRmqTJtZljZ
()i$lBhK)Vf9_}gu~!ryMK&~7PcH`%Vf`2^Zc?g88FCii&lcB_YWYln7|Ya98!S7~$E{XHJ=kB@x7KR%=lW7lgBu(VBA
6zLB+=nta-fBVe@{Ou=gY`ed7l==IMOxNx&(`EktBKNB7{v!8E>~hNQ8u|K5rN11bmHu+ey$j#`8`NytyNB7NH^%%=En
fRbe)k@6!%w;W7nsd=lPmPWUu)3s{!*ECFF^P&@?T8u3HaT=!{MjF{f}9GJtX}NmNNzNkF)zkx!?T=yN4?L?oU-
}_Xvc4fzypay05dGQOM`5?4F14|HS1AL%Kia@Yf*SpK|yq2!EOL*$VFWaz1ldE_NSBIqcqE>32V5$_wuQo!txI{v*!k5
V*H+K4-xFnsE>L-JdakK^xq^&+>b~{dd@X1l*tIe9qSS-
B+@^v()eYSEgJ`pnf<%tq{J8^FIdef57f>aKCQqAM*2u>^=kG|6fjbyvFaIG5reMzrpn|3+_ibKlQbK_h&iXEVu_)eiZ
WA&F*1vznkT!>Wa+|74zKwu|j_V6x*wX-6tXZ_Db!Zf^qbvGVMMD<1WwPN5K7i<=VX!#@D}RIeBnD#rc_qBK%tp-wye&
=X7(>&)>)HJ>dSE>^=eR>o}h{jvi+BFr<5@kq_=m)ZdOTQ+Fwip77cwIImrvSMq~uZ`A(msL<{?2%o9c?yb-
+e_E#9V^IIU!R{U4zLez)sQ<6C{5aJA-*G<2A)hPQJq-2M$L=%Oj_mG0_z!S?3K0Gob|0-
O*3U!p+;T$K|6HAC*QmeeZN~L-
(2quMHu&8~d0gjLz_?&JldB*vEGNGb`nl0B;Qre@ehaILm1{`}y<bzpy{?3NeF^s!CEQn)aBnE#-
Z;<g+p1iR^YrikS*G24!2NK!b`OL5Z*llZaIfNelXuDN&t|UwC}inrV<&+7S(bAR+`nn;khOmIKQsCo+|%qn2JSDjdwi
YWeLv@?9^5x^x*g#DD=cRS-2WBJ$$@({yU&69(=2~<eX(|2H_z>dD&2KzPuBjdXZH}yCr_1Y_b|9OR%-
VMjNk8Y_!!JT-(~sOPd?1<sE=Aqx-
f724yQW?Q|<@YeHPsRK+a{BUER+9FRH&;{tmS^Gk=F%evSoncoS}dqYiWU2!tPGcgOmh=c=D8_l<74H5}lNI6sAux4x5
~ttwrwuvzxMTe*9Mny&KJ!7HqJGHmVTFL(dyx|h$pRk};&g%2tDHS^pbRql23-
2YU$*UxibtK_ek=l)m9ebqeoFDf|=^W1w?cyI8|aQ%Oo%aww1{Wm4Y>*vub?@q*WvBCa{4EHQV@ZYb$#OpVkCoGn~`!r
PL@xPG!0TzFR?+Drc^1J4?ypC$Wyev0?d^{%Chf6)aEV<V2Us&N!FT2vu^{f0mx!U8W_`4%^`l$wg{_@~Ixz^)fm;Gs-
m!A<eQTX#4U+)h;0h|~9{Iv!kzrbca==zsIdxX67rQ0;fzXqHI`6D1NSLK&ydiF1i!@}Qw)5vB1@OFQGocGu4@`j;4Cx
C~_q5XiT%l-
X(OPx2KWPTzROaB8F%lx!kEc@GWi>3U&I(OSf<>x8O|2O3Cwprs>=3y`J0pP>HM}Qx;_%@lo#dmR^HZ0>lZSe`Y&a+tV
%e`drgY@r;#d0s~HH+oG-
0K#9fd2i&;t$flH!YTVtqFK6e;3XP_{$RkjsnMk<G?B45#TKFIB*Vl3OElu16%+$s@iZpumc<cjsnMk<G?B45#TKFIB*
Vl3OElu16%+$>o&Lizz%Q(I0_sCjsvHFM}V`y<G?xKDd0Tt3~&M1C~CL-zz%Q(I0_sCjsvHFM}V`y<G?xKDd0Tt3~&M1
{3xYceqaYU0vrX70mp$;z$3s};Bnv_@Dy+!cm}utY)oCZ{J;)y1UL#D1C9fyfJcC{z~jI<;3?od@C<MPSX4pzfgRuoa1
=NO90yJTj{s+Z$ANReQ^0xP8Q=o2S<<-W2X=rXz)|2Ba2z-
VJOZ2r9tX|=PXXtFXMhX9q8iE%>;OlAqrfrXIB*Jh1UL&k4x9s?0?q@^02hGG64fm~umc<cjsnMk<G?B45#TKFIB*Vl3
OElu16%+WOQHP04sZlG3LFED1E+vTfV05kz&YS4;5_gQZ~@qCMY!b$c7P+mQQ#PG95@9$0-
OaN2hIUc0q22dfD6E)7RnFo07rnMz%k%Ba0++?I14-
uoCBT$&I8W?7l1__lpojujsQo2W599X6z~Xe7I+*u2RsFw2c7{g0E=Z%eqaYU0vrX70mp$;z$3s};Bnv_@Dy+!cm}utY
&JyP@&h}-5#T6r3^)#)0v-X*0*?ddfTw`-z%#%FV6hy^59|O(fTO@M;5cv!cmy~LJPw=#o&wGT&j1&I%@(p-
eqaYU0vrX70mp$;z$3s};Bnv_@Dy+!cm}utELKAKfgRuoa1=NO90yJTj{s+Z$ANReQ^0xP8Q=o2IVy0=59|O(fTO@M;5
cv!cmy~LJPw=#o&wGT&j1&I#cC)&umc<cjsnMk<G?B45#TKFIB*Vl3OElu16%+$=M`@GfgRuoa1=NO90yJTj{s+Z$ANR
eQ^0xP8Q=o2SOet;c7P+mQQ#PG95@9$0-OaN2hIUc0q22dfD6Fp=+7-
bumc<cjsnMk<G?B45#TKFIB*Vl3OElu16%+WYoYwW4sZlG3LFED1E+vTfV05kz&YS4;5_gQZ~@pH<+|kuc7P+mQQ#PG9
5@9$0-
OaN2hIUc0q22dfD6FpeAO*Kumc<cjsnMk<G?B45#TKFIB*Vl3OElu16%+$NA_;{fgRuoa1=NO90yJTj{s+Z$ANReQ^0x
P8Q=o2xiaFGAJ_qo07rpiz;WOd@Ca}gcpNwfJO!Kwo&hcZo2x5s`GFna2yhfQ1{?=Y0gnJ@fyaS!z*E3^;2Gcou=+BUU
4CE(I0766jseGkQ^2FQ_|M13fG2<_fv1750nY-
@0f!tvHv)%&TY=kwJAiwDhk!?c$ABk*CxNGduK~{j&jE)vLHU8hz^%aTz#YInz(c^Jz+=D@z>~n!z}J9hf#-
ljw?g@W!@#Y;?Z6$tJ-
|c2qrhXp6Tp+e)4<n&XMyK{Lz|)ez+vE4;CA2+;2z*1;8EZ);0fSK;A!A%z_Y+}z@aTre&8^0D{wn-
2XGJY5b!AQ81Mw}B=9uwHQ-
s`IpEMcq5QyM;8x&v;11v(;342q;4$C{;7Q<V;A_CMz;nQ%tx$g8FmNkyJ8%bZ5AYE1DDW8Y1n?yAH1Nz;|NXK8u-
NA3dSC}Q0vrX70mp$;z$3s};Bnv_@Dy+!cm}utY%V;y<p*|vBfwGM7;qdo1v~<r1s(^^0Z#$vfoFgVz~+aB-
0}lEz!Bgma11yOoB|#J&H|4E=YXex^T0E}1z@oq$`9-SM}VWiG2l3G3U~xK3p@^-
1D*oT1J3{#fW;0dKd=KF0geL4faAa^;1S>~@HlV|cnUZVJOf++HWz%|@&h}-5#T6r3^)#)0v-X*0*?ddfTw`-
z%#%FV5KDN@&h}-5#T6r3^)#)0v@$k-
gh3iSl)M@v{>GE&RZ<+JI`7y?>mc~9?SdAjTX!M&Jl~{edl(I<$dQ4;2z*1;8EZ);0fSK;A!A%z_Y+}z@c4!ZUhbkw*t
2VcL4VQ4*`z?j{#2rPXbQ^Ujv>6o&yd=p!~pL;8x&v;11v(;342q;4$C{;7Q<V;2DeMeft8i*zM<fU<Wt?90iU6$AMG8
BfweUao`;A6mTAR2Dkt$TA=*E4sZlG3LFED1E+vTfV05kz&YS4;5_gQZ~<8Cf${@8z!Bgma11yOoB|#J&H|4E=YXex^T
0E}1z__99Jl<y4sZlG3LFED1E+vTfV05kz&YS4;5_gQZ~<7{4&?`SfFr<B;23ZmI0ZZcoCO{S&H+yW=YeN{3&3I@lpoj
ujsPFo=ihIB7`PAkGVs&D&jP;$d<FP5;MakF0{kX$%^iN;0Nf0G0Qd;-
!@!w4{QCz_0Y3x$0`SYguL6G$_y@pm09Um7c@^*$;Jv_yfsX@s180Dr0)7Vg1>l!~Uj_ai@DG6B0Iql!lplBt@Lu4<z{
i36-
sQK)F9Saf{4DTGz*m4@1AZO&C%|t4*WBsn4ZzL72Y`<NKMdRld>Qy@;Aeqf0=@$L8u07DKLLIdxMshfx9s=Zi+h0&10M
(O2EM%CKR-
SV{4DTGz*m4@1AZO&C%|t4*BtQk2H<Ak1Heas9|rCNz6|^{@FxRL2Yx;98-Z-#(}B+fJ{x!@@SB0(3XBClANY9SQ-
RUIuLV99_*_8j98C6Q1`}P$)Ie{4W><PR-IeI;OUsweWPc_(*m-
fVH<P@uh=7C1M7IvNGm{+3=(oF%zh|ce6>O+CBa#;=bXs%`oR^W(V&}O;DlJmU{_fuXGo4DNNGCHHqO`b>=sTYz?ix&F
x_anMr6goZojvqFdQWGPsYPTiO$lTM7FCL_3#SJM&gr13&QqDwyV3()XO%~1U$Xy9re~g?ly3Y^_nlAoEHa^U=`)MWy9
(LYci~)TqPu%A-
Fs%SEobMow?CQb<P6hGCPChPy<N%vbW(IBQknCE$%VyI1FB|TWN#2V)0x3c;uJlH&#C9&KzAaOaJz;$a_>ED_aAE$NAA
9RU+25zW3PVf=I0(p{fHRHJ?h!g*}}Y=y?3*WR+gck`Vr~e$IsjOxwlnI*`tHq-r3TsqwD7$en$AYuXDE!=)T-
;UiNn0!J_%O_YThJ9h}4+EScFnci+Jh_pw0z)Q^aM?CsoRd|TL|h5hxD^0UumY#&z$2iVO4Zs+XX&H``eY~0TA*?l*=>
nF+E%L(t*{(H6by;|BG{M^US+fC>e4&K7y^;2fggxGDO?%}9=bi#Z0a0Z$8u)lup>ulL$lHdR>9DqG22@_&BhuCd=S~%
A&T!<D<vV|k;VGsS35sXg@`|LI%cC(1xEP{Ctvwlhm?4X}AQ@gpMcXPQT++QLl6A=~_;Q~jDs0i0-
ghiSdyCd8McXL#Bkk6n0(^)p}C(+dBXIu0S5a91A!p|M4y-(?ezw{R6=QRBO68?gj{LR;DE4=xH|EqqQ-
(ir)!DUu_^ZOvT1d690;`?LS(8B4j4-`*-
>~HilF1++Bilo24MEd4@e7b7k^zSH<{v4+tv(gV1N&i4u@$}99epoD=zWiOiV(GX4(4Wp0j*IE<EYbd>i%freiT3X(lK
zq+>Az7T{oEqcFO*2Xr%3uWMbdwyMEhS`Wcm-4X#b%i>DLuW|7wZ!&H2fV(*H(@^hb-NUtc8s$`bV-US#@#67@e;B>fd
d(*I70^ka)m|Jx<fpD2?4sv_zCT8a7}T4ef9mZ<;9BI!32Nxz}Q_&4WOGi3{>zoNwWpXT%<R{D)a(*I$J@{e%D=ndw-
zb-ZZar!AM{dGmsFXQr~4x6&}YZlU90~{ZJVcP5unct@~AC&imD4u@)LDoMvX#Y!P^Yf(U?+*R^>fH;cf3ZaS^~}z%zg
vpbUtAPVzvhej`Rsv((|@?c__;P~6qJ|#rXuNojS??Ea$RlV`r@<wvGoS+ccx4f`E_s_zyAmK!&)!iV^;d+m-
PNW{5XaU
"""
# END GENERATED

if __name__ == "__main__":
    sys.exit(main())
