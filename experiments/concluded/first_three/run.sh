#!/usr/bin/env bash
# The first three experiments: does occupancy help, does distillation, do both? On a street world, in some
# hours on two cores. Run it again after an interruption: what is finished stays.
#
#   experiments/concluded/first_three/run.sh RUNS_FOLDER [--split test] [--write] [--from-ledger] [--shares 1%]
#     [--modes full frozen] [--arms none occupancy] [--seeds 0]
#
# The last four choose a part of the work, see work.py; all of it takes about six hours of two slow
# cores, `--shares 1% --modes full frozen` about three.
# Everything is trained here, unless --from-ledger takes over what experiments/ledgers/first_three.jsonl has: for going
# on where another machine stopped. The committed file has all of seeds 0 and 1, so nothing of them is trained
# then, and its tables are printed. A folder in which that was done keeps those results: train in a new one.
# Everything was chosen on the town of the split val; the town of the split test is for reporting, once.
# --write (split test only) puts the results into first_three.jsonl, in place of rows of the same arm, seed,
# mode, share and draw, and tables and pictures of all its rows into experiments/LOG.md,
# docs/results.md and docs/pictures. It is refused if a seed would lack arms, shares or modes.
set -euo pipefail
runs=${1:?folder for the runs}
shift
experiments=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$experiments${PYTHONPATH:+:$PYTHONPATH}"
split=test
# To bash 3.2 (macOS) an empty array is not set, so these are given as ${write[@]+"${write[@]}"}.
write=()
part=()
while (($#)); do
  case $1 in
    --split) split=${2:?name of a split}; shift 2 ;;
    --write) write=(--write); shift ;;
    --from-ledger) part+=("$1"); shift ;;
    --arms | --seeds | --shares | --modes)
      part+=("$1"); shift
      while (($#)) && [[ $1 != --* ]]; do part+=("$1"); shift; done ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
done
chosen=("$runs/street" "$runs" --split "$split" ${part[@]+"${part[@]}"})
# What cannot be done is refused now, not when the world has been built.
python -m concluded.first_three.report "${chosen[@]}" ${write[@]+"${write[@]}"} --check

occfeat world --out "$runs/street" --scenes 107 --val-scenes 12 --test-scenes 20 --key-frames 4 \
  --lights noon overcast --seed 0 --truth
occfeat cache --recipe cpu-small --data "$runs/street" --out "$runs/teacher-cache" --teacher.image-size 224 392
[ -f "$runs/oracle-cache/cache.json" ] || {
  rm -rf "$runs/oracle-cache"
  python -m harness.oracle_cache "$runs/street" "$runs/oracle-cache"
}

"$experiments/harness/workers.sh" "$runs" -m concluded.first_three.work "${chosen[@]}"
python -m concluded.first_three.report "${chosen[@]}" ${write[@]+"${write[@]}"}
