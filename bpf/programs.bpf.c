// SPDX-License-Identifier: GPL-2.0
/*
 * membench's kernel programs: what crosses the sockets of memcached's servers, or
 * of its clients. docs/architecture.md describes how they work together.
 *
 * One object holds two families of hooks. The loader takes the first that the
 * running kernel accepts, and leaves the other unloaded.
 *
 *   sock      (kernel 6.3 and later; commit 6e6eda44b939 added the tracepoints)
 *     tp_btf/sock_recv_length   bytes were copied from a socket to its reader
 *     tp_btf/sock_send_length   bytes were copied from a writer to its socket
 *     iter/task_file            what waits to be paired is handed over, at the end
 *
 *   syscalls  (kernel 5.8 and later)
 *     tracepoint/syscalls/sys_enter_{read,readv,recvfrom,recvmsg,
 *                                    write,writev,sendto,sendmsg}
 *       note the socket and the buffer, if the call is one on a watched socket
 *     tracepoint/syscalls/sys_exit_{the same}
 *       one program for the eight: now the bytes moved are known, and in memory
 *
 *   each, in a version of its own
 *     tp_btf/inet_sock_set_state  TCP connections that open and close
 *
 * All that follows speaks of a server: it receives requests and sends responses.
 * On the client side (settings.client) the watched port is the peer's, and a hook
 * turns directions and sequence numbers round, so that RECV stays a request.
 *
 * capture() turns one finished call that moved bytes into events on the ring (see
 * "Values" for what it leaves out); pair_or_capture() makes one record of two calls
 * where it can (see "Exchanges"). Whatever a call moved is in a record, or counted
 * in `counters`.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define AF_INET 2
#define AF_INET6 10
#define AF_UNIX 1
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define IPPROTO_MPTCP 262
#define SOCK_DONE 1 /* a bit of skc_flags: a FIN came in */
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* ---- Kernel types: the fields used, found by name at load time ---- */

#define CORE __attribute__((preserve_access_index))

struct ns_common { unsigned int inum; } CORE;
struct net { struct ns_common ns; } CORE;
typedef struct { struct net *net; } CORE possible_net_t;
struct in6_addr { __u8 bytes[16]; };

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned long skc_flags;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} CORE;

struct net_device { int ifindex; } CORE;
struct dst_entry { struct net_device *dev; } CORE;
struct socket;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	__u16 sk_type;
	struct dst_entry *sk_dst_cache;
	struct socket *sk_socket;
} CORE;

/* The interface that a connection's packets come in by: in struct sock since
 * 5.16 (commit 0c0a5ef809f9), in struct inet_sock before. */
struct sock___rx_dst { int sk_rx_dst_ifindex; } CORE;
struct inet_sock { int rx_dst_ifindex; __be16 inet_sport; } CORE;

struct tcp_sock {
	__u32 copied_seq; /* next byte that the reader has not read yet */
	__u32 rcv_nxt;    /* next byte expected from the peer */
	__u32 write_seq;  /* next byte that the writer will write */
} CORE;

struct file;
struct fdtable { unsigned int max_fds; struct file **fd; } CORE;
struct files_struct { struct fdtable *fdt; } CORE;
struct task_struct { struct files_struct *files; } CORE;
struct inode { unsigned short i_mode; unsigned long i_ino; } CORE;
struct file { struct inode *f_inode; void *private_data; } CORE;
struct socket { struct file *file; struct sock *sk; } CORE;
struct socket_alloc { struct inode vfs_inode; } CORE;

#define UNIX_PATH_MAX 108
struct sockaddr_un { unsigned short sun_family; char sun_path[UNIX_PATH_MAX]; } CORE;
struct unix_address { int len; struct sockaddr_un name[0]; } CORE;
struct unix_sock { struct unix_address *addr; struct sock *peer; } CORE;

/* What an iterator over the files of all tasks gets. */
struct bpf_iter__task_file { void *meta; struct task_struct *task; __u32 fd; struct file *file; };

struct pt_regs___x86 { unsigned long orig_ax, di, si, dx; } CORE;
struct pt_regs___arm64 { __u64 regs[31]; int syscallno; } CORE;

/* What the kernel hands to classic syscall tracepoints, and system calls take. */
struct sys_enter { __u64 common; __u32 syscall, pad; __u64 args[6]; };
struct sys_exit { __u64 common; __u32 syscall, pad; __s64 ret; };
struct user_iovec { __u64 base; __u64 len; };
struct user_msghdr { __u64 name; __u32 namelen; __u32 pad; __u64 iov; __u64 iovlen; };

/* Each copy from user memory has its price, whatever its size. In memcached the first iovecs
 * stand right behind the msghdr (56 bytes, aligned to 16), so one copy takes both. */
#define VECTORS_AT_ONCE 4 /* iovecs; most calls have no more */
struct Message {
	struct user_msghdr header;
	__u64 control[3];
	__u64 pad;
	struct user_iovec behind[VECTORS_AT_ONCE];
};

/* ---- Settings, written by the loader before the programs load ---- */

const volatile struct Settings {
	__u8 ports[65536 / 8]; /* a bit for each local port that is watched */
	__u32 ifindex;         /* 0: any interface; else netns is set too */
	__u32 netns;           /* 0: any network namespace; else its inode */
	__u32 wakeup_bytes;    /* wake the reader when this much is waiting */
	__u32 pid;             /* 0: any process; else that alone */
	__u32 client;          /* 1: the ports, and the path, are those of the peer */
	__u32 pairing;         /* 1: pair exchanges; sock family, its server's side, TCP */
	__u32 unix_len;        /* 0: TCP; else Unix sockets: the length of their address ... */
	__u8 unix_path[112];   /* ... and its path, then zeros; abstract ones begin with one */
} settings = {};

/* ---- Events: what a call moved, or that a connection opened or closed ---- */

enum {
	DIRECTION_RECV = 0,
	DIRECTION_SEND = 1,
	DIRECTION_OPEN = 2,  /* data: struct Endpoints; offset: the next byte to be ... */
	DIRECTION_CLOSE = 3, /* ... received; data_len: the next byte to be sent */
	DIRECTION_CHAIN_BEGIN = 4, /* see "Exchanges". offset: as in OPEN; mark: the next ... */
	DIRECTION_CHAIN_END = 5,   /* ... byte to be sent; no data */
	DIRECTION_EXCHANGE = 6,
};

/* What the reader calls a Segment, field by field. */
struct SocketDataEvent {
	__u64 time_ns;      /* CLOCK_MONOTONIC, when the call had moved its bytes */
	/* The reader takes these four as one, to find the connection by: */
	__u64 sock_id;      /* one connection's, as long as it lives: the socket's cookie, which
			     * nobody gets again; syscalls family: the address of its struct sock */
	__u32 pid;          /* the process that moved the bytes; TCP's OPEN, CLOSE: 0 */
	__u16 dport;        /* the client's port */
	__u16 sport;        /* the server's port */
	__u32 offset;       /* TCP sequence number of the first byte */
	__u32 data_len;     /* bytes of the stream that this event stands for */
	__s64 mark;         /* RECV, SEND: where data lacks something, and more: see set_mark();
			     * OPEN, CLOSE: -1 */
	__u32 captured_len; /* how many of them are in data */
	__u8 direction;
	__u8 pad[3];
	__u8 data[];
};

struct Endpoints {
	__u32 inode;        /* Unix: of the socket; 0 if it is not known */
	__u16 family;
	__u8 pad[2];
	__u8 server[16];    /* TCP: address; IPv4 in the first 4 bytes */
	__u8 client[16];
};

/* One request and its reply. `direction` is where an event has it. Texts end with zeros; they
 * are what the reader's parser needs, and so alike that it has to see each of them once. */
#define TICK_NS 100 /* times are whole ticks, so the reader can divide all of them at once */
#define NO_SIZE 0xffffffff
#define ARGUMENTS_MAX 24
#define REPLY_MAX 16
#define KEY_MAX 64 /* a longer key goes the long way */

