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
import operator
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
    NoReturn,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

try:
    import pwd
    import resource
except ImportError:  # not on Windows, where capture files and profiles are read all the same
    pwd = resource = None  # type: ignore[assignment]

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

# (kind, time_ns, sock_id, port, peer_port, offset, length, data, mark)
#   kind       RECV, SEND; OPEN, CLOSE: the connection began or ended
#   time_ns    CLOCK_MONOTONIC
#   sock_id    the same for one connection as long as it lives
#   offset     TCP sequence number of the first byte (modulo 2**32)
#   length     bytes of the stream that this segment stands for; length - len(data) of
#              them are not there
#   mark       RECV: the next byte to be sent, if the source knows it, or -1; what is not
#              there is the end. SEND: what is not there stands before data[mark]; -1: at
#              the end
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
OPERATION_FIELDS = 10


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


# Before each record on the ring: its size, with these flags, and four more bytes.
RECORD_HEADER_BYTES = 8
RECORD_BUSY, RECORD_DISCARDED = 1 << 31, 1 << 30
RECORD_SIZE = RECORD_DISCARDED - 1


class RingBuffer:
    """A BPF ring buffer as batches of records. A context manager.

    libbpf calls back for each record, which costs more than to take the record apart. So the
    first call takes all that is there: the ring is mapped twice in a row, so what follows the
    record follows it in memory as well. This needs a machine on which loads are not done out
    of order, or data could be older than the position that says it is there; elsewhere each
    record is taken when libbpf, which knows about that, calls for it.
    """

    ORDERED = platform.machine() in ("x86_64", "AMD64")
    BATCH_BYTES = 1 << 20  # no more at once, so that a fast server cannot keep us here

    def __init__(self, libbpf: Libbpf, map_fd: int) -> None:
        self._libbpf = libbpf
        self._batch = bytearray()
        self._before = 0
        self._error: Optional[BaseException] = None
        self._callback = _SampleFunction(self._on_record)  # libbpf keeps only the pointer
        with contextlib.ExitStack() as stack:
            self._ring = libbpf.ring_new(map_fd, self._callback, None, None)
            stack.callback(libbpf.ring_free, self._ring)
            self._consumer = self._map_position(stack, map_fd, 0, mmap.PROT_READ | mmap.PROT_WRITE)
            self._producer = self._map_position(stack, map_fd, mmap.PAGESIZE, mmap.PROT_READ)
            self._stack = stack.pop_all()

    @staticmethod
    def _map_position(
        stack: contextlib.ExitStack, map_fd: int, offset: int, access: int
    ) -> memoryview:
        """The page in which the consumer's, or the producer's, position is the first number."""
        page = mmap.mmap(map_fd, mmap.PAGESIZE, mmap.MAP_SHARED, access, offset=offset)
        stack.callback(page.close)
        return stack.enter_context(stack.enter_context(memoryview(page)).cast("Q"))

    def __enter__(self) -> RingBuffer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _on_record(self, _context: int, data: int, size: int) -> int:
        # Called from C: an exception would be swallowed, so it waits in _error. No more
        # is done here than must be; the records are parsed where errors can be seen.
        begin = data - RECORD_HEADER_BYTES
        try:
            if self.ORDERED:
                there = self._producer[0] - self._consumer[0]
                self._batch += ctypes.string_at(begin, min(there, self.BATCH_BYTES))
                return -errno.ECANCELED
            self._batch += ctypes.string_at(begin, RECORD_HEADER_BYTES + (size + 7 & ~7))
            return -errno.ECANCELED if len(self._batch) >= self.BATCH_BYTES else 0
        except BaseException as error:  # noqa: BLE001
            self._error = error
            return -errno.ECANCELED

    def read(self, timeout_ms: int) -> bytes:
        """Wait for a wake-up or the timeout; then the records, each behind its header.

        The last ones may not be complete; they come again. So take() must be told how many
        bytes were used.
        """
        self._before = self._consumer[0]
        self._call(self._libbpf.ring_poll, self._ring, timeout_ms)
        if not self._batch:
            # Submitted without a wake-up: there, but poll does not see it.
            self._call(self._libbpf.ring_consume, self._ring)
        if self._error:
            error, self._error = self._error, None
            raise error
        batch = bytes(self._batch)
        self._batch.clear()
        return batch

    def take(self, used: int) -> None:
        """So many bytes of what was read last were used; the kernel may have their place."""
        if self.ORDERED and used:
            self._consumer[0] = self._before + used

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
_RUN = struct.Struct("<II")
# The ring's own header, its first half (see RECORD_BUSY); the event; and its first run.
_RECORD = struct.Struct("<I4xQQIIIHHB3xIII")


def parse_events(batch: bytes) -> Tuple[List[Segment], int]:
    """Ring records, each a SocketDataEvent, as segments; and how many bytes they were."""
    segments: List[Segment] = []
    append = segments.append
    unpack, first = _RECORD.unpack_from, _RECORD.size
    position, last = 0, len(batch) - _RECORD.size
    while position <= last:
        # fmt: off
        (size, time_ns, sock_id, offset, length, captured,
         sport, dport, kind, sent, run, skipped) = unpack(batch, position)
        # fmt: on
        end = position + RECORD_HEADER_BYTES + (size & RECORD_SIZE)
        following = end + 7 & ~7
        if size & RECORD_BUSY or following > len(batch):
            break
        if size & RECORD_DISCARDED:
            position = following
            continue
        data_at = position + first
        position = following
        if kind > SEND:
            append((kind, time_ns, sock_id, sport, dport, offset, sent, b"", -1))
        elif run == captured:
            data = batch[data_at : data_at + run]
            mark = sent if kind == RECV else -1
            append((kind, time_ns, sock_id, sport, dport, offset, length, data, mark))
        else:
            behind = data_at + run
            two_runs = behind + _RUN.size + captured - run == end
            if kind == SEND and two_runs and skipped == length - captured:
                # A reply, its value left out, and what is behind it.
                data = batch[data_at:behind] + batch[behind + _RUN.size : end]
                append((kind, time_ns, sock_id, sport, dport, offset, length, data, run))
                continue
            head = (kind, time_ns, sock_id, sport, dport)
            mark = sent if kind == RECV else -1
            segments += parse_runs(head, offset, batch[data_at - _RUN.size : end], mark)
    return segments, position


def parse_runs(
    head: Tuple[int, int, int, int, int], offset: int, data: bytes, mark: int
) -> List[Segment]:
    """The segments of an event of several runs."""
    segments: List[Segment] = []
    position = 0
    while position < len(data):
        captured, skipped = _RUN.unpack_from(data, position)
        begin = position + _RUN.size
        position = begin + captured
        length = captured + skipped
        segments.append((*head, offset, length, data[begin:position], mark))
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
                    for message in messages:
                        print(printable(message.expandtabs()), file=sys.stderr)
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
        segments, used = parse_events(self._ring.read(timeout_ms))
        self._ring.take(used)
        return segments

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
                "the syscalls hook needs tracefs, which this user may not read "
                "(missing: CAP_DAC_READ_SEARCH)",
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
_IP4 = struct.Struct(">2xH2xHxB")
_TCP = struct.Struct(">HHIIH")
IP6_EXTENSIONS = frozenset((0, 43, 51, 60, 135, 139, 140))
IP6_FRAGMENT = 44
IP6_EXTENSIONS_MAX = 8


# (time_ns, ip, end, wire_end): the IP header is at data[ip] of some buffer, the captured part
# ends at data[end]; wire_end is where it would end if it was captured whole.
Packet = Tuple[int, int, int, int]


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

    def add(self, data: bytes, packets: Iterable[Packet]) -> None:
        """Packets in this buffer, in the order in which they were captured. Never raises."""
        halves, unpack = self._halves, _IP4_TCP.unpack_from
        append, now, plain = self.segments.append, self.time_ns, 0
        for time_ns, ip, end, wire_end in packets:
            if time_ns > now:
                now = time_ns
            # Nearly every packet is of this kind, so it is written out.
            if end - ip >= 40 and data[ip] == 0x45:
                total, fragment, protocol, _, _, number, acked, bits = unpack(data, ip)
                half = halves.get(data[ip + 12 : ip + 24])
                payload = ip + 20 + (bits >> 10 & 0x3C)
                stop = ip + total if total else wire_end
                if (
                    half is not None
                    and number == half.next
                    and bits & TCP_FLAGS == TCP_ACK
                    and protocol == IPPROTO_TCP
                    and not fragment & 0x3FFF
                    and ip + 40 <= payload <= stop
                    and not half.held
                ):
                    plain += 1
                    other = half.other
                    if acked != other.next and (acked - other.next) & WRAP < WINDOW_MAX:
                        self.time_ns = now
                        self._cover(other, acked)
                    if payload < stop:
                        length = stop - payload
                        half.next = (number + length) & WRAP
                        flow = half.flow
                        append(
                            (
                                half.kind,
                                now,
                                flow.sock_id,
                                flow.port,
                                flow.peer_port,
                                number,
                                length,
                                data[payload : stop if stop < end else end],
                                -1,
                            )
                        )
                    continue
            self.time_ns = now
            self._add(data, ip, end, wire_end)
        self.time_ns = now
        self.packets += plain

    def _add(self, data: bytes, ip: int, end: int, wire_end: int) -> None:
        """A packet of any kind."""
        found = self._find_tcp(data, ip, end, wire_end)
        if not found:
            return
        tcp, wire_end, key = found
        source, target, number, acked, bits = _TCP.unpack_from(data, tcp)
        payload = tcp + (bits >> 10 & 0x3C)
        length = wire_end - payload
        if length < 0 or payload < tcp + 20:
            self.ignored += 1
            return
        half = self._halves.get(key) or self._begin(key, source, target, bits)
        if half is not None:
            self.packets += 1
            self._follow(half, number, acked, bits, length, data[payload : min(end, wire_end)])

    def _find_tcp(
        self, data: bytes, ip: int, end: int, wire_end: int
    ) -> Optional[Tuple[int, int, bytes]]:
        """What any IP packet holds: (where TCP begins, where it ends, addresses and ports)."""
        version = data[ip] >> 4 if end > ip else 0
        protocol = fragment = -1
        if version == 4 and end - ip >= 20:
            tcp = ip + (data[ip] & 15) * 4
            total, fragment, protocol = _IP4.unpack_from(data, ip)
            wire_end = ip + total if total else wire_end  # 0: segmentation offload, over 64 KB
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
        self._type_at = 12 if link == 1 else 14 if link == 113 else -1  # if there is no VLAN

    def parse(self, data: bytes, packets: List[Packet]) -> int:
        """Append all whole packets; where the rest begins. Raises CutError behind the last."""
        unpack, append = self._record.unpack_from, packets.append
        find_ip, unit_ns, type_at = self._find_ip, self._unit_ns, self._type_at
        at, size = 0, len(data)
        last = size - 16
        while at <= last:
            seconds, fraction, captured, length = unpack(data, at)
            start = at + 16
            at = start + captured
            if captured > CAPTURE_PACKET_MAX:
                raise CutError
            if at > size:
                return start - 16
            ip = start + type_at + 2
            if type_at < 0 or data[ip - 2 : ip] != b"\x08\x00":
                ip = find_ip(data, start, at)
            if ip >= 0:
                time_ns = seconds * NS_PER_SECOND + fraction * unit_ns
                append((time_ns, ip, at, start + length))
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

    def parse(self, data: bytes, packets: List[Packet]) -> int:
        """See PcapParser.parse."""
        at = 0
        blocks = struct.Struct(self._order + "II")
        bodies = struct.Struct(self._order + "IIIII")
        while at + 12 <= len(data):
            if data[at : at + 4] == PCAPNG_MAGIC:
                self._begin_section(data[at + 8 : at + 12])
                blocks = struct.Struct(self._order + "II")
                bodies = struct.Struct(self._order + "IIIII")
            kind, length = blocks.unpack_from(data, at)
            if length < 12 or length > CAPTURE_PACKET_MAX:
                raise CutError
            end = at + (length + 3 & ~3)
            if end > len(data):
                break
            body, end_body = at + 8, at + length - 4
            if kind == self.PACKET and length >= 32:
                number, high, low, captured, wire = bodies.unpack_from(data, body)
                if captured <= end_body - body - 20:
                    self._add(number, high << 32 | low, data, body + 20, captured, wire, packets)
            elif kind == self.INTERFACE and length >= 20:
                self._add_interface(data[body:end_body])
            elif kind == self.SIMPLE_PACKET and length >= 16 and self._interfaces:
                (wire,) = struct.unpack_from(self._order + "I", data, body)
                captured = min(wire, end_body - body - 4, self._interfaces[0][3] or wire)
                self._add(0, None, data, body + 4, captured, wire, packets)
            elif kind == self.OLD_PACKET and length >= 32:
                number, high, low, captured, wire = bodies.unpack_from(data, body)
                if captured <= end_body - body - 20:
                    number = struct.unpack_from(self._order + "H", data, body)[0]
                    self._add(number, high << 32 | low, data, body + 20, captured, wire, packets)
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
        packets: List[Packet],
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
            packets.append((self._time_ns, ip, start + captured, start + wire))


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
        count_bytes(segments, self._totals)
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
            self._parse()
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
        data, packets, damaged = self._rest, [], False  # type: bytes, List[Packet], bool
        try:
            self._rest = data[self._parser.parse(data, packets) :]
        except CutError:
            damaged = True
        if packets and self._start_ns < 0:
            self._start_ns = packets[0][0]
        self._reassembler.add(data, packets)
        if damaged:
            self._finish("is damaged; what comes before was read")

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


