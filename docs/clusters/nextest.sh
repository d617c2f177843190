#!/usr/bin/env bash
# Runs one part of a port's own tests, of which each is one checkpoint or case: nextest.sh 2/4
# `cargo nextest` splits by test, so this needs no merge: the run passes if all parts pass.
set -euo pipefail
part=${1:?usage: nextest.sh K/N [arguments of cargo nextest run]}
shift
cargo nextest run --partition "count:$part" --no-fail-fast "$@"