struct Exchange {
	__u64 time_ns;       /* CLOCK_MONOTONIC, when the request had been read */
	__u64 sock_id;       /* whose; as in an event */
	__u32 latency_ns;    /* from then until its reply had been written */
	__u32 value_len;     /* bytes of the value in the request or the reply, or NO_SIZE */
	__u32 recv_len;      /* bytes of the request */
	__u32 send_len;      /* bytes of the reply */
	__u8 command[8];     /* its word */
	__u32 key_len;
	__u8 direction;      /* DIRECTION_EXCHANGE */
	__u8 pad[3];
	__u8 arguments[ARGUMENTS_MAX]; /* all between key and line end */
	__u8 reply[REPLY_MAX]; /* the first word of its line; of a number its first digit */
	__u8 key[KEY_MAX];
};

/* ---- Maps ---- */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

struct Counters {
	__u64 recv_calls;
	__u64 recv_bytes;
	__u64 send_calls;
	__u64 send_bytes;
	__u64 events;           /* put on the ring */
	__u64 dropped_events;   /* found no room on the ring */
	__u64 dropped_bytes;
	__u64 faulted_bytes;    /* user memory could not be read */
	__u64 unreadable_calls; /* io_uring, splice, recvmmsg, ... */
	__u64 unreadable_bytes;
	__u64 udp_datagrams;    /* to or from a watched port; in none of the above */
	__u64 udp_bytes;
	__u64 exchanges;        /* of the events */
	__u64 outputs;          /* tries to put something on the ring */
	__u64 woken;            /* the reader was woken, and has not caught up since */
	__u64 pad;              /* no two CPUs write to one cache line, nor to its neighbour */
};

/* One a CPU, but no per-CPU map: this one can be mapped into the reader's memory,
 * which can then do without the right to ask for it. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct Counters);
} counters SEC(".maps");

/* One finished call. */
enum { BUFFER_PLAIN, BUFFER_VECTOR, BUFFER_MESSAGE, BUFFER_UNREADABLE, BUFFER_DATAGRAM };

struct Call {
	__u64 sock_id;
	__u64 address; /* of the buffer, the iovec array or the msghdr, in user memory */
	__u64 count;   /* entries of the iovec array, or bytes asked for */
	__u32 shape;   /* BUFFER_* */
	__u32 direction;
	__u32 moved;   /* bytes */
	__u32 offset;
	__u32 peer_next; /* see set_mark() */
	__u32 syscall; /* its number */
	__u16 sport;
	__u16 dport;
};

/*
 * Where a call is taken apart and its events are put together, so that they take
 * no more of the ring than they need. It lives in a map, so that each step can be
 * a global function. There is one a direction: a program never interrupts itself
 * on one CPU, but on a kernel with preemptible tracepoints the other direction's may.
 * The room is twice what is used, because the verifier adds the bounds of
 * position and length; a per-CPU value may have 32 KiB at most.
 */
#define EVENT_ROOM 8192
#define HEADER_MAX 512 /* a command line with a key of 250 bytes fits */

struct Scratch {
	struct Call call;
	__u64 base;       /* what is left of the current iovec; a plain buffer is one */
	__u64 room;
	__u64 table;      /* the iovec array */
	__u64 vector;     /* the next entry */
	__u64 vectors;    /* entries */
	__u64 known;      /* those before this one stand in message.behind, by turns */
	__u32 left;       /* bytes that the call moved and that are still to be seen */
	__u32 value_left; /* bytes of a value that are still to be passed over */
	__u32 peek;       /* this read may start with a storage command */
	__u32 last_at;    /* where the last whole iovec stands in event.data ... */
	__u32 last_len;   /* ... and its length; 0 if there is none */
	__u32 prev_len;   /* the same of the iovec before it */
	__u32 at;         /* where the next byte goes in event.data */
	__u32 skipped;    /* bytes of the stream that are passed over in this event ... */
	__u32 skipped_at; /* ... and stand before this place in event.data */
	struct Message message;
	struct SocketDataEvent event;
	union { /* event.data; what it may begin with is named here to be in the BTF */
		struct Endpoints ends;
		__u8 bytes[2 * EVENT_ROOM + HEADER_MAX];
	} data;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct Scratch);
} scratches SEC(".maps");

static __always_inline struct Scratch *get_scratch(__u32 direction)
{
	__u32 slot = direction & 1;
	return bpf_map_lookup_elem(&scratches, &slot);
}

/* Values that go on past the call in which their header was seen. */
struct ValueKey { __u64 sock_id; __u64 direction; };
struct ValueRest { __u32 next; __u32 end; }; /* TCP sequence numbers */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct ValueKey);
	__type(value, struct ValueRest);
} values SEC(".maps");

/* syscalls family: calls between their enter and their exit, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct Call);
} pending_calls SEC(".maps");

/* Unix sockets have no sequence numbers: they are counted here. It goes with the
 * socket, so that another one at the same address begins anew. */
struct UnixStream { __u32 offset; __u32 send_offset; };

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct UnixStream);
} unix_streams SEC(".maps");

/* A client may get the watched number as its own port, elsewhere in the network. Such sockets
 * are foreign. The state hook finds those that open; the loader adds, by inode, those that
 * were there before. `none_foreign` saves everybody else the search. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* address of the struct sock, or inode */
	__type(value, __u32);
} foreign_sockets SEC(".maps");

__u32 none_foreign = 1; /* in .data, alone, since the loader writes it, too */

/* ---- Filter ---- */

static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline int process_watched(void)
{
	return !settings.pid || current_pid() == settings.pid;
}

/* Is this direction of a socket, DIRECTION_RECV or DIRECTION_SEND, that of the
 * requests or of the responses? */
static __always_inline __u32 as_server_sees(__u32 direction)
{
	return settings.client ? !direction : direction;
}

static __always_inline int port_watched(__u16 port)
{
	__u32 byte = port >> 3;

	asm volatile("" : "+r"(byte)); /* verifiers up to 6.12 forget bounds at a byte swap */
	return settings.ports[byte & (sizeof(settings.ports) - 1)] & (1 << (port & 7));
}

/* When a connection closes, skc_num is cleared before anybody is told, and what had
 * arrived may still be read afterwards. inet_sport stays. */
static __always_inline __u16 local_port(const struct sock *sk, __u16 port)
{
	return port ? port : bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
}

static __always_inline int interface_watched(const struct sock *sk)
{
	const struct sock___rx_dst *rx = (const void *)sk;
	int ifindex = 0;

	if (settings.netns &&
	    BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) != settings.netns)
		return 0;
	if (!settings.ifindex)
		return 1;
	if (bpf_core_field_exists(rx->sk_rx_dst_ifindex))
		ifindex = BPF_CORE_READ(rx, sk_rx_dst_ifindex);
	else
		ifindex = BPF_CORE_READ((const struct inet_sock *)sk, rx_dst_ifindex);
	if (ifindex <= 0 && settings.client) /* nothing has come in yet */
		ifindex = BPF_CORE_READ(sk, sk_dst_cache, dev, ifindex);
	return ifindex == settings.ifindex;
}

static __always_inline int is_foreign(const struct sock *sk)
{
	struct socket_alloc *file;
	__u64 key = (__u64)sk;

	if (none_foreign)
		return 0;
	if (bpf_map_lookup_elem(&foreign_sockets, &key))
		return 1;
	file = (void *)BPF_CORE_READ(sk, sk_socket);
	key = BPF_CORE_READ(file, vfs_inode.i_ino);
	return key && bpf_map_lookup_elem(&foreign_sockets, &key);
}

/* ---- Ring ---- */

static __always_inline struct Counters *get_counters(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	return bpf_map_lookup_elem(&counters, &cpu);
}

/*
 * Put a record on the ring that stands for so many bytes. Returns 0 if it found no room.
 *
 * The reader is woken once, when the bytes that wait pass settings.wakeup_bytes, since that
 * costs more than the record itself. To ask how many wait does, too: each 16th record does.
 */
static __always_inline int output(struct Counters *count, void *record, __u32 len, __u32 bytes)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (!(++count->outputs & 15)) {
		int full = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= settings.wakeup_bytes;

		if (full && !count->woken)
			flags = BPF_RB_FORCE_WAKEUP;
		count->woken = full;
	}
	if (bpf_ringbuf_output(&events, record, len, flags)) {
		count->dropped_events++;
		count->dropped_bytes += bytes;
		return 0;
	}
	count->events++;
	return 1;
}

