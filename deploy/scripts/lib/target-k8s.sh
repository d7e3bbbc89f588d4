# shellcheck shell=bash
# --target k8s: the overlay of deploy/k8s that --overlay names, in the namespace that is called after the cluster, of the Kubernetes
# that kubectl is set to (KUBECONFIG).

KUSTOMIZATION=$STATE/k8s # what is applied: `kubectl diff -k` shows what another `up` would change
RENDERED=                # the overlay as it is, as YAML
MAPS=                    # names of the ConfigMaps that are applied
OPERATOR=                # the folder of the operator's certificate
MEMBERS="etcd-0 etcd-1 etcd-2"
OURS=app.kubernetes.io/name=lockstep
# Kubernetes gets so long for what takes a moment; images may have to be pulled.
ROLLOUT_S=600
POD_S=180
# shellcheck source=k8s-etcd.sh
. "$SCRIPTS/lib/k8s-etcd.sh"

k8s() { kubectl ${CONTEXT:+--context "$CONTEXT"} --namespace "$CLUSTER" "$@"; }
run_k8s() { run kubectl ${CONTEXT:+--context "$CONTEXT"} --namespace "$CLUSTER" "$@"; }
# The cluster that `up` has used, whatever kubectl is set to meanwhile.
CONTEXT=$(remembered k8s-context)
k8s_reachable() {
  need kubectl "--target k8s works with it"
  [ -z "$DRY_RUN" ] || return 0
  k8s get --raw /readyz >/dev/null 2>&1 ||
    fail 6 "Kubernetes does not answer${CONTEXT:+ (context $CONTEXT)}; set KUBECONFIG, and see \`kubectl cluster-info\`."
}

# ---- up ----

overlay_folder() {
  local named
  named=$(option overlay "$(remembered overlay local)")
  if [ -d "$ROOT/deploy/k8s/overlays/$named" ]; then
    printf '%s' "$ROOT/deploy/k8s/overlays/$named"
  elif [ -f "$named/kustomization.yaml" ]; then
    (cd "$named" && pwd)
  else
    fail 2 "--overlay is \"$named\"; the name of a folder in deploy/k8s/overlays, or another one with a kustomization.yaml, was expected."
  fi
}

