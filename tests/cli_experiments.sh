#!/bin/bash
# examples/experiments, in small: arms, their table, gone on with. Usage: tests/cli_experiments.sh build/gcc
example=$(realpath examples/experiments/run)
case $(basename "$1") in
    *-address* | *-thread*) echo "skipped: examples/experiments: its trainings are those of cli_train"; echo done; exit 0 ;;
esac
. tests/command.sh
mkdir -p corpus/train corpus/validation
numbered 20 | zstd -q -o corpus/train/a.jsonl.zst
numbered 9 | zstd -q -o corpus/validation/a.jsonl.zst
export KEDGE=$kedge
"$example" identity --quick --corpus corpus --out arms >out 2>err; ok $? "six arms"
awk '/^document|^a BOS each|^anchor/ { print $NF }' out >hash
[ "$(head -3 hash | sort -u | wc -l)" -eq 1 ] && [ "$(wc -l <hash)" -eq 6 ]; ok $? "the first three have the same weights"
grep -q '^document, reset .* +0.000000  *+0.000000  *+0.000000 ' out; ok $? "and the same losses"
rm -r arms/quick/identity/seed-1/anchor
before=$(find arms -name model.safetensors -newer hash | wc -l)
"$example" identity --quick --corpus corpus --out arms >again 2>err; ok $? "what is missing is trained"
cmp -s out again && [ "$before" -eq 0 ] && [ "$(find arms -name model.safetensors -newer hash | wc -l)" -eq 1 ]; ok $? "and that alone, to the same bits"
"$example" rounding --quick --corpus nowhere --out none >out 2>err; [ $? -ne 0 ] && grep -q 'the training failed' err; ok $? "a corpus that is not there ends it"
echo done
