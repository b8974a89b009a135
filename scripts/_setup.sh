# Sourced by the other scripts: a Python, a virtual environment with the locked packages, and compiled kernels.
# Everything is made once and checked in milliseconds after that; deleting .venv starts afresh.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
caller=$PWD
venv=$root/.venv
python=$venv/bin/python
cd "$root" || exit 1

# Python starts without looking at anything outside of .venv; numba keeps machine code where the service may write.
unset PYTHONHOME PYTHONPATH
export NUMBA_CACHE_DIR=$venv/numba-cache
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '%s\n' "$*" >&2; }
# die LINE...: the last words.
die() { printf '%s\n' "$@" >&2; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

# apt_install PACKAGE...: true when they are installed afterwards.
apt_install() {
    command -v apt-get >/dev/null || return 1
    is_root || return 1
    say "feedgen: installing system packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return 0
    # The lists of a fresh machine are empty or old.
    apt-get update -qq >/dev/null 2>&1
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Prints the first Python >= 3.11. FEEDGEN_PYTHON names another one.
find_python() {
    local candidate
    for candidate in ${FEEDGEN_PYTHON:+"$FEEDGEN_PYTHON"} python3 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

make_venv() {
    local base version
    if ! base=$(find_python); then
        apt_install python3 python3-venv && base=$(find_python) ||
            die "feedgen needs Python 3.11 or newer, and found none." \
                "  On Debian 12, Ubuntu 24.04 or newer type: sudo apt-get install python3 python3-venv" \
                "  Or name one: FEEDGEN_PYTHON=/path/of/python3 $0"
    fi
    version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$base" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        apt_install "python$version-venv" || apt_install python3-venv ||
            die "feedgen needs Python's venv module, and $base has none." \
                "  Type: sudo apt-get install python$version-venv"
    fi
    say "feedgen: making .venv with Python $version"
    rm -rf "$venv"
    "$base" -m venv "$venv" || die "feedgen could not make $venv (see above)."
}

digest() { cat "$@" | sha256sum | cut -d' ' -f1; }
is_stamped() { [ "$(cat "$venv/.feedgen-$1" 2>/dev/null)" = "$2" ]; }
stamp() { printf '%s\n' "$2" >"$venv/.feedgen-$1"; }

# install_lock run|dev: dev.txt holds everything that run.txt holds, with the same versions (a test checks that).
install_lock() {
    local lock=requirements/$1.txt sum
    sum=$(digest "$lock")
    is_stamped "$1" "$sum" && return 0
    say "feedgen: installing the locked packages of $lock (once; a minute or so)"
    "$python" -m pip install --quiet --require-hashes --no-deps -r "$lock" ||
        die "feedgen could not install its packages (see above)." \
            "  If the network was away, type the same command again: what was fetched is kept."
    stamp "$1" "$sum"
    [ "$1" = run ] || stamp run "$(digest requirements/run.txt)"
}

# The project itself, editable: only its metadata and the `feedgen` command are installed, so only they can grow old.
install_project() {
    local sum
    sum=$(digest pyproject.toml feedgen/__init__.py)
    is_stamped project "$sum" && return 0
    "$python" -m pip install --quiet --no-deps --no-build-isolation --editable . ||
        die "feedgen could not install itself (see above)."
    stamp project "$sum"
}

# setup run|dev [warm]: all of the above, by one process at a time. `warm` also compiles the kernels, the made-up
# network's too: tests and benchmarks must not wait for the compiler. `feedgen run` and `demo` do it by themselves.
setup() {
    if command -v flock >/dev/null; then
        exec 9>"$root/.venv.lock"
        flock 9
    fi
    "$python" -c '' >/dev/null 2>&1 || make_venv
    install_lock "$1"
    install_project
    [ "${2-}" != warm ] || "$python" -m feedgen warm --demo || die "feedgen could not compile its kernels (see above)."
    exec 9>&-
}
