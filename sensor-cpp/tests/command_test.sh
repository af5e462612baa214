#!/bin/sh
# The command itself: exit codes, sentences, signals, and delivery over a real socket.
#   command_test.sh VIGIA_SENSOR INGRESS_SERVER
set -u
sensor=$1
server=$2
# In memory where there is such a place: no sync waits for the disk.
test -w /dev/shm && : "${TMPDIR:=/dev/shm}" && export TMPDIR
dir=$(mktemp -d)
server_pid=
trap 'test -n "$server_pid" && kill "$server_pid" 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1

fail() {
  echo "does not hold: $1" >&2
  cat err >&2
  exit 1
}
# expect CODE PATTERN ARGS...: the exit code, and a sentence on standard error
expect() {
  code=$1 pattern=$2
  shift 2
  "$sensor" "$@" >out 2>err </dev/null
  got=$?
  test $got -eq "$code" || fail "exit $code, got $got: $*"
  grep -q -- "$pattern" err || fail "says $pattern: $*"
}

cat >key <<END
sensor = 7
epoch = 1
profile = "climate"
quantities = ["temperature:f32", "pressure:f32", "humidity:f32"]
key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
END
chmod 600 key
: >err
"$sensor" --help | grep -q -- --spool-max || fail "help"
"$sensor" --version | grep -q "^vigia-sensor [0-9]" || fail "version"

expect 64 "unknown option --colour" --colour red
expect 64 "--connect must be HOST:PORT" --connect nowhere
expect 64 "--rate must be" --rate fast
expect 64 "--spool-max must be 64KiB or more" --spool-max 10
expect 64 "--for must be a time" --for 10
expect 64 "--count must be" --count
expect 64 "--connect HOST:PORT is missing" --key key --spool s
chmod 644 key
expect 64 "chmod 600" --connect 127.0.0.1:1 --key key --spool s
chmod 600 key

# Nobody listens: everything stays in the spool.
expect 3 "5 readings are not acknowledged" --connect 127.0.0.1:1 --key key --spool s --rate 1000 --count 5 --linger 200ms

"$server" key >server.out &
server_pid=$!
for _ in $(seq 100); do port=$(head -n 1 server.out); test -n "$port" && break; sleep 0.05; done
test -n "$port" || fail "the server has a port"
to="--connect 127.0.0.1:$port --key key --spool s --truth truth --stats 1h"

# The five are delivered, and then some.
expect 0 "taken=100 sent=105 acknowledged=105" $to --rate 2000 --count 100
expect 0 "taken=0" $to --count 0

printf 'time,temperature,pressure,humidity\n2026-01-01T00:00:00Z,1,2,3\nwrong,1,2,3\n2026-01-01T00:00:02Z,nan,2,3\n' >csv
expect 65 "CSV line 3, column time" $to --csv csv --speed 0
expect 65 "taken=2 .*skipped_lines=1" $to --csv csv --speed 100
grep -q "^sent [0-9]* 106 1767225600000000 1 2 3$" truth || fail "the truth has the reading"
grep -q "^sent [0-9]* 107 1767225602000000 nan 2 3$" truth || fail "the truth has the failed reading"
"$sensor" $to --stdin <csv 2>err
test $? -eq 65 || fail "standard input"
expect 64 "expected the header" $to --csv key
expect 64 "No such file" $to --csv none

# One process a spool; SIGTERM delivers what is held.
"$sensor" $to --rate 500 2>first.err &
pid=$!
sleep 1
expect 64 "in use" $to
kill -TERM $pid
wait $pid || fail "delivered after SIGTERM"
# kill -9, again and again, and nothing is lost.
for _ in 1 2 3 4 5; do
  "$sensor" $to --rate 2000 2>err &
  pid=$!
  sleep 0.3
  kill -KILL $pid
  wait $pid 2>/dev/null
done
expect 0 "unacknowledged=0" $to --count 1
kill -TERM $server_pid
wait $server_pid || fail "the server ends well"
server_pid=
cat server.out
# Every position claimed was accepted, up to the last acknowledgement, and nothing else was.
last=$(awk '$1 == "ack" && $3 > last { last = $3 } END { print last - 1 }' truth)
sent=$(awk '$1 == "sent" { print $2, $3 }' truth | sort -u | wc -l)
accepted=$(sed -n 's/.*readings=\([0-9]*\).*/\1/p' server.out)
test "$last" = "$accepted" || fail "acknowledged $last, accepted $accepted"
test "$sent" = "$accepted" || fail "sent $sent, accepted $accepted"
grep -q "gaps=0 .*refusals=0" server.out || fail "no gaps, no refusals"
