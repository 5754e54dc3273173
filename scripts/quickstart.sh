#!/usr/bin/env bash
# Sets up .venv, then trains, evaluates, exports and runs a small model on the documentation that ships with Python.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up

started=$SECONDS
run=outputs/quickstart/$(date +%Y-%m-%d_%H-%M-%S)
prompt="This function returns"
mkdir -p outputs/quickstart
# mkdir without -p: two runs that start in the same second do not share a folder
until mkdir "$run" 2>/dev/null; do
  [ -e "$run" ] || fail "cannot create $ROOT/$run; check the disk and the permissions"
  run+=-again
done

step() {
  printf '\n== %s\n   lstm-lm' "$1"
  shift
  printf ' %q' "$@"
  printf '\n'
  "$VENV_PYTHON" -m lstm_lm "$@" </dev/null
}

step "Train on the documentation that ships with Python" \
  train experiment=quickstart "hydra.run.dir=$run/train"
step "Evaluate the best checkpoint on every token of the test split" \
  eval "checkpoint=$run/train/checkpoints/best.ckpt" split=test "hydra.run.dir=$run/eval"
step "Export a bundle, which runs without the training packages" \
  export "checkpoint=$run/train/checkpoints/best.ckpt" "out=$run/bundle" "hydra.run.dir=$run/export"
step "Suggest the next word" predict --model "$run/bundle" --text "$prompt" --k 5
step "Continue a text" generate --model "$run/bundle" --text "$prompt" --generate 40 --preset balanced --seed 7

"$VENV_PYTHON" scripts/quickstart_summary.py "$run" $((SECONDS - started))
