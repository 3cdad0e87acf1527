#!/usr/bin/env bash
# The paper's first table: {SimpleBEV, BEVFormer} x {EfficientNet-B0, ResNet-50} x {none, Img-ALSO, occupancy,
# distillation, OccFeat} x {vehicle, map} x {1, 10, 100 %} of the labels. Run it again after an interruption:
# what is finished stays. One process per GPU; further machines that share RUNS can run the same command.
#
#   experiments/table1/run.sh DATA RUNS [--recipes paper-simplebev-b0] [--tasks vehicle] [--fractions 0.01 --epochs 100] …
#
# All options: PYTHONPATH=experiments python -m table1.work --help. With CACHE=no the teacher runs in every step instead of being
# cached (29 GB for nuScenes).
set -euo pipefail
experiments=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$experiments${PYTHONPATH:+:$PYTHONPATH}"
data=${1:?folder of the data set}
runs=${2:?folder for the runs}
first=paper-simplebev-b0
for ((i = 3; i < $#; i++)); do
  if [ "${!i}" = --recipes ]; then next=$((i + 1)); first=${!next}; fi
done
if [ "${CACHE:-yes}" = yes ]; then
  occfeat cache --recipe "$first" --data "$data" --out "$runs/teacher-cache"
fi
"$experiments/harness/workers.sh" "$runs" -m table1.work "$@"
python -m table1.report "$@"