static __always_inline void submit(struct Scratch *scratch, struct Counters *count)
{
	__u32 len = scratch->at;

	asm volatile("" : "+r"(len));
	len &= 2 * EVENT_ROOM - 1;
	output(count, &scratch->event, sizeof(scratch->event) + len, scratch->event.data_len);
}

/* ---- Values ---- */

/*
 * A value's bytes are worth nothing to the parser, which counts them off. They
 * are passed over where they are many and it is certain what they are:
 *   - A read that begins with a storage command whose value fills the read, and
 *     maybe goes on after it. Text inside a value may look like that too, so the
 *     read must be one for commands: memcached (1.6 and later) reads these into
 *     an empty buffer of 16 KiB, asking for that many bytes, while it asks for
 *     just the rest of a value, and reads it straight into the item.
 *   - An iovec after one that is exactly a VALUE or VA line, or after those of the
 *     header and the flags of a binary reply.
 *   - The rest of such a value in later calls.
 * All else is copied whole, and everything on the client side, where none of this
 * is certain.
 */
#define COMMAND_READ 16384
#define VALUE_MIN 512     /* smaller ones cost more to find than to copy */
#define VALUE_MAX (1 << 30)

#define STARTS_WITH(line, word) starts_with(line, word, sizeof(word) - 1)

static __always_inline int starts_with(const __u8 *line, const char *word, int len)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < len; i++)
		if (line[i] != word[i])
			return 0;
	return 1;
}

/* event.data[at..], in a form that the verifier believes to be within bounds. */
static __always_inline const __u8 *text_at(const struct Scratch *scratch, __u32 at)
{
	asm volatile("" : "+r"(at));
	return scratch->event.data + (at & (2 * EVENT_ROOM - 1));
}

static __always_inline __u64 word_at(const struct Scratch *scratch, __u32 at)
{
	return *(const __u64 *)text_at(scratch, at);
}

/* Eight bytes at a time: a word with the high bit set of the first byte that is `byte`;
 * bytes behind that may be wrong. 0: it has none. */
#define EACH_BYTE 0x0101010101010101ULL

static __always_inline __u64 find_in_word(__u64 word, __u8 byte)
{
	word ^= EACH_BYTE * byte;
	return (word - EACH_BYTE) & ~word & EACH_BYTE << 7;
}

/* The bits of a word below the byte that was found, and how many bytes these are. */
static __always_inline __u64 bits_below(__u64 found)
{
	return ((found & -found) >> 7) - 1;
}

static __always_inline __u32 bytes_below(__u64 found)
{
	return (bits_below(found) & EACH_BYTE) * EACH_BYTE >> 56;
}

/* find(), read_number() and read_header() are functions that the verifier checks by themselves,
 * and once. Before Linux 5.12 these can only take numbers, so they find the text by its
 * direction. */

/* Where is the first `wanted` in event.data[at..]? Not found: HEADER_MAX behind it. */
__noinline __u32 find(__u32 direction, __u32 at, __u32 wanted)
{
	struct Scratch *scratch = get_scratch(direction);

	if (!scratch)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < HEADER_MAX / 8; n++) {
		__u64 found = find_in_word(word_at(scratch, at), wanted);

		if (found)
			return at + bytes_below(found);
		at += 8;
	}
	return at;
}

/* The digits at event.data[at..]: behind them in the upper half, their number in the lower,
 * or more than VALUE_MAX. 0: none. */
__noinline __u64 read_number(__u32 direction, __u32 at)
{
	struct Scratch *scratch = get_scratch(direction);
	__u32 number = 0, i = at;

	if (!scratch)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < 20; n++) {
		__u8 digit = *text_at(scratch, i) - '0';

		if (digit > 9)
			break;
		number = number < VALUE_MAX / 10 ? number * 10 + digit : VALUE_MAX + 1;
		i++;
	}
	return i == at ? 0 : (__u64)i << 32 | number;
}

/* A command: the length of its word and the space behind it, and which of the words behind its
 * key is the length of a value (from 1; 0: none). */
#define COMMAND(len, size_at) ((len) | (size_at) << 8)
#define COMMAND_LEN(command) ((command) & 0xff)
#define COMMAND_SIZE_AT(command) ((command) >> 8)

static __always_inline __u32 known_command(const __u8 *line)
{
	if (STARTS_WITH(line, "get "))
		return COMMAND(4, 0);
	if (STARTS_WITH(line, "set ") || STARTS_WITH(line, "add ") || STARTS_WITH(line, "cas "))
		return COMMAND(4, 3);
	if (STARTS_WITH(line, "mg ") || STARTS_WITH(line, "md "))
		return COMMAND(3, 0);
	if (STARTS_WITH(line, "ms "))
		return COMMAND(3, 1);
	if (STARTS_WITH(line, "gets ") || STARTS_WITH(line, "incr ") || STARTS_WITH(line, "decr "))
		return COMMAND(5, 0);
	if (STARTS_WITH(line, "delete "))
		return COMMAND(7, 0);
	if (STARTS_WITH(line, "touch "))
		return COMMAND(6, 0);
	if (STARTS_WITH(line, "append "))
		return COMMAND(7, 3);
	if (STARTS_WITH(line, "replace ") || STARTS_WITH(line, "prepend "))
		return COMMAND(8, 3);
	return 0;
}

/* A header of the binary protocol: 24 bytes, extras and a key. */
#define BINARY_HEADER 24
#define BINARY_REQUEST 0x80
#define BINARY_RESPONSE 0x81
/* set, add, replace, append, prepend, and their quiet forms */
#define BINARY_STORES ((1ULL << 0x01) | (1ULL << 0x02) | (1ULL << 0x03) | (1ULL << 0x0e) |  \
		       (1ULL << 0x0f) | (1ULL << 0x11) | (1ULL << 0x12) | (1ULL << 0x13) |  \
		       (1ULL << 0x19) | (1ULL << 0x1a))

static __always_inline __u64 read_binary_header(const __u8 *head, __u32 direction, __u32 len)
{
	__u32 before = BINARY_HEADER + head[4] + (head[2] << 8 | head[3]);
	__u32 body = head[8] << 24 | head[9] << 16 | head[10] << 8 | head[11];

	if (direction == DIRECTION_RECV &&
	    (head[1] > 63 || !(BINARY_STORES >> head[1] & 1)))
		return 0;
	if (before > len || body > VALUE_MAX || body + BINARY_HEADER < before)
		return 0;
	return (__u64)before << 32 | (body + BINARY_HEADER - before);
}

/* The line at event.data[at]: its length with the newline in the upper half, its
 * value's with the newline in the lower; 0 where it is no such header. */
__noinline __u64 read_header(__u32 direction, __u32 at, __u32 len)
{
	struct Scratch *scratch = get_scratch(direction);
	__u32 command, words = 0, begin = at;
	const __u8 *line;
	__u64 number;

	if (!scratch)
		return 0;
	line = text_at(scratch, at);
	if (line[0] == (direction == DIRECTION_RECV ? BINARY_REQUEST : BINARY_RESPONSE))
		return read_binary_header(line, direction, len);
	if (direction == DIRECTION_RECV) { /* set key flags exptime LENGTH, ms key LENGTH */
		command = known_command(line);
		words = COMMAND_SIZE_AT(command);
		if (!words)
			return 0;
		at += COMMAND_LEN(command);
	} else if (STARTS_WITH(line, "VALUE ")) { /* VALUE key flags LENGTH */
		words = 2;
		at += 6;
	} else if (STARTS_WITH(line, "VA ")) { /* VA LENGTH */
		at += 3;
	} else {
		return 0;
	}
#pragma clang loop unroll(disable)
	for (__u32 word = 0; word < 3; word++) {
		if (word >= words)
			break;
		at = find(direction, at, ' ') + 1;
	}
	number = read_number(direction, at);
	if (!number || (__u32)number > VALUE_MAX)
		return 0;
	at = find(direction, number >> 32, '\n') + 1 - begin;
	return at > len ? 0 : (__u64)at << 32 | ((__u32)number + 2);
}

