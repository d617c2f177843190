#!/usr/bin/env bash
# Adds what `cargo fuzz run` found in target/corpus/NAME to fuzz/corpus/NAME: of the files that reach different code, a
# sample of at most 100 files and 48 kB for each target. Files whose names say what they are stay; those with a hash as
# their name are chosen anew.
#
#     scripts/fuzz_corpus.sh [NAME…]       all targets by default
set -euo pipefail
cd "$(dirname "$0")/.."
readonly MOST=49152 FILES=100
[ $# -gt 0 ] || set -- $(cargo fuzz list --fuzz-dir fuzz)
export TMPDIR=${TMPDIR:-/dev/shm}
for target in "$@"; do
  program=fuzz/target/x86_64-unknown-linux-gnu/release/$target
  [ -x "$program" ] || cargo fuzz build --sanitizer none "$target"
  kept=fuzz/corpus/$target found=target/corpus/$target small=$(mktemp -d)
  mkdir -p "$found"
  "$program" -merge=1 -rss_limit_mb=1024 -timeout=25 "$small" "$kept" "$found" 2>/dev/null
  find "$kept" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
  total=$(cat "$kept"/* | wc -c)
  while read -r size file; do
    total=$((total + size))
    [ $total -le $MOST ] || break
    cp "$file" "$kept/$(sha1sum < "$file" | cut -d ' ' -f 1)"
  # The names are hashes, so their order is a random one.
  done < <(find "$small" -type f -size -8k -printf '%s %p\n' | sort -k 2 | head -n $FILES)
  rm -r "$small"
  echo "$target: $(find "$kept" -type f | wc -l) files, $(cat "$kept"/* | wc -c) bytes"
done
