#!/bin/bash
# The two-machine set-up of docs/running.md: three machines (store, readout, board), each a network namespace.
#
#     sudo L1SCOUT=.venv/bin/l1scout validation/two_machines.sh     (about 3 minutes; needs root, iproute2, openssl)
#
# Certificates are made by the openssl commands of the page, and settings are its TOML, so that what is tested is
# what a reader types. Only folders, run numbers, the pace and the number of orbits are set over it. Checked:
#   - settings --check finds no error;
#   - with a token, and a board in a trusted network: every orbit is stored, none is lost, the account balances;
#   - with client certificates, and a board over TLS: the same;
#   - nothing is stored for a readout without a token, with a wrong one, without a certificate, or with one of another
#     authority; a readout sends nothing to a store whose certificate it does not trust;
#   - a board that is in no trusted network gets nothing in without TLS, or with a certificate of another authority.
# Exit status: 0 all of it holds; 1 something does not (printed, and the logs are kept).
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PAGE=$ROOT/docs/running.md
L1SCOUT=$(realpath -s "${L1SCOUT:-$ROOT/.venv/bin/l1scout}")
ORBITS=2000 ORBITS_SHOWN=2,000
[ "$(id -u)" = 0 ] || { echo "two_machines.sh: needs root, to make network namespaces"; exit 2; }
[ -x "$L1SCOUT" ] || { echo "two_machines.sh: $L1SCOUT is no program; set L1SCOUT"; exit 2; }
WORK=$(mktemp -d /tmp/l1scout-two-machines.XXXXXX)
PIDS="" FAILED=0
declare -A MACHINE=([store]=l1scout-store-$$ [readout]=l1scout-readout-$$ [board]=l1scout-board-$$)

clean_up() {
  for pid in $PIDS; do kill -KILL "$pid" 2>/dev/null; done
  for name in "${MACHINE[@]}"; do ip netns del "$name" 2>/dev/null; rm -rf "/etc/netns/$name"; done
  rmdir /etc/netns 2>/dev/null
  if [ $FAILED = 0 ]; then rm -rf "$WORK"; else echo "logs and folders are kept in $WORK"; fi
}
trap clean_up EXIT
trap 'FAILED=1; exit 1' INT TERM

# what the page says

block() {  # heading, language, number: the first such block of code below that heading, or another
  awk -v heading="$1" -v language="$2" -v number="${3:-1}" '
    inside && /^```/ { exit }
    inside { print; next }
    /^```/ { fence = !fence; if (fence && here && $0 == "```" language && ++n == number) { inside = 1; next } }
    !fence && /^#/ { here = ($0 == heading) }' "$PAGE" | grep . || { echo "running.md: no block $*" >&2; kill $$; }
}
left() { sed -E 's/^(.{43}).*/\1/; s/ +$//'; }              # the file of the left column, ...
right() { sed -nE '1d; s/^.{43}# ?//p'; }                    # ... and of the right one, which is in comments
merge() {  # settings of several blocks in one file, as a reader would write it: sections and names once, the last wins
  awk '/^#/ { next } /^\[/ { at = $1; if (!(at in names)) { order[++n] = at; names[at] = "" }; next }
       NF { if (!((at, $1) in line)) names[at] = names[at] " " $1; line[at, $1] = $0 }
       END { for (i = 1; i <= n; i++) { print order[i]; m = split(names[order[i]], name, " ")
             for (j = 1; j <= m; j++) print line[order[i], name[j]] } }'
}

# machines

on() {  # machine, command...: in its network, its folder
  local machine=$1; shift
  (cd "$WORK/$machine" && exec ip netns exec "${MACHINE[$machine]}" "$@")
}
make_machines() {
  local a b=0
  for machine in store readout board; do
    a=${MACHINE[$machine]}
    mkdir -p "$WORK/$machine" "/etc/netns/$a"
    printf '%s\n' "127.0.0.1 localhost" "192.0.2.7 store.example.org" \
      "$([ $machine = board ] && echo 198.51.100.8 || echo 192.0.2.8) readout.example.org" > "/etc/netns/$a/hosts"
    ip netns add "$a" && ip -n "$a" link set lo up || exit 2
  done
  ip link add name eth0 netns "${MACHINE[store]}" type veth peer name eth0 netns "${MACHINE[readout]}" &&
  ip link add name eth1 netns "${MACHINE[readout]}" type veth peer name eth0 netns "${MACHINE[board]}" || exit 2
  for link in "store eth0 192.0.2.7" "readout eth0 192.0.2.8" "readout eth1 198.51.100.8" "board eth0 198.51.100.9"; do
    read -r machine a b <<< "$link"
    ip -n "${MACHINE[$machine]}" address add "$b/24" dev "$a" && ip -n "${MACHINE[$machine]}" link set "$a" up
  done
}
make_certificates() {  # folder
  mkdir -p "$1"
  (cd "$1" && block "### Certificates" sh | bash -e) > "$1.log" 2>&1 || { cat "$1.log"; fail "certificates"; exit 1; }
}

