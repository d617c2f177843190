#!/usr/bin/env bash
# Judges made-up models of the shapes of Llama-2-7B and Llama-3.1-8B with --stream; prints the time and the largest
# resident memory besides mapped files. Needs 5 GB of disk and a release build, and takes up to 20 minutes.
#   scripts/stream_large.sh [llama-2-7b] [llama-3.1-8b]
set -euo pipefail
cd "$(dirname "$0")/.."
program=${RBEES_CHECK:-target/release/rbees-check}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Runs a command; prints its time and its largest anonymous resident memory.
measured() {
  local start=$SECONDS most=0 now
  "$@" &
  local pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
    [ "${now:-0}" -gt "$most" ] && most=$now
    sleep 0.2
  done
  local code=0
  wait "$pid" || code=$?
  echo "exit $code, $((SECONDS - start)) s, $((most / 1024)) MB of resident memory besides mapped files"
}

[ $# -gt 0 ] || set -- llama-2-7b llama-3.1-8b
for model in "$@"; do
  python3 scripts/make_large_gguf.py "$model" "$folder/$model.gguf"
  measured "$program" run all --model "$folder/$model.gguf" --reference oracle --prompt Hello --stream
  rm "$folder/$model.gguf"
done
