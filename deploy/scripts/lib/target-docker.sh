# shellcheck shell=bash
# --target docker: the whole cluster as containers of this machine's Docker, each with an address of its own.

READY_SECONDS=180 # a worker loads its engine and its data, and waits until as many are there as a start wants
NETWORK=lockstep-$CLUSTER
IMAGE=$(option image "$(remembered image lockstep:local)")
ETCD_IMAGE=$(option etcd-image "$(remembered etcd-image lockstep-etcd:local)")
ETCD_URLS=https://etcd-0:2379,https://etcd-1:2379,https://etcd-2:2379

container() { printf '%s' "$CLUSTER-$1"; }
# Containers of this cluster, by their names in it; with a role, those alone.
containers() { # [ROLE]
  docker ps --all --filter "label=lockstep.cluster=$CLUSTER" ${1:+--filter "label=lockstep.role=$1"} \
    --format '{{.Label "lockstep.node"}}' | sort -t - -k 1,1 -k 2,2n
}
exists() { docker container inspect "$(container "$1")" >/dev/null 2>&1; }
need_node() {
  exists "$NODE" || fail 2 "There is no node $NODE; there are: $(containers | tr '\n' ' ')"
}

# Each verb asks first: without an answer there seem to be no containers.
docker_reachable() {
  need docker "--target docker runs containers"
  docker info >/dev/null 2>&1 || fail 4 "No Docker engine answers; start it, or set DOCKER_HOST."
}
# What `down` has removed cannot be asked.
docker_there() {
  docker_reachable
  [ -n "$(containers)" ] || fail 6 "The cluster $CLUSTER is down; $(typed up) --name $CLUSTER starts it."
}
docker_image() { # IMAGE
  docker image inspect "$1" >/dev/null 2>&1 || fail 4 "There is no image $1; deploy/docker/build makes it."
}
docker_certificates_check() {
  docker_reachable
  docker_image "$ETCD_IMAGE"
}

docker_check() {
  docker_reachable
  docker_image "$IMAGE"
  docker_image "$ETCD_IMAGE"
  [ -z "$(containers)" ] || only_after_down job data checkpoints image etcd-image
  case $CHECKPOINTS in
    "") ;;
    s3://*) [[ $CHECKPOINTS =~ ^s3://[A-Za-z0-9._/-]+$ ]] || usage_error "--checkpoints is \"$CHECKPOINTS\"; s3://BUCKET/PREFIX was expected." ;;
    *)
      docker run --rm --network none --read-only --volume "$CHECKPOINTS:/checkpoints" --entrypoint test "$IMAGE" -w /checkpoints ||
        fail 4 "The containers' user, 10001, may not write to $CHECKPOINTS: let it, as by chown 10001."
      ;;
  esac
  # The job file and its data are opened, in the image that will train it, before anything is started.
  run docker run --rm --network none --read-only --tmpfs /tmp --volume "$(dirname "$JOB"):/job:ro" --volume "$DATA:/data:ro" \
    "$IMAGE" check "/job/$(basename "$JOB")" "${SETTINGS[@]}" --data /data --shards "$SHARDS"
}

# What all containers of lockstep have: nothing that they can write to but memory and their volumes, and no rights at all.
docker_run() { # NODE ROLE IMAGE OPTION… -- WORD…
  local node=$1 role=$2 image=$3 options=()
  shift 3
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  quietly docker run --detach --name "$(container "$node")" --hostname "$node" --network "$NETWORK" --network-alias "$node" \
    --label "lockstep.cluster=$CLUSTER" --label "lockstep.role=$role" --label "lockstep.node=$node" \
    --restart unless-stopped --stop-timeout 60 --read-only --tmpfs /tmp --shm-size 256m --cap-drop ALL \
    --security-opt no-new-privileges --volume "$STATE/certs/$node:/tls:ro" "${options[@]}" "$image" "$@"
}

