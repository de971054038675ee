#!/bin/bash
# examples/experiments, in small: arms, their table, gone on with. Usage: tests/cli_experiments.sh build/gcc
example=$(realpath examples/experiments/run)
case $(basename "$1") in
    *-address* | *-thread*) echo "skipped: examples/experiments: its trainings are those of cli_train"; echo done; exit 0 ;;
esac
. tests/command.sh
mkdir -p corpus/train corpus/validation
numbered 20 | zstd -q -o corpus/train/a.jsonl.zst
numbered 20 | zstd -q -o corpus/validation/a.jsonl.zst
export KEDGE=$kedge
"$example" identity --quick --corpus corpus --out arms >out 2>err; ok $? "six arms"
awk '/^document|^a BOS each|^anchor/ && length($NF) == 12 { print $NF }' out >hash
[ "$(head -3 hash | sort -u | wc -l)" -eq 1 ] && [ "$(wc -l <hash)" -eq 6 ]; ok $? "the first three have the same weights"
grep -q '^document, reset .* +0.000000  *+0.000000  *+0.000000 ' out; ok $? "and the same losses"
rm -r arms/quick/identity/seed-1/anchor
before=$(find arms -name model.safetensors -newer hash | wc -l)
"$example" identity --quick --corpus corpus --out arms >again 2>err; ok $? "what is missing is trained"
cmp -s out again && [ "$before" -eq 0 ] && [ "$(find arms -name model.safetensors -newer hash | wc -l)" -eq 1 ]; ok $? "and that alone, to the same bits"
awk 'BEGIN { for (i = 0; i < 3; i++) { printf "{\"text\": \""; for (j = 0; j < 3000; j++) printf "%d times %d is %d. ", i, j, i * j; print "\"}" } }' |
    tee >(zstd -q -o corpus/train/b.jsonl.zst) | zstd -q -o corpus/validation/b.jsonl.zst
"$example" rounding --quick --only "running" --corpus corpus --out arms >out 2>err; [ $? -eq 0 ] && [ ! -s out ]; ok $? "some arms of a part, without tables"
"$example" rounding --quick --done --corpus corpus --out arms >out 2>err
[ $? -eq 0 ] && [ ! -s err ] && [ "$(grep -c '^running, bf16 ' out)" -eq 2 ] && ! grep -q '^reset' out; ok $? "tables of what is done"
"$example" dose --quick --done --corpus corpus --out arms >out 2>err; [ $? -eq 1 ] && grep -q 'dose: no arm of these seeds is done' err; ok $? "nothing done"
"$example" time --quick --done --corpus corpus --out arms >out 2>err; [ $? -eq 2 ] && grep -q 'done: time has no arms of its own' err; ok $? "a part without arms"
"$example" figure1 --quick --corpus corpus --out arms >out 2>err; ok $? "a base and its random twin are probed"
awk '$1 == "base" && $2 == "bf16" { b = $3 } $1 == "base" && $2 == "exact" { e = $3 } END { exit !(b > 100 * e && e > 0) }' out; ok $? "bf16 moves attention, exact does not"
"$example" span order --quick --only anchor --corpus corpus --out arms >out 2>err
[ $? -eq 0 ] && [ "$(ls -d arms/quick/{span,order}/seed-1/*anchor*/step-2 | wc -l)" -eq 10 ]; ok $? "the arms of an anchor alone"
"$example" time --quick --corpus corpus --out arms >out 2>err; [ $? -eq 0 ] && [ "$(grep -cE '^(short|long), .* [0-9.]+ +[0-9.]+$' out)" -eq 10 ]; ok $? "seconds of ten arms"
python3 -c 'import json
for name in "short", "long":
    sizes = [len(json.loads(line)["input_ids"]) for line in open(f"arms/quick/span/data-1/{name}.jsonl")]
    far = sum(size for size in sizes if size > 1100)
    assert max(sizes) <= 8200 and abs(far / sum(sizes) - (0.1 if name == "long" else 0)) < 0.01, (name, far)
for line in open("arms/quick/span/data-1/recall/1024/data/niah_single_1/validation.jsonl"):
    row = json.loads(line)
    assert len(row["input"]) - row["input"].index(row["outputs"][0]) == 768 and row["input"].count("Code ") >= 5, row
' 2>err; ok $? "documents have their lengths, facts their distances"
"$example" rounding --quick --corpus nowhere --out none >out 2>err; [ $? -ne 0 ] && grep -q 'the training failed' err; ok $? "a corpus that is not there ends it"
KEDGE=$home/nobody "$example" rounding --corpus corpus >out 2>err; [ $? -eq 1 ] && grep -q 'nobody: no such command' err; ok $? "no kedge to run"
"$example" rounding --corpus corpus --only nobody >out 2>err; [ $? -eq 2 ] && grep -q "no arm has 'nobody' in its name; there are: running, exact" err; ok $? "an arm that there is not"
echo done