# checks

fail() { echo "FAILED  $*"; FAILED=1; }
check() { local what=$1; shift; if "$@"; then echo "ok      $what"; else fail "$what"; fi; }
start() {  # machine, log, what it says when it is ready, command...; its number is then in STARTED
  local machine=$1 log=$WORK/$2 ready=$3; shift 3
  (cd "$WORK/$machine" && exec ip netns exec "${MACHINE[$machine]}" "$@") > "$log" 2>&1 &
  STARTED=$!; PIDS="$PIDS $STARTED"
  for _ in $(seq 600); do
    grep -q "$ready" "$log" && return
    kill -0 $STARTED 2>/dev/null || break
    sleep 0.2
  done
  fail "$* does not come up"; tail -n 5 "$log"; exit 1
}
stop() { kill -TERM "$1" 2>/dev/null; wait "$1"; }
account() { on store "$L1SCOUT" account "$1" --settings store.toml --verify > "$WORK/account$1.log" 2>&1; }
nothing_of_run() {  # the store does not know the run, or has its end without any orbit
  on store "$L1SCOUT" account "$1" --settings store.toml > "$WORK/account$1.log" 2>&1
  grep -qE "run $1 is not in |store +│ 0 +│ 0 +│" "$WORK/account$1.log" || { cat "$WORK/account$1.log"; false; }
}
all_stored() {  # run: the account balances, nothing is lost, and the store has what the board was to send
  account "$1" && grep -q "^balances" "$WORK/account$1.log" &&
    grep -qE "store +│ $ORBITS_SHOWN +│ $ORBITS_SHOWN +│ - +│" "$WORK/account$1.log" || { cat "$WORK/account$1.log"; false; }
}
says() { grep -qE "$2" "$WORK/$1" || { tail -n 5 "$WORK/$1"; false; }; }
start_store() { start store "$1" "listens" "$L1SCOUT" store --settings store.toml; STORE=$STARTED; }
run_of_board() {  # run: readout and board, until the board has sent all
  export L1SCOUT_RUN_NUMBER=$1
  start readout "readout$1.log" "listens" "$L1SCOUT" readout --settings readout.toml
  local readout=$STARTED
  on board env -u L1SCOUT_ACCESS_TOKEN "$L1SCOUT" source --settings board.toml > "$WORK/board$1.log" 2>&1
  check "run $1: the board ends with 0" [ $? = 0 ]
  stop "$readout"
  check "run $1: readout ends with 0" [ $? = 0 ]
  unset L1SCOUT_RUN_NUMBER
  check "run $1: the account balances, all $ORBITS orbits are stored, none is lost" all_stored "$1"
}
refused() {  # run, what it is, settings of the readout, what it should say: nothing of it is stored
  L1SCOUT_RUN_NUMBER=$1 L1SCOUT_READOUT_DRAIN_SECONDS=4 L1SCOUT_READOUT_SPOOL=$WORK/spool$1 \
    on readout "$L1SCOUT" readout --settings "$3" ../packets.dat > "$WORK/readout$1.log" 2>&1
  check "$2: readout ends with 2 ($?)" [ $? = 2 ]
  check "$2: readout says why" says "readout$1.log" "$4"
  check "$2: nothing is stored" nothing_of_run "$1"
}
board_refused() {  # log, what it is, settings of the board, what readout should say
  (cd "$WORK/board" && L1SCOUT_BOARD_ORBITS=200 exec timeout -s TERM 15 \
    ip netns exec "${MACHINE[board]}" env -u L1SCOUT_ACCESS_TOKEN "$L1SCOUT" source --settings "$3") > "$WORK/$1.log" 2>&1
  check "$2: the board does not end with 0" [ $? != 0 ]
  check "$2: readout says so" says readout48.log "$4"
}

