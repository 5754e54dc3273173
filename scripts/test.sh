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

# The page tests need a browser, the proxy tests nginx and the tests of the JavaScript client node. They are skipped without
# them.
install_programs() {
  local missing=()
  { command -v chromium || command -v chromium-browser; } >/dev/null || missing+=(chromium fonts-liberation)
  PATH=$PATH:/usr/sbin command -v nginx >/dev/null || missing+=(nginx-light)
  command -v node >/dev/null || missing+=(nodejs)
  if [ ${#missing[@]} -eq 0 ]; then
    return
  fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    printf '== Not installed: %s: the tests with them will be skipped\n' "${missing[*]}"
    return
  fi
  printf '== Installing %s\n' "${missing[*]}"
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "${missing[@]}"; } \
    </dev/null >.venv/programs.log 2>&1; then
    printf 'note: they could not be installed (see .venv/programs.log): the tests with them will be skipped\n'
  fi
}

# The page's tests with the client need npm too, which is large and not installed here.
build_web_client() {
  local web=clients/web
  command -v npm >/dev/null || return 0
  if [ -e $web/dist/predictor.js ] && [ -z "$(find $web/src $web/build.js $web/package-lock.json -newer $web/dist)" ]; then
    return 0
  fi
  printf '== Building the JavaScript client\n'
  if ! (cd $web && npm ci --no-audit --no-fund --ignore-scripts && npm run build) </dev/null >.venv/web.log 2>&1; then
    printf 'note: it could not be built (see .venv/web.log): the tests in a browser with it will be skipped\n'
  fi
}

install_programs
build_web_client

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
# two processes with one core each; neighbours share fixtures, and the one that is done first takes tests of the other
check "pytest" env OMP_NUM_THREADS=1 "$VENV_PYTHON" -m pytest -n 2 --dist worksteal "$@"

printf '\n'
if [ ${#failed[@]} -gt 0 ]; then
  printf '== FAILED:'
  printf ' [%s]' "${failed[@]}"
  printf '\n'
  exit 1
fi
printf '== All checks passed in %d s\n' "$SECONDS"
