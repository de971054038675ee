#!/bin/bash
# Types docs/quickstart.md word for word. Usage: tests/cli_quickstart.sh build/gcc
# One line a fact, "ok N" or "not ok N"; "done" at the end.
set -u
build=$(realpath "$1") root=$PWD
case $(basename "$build") in
    *-address*|*-thread*) echo "skipped: the quickstart: it trains for minutes under a sanitizer"; echo done; exit 0 ;;
esac
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT

# A clone whose command is this flavour's; what `make` would do has been done.
cp -r src docs include tools CONTRIBUTING.md "$home"
mkdir -p "$home/build" "$home/tests/golden"
cp -r tests/golden/tokenizers "$home/tests/golden"
ln -s "$build/kedge" "$home/build/kedge"
cd "$home" || exit 1

# Indented lines; a here-document's lines belong to the command that opens it.
awk '/^    /{ sub(/^    /, ""); if ($0 != "make") print }' docs/quickstart.md >commands
n=0
while IFS= read -r line; do
    command=$line
    if [[ $line == *"<<'YAML'" ]]; then
        while IFS= read -r line; do command+=$'\n'$line; [ "$line" = YAML ] && break; done
    fi
    n=$((n + 1))
    if bash -e -c "$command" >out 2>err </dev/null; then echo "ok $n ${command%%$'\n'*}"
    else echo "not ok $n ${command%%$'\n'*}"; tail -n 5 out err; fi
done <commands
fact() { n=$((n + 1)); if "${@:2}"; then echo "ok $n $1"; else echo "not ok $n $1"; fi; }
fact "the page has commands" [ "$n" -ge 18 ]
fact "the stopped run went on to its end" [ -e quickstart/anchor/step-20/model.safetensors ]
fact "there is a report" [ -s quickstart/anchor/report.html ]
fact "there is a comparison" [ -s quickstart/compare.html ]
fact "the exported weights are half as large" [ "$(stat -c %s quickstart/model-bf16/model.safetensors)" -lt \
    "$(($(stat -c %s quickstart/anchor/step-20/model.safetensors) * 6 / 10))" ]
links=$(grep -o '](\([a-z]*\.md\)' docs/quickstart.md | sort -u | cut -c3-)
missing=0; for link in $links; do [ -e "$root/docs/$link" ] || { echo "no $link"; missing=1; }; done
fact "its links lead somewhere" [ $missing -eq 0 ]
echo done
