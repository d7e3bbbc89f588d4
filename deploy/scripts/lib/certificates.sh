# shellcheck shell=bash
# Certificates of a cluster, one folder a process, as Kubernetes' TLS secrets have them: ca.crt, tls.crt, tls.key.

CERTS() { printf '%s' "$STATE/certs"; }

certificate() { # FOLDER WORD…: what `certs issue` is told, unless it is there
  [ -e "$(CERTS)/$1/tls.crt" ] || quietly lockstep certs issue "${@:2}" --authority "$(CERTS)/authority" --out "$(CERTS)/$1"
}

# In one call, as each start of lockstep takes half a second.
certificates() { # ROLE COUNT: of ROLE-0, ROLE-1, …, where they are not there
  local i missing=""
  for ((i = 0; i < $2; i++)); do [ -e "$(CERTS)/$1-$i/tls.crt" ] || missing+="${missing:+,}$1-$i"; done
  [ -z "$missing" ] ||
    quietly lockstep certs issue "$1" "$missing" --job "$CLUSTER" --authority "$(CERTS)/authority" --out "$(CERTS)/{name}"
}

make_certificates() { # WORKERS
  local i hosts
  [ -e "$(CERTS)/authority/ca.key" ] || quietly lockstep certs init "$(CERTS)/authority"
  for i in 0 1 2; do
    hosts=$("${TARGET}_certificate_hosts" "$i")
    [ -z "$hosts" ] || certificate "etcd-$i" etcd "etcd-$i" --hosts "$hosts"
  done
  certificates coordinator 2
  certificates worker "$1"
  certificate operator operator operator
}

rotate_certificates() {
  local folders=() folder
  for folder in "$(CERTS)"/*/tls.crt; do folders+=("$(dirname "$folder")"); done
  run lockstep certs rotate "${folders[@]}" --authority "$(CERTS)/authority" ${OPTION[before]:+--before "${OPTION[before]}"}
}
