# shellcheck shell=bash
# How --target ssh talks with its hosts: one connection each, all of them at once, and the operator's own calls through them.
# What is done on a host is a verb of deploy/local/host, whose text is sent with the call, so nothing has to be there first.

LOCAL=$ROOT/deploy/local
read -ra SSH <<<"${LOCKSTEP_SSH:-ssh}" # as "ssh -F FILE"
RUNNING=0                               # how many of the placed workers run
WORK=                                   # a folder for this call: connections, and what is sent
LOST=() REACHED=()                      # hosts that cannot be reached, and the others

# ---- connections

# shellcheck disable=SC2016 # the host's shell is to read it
AS_ROOT='if [ "$(id -u)" = 0 ]; then exec "$@"; elif sudo -n true 2>/dev/null; then exec sudo -n "$@"; fi
  echo "the user $(id -un) is not root here, and sudo asks for a password: name another user in the inventory, or let it use sudo without one." >&2
  exit 4'

ssh_open() {
  [ -z "$WORK" ] || return 0
  if [ -z "$DRY_RUN" ]; then
    need ssh "--target ssh calls hosts by it"
    need tar "what hosts need is sent as tar archives"
  fi
  # The sockets' paths must be short.
  WORK=$(mktemp -d /tmp/lockstep-ssh.XXXXXX)
  trap ssh_close EXIT
}
ssh_close() {
  local socket
  for socket in "$WORK"/c-*; do
    [ ! -S "$socket" ] || "${SSH[@]}" -o "ControlPath=$socket" -O exit -- host >/dev/null 2>&1 || true
  done
  rm -rf "$WORK"
}
# One connection a host, which all calls share; whoever it is must be known, as your own ssh has it.
ssh_to() { # HOST WORD…
  local host=$1 options=()
  shift
  [ -z "${SSH_USER[$host]}" ] || options+=(-l "${SSH_USER[$host]}")
  [ -z "${SSH_PORT[$host]}" ] || options+=(-p "${SSH_PORT[$host]}")
  "${SSH[@]}" -T -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 \
    -o ControlMaster=auto -o "ControlPath=$WORK/c-%C" -o ControlPersist=60 "${options[@]}" "$@"
}
# As one line of any POSIX shell.
shell_words() { # WORD…
  local word
  for word in "$@"; do printf "'%s' " "${word//\'/\'\\\'\'}"; done
}
remote() { # HOST VERB WORD…: a verb of deploy/local/host, as root; what it reads is this one's standard input
  local host=$1
  shift
  if [ -n "$DRY_RUN" ]; then
    say "+ $host: $*"
  else
    ssh_to "$host" -- "$host" "$(shell_words sh -c "$AS_ROOT" lockstep bash -c "$(cat "$LOCAL/host")" host "$@")"
  fi
}
# Calls FUNCTION HOST for each, at once, and puts the host's name before each line. Fails as the last that failed.
each() { # FUNCTION HOST…
  local what=$1 host code=0
  declare -A pids=()
  shift
  for host in "$@"; do
    if [ -n "$DRY_RUN" ]; then
      "$what" "$host"
    else
      { "$what" "$host" 2>&1 </dev/null | sed -u "s/^/$host: /"; } &
      pids[$host]=$!
    fi
  done
  for host in "${!pids[@]}"; do wait "${pids[$host]}" || code=$?; done
  return "$code"
}

# ---- what there is

