#!/usr/bin/env bash
# Makes the Python environment that the peers run in: about 6 GB and two minutes, once for every user. It lies where the
# benchmarks look for it; the file "ready" is written last, so a set-up that was interrupted counts for nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
directory=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/lockstep/peers}
wanted=$(cat "$here/requirements.txt")

if [[ -f $directory/ready && $(cat "$directory/ready") == "$wanted" ]]; then
  echo "The peers are set up already: $directory"
  exit 0
fi
rm -rf "$directory"
python3 -m venv "$directory"
"$directory/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check --requirement "$here/requirements.txt"
echo "$wanted" >"$directory/ready"
echo "The peers are set up: $directory"