def count_bytes(segments: Iterable[Segment], totals: List[int]) -> None:
    """Add the bytes received and sent to the two totals."""
    for kind in (RECV, SEND):
        totals[kind] += sum([segment[6] for segment in segments if segment[0] == kind])


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
_BLOCK_TIMES = struct.Struct("=32x4I")  # when it was begun, and of its last packet: s, ns
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
    CLOCK_STEP_NS = NS_PER_SECOND // 10  # the two clocks cannot be read at once

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
        # Between the two there may be several differences, when the calendar's was set.
        self._differences_ns = [time.monotonic_ns() - time.time_ns()]

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
            if any(event & select.POLLERR for _, event in poll.poll(timeout_ms)):
                # The interface went down. Reading the error clears it, or each poll would
                # return at once; when the interface is up again, packets come again.
                self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
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
        count_bytes(segments, self._totals)
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
        difference_ns = self._choose_difference(data)
        self._reassembler.add(data, parse_block(data, packets, at, difference_ns))

    def _choose_difference(self, block: bytes) -> int:
        """What to add to a block's times. Call it for each block, soon after it came."""
        now_ns = time.monotonic_ns()
        current_ns = now_ns - time.time_ns()
        if abs(current_ns - self._differences_ns[-1]) > self.CLOCK_STEP_NS:
            self._differences_ns = [*self._differences_ns[-3:], current_ns]
        begun_s, begun_ns, last_s, last_ns = _BLOCK_TIMES.unpack_from(block)
        latest_ns = max(begun_s * NS_PER_SECOND + begun_ns, last_s * NS_PER_SECOND + last_ns)
        return choose_difference(self._differences_ns, latest_ns, now_ns + self.CLOCK_STEP_NS)

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


def choose_difference(differences_ns: Sequence[int], latest_ns: int, now_ns: int) -> int:
    """Which of these, added to that time of the past, comes closest to now.

    What was stamped before the calendar's clock was set back would, with the difference of
    today, be in the future; what was stamped after, with the one of before, long ago.
    """
    past = [ns for ns in differences_ns if latest_ns + ns <= now_ns]
    return max(past, default=min(differences_ns))


def parse_block(data: bytes, count: int, at: int, clock_ns: int) -> List[Packet]:
    """The packets of a block of the ring.

    at: where the first one is; clock_ns is added to their times.
    """
    packets: List[Packet] = []
    unpack = _FRAME.unpack_from
    for _ in range(count):
        after, seconds, ns, captured, length, _, mac, net, hatype = unpack(data, at)
        start = at + mac
        end = start + captured
        if hatype in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
            # A tag that the kernel has taken out is not missed: it is beside the packet.
            ip = start + 14
            if data[ip - 2 : ip] != b"\x08\x00":
                ip = ip_in_ethernet(data, start, end)
        else:
            ip = at + net
        if ip >= 0:
            packets.append((seconds * NS_PER_SECOND + ns + clock_ns, ip, end, start + length))
        at += after
    return packets


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
    numbers = words[2:]
    if len(numbers) == 3 == count - 2 and b"".join(numbers).isdigit():  # the common kind
        if max(map(len, numbers)) < 10 and len(words[1]) <= KEY_MAX:
            flags, exptime, size = map(int, numbers)
            form = b"%b %d" % (command, flags) if flags else command
            return Request(form, REPLY_LINE, (words[1],), size, exptime), size
    return _parse_any_storage(command, count, words)


def _parse_any_storage(command: bytes, count: int, words: List[bytes]) -> Parsed:
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


class KnownRequest:
    """A request of a common kind, parsed once for all the times that it is sent.

    Most requests are a get or a set of a key that was asked for before, letter by letter the
    same, and answered in one of a few ways. Such a line is looked up instead of parsed, and so
    are its replies. See Connection._ask_known for what becomes of them.
    """

    __slots__ = (
        *("form", "reply", "keys", "codes", "value_size", "exptime", "read_length"),
        *("replies", "code", "hit_head", "hit_head_length", "hit_length", "hit_size"),
    )

    LINE_MAX = 512  # bytes; longer ones are not worth remembering

    def __init__(self, line: bytes, request: Request, codes: List[int]) -> None:
        self.form = request.form
        self.reply = request.reply
        self.keys = request.keys
        self.codes = codes
        self.value_size = request.value_size
        self.exptime = request.exptime
        body = 0 if request.value_size == NO_SIZE else request.value_size + 2
        self.read_length = len(line) + body  # bytes of the whole request
        # The replies of one line, and their outcomes; none if there are several keys.
        self.replies = KNOWN_REPLIES[request.form.split(b" ", 1)[0]] if len(codes) == 1 else {}
        self.code = codes[0]
        # The latest reply to a get of one key that hit: its VALUE line, and the length of all.
        # The same one is likely to come again.
        self.hit_length = -1
        self.hit_head = b""

    hit_head_length: int
    hit_size: int

    def is_hit(self, data: bytes, length: int, mark: int) -> bool:
        """Is a segment the whole reply to a get of one key, and not a miss? Remembers it."""
        newline = data.find(b"\n") + 1
        words = data[: newline - 2].split(b" ")
        if len(words) < 4 or words[0] != b"VALUE" or len(self.codes) != 1:
            return False
        if words[1] != self.keys[0] or not (words[2].isdigit() and words[3].isdigit()):
            return False
        size = int(words[3]) if len(words[3]) <= 10 else 0
        if newline + size + 7 != length or data[-5:] != b"END\r\n":
            return False
        if len(data) != length and not len(data) == newline + 5 == mark + 5:
            return False
        self.hit_head = data[:newline]
        self.hit_head_length = newline
        self.hit_length = length
        self.hit_size = size
        return True


def known_request(line: bytes, encode: Callable[[bytes], int]) -> Optional[KnownRequest]:
    """The request of a whole line, with its line end; None if it is not of a common kind."""
    if not 0 < len(line) <= KnownRequest.LINE_MAX:
        return None
    request, _ = parse_request(line[: -2 if line[-2:-1] == b"\r" else -1])
    if request.reply not in (REPLY_LINE, REPLY_VALUES) or not request.keys:
        return None  # not answered, answered in many ways, or invalid
    return KnownRequest(line, request, [encode(key) for key in request.keys])


_STORED_REPLIES = {
    b"STORED\r\n": STORED,
    b"NOT_STORED\r\n": NOT_STORED,
    b"EXISTS\r\n": EXISTS,
    b"NOT_FOUND\r\n": NOT_FOUND,
}
_MISS_REPLIES = {b"END\r\n": MISS}
_COUNT_REPLIES = {b"NOT_FOUND\r\n": NOT_FOUND}
# command -> replies of one line and their outcomes. What is not here is parsed.
KNOWN_REPLIES: Dict[bytes, Dict[bytes, int]] = {
    **{command: _STORED_REPLIES for command in STORAGE},
    **{command: _MISS_REPLIES for command in (b"get", b"gets", b"gat", b"gats")},
    b"delete": {b"DELETED\r\n": DELETED, b"NOT_FOUND\r\n": NOT_FOUND},
    b"touch": {b"TOUCHED\r\n": TOUCHED, b"NOT_FOUND\r\n": NOT_FOUND},
    b"incr": _COUNT_REPLIES,
    b"decr": _COUNT_REPLIES,
}


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
        "known",
        "known_reply",
        "reads_whole",
        "writes_whole",
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
        # While all that waits is of a common kind it waits here and not in the queue, as
        # [request, time_ns or 0 if it is not whole yet, batch_position]. See _ask_known.
        self.known: Optional[Deque[List[Any]]] = None
        self.known_reply = b""  # the beginning of a reply to the first of them
        self.reads_whole = False  # known, and no request is half read
        self.writes_whole = False  # known, and no reply is half written
        self._use_known()

    # -- bytes in --

    def receive(
        self, time_ns: int, offset: int, length: int, data: bytes, sent: int = -1
    ) -> None:
        """Bytes that the server read, having sent all before the byte `sent`."""
        self._forget_beginning()
        behind_gap = offset != self.recv_next and self.recv_next is not None
        if behind_gap:
            self._parse_all()
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
        if self.known is not None:
            rest = self._ask_known(time_ns, length, data)
            if rest is None:
                return
            data, length = rest
            self._parse_all()
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
        elif not self.queue and not self._matcher.responses:
            self._use_known()

    def send(self, time_ns: int, offset: int, length: int, data: bytes, mark: int = -1) -> None:
        """Bytes that the server wrote. mark: see Segment."""
        self._forget_beginning()
        if offset != self.send_next and self.send_next is not None:
            self._parse_all()
            gap = (offset - self.send_next) & 0xFFFFFFFF
            self._missing(gap, self._skip_response_bytes, 0)
        self.send_next = (offset + length) & 0xFFFFFFFF
        self.answered = True
        if self.known is not None:
            rest = self._answer_known(time_ns, length, data, mark)
            if rest is None:
                return
            data, length, mark = rest
            self._parse_all()
        if 0 <= mark < len(data):
            tail = data[mark:]
            self._reply(time_ns, length - len(tail), data[:mark])
            data, length = tail, len(tail)
        self._reply(time_ns, length, data)
        if not self.queue:
            self._use_known()

    def _reply(self, time_ns: int, length: int, data: bytes) -> None:
        if self.state == OUT_OF_STEP:
            self._matcher.ledger.lost_bytes += length
            return
        self._count(length)
        if self.watching or (self.state == IN_STEP and not self._matcher.responses):
            return
        self._parse_reply(time_ns, length, data)
        if len(data) != length:
            self._unread(length - len(data), self._skip_response_bytes, time_ns)

    def _parse_reply(self, time_ns: int, length: int, data: bytes) -> None:
        try:
            responses = self.responses.feed(data) if data else []
        except ProtocolError:
            self._uncount(max(length, self.responses.unfinished_bytes()))
            self.responses = ResponseParser()
            self.fall_out_of_step()
            return
        if responses:
            self._match(responses, time_ns)

    def close(self) -> None:
        """No more will come: what still waits was not answered."""
        self._parse_all()
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

    # -- requests of a common kind --
    #
    # The fast path. In step, and as long as every request is a KnownRequest and every reply
    # one that such a request can have, nothing is parsed: lines are looked up, replies are
    # compared. Anything else, a gap for example, calls _parse_all(), which gives what waits
    # here to the parsers and the queue, as if it had been parsed at once; when the queue is
    # empty again, _use_known() comes back here. The simplest of all, a request that is alone
    # in its read and a reply that is alone in its write, is in Matcher.process itself.
    # bench/core.py measures what this saves; a test feeds both ways the same streams.

    KNOWN_PARTIAL_MAX = 4096  # bytes of a line that is not complete
    KNOWN_REPLY_MAX = 16384  # bytes of a reply that is not complete

    def _use_known(self) -> None:
        """If nothing is half read, half written or waiting: no need to parse."""
        if (
            self.state == IN_STEP
            and self.known is None
            and not (self.queue or self.watching or self.ended)
            and not (self.requests.skip or self.requests.partial)
            and not (self.responses.skip or self.responses.partial)
        ):
            self.known = deque()
            self.reads_whole = self.writes_whole = True

    def _forget_beginning(self) -> None:
        """Matcher.process reads requests without telling their parser that they were text."""
        if self.known is not None and self.batch_time_ns:
            self.requests.fresh = False

    def _parse_all(self) -> None:
        """Give what waits to the parsers and the queue."""
        if self.known is None:
            return
        known, self.known = self.known, None
        self.reads_whole = self.writes_whole = False
        for request, time_ns, batch_position in known:
            pending = Request(
                request.form, request.reply, request.keys, request.value_size, request.exptime
            )
            pending.time_ns = time_ns
            pending.batch_position = batch_position
            self.queue.append(pending)
        if self.requests.skip:
            self.requests.storing = self.queue[-1]
        reply, self.known_reply = self.known_reply, b""
        self._parse_reply(0, len(reply), reply)  # no reply in it is complete

    def _ask_known(self, time_ns: int, length: int, data: bytes) -> Optional[Tuple[bytes, int]]:
        """Requests in bytes that were read. Returns what must be parsed, or None."""
        known, reader, matcher = self.known, self.requests, self._matcher
        assert known is not None
        position = before = 0  # how much of data came in an earlier read
        newline = -1
        if reader.fresh and data[:1] in (b"\x80", b"\x16"):
            return data, length
        if len(data) < reader.skip < length:  # what is not there is more than the value
            return data, length
        if reader.skip:
            position = min(reader.skip, length)
            reader.skip -= position
            if not reader.skip:
                known[-1][1] = time_ns
        elif reader.partial:
            before = len(reader.partial)
            data, length = bytes(reader.partial) + data, length + before
            reader.partial.clear()
        lines, batch = matcher.known_requests, self.batch_position
        end = len(data)
        while position < end:
            newline = data.find(b"\n", position) + 1
            if not newline:
                break
            line = data[position:newline]
            request = lines.get(line) or matcher.learn(line)
            if request is None:
                break
            following = position + request.read_length
            if end < following < length:  # the same
                break
            known.append([request, time_ns, batch])
            batch += 1
            if following > length:  # its value goes on in the next read
                known[-1][1] = 0
                reader.skip = following - length
                reader.body_bytes = request.read_length
                following = length
            position = following
        self.batch_position = batch
        rest: Optional[Tuple[bytes, int]] = None
        half = position < length == end and not newline
        if half and end - position <= self.KNOWN_PARTIAL_MAX:
            reader.partial += data[position:]
            position = end
        elif position < length:
            if position < before:  # not even the line that began earlier
                reader.partial += data[:before]
                position = before
            rest = data[position:], length - position
        matcher.ledger.understood_bytes += position - before
        self.reads_whole = not reader.skip and not reader.partial
        if not matcher.responses:
            while known and known[0][1]:
                matcher.emit_known(self, known.popleft(), NONE, None, 0)
        if rest is None and len(known) > PENDING_MAX:
            return b"", 0
        return rest

    def _answer_known(
        self, time_ns: int, length: int, data: bytes, mark: int
    ) -> Optional[Tuple[bytes, int, int]]:
        """Replies in bytes that were written. Returns what must be parsed, or None."""
        known, matcher = self.known, self._matcher
        assert known is not None
        before, hole = len(self.known_reply), length - len(data)
        hole_at = len(data) if mark < 0 else mark
        if hole > self.KNOWN_REPLY_MAX:
            return data, length, mark
        text = self.known_reply + data if before else data
        if hole:
            text = text[: before + hole_at] + bytes(hole) + text[before + hole_at :]
        position, end = 0, len(text)
        newline = -1
        while position < end and known and known[0][1]:
            newline = text.find(b"\n", position) + 1
            outcome = known[0][0].replies.get(text[position:newline])
            sizes = None
            if outcome is None and newline:
                newline, outcome, sizes = known_values(known[0][0], text, position, newline)
            if outcome is None:
                break
            matcher.emit_known(self, known.popleft(), outcome, sizes, time_ns)
            position = newline
        rest: Optional[Tuple[bytes, int, int]] = None
        half = position < end and not newline and not hole
        if position == end or (half and end - position <= self.KNOWN_REPLY_MAX):
            self.known_reply = text[position:]
            taken = length
        else:
            taken = max(position - before, 0)
            self.known_reply = b"" if position else self.known_reply
            rest = behind(data, hole_at, hole, taken)
        matcher.ledger.understood_bytes += taken
        self.writes_whole = not self.known_reply
        return rest

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
                    told = request.reply != REPLY_NONE and self._matcher.responses
                    self._matcher.emit(self, request, LOST if told else NONE, 0)
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
        weighing = self.state == TENTATIVE and not self._matcher.reads
        if weighing and len(self.replies) < self.REPLIES_MAX:
            self.replies.append(response)
        index = self._find_request(word, response[1])
        if index is None:
            return False
        request = self.queue[index]
        if request.reply == REPLY_VALUES and word == b"VALUE":
            return self._take_value(request, response)
        outcome = reply_outcome(request, word)
        whole = request.time_ns or self.state == IN_STEP  # then the answer proves it
        if outcome is None or not (whole or outcome in ERRORS):
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


