#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A memcached of its own, some seconds of traffic, a recording, the report.
# `sudo make demo` runs it. All that it makes is gone when it ends, however it ends.
set -euo pipefail

membench=$(cd "$(dirname "$0")/.." && pwd)/membench.py
python=${PYTHON:-python3}
bursts=5

folder=$(mktemp -d)
server='' recorder='' driver=''  # process ids, while they run

clean_up() {
    trap '' INT TERM HUP
    local pid
    for pid in $driver $recorder $server; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# fail NAME TEXT: with what NAME itself had to say.
fail() {
    cat "$1.log" >&2 2>/dev/null || true
    echo "demo: $1 $2" >&2
    exit 1
}

# ready_when NAME PID COMMAND...: wait until the command succeeds, as long as PID runs.
ready_when() {
    local name=$1 pid=$2 try
    shift 2
    for ((try = 0; try < 100; try++)); do
        kill -0 "$pid" 2>/dev/null || fail "$name" "ended before it was ready"
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    fail "$name" "was not ready after 10 seconds"
}

accepts() { (exec 3<>"/dev/tcp/127.0.0.1/$port"); }

# Debian gives libmemcached's tools a prefix of their own.
slap=$(command -v memcaslap || command -v memaslap) ||
    fail memcaslap "is missing: sudo make deps-run"

cd "$folder"
port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
memcached -u nobody -l 127.0.0.1 -p "$port" -U 0 2>memcached.log &
server=$!
ready_when memcached "$server" accepts

echo "\$ membench.py record --port $port demo.profile &"
"$python" "$membench" record --port "$port" demo.profile 2>record.log &
recorder=$!
ready_when record "$recorder" grep -q recording record.log

# 90 % get, 10 % set. In bursts of which the ring buffer can hold a whole one, so that
# nothing is lost on a small and busy machine either.
cat >load.cnf <<'END'
key
16 64 1
value
32 512 0.7
513 4096 0.3
cmd
0 0.1
1 0.9
END
echo "\$ memcaslap, $bursts bursts"
for ((burst = 0; burst < bursts; burst++)); do
    timeout 60 "$slap" --servers="127.0.0.1:$port" --cfg_cmd=load.cnf --exp_verify=0.1 \
        --threads=1 --concurrency=4 --win_size=1k --execute_number=15000 >memcaslap.log 2>&1 &
    driver=$!
    wait "$driver" || fail memcaslap failed
    driver=''
    sleep 0.5
done

kill -INT "$recorder"  # as Ctrl-C does
wait "$recorder" || fail record failed
recorder=''
cat record.log

echo
echo '$ membench.py analyze demo.profile'
"$python" "$membench" analyze demo.profile

echo
echo "For comparison, memcached's own counters:"
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'stats\r\nquit\r\n' >&3
tr -d '\r' <&3 | awk '$2 ~ /^(cmd_get|get_hits|get_misses|cmd_set)$/ { print "  " $2, $3 }'
