#!/usr/bin/env bash
# Sets everything up, then trains, measures, exports and uses a small model on Python's own documentation.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up

started=$SECONDS
run=outputs/quickstart/$(date +%Y-%m-%d_%H-%M-%S)
prompt="This function returns"
mkdir -p outputs/quickstart
# mkdir without -p: two runs that start in the same second do not share a folder
until mkdir "$run" 2>/dev/null; do
  [ -e "$run" ] || fail "cannot make $ROOT/$run; check the disk and the permissions"
  run+=-again
done

step() {
  printf '\n== %s\n   lstm-lm' "$1"
  shift
  printf ' %q' "$@"
  printf '\n'
  "$VENV_PYTHON" -m lstm_lm "$@" </dev/null
}

step "Train on the prose that ships inside Python" \
  train experiment=quickstart "hydra.run.dir=$run/train"
step "Measure the best checkpoint on the test split, every token of it" \
  eval "checkpoint=$run/train/checkpoints/best.ckpt" split=test "hydra.run.dir=$run/eval"
step "Export a bundle: a folder of data that needs no training code" \
  export "checkpoint=$run/train/checkpoints/best.ckpt" "out=$run/bundle" "hydra.run.dir=$run/export"
step "Suggest the next word" predict --model "$run/bundle" --text "$prompt" --k 5
step "Go on with a text" generate --model "$run/bundle" --text "$prompt" --generate 40 --preset balanced --seed 7

"$VENV_PYTHON" scripts/quickstart_summary.py "$run" $((SECONDS - started))
