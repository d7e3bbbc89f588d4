# shellcheck shell=bash
# The hosts of --target ssh: read from the inventory, and which node runs on which of them. deploy/local/inventory.example
# says what a line may have.

# `parse` reads this file, so what is declared has to be made global.
HOSTS=()                 # in the inventory's order
# shellcheck disable=SC2034 # for ssh-hosts.sh
declare -gA SSH_USER=() SSH_PORT=() ADDRESS=() ROLES=() ROOM=() GPUS=() # by host; ROLES as " etcd coordinator "
declare -gA PLACE=()      # by node, as worker-1: its host
MISTAKES=()

mistake() { MISTAKES+=("$1:$2: $3"); } # FILE LINE SENTENCE

# Reads and checks the whole file, and stops with all that is wrong in it.
inventory_read() { # FILE
  local file=$1 number=0 line host
  [ -f "$file" ] || fail 2 "There is no inventory $file."
  local lines=() words=()
  mapfile -t lines <"$file"
  for line in "${lines[@]}"; do
    number=$((number + 1))
    read -ra words <<<"${line%%#*}"
    [ ${#words[@]} -eq 0 ] || inventory_line "$file" "$number" "${words[@]}"
  done
  local etcd=0 coordinator=0 room=0 gpu='' cpu=''
  for host in "${HOSTS[@]}"; do
    [[ ${ROLES[$host]} != *" etcd "* ]] || etcd=$((etcd + 1))
    [[ ${ROLES[$host]} != *" coordinator "* ]] || coordinator=$((coordinator + 1))
    room=$((room + ROOM[$host]))
    if [ "${ROOM[$host]}" -gt 0 ]; then
      if [ -n "${GPUS[$host]}" ]; then gpu=$host; else cpu=$host; fi
    fi
  done
  [ -z "$gpu" ] || [ -z "$cpu" ] ||
    MISTAKES+=("$file: the workers of $gpu have gpus=, and those of $cpu have not; all or none was expected, as they round differently.")
  if [ ${#MISTAKES[@]} -eq 0 ]; then
    case $etcd in 1 | 3) ;; *) MISTAKES+=("$file: $etcd hosts have etcd; one was expected, or three, so that one may be gone.") ;; esac
    case $coordinator in 1 | 2) ;; *) MISTAKES+=("$file: $coordinator hosts have coordinator; one was expected, or two, so that one may be gone.") ;; esac
    [ "$room" -ge 1 ] || MISTAKES+=("$file: no host has room for a worker; workers=N was expected on at least one.")
  fi
  [ ${#MISTAKES[@]} -eq 0 ] && return
  printf '%s\n' "${MISTAKES[@]}" >&2
  fail 2 "The inventory has ${#MISTAKES[@]} mistake$([ ${#MISTAKES[@]} = 1 ] || printf s), and nothing was done. See deploy/local/inventory.example."
}

# shellcheck disable=SC2034 # for ssh-hosts.sh
inventory_line() { # FILE LINE HOST WORD…
  local file=$1 line=$2 host=$3 word key value other seen=" "
  shift 3
  if ! [[ $host =~ ^[A-Za-z0-9_]([A-Za-z0-9._:-]*[A-Za-z0-9])?$ ]]; then
    mistake "$file" "$line" "The host is \"$host\"; a name or an address was expected."
    return
  fi
  if [ -n "${ROLES[$host]:-}" ]; then
    mistake "$file" "$line" "The host $host is there a second time; one line a host was expected."
    return
  fi
  HOSTS+=("$host")
  ROLES[$host]=" " ROOM[$host]=0 ADDRESS[$host]=$host SSH_USER[$host]='' SSH_PORT[$host]='' GPUS[$host]=''
  for word in "$@"; do
    key=${word%%=*} value=${word#*=}
    if [[ $seen == *" $key "* ]]; then
      mistake "$file" "$line" "$key is there twice; once was expected."
      continue
    fi
    seen+="$key "
    case $word in
      etcd | coordinator) ROLES[$host]+="$word " ;;
      user=*) inventory_value '^[A-Za-z_][A-Za-z0-9_.-]*$' "the name of a user" && SSH_USER[$host]=$value ;;
      port=*)
        inventory_value '^[1-9][0-9]{0,4}$' "a port from 1 to 65535" && SSH_PORT[$host]=$value
        [ "${SSH_PORT[$host]:-0}" -le 65535 ] || mistake "$file" "$line" "port is \"$value\"; a port from 1 to 65535 was expected."
        ;;
      address=*) inventory_value '^[A-Za-z0-9:]([A-Za-z0-9.:-]*[A-Za-z0-9])?$' "a name or an address" && ADDRESS[$host]=$value ;;
      workers=*) inventory_value '^(0|[1-9][0-9]{0,2})$' "a number from 0 to 999" && ROOM[$host]=$value ;;
      gpus=*) inventory_value '^[0-9]+(,[0-9]+)*$' "numbers of GPUs, as 0,1," && GPUS[$host]=$value ;;
      *) mistake "$file" "$line" "\"$word\" is not known; user=, port=, address=, etcd, coordinator, workers= or gpus= was expected." ;;
    esac
  done
  for other in "${HOSTS[@]}"; do
    [ "$other" = "$host" ] || [ "${ADDRESS[$other]}" != "${ADDRESS[$host]}" ] ||
      mistake "$file" "$line" "The address ${ADDRESS[$host]} is that of $other too; each host has its own."
  done
  [ -z "${GPUS[$host]}" ] || [ "${ROOM[$host]}" -gt 0 ] || mistake "$file" "$line" "$host has gpus= and no workers that could use them; add workers=N."
  [ "${ROLES[$host]}" != " " ] || [ "${ROOM[$host]}" -gt 0 ] ||
    mistake "$file" "$line" "$host has nothing to do; etcd, coordinator or workers=N was expected."
}
# Whether the word's value is as expected; else it is a mistake. Sees the variables of inventory_line.
inventory_value() { # PATTERN WHAT
  if [[ $value =~ $1 ]]; then return 0; fi
  mistake "$file" "$line" "$key is \"$value\"; $2 was expected."
  return 1
}

