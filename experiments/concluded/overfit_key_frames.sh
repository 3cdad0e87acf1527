#!/usr/bin/env bash
# Overfit three real nuScenes key frames: a network that cannot learn them by heart is wrong somewhere.
# Pretrains on the scenes of mini_train that are there (with LiDAR), fine-tunes on all key frames, and
# evaluates on the same ones. Cells of 1 m and larger images than cpu-small's: what is to be learned by heart
# must be visible.
#
#   experiments/concluded/overfit_key_frames.sh NUSCENES_FOLDER RUNS_FOLDER [simplebev|bevformer|lss]
set -euo pipefail
data=${1:?folder that holds v1.0-mini} runs=${2:?folder for the runs} student=${3:-simplebev}
common=(--recipe cpu-small --data "$data" --engine.workers 0)
own=() # given below as ${own[@]+"${own[@]}"}, as to bash 3.2 (macOS) an empty array is not set
if [ "$student" = bevformer ]; then own=(--student.layers 3); fi
if [ "$student" = lss ]; then own=(--student.depth-m 1 46 --student.depth-bins 45); fi

occfeat pretrain "${common[@]}" --split mini_train --out "$runs/pretrained" \
  --student.kind "$student" ${own[@]+"${own[@]}"} \
  --grid.lower-m -32 -32 -1 --grid.upper-m 32 32 3 --grid.cell-m 1 1 1 --view.image-size 224 400 \
  --student.no-freeze-stem --student.image-channels 96 --student.bev-channels 96 --head.channels 32 \
  --teacher.image-size 112 196 \
  --loss.features 0.1 --optim.batch-size 1 --optim.epochs 350 --optim.learning-rate 5e-3

occfeat finetune --data "$data" --engine.workers 0 --split all --val-split all --out "$runs/tuned" \
  --start "$runs/pretrained" --optim.batch-size 3 --optim.epochs 100 --optim.learning-rate 3e-3
