#!/usr/bin/env python3
"""membench: what a memcached server really does.

Records live memcached traffic at the sockets with eBPF, keeps no key and no
value, writes a small profile, and analyzes it. One file: copy it to a server and
run it there. It needs Python 3.9, Linux 5.8 with BTF, and the system's libbpf.

    sudo python3 membench.py record            # until Ctrl-C
    python3 membench.py analyze FILE.profile

The way of the data, which is also the order of this file:

    source --Segment--> connection --bytes | gap--> parsers --Request, Response-->
        matching --operation--> ProfileWriter ==FILE==> ProfileReader --> analysis

    constants, errors     what can go wrong, in one line each
    records               the vocabulary: segments, requests, operations
    libbpf                the C library, through ctypes
    sources               eBPF
    protocol              sans-IO parsers of requests and responses
    matching              pairs responses with requests on one connection
    profile               the file format, its writer and its reader
    analysis              operations in, report out
    commands              record, analyze, check, and the command line
    generated             the compiled kernel programs (make rebuild-bpf)

What it costs: a few hundred nanoseconds in the server's thread for each read and
each write on a watched socket, and a few microseconds of another CPU for each
operation. docs/performance.md has the measurements.

What it cannot see: inside TLS, UDP, Unix sockets, and traffic that a server moves
without system calls (io_uring); such bytes are counted and reported as lost.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import ctypes.util
import errno
import hashlib
import json
import math
import os
import platform
import re
import resource
import shutil
import signal
import socket
import stat
import struct
import sys
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
    NoReturn,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

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


class ProtocolError(Exception):
    """Bytes that are not memcached's protocol. Costs one connection its synchronisation."""


# ==== Records =========================================================================

# What a source delivers: a piece of one direction of one connection.
RECV, SEND, OPEN, CLOSE = range(4)

# (kind, time_ns, sock_id, port, peer_port, offset, length, data)
#   kind       RECV, SEND; OPEN, CLOSE: the connection began or ended
#   time_ns    CLOCK_MONOTONIC
#   sock_id    the same for one connection as long as it lives
#   offset     TCP sequence number of the first byte (modulo 2**32)
#   length     bytes of the stream that this segment stands for; the last
#              length - len(data) of them are not there
#   OPEN, CLOSE: offset is the next byte to be received; length the next byte to be
#   sent; data is empty. CLOSE comes early if the peer reset the connection: bytes that
#   had arrived may still be read.
# A plain tuple: there is one for each read and write of the server, and any class
# costs more to make than the bytes in it to parse.
Segment = Tuple[int, int, int, int, int, int, int, bytes]

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

    def report(self) -> Dict[str, Any]:
        """The ledger as the profile and `analyze --json` hold it."""
        kernel_bytes = self.kernel.get("recv_bytes", 0) + self.kernel.get("send_bytes", 0)
        lost = max(self.lost_bytes, kernel_bytes - self.understood_bytes)
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


class LibbpfError(Exception):
    """A libbpf call failed. errno says why, as the kernel says it."""

    def __init__(self, call: str, number: int) -> None:
        super().__init__(f"{call}: {os.strerror(number)}")
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
        self._print = _PrintFunction(self._on_print)  # libbpf keeps only the pointer
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
            # bpf_map_lookup_elem of libbpf 0.x says -1 and sets errno.
            number = ctypes.get_errno() if result == -1 else 0
            raise LibbpfError(function.__name__, number or -result)
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
    hook: str  # "sock", "syscalls"

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """The next segments, in the order of each connection; [] if none came in time."""

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
        ("pad", ctypes.c_uint8 * 7),
    ]


class Run(ctypes.Structure):
    """Begins each run of a SocketDataEvent's data: bytes captured, then bytes skipped."""

    _fields_ = [("captured_len", ctypes.c_uint32), ("skipped_len", ctypes.c_uint32)]


