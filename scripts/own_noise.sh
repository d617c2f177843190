#!/usr/bin/env bash
# Compares the references of the project's own oracle with PyTorch's, on every case of every model: the values, and the
# noise by dtype, feed and kind of site. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
OWN_ORACLE=all cargo test --release --locked --test own_oracle own_values -- --nocapture