def known_values(
    request: KnownRequest, text: bytes, position: int, newline: int
) -> Tuple[int, Optional[int], Optional[Dict[int, int]]]:
    """The reply at text[position], whose first line ends before text[newline].

    Where it ends, the outcome, and of a retrieval the value sizes by the keys' places. The
    outcome is None if it is not complete (then the end is 0) or not of a common kind.
    """
    if request.reply == REPLY_LINE:
        number = text[position:newline].rstrip().isdigit()
        return newline, OK if number and request.form[:4] in (b"incr", b"decr") else None, None
    end = position + request.hit_length
    if request.hit_head and text.startswith(request.hit_head, position):
        if text[end - 5 : end] == b"END\r\n":
            return end, HIT, {0: request.hit_size}
    keys, index = request.keys, 0
    sizes: Dict[int, int] = {}
    while True:
        line = text[position:newline]
        if line == b"END\r\n":
            return newline, HIT, sizes
        words = line[:-2].split(b" ")
        if words[0] != b"VALUE" or len(words) < 4 or not words[2].isdigit():
            return newline, None, None
        try:
            index = keys.index(words[1], index)
            size = _value_size(words, 3)
        except (ValueError, ProtocolError):
            return newline, None, None
        sizes[index] = size
        index += 1
        position = newline + size + 2
        newline = text.find(b"\n", position) + 1
        if not newline:
            return 0, None, None


def behind(data: bytes, hole_at: int, hole: int, taken: int) -> Tuple[bytes, int, int]:
    """What a segment with a hole is without its first bytes: (data, length, mark)."""
    length = len(data) + hole - taken
    if taken <= hole_at:
        return data[taken:], length, hole_at - taken
    if taken < hole_at + hole:
        return data[hole_at:], length, 0
    return data[taken - hole :], length, -1


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
    KNOWN_MAX = 65536  # lines remembered

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
        self._new_hash = hashlib.blake2b(digest_size=8, key=secret).copy
        self.responses = responses  # are they recorded?
        self.reads = reads  # are segments reads and writes? Else packets; see Connection
        # While this is a list, operations wait in it; see Connection._match_tentatively.
        self.held: Optional[List[Tuple[Connection, Request, int, int]]] = None
        self._key_codes: Dict[bytes, int] = {}
        self.known_requests: Dict[bytes, KnownRequest] = {}  # by their lines
        self._ended: Deque[Tuple[int, Connection]] = deque()
        self._closed_now: List[Tuple[int, Connection, int, int]] = []
        self._closed_before: List[Tuple[int, Connection, int, int]] = []

    def process(self, segments: Iterable[Segment]) -> None:
        """Take a batch of segments in, in the order of each connection."""
        connections, known_requests, sink = self.connections, self.known_requests, self._sink
        responses = self.responses
        understood = hits = misses = operations = 0
        for kind, time_ns, sock_id, port, peer_port, offset, length, data, mark in segments:
            found = connections.get(sock_id)
            if found is not None and found.peer_port != peer_port:
                found = None  # its memory was used again, and we missed when
            # The two common cases first, and written out: see Connection.known.
            if kind == SEND:
                if found is not None and found.writes_whole and offset == found.send_next:
                    waiting = found.known
                    if waiting and waiting[0][1]:
                        request, asked_ns, batch = waiting[0]
                        outcome = request.replies.get(data)
                        size = request.value_size
                        if outcome is None:
                            if (
                                length == request.hit_length
                                and data.startswith(request.hit_head)
                                and data.endswith(b"END\r\n")
                                and (
                                    len(data) == length
                                    or len(data) == request.hit_head_length + 5 == mark + 5
                                )
                            ) or request.is_hit(data, length, mark):
                                outcome = HIT
                                size = request.hit_size
                                hits += 1
                        elif len(data) != length:
                            outcome = None
                        elif outcome == MISS:
                            misses += 1
                        if outcome is not None:
                            waiting.popleft()
                            found.send_next = (offset + length) & 0xFFFFFFFF
                            found.answered = True
                            understood += length
                            operations += 1
                            sink(
                                (
                                    asked_ns,
                                    time_ns - asked_ns if time_ns > asked_ns else 0,
                                    found.number,
                                    request.form,
                                    outcome,
                                    batch,
                                    0,
                                    request.code,
                                    size,
                                    request.exptime,
                                )
                            )
                            continue
                found = found or self._add(sock_id, time_ns, port, peer_port, OUT_OF_STEP)
                found.send(time_ns, offset, length, data, mark)
            elif kind == RECV:
                if (
                    found is not None
                    and found.reads_whole
                    and offset == found.recv_next
                    and not found.known
                    and time_ns != found.batch_time_ns
                    and responses
                ):
                    request = known_requests.get(data)
                    if request is None:  # then perhaps its value follows, or it is new
                        line = data[: data.find(b"\n") + 1]
                        request = known_requests.get(line) or self.learn(line)
                    if request is not None and request.read_length == length:
                        found.known.append([request, time_ns, 0])  # type: ignore[union-attr]
                        found.recv_next = (offset + length) & 0xFFFFFFFF
                        found.batch_time_ns = time_ns
                        found.batch_position = 1
                        found.answered = False
                        understood += length
                        continue
                found = found or self._add(sock_id, time_ns, port, peer_port, OUT_OF_STEP)
                found.receive(time_ns, offset, length, data, mark)
            elif kind == OPEN:
                found = self._add(sock_id, time_ns, port, peer_port, IN_STEP)
                found.recv_next = offset
                found.send_next = length
            elif found is not None and not found.ended:
                found.final = (offset, length)
                self._closed_now.append((sock_id, found, time_ns, port))
        self.ledger.understood_bytes += understood
        self.operations += operations
        self.hits += hits
        self.misses += misses
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
            code = self._code_of(key)
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

    def emit_known(
        self,
        connection: Connection,
        known: Sequence[Any],
        outcome: int,
        sizes: Optional[Dict[int, int]],
        time_ns: int,
    ) -> None:
        """The same for one of Connection.known. sizes: see known_values."""
        request, asked_ns, batch = known
        latency_ns = max(time_ns - asked_ns, 0) if time_ns else 0
        is_get = request.reply == REPLY_VALUES
        size, result = request.value_size, outcome
        for position, code in enumerate(request.codes):
            if sizes is not None:
                size = sizes.get(position, NO_SIZE)
                result = HIT if position in sizes else MISS
            if is_get:
                self.hits += result == HIT
                self.misses += result == MISS
            self._sink(
                (
                    asked_ns,
                    latency_ns,
                    connection.number,
                    request.form,
                    result,
                    batch,
                    position,
                    code,
                    size,
                    request.exptime,
                )
            )
            latency_ns = 0
        self.operations += len(request.codes)

    def learn(self, line: bytes) -> Optional[KnownRequest]:
        """A line that is not among the known ones: is it of a common kind?"""
        request = known_request(line, self._code_of)
        if request:
            if len(self.known_requests) >= self.KNOWN_MAX:
                self.known_requests.clear()
            self.known_requests[line] = request
        return request

    def _code_of(self, key: bytes) -> int:
        return self._key_codes.get(key) or self._encode_key(key)

    def _encode_key(self, key: bytes) -> int:
        """The key's code: a keyed hash of 64 bits and the size, as hash << 16 | size."""
        keyed = self._new_hash()
        keyed.update(key)
        size = len(key)
        code = int.from_bytes(keyed.digest(), "little") << 16 | (size if size < 0xFFFF else 0xFFFF)
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

    def __init__(
        self, output: str, force: bool = False, owner: Optional[Tuple[int, int]] = None
    ) -> None:
        self.path = output
        self.written_bytes = 0
        self._owner = owner  # (uid, gid) that the file is given to; None: whose process it is
        self._path_until_start = output
        self._started = False
        self._rows: List[Any] = []  # one Operation after the other, not as tuples
        self._connections: List[Tuple[int, int, int, int]] = []
        self._forms: Dict[bytes, int] = {}
        self._new_forms: List[str] = []
        self._start_ns = 0
        self._flushed_at = 0.0
        self._fd = self._create(output, force)
        self.add = self._rows.extend  # the hot path: takes an Operation

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
            return self._create_file(self._path_until_start)
        except OSError as error:
            hint = "choose another place"
            if error.errno == errno.ENOENT:
                hint = "make the directory first"
            raise ProfileError(
                f"cannot write {printable(output)}: {error.strerror}", hint
            ) from None

    def _create_file(self, path: str) -> int:
        """A new file that only its owner can read or write."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if self._owner:
                os.fchown(fd, *self._owner)
        except OSError:
            os.close(fd)
            os.unlink(path)
            raise
        return fd

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
        if len(self._rows) >= BLOCK_ROWS_MAX * OPERATION_FIELDS:
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
        block = BLOCK_ROWS_MAX * OPERATION_FIELDS
        for first in range(0, len(rows), block):
            self._write_operations(rows[first : first + block])
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

    def _write_operations(self, rows: List[Any]) -> None:
        times, latencies, numbers, forms, outcomes, batches, places, codes, sizes, exptimes = (
            rows[field::OPERATION_FIELDS] for field in range(OPERATION_FIELDS)
        )
        latencies = [latency // TICK_NS for latency in latencies]
        if max(latencies) > 0xFFFFFFFF:
            latencies = [min(latency, 0xFFFFFFFF) for latency in latencies]
        table = {code: place for place, code in enumerate(dict.fromkeys(codes))}
        known = self._forms
        columns = (
            self._time_differences(times),
            latencies,
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
        head = _ROWS.pack(len(times)) + _ROWS.pack(len(table))
        self._write_block(b"O", head + b"".join(packed))

    def _time_differences(self, times_ns: Sequence[int]) -> List[int]:
        start = self._start_ns
        ticks = [(time_ns - start) // TICK_NS for time_ns in times_ns]
        return [ticks[0], *map(operator.sub, ticks[1:], ticks)]

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
        self.seconds.update(map(operator.floordiv, block.time, repeat(TICKS_PER_SECOND)))

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
            key_spaces.add(str(header.get("key_space")))
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

    def __init__(
        self,
        matcher: Matcher,
        profile: ProfileWriter,
        source: Source,
        servers: List[Server],
        quiet: bool,
    ) -> None:
        self._matcher = matcher
        self._profile = profile
        self._source = source
        self._servers = servers
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
                why = explain_silence(ports, matcher, self._servers)
                say("no memcached traffic so far: " + why)

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
        # Names and numbers in it are from elsewhere: nothing that a terminal acts on may leave.
        clean = "\n".join(map(printable, text.split("\n")))
        encoding = sys.stdout.encoding or "ascii"
        print(clean.encode(encoding, "replace").decode(encoding), flush=True)
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
    write_stderr(f"membench: {printable(text)}\n")


def write_stderr(text: str) -> None:
    """What nobody is there to read any more is no reason to end a recording."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


