#!/usr/bin/env bash
# Makes the model that ships with the package, lstm_lm/pretrained/keyboard: everyday English, trained for 20 minutes on
# two cores. Started again it goes on where it was.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up

run=outputs/pretrained
lstm_lm() {
  printf '\n== lstm-lm %s\n' "$*"
  "$VENV_PYTHON" -m lstm_lm "$@" </dev/null
}

lstm_lm train experiment=keyboard resume=auto "hydra.run.dir=$run/train"
lstm_lm eval "checkpoint=$run/train" split=test "hydra.run.dir=$run/static"
lstm_lm eval "checkpoint=$run/train" split=test evaluation=keyboard "hydra.run.dir=$run/keyboard"
lstm_lm export "checkpoint=$run/train" out=lstm_lm/pretrained/keyboard "hydra.run.dir=$run/export" \
  export.weights=false export.onnx=false export.overwrite=true cache.weight=0.02 cache.theta=0.3 cache.window=500 \
  "export.scores=[$run/static/metrics.json,$run/keyboard/metrics.json]"
"$VENV_PYTHON" scripts/bench_keyboard.py --model lstm_lm/pretrained/keyboard