docker_etcd() { # NUMBER
  local node=etcd-$1
  docker_run "$node" etcd "$ETCD_IMAGE" --volume "$(container "$node"):/var/lib/etcd" -- etcd --name "$node" \
    --data-dir /var/lib/etcd/data --initial-cluster-token "$CLUSTER" --initial-cluster-state new \
    --initial-cluster etcd-0=https://etcd-0:2380,etcd-1=https://etcd-1:2380,etcd-2=https://etcd-2:2380 \
    --listen-client-urls https://0.0.0.0:2379 --advertise-client-urls "https://$node:2379" \
    --listen-peer-urls https://0.0.0.0:2380 --initial-advertise-peer-urls "https://$node:2380" \
    --listen-metrics-urls http://0.0.0.0:2381 --auto-compaction-mode periodic --auto-compaction-retention 1h \
    --cert-file /tls/tls.crt --key-file /tls/tls.key --trusted-ca-file /tls/ca.crt --client-cert-auth \
    --peer-cert-file /tls/tls.crt --peer-key-file /tls/tls.key --peer-trusted-ca-file /tls/ca.crt --peer-client-cert-auth
}

# Volumes that the job's file and data come from, and where checkpoints go: one for all, or one a worker.
docker_coordinator() { # NUMBER
  local node=coordinator-$1 words=("${SETTINGS[@]}")
  [ -z "$EPOCHS" ] || words+=(--epochs "$EPOCHS")
  [ -z "$(option allow-change)" ] || words+=(--allow-change)
  docker_run "$node" coordinator "$IMAGE" --label "lockstep.start=$START" --volume "$(dirname "$JOB"):/job:ro" -- \
    coordinator "/job/$(basename "$JOB")" --etcd "$ETCD_URLS" --job "$CLUSTER" --workers "$WORKERS" --shards "$SHARDS" \
    --replicas "$(replicas)" --start "$START" --resume "$RESUME" --listen 0.0.0.0:7070 --advertise "$node:7070" \
    --http 0.0.0.0:8080 --tls /tls "${words[@]}"
}
# Without a place for all, each worker has checkpoints of its own, and one other keeps a copy.
replicas() { if [ -n "$CHECKPOINTS" ] || [ "$(most_workers "$WORKERS")" = 1 ]; then echo 0; else echo 1; fi; }

docker_worker() { # NUMBER
  local node=worker-$1 place=/checkpoints options=() words=()
  [ "$(replicas)" = 0 ] || words+=(--store-listen 0.0.0.0:7072 --store-advertise "$node:7072")
  case $CHECKPOINTS in
    s3://*) place=$CHECKPOINTS && options+=(--env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY --env AWS_REGION --env AWS_ENDPOINT_URL_S3) ;;
    "") options+=(--volume "$(container "$node"):/checkpoints") ;;
    *) options+=(--volume "$CHECKPOINTS:/checkpoints") ;;
  esac
  docker_run "$node" worker "$IMAGE" --volume "$(dirname "$JOB"):/job:ro" --volume "$DATA:/data:ro" "${options[@]}" -- \
    worker "/job/$(basename "$JOB")" --etcd "$ETCD_URLS" --job "$CLUSTER" --name "$node" --data /data --checkpoints "$place" \
    --listen 0.0.0.0:7071 --advertise "$node:7071" --http 0.0.0.0:8080 --on-finish wait --tls /tls "${words[@]}"
}

# A node that is there stays as it is, and runs; one that is not is made.
ensure() { # ROLE NUMBER
  if ! exists "$1-$2"; then
    "docker_$1" "$2"
  elif [ "$(docker container inspect --format '{{.State.Running}}' "$(container "$1-$2")")" = false ]; then
    quietly docker start "$(container "$1-$2")"
  fi
}

