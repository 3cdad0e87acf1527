#!/usr/bin/env bash
# Overfit three real nuScenes key frames: a network that cannot learn them by heart is wrong somewhere.
# Pretrains on the scenes of mini_train that are there (with LiDAR), fine-tunes on all key frames, and
# evaluates on the same ones. Usage: experiments/overfit_key_frames.sh NUSCENES_FOLDER RUNS_FOLDER
set -euo pipefail
data=${1:?folder that holds v1.0-mini} runs=${2:?folder for the runs}

occfeat pretrain --recipe cpu-small --data "$data" --split mini_train --out "$runs/pretrained" \
  --optim.batch-size 1 --optim.epochs 400 --optim.learning-rate 3e-3 --engine.workers 0

occfeat finetune --recipe cpu-small --data "$data" --split all --val-split all --out "$runs/tuned" \
  --start "$runs/pretrained" --optim.batch-size 3 --optim.epochs 150 --optim.learning-rate 2e-3 --engine.workers 0
