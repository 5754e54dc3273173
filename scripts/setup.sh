# Sourced by quickstart.sh and test.sh: changes to the project folder and sets up .venv there.
# Sets ROOT and VENV_PYTHON. A stamp in .venv records what is installed, so a second run skips the installation.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV_PYTHON=$ROOT/.venv/bin/python
MIN_FREE_MB=3000
cd "$ROOT"

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

# The first of $PYTHON, python3, python3.13 … that runs and is new enough: a name on PATH may be a broken shim.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
    if [ "$candidate" = "${PYTHON:-}" ]; then
      fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
    fi
  done
  fail "no Python 3.11 or newer on PATH; install one, or point to it: PYTHON=/path/to/python3 bash $0"
}

# Hash of the pins, the dependencies and the path of the project (a moved .venv contains stale paths).
expected_stamp() {
  "$1" - "$ROOT" <<'PYTHON_CODE'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(str(root).encode())
for name in ("pyproject.toml", "constraints.txt"):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
PYTHON_CODE
}

install_packages() {
  local python=$1 stamp=$2 free_mb start=$SECONDS
  free_mb=$("$python" -c 'import shutil; print(shutil.disk_usage(".").free // 10**6)')
  [ "$free_mb" -ge "$MIN_FREE_MB" ] ||
    fail "$ROOT has $free_mb MB of free space, and the install needs $MIN_FREE_MB MB; free disk space and run this again"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; install it (Debian and Ubuntu: the package python3-venv) \
or point to another Python: PYTHON=/path/to/python3 bash $0"
  printf '== Setting up .venv with %s: pinned versions, a few minutes, about 2 GB\n' "$("$python" --version)"
  "$python" -m venv --clear .venv || fail "cannot create $ROOT/.venv; see the lines above"
  "$VENV_PYTHON" -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[train,serve,dev]' ||
    fail "pip could not install the packages; see the lines above, then run this again"
  printf '%s\n' "$stamp" >.venv/installed
  printf '== .venv is ready after %d s\n' $((SECONDS - start))
}

# Whether .venv uses the Python that $PYTHON names, if it names one.
is_requested_python() {
  local which='import sys; print(sys.version, sys.base_prefix)'
  [ -z "${PYTHON:-}" ] || [ "$("$1" -c "$which")" = "$("$VENV_PYTHON" -c "$which")" ]
}

set_up() {
  local python stamp
  python=$(find_python)
  stamp=$(expected_stamp "$python")
  if [ "$(cat .venv/installed 2>/dev/null)" = "$stamp" ] && "$VENV_PYTHON" -c '' 2>/dev/null &&
    is_requested_python "$python"; then
    printf '== .venv is up to date\n'
  else
    install_packages "$python" "$stamp"
  fi
}
