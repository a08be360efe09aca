#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""membench: what a memcached server really does.

Records live memcached traffic at the sockets with eBPF, or as packets where eBPF does not
work, keeps no value, and no key unless asked, writes a small profile, and analyzes, compares
and replays it. One file: copy it to a server and run it there. It needs Python 3.9; eBPF needs
Linux 5.8 with BTF and the system's libbpf; packets and capture files need the system's libpcap.

    sudo python3 membench.py record            # until Ctrl-C
    python3 membench.py analyze FILE.profile

How the data flows, which is also the order of this file:

    source --Segment--> connection --bytes | gap--> parsers --Request, Response-->
        matching --operation--> ProfileWriter ==FILE==> ProfileReader --> analysis, exports, replay

    constants, errors     what can go wrong, in one line each
    terminal              messages, the live line
    system calls          thin wrappers, under the kernel's names
    records               the vocabulary: segments, requests, operations
    libbpf, libpcap       the C libraries, through ctypes
    sources               eBPF, live packets, capture files
    protocol              sans-IO parsers of requests and responses
    matching              which response belongs to which request
    connections           where messages begin in the bytes of each connection
    profile               the file format, its writer and its reader
    analysis              operations in, report out
    insight               why keys are missed, and what memory is spent on
    miss ratio curve      what caches of other sizes would miss
    reports               what people read: profiles, two profiles compared
    exports               operations in formats that other tools read
    replay                what to send when, the engine that does, workers and results
    recording             record and check, and what runs on this machine
    command line          options, and main()
    generated             the compiled kernel programs (make rebuild-bpf)

What it costs: a few hundred nanoseconds in the server's thread for each read and
each write on a watched socket, and a few microseconds of another CPU for each
operation. docs/performance.md has the measurements.

What it cannot see: UDP, which is only counted; inside TLS; and what a server moves by calls
that name no memory (io_uring, splice), which is counted as lost.
"""

import _signal  # type: ignore[import-not-found]  # built in, as sys is; signal is not
import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        # Python imports from the script's folder first: whoever may write there, as anybody may in
        # /tmp, could have their code run as root. This must come before any import of what is not
        # built in; so nothing is imported from __future__.
        del sys.path[0]
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until main() runs, Ctrl-C ends it without a traceback.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import argparse
import base64
import bisect
import contextlib
import ctypes
import errno
import functools
import gc
import heapq
import json
import math
import mmap
import operator
import os
import platform
import re
import select
import signal
import socket
import stat
import struct
import textwrap
import time
import warnings
import zlib
from array import array
from collections import Counter, defaultdict, deque
from itertools import accumulate, chain, compress, groupby, islice, repeat, starmap, takewhile
from typing import (
    Any,
    BinaryIO,
    Callable,
    Deque,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    NoReturn,
    Optional,
    Protocol,
    Sequence,
    Set,
    Tuple,
    Type,
    TypeVar,
    Union,
)

try:
    import pwd
    import resource
except ImportError:  # on Windows, where profiles can still be read
    pwd = resource = None  # type: ignore[assignment]

VERSION = "0.2.0"
# The command's name in messages: pip installs it without the suffix; texts here have it with it.
PROGRAM = "membench" if os.path.basename(sys.argv[0]) == "membench" else "membench.py"

# ==== Constants and errors ============================================================

DEFAULT_PORT = 11211
NS_PER_SECOND = 1_000_000_000
TICK_NS = 100  # the profile's unit of time
TICKS_PER_SECOND = NS_PER_SECOND // TICK_NS

KEY_MAX = 250  # memcached's limit for a key
LINE_MAX = 1 << 20  # a longer command line is not followed; bounds memory per connection
VALUE_MAX = (1 << 31) - 3  # memcached's own limit for the length on a command line
PENDING_MAX = 65536  # requests without an answer on one connection
PENDING_BYTES = 384  # what one of them takes, at most and roughly
NO_SIZE = 0xFFFFFFFF  # the value size of an operation that moved no value


class MembenchError(Exception):
    """What went wrong, and in `hint` what to do about it. Ends the program."""

    status = 1  # the program's exit status

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(MembenchError):
    """The command line cannot be understood."""

    status = 2


class NothingRecorded(MembenchError):
    """A recording is over, and there was nothing in it."""

    status = 4


class SourceError(MembenchError):
    """A source cannot be used on this machine."""


def memory_error() -> SourceError:
    """The error for too little memory, which names the limit if there is one."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    if limit < 0 or limit == resource.RLIM_INFINITY:
        return SourceError("there is not enough memory", "free some, or use a smaller --ring-size")
    return SourceError(
        f"the limit of {limit >> 10:,} KiB of memory (RLIMIT_AS) is too low",
        "raise it: ulimit -v unlimited",
    )


class ProfileError(MembenchError):
    """A file is not a profile, or cannot be written."""


class DamagedError(ValueError):
    """A block's checksum is valid, its contents are not."""


class ProtocolError(Exception):
    """Bytes that are not memcached's protocol. Its connection is no longer synchronized."""


# ==== Terminal ========================================================================


def printable(text: str) -> str:
    """Text from elsewhere, with control characters replaced."""
    return "".join(c if c.isprintable() else "?" for c in text)


def escaped(name: bytes) -> str:
    """A key, or a part of one, as text: what is not printable as \\x00, and \\\\ for \\."""
    text = name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def name_of(path: str) -> str:
    """An input file as messages and reports name it."""
    return "stdin" if path == "-" else printable(path)


def columns_of(stream: Any) -> int:
    """The width of the terminal that this stream goes to; 0 if it is not a terminal."""
    try:
        if stream is None or not stream.isatty():
            return 0
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):  # closed, or of another kind
        return 0


def print_result(text: str, paint: Optional[Callable[[str], str]] = None) -> None:
    """Print to stdout at once, so that a failure is noticed here and not at the exit.

    paint: colors a line, if stdout is a terminal that shows color, and NO_COLOR is unset.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        # Names in it come from elsewhere, so control characters are stripped.
        clean = "\n".join(map(printable, text.split("\n")))
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        if paint and not plain and columns_of(sys.stdout):
            clean = "\n".join(map(paint, clean.split("\n")))
        encoding = sys.stdout.encoding or "ascii"
        print(clean.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError as error:
        if sys.stdout:  # or the interpreter would try, and complain, once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if error.errno == errno.EPIPE:  # the reader has seen enough, as `head` has
            raise SystemExit(1) from None
        raise MembenchError(
            f"cannot write the result: {error.strerror}", "redirect it elsewhere"
        ) from None


def say(text: str) -> None:
    """A line for the user. Results go to stdout, everything else here."""
    text = f"membench: {printable(text)}".replace("membench.py ", PROGRAM + " ")
    columns = columns_of(sys.stderr)
    if len(text) >= columns > 0:
        text = textwrap.fill(
            text,
            columns - 1,
            subsequent_indent="    ",
            break_long_words=False,  # paths are there to be copied
            break_on_hyphens=False,
        )
    write_stderr(text + "\n")


def write_stderr(text: str) -> None:
    """Write a message. A terminal that is gone does not end a recording."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


class LiveLine:
    """A line on stderr that is rewritten again and again, if stderr is a terminal."""

    INTERVAL = 1.0  # seconds
    SPARE_COLUMNS = 3  # for the cursor, and for the ^C that the terminal shows

    def __init__(self, quiet: bool) -> None:
        self.is_on = columns_of(sys.stderr) > 0 and not quiet

    def show(self, fields: Sequence[str]) -> None:
        """Show the fields, two spaces apart; those that do not fit are left out.

        The most important ones come first.
        """
        if self.is_on:
            columns = columns_of(sys.stderr) - self.SPARE_COLUMNS
            ends = accumulate(len(field) + 2 for field in fields)
            shown = [field for field, end in zip(fields, ends) if end - 2 <= columns]
            write_stderr("\r" + "  ".join(shown) + "\x1b[K")

    def clear(self) -> None:
        """Make room for another line."""
        if self.is_on:
            write_stderr("\r\x1b[K")


# ==== System calls ====================================================================


def call_libc(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns 0. Raises OSError if it does not."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def prctl(option: int, argument: int) -> None:
    """Change something about this process; see prctl(2)."""
    call_libc("prctl", option, *map(ctypes.c_ulong, (argument, 0, 0, 0)))


CAPABILITY_HEADER = struct.pack("=Ii", 0x20080522, 0)  # version 3, of this process


def capget() -> int:
    """This process's effective capabilities, a bit for each; see capget(2)."""
    found = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; twice
    call_libc("capget", CAPABILITY_HEADER, found)
    low, _, _, high, _, _ = struct.unpack("=6I", found)
    return int(high << 32 | low)


def capset(capabilities: bytes) -> None:
    """Set this process's capabilities; see capset(2)."""
    call_libc("capset", CAPABILITY_HEADER, capabilities)


# ==== Records =========================================================================

# What a source delivers: a piece of one direction of one connection.
RECV, SEND, OPEN, CLOSE, CHAIN_BEGIN, CHAIN_END, EXCHANGE = range(7)
SERVED = 4  # profile only: the server of a connection became known

# (kind, time_ns, sock, offset, length, data, mark)
#   kind       RECV, SEND; OPEN, CLOSE: the connection began or ended
#   time_ns    CLOCK_MONOTONIC
#   sock       whose bytes, packed as in SOCK; usually it is only looked up
#   offset     TCP sequence number of the first byte (modulo 2**32)
#   length     bytes of the stream that this segment stands for; length - len(data) of
#              them are missing
#   mark       RECV: the next byte to be sent (of packets: to be received by the client), if
#              the source knows it, or -1; missing bytes are the last ones. SEND: bytes missing
#              here stand before data[mark], or at the end if it is -1; if none are, it may be the
#              next byte to be received
#   CHAIN_BEGIN, CHAIN_END: between them requests and replies come as EXCHANGE, paired by the
#   kernel. offset is the next byte to be received, mark the next byte to be sent
#   EXCHANGE: data is a run of struct Exchange, of any connections, each behind a ring header
#   OPEN, CLOSE: offset is the next byte to be received, -1 if the source cannot tell; length
#   the next byte to be sent; data is a struct Endpoints, or empty. CLOSE comes early if the
#   peer reset the connection: bytes that had arrived may still be read.
# A plain tuple: there is one for each read and write of the server, and an object of a
# class costs more to make than its bytes cost to parse.
Segment = Tuple[int, int, bytes, int, int, bytes, int]

# sock_id, which stays the same while a connection lives; the process that moved the bytes, 0
# if the source does not know it; the client's port; the server's port.
SOCK = struct.Struct("<QIHH")
SOCK_ID_BYTES = 8


def is_reusable(sock: bytes) -> bool:
    """May another socket get this identifier later? It is then an address in the kernel."""
    return sock[SOCK_ID_BYTES - 1] > 127


class ServerName(NamedTuple):
    """A server that connections belong to; what is not known is "" or 0."""

    address: str  # where it listens: 127.0.0.1:11211, *:11211, [::1]:11211, unix:/path
    process: str
    pid: int


# What one request did to one key, or to none. The profile's outcomes; the numbers are
# stored in files.
NONE, HIT, MISS, STORED, NOT_STORED, EXISTS, NOT_FOUND, DELETED, TOUCHED, OK = range(10)
ERROR, CLIENT_ERROR, SERVER_ERROR, UNANSWERED, LOST = range(10, 15)
OUTCOMES = (
    "none",  # no reply was asked for, or replies were not recorded
    *("hit", "miss", "stored", "not_stored", "exists", "not_found", "deleted", "touched", "ok"),
    *("error", "client_error", "server_error"),
    "unanswered",  # the connection or the recording ended first
    "lost",  # the reply was in bytes that membench did not see
)

# How a request is answered.
REPLY_LINE, REPLY_VALUES, REPLY_META, REPLY_STREAM, REPLY_FOREVER = range(5)
REPLY_BINARY, REPLY_NONE = 5, 6


# A whole reply: its length; what stands before and behind the value; a Segment's data and mark if
# the value is left out; outcome, size of the value or -1.
WholeReply = Tuple[int, bytes, bytes, bytes, int, int, int]
NO_REPLY: WholeReply = (-1, b"", b"", b"", -1, NONE, -1)


class Request:
    """One request as it was read. Immutable, because equal lines share one.

    form is the command with those arguments that a replay needs and that are neither
    key nor size nor exptime: b"set 32 noreply", b"mg v t q", b"incr 1".
    """

    # A plain class, since reading the fields of a NamedTuple takes ten times as long.
    __slots__ = (
        *("form", "reply", "outcomes", "keys", "value_size", "exptime", "quiet", "opaque"),
        *("plain", "codes", "latest"),
    )

    def __init__(
        self,
        form: bytes,
        reply: int,
        outcomes: Dict[bytes, int],
        keys: Tuple[bytes, ...] = (),
        value_size: int = NO_SIZE,
        exptime: int = 0,
        *,
        quiet: bool = False,
        opaque: bytes = b"",
    ) -> None:
        self.form = form
        self.reply = reply  # REPLY_LINE, …
        # First word of a reply -> outcome. A quiet request gets no reply for the first of them.
        self.outcomes = outcomes
        self.keys = keys
        self.value_size = value_size  # bytes; of a storage command, else NO_SIZE
        self.exptime = exptime  # as sent
        self.plain = not quiet and reply <= REPLY_META  # the next reply is its; one line ends it
        self.quiet = quiet  # meta q flag, quiet opcodes: the usual reply is left out
        self.opaque = opaque  # meta: with its O; binary: behind the opcode
        # What is remembered for the next equal request:
        self.codes: Tuple[int, ...] = ()  # of the keys, once a Matcher has found them
        self.latest = NO_REPLY  # the same reply is likely; see PendingRequests.answer_first

    @property
    def command(self) -> bytes:
        """The first word of the form."""
        return self.form.split(b" ", 1)[0]


# One line, or one value, of a reply: (first word, all words, value size or -1). Of the binary
# protocol: (magic, opcode and status; [opcode and opaque, key, number, cas]; value size).
Response = Tuple[bytes, List[bytes], int]

# What goes into the profile, a row for each key of a request (one row if it has none):
# (time_ns, latency_ns or 0, connection, form, outcome, batch_position, key_position,
#  key code or 0, value_size or NO_SIZE, exptime). The latency stands in the first row of a request.
Operation = Tuple[int, int, int, bytes, int, int, int, int, int, int]
OPERATION_FIELDS = 10
Columns = Sequence[Sequence[Any]]  # of operations: one for each field; in arrays, whole ticks


class Ledger:
    """Where the bytes went: every byte is understood, or reported as lost."""

    def __init__(self) -> None:
        self.seen_bytes = 0  # what segments stand for, and gaps between them
        self.lost_bytes = 0  # gaps outside of values, and all until it is synchronized again
        self.desyncs = 0  # times that a connection lost its synchronization
        self.unmatched_responses = 0
        self.refused_connections = 0  # the server had as many as its -c allows
        self.tls_connections = 0
        self.tls_bytes = 0  # a part of lost_bytes
        self.joined_bytes = 0  # another: before connections joined mid-stream were synchronized
        self.kernel: Dict[str, int] = {}  # counted by the source; see Source.counters

    @property
    def understood_bytes(self) -> int:
        """Parsed, or passed over as part of a value."""
        return self.seen_bytes - self.lost_bytes

    def report(self, final: bool = True) -> Dict[str, Any]:
        """The ledger as the profile and `analyze --json` hold it.

        final: the ring is empty, so bytes that the kernel counted and no segment reported are
        lost. Until then, only those that found no room on the ring are.
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
            "exchanges": self.kernel.get("exchanges", 0),
            "unmatched_responses": self.unmatched_responses,
            "refused_connections": self.refused_connections,
            "resyncs": self.desyncs,
            "coverage": self.understood_bytes / seen if seen else 1.0,
            "tls_connections": self.tls_connections,
            "tls_bytes": self.tls_bytes,
            "joined_bytes": self.joined_bytes,
            "udp_datagrams": self.kernel.get("udp_datagrams", 0),
            "udp_bytes": self.kernel.get("udp_bytes", 0),
            "kernel": self.kernel,
        }


# ==== libbpf ==========================================================================


def _handle(name: str) -> Any:
    """A pointer to a structure of its own type, so that one cannot be passed for another."""
    return ctypes.POINTER(type(name, (ctypes.Structure,), {}))


_ObjectP, _ProgramP, _MapP = map(_handle, ("_Object", "_Program", "_Map"))
_LinkP, _RingP = map(_handle, ("_Link", "_Ring"))


class _OpenOptions(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("object_name", ctypes.c_char_p)]


_PrintFunction = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
SampleFunction = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
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

    @property
    def version(self) -> str:
        """The version of libbpf; old ones do not give it."""
        with contextlib.suppress(AttributeError):
            tell = self._c.libbpf_version_string
            tell.restype = ctypes.c_char_p
            return str(tell().decode())[1:]
        return "older than 0.6"

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
        c_int, u32, size_t, flag = ctypes.c_int, ctypes.c_uint32, ctypes.c_size_t, ctypes.c_bool
        text, pointer, options = ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(_OpenOptions)
        bind = self._function
        self.set_print = bind("libbpf_set_print", [_PrintFunction], pointer)
        self.possible_cpus = bind("libbpf_num_possible_cpus", [], c_int)
        self.object_open = bind("bpf_object__open_mem", [pointer, size_t, options], _ObjectP)
        self.object_load = bind("bpf_object__load", [_ObjectP], c_int)
        self.object_close = bind("bpf_object__close", [_ObjectP], None)
        self.find_program = bind("bpf_object__find_program_by_name", [_ObjectP, text], _ProgramP)
        self.find_map = bind("bpf_object__find_map_by_name", [_ObjectP, text], _MapP)
        self.set_autoload = bind("bpf_program__set_autoload", [_ProgramP, flag], c_int)
        self.attach = bind("bpf_program__attach", [_ProgramP], _LinkP)
        attach_tracepoint = "bpf_program__attach_tracepoint"
        self.attach_tracepoint = bind(attach_tracepoint, [_ProgramP, text, text], _LinkP)
        self.link_fd = bind("bpf_link__fd", [_LinkP], c_int)
        self.iter_create = bind("bpf_iter_create", [c_int], c_int)
        self.link_destroy = bind("bpf_link__destroy", [_LinkP], c_int)
        self.map_fd = bind("bpf_map__fd", [_MapP], c_int)
        self.map_update = bind(
            "bpf_map_update_elem", [c_int, pointer, pointer, ctypes.c_uint64], c_int
        )
        self.map_set_size = bind("bpf_map__set_max_entries", [_MapP, u32], c_int)
        self.map_set_value = bind("bpf_map__set_initial_value", [_MapP, pointer, size_t], c_int)
        ring_arguments = [c_int, SampleFunction, pointer, pointer]
        self.ring_new = bind("ring_buffer__new", ring_arguments, _RingP)
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
            raise LibbpfError(function.__name__, -result)
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

    # The object's name begins those of its .rodata and .data maps, in every version of libbpf.
    NAME = b"membench"

    def __init__(self, libbpf: Libbpf, image: bytes) -> None:
        self._libbpf = libbpf
        self._links: List[Any] = []
        self._image = ctypes.create_string_buffer(image, len(image))
        options = _OpenOptions(ctypes.sizeof(_OpenOptions), self.NAME)
        self._object = libbpf.object_open(self._image, len(image), ctypes.byref(options))

    def __enter__(self) -> "BpfObject":
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

    def attach(self, name: str, tracepoint: str) -> None:
        """Attach where the program's section says, or to this tracepoint of a system call."""
        program = self._libbpf.find_program(self._object, name.encode())
        if tracepoint:
            link = self._libbpf.attach_tracepoint(program, b"syscalls", tracepoint.encode())
        else:
            link = self._libbpf.attach(program)
        self._links.append(link)

    def iterator(self, name: str) -> int:
        """A file whose reading runs the program, once for each of what it iterates over."""
        self.attach(name, "")
        return int(self._libbpf.iter_create(self._libbpf.link_fd(self._links[-1])))

    def update(self, map_name: str, key: bytes, value: bytes) -> None:
        """Set one element of a map."""
        self._libbpf.map_update(self.map_fd(map_name), key, value, 0)

    def detach(self) -> None:
        """Stop the programs. What is on the ring can still be read."""
        for link in reversed(self._links):
            with contextlib.suppress(LibbpfError):
                self._libbpf.link_destroy(link)
        self._links.clear()

    def map_fd(self, name: str) -> int:
        found = self._libbpf.find_map(self._object, name.encode())
        return int(self._libbpf.map_fd(found))

    def map_memory(self, name: str, size: int) -> mmap.mmap:
        """The memory of a mappable array, which is read without another system call."""
        try:
            return mmap.mmap(self.map_fd(name), size, mmap.MAP_SHARED, mmap.PROT_READ)
        except OSError as error:
            raise LibbpfError("mmap", error.errno or errno.EINVAL) from None


# ---- The ring buffer ----


def common_length(first: bytes, second: bytes) -> int:
    """The length of the common beginning of two byte strings of equal length."""
    if first == second:
        return len(first)
    low, high = 0, len(first)  # equal up to low, not up to high
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


# Before each record on the ring: its size, with these flags, and four more bytes.
RECORD_HEADER_BYTES = 8
RECORD_BUSY, RECORD_DISCARDED = 1 << 31, 1 << 30
RECORD_SIZE = RECORD_DISCARDED - 1


class RingBuffer:
    """A BPF ring buffer as batches of records. A context manager.

    libbpf calls back for each record, which costs more than to take the record apart. So the
    first call takes all that is there: the ring is mapped twice in a row, so what follows the
    record follows it in memory as well. This needs a machine that does not reorder loads, or
    data could be older than the position that announces it; on others, each record is taken
    when libbpf, which orders its loads, calls back for it.
    """

    ORDERED = platform.machine() in ("x86_64", "AMD64")
    BATCH_BYTES = 1 << 20  # no more at once, so that a fast server cannot keep us here

    def __init__(self, libbpf: Libbpf, map_fd: int) -> None:
        self._libbpf = libbpf
        self._batch = bytearray()
        self._before = 0
        self._error: Optional[BaseException] = None
        self._callback = SampleFunction(self._on_record)  # libbpf keeps only the pointer
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

    def __enter__(self) -> "RingBuffer":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _on_record(self, _context: int, data: int, size: int) -> int:
        # Called from C: an exception would be swallowed, so it waits in _error. No more
        # is done here than must be; the records are parsed where errors can be seen.
        begin = data - RECORD_HEADER_BYTES
        try:
            if self.ORDERED:
                self._before = self._consumer[0]
                size = min(self._producer[0] - self._before, self.BATCH_BYTES)
                # A copy is not made in order, so its headers can be newer than its data. A
                # second one is newer than all headers of the first.
                first = ctypes.string_at(begin, size)
                second = ctypes.string_at(begin, size)
                self._batch += second[: common_length(first, second)]
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
        wait = functools.partial(self._libbpf.ring_poll, self._ring, timeout_ms)
        # What was submitted without a wake-up is there, but poll does not see it.
        look = functools.partial(self._libbpf.ring_consume, self._ring)
        for take_records in (wait, look):
            if not self._batch and not self._error:
                try:
                    take_records()
                except LibbpfError as error:
                    # ECANCELED is our own callback's; EINTR is a signal, which Python handles.
                    if error.errno not in (errno.ECANCELED, errno.EINTR):
                        raise
        if self._error:
            stored, self._error = self._error, None
            raise stored
        batch = bytes(self._batch)
        self._batch.clear()
        return batch

    def take(self, used: int) -> None:
        """Free the first `used` bytes of what was read last, for the kernel to reuse."""
        if self.ORDERED and used:
            self._consumer[0] = self._before + used


# ==== libpcap =========================================================================
#
# Live packets and capture files, as records of one format.
#
# libpcap's own pcap_dump() is the callback of pcap_dispatch(), and writes into memory. So no
# Python runs for a packet before many are there (0.6 us a packet instead of 2.2), and whatever
# a file's format and byte order are, what comes out is CAPTURED, then the bytes.

CAPTURED = struct.Struct("=IIII")  # seconds and nanoseconds (Unix time), captured and wire length
PACKETS_AT_ONCE = 256  # that are read and parsed while they are in the processor's cache
PCAP_ERRBUF_SIZE = 256
PCAP_TSTAMP_PRECISION_NANO = 1
PCAP_NETMASK_UNKNOWN = -1
IONBF = 2  # of setvbuf()


_PcapP, _FileP = map(_handle, ("_Pcap", "_File"))  # pcap_dumper_t is a FILE


class LibpcapError(Exception):
    """A libpcap call failed, and this is what libpcap says about it."""

    def __init__(self, said: bytes) -> None:
        super().__init__(printable(said.decode(errors="replace")))


def load_libpcap() -> Tuple[ctypes.CDLL, ctypes.CDLL]:
    """libpcap, 1.5 or later, and the C library. Raises SourceError."""
    for name in ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so", "libpcap.dylib"):
        with contextlib.suppress(OSError):
            pcap, libc = ctypes.CDLL(name), ctypes.CDLL(None)
            pcap.pcap_create.restype = _PcapP  # all that is not here returns an int, or nothing
            pcap.pcap_fopen_offline_with_tstamp_precision.restype = _PcapP
            pcap.pcap_geterr.restype = pcap.pcap_statustostr.restype = ctypes.c_char_p
            pcap.pcap_dump_fopen.restype = _FileP
            libc.fdopen.restype = libc.open_memstream.restype = _FileP
            return pcap, libc
    raise SourceError(
        "packets and capture files need libpcap, which is not installed",
        "apt-get install libpcap0.8 (Debian 13: libpcap0.8t64), or dnf install libpcap",
    )


class PacketReader:
    """A live capture or a capture file that libpcap has open. A context manager.

    Raises LibpcapError.
    """

    def __init__(self, pcap: ctypes.CDLL, libc: ctypes.CDLL, handle: Any) -> None:
        """Takes the handle over; it is activated."""
        self._pcap, self._libc, self._handle = pcap, libc, handle
        self._records, self._size = ctypes.c_void_p(), ctypes.c_size_t()
        self.link: int = pcap.pcap_datalink(handle)
        self.is_pcapng: bool = pcap.pcap_major_version(handle) == 1  # that of pcap is 2
        with contextlib.ExitStack() as stack:
            stack.callback(pcap.pcap_close, handle)
            self._memory = libc.open_memstream(
                ctypes.byref(self._records), ctypes.byref(self._size)
            )
            self._dumper = pcap.pcap_dump_fopen(handle, self._memory)
            if not self._dumper:
                raise LibpcapError(pcap.pcap_geterr(handle))
            stack.callback(libc.free, self._records)
            stack.callback(pcap.pcap_dump_close, self._dumper)
            self._stack = stack.pop_all()

    @classmethod
    def open_live(cls, interface: str, buffer_bytes: int, timeout_ms: int) -> "PacketReader":
        """Packets of an interface, or of any, from now on; read() does not wait for them.

        They are handed over when much of the buffer is full, or after the timeout.
        """
        pcap, libc = load_libpcap()
        message = ctypes.create_string_buffer(PCAP_ERRBUF_SIZE)
        handle = pcap.pcap_create(os.fsencode(interface), message)
        if not handle:
            raise LibpcapError(message.value)
        pcap.pcap_set_buffer_size(handle, buffer_bytes)
        pcap.pcap_set_timeout(handle, timeout_ms)
        pcap.pcap_set_tstamp_precision(handle, PCAP_TSTAMP_PRECISION_NANO)
        status = pcap.pcap_activate(handle)
        if status < 0:
            said = pcap.pcap_geterr(handle) or pcap.pcap_statustostr(status)
            pcap.pcap_close(handle)
            raise LibpcapError(said)
        pcap.pcap_setnonblock(handle, 1, message)
        return cls(pcap, libc, handle)

    @classmethod
    def open_file(cls, fd: int, buffered: bool) -> "PacketReader":
        """A capture file, from where it is now. Waits until its header is there.

        Unless it is buffered, nothing is read from it before it is needed.
        """
        pcap, libc = load_libpcap()
        message = ctypes.create_string_buffer(PCAP_ERRBUF_SIZE)
        file = libc.fdopen(os.dup(fd), b"rb")
        if not buffered:
            libc.setvbuf(file, None, IONBF, ctypes.c_size_t(0))
        handle = pcap.pcap_fopen_offline_with_tstamp_precision(
            file, PCAP_TSTAMP_PRECISION_NANO, message
        )
        if not handle:
            libc.fclose(file)
            raise LibpcapError(message.value)
        return cls(pcap, libc, handle)

    def __enter__(self) -> "PacketReader":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def set_filter(self, expression: str) -> None:
        """Let only those packets in that the expression accepts. Raises SourceError."""
        program, pcap = (ctypes.c_void_p * 2)(), self._pcap  # struct bpf_program
        text = os.fsencode(expression)
        status = pcap.pcap_compile(self._handle, program, text, 1, PCAP_NETMASK_UNKNOWN)
        if not status:
            status = pcap.pcap_setfilter(self._handle, program)
            pcap.pcap_freecode(program)
        if status:
            error = LibpcapError(pcap.pcap_geterr(self._handle))
            raise SourceError(f"--filter: {error}", "its language is tcpdump's: man pcap-filter")

    def read(self, count: int) -> Tuple[bytes, Optional[LibpcapError]]:
        """Up to `count` packets, as records; and why there can be no more after them."""
        pcap, dumper = self._pcap, self._dumper
        pcap.pcap_dump_flush(dumper)  # for the first time, a header that nobody needs
        self._libc.rewind(self._memory)
        status = pcap.pcap_dispatch(self._handle, count, pcap.pcap_dump, dumper)
        error = LibpcapError(pcap.pcap_geterr(self._handle)) if status < 0 else None
        pcap.pcap_dump_flush(dumper)
        return ctypes.string_at(self._records, self._size.value), error

    def fileno(self) -> int:
        """Of a live capture: readable when there are packets."""
        fd: int = self._pcap.pcap_get_selectable_fd(self._handle)
        return fd

    def dropped(self) -> int:
        """Of a live capture: packets that the buffer had no room for."""
        counts = (ctypes.c_uint * 3)()  # struct pcap_stat: received, dropped, by the interface
        self._pcap.pcap_stats(self._handle, counts)
        return counts[1]


# ==== Sources: eBPF ===================================================================


class Source(Protocol):
    """Where segments come from. A context manager: watching while it is entered."""

    name: str  # "ebpf:any"; for the report
    hook: str  # "sock", "syscalls"; of packets, how they came
    remarks: List[str]  # what the user should be told at the end
    reads: bool  # is a segment what the server read or wrote at once? See Connection.
    requests_only: bool  # is it known that nothing that servers sent will come?

    def __enter__(self) -> "Source": ...

    def __exit__(self, *_exception: object) -> None: ...

    def started(self, timeout_ms: int) -> Optional[Tuple[int, float]]:
        """When the recording began: in the segments' time (ns), and Unix time (s).

        None if that is not known yet: a capture begins with its first packet.
        """

    def now(self) -> int:
        """The current time, on the clock of the segments (ns)."""

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """The next segments, in the order of each connection; [] if none came in time.

        None at the end of a file.
        """

    def stop(self) -> None:
        """Stop watching. What was seen before can still be read."""

    def server(self, port: int, pid: int, peer: int, ends: bytes) -> Optional[ServerName]:
        """The server of a connection, from one of its segments; None: not known (yet).

        port, the server's; pid and peer: see SOCK; ends: a struct Endpoints, or empty.
        """

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
        ("pid", ctypes.c_uint32),
        ("client", ctypes.c_uint32),
        ("pairing", ctypes.c_uint32),
        ("unix_len", ctypes.c_uint32),
        ("unix_path", ctypes.c_uint8 * 112),
    ]


class SocketDataEvent(ctypes.Structure):
    """What a call moved, or a change of a connection; its data follows. See bpf/programs.bpf.c."""

    _fields_ = [
        ("time_ns", ctypes.c_uint64),
        ("sock_id", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("dport", ctypes.c_uint16),
        ("sport", ctypes.c_uint16),
        ("offset", ctypes.c_uint32),
        ("data_len", ctypes.c_uint32),
        ("mark", ctypes.c_int64),
        ("captured_len", ctypes.c_uint32),
        ("direction", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
    ]


class Endpoints(ctypes.Structure):
    """The data of an event that says that a connection opened or closed."""

    _fields_ = [
        ("inode", ctypes.c_uint32),
        ("family", ctypes.c_uint16),
        ("pad", ctypes.c_uint8 * 2),
        ("server", ctypes.c_uint8 * 16),
        ("client", ctypes.c_uint8 * 16),
    ]


COUNTERS = (
    *("recv_calls", "recv_bytes", "send_calls", "send_bytes", "events"),
    *("dropped_events", "dropped_bytes", "faulted_bytes"),  # what was lost, and why
    *("unreadable_calls", "unreadable_bytes", "udp_datagrams", "udp_bytes"),
    "exchanges",  # of the events
)


class Counters(ctypes.Structure):
    """What the kernel programs counted on one CPU."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in COUNTERS),
        ("outputs", ctypes.c_uint64),
        ("woken", ctypes.c_uint64),
        ("pad", ctypes.c_uint64),
    ]


class Exchange(ctypes.Structure):
    """The other record on the ring: a request and its reply. See bpf/programs.bpf.c."""

    _fields_ = [
        ("time_ns", ctypes.c_uint64),
        ("sock_id", ctypes.c_uint64),
        ("latency_ns", ctypes.c_uint32),
        ("value_len", ctypes.c_uint32),
        ("recv_len", ctypes.c_uint32),
        ("send_len", ctypes.c_uint32),
        ("command", ctypes.c_uint8 * 8),
        ("key_len", ctypes.c_uint32),
        ("direction", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arguments", ctypes.c_uint8 * 24),
        ("reply", ctypes.c_uint8 * 16),
        ("key", ctypes.c_uint8 * 64),
    ]


EXCHANGE_BYTES = ctypes.sizeof(Exchange)
EXCHANGE_RECORD = RECORD_HEADER_BYTES + EXCHANGE_BYTES

# Struct.unpack_from is twice as fast as the ctypes structures. This is the first half of the
# ring's own header, then the event, whose four names of a socket are one SOCK.
EVENT = struct.Struct("<I4xQ16sIIq4xB3x")
ENDPOINTS = struct.Struct("<IH2x16s16s")


def exchange_run(batch: bytes, position: int) -> int:
    """How many exchanges stand there, one behind the other; the first is known to be one."""
    count = (len(batch) - position) // EXCHANGE_RECORD
    found, step = 1, 32
    while found < count:
        step = min(4 * step, count - found)
        begin = position + found * EXCHANGE_RECORD
        records = memoryview(batch)[begin : begin + step * EXCHANGE_RECORD]
        sizes = records.cast("I")[:: EXCHANGE_RECORD // 4].tobytes()
        kinds = records[RECORD_HEADER_BYTES + Exchange.direction.offset :: EXCHANGE_RECORD]
        same = min(
            common_length(sizes, struct.pack("=I", EXCHANGE_BYTES) * step) // 4,
            common_length(kinds.tobytes(), bytes((EXCHANGE,)) * step),
        )
        found += same
        if same < step:
            break
    return found


def parse_events(batch: bytes) -> Tuple[List[Segment], int]:
    """Ring records as segments, a run of exchanges as one; and how many bytes they were."""
    segments: List[Segment] = []
    append = segments.append
    unpack, data_at, behind = EVENT.unpack_from, EVENT.size, len(batch)
    position, last = 0, len(batch) - EVENT.size
    while position <= last:
        size, time_ns, sock, offset, length, mark, kind = unpack(batch, position)
        end = position + RECORD_HEADER_BYTES + size
        if end > behind:  # with flags it is far behind
            end = position + RECORD_HEADER_BYTES + (size & RECORD_SIZE)
            if size & RECORD_BUSY or end > behind:
                break
            position = end + 7 & ~7  # discarded
            continue
        if kind == EXCHANGE:
            end = position + exchange_run(batch, position) * EXCHANGE_RECORD
            append((EXCHANGE, time_ns, b"", 0, 0, batch[position:end], -1))
            position = end
            continue
        append((kind, time_ns, sock, offset, length, batch[position + data_at : end], mark))
        position = end + 7 & ~7
    return segments, position


# ---- Socket ownership ----

TCP_ESTABLISHED, TCP_LISTEN = " 01 ", " 0A "  # in a line of /proc/PID/net/tcp
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # its inode, the same on every kernel


class TcpSocket(NamedTuple):
    """A line of /proc/PID/net/tcp or tcp6."""

    local: str  # address
    local_port: int
    remote: str
    remote_port: int
    inode: str


def tcp_sockets(pid: Any, wanted: str = "") -> Iterator[TcpSocket]:
    """The TCP sockets in a process's network namespace.

    wanted: a regular expression; only lines that it is found in, because there may be tens of
    thousands of others.
    """
    is_wanted = re.compile(wanted).search
    for family in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{family}") as file:
            for line in islice(file, 1, None):
                if is_wanted(line):
                    words = line.split()
                    local, local_port = words[1].split(":")
                    remote, remote_port = words[2].split(":")
                    yield TcpSocket(
                        hex_address(local),
                        int(local_port, 16),
                        hex_address(remote),
                        int(remote_port, 16),
                        words[9],
                    )


def hex_address(digits: str) -> str:
    """An address of /proc/net/tcp: words of 32 bits, each in the machine's own order."""
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    return address_text(struct.pack(f"={len(words)}I", *words))


def address_text(packed: bytes) -> str:
    """127.0.0.1, ::1; * for any; an IPv4 address in IPv6 as IPv4."""
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        packed = packed[12:]
    if not any(packed):
        return "*"
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def with_port(address: str, port: int) -> str:
    """127.0.0.1:11211, [::1]:11211"""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def process_numbers() -> List[str]:
    """All processes, as /proc lists them."""
    with contextlib.suppress(OSError):
        return list(filter(str.isdigit, os.listdir("/proc")))
    return []


def process_name(pid: Any) -> str:
    """What a process calls itself; "" if it has ended."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return printable(file.read().rstrip("\n"))
    return ""


def in_pid_namespace() -> bool:
    """Are there processes that /proc does not list, under other numbers than here?"""
    with contextlib.suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE
    return True


def socket_inodes(pid: Any) -> Set[str]:
    """The sockets that a process holds. Raises OSError if that is not permitted."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}")[8:-1])  # socket:[INODE]
    return inodes


def unix_sockets(pid: Any) -> Iterator[Tuple[str, str]]:
    """(inode, bound path or "") of each Unix socket in a process's network namespace."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/net/unix", errors="surrogateescape") as file:
            next(file)
            for line in file:
                words = line.rstrip("\n").split(None, 7)
                yield words[6], words[7] if len(words) > 7 else ""


def network_namespaces(pids: Iterable[Any]) -> Iterable[Any]:
    """One of these processes for each network namespace that they are in."""
    found: Dict[int, Any] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            # Each namespace has a file of its own, which, unlike ns/net, anybody may look at.
            found.setdefault(os.stat(f"/proc/{pid}/net/tcp").st_ino, pid)
    return found.values()


def unix_inodes(pids: Iterable[Any]) -> Set[int]:
    """The Unix sockets in the network namespaces of these processes."""
    return {int(inode) for pid in network_namespaces(pids) for inode, _ in unix_sockets(pid)}


def foreign_inodes(ports: Set[int], client: bool) -> Iterator[int]:
    """TCP sockets with a watched port number that are not those of its servers, or clients.

    A server's socket has a listener at its port, and at its address or any, in its network
    namespace. ports are the servers': with client, the peers' ports of the sockets looked for.
    """
    wanted = "|".join([TCP_LISTEN, *(f":{port:04X} " for port in ports)])  # at either end
    for pid in network_namespaces(process_numbers()):
        sockets = list(tcp_sockets(pid, wanted))
        # A socket without a peer is one that listens.
        listening = {(s.local, s.local_port) for s in sockets if not s.remote_port}
        for found in sockets:
            if (found.remote_port if client else found.local_port) in ports:
                places = {(found.local, found.local_port), ("*", found.local_port)}
                if bool(places & listening) == client and found.inode != "0":
                    yield int(found.inode)


class ServerNames:
    """Names of the servers whose sockets the kernel programs see, by process and port.

    unix_path: as the user named it; "" for TCP. client: connections are named by where they
    go, because the server's process is not known there.
    """

    RELOAD_SECONDS = 1.0

    def __init__(self, unix_path: str, client: bool) -> None:
        self._unix_path = unix_path
        self._client = client
        self._names: Dict[Tuple[int, int], ServerName] = {}
        self._remotes: Dict[int, Tuple[float, Dict[Tuple[int, int], str]]] = {}
        self._can_look = not in_pid_namespace()

    def find(self, port: int, pid: int, peer: int, ends: bytes) -> Optional[ServerName]:
        """The server of a connection, from what Source.server is told of it."""
        if self._client:
            address = self._remote(port, peer, pid, ends)
            return ServerName(address, "", 0) if address else None
        if not pid:
            return None
        name = self._names.get((pid, port))
        if not name:
            process = process_name(pid) if self._can_look else ""
            address = f"unix:{self._unix_path}" if self._unix_path else self._listens(pid, port)
            name = self._names[pid, port] = ServerName(address, process, pid)
        return name

    def _listens(self, pid: int, port: int) -> str:
        """Where it listens. Of several addresses with one port, those known to be its own."""
        if not self._can_look:
            return f"?:{port}"
        found = {s for s in tcp_sockets(pid, TCP_LISTEN) if s.local_port == port}
        with contextlib.suppress(OSError):
            own = socket_inodes(pid)
            found = {listener for listener in found if listener.inode in own} or found
        return ",".join(sorted({with_port(s.local, port) for s in found})) or f"?:{port}"

    def _remote(self, port: int, client_port: int, pid: int, ends: bytes) -> str:
        if self._unix_path:
            return f"unix:{self._unix_path}"
        if ends:
            _, family, server, _ = ENDPOINTS.unpack_from(ends)
            return with_port(address_text(server[: 4 if family == socket.AF_INET else 16]), port)
        if not pid or not self._can_look:
            return ""
        read_at, remotes = self._remotes.get(pid, (0.0, {}))
        if (client_port, port) not in remotes and time.monotonic() - read_at > self.RELOAD_SECONDS:
            remotes = {(s.local_port, s.remote_port): s.remote for s in tcp_sockets(pid)}
            self._remotes[pid] = time.monotonic(), remotes
        address = remotes.get((client_port, port))
        return with_port(address, port) if address else f"?:{port}"


# ---- What this machine allows ----


def kernel_release() -> Tuple[int, int]:
    """The running kernel's version, (major, minor)."""
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39
OPEN_FILES_MIN = 64  # maps, programs and links, and what Python and libbpf open to load them


def require_proc() -> None:
    """Raise SourceError without /proc, which tells where memcached listens."""
    if not os.path.exists("/proc/self"):
        raise SourceError("/proc is not mounted", "mount -t proc proc /proc")


def how_to_get_privileges() -> str:
    """What to do about missing capabilities."""
    if os.geteuid() == 0:  # root of a container, most likely
        return "root lacks them here: grant them to the container, or run on the host"
    return "run it again with sudo"


def require_bpf() -> None:
    """Raise SourceError with what to do, unless this machine can run BPF programs."""
    if sys.platform != "linux" or kernel_release() < (5, 8):
        raise SourceError(
            f"eBPF recording needs Linux 5.8 or later; this is {platform.release()}",
            "record on a newer kernel",
        )
    require_proc()
    held = capget()
    wanted = {"CAP_BPF": CAP_BPF, "CAP_PERFMON": CAP_PERFMON}
    missing = [name for name, bit in wanted.items() if not held >> bit & 1]
    if missing and not held >> CAP_SYS_ADMIN & 1:
        raise SourceError(
            f"recording with eBPF needs root (missing: {', '.join(missing)})",
            how_to_get_privileges(),
        )
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        raise SourceError(
            "this kernel has no BTF (/sys/kernel/btf/vmlinux)",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distribution kernels are",
        )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_MIN:  # refusals have many other names
        raise SourceError(
            f"the limit of {hard} open files (RLIMIT_NOFILE) is too low",
            f"raise it: ulimit -n {OPEN_FILES_MIN}",
        )
    if kernel_release() < (5, 11):  # BPF memory counts against the limit for locked memory
        with contextlib.suppress(OSError, ValueError):
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)


TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def require_tracefs(libbpf_version: str) -> None:
    """Raise SourceError with what to do, unless libbpf can find the syscall tracepoints."""
    is_old = not libbpf_version.startswith("1")
    places = TRACEFS[is_old:]
    if any(os.path.isdir(path + "/events/syscalls") for path in places):
        return
    why, hint = "is not mounted", "mount -t tracefs tracefs /sys/kernel/tracing"
    if any(map(os.path.ismount, places)):
        why = "this user cannot read (missing: CAP_DAC_READ_SEARCH)"
        hint = how_to_get_privileges()
    elif is_old:
        why = "is not in debugfs, where libbpf before 1.0 looks"
        hint = "mount -t debugfs debugfs /sys/kernel/debug"
    raise SourceError(f"the syscalls hook needs tracefs, which {why}", hint)


def network_namespace(pid: int) -> int:
    """The inode of a process's network namespace. Raises SourceError if it does not exist."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except PermissionError:
        raise not_permitted(pid) from None
    except OSError:
        raise SourceError(
            f"there is no process {pid}", "membench.py check lists memcached processes"
        ) from None


def not_permitted(pid: int, otherwise: str = "") -> SourceError:
    """The error for a process whose files in /proc cannot be read."""
    hint = "run it again with sudo"
    if not os.geteuid():
        hint = "this root lacks CAP_SYS_PTRACE in the process's namespace"
    return SourceError(f"permission denied for process {pid}", hint + otherwise)


def interface_names() -> List[str]:
    """The network interfaces of this machine."""
    with contextlib.suppress(OSError, AttributeError):
        return [name for _, name in socket.if_nameindex()]
    return []


def interface_index(name: str) -> int:
    """The interface's index. Raises SourceError, naming those that exist."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        names = ", ".join(interface_names())
        raise SourceError(
            f"there is no network interface {printable(name)}", f"there are: {names}"
        ) from None


UNKNOWN_KIND = "Unsupported BTF_KIND"  # what a libbpf that is too old for the kernel says
REFUSALS = UNKNOWN_KIND + "|not supported|invalid|unknown func|too large|unbounded|not found"


def explain_refusal(error: LibbpfError, messages: List[str]) -> str:
    """One line on why an object did not load: the verifier's verdict if there is one."""
    for line in reversed(messages):
        if re.search(REFUSALS, line):
            return f"{error} ({printable(line.strip())[:120]})"
    return str(error)


# ---- Reordering eBPF events ----


class UnixConnections:
    """Finds out which Unix connections began during the recording, and which are gone.

    The kernel reports no states of them. One that existed when the recording began gets no
    OPEN. One whose socket is gone gets a CLOSE, unless the server has read its end before.
    """

    CHECK_SECONDS = 5.0

    def __init__(self, there_before: Set[int]) -> None:
        self._there_before = there_before
        self._open: Dict[bytes, Tuple[int, bytes]] = {}  # sock_id, packed -> (inode, sock)
        self._listed: Set[int] = set()  # inodes that could be seen at the last check
        self._gone: List[bytes] = []  # sock_ids that could no longer be seen
        self._checked_at = time.monotonic()

    def sort(self, segments: List[Segment], now_ns: int) -> List[Segment]:
        """Leave out openings of older connections, and add the closings that are missing."""
        kept = []
        for segment in segments:
            kind, sock = segment[0], segment[2]
            if kind == CLOSE:
                self._open.pop(sock[:SOCK_ID_BYTES], None)
            elif kind == OPEN:
                inode = ENDPOINTS.unpack_from(segment[5])[0]
                self._open[sock[:SOCK_ID_BYTES]] = inode, sock
                if inode in self._there_before:
                    continue
            kept.append(segment)
        if time.monotonic() - self._checked_at > self.CHECK_SECONDS:
            kept += self._check(now_ns)
        return kept

    def _check(self, now_ns: int) -> List[Segment]:
        """CLOSE for those gone at the previous check: all that they moved has been read now."""
        self._checked_at = time.monotonic()
        closed = [self._open.pop(sock_id) for sock_id in self._gone if sock_id in self._open]
        if self._open:
            there = unix_inodes({SOCK.unpack(sock)[1] for _, sock in self._open.values()})
            gone = self._listed - there
            self._gone = [sock_id for sock_id, (inode, _) in self._open.items() if inode in gone]
            self._listed = there | gone
        return [(CLOSE, now_ns, sock, -1, 0, b"", -1) for _, sock in closed]


class ClientOrder:
    """Puts a client's responses behind the requests that had been written before them.

    A client may read in one thread while another is still in the call that wrote: then the
    response is reported first. Requests that were not seen are waited for no longer than
    WAIT_NS, and for no more than WAITING_MAX responses of a connection.
    """

    WAIT_NS = NS_PER_SECOND
    WAITING_MAX = 8192

    def __init__(self) -> None:
        self._next: Dict[bytes, int] = {}  # sock_id, packed -> the next byte of requests
        self._held: Dict[bytes, List[Segment]] = {}

    def sort(self, segments: List[Segment], now_ns: int) -> List[Segment]:
        """The segments that need not wait any longer."""
        kept: List[Segment] = []
        for segment in segments:
            kind, _, sock, offset, length, _, _ = segment
            sock_id = sock[:SOCK_ID_BYTES]
            if kind == RECV:
                kept.append(segment)
                self._next[sock_id] = (offset + length) & 0xFFFFFFFF
                if sock_id in self._held:
                    kept += self._release(sock_id)
            elif kind == OPEN:
                kept += self._held.pop(sock_id, ())
                kept.append(segment)
                self._next[sock_id] = offset
            elif sock_id in self._held or self._is_early(segment):
                self._held.setdefault(sock_id, []).append(segment)
            else:  # CLOSE too may come before the last call has returned
                kept.append(segment)
                if kind == CLOSE:
                    self._next.pop(sock_id, None)
        if segments:  # when that was: who was suspended has much to read, and all of it is old
            now_ns = segments[-1][1]
        for sock_id, held in list(self._held.items()):
            if held[0][1] < now_ns - self.WAIT_NS or len(held) > self.WAITING_MAX:
                kept += self._held.pop(sock_id)
                self._next.pop(sock_id, None)  # begin anew with what comes next
        return kept

    def _is_early(self, segment: Segment) -> bool:
        """Is it a response to requests that have not come? Without a mark, nothing tells."""
        kind, _, sock, _, _, _, mark = segment
        if kind != SEND or mark < 0:
            return False
        return 0 < (mark - self._next.get(sock[:SOCK_ID_BYTES], mark)) & 0xFFFFFFFF < 1 << 31

    def _release(self, sock_id: bytes) -> List[Segment]:
        held = self._held.pop(sock_id)
        ready = list(takewhile(lambda segment: not self._is_early(segment), held))
        if len(ready) < len(held):
            self._held[sock_id] = held[len(ready) :]
        return ready

    def finish(self) -> List[Segment]:
        """All that still waits: the requests before it were not seen."""
        held, self._held = self._held, {}
        return list(chain.from_iterable(held.values()))


class HeldOpenings:
    """Holds an opening back until the watched process moves bytes on the connection.

    The kernel reports an opening before any process has the connection.
    """

    def __init__(self) -> None:
        self._held: Dict[bytes, Segment] = {}

    def sort(self, segments: List[Segment], _now_ns: int) -> List[Segment]:
        """The segments of the process alone."""
        kept = []
        for segment in segments:
            kind, sock_id = segment[0], segment[2][:SOCK_ID_BYTES]
            if kind == OPEN:
                self._held[sock_id] = segment
                continue
            opening = self._held.pop(sock_id, None)
            if opening and kind == CLOSE:
                continue
            if opening:
                kept.append(opening)
            kept.append(segment)
        return kept


# ---- The eBPF source ----

UNIX_PATH_MAX = 108  # bytes of sun_path

CALLS = {
    RECV: ("read", "readv", "recvfrom", "recvmsg"),
    SEND: ("write", "writev", "sendto", "sendmsg"),
}
SOCK_PROGRAMS = {RECV: "sock_recv_length", SEND: "sock_send_length"}
HOOKS = {"sock": (6, 3), "sock-events": (6, 3), "syscalls": (5, 8)}  # the kernel each needs


def hook_programs(hook: str, directions: Iterable[int]) -> List[Tuple[str, str]]:
    """The programs of a hook, and where to attach each; "": where its section says."""
    if hook != "syscalls":
        return [("sock_set_state", ""), *((SOCK_PROGRAMS[way], "") for way in directions)]
    calls = [call for way in directions for call in CALLS[way]]
    programs = [("inet_sock_set_state", "")]
    programs += [("sys_exit", f"sys_exit_{call}") for call in calls]  # one for all the exits
    return programs + [(f"sys_enter_{call}", "") for call in calls]


END_CONVERSATION = "end_conversation"  # hands over what waits to be paired
ALL_PROGRAMS = {name for hook in HOOKS for name, _ in hook_programs(hook, (RECV, SEND))}


def unix_address(path: str) -> bytes:
    """The bytes of a Unix socket's address, as the kernel has them. @NAME is an abstract one."""
    raw = os.fsencode(path) + b"\0"
    if path[:1] == "@":
        raw = b"\0" + raw[1:-1]
    if len(raw) > UNIX_PATH_MAX:
        raise SourceError(
            f"{printable(path)} is too long for a Unix socket's path",
            f"the limit is {UNIX_PATH_MAX - 1} bytes",
        )
    return raw


class EbpfSource:
    """The kernel programs of bpf/programs.bpf.c on this machine's memcached sockets.

    interface None means any. unix_path: a Unix socket instead of ports; bound_path: the path
    as the server bound it, if that differs. side "client": the sockets are connected to these
    ports, or this path. pid: only this process. Raises SourceError with the reason if this
    machine cannot do it.
    """

    POLL_WAKEUP_SHARE = 8  # the reader is woken when 1/8 of the ring is full

    def __init__(
        self,
        ports: Sequence[int],
        *,
        interface: Optional[str] = None,
        hook: str = "auto",
        responses: bool = True,
        ring_mib: int = 16,
        image: Optional[bytes] = None,
        verbose: bool = False,
        side: str = "server",
        pid: int = 0,
        unix_path: str = "",
        bound_path: str = "",
    ) -> None:
        self.name = (
            f"ebpf:unix:{printable(unix_path)}" if unix_path else f"ebpf:{interface or 'any'}"
        )
        self.hook = ""
        self.remarks: List[str] = []
        # What is known about when memcached reads does not hold for its clients.
        self.reads, self.requests_only = side == "server", False
        directions = (RECV, SEND) if self.reads else (SEND, RECV)  # requests first
        self._directions = directions[: 1 + responses]
        self._verbose = verbose
        self._image = embedded_object() if image is None else image
        self._ring_bytes = ring_mib << 20
        self._ports = set(ports)
        settings = self._settings = Settings(client=not self.reads, pid=pid)
        settings.wakeup_bytes = self._ring_bytes // self.POLL_WAKEUP_SHARE
        for port in ports:
            settings.ports[port >> 3] |= 1 << (port & 7)
        if interface:
            settings.ifindex = interface_index(interface)
        if interface or pid:
            settings.netns = network_namespace(pid or os.getpid())
        if unix_path:
            address = unix_address(bound_path or unix_path)
            settings.unix_len = 2 + len(address)
            ctypes.memmove(settings.unix_path, address, len(address))
        self._end_ns = math.inf  # when it was stopped
        self._beyond: Set[bytes] = set()  # connections that have had a request since
        self._conversations = -1  # a file that hands over what waits to be paired
        self._order = None if self.reads else ClientOrder()
        self._stack = contextlib.ExitStack()
        self._open("sock" if unix_path else hook)
        # What puts the segments in order, one behind the other.
        self._sorters: List[Union[UnixConnections, HeldOpenings, ClientOrder]] = []
        if unix_path:
            self._sorters.append(UnixConnections(unix_inodes(process_numbers())))
        elif pid:
            self._sorters.append(HeldOpenings())
        if self._order:
            self._sorters.append(self._order)
        self._names = ServerNames(printable(unix_path), side == "client")

    def _open(self, hook: str) -> None:
        """Attach this hook, or the first that works."""
        require_bpf()
        libbpf = Libbpf()
        refusals = []
        for name in [hook] if hook != "auto" else ["sock", "syscalls"]:
            since = HOOKS[name]
            if kernel_release() < since:
                refusals.append(f"{name} needs Linux {since[0]}.{since[1]}")
                continue
            try:
                self._load(libbpf, name)
                return
            except LibbpfError as error:
                if error.errno == errno.ENOMEM:
                    raise memory_error() from None
                messages = libbpf.take_messages()
                for message in messages if self._verbose else ():
                    write_stderr(printable(message.expandtabs()) + "\n")
                refusals.append(f"{name}: {explain_refusal(error, messages)}")
                if UNKNOWN_KIND in refusals[-1]:
                    break  # no hook will work
        if UNKNOWN_KIND in "".join(refusals):
            raise SourceError(
                f"this libbpf ({libbpf.version}) is too old: Linux {platform.release()} needs "
                "libbpf 1.0 or later, which knows all kinds of its types (BTF)",
                "install it (libbpf.so.1)",
            )
        raise SourceError(
            f"cannot load membench's programs on this kernel ({platform.release()}): "
            + "; ".join(refusals),
            "membench.py check says what works here; record -v shows the verifier's log",
        )

    def _load(self, libbpf: Libbpf, hook: str) -> None:
        """Load and attach the programs of a hook."""
        programs = hook_programs(hook, self._directions)
        if self._settings.unix_len:
            del programs[0]  # such sockets have no states
        if hook == "syscalls":
            require_tracefs(libbpf.version)
        is_pairing = hook == "sock" and self._directions == (RECV, SEND)
        self._settings.pairing = is_pairing = is_pairing and not self._settings.unix_len
        with contextlib.ExitStack() as stack:
            self._object = stack.enter_context(BpfObject(libbpf, self._image))
            wanted = [name for name, _ in programs] + is_pairing * [END_CONVERSATION]
            self._object.keep_only(wanted, ALL_PROGRAMS | {END_CONVERSATION})
            self._object.set_constants(self._settings)
            self._object.set_size("events", self._ring_bytes)
            cpus = libbpf.possible_cpus()
            self._object.set_size("counters", cpus)
            self._object.load()
            size = cpus * ctypes.sizeof(Counters)
            memory = stack.enter_context(self._object.map_memory("counters", size))
            self._counters = memoryview(memory).cast("Q")
            stack.callback(self._counters.release)
            if is_pairing:
                self._conversations = self._object.iterator(END_CONVERSATION)
                stack.callback(os.close, self._conversations)
            self._ring = stack.enter_context(RingBuffer(libbpf, self._object.map_fd("events")))
            for program, tracepoint in programs:
                self._object.attach(program, tracepoint)
                if program.endswith("set_state"):
                    self._note_foreign_sockets()
            self._stack = stack.pop_all()
        self.hook = hook

    def _note_foreign_sockets(self) -> None:
        """Those that were there before; of later ones the kernel tells."""
        inodes = list(foreign_inodes(self._ports, not self.reads))
        for inode in inodes:
            self._object.update("foreign_sockets", struct.pack("=Q", inode), bytes(4))
        if inodes:
            self._object.update("membench.data", bytes(4), bytes(4))  # none_foreign

    def __enter__(self) -> "EbpfSource":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def started(self, _timeout_ms: int) -> Optional[Tuple[int, float]]:
        """Now: the programs are attached."""
        return time.monotonic_ns(), time.time()

    def now(self) -> int:
        """CLOCK_MONOTONIC, as the programs read it (ns)."""
        return time.monotonic_ns()

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """What the programs saw, in the order in which it happened to each connection."""
        while True:
            segments, used = parse_events(self._ring.read(timeout_ms))
            self._ring.take(used)
            if self._end_ns < math.inf:
                if not segments:
                    if self._conversations >= 0:
                        with contextlib.suppress(BlockingIOError):  # a million files a call
                            os.read(self._conversations, 1)
                            self._conversations = -1
                        continue
                    return self._order.finish() if self._order else []
                segments = list(self._until_end(segments))
            for sorter in self._sorters:
                segments = sorter.sort(segments, self.now())
            if segments or self._end_ns == math.inf:
                return segments

    def stop(self) -> None:
        """Detach the programs. What is on the ring can still be read."""
        self._end_ns = time.monotonic_ns()
        self._object.detach()

    def _until_end(self, segments: List[Segment]) -> Iterator[Segment]:
        """What came before the end, and the replies to that.

        The programs that see requests are detached last, and so tell of requests whose
        replies nobody sees.
        """
        for segment in segments:
            kind, time_ns, sock, *_, run, _ = segment
            if kind == EXCHANGE:
                records = (
                    run[i : i + EXCHANGE_RECORD] for i in range(0, len(run), EXCHANGE_RECORD)
                )
                in_time = [one for one in records if EVENT.unpack_from(one)[1] <= self._end_ns]
                if in_time:
                    yield (kind, time_ns, sock, 0, 0, b"".join(in_time), -1)
            elif time_ns > self._end_ns and kind not in (SEND, CHAIN_END):
                self._beyond.add(sock)
            elif sock not in self._beyond:
                yield segment

    def server(self, port: int, pid: int, peer: int, ends: bytes) -> Optional[ServerName]:
        """The server, by its process, or of clients by what they are connected to."""
        return self._names.find(port, pid, peer, ends)

    def counters(self) -> Dict[str, int]:
        """What the programs counted, summed over all CPUs."""
        step = ctypes.sizeof(Counters) // 8
        return {name: sum(self._counters[i::step]) for i, name in enumerate(COUNTERS)}


# ==== Sources: packets ================================================================

# ---- Packets: from the link layer to TCP ----

TCP_FIN, TCP_SYN, TCP_RST, TCP_ACK = 1, 2, 4, 16

# What a header says is behind it: an Ethernet type, or a protocol of IP, which is below 256.
IPPROTO_TCP, IPPROTO_UDP, IPPROTO_GRE = 6, 17, 47
ETHERNET, IP4, IP6 = 0x6558, 0x0800, 0x86DD  # the first is GRE's number for a whole frame
ERSPAN_2, ERSPAN_3 = 0x88BE, 0x22EB
VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
INNER_IP = {4: IP4, 41: IP6}
VXLAN_PORTS, GENEVE_PORT = (4789, 8472), 6081
IP6_FRAGMENT, IP6_AUTHENTICATION = 44, 51
IP6_EXTENSIONS = (0, 43, IP6_FRAGMENT, IP6_AUTHENTICATION, 60, 135, 139, 140)
HEADERS_MAX = 16  # in front of TCP

# Length, fragment field, protocol, addresses. IPv6: length, next header, addresses.
_IP4 = struct.Struct(">2xH2xHxB2x8s")
_IP6 = struct.Struct(">4xHBx32s")
_TCP = struct.Struct(">4sIIH")  # ports, sequence number, acknowledged, header length and flags

# libpcap's number of a link layer -> where its Ethernet type stands (-4: it has none, all is
# IP), and where the packet inside begins.
DLT_ETHERNET, DLT_SLL, DLT_SLL2 = 1, 113, 276
LINKS = {
    **dict.fromkeys((0, 108), (-4, 4)),  # loopback of BSD: four bytes of address family
    **dict.fromkeys((12, 228, 229), (-4, 0)),  # IP alone; 12 is 101 in a file
    DLT_ETHERNET: (12, 14),
    DLT_SLL: (14, 16),  # what Linux gives for "any"
    DLT_SLL2: (0, 20),
}

# (time_ns, addresses and ports as in the packet, sequence number, acknowledged, flags, bytes of
# payload on the wire, those that were captured)
TcpPacket = Tuple[int, bytes, int, int, int, int, bytes]


class PacketParser:
    """Records of captured packets in, TCP packets out. Raises SourceError for an unknown link.

    Checksums are not looked at (offloading leaves them to the network card), and sizes are not
    limited by an MTU (offloading again).
    """

    def __init__(self, link: int) -> None:
        if link not in LINKS:
            raise SourceError(
                f"packets of link type {link} cannot be read",
                "capture with tcpdump on an Ethernet interface, or with -i any",
            )
        self._type_at, self._ip_at = LINKS[link]
        # Ethernet type; of IPv4 version and size of its header, then as _IP4 and _TCP.
        between = self._ip_at - self._type_at - 2
        self._plain = struct.Struct(f">H{between}xBxH2xHxB2x12sIIH")
        self.time_ns = 1  # of the last packet; never goes back, and is never 0
        self.udp = self.unknown = 0  # packets that are not TCP, or not to be understood
        self.fragments = 0  # first ones, which alone have ports; the data is missed when acked
        self.cut = self.cut_bytes = 0  # packets that were captured in part, and how much at most

    def parse(self, records: bytes, clock_ns: int = 0) -> List[TcpPacket]:
        """The TCP packets among whole records. clock_ns is added to their times."""
        packets: List[TcpPacket] = []
        append, now, ip_at, type_at = packets.append, self.time_ns, self._ip_at, self._type_at
        unpack, unpack_plain = CAPTURED.unpack_from, self._plain.unpack_from
        end, size = 0, len(records)
        while end < size:
            seconds, nanoseconds, captured, length = unpack(records, end)
            start = end + CAPTURED.size
            end = start + captured
            time_ns = seconds * NS_PER_SECOND + nanoseconds + clock_ns
            if time_ns > now:
                now = time_ns
            if captured < length:
                self.cut += 1
                self.cut_bytes = max(self.cut_bytes, captured)
            plain = False  # IPv4 without options, as most are
            if captured >= ip_at + 40:
                kind, version, total, fragment, protocol, key, number, acked, bits = unpack_plain(
                    records, start + type_at
                )
                plain = kind == IP4 and version == 0x45 and protocol == IPPROTO_TCP
            if plain and not fragment & 0x3FFF:
                tcp = start + ip_at + 20
                stop = tcp - 20 + total if total else start + length  # 0: offloading, over 64 KB
            else:
                found = self._find_tcp(records[start:end], length)
                if not found:
                    continue
                tcp, stop = start + found[0], start + found[1]
                ports, number, acked, bits = _TCP.unpack_from(records, tcp)
                key = found[2] + ports
            payload = tcp + (bits >> 10 & 0x3C)
            if not tcp + 20 <= payload <= stop:
                self.unknown += 1
                continue
            carried = records[payload : stop if stop < end else end]
            append((now, key, number, acked, bits, stop - payload, carried))
        self.time_ns = now
        return packets

    def _find_tcp(self, packet: bytes, length: int) -> Optional[Tuple[int, int, bytes]]:
        """Where TCP begins, where it ends on the wire, and addresses, behind any headers.

        None if there is none; then the packet is counted here.
        """
        at, stop, addresses, fragment = self._ip_at, length, b"", 0
        kind = IP4 if self._type_at < 0 else _word(packet, self._type_at)
        with contextlib.suppress(IndexError, struct.error):  # not all of a header was captured
            for _ in range(HEADERS_MAX):
                if fragment:
                    self.fragments += kind == IPPROTO_TCP and fragment == 0x2000
                    break
                if kind == IPPROTO_TCP and addresses and at + 20 <= len(packet):
                    return at, stop, addresses
                begin = at
                if kind in VLAN_TYPES:
                    kind, at = _word(packet, at + 2), at + 4
                elif kind == ETHERNET:
                    kind, at = _word(packet, at + 12), at + 14
                elif kind in (IP4, IP6) and packet[at] >> 4 == 4:
                    total, fragment, kind, addresses = _IP4.unpack_from(packet, at)
                    fragment, at = fragment & 0x3FFF, at + (packet[at] & 15) * 4
                    stop = begin + total if total else length
                elif kind in (IP4, IP6) and packet[at] >> 4 == 6:
                    total, kind, addresses = _IP6.unpack_from(packet, at)
                    at += 40
                    stop = at + total if total else length
                elif kind in IP6_EXTENSIONS:
                    kind, at, fragment = skip_extension(packet, kind, at)
                else:
                    kind, at = leave_tunnel(packet, kind, at)
                if at <= begin and kind not in (IP4, IP6):
                    break
        self.udp += kind == IPPROTO_UDP
        self.unknown += kind != IPPROTO_UDP
        return None


def _word(packet: bytes, at: int) -> int:
    return int.from_bytes(packet[at : at + 2], "big")


def skip_extension(packet: bytes, kind: int, at: int) -> Tuple[int, int, int]:
    """An extension header of IPv6: (what is behind it, where, fragment field as in IPv4)."""
    fragment, size = 0, (packet[at + 1] + 1) * 8
    if kind == IP6_AUTHENTICATION:  # which counts in fours
        size = (packet[at + 1] + 2) * 4
    elif kind == IP6_FRAGMENT:
        word = _word(packet, at + 2)
        fragment, size = word >> 3 | (word & 1) << 13, 8
    return packet[at], at + size, fragment


def leave_tunnel(packet: bytes, kind: int, at: int) -> Tuple[int, int]:
    """What a tunnel's header is followed by, and where that begins; the same, if it is none."""
    kind = INNER_IP.get(kind, kind)
    if kind == IPPROTO_GRE:
        flags, kind = _word(packet, at), _word(packet, at + 2)
        at += 4 + 4 * bin(flags & 0xB000).count("1")  # checksum, key, sequence number
        if kind == ERSPAN_2:
            return ETHERNET, at + (8 if flags & 0x1000 else 0)
        if kind == ERSPAN_3:
            return ETHERNET, at + (20 if packet[at + 11] & 1 else 12)
    elif kind == IPPROTO_UDP and _word(packet, at + 2) in VXLAN_PORTS:
        return ETHERNET, at + 16
    elif kind == IPPROTO_UDP and _word(packet, at + 2) == GENEVE_PORT:
        return _word(packet, at + 10), at + 16 + (packet[at + 8] & 0x3F) * 4
    return kind, at


# ---- Packets: from TCP packets to the streams of connections ----
#
# The rules, which hold for live packets and for capture files:
#   - A direction of a connection is delivered in order, each byte once: of bytes that come
#     again, the first win. What comes out of order waits, within bounds.
#   - A hole becomes a gap when the other side acknowledges it (the receiver had the bytes,
#     we did not), when too much waits behind it, or when the connection or the recording
#     ends. Time alone says nothing. A direction of which no packet was seen has no gaps.
#   - What a packet acknowledges is delivered, or reported as a gap, before the packet's own
#     data. So a reply never comes before the request that caused it, in whatever order the
#     packets are found.
#   - Who sent the SYN is the client. Without one it is the side whose bytes are requests, or
#     else whose port is not watched. So what waits for it is the first data of both sides. A
#     client that has a watched port number as its own is no server: its connection is foreign.
#   - A connection is synchronized from its beginning only if its handshake was seen.

WRAP = 0xFFFFFFFF  # sequence numbers are modulo 2**32
WINDOW_MAX = 1 << 28  # what is farther away is of another connection, or damaged

# How requests and replies begin, as far as it takes to tell them from each other.
REQUEST_BEGIN = re.compile(
    rb"(?:gets?|gats?|touch|delete|incr|decr|set|add|replace|append|prepend|cas|m[gsda]) +[^ \r\n]"
    rb"|(?:mn|version|stats|quit)\r?\n|\x80[\0-\x24]|(?P<other>[A-Z]+ /\S* HTTP/)"
)
REPLY_BEGIN = re.compile(
    rb"(?:VALUE|VA) +\S|(?:END|EN|HD|MN|N[SF]|EX|(?:NOT_)?STORED|EXISTS|NOT_FOUND)\r\n"
    rb"|(?:DELETED|TOUCHED)\r\n|\x81[\0-\x24]|(?P<other>HTTP/)"
)

BEGUN, RUNNING, ENDED, FOREIGN = range(4)

Piece = Tuple[int, int, bytes, int]  # payload that waits: (number, length, data, acknowledged)


class Direction:
    """One direction of a connection. sock and state are the connection's, so both have them."""

    __slots__ = (
        *("kind", "key", "sock", "state", "other", "isn", "next", "fin", "early", "time_ns"),
    )

    other: "Direction"

    def __init__(self, kind: int, key: bytes, sock: bytes) -> None:
        self.kind = kind  # RECV, SEND
        self.key = key  # addresses and ports, as in its packets
        self.sock = sock  # see Segment
        self.state = BEGUN  # where bytes begin, or who is the client, is not known yet
        self.isn = self.next = self.fin = -1  # numbers of the SYN, of what is expected, of the FIN
        self.early: List[Piece] = []  # in order
        self.time_ns = 0  # of its last packet

    def sides(self) -> Tuple["Direction", "Direction"]:
        """The client's and the server's direction."""
        return (self, self.other) if self.kind == RECV else (self.other, self)

    def likeness(self) -> int:
        """1: its first bytes are like a request, -1: like a reply."""
        data = self.early[0][2] if self.early else b""
        return bool(REQUEST_BEGIN.match(data)) - bool(REPLY_BEGIN.match(data))


class Reassembler:
    """TCP packets in, segments out: `segments` grows, whoever reads them takes it away.

    Memory is bounded: EARLY_MAX packets wait on one direction of a connection, EARLY_BYTES_MAX
    on all, and no more than FLOWS_MAX connections are known.
    """

    EARLY_MAX = 2048
    JOIN_MAX = 16  # wait on one direction of a connection, of which the other one is silent
    EARLY_BYTES_MAX = 64 << 20
    FLOWS_MAX = 65536

    def __init__(self, ports: Iterable[int]) -> None:
        self.segments: List[Segment] = []
        self.packets = 0
        self.ignored = 0  # not of the ports, or of no connection
        self.gaps = 0
        self.gap_bytes = 0
        self.moved_bytes = [0, 0]  # received and sent, gaps included
        self.others: Counter[int] = Counter()  # packets like memcached's on ports not watched
        self._time_ns = 0
        self._ports = frozenset(ports)
        self._directions: Dict[bytes, Direction] = {}  # by addresses and ports
        self._early_bytes = 0
        self._last_id = 0

    def __len__(self) -> int:
        """How many connections are known."""
        return len(self._directions) // 2

    def add(self, packets: Iterable[TcpPacket]) -> None:
        """Packets in the order in which they were captured. Never raises."""
        find = self._directions.get
        for packet in packets:
            time_ns, key, number, acked, flags, length, data = packet
            self._time_ns = time_ns
            way = find(key)
            if way is None or number != way.next or flags & 0x17 != TCP_ACK or way.early:
                self._take(packet, way)
                continue
            # The next one of its connection, as most are; _take() would do the same.
            self.packets += 1
            way.time_ns = time_ns
            if 0 < (acked - way.other.next) & WRAP < WINDOW_MAX:
                self._advance(way.other, acked)
            if length:
                self._deliver(way, length, data, acked)

    def _take(self, packet: TcpPacket, way: Optional[Direction]) -> None:
        _, key, number, acked, flags, length, data = packet
        way = way or self._begin(key, flags, data)
        if way and flags & TCP_SYN:
            way = self._shake_hands(way, number, acked, flags)
        elif way and not flags & TCP_RST and way.state != FOREIGN:
            way = self._admit(way, number, acked, length)
        if way:
            way.time_ns = self._time_ns
        if not way or way.state == FOREIGN:
            self.ignored += 1
            return
        self.packets += 1
        if flags & TCP_SYN:
            return
        if flags & TCP_ACK:
            self._advance(way.other, acked)
        if flags & TCP_FIN and way.fin < 0:
            way.fin = (number + length) & WRAP
        if length:
            self._wait(way, (number, length, data, acked))
        if flags & TCP_FIN:
            self._join(way)
            self._advance(way, way.next)
        # A RST that is older than what was seen ends nothing.
        if flags & TCP_RST and way.next >= 0 and (number - way.next) & WRAP < WINDOW_MAX:
            self._end(way)

    # -- connections --

    def _begin(self, key: bytes, flags: int, data: bytes) -> Optional[Direction]:
        """The direction of a packet of a connection that is not known yet; None: not ours."""
        source, target = struct.unpack(">HH", key[-4:])
        ports = self._ports
        if source not in ports and target not in ports:
            for port, begin in ((target, REQUEST_BEGIN), (source, REPLY_BEGIN)):
                found = begin.match(data)
                if found and not found["other"]:
                    self.others[port] += 1
            return None
        if flags & TCP_RST:  # the end of nothing, or the refusal of a connection
            return None
        if len(self) >= self.FLOWS_MAX:
            self._make_room()
        to_server = target in ports and (source not in ports or target <= source)
        return self._add(key, not flags & TCP_ACK if flags & TCP_SYN else to_server)

    def _make_room(self) -> None:
        """Forget an eighth: those that have ended, then those that were silent for longest."""
        ways = [way for way in self._directions.values() if way.kind == RECV]
        ways.sort(key=lambda way: (way.state != ENDED, max(way.time_ns, way.other.time_ns)))
        for way in ways[: max(self.FLOWS_MAX // 8, 1)]:
            self._forget(way)

    def _add(self, key: bytes, to_server: bool) -> Direction:
        """A new connection; returns the direction that the key stands for."""
        size = (len(key) - 4) // 2
        back = key[size : 2 * size] + key[:size] + key[-2:] + key[-4:-2]
        ports = struct.unpack(">HH", key[-4:] if to_server else back[-4:])
        self._last_id += 1
        sock = SOCK.pack(self._last_id, 0, *ports)
        way = Direction(RECV if to_server else SEND, key, sock)
        way.other = Direction(SEND if to_server else RECV, back, sock)
        way.other.other = way
        if ports[1] not in self._ports:
            way.state = way.other.state = FOREIGN
        self._directions[key], self._directions[back] = way, way.other
        return way

    def _forget(self, way: Direction) -> None:
        self._end(way)
        del self._directions[way.key], self._directions[way.other.key]

    def _shake_hands(self, way: Direction, number: int, acked: int, flags: int) -> Direction:
        """SYN or SYN-ACK. That of another connection ends this one: the port is used again."""
        answer = bool(flags & TCP_ACK)
        client_isn = (acked - 1) & WRAP if answer else number
        known = (way.other if answer else way).isn
        if known != client_isn and max(known, way.next, way.other.next) >= 0:
            self._forget(way)
            way = self._add(way.key, not answer)
        (way.other if answer else way).isn = client_isn
        way.isn = number
        return way

    def _open(self, way: Direction, number: int, acked: int) -> None:
        """The handshake is over. If the SYN-ACK was not seen, its acknowledgement tells as much."""
        client, server = way.sides()
        way.state = way.other.state = RUNNING
        received, sent = (client.isn + 1) & WRAP, (server.isn + 1) & WRAP
        if server.isn < 0:
            if way is server or number != received:
                return
            sent = acked
        client.next, server.next = received, sent
        size = (len(client.key) - 4) // 2  # addresses of the client and the server, both ports
        family = socket.AF_INET if size == 4 else socket.AF_INET6
        ends = ENDPOINTS.pack(0, family, client.key[size : 2 * size], client.key[:size])
        self.segments.append((OPEN, self._time_ns, way.sock, received, sent, ends, -1))

    def _join(self, way: Direction) -> None:
        """Whose connection is it? This is called when that is known, or cannot wait any more."""
        if way.state != BEGUN:
            return
        client, server = way.sides()
        foreign = client.likeness() < server.likeness()
        if foreign and SOCK.unpack(way.sock)[2] not in self._ports:
            way.state = way.other.state = FOREIGN
            for side in (client, server):
                side.next = -1
                self._early_bytes -= sum(len(data) for _, _, data, _ in side.early)
                side.early.clear()
            return
        way.state = way.other.state = RUNNING
        for side in (way.other, way):  # the other one has waited for this one
            if side.early:
                side.next = side.early[0][0]
                self._advance(side, side.next)

    def _end(self, way: Direction) -> None:
        """The connection ends here. Nothing more fills its holes."""
        client, server = way.sides()
        if way.state < ENDED:
            self._flush(client)
            self._flush(server)
        if way.state < ENDED:  # still
            way.state = way.other.state = ENDED
            received = client.next if server.next >= 0 else -1
            self.segments.append((CLOSE, self._time_ns, way.sock, received, server.next, b"", -1))

    # -- packets of a connection --

    def _admit(self, way: Direction, number: int, acked: int, length: int) -> Direction:
        """The direction of a packet; a new one, if it cannot be of this connection."""
        distance = min((number - way.next) & WRAP, (way.next - number) & WRAP)
        if way.next >= 0 and distance >= WINDOW_MAX:
            self._forget(way)  # its SYN was missed
            way = self._add(way.key, way.kind == RECV)
        if way.state == BEGUN and way.sides()[0].isn >= 0:
            self._open(way, number, acked)
        if way.next < 0 and (length or way.state == RUNNING):
            way.next = number
        return way

    def _wait(self, way: Direction, piece: Piece) -> None:
        """Payload that may be old, next, early, or some of each."""
        behind = way.next - WINDOW_MAX  # so that what is before the next byte comes first
        way.early.append(piece)
        way.early.sort(key=lambda piece: (piece[0] - behind) & WRAP)
        self._early_bytes += len(piece[2])
        if way.other.early or len(way.early) > self.JOIN_MAX:
            self._join(way)
        self._advance(way, way.next)
        if len(way.early) > self.EARLY_MAX or self._early_bytes > self.EARLY_BYTES_MAX:
            self._flush(way)

    def _advance(self, way: Direction, limit: int) -> None:
        """Deliver what waits and follows; what is missing before `limit` becomes gaps."""
        if way.state == BEGUN or way.next < 0 or not way.time_ns:
            return
        if limit == (way.fin + 1) & WRAP and way.fin >= 0:
            limit = way.fin
        while True:
            missing = (limit - way.next) & WRAP
            if missing >= WINDOW_MAX:
                missing = 0
            if way.early:
                number, length, data, acked = way.early[0]
                behind = (way.next - number) & WRAP
                if behind < WINDOW_MAX:
                    del way.early[0]
                    self._early_bytes -= len(data)
                    if behind < length:
                        self._deliver(way, length - behind, data[behind:], acked)
                    continue
                missing = min(missing, -behind & WRAP)
            if not missing:
                break
            self.gaps += 1
            self.gap_bytes += missing
            self._deliver(way, missing)
        if way.next == way.fin:
            way.next = (way.fin + 1) & WRAP
            if way.other.fin >= 0 and way.other.next == (way.other.fin + 1) & WRAP:
                self._end(way)

    def _deliver(self, way: Direction, length: int, data: bytes = b"", acked: int = -1) -> None:
        """The next bytes of this direction, of which some may be missing. acked: by the sender."""
        number, kind = way.next, way.kind
        way.next = (number + length) & WRAP
        self.moved_bytes[kind] += length
        mark = acked if kind == RECV else -1
        self.segments.append((kind, self._time_ns, way.sock, number, length, data, mark))

    def _flush(self, way: Direction) -> None:
        """Deliver all that waits, with a gap for each hole."""
        self._join(way)
        if way.early:
            self._advance(way, way.early[-1][0])

    def take(self) -> List[Segment]:
        """The segments since the last call."""
        segments, self.segments = self.segments, []
        return segments

    def finish(self) -> None:
        """No more packets will come: what waits is delivered, holes are gaps."""
        for way in self._directions.values():
            self._flush(way)


class PacketStreams:
    """What live packets and capture files have in common; see Source."""

    reads = requests_only = False

    def __init__(self, name: str, ports: Sequence[int]) -> None:
        self.name = name
        self.remarks: List[str] = []
        self._streams = Reassembler(ports)
        self._reader: Optional[PacketReader] = None
        self._parser = PacketParser(DLT_ETHERNET)
        self._over = False  # nothing more can be read
        self._stack = contextlib.ExitStack()

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def server(self, port: int, _pid: int, _peer: int, ends: bytes) -> Optional[ServerName]:
        """See Source.server; packets tell the address alone, if they told of the opening."""
        if not ends:
            return None
        _, family, server, _ = ENDPOINTS.unpack_from(ends)
        address = address_text(server[: 4 if family == socket.AF_INET else 16])
        return ServerName(with_port(address, port), "", 0)

    def counters(self) -> Dict[str, int]:
        streams, parser = self._streams, self._parser
        return {
            "recv_bytes": streams.moved_bytes[RECV],
            "send_bytes": streams.moved_bytes[SEND],
            "events": streams.packets,
            "gaps": streams.gaps,
            "gap_bytes": streams.gap_bytes,
            "fragments": parser.fragments,
            "cut_packets": parser.cut,
            "ignored_packets": streams.ignored + parser.udp + parser.unknown,
            "other_tcp": streams.ignored,
            "other_udp": parser.udp,
            **{f"like_memcached_{port}": n for port, n in streams.others.most_common(5)},
        }

    def _use(self, reader: PacketReader, expression: str) -> None:
        """Read from this one, with the user's filter. Raises SourceError."""
        self._reader = self._stack.enter_context(reader)
        self._parser = PacketParser(reader.link)
        if expression:
            reader.set_filter(expression)

    def _take(self) -> Optional[List[Segment]]:
        """See Source.read."""
        segments = self._streams.take()
        return segments if segments or not self._over else None


# ---- Capture files ----

CAPTURE_HINT = (
    "SOURCE can be a .pcap or .pcapng file, as tcpdump -w writes it, or - for a pipe: "
    "zcat FILE.gz | membench.py record - OUTPUT"
)


class CaptureSource(PacketStreams):
    """Packets of a pcap or pcapng file, or of a pipe. Times are the packets' own.

    Raises SourceError for what is no capture. One that is truncated or damaged is read up to
    there; `remarks` says so.
    """

    LOOK_AHEAD = 10_000  # if so many packets are to servers, and none from one, then all are

    def __init__(self, path: str, ports: Sequence[int], expression: str = "") -> None:
        super().__init__("-" if path == "-" else os.path.basename(path), ports)
        self.hook = "capture"
        self._title = "the capture on stdin" if path == "-" else printable(path)
        self._expression = expression
        self._start_ns = 0
        self._answered = False  # was there a packet from a server?
        self._server_ports = {struct.pack(">H", port) for port in ports}
        try:
            self._file = self._stack.enter_context(
                open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-")
            )
        except OSError as error:
            raise SourceError(
                f"cannot read {printable(path)}: {error.strerror}", CAPTURE_HINT
            ) from None
        self._waits = not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        if path == "-" and os.isatty(0):
            raise SourceError("a capture does not come from a terminal", CAPTURE_HINT)

    def __enter__(self) -> "CaptureSource":
        return self

    def started(self, timeout_ms: int) -> Optional[Tuple[int, float]]:
        """See Source.started: the time of the first packet, once requests_only is known."""
        streams = self._streams
        if not (self._over or self._answered or streams.packets > self.LOOK_AHEAD):
            self._fill(timeout_ms)
            return None
        self.requests_only = streams.packets > 0 and not self._answered
        return self._start_ns, self._start_ns / NS_PER_SECOND or time.time()

    def now(self) -> int:
        """See Source.now: the time of the last packet."""
        return self._parser.time_ns

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """See Source.read; None at the end of the file."""
        if not self._over and not self._streams.segments:
            self._fill(timeout_ms)
        return self._take()

    def stop(self) -> None:
        if self._over:
            return
        self._over = True
        self._streams.finish()
        parser = self._parser
        if parser.cut:
            self.remarks.append(
                f"{parser.cut:,} packets were cut to {parser.cut_bytes} bytes (tcpdump -s), so the "
                "rest of them is lost; --no-responses may still read the requests"
            )

    def _fill(self, timeout_ms: int) -> None:
        """Read and parse some more.

        libpcap waits for whole packets. So from a pipe nothing is taken before something is
        there, and then one packet. A signal ends the wait for the rest of it.
        """
        if self._waits and not select.select([self._file], [], [], timeout_ms / 1000)[0]:
            return
        try:
            if self._reader is None:
                reader = PacketReader.open_file(self._file.fileno(), not self._waits)
                self.hook = "pcapng" if reader.is_pcapng else "pcap"
                self._use(reader, self._expression)
                return
            records, error = self._reader.read(1 if self._waits else PACKETS_AT_ONCE)
        except LibpcapError as no_capture:
            records, error = b"", no_capture
        packets = self._parser.parse(records)
        if records and not self._start_ns:
            self._start_ns = packets[0][0] if packets else self._parser.time_ns
        if not (self._answered or self._streams.packets > self.LOOK_AHEAD):
            self._answered = any(packet[1][-4:-2] in self._server_ports for packet in packets)
        self._streams.add(packets)
        why = str(error or "")
        if error and os.strerror(errno.EINTR) not in why:  # that is, whoever ends the recording
            if self._reader is None:
                raise SourceError(f"{self._title} is no capture: {why}", CAPTURE_HINT)
            what = "truncated" if "truncated" in why else f"damaged ({why})"
            self.remarks.append(f"{self._title} is {what}; all packets before that were read")
        if error or not records:
            self.stop()


# ---- Live packets ----

SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23  # from the kernel's if_packet.h
CAP_NET_RAW = 13
FILTER_PORTS_MAX = 64  # libpcap takes a second for 200


def port_filter(ports: Sequence[int], link: int) -> str:
    """TCP packets from or to the ports, in tcpdump's language.

    IPv4 and IPv6, and all of IPv6 that has extension headers; with up to two VLAN tags. Of
    fragments the first, which alone has ports. Of too many ports, all of TCP.
    """
    tcp = "tcp"
    if len(ports) <= FILTER_PORTS_MAX:
        tcp = f"tcp port ({' or '.join(map(str, ports))})"
    headers = " or ".join(f"ip6[6] = {kind}" for kind in IP6_EXTENSIONS)
    wanted = f"({tcp} or (ip6 and ({headers})))"  # "or" binds as tightly as "and"
    if link == DLT_ETHERNET:
        return f"({wanted} or (vlan and ({wanted} or (vlan and {wanted}))))"
    return f"({wanted} or ether proto 0x8100 or ether proto 0x88a8)"


class PacketSource(PacketStreams):
    """Packets of this machine's network interfaces. interface None means any.

    Raises SourceError with the reason where this machine cannot do it.
    """

    # libpcap's ring has blocks of 256 KiB. One that is not full is handed over all the same
    # after TIMEOUT_MS, so however little comes, the ring lasts for no longer than that times
    # its blocks while nobody reads it: 256 blocks, twelve seconds.
    TIMEOUT_MS = 50
    WAITING_RINGS = 3  # how much may wait outside of the ring, in sizes of the ring
    CLOCK_STEP_NS = NS_PER_SECOND // 10  # the two clocks cannot be read at once
    hook = "libpcap"

    def __init__(
        self,
        ports: Sequence[int],
        interface: Optional[str] = None,
        ring_mib: int = 64,
        expression: str = "",
    ) -> None:
        super().__init__(f"packet:{interface or 'any'}", ports)
        self._ring_bytes = max(ring_mib, 2) << 20
        self._waiting: Deque[Tuple[bytes, int]] = deque()  # (records, to add to their times)
        self._waiting_bytes = 0
        self._stopped_ns = 0
        require_packets()
        if interface:
            interface_index(interface)
        with self._stack:
            try:
                self._live = PacketReader.open_live(
                    interface or "any", self._ring_bytes, self.TIMEOUT_MS
                )
                self._use(self._live, expression)
                own = port_filter(ports, self._live.link)
                self._live.set_filter(f"({expression}) and {own}" if expression else own)
            except LibpcapError as error:
                if os.strerror(errno.ENOMEM) in str(error):
                    raise memory_error() from None
                raise SourceError(
                    f"cannot capture on {self.name}: {error}",
                    "membench.py check says what works here",
                ) from None
            # Loopback shows each packet as it leaves and as it comes; libpcap drops the first.
            # The kernel, since Linux 4.20, does it before they take room in the ring.
            if interface == "lo":
                with socket.socket(fileno=os.dup(self._live.fileno())) as packets:
                    with contextlib.suppress(OSError):
                        packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._stack = self._stack.pop_all()
        # The kernel's times are the calendar's, the profile's those of a clock that runs on.
        # Between the two there may be several differences, when the calendar's was set.
        self._differences_ns = [time.monotonic_ns() - time.time_ns()]

    def __enter__(self) -> "PacketSource":
        return self

    def started(self, _timeout_ms: int) -> Optional[Tuple[int, float]]:
        return time.monotonic_ns(), time.time()

    def now(self) -> int:
        return time.monotonic_ns()

    def read(self, timeout_ms: int) -> Optional[List[Segment]]:
        """See Source.read; None if the interface is gone."""
        if timeout_ms and not self._waiting and not self._fetch():
            # A poll that a signal interrupts goes on, so this one is short; see Stop.
            poll = select.poll()
            poll.register(self._live, select.POLLIN)
            poll.poll(timeout_ms)
        # What there is leaves the ring at once, so that the kernel finds room in it while
        # some of it is parsed.
        while self._waiting_bytes < self.WAITING_RINGS * self._ring_bytes and self._fetch():
            pass
        while self._waiting and not self._streams.segments:
            records, difference_ns = self._waiting.popleft()
            self._waiting_bytes -= len(records)
            packets = self._parser.parse(records, difference_ns)
            if self._stopped_ns:
                packets = [packet for packet in packets if packet[0] <= self._stopped_ns]
            self._streams.add(packets)
        if (self._stopped_ns or self._over) and not self._waiting:
            self._streams.finish()
        return self._take()

    def _fetch(self) -> bool:
        """Take some packets off the ring; were there any?"""
        if self._over:
            return False
        records, error = self._live.read(PACKETS_AT_ONCE)
        if error:
            self._over = True
            self.remarks.append(f"{self.name}: {error}")
        if records:
            self._waiting.append((records, self._choose_difference(records)))
            self._waiting_bytes += len(records)
        return bool(records)

    def _choose_difference(self, records: bytes) -> int:
        """What to add to the times of these. Call it soon after they came."""
        now_ns = time.monotonic_ns()
        current_ns = now_ns - time.time_ns()
        if abs(current_ns - self._differences_ns[-1]) > self.CLOCK_STEP_NS:
            self._differences_ns = [*self._differences_ns[-3:], current_ns]
        seconds, nanoseconds, _, _ = CAPTURED.unpack_from(records)
        stamp_ns = seconds * NS_PER_SECOND + nanoseconds
        return choose_difference(self._differences_ns, stamp_ns, now_ns + self.CLOCK_STEP_NS)

    def stop(self) -> None:
        """See Source.stop. Waits until the kernel has handed over what it holds."""
        if not self._stopped_ns:
            self._stopped_ns = time.monotonic_ns()
            time.sleep(4 * self.TIMEOUT_MS / 1000)

    def counters(self) -> Dict[str, int]:
        """See Source.counters; dropped_events are packets that the ring had no room for."""
        counted, dropped = super().counters(), self._live.dropped()
        # How much was in them nobody knows; that they were as large as the others is a guess,
        # but that they held nothing beyond the gaps that were noticed would be a worse one.
        mean = sum(self._streams.moved_bytes) / max(counted["events"], 1)
        missed = max(int(dropped * mean) - counted["gap_bytes"], 0)
        return {**counted, "dropped_events": dropped, "missed_bytes": missed}


def choose_difference(differences_ns: Sequence[int], stamp_ns: int, now_ns: int) -> int:
    """Which of these, added to that time of the past, comes closest to now.

    What was stamped before the calendar's clock was set back would, with the difference of
    today, be in the future; what was stamped after, with the one of before, long ago.
    """
    past = [ns for ns in differences_ns if stamp_ns + ns <= now_ns]
    return max(past, default=min(differences_ns))


def require_packets() -> None:
    """Raise SourceError with what to do, unless this process may capture packets."""
    if not hasattr(socket, "AF_PACKET"):
        raise SourceError(
            f"live packets need Linux; this is {platform.system()}",
            "record a file there: tcpdump -w FILE.pcap tcp port 11211",
        )
    require_proc()
    if not capget() >> CAP_NET_RAW & 1:
        raise SourceError(
            "capturing packets needs root (missing: CAP_NET_RAW)", how_to_get_privileges()
        )


# ==== Protocol ========================================================================
#
# Sans-IO: bytes go in, requests and responses come out. The rules:
#   - Values are counted off, never stored, so a gap inside one is no loss.
#   - A line may be cut anywhere; what is kept of it is bounded by LINE_MAX.
#   - A line that memcached refuses is a request too (form b"invalid"): it is answered
#     with an error. The value behind a refused storage command is read as commands by some
#     versions, and swallowed by others; see VALUE_LINE.
#   - ProtocolError means that these bytes cannot be followed any further.
#
# A new command needs its replies in REPLY_OUTCOMES and how its line is read in _PARSE.

# ---- Vocabulary: what the replies to each command mean ----

ERROR_OUTCOMES = {
    b"ERROR": ERROR,
    b"ERROR:": ERROR,
    b"CLIENT_ERROR": CLIENT_ERROR,
    b"SERVER_ERROR": SERVER_ERROR,
}
ERRORS = frozenset(ERROR_OUTCOMES.values())

# storage command -> its words, without noreply
STORAGE = {b"set": 5, b"add": 5, b"replace": 5, b"append": 5, b"prepend": 5, b"cas": 6}
_STORED_OUTCOMES = {
    b"STORED": STORED,
    b"NOT_STORED": NOT_STORED,
    b"EXISTS": EXISTS,
    b"NOT_FOUND": NOT_FOUND,
}
# END ends the values of the keys that were hit; see PendingRequests.
_RETRIEVAL_OUTCOMES = {b"END": HIT}

# meta command -> reply -> outcome; the first is what a q flag leaves out. HD may be OK: an
# option of memcached 1.6.12 and later.
META_OUTCOMES: Dict[bytes, Dict[bytes, int]] = {
    b"mg": {b"EN": MISS, b"HD": HIT, b"VA": HIT, b"OK": HIT},
    b"ms": {b"HD": STORED, b"OK": STORED, b"NS": NOT_STORED, b"EX": EXISTS, b"NF": NOT_FOUND},
    b"md": {b"HD": DELETED, b"OK": DELETED, b"NF": NOT_FOUND, b"EX": EXISTS},
    b"ma": {b"HD": OK, b"OK": OK, b"VA": OK, b"NF": NOT_FOUND, b"NS": NOT_STORED, b"EX": EXISTS},
    b"me": {b"ME": OK, b"EN": NOT_FOUND},
    b"mn": {b"MN": OK},
}

# command -> how it is answered
ADMIN = {
    **dict.fromkeys((b"version", b"verbosity", b"flush_all", b"cache_memlimit"), REPLY_LINE),
    **dict.fromkeys((b"slabs", b"lru", b"extstore", b"refresh_certs", b"shutdown"), REPLY_LINE),
    **dict.fromkeys((b"stats", b"lru_crawler"), REPLY_STREAM),
    b"watch": REPLY_FOREVER,
    b"quit": REPLY_NONE,
}
_ADMIN_OUTCOMES = {
    **dict.fromkeys((b"OK", b"RESET", b"END", b"VERSION", b"EN"), OK),
    **dict.fromkeys((b"BUSY", b"BADCLASS", b"NOTSTARTED", b"NOSPARE", b"NOTFULL"), ERROR),
    **dict.fromkeys((b"UNSAFE", b"SAME", b"NOT_SUPPORTED"), ERROR),
    **dict.fromkeys((b"WATCHER_TOO_MANY", b"WATCHER_FAILED"), ERROR),
}


def _with_lines(outcomes: Dict[bytes, int]) -> Dict[bytes, int]:
    """For words and errors, and for lines of one word as they are sent."""
    words = {**outcomes, **ERROR_OUTCOMES}
    return {**words, **{word + b"\r\n": outcome for word, outcome in words.items()}}


# command of the text protocol -> first word of a reply, or a whole line of one word -> outcome
REPLY_OUTCOMES: Dict[bytes, Dict[bytes, int]] = {
    command: _with_lines(outcomes)
    for command, outcomes in (
        *((command, _STORED_OUTCOMES) for command in STORAGE),
        *((command, _RETRIEVAL_OUTCOMES) for command in (b"get", b"gets", b"gat", b"gats")),
        (b"delete", {b"DELETED": DELETED, b"NOT_FOUND": NOT_FOUND}),
        (b"touch", {b"TOUCHED": TOUCHED, b"NOT_FOUND": NOT_FOUND}),
        *((command, {b"NOT_FOUND": NOT_FOUND}) for command in (b"incr", b"decr")),
        *META_OUTCOMES.items(),
        *((command, _ADMIN_OUTCOMES) for command in ADMIN),
        (b"invalid", {}),
    )
}

# This answers no request, but the connection itself.
TOO_MANY_CONNECTIONS = (b"ERROR", b"Too", b"many", b"open", b"connections")

# These words answer commands for data only.
DATA_WORDS = frozenset(
    (b"VALUE", b"VA", b"HD", b"NF", b"NS", b"EX", b"ME", b"MN", b"DELETED", b"TOUCHED")
).union(_STORED_OUTCOMES)


def reply_outcome(request: Request, word: bytes) -> Optional[int]:
    """What a line that begins with this word says of the request; None: not its answer."""
    outcome = request.outcomes.get(word)
    if outcome is not None:
        return outcome
    if request.reply == REPLY_BINARY:  # an unusual status
        return ERROR if word[:2] == bytes((BINARY_RESPONSE, request.opaque[0])) else None
    command = request.command
    if command in (b"incr", b"decr"):
        return OK if word.isdigit() else None
    if command not in ADMIN or word in DATA_WORDS:
        return None
    # One line of many; others are refused with many words.
    return OK if request.reply == REPLY_STREAM else ERROR


def ends_stream(request: Request, word: bytes) -> bool:
    """Is a line that begins with this word the last of a reply of many lines?"""
    if word == b"STAT":  # the only answers without an END
        return request.form.startswith(b"stats sizes_")
    if word == b"OK":  # since 1.6.43 a dump begins with it
        return b"dump" not in request.form
    return word in request.outcomes


def silent_outcome(request: Request) -> int:
    """What it means that a quiet request, or one with noreply, was not answered."""
    return next(iter(request.outcomes.values())) if request.quiet else NONE


# ---- Text: requests ----

Parsed = Tuple[Request, int]  # and how many bytes follow its line, a value's line end included

_NUMBER = re.compile(rb"[+-]?[0-9]{1,20}\Z")
_META_NUMBER = re.compile(rb"[FNRJD][0-9]{1,20}\Z")  # flags kept whole in a form
_META_MODE = re.compile(rb"M[A-Za-z+-]\Z")
META_WORDS_MAX = 19  # command, key and flags
OPAQUE_MAX = 32  # bytes, with the O
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


def parse_request(line: bytes) -> Parsed:
    """A command line, with or without its line end."""
    if line[-1:] == b"\n":
        line = line[: -2 if line[-2:] == b"\r\n" else -1]
    if b"\0" in line:  # to memcached a line is a C string
        line = line[: line.index(b"\0")]
    words = line.split(b" ")
    if b"" in words:  # memcached takes several spaces for one
        words = [word for word in words if word]
    parse, fewest, most = _PARSE.get(words[0], _UNKNOWN) if words else _UNKNOWN
    return parse(words[0], words) if fewest <= len(words) <= most else _invalid()


def _invalid(reply: int = REPLY_LINE, size: Optional[int] = None) -> Parsed:
    """A refused line. size: of the value that may follow it; then minus the bytes are returned."""
    has_value = size is not None and 0 <= size <= VALUE_MAX
    value_bytes = size + 2 if size is not None and has_value else 0
    return Request(b"invalid", reply, REPLY_OUTCOMES[b"invalid"]), -value_bytes


# A line of the value behind a refused storage command. The server either answers ERROR, then it
# was a request, or it has swallowed the value: which of them, the replies tell. Until then the
# line waits like a quiet request; one that is not answered was none.
VALUE_LINE = Request(b"invalid", REPLY_LINE, {b"": NONE, b"ERROR": ERROR}, quiet=True)


def _number(word: bytes, lowest: int, highest: int) -> Optional[int]:
    """A decimal within the bounds, or None where memcached would refuse it too."""
    if not (word.isdigit() and len(word) <= 20) and not _NUMBER.match(word):
        return None
    number = int(word)
    return number if lowest <= number <= highest else None


def _number32(word: bytes) -> Optional[int]:
    """A signed number as memcached up to 1.6.39 takes it: any long, cut to 32 bits.

    Later versions refuse what does not fit, but still read a body after it.
    """
    number = _number(word, -(2**63), 2**63 - 1)
    return None if number is None else (number + 2**31) % 2**32 - 2**31


def _parse_retrieval(command: bytes, words: List[bytes]) -> Parsed:
    exptime = _number32(words.pop(1)) if command[:3] == b"gat" else 0
    if exptime is None:
        return _invalid()
    keys = tuple(words[1:])  # gat without one touches nothing; memcached answers END or an error
    return Request(command, REPLY_VALUES, REPLY_OUTCOMES[command], keys, NO_SIZE, exptime), 0


def _parse_storage(command: bytes, words: List[bytes]) -> Parsed:
    noreply = words[-1] == b"noreply"
    reply = REPLY_NONE if noreply else REPLY_LINE
    flags = _number(words[2], 0, 2**64 - 1)
    exptime = _number32(words[3])
    size = _number32(words[4])
    if flags is None or exptime is None or size is None or not 0 <= size <= VALUE_MAX:
        return _invalid(reply, size)
    if len(words[1]) > KEY_MAX or (command == b"cas" and _number(words[5], 0, 2**64 - 1) is None):
        return _invalid(reply, size)
    form = command
    if flags:
        form += b" %d" % (flags % 2**32)
    if noreply:
        form += b" noreply"
    return Request(form, reply, REPLY_OUTCOMES[command], (words[1],), size, exptime), size + 2


def _parse_one_key(command: bytes, words: List[bytes]) -> Parsed:
    form, exptime = command, 0
    if command == b"touch":
        exptime = _number32(words[2]) or 0
    elif command != b"delete":
        delta = _number(words[2], 0, 2**64 - 1)
        form += b" ?" if delta is None else b" %d" % delta
    noreply = len(words) > 2 and words[-1] == b"noreply"
    form += b" noreply" if noreply else b""
    reply = REPLY_NONE if noreply else REPLY_LINE
    return Request(form, reply, REPLY_OUTCOMES[command], (words[1],), NO_SIZE, exptime), 0


def _parse_meta(command: bytes, words: List[bytes]) -> Parsed:
    if command == b"mn":
        return Request(command, REPLY_META, REPLY_OUTCOMES[command]), 0
    size, flags = NO_SIZE, words[2:]
    number = _number32(words[2]) if command == b"ms" and flags else None
    if len(words) < 2 or len(words[1]) > KEY_MAX or len(words) > META_WORDS_MAX:
        return _invalid(size=number)
    if command == b"ms":
        if number is None or not 0 <= number <= VALUE_MAX:
            return _invalid()
        size, flags = number, words[3:]
    key: Optional[bytes] = words[1]
    form, letters = [command], [flag[:1] for flag in flags]
    good, exptime, opaque = True, 0, b""
    for place, (letter, word) in enumerate(zip(letters, flags)):
        if letter in letters[:place]:  # memcached reads no further
            good = False
            break
        good = good and _good_flag(command, word)
        if letter == b"O":
            opaque = word
        elif letter == b"T":
            exptime = _number32(word[1:]) or 0
        elif letter == b"b":
            key = _decode_key(words[1])
        keep = _META_NUMBER.match(word) or _META_MODE.match(word)
        form.append(word if keep else letter if letter.isalpha() else b"?")
    good = good and key is not None
    return Request(
        b" ".join(form),
        REPLY_META,
        REPLY_OUTCOMES[command],
        (words[1] if key is None else key,),
        size,
        exptime,
        quiet=good and b"q" in letters,  # a refusal is never quiet
        opaque=opaque,
    ), 0 if size == NO_SIZE else size + 2


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
    reply = ADMIN[command]
    kept = [word if _ADMIN_WORD.match(word) else b"?" for word in words[1:6]]
    form = b" ".join([command, *kept])
    if words[-1] == b"noreply" and form.startswith(ADMIN_NOREPLY):
        reply = REPLY_NONE
    return Request(form, reply, REPLY_OUTCOMES[command]), 0


_MANY = 1 << 20  # words, more than a line can have
# command -> how its words are read, how many there are at least and at most
_PARSE: Dict[bytes, Tuple[Callable[[bytes, List[bytes]], Parsed], int, int]] = {
    **dict.fromkeys((b"get", b"gets", b"gat", b"gats"), (_parse_retrieval, 2, _MANY)),
    **{command: (_parse_storage, words, words + 1) for command, words in STORAGE.items()},
    b"delete": (_parse_one_key, 2, 4),
    **dict.fromkeys((b"incr", b"decr", b"touch"), (_parse_one_key, 3, 4)),
    **dict.fromkeys(META_OUTCOMES, (_parse_meta, 1, _MANY)),
    **dict.fromkeys(ADMIN, (_parse_admin, 1, 999)),
    **dict.fromkeys((b"lru", b"extstore"), (_parse_admin, 2, 999)),
    b"flush_all": (_parse_admin, 1, 3),
    **dict.fromkeys((b"verbosity", b"cache_memlimit"), (_parse_admin, 2, 3)),
}
_UNKNOWN = _parse_admin, 1, 0

# ---- Text: lines, and values that are counted off ----

Message = TypeVar("Message")


class RecentCache(Dict[bytes, Message]):
    """What `make` returned for recently used keys.

    It holds at most SIZE_MAX of them; when it is full, the older half is dropped.
    """

    SIZE_MAX = 65536
    KEY_MAX = 512  # bytes; longer keys are not remembered

    def __init__(self, make: Callable[[bytes], Message], key_max: int = KEY_MAX) -> None:
        super().__init__()
        self._make = make
        self._key_max = key_max
        self._older: Dict[bytes, Message] = {}

    def __missing__(self, key: bytes) -> Message:
        found = self._older.pop(key, None)
        if found is None:
            found = self._make(key)
        if len(key) <= self._key_max:
            if len(self) >= self.SIZE_MAX // 2:
                self._older = self.copy()
                self.clear()
            self[key] = found
        return found


# What the head of a message says: the message, the bytes of its body (below 0: of a value behind
# a refused line), is it complete only with its body?
Head = Tuple[Message, int, bool]


class MessageReader(Generic[Message]):
    """The messages of one direction, in order: heads, which may be cut, and bodies, counted off.

    partial is the beginning of a head; skip is how many bytes of a body are still to come.
    unread: how many bytes of the latest data were not read, since its hole was not in a body.
    """

    __slots__ = (
        *("partial", "skip", "unread"),
        *("heads", "_message_bytes", "_waiting", "_refused_bytes"),
    )

    # (data, line end, begin, end) -> the place of the last byte of the head at data[begin], or
    # below 0 if it is not before data[end].
    find_end: Any = staticmethod(bytes.find)

    @staticmethod
    def parse_head(head: bytes) -> Head[Message]:
        """A head; of text: a line with its line end. Raises ProtocolError."""
        raise NotImplementedError

    def __init__(self, heads: Optional[Dict[bytes, Head[Message]]] = None) -> None:
        """heads: a RecentCache(parse_head), shared by connections."""
        self.heads = RecentCache(self.parse_head, 0) if heads is None else heads
        self.forget()

    def forget(self) -> None:
        """Drop the message that is not complete."""
        self.partial = bytearray()
        self.skip = self.unread = 0
        self._message_bytes = 0  # of the message whose body is being skipped
        self._waiting: Optional[Message] = None  # is given when its body has come
        self._refused_bytes = 0  # still to come of a value behind a refused line

    def unfinished_bytes(self) -> int:
        """Bytes taken in of a message that is not complete."""
        return self._message_bytes - self.skip if self.skip else len(self.partial)

    def settle(self) -> None:
        """What was taken in of a value that is not complete has been counted."""
        self._message_bytes = self.skip

    def whole(self, data: bytes, hole: int) -> Optional[Message]:
        """The message that this data is, if it is one whole head and its body is the hole.

        See feed(). Nothing was done if it is anything else.
        """
        if self.partial or self.skip or self._refused_bytes:
            return None
        head = self.heads.get(data)
        if head is None and data and self.find_end(data, b"\n", 0, len(data)) == len(data) - 1:
            head = self.heads[data]
        return head[0] if head and head[1] == hole else None

    def feed(self, data: bytes, hole: int = 0, hole_at: int = -1) -> List[Message]:
        """The messages that begin, or became complete, in this data. Raises ProtocolError.

        hole: so many bytes are missing before data[hole_at], or at the end if that is -1.
        """
        done: List[Message] = []
        find_end, heads = self.find_end, self.heads
        if self.partial:
            if find_end is bytes.find and b"\n" not in data:  # do not look through it again
                self._keep(data, hole, hole_at)
                return done
            data = bytes(self.partial) + data
            hole_at += len(self.partial) if hole_at >= 0 else 0
            self.partial = bytearray()
        position, end = 0, len(data)
        stop = min(hole_at, end) if hole and hole_at >= 0 else end  # nothing is missing before it
        body, self.skip, self.unread = self.skip, 0, 0
        while body or position < stop:
            if body:
                position += body
                if hole and position > stop:
                    if position < stop + hole:
                        self.skip = position - stop
                        break
                    position -= hole
                    hole, stop = 0, end
                if position > stop:
                    self.skip = position - stop
                    return done
                if self._waiting is not None:
                    done.append(self._waiting)
                    self._waiting = None
                body = 0
                continue
            last = find_end(data, b"\n", position, stop)
            if last < 0:
                self._keep(data[position:], hole, stop - position)
                return done
            head = data[position : last + 1]
            message, body, waits = heads[head]
            position = last + 1
            if body or self._refused_bytes:
                message, body = self._begin_body(message, body, head)
                if body and waits:
                    self._waiting = message
                    continue
            done.append(message)
        if hole:
            self.unread = hole + end - stop
        return done

    def _keep(self, data: bytes, hole: int, hole_at: int) -> None:
        """The data is the beginning of a head, up to the hole."""
        if hole:
            rest = data[hole_at:] if hole_at >= 0 else b""
            data = data[: len(data) - len(rest)]
            self.unread = hole + len(rest)
        self.partial += data
        if len(self.partial) > LINE_MAX:
            raise ProtocolError("line too long")

    def _begin_body(self, message: Message, body_bytes: int, head: bytes) -> Tuple[Message, int]:
        """A message with a body, or one that is refused or may be of the value behind it."""
        if self._refused_bytes:
            self._refused_bytes -= len(head)
            if self._refused_bytes >= 0:
                message, body_bytes = self._parse_refused(head), 0
            self._refused_bytes = max(self._refused_bytes, 0)
        if body_bytes < 0:
            self._refused_bytes = -body_bytes
        self._message_bytes = len(head) + body_bytes
        return message, max(body_bytes, 0)

    def _parse_refused(self, line: bytes) -> Message:
        raise NotImplementedError


class RequestParser(MessageReader[Request]):
    """The requests of one connection, each given when its line has come."""

    __slots__ = ()

    @staticmethod
    def parse_head(head: bytes) -> Head[Request]:
        request, body_bytes = parse_request(head)
        return request, body_bytes, False

    def _parse_refused(self, line: bytes) -> Request:
        words = line.partition(b"\0")[0].split()
        if words and words[0] in _PARSE:  # its answer could be that of a later request
            raise ProtocolError("a command in the value of a refused command")
        return VALUE_LINE


class ResponseParser(MessageReader[Response]):
    """The lines and values of replies. VALUE is given before its data, VA after."""

    __slots__ = ()

    @staticmethod
    def parse_head(head: bytes) -> Head[Response]:
        words = head[:-1].rstrip(b"\r").split(b" ")
        word = words[0]
        if word != b"VALUE" and word != b"VA":
            return (word, words, -1), 0, False
        index = 3 if word == b"VALUE" else 1
        digits = words[index] if len(words) > index else b""
        if not digits.isdigit() or len(digits) > 10 or int(digits) > VALUE_MAX:
            raise ProtocolError("a value without a length")
        size = int(digits)
        return (word, words, size), size + 2, word == b"VA"


# ---- The binary protocol, and TLS ----
#
# The form of a request is its opcode's name, the word binary, and what else a replay needs:
# flags that are not 0, cas if one was given; of incr and decr the delta and the initial value.

BINARY_REQUEST, BINARY_RESPONSE = 0x80, 0x81
# magic, opcode, sizes of key and extras, vbucket or status, size of all that follows, opaque, cas
_BINARY_HEADER = struct.Struct(">BBHBxHI4sQ")
BINARY_NAMES: Dict[int, bytes] = dict(
    enumerate(
        b"get set add replace delete incr decr quit flush getq noop version getk getkq append "
        b"prepend stat setq addq replaceq deleteq incrq decrq quitq flushq appendq prependq "
        b"verbosity touch gat gatq".split(b" ")
    )
)
BINARY_NAMES.update({0x20: b"sasl_list", 0x21: b"sasl_auth", 0x22: b"sasl_step"})
BINARY_NAMES.update({0x23: b"gatk", 0x24: b"gatkq"})
BINARY_GETS = frozenset((b"get", b"getq", b"getk", b"getkq", b"gat", b"gatq", b"gatk", b"gatkq"))
_STORES = (b"set", b"add", b"replace", b"append", b"prepend")
BINARY_STORES = frozenset((*_STORES, *(name + b"q" for name in _STORES)))
BINARY_COUNTS = frozenset((b"incr", b"decr", b"incrq", b"decrq"))
BINARY_KEYLESS = (b"stat", b"sasl", b"unknown")  # what stands there is no key

# status -> outcome; the first is what a quiet opcode leaves out. What is not here is an error.
_STATUS_GET = {1: MISS, 0: HIT}
_STATUS_STORE = {0: STORED, 1: NOT_STORED, 2: NOT_STORED, 5: NOT_STORED}
_STATUS_CAS = {0: STORED, 1: NOT_FOUND, 2: EXISTS, 5: NOT_STORED}
_STATUS_COUNT = {0: OK, 1: NOT_FOUND, 2: EXISTS, 5: NOT_STORED}
_STATUS_DELETE = {0: DELETED, 1: NOT_FOUND, 2: EXISTS}
_STATUS_OTHER = {0: OK, 0x21: OK}  # 21: SASL goes on
_STATUS_ERRORS = {
    **dict.fromkeys((0x04, 0x06, 0x20), CLIENT_ERROR),  # invalid, not a number, not logged in
    **dict.fromkeys((0x03, 0x82, 0x84, 0x85, 0x86), SERVER_ERROR),  # too large, no memory, busy
}
STATUS_OUTCOMES: Dict[bytes, Dict[int, int]] = {
    **dict.fromkeys(BINARY_GETS, _STATUS_GET),
    **dict.fromkeys(BINARY_STORES, _STATUS_STORE),
    **dict.fromkeys(BINARY_COUNTS, _STATUS_COUNT),
    **dict.fromkeys((b"delete", b"deleteq"), _STATUS_DELETE),
    b"touch": {0: TOUCHED, 1: NOT_FOUND},
    b"quitq": {0: NONE},
}


@functools.lru_cache(maxsize=512)
def binary_outcomes(opcode: int, cas: bool) -> Dict[bytes, int]:
    """The first word of a Response -> outcome, for requests with this opcode."""
    outcomes = STATUS_OUTCOMES.get(BINARY_NAMES.get(opcode, b""), _STATUS_OTHER)
    if cas and outcomes is _STATUS_STORE:
        outcomes = _STATUS_CAS
    return {
        _response_word(opcode, status): outcome
        for status, outcome in {**outcomes, **_STATUS_ERRORS}.items()
    }


def _response_word(opcode: int, status: int) -> bytes:
    return struct.pack(">BBH", BINARY_RESPONSE, opcode, status)


def counted_from_nothing(request: Request, number: bytes) -> bool:
    """Did an incr of the binary protocol make its key, with the initial value?

    memcached then counts neither a hit nor a miss. Only the number can tell: it is too small
    to come from counting. Otherwise this counts as a hit.
    """
    name, _, *numbers = request.form.split(b" ")
    if name[:4] != b"incr" or len(numbers) < 2 or len(number) != 8 or request.exptime == -1:
        return False
    delta, initial = map(int, numbers[:2])
    return int.from_bytes(number, "big") == initial < delta


def _binary_value_size(header: Tuple[Any, ...]) -> int:
    """The size of the value, which is the body of a message. Raises ProtocolError."""
    magic, opcode, key_size, extras_size, _, body_size, _, _ = header
    value_size: int = body_size - key_size - extras_size
    if value_size < 0 or body_size > VALUE_MAX:
        raise ProtocolError("not the binary protocol")
    if magic == BINARY_RESPONSE and body_size == 8 and BINARY_NAMES.get(opcode) in BINARY_COUNTS:
        return 0  # a number; see counted_from_nothing()
    return value_size


def _find_binary_end(magic: int, data: bytes, begin: int, end: int) -> int:
    """As MessageReader.find_end: a head goes up to its key, or to a number behind it."""
    if data[begin] != magic:
        raise ProtocolError("not the binary protocol")
    if end - begin < _BINARY_HEADER.size:
        return -1
    header = _BINARY_HEADER.unpack_from(data, begin)
    last: int = begin + _BINARY_HEADER.size + header[5] - _binary_value_size(header) - 1
    return last if last < end else -1


class BinaryRequestParser(MessageReader[Request]):
    """The requests of one connection, each given when its key has come."""

    __slots__ = ()

    @staticmethod
    def find_end(data: bytes, _line_end: bytes, begin: int, end: int) -> int:
        return _find_binary_end(BINARY_REQUEST, data, begin, end)

    @staticmethod
    def parse_head(head: bytes) -> Head[Request]:
        header = _BINARY_HEADER.unpack_from(head)
        _, opcode, key_size, extras_size, _, _, opaque, cas = header
        value_bytes = _binary_value_size(header)
        key_at = len(head) - key_size
        extras, key = head[key_at - extras_size : key_at], head[key_at:]
        name = BINARY_NAMES.get(opcode, b"unknown")
        form = name + b" binary"
        exptime = 0
        if name in BINARY_STORES and extras_size == 8:
            flags, exptime = struct.unpack(">Ii", extras)
            form += b" %d" % flags if flags else b""
        elif name in BINARY_COUNTS and extras_size == 20:
            delta, initial, exptime = struct.unpack(">QQi", extras)
            form += b" %d %d" % (delta, initial)
        elif name not in BINARY_STORES and extras_size == 4:  # touch, gat, the delay of flush
            (exptime,) = struct.unpack(">i", extras)
        has_key = 0 < len(key) <= KEY_MAX and not name.startswith(BINARY_KEYLESS)
        request = Request(
            form + b" cas" if cas else form,
            REPLY_BINARY,
            binary_outcomes(opcode, bool(cas)),
            (key,) if has_key else (),
            value_bytes if name in BINARY_STORES else NO_SIZE,
            exptime,
            quiet=name.endswith(b"q"),
            opaque=bytes((opcode,)) + opaque,
        )
        return request, value_bytes, False


class BinaryResponseParser(MessageReader[Response]):
    """The replies of one connection, each given when its value has come."""

    __slots__ = ()

    @staticmethod
    def find_end(data: bytes, _line_end: bytes, begin: int, end: int) -> int:
        return _find_binary_end(BINARY_RESPONSE, data, begin, end)

    @staticmethod
    def parse_head(head: bytes) -> Head[Response]:
        header = _BINARY_HEADER.unpack_from(head)
        _, opcode, key_size, extras_size, status, body_size, opaque, cas = header
        number = head[-8:] if BINARY_NAMES.get(opcode) in BINARY_COUNTS else b""
        key = head[len(head) - key_size :]
        words = [bytes((opcode,)) + opaque, key, number, b"%d" % cas]
        size = body_size - key_size - extras_size
        return (_response_word(opcode, status), words, size), _binary_value_size(header), True


Parsers = Tuple[Type[MessageReader[Request]], Type[MessageReader[Response]]]
TEXT_PARSERS: Parsers = RequestParser, ResponseParser
BINARY_PARSERS: Parsers = BinaryRequestParser, BinaryResponseParser

NOT_TEXT = b"\x80\x16"  # how the binary protocol's requests and TLS begin
TLS_RECORDS = range(0x14, 0x18)
TLS_RECORD_MAX = (1 << 14) + 2048  # bytes behind its header


def is_tls(data: bytes) -> bool:
    """Is this the header of a TLS record? It is all that a server reads at first."""
    if len(data) < 5:
        return False
    kind, major, minor, length = struct.unpack_from(">BBBH", data)
    return kind in TLS_RECORDS and major == 3 and minor <= 4 and 0 < length <= TLS_RECORD_MAX


# ==== Matching ========================================================================

# A request that waits for its reply: when its last byte was read, 0 before that; how many
# requests came before it in the same read; is that time exact? (Not if the byte was in a gap.)
# And the number of its connection.
PendingRequest = Tuple[Request, int, int, bool, int]
# Of a retrieval: key index -> value size, of the hits.
Sizes = Dict[int, int]
_NO_SIZES: Sizes = {}

META_HIT_FLAGS = frozenset((b"c", b"f", b"h", b"k", b"l", b"s", b"t"))


class PendingRequests:
    """The requests of one connection that wait for replies; matches each reply to its request.

    `queue` holds tuples that begin with the Request; what else is in them is the owner's.
    done(pending, outcome, sizes, time_ns) is called once for each that leaves the queue through
    here, in their order; time_ns is that of the reply, 0 if it stayed silent.

    A reply line goes to the first request that is not quiet, unless it can be the answer to a
    quiet one before it. Quiet ones that were passed over had the outcome that gets no
    reply. VALUE lines go to the keys of a retrieval in their order; keys without one are misses.
    """

    __slots__ = ("queue", "done", "endless", "_sizes", "_next_key", "_refused")

    def __init__(self, done: Callable[[Any, int, Sizes, int], None]) -> None:
        self.queue: Deque[Any] = deque()
        self.done = done
        self.endless = False  # after `watch` replies are a log without an end
        self._sizes: Sizes = {}  # of the first request, so far
        self._next_key = 0  # its keys before this one are answered
        self._refused = False  # was a retrieval refused just now?

    def answer(self, responses: Iterable[Response], time_ns: int) -> Optional[Response]:
        """Give responses to the requests that they answer. Returns the first that answers none."""
        queue, index = self.queue, 0
        for response in responses:
            word, words, size = response
            if not word and self._refused and words == [b""]:
                self._refused = False  # some versions send an empty line behind the error
                continue
            if not queue or self.endless:
                return None if self.endless else response
            request = queue[0][0]
            if not request.plain and (request.quiet or request.reply >= REPLY_BINARY):
                found = self._find(word, words)
                if found is None:
                    return response
                index = found
                request = queue[index][0]
            if word == b"VALUE" and request.reply == REPLY_VALUES:
                # Keys are answered in order, misses are left out.
                try:
                    place = request.keys.index(words[1], self._next_key)
                except ValueError:
                    return response
                self._sizes[place] = size
                self._next_key = place + 1
                if index:
                    index = self._pass_silent(index)
                continue
            outcome = request.outcomes.get(word)
            if outcome is None:
                outcome = reply_outcome(request, word)
                if outcome is None:
                    return response
            if not request.plain:
                if request.reply == REPLY_STREAM and not ends_stream(request, word):
                    continue  # one of its lines
                if request.form == b"stat binary" and words[1]:
                    continue  # one of several; the last has no key
                if outcome == OK and request.reply == REPLY_BINARY:
                    outcome = STORED if counted_from_nothing(request, words[2]) else OK
                self.endless = outcome == OK and request.reply == REPLY_FOREVER
            if index:
                index = self._pass_silent(index)
            sizes = _NO_SIZES
            if self._sizes:
                sizes, self._sizes, self._next_key = self._sizes, {}, 0
            elif size >= 0 and outcome == HIT:
                sizes = {0: size}
            self._refused = outcome == CLIENT_ERROR and request.reply == REPLY_VALUES
            self.done(queue.popleft(), outcome, sizes, time_ns)
        return None

    def answer_first(self, segment: Segment, parse_head: Callable[[bytes], Head[Response]]) -> bool:
        """The common case: one write that is the whole reply to the first request.

        False if it is anything else; nothing was done then. Most replies are as the latest one
        to an equal request, but for the value; for others, parse_head does what
        ResponseParser.parse_head does.
        """
        pending = self.queue[0]
        request = pending[0]
        if not request.plain or self._sizes:
            return False
        _, time_ns, _, _, length, data, hole_at = segment
        whole, head, tail, bare, mark, outcome, size = request.latest
        if length != whole or not (
            (data == bare and hole_at == mark)
            or (len(data) == length and data.startswith(head) and data.endswith(tail))
        ):
            found = self._read_whole(request, segment, parse_head)
            if found is None:
                return False
            outcome, size = found
        self.queue.popleft()
        self.done(pending, outcome, {0: size} if size >= 0 else _NO_SIZES, time_ns)
        return True

    @staticmethod
    def _read_whole(
        request: Request, segment: Segment, parse_head: Callable[[bytes], Head[Response]]
    ) -> Optional[Tuple[int, int]]:
        """(outcome, size of the value or -1), if this is the whole reply to a request."""
        _, _, _, _, length, data, hole_at = segment
        head, tail = data[: data.find(b"\n") + 1], b""
        outcome, size, body_bytes = request.outcomes.get(head), -1, 0  # a line of one word
        if outcome is None:
            if not head:
                return None
            (word, words, size), body_bytes, _ = parse_head(head)
            outcome = request.outcomes.get(word)
            if request.reply == REPLY_VALUES:
                if word != b"VALUE" or request.keys != (words[1],):
                    return None
                outcome, tail = HIT, b"END\r\n"
        bare, mark = head + tail, len(head) if tail else hole_at
        if outcome is None or len(bare) + body_bytes != length or not data.endswith(tail):
            return None
        if len(data) != length and (data != bare or hole_at != mark):
            return None
        size = size if outcome == HIT else -1
        if len(bare) <= RecentCache.KEY_MAX:
            request.latest = length, head, tail, bare, mark, outcome, size
        return outcome, size

    def _pass_silent(self, count: int) -> int:
        """The first requests in the queue got no reply. Returns how many are left to pass: none."""
        for _ in range(count):
            pending = self.queue.popleft()
            self.done(pending, silent_outcome(pending[0]), _NO_SIZES, 0)
        return 0

    def end_silence(self) -> None:
        """The server reads on, and everything it sent was seen: quiet requests got no reply.

        Without this, a later reply could be given to one of them, and a client that sends only
        quiet requests would never be counted.
        """
        while self.queue and self.queue[0][0].quiet:
            self._pass_silent(1)

    # -- quiet requests --

    def _find(self, word: bytes, words: List[bytes]) -> Optional[int]:
        """The place in the queue of the request that this line answers."""
        if self.queue[0][0].reply == REPLY_BINARY:
            return self._find_binary(word, words)
        if word in ERROR_OUTCOMES:
            return self._find_refused(words)
        opaque = b""
        if len(word) == 2:  # a meta reply: only these carry an opaque
            opaque = next((w for w in words[1:] if w[:1] == b"O"), b"")
        created = None  # a quiet ma that may have created its key; some versions tell
        for index, (request, *_) in enumerate(self.queue):
            if request.reply == REPLY_NONE:
                continue
            if not request.quiet:
                taken = opaque == request.opaque and (
                    word == b"VALUE" or reply_outcome(request, word) is not None
                )
                return index if taken or created is None else created
            if opaque != request.opaque:
                continue
            if breaks_silence(request, word, words):
                return index
            if request.form[:2] == b"ma" and b" N" in request.form and word in (b"HD", b"VA"):
                created = index if created is None else created
        return created

    def _find_binary(self, word: bytes, words: List[bytes]) -> Optional[int]:
        """As _find, in the binary protocol: replies repeat opcode and opaque, sometimes the key."""
        opaque, key, *_ = words
        for index, (request, *_) in enumerate(self.queue):
            if request.opaque == opaque and (not key or request.keys in ((), (key,))):
                if not request.quiet or reply_outcome(request, word) != silent_outcome(request):
                    return index
            if not request.quiet:
                break
        return None

    def _find_refused(self, words: List[bytes]) -> Optional[int]:
        """The place in the queue of the request that this error is about.

        Quiet requests get errors too, and errors carry no opaque. Some name their command; any
        other one is given to the first request that is not quiet, if there is one.
        """
        candidates: List[Tuple[int, Request]] = []
        for index, (request, *_) in enumerate(self.queue):
            if request is VALUE_LINE:
                if words == [b"ERROR"]:
                    return index
            elif request.reply != REPLY_NONE:
                candidates.append((index, request))
                if not request.quiet:
                    break
        storing = [(index, one) for index, one in candidates if one.value_size != NO_SIZE]
        counting = [c for c in candidates if c[1].form[:2] in (b"ma", b"in", b"de")]
        if b"large" in words and storing:
            return max(storing, key=lambda found: found[1].value_size)[0]
        if b"chunk" in words and storing:
            return storing[0][0]
        if b"non-numeric" in words and counting:
            return counting[0][0]
        loud = [c for c in candidates if not c[1].quiet and c[1].form != b"mn"]
        return next((index for index, _ in loud + candidates), None)


def final_outcomes(
    queue: Iterable[PendingRequest], answered: bool
) -> Iterator[Tuple[PendingRequest, int]]:
    """What became of requests that were read whole, when the connection ended.

    answered: was all that the server sent seen? Nor does silence prove anything behind a request
    that was not answered: was it run at all?
    """
    for pending in queue:
        request = pending[0]
        if pending[1]:
            silent = request.quiet or request.reply == REPLY_NONE
            silent = silent or request.form.startswith(b"shutdown")
            outcome = silent_outcome(request) if silent else UNANSWERED
            if outcome != NONE and not answered:
                outcome = UNANSWERED
            answered = answered and outcome != UNANSWERED
            yield pending, outcome


def end_value(queue: Deque[PendingRequest], time_ns: int, exact: bool) -> None:
    """The last request is complete now, unless it was refused before."""
    if queue and not queue[-1][1]:
        request, _, place, _, number = queue[-1]
        queue[-1] = (request, time_ns, place, exact, number)


def distances(places: Iterable[Optional[int]], ends: Iterable[int]) -> List[int]:
    """How many bytes each stream is behind its end, modulo 2**32, where its place is known."""
    return [(end - at) & 0xFFFFFFFF for at, end in zip(places, ends) if at is not None]


def breaks_silence(request: Request, word: bytes, words: List[bytes]) -> bool:
    """Can this line be the answer to a quiet meta request? Its opaque is checked already."""
    command, *rest = request.form.split(b" ")
    outcome = request.outcomes.get(word)
    if outcome is None or outcome == silent_outcome(request):
        return False
    asked = {flag[:1] for flag in rest}
    if outcome == EXISTS or (command == b"ms" and outcome == NOT_FOUND):
        if b"C" not in asked:  # a comparison only can end so
            return False
    if command == b"ms" and outcome == NOT_STORED and b"M" not in asked:
        return False
    given = {flag[:1] for flag in words[2 if word == b"VA" else 1 :]}
    if b"k" in asked:
        key = next((w[1:] for w in words[1:] if w[:1] == b"k"), None)
        if key is None or request.keys[0] not in (key, _decode_key(key)):
            return False
    if outcome == HIT:  # a hit gives back all that was asked for
        return (word == b"VA") == (b"v" in asked) and asked & META_HIT_FLAGS <= given
    return True


# ==== Connections =====================================================================

# A connection is synchronized if it is certain where the next request and the next reply begin.
UNSYNCED, TENTATIVE, SYNCED, WATCHING, ENCRYPTED = range(5)
# What may happen:
STARTS = 0  # a read begins (with packets: the client continues after a reply)
FITS = 1  # what was read tentatively got a plausible reply
BREAKS = 2  # a gap outside of a value, invalid bytes, a reply to nothing; or too much waits
WATCHES = 3  # `watch` was answered: what the server sends is a log without an end
IS_TLS = 4

# A jump in a stream is a gap; or, if the identifier can be used again, another socket has got it
# unnoticed. It is a gap if the call is where it should be in the other direction. Else nothing is
# made up of it: bytes that were dropped had been counted when they moved; see Ledger.report.
GAP_MAX = 1 << 30  # more is backwards, or farther than any TCP window
NO_DOUBT = (0, -1)  # so many bytes of replies are missing if the next read begins at this place

# state -> what happens -> the state after it. See Connection._change for what becomes of the
# bytes and of the requests.
TRANSITIONS: Dict[int, Dict[int, int]] = {
    UNSYNCED: {STARTS: TENTATIVE, BREAKS: UNSYNCED},
    TENTATIVE: {FITS: SYNCED, BREAKS: UNSYNCED, IS_TLS: ENCRYPTED},
    SYNCED: {WATCHES: WATCHING, BREAKS: UNSYNCED, IS_TLS: ENCRYPTED},
    WATCHING: {BREAKS: UNSYNCED},
    ENCRYPTED: {BREAKS: ENCRYPTED},
}


class Trial:
    """What was read tentatively from a server's own reads: kept until a reply fits.

    Two facts about memcached allow synchronization. It reads on only when everything it had
    read is answered, except for an incomplete command; so the first bytes sent after a read
    begin a reply. And a read begins with a command, or within one. So the next read is parsed
    tentatively, and a reply that fits its first request proves it right.
    """

    REPLIES_MAX = 0  # lines of one reply that are looked at
    COUNTS = True  # do its operations and bytes count, when the connection is synchronized?

    def __init__(self) -> None:
        self.operations: List[Tuple[PendingRequest, int, Sizes, int]] = []
        self.bytes = 0  # read and sent until now; they count as lost
        self._replies: List[Response] = []  # to the first request in the queue, so far
        self.misfit = False  # a request was answered before it had come
        self.fits = False

    def answer(
        self, pending: PendingRequests, responses: Iterable[Response], time_ns: int
    ) -> Optional[Response]:
        """Give replies to requests; see PendingRequests.answer."""
        for response in responses:
            if response[0] and len(self._replies) < self.REPLIES_MAX:
                self._replies.append(response)
            if pending.answer((response,), time_ns):
                return response
        return None

    def weigh(self, pending: PendingRequest, outcome: int, sizes: Sizes, time_ns: int) -> None:
        """A request was answered. Before the whole value has come there can be an error only."""
        self.operations.append((pending, outcome, sizes, time_ns))
        self.misfit = self.misfit or not (pending[1] or outcome in ERRORS)
        self.fits = self.fits or bool(time_ns)


class PacketTrial(Trial):
    """What was read tentatively from packets, which do not show when the server reads.

    A packet can begin within a value, and a reply that follows a request may be that of an
    earlier one, which the server still had to answer; if the client stays ahead of the replies,
    that can last forever. So more evidence is needed:

      - TURNS turns in a row, each of whole requests, each with plausible replies, before the next
        begins; a turn is what a client sends until the server answers. The end of a value, and
        requests that were not seen, do not fit like this.
      - the replies fit no other way: had one of the last SHIFTS requests been answered each
        time instead, at least one reply would not have been its answer. (With memcached one is
        as many as can be behind in turns like these: it reads all that has come.) Or TURNS of
        the turns began after a pause of PAUSE_NS, in which the server would have answered
        what it still had; so requests and replies that are all alike are no obstacle.

    The evidence is not recorded and counts as lost.
    """

    TURNS = 4
    SHIFTS = 4
    PAUSE_NS = NS_PER_SECOND // 20
    REPLIES_MAX = 4096
    COUNTS = False

    def __init__(self) -> None:
        super().__init__()
        self._forget()

    def _forget(self) -> None:
        self._turns = 0  # seen in a row
        self._pauses = 0
        self._silent = False  # was one passed over since the last that was answered?
        self._shifts = set(range(1, self.SHIFTS + 1))  # other ways that are still possible
        self._recent: Deque[PendingRequest] = deque(maxlen=self.SHIFTS)  # answered
        self._replies = []

    def weigh(self, pending: PendingRequest, outcome: int, _sizes: Sizes, time_ns: int) -> None:
        self.misfit = self.misfit or not (pending[1] or outcome in ERRORS)
        if not time_ns:
            self._silent = True
            return
        if self._silent or pending[0].quiet:  # who else was silent? Nothing is certain
            self._forget()
            return
        for shift in list(self._shifts):
            if len(self._recent) >= shift and not self._fit(self._recent[-shift]):
                self._shifts.discard(shift)
        self._recent.append(pending)
        self._replies = []

    def end_turn(self, pause_ns: int) -> None:
        """All that the client had sent was answered, and it goes on after this pause."""
        self._turns += 1
        self._pauses += pause_ns >= self.PAUSE_NS
        alone = not self._shifts or self._pauses >= self.TURNS
        self.fits = self._turns >= self.TURNS and alone

    def _fit(self, other: PendingRequest) -> bool:
        """Could the replies be the whole answer to this request?"""
        trial = PendingRequests(lambda *_: None)
        trial.queue.append(other)
        return trial.answer(self._replies, 0) is None and not trial.queue


class Connection:
    """One connection: both directions, what is known of their streams, and what waits.

    One whose beginning was seen is synchronized. One that was joined mid-stream, or that lost
    bytes outside of a value, is not: its next bytes may be a command or the middle of a value,
    which can look like one. Trial says how it gets there. No operation is ever guessed.
    """

    QUEUE_SMALL = 40  # requests that may wait without a look at how much is held

    __slots__ = (
        *("number", "sock", "named", "ended", "final", "held", "joined"),
        *("state", "recv_next", "send_next", "requests", "responses", "pending"),
        *("_matcher", "_ledger", "_answers", "_binary", "_fresh"),
        *("_read_ns", "_read_count", "_sent_ns", "_trial", "_doubt"),
    )

    def __init__(self, matcher: "Matcher", number: int, opened: bool, sock: bytes = b"") -> None:
        self._matcher = matcher
        self._ledger = matcher.ledger
        self._answers = matcher.responses  # are they recorded?
        self.number = number
        self.sock = sock  # see Segment
        self.named = False  # is it known which server it belongs to?
        self.ended = False
        self.final: Optional[Tuple[int, int]] = None  # see Matcher._forget
        self.held = 0  # bytes that wait; see Matcher.hold
        self.state = SYNCED if opened else UNSYNCED
        self.joined = not opened  # mid-stream, and not synchronized since
        self.recv_next: Optional[int] = None  # expected TCP sequence numbers
        self.send_next: Optional[int] = None
        self._binary: Optional[bool] = None  # which protocol it speaks, if that is certain
        self._read_ns = 0  # of the latest read
        self._read_count = 0  # requests that began in it
        self._sent_ns = 0  # when the server sent last; 0: something was received since
        self._doubt = NO_DOUBT
        self._begin_parsing()

    def _begin_parsing(self) -> None:
        self._use_parsers(TEXT_PARSERS)
        self.pending = PendingRequests(self._matcher.emit)
        self._fresh = True  # nothing was parsed yet
        self._trial: Any = None  # a Trial, while TENTATIVE

    def _use_parsers(self, parsers: Parsers) -> None:
        requests, responses = parsers
        self.requests = requests(self._matcher.heads[requests])
        self.responses = responses(self._matcher.heads[responses])

    def _half_bytes(self) -> int:
        return self.requests.unfinished_bytes() + self.responses.unfinished_bytes()

    # -- bytes in --

    def receive(self, segment: Segment) -> None:
        """What the server read."""
        _, time_ns, _, offset, length, data, sent = segment
        expected, self.recv_next = self.recv_next, (offset + length) & 0xFFFFFFFF
        new_read = time_ns != self._read_ns
        if new_read:
            self._read_ns, self._read_count = time_ns, 0
        if offset != expected or self.state != SYNCED or self._fresh:
            if not self._may_read(segment, expected, new_read):
                return
        self._sent_ns = 0
        queue, requests = self.pending.queue, self.requests
        if new_read and queue and queue[0][0].quiet and sent == self.send_next:
            # The server reads on, and everything it sent was seen. A client may write before it
            # reads; and if a request is half read, not all may be answered yet.
            if self._matcher.reads and not requests.unfinished_bytes():
                self.pending.end_silence()
        storing = requests.skip
        try:
            if not queue and self._answers and self.state == SYNCED:  # most reads are one request
                request = requests.whole(data, length - len(data))
                if request and request.plain:
                    queue.append((request, time_ns, self._read_count, True, self.number))
                    self._read_count += 1
                    return
            begun = requests.feed(data, length - len(data))
        except ProtocolError:
            self._break_at(requests, length)
            return
        if storing and (begun or not requests.skip):
            end_value(queue, time_ns, True)
        for place, request in enumerate(begun, self._read_count):
            queue.append((request, time_ns, place, True, self.number))
        self._read_count += len(begun)
        if begun and requests.skip:  # the last one is not complete yet
            queue[-1] = (request, 0, place, True, self.number)
        if requests.unread:
            self._lose(requests.unread)
            self._change(BREAKS)
        elif queue:
            if self._trial and any(request.form == b"invalid" for request in begun):
                self._change(BREAKS)
            elif queue[0][0].reply == REPLY_NONE or not self._answers:
                self._pass_unanswered()
        waits = requests.partial or self.held or len(queue) > self.QUEUE_SMALL
        if waits and not self._matcher.hold(self):
            self._change(BREAKS)

    def _may_read(self, segment: Segment, expected: Optional[int], new_read: bool) -> bool:
        """Is this segment, which is not simply the next read, to be parsed?"""
        _, time_ns, _, offset, length, data, sent = segment
        sent_ns, self._sent_ns = self._sent_ns, 0
        if self.send_next is None and self._matcher.reads and sent >= 0:
            self.send_next = sent  # so that replies that nobody saw are missed
        behind_gap = offset != expected and expected is not None
        (doubtful_bytes, place), self._doubt = self._doubt, NO_DOUBT
        if offset == place:  # so they are missing indeed
            self._ledger.seen_bytes += doubtful_bytes
            self._ledger.lost_bytes += doubtful_bytes
        elif offset != expected and is_reusable(segment[2]) and sent != self.send_next:
            self.send_next = sent
            if behind_gap:
                self._change(BREAKS)
        elif behind_gap:
            self._miss(self.requests, offset - (expected or 0), time_ns)
        if self.state != SYNCED:
            reads = self._matcher.reads
            begins = new_read if reads else self._begin_turn(time_ns, sent_ns, sent)
            if not self._may_parse(length, begins and not behind_gap):
                return False
        return not (self._fresh and data) or self._choose_protocol(data, length)

    def send(self, segment: Segment) -> None:
        """What the server wrote."""
        _, time_ns, _, offset, length, data, mark = segment
        expected, self.send_next = self.send_next, (offset + length) & 0xFFFFFFFF
        self._sent_ns = time_ns
        if offset != expected and expected is not None:
            missing = (offset - expected) & 0xFFFFFFFF
            is_sure = mark == self.recv_next
            if len(data) != length:  # mark tells something else; a value bounds what is missing
                is_sure = missing <= self.responses.skip
            if is_sure or not is_reusable(segment[2]):
                self._miss(self.responses, missing, 0)
            else:
                doubtful_bytes, place = self._doubt
                doubtful_bytes += missing if missing < GAP_MAX else 0
                self._doubt = doubtful_bytes, place if self.recv_next is None else self.recv_next
                self.recv_next = None
                self._change(BREAKS)
        responses = self.responses
        if self.state != SYNCED:
            if self.state == TENTATIVE and self._matcher.reads and not self.pending.queue:
                self._change(BREAKS)  # nothing that could be answered was read
            if not self._may_parse(length, False):
                return
        elif not self._answers:
            return
        queue, found = self.pending.queue, []
        unasked_bytes = 0 if queue else responses.unfinished_bytes() + length  # of whole replies
        try:
            between = self.state == SYNCED and not (responses.skip or responses.partial)
            whole = between and queue and self.pending.answer_first(segment, responses.parse_head)
            if not whole:
                hole_at = mark if length != len(data) else -1
                found = responses.feed(data, length - len(data), hole_at)
        except ProtocolError:
            self._break_at(responses, length)
            return
        if found or (queue and queue[0][0].reply == REPLY_NONE):
            self._match(found, time_ns, unasked_bytes)
        if responses.unread and self.state in (TENTATIVE, SYNCED):
            self._lose(responses.unread)
            self._change(BREAKS)
        if (responses.partial or self.held) and not self._matcher.hold(self):
            self._change(BREAKS)

    def _choose_protocol(self, data: bytes, length: int) -> bool:
        """Choose as memcached does: by the first byte of a connection, for its whole life.

        What is read after synchronization was lost must be of the same protocol.
        """
        if self._binary is None and is_tls(data):
            self._ledger.tls_connections += 1
            self._ledger.tls_bytes += length
            self.joined = False
            self._lose(length)
            self._change(IS_TLS)
            return False
        self._fresh = False
        if data[0] == BINARY_REQUEST and self._binary is not False:
            self._use_parsers(BINARY_PARSERS)
        elif self._binary or data[0] in NOT_TEXT:
            self._lose(length)
            self._change(BREAKS)
            return False
        if self.state == SYNCED:
            self._binary = data[0] == BINARY_REQUEST
        return True

    # -- where the bytes went --

    def _lose(self, length: int) -> None:
        """Count bytes that were seen but not understood. Tentative ones are counted already."""
        if self.state != TENTATIVE:
            self._count_lost(length)
            self._ledger.tls_bytes += length if self.state == ENCRYPTED else 0

    def _count_lost(self, length: int) -> None:
        self._ledger.lost_bytes += length
        self._ledger.joined_bytes += length if self.joined else 0

    def _break_at(self, reader: MessageReader[Any], length: int) -> None:
        """These bytes are not memcached's protocol."""
        self._lose(max(length, reader.unfinished_bytes()))
        reader.forget()
        self._change(BREAKS)

    def _miss(self, reader: MessageReader[Any], difference: int, time_ns: int) -> None:
        """A range of the stream that no segment covers; time_ns is that of the next one."""
        length = difference & 0xFFFFFFFF
        known = length < GAP_MAX
        self._ledger.seen_bytes += length if known else 0
        if known and self.state == WATCHING and reader is self.responses:
            return
        if known and self._is_parsed(length):
            found = reader.feed(b"", length)
            if not reader.unread:
                if found:
                    self._match(found, time_ns)
                elif reader is self.requests and not reader.skip:
                    end_value(self.pending.queue, time_ns, False)
                return
        self._lose(length if known else 0)
        self._change(BREAKS)

    def _may_parse(self, length: int, begins: bool) -> bool:
        """Are these bytes to be parsed? If not, they are counted here."""
        if self.state == UNSYNCED and begins:
            self._change(STARTS)
        if self.state not in (TENTATIVE, SYNCED, WATCHING):
            self._lose(length)
        return self._is_parsed(length)

    def _is_parsed(self, length: int) -> bool:
        """Are these bytes parsed? Tentative ones are lost until a reply proves the contrary."""
        if self._trial:
            self._trial.bytes += length
            self._count_lost(length)
        return self.state in (TENTATIVE, SYNCED)

    def _begin_turn(self, time_ns: int, sent_ns: int, acknowledged: int) -> bool:
        """Packets: does the client continue after a reply? Then a turn ends, if there was one."""
        begins = bool(sent_ns) and acknowledged in (-1, self.send_next)
        if self._trial and sent_ns:
            waiting = any(request.reply != REPLY_NONE for request, *_ in self.pending.queue)
            if waiting or self._half_bytes() or not begins:
                self._change(BREAKS)
            else:
                self.pending.queue.clear()
                self._trial.end_turn(time_ns - sent_ns)
                if self._trial.fits:
                    self._change(FITS)
        return begins

    def _change(self, event: int) -> None:
        """The one place where the state changes; what becomes of what was read until then."""
        before, self.state = self.state, TRANSITIONS[self.state][event]
        ledger, trial = self._ledger, self._trial
        if event == STARTS:
            self._trial = Trial() if self._matcher.reads else PacketTrial()
            self.pending.done = self._trial.weigh
        elif event == FITS and trial:
            self._trial = None
            self.pending.done = self._matcher.emit
            self._binary = isinstance(self.requests, BinaryRequestParser)
            self._count_lost(-trial.bytes if trial.COUNTS else 0)
            self.joined = False
            for operation in trial.operations:
                self._matcher.emit(*operation)
        elif event in (BREAKS, IS_TLS):
            if before in (SYNCED, WATCHING):
                ledger.desyncs += event == BREAKS
                ledger.lost_bytes += self._half_bytes()
                for pending in self.pending.queue:
                    if pending[1]:  # it was run; only the answer is not known
                        told = pending[0].reply != REPLY_NONE and self._answers
                        self._matcher.emit(pending, LOST if told else NONE, _NO_SIZES, 0)
            self._begin_parsing()
            self._matcher.hold(self)

    def begin_chain(self, recv_next: int, send_next: int) -> bool:
        """Both streams stand between two messages at these places, as the kernel sees it.

        False if all was parsed up to there and says otherwise; if bytes are missing, what they
        were part of is given up.
        """
        missing = distances((self.recv_next, self.send_next), (recv_next, send_next))
        whole = not any(missing)
        self._lose(sum(length for length in missing if length < GAP_MAX))
        if self.state == SYNCED and whole and (self.pending.queue or self._half_bytes()):
            return False
        if self.state != SYNCED or not whole:
            self._change(BREAKS)
            if self.state == UNSYNCED:
                self._change(STARTS)
                self._change(FITS)
        return True

    def _match(self, found: List[Response], time_ns: int, unasked_bytes: int = 0) -> None:
        pending, trial = self.pending, self._trial
        odd = trial.answer(pending, found, time_ns) if trial else pending.answer(found, time_ns)
        if odd:
            if not pending.queue and tuple(odd[1]) == TOO_MANY_CONNECTIONS:
                self._ledger.refused_connections += 1
                return
            self._ledger.unmatched_responses += self.state == SYNCED
            rest = self.responses.unfinished_bytes() + self.responses.unread
            self._lose(max(unasked_bytes - rest, 0))
            if trial or pending.queue:
                self._change(BREAKS)
            return
        if trial and (trial.misfit or trial.fits):
            self._change(BREAKS if trial.misfit else FITS)
        if pending.endless and self.state == SYNCED:
            self._change(WATCHES)
        elif pending.queue and pending.queue[0][0].reply == REPLY_NONE:
            self._pass_unanswered()

    def _pass_unanswered(self) -> None:
        """Requests at the head that get no reply are done when they are read."""
        queue, responses = self.pending.queue, self._answers
        if self._trial and self._matcher.reads and not responses and queue[0][1]:
            self._change(FITS)  # it was well-formed as far as it went; no reply will tell
        while self.state == SYNCED and queue and queue[0][1]:
            if queue[0][0].reply != REPLY_NONE and responses:
                break
            self._matcher.emit(queue.popleft(), NONE, _NO_SIZES, 0)

    def close(self) -> None:
        """The connection ended: what still waits was not answered."""
        if self.state in (SYNCED, WATCHING):
            half_bytes = self.responses.unfinished_bytes()
            self._lose(half_bytes)
            self.responses.forget()
            # Silence proves nothing unless all that was sent was seen.
            unseen = distances((self.send_next,), self.final[1:]) if self.final else []
            seen_all = max(unseen, default=2) <= 1 and not half_bytes  # a FIN counts for one
            for pending, outcome in final_outcomes(self.pending.queue, seen_all):
                self._matcher.emit(pending, outcome, _NO_SIZES, 0)
            if self.pending.queue and not self.pending.queue[-1][1]:
                self._lose(self.requests.unfinished_bytes())
                self.requests.settle()
        self.pending.queue.clear()
        self.ended = True
        self._matcher.hold(self)


# ---- All connections ----


# What stands in an Exchange as text: command, arguments and reply in one piece, and the key.
_EXCHANGE_TEXTS = struct.Struct("8s8x24s16s")
_PARTS = f"{RECORD_HEADER_BYTES + Exchange.command.offset}x{_EXCHANGE_TEXTS.size}s64s"
_ONE_EXCHANGE, _MANY_EXCHANGES = struct.Struct(_PARTS), struct.Struct(512 * _PARTS)
NO_ANSWER = -1  # what was sent is no reply to that request


def exchange_field(run: bytes, typecode: str, field: Any) -> "array[int]":
    """One field of all exchanges of a run."""
    view: Any = memoryview(run)
    view = view.cast(typecode)
    width = view.itemsize
    first = (RECORD_HEADER_BYTES + field.offset) // width
    return array(typecode, view[first :: EXCHANGE_RECORD // width].tobytes())


def both_halves(total: int) -> int:
    """A sum of pairs of numbers, each in one word of 64 bits; those in its lower half are few."""
    return (total & 0xFFFFFFFF) + (total >> 32)


class Exchanges:
    """Runs of exchanges as columns of operations; no code of ours runs once for each of them.

    The parser reads what is the same for many of them, the command with its arguments and the
    first word of the reply, once for each that differs.
    """

    def __init__(self, encode_key: Callable[[bytes], int]) -> None:
        self.numbers: Dict[int, Optional[int]] = {}  # sock_id -> connection; None: not believed
        self._codes = RecentCache(lambda padded: encode_key(padded.rstrip(b"\0")))
        self._texts = RecentCache(self._read_texts)

    @staticmethod
    def _read_texts(texts: bytes) -> Tuple[bytes, int, int]:
        """(form, outcome, exptime)"""
        command, arguments, reply = (text.rstrip(b"\0") for text in _EXCHANGE_TEXTS.unpack(texts))
        request, _ = parse_request(command + b" k" + arguments)
        if request.reply == REPLY_VALUES:
            outcome = {b"VALUE": HIT, b"END": MISS}.get(reply)
        else:
            outcome = reply_outcome(request, reply)
        if outcome is None or request.keys != (b"k",) or request.quiet:
            outcome = NO_ANSWER
        return request.form, outcome, request.exptime

    def columns(self, run: bytes) -> Tuple[List[Sequence[Any]], int, int]:
        """The columns of Operation; bytes that could not be understood; bytes of all."""
        count = len(run) // EXCHANGE_RECORD
        many = len(run) // _MANY_EXCHANGES.size * _MANY_EXCHANGES.size
        unpacked = chain(  # to unpack many at a time takes a quarter of the time
            _MANY_EXCHANGES.iter_unpack(run[:many]), _ONE_EXCHANGE.iter_unpack(run[many:])
        )
        parts = list(chain.from_iterable(unpacked))
        forms, outcomes, exptimes = zip(*map(self._texts.__getitem__, parts[0::2]))
        columns: List[Sequence[Any]] = [
            exchange_field(run, "q", Exchange.time_ns),
            exchange_field(run, "I", Exchange.latency_ns),
            list(map(self.numbers.get, exchange_field(run, "Q", Exchange.sock_id))),
            forms,
            outcomes,
            array("H", bytes(2 * count)),
            array("I", bytes(4 * count)),
            parts[1::2],  # keys
            exchange_field(run, "I", Exchange.value_len),
            exptimes,
        ]
        moved = exchange_field(run, "Q", Exchange.recv_len)  # and above that, send_len
        moved_bytes, lost_bytes = both_halves(sum(moved)), 0
        if NO_ANSWER in outcomes or None in columns[2]:
            known = [
                outcome != NO_ANSWER and number is not None
                for outcome, number in zip(outcomes, columns[2])
            ]
            columns = [list(compress(column, known)) for column in columns]
            lost_bytes = moved_bytes - both_halves(sum(compress(moved, known)))
        columns[7] = list(map(self._codes.__getitem__, columns[7]))
        return columns, lost_bytes, moved_bytes


def hash_of_keys(secret: bytes) -> Callable[[bytes], int]:
    """The function that makes the keyed hash of a key, a number of 64 bits."""
    import hashlib

    new_hash = hashlib.blake2b(digest_size=8, key=secret).copy

    def hash_key(key: bytes) -> int:
        keyed = new_hash()
        keyed.update(key)
        return int.from_bytes(keyed.digest(), "little")

    return hash_key


class Matcher:
    """All connections: segments in, operations out to `sink`.

    Memory is bounded by the number of connections that are open; of one that was closed, a
    tombstone stays for late segments.
    """

    ENDED_MAX = 4096  # closed connections remembered
    HELD_TOTAL_MAX = 64 << 20  # bytes that wait on all connections; see hold()
    HELD_SMALL = 16384  # bytes on one connection that do not count

    def __init__(
        self,
        sink: Callable[[Columns], None],
        on_connection: Callable[[int, int, int, int, Optional[ServerName]], None],
        secret: bytes,
        responses: bool = True,
        reads: bool = True,
        server: Callable[[int, int, int, bytes], Optional[ServerName]] = lambda *_: None,
        *,
        on_key: Optional[Callable[[int, bytes], None]] = None,
    ) -> None:
        self.ledger = Ledger()
        self.connections: Dict[bytes, Connection] = {}  # by sock_id, packed
        self._by_sock: Dict[bytes, Connection] = {}  # also by the whole of sock, as seen last
        self.open_count = 0
        self.total_count = 0
        self.opened_count = 0
        self.operations = self.hits = self.misses = 0  # so far
        self._sink = sink
        self._rows: List[Any] = []  # one Operation after the other, not as tuples
        self._on_connection = on_connection  # (time_ns, number, port, kind, server)
        self._server = server  # see Source.server
        self._hash_key = hash_of_keys(secret)
        self._on_key = on_key  # (code, key), for each key that was not seen lately
        self.responses = responses  # are they recorded?
        self.reads = reads  # are segments reads and writes? Else packets; see Trial
        self.heads: Dict[Any, RecentCache[Any]] = {  # for each kind of parser
            parser: RecentCache(parser.parse_head) for parser in (*TEXT_PARSERS, *BINARY_PARSERS)
        }
        self._code_of = RecentCache(self._encode_key).__getitem__
        self._exchanges = Exchanges(self._encode_key)
        self.held_bytes = 0  # see hold()
        self._ended: Deque[Connection] = deque()
        self._closed_now: List[Tuple[Connection, int]] = []
        self._closed_before: List[Tuple[Connection, int]] = []

    def process(self, segments: Iterable[Segment]) -> None:
        """Take a batch of segments in, in the order of each connection."""
        by_sock, seen_bytes = self._by_sock, 0
        for segment in segments:
            kind, connection = segment[0], by_sock.get(segment[2])
            if kind <= SEND:  # or RECV
                if connection is None:
                    connection = self._find(segment) or self._add(segment)
                seen_bytes += segment[4]
                if kind == RECV:
                    connection.receive(segment)
                else:
                    connection.send(segment)
            elif kind == EXCHANGE:
                self._hand_over_rows()  # one connection may have some of both
                self._take_exchanges(segment[5])
            else:
                self._take_change(segment, connection or self._find(segment))
        self.ledger.seen_bytes += seen_bytes
        # A reset closes a connection while another CPU is still at work on it, so its
        # last events may come after. A batch later they are here.
        for closed in self._closed_before:
            self._close(*closed)
        self._closed_before, self._closed_now = self._closed_now, []
        self._hand_over_rows()

    def _take_change(self, segment: Segment, connection: Optional[Connection]) -> None:
        """A connection opened or closed, or exchanges begin or end."""
        kind, time_ns, sock, offset, length, _, mark = segment
        if kind == CLOSE:
            if connection is not None and not connection.ended:
                connection.final = (offset, length) if offset >= 0 else None
                self._closed_now.append((connection, time_ns))
            return
        if connection is None or kind == OPEN:
            connection = self._add(segment)
        if kind == CHAIN_BEGIN:
            agrees = connection.begin_chain(offset, mark)
            number = connection.number if agrees else None
            self._exchanges.numbers[SOCK.unpack(sock)[0]] = number
        connection.recv_next, connection.send_next = offset, length if kind == OPEN else mark

    def _take_exchanges(self, run: bytes) -> None:
        columns, lost_bytes, moved_bytes = self._exchanges.columns(run)
        self.ledger.seen_bytes += moved_bytes
        self.ledger.lost_bytes += lost_bytes
        self._hand_over(columns)

    def _hand_over_rows(self) -> None:
        if self._rows:
            rows, self._rows = self._rows, []
            self._hand_over([rows[field::OPERATION_FIELDS] for field in range(OPERATION_FIELDS)])

    def _hand_over(self, columns: Columns) -> None:
        outcomes = columns[4]
        self.operations += len(outcomes)
        self.hits += outcomes.count(HIT)
        self.misses += outcomes.count(MISS)
        self._sink(columns)

    def _find(self, segment: Segment) -> Optional[Connection]:
        """The connection whose sock has changed since it was seen last, if it is that one."""
        sock = segment[2]
        connection = self.connections.get(sock[:SOCK_ID_BYTES])
        if connection is None:
            return None
        _, pid, peer, port = SOCK.unpack(sock)
        if SOCK.unpack(connection.sock)[2:] != (peer, port):
            return None  # its memory was reused, and we did not see when
        if pid:  # another process has it now, or the first one
            self._by_sock.pop(connection.sock, None)
            self._by_sock[sock] = connection
            connection.sock = sock
            if not connection.named:
                connection.named = True
                server = self._server(port, pid, peer, b"")
                if server:
                    self._on_connection(segment[1], connection.number, port, SERVED, server)
        return connection

    def _add(self, segment: Segment) -> Connection:
        kind, time_ns, sock, _, _, data, _ = segment
        opened = kind == OPEN
        _, pid, peer, port = SOCK.unpack(sock)
        old = self.connections.get(sock[:SOCK_ID_BYTES])
        if old:
            self._close(old, time_ns)
            self._remove(old)
        self.total_count += 1
        self.opened_count += opened
        self.open_count += 1
        connection = Connection(self, self.total_count, opened, sock)
        self.connections[sock[:SOCK_ID_BYTES]] = self._by_sock[sock] = connection
        server = self._server(port, pid, peer, data if opened else b"")
        connection.named = server is not None
        self._on_connection(time_ns, connection.number, port, OPEN if opened else RECV, server)
        return connection

    def _remove(self, connection: Connection) -> None:
        """Remove a connection, unless another one has taken its place."""
        sock = connection.sock
        for place, name in ((self.connections, sock[:SOCK_ID_BYTES]), (self._by_sock, sock)):
            if place.get(name) is connection:
                del place[name]
        self._exchanges.numbers.pop(SOCK.unpack(sock)[0], None)

    def _close(self, connection: Connection, time_ns: int) -> None:
        if connection.ended:
            return
        connection.close()
        self.open_count -= 1
        port = SOCK.unpack(connection.sock)[3]
        self._on_connection(time_ns, connection.number, port, CLOSE, None)
        # Bytes that came before a reset may be read after it: keep a tombstone for a while.
        self._ended.append(connection)
        if len(self._ended) > self.ENDED_MAX:
            oldest = self._ended.popleft()
            self._forget(oldest)
            self._remove(oldest)

    def _forget(self, connection: Connection) -> None:
        """Count what a closed connection moved and no segment covered."""
        connection.close()  # for what came after its end
        if connection.final is None:
            return
        expected = (connection.recv_next, connection.send_next)[: 1 + self.responses]
        missing = distances(expected, connection.final)
        doubtful = is_reusable(connection.sock)
        if doubtful and min(missing, default=2) > 1:
            return  # this end may be another connection's: see GAP_MAX
        for length in missing:
            if 1 < length < GAP_MAX:  # a FIN counts for one
                self.ledger.seen_bytes += length - doubtful
                self.ledger.lost_bytes += length - doubtful

    def finish(self) -> None:
        """The recording ends: nothing more will be answered."""
        for connection in self._ended:
            self._forget(connection)
        self._ended.clear()
        for connection in self.connections.values():
            connection.close()
        self._hand_over_rows()

    def emit(self, pending: PendingRequest, outcome: int, sizes: Sizes, time_ns: int) -> None:
        """A request is done: one row for each of its keys.

        sizes: see PendingRequests. time_ns: when it was answered, or 0.
        """
        request, asked_ns, place, exact, number = pending
        latency_ns = 0
        if time_ns > asked_ns:  # two threads of a server can get here in a different order
            if not asked_ns:
                asked_ns = time_ns
            elif exact:
                latency_ns = time_ns - asked_ns
        codes = request.codes
        if not codes:
            if request is VALUE_LINE and outcome != ERROR and self.responses:
                return
            codes = tuple(map(self._code_of, request.keys))
            request.codes, codes = codes, codes or (0,)
        form, size, exptime, rows = request.form, request.value_size, request.exptime, self._rows
        gets = outcome == HIT and request.reply == REPLY_VALUES
        for position, code in enumerate(codes):
            if sizes:
                size = sizes.get(position, request.value_size)
            if gets:  # a hit of each key that has a value; `gat 10` alone gets nothing
                outcome = HIT if size != NO_SIZE else MISS if code else OK
            rows += (
                asked_ns,
                latency_ns,
                number,
                form,
                outcome,
                place,
                position,
                code,
                size,
                exptime,
            )
            latency_ns = 0

    def hold(self, connection: Connection) -> bool:
        """Note how much is half read, half written or waiting there. False if it is too much."""
        waiting = len(connection.pending.queue)
        held = len(connection.requests.partial) + len(connection.responses.partial)
        held += waiting * PENDING_BYTES
        if held <= self.HELD_SMALL or connection.ended:
            held = 0
        self.held_bytes += held - connection.held
        connection.held = held
        return waiting <= PENDING_MAX and (not held or self.held_bytes <= self.HELD_TOTAL_MAX)

    def _encode_key(self, key: bytes) -> int:
        """The key's code: a keyed hash of 64 bits and the size, as hash << 16 | size."""
        code = self._hash_key(key) << 16 | min(len(key), 0xFFFF)
        if self._on_key:
            self._on_key(code, key)
        return code


# ==== Profile =========================================================================
#
# A profile is a header and blocks, written one after the other and never changed, so it
# can go to a pipe, and everything up to the last complete block can be read, whatever happened:
#
#   magic (12 bytes), format version (u32)
#   block: kind (u8), 3 zero bytes, payload length (u32), CRC-32 of kind and payload (u32),
#          payload
#
# All numbers are little-endian. Kinds:
#   H  JSON object: what was recorded, where, when. The first block.
#   F  JSON list: forms, numbered on from those before; the first is 1.
#   S  JSON list: servers, objects with address, process and pid; numbered as forms are.
#   C  connections: u32 rows, then CONNECTION_COLUMNS. Their kind is OPEN, RECV (was open
#      before), CLOSE, or SERVED (only the server is new); server 0: not known, or as before.
#      Files of earlier versions have no column `server`.
#   O  operations: u32 rows, u32 keys, then COLUMNS, one row an operation, then KEY_COLUMNS,
#      one row a key: `key` is a place in that table.
#   N  names of keys, only if they were asked for: u32 labels, u32 keys, LABEL_COLUMNS of the
#      labels, NAMED_COLUMNS of the keys, and the labels themselves as zlib data. Labels are bytes,
#      numbered on from those before; the first is 1, and 0 stands for none. A key is named once,
#      before the first O block that has it; its group is an empty label if it has none. After
#      2**19 keys or 32 MiB of labels, keys get no names.
#   L  JSON object: the ledger so far. Only the last one counts.
#   E  JSON object: the end, with the duration. Without it the file was truncated.
#
# A column is u32 length and zlib data; in it the first bytes of all values come first,
# then the second bytes, and so on, because equal planes compress well. Times are in
# ticks of 100 ns since the start; `time` holds differences from the row before. Readers skip
# blocks of a kind that they do not know.
#
# Without N blocks it holds no key, and it never holds a value. A key's hash is BLAKE2b with a
# secret that is drawn for each recording and never stored (or is given with --salt-file).

MAGIC = b"membench\r\n\x1a\n"
FORMAT_VERSION = 1
_FILE_HEADER = struct.Struct("<12sI")
_BLOCK_HEADER = struct.Struct("<c3xII")
_U32 = struct.Struct("<I")
BLOCK_BYTES_MAX = 1 << 28
BLOCK_ROWS_MAX = 1 << 16
GIVE_WAY_SECONDS = 1e-5  # between columns: a server that wakes up meanwhile gets the CPU at once
SERVERS_MAX = 0xFFFF


class Operations(NamedTuple):
    """A block of operations as columns. The fields before key_hash have a row an operation."""

    time: Sequence[int]  # ticks since the start
    latency: Sequence[int]  # ticks; 0: none, or not the first row of its request
    connection: Sequence[int]
    form: Sequence[int]
    outcome: Sequence[int]
    batch: Sequence[int]  # requests before it in the same read
    key_position: Sequence[int]  # keys before it in the same request
    key: Sequence[int]  # its place in key_hash and key_size
    value_size: Sequence[int]
    exptime: Sequence[int]
    key_hash: Sequence[int]
    key_size: Sequence[int]


# Name and array type of each column, in the order in which they are stored.
COLUMNS = tuple(zip(Operations._fields, "qIIHBHIIIi"))
KEY_COLUMNS = tuple(zip(Operations._fields[len(COLUMNS) :], "QH"))
CONNECTION_COLUMNS = tuple(zip(("time", "number", "port", "kind", "server"), "qIHBH"))
LABEL_COLUMNS = (("bytes", "B"),)
NAMED_COLUMNS = tuple(zip(("key_hash", "name", "group"), "QII"))


def pack_columns(layout: Sequence[Tuple[str, str]], columns: Iterable[Iterable[int]]) -> bytes:
    """Columns as they stand in a block. layout: their names and array types."""
    packed = []
    for (_, typecode), values in zip(layout, columns):
        time.sleep(GIVE_WAY_SECONDS)
        column = array(typecode, values)
        if sys.byteorder == "big":
            column.byteswap()
        raw, width = column.tobytes(), column.itemsize
        data = zlib.compress(b"".join(raw[plane::width] for plane in range(width)), 1)
        packed += [_U32.pack(len(data)), data]
    return b"".join(packed)


def unpack_columns(
    layout: Sequence[Tuple[str, str]], rows: int, payload: memoryview, at: int
) -> Tuple[Dict[str, Sequence[int]], int]:
    """The columns that begin at payload[at], and where they end. Raises DamagedError."""
    columns: Dict[str, Sequence[int]] = {}
    if rows > BLOCK_ROWS_MAX:
        raise DamagedError("a block has an impossible number of rows")
    for name, typecode in layout:
        (length,) = _U32.unpack_from(payload, at)
        at += _U32.size
        column = array(typecode)
        size = rows * column.itemsize
        # The unpacked size is not trusted: a few bytes can make gigabytes.
        raw = zlib.decompressobj().decompress(payload[at : at + length], size + 1)
        at += length
        if len(raw) != size:
            raise DamagedError("a column has not as many rows as its block says")
        if raw[rows:] == bytes(size - rows):  # all are below 256: faster to use as they are
            columns[name] = raw[:rows]
            continue
        data = bytearray(size)
        for plane in range(column.itemsize):
            data[plane :: column.itemsize] = raw[plane * rows : (plane + 1) * rows]
        column.frombytes(data)
        if sys.byteorder == "big":
            column.byteswap()
        columns[name] = column
    return columns, at


# ---- Names of keys ----

KEYS_KEPT = ("hashed", "groups", "names")  # how much of a key is kept


def parse_group_by(text: str) -> Tuple[str, Callable[[bytes], bytes]]:
    """The text, and the function that tells a key's group, b"" for none; see --group-by.

    A delimiter, with a number for several parts; or a regular expression, whose first group
    counts. Parts of digits only become #. Raises ValueError.
    """
    found = re.fullmatch(r"((?:[^\w\s]|_){1,3})([1-9]?)", text)
    expression = re.compile(b"")
    refusals = (re.error, RecursionError, OverflowError, Warning)
    with contextlib.suppress(*refusals), warnings.catch_warnings():
        warnings.simplefilter("error")
        expression = re.compile(os.fsencode(text))
    if not expression.groups and not found:
        raise ValueError
    delimiter, count = (os.fsencode(found[1]), int(found[2] or 1)) if found else (b"", 0)

    def before_delimiter(key: bytes) -> bytes:
        # Of a key with fewer parts, the last one is not kept: it may be what tells keys apart.
        parts = key.rstrip(delimiter).split(delimiter)[:-1] or [key if key.isdigit() else b""]
        return delimiter.join(b"#" if part.isdigit() else part for part in parts[:count])

    def matched(key: bytes) -> bytes:
        group = expression.search(key)
        part = group[1] if group and group[1] != key else None
        return re.sub(rb"(?<![0-9A-Za-z])[0-9]+(?![0-9A-Za-z])", b"#", part or b"")

    return text, matched if expression.groups else before_delimiter


class KeyNames:
    """What keys are called: their groups, and with `whole` their names; each told once.

    Keys that come when there are too many get no name.
    """

    KEYS_MAX = 1 << 19  # that get a name
    BYTES_MAX = 1 << 25  # of all labels

    def __init__(self, group_of: Callable[[bytes], bytes], whole: bool) -> None:
        self._group_of = group_of
        self._whole = whole
        self._known: Set[int] = set()
        self._groups: Dict[bytes, int] = {}
        self._labels = self._label_bytes = 0  # so far
        self._new_labels: List[bytes] = []
        self._new_keys: List[Tuple[int, int, int]] = []  # NAMED_COLUMNS

    def add(self, code: int, key: bytes) -> None:
        """Note what a key is called, unless that was told before. code: see Matcher."""
        known = self._known
        if code in known or len(known) >= self.KEYS_MAX or self._label_bytes >= self.BYTES_MAX:
            return
        known.add(code)
        group = self._group_of(key)
        if len(group) > KEY_MAX:
            group = b""
        if group not in self._groups:
            self._groups[group] = self._number(group)
        name = self._number(key) if self._whole and len(key) <= KEY_MAX else 0
        self._new_keys.append((code >> 16, name, self._groups[group]))

    def _number(self, label: bytes) -> int:
        self._labels += 1
        self._label_bytes += len(label)
        self._new_labels.append(label)
        return self._labels

    def take_blocks(self) -> Iterator[bytes]:
        """What was not told yet, as the payloads of N blocks."""
        labels, self._new_labels = self._new_labels, []
        keys, self._new_keys = self._new_keys, []
        at_once = BLOCK_ROWS_MAX // 2  # a key comes with two labels at most
        for first in range(0, len(keys), at_once):
            named = keys[first : first + at_once]
            told = labels[2 * first : 2 * (first + at_once)]
            lengths = pack_columns(LABEL_COLUMNS, [map(len, told)])
            packed = lengths + pack_columns(NAMED_COLUMNS, zip(*named))
            head = _U32.pack(len(told)) + _U32.pack(len(named))
            yield head + packed + zlib.compress(b"".join(told), 1)


# ---- Writing ----


class ProfileWriter:
    """Writes a profile, block by block. A context manager.

    On an exception before anything was recorded the file is removed; later it is left,
    readable up to its last whole block.
    """

    FLUSH_SECONDS = 1.0  # at most this much is lost by kill -9
    LATENCY_SAMPLE = 2000  # operations of a block that latency_p99_ns is computed from, at most
    REPLACED_MAX = 1 << 24  # bytes about connections that wait for the first row; see _replaced

    def __init__(
        self,
        output: str,
        force: bool = False,
        owner: Optional[Tuple[int, int]] = None,
        names: Optional[KeyNames] = None,
    ) -> None:
        self.path = output
        self.is_file = output not in ("-", os.devnull)  # else not ours to change or remove
        self.written_bytes = 0
        self.latency_p99_ns = 0  # of the operations written last
        self._owner = owner  # (uid, gid) that the file is given to; None: the process's own
        self._replaced: Optional[bytearray] = None  # see _open_existing
        self._started = False
        self.waits = False  # for the reader of a pipe; see Stop
        self.abandoned = False  # somebody ended that wait, so the rest is not written
        self._columns = empty_columns()
        self._connections: List[Tuple[int, int, int, int, int]] = []
        self._servers: Dict[ServerName, int] = {}
        self._new_servers: List[Dict[str, Any]] = []
        self._forms: Dict[bytes, int] = {}
        self._new_forms: List[str] = []
        self._names = names
        self._start_ticks = 0
        self._flushed_at = 0.0
        self._fd = self._create(output, force)

    def _create(self, output: str, force: bool) -> int:
        """A descriptor of a new file that only its owner can read or write, or of stdout."""
        if output == "-":
            if os.isatty(1):
                raise ProfileError(
                    "a profile cannot be written to a terminal", "name a file, or use a pipe"
                )
            return os.dup(1)
        try:
            if output == os.devnull:
                return os.open(output, os.O_WRONLY | os.O_CLOEXEC)
            if os.path.lexists(output):
                found = os.lstat(output)
                if not stat.S_ISREG(found.st_mode):
                    raise ProfileError(
                        f"{printable(output)} is not a regular file", "choose another name"
                    )
                own = (self._owner or (os.geteuid(),))[0] == found.st_uid
                if not force and (found.st_size or not own):  # see _discard
                    raise ProfileError(
                        f"{printable(output)} exists",
                        "choose another name, or overwrite it with --force",
                    )
                return self._open_existing(output)
            return os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            hint = "choose another path"
            if not os.path.isdir(os.path.dirname(output) or "."):
                hint = "create the directory first"
            raise ProfileError(
                f"cannot write {printable(output)}: {error.strerror}", hint
            ) from None

    def _open_existing(self, output: str) -> int:
        """Open an existing file, but keep its contents until the first rows are written.

        By then this process may have no privilege to rename a file in that folder. So the file
        is overwritten, and what precedes the first rows waits in _replaced.
        """
        fd = os.open(output, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(fd)  # somebody may have linked it to a file that is not theirs
            raise ProfileError(
                f"{printable(output)} has other names (hard links)", "choose another path"
            )
        self._replaced = bytearray() if found.st_size else None
        return fd

    @property
    def keeps_old(self) -> bool:
        """Is what an existing file held still in it?"""
        return self._replaced is not None

    def __enter__(self) -> "ProfileWriter":
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)
        if not self._started and self.is_file and self._replaced is None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def start(self, header: Dict[str, Any], start_ns: int) -> None:
        """Write the header. start_ns: CLOCK_MONOTONIC, the zero of the profile's times."""
        self._start_ticks = start_ns // TICK_NS
        self._flushed_at = time.monotonic()
        if self.is_file:
            try:
                os.fchown(self._fd, *(self._owner or (os.geteuid(), os.getegid())))
                os.fchmod(self._fd, 0o600)
            except OSError as error:
                raise ProfileError(
                    f"cannot take ownership of {printable(self.path)}: {error.strerror}",
                    "choose another path",
                ) from None
        self._write_all(_FILE_HEADER.pack(MAGIC, FORMAT_VERSION))
        self._write_json(b"H", header)
        self._started = True

    def add_connection(
        self,
        time_ns: int,
        number: int,
        port: int,
        kind: int,
        server: Optional[ServerName] = None,
    ) -> None:
        """A connection opened (OPEN), closed (CLOSE) or was found open (RECV).

        server: its number, if known; it can also come later, with SERVED.
        """
        place = self._servers.get(server, 0) if server else 0
        if server and not place and len(self._servers) < SERVERS_MAX:
            place = self._servers[server] = len(self._servers) + 1
            self._new_servers.append(server._asdict())
        self._connections.append((time_ns, number, port, kind, place))

    def add(self, columns: Iterable[Sequence[Any]]) -> None:
        """Take Operations, as a column for each of their fields; of none there may be no column."""
        times, latencies, numbers, forms, outcomes, batches, *others = tuple(columns) or [()] * 6
        known = {form: self._forms.get(form) or self._number_form(form) for form in set(forms)}
        typed = (
            to_ticks(times),
            clamp(to_ticks(latencies), 0xFFFFFFFF),
            numbers,
            map(known.__getitem__, forms),
            outcomes,
            clamp(batches, 0xFFFF),
            *others,
        )
        for kept, column in zip(self._columns, typed):
            kept.extend(column)

    def is_due(self) -> bool:
        """Is there enough to write, or is it old enough?"""
        if len(self._columns[0]) >= BLOCK_ROWS_MAX:
            return True
        return time.monotonic() - self._flushed_at >= self.FLUSH_SECONDS

    def flush(self, ledger: Ledger) -> None:
        """Write what there is."""
        self._flushed_at = time.monotonic()
        columns, self._columns = self._columns, empty_columns()
        connections, self._connections = self._connections, []
        for first in range(0, len(connections), BLOCK_ROWS_MAX):
            self._write_connections(connections[first : first + BLOCK_ROWS_MAX])
        for payload in self._names.take_blocks() if self._names else ():
            self._write_block(b"N", payload)
        for first in range(0, len(columns[0]), BLOCK_ROWS_MAX):
            block = slice(first, first + BLOCK_ROWS_MAX)
            self._write_operations([column[block] for column in columns])
        if columns[0] or connections:
            self._write_json(b"L", ledger.report(final=False))
        if columns[0] or self.written_bytes > self.REPLACED_MAX:
            self._replace()

    def _replace(self) -> None:
        """Overwrite the old file with what waits in _replaced."""
        if self._replaced is not None:
            new, self._replaced = self._replaced, None
            self.written_bytes = 0
            self._write_all(bytes(new))
            os.ftruncate(self._fd, self.written_bytes)

    def finish(self, ledger: Ledger, end: Dict[str, Any], discard: bool = False) -> None:
        """Write the rest and the end; discard: leave no file, or the old one."""
        self.flush(ledger)
        if discard and self.is_file:
            self._discard()
            return
        self._replace()
        self._write_json(b"L", ledger.report())
        self._write_json(b"E", end)
        with contextlib.suppress(OSError):  # a pipe cannot be synchronized
            os.fsync(self._fd)

    def _discard(self) -> None:
        """Remove the new file. Where that is not permitted any more, it is left empty.

        An empty file is overwritten by the next recording without --force.
        """
        if self._replaced is None:
            os.ftruncate(self._fd, 0)
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _write_connections(self, rows: List[Tuple[int, int, int, int, int]]) -> None:
        if self._new_servers:
            self._write_json(b"S", self._new_servers)
            self._new_servers = []
        times, *others = zip(*rows)
        ticks = self._time_differences(to_ticks(times))
        packed = pack_columns(CONNECTION_COLUMNS, [ticks, *others])
        self._write_block(b"C", _U32.pack(len(rows)) + packed)

    def _write_operations(self, columns: Sequence[Sequence[Any]]) -> None:
        """Write a block: columns as add() keeps them."""
        ticks, latencies, *others, codes, sizes, exptimes = columns
        sample = latencies[:: len(ticks) // self.LATENCY_SAMPLE + 1]
        answered = sorted(filter(None, sample))
        self.latency_p99_ns = answered[len(answered) * 99 // 100] * TICK_NS if answered else 0
        table: Dict[int, int] = defaultdict(iter(range(BLOCK_ROWS_MAX)).__next__)
        places = array("I", map(table.__getitem__, codes))
        operations = (self._time_differences(ticks), latencies, *others, places, sizes, exptimes)
        keys = ([code >> 16 for code in table], [code & 0xFFFF for code in table])
        packed = pack_columns(COLUMNS, operations) + pack_columns(KEY_COLUMNS, keys)
        if self._new_forms:
            self._write_json(b"F", self._new_forms)
            self._new_forms = []
        self._write_block(b"O", _U32.pack(len(ticks)) + _U32.pack(len(table)) + packed)

    def _time_differences(self, ticks: Sequence[int]) -> Iterable[int]:
        return map(operator.sub, ticks, chain((self._start_ticks,), ticks))

    def _number_form(self, form: bytes) -> int:
        # Numbers begin with 1, so that `or` finds the unknown ones.
        if len(self._forms) >= 0xF000:  # somebody counts in ever different steps
            command, *words = form.split(b" ")
            words = [word if word.isalpha() else word[:1] for word in words]
            words = [word if word.isalpha() else b"?" for word in words]
            # And if even the flags come in too many orders, the command must do.
            form = b" ".join([command, *words]) if len(self._forms) < 0xFF00 else command
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
        if self._replaced is not None:
            self._replaced += data
            self.written_bytes += len(data)
            return
        view = memoryview(data)
        try:
            self.waits = not self.is_file
            while view and not self.abandoned:
                view = view[os.write(self._fd, view) :]
        except KeyboardInterrupt:
            self.abandoned = True
        except OSError as error:
            if self.is_file:  # stdout may hold the output of others
                with contextlib.suppress(OSError):  # back to the last complete block
                    os.ftruncate(self._fd, self.written_bytes)
            if error.errno == errno.EPIPE:
                hint = "the part it received is a valid, truncated profile"
                if not self._started:
                    hint = "it must stay until the recording ends"
                raise ProfileError("the reader of stdout has exited", hint) from None
            kept = "; what was written before can be read" if self._started else ""
            raise ProfileError(
                f"cannot write {printable(self.path)}: {error.strerror}{kept}",
                "free some space, or record to another file system",
            ) from None
        finally:
            self.waits = False
        self.written_bytes += len(data) - len(view)


def empty_columns() -> List[Any]:
    """For operations, as they stand in a block; but times from zero, and codes of keys."""
    return [[] if name == "key" else array(typecode) for name, typecode in COLUMNS]


def to_ticks(times_ns: Sequence[int]) -> Sequence[int]:
    """Nanoseconds as ticks. What an array holds are whole ticks, so one division does them all."""
    if not isinstance(times_ns, array):
        return [time_ns // TICK_NS for time_ns in times_ns]
    raw = times_ns.tobytes()
    ticks = int.from_bytes(raw, sys.byteorder) // TICK_NS
    return array(times_ns.typecode, ticks.to_bytes(len(raw), sys.byteorder))


def clamp(values: Sequence[int], most: int) -> Sequence[int]:
    """The values, larger ones as `most`."""
    if isinstance(values, array):  # it can hold no larger ones
        return values
    return values if max(values, default=0) <= most else [min(value, most) for value in values]


# ---- Reading ----

DAMAGED_HINT = "checksum valid, contents invalid; use another copy of the file"


def is_number(value: Any) -> bool:
    """Is this a usable number: not NaN, not infinite, not true?"""
    return type(value) in (int, float) and abs(value) < 1e18


def decode_header(payload: memoryview) -> Dict[str, Any]:
    """The header, with what every reader relies on. Raises DamagedError."""
    header = json.loads(bytes(payload))
    if (
        not isinstance(header, dict)
        or not is_number(header.get("started_unix"))
        or not isinstance(header.get("ports"), list)
    ):
        raise DamagedError("its first block is not a whole header")
    return header


def decode_numbers(payload: memoryview) -> Dict[str, float]:
    """The numbers of a JSON object; the ledger and the end have nothing else."""
    found = json.loads(bytes(payload))
    if not isinstance(found, dict):
        raise DamagedError("a block is not a JSON object")
    return {name: value for name, value in found.items() if is_number(value)}


def decode_server(item: Any) -> ServerName:
    """A server of an S block. Raises DamagedError."""
    if not isinstance(item, dict) or not is_number(item.get("pid")):
        raise DamagedError("a server is not described as one")
    address, process = (printable(str(item.get(name))) for name in ("address", "process"))
    return ServerName(address, process, int(item["pid"]))


def all_below(limit: int, column: Sequence[int]) -> bool:
    """Is each value of a column below the limit?"""
    if isinstance(column, bytes):  # as columns of small numbers are; max takes 30 times as long
        return not column.translate(None, bytes(range(min(limit, 256))))
    return max(column) < limit


UNIX_TIME_MIN = 1e9  # a point in time from here on is a Unix time; before, it is since the start


def command_of(form: str) -> str:
    """mg v t q -> mg"""
    return form.split(" ", 1)[0]


def meta_mode(words: Iterable[str]) -> str:
    """The letter of the mode flag among the words behind a meta command: MA -> A; or ""."""
    return next((word[1:2].upper() for word in words if word[:1] == "M"), "")


class Slice(NamedTuple):
    """Which operations of a profile are wanted; None, and what is empty, restricts nothing.

    Requests are in it as a whole, because all keys of one have its time and connection.
    """

    begin: Optional[float] = None
    end: Optional[float] = None
    commands: Sequence[str] = ()
    connections: Sequence[int] = ()
    server: str = ""  # an address

    def span(self, started_unix: float) -> Tuple[float, float]:
        """From when to when, in seconds since the start."""
        begin = -math.inf if self.begin is None else self.begin
        end = math.inf if self.end is None else self.end
        begin, end = (at - started_unix if at >= UNIX_TIME_MIN else at for at in (begin, end))
        return begin, end

    def of(self, block: Operations, reader: "ProfileReader") -> Operations:
        """The operations of a block that are in it."""
        begin, end = self.span(float(reader.header["started_unix"]))
        first, last = begin * TICKS_PER_SECOND, end * TICKS_PER_SECOND
        kept: Iterable[bool] = (first <= tick < last for tick in block.time)
        if self.commands:
            forms = [command_of(form) in self.commands for form in reader.forms]
            kept = map(operator.and_, kept, map(forms.__getitem__, block.form))
        if self.connections or self.server:
            numbers = set(self.connections or block.connection)
            if self.server:
                known = reader.servers_at(numbers).items()
                numbers = {n for n, at in known if reader.servers[at].address == self.server}
            kept = map(operator.and_, kept, map(numbers.__contains__, block.connection))
        chosen = list(kept)
        columns = (list(compress(column, chosen)) for column in block[: len(COLUMNS)])
        return Operations(*columns, *block[len(COLUMNS) :])


class ProfileReader:
    """Reads a profile, block by block. A context manager.

    header is there from the start; forms, servers, server_of (connection number -> server
    number), ledger, end, complete, rows and last_tick grow as blocks() is consumed. limit: the
    file ends after so many bytes, whatever is appended while it is read. Raises ProfileError for
    what is not a profile.
    """

    def __init__(self, path: str, limit: Optional[int] = None) -> None:
        self.path = path
        self._limit = limit
        self.forms = [""]  # numbers begin with 1
        self.ledger: Dict[str, float] = {}
        self.end: Dict[str, float] = {}
        self.complete = False
        self.opened = 0
        self.connections = 0
        self.servers = [ServerName("", "", 0)]  # numbers begin with 1
        self.server_of = array("H")
        self.rows = 0
        self.last_tick = 0
        self.part: Optional[Slice] = None  # of the operations: only these are unpacked
        self.left_out = 0  # operations that are not in it
        # If this is a list, it takes the rows of the C blocks: (tick, number, port, kind).
        self.connection_rows: Optional[List[Tuple[int, int, int, int]]] = None
        # If this is a dictionary, it takes the N blocks: key hash -> places of name and group in
        # labels.
        self.named: Optional[Dict[int, Tuple[int, int]]] = None
        self.labels = [b"(no name)"]
        try:
            self._file: BinaryIO = sys.stdin.buffer if path == "-" else open(path, "rb")
        except OSError as error:
            raise ProfileError(
                f"cannot read {name_of(path)}: {error.strerror}",
                "check the name and the file's permissions",
            ) from None
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "ProfileReader":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def span(self) -> Tuple[float, float]:
        """From when to when `part` lasts, in Unix time; a part of the recording, or all of it."""
        started = float(self.header["started_unix"])
        begin, end = self.part.span(started) if self.part else (0.0, math.inf)
        begin, end = max(begin, 0.0), min(end, self.seconds())
        return started + begin, started + max(begin, end)

    def seconds(self) -> float:
        """How long the recording lasted; of a truncated file, up to its last operation."""
        return self.end.get("duration_seconds", self.last_tick / TICKS_PER_SECOND)

    def servers_at(self, connections: Iterable[int]) -> Dict[int, int]:
        """The number of each connection's server; 0: not known."""
        known = self.server_of
        return {n: known[n] if n < len(known) else 0 for n in set(connections)}

    def _error(self, what: str, hint: str) -> ProfileError:
        return ProfileError(f"{name_of(self.path)} {what}", hint)

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        """Whatever goes wrong in taking a block apart says that the file is damaged."""
        try:
            yield
        except (struct.error, zlib.error, ArithmeticError, ValueError, TypeError) as error:
            raise self._error(f"is damaged: {error}", DAMAGED_HINT) from None
        except RecursionError:
            raise self._error("is damaged: a block is not valid JSON", DAMAGED_HINT) from None

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror}", "give a profile") from None

    def _read_header(self) -> Dict[str, Any]:
        head = self._read(_FILE_HEADER.size)
        if not head or not MAGIC.startswith(head[: len(MAGIC)]):
            what = "is not a membench profile" if head else "is empty"
            raise self._error(what, "make one with: membench.py record")
        if len(head) == _FILE_HEADER.size:
            version = _FILE_HEADER.unpack(head)[1]
            if version != FORMAT_VERSION:
                raise self._error(
                    f"has profile format {version}; this membench reads format {FORMAT_VERSION}",
                    "use the membench that recorded it, or a newer one",
                )
            kind, payload = self._read_block() or (b"", memoryview(b""))
            if kind == b"H":
                with self._damage_told():
                    return decode_header(payload)
        raise self._error("is cut before its first block", "nothing in it can be read")

    def _read_block(self) -> Optional[Tuple[bytes, memoryview]]:
        """The next complete block, or None."""
        head = self._read(_BLOCK_HEADER.size)
        if head == MAGIC[: _BLOCK_HEADER.size]:
            raise self._error(
                "holds several profiles, one after the other",
                "keep each in a file of its own, and give analyze all of them",
            )
        if len(head) < _BLOCK_HEADER.size:
            return None
        kind, length, checksum = _BLOCK_HEADER.unpack(head)
        if length > BLOCK_BYTES_MAX:
            return None
        if self._limit is not None and self._file.tell() + length > self._limit:
            return None
        payload = self._read(length)
        if len(payload) < length or zlib.crc32(payload, zlib.crc32(kind)) != checksum:
            return None
        return kind, memoryview(payload)

    def blocks(self) -> Iterator[Operations]:
        """All operations, in the order of the file."""
        return (block for block in map(self.unpack, self.packed_blocks()) if block.time)

    def unpack(self, payload: memoryview) -> Operations:
        """The operations of an O block."""
        with self._damage_told():
            block = self._decode_operations(payload)
        if self.part is None:
            return block
        part = self.part.of(block, self)
        self.left_out += len(block.time) - len(part.time)
        return part

    def packed_blocks(self) -> Iterator[memoryview]:
        """The payloads of all O blocks; takes note of the others. For who only counts rows."""
        while True:
            kind, payload = self._read_block() or (b"", memoryview(b""))
            if self.complete or not kind:  # the next block is read to see that it is none
                return
            with self._damage_told():
                if kind == b"O":
                    self.rows += _U32.unpack_from(payload)[0]
                else:
                    self._take_note(kind, payload)
            if kind == b"O":
                yield payload

    def _take_note(self, kind: bytes, payload: memoryview) -> None:
        if kind == b"C":
            self._count_connections(payload)
        elif kind == b"F":
            self.forms.extend(printable(str(form)) for form in json.loads(bytes(payload)))
        elif kind == b"S":
            self.servers.extend(map(decode_server, json.loads(bytes(payload))))
        elif kind == b"N":
            self._take_names(payload)
        elif kind == b"L":
            self.ledger = decode_numbers(payload)
        elif kind == b"E":
            self.end = decode_numbers(payload)
            self.complete = True

    @property
    def keys_kept(self) -> str:
        """How much of each key the recording kept: one of KEYS_KEPT."""
        kept = str(self.header.get("keys"))
        return kept if kept in KEYS_KEPT else KEYS_KEPT[0]

    def _take_names(self, payload: memoryview) -> None:
        if self.named is None:
            return
        labels, keys = struct.unpack_from("<II", payload)
        if max(len(self.labels) + labels, 2 * (len(self.named) + keys)) > 2 * KeyNames.KEYS_MAX + 1:
            raise DamagedError("there are more names than there may be")
        found, at = unpack_columns(LABEL_COLUMNS, labels, payload, 2 * _U32.size)
        named, at = unpack_columns(NAMED_COLUMNS, keys, payload, at)
        ends = list(accumulate(found["bytes"], initial=0))
        # The size is not trusted, as in unpack_columns.
        text = zlib.decompressobj().decompress(payload[at:], ends[-1] + 1)
        if len(text) != ends[-1]:
            raise DamagedError("the names are not as long as their block says")
        self.labels += map(text.__getitem__, map(slice, ends, ends[1:]))
        if not all(all_below(len(self.labels), named[column]) for column in ("name", "group")):
            raise DamagedError("a key has an unknown name")
        self.named.update(zip(named["key_hash"], zip(named["name"], named["group"])))

    def _decode_operations(self, payload: memoryview) -> Operations:
        rows, keys = struct.unpack_from("<II", payload)
        if not rows:
            raise DamagedError("a block has no rows")
        columns, at = unpack_columns(COLUMNS, rows, payload, 2 * _U32.size)
        key_columns, _ = unpack_columns(KEY_COLUMNS, keys, payload, at)
        operations = Operations(**columns, **key_columns)
        if not all_below(len(self.forms), operations.form) or not all_below(
            len(OUTCOMES), operations.outcome
        ):
            raise DamagedError("an operation has an unknown form or outcome")
        if not all_below(keys, operations.key):
            raise DamagedError("an operation has an unknown key")
        times = list(accumulate(operations.time))  # half as long as to make an array
        if abs(times[-1]) >> 63:
            raise DamagedError("a time is too large")
        self.last_tick = max(self.last_tick, times[-1])
        return operations._replace(time=times)

    def _count_connections(self, payload: memoryview) -> None:
        (rows,) = _U32.unpack_from(payload)
        columns, at = unpack_columns(CONNECTION_COLUMNS[:-1], rows, payload, _U32.size)
        kinds, numbers = columns["kind"], columns["number"]
        self.opened += kinds.count(OPEN)
        self.connections += kinds.count(OPEN) + kinds.count(RECV)
        if self.connection_rows is not None:
            each = zip(accumulate(columns["time"]), numbers, columns["port"], kinds)
            self.connection_rows.extend(row for row in each if row[3] != SERVED)
        if at == len(payload):
            return
        servers = unpack_columns(CONNECTION_COLUMNS[-1:], rows, payload, at)[0]["server"]
        if not any(servers):
            return
        if max(servers) >= len(self.servers):
            raise DamagedError("a connection has an unknown server")
        if max(numbers) > self.connections:  # they are numbered without gaps
            raise DamagedError("a connection has an impossible number")
        self.server_of.extend(repeat(0, max(numbers) + 1 - len(self.server_of)))
        for number, server in compress(zip(numbers, servers), servers):
            self.server_of[number] = server


# ---- Operations in order of time ----

WINDOW_ROWS = 1 << 16  # rows that are put in order together, and so the memory it takes
WINDOW_TICKS = 2 * TICKS_PER_SECOND  # or of this time, whichever is less

# (tick, connection, place in the file, form, batch, key_position, key_hash, key_size, value_size,
# exptime, outcome, latency)
OrderedRow = Tuple[int, int, int, int, int, int, int, int, int, int, int, int]


def settled(window: Sequence[Tuple[Any, ...]], rows: int = WINDOW_ROWS) -> int:
    """How many rows of a sorted window, which holds so many, are in order, whatever follows.

    A profile holds rows in the order of their replies. One whose reply came later than the window
    is long is too late; it comes with the next rows.
    """
    outside = bisect.bisect(window, (window[-1][0] - WINDOW_TICKS,)) if window else 0
    return max(len(window) - rows, outside)


def ordered_rows(reader: ProfileReader) -> Iterator[List[OrderedRow]]:
    """All operations by time, and on one connection in the order of its requests."""
    window: List[OrderedRow] = []
    for block in reader.blocks():
        places = range(reader.rows - len(block.time), reader.rows)
        window += zip(
            *(block.time, block.connection, places, block.form, block.batch, block.key_position),
            map(block.key_hash.__getitem__, block.key),
            map(block.key_size.__getitem__, block.key),
            *(block.value_size, block.exptime, block.outcome, block.latency),
        )
        window.sort()
        ready = settled(window)
        yield window[:ready]
        del window[:ready]
    yield window


# ==== Analysis ========================================================================
#
# Pure functions from columns to a report. What is done for each row is done by Counter, zip,
# map and compress, which run at C speed.

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
SIZE_NAMES = ("min", "mean", "p50", "p90", "p99", "max")
DISTINCT_MAX = 1 << 20  # distinct latencies kept exactly; more are rounded to 3 digits
OPERATIONS_MAX = 1 << 17  # distinct operations that are counted before they are summed up
TWO_PROCESSES_BYTES = 1 << 20  # profiles of less than this are not worth a second process
GROUPS_MAX = 1000  # groups of keys in a report
KEYS_MAX = 1 << 22  # different keys kept; of more, a sample and the hottest (about 500 MB)
TTL_COMMANDS = frozenset(
    (
        *("set", "add", "replace", "cas", "touch", "gat", "gats", "ms", "mg", "ma"),
        *("setq", "addq", "replaceq", "gatq", "gatk", "gatkq"),
    )
)
OPTIONAL_TTL_COMMANDS = frozenset(("mg", "ma"))  # without a TTL they leave the item's as it is
GET_COMMANDS = frozenset(("gets", "gats", "mg", *(name.decode() for name in BINARY_GETS)))
RELATIVE_EXPTIME_MAX = 60 * 60 * 24 * 30  # a larger exptime is a Unix time
NOT_RECORDED = len(OUTCOMES)  # the outcome of all operations of a profile without responses
REPORTED = (*OUTCOMES, "not_recorded")


def total_of(counts: Mapping[Any, int]) -> int:
    """How often, of all values."""
    return sum(counts.values())


def sum_of(counts: Mapping[int, int]) -> int:
    """The sum of all values."""
    return sum(value * count for value, count in counts.items())


def percentile(counts: List[Tuple[int, int]], total: int, share: float) -> int:
    """The smallest value that at least this share of all values does not exceed.

    counts: sorted (value, how often); total: the sum of how often.
    """
    wanted = math.ceil(total * share)
    seen = 0
    for value, count in counts:
        seen += count
        if seen >= wanted:
            return value
    return counts[-1][0]


def describe_sizes(
    counts: Mapping[int, int], wanted: Mapping[str, float] = PERCENTILES
) -> Optional[Dict[str, Any]]:
    """Number, minimum, mean, percentiles and maximum of (value -> how often), or None."""
    total = total_of(counts)
    if not total:
        return None
    ordered = sorted(counts.items())
    shares = {name: percentile(ordered, total, share) for name, share in wanted.items()}
    mean = round(sum_of(counts) / total, 1)
    return {"count": total, "min": ordered[0][0], "mean": mean, **shares, "max": ordered[-1][0]}


def describe_latency(counts: Mapping[int, int]) -> Optional[Dict[str, float]]:
    """Percentiles in microseconds of (ticks -> how often), or None."""
    found = describe_sizes({ticks: count for ticks, count in counts.items() if ticks})
    if not found:
        return None
    return {name: found[name] * TICK_NS / 1000 for name in (*PERCENTILES, "max")}


def round_to_3_digits(counts: Counter[int]) -> Counter[int]:
    """Counts with values rounded (12345 -> 12300), so that there are few distinct ones."""
    rounded: Counter[int] = Counter()
    for value, count in counts.items():
        unit = 10 ** max(len(str(value)) - 3, 0)
        rounded[value // unit * unit] += count
    return rounded


class Group:
    """Operations that are reported together: all, those of a command, those of a server."""

    def __init__(self) -> None:
        self.connections = 0  # of a server
        self.requests = 0  # not of a server
        self.outcomes: Counter[int] = Counter()
        self.latencies: Counter[int] = Counter()  # ticks

    @property
    def operations(self) -> int:
        """How many they are."""
        return total_of(self.outcomes)


class Keys:
    """Keys and how often each was used, in bounded memory.

    If there are more than KEYS_MAX distinct keys, those whose hash is below a limit are kept,
    which is a random sample, and the hottest of the rest.
    """

    def __init__(self, watched: Optional[Set[int]] = None) -> None:
        self.counts: Dict[int, int] = {}  # hash -> operations
        self.sizes: Counter[int] = Counter()  # by operations, of all keys
        self._watched = watched  # only these are kept; None: all
        self._sample_bits = 0  # the limit is 2**64 over 2**this

    def add(self, block: Operations) -> None:
        """Count one block."""
        keys, watched = self.counts, self._watched
        sizes, hashes = block.key_size, block.key_hash
        for place, count in Counter(block.key).items():
            size, key_hash = sizes[place], hashes[place]
            if size:
                self.sizes[size] += count
                if watched is None or key_hash in watched:
                    keys[key_hash] = keys.get(key_hash, 0) + count
        if len(keys) > KEYS_MAX:
            self._thin()

    def merge(self, other: "Keys") -> None:
        """Add what was counted elsewhere."""
        self.sizes.update(other.sizes)
        for key_hash, count in other.counts.items():
            self.counts[key_hash] = self.counts.get(key_hash, 0) + count
        self._sample_bits = max(self._sample_bits, other._sample_bits)
        if len(self.counts) > KEYS_MAX:
            self._thin()

    @property
    def estimated(self) -> bool:
        """Were there more distinct keys than are kept?"""
        return self._sample_bits > 0

    def unique(self) -> int:
        """The number of distinct keys, or an estimate."""
        return self._sampled() << self._sample_bits if self.estimated else len(self.counts)

    def hottest(self) -> int:
        """How often the hottest key was used."""
        return max(self.counts.values(), default=0)

    def _sampled(self) -> int:
        return sum(map((1 << (64 - self._sample_bits)).__gt__, self.counts))

    def _thin(self) -> None:
        """Keep a half of what may be kept: up to a quarter as the sample, a quarter of the rest."""
        while self._sampled() > KEYS_MAX // 4:
            self._sample_bits += 1
        limit = 1 << (64 - self._sample_bits)
        rest = sorted((count for key, count in self.counts.items() if key >= limit), reverse=True)
        least = rest[KEYS_MAX // 4]
        self.counts = {key: n for key, n in self.counts.items() if key < limit or n > least}


class SlowRequest(NamedTuple):
    """A request as --slowest shows it."""

    latency_us: float
    time: float  # Unix time
    profile: str  # its path
    connection: int
    command: str
    batch: int
    keys: int
    value_bytes: Optional[int]


def slow_requests(
    block: Operations, reader: ProfileReader, most: int, least: int
) -> Iterator[SlowRequest]:
    """The slowest requests of a block, of those that took at least so many ticks."""
    started = float(reader.header["started_unix"])
    took = enumerate(zip(block.latency, block.key_position))
    slow = [row for row, (ticks, position) in took if ticks >= least and not position]
    for row in heapq.nlargest(most, slow, key=block.latency.__getitem__):
        keys = 1  # its other keys follow
        while row + keys < len(block.time) and block.key_position[row + keys]:
            keys += 1
        sizes = [size for size in block.value_size[row : row + keys] if size != NO_SIZE]
        yield SlowRequest(
            block.latency[row] * TICK_NS / 1000,
            started + block.time[row] / TICKS_PER_SECOND,
            *(reader.path, block.connection[row], command_of(reader.forms[block.form[row]])),
            *(block.batch[row], keys, sum(sizes) if sizes else None),
        )


HostServer = Tuple[str, ServerName]  # a server, with the host that it was recorded on


class Counts:
    """All that is counted over operations: those of profiles, or of a period of one.

    parts: how many of these share the memory that one may take. watched: see Keys. most: of so
    many requests it says which were the slowest.
    """

    def __init__(self, parts: int = 1, watched: Optional[Set[int]] = None, most: int = 0) -> None:
        self.whole = Group()
        self.commands: Dict[str, Group] = defaultdict(Group)
        self.servers: Dict[HostServer, Group] = defaultdict(Group)
        self.noreply = 0  # requests
        self.places: Counter[int] = Counter()  # in its read, of requests that were not the first
        self.key_places: Counter[int] = Counter()  # of retrieval requests
        self.exptimes: Counter[Tuple[str, int]] = Counter()  # (command, as it was sent)
        self.ttls: Counter[int] = Counter()  # seconds; 0: none, -1: already expired
        self.by_second: Counter[int] = Counter()  # operations by Unix second, see begin_second
        self.keys = Keys(watched)
        self.value_sizes: Counter[int] = Counter()  # NO_SIZE: there was no value
        self.slowest: List[SlowRequest] = []
        self._most = most
        # Of profiles that hold names or groups; a group of None has what has no key.
        self.groups: Counter[Tuple[Optional[bytes], int]] = Counter()  # (group, outcome)
        self.group_bytes: Counter[Optional[bytes]] = Counter()  # of values
        # Of a period of a comparison:
        self.seconds = 0.0  # how long it lasts
        self.opened = 0  # connections
        self.connections = 0.0  # that are open at its end
        self._parts = parts
        self._expiring: Counter[str] = Counter()  # operations with an exptime, by command
        self._coarse = False  # there were too many distinct latencies; all are rounded
        # Of the profile that is being read, by server: what pack_rows makes of a row
        self._operations: Dict[int, Counter[int]] = defaultdict(Counter)
        self._later: Counter[Tuple[int, int]] = Counter()  # (form, key position), if not 0

    def add(self, block: Operations, reader: ProfileReader) -> None:
        """Count one block."""
        for server, rows in split(block, block.connection, reader.servers_at(block.connection)):
            self._operations[server].update(pack_rows(rows))
        self._later.update(compress(zip(block.form, block.key_position), block.key_position))
        if sum(map(len, self._operations.values())) > OPERATIONS_MAX // self._parts:
            self._take_operations(reader)
        # Of most rows the place in a read and the exptime are 0.
        places = compress(zip(block.batch, block.key_position), block.batch)
        self.places.update(place for place, key_position in places if not key_position)
        now = int(float(reader.header["started_unix"]) + block.time[0] / TICKS_PER_SECOND)
        exptimes = Counter(compress(zip(block.form, block.exptime), block.exptime))
        for (form, exptime), count in exptimes.items():
            command = command_of(reader.forms[form])
            if command in TTL_COMMANDS:
                self.ttls[ttl_of(exptime, now)] += count
                self.exptimes[command, exptime] += count
                self._expiring[command] += count
        count_seconds(block.time, begin_second(reader), self.by_second)
        self.keys.add(block)
        self.value_sizes.update(block.value_size)
        if self._most:
            full = len(self.slowest) == self._most
            least = int(self.slowest[-1].latency_us * 1000) // TICK_NS if full else 1
            self._keep_slowest(slow_requests(block, reader, self._most, least))
        if reader.named:
            named, labels = reader.named, reader.labels
            each = zip(block.key_hash, block.key_size)
            of_keys = [labels[named.get(key, (0, 0))[1]] if size else None for key, size in each]
            groups = list(map(of_keys.__getitem__, block.key))
            self.groups.update(zip(groups, block.outcome))
            for group, size in zip(groups, block.value_size):
                if size != NO_SIZE:
                    self.group_bytes[group] += size

    def end(self, reader: ProfileReader) -> None:
        """The profile has no more blocks."""
        self._take_operations(reader)
        self.value_sizes.pop(NO_SIZE, None)
        servers = servers_of(reader)
        for number, count in Counter(reader.server_of).items():
            if number:
                self.servers[servers[number]].connections += count
        # Now all of a command's operations are known, so those without an exptime are, too.
        for command, group in self.commands.items():
            if command in TTL_COMMANDS - OPTIONAL_TTL_COMMANDS:
                self.exptimes[command, 0] = group.operations - self._expiring[command]
        self.ttls[0] = sum(n for (_, exptime), n in self.exptimes.items() if not exptime)

    @property
    def reads(self) -> int:
        """How many reads the requests came in."""
        return self.whole.requests - total_of(self.places)

    def merge(self, other: "Counts") -> None:
        """Add what was counted of other blocks of the same profiles."""
        groups = [(self.whole, other.whole)]
        groups += ((self.commands[name], group) for name, group in other.commands.items())
        groups += ((self.servers[name], group) for name, group in other.servers.items())
        for group, more in groups:
            group.requests += more.requests
            group.outcomes.update(more.outcomes)
            group.latencies.update(more.latencies)
        self.noreply += other.noreply
        for name in ("places", "key_places", "exptimes", "ttls", "by_second"):
            getattr(self, name).update(getattr(other, name))
        for name in ("value_sizes", "groups", "group_bytes"):
            getattr(self, name).update(getattr(other, name))
        self.keys.merge(other.keys)
        self._keep_slowest(other.slowest)
        self._coarse |= other._coarse
        self._round_latencies()

    def _keep_slowest(self, more: Iterable[SlowRequest]) -> None:
        both = chain(self.slowest, more)
        self.slowest = heapq.nlargest(self._most, both, key=operator.itemgetter(0, 1))

    def ttls_given(self) -> Dict[int, int]:
        """The TTLs that let an item expire later."""
        return {ttl: count for ttl, count in self.ttls.items() if ttl > 0}

    def _take_operations(self, reader: ProfileReader) -> None:
        """From what was counted by form to what is reported."""
        commands, servers = list(map(command_of, reader.forms)), servers_of(reader)
        recorded = reader.header.get("responses", True)
        requests: Counter[int] = Counter()  # by form
        for server, operations in self._operations.items():
            of_server = self.servers[servers[server]]
            for row, count in operations.items():
                form, ticks = row & 0xFFFF, row >> 24
                outcome = row >> 16 & 0xFF if recorded else NOT_RECORDED
                requests[form] += count
                for group in (self.whole, self.commands[commands[form]], of_server):
                    group.outcomes[outcome] += count
                    if ticks:
                        group.latencies[ticks] += count
        self._operations.clear()
        for (form, key_position), count in self._later.items():
            requests[form] -= count
            if commands[form] in GET_COMMANDS:
                self.key_places[key_position] += count
        self._later.clear()
        for form, count in requests.items():
            self.whole.requests += count
            self.commands[commands[form]].requests += count
            self.noreply += count * reader.forms[form].endswith(" noreply")
            if commands[form] in GET_COMMANDS:
                self.key_places[0] += count
        self._round_latencies()

    def _round_latencies(self) -> None:
        """Keep memory bounded."""
        groups = (self.whole, *self.commands.values(), *self.servers.values())
        self._coarse |= sum(len(group.latencies) for group in groups) > DISTINCT_MAX // self._parts
        for group in groups if self._coarse else ():
            group.latencies = round_to_3_digits(group.latencies)


def servers_of(reader: ProfileReader) -> List[HostServer]:
    """Its servers, as they are numbered so far."""
    host = str(reader.header.get("host") or "")
    return [(host, server) for server in reader.servers]


def pack_rows(block: Operations) -> "array[int]":
    """Of each row, form, outcome and latency side by side in one number.

    A Counter takes a third of the time for these that it takes for tuples.
    """
    data = bytearray(8 * len(block.form))
    for at, values, typecode in (
        (0, block.form, "H"),
        (2, block.outcome, "B"),
        (3, block.latency, "I"),
    ):
        column = array("B" if isinstance(values, bytes) else typecode, values)
        if sys.byteorder == "big":
            column.byteswap()
        raw, width = column.tobytes(), column.itemsize
        for plane in range(width):
            data[at + plane :: 8] = raw[plane::width]
    rows = array("Q", bytes(data))
    if sys.byteorder == "big":
        rows.byteswap()
    return rows


def split(
    block: Operations, column: Sequence[int], part_of: Dict[int, int]
) -> Iterator[Tuple[int, Operations]]:
    """The rows of a block by parts. part_of: from what is in the column to the part."""
    if len(set(part_of.values())) == 1:
        yield next(iter(part_of.values())), block
        return
    places: Dict[int, List[int]] = defaultdict(list)
    for place, value in enumerate(column):
        places[part_of[value]].append(place)
    for part, chosen in places.items():
        columns = (list(map(values.__getitem__, chosen)) for values in block[: len(COLUMNS)])
        yield part, Operations(*columns, *block[len(COLUMNS) :])


def begin_second(reader: ProfileReader) -> int:
    """The Unix second at whose beginning a recording is taken to begin, in a timeline."""
    return math.floor(float(reader.header["started_unix"]))


def count_seconds(ticks: Sequence[int], first: int, seconds: Counter[int]) -> None:
    """Count rows by second; there are few in a block, so each is looked for from the last.

    first: the second of tick 0. Rows can be from before it.
    """
    ordered = sorted(ticks)
    begin = 0
    while begin < len(ordered):
        second = ordered[begin] // TICKS_PER_SECOND
        end = bisect.bisect_left(ordered, (second + 1) * TICKS_PER_SECOND, begin)
        seconds[first + max(second, 0)] += end - begin
        begin = end


def ttl_of(exptime: int, now: int) -> int:
    """The TTL of an exptime at Unix time `now`; 0: no TTL, -1: already expired."""
    if exptime < 0:
        return -1
    if exptime > RELATIVE_EXPTIME_MAX:
        return max(exptime - now, -1) or -1
    return exptime


class Wanted(NamedTuple):
    """What to count of profiles."""

    part: Optional[Slice] = None
    slowest: int = 0  # so many of the slowest requests are told


ALL_OPERATIONS = Wanted()


def count_part(
    paths: Sequence[str],
    limits: Sequence[Optional[int]],
    wanted: Wanted,
    part: int = 0,
    parts: int = 1,
) -> Tuple[Counts, List[ProfileReader]]:
    """Count every parts-th block of the profiles. The readers have seen all that limits allow."""
    counts, readers = Counts(most=wanted.slowest), []
    for path, limit in zip(paths, limits):
        with ProfileReader(path, limit) as reader:
            reader.named, reader.part = {}, wanted.part
            for number, packed in enumerate(reader.packed_blocks()):
                block = reader.unpack(packed) if number % parts == part else None
                if block and block.time:
                    counts.add(block, reader)
            counts.end(reader)
            readers.append(reader)
    return counts, readers


def send_other_half(
    paths: Sequence[str], limits: Sequence[Optional[int]], wanted: Wanted, sender: Any
) -> None:
    """What a second process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the first one ends it
    try:
        counts, readers = count_part(paths, limits, wanted, 1, 2)
        sender.send((counts, [(reader.rows, reader.last_tick) for reader in readers]))
    except ProfileError as error:
        sender.send(error)


def count_all(paths: Sequence[str], wanted: Wanted) -> Tuple[Counts, List[ProfileReader]]:
    """Count all profiles; if they are large, every second block in another process."""
    limits = [os.path.getsize(path) if os.path.isfile(path) else 0 for path in paths]
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if cpus < 2 or not all(limits) or sum(limits) < TWO_PROCESSES_BYTES:
        return count_part(paths, [None] * len(paths), wanted)
    import multiprocessing  # only here, since it takes long

    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    worker = fork.Process(target=send_other_half, args=(paths, limits, wanted, sender), daemon=True)
    worker.start()
    sender.close()
    try:
        counts, readers = count_part(paths, limits, wanted, 0, 2)
        found = receiver.recv()
    except EOFError:
        raise MembenchError(
            "an analysis worker was killed", "see that there is memory, and try again"
        ) from None
    finally:
        worker.kill()  # if it still runs, its result is no longer wanted
        worker.join()
        worker.close()
        receiver.close()
    if isinstance(found, ProfileError):
        raise found
    others, seen = found
    counts.merge(others)
    for reader, (rows, last_tick) in zip(readers, seen):
        reader.last_tick = max(reader.last_tick, last_tick)
        if reader.rows != rows:
            path = printable(reader.path)
            raise ProfileError(f"{path} changed while it was read", "analyze it again")
    return counts, readers


def analyze(paths: Sequence[str]) -> Dict[str, Any]:
    """The report on one or several profiles, as `analyze --json` prints it."""
    return analyze_whole(paths)[1]


def analyze_whole(
    paths: Sequence[str], wanted: Wanted = ALL_OPERATIONS
) -> Tuple[Counts, Dict[str, Any]]:
    """What was counted, and the report on it."""
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise ProfileError("a profile is named twice", "name each once: it would count twice")
    counts, readers = count_all(paths, wanted)
    profiles = [describe_profile(reader) for reader in readers]
    seconds = covered_seconds([reader.span() for reader in readers])
    report = build_report(counts, seconds)
    if wanted.part:
        rows = sum(reader.rows for reader in readers)
        of_slice = {"duration_seconds": round(seconds, 3), "left_out": rows - report["operations"]}
        report["slice"] = {**wanted.part._asdict(), **of_slice}
        if wanted.part.commands:  # the rest of each read is not known
            report["pipelining"]["mean_depth"] = None
    if wanted.slowest:
        slowest = counts.slowest
        report["slowest"] = [{**one._asdict(), "time": utc_text(one.time)} for one in slowest]
    recordings = [
        (begin_second(reader) + begin - float(reader.header["started_unix"]), end - begin)
        for reader in readers
        for begin, end in (reader.span(),)
    ]
    report["timeline"] = timeline(counts.by_second, recordings)
    report["profiles"] = profiles
    report["connections"] = sum(reader.connections for reader in readers)
    report["connections_opened"] = sum(reader.opened for reader in readers)
    if any(reader.named for reader in readers):
        add_names(report, counts, readers)
    report["keys"]["comparable"] = len({str(p["key_space"]) for p in profiles}) <= 1
    report["loss"] = sum_ledgers([reader.ledger for reader in readers])
    return counts, report


def utc_text(at: float) -> str:
    """A Unix time as 2026-11-25T21:30:00.123Z, or as a number if it is far from now."""
    try:
        date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(math.floor(at)))
    except (OverflowError, ValueError, OSError):
        return f"{at:.3f}"
    return f"{date}.{int(at % 1 * 1000):03}Z"


def add_names(report: Dict[str, Any], counts: Counts, readers: List[ProfileReader]) -> None:
    """Say what the profiles tell about the names of keys: the hottest, and how many have none."""
    known = [(reader, reader.named) for reader in readers if reader.named]
    for top in report["keys"]["top"]:
        for reader, named in known:
            name, group = named.get(int(top["key"], 16), (0, 0))
            if group:
                top["group"] = group_text(reader.labels[group])
            if name:
                top["name"] = escaped(reader.labels[name])
    named_keys = set().union(*(named for _, named in known))
    report["keys"]["unnamed"] = max(counts.keys.unique() - len(named_keys), 0)
    report["groups"] = report_groups(counts)


def describe_profile(reader: ProfileReader) -> Dict[str, Any]:
    """What the report says about a profile."""
    header = {"side": "server", "responses": True, **reader.header}
    names = ("source", "hook", "side", "host", "ports", "started_at")
    return {
        "path": reader.path,
        **{name: header.get(name) for name in names},
        "duration_seconds": round(reader.seconds(), 3),
        "complete": reader.complete,
        "format_version": FORMAT_VERSION,
        "responses": header["responses"],
        "key_space": header.get("key_space"),
        "keys": reader.keys_kept,
    }


def covered_seconds(spans: List[Tuple[float, float]]) -> float:
    """How many seconds at least one of the recordings (begin, end) covers."""
    seconds, reached = 0.0, -math.inf
    for begin, end in sorted(spans):
        seconds += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return seconds


def sum_ledgers(ledgers: List[Dict[str, float]]) -> Dict[str, Any]:
    """The ledgers of several profiles as one."""
    names = Ledger().report().keys() - {"kernel"}
    loss: Dict[str, Any] = {
        name: sum(int(ledger.get(name, 0)) for ledger in ledgers) for name in sorted(names)
    }
    seen = loss["bytes_seen"]
    loss["coverage"] = (seen - loss["bytes_lost"]) / seen if seen else None
    return loss


# ---- The report ----


def build_report(counts: Counts, duration: float) -> Dict[str, Any]:
    """The report, except for what is known about the files."""
    operations = counts.whole.operations
    commands = sorted(counts.commands.items(), key=lambda item: (-item[1].operations, item[0]))
    # Address "": the server is not known.
    servers = sorted(counts.servers.items(), key=lambda item: (-item[1].operations, item[0]))
    return {
        "requests": counts.whole.requests,
        **report_group(counts.whole, duration),
        "commands": {
            command: {"requests": group.requests, **report_group(group, duration)}
            for command, group in commands
        },
        "keys": report_keys(counts),
        "values": {
            "size_bytes": describe_sizes(counts.value_sizes),
            "histogram": powers_of_two(counts.value_sizes),
        },
        "key_size_histogram": powers_of_two(counts.keys.sizes),
        "ttl_seconds": {
            "none": counts.ttls[0],
            "expired": counts.ttls[-1],
            "set": describe_sizes(counts.ttls_given()),
        },
        "noreply_requests": counts.noreply,
        "pipelining": {
            "mean_depth": mean_of(counts.whole.requests, counts.reads),
            "max_depth": max((0, *counts.places)) + 1 if counts.whole.requests else 0,
        },
        "keys_per_get": {
            "mean": mean_of(total_of(counts.key_places), counts.key_places[0]),
            "max": max(counts.key_places, default=-1) + 1,
        },
        "servers": [
            {
                "host": host,
                **server._asdict(),
                "connections": group.connections,
                "share": group.operations / operations if operations else 0.0,
                **report_group(group, duration),
            }
            for (host, server), group in servers
        ],
    }


def mean_of(total: int, count: int) -> Optional[float]:
    """None: of nothing."""
    return round(total / count, 2) if count else None


def report_group(group: Group, duration: float) -> Dict[str, Any]:
    """What is reported of operations, whatever they have in common."""
    hits, misses, operations = group.outcomes[HIT], group.outcomes[MISS], group.operations
    recorded = not operations or operations > group.outcomes[NOT_RECORDED]
    return {
        "operations": operations,
        "operations_per_second": round(operations / duration, 1) if duration else None,
        "hits": hits if recorded else None,
        "misses": misses if recorded else None,
        "hit_ratio": hits / (hits + misses) if hits + misses else None,
        "outcomes": {REPORTED[each]: n for each, n in sorted(group.outcomes.items())},
        "latency_us": describe_latency(group.latencies),
    }


def report_keys(counts: Counts) -> Dict[str, Any]:
    """How many keys there are, and the hottest."""
    keys, operations = counts.keys, total_of(counts.keys.sizes)
    hottest = heapq.nlargest(10, zip(keys.counts.values(), keys.counts))
    return {
        "unique": keys.unique(),
        **({"estimated": True} if keys.estimated else {}),
        "size_bytes": describe_sizes(counts.keys.sizes),
        "top": [
            {"key": f"{key:016x}", "operations": count, "share": count / operations}
            for count, key in hottest
        ],
    }


def group_text(group: bytes) -> str:
    """A group as reports name it."""
    return escaped(group) or "(no group)"


def report_groups(counts: Counts) -> List[Dict[str, Any]]:
    """The operations on keys by group; those of the groups after GROUPS_MAX are one row."""
    groups: Dict[bytes, Counter[int]] = defaultdict(Counter)
    for (group, outcome), count in counts.groups.items():
        if group is not None:
            groups[group][outcome] += count
    ordered = sorted(groups, key=lambda group: (-total_of(groups[group]), group))
    recorded = counts.whole.outcomes[NOT_RECORDED] < counts.whole.operations
    rows = []
    for first in range(min(len(ordered), GROUPS_MAX + 1)):
        these = ordered[first:] if first == GROUPS_MAX else ordered[first : first + 1]
        outcomes = sum((groups[group] for group in these), Counter[int]())
        rows.append(
            {
                "label": group_text(these[0]) if first < GROUPS_MAX else "(all others)",
                "operations": total_of(outcomes),
                "hits": outcomes[HIT] if recorded else None,
                "misses": outcomes[MISS] if recorded else None,
                "bytes": sum(map(counts.group_bytes.__getitem__, these)),
            }
        )
    return rows


def powers_of_two(counts: Dict[int, int]) -> List[Dict[str, int]]:
    """A histogram: how many values are at most 16, 32, 64, ... bytes."""
    buckets: Counter[int] = Counter()
    for value, count in counts.items():
        buckets[1 << (max(value, 1) - 1).bit_length()] += count
    return [{"up_to": limit, "count": buckets[limit]} for limit in sorted(buckets)]


SHORT_SECONDS = 0.5  # in less, chance decides how many operations there are per second


def timeline(
    seconds: Counter[int], recordings: Sequence[Tuple[float, float]], points: int = 60
) -> Dict[str, Any]:
    """Operations over time in at most `points` steps, and for how long each step was recorded.

    recordings: the second that each begins with, and how long it lasts.
    """
    if not seconds:
        return {"step_seconds": 1, "operations": [], "recorded_seconds": []}
    first, last = min(seconds), max(seconds)
    step = (last - first) // points + 1
    operations = [0] * ((last - first) // step + 1)
    for second, count in seconds.items():
        operations[(second - first) // step] += count
    spans = [(begin - first, begin - first + length) for begin, length in recordings]
    recorded = [
        covered_seconds([(max(begin, at), min(end, at + step)) for begin, end in spans])
        for at in range(0, len(operations) * step, step)
    ]
    for place in range(len(operations) - 1, 0, -1):  # the last step has only begun
        if recorded[place] < SHORT_SECONDS <= recorded[place - 1]:
            operations[place - 1] += operations[place]
            recorded[place - 1] += recorded[place]
            operations[place], recorded[place] = 0, 0.0
    if not operations[-1]:
        del operations[-1], recorded[-1]
    return {
        "step_seconds": step,
        "operations": operations,
        "recorded_seconds": [round(time, 3) for time in recorded],
    }


# ==== Insight =========================================================================
#
# Why keys are missed, and what memory is spent on: `analyze --why`. One pass over the operations
# in the order of time, with a small state for each key. docs/insight.md defines each figure.

FOLLOWED_MAX = 1 << 20  # keys with a state, 500 to 1,400 bytes each; of more, a sample by hash
ORDER_ROWS = 1 << 14  # are put in order together, of WINDOW_TICKS at most
ORDER_BLOCKS = 64  # that these may be in, which are kept meanwhile
TIMES_MAX = 1 << 16  # distinct times or sizes of each kind; more are rounded to 3 digits
CLOCK_TICKS = TICKS_PER_SECOND  # memcached's clock has whole seconds
FLUSH_TICKS = 2 * TICKS_PER_SECOND  # by as much it begins a delayed flush_all too early
OVERLAP_TICKS = TICKS_PER_SECOND // 100  # between requests that memcached took the other way
REFILL_TICKS = 60 * TICKS_PER_SECOND  # a store this long after a miss is not for it
WAITING_MAX = 8  # connections remembered that missed a key and have not stored it
ITEM_BYTES = 48 + 8 + 1 + 2  # header, CAS, the ends of key and value
SLAB_CHUNK_MAX = 512 << 10  # half of the largest item, see memcached's -I
FLAGS_BYTES = 4  # what flags take that are not 0
SERVER_BIT = 80  # a key: its server, from this bit on, 64 bits of hash, 16 of size
_NO_REPLY = (NONE, UNANSWERED, LOST)  # taken as carried out
NEVER, UNKNOWN = 1 << 62, (1 << 62) + 1  # when a value expires

# Where a value is, and if it is not there, why not: causes of misses.
PRESENT, C_DELETED, C_EXPIRED, C_FLUSHED, C_EVICTED, C_EITHER, C_NOT_STORED, C_NOT_SEEN = range(8)
C_NEW = 8  # nothing is known yet
LONGER_TTL = "A longer TTL avoids these misses, if the values stay valid for longer."
CAUSES = {
    C_EXPIRED: ("expired", "Their TTL had passed. " + LONGER_TTL),
    C_EVICTED: (
        "evicted",
        "They were evicted, or the server restarted: nothing else explains why they are gone. "
        "More memory would keep them; so would storing fewer values that nobody reads.",
    ),
    C_EITHER: (
        "expired_or_evicted",
        "They had hit, but were stored before the recording began, so their TTL is unknown. "
        "Record for longer than the longest TTL.",
    ),
    C_DELETED: ("deleted", "If the new value is known, store it instead of deleting the old one."),
    C_FLUSHED: ("flushed", "Find out who calls flush_all, or flush when there is little traffic."),
    C_NOT_STORED: (
        "not_stored",
        "The latest store was refused (too large, or out of memory), and the old value dropped. "
        "Store smaller values, compress them, or raise the limits (memcached's -I and -m).",
    ),
    C_NOT_SEEN: (
        "not_seen",
        "This recording has no earlier store or hit of them: new keys, keys that do not exist, or "
        "keys stored before it began. Cache the absence of those that do not exist.",
    ),
}

# What an operation says about its key; see actions_of().
NOTHING, READ, MISSED, STORE, READ_TOUCH, COUNT, COUNT_TOUCH, COUNT_BINARY = range(8)
TOUCH, SEEN, APPEND, DELETE, GONE, REFUSED, NOT_ADDED, FLUSH = range(8, 16)
IF_THERE, IF_GONE = 0x40, 0x80  # no reply was seen: so it is, if it fits what is known of the key
_READS = frozenset((READ, READ_TOUCH, COUNT, COUNT_TOUCH, COUNT_BINARY))
_TOUCHES = frozenset((READ_TOUCH, COUNT_TOUCH, TOUCH))

# command, or ms and its mode -> what is said by STORED, by NOT_STORED, and by no reply
_WRITES = {
    **dict.fromkeys(("set", "cas", "msS"), (STORE, NOTHING, STORE)),
    **dict.fromkeys(("add", "msE"), (STORE, SEEN, STORE | IF_GONE)),
    **dict.fromkeys(("replace", "msR"), (STORE, GONE, STORE | IF_THERE)),
    **dict.fromkeys(("append", "prepend", "msA", "msP"), (APPEND, GONE, APPEND | IF_THERE)),
}


def actions_of(form: str) -> List[int]:
    """What each outcome of a form says about its key.

    Above the lowest byte: of STORE, bytes of flags; of FLUSH, the delay; of others, 1 + the TTL of
    a value that it makes where there is none (N flag).
    """
    command, *words = form.split(" ")
    binary = words[:1] == ["binary"]
    if binary and command.endswith("q"):
        command = command[:-1]
    if command == "ms":
        command += meta_mode(words) or "S"
    touches = "T" in words or command in ("gat", "gats", "gatk")
    made = next((int(word[1:21]) + 1 for word in words if re.match(r"N[0-9]+\Z", word)), 0) << 8
    found = dict.fromkeys((NOT_FOUND,), GONE)
    if command in ("get", "gets", "getk", "gat", "gats", "gatk", "mg"):
        found.update({MISS: MISSED, HIT: (READ_TOUCH if touches else READ) | made})
    elif command in _WRITES:
        stored, not_stored, unseen = _WRITES[command]
        if stored == APPEND:
            stored |= made
        elif any(re.match(r"F?[1-9]\d*\Z", word) for word in words):
            stored, unseen = stored | FLAGS_BYTES << 8, unseen | FLAGS_BYTES << 8
        drops = command == "set" or command.startswith("ms")  # what was there, when refused
        found.update(dict.fromkeys(_NO_REPLY, unseen))
        found.update({STORED: stored, NOT_STORED: not_stored, EXISTS: SEEN})
        found[SERVER_ERROR] = REFUSED if drops else NOT_ADDED
    elif command in ("incr", "decr", "ma"):
        count = COUNT_BINARY if binary else COUNT_TOUCH if touches else COUNT
        found.update({OK: count | made, STORED: count | made})
    elif command in ("delete", "md", "touch"):
        done = DELETE if command != "touch" else TOUCH
        if "I" in words or "x" in words:  # the item stays, as stale or as empty
            done = TOUCH if touches else SEEN
        found.update(dict.fromkeys(_NO_REPLY, done | IF_THERE))
        found.update({DELETED: done, TOUCHED: done, EXISTS: SEEN})
    elif command in ("flush", "flush_all"):
        delay = int(words[0][:20]) if words and re.match(r"[0-9]+\Z", words[0]) else 0
        found.update(dict.fromkeys((OK, *_NO_REPLY), FLUSH | delay << 8))
    return [found.get(outcome, NOTHING) for outcome in range(len(OUTCOMES))]


def ttl_made(action: int, exptime: int) -> int:
    """The TTL of what an operation makes where there was nothing; below 0: not known to do so."""
    return exptime if action & 0x3F in (STORE, COUNT_BINARY) else (action >> 8) - 1


def mixed(key: int) -> int:
    """What a sample is chosen by, 64 bits: a file's hashes may be any numbers."""
    return hash((key,)) & (1 << 64) - 1


def with_servers(block: Operations, servers: Mapping[int, int]) -> Operations:
    """A block whose keys are of one server each: its number stands above the hash.

    servers: connection -> number.
    """
    if len(set(servers.values())) == 1:
        server = next(iter(servers.values())) << 64
        hashes = [server | key for key in block.key_hash] if server else block.key_hash
        return block._replace(key_hash=hashes)
    pairs = list(zip(map(servers.__getitem__, block.connection), block.key))
    places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
    return block._replace(
        key=list(map(places.__getitem__, pairs)),
        key_hash=[server << 64 | block.key_hash[key] for server, key in places],
        key_size=[block.key_size[key] for _, key in places],
    )


@functools.lru_cache(maxsize=4096)
def ttl_class(ttl: int) -> int:
    """A TTL rounded down to two digits, so that there are few."""
    unit: int = 10 ** max(len(str(ttl)) - 2, 0) if ttl > 0 else 1
    return ttl // unit * unit


class Episode:
    """The misses of a key since it was stored last."""

    __slots__ = ("first", "misses", "askers", "waiting", "stores")

    def __init__(self, tick: int) -> None:
        self.first = tick
        self.misses = self.askers = self.stores = 0
        self.waiting: Dict[int, int] = {}  # connection that missed and has not stored it -> tick


class Item:
    """What is known about a key."""

    __slots__ = (
        *("key", "cause", "stored", "second", "expires", "used", "size", "asked", "asked_before"),
        *("ages", "episode", "cause_before", "answered", "removed"),
    )

    def __init__(self, key: int, ages: Dict[int, int]) -> None:
        self.key = key  # server, hash and size; see SERVER_BIT
        self.cause = C_NEW  # PRESENT, or why it is not there
        self.cause_before = C_NOT_SEEN  # its value was stored
        self.answered = -NEVER  # tick of the reply to the store
        self.removed = -NEVER  # of the last reply to a delete, or to a refused store
        self.stored = UNKNOWN  # tick; UNKNOWN: its store was not seen
        self.second = 0  # of its store; of what was evicted, how long it had not been used
        self.expires = -NEVER  # tick; -NEVER: it is not there
        self.used = 0  # last tick; of what was lost, when that was noticed
        self.size = 0  # bytes of the item; 0: not known
        self.asked = 0  # how often it was read or missed
        self.asked_before = 0  # this value was stored, or lost
        self.ages = ages  # of its TTL: seconds -> hits; see Insight.ages
        self.episode: Optional[Episode] = None


# (tick, key, action, size of the value, exptime, connection, tick of the reply)
InsightRow = Tuple[int, Item, int, int, int, int, int]
WaitingRow = Tuple[int, Item, int, int, Operations]  # (tick, key, action, the row in its block)


class Insight:
    """Follows the keys of profiles, and counts what becomes of them.

    All counts are of a sample if there are too many keys, and scaled up.
    """

    def __init__(self) -> None:
        self.causes: Counter[int] = Counter()  # of misses
        self.idle: Counter[int] = Counter()  # seconds without use of what was evicted
        self.refills: Counter[int] = Counter()  # ticks from a miss to the store
        self.stampedes: Counter[int] = Counter()  # ticks from the first miss to the first store
        self.waste: Counter[str] = Counter()  # as in the report
        self.held = 0  # bytes x ticks
        self.unread, self.unread_held = [0, 0], [0, 0]  # never read, not read yet
        self.refused: Counter[int] = Counter()  # sizes of values that were refused
        self.live: Counter[int] = Counter()  # sizes of items that were there at the end
        self.ages: Dict[int, Dict[int, int]] = {}  # TTL -> ages in seconds at which hits came
        self.values: Counter[int] = Counter()  # TTL -> values stored
        self.keys = 0
        self.weight = 1  # so many keys each one stands for, at the end
        self._begin(0.0)

    def _begin(self, started_unix: float) -> None:
        self._started_unix = started_unix
        self._weight = 1  # so many keys each one stands for
        self._second = 0  # of the row that is taken
        self._items: Dict[int, Item] = {}  # by server, hash and size of the key
        self._flushes: Dict[int, Tuple[int, int]] = {}  # server -> ticks of the last flush_alls
        self._actions: List[List[int]] = []  # of each form
        self._rows: List[WaitingRow] = []  # that may not be in order yet
        self._no_ages: Dict[int, int] = {}  # those of values whose store was not seen
        self._outside = Item(0, self._no_ages)  # stands for keys that are not in the sample

    def follow(self, path: str) -> None:
        """Take in a profile."""
        with ProfileReader(path) as reader:
            self._begin(float(reader.header["started_unix"]))
            for block in reader.blocks() if reader.header.get("responses", True) else ():
                self._add(block, reader)
            self._take(self._rows)
            self._finish(max(int(reader.seconds() * TICKS_PER_SECOND), reader.last_tick))

    def _add(self, block: Operations, reader: ProfileReader) -> None:
        """Take the rows in that are in order by now."""
        self._actions += map(actions_of, reader.forms[len(self._actions) :])
        servers = reader.servers_at(block.connection).items()
        block = with_servers(block, {n: max(server, 1) - 1 for n, server in servers})
        keys = [key << 16 | size for key, size in zip(block.key_hash, block.key_size)]
        items = map(self._items_of(keys).__getitem__, block.key)
        actions = map(operator.getitem, map(self._actions.__getitem__, block.form), block.outcome)
        rows = self._rows
        rows += zip(block.time, items, actions, range(len(block.time)), repeat(block))
        if self._weight > 1:
            rows[:] = [row for row in rows if row[1] is not self._outside]
        rows.sort(key=operator.itemgetter(0))
        ready = settled(rows, ORDER_ROWS)
        if len({id(row[-1]) for row in rows[ready:]}) > ORDER_BLOCKS:
            ready = len(rows)
        self._take(rows[:ready])
        del rows[:ready]
        self._keep_bounds()

    def _items_of(self, keys: Iterable[int]) -> List[Item]:
        """What is known about keys; of those that are not in the sample, nothing."""
        items, found = self._items, []
        for key in keys:
            item = items.get(key)
            if item is None:
                item = self._outside
                if self._weight == 1 or self._is_sampled(key):
                    item = items[key] = Item(key, self._no_ages)
            found.append(item)
        return found

    def _keep_bounds(self) -> None:
        """Keep memory bounded."""
        while len(self._items) > FOLLOWED_MAX:
            self._weight *= 2
            self._items = {k: item for k, item in self._items.items() if self._is_sampled(k)}
            self._rows = [row for row in self._rows if self._is_sampled(row[1].key)]
        self._no_ages.clear()
        times: Tuple[Dict[int, int], ...] = (self.idle, self.refills, self.stampedes, self.refused)
        for counts in (*times, self.live, *self.ages.values()):
            if len(counts) > TIMES_MAX:
                rounded = round_to_3_digits(Counter(counts))
                counts.clear()
                counts.update(rounded)

    def _is_sampled(self, key: int) -> bool:
        """Is it one of the sample? What has no key always is."""
        return not key % (1 << SERVER_BIT) or (mixed(key) | 1) * self._weight < 1 << 64

    def _take(self, rows: Sequence[WaitingRow]) -> None:
        weight, begin = self._weight, 0
        while begin < len(rows):
            second = self._second = rows[begin][0] // TICKS_PER_SECOND
            end = bisect.bisect_left(rows, ((second + 1) * TICKS_PER_SECOND,), begin)
            for tick, item, action, place, block in rows[begin:end]:
                if action == READ and tick < item.expires:
                    item.used = tick
                    item.asked += 1
                    ages, age = item.ages, second - item.second  # below 0 if out of order
                    try:  # half as long as with a Counter
                        ages[age] += weight
                    except KeyError:
                        ages[age] = weight
                elif action == MISSED:
                    self._miss(item, tick, block.connection[place])
                elif action:
                    size, exptime = block.value_size[place], block.exptime[place]
                    answered = tick + block.latency[place]
                    row = tick, item, action, size, exptime, block.connection[place], answered
                    if action == STORE:
                        self._store(row, size, exptime)
                    else:
                        self._take_other(row)
            begin = end

    def _miss(self, item: Item, tick: int, connection: int) -> None:
        early = self._is_early(item, tick)
        if item.cause == C_NEW:
            item.cause = C_NOT_SEEN
        elif not item.cause and not early:
            self._lose(item, tick)
        item.asked += 1
        item.asked_before += early  # this is not about the value that was being stored
        self.causes[item.cause or item.cause_before] += self._weight
        episode = item.episode
        late = episode is not None and episode.stores and not early
        if episode is None or late or tick - episode.first > REFILL_TICKS:
            episode = item.episode = Episode(tick)
        episode.misses += 1
        if connection not in episode.waiting and len(episode.waiting) < WAITING_MAX:
            episode.waiting[connection] = tick
            episode.askers += 1

    def _is_early(self, item: Item, tick: int) -> bool:
        """Was this asked before the store was answered, and so may have come before it?"""
        return not item.cause and tick < item.answered and item.cause_before != PRESENT

    def _store(self, row: InsightRow, size: int, exptime: int) -> None:
        """A new value."""
        tick, item, _, _, _, connection, answered = row
        if not item.cause and self._end(item, tick):
            self.waste["overwrites"] += self._weight
            if item.stored != UNKNOWN and item.asked == item.asked_before:
                self.waste["overwrites_never_read"] += self._weight
        if item.episode is not None:
            self._fill(item, item.episode, tick, connection)
        ttl = exptime
        if not 0 <= exptime < 100:
            now = int(self._started_unix + tick / TICKS_PER_SECOND)
            ttl = ttl_class(ttl_of(exptime, now))
        ages = self.ages.get(ttl)
        if ages is None:
            ages = self.ages[ttl] = {}
        self.values[ttl] += self._weight
        item.ages, item.asked_before = ages, item.asked
        item.cause_before = item.cause if item.cause != C_NEW else C_NOT_SEEN
        item.cause, item.answered = PRESENT, answered
        item.stored, item.used, item.second = tick, tick, self._second
        item.size = size + (item.key & 0xFFFF) + ITEM_BYTES
        item.expires = self._expiry(exptime, tick)

    def _fill(self, item: Item, episode: Episode, tick: int, connection: int) -> None:
        """A store after misses."""
        asked, weight = episode.waiting.pop(connection, None), self._weight
        if asked is not None and tick - asked <= REFILL_TICKS:
            self.refills[tick - asked] += weight
        soon = tick - episode.first <= REFILL_TICKS
        if soon and episode.misses >= 3 and episode.askers >= 2:
            if not episode.stores:
                self.stampedes[tick - episode.first] += weight
                self.waste["stampede_misses"] += episode.misses * weight
            elif asked is not None:
                self.waste["redundant_stores"] += weight
        episode.stores += 1
        if not episode.waiting:
            item.episode = None

    def _expiry(self, exptime: int, tick: int) -> int:
        """The tick at which a value expires that gets this exptime now."""
        ttl = ttl_of(exptime, int(self._started_unix + tick / TICKS_PER_SECOND))
        return tick + max(ttl, 0) * TICKS_PER_SECOND if ttl else NEVER

    def _flushed(self, item: Item, tick: int) -> Optional[int]:
        """When flush_all removed the value, if it did."""
        for at in self._flushes.get(item.key >> SERVER_BIT, ()):
            if item.used <= at <= tick + FLUSH_TICKS:
                return at
        return None

    def _end(self, item: Item, tick: int, final: bool = False) -> bool:
        """The value is gone, now or earlier. Was it there until now? final: the profile ends."""
        end = tick if tick < item.expires else item.expires
        flushed = self._flushed(item, tick) if self._flushes else None
        if flushed is not None and flushed < end:
            end = flushed
        if item.stored != UNKNOWN:
            held = (end - item.stored) * item.size * self._weight if end > item.stored else 0
            self.held += held
            if item.asked == item.asked_before:
                yet = final and end == tick
                self.unread[yet] += self._weight
                self.unread_held[yet] += held
        return end == tick

    def _lose(self, item: Item, tick: int) -> None:
        """The value is not there any more: find out why, as memcached does: flushed comes first."""
        cause = C_EITHER if item.expires == UNKNOWN else C_EVICTED
        if self._flushed(item, tick) is not None:
            cause = C_FLUSHED
        elif tick >= item.expires - CLOCK_TICKS:
            cause = C_EXPIRED
        elif item.stored < item.removed:  # asked before that was answered: it may have come first
            cause = C_DELETED
        self._end(item, tick)
        if cause == C_EVICTED:
            item.second = (tick - item.used) // TICKS_PER_SECOND
            self.idle[item.second] += self._weight
        item.cause, item.expires, item.used, item.asked_before = cause, -NEVER, tick, item.asked

    def _flush(self, server: int, tick: int, delay: int) -> None:
        """Of a flush_all that is still to come, the next one takes the place."""
        done, other = self._flushes.get(server, (-NEVER, -NEVER))
        at = self._expiry(delay, tick) if delay > 0 else tick
        self._flushes[server] = (other if other <= tick else done, at)

    def _take_other(self, row: InsightRow) -> None:
        tick, item, action, size, exptime, _, answered = row
        kind = action & 0x3F
        there = tick < item.expires + CLOCK_TICKS
        if kind == FLUSH:
            self._flush(item.key >> SERVER_BIT, answered, action >> 8 or exptime)
        elif action & (IF_GONE if there else IF_THERE):
            return
        elif kind == STORE:
            self._store(row, size + (action >> 8), exptime)
        elif kind == GONE:
            if not item.cause and not self._is_early(item, tick):
                self._lose(item, tick)
        elif kind in (DELETE, REFUSED, NOT_ADDED):
            if kind != DELETE:
                self.refused[size] += self._weight
            if kind == NOT_ADDED and there:
                return
            if not item.cause:
                self._end(item, tick)
            elif kind == DELETE:
                self._correct(item, tick)
            item.cause, item.expires = C_DELETED if kind == DELETE else C_NOT_STORED, -NEVER
            item.removed = max(item.removed, answered)
        elif there:
            self._use(row)
        elif item.cause in (C_DELETED, C_NOT_STORED) and tick < item.removed:
            item.asked += kind in _READS  # it may have come before the value was removed
        else:
            self._appear(row)
            self._use(row)

    def _correct(self, item: Item, tick: int) -> None:
        """A delete found what seemed to be evicted just before: the miss came after it."""
        if item.cause in (C_EVICTED, C_EITHER) and tick - item.used <= OVERLAP_TICKS:
            misses = (item.asked - item.asked_before) * self._weight
            self.causes[item.cause] -= misses
            self.causes[C_DELETED] += misses
            if item.cause == C_EVICTED:
                self.idle[item.second] -= self._weight

    def _appear(self, row: InsightRow) -> None:
        """The key turns out to be there: either this made it, or its store was not seen."""
        tick, item, action, size, exptime, _, _ = row
        kind = action & 0x3F
        ttl = ttl_made(action, exptime)
        known_bytes = 0 if size == NO_SIZE or kind == APPEND else size
        if item.cause != C_NEW and ttl >= 0:
            self._store(row, known_bytes, ttl)
            item.asked_before += kind in _READS  # what made it has not read it
            return
        if not item.cause:
            self._end(item, tick)
        item.cause, item.expires, item.episode = PRESENT, UNKNOWN, None
        item.stored, item.ages, item.asked_before = UNKNOWN, self._no_ages, item.asked
        item.size = known_bytes + (item.key & 0xFFFF) + ITEM_BYTES if known_bytes else 0

    def _use(self, row: InsightRow) -> None:
        """The key is there, and is read, touched or changed."""
        tick, item, action, size, exptime, _, _ = row
        kind = action & 0x3F
        item.used = tick
        if kind in _READS:
            item.asked += 1
            if item.asked != item.asked_before:
                age = self._second - item.second
                item.ages[age] = item.ages.get(age, 0) + self._weight
        if kind in _TOUCHES and not (item.stored == tick and action >> 8):
            item.expires = self._expiry(exptime, tick)
        if kind == APPEND and item.size:
            item.size += size

    def _finish(self, tick: int) -> None:
        """The profile ends."""
        found: Counter[str] = Counter()
        for item in self._items.values():
            if item.asked:
                found["keys_asked"] += 1
                found["keys_asked_once"] += item.asked == 1
            if not item.cause:
                if self._end(item, tick, final=True) and item.size:
                    self.live[item.size] += self._weight
            elif item.cause == C_NOT_SEEN:
                found["negative_keys"] += 1
                found["negative_misses"] += item.asked
            elif item.cause == C_NEW:
                self.keys -= self._weight
        self.keys += len(self._items) * self._weight
        self.waste.update({name: count * self._weight for name, count in found.items()})
        self.weight = max(self.weight, self._weight)
        self._begin(0.0)


# ---- What it says ----


def slab_chunks(factor: float) -> List[int]:
    """The sizes of memcached's chunks, as it computes them at its start."""
    sizes: List[int] = []
    size = 96
    while size < SLAB_CHUNK_MAX / factor and len(sizes) < 62:
        sizes.append(size + -size % 8)
        size = int(sizes[-1] * factor)
    return [*sizes, SLAB_CHUNK_MAX]


def describe_slabs(items: Mapping[int, int], factor: float) -> Dict[str, Any]:
    """What items of these sizes take in chunks. Larger ones than a chunk can be are left out."""
    chunks = slab_chunks(factor)
    fitting = {size: count for size, count in items.items() if size <= chunks[-1]}
    chunk_bytes = sum(chunks[bisect.bisect_left(chunks, n)] * k for n, k in fitting.items())
    return {
        "factor": factor,
        "items": total_of(fitting),
        "item_bytes": sum_of(fitting),
        "chunk_bytes": chunk_bytes,
        "lost_bytes": chunk_bytes - sum_of(fitting),
    }


def describe_ms(ticks: Mapping[int, int]) -> Optional[Dict[str, float]]:
    """Number, mean, percentiles and maximum in milliseconds."""
    found = describe_sizes(ticks)
    per_ms = TICKS_PER_SECOND // 1000
    return found and {k: n if k == "count" else round(n / per_ms, 3) for k, n in found.items()}


def describe_ttls(insight: Insight) -> List[Dict[str, Any]]:
    """Of each TTL, how old values were when they were hit; most values first."""
    found = []
    for ttl, values in sorted(insight.values.items(), key=lambda item: (-item[1], item[0])):
        ages = insight.ages[ttl]
        hits = describe_sizes(ages)
        of_hits = {f"hit_age_{k}": max(hits[k], 0) if hits else None for k in ("p50", "p99", "max")}
        found.append({"ttl": ttl, "values": values, "hits": total_of(ages), **of_hits})
    return found


def describe_insight(insight: Insight, factor: float) -> Dict[str, Any]:
    """What `analyze --why` adds to the report."""
    waste = insight.waste
    names = ("overwrites", "overwrites_never_read", "keys_asked", "keys_asked_once")
    held = (insight.held, *insight.unread_held)
    return {
        "miss_causes": {name: insight.causes[cause] for cause, (name, _) in CAUSES.items()},
        "evicted_unused_seconds": describe_sizes(+insight.idle),
        "refill_ms": describe_ms(insight.refills),
        "stampedes": {
            "episodes": total_of(insight.stampedes),
            "misses": waste["stampede_misses"],
            "redundant_stores": waste["redundant_stores"],
            "ms": describe_ms(insight.stampedes),
        },
        "waste": {
            "values": total_of(insight.values),
            **dict(zip(("never_read", "not_read_yet"), insight.unread)),
            **{name: waste[name] for name in (*names, "negative_keys", "negative_misses")},
            **{
                "byte_seconds" + rest: ticks // TICKS_PER_SECOND
                for rest, ticks in zip(("", "_never_read", "_not_read_yet"), held)
            },
            "refused_bytes": describe_sizes(insight.refused),
            "slabs": describe_slabs(insight.live, factor),
        },
        "ttl_classes": describe_ttls(insight),
        "keys_followed": {"keys": insight.keys, "sample": 1 / insight.weight},
    }


# ---- Findings ----

ENOUGH, FEW = 1000, 100  # a share must be of so many; so many must be what is found
LARGE_GET = 100  # keys

# id -> what stands out ({}: its share), and what to do
FINDINGS = {
    "incomplete": ("{} of the bytes were lost: counts are lower bounds.", "See Coverage below."),
    "refused_connections": (
        "{} of the connections were refused.",
        "Allow more (memcached's -c), or let clients share them.",
    ),
    "misses": ("{} of the retrievals miss.", "analyze --why tells the cause of each miss."),
    "server_errors": (
        "{} of the operations were refused with SERVER_ERROR.",
        "Values are too large, or memory is full: see memcached's -I and -m.",
    ),
    "expired_ttls": (
        "{} of the TTLs had passed when they were set.",
        "Such a value never hits. Check the clients' clocks, and the unit of their TTLs.",
    ),
    "hot_key": (
        "{} of the operations are on one key.",
        "All go to one server: cache the value in the clients, or copy it to several keys.",
    ),
    "large_gets": (
        "{} of the operations are in requests for 100 keys or more.",
        "While a thread answers one, its other clients wait: ask for fewer keys at once.",
    ),
    "connection_churn": (
        "A connection was opened for {} of the operations.",
        "Keep connections open, or use a pool.",
    ),
    "no_ttl": (
        "{} of the requests that can set a TTL set none.",
        "Such values stay until they are evicted. Set a TTL for data that changes.",
    ),
    "noreply": (
        "{} of the requests ask for no reply.",
        "Their clients do not learn of errors. Ask for replies where that matters.",
    ),
    "never_read": (
        "{} of the memory (bytes x time) held values that were never read.",
        "Give them a shorter TTL, or store a value only when it is asked for again.",
    ),
    "slab_rounding": (
        "{} of the memory is lost because items do not fill their slab chunks.",
        "Try a smaller growth factor (memcached's -f): --slab-factor tells what it loses.",
    ),
    "long_ttls": (
        "{} of the values have a TTL over 4 times the age within which 99% of their hits come.",
        "A shorter TTL frees memory: see Age at hits.",
    ),
    "never_there": (
        "{} of the misses are for keys that were never present.",
        "If they do not exist, cache that: store an empty value with a short TTL.",
    ),
    "stampedes": (
        "{} of the misses are in stampedes, not counting the first of each.",
        "Let one client refill the key: with a lock (add), or with mg's N flag.",
    ),
    **{
        f"misses_{name}": (
            "{} of the misses are for values that were " + name.replace("_", " ") + ".",
            do,
        )
        for name, do in CAUSES.values()
        if name != "not_seen"
    },
}

# (id, how many, of how many, at least which share, what the number is weighed against)
Rule = Tuple[str, int, int, float, int]


def plain_rules(report: Dict[str, Any], counts: Counts) -> Iterator[Rule]:
    """What can stand out in any report."""
    ttls, loss, operations = report["ttl_seconds"], report["loss"], report["operations"]
    lifetimes = ttls["none"] + ttls["expired"] + (ttls["set"] or {"count": 0})["count"]
    refused, errors = loss["refused_connections"], report["outcomes"].get("server_error", 0)
    hits, misses = report["hits"] or 0, report["misses"] or 0
    large = sum(n for place, n in counts.key_places.items() if place >= LARGE_GET)
    large += counts.key_places[LARGE_GET - 1] * LARGE_GET
    hottest = max((top["operations"] for top in report["keys"]["top"]), default=0)
    yield "incomplete", loss["bytes_lost"], loss["bytes_seen"], 0.01, loss["bytes_lost"]
    if not report.get("slice"):  # connections are counted in whole recordings only
        yield "refused_connections", refused, report["connections"] + refused, 0.01, operations
        yield "connection_churn", report["connections_opened"], operations, 0.1, operations
    yield "misses", misses, hits + misses, 0.2, operations
    yield "server_errors", errors, operations, 0.001, operations
    yield "expired_ttls", ttls["expired"], lifetimes, 0.01, operations
    yield "hot_key", hottest, operations, 0.1, operations
    yield "large_gets", large, operations, 0.01, operations
    yield "no_ttl", ttls["none"], lifetimes, 0.5, FEW * operations  # these two save
    yield "noreply", report["noreply_requests"], report["requests"], 0.1, FEW * operations  # little


def why_rules(report: Dict[str, Any]) -> Iterator[Rule]:
    """What can stand out in a report of `analyze --why`."""
    waste, found, operations = report["waste"], report["stampedes"], report["operations"]
    slabs, causes = waste["slabs"], report["miss_causes"]
    misses = total_of(causes)
    for name in causes.keys() - {"not_seen"}:
        yield f"misses_{name}", causes[name], misses, 0.1, operations
    yield "never_there", waste["negative_misses"], misses, 0.1, operations
    yield "stampedes", found["misses"] - found["episodes"], misses, 0.05, operations
    if waste["values"] >= ENOUGH:
        held = waste["byte_seconds"]
        yield "never_read", waste["byte_seconds_never_read"], held, 0.1, held
    if slabs["items"] >= ENOUGH:
        yield "slab_rounding", slabs["lost_bytes"], slabs["chunk_bytes"], 0.15, slabs["chunk_bytes"]
    # Of a longer TTL than half the recording, too few of the late hits can have been seen.
    longest = max(profile["duration_seconds"] for profile in report["profiles"]) / 2
    too_long = sum(
        row["values"]
        for row in report["ttl_classes"]
        if row["hits"] >= ENOUGH and 4 * (row["hit_age_p99"] + 1) <= row["ttl"] <= longest
    )
    yield "long_ttls", too_long, waste["values"], 0.1, waste["values"]


def find(rules: Iterable[Rule]) -> List[Dict[str, Any]]:
    """What stands out, first what is about the largest share of the operations or of memory."""
    found = [
        (-part / max(against, 1), name, part / whole)
        for name, part, whole, least, against in rules
        if whole >= ENOUGH and part >= FEW and part >= least * whole
    ]
    return [
        {
            "id": name,
            "title": FINDINGS[name][0].format(f"{share:.2%}"),
            "value": round(share, 6),
            "unit": "share",
            "advice": FINDINGS[name][1],
        }
        for _, name, share in sorted(found)
    ]


def explain(report: Dict[str, Any], paths: Sequence[str], factor: float) -> None:
    """Add to a report why keys were missed, and what memory was spent on."""
    insight = Insight()
    gc.disable()  # there are no reference cycles, but a million objects to look at
    try:
        for path in paths:
            insight.follow(path)
    finally:
        gc.enable()
    report.update(describe_insight(insight, factor))


# ==== Miss ratio curve ================================================================
#
# How many reads would miss in an LRU cache of any size: `analyze --mrc`. A cache of C bytes holds a
# read's item if the items used since its own latest use, and itself, never took more than C. So one
# pass over the operations gives the whole curve. In a large profile a sample of the keys stands for
# all (SHARDS), and distances count as many times as there are keys for one in the sample.

CURVE_ROWS = 3_000_000  # operations of which all keys are followed: about 20 s
CURVE_KEYS = KEYS_MAX  # followed at most, about 270 bytes each
CURVE_HOT_KEYS = 1024  # of which more than of the others are in a sample
CURVE_SIZES = [n << power for power in range(45) for n in range(8, 16)]  # of caches, in bytes
CURVE_SPAN = 2048  # the largest that is shown is as many times as large as the smallest
CURVE_EVICTIONS = 100  # that show how much memory there was
PARTS = 4  # of a sample, which show how much depends on its keys
ENDLESS = 1 << 62  # the distance of what no cache has
# In place of a position; REMOVED: since the last flush_all.
NEVER_SEEN, REMOVED, FLUSHED = -1, -2, -3

# What an operation says of its item, or does to it; bits that are combined. IS_THERE: after it.
IS_MISS, IS_READ, IS_USE, IS_THERE, HAS_SIZE, IS_LONGER, SETS_TTL, IS_REMOVED, IS_FLUSH, IS_NEW = (
    1 << n for n in range(10)
)


class LruStack:
    """Items in the order of their latest use, and what a cache must hold to have each.

    An item that is used leaves a hole, which takes room until something new fills it: memory that
    was freed does not bring back what was evicted before. Bytes stand at positions in time, and
    their sums over 128 and over 16,384 positions beside them.
    """

    ROOM = 1 << 14  # positions, at least, before those without bytes are left out

    def __init__(self) -> None:
        self.places: List[int] = []  # item -> its position, or why it has none
        self.weights: List[int] = []  # item -> bytes, when it was last there
        self._holes: Dict[int, int] = {}  # position -> bytes
        self._latest_holes: List[int] = []  # a heap of positions, negated
        self._set([], [])

    def _set(self, weights: List[int], owners: List[int]) -> None:
        self._bytes, self._owners = weights, owners
        self._sums = [sum(weights[at : at + 128]) for at in range(0, len(weights), 128)]
        sums = self._sums
        self._sums_of_sums = [sum(sums[at : at + 128]) for at in range(0, len(sums), 128)]
        self._limit = 3 * len(weights) + self.ROOM

    def distance(self, place: int) -> int:
        """The bytes at a position and after it: a cache must have as many to hold what is there."""
        last = place | 127
        if last >= len(self._bytes):
            return sum(self._bytes[place:])
        block = (place >> 7) + 1
        above = (place >> 14) + 1
        found = sum(self._bytes[place : last + 1]) + sum(self._sums[block : above << 7])
        return found + sum(self._sums_of_sums[above:])

    def use(self, item: int, weight: int) -> None:
        """An item is used, or comes, and has so many bytes."""
        place, missing, latest = self.places[item], weight, self._latest_holes
        if place >= 0:
            if weight == self.weights[item] and (not latest or -latest[0] < place):
                if place == len(self._bytes) - 1:
                    return
                self._take_bytes(place, weight)  # its hole would be filled at once
                missing = 0
            else:
                self.remove(item)
        while missing and latest:
            at = -latest[0]
            taken = min(self._holes[at], missing)
            missing -= taken
            self._holes[at] -= taken
            self._take_bytes(at, taken)
            if not self._holes[at]:
                del self._holes[heapq.heappop(latest) * -1]
        place = len(self._bytes)
        if place >= self._limit:
            self._compact()
            place = len(self._bytes)
        if not place & 127:
            self._sums.append(0)
            if not place & 16383:
                self._sums_of_sums.append(0)
        self._bytes.append(weight)
        self._owners.append(item)
        self._sums[-1] += weight
        self._sums_of_sums[-1] += weight
        self.places[item], self.weights[item] = place, weight

    def _take_bytes(self, place: int, count: int) -> None:
        self._bytes[place] -= count
        self._sums[place >> 7] -= count
        self._sums_of_sums[place >> 14] -= count

    def remove(self, item: int, state: int = REMOVED) -> None:
        """An item goes, if it is there."""
        place = self.places[item]
        if place >= 0:
            self._holes[place] = self.weights[item]
            heapq.heappush(self._latest_holes, -place)
        self.places[item] = state

    def _compact(self) -> None:
        """Leave out positions without bytes, and make one of the holes between two items."""
        places = self.places
        holes: Dict[int, int] = {}
        weights: List[int] = []
        owners: List[int] = []
        for at, (item, count) in enumerate(zip(self._owners, self._bytes)):
            if places[item] == at:
                places[item] = len(owners)
            elif not count:
                continue
            elif len(owners) - 1 in holes:
                holes[len(owners) - 1] += count
                weights[-1] += count
                continue
            else:
                holes[len(owners)] = count
            owners.append(item)
            weights.append(count)
        self._holes, self._latest_holes = holes, [-at for at in reversed(holes)]
        self._set(weights, owners)

    def footprint(self) -> int:
        """The most bytes that items took together."""
        return sum(self._sums_of_sums)

    def contents(self) -> Iterator[Tuple[int, int]]:
        """The items that are there, from the latest, each with the cache size that holds it."""
        sizes = accumulate(reversed(self._bytes))
        for at, size in zip(range(len(self._bytes) - 1, -1, -1), sizes):
            if self.places[self._owners[at]] == at:
                yield size, self._owners[at]


_EFFECTS = {
    READ: IS_USE | IS_READ | IS_THERE | HAS_SIZE,
    READ_TOUCH: IS_USE | IS_READ | IS_THERE | HAS_SIZE | SETS_TTL,
    MISSED: IS_USE | IS_READ | IS_MISS,
    STORE: IS_USE | IS_THERE | HAS_SIZE | SETS_TTL,
    APPEND: IS_USE | IS_THERE | HAS_SIZE | IS_LONGER,
    **dict.fromkeys((COUNT, COUNT_BINARY, SEEN), IS_USE | IS_THERE),
    **dict.fromkeys((COUNT_TOUCH, TOUCH), IS_USE | IS_THERE | SETS_TTL),
    **dict.fromkeys((DELETE, REFUSED), IS_REMOVED),
    FLUSH: IS_FLUSH,
}


def effects_of(form: str) -> List[int]:
    """What each outcome of a form means for its item, in a cache that has it.

    Above the bits stands the action.
    """
    effects = []
    for action in actions_of(form):
        effect = _EFFECTS.get(action & 0x3F, 0)
        if action & IF_THERE:
            effect &= ~IS_THERE
        effect |= IS_NEW if action & IF_GONE else 0
        effects.append(effect and effect | action << 10)
    if effects[DELETED] & IS_REMOVED:  # a larger cache would have had it
        effects[NOT_FOUND] = effects[DELETED]
    return effects


class CurveCounter:
    """Counts the reads that miss in LRU caches of all sizes.

    one_in, hot: see sample_rows() and stand_ins().
    """

    def __init__(self, one_in: int, hot: Dict[int, Tuple[int, int]]) -> None:
        self.stack = LruStack()
        # Of each part of the keys: place in CURVE_SIZES -> reads that need as large a cache. The
        # place behind the last: those that no size helps. Recorded as hits, and as misses:
        self.hits, self.missed = ([Counter[int]() for _ in range(PARTS + 1)] for _ in range(2))
        self.first: Counter[int] = Counter()  # item -> reads before anything was known of it
        self.unexpected = 0  # hits of what should have been gone
        self._one_in, self._hot = one_in, hot
        self._items: Dict[int, int] = {}  # server and hash -> item
        self._came: Dict[int, List[int]] = defaultdict(list)  # server -> items since its flush_all
        self._servers: Dict[Tuple[str, str], int] = {}
        self._ends: List[int] = []  # item -> second of its expiry, 0: none
        self._filed: List[int] = []  # item -> second in which that is looked at, 0: never
        self._due: Dict[int, List[int]] = {}  # second -> items, and -1 - server for a flush_all
        self._seconds: List[int] = []  # those of _due, a heap
        self._flushes: Dict[int, int] = {}  # server -> second of a flush_all that is to come
        self.now = 0  # Unix second, of the latest operation

    def take(self, block: Operations, reader: ProfileReader, effects: Sequence[List[int]]) -> None:
        """Follow the operations of a block. effects: by form and outcome."""
        block = self._with_servers(block, reader)
        groups, items = self._number(block)
        scales = [scale for scale, _ in groups]
        sinks: Dict[Tuple[int, int], Tuple[List[int], List[int]]] = {
            group: ([], []) for group in set(groups)
        }
        distances = list(map(sinks.__getitem__, groups))
        bases = [size + ITEM_BYTES for size in block.key_size]
        stack, places, weights = self.stack, self.stack.places, self.stack.weights
        started, next_tick = float(reader.header["started_unix"]), -1 << 63
        columns = (block.form, block.outcome, block.key, block.value_size, block.exptime)
        for tick, form, outcome, key, size, exptime in zip(block.time, *columns):
            effect, scale = effects[form][outcome], scales[key]
            if not effect:
                continue
            if tick >= next_tick:
                self._advance(math.floor(started + tick / TICKS_PER_SECOND))
                next_tick = math.ceil((self.now + 1 - started) * TICKS_PER_SECOND)
            item = items[key]
            place = places[item]
            made = -1 if place >= 0 else ttl_made(effect >> 10, exptime)
            if effect & IS_READ:
                if place >= 0:
                    distance = stack.distance(place)
                    if scale > 1:  # above the others it has only its own bytes
                        distance -= weights[item] - weights[item] // scale
                else:
                    distance = ENDLESS
                    if place == NEVER_SEEN:
                        self.first[item] += scale
                    elif made < 0 and not effect & IS_MISS:
                        self.unexpected += scale
                distances[key][effect & IS_MISS].append(distance)
            elif effect & IS_NEW and place >= 0:  # it adds nothing
                effect = IS_USE
            if not effect & (IS_USE if place >= 0 else IS_THERE):
                if effect & IS_FLUSH:
                    self._flush(block.key_hash[key] >> 64, exptime or effect >> 18)
                elif effect & IS_REMOVED:
                    stack.remove(item, FLUSHED if place in (NEVER_SEEN, FLUSHED) else REMOVED)
                continue
            weight = weights[item] or bases[key] * scale  # if the size of its value is not known
            if effect & HAS_SIZE and size != NO_SIZE:
                added = place >= 0 and effect & IS_LONGER
                weight = weight + size * scale if added else (bases[key] + size) * scale
            stack.use(item, weight)
            if place < 0 and place != REMOVED:
                self._came[block.key_hash[key] >> 64].append(item)
            if made >= 0 or effect & SETS_TTL:
                self._set_ttl(item, made if made >= 0 else exptime)
        for (scale, part), found in sinks.items():
            for its, counts in zip(found, (self.hits[part], self.missed[part])):
                needed = Counter(map(bisect.bisect_left, repeat(CURVE_SIZES), its))
                counts.update({place: count * scale for place, count in needed.items()})

    def held_items(self) -> Tuple[List[int], "array[int]"]:
        """Sizes in ascending order, and how many items a cache of each has at the end."""
        keys, sizes, counts = list(self._items), [], array("Q", (0,))
        for size, item in self.stack.contents():
            sizes.append(size)
            counts.append(counts[-1] + self._group(keys[item])[0])
        return sizes, counts

    def _group(self, key: int) -> Tuple[int, int]:
        """For how many keys one stands, and the part that it is counted in."""
        key &= (1 << 64) - 1
        return self._hot.get(key) or (self._one_in, mixed(key) // self._one_in % PARTS)

    def _with_servers(self, block: Operations, reader: ProfileReader) -> Operations:
        """A block whose keys are of one server each; servers of profiles are told by address."""
        unknown, *names = ((host, server.address) for host, server in servers_of(reader))
        if unknown in self._servers and names and names[0] not in self._servers:
            self._servers[names[0]] = self._servers.pop(unknown)  # what is not known is the first
        names = names or [unknown]
        numbers = [self._servers.setdefault(name, len(self._servers)) for name in names]
        servers = reader.servers_at(block.connection).items()
        return with_servers(block, {n: numbers[max(server, 1) - 1] for n, server in servers})

    def _number(self, block: Operations) -> Tuple[List[Tuple[int, int]], List[int]]:
        """The group of each key, and its item."""
        known, hashes = self._items, block.key_hash
        groups = [(1, PARTS)] * len(hashes)
        if self._one_in > 1:
            groups = [
                self._group(key) if size else (1, PARTS)
                for key, size in zip(hashes, block.key_size)
            ]
        items = [known.setdefault(key, len(known)) for key in hashes]
        more = len(known) - len(self._ends)
        self.stack.places.extend(repeat(NEVER_SEEN, more))
        for column in (self.stack.weights, self._ends, self._filed):
            column.extend(repeat(0, more))
        return groups, items

    def _flush(self, server: int, delay: int) -> None:
        """A flush_all, now or later; a later one is forgotten if another follows."""
        ttl = ttl_of(delay, self.now)
        self._flushes[server] = self.now + ttl if ttl > 0 else 0
        if ttl > 0:
            self._file(-1 - server, self.now + ttl)
            return
        for item in self._came.pop(server, ()):
            self.stack.remove(item, FLUSHED)

    def _set_ttl(self, item: int, exptime: int) -> None:
        ttl = ttl_of(exptime, self.now)
        self._ends[item] = end = self.now + ttl if ttl > 0 else 0
        if ttl < 0:
            self.stack.remove(item)
        elif end and not 0 < self._filed[item] <= end:  # else it is looked at before
            self._filed[item] = end
            self._file(item, end)

    def _file(self, item: int, second: int) -> None:
        if second not in self._due:
            heapq.heappush(self._seconds, second)
        self._due.setdefault(second, []).append(item)

    def _advance(self, now: int) -> None:
        """It is this second now, or still a later one: let expire what has an end."""
        self.now = max(now, self.now)
        while self._seconds and self._seconds[0] <= self.now:
            second = heapq.heappop(self._seconds)
            for item in self._due.pop(second):
                if item < 0:
                    if self._flushes.get(-1 - item) == second:
                        self._flush(-1 - item, 0)
                elif self._filed[item] == second:
                    self._filed[item] = 0
                    if self._ends[item] > second:  # it was moved
                        self._filed[item] = self._ends[item]
                        self._file(item, self._ends[item])
                    elif self._ends[item] and self.stack.places[item] >= 0:
                        self.stack.remove(item)


def stand_ins(counts: Counts, one_in: int) -> Dict[int, Tuple[int, int]]:
    """The hottest keys: for how many each stands (0: it is left out), and their part.

    By chance, too many or too few of them would be in the sample, which is most of the error. So
    the hottest stand for themselves, of the next every second is taken, of those every fourth.
    """
    used = zip(counts.keys.counts.values(), counts.keys.counts)
    found = {}
    whole = max(CURVE_HOT_KEYS // one_in, 8)
    hottest = heapq.nlargest(whole * one_in, used) if one_in > 1 else []
    for rank, (_, key) in enumerate(hottest):
        step = 1 << max((rank // whole).bit_length() - 1, 0)
        part = PARTS if step == 1 else rank // step % PARTS
        found[key] = (step if rank % step == step // 2 else 0), part
    return found


def sample_rows(block: Operations, one_in: int, hot: Dict[int, Tuple[int, int]]) -> Operations:
    """The operations on one of so many keys by its hash, on those that stand in, and on no key."""
    hashes, sizes = block.key_hash, block.key_size
    kept = [
        n
        for n, key in enumerate(hashes)
        if (hot[key][0] if key in hot else not mixed(key) % one_in) or not sizes[n]
    ]
    numbers = dict(zip(kept, range(len(kept))))
    rows = list(compress(range(len(block.key)), map(numbers.__contains__, block.key)))
    columns = [list(map(column.__getitem__, rows)) for column in block[: len(COLUMNS)]]
    columns += [hashes[n] for n in kept], [sizes[n] for n in kept]
    found = Operations(*columns)
    return found._replace(key=list(map(numbers.__getitem__, found.key)))


def miss_ratio_curve(
    paths: Sequence[str], counts: Counts, one_in: Optional[int] = None
) -> Optional[Dict[str, Any]]:
    """The miss ratio of LRU caches of all sizes. counts: of the same profiles.

    one_in: of so many keys one is followed; None: chosen by what the profiles hold.
    """
    if one_in is None:
        operations, keys = counts.whole.operations, counts.keys.unique()
        one_in = max(1, -(-operations // CURVE_ROWS), -(-keys // CURVE_KEYS))
    hot, reads = stand_ins(counts, one_in), 0
    counter = CurveCounter(one_in, hot)
    for path in paths:
        effects: List[List[int]] = []
        with ProfileReader(path) as reader:
            counter.now = 0  # each profile has a clock of its own
            for block in reader.blocks():
                if len(counter.stack.places) >= CURVE_KEYS:
                    break
                reads += sum(block.outcome.count(outcome) for outcome in (HIT, MISS))
                effects += map(effects_of, reader.forms[len(effects) :])
                counter.take(
                    sample_rows(block, one_in, hot) if one_in > 1 else block, reader, effects
                )
    return describe_curve(counter, reads, one_in) if reads else None


def missed_by_size(counts: Counter[int]) -> List[int]:
    """How many reads are missed without a cache, and by one of each of CURVE_SIZES."""
    most = total_of(counts)
    hits = accumulate(counts[place] for place in range(len(CURVE_SIZES)))
    return [most, *(most - count for count in hits)]


def describe_curve(counter: CurveCounter, reads: int, one_in: int) -> Dict[str, Any]:
    """The curve as `analyze --json` prints it."""
    *parts, exact = (missed_by_size(a + b) for a, b in zip(counter.hits, counter.missed))
    sampled = list(map(sum, zip(*parts)))
    # All but the exact part had more reads, or fewer, than those that stand for them.
    factor = (reads - exact[0]) / sampled[0] if sampled[0] else 1.0
    ratios = [min((sure + other * factor) / reads, 1.0) for sure, other in zip(exact, sampled)]
    footprint, known = counter.stack.footprint(), counter.stack.weights
    cold = sum(n for item, n in counter.first.items() if known[item]) + counter.unexpected
    first = bisect.bisect(CURVE_SIZES, footprint // CURVE_SPAN) + 1
    last = min(bisect.bisect(CURVE_SIZES, footprint - 1) + 1, len(CURVE_SIZES))
    sizes_held, counts = counter.held_items()
    points, errors = [], []
    for place in range(first, last + (footprint > 0)):
        size = min(CURVE_SIZES[place - 1], footprint)
        items = counts[bisect.bisect(sizes_held, size)]
        points.append({"bytes": size, "items": items, "miss_ratio": ratios[place]})
        share = sampled[place] / max(sampled[0], 1)
        differences = (part[place] - part[0] * share for part in parts)
        variance = sum(one**2 for one in differences) * PARTS / (PARTS - 1)
        errors.append(math.sqrt(variance) * factor / reads)
    sizes = dict.fromkeys(("present", "half", "twice", "knee"))
    present = present_size(counter, ratios, reads, one_in)
    if present:
        sizes.update(present=present, half=present // 2, twice=present * 2)
    if points and points[0]["miss_ratio"] > points[-1]["miss_ratio"]:
        sizes["knee"] = max(points, key=lambda point: below_line(points, point))["bytes"]
    places = {name: min(bisect.bisect(CURVE_SIZES, n or 0), last) for name, n in sizes.items()}
    return {
        "rate": 1 / one_in,
        "reads": reads,
        "points": points,
        "floor": max(ratios[-1] - cold * factor / reads, 0.0),
        "cold": cold * factor / reads,
        "error": sum(errors) / max(len(errors), 1),
        "footprint_bytes": footprint,
        "marks": {
            name: {"bytes": size, "miss_ratio": ratios[places[name]]} if size else None
            for name, size in sizes.items()
        },
    }


def below_line(points: Sequence[Dict[str, Any]], point: Dict[str, Any]) -> float:
    """How far a point of the curve is below the straight line between its ends."""
    (x1, y1), (x, y), (x2, y2) = (
        (int(each["bytes"]), float(each["miss_ratio"])) for each in (points[0], point, points[-1])
    )
    return y1 + (y2 - y1) * (x - x1) / max(x2 - x1, 1) - y


def present_size(
    counter: CurveCounter, ratios: Sequence[float], reads: int, one_in: int
) -> Optional[int]:
    """The size of the LRU cache that misses as many reads as missed because of evictions.

    None: too few did, or such a cache would have evicted other items.
    """
    counts = sum(counter.missed, Counter[int]())
    evicted = total_of(counts) - counts[len(CURVE_SIZES)]
    wanted = ratios[-1] + evicted / reads
    place = next(n for n, ratio in enumerate(ratios) if ratio <= wanted)
    others = sum(count for n, count in counts.items() if n < place)
    if place == 0 or evicted < CURVE_EVICTIONS * one_in or others > evicted / 2:
        return None
    return CURVE_SIZES[place - 1]


# ==== Reports =========================================================================
#
# What people read: numbers, the report of `analyze`, and two profiles side by side.


def bar(share: float, width: int = 24) -> str:
    """A bar that is empty only for zero."""
    return "#" * max(round(share * width), 1 if share > 0 else 0)


def human_bytes(count: float) -> str:
    """1536 -> 1.5K"""
    for unit in ("", "K", "M", "G"):
        if abs(count) < 1024 or unit == "G":
            break
        count /= 1024
    return f"{count:.0f}{unit}" if unit == "" or count >= 100 else f"{count:.1f}{unit}"


def human_seconds(seconds: float) -> str:
    """90 -> 1.5m"""
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds / 86400:.3g}d"


def human_us(us: Optional[float]) -> str:
    """12.3, 123, 1,230: at most the 3 digits, and 0.1 us, that a histogram has."""
    return "-" if us is None else f"{us:,.1f}" if us < 100 else f"{us:,.0f}"


def human_percent(share: Optional[float]) -> str:
    """0.5398 -> 53.98%"""
    return "-" if share is None else f"{share:.2%}"


def human_number(number: Optional[float]) -> str:
    """1234 -> 1,234; 12345.6 -> 12,346; 0.98765 -> 0.9877"""
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 999.95 or number == int(number) else f"{number:.4g}"


def table_row(name: str, indent: int, cells: Iterable[str], widths: Iterable[int]) -> str:
    """A line of a table: a name, and cells that end at equal columns."""
    row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))
    return f"{name:<{indent}}{row}"


# ---- The report on profiles ----

WIDTH_MIN, WIDTH, WIDTH_MAX = 60, 80, 160  # columns
GROUPS_SHOWN = 10


def render(report: Dict[str, Any], by_server: bool = False, width: int = WIDTH) -> str:
    """The report as text, `width` columns wide."""
    wide = min(width - 40, 60)  # columns for the longest bar of a histogram
    keys, values = report["keys"]["size_bytes"], report["values"]["size_bytes"]
    sections = [
        render_profiles(report),
        render_slice(report),
        render_summary(report),
        render_findings(report),
        render_servers(report, width) if by_server else [],
        render_commands(report, width),
        render_latency(report, width),
        render_slowest(report),
        render_histogram("key", report["key_size_histogram"], keys, wide),
        render_histogram("value", report["values"]["histogram"], values, wide),
        render_ttls(report),
        render_keys(report, wide),
        render_groups(report),
        *(render_why(report), render_waste(report), render_lifetimes(report)),
        render_curve(report, width),
        render_timeline(report, width),
        render_loss(report),
    ]
    return fit((line for section in sections for line in section), width)


def fit(lines: Iterable[str], width: int) -> str:
    """The lines as text; those that are too long are broken between words."""
    pieces: List[str] = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        found = textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
        pieces += found or [""]
    return "\n".join(pieces)


def is_truncated(report: Dict[str, Any]) -> bool:
    """Is the end of a profile missing?"""
    return not all(profile["complete"] for profile in report["profiles"])


def render_profiles(report: Dict[str, Any]) -> List[str]:
    lines = []
    for profile in report["profiles"]:
        duration = f"{profile['duration_seconds']:,.1f} s"
        if not profile["complete"]:
            known = profile["duration_seconds"] > 0
            duration = f"at least {duration}" if known else "duration unknown"
        about = [str(profile["host"] or ""), str(profile["started_at"]), duration]
        ports = ", ".join(str(port) for port in profile["ports"] or [])
        where = f"port{'s' if ', ' in ports else ''} {ports}, " if ports else ""
        side = ", recorded at the clients" if profile["side"] == "client" else ""
        lines += [
            name_of(str(profile["path"])),
            "  " + ", ".join(filter(None, about)),
            f"  {where}{profile['source']}, {profile['hook']} hook{side}",
            *held_line(profile["keys"]),
        ]
        if not profile["complete"]:
            lines.append("  TRUNCATED: data up to the last complete block.")
    if is_incomplete(report["loss"]):
        lines.append("  INCOMPLETE: traffic was lost; counts are lower bounds. See Coverage below.")
    return list(map(printable, lines))


def held_line(kept: Any) -> List[str]:
    """What a report says at its head on a profile that does not only hold hashes of keys."""
    return [f"  The profile holds the {kept} of its keys."] if kept in KEYS_KEPT[1:] else []


def render_slice(report: Dict[str, Any]) -> List[str]:
    """What is in it, and what is not."""
    part = report.get("slice")
    if not part:
        return []
    points = [
        f"{title} {utc_text(point) if point >= UNIX_TIME_MIN else human_seconds(point)}"
        for title, point in (("from", part["begin"]), ("to", part["end"]))
        if point is not None
    ]
    points += (f"command {command}" for command in part["commands"])
    points += (f"connection {number}" for number in part["connections"])
    points += [f"server {part['server']}"] if part["server"] else []
    text = f"  SLICE: {', '.join(points)}; {part['duration_seconds']:,.1f} s. "
    text += f"{part['left_out']:,} operations are left out. "
    return [printable(text + "Connections and coverage are of the whole recording.")]


def render_summary(report: Dict[str, Any]) -> List[str]:
    """The first numbers: name, value, and what is said about it."""
    opened = f"{report['connections_opened']:,} of them opened during the recording"
    connections = ("Connections", f"{report['connections']:,}", opened)
    rate = report["operations_per_second"]
    per_second = f"{rate:,.0f}/s" if rate is not None else "duration unknown"
    hits = f"{report['hits'] or 0:,} hits, {report['misses'] or 0:,} misses"
    hit_ratio = (human_percent(report["hit_ratio"]), hits)
    depth, per_get = report["pipelining"], report["keys_per_get"]
    rows = [
        ("Requests", f"{report['requests']:,}", ""),
        ("Operations", f"{report['operations']:,}", per_second),
        ("Hit ratio", *(hit_ratio if report["hits"] is not None else ("not recorded", ""))),
        connections,
    ]
    if depth["mean_depth"]:
        about = f"requests per read on average (max {depth['max_depth']:,})"
        rows.append(("Pipelining", depth["mean_depth"], about))
    if per_get["mean"]:
        rows.append(("Keys per get", per_get["mean"], f"on average (max {per_get['max']:,})"))
    lines = [""]
    if not report["operations"]:
        truncated = is_truncated(report)
        rows = [connections] if report["connections"] or not truncated else []
        sliced = "slice" in report
        lines.append(
            "No operations are in this slice." if sliced else "No operations were recorded."
        )
        if truncated and not sliced:
            lines[1] = "Operations unknown: the file ends before its first complete block of them."
    return lines + [f"{name:<12} {value:>14}   {about}".rstrip() for name, value, about in rows]


FINDINGS_MAX = 5  # in the text


def render_findings(report: Dict[str, Any]) -> List[str]:
    """What stands out, and what to do about it."""
    found = report.get("findings", ())[:FINDINGS_MAX]
    lines = [(f"  {one['title']}", f"    {one['advice']}") for one in found]
    return ["", "Findings", *chain(*lines)] if lines else []


def render_commands(report: Dict[str, Any], width: int) -> List[str]:
    if not report["commands"]:
        return []
    bar_width = min(width // 4 - 10, 20) if width >= WIDTH else 0
    lines = ["", f"Command      operations   share  {'':<{bar_width}} outcomes"]
    for name, command in report["commands"].items():
        share = command["operations"] / report["operations"]
        first = f"{name:<11} {command['operations']:>11,} {share:>7.2%}  "
        first += f"{bar(share, bar_width):<{bar_width}} "
        outcomes = sorted(command["outcomes"].items(), key=lambda item: -item[1])
        texts = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes)
        if [outcome for outcome, _ in outcomes] == [REPORTED[NOT_RECORDED]]:
            texts = "not recorded"
        indent = " " * len(first)
        lines += textwrap.wrap(texts, width, initial_indent=first, subsequent_indent=indent)
    return lines


def whose_latency(report: Dict[str, Any]) -> str:
    """Server, Client, or Mixed: at which end the profiles were recorded."""
    sides = {str(profile["side"]) for profile in report["profiles"]}
    return "Mixed" if len(sides) > 1 else "Client" if sides == {"client"} else "Server"


def render_latency(report: Dict[str, Any], width: int) -> List[str]:
    rows = [(name, c["latency_us"]) for name, c in report["commands"].items() if c["latency_us"]]
    if len(rows) > 1:
        rows.append(("all", report["latency_us"]))
    return ["", *latency_table(f"{whose_latency(report)} latency", rows, width)] if rows else []


def render_slowest(report: Dict[str, Any]) -> List[str]:
    """The slowest requests; see `analyze --slowest`."""
    found = report.get("slowest")
    if not found:
        return []
    lines = [
        "",
        "Slowest requests",
        "  when (UTC)    connection  command    place  keys     bytes          us",
    ]
    for one in found:
        size = "-" if one["value_bytes"] is None else human_bytes(one["value_bytes"])
        lines.append(
            f"  {one['time'][-13:-1]:<12} {one['connection']:>11}  {one['command'][:10]:<10} "
            f"{one['batch']:>5} {one['keys']:>5} {size:>9} {human_us(one['latency_us']):>11}"
        )
    return lines


def latency_table(
    title: str,
    rows: Sequence[Tuple[str, Optional[Dict[str, float]]]],
    width: int,
    names: Sequence[str] = (*PERCENTILES, "max"),
) -> List[str]:
    """A table of percentiles in microseconds. None: there are none in this row."""
    widths = [min((width - 14) // len(names), 11)] * len(names)
    headings = [name.replace("999", "99.9") for name in names]
    lines = [f"{title} (us)", table_row("", 14, headings, widths)]
    for row_name, found in rows:
        numbers = [human_us(found[name]) if found else "-" for name in names]
        lines.append(table_row(row_name, 14, numbers, widths))
    return lines


def render_servers(report: Dict[str, Any], width: int) -> List[str]:
    """A line or two for each server; see `analyze --by-server`."""
    titles = ("operations", "share", "per s", "hit ratio", "p50 us", "p99 us")
    widths = (11, 8, 9, 10, 8, 8)
    indent = min(width - sum(widths), 17)
    lines = ["", table_row("Server", indent, titles, widths)]
    hosts = {server["host"] for server in report["servers"]}
    for server in report["servers"]:
        latency = server["latency_us"] or {}
        numbers = (
            f"{server['operations']:,}",
            human_percent(server["share"]),
            f"{server['operations_per_second'] or 0:,.0f}",
            human_percent(server["hit_ratio"]) if server["hits"] is not None else "unknown",
            human_us(latency.get("p50")),
            human_us(latency.get("p99")),
        )
        who = server["process"] + (f" {server['pid']}" if server["pid"] else "")
        if len(hosts) > 1:
            who = f"{server['host']} {who}"
        lines.append(f"{server['address'] or 'not known'}  {who}".rstrip())
        lines.append(table_row("", indent, numbers, widths))
    return lines


def render_histogram(
    name: str, histogram: List[Dict[str, int]], sizes: Optional[Dict[str, Any]], wide: int
) -> List[str]:
    if not sizes:
        return []
    lines = ["", f"{name.capitalize()} sizes (bytes)"]
    for bucket in histogram:
        share = bucket["count"] / sizes["count"]
        limit = human_bytes(bucket["up_to"])
        lines.append(f"  up to {limit:>6} {bucket['count']:>14,} {share:>7.2%}  {bar(share, wide)}")
    return [*lines, f"  {name}: " + ", ".join(f"{key} {sizes[key]:,}" for key in SIZE_NAMES)]


def render_ttls(report: Dict[str, Any]) -> List[str]:
    ttls = report["ttl_seconds"]
    given = ttls["set"] or {"count": 0}
    total = ttls["none"] + ttls["expired"] + given["count"]
    if not total:
        return []
    expired = f", already expired {ttls['expired'] / total:.2%}" if ttls["expired"] else ""
    lines = ["", f"Time to live   none {ttls['none'] / total:.2%}{expired}"]
    if ttls["set"]:
        values = [f"{key} {human_seconds(given[key])}" for key in ("min", "p50", "p90", "max")]
        lines.append(f"  given {given['count'] / total:.2%}: {', '.join(values)}")
    return lines


def render_keys(report: Dict[str, Any], wide: int) -> List[str]:
    keys = report["keys"]
    if not keys["unique"]:
        return []
    about = "about " if keys.get("estimated") else ""
    lines = ["", f"Keys  {about}{keys['unique']:,} distinct; the hottest, by hash:"]
    for top in keys["top"]:
        name = top.get("name") or (f"group {top['group']}" if "group" in top else "")
        lines.append(
            f"  {top['key']} {top['operations']:>11,} {top['share']:>7.2%}  "
            f"{name or bar(top['share'], wide)}"
        )
    if keys.get("unnamed"):
        why = "the limit was reached"
        if any(profile["keys"] == KEYS_KEPT[0] for profile in report["profiles"]):
            why = "not all profiles hold names"
        have = "keys have" if keys["unnamed"] > 1 else "key has"
        lines.append(f"  {keys['unnamed']:,} {have} no name: {why}.")
    if "listed" in keys:
        listed = keys["listed"]
        where = f"{listed['keys']:,} keys in {name_of(listed['path'])}"
        text = f"None of the {where} is in the profile."
        if listed["found"]:
            named = f"{listed['hottest_found']} of these {len(keys['top'])}"
            text = f"{named} have names from the {where}."
        lines.append(f"  {text}")
    if not keys["comparable"]:
        lines.append("  The profiles have different salts: a key counts once in each of them.")
    return lines


def render_groups(report: Dict[str, Any]) -> List[str]:
    groups = report.get("groups")
    if not groups:
        return []
    titles, widths = ("operations", "share", "hit ratio", "bytes"), (13, 8, 11, 8)
    total = sum(group["operations"] for group in groups)
    lines = ["", table_row("Groups", 6, titles, widths)]
    for group in groups[:GROUPS_SHOWN]:
        gets = (group["hits"] or 0) + (group["misses"] or 0)
        numbers = (
            f"{group['operations']:,}",
            human_percent(group["operations"] / total),
            human_percent(group["hits"] / gets if gets else None),
            human_bytes(group["bytes"]),
        )
        lines.append(f"{table_row('', 6, numbers, widths)}  {group['label']}")
    more = len(groups) - GROUPS_SHOWN
    return lines + (
        [f"  and {more:,} more; --json has {'them' if more > 1 else 'it'}"] if more > 0 else []
    )


def render_why(report: Dict[str, Any]) -> List[str]:
    """The causes of misses, with what to do about each; see `analyze --why`."""
    causes = report.get("miss_causes")
    if causes is None:
        return []
    sample, total = report["keys_followed"]["sample"], total_of(causes)
    about = f"about {total:,} misses: a sample of {sample:.2%} of the keys"
    lines = ["", f"Why keys were missed ({about if sample < 1 else f'{total:,} misses'})"]
    for name, what_to_do in CAUSES.values():
        if causes[name]:
            lines.append(f"  {name:<18} {causes[name]:>14,} {causes[name] / total:>7.2%}")
            lines.append(f"    {what_to_do}")
    unused = report["evicted_unused_seconds"]
    if unused:
        ages = ", ".join(f"{k} {human_seconds(unused[k])}" for k in ("min", "p50", "p90", "max"))
        lines.append(f"  {unused['count']:,} evicted values had been unused for at most: {ages}")
    found, refill = report["stampedes"], report["refill_ms"]
    if refill:
        lines.append(
            f"  {refill['count']:,} misses were refilled on the same connection, after "
            f"{refill['p50']:,.4g} ms (p50), {refill['p99']:,.4g} ms (p99)"
        )
    if found["episodes"]:
        lines.append(
            f"  {found['episodes']:,} stampedes: {found['misses']:,} misses before the first "
            f"store, after {found['ms']['p50']:,.4g} ms (p50), {found['ms']['max']:,.4g} ms "
            f"(max); then {found['redundant_stores']:,} redundant stores"
        )
    return lines


def render_waste(report: Dict[str, Any]) -> List[str]:
    """What memory was spent on; see `analyze --why`."""
    waste = report.get("waste")
    if waste is None:
        return []
    slabs, refused = waste["slabs"], waste["refused_bytes"]
    rows = (
        ("values never read", waste["never_read"], waste["values"]),
        ("  by bytes x seconds", waste["byte_seconds_never_read"], waste["byte_seconds"]),
        ("values not read yet", waste["not_read_yet"], waste["values"]),
        ("  by bytes x seconds", waste["byte_seconds_not_read_yet"], waste["byte_seconds"]),
        ("overwrites of unread values", waste["overwrites_never_read"], waste["overwrites"]),
        ("keys asked for only once", waste["keys_asked_once"], waste["keys_asked"]),
        ("keys never present", waste["negative_keys"], waste["keys_asked"]),
        ("bytes lost in slab chunks", slabs["lost_bytes"], slabs["chunk_bytes"]),
    )
    lines = ["", table_row("What memory was spent on", 29, ("", "of", "share"), (11, 11, 8))]
    for title, part, whole in rows:
        if whole:
            cells = (*map(human_count, (part, whole)), human_percent(part / whole))
            lines.append(table_row("  " + title, 29, cells, (11, 11, 8)))
    if refused:
        sizes = " to ".join(human_bytes(refused[name]) for name in ("min", "max"))
        lines.append(f"  {refused['count']:,} stores were refused; value sizes: {sizes}")
    return lines


def human_count(count: int) -> str:
    """1,234,567, or 1.23e+12 where that is too long."""
    return f"{count:,}" if count < 10**8 else f"{count:.3g}"


TTL_CLASSES = 10  # lines of the table


def render_lifetimes(report: Dict[str, Any]) -> List[str]:
    """How old values were when they were hit, by their TTL; see `analyze --why`."""
    classes = report.get("ttl_classes")
    if not classes:
        return []
    titles, widths = ("values", "hits", "50% within", "99% within", "all"), (10, 12, 12, 12, 10)
    lines = ["", table_row("Age at hits, by TTL", 0, (), ()), table_row("TTL", 4, titles, widths)]
    for row in classes[:TTL_CLASSES]:
        ages = (row[f"hit_age_{name}"] for name in ("p50", "p99", "max"))
        texts = ("-" if age is None else human_seconds(age + 1) for age in ages)
        name = {0: "none", -1: "past"}.get(row["ttl"]) or human_seconds(row["ttl"])
        lines.append(table_row(name, 4, (f"{row['values']:,}", f"{row['hits']:,}", *texts), widths))
    if len(classes) > TTL_CLASSES:
        lines.append(f"  and {len(classes) - TTL_CLASSES:,} other TTLs")
    return lines


def render_curve(report: Dict[str, Any], width: int) -> List[str]:
    """What `analyze --mrc` adds."""
    if "miss_ratio_curve" not in report:
        return []
    curve = report["miss_ratio_curve"]
    if not curve or not curve["points"]:
        return ["", "Miss ratio by memory: unknown, as no outcomes or no stores were recorded."]
    how = "every key followed"
    if curve["reads"] < (report["hits"] or 0) + (report["misses"] or 0):
        how = f"the first {curve['reads']:,} reads, as there are too many keys"
    elif curve["rate"] < 1:
        how = f"{curve['rate']:.2%} of the keys followed, error about {curve['error']:.2%}"
    widths, wide = (10, 13, 12), min(width - 44, 60)
    lines = ["", f"Miss ratio by memory (LRU; {how})"]
    lines.append(table_row("", 2, ("memory", "items", "miss ratio"), widths))
    *points, last = curve["points"]
    chosen = [each for each in points if not each["bytes"] & (each["bytes"] - 1)]
    for point in (*chosen[-9:], last):
        ratio = point["miss_ratio"]
        cells = (human_bytes(point["bytes"]), f"{point['items']:,}", human_percent(ratio))
        lines.append(f"{table_row('', 2, cells, widths)}  {bar(ratio, wide)}")
    return lines + [f"  {line}" for line in curve_advice(curve)]


def curve_advice(curve: Dict[str, Any]) -> Iterator[str]:
    """What the curve means."""
    size, lowest = human_bytes(curve["footprint_bytes"]), curve["points"][-1]["miss_ratio"]
    marks = {name: mark for name, mark in curve["marks"].items() if mark}
    sizes = {name: human_bytes(mark["bytes"]) for name, mark in marks.items()}
    ratios = {name: human_percent(mark["miss_ratio"]) for name, mark in marks.items()}
    if "present" in marks:
        yield (
            f"Judging by evictions, there is room for about {sizes['present']} of items. Twice "
            f"that would bring the miss ratio from {ratios['present']} to {ratios['twice']}, half "
            f"of it to {ratios['half']}."
        )
    else:
        yield "Evictions do not tell how much memory there is."
    yield f"All items together took at most {size}: more memory would not have helped."
    if "knee" in marks:
        yield f"The knee is at {sizes['knee']} ({ratios['knee']}): memory beyond it gains less."
    floor, cold = human_percent(curve["floor"]), human_percent(curve["cold"])
    yield f"{floor} of reads miss at any size: deleted, expired, flushed, or never stored here."
    if curve["cold"]:
        yield (
            f"{cold} of reads were the first of their keys and count as misses, but may have been "
            f"stored before the recording. If all of them hit, each miss ratio is {cold} lower: "
            f"{human_percent(lowest - curve['cold'])} at best. A longer recording has fewer."
        )


def render_timeline(report: Dict[str, Any], width: int) -> List[str]:
    names = ("step_seconds", "operations", "recorded_seconds")
    step, counts, seconds = (report["timeline"][name] for name in names)
    if len(counts) > width - 4:
        step, *columns = 2 * step, counts, seconds
        counts, seconds = ([sum(c[at : at + 2]) for at in range(0, len(c), 2)] for c in columns)
    rates = [count / time if time else 0.0 for count, time in zip(counts, seconds)]
    if len(rates) < 2 or not any(rates):
        return []
    levels = " .:-=+*#%@"
    marks = "".join(levels[math.ceil(rate / max(rates) * (len(levels) - 1))] for rate in rates)
    return [
        "",
        f"Operations/s over time ({step:g} s per column, peak {max(rates):,.0f})",
        f"  |{marks}|",
    ]


def render_loss(report: Dict[str, Any]) -> List[str]:
    loss = report["loss"]
    line = loss_line(loss)
    if not loss["bytes_seen"] and is_truncated(report):
        line = "unknown: the file ends before its first loss counters"
    lines = ["", f"Coverage  {line}"]
    without = [name_of(each["path"]) for each in report["profiles"] if not each["responses"]]
    if without:
        where = f" in {', '.join(without)}" if len(without) < len(report["profiles"]) else ""
        lines.append(f"  Responses were not recorded{where}: no outcomes, no latency.")
    return lines + [f"  {line}" for line in unseen_lines(loss)]


COVERAGE_MIN = 0.99  # below it, numbers are not to be trusted


def is_incomplete(loss: Dict[str, Any]) -> bool:
    """Was more lost than may be? Of nothing, nothing was."""
    return loss["coverage"] is not None and loss["coverage"] < COVERAGE_MIN


def unseen_lines(loss: Dict[str, Any]) -> List[str]:
    """Traffic that membench counts but does not parse, and connections that had none."""
    lines = []
    if loss.get("refused_connections"):
        count = loss["refused_connections"]
        lines.append(
            f"{count:,} connection{'s were' if count > 1 else ' was'} refused by memcached: "
            "too many open connections (its option -c)"
        )
    if loss.get("tls_connections"):
        count = loss["tls_connections"]
        lines.append(
            f"{count:,} connection{'s use' if count > 1 else ' uses'} TLS "
            f"({human_bytes(loss['tls_bytes'])} bytes); membench cannot decrypt it"
        )
    if loss.get("udp_datagrams"):
        lines.append(
            f"{loss['udp_datagrams']:,} UDP datagrams ({human_bytes(loss['udp_bytes'])} bytes) "
            "were not parsed"
        )
    return lines


def loss_line(loss: Dict[str, Any]) -> str:
    """What was not seen, in one line."""
    if not loss["bytes_seen"]:
        return "unknown: no traffic was seen"
    text = f"{coverage_text(loss)}: all {human_bytes(loss['bytes_seen'])} bytes accounted for"
    if loss.get("bytes_lost") or loss.get("events_lost"):
        text = f"{coverage_text(loss)}: LOST {loss['bytes_lost']:,} of {loss['bytes_seen']:,} bytes"
        if loss.get("joined_bytes"):
            text += (
                f", {loss['joined_bytes']:,} of them on connections joined mid-stream, before "
                "they were synchronized"
            )
        if loss.get("events_lost"):
            text += f", {loss['events_lost']:,} events dropped"
    if loss.get("resyncs"):
        text += f", synchronization lost {loss['resyncs']:,} times"
    if loss.get("unmatched_responses"):
        text += f", {loss['unmatched_responses']:,} unmatched responses"
    return text


def loss_remedy(loss: Dict[str, Any]) -> str:
    """What to do about the largest part of a loss; "" where nothing helps."""
    if loss["events_lost"]:
        return "a larger --ring-size loses less, as does --nice 0 if the CPUs are busy"
    if loss["tls_bytes"] * 2 > loss["bytes_lost"]:
        return "TLS cannot be decrypted; record a port without it"
    if loss["joined_bytes"] * 2 > loss["bytes_lost"]:
        return "record for longer: each connection counts as soon as it is synchronized"
    return ""


def coverage_text(loss: Dict[str, Any]) -> str:
    """The coverage, which is never rounded up to 100 %."""
    if not loss["bytes_seen"]:
        return "unknown"
    if not loss["bytes_lost"] and not loss["events_lost"]:
        return "100%"
    return f"{min(math.floor(loss['coverage'] * 10000) / 100, 99.99):.2f}%"


# How a finished line of a report begins -> its color: green, yellow, red.
COLORS = {
    r"Hit ratio +(9\d|100)\.|Coverage +100%": 32,
    r"Hit ratio +[5-8]\d\.|[Cc]hanged\b|not enough data:": 33,
    r"Hit ratio +\d|Coverage +\d|  (INCOMPLETE|TRUNCATED):|warning:": 31,
}


def paint(line: str) -> str:
    """The line with its color, if it has one."""
    for pattern, color in COLORS.items():
        if re.match(pattern, line):
            return f"\x1b[{color}m{line}\x1b[0m"
    return line


# ==== Reports: two profiles compared ==================================================
#
# Requests come in bursts and are not independent; equal periods of a recording nearly are. So
# a recording is cut into PERIODS of them, and how much a number varies from period to period
# gives its standard error (of cluster sampling, with periods as clusters that weigh as much as
# they have operations, and Newey and West's correction for periods that are near each other).

PERIODS = 20
PERIODS_MIN = 10  # with traffic
LAG_MAX = 3  # periods that are so near are not taken to be independent
OPERATIONS_MIN = 100  # that a share or a mean is of
BEYOND_MIN = 10  # above a percentile
STANDARD_ERRORS = 4  # a change must exceed as many; by chance, fewer than 1 in 1,000 do
SAME, CHANGED, NOT_ENOUGH = "same", "changed", "not enough data"
VERDICTS = {CHANGED: "changed", SAME: "the same", NOT_ENOUGH: NOT_ENOUGH, None: "not judged"}
# If most of these have not enough data, too little is known to call two recordings the same.
MAIN_LINES = ("operations/s", "hit ratio", "latency, p50", "latency, p99")


class Recording(NamedTuple):
    """A profile to compare: what is counted in all of it, and in each period."""

    counts: Counts
    periods: List[Counts]
    report: Dict[str, Any]
    profile: Dict[str, Any]  # what the report says about it


def read_recording(path: str) -> Recording:
    """Reads the profile twice, since only its end says how long the periods are."""
    counts, report = analyze_whole([path])
    counts.seconds = report["profiles"][0]["duration_seconds"]
    hottest = {int(top["key"], 16) for top in report["keys"]["top"][:1]}
    periods = [Counts(PERIODS, hottest) for _ in range(PERIODS)]
    ticks = max(int(counts.seconds / PERIODS * TICKS_PER_SECOND), 1)

    def period_of(tick: int) -> int:
        return min(max(tick // ticks, 0), PERIODS - 1)

    with ProfileReader(path) as reader:
        connections: List[Tuple[int, int, int, int]] = []
        reader.connection_rows = connections
        for block in chain(reader.blocks(), [None]):  # connections can come after the last block
            for tick, _, _, kind in connections:
                period = periods[period_of(tick) if kind != RECV else 0]  # RECV: it was open before
                period.opened += kind == OPEN
                period.connections += -1 if kind == CLOSE else 1
            connections.clear()
            if block:
                numbers = {tick: period_of(tick) for tick in block.time}
                for number, rows in split(block, block.time, numbers):
                    periods[number].add(rows, reader)
    for period, open_ in zip(periods, accumulate(period.connections for period in periods)):
        period.end(reader)
        period.seconds = counts.seconds / PERIODS
        period.connections = open_
    counts.opened = reader.opened
    counts.connections = sum(period.connections for period in periods) / PERIODS  # on average
    return Recording(counts, periods, report, report["profiles"][0])


class Measure(NamedTuple):
    """A line of a comparison. It can be taken of a whole recording, and of a period."""

    title: str
    unit: str  # %, us, s, bytes, or nothing
    value: Callable[[Counts], Optional[float]]
    weight: Callable[[Counts], float]  # how many operations, or seconds, it is of
    least: float = OPERATIONS_MIN  # of these; else it is not judged


def ratio_measure(
    title: str, unit: str, above: Callable[[Counts], float], below: Callable[[Counts], float]
) -> Measure:
    """A share or a mean."""
    return Measure(title, unit, lambda c: above(c) / below(c) if below(c) else None, below)


def rate_measure(title: str, above: Callable[[Counts], float]) -> Measure:
    """So many in a second."""
    return ratio_measure(title, "", above, lambda c: c.seconds)._replace(least=0)


def mean_measure(title: str, unit: str, counts: Callable[[Counts], Mapping[int, int]]) -> Measure:
    """The mean of what is counted."""
    return ratio_measure(title, unit, lambda c: sum_of(counts(c)), lambda c: total_of(counts(c)))


def latency_measure(command: str, name: str) -> Measure:
    """A percentile of the latency of a command; "": of all."""

    def latencies(counts: Counts) -> Counter[int]:
        return (counts.commands[command] if command else counts.whole).latencies

    def value(counts: Counts) -> Optional[float]:
        ticks = latencies(counts)  # never 0
        if not ticks:
            return None
        share = PERCENTILES[name]
        return percentile(sorted(ticks.items()), total_of(ticks), share) * TICK_NS / 1000

    title = f"{command} latency, {name}".strip()
    least = max(OPERATIONS_MIN, BEYOND_MIN / (1 - PERCENTILES[name]))
    return Measure(title, "us", value, lambda c: total_of(latencies(c)), least)


MEASURES = (
    rate_measure("operations/s", lambda c: c.whole.operations),
    rate_measure("connections open", lambda c: c.connections * c.seconds),
    rate_measure("connections opened/s", lambda c: c.opened),
    ratio_measure("keys per get", "", lambda c: total_of(c.key_places), lambda c: c.key_places[0]),
    ratio_measure("hottest key", "%", lambda c: c.keys.hottest(), lambda c: total_of(c.keys.sizes)),
    mean_measure("key size, mean", "bytes", lambda c: c.keys.sizes),
    mean_measure("value size, mean", "bytes", lambda c: c.value_sizes),
    ratio_measure(
        "with a TTL", "%", lambda c: total_of(c.ttls_given()), lambda c: total_of(c.ttls)
    ),
    mean_measure("TTL, mean", "s", lambda c: c.ttls_given()),
)
READS = ratio_measure("requests per read", "", lambda c: c.whole.requests, lambda c: c.reads)
HIT_RATIO = ratio_measure(
    "hit ratio",
    "%",
    lambda c: c.whole.outcomes[HIT],
    lambda c: c.whole.outcomes[HIT] + c.whole.outcomes[MISS],
)


def command_measures(command: str, with_responses: bool) -> Iterator[Measure]:
    """The share of a command in all operations, and those of its outcomes."""

    def operations(counts: Counts) -> int:
        return counts.commands[command].operations

    def of_outcome(outcome: int) -> Callable[[Counts], int]:
        return lambda c: c.commands[command].outcomes[outcome]

    yield ratio_measure(command, "%", operations, lambda c: c.whole.operations)
    for outcome, name in enumerate(OUTCOMES if with_responses else ()):
        yield ratio_measure(f"{command} {name}", "%", of_outcome(outcome), operations)


def shows_reads(profile: Dict[str, Any]) -> bool:
    """Was it recorded where the server reads, so that it is known what each read held?"""
    return profile["side"] == "server" and str(profile["source"]).startswith("ebpf")


def choose_measures(recordings: Sequence[Recording], warnings: List[str]) -> List[Measure]:
    """What can be compared. warnings: why the rest cannot is added."""
    measures = list(MEASURES)
    profiles = [recording.profile for recording in recordings]
    places = {(str(p["source"]).startswith("ebpf"), p["side"]) for p in profiles}
    if all(map(shows_reads, profiles)):
        measures.append(READS)
    with_responses = all(profile["responses"] for profile in profiles)
    commands = dict.fromkeys(chain.from_iterable(each.counts.commands for each in recordings))
    for command in commands:
        measures += command_measures(command, with_responses)
    if not with_responses:
        warnings.append("responses were not recorded: no hit ratio, no outcomes, no latency")
        return measures
    measures.append(HIT_RATIO)
    if len(places) > 1:
        warnings.append("latency is not compared: it was not measured at the same place")
        return measures
    return measures + [
        latency_measure(each, name) for each in ("", *commands) for name in ("p50", "p99")
    ]


def effective_periods(weights: Sequence[float]) -> float:
    """In how many equal periods a number would be as certain (Kish's effective sample size)."""
    return sum(weights) ** 2 / (sum(weight * weight for weight in weights) or 1)


class Estimate(NamedTuple):
    """A number of one recording, or None, and its uncertainty."""

    value: Optional[float]
    error: float = 0.0  # standard error
    enough: bool = False  # operations, in enough periods


def estimate(measure: Measure, recording: Recording) -> Estimate:
    """The value of a measure, and how much it varies from period to period."""
    value = measure.value(recording.counts)
    weights = list(map(measure.weight, recording.periods))
    total = sum(weights)
    if value is None or not total:
        return Estimate(None)
    values = map(measure.value, recording.periods)
    residuals = [w * (each - value) if each is not None else 0 for w, each in zip(weights, values)]
    squares = sum(map(operator.mul, residuals, residuals))
    # What lasts for longer than a period: covariances of periods that are near (Newey-West).
    near = sum(
        2 * (1 - lag / (LAG_MAX + 1)) * sum(map(operator.mul, residuals, residuals[lag:]))
        for lag in range(1, LAG_MAX + 1)
    )
    error = math.sqrt((squares + max(near, 0.0)) * PERIODS / (PERIODS - 1)) / total
    enough = total >= measure.least and effective_periods(weights) >= PERIODS_MIN
    return Estimate(value, error, enough)


class Line(NamedTuple):
    """A line of a comparison, as `compare --json` prints it."""

    name: str
    unit: str
    first: Optional[float]
    second: Optional[float]
    change: Optional[float] = None  # relative to the first; None if that is zero
    noise: Optional[float] = None  # the least relative change that cannot be chance, if known
    verdict: Optional[str] = None  # SAME, CHANGED, NOT_ENOUGH; None: not judged


def judge(title: str, unit: str, estimates: Sequence[Estimate], tolerance: float) -> Iterator[Line]:
    """The line for two estimates, if there is something. COMPARE_NOTES has the rule."""
    (first, first_error, _), (second, second_error, _) = estimates
    if first is None or second is None or not (first or second):
        return
    difference = abs(second - first)
    noise = STANDARD_ERRORS * math.hypot(first_error, second_error)
    allowed = tolerance * max(first, second) * (4 if unit == "us" else 1)
    enough = all(each.enough for each in estimates)  # of few operations, the noise is not known
    verdict = NOT_ENOUGH
    if enough and difference > max(allowed, noise):
        verdict = CHANGED
    elif enough and difference <= allowed and noise <= 4 * allowed:
        verdict = SAME
    change = (second - first) / first if first else None
    relative_noise = noise / first if first and enough else None
    yield Line(title, unit, first, second, change, relative_noise, verdict)


def require_enough(recording: Recording) -> None:
    """Raise ProfileError if there is too little to compare."""
    weights = [period.whole.operations for period in recording.periods]
    periods = effective_periods(weights)
    if sum(weights) < OPERATIONS_MIN:
        why = f"too few operations to compare ({sum(weights):,}; at least {OPERATIONS_MIN})"
    elif periods < PERIODS_MIN:
        why = f"traffic in only about {math.floor(periods)} of {PERIODS} periods"
        why += f"; {PERIODS_MIN} are needed"
    else:
        return
    raise ProfileError(
        f"{printable(recording.profile['path'])}: {why}",
        "record longer, while there is traffic; --exact compares any counts",
    )


def compare(first_path: str, second_path: str, tolerance: float = 0.05) -> Dict[str, Any]:
    """Two profiles as rates and shares, judged line by line; as `compare --json` prints it.

    tolerance: relative. Raises ProfileError if there is too little to compare.
    """
    recordings = read_recording(first_path), read_recording(second_path)
    for each in recordings:
        require_enough(each)
    warnings: List[str] = []
    lines = list(compare_keys(recordings, tolerance))
    for measure in choose_measures(recordings, warnings):
        estimates = [estimate(measure, each) for each in recordings]
        lines += judge(measure.title, measure.unit, estimates, tolerance)
    lines.sort(key=extent, reverse=True)
    return comparison([each.report for each in recordings], lines, warnings, tolerance)


def extent(line: Line) -> float:
    """How far apart two numbers are, from 0 to 1: half is as far as double."""
    first, second = line.first or 0.0, line.second or 0.0
    return abs(second - first) / (max(first, second) or 1.0)


def compare_keys(recordings: Sequence[Recording], tolerance: float) -> Iterator[Line]:
    """How many distinct keys there are, and, if the salts are equal, how many are in both."""
    keys = [each.counts.keys for each in recordings]
    seconds = [each.counts.seconds for each in recordings]
    estimated = any(each.estimated for each in keys)
    # More keys come with more time, and with more operations: at most in proportion.
    enough = not estimated and max(seconds) - min(seconds) <= tolerance * max(seconds)
    estimates = []
    for recording in recordings:
        count, operations = recording.counts.keys.unique(), estimate(MEASURES[0], recording)
        error = math.hypot(math.sqrt(count), count * operations.error / (operations.value or 1))
        estimates.append(Estimate(count, error, enough))
    yield from judge("distinct keys", "", estimates, tolerance)
    if not estimated and len({each.profile["key_space"] for each in recordings}) == 1:
        both = keys[0].counts.keys() & keys[1].counts.keys()
        first, second = (
            sum(map(each.counts.__getitem__, both)) / (total_of(each.counts) or 1) for each in keys
        )
        yield Line("operations on keys in both", "%", first, second)


def comparison(
    reports: Sequence[Dict[str, Any]],
    lines: List[Line],
    warnings: List[str],
    tolerance: Optional[float] = None,
) -> Dict[str, Any]:
    """What `compare --json` prints. tolerance None: --exact."""
    profiles = []
    for report in reports:
        profile, loss = report["profiles"][0], report["loss"]
        profiles.append({**profile, "operations": report["operations"], "loss": loss})
        if not profile["complete"]:
            warnings.append(f"{profile['path']} is truncated")
        if is_incomplete(loss):
            seen = coverage_text(loss)
            warnings.append(f"{profile['path']} has only {seen} of the traffic: do not trust this")
    lines.sort(key=lambda line: list(VERDICTS).index(line.verdict))
    known = [line.verdict != NOT_ENOUGH for line in lines if line.name in MAIN_LINES]
    verdict = SAME if known.count(True) >= known.count(False) else NOT_ENOUGH
    if lines[0].verdict == CHANGED:
        verdict = CHANGED
    return {
        "profiles": profiles,
        "exact": tolerance is None,
        "tolerance_percent": tolerance and round(tolerance * 100, 6),
        "verdict": verdict,
        "warnings": warnings,
        "lines": [line._asdict() for line in lines],
    }


DIFFERENCES_SHOWN = 3


def compare_exactly(first_path: str, second_path: str) -> Dict[str, Any]:
    """Do two profiles have equal counts, ignoring timing? For recordings of the same requests."""
    (one, first), (two, second) = analyze_whole([first_path]), analyze_whole([second_path])
    profiles = first["profiles"] + second["profiles"]
    unknown = set()
    if profiles[0]["key_space"] != profiles[1]["key_space"]:
        unknown.add("which keys")
    if one.keys.estimated or two.keys.estimated:
        unknown |= {"which keys", "key popularity", "distinct keys"}
    # How requests fall into reads is known where reads were recorded, not packets or writes.
    if not all(map(shows_reads, profiles)):
        unknown.add("reads")
    tables = zip(count_tables(one, first).items(), count_tables(two, second).values())
    lines = []
    for (name, left), right in tables:
        verdict = None if name in unknown else SAME if left == right else CHANGED
        lines.append(Line(name, "", total_of(left), total_of(right), verdict=verdict))
        entries = {entry: left.get(entry, 0) - right.get(entry, 0) for entry in {*left, *right}}
        if verdict != CHANGED or len(entries) < 2:
            continue
        shown = sorted(filter(entries.get, entries), key=lambda e: (-abs(entries[e]), e))
        for entry in shown[:DIFFERENCES_SHOWN]:
            title = f"  {entry:016x}" if name == "which keys" else f"  {entry}"
            counts = left.get(entry, 0), right.get(entry, 0)
            lines.append(Line(title, "", *counts, verdict=CHANGED))
    return comparison([first, second], lines, [])


def count_tables(counts: Counts, report: Dict[str, Any]) -> Dict[str, Dict[Any, int]]:
    """All that is counted: table -> value -> how often."""
    places = counts.key_places  # how many gets have a key in a place
    return {
        "requests": {name: group.requests for name, group in counts.commands.items()},
        "operations": {
            f"{name} {REPORTED[outcome]}": count
            for name, group in counts.commands.items()
            for outcome, count in group.outcomes.items()
        },
        "connections": {"all": report["connections"]},
        "key sizes": counts.keys.sizes,
        "value sizes": counts.value_sizes,
        "exptimes": {f"{name} {exptime}": n for (name, exptime), n in counts.exptimes.items()},
        "keys per get": {p + 1: n - places[p + 1] for p, n in places.items() if n > places[p + 1]},
        "reads": {"all": counts.reads},
        "distinct keys": {"all": counts.keys.unique()},
        "key popularity": Counter(counts.keys.counts.values()),
        "which keys": counts.keys.counts,
    }


def render_comparison(result: Dict[str, Any], width: int = WIDTH) -> str:
    """The comparison as text; what changed most comes first."""
    lines = []
    for profile in result["profiles"]:
        about = f"{profile['started_at']}, {profile['duration_seconds']:,.1f} s"
        seen = f"{profile['operations']:,} operations, coverage {coverage_text(profile['loss'])}"
        lines += [str(profile["path"]), f"  {about}, {seen}", *held_line(profile["keys"])]
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    titles = ("first", "second") if result["exact"] else ("first", "second", "change", "noise")
    widths = [min((width - 22) // 4, 12)] * 4
    indent = width - sum(widths)
    lines += ["", table_row("", indent, titles, widths)]
    units = {"%": human_percent, "us": human_us, "s": human_seconds}
    for verdict, its_lines in groupby(result["lines"], key=operator.itemgetter("verdict")):
        lines.append((verdict or "not judged").capitalize())
        for line in its_lines:
            unit = units.get(line["unit"], human_number)
            cells = [unit(line["first"]), unit(line["second"])]
            if not result["exact"] and verdict:
                change, noise = line["change"], line["noise"]
                cells.append("new" if change is None else f"{change:+.1%}")
                cells.append("-" if noise is None else f"{noise:.1%}")
            name = f" {line['name']}{', us' if line['unit'] == 'us' else ''}"
            lines.append(table_row(name, indent, cells, widths))
    found = Counter(line["verdict"] for line in result["lines"])
    texts = [f"{found[v]} {text}" for v, text in VERDICTS.items() if found[v] or v == CHANGED]
    lines += ["", f"{result['verdict']}: {', '.join(texts)}"]
    return fit(map(printable, lines), width)


# ==== Exports =========================================================================
#
# The operations of a profile in formats that other tools read, in order of time. Each format is a
# function from a reader to pieces of the output; docs/export.md says what is in them.


CSV_HEADER = (
    b"time_ns,server,connection,batch,command,form,outcome,latency_ns,"
    b"key,key_size,key_position,value_size,exptime\n"
)


def csv_field(text: str) -> str:
    """A text in quotes if it needs them."""
    return '"' + text.replace('"', '""') + '"' if set(text) & {",", '"'} else text


def csv_lines(reader: ProfileReader) -> Iterator[bytes]:
    """A header, and a line for each operation. What is not known or does not apply is empty."""
    yield CSV_HEADER
    start_ns = round(float(reader.header["started_unix"]) * 1e7) * TICK_NS
    forms: List[str] = []
    sizes = {NO_SIZE: ""}
    for rows in ordered_rows(reader):
        forms += [
            f"{csv_field(command_of(form))},{csv_field(form)}"
            for form in reader.forms[len(forms) :]
        ]
        addresses = [csv_field(server[0]) for server in reader.servers]
        numbers = reader.servers_at(row[1] for row in rows)
        servers = {connection: addresses[number] for connection, number in numbers.items()}
        lines = [
            f"{start_ns + at * TICK_NS},{servers[number]},{number},{batch},"
            f"{forms[form]},{OUTCOMES[outcome]},{took * TICK_NS or ''},"
            f"{f'{key:016x}' if length else ''},{length},{place},"
            f"{sizes.get(size, size)},{exptime}\n"
            for at, number, _, form, batch, place, key, length, size, exptime, outcome, took in rows
        ]
        yield "".join(lines).encode()


# ---- Traces for cache simulators ----

RETRIEVALS = ("get", "gets")
STORES = ("set", "add", "replace", "cas")  # they give an item its value and its TTL
STORES_DONE = (STORED, *_NO_REPLY)  # or it is not known
TRACED = frozenset((*RETRIEVALS, *STORES, "append", "prepend", "delete", "incr", "decr"))
# second, key hash, key size, value size or NO_SIZE, connection, command, TTL, outcome
TracedRow = Tuple[int, int, int, int, int, str, int, int]


def text_command(form: str) -> str:
    """The command of the classic text protocol that does what this form does; or its own."""
    command, *words = form.split(" ")
    command = command.rstrip("kq") if words[:1] == ["binary"] else command  # getkq -> get
    mode = meta_mode(words)
    if command == "ms":
        command = {"A": "append", "P": "prepend", "E": "add", "R": "replace"}.get(mode, "set")
    if command == "ma":
        return "decr" if mode in ("D", "-") else "incr"
    if command in STORES and {"C", "cas"} & {*words}:
        return "cas"
    return {"gat": "get", "gats": "gets", "mg": "get", "md": "delete"}.get(command, command)


def traced_rows(reader: ProfileReader) -> Iterator[List[TracedRow]]:
    """What simulators know of: TRACED operations. Seconds count from the start, and never go back.

    The TTL is that of a store: 0 for none, 1 for one that had already expired.
    """
    started, second = float(reader.header["started_unix"]), 0
    for rows in ordered_rows(reader):
        commands = list(map(text_command, reader.forms))
        traced: List[TracedRow] = []
        for tick, connection, _, form, _, _, key, key_size, size, exptime, outcome, _ in rows:
            command = commands[form]
            if command in TRACED and key_size:
                second = max(second, tick // TICKS_PER_SECOND)
                ttl = 0
                if exptime and command in STORES:
                    ttl = abs(ttl_of(exptime, int(started + second)))
                traced.append((second, key, key_size, size, connection, command, ttl, outcome))
        yield traced


def twitter_lines(reader: ProfileReader) -> Iterator[bytes]:
    """Twitter's cache-trace: CSV without a header."""
    for rows in traced_rows(reader):
        lines = [
            f"{second},{key:016x},{key_size},{size if size != NO_SIZE else 0},{connection},"
            f"{command},{ttl}\n"
            for second, key, key_size, size, connection, command, ttl, _ in rows
        ]
        yield "".join(lines).encode()


def cachelib_lines(reader: ProfileReader) -> Iterator[bytes]:
    """CacheLib's kvcache CSV: retrievals, stores that were done, deletes."""
    operations = {**dict.fromkeys(RETRIEVALS, "GET"), **dict.fromkeys(STORES, "SET")}
    operations["delete"] = "DELETE"
    yield b"op_time,key,key_size,op,op_count,size,cache_hits,ttl\n"
    for rows in traced_rows(reader):
        lines = [
            f"{second},{key:016x},{key_size},{operations[command]},1,"
            f"{size if size != NO_SIZE else 0},{int(outcome == HIT)},{ttl}\n"
            for second, key, key_size, size, _, command, ttl, outcome in rows
            if command in operations and (command not in STORES or outcome in STORES_DONE)
        ]
        yield "".join(lines).encode()


ORACLE = struct.Struct("<IQIq")  # second, key hash, size, number of the key's next record or -1
ORACLE_ROWS = 1 << 16  # that are read back at a time
U32_MAX = 0xFFFFFFFF


def oracle_records(reader: ProfileReader) -> Iterator[bytes]:
    """libCacheSim's oracleGeneral: the retrievals. Records are numbered from 1.

    The size is that of key and value. The value of a miss has the size of the key's last hit or
    store, or else of its next. Memory: about 300 bytes for each key.
    """
    import tempfile  # only here, since it takes long

    sizes: Dict[int, int] = {}  # of each key's value, the latest
    first: Dict[int, int] = {}  # and the first that is known
    try:
        with tempfile.TemporaryFile() as file:
            for rows in traced_rows(reader):
                records = []
                for second, key, key_size, size, _, command, _, outcome in rows:
                    stored = command in STORES and outcome in STORES_DONE
                    if size != NO_SIZE and (stored or outcome == HIT):
                        if key not in sizes:
                            first[key] = size
                        sizes[key] = size
                    if command in RETRIEVALS:
                        whole = min(key_size + sizes.get(key, 0), U32_MAX)
                        records.append((min(second, U32_MAX), key, whole, -(key not in sizes)))
                file.write(b"".join(starmap(ORACLE.pack, records)))
            sizes.clear()
            link_records(file, first)
            file.seek(0)
            yield from iter(lambda: file.read(ORACLE_ROWS * ORACLE.size), b"")
    except OSError as error:
        raise MembenchError(
            f"cannot write a temporary file: {error.strerror}",
            "free some space, or set TMPDIR to a directory that has it",
        ) from None


def link_records(file: Any, first: Mapping[int, int]) -> None:
    """Give each record the number of its key's next one. -1 there: add the first size known."""
    number = file.tell() // ORACLE.size
    following: Dict[int, int] = {}
    while number:
        begin = max(number - ORACLE_ROWS, 0)
        file.seek(begin * ORACLE.size)
        found = list(ORACLE.iter_unpack(file.read((number - begin) * ORACLE.size)))
        records = []
        for second, key, size, unknown in reversed(found):
            if unknown:
                size = min(size + first.get(key, 0), U32_MAX)
            records.append((second, key, size, following.get(key, -1)))
            following[key] = number
            number -= 1
        file.seek(begin * ORACLE.size)
        file.write(b"".join(starmap(ORACLE.pack, reversed(records))))


# ---- Latencies ----

HDR_COOKIE, HDR_COMPRESSED_COOKIE = 0x1C849313, 0x1C849314  # encoding V2
HDR_MAX_NS = 3600 * NS_PER_SECOND  # the largest value that its reader must expect
HDR_HALF_BITS = 10  # buckets of 2 ** 10 values each: 3 digits


def hdr_lines(reader: ProfileReader) -> Iterator[bytes]:
    """HdrHistogram's log: the latencies (ns) of each second and command, with it as the tag."""
    started = float(reader.header["started_unix"])
    date = printable(str(reader.header.get("started_at", "")))
    yield (
        "#[Histogram log format version 1.3]\n"
        f"#[BaseTime: {started:.3f} (seconds since epoch)]\n"
        f"#[StartTime: {started:.3f} (seconds since epoch), {date}]\n"
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
    ).encode("ascii", "replace")
    second = 0
    latencies: Dict[str, Counter[int]] = {}
    for rows in ordered_rows(reader):
        commands = [re.sub("[^!-+.-~-]", "_", command_of(form)) for form in reader.forms]
        for tick, _, _, form, *_, latency in rows:
            if tick // TICKS_PER_SECOND > second:
                yield hdr_interval(second, latencies)
                second = tick // TICKS_PER_SECOND
                latencies.clear()
            if latency:
                latencies.setdefault(commands[form], Counter())[latency] += 1
    yield hdr_interval(second, latencies)


def hdr_interval(second: int, latencies: Mapping[str, Mapping[int, int]]) -> bytes:
    """The lines of one second. latencies: of each command, ticks -> how often."""
    return "".join(
        f"Tag={command},{second}.000,1.000,{max(counts) * TICK_NS / 1e6:.3f},"
        f"{hdr_histogram(counts)}\n"
        for command, counts in sorted(latencies.items())
    ).encode()


def hdr_histogram(counts: Mapping[int, int]) -> str:
    """A histogram (ticks -> how often) in V2 compressed encoding, in base64."""
    buckets: Counter[int] = Counter()
    for ticks, often in counts.items():
        value = ticks * TICK_NS
        power = max(value.bit_length() - HDR_HALF_BITS - 1, 0)
        buckets[(power << HDR_HALF_BITS) + (value >> power)] += often
    numbers, place = [], 0  # counts, and with a minus how many of them are 0
    for bucket, often in sorted(buckets.items()):
        numbers += [place - bucket, often] if bucket > place else [often]
        place = bucket + 1
    body = bytearray()
    for number in numbers:
        rest = number << 1 if number >= 0 else -number * 2 - 1  # ZigZag, then LEB128
        while rest > 127:
            body.append(rest & 127 | 128)
            rest >>= 7
        body.append(rest)
    head = struct.pack(">iiiiqqd", HDR_COOKIE, len(body), 0, 3, 1, HDR_MAX_NS, 1.0)
    packed = zlib.compress(head + body)
    packed = struct.pack(">ii", HDR_COMPRESSED_COOKIE, len(packed)) + packed
    return base64.b64encode(packed).decode()


EXPORT_FORMATS: Dict[str, Callable[[ProfileReader], Iterator[bytes]]] = {
    "csv": csv_lines,
    "twitter": twitter_lines,
    "oracle": oracle_records,
    "cachelib": cachelib_lines,
    "hdr": hdr_lines,
}


@contextlib.contextmanager
def new_file(path: str, force: bool) -> Iterator[BinaryIO]:
    """A file that is put in place when it is complete; stdout for -. Raises MembenchError."""
    new, name = "", "stdout" if path == "-" else printable(path)
    try:
        if path == "-":
            opened = open(os.dup(1), "wb")
        elif os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            opened = open(path, "wb")  # a device, or a pipe: written to, not replaced
        else:
            if os.path.lexists(path) and (os.path.isdir(path) or not force):
                hint = "choose another name, or overwrite a file with --force"
                raise MembenchError(f"{name} exists", hint)
            made = f"{path}.{os.getpid()}.new"
            opened = open(made, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))
            new = made
        with opened as file:
            yield file
        if new:
            os.replace(new, path)
    except BrokenPipeError:
        raise MembenchError(
            f"the reader of {name} has exited", "what it received is incomplete"
        ) from None
    except OSError as error:
        raise MembenchError(
            f"cannot write {name}: {error.strerror}", "choose another path"
        ) from None
    finally:
        if new:
            with contextlib.suppress(OSError):  # it is in its place
                os.unlink(new)


# ==== Replay: what to send ============================================================
#
# The same requests with the same timing, over as many connections, to another server.
#
#   ProfileReader --rows--> in_order (by time) --rows--> Schedule --Batch-->
#       Engine: a ReplayConnection for each connection --> Tally
#
# A batch is what the recorded server got in one read: it is sent in one write. Each worker and
# each shard reads the whole profile and takes its own connections, so no request passes from one
# process to another.

# ---- Keys and values ----

# Printable ASCII and above; memcached takes any byte except space and control characters.
KEY_DIGITS = bytes([*range(0x21, 0x7F), *range(0x80, 0x100)])
KEY_TEXT_MIN = 11  # from this size on a hash fits as base64
SHORT_KEY_MAX = 5  # up to this size keys are numbered; chance would make some equal
SHORT_KEYS_MAX = 1_000_000  # numbered keys; bounds memory
KEY_CACHE_MAX = 65536


class Shard(NamedTuple):
    """Which connections, or keys, are ours: those whose number % total is our number."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


class KeyTexts:
    """Makes valid keys from hashes, each as long as the recorded key.

    64 bits fit into 9 characters of 222, so from there on different hashes give different
    keys; with 6 to 8 characters, two keys in millions can collide. Shorter ones are numbered
    in the order in which the profile's blocks name them, which is the same for every worker
    and shard, since each reads all blocks.
    """

    def __init__(self) -> None:
        self._numbers: Dict[Tuple[int, int], int] = {}
        self._used: Counter[int] = Counter()  # size -> keys of this size
        self.text = functools.lru_cache(KEY_CACHE_MAX)(self._make_text)
        self.shared = 0  # short keys that may collide with another

    def number_short_keys(self, hashes: Iterable[int], sizes: Iterable[int]) -> None:
        """Call for every block, in order."""
        numbers, used = self._numbers, self._used
        for pair in zip(hashes, sizes):
            size = pair[1]
            if 0 < size <= SHORT_KEY_MAX and pair not in numbers:
                if used[size] < len(KEY_DIGITS) ** size and len(numbers) < SHORT_KEYS_MAX:
                    numbers[pair] = used[size]
                    used[size] += 1
                else:
                    self.shared += 1

    def _make_text(self, key_hash: int, size: int) -> bytes:
        """The key for this hash."""
        if size >= KEY_TEXT_MIN:
            text = base64.b64encode(key_hash.to_bytes(8, "little"), b"-_")
            return text[:KEY_TEXT_MIN].ljust(size, b".")
        base, number = len(KEY_DIGITS), self._numbers.get((key_hash, size), key_hash)
        return bytes(KEY_DIGITS[number // base**place % base] for place in range(size))


VALUE_CHUNK_BYTES = 1 << 20


@functools.lru_cache(maxsize=1)
def value_chunk() -> memoryview:
    """All values are made from it: a 1 and zeros, so that incr works on short ones."""
    return memoryview(b"1".ljust(VALUE_CHUNK_BYTES, b"0"))


def value_parts(size: int) -> List[memoryview]:
    """What to send for a value of this size."""
    chunks, rest = divmod(size, VALUE_CHUNK_BYTES)
    return [*[value_chunk()] * chunks, value_chunk()[:rest]]


# ---- Request templates: from a form to requests in its own dialect ----

# These change the server itself, or stream endlessly: only with --include.
GUARDED = frozenset(name.decode() for name in ADMIN.keys() - {b"version", b"watch", b"quit"})
HARMLESS_STATS = frozenset(("stats", "stats items", "stats slabs", "stats settings", "stats conns"))

# What stands between a command of the text protocol and what its form says of it.
_TEXT_WORDS: Dict[bytes, Tuple[bytes, ...]] = {
    **dict.fromkeys((*META_OUTCOMES, b"get", b"gets", b"delete", b"incr", b"decr"), (b"%(keys)b",)),
    **dict.fromkeys((b"gat", b"gats"), (b"%(exptime)d", b"%(keys)b")),
    **dict.fromkeys(STORAGE, (b"%(keys)b", b"%(flags)b", b"%(exptime)d", b"%(size)d")),
    **dict.fromkeys((*ADMIN, b"mn"), ()),
    b"touch": (b"%(keys)b", b"%(exptime)d"),
    b"ms": (b"%(keys)b", b"%(size)d"),
}
_META_WORDS = {b"T": b"T%(exptime)d", b"O": b"O%(opaque)d", b"C": b"C%(cas)d", b"E": b"E1"}

# (keys, value size, exptime, opaque, CAS unique) -> all up to the value
Write = Callable[[Sequence[bytes], int, int, int, int], bytes]


class RequestTemplate:
    """How requests of one form are written and answered.

    sample: one such request as the protocol's parser reads it, which says how it is answered.
    """

    __slots__ = (
        *("command", "sample", "write", "has_cas", "answered", "value_end", "gives_unique"),
    )

    def __init__(self, write: Write, parse: Callable[[bytes], Request], has_cas: bool) -> None:
        self.write = write
        self.has_cas = has_cas
        self.sample = sample = parse(write((b"key",), 0, 0, 1, int(has_cas)))
        command, *flags = sample.form.split(b" ")
        binary = sample.reply == REPLY_BINARY
        self.command = command.decode()
        self.answered = sample.reply != REPLY_NONE and command not in (b"quitq", b"shutdown")
        # What follows a value; None: there is no value.
        self.value_end = None if sample.value_size == NO_SIZE else b"" if binary else b"\r\n"
        gives_unique = command in BINARY_GETS if binary else command in (b"gets", b"gats")
        self.gives_unique = gives_unique or b"c" in flags

    def request(self, keys: Tuple[bytes, ...], opaque: int) -> Request:
        """A request of this form, to be matched with its reply."""
        sample, mark = self.sample, self.sample.opaque
        if mark:  # behind the opcode, or an O
            binary = sample.reply == REPLY_BINARY
            mark = mark[:1] + (_opaque_bytes(opaque) if binary else b"%d" % opaque)
        plan = (sample.form, sample.reply, sample.outcomes, keys, sample.value_size, sample.exptime)
        return Request(*plan, quiet=sample.quiet, opaque=mark)


def make_template(form: str, included: Iterable[str] = ()) -> Optional[RequestTemplate]:
    """The template, or None if such requests are not replayed."""
    command, *words = form.encode("ascii", "replace").split(b" ")
    name = command.decode()
    if words[:1] == [b"binary"]:
        if name in ("flush", "flushq") and "flush_all" not in included:
            return None
        return binary_template(command, words[1:])
    if command in ADMIN:
        guarded = name in GUARDED and form not in HARMLESS_STATS
        if command == b"watch" or b"?" in words or (guarded and name not in included):
            return None
    return text_template(command, words) if command in _TEXT_WORDS else None


def text_template(command: bytes, words: List[bytes]) -> RequestTemplate:
    """A template from a command line: only keys and numbers differ between requests."""
    words = [b"1" if word == b"?" else word.replace(b"%", b"%%") for word in words]
    first = _TEXT_WORDS[command]
    in_base64 = False
    if command in STORAGE:
        flags = words.pop(0) if words and words[0] != b"noreply" else b"0"
        first = (*first[:1], flags, *first[2:], *[b"%(cas)d"] * (command == b"cas"))
    elif command in META_OUTCOMES:
        in_base64 = b"b" in words
        words = [_META_WORDS.get(flag, flag) for flag in words]
    pattern = b" ".join((command, *first, *words)) + b"\r\n"

    def write(keys: Sequence[bytes], size: int, exptime: int, opaque: int, cas: int) -> bytes:
        text = base64.b64encode(keys[0]) if in_base64 else b" ".join(keys)
        values = {b"keys": text, b"size": size, b"exptime": exptime, b"opaque": opaque, b"cas": cas}
        return pattern % values

    return RequestTemplate(write, lambda text: parse_request(text)[0], b"%(cas)d" in pattern)


BINARY_OPCODES = {name: opcode for opcode, name in BINARY_NAMES.items()}
_BINARY_EXTRAS = {
    **dict.fromkeys((b"set", b"add", b"replace"), ">II"),  # flags, exptime
    **dict.fromkeys((b"incr", b"decr"), ">QQI"),  # delta, initial value, exptime
    **dict.fromkeys((b"touch", b"gat", b"gatk"), ">I"),
}


def _opaque_bytes(opaque: int) -> bytes:
    return (opaque & 0xFFFFFFFF).to_bytes(4, "big")


def binary_template(name: bytes, words: List[bytes]) -> Optional[RequestTemplate]:
    """A request of the binary protocol. words: flags, or delta and initial value; b"cas"."""
    if name not in BINARY_OPCODES or name.startswith((b"sasl", b"verbosity")):
        return None
    opcode = BINARY_OPCODES[name]
    extras = _BINARY_EXTRAS.get(name[:-1] if name.endswith(b"q") else name, "")
    numbers = [int(word) if word.isdigit() else 1 for word in words if word != b"cas"]
    numbers = [*numbers, 0, 0][: len(extras[2:])]  # the last one is the exptime

    def write(keys: Sequence[bytes], size: int, exptime: int, opaque: int, cas: int) -> bytes:
        key = keys[0] if keys else b""
        more = struct.pack(extras, *numbers, exptime & 0xFFFFFFFF) if extras else b""
        body = len(more) + len(key) + size
        head = (BINARY_REQUEST, opcode, len(key), len(more), 0, body, _opaque_bytes(opaque), cas)
        return _BINARY_HEADER.pack(*head) + more + key

    return RequestTemplate(write, lambda text: BinaryRequestParser().feed(text)[0], b"cas" in words)


# ---- Counts: numbers that add up over workers and shards ----

# (command, the recorded outcomes, one a key, the recorded latency in ticks)
Recorded = Tuple[str, Tuple[int, ...], int]
# A request from its encoding until it is answered: as the parsers read it, its template, what
# was recorded, times of its batch.
SentRequest = Tuple[Request, RequestTemplate, Recorded, List[int]]

WRONG_UNIQUE = 2**64 - 1  # a CAS unique that no server returns
UNIQUES_MAX = 1 << 17  # CAS uniques remembered
# {ticks: how often}, rounded down to 3 digits: there are few distinct ones, which add up exactly.
HISTOGRAMS = ("latency", "recorded_latency", "lateness")


def command_counts() -> Dict[str, Any]:
    """What is counted for one command."""
    names = ("outcomes", "recorded_outcomes", "errors", "latency", "recorded_latency")
    return {"requests": 0, **{name: Counter() for name in names}}


def empty_result() -> Dict[str, Any]:
    """The result of a replay that sent nothing."""
    numbers = (
        *("writes", "bytes_sent", "bytes_received", "connections", "unknown_uniques"),
        *("not_sent", "waited_ns", "out_of_time", "shared_keys", "preload_refused"),
    )
    by_name = ("connection_failures", "skipped", "lateness")
    counts: Dict[str, Any] = {name: Counter() for name in by_name}
    counts.update(dict.fromkeys(numbers, 0), commands=defaultdict(command_counts))
    return {
        "span": [],  # in which requests were sent and answered
        "recorded": {"span": []},  # of their recording
        "ended_by": None,
        "fatal": None,  # the message and the hint of an error
        "counts": counts,
    }


class Tally:
    """What one worker counts, and the CAS uniques that its target gave.

    What happens to requests is only listed, and added up when it is taken.
    """

    def __init__(self) -> None:
        self.lines = RecentCache(ResponseParser.parse_head)
        self._uniques: Dict[bytes, int] = {}  # key -> the one that the target gave last
        self._words: List[bytes] = []  # of the reply that is looked at
        self._clear()

    def _clear(self) -> None:
        self.result = empty_result()
        self.counts = self.result["counts"]
        self.sent: List[Recorded] = []
        self.writes: List[Tuple[int, int, int]] = []  # ns, tick, ticks of lag (below 0: none)
        # (command, outcome, of how many keys, ticks of latency or below 0)
        self._replies: List[Tuple[str, int, int, int]] = []
        self._replied_ns = 0  # the last one

    def count_reply(self, sent: SentRequest, outcome: int, sizes: Sizes, time_ns: int) -> None:
        """A request was answered, or got no reply (then time_ns is 0). See PendingRequests."""
        request, template, _, times = sent
        command, keys, ticks = template.command, len(request.keys) or 1, -1
        if outcome == HIT and request.reply == REPLY_VALUES and len(sizes) < keys:
            self._replies.append((command, MISS, keys - len(sizes), -1))
            keys = len(sizes)
        if time_ns:
            self._replied_ns, ticks = time_ns, (time_ns - times[0]) // TICK_NS
            if template.gives_unique and request.reply != REPLY_VALUES:
                words = self._words[3:4]  # of the binary protocol
                if request.reply == REPLY_META:
                    words = [word[1:] for word in self._words[1:] if word[:1] == b"c"]
                for word in words:
                    self._remember(request.keys[0], word)
        self._replies.append((command, outcome, keys, ticks))

    def count_errors(self, requests: Iterable[SentRequest], kind: str) -> None:
        """These were not answered, or not sent."""
        for _, template, *_ in requests:
            self.counts["commands"][template.command]["errors"][kind] += 1

    def look_at(self, responses: Iterable[Response]) -> Iterator[Response]:
        """The responses, while they are given to their requests one after the other."""
        for response in responses:
            self._words = words = response[1]
            if response[0] == b"VALUE" and len(words) > 4:
                self._remember(words[1], words[4])
            yield response

    def _remember(self, key: bytes, unique: bytes) -> None:
        """The target gave this CAS unique, a number in decimal, for a key."""
        if unique.isdigit() and len(unique) <= 20:
            self._uniques[key] = int(unique)
        if len(self._uniques) > UNIQUES_MAX:
            del self._uniques[next(iter(self._uniques))]

    def unique(self, key: bytes) -> int:
        """The CAS unique to send for a key."""
        self.counts["unknown_uniques"] += key not in self._uniques
        return self._uniques.get(key, WRONG_UNIQUE)

    def take(self) -> Dict[str, Any]:
        """The result since the last time. Call often: until then, each request takes memory.

        Spans are in ns of CLOCK_MONOTONIC, and in ticks of the recording.
        """
        result, counts, commands = self.result, self.counts, self.counts["commands"]
        for (command, outcomes, ticks), times in Counter(self.sent).items():
            counted = commands[command]
            counted["requests"] += times
            for outcome in outcomes:
                counted["recorded_outcomes"][OUTCOMES[outcome]] += times
            if ticks:
                counted["recorded_latency"][ticks] += times
        for (command, outcome, keys, ticks), times in Counter(self._replies).items():
            if keys:
                commands[command]["outcomes"][OUTCOMES[outcome]] += keys * times
            if ticks >= 0:
                commands[command]["latency"][ticks] += times
        if self.writes:
            counts["writes"] = len(self.writes)
            result["recorded"]["span"] = [
                self.writes[0][1],
                max(tick for _, tick, _ in self.writes),
            ]
            counts["lateness"].update(lag for _, _, lag in self.writes if lag >= 0)
        moments = [now_ns for now_ns, _, _ in self.writes]
        if self._replied_ns:
            moments.append(self._replied_ns)
        result["span"] = [min(moments), max(moments)] if moments else []
        for counted in (counts, *commands.values()):
            for name in counted.keys() & HISTOGRAMS:
                counted[name] = round_to_3_digits(counted[name])
        self._clear()
        return result


# ---- Scheduling: what to send when ----


class Batch:
    """Requests that go out in one write, or what happens to a connection."""

    __slots__ = (
        *("tick", "number", "kind", "parts", "requests", "value_bytes", "late", "waits"),
        *("times", "queued_at_ns"),
    )

    def __init__(self, tick: int, number: int, kind: int) -> None:
        self.tick = tick  # of the recording, since the first pass began
        self.number = number  # of the connection
        self.kind = kind  # SEND; OPEN, RECV, CLOSE: what happens to the connection
        self.parts: List[Any] = []  # bytes, memoryview, or a function that returns them
        self.requests: List[SentRequest] = []
        self.value_bytes = 0  # of all values together
        self.late = False  # is one of the parts a function, to be called when it is sent?
        self.waits = False  # for all replies to what was sent before, as its client did
        self.times = [0, 0]  # ns: when it was due, at `max` when it was sent; when it was sent
        self.queued_at_ns = 0  # Engine's idle time when it began to wait for its connection


# (tick, connection, place in the file, form, batch, key_position, key, value size, exptime,
# outcome, latency). What happened to a connection stands between them as a row whose place
# is FIRST or LAST and whose form is OPEN, RECV or CLOSE. Rows sort by time, and on one
# connection in the order of the file, which is that of the requests.
Row = Tuple[int, int, int, int, int, int, bytes, int, int, int, int]
FIRST, LAST = -1, 1 << 62

PIECE_ROWS = 256  # rows that are unpacked at a time
STEP_ROWS = 128  # rows that are encoded at a time, so that no request waits for that
REQUEST_CACHE_MAX = 1 << 14


def read_rows(reader: ProfileReader, shard: Shard, keys: KeyTexts) -> Iterator[List[Row]]:
    """The rows of our connections, some at a time, in the order of the file.

    An empty list ends each block, which is when they can be put in order.
    """
    mine, total = shard
    events: List[Tuple[int, int, int, int]] = []
    reader.connection_rows = events
    last_tick: Dict[int, int] = {}  # connection -> of its rows so far
    for block in chain(reader.blocks(), (None,)):
        if block:
            keys.number_short_keys(block.key_hash, block.key_size)
            last_tick.update(zip(block.connection, block.time))
        # A connection is closed after its last request: what came before a reset was still read.
        changes = [
            (max(tick, last_tick.pop(number, tick)), number, LAST, kind, 0, 0, b"", 0, 0, 0, 0)
            if kind == CLOSE
            else (tick, number, FIRST, kind, 0, 0, b"", 0, 0, 0, 0)
            for tick, number, _, kind in events
        ]
        yield [row for row in changes if row[1] % total == mine]
        events.clear()
        if not block:
            return
        hashes, sizes = block.key_hash, block.key_size
        columns = zip(
            *(block.time, block.connection, range(reader.rows - len(block.time), reader.rows)),
            *(block.form, block.batch, block.key_position, block.key),
            *(block.value_size, block.exptime, block.outcome, block.latency),
        )
        for _ in range(0, len(block.time), PIECE_ROWS):
            yield [
                (*row[:6], keys.text(hashes[row[6]], sizes[row[6]]), *row[7:])
                for row in islice(columns, PIECE_ROWS)
                if row[1] % total == mine
            ]
        yield []


def in_order(pieces: Iterable[List[Row]]) -> Iterator[List[Row]]:
    """Sort by time, in bounded memory: some rows at a time, or none after other work.

    A row that comes too late is sent with the next ones, later than recorded; see `settled`. What
    was sent together stays together.
    """
    window: List[Row] = []
    for rows in chain(pieces, (None,)):
        yield []
        window += rows or ()
        if rows or not window:
            continue
        window.sort()
        ready = len(window)
        if rows is not None:
            ready = settled(window)
        begin = 0
        while begin < ready:
            end = min(begin + STEP_ROWS, ready)
            while end < len(window) and window[end][:2] == window[end - 1][:2]:
                end += 1
            yield window[begin:end]
            begin = end
        del window[:begin]


class Schedule:
    """What to send when: rows in, batches out, in order of time, pass after pass."""

    def __init__(
        self, tally: Tally, included: Iterable[str] = (), recorded_unix: float = 0
    ) -> None:
        self.keys = KeyTexts()
        self._tally = tally
        self._template = functools.lru_cache(None)(lambda form: make_template(form, included))
        # Equal requests of one key share one, which remembers what the reply looks like.
        self._request = functools.lru_cache(REQUEST_CACHE_MAX)(RequestTemplate.request)
        self._recorded_unix = recorded_unix  # when the recording began
        self._opaque = 0
        self._answered: Dict[int, int] = {}  # connection -> tick of its last answer

    def batches(
        self, path: str, shard: Shard, passes: int = 1, pass_seconds: float = 0
    ) -> Iterator[List[Batch]]:
        """Some batches at a time, or none, if there was other work to do that takes time.

        passes: over the profile, each as long as the recording; with `max`, until everything is
        sent. Endlessly if it is 0.
        """
        found = True
        for number in range(passes or sys.maxsize):
            if not found:  # nothing for us, nor will there be
                return
            offset = number * int(pass_seconds * TICKS_PER_SECOND)
            # A request may have begun before the recording did; it is due when the pass begins.
            found, latest = False, -sys.maxsize
            with ProfileReader(path) as reader:
                for rows in in_order(read_rows(reader, shard, self.keys)):
                    batches = self._encode(rows, reader.forms, offset)
                    for batch in batches:
                        if batch.tick < latest:
                            self._tally.counts["out_of_time"] += len(batch.requests)
                        latest = max(batch.tick, latest)
                        batch.tick = max(latest, offset)
                    found = found or bool(batches)
                    yield batches

    def preload(self, path: str, shard: Shard) -> Iterator[List[Batch]]:
        """What stores the values that must have been there before the first pass."""
        items = preload_items(path, shard, self.keys)
        rows = ((0, 0, 0, 0, 0, 0, key, size, 0, STORED, 0) for key, size in items)
        chunks = iter(lambda: list(islice(rows, PRELOAD_REQUESTS)), [])
        return (self._encode(chunk, ("set",), 0) for chunk in chunks)

    def _encode(self, rows: List[Row], forms: Sequence[str], offset: int) -> List[Batch]:
        """Encode rows that are in order. offset: ticks to add to their times."""
        done: List[Batch] = []
        begun: Dict[int, Batch] = {}  # connection -> its latest batch in here
        index, end = 0, len(rows)
        while index < end:
            row, first = rows[index], index
            tick, number, place, form, position = row[:5]
            index += 1
            while index < end and rows[index][5] and rows[index][1] == number:
                index += 1  # the other keys of this request
            if not FIRST < place < LAST:
                done.append(Batch(tick + offset, number, form))
                begun.pop(number, None)
                self._answered.pop(number, None)
                continue
            template = self._template(forms[form])
            if template is None:
                self._tally.counts["skipped"][command_of(forms[form])] += 1
                continue
            batch = begun.get(number)
            # It may have begun in an earlier read, and its value ended in this one.
            if batch is None or (
                batch.tick != tick + offset and not 0 < position == len(batch.requests)
            ):
                batch = begun[number] = Batch(tick + offset, number, SEND)
                batch.waits = self._answered.get(number, tick + 1) <= tick
                done.append(batch)
            if row[10]:
                self._answered[number] = tick + row[10]
            self._add(batch, template, rows[first:index])
        return done

    def _add(self, batch: Batch, template: RequestTemplate, rows: List[Row]) -> None:
        """Put a request into a batch. rows: one for each of its keys, or one."""
        tick, _, _, _, _, _, key, size, exptime, outcome, latency = rows[0]
        keys: Tuple[bytes, ...] = (key,) if key else ()
        outcomes: Tuple[int, ...] = (outcome,)
        if len(rows) > 1:
            keys = tuple(row[6] for row in rows)
            outcomes = tuple(row[9] for row in rows)
        if template.value_end is None or size == NO_SIZE:
            size = 0
        self._opaque = opaque = self._opaque + 1
        recorded = (template.command, outcomes, latency)
        if template.sample.opaque or len(rows) > 1:
            request = template.request(keys, opaque)
        else:
            request = self._request(template, keys, 0)
        batch.requests.append((request, template, recorded, batch.times))

        if template.has_cas or exptime > RELATIVE_EXPTIME_MAX:

            def write_late() -> bytes:
                expires, cas = exptime, 0
                if exptime > RELATIVE_EXPTIME_MAX:  # a Unix time: as far ahead as it was
                    ahead = exptime - self._recorded_unix - tick / TICKS_PER_SECOND
                    expires = max(int(time.time() + ahead), RELATIVE_EXPTIME_MAX + 1)
                if template.has_cas:  # EXISTS: another client had changed the value
                    cas = WRONG_UNIQUE if outcome == EXISTS else self._tally.unique(key)
                return template.write(keys, size, expires, opaque, cas)

            batch.waits = batch.waits or template.has_cas
            batch.late = True
            batch.parts.append(write_late)
        else:
            batch.parts.append(template.write(keys, size, exptime, opaque, 0))
        if template.value_end is not None:
            batch.value_bytes += size
            batch.parts += (*value_parts(size), template.value_end)


# ---- Preload: what a target must hold so that hits can hit ----

PRELOAD_KEYS_MAX = 1_000_000  # looked at in one pass over the profile; bounds memory
PRELOAD_UNKNOWN_BYTES = 10  # of a value whose size is unknown; short enough for incr
PRELOAD_REQUESTS = 10  # in one write
_SETTLED = -(1 << 40)  # nothing to preload, or no more to learn
_NEED_VALUE = frozenset((HIT, STORED, DELETED, TOUCHED, OK, EXISTS))  # outcomes that need a value
_UNCLEAR = frozenset((UNANSWERED, LOST, *ERRORS))


def preload_items(path: str, shard: Shard, keys: KeyTexts) -> Iterator[Tuple[bytes, int]]:
    """(key, value size) of the keys that had a value before the profile's first request for them.

    The first conclusive outcome counts: a hit, a touch, a delete that found the key. Sizes
    come from the first hit, less what was appended before it. Keys are processed in slices
    of the hash space, in as many passes as memory requires.
    """
    low, high = 0, 1 << 64
    while low < high:
        # What is known of a key: its size; -1 - appended bytes as long as it is not known; _SETTLED
        found: Dict[Tuple[int, int], int] = {}
        with ProfileReader(path) as reader:
            for block in reader.blocks():
                keys.number_short_keys(block.key_hash, block.key_size)
                verbs = [verb_of(form) for form in reader.forms]
                pairs = list(zip(block.key_hash, block.key_size))
                wanted = [
                    low <= key < high and key % shard.total == shard.number and size
                    for key, size in pairs
                ]
                rows = zip(block.key, block.form, block.outcome, block.value_size)
                for key, form, outcome, size in rows:
                    if wanted[key]:
                        state = preload_state(found.get(pairs[key]), verbs[form], outcome, size)
                        if state is not None:
                            found[pairs[key]] = state
                            wanted[key] = _SETTLED < state < 0
                while len(found) > PRELOAD_KEYS_MAX:
                    high = (low + high) // 2
                    found = {pair: state for pair, state in found.items() if pair[0] < high}
        for pair, state in found.items():
            if state != _SETTLED:
                yield keys.text(*pair), state if state >= 0 else PRELOAD_UNKNOWN_BYTES
        low, high = high, min(2 * high - low, 1 << 64)


def verb_of(form: str) -> str:
    """What a form does to a value: set, add, append, get, other; binary and meta too."""
    command, *words = form.split(" ")
    counts = command.startswith(("incr", "decr")) and words[:1] == ["binary"]
    if counts or (command in ("mg", "ma") and any(word[:1] == "N" for word in words)):
        return "set"  # they may create the value
    if command == "get" or command in GET_COMMANDS:
        return "get"
    if command == "ms":
        command = meta_mode(words) or "S"
    command = command[:-1] if command.endswith("q") else command
    verbs = {"prepend": "append", "A": "append", "P": "append", "E": "add", "R": "other"}
    verbs.update({"S": "set", "set": "set", "add": "add", "append": "append"})
    return verbs.get(command, "other")


def preload_state(known: Optional[int], verb: str, outcome: int, size: int) -> Optional[int]:
    """What is known of a key after one more request for it. None: nothing."""
    if known is not None and not _SETTLED < known < 0:
        return known
    if outcome in _UNCLEAR or (outcome == NONE and verb in ("append", "other")):
        return known
    appended = 0 if known is None else -1 - known
    if verb == "get" and outcome == HIT and size != NO_SIZE:
        return max(size - appended, 0)
    if verb == "append" and outcome == STORED:
        return -1 - appended - size
    written = verb == "set" or (verb == "add" and outcome != NOT_STORED)
    needed = outcome in _NEED_VALUE or (verb == "add" and outcome == NOT_STORED)
    if known is None and (written or not needed):
        return _SETTLED
    return PRELOAD_UNKNOWN_BYTES if written or outcome in (DELETED, STORED) else -1 - appended


# ==== Replay: engine ==================================================================

READ_BYTES = 1 << 15
IOVECS_MAX = 512
JOINED_MAX = 1 << 16  # up to so many bytes of values copying costs less than more iovecs
RETRY_NS = NS_PER_SECOND // 10  # between two attempts to connect
SWEEP_NS = NS_PER_SECOND // 5
SILENCE_NS = NS_PER_SECOND // 4  # after this time a quiet request gets no reply any more
AHEAD_BATCHES = 4_000  # encoded before they are due
STEP_NS = 200_000  # a step of the schedule takes about that long
STOP_SLACK_NS = NS_PER_SECOND // 4  # what was due this shortly before the end is not missed
STOPPED_NS = NS_PER_SECOND  # how long a stopped replay waits for replies
TURN_BATCHES = 32  # in a row before replies are looked at again

TIMEOUT, CONNECTION, PROTOCOL = "timeout", "connection", "protocol"


class Target(NamedTuple):
    """Where to replay to."""

    family: int
    address: Any
    name: str

    def connect(self, timeout: float) -> socket.socket:
        """A connected socket with this timeout; at 0 it does not block, and is still connecting.

        Raises OSError, MembenchError at the limit of open files.
        """
        try:
            link = socket.socket(self.family, socket.SOCK_STREAM)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else 0
            raise MembenchError(
                f"too many connections: the limit of open files is {limit:,} (RLIMIT_NOFILE)",
                "raise it with ulimit -n, use more --workers, or split the replay with --shard",
            ) from None
        try:
            link.settimeout(timeout)
            if self.family != socket.AF_UNIX:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.connect(self.address)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                link.close()
                raise
        return link


class ReplayConnection:
    """One connection to the target: what waits to be sent, what waits for an answer.

    Replies are read and matched with their requests as those of a recording are.
    """

    __slots__ = (
        *("number", "socket", "connected", "queue", "unsent", "pending", "closing"),
        *("_engine", "_tally", "_parser", "_last_ns", "_retry_ns"),
    )

    def __init__(self, engine: "Engine", number: int) -> None:
        self.number = number
        self.queue: Deque[Batch] = deque()
        self.closing = False  # as soon as nothing waits here
        self._engine, self._tally = engine, engine.tally
        self._last_ns = 0  # the last write
        self._retry_ns = 0  # no attempt to connect before
        self.socket: Optional[socket.socket] = None
        self.disconnect()

    def disconnect(self) -> None:
        """Close the socket, and forget what was sent and what was half read."""
        if self.socket:
            self._engine.by_fd.pop(self.socket.fileno())
            self.socket.close()
        self.socket = None
        self.connected = False
        self.unsent: List[Any] = []  # the rest of a write that the socket did not take
        self.pending = PendingRequests(self._tally.count_reply)
        self._parser: Any = None  # of replies; which one is known when a request was sent

    def close(self) -> None:
        """Disconnect for good; another connection may get the number."""
        self.disconnect()
        self._engine.links.pop(self.number, None)

    def is_idle(self) -> bool:
        """Does nothing wait here?"""
        return not (self.pending.queue or self.queue or self.unsent)

    def awaits_reply(self) -> bool:
        """Is there a request that will surely be answered?"""
        queue = self.pending.queue
        if not queue or not queue[0][0].quiet:  # nearly always
            return bool(queue)
        return any(not sent[0].quiet for sent in queue)

    def start(self, batch: Batch, now_ns: int) -> None:
        """A batch is due, or something happens to this connection."""
        if batch.kind == SEND:
            batch.queued_at_ns = self._engine.idle_ns
            self.queue.append(batch)
            self._engine.queued += 1
            if self.connected and len(self.queue) > 1:  # it waits like those before it
                return
        elif batch.kind == CLOSE:
            self.closing = True
        elif batch.kind == OPEN and self.is_idle():
            self.disconnect()  # the connection of the pass before
        if batch.kind != CLOSE:
            self.connect(now_ns)
        self.serve()

    def connect(self, now_ns: int) -> None:
        """Begin to connect, if it is not connected and the time has come for another attempt."""
        if self.socket or now_ns < self._retry_ns:
            return
        try:
            self.socket = self._engine.target.connect(0)
        except BlockingIOError:  # a Unix socket's backlog is full; check() tries again
            pass
        except OSError:
            self.fail(CONNECTION)
        else:
            self._engine.by_fd[self.socket.fileno()] = self
            self._engine.epoll.register(self.socket, select.EPOLLIN | select.EPOLLOUT)
            self._last_ns = now_ns

    def serve(self, events: int = 0) -> None:
        """Read what has come, and send what may go now."""
        try:
            if events & ~select.EPOLLOUT:  # or it could not connect, which reading tells
                self._receive()
            if events & select.EPOLLOUT and self.socket:
                self._tally.counts["connections"] += not self.connected
                self.connected = self._engine.reached = True
                self._flush(time.monotonic_ns())
                if not self.unsent:
                    self._engine.epoll.modify(self.socket, select.EPOLLIN)
            self._send_queue()
        except ProtocolError:
            self.fail(PROTOCOL)
        except OSError:
            self.fail(CONNECTION)

    def check(self, now_ns: int) -> None:
        """Time-outs, silence, attempts to connect. Called five times a second."""
        oldest_ns = now_ns - self._engine.timeout_ns
        if self.awaits_reply():
            if self.pending.queue[0][3][1] < oldest_ns:
                self.fail(TIMEOUT)
        elif self._last_ns < now_ns - SILENCE_NS:
            self.pending.end_silence()
        if self.socket and self._last_ns < oldest_ns and (self.unsent or not self.connected):
            self.fail(TIMEOUT)
        if self.queue:
            self.connect(now_ns)
        if self.closing and self.is_idle():
            self.close()

    def fail(self, kind: str) -> None:
        """It broke, or could not be made: what was sent on it is counted as `kind`.

        Raises MembenchError if there never was a connection.
        """
        now_ns, reached, engine = time.monotonic_ns(), self.connected, self._engine
        self._tally.counts["connection_failures"][kind] += 1
        self._tally.count_errors((sent for sent in self.pending.queue if not sent[0].quiet), kind)
        self.disconnect()
        self._retry_ns = now_ns if reached else now_ns + RETRY_NS
        if not engine.reached and now_ns < (engine.start_ns or now_ns) + NS_PER_SECOND:
            raise MembenchError(
                f"cannot connect to {printable(engine.target.name)}",
                "start the target first, and check its address",
            )
        # At `max` the rest waits for another attempt; else its time is now.
        oldest_ns = now_ns - engine.timeout_ns if reached else now_ns
        lost = sum(batch.times[0] < oldest_ns for batch in self.queue)
        for _ in range(min(lost, int(not reached)) if engine.closed_loop else lost):
            engine.queued -= 1
            self._tally.count_errors(self.queue.popleft().requests, kind)
        if self.closing and not self.queue:
            self.close()

    def _receive(self) -> None:
        """Take in what the target sent. Raises ProtocolError, or OSError."""
        assert self.socket
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        now_ns, tally, queue = time.monotonic_ns(), self._tally, self.pending.queue
        self._engine.reached = True
        tally.counts["bytes_received"] += len(data)
        if not data:
            if self.awaits_reply():
                raise ConnectionResetError
            self.pending.end_silence()
            self.disconnect()  # an idle connection may be closed
            return
        if data.startswith(b"ERROR Too many"):  # open connections
            tally.counts["connections"] -= self.connected
            self.connected = False
            raise ConnectionRefusedError
        parser = self._parser
        if parser is None:
            binary = queue and queue[0][0].reply == REPLY_BINARY
            parser = BinaryResponseParser() if binary else ResponseParser(tally.lines)
            self._parser = parser
        if queue and not (parser.partial or parser.skip or queue[0][1].gives_unique):
            segment = (SEND, now_ns, b"", 0, len(data), data, -1)
            if self.pending.answer_first(segment, tally.lines.__getitem__):
                return
        if self.pending.answer(tally.look_at(parser.feed(data)), now_ns):
            raise ProtocolError("this answers nothing that was asked")

    def _send_queue(self) -> None:
        """Send what waits and may go now. Raises OSError.

        It waits behind unanswered requests: always in a closed loop, else where its client did.
        """
        queue, engine = self.queue, self._engine
        for _ in range(TURN_BATCHES):
            if not queue or not self.connected or self.unsent:
                break
            batch = queue[0]
            if (engine.closed_loop or batch.waits) and self.awaits_reply():
                return
            queue.popleft()
            engine.queued -= 1
            self._send(batch, time.monotonic_ns())
        if self.socket and (queue or self.unsent):  # go on when others had their turn
            engine.epoll.modify(self.socket, select.EPOLLIN | select.EPOLLOUT)
        elif self.closing and self.is_idle():
            self.close()

    def _send(self, batch: Batch, now_ns: int) -> None:
        """Write a batch, and note what is to come back."""
        engine, expect, tally = self._engine, self.pending.queue.append, self._tally
        lag = -1
        if engine.closed_loop:
            batch.times[0] = now_ns
        else:
            lag = (now_ns - batch.times[0]) // TICK_NS
            # The part of the lag in which this process only waited for the target.
            tally.counts["waited_ns"] += engine.idle_ns - batch.queued_at_ns
        batch.times[1] = now_ns
        tally.writes.append((now_ns, batch.tick, lag))
        for sent in batch.requests:
            tally.sent.append(sent[2])
            if sent[1].answered:
                expect(sent)
            else:
                tally.count_reply(sent, NONE, {}, 0)
        parts = batch.parts
        if batch.late:
            parts = [part() if callable(part) else part for part in parts]
        self.unsent = [b"".join(parts)] if batch.value_bytes <= JOINED_MAX else parts
        self._flush(now_ns)

    def _flush(self, now_ns: int) -> None:
        """Hand to the socket what is unsent, as far as it takes it."""
        assert self.socket
        parts = self.unsent
        try:
            if len(parts) == 1:
                sent = self.socket.send(parts[0])
            else:
                sent = self.socket.sendmsg(parts[:IOVECS_MAX]) if parts else 0
        except BlockingIOError:
            return
        self._tally.counts["bytes_sent"] += sent
        self._last_ns = now_ns
        while parts and sent >= len(parts[0]):
            sent -= len(parts.pop(0))
        if sent:
            parts[0] = memoryview(parts[0])[sent:]


class Engine:
    """Sends batches when they are due, reads replies, counts. One process, one epoll.

    Open loop: no connection waits for another, and one waits for its own replies only where
    its client had waited; latency counts from when a request was due in either case. Or, at
    speed 0 (`max`), a closed loop on each connection: a batch is sent when everything before it
    is answered.
    """

    def __init__(
        self,
        target: Target,
        feed: Iterator[List[Batch]],
        tally: Tally,
        *,
        speed: float,
        timeout: float,
    ) -> None:
        self.target = target
        self.tally = tally
        self.closed_loop = not speed
        self.timeout_ns = int(timeout * NS_PER_SECOND)
        self.start_ns = 0  # CLOCK_MONOTONIC: tick 0 of the first pass
        self.idle_ns = 0  # time with nothing to do
        self.reached = False  # was there a connection yet?
        self.cut_short = False  # stopped before all was sent
        self.queued = 0  # batches in the queues of connections
        self.links: Dict[int, ReplayConnection] = {}  # by the number of the connection
        self.by_fd: Dict[int, ReplayConnection] = {}
        self.epoll = select.epoll()  # selectors takes 1.6 times as long for a poll
        self._feed = feed
        self._exhausted = False
        self._ready: Deque[Batch] = deque()  # in order of time
        self._tick_ns = TICK_NS / speed if speed else 0.0  # at `max` all is due at once
        self._check_ns = 0  # when to look at all connections again

    def prime(self) -> None:
        """Encode what comes first, and connect what was connected when recording began."""
        while not self._exhausted and len(self._ready) < AHEAD_BATCHES:
            self._step()
        now_ns = time.monotonic_ns()
        for batch in self._ready:
            if batch.kind == RECV:
                self._link(batch.number).connect(now_ns)
        while time.monotonic_ns() < now_ns + NS_PER_SECOND and any(
            link.socket and not link.connected for link in self.links.values()
        ):
            self._turn(SWEEP_NS // 20)

    def run(self, on_turn: Callable[[], bool]) -> None:
        """Run until all is sent and answered. on_turn is called often; False: send no more."""
        while on_turn():
            wait_ns = self._start_due()
            if wait_ns is None and all(link.is_idle() for link in self.links.values()):
                return
            self._turn(SWEEP_NS if wait_ns is None else wait_ns)
        self.cut_short = not self._exhausted or bool(self._ready) or self.queued > 0
        deadline = time.monotonic_ns() + STOPPED_NS
        self._drop_queues()
        while time.monotonic_ns() < deadline and any(
            link.awaits_reply() or link.unsent for link in self.links.values()
        ):
            self._turn(SWEEP_NS // 10)

    def close(self) -> None:
        """Close all connections; what is not sent or answered by now never will be."""
        self._drop_queues()
        for link in list(self.links.values()):
            if link.awaits_reply():
                link.fail(TIMEOUT)
            link.close()

    def _drop_queues(self) -> None:
        """Nothing more will be sent; count what should have been by now. At `max`, nothing."""
        passed_ns = 0
        if self.start_ns and not self.closed_loop:
            passed_ns = time.monotonic_ns() - STOP_SLACK_NS - self.start_ns
        for queue in (self._ready, *(link.queue for link in self.links.values())):
            self.tally.counts["not_sent"] += sum(
                len(batch.requests) for batch in queue if batch.tick * self._tick_ns < passed_ns
            )
            queue.clear()
        self.queued = 0

    def _step(self) -> None:
        """Encode a little more of the schedule."""
        batches = next(self._feed, None)
        self._exhausted = batches is None
        self._ready.extend(batches or ())

    def _link(self, number: int) -> ReplayConnection:
        link = self.links.get(number)
        if link is None:
            link = self.links[number] = ReplayConnection(self, number)
        return link

    def _start_due(self) -> Optional[int]:
        """Start what is due. Nanoseconds to the next, or None at the end.

        In a closed loop all is due, as long as not too much waits for connections.
        """
        ready, wait_ns, most = self._ready, 0, TURN_BATCHES
        if self.closed_loop:
            most = min(most, max(AHEAD_BATCHES, 4 * len(self.links)) - self.queued)
        for _ in range(most):
            if not ready:
                break
            now_ns, due_ns = time.monotonic_ns(), self.start_ns + int(ready[0].tick * self._tick_ns)
            wait_ns = due_ns - now_ns
            if wait_ns > 0:
                break
            batch = ready.popleft()
            batch.times[0] = due_ns
            self._link(batch.number).start(batch, now_ns)
        else:
            if most == TURN_BATCHES:
                return 0
        # Encoding ahead takes time; it is done while nothing is due, and early enough: what is
        # ready must last while a whole block is unpacked.
        enough = 2 * AHEAD_BATCHES if wait_ns > STEP_NS else AHEAD_BATCHES
        if not self._exhausted and (not ready or (wait_ns > 0 and len(ready) < enough)):
            self._step()
            return 0
        return min(wait_ns, SWEEP_NS) if wait_ns > 0 else SWEEP_NS if ready else None

    def _turn(self, wait_ns: int) -> None:
        """Wait for sockets, to the microsecond, and serve them."""
        if wait_ns > 0:  # the timeout of epoll itself is in whole milliseconds
            began_ns = time.monotonic_ns()
            select.select((self.epoll,), (), (), wait_ns / NS_PER_SECOND)
            self.idle_ns += time.monotonic_ns() - began_ns
        for fd, events in self.epoll.poll(0, 1024):
            if fd in self.by_fd:
                self.by_fd[fd].serve(events)
        now_ns = time.monotonic_ns()
        if now_ns >= self._check_ns:
            self._check_ns = now_ns + SWEEP_NS
            for link in list(self.links.values()):
                link.check(now_ns)


# ==== Replay: results and workers =====================================================
#
# A worker replays a shard of a shard. What it reports, what all workers did, and what all shards
# did are results of one form, and `join` adds them up. Percentiles are computed last, from
# histograms.

# ---- Results: from counts to what --stats-json holds ----

REPLAY_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
REPLAY_COLUMNS = (*REPLAY_PERCENTILES, "max")
ERROR_KINDS = (TIMEOUT, CONNECTION, PROTOCOL, "server")


def join(total: Dict[str, Any], more: Dict[str, Any]) -> None:
    """Add up results, or parts of them: numbers and spans; of anything else the first counts.

    Keys that are numbers may be text, as in JSON.
    """
    for name, value in more.items():
        name = str(name)
        if isinstance(value, dict):
            join(total.setdefault(name, {}), value)
        elif name == "span":
            moments = [*total.get(name, ()), *value]
            total[name] = [min(moments), max(moments)] if moments else []
        elif name in ("ended_by", "fatal"):
            total[name] = total.get(name) or value
        else:
            total[name] = total.get(name, 0) + value


def describe_histogram(histogram: Dict[Any, int]) -> Optional[Dict[str, float]]:
    """Percentiles in microseconds of a histogram {ticks: how often}, or None."""
    counts = {int(ticks): times for ticks, times in histogram.items()}
    found = describe_sizes(counts, REPLAY_PERCENTILES)
    return found and {name: found[name] * TICK_NS / 1000 for name in REPLAY_COLUMNS}


def share_of_hits(outcomes: Dict[str, int]) -> Optional[float]:
    """None if there was nothing to hit."""
    hits, misses = outcomes.get("hit", 0), outcomes.get("miss", 0)
    return hits / (hits + misses) if hits + misses else None


def rate(operations: int, span: Sequence[float]) -> Optional[float]:
    """The number per second. span: (from, to), or () if there was none."""
    seconds = span[1] - span[0] if span else 0
    return round(operations / seconds, 1) if seconds else None


def report_command(counted: Dict[str, Any], span: Sequence[float]) -> Dict[str, Any]:
    """What --stats-json holds for one command, or for all together."""
    outcomes, recorded = counted["outcomes"], counted["recorded_outcomes"]
    operations = total_of(recorded)
    refused = sum(outcomes.get(OUTCOMES[error], 0) for error in ERRORS)
    return {
        "requests": counted["requests"],
        "operations": operations,
        "operations_per_second": rate(operations, span),
        "hits": outcomes.get("hit", 0),
        "misses": outcomes.get("miss", 0),
        "hit_ratio": share_of_hits(outcomes),
        "recorded_hit_ratio": share_of_hits(recorded),
        "outcomes": outcomes,
        "recorded_outcomes": recorded,
        "errors": {**dict.fromkeys(ERROR_KINDS, 0), **counted["errors"], "server": refused},
        "latency_us": describe_histogram(counted["latency"]),
        "recorded_latency_us": describe_histogram(counted["recorded_latency"]),
    }


def report_all(counts: Dict[str, Any], span: Sequence[float]) -> Dict[str, Any]:
    """What --stats-json holds for all commands together."""
    together = command_counts()
    for counted in counts["commands"].values():
        join(together, counted)
    return report_command(together, span)


def replay_report(about: Dict[str, Any], joined: Dict[str, Any]) -> Dict[str, Any]:
    """What --stats-json holds: a joined result, and what it is about."""
    counts, span = joined["counts"], joined["span"]
    recorded = {**about["recorded"], **joined["recorded"]}
    together = report_all(counts, span)
    errors, operations = together["errors"], together["operations"]
    commands = {name: report_command(found, span) for name, found in counts["commands"].items()}
    return {
        **about,
        **joined,
        **together,
        "recorded": {**recorded, "operations_per_second": rate(operations, recorded["span"])},
        "failed_requests": sum(errors.values()) - errors["server"] + counts["not_sent"],
        "lateness_us": describe_histogram(counts["lateness"]),
        "fell_behind": what_fell_behind(counts),
        "commands": dict(sorted(commands.items(), key=lambda item: -item[1]["operations"])),
    }


FELL_BEHIND_US = 10_000.0  # p99 of lateness; a late wake-up on a busy machine is less


def what_fell_behind(counts: Dict[str, Any]) -> Optional[str]:
    """Which side made requests late: target, replay, or None if they were in time.

    A late request waited for this process, or for its connection: to be opened, to take more
    bytes, to bring a reply. Of the latter, the target caused as much as this process was idle.
    """
    lateness = counts["lateness"]
    if (describe_histogram(lateness) or {"p99": 0})["p99"] < FELL_BEHIND_US:
        return None
    late_ns = sum(int(ticks) * times * TICK_NS for ticks, times in lateness.items())
    return "target" if counts["waited_ns"] > late_ns / 2 else "replay"


# ---- Results: of several shards ----

SHARDS_MAX = 10_000


def parse_shard(text: str) -> Shard:
    """I/N, I from 0 to N - 1. Raises ValueError."""
    number, _, total = text.partition("/")
    shard = Shard(int(number), int(total))
    if not 0 <= shard.number < shard.total <= SHARDS_MAX:
        raise ValueError(text)
    return shard


# What taking values of unexpected types for results ends in.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def merge_results(results: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """The report on several shards. Histograms add up, so percentiles are exact.

    Raises MembenchError if the shards do not belong together, one of MALFORMED if these are no
    results.
    """
    shards = [parse_shard(text) for result in results for text in result["shards"]]
    joined = empty_result()
    for result in results:
        recorded = {"span": result["recorded"]["span"]}
        join(joined, {**{name: result[name] for name in joined}, "recorded": recorded})
    ends = [result["started_unix"] + result["duration_seconds"] for result in results]
    started_unix = min(result["started_unix"] for result in results)
    about = {
        **results[0],
        "shards": list(map(str, shards)),
        "missing_shards": missing_shards(shards),
        "workers": sum(result["workers"] for result in results),
        "started_unix": started_unix,
        "duration_seconds": round(max(ends) - started_unix, 3),
    }
    return replay_report(about, joined)


def missing_shards(shards: Sequence[Shard]) -> List[str]:
    """The missing shards, as 0/4. Raises MembenchError if these are not of one replay."""
    [(again, times)] = Counter(shards).most_common(1)
    if times > 1:
        raise MembenchError(f"shard {again} is given twice", "give each shard's results once")
    totals = sorted({shard.total for shard in shards})
    if len(totals) > 1:
        raise MembenchError(
            f"shards of {' and of '.join(map(str, totals))} do not belong together",
            "give the results of a single replay",
        )
    missing = {Shard(number, totals[0]) for number in range(totals[0])}.difference(shards)
    return list(map(str, sorted(missing)))


# ---- The results for people ----

LATENCY_TITLE = "Latency at this client, network and both kernels included"
RECORDED_LATENCY_TITLES = {
    "server": "Recorded at the server, from reading a request to writing its reply",
    "capture": "Recorded between packets, where they were captured",
}
FELL_BEHIND = {
    "replay": "this side: add --workers (at most one per CPU) or --shard",
    "target": "the target: requests waited for its replies; try a lower --speed",
}
REPLAY_NOTES_ON = {
    "not_sent": "requests were due but not sent",
    "unknown_uniques": "CAS requests had no unique value from the target to send",
    "shared_keys": "short keys may collide with another key",
    "preload_refused": "values were refused by the target during preload",
    "out_of_time": "requests were sent late: they stand too far back in the profile "
    "to be put in order",
}
OUT_OF_TIME_SHARE = 0.001  # of the requests; a smaller share does not change what the target sees


def per_second(number: Optional[float]) -> str:
    """A rate with its one digit, so that the rows of a table agree."""
    return "-" if number is None else f"{number:,.1f}"


def render_replay(report: Dict[str, Any], width: int = WIDTH) -> str:
    """The results for people, `width` columns wide."""
    loop = (
        "closed loop on each connection; latency counts from the actual send"
        if report["speed"] == "max"
        else "open loop; latency counts from when each request was due"
    )
    heads = ("operations", "/s", "hits", "recorded")
    commands = [table_row("Command", 12, heads, (13, 11, 11, 11))]
    errors = [table_row("Errors", 12, ERROR_KINDS, repeat(12))]
    for name, found in report["commands"].items():
        speed = per_second(found["operations_per_second"])
        ratios = map(human_percent, (found["hit_ratio"], found["recorded_hit_ratio"]))
        cells = (f"{found['operations']:,}", speed, *ratios)
        commands.append(table_row(printable(name), 12, cells, (13, 11, 11, 11)))
        if any(found["errors"].values()):
            numbers = (f"{found['errors'][kind]:,}" for kind in ERROR_KINDS)
            errors.append(table_row(printable(name), 12, numbers, repeat(12)))
    lines = [
        f"{printable(report['profile'])} to {printable(report['target'])}",
        f"  speed {report['speed']}: {loop}",
        *held_line(report["recorded"].get("keys")),
        "",
        *render_cut(report),
        *(f"{name:<14} {text}" for name, text in render_replay_summary(report)),
        *("", *commands),
        *(("", *errors) if len(errors) > 1 else ()),
        *("", *render_latencies(report, width)),
    ]
    return fit(lines, width)


def render_replay_summary(report: Dict[str, Any]) -> Iterator[Tuple[str, str]]:
    """What all requests did together: names and what is said of them."""
    counts, recorded, lateness = report["counts"], report["recorded"], report["lateness_us"]
    rates = map(per_second, (report["operations_per_second"], recorded["operations_per_second"]))
    ratio, recorded_ratio = map(human_percent, (report["hit_ratio"], report["recorded_hit_ratio"]))
    was = f"recorded {recorded_ratio}" if recorded.get("responses", True) else "not recorded"
    failures = total_of(counts["connection_failures"])
    sent, received = (human_bytes(counts[name]) for name in ("bytes_sent", "bytes_received"))
    yield "Requests", f"{report['requests']:>12,}"
    yield "Operations", f"{report['operations']:>12,}   " + "{}/s, recorded {}/s".format(*rates)
    yield "Hit ratio", f"{ratio:>12}   {was}"
    yield "Connections", f"{counts['connections']:>12,}   {failures:,} failed"
    yield "Bytes", f"{sent:>12} sent, {received} received"
    if lateness:
        p50, p99, most = (human_us(lateness[name]) for name in ("p50", "p99", "max"))
        yield "Scheduling lag", f"{p50:>12} us p50, {p99} p99, {most} max"
    if report["fell_behind"]:
        yield "Fell behind", FELL_BEHIND[report["fell_behind"]]
    if counts["skipped"]:
        skipped = sorted(counts["skipped"].items())
        yield "Skipped", ", ".join(f"{printable(name)} {times:,}" for name, times in skipped)
    few = {"out_of_time": OUT_OF_TIME_SHARE * report["requests"]}
    for name, text in REPLAY_NOTES_ON.items():
        if counts[name] > few.get(name, 0):
            yield "Note", f"{counts[name]:,} {text}"


def render_cut(report: Dict[str, Any]) -> List[str]:
    """Why not all of the recording was sent, if it was meant to be."""
    whole = len(report["shards"]) == parse_shard(report["shards"][0]).total
    total = report["recorded"]["operations"] if whole else None
    if not report["ended_by"] or (total and report["operations"] >= total):
        return []
    of = f" of {total:,}" if total else ""
    why = "Ended by --duration" if report["ended_by"] == "duration" else "Interrupted"
    return [f"{why}: {report['operations']:,}{of} operations were sent", ""]


def render_latencies(report: Dict[str, Any], width: int) -> List[str]:
    """What this client measured and what was recorded; side by side if recorded at clients."""
    table = functools.partial(latency_table, width=width, names=REPLAY_COLUMNS)
    rows = [*report["commands"].items(), ("all", report)]
    own = [(printable(name)[:11], row["latency_us"]) for name, row in rows]
    recorded = [(name, row["recorded_latency_us"]) for (name, _), (_, row) in zip(own, rows)]
    side = report["recorded"]["side"]
    if not report["recorded_latency_us"]:
        return table(LATENCY_TITLE, own)
    if side == "client":
        both = ((mine, ("  recorded", theirs)) for mine, (_, theirs) in zip(own, recorded))
        return table("Latency at this client, and at the recorded clients", [*chain(*both)])
    title = RECORDED_LATENCY_TITLES.get(side, "Recorded latency")
    return [*table(LATENCY_TITLE, own), "", *table(title, recorded)]


# ---- Worker processes ----


class Survey(NamedTuple):
    """What a profile says about itself, read without unpacking its operations."""

    reader: ProfileReader  # at the end of the file
    connections: int
    peak: int  # connections open at one time


def survey(path: str, shard: Shard) -> Survey:
    """Look through a profile quickly. Connections are those of the shard."""
    connections = current = peak = 0
    payload: Optional[memoryview] = None
    events: List[Tuple[int, int, int, int]] = []
    with ProfileReader(path) as reader:
        reader.connection_rows = events
        for block in chain(reader.packed_blocks(), (None,)):
            for _, number, _, kind in events:
                if number % shard.total == shard.number:
                    connections += kind != CLOSE
                    current += -1 if kind == CLOSE else 1
                    peak = max(peak, current)
            events.clear()
            payload = block or payload
        if payload and not reader.end:  # truncated: it lasted until its last operation
            reader.unpack(payload)
    return Survey(reader, connections, peak)


PR_SET_PDEATHSIG = 1
REPORT_NS = NS_PER_SECOND // 5  # between two reports of a worker


def replay_shard(
    pipe: Any, options: argparse.Namespace, found: Survey, target: Target, index: int
) -> None:
    """Send a worker's share of the requests. index: among the workers of this machine.

    The parent gets what is new when we are ready, five times a second, and at the end. It sends
    one number: when to begin, in CLOCK_MONOTONIC; a second number, or the end of the pipe, means
    stop.
    """
    tally = Tally()
    started_unix = float(found.reader.header["started_unix"])
    schedule = Schedule(tally, options.include, started_unix)
    number, total = options.shard
    shard, path = Shard(number + total * index, total * options.workers), found.reader.path
    if options.preload:
        feed = schedule.preload(path, shard)
    else:
        feed = schedule.batches(path, shard, options.loop_mode, found.reader.seconds())
    engine = Engine(target, feed, tally, speed=options.speed, timeout=options.timeout)
    duration_ns = (options.duration or math.inf) * NS_PER_SECOND
    report_ns = 0

    def go_on() -> bool:
        nonlocal report_ns
        now_ns = time.monotonic_ns()
        if options.preload and tally.counts["connection_failures"]:
            return False
        if now_ns >= report_ns:
            report_ns = now_ns + REPORT_NS
            pipe.send(tally.take())
            if pipe.poll(0):
                return False
        return now_ns - engine.start_ns < duration_ns

    try:
        engine.prime()
        pipe.send(tally.take())
        engine.start_ns = pipe.recv()
        while time.monotonic_ns() < engine.start_ns and not pipe.poll(0):
            time.sleep(min(max(engine.start_ns - time.monotonic_ns(), 0) / NS_PER_SECOND, 0.05))
        engine.run(go_on if engine.start_ns else lambda: False)
    except MembenchError as error:
        tally.result["fatal"] = [str(error), error.hint]
    engine.close()
    tally.counts["shared_keys"] = 0 if index else schedule.keys.shared  # all number all of them
    tally.result["ended_by"] = "duration" if engine.cut_short else None
    pipe.send(tally.take())


def run_worker(parent: int, others: Sequence[Any], pipe: Any, *arguments: Any) -> None:
    """What a worker process runs. others: the parent's ends of pipes, which it inherited."""
    for other in others:  # or a worker would not see that the parent ended
        other.close()
    if sys.platform == "linux":  # at a kill -9 of the parent, the kernel ends this process
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        return
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides, and tells
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # otherwise the kernel may wake us 50 us late
        with open("/proc/self/timerslack_ns", "w", encoding="ascii") as slack:
            slack.write("1")
    gc.freeze()
    gc.disable()  # there are no reference cycles; a collection would only cause a delay
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent ended
        replay_shard(pipe, *arguments)


def start_workers(options: argparse.Namespace, found: Survey, target: Target) -> Dict[Any, Any]:
    """Start the processes, which end with this one: {pipe to it: process}."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    workers: Dict[Any, Any] = {}
    for index in range(options.workers):
        ours, theirs = context.Pipe()
        arguments = (os.getpid(), [*workers, ours], theirs, options, found, target, index)
        workers[ours] = context.Process(target=run_worker, args=arguments, daemon=True)
        workers[ours].start()
        theirs.close()
    return workers


def live_fields(counts: Dict[str, Any], seconds: float) -> List[str]:
    """The live line: what happened in so many seconds."""
    found = report_all(counts, (0, seconds))
    latency, lateness = found["latency_us"] or {}, describe_histogram(counts["lateness"]) or {}
    return [
        f"{found['operations_per_second']:9,.0f} ops/s",
        f"errors {sum(found['errors'].values()):,}",
        f"lag {human_us(lateness.get('p99'))} us",
        f"p50 {human_us(latency.get('p50'))} us",
        f"p99 {human_us(latency.get('p99'))} us",
        f"hits {human_percent(found['hit_ratio'])}",
    ]


def run_workers(
    options: argparse.Namespace, found: Survey, target: Target, stop: "Stop"
) -> Dict[str, Any]:
    """Replay, or preload. Returns what all workers did together, since `started_unix`.

    Always returns, whatever happens to the target or to a worker.
    """
    import multiprocessing.connection

    workers = start_workers(options, found, target)
    preparing = set(workers)
    joined, new = empty_result(), empty_result()  # new: since the live line was written
    live = LiveLine(options.quiet)
    began = shown = time.monotonic()
    told: List[int] = []  # what all workers were told

    def tell_all(number: int) -> None:
        told.append(number)
        for pipe in workers:
            with contextlib.suppress(OSError):
                pipe.send(number)

    started_unix = 0.0
    while workers:
        if stop.requested and told[-1:] != [0]:
            tell_all(0)
        ready: List[Any] = multiprocessing.connection.wait(list(workers), 0.1)
        for pipe in ready:
            preparing.discard(pipe)
            try:
                join(new, pipe.recv())
            except (EOFError, OSError):
                worker = workers.pop(pipe)
                worker.join()
                if worker.exitcode:
                    fatal = ["a worker process was killed", "not all of its requests are counted"]
                    joined["fatal"] = joined["fatal"] or fatal
        if workers and not (preparing or told):
            started_unix = max(options.start_at, time.time() + 0.02)
            if options.start_at and started_unix > options.start_at:
                say(f"starting {started_unix - options.start_at:.1f} s after --start-at")
            tell_all(time.monotonic_ns() + int((started_unix - time.time()) * NS_PER_SECOND))
        now = time.monotonic()
        if not workers or now - shown >= LiveLine.INTERVAL:
            live.show([f"{now - began:6.0f} s", *live_fields(new["counts"], now - shown)])
            join(joined, new)
            new, shown = empty_result(), now
    live.clear()
    joined["span"] = [
        round(started_unix + (ns - told[0]) / NS_PER_SECOND, 6) for ns in joined["span"]
    ]
    span = joined["recorded"]["span"]
    joined["recorded"]["span"] = [tick / TICKS_PER_SECOND for tick in span]
    return {**joined, "started_unix": started_unix}


# ==== Recording =======================================================================


class Stop:
    """Ctrl-C, SIGTERM and SIGHUP end a recording normally: they set `requested`.

    If they come again, they raise KeyboardInterrupt where `may_raise` permits it.
    """

    SIGNALS = tuple(
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    )

    def __init__(self) -> None:
        self.requested = False
        self.number = 0  # of the signal
        self.may_raise: Callable[[], bool] = lambda: True
        self.ended_ns = 0  # when a recording has ended, by its source's clock

    def __enter__(self) -> "Stop":
        self._old = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: Any) -> None:
        if self.requested and self.may_raise():
            raise KeyboardInterrupt
        self.requested, self.number = True, number


# ---- Which memcached? ----


class Server(NamedTuple):
    """A memcached process."""

    pid: int
    ports: List[int]  # TCP ports it listens on
    unix_paths: List[str]  # Unix sockets it is bound to


def find_servers() -> List[Server]:
    """The memcached processes of this machine whose sockets this process can list."""
    servers = []
    for name in process_numbers():
        if process_name(name) == "memcached":
            with contextlib.suppress(OSError):
                servers.append(listening_places(int(name)))
    return servers


def listening_places(pid: int) -> Server:
    """Where a process listens. Raises OSError if its sockets cannot be listed."""
    inodes = socket_inodes(pid)
    ports = {s.local_port for s in tcp_sockets(pid, TCP_LISTEN) if s.inode in inodes}
    paths = {path for inode, path in unix_sockets(pid) if path and inode in inodes}
    return Server(pid, sorted(ports), sorted(paths))


def listened_ports() -> Set[int]:
    """The ports that anything listens on, in every network namespace that can be read."""
    namespaces = network_namespaces(["self", *process_numbers()])
    return {s.local_port for pid in namespaces for s in tcp_sockets(pid, TCP_LISTEN)}


def is_unix_socket(path: str) -> bool:
    """Is there such a socket? @NAME is in the abstract namespace."""
    if path.startswith("@"):
        return any(bound == path for _, bound in unix_sockets("self"))
    with contextlib.suppress(OSError):
        return stat.S_ISSOCK(os.stat(path).st_mode)
    return False


def bound_unix_path(path: str, servers: List[Server]) -> str:
    """The address that one of the servers has bound for this path, as the kernel knows it.

    It differs from the path if the server gave a relative one, or runs in a container that has
    the socket elsewhere.
    """
    if path.startswith("@"):
        return path
    with contextlib.suppress(OSError):
        wanted = os.stat(path)
        for server in servers:
            for bound in server.unix_paths:
                root = f"/proc/{server.pid}/{'root' if bound.startswith('/') else 'cwd/'}"
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.stat(root + bound), wanted):
                        return bound
    return os.path.abspath(path)


class Watched(NamedTuple):
    """What is recorded, and in words why."""

    ports: List[int]
    unix_path: str  # "": TCP
    side: str  # server or client
    pid: int  # 0: any process
    why: str
    servers: List[Server]  # those that ran when the recording began
    limit: str  # what else restricts it, in words; or ""
    captured: bool  # in a file, perhaps on another machine

    @property
    def where(self) -> str:
        """port 11211; the Unix socket /run/memcached.sock"""
        if self.unix_path:
            return f"the Unix socket {printable(self.unix_path)}"
        return ports_text(self.ports)

    def absent(self) -> str:
        """What is not here now, in words; "" if nothing is missing, or need not be here."""
        if self.unix_path:
            there = is_unix_socket(self.unix_path)
            return "" if there else f"there is no Unix socket {printable(self.unix_path)}"
        if self.captured or self.side == "client":
            return ""
        unserved = sorted(set(self.ports) - listened_ports())
        return f"nothing listens on {ports_text(unserved)}" if unserved else ""


def choose_watched(options: argparse.Namespace) -> Watched:
    """What to watch, from the options and from what runs here."""
    kind, place = options.source
    side, pid = options.side, options.pid or 0
    if kind != "file" and sys.platform == "linux":
        require_proc()
    servers = find_servers()  # without privileges they could not be found later
    ports: List[int] = []
    path = ""
    if place.startswith("unix:"):
        path = place[len("unix:") :]
        why = f"the {'clients' if side == 'client' else 'server'} of {printable(path)}"
    else:
        found, of_whom = servers, "memcached"
        if pid and side == "server" and not options.port:
            found, of_whom = [own_places(pid)], "it"
        ports = sorted(set(options.port or [port for one in found for port in one.ports]))
        why = ports_text(ports)
        if kind == "file" and not options.port:  # what runs here says nothing about a capture
            ports, why = [DEFAULT_PORT], f"port {DEFAULT_PORT} (the default)"
        elif not ports:
            ports, why = [DEFAULT_PORT], "no memcached found here"
            if in_pid_namespace():
                why = "processes outside of this PID namespace cannot be seen"
            why = f"port {DEFAULT_PORT} ({why}; the default)"
        elif not options.port:
            why += f" (where {of_whom} listens)"
        why = f"clients of {why}" if side == "client" else why
    why += f", process {pid} alone" if pid else ""
    limit = "" if path or place == "any" or kind == "file" else f"through {printable(place)}"
    if options.filter:
        limit += f"{' ' * bool(limit)}that the filter {printable(options.filter)!r} accepts"
    return Watched(ports, path, side, pid, why, servers, limit, kind == "file")


def own_places(pid: int) -> Server:
    """Where one process listens. Raises SourceError if it does not on a TCP port."""
    network_namespace(pid)  # says why, if there is no such process
    try:
        server = listening_places(pid)
    except OSError:
        raise not_permitted(pid, ", or give a --port") from None
    if not server.ports:
        hint = "give another --pid, or a --port"
        if server.unix_paths:
            hint = f"record ebpf:unix:{printable(server.unix_paths[0])}"
        raise SourceError(f"process {pid} does not listen on a TCP port", hint)
    return server


def ports_text(ports: Sequence[int]) -> str:
    """port 11211; ports 11211, 11212"""
    return ("port " if len(ports) == 1 else "ports ") + ", ".join(map(str, ports))


def explain_silence(watched: Watched, matcher: Matcher) -> str:
    """Why nothing may have been recorded, from what this machine shows."""
    kernel, where = matcher.ledger.kernel, watched.where
    if matcher.ledger.tls_connections:
        return f"the traffic on {where} is TLS, which membench cannot decrypt"
    if kernel.get("recv_bytes"):
        return (
            f"{kernel['recv_bytes']:,} bytes arrived on {where}, but no memcached command was "
            "recognized: another service, or connections joined mid-stream and not synchronized"
        )
    if kernel.get("udp_datagrams"):
        return "there was only UDP traffic, which membench does not parse"
    if watched.captured:  # nothing of this machine explains it
        return explain_capture(kernel, watched)
    return explain_idle_machine(watched)


def try_ports(ports: Sequence[int]) -> str:
    """A hint at the port that is meant, if there is only one."""
    return f". Try --port {ports[0]}" if len(ports) == 1 else ""


def explain_capture(kernel: Dict[str, int], watched: Watched) -> str:
    """As explain_silence, for a capture: what was in it instead."""
    where = watched.where
    packets = kernel["events"] + kernel["ignored_packets"]
    if kernel["send_bytes"]:
        return f"of {packets:,} packets none holds requests, only what was sent from {where}"
    limit = f" {watched.limit}" if watched.limit else ""
    text = f"{packets:,} packets{limit}, {kernel['events'] or 'none'} TCP on {where}"
    others = packets - kernel["events"] - kernel["other_tcp"] - kernel["other_udp"]
    for count, what in (
        (kernel["other_tcp"], "TCP of other connections"),
        (kernel["other_udp"], "UDP"),
        (others, "neither TCP nor UDP"),
    ):
        text += f"; {count:,} are {what}" if count else ""
    like = [int(name.split("_")[-1]) for name in kernel if name.startswith("like_memcached_")]
    if like:
        text += f". What looks like memcached was on {ports_text(like)}{try_ports(like)}"
    return text


def explain_idle_machine(watched: Watched) -> str:
    """As explain_silence, if nothing at all moved: what else there is on this machine."""
    ports, where, absent = watched.ports, watched.where, watched.absent()
    served = sorted({port for server in watched.servers for port in server.ports})
    paths = sorted({path for server in watched.servers for path in server.unix_paths})
    if watched.unix_path:
        elsewhere = f"; memcached listens on {printable(', '.join(paths))}" if paths else ""
        return f"{absent}{elsewhere}" if absent else f"no traffic was seen on {where}"
    if served and not set(served) & set(ports):
        return f"memcached listens on {ports_text(served)} here, not on {where}{try_ports(served)}"
    clients = any(s.remote_port in ports for s in tcp_sockets("self", TCP_ESTABLISHED))
    if watched.side == "client" and clients:
        return f"no traffic was seen from the clients of {where}"
    if watched.side == "client":
        return f"nothing here is connected to {where}. Is another --port meant?"
    if not served and clients:
        return (
            "this machine has clients of that port, but no server. Record on the server, "
            "or record these clients with --side client"
        )
    if not served and paths:
        return f"memcached listens on a Unix socket. Try ebpf:unix:{printable(paths[0])}"
    if absent:
        unseen = "; outside of this PID namespace, processes cannot be seen, and ports may not be"
        return f"{absent} here{unseen if in_pid_namespace() else ''}. Check --port and the machine"
    limit = f" {watched.limit}. Is it meant?" if watched.limit else ""
    return f"a server listens on {where}, but no traffic was seen{limit}"


# ---- Privileges and priority ----
#
# Privileges are needed to create the file, to load and attach the kernel programs, and to
# open a packet socket. Ring, counters, socket and file are open by then, and need none to be
# used and closed. So all privileges are dropped, irrevocably, before anything that a client
# sent is parsed. Nothing may be imported for the first time after that: Python may be installed
# where only root can read.

CAP_SETGID, CAP_SETUID = 6, 7
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
NO_CAPABILITIES = bytes(24)  # effective, permitted, inheritable; twice
OOM_FIRST = "1000"  # oom_score_adj: the first to be killed


class User(NamedTuple):
    """Who a recording runs as after setup."""

    uid: int
    gid: int
    owner: Optional[Tuple[int, int]]  # who then owns the profile; None: it stays as it is


def choose_user(asked: Optional[str]) -> Optional[User]:
    """The user to run as after setup: the one asked for, who called sudo, or nobody.

    None: this process stays who it is, because it is not root, or is root in a container
    that may not change users. Raises MembenchError if it cannot be the user asked for.
    """
    may_change = False
    if sys.platform == "linux":
        needed = 1 << CAP_SETUID | 1 << CAP_SETGID
        may_change = capget() & needed == needed
    if asked is not None:
        try:
            entry = pwd.getpwnam(asked)
        except (KeyError, ValueError, AttributeError):
            raise MembenchError(
                f"there is no user {printable(asked)}", "omit --user, or name one that exists"
            ) from None
        if may_change:
            return User(entry.pw_uid, entry.pw_gid, (entry.pw_uid, entry.pw_gid))
        if entry.pw_uid != os.geteuid():
            raise MembenchError(
                f"only root can record as {printable(asked)}", "run it with sudo, or omit --user"
            )
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


def drop_privileges(user: Optional[User]) -> None:
    """Become that user, irrevocably without any capability or supplementary group."""
    if sys.platform != "linux":
        return
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)  # no program that it could start gives privileges back
        if user:
            with contextlib.suppress(OSError):  # behind the last capability, or not permitted
                for capability in range(64):
                    prctl(PR_CAPBSET_DROP, capability)
            os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        capset(NO_CAPABILITIES)
    except OSError as error:
        raise MembenchError(
            f"cannot drop root's privileges: {error.strerror}",
            "choose another --user; --user root drops only the capabilities",
        ) from None


def lower_priority(niceness: int) -> None:
    """Give way to the server when CPU or memory is short."""
    if hasattr(os, "nice"):
        os.nice(niceness)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(OOM_FIRST)


# ---- record ----

POLL_MS, POLL_MS_MAX = 10, 100
SEGMENTS_AT_ONCE = 100


def record(options: argparse.Namespace) -> int:
    """Record until the duration is over or somebody stops it; then summarize.

    Raises NothingRecorded, unless --allow-empty, and leaves no file; with --strict,
    MembenchError if too much was lost, and the profile is complete.
    """
    user, watched = choose_user(options.user), choose_watched(options)
    secret = options.salt or read_salt(options.salt_file)
    owner = user.owner if user else None
    names = choose_names(options)
    with Stop() as stop, ProfileWriter(options.output, options.force, owner, names) as profile:
        stop.may_raise = lambda: profile.waits
        with open_source(options, watched) as source:
            started_ns, started_unix = wait_for_start(source, stop)
            if source.requests_only and not options.no_responses:
                options.no_responses = True
                if not options.quiet:
                    say(f"{source.name} has one direction only: recorded as with --no-responses")
            header = describe_recording(options, source, watched, secret, started_unix)
            profile.start(header, started_ns)
            lower_priority(options.nice)
            drop_privileges(user)
            emit, emit_connection = profile.add, profile.add_connection
            responses = not options.no_responses
            matcher = Matcher(
                *(emit, emit_connection, secret, responses, source.reads, source.server),
                on_key=names.add if names else None,
            )
            status = Status(watched, matcher, profile, source, quiet=options.quiet)
            for segments in segment_batches(source, stop, started_ns, options.duration):
                matcher.process(segments)
                if profile.is_due():
                    matcher.ledger.kernel = source.counters()
                    profile.flush(matcher.ledger)
                status.update()
            matcher.process(())  # twice: closed connections wait for a batch
            matcher.process(())
            matcher.finish()
            matcher.ledger.kernel = source.counters()
        empty = not matcher.operations and not options.allow_empty
        duration = (stop.ended_ns - started_ns) / NS_PER_SECOND
        profile.finish(matcher.ledger, {"duration_seconds": duration}, empty)
    status.finish(duration, empty)
    if profile.abandoned:
        raise KeyboardInterrupt
    if empty:
        raise NothingRecorded(
            f"nothing was recorded: {explain_silence(watched, matcher)}",
            (f"{printable(profile.path)} is kept as it was; " if profile.keeps_old else "")
            + "use --allow-empty if that is expected",
        )
    if options.strict and is_incomplete(matcher.ledger.report()):
        remedy = loss_remedy(matcher.ledger.report()) or "the coverage above tells what was lost"
        raise MembenchError("more than 1 % of the traffic was lost", remedy)
    return 0


def key_space(secret: bytes) -> str:
    """Tells whether two profiles have the same secret, not which."""
    return hash_of_keys(secret)(b"key space").to_bytes(8, "little").hex()


SALT_FILE_MAX = 1 << 16


def parse_salt(text: str) -> bytes:
    """An argparse type: 8 to 64 bytes in hexadecimal."""
    with contextlib.suppress(ValueError):
        if 8 <= len(bytes.fromhex(text)) <= 64:
            return bytes.fromhex(text)
    raise argparse.ArgumentTypeError("a salt has 16 to 128 hexadecimal digits")


def read_file(path: str, hint: str, most_bytes: int = -1) -> bytes:
    """What is in a file that the user named, or on stdin for -."""
    try:
        with open(0 if path == "-" else path, "rb") as file:
            return file.read(most_bytes)
    except OSError as error:
        raise MembenchError(f"cannot read {name_of(path)}: {error.strerror}", hint) from None


def read_salt(path: Optional[str]) -> bytes:
    """The secret in a file, or on stdin for -, in hexadecimal; without a path, a new one.

    Raises MembenchError, which does not tell what the file holds.
    """
    if path is None:
        return os.urandom(32)
    text = read_file(path, "give a file that holds a salt", SALT_FILE_MAX)
    try:
        return parse_salt(text.decode("ascii", "replace").strip())
    except argparse.ArgumentTypeError as error:
        raise MembenchError(
            f"{name_of(path)} holds no salt: {error}", "openssl rand -hex 32 makes one"
        ) from None


def choose_names(options: argparse.Namespace) -> Optional[KeyNames]:
    """What --keys asks for; None: only hashes."""
    if not options.group_by:
        return None
    if not options.quiet:
        say(f"warning: the profile holds the {options.keys} of its keys, for whoever can read it")
    return KeyNames(options.group_by[1], options.keys == "names")


def wait_for_start(source: Source, stop: Stop) -> Tuple[int, float]:
    """When the recording began, as Source.started; now, if it was ended before it began."""
    while not stop.requested:
        start = source.started(POLL_MS)
        if start:
            return start
    source.stop()  # then a capture has begun, too
    return source.started(0) or (source.now(), time.time())


def segment_batches(
    source: Source, stop: Stop, started_ns: int, duration: Optional[float]
) -> Iterator[List[Segment]]:
    """Batches of segments until the duration is over, a signal came, or the file ended.

    Then what the source, which is stopped, had seen by then. The wait for the next batch is
    chosen so that about SEGMENTS_AT_ONCE come: waking up costs as much as some dozens of
    segments, but larger batches keep the CPU from the server for longer at a time.
    """
    gc.freeze()  # a recording makes hardly any reference cycles: look seldom
    gc.set_threshold(100_000)
    end_ns = math.inf if duration is None else started_ns + duration * NS_PER_SECOND
    wait_ms = POLL_MS
    while not stop.requested and source.now() < end_ns:
        segments = source.read(wait_ms)
        if segments is None:
            break
        wait_ms = wait_ms * SEGMENTS_AT_ONCE // max(len(segments), 1)
        wait_ms = min(max(wait_ms, POLL_MS), POLL_MS_MAX)
        yield segments
    stop.ended_ns = source.now()
    source.stop()
    yield from iter(lambda: source.read(0) or [], [])


def open_source(options: argparse.Namespace, watched: Watched) -> Source:
    """The source that the user named; with none named, eBPF, or else packets."""
    kind, place = options.source
    interface = None if place == "any" or watched.unix_path else place
    ring_mib = options.ring_size or 64
    if kind == "file":
        return CaptureSource(place, watched.ports, options.filter)
    if kind == "packet":
        return PacketSource(watched.ports, interface, ring_mib, options.filter)
    try:
        return open_ebpf(options, watched, interface, ring_mib)
    except SourceError as error:
        if kind != "auto":
            raise
        ebpf_error = error
    try:
        source = PacketSource(watched.ports, None, ring_mib)
    except SourceError as error:
        raise SourceError(
            f"neither eBPF nor packet capture works here: {ebpf_error}; {error}",
            ebpf_error.hint,
        ) from None
    if not options.quiet:
        say(f"Falling back to packet capture: {ebpf_error}")
    return source


def open_ebpf(
    options: argparse.Namespace, watched: Watched, interface: Optional[str], ring_mib: int
) -> EbpfSource:
    """Record at the sockets."""
    image = None
    if options.bpf_object:
        image = read_file(options.bpf_object, "give an object file such as bpf/programs.bpf.o")
    path = watched.unix_path
    source = EbpfSource(
        watched.ports,
        interface=interface,
        hook=options.hook,
        responses=not options.no_responses,
        ring_mib=ring_mib,
        image=image,
        verbose=options.verbose,
        side=watched.side,
        pid=watched.pid,
        unix_path=path,
        bound_path=bound_unix_path(path, watched.servers) if path else "",
    )
    for server in watched.servers:
        for port in server.ports:  # learns their names while it has the privileges
            source.server(port, server.pid, 0, b"")
    return source


def describe_recording(
    options: argparse.Namespace,
    source: Source,
    watched: Watched,
    secret: bytes,
    started_unix: float,
) -> Dict[str, Any]:
    """The header of a profile."""
    elsewhere = options.source[0] == "file"  # it is not known on which machine it was captured
    return {
        "membench": VERSION,
        "source": source.name,
        "hook": source.hook,
        "side": watched.side,
        "host": "" if elsewhere else platform.node(),
        "kernel": "" if elsewhere else platform.release(),
        "ports": watched.ports,
        "responses": not options.no_responses,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_unix)),
        "started_unix": started_unix,
        "key_space": key_space(secret),
        "keys": options.keys,
        **({"group_by": options.group_by[0]} if options.group_by else {}),
    }


class Status:
    """The messages of a recording: what is recorded, a live line, hints, and a summary."""

    HINT_AFTER = 5.0  # seconds without traffic

    def __init__(
        self,
        watched: Watched,
        matcher: Matcher,
        profile: ProfileWriter,
        source: Source,
        *,
        quiet: bool,
    ) -> None:
        self._watched = watched
        self._matcher = matcher
        self._profile = profile
        self._source = source
        self._quiet = quiet
        self._live = LiveLine(quiet)
        self._started = self._shown_at = time.monotonic()
        self._before = (0, 0, 0, 0)
        self._hint_at = self._started + self.HINT_AFTER
        place = "" if watched.unix_path else f" from {source.name}"
        how = f"{source.hook} hook" if source.hook in HOOKS else source.hook
        self._say(f"recording {watched.why}{place} ({how}); press Ctrl-C to stop")
        absent = watched.absent()
        if absent:
            self._say(f"{absent} yet: waiting")

    def _say(self, text: str, always: bool = False) -> None:
        if always or not self._quiet:
            self._live.clear()
            say(text)

    def update(self) -> None:
        """Call often; does its work once a second."""
        now = time.monotonic()
        passed = now - self._shown_at
        if passed < LiveLine.INTERVAL:
            return
        self._shown_at = now
        self._matcher.ledger.kernel = self._source.counters()
        if self._live.is_on:
            self._live.show(self._fields(now - self._started, passed))
        if now >= self._hint_at:
            self._hint_at = math.inf
            if not self._matcher.operations:
                why = explain_silence(self._watched, self._matcher)
                self._say(f"no memcached traffic so far: {why}")

    def _fields(self, elapsed: float, passed: float) -> List[str]:
        """What happened since the last call, `passed` seconds ago, and in all."""
        matcher, kernel = self._matcher, self._matcher.ledger.kernel
        moved_bytes = kernel.get("recv_bytes", 0) + kernel.get("send_bytes", 0)
        now = (matcher.operations, matcher.hits, matcher.misses, moved_bytes)
        operations, hits, misses, moved = (new - old for new, old in zip(now, self._before))
        self._before = now
        lost = matcher.ledger.report(final=False)["bytes_lost"]
        p99 = f"{self._profile.latency_p99_ns / 1000:,.0f} us" if operations else "-"
        return [
            f"{elapsed:4.0f} s",
            f"{operations / passed:7,.0f} ops/s",
            f"lost {human_bytes(lost):<5}",
            f"hits {hit_ratio(hits, misses):>6}",
            f"all {hit_ratio(matcher.hits, matcher.misses):>6}",
            f"p99 {p99:>9}",
            f"{moved / passed / 1e6:7,.1f} MB/s",
            f"conns {matcher.open_count:,}",
            f"file {human_bytes(self._profile.written_bytes)}",
        ]

    def finish(self, duration: float, discarded: bool) -> None:
        """The last lines: what the profile holds, what to do with it, what was lost."""
        matcher, profile = self._matcher, self._profile
        ratio = f", hit ratio {hit_ratio(matcher.hits, matcher.misses)}"
        self._say(
            f"{matcher.operations:,} operations in {duration:.1f} s"
            f"{ratio if matcher.hits + matcher.misses else ''}, "
            f"{matcher.total_count:,} connection{'s' * (matcher.total_count != 1)}"
            f"{'' if discarded else f', {human_bytes(profile.written_bytes)} bytes written'}"
        )
        if profile.is_file and not discarded:
            self._say(f"next: {PROGRAM} analyze {printable(profile.path)}")
        for remark in self._source.remarks:
            say(remark)
        report = matcher.ledger.report()
        kernel = report["kernel"]
        for unseen in unseen_lines(report):
            self._say(unseen)
        line = "coverage " + loss_line(report)
        if kernel.get("unreadable_bytes"):
            line += f"; {kernel['unreadable_bytes']:,} bytes moved by calls that cannot be read"
        incomplete = is_incomplete(report)
        if incomplete or report["events_lost"]:
            remedy = loss_remedy(report)
            line += f"; {remedy}" if remedy else ""
        if incomplete:
            line += "; INCOMPLETE: more than 1 % was lost, so counts are lower bounds"
        self._say(line, always=incomplete)


def hit_ratio(hits: int, misses: int) -> str:
    """98.7%, or - for none."""
    return f"{hits / (hits + misses):.1%}" if hits + misses else "-"


# ---- check ----


def check(options: argparse.Namespace) -> int:
    """Print what works on this machine, and why the rest does not."""
    lines: List[str] = []

    def probe(name: str, action: Callable[[], str]) -> bool:
        mark = "yes"
        try:
            text = action()
        except MembenchError as error:
            mark, text = "NO", f"{error}; {error.hint}"
        lines.append(f"{mark:<4} {name:<16} {text}")
        return mark == "yes"

    def probe_machine() -> str:
        require_bpf()
        return f"Linux {platform.release()}, BTF, privileges"

    def probe_hook(hook: str) -> str:
        with EbpfSource([DEFAULT_PORT], hook=hook, ring_mib=1, verbose=options.verbose):
            return "loads and attaches"

    def probe_packets() -> str:
        with PacketSource([DEFAULT_PORT], ring_mib=2):
            return f"packet:any, or one of: {printable(', '.join(interface_names()))}"

    def probe_libpcap() -> str:
        load_libpcap()
        return "FILE.pcap, FILE.pcapng, or - for a pipe"

    probe("kernel", probe_machine)
    probe("libbpf", lambda: Libbpf().version)
    works = [probe(f"hook {hook}", functools.partial(probe_hook, hook)) for hook in HOOKS]
    works.append(probe("packets", probe_packets))
    probe("capture files", probe_libpcap)
    for server in find_servers():
        places = [ports_text(server.ports)] if server.ports else []
        places += map(printable, server.unix_paths)
        lines.append(f"     {'memcached':<16} pid {server.pid}: {', '.join(places)}")
    lines.append(f"record would{'' if any(works) else ' not'} work here.")
    print_result("\n".join(lines))
    return 0 if any(works) else 1


# ==== Analyzing, comparing, replaying =================================================


def report_width() -> int:
    """The columns of the terminal that a report goes to; 80 in a pipe."""
    return min(max(columns_of(sys.stdout) or WIDTH, WIDTH_MIN), WIDTH_MAX)


def analyze_command(options: argparse.Namespace) -> int:
    """Print the report on the profiles."""
    if (options.why or options.mrc) and chosen_slice(options):
        which = "--why" if options.why else "--mrc"
        raise UsageError(f"{which} follows keys from the start: it takes no slice", "omit one")
    for path in options.profile if options.why or options.mrc else ():
        require_file(path)
    wanted = Wanted(chosen_slice(options), options.slowest)
    counts, report = analyze_whole(options.profile, wanted)
    if options.names:
        secret = options.salt or read_salt(options.salt_file)
        report["keys"]["listed"] = name_hashes(report, counts, options.names, secret)
    rules = plain_rules(report, counts)
    if options.why and report["misses"] is None:
        say("--why has nothing to tell: responses were not recorded")
    elif options.why:
        explain(report, options.profile, options.slab_factor)
        rules = chain((rule for rule in rules if rule[0] != "misses"), why_rules(report))
    report["findings"] = find(rules)
    if options.mrc:
        report["miss_ratio_curve"] = miss_ratio_curve(options.profile, counts)
    if options.json:
        print_result(json.dumps(report, indent=1))
    else:
        print_result(render(report, options.by_server, report_width()), paint)
    for profile in report["profiles"]:
        if not profile["complete"]:
            say(f"{name_of(profile['path'])} is truncated; its complete blocks were read")
    return 0


def chosen_slice(options: argparse.Namespace) -> Optional[Slice]:
    """The slice that was asked for, if one was."""
    found = Slice(
        *(options.begin, options.end, options.commands, options.connections, options.server)
    )
    begin, end = options.begin or 0.0, options.end or math.inf
    if end <= begin and (end >= UNIX_TIME_MIN) == (begin >= UNIX_TIME_MIN):
        raise UsageError("--to must be later than --from", "swap them")
    return found if any(part not in (None, [], "") for part in found) else None


def name_hashes(report: Dict[str, Any], counts: Counts, path: str, secret: bytes) -> Dict[str, Any]:
    """Give the hottest keys their names, from a list; what the report says about that."""
    if key_space(secret) not in [profile["key_space"] for profile in report["profiles"]]:
        raise MembenchError(
            f"no key in {name_of(path)} is in the profile: it was not recorded with this salt",
            "give the salt that record was given; without one, keys cannot be named",
        )
    hash_key, known = hash_of_keys(secret), counts.keys.counts
    top = {int(one["key"], 16): one for one in report["keys"]["top"]}
    listed, found, hottest = 0, 0, set()
    for key in listed_keys(path):
        hashed = hash_key(key)
        listed += 1
        found += hashed in known
        if hashed in top:
            top[hashed]["name"] = escaped(key)
            hottest.add(hashed)
    return {"path": path, "keys": listed, "found": found, "hottest_found": len(hottest)}


def listed_keys(path: str) -> Iterator[bytes]:
    """The keys in a file, or on stdin for -: one a line, or as `lru_crawler metadump` has them."""
    from urllib.parse import unquote_to_bytes  # only here, since it takes long

    dumped = None
    try:
        with open(0 if path == "-" else path, "rb") as file:
            for line in iter(functools.partial(file.readline, LINE_MAX), b""):
                found = re.match(rb"key=(\S+) exp=", line)
                dumped = found or dumped
                key = unquote_to_bytes(found[1]) if found else line.rstrip(b"\r\n")
                if found or (key and not (dumped and key == b"END")):
                    yield key
    except OSError as error:
        raise MembenchError(
            f"cannot read {name_of(path)}: {error.strerror}", "give a list of keys"
        ) from None


def compare_command(options: argparse.Namespace) -> int:
    """Print two profiles side by side; 0 if they are the same, 1 if something changed, or 3."""
    try:
        for path in (options.first, options.second):
            require_file(path)
        if options.exact:
            result = compare_exactly(options.first, options.second)
        else:
            result = compare(options.first, options.second, options.tolerance)
        if options.json:
            print_result(json.dumps(result, indent=1))
        else:
            print_result(render_comparison(result, report_width()), paint)
    except MembenchError as error:
        error.status = 3  # 1 would say that something changed
        raise
    return {SAME: 0, CHANGED: 1, NOT_ENOUGH: 3}[result["verdict"]]


def require_file(path: str) -> None:
    """Raise ProfileError if a profile cannot be read twice."""
    if path == "-" or not os.path.isfile(path):
        with ProfileReader(path):  # its errors are more precise, but it cannot open a pipe
            raise ProfileError(
                f"{name_of(path)} is not a regular file, and is read twice", "save it to a file"
            )


def export_command(options: argparse.Namespace) -> int:
    """Write the operations of a profile in the format of other tools."""
    binary = options.format == "oracle"
    if binary and options.output == "-" and os.isatty(1):
        raise MembenchError("records cannot be written to a terminal", "name a file, or use a pipe")
    with contextlib.suppress(OSError):
        profile = 0 if options.profile == "-" else options.profile
        if options.output != "-" and os.path.samefile(profile, options.output):
            raise UsageError("the export would replace its own profile", "choose another OUTPUT")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ProfileReader(options.profile) as reader, new_file(options.output, options.force) as file:
        reader.part = chosen_slice(options)
        for piece in EXPORT_FORMATS[options.format](reader):
            file.write(piece)
    if reader.part:
        say(f"{reader.left_out:,} of {reader.rows:,} operations are not in this slice")
    if not reader.complete:
        say(f"{name_of(reader.path)} is truncated; its complete blocks were exported")
    loss = sum_ledgers([reader.ledger])
    if is_incomplete(loss):
        say(f"{name_of(reader.path)} is incomplete: {loss_line(loss)}")
    return 0


# ---- replay ----


def replay(options: argparse.Namespace) -> int:
    """Send a profile's requests to a target, and report.

    1 if one was not sent or not answered, 128 + the signal's number if a signal ended it.
    """
    if options.merge:
        return merge_command(options)
    path = options.profile[0]
    found = survey(path, options.shard)
    if not found.reader.rows:
        raise MembenchError(f"{printable(path)} holds no operations", "record some traffic first")
    options.workers = max(min(options.workers or usable_cpus(), found.connections), 1)
    target = resolve_target(options.target) if options.target else None
    if options.dry_run or target is None:
        print_result(fit(render_plan(options, found, target), report_width()))
        return 0
    if not hasattr(select, "epoll"):
        raise MembenchError(
            f"replay needs Linux (epoll); this is {platform.system()}", "run it on a Linux machine"
        )
    write_results(options.stats_json, None)
    if not agreed(options, found, target):
        say("Aborted.")
        return 1
    raise_file_limit(files_needed(options, found))
    with Stop() as stop:
        refused = preload(options, found, target, stop) if options.preload else 0
        options.preload = False
        joined = run_workers(options, found, target, stop)
    joined["counts"]["preload_refused"] = refused
    if joined["ended_by"] and stop.requested:
        joined["ended_by"] = "signal"
    report = replay_report(describe_replay(options, found, joined["started_unix"]), joined)
    write_results(options.stats_json, report)
    if report["requests"] or not report["fatal"]:
        print_result(render_replay(report, report_width()))
    if report["fatal"]:
        raise MembenchError(*report["fatal"])
    if report["ended_by"] == "signal":
        return 128 + stop.number
    return 1 if report["failed_requests"] else 0


def preload(options: argparse.Namespace, found: Survey, target: Target, stop: Stop) -> int:
    """Store what the recorded server held. Returns how many values were refused."""
    how = {"speed": 0.0, "start_at": 0.0, "duration": None}
    filled = run_workers(argparse.Namespace(**{**vars(options), **how}), found, target, stop)
    if not stop.requested:
        if filled["fatal"]:
            raise MembenchError(*filled["fatal"])
        for kind in filled["counts"]["connection_failures"]:
            raise MembenchError(
                f"cannot fill {printable(target.name)}: {kind} error",
                "check the target; nothing was replayed",
            )
    report = report_all(filled["counts"], ())
    if not options.quiet:
        stored = report["outcomes"].get("stored", 0)
        say(f"preloaded {stored:,} key{'s' * (stored != 1)}")
    return int(report["errors"]["server"])


def describe_replay(
    options: argparse.Namespace, found: Survey, started_unix: float
) -> Dict[str, Any]:
    """What the results are about."""
    header = found.reader.header
    side = str(header.get("side", "server"))  # where latency was measured: server or client
    if side == "server" and not str(header.get("source", "")).startswith("ebpf"):
        side = "capture"
    return {
        "membench_replay": 1,
        "profile": found.reader.path,
        "target": options.target,
        "speed": options.speed or "max",
        "shards": [str(options.shard)],
        "workers": options.workers,
        "duration_seconds": round(max(time.time() - started_unix, 0), 3) if started_unix else 0.0,
        "recorded": {
            "side": side,
            "responses": bool(header.get("responses", True)),
            "keys": found.reader.keys_kept,
            "duration_seconds": round(found.reader.seconds(), 3),
            "operations": found.reader.rows * options.loop_mode or None,
        },
    }


def read_results(path: str) -> Dict[str, Any]:
    """What --stats-json wrote. Raises MembenchError on anything else."""
    text = read_file(path, "check the name")
    try:
        result: Dict[str, Any] = json.loads(text)
        if result["membench_replay"] != 1:
            raise ValueError
        render_replay(merge_results([result]))  # these are results if that can be done
    except MALFORMED:
        raise MembenchError(
            f"{printable(path)} does not hold the results of a replay",
            "make them with: membench.py replay ... --stats-json FILE",
        ) from None
    return result


def merge_command(options: argparse.Namespace) -> int:
    """Show the merged results of shards. 1 if a request failed, or a shard is missing."""
    results = [read_results(path) for path in options.profile]
    try:
        report = merge_results(results)
        text = render_replay(report, report_width())
    except MALFORMED:
        raise MembenchError(
            "these results do not belong to one replay", "give those of a single replay"
        ) from None
    write_results(options.stats_json, report)
    print_result(text)
    missing = report["missing_shards"]
    if missing:
        more = f" and {len(missing) - 10:,} more" if len(missing) > 10 else ""
        say(f"warning: results of shard {', '.join(missing[:10])}{more} are missing")
    return 1 if report["failed_requests"] or missing else 0


def write_results(path: Optional[str], report: Optional[Dict[str, Any]]) -> None:
    """--stats-json: put in place when it is complete. None: only try, before anything is sent."""
    if not path:
        return
    new, mode = f"{path}.{os.getpid()}.new", "x"
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        new, mode = path, "w"  # a device, or a pipe: written to, not replaced
    try:
        if report or new != path:
            with open(new, mode, encoding="utf-8") as file:
                json.dump(report, file, indent=1)
        if report and new != path:
            os.replace(new, path)
    except OSError as error:
        raise MembenchError(
            f"cannot write {printable(path)}: {error.strerror}", "choose another path"
        ) from None
    finally:
        if new != path:
            with contextlib.suppress(OSError):
                os.unlink(new)


def resolve_target(text: str) -> Target:
    """HOST:PORT, [IPV6]:PORT or unix:PATH as an address. Raises MembenchError."""
    if text.startswith("unix:"):
        return Target(socket.AF_UNIX, text[5:], text)
    host, _, port = text.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise MembenchError(
            f"cannot find the host of {printable(text)}", "check the name"
        ) from None
    return Target(found[0][0], found[0][4], text)


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    found = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()  # not on macOS
    return len(found) or os.cpu_count() or 1


def agreed(options: argparse.Namespace, found: Survey, target: Target) -> bool:
    """Say what will be done; ask, unless --yes. Raises MembenchError if nobody can be asked."""
    what = (
        f"replaying {printable(found.reader.path)} over {found.connections:,} "
        f"connection{'s' * (found.connections != 1)} to "
        f"{printable(target.name)}; this writes, changes and deletes its items"
    )
    if options.yes:  # then the target gets no request but the recorded ones
        if not options.quiet:
            say(what)
        return True
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise MembenchError(
            f"a replay writes to {printable(target.name)}",
            "no terminal to confirm on; use --yes",
        )
    try:
        about = describe_target(target)
    except OSError as error:
        raise MembenchError(
            f"cannot connect to {printable(target.name)}: {why_unreachable(error)}",
            "start the target first, and check its address",
        ) from None
    say(f"{what}; it {about}.")
    write_stderr("Go on? [y/N] ")
    answer = ""
    try:
        answer = sys.stdin.readline()
    finally:
        if not answer.endswith("\n"):  # Ctrl-C or Ctrl-D: the cursor is behind the question
            write_stderr("\n")
    return answer.strip().lower() in ("y", "yes")


STATS_SECONDS = 2.0


def describe_target(target: Target) -> str:
    """What was found at a target, as the end of a sentence. Asks for its stats.

    Raises OSError if it cannot be reached.
    """
    line = b""
    with target.connect(STATS_SECONDS) as link:
        try:
            link.sendall(b"stats\r\n")
            replies = link.makefile("rb")
            for line in islice(iter(lambda: replies.readline(4096), b""), 1000):
                found = re.match(rb"STAT curr_items ([0-9]+)\r\n", line)
                if found:
                    items = int(found[1])
                    return f"holds {items:,} items now" if items else "holds no items now"
                if not line.startswith(b"STAT "):
                    break
        except OSError as error:
            return f"did not give its stats: {error.strerror or error}"
    answer = f"answers {printable(repr(line[:60])[1:])}" if line else "closes the connection"
    return f"is not a memcached that gives its stats: it {answer}"


def why_unreachable(error: OSError) -> str:
    """What an attempt to connect to a target tells."""
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return "nothing listens there"
    return f"it cannot be reached: {error.strerror or error}"


SPARE_FILES = 32  # what a worker has open besides its connections


def files_needed(options: argparse.Namespace, found: Survey) -> int:
    """How many files each worker has open at most."""
    return -(-found.peak // int(options.workers)) + SPARE_FILES


def raise_file_limit(wanted: int) -> None:
    """Allow a process so many open files, or as many as possible; see Target.connect."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < wanted:  # below 0: unlimited
        # Root may raise the hard limit, too.
        for limits in ((wanted, max(hard, wanted) if hard >= 0 else hard), (hard, hard)):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                return


def render_plan(
    options: argparse.Namespace, found: Survey, target: Optional[Target]
) -> Iterator[str]:
    """What a replay would send, how long it takes, what it needs: --dry-run."""
    reader, tally = found.reader, Tally()
    schedule = Schedule(tally, options.include)
    requests: Counter[str] = Counter()
    sent_bytes = writes = 0
    for batch in chain.from_iterable(schedule.batches(reader.path, options.shard)):
        writes += batch.kind == SEND
        requests.update(sent[1].command for sent in batch.requests)
        sent_bytes += sum(len(part() if callable(part) else part) for part in batch.parts)
    length = "as long as the target needs"
    if options.speed and reader.seconds():
        length = f"{human_seconds(reader.seconds() / options.speed)} per pass"
    passes = f"{options.loop_mode or 'endless'} pass{'es' * (options.loop_mode != 1)}"
    processes = f"{options.workers} process{'es' * (options.workers != 1)}"
    yield f"{printable(reader.path)}: dry run, nothing was replayed"
    yield from held_line(reader.keys_kept)
    yield f"  requests     {total_of(requests):,} in {writes:,} writes, {human_bytes(sent_bytes)}"
    for name, times in requests.most_common():
        yield f"    {printable(name):<10} {times:,}"
    yield f"  connections  {found.connections:,} (at most {found.peak:,} open at once)"
    yield f"  duration     {length}, {passes}"
    yield f"  needs        {processes}, each with up to {files_needed(options, found):,} open files"
    for name, times in sorted(tally.counts["skipped"].items()):
        yield f"  skipped      {printable(name)} {times:,}"
    about = "no --target was given"
    if target:
        try:
            about = f"{printable(target.name)} {describe_target(target)}"
        except OSError as error:
            about = f"{printable(target.name)}: {why_unreachable(error)}"
    yield f"  the target   {about}"
    if options.preload:
        sizes = [size for _, size in preload_items(reader.path, options.shard, KeyTexts())]
        yield f"  preload      {len(sizes):,} values, {human_bytes(sum(sizes))}"
    if schedule.keys.shared:
        yield f"  short keys   {schedule.keys.shared:,} may collide with another key"
    if not reader.complete:
        yield "  the profile is truncated: only data up to the last complete block will be replayed"


# ==== Command line ====================================================================

EXAMPLES = """\
examples:
  sudo membench.py record                      all servers here, until Ctrl-C
  sudo membench.py record --duration 1m        for a minute
  sudo membench.py record --port 11212 out.profile
  sudo membench.py record ebpf:eth0            only what comes in by eth0
  sudo membench.py record ebpf:unix:/run/memcached.sock
  sudo membench.py record --keys groups        also keep groups of keys
  sudo membench.py record --side client        what this machine's clients see
  sudo membench.py record ebpf:any - | ssh host 'cat > out.profile'
  sudo membench.py record packet:eth0          packets, where eBPF does not work
  membench.py record traffic.pcap out.profile  what tcpdump -w captured
  tcpdump -U -w - tcp port 11211 | membench.py record - out.profile
  membench.py analyze out.profile
  membench.py analyze --why out.profile        causes of misses, waste
  membench.py analyze --mrc out.profile        how much would more memory help?
  membench.py analyze --json out.profile | jq .hit_ratio
  membench.py analyze --names KEYS --salt-file SALT out.profile
  membench.py analyze out.profile --from 30s --to 1m --command get
  membench.py analyze out.profile --slowest 20
  membench.py compare before.profile after.profile
  membench.py compare --tolerance 10 before.profile after.profile
  membench.py export out.profile --format csv out.csv
  membench.py replay out.profile --target localhost:11212
  sudo membench.py check                       what works on this machine
"""

RECORD_NOTES = """\
A profile holds no value, and no key unless --keys asks for it: keys are hashed
with a random secret that each recording makes and never stores. With --keys
groups, no whole key is kept. The file's mode is 0600.

privileges: after attaching, record drops all privileges to the user who invoked
sudo, who then owns OUTPUT; without sudo it continues as nobody, and root owns
OUTPUT. Instead of root, CAP_BPF and CAP_PERFMON are enough for --hook sock, and
CAP_NET_RAW for packets.

cost: a few hundred nanoseconds of the server's time for each read and each
write, and a few microseconds of another CPU for each operation. --no-responses
takes 60 to 75 % of that CPU with --hook sock-events, but 4 times as much with
--hook sock, as the kernel then pairs nothing.

exit status: 0 if something was recorded; 1 on an error; 2 for wrong usage; 4 if
nothing was recorded.
"""


def examples(command: str) -> str:
    """Those of one command."""
    lines = [line for line in EXAMPLES.splitlines() if f"membench.py {command}" in line]
    return "\n".join(["examples:", *lines])


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help of 80 columns at most. To ask for the width itself, argparse would import much."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(columns_of(sys.stdout) or 80, 80) - 2)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, without control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(printable(message), f"try {self.prog} --help")

    def format_help(self) -> str:
        return super().format_help().replace("membench.py ", PROGRAM + " ")


class VersionAction(argparse.Action):
    """--version: membench's, Python's, the kernel's and libbpf's."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            libbpf = Libbpf().version
        except SourceError:
            libbpf = "not found"
        print_result(
            f"membench {VERSION}\nPython {platform.python_version()}\n"
            f"{platform.system()} {platform.release()} ({platform.machine()})\nlibbpf {libbpf}"
        )
        parser.exit()


def parse_args(arguments: Sequence[str]) -> argparse.Namespace:
    """The finished options. Raises UsageError; exits with 0 after --help."""
    parser = Parser(
        prog=PROGRAM,
        description="Record, analyze, compare, export and replay live memcached traffic.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action=VersionAction, nargs=0, help="print versions and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_record_arguments(commands)
    add_analyze_arguments(commands)
    add_replay_arguments(commands)
    add_compare_arguments(commands)
    add_export_arguments(commands)
    sub = commands.add_parser(
        "check",
        help="print what works on this machine",
        description="Print what works on this machine, and why the rest does not: the kernel,\n"
        "libbpf, each kind of hook, packet capture; and the memcached servers found.\n"
        "Loads the kernel programs for a moment, and records nothing.",
        epilog="exit status: 0 if record would work here, 1 if not.\n\n" + examples("check"),
    )
    add(sub, "-v --verbose", VERBOSE_HELP)
    sub.set_defaults(run=check)
    command = next((one for one in arguments if one in commands.choices), "")
    if command and re.match("--?[a-z]", arguments[0]) and not re.match("-h|--h|--v", arguments[0]):
        parser.error(f"{arguments[0]} goes behind the command: {command} {arguments[0]}")
    if arguments and arguments[0] in commands.choices:
        # Of a subparser argparse would not take options between SOURCE and OUTPUT.
        options = commands.choices[arguments[0]].parse_intermixed_args(arguments[1:])
    else:
        options = parser.parse_args(arguments)
    if options.run is record:
        finish_record_options(options.parser, options)
    if options.run is analyze_command:
        finish_analyze_options(options.parser, options)
    if options.run is replay:
        finish_replay_options(options.parser, options)
    return options


def add(group: Any, names: str, about: str, **more: Any) -> None:
    """Add an option. names: as in "-o --output FILE"; without FILE or `more` it is a flag."""
    flags = [name for name in names.split() if name.startswith("-")]
    for metavar in names.split()[len(flags) :]:
        more["metavar"] = metavar
    group.add_argument(*flags, help=about, **(more or {"action": "store_true"}))


# ---- Types of options ----

Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


def option_type(expected: str, convert: Callable[[str], Value]) -> Callable[[str], Value]:
    """An argparse type. convert: raises ValueError if the text is not what is expected."""

    def parse(text: str) -> Value:
        try:
            return convert(text)
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(f"{printable(text)!r} is not {expected}") from None

    return parse


def within(lowest: float, value: Number, highest: float) -> Number:
    """The value. Raises ValueError if it is outside."""
    if lowest <= value <= highest:
        return value
    raise ValueError


def number_within(what: str, lowest: int, highest: int) -> Callable[[str], int]:
    """An argparse type: a whole number within bounds."""
    expected = f"a {what} from {lowest} to {highest}"
    return option_type(expected, lambda text: within(lowest, int(text), highest))


UNIT_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def to_seconds(text: str) -> float:
    """90, 90s, 1.5m, 1h30m, as reports print it."""
    parts = re.findall(r"([0-9]*\.?[0-9]+)(ms|s|m|h|d|$)", text)
    if "".join(map("".join, parts)) != text:
        raise ValueError
    return within(1e-9, sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts), 1e9)


def to_passes(text: str) -> int:
    """How often a profile is replayed; 0: endlessly."""
    if text in ("once", "infinite"):
        return 1 if text == "once" else 0
    if not re.fullmatch(r"times:[0-9]+", text):
        raise ValueError
    return within(1, int(text[6:]), math.inf)


def to_moment(text: str) -> float:
    """A future time, as a Unix time."""
    return within(time.time(), to_unix(text), time.time() + 366 * 86400)


def to_point(text: str) -> float:
    """A point in time of a Slice: since the start of a recording, or a Unix time."""
    with contextlib.suppress(ValueError):
        return to_seconds(text[text.startswith("+") :])
    return within(UNIX_TIME_MIN, to_unix(text), 1e11)


def to_unix(text: str) -> float:
    """A Unix time, or an ISO time with Z or an offset, as a Unix time."""
    import datetime

    if not re.fullmatch(r"[0-9.]+", text):
        found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        text = str(found.timestamp()) if found.tzinfo else ""
    return float(text)


RING_MIB = tuple(1 << power for power in range(11))
parse_ring_size = option_type(
    "a power of two such as 16 or 64, up to 1024", lambda text: RING_MIB[RING_MIB.index(int(text))]
)
parse_duration = option_type("a time above 0 such as 90, 90s, 1.5m or 2h", to_seconds)
tolerance = option_type(
    "a percentage such as 5 or 2.5%", lambda text: within(1e-6, float(text.rstrip("%")), 1000) / 100
)
replay_speed = option_type(  # 0: max
    "max or a number such as 2.5",
    lambda text: 0.0 if text == "max" else within(0.001, float(text), 100_000),
)
loop_mode = option_type("once, times:N or infinite", to_passes)
shard = option_type("I/N with I from 0 to N-1", parse_shard)
group_by = option_type(
    "a delimiter such as ':' or ':2', or a regular expression with a group", parse_group_by
)
point = option_type(
    "a time such as 90s or 1.5m since the start, or 2026-11-25T12:00:00Z, or Unix seconds", to_point
)
moment = option_type("a future time such as 2027-01-01T12:00:00Z or Unix seconds", to_moment)

# ---- The commands ----

VERBOSE_HELP = "show the verifier's log on failure"


def add_record_arguments(commands: Any) -> None:
    """The options of `record`."""
    sub = commands.add_parser(
        "record",
        usage="%(prog)s [SOURCE] [OUTPUT] [OPTION]...",
        help="record live traffic into a profile",
        description="Record live memcached traffic into a profile.",
        epilog=RECORD_NOTES + "\n" + examples("record"),
    )
    sub.set_defaults(run=record, parser=sub)
    # One argument for both, which finish_record_options tells apart.
    sub.add_argument(
        "places",
        nargs="*",
        metavar="SOURCE, OUTPUT",
        help="SOURCE: ebpf:any or ebpf:INTERFACE; ebpf:unix:PATH; packet:any or "
        "packet:INTERFACE; a capture file, or - for a capture on stdin. Default: eBPF, or "
        "packets where eBPF does not work. OUTPUT: a name that ends in .profile, or - for stdout. "
        "Default: membench-<UTC time>.profile",
    )
    add_traffic_options(sub.add_argument_group("what to record"))
    add_output_options(sub.add_argument_group("output"))
    add_machine_options(sub.add_argument_group("how to run"))


def add_traffic_options(group: Any) -> None:
    """The options of `record` that say what to record."""
    about = "the server's port; may be repeated. Default: the ports memcached listens on"
    add(group, "--port P", about, type=number_within("port", 1, 65535), action="append")
    about = "record the server's sockets, or those of the clients on this machine; latency is "
    about += "then the clients'. Default: server"
    add(group, "--side", about, choices=("server", "client"), default="server")
    about = "record only this process; without --port, on the ports it listens on"
    add(group, "--pid N", about, type=number_within("process number", 1, 1 << 22))
    about = "stop after this time, such as 90, 90s, 1.5m or 2h; default: until Ctrl-C or SIGTERM"
    add(group, "--duration TIME", about, type=parse_duration)
    about = "packets and capture files: only what this accepts, in tcpdump's language"
    add(group, "--filter EXPRESSION", about, default="")
    about = "record only requests: no outcomes, no hit ratio and no latency"
    add(group, "--no-responses", about)


def add_output_options(group: Any) -> None:
    """The options of `record` about its output."""
    add(group, "-o --output FILE", "write OUTPUT to FILE, whatever its name is")
    add(group, "--force", "overwrite OUTPUT if it exists, once something was recorded")
    add_salt_options(group, "to compare keys across profiles")
    about = "what to keep of keys: only hashes; also their groups (--group-by); or also their "
    about += "groups and whole names. Default: hashed"
    add(group, "--keys", about, choices=KEYS_KEPT, default=KEYS_KEPT[0])
    about = (
        "a key's group is its part before this delimiter; with a number, as in ':2', its first 2 "
    )
    about += "parts; or what the first group of this regular expression matches. A part of "
    about += "digits becomes #. Default: ':'"
    add(group, "--group-by HOW", about, type=group_by)
    add(group, "--allow-empty", "status 0 even if nothing was recorded")
    add(group, "--strict", "status 1 if more than 1 %% of the traffic was lost")


def add_salt_options(group: Any, why: str) -> None:
    """The options that give the secret for key hashes."""
    about = (
        f"a file with the secret for the key hashes, {why}: 16 to 128 hexadecimal digits; - for "
    )
    add(group, "--salt-file FILE", about + "stdin")
    about = "the secret itself. Every user of this machine can see it in the list of processes"
    add(group, "--salt HEX", about, type=parse_salt)


def add_machine_options(group: Any) -> None:
    """The options of `record` that say how to run."""
    about = "kernel hooks: sock needs Linux 6.3, sock-events is sock without matching "
    about += "replies in the kernel, syscalls costs more; default: the best available"
    add(group, "--hook", about, choices=("auto", *HOOKS), default="auto")
    about = "buffer between kernel and membench, a power of two; default 64"
    add(group, "--ring-size MIB", about, type=parse_ring_size)
    about = "user to run as after attaching, and owner of OUTPUT; default: who invoked sudo"
    add(group, "--user NAME", about)
    about = "CPU niceness of the recorder, 0 to 19; default 5"
    add(group, "--nice N", about, type=number_within("niceness", 0, 19), default=5)
    add(group, "--bpf-object FILE", "load the kernel programs from FILE")
    add(group, "-q --quiet", "print only errors, and a loss of more than 1 %%")
    add(group, "-v --verbose", VERBOSE_HELP)


def add_analyze_arguments(commands: Any) -> None:
    """The options of `analyze`."""
    sub = commands.add_parser(
        "analyze",
        help="report on profiles",
        description="Report on profiles: commands, hit ratio, latency, sizes, TTLs, hot\n"
        "keys, and what was lost.",
        epilog=examples("analyze"),
    )
    sub.add_argument("profile", nargs="+", metavar="PROFILE", help="a file, or - for stdin")
    add(sub, "--json", "one JSON object instead of text")
    add(sub, "--by-server", "also report on each recorded server")
    number = number_within("number", 1, 100_000)
    about = "also list the N slowest requests: when, where, what, how large"
    add(sub, "--slowest N", about, type=number, default=0)
    add_slice_options(sub.add_argument_group("only some of the operations"))
    about = "name the hottest keys from this list: one per line, or the output of memcached's "
    about += "'lru_crawler metadump all'; - for stdin. Needs the salt that record was given"
    add(sub, "--names FILE", about)
    add_salt_options(sub, "with --names")
    sub.set_defaults(run=analyze_command, parser=sub)
    add(sub, "--why", "also report why keys were missed, and what memory was spent on")
    add(sub, "--mrc", "also report the miss ratio of LRU caches of other sizes")
    factor = option_type("a factor from 1.01 to 10", lambda text: within(1.01, float(text), 10))
    about = "with --why: the growth factor of memcached's slab chunks (its -f); default 1.25"
    add(sub, "--slab-factor FACTOR", about, type=factor, default=1.25)


def add_slice_options(group: Any) -> None:
    """The options that make a Slice."""
    about = "from this time on: 90s or +1.5m after the start, or 2026-11-25T12:00:00Z"
    add(group, "--from TIME", about, type=point, dest="begin")
    add(group, "--to TIME", "before this time", type=point, dest="end")
    about = "only this command, such as get or mg; may be repeated"
    add(group, "--command NAME", about, action="append", default=[], dest="commands")
    number = number_within("number", 0, U32_MAX)
    about = "only this connection, by its number in an export or --slowest; may be repeated"
    add(
        group, "--connection N", about, action="append", default=[], dest="connections", type=number
    )
    add(group, "--server ADDRESS", "only this server, by its address in the report", default="")


COMPARE_NOTES = """\
rule: a number has "changed" if the difference exceeds both the tolerance (4
times --tolerance for latency) and the "noise", which is 4 standard errors,
estimated from the variation between 20 equal periods of each recording. It is
the "same" if the difference is within that tolerance, and the noise within 4
times that. Everything else is "not enough data", and always with fewer than 100
operations, with fewer than 10 above the percentile, or with traffic in fewer
than about half of the periods.

exit status: 0 if nothing changed, 1 if something did, 2 for wrong usage, 3 if
the two cannot be compared: one cannot be read or has too little in it, or there
is not enough data for most of operations/s, hit ratio, latency p50 and p99.
"""


def add_compare_arguments(commands: Any) -> None:
    """The options of `compare`."""
    sub = commands.add_parser(
        "compare",
        help="print what changed in the traffic between two profiles",
        description="Print what changed in the traffic between two profiles: rates, command mix,\n"
        "hit ratio and other outcomes, latency, sizes, TTLs, connections. What changed\n"
        "most comes first.",
        epilog=COMPARE_NOTES + "\n" + examples("compare"),
    )
    sub.add_argument("first", metavar="BEFORE", help="a profile")
    sub.add_argument("second", metavar="AFTER", help="the profile to compare it with")
    about = "ignore differences up to this percentage, of latency up to 4 times as much; default 5"
    rule = sub.add_mutually_exclusive_group()
    add(rule, "--tolerance PERCENT", about, type=tolerance, default=0.05)
    add(rule, "--exact", "demand equal counts instead, for recordings of the same requests")
    add(sub, "--json", "one JSON object instead of text")
    sub.set_defaults(run=compare_command)


EXPORT_NOTES = """\
formats, all in order of time (docs/export.md has every column):
  csv       all operations, for DuckDB, pandas, Spark; times in ns
  twitter   Twitter's cache-trace, CSV
  oracle    libCacheSim's oracleGeneral, binary: the retrievals
  cachelib  CacheLib's kvcache trace, CSV
  hdr       HdrHistogram's log: latencies of each second, tagged by command

Keys are written as 64-bit hashes, as in the profile. The file's mode is 0600.

examples:
  membench.py export out.profile --format csv out.csv
  membench.py export out.profile --format oracle out.oracleGeneral
  membench.py export out.profile --format csv --from 30s --to 1m minute.csv
  membench.py export out.profile --format hdr out.hlog
"""


def add_export_arguments(commands: Any) -> None:
    """The options of `export`."""
    sub = commands.add_parser(
        "export",
        help="write a profile's operations for other tools",
        description="Write the operations of a profile in the format of other tools.",
        epilog=EXPORT_NOTES,
    )
    sub.add_argument("profile", metavar="PROFILE", help="a file, or - for stdin")
    about = "a new file; - for stdout, which is the default"
    sub.add_argument("output", nargs="?", default="-", metavar="OUTPUT", help=about)
    about = "what to write: " + ", ".join(EXPORT_FORMATS)
    add(sub, "--format FORMAT", about, choices=list(EXPORT_FORMATS), required=True)
    add(sub, "--force", "overwrite OUTPUT if it exists")
    add_slice_options(sub.add_argument_group("only some of the operations"))
    sub.set_defaults(run=export_command)


REPLAY_NOTES = """\
Connections, order, pipelining, multi-gets, dialect, flags, exptimes and sizes
are as recorded. Keys are made from the recorded hashes and have the original
lengths; values are digits. With `--speed N`, requests are sent with original
timing, N times as fast, whether or not earlier ones were answered (open loop);
latency counts from when each was due. With `--speed max`, each connection sends
its next request as soon as it has the reply (closed loop).

A replay writes to its target. flush_all, shutdown and other commands that
change the server itself are skipped and counted, unless --include names them.

exit status: 0 if everything due was sent and answered, even if --duration ended
it early; 1 if not; 2 for wrong usage; 130 after Ctrl-C, 143 after SIGTERM.
Results are written in every case.

examples:
  membench.py replay out.profile --target localhost:11212
  membench.py replay out.profile --target localhost:11212 --preload --speed max
  membench.py replay out.profile --target unix:/run/memcached.sock --speed 2.5
  membench.py replay out.profile --target cache:11211 --dry-run
  membench.py replay out.profile --target cache:11211 --loop-mode infinite \\
      --duration 60
  membench.py replay out.profile --target cache:11211 --yes --shard 0/4 \\
      --start-at 2027-01-01T12:00:00Z --stats-json shard0.json
  membench.py replay --merge shard0.json shard1.json shard2.json shard3.json
"""


def add_replay_arguments(commands: Any) -> None:
    """The options of `replay`."""
    sub = commands.add_parser(
        "replay",
        usage="%(prog)s PROFILE --target ADDRESS [OPTION]...\n"
        "       %(prog)s --merge [--stats-json FILE] RESULTS...",
        help="send a profile's requests to another server",
        description="Send the requests of a profile to another server, as they were recorded,\n"
        "and compare it with the recording.",
        epilog=REPLAY_NOTES,
    )
    sub.add_argument(
        "profile", nargs="+", metavar="PROFILE", help="a file; with --merge, results of shards"
    )
    add(sub, "--target ADDRESS", "HOST:PORT, [IPV6]:PORT or unix:PATH")
    about = "N times as fast as recorded, or max: as fast as the target answers; default 1"
    add(sub, "--speed N|max", about, type=replay_speed, default=1.0)
    about = "once (default), times:N or infinite"
    add(sub, "--loop-mode MODE", about, type=loop_mode, default=1)
    add(sub, "--duration TIME", "stop after this time", type=parse_duration)
    about = "first store what the recorded server must have held, so that hits are possible"
    add(sub, "--preload", about)
    processes = number_within("number of processes", 1, 1024)
    add(sub, "--workers N", "worker processes; default: one per CPU", type=processes)
    about = "give up on a request and its connection after this time; default 5"
    add(sub, "--timeout TIME", about, type=parse_duration, default=5.0)
    names = sorted(GUARDED)
    about = f"also replay this command: {', '.join(names)}; may be repeated"
    add(sub, "--include COMMAND", about, action="append", default=[], choices=names)
    about = "this is machine I (from 0) of N: replay its share of the connections"
    add(sub, "--shard I/N", about, type=shard, default=Shard(0, 1))
    about = "when to start: 2027-01-01T12:00:00Z, or Unix seconds"
    add(sub, "--start-at TIME", about, type=moment, default=0.0)
    add(sub, "--stats-json FILE", "write the results, with histograms, to FILE")
    add(sub, "--merge", "do not replay: merge the results of shards")
    about = "print what would be sent and what that needs; asks a --target only for its stats"
    add(sub, "--dry-run", about)
    add(sub, "-y --yes", "do not ask before writing to the target")
    add(sub, "-q --quiet", "print only results and errors")
    sub.set_defaults(run=replay, parser=sub)


def finish_replay_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Check that the options fit together."""
    if options.merge:
        if options.target:
            parser.error("--merge sends nothing: omit --target")
        return
    for place in options.profile[1:]:
        if is_address(place) and not options.target:
            parser.error(f"the target is given as --target {place}")
    if len(options.profile) != 1 or options.profile == ["-"]:
        parser.error("replay takes one profile, and it must be a file")
    if not options.target:
        if options.dry_run:
            return
        parser.error("replay needs --target HOST:PORT or unix:PATH")
    if not is_address(options.target):
        parser.error(f"{options.target!r} is not HOST:PORT or unix:PATH")
    host = options.target.rpartition(":")[0]
    if ":" in host and not options.target.startswith(("[", "unix:")):
        parser.error("an IPv6 address needs brackets, as in [::1]:11211")


def is_address(text: str) -> bool:
    """Is it HOST:PORT or unix:PATH?"""
    found = re.fullmatch("unix:.+|.+:([0-9]{1,5})", text, re.DOTALL)
    return found is not None and (found[1] is None or 0 < int(found[1]) < 65536)


def is_output(place: str) -> bool:
    """Is it certainly the file to write? Else a mistyped source would become one."""
    return place in ("-", os.devnull) or place.endswith(".profile")


def finish_record_options(parser: Parser, options: argparse.Namespace) -> None:
    """Tell SOURCE and OUTPUT apart, and check that the options fit together."""
    if "" in [*options.places, options.output]:
        parser.error("SOURCE or OUTPUT is an empty string")
    places: List[str] = [*options.places, "", ""]
    source, output, more = places[0], places[1], places[2:]
    if options.output:
        for place in places:
            if is_output(place) and (place != "-" or place != source):
                parser.error(f"OUTPUT is given twice: {place!r} and -o {options.output!r}")
        output, more = options.output, places[1:]
    elif output and not is_output(output):
        parser.error(f"OUTPUT must end in .profile, or follow -o: {output!r}")
    elif not output and is_output(source):
        source, output = "", source
    if any(more):
        parser.error(f"unrecognized arguments: {' '.join(filter(None, more))}")
    options.output = output or time.strftime("membench-%Y%m%dT%H%M%SZ.profile", time.gmtime())
    # To choose among kernel hooks is to want eBPF.
    chosen = options.hook != "auto" or options.bpf_object or options.pid or options.side == "client"
    options.source = ("ebpf" if chosen else "packet" if options.filter else "auto", "any")
    if source:
        options.source = parse_source(parser, source)
    kind, place = options.source
    if kind in ("packet", "file") and (options.pid or options.side == "client"):
        parser.error("--side client and --pid need an ebpf source")
    if options.filter and kind == "ebpf":
        parser.error("--filter needs packets: packet:any, packet:INTERFACE or a capture file")
    if place.startswith("unix:") and (options.port or options.hook == "syscalls"):
        parser.error("a Unix socket has no --port, and needs the sock hook")
    if options.keys != KEYS_KEPT[0]:
        options.group_by = options.group_by or parse_group_by(":")
    elif options.group_by:
        parser.error("--group-by needs --keys groups or --keys names")
    require_one_stdin(parser, options, "a capture", place)


def require_one_stdin(parser: Parser, options: argparse.Namespace, what: str, place: str) -> None:
    """Check that there is one salt, and that it does not come from where something else does."""
    if options.salt and options.salt_file:
        parser.error("give --salt or --salt-file, not both")
    if options.salt_file == "-" and place == "-":
        parser.error(f"{what} and a salt cannot both come from stdin")


def finish_analyze_options(parser: Parser, options: argparse.Namespace) -> None:
    """Check that the options fit together."""
    salted = options.salt or options.salt_file
    if options.names and not salted:
        parser.error("--names needs the salt of the recording: --salt-file FILE")
    if salted and not options.names:
        parser.error("a salt needs --names")
    if options.names == "-" and "-" in options.profile:
        parser.error("a profile and a list of keys cannot both come from stdin")
    place = "-" if "-" in [options.names, *options.profile] else ""
    require_one_stdin(parser, options, "a profile or a list of keys", place)


CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap")


def parse_source(parser: Parser, text: str) -> Tuple[str, str]:
    """(ebpf, packet or file; interface, any, or path)."""
    kind, colon, place = text.partition(":")
    path = place[len("unix:") :] if place.startswith("unix:") else ""
    if kind == "unix" or is_unix_socket(text) or (kind == "ebpf" and place.startswith(("/", "@"))):
        parser.error(f"{text!r} is not a source; a Unix socket is given as ebpf:unix:PATH")
    if os.path.exists(path) and not is_unix_socket(path):
        parser.error(f"{path!r} is not a Unix socket")
    if kind in ("ebpf", "packet") and colon:
        if not place or place == "unix:":
            parser.error(f"{'a path' if place else 'an interface'} is missing after {text!r}")
        return kind, place
    if text.endswith(".profile"):
        parser.error(f"{text!r} is a profile, not a source")
    interfaces = interface_names()
    if text in interfaces:
        return "packet", text
    if text == "-" or text.endswith(CAPTURE_SUFFIXES) or os.path.exists(text):
        return "file", text
    port = text.rpartition(":")[2]
    if port.isdigit():
        parser.error(f"unknown source {text!r}; a port is given as --port {port}")
    parser.error(
        f"unknown source {text!r}: no file has this name, and no network interface "
        f"(there are {', '.join(interfaces)})"
    )


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The whole program. Returns its exit status."""
    try:
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        options = parse_args(sys.argv[1:] if arguments is None else arguments)
        return int(options.run(options))
    except (MembenchError, MemoryError) as caught:
        error = caught if isinstance(caught, MembenchError) else memory_error()
        say(f"error: {error}")
        if error.hint:
            say(error.hint)
        return error.status
    except KeyboardInterrupt:
        say("interrupted")
        return 128 + signal.SIGINT
    finally:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):  # its terminal is gone
            sys.stderr = None  # Python would try again, and exit with status 120


# ==== Generated =======================================================================


def embedded_object() -> bytes:
    """The kernel programs: bpf/programs.bpf.o, compressed, in base85."""
    try:
        import lzma
    except ImportError:  # Python was built without liblzma
        raise SourceError(
            "this Python has no lzma module, which unpacks the kernel programs",
            "run membench with the system's python3",
        ) from None
    return lzma.decompress(base64.b85decode("".join(BPF_OBJECT.split())))


# BEGIN GENERATED by `make rebuild-bpf`; do not edit
BPF_SOURCE_SHA256 = "e4cba433241bce04c405d1f3327ac0044f77d5166ac5b211e3c66cdfc65ffa09"
BPF_COMPILER = "Debian clang version 14.0.6"
BPF_OBJECT = """
{Wp48S^xk9=GL@E0stWa8~^|S5YJf5;_6p#W?cY3kwt`PJ&C5;oTlFqSOTPgm3Ctr+^!XvrUu-b*5c2D%AIKmV9V%wE11p!jmH$s
J3fa!5C~|UBIRkXNb;o(r2!6OUxxb$E+?$6GHpwdMjg!vBT~>WUp+=1Q&+@)mxJ#z&V%}^=S)?9UDVF5d0yjV)vb)6XI8!cr(Rqj
d>*)DmGL=)bQJa3aG6-)MLfrhdNN!FRtyhA#6)GXiZ`#_9I>Ja*{1kU%7%mrToT`@GaJR^*&<FeE_}<>@Cw8xhlJ;UPGZ+B@eu2-
ijPxl$>2SvsQc$1=gHORICvFnz#A*AWi17Wo~Fil>Nu9G9Bb9E4r1G9NHWZ!hgZ4NEaYNY8@9Zv9i)!B=sSfXLzGR7iJGb0oJ;jv
h8V~Gu~G3fZkG0fjBYZ0=$Raif6WoKfmph{LgwVA-VdozVtfc8WsI~C0o;XFLjieAS>I0PkPPB9(SnsM2&9i8lvkrSf{8-$4xjbx
z-SgpO1Rd}g7t0jHVvUs<_qP<K2%4bq|`c{z@OT_P>z3fw>Z5qVyq@>OmbgL+zI>>4c0tmKWkYY50-R)V;KGNfSC?+SW}rTNw4aH
W7HW@fO_R&LzvR$Qqd~vdgj&g9ifwyUuw&Osck>lAuGsq{3xo?wpC-OW}DD5;7o=2jh*)w6GlLmiruBGw{?`<_`1RTU*4`pyrG<s
_6+6)^Iw29p+Mx?53fSK-mz>QCS`yQ?TEJ>_^Zch0zaBb#u^UYCoeZV+I-q-`p;g!=Qz!0+s-IjfIRQ&)a<c1eqwXn_Q|Y95_UCZ
D9o1OgO`$0!+aP~f2q23^Hf=0s{fKDSFVpxm}gwRgyR8|r4l9Y$=Z%}ZZeE=`^$B*r(WylWJ;$4=OQiC#!KBRZEYms?SOL^l$7$y
vu7IgzR3?{Xr~3rkIroq{4rSDRVPdu3QTOu<qR8EoKO=d1H3^RRi>BOWjhkH!k+!}GK_E>y@Em=T+m`Lq34p$E#z8P=%rXN=7k(>
F92TQg752ktmRdDnvz3ck%)5lw>k&La1d2saZM5~9LP6f2xBIE!z!2BUXAB(mjZiB0@V-1vbx6EA&g#6^zeo+5qCPaS_9!iuI~;4
N9Jp$9-uB*276!>E4~jL6D_Wq-5<W>AuU8nx`8o*mC4v_g&^9o1t%%TQx0umqzM9tz}b<aT5=sh2)VPzP>@Himpzg@vX5u_qPFvE
)v@B+mvTN2EgbJ{=^0N+eGEr$4dD`W?9#m$!gD5IoXK)s`YyvAd&NaFVthZ{KKN(Lrm&-0JitxjQc$@o>uGMOO7JHMHmL&T(h5{}
d`Xnp9l<tJ+nGsHwqjrMn+{)~*3SZubt=T^Q)z?Ibrt!J-(6vmS+@uc?t^bhxyU*O%i?`sEbvtegb@}%I7PR%DRBpN`gUxkxP(lH
TeCVKykd<|iOvv#C~hGyNxd<Eak>bZBQIJlx(t7V4R@_<**_fM<PB<VZ}(0UZRS?1%^zf9VRWhGVdzjjoZpPCt9P24Ngk?5a+6L^
htQafAUwG%Vb$j=%SR~pBg4uOqIXUB40L3rE@+Q2*k`KyBO7=Jd+{?BM3Qmb;l8#PtNqPY^m!*iCWvn=uZ?HFrZ-pp1*ZSA)V@b>
G~-B-nKGr3joDV0Ou<G&J>0J6X6I+OpM^{+d3a$)Cbd|D#E&&Q@FDff)Z@HVc90}mKR&_d3Ys1}+)o|m|FRFcc@cJv){)oH07)zd
1K4}y=yc=KN~hF|t7(YdOziGnnN!@zz$?*`xtk#yAdcfh4eSb+0N_MkE^6S$1R<NRIE|Omt#vSPGt24ope`SCIm#~saY6FGSpWdT
ULFo;NfsF?kdfYFR;^na)jx8((?`@<T153<5WPB)DLlzL{^a48tEUd9(~t<j%`p7`TW4M{$DJad8g0v9I#{WXieH%2*Mq|3Ao~Lj
Y%wy0QPO_+nT<omn+(6!z*d3{=eoE%$?SZtC>L);!%5+Pj=6){w!lu(XT3M(VvX=3I(WR1F&GC#<-8Pv>=D`7rpQNo<n@_FKDmOX
Lo>m5+R2WSZ%4UUjfuudwdUZaC{Zcta~2-QBXu9AN&7D|1wQ@pT3Rh5AId~VU}(ilqnK6mBBHKQ4vEnYytxi~U=u@iCn~{9k&JdF
MW~d0?=fQvknEJ%5XG02Nv&v&V0NHM6_6%DjbE4orlXkz-r^qOQhTu;4GEeK0=#|}tdBDC#i7sIMOY~KL7J%4l$wMiPcW`Dh%Y4`
J7rFm!Y+s*rhF~bS(NvtKyQelJP3O2iPK{&{drA+NS95lV*|DilSewGsG31fr&510W91*hIuDfKS7^45-vMKZAR|_*Si>fD5ZBy*
CB`kx?k)z!$}(}n@Wr+PQ|J5Ex-vqh1vzPH(Rxol2mvE=X@9&@$Qzh#?M0q;K_?GjVj1(A3Uv$xsKtByVFS2btmoruK7lTIaL}-f
{!jZS9%N`-m*rPe9NNeL=xN=NnXIwG5;#M?wHH=ZRhgBCiTFoe<f~If6{s;NTc0JBVnUd(JNi95lrN*l9kTU!A3*=wk4;Mf8^3Wl
(CyG$7B29|Og%F7u!C7%Nf@;daV9Xw3pv||R_#Le7VL%cDmKEzRARpt!OZ4SpY{Ebu}d2Ao&<iBN3|tA<-6$T1x^U@GZ_pm<pgKz
$+q2Jn2O8D(hsB1dgqg$POOeqag8(YtAt%~*BOy_8-xuBf3Y~+t<C*k2MPbbS~;$muTdU-#~5DqN1J6z9#-SKo6}(YT!`bWoZnqr
E0o4Zh-}yIk7-8wQnNmOzneCTI*GAaO&pI1XfFPfvAt;SvAha(i6_1q%j`;3^Zpq1xdwjPejqqLgCQ=EZ;X5B;eJ+N?^`|rFI@pI
^299!14@?l1nd|ENWb)pdaf-~YQ)2gQl8gIQ4ypKTK&QWS}u(tgudQ$2Ajp0^%}d*sF|$OmYwbaha2hDX3r?peqGGt=(Jn<{(<X4
>Z%z`Zs6p7(%sf4z}OVZ>?`E#VnE)I6%eC65-V}Zjk$sfmq0?osQqSDGSc$Qn#20z+g;Tenh_}?IJg)@eK2niG?tk>(h&Rvzg*be
{I&Yf&qskbgOA;$;4c~EGeOq=NF%VA<p7a8rgUCmuz_^A8O{b%xMbP>)W)o347Do5<!Q=O_-y+d)7w?}C(}{somfTO#D|iTpuY>v
c|IFy-UC#-loF-A*BHB=2Jq_Vu)pYPcnO>5JGLUp^Qca4hO1cLi_Igm&di6gq#Ak_J;r0QUe6gB^T=*i77CA3fNZ~g0))ye!8MP-
@?2oNQy*Mp1@EqaE3EKo0$Vm9n&)sA8cU+R0)glwQ+!3G6pT$it#1E!_o7$+XKp{tPne0sPt1t6%{}u3fENwBp4H8Tg{nAz<Zny!
r85`7Q4s7lMl3M{HoG3ax9+3Ng<3Xcld<5u<%uSghY_j%vvB4!_r0-du}JYz#a~gt^u+&XFEg+IK2`6@rw_FBaJ7VBX{ncVNdk}2
Yg2ER_6;#W%zTvR<G-E|884so;B5*ffSm?$MhO$_p(}9ao$)56>7YA=88(D<;-4OscuF9Zjjb^r*D{q0!I?cv)Mw>_BBBWnndaG-
ofN78C#nTdyCI>h);Dxe3(iPRV9kN_=fzOldP+w+l>O~Tb_sXgjQc5NFd=Tt;!IvDaXfL$_<o>9a#FWaQ)4_>Cak2vv7Gg^S5E`k
0HpN|qrtIpR%4krYrv9`u*%CBE7aL^wFKzPN{t<D$xNh{@F67wC=6^?Dwx8o3I+dL+5>`&u#n>3!-6LLoGB|)5pM(m=tPSmyQ&PN
$pxG1Et!_sr`k$`)>Chz{qaI79!Td``$M1@-RBZ{YJ4>;B)Zh7YO>CZ6^mQPpt6f?C^==$Yi^w~j--MHrpy{=^uzM_0uWgnO_Jh0
nehSspl1I^1<9N(G+QMc(Yq0P_x3{YGe5q)uEYRM98>HWjTD8i0>S<Txzh#>VvRuO&e;XA`nKwmNRVDRF{57L<O1xo{Exx4TL{KX
B!;Oi0oTefaaB@Jcd_kD*0?L1zj|1=Nsq=JwB4M1p*lv!#At04p!8;nO``&ff5NK(4hf9DE{Zg_a3eLHYd<@Qoog6XCZ3(<wzH;o
B0Kxhpe+ubPb9rd?iMASOFfU+-`0*Ot>^K?DMTUptYm^+KpA>lW>_Z<QNPN4O<f_aTmZIP&ABr*brF5$@TFmUNvOyM{Eo8Hz(fA(
(_V>6$}S?-?Dv;)SS%??V11WCC!(6ms-Vsu3E%Sg4FHUSwaiZvl9w$6Gj_dKtg;y6g>fL%6EW%yRBa6eeEwHEI^ur!6s=fc!318u
@fh{x)6O~i)SjZv-5k^{n(M}Feh?=!xUdVe(_GN6TL;~Kj&@X*dCVFM61ViyqauAuG4`$5FZ1Ot<cadOIE{RnG|UEW&~R9YGz5ZG
Kmm|kYAokudZ}}-WUwb&S-*7$p%lP8S<|2D><W|R=bfao;O&<o^tFR$w>DB@?3-LU!NLB#eS*Qw6uMFc(BRrJbwT+$fZ#76<=Iit
1sk<f{}|}da&|Avf^@o+=6T{_79JCW>P^NWA2P%)?<(p#35?<k;kUD2s>_~d+o4_n_w=V6T&l*ep_`_Do#aJ7TF#i^iscg5D#WIj
&Xo;MiQfluPN<p%>gsqNlSwSnW1c*GI5Z&bOHQ{;;^VNi$`f~T>Qbdqua~$><7S(mlc5i1{hY&HgRiJb*$a*s3{*0>85G|&VjXHG
FP70mtGF^AW}68SJFm(wK7x>FBA5ZjM2R+ER|DeG8<y9L&);j-*Q+~7^WWZHY`zlZIwMh`&sOt63F2tP_?iz%ej<N$gBLSeMc2yE
IPpLm>CB=`lczAS{fh}kqXiDkJUh?f9^M}ZYuWiUex>MH0AO$KSvNXlWK8zj#J9l~?et5>Mz&q#=iEaH7}s59lAX>#+hkOqRS>j`
9ydm=4n6(ovjy-H54LgXTTQ7a%rQ)*t$O$*_*}~nMt7%02Op8Vh(QcQ=_G&4-~<>+`JJFp!^y^tuEXVtP&`$INZus$5&w45$a?py
Ypgy&1MvtNg4L+i`Tz=*Hn#z)2BHCw(^U$AfcavmCEzv$C6R$#z+|%E^pYn-2W-MLi?SidjYhv^<p6)QlNb<ZdLh%j@uG!_#nad@
J@4$yQ9+oXUAcR<X#V;lKSMcR2Nu{@`)#Wj2yn_6V-J){B@P5rvDA8{K;(2$lH!FlHL}Rc9T9@N>kLIk@M-CN0?R-=aUyVzYzjEZ
(INUWVtqCI4MaG}py<1NKcU`h)OZ_NnEfJ3xwwTJ>hC>A`=kdcG=VB_{w<5$-7cqs8p<0oxxa=+vY6ePVKzlnYohbTbf5~g$XDuP
rcb2;-ZJl-5qN*0+7iap=7`{b^LpMi0zY-K)%LE2^gPp(v{|rCZ9&mx)u?CDR^>33=a>$sv1Zm`K5us~@Nh-c?dD<-xefi2R_mX|
0g)`z6##M{OY8%EzbN8o0>zOIh4;2j#S#L0Ew=@%M;BvN&~-K>8|rsF`nHX6vMeX}-Ye^2UIfbO2^6HKSD~*Ddam?VFxAqV-xV-B
H;KU!H{iApofzs+AQ1Eoq*wSlPtytueLv!`2m!BIIvE6~#ZJqNm}53;f7FO(q*y*zb0VWt;t+eq2VCy|{B}UnRJ>EQ!a|@95RTW^
H~QmJh(U`F5fM>bL`Ay!(bR{5eH7peAO>bfgr%U7+Cq^&Eo^(oV5z7AwX3No3j}kEj(|a5^z41LXQXR(0AsLx{9FZDLP~M#FR{CY
Mp^78RV;%P)R>l`TI}@E<L5B|55S`KHCv<bm|o|j9uhH?(%F6TSi2xhVt~Ac%A6aj=r9sPIU^GHRup%CSeJ+y<<ta7=Nr9;W?P;j
H$3}S6ZGzMhJe!UGa8^EDnJ&+$!7XTfe4CXm~AEmAX<`-@8>Ww7VutD0HW?hm!ybDERE6DS5=g+e-l?QlqrH~Vh6?JrtE1`a3Y>i
d7vy4j*0RwY#}QHW@lj7{{vO6+Fj`$lE^Dsp{K&GL!c7KTd5PU;_Qjc#)Mj-0l<#Ag1h}U3Kd)Y4Ai`$6Csp$M7w}H@=17}S@|X+
1rN%*WAt+i@!kC}nE4#0MsJQN-#iv8bmzA3?`z|_Oq=4~tbw!?S4I@KCR#2dnEA@*Nsqb!EM><6v^2KH<!4b-;siUOB|5+Qe>8Rh
5~?U}r)m{tne-1mV>x~>pPAe2s$D{!@{Oa|Ya~l~yv-4US?0TE3bK$KdD>t*EzGssFJ6oHGJEv%&LW5`BAxVzWhF0brePKblvXl!
D<J&&e_TBu%LbrYUh<wgD8C6D{vUNH=JR45M_VOTds=Oe<Nt#pPRhfU1wTJyvf|v@KuBbthdqLx=;U5Kl=zwM=NV<cL)1!(9QbR{
e*NTFaIXDahyU`VA?A3zdjI`6c>hJ(^*2X1f_WEw?I^YOi*7HAdAWWlNrKu9znS^)-elFBy`S)VgIiDqCxY`U9q@}<!r>*Fj6nT{
W<HF0b#dE3$tzTY-sbK$YCAvJ_T{}i7r6`j#De`9fS^V}NidRk-{(M&N!QaMU~V7<8PQRyQHLv!Ai}Wz3UhyL%C7i4W!Bd8!~`0`
A+O{|Qj-$vgHLeBAW<H|r1s8<BIwu?A#;XDipJy?N`|GyGk;PgpBtjc6o%L*{0iYpG|x+8`lTyaK?w*oNH)nDD`=Q?*Ab-xCMT60
ocfN%$?I=s!;a*pypQf_9_PdP(}0O|VtbUl>LEJdPhIvGTwKjU=9VF7YnHjVpt<|yKzMI1{D<WfTDV&7z(vS|^dnL*9-q2ThGS+|
E(`H`@-Vg@=FNTq=FmAzm-)7<?_Hew#qr=!!8Y-$KC!fsO$WCHuQ`?&#Lv|BAjvdv!%BMsy^Zq<P85xExu|+&EM{IMa^!~J<j381
MIx}1LiTmYBk=~|oI6%lUBXhnc+U(|nB<aYHeK_P-Orw#XY?7Sg3e|FFOtMA-bUbhD|MFJ@TMDs*&tq=CXc?rDt{rM;N<(L)VKRD
&<kNuJJW_G{!KHAnjDMeX-07j{4B27Tku-<5a3fkjiWT7Uc-)E^SLDO%51tD4}DTEkpY7PGOv?vRGo!&&ycMe-6~KJkeMy78KHrM
QG#~Xo;vh+C2Uci;TT#V0B;r?Hn0)@6?@_N=d7|N{o0ywZ42M0b|HChu6XCo%@B(5$azG&Izv=<Sm41waYPfC>W8C^^9|N1*2jF+
n+NY4{3i)YFHWYrv$s@5acUDe4h%w?Bxxz)_2MTtMOSB1pj8K|dC@I+Yf1ao%duJ}R=^vX6#!=65OFx)3MvFS1p?2+5d5cN)?cLD
D!y83qJMzBdLIY%J>3N$#aQCQ4Tg^<DA<HmH8dkQ(>Hk;v0x>)fCV3UsV;bpn>qNM{vd$FT?Nr<gd$y*BK0-9n96BN<s34fm@mO0
IoguDJaBkSAly($9)Zj@>tp;FL8b>`*JG1;HX)>t>C+F)l-tLzvwZ$VWm5rH0b|?;ozT4Dzat)5=sXyZZ#l+k<X#6)mI7kh-=?)@
cP;_;T5GF)?tn`XaSoZ=v^F;UOy%V7RbEIn>f~Xk4Qu~5thJAI2ydkUb@l(iPMcQgA1fgZG;HrlwC>QJefTbcJgjuaEom-|di{RU
m$bOz--F}OfGboj53*&JjBan^x1?iv?m&Ubzwu`}kHlxL^01b7Sc3ydI{;5o1uI)yV!eGdOQ`_%SKh&L1LdJvQ4?=VJs87bO#!7B
8#|Pa%<5fINuUnFlpY)TM_lvJ>OU}|9pK*G<UXK?J8AL8ll31(wq%I?2)(eu7p_QATET?gV6(Hb4Z(OXI9HG^hCo?a;4s6V)o)pk
(9AqEOL{3$10A(z%A6bPiRyw_qH=Y@PWl$ZZv{6@2toBKwwNla51<ec4^dm%h0U8g3_&TqN0ZD~A@Gq~_Ff)OxK0E{D)PIFY*JJF
X<t0!4f1bGIEm3;zqh;)*_dX`JzM?!EvAAVzb<JkNKjj}3|^eiw)j`ag2d!}`FLwJvn&C;v=>el1Ukh@!=lQO#!IzQ+Pyj^JX}rD
dZf;`%o;&#e&hH{M77E)@|7c=d72DnLF;m-k}(2CVK)>0F{lWsJ_FdBc+ps1${Bp~7|*E_8u&6>p#Lx{)oQDA=WBLDqgGNWz#PUK
84qEoqFq$`n88R)kR|dk#D>==v~ZOt3-R5kH|eGqXfh<ma<ad&c6@FN{W5*{9?+cM@)Rc3N)}&Jxc*l8n#8|65q|GE_4TO>r$V7S
xEFPcy;izU4YCQk3QI30?vYOE-!XnCF-DTowSs@#YV^je5HWwYxZA2lqgR@NrbS>M;Vt$%R`w^Z7QGuEbOj4^6>XQBg|`+jCDn0|
?w)K>T!K3j%$@-5;6ADFBlpZHSO>ylsx@bcXsM0QUSx~!2rGC9-;VoqB4iv|6QWKuA-dAIOELU*dFr{df*~6fj{;es6ZeXrp+Cd)
T3|_@QgMWps7$(?>YQ|u!_||Xy&e-WYf;ZdiLt>Nwru6QBQ`43kb<QoWq&1k8+W4AKjh~Js9xtN@E=XpT}~@Z0C2FPfR+~*A@2hF
$a4J%aMm*ZUrK1rT#(2RmR$$fP+SJKZDRb~rVs2<)aZF+?*1q$&LBX4Mik)H<7aGV)`G(6vT6Q0a^zz!On@SV@O>*zw&^4h$;0#7
&A5D`qTgN8ulj{+5073hOCzo?Gy#xxxPgUx*0ZJ>9v*&%4f>2~^;*tab5<jiEVBh@|Mj`)+<b}bREZK=id4OU$}fQC@ul<#ZXkHU
4-7SyPz=dn1;<P0qGuf|olXl|9EIdVcELBw+%TYnvR`(lu3;dp8~X1SV0&LO`Myij<#4&CwT++o&WLi{e_5<ED|h^w3RD0GELEQR
PT(iOfKue)#W20#xbn}gz9Hry8w=RrVUK?U8&72qgVfV(ZpC?U7bCz#+YbdAQD<)nqO0rf5_^BeK1-~Z>s`rk8M5A&c+W6{4t3_?
JVn&@PR<}-Y8{nOhBYJtVa6$t86{~aHs5qyB80&RkV<AfC(`p9;BSd|(*Rk!x5j1G5Pz)%|Juq^x@cyk8N9WHYXxb=tGHp<{q$S{
{;Kf3`N4!}>f+8|A#b+u@#itWh?-tdyja-gz9?ict>MqcSU?&_FqyDT9H*Wut|fBXScvGuCtixXNv}KP7C>=i#1J_AuLk|Y4uGZ9
155^eysU~eO_kFHk;_1nz0PMU?286$5@=KY0QlFkH#&b;7X)T?9PxSR;egy@92-<Q9MV#<+&)*naD3!09*19N*opaBAKNh$Is#VO
Ku-{dhhwyK*5~6{lo;?kdNAYuO{b=2m4s=en*De+!u0@L9$NdWmoO8mrKt&2sfKJG;XKTWX2qo!gyWos!Ccv(DmlEn?|WWgzc{b<
9m5+{=eE@4nH`UmesTyzIn~J(bxnz~D?LZxbde0MRRP}TVH%k$Dq$}{qydU3Y$X6OV6stj?*P$gipC4}7l%(WMn|cm)cOLqV$tc_
yq9lVo?9vcYVC8vQGzQMLEc#IA;q)74M$DF!g*RM4peD1r<ZrzrLJhEh;QzbwJH|(yN2!V{bG%^j|u}Ynx|b?7yBzDG}TWN)o%MT
hEZTl=JRAf|I?PW*#yE2J#4nF{nksu=m!xXLz&zuE(rHori>Ja=7BqQ+&kD)<x=XDBIW+_mxlxCwPc<+mP<gHM@zaK^%uxooR&tN
n@^|*WO6E3#31HPX0B6akVB9O!SW~;41Dj|WVwqV^gku+c_+Q7(*)hKfS+ErwuiLqRvho3d&TSWlC!fdsE2UUPalXN#P<875gRsN
i+3)I%*W{V9CM-axIiJ3H2d%#--QEU{F*)8MsX;HkhIq%4h<;@kT1{_D4^NMN~q;$NJJ=cu=<BcZy}ZoOo3rB!BV<QIq_SuRvXId
j;L@sa@>g%zo@t~gi+iSHcp13Nq2H#n8)%`Kg4l8bf&V*#EQp0F4KN`XUa%6>^Sv?JM!8GuRh=I3t<l${-d#Bw|Gyw3qChowMWW=
j@pIabFWl(sm5xeeE)y(iv2D`8Q_hr%Y>1)#diC~lOIYe;SRHr>o?VEC>lQwy$o_{aJ0IOuxJSUu<iX!9YS|L3$~aHaqX=M|9)gt
w0Ey`5MaHAS)7Px+}-i2aFI7;)}v&V`dh~M56Jx4NS_Qkrsdysf0beTL+Ks=GLacLPJ(Tqw&vk+81}6z39^hwFjUcGgw(|*cLUYI
L=32>XE-F0@{<N}N%2A}@4F5#Rtb{Zn_P~}pBpi~k|He=K=9vq17Sq`lTF&;$AZv6=Jx}pYd|<=NRo$mZX;b2zrT>P6`@ySM+#`P
cyB}>JPsAwZ{U)^8(VmRh=ad*V^<M2R(Mq`IUZ`&8q@N8=41@!QSnA$b~b;nbw*Wx<+6Q%c}qBZuy&Dj-stQd_fzq9D6MR>=n(2R
du-euP0}@PdN0o4lp>jY6g?HzoDWya_MvF&MDH+j<!2Jzxkw@Oc4ROeSu>{LF!h+-?UzGag!IN!W3V;foPc-zTZhq7uzN-C$a4-I
xkMwuUeDFj%5G0hG#rJOEG!>B3UF}n$f0WbeNGKO7T=x@qKFeDyH?V7ntS7C9<wW#C_QfSBk7>zN*zkiK<BKhBqx~tit<MR*rh2t
#+1tya~$%`U4m$`7$&ep^mL_%>|;z_p|~1pg=hLScz%4r%me@eI$y!lkR|<g|Ecuo_A?aIfA^o{`9|WctOsKcZ+%i9?RM|-kKq(P
DRM9^qqVGm;Cm{znAe+Sk-I_b<xD@CWItrGUun4=g~*F$b7UYACxl8s`0A!oaL1#gu~<egs4C~a4gjOYb_uhS^%6CX5^rWvv0sih
{84L^ECDb9=-1H`=?EBIJb_B0m$G((`|b|mlDK)6!F`TdX>0A32}qHK_r8-0eiGFJ2UXT&F@E4<y?AW>f{%fpCfV#k4J4hBUKruT
V#rF2uc<c6OITsjpnsVEk@8Ko5vKP>McN40qBtVg$vb*K^AK;-Qc`c`<oA+ntzFBNmUuM=Hb>dMDD-uS#eqoA{<I@<ijlP;P*Z?`
vAfvCe)JG_-8xtn{l!}R1ary-Ocnlg`vp^EvXsV2j@`}uzLUUYJy8l|`7TlEhrUm5=Kn7n@T7`<qmd2tfD*B}F|{FBDpgl-5Q&a{
9Qr%g@Oioz_H$C@W4EYEak;k`<oFsk`y(B;?<YN^lhfHgjr4)1)-&7$?n`&pTB0=2a(nqtIw5+IkntD{jfEpgqb{b_oxiM~RSkBu
W4p5WE}1ktB<t*uU{;1dVH`3-KWPKAb!tB3`7&loDvv>cS2?g%vdC{vv`c`KvajAgRW+}d0H(H~5y@xHNx?GCT}`W;?V~@>*!T~a
&UV`7tUZ)tx_&OB;7LOE2HL@X$Y)`Bg|NHF`L-gT5QiOqxr<FfpZCGaTIh(wxfybE(1l~~B89{N*23$=azR-@FbHg<VE)t%I_Y2!
HBCmu&8aisuZO{pmRdYpBwL1MgpUvMvpwb>@Qu|<T(y6Or*6nj8?iMQ?eSeROzQFsBc)fs09{=UwLP<$mAW^TblEdgaY=ZwX~i&-
CIybRo$XC&IMWL)C3ufxC@h{<(p{*Gp$otMD8GRnUqRY=t|sF&SHu$BzqGjfn6V7q2hk)|*gyLAdpTCK6P?b_N}1k$`FJnOYmvgL
M7o%=QKUO7K(`TtAjAT1klpL8Vj=1QkKpVm8{4O!$UnO<E=AMBtu^q*Ym6T61XDZkZ~AEsO!Dx{Wh0K<osPdmdRyj;acy}`s62$@
v-^I*l=cC_*>xR|v(CLq#mCg0eb>0-k`&TQ?G$m*c8@r3be7L(R!8S9ZYsJBQQeKE&wpm@z&*Uz>n6lpESVodiudt|s6PW3@ov}q
8rbq28?E8~J(p@Qlg!QeIBF$Gc4BTuVz`?ogrX1er?0&IGV!y1bAh(UPddU6alSuqOkJ`~t8KMg@0^r*<)yuaA<4@$SZboWwzj18
W7b4EHJrBL`w|@kT-s-?_lP0|@t7Ih@ng#Xxfy3ykw3*25*pu$`*b_xwo@SI{S`_4qnMXJ_bqb!?#~sqehzXEHnd~@@!M7L4b&O&
O(5T3At1o%>$Dul`}-tOs?36Rtt~i<xP$*UKub2v5$}^{0dDa{)BscYNMI)&piV#4pTl(ux5G`^dTGN%Pzv?Lw)F~^&Kubp_E8jE
Oe>b$rWvFnmEys)vuliapsm#`S55MD#wiJ-yEiH;`%G5qjiq+M9nyd%mi9TcOXwijVH+=4B;T;bG7BeQ)VpVsptv^|3*uE!CD#1h
PKh5f1FTAG36PmWvJ8xI2aZ=OR>#Mh1GJI(Tf1z~Ssw&ZairER9;ib0=+qa63?b7l@sI{587+ER&#*XFawOSi(%BQ9o?-k-6uQ;t
bm#;LZBtx9q%-k<zvI+0c9U@EJOOiIf_9X650b%)s2zz>F{FcoTp)uxhg}*<>n)l)#w!rn4Dm!_k#9+?K(S?Qg=)WbHkrOnhA^pO
K{E-7L)0-)e1SXmIMZx4!CU0bR2c1EF-xQ_K{;3nDvQyvNfn!wwMy&Tf4m|v#q7i~0VtNEY(0ED^jbqU69JYU*Q2E>XOuei^mqpi
BBalyVQ_XtHWwu4bm_nWdMUg3kvyldFJ|q-<4C=+iB5NS_U|P@ewK9V=18>7fVDx%3}m*<$Rq13Adj)}uY_T-5rE?lLYUynBCIH*
ENoy)VPsTi7>fWakn!xi&U%eH;(RG!TMGri8LQw`jBafKSTkkn%CvU|x<Z}TJkQ}$G_>}<qaYk$4_Z-SBc>VZme{n%=Mes$$TS&J
1s6a18Cz?58^f@0!6pf5sdQb}qVoy)LgJH--v(hEBG#~A+2+@?u=kvS592w-Xsht~_Cg<#g_J2%C!A5!r0Eh1{&gr7hj>j2R9WBX
2|5=EcB&N9P|?5i?o^R%dY2+26U|k)HusukK?de_DCd12K{zwY<4pUYxFoiH5tw+wKe(mahP1o!cX#dWD9IM7=y=3&JPNY2i|b>s
-X&3B|3V_i6`%cJSRPOb2_dRig-ooT`LZGy2o4C2!)*t4vqd}rwFpFNP5J|r|KRDy$2W0Oa)XaF1G$F4Ok9`I8aR@W0>rp?9;;#P
v{cPN>yZ(7XT&`L>hE?7;o&}8{2r_C*Z;H^zEguqSbhr&4jLKFa%aeFvIfsi{JZUdcnryGGGhH`d5`^!nGyJ8>|uvaGV4;f3*EAL
&1^0#fVrf}#m@W4fgCL!D>)+mqb;S1d_Al2nqC#RB{Gmloekfnbo;I5bg~L4KHjgdj0^;Ty|Egs#|r)O<au(4{+TEMD7fo!J8r33
`y_`h0^pc5CfGBkk;-qYX8mWkF*jGceQ1faDypWM;hjLQVTc6!%Ja+hgM75|3q;F`W^!!X$rBR5KD6;VBb-rZu>eYb-fL!(bBz*z
=AT4QeM3?31h3kRaSj`=V`I8GT6`@{yXk(!?0uOq*aXceJox#z>Xn~@S0HQ%e+*h<z?$KBXPov{KVyED2pPH4Y)T0mBacf$P&c}L
!3p1JM*n7*5M$cYO`?TR8%&FqTJQ>g9d_<Uc$)&p8z?4(%OUSgh+buECa%w5NH_zZU^{geKZzbvAiX(FdpDT{N)$NwMk~Lhc~pk9
?;?L=FO8U>;F^uV*%V+|+f=z6(F_gd*Pt&?Eow1JoIM;Stk^e*A^CTkU{NX7w{AMfE4A2O0L?I%1qQIP<DI!3ov2DRi-!z+C~XH(
YIFFypdffYS2Oubc3?@|3oMt<FnyL9u0>1%N;XSdU(%s#Oo+Lz?z6lN%Olh)a<AvwkX?gbMHO6})0Fyg{D8h_41cah@mEu&BF)7x
y$E~9xE&mtdDX`dE~zm3nk^_scvw!{RDOMus=czkqVl=Vo<Kj_)oI!5Z9asNSuneki<P<i^^%SU*!obX7QAb@IQS9uW2W)QDj^qL
ivXhp>7zApO(?Hp>D*I~p&(irm$uE^U5<8e<8}^|Y5s7f6>=-xHFbt?O)OjUFwT8n`JGgcJHtN)Y-w}47p;B>5kfaT_V?~9_N^r}
JJaTfLfZ#xT)dY-ZZPZu9B@FpMP;{5RnwmSb!YV@5)kpgJmL+2k5s74%Fn#Gi{f3YT7nY+%UCP*xEGqn4$gKBnH%MgakPX$vDT(~
Mz$sBa?i=`BPtziQ*{kz4cCLOet?tn?(amL*-?&)rxSQ?j-eEs8L4N;=8aI_l*&=Yd85}cH$nvrHgz4SJFmXFbkG_l+OViHv8)%1
AL!kwqA*?86pFfG207jH#%*LTyG~wfVxp1Ins)5@0lx*m6EqzERYDXt&4HtqVoshIfb&*zdbb1lR*r9B2pA$EZ_+|dv(G+6))TlZ
f(-2L(8>5Wt}A3v*fE>LmukYq#U2f1$>am!Y1i^5`7Vm?(@fhatqvhaFN8ou&dWa%nE<!k0p9=Kb0JOiFW#Ua!UP5}{9}hhQqSyS
P!>oOpFuB~^&RTKfCm30+g|ql&5qJ(-56O#v{Rkn+}|bo>2`VgJ#c&&LO3H_VJhxBi7gCBttJDiLA6N;j~E0hK%BQ;!Y3Rvy#eT<
DTil3Mw_9J*2!QBdCQ_S312Ut6MzM2t}iDR!M1KxfLH7ar}S#u$`!d}sF>1;XNOyy{BteAw&D6rCF*jm8~8MuW8r}xRN}I)Z)saF
gSL*6H`UB`9Sa@vP1koniY9y*H5Y(JKN4mzA4jSJDH&>j1()*w0#h=`kRPfn6%lVzc~5HCD>qY5Sw_BIN&9~rirLk{(1bVOuYP7F
;(sLoRS1f8y{37Of{Ej;W#>fa$PrDRFs_BdMrxvFfQ-~k{8Th8iJ3NC7xTA5t+0qi7Mw<zAG^AcFq}_J{@F=(&_JvPgXLF#oMBFe
Id~YW-Ym2wS#9)bB$`HR4W8<n{|T<b*`!@!f+gquf06FKr7#!P_ZM60GK?1Q{{ELFo4>wu^+6VGcrX%BLBw9lTQ2RZ&ey!N(s1Uu
=gPx^of8~)JG9@x&Ikb|B2fUEN35DT^o3TGy5||2JCUyH_&HW7^8HK0t1~r>YHQ%Uy}(kpf(9d}<@+g~a(az*XV<#&vVx2Y*eW7`
qc6@SV8e~xNKt2z$dQWZ*(2K}c4E=ECI>W-S+zFC_^Oz%rH1nkHf)vi-Xr9lpnZIIlqKCOrw4bB>#g*yiS*rc)hTzM`b#8%mr@Y&
gBYc2Q-}<GY+b-qY4i8i&V(L&w~%#vE<q=+FF&^cg41;J6)8CceUP6GxE-Ait=He~CFW$PRSX~GFd=o1%RM^Ub9$2I%&#nky2I`o
QnoqEb`cd2JnWH|Ir)E&@qQ3uC`h~C^Kl{?#4fVA0gF7sf5L&mO|XUS9Z$J_v9;GvZQ63O#C#$Zwfr*JCqW%FX?8DC@UCz8Yl&gc
YKnuv7FA-Hl*Ef#k4=-|_9y!iPGU^4CBS^WtPC78_}$wue#2!@d^exx-sSyyaUJ$(f`7!WoLdhI|FG5KU%jif1STTRy<yV-Zr)0Z
+W_<~c0umI1)sHPRm2ndDT%}}#l6R54V0x0etT>Q_<z7U*>tPka07&+C~_}2emX`xsKUb?SS(}!-1zm9>V0OB>o$MK34smK|9dsO
ppg)nf#+T)1@~|0hCf^$wEZbr$zAo%QrS)m(7%O&=GJ;W8a-9JxuvlH1kvcM&>t(n@Seo?H#zbOkXV6wK|Y}AH}xd`qaYQ+*+C&R
2&U#!TsrH?hwh&ea5i=tI)_|3rlg^Z2_h-=_Ni*?GD9BUly~SU30Pbonn|IAFnS;nPT_+lssnEz&2ZuiRhGRL^iMBID#3QNbBS>m
fqKm_z@b9preed}0ZIcVu2Cq3b8W*F!T-8L@8|sVieXQY!c&o3(}9@U3F9ngx=d4EaYkX*OY~`6@h}%^x2`g)*s5{h(f$e6+aQ<F
ACw%<bZy@}gMjPTXrR$;97vO>Ub9g3Y4D~%BNow@@9ro>B4<%j#fEB8wQfJD&&Alqt*vB?s^#NljYQB!o!r~oTm5g*KDIs*+0xOP
F{UGm{A<2Q<skKegu%Oo>ujqduxmqnSRU@B*~`#vkC)HFDHnXRTL^!KPd-HslTuf2fW(KNP({(&qfLV}Z@XWNJ{_O@CLpZwBv;xR
!Jj|D^F=UCORj^U?7$ph%#+It_>?=zsTAjk+b|DOSZm<|LYqUzg`-j)hZR?{sGeotEyTVygpyH;YufHE4OS(at@Pm6X%~9Z2$wJ)
5_<&H3c7q<@!uOBboBuO4#a58&MAcU-_oiOppc0B*l*s-I*$JV)MKz-!O7@g^F!}?k4<TrF<JVnAy~O;8-DMYNO!xdLn6W`EFqV(
w}tpS#XTBtA(V8p(6g!UXwgW>`Q1|=&AtQqjOzhQrIIksPc?-C&abgjX)nG2IZ@uw51K>%tLc*>#PmBtQ=1nVhQ?epotLBO64bbo
2HOk{!}x^KL^RFo0FWPqu&0Z4-Jy<4e6KL_2kPq_xmluajqd;NP@UJzqcY%eP@Y#${=laa(A2%ohfUHMaq}`QKpRVL>6tlv?jd@u
vFJvYl>SF-JXf1X;I7Rt*ML1n`WMMa?vxHu$#Ej}I1r?9E93Ebh5-7E9?bX*;yVWSBN{fY^Ue)`b2s7G5RQ1m7U7tk9%7{ZAO^t9
N466ZS%otFZgWd3liU%~mlB|g`Ze)ItN^Qiaouns<88BL)ubeq>folx<IwF307&k{%(Nn@h(lLtOJB1m>o1d#HIw$6I(1}3G3pt6
Pdyy&NQ6i2J8<*Y2EQB4$)cqwi5d6EnamgEg$W4|ssu~6**(=yQFqA;6IAmU#?8HsO*=zAaJTV&Z&8k}V<uK5lVFZbya~=43|2xF
VFxp?R~E)w;K2>9SPM(Pp1Ej*fqB{JLnAqhVtiqWhKu@_t4&p@2cTfV9bmRiySsX=oZ6z^JMg}cCFF~rDe-Co!4se&fq^RxDP@37
HXRebZMX2J(2)>(@9HL-#uZi8Jq!0R4E_jos?n@yjvORh#`9;(uO;}~3L@66z()vWi9WH^G!VqCkUwp8yzHE=cb*zLoK=p?4rwz7
Wm5=`tcm3GeuoXC7k&E@gZ4@S(`I9Jn#1+=H6Nh0S(V7(HekeAnF7MuHG=tM_l)dGB8<A4Skca<r4N=}lsTi&cp818pbDDw9p>AS
d-<tTuBFeqo!T3vzmw7swJ<OT#1^#X)+W5%-|JURDf*-nDq)vJj?w7{law9h$|AE_0tG{#hV4r#H=>poL(PD)+{q&~@=9fx#FJqs
a8gQ0{~xm9c^LD&Y6rPFjJ?hTzrIbBitMN?!qNp+(rt}sqjNG{gm|H=0}$K(&|uI&Lrl?QDw!+XbOn%<{p>NC8}Rc%jhUVuYuR@L
{uKZ4^m_qL+>M0<BPuT4>58qqvW_c^`c&-R!Ld+w0k2q0QC5+itaf;SuM``iwMr^(Ki34(i}zJ5ZX~V?N2{+qS_tZH_=V5GE{|<6
k793??YrD0=9-_>#bAvD6e|^=ZQLnm{%&MbTP2#~x`WDas&P+K{)lzhqMC%a+13~JFwQT0d+N-+>HejIQ+OI%wDr0E0d$>1LClQB
j!2CG`X8?)P5=2iTtW}?qDqqtNDE6XZ8A{^3mS-{-_}k3#)l34@ZR{XqGC@)JC)XK@Y`IYWCn!S^&isPiqNd8nmEhFce7lSl!ysk
XA+ntl8xM^5T`3lVj#Ifz!wc{<A+Jy2;Nwp>nJT@(|@zl`jfOGD>g`oFRsfVhkEH@lois_t{R=^0UJg%Ea6SG(5TvHtJw0hFz-f?
o_Xx^$Ijzvb7A}#n0MpdEeOZ4z$NTL&52(3T=F3`riFq8FKfuy{k#K%7?R2ZGF3@nRcI7xe+#DAq;8m6DP<N<F1-qf1j*{^^bjOC
`God-xs-4qq5Wiw<Ac<2>9Ad-ip8>&6if&f;Y@yV^fK0DVuXqv_Dv<NER6B31q=N@clhbrP?Wm;`U?_>C^M-x1sKl`R$7Wj=@e<q
H`-N(SxTt!m1Dx**SZ?lzth5+Iddzc;qu0q@Uf=GacZHtj7q4jPZd~+Sit$%8C%~^z)L&#oBCYF&F=227>|rlC8t<aC03fwE85(0
7=9c&)szUxxDJY;2h=7UZl=k*`0=)yXcwKENhYO|%(=bE^?}nlKVpEiFB^U4L&{-aVqFbW_!|ewSrSjY$CD46hoS1{-X(<xWdWwn
?pxh=$#B)$4a>!8|E_Qs7ei}F<EoR@;HTu{LOfx$jj*%IYWhm}`1Y2#v3^v0aVl8}SP{@~nC>OOV9Yy-rd!Bn#%%i6>1D(tRNi<2
wW(WFCVX#c9=3fPke&5)7^>a}W68__&KufxCF>rbbn%D?1+&GVWDvesgkZx<F7A-`2%M`gI{XP&FZzz(=v6OL*7?K8Ves3^65c1X
Hd}8m0HeSQ{+cU8=yXVT#ACq{UL@%3PyCZVI;rT!++MMC5;RP@$QB(&+;MwiqhiE^nTH?lZ2q(Bfp!X4Ar68yDx+z$E}yqeN$L$a
w{4+&l+McqOTm}he*+EEe144Zti2^0b9nuEjp*Bqt7@`Q)GkCym(E3QBn0USSJL6B;y6M~)HP;Um!JLc`${Z)S)ff;)?2-6gS$E(
Rs=UT&W-qk8giY(6S?FM5=8W%?1sfOomUG~OQrCp%5Kzm5j$)nz-)5)?S5OK1QIwFh{e*x)(~yaR)P0iUr5NcbG8%&YmU;%r0M>i
AEZh0<Y0>GFhU|N;97mS6jLd$?Fz$gsHnIYi-o*c{(iHk`PM6uN#VPl#S=Tzs9L*n*nDhkeMJxDPOO~|OGR^%o`(=g*{&EnBkS+?
I|Jut_mrKN;v1*%=PSxch3Ze*D{Ok4s?fKwkzvc#GGQFH#wB8_1=hIf{hkPGq-2V!7UPB2cjA{dUaoV;v2Z+>O~MYC#=d{8i#|m=
JULvqXae%_yMrbu;-YW^<3R1~4xf<&hX3@Nt4)O~YmVkSq4m1247U1eZ5s2GyQg`;^e!EXfcD$@>@Nx$0QUvEN*;6aJ1XSR+;nQu
ll_H4#3P2g&g^Djb<!{B8yCN>LG&-7=~Jsz9P*UL+Ns&1Naef_iSW=II-{J=A&fFZLV^BWQb20eR>Z)57c#&*Q;^D%SfQlw{d;3l
LnqLI2dHIR93Zr<u1N;Q#pB6kpeond>8Jwga*y$Ft830~=LFuYTbq_(uwxrg%9ixjzJ}!EMQSqX1QXLM;=oQ~wDVaANiG4s>~rTK
2;{i*Gq9m9ijVvdF@(SS)3oGK4%20$cITIsDs_p()*2PY`!0zM_^!el3dcZ*_TqaWIkgrFv=17N8T@pzn2Od2QO;^u!%FP0@O~a;
9WX(E&x>Fn)<CVfj<?LQ1)um}acyZ2XXHQftmvy!uUr8yjeg%Q(q3u0b$PyK0*$<<Kk&#!LbRQdh3$ThsdoEn1cvp$NnL@S&F<7A
BF5rah%v;2P?G)aNA-JF*xENIINml2w<ZKD<L~KS4O#Fj;Bi6Y;DIjTMz3QML^i@wQ6awy!=iTp6r%iKBpUAo$jH&n*$$Q-1qbOe
F|4ur{+;KEIQ5^Cd5Ju=Zafne$%8|;LAq|yU<`c7{QK5t?Pu6ZiRNCU(jV>;(?#M9`K%{J+X}Zz+N}?Twrb26*~5MlB@fy-^_XNi
)t_Kvl~o85qE{pgTF!pqEDjq18R1{i5@2|FnZ%k9!cM<Mbs!6#1nDm^U5b?ZO46iZ;mZ1#Q;WKe6n6bA8r`hyI{S?>(yZm7Ub)F3
cRmF1*1Y(eGhC!Yj1p;lYo2En{{&CBuR+PpOa9z8T94QN$};uPsg*6pr}eYWL<9~f`x-*=$&1L@{VO?8wet$ny|gJ=wsO!ZMX^qG
M+v!k<A^NekX^2ybnP({xgejT{#mY7TZH8Nbj($|BtEP=AubuDf}B*hk_)%VWH3&^$2K%Ir8eu24H{XJRb+~-y4EMoRK2aAN6d+D
IUtsOQ~Z{^%>DuVdP&^+dQ$fOiPFFJ@?mDC%LG^U@|HO=PKQ-C{{ke6x}f}L-xD?*#RxySV~h^$Po#@tV8gH&Hl2gtK4a%MD?2U+
r657mdD@x%3*5TUkA5h-9=~6ea>9sKQy_fPcP>&16e^fV0I1$;rZo%l;rGzJNFbg_NkDKyLT6xZ<_*-$D{gv<T6v-U_0bH=wQ+Og
!Srw>x5yKNKb*frx2;Te-qu{#TubfiEPj*;|2OXf5zEF1OB-ANj$riWw^L7oWdd&Z+nD{5c-Y2#LP1&<gye(>^o<5!+#ch$&#3@W
(w#E{ugqdg(AB6?XsGPQ-Nkp{)JEp8ReGb+BnkzJnZVVbC!iGuAFQ#*tZQ;MljVu+gbh8N#Ws7pk+Fw^6E_=lG}}jjimUncherXS
*@|09T!i-6ouWmHoT!lK^H12MS4hb5hCL9u9B{%XBvvR1&~-u_(htM2dZ1~oaX(m&%zzq6gjaP=SS%Moxw^n95Fr}{7H~LI!ThB&
h|DFA6ozoo3af%JT?G<1$b-U4eS<nzr7^dx^$d}&w#YQtDr&(<2#{#2=`w(hD!*suGiI1TfV(kbd#0cZl!t$8om=~^?1`T%W3UrT
i#_@Uf2#jI<6&67O2am)h7!vl1JJ&9e4a@OsScdhi8zBUxP|aM!`e_s^OCM<spt@>K~(TNFHv5ubWkx2!Ox4t;bGO$tBoMJI?+%L
SR4<Bjc!3>pghbqKLTx)NtCl5x4aK)18H6FM~4pa2htVts)de>qjY_5@so_h(t#zmYNp}1mAak>YT9NEUgq&~J+_;j(ZD8v2no$1
Jnw*6Pa<b_dSkSR9;hwBfnQtFJ+{K+*(I_(DSS?bm?#TDd!_^_u6{|X^s_9w3#^8Iz3b4^LJ`K<WBc(oA~6Giym$@#u~<Sf*fD>Z
8c%#f`E3Y6ir9hn8V65A|F3Hl0xa(F4=rG)5zhNUxt+FiLSDvewe_1{)NY<eFr+?bX+bBRh~T}99|g6NeWJ6(?c#h#?uo}Il`HM~
2^VR6<qjztT@v~-XVa%SqcsmM4sNz=O=>N_+s;ZYeMggg{pM2C88>yXNCIwBTEvT6(ju<H2eA!E?B-2sylVfOEKeKPTp*A@|IJry
yb3*+w5_=XQTh%$Zy8dw2RvyE9lPJ2(jHffse?mj=Fn1SZ9#lnXbJ^pt%5osmlC5N`!i<4A8S!${%Ib0`SH}=^f_lZ=^|%9y-e5z
!l*xi4Ex{_2bFxud#Zj2mj920Gg>DewJ4=l{1nA>2YCkh9E%ej+CnXc1qr0r=p5rwtvn``eciJ^zg}Ul<|xU+02TV@Ge~LNk)Y4h
SZp+oHRDOkI#wJQQ~~my&Y6cZTiP~*x_M6-!mKlaFX6G4Ms`uA5i|fmlckAeY~LZklJxsF!)j6>b^oFIMn9nB)*qZZf0qKx+@-o8
Z)n&t$P3>OtPIE!(ow*W3uZJFaI+3@oDdbv2x8%CH)mRMY4<i`!~+4t5^eV>jmekh-|!O#zxFZgi`FczOqkLr-~al}l*KJ=pHSEV
LKd9lVa!s#bQ&u#FzrmoV0gl3G;;Dghrq5$iu-F=s}6%-#(Ezt{QL;tn(Sq)h#cA62HT&9IBvWPKf~%e`7md~rO4dtAj3Me!C#JK
9TS26!nWEiuR$Hn7mPQ-MVq|ND@{YiG7PM!tQetEo!78oC(xY}S&FrA{N3*f#CBn%+pY%xx^P{$9(}n~GDv}qr`wPE`{JEFFWIYh
u2AHn6}AVf!BqcYNO@ys6ujK)iXgte6Wln+FEY{kS>hj;eO9So!895eW#N~UPc2JR1A_g6e!WC{X|gRNcO^wiwblTRTavYn{!U%`
>zA1iG=DCEQWluBUhH|w>KC@7h%zGc#!{Ua5sdx5khwRpvNXV`91HsF<R36;pWs3FoL<NV#N6grxnso6Ze~-KH$p3F1L{OOb{p|C
W~9NyWTIK0f!fzs?ZzIXmbUVR?zy}uIagP4`oo`rHWUy}!bm}OdnvjD2)Y`tOdOJ^ZQXH!U{bDHcge`q>HZ4NLu3)d#LjcIGsZ~)
pF7pBNE#{*i;bl@h*~loo!cOJA33Kc3O{Px>tokgfOi?bqK?BMExIPlBE+9npv!wSSl16$s`v_dKf+Z~???lLY^T}5`!wD^4<^vb
;v~cw1tlj&yFU0N0~(j`y)L(OWdtN@k?tlU))Ge==2!k(s}1RWW-1dL_U4Y3zuH0V7eX|lxAG?ILT;w%P9G<f8OlxJ5|D`^Cb6h3
p)+@ixpXBY<a)=(NqiuM+DgdJt-C$uA44R;VMdo0&>D5thqndo9vZ<TCT2gFrfI!f?y7V^)R&<p3deh5>^OLu^92)h>@RsteS`dq
N^zHpHbNBc#_41%ARPAGzgm-SY}1m?`PzfDt=E?EfD!vOW1m>G-BRm4clC&Ns@Y=jmodm-b4edqB*M5MXHkHQc0jq|K(9A{+W%ql
H+^4}yt{QzTR?WfsxfhI&cI|69Z-C3NfM{&`k*B-{^mQj3uAB4Yn9XUnB#C-sr8JCi0nY5D%u=n*;3;@2e|Ys*w8sg?(<K7>&WQr
icH?=qPGF9S>^o$6lQa*`>&6FYP?WVU7Qv(q-jJV-xRZY0Z@HYJIYr6p>^1SeNK2ft>Bav|J!yM(%;gC#RD)E_v^+dI!gV{I0x@F
2d`CEDRCt2m+)#6%JCN5N2_LWzfXPkYazH`A)!qN9w0RAT%9D7t<&}iBS`5z2H<M^0vJoc;OTBoz?XyOdhSotnZ)9mDq`-qt<Z8l
ml99(xay``er9qlp+>gDl1d+YK_Ng`n+mC_Y=mhJsWCd{p8Z|C#-IplYu(B+gH-giDTP0!9k2D`p=psdRpCHq8_5q-ZY}??09Ogf
eX74K3u_~$#u*eg^VKd1D=9c93~w;nFn#qT8?ztpMLGcP6o4K+nIwMw-20lxf>uPehB<AW+C+IKBse{_r%|V<_QXJx6?{6->K|vU
JHcW2Lu<uBTKeuKMOgbfU*nZ`ugd^1g+M9k`MD&6b4_UE#>x)&|9T+nkzU}-#@I;Ov}h(?AphmI8=CQ%`cItOc$;FNT!~{rAb+eQ
a603PGqwb&DVq$IXGH`~MgGNQ4cJ!@*E~L-uJ_^cz(DyKndz^Q5C%V~j-H4Z8Egb6u0c!msi9U{bUV*?WKjYe|F1Ujc;sdBJi5u7
g6C-bB;L&U?IhK@0?0Yo^A5>#6^k%Og#E^*wB23Qf;?D`x%R$xC>(^Kj=x!VgZx-C6OiS^_nZ?qOS6cPtRXH}6vO};xW~Ru+4*UE
UEMhk892Ox^p122TPlC4I7vDuK(ZZ+9)q_ZJoK(~QN_LBmWhr+>7?tleCF5;xv#UhcU&_SKus!R!dzAd3qk!`Ie#nk<C{+F^N+}B
Dw<Dmf?MqRR9@$N&MbiP23~*X3BjN^DTE=;_dLewo=q+Gc%EV)_nXaB+RQx5q4uS(`zdXTYHuC1mw0wVG>@~Iwd8`xQz1PCddnb?
z0q_!dT}RZD_4Z?nec+W>eTc@qm@Vzm*qXEwhU(k3w{fa$av?l&TDj{99YZAAQ;eUB)}7K0z$BoE({9r*iNFZzU^VCIoS`DMq60S
Hj!~7pAikv#jk3{@N}Ca9lY4RP;pzTmDMA~0{Wc1_I*NF_W!#$b*<2q3oE`30{ebgzeHeZPNFKKK@S3AO*F=ZMOAOO0zwMTYQbiW
wT8Y_BI*_SFM0gyB5-erhA?N=+2JeHGm9zhe+=odAp^)EL|*!K*Sv8hW?W<m2`9P}Y4Np|C{tC=yfPnSk<rK*Ui?-4UYm9hfJ=8n
T9&N&>*5$D6X^??o#k<rB+2@LuRq8WB`8OYd2B=K>(V6#<-sXIY86OF6j%8t*YY!$K?TL03}aHgH}!Vx*uY{4EbOnW;;YZGyo_jp
*UUW?nBA7DUwU%cffk0>6arOaKY(0E(SUJa2M0VM4%9uKg!h<~P*)k{+gUJwfvf6nQHLQu`0+K3`s{-3o>cYVGgCS^LzXA23A_9F
d~qKtzh8O6B$;2DYc$0@D}0(yXE_$bZsk!O(+0uG0=S6END#!GaKUj?3vq}Vw-`ubxm%^1_MaZ`0j-k7>TF8dmvykQmhd_5*E0k}
*j;*4_&m>JX)yWtw6fw0V;@QMUl;8En8|xVRovt}m^#x5mL1DGC86n0rs7tMo>W^JLX-cnaS&^G7T5|V9FvBDwgB<_EmBH1am57h
Q?>2vd*eEhUvVO{bKoc)99)%-_I3^LSlLifwb|Xo-d)1GkBaIWo4W=@r_}LSUSxBgCb#{_WSs1KZK1FKh}A!q?k_Y*3zI5zmC3mP
cWxe3Le#LBOv9b1rS|6ss<XN-tDj1^TP*6}8o?EL%L~kzH~nTC;Yn_l_8XZ!TLQGr^YGwkEIbFnH+^rMEU*tC3!-8cMON3V2JY47
Uv;;@O_g2T&iQjUIxknONd&HeJpPEWU8nl>lA`+&`lw=ctd2brJr}`fpdzr3nNXyToBccVO-*{hl^gbF2)0m4WGa@SeA9uh^pVr?
>K$so{opS=0M*ImJWBT8BC|TxhZ6PmNm!v%YHXoSXfW*tld<#Nfv;KvAq;(CyVu&~y{+)`ebEa5MQI+j*h(z!sCYH=>W=yqxa}fM
fQ13g+1VC)#4RC1=tzal$leet-aRvk>Sc%1hPO$Oh|DVgAjDV?5KMn=a<w1GEiFbm-*V71JJH-|*cT}j;M)0ewyUliPUc+q`s#tt
E`}S%AyNv}v8$%1wsLite%lamYI&=2HNa0p8$%2)xp&I9Nx6@C(-l7!ek(4FfvFl+dkN7Olig7+U76^exiiQMwPr>7JMy%bhluOc
2Re66z4V+Ob23PsaZg($+uOXD!5Ts#aqAe1zS$JLQf&Xq7|tqCckb?Il7AN!8ng2JOZR#vEP;b7YT!>Fk*xLIp5_jk?+;pXP{|$o
5HE=kKjUk>RfZYBRwHxwcg|3=tRm_7Bm?cF;%t<K=XSfFbml+O$lT`_;;{36=hpS!)=FjSF|8EI>W?f{3t)8Rf(}I=?4K0Ul&sSh
4h9LxiQuq8y=2d44yH7nPGmLSTr?0n6}NhQVJiDs##5!mq0>r7Cp`SWK|g)(<W|*~@#Ge2sD$Z}m52ET&R8!snXlbM#4e&X=PsAd
*@-u>U$z9~+j#}xFsJARL&^EYW=UinY=zZz{C0K0*8ekv(J>>~iT=Odj)i@|^FPCq%!lhasdi%O;Y#a;JV~0oWOoids3I4YL#QLa
!bv;ILm4L5WiAklXOF6g`9GP!B<#1!9h5Hts}3!`eP5~U<iI^Tntc~+Y!Bb=akCa+0*bmS&*XUF7{ib!mFMCs!2G2zBF}>slNj2j
#$~Y$qR?;@SCkPzGHomZmw-lltvS}iXarxLe#3I@VE}d0P9dpq3Cm6LF_&i~GQ<Sop_8TRs}RSYE~=<T6S|u1tm{}{MSsu{!4}u=
du_D_B)kv;r{NJ$wbbqxAB2A}tDN^)lHdb;U=0Vm<48t~Hr<4p`-q;fPvy}dxD$)56*Yg4BDC+58knRW#ulr&E~}BSSsTX?In@HE
@4fE0k+oL+R>^D!oqdNQrw{mZk3l*a*^PQh!MlI0IY5egM&F82^Zkq-W{u_9yrUZ_9uD_UC;jLbKg6+E7|nT+?poRU8xR8%6iJ3d
mF|gPwj!E%;d;~~f05Wg;_4*f$oD1Dg+v+slt%I(l|y#{gKWvEka9sT+h^ifEwF?9u|4-%;**ZgxK>Zwi`=3KlhFO0DJ)eSY|F_W
3qr@1az754=CiRolv|$@Tir6r3oZBD1QW|f15{r{ToMKV6$J-#teAVCoV`Mv*%VN@Szur(^^Nu-8dr~SO8`1?m3-w|^jd>S!#}Lh
c{F4uN*8$DO$=d4z6xYwF|S_F#QUrQ6OAy)<mOmq1~{4}ilJ0<$l!WB4sw(lCz8+u+_lD}y#hkGR@8ycK3q#=0mc*X<OuYBy!_uC
R-9#XKWecby5Abhb3KlVTv<u=$sLn(EE?f@enP~}s|yvjG~#l=F`tC|j>t_bE0vt3_C`qcTg#Fph3+dcYePM9+m>Fqz!(gL(g&w>
0FRV%9S!*%O<+GTHts|~$1$=8tyT<~yd}!f*{4b6XcC8?itB1y_mZrzY%N6`9_la_ydIFzj8WNb4-fo$ew;F-1CI#_6j=x6xNC<6
4#?YjR=hIU5pbxCxXU4JIe5R$>2@QTnki7FB;hg0K}&~B3CwT*g*b9Nv#?n>6jegpg7J}A$bz4=^v|-@8)E<4sUdQ2b^jZF8lw$`
&ZF`=mH>5C$9r@f-_<U{TEHP~wikB*K*f1r<L;*ycnUY3NkI&v<eS|{STS~xu<^LR>~`EDR8gfAT38Qcsf2a2o)Vr3X=pWFvkOXA
u8F=>!_rtHjz~Ybie`0Rib*z^&0@a`0hR$LUH{Ko-;CQ#Tx-r-k=z9K*D5-Nm>arK`+^j*Er`5id;{3?qx;&Ka=eNl7|IO%_SpyB
{-+qD@r^`$G2M^E@PwA5VyFSMxnQ;ZMrWbCdX=f=xDsCgQuKC)Oc}#SRTWT*L-|0Z8hWRX=O=|&z_2fd19Klq1IVTz)8nH_T`)J_
*ta}~xnvDBFff6F;mejF^%+Vps?K$1t-9@e{}hw~_+Z%s{`^~gQmO1)w?5N>v^<!iOQOu{w!urT>i2LAZzmcx%-U)#_%`B6nW|MS
$_k!Tj?f_bHXA|KOixVnuc5S}<8TYMu~qM37eb=w7qM&+A2{Jk!I3*uRlfxwC5sp370T9t1(66@rCDFUx^rE4siS?VybfSDOVgs=
I1Ae#;5L&9RCr&`BRr%If}sW<%^wPBPz-`dw=3rtUfICN%m3)K0XetKZNOtBIvZ%$AS0?(LVhT{#~4ndRDg3?Cz#<iuq$nB8=l7c
3$L7_7;CGXK1{C(k0islr6<Bx=v!uzR0jM!bw&sXw}yf0a;>7Bp_Wi5P~%JyEaec|D-YJ(LBJg|(w$5g9^M+EJcte^xX0THQXQWd
4|YE0(o3yh@zYm43UL60_AxI7TgcT8p34(-qp0NoA%DtGdvefqmU9gkuug9M)d64$SZsvfG5|P-h_LnKp?ngDiBZJ$54UeVLM;Ph
;VQzEGM`&9Ln}k<#rj^KNgX@%4$TR2UTn|Sv&lX>#~*u~KMk54<VVQ+vwsXdlX{u5Hu+M|V2@}Te`mOKO_j<4<d}X|vHzo2#w=bF
P*7Y0L0Ye1sqZmGj*3Vj1(?DGc*2dpJWGDv_y}9Zb!VUph)YqvgSz=0fp%ayN_Js9nu~XxnjoHyA<tmU*6)zVvydq8w@NA%r5@&u
avj<9`Y*edq)1-0IrD7WjfrzSCkNiWtoQ3p=>i@4kZ4T!8w&}HHC8otSxWF*<bu=)4GA->PyaTaDLV%Tr~~m0xz{3~q)ZU`7OoU^
wD`&!1^~t=C{)erB8*Y2=-C&!O7PeQLDj0Von^EF);=30cBOhqbxV9IrxqMWzdnv%CaFUJqS&J13Ntqc=tMeZ3YuW!?b=WL*dbR}
Am%=xNP(>=%%xH8Qmg{Cwo%^6B;5%yY<q<S%p<TDk8u|^;?f&Sr*yCueBME#8Py9Y!=gwWcfyj!F||G@xXWEf<SF1Hp4o(F0&XUH
1HKOnX}G-CZ0Q%EJ#NMp%^=<VSC8vR9{WC4Od?|#hS~n%&u<U7)0~Old7m3To=IH}E4m$IsGqy3+SuG=^&X(_m{!khbl1{9ahlnc
3t~V=DVik1@i;)gRD|Y^7#@U+?C@F|diSmDA=L=!wpxF#(O~SNyNZzy!x9Uece3dJW{s~(s8{MWd39m28esKC)7s_&Zqe4_mA6#e
U*0vs*LW&gW>LgDjjFOoivi>liQ45x3AVR7>Z)4KZRP#_4ng~bx&yH#N0#pciZ&yN{{nOgkMt}klP}D~&{9tqyDY2mL)GZ~`AG<h
wi{T08qiK51M20sD6M{Un$x?dlwTH?`14<yf~fb~x2QA5=)*`Z0kgec;HlF4pBC4+r1kv}35QAe3dyTI1?;bf>f*R8LdsgcE{&}A
2B>rqNP#ig1%tNtnFtkATJx(|tbxth=L$ATDs1kSs(!P#vW&K|6nT_XnH6mXc8g>3^-{r*8{1A;L^Xy3st)w3dBiE2GEz|Dqt~<J
N`>RSNW)$}CcbR{%=aSe&a(;I5iyUH(s4Wg@g8)oZ_=sA-s<($wPA;ChPj+b!uw<pJNM{ffx@R91-G$P71OUUBK3(m_=huMQMfn8
J0;lmXWm~M&lhI2;}~a;n-_HD_#i+-3oYK670`JsxPF<Th6}@*?g}%X^{ne&yu>g{c2x(77yO~iO8pzCg$mxy@Mk;np(iMRyC0q2
9Qu-UULIpyO%=1DTM5g^1Mjce={hhwDo+eG3c>=x^6*RnW4QmTBoWkUT~#Eo0*VF(SyB-s_5xzyf>c2l+P!Pyex63;w{*E@@zxeD
9cl4DfCvkN7tuBOp`mRTXEb(gPWvXrRbWwCDUF^VggX2kp8y=rt&!O?%CXfm3d+f{6Y(vQJV%`d_@K0}lX!e0KHX`=wU#;xWHGIT
WbY8`Sj`Velk+QQJ&i@A;iVF@gUH`tr%I=HsFc&uAqa-#Xzz$#9umX*-d!hg&lE3E5e^FFfn4nuD=LpiCPF=t1%Eka<hik@jT9sf
3g)&I3#eQZ#C&h}34tkgKTV9c@N_<yzV#-+leMLx%=qxWA!3uoDxB3X)Onb}JX+5Pm$Dz!`D>}TJ;NgN2?d!>J5Q|(B}_;IWu}77
VOt_0FFz+oB(d~2Bbv(S_XUm8xnZh*c#a1uQh>#PjSAeFCt`Ik{H?-z)(S>UH>MA21b3VrWtJ(j8^oY<u^P%&cp$=e1q^2&c3yLb
d-mRSDweyQ50E-O0>kq=o6_*1${LMAbTU&Bd@&f?oZw)GB+j1%fPAO8NOLA?9q?o={PoLj#vu~?GTU90uBuIp%ptzh3R+uA)?A&2
ZWqK?&gO<86!vk~G{QpshL>h^%;l8oDaYyD42JpEvVbU#(Shd=U981kl-)EeIUX5BvB({!GCz{7E!N-^QBF2_J>2&k>W_-jTEvPT
sAVm*uVUtyUQJ-kdlF=;5CeJ!7K3pnNl9oz_;jXvBUD%+*utlIhE<#BI5W(p65X^ZZ44jj3;J48_@Z_cRIq#zgT^mCM5$XknqcXS
ONS!y_qN_NfIb9KI<VS$^+ErXfXxqJOvPiPNH3SeEq|$k_?aI(gd4<x7r1Oe8S-GhbCbWt@p_9@TD3w0yojHvd3rxjrB?D|v~Yo@
M#zwI$h3BsGNR>en-8_>2k=IIu*2X|!+y><kx$cq2Ga49KmGX{?wT#gKoD*#qd5nw6C*y_YMjS_p}ojREvF${Sp!T#^0-vB)?vWF
?2=s1()%Y9g!-AG$#$MV-B4sptyMe|&d+i%e+iEFgG@gSaelVbpbvozLUx&*eRhsrG+cdT&P1%Wg8^x*iW7CYxSZHw7jzZf(9Jcc
6|QlyKBOf45|??ZS;m%{lBoDXcQMGRlO>qynIhUQH3~mjP8T9N#HSFzGp8Wx5Qbx90yv~w>Zu~Q%0e-#aCbS^d?}#~_f|T7<P2}W
Y+FVNF|;Tfr4w(?Jv=U))#~NnIph7fvcg|rM={V(Y0(}frC`9z<7i_K>>{Zu<_c@Ytgn_tZ_^#{9x%wdgp7Q{MjI<Yt3SYD+;T^O
lA~;dcpT4J?;b#`bw(~aQnaG&kKGF+mekZ&j{<YP&Dw&%CscPClH%_i-xxfbN7x7&u}m|SaPU*pCvFG&q7U1W&2%4C$`eq}H?;Wd
WlMr$!<05*Bi<w>&U^C6UYUakRT(CL?M&nN)?OZ6Bh(jm$vIxIw4owquz|*`a*&u0+&l{KLT==aD*e$6MdKfvW{=yuP!4Y026!A(
!Z|fLLBf5PK;$kE^hUG*U!8t~qVybVTAx%jbI(z&6g&Fu|NO%wFbG<Sq2;cG*Odc<nvR8CCn+pdmz`v~E*en&EL*}bNRlEMXz}5?
oS_Dn?lGKVN^|2DNp%!R;z?nzy&$gmFv4{2#Y2%IVb&7Ovj^Xz{H48wP+#;OK-)>?7I+2n&^pnZjB;IcS3*SvcIOVx#S(ZIoEF!=
!?hB{N2U9zK#+JzZ%We(A+r|rhp@82pNNV!Ep%b8=<?YU)!s`FC1I~T@YwwJTrtX<@-oNnb!BjS@N2312^l%$qy38h9q~vue7x5v
O~aLv$_>fXNLsx87KC#);D6i355F}J4{LJyn>yt!$z<Z1byP`oO9fCOdbvqJsq@$lAbLJuv4MprAr`xPv5Xng8lqUUP${!}hYh<O
G)z3sf8jQQX4}$Wur+-&8o59Wq3Y<(thR~Jc;6S+HhOQ3(xpM$M{;54WK^`-d#(hJ*yXwjH;+KY8LaNt<xW^{v9CE}z!W_aunOTR
UZEo40!k3!a(zyNvS%5NJeh$ste^#8H<0iC(dDVReFjq;;`s}vMX-f14(2bQRs~bsP>T*T(>*-rOj9|+2sXho#^`KIo*@4}ZOT#c
*zED4hCkq~+~h{_??zSfE)koqp9WLSiY?4-voW`Ai!5@!)V*jH%RJmQFYlwMxKfB=^(T)dSQnK3yaV#=&Z}n(1b8D|=k#*kTzCY+
-Vap2Rq+b470w|7bop1qmtZ!9`NTN>^5Vv-<=+(}c8ZoQf=BDcA=q(JOLU&~d`V+|MCn+e-pnVpg;ODMyf@N{>DDQaTEz2M@neUI
ZxBP4B@0<-{A%_5bMSTDO7j(!-n6Q-NmFK#W?8o<sMi7d*)+muXA4wJP^Kch{aQbK0Mbz0er+S*WnPkntg>u$OPJ0L_UY%bSN&hW
;m^&f6t$cC@DB(`W7W!mB%A&LHu#@REgT_(jNC7nAHD&)=M|S|A@67nmQv1ZKhA5uXR4)+{TRn4#jgivPFVeBEJGlD02rFN1*qr^
P0M6V1&mxHWF<b6OfNF&^9$uJ#odk?Du<!A5wcKqD9GwgUO5n}?*5ihde%PGq>5uD#aiEl-O%Ry{B+}po?=ZDK5PLyqwcpKTGEzG
*I03OTrnOk>c<bG(2*0(#x6d?xjc>XFm_nn9P25rx`Ds{SkOnD(Vw!(D#Kj;-R=XEu|4I+NsV>cCh9z@lnXrMAb`&=;Fe3*v*>-I
tkYezl^cA%GD$Byl7_c((9ovZ3{`>b<8ACTE!iplG`7QK>`bTRM=>Gi#hz+lvc=ZN!Sq0HaY{HaXbiuE@_WD`8M7M|u(?vUFh;y7
b51ndH|T!g3_;HeW`jYcu%IxxqgtjhR<{q;BhiIbHT@6o>m`Y#=v{nH8<%*oh9l3<*brbn$z$8N1nCDT%yq#aopxrvZSQv9K|SiR
PqKP?5g6<QC=-8C|4d!$$pI>K{UV|*@4tTjIv#UoyE2MpQ=f;_!0e(=jb~p2B*Cj<6kx~3P{!kn*x4K6SwJY|qhDEk-y$Ml=e0q0
kV&B0L0Is$SX{6sHcI#=1oQZ9^LXGo@|_G3;fRBBEh9C3ZQyz7)TYJ}3}#>2_6t|0zdT}>)j3%*q~U+_`T(yO{l`rN@z@r|&qKDi
ByVh*2m&J?>0k?LPQA8hgKj8-STDKsb}|!wolSMtW&ZKZivB|cUJe=sZjaEgft|+_%tb0Mx5_i1=A5%L#2*NwM6_(KH@(xx?$h;v
mQr1_8lzEyHex{_ItjX~;h6mtQva#MYSdR>MVgbF(7vqPvlEFyx^{;4phx5oxW`x=Df}y~WDPZ~J@5M`#!9oivgPxhnDo8z@ioDC
UXyJa%m}?!N>@Pe0!>AhO^5{hPx%_AazTQ?=>7m1v<}paFpb_}c0JKmNb@EQtn*nd(GDcqRiQoC`(N&m>Ou<zsl2ak3t>O5Zl+1E
X}#mr+2)#c{Ow`1-R)Y>44<js$K5{)0OI2kg_<Ryp8qGk2=+m5b~FYuFj|&RHh9p;dtZ~l&-iJh?<}EC!&L%`1zF)TUx+Mmu=ByC
TzE{x&Vz5pw?x?~dI8NiG&HA-<0QMSb+4w#3CpOgG~<31-<e8(A|P;}jZ3;#DPPCgaQofb?TJL&5jVGCmJA`nxbr^)i#^mE0yv|w
AM6!cRWm3-^)idsW!cOdZw;hsx|tl|Jb?|BL~u|OJve=an!e1L?=aD6y=o^WQUMVcstkt>2QxH4M*?O1KsO-k#d`9N!pIjZUzIIa
PT+u6p(Hgg&f1~hv?C)D98nkt61+(Fi@sMQPogles{z}Pl5Ct@o?y=YqZOND00ri+yF=}Qu2rb*tOxZSSrS>RYvQ+qXgcE}mV1?W
qxa4|o|-X3Y&Jy|*e6m+j2DG<_Y(tYp!K&i5JeBgjWXw@$;Y&y`)|8{ur?6oY%jx|AOCA|QQVUTG4*C6YeCJ8YUk#7g^hJWlIpV|
rYR4AvwKhQ%Zia*>OvAc!bw;OaRZCo@gyRuRCm>s0ztcWIO71F+&`;+lHB9s-)9v&8;(gS`f6(^cjws)R(^pwws2Ws_!_IK^>5V|
VR^-KODNXoLE=x4!=lC&UCLm|?uj-v74u+@&Lq?=Gi<lSj`5!qmgev$RG>=yU(IwB-Pnb1_C?tL7g|O@LRovDWTp1NjS+4-U>U1b
GqQ0`ej;)>xn3oKt)W>{F~mDT3=gAZ{>stf;`Ns3+`Lx=e0=dnJv<n_Q4cu*JP<{4ZX+u2+OOm?#`s0HBA+;p(m)efQ@jpMnks8y
&BdtM20-*n$gQoFP*VT16kBN~jM?jD^OKBU-5d70nXV1k1x9EqG!F#&b~sSxgZxG)niSf)i*2^*TAYD~eB6}Z{+V3su=2B~YfY{j
QfhR5z+4q+m7pDbIQif^`W1b2$($UI8eSu+cNoC+Q6N3iQzaWBfbSp;>%i<>;yG6Y&4Ul?LZfDn2^e@E;+hS-^3NvfZx(Bgpww;)
nHO7f-#rD?Rv$Np5z!?68MnCYKsH+Np*8$D4l=q)^aKsXZqzl@tcL)#m(@%_BdIDi<dw>E#SHdKLi)uNVh54nH?K$o);oIZDHLSP
zlK)sV;uAp91bVW_eFHs6NW*<k3BJw!dT$v_N?w&i8%epf0Yu1+GaX*qmYBL=C?e&api{)IfZjCCZLRb#+I`i^vzp%@Z6(|x4oN5
+?z0Ry?o*Rwkxnk;qE};@&$g}%cV0UV~CEQmiLxY)VBwBL$ngy(WUHP07HxX&XcfU(EhB5&Z==eY0~+i+0B5bY>b!@zQB3E32i`*
igL5zdDmvp`7FPJC{TBuo5_ar-Lc$d92ll;c#?T<kp`*%8O#P8n!kK<r$-NDSpCvid^%$re@`>SwM1)Dvl-ns;hwi?Kr~z<hG498
Qk>k{ydz(vUu^A=EbZBdq~3zh2x5F{XAO}5MCp{?4*+8#<<N=O(Cmq9d=~=7xCEgr9yB^dzGf`8cC3~mgf&gR{X~e4qLE0Isz9Wg
v6gSsBFY;jlUY9bKAp-bp+|uXf95xsMuFo?pUB)T<LVaoT|7h#-F7QR1t9gpfPwahQ7{SU%pB=Bd&>eLT4VG=c)+M-0(l6Ey}(Gc
IffW%Zlh(Ya-2UMWe#2zi?17Nl&;TFD!EV<SFvNYmnfTfwxIiF`U8^W0~6X#^|83E=mpb{IZ3^7@k@2y08?WS?Gtfg@BA(@FJtBL
t`iFXPU!b4^3*~MhUS5cX{F&pv|8dYK#D0eL~z+~s3c2CUV_!%%&FjQO4+nNLC?a3=_B?3mUMMs`*I~Zu39m8#W9sRgQCy7rJ^7l
b>jpx{#=~Av;LA%y-0;8*eLms*z+c2ujl~X6hwvEy67|qh~&||Q_Z*M*r+&$O+6^<Vh}CWPXKBX`rWE#9c8`>VS^8nIRKtLi!@~L
yu)mLZkfus_yoIXu|4>e^|A`$Xa?yfY>r{-*v_)MXn1nDCM8im+hm)zyY+84`LZ~I42&brKDGU5QTOY#$A~5XxcLIQt}*cW?(g?f
H5*jm!*g@?I;TYv*<JtATLFGpymsLVP3U~5%vFK;ceZ`dW*I1WKZkOAP~5dKf!FY|kLLGO9_*c#E%L#W%SD?u1^4flq8b4bD|`)_
F+~jS>HZbgdds_9Z`~F#OxHNvscxlI-HC+wf=Vw%ZrE9pIh_8)0$_=-=D3jo5aank^Si{9v@ee5&HDUzXMs1YQY5yV3OvbIUD(|;
@qrT=BE&o~7QbFA93<2dI|i`8EhwXsQkvO$=nn({%Y=8<?Q2CF18~B@hq+o4Dx327Fun&*(M%2*gN6ZFih5E&wKRCA=VyP5<6dcM
Wj;(hz4!k%pQAxI`C|htxNjKmV4fIoY~gO!`>B|v%r$hN$9(8AkYyR10Q=!VI5-yPZrg}~>R8n~C*tT6snl#4sLf41m$RDo`C{4}
G~(X3Hz!6oQ4zQ;2Wyy$I3Pm)taT2K!^*lJ--I)MX>KviS?)W*2Fkt2u|uoM8L?E?1ecx#!?tBtEF*ZAsP_EIueCW2oaiLKnsY%v
bG0)f7R6X@yj?9FU6N(yMud2q1D$A(vY$!1&=7ltw4#%^J=Xma@<S!sMVsZ%m1lp=7zb))5K>&0+kTqobS|~lR&mqb33gXo)|4UF
(p`jf*eu+-@8u=}F55!I#hqd-kVA`uoMhk*1~FO=?Nv8=aPxfxMCvdwr{kTs%`lX_!tdbfF4s2V!NjtiF@bv1uosptN6(#WA%tTN
{yWH@aTcl+9>S(~FbOqLJFG(R9tPGKppQm^2=#|&_WCL*!YaZXdO{*1cw5mAVJXgMTe2+4YU69z<sj@UQiU%ZG{o~^bi0Y=SZMEn
tdo%SpKYD^nMXAWhwb>@zvT1IHKWx<`|YcOpvMZeNj;Qy#20XZrAnjC5&EZOj96Liu`46|3uM)F+$_O$&*fC5yHo5xgHzHdy%?Fo
Gb`gNrylM2sEX6~x^|CL18g4jlGly;?HjZJu>iP8K>kPU0lH)l4poU>B0hWSn7VJ_6uF~rYtH$ef80S}21jLddLr^4=+P`ie{}^Q
2P{<yFMeE{JLvc$XYMOuU>LUdjlbQ&%gyG2y@cwm$U|z)c1m{-Ghqg@4>O;t#{k$6l6ZaR>;sJ0cB3lLtJ>pkX4Slxi^8(~o!*z~
KY~Y|fT9=Qk$y03k$FIv<i`;wRBYJ#@zXJP8;1u}*gLb2k0X;rb=$PW=VrQ!IyUy4h5jODsaYK9xNsWf<r?dslC2yuDwn(Y5Z=aA
;`nn!9)IH8aAa@TgYWk5G<{uldcxJj+Oeu>ZeH%dyC-lQ^&XhVIo=U)x(26~#%B#jx!H@c%#Etf=%g9^T^SVtMLk!xO=6k~T$Z8U
5Oz7am?+httLRv!azyZ}rexIpd%!!#+LOhlTBpfwEogvNV(_wTkMF8i-eamkq@O~LX>bj<soZw))V+nMvrdvxD-vZ7IVIRvHmmaK
i(Z`VeC$8YOqq&vz|Cp7fVu(sO~m}!9VMxU!k3}y2(E8Z5wJ1_QKJKZ5rm}A_Lk);9GJTqRx8@dVyhAq_0vWfPiBAx&KjuFC>qW=
5S6k}+y=6eGCXwD$+UBDmUGfDRLp2KAEv}cB*u<H>AbCaCQsEHlS>bioJ+vP?qonjm<MDX1ESaS!?+}J)K}{@tp^^|k;<)pq5Gkg
Ow8B2uVnE#UrUt|K3#`Z?aixNH<bVExeIqJ4;r;m>ZbCRmDq8M?j)sgNK)F`vNWc9D8qlO$@a1Ix;ZtE(Pq?O-wBUcv_5%Q(Xxg^
+#n`)=Ju;e)q2f_ImiPKg!!Hc6j@$E*XaqA!}JRnuST;+aF>83nT(Wp*U_FDwJONT-LkgJEff=u+V-AqDwX|N=D(m6cmGhn+2I<a
6y)W8HsyHXqSb#R!6d>Tf3_NxImHQ|qot%Gaq;cP;(&qm7_8U2c&c2FkFjvOT+2>Xtrea}xKLxaK{^)UFJ)MaGmLHuC4z7X@&|K9
bea7dTT<7lQMuIPqH2LLeH8wov*hq=%uN7brswg~K_Pv$8{N6K5|i2tdWIEdl$_Z`gWa{9y7g}C=K(?z>x5@H2u!$I2FUB%x3vuS
K$JQL1geFUyvvv4l@s<&74Ep+=d2RM05danLFd~B`K3*I(6t831``oQWg%o^eD#8r`@=~$IZ3oiB&^53;+hYt_yX8vL|S)o%b1NF
{$zzN!Al+bbJ7B&d6B*l)0t=ziW!J=a<XKaeQoGD$DQ>$Ms;=dO&b#tQ*bdh^i@DuTcw{_#o>;yl4zy~y?RfayF6n&dZ~<s94g7W
>UuqoYQ}zMwUAe4h4|=5xT?F;D9{_c9At)C3;b2uev*8#NL|6TmN%M=4oN5Cg;)~PYW1$GoPnUxTCV@S<YY@qymo~fukV<)efsXd
vwbPe*d0=>-ck&F*T(r8Btc}4&y^`h@hw>bGP{C9LB^-yi7X4++3+L1b1Fm8MBrNGKZkxlg`K_rIL?=B(m}Vm_=a_7R5<~*|6G(&
M-NJp=RwGMPIL9dOGjfA_qzvG?z0BsV&V-lE-lqTV@;Yh1bR>Bc2^e(yxh`kuhz~WIQB~Nz^yk*3`PwZe6{|V5*Z^0cFiWUsJhww
Ph=#vu^U`I@%f(k)uvEiHpj~Wgzvwr4{d62^pLJJ-Myip2nARNfE)vFxfrrTF{L-MuaWnc$`+eu)?-hk_7NP0U0PJJxfVZ^`j~{h
YwFTk^4<<n2G@wsC0Isu(~4FaB_-*B#*F1Bb69arPtQQ3RDpJZX5*k#^|2+Eh~!c#-~>;Hkp5jkSR~Ug4!02T>l``kVV}j?+2DAV
KC6Sr=jJ)+4{#?w3tcr=ZoTe@ARu0Xu(@0y{;#5xm(A&#a=9TBO{v-w8rc(DEw$b~Za6YE+s)F{Gh0om>-SfFimx$Mly5U?(ck&Z
UL>DLom)M8O7GxRT@zb3pq?QpTXxOLpLf2_=7q&j=Kp-lX!k>^0SA}U2&ZWea%=nKF5_6A+W1rJDyh^=C6TN>00000biV-9e^+WJ
00DyE0oc?F_){p-vBYQl0ssI200dcD
"""
# END GENERATED

if __name__ == "__main__":
    sys.exit(main())
