#!/usr/bin/env bash
# Sets up .venv and runs all checks; names the failed ones and exits non-zero.
# Arguments are passed to pytest: `bash scripts/test.sh tests/nn -k tied`.
# --lowest runs only the service's tests, with the lowest versions that pyproject.toml allows.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up

if [ "${1:-}" = --lowest ]; then
  exec env OMP_NUM_THREADS=1 "$VENV_PYTHON" scripts/test_lowest.py "${@:2}"
fi

# The page tests need a browser and are skipped without one.
install_browser() {
  if command -v chromium || command -v chromium-browser; then
    return
  fi >/dev/null
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    printf '== No chromium found: the page tests will be skipped\n'
    return
  fi
  printf '== Installing chromium for the page tests\n'
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y chromium fonts-liberation; } \
    </dev/null >.venv/chromium.log 2>&1; then
    printf 'note: chromium could not be installed (see .venv/chromium.log): the page tests will be skipped\n'
  fi
}

install_browser

failed=()
check() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@" </dev/null; then
    printf -- '-- %s: passed in %d s\n' "$name" $((SECONDS - start))
  else
    printf -- '-- %s: FAILED\n' "$name"
    failed+=("$name")
  fi
}

check "ruff check" "$VENV_PYTHON" -m ruff check .
check "ruff format" "$VENV_PYTHON" -m ruff format --check .
check "mypy" "$VENV_PYTHON" -m mypy
check "import-linter" "$VENV_PYTHON" .venv/bin/lint-imports --no-logo
# two processes with one core each; tests in a file share fixtures
check "pytest" env OMP_NUM_THREADS=1 "$VENV_PYTHON" -m pytest -n 2 --dist loadfile "$@"

printf '\n'
if [ ${#failed[@]} -gt 0 ]; then
  printf '== FAILED:'
  printf ' [%s]' "${failed[@]}"
  printf '\n'
  exit 1
fi
printf '== All checks passed in %d s\n' "$SECONDS"
