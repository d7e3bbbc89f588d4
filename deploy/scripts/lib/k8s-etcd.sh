# shellcheck shell=bash
# Backups of etcd on --target k8s. No image of etcd need have a shell: what needs one is done in lockstep's.

# A pod of the cluster's own images. Standard input: its containers and volumes.
k8s_pod() { # NAME
  k8s delete pod "$1" --ignore-not-found >/dev/null
  k8s apply --filename - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: $1
  labels:
    $(printf '%s' "$OURS" | sed 's/=/: /')
    app.kubernetes.io/component: hand
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext:
    { runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: { type: RuntimeDefault } }
$(cat)
YAML
}
CLOSED="securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
      resources: { requests: { cpu: 10m, memory: 32Mi }, limits: { memory: 512Mi } }"
k8s_image() { # KIND/NAME CONTAINERS INDEX
  k8s get "$1" --output "jsonpath={.spec.$2[0].image}"
}
# Until a command says what is expected; a pod that failed ends the wait.
k8s_until() { # WHAT EXPECTED COMMAND…
  local what=$1 expected=$2 now
  shift 2
  for _ in $(seq $((POD_S * 2))); do
    now=$("$@" 2>/dev/null || true)
    [ "$now" != "$expected" ] || return 0
    [ "$now" != Failed ] || return 1
    sleep 0.5
  done
  note "$what was not $expected within $POD_S s."
  return 1
}
k8s_phase() { k8s get pod "$1" --output 'jsonpath={.status.phase}'; }

k8s_etcd_backup() {
  k8s_there
  local job=etcd-backup-by-hand-$$ reader=etcd-backup-reader pod
  if [ -n "$DRY_RUN" ]; then
    run_k8s create job "$job" --from cronjob/etcd-backup
    say "+ kubectl --namespace $CLUSTER exec $reader -- cat /backup/POD.db > $FILE"
    return
  fi
  k8s create job "$job" --from cronjob/etcd-backup >/dev/null
  k8s_until "The backup's job" 1 k8s get job "$job" --output 'jsonpath={.status.succeeded}' || {
    k8s logs "job/$job" --all-containers >&2 || true
    fail 1 "The backup failed; what its job said is above."
  }
  pod=$(k8s get pods --selector "job-name=$job" --output 'jsonpath={.items[0].metadata.name}')
  # shellcheck disable=SC2064 # the names of now
  trap "rm -f '$FILE.part'; k8s delete pod '$reader' --ignore-not-found --grace-period 1 --wait=false >/dev/null" EXIT
  # The image of etcd has nothing that could read a file out, so lockstep's does.
  k8s_pod "$reader" <<YAML
  containers:
    - name: reader
      image: $(k8s_image deployment/coordinator template.spec.containers)
      command: [sleep, "600"]
      $CLOSED
      volumeMounts: [{ name: backup, mountPath: /backup, readOnly: true }]
  volumes: [{ name: backup, persistentVolumeClaim: { claimName: etcd-backup } }]
YAML
  k8s_until "The pod $reader" Running k8s_phase "$reader" || fail 1 "The volume of the backups cannot be read."
  local sum
  sum=$(k8s exec "$reader" -- sha256sum "/backup/$pod.db")
  k8s exec "$reader" -- cat "/backup/$pod.db" >"$FILE.part"
  k8s delete job "$job" --wait=false >/dev/null
  [ "$(sha256sum <"$FILE.part" | cut -d' ' -f1)" = "${sum%% *}" ] || fail 1 "The backup was cut off on its way here."
  mv "$FILE.part" "$FILE"
  say "$FILE: $(wc -c <"$FILE") bytes"
}

k8s_is_backup() { is_snapshot "$1"; } # FILE
# Every member gets the same snapshot while none of them runs. Workers and coordinators go on: whoever trains has the newest state, and
# lockstep sees that etcd went back.
k8s_etcd_restore() {
  k8s_there
  local member tool=etcdutl token
  token=lockstep-$(date +%s)
  run_k8s scale statefulset etcd --replicas 0
  if [ -n "$DRY_RUN" ]; then
    for member in $MEMBERS; do say "+ $tool snapshot restore $FILE, in a pod etcd-restore with the volume data-$member"; done
    run_k8s scale statefulset etcd --replicas 3
    return
  fi
  k8s_until "etcd's pods" "" k8s get pods --selector "$OURS,app.kubernetes.io/component=etcd" --output name || fail 1 "etcd did not end."
  for member in $MEMBERS; do
    if ! k8s_restore_member "$member" "$tool" "$token"; then
      # etcd before 3.6 does it with etcdctl.
      [ "$member" = etcd-0 ] || fail 1 "$member was not restored, and etcd stays down; what its pod said is above. Do it again."
      tool=etcdctl
      k8s_restore_member "$member" "$tool" "$token" || {
        # No member has other data yet.
        k8s delete pod etcd-restore --ignore-not-found --grace-period 1 >/dev/null
        k8s scale statefulset etcd --replicas 3 >/dev/null
        fail 1 "$member was not restored, and etcd is started with what it held; what its pod said is above."
      }
    fi
  done
  k8s scale statefulset etcd --replicas 3 >/dev/null
  k8s_wait statefulset/etcd
}
k8s_restore_member() { # MEMBER TOOL TOKEN
  local pod=etcd-restore image etcd_image
  image=$(k8s_image deployment/coordinator template.spec.containers)
  etcd_image=$(k8s_image statefulset/etcd template.spec.containers)
  k8s_pod "$pod" <<YAML
  initContainers:
    - name: receive
      image: $image
      command: [/bin/sh, -euc, "rm -rf restore; mkdir restore; until [ -e restore/whole ]; do sleep 0.5; done"]
      workingDir: /var/lib/etcd
      $CLOSED
      volumeMounts: [{ name: data, mountPath: /var/lib/etcd }]
    - name: restore
      image: $etcd_image
      command: [$2]
      args:
        - snapshot
        - restore
        - /var/lib/etcd/restore/snapshot.db
        - --name=$1
        - --data-dir=/var/lib/etcd/restore/data
        - --initial-cluster=$(for one in $MEMBERS; do printf '%s=https://%s.etcd:2380,' "$one" "$one"; done | sed 's/,$//')
        - --initial-cluster-token=$3
        - --initial-advertise-peer-urls=https://$1.etcd:2380
      $CLOSED
      volumeMounts: [{ name: data, mountPath: /var/lib/etcd }]
  containers:
    - name: replace
      image: $image
      command: [/bin/sh, -euc, "rm -rf data.before; [ ! -e data ] || mv data data.before; mv restore/data data; rm -rf restore"]
      workingDir: /var/lib/etcd
      $CLOSED
      volumeMounts: [{ name: data, mountPath: /var/lib/etcd }]
  volumes: [{ name: data, persistentVolumeClaim: { claimName: data-$1 } }]
YAML
  k8s_until "The pod $pod" true k8s get pod "$pod" --output 'jsonpath={.status.initContainerStatuses[0].started}' || return 1
  k8s exec --stdin "$pod" --container receive -- /bin/sh -euc \
    'until [ -d restore ]; do sleep 0.1; done; cat > restore/snapshot.db; touch restore/whole' <"$FILE"
  if ! k8s_until "The pod $pod" Succeeded k8s_phase "$pod"; then
    k8s logs "$pod" --container restore >&2 || true
    return 1
  fi
  k8s delete pod "$pod" >/dev/null
}
