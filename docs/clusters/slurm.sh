#!/usr/bin/env bash
#SBATCH --job-name=rbees-check
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=01:00:00
#SBATCH --output=rbees-%A-%a.log
# Judges one part of a run per task of a Slurm array:
#
#   parts=$(sbatch --parsable slurm.sh /models/my-model.gguf /shared/parts)
#   sbatch --dependency="afterany:$parts" --wrap "rbees-check merge /shared/parts/*.json --report html=report.html"
#
# The folder must be visible to all nodes, and empty before.
set -euo pipefail
model=${1:?usage: sbatch slurm.sh MODEL FOLDER}
folder=${2:?usage: sbatch slurm.sh MODEL FOLDER}
part=${SLURM_ARRAY_TASK_ID:?this script runs as a Slurm array}
parts=${SLURM_ARRAY_TASK_COUNT:?this script runs as a Slurm array}

mkdir -p "$folder"
rbees-check run all --model "$model" --threads "${SLURM_CPUS_PER_TASK:-1}" \
  --shard "$part/$parts" --report "json=$folder/part-$part.json"
