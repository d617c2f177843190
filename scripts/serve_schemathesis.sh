#!/usr/bin/env bash
# Sends generated requests, valid and invalid, to a running `rbees-check serve`, and compares the answers with its
# /openapi.json: status codes, schemas, content types, and that no request makes the server fail.
#
#     rbees-check serve --unchecked --max-queue 1000 &
#     scripts/serve_schemathesis.sh http://127.0.0.1:8080
set -euo pipefail
url=${1:-http://127.0.0.1:8080}
schemathesis=${SCHEMATHESIS:-uvx schemathesis==4.32.5}
# A valid document cannot say that a prompt is too long or that a token does not exist, so such requests may be
# refused: `positive_data_acceptance` is left out. `unsupported_method` sends TRACE, which the server refuses with 405.
exec $schemathesis run "$url/openapi.json" --url "$url" \
  --checks all --exclude-checks positive_data_acceptance,ignored_auth \
  --max-examples "${EXAMPLES:-60}" --request-timeout 60 --seed 1 --no-color
