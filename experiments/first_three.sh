#!/usr/bin/env bash
# The first three experiments: does occupancy help, does distillation, do both? On a street world, in some
# hours on two cores. Run it again after an interruption: what is finished stays.
#
#   experiments/first_three.sh RUNS_FOLDER [--split test] [--write] [--shares 1%] [--modes full frozen]
#     [--arms none occupancy] [--seeds 0]
#
# The last four choose a part of the work, see first_three.py; all of it takes about six hours of two slow
# cores, `--shares 1% --modes full frozen` about three.
# Everything was chosen on the town of the split val; the town of the split test is for reporting, once.
# --write puts tables and picture into experiments/LOG.md, README.md and docs/pictures.
set -euo pipefail
runs=${1:?folder for the runs}
shift
here=$(dirname "$0")
split=test
write=()
part=()
while (($#)); do
  case $1 in
    --split) split=${2:?name of a split}; shift 2 ;;
    --write) write=(--write); shift ;;
    --arms | --seeds | --shares | --modes)
      part+=("$1"); shift
      while (($#)) && [[ $1 != --* ]]; do part+=("$1"); shift; done ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
done
# A wrong word is refused now, not when the world has been built.
python "$here/first_three.py" "$runs/street" "$runs" --split "$split" "${part[@]}" --help > /dev/null

occfeat world --out "$runs/street" --scenes 107 --val-scenes 12 --test-scenes 20 --key-frames 4 \
  --lights noon overcast --seed 0 --truth
occfeat cache --recipe cpu-small --data "$runs/street" --out "$runs/teacher-cache" --teacher.image-size 224 392
[ -f "$runs/oracle-cache/cache.json" ] || {
  rm -rf "$runs/oracle-cache"
  python "$here/oracle_cache.py" "$runs/street" "$runs/oracle-cache"
}

"$here/workers.sh" "$runs" "$here/first_three.py" "$runs/street" "$runs" --split "$split" "${part[@]}"
python "$here/first_three_report.py" "$runs/street" "$runs" --split "$split" "${write[@]}"
