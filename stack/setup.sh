#!/bin/sh
# Makes .venv from requirements.txt, every package by its hash, and installs the project into it. Run by `make setup`.
# Needs Python 3.11 or newer with its venv module, and nothing else: uv comes out of requirements.txt when the PATH has none.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $*" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed: install it (Debian, Ubuntu: apt install python3 python3-venv; Fedora: dnf install python3.11)" \
        "or name it, as in 'make setup PYTHON=/path/to/python3.11'"
}

# The block of one package in requirements.txt, with its hashes.
pin_of() {
    awk -v pin="^$1==" '$0 ~ pin {found = 1; print; next} /^[^ ]/ {found = 0} found && !/#/' requirements.txt
}

make_environment() {
    python=$(find_python)
    echo "making .venv with $python"
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --no-python-downloads --python "$python" .venv
    else
        "$python" -m venv --clear .venv >/dev/null 2>&1 ||
            fail "Python's venv module is missing: install it (Debian, Ubuntu: apt install python3-venv), then run this again"
    fi
}

uv_command() {
    if command -v uv; then
        return
    fi
    if [ ! -x .venv/bin/uv ]; then
        mkdir -p build
        pin_of uv >build/uv.txt
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r build/uv.txt >&2 ||
            fail "uv could not be installed: check the network, then run this again"
    fi
    echo .venv/bin/uv
}

is_new_enough .venv/bin/python || make_environment
uv=$(uv_command)
"$uv" pip sync --quiet --python .venv --require-hashes requirements.txt ||
    fail "the packages could not be installed: check the network and the disk (3 GB), then run this again"
"$uv" pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