# ---- Rights and priority ----
#
# Rights are needed to create the file, to load and attach the kernel programs, and to open
# a packet socket. Ring, counters, socket and file are open by then, and what is open can be
# used and closed by anybody. So all rights are given up, for good, before anything that a
# client sent is looked at.

CAP_SETGID, CAP_SETUID = 6, 7
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
_CAPABILITY_HEADER = struct.pack("=Ii", 0x20080522, 0)  # version 3, of this process
_NO_CAPABILITIES = bytes(24)  # effective, permitted, inheritable; twice
OOM_FIRST = "1000"  # oom_score_adj: the first to be killed


class User(NamedTuple):
    """Who a recording runs as, once it runs."""

    uid: int
    gid: int
    owner: Optional[Tuple[int, int]]  # whom the profile is given to; None: it stays as it is


def choose_user(asked: Optional[str]) -> Optional[User]:
    """The user to become: the one asked for, or who called sudo, or for root itself nobody.

    None: this process stays who it is, because it is not root, or is root in a container
    that may not change users. Raises MembenchError if it cannot be the user asked for.
    """
    may_change = False
    if sys.platform == "linux":
        needed = 1 << CAP_SETUID | 1 << CAP_SETGID
        may_change = effective_capabilities() & needed == needed
    if asked is not None:
        return find_user(asked, may_change)
    if not may_change or os.geteuid():
        return None
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if uid.isdigit() and gid.isdigit() and int(uid):
        return User(int(uid), int(gid), (int(uid), int(gid)))
    # Without sudo, root is who will want to read the profile.
    with contextlib.suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        return User(nobody.pw_uid, nobody.pw_gid, None)
    return User(65534, 65534, None)  # what the kernel calls the overflow user


def find_user(name: str, may_change: bool) -> Optional[User]:
    """The user of this name; None if that is who we are and must remain."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError, AttributeError):
        raise MembenchError(
            f"there is no user {printable(name)}", "leave --user out, or name one that exists"
        ) from None
    if may_change:
        return User(entry.pw_uid, entry.pw_gid, (entry.pw_uid, entry.pw_gid))
    if entry.pw_uid != os.geteuid():
        raise MembenchError(
            f"only root can record as {printable(name)}", "run it with sudo, or leave --user out"
        )
    return None


def give_up_rights(user: Optional[User]) -> None:
    """Become that user, without any capability or group, and with no way back."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: Any) -> None:
        if getattr(libc, name)(*arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def prctl(option: int, argument: int) -> None:
        call("prctl", option, *map(ctypes.c_ulong, (argument, 0, 0, 0)))

    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)  # nothing that it could start gives rights back
        if user:
            with contextlib.suppress(OSError):  # at the end of the kernel's list, or no right to
                for capability in range(64):
                    prctl(PR_CAPBSET_DROP, capability)
            os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        call("capset", _CAPABILITY_HEADER, _NO_CAPABILITIES)
    except OSError as error:
        raise MembenchError(
            f"cannot give up root's rights: {error.strerror}",
            "record as another --user; --user root gives up the capabilities alone",
        ) from None


def give_way(niceness: int) -> None:
    """Let the server have the CPU, and live, when there is not enough for both."""
    if hasattr(os, "nice"):
        os.nice(niceness)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(OOM_FIRST)


def record(options: argparse.Namespace) -> int:
    """Record until the duration is over or somebody stops it; then summarize."""
    ports, why = choose_ports(options.port, options.source)
    servers = find_servers()  # later we may not look into other users' processes
    user = choose_user(options.user)
    owner = user.owner if user else None
    secret = options.salt or os.urandom(32)
    with Stop() as stop, ProfileWriter(options.output, options.force, owner) as profile:
        with open_source(options, ports) as source:
            started_ns, started_unix = wait_for_start(source, stop)
            header = describe_recording(options, source, ports, secret, started_unix)
            profile.start(header, started_ns)
            give_way(options.nice)
            give_up_rights(user)
            matcher = Matcher(
                profile.add,
                profile.add_connection,
                secret,
                not options.no_responses,
                source.reads,
            )
            status = Status(matcher, profile, source, servers, options.quiet)
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
            summarize(matcher, profile, duration, ports, servers)
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
    matcher: Matcher,
    profile: ProfileWriter,
    duration: float,
    ports: Sequence[int],
    servers: List[Server],
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
        say("nothing was recorded: " + explain_silence(ports, matcher, servers))
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


def explain_silence(ports: Sequence[int], matcher: Matcher, servers: List[Server]) -> str:
    """Why nothing may have been recorded, from what this machine shows.

    servers: those that were here when the recording began.
    """
    kernel = matcher.ledger.kernel
    if kernel.get("recv_bytes"):
        return (
            f"{kernel['recv_bytes']:,} bytes were read on {ports_text(ports)}, but no memcached "
            "text command was found in them. TLS, the binary protocol, or another service?"
        )
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

rights: once all is attached, recording goes on without any: as the user who
called sudo, whose OUTPUT then is, or else as nobody, with OUTPUT left to root.
Instead of root, CAP_BPF and CAP_PERFMON are enough for --hook sock, and
CAP_NET_RAW for packets.

