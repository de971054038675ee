#!/bin/bash
# The Python package: pip installs it into a fresh environment, offline, where its tests and examples run with what that Python has. Python:
# KEDGE_PYTHON, or python3. Usage: tests/cli_python.sh build/gcc
# One line a fact, "ok N" or "not ok N"; "done" at the end.
set -u
flavour=$(basename "$1")
build=$(realpath "$1")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1 PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH

n=0
ok() { n=$((n + 1)); if [ "$1" -eq 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; tail -n 40 "$home/log"; fi; }
skip() { echo "skipped: $1"; }
leave() { echo done; exit 0; }

if [ "$flavour" != "${flavour%%-*}" ]; then skip "the Python package: what it loads is the plain build"; leave; fi
python=${KEDGE_PYTHON:-$(command -v python3)}
if [ -z "$python" ]; then skip "the Python package: there is no Python"; leave; fi
version=$(sed -n 's/.*KD_VERSION "\(.*\)"/\1/p' include/kedge.h)
export KEDGE_LIBRARY=$build/lib/libkedge.so.$version KEDGE_COMMAND=$build/kedge
if ! [ -e "$KEDGE_LIBRARY" ]; then make -s CC="$flavour" "build/$flavour/lib/libkedge.so.$version" >"$home/log" 2>&1; ok $? "the shared library"; fi

# A fresh environment that sees what the Python it comes from has, be that an environment itself. The package is copied first: setuptools
# leaves its workings beside what it builds.
cp -r python "$home/package"
"$python" -m venv --without-pip --system-site-packages "$home/venv" >"$home/log" 2>&1
ok $? "a fresh environment"
py=$home/venv/bin/python
"$python" -c 'import site; print("\n".join(site.getsitepackages()))' >"$("$py" -c 'import site; print(site.getsitepackages()[0])')/parent.pth"
can() { "$py" -c "import $1" 2>/dev/null; }
# Setuptools makes wheels by itself since 70.1.
if can pip && "$py" -c 'import setuptools
if tuple(map(int, setuptools.__version__.split(".")[:2])) < (70, 1): import wheel' 2>/dev/null; then
    "$py" -m pip install --quiet --no-build-isolation --no-deps "$home/package" >"$home/log" 2>&1
    ok $? "pip install ./python, with neither compiler nor network"
    cd "$home" || exit 1
    [ "$("$py" -c 'import kedge; print(kedge.__file__)' 2>"$home/log")" = "$("$py" -c 'import site; print(site.getsitepackages()[0])')/kedge/__init__.py" ]
    ok $? "what is imported is what was installed"
    cd - >/dev/null || exit 1
    [ "$("$py" -m pip show kedge 2>"$home/log" | sed -n 's/^Version: //p')" = "$version" ]
    ok $? "its version is kedge's"
    "$py" -m pip show kedge 2>"$home/log" | grep -q '^Requires: $'
    ok $? "it requires nothing"
else
    skip "pip install ./python: this Python has no pip, or no setuptools with wheel"
    export PYTHONPATH=$home/package/src
fi

# needs NAME MODULE...: whether all of them are there; says which is not
needs() {
    local what=$1 module
    shift
    for module in "$@"; do can "$module" || { skip "$what: $module is not installed"; return 1; }; done
}

# Tests that import pytest need it; the others need Python alone.
for file in python/tests/test_*.py; do
    name=$(basename "$file" .py)
    if grep -q 'import pytest' "$file"; then
        needs "$name" pytest torch || continue
        "$py" -m pytest -q -p no:cacheprovider "$file" >"$home/log" 2>&1
        code=$?
        said=$(tail -n 1 "$home/log")
        ran=$(grep -Eo '[0-9]+ (passed|failed)' <<<"$said" | awk '{ n += $1 } END { print n + 0 }')
    else
        "$py" "$file" >"$home/log" 2>&1
        code=$?
        said=$(tail -n 1 "$home/log")
        ran=$(($(sed -n 's/^Ran \([0-9]*\) test.*/\1/p' "$home/log") + 0))
        skipped=$(grep -Eo 'skipped=[0-9]+' <<<"$said" | grep -Eo '[0-9]+')
        ran=$((ran - ${skipped:-0}))
    fi
    { [ "$code" -eq 0 ] || [ "$code" -eq 5 ]; } && [ "$ran" -eq 0 ] || ok "$code" "$name: $ran tests"
    grep -q skipped <<<"$said" && skip "$name: $said"
done

# example FILE "what it says" MODULE...
example() {
    local file=$1 said=$2
    shift 2
    # shellcheck disable=SC2086  # a file and its options
    needs "${file%% *}" "$@" && { "$py" examples/python/$file >"$home/log" 2>&1 && grep -qF -- "$said" "$home/log"; ok $? "examples/python/${file%% *}"; }
}
example pack.py "targets      .  101  102" kedge
example attention_numpy.py "document 1 has the same bits, document 2 changed, document 3 has the same bits" numpy
example "attention_torch.py --backend aot_eager" "compiled:" torch
seq 1 40 | awk '{ printf "{\"input_ids\": ["; for (i = 0; i < 20; i++) printf "%s%d", i ? ", " : "", ($1 * i) % 200; print "]}" }' >"$home/data.jsonl"
"$build/kedge" init "$home/model" --preset tiny >"$home/log" 2>&1
example "hf_train.py $home/model $home/data.jsonl --window 64 --exact-rope --out $home/trained" "step 3  loss" torch transformers
example "leak_table.py --attention sdpa --families llama --rows 1 --packing none,position_ids" \
    "| sdpa | position_ids that restart | **leaks**: 39% of outputs, 100% of gradients | nothing leaks |" torch transformers
for file in examples/python/*.py; do
    grep -q "$(basename "$file")" "$0" || { false; ok $? "$file is run here"; }
done
leave