/* ---- From a finished call to events ---- */

/* Where in the two streams of its socket did a call move bytes? Reading the last bytes also
 * consumes a FIN behind them. */
static __always_inline void set_place(struct Call *call, __u32 direction, __u32 read_until,
				      __u32 written_until, int has_fin)
{
	if (direction == DIRECTION_RECV) {
		call->offset = read_until - call->moved - !!has_fin;
		call->peer_next = written_until;
	} else {
		call->offset = written_until - call->moved;
		call->peer_next = read_until;
	}
}

/* Can bytes that are passed over stand before others in an event? */
static __always_inline int may_be_inside(__u32 direction)
{
	return direction == DIRECTION_SEND && !settings.client;
}

/*
 * RECV: the next byte that this socket will send; of a client, the next byte of the
 * replies that it has not read yet. A SEND with nothing passed over: the
 * next byte that it will receive, if that is known. Else: before which place in data
 * the bytes stand that were passed over; -1: behind it all.
 */
static __always_inline void set_mark(struct Scratch *scratch)
{
	scratch->event.mark = scratch->call.peer_next;
	if (scratch->skipped && scratch->event.direction == DIRECTION_SEND)
		scratch->event.mark = scratch->skipped_at == scratch->at ? -1 : scratch->skipped_at;
}

__noinline int flush(__u32 direction)
{
	struct Scratch *scratch = get_scratch(direction);
	struct Counters *count = get_counters();

	if (!scratch || !count)
		return 0;
	scratch->event.captured_len = scratch->at;
	scratch->event.data_len = scratch->at + scratch->skipped;
	if (!scratch->event.data_len)
		return 0;
	set_mark(scratch);
	submit(scratch, count);
	scratch->event.offset += scratch->event.data_len;
	scratch->at = scratch->skipped = 0;
	return 0;
}

/* Pass over bytes of the stream: in one place of an event only. */
static __always_inline void skip(struct Scratch *scratch, __u32 direction, __u32 len)
{
	if (scratch->skipped && scratch->skipped_at != scratch->at)
		flush(direction);
	if (!scratch->skipped)
		scratch->skipped_at = scratch->at;
	scratch->skipped += len;
}

/* Read some more iovecs of the array. Returns 0 if there are none, or they are not readable. */
static __always_inline int read_vectors(struct Scratch *scratch)
{
	__u64 more = scratch->vectors - scratch->vector;
	__u32 size = (more < VECTORS_AT_ONCE ? more : VECTORS_AT_ONCE) * sizeof(struct user_iovec);

	if (!size)
		return 0;
	asm volatile("" : "+r"(size)); /* or the compiler makes one comparison of two */
	if (size > sizeof(scratch->message.behind) ||
	    bpf_probe_read_user(scratch->message.behind, size,
				(void *)(scratch->table + scratch->vector * sizeof(struct user_iovec))))
		return 0;
	scratch->known = scratch->vector + size / sizeof(struct user_iovec);
	return 1;
}

/* Take the next iovec. Is it a value, behind its header? */
static __always_inline int next_vector(struct Scratch *scratch, __u32 direction)
{
	struct user_iovec iov;

	if (scratch->vector >= scratch->known && !read_vectors(scratch))
		return 0;
	iov = scratch->message.behind[scratch->vector & (VECTORS_AT_ONCE - 1)];
	scratch->vector++;
	scratch->base = iov.base;
	scratch->room = iov.len;
	if (!settings.client && direction == DIRECTION_SEND && scratch->last_len &&
	    iov.len >= VALUE_MIN && !scratch->value_left) {
		__u32 at = scratch->last_at, len = scratch->last_len;
		/* The flags of a binary reply stand in an iovec of their own. */
		if (scratch->prev_len == BINARY_HEADER && at >= BINARY_HEADER && len == 4) {
			at -= BINARY_HEADER;
			len += BINARY_HEADER;
		}
		__u64 header = read_header(direction, at, len);
		if (header >> 32 == len && (__u32)header >= iov.len)
			scratch->value_left = (__u32)header;
	}
	scratch->prev_len = scratch->last_len;
	scratch->last_len = 0;
	return 1;
}

/* Copy or pass over one piece of the call. Returns 0 when there is no more. */
__noinline int step(__u32 direction)
{
	struct Scratch *scratch = get_scratch(direction);
	struct Counters *count = get_counters();
	__u32 take, at, space;

	if (!scratch || !count || !scratch->left)
		return 0;
	if (!scratch->room) {
		if (!next_vector(scratch, direction))
			return 0;
		if (!scratch->room)
			return 1;
	}
	take = scratch->room < scratch->left ? scratch->room : scratch->left;
	if (scratch->value_left) {
		if (take > scratch->value_left)
			take = scratch->value_left;
		scratch->value_left -= take;
		skip(scratch, direction, take);
		goto taken;
	}

	if (scratch->at > EVENT_ROOM - HEADER_MAX ||
	    (scratch->skipped && !may_be_inside(direction)))
		flush(direction);
	at = scratch->at;
	asm volatile("" : "+r"(at));
	at &= EVENT_ROOM - 1;
	/* A read worth looking into is first copied no further than a header goes. */
	space = scratch->peek ? HEADER_MAX : EVENT_ROOM - at;
	if (take > space)
		take = space;
	__u32 len = take;
	asm volatile("" : "+r"(len));
	len &= 2 * EVENT_ROOM - 1;
	if (len > EVENT_ROOM)
		len = EVENT_ROOM;
	if (bpf_probe_read_user(scratch->event.data + at, len, (void *)scratch->base)) {
		count->faulted_bytes += take;
		skip(scratch, direction, take);
		goto taken;
	}
	if (scratch->peek) {
		__u64 header = read_header(direction, at, take);
		if (header && (header >> 32) + (__u32)header >= scratch->left) {
			take = header >> 32;
			scratch->value_left = (__u32)header;
		}
		scratch->peek = 0;
	}
	if (take == scratch->room && take <= HEADER_MAX) {
		scratch->last_at = at;
		scratch->last_len = take;
	}
	scratch->at += take;
taken:
	scratch->base += take;
	scratch->room -= take;
	scratch->left -= take;
	return 1;
}

static __always_inline void count_call(struct Counters *count, const struct Call *call)
{
	if (call->direction == DIRECTION_RECV) {
		count->recv_calls++;
		count->recv_bytes += call->moved;
	} else {
		count->send_calls++;
		count->send_bytes += call->moved;
	}
}

/* A finished call goes into its direction's scratch, and there: where are its bytes? */
static __always_inline void open_call(const struct Call *call)
{
	struct Scratch *scratch = get_scratch(call->direction);
	struct user_msghdr *header;
	__u64 behind = 0;

	if (!scratch)
		return;
	scratch->call = *call;
	header = &scratch->message.header;
	scratch->table = call->address;
	scratch->vectors = call->count;
	scratch->known = scratch->vector = 0;
	switch (call->shape) {
	case BUFFER_PLAIN:
		scratch->vectors = scratch->known = 1;
		scratch->message.behind[0].base = call->address;
		scratch->message.behind[0].len = call->moved;
		break;
	case BUFFER_VECTOR:
		read_vectors(scratch);
		break;
	case BUFFER_MESSAGE:
		scratch->vectors = 0;
		if (!bpf_probe_read_user(&scratch->message, sizeof(scratch->message),
					 (void *)call->address))
			behind = call->address + __builtin_offsetof(struct Message, behind);
		else if (bpf_probe_read_user(header, sizeof(*header), (void *)call->address))
			break;
		scratch->table = header->iov;
		scratch->vectors = header->iovlen;
		if (header->iov == behind)
			scratch->known = header->iovlen < VECTORS_AT_ONCE ? header->iovlen
									: VECTORS_AT_ONCE;
		else
			read_vectors(scratch);
	}
}

/* 1,024 iovecs are the most that a call can have; a plain buffer of 8 MiB needs as many steps.
 * The verifier goes through each turn of a loop, so there are two, the root of that each. */
#define STEPS_ROOT 33

