#!/bin/sh
# Makes the virtual environment $1 with tako-lite and its development tools; does nothing when it is in order.
# $PYTHON names the interpreter; without it, the first suitable one on the PATH is taken.
#
# The file .set-up in it holds the checkout and pyproject.toml that it was made for. It says "unfinished" while work is
# under way, so that an interrupted set-up is recognised and started over.
set -eu

venv=$1
stamp=$venv/.set-up
wanted=${PYTHON:-}

fail() {
    echo "set-up: $*" >&2
    exit 1
}

# The version and home of interpreter $1, which two environments of the same Python share. Fails when $1 is none, too old.
identity() {
    "$1" -I -c 'import sys; print(sys.version_info[:3], sys.base_prefix); sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Sets $base to the interpreter to use, or says in one line why there is none.
find_python() {
    without_venv=
    for base in ${wanted:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        identity "$base" >/dev/null || continue
        "$base" -I -c 'import ensurepip, venv' 2>/dev/null && return
        without_venv=${without_venv:-$base}
    done
    if [ -n "$without_venv" ]; then
        fail "$without_venv has no venv module; on Debian and Ubuntu: apt install $(package_of "$without_venv")-venv"
    elif [ -n "$wanted" ]; then
        fail "PYTHON=$wanted is not a Python 3.11 or newer"
    fi
    fail "no Python 3.11 or newer on the PATH; install one, or name it: make PYTHON=/path/to/python"
}

package_of() {
    "$1" -I -c 'import sys; print("python%d.%d" % sys.version_info[:2])'
}

# Whether $venv is whole, in its place, and of the interpreter that was asked for.
usable() {
    current=$(identity "$venv/bin/python") || return 1
    [ -z "$wanted" ] || [ "$current" = "$(identity "$wanted")" ] || return 1
    [ ! -e "$stamp" ] || [ "$(sed -n 1p "$stamp")" = "$PWD" ] || return 1
    "$venv/bin/python" -I -c 'import pip' 2>/dev/null
}

complete=$(echo "$PWD" && cksum <pyproject.toml)
usable && [ "$(cat "$stamp" 2>/dev/null)" = "$complete" ] && exit 0

if ! usable; then
    find_python
    echo "set-up: making $venv with $base"
    [ ! -d "$venv" ] || echo unfinished >"$stamp"
    rm -rf "$venv"
    mkdir "$venv"
    echo unfinished >"$stamp"
    "$base" -m venv "$venv" || fail "$base -m venv failed"
fi
echo "set-up: installing tako-lite and its development tools"
echo unfinished >"$stamp"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --editable '.[dev]' ||
    fail "pip could not install what pyproject.toml asks for; the reason is above"
echo "$complete" >"$stamp"
