# shellcheck shell=bash
# --target ssh: plain hosts with systemd, named in an inventory. deploy/local has what they get.

# shellcheck source=inventory.sh
. "$SCRIPTS/lib/inventory.sh"
# shellcheck source=ssh-hosts.sh
. "$SCRIPTS/lib/ssh-hosts.sh"
# shellcheck source=ssh-settings.sh
. "$SCRIPTS/lib/ssh-settings.sh"
READY_SECONDS=180 # a worker loads its engine and its data, and waits until as many are there as a start wants

# ---- up

ssh_check() {
  case $CHECKPOINTS in
    "") ;;
    s3://*) [[ $CHECKPOINTS =~ ^s3://[A-Za-z0-9._/-]+$ ]] || usage_error "--checkpoints is \"$CHECKPOINTS\"; s3://BUCKET/PREFIX was expected." ;;
    *) [[ $CHECKPOINTS =~ ^/[A-Za-z0-9._/@+-]+$ ]] || usage_error "--checkpoints is \"$CHECKPOINTS\"; a folder's whole path, which all hosts share, was expected, without spaces." ;;
  esac
  ssh_load
  [ -n "$(option workers)" ] || [ "$START" != "$(remembered ssh-start)" ] || WORKERS_NOW=$RUNNING
  RUNNING=${WORKERS_NOW:-$(most_workers "$WORKERS")}
  inventory_place "$RUNNING"
  ssh_contents
  ssh_facts
}
# What is to be on the hosts: content that is there already is not sent again.
ssh_contents() {
  local made
  ssh_open
  made=$(node "$LOCAL/contents.mjs" releases "$WORK/releases") || exit
  { read -r 'RUN[release]' && read -r 'BASE[releases]'; } <<<"$made"
  made=$(node "$LOCAL/contents.mjs" job "$WORK/job" "$JOB") || exit
  { read -r 'RUN[job]' && read -r 'BASE[job]' && read -r 'RUN[entry]'; } <<<"$made"
  made=$(node "$LOCAL/contents.mjs" data "$WORK/data" "$DATA") || exit
  { read -r 'RUN[data]' && read -r 'BASE[data]'; } <<<"$made"
  BASE[cache]=$(node "$LOCAL/contents.mjs" cache "$WORK/cache.cpu" cpu | head -n 1)
  node "$LOCAL/contents.mjs" cache "$WORK/cache.gpu" gpu >/dev/null
}
declare -gA BASE=()

