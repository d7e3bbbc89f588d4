# shellcheck shell=bash
# What all scripts here share: options, the cluster's folder, and --dry-run. Each verb is one script, which calls
# TARGET_VERB from lib/target-TARGET.sh, as k8s_up; so a target is one file, and so is what a verb takes.
set -euo pipefail

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(cd "$SCRIPTS/../.." && pwd)
VERB=$(basename "$0")
TARGETS="local docker ssh k8s"
CLUSTERS=${XDG_STATE_HOME:-$HOME/.local/state}/lockstep/clusters

# What options set; `verb` below says which of them a script takes.
TARGET=${LOCKSTEP_TARGET:-}
# Also the name of the job in etcd and in certificates, whatever the job file calls it.
CLUSTER=${LOCKSTEP_CLUSTER:-}
DRY_RUN=
declare -A OPTION=() # by the option's name: its value, or "yes"
GIVEN=()             # of those that can be given several times, one word each: --set=FIELD=VALUE
ARGUMENTS=()

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }
fail() { # CODE MESSAGE
  printf '%s: %s\n' "$VERB" "$2" >&2
  exit "$1"
}
usage_error() { fail 2 "$1 See $VERB --help."; }

# Runs a command that changes something; with --dry-run prints it instead, as one could type it.
run() {
  if [ -n "$DRY_RUN" ]; then
    printf '+'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}
# As `run`, without what the command says when all is well.
quietly() { if [ -n "$DRY_RUN" ]; then run "$@"; else "$@" >/dev/null; fi; }
# As `run`, for a file: its text is on standard input.
write_file() { # FILE [MODE]
  if [ -n "$DRY_RUN" ]; then
    cat >/dev/null
    say "+ write $1"
  else
    mkdir -p "$(dirname "$1")"
    (umask 077 && cat >"$1.new" && mv "$1.new" "$1")
    [ -z "${2:-}" ] || chmod "$2" "$1"
  fi
}

lockstep() { node "$ROOT/bin/lockstep.mjs" "$@"; }
need() { # PROGRAM WHY
  command -v "$1" >/dev/null || fail 4 "$1 is missing, and $2."
}
is_number() { [[ $1 =~ ^[0-9]+$ ]]; }
is_name() { [[ $1 =~ ^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$ ]]; }

