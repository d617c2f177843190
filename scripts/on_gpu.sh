#!/usr/bin/env bash
# Everything that must be seen on a GPU, in one go, with the output kept.
#
#   scripts/on_gpu.sh [FOLDER]    # the output goes to FOLDER, by default docs/gpu
#
# Needs target/release/rbees-check-cuda (scripts/build_cuda.sh) and its libraries on LD_LIBRARY_PATH. Models: the two that
# are compiled in, and SmolLM2 (scripts/fetch_smollm2.sh). Every command's exit code is kept; the script ends with 1 if
# any was not 0. The known defects are listed for the CPU, so `bench ops` reports every defect of the device as new.
set -uo pipefail
cd "$(dirname "$0")/.."
program=${RBEES_CHECK_CUDA:-target/release/rbees-check-cuda}
[ -x "$program" ] || { echo "error: $program does not exist: run scripts/build_cuda.sh" >&2; exit 2; }
folder=${1:-docs/gpu}
mkdir -p "$folder"
failed=0

kept() { # name, arguments
  local name=$1; shift
  local begin=$SECONDS
  "$program" "$@" > "$folder/$name.txt" 2> "$folder/$name.stderr.txt"
  local code=$?
  [ -s "$folder/$name.stderr.txt" ] || rm "$folder/$name.stderr.txt"
  printf '%s\t%s s\texit %s\trbees-check %s\n' "$name" $((SECONDS - begin)) "$code" "$*" | tee -a "$folder/commands.tsv"
  [ "$code" = 0 ] || failed=1
}

{ date -u +%F; nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; } > "$folder/machine.txt" 2>&1
rm -f "$folder/commands.tsv"
kept list list
kept bench-ops bench ops --device cuda
for model in tiny-llama tiny-llama2 smollm2-135m; do
  for dtype in f32 bf16 f16; do
    kept "run-$model-$dtype" run all --model "$model" --device cuda --dtype "$dtype"
    kept "bench-$model-$dtype" bench --model "$model" --device cuda --dtype "$dtype" --matmul dense --json
  done
done
kept bench-smollm2-135m-blocks bench --model smollm2-135m --device cuda --matmul quantized --json
exit $failed