__noinline int steps(__u32 direction)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < STEPS_ROOT; i++)
		if (!step(direction))
			return 0;
	return 1;
}

/* The call that is in the scratch: counted, and told by events. */
__noinline int capture(__u32 direction)
{
	struct Scratch *scratch = get_scratch(direction);
	struct Counters *count = get_counters();
	struct ValueRest *rest = NULL;
	struct ValueKey key = {};
	struct Call *call;
	__u32 moved;

	if (!scratch || !count)
		return 0;
	call = &scratch->call;
	moved = call->moved;
	key.sock_id = call->sock_id;
	key.direction = direction;
	scratch->event.time_ns = bpf_ktime_get_ns();
	scratch->event.sock_id = call->sock_id;
	scratch->event.offset = call->offset;
	scratch->event.sport = call->sport;
	scratch->event.dport = call->dport;
	scratch->event.pid = current_pid();
	scratch->event.direction = direction;
	scratch->room = 0;
	scratch->prev_len = 0;
	scratch->left = moved;
	scratch->value_left = 0;
	scratch->peek = 0;
	scratch->last_len = 0;
	scratch->skipped = 0;
	scratch->at = 0;

	count_call(count, call);
	if (call->shape == BUFFER_UNREADABLE) {
		count->unreadable_calls++;
		count->unreadable_bytes += moved;
		scratch->left = 0;
		skip(scratch, direction, moved);
	}
	if (!settings.client && moved >= VALUE_MIN) {
		rest = bpf_map_lookup_elem(&values, &key);
		if (rest && rest->next == call->offset)
			scratch->value_left = rest->end - rest->next;
		else
			scratch->peek = direction == DIRECTION_RECV &&
					call->shape == BUFFER_PLAIN && call->count == COMMAND_READ;
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < STEPS_ROOT; i++)
		if (!steps(direction))
			break;
	if (scratch->left) {
		/* The array or the header that names the buffers could not be read. */
		count->faulted_bytes += scratch->left;
		skip(scratch, direction, scratch->left);
	}
	flush(direction);

	if (scratch->value_left >= VALUE_MIN) {
		struct ValueRest next = {.next = call->offset + moved};
		next.end = next.next + scratch->value_left;
		bpf_map_update_elem(&values, &key, &next, BPF_ANY);
	} else if (rest) {
		bpf_map_delete_elem(&values, &key);
	}
	return 0;
}

/* ---- Exchanges ---- */

/*
 * One read that holds exactly one request of one key, and then one write that holds exactly
 * its reply, become an Exchange on the ring. All else goes as events.
 *
 * It must never say what the reader's parser would not have said, so it is told only within
 * a chain, in which each exchange begins, in both directions, where the last one ended.
 * A chain begins behind an exchange that was seen here, after another write or as the
 * connection's first, and handed over as two events. memcached reads commands into an empty
 * buffer of COMMAND_READ bytes (see "Values"). A read that asks for as many and gets fewer
 * can only be within a value if that goes on behind it; then no reply can follow.
 * A chain ends with the first call that is no part of an exchange. The request that waits
 * is then handed over as the event that it would have been, in its place.
 */
#define TEXT_MAX 128

/* What is known of a connection; it goes with its socket. */
struct Conversation {
	struct Exchange exchange;
	__u64 thread;     /* the one that serves the connection */
	__u32 busy;       /* a hook is at work on all this */
	__u32 stopping;   /* nothing is paired any more: two threads serve it, or it has closed */
	__u32 stopped;    /* and all was handed over */
	__u32 chained;    /* a chain has begun, so the reader must be told where it ends */
	__u32 recv_next;  /* where the next exchange has to begin; while a request waits ... */
	__u32 send_next;  /* ... these are its beginning, and that of its reply */
	__u32 direction;  /* of the latest call; before it was seen to write, RECV */
	__u32 waiting;    /* bytes of the request that waits, without its value; 0: none does */
	struct SocketDataEvent event; /* that request, or a chain; its data is ... */
	__u8 text[TEXT_MAX];          /* ... the request without its value */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct Conversation);
} conversations SEC(".maps");

/* Copy event.data[at..] up to `stop` or the line's end into so many words, and zeros behind
 * it. Returns its length; if it is not ended then, it is longer. */
struct Words { __u64 words[KEY_MAX / 8]; };

__noinline __u32 take_text(__u32 direction, __u32 at, __u8 stop, struct Words *to, __u32 words)
{
	struct Scratch *scratch = get_scratch(direction);
	__u64 found = 0;
	__u32 len = 0;

	if (!scratch || !to)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 n = 0; n < KEY_MAX / 8; n++) {
		__u64 word = 0;

		if (n >= words)
			break;
		if (!found) {
			word = word_at(scratch, at + 8 * n);
			found = find_in_word(word, stop) | find_in_word(word, '\r') |
				find_in_word(word, '\n') | find_in_word(word, 0);
			len += found ? bytes_below(found) : 8;
			word &= found ? bits_below(found) : -1;
		}
		to->words[n] = word;
	}
	return len;
}

/* Does something stand between key and line end by which a request gets no reply (noreply, a
 * meta command's q), its key is not as it stands there (b), or its reply has more than the
 * usual (O, k)? Or do words stand elsewhere than they are looked for? */
static __always_inline int has_odd_words(const struct Scratch *scratch, __u32 at, __u32 end)
{
#pragma clang loop unroll(disable)
	for (int n = 0; n < ARGUMENTS_MAX; n++) {
		if (at >= end)
			break;
		if (*text_at(scratch, at++) == ' ') {
			__u8 next = *text_at(scratch, at);

			if (next == 'n' || next == 'q' || next == 'b' || next == 'O' ||
			    next == 'k' || next == ' ')
				return 1;
		}
	}
	return 0;
}

/* Is what was read, in event.data, one whole request? Then it is in c->exchange, and this is
 * the length of its line. Whether its numbers are good is for the server to say: errors are
 * not paired. */
__noinline __u32 take_request(struct Conversation *c, __u32 moved)
{
	struct Scratch *scratch = get_scratch(DIRECTION_RECV);
	__u32 command, at, end, key_len, size = 0;
	__u64 header;

	if (!c || !scratch)
		return 0;
	command = known_command(scratch->event.data);
	if (!command)
		return 0;
	at = COMMAND_LEN(command);
	*(__u64 *)c->exchange.command = word_at(scratch, 0) & ((1ULL << 8 * ((at - 1) & 7)) - 1);
	key_len = take_text(DIRECTION_RECV, at, ' ', (struct Words *)c->exchange.key, KEY_MAX / 8);
	at += key_len;
	end = at + take_text(DIRECTION_RECV, at, '\r', (struct Words *)c->exchange.arguments,
			     ARGUMENTS_MAX / 8);
	if (!key_len || (end > at && *text_at(scratch, at) != ' ') || /* or the key is longer */
	    (word_at(scratch, end) & 0xffff) != 0x0a0d /* \r\n */ ||
	    (end > at && scratch->event.data[0] == 'g') || has_odd_words(scratch, at, end))
		return 0;
	c->exchange.key_len = key_len;
	c->exchange.value_len = NO_SIZE;
	if (COMMAND_SIZE_AT(command)) {
		header = read_header(DIRECTION_RECV, 0, TEXT_MAX);
		if (!header)
			return 0;
		size = header;
		c->exchange.value_len = size - 2;
	}
	end += 2;
	return end + size == moved ? end : 0;
}

#define END_LINE 0x0a0d444e45ULL /* END\r\n, 5 bytes */

/* VA and a value; or VALUE, the key that was asked for, a value, and END: 1, and the value's
 * size is in the exchange. */
static __always_inline int is_value(struct Conversation *c, const struct Scratch *scratch,
				    __u32 moved, __u32 copied)
{
	__u64 header = read_header(DIRECTION_SEND, 0, copied);
	__u32 end = header >> 32, size = header;
	struct Words key;

	c->exchange.value_len = size - 2;
	if (!header || scratch->event.data[2] == ' ')
		return header && end + size == moved;
	if (take_text(DIRECTION_SEND, 6, ' ', &key, KEY_MAX / 8) != c->exchange.key_len ||
	    *text_at(scratch, 6 + c->exchange.key_len) != ' ' || end + size + 5 != moved)
		return 0;
	for (int n = 0; n < KEY_MAX / 8; n++)
		if (key.words[n] != ((struct Words *)c->exchange.key)->words[n])
			return 0;
	/* memcached gives the line, the value and END in a buffer each. No line but END has 5
	 * bytes and can stand here, so it need not be read; if it was copied, it is compared. */
	return copied == end ||
	       (copied == moved && word_at(scratch, moved - 5) << 24 == END_LINE << 24);
}