# Parses a script's words. OPTIONS: names of options with a value as "workers:", without one as "purge", and with one that can be
# given several times as "set:+".
parse() { # "OPTIONS" WORD…
  local known=" target: name: dry-run help $1 " word name
  shift
  while [ $# -gt 0 ]; do
    word=$1
    shift
    case $word in
      --) ARGUMENTS+=("$@") && break ;;
      -h) OPTION[help]=yes ;;
      -f)
        [[ $known == *" follow "* ]] || usage_error "There is no option -f."
        OPTION[follow]=yes
        ;;
      --*=*)
        name=${word#--} name=${name%%=*}
        [[ $known == *" $name: "* || $known == *" $name:+ "* ]] || usage_error "There is no option --$name with a value."
        take "$name" "${word#*=}"
        ;;
      --*)
        name=${word#--}
        if [[ $known == *" $name: "* || $known == *" $name:+ "* ]]; then
          [ $# -gt 0 ] || usage_error "--$name needs a value."
          take "$name" "$1"
          shift
        elif [[ $known == *" $name "* ]]; then
          OPTION[$name]=yes
        else
          usage_error "There is no option --$name."
        fi
        ;;
      -*) usage_error "There is no option $word." ;;
      *) ARGUMENTS+=("$word") ;;
    esac
  done
  if [ -n "${OPTION[help]:-}" ]; then
    usage
    exit 0
  fi
  TARGET=${OPTION[target]:-$TARGET}
  CLUSTER=${OPTION[name]:-$CLUSTER}
  DRY_RUN=${OPTION[dry-run]:-}
  [ -n "$CLUSTER" ] || CLUSTER=$(default_cluster)
  is_name "$CLUSTER" || usage_error "--name is \"$CLUSTER\"; small letters, digits and dashes were expected."
  # Certificates, the last start's name and what `up` was told; nothing that the cluster itself needs to go on.
  STATE=$CLUSTERS/$CLUSTER
  [ -n "$TARGET" ] || TARGET=$(remembered target)
  [ -n "$TARGET" ] || [ "$VERB" = up ] || [ "$VERB" = gen-certs ] || need_cluster
  [ -n "$TARGET" ] || usage_error "--target is missing; one of ${TARGETS// /, } was expected."
  [[ " $TARGETS " == *" $TARGET "* ]] || usage_error "--target is \"$TARGET\"; one of ${TARGETS// /, } was expected."
  [ "$(remembered target "$TARGET")" = "$TARGET" ] ||
    fail 2 "The cluster $CLUSTER is on --target $(remembered target); give another --name, or take it down with --purge first."
  # shellcheck source=certificates.sh
  . "$SCRIPTS/lib/certificates.sh"
  # shellcheck source=/dev/null
  . "$SCRIPTS/lib/target-$TARGET.sh"
}
take() { # NAME VALUE, of parse: an option with its value
  # As of a variable that is not set: what was meant is not what holds without the option.
  [ -n "$2" ] || usage_error "--$1 has no value."
  if [[ $known == *" $1:+ "* ]]; then GIVEN+=("--$1=$2"); else OPTION[$1]=$2; fi
}
# Of `up`: after its job file; else the only one that there is.
default_cluster() {
  local names=()
  if [ "$VERB" = up ] && [ ${#ARGUMENTS[@]} -gt 0 ]; then
    basename "${ARGUMENTS[0]}" .ts | tr '[:upper:]_.' '[:lower:]--'
    return
  fi
  mapfile -t names < <(clusters)
  case ${#names[@]} in
    0) if [ "$VERB" = up ]; then usage_error "The job file is missing."; else fail 6 "There is no cluster yet; \`up\` makes one."; fi ;;
    1) printf '%s' "${names[0]}" ;;
    *) usage_error "There are several clusters (${names[*]}): say which with --name." ;;
  esac
}
clusters() { # one a line
  local name
  for name in "$CLUSTERS"/*/; do [ ! -d "$name" ] || basename "$name"; done
}
option() { printf '%s' "${OPTION[$1]:-${2:-}}"; }
# Another target would take no notice of such an option, and whoever gave it would not know.
only_on() { # "TARGETS" OPTION…
  local name
  for name in "${@:2}"; do
    [ -z "$(option "$name")" ] || [[ " $1 " == *" $TARGET "* ]] || usage_error "--$name is for --target ${1// / and }, and this is --target $TARGET."
  done
}

common_options() {
  cat <<'TXT'
  --target TARGET   local (processes of this machine), docker, ssh (hosts of an inventory) or k8s (default: $LOCKSTEP_TARGET,
                    or where the cluster is)
  --name NAME       the cluster's name (default: $LOCKSTEP_CLUSTER, or that of the job file, or the only one there is)
  --dry-run         print what would be done, and change nothing
TXT
}

# What `up` was told is remembered, so that the other verbs, and the next `up`, need not be told again.
remember() { # KEY VALUE
  [ -n "$2" ] || return 0
  write_file "$STATE/$1" <<<"$2"
}
remembered() { # KEY [DEFAULT]
  cat "$STATE/$1" 2>/dev/null || printf '%s' "${2:-}"
}

# What `up` was told by --set and --param, each as one word of a command line.
SETTINGS=()
# shellcheck disable=SC2034 # for the targets
remembered_settings() {
  mapfile -t SETTINGS < <(remembered settings)
}

# etcd ends a snapshot with the SHA-256 of what comes before.
is_snapshot() { # FILE
  local bytes
  bytes=$(wc -c <"$1")
  [ "$bytes" -gt 32 ] &&
    [ "$(head -c $((bytes - 32)) "$1" | sha256sum | cut -d ' ' -f 1)" = "$(tail -c 32 "$1" | od -A n -v -t x1 | tr -d ' \n')" ]
}

# Stops with a sentence where `up` has not made the cluster.
need_cluster() {
  local names
  [ ! -d "$STATE" ] || return 0
  names=$(clusters | paste -s -d ' ')
  fail 6 "There is no cluster $CLUSTER; \`up\` makes one.${names:+ There are: $names}"
}
# Stops with a sentence where \`down\` has taken it down: its processes are gone, and only \`up\` starts them all.
need_started() {
  [ -e "$STATE/start" ] || fail 6 "The cluster $CLUSTER is down; $(typed up) --name $CLUSTER starts it."
}

# What processes that are there were started with, and go on with: another one would be remembered, and not used.
only_after_down() { # KEY…
  local key name before
  for key in "$@"; do
    name=${key^^}
    declare -n now=${name//-/_}
    before=$(remembered "$key")
    [ "$now" != "$before" ] || continue
    if [ -n "$before" ]; then
      before="the $key $before"
    elif [ "$key" = checkpoints ]; then
      before="checkpoints that each worker has of its own"
    else
      continue
    fi
    fail 7 "The cluster $CLUSTER was started with $before, and not with $now: take it down first, then \`up\` goes on with that."
  done
}

# A script as one can type it where this one was typed.
typed() { printf '%s/%s' "$(dirname "$0")" "$1"; } # VERB
# What one does next with a cluster that is up.
suggest_commands() { # [NODE]: what could be started again
  local most last
  most=$(most_workers "$WORKERS")
  last=worker-$((most - 1))
  say "  $(typed status) --name $CLUSTER"
  say "  $(typed logs) worker-0 --follow --name $CLUSTER"
  [ "$most" = 1 ] || say "  $(typed scale) $((most - 1)) --name $CLUSTER"
  say "  $(typed restart-node) ${1:-$last} --name $CLUSTER"
  say "  $(typed down) --name $CLUSTER"
}

# One name is one start of the run. `up` again is the same start; `up --resume …`, or `up` after `down`, is another one.
start_name() {
  if [ -n "$(option resume)" ] || [ ! -e "$STATE/start" ]; then date -u +%Y%m%d-%H%M%S-$$; else cat "$STATE/start"; fi
}

# WORKERS as N or MIN:MAX: how many processes that are.
most_workers() { printf '%s' "${1#*:}"; }
# How many `up` makes: as many as it was told, or as `scale` was told after that, as long as it is the same start.
workers_wanted() { remembered scaled "$(most_workers "$WORKERS")"; }
check_workers() { # WORDS
  [[ $1 =~ ^[1-9][0-9]*(:[1-9][0-9]*)?$ && ${1%:*} -le ${1#*:} ]] ||
    usage_error "--workers is \"$1\"; a number of at least 1, or MIN:MAX with MIN at most MAX, was expected."
}
