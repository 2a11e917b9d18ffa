#!/bin/sh
# Brings what the Makefile's targets need, and says in one sentence what is missing and how to get it.
#
#   bootstrap.sh environment FOLDER [EXTRA ...]   a virtual environment with the program and, for each EXTRA, those packages
#   bootstrap.sh browser                          Chromium, for the browser tests
#   bootstrap.sh mariadb                          MariaDB and Galera, for the tests of databases
#   bootstrap.sh pm2                              Node.js and PM2, for the test of the executable
#
# PYTHON names the Python to use.  With CI=true a thing that is missing is a failure; elsewhere its tests are left out.
# Plain POSIX sh: macOS and Debian have no other shell in common.
set -eu

CONSTRAINTS=packaging/constraints.txt
PM2_VERSION=7.0.4
PM2_FOLDER=.cache/pm2

fail() {
    echo "$*" >&2
    exit 1
}

is_debian_root() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

apt_install() {
    echo "Installing with apt-get: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update && apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >/dev/null
}

# A missing thing: fatal in CI, a sentence elsewhere.
missing() {
    [ "${CI:-}" = true ] && fail "$*"
    echo "$*"
}

# --- Python -----------------------------------------------------------------------------------------------------------

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

can_make_environments() {
    "$1" -c 'import ensurepip, sqlite3, ssl, venv' 2>/dev/null
}

# Prints the Python to use.  A name on the PATH proves nothing (it may be a version switcher's stub): each is started.
find_python() {
    new_enough=
    set -- python3.13 python3.12 python3.11 python3
    [ -z "${PYTHON:-}" ] || set -- "$PYTHON"
    for candidate; do
        is_new_enough "$candidate" || continue
        can_make_environments "$candidate" && echo "$candidate" && return
        new_enough=${new_enough:-$candidate}
    done
    [ -z "$new_enough" ] || fail "$(say_incomplete "$new_enough")"
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python 3.11 or newer; name another, or unset it."
    fail "Python 3.11 or newer is missing; get it with: $(how_to_get_python)"
}

say_incomplete() {
    module=$("$1" -c '
import importlib
for name in ("ensurepip", "venv", "sqlite3", "ssl"):
    try:
        importlib.import_module(name)
    except ImportError:
        print(name)
        break')
    if command -v apt-get >/dev/null && [ "$module" = ensurepip ]; then
        echo "Python $(version_of "$1") cannot make virtual environments here; get what is missing with: apt-get install python$(version_of "$1")-venv"
    else
        echo "$1 (Python $(version_of "$1")) lacks its module $module; install a complete Python 3.11 or newer, or name one with PYTHON=..."
    fi
}

how_to_get_python() {
    if command -v apt-get >/dev/null; then
        echo "apt-get install python3 python3-venv (Debian 12 or newer)"
    else
        echo "brew install python@3.13 (or from python.org), then make again"
    fi
}

environment() {
    folder=$1
    shift
    stamp=$folder/made-for${1:+-$1}
    wanted=$(cat pyproject.toml $CONSTRAINTS | cksum) # when these change, the packages are brought up to date
    has_wanted_python "$folder" && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    if ! has_wanted_python "$folder" || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        echo "Making $folder with Python $(version_of "$python")."
        "$python" -m venv --clear "$folder"
    fi
    install_into "$folder" "$@"
    echo "$wanted" >"$stamp"
}

has_wanted_python() {
    is_new_enough "$1/bin/python" || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$1/bin/python")" = "$(version_of "$PYTHON")" ]
}

# The program is installed in place, so that a change to its code counts at once.
install_into() {
    folder=$1
    shift
    extras=$(echo "$*" | tr ' ' ',')
    echo "Installing the packages of $CONSTRAINTS that are not there yet."
    pip_install "$folder" setuptools &&
        pip_install "$folder" --no-build-isolation --editable ".${extras:+[$extras]}" ||
        fail "The packages could not be installed into $folder; see the lines above, check that the package index can be reached, and run it again."
}

pip_install() {
    python=$1/bin/python
    shift
    "$python" -m pip --disable-pip-version-check --no-input -qq install --constraint $CONSTRAINTS "$@"
}

# --- What only tests need ---------------------------------------------------------------------------------------------

# Where tests/browser looks for it.
has_browser() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return
    done
    return 1
}

browser() {
    has_browser && return
    if is_debian_root; then
        apt_install chromium fonts-liberation && return
        missing "Chromium could not be installed, so the browser tests are left out; get it with: apt-get update && apt-get install chromium"
    elif command -v apt-get >/dev/null; then
        missing "Chromium is missing, so the browser tests are left out; get it with: sudo apt-get install chromium"
    else
        missing "Chromium is missing, so the browser tests are left out; get it with: brew install --cask chromium"
    fi
}

# Where tests/support/mariadb.py looks for it: Debian keeps the server off an ordinary user's PATH.
has_mariadb() {
    (PATH=$PATH:/usr/sbin:/usr/local/sbin && command -v mariadbd && command -v mariadb-install-db) >/dev/null || return 1
    command -v apt-get >/dev/null || return 0 # only Debian has packages of what a cluster needs
    [ -e /usr/lib/galera/libgalera_smm.so ] && command -v rsync >/dev/null && command -v lsof >/dev/null
}

mariadb() {
    has_mariadb && return
    if is_debian_root; then
        # At run level 1 the package starts no server of its own: the tests start theirs.
        (export RUNLEVEL=1 && apt_install mariadb-server galera-4 rsync lsof socat) && has_mariadb && return
        missing "MariaDB could not be installed, so the tests that need it are left out; get it with: apt-get update && apt-get install mariadb-server galera-4 rsync lsof socat"
    elif command -v apt-get >/dev/null; then
        missing "MariaDB is missing, so the tests that need it are left out; get it with: sudo apt-get install mariadb-server galera-4 rsync lsof socat"
    else
        missing "MariaDB is missing, so the tests that need it are left out; get it with: brew install mariadb"
    fi
}

pm2() {
    if ! command -v npm >/dev/null; then
        is_debian_root && apt_install nodejs npm ||
            fail "npm is missing, so PM2 cannot be tested; get it with: $(command -v apt-get >/dev/null && echo sudo apt-get install npm || echo brew install node)"
    fi
    [ "$(cat $PM2_FOLDER/made-for 2>/dev/null)" = "$PM2_VERSION" ] && return
    echo "Installing PM2 $PM2_VERSION into $PM2_FOLDER."
    mkdir -p $PM2_FOLDER
    npm install --prefix $PM2_FOLDER --no-save --no-audit --no-fund --loglevel=error "pm2@$PM2_VERSION" >/dev/null ||
        fail "PM2 could not be installed; see the lines above, and check that the npm registry can be reached."
    echo $PM2_VERSION >$PM2_FOLDER/made-for
}

case ${1:-} in
environment | browser | mariadb | pm2) "$@" ;;
*) fail "usage: packaging/bootstrap.sh environment FOLDER [EXTRA ...] | browser | mariadb | pm2" ;;
esac