/* Is what was sent, of which event.data has so many bytes, one whole reply? Its first word goes
 * into the exchange; whether it answers the command is for the reader to say. Errors are not
 * paired: the parser has to find out what the server did with the value. */
__noinline int take_reply(struct Conversation *c, __u32 moved, __u32 copied)
{
	struct Scratch *scratch = get_scratch(DIRECTION_SEND);
	const __u8 *line;
	__u32 end;

	if (!c || !scratch)
		return 0;
	line = scratch->event.data;
	end = take_text(DIRECTION_SEND, 0, ' ', (struct Words *)c->exchange.reply, REPLY_MAX / 8);
	if (line[0] == 'V')
		return is_value(c, scratch, moved, copied);
	if (STARTS_WITH(line, "ERROR") || STARTS_WITH(line, "CLIENT_") ||
	    STARTS_WITH(line, "SERVER_"))
		return 0;
	if ((__u8)(line[0] - '0') <= 9) {
		*(__u64 *)c->exchange.reply = line[0];
		*(__u64 *)(c->exchange.reply + 8) = 0;
	}
	end = find(DIRECTION_SEND, end, '\n') + 1;
	return end <= copied && end == moved; /* one line, and all of it */
}

/* Tell the reader of the request that waits, or where a chain begins or ends. */
static __always_inline int tell(struct Conversation *c, struct Counters *count, __u8 direction,
				__u64 time_ns, __u32 data_len, __u32 text_len)
{
	c->event.time_ns = time_ns;
	c->event.direction = direction;
	c->event.offset = c->recv_next;
	c->event.mark = c->send_next;
	c->event.data_len = data_len;
	c->event.captured_len = text_len;
	asm volatile("" : "+r"(text_len));
	text_len &= TEXT_MAX - 1;
	return output(count, &c->event, sizeof(c->event) + text_len, data_len);
}

/* What follows goes as events: first the end of the chain, then the request that waits.
 * Returns 0 if the reader could not be told of the end. */
__noinline int hand_over(struct Conversation *c)
{
	struct Counters *count = get_counters();

	if (!c || !count)
		return 0;
	if (c->chained && !tell(c, count, DIRECTION_CHAIN_END, bpf_ktime_get_ns(), 0, 0))
		return 0;
	c->chained = 0;
	if (c->waiting)
		tell(c, count, DIRECTION_RECV, c->exchange.time_ns, c->exchange.recv_len, c->waiting);
	c->waiting = 0;
	return 1;
}

/* The reader cannot be told of this call: it does not know yet where the chain ended. */
static __always_inline void drop_call(struct Counters *count, const struct Call *call)
{
	count_call(count, call);
	count->dropped_events++;
	count->dropped_bytes += call->moved;
}

/* The beginning of what the call moved, into event.data, and how much; 0: it cannot be read. */
static __always_inline __u32 read_text(struct Scratch *scratch, __u32 moved)
{
	__u64 len = scratch->message.behind[0].len;

	if (!scratch->known)
		return 0;
	if (len > moved)
		len = moved;
	if (len > TEXT_MAX)
		len = TEXT_MAX;
	asm volatile("" : "+r"(len));
	if (len > TEXT_MAX || bpf_probe_read_user(scratch->event.data, len,
						  (void *)scratch->message.behind[0].base))
		return 0;
	return len;
}

/* A read of one whole request? Then it waits for its reply. */
static __always_inline int take_read(struct Conversation *c, const struct Call *call)
{
	struct Scratch *scratch = get_scratch(DIRECTION_RECV);

	if (c->waiting || call->shape != BUFFER_PLAIN || call->count != COMMAND_READ ||
	    call->moved >= COMMAND_READ || !scratch)
		return 0;
	if (!c->chained) {
		if (c->direction == DIRECTION_RECV)
			return 0;
		c->recv_next = call->offset;
		c->send_next = call->peer_next;
	}
	if (call->offset != c->recv_next || call->peer_next != c->send_next ||
	    !read_text(scratch, call->moved))
		return 0;
	__builtin_memcpy(c->text, scratch->event.data, TEXT_MAX);
	c->exchange.time_ns = bpf_ktime_get_ns() / TICK_NS * TICK_NS;
	c->exchange.recv_len = call->moved;
	c->waiting = take_request(c, call->moved);
	return c->waiting;
}

enum { PAIR_NO, PAIR_DONE, PAIR_BEGIN };

/* A write of the reply to the request that waits? PAIR_BEGIN: yes, but it has to be told of
 * by events, before a chain can begin. */
static __always_inline int take_write(struct Conversation *c, struct Counters *count,
				      const struct Call *call)
{
	struct Scratch *scratch = get_scratch(DIRECTION_SEND);
	struct Exchange *exchange = &c->exchange;
	__u64 latency_ns;
	__u32 copied;

	if (!c->waiting || !scratch || call->offset != c->send_next)
		return PAIR_NO;
	copied = read_text(scratch, call->moved);
	if (!copied || !take_reply(c, call->moved, copied))
		return PAIR_NO;
	latency_ns = bpf_ktime_get_ns() / TICK_NS * TICK_NS - exchange->time_ns;
	if (latency_ns >> 32)
		return PAIR_NO;
	if (!c->chained)
		return PAIR_BEGIN;
	exchange->latency_ns = latency_ns;
	exchange->send_len = call->moved;
	c->waiting = 0;
	if (output(count, exchange, sizeof(*exchange), exchange->recv_len + call->moved)) {
		count->exchanges++;
		c->recv_next += exchange->recv_len;
		c->send_next += call->moved;
	} /* else the next call is not where it should be, which ends the chain */
	return PAIR_DONE;
}

static __always_inline int take_call(struct Conversation *c, struct Counters *count,
				     const struct Call *call)
{
	__u64 thread = bpf_get_current_pid_tgid();

	if (!c->thread) {
		c->thread = thread;
		c->exchange.sock_id = c->event.sock_id = call->sock_id;
		c->exchange.direction = DIRECTION_EXCHANGE;
		c->event.pid = thread >> 32;
		c->event.sport = call->sport;
		c->event.dport = call->dport;
	}
	if (c->thread != thread)
		c->stopping = 1;
	if (c->stopping)
		return PAIR_NO;
	if (call->direction == DIRECTION_SEND)
		return take_write(c, count, call);
	return take_read(c, call) ? PAIR_DONE : PAIR_NO;
}

/* One hook at a time is at work on a conversation. */
#define ENTER_CONVERSATION(c) (!__sync_lock_test_and_set(&(c)->busy, 1))
#define LEAVE_CONVERSATION(c) __sync_lock_test_and_set(&(c)->busy, 0)

/* Nothing is paired any more. If another hook is at work on it, that one ends it then.
 * Returns 0 if the reader could not be told. */
static __always_inline int stop_pairing(struct Conversation *c)
{
	c->stopping = 1;
	if (!ENTER_CONVERSATION(c))
		return 1;
	c->stopped = hand_over(c);
	LEAVE_CONVERSATION(c);
	return c->stopped;
}

