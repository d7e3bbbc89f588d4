# shellcheck shell=bash
# --target local: the processes of `lockstep launch` on this machine, which outlives the terminal that it was started from.

RUN=$STATE/run
LAUNCH_PID() { cat "$STATE/pid" 2>/dev/null; }
is_up() { local pid; pid=$(LAUNCH_PID) && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && grep -q lockstep "/proc/$pid/cmdline" 2>/dev/null; }

local_check() {
  # Also while it does not say yet that it trains: one launch is one start.
  ! is_up || [ -z "$(option resume)" ] || fail 7 "The cluster $CLUSTER runs; take it down before it makes a new start."
  ! is_up || only_after_down job data checkpoints
  run lockstep check "$JOB" "${SETTINGS[@]}" --data "$DATA" --shards "$SHARDS" --workers "$(most_workers "$WORKERS")"
}

local_up() {
  if is_up; then
    # How many there are can change; with how few it goes on is the launch's own, to its end.
    [ -z "$(option workers)" ] || run lockstep scale "$(most_workers "$WORKERS")" --job "$CLUSTER"
    return
  fi
  local words=(--job "$CLUSTER" --workers "$WORKERS" --shards "$SHARDS" --data "$DATA" --directory "$RUN" --tls)
  [ -z "$EPOCHS" ] || words+=(--epochs "$EPOCHS")
  [ -z "$CHECKPOINTS" ] || words+=(--checkpoints "$CHECKPOINTS")
  [ -z "$(option allow-change)" ] || words+=(--allow-change)
  words+=("${SETTINGS[@]}" --resume "$RESUME")
  if [ -n "$DRY_RUN" ]; then
    run lockstep launch "$JOB" "${words[@]}"
    return
  fi
  mkdir -p "$STATE"
  setsid node "$ROOT/bin/lockstep.mjs" launch "$JOB" "${words[@]}" >"$STATE/launch.log" 2>&1 </dev/null &
  echo $! >"$STATE/pid"
  # It is up when it answers; it may also be over by then, well or not.
  until lockstep status --job "$CLUSTER" >/dev/null 2>&1; do
    if ! is_up; then
      # What never ran is no start, which would keep another one from being told anything else.
      wait "$!" || { rm -f "$STATE/pid" "$STATE/start" && cat "$STATE/launch.log" >&2 && fail 1 "The launch has ended; what it said is above."; }
      return
    fi
    sleep 0.3
  done
}

local_next_commands() {
  [ -z "$DRY_RUN" ] || return 0
  is_up || { say "The launch is over already; what it said: $(typed status) --name $CLUSTER" && return; }
  say "The cluster $CLUSTER is up, as process $(LAUNCH_PID)."
  suggest_commands
}

need_up() { is_up || fail 6 "The cluster $CLUSTER is not running; $(typed up) --name $CLUSTER starts it."; }

# The launch knows nothing of `up`, which is to start it again.
local_down() {
  if is_up; then run lockstep stop --job "$CLUSTER" | sed "s|Go on with: .*|Go on with: $(typed up) --name $CLUSTER|"; fi
  run rm -f "$STATE/pid"
}
local_status() {
  if is_up; then lockstep status --job "$CLUSTER" ${OPTION[json]:+--json}; else
    [ -z "$(option json)" ] || fail 6 "The cluster $CLUSTER is not running."
    say "The cluster $CLUSTER is not running. The end of what its last launch said:"
    tail -n 20 "$STATE/launch.log"
  fi
}
local_scale() {
  need_up
  run lockstep scale "$COUNT" --job "$CLUSTER"
}
local_restart_node() {
  [[ $NODE =~ ^worker-[0-9]+$ ]] || fail 2 "NODE is \"$NODE\"; on --target local the launch looks after the others, and a worker was expected, as worker-1."
  need_up
  run lockstep restart "$NODE" --job "$CLUSTER"
}
local_logs() {
  local words=()
  case $NODE in
    "") ;;
    etcd-*) fail 2 "NODE is \"$NODE\"; on --target local etcd keeps no log, and worker-0 or coordinator-0 was expected." ;;
    coordinator-0) words+=(--worker coordinator) ;;
    *) words+=(--worker "$NODE") ;;
  esac
  [ -z "$(option follow)" ] || words+=(--follow)
  [ -z "$(option previous)" ] || words+=(--previous)
  lockstep logs --directory "$RUN" "${words[@]}"
}
local_certificate_hosts() { :; }
local_install_certificates() { :; }
local_certificates_check() { fail 2 "On --target local the launch makes its own certificates; there are none to make."; }
local_etcd_backup() {
  local folder=$RUN/etcd
  ! is_up ||
    fail 7 "The cluster $CLUSTER runs, and its only etcd is on this disk; take it down first, then what it holds is copied."
  [ -d "$folder/member" ] || fail 6 "The cluster $CLUSTER has no etcd yet; its first start makes one."
  run tar -C "$folder" -cf "$FILE.part" .
  run mv "$FILE.part" "$FILE"
  [ -n "$DRY_RUN" ] || say "$FILE: $(wc -c <"$FILE") bytes"
}
local_is_backup() { tar -tf "$1" ./member >/dev/null 2>&1; } # FILE
local_etcd_restore() {
  ! is_up || fail 7 "The cluster $CLUSTER runs; take it down first."
  run rm -rf "$RUN/etcd.new"
  run mkdir -p "$RUN/etcd.new"
  run tar -C "$RUN/etcd.new" -xf "$FILE"
  # What was there before stays beside it, as on other targets.
  run rm -rf "$RUN/etcd.before"
  [ ! -e "$RUN/etcd" ] || run mv "$RUN/etcd" "$RUN/etcd.before"
  run mv "$RUN/etcd.new" "$RUN/etcd"
}