make_machines
make_certificates "$WORK/ca"
make_certificates "$WORK/other"
for machine in store readout board; do
  cp "$WORK/ca/ca.pem" "$WORK/ca/$machine.pem" "$WORK/ca/$machine.key" "$WORK/$machine"
  cp "$WORK/other/$machine.pem" "$WORK/$machine/other.pem"
  cp "$WORK/other/$machine.key" "$WORK/$machine/other.key"
  cp "$WORK/other/ca.pem" "$WORK/$machine/other-ca.pem"
done
chmod 600 "$WORK"/*/*.key
"$L1SCOUT" board --simulate 100 --out "$WORK/packets.dat" > "$WORK/packets.log" 2>&1 || { cat "$WORK/packets.log"; exit 1; }
cp "$WORK/packets.dat" "$WORK/board"
export L1SCOUT_STORE_FOLDER=$WORK/data L1SCOUT_READOUT_SPOOL=$WORK/spool
export L1SCOUT_BOARD_PACE=0.05 L1SCOUT_BOARD_ORBITS=$ORBITS

echo "A token, and a board in a trusted network"
{ block "### With a token" toml | left; } | merge > "$WORK/store/store.toml"
{ block "### With a token" toml | right; block "### Boards" toml; } | merge > "$WORK/readout/readout.toml"
block "### Boards" toml 2 | merge > "$WORK/board/board.toml"
L1SCOUT_ACCESS_TOKEN=$(block "### With a token" sh | sed -nE 's/^(openssl rand [^#]*).*/\1/p' | bash)
export L1SCOUT_ACCESS_TOKEN
check "settings of the store" on store "$L1SCOUT" settings --check store.toml --role store
start_store store-token.log
check "settings of the readout" on readout "$L1SCOUT" settings --check readout.toml --role readout
run_of_board 42
TOKEN=$L1SCOUT_ACCESS_TOKEN
L1SCOUT_ACCESS_TOKEN= refused 43 "no token" readout.toml "token"
L1SCOUT_ACCESS_TOKEN=0123456789abcdef0123456789abcdef refused 44 "a wrong token" readout.toml "token"
sed 's/authority = "ca.pem"/authority = "other-ca.pem"/' "$WORK/readout/readout.toml" > "$WORK/readout/distrusts.toml"
refused 45 "a store that is not trusted" distrusts.toml "certificate"
check "the store has not logged its token" bash -c "! grep -rqF $TOKEN '$WORK' --include=*.log --include=*.toml"
stop "$STORE"
check "the store ends with 0" [ $? = 0 ]
unset L1SCOUT_ACCESS_TOKEN

echo "Client certificates, and a board over TLS"
{ block "### With a token" toml | left; block "### With client certificates" toml | left; } | merge > "$WORK/store/store.toml"
{ block "### With a token" toml | right; block "### With client certificates" toml | right
  printf '[readout]\nlisten = "0.0.0.0:7401"\n[access]\nclient_authority = "ca.pem"\n'; } | merge > "$WORK/readout/readout.toml"
block "### Boards" toml 3 | merge > "$WORK/board/board.toml"
check "settings of the store" on store "$L1SCOUT" settings --check store.toml --role store
start_store store-certificates.log
check "settings of the readout" on readout "$L1SCOUT" settings --check readout.toml --role readout
check "settings of the board" on board "$L1SCOUT" settings --check board.toml --role board
run_of_board 46
sed -E 's/(certificate|key) = "readout/\1 = "other/' "$WORK/readout/readout.toml" > "$WORK/readout/other.toml"
refused 47 "a certificate of another authority" other.toml "certificate"
grep -vE '^(certificate|key|client_authority) ' "$WORK/readout/readout.toml" | sed 's/0.0.0.0/127.0.0.1/' > "$WORK/readout/none.toml"
refused 49 "no certificate" none.toml "certificate"
sed -E 's/(certificate|key) = "board/\1 = "other/' "$WORK/board/board.toml" > "$WORK/board/other.toml"
grep -vE '^(certificate|key|authority) |access' "$WORK/board/board.toml" > "$WORK/board/plain.toml"
export L1SCOUT_RUN_NUMBER=48
start readout readout48.log "listens" "$L1SCOUT" readout --settings readout.toml
READOUT=$STARTED
unset L1SCOUT_RUN_NUMBER
board_refused board-other "a board with a certificate of another authority" other.toml "rejected"
board_refused board-plain "a board without TLS" plain.toml "rejected"
stop "$READOUT"
check "boards that are refused: nothing is stored" nothing_of_run 48
stop "$STORE"
check "the store ends with 0" [ $? = 0 ]

[ $FAILED = 0 ] && echo "two_machines.sh: all of it holds"
exit $FAILED
