#!/usr/bin/env bash
# All that is measured on a card within half an hour, in the project's root: `half_hour.sh timings` wants the card to itself (about
# five minutes on an H100) and `bel` alone; `half_hour.sh sweeps FOLDER` wants Ray, Optuna, MLflow and datasets/BIWI, runs what it can
# at once, and keeps what is printed in the folder.
set -u
cd "$(dirname "$0")/../.."
here=tests/gpu

timings() {
  python3 $here/speed.py --seconds 0.8 --only "resnet50 224 16" --compile default reduce-overhead default+graph
  python3 $here/packing.py --only "v2 112" --trials 1 --processes 8 16
  python3 $here/speed.py --seconds 0.8 --only "v2 112 64" --compile default+graph
  CUDA_DEVICE_MAX_CONNECTIONS=32 python3 $here/packing.py --only "v2 64" --trials 8 16 --processes 8 16
  python3 $here/packing.py --only resnet50 --trials 1 --processes 4 8
}

results() { # STEP, and options of results.py
  python3 $here/results.py --only "$1" "${@:2}" --log "$out/$1.txt" >"$out/$1.out" 2>&1
}

sweeps() {
  out=$(mkdir -p "$1" && cd "$1" && pwd)
  python3 -m pytest $here $here/test_launch_*.py $here/test_results_*.py >"$out/tests_launch.txt" 2>&1 &
  python3 -m pytest $here/test_bel_*.py >"$out/tests_bel.txt" 2>&1 &
  results biwi &
  results search
  results folds --recipe runs/recipe.yaml &
  results crops --recipe runs/recipe.yaml &
  results study &
  wait
}

"$@"
