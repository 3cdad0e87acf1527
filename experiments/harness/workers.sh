#!/usr/bin/env bash
# Runs a script whose jobs can be shared, once per GPU, or once per core with one thread each where there is none.
#
#   experiments/harness/workers.sh LOG_FOLDER SCRIPT [ARGUMENTS]    (SCRIPT: a file, or -m and a module)
set -euo pipefail
logs=$1
shift
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
cores=$(python -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
mkdir -p "$logs"
workers=()
trap 'kill "${workers[@]}" 2>/dev/null || true' EXIT INT TERM
for ((number = 0; number < (gpus > 0 ? gpus : cores); number++)); do
  if ((gpus > 0)); then
    CUDA_VISIBLE_DEVICES=$number python "$@" 2>>"$logs/worker-$number.log" &
  else
    OMP_NUM_THREADS=1 python "$@" 2>>"$logs/worker-$number.log" &
  fi
  workers+=($!)
done
echo "${#workers[@]} processes; their logs: $logs/worker-*.log"
for worker in "${workers[@]}"; do wait "$worker"; done