# What the overlay says of a start holds where `up` is not told otherwise. What is wrong with an overlay, k8s_check says.
k8s_defaults() {
  local key said
  command -v kubectl >/dev/null && OVERLAY=$(overlay_folder 2>/dev/null) && RENDERED=$(kubectl kustomize "$OVERLAY" 2>/dev/null) || return 0
  for key in workers shards epochs; do
    said=$(start_says "${key^^}")
    # shellcheck disable=SC2004,SC2034 # by its key; for `up`
    [ -z "$said" ] || DEFAULT[$key]=$said
  done
}
start_says() { # KEY
  awk -v key="$1:" '
    function tell() { if (map && start) print said; map = start = 0; said = "" }
    /^---$/ { tell() }
    /^kind: ConfigMap$/ { map = 1 }
    /^  name: start(-[a-z0-9]+)?$/ { start = 1 }
    $1 == key { said = $0; sub(/^[^:]*: */, "", said); gsub(/"/, "", said) }
    END { tell() }' <<<"$RENDERED"
}

k8s_check() {
  need kubectl "--target k8s works with it"
  CONTEXT=${CONTEXT:-$(kubectl config current-context 2>/dev/null || true)}
  k8s_reachable
  need realpath "kustomize takes no absolute paths"
  [ -z "$CHECKPOINTS" ] || fail 2 "--checkpoints is \"$CHECKPOINTS\"; on --target k8s the overlay says where checkpoints are."
  check_image image lockstep
  check_image etcd-image registry.k8s.io/etcd
  OVERLAY=$(overlay_folder)
  RENDERED=$(kubectl kustomize "$OVERLAY") ||
    fail 2 "The overlay $OVERLAY cannot be rendered; what kubectl said is above. Is it a copy that lies elsewhere? Its paths have to lead to $ROOT/deploy/k8s."
  local bytes names name file
  if has_map data; then
    JOB_DATA=$(data_of_job) || exit
    names=$(grep -vE '^[A-Za-z0-9._-]+$' <<<"$JOB_DATA" || true)
    [ -z "$names" ] || fail 2 "In $DATA there is \"$(head -n 1 <<<"$names")\"; a ConfigMap has letters, digits, dots and dashes in names."
    while read -r file; do
      [ -z "$file" ] || [ -f "$DATA/$file" ] ||
        fail 2 "The job reads $DATA/$file, which is a folder, and a ConfigMap holds files; use an overlay with the component data-volume."
    done <<<"$JOB_DATA"
    bytes=$(while read -r file; do [ -z "$file" ] || cat "$DATA/$file"; done <<<"$JOB_DATA" | wc -c)
    [ "$bytes" -le 1000000 ] ||
      fail 2 "The job's data in $DATA are $bytes bytes, and a ConfigMap holds a million; use an overlay with the component data-volume."
  fi
  for name in $(mounted_secrets); do
    [ -n "$DRY_RUN" ] || k8s get secret "$name" >/dev/null 2>&1 ||
      fail 2 "The overlay mounts the Secret $name, and the namespace $CLUSTER has none; docs/deploy/kubernetes.md says what it has."
  done
  bytes=$(wc -c <"$JOB")
  [ "$bytes" -le 1000000 ] || fail 2 "The job file $JOB is $bytes bytes, and a ConfigMap holds a million."
}

# The files that the job trains and tests with, and begins with, below DATA: others may lie beside them.
data_of_job() {
  local said
  said=$(lockstep data "$JOB" "${SETTINGS[@]}" --data "$DATA" --json) || exit
  node -e '
    const { data, test, initialWeights } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
    const weights = initialWeights === null || initialWeights.startsWith("s3://") ? [] : [initialWeights];
    if (/\.json$/i.test(weights[0] ?? "")) {
      console.error("up: The job begins with", weights[0] + ", whose shards a ConfigMap does not get; use an overlay with the component data-volume.");
      process.exit(2);
    }
    const files = [...(data.files ?? []), ...(test?.files ?? []), ...weights];
    const names = files.map((file) => require("node:path").relative(process.argv[1], file));
    console.log([...new Set(names)].sort().join("\n"));' "$(realpath "$DATA")" <<<"$said"
}
# Whether the overlay has a ConfigMap of this name, before or after kustomize added a hash.
has_map() {
  awk -v name="$1" '/^---$/ { map = 0 } /^kind: ConfigMap$/ { map = 1 } map && $1 == "name:" && $2 ~ "^" name "(-[a-z0-9]+)?$" { found = 1 }
    END { exit !found }' <<<"$RENDERED"
}
# Secrets that are mounted, and that neither `up` nor cert-manager makes: a pod that lacks one waits for it without an end.
mounted_secrets() {
  awk '$1 == "secretName:" { print $2 }' <<<"$RENDERED" | grep -vE '^(etcd|coordinator|operator|worker)-tls$' | sort -u || true
}
has_kind() { grep -qx "kind: $1" <<<"$RENDERED"; }
# Images of the overlay whose name, without registry, is this one.
images_named() { awk '$1 == "image:" || ($1 == "-" && $2 == "image:") { print $NF }' <<<"$RENDERED" |
  sed -E 's/@.*//; s/:[^:/]*$//' | grep -E "^(.*/)?$1\$" | sort -u; }

check_image() { # OPTION EXAMPLE
  local image
  image=$(option "$1")
  if [ -n "$image" ] && { [[ ! $image =~ ^[^@]+:[A-Za-z0-9_][A-Za-z0-9._-]*$ && ! $image =~ @sha256:[0-9a-f]{64}$ ]] || [ "${image##*:}" = latest ]; }; then
    usage_error "--$1 is \"$image\"; an image with a tag that stays what it is was expected, as $2:0.1.0."
  fi
}
image_entries() { # OPTION NAME-PATTERN
  local image found where
  image=$(option "$1" "$(remembered "$1")")
  [ -n "$image" ] || return 0
  case $image in
    *@*) where="newName: ${image%@*}"$'\n'"    digest: ${image##*@}" ;;
    *) where="newName: ${image%:*}"$'\n'"    newTag: \"${image##*:}\"" ;;
  esac
  while read -r found; do
    [ -z "$found" ] || printf '  - name: %s\n    %s\n' "$found" "$where"
  done < <(images_named "$2")
}