static __always_inline int pair_or_capture(struct sock *sk, struct Call *call)
{
	__u64 flags = call->direction == DIRECTION_RECV && call->count == COMMAND_READ
		? BPF_SK_STORAGE_GET_F_CREATE : 0;
	struct Conversation *c = bpf_sk_storage_get(&conversations, sk, 0, flags);
	struct Counters *count = get_counters();
	__u64 dropped;
	int taken;

	if (!c || !count || c->stopped)
		return capture(call->direction);
	if (!ENTER_CONVERSATION(c)) {
		c->stopping = 1;
		drop_call(count, call);
		return 0;
	}
	dropped = count->dropped_events;
	taken = take_call(c, count, call);
	if (taken == PAIR_DONE) {
		count_call(count, call);
	} else if (!hand_over(c)) {
		drop_call(count, call);
	} else {
		capture(call->direction);
		if (taken == PAIR_BEGIN && count->dropped_events == dropped) {
			c->recv_next += c->exchange.recv_len;
			c->send_next += call->moved;
			c->chained = tell(c, count, DIRECTION_CHAIN_BEGIN, bpf_ktime_get_ns(), 0, 0);
		}
	}
	c->direction = call->direction;
	LEAVE_CONVERSATION(c);
	if (c->stopping)
		stop_pairing(c);
	return 0;
}

/* When the recording has ended, the reader reads a file that calls this for each open file. */
SEC("iter/task_file")
int end_conversation(struct bpf_iter__task_file *context)
{
	struct socket *socket = context->file ? bpf_sock_from_file(context->file) : NULL;
	struct Conversation *c = NULL;

	if (socket && socket->sk)
		c = bpf_sk_storage_get(&conversations, socket->sk, 0, 0);
	if (c)
		stop_pairing(c);
	return 0;
}

/* ---- Connections that begin and end ---- */

struct StateEvent { struct SocketDataEvent event; struct Endpoints ends; };

static __always_inline void tell_state(struct StateEvent *record, __u32 direction)
{
	struct Counters *count = get_counters();

	record->event.time_ns = bpf_ktime_get_ns();
	record->event.direction = direction;
	record->event.mark = -1;
	if (count)
		output(count, record, sizeof(*record), 0);
}

/* ---- Hooks: sock family ---- */

/*
 * Which system call moves these bytes, through which memory? io_uring may work for
 * a socket at the end of any call of its task, so the call must be one that names
 * this very socket: the file of its descriptor is the socket's.
 */
static __always_inline int names_socket(__u32 fd, const struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct fdtable *table = task->files->fdt;
	struct file *file = NULL;

	return fd < table->max_fds &&
	       !bpf_probe_read_kernel(&file, sizeof(file), table->fd + fd) &&
	       file && file == sk->sk_socket->file;
}

#define ON_ARM64(number) ((number) | 1 << 16) /* it has numbers of its own */

static __always_inline void find_buffer(struct Call *call, const struct sock *sk, int thrown_away)
{
	__u32 fd;
	void *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax)) {
		fd = x86->di;
		call->address = x86->si;
		call->count = x86->dx;
		call->syscall = x86->orig_ax;
	} else {
		fd = arm64->regs[0];
		call->address = arm64->regs[1];
		call->count = arm64->regs[2];
		call->syscall = ON_ARM64(arm64->syscallno);
	}
	switch (call->syscall) {
	case 0: case 1: case 44: case 45: /* read write sendto recvfrom */
	case ON_ARM64(63): case ON_ARM64(64): case ON_ARM64(206): case ON_ARM64(207):
		call->shape = BUFFER_PLAIN;
		break;
	case 19: case 20: case ON_ARM64(65): case ON_ARM64(66): /* readv writev */
		call->shape = BUFFER_VECTOR;
		break;
	case 46: case 47: case ON_ARM64(211): case ON_ARM64(212): /* sendmsg recvmsg */
		call->shape = BUFFER_MESSAGE;
		break;
	default:
		call->shape = BUFFER_UNREADABLE;
	}
	if (call->shape != BUFFER_UNREADABLE && (thrown_away || !names_socket(fd, sk)))
		call->shape = BUFFER_UNREADABLE;
	open_call(call);
}

static __always_inline void count_unreadable(const struct Call *call)
{
	struct Counters *count = get_counters();

	if (!count)
		return;
	count_call(count, call);
	count->unreadable_calls++;
	count->unreadable_bytes += call->moved;
}

static __always_inline void count_datagram(__u32 moved)
{
	struct Counters *count = get_counters();

	if (!count)
		return;
	count->udp_datagrams++;
	count->udp_bytes += moved;
}

/* Is this a call on a watched connection? Then who, and where in its streams. */
static __always_inline int find_inet(struct Call *call, struct sock *sk, int flags,
				     __u32 direction)
{
	__u16 peer_port = bpf_ntohs(sk->__sk_common.skc_dport);
	struct tcp_sock *tcp;
	__u16 port;

	if (settings.client && !port_watched(peer_port))
		return 0;
	port = local_port(sk, sk->__sk_common.skc_num);
	if (!settings.client && !port_watched(port))
		return 0;
	if (flags & MSG_ERRQUEUE || !process_watched() || !interface_watched(sk) || is_foreign(sk))
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp) { /* Multipath TCP keeps its sequence numbers elsewhere. */
		if (sk->sk_protocol == IPPROTO_MPTCP)
			count_unreadable(call);
		else if (sk->sk_protocol == IPPROTO_UDP)
			count_datagram(call->moved);
		return 0;
	}
	call->sock_id = bpf_get_socket_cookie(sk);
	call->sport = settings.client ? peer_port : port;
	call->dport = settings.client ? port : peer_port;
	set_place(call, direction, tcp->copied_seq, tcp->write_seq,
		  sk->__sk_common.skc_flags >> SOCK_DONE & 1 && tcp->copied_seq == tcp->rcv_nxt);
	return 1;
}

/* A server's socket has the address that its listener was bound to. */
static __always_inline int path_watched(struct unix_sock *unix_sk)
{
	struct unix_sock *server = unix_sk;
	struct unix_address *address;
	__u64 path[sizeof(settings.unix_path) / 8] = {};
	const volatile __u64 *wanted = (const volatile __u64 *)settings.unix_path;
	__u32 len = settings.unix_len;

	if (settings.client) {
		server = (struct unix_sock *)BPF_CORE_READ(unix_sk, peer);
		address = BPF_CORE_READ(server, addr);
	} else {
		address = unix_sk->addr;
	}
	if (!address || BPF_CORE_READ(address, len) != len)
		return 0;
	len -= sizeof(unsigned short);
	if (len > UNIX_PATH_MAX || bpf_probe_read_kernel(path, len, address->name[0].sun_path))
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < sizeof(path) / 8; i++)
		if (path[i] != wanted[i])
			return 0;
	return 1;
}

static __always_inline void tell_unix_state(struct sock *sk, __u64 cookie, __u32 direction,
					    struct UnixStream *stream)
{
	struct StateEvent record = {
		.event = {
			.sock_id = cookie, .pid = current_pid(),
			.offset = stream->offset, .data_len = stream->send_offset,
		},
		.ends = {.family = AF_UNIX},
	};

	record.ends.inode = BPF_CORE_READ((struct socket_alloc *)sk->sk_socket, vfs_inode.i_ino);
	tell_state(&record, direction);
}

static __always_inline int find_unix(struct Call *call, struct sock *sk, __u32 direction)
{
	struct unix_sock *unix_sk = bpf_skc_to_unix_sock(sk);
	struct UnixStream *stream;

	if (!unix_sk || !path_watched(unix_sk) || sk->sk_type != SOCK_STREAM || !process_watched())
		return 0;
	call->sock_id = bpf_get_socket_cookie(sk);
	stream = bpf_sk_storage_get(&unix_streams, sk, 0, 0);
	if (!call->moved) { /* the end of what the peer sent */
		if (direction == DIRECTION_RECV && stream)
			tell_unix_state(sk, call->sock_id, DIRECTION_CLOSE, stream);
		return 0;
	}
	if (!stream) {
		stream = bpf_sk_storage_get(&unix_streams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!stream) {
			count_unreadable(call);
			return 0;
		}
		/* Did it begin now, or was it only seen now? The reader finds out. */
		tell_unix_state(sk, call->sock_id, DIRECTION_OPEN, stream);
	}
	if (call->direction == DIRECTION_RECV)
		stream->offset += call->moved;
	else
		stream->send_offset += call->moved;
	set_place(call, call->direction, stream->offset, stream->send_offset, 0);
	return 1;
}

