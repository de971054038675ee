#!/bin/bash
# Shards in checkpoints, and exports as a user types them. Usage: tests/cli_export.sh build/gcc
# One line a fact, "ok N" or "not ok N"; "done" at the end.
set -u
kedge=$(realpath "$1/kedge")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cd "$home" || exit 1

n=0
ok() { n=$((n + 1)); if [ "$1" -eq 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; [ -e err ] && cat err; fi; }
# says CODE "text": the last command ended with CODE and its stderr has text in one line
says() { [ "$code" -eq "$1" ] && grep -qF -- "$2" err && [ "$(grep -c . err)" -eq 1 ]; ok $? "exit $1: $2"; }
try() { "$kedge" "$@" >out 2>err; code=$?; }

mkdir data
for i in $(seq 1 30); do printf '{"text": "document %d: %s"}\n' "$i" "$(seq -s ' ' "$i" $((i * 7)))"; done >data/a.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: llama, preset: tiny, seed: 3}}
tokenizer: bytes
data: {train: data/a.jsonl}
window: 256
batch: {windows: 2}
optim: {lr: 1e-3}
steps: 4
save: {every: 2}
output: runs/whole
YAML

try train run.yaml
ok $code "a run with one file of weights"
try train run.yaml --set output=runs/shards --set save.shard=64K
ok $code "a run with shards"
[ -e runs/shards/step-4/model.safetensors.index.json ] && [ ! -e runs/shards/step-4/model.safetensors ]; ok $? "its checkpoints have an index"
rm -rf runs/shards/step-4
try train run.yaml --set output=runs/shards --set save.shard=1M --resume
ok $code "which resumes, also with another size"
try export runs/shards/step-4 out-a; ok $code "an export of it"
try export runs/whole/step-4 out-b; ok $code "and of the other"
cmp -s out-a/model.safetensors out-b/model.safetensors; ok $? "hold the same bytes"
cmp -s out-b/model.safetensors runs/whole/step-4/model.safetensors; ok $? "which are the checkpoint's"
[ "$(ls out-b | tr '\n' ' ')" = "config.json model.safetensors " ]; ok $? "and nothing of the training state"

try export runs/whole/step-4 out-c --dtype bf16 --shard-size 40K
ok $code "an export in bf16 shards"
[ "$(find out-c -name 'model-*' -size +40k | wc -l)" -eq 0 ] && [ "$(ls out-c/model-* | wc -l)" -gt 3 ]; ok $? "none larger than asked"
grep -q '"torch_dtype": "bfloat16"' out-c/config.json; ok $? "config.json says so"
try info out-c --json; grep -q '"dtype": "BF16"' out; ok $? "info says so"
try train run.yaml --set model="{path: out-c}" --set output=runs/on --set steps=1
ok $code "and it can be trained on"
try export runs/whole/step-4 out-g --shard-size 5G; ok $code "sizes may end in G"

try export runs/whole/step-4 out-a; says 2 "out-a holds a model already"
try export runs/whole/step-4 x --dtype int8; says 2 "export: --dtype int8: it is one of f32, bf16, f16"
try export runs/whole/step-4; says 2 "export: from where to where?"
try export nowhere x; says 1 "nowhere: no such folder"
printf 'x' | dd of=runs/whole/step-4/model.safetensors bs=1 seek=5000 conv=notrunc status=none
try export runs/whole/step-4 x; says 1 "the manifest says"
[ ! -e x ]; ok $? "nothing is written then"
echo done
