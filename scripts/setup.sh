# Sourced by quickstart.sh and test.sh: goes to the project's folder and makes .venv ready there.
# Sets ROOT and VENV_PYTHON. A stamp in .venv remembers what was installed, so that a second run starts at once.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV_PYTHON=$ROOT/.venv/bin/python
MIN_FREE_MB=3000
cd "$ROOT"

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

# The first of $PYTHON, python3, python3.13 … that is new enough: a name on PATH may be a shim that does not run.
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

# What the environment was made from: the pins, the dependencies and the place (a moved .venv has stale paths in it).
wanted_stamp() {
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
    fail "$ROOT has $free_mb MB of free space and the install needs $MIN_FREE_MB MB; make room and run this again"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python comes without its venv module; install it (Debian and Ubuntu: the package python3-venv) \
or point to another Python: PYTHON=/path/to/python3 bash $0"
  printf '== Setting up .venv with %s: pinned versions, a few minutes, about 2 GB\n' "$("$python" --version)"
  "$python" -m venv --clear .venv || fail "cannot make $ROOT/.venv; the lines above say why"
  "$VENV_PYTHON" -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[train,serve,dev]' ||
    fail "pip could not install the packages; the lines above say why. Run this again when that is mended"
  printf '%s\n' "$stamp" >.venv/installed
  printf '== .venv is ready after %d s\n' $((SECONDS - start))
}

# A Python that is named is the one that is used, though an environment of another be there.
is_wanted_python() {
  local which='import sys; print(sys.version, sys.base_prefix)'
  [ -z "${PYTHON:-}" ] || [ "$("$1" -c "$which")" = "$("$VENV_PYTHON" -c "$which")" ]
}

set_up() {
  local python stamp
  python=$(find_python)
  stamp=$(wanted_stamp "$python")
  if [ "$(cat .venv/installed 2>/dev/null)" = "$stamp" ] && "$VENV_PYTHON" -c '' 2>/dev/null &&
    is_wanted_python "$python"; then
    printf '== .venv is up to date\n'
  else
    install_packages "$python" "$stamp"
  fi
}
