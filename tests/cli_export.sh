#!/bin/bash
# Shards in checkpoints, and exports as a user types them. Usage: tests/cli_export.sh build/gcc
. tests/command.sh

mkdir data
numbered 30 >data/a.jsonl
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

try export out-c out-d --positions 64K; ok $code "how long a text may be can be said"
grep -q '"max_position_embeddings": 65536' out-d/config.json && ! grep -q '"max_position_embeddings": 65536' out-c/config.json; ok $? "in config.json"
cmp -s <(grep -v max_position out-c/config.json) <(grep -v max_position out-d/config.json); ok $? "and there alone"
sed -i 's/"rope_scaling": null/"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}/' out-c/config.json
try export out-c x --positions 64K; says 2 "rope type dynamic: rotary frequencies follow from max_position_embeddings"
sed -i 's/"dynamic", "factor": 2.0/"yarn", "factor": 2.0/' out-c/config.json
try export out-c x --positions 64K; says 2 "rope type yarn: rotary frequencies follow"
sed -i 's/"yarn", /"yarn", "original_max_position_embeddings": 256, /' out-c/config.json
try export out-c x --positions 64K; ok $code "where they do not follow, yarn too"
rm -r x

try export runs/whole/step-4 out-a; says 2 "out-a holds a model already"
try export runs/whole/step-4 x --dtype int8; says 2 "export: --dtype int8: it is one of f32, bf16, f16"
try export runs/whole/step-4; says 2 "export: from where to where?"
try export nowhere x; says 1 "nowhere: no such folder"
printf 'x' | dd of=runs/whole/step-4/model.safetensors bs=1 seek=5000 conv=notrunc status=none
try export runs/whole/step-4 x; says 1 "the manifest says"
[ ! -e x ]; ok $? "nothing is written then"
echo done