static __always_inline int moved(struct sock *sk, int ret, int flags, __u32 direction)
{
	struct Call call = {.moved = ret, .direction = as_server_sees(direction)};
	__u16 family;

	if (ret < 0 || !sk || flags & MSG_PEEK)
		return 0; /* or the stream did not move */
	family = sk->__sk_common.skc_family;
	if (settings.unix_len) {
		if (family != AF_UNIX || !find_unix(&call, sk, direction))
			return 0;
	} else if (!ret || (family != AF_INET && family != AF_INET6) ||
		   !find_inet(&call, sk, flags, direction)) {
		return 0;
	}
	find_buffer(&call, sk, flags & MSG_TRUNC);
	return settings.pairing ? pair_or_capture(sk, &call) : capture(call.direction);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk, int ret, int flags)
{
	return moved(sk, ret, flags, DIRECTION_RECV);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk, int ret, int flags)
{
	return moved(sk, ret, 0, DIRECTION_SEND);
}

/* ---- Hooks: syscalls family ---- */

static __always_inline struct sock *sock_of_fd(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;
	struct socket *socket;
	struct inode *inode;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file)
		return NULL;
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

#define HOW(shape, direction) ((shape) | (direction) << 8)

static __always_inline __u16 own_port(const struct sock *sk)
{
	return local_port(sk, BPF_CORE_READ(sk, __sk_common.skc_num));
}

static __always_inline __u16 peer_port(const struct sock *sk)
{
	return bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
}

static __noinline int enter(struct sys_enter *ctx, __u32 flags, __u32 how)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct Call call = {};
	__u16 family, protocol;
	struct sock *sk;

	if (!process_watched())
		return 0;
	sk = sock_of_fd(ctx->args[0]);
	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	call.sport = settings.client ? peer_port(sk) : own_port(sk);
	if (!port_watched(call.sport))
		return 0;
	call.dport = settings.client ? own_port(sk) : peer_port(sk);
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;
	if ((flags & (MSG_PEEK | MSG_ERRQUEUE)) || !interface_watched(sk) || is_foreign(sk))
		return 0;
	call.sock_id = (__u64)sk;
	call.syscall = ctx->syscall;
	call.address = ctx->args[1];
	call.count = ctx->args[2];
	call.shape = flags & MSG_TRUNC ? BUFFER_UNREADABLE : how & 255;
	if (protocol == IPPROTO_UDP)
		call.shape = BUFFER_DATAGRAM;
	call.direction = as_server_sees(how >> 8);
	if (bpf_map_update_elem(&pending_calls, &thread, &call, BPF_ANY)) {
		struct Counters *count = get_counters();
		if (count)
			count->unreadable_calls++;
	}
	return 0;
}

#define ENTER(name, shape, direction, flags)                                           \
	SEC("tracepoint/syscalls/sys_enter_" #name)                                    \
	int sys_enter_##name(struct sys_enter *ctx)                                    \
	{                                                                              \
		return enter(ctx, flags, HOW(shape, direction));                       \
	}

ENTER(read, BUFFER_PLAIN, DIRECTION_RECV, 0)
ENTER(readv, BUFFER_VECTOR, DIRECTION_RECV, 0)
ENTER(recvfrom, BUFFER_PLAIN, DIRECTION_RECV, ctx->args[3])
ENTER(recvmsg, BUFFER_MESSAGE, DIRECTION_RECV, ctx->args[2])
ENTER(write, BUFFER_PLAIN, DIRECTION_SEND, 0)
ENTER(writev, BUFFER_VECTOR, DIRECTION_SEND, 0)
ENTER(sendto, BUFFER_PLAIN, DIRECTION_SEND, 0)
ENTER(sendmsg, BUFFER_MESSAGE, DIRECTION_SEND, 0)

/* Attached to all eight exits by the loader. User memory is read here for sends
 * too: at their enter it may still be paged out, and BPF cannot fault it in. */
SEC("tracepoint/syscalls/sys_exit_read")
int sys_exit(struct sys_exit *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct Call *pending = bpf_map_lookup_elem(&pending_calls, &thread);
	struct tcp_sock *tcp;
	__u32 read_until;
	struct Call call;

	if (!pending)
		return 0;
	call = *pending;
	bpf_map_delete_elem(&pending_calls, &thread);
	if (ctx->ret <= 0 || call.syscall != ctx->syscall)
		return 0; /* another number: the exit of the noted call went by unseen */
	tcp = (void *)call.sock_id;
	call.moved = ctx->ret;
	if (call.shape == BUFFER_DATAGRAM) {
		count_datagram(call.moved);
		return 0;
	}
	read_until = BPF_CORE_READ(tcp, copied_seq);
	set_place(&call, as_server_sees(call.direction), read_until, BPF_CORE_READ(tcp, write_seq),
		  BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_flags) >> SOCK_DONE & 1 &&
		  read_until == BPF_CORE_READ(tcp, rcv_nxt));
	open_call(&call);
	return capture(call.direction);
}

/* ---- Hook: TCP connections ---- */

static __always_inline void copy_addresses(const struct sock *sk, __u8 *local, __u8 *remote)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)remote, sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)remote, sk, __sk_common.skc_v6_daddr);
	}
}

/* In the sock family the cookie is the identifier, and exchanges may be paired. For older
 * kernels nothing of that may be in the program, so this must be known when it is compiled. */
static __always_inline int state_changed(struct sock *sk, int old_state, int new_state,
					 const int sock_family)
{
	int expected = settings.client ? TCP_SYN_SENT : TCP_SYN_RECV;
	struct tcp_sock *tcp = (void *)sk;
	struct ValueKey key = {.direction = DIRECTION_RECV};
	struct Conversation *c = NULL;
	struct StateEvent record = {};
	struct SocketDataEvent *event = &record.event;
	__u64 address = (__u64)sk;
	__u16 port, peer;
	__u32 direction;

	if (new_state == TCP_ESTABLISHED && (old_state == TCP_SYN_SENT || old_state == TCP_SYN_RECV))
		direction = DIRECTION_OPEN;
	else if (new_state == TCP_CLOSE && old_state != expected)
		direction = DIRECTION_CLOSE;
	else
		return 0;
	port = own_port(sk);
	peer = peer_port(sk);
	if (!port_watched(settings.client ? peer : port) ||
	    BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (!peer || !interface_watched(sk))
		return 0; /* a listening socket has no peer */
	if (direction == DIRECTION_OPEN && old_state != expected) {
		none_foreign = 0;
		bpf_map_update_elem(&foreign_sockets, &address, &none_foreign, BPF_ANY);
		return 0;
	}
	if (is_foreign(sk)) {
		bpf_map_delete_elem(&foreign_sockets, &address);
		if (direction == DIRECTION_CLOSE)
			return 0;
	}

	key.sock_id = sock_family ? bpf_get_socket_cookie(sk) : address;
	bpf_map_delete_elem(&values, &key);
	key.direction = DIRECTION_SEND;
	bpf_map_delete_elem(&values, &key);

	if (sock_family && settings.pairing) {
		c = bpf_sk_storage_get(&conversations, sk, 0, direction == DIRECTION_OPEN
				       ? BPF_SK_STORAGE_GET_F_CREATE : 0);
		if (c && direction == DIRECTION_OPEN)
			c->direction = DIRECTION_SEND; /* its first read is like one behind a write */
		else if (c && !stop_pairing(c))
			return 0; /* an end where the reader does not expect it would be a gap */
	}
	event->sock_id = key.sock_id;
	record.ends.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (settings.client) {
		event->sport = peer;
		event->dport = port;
		event->offset = BPF_CORE_READ(tcp, write_seq);
		event->data_len = BPF_CORE_READ(tcp, copied_seq);
		copy_addresses(sk, record.ends.client, record.ends.server);
	} else {
		event->sport = port;
		event->dport = peer;
		event->offset = BPF_CORE_READ(tcp, copied_seq);
		event->data_len = BPF_CORE_READ(tcp, write_seq);
		copy_addresses(sk, record.ends.server, record.ends.client);
	}
	tell_state(&record, direction);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int old_state, int new_state)
{
	return state_changed(sk, old_state, new_state, 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(sock_set_state, struct sock *sk, int old_state, int new_state)
{
	return state_changed(sk, old_state, new_state, 1);
}