# Reads the inventory, and where each node is; once a call.
ssh_load() {
  [ ${#HOSTS[@]} -eq 0 ] || return 0
  local file
  file=$(option inventory "$(remembered inventory)")
  case $VERB in
    up | gen-certs) ;;
    *) [ -n "$file" ] || fail 6 "The cluster $CLUSTER has no hosts yet; \`up --target ssh JOB.ts --inventory FILE\` gives it some." ;;
  esac
  [ -n "$file" ] || fail 2 "--inventory is missing: a file with the hosts was expected, as deploy/local/inventory.example."
  inventory_read "$file"
  # shellcheck disable=SC2034 # for those who remember it
  INVENTORY=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
  RUNNING=$(remembered ssh-workers 0)
  inventory_place "$RUNNING"
}
PLATFORM() { node -p 'process.platform + "-" + process.arch'; }
facts_of() { # HOST
  local code=0
  remote "$1" facts "$CLUSTER" "$(PLATFORM)" </dev/null >"$WORK/facts.$1" || code=$?
  [ "$code" != 255 ] || echo "it cannot be reached as ssh is told to; try: ${SSH[*]} ${SSH_USER[$1]:+-l ${SSH_USER[$1]} }${SSH_PORT[$1]:+-p ${SSH_PORT[$1]} }$1"
  echo "$code" >"$WORK/code.$1"
}
has() { grep -qxF "$2" "$WORK/facts.$1" 2>/dev/null; } # HOST FACT
# Asks all hosts at once. Without "some", one that cannot be reached stops everything.
ssh_facts() { # [some]
  local host code worst=0 reached=()
  [ -z "$DRY_RUN" ] || return 0
  ssh_open
  each facts_of "${HOSTS[@]}" >&2
  for host in "${HOSTS[@]}"; do
    code=$(cat "$WORK/code.$host")
    case $code in
      0) reached+=("$host") ;;
      255) LOST+=("$host") && [ "$worst" != 0 ] || worst=6 ;;
      *) worst=$code ;;
    esac
  done
  case ${1:-}-$worst in
    *-0) ;;
    some-6) note "Not reached: ${LOST[*]}. The others follow." ;;
    *) fail "$worst" "Not all hosts are as they have to be; nothing was changed." ;;
  esac
  REACHED=("${reached[@]}")
}
reached() {
  if [ -n "$DRY_RUN" ]; then
    printf '%s\n' "${HOSTS[@]}"
  elif [ ${#REACHED[@]} -gt 0 ]; then
    printf '%s\n' "${REACHED[@]}"
  fi
}
reached_units() { # those that are there, run or not
  local host
  for host in "${REACHED[@]}"; do grep "^unit " "$WORK/facts.$host" || true; done
}
# Those of the hosts reached that have a node of this role.
hosts_of() { # ROLE|""
  local host
  for host in $(reached); do [ -z "$(nodes "$1" "$host")" ] || printf '%s\n' "$host"; done
}
units_on() { # HOST [ROLE]
  local node
  for node in $(nodes "${2:-}" "$1"); do unit_of "$node" && echo; done
}
end_if_lost() {
  [ ${#LOST[@]} -eq 0 ] || fail 6 "${LOST[*]} could not be reached and may still run what was there: do it again once it can."
}

# ---- the operator

# Makes PORT of a host's loopback reachable here; prints where.
forward() { # HOST PORT
  local try port
  for try in 1 2 3; do
    port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
    if ssh_to "$1" -O forward -L "127.0.0.1:$port:127.0.0.1:$2" -- "$1" 2>"$WORK/forward"; then
      printf '%s' "$port"
      return
    fi
  done
  note "$1: after $try tries no port of it is reachable here: $(cat "$WORK/forward")"
  return 6
}
# lockstep as the cluster's operator, of the first coordinator that answers.
operator() { # WORD…
  local host port code=6
  if [ -n "$DRY_RUN" ]; then
    say "+ lockstep $* --coordinator HOST:7070 --tls $(CERTS)/operator"
    return
  fi
  for host in $(hosts_of coordinator); do
    port=$(forward "$host" 7070) || continue
    code=0
    lockstep "$@" --coordinator "127.0.0.1:$port" --tls "$(CERTS)/operator" 2>"$WORK/operator" || code=$?
    [ "$code" = 6 ] || break
  done
  [ ! -s "$WORK/operator" ] || cat "$WORK/operator" >&2
  return "$code"
}
runs_coordinator() {
  local host
  for host in $(reached); do ! has "$host" "unit lockstep-coordinator.service active" || return 0; done
  [ -n "$DRY_RUN" ] && [ -e "$STATE/ssh-start" ]
}
# The step is finished, and a checkpoint published.
ssh_stop_run() {
  ! runs_coordinator || operator stop ||
    note "It did not stop in order; what it goes on from is the last checkpoint."
}