cost: some hundred nanoseconds of the server's time for each read and each
write, and some microseconds of another CPU for each operation. --no-responses
about halves both, but there is no outcome, no hit ratio and no latency then.
"""


class Parser(argparse.ArgumentParser):
    """argparse repeats what it was given; not what a terminal would act on."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def parse_args(arguments: Sequence[str]) -> argparse.Namespace:
    """The finished options. Exits with 2 and one line on a mistake, with 0 on --help."""
    parser = Parser(
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
    sub.add_argument(
        "--user",
        metavar="NAME",
        help="who to be when all is attached, and whose OUTPUT is; default: who called sudo",
    )
    sub.add_argument(
        "--nice",
        type=number_within("niceness", 0, 19),
        default=5,
        metavar="N",
        help="how far to stand back for the server when the CPU is short, 0 to 19; default 5",
    )
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
BPF_SOURCE_SHA256 = "136613770c32374293cba579cd1b32019feeffc67fccce70b5eff499b93744ab"
BPF_COMPILER = "Debian clang version 14.0.6"
BPF_OBJECT = """
c-rl~eSF*3ecyY)2N0A<ih80bS+ak6umno93{kSgSds(TQbHxNjp)gAA_ss-NMuBjFagP=B{z)iEKKS&Na7@H>ZGvadQ
9h}Xy?|vi&`<AyYMc~z1W)F>2|&g+ocJ+q_@cGuI%Pc_j}Iyo*&NdLx7^4Y`K33FU!B*`#gNl^Z9<y1Hg|SI`W<hpHG;
NPyD?oQt>mhwdfk=|KCm_uk6-tSAzUprJu)rLdoe`^VW6AS6|TXH5Ed<b^ZGFW=Q1YLWh5q-
B*flX?ahvyh<UiznkP#XkOB$pO0=Fa^=dmrkce{&Y8;9VnA}`CJ|T9R?(%NK5?F&)#7(JzE1FD<u^o%p0891QCTV7bwW
**ox)M!zs}*t#Ys=Rm&5@XkK$BH_e~tH>Jb(1WYr7ehzeiH;j`j|;wt8^ibI@kwO_hdbGnB)-
7hn@i==wqA_ln}Ddqn~D95uRA&U7wS@}7UX8AQ$#e6hX?q~VG=84}_d7Db-WaY1lZjYQ#DxNE67t8rL<l`w-@5T5ZbL-
a|zm?-
Z0r4+EIfhlfiuL%I==0R$1x~M;Ii=eB(T#rQN0mI4en7g{aQbUG{qvl@N$(t_*UR}a>75n*p7avM`l%_V+f>=e^5amxs
A|VzdXKPtlir6oeUsk9>~GS0h|@RaJ5fyED&NV<qbmJZcwAk%Pe0R?Oh7)X^td}-
rTcHSSfu>BLPyjyUa6l|l{(yJUxj*B@%aAc0iC~Bbhg~_`>J*(dCS#vbLHP%zwRrByRt_=>mJh2t3y1_DN{1s)fOJ-pX
6~qrk_oL8daVvotmoxoUiH%@jvM0itdKurJBE0>D4`D^6{5y9=eh;{GYCu%E#uKR+awo8qNpLYfCtPkAA|)uN5H`J|Ny
j&n;A5S#wL$JkJs5X`ZX9*7-YG{a>z2|GHzstuLR-hpsT=-c-F-J#VkNMNP7*-
6~}LH40Dt?cjWWfa}l9yEn*p6Ln6Rk1Jf>sv4-j3tT=Q*I&w;URNXciwf=+72bJ!`)S?qXUW~+dXPQ*!FxHM>-
pKJpI;EDFJ|ZHi`jYf#nl?FPxgPi`sS*i^-
Yb=;7b1iPk)SmEbQh_>7PNa*JZ~4piXz0ju3yULv!0@oiEl`T|ssa>hSR=dvyCPGycrWjofYzceQu(d~%0+VtHPzD3<G
=sC?{m$Dz;CpK=@rOT>>a3&`dY`yJiEmV~(egq|njOSS(u8hx%@nWUWSA|>RRdXo8hQt5NuP{VQEF>AQJFEue!JA|xqU
tMO#X{B2}pXD#Z%M1;7aeHjk&r58N6zjc*pWXZnyZ!;i`?x(~&>os!5#D}!r3w3MVNQQ5ETq5IaynmroAIkmfBlAjR=w
=)uTSdwY^u=q%J9bm>UqMqow-
>*pH$5$_OE|Yk5>{dMGrrv2j&v)cUPYmZhOgm$$FC^F1>H&y2+Q+Q^PN6KEd{iNylyHW={8cUEWI?iD#L0K2Q3W>vn#s
o%{Pz_53Ygqv~++kG1M>z6LJuE_eLPcps-
=l+EiVKUcXPAM@${5`R+5ePq2J_{RS%`<rmXFX()IW4#X06=?O&GtKR8JNm48Ug>+>(+*cw>hMO+mD^1_wQ@UYeS3xV-
8YYNxQ8{b{haBKtsGC!BXyti&MQ~GXvRyN=ONv%O*_3*=@<X7j>5%-
N4}}AE8M|NylT<R^N^O`<ZJqc%!ls$_9V}58^yfyq?z~1&6g&>UF~7lPEq5!eP40ia2t;|YS^{!GWiT~xqQX(NO|b`$T
d}8-
+b8H4yJyup62miq09eLh3+sa|MXnK_Jo`lWer@qds@jGW;^8Sqs8%@RP&;q2!>zK?KHez_p2q`PM4Ood)lGyv!?%bc*b
|N*x)JG@C!QKCZDeG`1874S2uHcKJRV+m140dHD1hm%jomR_<41?ciuJq{Tpo0n(=aFHR$K&kf$C^{!RUEuB}w<@JO8H
jJ0!n@8Wd!LH{@N_d#$!$nzZMlheD+)GN<7mx880=$Ex_{RTbb`%1>E2fFUgs`~8OI<DuhHDkK{RyDfqyV0_XmNb^1Pi
0Q7Ru=okqgK4(uj%=+)O<W)#W(SWUz$+iUkz|MKgG=Qt{Qzg&-`9x$&2%R{VMCLKYH{o-
5+YWKk!q^mq{*Zx<NU+yycW~D(!Nn7FJG^pA%vu*VBY2pDQaJ&w6CO@&?{!y_<LyR=i%WCpj;QLNOmFeM^LxEY^?7=l_
iSc>2NDS<ilIhM&{?yvENwKd1OPdEM?WQjXNHmlov|udMx~Tc33@{m<XHUdz?b-(Q#Y@=@h4<t_R-
<el`@y7{X5Ipn<I({|0dHM+j8u%40gU8R}tNslyFdhIeZ|H*Pm)9z8;m%6;Hs3&|%&&S<-
hTlOx<Ij(~^;hA@a_a?Lu^vtce<{0usT!W72iCjktNi#XJmbTxL*04e^Y3h)X!b+;r*--tUVp%q-
@HKiZ+9HLRWe_CJs3Y-#re?sC;kH0C+oBL*YtdD*15{QQSIh)^_Oh=OJCOGWB5fq-
^cIO6K&VlA8Pk|wcT`S>m;+|*>CB(`}<mNtl{yub;_Ne)%>}7{{CR<t$hFe&vVujIf{SvYs{5;KAp3EtSZW_P<F{;SXa
Njb;?R!w+;Kk-gQ7@*rP|Uvc8DN*TT9gKPSEX0@hW-
M!$1@joeGTuTU({+ms(L>#kqd`TiKQ?@KISw|BhPapTFA^rf1JH(#qdxxAZnK32uN^}LGLsjIYo+k0B~*K=F?nA@29d3
@>erM4uQwcXOSMQ=n6pJqE}i+7*k(iZJL+{ONTw1Lv~r6Bva^E1p(ho8;f_45|CzgMx{zN(d<Avc`QYKN1?-
nQ&YHE%!Voll3`itVEM&BkK>1D4$`S>|X-
(AbkK=d;GnGySWX?foj%znf_NsP^T2y4;t(6!5HjOug9SFwf)AvF!H~Vi~VvS--
OVH~c*7-Bk|Dt>=Eg>ACKU*k0%PVm*wPWtxZAcX-RSjO+VL9ngPtMZC)W_odoZYCtc1-0Fc8_nG-y_tOurui||_{akC-
VOv@~<#@%7$L(F=XKrS$;(poaS+}pO(2B8G4&8q)Ez<Mt)v@9_;@wrnb%p6yW*yVS^Uf8nC%I28-
A~s3gC3uc^8SdA_oKeX_1@O*S;t=5$m_1b4)3~iOGn9c<BzuTzG;Krr{H?4<Ml@u&-
1RFt*@7yPwjbnY60_fwb@sDUf0t~pWeS)NPAaW^YAdw!^5k1UTALg*aMf?F1oaa`}rESBaI$g!*(RkgDd^jD(1hcsZt}
gw^#R%leJ*4&9fevEoHBLUC-lh)M|Za+W9fo&q{AgJFNojG_LnYdH?y!lSTVX*;5sNquoDObg$uaJ(>SLo_|hpKAS54s
^mUw(caql_Ux?%)PvWq(e;4kjBhaZ*1z-GTMLk1+TNPI{*LUxIr%d7*B@&+@nS#xq?$){2kec9Sx@|-
@cV3i{r1iUR*K&*xlS!-j|}^Ge&zj{OO3q0;tPPg(Gz-q_1u?dz^-
8X?r|O;AJOBoH?HHMoo43QwU3(kZ(O(M$A`H8udJx{%)fD7hkTg#Tg*IX;>S7PT|8c8y?oW$-
;w+~mR)P?p<;hsqsw2*^MTQmJidp0Z0GX0ALjPHz2c+dPOCo7)^h#x^Hm;C13aFZ`P@-`Xv)8;w--e85U=m6^}g0aDp0
dHQMt-9t_FBKd-
@x#x1;QS!nc~+tB=bgJndR6Pot+i<?<h|m{sm)Dgxqra=zel$bH9eQ~keGS*O}do{L?TOnObv)2BT8&dl3({5BQ8%8h@
AC;o9aeudRu|10*HO3e?$|5T4hV^0?KM2^=rv)+BD)H_>G{?TW52+#Ux)eXv*g8ijh*kAhm!pe7o_fyUM_siZ-Qg*6mA
8Gb~%|4Pjui<tbeqKM<@%}8%AM*U(QRnof{c&GU+E3r9n0wBK_Q*T8L;hN5JLIQo-
1YXb9TNCC?T~S{Ljr7vJXvPH2=r6A{Uh5RQTs?cc^_$G@&1#Vmn;AD=iAqLr*=jy==0ARJLB8GR68U7Ib&Dk7HC)ev!B
zh_}VYXu4o4LW^OONpK$I|MZ3ah*%ii~F!n`xyCP81u6W0GK;Z4#0hhdX0M84L1%BCfKo6JaZQ22l|95T&bpD)nK;-
|Qb^y;0m%jW9())al`HuB|0QCM-
3)TDULGR!8OV;~KemQ!d&yUvi{(O4e?DM@+Sv+t4kG}cC`Q`~XyezmNdBe*bH(bR6)0GJ?D1W|Rth|bO!kPW?;(6TL)m
I<jc`oGH7a#ToJ@(YFkN0=kt}4#!*I-`EU-
!<NJny^q+2n%rr^e@5E%#4q_VGS(fX`=ss^ollnZB?w{L&=rJ)OV!^KbCES8&1h%|wa$=2h047%%>Ht!J<BzT;ZHU)A-
gA6{S3IXv&jJ;d|$O5frI+nW<5=S3~=!>cRYd#`G}&-t0}{C&ofhv)BR-
*&$E6Z6D3`6}8ObL(evK0AN4cfWCX72fBZnbV(U=IQU37EQbLvFHZ+XU3X;ySD0nK4(6DNvD6(59@^m%0)SE_;r6fS?g
2%zbR0q?X23@6c^`Nou89|Zz~JI+}m2{KBo!qo=a~icP{<=-gD`<TP{B5IO%&?oj;p%kd?mQ_VlZFD!0k^{0;V5-
{$&f0r~KbJDm@{E>ukaNwfa>w0Hfp0Qsf$^UOOt*M8EhfAsyjOOMZhJ;vv@<18;wdi-
2{(mOAk`ZW6DM&V1{M~<+aZ^Augoui%zRD15J4X=lL!K~-
aea1^;9sK0;NWK?#X^i#S80)h!)?;I=zs6W^jj_HO6W;S#b5Ck0u;6|&UwfSES<Cmw8W-IE-zwSvxqV;I^FS)-c-
MK&x4v!prSjX=ylKJn+Wh@cmv`-Y@BKOVzR=q({|j87eDBqqx6AM$b&j}L-
yf=gd|UTPt4fSBcO7BL3tQn`eORH>DJ8cN<T^Ky+gM_KQtbB*^n1r6$J~3D@t!VmAN{?NBjV=g=I7?;=I7?;=I7?;=I7
?;=I7?;=I7?;=I7?;=I7?;=I7?;=I7?;=I7?;=I7?;=I7?;=I7?;=I7?;=I4Lr=Qn@i<8Rapk#5lc*6(t?EBKnM{P^Vk
3&%zMbpUk-UYNV`o^Y-V>nBG%arlRdm6N<9!(SO!-~73aWd%IJM1{PiDSvu^o>lUOk^DI?bM@=p{4T@4m)}R|-
~B@0aharl$M}7k{yoC)GV@*h?$G;3_&rST7x_I#@4q7S9p4e3zUv|1GxYu`&bRypfeh5aSJ-
a}{g1you5Q5b^?z9p>Vnws73*33Hb6C(<6jDWKTwwAJ3`-?l;!xI4%*OY#gp~3yi8r+Vue{*u02?kylT_Pd0J-
WX$9x$KXBSjkoM{_a;^5SsI%VXO{~ArWvY^Q(SBmJ<$tx>(&sC-WgWjyay|l_>s9P7+ibH5PtRQ@JU#E_cbTzcCVa)*c
4)TB?6cZojnxjfa2~pK1vIRKx^T+Wg>@aYLSFeiPmz|A*U-H}T<{gk|G2MM{*PMa|F~8DXMDx-KkF;@*<be+`|OMSF6-
j!{GO%f@AA8>mw&<U)Aam9ewP`2jo%%5|DKUg@Bhxor}zKh)8A_uq4z)c>EAA$q!Rzgr^l$||7w+MkJYYb%*k^750f{c
?+}~uYQ~%#uV%~@cpPuyvagW8zboZhV^@x2nV&6OCwvb#Ab;L*oqkupdk}zj+QjWtS;pORtQOQ}+ejAwG^Dtb-na7mF8
RG6e!pAaos(C>-LlEgJ^U{F%KIwRm{;|6+zJz|&}EikWI4A9eedlIy|;2b_VN2<nLJmNac?YF#(U=<6StKa6YDt-
DV<=$b{G>o%8Uu?tBV!#Yn4w_6z3p&em`dQ9TQ%D4eg&;^_#Kk?h97^VtGPk=Gr!^JiE9&zs}{^Ej-GvK49q+GlsI9=8
O7XU|qX#C)WB3EBuH2+W+n{{-
0Q+{r6dAt%b1Hse<m2d0DE%O8xiMrMfQUZQQRdb(>QB&Qjfvr02JmsyeTdW&RGm^G}Y8f5Y#xj($Mz2f1GUisQ;T`e*b
mby<x5y+!YbxW4?PDBi>M)j;ouIit7myPSVowK56F^6lhzDfjMWUR~e8e(x=oSGDa!<lf;mU(~N$e`uKw)5znll|BD%S
+QSSUsfCk4a;@eWI1P->$pl!ttf_hXj#$ydn>dJAwT&QMfX3W_j-2U*QEMHl`Pw#reYtAG!^?`C%?-
weqvRzKYn4Au1ER#3ct%R*;U2*{Tjc^`rXy6%Ox{%kly(x#>HXnE+%Wd<1E1AOpe>S)y4X3Uak9^U7zw-
3_7haiPb{=Jp?<9{QC-@UR@lcUszqNhp*84Loh}=t#|oztvlBg<F?cL2iY@B?;nD=r>u8nqps0;lkoT&-
52F&W=%2Ae?#vdhCClAGj{&r7Cm;NR#^E{q|dC??IZK@#kIvb$k>Bno{#HzEPQ3H)@LK4blv+)q%UvIzpz%P-
)+q+w!d$kPNRmOi`S`Ob!W=RJEslwx}Gxr{|Ebjq>TT;_1eF$jQ{_}{{3bAZ`q*zlV$ur#{Pq4{C~v$X{$XRljCTkZja
^#w#UO8_3!)2_IO0!4G#=Un`5JAuJK_WE^=Bj50670-@RGe-
v{+?^wwQ2)2AM}L&ul4%XfErYz@!aX@vWR{Fm3^8b0RLnTwt-zSqh-=GS)WdZ?pz{PUgqx8&vL$2-
lO;}d_g)66+O@pn5-
{rF1jdXiJ2*Lw|5aoUS_DV?Z>)>4in=PABIuk40fE%!UE_dVA8(p^fPlEZ)AK*)Trw%ngA>SiH&`_m#CJ#h5sfrq2V4u
9}a^!US(L(wR?UD&-#T<A~rp6yR`JADKFXVw42eeu3Nks9ba7wzp9@$T-yL@Fh^1}>1CR8Ksa5Z%3liLP|-
K)*OYa52#>2F{#GCCD?;-yJpY!>KMMCOI&e7TxOql;F;`VuCtf7k2C}I;DDKxb!fkaXvm2P4uS+dlM;fE-
@@F#``WLM3R!|?LQlpvQr{)kwT=zeKKo_!IYp}U1TrydU`lbu~oLTt9sS0-
Gc+kWTHFDG7M_ZGw}<3X_qea4<_Q>@zZ??7GpW+5M3q*$GQgN>8>7eI-
W|1!GVGEA}xc7i&S3&gZxN|zQmcdE>TpyCKHKsqA#9GN8@Sz>`U|udLO*dFP*yL$@GOms_E3ZUYSjCh7#=7<rm%YbX**
x=1Qaw((57RnC?BFi1w$HrxIpFC`iV;W!1MAYrd-|J}6TYR6{ADOLdfx6I8Jd^;0|c%G%Nupd8P{&-
eBXi@pJ>8mjg41L=fF=~^HWCuJGmPtB)ZjwVuR(VrMf%T#pvWnJ_OC9Q}4mlzb=(=x#JJClP0X9wfwQ`=7`&us6a?DkX
IeZBn&M|E7siW5{l%W=D9tD_y_Y4b*jw1`^$p6VM&JNt{Foz2dUy`pw7LG{z`P-
@Zh@np1bVBp+^WHiy2I3L{X7O2(PETgwj_}(*4a6NmF?0D+Db8(<Ap6=~S1UGDO?shh88{80#r(0y;c-q;#-
)VEUI)_dkdf<5U=z|a5@7$r%?HcG$rDZnTovo^P`yG~g$33cnx63wkwoz#~)nd-
~?{^L!K6>cB<A)!7AbRZ30|#52OQKc<lA=D;`-roCzw_9@U^l%|CVNTvnSsIc&OP@y?Rz<-
^mgvq?*xO!Yex&!$<7vvur+AP#1*-
<WwV<*)d@*rZ?X1n9A2d=v(ek%9b~UoN9MNG>1}nkI9pn%tg>P#Hx9R~%Hn<}v{%3Fb9U;tZQE3VRY>ZXPQMP+Pa!%E9
XNRCX!QOAox~ijOdIv8CgKw4dZY3OixOl@wLD_#t5;T*<$3wC8a*^lgItUj*)Y__TS~_;&RvwvEuk$+fOC(t<y~7^xGd
ehXM58rT^N4f=j?ESi=%oVdy|a*3+GQK21(G#14m9A;)Ld_>Qnu0U31|nqjIP??{-2|IYBkhT6&#*RN-yTWhcl<Y;)SE
#-0#o`Yxn;%&>YqF*u-dJpWKKQzeZg83RX>EXaBl#vQLTE7@a0Pl+-
WaxXWiQt819U1^7AFlVctBS=Khc5Mlk9%Up|=1E7o;~sn3v~ywHt)SLaX@_KInJJ81A{f^o<js?dZKbnOqBv!PQ#niI&
u#}4qg#Wf-N)j+Y0|)yPuaYK^m_WjndqYz5`)9R&03kZI`>B26Fquw^uWmjhmS-
L9yoqLR;fD^+r?HbDc#Doq$xu0<B5SY&}OFdm^|%s$n=nJsqK%&&n2kODMjXN-
t1<3o65j8r(F)olA&9)OuKXg7t+ZK>0<FVd$Z9hWwttJ`r>C(EqVr4J@}4$yhg^hZF}c>=^Sn=IqA!apWCw9!kRydNyS
RIT>qFO2D-
ebJL<tVrvWXp8_OMT)KIB(B55meIbBOP)ZH!R<^%QSCM3<K7VNUp;Bse1*Hs%`s=d8VvZ?7qDyz5KGa)FO%^o8xVyh`x
@4&^DmKLk0kg;+)5mhG1g%lYin<+%A9lF)3BrVO`DAHh*s&wGucKPb5b1D^k>BhZ*4IsOFv7XqNl#VPx)&#4F!w-
<VsCDR5ti_^Ts{67Y_wFoe+g+B$<xNpqUUTx$Vl*hrB1?l>e*gZ`xz!z`#e{V$Ks8#4%*qMgj$&7#D_3{tQr$+>rfCxJ
C>mMs`y5Y~BhBdbzuW7-7yBO6rSw$k+~brABTAR-
j{S~|wAc1F`eK{w=j}^HcTa|BfZpSsWakc6a<q&Um2ai#i_Og@ElvYZIEg+=+LIvXQ`=w43ZAR1lkqN3&CBHw)wE?}-
R+I#n!=_orG)ZExa>7XSEvDCNt<U7movk8zBluRr{2Buzh@m;s;N{Tx}$Vc$y#_jBT!~c%E4hK$C5qbq|G;HaCs+Im8!
Qn^vH4Rd_N8pN=13>+drrClp2O}`ZG@(<W)+eV7(O$nYn)6A=8x}(t8<dM}QJPo9+>5()H;xcg}H_N=e!-
k)sd3H;BG8qv<gsJ)EtnbFE5=k+G{^wElN(Pq~ZY$o&E;(xoT3?kKRVp^#Q)=UP<ONG+z$MY{&hpC6D5ZrKmh16>2W2j
jYTMZ4u@jCvcST%}yn+bi;o40QG6Rk?bV+0vc~9q8h2OA<j*STuS%v9nD*>}?sfE0i2arF!L-
2Z@QwWqg{dYj;$|3*8;Md#9+C*`U&@y@05Mpsb|SxjXK$O1Pc#X|1_bym#xz-
O8@)PY?8@g0d;@d+_L?=uzrX!Ju9#bM^MhZ0MF~(M=&)ijYIy^%a9d(QfKly>bzh7!t)`l<6I1XAC)DNse>pR_9`3kRs
EH#kr7l(gV)!?K|4!BKj;f<!QO1O;L|^;*N~sq#lbWovnAeC37uInPTcgDhv%rGv|7ITl6wh`tOiSuAr)q&CVWo?piNh
qK~Pqi0+^+tFeKMC@!e(S<z@zmtS@(s0nJb;?&nQFqnu^Df`G)9qLV`Q^CO@Id?-OnVeZFY8N#TK-
$u#kUe6zOu^9~Z&S(!o6{u{>Fxb;EcKHh**`p@$)`WHSM;aoKQkm`D3uTwWPPt(S)L(P;MNfhF{#<RlDuA#38e?3<e++
o^fz@&Zbcm}`>Zt*WmXPHXjVA>VD$dT@%tjC+RaLp=X=~KR5spRKUW>7?Nb?q0&h?8@R1MWW|?_K6WMsG*h(L`;d$4VZ
6R8`r_SwFRn%q#aw5e+R%&>vP*gLfo<!F`vX}H&D)Fe0vqk?<T0Az`n@%W~S}mH_B{cDNC259sV^FtNIh5JBi|e;!s%o
Z^I_lVi_q{)Q@WBTT$*s8-
rCLDbeolomqijMe6L;JplWQ|Mvo@wp_T1c4&1pS8m^dqUT#Qzi6_k$4K9G(|FEvbP%tyN}3=Wbxpgl>81l91A=}?!E+v
6nU-V^V64{5*?56Iqr;NByL_6in5BXX#Hw-
^}gJsXV=iSAyJ>J{BX^NmCbf5$x>fz69EvW1m<ckf;<C8<iiRd2jfy|NN^y54#fW#SDf?fY1-Tw{5YpcIOkjSrsRy-
P?iTl)P2CIiZk+JHPi6naEA@QxC>vBT|nWbd2|+5T;h*!f}~H)U0NRsgF0`F*PdXgqAIpzP1ZIN}V=_$gP~nQp!4+o~V
?VZxFTX@xJNw92p~OMxq_J6#kdcR#mo<-qDm@*X&G<j7vZ$*9wfGu<g--STJD4lJfgAzK{|D(5jJ(kT<}Ot+cJz?MCi8
0=5<1vkss?wV9W3zvxOL5i$Q66LIlCeB2A`v<xcB01Q5F-
~Je9W&G_w>eqRqB(|AzcOZT^t^oN0q>2V0+7;HA>?lJvFPFV+<&}9Zdc1!IRi*jN}XzyNzTrg++a{)Nzu6~3UrS0m*$A
6Cwt7UFEMD%DpXFRa$X%cLk$s>RYjpWvYu~S+&(?e44@lY&2gKZ`;Wahdi>~#2kvWeC#kYAr4^Fy860@5--
$mKA0`bskaqNBXxkcW69+d-aa<u$HT9LSdTsZ)R<Gr|P^-
6;4sa(~qXK9k%R{}ypkNgqAJh|zc2)gVqz6fZtAnOHdElq+gdntdJ9IQCUt3LmMUEUe{6MR<6++LGtxkw~voe5t1|AbS
=~SAmy)Fm#qLiOm1-
r>PTWS4Z4v~}~10=6#>zlffi`ZgMp{O(s4yxIaH$Z6_M=eSDW)*BtQpw)#X!>k#cd)o8P74G%sqUhouMGM*BcYTbrGpw
F9FcnLf%ilYKXB-{?A3D|cej8M0yg{t%r~;wO53SLxoVD?E6Oso)X*}PR?*IKhfPq9o5-
O<?{_Y%A#~{I(GQ$BbmCBpp1#T%fSv(1X9&{LWA50$TedKTYP;($*SONXkwmDLWi-
A;eOGLErR|ij(RD??wns`Cc`{KxoGW9m-MA^b%__*%2J#f<Lb6-VmiiRNbB^BXY}TEUUZjI=?gI}z+)^}%jiFmRpQ-
B|r56`4k}q0A`Jy|PPtp*6@My`wY)9|9cxF(Zu-_mR4rUV4c%ylv*iJhi!Bo$u&MqKP8LF5jk(=cGhmIXP@ZLl7CEDgm
RL!F|NK%K<399$<C6t@QP?;*m#f2ns(N1H&CM%JOR4eI$8>GU4bSfI&R#9Y>8@G@NRZQjvE#ysUs5ebUvAn;MBJ;R-
b*5~h6hW&lb?(6~9(6;kv<>VaZRMfLbHJSQ)Y2olI1_7co&!mUkw*cHyl#?ogPFlKnPd;OH?ceu<9hGRSS*QIN0NE1mg
2@vx7Vz=sx?Vj#@hBWryg?jxI3k!o9%@n8p~bDR?EL-
?;Oj;vv4iu$ZV?Orj*A5Xi?%zu4`LLE^JAt+#T_*Y)j<WtaDpRFKJ7}aBZ&=MVvP{lv>^5V$-
sW>0}H~Pq+1U0KOMRHWI(=cckgV#Fn_{c!49D3q;PjgtUGxSvwpa3%u3ws8JC3#N6{wz97ZJ>YPHErT&z%zaVs(RLdUD
ns6HDJ$=2=aev7W#!Tbf@RkuK;tAAUCQ$iWE0L_H*Ky)Sw-
N`Mp1pt)r<$I!nYDM>NPNy`1|**6qCC&xpvMP}G@#&RW*4(7VXgGwfP)L=nK0IuJRd$!C5xXeuE&{MT0L{4TM2B5&8;e
qx4n1Z;$H8;s9Pmg5WXBxB9OHsV_hF8xu3a^4b9pT_gd!qSuG=LO3(cE>9j62RY1C&`qP&PNl(%I;2wOb2(-
+R&pYms7Y=2M+9PtFLu4I^I<;D~8UfzQ<?eICZlh=TTG$-
e?=fd&Mm_ss`<?q9y#M|K4;)m}bMd%ZUY5X#vIWizi>G(xP9X8Py5xy62GYmBC1&X|hutL_(VoxcJy1tC3(e^KVmFVoP
4^Z#Z`Vry?Fn_$P`#?~+e)3E%g`m4J9aOj|4RwQMUMC2S~j`PaY^$C`kQ;sM5>csNIfRZHcKfl&rVB;0A)5?2Ku^<zq;
j^cub?dl(l2G^NU!tyHaHjq@{QC(6QsR5<Yya<B+;i;%375AA6YRMp5h5-
W(zK9eMEBA#e2cbE20y+j`r(1)j@;O6Wot%k%CY+}IRx4_m+t@y-
TMl(V^U5~D{MF>)26&P}`Yjad7Z8ui@7;KfAoni{K?tvYmzT)miO0XxZl9*v&9(A$^p?T?;MoTr``)P59tj)WFB=>=L*
-oPafry$IHHmcWb2ie}kGq2~*w}}F>%ACkScHWkG?#Au!PHivVt#{^K3Mln7x9U*bJKi`fDaG9|)KjEKCb=JfFc{Q#2*
`l(2vAd#9K3Urb*~>N{k?FJ`pX8TWp=YXxqI4PMyh*}Kwn}gpJOFu&pVT1Wm1&5lxdIO)P>XMdyB)5@6bN*VDzB_?>}@
RLZwk((l~PXzC#ZjJ0y<r(YR2T2ZTA+R|n<7zR)VnA-dR3GY|cLa6p~q^!0Wn`cnz>dllyUyl?Wq*1Lpob_;RJufG?Tt
8jmdLdd^P)<N!j<@d(PbHDt~XM+%D<#(c*gm^-JZ)|DtJ6H01WQ*1oS$>!7cP*BgxMckZMlb#QbBoW>zmw~We4hUO?-
mcp{B9_+{97ZRvsnHal39x{NEsW8d`ZT+qsSlS?_<d_|A-y`phEvGFVXE+-`keFs8Wd4nMzf6h6BVQX7g!h-
a`Jh&sM6xhACP8T~GgIzp4+(XXM|-d)lx5TBqcv<rm^d{UXWyo5U^8_|<pZZ26<$pJD!<l>b__7-
Rk!aZR>bec#pQDd20s)4&DbSzuX_Ha7w{0|$Xa!0o_c;0SOha1Zb(a0Yk`I18Kuo&cT#&I3;a&j8N?%Wvs=>Jzvb*Z~d
#w*!ZPBfy=&G2kBHB=8XM2=FLy26zlO3p@@y0Xzwu2fhY84Lk!}0G<Vw-
v+fg0Nf1h0Ed9vfy2NZz!Bh1;23ZZa1wY3cm#M9cnmlToMT>GMgN}jtKT+}d<${YxL-_Jyq5SH^FHF+kNCwjbAq@w;uk
Z_pC#Uy^NRxW1aZZSelc6=oiF7VV{QK+^Iu2~`9(YPB02OL{UXA=g}8BrUvyerOPpkWKXJ`2zZkOQZ6tZ4AU|8>EzczL
6H?x!U*s*WA-)FbPec0h&&o-DR(`?wb-!?!ze&%{SEzgzR}hDo|8FUOn#yN!194BaH@`#G-ulQ?d-
F3^?afcF+FKtJ)!zD;0{PR`#rn97>Z4HYt)JOyZ+pux{!9Kxa^E=P7mduD=vn(yYCq<O<?n$M{K{6b^>xJW)z>k<w}15
bz4|)C9GAAxYgHl(;m4T=W%^T9Vv6~BdM@d%5!WF6H1ofp=c+)Bm|>RT{3~iif%#2(-
rZcIeymFJUG&_rwnhXjUPau<9HZxYr$#he+(aB?{v<uOwAP4_#Vd&0nO~vjt($5@g!#wxyptk#TD*oh$=pJ=pPyiexr2
CFp-PM~j}ot%trFwRFUas!H2#_YNHTTa3FiMuyt<C&XNxxzU$b}z@wCNzh-WN*FLA+QKe04mCAZa*ow$PLV~hR7LEsQ`
inzJCT9r%kuhmLBmgZNBw-
P6rzb*MP)d%yNGW;f*F9Y88&ob96BHM7JMvPm$hB(K3AMvtqjhJNaB5pWXBc`nMnkl{MfYskKHOeNJ{EYlzh1nW08}Rm
j`9n2!|8K1I=C8Td+yBG0-u@qf@SU~Z{y)V0yNl%CWDkf@2%oY1H<SOE#eU)}^BcsC%>glPv7b1{{I^p6%Qa%c;tj-
;7W;{(nAa_){!E=MZ}BSPYZk8~o`LWM=2OIe8YGR2yxhz@O1yNE#uxK*#7(c!__DZ>IL!R2^q;B`9TqndN0|Q&@rKuF{
8_x6IA-x4;w1BiI*Lz&XUOvRlm7_wyUD-
p`!!<J;$_5H=1&th&|u41><~{_+(JBQaVzmPiw_V_TU<jt!~AcFo8O@R$o$`kSNxFXv&EX1)l>a#3W!FFYlxefgTxzXa
0V@|C2nUPAYQU7Ai@^=i6hLvD&@5YM2z_x#H+#qkz{_Ic*VhhYDdX4#LIt5{gYY#VAGQ0)ITlu6X%%kBd+WWh&=N{#Ep
FcG0prD;-
*spF=KH(abdAnAIvWH>I3;>Bep(htn=!F<~pxFaO%AJAXw+s2cbIe{N7&Yo!=vMUVYJ7=hYW62;WoZ)gL2u#rbO;&0nK
+-uWz3=bg{8%%7tAs7}*(XMUb|(dB@cuy{G~B=}!rz9!p)Cfgb2pAc6(6A-
g?mj1~E)DJ7E`ELpFv((?1*As7lE};6A;r9`TEcO$Jfg{W*;%1uMd+M$J^kP7aFn^x>8)<URF#j{+B{bP*E%p<SGk=?S
*((7t#r!65!vys&i&qm*TfBjI)?$ZP{vep)eZ-
9x*AO>1SmTqFO^A6<BaKH=Heu!?#H;cF(P6QlIAZZy;u!M?@ycsdAI#4YulPQVH|F1Ol=dc#H|Fn3{~uC)G!(~QBaOdY
gSY-
B!GDVR#}vQuO=|xJOCP=!P<vC7m&)IHdZkV@F5&r`__ix`qM140O!g)z&Gsc;eHCWDbv5<(%px%a{v+U@0nRe_5;s4)N
K8TeJad-(>t0+Wrhy9<`-z=KZ~P$hzb5}hFE0{d=D#N1Lz8(2_(#A$2J(6=e?R$;SiGNj0>V!+-
@k_Bld`x5T!8Si%pW8Fnk$P$V5yfIE#5@zSnMYbF@KAA@oQARrC#|F@b3X0f$*cu|7DG|Ulxfm;4E`e{$?LdKG&E(N&R
Q(YjtAU;sEgs^Y5>d<AeI!GO(|h|AhP()8rKd4l)0?by8o}i5SH1VGiC(ee8#IVhDJI`8ViU+e7v@#Lrp&tH^&6IB&_T
CwbSH*Da^{w4+MQFkc{Ecce-bEUqOEEHCo=i5r)D{hOKlNxnmqb!0i%la~KR@*lF;Pn=<%re`B9uE#C*6HhR&T_NXt${
)yYT%q|vdair1N(3#woj9@r^27Wq^sF7P5~JXs0sk!UxW$KwbIey|c?xx6lDYCWnlA(O>h};0FCi{4|9B;_RAwtRA0+>
#x9UW|;w8k5%%^XYzcp4bnk`;J>@bf=uBsP7=I4l4)zyoT#Y>6XR~GYAPx%R3@#`smY^67UJ<JnQJ}K7`;Ecuf#94?x!
TjHEllD)&xCT74(z_m+T?zX;P2TlLGjrIX`DHDYpZR{`TO2B1lcg_O>(v>C(r5BF=~mQ=4(2C_x38^LzdvcOr#hRw>#3
e5Z+?<Zu%E#E2PAK+Q!B<SZYIuJ{2t<Q@SkY%mVXM;%R~7KP1b%yd##v-
@bX9KZ2!hpFkdm(Y@zz1#h_#HYT_XCUBv4T){2nDtBKp0KTPa&)QYgh&BPJrj}xysQY$){zeap3EjDA!e?olQ@mkSi@h
ajZ^M989v=|+-cop#o^O7LVC#Pz~sKvJsXPEa9-yWm(uy`GDmiat!b2qhz#f`)h%%7IrQ!6G-
eG;$ks})lgFD1@1|FH~Di{)#pto6{-
wPJ?(&&Ypyx>o&Aux&2~n!Vv0nSVy%n=aRiX6D5$B!7h3hxs<*y633=E%p<4HhbH92>eIEf1LTSluwKAoW&KyQ_S%exg
MtSF+Waxh!)!givx1;y}HOX!~y1iO}y?6Dxby6iJO^!LVVja^+$_W5{H<VZY3S?I`uz`R}e>-
cM`9m#eENRg!q;>slPC%W%#$Ke=ui=m(JEIJ52I#ZI%01i$sojl6X<wB9UkQYvQ^_vWF~QNjz=wM&cQZYlsWXtG3a2S+
PjWTD)n+BJ~5&hMS3-nLCKrtR;KN;@!kS=8<jkw<5`YvUme=yT#jxJ1pKo+-
b>MM)F3OzfHV6v`CCv93akETtl2={=qgmzmWZCv7dN~`R`<T!c;%Zx3<dlIF+CIKH`QWi_{Or8?GP@FrR9b>vOUnE%p;
PGk=_TYbVu@#XE?D7T-
b~V!le;e2VJF;yU6EkQZbAYvRfn)d%y&J4nBEll{oNhq$t5k(j*2(l_Zv>a6^ND4sL75?2q^x#!Bt?!2~G{Z_QvXOh1c
J+s(7H~t9OU%|p+_uSaneHl0>9ur<WZyb0+c<nrME^O?)yzts_=A8FmNxSRK#p?Ir?es$6Z_aUz-
4^kA?Y5ZDYqyPoJaf)!?6$nmYq!lpcyn%Q?66P;oXdlM2XLgqYqyzm&cBrTtEzL)IprUJ2-MZN=b9T<%6-
f__gwQ%;>9cK+;dIIHN@r|)9CRW<j<UA8a-
~#EgzEd#}~WjlHJ6s<t7xLb4hz^%`1!Db4Itk%wHq_`cR#FZulzk(qNr?Zuoua-&*IM8!EeOQ=NNm7-
*9FY<2EAq2zjEb53}gxM^RVdrl~MJ@Kf;ONcYfpCN8OSm&M_O1_ggYw<4Paf=@$&RM*Vc*5cuVsozeBbi=Doyar4MSRP
VI`>>r@(N;euDG7`Z}81U?zy7mRc|hG&kYmA4ONRpBlAnEq#mI9X8yOt^>s8J%()+NbK~OTIV15>;t;cs^kLJA#qPPI<
R!#m<~7Z7AAGUsu(*<VhWQwApkuKpFeizZA6YDBEnZ42_#EwXk|T@Vb3@5Xh?}cnUxE4e$bZ@K#qPPG<VxZkgg57WW*_
Am_?vS+voF#N=VFfE>mLF(=XhoxWeDPr_`Ulk8Q?L$cOPW};!pa$`y}Sv&g_#+gZ~Wp&w@O2ZfEvU8f(1!DB&7!_>LOy
zDW#t2*Qulc=t^*z+*MueUxmCcOS)^!<l`NDUhEB{~2Hb=UV1m&Fq^r1DkWUm8AdtPgDP9K0~}@bg_HR_DSNpSe<*$Cf
QFMV}72vp}WpKcl+~Oq`s?j&)JOrly}ZPV(HZl#MPNP_x_gAs~w<MJ3+6;K(CI1Ud@0W%>w5@uTFwqodUgD5Z?V0qi5a
yl`?wQ=+z+T)ppRUNzjuS(5vI1SMw15n$N2z1E9AWL617XLC~uq(5vmBS35wjMnJE2f?n+by*dQ>8v(sK26{CM;d7v8r
z*U9b{fJ9(6f!8XPZH<I-qxhpl91b&zk!`XQ)3n9WUx}$<Fbj9+$l2cu|iVy%qz#X7skvYer8Sy=L^Z(Q8Ie8@-
mT^y)REr;T3AReJTB(bGn+O;&pKS`74B59qZd=rwcS#^|+?Dz9G4RKfXsl~=EgS9$eX5cF0E^jZY`J3+5yz<&(<$AOLB
G<t0s;?Goj_1G-
10KMjb9twiq3WMJ20RIU1m%ATh^xBZ$tJlUMe9rIHV^hG>5Z>rjqsL}}1?aT^=(T3hQz6i6?cg5)?t$>;zKhXgBfz6IU
cF}YuF-4e{)^F5=Dv&3NA_K4H4jLR)O+qktNXo@kJo$dMyq*2-
i7Y0_uP?|?w2K>s`uQLR_!D?R`0npE!{sLxx3zTcUsL`l6&escc@kWm3OH7>eXH97R&uJ>W`Pzt9#?_Imu|fx>N0*lMp
+gM}y42NAXubQ?KrgOP(e6kJY<+x@HsAW47Mao2xg;dwlioJ>?GK#pCs2#^M#k1&dpWXDwbU4_$pl_7fXDdzpCiEA{R@
=HDi+pQv~5G5@hl?@GO^hb8-
oJ3w!m_3lr|ziF~w3;~ZYJGWDQUaNQYvg9SiS&(P+^kMQ3Ox3&VW5bgcKR`TX@iF28$TREbuaf`D*Xv!qZrJE`8NY_&n
|sG<eU-
0w_4fZM)Bk?GtG6XL5s!eLH0$Ha&D1~MsCV_Q;c<)aB+gm9gxK8cRpaW1_3rvu?W@ext2_NCt$z6oarIlperN21a`*M!
`%Go-+y6f#@7Bf!*WNQc4)$Um;$H*%a0b})%Z=OV-
`WPZA9fLM*wo<KcgCJ<_j&EfFxZQoKCeC51OCPye1YVz+123oD|i03{MV8HB=D5Q@88wn?z_0_0_MLb|C)UbZoe_?SR5
iY_Mx$7!xdh8*4Tf>o*jksOusSq>|}-4o}Gd41+-UT-
^AEs#=jjnT<NuEjXfsI<EQc%d+flS^1P$LwYNTfr`*46aP6nxBW{c|xb~CsKi=TphyGLI#ittF`^-
y1a$Q9IqsqFk*xlgnGu%f070CwIK6-
$7O}fFgk0dt}oBPR^Bo8%+9N0?}%)d$gt1nZ2fX#j7e^1;r(%{}#mj0_QH@N!_Zhv5YQ>OQHgS+ow*xX+Z@1XpSHn{ee
@o%@di8u!G&Hd#w6#v#|8r=KKhDR)3OFRzo&A!G9(mzA}9eB#(4&uDU?ZnqCUXy8X?K8Lh%s<;9?Y#zfAH=X@aTBqz-
%NX&`^`Jsq+V<goy;F3u6(Y+wa308IosgcUzI!Q-
#F!$`LN_%gKKZ$zQw1=f60{w*PeQgxMH%wwWrK{YQ8Ha|HPoPM2MsE%y0$U#>B@h9$%v8WW#|*&8zv3>}H7{w*2$Nrz{
RG)&3@YY^na6!^XcrEdMUu)pdM#XPM@1{-e92^n9NcKeSx?8_vl&lI5wt`)9Gr&vG5#aA<{&f04O|p7QS}{(!k-
rS`9A(k%D-Z{zR4+4+*+@v`$J=WIJ4Jw9(fr0rnmL$1l~d`Mkw=R?ksb~)u5(9V~flOC|-
W!V3d>_5)_ZaqQxJo7AvmvhpCR{oorO?-
#hgby+QBmY6PuoYje399tp$~5IEFn`4S5!GtVraVDrlb#&IcE6NsD7#<EF=Y44tl!%&<sEvvU&=f2cE232@%Br3N8Rq1
axY5$edA7O_a12X5VU(3+C2j8o`ZIm-zBr#Jp%0>gmw=@yU9I!yWKLC-gX<S^tRi0rMKNCD!uI%gLdnIb{nelwp+H!+i
va9Zb@i2*{+`X1lmpR0o&~+_jv7gYlL>|fOeB>8~MFgX>-
~AJ?8U{kG#)2KBNs}*J}^3v`v?l=npyQ52HSB`%U}2?I&$)yT5c+c>9Y?*X}P<72f_L_p0pvBKJz{a?0--
dHPGWw;ZF@-g3*m3(x%P*KFFmhuNez#{7?M#rBbW-%hchPo@2rn9cW-tMuVtyWi{na)ov;K=|L_znt9T^SXbR!%u<xpR
oK!NcvkWXA<NeXZP_+ulo^p4^(;GpRU&KAqf8>ryGHE-(WeTkk1Y5o`>-
Nz~u@;x<BFY*C5@Warj9Hf0^^y4(^9JpE)cSyJt}jyLVK3-4B@Zg8SdFdjZ`4it{-H?rogUX>h-
0+yh?sXU$*I2KT>U`90wNTkJjp?$2;OXBxcj%h}yo>~;TvDc2&XAI?uZgzw_~kAeFiuzL*LubcXZ{QM!iPeb_s&go|By
zXh!ufY9VTn{tgew6dmSnqXzj?>M6yN~6EA)nps9t8J$S$?vi)cjC2$L;T{^p`-
fz1rA)0>W>t*6v9dM_;Yb?n5x{@*I8y+`nI`-P>V&{Y#dU2lvyQpBX5^Kj-irkpD(bHwXRveeB)??q6W{ad2P5`NVN_i
rs^d?%hT{xGz$FL%u@Yr!=~v*e?D#?ec<>?^pYy_Gep_cF#fhbhUPGhj#hX3hf?&`u_~OcY^z3mM@_Gzsd4rQ2&3+`OH
E-m$7>g>aCC6r?DN`-GT5Q<opyM{Il#nT2rc@2j;ltgs%VDhN5jFKR-
0%dMW5fqc@wp?xQ@e^UGjdu$+k%kQbJdUk?4;=ofJR3Xk8yic;lTR7UUDm2qz<<K9@teOVdz6=mF;%D6Yrar=%cSMwbG
`)3u}y$9S6R%-VkxPOtuPk?(3*PFagW`8zv{f8k-
&lo!a+|RL`YvBGz#tvESb^pJNz6SRcyN`kUE9@Ry<8|N5`Dq0A^_*@exPO4<41xP^vz#2b*RuO8xIe@4M{g<Bj%((){a
B^DM(xYmpIg{H0Q1SymD)WB?#<QOJp|+TyBt0O^UwEKKK7H3usiCbHj^&Q8^6Wrj=_}sL3W=3_dk$xnPpdZu>VWyZ<pV
y)@SDLk;~69pAK)rjdRpt4j+Q>gY52DfBRhZbLGCyO}CB%{4wXJ5Gbzk<Y%)=w^-N=``@eFi-nr1DXxW=S@UGj+RtC={
`K`@KJQiOE}9cQpyb!haeq{~H_UPWQ{~<`$9=Vuzif{C50v|gIqtuq<TTB3?^WT8gLj(i|2Mf@NhsI<tK<~>dAO!{FJh
@!YyV7!dmbYA@7Q1BHJr`k7R%p$8mcMsugE<Ci$BWuglvELeREr0XRTLWhMPb>9+zvx#YMg>x!&tvSmsSHv)s##E4(bf
Z({gq{{D!aezM7%zdZO)tS<7WWq(>z%+H9LD7^WN-Qo>D4xAU>{I&Zazrbca==xVcdjyK<OSdVIe+@VT@<%{kuEs0R^z
2_22Zgu&rjRSV;qCtX1n;rg<qbl8jsp)>Li+(vReJmPriS8plKBZ)EdBRcEc4T0vFvZhEtc~88r-
cLm7k|A|If(ZLbJxN%)>6=eZU8Sj{u*t_zs!A#rJTZHZ0>lWAO>O&a+tV&An{#L-
g;8#d1IFb&KWR+#42ukpBJD;t$ckw=9-<t@9OG{x+QB^Oh$B90ra6$AFW-
BfuHpEN~8Z5;zY$4O{>=s@iZPumc<d4g*JkW57w^5#S7P7B~ky37iL>1}*@bb(>p$U<Wt^90ra6$AFW-BfuHpEN~8Z5;
zY$4O{>=irOtdumc<d4g*JkW57w^5#S7P7B~ky37iL>1}*@bAEtE659|PkfWyEM;23Zccmy~DoCVGSPXgzGr-
2K=#?*Do59|PkfWyEM;23Zccmy~DoCVGSPXgzGr-
2K=q6W$j>;Q*=!@v>X7;qAJ1ULhn1<nCa0_TCJfeXN9N#m9u*Z~d!hk+x&G2kTd2yg~C3!DR<1kM9b0~dfrEtDVF0S*C
&fg`{%;3V(}a0WOFoCBT&&I3;a7l6$Y)h$1;0~`Vl14n>kz)9c{;0$mUI0rlloClr;E&z+gP<~(sI0PI9jsVAilfWau8
Q?5%4tNqc4?GQA05)3@Zux;7;1F;aI0764P6CerXMnT7Ip9g)Jn%Gd0a(;S`GFna5O5ec0vrQQ0*?S^fV03k;7Q;-
@HB7%STsQSfgRuwa2PlO90N`Qj{s+Yv%opvN#H#2G;je}EP?U^JHR2}FmMDo2Al*Q0nPwtfpfr<z<J<l-
~zDO5OK>7>;Q*=!@v>X7;qAJ1ULhn1<nCa0_TCJfeXN5DU=`B0S*C&fg`{%;3V(}a0WOFoCBT&&I3;a7l6$cvRi&&2RH
;A295y7fRn%@z!~5ya1MA9I1fAxTmTl!q5QxOa0oaI90862CxJ(RGr(Ek9PlJ?9(WqK0Bnv5-0}lEz#-
r;a0EC8oCF>L&H!hDbHJ0pdEjZ_0<c&K<p*|vL%?C+2yhHI2|NOv0nP&FfG2_Tz|+75U~^vKmLJ#w4grUOBfv4>B=87u
1~?0x1D*uV15X1NfW;~(Kd=KF0uBR5fMdW(;1S>qa27ZRJPDi!o(3)eo1;Is{J;)y2sjKJ0geGDfk%Kdz**oN@FZ{^cp
A6>ELKDLfgRuwa2PlO90N`Qj{s+Yv%opvN#H#2G;jgf9Ob&@2X=r%z+vDBa11yJJOZ2n&I0FvCxP?8)4&B_bH3`9AJ_p
70f&Jjz%k$?@Ca}QI18Kuo&?SVPXiZ#&5^xZeqaYU1RMsA0LOrnz$3sJ;4E+scoH}dJPlj`HdjX6@&h}-
A>c4@1ULqq1Rep-0B3=7z>~mv;A!9ju(`V8mLJ#w4grUOBfv4>B=87u1~?0x1D*uV15X1NfYleO?D7LUz#-
r;a0EC8oCF@d&3isR20RWt0XzkK4R{847C7K|xfwVJ+z#9U+zH$RJOn%nJO(@tJOMlfd<}R8cotax{(-
0bz(L@4;11wU;2z*1;8EZ);Bnvy;3?p1z%#(Jz<~`=e&8T*J8%bZCvXq&5b!AQ81Ojo1n?B_HQ*WGS>V7%C_iuzxE;6y
xD&VscnEkDcno+Pcmj9|_!{sG@GNj(6O<n~2;2_b0o)1P13Uyg3Ooip4m<%o1$+&726z@Ya66PAI0)Ph+yUGP+yguWJP
JGpJPteoJOz9Wcm{YDIItPY4;%z;2krpw1nvPI0v-h(10DyS0G<M#-
t4_!Rsa@Tyxa)v0Ed9Xz!BgWa1wX~I0Kvo&H+yX=Ygkz3&7^Wqg#Gp2RH;A295y7fRn%@z!~5ya1MA9I1fAxTmUvdHsq
Ec*Z~d!hk+x&G2kTd2yg~C3!DR<1kM9b0~dhBRwzHP0~`Vl14n>kz)9c{;0$mUI0rlloClr;E&z*dP<~(sI0PI9jsVAi
lfWau8Q?5%4tNqc4?GQA05%tV-SPuFz#-
r;a0EC8oCF>L&H!hDbHJ0pdEjZ_0<cmNcKLxF;1F;aI0764P6CfwEblvKEtdD4CoGoto%0sU`_3~K%lpn^dy&;|6<93q
JBKWm_nkW|miL`IfqQ_5fJcGHfX9I+fTw`30nY%>0tfE&ax-ucxE;6yxD&VscnEkDcno+Pcmj9|_!{sG@GNj31my<~0=
ENq0CxiS01p9=0*?WY15W@?0Z&^j@7ouE#SSkw0z1GV;4p9mI0l>q9s$k(XMuCTlfZf4Y2X5|XoK<tJHR2}FmMDo2Al*
Q0nPwtfpfr<z<J<l-~zDN3FQZNfJ4Ax;0SOGI0-xgoB_@P=YS`H^T5-
<1z__99Jl<y4sZxK3>*QD0Vjb+fHS~Z;2iKIa2|LXxBx8fg7O19z#-
r;a0EC8oCF>L&H!hDbHJ0pdEjZ_0<hQ(<p*|vL%>INd-
t190rvr427U(kIpCLpuK>Re{08t(f!_kI+vDZ6z^%ahfR6y50#5Jo?jJl2{4DT`z^?$m2K;^C9|FG#T-EO76~LQ-
cL5&+J`UUsoCbax_*vi=fnNcB4fy-OKLmagxawU{e&9{OyMPY@9|!Jxm)9P@4Ezl6bHFbHUjcp{_zmEn0>1@Zcej_<0=
EM113m(L3b+sWGVn9N&jG&-d<FP*;5UGO3j7vu-Ci$m+UvC!cL5&+J`UUse0i^TetZV_IpCLpuK>Re{08t(f!_kI+vnx
Az^%ahfR6y50`3F84Ezl6ulk<xecJaKU&i-Y-{*Xv_dV<Tg71sIG2gHIKI!{4-
>B~szK{F9<P+Nm6MgBycvm7h(A%HBGc}y*iud)U<V!TspH2)$9~<mVCoV1^;9w%&t;20kCx+7c?cU?>*)Bl^8|qDq#6=
375?uoqWTceXem<T|iDaU`ySM*rRLK;nL^@5B5*Oor7ZSu>gYk4%551|BgiI;gL;s`qR63DdK;}}EKzd+7rRchNW^mxV
4w{UfPM^6mHPCfVc|`jX{b$oXbNr-q<9DX-LaJwh37t=!U0~i-
$iBXd=cDoN?!i>=*@d>8o!8#}L^{eDrk8Y_y!(2)68))!=!z%P7X}mai=_rs&Ah<gAhxH{gX#EbdJdmg&%uH2cslNO4R
Pe~eTN=6c1Rq#_uk#ncge>t{n)|Jos9YsGLAddvn|@jyo0@Wu#9$=p`ZE@itgs;UHshDuBGhM!S0H-
wd?5mxs#tEe(sL$&;i|-yUfe3=pGi$&s}>sqkA}sJuI2oJa_D2iMv^#e(Fa^KXyfT8s9c{Xk&l<r2OnQ8QaYj!U1-
0fV((*cd@{`I2(6ye0JZ#?)pjcc5%YHwEr$GeV3NDho8Iod6x;@#=+Y-ynf2;nGicn)SVo4r%rg+PR=0nPWIQ&-
O;w4CJ7GE#sS!ak}x55aEKkor;T&n#)W9(B-=Q`PWI4G8Nv9pvCj@8Vh4-
Z!6KM<GV7<5zz+H;Gqr;&dIy&~#Qh~?G7(}?Aue#phzfC?hFGMDu_MG?a0f?a2l@Q@KhcUgKZ&M3{@e8r5a91A!p|M4y
-(?ezw{R7=M?<@68?gj{N2}DE4=xH{!%~9?=Z;Y;0i0g`F)Vve5KP5@cpq&VE*)P@s&<L`y>5~iDLRyCDPwpCVg{0K2<
Y+`g_WxFMg~a5i5OviS+kXluqC5?+3;F>C4~ME0uoa$KG@{aa>G)dztnhU10iK%d~&2MEZ+Lr2l4_^m7YLzfdOqWQp|a
N~HftnfAZ7!1Nz3)BYnR(r+k{{?#(+oAZ+!rT?um>1Rr$-
&i93>N52oTwwaXGWDM=k^Zt0>3_FO`jG{u|D7`F=Srl%qD1<iC{zDK3rzp1GW9=MBK@Wk={J=b|K_}Ex?=wHmz5d+c}_
oMrQcj4{U4Vp{|HA6-(ddxPvz#n86JmL`fEz0U%}-
^9X4t0*UYEC1~@+c!nD~RGQUq}J}B==Q9AwnLp+Xd(EgVy=H^Mwf1UdIjeF-
$|FJUdmn>0#x0R^Bm?)io<8SEabNl8`|5TarGd*JzR5AVaCDQ)}C0=>ty4u3^#NVWIwfP3^ceX;5_;qj^zyF^5VSO>)<
5v3Sm-PNWEZ}#X
"""
# END GENERATED

if __name__ == "__main__":
    sys.exit(main())