# Waits until a node does its work. What ends with one of these codes does so again, however often it is started.
docker_ready() { # NODE PATH [PORT]
  [ -z "$DRY_RUN" ] || return 0
  local name told doing code end=$((SECONDS + READY_SECONDS))
  name=$(container "$1")
  while true; do
    told=0
    docker exec "$name" health "${@:2}" >/dev/null 2>&1 || told=$?
    [ "$told" != 0 ] || return 0
    [ "$told" != 127 ] || fail 4 "The image $IMAGE has no program health, which says whether a container works; deploy/docker/build makes one that has."
    read -r doing code < <(docker container inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$name")
    [[ $doing == restarting && $code =~ ^(2|3|4|9)$ ]] || code=12
    if [ "$code" = 12 ] && [ "$SECONDS" -lt "$end" ]; then sleep 0.3 && continue; fi
    docker logs --tail 5 "$name" >&2
    return "$code"
  done
}
# Who cannot begin a start would be tried for ever, and by the next `up` too.
docker_begin() {
  local i code=0
  for i in 0 1; do ensure coordinator "$i"; done
  for i in 0 1; do
    docker_ready "coordinator-$i" readyz || code=$?
    [ "$code" != 12 ] || fail 12 "coordinator-$i is not ready within $READY_SECONDS s; what it said last is above."
    if [ "$code" != 0 ]; then
      docker_remove coordinator-0 && docker_remove coordinator-1
      rm -f "$STATE/start"
      fail "$code" "The coordinators cannot begin this start, for what is said above, and are removed: \`up\` with other words makes another start."
    fi
  done
}

docker_up() {
  local i
  remember image "$IMAGE"
  remember etcd-image "$ETCD_IMAGE"
  make_certificates "$SHARDS"
  docker_install_certificates
  docker network inspect "$NETWORK" >/dev/null 2>&1 ||
    quietly docker network create --label "lockstep.cluster=$CLUSTER" "$NETWORK"
  for i in 0 1 2; do ensure etcd "$i"; done
  # Another start has other words, and a coordinator is told only once.
  for i in 0 1; do
    exists "coordinator-$i" || continue
    [ "$(docker container inspect --format '{{index .Config.Labels "lockstep.start"}}' "$(container "coordinator-$i")")" = "$START" ] ||
      docker_remove "coordinator-$i"
  done
  docker_begin
  docker_workers "$(workers_wanted)"
}

docker_workers() { # COUNT
  local i node code=0
  for ((i = 0; i < $1; i++)); do ensure worker "$i"; done
  for node in $(containers worker); do
    [ "${node#worker-}" -lt "$1" ] || docker_remove "$node"
  done
  for ((i = 0; i < $1; i++)); do
    docker_ready "worker-$i" readyz || code=$?
    [ "$code" = 0 ] || fail "$code" "worker-$i is not ready, and what it said last is above. See: $(typed logs) worker-$i --name $CLUSTER"
  done
}
docker_remove() { # NODE: asked to leave in order first
  quietly docker stop "$(container "$1")"
  quietly docker rm "$(container "$1")"
}

docker_next_commands() {
  [ -n "$DRY_RUN" ] || say "The cluster $CLUSTER is up: $(containers | tr '\n' ' ')"
  suggest_commands
}

running_coordinators() {
  docker ps --filter "label=lockstep.cluster=$CLUSTER" --filter label=lockstep.role=coordinator --format '{{.Label "lockstep.node"}}'
}
# lockstep, as the cluster's operator, inside its network, of the first coordinator that answers.
operator() { # WORD…
  local node code=6
  for node in $(running_coordinators); do
    code=0
    run docker run --rm --network "$NETWORK" --read-only --tmpfs /tmp --volume "$STATE/certs/operator:/tls:ro" "$IMAGE" "$@" \
      --coordinator "$node:7070" --tls /tls || code=$?
    [ "$code" = 6 ] || break
  done
  return "$code"
}
docker_down() {
  docker_reachable
  local node
  if [ -n "$(running_coordinators)" ]; then
    operator stop || note "It did not stop in order; its last checkpoint is what it goes on from."
  fi
  for node in $(containers worker) $(containers coordinator) $(containers etcd); do docker_remove "$node"; done
  [ -z "$(docker network ls --quiet --filter "name=^$NETWORK\$")" ] || quietly docker network rm "$NETWORK"
  [ -n "$(option purge)" ] || return 0
  docker volume ls --quiet --filter "name=^$CLUSTER-(etcd|worker)-[0-9]+\$" | while read -r volume; do
    quietly docker volume rm --force "$volume"
  done
}

docker_status() {
  docker_there
  local node code=0 words=()
  if [ -n "$(option json)" ]; then words=(--json); else
    for node in $(containers); do
      printf '%-16s %s\n' "$node" "$(docker ps --all --filter "name=^$(container "$node")\$" --format '{{.Status}}')"
    done
    say
  fi
  operator status "${words[@]}" || code=$?
  [ "$code" != 6 ] || fail 6 "No coordinator of $CLUSTER answers."
  return "$code"
}

docker_scale() {
  docker_reachable
  need_started
  # What the workers were started with, from the start that they belong to.
  local key
  for key in job data workers shards epochs checkpoints; do
    declare -g "${key^^}=$(remembered "$key")"
  done
  make_certificates "$COUNT"
  docker_install_certificates
  docker_workers "$COUNT"
}

docker_restart_node() {
  docker_there
  need_node
  quietly docker restart "$(container "$NODE")"
}

docker_logs() {
  docker_there
  local nodes node begun part words=(--timestamps)
  if [ -n "$NODE" ]; then need_node && nodes=$NODE; else nodes="$(containers coordinator) $(containers worker)"; fi
  [ -z "$(option follow)" ] || words+=(--follow)
  # Docker keeps one log over all starts of a container: until, or since, it was started last.
  for node in $nodes; do
    begun=$(docker container inspect --format '{{.State.StartedAt}}' "$(container "$node")")
    if [ -n "$(option previous)" ]; then part=--until; else part=--since; fi
    docker logs "${words[@]}" "$part" "$begun" "$(container "$node")" 2>&1 | sed -u "s/^/$node  /" &
  done
  wait
}

docker_certificate_hosts() { printf '%s' "etcd-$1,localhost,127.0.0.1"; }
# They are mounted where they lie, so the containers' user has to be able to read them; whoever made them stays able to renew them.
docker_install_certificates() {
  run docker run --rm --user 0:0 --network none --volume "$STATE/certs:/certs" --entrypoint sh "$ETCD_IMAGE" -c \
    "cd /certs && for folder in etcd-* coordinator-* worker-* operator; do
      chown -R 10001:$(id -g) \$folder && chmod -R ug+rwX,o= \$folder
    done"
}

# From the first member that gives it; as whoever asks, since the file is theirs.
docker_etcd_backup() {
  docker_there
  local node
  for node in etcd-0 etcd-1 etcd-2; do
    quietly docker run --rm --network "$NETWORK" --user "$(id -u):$(id -g)" --group-add "$(id -g)" \
      --volume "$STATE/certs/operator:/tls:ro" --volume "$(dirname "$FILE"):/backup" "$ETCD_IMAGE" etcdctl \
      --endpoints "https://$node:2379" --cacert /tls/ca.crt --cert /tls/tls.crt --key /tls/tls.key \
      snapshot save "/backup/$(basename "$FILE")" && return
  done
  fail 6 "No member of etcd gave a snapshot; what each said is above."
}

docker_is_backup() { is_snapshot "$1"; } # FILE
docker_etcd_restore() {
  docker_there
  # A cluster of its own, so that a member which was not restored cannot be taken for one of it; the same for all members.
  local i node token
  token=$CLUSTER-$(date +%s)
  # All new data are there, beside the old ones, before any member is stopped.
  for i in 0 1 2; do
    node=etcd-$i
    in_etcd_volume "$node" --volume "$FILE:/backup:ro" -- "rm -rf data.new && etcdctl snapshot restore /backup --name $node --data-dir data.new \
      --initial-cluster-token $token --initial-advertise-peer-urls https://$node:2380 \
      --initial-cluster etcd-0=https://etcd-0:2380,etcd-1=https://etcd-1:2380,etcd-2=https://etcd-2:2380 &&
      chown -R 10001:10001 data.new" || fail 1 "$FILE could not be made into the data of $node; nothing was changed."
  done
  for i in 0 1 2; do quietly docker stop "$(container "etcd-$i")"; done
  for i in 0 1 2; do
    in_etcd_volume "etcd-$i" -- "rm -rf data.before && { [ ! -e data ] || mv data data.before; } && mv data.new data"
  done
  for i in 0 1 2; do quietly docker start "$(container "etcd-$i")"; done
}
in_etcd_volume() { # NODE OPTION… -- LINE: for a shell, in the folder of that member's data
  local node=$1 options=()
  shift
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  run docker run --rm --user 0:0 --network none --volume "$(container "$node"):/var/lib/etcd" --workdir /var/lib/etcd "${options[@]}" \
    --entrypoint sh "$ETCD_IMAGE" -c "$2"
}