# Which node runs where, in PLACE. What was placed stays, as its data are there: etcd's, and each worker's checkpoints. New
# workers go where the fewest are. The cluster's folder remembers it.
inventory_place() { # WORKERS
  local node host kept number
  declare -A load=()
  PLACE=()
  for host in "${HOSTS[@]}"; do load[$host]=0; done
  while read -r node host; do
    [ -n "$node" ] || continue
    kept=
    case $node in
      worker-*) [ "${ROOM[$host]:-0}" -gt "${load[$host]:-0}" ] && kept=yes && load[$host]=$((load[$host] + 1)) ;;
      *) [[ ${ROLES[$host]:-} != *" ${node%-*} "* ]] || kept=yes ;;
    esac
    if [ -n "$kept" ]; then
      PLACE[$node]=$host
    elif [ "${node%-*}" = etcd ]; then
      fail 2 "$node is on $host, which has no etcd in the inventory now; members stay where they began: put it back, or take the cluster down with --purge first."
    elif [ "${node%-*}" = worker ] && [ "${node#worker-}" -lt "$1" ]; then
      note "$node was on $host, which has no room for it now; elsewhere it fetches its checkpoints from the others."
    fi
  done < <(remembered placement)
  inventory_place_role etcd
  inventory_place_role coordinator
  for ((number = 0; number < $1; number++)); do
    [ -z "${PLACE[worker-$number]:-}" ] || continue
    kept=
    for host in "${HOSTS[@]}"; do
      [ "${load[$host]}" -lt "${ROOM[$host]}" ] || continue
      [ -n "$kept" ] && [ "${load[$kept]}" -le "${load[$host]}" ] || kept=$host
    done
    [ -n "$kept" ] ||
      fail 2 "$1 workers are more than the hosts have room for ($(inventory_room)); give a host more workers= in the inventory, or add one."
    PLACE[worker-$number]=$kept
    load[$kept]=$((load[$kept] + 1))
  done
}
inventory_place_role() { # ROLE
  local host number=0 node there
  for host in "${HOSTS[@]}"; do
    [[ ${ROLES[$host]} == *" $1 "* ]] || continue
    there=
    for node in "${!PLACE[@]}"; do [ "${node%-*}" != "$1" ] || [ "${PLACE[$node]}" != "$host" ] || there=yes; done
    [ -z "$there" ] || continue
    [ "$1" != etcd ] || [ -z "$(remembered placement)" ] ||
      fail 2 "$host has etcd in the inventory, and the cluster began without it; members stay what they are: take etcd from it, or take the cluster down with --purge first."
    while [ -n "${PLACE[$1-$number]:-}" ]; do number=$((number + 1)); done
    PLACE[$1-$number]=$host
  done
}
inventory_room() {
  local host room=0
  for host in "${HOSTS[@]}"; do room=$((room + ROOM[$host])); done
  printf '%s' "$room"
}
inventory_remember() {
  local node
  remember placement "$(for node in "${!PLACE[@]}"; do printf '%s %s\n' "$node" "${PLACE[$node]}"; done | sort -V)"
}

# Nodes of a role, or all, in the order of their numbers; on one host, or on all.
nodes() { # ROLE|"" [HOST]
  local node
  for node in "${!PLACE[@]}"; do
    [ -n "$1" ] && [ "${node%-*}" != "$1" ] && continue
    [ "${node%-*}" = worker ] && [ "${node#worker-}" -ge "$RUNNING" ] && continue
    [ -z "${2:-}" ] || [ "${PLACE[$node]}" = "$2" ] || continue
    printf '%s\n' "$node"
  done | sort -V
}
unit_of() { # NODE
  case $1 in
    worker-*) printf 'lockstep-worker@%s.service' "${1#worker-}" ;;
    *) printf 'lockstep-%s.service' "${1%-*}" ;;
  esac
}
# For a URL: an IPv6 address stands in brackets.
url_host() { # HOST
  case ${ADDRESS[$1]} in *:*) printf '[%s]' "${ADDRESS[$1]}" ;; *) printf '%s' "${ADDRESS[$1]}" ;; esac
}
