#!/bin/bash
# Types what pages have behind a "$", and compares what the page shows below it. Usage: tests/cli_docs.sh build/gcc
# Each page in a folder of its own, commands in order; a here-document's lines, or those that a quote leaves open, belong to the command.
root=$PWD
. tests/command.sh
mkdir bin
ln -s "$kedge" bin/kedge
PATH=$home/bin:$PATH
for page in "$root"/docs/*.md; do
    grep -q '^    \$ ' "$page" || continue
    name=$(basename "$page")
    mkdir "$home/$name"
    cd "$home/$name" || exit 1
    awk '/^    \$ /{ file = sprintf("block-%03d", ++n) } /^    /{ if (file) print substr($0, 5) >file; next } !NF { if (file) print "" >file; next } { file = "" }' "$page"
    for block in block-*; do
        command= shown=0
        while IFS= read -r line; do  # as many lines as make a whole command
            command+=${command:+$'\n'}$line
            shown=$((shown + 1))
            [[ $line == *"<<'YAML'" ]] && continue
            bash -n <(printf '%s\n' "${command#\$ }") 2>err && [ ! -s err ] && break
        done <"$block"
        wanted=$(tail -n +$((shown + 1)) "$block" | sed 's/ *$//')
        found=$(bash -c "${command#\$ }" 2>err </dev/null | sed 's/ *$//' | awk 'NF { on = 1 } on')
        diff <(echo "$wanted") <(echo "$found") >>err
        ok $? "$name: ${command%%$'\n'*}"
    done
done
[ $n -gt 5 ]; ok $? "there are such pages"
echo done