send() { # HOST WHAT ID
  ! has "$1" "there $2/$3" || return 0
  if [ -n "$DRY_RUN" ]; then
    remote "$1" put "$2" "$3"
  else
    tar -C "${BASE[$2]}" -c --dereference --null --files-from "$WORK/$2" | remote "$1" put "$2" "$3" && echo "has $2/$3"
  fi
}
# The engine that this machine computes with, and its etcd, so that all hosts have the same, and need no registry.
send_cache() { # HOST
  local entry
  if [ -n "$DRY_RUN" ]; then
    remote "$1" put cache
    return
  fi
  while IFS= read -r -d '' entry; do
    [[ $entry == etcd/* ]] || [ "${ROOM[$1]}" -gt 0 ] || continue
    has "$1" "there cache/$entry" || printf '%s\0' "$entry"
  done <"$WORK/cache.$(device_of "$1")" >"$WORK/cache.for.$1"
  [ -s "$WORK/cache.for.$1" ] || return 0
  tar -C "${BASE[cache]}" -c --null --files-from "$WORK/cache.for.$1" | remote "$1" put cache && echo "has the engine and etcd of here"
}
ssh_send() { # HOST
  send "$1" releases "${RUN[release]}" && send_cache "$1" && send "$1" job "${RUN[job]}" || return
  [ -z "$(nodes worker "$1")" ] || send "$1" data "${RUN[data]}"
}
ssh_prepare() { # HOST
  case ${CHECKPOINTS:-} in /*) remote "$1" writable "$CHECKPOINTS" || return ;; esac
  [ -z "$(nodes etcd "$1")" ] || remote "$1" etcd "${RUN[release]}" || return
  [ -z "$(nodes worker "$1")" ] ||
    remote "$1" engine "${RUN[release]}" "${RUN[job]}/${RUN[entry]}" "${RUN[data]}" "$SHARDS" "$(device_of "$1")" "${SETTINGS[@]}"
}

ssh_up() {
  local previous trained host most
  previous=$(remembered ssh-start)
  most=$SHARDS
  [[ $WORKERS != *:* ]] || most=$(most_workers "$WORKERS")
  # Without a place for all, each worker has checkpoints of its own, and one other keeps a copy.
  RUN[replicas]=0
  [ -n "$CHECKPOINTS" ] || [ "$most" = 1 ] || RUN[replicas]=1
  RUN[resume]=$RESUME RUN[allow]=$(option allow-change)
  # What a start was told holds for all of it.
  [ "$START" != "$previous" ] || RUN[resume]=$(run_before resume)
  [ "$START" != "$previous" ] || RUN[allow]=${RUN[allow]:-$(run_before allow)}
  trained="${RUN[release]} ${RUN[job]}/${RUN[entry]} ${RUN[data]} $SHARDS ${EPOCHS:--} ${CHECKPOINTS:--} ${RUN[allow]:--}"
  if [ "$START" = "$previous" ] && [ "$trained" != "$(remembered ssh-trained)" ]; then
    START=$(date -u +%Y%m%d-%H%M%S-$$)
    note "What is to be trained is not what the cluster trains: it is stopped in order, and goes on with it in a new start."
    remember start "$START"
  fi
  for host in $(remembered ssh-hosts); do
    [ -n "${ROLES[$host]:-}" ] || note "$host is in the inventory no more; what it runs is left to it: systemctl disable --now lockstep.target, there."
  done
  remember inventory "$INVENTORY"
  remember ssh-hosts "${HOSTS[*]}"
  inventory_remember
  make_certificates "$((SHARDS > RUNNING ? SHARDS : RUNNING))"
  each ssh_send "${HOSTS[@]}" || fail $? "Not all hosts have what they need; nothing was started. Their words are above."
  each ssh_prepare "${HOSTS[@]}" || fail $? "Not all hosts can train this job; nothing was started. Their words are above."
  # Nobody is to go on in the old start, or with older settings.
  if [ "$START" != "$previous" ] && [ -n "$previous$(reached_units)" ]; then ssh_stop_run && ssh_stop_roles worker coordinator; fi
  remember ssh-trained "$trained"
  remember ssh-workers "$RUNNING"
  ssh_remember_run
  ssh_settle "${HOSTS[@]}"
  ssh_start_all
  remember ssh-start "$START"
  each ssh_tidy "${HOSTS[@]}" || note "Not all hosts could remove what they had before."
}
ssh_tidy() { remote "$1" tidy "${RUN[release]}" "${RUN[job]}" "${RUN[data]}"; }

# Of the role ROLE:
start_role() { # HOST: what does not run
  local units
  mapfile -t units < <(units_on "$1" "$ROLE")
  remote "$1" start "${units[@]}"
}
ready_role() { # HOST
  local words
  mapfile -t words < <(for node in $(nodes "$ROLE" "$1"); do health_of "$node"; done)
  remote "$1" ready "$READY_SECONDS" "${words[@]}"
}
renew_role() { # HOST: what runs with other settings than it has now
  local units
  mapfile -t units < <(changed_units "$1" "$ROLE")
  remote "$1" restart "${units[@]}" && ready_role "$1"
}
changed_units() { # HOST ROLE
  sed -n "s/^$1: \(lockstep-$2[@.].*\) runs with older settings$/\1/p" "$WORK/settled"
}
# Brings everybody's settings, and tells what runs with older ones.
ssh_settle() { # HOST…
  each ssh_settings "$@" | tee "$WORK/settled" || fail $? "Not all hosts have their settings. Their words are above."
}
ssh_start_all() {
  local host
  for ROLE in etcd coordinator worker; do
    local hosts=()
    mapfile -t hosts < <(hosts_of "$ROLE")
    each start_role "${hosts[@]}" || fail $? "Not all hosts could start what they have of $ROLE. Their words are above."
    each ready_role "${hosts[@]}" || fail $? "Not all of $ROLE are ready. See: deploy/scripts/logs --name $CLUSTER"
    # One host after the other: training goes on meanwhile.
    for host in "${hosts[@]}"; do
      [ -n "$(changed_units "$host" "$ROLE")" ] || continue
      each renew_role "$host" || fail $? "$host could not start what it has of $ROLE with its new settings. Its words are above."
    done
  done
}

ssh_next_commands() {
  [ -n "$DRY_RUN" ] || say "The cluster $CLUSTER is up: $(for node in $(nodes ""); do printf '%s on %s  ' "$node" "${PLACE[$node]}"; done)"
  suggest_commands "${HOSTS[0]}"
}

# ---- the other verbs

ssh_down() {
  local hosts=()
  ssh_load
  ssh_facts some
  ssh_stop_run
  ssh_stop_roles worker coordinator etcd
  mapfile -t hosts < <(reached)
  each ssh_rest "${hosts[@]}" || fail $? "Not all hosts could be left at rest. Their words are above."
  [ -z "$(option purge)" ] || each ssh_purge "${hosts[@]}" || fail $? "Not all hosts could be cleared. Their words are above."
  end_if_lost
}
ssh_stop_roles() { # ROLE…: in this order
  local hosts=()
  for ROLE in "$@"; do
    mapfile -t hosts < <(hosts_of "$ROLE")
    each stop_role "${hosts[@]}" || fail $? "Not all hosts could stop what they have of $ROLE. Their words are above."
  done
}
stop_role() { # HOST
  local units
  mapfile -t units < <(units_on "$1" "$ROLE")
  remote "$1" stop "${units[@]}"
}
ssh_rest() { remote "$1" rest; }
ssh_purge() { remote "$1" purge; }

ssh_status() {
  local node host
  ssh_load
  ssh_facts some
  if [ -n "$(option json)" ]; then
    ssh_operator_status --json
    return
  fi
  local hosts=()
  mapfile -t hosts < <(hosts_of "")
  if [ -n "$DRY_RUN" ]; then
    each ssh_units "${hosts[@]}"
    operator status
    return
  fi
  # What each host says comes with its name before it.
  each ssh_units "${hosts[@]}" >"$WORK/units" || note "Not all hosts say how they are."
  printf '%-15s %-24s %-24s %-9s %s\n' NODE HOST STATE RESTARTS SINCE
  for node in $(nodes ""); do
    host=${PLACE[$node]}
    awk -F '\t' -v node="$node" -v host="$host" -v unit="$(unit_of "$node")" '
      $1 == host ": " unit { state = $2; restarts = $3; since = $4 }
      END { printf "%-15s %-24s %-24s %-9s %s\n", node, host, state == "" ? "not reached" : state, restarts, since }' "$WORK/units"
  done
  say
  ssh_operator_status
  end_if_lost
}
ssh_operator_status() { # [--json]
  local code=0
  operator status "$@" || code=$?
  [ "$code" != 6 ] || { need_started && fail 6 "No coordinator of $CLUSTER answers."; }
  return "$code"
}
ssh_units() { # HOST
  local units
  mapfile -t units < <(units_on "$1")
  remote "$1" units "${units[@]}"
}

ssh_scale() {
  local before number host gone=()
  need_started
  ssh_load
  ssh_load_run
  before=$RUNNING
  inventory_place "$COUNT"
  ssh_facts some
  # One after the other, the highest first: each leaves in order.
  for ((number = before - 1; number >= COUNT; number--)); do
    host=${PLACE[worker-$number]:-}
    [[ -n $host && " $(reached | paste -s -d ' ') " == *" $host "* ]] || continue
    NODE=worker-$number
    each stop_node "$host" || fail $? "$NODE could not be stopped. Its host's words are above."
    gone+=("$NODE")
  done
  RUNNING=$COUNT
  inventory_remember
  remember ssh-workers "$RUNNING"
  make_certificates "$RUNNING"
  local hosts=()
  mapfile -t hosts < <(reached)
  # A host that has had no worker so far has neither the data nor the engine.
  SHARDS=$(remembered shards) JOB=$(remembered job) DATA=$(remembered data) CHECKPOINTS=$(remembered checkpoints)
  remembered_settings
  if [ "$COUNT" -gt "$before" ]; then ssh_bring_same "${hosts[@]}"; fi
  ssh_settle "${hosts[@]}"
  ROLE=worker
  mapfile -t hosts < <(hosts_of worker)
  each start_role "${hosts[@]}" || fail $? "Not all hosts could start their workers. Their words are above."
  each ready_role "${hosts[@]}" || fail $? "Not all workers are ready. See: deploy/scripts/logs --name $CLUSTER"
  [ -n "$DRY_RUN" ] || say "There are $COUNT workers; there were $before.${gone[*]:+ Gone: ${gone[*]}.}"
  end_if_lost
}
stop_node() { remote "$1" stop "$(unit_of "$NODE")"; } # HOST
# What the cluster trains now, for hosts that have it not; never another job or other data.
ssh_bring_same() { # HOST…
  local host key missing=
  declare -A now=()
  for host in "$@"; do
    [ -z "$(nodes worker "$host")" ] || has "$host" "there data/${RUN[data]}" && has "$host" "there releases/${RUN[release]}" || missing=yes
  done
  [ -n "$missing" ] || return 0
  for key in "${!RUN[@]}"; do now[$key]=${RUN[$key]}; done
  ssh_contents
  for key in release job data; do
    [ "${RUN[$key]}" = "${now[$key]}" ] || [ -n "$DRY_RUN" ] ||
      fail 9 "A host has to be given what the cluster trains, and the $key here is another one now: bring it to all with \`up\`."
    RUN[$key]=${now[$key]}
  done
  each ssh_send "$@" || fail $? "Not all hosts have what they need. Their words are above."
  each ssh_prepare "$@" || fail $? "Not all hosts can train this job. Their words are above."
}

ssh_restart_node() {
  need_started
  ssh_load
  local host=${PLACE[$NODE]:-} nodes=()
  if [ -n "$host" ] && [[ " $(nodes "" | paste -s -d ' ') " == *" $NODE "* ]]; then
    nodes=("$NODE")
  elif [ -n "${ROLES[$NODE]:-}" ]; then
    host=$NODE
    mapfile -t nodes < <(nodes etcd "$host" && nodes coordinator "$host" && nodes worker "$host")
    [ ${#nodes[@]} -gt 0 ] || fail 2 "$host runs nothing now."
  else
    fail 2 "There is no node and no host $NODE; there are: $(nodes "" | paste -s -d ' ') ${HOSTS[*]}"
  fi
  HOSTS=("$host")
  ssh_facts
  RESTARTED=("${nodes[@]}")
  each restart_nodes "$host" || fail $? "$NODE could not be started again. Its host's words are above."
}
restart_nodes() { # HOST
  local units words
  mapfile -t units < <(for node in "${RESTARTED[@]}"; do unit_of "$node" && echo; done)
  mapfile -t words < <(for node in "${RESTARTED[@]}"; do health_of "$node"; done)
  remote "$1" restart "${units[@]}" && remote "$1" ready "$READY_SECONDS" "${words[@]}"
}

ssh_logs() {
  local node hosts=()
  ssh_load
  if [ -n "$NODE" ]; then
    [[ " $(nodes "" | paste -s -d ' ') " == *" $NODE "* ]] || fail 2 "There is no node $NODE; there are: $(nodes "" | paste -s -d ' ')"
    LOGGED=("$NODE")
    HOSTS=("${PLACE[$NODE]}")
  else
    mapfile -t LOGGED < <(nodes coordinator && nodes worker)
  fi
  ssh_facts some
  for node in "${LOGGED[@]}"; do hosts+=("${PLACE[$node]}"); done
  mapfile -t hosts < <(printf '%s\n' "${hosts[@]}" | sort -u | grep -xF -f <(reached))
  LOGS_HOW=now
  [ -z "$(option previous)" ] || LOGS_HOW=previous
  [ -z "$(option follow)" ] || LOGS_HOW=follow
  each logs_of "${hosts[@]}" || fail $? "Not all hosts could say what was logged."
  end_if_lost
}
logs_of() { # HOST
  local node units=()
  for node in "${LOGGED[@]}"; do [ "${PLACE[$node]}" != "$1" ] || units+=("$(unit_of "$node")"); done
  if [ "$LOGS_HOW" = follow ] && [ -z "$DRY_RUN" ]; then
    # An input that never ends, but with this call: by that the host knows when to stop.
    [ -p "$WORK/open.$1" ] || mkfifo "$WORK/open.$1"
    remote "$1" logs 200 follow "${units[@]}" <>"$WORK/open.$1"
  else
    remote "$1" logs 2000 "$LOGS_HOW" "${units[@]}"
  fi
}

# ---- certificates and etcd

# The names and addresses of member N; nothing where there is none.
ssh_certificate_hosts() { # N
  ssh_load
  local host=${PLACE[etcd-$1]:-}
  [ -n "$host" ] || return 0
  printf '%s\n' "$host" "${ADDRESS[$host]}" localhost 127.0.0.1 | awk '!seen[$0]++' | paste -s -d ,
}
ssh_certificates_check() {
  ssh_load
  [ -n "$(remembered inventory)" ] || remember inventory "$INVENTORY"
}
# Brings them to the processes, which take them as they run.
ssh_install_certificates() {
  ssh_load
  ssh_load_run
  [ -n "${RUN[release]:-}" ] || return 0 # `up` brings them
  ssh_facts some
  local hosts=()
  mapfile -t hosts < <(reached)
  ssh_settle "${hosts[@]}"
  end_if_lost
}

# shellcheck disable=SC2153 # FILE comes from the script
ssh_etcd_backup() {
  local host port
  ssh_load
  if [ -n "$DRY_RUN" ]; then
    say "+ save a snapshot of etcd to $FILE"
    return
  fi
  ssh_facts some
  for host in $(hosts_of etcd); do
    port=$(forward "$host" 2379) || continue
    node "$LOCAL/etcd-snapshot.mjs" "https://localhost:$port" "$(CERTS)/operator" "$FILE" && return
  done
  fail 6 "No member of etcd gave a snapshot; what each said is above."
}

ssh_is_backup() { is_snapshot "$1"; } # FILE
ssh_etcd_restore() {
  local node token tool
  need_started
  ssh_load
  # The members' new data are made here, so hosts need no tool of etcd's.
  if [ -n "$DRY_RUN" ]; then tool=etcdutl; else tool=$(node "$LOCAL/etcd-restorer.mjs") || exit; fi
  ssh_open
  # One for all members: it is what tells this etcd from the one before.
  token=$CLUSTER-$(date -u +%Y%m%d-%H%M%S)
  for node in $(nodes etcd); do
    restore_quietly env ETCDCTL_API=3 "$tool" snapshot restore "$FILE" --name "$node" --data-dir "$WORK/restored/$node/data" \
      --initial-cluster "$(etcd_cluster)" --initial-cluster-token "$token" \
      --initial-advertise-peer-urls "https://$(url_host "${PLACE[$node]}"):2380" ||
      fail 1 "$FILE could not be made into the data of $node; nothing was changed."
  done
  ssh_facts
  ROLE=etcd
  local hosts=()
  mapfile -t hosts < <(hosts_of etcd)
  each stop_role "${hosts[@]}" || fail $? "Not all members of etcd could be stopped; the others are stopped. Their words are above."
  each put_etcd_data "${hosts[@]}" || fail $? "Not all hosts have the new data. Their words are above."
  each start_role "${hosts[@]}" || fail $? "Not all members of etcd could be started. Their words are above."
  each ready_role "${hosts[@]}" || fail $? "Not all members of etcd are ready. See: deploy/scripts/logs etcd-0 --name $CLUSTER"
}
restore_quietly() { # WORD…: what it says is for when it fails
  if [ -n "$DRY_RUN" ]; then
    run "$@"
  else
    "$@" >"$WORK/restore.log" 2>&1 || { cat "$WORK/restore.log" >&2 && return 1; }
  fi
}
put_etcd_data() { # HOST
  local node
  node=$(nodes etcd "$1")
  if [ -n "$DRY_RUN" ]; then
    remote "$1" etcd-data
  else
    tar -C "$WORK/restored/$node" -c data | remote "$1" etcd-data
  fi
}