class Endpoints(ctypes.Structure):
    """The data of an event that says that a connection opened or closed."""

    _fields_ = [
        ("send_offset", ctypes.c_uint32),
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
_EVENT = struct.Struct("<QQIIIHHB7x")
_RUN = struct.Struct("<II")
_EVENT_AND_RUN = struct.Struct("<QQIIIHHB7xII")
_SEND_OFFSET = struct.Struct("<I")


def parse_events(records: Iterable[bytes]) -> List[Segment]:
    """Ring records, each a SocketDataEvent, as segments."""
    segments: List[Segment] = []
    append = segments.append
    unpack = _EVENT_AND_RUN.unpack_from
    first = _EVENT_AND_RUN.size
    for record in records:
        time_ns, sock_id, offset, length, captured, sport, dport, kind, run, _ = unpack(record)
        if kind > SEND:
            send_offset = _SEND_OFFSET.unpack_from(record, _EVENT.size)[0]
            append((kind, time_ns, sock_id, sport, dport, offset, send_offset, b""))
        elif run == captured:
            append(
                (kind, time_ns, sock_id, sport, dport, offset, length, record[first : first + run])
            )
        else:
            position = _EVENT.size
            while position < len(record):
                captured, skipped = _RUN.unpack_from(record, position)
                position += _RUN.size
                data = record[position : position + captured]
                position += captured
                append(
                    (kind, time_ns, sock_id, sport, dport, offset, captured + skipped, data)
                )
                offset = (offset + captured + skipped) & 0xFFFFFFFF
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
        if program == "sys_exit":  # one program for all the exits
            names = SYSCALLS_RECV + (SYSCALLS_SEND if self._responses else ())
            self._object.attach(program, [("syscalls", "sys_exit_" + name) for name in names])
        else:
            self._object.attach(program)

    def __enter__(self) -> EbpfSource:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

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


def missing_capabilities() -> List[str]:
    """What this process lacks to load and attach the programs; [] if nothing."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        effective = int(next(line for line in status if line.startswith("CapEff:"))[7:], 16)
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
OPAQUE_MAX = 33  # bytes, with the O

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
ADMIN_NOREPLY = (b"verbosity", b"flush_all", b"cache_memlimit", b"slabs", b"lru", b"watch")
# Words of these commands that may stand in a profile; anything else becomes "?".
_ADMIN_WORD = re.compile(
    rb"(?:[0-9]{1,10}|items|slabs|sizes|settings|conns|reset|detail|on|off|dump|cachedump"
    rb"|extstore|enable|disable|sleep|tocrawl|crawl|metadump|mgdump|hash|all|reassign"
    rb"|automove|mode|tune|temp_ttl|flat|segmented|graceful|noreply|fetchers|mutations"
    rb"|evictions|connevents|deletions|proxy)\Z"
)

NO_BODY = -1
Parsed = Tuple[Request, int]  # and the length of its value, or NO_BODY


def _invalid() -> Parsed:
    return Request(b"invalid", REPLY_LINE), NO_BODY


def _number(word: bytes, lowest: int, highest: int) -> Optional[int]:
    """A decimal within the bounds, or None where memcached would refuse it too."""
    if not _NUMBER.match(word):
        return None
    number = int(word)
    return number if lowest <= number <= highest else None


def parse_request(line: bytes) -> Parsed:
    """A command line, without its line end."""
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
    exptime = _number(words[1], -(2**31), 2**31 - 1)
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
    exptime = _number(words[3], -(2**31), 2**31 - 1)
    size = _number(words[4], 0, VALUE_MAX)
    good = flags is not None and exptime is not None and size is not None
    if count == 6 and _number(words[5], 0, 2**64 - 1) is None:
        good = False
    if not good or len(words[1]) > KEY_MAX:
        return Request(b"invalid", reply), NO_BODY
    form = command
    if flags:
        form += b" %d" % flags
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
    request.exptime = _number(words[2], -(2**31), 2**31 - 1) or 0
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
        number = _number(words[2], 0, VALUE_MAX) if len(words) > 2 else None
        if number is None:
            return _invalid()
        size = number
        first_flag = 3
    request = Request(command, REPLY_META, (words[1],), NO_SIZE if size == NO_BODY else size)
    form = [command]
    seen = set()
    for word in words[first_flag:]:
        flag = word[:1]
        if flag in seen or len(word) > OPAQUE_MAX:
            request.quiet = False  # refused; that is never left unsaid
            break
        seen.add(flag)
        if flag == b"q":
            request.quiet = True
        elif flag == b"O":
            request.opaque = word
        elif flag == b"T":
            request.exptime = _number(word[1:], -(2**31), 2**31 - 1) or 0
        elif flag == b"b":
            request.keys = (_decode_key(words[1]),)
        keep = _META_NUMBER.match(word) or _META_MODE.match(word)
        form.append(word if keep else flag if flag.isalpha() else b"?")
    request.form = b" ".join(form)
    return request, size


def _decode_key(key: bytes) -> bytes:
    """The key that memcached stores for a base64 key; the text itself if it is none."""
    try:
        return base64.b64decode(key, validate=True) or key
    except ValueError:
        return key


def _parse_admin(command: bytes, words: List[bytes]) -> Parsed:
    reply, fewest, most = ADMIN[command]
    if not fewest <= len(words) <= most:
        return _invalid()
    if words[-1] == b"noreply" and command in ADMIN_NOREPLY:
        reply = REPLY_NONE
    form = [word if _ADMIN_WORD.match(word) else b"?" for word in words[1:6]]
    return Request(b" ".join([command, *form]), reply), NO_BODY


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

    __slots__ = ("storing",)

    def __init__(self) -> None:
        super().__init__()
        self.storing: Optional[Request] = None  # its body is being skipped

    def feed(self, data: bytes, time_ns: int) -> List[Request]:
        """The requests whose command line ends in this data, in order.

        A request's time_ns is set when its last byte has come, which for one with a
        body may be in a later call. Raises ProtocolError.
        """
        requests: List[Request] = []
        position = 0
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
    size = _number(words[index], 0, VALUE_MAX) if len(words) > index else None
    if size is None:
        raise ProtocolError("a value without a length")
    return size


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
    """

    __slots__ = (
        "number",
        "requests",
        "responses",
        "queue",
        "state",
        "recv_next",
        "send_next",
        "batch_time_ns",
        "batch_position",
        "tentative_bytes",
        "watching",
        "ended",
        "final",
        "_matcher",
    )

    def __init__(self, matcher: Matcher, number: int, state: int) -> None:
        self._matcher = matcher
        self.number = number
        self.requests = RequestParser()
        self.responses = ResponseParser()
        self.queue: Deque[Request] = deque()
        self.state = state
        self.recv_next: Optional[int] = None  # expected TCP sequence numbers
        self.send_next: Optional[int] = None
        self.batch_time_ns = 0
        self.batch_position = 0
        self.tentative_bytes = 0
        self.watching = False  # after `watch`, replies are a log without an end
        self.ended = False
        self.final: Optional[Tuple[int, int]] = None  # see Matcher._close

    # -- bytes in --

    def receive(self, time_ns: int, offset: int, length: int, data: bytes) -> None:
        """Bytes that the server read."""
        if self.recv_next is not None and offset != self.recv_next:
            self._missing((offset - self.recv_next) & 0xFFFFFFFF, self._skip_request_bytes, time_ns)
        self.recv_next = (offset + length) & 0xFFFFFFFF
        new_read = time_ns != self.batch_time_ns
        if new_read:
            self.batch_time_ns = time_ns
            self.batch_position = 0
        if self.state == OUT_OF_STEP:
            if not new_read:
                self._matcher.ledger.lost_bytes += length
                return
            self.state = TENTATIVE
        self._count(length)
        try:
            begun = self.requests.feed(data, time_ns) if data else ()
        except ProtocolError:
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
        if self.queue:
            self._pass_silent()
        if len(self.queue) > PENDING_MAX:
            self.fall_out_of_step()

    def send(self, time_ns: int, offset: int, length: int, data: bytes) -> None:
        """Bytes that the server wrote."""
        if self.send_next is not None and offset != self.send_next:
            gap = (offset - self.send_next) & 0xFFFFFFFF
            self._missing(gap, self._skip_response_bytes, time_ns)
        self.send_next = (offset + length) & 0xFFFFFFFF
        if self.state == OUT_OF_STEP:
            self._matcher.ledger.lost_bytes += length
            return
        self._count(length)
        if self.watching:
            return
        try:
            responses = self.responses.feed(data) if data else []
        except ProtocolError:
            self.fall_out_of_step()
            return
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
        """A range of the stream that no segment stands for."""
        if length >= 1 << 31:  # backwards: these bytes were here before
            self.fall_out_of_step()
        elif self.state != OUT_OF_STEP and skip(length, time_ns):
            self._count(length)
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
        self.state = OUT_OF_STEP

    def _confirm(self) -> None:
        self._matcher.ledger.understood_bytes += self.tentative_bytes
        self.tentative_bytes = 0
        self.state = IN_STEP

    # -- answers --

    def _pass_silent(self) -> None:
        """Requests at the head that nobody answers are done when they are read."""
        queue = self.queue
        unanswered = not self._matcher.responses
        if unanswered and self.state == TENTATIVE and queue[0].time_ns:
            self._confirm()  # it made sense as far as it went; nothing else will tell
        while self.state == IN_STEP and queue and queue[0].time_ns:
            if queue[0].reply != REPLY_NONE and not unanswered:
                break
            self._matcher.emit(self, queue.popleft(), NONE, 0)

    def _match(self, responses: List[Response], time_ns: int) -> None:
        for response in responses:
            if self.watching:
                return
            if self._answer(response, time_ns):
                continue
            self._matcher.ledger.unmatched_responses += self.state == IN_STEP
            if self.state == TENTATIVE or self.queue:
                self.fall_out_of_step()
                return
        if self.queue:
            self._pass_silent()

    def _answer(self, response: Response, time_ns: int) -> bool:
        """Give the response to the request it answers. False if there is none."""
        word = response[0]
        index = self._find_request(word, response[1])
        if index is None:
            return False
        request = self.queue[index]
        outcome = reply_outcome(request, word)
        if outcome is None:
            return False
        if request.reply == REPLY_VALUES and word == b"VALUE":
            return self._take_value(request, response)
        if request.reply == REPLY_STREAM and word not in LINE_OUTCOMES:
            return True  # one of its lines
        if self.state == TENTATIVE:
            self._confirm()
        for _ in range(index):  # these were passed in silence
            silent = self.queue.popleft()
            self._matcher.emit(self, silent, silent_outcome(silent), 0)
        self.queue.popleft()
        if word == b"VA" and request.form[:2] == b"mg":
            request.sizes[0] = response[2]
        if request.reply == REPLY_FOREVER and outcome == OK:
            self.watching = True
        self._matcher.emit(self, request, outcome, time_ns)
        return True

    def _find_request(self, word: bytes, words: List[bytes]) -> Optional[int]:
        """The place in the queue of the request that this line answers."""
        if LINE_OUTCOMES.get(word) in ERRORS:
            return self._find_refused(words)
        opaque = b""
        if len(word) == 2:  # a meta reply: only these carry an opaque
            opaque = next((w for w in words[1:] if w[:1] == b"O"), b"")
        for index, request in enumerate(self.queue):
            if request.reply == REPLY_NONE:
                continue
            if not request.quiet:
                return index
            if opaque == request.opaque and self._breaks_silence(request, word, words):
                return index
        return None

    def _find_refused(self, words: List[bytes]) -> Optional[int]:
        """The place in the queue of the request that this error is about.

        Errors break any silence and carry no opaque. The one about a value's size can
        only be about the largest; another one is taken for the first request that is
        not quiet, if there is any.
        """
        candidates = []
        for index, request in enumerate(self.queue):
            if request.reply == REPLY_NONE:
                continue
            candidates.append(index)
            if not request.quiet:
                break
        if not candidates:
            return None
        if b"large" in words:
            return max(candidates, key=lambda i: (self.queue[i].value_size or 0))
        return candidates[0] if self.queue[candidates[-1]].quiet else candidates[-1]

    @staticmethod
    def _breaks_silence(request: Request, word: bytes, words: List[bytes]) -> bool:
        """Can this line be the answer to a quiet request?"""
        outcome = META_OUTCOMES[request.form[:2]].get(word)
        if outcome is None or outcome == silent_outcome(request):
            return False
        if b" k" not in request.form:
            return True
        key = next((w[1:] for w in words[1:] if w[:1] == b"k"), None)
        return key is None or key == request.keys[0] or _decode_key(key) == request.keys[0]

    def _take_value(self, request: Request, response: Response) -> bool:
        """A VALUE line: which of the keys? They are answered in order, misses left out."""
        words = response[1]
        try:
            index = request.keys.index(words[1], request.next_key)
        except ValueError:
            return False
        request.sizes[index] = response[2]
        request.next_key = index + 1
        return True


def reply_outcome(request: Request, word: bytes) -> Optional[int]:
    """What a line that begins with this word says of the request; None: not its answer."""
    reply = request.reply
    outcome = LINE_OUTCOMES.get(word)
    if outcome in ERRORS:
        return outcome
    if reply == REPLY_META:
        return META_OUTCOMES[request.form[:2]].get(word)
    if reply == REPLY_VALUES:
        return HIT if word == b"VALUE" or word == b"END" else None
    if reply == REPLY_STREAM:
        return OK if word not in (b"VALUE", b"VA", b"HD") else None
    command = request.form.split(b" ", 1)[0]
    if outcome is None and word.isdigit() and command in (b"incr", b"decr"):
        return OK
    return outcome if outcome in COMMAND_OUTCOMES.get(command, _ADMIN_OUTCOMES) else None


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
        self._key_codes: Dict[bytes, int] = {}
        self._ended: Deque[Tuple[int, Connection]] = deque()
        self._closed_now: List[Tuple[int, Connection, int, int]] = []
        self._closed_before: List[Tuple[int, Connection, int, int]] = []

    def process(self, segments: Iterable[Segment]) -> None:
        """Take a batch of segments in, in the order of each connection."""
        connections = self.connections
        for kind, time_ns, sock_id, port, _, offset, length, data in segments:
            if kind == OPEN:
                connection = self._add(sock_id, time_ns, port, IN_STEP)
                connection.recv_next = offset
                connection.send_next = length
                continue
            found = connections.get(sock_id)
            if kind == CLOSE:
                if found and not found.ended:
                    found.final = (offset, length)
                    self._closed_now.append((sock_id, found, time_ns, port))
                continue
            connection = found or self._add(sock_id, time_ns, port, OUT_OF_STEP)
            if kind == RECV:
                connection.receive(time_ns, offset, length, data)
            else:
                connection.send(time_ns, offset, length, data)
        # A reset closes a connection while another CPU is still at work on it, so its
        # last events may come after. A batch later they are here.
        for closed in self._closed_before:
            self._close(*closed)
        self._closed_before, self._closed_now = self._closed_now, []

    def _add(self, sock_id: int, time_ns: int, port: int, state: int) -> Connection:
        old = self.connections.get(sock_id)
        if old:
            self._close(sock_id, old, time_ns, port)
        self.total_count += 1
        self.opened_count += state == IN_STEP
        self.open_count += 1
        connection = Connection(self, self.total_count, state)
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
        if connection.final is None:
            return
        expected = (connection.recv_next, connection.send_next)
        for seen, final in zip(expected, connection.final):
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
        sink = self._sink
        asked_ns = request.time_ns or time_ns
        latency_ns = time_ns - asked_ns if time_ns else 0
        number, form, batch = connection.number, request.form, request.batch_position
        keys = request.keys
        self.operations += len(keys) or 1
        is_get = form[:3] == b"get" or form[:3] == b"gat" or form[:2] == b"mg"
        if not keys:
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
BLOCK_ROWS_MAX = 1 << 24

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


def unpack_column(typecode: str, rows: int, payload: memoryview, at: int) -> Tuple[array, int]:
    """The column at payload[at], and where the next one stands. Raises ProfileError."""
    column = array(typecode)
    (length,) = _ROWS.unpack_from(payload, at)
    at += _ROWS.size
    expected = rows * column.itemsize
    # Not trusting what it unpacks to: a few bytes can make gigabytes.
    raw = zlib.decompressobj().decompress(payload[at : at + length], expected + 1)
    if len(raw) != expected:
        raise ProfileError("a column has not as many rows as its block says")
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
    FLUSH_ROWS = 65536

    def __init__(self, output: str, force: bool = False) -> None:
        self.path = output
        self.written_bytes = 0
        self._started = False
        self._finished = False
        self._rows: List[Operation] = []
        self._connections: List[Tuple[int, int, int, int]] = []
        self._forms: Dict[bytes, int] = {}
        self._new_forms: List[str] = []
        self._start_ns = 0
        self._flushed_at = 0.0
        self._fd = self._create(output, force)
        self.add = self._rows.append  # the hot path: takes an Operation

    @staticmethod
    def _create(output: str, force: bool) -> int:
        if output == "-":
            if os.isatty(1):
                raise ProfileError(
                    "a profile is not for a terminal", "name a file, or send it to a pipe"
                )
            return os.dup(1)
        try:
            if force and os.path.lexists(output):
                os.unlink(output)
            return os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise ProfileError(
                f"{printable(output)} exists", "choose another name, or overwrite it with --force"
            ) from None
        except OSError as error:
            hint = "make the directory first" if error.errno == errno.ENOENT else "choose another"
            raise ProfileError(
                f"cannot write {printable(output)}: {error.strerror}", hint
            ) from None

    def __enter__(self) -> ProfileWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)
        if not self._started and self.path != "-":
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def start(self, header: Dict[str, Any], start_ns: int) -> None:
        """Write the header. start_ns: CLOCK_MONOTONIC, the zero of the profile's times."""
        self._start_ns = start_ns
        self._flushed_at = time.monotonic()
        self._write_all(_FILE_HEADER.pack(MAGIC, FORMAT_VERSION))
        self._write_json(b"H", header)
        self._started = True

    def add_connection(self, time_ns: int, number: int, port: int, kind: int) -> None:
        """A connection opened (OPEN), closed (CLOSE) or was found open (RECV)."""
        self._connections.append((time_ns, number, port, kind))

    def flush_if_due(self, ledger: Ledger) -> None:
        """Write what there is, if it is enough or old enough."""
        if len(self._rows) >= self.FLUSH_ROWS:
            self.flush(ledger)
        elif time.monotonic() - self._flushed_at >= self.FLUSH_SECONDS:
            self.flush(ledger)

    def flush(self, ledger: Ledger) -> None:
        """Write what there is."""
        self._flushed_at = time.monotonic()
        rows = self._rows[:]
        self._rows.clear()
        connections, self._connections = self._connections, []
        if connections:
            self._write_connections(connections)
        if rows:
            self._write_operations(rows)
        if rows or connections:
            self._write_json(b"L", ledger.report())

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
        if len(self._forms) >= 0xFF00:  # somebody counts by ever different numbers
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
            with contextlib.suppress(OSError):  # back to the last whole block
                os.ftruncate(self._fd, self.written_bytes)
            kept = "; what was written before can be read" if self._started else ""
            raise ProfileError(
                f"cannot write {printable(self.path)}: {error.strerror}{kept}",
                "make room, or record to another place",
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


class ProfileReader:
    """Reads a profile, block by block. A context manager.

    header is there from the start; forms, ledger, end and complete grow as blocks() is
    consumed. Raises ProfileError for what is not a profile.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.forms = [""]  # numbers begin with 1
        self.ledger: Dict[str, Any] = {}
        self.end: Dict[str, Any] = {}
        self.complete = False
        self.opened = 0
        self.connections = 0
        try:
            self._file: BinaryIO = sys.stdin.buffer if path == "-" else open(path, "rb")
        except OSError as error:
            raise ProfileError(
                f"cannot read {printable(path)}: {error.strerror}", "check the name"
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
        except ValueError:
            raise self._error("is damaged", "a block holds no JSON") from None

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
                    self.ledger = dict(self._decode_json(payload))
                elif kind == b"E":
                    self.end = dict(self._decode_json(payload))
                    self.complete = True
            except (struct.error, zlib.error, ValueError, TypeError, ProfileError) as error:
                raise self._error(f"is damaged: {error}", "it was not written so") from None

    def _decode_operations(self, payload: memoryview) -> Operations:
        rows, keys = struct.unpack_from("<II", payload)
        if max(rows, keys) > BLOCK_ROWS_MAX or not rows:
            raise ProfileError("a block has an impossible number of rows")
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
            raise ProfileError("an operation has an unknown form or outcome")
        if max(operations.key) >= keys:
            raise ProfileError("an operation has an unknown key")
        return operations

    def _count_connections(self, payload: memoryview) -> None:
        (rows,) = _ROWS.unpack_from(payload)
        at = _ROWS.size
        for name, typecode in CONNECTION_COLUMNS:
            column, at = unpack_column(typecode, min(rows, BLOCK_ROWS_MAX), payload, at)
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
    analysis = Analysis()
    profiles = []
    ledgers = []
    connections = opened = 0
    duration = 0.0
    key_spaces = set()
    for path in paths:
        with ProfileReader(path) as reader:
            header = reader.header
            started_at = float(header.get("started_unix", 0))
            last_tick = 0
            for block in reader.blocks():
                analysis.add(block, reader.forms, started_at)
                last_tick = max(last_tick, block.time[-1])
            seconds = float(reader.end.get("duration_seconds", last_tick / TICKS_PER_SECOND))
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
                }
            )
    report = build_report(analysis, duration)
    report["profiles"] = profiles
    report["connections"] = connections
    report["connections_opened"] = opened
    report["keys"]["comparable"] = len(key_spaces) <= 1
    report["loss"] = sum_ledgers(ledgers)
    return report


def sum_ledgers(ledgers: List[Dict[str, Any]]) -> Dict[str, Any]:
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
            return f"{seconds / size:.4g}{unit}"
    return f"{seconds / 86400:.4g}d"


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
        lines.append(f"{path}")
        source = f"{profile['source']} ({profile['hook']} hook)"
        lines.append(
            printable(
                f"  {profile['host']}, port {ports}, {source}, {profile['started_at']}, "
                f"{profile['duration_seconds']:.1f} s"
            )
        )
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
        f"Hit ratio    {'-' if ratio is None else format(ratio, '>14.2%')}   "
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
        text = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes[:3])
        text += ", ..." if len(outcomes) > 3 else ""
        lines.append(
            f"{name:<11} {command['operations']:>11,} {share:>7.2%}  {bar(share, 10):<10} {text}"[:80]
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
    if not loss.get("bytes_lost") and not loss.get("events_lost"):
        text = f"100 %: all {human_bytes(loss.get('bytes_seen', 0))} bytes accounted for"
    else:
        # Never rounded up to 100.
        percent = math.floor(loss["coverage"] * 10000) / 100
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

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Stop:
        self._old = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _request(self, _number: int, _frame: Any) -> None:
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
        self._live = sys.stderr.isatty() and not quiet
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
        print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for another line."""
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line for the user. Results go to stdout, everything else here."""
    print(f"membench: {text}", file=sys.stderr, flush=True)


def record(options: argparse.Namespace) -> int:
    """Record until the duration is over or somebody stops it; then summarize."""
    ports, why = choose_ports(options.port)
    secret = options.salt or os.urandom(32)
    with Stop() as stop, ProfileWriter(options.output, options.force) as profile:
        with open_source(options, ports) as source:
            started_ns = time.monotonic_ns()
            profile.start(describe_recording(options, source, ports, secret), started_ns)
            matcher = Matcher(
                profile.add, profile.add_connection, secret, not options.no_responses
            )
            status = Status(matcher, profile, source, options.quiet)
            if not options.quiet:
                say(f"recording {source.name} with the {source.hook} hook, {why}; Ctrl-C ends it")
            while not stop.requested and not is_over(started_ns, options.duration):
                matcher.process(source.read(POLL_MS) or ())
                profile.flush_if_due(matcher.ledger)
                status.update(ports)
            duration = (time.monotonic_ns() - started_ns) / NS_PER_SECOND
            source.stop()
            drain(source, matcher, profile)
            matcher.ledger.kernel = source.counters()
        profile.finish(matcher.ledger, {"duration_seconds": duration})
        status.clear()
        if not options.quiet:
            summarize(matcher, profile, duration, ports)
    return 0


POLL_MS = 50


def is_over(started_ns: int, duration: Optional[float]) -> bool:
    """Has the recording lasted as long as was asked for?"""
    return duration is not None and time.monotonic_ns() - started_ns >= duration * NS_PER_SECOND


def drain(source: Source, matcher: Matcher, profile: ProfileWriter) -> None:
    """Take in what the stopped source had seen already, and end all connections."""
    while True:
        segments = source.read(0)
        if not segments:
            break
        matcher.process(segments)
        profile.flush_if_due(matcher.ledger)
    matcher.process(())  # twice: closed connections wait for a batch
    matcher.process(())
    matcher.finish()


def open_source(options: argparse.Namespace, ports: Sequence[int]) -> EbpfSource:
    """The source that the user named."""
    kind, _, interface = options.source.partition(":")
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
    if kind != "ebpf":
        raise MembenchError(f"unknown source {printable(options.source)}", SOURCE_HINT)
    return EbpfSource(
        ports,
        None if interface == "any" else interface,
        options.hook,
        not options.no_responses,
        options.ring_size,
        image,
        options.verbose,
    )


def describe_recording(
    options: argparse.Namespace, source: Source, ports: Sequence[int], secret: bytes
) -> Dict[str, Any]:
    """The header of a profile."""
    now = time.time()
    return {
        "membench": VERSION,
        "source": source.name,
        "hook": source.hook,
        "side": "server",
        "host": platform.node(),
        "kernel": platform.release(),
        "ports": list(ports),
        "responses": not options.no_responses,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "started_unix": now,
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
        f"{matcher.total_count:,} connections, {human_bytes(profile.written_bytes)} bytes written"
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


def choose_ports(asked: Optional[List[int]]) -> Tuple[List[int], str]:
    """The ports to watch, and why those in words."""
    if asked:
        ports = sorted(set(asked))
        return ports, ports_text(ports)
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
            "command was found in them. TLS, the binary protocol, or another service?"
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

    def probe_library() -> str:
        Libbpf()
        return "found"

    def probe_machine() -> str:
        require_bpf()
        return f"Linux {platform.release()}, BTF, privileges"

    probe("kernel", probe_machine)
    probe("libbpf", probe_library)
    hooks = [probe(f"hook {hook}", lambda hook=hook: probe_hook(hook)) for hook in HOOKS]  # type: ignore[misc]
    for name, good, text in rows:
        print(f"{'yes' if good else 'NO ':<4} {name:<14} {text}")
    for server in find_servers():
        where = [ports_text(server.ports)] if server.ports else []
        print(f"     memcached      pid {server.pid}: {', '.join(where + server.unix_sockets)}")
    if any(hooks):
        print("record would work here.")
        return 0
    print("record would not work here.")
    return 1


def analyze_command(options: argparse.Namespace) -> int:
    """Print the report on the profiles."""
    report = analyze(options.profile)
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        print(render(report))
    for profile in report["profiles"]:
        if not profile["complete"]:
            say(f"{printable(profile['path'])} was cut; what is whole was read")
    return 0


# ---- The command line ----

SOURCE_HINT = "SOURCE is ebpf:any or ebpf:INTERFACE"

EXAMPLES = """\
examples:
  sudo membench.py record                        the memcacheds of this machine, until Ctrl-C
  sudo membench.py record --duration 60          for a minute
  sudo membench.py record --port 11212 out.profile
  sudo membench.py record ebpf:eth0              only what comes in by eth0
  sudo membench.py record - | ssh host 'cat > out.profile'
  membench.py analyze out.profile
  membench.py analyze --json out.profile | jq .hit_ratio
  sudo membench.py check                         what works on this machine
"""

RECORD_NOTES = """\
A profile holds no key and no value: keys are hashed with a secret that is made up for
each recording and kept nowhere. Its mode is 0600.

cost: a few hundred nanoseconds in the server's thread for each read and each write, and
some microseconds of another CPU for each operation. With --no-responses about half of
both, but no outcome, no hit ratio and no latency.
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
    sub = commands.add_parser("check", help="say what would work on this machine")
    sub.add_argument("-v", "--verbose", action="store_true", help="show the kernel's words")
    sub.set_defaults(run=check)
    options = parser.parse_args(arguments)
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
        "source", nargs="?", metavar="SOURCE", help="ebpf:any (default), ebpf:INTERFACE"
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
        default=16,
        metavar="MIB",
        help="buffer between kernel and membench, a power of two; default 16",
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
        description="Report on one or several profiles: commands, hit ratio, latency, sizes, "
        "TTLs, hot keys, and what was lost.",
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
    options.source = options.source or "ebpf:any"
    kind, _, interface = options.source.partition(":")
    if kind != "ebpf" or not interface:
        parser.error(f"unknown source {printable(options.source)!r}: {SOURCE_HINT}")
    if not options.output:
        options.output = time.strftime("membench-%Y%m%dT%H%M%SZ.profile", time.gmtime())


def looks_like_source(text: str) -> bool:
    """Is it a source, and not the name of a file to write?"""
    return text == "ebpf" or text.startswith(("ebpf:", "packet:"))


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
        status = options.run(options)
        sys.stdout.flush()
        return int(status)
    except MembenchError as error:
        print(f"membench: error: {error}", file=sys.stderr)
        if error.hint:
            print(f"membench: {error.hint}", file=sys.stderr)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does. Nothing is left to say, and
        # the interpreter shall not try to flush stdout again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        print("membench: interrupted", file=sys.stderr)
    return 1


# ==== Generated =======================================================================


def embedded_object() -> bytes:
    """The kernel programs: bpf/programs.bpf.o, compressed, in base85."""
    return zlib.decompress(base64.b85decode("".join(BPF_OBJECT.split())))


# BEGIN GENERATED by `make rebuild-bpf`; do not edit
BPF_SOURCE_SHA256 = "9c457f7fb8f2469de33268c0fc00dac8a5964e25870170a9ee7e61095a65cced"
BPF_COMPILER = "Debian clang version 14.0.6"
BPF_OBJECT = """
c-
rl~4|H6|ecwB~02T{yK>{QJf)piPivJcQNG|_~ghf(bN`wsAl(gkPQ?}&A5?B&2L12kpl7K<mt3QruOLpKqzZi9t1eP6
zIgw)YM7G$LC*1Tf3Er!nY*Qx(&68WaMrqMRO>q*pMI4>S_nVpD+&lM+T@X@|{yB&D5S;s&|MQ!f-
^|>Zz4!C&M;;3X0>WGY@!y3<-
gQ0X*~a<*jpXyjUTt?H%H}F<9uEi=PuH6FZcD!Ts<y8V3i00U+qat`kuM1C|1Gv}6#rbu_X5XPA;j$uQ#?V<%XVq=!ul
aMUU}D4y+p-xred`ikX*4rq?Fkzx|A6Z=gF)R-
{tT+!IKqlh%A|JRtiy3A?<ZSO%<nvqx}CG`@1Gi`og^?4#{v7rb60p;Bb}Cs&FSOUlm7`{|fd$E>0+}Wd0@5&goW#q<s
~q`#7ijP3AU{QRY2jkjs%(?mrLZ__|07FaIYieoo{#{_09EA59epIsUKu!Z%giuhKbL@sjBF#q%Y_^W)jW@q7XD@q&`O
7yda{zW(s79R9Nqegw)ftn%f_@v`Xi$?+nmSH+xF^?hM|i1~twPo*E0_SKyJT2B8wr*G0b2kG^4eoT62MZYh-
v?rfxFWsh!dX7H@<x8r1^wN8l<2UJjlG8WoJ<aYWy^nMHrhF&7^sVxptT?LDf0O&wjYqYaqh!L;tknJPc%^Q?Riak8cg
2n<GgYC@$_njoQy{3!O77pkaY*OyO`R>b|GuTIDZUlT+*I*jZ{H4h{%-8kX5{1Ayg9`EoH8Z--E850{w40`W7=#ASF7^
eIHkEV%=xMcivN#pZs=wxUaS6Vm0siplaD`Bdgw;h@Sol;m5)u;tt$QF)tnF3Ys)x)7rtoXuMsijKP)~(=4L9dl-
#l$>p9{g>AA`(oxhV+e|1~BM~(?sUICR4Eihx>RJB%_8!PWoN><fdP|B}f_~f^f^Zk!len#)!A>U2ZIAuO=aCs}ML4Fs
xd;ykU)}LNiJ-3S>w~L@(Z*M=XEB-
9mJ1hs;!k>DC^SO@AdTsun0>_KFdE>?00^`NaYL+Lvzu)oZW{Ag|YMsHx&>>%YOg$HO^QXq2L6+-
s<9=ADyIcoIz0jd~*A<;F9<REhY#-JBQ_uJ4`de<?nOB&2yM5f%*3J54n=-
LHZw0+_{fx@T0k<CptnpL!<7kQSspVl=UE-jl8`!cK%TH)Mk!sNHZ`23ecx94O*Ck5CXXGUF^Sm0*bwv%Qbi=IX`W|Uw
rh153<-WPx^wSErd;!Z{`j;6R?&A7bugwvjk9czLVY8dfxa%HPe1Pkt6Y4|ro5J5tZ!}?hot@X-
W*5_5YdD>6zR&QLroFzQ&C1vP?e%#r&!(WBuM9sIR_2MocIIYnKCh}%99;Ju-
Crqk8TIfBx??Wmc6akz!mTfvFDW<aW8|YVw@tp}I5qqo%_n%iV$yNzxtY`bmM-szM&dbUozIh@6}p~ZXyf+Ypv+$h)T;
)UdahOb3oPaG?s5CS4EF`{M%lb=@^h2rcsZckOX_(Y@3ZT4$2ab0+1>aXepTn|jdj{XSGd)$XPVpGdJI@{ZVY_JR}VKD
wSN=Ojg6+BTDhL|czc7#yWcp<{+`yn_UBA{Y~^rTk3@dXuUBsTyy-
6~)<e2on|gY!A|(FiUh<a`zW9y2Zg2xP;i^P4>meO~Q=sYZMIXBQ?RnO3>&1e4(&)W%`qJdLt1a%%Q&hihJK(Jw?&tnS
6}$FBCZ91bSHSC!l!vZQPbqo*#?$_KF!H^5n)`oHm;be(ZZInUWG>_Rgw%^t0wWJitN4a_9&+=7*Pk;=FKR_F{Hm^};d
Q!QE#rC`S>EQWhsf7V`|I%a?<(<tuUx~g>U5g|THvW~>2lrN#O3)v{Po``mWWdQ#jLl?cz&79n=AZ!*R=OHcs^_T%Z=4
AJ~zjFay0oj^4(NZq3Yq;6vs2x#`V32(>Va`-{|kdV1JnP9OskMyWhx__034sv<H2&)|GG6*S~L!`p1E;Ph3;-
?E2`0)?W{eX>-
fCo>w+|^}ODiA1$jduUBP`ZdQ2VE?D7)zpeFVDZN~<!kcizuN9R4w|JZx`6e^RchiiU3+VYuE4~!#?YDUR`mN{oxbuCP
?y{ykl&i~Mt{cyJdbi>Ol+Wbjgjmn=Dfsf&SmF5ABMX%?{66Jv!Ue5xy(}N87safXkCTCAQ~*y-
CZGQh`SI2Nuktwi%^5bQ-SJwEoFlc@Z|ix)fGeknj5m8{d6g^of4?oun^x{JzS_S-
d}jV9^^I&F%@zLnkkLEm*68wG*yYX3r0B0K_w;l?jk8DHa<+Yde5JlM;g&P#$Z~4^Yw~+C@R$gdnpZa{bxC@7otwVOPa
x=PpJpBC_Rs7G>z~abNdL4>|5NLBx$)O8GXD454&N)8FTEa1ov!43XgQ?5&GM|^dD*L4pWayK)#Gh`&Sl0AttVK|K2+4
><+sO~CzY8q^ZG4sYyG@Nk9#AZ@${e4SF0ATcOxHcmv6KD&aL_LdGq$`6#nM7nJcv3nzv4?^x_R#<H=3dpQ+SZSYH(9r
BhtQ`eN9ObG$w=@s9BN+FLKb&-lY;{h<fio2<th1EU<jmUF7tal^?K<w$kHpRZM?xV#&5K2~-
5=LxHLy|zlv^LkI~@%Y^4KISdV{oKxV`LdfcI-S!zzHj!gk4H9Z`{6Ej-
=_!Uu5U!yy^YN{n+}`J{&nMKo_DU|`Rb}xHe;^8fF<{nW}a!yr({#O`GQ}c4e#>mL9LtCd-
)Gr^Hs?*N6VsS9>wu|&CG91durx+Zl!8(O|))O&!Ymm+#}xz`{w&bE_S~ta=&n_dFu(WoY!x9Tp3wa&&=b^Du?5(<9g@
xT>Dy{rxtkL8~3jlmuntg*WoYMa+dcuI-
tF1LA=H7^|hMis)H?dU2UFEqyk27>UR05b(Q?QOPg!W`eSn|m!rzp{>(bGDHwqK>2_hp-J4_Hy!gYF-aOf~7c(z!;^!Y
Xxcu_DtF%8^^EbMmUEuY8pxQSN8s63BTbGTj=XJzjhkqTlxuaydsSB<A9B`>#ce6YqJfH5`qV=sC&z2vQe2!u3!^uVH!
z%Nf=vzEL326B)rXDLSeLBqgba*xQ_vU)v_&UP#hLJVge$6<+`fy~8E?;BlW##{OYhF_I+IzOvw~o8a<5F`F<|izd3p}
3Pc;1_jsQE)sci0<)o_#g%Bgu67xZgj+<7`vKh)y@<mG?`k-
42y}9_Y<GHu~D#qURqUaD9MsNIhWYA6@?WN7w(D`N#0MF1MM7%+H^hmprA%lh4e+_{j4Jo<EO#TKBKslx|lzA29mET}Q
5YN6$}BKLqp9DxY3S@%;8vynZ(Q+=Q3q`6X+8F8RCGyvWRRy!zD>oMEHqxjhdDnuXoYhglvQgHf@=D)(F54hOg$HuL_F
x=5AXd{Eye+j$*Ub-
yw{t~@o16BR3c^W6dN2R`}Jx+ux^C;0hNl`#1ZL%!>M`8N4X1?QA`CKwh!l>LeGE1v`XHp%a`iipxHa-ZU+WYWt)Yy2_
#+UOlS{4N!~(ha}O7e45Q4_fk<`&W+IrwaP!t;QYKwNl?+3(kMe?CLLmPVxTrmev=)8~%*eTfMBezV<%#*3bF%)0K7p=
ig0%{*rph%tITiKYa)Nv|jwr)k`P;r|6|S>m$8Ud+wW_J_=a+$mpT2FHbM5k1lBYwa@wW(OrG=zlT0qw7yu*^Y?~&SKf
lp1K9iXGW@>{lnB4VDH)F)KCn=D6K-
X+bUyBsz8l^t8$P(0@C%hc@OLbK;2$vkMT8G75Z*jL@Sg9zzkT#Z(a!xO>U(Z59B_Q&j@RF(p&w1%_V+W^2ky8vx#;|;
=R9Y1yuVYuOYg6}ro(sf{4DjYclf#6x<!u<w@T<?8SbGH;ZnbLOFxg|b=q3qU+wzxySK~58?fTN@U2_7{o`blo6pKJ&&
%!n;q&qo$M>n#b?&(rH9zG182z)*^Z3QYzxIL|C+3%Pav}W#>#X5bcrIgRUj5H3&>lx>r`_@APS25Ntmk%JTXZ{|_gwi
ko&L$1fNEb&;YwXEHMbPwxOX!A+e(9*{nFfG=S!#WG++AuqMt+0lzcwU<p{i?o;RE4FO7j;_tpOgjkhWA>K*25e}B)hX
G+eCbUt|6>!ts^nXi3y(a*7G7M!ome6Z)(&zt#~KCd{!`pDa7<Nb?k9ACI}JHPq7U*8#d8ohfb|E13VoU+CZ>F)*WdF_
dCm2Y2ocpaR>Ssvy3(+zlJEWu_6oBTYK_hU!K_<7bCj~8P+PK@#RFvjD;7>@^I!v8#&^EEOQUUYj|s9w(XtmS>%`bGDH
_e%ByuIE>^9>_)=|Gc{SzV{t}sr;J#WiuXp(0EeM>+-H$XZEdI7rmcXviz^IJfkt+^L^=G?)aVzF46mYLCCjtj-
#?fe{=U+toROF{@w8_sL!XBinku(ZN5Xi^(FRky!P)v`*(ctyk(8&FP1n5_L0O9are4=-M#K!cdxtG-Rtgk_qu!Cz3yI
jue;aX>+W^;x_jNd?p}AVyVu?8?sfONd)>Y6UU#p%*WK&x^$&Ud@?Qk_7kxrpt<!(KG1oaLj|uV7jDS3U;kc-eWvesF!
klIH`E%p2eroIs!!HO_R`QGt|FkVEk4W9mafN-}L{PqcLjLrT{8Y+p%GYR^BVZrqd+Glpe4nR3`HLNS#-
$*HdZ(VepQgVg-
^<LW`QD*>`O8sxHa1T8gM6O|2>u0?2+Na|pM$c##BR&zKmO^2I`PJ@aggOz2g1fZd5T|QnaTYA6QR!m%KUy$=(CJ6zxw
TlVrjh<PRe0L8JXT=`DrXCcaBOPsj25YEw}QtlJoR`aoSCg_Ubb6TJ;=^SoiY8RZ*9zQl1w3H&&g!W7XMzvFhxnd|%*v
ggMt$e4a|y%}Tz{llcJO7s!n9z0BAl<3BjR9-6H(2dsKnW7WewoCkj0&eD597ET#iSjRtu@{KE>q(BYiH1voNT>-
EBJpr%$=L25(vjMOCAF;~+89uKi%l~=4?<Difd@p73vwS~J<~R6W%4MAIr^);_-
^+~tD&ISFKVjmRzf(8y)BSG+^!rKjbbl+L&t4U%#DA#I-
BwEe_g1;~S@mlAmMqtwo4nEAUkAK?Y5JV(m!{9na(~@mTC9A(os2i2e;2Wt<xr!A9hSdfT&nNYub;zEHygNas>|4ma`u
lb+;;9S({|Qz+1BbjEp36e(^{tO)L4Gx+qgCby}oMeyAzg-jen^Vcd&oy_MsrxGhGk!y;DLbZ7rjdwpr!b!R2{`%d=DX
27|h=rC&{3dz{mJLZ6e1>=v#9sta2FD?{4-!7}b!YPI`5tE@HP_f-
;*d~MTf_1dpIuYagP<*ibd=P|lJ$YG8)=r$(%#itr{T^H&8(+x_dmGboJCAxo@{pa~!%Im8QdaRLgj&VFvuZ`2a)c>9I
_v;PXUCQn^>HblcU4idqyZu-Cm1SXBzA3(!as4~KKjf89)#YC{xJ}WOfz%Cu)u8>z_VKq3`dnkVwk-Yp@pA27@;l2tUA
1k6XTNWSXaAQCp8YMd?_m4iv;6-
ny02sViz~IvWw}1L(rbTTTIsdFukpQ<(N`M1w)hKl|1tLeZN8U&UgLWy&tKzvDbLp%{qux}nsnQj8T%;RKf!T5rR_zb+
Ao(d%jNzuZE5E!-IkuTWG-
K&d25x|u6}=&*C+po?vHX_rs)1S=lRF_{ApOezVlC4`SKhnm7h?F{Kz);pE*A#*u9F~pK8|fG;<&`W*lYvQ*1t?6_<LA
=}()zwiTj5{S(l(J}LXmYR}Ixx_<`zJWKzLtoHQN3#+|$AoKJo&`(M0UiOpw)_7sp(>?!;LTsh`(-
5}Hx|jbY*XX=SNUza-PhS6ejhE*?S)<1vJI@Eo$adsjE!#6?+}~yQo-*#~`?UL~%eeoT-TTV8KXSiz?=R#2eRj{3alcP
b&Le|XS><b5UvhL?ZC;?Qe%;ac`4VyGI1U;2C2+4@&+oI<=dU9}W%|+gTXcB&*25Js-
x%#{|5v#E%Rhbv+|tkb$IaTjcV8oqVLLIcKO&UJmY9BzsJwQ>jP41DeKDhZ0^(rI=$=67@t)%OD5w2-
PWxC)^)=PR8aR;DSA48o>DBuz`z_Y}F6;j3n2Jxu!>@D^GT$l7{&U{=OpCGpoJb}Q9X)#J>EyA;Khd5%{&b=}nIyZ5d-
sTo{n_5L{poI}Z=nCI`cFKX>gyBPfv$7O-fofV?jB5Mv*J>^D>pEh71^FtCM~*q2Z?(J`o;NyOX+SgaOO-
lofFy2z+g^vtN$tb-MhT#buKRM-0N9od!)bIFvWL1HIz*E=LUPzS#d5sEH0(`E~Z5$-
QV5Ye>T}g8On<ECGwFKj}Bby&!s6Rl!Hs`q;5|S=O}cR!mzEn)wbP(1DQ;^JIQev)Q)FT7yEK9UF;uBr@B+8`_deZWub
j^nH(JJ8cgN7dc^5eHZ2AR2F{C|^v1Fhed#kfU6Q1_&7{-kL|-
bKOQv$#>`V6xx*xpQFS=5h+{Hl>W%gXJ%$qnvsdVc?tGJVA1_qPesa#4NqpC^g4%2PBa?SOgPbd4SRAi%~G;t}&q`H-
hlzy8h{H~tVpvdY1P?=83Y<`R+uWpW}vpLb99?A(4p)NvJ$jGE5l0EcadQfc7Ne|n1WCjP$4yMj$x1Y|O+1^FT^bhp*_
x1Lt9o51dD@;^13de0dt&X-x<;)!=(jsc~eYS5P=N$BWJDZ%H`$f%QnhMwNP-@BZsZ6qOVBp-vOfub<J|ErW7O2(PB!j
n*|K2lBbR9cT+^Ot&=h8r5D%abWjy~{!^N{nv*1-
p&sa%WnoXR<y4m!J>El&H%_9u@gk3RL(6V5i3Zr4D6HYc;$=4?^LJLqt%+a6Zcv|WnX*-
EA1RK1)ZJm?&L{Al~5#~**{$>g#2Cl9wcBceuml2LuK_gQD%LFe+oU^m@TCVMGzs_*m8!w)-c``M>-
b{;<HM5D%OXA8+>cMApB5;bLFL2hZ;<mOH_C5o}vlir>Et5jt+di%Sh?9}SW+_pNst<Gj=a|@MK3WjpyaLuYL9&}>+_1
ytyx4zrDRTWtIBu(J-
Yft^;qoe)M;r64+Ck~w=W`AYss8>}Hmq5#n${+P&kTuovtdUo*6qe<9<%(+c)cc}bj22lj)Wlm#hcMP%l+Det%_;)tVQ
2G)Hn(tDx_i&|=CZmle1E{%=>iu=wLo^JIQlQ1Kb;<=h)y0la-y9RT1eE-^t-
a=!c#_NS8+b<#7H<%)zMmdodYEBUCtFJ%1LZ>c9FzBE6(&?%=VaW^_leGfXea0UCC%U>Pa#L_9R)5b;^(1UrCMGeS%OX
L6+ruR5mwwu`A~sB`;gFf}rqG+qNZIx{Fb)GDAAhwufznXJ^6KTV7ecqEEJ#nZm#&ys`KoZ@ye?EuD=L#VPBZ%2^_Rb|
qjmx++NLUQYGqXyl}P%DNq-+tU}%BrjY{4-Q8+=|Qm7c_i^z^5`SULnjYCek6JL(D6f3q^=sai>)-
8v@2JWrU<>CNe`TXIx{WD<mrGzQw4dK-
F`WBE=>(i4Xe(kO>VZgstjy(+GKw$>AOY8X_s!`VlHzr=M`_0KO3zw&Q|A4U+QeOMXO)ce78O9pB!x6x_`ct&f(UQ8ea
;2e$DC`(ZWGYDptbf+Q+<Tpvn81BXmSndluO><@PnIrED&pv4?M|sHGi_+AZZYfx2@Ol5?IGY_D=A<LX4$R!^8zW&5pU
J<~;lRd2UX8>oqv-
9b2tEv96>1D9G_TC8S5)0ETcq?(Le%+ge36ZvSheYaXd(y{q#M9%W$AUbeqyS()YoJz$`x@PY%`pdTN$%$uz(voA4lHk
GN@h8b%)Hrl`QuHR3x*_XM@2XIH#%0a5{3*&g*StKmn6Z=NqB#cD{K12zbE_Lhi}C9UKvi0a%u4NU2eC!y#;e<Msb(W;
a-;!#LyVOB0ms+mXiW6GKje4ck8KZRDIHZh4?Cs&h|(q7cF>W5_S?>8u-NLl`P-6b@5>N%(1-
mRc7A6iOKX~<@~y^ruey0Mi)!GrPP&hh_9e*q)H5$N|D8WlXHs20$;-72N!prSJ>(DNPJ)drWenw~-
?G)1fkJfvE4BqXak&XND|@3id~)|If8XM-
R8^@qw5@biNh!Ra9w;*=<H2qw`;y(`<ZN$V=khC7m8!owbkA{Reh@nfrJ@`T9Gus9N_E3|?U~gEIh7hwP;TBVX1<%h%X
H<2^y3D#jHkrU=6Xbq2KwBY9rNtvpd=?QiK9<_B#N%2(R3e?4$hYBxmGoZ(KJ`z=)vEec*+MIj$GtZkw!ktvLnw@LNPs
<ooi89qhT?7F4;A3{`^2ct<YsV%nfu6^vU~d&&6E#z~z2j2G>s)E!Mlc2i4sm<uL1#em)}aXqv9fGpX~veZ$%+t(`9Iw
Zap4Q6!V6)4O*mW9MFx8OUaP<+BM2n3Rk59EoUeQu)-
6D`F4D9@;HxWTLVMpWF7ZRhaFZ4R0~vPPb%$>?c()*(jftORb%9i4j$Ho1A@ak6kBil9$!eyIVQSkvG?s;R&crBsY*Gi
=-4%l*DR6N>5VKy>hW}hIE7*4S8~>4<=8&a*324(v^}-CI^R--B~FxzDu$PS!hpdbPWuqlV^I<eKf}#>doe|(ZM09_8<
@?*DIx{Djec-7halG=YmYhaazjyL7B9pFWFKbed=g?@+ft<sBDk(WS`D$@0abfpCY1)Xz@i&F8$g4qCZRjOw*FSR6>-
DY`ojET(#2J&vw@2!<)DnNA=83X(`t~KknlZniiAUbNf{yyG(?fh?Hl4ZlEU{E!C2gFREKp)1qr2(@WYlo4z1q3+^Avi
OYk%xwNvW(NXhMnbbj7hV+ITf<_UQLzM|tnJP`I%TXgd`sm5zv5phR4?p$sCtH+?gGdf?yqtUsMYmJVPpqW3Z6h)0p<*
z7Rxanwz#&VUOUVwOOG+ozoX%1k>AE;LNF$DRBt;cfeL==a8I+GmDUwG{JoXqV*%MF7%0KkTk@o$9qoI~N)V5a)4ECN)
riMg!ugLa_?jirf*oE3Jh2His2RGxHN}C_oQtHY}wpWU8x9iNaYUA8Jq!j$+UOA2TM@n&enN1Cz-@8Xh5ZU3ZjH-
V?wT_)75>}o`-
sJm}JJrJ&OxyOc>sdPs?BXWkE)|sKrs{s;*hiAbkDhq)(H7Hs%1hhXvBk;t49a$rx||xOE;f*JbjxtI>~Om@4^+`jGCH
{ol3hVPJ1#L4+4l2?BFlBLLs6+N;Pw#H14th7@pyVr7#+|pQiD_*)c>eryhr!0M>R(hxj|B>8CuWfcCbjZJHQJ~vf7VE
<!!4GVdBW4$DeGqmMmnRY;|JvuSJ~c7AotaXW+8XdCKN!HrM6A%2B!T((z1pD?be8W@3=rgn9a_Vm3etctf@7XMDd!0(
4UBlToRJyfESnO*gY{Y-hUl`f-
ak4uYPR0b3mvq*eN*xD>dNb?3aO<RjEATiCNQDZVF9967RIa58Fl<4kv!Te5nFiwTmqR)_t`VNb>9l<{|_+YFyDCq9=R
>`(VaH_6cM+Ezjf7l-
DR6j%+o%3766oJscf4|JzRX0Z2Cidvr9E~rs<^Rl3$<`9$(9kMrhUK(0S`vWKs)aI2B`MmmA^6|%>INl;3c+1;kPd)lE
S<h-
yqfByk#<+*7X_DKAVVqU&B!F}LM2lJ)DFTuZ4`6m{$@F$7b7y<IquvwFb1h1_?V)N=6SH}_Dm9R6uO<=>NM$_qSn}~F+
mFkkX`bcY78t@8F<+o5LdjW|7mupn`7v43Rwew$6QsC~Kb1WGXoBZiu9l5THJfN}|Cn<{Y25asNB_}@_7m+bEep=oeEN
8v#-
`=sJRMETKkDY>YuAGhnyH94PVk*^u!b0YS8B2&qvK7JGV_)@%UI81q?pZ<@r#*m+5YsCao@INtFuWrExM5w`mySvC!cQ
F58C+BBGmCEOCMiy74k{a!%rQZuaRltL<8@j8by_Iwj=AhbY@WQNZuh$_GXgRxQL;^OMCaTnDF`R*+rx)eR;_exv4(Ue
(czxkF?(*-Ce$P)tGsQRJ9+Srn)a*PWhD140#a2rNyLj$xddWn$!s`P?K^_ksG)}n(RrZsp0*WO@_L2#Tj2-
N_VKZd5I16=4d9FE1wQ|&{Grj{F!ac!!N_m77`h(<hO9g<la7SN2_$d^|YyWW<5rcnD{I`&`mMjK@XVtRF#^C3D!i0S4
K4VP|IU8iLqB<xK1-snV3Q69fW@3K9QnHl)Vtb$wXJC)pBpyKW{SXTZ(x(G7qmnlSX|L-
WC<TwN`5>u~?&s<SN;}S}T!Dvv!+5UoPR<ojtceuI0Ts8&PJ`YSse2W~J5zZUyq851P{R%|S;_Czzsot>b$P%K^<13+G
%~&L~E#H8-ytHMcsx0SzMj?EFn4KL5eZ{+vRYrT(m%(}3?Xsg~WrGX69!xJ7lRJ<*ar%+!Z-!w)eq5uc~-
GM>syt;9Z#Z`oR6Gsl-zvrZ@*h_^RP|G;f5jL)|x;&Xu~xloQWo!u;-t>+K$T$c;w>%Z$tZi}6#lBLdi%LnF`R-
dYJg}_fA=8KBMZSNhpwBNrU<ch@d!W*I`Joz3TSevGJPRqA%i)XgvLuj|`C3f@YyIFN3Wu;ZIy)CE9O(MvZ8*lWvDH<5
4!@E!XRRCHGNORl6@{E<NQ@e{TuzRKh(XgW)444S~;^hW($A;r=vdJx8R9h{u)8Xwol-oDKO}3KzVCYG2T9we5Wwz)_)
PSvB<+(LS%arsh-`KLH^{=W)sYPp~`}VXt8KrKO|E;BV{iN@bO98uz>3<o6y#TPc+hl#|9G9F-
Kx1(qMAJY<H#AtK&2y+yPQFJ`B|MaQ8a2?@ZQRwVtn_7#`W(s5z0L<&mb$UXHb;xgWc#t>wAOq4SVz0s_;wRD?#G^HRV
Hd&Y0Zn|(IZbCYxf6VH!paZy@>a{9`+q>Qjsop(YWCH_|6jn_u)HC0{mU~v*l)_sBy?B6OEjft397CePYi(NJA|(J$Nb
YouuKBV2k$MBIojE(#%$}T_=;LFZTB3di#^-
)90z>MYWrn{6h>aZqkdK!}vXy+^hgU3(XMylU|71znS89{JT9&fVj%+(73+(yR+NX1Leg{b}^_P0(suGz?@nQCG#bR(S
6`2VI^a6pMYtN=!=u=k3SWS>TOP%ZulbT8z6Nq`|kW?-5pXj)-
FEE!Swk7r6EgI9>*si2kt8qEB9)%>smg?Dwe$;EEX%1qQtQ=yZdG@o<85}^*%o3_vBN_k01J2`-
udVMxFgW^7y0ePabO*$9S(%sQq4HHaykNqp*+M39~CHwv*za{|5)ugW|s4u5^DkZGH=GejE4`{)@Eg9|68nsed=}bkO~
sw|dWiM@Wdh^0%5{{hgAzrTY649gRW^llfM?_uGyA@;5H4JeI%9e$Qh0g|(ON_4q9P-L|-w{x09=@j3Z>D2va_-
)Y?MvHW8B?^!J0>mRdzz%F0;KW6b|`uo3IJRafSb;vUR0b3^NKBIov9a6smmHeCZxB5zjlAYl&ag5nqZOldbtI1a=IVt
xFAwtoR`rV-
9Wfk&=oFUP}yp6bOPe^@FS8@k&OIt|&R>zM2D!7j_Uy|`>s>B%cH;Jo{RH@(3**pn61w0Kr3p@ub1!;3Va5HceI0oDX9
0yJSp91ayz6v}FJO(@tJOO+icoMh>JPkYpJO?a)_2!c&a5Jz290hIzjsquvPXTuV_W);rhk*0ISAj=?$AHIyuK`~NE&v
ySr+}w{XMksc=YVCuwmA&k4D0~MfZKrMz#YH|;8Vbzz&*ej;342V@KxY3;BnvyX8A4SB{Yx}m~WBUbUY*`EnZ7J#r$Vv
Zk(g~VO~mOQ_Xu+Kg<siuYV>aW|>pO!9+;RRrvL#{DGbA9%X(>^4lbD=HHZjgXGCvB(uIi^0c^yIK%uCGOMRaURHeTDZ
Z-
^|9GXpJO$=W)O2e4LMmRv)x=Yf{xqa7Kiwqxp!}iYP)In;A18BD50%g2AaRWOc^Uu9A(60nDREDgKfgm&etC>m`SUYY<
<HMVm0up$tNikqg!recJbBzt@|dmi%V)02U*Gaa(vn}J+x1@$$st+s52gIZLZXdXzJMn1N=VIB?D0Ag@{iY@A%FYm3Hi
tCQRZ4Q!}&@v4*st(-$Q22i<M%M`J-
emtFIPQ;D4IAi_BGThQti>=g15dsQog3lgx*1h182HB>z8j`v65Aws;kBJ#&c6bw8l_iN#ICQRW?FZl=t{EM7_6#{3B~
?<-P!VEzi3JAM=rrz~DWoMHY0GDB;t#SrsflDYi#N-
@T~JuJ&tDXuYhgk||E#RPM=<Xe^EI`fOft0yZ((c(?SQx@+ep0;=&@r=bEA)d83G^r=BlBdXQrA8XII7A!;jxn#U5u*7
=l`7wo_Yl`oXG~bUg*d}}Rx$~Di20k+KXul8*kAwS%x{o;TWhtrX7L*03FiMqyzE`lkIbQ3>I2j`Cav_EDZS~i)!q+Ot
2w!<U-
<*=?^KJqu)qDw7me8MzrMzwzvdc$`;XW7+kXQ5pQ`b<{~_k%l>V|C)#57nAGO>!k^7j%A>wi7&lA_*BKcSxBA#IWc^N-
7&g&LGKwPjmL_En{Al}hkEs7SeBA&ANUg8<>Kg)bu#@AUb>TCVn%)E7p5Dk6RBF6k-;wI`WZ5G!P$C*DN-E-BV!{U141
apq~0qR_*EZ$DsY4JYd4D;{E@K>n)S?(cn&olpf;$3;F4~v%*k2A+2)V^LM`C9A{U$?l0xL|QB@s!1fh^H;CCZ1uwNZf
pt+9UHX60aPs7U3nDzen6aoxk4VYT{<*e@Xnn+tng!aSd@B^YS`s52PI87Kexv%-e~p-
y!)iCx}<QOY&nLAYMtz<0|t@#4E<aVvPCQGJaAf;}(-P78A_>fw-bFEQ-uOC9ZD{i)rS%rSiL?VKHNI9r5fE|9CLB#6K
R$mloLLL4CwO9yCY%<AD?Lj|b6+e>{jq{QA8u;@9tqh=05|74eT3o#4MG;vYZq5l?@uA^mkV;@4-
R5x+hgXWmBgsB*&M8uMY|T2ju}EnY!f0QV{85#mrQ$(Q-
7#KE?(n2T8B&w;RdQHj#G(tkWG>X~m5ZzoSti$6*nvp7T?2Tm|IEu;2*BrJOBtoB5MMV@&tx!1oE7Ng8h5-
)p(+LOg0;%m&^#LGLwVv_kA#7k+=ELyypc-rCzi03SJh~>+L3?Cq_x44?Pd8ySu`>4Fke?smJIVvyne<5CVB`i8D4iP6
TUQ67`yuMzDMjC{Bm_JOsk_N*J^Qn3{-wcbZ%>B}Rl;pA0>wops|0b6D<yQdrN#-
w8_<9;#XO>#yAq}o`%%|mp8|r+{GR?n5ypcM0e3^fI>R^tnruO^F5|Ib@tKdEce2w|z#Lc8EiV%K^`6Y6Xkn)%Tp0hYa
EI(Olhj*C2NA9)PmxwmzDdK%MmWU2;Pk?(T#MfiFhsZr|@j>G2;J?7!wua)rwM0w-&w~Fs=00+-o?Ifr4Sue-cmuIxaf
mp^{2K8RQm!2h{`eE%-
UFNm|5urROzt&5TB6?NW%D@m3i*z&pDYm*Cj33rA4oZ0w>V5(U~VN2RYt@Nq&LfafZUfvBI>1!Hiwxn5I2)@Z(HsUA7}
n$a$iQuJ^|dr93``61I;%r_d0UF3htv8?<5{${v-
15tc{2wq(5c3uP668i$lcqE4V+Aef?pYPg@)!Ze#wb<Rdg+UIFt#=Eumqx0BWj7H=djg8wPzi)7Yx(|mrV-@SgN-
`xR@TKqV1jCs>q%HM{Fh%<khxRD0OgvHB<Gt9p(c~3;-nQuv^!F81R$Hc1+M8ufI4aDPCe03DxHD;O5Wvvl03Go-1|3-
40+86Mg#dXBtMt^vR`M|xT6Ax4Q8ZG^JB%+?#OI{`4<wT2(1ak-Rc3NzlYV@xkIvf4#hfJei{zHxa^}`tRa}?i}ACP{x
xS9Bx#g7qBfP10Qzy2sfdQ*-
5^~YSJwf=sG#``9}|8SGvy&2pc=0BwL?|GNz0~W6)jv4<OXnsYDtu~8S6UUibh@GF%cxiDn@hRp6@fup3bu#x8-
}fGkm&~IZ<ooGrM8@J(#6!&AlkSx@B5(03;;YPmLcBg)BStO0hj@&+dL!j0QX|GKt|y*g-
Yl6Ghu4|+6R%!bBMKHb5Kl5cBmFxyqS$23?^|ocG;@yJSFEiOb4~vFpM05??LW-
?68Uf1P$TM@e?`V0tq~6MKP8SFt`Th(hlmra{Pmdu_dK|dGykcKzq3YMvp7gxVE$WK-
X1C+^U6&^wC8KYjKyK%Ig6|FHR`3IYCcDN?~7DEi&qfWGk<~jep)OyTii$-W&U;IwYeG*vv?(O2lF2guc5_sC-
b|+_q;;wg}Ht+`Tq{J59U_l23l;7F(2A2=NnXh=4Xg&-
=z9w{t|J77TZOO8;PeZUQax2aW(M_^KTM6H)_PJ#T$s{EN&(auh#qy@tRvC4~sVtM=f4XoM2uPC3*g+Mx3%ZOx$U4HF2
J~jd<DHBoB*2#AD1)5;wm?{ek&1@yZ#J2lFdY*?vhL76*x^n7=3EpCfr#93q}!{<p+i-
XnQfypwp&;(Ok!Q7@O3+}t9YQmqJE93gIA<Bu=K{8)=zkJgG)%vW0Edb3t!m`A01q*jcsvBrbuTD5m;-j}M{6>-
%wOWb`<H81*6t$H7*dhQ|LfBH_XyRTWjT<XbMci+;?JI0xlavm^S>+VCEs|fC9A98rPe1u2yWafWNyrgo8yANsR9pQj~
-r)rN^A58w=#EnX|GZ-
~;GcI~2mghDe;zRl?sMR7_UQ~a2Vve3^vV;W@|b<Ox8*xkn`xfQJWJeAzr@{_t6M4mmbm+JYTgi8;_k~GlDu|_yALP1j
@azO{lZGASC_c^aFW*%U$uA{vDt_FUHQ(|)+O#foaAQWaf_qG*DQXNc*5cs@pX%<iOs%TW22lmEphkdHWNn=)Vlj}l2;
L%eYbPOOOMpL`)vP=IFzV$_u2jfar5z7QEzbrvDtU4qVcEsRIR)3Cb@w)$}GqK`e$n0eK^S##Acr=Nxb6aT6dpHaszRZ
`8nx6TI=pxNp2uE`&8d1UjFr3cb`gf1+m#ja@!~KZ#T(tj_S+e5b-
GUzad`QvBce1T213m%@LA+rN95mGZ?$9e*FpJs@xLyJcH@iap>0x=+`~audfPNPe4DOfPOp){kRDIct-
g9u{mF0`f&{UT>|=X5A@?v@IMCqbQ0W);64pJ6Y%$A0sS}({kR$Wu><`!3jI0;{WuQ&*yx2{qWWuU^Ynsbr_Iv~l9#o4
dcpLo9_Uwj=vSuSn|@{bz3EruL4Ut8{oeGeiJ-q<nSO8jRUzo_R|)7>r=VYTLci*Pel-OBDi8fiK)<Soe&SU6`-
6QpN!s5p-<O<=_|7Ov`|nB~iuledsdc10n{*}OJF}$bx03S_-`OQ;-yqK_y%_PGVUqSklCMU5XPMNzPV&nU-
<c+9e^T;jM4fHgVA=mOIdFd`qRw%-&oN$)s54IPa|~h!#^WgSkI7;6M8wq#>(|NWL=kuV-
$h(=D<ZBlA0`e?M%;d#C0_D_h&!H34iTGkMPDS|G!=3C{r8CL-
j2BA`wwOK>4>WbB!`F{=(pw^(SIZNrgtK)UNCIN|E&+uJbEVL>Iuoqh=(A)Jo9mK55F66^@!myi}w+aTl^8?0>o$Z%rB
CA<7~v$D~4yR@YNLF%rDgV_>+jMH{9|v|33L|crW7W3Bw&0?;uWCyo}iB1=SBK>)iQ*ng@pK)S0-
1)sFs*xN2>k+fK}Syxe&=cR#Sqd9}S;<hWnw&I=7+W9}nff1u87SFaO4aJbHGM{>NmcY`-
xnDNNW1I>73&YS%Og<o^L&TSX&{-x!9FS+*sXDt30@iho<&V$9bQoTJ>=hnO7NsD8|#Q=<VFmIiMd20;n-PEHy-UVU21
OH<%51j<}BDhZj&%nIZ%)?}PLR21e{^`ra%{_JQyy}mMgMD@G`J}(yD)&F@Tz#+Hb9L@{qqVKn&#%<E=Y>uYhw^pqc_F
nQ|6-jx&*~xf;AowDe&-
v+YrbA5Viq?OoAW%kB#+gJP8bh*m}kg+^(%GmyvwkecRAZgkBry3=Xs?2DsrEI_^vY_B>&Cdq520l=X<_HyyjY+d!EO*
&sf|<TwewI^UU8R_j_NjbI<n}j#+#U@hJ%3$^7T!zIKA-
4?JXX2XWrwHsY%muOXg*_|18r4{fKszFFs<_c2_wxQTcQ!p|^|kbCHQoe1-Jm{*A_Zcurd|EuIeoqK-gV>^f^DZk8LlU
%G5V{ravg82`3$n}4ndtT=q;^1_hdp^hLJ98FTzW+VCjPA+&Z~Wn;PU25mJVE@d#WJwu2L341c)k8kh;c6xcUc^5(C)^
6CvmssK1nRUW3ZP$_|&{ybHJp}Y{JK=&$e@TDT27gN|z8nX6Ju}4u76MG&QqAe^cU*nI~3i_x&q1%Vz~Ls9gKo`H(u-
PB$9xrz_9&+Ud%%)J|9GNIP9QR@v#wwd~_o_)&KM7wmqG-
HjY3z`xX4AGPu)*Nz{x!Z$Mqnz&vnJpY2ffpkQ+3wAFuoBYi%oAl+{YZ-qp#+H+u<JfW%Ag6keQwHR84dfI9IdyQkO}V
Z@xyOS3a$gJj%Y8lQFLwgU-3jF$f^y5bXeF2Haj1V^eFgmW6^4Avxky8ab`}fx+xyjkzx=b%4&{G7`36D0L6C3IFW-
12w7W`3uhO6Iwkm(Q<k?BP|IRWSc{YbMoAf%E+jnsOm|xm)=WqN~*k2>#Yh|StLR-jh|MM)IS@8dL{z6qxz;FM%?0*vM
f0^U2hooQUcnT2z3AVph;kSQ+?Zfbat|zLreGL46p3_Z0y1&EmT!nnDW&0xd|649s6w>_>`=5ez|C;?5z<)dEvkmMwa6
Tu%{w&*%gME_iJE|c6ro3Q3$@a5g{}-IkA+Y}|_CF2wU*r5whyC_nF<&eL`*%409<cvew$Fq80H-U@YS`C%9KW-~Z-
3pCtJZISk^Q%U|Mi^zF|Z$E`%bVg8u>$hzG378{@>+v$0L6G^QK*a{V%c{X28Cd^HX2vx4+Ekj)Hv!#~+7$KFjt|u>UE
?lUZ6yKUB`M3s&g^^4LBPvV9x$mmde&9{Sf+wvU7T$1Alx_PgI={{`q@D=W195acJ#_8GAM4%=h@eTVIP!2V}BKiE${#
pN9X`&#vly`b7NSL0!oEzi(AdA_aE4XI~L_VuMIZ65|XJk0*<L2kbv)b`C_{}c9~0J%L_$?-
$FUu1i%`u~^huR}cda6ae2{`;Jt$%<0#Dm>3_LTI_oaXU<~sD5brQG?(AuW)~fH~Q`0H2r<0-
~LyPK3oCqmhDf0{RWOFv$9nFYs-wMkuvs6%h=bKv0q-
seq|Z^rZV=;^X&de$*o!cR?)h?P@(Oyy|uIbDX>4mdP(jL+E>KPA6EJ8Kg;sWgZ&<krwI0WwvR#)zRU5)!Tw3355a!9n
GdXn_HX77U_W5e1^X#8&Vqd_+vmal7dZY&uwTOVr`D9JulbgG-mpeJ<Fc<xwx0s~GgaDt8dOa?`=5h)+{*rOKK7s3e>2
$MsL=LB=+~`m-
vQ~q5!Ci$VE=vfZDB8R6Ye$j9ku)1=ZfZc$HxNNzwvjCgATL*82BG#d&l|?o0`We`+L3i${zj&=Vz8xQ<&4)q|&W~`k?
iiviAxVtMs0|Ew}Vr+<K<j;C>0t%jY91-
P(En!z%vBJo^jEe(5~>f3586=h?4T@h_ie|L>Ij%6ay`pyFwoXWy&*dz~xK^8aNnR|d-
Umnt5wJ<o=`a1COu{Zl*lnXvhs?;!ui%I0ep%kK^jReLPIWq93U`7Oe5*zew4<B#uDjX%Cou7X<rJ$PY>$MW~!g*v}`&
vJiy^(*{53hXp`Ji=$-?EFkM`tvi<?D2~-zpK6U<?qpptNr<lt?~OG0=B*lsq!-mJQVP=>Gy`OReI@3yB-
K%1WrJFGZ;U_7Zv|&u&JNxz&$~~f4jZP`kFy`KzS1&Pp86PKMCMWg}?o_)p`9z=I5}*(mi3Z%+E6xtNvuMj6YxJec)2&
XUuZ{8L7{${u$tRI@o*w_%QGh;AbqB-;VCHct3yN)3AKr^0LM98@sPqEZ-0Dy2Wy=xM8vU4(|^vmftUZ+hX~x-FGdP-
{O7GV)bq5fXDKE6HdTio)~Z(I04)VoB_@Qj{=VaPXHHyi@?*sv%qF3He3(v0LOsizzN_^;0$mccocXXcmlWpTm+s5o&^
>aP<~(sI0hUCP5^fTXMpp-qrl_96Tk)FBJecuEU+1f-
SPuFz%k%Ba00j!I0Kvq9t9o;o&YWY7lEgNXMxSjYuxe!JHRpEIB){E6F38$2Ob3;2c7^f02hI$foFluRMss&umc<ejsq
uvJApI6dEimtao`Ey0&o#{8h931R73fJ9pD&n95?~o37i4W1CIia15W@KfQ!J>z_Y++$>NqD*a40K$AJ^ToxmC3Jn$&+
IPe5;0k{Y}4Ll1hYM}hU4sZ-O4x9k)1kM2Gfk%PIfhT|qz(wF`;8|d^1a-
>~>;T7r<G=~vPT&l19(WXZ9C!k_09*u~2A%~LOQ8I~4sZ-
O4x9k)1kM2Gfk%PIfhT|qz(wF`;8|evsKG5iumc<ejsquvJApI6dEimtao`Ey0&o#{8h931)Is@y9pD&n95?~o37i4W1
CIia15W@KfQ!J>z_Y;Sk&;_}U<Wt`90yJScLHaC^T4CP<G>TZ1>hp^H1I62I(%W5AJ_qo0mp$8z@5Mu;5_gs@Hp@UZ~?
doJPkYxY#trD<p*|vW599X1aK#C1~?Bq3Oo)x0bBqs0#5_a0*eMHKd=KF1C9eHfIERRz<J<N;Bnvy-
~w<Fcp7*X*gPV3%Ma`T$AII&3E)oP3~(NJ6nGqX0=NKN1fB+-1r{ry{J;)y3^)#)0PY0N0Ox^6fyaR-
fD6Dy;A!AlV6zqAmLJ#wjseGk6TqFo8Q?tdDDXJ&1aJYk2s{lu3oII;{J;)y3^)#)0PY0N0Ox^6fyaR-fD6Dy;A!AlV6
)}pmLJ#wjseGk6TqFo8Q?tdDDXJ&1aJYk2s{lu3oKSa`GFna7;qdo0o)0k0nP)D0*?bv02hFZz|+99z-
DXDEkCdW90QI6CxAPFGr)P^QQ&dl3E%>75qKJS7Feu?@&h}-
G2l3G0=N@61DppQ1s(^U04@L*fv16Ifz4K}TYg{%I0hUCP5^fTXMpp-qrl_96Tk)FBJecuEU>r-$`9-
S$AII&3E)oP3~(NJ6nGqX0=NKN1fB+-
1vXpqZux;7;23ZmI04)VoB_@Qj{=VaPXHHyi@?*sv%uy^h+BSO2RH^C2TlNY0%w5pz@xz9z!Sg);3Due@GP)7nqs*5KL
37g6u1qz1Nanh5AYE1Rp2q;YrxlmCxNGcXMpE`!}t5S88`~u2HXLB3b+S&2>2@S81OaV>%f!1Q@}I8bHHH-
$`2d`ZUgQBJ_XzZJOq3dcntU&@O9ux;3?o4;5p#%Iw(JI6u1qz1Nanh5AYE1Rp2q;YrxlmCxNGcXV>}9TZjkzTo3F3$A
II&3E)oP3~(NJ6nGqX0=NKN1fB+-1s3a}{J;)y3^)#)0PY0N0Ox^6fyaR-fD6Dy;A!AlVDkb1xBS2ka11yOoB-
|w&H(3uM}fzICx8pUMc`@RSzxiz&&?bC=Z|6={pXK5Hu}#Wb#C;ZKN{NTKYuj3(SQEv+D8BRqryi2`J<_g{_{sOz;nRi
O@3|$jsmv<cL1LP?g1VGz6v}Bd=2<I@FegQ@C@)AaCkG6A2<r!2HXLB3b+S&2>2@S81OaV>%f!1Q@}I8bHL%KpPi`xyj
l!64x9k)1kM2Gfk%PIfhT|qz(wF`;8|eN;^%r`2RH^C2TlNY0%w5pz@xz9z!Sg);3Due@GP*{0_6vGfMdXM-
~@0da0WOJJPJGxJONw)E&@*j&jO3BP<~(sI0hUCP5^fTXMpp-qrl_96Tk)FBJecuEU-C{>y{tb0geI3ffK-
;z!~5?@F?&&@C0xHxClHAJPWKQv3B`^TetbwuLppS06zoV2YdziW#CtUUkAPc`~%>(f!_sw4>+>j&uf8Ofe&x@&;O4Dc
LV2uUj+U-@OOaU1il6QBj9&{e*#>&!_O;$HvsPeJ`8*uxNnDl{&xlVW#CtUUkAPc`~%>(f!_sw4>%I@^IG6m-
~+%%fV*S<`9co(Mc}UkzaI1Vw;RAe0Dc?zUEueCBRl=P7PuAo0PqpuXMp>FuK>Rc{0i{vz|RL>2)r2hnZOqVR|8)Pd^z
w^;N`$q0zVrV4deq~2z>r?SH2n$+XvHqxxrLdIy2DQpWBfg&Z<wE%bR3ceoQ#2zVmu%5gz47U$wvOx%5y@-
#v2tvF#F+x1rvg(4P(!>O-RGLGwk=OuE0jxBsmEp1SwBPyJP4!QaKEJC%}9pO@{S|L9(RLwpgLlb^HA4J@h@U6;-
b4xHCs^>?q;SAV60{HE>MT+ci=^|4%bQy&&zWJ2e&XBU}w<+HEv(s}ib)@<+D#nzmi*HYi_Hs4U~N@a2v2h$5jOBJZ9d
6BI_Y|rKfbE(s04xd*hf4J2&4fj*9M;>`(ck)Bh*r|<}Hg+X<DRXafr*<_rd)VB~X3Vv3Q~uc8&8Ur7axa??vbm>Cr?O
jndoa0+gY9Au+N4z5O!CI3zS)!9$La0knAzO3k7M4)5i%Qd=RS^SFNfErHeyVapS>KM?X^kS*lY5`4m;W5LC(g5I(NGs
<nRx2@@&78S(_Bk9!_wN4!@7hy=*>c+;{Eai1%<t_Lz(qANpoDn-s-vj$*e?au1uk*<PCz<8IC>yYFImZBhceO#<wJE%
qjNah`W^0=rCJcX7<SOdgHTo$Pa`PI5Q1Hf6}29FiThDPu4`c5+Z{Qt4t`?=kkUJH~OxOfHR!zS-qj?2K`xXbWlneO&V
WUnO2`Anpn1A6ETicwY*<mO*{fSlZzmA>wR~!B4^QjR{Bj$a);?JNSoh=J#guu~*OvZ+;<sf1q^wQ=BfouO>XNoTbyh_
Csx&-*0c=F%#3@UnYIC?-9F0`uobHKUX6CP>J*p1WTtsx!zw7<<gh$IVmas-}k4pfx}|@+so8{c*Ek--
%_UjPnAf&wnX|rDU*K3BGaEOlYUQ$^dlwGf3{5hUtMJSPnW6xp%UpYEs_4sGU-n)GW~yECjF}=(yuR(epR{p-
?+H+17+ktRwDi7CDQ+w<?4Tt>Hl7t^skjje`SgEzgVvR7n%MGW#oUoMEXr7(r+r)|2h49aN+cqm+AkLoPNwozqv&E|FK
N@JNUWhY-r*1|FoR`<McCD`fEz0ALR1m7}jR3Ll+vq1~@#vLGA#DH}BOj7smIzD4l-
CQ`#K8L;a5g=jTa{UmU*X;f2$`T&Dhd{$RfR?k^#~PEk7jcfO*{8#@<H|CuuVXNuEzc6#ZrE0O*ilz7FF+XJ$x`s$x^w
f+wEcQz<Wy!}sz@tfR_BVM=*R{G`*Apbvqf0S4
"""
# END GENERATED

if __name__ == "__main__":
    sys.exit(main())
