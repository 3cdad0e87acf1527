#!/usr/bin/env bash
# The first three experiments: does occupancy help, does distillation, do both? On a street world, in some
# hours on two cores. Run it again after an interruption: what is finished stays.
#
#   experiments/first_three.sh RUNS_FOLDER [--split test] [--write]
#
# Everything was chosen on the town of the split val; the town of the split test is for reporting, once.
# --write puts tables and picture into experiments/LOG.md, README.md and docs/pictures.
set -euo pipefail
runs=${1:?folder for the runs}
shift
here=$(dirname "$0")
split=test
write=()
while (($#)); do
  case $1 in
    --split) split=${2:?name of a split}; shift 2 ;;
    --write) write=(--write); shift ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
done

occfeat world --out "$runs/street" --scenes 107 --val-scenes 12 --test-scenes 20 --key-frames 4 \
  --lights noon overcast --seed 0 --truth
occfeat cache --recipe cpu-small --data "$runs/street" --out "$runs/teacher-cache" --teacher.image-size 224 392
[ -f "$runs/oracle-cache/cache.json" ] || {
  rm -rf "$runs/oracle-cache"
  python "$here/oracle_cache.py" "$runs/street" "$runs/oracle-cache"
}

"$here/workers.sh" "$runs" "$here/first_three.py" "$runs/street" "$runs" --split "$split"
python "$here/first_three_report.py" "$runs/street" "$runs" --split "$split" "${write[@]}"
