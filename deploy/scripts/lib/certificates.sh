# shellcheck shell=bash
# Certificates of a cluster, one folder a process, as Kubernetes' TLS secrets have them: ca.crt, tls.crt, tls.key.

CERTS() { printf '%s' "$STATE/certs"; }

certificate() { # FOLDER WORD…: what `certs issue` is told, unless it is there
  [ -e "$(CERTS)/$1/tls.crt" ] || quietly lockstep certs issue "${@:2}" --authority "$(CERTS)/authority" --out "$(CERTS)/$1"
}

make_certificates() { # WORKERS
  local i hosts
  [ -e "$(CERTS)/authority/ca.key" ] || quietly lockstep certs init "$(CERTS)/authority"
  for i in 0 1 2; do
    hosts=$("${TARGET}_certificate_hosts" "$i")
    [ -z "$hosts" ] || certificate "etcd-$i" etcd "etcd-$i" --hosts "$hosts"
  done
  for i in 0 1; do certificate "coordinator-$i" coordinator "coordinator-$i" --job "$CLUSTER"; done
  for ((i = 0; i < $1; i++)); do certificate "worker-$i" worker "worker-$i" --job "$CLUSTER"; done
  certificate operator operator operator
}

rotate_certificates() {
  local folders=() folder
  for folder in "$(CERTS)"/*/tls.crt; do folders+=("$(dirname "$folder")"); done
  run lockstep certs rotate "${folders[@]}" --authority "$(CERTS)/authority" ${OPTION[before]:+--before "${OPTION[before]}"}
}
