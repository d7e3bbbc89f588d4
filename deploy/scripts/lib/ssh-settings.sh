# shellcheck shell=bash
# What a host of --target ssh is told: an environment file for each of its units, and the certificates of its processes.

declare -gA RUN=() # what the last `up` made of its options
ssh_load_run() {
  local key value
  while IFS='=' read -r key value; do [ -z "$key" ] || RUN[$key]=$value; done < <(remembered ssh-run)
}
run_before() { sed -n "s/^$1=//p" "$STATE/ssh-run" 2>/dev/null || true; } # KEY
ssh_remember_run() {
  local key
  remember ssh-run "$(for key in "${!RUN[@]}"; do printf '%s=%s\n' "$key" "${RUN[$key]}"; done | sort)"
}
etcd_urls() { # PORT
  local node words=()
  for node in $(nodes etcd); do words+=("https://$(url_host "${PLACE[$node]}"):$1"); done
  (IFS=, && printf '%s' "${words[*]}")
}
etcd_cluster() {
  local node words=()
  for node in $(nodes etcd); do words+=("$node=https://$(url_host "${PLACE[$node]}"):2380"); done
  (IFS=, && printf '%s' "${words[*]}")
}
line() { # KEY VALUE: as systemd reads it
  local value=${2//\\/\\\\}
  printf '%s="%s"\n' "$1" "${value//\"/\\\"}"
}
# As one word where systemd splits the value of a variable.
quoted() { # WORD
  local value=${1//\\/\\\\}
  printf '"%s"' "${value//\"/\\\"}"
}
any() { case ${ADDRESS[$1]} in *:*) printf '[::]' ;; *) printf '0.0.0.0' ;; esac; } # HOST: all of its addresses
cluster_env() {
  line RELEASE "${RUN[release]}"
  line JOB_FILE "/opt/lockstep/job/${RUN[job]}/${RUN[entry]}"
  line DATA "/opt/lockstep/data/${RUN[data]}"
  line ETCD "$(etcd_urls 2379)"
  line JOB "$CLUSTER"
}
etcd_env() { # NODE HOST
  local url key tls=/etc/lockstep/certs/etcd
  url=$(url_host "$2")
  line ETCD_NAME "$1"
  line ETCD_DATA_DIR /var/lib/lockstep/etcd/data
  line ETCD_INITIAL_CLUSTER "$(etcd_cluster)"
  line ETCD_INITIAL_CLUSTER_TOKEN "$CLUSTER"
  line ETCD_INITIAL_CLUSTER_STATE new
  line ETCD_LISTEN_CLIENT_URLS "https://$(any "$2"):2379"
  line ETCD_ADVERTISE_CLIENT_URLS "https://$url:2379"
  line ETCD_LISTEN_PEER_URLS "https://$(any "$2"):2380"
  line ETCD_INITIAL_ADVERTISE_PEER_URLS "https://$url:2380"
  line ETCD_LISTEN_METRICS_URLS http://127.0.0.1:2381
  line ETCD_AUTO_COMPACTION_MODE periodic
  line ETCD_AUTO_COMPACTION_RETENTION 1h
  for key in "" PEER_; do
    line "ETCD_${key}CERT_FILE" "$tls/tls.crt"
    line "ETCD_${key}KEY_FILE" "$tls/tls.key"
    line "ETCD_${key}TRUSTED_CA_FILE" "$tls/ca.crt"
    line "ETCD_${key}CLIENT_CERT_AUTH" true
  done
  line ETCD_LOGGER zap
  line ETCD_LOG_OUTPUTS stderr
  # etcd 3.4 starts on arm64 only when told to.
  [ "$(PLATFORM)" != linux-arm64 ] || line ETCD_UNSUPPORTED_ARCH arm64
}
coordinator_env() { # NODE HOST
  line WORKERS "$(remembered workers)"
  line SHARDS "$(remembered shards)"
  line REPLICAS "${RUN[replicas]}"
  line START "$(remembered start)"
  line RESUME "${RUN[resume]}"
  line LISTEN "$(any "$2"):7070"
  line ADVERTISE "$(url_host "$2"):7070"
  line MORE "$(coordinator_more)"
}
coordinator_more() {
  local words=() epochs place word
  remembered_settings
  for word in "${SETTINGS[@]}"; do words+=("$(quoted "$word")"); done
  epochs=$(remembered epochs) place=$(remembered checkpoints)
  [ -z "$epochs" ] || words+=(--epochs "$epochs")
  [ -z "$place" ] || words+=(--checkpoints "$place")
  [ -z "${RUN[allow]}" ] || words+=(--allow-change)
  printf '%s' "${words[*]}"
}
worker_env() { # NODE HOST
  local number=${1#worker-} place more
  place=$(remembered checkpoints "/var/lib/lockstep/$1")
  line CHECKPOINTS "$place"
  line LISTEN "$(any "$2"):$((7071 + 10 * number))"
  line ADVERTISE "$(url_host "$2"):$((7071 + 10 * number))"
  line HTTP "127.0.0.1:$(health_port "$1")"
  more="--device $(device_of "$2")"
  [ -z "${GPUS[$2]}" ] || more+=" --gpu $(gpu_of "$1" "$2")"
  [ "${RUN[replicas]}" = 0 ] ||
    more+=" --store-listen $(any "$2"):$((7072 + 10 * number)) --store-advertise $(url_host "$2"):$((7072 + 10 * number))"
  line MORE "$more"
}
device_of() { if [ -n "${GPUS[$1]}" ]; then echo gpu; else echo cpu; fi; } # HOST
gpu_of() { # NODE HOST: in turn
  local gpus node i=0
  IFS=, read -ra gpus <<<"${GPUS[$2]}"
  for node in $(nodes worker "$2"); do
    [ "$node" != "$1" ] || break
    i=$((i + 1))
  done
  printf '%s' "${gpus[i % ${#gpus[@]}]}"
}
health_port() { # NODE
  case $1 in
    etcd-*) echo 2381 ;;
    coordinator-*) echo 8080 ;;
    worker-*) echo $((6100 + ${1#worker-})) ;;
  esac
}

health_of() { # NODE: its unit, and what answers once it does its work
  local path=readyz
  [[ $1 != etcd-* ]] || path=health
  printf '%s=%s/%s\n' "$(unit_of "$1")" "$(health_port "$1")" "$path"
}

ssh_settings() { # HOST: brings them there; a process that runs goes on with those that it was started with
  local host=$1 node name place folder=$WORK/settings/$1
  if [ -n "$DRY_RUN" ]; then
    remote "$host" settings "$(units_on "$host" | paste -s -d ' ')"
    return
  fi
  mkdir -p "$folder/env" "$folder/certs" "$folder/units"
  cp "$LOCAL"/units/* "$folder/units/"
  echo "$CLUSTER" >"$folder/cluster"
  units_on "$host" | paste -s -d ' ' >"$folder/units/wanted"
  place=$(remembered checkpoints)
  case $place in "" | s3://*) ;; *) echo "$place" >"$folder/units/shared" ;; esac
  cluster_env >"$folder/env/cluster.env"
  for node in $(nodes "" "$host"); do
    # A host has one member of etcd and one coordinator at most, and calls them by their role.
    case $node in worker-*) name=$node ;; *) name=${node%-*} ;; esac
    "${node%-*}_env" "$node" "$host" >"$folder/env/$name.env"
    mkdir -p "$folder/certs/$name"
    cp "$(CERTS)/$node/ca.crt" "$(CERTS)/$node/tls.crt" "$(CERTS)/$node/tls.key" "$folder/certs/$name/" || return
  done
  tar -C "$folder" -c . | remote "$host" settings
  local code=$?
  rm -rf "$folder"
  return "$code"
}