# What belongs to one start of the run is told to it again by a later `up` that makes no other one.
start_words() {
  local last resume change
  read -r last resume change <<<"$(remembered k8s-start)" || true
  if [ "$last" = "$START" ]; then
    RESUME=$resume ALLOW_CHANGE=${change:-}
  else
    ALLOW_CHANGE=$(option allow-change)
  fi
  remember k8s-start "$START $RESUME $ALLOW_CHANGE"
}

yaml_text() { # TEXT
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//$'\n'/\\n}"
}
k8s_kustomization() {
  local file maps=() behavior
  has_map job && behavior=replace || behavior=create
  maps+=("  - name: job" "    behavior: $behavior" "    files: [job.ts]")
  write_file "$KUSTOMIZATION/inner/job.ts" <"$JOB"
  if has_map data; then
    run rm -rf "$KUSTOMIZATION/inner/data"
    maps+=("  - name: data" "    behavior: replace" "    files:")
    while IFS= read -r file; do
      [ -n "$file" ] || continue
      write_file "$KUSTOMIZATION/inner/data/$file" <"$DATA/$file"
      maps+=("      - data/$file")
    done <<<"$JOB_DATA"
  fi
  # One worker alone has nobody who could keep a copy.
  local literals=("START=$START" "WORKERS=$WORKERS" "SHARDS=$SHARDS" "EPOCHS=$EPOCHS" "RESUME=$RESUME" "ALLOW_CHANGE=$ALLOW_CHANGE")
  [ "$SHARDS" != 1 ] || literals+=("REPLICAS=0")
  # One word a line. kustomize takes quotes from the ends of a value, so it ends with a line's end.
  local told=
  [ ${#SETTINGS[@]} -eq 0 ] || told=$(printf '%s\n' "${SETTINGS[@]}" .) told=${told%.}
  literals+=("SETTINGS=$told")
  [ -z "$DRY_RUN" ] || [ -z "$told" ] || say "+ the start says: ${SETTINGS[*]@Q}"
  write_file "$KUSTOMIZATION/inner/kustomization.yaml" <<YAML
# Made by deploy/scripts/up: the overlay with the job, its data and what this start says.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $CLUSTER
resources:
  - $(realpath --canonicalize-missing --relative-to "$KUSTOMIZATION/inner" "$OVERLAY")
labels:
  - pairs:
      app.kubernetes.io/name: lockstep
images:
$(image_entries image lockstep)
$(image_entries etcd-image '(lockstep-)?etcd')
replicas:
  - name: worker
    count: $(workers_wanted)
configMapGenerator:
$(printf '%s\n' "${maps[@]}")
  - name: lockstep
    behavior: merge
    literals:
      - JOB=$CLUSTER
  - name: start
    behavior: merge
    literals:
$(for literal in "${literals[@]}"; do printf '      - %s\n' "$(yaml_text "$literal")"; done)
YAML
  write_file "$KUSTOMIZATION/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - inner
components:
  - $(realpath --canonicalize-missing --relative-to "$KUSTOMIZATION" "$ROOT/deploy/k8s/components/job-name")
YAML
}

k8s_up() {
  start_words
  remember k8s-context "$CONTEXT"
  remember overlay "$OVERLAY"
  remember image "$(option image)"
  remember etcd-image "$(option etcd-image)"
  k8s_kustomization
  k8s_namespace
  if has_kind Certificate; then
    remember k8s-tls cert-manager
  else
    remember k8s-tls secrets
    make_certificates "$SHARDS"
    k8s_install_certificates
  fi
  # By the server: what a file of a megabyte was before does not fit into an annotation. What `kubectl scale` set, `up` sets anew.
  run_k8s apply --server-side --force-conflicts --kustomize "$KUSTOMIZATION"
  [ -n "$DRY_RUN" ] || MAPS=$(kubectl kustomize "$KUSTOMIZATION" | awk '/^---$/ { map = 0 } /^kind: ConfigMap$/ { map = 1 } map && /^  name: / { print $2 }')
  k8s_wait statefulset/etcd
  k8s_wait deployment/coordinator
  k8s_wait statefulset/worker
  k8s_tidy
}

# Waits for a workload; if it does not come, shows why.
k8s_wait() { # KIND/NAME
  local selector=$OURS,app.kubernetes.io/component=${1#*/} waiting code=
  if [ -n "$DRY_RUN" ]; then
    run_k8s rollout status "$1" --timeout "${ROLLOUT_S}s"
    return
  fi
  # Not by `k8s`: to end a function would leave its kubectl.
  kubectl ${CONTEXT:+--context "$CONTEXT"} --namespace "$CLUSTER" rollout status "$1" --timeout "${ROLLOUT_S}s" &
  waiting=$!
  while kill -0 "$waiting" 2>/dev/null; do
    [ "$1" != deployment/coordinator ] || code=$(k8s_ended_for_good)
    if [ -n "$code" ]; then
      kill "$waiting" 2>/dev/null || true
      wait "$waiting" 2>/dev/null || true
      k8s logs --selector "$selector" --prefix --tail 5 >&2 || true
      # Else the next `up` would be this start again.
      rm -f "$STATE/start"
      fail "$code" "The coordinators cannot begin this start, for what is said above; \`up\` with other words makes another one."
    fi
    sleep 1
  done
  wait "$waiting" && return 0
  k8s get pods --selector "$selector" >&2 || true
  k8s get events --field-selector type=Warning --sort-by .lastTimestamp 2>/dev/null | tail -n 5 >&2 || true
  k8s logs --selector "$selector" --prefix --tail 5 >&2 || true
  fail 1 "${1#*/} did not become ready within $ROLLOUT_S s; what Kubernetes and its pods say is above."
}

# The code with which a coordinator of this start ended, if it will again, however often it is started.
k8s_ended_for_good() {
  k8s get pods --selector "$OURS,app.kubernetes.io/component=coordinator" --output 'jsonpath={range .items[*]}{.spec.containers[0].envFrom[*].configMapRef.name}{" = "}{.status.containerStatuses[0].state.waiting.reason}{" "}{.status.containerStatuses[0].lastState.terminated.exitCode}{"\n"}{end}' 2>/dev/null |
    awk -v start="$(grep -x 'start-[a-z0-9]*' <<<"$MAPS")" 'index(" " $0, " " start " ") && /= CrashLoopBackOff (2|3|4|9)$/ { print $NF; exit }'
}

# ConfigMaps of before, which nobody uses any more.
k8s_tidy() {
  [ -z "$DRY_RUN" ] || return 0
  local name
  for name in $(k8s get configmaps --selector "$OURS" --output 'jsonpath={.items[*].metadata.name}'); do
    grep -qx "$name" <<<"$MAPS" || k8s delete configmap "$name" >/dev/null
  done
}

k8s_next_commands() {
  [ -z "$DRY_RUN" ] || return 0
  say "The cluster $CLUSTER is up, in the namespace $CLUSTER${CONTEXT:+ of $CONTEXT}."
  suggest_commands
  local most
  most=$(most_workers "$WORKERS")
  say "Or with kubectl:"
  say "  kubectl --namespace $CLUSTER get pods --output wide"
  [ "$most" = 1 ] || say "  kubectl --namespace $CLUSTER scale statefulset worker --replicas $((most - 1))"
  say "  kubectl --namespace $CLUSTER delete pod worker-$((most - 1))"
}

# ---- certificates ----

# One certificate for all members: whoever asks for `etcd` reaches any of them.
k8s_certificate_hosts() { # NUMBER
  [ "$1" != 0 ] || printf '%s' "etcd,${MEMBERS// /.etcd,}.etcd,localhost,127.0.0.1"
}

k8s_certificates_check() {
  k8s_reachable
  [ "$(remembered k8s-tls)" != cert-manager ] ||
    fail 2 "The certificates of $CLUSTER are cert-manager's; it renews them by itself."
}
k8s_namespace() {
  k8s get namespace "$CLUSTER" --request-timeout 5s >/dev/null 2>&1 || quietly kubectl ${CONTEXT:+--context "$CONTEXT"} create namespace "$CLUSTER"
}
k8s_install_certificates() {
  local folder words name certs=$STATE/certs
  k8s_namespace
  for name in etcd coordinator operator; do
    folder=$certs/$name-0
    [ "$name" != operator ] || folder=$certs/operator
    k8s_secret "$name-tls" --from-file "ca.crt=$folder/ca.crt" --from-file "tls.crt=$folder/tls.crt" --from-file "tls.key=$folder/tls.key"
  done
  words=(--from-file "ca.crt=$certs/worker-0/ca.crt")
  for folder in "$certs"/worker-*/; do
    [ -e "$folder/tls.key" ] || continue
    name=$(basename "$folder")
    words+=(--from-file "$name.crt=$folder/tls.crt" --from-file "$name.key=$folder/tls.key")
  done
  k8s_secret worker-tls "${words[@]}"
}
k8s_secret() { # NAME WORD…
  if [ -n "$DRY_RUN" ]; then
    run_k8s create secret generic "$@"
  else
    k8s create secret generic "$@" --dry-run=client --output yaml | k8s apply --server-side --force-conflicts --filename - >/dev/null
    k8s label secret "$1" "$OURS" --overwrite >/dev/null
  fi
}

# ---- the other verbs ----

# lockstep, as the operator, through a tunnel to a coordinator: whichever answers, as one that stands by does too.
k8s_operator() { # WORD…
  local pod code=6
  k8s_operator_certificate
  for pod in $(k8s_coordinators); do
    code=0
    k8s_through "$pod" "$@" || code=$?
    [ "$code" = 6 ] || break
  done
  return "$code"
}
# Those that are ready first.
k8s_coordinators() {
  k8s get pods --selector "$OURS,app.kubernetes.io/component=coordinator" --output \
    'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{" "}{.metadata.name}{"\n"}{end}' |
    sort --reverse | awk '{ print $2 }'
}
k8s_through() { # POD WORD…
  local said port='' tunnel code=6
  said=$(mktemp)
  # Not by `k8s`: to end a function would leave its kubectl.
  kubectl ${CONTEXT:+--context "$CONTEXT"} --namespace "$CLUSTER" port-forward "pod/$1" :7070 --address 127.0.0.1 >"$said" 2>&1 &
  tunnel=$!
  for _ in $(seq 100); do
    port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$said")
    if [ -n "$port" ] || ! kill -0 "$tunnel" 2>/dev/null; then break; fi
    sleep 0.1
  done
  if [ -n "$port" ]; then
    code=0
    lockstep "${@:2}" --coordinator "127.0.0.1:$port" --tls "$OPERATOR" || code=$?
  else
    note "$1 cannot be reached: $(tail -n 1 "$said")"
  fi
  kill "$tunnel" 2>/dev/null || true
  wait "$tunnel" 2>/dev/null || true
  rm -f "$said"
  return "$code"
}
k8s_operator_certificate() {
  OPERATOR=$STATE/certs/operator
  [ ! -e "$OPERATOR/tls.key" ] || return 0
  OPERATOR=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder's name as it is now
  trap "rm -rf '$OPERATOR'" EXIT
  local name
  for name in ca.crt tls.crt tls.key; do
    k8s get secret operator-tls --output "go-template={{index .data \"$name\" | base64decode}}" >"$OPERATOR/$name" ||
      fail 15 "The Secret operator-tls of the namespace $CLUSTER cannot be read; it has the operator's certificate."
  done
}

k8s_down() {
  k8s_reachable
  if [ -n "$DRY_RUN" ]; then
    say "+ lockstep stop --coordinator 127.0.0.1:PORT --tls $STATE/certs/operator"
  elif [ -n "$(k8s get pods --selector "$OURS,app.kubernetes.io/component=coordinator" --output name)" ]; then
    k8s_operator stop || note "It did not stop in order; its last checkpoint is what it goes on from."
  fi
  run_k8s delete statefulset,deployment,cronjob,job --selector "$OURS" --cascade=foreground --timeout "${POD_S}s"
  [ -n "$(option purge)" ] || return 0
  [ -n "$DRY_RUN" ] ||
    [ "$(k8s get namespace "$CLUSTER" --output 'jsonpath={.metadata.labels.app\.kubernetes\.io/name}')" = lockstep ] ||
    fail 2 "The namespace $CLUSTER was not made by \`up\`; delete its volumes by hand."
  run_k8s delete namespace "$CLUSTER" --timeout "${POD_S}s"
}

k8s_status() {
  k8s_there
  local code=0 words=()
  if [ -n "$(option json)" ]; then words=(--json); else
    k8s get pods --selector "$OURS" --output wide
    say
  fi
  k8s_operator status "${words[@]}" || code=$?
  [ "$code" != 6 ] || fail 6 "No coordinator of $CLUSTER answers."
  return "$code"
}

# What `down` has deleted cannot be asked.
k8s_there() {
  k8s_reachable
  [ -n "$DRY_RUN" ] || [ -n "$(k8s get statefulset,deployment --selector "$OURS" --output name)" ] ||
    fail 6 "The cluster $CLUSTER is down; $(typed up) --name $CLUSTER starts it."
}
k8s_scale() {
  k8s_there
  if [ "$(remembered k8s-tls)" = secrets ]; then
    make_certificates "$COUNT"
    k8s_install_certificates
  fi
  run_k8s scale statefulset worker --replicas "$COUNT"
  k8s_wait statefulset/worker
}

k8s_node_ready() { # NODE-OF-KUBERNETES
  [ "$(kubectl ${CONTEXT:+--context "$CONTEXT"} get node "$1" \
    --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]
}
# A pod on a node that is gone ends only by force: nobody there says that it has.
k8s_delete_pod() { # POD
  local node words=()
  node=$(k8s get pod "$1" --output 'jsonpath={.spec.nodeName}')
  [ -z "$node" ] || k8s_node_ready "$node" || words=(--force --grace-period 0)
  run_k8s delete pod "$1" --wait=false "${words[@]}"
}
# All pods, one a line in PODS; and in POD the one that NODE names, if there is one. Coordinators have no names of their own:
# coordinator-0 is the first one.
k8s_pods() {
  local name=$NODE
  PODS=$(k8s get pods --selector "$OURS" --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}')
  [[ ! $name =~ ^coordinator-[01]$ ]] || name=$(grep '^coordinator-' <<<"$PODS" | sed -n "$((${name#coordinator-} + 1))p" || true)
  POD=$([ -z "$name" ] || grep -xF -- "$name" <<<"$PODS" || true)
}
k8s_restart_node() {
  k8s_there
  local pod
  if [ -n "$DRY_RUN" ]; then
    run_k8s delete pod "$NODE" --wait=false
    return
  fi
  k8s_pods
  if [ -n "$POD" ]; then
    k8s_delete_pod "$POD"
  elif kubectl ${CONTEXT:+--context "$CONTEXT"} get node "$NODE" >/dev/null 2>&1; then
    for pod in $(k8s get pods --selector "$OURS" --field-selector "spec.nodeName=$NODE" --output 'jsonpath={.items[*].metadata.name}'); do
      if [[ $pod == etcd-? ]] && ! k8s_node_ready "$NODE"; then
        # A member that still runs there and another one with the same data elsewhere would be two.
        note "$pod stays: two members of etcd go on. If $NODE never comes back: kubectl --namespace $CLUSTER delete pod $pod --force"
      else
        k8s_delete_pod "$pod"
      fi
    done
  else
    fail 2 "There is no pod and no node $NODE; there are: $(tr '\n' ' ' <<<"$PODS")$(kubectl ${CONTEXT:+--context "$CONTEXT"} get nodes --output 'jsonpath={.items[*].metadata.name}')"
  fi
}

k8s_logs() {
  k8s_there
  local words=(--timestamps)
  [ -z "$(option follow)" ] || words+=(--follow)
  k8s_pods
  [ -z "$NODE" ] || [ -n "$POD" ] || fail 2 "There is no node $NODE; there are: $(tr '\n' ' ' <<<"$PODS")"
  if [ -n "$(option previous)" ]; then
    k8s_logs_previous
  elif [ -n "$POD" ]; then
    k8s logs "$POD" "${words[@]}"
  else
    k8s logs --selector "$OURS,app.kubernetes.io/component in (coordinator,worker)" --prefix --tail -1 --max-log-requests 100 "${words[@]}"
  fi
}
# kubectl takes it for an error where a container was started once, which is how most are.
k8s_logs_previous() {
  local name restarts wanted='^(worker|coordinator)-'
  [ -z "$POD" ] || wanted="^$POD\$"
  while read -r name restarts; do
    [[ ${restarts:-0} != 0 && $name =~ $wanted ]] || continue
    k8s logs "$name" --previous --prefix --timestamps </dev/null
  done < <(k8s get pods --selector "$OURS" --output 'jsonpath={range .items[*]}{.metadata.name}{" "}{.status.containerStatuses[0].restartCount}{"\n"}{end}')
}
